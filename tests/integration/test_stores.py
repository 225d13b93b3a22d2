"""The daemon on MariaDB and Redis: two nodes on one store, and stores that go away and come back while it serves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.honoured import ByRest, ByStore, honours
from tests.integration.sipp import Phones
from tests.servers.daemon import DOMAIN, DaemonProcess, Refused, free_network, running, until
from tests.servers.mariadb import MariaDb
from tests.servers.redis import Redis
from tests.web.test_daemon import Rest

CALLER, CALLEE = 1002, 1003
PHONES = (1062, 1063)


@pytest.fixture(scope="module")
def maria() -> Iterator[MariaDb]:
    """A MariaDB that tests may stop; they start it again."""
    server = MariaDb()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    """A Redis that tests may stop; it comes back empty."""
    server = Redis()
    try:
        server.start()
        yield server
    finally:
        server.close()


def stores(maria: MariaDb, redis: Redis | None, **more: object) -> dict[str, object]:
    found: dict[str, object] = {"database": {"url": maria.create()}, **more}
    return found | ({"redis": {"url": redis.url}} if redis is not None else {})


@pytest.fixture(scope="module")
def nodes(maria: MariaDb, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DaemonProcess, DaemonProcess]]:
    """Two nodes: one network.yml, one MariaDB, one Redis, the same keys."""
    directory = tmp_path_factory.mktemp("nodes")
    network = free_network()
    ngcpd = stores(maria, redis, secrets_file=str(directory / "secrets.yml"))
    both = {"ngcpd": ngcpd, "hosts": {"lb01a": f"{network}.1", "lb02a": f"{network}.2"}, "network": network}
    with running(directory / "a", node="lb01a", **both) as a, running(directory / "b", node="lb02a", **both) as b:
        a.domain()
        yield a, b


def call(phones: Phones, caller_: int = CALLER, callee_: int = CALLEE, *, at: DaemonProcess) -> str:
    """One calls the other, whose phone answers; the Call-ID."""
    callee = phones.callee(callee_)
    caller = phones.call(caller_, f"testuser{callee_}", daemon=at)
    caller.done()
    callee.done()
    return caller.call_id


def recorded(daemon: DaemonProcess, call_id: str) -> None:
    """Wait for the CDR of a call."""
    until(lambda: call_id in {c["call_id"] for c in daemon.cdrs()}, 10.0)


# ----------------------------------------------------------------------------------------------------------------- two nodes
def test_two_nodes(nodes: tuple[DaemonProcess, DaemonProcess], redis: Redis, tmp_path: Path) -> None:
    """What is made through one acts at the other within a second."""
    a, b = nodes
    assert a.control("status")["node"] == "lb01a" and b.control("status")["node"] == "lb02a"
    phones = Phones(b, tmp_path / "sipp")
    try:
        a.add(CALLER, CALLEE)
        until(lambda: phones.run("register_stay", CALLEE, rows=[phones.row(CALLEE)]).process.wait(20) == 0, 1.0, lambda: b.log[-2000:])
        (here,) = b.registrations(CALLEE)
        (there,) = until(lambda: a.registrations(CALLEE), 1.0)
        assert here["contact"] == there["contact"] and here["node"] == there["node"] == "lb02a"
        until(lambda: b"ngcp:binding:" in redis.ask("KEYS", "ngcp:binding:*"), 5.0)
        # callable at b, where the phone is, and at a
        ids = [call(phones, at=b), call(phones, at=a)]
        cdrs = b.new_cdrs(2)
        assert sorted(c["call_id"] for c in cdrs) == sorted(ids) and {c["call_status"] for c in cdrs} == {"ok"}
        assert a.new_cdrs(2) == cdrs
        assert a.query("SELECT call_id, call_status FROM cdr ORDER BY call_id") == [(i, "ok") for i in sorted(ids)]
        # and gone at both
        phones.register(CALLEE, scenario="register")
        assert b.registrations(CALLEE) == []
        until(lambda: not a.registrations(CALLEE), 1.0)
        a.lock(CALLER, 2)
        until(lambda: "403 Caller locked" in _verdict(b), 1.0, lambda: _verdict(b))
        a.lock(CALLER, 0)
        until(lambda: "480" in _verdict(b), 1.0, lambda: _verdict(b))
        assert a.registrations(CALLEE) == []
    finally:
        phones.close()


def test_two_nodes_without_redis(nodes: tuple[DaemonProcess, DaemonProcess], redis: Redis, tmp_path: Path) -> None:
    """What registers at one node while Redis is away is known at the other one soon after it is back."""
    a, b = nodes
    phones = Phones(b, tmp_path / "sipp")
    try:
        redis.stop()
        phones.register(CALLEE)
        assert len(b.registrations(CALLEE)) == 1 and a.registrations(CALLEE) == []
        redis.start()
        until(lambda: a.registrations(CALLEE), 10.0, lambda: f"{a.log[-2000:]}\n{b.log[-2000:]}")
        recorded(a, call(phones, at=a))
    finally:
        phones.close()
        if redis.process is None:
            redis.start()


def test_rest_at_one_node_is_honoured_at_the_other(nodes: tuple[DaemonProcess, DaemonProcess]) -> None:
    a, b = nodes
    honours(ByRest(a), b)


def test_lost_notices_delay_but_lose_nothing(nodes: tuple[DaemonProcess, DaemonProcess], redis: Redis) -> None:
    """Redis carries only the hint that there is something to read: without it each node looks for itself every second."""
    a, b = nodes
    a.add(1082)
    _, _, data = Rest(a)("GET", "/api/subscribers/?username=testuser1082")
    key = json.loads(data)["_embedded"]["ngcp:subscribers"]["id"]

    def verdict(node: DaemonProcess) -> str:
        stages = node.control("route", caller=f"testuser1082@{DOMAIN}", callee=f"testuser1082@{DOMAIN}")
        return str(stages[-1]["verdict"])

    until(lambda: "480" in verdict(b), 1.0)
    redis.stop()
    try:
        for writer, lock, expected in ((ByRest(a), 2, "403"), (ByStore(a), None, "480"), (ByRest(b), 3, "403")):
            writer.set("subscribers", key, lock=lock)
            for node in nodes:
                until(lambda node=node, expected=expected: expected in verdict(node), 2.0, lambda node=node: verdict(node))
    finally:
        redis.start()


def test_a_call_outlives_its_subscriber(nodes: tuple[DaemonProcess, DaemonProcess], tmp_path: Path) -> None:
    """A subscriber is deleted by REST at one node while it talks at the other: its registration goes, the call goes on to its end."""
    a, b = nodes
    a.add(1080, 1081)
    phones = Phones(b, tmp_path / "sipp")
    try:
        until(lambda: phones.run("register_stay", 1081, rows=[phones.row(1081)]).process.wait(20) == 0, 2.0)
        phones.register(1080)
        callee = phones.callee(1081, pause=20_000)
        caller = phones.call(1080, "testuser1081", pause=4000)
        until(lambda: [c for c in b.control("calls") if c["call_id"] == caller.call_id and c["state"] == "answered"], 5.0)
        rest = Rest(a)
        for n in (1080, 1081):
            _, _, data = rest("GET", f"/api/subscribers/?username=testuser{n}")
            found = json.loads(data)["_embedded"]["ngcp:subscribers"]
            assert rest("DELETE", f"/api/subscribers/{found['id']}")[0] == 204
        until(lambda: not [r for r in b.control("registrations") if "testuser108" in r["contact"] or "testuser108" in r["user"]], 1.0)
        assert [c for c in b.control("calls") if c["call_id"] == caller.call_id and c["state"] == "answered"], "the call goes on"
        caller.done()
        callee.done()
        recorded(b, caller.call_id)
        (cdr,) = [c for c in b.cdrs() if c["call_id"] == caller.call_id]
        assert cdr["call_status"] == "ok" and cdr["duration"] > 3
    finally:
        phones.close()


def _verdict(daemon: DaemonProcess) -> str:
    stages = daemon.control("route", caller=f"testuser{CALLER}@{DOMAIN}", callee=f"testuser{CALLEE}@{DOMAIN}")
    return str(stages[-1]["verdict"])


# ------------------------------------------------------------------------------------------------------------------- outages
@pytest.fixture(scope="module")
def users(nodes: tuple[DaemonProcess, DaemonProcess]) -> None:
    nodes[0].add(*PHONES)


@pytest.fixture
def served(
    nodes: tuple[DaemonProcess, DaemonProcess], users: None, maria: MariaDb, redis: Redis, tmp_path: Path
) -> Iterator[tuple[DaemonProcess, Phones]]:
    """The first node with two registered phones that have talked."""
    daemon = nodes[0]
    phones = Phones(daemon, tmp_path / "sipp")
    try:
        until(lambda: phones.run("register_stay", PHONES[0], rows=[phones.row(PHONES[0])]).process.wait(20) == 0, 2.0)
        phones.register(*PHONES)
        recorded(daemon, call(phones, *PHONES, at=daemon))
        daemon.skip_cdrs()
        yield daemon, phones
    finally:
        phones.close()
        for server in (maria, redis):
            if server.process is None:
                server.start()


def goes_on(daemon: DaemonProcess, phones: Phones, n: int) -> list[str]:
    """Re-registrations and calls work; the Call-IDs."""
    ids = []
    for _ in range(n):
        phones.register(*PHONES)
        ids.append(call(phones, *PHONES, at=daemon))
    return ids


def warnings(daemon: DaemonProcess, before: int) -> list[str]:
    """Lines of level warning and error since the log was `before` characters long."""
    return [line for line in daemon.log[before:].splitlines() if line.split(" ")[1:2] in (["warning"], ["error"])]


def stored(redis: Redis) -> int:
    """How many bindings are in Redis."""
    return int(redis.ask("KEYS", "ngcp:binding:*").split(b"\r\n")[0][1:])


def test_database_away(served: tuple[DaemonProcess, Phones], maria: MariaDb) -> None:
    daemon, phones = served
    before = len(daemon.log)
    maria.kill()
    ids = goes_on(daemon, phones, 3)
    until(lambda: daemon.counters()["store.available"] == 0, 10.0)
    with pytest.raises(Refused) as refusal:
        daemon.control("subscriber.list")
    assert refusal.value.code == "unavailable"
    assert len(warnings(daemon, before)) == 1, warnings(daemon, before)
    maria.start()
    cdrs = daemon.new_cdrs(3, 20.0)
    assert [c["call_id"] for c in cdrs] == ids and {c["call_status"] for c in cdrs} == {"ok"}
    assert len(warnings(daemon, before)) == 1, warnings(daemon, before)
    daemon.add(1044)
    until(lambda: phones.run("register_stay", 1044, rows=[phones.row(1044)]).process.wait(20) == 0, 2.0)


def test_redis_away(served: tuple[DaemonProcess, Phones], redis: Redis) -> None:
    daemon, phones = served
    before = len(daemon.log)
    redis.stop()
    ids = goes_on(daemon, phones, 3)
    assert sorted(c["call_id"] for c in daemon.new_cdrs(3)) == sorted(ids)
    assert len(warnings(daemon, before)) == 1, warnings(daemon, before)
    redis.start()
    # it has forgotten everything, and the bindings come back to it, which is told
    until(lambda: stored(redis) == len(daemon.registrations()), 20.0, lambda: f"{redis.ask('KEYS', '*')!r}\n{daemon.log[before:]}")
    call(phones, *PHONES, at=daemon)
    daemon.new_cdrs(1)
    told = [line for line in warnings(daemon, before) if not re.search("home (has )?lost", line)]
    assert len(told) == 1, told


def test_both_away(served: tuple[DaemonProcess, Phones], maria: MariaDb, redis: Redis) -> None:
    daemon, phones = served
    before = len(daemon.log)
    maria.stop()
    redis.stop()
    ids = goes_on(daemon, phones, 2)
    assert len(warnings(daemon, before)) == 2, warnings(daemon, before)
    maria.start()
    redis.start()
    assert sorted(c["call_id"] for c in daemon.new_cdrs(2, 20.0)) == sorted(ids)
    until(lambda: stored(redis) == len(daemon.registrations()), 20.0)
    told = [line for line in warnings(daemon, before) if not re.search("home (has )?lost", line)]
    assert len(told) == 2, told

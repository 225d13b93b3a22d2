"""The directory on the real change feed, threads and both engines."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from ngcpd.directory.directory import Directory
from ngcpd.directory.model import NumberEntry
from ngcpd.provisioning import preferences, routing, subscribers, tenancy
from ngcpd.provisioning.env import Env
from ngcpd.runtime.fake import InlineExecutor, SeededRng, SimClock
from ngcpd.store import seed
from ngcpd.store.changes import ChangeFeed, purge
from ngcpd.store.credentials import Argon, Vault
from ngcpd.store.db import Database
from tests.directory.world import PASSWORD, e164
from tests.store.helpers import RealTime, until


class Threads:
    """An Executor on the reactor's thread pool."""

    def run(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        return deferToThread(fn, *args, **kwargs)


@pytest_twisted.ensureDeferred
async def test_life_of_a_subscriber(store_url: str) -> None:
    clock, rng = RealTime(), SeededRng()
    env = Env(clock, rng, Vault(b"k" * 32, rng), Argon(rng, 1, 8, 1))
    database = Database(store_url, Threads(), clock, 4)
    database.run_here(seed.seed, rng, env.vault, env.argon)
    feed = ChangeFeed(database, clock)
    directory = Directory(database, feed, clock)
    heard: list[tuple[str, int]] = []
    directory.subscribe(lambda kind, key: heard.append((kind, key)))
    try:
        await feed.start()
        await directory.start()
        assert directory.domain("a.test") is None

        def fill(conn: Any) -> int:
            tenancy.create_domain(conn, env, name="a.test")
            contact = tenancy.create_contact(conn, env, reseller_id=1)
            customer = tenancy.create_customer(conn, env, contact_id=contact, external_id="e")
            new = subscribers.NewSubscriber(customer_id=customer, domain="a.test", username="alice", password=PASSWORD, number=e164("4311001"))
            return int(subscribers.create_subscriber(conn, env, new).id)

        alice = await database.run(fill)
        await until(lambda: directory.user_id("a.test", "alice") == alice)
        assert directory.number("4311001") == NumberEntry(alice, True)
        await directory.load([alice])
        s = directory.subscriber(alice)
        assert s is not None and s.prefs.get("cli") == "4311001" and s.contract_external_id == "e" and s.prefs.get("outbound_from_user") == "upn"

        await database.run(
            lambda conn: preferences.set_preference(conn, env, level="usr", owner_id=alice, attribute="allowed_ips", value=["10.0.0.0/8"])
        )
        await until(lambda: directory.subscriber(alice) is None)
        await directory.load([alice])
        s = directory.subscriber(alice)
        assert s is not None and s.ip_allowed("10.1.1.1") and not s.ip_allowed("11.1.1.1")

        def route(conn: Any) -> int:
            group = routing.create_peer_group(conn, env, name="g")
            routing.create_peer_host(conn, env, group_id=group, name="h", ip="192.0.2.1")
            routing.create_trusted_source(conn, env, subscriber_id=alice, src_ip="192.0.2.9")
            set_id = routing.create_rewrite_rule_set(conn, env, name="r")
            routing.create_rewrite_rule(
                conn, env, set_id=set_id, direction="in", field="callee", match_pattern="^0(.*)$", replace_pattern="${caller_cc}\\1"
            )
            return int(set_id)

        set_id = await database.run(route)
        await until(lambda: directory.rule_set(set_id) is not None)
        rules = directory.rule_set(set_id)
        assert rules is not None and rules.rewrite("in", "callee", "01", lambda name: ("43",)) == "431"
        assert directory.peer_by_ip("192.0.2.1") is not None and directory.trusted("192.0.2.9", "udp", "sip:x") == alice

        await database.run(lambda conn: subscribers.terminate_subscriber(conn, env, subscriber_id=alice))
        await until(lambda: ("subscriber_gone", alice) in heard)
        assert directory.user_id("a.test", "alice") is None and directory.number("4311001") is None
        assert directory.subscriber(alice) is None and directory.trusted("192.0.2.9", "udp", "sip:x") is None
    finally:
        directory.stop()
        feed.stop()
        await until(lambda: directory.counters()["reads"] == 0)
        database.close()


@pytest.mark.parametrize("purged", [False, True])
def test_far_behind(store_url: str, purged: bool) -> None:
    """A node that did not read for a long time while thousands of changes were made, and, with `purged`, while old notices were deleted
    beyond where it stood: it ends with what is in the store, as one that starts anew would."""
    clock, rng = SimClock(), SeededRng()
    env = Env(clock, rng, Vault(b"k" * 32, rng), Argon(rng, 1, 8, 1))
    writer, reader = (Database(store_url, InlineExecutor(), clock) for _ in range(2))
    writer.run_here(seed.seed, rng, env.vault, env.argon)

    def people(conn: Any, names: range) -> list[int]:
        contact = tenancy.create_contact(conn, env, reseller_id=1)
        customer = tenancy.create_customer(conn, env, contact_id=contact)
        new = [
            subscribers.NewSubscriber(customer_id=customer, domain="a.test", username=f"u{n}", password=PASSWORD, number=e164(f"4311{n:04d}"))
            for n in names
        ]
        return [made.id for made in subscribers.create_subscribers(conn, env, new)]

    writer.run_here(lambda conn: tenancy.create_domain(conn, env, name="a.test"))
    first = writer.run_here(people, range(20))
    feed = ChangeFeed(reader, clock)
    directory = Directory(reader, feed, clock)
    heard: list[tuple[str, int]] = []
    directory.subscribe(lambda kind, key: heard.append((kind, key)))
    feed.start()
    directory.start()
    directory.load(first)
    assert directory.subscriber(first[1]) is not None and directory.counters()["numbers"] == 20
    own = directory.counters()["users"] - 20  # those of the system
    # far from it
    writer.run_here(people, range(20, 1220))
    writer.run_here(lambda conn: subscribers.terminate_subscriber(conn, env, subscriber_id=first[0]))
    for value in (True, False) * 5:
        writer.run_here(
            lambda conn, value=value: preferences.set_preference(conn, env, level="usr", owner_id=first[1], attribute="clir", value=value)
        )
    writer.run_here(lambda conn: preferences.set_preference(conn, env, level="usr", owner_id=first[1], attribute="clir", value=True))
    if purged:
        clock.epoch += 26 * 3600
        writer.run_here(lambda conn: tenancy.create_domain(conn, env, name="late.test"))
        assert writer.run_here(purge) > 2000
    assert directory.user_id("a.test", "u1219") is None
    clock.advance(1.1)
    assert directory.counters()["users"] - own == 1219 == directory.counters()["numbers"]
    assert directory.user_id("a.test", "u1219") is not None and directory.number("43111219") is not None
    assert directory.user_id("a.test", "u0") is None and ("subscriber_gone", first[0]) in heard
    assert (("all", 0) in heard) is purged and (directory.domain("late.test") is not None) is purged
    directory.load([first[1]])
    found = directory.subscriber(first[1])
    assert found is not None and found.prefs.flag("clir")
    directory.stop()
    feed.stop()
    writer.close()
    reader.close()

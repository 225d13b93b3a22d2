"""SIPp against edge and registrar over real sockets on the loopback network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue

from ngcpd.edge.edge import Edge
from ngcpd.edge.own import Own
from ngcpd.registrar.answers import Answers
from ngcpd.registrar.auth import Authenticator
from ngcpd.registrar.location import Location
from ngcpd.registrar.registrar import Registrar
from ngcpd.runtime.fake import InlineExecutor, MemoryDisk
from ngcpd.runtime.real import ReactorClock, ReactorNet, SystemRng
from ngcpd.sip.digest import NonceMaker
from ngcpd.sip.stack import Stack
from ngcpd.store.bindings import Bindings, RedisBindingHome
from ngcpd.store.journal import Journal
from ngcpd.store.kv_memory import MemoryKeyValue
from tests.registrar.world import FakeCalls, FakeDirectory, network

SCENARIOS = Path(__file__).parent.parent / "sipp"
pytestmark = [pytest.mark.peer, pytest.mark.skipif(shutil.which("sipp") is None, reason="sipp is not installed")]


class Platform:
    """Edge and registrar on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        clock, rng = ReactorClock(reactor), SystemRng()
        self.directory = FakeDirectory()
        self.directory.add_domain("spce.test")
        for i in range(1003, 1023):
            self.directory.add(i, f"testuser{i}")
        self.journal = Journal(MemoryDisk(), clock, InlineExecutor(), "/journal", "self")
        self.journal.open()
        self.stack = Stack(clock, rng, ReactorNet(reactor))
        bindings = Bindings(self.journal, RedisBindingHome(MemoryKeyValue(clock, rng), clock, "self"), clock)
        self.location = Location(bindings, clock, rng, "self")
        answers = Answers(rng)
        own = Own(self.stack.transports, lambda name: self.directory.domain(name) is not None)
        auth = Authenticator(self.directory, NonceMaker(rng.bytes(32), clock))
        self.registrar = Registrar(self.directory, auth, self.location, answers, clock, rng, is_us=own.address)
        self.stack.handler = Edge(self.stack, own, self.registrar, FakeCalls(), answers)
        self.port = self.stack.listen("udp", ("127.0.0.1", 0)).address[1]
        self.stack.listen("tcp", ("127.0.0.1", self.port))

    def close(self) -> Any:
        self.stack.close()
        return self.journal.close()


@pytest.fixture
def platform() -> Iterator[Platform]:
    made = Platform()
    yield made
    made.close()


async def sipp(platform: Platform, tmp_path: Path, scenario: str, *, tcp: bool = False, users: int = 1, options: tuple[str, ...] = ()) -> None:
    """Run a scenario once per user; fails with SIPp's own report."""
    lines = [f"testuser{1003 + i};spce.test;[authentication username=testuser{1003 + i} password=testuser]" for i in range(users)]
    (tmp_path / "users.csv").write_text("\n".join(["SEQUENTIAL", *lines]) + "\n")
    args = [
        *("-sf", str(SCENARIOS / scenario), "-inf", "users.csv", "-i", "127.126.0.1", "-m", str(users), "-r", "20", "-l", "10"),
        *("-t", "tn" if tcp else "u1", "-max_socket", "100", "-nostdin", "-timeout", "20s", "-timeout_error", "-recv_timeout", "5000"),
        *("-trace_err", "-error_file", "errors.log", *options, f"127.0.0.1:{platform.port}"),
    ]
    out, err, code = await getProcessOutputAndValue(shutil.which("sipp") or "sipp", args, env={**os.environ, "TERM": "dumb"}, path=str(tmp_path))
    errors = tmp_path / "errors.log"
    assert code == 0, (out[-1500:].decode(), err.decode(), errors.read_text() if errors.exists() else "")


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest_twisted.ensureDeferred
async def test_register_again_query_remove(platform: Platform, tmp_path: Path, tcp: bool) -> None:
    await sipp(platform, tmp_path, "register.xml", tcp=tcp, users=10)
    assert list(platform.registrar.all()) == []
    assert platform.registrar.counters["sent_200"] == 40 and platform.registrar.counters["sent_401"] == 40


@pytest_twisted.ensureDeferred
async def test_binding_stays(platform: Platform, tmp_path: Path) -> None:
    await sipp(platform, tmp_path, "register_stay.xml", users=3)
    found = list(platform.registrar.all())
    assert sorted(b.subscriber_id for b in found) == [1003, 1004, 1005]
    assert {(b.nat, b.received, b.transport) for b in found} == {(False, None, "udp")}


@pytest_twisted.ensureDeferred
async def test_binding_goes_with_the_connection(platform: Platform, tmp_path: Path) -> None:
    await sipp(platform, tmp_path, "register_stay.xml", tcp=True, users=3)
    assert platform.registrar.counters["sent_200"] == 3
    for _ in range(500):
        if not platform.stack.transports.flows:
            break
        await deferLater(reactor, 0.01)
    assert not platform.stack.transports.flows
    assert list(platform.registrar.all()) == []


@pytest.mark.parametrize("ignored", [False, True])
@pytest_twisted.ensureDeferred
async def test_allowed_ips(platform: Platform, tmp_path: Path, ignored: bool) -> None:
    platform.directory.add(1003, "testuser1003", allowed=(network("1.2.3.4/32"),))
    if ignored:
        platform.directory.prefs(1003, ignore_allowed_ips="1")
    await sipp(platform, tmp_path, "register_stay.xml" if ignored else "register_allowip.xml")
    assert len(list(platform.registrar.all())) == ignored

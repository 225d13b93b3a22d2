"""The relay process for real: own process, real UDP sockets on loopback addresses."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from ngcpd.media import ChildSpawner, Engine, Interface, MediaError, NoPorts, Policy, Settings, StreamCounters
from ngcpd.runtime.ports import Address
from ngcpd.runtime.real import ReactorClock, ReactorNet
from tests.media.parties import rtcp, rtp, sdp, where

RELAY, ALICE, BOB, EVE = "127.20.0.1", "127.20.0.10", "127.20.0.20", "127.20.0.66"
PATIENCE = 15.0  # s, for a busy machine
clock = ReactorClock(reactor)
net = ReactorNet(reactor)
run = pytest_twisted.ensureDeferred


def until(condition: Callable[[], object], again: Callable[[], object] = lambda: None, every: float = 0.02) -> Deferred[None]:
    """Fires when `condition` holds, looking (and doing `again`) at short intervals; errbacks when patience ends."""
    done: Deferred[None] = Deferred()
    end = clock.monotonic() + PATIENCE

    def look() -> None:
        if condition():
            done.callback(None)
        elif clock.monotonic() > end:
            done.errback(AssertionError("waited in vain"))
        else:
            again()
            clock.call_later(every, look)

    look()
    return done


class Phone:
    """An RTP and an RTCP socket on a free pair of ports."""

    def __init__(self, host: str) -> None:
        self.heard: list[tuple[bytes, Address]] = []
        self.heard_rtcp: list[tuple[bytes, Address]] = []
        while True:
            self.rtp = net.udp((host, 0), lambda data, source: self.heard.append((data, source)))
            self.host, self.port = self.rtp.address
            try:
                self.rtcp = net.udp((host, self.port + 1), lambda data, source: self.heard_rtcp.append((data, source)))
                return
            except OSError:
                self.rtp.close()

    def sdp(self, *extra: str, **more: Any) -> bytes:
        return sdp(self.host, self.port, *extra, **more)

    def close(self) -> None:
        self.rtp.close()
        self.rtcp.close()

    async def reaches(self, to: Address, other: Phone, data: bytes) -> None:
        """Send until `other` hears it, as a phone sends every 20 ms."""
        await until(lambda: any(heard == data for heard, _source in other.heard), lambda: self.rtp.send(data, to))
        other.heard.clear()


def files() -> int:
    return len(os.listdir("/proc/self/fd"))


def relay_pid(engine: Engine) -> int:
    channel = engine.client._channel
    return int(channel.name) if channel is not None else 0


@asynccontextmanager
async def engine(settings: Settings | None = None, interfaces: list[Interface] | None = None) -> AsyncIterator[Engine]:
    before = files()
    settings = settings or Settings(min_port=20000, max_port=20199, batch=4)
    made = Engine(clock, ChildSpawner(reactor, clock), interfaces or [Interface("default", RELAY)], settings)
    await made.start()
    try:
        yield made
    finally:
        pid = relay_pid(made)
        await made.stop()
        if pid:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        assert made.counters().used == 0
        assert files() == before


def set_up(made: Engine, a: Phone, b: Phone, policy_b: Policy | None = None) -> tuple[Any, Address, Address]:
    session = made.session("call@test")
    offer = session.rewrite(a.sdp(), "a", "b0", policy_b or Policy(), source=(a.host, 5060))
    answer = session.rewrite(b.sdp(), "b0", "a", Policy(), source=(b.host, 5060))
    session.select("b0")
    return session, where(answer), where(offer)


async def both_ways(a: Phone, b: Phone, to_a: Address, to_b: Address, mark: int = 0) -> None:
    await a.reaches(to_a, b, rtp(mark + 1, 1))
    await b.reaches(to_b, a, rtp(mark + 2, 2))


@run
async def test_both_ways_with_rtcp_and_exact_counters() -> None:
    async with engine() as made:
        a, b = Phone(ALICE), Phone(BOB)
        session, to_a, to_b = set_up(made, a, b)
        await both_ways(a, b, to_a, to_b)
        await until(lambda: b.heard_rtcp, lambda: a.rtcp.send(rtcp(1), (to_a[0], to_a[1] + 1)))
        await until(lambda: a.heard_rtcp, lambda: b.rtcp.send(rtcp(2), (to_b[0], to_b[1] + 1)))
        assert b.heard_rtcp[0] == (rtcp(1), (to_b[0], to_b[1] + 1))
        for n in range(50):
            a.rtp.send(rtp(n, 77), to_a)
        await until(lambda: len([1 for data, _s in b.heard if data[8:12] == (77).to_bytes(4, "big")]) == 50)
        assert {source for _data, source in b.heard} == {to_b}
        final: Deferred[list[StreamCounters]] = Deferred()
        session.on_closed(final.callback)
        session.close()
        sides = {c.side: c for c in await final}
        assert sides["a"].packets >= 51 and sides["a"].octets == 32 * sides["a"].packets
        assert sides["a"].source == (ALICE, a.port) and sides["b0"].source == (BOB, b.port)
        assert sides["a"].rtcp_packets >= 1 and sides["a"].strangers == 0
        last = sides["a"].last_packet
        assert last is not None and abs(last - clock.time()) < PATIENCE
        a.close(), b.close()


@run
async def test_reports_come_while_the_call_lasts() -> None:
    async with engine() as made:
        a, b = Phone(ALICE), Phone(BOB)
        session, to_a, to_b = set_up(made, a, b)
        await both_ways(a, b, to_a, to_b)
        await until(lambda: all(c.packets for c in session.counters()))
        a.close(), b.close()


@run
async def test_between_ipv4_and_ipv6() -> None:
    async with engine(interfaces=[Interface("default", RELAY), Interface("default", "::1")]) as made:
        a, b = Phone(ALICE), Phone("::1")
        session, to_a, to_b = set_up(made, a, b, Policy(family="6"))
        assert (to_a[0], to_b[0]) == (RELAY, "::1")
        await both_ways(a, b, to_a, to_b)
        await until(lambda: a.heard_rtcp, lambda: b.rtcp.send(rtcp(2), (to_b[0], to_b[1] + 1)))
        held = session.rewrite(sdp("0.0.0.0", a.port, version=2), "a", "b0", Policy(family="6"))
        assert where(held)[0] == "::1" and b"a=sendonly" in held
        a.close(), b.close()


@run
async def test_a_spray_from_a_third_address_never_leaks() -> None:
    async with engine() as made:
        a, b, eve = Phone(ALICE), Phone(BOB), Phone(EVE)
        session, to_a, to_b = set_up(made, a, b)

        def spray(count: int) -> None:
            for n in range(count):
                for to in (to_a, to_b):
                    eve.rtp.send(rtp(n, 66), to)
                    eve.rtcp.send(rtcp(66), (to[0], to[1] + 1))
                    eve.rtp.send(b"\x16\xfe\xff" + bytes(n), to)

        spray(40)  # before anybody has spoken
        await until(lambda: any(data == rtp(1, 1) for data, _s in b.heard), lambda: (spray(2), a.rtp.send(rtp(1, 1), to_a)))
        await until(lambda: any(data == rtp(2, 2) for data, _s in a.heard), lambda: (spray(2), b.rtp.send(rtp(2, 2), to_b)))
        spray(40)  # after the lock
        await both_ways(a, b, to_a, to_b, 10)
        for phone in (a, b):
            assert all(data[8:12] != (66).to_bytes(4, "big") for data, _s in phone.heard) and phone.heard_rtcp == []
        assert eve.heard == eve.heard_rtcp == []
        await until(lambda: all(c.strangers >= 80 for c in session.counters()))
        assert made.counters().restarts == 0
        a.close(), b.close(), eve.close()


@run
async def test_hold_and_resume() -> None:
    async with engine() as made:
        a, b = Phone(ALICE), Phone(BOB)
        session, to_a, to_b = set_up(made, a, b)
        await both_ways(a, b, to_a, to_b)
        session.rewrite(sdp("0.0.0.0", a.port, version=2), "a", "b0", Policy())
        await a.reaches(to_a, b, rtp(7))  # the relay has obeyed by now, or will after the next
        await a.reaches(to_a, b, rtp(8))
        a.heard.clear()
        for n in range(5):
            b.rtp.send(rtp(n, 5), to_b)
        await a.reaches(to_a, b, rtp(9))
        assert a.heard == []
        session.rewrite(a.sdp(version=3), "a", "b0", Policy())
        await both_ways(a, b, to_a, to_b, 20)
        a.close(), b.close()


@run
async def test_silence_is_reported() -> None:
    async with engine(Settings(min_port=20000, max_port=20199, batch=4, rtp_timeout=0.3)) as made:
        a, b = Phone(ALICE), Phone(BOB)
        session, to_a, to_b = set_up(made, a, b)
        silent: Deferred[None] = Deferred()
        session.on_timeout(lambda: silent.callback(None))
        await both_ways(a, b, to_a, to_b)
        await silent
        assert session.timeout_kind == "media"
        a.close(), b.close()


@run
async def test_killed_media_flows_again_on_the_same_ports() -> None:
    async with engine(Settings(min_port=20000, max_port=20199, batch=4)) as made:
        a, b = Phone(ALICE), Phone(BOB)
        session, to_a, to_b = set_up(made, a, b)
        await both_ways(a, b, to_a, to_b)
        first = relay_pid(made)
        died = clock.monotonic()
        os.kill(first, signal.SIGKILL)
        await until(lambda: made.counters().restarts == 1)
        other = made.session("meanwhile")
        await until(lambda: relay_pid(made) not in (0, first))
        assert clock.monotonic() - died < 1.5
        await both_ways(a, b, to_a, to_b, 30)
        c, d = Phone(ALICE), Phone(BOB)
        to_d = where(other.rewrite(c.sdp(), "a", "b0", Policy()))
        to_c = where(other.rewrite(d.sdp(), "b0", "a", Policy()))
        await both_ways(c, d, to_c, to_d)
        session.close(), other.close()
        assert made.counters().used == 0
        for phone in (a, b, c, d):
            phone.close()


@run
async def test_a_stopped_process_is_replaced() -> None:
    async with engine(Settings(min_port=20000, max_port=20199, batch=4, ping=0.1, wedged=1.0)) as made:
        a, b = Phone(ALICE), Phone(BOB)
        _session, to_a, to_b = set_up(made, a, b)
        await both_ways(a, b, to_a, to_b)
        os.kill(relay_pid(made), signal.SIGSTOP)
        await until(lambda: made.counters().restarts == 1)
        await both_ways(a, b, to_a, to_b, 30)
        a.close(), b.close()


@run
async def test_signals_for_the_daemon_do_not_end_it() -> None:
    async with engine() as made:
        a, b = Phone(ALICE), Phone(BOB)
        _session, to_a, to_b = set_up(made, a, b)
        await both_ways(a, b, to_a, to_b)
        pid = relay_pid(made)
        assert os.getpgid(pid) != os.getpgid(0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
            await both_ways(a, b, to_a, to_b, 10 * number)
        assert relay_pid(made) == pid and made.counters().restarts == 0
        a.close(), b.close()


@run
async def test_an_exhausted_range_recovers_after_close() -> None:
    async with engine(Settings(min_port=20000, max_port=20007, batch=4, quarantine=0.2)) as made:
        a, b = Phone(ALICE), Phone(BOB)
        first, _x, _y = set_up(made, a, b)
        second = made.session("second")
        await until(lambda: made.client.available(0) == 2)
        second.rewrite(a.sdp(), "a", "b0", Policy())
        second.rewrite(a.sdp(), "a", "b1", Policy())
        with pytest.raises(NoPorts):
            second.rewrite(b.sdp(), "b0", "a", Policy())
        first.close()
        await until(lambda: made.client.available(0) == 2)
        to_a = where(second.rewrite(b.sdp(), "b1", "a", Policy()))
        await a.reaches(to_a, b, rtp(1))
        a.close(), b.close()


@run
async def test_a_port_that_another_program_holds_is_skipped() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((RELAY, 20003))
        async with engine(Settings(min_port=20000, max_port=20007, batch=4)) as made:
            session = made.session("c")
            await until(lambda: made.client.available(0) == 3)
            ports = {where(session.rewrite(sdp(ALICE, 4000), "a", f"b{n}", Policy()))[1] for n in range(3)}
            assert ports == {20000, 20004, 20006}


@run
async def test_an_address_of_another_machine_fails_the_start() -> None:
    made = Engine(clock, ChildSpawner(reactor, clock), [Interface("default", "192.0.2.200")], Settings(min_port=20000, max_port=20199))
    with pytest.raises(MediaError, match=r"192\.0\.2\.200: Cannot assign requested address"):
        await made.start()
    await made.stop()


@run
async def test_an_interpreter_that_is_missing_fails_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    before = files()
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    made = Engine(clock, ChildSpawner(reactor, clock), [Interface("default", RELAY)])
    with pytest.raises(MediaError, match="cannot be started: No such file"):
        await made.start()
    assert files() == before


@run
async def test_many_sockets() -> None:
    """More than the usual limit of 1024 files: the process raises its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard - 1), hard))
    async with engine(Settings(min_port=20000, max_port=21999, batch=64)) as made:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with open(f"/proc/{relay_pid(made)}/limits") as limits:
            [line] = [line for line in limits if line.startswith("Max open files")]
        assert line.split()[3] == line.split()[4]
        sessions = []
        for n in range(300):
            await until(lambda: made.client.available(0) >= 2, every=0.001)
            session = made.session(str(n))
            session.rewrite(sdp(ALICE, 4000), "a", "b0", Policy())
            session.rewrite(sdp(BOB, 4000), "b0", "a", Policy())
            sessions.append(session)
        a, b = Phone(ALICE), Phone(BOB)
        await until(lambda: made.client.available(0) >= 2)
        _session, to_a, to_b = set_up(made, a, b)
        await both_ways(a, b, to_a, to_b)
        assert made.counters().used == 602
        for session in sessions:
            session.close()
        assert made.counters().used == 2
        a.close(), b.close()


ORPHAN = """
import sys
from twisted.internet import asyncioreactor; asyncioreactor.install()
from twisted.internet import reactor
from ngcpd.media import ChildSpawner, Engine, Interface, Settings
from ngcpd.runtime.real import ReactorClock
clock = ReactorClock(reactor)
settings = Settings(min_port=20000, max_port=20199)
engine = Engine(clock, ChildSpawner(reactor, clock), [Interface("default", "127.20.0.9")], settings)
engine.start().addCallback(lambda _: (sys.stdout.write(engine.client._channel.name + "\\n"), sys.stdout.flush()))
reactor.run()
"""


def test_it_ends_with_its_parent() -> None:
    root = Path(__file__).resolve().parent.parent.parent
    with subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, cwd=root) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        watched = os.pidfd_open(child)
        try:
            parent.kill()
            ended, _w, _x = select.select([watched], [], [], PATIENCE)
            assert ended
        finally:
            os.close(watched)


@pytest.mark.parametrize("arguments", [[], ["x"], ["1", "2"], ["99"]])
def test_wrong_arguments(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "ngcpd.media.process", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr


def test_nonsense_on_the_stream_ends_it_in_one_line() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = subprocess.Popen(
            [sys.executable, "-m", "ngcpd.media.process", str(theirs.fileno())], pass_fds=(theirs.fileno(),), stderr=subprocess.PIPE, text=True
        )
        ours.sendall(b"\xff\xff\xff\xff")
        _out, complaint = child.communicate(timeout=PATIENCE)
    assert child.returncode == 3
    assert complaint == "ngcpd relay: frame of 4294967295 bytes\n"


def test_the_relay_process_loads_no_reactor() -> None:
    code = "import ngcpd.media.process, sys; print([m for m in sys.modules if m.split('.')[0] in ('twisted', 'asyncio', 'sqlalchemy')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

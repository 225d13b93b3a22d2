"""The engine and its relay process: start, death, wedge, restoration. The relay runs in the simulated world."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ngcpd.media import Engine, Interface, MediaError, Policy, Settings, wire
from ngcpd.media.control import Controller
from ngcpd.media.local import LocalSpawner, NetSockets
from ngcpd.runtime import log
from ngcpd.runtime.fake import SeededRng, SimClock
from ngcpd.runtime.simnet import SimNet
from tests.media.parties import ALICE, BOB, CAROL, EVE, RELAY4, World, rtp, sdp, talk, where, world


@pytest.fixture
def w() -> Iterator[World]:
    yield from world()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(log.sink, "write", found.append)
    return found


def test_media_flows_again_on_the_same_ports_after_the_relay_process_died(w: World, lines: list[str]) -> None:
    a, b = w.party(ALICE), w.party(CAROL, 12345)
    session = w.engine.session("c")
    to_b = where(session.rewrite(a.sdp(), "a", "b0", Policy()))
    to_a = where(session.rewrite(sdp("10.1.1.1", 5000), "b0", "a", Policy(), source=(CAROL, 5060)))
    session.select("b0")
    w.step()
    b.send(to_b, rtp(0))
    a.send(to_a, rtp(0))
    w.step(4.0)
    for round_ in range(3):
        lines.clear()
        a.take(), b.take()
        w.spawner.channels[-1].kill()
        w.step()
        a.send(to_a, rtp(1))
        assert b.take() == []
        w.step(1.0)
        a.send(to_a, rtp(2))
        assert b.take() == [rtp(2)], "towards the learned address at once"
        eve = w.party(EVE, 6000 + 2 * round_)
        for n in range(100):
            eve.send(to_b, rtp(n, 66))
            w.step(0.02)
        assert a.take() == [], "nobody can step into the gap"
        b.send(to_b, rtp(3))
        assert a.take() == [rtp(3)]
        words = [line.split()[0] for line in lines]
        assert words == ["warning", "info"], lines
        assert w.engine.counters().restarts == round_ + 1
        w.step(4.0)
    final: list[int] = []
    session.on_closed(lambda counters: final.append(sum(c.packets for c in counters)))
    session.close()
    w.step()
    assert final == [2 + 3 * 2], "counts of all relay processes together"


def test_calls_are_set_up_while_there_is_no_relay_process(w: World) -> None:
    w.spawner.channels[-1].kill()
    w.step()
    a, b = w.party(ALICE), w.party(BOB, 5000)
    session, to_a, to_b = talk(w, a, b)
    gone, _x, _y = talk(w, w.party(ALICE, 4100), w.party(BOB, 5100))
    gone.close()
    w.step(1.0)
    a.send(to_a, rtp(1))
    b.send(to_b, rtp(2))
    assert b.take() == [rtp(1)] and a.take() == [rtp(2)]
    session.close()


def test_a_relay_process_that_hangs_is_replaced(w: World, lines: list[str]) -> None:
    a, b = w.party(ALICE), w.party(BOB, 5000)
    _session, to_a, _to_b = talk(w, a, b)
    w.spawner.channels[-1].deaf = True
    w.step(10.0)
    assert len(w.spawner.channels) == 2
    assert "no answer for" in lines[0] and [line.split()[0] for line in lines] == ["warning", "info"]
    a.send(to_a, rtp(1))
    assert b.take() == [rtp(1)]
    w.step(100.0)
    assert len(w.spawner.channels) == 2


def test_the_last_counters_are_told_even_when_the_relay_process_ends_first(w: World) -> None:
    session, _to_a, _to_b = talk(w, w.party(ALICE), w.party(BOB, 5000))
    told: list[int] = []
    session.on_closed(lambda counters: told.append(len(counters)))
    session.close()
    w.spawner.channels[-1].kill()
    w.step()
    assert told == [2]


def test_a_relay_process_that_talks_nonsense_is_replaced(w: World) -> None:
    for nonsense in (b"\xff\xff\xff\xff", b"\0\0\0\3abc", b"\0\0\0\0"):
        before = len(w.spawner.channels)
        w.spawner.channels[-1]._say(nonsense)
        w.step(2.0)
        assert len(w.spawner.channels) == before + 1


def test_ports_of_the_free_that_somebody_took_meanwhile_are_not_used(w: World) -> None:
    session = w.engine.session("c")
    first = where(session.rewrite(sdp(ALICE, 4000), "a", "b0", Policy()))
    w.spawner.channels[-1].kill()
    taken = (RELAY4, first[1] + 2)
    sock = w.net.udp(taken, lambda data, source: None)
    w.step(2.0)
    for n in range(20):
        assert where(session.rewrite(sdp(ALICE, 4000), "a", f"b{n + 1}", Policy())) != taken
        w.step()
    sock.close()


def test_a_port_of_a_call_that_is_lost_is_said(w: World, lines: list[str]) -> None:
    a, b = w.party(ALICE), w.party(BOB, 5000)
    _session, to_a, _to_b = talk(w, a, b)
    w.spawner.channels[-1].kill()
    sock = w.net.udp(to_a, lambda data, source: None)
    w.step(2.0)
    assert any(line.startswith("error") and f"ports={to_a[1]}" in line for line in lines)
    sock.close()


def test_ports_in_use_by_others_are_skipped_and_come_back() -> None:
    net = SimNet(SimClock(), SeededRng())
    others = [net.udp((RELAY4, port), lambda data, source: None) for port in (30000, 30003)]
    w = World(Settings(min_port=30000, max_port=30007, batch=8), [Interface("default", RELAY4)], net)
    assert w.started
    session = w.engine.session("c")
    ports = {where(session.rewrite(sdp(ALICE, 4000), "a", f"b{n}", Policy()))[1] for n in range(2)}
    assert ports == {30004, 30006}
    w.step(1.5)
    assert w.engine.counters().free == 0
    for sock in others:
        sock.close()
    w.step(10.0)
    ports |= {where(session.rewrite(sdp(ALICE, 4000), "a", f"c{n}", Policy()))[1] for n in range(2)}
    assert ports == {30000, 30002, 30004, 30006}
    w.end()


# ----------------------------------------------------------------------------------------------------------------- start
def start_failure(net_hosts: tuple[str, ...], settings: Settings, busy: range = range(0), wait: float = 11.0) -> str:
    clock = SimClock()
    world_ = SimNet(clock, SeededRng())
    net = world_.host(*net_hosts)
    for port in busy:
        net.udp((net_hosts[0], port), lambda data, source: None)
    engine = Engine(clock, LocalSpawner(clock, net), [Interface("default", RELAY4)], settings)
    failures: list[BaseException] = []
    engine.start().addErrback(lambda f: failures.append(f.value))
    clock.advance(wait)
    [failure] = failures
    assert isinstance(failure, MediaError)
    done: list[object] = []
    engine.stop().addCallback(done.append)
    clock.advance(1.0)
    assert done == [None] and clock.pending() == 0
    return str(failure)


def test_an_address_that_is_not_ours_fails_the_start() -> None:
    assert start_failure(("10.9.9.9",), Settings(), wait=0.1) == f"media address cannot be used: {RELAY4}: cannot assign requested address"


def test_a_range_without_a_free_port_fails_the_start() -> None:
    text = start_failure((RELAY4,), Settings(min_port=30000, max_port=30003), range(30000, 30004))
    assert f"no free media ports on {RELAY4} in 30000-30003" in text


def test_a_relay_process_that_cannot_be_started_fails_the_start() -> None:
    def spawn() -> object:
        raise FileNotFoundError(2, "No such file or directory")

    clock = SimClock()
    engine = Engine(clock, spawn, [Interface("default", RELAY4)])  # type: ignore[arg-type]
    failures: list[str] = []
    engine.start().addErrback(lambda f: failures.append(str(f.value)))
    assert failures == ["relay process cannot be started: No such file or directory"]
    assert clock.pending() == 0


def test_stop_during_start() -> None:
    clock = SimClock()
    engine = Engine(clock, LocalSpawner(clock, SimNet(clock, SeededRng())), [Interface("default", RELAY4)])
    failures: list[str] = []
    engine.start().addErrback(lambda f: failures.append(str(f.value)))
    stopped: list[object] = []
    engine.stop().addCallback(stopped.append)
    engine.stop().addCallback(stopped.append)
    clock.advance(1.0)
    assert failures == ["stopped before it had started"] and stopped == [None, None] and clock.pending() == 0


# ------------------------------------------------------------------------------------------------------------------ wire
def frames(*commands: wire.Command) -> bytes:
    return b"".join(wire.pack(wire.CommandFrame(n + 1, command)) for n, command in enumerate(commands))


CONFIGURE = wire.Configure([(RELAY4, 30000, 30099)], [], 1.0, 3.0, 0.25)


def test_the_stream_may_be_cut_anywhere() -> None:
    clock = SimClock()
    said: list[bytes] = []
    controller = Controller(clock, NetSockets(SimNet(clock, SeededRng())), said.append)
    for byte in frames(CONFIGURE, wire.Grant(0, 2), wire.Ping()):
        controller.feed(bytes([byte]))
    events = [wire.decode_event(f) for f in wire.Unpacker().feed(b"".join(said))]
    assert [(e.number, e.body) for e in events] == [(1, wire.Ready({}, [])), (0, wire.Granted(0, [30000, 30002])), (3, wire.Pong([0]))]
    controller.shut()


@pytest.mark.parametrize(
    "data",
    [
        frames(wire.Ping()),
        frames(CONFIGURE, CONFIGURE),
        b"\x7f\0\0\0",
        b"\0\0\0\1\xc1",
        b"\0\0\0\2\x92\1",
        wire.pack(wire.EventFrame(1, wire.Pong([]))),
    ],
)
def test_nonsense_on_the_wire_is_an_error(data: bytes) -> None:
    clock = SimClock()
    controller = Controller(clock, NetSockets(SimNet(clock, SeededRng())), lambda data: None)
    with pytest.raises(wire.WireError):
        controller.feed(data)


def test_closing_twice_and_unknown_sessions_do_no_harm() -> None:
    clock = SimClock()
    said: list[bytes] = []
    controller = Controller(clock, NetSockets(SimNet(clock, SeededRng())), said.append)
    controller.feed(
        frames(CONFIGURE, wire.Close(7), wire.Close(7), wire.Free([wire.pid_of(0, 30000)]), wire.Update(3, [], 0.0, 0.0, 0), wire.Close(3))
    )
    closed = [e.body for e in map(wire.decode_event, wire.Unpacker().feed(b"".join(said))) if isinstance(e.body, wire.Closed)]
    assert closed == [wire.Closed(7, []), wire.Closed(7, []), wire.Closed(3, [])]
    clock.advance(1.0)
    assert clock.pending() == 0


def test_a_pair_belongs_to_one_session() -> None:
    clock = SimClock()
    said: list[bytes] = []
    controller = Controller(clock, NetSockets(SimNet(clock, SeededRng())), said.append)
    leg = wire.Leg(wire.pid_of(0, 30000), 0, 1, None)
    controller.feed(frames(CONFIGURE, wire.Update(1, [leg], 0.0, 0.0, 0), wire.Update(2, [leg], 0.0, 0.0, 0)))
    failed = [e.body for e in map(wire.decode_event, wire.Unpacker().feed(b"".join(said))) if isinstance(e.body, wire.Failed)]
    assert failed == [wire.Failed(2, [leg.pid], "in use by another session")]
    controller.shut()


def test_pairs_that_have_rested_are_forgotten_without_being_asked_about(w: World) -> None:
    for _ in range(20):
        session = w.engine.session("c")
        session.rewrite(sdp(ALICE, 4000), "a", "b0", Policy())
        session.release()
        session.release()
        w.step(0.5)
    assert len(w.engine.client._resting) <= 4
    assert w.engine.counters().quarantined == 1 and w.engine.counters().sessions == 0

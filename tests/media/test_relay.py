"""Packets through the relay: both ways, forks, silence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngcpd.media import Policy, Settings, StreamCounters
from ngcpd.media.ports import PortPool
from tests.media.parties import ALICE, BOB, CAROL, World, flood, odd, rtcp, rtp, sdp, talk, where, world

P = Policy()


@pytest.fixture
def w() -> Iterator[World]:
    yield from world()


def by_side(counters: list[StreamCounters]) -> dict[str, StreamCounters]:
    return {c.side: c for c in counters}


# ---------------------------------------------------------------------------------------------------------------- passing
def test_both_ways_rtp_and_rtcp(w: World) -> None:
    a, b = w.party(ALICE), w.party(BOB, 5000)
    session, to_a, to_b = talk(w, a, b)
    for n in range(5):
        a.send(to_a, rtp(n))
        b.send(to_b, rtp(n, 9))
    assert a.take() == [rtp(n, 9) for n in range(5)]
    assert b.take() == [rtp(n) for n in range(5)]
    a._rtcp.send(rtcp(1), odd(to_a))
    b._rtcp.send(rtcp(2), odd(to_b))
    w.step()
    assert a.take_rtcp() == [rtcp(2)] and b.take_rtcp() == [rtcp(1)]
    assert not a.heard and not b.heard
    final: list[list[StreamCounters]] = []
    session.on_closed(final.append)
    session.close()
    w.step()
    [counters] = final
    sides = by_side(counters)
    assert (sides["a"].packets, sides["a"].octets, sides["a"].rtcp_packets, sides["a"].rtcp_octets) == (5, 160, 1, 8)
    assert sides["a"].source == (ALICE, 4000) and sides["b0"].source == (BOB, 5000)
    assert sides["a"].kind == "audio" and sides["a"].strangers == sides["a"].undelivered == 0
    assert sides["b0"].last_packet == pytest.approx(w.clock.time(), abs=0.01)


def test_packets_come_from_the_address_in_the_sdp(w: World) -> None:
    a, b = w.party(ALICE), w.party(BOB, 5000)
    _session, to_a, to_b = talk(w, a, b)
    a.send(to_a, rtp(1))
    assert b.heard == [(rtp(1), to_b)]


def test_rtcp_on_the_port_of_rtp_passes(w: World) -> None:
    a, b = w.party(ALICE), w.party(BOB, 5000)
    _session, to_a, _to_b = talk(w, a, b)
    a.send(to_a, rtcp())
    assert b.take() == [rtcp()]


def test_rtcp_goes_where_a_rtcp_says(w: World) -> None:
    a, other = w.party(ALICE), w.party(CAROL, 7000)
    session = w.engine.session("c")
    offer = session.rewrite(a.sdp(), "a", "b0", P)
    answer = session.rewrite(sdp(BOB, 5000, f"a=rtcp:7001 IN IP4 {CAROL}"), "b0", "a", P)
    w.step()
    a._rtcp.send(rtcp(), odd(where(answer)))
    other._rtcp.send(rtcp(3), odd(where(offer)))
    w.step()
    assert other.take_rtcp() == [rtcp()] and a.take_rtcp() == [rtcp(3)]


def test_between_address_families(w: World) -> None:
    a, b = w.party(ALICE), w.party("2001:db8::20", 5000)
    session = w.engine.session("c")
    to_b = where(session.rewrite(a.sdp(), "a", "b0", Policy(dst_family=6)))
    to_a = where(session.rewrite(b.sdp(), "b0", "a", P))
    w.step()
    a.send(to_a, rtp(1))
    b.send(to_b, rtp(2))
    assert b.take() == [rtp(1)] and a.take() == [rtp(2)]


def test_fax_and_anything_from_the_signalled_address_passes(w: World) -> None:
    a, b = w.party(ALICE), w.party(BOB, 5000)
    session = w.engine.session("c")
    fax = ["m=image 4000 udptl t38"]
    offer = session.rewrite(a.sdp(media=fax), "a", "b0", P)
    answer = session.rewrite(b.sdp(media=["m=image 5000 udptl t38"]), "b0", "a", P)
    w.step()
    a.send(where(answer), b"\x00\x01\x02\x00\x06\x00")
    b.send(where(offer), b"\x16\xfe\xff" + b"hello" * 3)
    assert len(b.take()) == len(a.take()) == 1


def test_large_datagrams_are_not_cut(w: World) -> None:
    a, b = w.party(ALICE), w.party(BOB, 5000)
    _session, to_a, _to_b = talk(w, a, b)
    for size in (2047 - 12, 2048 - 12, 2049 - 12, 9000, 60000):
        a.send(to_a, rtp(1, payload=b"y" * size))
        assert b.take() == [rtp(1, payload=b"y" * size)]


def test_packets_before_the_answer_are_not_kept(w: World) -> None:
    a, b = w.party(ALICE), w.party(BOB, 5000)
    session = w.engine.session("c")
    to_b = where(session.rewrite(a.sdp(), "a", "b0", P))
    w.step()
    for n in range(10):
        b.send(to_b, rtp(n))
    to_a = where(session.rewrite(b.sdp(), "b0", "a", P))
    w.step()
    assert a.take() == []
    a.send(to_a, rtp(1))
    assert b.take() == [rtp(1)]


# ---------------------------------------------------------------------------------------------------------------- forks
def test_the_caller_hears_the_branch_whose_sdp_came_last_until_one_is_selected(w: World) -> None:
    a, b, c = w.party(ALICE), w.party(BOB, 5000), w.party(CAROL, 6000)
    session = w.engine.session("c")
    to_b, to_c = (where(session.rewrite(a.sdp(), "a", side, P)) for side in ("b0", "b1"))
    to_a = where(session.rewrite(b.sdp(), "b0", "a", P))

    def all_talk() -> tuple[list[bytes], list[bytes], list[bytes]]:
        w.step()
        b.send(to_b, rtp(1, 11))
        c.send(to_c, rtp(1, 12))
        a.send(to_a, rtp(1, 10))
        return a.take(), b.take(), c.take()

    assert all_talk() == ([rtp(1, 11)], [rtp(1, 10)], [])
    session.rewrite(c.sdp(), "b1", "a", P)
    assert all_talk() == ([rtp(1, 12)], [], [rtp(1, 10)])
    session.rewrite(b.sdp(), "b0", "a", P)
    assert all_talk() == ([rtp(1, 11)], [rtp(1, 10)], [])
    session.select("b1")
    assert all_talk() == ([rtp(1, 12)], [], [rtp(1, 10)])
    session.rewrite(b.sdp(version=2), "b0", "a", P)
    assert all_talk() == ([rtp(1, 12)], [], [rtp(1, 10)])
    session.drop("b0")
    assert all_talk() == ([rtp(1, 12)], [], [rtp(1, 10)])
    session.drop("b1")
    assert all_talk() == ([], [], [])


# --------------------------------------------------------------------------------------------------------------- silence
def test_silence_is_reported_once_after_the_answer() -> None:
    w = World(Settings(rtp_timeout=60.0, rtp_timeout_onhold=3600.0))
    a, b = w.party(ALICE), w.party(BOB, 5000)
    session = w.engine.session("c")
    late: list[float] = []
    session.on_timeout(lambda: late.append(w.clock.monotonic()))
    session.rewrite(a.sdp(), "a", "b0", P)
    to_a = where(session.rewrite(b.sdp(), "b0", "a", P))
    w.step(500.0)
    assert late == [], "ringing is not silence"
    session.select("b0")
    w.step(50.0)
    a.send(to_a, rtp(1))
    heard = w.clock.monotonic()
    w.step(59.0)
    assert late == []
    w.step(500.0)
    assert late == [pytest.approx(heard + 60.0, abs=0.01)] and session.timeout_kind == "media"
    session.select("b0")
    w.step(61.0)
    assert len(late) == 2, "armed anew"
    w.end()


@pytest.mark.parametrize("held", [("a=sendonly",), ("a=inactive",)])
def test_silence_on_hold_has_its_own_limit(w: World, held: tuple[str, ...]) -> None:
    a, b = w.party(ALICE), w.party(BOB, 5000)
    session, _to_a, _to_b = talk(w, a, b)
    late: list[float] = []
    session.on_timeout(lambda: late.append(w.clock.monotonic()))
    session.rewrite(a.sdp(*held, version=2), "a", "b0", P)
    w.step(3000.0)
    assert late == []
    session.rewrite(a.sdp(version=3), "a", "b0", P)
    w.step(59.0)
    assert late == [], "counted from the resume"
    w.step(2.0)
    assert len(late) == 1
    session.rewrite(sdp("0.0.0.0", 4000, version=4), "a", "b0", P)
    w.step(3599.0)
    assert len(late) == 1
    w.step(2.0)
    assert len(late) == 2


def test_strangers_do_not_keep_a_call_alive(w: World) -> None:
    a, b = w.party(ALICE), w.party(BOB, 5000)
    session, to_a, _to_b = talk(w, a, b)
    late: list[int] = []
    session.on_timeout(lambda: late.append(1))
    a.send(to_a, rtp(1))
    for _ in range(70):
        flood(w, [rtp(1, 66)], to_a)
        w.step(1.0)
    assert late == [1]


def test_longest_life_of_a_session() -> None:
    w = World(Settings(rtp_timeout=0.0, final_timeout=100.0))
    session, _to_a, _to_b = talk(w, w.party(ALICE), w.party(BOB, 5000))
    late: list[str] = []
    session.on_timeout(lambda: late.append(session.timeout_kind))
    w.step(99.0)
    assert late == []
    w.step(500.0)
    assert late == ["life"]
    w.end()


def test_nothing_is_reported_after_close(w: World) -> None:
    session, _to_a, _to_b = talk(w, w.party(ALICE), w.party(BOB, 5000))
    late: list[int] = []
    session.on_timeout(lambda: late.append(1))
    w.step(59.99)
    session.close()
    w.step(100.0)
    assert late == []


# ----------------------------------------------------------------------------------------------------------------- pool
@given(st.lists(st.sampled_from(["take", "give", "busy", "back", "wait"]), max_size=60), st.integers(0, 4))
@settings(max_examples=60)
def test_a_pool_never_gives_a_pair_twice_nor_before_its_rest(steps: list[str], keep: int) -> None:
    pool = PortPool(30000, 30011, 1.0, keep)
    assert pool.total == 6
    now, out, given_back = 0.0, [], {}
    for step in steps:
        if step == "take":
            port = pool.take(now)
            if port is not None:
                assert port not in out and now - given_back.get(port, -1.0) >= 1.0 and port % 2 == 0
                out.append(port)
        elif step == "wait":
            now += 0.4
        elif out:
            port = out.pop(0)
            if step == "give":
                pool.give(port, now, kept=keep > 0 and port % 4 == 0)
                given_back[port] = now
            elif step == "busy":
                pool.busy(port, now)
            else:
                pool.put_back(port)
        assert pool.free + pool.resting + pool.taken + len(out) == pool.total

"""Whose packets the relay accepts: strangers, NAT, changes during a call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ngcpd.media import Policy, StreamCounters
from ngcpd.runtime.ports import Address
from tests.media.parties import ALICE, BOB, CAROL, EVE, World, flood, odd, rtcp, rtp, sdp, talk, where, world

P = Policy()


@pytest.fixture
def w() -> Iterator[World]:
    yield from world()


def by_side(counters: list[StreamCounters]) -> dict[str, StreamCounters]:
    return {c.side: c for c in counters}


# ------------------------------------------------------------------------------------------------------------- strangers
SPRAY = [rtp(n, 66) for n in range(100)] + [rtcp(66)] * 20 + [b"", b"\x80", b"\x80" * 11, b"\x16\xfe\xff" * 20, b"\0" * 100]


def test_a_stranger_gets_and_gives_nothing_before_and_after_the_lock(w: World) -> None:
    a, b = w.party(ALICE), w.party(BOB, 5000)
    session, to_a, to_b = talk(w, a, b)
    flood(w, SPRAY, to_a, to_b)
    assert a.take() == b.take() == []
    for n in range(3):
        a.send(to_a, rtp(n))
        b.send(to_b, rtp(n))
        flood(w, SPRAY, to_a, to_b)
    assert a.take() == b.take() == [rtp(n) for n in range(3)]
    assert a.take_rtcp() == b.take_rtcp() == []
    w.step(6.0)
    assert by_side(session.counters())["a"].strangers == 4 * 2 * len(SPRAY)


def test_a_patient_stranger_loses_against_the_side_itself(w: World) -> None:
    a, b = w.party(ALICE), w.party(BOB, 5000)
    _session, to_a, to_b = talk(w, a, b)
    leaked: list[bytes] = []
    eve = w.net.udp((EVE, 6666), lambda data, source: leaked.append(data))
    for n in range(60):  # long enough to be believed
        eve.send(rtp(n, 66), to_a)
        w.step(0.02)
    b.take()
    a.send(to_a, rtp(1))
    for n in range(60, 300):
        eve.send(rtp(n, 66), to_a)
        b.send(to_b, rtp(n, 9))
        w.step(0.02)
    assert b.take() == [rtp(1)] and leaked == []
    assert len(a.take()) == 240


def test_a_source_behind_nat_is_learned_from_the_host_of_its_signalling(w: World) -> None:
    outside, b = w.party(CAROL, 12345), w.party(BOB, 5000)
    session = w.engine.session("c")
    session.rewrite(sdp("10.1.1.1", 4000), "a", "b0", P, source=(CAROL, 5060))
    answer = session.rewrite(b.sdp(), "b0", "a", P)
    to_b = where(session.rewrite(sdp("10.1.1.1", 4000), "a", "b0", P, source=(CAROL, 5060)))
    to_a = where(answer)
    w.step()
    flood(w, SPRAY, to_a)
    outside.send(to_a, rtp(0))
    assert b.take() == [rtp(0)], "from the first packet on"
    b.send(to_b, rtp(5))
    assert outside.take() == [rtp(5)]
    flood(w, SPRAY, to_a)
    w.step(3.5)
    flood(w, SPRAY, to_a)
    neighbour = w.party(CAROL, 22222)  # another device behind the same NAT comes too late
    neighbour.send(to_a, rtp(9))
    assert b.take() == []
    outside.send(to_a, rtp(1))
    outside._rtcp.send(rtcp(), odd(to_a))
    w.step()
    assert b.take() == [rtp(1)] and b.take_rtcp() == [rtcp()]


def test_the_signalled_address_wins_over_a_learned_one_inside_the_window_only(w: World) -> None:
    a, other, b = w.party(ALICE, 4000), w.party(ALICE, 9000), w.party(BOB, 5000)
    _session, to_a, _to_b = talk(w, a, b)
    other.send(to_a, rtp(1))
    assert b.take() == [rtp(1)]
    w.step(2.9)
    a.send(to_a, rtp(2))
    other.send(to_a, rtp(3))
    assert b.take() == [rtp(2)]
    _session, to_a, _to_b = talk(w, a, b)
    other.send(to_a, rtp(1))
    w.step(3.1)
    a.send(to_a, rtp(2))
    a.send(to_a, rtp(2))
    other.send(to_a, rtp(3))
    assert b.take() == [rtp(1), rtp(3)]


def test_an_equal_source_does_not_replace_a_learned_one_even_inside_the_window(w: World) -> None:
    first, second, b = w.party(CAROL, 1111), w.party(CAROL, 2222), w.party(BOB, 5000)
    session = w.engine.session("c")
    session.rewrite(sdp("10.1.1.1", 4000), "a", "b0", P, source=(CAROL, 5060))
    to_a = where(session.rewrite(b.sdp(), "b0", "a", P))
    w.step()
    first.send(to_a, rtp(1))
    second.send(to_a, rtp(2))
    first.send(to_a, rtp(3))
    assert b.take() == [rtp(1), rtp(3)]


def test_what_another_branch_does_opens_no_window(w: World) -> None:
    first, second, b = w.party(CAROL, 1111), w.party(CAROL, 2222), w.party(BOB, 5000)
    session = w.engine.session("c")
    for side in ("b0", "b1"):
        session.rewrite(sdp("10.1.1.1", 4000), "a", side, P, source=(CAROL, 5060))
    session.rewrite(sdp(EVE, 7000), "b1", "a", P)
    to_a = where(session.rewrite(b.sdp(), "b0", "a", P))
    w.step()
    first.send(to_a, rtp(1))
    w.step(4.0)
    second.send(to_a, rtp(2))
    session.drop("b1")
    session.select("b0")
    w.step()
    second.send(to_a, rtp(3))
    first.send(to_a, rtp(4))
    assert b.take() == [rtp(1), rtp(4)]


def test_what_came_to_an_idle_port_is_not_heard_later(w: World) -> None:
    a, b = w.party(ALICE), w.party(BOB, 5000)
    session = w.engine.session("c")
    to_b = where(session.rewrite(a.sdp(), "a", "b0", P))
    to_a = (to_b[0], to_b[1] + 2)  # the next in turn, already bound
    for n in range(10):
        a.send(to_a, rtp(n))
    assert where(session.rewrite(b.sdp(), "b0", "a", P)) == to_a
    w.step()
    a.send(to_a, rtp(99))
    assert b.take() == [rtp(99)]


def test_a_steady_source_from_elsewhere_is_believed_after_probation(w: World) -> None:
    elsewhere, b = w.party(CAROL, 7000), w.party(BOB, 5000)
    session = w.engine.session("c")
    session.rewrite(sdp(ALICE, 4000), "a", "b0", P)
    to_a = where(session.rewrite(b.sdp(), "b0", "a", P))
    w.step()
    for n in range(25):
        elsewhere.send(to_a, rtp(n))
        w.step(0.019)
    passed = b.take()
    assert passed and passed[0] == rtp(13) and passed[-1] == rtp(24)
    elsewhere._rtcp.send(rtcp(1), odd(to_a))
    w.step()
    assert b.take_rtcp() == [rtcp(1)], "from the host of the RTP"


def test_a_dtls_handshake_from_behind_nat_teaches_where_it_was_signalled(w: World) -> None:
    hello = b"\x16\xfe\xff" + b"\0" * 40
    outside, b = w.party(CAROL, 1111), w.party(BOB, 5000)
    for proto, heard in (("UDP/TLS/RTP/SAVP", [hello]), ("RTP/SAVP", [])):
        session = w.engine.session("c")
        session.rewrite(sdp("10.1.1.1", 4000, media=[f"m=audio 4000 {proto} 0"]), "a", "b0", P, source=(CAROL, 5060))
        to_a = where(session.rewrite(b.sdp(media=[f"m=audio 5000 {proto} 0"]), "b0", "a", P))
        w.step()
        flood(w, [hello] * 100, to_a)
        outside.send(to_a, hello)
        assert b.take() == heard


def test_an_address_of_the_wrong_family_is_learned(w: World) -> None:
    a, b = w.party("2001:db8::10", 4000), w.party(BOB, 5000)
    session = w.engine.session("c")
    to_b = where(session.rewrite(sdp(ALICE, 4000), "a", "b0", P, source=("2001:db8::10", 5060)))
    to_a = where(session.rewrite(b.sdp(), "b0", "a", Policy(family="6")))
    w.step()
    b.send(to_b, rtp(0))
    a.send(to_a, rtp(1))
    b.send(to_b, rtp(2))
    assert b.take() == [rtp(1)] and a.take() == [rtp(2)]


def test_an_unknown_address_is_learned_from_the_first_plausible_packet(w: World) -> None:
    a, b = w.party(ALICE), w.party(BOB, 5000)
    session = w.engine.session("c")
    to_b = where(session.rewrite(sdp("phone.example.com", 4000), "a", "b0", P))
    to_a = where(session.rewrite(b.sdp(), "b0", "a", P))
    w.step()
    b.send(to_b, rtp(0))
    assert a.take() == []
    a.send(to_a, b"not rtp at all")
    a.send(to_a, rtp(1))
    b.send(to_b, rtp(2))
    assert b.take() == [rtp(1)] and a.take() == [rtp(2)]


@pytest.mark.parametrize(
    "noise",
    [
        b"\x80",
        b"\x80\x00" + b"\0" * 9,
        b"\x40\x00" + b"\0" * 30,
        b"\x8f\x00" + b"\0" * 40,
        b"\x80\xc9\xff\xff" + b"\0" * 8,
        b"\x00\x01\x00\x00\x21\x12\xa4\x42" + b"\0" * 12,
    ],
)
def test_what_is_neither_rtp_nor_rtcp_teaches_nothing(w: World, noise: bytes) -> None:
    other, b = w.party(ALICE, 9000), w.party(BOB, 5000)
    session = w.engine.session("c")
    session.rewrite(sdp(ALICE, 4000), "a", "b0", P)
    to_a = where(session.rewrite(b.sdp(), "b0", "a", P))
    w.step()
    other.send(to_a, noise)
    assert b.take() == []


def test_a_call_to_itself_makes_no_loop(w: World) -> None:
    session = w.engine.session("c")
    to_b = where(session.rewrite(sdp(ALICE, 4000), "a", "b0", P))
    to_a = where(session.rewrite(sdp(ALICE, 4000), "b0", "a", P))
    session.rewrite(sdp(*to_b, version=2), "a", "b0", P)
    session.rewrite(sdp(*to_a, version=2), "b0", "a", P)
    w.step()
    eve = w.party(EVE, 2)
    count = 0

    def look(kind: str, data: bytes, source: Address, to: Address) -> bool:
        nonlocal count
        count += 1
        return count < 1000

    w.net.filter = look
    for n in range(50):
        eve.send(to_a, rtp(n))
        eve.send(to_b, rtp(n))
        w.step(0.02)
    assert count <= 200, "each packet is passed on once at most"


# ------------------------------------------------------------------------------------------------- changes during a call
def test_hold_with_the_zero_address_silences_one_direction_and_resume_restores_it(w: World) -> None:
    outside, b = w.party(CAROL, 12345), w.party(BOB, 5000)
    session = w.engine.session("c")
    natted = {"source": (CAROL, 5060)}
    to_b = where(session.rewrite(sdp("10.1.1.1", 4000), "a", "b0", P, **natted))
    to_a = where(session.rewrite(b.sdp(), "b0", "a", P))
    session.select("b0")
    w.step()
    outside.send(to_a, rtp(0))
    session.rewrite(sdp("0.0.0.0", 4000, version=2), "a", "b0", P, **natted)
    w.step()
    b.send(to_b, rtp(1))
    assert outside.take() == []
    outside.send(to_a, rtp(2))
    assert b.take() == [rtp(0), rtp(2)], "music on hold"
    w.step(100.0)
    session.rewrite(sdp("10.1.1.1", 4000, version=3), "a", "b0", P, **natted)
    w.step()
    b.send(to_b, rtp(3))
    assert outside.take() == [rtp(3)], "the learned address, not the private one"


def test_a_mapping_that_changed_during_hold_is_learned_again(w: World) -> None:
    before, after, b = w.party(CAROL, 1111), w.party(CAROL, 2222), w.party(BOB, 5000)
    session = w.engine.session("c")
    natted = {"source": (CAROL, 5060)}
    to_b = where(session.rewrite(sdp("10.1.1.1", 4000), "a", "b0", P, **natted))
    to_a = where(session.rewrite(b.sdp(), "b0", "a", P))
    w.step()
    before.send(to_a, rtp(0))
    w.step(4.0)
    session.rewrite(sdp("10.1.1.1", 4000, "a=sendonly", version=2), "a", "b0", P, **natted)
    w.step(300.0)
    session.rewrite(sdp("10.1.1.1", 4000, version=3), "a", "b0", P, **natted)
    w.step(5.0)
    flood(w, SPRAY * 10, to_a)
    after.send(to_a, rtp(1))
    b.send(to_b, rtp(2))
    assert b.take() == [rtp(0), rtp(1)] and after.take() == [rtp(2)]


def test_a_new_address_in_a_new_offer(w: World) -> None:
    a, moved, b = w.party(ALICE), w.party(CAROL, 8000), w.party(BOB, 5000)
    session, to_a, to_b = talk(w, a, b)
    a.send(to_a, rtp(0))
    assert where(session.rewrite(moved.sdp(version=2), "a", "b0", P)) == to_b
    w.step()
    a.send(to_a, rtp(1))  # still on its way from the old place
    w.step(20.0)
    flood(w, SPRAY * 10, to_a)
    moved.send(to_a, rtp(2))
    a.send(to_a, rtp(3))
    b.send(to_b, rtp(9))
    assert b.take() == [rtp(0), rtp(1), rtp(2)]
    assert moved.take() == [rtp(9)] and a.take() == []


def test_a_wrong_new_address_heals(w: World) -> None:
    """The side names another address but keeps sending from where it was: it is still there."""
    a, b = w.party(ALICE), w.party(BOB, 5000)
    session, to_a, to_b = talk(w, a, b)
    a.send(to_a, rtp(0))
    session.rewrite(sdp(ALICE, 4444, version=2), "a", "b0", P)
    for n in range(400):
        a.send(to_a, rtp(n))
        w.step(0.02)
    b.take()
    b.send(to_b, rtp(9))
    assert a.take() == [rtp(9)]
    flood(w, SPRAY * 20, to_a)
    assert b.take() == []


def test_a_refused_offer_is_taken_back(w: World) -> None:
    a, b = w.party(ALICE), w.party(BOB, 5000)
    session, to_a, to_b = talk(w, a, b)
    a.send(to_a, rtp(0))
    session.rewrite(sdp(CAROL, 8000, version=2), "a", "b0", P)
    session.rewrite(sdp(CAROL, 8000, version=2), "a", "b0", P)  # a retransmission
    assert session.revert("a")
    assert not session.revert("a") and not session.revert("b7")
    w.step()
    b.send(to_b, rtp(1))
    flood(w, SPRAY * 10, to_a)
    a.send(to_a, rtp(2))
    assert a.take() == [rtp(1)] and b.take() == [rtp(0), rtp(2)]


def test_a_refused_offer_with_the_same_lines_is_taken_back_to_the_last_accepted_one(w: World) -> None:
    a, b = w.party(CAROL, 8000), w.party(BOB, 5000)
    session, _, to_b = talk(w, w.party(ALICE), b)
    session.rewrite(sdp(CAROL, 8000, version=2), "a", "b0", P)
    session.rewrite(sdp(BOB, 5000, version=2), "b0", "a", P)
    session.rewrite(sdp(CAROL, 8000, version=3), "a", "b0", P)
    assert session.revert("a")
    w.step()
    b.send(to_b, rtp(1))
    w.step()
    assert a.take() == [rtp(1)]


def test_a_line_that_comes_back_does_not_trust_its_old_address(w: World) -> None:
    audio, video, dead = "m=audio 4000 RTP/AVP 0", "m=video 4002 RTP/AVP 31", "m=video 0 RTP/AVP 31"
    b = w.party(BOB, 4002)
    session = w.engine.session("c")
    for version, line in enumerate((video, dead)):
        session.rewrite(sdp(ALICE, 0, media=[audio, line], version=version), "a", "b0", P)
        session.rewrite(sdp(BOB, 0, media=[audio, line], version=version), "b0", "a", P)
    offer = session.rewrite(sdp(ALICE, 0, media=[audio, video], version=9), "a", "b0", P)
    w.step()
    b.send(where(offer, 1), rtp(1))
    w.step(6.0)
    assert [c.packets for c in session.counters() if c.local == where(offer, 1)] == [0]


def test_a_refresh_opens_no_window(w: World) -> None:
    a, b = w.party(ALICE), w.party(BOB, 5000)
    session, to_a, _to_b = talk(w, a, b)
    a.send(to_a, rtp(0))
    session.rewrite(a.sdp(version=2), "a", "b0", P, source=(ALICE, 5060))
    w.step()
    flood(w, SPRAY * 20, to_a, host=ALICE)
    assert b.take() == [rtp(0)]

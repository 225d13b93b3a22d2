"""What the sides get to see: SDP rewriting and port pairs over the life of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngcpd.media import BadSdp, Engine, Interface, MediaError, NoPorts, Policy, SessionClosed, Settings
from ngcpd.media.rewriting import OriginKeeper
from ngcpd.media.sdp import Origin, Sdp
from tests.media.parties import ALICE, BOB, CAROL, RELAY4, RELAY6, World, sdp, where, world

P = Policy()


@pytest.fixture
def w() -> Iterator[World]:
    yield from world()


def used(w: World) -> int:
    return w.engine.counters().used


def test_offer_and_answer_carry_the_relay_and_nothing_of_the_other_side(w: World) -> None:
    session = w.engine.session("c")
    offer = session.rewrite(sdp(ALICE, 4000, "a=ptime:20"), "a", "b0", P)
    host, port = where(offer)
    assert host == RELAY4 and 30000 <= port < 31000 and port % 2 == 0
    assert ALICE.encode() not in offer
    assert offer == sdp(RELAY4, port, "a=ptime:20")
    answer = session.rewrite(sdp(BOB, 5000, session="200"), "b0", "a", P)
    assert where(answer)[0] == RELAY4 and where(answer)[1] != port
    assert BOB.encode() not in answer and b"o=- 200 1 IN IP4 192.0.2.1" in answer
    assert used(w) == 2


def test_the_same_body_again_changes_nothing(w: World) -> None:
    session = w.engine.session("c")
    bodies = [session.rewrite(sdp(ALICE, 4000), "a", "b0", P) for _ in range(3)]
    answers = [session.rewrite(sdp(BOB, 5000), "b0", "a", P) for _ in range(3)]
    assert len(set(bodies)) == len(set(answers)) == 1
    assert used(w) == 2


def test_branches_have_their_own_ports_and_the_caller_one_set(w: World) -> None:
    session = w.engine.session("c")
    offers = [session.rewrite(sdp(ALICE, 4000), "a", f"b{n}", P) for n in range(3)]
    assert len({where(o) for o in offers}) == 3
    answers = [session.rewrite(sdp(BOB, 5000 + n, session=str(n)), f"b{n}", "a", P) for n in range(3)]
    assert len({where(a) for a in answers}) == 1
    assert used(w) == 4
    session.drop("b1")
    session.drop("b1")
    session.drop("nobody")
    assert used(w) == 3
    session.close()
    assert used(w) == 0
    assert session.close() == session.close()


def test_several_lines_in_order_rejected_and_foreign_ones_untouched(w: World) -> None:
    session = w.engine.session("c")
    media = [
        "m=audio 4000 RTP/AVP 0",
        "m=message 7000 TCP/MSRP *",
        "a=path:msrp://x",
        "m=video 4002 RTP/AVP 31",
        "c=IN IP4 198.51.100.11",
        "m=video 0 RTP/AVP 32",
        "m=image 4004 udptl t38",
        "m=audio 4006 UDP/TLS/RTP/SAVPF 0",
    ]
    out = session.rewrite(sdp(ALICE, 0, media=media), "a", "b0", P)
    seen = Sdp.parse(out)
    assert [m.kind for m in seen.media] == ["audio", "message", "video", "video", "image", "audio"]
    ports = [m.port for m in seen.media]
    assert ports[1] == 7000 and ports[3] == 0
    relayed = [ports[0], ports[2], ports[4], ports[5]]
    assert len(set(relayed)) == 4 and all(30000 <= p < 31000 for p in relayed)
    assert used(w) == 4
    # The foreign line leaned on the session's address and keeps it.
    connection = seen.media[1].connection
    assert connection is not None and connection.address == ALICE
    assert [where(out, k)[0] for k in (0, 2, 4, 5)] == [RELAY4] * 4
    assert out.index(b"a=path:msrp://x") > out.index(b"m=message")


def test_rtcp_attribute_follows(w: World) -> None:
    session = w.engine.session("c")
    out = session.rewrite(sdp(ALICE, 4000, "a=rtcp:4009 IN IP4 198.51.100.77"), "a", "b0", P).decode()
    port = where(out.encode())[1]
    assert f"a=rtcp:{port + 1} IN IP4 {RELAY4}" in out
    out = session.rewrite(sdp(ALICE, 4000, "a=rtcp:4001", version=2), "a", "b0", P).decode()
    assert f"a=rtcp:{port + 1}\r\n" in out
    out = session.rewrite(sdp(ALICE, 4000, "a=rtcp:4000", "a=rtcp-mux", version=3), "a", "b0", P).decode()
    assert f"a=rtcp:{port}\r\n" in out and "a=rtcp-mux\r\n" in out


ICE = ("a=ice-ufrag:x", "a=ice-pwd:y", "a=candidate:1 1 UDP 1 198.51.100.10 4000 typ host", "a=ice-options:trickle", "a=end-of-candidates")


def test_ice_is_stripped_under_that_policy_only(w: World) -> None:
    session = w.engine.session("c")
    body = sdp(ALICE, 4000, *ICE, "a=icecream:vanilla").replace(b"t=0 0", b"t=0 0\r\na=ice-lite")
    out = session.rewrite(body, "a", "b0", P)
    assert b"a=ice-" not in out and b"candidate" not in out and ALICE.encode() not in out
    assert b"a=icecream:vanilla" in out
    kept = session.rewrite(body, "a", "b1", Policy(strip_ice=False))
    assert kept.count(b"a=ice-") == 4 and b"a=candidate:1 1 UDP 1 198.51.100.10" in kept


def test_address_families(w: World) -> None:
    session = w.engine.session("c")
    out = session.rewrite(sdp(ALICE, 4000), "a", "b0", Policy(family="6"))
    assert where(out)[0] == RELAY6 and b"o=- 100 1 IN IP6 2001:db8::1" in out
    out = session.rewrite(sdp("2001:db8::20", 5000), "b0", "a", P)
    assert where(out)[0] == RELAY4, "the caller uses IPv4 itself"
    assert where(session.rewrite(sdp(ALICE, 4000), "a", "b1", Policy(dst_family=6)))[0] == RELAY6
    assert where(session.rewrite(sdp(ALICE, 4000), "a", "b2", P))[0] == RELAY4
    late = w.engine.session("late")
    assert where(late.rewrite(sdp("2001:db8::20", 5000), "b0", "a", P))[0] == RELAY6, "the offerer's, for want of anything better"


def test_interfaces_and_advertised_addresses() -> None:
    interfaces = [Interface("default", RELAY4), Interface("ext", "10.0.0.1", "203.0.113.1"), Interface("ext", "10.0.0.2", "203.0.113.2")]
    w = World(interfaces=interfaces)
    session = w.engine.session("c")
    host, _port = where(session.rewrite(sdp(ALICE, 4000), "a", "b0", Policy(interface="ext")))
    assert host in ("203.0.113.1", "203.0.113.2")
    two = session.rewrite(sdp(ALICE, 4000, "m=video 4002 RTP/AVP 31", version=2), "a", "b0", Policy(interface="ext"))
    assert where(two, 0)[0] == where(two, 1)[0] == host
    assert where(session.rewrite(sdp(ALICE, 4000), "a", "b1", Policy(interface="nonsense")))[0] == RELAY4
    with pytest.raises(NoPorts, match="no IPv6 address"):
        session.rewrite(sdp(ALICE, 4000), "a", "b2", Policy(family="6"))
    assert where(session.rewrite(sdp(ALICE, 4000), "a", "b2", Policy(dst_family=6)))[0] == RELAY4
    w.end()


def test_hold_with_the_zero_address_stays_one(w: World) -> None:
    session = w.engine.session("c")
    session.rewrite(sdp(ALICE, 4000), "a", "b0", P)
    session.rewrite(sdp(BOB, 5000), "b0", "a", P)
    held = session.rewrite(sdp("0.0.0.0", 4000, version=2), "a", "b0", P)
    assert where(held)[0] == "0.0.0.0" and b"o=- 100 2 IN IP4 192.0.2.1" in held
    back = session.rewrite(sdp(ALICE, 4000, version=3), "a", "b0", P)
    assert where(back) == (RELAY4, where(held)[1])
    # There is no such address in IPv6: the direction says it.
    other = session.rewrite(sdp("0.0.0.0", 4000, version=4), "a", "b6", Policy(family="6"))
    assert where(other)[0] == RELAY6 and b"a=sendonly" in other


def test_direction_attributes_pass(w: World) -> None:
    session = w.engine.session("c")
    for direction in ("sendonly", "recvonly", "inactive", "sendrecv"):
        assert f"a={direction}".encode() in session.rewrite(sdp(ALICE, 4000, f"a={direction}"), "a", "b0", P)


def test_lines_come_and_go_over_offers(w: World) -> None:
    session = w.engine.session("c")
    audio, video, dead = "m=audio 4000 RTP/AVP 0", "m=video 4002 RTP/AVP 31", "m=video 0 RTP/AVP 31"
    first = session.rewrite(sdp(ALICE, 0, media=[audio]), "a", "b0", P)
    session.rewrite(sdp(BOB, 0, media=[audio]), "b0", "a", P)
    assert used(w) == 2
    second = session.rewrite(sdp(ALICE, 0, media=[audio, video], version=2), "a", "b0", P)
    assert where(second, 0) == where(first, 0)
    session.rewrite(sdp(BOB, 0, media=[audio, video], version=2), "b0", "a", P)
    assert used(w) == 4
    third = session.rewrite(sdp(ALICE, 0, media=[audio, dead], version=3), "a", "b0", P)
    assert where(third, 1)[1] == 0
    assert used(w) == 4, "still in use until the other side agrees"
    session.rewrite(sdp(BOB, 0, media=[audio, dead], version=3), "b0", "a", P)
    assert used(w) == 2
    again = session.rewrite(sdp(ALICE, 0, media=[audio, video], version=4), "a", "b0", P)
    assert where(again, 1)[1] != 0
    session.rewrite(sdp(BOB, 0, media=[audio, dead], version=4), "b0", "a", P)
    assert used(w) == 2, "a rejected line costs nothing"
    assert [c.line for c in session.counters() if c.side == "a"].count(1) == 1, "what the removed line counted is kept"


def test_late_offer(w: World) -> None:
    session = w.engine.session("c")
    offer = session.rewrite(sdp(BOB, 5000), "b0", "a", P)
    answer = session.rewrite(sdp(ALICE, 4000), "a", "b0", P)
    assert where(offer) != where(answer) and used(w) == 2


def test_origin_is_one_and_its_version_grows(w: World) -> None:
    session = w.engine.session("c")

    def origin(body: bytes) -> tuple[str, int]:
        found = Sdp.parse(body).origin
        return found.session, int(found.version)

    def say(port: int, version: int, sid: str) -> tuple[str, int]:
        return origin(session.rewrite(sdp(ALICE, port, version=version, session=sid), "a", "b0", P))

    assert say(4000, 5, "100") == ("100", 5)
    assert say(4000, 5, "100") == ("100", 5)
    assert say(4000, 6, "100") == ("100", 6), "a refresh"
    session.rewrite(sdp(BOB, 5000), "b0", "a", P)
    body = sdp(ALICE, 4000, "a=sendonly", version=6)
    assert origin(session.rewrite(body, "a", "b0", P)) == ("100", 7), "a change that its sender forgot to count"
    assert say(4000, 1, "777") == ("100", 8), "another user agent behind the same side"
    assert say(4000, 1, "777") == ("100", 8)
    assert origin(session.rewrite(sdp(ALICE, 4000, "a=inactive", version=2, session="777"), "a", "b0", P)) == ("100", 9)


@given(st.lists(st.tuples(st.integers(0, 2**64), st.sampled_from(["1", "2"]), st.integers(0, 3)), min_size=2, max_size=12))
def test_origin_versions_never_fall_and_grow_with_changes(steps: list[tuple[int, str, int]]) -> None:
    keeper = OriginKeeper(Origin("-", steps[0][1], str(steps[0][0]), "IN", "IP4", "10.0.0.1"), "192.0.2.1")
    last: tuple[int, bytes] | None = None
    for version, session, content in steps:
        made = Sdp.parse(sdp("10.0.0.1", 4000, f"a=x:{content}", version=version, session=session))
        origin = keeper.next(made)
        assert (origin.user, origin.session, origin.address) == ("-", steps[0][1], "192.0.2.1")
        body = made.media[0].lines[-1].encode()
        if last is not None:
            assert int(origin.version) >= last[0] if body == last[1] else int(origin.version) > last[0]
        last = (int(origin.version), body)


@pytest.mark.parametrize(
    "body",
    [
        b"nonsense",
        b"v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n",
        sdp(ALICE, 4000, media=["m=audio 4000/2 RTP/AVP 0"]),
        sdp(ALICE, 4000, media=["m=audio 4000 RTP/AVP 0", "c=TN RFC2543 123"]),
        sdp(ALICE, 4000, media=["m=audio 4000 RTP/AVP 0", "c=IN IP6 1.2.3.4"]),
    ],
)
def test_refused_bodies_leave_no_trace(w: World, body: bytes) -> None:
    session = w.engine.session("c")
    with pytest.raises(BadSdp):
        session.rewrite(body, "a", "b0", P)
    assert used(w) == 0
    session.rewrite(sdp(ALICE, 4000), "a", "b0", P)
    with pytest.raises(BadSdp):
        session.rewrite(body, "b0", "a", P)
    assert used(w) == 1


def test_a_domain_name_or_multicast_address_is_an_unknown_one(w: World) -> None:
    session = w.engine.session("c")
    for host in ("phone.example.com", "224.1.2.3", "999.1.1.1"):
        out = session.rewrite(sdp(host, 4000), "a", "b0", P)
        assert where(out)[0] == RELAY4


def test_sides(w: World) -> None:
    session = w.engine.session("c")
    for src, dst in (("a", "a"), ("b0", "b1")):
        with pytest.raises(ValueError, match="between the caller and a branch"):
            session.rewrite(sdp(ALICE, 4000), src, dst, P)
    with pytest.raises(ValueError, match="branch is selected"):
        session.select("a")
    with pytest.raises(ValueError, match="caller is not dropped"):
        session.drop("a")
    session.close()
    with pytest.raises(SessionClosed):
        session.rewrite(sdp(ALICE, 4000), "a", "b0", P)


# ----------------------------------------------------------------------------------------------------------------- ports
def test_an_exhausted_range_refuses_whole_and_recovers() -> None:
    w = World(Settings(min_port=30000, max_port=30005, batch=4))
    one, two = w.engine.session("1"), w.engine.session("2")
    one.rewrite(sdp(ALICE, 4000), "a", "b0", P)
    two.rewrite(sdp(CAROL, 4000), "a", "b0", P)
    three = ["m=audio 4000 RTP/AVP 0", "m=video 4002 RTP/AVP 31"]
    with pytest.raises(NoPorts):
        one.rewrite(sdp(BOB, 0, media=three), "b0", "a", P)
    assert used(w) == 2, "all or nothing"
    one.rewrite(sdp(BOB, 5000), "b0", "a", P)
    with pytest.raises(NoPorts):
        two.rewrite(sdp(BOB, 5000), "b0", "a", P)
    one.close()
    w.step(0.5)
    with pytest.raises(NoPorts):
        two.rewrite(sdp(BOB, 5000), "b0", "a", P)
    w.step(0.6)
    two.rewrite(sdp(BOB, 5000), "b0", "a", P)
    w.end()


def test_ports_are_used_in_turn_and_rest() -> None:
    w = World(Settings(min_port=30001, max_port=30010, batch=1))
    seen = []
    for _ in range(8):
        session = w.engine.session("c")
        seen.append(where(session.rewrite(sdp(ALICE, 4000), "a", "b0", P))[1])
        session.close()
        w.step(1.1)
    assert seen == [30002, 30004, 30006, 30008, 30002, 30004, 30006, 30008]
    w.end()


def test_limit_of_sessions() -> None:
    w = World(Settings(min_port=30000, max_port=30999, max_sessions=2))
    first, second, third = (w.engine.session(str(n)) for n in range(3))
    first.rewrite(sdp(ALICE, 4000), "a", "b0", P)
    second.rewrite(sdp(ALICE, 4000), "a", "b0", P)
    with pytest.raises(NoPorts, match="limit"):
        third.rewrite(sdp(ALICE, 4000), "a", "b0", P)
    first.rewrite(sdp(BOB, 4000), "b0", "a", P)
    first.close()
    third.rewrite(sdp(ALICE, 4000), "a", "b0", P)
    w.end()


def test_many_calls_in_a_row_leak_nothing(w: World) -> None:
    for n in range(60):
        session = w.engine.session(str(n))
        session.rewrite(sdp(ALICE, 4000), "a", "b0", P)
        session.rewrite(sdp(ALICE, 4000), "a", "b1", P)
        session.rewrite(sdp(BOB, 5000), "b1", "a", P)
        session.select("b1")
        session.drop("b0")
        w.step(0.01)
        session.close()
        assert used(w) == 0
    assert w.engine.counters().sessions == 0


@pytest.mark.parametrize(
    ("interfaces", "settings", "reason"),
    [
        ([], Settings(), "no media address"),
        ([Interface("default", "localhost")], Settings(), "not a numeric"),
        ([Interface("default", "224.0.0.1")], Settings(), "not a numeric"),
        ([Interface("default", RELAY4, "::1")], Settings(), "other family"),
        ([Interface("x", RELAY4), Interface("y", RELAY4)], Settings(), "twice"),
        ([Interface("x", RELAY4)], Settings(min_port=40000, max_port=30000), "no range"),
        ([Interface("x", RELAY4)], Settings(min_port=80, max_port=30000), "no range"),
    ],
)
def test_settings_that_cannot_work(w: World, interfaces: list[Interface], settings: Settings, reason: str) -> None:
    with pytest.raises(MediaError, match=reason):
        Engine(w.clock, w.spawner, interfaces, settings)

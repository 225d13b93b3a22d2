"""Preferences and limits of media, as the parties of a call meet them (call processing 3.18)."""

from __future__ import annotations

import pytest

from tests.calls.rig import ALICE, BOB, Ear, Talk, answer, established, hang_up, offer_of, ringing, statuses
from tests.phones import media_of, sdp
from tests.world import World

FEW_PORTS = "rtpproxy:\n  minport: 30000\n  maxport: 30007\nngcpd:\n  media:\n    quarantine: 0\n"  # four pairs on each address


@pytest.mark.open_media
@pytest.mark.parametrize("who", [ALICE, BOB])
def test_never_relay(world: World, who: int) -> None:
    """`use_rtpproxy=never` of either party: session descriptions are untouched both ways, no port is used."""
    world.prefer("usr", who, use_rtpproxy="never")
    a, b = world.registered(ALICE), world.registered(BOB)
    offer, reply = offer_of(a, extra="a=x-own:1\r\na=candidate:1 1 UDP 1 10.0.0.1 5000 typ host\r\n"), b"whatever it is, it passes"
    call, invite = ringing(world, a, b, body=offer)
    assert invite.body == offer
    talk = answer(world, a, b, call, invite, body=reply)
    assert talk.ok.body == reply and world.daemon.media.counters().used == 0
    hang_up(world, talk)


def test_ice_is_stripped_by_default(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    ice = "a=ice-ufrag:x\r\na=ice-pwd:yyyyyyyyyyyyyyyyyyyyyy\r\na=candidate:1 1 UDP 1 10.0.0.1 5000 typ host\r\n"
    call, invite = ringing(world, a, b, body=offer_of(a, extra=ice))
    assert b"candidate" not in invite.body and b"ice-" not in invite.body
    hang_up(world, answer(world, a, b, call, invite))


@pytest.mark.parametrize(("who", "value", "at_b", "at_a"), [(BOB, "force_ipv6", "::1", "127.0.0.1"), (ALICE, "force_ipv6", "127.0.0.1", "::1")])
def test_forced_family(world: World, who: int, value: str, at_b: str, at_a: str) -> None:
    """The description sent to that party has an address of the forced family."""
    world.prefer("usr", who, ipv46_for_rtpproxy=value)
    talk = established(world)
    assert (media_of(talk.invite.body)[0], media_of(talk.ok.body)[0]) == (at_b, at_a)
    hang_up(world, talk)


def test_several_lines(world: World) -> None:
    """Audio and video are relayed, a rejected line stays rejected, in the offer and in the answer."""
    a, b = world.registered(ALICE), world.registered(BOB)
    head, tail = f"v=0\r\no=- 1 1 IN IP4 {a.address[0]}\r\ns=-\r\n", "t=0 0\r\n"
    lines = "m=audio 20000 RTP/AVP 8\r\nm=video 20002 RTP/AVP 96\r\nm=application 0 TCP/WS/BFCP *\r\nm=audio 20004 RTP/AVP 0\r\n"
    call, invite = ringing(world, a, b, body=f"{head}c=IN IP4 {a.address[0]}\r\n{tail}{lines}".encode())
    ports = [line.split()[1] for line in invite.body.decode().split("\r\n") if line.startswith("m=")]
    assert len(ports) == 4 and ports[2] == "0" and len({ports[0], ports[1], ports[3]}) == 3
    reply = f"v=0\r\no=- 1 1 IN IP4 {b.address[0]}\r\ns=-\r\nc=IN IP4 {b.address[0]}\r\nt=0 0\r\n" + "".join(
        ["m=audio 30000 RTP/AVP 8\r\n", "m=video 0 RTP/AVP 96\r\n", "m=application 0 TCP/WS/BFCP *\r\n", "m=audio 30004 RTP/AVP 0\r\n"]
    )
    talk = answer(world, a, b, call, invite, body=reply.encode())
    ports = [line.split()[1] for line in talk.ok.body.decode().split("\r\n") if line.startswith("m=")]
    assert ports[1] == ports[2] == "0" and "0" not in (ports[0], ports[3])
    hang_up(world, talk)


@pytest.mark.config(FEW_PORTS)
def test_no_ports_left(world: World) -> None:
    """503, and nothing leaks: when the first calls have ended there is room again."""
    phones = [world.registered(ALICE, host=f"127.3.0.{n + 1}") for n in range(2)]
    b = world.registered(BOB)
    talks = [established(world, a, b) for a in phones]
    assert world.daemon.media.counters().used == 4
    third = world.registered(1001)
    call = third.call("sip:testuser1003@spce.test", world.run, offer_of(third))
    final = third.take(503)
    call.ack(final)
    assert not b.has("INVITE") and world.daemon.media.counters().used == 4
    for talk in talks:
        hang_up(world, talk)
    hang_up(world, established(world, third, b))
    assert sorted(statuses(world)) == [("ok", "200")] * 3 + [("other", "503")]


@pytest.mark.config(FEW_PORTS)
def test_no_ports_for_the_answer(world: World) -> None:
    """Ports run out between offer and answer: the callee that answered is ended, the caller gets 503."""
    b = world.registered(BOB)
    a1, a2, a3 = (world.registered(ALICE, host=f"127.3.0.{n + 1}") for n in range(3))
    first = established(world, a1, b)
    calls = [ringing(world, a, b) for a in (a2, a3)]
    assert world.daemon.media.counters().used == 4
    b.reply(calls[0][1], 200, "OK", offer_of(b, 31000))
    world.run()
    b.take("ACK")
    b.reply(b.take("BYE"), 200, "OK")
    calls[0][0].ack(a2.take(503))
    world.run()
    hang_up(world, answer(world, a3, b, *calls[1]))
    hang_up(world, first)
    assert sorted(statuses(world)) == [("ok", "200"), ("ok", "200"), ("other", "503")]


@pytest.mark.config(FEW_PORTS)
def test_no_ports_for_a_further_line(world: World) -> None:
    """A re-INVITE that wants more than there is: 503, the old session stays."""
    a, b = world.registered(ALICE), world.registered(BOB)
    talks = [established(world, a, b), established(world, a, b)]
    more = offer_of(a, version=2) + b"m=video 20100 RTP/AVP 96\r\n"
    talks[0].call.send("INVITE", more)
    world.run()
    talks[0].call.ack(a.take(503))
    assert not b.has("INVITE") and world.daemon.media.counters().used == 4
    for talk in talks:
        hang_up(world, talk)


def test_broken_offer_is_488(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    call = a.call("sip:testuser1003@spce.test", world.run, b"v=0\r\nm=audio\r\n")
    call.ack(a.take(488))
    world.run()
    assert not b.has("INVITE") and statuses(world) == [("other", "488")]


def test_silence_ends_the_call(world: World) -> None:
    talk = established(world)
    ear_a, ear_b = Ear(world, talk.a, 20000), Ear(world, talk.b, 30000)
    for _ in range(20):
        ear_a.say(b"x", media_of(talk.ok.body))
        ear_b.say(b"y", media_of(talk.invite.body))
        world.run(5.0)
    assert not talk.a.has("BYE")
    world.run(65.0)
    for phone in (talk.a, talk.b):
        bye = phone.take("BYE")
        assert bye["reason"] == 'SIP;cause=200;text="no media"'
        phone.reply(bye, 200, "OK")
    (cdr,) = world.cdrs()
    assert cdr["call_status"] == "ok" and 150 <= float(cdr["duration"]) <= 180
    assert world.accs()[-1]["sip_reason"] == "timeout"


def test_held_calls_may_be_silent(world: World) -> None:
    talk = established(world)
    talk.call.send("INVITE", offer_of(talk.a, version=2, direction="sendonly"))
    world.run()
    talk.b.reply(talk.b.take("INVITE"), 200, "OK", offer_of(talk.b, 30000, version=2, direction="recvonly"))
    world.run()
    talk.call.ack(talk.a.take(200))
    world.run(300.0)
    assert not talk.a.has("BYE")
    talk.a.inbox.clear()
    talk.b.inbox.clear()
    hang_up(world, talk)


def test_early_media_may_be_silent(world: World) -> None:
    """A long ring with early media that stops is no reason to end the call."""
    a, b = world.registered(ALICE), world.registered(BOB)
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a))
    invite = b.take("INVITE")
    b.reply(invite, 183, "Session Progress", offer_of(b, 30000))
    world.run(100.0)
    assert not [m for m in a.inbox if m.status > 200] and not b.has("CANCEL")
    talk = answer(world, a, b, call, invite)
    world.run(30.0)
    assert not a.has("BYE")
    hang_up(world, talk)


def test_ports_are_free_after_every_failure(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    for code in (404, 486, 500, 603):
        call, invite = ringing(world, a, b)
        b.reply(invite, 183, "Session Progress", offer_of(b, 30000))
        world.run()
        assert world.daemon.media.counters().used == 2
        b.reply(invite, code, "No")
        world.run()
        call.ack(a.take(code))
        assert world.daemon.media.counters().used == 0
        a.inbox.clear()


def test_ipv6_and_ipv4_parties(world: World) -> None:
    """A description of an IPv6 party reaches the IPv4 party with an IPv4 address of the relay, and the other way round."""
    a, b = world.registered(ALICE, host="::2"), world.registered(BOB)
    ear_a, ear_b = Ear(world, a, 20000), Ear(world, b, 30000)
    call, invite = ringing(world, a, b, body=sdp("::2", 20000))
    assert media_of(invite.body)[0] == "127.0.0.1"
    talk = answer(world, a, b, call, invite)
    assert media_of(talk.ok.body)[0] == "::1"
    ear_a.say(b"six", media_of(talk.ok.body))
    ear_b.say(b"four", media_of(invite.body))
    world.run()
    assert ear_b.texts() == [b"six"] and ear_a.texts() == [b"four"]
    hang_up(world, talk)


def _mixed(*parts: tuple[str, bytes]) -> bytes:
    return b"".join(b"--x1\r\nContent-Type: " + kind.encode() + b"\r\n\r\n" + data + b"\r\n" for kind, data in parts) + b"--x1--\r\n"


def test_description_among_several_parts(world: World) -> None:
    """RFC 5621: the session description of a multipart body gets the relay's address, the other parts stay byte for byte; the answer too."""
    a, b = world.registered(ALICE), world.registered(BOB)
    isup = ("application/isup;version=itu-t92", b"\x01\x00\x49\r\n\x00\xff--x1 no delimiter")
    kind = 'multipart/mixed; boundary="x1"'
    call = a.call(f"sip:testuser{BOB}@spce.test", world.run, _mixed(isup, ("application/sdp", offer_of(a))), ctype=kind)
    invite = b.take("INVITE")
    assert invite["content-type"] == kind and a.address[0].encode() not in invite.body.replace(b"127.0.0.1", b"")
    head, _, rest = invite.body.partition(b"Content-Type: application/sdp\r\n\r\n")
    assert head == _mixed(isup).removesuffix(b"--x1--\r\n") + b"--x1\r\n"
    description = rest.removesuffix(b"\r\n--x1--\r\n")
    assert media_of(description) != (a.address[0], 20000) and world.daemon.media.counters().used > 0
    b.reply(invite, 200, "OK", _mixed(("application/sdp", offer_of(b, 30000)), isup), ctype=kind)
    world.run()
    ok = a.take(200)
    assert media_of(ok.body.partition(b"Content-Type: application/sdp\r\n\r\n")[2].partition(b"\r\n--x1")[0])[1] != 30000
    assert ok.body.endswith(_mixed(isup))
    call.ack(ok)
    world.run()
    hang_up(world, Talk(a, b, call, invite, ok, b.take("ACK")))


@pytest.mark.parametrize("damage", ["two", "cut"])
def test_unreadable_parts_are_refused(world: World, damage: str) -> None:
    """A body that names a description but cannot be taken apart is not passed on: it would carry the caller's address."""
    a, _ = world.registered(ALICE), world.registered(BOB)
    one = ("application/sdp", offer_of(a))
    body = _mixed(one, one) if damage == "two" else _mixed(one)[:-8]
    a.call(f"sip:testuser{BOB}@spce.test", world.run, body, ctype="multipart/mixed;boundary=x1")
    assert a.take(488) and world.daemon.media.counters().used == 0

"""Requests inside a dialog: what is relayed, what is refused, bodies unread."""

from __future__ import annotations

import pytest

from tests.calls.rig import ALICE, BOB, End, answer, hang_up, offer_of, ringing, statuses
from tests.world import World

BINARY = bytes(range(256)) + b"\r\n\r\nSIP/2.0 200 OK\r\n\x00"
MULTIPART = (
    b"--frontier\r\nContent-Type: application/x-one\r\n\r\none\r\n"
    b"--frontier\r\nContent-Type: text/plain\r\n\r\nCall-ID: not a header\r\n--frontier--\r\n"
)


@pytest.mark.parametrize(
    ("method", "ctype", "body", "fields"),
    [
        ("INFO", "application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n", []),
        ("INFO", "application/media_control+xml", b"<media_control/>", ["Info-Package: xyz"]),
        ("MESSAGE", "text/plain;charset=utf-8", "grüß dich".encode(), []),
        ("NOTIFY", "message/sipfrag", b"SIP/2.0 100 Trying\r\n", ["Event: refer", "Subscription-State: active;expires=60"]),
        ("OPTIONS", "application/x-nothing", b"", []),
        ("INFO", 'multipart/mixed;boundary="frontier"', MULTIPART, ["MIME-Version: 1.0"]),
        ("INFO", "application/octet-stream", BINARY, ["Content-Disposition: render;handling=optional", "Content-Encoding: x-none"]),
    ],
)
def test_relayed_with_its_body(world: World, end: End, method: str, ctype: str, body: bytes, fields: list[str]) -> None:
    end.send(method, body, fields, ctype=ctype)
    world.run()
    got = end.other.take(method)
    assert got.body == body
    if body:
        assert got["content-type"] == ctype
    for field in fields:
        name, _, value = field.partition(": ")
        assert got[name.lower()] == value
    end.other.reply(got, 200, "Well Received", BINARY, ctype="application/octet-stream", contact=False)
    world.run()
    ok = end.phone.take(200)
    assert (ok.line, ok.method, ok.body) == ("SIP/2.0 200 Well Received", method, BINARY)
    hang_up(world, end.talk)


@pytest.mark.parametrize("code", [202, 415, 469, 500, 603])
def test_answers_come_back_as_they_are(world: World, end: End, code: int) -> None:
    end.send("INFO", b"x", ctype="application/x")
    world.run()
    end.other.reply(end.other.take("INFO"), code, "In Its Words", fields=["Accept: application/dtmf", "Retry-After: 7", "Server: secret/1.0"])
    world.run()
    final = end.phone.take(code)
    assert final.line == f"SIP/2.0 {code} In Its Words" and (final["accept"], final["retry-after"]) == ("application/dtmf", "7")
    assert final["server"] == "ngcpd"
    hang_up(world, end.talk)


def test_challenge_inside_a_dialog_is_not_passed_on(world: World, end: End) -> None:
    end.send("INFO", b"x", ctype="application/x")
    world.run()
    end.other.reply(end.other.take("INFO"), 401, "Unauthorized", fields=['WWW-Authenticate: Digest realm="r", nonce="n"'])
    world.run()
    final = end.phone.take(403)
    assert "www-authenticate" not in final.headers
    hang_up(world, end.talk)


@pytest.mark.parametrize("method", ["REFER", "SUBSCRIBE", "PUBLISH", "FOO"])
def test_refused_methods(world: World, end: End, method: str) -> None:
    """405 with what is allowed, REFER not among it; the call goes on."""
    end.send(method, fields=["Refer-To: <sip:x@y.example>"] if method == "REFER" else ["Event: presence"])
    world.run()
    final = end.phone.take(405)
    assert {"INVITE", "BYE", "UPDATE", "PRACK", "INFO"} <= set(final["allow"].split(", ")) and "REFER" not in final["allow"]
    assert not end.other.has(method)
    hang_up(world, end.talk)


def test_no_answer_to_info_ends_no_call(world: World, end: End) -> None:
    """A device that ignores INFO: the sender gives up, the call goes on."""
    end.send("INFO", b"x", ctype="application/x")
    world.run()
    end.other.take("INFO")
    world.run(40.0)
    assert not end.phone.has("BYE") and not end.other.has("BYE")
    end.other.inbox.clear()
    hang_up(world, end.talk)


def test_482_481_of_info_is_the_senders_affair(world: World, end: End) -> None:
    end.send("INFO", b"x", ctype="application/x")
    world.run()
    end.other.reply(end.other.take("INFO"), 481, "No Such Package")
    world.run()
    end.phone.take(481)
    assert not end.phone.has("BYE") and not end.other.has("BYE")
    hang_up(world, end.talk)


def test_info_and_update_in_an_early_dialog(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a))
    invite = b.take("INVITE")
    b.reply(invite, 183, "Session Progress", offer_of(b, 30000))
    world.run()
    early = a.take(183)
    call.to_tag, call.remote = early.tag, early.contact
    for n, method in enumerate(("INFO", "UPDATE")):
        call.send(method, offer_of(a, version=2) if method == "UPDATE" else b"x", ctype="application/sdp" if method == "UPDATE" else "application/x")
        world.run()
        got = b.take(method)
        assert got.cseq == 11 + n
        b.reply(got, 200, "OK", offer_of(b, 30000, version=2) if method == "UPDATE" else b"")
        world.run()
        assert a.take(200).method == method
    b.in_dialog(invite, "UPDATE", 1, offer_of(b, 30000, version=3))
    world.run()
    got = a.take("UPDATE")
    assert got.from_tag == early.tag and got.cseq == 1
    a.reply(got, 200, "OK", offer_of(a, version=3))
    world.run()
    b.take(200)
    hang_up(world, answer(world, a, b, call, invite))


def test_invite_in_an_early_dialog_is_refused(world: World) -> None:
    """RFC 3261 14.2: the caller's second INVITE 500, the callee's 491."""
    a, b = world.registered(ALICE), world.registered(BOB)
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a))
    invite = b.take("INVITE")
    b.reply(invite, 180, "Ringing")
    world.run()
    early = a.take(180)
    first = (call.branch, call.cseq)
    call.to_tag, call.remote = early.tag, early.contact
    call.send("INVITE", offer_of(a))
    world.run()
    refused = a.take(500)
    assert "retry-after" in refused.headers
    call.ack(refused)
    branch = b.in_dialog(invite, "INVITE", 1, offer_of(b, 30000))
    world.run()
    b.take(491)
    b.in_dialog(invite, "ACK", 1, branch=branch)
    call.branch = first[0]
    hang_up(world, answer(world, a, b, call, invite))


def test_requests_of_a_lost_early_dialog_get_their_answer(world: World) -> None:
    """An UPDATE is on its way when the call fails: its sender is not left waiting."""
    a, b = world.registered(ALICE), world.registered(BOB)
    call, invite = ringing(world, a, b)
    early = next(m for m in a.seen if m.status == 180)
    branch, cseq = call.branch, call.cseq
    call.to_tag, call.remote = early.tag, early.contact
    call.send("UPDATE", offer_of(a, version=2))
    world.run()
    update = b.take("UPDATE")
    b.reply(invite, 486, "Busy Here")
    world.run()
    assert a.take(481).method == "UPDATE"
    call.branch, call.cseq = branch, cseq
    call.ack(a.take(486))
    b.reply(update, 481, "Gone")
    world.run()
    assert statuses(world) == [("busy", "486")]


def test_session_timer_passes(world: World) -> None:
    """RFC 4028 end to end: the platform takes no part in it."""
    a, b = world.registered(ALICE), world.registered(BOB)
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a), ["Supported: timer", "Session-Expires: 60", "Min-SE: 60"])
    invite = b.take("INVITE")
    assert (invite["supported"], invite["session-expires"], invite["min-se"]) == ("timer", "60", "60")
    b.reply(invite, 422, "Session Interval Too Small", fields=["Min-SE: 120"])
    world.run()
    final = a.take(422)
    assert final["min-se"] == "120"
    call.ack(final)
    call.to_tag = ""
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a), ["Supported: timer", "Session-Expires: 120;refresher=uac", "Min-SE: 120"])
    invite = b.take("INVITE")
    b.reply(invite, 200, "OK", offer_of(b, 30000), ["Require: timer", "Session-Expires: 120;refresher=uac"])
    world.run()
    ok = a.take(200)
    assert (ok["require"], ok["session-expires"]) == ("timer", "120;refresher=uac")
    call.ack(ok)
    world.run()
    b.take("ACK")
    call.send("UPDATE", fields=["Session-Expires: 120;refresher=uac"])
    world.run()
    update = b.take("UPDATE")
    assert update["session-expires"] == "120;refresher=uac" and not update.body
    b.reply(update, 200, "OK", fields=["Session-Expires: 120;refresher=uac", "Require: timer"])
    world.run()
    assert a.take(200)["session-expires"] == "120;refresher=uac"
    call.bye()
    world.run()
    b.reply(b.take("BYE"), 200, "OK")
    world.run()


def test_retransmitted_request_is_relayed_once(world: World, end: End) -> None:
    end.send("INFO", b"x", ctype="application/x")
    data = end.phone.sent[-1].raw
    end.phone.socket.send(data, end.phone.server)
    world.run()
    info = end.other.take("INFO")
    assert not end.other.has("INFO")
    end.other.reply(info, 200, "OK")
    world.run()
    end.phone.socket.send(data, end.phone.server)
    world.run()
    assert end.phone.take(200).raw == end.phone.take(200).raw and not end.other.has("INFO")
    hang_up(world, end.talk)


def test_many_requests_at_once_keep_their_order(world: World, end: End) -> None:
    for n in range(20):
        end.send("INFO", str(n).encode(), ctype="application/x")
    world.run()
    got = [end.other.take("INFO") for _ in range(20)]
    assert [g.body for g in got] == [str(n).encode() for n in range(20)]
    assert [g.cseq for g in got] == list(range(got[0].cseq, got[0].cseq + 20))
    for info in reversed(got):
        end.other.reply(info, 200, "OK")
    world.run()
    for _ in range(20):
        end.phone.take(200)
    hang_up(world, end.talk)

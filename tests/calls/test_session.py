"""Changing a session: re-INVITE and UPDATE from either side."""

from __future__ import annotations

import pytest

from tests.calls.rig import Ear, End, established, hang_up, offer_of, statuses
from tests.phones import Msg, media_of
from tests.world import World


def reinvite(world: World, end: End, body: bytes, answer: bytes, fields: list[str] | None = None) -> tuple[Msg, Msg]:
    """A successful re-INVITE: (at the other end, the 200 at this end)."""
    end.send("INVITE", body, fields)
    world.run()
    invite = end.other.take("INVITE")
    end.other.reply(invite, 200, "OK", answer)
    world.run()
    ok = end.phone.take(200)
    end.ack(ok)
    world.run()
    assert end.other.take("ACK").cseq == invite.cseq
    return invite, ok


def test_hold_and_resume(world: World, end: End) -> None:
    before = media_of(end.talk.invite.body if not end.caller else end.talk.ok.body)
    invite, ok = reinvite(
        world, end, offer_of(end.phone, 20000, version=2, direction="sendonly"), offer_of(end.other, 30000, version=2, direction="recvonly")
    )
    assert b"a=sendonly" in invite.body and b"a=recvonly" in ok.body
    assert media_of(invite.body)[0] == media_of(ok.body)[0] == "127.0.0.1" and media_of(ok.body) == before, "the ports stay"
    invite, ok = reinvite(world, end, offer_of(end.phone, 20000, version=3), offer_of(end.other, 30000, version=3))
    assert b"a=sendrecv" in invite.body and b"a=sendrecv" in ok.body
    hang_up(world, end.talk)


def test_hold_by_the_zero_address(world: World, end: End) -> None:
    body = offer_of(end.phone, 20000, version=2).replace(f"c=IN IP4 {end.phone.address[0]}".encode(), b"c=IN IP4 0.0.0.0")
    invite, _ = reinvite(world, end, body, offer_of(end.other, 30000, version=2))
    assert b"c=IN IP4 0.0.0.0" in invite.body
    hang_up(world, end.talk)


def test_update(world: World, end: End) -> None:
    end.send("UPDATE", offer_of(end.phone, 20010, version=2))
    world.run()
    update = end.other.take("UPDATE")
    assert media_of(update.body)[0] == "127.0.0.1"
    end.other.reply(update, 200, "OK", offer_of(end.other, 30010, version=2))
    world.run()
    ok = end.phone.take(200)
    assert ok.method == "UPDATE"
    ear, mouth = Ear(world, end.other, 30010), Ear(world, end.phone, 20010)
    mouth.say(b"moved", media_of(ok.body))
    world.run()
    assert ear.texts() == [b"moved"]
    hang_up(world, end.talk)


def test_refused_offer_leaves_the_old_session(world: World, end: End) -> None:
    talk = end.talk
    ears = {id(talk.a): Ear(world, talk.a, 20000), id(talk.b): Ear(world, talk.b, 30000)}
    relay = {id(talk.a): media_of(talk.ok.body), id(talk.b): media_of(talk.invite.body)}
    end.send("INVITE", offer_of(end.phone, 25000, version=2))
    world.run()
    invite = end.other.take("INVITE")
    end.other.reply(invite, 488, "Not Acceptable Here", contact=False)
    world.run()
    final = end.phone.take(488)
    end.ack(final)
    world.run()
    end.other.take("ACK")
    for phone in (end.other, end.phone):  # before the relay could learn from `end` itself where it is
        ears[id(phone)].say(phone.user.encode(), relay[id(phone)])
        world.run()
    assert ears[id(talk.a)].texts() == [b"testuser1003"] and ears[id(talk.b)].texts() == [b"testuser1002"]
    hang_up(world, talk)


def test_target_refresh(world: World, end: End) -> None:
    """A new Contact in a re-INVITE: later requests go there."""
    old = end.phone.contact
    end.phone.contact = f"sip:moved@{end.phone.address[0]}:5070"
    moved = world.phone(int(end.phone.user[-4:]), host=end.phone.address[0], port=5070)
    reinvite(world, end, offer_of(end.phone, 20000, version=2), offer_of(end.other, 30000, version=2))
    End(end.talk, not end.caller).send("INFO", b"x", ctype="application/x")
    world.run()
    assert not end.phone.has("INFO")
    info = moved.take("INFO")
    assert info.uri == f"sip:moved@{end.phone.address[0]}:5070" != old
    moved.reply(info, 200, "OK")
    world.run()
    end.other.take(200)
    end.talk.call.bye()
    world.run()
    at = moved if not end.caller else end.talk.b
    at.reply(at.take("BYE"), 200, "OK")
    world.run()


def test_target_refresh_by_the_answer(world: World, end: End) -> None:
    moved = world.phone(int(end.other.user[-4:]), host=end.other.address[0], port=5070)
    end.send("UPDATE")
    world.run()
    update = end.other.take("UPDATE")
    end.other.contact = moved.contact
    end.other.reply(update, 200, "OK")
    world.run()
    end.phone.take(200)
    end.send("INFO", b"x", ctype="application/x")
    world.run()
    moved.reply(moved.take("INFO"), 200, "OK")
    world.run()
    end.phone.take(200)
    end.send("BYE")
    world.run()
    moved.reply(moved.take("BYE"), 200, "OK")
    world.run()


def test_glare(world: World) -> None:
    """Both sides send a re-INVITE at the same time: both get 491."""
    talk = established(world)
    ends = [End(talk, True), End(talk, False)]
    for end in ends:
        end.send("INVITE", offer_of(end.phone, 20000, version=2))
    world.run()
    assert talk.b.take(491)["cseq"] == "1 INVITE", "ours is outstanding there"
    ends[1].send("ACK", cseq=1, branch=ends[1].branch)
    talk.b.reply(talk.b.take("INVITE"), 491, "Request Pending")
    world.run()
    ends[0].ack(talk.a.take(491))
    world.run()
    reinvite(world, ends[1], offer_of(talk.b, 30000, version=3), offer_of(talk.a, 20000, version=3))
    hang_up(world, talk)


def test_glare_of_updates_passes_through(world: World) -> None:
    talk = established(world)
    ends = [End(talk, True), End(talk, False)]
    for end in ends:
        end.send("UPDATE", offer_of(end.phone, 26000, version=2))
    world.run()
    for end in ends:
        end.phone.reply(end.phone.take("UPDATE"), 491, "Request Pending")
    world.run()
    for end in ends:
        assert end.phone.take(491).method == "UPDATE"
    hang_up(world, talk)


def test_second_reinvite_while_one_is_pending(world: World, end: End) -> None:
    end.send("INVITE", offer_of(end.phone, 20000, version=2))
    world.run()
    pending, first, branch = end.other.take("INVITE"), end.cseq, end.branch
    end.send("INVITE", offer_of(end.phone, 20000, version=3))
    world.run()
    refused = end.phone.take(500)
    assert 0 <= int(refused["retry-after"]) <= 10
    end.ack(refused)
    assert not end.other.has("INVITE")
    end.other.reply(pending, 200, "OK", offer_of(end.other, 30000, version=2))
    world.run()
    ok = end.phone.take(200)
    assert ok.cseq == first and branch in ok["via"]
    end.ack(ok)
    world.run()
    end.other.take("ACK")
    hang_up(world, end.talk)


def test_reinvite_before_the_ack_of_the_last(world: World, end: End) -> None:
    """Offer and answer of the last one may not be complete: 491, and the 200 goes on being repeated until its ACK comes."""
    end.send("INVITE", offer_of(end.phone, 20000, version=2))
    world.run()
    invite = end.other.take("INVITE")
    end.other.reply(invite, 200, "OK", offer_of(end.other, 30000, version=2))
    world.run()
    ok = end.phone.take(200)
    end.send("INVITE", offer_of(end.phone, 20000, version=3))
    world.run()
    end.ack(end.phone.take(491))
    world.run(1.0)
    end.phone.take(200)
    end.send("ACK", cseq=ok.cseq)
    world.run()
    assert end.other.take("ACK").cseq == invite.cseq
    hang_up(world, end.talk)


def test_cancel_of_a_reinvite(world: World, end: End) -> None:
    end.send("INVITE", offer_of(end.phone, 27000, version=2))
    world.run()
    invite = end.other.take("INVITE")
    end.other.reply(invite, 180, "Ringing")
    world.run()
    assert end.phone.take(180)["contact"]
    end.send("CANCEL", cseq=end.cseq, branch=end.branch)
    world.run()
    assert end.phone.take(200).method == "CANCEL"
    cancel = end.other.take("CANCEL")
    assert cancel["via"] == invite["via"]
    end.other.reply(cancel, 200, "OK")
    end.other.reply(invite, 487, "Request Terminated")
    world.run()
    end.ack(end.phone.take(487))
    world.run()
    end.other.take("ACK")
    hang_up(world, end.talk)
    assert statuses(world) == [("ok", "200")]


def test_cancel_of_a_reinvite_that_comes_too_late(world: World, end: End) -> None:
    """The far end was faster: its 200 is the answer."""
    end.send("INVITE", offer_of(end.phone, 20000, version=2))
    world.run()
    invite, cseq, branch = end.other.take("INVITE"), end.cseq, end.branch
    end.other.reply(invite, 180, "Ringing")
    world.run()
    end.send("CANCEL", cseq=cseq, branch=branch)
    end.other.reply(invite, 200, "OK", offer_of(end.other, 30000, version=2))
    world.run()
    ok = next(m for m in end.phone.inbox if m.status == 200 and m.method == "INVITE")
    if end.other.has("CANCEL"):
        end.other.reply(end.other.take("CANCEL"), 200, "OK")
    end.send("ACK", cseq=ok.cseq)
    world.run()
    end.other.take("ACK")
    end.phone.inbox.clear()
    hang_up(world, end.talk)


def test_lost_ack_of_a_reinvite(world: World, end: End) -> None:
    """The far end repeats its 200 and gets the same ACK again."""
    invite, _ = reinvite(world, end, offer_of(end.phone, 20000, version=2), offer_of(end.other, 30000, version=2))
    end.other.reply(invite, 200, "OK", offer_of(end.other, 30000, version=2))
    world.run()
    assert end.other.take("ACK").cseq == invite.cseq
    hang_up(world, end.talk)


def test_reinvite_answer_never_acknowledged(world: World, end: End) -> None:
    end.send("INVITE", offer_of(end.phone, 20000, version=2))
    world.run()
    end.other.reply(end.other.take("INVITE"), 200, "OK", offer_of(end.other, 30000, version=2))
    world.run(33.0)
    end.other.take("ACK")
    for phone in (end.phone, end.other):
        phone.reply(phone.take("BYE"), 200, "OK")
    world.run()
    assert statuses(world) == [("ok", "200")] and world.accs()[-1]["sip_reason"] == "timeout"


def test_failure_of_a_reinvite_never_acknowledged_harms_nothing(world: World, end: End) -> None:
    end.send("INVITE", offer_of(end.phone, 20000, version=2))
    world.run()
    end.other.reply(end.other.take("INVITE"), 488, "Not Acceptable Here")
    world.run(40.0)
    assert not end.phone.has("BYE") and not end.other.has("BYE")
    end.phone.inbox.clear()
    hang_up(world, end.talk)


@pytest.mark.parametrize("code", [481, 408])
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_481_and_408_end_the_call(world: World, end: End, code: int, method: str) -> None:
    end.send(method, offer_of(end.phone, 20000, version=2))
    world.run()
    end.other.reply(end.other.take(method), code, "Whatever")
    world.run()
    final = end.phone.take(code)
    if method == "INVITE":
        end.ack(final)
    for phone in (end.phone, end.other):
        phone.reply(phone.take("BYE"), 200, "OK")
    world.run()
    assert statuses(world) == [("ok", "200")]


def test_reinvite_to_a_dead_party_ends_the_call(world: World, end: End) -> None:
    end.send("INVITE", offer_of(end.phone, 20000, version=2))
    world.run()
    end.other.close()
    end.other.auto = lambda msg: True
    world.run(40.0)
    end.ack(end.phone.take(408))
    end.phone.reply(end.phone.take("BYE"), 200, "OK")
    world.run()
    assert statuses(world) == [("ok", "200")]


def test_hang_up_while_a_reinvite_is_pending(world: World, end: End) -> None:
    """Whoever hangs up: the re-INVITE gets its 487, a late 2xx its ACK."""
    end.send("INVITE", offer_of(end.phone, 20000, version=2))
    world.run()
    invite = end.other.take("INVITE")
    end.other.reply(invite, 180, "Ringing")
    world.run()
    branch, cseq = end.branch, end.cseq
    end.send("BYE")
    world.run()
    assert end.phone.take(487)["cseq"].endswith("INVITE")
    end.send("ACK", cseq=cseq, branch=branch)
    end.other.reply(invite, 200, "OK", offer_of(end.other, 30000, version=2))
    world.run()
    assert end.other.take("ACK").cseq == invite.cseq
    end.other.reply(end.other.take("BYE"), 200, "OK")
    world.run()
    end.phone.take(200)
    assert statuses(world) == [("ok", "200")]


def test_unusable_answer_ends_the_call(world: World, end: End) -> None:
    """The far end has changed its session, the sender can not follow: there is no common one any more."""
    end.send("INVITE", offer_of(end.phone, 20000, version=2))
    world.run()
    end.other.reply(end.other.take("INVITE"), 200, "OK", b"v=0\r\nbroken\r\n")
    world.run()
    end.ack(end.phone.take(488))
    end.other.take("ACK")
    for phone in (end.phone, end.other):
        phone.reply(phone.take("BYE"), 200, "OK")
    world.run()


def test_unreadable_answer_is_502(world: World, end: End) -> None:
    end.send("UPDATE")
    world.run()
    end.other.reply(end.other.take("UPDATE"), 200, "OK", fields=["Contact: <sip:[::>"], contact=False)
    world.run()
    assert end.phone.take(502).method == "UPDATE"
    hang_up(world, end.talk)


def test_broken_offer_is_488_and_goes_no_further(world: World, end: End) -> None:
    end.send("INVITE", b"v=0\r\nbroken\r\n")
    world.run()
    end.ack(end.phone.take(488))
    assert not end.other.has("INVITE")
    hang_up(world, end.talk)


def test_sender_of_a_reinvite_is_gone_when_the_answer_comes(world: World, end: End) -> None:
    """The far end has changed its session for somebody who can not be told: the call ends."""
    end.send("INVITE", offer_of(end.phone, 20000, version=2))
    world.run()
    invite = end.other.take("INVITE")
    ((pair, _), *_) = [found for found in world.daemon.calls.dialogs.values() if found is not None]
    pair.relays[0].server._end("transport")
    end.other.reply(invite, 200, "OK", offer_of(end.other, 30000, version=2))
    world.run()
    assert end.other.take("ACK").cseq == invite.cseq
    for phone in (end.phone, end.other):
        phone.reply(phone.take("BYE"), 200, "OK")
    world.run()
    assert statuses(world) == [("ok", "200")]

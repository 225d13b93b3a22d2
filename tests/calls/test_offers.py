"""Early media, late offers: who offers, who answers, and where the media goes."""

from __future__ import annotations

from tests.calls.rig import ALICE, BOB, Ear, established, hang_up, offer_of, ringing, statuses
from tests.calls.test_forking import forked
from tests.phones import media_of
from tests.world import World


def test_early_media_flows_through_the_relay(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    ear_a, ear_b = Ear(world, a, 20000), Ear(world, b, 30000)
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a))
    invite = b.take("INVITE")
    b.reply(invite, 183, "Session Progress", offer_of(b, 30000))
    world.run()
    progress = a.take(183)
    to_a, to_b = media_of(progress.body), media_of(invite.body)
    assert to_a[0] == to_b[0] == "127.0.0.1" and to_a != to_b
    ear_b.say(b"please hold", to_b)
    ear_a.say(b"hello?", to_a)
    world.run()
    assert ear_a.texts() == [b"please hold"] and ear_b.texts() == [b"hello?"]
    assert ear_a.heard[0][1] == to_a, "media comes from the port that was told"
    b.reply(invite, 200, "OK", offer_of(b, 30000))
    world.run()
    ok = a.take(200)
    assert media_of(ok.body) == to_a
    call.ack(ok)
    world.run()
    ear_b.say(b"answered", to_b)
    world.run()
    assert ear_a.texts()[-1] == b"answered"
    call.bye()
    world.run()
    b.reply(b.take("BYE"), 200, "OK")
    world.run()
    ear_b.say(b"too late", to_b)
    world.run()
    assert ear_a.texts()[-1] == b"answered"


def test_the_last_early_answer_is_heard_then_the_winner(world: World) -> None:
    a, call, phones, invites = forked(world, 2)
    ear = Ear(world, a, 20000)
    mouths = [Ear(world, p, 31000) for p in phones]

    def heard() -> list[bytes]:
        ear.heard.clear()
        for n, mouth in enumerate(mouths):
            mouth.say(f"from {n}".encode(), media_of(invites[n].body))
        world.run()
        return ear.texts()

    for n, phone in enumerate(phones):
        phone.reply(invites[n], 183, "Progress", offer_of(phone, 31000), tag=f"branch{n}")
        world.run()
        assert heard() == [f"from {n}".encode()], "the branch whose answer came last"
    phones[0].reply(invites[0], 200, "OK", offer_of(phones[0], 31000), tag="branch0")
    world.run()
    assert heard() == [b"from 0"]
    call.ack(a.take(200))
    call.bye()
    world.run()
    phones[0].reply(phones[0].take("BYE"), 200, "OK")


def test_answer_only_in_the_early_dialog_that_wins(world: World) -> None:
    """Two phones behind one contact send early answers; the 2xx of the first has no body: the media is that of its early answer."""
    a, call, (phone,), (invite,) = forked(world, 1)
    ear = Ear(world, a, 20000)
    one, two = Ear(world, phone, 31000), Ear(world, phone, 32000)
    phone.reply(invite, 183, "Progress", offer_of(phone, 31000), tag="one")
    phone.reply(invite, 183, "Progress", offer_of(phone, 32000), tag="two")
    world.run()
    phone.reply(invite, 200, "OK", tag="one")
    world.run()
    ok = next(m for m in a.inbox if m.status == 200)
    assert not ok.body
    call.ack(ok)
    world.run()
    to_a = media_of(next(m for m in a.inbox if m.status == 183).body)
    ear.say(b"to whom?", to_a)
    world.run()
    assert one.texts() == [b"to whom?"] and two.texts() == []
    call.bye()
    world.run()
    phone.reply(phone.take("BYE"), 200, "OK")


def test_unusable_early_media_only_loses_the_body(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a))
    invite = b.take("INVITE")
    b.reply(invite, 183, "Session Progress", b"v=0\r\nbroken\r\n")
    world.run()
    progress = a.take(183)
    assert not progress.body and "content-type" not in progress.headers
    b.reply(invite, 486, "Busy Here")
    world.run()
    call.ack(a.take(486))


def test_late_offer(world: World) -> None:
    """No offer in the INVITE: it is in the 200, the answer in the ACK."""
    a, b = world.registered(ALICE), world.registered(BOB)
    ear_a, ear_b = Ear(world, a, 20000), Ear(world, b, 30000)
    call, invite = ringing(world, a, b, body=b"")
    assert not invite.body and "content-type" not in invite.headers
    b.reply(invite, 200, "OK", offer_of(b, 30000))
    world.run()
    ok = a.take(200)
    assert media_of(ok.body)[0] == "127.0.0.1"
    call.ack(ok, offer_of(a))
    world.run()
    ack = b.take("ACK")
    assert ack["content-type"] == "application/sdp" and media_of(ack.body)[0] == "127.0.0.1"
    ear_a.say(b"late", media_of(ok.body))
    ear_b.say(b"but here", media_of(ack.body))
    world.run()
    assert ear_b.texts() == [b"late"] and ear_a.texts() == [b"but here"]
    call.bye()
    world.run()
    b.reply(b.take("BYE"), 200, "OK")
    world.run()
    assert statuses(world) == [("ok", "200")]


def test_late_offer_whose_ack_is_lost(world: World) -> None:
    """The 200 is repeated, the repeated ACK brings the answer once."""
    a, b = world.registered(ALICE), world.registered(BOB)
    call, invite = ringing(world, a, b, body=b"")
    b.reply(invite, 200, "OK", offer_of(b, 30000))
    world.run(0.6)
    first, second = a.take(200), a.take(200)
    assert first.raw == second.raw
    call.ack(first, offer_of(a))
    call.ack(second, offer_of(a))
    world.run()
    ack = b.take("ACK")
    assert ack.body and not b.has("ACK")
    b.reply(invite, 200, "OK", offer_of(b, 30000))
    world.run()
    assert b.take("ACK").raw == ack.raw
    call.bye()
    world.run()
    b.reply(b.take("BYE"), 200, "OK")


def test_unusable_answer_in_the_ack_ends_the_call(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    call, invite = ringing(world, a, b, body=b"")
    b.reply(invite, 200, "OK", offer_of(b, 30000))
    world.run()
    call.ack(a.take(200), b"v=0\r\nbroken\r\n")
    world.run()
    b.take("ACK")
    for phone in (a, b):
        phone.reply(phone.take("BYE"), 200, "OK")
    world.run()
    assert statuses(world) == [("ok", "200")]


def test_late_offer_reinvite(world: World) -> None:
    talk = established(world)
    a, b, call = talk.a, talk.b, talk.call
    call.send("INVITE")
    world.run()
    invite = b.take("INVITE")
    assert not invite.body
    b.reply(invite, 200, "OK", offer_of(b, 30002, version=2))
    world.run()
    ok = a.take(200)
    assert media_of(ok.body)[0] == "127.0.0.1"
    call.ack(ok, offer_of(a, 20002, version=2))
    world.run()
    ack = b.take("ACK")
    assert media_of(ack.body)[0] == "127.0.0.1" and ack.cseq == invite.cseq
    ear = Ear(world, b, 30002)
    mouth = Ear(world, a, 20002)
    mouth.say(b"new ports", media_of(ok.body))
    world.run()
    assert ear.texts() == [b"new ports"]
    hang_up(world, talk)


def test_late_offer_reinvite_of_the_callee(world: World) -> None:
    talk = established(world)
    a, b = talk.a, talk.b
    b.in_dialog(talk.invite, "INVITE", 1)
    world.run()
    invite = a.take("INVITE")
    assert not invite.body
    a.reply(invite, 200, "OK", offer_of(a, 20002, version=2))
    world.run()
    ok = b.take(200)
    assert media_of(ok.body)[0] == "127.0.0.1"
    b.in_dialog(talk.invite, "ACK", 1, offer_of(b, 30002, version=2))
    world.run()
    assert media_of(a.take("ACK").body)[0] == "127.0.0.1"
    hang_up(world, talk)

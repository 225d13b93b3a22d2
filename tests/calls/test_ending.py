"""BYE in all its forms, and requests that come too late, out of order or to nowhere."""

from __future__ import annotations

import pytest

from tests.calls.rig import ALICE, BOB, End, answer, established, hang_up, offer_of, ringing, statuses
from tests.calls.test_forking import forked, ring
from tests.world import World


def test_reason_and_body_go_along(world: World, end: End) -> None:
    end.send("BYE", b"goodbye", ['Reason: Q.850;cause=16;text="Normal"', 'Reason: SIP;cause=200;text="x, y"'], ctype="text/plain")
    world.run()
    bye = end.other.take("BYE")
    assert bye.headers["reason"] == ['Q.850;cause=16;text="Normal"', 'SIP;cause=200;text="x, y"']
    assert bye.body == b"goodbye" and bye["content-type"] == "text/plain"
    assert not end.phone.has(200)
    end.other.reply(bye, 200, "OK")
    world.run()
    assert end.phone.take(200).method == "BYE"


def test_answer_of_a_dead_leg_is_local(world: World, end: End) -> None:
    """The other leg is silent: the sender still gets its 200, in time."""
    end.other.close()
    end.send("BYE")
    world.run(8.0)
    assert not end.phone.has(200)
    world.run(2.0)
    assert end.phone.take(200).method == "BYE"
    assert statuses(world) == [("ok", "200")]


@pytest.mark.parametrize("code", [481, 500, 408, 401])
def test_whatever_the_other_leg_says_the_call_is_over(world: World, end: End, code: int) -> None:
    end.send("BYE")
    world.run()
    end.other.reply(end.other.take("BYE"), code, "No")
    world.run()
    assert end.phone.take(200).method == "BYE"
    assert statuses(world) == [("ok", "200")]


def test_byes_cross(world: World) -> None:
    talk = established(world)
    ends = [End(talk, True), End(talk, False)]
    for end in ends:
        end.send("BYE")
    world.run()
    for end in ends:
        if end.phone.has("BYE"):
            end.phone.reply(end.phone.take("BYE"), 200, "OK")
    world.run()
    for end in ends:
        assert end.phone.take(200).method == "BYE"
    assert len([m for m in (*talk.a.seen, *talk.b.seen) if m.method == "BYE" and not m.status]) == 1
    assert statuses(world) == [("ok", "200")]


def test_bye_without_an_ack(world: World) -> None:
    """A caller whose BYE comes before its ACK (it may have missed the answer and end an early dialog): the callee gets an ACK all the same, then
    the BYE; the answer is repeated until the caller acknowledges it, for 64*T1 at most."""
    a, b = world.registered(ALICE), world.registered(BOB)
    call, invite = ringing(world, a, b)
    b.reply(invite, 200, "OK", offer_of(b, 30000))
    world.run()
    ok = a.take(200)
    call.to_tag, call.remote = ok.tag, ok.contact
    call.bye()
    world.run()
    assert [m.method for m in b.seen if not m.status][-2:] == ["ACK", "BYE"]
    b.reply(b.take("BYE"), 200, "OK")
    world.run(5.0)
    replies = [m.method for m in a.inbox if m.status == 200]
    assert replies.count("BYE") == 1 and replies.count("INVITE") > 1
    world.run(28.0)
    a.inbox.clear()
    world.run(10.0)
    assert not a.inbox and not b.has("BYE"), "nothing is left of it"
    assert statuses(world) == [("ok", "200")]


def test_bye_in_the_only_early_dialog(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a))
    invite = b.take("INVITE")
    b.reply(invite, 180, "Ringing")
    world.run()
    early = a.take(180)
    invite_branch, cseq = call.branch, call.cseq
    call.to_tag, call.remote = early.tag, early.contact
    call.bye()
    world.run()
    assert a.take(200).method == "BYE"
    final = a.take(487)
    call.cseq = cseq
    call.branch = invite_branch
    call.ack(final)
    b.reply(b.take("CANCEL"), 200, "OK")
    b.reply(invite, 487, "Request Terminated")
    world.run()
    assert statuses(world) == [("cancel", "487")]


def test_bye_in_one_of_two_early_dialogs(world: World) -> None:
    """Only that branch is given up; the other one may still answer."""
    a, call, phones, invites = forked(world, 2)
    ring(world, phones, invites)
    early = [a.take(180), a.take(180)]
    branch = call.branch
    call.to_tag, call.remote = early[0].tag, early[0].contact
    call.bye()
    world.run()
    assert a.take(200).method == "BYE"
    assert not a.has(487)
    phones[0].reply(phones[0].take("CANCEL"), 200, "OK")
    phones[0].reply(invites[0], 487, "Request Terminated", tag="branch0")
    world.run()
    phones[1].reply(invites[1], 200, "OK", offer_of(phones[1], 30000), tag="branch1")
    world.run()
    ok = a.take(200)
    assert ok.tag == early[1].tag
    call.branch = branch
    call.ack(ok)
    call.bye()
    world.run()
    phones[1].reply(phones[1].take("BYE"), 200, "OK")
    world.run()
    assert statuses(world) == [("ok", "200")]


def test_bye_in_one_of_two_early_dialogs_of_one_contact(world: World) -> None:
    """Behind a forking proxy: the BYE goes into that dialog, the other one may still answer."""
    a, call, (phone,), (invite,) = forked(world, 1)
    phone.reply(invite, 180, "Ringing", tag="one")
    phone.reply(invite, 180, "Ringing", tag="two")
    world.run()
    first, second = a.take(180), a.take(180)
    call.to_tag, call.remote = first.tag, first.contact
    call.bye()
    world.run()
    a.take(200)
    bye = phone.take("BYE")
    assert bye.tag == "one" and bye.cseq == 11 and not phone.has("CANCEL")
    phone.reply(bye, 200, "OK")
    phone.reply(invite, 200, "OK", offer_of(phone, 32000), tag="two")
    world.run()
    ok = a.take(200)
    assert ok.tag == second.tag
    call.ack(ok)
    world.run()
    phone.reply(invite, 200, "OK", offer_of(phone, 31000), tag="one")
    world.run()
    assert phone.take("ACK").tag == "two" and phone.take("ACK").tag == "one"
    bye = phone.take("BYE")
    assert (bye.tag, bye.cseq) == ("one", 12)
    phone.reply(bye, 200, "OK")
    call.bye()
    world.run()
    bye = phone.take("BYE")
    assert bye.tag == "two"
    phone.reply(bye, 200, "OK")


def test_answer_that_crosses_the_bye_of_its_early_dialog(world: World) -> None:
    a, call, (phone,), (invite,) = forked(world, 1)
    phone.reply(invite, 180, "Ringing", tag="one")
    phone.reply(invite, 180, "Ringing", tag="two")
    world.run()
    first = a.take(180)
    branch, cseq = call.branch, call.cseq
    call.to_tag, call.remote = first.tag, first.contact
    call.bye()
    phone.reply(invite, 200, "OK", offer_of(phone, 31000), tag="one")
    world.run()
    phone.take("ACK")
    phone.reply(phone.take("BYE"), 200, "OK")
    phone.reply(phone.take("BYE"), 200, "OK")
    call.branch, call.cseq = branch, cseq
    call.ack(a.take(487))
    assert statuses(world) == [("cancel", "487")]


def test_callee_may_not_end_an_early_dialog(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    call, invite = ringing(world, a, b)
    b.in_dialog(invite, "BYE", 1)
    world.run()
    assert b.take(481).method == "BYE" and not a.has("BYE")
    hang_up(world, answer(world, a, b, call, invite))


@pytest.mark.parametrize("method", ["BYE", "INFO", "UPDATE", "PRACK", "INVITE", "OPTIONS", "MESSAGE", "NOTIFY"])
def test_unknown_dialog_is_481(world: World, method: str) -> None:
    a = world.registered(ALICE)
    call = a.invite("sip:testuser1003@spce.test", offer_of(a))
    world.run()
    call.ack(a.take(407))
    call.to_tag = "nobody"
    call.send(method)
    world.run()
    assert a.take(481)["cseq"].endswith(method)
    if method == "INVITE":
        call.ack(next(m for m in a.seen if m.status == 481))


def test_wrong_tag_is_481(world: World) -> None:
    """All three identifiers count."""
    talk = established(world)
    talk.call.to_tag, right = "wrong", talk.call.to_tag
    talk.call.send("INFO")
    world.run()
    talk.a.take(481)
    talk.call.to_tag = right
    talk.call.from_tag, right = "wrong", talk.call.from_tag
    talk.call.send("INFO")
    world.run()
    talk.a.take(481)
    assert not talk.b.has("INFO")
    talk.call.from_tag = right
    hang_up(world, talk)


def test_requests_after_the_end(world: World, end: End) -> None:
    end.send("BYE")
    world.run()
    end.other.reply(end.other.take("BYE"), 200, "OK")
    world.run()
    end.phone.take(200)
    for method in ("INFO", "UPDATE", "INVITE"):
        end.send(method)
        world.run()
        final = end.phone.take(481)
        if method == "INVITE":
            end.ack(final)
    end.send("BYE")
    world.run()
    assert end.phone.take(200).method == "BYE", "while it may have crossed ours"
    world.run(40.0)
    end.send("BYE")
    world.run()
    assert end.phone.take(481).method == "BYE"
    assert statuses(world) == [("ok", "200")]


def test_numbers_out_of_order_are_500(world: World, end: End) -> None:
    end.send("INFO", b"x", ctype="application/x", cseq=50)
    end.cseq = end.talk.call.cseq = 50
    world.run()
    end.other.reply(end.other.take("INFO"), 200, "OK")
    world.run()
    end.phone.take(200)
    for cseq in (50, 49, 1):
        end.send("INFO", b"x", ctype="application/x", cseq=cseq)
        world.run()
        assert end.phone.take(500).method == "INFO"
    assert not end.other.has("INFO")
    end.send("BYE", cseq=51)
    world.run()
    end.other.reply(end.other.take("BYE"), 200, "OK")
    world.run()
    assert end.phone.take(200).method == "BYE"


def test_ack_of_nothing_is_ignored(world: World) -> None:
    talk = established(world)
    before = len(talk.b.seen)
    talk.call.send("ACK", cseq=999)
    talk.call.send("ACK", cseq=talk.ok.cseq)
    world.run()
    assert len(talk.b.seen) == before
    hang_up(world, talk)

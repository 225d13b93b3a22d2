"""Reliable provisional answers (RFC 3262) through both legs."""

from __future__ import annotations

import pytest

from tests.calls.rig import ALICE, BOB, answer, hang_up, offer_of, statuses
from tests.calls.test_forking import forked
from tests.phones import Msg, Outgoing, Phone, media_of
from tests.world import World


def progress(phone: Phone, invite: Msg, rseq: int, body: bytes = b"", *, tag: str = "", status: int = 183) -> None:
    phone.reply(invite, status, "Session Progress", body, fields=["Require: 100rel", f"RSeq: {rseq}"], tag=tag)


def reliable(world: World, *, require: bool = False, body: bytes | None = None) -> tuple[Phone, Phone, Outgoing, Msg]:
    a, b = world.registered(ALICE), world.registered(BOB)
    fields = ["Require: 100rel" if require else "Supported: 100rel, timer"]
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a) if body is None else body, fields)
    return a, b, call, b.take("INVITE")


def prack(call: Outgoing, response: Msg, body: bytes = b"") -> None:
    call.to_tag, call.remote = response.tag, response.contact
    call.send("PRACK", body, [f"RAck: {response['rseq']} {response.cseq} INVITE"])


@pytest.mark.parametrize("require", [False, True])
def test_prack_goes_end_to_end_with_the_callees_numbers(world: World, require: bool) -> None:
    a, b, call, invite = reliable(world, require=require)
    assert "100rel" in invite["require" if require else "supported"]
    progress(b, invite, 7777, offer_of(b, 30000))
    world.run()
    first = a.take(183)
    assert first["require"] == "100rel" and first["rseq"] != "7777"
    prack(call, first)
    world.run()
    ack = b.take("PRACK")
    assert ack["rack"] == "7777 10 INVITE" and ack.cseq == 11
    b.reply(ack, 200, "OK", contact=False)
    world.run()
    assert a.take(200).method == "PRACK"
    progress(b, invite, 7778, status=180)
    world.run()
    second = a.take(180)
    assert int(second["rseq"]) == int(first["rseq"]) + 1
    prack(call, second)
    world.run()
    b.reply(b.take("PRACK"), 200, "OK", contact=False)
    world.run()
    a.take(200)
    hang_up(world, answer(world, a, b, call, invite, body=b""))
    assert statuses(world) == [("ok", "200")]


def test_repeated_until_the_prack_and_no_longer(world: World) -> None:
    a, b, call, invite = reliable(world)
    progress(b, invite, 1)
    world.run(4.0)
    got = [m for m in a.inbox if m.status == 183]
    assert len(got) == 4 and len({m.raw for m in got}) == 1, "after 0.5, 1.5 and 3.5 s"
    progress(b, invite, 1)  # the callee repeats it too: that is not relayed
    a.inbox.clear()
    prack(call, got[0])
    world.run()
    b.reply(b.take("PRACK"), 200, "OK", contact=False)
    world.run(10.0)
    assert not a.has(183)
    b.reply(invite, 486, "Busy Here")
    world.run()
    call.ack(a.take(486))


def test_out_of_order_is_dropped(world: World) -> None:
    """RFC 3262 4: a number that is not the next one is not processed."""
    a, b, call, invite = reliable(world)
    progress(b, invite, 10)
    progress(b, invite, 12, status=180)
    world.run()
    first = a.take(183)
    assert not a.has(180)
    prack(call, first)
    world.run()
    b.reply(b.take("PRACK"), 200, "OK", contact=False)
    progress(b, invite, 11, status=182)
    world.run()
    a.take(182)
    b.reply(invite, 486, "Busy Here")
    world.run()
    call.ack(a.take(486))


def test_offer_in_prack(world: World) -> None:
    a, b, call, invite = reliable(world)
    progress(b, invite, 1, offer_of(b, 30000))
    world.run()
    prack(call, a.take(183), offer_of(a, 20010, version=2))
    world.run()
    got = b.take("PRACK")
    assert media_of(got.body)[0] == "127.0.0.1"
    b.reply(got, 200, "OK", offer_of(b, 30000, version=2), contact=False)
    world.run()
    assert media_of(a.take(200).body)[0] == "127.0.0.1"
    hang_up(world, answer(world, a, b, call, invite, body=b""))


def test_late_offer_in_a_reliable_answer(world: World) -> None:
    """Offer in the 183, answer in the PRACK."""
    a, b, call, invite = reliable(world, body=b"")
    progress(b, invite, 1, offer_of(b, 30000))
    world.run()
    early = a.take(183)
    assert media_of(early.body)[0] == "127.0.0.1"
    prack(call, early, offer_of(a))
    world.run()
    got = b.take("PRACK")
    assert media_of(got.body)[0] == "127.0.0.1"
    b.reply(got, 200, "OK", contact=False)
    world.run()
    a.take(200)
    hang_up(world, answer(world, a, b, call, invite, body=b""))


def test_wrong_rack_is_481(world: World) -> None:
    a, b, call, invite = reliable(world)
    progress(b, invite, 1)
    world.run()
    early = a.take(183)
    call.to_tag, call.remote = early.tag, early.contact
    for rack in (f"{int(early['rseq']) + 1} {early.cseq} INVITE", f"{early['rseq']} {early.cseq + 5} INVITE", f"{early['rseq']} {early.cseq} UPDATE"):
        call.send("PRACK", fields=[f"RAck: {rack}"])
        world.run()
        assert a.take(481).method == "PRACK"
    call.send("PRACK")
    world.run()
    assert a.take(400).method == "PRACK" and not b.has("PRACK")
    prack(call, early)
    world.run()
    b.reply(b.take("PRACK"), 200, "OK", contact=False)
    world.run()
    a.take(200)
    prack(call, early)
    world.run()
    assert a.take(481).method == "PRACK", "nothing waits for it any more"
    b.reply(invite, 486, "Busy Here")
    world.run()
    call.ack(a.take(486))


def test_prack_of_the_callee_is_481(world: World) -> None:
    a, b, call, invite = reliable(world)
    progress(b, invite, 1)
    world.run()
    prack(call, a.take(183))
    world.run()
    b.reply(b.take("PRACK"), 200, "OK", contact=False)
    b.in_dialog(invite, "PRACK", 1, fields=["RAck: 1 1 INVITE"])
    world.run()
    assert b.take(481).method == "PRACK"
    b.reply(invite, 486, "Busy Here")
    world.run()
    call.ack(a.take(486))


def test_two_early_dialogs_have_their_own_numbers(world: World) -> None:
    a, call, phones, invites = forked(world, 2, fields=["Supported: 100rel"])
    for n, phone in enumerate(phones):
        progress(phone, invites[n], 100 + n, tag=f"branch{n}")
    world.run()
    early = [a.take(183) for _ in phones]
    assert len({m.tag for m in early}) == 2
    for n in (1, 0):
        prack(call, early[n])
        world.run()
        got = phones[n].take("PRACK")
        assert got["rack"] == f"{100 + n} 10 INVITE" and got.tag == f"branch{n}"
        phones[n].reply(got, 200, "OK", contact=False)
        world.run()
        assert a.take(200).tag == early[n].tag
    for n, phone in enumerate(phones):
        phone.reply(invites[n], 480, "Away", tag=f"branch{n}")
    world.run()
    call.ack(a.take(480))


def test_pracked_never_is_504(world: World) -> None:
    a, b, call, invite = reliable(world)
    progress(b, invite, 1)
    world.run(31.9)
    assert not a.has(504)
    world.run(0.5)
    call.ack(a.take(504))
    b.reply(b.take("CANCEL"), 200, "OK")
    b.reply(invite, 487, "Request Terminated")
    world.run()
    assert statuses(world) == [("other", "504")]


def test_answer_before_the_prack(world: World) -> None:
    """The 200 stops the repetition; the PRACK still goes its way (RFC 3262 3)."""
    a, b, call, invite = reliable(world)
    progress(b, invite, 1)
    world.run()
    early = a.take(183)
    talk = answer(world, a, b, call, invite)
    a.inbox.clear()
    world.run(5.0)
    assert not a.has(183)
    prack(call, early)
    world.run()
    got = b.take("PRACK")
    assert got["rack"] == "1 10 INVITE"
    b.reply(got, 481, "Too Late", contact=False)
    world.run()
    assert a.take(481).method == "PRACK" and not a.has("BYE"), "that ends no call"
    hang_up(world, talk)


def test_caller_without_100rel(world: World) -> None:
    """The callee is not offered it; one that sends reliable answers all the same is heard once."""
    a, b = world.registered(ALICE), world.registered(BOB)
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a), ["Supported: timer"])
    invite = b.take("INVITE")
    assert "100rel" not in invite.get("supported") + invite.get("require")
    for _ in range(3):
        progress(b, invite, 5, offer_of(b, 30000))
    world.run(3.0)
    early = a.take(183)
    assert "rseq" not in early.headers and "require" not in early.headers and not a.has(183)
    hang_up(world, answer(world, a, b, call, invite))


def test_callee_without_100rel(world: World) -> None:
    a, b, call, invite = reliable(world)
    b.reply(invite, 180, "Ringing", fields=["Supported: 100rel"])
    world.run(2.0)
    ringing = a.take(180)
    assert "rseq" not in ringing.headers and "require" not in ringing.headers and not a.has(180)
    hang_up(world, answer(world, a, b, call, invite))


def test_required_but_not_there(world: World) -> None:
    a, b, call, invite = reliable(world, require=True)
    b.reply(invite, 420, "Bad Extension", fields=["Unsupported: 100rel"])
    world.run()
    final = a.take(420)
    assert final["unsupported"] == "100rel"
    call.ack(final)
    assert statuses(world) == [("other", "420")]


def test_reinvites_do_not_offer_it(world: World) -> None:
    a, b, call, invite = reliable(world)
    b.reply(invite, 180, "Ringing")
    world.run()
    a.take(180)
    talk = answer(world, a, b, call, invite)
    call.send("INVITE", offer_of(a, version=2), ["Supported: 100rel, timer", "Require: 100rel"])
    world.run()
    again = b.take("INVITE")
    assert again["supported"] == "timer" and "require" not in again.headers
    b.reply(again, 180, "Ringing")
    world.run()
    assert not a.has(180), "no provisional answer, for it would have to be a reliable one"
    b.reply(again, 200, "OK", offer_of(b, 30000, version=2))
    world.run()
    call.ack(a.take(200))
    world.run()
    b.take("ACK")
    a.inbox.clear()
    hang_up(world, talk)


def test_flood_of_unacknowledged_answers_is_bounded(world: World) -> None:
    a, b, call, invite = reliable(world)
    for n in range(60):
        progress(b, invite, 1 + n)
    world.run()
    assert len([m for m in a.inbox if m.status == 183]) == 16
    b.reply(invite, 486, "Busy Here")
    world.run()
    call.ack(a.take(486))

"""Several contacts of one callee, and several phones behind one contact."""

from __future__ import annotations

import pytest

from tests.calls.rig import ALICE, BOB, answer, hang_up, offer_of, statuses
from tests.phones import Msg, Outgoing, Phone, media_of
from tests.world import World

ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'


def forked(world: World, count: int = 3, *, fields: list[str] | None = None) -> tuple[Phone, Outgoing, list[Phone], list[Msg]]:
    """The caller, its leg, the phones of the callee and the INVITE at each."""
    a = world.registered(ALICE)
    phones = [world.registered(BOB, host=f"127.2.0.{n + 1}") for n in range(count)]
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a), fields)
    return a, call, phones, [p.take("INVITE") for p in phones]


def ring(world: World, phones: list[Phone], invites: list[Msg]) -> None:
    for n, (phone, invite) in enumerate(zip(phones, invites, strict=True)):
        phone.reply(invite, 180, "Ringing", tag=f"branch{n}")
    world.run()


def test_all_ring_first_answer_wins(world: World) -> None:
    a, call, phones, invites = forked(world)
    assert len({i["call-id"] for i in invites}) == 1 and len({i.from_tag for i in invites}) == 3 and len({i["via"] for i in invites}) == 3
    assert {i["cseq"] for i in invites} == {"10 INVITE"}
    ring(world, phones, invites)
    tags = [a.take(180).tag for _ in phones]
    assert len(set(tags)) == 3, "each branch is an early dialog of its own"
    phones[1].reply(invites[1], 200, "OK", offer_of(phones[1], 30000), tag="branch1")
    world.run()
    ok = a.take(200)
    assert ok.tag in tags
    for n in (0, 2):
        cancel = phones[n].take("CANCEL")
        assert cancel["reason"] == ELSEWHERE and cancel["via"] == invites[n]["via"] and cancel.cseq == 10
        phones[n].reply(cancel, 200, "OK")
        phones[n].reply(invites[n], 487, "Request Terminated", tag=f"branch{n}")
    assert not phones[1].has("CANCEL")
    call.ack(ok)
    world.run()
    for phone in phones:
        phone.take("ACK")
    world.run(1.0)
    call.bye()
    world.run()
    assert not phones[0].has("BYE") and not phones[2].has("BYE")
    phones[1].reply(phones[1].take("BYE"), 200, "OK")
    world.run()
    assert statuses(world) == [("ok", "200")]


def test_two_answers_at_once_the_loser_gets_ack_and_bye(world: World) -> None:
    a, call, phones, invites = forked(world, 2)
    ring(world, phones, invites)
    for n, phone in enumerate(phones):
        phone.reply(invites[n], 200, "OK", offer_of(phone, 30000), tag=f"branch{n}")
    world.run()
    oks = [m for m in a.inbox if m.status == 200 and m.method == "INVITE"]
    assert len(oks) == 1
    ack, bye = phones[1].take("ACK"), phones[1].take("BYE")
    assert ack.cseq == 10 and bye.cseq > 10 and bye.tag == "branch1"
    phones[1].reply(invites[1], 200, "OK", offer_of(phones[1], 30000), tag="branch1")  # its ACK was lost
    world.run()
    assert phones[1].take("ACK").raw == ack.raw and not phones[1].has("BYE"), "the ACK is repeated, the BYE is not sent anew"
    phones[1].reply(bye, 200, "OK")
    call.ack(oks[0])
    world.run()
    phones[0].take("ACK")
    call.bye()
    world.run()
    phones[0].reply(phones[0].take("BYE"), 200, "OK")
    world.run()
    assert statuses(world) == [("ok", "200")]


def test_late_answer_after_the_cancel(world: World) -> None:
    a, call, phones, invites = forked(world, 2)
    ring(world, phones, invites)
    phones[0].reply(invites[0], 200, "OK", offer_of(phones[0], 30000), tag="branch0")
    world.run()
    call.ack(a.take(200))
    phones[1].reply(phones[1].take("CANCEL"), 200, "OK")
    world.run(1.0)
    phones[1].reply(invites[1], 200, "OK", offer_of(phones[1], 30000), tag="branch1")
    world.run()
    phones[1].take("ACK")
    phones[1].reply(phones[1].take("BYE"), 200, "OK")
    call.bye()
    world.run()
    phones[0].reply(phones[0].take("BYE"), 200, "OK")
    world.run()
    assert statuses(world) == [("ok", "200")]


def test_6xx_ends_all(world: World) -> None:
    a, call, phones, invites = forked(world)
    ring(world, phones, invites)
    phones[2].reply(invites[2], 603, "Decline", tag="branch2")
    world.run()
    final = a.take(603)
    assert final.line == "SIP/2.0 603 Decline"
    call.ack(final)
    for n in (0, 1):
        phones[n].reply(phones[n].take("CANCEL"), 200, "OK")
        phones[n].reply(invites[n], 487, "Request Terminated", tag=f"branch{n}")
    world.run()
    assert statuses(world) == [("other", "603")]


@pytest.mark.parametrize(
    ("codes", "best"),
    [
        ((480, 486, 480), 486),
        ((503, 404, 500), 404),
        ((480, 480, 480), 480),
        ((487, 480, 488), 488),
        ((500, 503, 302), 302),
        ((404, 401, 407), 404),
        ((500, 404, 486), 486),
    ],
)
def test_best_failure(world: World, codes: tuple[int, ...], best: int) -> None:
    a, call, phones, invites = forked(world)
    ring(world, phones, invites)
    for n, code in enumerate(codes):
        assert not [m for m in a.inbox if m.status >= 300], "no final answer while a branch is open"
        fields = ["Contact: <sip:other@192.0.2.77>"] if code == 302 else []
        phones[n].reply(invites[n], code, f"Reason {code}", tag=f"branch{n}", fields=fields, contact=False)
        world.run()
    final = a.take(best)
    assert final.line == f"SIP/2.0 {best} Reason {best}"
    call.ack(final)
    world.run()
    assert len(statuses(world)) == 1


def test_redirection_is_passed_with_its_contacts(world: World) -> None:
    a, call, (phone,), (invite,) = forked(world, 1)
    phone.reply(invite, 302, "Moved", fields=["Contact: <sip:x@192.0.2.1>;q=0.5", "Contact: <sip:y@192.0.2.2>"], contact=False)
    world.run()
    final = a.take(302)
    assert final.headers["contact"] == ["<sip:x@192.0.2.1>;q=0.5", "<sip:y@192.0.2.2>"]
    call.ack(final)
    assert statuses(world) == [("other", "302")]


@pytest.mark.parametrize("code", [401, 407])
def test_challenge_of_a_device_is_never_passed_on(world: World, code: int) -> None:
    a, call, (phone,), (invite,) = forked(world, 1)
    name = "WWW-Authenticate" if code == 401 else "Proxy-Authenticate"
    phone.reply(invite, code, "Unauthorized", fields=[f'{name}: Digest realm="evil", nonce="x"'])
    world.run()
    final = a.take(480)
    assert final.line == "SIP/2.0 480 Temporarily Unavailable" and name.lower() not in final.headers
    call.ack(final)
    assert statuses(world) == [("noanswer", "480")]


def test_one_device_is_dead(world: World) -> None:
    a, call, phones, invites = forked(world, 2)
    phones[0].close()
    phones[1].reply(invites[1], 180, "Ringing")
    world.run(9.5)
    assert not [m for m in a.inbox if m.status >= 300]
    talk = answer(world, a, phones[1], call, invites[1])
    world.run(1.0)
    hang_up(world, talk)
    assert statuses(world) == [("ok", "200")]


def test_malformed_answers_of_one_device(world: World) -> None:
    """A provisional answer that can not be read is dropped; a 2xx that can not be read ends its branch, not the call."""
    a, call, phones, invites = forked(world, 2)
    phones[0].reply(invites[0], 180, "Ringing", tag="branch0", fields=["Record-Route: <<>"])
    world.run()
    assert not a.has(180)
    phones[0].reply(invites[0], 200, "OK", offer_of(phones[0], 30000), tag="branch0", fields=["Contact: <sip:[1.2.3>"], contact=False)
    world.run()
    assert not a.has(200)
    phones[0].take("ACK")
    phones[0].reply(phones[0].take("BYE"), 200, "OK")
    phones[1].reply(invites[1], 180, "Ringing", tag="branch1")
    world.run()
    a.take(180)
    hang_up(world, answer(world, a, phones[1], call, invites[1]))
    assert statuses(world) == [("ok", "200")]


def test_unusable_session_description_of_the_only_device(world: World) -> None:
    a, call, (phone,), (invite,) = forked(world, 1)
    phone.reply(invite, 200, "OK", b"v=0\r\nnot a session description\r\n")
    world.run()
    phone.take("ACK")
    phone.reply(phone.take("BYE"), 200, "OK")
    call.ack(a.take(488))
    world.run()
    assert statuses(world) == [("other", "488")]


def test_forking_proxy_behind_one_contact(world: World) -> None:
    """Two early dialogs with different To-tags on one branch, the second answers."""
    a, call, (phone,), (invite,) = forked(world, 1)
    phone.reply(invite, 183, "Progress", offer_of(phone, 31000), tag="one")
    phone.reply(invite, 183, "Progress", offer_of(phone, 32000), tag="two")
    world.run()
    first, second = a.take(183), a.take(183)
    assert first.tag != second.tag
    assert media_of(first.body) == media_of(second.body), "all share the caller's port pair"
    phone.reply(invite, 200, "OK", offer_of(phone, 32000), tag="two")
    world.run()
    ok = a.take(200)
    assert ok.tag == second.tag
    call.ack(ok)
    world.run()
    assert phone.take("ACK").tag == "two"
    phone.reply(invite, 200, "OK", offer_of(phone, 31000), tag="one")  # a late second answer
    world.run()
    assert phone.take("ACK").tag == "one"
    bye = phone.take("BYE")
    assert bye.tag == "one"
    phone.reply(bye, 200, "OK")
    call.bye()
    world.run()
    bye = phone.take("BYE")
    assert bye.tag == "two"
    phone.reply(bye, 200, "OK")
    world.run()
    assert statuses(world) == [("ok", "200")]


def test_untagged_provisional_belongs_to_the_dialog_that_comes(world: World) -> None:
    """RFC 2543 devices ring without a To-tag; the caller sees one dialog."""
    a, call, (phone,), (invite,) = forked(world, 1)
    lines = ["SIP/2.0 180 Ringing", f"Via: {invite['via']}", f"From: {invite['from']}", f"To: {invite['to']}", f"Call-ID: {invite['call-id']}"]
    phone.send([*lines, f"CSeq: {invite['cseq']}"], to=invite.source)
    world.run()
    ringing = a.take(180)
    phone.reply(invite, 183, "Progress", offer_of(phone, 31000), tag="late")
    world.run()
    assert a.take(183).tag == ringing.tag
    phone.reply(invite, 200, "OK", offer_of(phone, 31000), tag="late")
    world.run()
    ok = a.take(200)
    assert ok.tag == ringing.tag
    call.ack(ok)
    call.bye()
    world.run()
    phone.reply(phone.take("BYE"), 200, "OK")
    world.run()


def test_endless_early_dialogs_are_bounded(world: World) -> None:
    a, call, (phone,), (invite,) = forked(world, 1)
    for n in range(40):
        phone.reply(invite, 180, "Ringing", tag=f"early{n}")
    world.run()
    assert len([m for m in a.inbox if m.status == 180]) == 16
    phone.reply(invite, 486, "Busy Here", tag="early0")
    world.run()
    call.ack(a.take(486))


def test_offline_devices_are_told_apart_from_silent_ones(world: World) -> None:
    """No answer from any of two devices: 408 after 9 s, one CDR."""
    a, call, phones, _ = forked(world, 2)
    for phone in phones:
        phone.close()
    world.run(9.5)
    call.ack(a.take(408))
    assert statuses(world) == [("timeout", "408")]


def test_only_the_winner_gets_media(world: World) -> None:
    """The ports of the losers are free as soon as one has answered."""
    a, call, phones, invites = forked(world)
    ring(world, phones, invites)
    assert world.daemon.media.counters().used == 3, "one pair towards each device; that of the caller is taken with the first answer"
    phones[0].reply(invites[0], 200, "OK", offer_of(phones[0], 30000), tag="branch0")
    world.run()
    assert world.daemon.media.counters().used == 2
    call.ack(a.take(200))
    call.bye()
    world.run()
    phones[0].reply(phones[0].take("BYE"), 200, "OK")

"""CANCEL at every moment, and callers that vanish."""

from __future__ import annotations

import pytest

from tests.calls.rig import ALICE, BOB, established, offer_of, ringing, statuses
from tests.phones import digest
from tests.world import World


def test_before_routing_is_done(world: World) -> None:
    """The caller gives up while subscriber details are still being read."""
    a, b = world.registered(ALICE), world.registered(BOB)
    call = a.invite("sip:testuser1003@spce.test", offer_of(a))
    world.run()
    challenge = a.take(407)
    call.ack(challenge)
    auth = digest(challenge["proxy-authenticate"], a.user, a.password, "INVITE", call.target)
    world.daemon.directory.outdate_all()
    world.executor.hold()
    call.send("INVITE", offer_of(a), [f"Proxy-Authorization: {auth}"])
    world.run()
    assert a.has(100) and not b.has("INVITE")
    call.cancel()
    world.run()
    assert a.take(200).method == "CANCEL"
    call.ack(a.take(487))
    world.executor.release()
    world.run()
    assert not b.has("INVITE")
    assert statuses(world) == [("cancel", "487")]


def test_the_callers_reason_reaches_the_callee(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    call, invite = ringing(world, a, b)
    reason = 'SIP;cause=200;text="Call completed elsewhere"'
    call.send("CANCEL", cseq=call.cseq, branch=call.branch, fields=[f"Reason: {reason}"])
    world.run()
    call.ack(a.take(487))
    cancel = b.take("CANCEL")
    assert cancel["reason"] == reason
    b.reply(cancel, 200, "OK")
    b.reply(invite, 487, "Request Terminated")
    world.run()
    b.take("ACK")


def test_early_dialog_is_gone_with_the_call(world: World) -> None:
    """The callee has not heard of the CANCEL yet: what it sends in the early dialog finds nobody."""
    a, b = world.registered(ALICE), world.registered(BOB)
    call, invite = ringing(world, a, b)
    call.cancel()
    world.run()
    call.ack(a.take(487))
    b.in_dialog(invite, "INFO", 1, b"x", ctype="application/x")
    world.run()
    assert b.take(481).method == "INFO" and not a.has("INFO")
    b.reply(b.take("CANCEL"), 200, "OK")
    b.reply(invite, 487, "Request Terminated")


def test_twice(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    call, invite = ringing(world, a, b)
    call.cancel()
    call.cancel()
    world.run()
    assert [m.status for m in a.inbox if m.method == "CANCEL"] == [200, 200]
    assert len([m for m in a.inbox if m.status == 487]) == 1
    call.ack(a.take(487))
    b.reply(b.take("CANCEL"), 200, "OK")
    assert not b.has("CANCEL")
    b.reply(invite, 487, "Request Terminated")
    world.run()
    assert statuses(world) == [("cancel", "487")]


def test_wrong_branch_is_481(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    call, invite = ringing(world, a, b)
    branch = call.branch
    call.send("CANCEL", cseq=call.cseq, branch="z9hG4bKwrong")
    world.run()
    assert a.take(481).method == "CANCEL" and not b.has("CANCEL")
    b.reply(invite, 486, "Busy Here")
    world.run()
    call.branch = branch
    call.ack(a.take(486))
    assert statuses(world) == [("busy", "486")]


def test_crossing_with_the_answer_at_the_platform(world: World) -> None:
    """The 200 has gone out: the CANCEL is answered and changes nothing, the caller says BYE."""
    a, b = world.registered(ALICE), world.registered(BOB)
    call, invite = ringing(world, a, b)
    b.reply(invite, 200, "OK", offer_of(b, 30000))
    call.cancel()
    world.run()
    ok = next(m for m in a.inbox if m.status == 200 and m.method == "INVITE")
    assert [m for m in a.inbox if m.method == "CANCEL" and m.status == 200] and not a.has(487) and not b.has("CANCEL")
    call.ack(ok)
    call.bye()
    world.run()
    b.reply(b.take("BYE"), 200, "OK")
    world.run()
    assert statuses(world) == [("ok", "200")]


def test_crossing_with_the_answer_at_the_callee(world: World) -> None:
    """The callee answers while our CANCEL is on its way: its call is acknowledged and ended."""
    a, b = world.registered(ALICE), world.registered(BOB)
    call, invite = ringing(world, a, b)
    call.cancel()
    world.run()
    call.ack(a.take(487))
    cancel = b.take("CANCEL")
    b.reply(invite, 200, "OK", offer_of(b, 30000))
    b.reply(cancel, 481, "No Such Transaction")
    world.run()
    b.take("ACK")
    bye = b.take("BYE")
    assert bye.cseq == 11
    b.reply(bye, 200, "OK")
    world.run()
    assert statuses(world) == [("cancel", "487")]


def test_callee_never_answers_the_cancel(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    call, _ = ringing(world, a, b)
    call.cancel()
    world.run()
    call.ack(a.take(487))
    b.close()
    world.run(40.0)
    assert statuses(world) == [("cancel", "487")]


def test_after_the_failure(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    call, invite = ringing(world, a, b)
    branch = call.branch
    b.reply(invite, 486, "Busy Here")
    world.run()
    call.cancel()
    world.run()
    assert a.take(200).method == "CANCEL"
    call.branch = branch
    call.ack(a.take(486))
    assert statuses(world) == [("busy", "486")]


def test_answer_never_acknowledged(world: World) -> None:
    """The caller vanishes: the 200 is repeated for 64*T1, then both sides get BYE and the call has its record."""
    a, b = world.registered(ALICE), world.registered(BOB)
    _, invite = ringing(world, a, b)
    b.reply(invite, 200, "OK", offer_of(b, 30000))
    world.run(31.0)
    oks = [m for m in a.inbox if m.status == 200 and m.method == "INVITE"]
    assert 7 <= len(oks) <= 11 and len({m.raw for m in oks}) == 1
    assert not a.has("BYE") and not b.has("BYE") and not b.has("ACK")
    world.run(2.0)
    a.reply(a.take("BYE"), 200, "OK")
    b.take("ACK")
    b.reply(b.take("BYE"), 200, "OK")
    world.run()
    (cdr,) = world.cdrs()
    assert cdr["call_status"] == "ok" and 31.5 <= float(cdr["duration"]) <= 33.0
    assert world.accs()[-1]["sip_reason"] == "timeout"


def test_callee_hangs_up_before_the_ack(world: World) -> None:
    """The BYE for the caller waits until its ACK has come (RFC 3261 15), the callee is answered at once."""
    a, b = world.registered(ALICE), world.registered(BOB)
    call, invite = ringing(world, a, b)
    b.reply(invite, 200, "OK", offer_of(b, 30000))
    world.run()
    b.in_dialog(invite, "BYE", 1)
    world.run(1.0)
    b.take("ACK")
    assert b.take(200).method == "BYE" and not a.has("BYE")
    assert len([m for m in a.inbox if m.status == 200]) > 1, "the 200 is still repeated"
    call.ack(a.take(200))
    world.run()
    bye = a.take("BYE")
    assert bye.tag == call.from_tag
    a.reply(bye, 200, "OK")
    world.run()
    assert statuses(world) == [("ok", "200")] and not b.has("BYE")


def test_callee_hangs_up_and_the_ack_never_comes(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    _, invite = ringing(world, a, b)
    b.reply(invite, 200, "OK", offer_of(b, 30000))
    world.run()
    b.in_dialog(invite, "BYE", 1)
    world.run(31.0)
    assert not a.has("BYE")
    world.run(2.0)
    a.reply(a.take("BYE"), 481, "Gone")
    world.run()
    assert statuses(world) == [("ok", "200")]


def test_callee_hangs_up_and_the_caller_too_without_ack(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    call, invite = ringing(world, a, b)
    b.reply(invite, 200, "OK", offer_of(b, 30000))
    world.run()
    b.in_dialog(invite, "BYE", 1)
    world.run()
    answer = a.take(200)
    call.to_tag = answer.tag
    call.bye()
    world.run(1.0)
    replies = [m.method for m in a.inbox if m.status == 200]
    assert "BYE" in replies and not a.has("BYE"), "the caller has ended the call itself, no BYE for it"
    assert "INVITE" in replies, "its INVITE is answered until it says that it knows"
    a.inbox.clear()
    call.ack(answer)
    world.run(5.0)
    assert not a.has(200) and not a.has("BYE")
    assert statuses(world) == [("ok", "200")]


@pytest.mark.parametrize("lost", ["ACK", "200"])
def test_a_lost_message_of_the_answer_is_repeated(world: World, lost: str) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    call, invite = ringing(world, a, b)
    dropped: list[bytes] = []

    def lose(kind: str, data: bytes, source: tuple[str, int], to: tuple[str, int]) -> bool:
        first = data.startswith(b"ACK " if lost == "ACK" else b"SIP/2.0 200") and not dropped and to[0] != "127.0.0.1"
        if first:
            dropped.append(data)
        return not first

    world.net.filter = lose
    b.reply(invite, 200, "OK", offer_of(b, 30000))
    world.run(1.0)
    call.ack(a.take(200))
    world.run()
    if lost == "ACK":
        assert not b.has("ACK")
        b.reply(invite, 200, "OK", offer_of(b, 30000))  # the callee repeats its 200
        world.run()
    assert dropped
    b.take("ACK")
    call.bye()
    world.run()
    b.reply(b.take("BYE"), 200, "OK")


def test_retransmitted_invite_repeats_the_last_provisional(world: World) -> None:
    """Call processing 4.1: 100, 180, the caller repeats its INVITE, and gets one 200."""
    a, b = world.registered(ALICE), world.registered(BOB)
    call, invite = ringing(world, a, b)
    data = next(m.raw for m in reversed(a.sent) if m.method == "INVITE")
    a.socket.send(data, a.server)
    world.run()
    a.take(180)
    assert not b.has("INVITE")
    b.reply(invite, 200, "OK", offer_of(b, 30000))
    world.run()
    ok = a.take(200)
    a.socket.send(data, a.server)
    world.run()
    call.ack(ok)
    call.bye()
    world.run()
    b.reply(b.take("BYE"), 200, "OK")
    world.run()
    assert statuses(world) == [("ok", "200")]


def test_cancel_of_an_answered_call_long_ago(world: World) -> None:
    talk = established(world)
    call, branch = talk.call, next(m["via"] for m in reversed(talk.a.sent) if m.method == "INVITE").split("branch=")[1].split(";")[0]
    call.send("CANCEL", cseq=call.cseq, branch=branch)
    world.run()
    assert talk.a.take(200).method == "CANCEL"
    call.bye()
    world.run()
    talk.b.reply(talk.b.take("BYE"), 200, "OK")
    world.run()
    assert statuses(world) == [("ok", "200")]

"""Calls as the parties and the records see them."""

from __future__ import annotations

import pytest

from tests.calls.rig import established, hang_up
from tests.phones import media_of, sdp
from tests.world import World


def test_answered_call_leaves_a_complete_cdr(world: World) -> None:
    a, b = world.registered(1002), world.registered(1003)
    call = a.call("sip:4311003@spce.test", world.run, sdp(a.address[0], 20000))
    assert a.has(100)
    invite = b.take("INVITE")
    assert invite["call-id"] == call.call_id + "_b2b-1"
    assert "4311002@spce.test" in invite["from"] and invite["p-asserted-identity"] == "<sip:4311002@spce.test>"
    assert "testuser1003@spce.test" in invite["to"]
    assert int(invite["max-forwards"]) <= 70
    assert media_of(invite.body)[0] == "127.0.0.1" and media_of(invite.body)[1] >= 30000
    assert invite.contact.startswith("sip:ngcp-lb@127.0.0.1:5060")
    b.reply(invite, 180, "Ringing")
    world.run()
    ringing = a.take(180)
    assert ringing.tag and ringing["to"].startswith("<sip:4311003@spce.test>")
    world.run(1.0)
    b.reply(invite, 200, "OK", sdp(b.address[0], 30000))
    world.run()
    ok = a.take(200)
    assert ok.tag == ringing.tag
    assert media_of(ok.body)[0] == "127.0.0.1"
    assert not b.has("ACK"), "the ACK of leg B waits for that of leg A"
    call.ack(ok)
    world.run()
    b.take("ACK")
    world.run(10.0)
    call.bye()
    world.run()
    bye = b.take("BYE")
    assert not a.has(200), "the answer to BYE comes from the other end"
    b.reply(bye, 200, "OK", contact=False)
    world.run()
    assert a.take(200).method == "BYE"
    rows = world.accs()
    assert [(r["method"], r["sip_code"]) for r in rows] == [("INVITE", "200"), ("BYE", "200")]
    (cdr,) = world.cdrs()
    assert cdr["call_status"] == "ok" and cdr["call_code"] == "200" and cdr["call_type"] == "call"
    assert (cdr["source_user"], cdr["source_cli"]) == ("testuser1002", "4311002")
    assert (cdr["destination_user"], cdr["destination_user_dialed"]) == ("testuser1003", "4311003")
    assert 10.2 <= float(cdr["duration"]) <= 11.0
    assert float(cdr["start_time"]) - float(cdr["init_time"]) >= 1.0
    assert cdr["source_ip"] == a.address[0]


def test_bye_of_the_callee(world: World) -> None:
    a, b, call, invite, *_ = established(world)
    b.in_dialog(invite, "BYE", 1)
    world.run()
    bye = a.take("BYE")
    assert bye["call-id"] == call.call_id
    a.reply(bye, 200, "OK")
    world.run()
    assert b.take(200).method == "BYE"
    assert [c["call_status"] for c in world.cdrs()] == ["ok"]


def test_crossing_byes(world: World) -> None:
    a, b, call, invite, *_ = established(world)
    call.bye()
    b.in_dialog(invite, "BYE", 1)
    world.run()
    assert b.take(200).method == "BYE", "its own BYE is answered at once"
    b.reply(b.take("BYE"), 200, "OK")
    world.run()
    assert a.take(200).method == "BYE" and not a.has("BYE")
    assert len(world.cdrs()) == 1


@pytest.mark.parametrize(("code", "status"), [(486, "busy"), (480, "noanswer"), (404, "offline"), (603, "other"), (500, "other")])
def test_failure_of_the_callee_is_relayed(world: World, code: int, status: str) -> None:
    a, b = world.registered(1002), world.registered(1003)
    call = a.call("sip:testuser1003@spce.test", world.run, sdp(a.address[0], 20000))
    invite = b.take("INVITE")
    b.reply(invite, code, "Its Own Words")
    world.run()
    final = a.take(code)
    assert final.line == f"SIP/2.0 {code} Its Own Words"
    call.ack(final)
    world.run()
    b.take("ACK")
    (cdr,) = world.cdrs()
    assert (cdr["call_status"], cdr["call_code"], float(cdr["duration"])) == (status, str(code), 0.0)


def test_offline_callee(world: World) -> None:
    a = world.registered(1002)
    call = a.call("sip:4311003@spce.test", world.run, sdp(a.address[0], 20000))
    final = a.take(480)
    assert final.line == "SIP/2.0 480 Offline"
    call.ack(final)
    (cdr,) = world.cdrs()
    assert (cdr["call_status"], cdr["destination_user"], cdr["destination_user_dialed"]) == ("noanswer", "testuser1003", "4311003")


def test_cancel_while_ringing(world: World) -> None:
    a, b = world.registered(1002), world.registered(1003)
    call = a.call("sip:testuser1003@spce.test", world.run, sdp(a.address[0], 20000))
    invite = b.take("INVITE")
    b.reply(invite, 180, "Ringing")
    world.run()
    call.cancel()
    world.run()
    assert a.take(200).method == "CANCEL"
    call.ack(a.take(487))
    cancel = b.take("CANCEL")
    b.reply(cancel, 200, "OK")
    b.reply(invite, 487, "Request Terminated")
    world.run()
    b.take("ACK")
    (cdr,) = world.cdrs()
    assert (cdr["call_status"], cdr["call_code"]) == ("cancel", "487")


def test_cancel_before_any_answer_and_a_late_200(world: World) -> None:
    a, b = world.registered(1002), world.registered(1003)
    call = a.call("sip:testuser1003@spce.test", world.run, sdp(a.address[0], 20000))
    invite = b.take("INVITE")
    call.cancel()
    world.run()
    assert a.take(200).method == "CANCEL"
    call.ack(a.take(487))
    assert not b.has("CANCEL"), "no CANCEL before a provisional answer (RFC 3261 9.1)"
    b.reply(invite, 200, "OK", sdp(b.address[0], 30000))
    world.run()
    b.take("ACK")
    b.reply(b.take("BYE"), 200, "OK")
    world.run()
    assert [c["call_status"] for c in world.cdrs()] == ["cancel"]


def test_no_answer_at_all_is_a_timeout(world: World) -> None:
    a, b = world.registered(1002), world.registered(1003)
    call = a.call("sip:testuser1003@spce.test", world.run, sdp(a.address[0], 20000))
    b.auto = lambda msg: True
    world.run(9.5)
    final = a.take(408)
    call.ack(final)
    (cdr,) = world.cdrs()
    assert (cdr["call_status"], cdr["call_code"]) == ("timeout", "408")


def test_ringing_for_ever_is_a_timeout(world: World) -> None:
    a, b = world.registered(1002), world.registered(1003)
    call = a.call("sip:testuser1003@spce.test", world.run, sdp(a.address[0], 20000))
    invite = b.take("INVITE")
    b.reply(invite, 180, "Ringing")
    world.run(181.0)
    call.ack(a.take(408))
    cancel = b.take("CANCEL")
    b.reply(cancel, 200, "OK")
    b.reply(invite, 487, "Request Terminated")
    world.run()
    assert [c["call_status"] for c in world.cdrs()] == ["timeout"]


def test_wrong_password_is_challenged_again_and_not_recorded(world: World) -> None:
    a = world.registered(1002)
    a.password = "wrong"
    a.call("sip:testuser1003@spce.test", world.run, sdp(a.address[0], 20000))
    assert a.has(407)
    assert world.accs() == []


def test_topology_is_hidden(world: World) -> None:
    """Spelled out once; `rig.check` looks at every message of every test."""
    talk = established(world)
    for msg in talk.b.seen:
        text = msg.raw.decode("latin-1").replace(talk.call.call_id + "_b2b-1", "")
        for secret in (talk.a.address[0], talk.call.call_id, talk.call.from_tag, "ngcp-src", "P-App", "P-Caller"):
            assert secret not in text, (secret, text)
    for msg in talk.a.seen:
        assert talk.b.address[0] not in msg.raw.decode("latin-1")
    hang_up(world, talk)

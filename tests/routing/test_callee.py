"""C8, C16, C21: what was dialed and whom it names (call processing 3.4, 3.5)."""

from __future__ import annotations

import dataclasses

import pytest

from ngcpd.routing.model import Deliver, LoopSettings
from tests.routing.rig import Rig, binding, decide, outcome

AWAY = "503 PSTN Termination Currently Unavailable"


@pytest.mark.parametrize(
    ("dialed", "result", "by"),
    [
        ("sip:testuser1003@spce.test", "deliver", "username"),
        ("sip:testuser1003@SPCE.test:5060;transport=udp", "deliver", "username"),
        ("sip:test%75ser1003@spce.test", "deliver", "username"),
        ("sips:testuser1003@spce.test", "deliver", "username"),
        ("sip:4311003@spce.test", "deliver", "primary"),
        ("sip:4311003;phone-context=x@spce.test;user=phone", "deliver", "primary"),
        ("sip:4313333@spce.test", "deliver", "alias"),
        ("sip:4311003@127.0.0.1", "deliver", "primary"),
        ("sip:testuser1003@127.0.0.1:5060", "deliver", "username"),
        ("sip:4311003@elsewhere.test", "deliver", "primary"),
        ("tel:4311003", "deliver", "primary"),
        ("tel:431-1003", "deliver", "primary"),
        ("sip:TESTUSER1003@spce.test", AWAY, ""),
        ("sip:nobody@spce.test", AWAY, ""),
        ("sip:+4311003@spce.test", AWAY, ""),
        ("sip:4399999@127.0.0.1", AWAY, ""),
        ("tel:+4366412", AWAY, ""),
        ("sip:testuser1003@elsewhere.test", "403 Relaying Denied", ""),
        ("sip:voicebox@voicebox.local", "403 Relaying Denied", ""),
        ("sip:vmu4311003@voicebox.local", "403 Relaying Denied", ""),
        ("sip:conf=1@conference.local", "403 Relaying Denied", ""),
        ("sip:spce.test", "404 Not Found", ""),
    ],
)
def test_dialed(rig: Rig, dialed: str, result: str, by: str) -> None:
    ctx, verdict = rig.call(dialed)
    assert outcome(verdict) == result
    assert ctx.dialed_by == by
    if by:
        assert ctx.callee is not None and ctx.callee.id == rig.callee


def test_number_of_any_domain(rig: Rig) -> None:
    rig.world.domain("second.test")
    other = rig.world.subscriber("carol", "4315555", customer=rig.customer, domain="second.test")
    rig.world.pump()
    rig.contacts[other] = [binding(other, "sip:carol@127.1.0.5")]
    _ctx, verdict = rig.call("sip:4315555@spce.test")
    assert isinstance(verdict, Deliver) and verdict.branches[0].to == "<sip:carol@second.test>"
    assert rig.code("sip:carol@spce.test") == AWAY, "user names belong to their domain"


def test_rewritten_number_finds_the_callee(rig: Rig) -> None:
    set_id = rig.world.rules(
        "r",
        ("in", "callee", r"^(00|\+)([1-9][0-9]+)$", r"\2"),
        ("in", "callee", r"^0([1-9][0-9]+)$", r"${caller_cc}\1"),
        ("in", "callee", r"^([1-9][0-9]+)$", r"${caller_cc}${caller_ac}\1"),
    )
    rig.world.pump()
    rig.domain_pref("rewrite_rule_set", set_id)
    for dialed in ("004311003", "+4311003", "011003", "1003"):
        ctx, verdict = rig.call(f"sip:{dialed}@spce.test")
        assert outcome(verdict) == "deliver", dialed
        assert (ctx.dialed_user, ctx.routed_user) == (dialed, "4311003")
        assert ctx.dst_leg().split("|")[4:10] == [dialed, ctx.callee.uuid if ctx.callee else "", "testuser1003", "spce.test", "4311003", "spce.test"]
    assert rig.code("sip:testuser1003@spce.test") == "deliver"


def test_offline_by_user_name_and_by_number(rig: Rig) -> None:
    rig.contacts.clear()
    assert rig.code("sip:testuser1003@spce.test") == "480 Offline"
    assert rig.code("sip:4311003@spce.test") == "480 Offline"


def test_forced_to_peer(rig: Rig) -> None:
    rig.set(rig.callee, force_inbound_calls_to_peer=True)
    assert rig.code() == AWAY
    rig.set(rig.callee, force_inbound_calls_to_peer=None)
    rig.set(force_outbound_calls_to_peer="force")
    assert rig.code() == AWAY


def test_terminated_customer_cannot_be_called(rig: Rig) -> None:
    import sqlalchemy as sa

    from ngcpd.store.tables.tenancy import contract

    other = rig.world.customer()
    dave = rig.world.subscriber("dave", customer=other)
    rig.world.pump()
    rig.contacts[dave] = [binding(dave, "sip:dave@127.1.0.5")]
    assert rig.code("sip:dave@spce.test") == "deliver"
    rig.world.sql(sa.update(contract).where(contract.c.id == other).values(status="terminated"))
    rig.directory.outdate(dave)
    assert rig.code("sip:dave@spce.test") == AWAY


# ------------------------------------------------------------------------------------------------------------------- loops
@pytest.mark.parametrize(
    ("suffix", "result"),
    [
        ("", "deliver"),
        ("_b2b-1" * 9, "deliver"),
        ("_b2b-1" * 10, "482 Loop Detected"),
        ("_b2b-1_pbx-1" * 5, "482 Loop Detected"),
        ("_b2b-1" * 12 + "x", "deliver"),
    ],
)
def test_own_legs_that_come_back(rig: Rig, suffix: str, result: str) -> None:
    assert rig.code(call_id="abc@x" + suffix) == result


def test_loop_counter(rig: Rig) -> None:
    rig.settings = dataclasses.replace(rig.settings, loop=LoopSettings(True, 1.0, 3))
    pipeline = rig.make()

    def code(dialed: str = "sip:testuser1003@spce.test") -> str:
        return outcome(decide(pipeline, rig.invite(dialed)))

    assert [code(), code(), code(), code("sip:4311003@spce.test")] == ["deliver", "deliver", "482 Loop Detected", "deliver"]
    rig.world.clock.advance(1.0)
    assert code() == "deliver"

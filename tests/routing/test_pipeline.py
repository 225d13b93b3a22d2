"""The runner: what is awaited, what happens without a store, reject texts, legs, trace, dry run (call processing 3.1, 3.16, 4.5; billing 1.2)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from ngcpd.routing import legs
from ngcpd.routing.model import AccFields, CallContext, Deliver, Numbers, Reject, RoutingSettings
from ngcpd.routing.rejects import SILENT, TABLE, Rejects
from ngcpd.routing.trace import render
from ngcpd.sip.message import Request
from ngcpd.store.legs import DestinationLeg, SourceLeg
from tests.compiled import python_only
from tests.directory.world import HeldExecutor
from tests.routing.rig import Rig, binding, decide, outcome


# ------------------------------------------------------------------------------------------------------------------ waiting
def test_loaded_call_is_decided_without_a_deferred(rig: Rig) -> None:
    rig.call()
    assert isinstance(rig.pipeline.run(rig.invite()), Deliver)


def test_first_call_waits_for_the_store_only(tmp_path: Path) -> None:
    held = HeldExecutor()
    rig = Rig(tmp_path, held)
    held.held = True
    got = rig.pipeline.run(rig.invite())
    assert isinstance(got, Deferred) and not got.called
    out: list[Any] = []
    got.addBoth(out.append)
    held.release(1)
    assert not out, "the callee is still to be loaded"
    held.release(1)
    assert isinstance(out[0], Deliver)
    held.held = False
    rig.close()


def test_unknown_names_and_missing_credentials_never_reach_the_store(rig: Rig) -> None:
    before = rig.world.executor.count
    assert rig.code(user=None).startswith("407")
    assert rig.code(user="nobody").startswith("407")
    assert rig.code("sip:x@other.test", from_="<sip:x@foreign.test>", user=None) == "403 Relaying Denied"
    assert rig.world.executor.count == before


def test_store_away(rig: Rig) -> None:
    rig.call()
    rig.world.executor.away = True
    other = rig.world.subscriber("carol", "4311005", customer=rig.customer)
    rig.world.executor.away = False
    rig.world.pump()
    rig.world.executor.away = True
    assert rig.code() == "deliver", "what is loaded goes on working"
    verdict = rig.call("sip:4311005@spce.test")[1]
    assert isinstance(verdict, Reject) and (verdict.code, verdict.fields) == (503, (("Retry-After", "5"),))
    caller = rig.call(from_="<sip:carol@spce.test>", user="carol")[1]
    assert isinstance(caller, Reject) and caller.code == 503 and dict(caller.fields).get("Retry-After")
    rig.world.executor.away = False
    rig.contacts[other] = [binding(other)]
    assert rig.code("sip:4311005@spce.test") == "deliver"


def test_subscriber_deleted_while_loading_is_unknown(tmp_path: Path) -> None:
    from ngcpd.provisioning import subscribers

    held = HeldExecutor()
    rig = Rig(tmp_path, held)
    rig.world.load(rig.caller)
    held.held = True
    got = rig.pipeline.run(rig.invite())
    assert isinstance(got, Deferred)
    rig.world.do(subscribers.terminate_subscriber, subscriber_id=rig.callee)
    out: list[Any] = []
    got.addBoth(out.append)
    held.release()
    assert outcome(out[0]) == "503 PSTN Termination Currently Unavailable"
    held.held = False
    rig.close()


def test_change_is_effective_for_the_next_call(rig: Rig) -> None:
    assert rig.code() == "deliver"
    rig.set(lock=2)
    assert rig.code() == "403 Caller locked"
    rig.set(lock=0)
    assert rig.code() == "deliver"
    rig.domain_pref("outbound_from_user", "auth_user")
    assert rig.branch().from_ == "<sip:testuser1002@spce.test>"


def test_fault_in_a_stage_is_not_hidden(rig: Rig) -> None:
    rig.pipeline.stages = tuple(s._replace(run=lambda ctx, d: 1 / 0) if s.name.startswith("C9") else s for s in rig.pipeline.stages)  # type: ignore[arg-type,return-value]
    rig.world.load(rig.caller, rig.callee)
    with pytest.raises(ZeroDivisionError):
        decide(rig.pipeline, rig.invite())


def test_order_of_the_stages(rig: Rig) -> None:
    """The order of call processing 3.1; the two later halves of the lock rules stand where they can be decided."""
    steps = [s.name.split()[0] for s in rig.pipeline.stages]
    assert steps == ["C3", "C4", "C5", "C6", "C7", "C8", "C9", "C10", "C12", "C16", "C12", "C16", "C17", "C17", "C21", "C24", "C25"]


# ------------------------------------------------------------------------------------------------------------------ rejects
def test_reject_overrides(rig: Rig) -> None:
    rig.settings = dataclasses.replace(rig.settings, early_rejects={"locked_out": (480, "Not today")})
    rig.pipeline = rig.make()
    rig.set(lock=4)
    verdict = rig.call()[1]
    assert isinstance(verdict, Reject) and (verdict.code, verdict.reason, verdict.key) == (480, "Not today", "locked_out")


@pytest.mark.parametrize("overrides", [{"nonsense": (403, "x")}, {"locked_out": (200, "OK")}, {"loop_detected": (482, "x")}])
def test_wrong_overrides(overrides: dict[str, tuple[int, str]]) -> None:
    with pytest.raises(ValueError):
        Rejects(overrides)


def test_reject_table_of_the_specification() -> None:
    expected = {
        "block_in": (403, "Blocked by Callee"),
        "block_out": (403, "Blocked by Caller"),
        "block_ncos": (403, "Blocked by NCOS level"),
        "block_override_pin_wrong": (403, "Incorrect Override PIN"),
        "locked_in": (403, "Callee locked"),
        "locked_out": (403, "Caller locked"),
        "max_calls_in": (486, "Busy"),
        "max_calls_out": (403, "Maximum parallel calls exceeded"),
        "max_calls_peer": (503, "PSTN Termination Currently Unavailable"),
        "peering_unavailable": (503, "PSTN Termination Currently Unavailable"),
        "unauth_caller_ip": (403, "Unauthorized IP detected"),
        "relaying_denied": (403, "Relaying Denied"),
        "invalid_speeddial": (484, "Speed-Dial slot empty"),
        "cf_loop": (480, "Unavailable"),
        "callee_offline": (480, "Offline"),
        "callee_busy": (486, "Busy Here"),
        "callee_unknown": (404, "Not Found"),
        "callee_tmp_unavailable": (480, "Temporarily Unavailable"),
        "emergency_unsupported": (403, "Emergency Calls Not Supported"),
        "no_credit": (402, "Insufficient Credit"),
    }
    assert {k: TABLE[k] for k in expected} == expected
    assert SILENT["loop_detected"] == (482, "Loop Detected") and SILENT["cli_rejected"] == (403, "Forbidden")


# --------------------------------------------------------------------------------------------------------------------- legs
def test_legs_of_an_internal_call(rig: Rig) -> None:
    rig.set(gpp0="zero", gpp9="a|b", peer_auth_user="pu", peer_auth_realm="pr")
    rig.set(rig.callee, gpp3="three")
    ctx, verdict = rig.call("sip:4313333@spce.test")
    assert isinstance(verdict, Deliver) and ctx.caller is not None and ctx.callee is not None
    src, dst = SourceLeg.decode(ctx.src_leg()), DestinationLeg.decode(ctx.dst_leg())
    assert src == SourceLeg(
        ctx.caller.uuid, "testuser1002", "spce.test", "4311002", "", "ext c", rig.customer, "pu", "pr", False, "call", "127.1.0.2", 1_700_000_000.0,
        ("zero", "", "", "", "", "", "", "", "", "a_b"), "",
    )  # fmt: skip
    assert dst == DestinationLeg(
        False, "", "ext c", rig.customer, "4313333", ctx.callee.uuid, "testuser1003", "spce.test", "4313333", "spce.test", 0,
        ("", "", "", "three", "", "", "", "", "", ""), "",
    )  # fmt: skip
    assert ctx.src_leg().count("|") == 24 and ctx.dst_leg().count("|") == 22
    assert ctx.acc_fields() == AccFields("testuser1002", "spce.test", "testuser1003", "4313333", "spce.test")


def test_legs_stay_after_accounting_was_fixed(rig: Rig) -> None:
    ctx, _ = rig.call()
    before = ctx.src_leg(), ctx.dst_leg()
    rig.set(gpp0="new")
    ctx.numbers.upn = "other"
    assert (ctx.src_leg(), ctx.dst_leg()) == before


@pytest.mark.parametrize("stage", range(17))
def test_accounting_is_possible_at_every_moment(rig: Rig, stage: int) -> None:
    """A caller may give up while routing waits."""
    ctx = rig.invite()
    rig.world.load(rig.caller, rig.callee)
    for s in rig.pipeline.stages[:stage]:
        if s.needs is not None:
            s.needs(ctx, rig.directory)
        s.run(ctx, rig.directory)
    assert stage < 10 or ctx.callee is not None
    SourceLeg.decode(ctx.src_leg())
    DestinationLeg.decode(ctx.dst_leg())
    assert len(ctx.acc_fields()) == 5


def test_rejected_call_names_the_resolved_callee(rig: Rig) -> None:
    rig.set(rig.callee, lock=3)
    ctx, _ = rig.call("sip:4311003@spce.test")
    assert ctx.acc_fields() == AccFields("testuser1002", "spce.test", "testuser1003", "4311003", "spce.test")


def test_ip_header(rig: Rig) -> None:
    host = rig.world.peer("127.9.0.1")[1]
    rig.world.pref("peer", host, "ip_header", "X-Real-IP")
    rig.world.pump()
    for value, expected in (("192.0.2.9", "192.0.2.9"), ("junk|x", "127.9.0.1")):
        ctx, _ = rig.call(from_="<sip:1@x.test>", user=None, ip="127.9.0.1", fields=(f"X-Real-IP: {value}",))
        assert SourceLeg.decode(ctx.src_leg()).ip == expected
    ctx, _ = rig.call(fields=("X-Real-IP: 192.0.2.9", "P-NGCP-Src-Ip: 192.0.2.8"))
    assert SourceLeg.decode(ctx.src_leg()).ip == "127.1.0.2", "nobody else may name an address"


@python_only
@given(st.text(max_size=260), st.text(max_size=260), st.booleans())
def test_a_leg_written_at_once_is_the_one_written_field_by_field(one: str, other: str, clir: bool) -> None:
    source: Any = SimpleNamespace(ip="192.0.2.1")
    party: Any = SimpleNamespace(uuid="u-1", username=one, domain=other, external_id=other[:9], contract_external_id="", contract_id=7)
    ctx = CallContext(Request("INVITE", "sip:a@b", []), source, 1_700_000_000.1234)
    ctx.caller = ctx.callee = party
    ctx.src_user = ctx.dialed_user = ctx.routed_user = one
    ctx.src_domain = ctx.routed_domain = other
    ctx.numbers, ctx.clir = Numbers(upn=other), clir
    at_once = ctx.src_leg(), ctx.dst_leg()

    def by_field(fields: list[str], free: Collection[int]) -> str:
        return "".join(f"{legs.clean(text) if n in free else text}|" for n, text in enumerate(fields))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(legs, "_leg", by_field)
        assert at_once == (ctx.src_leg(), ctx.dst_leg())


@given(st.text(max_size=300))
def test_no_text_breaks_a_leg(text: str) -> None:
    cleaned = legs.clean(text)
    assert "|" not in cleaned and cleaned.isprintable() is (cleaned.isprintable()) and len(cleaned) <= 255
    assert not any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in cleaned)
    cleaned.encode()


# ------------------------------------------------------------------------------------------------------------ trace, dry run
def test_trace_is_json_and_holds_no_secret(rig: Rig) -> None:
    ctx, _verdict = rig.call()
    ctx.note("answer", "200 OK")
    shown = render(ctx.trace)
    text = json.dumps(shown)
    assert [row["stage"] for row in shown] == [s.name for s in rig.pipeline.stages] + ["answer"]
    assert shown[-2]["verdict"] == "deliver to 1 contact" and shown[-1]["verdict"] == "200 OK"
    assert "secret" not in text and "Authorization" not in text
    assert ctx.caller is not None and ctx.caller.ha1 not in text


def test_trace_of_a_reject(rig: Rig) -> None:
    rig.set(lock=2)
    ctx, _ = rig.call()
    last = render(ctx.trace)[-1]
    assert last == {"stage": "C12 caller lock", "looked_at": {"lock": 2, "emergency": False}, "verdict": "403 Caller locked (locked_out)"}


def explain(rig: Rig, caller: str, dialed: str, **kwargs: Any) -> list[dict[str, Any]]:
    out: list[Any] = []
    rig.pipeline.explain(caller, dialed, **kwargs).addBoth(out.append)
    json.dumps(out[0])
    return list(out[0])


@pytest.mark.parametrize(
    ("caller", "dialed", "kwargs", "verdict"),
    [
        ("testuser1002@spce.test", "4311003", {}, "sip:testuser1003@127.1.0.3:5070"),
        ("sip:testuser1002@spce.test", "testuser1003@spce.test", {}, "sip:testuser1003@127.1.0.3:5070"),
        ("testuser1002@spce.test", "4399", {}, "503 PSTN Termination Currently Unavailable (peering_unavailable)"),
        ("nobody@spce.test", "4311003", {}, "407 Proxy Authentication Required (challenge)"),
        ("x@foreign.test", "testuser1003@spce.test", {"source_ip": "127.3.3.3"}, "403 Relaying Denied (relaying_denied)"),
        ("testuser1002@spce.test", "sip:%%", {}, "Bad URI"),
        ("", "", {}, "Bad Host"),
    ],
)
def test_explain(rig: Rig, caller: str, dialed: str, kwargs: dict[str, Any], verdict: str) -> None:
    got = explain(rig, caller, dialed, **kwargs)[-1]["verdict"]
    assert got == verdict or (not caller and isinstance(got, str))


def test_explain_considers_the_given_address(rig: Rig) -> None:
    rig.set(allowed_ips=["10.0.0.0/8"])
    assert explain(rig, "testuser1002@spce.test", "4311003")[-1]["stage"] == "branch"
    assert explain(rig, "testuser1002@spce.test", "4311003", source_ip="11.0.0.1")[-1]["verdict"] == "403 Unauthorized IP detected (unauth_caller_ip)"


def test_explain_with_the_store_away(rig: Rig) -> None:
    rig.world.executor.away = True
    assert explain(rig, "testuser1002@spce.test", "4311003")[-1]["verdict"] == "503 Service Unavailable (store_unavailable)"


def test_settings_default() -> None:
    assert RoutingSettings().max_passes == 10 and "__dict__" not in dir(CallContext)

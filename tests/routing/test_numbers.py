"""C6, C7, C9: caller numbers, CLI check and CLIR (call processing 3.3)."""

from __future__ import annotations

from typing import Any

import pytest

from ngcpd.routing.identity import pick
from ngcpd.routing.model import Deliver, Numbers
from tests.routing.rig import Rig, field

PAI = "P-Asserted-Identity"


# The outcome table of 3.3.3 (cli=4311002, user_cli=43122122, inbound_upn=from_display).
@pytest.mark.parametrize(
    ("display", "extension", "from_user", "pai_user"),
    [("431100299", False, "431100299", "4311002"), ("431100222", False, "43122122", "4311002"), ("4311009", True, "4311009", "4311009")],
)
def test_outcome_table(rig: Rig, display: str, extension: bool, from_user: str, pai_user: str) -> None:
    rig.set(
        cli="4311002", user_cli="43122122", inbound_upn="from_display", allowed_clis=["43110029*", "43110021*"], extension_in_npn=extension or None
    )
    branch = rig.branch(from_=f'"{display}" <sip:testuser1002@spce.test>')
    assert branch.from_ == f"<sip:{from_user}@spce.test>", "and the display name is dropped"
    assert field(branch, PAI) == [f"<sip:{pai_user}@spce.test>"]


SOURCES = {
    "from_user": "1", "from_display": "2", "pai_user": "3", "ppi_user": "4", "rpid_user": "5",
}  # fmt: skip
HEADERS = (
    "P-Asserted-Identity: <sip:3@spce.test>",
    "P-Preferred-Identity: <sip:4@spce.test>",
    "Remote-Party-ID: <sip:5@spce.test>;party=calling",
)


@pytest.mark.parametrize(("source", "upn"), SOURCES.items())
def test_upn_sources(rig: Rig, source: str, upn: str) -> None:
    rig.set(inbound_upn=source, allowed_clis=["?"])
    ctx, verdict = rig.call(from_='"2" <sip:1@spce.test>', fields=HEADERS)
    assert isinstance(verdict, Deliver) and ctx.numbers.upn == upn and ctx.numbers.npn == "4311002"


@pytest.mark.parametrize("source", [s for s in SOURCES if s != "from_user"])
def test_missing_upn_source_is_the_from_user(rig: Rig, source: str) -> None:
    rig.set(inbound_upn=source, allowed_clis=["?"])
    assert rig.call(from_="<sip:1@spce.test>")[0].numbers.upn == "1"


@pytest.mark.parametrize("bad", ["P-Asserted-Identity: <<>>", "P-Asserted-Identity: ,"])
def test_malformed_identity_counts_as_missing_for_a_peer(rig: Rig, bad: str) -> None:
    host = rig.world.peer("127.9.0.1")[1]
    rig.world.pref("peer", host, "inbound_upn", "pai_user")
    rig.world.pump()
    assert rig.call(from_="<sip:1@x.test>", ip="127.9.0.1", user=None, fields=(bad,))[0].numbers.upn == "1"


@pytest.mark.parametrize(("source", "npn"), [(None, "1"), ("from_display", "2"), ("pai_user", "3"), ("ppi_user", "4"), ("rpid_user", "5")])
def test_npn_of_peers(rig: Rig, source: str | None, npn: str) -> None:
    host = rig.world.peer("127.9.0.1")[1]
    if source:
        rig.world.pref("peer", host, "inbound_npn", source)
    rig.world.pump()
    ctx, verdict = rig.call(from_='"2" <sip:1@x.test>', ip="127.9.0.1", user=None, fields=HEADERS)
    assert isinstance(verdict, Deliver) and (ctx.numbers.npn, ctx.numbers.upn) == (npn, "1")
    assert field(verdict.branches[0], PAI) == [f"<sip:{npn}@x.test>"]


def test_npn_without_cli_is_the_user_name(rig: Rig) -> None:
    rig.set(cli=None)
    assert rig.call()[0].numbers.npn == "testuser1002"


def test_inbound_caller_rules_run_on_the_claimed_number(rig: Rig) -> None:
    set_id = rig.world.rules("r", ("in", "caller", "^0([1-9][0-9]+)$", "${caller_cc}\\1"))
    rig.world.pump()
    rig.set(rewrite_rule_set=set_id, allowed_clis=["43664*"])
    assert rig.call(from_="<sip:0664123@spce.test>")[0].numbers.upn == "43664123"


# ---------------------------------------------------------------------------------------------------------------- C7 rules
A = {"allowed_clis": ["9*"]}


@pytest.mark.parametrize(
    ("prefs", "claimed", "upn", "npn", "clir", "result"),
    [
        # 1: nothing was claimed
        ({}, "testuser1002", "4311002", "4311002", False, "deliver"),
        ({"user_cli": "43122122"}, "testuser1002", "43122122", "4311002", False, "deliver"),
        ({"user_cli": "43122122", "allowed_clis_reject_policy": "reject", **A}, "testuser1002", "43122122", "4311002", False, "deliver"),
        ({"allowed_clis_reject_policy": "reject", **A}, "anonymous", "4311002", "4311002", True, "deliver"),
        # 2: own numbers and their extensions
        ({"extension_in_npn": True, "allowed_clis": None}, "4311009", "4311009", "4311009", False, "deliver"),
        ({"extension_in_npn": True, "allowed_clis": None}, "431100277", "431100277", "431100277", False, "deliver"),
        ({"extension_in_npn": True, "allowed_clis": None}, "4311003", "4311002", "4311002", False, "deliver"),
        ({"extension_in_npn": True, "allowed_clis_reject_policy": "reject", **A}, "431100277", "431100277", "431100277", False, "deliver"),
        # 3: NPN or user_cli
        ({"allowed_clis": None}, "4311002", "4311002", "4311002", False, "deliver"),
        ({"user_cli": "43122122", "allowed_clis": None}, "43122122", "43122122", "4311002", False, "deliver"),
        ({"allowed_clis_reject_policy": "reject", **A}, "4311002", "4311002", "4311002", False, "deliver"),
        # 4: a pattern
        (A, "99", "99", "4311002", False, "deliver"),
        ({"allowed_clis_reject_policy": "reject", **A}, "99", "99", "4311002", False, "deliver"),
        # 5: the policies
        (A, "88", "4311002", "4311002", False, "deliver"),
        ({"user_cli": "43122122", **A}, "88", "43122122", "4311002", False, "deliver"),
        ({"allowed_clis_reject_policy": "override_by_clir", **A}, "88", "4311002", "4311002", True, "deliver"),
        ({"allowed_clis_reject_policy": "reject", **A}, "88", "88", "4311002", False, "403 Forbidden"),
        # without a list the number is replaced, whatever the policy (features 3 no. 49)
        ({"allowed_clis_reject_policy": "reject", "allowed_clis": None}, "88", "4311002", "4311002", False, "deliver"),
        ({"allowed_clis_reject_policy": "override_by_clir", "allowed_clis": None}, "88", "4311002", "4311002", False, "deliver"),
        ({"user_cli": "43122122", "allowed_clis": None}, "88", "43122122", "4311002", False, "deliver"),
    ],
)
def test_claimed_number(rig: Rig, prefs: dict[str, Any], claimed: str, upn: str, npn: str, clir: bool, result: str) -> None:
    rig.set(**prefs)
    from ngcpd.routing.model import Reject

    ctx, verdict = rig.call(from_=f"<sip:{claimed}@spce.test>")
    assert ("deliver" if isinstance(verdict, Deliver) else f"{verdict.code} {verdict.reason}") == result
    assert (ctx.numbers.upn, ctx.numbers.npn) == (upn, npn)
    if not isinstance(verdict, Reject):
        assert ctx.clir is clir


def test_customers_list_counts_too(rig: Rig) -> None:
    rig.set(allowed_clis=None)
    rig.world.pref("contract", rig.customer, "allowed_clis", ["77*"])
    rig.world.pump()
    assert rig.call(from_="<sip:771@spce.test>")[0].numbers.upn == "771"
    rig.set(allowed_clis_reject_policy="reject")
    assert rig.code(from_="<sip:78@spce.test>") == "403 Forbidden", "a list of the customer alone makes the policy act"


def test_own_aliases_are_allowed_from_provisioning_on(rig: Rig) -> None:
    assert rig.call(from_="<sip:4311009@spce.test>")[0].numbers.upn == "4311009"


# -------------------------------------------------------------------------------------------------------------------- CLIR
@pytest.mark.parametrize(
    ("prefs", "from_", "privacy", "clir"),
    [
        ({}, "<sip:testuser1002@spce.test>", None, False),
        ({"clir": True}, "<sip:testuser1002@spce.test>", None, True),
        ({}, "<sip:anonymous@spce.test>", None, True),
        ({}, "<sip:Anonymous@spce.test>", None, True),
        ({}, "<sip:testuser1002@spce.test>", "id", True),
        ({}, "<sip:testuser1002@spce.test>", "user", True),
        ({}, "<sip:testuser1002@spce.test>", "header;critical", True),
        ({}, "<sip:testuser1002@spce.test>", "critical; ID", True),
        ({}, "<sip:testuser1002@spce.test>", "none", False),
        ({}, "<sip:testuser1002@spce.test>", "session", False),
        ({}, "<sip:testuser1002@spce.test>", "identity", False),
    ],
)
def test_clir(rig: Rig, prefs: dict[str, Any], from_: str, privacy: str | None, clir: bool) -> None:
    rig.set(**prefs)
    ctx, verdict = rig.call(from_=from_, fields=(f"Privacy: {privacy}",) if privacy else ())
    assert isinstance(verdict, Deliver) and ctx.clir is clir
    branch = verdict.branches[0]
    if clir:
        assert branch.from_ == '"Anonymous" <sip:anonymous@anonymous.invalid>'
        assert [n for n, _ in branch.fields] == ["Privacy"] and field(branch, "Privacy") == ["id"]
    else:
        assert branch.from_ == "<sip:4311002@spce.test>" and field(branch, "Privacy") == []
    leg = ctx.src_leg().split("|")
    assert (leg[3], leg[9]) == ("4311002", "1" if clir else "0"), "known inside all the same"


def test_clir_override_of_the_callee(rig: Rig) -> None:
    rig.set(clir=True)
    rig.set(rig.callee, clir_override=True)
    assert rig.branch().from_ == "<sip:4311002@spce.test>"


# ---------------------------------------------------------------------------------------------------------- value selection
@pytest.mark.parametrize(
    ("kind", "without", "with_uprn"),
    [
        ("npn", "n", "n"),
        ("upn", "u", "u"),
        ("auth_user", "a", "a"),
        ("rcv_display", "r", "r"),
        ("np_display", "p", "p"),
        ("uprn", "", "x"),
        ("uprn/npn", "n", "x"),
        ("uprn/upn", "u", "x"),
        ("uprn/auth_user", "a", "x"),
        ("uprn/rcv_display", "r", "x"),
        ("none", "", ""),
        ("nonsense", "", ""),
        ("uprn/nonsense", "", "x"),
    ],
)
def test_pick(kind: str, without: str, with_uprn: str) -> None:
    numbers = Numbers(upn="u", npn="n", auth_user="a", rcv_display="r", np_display="p")
    assert pick(kind, numbers) == without
    numbers.uprn = "x"
    assert pick(kind, numbers) == with_uprn


@pytest.mark.parametrize(("policy", "uprn"), [("npn", ""), ("none", ""), ("npn_diversion", "4311010"), ("diversion", "4311010")])
def test_received_diversion(rig: Rig, policy: str, uprn: str) -> None:
    rig.set(inbound_uprn=policy)
    ctx, _ = rig.call(fields=("Diversion: <sip:4311010@spce.test>;reason=unconditional, <sip:4311011@spce.test>",))
    assert ctx.numbers.uprn == uprn

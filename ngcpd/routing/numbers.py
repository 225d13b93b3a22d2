"""C6, C7, C9: the caller's numbers, the check of what it claims, and whether they are shown (call processing 3.3)."""

from __future__ import annotations

from ngcpd.directory.model import Snapshot, Subscriber
from ngcpd.directory.patterns import shell_match
from ngcpd.routing.model import LOCAL, PEER, CallContext, Numbers
from ngcpd.routing.rejects import Rejects
from ngcpd.routing.rewriting import inbound_caller
from ngcpd.routing.stage import Outcome, Stage
from ngcpd.routing.uris import ANONYMOUS, addresses, is_anonymous, user_of
from ngcpd.sip.grammar import from_wire

_HEADER = {"pai_user": "P-Asserted-Identity", "ppi_user": "P-Preferred-Identity", "rpid_user": "Remote-Party-ID"}
_HIDING = frozenset(("id", "user", "header"))


def claimed(ctx: CallContext, source: str) -> str:
    """The number found where `source` says (a value of `inbound_upn` or `inbound_npn`); the From user when there is none."""
    name = _HEADER.get(source)
    if name is not None:
        for address in addresses(ctx.request, name):
            user = user_of(address.uri)
            if user:
                return user
    elif source == "from_display":
        display = from_wire(ctx.request.from_.display).strip()
        if display:
            return display
    return user_of(ctx.request.from_.uri)


def _diverter(ctx: CallContext) -> str:
    """The user of the newest Diversion value (RFC 5806: the topmost one)."""
    for address in addresses(ctx.request, "Diversion"):
        return user_of(address.uri)
    return ""


def fetch_numbers(ctx: CallContext, snapshot: Snapshot) -> Outcome:
    """C6: UPN, NPN, UPRN and names, inbound caller rules applied (3.3.2)."""
    numbers = ctx.numbers = Numbers()
    prefs = ctx.caller_prefs
    upn_from = prefs.get("inbound_upn") or "from_user" if ctx.caller_class in (LOCAL, PEER) else "from_user"
    numbers.received_upn = claimed(ctx, upn_from)
    numbers.upn = inbound_caller(ctx, snapshot, numbers.received_upn)
    numbers.rcv_display = from_wire(ctx.request.from_.display)
    if ctx.caller is not None:
        numbers.auth_user = ctx.caller.username
        numbers.npn = prefs.get("cli") or ctx.caller.username
        numbers.np_display = prefs.get("display_name") or ""
    elif ctx.caller_class == PEER:
        numbers.npn = inbound_caller(ctx, snapshot, claimed(ctx, prefs.get("inbound_npn") or "from_user"))
    else:
        numbers.npn = numbers.upn
    if ctx.caller_class in (LOCAL, PEER) and prefs.get("inbound_uprn") in ("diversion", "npn_diversion"):
        numbers.uprn = inbound_caller(ctx, snapshot, _diverter(ctx))
    ctx.see("upn from", upn_from, "upn", numbers.upn, "npn", numbers.npn, "uprn", numbers.uprn)
    return None


class CheckClaim:
    """C7: may a local caller show the number it claims (3.3.3)?"""

    def __init__(self, rejects: Rejects) -> None:
        self._reject = rejects

    def run(self, ctx: CallContext, snapshot: Snapshot) -> Outcome:
        caller = ctx.caller
        if caller is None:
            return None
        numbers, prefs = ctx.numbers, ctx.caller_prefs
        instead = prefs.get("user_cli") or numbers.npn
        if self._not_chosen(numbers, caller):
            numbers.upn = instead
            ctx.see("claimed", "nothing", "upn", instead)
            return None
        if prefs.flag("extension_in_npn") and _own_number(caller, numbers.upn):
            numbers.npn = numbers.upn
            ctx.see("claimed", "own number or extension", "npn", numbers.npn)
            return None
        if numbers.upn in (numbers.npn, prefs.get("user_cli")):
            ctx.see("claimed", "npn or user_cli")
            return None
        own, customer = prefs.all("allowed_clis"), ctx.caller_contract_prefs.all("allowed_clis")
        for pattern in (*own, *customer):
            if shell_match(pattern, numbers.upn):
                ctx.see("allowed_clis", pattern)
                return None
        return self._not_allowed(ctx, instead, bool(own or customer))

    @staticmethod
    def _not_chosen(numbers: Numbers, caller: Subscriber) -> bool:
        """What came is no number of the device's choosing: its own user name, nothing, or anonymous."""
        return numbers.upn in ("", caller.username) or numbers.received_upn == caller.username or numbers.upn.lower() == ANONYMOUS

    def _not_allowed(self, ctx: CallContext, instead: str, has_list: bool) -> Outcome:
        """The policy; without any list the number is only replaced (features 3 no. 49)."""
        policy = ctx.caller_prefs.get("allowed_clis_reject_policy") or ctx.caller_contract_prefs.get("allowed_clis_reject_policy")
        if not has_list:
            policy = "override_by_usernpn"
        ctx.see("refused", ctx.numbers.upn, "policy", policy or "override_by_usernpn", "upn", instead)
        if policy == "reject":
            return self._reject("cli_rejected")
        if policy == "override_by_clir":
            ctx.clir_forced = True
        ctx.numbers.upn = instead
        return None


def _own_number(caller: Subscriber, number: str) -> bool:
    """One of the caller's numbers, or one of them with an extension behind it."""
    return any(number.startswith(own.e164) for own in caller.numbers)


def decide_clir(ctx: CallContext, snapshot: Snapshot) -> Outcome:
    """C9: is the caller's identity hidden (3.3.4)?"""
    reasons: list[str] = []
    if ctx.caller_prefs.flag("clir") and ctx.caller is not None:
        reasons.append("pref")
    if is_anonymous(ctx.request.from_):
        reasons.append("From")
    if _asks_privacy(ctx):
        reasons.append("Privacy")
    if ctx.clir_forced:
        reasons.append("policy")
    ctx.clir = bool(reasons)
    ctx.see("clir", ctx.clir, "because of", tuple(reasons))
    return None


def _asks_privacy(ctx: CallContext) -> bool:
    tokens = (token.strip().lower() for line in ctx.request.raw("Privacy") for token in line.replace(",", ";").split(";"))
    return not _HIDING.isdisjoint(tokens)


def stages(rejects: Rejects) -> list[Stage]:
    """C6 and C7."""
    return [Stage("C6 caller numbers", fetch_numbers), Stage("C7 claimed number", CheckClaim(rejects).run)]

"""C6, C7, C9: the caller's numbers, the check of what it claims, and whether they are shown (call processing 3.3)."""

from __future__ import annotations

from ngcpd.directory.model import Snapshot, Subscriber
from ngcpd.directory.patterns import shell_match
from ngcpd.routing.model import FOREIGN, PEER, CallContext, Numbers
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
    says = ctx.caller_says
    known = ctx.caller_class != FOREIGN
    upn_from = says.inbound_upn if known else "from_user"
    received = numbers.received_upn = claimed(ctx, upn_from)
    upn = numbers.upn = inbound_caller(ctx, snapshot, received) if says.rewrite_rule_set else received
    numbers.rcv_display = from_wire(ctx.request.from_.display)
    caller = ctx.caller
    if caller is not None:
        numbers.auth_user = caller.username
        npn = says.cli or caller.username
        numbers.np_display = says.display_name
    elif ctx.caller_class == PEER:
        npn = inbound_caller(ctx, snapshot, claimed(ctx, says.inbound_npn))
    else:
        npn = upn
    numbers.npn = npn
    if known and says.diverts:
        numbers.uprn = inbound_caller(ctx, snapshot, _diverter(ctx))
    ctx.looked = ("upn from", upn_from, "upn", upn, "npn", npn, "uprn", numbers.uprn)
    return None


class CheckClaim:
    """C7: may a local caller show the number it claims (3.3.3)?"""

    def __init__(self, rejects: Rejects) -> None:
        self._reject = rejects

    def run(self, ctx: CallContext, snapshot: Snapshot) -> Outcome:
        caller = ctx.caller
        if caller is None:
            return None
        numbers, says = ctx.numbers, ctx.caller_says
        instead = says.user_cli or numbers.npn
        if self._not_chosen(numbers, caller):
            numbers.upn = instead
            ctx.looked = ("claimed", "nothing", "upn", instead)
            return None
        if says.extension_in_npn and _own_number(caller, numbers.upn):
            numbers.npn = numbers.upn
            ctx.see("claimed", "own number or extension", "npn", numbers.npn)
            return None
        if numbers.upn in (numbers.npn, says.user_cli):
            ctx.see("claimed", "npn or user_cli")
            return None
        own, customer = says.allowed_clis, ctx.caller_contract_prefs.all("allowed_clis")
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
        policy = ctx.caller_says.allowed_clis_reject_policy or ctx.caller_contract_prefs.get("allowed_clis_reject_policy")
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
    reasons: tuple[str, ...] = ()
    if ctx.caller_says.clir and ctx.caller is not None:
        reasons += ("pref",)
    if is_anonymous(ctx.request.from_):
        reasons += ("From",)
    if _asks_privacy(ctx):
        reasons += ("Privacy",)
    if ctx.clir_forced:
        reasons += ("policy",)
    clir = ctx.clir = reasons != ()
    ctx.looked = ("clir", clir, "because of", reasons)
    return None


def _asks_privacy(ctx: CallContext) -> bool:
    if "Privacy" not in ctx.request.names():
        return False
    tokens = (token.strip().lower() for line in ctx.request.raw("Privacy") for token in line.replace(",", ";").split(";"))
    return not _HIDING.isdisjoint(tokens)


def stages(rejects: Rejects) -> list[Stage]:
    """C6 and C7."""
    return [Stage("C6 caller numbers", fetch_numbers), Stage("C7 claimed number", CheckClaim(rejects).run)]

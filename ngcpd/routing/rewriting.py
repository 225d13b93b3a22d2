"""Applies rewrite rule sets in a call: which set, which list, and what the variables stand for (call processing 3.4)."""

from __future__ import annotations

from ngcpd.directory.effective import Effective
from ngcpd.directory.model import Snapshot
from ngcpd.directory.rewrite import CALLEE, CALLER, IN, OUT, Lookup
from ngcpd.routing.model import FOREIGN, CallContext


def lookup(ctx: CallContext) -> Lookup:
    """The variables of a call: `caller_NAME` and `callee_NAME` are preferences, the subscriber's (or peer's) before the customer's."""

    def values(name: str) -> tuple[str, ...]:
        side, _, attribute = name.partition("_")
        if side == "caller":
            return ctx.caller_prefs.all(attribute) or ctx.caller_contract_prefs.all(attribute)
        if side == "callee":
            return ctx.callee_prefs.all(attribute) or ctx.callee_contract_prefs.all(attribute)
        return ()

    return values


def _apply(ctx: CallContext, snapshot: Snapshot, says: Effective, direction: str, field: str, subject: str) -> str:
    number = says.rewrite_rule_set
    rule_set = snapshot.rule_set(number) if number else None
    if rule_set is None:
        return subject
    return rule_set.rewrite(direction, field, subject, lookup(ctx))


def inbound_caller(ctx: CallContext, snapshot: Snapshot, subject: str) -> str:
    """A number the caller (subscriber or peer) named as its own."""
    return subject if ctx.caller_class == FOREIGN else _apply(ctx, snapshot, ctx.caller_says, IN, CALLER, subject)


def inbound_callee(ctx: CallContext, snapshot: Snapshot, subject: str) -> str:
    """The number the caller (subscriber or peer) dialed."""
    return subject if ctx.caller_class == FOREIGN else _apply(ctx, snapshot, ctx.caller_says, IN, CALLEE, subject)


def outbound_caller(ctx: CallContext, snapshot: Snapshot, says: Effective, subject: str) -> str:
    """A number of the caller as shown to the target whose preferences are `says`. A foreign caller's identity stays as it is (3.7)."""
    if not subject or not says.rewrite_rule_set or ctx.caller_class == FOREIGN or subject.lower() == "anonymous":
        return subject
    return _apply(ctx, snapshot, says, OUT, CALLER, subject)


def outbound_callee(ctx: CallContext, snapshot: Snapshot, says: Effective, subject: str) -> str:
    """The dialed number as sent to the target whose preferences are `says`."""
    return _apply(ctx, snapshot, says, OUT, CALLEE, subject)

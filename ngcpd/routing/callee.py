"""C16 and C21: who was called, and where it can be reached (call processing 3.5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ngcpd.directory.model import Snapshot
from ngcpd.registrar.model import Binding
from ngcpd.routing.model import FOREIGN, LOCAL, OFFNET, UNKNOWN, CallContext
from ngcpd.routing.rejects import Rejects
from ngcpd.routing.stage import Outcome

Bindings = Callable[[int], list[Binding]]
"""`registrar.Registrar.bindings`."""


def candidate(ctx: CallContext, snapshot: Snapshot) -> tuple[int, str] | None:
    """The subscriber that the rewritten user part names and how: nos. 11 (number, any domain) and 12 (user name in the R-URI's domain)."""
    if ctx.emergency or not ctx.routed_user:
        return None
    entry = snapshot.number(ctx.routed_user)
    if entry is not None:
        return entry.subscriber_id, "primary" if entry.is_primary else "alias"
    if ctx.domain is not None:
        name = ctx.domain.name
    elif ctx.caller is not None and (ctx.own_host or not ctx.dialed_domain):
        name = ctx.caller.domain  # the platform addressed by its address, or a tel URI: as if dialed in the caller's own domain
    else:
        return None
    found = snapshot.user_id(name, ctx.routed_user)
    return (found, "username") if found is not None else None


class FindCallee:
    """C16: sets `target`; a local one becomes `callee`, with its preferences."""

    def needs(self, ctx: CallContext, snapshot: Snapshot) -> Sequence[int]:
        found = ctx.candidate = candidate(ctx, snapshot)
        return (found[0],) if found is not None else ()

    def run(self, ctx: CallContext, snapshot: Snapshot) -> Outcome:
        found = ctx.candidate
        ctx.caller_says = ctx.caller_prefs.effective  # the stage may have waited for the callee
        callee = snapshot.subscriber(found[0]) if found is not None else None
        if callee is None or found is None or not callee.alive:
            ctx.target = self._elsewhere(ctx)
            ctx.looked = ("user", ctx.routed_user, "host", ctx.routed_domain, "target", ctx.target)
            return None
        prefs = callee.prefs
        says = prefs.effective
        if (ctx.caller_says.force_outbound and ctx.caller is not None) or says.force_inbound:
            ctx.target = OFFNET if ctx.caller_class == LOCAL else UNKNOWN
            ctx.looked = ("user", ctx.routed_user, "forced to peer", True, "target", ctx.target)
            return None
        ctx.target = LOCAL
        ctx.callee = callee
        ctx.dialed_by = found[1]
        ctx.callee_prefs = prefs
        ctx.callee_says = says
        ctx.callee_contract_prefs = snapshot.contract_prefs(callee.contract_id, ctx.source.ip)
        ctx.looked = ("user", ctx.routed_user, "by", found[1], "uuid", callee.uuid, "target", LOCAL)
        return None

    @staticmethod
    def _elsewhere(ctx: CallContext) -> str:
        """Nos. 15 and 17: not ours, or ours and unknown here."""
        ours = ctx.domain is not None or ctx.own_host or not ctx.dialed_domain
        if not ours and not ctx.emergency:
            return FOREIGN
        return OFFNET if ctx.caller_class == LOCAL and ctx.routed_user else UNKNOWN


class Relay:
    """C16, the outcome for targets that are not local: the platform has no way out in this release, neither to peers nor to foreign domains."""

    def __init__(self, rejects: Rejects) -> None:
        self._reject = rejects

    def run(self, ctx: CallContext, snapshot: Snapshot) -> Outcome:
        target = ctx.target
        ctx.looked = ("target", target)
        if target == LOCAL:
            return None
        if target == FOREIGN:
            return self._reject("relaying_denied")
        return self._reject("peering_unavailable" if target == OFFNET else "callee_unknown")


class Contacts:
    """C21: the callee's registered contacts."""

    def __init__(self, rejects: Rejects, bindings: Bindings) -> None:
        self._reject = rejects
        self._bindings = bindings

    def run(self, ctx: CallContext, snapshot: Snapshot) -> Outcome:
        callee = ctx.callee
        bindings = ctx.bindings = self._bindings(callee.id) if callee is not None else ctx.bindings
        ctx.looked = ("contacts", len(bindings))
        return None if bindings else self._reject("callee_offline")


def fix_accounting(ctx: CallContext, snapshot: Snapshot) -> Outcome:
    """C24: what the records of this call will say."""
    ctx.fix_legs()
    ctx.looked = ("type", ctx.call_type)
    return None

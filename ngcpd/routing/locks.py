"""C12 and C17: lock levels of caller and callee (call processing 2.7).

| level | outgoing | incoming |
|---|---|---|
| 1 foreign | only to local subscribers | ok |
| 2 outgoing | no | ok |
| 3 in and out, 4 global | no | no |
| 5 ported | no | only forwards |

Emergency calls are exempt. Level 1 is decided when the callee is known; level 5 for callees after forwards had their turn.
"""

from __future__ import annotations

from ngcpd.directory.model import Snapshot
from ngcpd.routing.model import LOCAL, CallContext
from ngcpd.routing.rejects import Rejects
from ngcpd.routing.stage import Outcome

FOREIGN_ONLY = 1
OUTGOING = 2
INCOMING = (3, 4)
PORTED = 5


class Locks:
    """The four checks."""

    def __init__(self, rejects: Rejects) -> None:
        self._reject = rejects

    def caller(self, ctx: CallContext, snapshot: Snapshot) -> Outcome:
        """C12: levels that forbid all calls."""
        if ctx.caller is None:
            return None
        level = ctx.caller.lock
        ctx.looked = ("lock", level, "emergency", ctx.emergency)
        return self._reject("locked_out") if level >= OUTGOING and not ctx.emergency else None

    def caller_off_net(self, ctx: CallContext, snapshot: Snapshot) -> Outcome:
        """C12 once the target is known: level 1 only reaches local subscribers."""
        if ctx.caller is None:
            return None
        level = ctx.caller.lock
        ctx.looked = ("lock", level, "target", ctx.target)
        return self._reject("locked_out") if level == FOREIGN_ONLY and ctx.target != LOCAL and not ctx.emergency else None

    def callee(self, ctx: CallContext, snapshot: Snapshot) -> Outcome:
        """C17: levels that forbid all calls to the callee."""
        if ctx.callee is None or ctx.target != LOCAL:
            return None
        level = ctx.callee.lock
        ctx.looked = ("lock", level)
        return self._reject("locked_in") if level in INCOMING else None

    def callee_ported(self, ctx: CallContext, snapshot: Snapshot) -> Outcome:
        """After the unconditional forward (C20): a ported callee's devices are never called."""
        if ctx.callee is None or ctx.target != LOCAL:
            return None
        level = ctx.callee.lock
        ctx.looked = ("lock", level)
        return self._reject("locked_in") if level == PORTED else None

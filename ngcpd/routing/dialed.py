"""C8, limited to rewriting, and C10: what was dialed, and guards against loops (call processing 3.4, 3.15)."""

from __future__ import annotations

from ngcpd.directory.model import Snapshot
from ngcpd.routing.model import CallContext, LoopSettings, RoutingSettings
from ngcpd.routing.rejects import Rejects
from ngcpd.routing.rewriting import inbound_callee
from ngcpd.routing.stage import Outcome

_PASSES = ("_b2b-1", "_pbx-1")
_PASS_LENGTH = len("_b2b-1")
_LIMIT = 10_000


def rewrite_dialed(ctx: CallContext, snapshot: Snapshot) -> Outcome:
    """C8: the dialed number in the platform's notation. `emergency_...` marks an emergency call (3.12)."""
    dialed = ctx.dialed_user
    routed = ctx.routed_user = inbound_callee(ctx, snapshot, dialed) if ctx.caller_says.rewrite_rule_set else dialed
    ctx.emergency = routed.startswith("emergency_")
    ctx.looked = ("dialed", dialed, "routed", routed)
    return None


def _passes(call_id: str, most: int) -> int:
    """How often a call has gone through the platform: the suffixes of its Call-ID, counted up to `most`."""
    end = len(call_id)
    for n in range(most):
        if not call_id.endswith(_PASSES, 0, end):
            return n
        end -= _PASS_LENGTH
    return most


class Loops:
    """C10: calls that come back to the platform as their own leg B, and the counter of call processing 3.15 when it is on."""

    def __init__(self, rejects: Rejects, settings: RoutingSettings) -> None:
        self._reject = rejects
        self._passes = settings.max_passes
        self._settings: LoopSettings = settings.loop
        self._seen: dict[tuple[str, str, str], tuple[int, float]] = {}

    def run(self, ctx: CallContext, snapshot: Snapshot) -> Outcome:
        passes = _passes(ctx.request.call_id, self._passes)
        ctx.looked = ("passes", passes)
        if passes >= self._passes:
            return self._reject("loop_detected")
        if self._settings.enable and not ctx.assume_caller and self._count(ctx) >= self._settings.max:
            return self._reject("loop_detected")
        return None

    def _count(self, ctx: CallContext) -> int:
        """How often this From, To and R-URI came within `expire` seconds, this time included."""
        request = ctx.request
        key = (request.from_.uri.aor, request.to.uri.aor, request.uri)
        count, since = self._seen.get(key, (0, ctx.time))
        if ctx.time - since >= self._settings.expire:
            count, since = 0, ctx.time
        if key not in self._seen and len(self._seen) >= _LIMIT:
            self._seen = {k: v for k, v in self._seen.items() if ctx.time - v[1] < self._settings.expire}
            if len(self._seen) >= _LIMIT:
                self._seen.clear()
        self._seen[key] = (count + 1, since)
        ctx.see("seen", count + 1)
        return count + 1

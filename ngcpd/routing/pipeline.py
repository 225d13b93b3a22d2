"""The ordered table of stages and its runner (call processing 3.1).

The runner is the only place that waits: it loads what a stage needs, then calls the stage. When everything is loaded a call is decided in
one go, without a Deferred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ngcpd.directory.directory import Directory, StoreUnavailable
from ngcpd.routing import callee, dialed, identify, legb, numbers
from ngcpd.routing.callee import Bindings
from ngcpd.routing.explain import explain
from ngcpd.routing.identify import Authenticates
from ngcpd.routing.legb import Flows
from ngcpd.routing.locks import Locks
from ngcpd.routing.model import CallContext, Reject, RoutingSettings, Verdict
from ngcpd.routing.rejects import Rejects
from ngcpd.routing.stage import Outcome, Stage
from ngcpd.sip.errors import ParseError

if TYPE_CHECKING:
    from ngcpd.sip.transport import Flow


def _no_flows(flow_id: int) -> Flow | None:
    return None


def build(rejects: Rejects, settings: RoutingSettings, authenticator: Authenticates, bindings: Bindings, flows: Flows) -> tuple[Stage, ...]:
    """The table, in normative order."""
    locks = Locks(rejects)
    find = callee.FindCallee()
    return (
        *identify.stages(authenticator, rejects, settings),
        *numbers.stages(rejects),
        Stage("C8 dialed number", dialed.rewrite_dialed),
        Stage("C9 CLIR", numbers.decide_clir),
        Stage("C10 loops", dialed.Loops(rejects, settings).run),
        Stage("C12 caller lock", locks.caller),
        Stage("C16 callee", find.run, find.needs),
        Stage("C12 caller lock off-net", locks.caller_off_net),
        Stage("C16 relay", callee.Relay(rejects).run),
        Stage("C17 callee lock", locks.callee),
        Stage("C17 callee ported", locks.callee_ported),
        Stage("C21 contacts", callee.Contacts(rejects, bindings).run),
        Stage("C24 accounting", callee.fix_accounting),
        Stage("C25 leg B", legb.BuildLegB(rejects, settings, flows).run),
    )


class Pipeline:
    """Decides what happens to an initial INVITE.

    `authenticator` is the registrar's, `bindings` gives the live contacts of a subscriber, `flows` the open connection of a `Flow.id`.
    """

    def __init__(
        self,
        directory: Directory,
        authenticator: Authenticates,
        bindings: Bindings,
        settings: RoutingSettings | None = None,
        flows: Flows = _no_flows,
    ) -> None:
        """ValueError for wrong `early_rejects`."""
        self.directory = directory
        self._parts = (authenticator, bindings, flows)
        self.configure(settings or RoutingSettings())

    def configure(self, settings: RoutingSettings) -> None:
        """Other settings for what is decided from now on; a call that waits goes on with the stages of the new table. ValueError for wrong
        `early_rejects`."""
        rejects = Rejects(settings.early_rejects)
        stages = build(rejects, settings, *self._parts)
        self.settings, self._rejects, self.stages = settings, rejects, stages

    def run(self, ctx: CallContext) -> Verdict | Deferred[Verdict]:
        """The verdict, at once when everything it takes is loaded. Never raises or errbacks for bad input (4xx) or a store that is away (503)."""
        return self._run(ctx, 0, False)

    def explain(self, caller: str, dialed: str, *, source_ip: str = "", time: float = 0.0) -> Deferred[list[dict[str, object]]]:
        """The decisions on a made-up call as a list of dicts; see `routing.explain`."""
        return explain(self, caller, dialed, source_ip=source_ip, time=time)

    def _run(self, ctx: CallContext, first: int, loaded: bool) -> Verdict | Deferred[Verdict]:
        """Go through the stages from `first` on; `loaded`: what that one needs has been fetched."""
        directory = self.directory
        trace = ctx.trace
        index = first
        for stage in self.stages[first:] if first else self.stages:
            name, run, needs = stage
            try:
                if needs is not None:
                    wanted = needs(ctx, directory)
                    pending = directory.load(wanted) if wanted and not loaded else None
                    if pending is not None:
                        return self._wait(pending.addCallback(lambda _: None), ctx, index, True)
                result = run(ctx, directory)
            except ParseError as error:
                return self._ended(ctx, name, Reject(error.code, error.reason, "malformed"))
            if result is not None:
                if isinstance(result, Deferred):
                    return self._wait(result, ctx, index, False)
                return self._ended(ctx, name, result)
            trace.append((name, ctx.looked, None))
            ctx.looked = ()
            index += 1
            loaded = False
        raise AssertionError("the last stage did not decide")

    def _wait(self, pending: Deferred[Outcome], ctx: CallContext, index: int, again: bool) -> Deferred[Verdict]:
        """Go on when `pending` fires: with the same stage (`again`), or with its outcome."""
        name = self.stages[index].name

        def go_on(outcome: Outcome) -> Verdict | Deferred[Verdict]:
            if again:
                return self._run(ctx, index, True)
            if outcome is not None:
                return self._ended(ctx, name, outcome)
            ctx.trace.append((name, ctx.looked, None))
            ctx.looked = ()
            return self._run(ctx, index + 1, False)

        def failed(failure: Failure) -> Verdict | Failure:
            if not isinstance(failure.value, StoreUnavailable):
                return failure
            ctx.see("store", "not available")
            return self._ended(ctx, name, self._rejects("store_unavailable", (("Retry-After", str(self.settings.retry_after)),)))

        done: Deferred[Verdict] = pending.addCallbacks(go_on, failed)
        return done

    @staticmethod
    def _ended(ctx: CallContext, name: str, verdict: Verdict) -> Verdict:
        ctx.trace.append((name, ctx.looked, verdict))
        ctx.looked = ()
        return verdict

"""All calls of this process: the door of the room."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from ngcpd.calls import indialog
from ngcpd.calls.call import Call
from ngcpd.calls.dialog import DialogId
from ngcpd.calls.fields import content_fields, merge
from ngcpd.calls.model import CallSettings, Side
from ngcpd.calls.pair import Pair
from ngcpd.media import BadSdp, Engine, NoPorts
from ngcpd.registrar.source import Source
from ngcpd.routing.model import CallContext, Reject, Verdict
from ngcpd.routing.pipeline import Pipeline
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Rng
from ngcpd.sip.flow import Flow
from ngcpd.sip.message import Request, reply
from ngcpd.sip.stack import ServerTransaction, Stack
from ngcpd.store.acc import Accounting

log = logger("calls")
LINGER = 32.0


class Calls:
    """The call engine. Everything is synchronous but waiting for routing details, DNS and the parties."""

    def __init__(
        self, stack: Stack, pipeline: Pipeline, media: Engine, accounting: Accounting, clock: Clock, rng: Rng, settings: CallSettings | None = None
    ) -> None:
        self.stack = stack
        self.pipeline = pipeline
        self.media = media
        self.accounting = accounting
        self.clock = clock
        self.rng = rng
        self.settings = settings or CallSettings()
        self.calls: dict[int, Call] = {}
        self.dialogs: dict[DialogId, tuple[Pair, str]] = {}
        self.traces: OrderedDict[str, CallContext] = OrderedDict()
        self.on_over: list[Any] = []
        self.accepting = True
        self._idle: list[Deferred[None]] = []

    # ------------------------------------------------------------------------------------------------------- entrances
    def invite(self, tx: ServerTransaction, source: Source) -> None:
        """An INVITE outside of any dialog."""
        if not self.accepting:
            tx.respond(reply(tx.request, 503, "Service Unavailable", to_tag=self.rng.token(6), fields=[("Retry-After", "5")]))
            return
        ctx = CallContext(tx.request, source, self.clock.time())
        call = Call(self, tx, ctx)
        self.calls[id(call)] = call
        self._remember(ctx, call.call_id)
        verdict = self.pipeline.run(ctx)
        if isinstance(verdict, Deferred):
            self._trying(tx)
            verdict.addCallbacks(self._decide, self._routing_failed, callbackArgs=(call, False), errbackArgs=(call,))
        else:
            self._decide(verdict, call, True)

    def _trying(self, tx: ServerTransaction) -> None:
        tx.respond(reply(tx.request, 100, "Trying"))

    def _decide(self, verdict: Verdict, call: Call, trying: bool) -> None:
        if trying and not (isinstance(verdict, Reject) and verdict.code in (401, 407)):
            self._trying(call.tx)
        call.decided(verdict)

    def _routing_failed(self, failure: Failure, call: Call) -> None:
        log.error("routing failed", call_id=call.call_id, why=failure.getErrorMessage(), kind=type(failure.value).__name__)
        call.reject(500, "Server Internal Error")

    def _remember(self, ctx: CallContext, call_id: str) -> None:
        self.traces[call_id] = ctx
        self.traces.move_to_end(call_id)
        while len(self.traces) > self.settings.traces:
            self.traces.popitem(last=False)

    def in_dialog(self, tx: ServerTransaction) -> bool:
        """A request with a To-tag. False when no dialog here knows it."""
        request = tx.request
        found = self.dialogs.get((request.call_id, request.to_tag, request.from_tag))
        if found is None:
            return False
        indialog.handle(self, found[0], found[1], tx)
        return True

    def ack(self, request: Request, flow: Flow) -> bool:
        """The ACK of a 2xx: stop repeating the 2xx, acknowledge the other leg with the body (late offer)."""
        found = self.dialogs.get((request.call_id, request.to_tag, request.from_tag))
        if found is None:
            return False
        pair, side = found
        waiting = pair.acks.pop((side, request.cseq), None)
        if waiting is None:
            return True  # repeated
        waiting.server.acked()
        pair.dialog(side).heard(flow)
        out = waiting.side_out
        try:
            body = pair.call.media.pass_body(request, pair.media_side(side), pair.media_side(out), flow.remote)
        except (BadSdp, NoPorts) as error:
            log.limited(pair.call.call_id, 60.0, "answer in ACK refused", call_id=pair.call.call_id, why=str(error))
            pair.send_ack(out, waiting.cseq_out, [], b"")
            self.hang_up(pair, "unusable session description in ACK")
            return True
        pair.send_ack(out, waiting.cseq_out, merge(content_fields(request)) if body else [], body)
        return True

    # --------------------------------------------------------------------------------------------------------- dialogs
    def register(self, pair: Pair) -> None:
        """Make the dialogs of a pair known; again when a tag became known."""
        self.dialogs[pair.a.key] = (pair, Side.A)
        self.dialogs[pair.b.key] = (pair, Side.B)

    def unregister(self, pair: Pair) -> None:
        for dialog in (pair.a, pair.b):
            found = self.dialogs.get(dialog.key)
            if found is not None and found[0] is pair:
                del self.dialogs[dialog.key]

    def linger(self, pair: Pair) -> None:
        """Keep an ended pair's identifiers so that a crossing BYE and a late ACK find their dialog."""
        self.stack.wheel.after(LINGER, self.unregister, pair)

    def hang_up(self, pair: Pair, why: str, *, reason: str = "OK") -> None:
        """End an established call from here: BYE to both sides, accounting (`reason` is the BYE row's `sip_reason`), media."""
        if pair.over:
            return
        log.info("call ended by the platform", call_id=pair.call.call_id, why=why)
        pair.call.ctx.note("end", why)
        pair.over = True
        for relay in list(pair.relays):
            relay.abandon()
        pair.flush_acks()
        pair.call.ended(200, reason)
        self.linger(pair)
        for side in (Side.A, Side.B):
            indialog.send_bye(self, pair, side, why)

    def call_over(self, call: Call) -> None:
        self.calls.pop(id(call), None)
        for fn in self.on_over:
            fn(call)
        if not self.calls:
            waiting, self._idle = self._idle, []
            for d in waiting:
                d.callback(None)

    # ------------------------------------------------------------------------------------------------------ for operators
    def active(self) -> list[dict[str, Any]]:
        """One dict per call, for the command line and statistics."""
        now = self.clock.time()
        out = []
        for call in self.calls.values():
            names = call.ctx.acc_fields()
            state = "answered" if call.pair is not None else "ringing" if any(b.pairs for b in call.branches) else "routing"
            out.append(
                {
                    "call_id": call.call_id,
                    "state": state,
                    "caller": f"{names.src_user}@{names.src_domain}",
                    "callee": f"{names.dst_user}@{names.dst_domain}",
                    "dialled": names.dst_ouser,
                    "started": round(call.started, 3),
                    "answered": round(call.answered_at, 3) if call.answered_at else None,
                    "duration": round(now - call.answered_at, 3) if call.answered_at else 0.0,
                    "branches": len(call.branches),
                }
            )
        return out

    def trace(self, call_id: str) -> CallContext | None:
        """The decisions of one of the last calls."""
        return self.traces.get(call_id)

    def counters(self) -> dict[str, int]:
        """What must be zero when nothing goes on."""
        return {"calls": len(self.calls), "dialogs": len(self.dialogs)}

    # ------------------------------------------------------------------------------------------------------------- stop
    def shutdown(self) -> Deferred[None]:
        """No new calls; answered calls get BYE, calls in set-up are cancelled with 503 to the caller. Fires when none is left."""
        self.accepting = False
        for call in list(self.calls.values()):
            if call.pair is not None:
                self.hang_up(call.pair, "platform stops")
            else:
                call.reject_all(503, "Service Unavailable", "platform stops")
        if not self.calls:
            return succeed(None)
        d: Deferred[None] = Deferred()
        self._idle.append(d)
        return d

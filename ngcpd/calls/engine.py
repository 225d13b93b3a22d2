"""All calls of this process: the door of the room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from ngcpd.calls import ending, indialog
from ngcpd.calls.call import Call
from ngcpd.calls.dialog import DialogId
from ngcpd.calls.model import CallSettings, Side
from ngcpd.calls.pair import Pair
from ngcpd.calls.records import Records
from ngcpd.media import Engine
from ngcpd.registrar.source import Source
from ngcpd.routing.model import CallContext, Reject
from ngcpd.routing.pipeline import Pipeline
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Rng
from ngcpd.sip.flow import Flow
from ngcpd.sip.message import Request, Response, reply
from ngcpd.sip.stack import ServerTransaction, Stack
from ngcpd.store.acc import Accounting

log = logger("calls")


class Calls:
    """The call engine. Everything is synchronous but waiting for routing details, DNS and the parties.

    `dialogs` maps the identifiers of each live dialog to its pair and side; None stands for a dialog that ended a moment ago.
    """

    def __init__(
        self, stack: Stack, pipeline: Pipeline, media: Engine, accounting: Accounting, clock: Clock, rng: Rng, settings: CallSettings | None = None
    ) -> None:
        self.stack = stack
        self.pipeline = pipeline
        self.media = media
        self.clock = clock
        self.rng = rng
        self.settings = settings or CallSettings()
        self.records = Records(accounting, stack.wheel)
        self.calls: dict[int, Call] = {}
        self.dialogs: dict[DialogId, tuple[Pair, str] | None] = {}
        self.traces: OrderedDict[str, CallContext] = OrderedDict()
        self.on_over: list[Callable[[Call], object]] = []
        self.accepting = True
        self._idle: list[Deferred[None]] = []

    # ------------------------------------------------------------------------------------------------------- entrances
    def invite(self, tx: ServerTransaction, source: Source) -> None:
        """An INVITE outside of any dialog."""
        if not self.accepting or 0 < self.settings.max_calls <= len(self.calls):
            if self.accepting:
                log.limited("full", 60.0, "too many calls, new ones are refused", limit=self.settings.max_calls)
            self.reply(tx, 503, to_tag=self.rng.token(6), fields=[("Retry-After", "5")])
            return
        ctx = CallContext(tx.request, source, self.clock.time())
        call: Call | None = None
        try:
            verdict = self.pipeline.run(ctx)
            if isinstance(verdict, Reject) and verdict.code in (401, 407):
                self._challenge(tx, verdict)
                return
            call = self._begin(tx, ctx)
            self._remember(ctx, call.call_id)
            self.reply(tx, 100, "Trying")
            if isinstance(verdict, Deferred):
                verdict.addCallback(call.decided).addErrback(self._failed, call)
            else:
                call.decided(verdict)
        except Exception:  # the call must not stay behind; the stack logs what happened
            (call or self._begin(tx, ctx)).reject_all(500, "Server Internal Error", "fault")
            raise

    def _begin(self, tx: ServerTransaction, ctx: CallContext) -> Call:
        call = Call(self, tx, ctx)
        self.calls[id(call)] = call
        return call

    def _challenge(self, tx: ServerTransaction, verdict: Reject) -> None:
        """Ask for credentials. Of a sender that has proven nothing nothing stays: no call, no transaction, no 100 Trying (call processing 9), no
        trace that would push out that of a call."""
        fields = [*verdict.fields, ("Server", self.settings.server)] if self.settings.server else verdict.fields
        tx.refuse(verdict.code, verdict.reason, fields)

    def _failed(self, failure: Failure, call: Call) -> None:
        log.error("routing failed", call_id=call.call_id, why=failure.getErrorMessage(), kind=type(failure.value).__name__)
        call.reject_all(500, "Server Internal Error", "fault")

    def _remember(self, ctx: CallContext, call_id: str) -> None:
        self.traces[call_id] = ctx
        self.traces.move_to_end(call_id)
        while len(self.traces) > self.settings.traces:
            self.traces.popitem(last=False)

    def in_dialog(self, tx: ServerTransaction) -> bool:
        """A request with a To-tag. False when no dialog here knows it."""
        request = tx.request
        key = (request.call_id, request.to_tag, request.from_tag)
        found = self.dialogs.get(key)
        if found is not None:
            indialog.handle(found[0], found[1], tx)
            return True
        if key not in self.dialogs:
            return False
        if request.method == "BYE":  # it crossed ours
            self.reply(tx, 200)
        else:
            self.reply(tx, 481)
        return True

    def ack(self, request: Request, flow: Flow) -> bool:
        """The ACK of a 2xx. False when no dialog here knows it."""
        key = (request.call_id, request.to_tag, request.from_tag)
        found = self.dialogs.get(key)
        if found is None:
            return key in self.dialogs
        waiting = found[0].acks.get((found[1], request.cseq))
        if waiting is not None:  # else it came again
            waiting.acknowledged(request, flow)
        return True

    def reply(
        self, tx: ServerTransaction, status: int, reason: str = "", *, to_tag: str = "", fields: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> Response:
        """Answer a request. All answers of the room are made here: they carry our Server field."""
        if self.settings.server and status > 100:
            fields = [*fields, ("Server", self.settings.server)]
        response = reply(tx.request, status, reason, to_tag=to_tag, fields=fields, body=body)
        tx.respond(response)
        return response

    # --------------------------------------------------------------------------------------------------------- dialogs
    def register(self, pair: Pair) -> None:
        """Make the dialogs of a pair known."""
        self.dialogs[pair.a.key] = (pair, Side.A)
        self.dialogs[pair.b.key] = (pair, Side.B)

    def unregister(self, pair: Pair) -> None:
        """Forget them at once."""
        for dialog in (pair.a, pair.b):
            self.dialogs.pop(dialog.key, None)

    def retire(self, pair: Pair) -> None:
        """Remember only the identifiers, until nothing of the dialogs can be on its way any more: a crossing BYE and a late ACK."""
        keys = (pair.a.key, pair.b.key)
        for key in keys:
            self.dialogs[key] = None
        self.stack.wheel.after(self.settings.timeout, self._forget, keys)

    def _forget(self, keys: tuple[DialogId, DialogId]) -> None:
        for key in keys:
            self.dialogs.pop(key, None)

    def call_over(self, call: Call) -> None:
        """The call has its final answer, or has ended."""
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
        return {"calls": len(self.calls), "dialogs": len(self.dialogs), "unwritten": self.records.waiting}

    # ------------------------------------------------------------------------------------------------------------- stop
    def shutdown(self) -> Deferred[None]:
        """No new calls; answered calls get BYE, calls in set-up are cancelled with 503 to the caller. Fires when none is left."""
        self.accepting = False
        for call in list(self.calls.values()):
            if call.pair is not None:
                ending.hang_up(call.pair, "platform stops", at_once=True)
            else:
                call.reject_all(503, "Service Unavailable", "platform stops")
        self.records.flush()
        if not self.calls:
            return succeed(None)
        d: Deferred[None] = Deferred()
        self._idle.append(d)
        return d

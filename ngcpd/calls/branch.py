"""One fork branch: the INVITE to one contact of the callee and the early dialogs that come back (call processing 1.2, 3.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from ngcpd.calls.dialog import Dialog, with_hops
from ngcpd.calls.fields import content_fields, merge
from ngcpd.calls.pair import Pair
from ngcpd.media import BadSdp, NoPorts
from ngcpd.routing.model import Branch
from ngcpd.runtime.log import logger
from ngcpd.sip.endpoint import Hop, NoRoute
from ngcpd.sip.errors import ParseError
from ngcpd.sip.message import Request, Response
from ngcpd.sip.stack import ClientTransaction

if TYPE_CHECKING:
    from ngcpd.calls.call import Call

log = logger("calls")


class BranchLeg:
    """State of one branch: `open` until its client transaction has a final outcome. `code` and `response` keep that outcome."""

    __slots__ = ("call", "cancelled", "code", "final", "local_tag", "open", "pairs", "reason", "request", "side", "spec", "tx")

    def __init__(self, call: Call, spec: Branch, side: str) -> None:
        self.call = call
        self.spec = spec
        self.side = side
        self.local_tag = call.calls.rng.token(6)
        self.request: Request | None = None
        self.tx: ClientTransaction | None = None
        self.pairs: dict[str, Pair] = {}
        self.open = True
        self.cancelled = False
        self.code = 0
        self.reason = ""
        self.final: Response | None = None

    # -------------------------------------------------------------------------------------------------------- sending
    def start(self) -> None:
        """Find the way and send the INVITE."""
        spec = self.spec
        endpoint = self.call.calls.stack.endpoint
        try:
            hops = endpoint.resolve(spec.next_hop, received=spec.received, flow=spec.flow, forced_socket=spec.socket, transport=spec.transport)
        except NoRoute as error:
            self._unreachable(str(error))
            return
        if isinstance(hops, Deferred):
            hops.addCallbacks(self._send, lambda failure: self._unreachable(failure.getErrorMessage()))
        else:
            self._send(hops)

    def _unreachable(self, why: str) -> None:
        log.debug("callee unreachable", call_id=self.call.call_id, contact=self.spec.request_uri, why=why)
        self._ended(480, "Temporarily Unavailable", None)

    def _send(self, hops: list[Hop]) -> None:
        if self.cancelled:
            self._ended(487, "Request Terminated", None)
            return
        if not hops:
            self._unreachable("no address")
            return
        call = self.call
        original = call.request
        try:
            body = call.media.pass_body(original, "a", self.side, call.tx.flow.remote)
        except NoPorts:
            log.warning("no media ports left", call_id=call.call_id)
            self._ended(503, "Service Unavailable", None)
            return
        except BadSdp as error:
            log.limited(call.tx.flow.remote[0], 60.0, "session description refused", call_id=call.call_id, why=str(error))
            self._ended(488, "Not Acceptable Here", None)
            return
        spec = self.spec
        settings = call.calls.settings
        head = [
            ("Max-Forwards", str(settings.max_forwards)),
            ("From", f"{spec.from_};tag={self.local_tag}"),
            ("To", spec.to),
            ("Call-ID", call.call_id_b),
            ("CSeq", f"{settings.first_cseq} INVITE"),
        ]
        head += [("Route", r) for r in spec.path]
        head.append(("Contact", f"<sip:{settings.contact_user}@{hops[0].contact_host};ngcpct={call.token}>"))
        extra = merge(spec.fields, call.leg_fields, content_fields(original))
        request = self.request = Request.make("INVITE", spec.request_uri, head + extra, body)
        self.tx = call.calls.stack.send(request, hops, self, first_reply=settings.fr_timer, final_reply=settings.fr_inv_timer)

    def cancel(self, reason: str = "") -> None:
        """The caller gave up or another branch won."""
        if self.cancelled or not self.open:
            return
        self.cancelled = True
        if self.tx is not None:
            self.tx.cancel([("Reason", reason)] if reason else [])

    # ------------------------------------------------------------------------------------------------ ClientUser door
    def response(self, tx: ClientTransaction, response: Response) -> None:
        try:
            status = response.status
            if status == 100:
                return
            if status < 200:
                self._provisional(response)
            elif status < 300:
                self._success(response)
            elif self.open:
                self._ended(status, response.reason, response)
        except ParseError as error:
            log.limited(tx.hop.remote[0], 60.0, "malformed answer of the callee dropped", call_id=self.call.call_id, why=str(error))

    def failed(self, tx: ClientTransaction, kind: str) -> None:
        if not self.open:
            return
        if kind == "transport":
            self._ended(480, "Temporarily Unavailable", None)
        else:
            self._ended(408, "Request Timeout", None)

    # ------------------------------------------------------------------------------------------------------- answers
    def pair_of(self, response: Response) -> Pair | None:
        """The pair of the early dialog that `response` belongs to; made on first sight. None when the callee makes too many."""
        tag = response.to_tag
        pair = self.pairs.get(tag)
        if pair is not None:
            return pair
        call = self.call
        untagged = self.pairs.pop("", None)
        if untagged is not None:
            untagged.b.remote_tag = tag
            self.pairs[tag] = untagged
            call.calls.register(untagged)
            return untagged
        if len(self.pairs) >= call.calls.settings.early_dialogs_per_branch:
            log.limited(call.call_id, 60.0, "too many early dialogs of one callee", call_id=call.call_id)
            return None
        assert self.request is not None
        b = self._dialog(response)
        a = call.new_caller_dialog()
        pair = self.pairs[tag] = Pair(call, self.side, a, b)
        call.calls.register(pair)
        return pair

    def _dialog(self, response: Response) -> Dialog:
        assert self.request is not None
        spec = self.spec
        call = self.call
        dialog = Dialog.uac(call.calls.stack.endpoint, self.request, response, call.calls.settings.contact_user, call.token)
        dialog.received = spec.received
        dialog.flow = self.tx.hop.flow if self.tx is not None else None
        dialog.follow_source = spec.flow is not None or spec.received is not None
        dialog.socket = self.tx.hop.socket.name if self.tx is not None else spec.socket
        return dialog

    def _provisional(self, response: Response) -> None:
        if self.cancelled or self.call.final:
            return
        pair = self.pair_of(response)
        if pair is not None:
            self.call.provisional(self, pair, response)

    def _success(self, response: Response) -> None:
        """A 2xx: the first of the call wins; every other dialog is acknowledged and ended at once (RFC 3261 13.2.2.4)."""
        call = self.call
        pair = self.pairs.get(response.to_tag)
        if pair is not None and pair.confirmed:
            pair.repeat_ack(pair.first_cseq_b)
            return
        if not call.final and not self.cancelled:
            pair = self.pair_of(response)
            if pair is not None:
                pair.b.accept(response)
                self.open = False
                call.answered(self, pair, response)
                return
        self.refuse_answer(response)
        if self.open:
            self._ended(487, "Request Terminated", None)

    def refuse_answer(self, response: Response) -> None:
        """ACK and BYE a dialog nobody waits for."""
        dialog = self._dialog(response)
        stack = self.call.calls.stack

        def go(hops: list[Hop]) -> None:
            assert self.request is not None
            stack.send_ack(dialog.request("ACK", hops[0], [], cseq=self.request.cseq), hops)
            stack.send(dialog.request("BYE", hops[0], []), hops, Silent())

        with_hops(dialog, go, lambda why: log.debug("late answer could not be ended", call_id=self.call.call_id, why=why))

    def _ended(self, code: int, reason: str, response: Response | None) -> None:
        self.open = False
        self.code = code
        self.reason = reason
        self.final = response
        for pair in self.pairs.values():
            pair.end_early()
        self.pairs.clear()
        self.call.media.drop(self.side)
        self.call.branch_ended(self)


class Silent:
    """User of a client transaction whose outcome does not matter (RFC 3261 15: a BYE ends the dialog whatever the answer)."""

    __slots__ = ()

    def response(self, tx: ClientTransaction, response: Response) -> None:
        return

    def failed(self, tx: ClientTransaction, kind: str) -> None:
        return

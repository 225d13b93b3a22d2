"""One fork branch: the INVITE to one contact of the callee and the early dialogs that come back (call processing 1.2, 3.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ngcpd.calls.dialog import Dialog, Silent, when_resolved, with_hops
from ngcpd.calls.fields import passed_on
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
    """State of one branch: `open` until it has an outcome, which `code`, `reason` and `final` (the callee's answer, if it was one) keep.

    `pairs`: its dialogs by To-tag. `ended`: those that nobody waits for any more. `refused`: the ACK of a 2xx that came all the same.
    """

    __slots__ = (
        "call",
        "cancelled",
        "code",
        "cseq",
        "ended",
        "final",
        "hop",
        "local_tag",
        "open",
        "pairs",
        "reason",
        "refused",
        "request",
        "side",
        "spec",
        "tx",
    )

    def __init__(self, call: Call, spec: Branch, side: str) -> None:
        self.call = call
        self.spec = spec
        self.side = side
        self.local_tag = call.calls.rng.token(6)
        self.cseq = call.calls.settings.first_cseq
        self.request: Request | None = None
        self.tx: ClientTransaction | None = None  # while the branch is open
        self.hop: Hop | None = None  # that answered last
        self.pairs: dict[str, Pair] = {}
        self.ended: dict[str, Dialog] = {}
        self.refused: dict[str, tuple[bytes, list[Hop]]] = {}
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
            self._unreachable(error.reason)
            return
        when_resolved(hops, self._send, self._unreachable)

    def _unreachable(self, why: str) -> None:
        if self.open:
            log.debug("callee unreachable", call_id=self.call.call_id, contact=self.spec.request_uri, why=why)
            self._ended(480, "Temporarily Unavailable")

    def _send(self, hops: list[Hop]) -> None:
        if self.cancelled or self.call.final:
            self._ended(487, "Request Terminated")
            return
        call = self.call
        try:
            body = call.media.pass_body(call.request, "a", self.side, call.tx.flow.remote)
        except (NoPorts, BadSdp) as error:
            self._refused_media(error)
            return
        spec = self.spec
        settings = call.calls.settings
        head = [
            ("Max-Forwards", str(settings.max_forwards)),
            ("From", f"{spec.from_};tag={self.local_tag}"),
            ("To", spec.to),
            ("Call-ID", call.call_id_b),
            ("CSeq", f"{self.cseq} INVITE"),
        ]
        head += [("Route", r) for r in spec.path]
        head.append(("Contact", call.me.contact(hops[0].contact_host)))
        head += passed_on(spec.fields)
        head += call.crossing
        request = self.request = Request.make("INVITE", spec.request_uri, head, body)
        self.tx = call.calls.stack.send(request, hops, self, first_reply=settings.fr_timer, final_reply=settings.fr_inv_timer)

    def _refused_media(self, error: Exception) -> None:
        if isinstance(error, NoPorts):
            log.limited("ports", 60.0, "no media ports left", call_id=self.call.call_id)
            self._ended(503, "Service Unavailable")
        else:
            log.limited(self.call.call_id, 60.0, "session description refused", call_id=self.call.call_id, why=str(error))
            self._ended(488, "Not Acceptable Here")

    def cancel(self, reasons: list[str] | None = None) -> None:
        """The caller gave up or another branch won. `reasons`: Reason values for the callee (RFC 3326)."""
        if self.cancelled or not self.open:
            return
        self.cancelled = True
        if self.tx is not None:
            self.tx.cancel([("Reason", r) for r in reasons or ()])

    # ------------------------------------------------------------------------------------------------ ClientUser door
    def response(self, tx: ClientTransaction, response: Response) -> None:
        status = response.status
        if status == 100:
            return
        self.hop = tx.hop
        try:
            if status < 200:
                self._provisional(response)
            elif status < 300:
                self._success(response)
            elif self.open:
                self._ended(status, response.reason, response)
        except ParseError as error:
            log.limited(tx.hop.remote[0], 60.0, "malformed answer of the callee", call_id=self.call.call_id, status=status, why=error.reason)
            if 200 <= status < 300:
                self._unusable(response, 502, "Bad Gateway")

    def failed(self, tx: ClientTransaction, kind: str) -> None:
        if not self.open:
            return
        if kind == "transport":
            self._ended(480, "Temporarily Unavailable")
        else:
            self._ended(408, "Request Timeout")

    # ------------------------------------------------------------------------------------------------------- answers
    def _provisional(self, response: Response) -> None:
        if self.cancelled or self.call.final:
            return
        pair = self._pair_of(response)
        if pair is not None:
            self.call.provisional(self, pair, response)

    def _success(self, response: Response) -> None:
        """A 2xx: the first of the call wins; every other dialog is acknowledged and ended at once (RFC 3261 13.2.2.4)."""
        call = self.call
        tag = response.to_tag
        pair = self.pairs.get(tag)
        if pair is not None and pair.confirmed:
            pair.repeat_ack("b", pair.first_cseq_b)
            return
        pair = self._pair_of(response) if self.open and not self.cancelled and not call.final else None
        if pair is None:
            self._refuse(response)
            if self.open:
                self._ended(487, "Request Terminated")
            return
        pair.b.accept(response)
        try:
            body = call.answer_body(self, pair, response)
        except (BadSdp, NoPorts) as error:
            self._refuse(response)
            self._refused_media(error)
            return
        self._close()
        if not call.answered(self, pair, response, body):
            self._refuse(response)

    def _pair_of(self, response: Response) -> Pair | None:
        """The pair of the early dialog that `response` belongs to; made on first sight. None when it is not wanted, or the callee makes
        too many."""
        tag = response.to_tag
        pair = self.pairs.get(tag)
        if pair is not None:
            return pair
        if tag in self.ended:
            return None
        call = self.call
        if len(self.pairs) + len(self.ended) >= call.calls.settings.early_dialogs_per_branch:
            log.limited(call.call_id, 60.0, "too many early dialogs of one callee", call_id=call.call_id)
            return None
        dialog = self._dialog(response)
        dialog.accept(response)
        pair = self.pairs.pop("", None)
        if pair is None:
            pair = Pair(call, self.side, call.new_caller_dialog(), dialog)
        else:  # its first answer had no tag (RFC 2543): the caller knows this dialog already
            call.calls.unregister(pair)
            dialog.local_seq = pair.b.local_seq
            pair.b = dialog
        self.pairs[tag] = pair
        call.calls.register(pair)
        return pair

    def _dialog(self, response: Response) -> Dialog:
        """Our end of the dialog that `response` makes; its route set and target are still to be taken from it (`accept`)."""
        hop = self.hop
        assert self.request is not None and hop is not None
        spec = self.spec
        call = self.call
        dialog = Dialog.uac(call.calls.stack.endpoint, call.me, call.call_id_b, spec.from_, self.local_tag, spec.to, response)
        dialog.local_seq = self.cseq
        dialog.target = self.request.ruri
        dialog.received = spec.received
        dialog.transport = hop.transport
        dialog.flow = hop.flow
        dialog.bound = spec.flow is not None or spec.received is not None
        dialog.socket = hop.socket.name
        return dialog

    def end_dialog(self, pair: Pair) -> None:
        """The caller has ended one early dialog: CANCEL when it is the only one of this branch, else a BYE inside it (RFC 3261 15)."""
        self._end_pair(pair.b.remote_tag)
        if not self.pairs:
            self.cancel()
            return
        dialog = pair.b
        stack = self.call.calls.stack
        with_hops(dialog, lambda hops: stack.send(dialog.request("BYE", hops[0], []), hops, Silent()), lambda why: None)

    def _end_pair(self, tag: str) -> None:
        pair = self.pairs.pop(tag, None)
        if pair is not None:
            self.ended[tag] = pair.b
            pair.end_early()

    def _refuse(self, response: Response) -> None:
        """ACK and BYE a dialog nobody waits for; a repeated 2xx gets its ACK again."""
        tag = response.to_tag
        kept = self.refused.get(tag)
        call = self.call
        stack = call.calls.stack
        if kept is not None:
            stack.repeat(*kept)
            return
        if len(self.refused) >= call.calls.settings.early_dialogs_per_branch:
            log.limited(call.call_id, 60.0, "too many answers of one callee", call_id=call.call_id)
            return
        self._end_pair(tag)
        dialog = self.ended.get(tag) or self._dialog(response)
        try:
            dialog.accept(response)
        except ParseError as error:
            log.debug("answer without usable Contact, ended at the address it was called at", call_id=self.call.call_id, why=error.reason)
        cseq = self.cseq

        def go(hops: list[Hop]) -> None:
            self.refused[tag] = (stack.send_ack(dialog.request("ACK", hops[0], [], cseq=cseq), hops), hops)
            stack.send(dialog.request("BYE", hops[0], []), hops, Silent())

        with_hops(dialog, go, lambda why: log.debug("late answer could not be ended", call_id=self.call.call_id, why=why))

    def _unusable(self, response: Response, code: int, reason: str) -> None:
        """A 2xx that can not be read is ended as far as possible; the branch has failed."""
        try:
            self._refuse(response)
        except ParseError as error:
            log.limited(self.call.call_id, 60.0, "malformed answer can not be ended", call_id=self.call.call_id, why=error.reason)
        if self.open:
            self._ended(code, reason)

    # ---------------------------------------------------------------------------------------------------------- end
    def lose(self, reason: str) -> None:
        """Another branch has won."""
        self.end_pairs()
        self.call.media.drop(self.side)
        self.cancel([reason])

    def end_pairs(self, but: Pair | None = None) -> None:
        """Forget all dialogs of this branch, or all but the winning one."""
        for tag, pair in list(self.pairs.items()):
            if pair is not but:
                self._end_pair(tag)

    def _close(self) -> None:
        self.open = False
        self.tx = None  # it refers to this branch as long as answers may come

    def _ended(self, code: int, reason: str, response: Response | None = None) -> None:
        self._close()
        self.code = code
        self.reason = reason
        self.final = response
        self.end_pairs()
        self.call.media.drop(self.side)
        self.call.branch_ended(self)

"""Requests inside a dialog on their way from one leg to the other (call processing 4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ngcpd.calls.branch import Silent
from ngcpd.calls.dialog import with_hops
from ngcpd.calls.fields import Fields, relayed
from ngcpd.calls.media import is_sdp
from ngcpd.calls.model import ALLOW, Side
from ngcpd.calls.pair import Answered, Pair
from ngcpd.media import BadSdp, NoPorts
from ngcpd.runtime.log import logger
from ngcpd.sip.endpoint import Hop
from ngcpd.sip.errors import ParseError
from ngcpd.sip.fields import RAck
from ngcpd.sip.message import Response, reply
from ngcpd.sip.stack import ClientTransaction, ServerTransaction

if TYPE_CHECKING:
    from ngcpd.calls.engine import Calls

log = logger("calls")
TARGET_REFRESH = frozenset({"INVITE", "UPDATE"})
# Methods that are relayed besides INVITE, BYE and PRACK; anything else inside a dialog is 405.
REFUSED = frozenset({"REFER", "REGISTER", "PUBLISH", "SUBSCRIBE"})


class Relay:
    """One request on its way: `server` on the side it came from, `client` on the other."""

    __slots__ = ("calls", "cancelled", "client", "done", "pair", "server", "side")

    def __init__(self, calls: Calls, pair: Pair, side: str, server: ServerTransaction) -> None:
        self.calls = calls
        self.pair = pair
        self.side = side
        self.server = server
        self.client: ClientTransaction | None = None
        self.done = False
        self.cancelled = False
        pair.relays.append(self)

    # ------------------------------------------------------------------------------------------------------- forward
    def forward(self, extra: Fields | None = None) -> None:
        """Send it on, with the body through the relay."""
        pair = self.pair
        request = self.server.request
        out = Side.other(self.side)
        call = pair.call
        try:
            body = call.media.pass_body(request, pair.media_side(self.side), pair.media_side(out), self.server.flow.remote)
        except NoPorts:
            self.finish(503, "Service Unavailable")
            return
        except BadSdp as error:
            log.limited(self.server.flow.remote[0], 60.0, "session description refused", call_id=call.call_id, why=str(error))
            self.finish(488, "Not Acceptable Here")
            return
        dialog = pair.dialog(out)

        def go(hops: list[Hop]) -> None:
            if self.done:
                return
            settings = self.calls.settings
            fields = relayed(request) + (extra or [])
            message = dialog.request(request.method, hops[0], fields, body, max_forwards=settings.max_forwards)
            final = settings.fr_inv_timer if request.method == "INVITE" else None
            self.client = self.calls.stack.send(message, hops, self, final_reply=final)
            if self.cancelled:
                self.client.cancel([])

        with_hops(dialog, go, lambda why: self.failed(None, "transport"))

    def cancel(self, _cancel: object) -> None:
        """CANCEL of a re-INVITE: the far end decides (487, or 200 when it was faster)."""
        self.cancelled = True
        if self.client is not None:
            self.client.cancel([])

    def server_ended(self, reason: str) -> None:
        """The answer to a re-INVITE was never acknowledged: the dialog is of no use any more (RFC 3261 14.2)."""
        if reason != "done":
            self.calls.hang_up(self.pair, f"answer to re-INVITE not acknowledged ({reason})", reason="timeout")

    # ------------------------------------------------------------------------------------------------ ClientUser door
    def response(self, tx: ClientTransaction, response: Response) -> None:
        if response.status == 100:
            return
        try:
            self._response(tx, response)
        except ParseError as error:
            log.limited(tx.hop.remote[0], 60.0, "malformed answer inside a dialog dropped", call_id=self.pair.call.call_id, why=str(error))

    def _response(self, tx: ClientTransaction, response: Response) -> None:
        pair = self.pair
        out = Side.other(self.side)
        request = self.server.request
        status = response.status
        if self.done:
            if status < 300 and request.method == "INVITE" and status >= 200:
                pair.repeat_ack(tx.request.cseq, out)
            return
        if 200 <= status < 300 and request.method in TARGET_REFRESH:
            pair.dialog(out).refresh_target(response)
        try:
            body = pair.call.media.pass_body(response, pair.media_side(out), pair.media_side(self.side), tx.hop.remote)
        except (BadSdp, NoPorts) as error:
            log.limited(pair.call.call_id, 60.0, "answer inside the dialog refused", call_id=pair.call.call_id, why=str(error))
            if status < 200:
                return
            if request.method == "INVITE" and status < 300:
                pair.send_ack(out, tx.request.cseq, [], b"")
            self.finish(488, "Not Acceptable Here")
            return
        if status >= 200:
            self._over()
            if status >= 300 and is_sdp(request):
                pair.call.media.revert(pair.media_side(self.side))
            if request.method == "INVITE" and status < 300:
                pair.acks[(self.side, request.cseq)] = Answered(self.server, out, tx.request.cseq)
        self._answer(status, response.reason, relayed(response, body=bool(body)), body)
        if status in (408, 481) and pair.confirmed:
            self.calls.hang_up(pair, f"{status} inside the dialog", reason="timeout")

    def failed(self, tx: ClientTransaction | None, kind: str) -> None:
        if self.done:
            return
        code, reason = (480, "Temporarily Unavailable") if kind == "transport" else (408, "Request Timeout")
        self.finish(code, reason)
        if self.pair.confirmed:
            self.calls.hang_up(self.pair, f"other leg does not answer ({kind})", reason="timeout")

    # -------------------------------------------------------------------------------------------------------- answer
    def _answer(self, status: int, reason: str, fields: Fields, body: bytes = b"") -> None:
        dialog = self.pair.dialog(self.side)
        if self.server.request.method in TARGET_REFRESH and status < 300 and status > 100:
            hops = dialog.hops()
            if isinstance(hops, list) and hops:
                fields = [*fields, ("Contact", dialog.contact(hops[0]))]
        self.server.respond(reply(self.server.request, status, reason, fields=fields, body=body))

    def finish(self, status: int, reason: str, fields: Fields | None = None) -> None:
        """Answer ourselves."""
        if not self.done:
            self._over()
            self._answer(status, reason, fields or [])

    def _over(self) -> None:
        self.done = True
        if self in self.pair.relays:
            self.pair.relays.remove(self)

    def abandon(self) -> None:
        """The dialog pair ends: nobody waits for the far end's answer any more."""
        if not self.done:
            self.finish(487 if self.server.request.method == "INVITE" else 481, "")
        if self.client is not None and self.server.request.method == "INVITE":
            self.client.cancel([])


def handle(calls: Calls, pair: Pair, side: str, tx: ServerTransaction) -> None:
    """A request inside a known dialog, from `side`."""
    request = tx.request
    dialog = pair.dialog(side)
    method = request.method
    if request.cseq <= dialog.remote_seq:
        tx.respond(reply(request, 500, "Server Internal Error", fields=[("Retry-After", "1")]))
        return
    dialog.remote_seq = request.cseq
    if pair.over and method != "BYE":
        tx.respond(reply(request, 481))
        return
    dialog.heard(tx.flow)
    if method in TARGET_REFRESH:
        dialog.refresh_target(request)
    if method == "BYE":
        bye(calls, pair, side, tx)
    elif method == "INVITE":
        reinvite(calls, pair, side, tx)
    elif method == "PRACK":
        prack(calls, pair, side, tx)
    elif method in REFUSED:
        tx.respond(reply(request, 405, fields=[("Allow", ALLOW)]))
    else:
        Relay(calls, pair, side, tx).forward()


def reinvite(calls: Calls, pair: Pair, side: str, tx: ServerTransaction) -> None:
    """Session change. Only one INVITE at a time per dialog (RFC 3261 14.2): ours outstanding -> 491, theirs -> 500."""
    request = tx.request
    for relay in pair.relays:
        if relay.server.request.method == "INVITE":
            if relay.side == side:
                tx.respond(reply(request, 500, "Server Internal Error", fields=[("Retry-After", str(calls.rng.below(10) + 1))]))
            else:
                tx.respond(reply(request, 491, "Request Pending"))
            return
    if not pair.confirmed:
        tx.respond(reply(request, 491, "Request Pending"))
        return
    tx.respond(reply(request, 100, "Trying"))
    relay = Relay(calls, pair, side, tx)
    tx.on_cancel = relay.cancel
    tx.on_end = relay.server_ended
    relay.forward()


def prack(calls: Calls, pair: Pair, side: str, tx: ServerTransaction) -> None:
    """PRACK of the caller for a provisional answer: the callee gets it with its own numbers (RFC 3262 7.2)."""
    request = tx.request
    try:
        rack = RAck.parse(request.first("RAck") or "")
    except ParseError:
        tx.respond(reply(request, 400, "Bad RAck"))
        return
    theirs = pair.reliable.pracked(rack.rseq) if side == Side.A and rack.cseq == pair.call.request.cseq and rack.method == "INVITE" else None
    if theirs is None:
        tx.respond(reply(request, 481))
        return
    Relay(calls, pair, side, tx).forward([("RAck", f"{theirs} {pair.first_cseq_b} INVITE")])


class ByeRelay:
    """A BYE goes to the other leg and its answer comes back; a dead leg gives a local 200."""

    __slots__ = ("server",)

    def __init__(self, server: ServerTransaction) -> None:
        self.server = server

    def response(self, tx: ClientTransaction, response: Response) -> None:
        if response.status >= 200 and not self.server.final:
            self.server.respond(reply(self.server.request, 200, "OK"))

    def failed(self, tx: ClientTransaction | None, kind: str) -> None:
        if not self.server.final:
            self.server.respond(reply(self.server.request, 200, "OK"))


def bye(calls: Calls, pair: Pair, side: str, tx: ServerTransaction) -> None:
    """End of a call from one side; crossing BYEs are each answered 200."""
    request = tx.request
    if pair.over:
        tx.respond(reply(request, 200, "OK"))
        return
    if not pair.confirmed:
        early_bye(calls, pair, side, tx)
        return
    other = Side.other(side)
    pair.over = True
    for relay in list(pair.relays):
        relay.abandon()
    pair.flush_acks()
    pair.call.ended()
    calls.linger(pair)
    user = ByeRelay(tx)
    fields = [(n, v) for n, v in relayed(request) if n == "Reason" or n.startswith("Content-")]
    dialog = pair.dialog(other)
    log.info("call ended", call_id=pair.call.call_id, by=side)

    def go(hops: list[Hop]) -> None:
        calls.stack.send(dialog.request("BYE", hops[0], fields, request.body), hops, user)

    with_hops(dialog, go, lambda why: user.failed(None, "transport"))


def early_bye(calls: Calls, pair: Pair, side: str, tx: ServerTransaction) -> None:
    """BYE before the answer: the caller may end one early dialog so (RFC 3261 15.1.1); a callee may not."""
    if side != Side.A:
        tx.respond(reply(tx.request, 481))
        return
    tx.respond(reply(tx.request, 200, "OK"))
    call = pair.call
    for branch in call.branches:
        if branch.side == pair.branch_side:
            branch.cancel()
    if not any(b.open and not b.cancelled for b in call.branches):
        call.reject(487, "Request Terminated")


def send_bye(calls: Calls, pair: Pair, side: str, reason: str) -> None:
    """A BYE of our own to one side."""
    dialog = pair.dialog(side)

    def go(hops: list[Hop]) -> None:
        calls.stack.send(dialog.request("BYE", hops[0], [("Reason", f'SIP;cause=200;text="{reason}"')]), hops, Silent())

    with_hops(dialog, go, lambda why: log.debug("BYE could not be sent", call_id=pair.call.call_id, side=side, why=why))

"""Requests inside a dialog on their way from one leg to the other (call processing 4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ngcpd.calls import ending
from ngcpd.calls.acks import Answered
from ngcpd.calls.dialog import TARGET_REFRESH, with_hops
from ngcpd.calls.fields import Fields, relayed
from ngcpd.calls.media import is_sdp
from ngcpd.calls.model import ALLOW, ALLOWED, Side
from ngcpd.media import BadSdp, NoPorts
from ngcpd.runtime.log import logger
from ngcpd.sip.endpoint import Hop
from ngcpd.sip.errors import ParseError
from ngcpd.sip.fields import RAck
from ngcpd.sip.message import Request, Response
from ngcpd.sip.stack import ClientTransaction, ServerTransaction

if TYPE_CHECKING:
    from ngcpd.calls.engine import Calls
    from ngcpd.calls.pair import Pair

log = logger("calls")


def handle(pair: Pair, side: str, tx: ServerTransaction) -> None:
    """A request inside a known dialog, from `side`. ParseError: the request is malformed and nothing was done."""
    calls = pair.call.calls
    request = tx.request
    dialog = pair.dialog(side)
    method = request.method
    if request.cseq <= dialog.remote_seq:  # RFC 3261 12.2.2
        calls.reply(tx, 500, "Out of Order")
        return
    if method not in ALLOWED:
        dialog.remote_seq = request.cseq
        calls.reply(tx, 405, fields=[("Allow", ALLOW)])
        return
    if pair.over and method != "BYE":
        dialog.remote_seq = request.cseq
        calls.reply(tx, 481)
        return
    if method in TARGET_REFRESH:
        dialog.refresh_target(request)
    dialog.remote_seq = request.cseq
    dialog.heard(tx.flow)
    if method == "BYE":
        ending.bye(pair, side, tx)
    elif method == "INVITE":
        _reinvite(pair, side, tx)
    elif method == "PRACK":
        _prack(pair, side, tx)
    else:
        Relay(pair, side, tx).forward(relayed(request, pair.call.calls.settings.headers))


def _reinvite(pair: Pair, side: str, tx: ServerTransaction) -> None:
    """Session change. One INVITE at a time per dialog (RFC 3261 14.2): theirs unanswered -> 500, ours outstanding -> 491. While an
    answered one waits for its ACK its offer and answer are not complete either: 491, the sender tries again."""
    calls = pair.call.calls
    if any(r.side == side and r.method == "INVITE" for r in pair.relays) or (side == Side.A and not pair.confirmed):
        calls.reply(tx, 500, fields=[("Retry-After", str(calls.rng.below(10) + 1))])
        return
    if pair.acks or not pair.confirmed or any(r.method == "INVITE" for r in pair.relays):
        calls.reply(tx, 491)
        return
    request = tx.request
    calls.reply(tx, 100, "Trying")
    # A reliable provisional answer would need numbers of our own here as well: 100rel is not offered, and when the sender requires it no
    # provisional answer is passed at all, which is what it asked for (RFC 3262 3).
    relay = Relay(pair, side, tx)
    relay.quiet = request.has_token("Require", "100rel")
    tx.on_cancel = relay.cancel
    tx.on_end = relay.server_ended
    relay.forward(relayed(request, pair.call.calls.settings.headers, drop_options=("100rel",)))


def _prack(pair: Pair, side: str, tx: ServerTransaction) -> None:
    """PRACK of the caller for a provisional answer: the callee gets it with its own numbers (RFC 3262 7.2)."""
    request = tx.request
    value = request.first("RAck")
    if value is None:
        pair.call.calls.reply(tx, 400, "Missing RAck Header")
        return
    rack = RAck.parse(value)
    theirs = None
    if side == Side.A and pair.reliable is not None and rack.cseq == pair.call.request.cseq and rack.method == "INVITE":
        theirs = pair.reliable.pracked(rack.rseq)
    if theirs is None:
        pair.call.calls.reply(tx, 481)
        return
    Relay(pair, side, tx).forward([*relayed(request, pair.call.calls.settings.headers), ("RAck", f"{theirs} {pair.first_cseq_b} INVITE")])


class Relay:
    """One request on its way: `server` on the side it came from, `client` on the other. `quiet`: provisional answers are not passed;
    `lost`: the sender can not be answered any more."""

    __slots__ = ("calls", "client", "done", "given_up", "lost", "method", "pair", "quiet", "server", "side")

    def __init__(self, pair: Pair, side: str, server: ServerTransaction) -> None:
        self.calls: Calls = pair.call.calls
        self.pair = pair
        self.side = side
        self.server = server
        self.method = server.request.method
        self.client: ClientTransaction | None = None
        self.done = False
        self.given_up = False
        self.quiet = False
        self.lost = False
        pair.relays.append(self)

    # ------------------------------------------------------------------------------------------------------- forward
    def forward(self, fields: Fields) -> None:
        """Send it on with these fields, the body through the relay."""
        pair = self.pair
        request = self.server.request
        out = Side.other(self.side)
        try:
            body = pair.call.media.pass_body(request, pair.media_side(self.side), pair.media_side(out), self.server.flow.remote)
        except (BadSdp, NoPorts) as error:
            self._refuse(error)
            return
        dialog = pair.dialog(out)
        settings = self.calls.settings

        def go(hops: list[Hop]) -> None:
            if self.done:
                return
            message: Request = dialog.request(request.method, hops[0], fields, body)
            final = settings.fr_inv_timer if self.method == "INVITE" else None
            self.client = self.calls.stack.send(message, hops, self, final_reply=final)
            if self.given_up:
                self.client.cancel()

        with_hops(dialog, go, lambda why: self.failed(None, "transport"))

    def cancel(self, _cancel: object) -> None:
        """CANCEL of a re-INVITE: the far end decides (487, or 200 when it was faster)."""
        self.given_up = True
        if self.client is not None:
            self.client.cancel()

    def server_ended(self, reason: str) -> None:
        """The sender of a re-INVITE can not be answered any more. That a failure answer was not acknowledged does not matter."""
        if not self.done:
            self.lost = True
            self.cancel(None)

    # ------------------------------------------------------------------------------------------------ ClientUser door
    def response(self, tx: ClientTransaction, response: Response) -> None:
        status = response.status
        if status == 100 or (status < 200 and self.quiet):
            return
        success = self.method == "INVITE" and 200 <= status < 300
        if self.done:
            if success:
                self.pair.repeat_ack(Side.other(self.side), tx.request.cseq)
            return
        try:
            self._take(tx, response)
        except (BadSdp, NoPorts, ParseError) as error:
            call_id = self.pair.call.call_id
            log.limited(tx.hop.remote[0], 60.0, "answer inside a dialog refused", call_id=call_id, status=status, why=str(error))
            if status < 200:
                return
            self._revert()
            self._over()
            if success:  # the far end has changed its session, this one will not: there is no common one any more (RFC 3261 13.2.2.4)
                self.pair.repeat_ack(Side.other(self.side), tx.request.cseq)
            self._refuse(error)
            if success and self.pair.confirmed:
                ending.hang_up(self.pair, "unusable answer inside the dialog", reason="OK")

    def _take(self, tx: ClientTransaction, response: Response) -> None:
        """Pass the answer back. Raises before anything was sent."""
        pair = self.pair
        out = Side.other(self.side)
        status = response.status
        if 200 <= status < 300 and self.method in TARGET_REFRESH:
            pair.dialog(out).refresh_target(response)
        failure = status >= 300
        body = b""
        if not failure or not is_sdp(response):
            body = pair.call.media.pass_body(response, pair.media_side(out), pair.media_side(self.side), tx.hop.remote)
        fields = relayed(response, self.calls.settings.headers, drop_options=("100rel",) if status < 200 else (), body=bool(body))
        if status >= 200:
            self._over()
            if failure:
                self._revert()
            elif self.lost:
                pair.repeat_ack(out, tx.request.cseq)
                ending.hang_up(pair, "session changed, but its sender is gone", reason="timeout")
                return
            elif self.method == "INVITE":
                Answered(pair, self.side, self.server, tx.request.cseq)
        if status in (401, 407):  # a device's challenge is never passed on (its realm is not the sender's)
            self._answer(403, "Forbidden", [], b"")
        else:
            self._answer(status, response.reason, fields, body)
        if status in (408, 481) and self.method in TARGET_REFRESH and pair.confirmed:  # RFC 3261 12.2.1.2
            ending.hang_up(pair, f"{status} inside the dialog", reason="timeout")

    def failed(self, tx: ClientTransaction | None, kind: str) -> None:
        if self.done:
            return
        self._revert()
        code, reason = (480, "Temporarily Unavailable") if kind == "transport" else (408, "Request Timeout")
        self._over()
        self._answer(code, reason, [], b"")
        if self.method in TARGET_REFRESH and self.pair.confirmed:
            ending.hang_up(self.pair, f"other leg does not answer ({kind})", reason="timeout")

    # -------------------------------------------------------------------------------------------------------- answer
    def _answer(self, status: int, reason: str, fields: Fields, body: bytes) -> None:
        if 100 < status < 300 and self.method in TARGET_REFRESH:
            fields = [*fields, ("Contact", self.pair.dialog(self.side).me.contact(self.server.flow.socket.contact_host))]
        self.calls.reply(self.server, status, reason, fields=fields, body=body)

    def _refuse(self, error: Exception) -> None:
        """A body or answer that can not go on."""
        self._over()
        if isinstance(error, NoPorts):
            log.limited("ports", 60.0, "no media ports left", call_id=self.pair.call.call_id)
            self._answer(503, "Service Unavailable", [], b"")
        elif isinstance(error, BadSdp):
            log.limited(self.server.flow.remote[0], 60.0, "session description refused", call_id=self.pair.call.call_id, why=str(error))
            self._answer(488, "Not Acceptable Here", [], b"")
        else:
            self._answer(502, "Bad Gateway", [], b"")

    def _revert(self) -> None:
        """The offer of the request was refused: the session before it holds again (RFC 3264 8, RFC 3261 14.1)."""
        if is_sdp(self.server.request):
            self.pair.call.media.revert(self.pair.media_side(self.side))

    def _over(self) -> None:
        self.done = True
        self.client = None  # it refers to this relay as long as answers may come
        if self in self.pair.relays:
            self.pair.relays.remove(self)

    def abandon(self) -> None:
        """The pair ends: nobody waits for the far end's answer any more."""
        client = self.client
        self._over()
        self._answer(487 if self.method == "INVITE" else 481, "", [], b"")
        if client is not None and self.method == "INVITE":
            client.cancel()

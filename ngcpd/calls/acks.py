"""The ACK of a 2xx on its way through both legs (call processing 1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ngcpd.calls import ending
from ngcpd.calls.fields import content_fields
from ngcpd.calls.model import Side
from ngcpd.media import BadSdp, NoPorts
from ngcpd.runtime.log import logger
from ngcpd.sip.errors import ParseError
from ngcpd.sip.flow import Flow
from ngcpd.sip.message import Request
from ngcpd.sip.stack import ServerTransaction

if TYPE_CHECKING:
    from ngcpd.calls.pair import Pair

log = logger("calls")


class Answered:
    """An INVITE of `side` that gets a 2xx and then waits for its ACK, which goes on to the other side as that of our INVITE `cseq_out`.

    Make it before the 2xx is sent: sending may already tell that the 2xx can not arrive.
    """

    __slots__ = ("cseq", "cseq_out", "forwarded", "pair", "server", "side")

    def __init__(self, pair: Pair, side: str, server: ServerTransaction, cseq_out: int) -> None:
        self.pair = pair
        self.side = side
        self.server = server
        self.cseq = server.request.cseq
        self.cseq_out = cseq_out
        self.forwarded = False
        pair.acks[(side, self.cseq)] = self
        server.on_cancel = None
        server.on_end = self._server_ended

    def acknowledged(self, request: Request, flow: Flow) -> None:
        """The ACK has come: no more 2xx; the other leg gets its own ACK, with the body (late offer)."""
        pair = self.pair
        self.let_go()
        pair.dialog(self.side).heard(flow)
        if not self.forwarded:
            self._forward(request, flow)
        if pair.over and not pair.acks:
            ending.settle(pair)

    def _forward(self, request: Request, flow: Flow) -> None:
        pair = self.pair
        call = pair.call
        out = Side.other(self.side)
        self.forwarded = True
        try:
            body = call.media.pass_body(request, pair.media_side(self.side), pair.media_side(out), flow.remote)
        except (BadSdp, NoPorts, ParseError) as error:
            log.limited(call.call_id, 60.0, "answer in ACK refused", call_id=call.call_id, why=str(error))
            pair.send_ack(out, self.cseq_out, [], b"")
            ending.hang_up(pair, "unusable session description in ACK")
            return
        pair.send_ack(out, self.cseq_out, content_fields(request) if body else [], body)

    def acknowledge(self) -> None:
        """The call ends: the other leg gets its ACK now, whether or not one comes from here."""
        if not self.forwarded:
            self.forwarded = True
            self.pair.send_ack(Side.other(self.side), self.cseq_out, [], b"")

    def let_go(self) -> None:
        """No longer wait, no longer repeat the 2xx."""
        self.pair.acks.pop((self.side, self.cseq), None)
        self.server.on_end = None
        self.server.acked()

    def _server_ended(self, reason: str) -> None:
        """No ACK came in 64*T1, or the 2xx can not arrive: the call ends (RFC 3261 13.3.1.4, 14.2)."""
        pair = self.pair
        pair.acks.pop((self.side, self.cseq), None)
        self.acknowledge()
        if not pair.over:
            ending.hang_up(pair, f"answer not acknowledged ({reason})", reason="timeout")
        elif not pair.acks:
            ending.settle(pair)

"""How a call ends: BYE from either side, from the platform, in an early dialog (RFC 3261 15, call processing 4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ngcpd.calls.dialog import Silent, with_hops
from ngcpd.calls.fields import Fields, relayed
from ngcpd.calls.model import Side
from ngcpd.runtime.log import logger
from ngcpd.sip.endpoint import Hop
from ngcpd.sip.message import Response
from ngcpd.sip.stack import ClientTransaction, ClientUser, ServerTransaction

if TYPE_CHECKING:
    from ngcpd.calls.engine import Calls
    from ngcpd.calls.pair import Pair

log = logger("calls")


def hang_up(pair: Pair, why: str, *, reason: str = "OK", at_once: bool = False) -> None:
    """End an established call from here: BYE to both sides, accounting (`reason` is the BYE row's `sip_reason`), media. `at_once`: do not
    even wait for an ACK, the platform stops."""
    if pair.over:
        return
    call = pair.call
    log.info("call ended by the platform", call_id=call.call_id, why=why)
    call.ctx.note("end", why)
    _end(pair, reason, at_once)
    for side in (Side.A, Side.B):
        _send_bye(pair, side, [("Reason", f'SIP;cause=200;text="{why}"')], b"", Silent())
    _settle_if_quiet(pair)


def _end(pair: Pair, reason: str, at_once: bool = False) -> None:
    """Everything but the BYEs. A party whose 2xx was not acknowledged yet gets its ACK first (RFC 3261 13.2.2.4); one that did not
    acknowledge ours goes on getting it, even if it has ended the call itself: its BYE may have been for the early dialog, and without the
    2xx its INVITE would never be answered."""
    pair.over = True
    for relay in list(pair.relays):
        relay.abandon()
    for answered in list(pair.acks.values()):
        answered.acknowledge()
        if at_once:
            answered.let_go()
    pair.call.ended(reason)


def settle(pair: Pair) -> None:
    """The pair is over and no ACK is outstanding any more: send what was held back, let the identifiers go."""
    held, pair.held_bye = pair.held_bye, None
    if held is not None:
        held()
    pair.call.calls.retire(pair)


def _settle_if_quiet(pair: Pair) -> None:
    if not pair.acks:
        settle(pair)


def _send_bye(pair: Pair, side: str, fields: Fields, body: bytes, user: ClientUser) -> None:
    """A BYE to one side. Towards a caller that has not acknowledged our answer yet it waits for the ACK (RFC 3261 15)."""
    dialog = pair.dialog(side)
    calls = pair.call.calls
    call_id = pair.call.call_id

    def go(hops: list[Hop]) -> None:
        calls.stack.send(dialog.request("BYE", hops[0], fields, body), hops, user)

    def failed(why: str) -> None:
        log.debug("BYE could not be sent", call_id=call_id, side=side, why=why)
        if isinstance(user, ByeRelay):
            user.done()

    if side == Side.A and (side, pair.call.request.cseq) in pair.acks:
        pair.held_bye = lambda: with_hops(dialog, go, failed)
        if isinstance(user, ByeRelay):
            user.done()
    else:
        with_hops(dialog, go, failed)


class ByeRelay:
    """A BYE goes to the other leg and its answer comes back; a dead leg gives a local 200 (call processing 4.1): at once when it can not
    be reached, else after `patience` seconds, while the sender still waits."""

    __slots__ = ("_timer", "calls", "server")

    def __init__(self, calls: Calls, server: ServerTransaction) -> None:
        self.calls = calls
        self.server = server
        self._timer = calls.stack.wheel.after(calls.settings.fr_timer, self.done)

    def done(self) -> None:
        """Answer the sender, whatever the other leg said or did not say: its call is over."""
        self._timer.cancel()
        if not self.server.final:
            self.calls.reply(self.server, 200, "OK")

    def response(self, tx: ClientTransaction, response: Response) -> None:
        if response.status >= 200:
            self.done()

    def failed(self, tx: ClientTransaction, kind: str) -> None:
        self.done()


def bye(pair: Pair, side: str, server: ServerTransaction) -> None:
    """A BYE from `side`. Crossing BYEs are each answered 200."""
    calls = pair.call.calls
    request = server.request
    if pair.over:
        calls.reply(server, 200, "OK")
        if side == Side.A:
            pair.held_bye = None
        _settle_if_quiet(pair)
        return
    if not pair.confirmed:
        _early_bye(pair, side, server)
        return
    log.debug("call ended", call_id=pair.call.call_id, by=side)
    pair.call.ctx.note("end", f"BYE of {side}")
    _end(pair, "OK")
    _send_bye(pair, Side.other(side), relayed(request, calls.settings.headers), request.body, ByeRelay(calls, server))
    _settle_if_quiet(pair)


def _early_bye(pair: Pair, side: str, server: ServerTransaction) -> None:
    """BYE before the answer: the caller may end one early dialog so (RFC 3261 15.1.1); a callee may not."""
    call = pair.call
    if side != Side.A:
        call.calls.reply(server, 481)
        return
    call.calls.reply(server, 200, "OK")
    for branch in call.branches:
        if branch.side == pair.branch_side:
            branch.end_dialog(pair)
    if not any(b.open and not b.cancelled for b in call.branches):
        call.reject(487, "Request Terminated")

"""A bridged pair of dialogs: one with the caller (side "a"), one with a callee (side "b")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ngcpd.calls.dialog import Dialog, with_hops
from ngcpd.calls.reliable import ReliableProvisionals
from ngcpd.runtime.log import logger
from ngcpd.sip.endpoint import Hop
from ngcpd.sip.stack import ServerTransaction

if TYPE_CHECKING:
    from ngcpd.calls.call import Call
    from ngcpd.calls.indialog import Relay

log = logger("calls")


class Pair:
    """`confirmed` once the 2xx went to the caller, `over` once a BYE was seen or sent. `branch_side` names the branch in the media session.

    `acks` maps (side, CSeq number on that side) of an answered INVITE to the `Answered` that waits for its ACK."""

    __slots__ = ("a", "acks", "b", "branch_side", "call", "confirmed", "first_cseq_b", "over", "relays", "reliable", "sent_acks")

    def __init__(self, call: Call, branch_side: str, a: Dialog, b: Dialog) -> None:
        self.call = call
        self.branch_side = branch_side
        self.a = a
        self.b = b
        self.confirmed = False
        self.over = False
        self.reliable = ReliableProvisionals(self)
        self.relays: list[Relay] = []
        self.first_cseq_b = b.local_seq
        self.acks: dict[tuple[str, int], Answered] = {}
        self.sent_acks: dict[tuple[str, int], tuple[bytes, list[Hop]]] = {}

    def dialog(self, side: str) -> Dialog:
        return self.a if side == "a" else self.b

    def media_side(self, side: str) -> str:
        """Name of a side in the media session."""
        return "a" if side == "a" else self.branch_side

    # ----------------------------------------------------------------------------------------------------------- ACK
    def send_ack(self, side: str, cseq: int, fields: list[tuple[str, str]], body: bytes) -> None:
        """ACK the 2xx that `side` gave to our INVITE number `cseq`; kept to be repeated with a repeated 2xx."""
        dialog = self.dialog(side)

        def go(hops: list[Hop]) -> None:
            data = self.call.calls.stack.send_ack(dialog.request("ACK", hops[0], fields, body, cseq=cseq), hops)
            self.sent_acks[(side, cseq)] = (data, hops)
            while len(self.sent_acks) > 4:
                del self.sent_acks[next(iter(self.sent_acks))]

        with_hops(dialog, go, lambda why: log.warning("ACK could not be sent", call_id=self.call.call_id, why=why))

    def repeat_ack(self, cseq: int, side: str = "b") -> None:
        """The 2xx came again: its ACK was lost, or has not been sent yet because the other end's is still to come."""
        kept = self.sent_acks.get((side, cseq))
        if kept is not None:
            self.call.calls.stack.repeat(*kept)

    def flush_acks(self) -> None:
        """Before ending: acknowledge what was answered and not acknowledged yet, stop repeating the answer."""
        waiting, self.acks = self.acks, {}
        for answered in waiting.values():
            answered.server.acked()
            self.send_ack(answered.side_out, answered.cseq_out, [], b"")

    def end_early(self) -> None:
        """The branch failed before the answer: forget its dialogs."""
        self.over = True
        self.reliable.stop()
        for relay in list(self.relays):
            relay.abandon()
        self.call.calls.unregister(self)


class Answered:
    """An INVITE that was answered 2xx on one side and waits there for the ACK, which then goes on to the other side."""

    __slots__ = ("cseq_out", "server", "side_out")

    def __init__(self, server: ServerTransaction, side_out: str, cseq_out: int) -> None:
        self.server = server
        self.side_out = side_out
        self.cseq_out = cseq_out

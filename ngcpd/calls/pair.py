"""A bridged pair of dialogs: one with the caller (side "a"), one with a callee (side "b")."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ngcpd.calls.dialog import Dialog, with_hops
from ngcpd.runtime.log import logger
from ngcpd.sip.endpoint import Hop
from ngcpd.sip.message import Response

if TYPE_CHECKING:
    from ngcpd.calls.acks import Answered
    from ngcpd.calls.call import Call
    from ngcpd.calls.indialog import Relay
    from ngcpd.calls.reliable import ReliableProvisionals

log = logger("calls")
KEPT_ACKS = 4


class Pair:
    """`confirmed` once the 2xx went to the caller, `over` once it was ended. `branch_side` names the branch in the media session.

    `acks`: INVITEs answered 2xx that wait for their ACK, by (side that sent it, its CSeq number). `early_answer`: the last provisional
    response with a session description. `held_bye` sends the BYE that has to wait for an ACK of the same party.
    """

    __slots__ = (
        "a",
        "acks",
        "b",
        "branch_side",
        "call",
        "confirmed",
        "early_answer",
        "first_cseq_b",
        "held_bye",
        "over",
        "relays",
        "reliable",
        "sent_acks",
    )

    def __init__(self, call: Call, branch_side: str, a: Dialog, b: Dialog) -> None:
        self.call = call
        self.branch_side = branch_side
        self.a = a
        self.b = b
        self.confirmed = False
        self.over = False
        self.reliable: ReliableProvisionals | None = None
        self.relays: list[Relay] = []
        self.first_cseq_b = b.local_seq
        self.acks: dict[tuple[str, int], Answered] = {}
        self.sent_acks: dict[tuple[str, int], tuple[bytes, list[Hop]]] = {}
        self.early_answer: Response | None = None
        self.held_bye: Callable[[], None] | None = None

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
            while len(self.sent_acks) > KEPT_ACKS:
                del self.sent_acks[next(iter(self.sent_acks))]

        with_hops(dialog, go, lambda why: log.warning("ACK could not be sent", call_id=self.call.call_id, why=why))

    def repeat_ack(self, side: str, cseq: int) -> None:
        """The 2xx came again: its ACK was lost, or has not been sent yet because the other end's is still to come. A 2xx that nobody
        waited for is acknowledged here for the first time."""
        kept = self.sent_acks.get((side, cseq))
        if kept is not None:
            self.call.calls.stack.repeat(*kept)
        elif not any(a.side != side and a.cseq_out == cseq for a in self.acks.values()):
            self.send_ack(side, cseq, [], b"")

    def end_early(self) -> None:
        """The branch failed before the answer: forget its dialogs."""
        self.over = True
        if self.reliable is not None:
            self.reliable.stop()
        for relay in list(self.relays):
            relay.abandon()
        self.call.calls.unregister(self)

"""Reliable provisional responses between the legs (RFC 3262).

A callee's reliable 1xx goes to the caller with a sequence number of our own and is repeated until the caller's PRACK comes, which is
relayed with the callee's numbers. Used only when the caller asked for 100rel; only then 100rel is offered to the callee.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ngcpd.sip.message import Response
from ngcpd.sip.wheel import WheelTimer

if TYPE_CHECKING:
    from ngcpd.calls.call import Call

MAX_FIRST = 2**30
MAX_UNACKNOWLEDGED = 16


class _Sent:
    """One response that waits for its PRACK. `theirs`: the callee's number; `left`: seconds until 64*T1 are over."""

    __slots__ = ("interval", "left", "response", "theirs", "timer")

    def __init__(self, theirs: int, response: Response, interval: float, left: float) -> None:
        self.theirs = theirs
        self.response = response
        self.interval = interval
        self.left = left
        self.timer: WheelTimer | None = None


class ReliableProvisionals:
    """The reliable responses of one early dialog: its own RSeq space towards the caller."""

    __slots__ = ("_call", "_last", "_next", "_unacknowledged")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._next = 1 + call.calls.rng.below(MAX_FIRST)
        self._last = 0
        self._unacknowledged: dict[int, _Sent] = {}

    def takes(self, theirs: int) -> bool:
        """Is this the callee's next number? Others are retransmissions or came out of order and are dropped (RFC 3262 4)."""
        if self._last and theirs != self._last + 1:
            return False
        if len(self._unacknowledged) >= MAX_UNACKNOWLEDGED:
            return False
        self._last = theirs
        return True

    def number(self) -> int:
        """Our next RSeq."""
        ours, self._next = self._next, self._next + 1
        return ours

    def sent(self, ours: int, theirs: int, response: Response) -> None:
        """`response` went out with number `ours`: repeat it until its PRACK."""
        settings = self._call.calls.settings
        sent = self._unacknowledged[ours] = _Sent(theirs, response, settings.t1, settings.timeout)
        self._wait(ours, sent)

    def _wait(self, ours: int, sent: _Sent) -> None:
        sent.interval = min(sent.interval, sent.left)
        sent.timer = self._call.calls.stack.wheel.after(sent.interval, self._repeat, ours, sent)

    def _repeat(self, ours: int, sent: _Sent) -> None:
        sent.timer = None
        sent.left -= sent.interval
        if sent.left <= 0:
            self._call.reject_all(504, "Server Time-out", "provisional answer never acknowledged")
            return
        self._call.tx.respond(sent.response)
        sent.interval *= 2
        self._wait(ours, sent)

    def pracked(self, ours: int) -> int | None:
        """A PRACK names our number: stop repeating it. The callee's number; None when nothing with ours waits for a PRACK."""
        sent = self._unacknowledged.pop(ours, None)
        if sent is None:
            return None
        if sent.timer is not None:
            sent.timer.cancel()
        return sent.theirs

    def stop(self) -> None:
        """The final answer went out: nothing is repeated any more, a PRACK on its way is still taken."""
        for sent in self._unacknowledged.values():
            if sent.timer is not None:
                sent.timer.cancel()
                sent.timer = None

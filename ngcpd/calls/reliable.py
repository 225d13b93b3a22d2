"""Reliable provisional responses between the legs (RFC 3262).

A callee's reliable 1xx goes to the caller with a sequence number of our own and is repeated until the caller's PRACK comes, which is
relayed with the callee's numbers. Used only when the caller asked for 100rel; then 100rel is offered to the callee too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ngcpd.sip.message import Response

if TYPE_CHECKING:
    from ngcpd.calls.pair import Pair

MAX_RSEQ = 2**31 - 1


class ReliableProvisionals:
    """The reliable responses of one early dialog pair."""

    __slots__ = ("interval", "last_theirs", "next_rseq", "ours", "pair", "timer", "waited", "waiting")

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.next_rseq = 1 + pair.call.calls.rng.below(1000)
        self.last_theirs = 0
        self.ours: dict[int, int] = {}
        self.waiting: tuple[int, Response] | None = None
        self.timer: Any = None
        self.interval = 0.0
        self.waited = 0.0

    def repeated(self, rseq: int) -> bool:
        """True when the callee sent this number before (a retransmission, not to be relayed again)."""
        if self.last_theirs and rseq <= self.last_theirs:
            return True
        self.last_theirs = rseq
        return False

    def number(self, theirs: int) -> int:
        """Our RSeq for the caller, standing for the callee's `theirs`."""
        ours = self.next_rseq
        self.next_rseq += 1
        self.ours[ours] = theirs
        if len(self.ours) > 64:
            del self.ours[min(self.ours)]
        return ours

    def sent(self, ours: int, response: Response) -> None:
        """`response` went out: repeat it until its PRACK."""
        calls = self.pair.call.calls
        self.stop()
        self.waiting = (ours, response)
        self.interval = calls.settings.t1
        self.waited = 0.0
        self.timer = calls.stack.wheel.after(self.interval, self._repeat)

    def _repeat(self) -> None:
        call = self.pair.call
        if self.waiting is None or call.final or self.pair.over:
            self.stop()
            return
        self.waited += self.interval
        if self.waited >= 64 * call.calls.settings.t1:
            self.stop()
            call.reject_all(504, "Server Time-out", "provisional answer never acknowledged")
            return
        call.tx.respond(self.waiting[1])
        self.interval *= 2
        self.timer = call.calls.stack.wheel.after(self.interval, self._repeat)

    def pracked(self, ours: int) -> int | None:
        """A PRACK names our number: stop repeating it. Returns the callee's number, None when we never sent it."""
        if self.waiting is not None and self.waiting[0] == ours:
            self.stop()
        return self.ours.get(ours)

    def stop(self) -> None:
        self.waiting = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

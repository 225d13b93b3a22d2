"""Accounting rows of calls on their way to the journal (call processing 4.5)."""

from __future__ import annotations

from collections import deque

from ngcpd.routing.model import CallContext
from ngcpd.runtime.log import logger
from ngcpd.sip.wheel import Wheel, WheelTimer
from ngcpd.store.acc import AccEvent, Accounting
from ngcpd.store.journal import JournalFull

log = logger("calls")
RETRY = 1.0
MAX_WAITING = 50_000


class Records:
    """Writes accounting events. One that the journal refuses although it can not be refused to the parties any more (the call has ended, or
    has failed anyway) is kept in memory and tried again every second; `waiting` is their number."""

    def __init__(self, accounting: Accounting, wheel: Wheel) -> None:
        self._accounting = accounting
        self._wheel = wheel
        self._waiting: deque[AccEvent] = deque()
        self._timer: WheelTimer | None = None
        accounting.before_beat = self.flush

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def write(self, event: AccEvent) -> bool:
        """Put one event on disk now. False: it is not there."""
        try:
            self._accounting.write(event)
        except (OSError, JournalFull) as error:
            log.limited("journal", 10.0, "accounting event could not be journalled", call_id=event.callid, why=str(error))
            return False
        return True

    def keep(self, event: AccEvent) -> None:
        """Put one event on disk, later when it is not possible now. Events keep their order."""
        if self.flush() and self.write(event):
            return
        if len(self._waiting) >= MAX_WAITING:
            lost = self._waiting.popleft()
            log.error("accounting event lost: too many wait for the journal", call_id=lost.callid, method=lost.method, code=lost.sip_code)
        self._waiting.append(event)
        if self._timer is None:
            self._timer = self._wheel.after(RETRY, self.flush)

    def flush(self) -> bool:
        """Try to write what waits; True: nothing waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self.write(self._waiting[0]):
            self._waiting.popleft()
        if self._waiting:
            self._timer = self._wheel.after(RETRY, self.flush)
        return not self._waiting


def event(ctx: CallContext, method: str, code: int, reason: str, time: float, call_id: str, from_tag: str, to_tag: str) -> AccEvent:
    """The row for a final answer (`INVITE`) or the end (`BYE`) of a call at `time` (seconds since the epoch)."""
    src_leg, dst_leg = ctx.leg_texts()
    return AccEvent(method, call_id, round(time, 3), str(code), reason[:128], from_tag, to_tag, src_leg, dst_leg, *ctx.acc_fields())

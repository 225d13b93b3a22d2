"""The timer wheel: every timer of the SIP side on one clock timer.

Grain 50 ms, 1024 slots (one turn = 51.2 s; later timers go round). A timer never fires early, at most one grain late plus what the reactor
is late. Setting and cancelling touch one list and one object; while nothing is pending the clock has no timer at all, and it is armed for
the next slot in use, so that a quiet stack does not wake the process twenty times a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Timer

GRAIN = 0.05
SLOTS = 1024
_MASK = SLOTS - 1
_SLACK = 1e-4  # in grains: forgives the rounding of floats, 5 microseconds

log = logger("sip")


class WheelTimer:
    """One pending call of `Wheel.after`."""

    __slots__ = ("_args", "_fn", "_wheel", "due")

    def __init__(self, wheel: Wheel, due: int, fn: Callable[..., object], args: tuple[object, ...]) -> None:
        self.due = due
        self._wheel = wheel
        self._fn: Callable[..., object] | None = fn
        self._args = args

    def cancel(self) -> None:
        """Forget the call. Harmless when it already ran or was cancelled."""
        if self._fn is not None:
            self._fn = None
            self._args = ()  # a cancelled timer stays in its slot until that comes up; it must not keep a transaction alive
            self._wheel.pending -= 1

    def active(self) -> bool:
        return self._fn is not None


class Wheel:
    """`after(seconds, fn, *args)` is the one timer service of the SIP side.

    `pending` is the number of timers to come, `errors` the number of calls that raised (logged, never passed on: one bad callback must not
    stop the others).
    """

    __slots__ = ("_armed", "_clock", "_current", "_entries", "_running", "_slots", "_start", "_tick", "_timer", "errors", "pending")

    def __init__(self, clock: Clock) -> None:
        self.pending = 0
        self.errors = 0
        self._clock = clock
        self._start = clock.monotonic()
        self._tick = 0  # the last grain that was worked off
        self._slots: list[list[WheelTimer]] = [[] for _ in range(SLOTS)]
        self._current: list[WheelTimer] = []  # the slot that is being worked off
        self._entries = 0  # timers in the slots, cancelled ones too
        self._timer: Timer | None = None
        self._armed = 0  # the grain the clock timer is set for
        self._running = False

    def after(self, seconds: float, fn: Callable[..., object], *args: object) -> WheelTimer:
        """Run `fn(*args)` once after at least `seconds`."""
        now = (self._clock.monotonic() - self._start) / GRAIN
        if not self._entries and not self._running:
            self._tick = max(self._tick, int(now + _SLACK))
        due = max(math.ceil(now + seconds / GRAIN - _SLACK), self._tick + 1)
        timer = WheelTimer(self, due, fn, args)
        self._slots[due & _MASK].append(timer)
        self.pending += 1
        self._entries += 1
        if not self._running and (self._timer is None or due < self._armed):
            self._arm(due)
        return timer

    def close(self) -> None:
        """Drop everything that is pending."""
        for timer in self._current:
            timer.cancel()
        for slot in self._slots:
            for timer in slot:
                timer.cancel()
            slot.clear()
        self._entries = 0
        self._disarm()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, tick: int) -> None:
        self._disarm()
        self._armed = tick
        delay = self._start + tick * GRAIN - self._clock.monotonic()
        self._timer = self._clock.call_later(max(0.0, delay), self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._running = True
        try:
            now = int((self._clock.monotonic() - self._start) / GRAIN + _SLACK)
            if now - self._tick > SLOTS:  # the process stood still for a whole turn: each slot once is enough
                self._tick = now - SLOTS
            while self._tick < now:
                self._tick += 1
                if self._slots[self._tick & _MASK]:
                    self._run(self._tick & _MASK, now)
        finally:
            self._running = False
            self._arm_next()

    def _run(self, index: int, now: int) -> None:
        slot = self._current = self._slots[index]
        self._slots[index] = []
        self._entries -= len(slot)
        for timer in slot:
            fn = timer._fn
            if fn is None:
                continue
            if timer.due > now:  # more than one turn ahead
                self._slots[index].append(timer)
                self._entries += 1
                continue
            args = timer._args
            timer._fn = None
            timer._args = ()
            self.pending -= 1
            try:
                fn(*args)
            except Exception as error:  # noqa: BLE001 - the boundary of all timers: logged, the other timers go on
                self.errors += 1
                log.limited(type(error).__name__, 60, "a timer raised", error=repr(error), call=getattr(fn, "__qualname__", "?"))
        self._current = []

    def _arm_next(self) -> None:
        if not self._entries:
            return
        for ahead in range(1, SLOTS + 1):
            tick = self._tick + ahead
            if self._slots[tick & _MASK]:
                self._arm(tick)
                return

"""How CPython runs the daemon: garbage collector and threads.

Signalling leaves no cycles behind (calls, transactions and registrations let go of each other at their end), so nearly everything dies by its
reference count. What lives is much and lives half a minute: the transactions of 32 s. A collector that looks at all of it again and again costs
a fifth of the signalling and holds it up for a tenth of a second and more, several times a minute under load. So the oldest generations are
collected only when no call is there, or once an hour; the youngest one as usual, it costs milliseconds.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Timer

log = logger("app")
YOUNG = 20_000
"""Objects more than at the last time that make the collector look at the youngest ones."""
NEVER = 1 << 30
LOOK = 60.0
WHEN_IDLE, IN_ANY_CASE = 600.0, 3600.0
"""Seconds between two full collections, with and without a pause in the calls."""
SWITCH = 0.001
"""Seconds after which a thread that waits for the interpreter gets it. The signalling gives it up in each system call; with CPython's own 5 ms
it would wait that long for the writers of the database each time."""


class Collector:
    """Collects when it disturbs least. `busy()` tells the number of calls."""

    def __init__(self, clock: Clock, busy: Callable[[], int]) -> None:
        self._clock = clock
        self._busy = busy
        self._last = 0.0
        self._timer: Timer | None = None

    def start(self) -> None:
        """Everything there is now counts as permanent."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG, NEVER, NEVER)
        sys.setswitchinterval(SWITCH)
        self._last = self._clock.monotonic()
        self._timer = self._clock.call_later(LOOK, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._clock.call_later(LOOK, self._look)
        age = self._clock.monotonic() - self._last
        if age < (IN_ANY_CASE if self._busy() else WHEN_IDLE):
            return
        begun = self._clock.monotonic()
        found = gc.collect()
        self._last = self._clock.monotonic()
        log.debug("garbage collected", objects=found, seconds=round(self._last - begun, 3))

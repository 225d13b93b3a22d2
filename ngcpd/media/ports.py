"""The port pairs of one address: even port RTP, next odd port RTCP, used in turn (first in, first out) with a rest after each use.

Pairs whose sockets were kept open are used again when `keep` of them have rested, the one that is idle for longest first: so a pair comes back
only after `keep` others, and nothing has to be bound for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class PortPool:
    """Numbers only; binding is the caller's. Times are monotonic seconds.

    A pair is free, open (free, its sockets kept), out (taken), resting (`give` less than `quarantine` seconds ago) or away (`busy`: another
    program holds it; tried again after `retry` seconds).
    """

    retry = 10.0

    def __init__(self, first: int, last: int, quarantine: float, keep: int = 0) -> None:
        start = first + (first & 1)
        self._free: deque[int] = deque(range(start, last, 2))
        self._open: deque[int] = deque()
        self._resting: deque[tuple[float, int]] = deque()
        self._kept: set[int] = set()  # of the resting ones
        self._away: deque[tuple[float, int]] = deque()
        self.quarantine = quarantine
        self.keep = keep
        self.total = len(self._free)

    def reserve(self, ports: Iterable[int]) -> None:
        """Take these out of the free ones."""
        gone = set(ports)
        self._free = deque(p for p in self._free if p not in gone)

    def take(self, now: float) -> int | None:
        """The port that was free for longest, None when there is none now."""
        self._settle(now)
        if self._open and (len(self._open) > self.keep or not self._free):
            return self._open.popleft()
        return self._free.popleft() if self._free else None

    def put_back(self, port: int) -> None:
        """Not used after all."""
        self._free.appendleft(port)

    def give(self, port: int, now: float, kept: bool = False) -> None:
        """Back after use. `kept`: its sockets are still open."""
        self._resting.append((now + self.quarantine, port))
        if kept:
            self._kept.add(port)

    def busy(self, port: int, now: float) -> None:
        self._away.append((now + self.retry, port))

    def _settle(self, now: float) -> None:
        for queue in (self._resting, self._away):
            while queue and queue[0][0] <= now:
                port = queue.popleft()[1]
                if port in self._kept:
                    self._kept.discard(port)
                    self._open.append(port)
                else:
                    self._free.append(port)

    def next_change(self) -> float | None:
        """When the next resting or away pair becomes free again."""
        moments = [queue[0][0] for queue in (self._resting, self._away) if queue]
        return min(moments) if moments else None

    @property
    def taken(self) -> int:
        """Pairs that other programs held when last tried."""
        return len(self._away)

    @property
    def free(self) -> int:
        return len(self._free) + len(self._open)

    @property
    def resting(self) -> int:
        return len(self._resting)

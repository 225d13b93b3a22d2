"""The port pairs of one address: even port RTP, next odd port RTCP, used in turn (first in, first out) with a rest after each use."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class PortPool:
    """Numbers only; binding is the caller's. Times are monotonic seconds.

    A pair is free, out (taken), resting (`give` less than `quarantine` seconds ago) or away (`busy`: another program holds it; tried
    again after `retry` seconds).
    """

    retry = 10.0

    def __init__(self, first: int, last: int, quarantine: float) -> None:
        start = first + (first & 1)
        self._free: deque[int] = deque(range(start, last, 2))
        self._resting: deque[tuple[float, int]] = deque()
        self._away: deque[tuple[float, int]] = deque()
        self.quarantine = quarantine
        self.total = len(self._free)

    def reserve(self, ports: Iterable[int]) -> None:
        """Take these out of the free ones."""
        gone = set(ports)
        self._free = deque(p for p in self._free if p not in gone)

    def take(self, now: float) -> int | None:
        """The port that was free for longest, None when there is none now."""
        self._settle(now)
        return self._free.popleft() if self._free else None

    def put_back(self, port: int) -> None:
        """Not used after all."""
        self._free.appendleft(port)

    def give(self, port: int, now: float) -> None:
        self._resting.append((now + self.quarantine, port))

    def busy(self, port: int, now: float) -> None:
        self._away.append((now + self.retry, port))

    def _settle(self, now: float) -> None:
        for queue in (self._resting, self._away):
            while queue and queue[0][0] <= now:
                self._free.append(queue.popleft()[1])

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
        return len(self._free)

    @property
    def resting(self) -> int:
        return len(self._resting)

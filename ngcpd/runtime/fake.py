"""Time, randomness, threads and disk for tests and simulation: deterministic, without the operating system."""

from __future__ import annotations

import errno
import heapq
import random
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred

T = TypeVar("T")
P = ParamSpec("P")


class SimTimer:
    __slots__ = ("args", "done", "fn", "seq", "when")

    def __init__(self, when: float, seq: int, fn: Callable[..., object], args: tuple[object, ...]) -> None:
        self.when = when
        self.seq = seq
        self.fn = fn
        self.args = args
        self.done = False

    def cancel(self) -> None:
        self.done = True

    def active(self) -> bool:
        return not self.done

    def __lt__(self, other: SimTimer) -> bool:
        return (self.when, self.seq) < (other.when, other.seq)


class SimClock:
    """A clock that moves only by `advance`. Timers due at the same moment run in the order they were set."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self.epoch = start
        self.now = 0.0
        self._seq = 0
        self._heap: list[SimTimer] = []

    def time(self) -> float:
        return self.epoch + self.now

    def monotonic(self) -> float:
        return self.now

    def call_later(self, delay: float, fn: Callable[..., object], *args: object) -> SimTimer:
        self._seq += 1
        timer = SimTimer(self.now + max(0.0, delay), self._seq, fn, args)
        heapq.heappush(self._heap, timer)
        return timer

    def pending(self) -> int:
        """Timers still to come (a leak check at the end of a test)."""
        return sum(1 for t in self._heap if not t.done)

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`, running what falls due on the way at its own moment."""
        end = self.now + seconds
        while self._heap and self._heap[0].when <= end:
            timer = heapq.heappop(self._heap)
            if timer.done:
                continue
            timer.done = True
            self.now = max(self.now, timer.when)
            timer.fn(*timer.args)
        self.now = end


class SeededRng:
    """Reproducible randomness."""

    def __init__(self, seed: int = 1) -> None:
        self._r = random.Random(seed)

    def token(self, nbytes: int = 8) -> str:
        return self.bytes(nbytes).hex()

    def bytes(self, nbytes: int) -> bytes:
        return self._r.randbytes(nbytes)

    def uuid(self) -> str:
        h = self.token(16)
        return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{'89ab'[int(h[16], 16) & 3]}{h[17:20]}-{h[20:]}"

    def below(self, n: int) -> int:
        return self._r.randrange(n)

    def random(self) -> float:
        return self._r.random()


class InlineExecutor:
    """Runs at once on the calling thread."""

    def run(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return maybeDeferred(fn, *args, **kwargs)


class MemoryAppendFile:
    def __init__(self, files: dict[str, bytearray], path: str) -> None:
        self._files = files
        self._path = path

    def write(self, data: bytes) -> None:
        self._files[self._path] += data

    def sync(self) -> None:
        return

    def size(self) -> int:
        return len(self._files[self._path])

    def close(self) -> None:
        return


class MemoryDisk:
    """A Disk in a dict of path -> content."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}

    def _get(self, path: str) -> bytearray:
        try:
            return self.files[path]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "no such file", path) from None

    def append(self, path: str, mode: int = 0o600) -> MemoryAppendFile:
        self.files.setdefault(path, bytearray())
        return MemoryAppendFile(self.files, path)

    def read(self, path: str) -> bytes:
        return bytes(self._get(path))

    def replace(self, path: str, data: bytes, mode: int = 0o600) -> None:
        self.files[path] = bytearray(data)

    def truncate(self, path: str, size: int) -> None:
        del self._get(path)[size:]

    def remove(self, path: str) -> None:
        self._get(path)
        del self.files[path]

    def list(self, directory: str) -> list[str]:
        prefix = directory.rstrip("/") + "/"
        return sorted(p[len(prefix) :] for p in self.files if p.startswith(prefix) and "/" not in p[len(prefix) :])

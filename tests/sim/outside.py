"""The outside of a simulated daemon, with the faults that a schedule asks for: threads that lag, a database and a key-value store that go
away, a full disk, and a process that dies."""

from __future__ import annotations

import errno
import heapq
import random
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ngcpd.runtime.fake import MemoryDisk, SeededRng, SimClock, SimTimer
from ngcpd.runtime.ports import Address, Stream, StreamHandler
from ngcpd.runtime.simnet import SimNet, SimUdp
from ngcpd.runtime.simstream import SimListener
from ngcpd.store.errors import StoreUnavailable
from ngcpd.store.kv_memory import MemoryKeyValue


class FastClock(SimClock):
    """A SimClock whose heap is compared without calls back into Python."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        super().__init__(start)
        self._queue: list[tuple[float, int, SimTimer]] = []

    def call_later(self, delay: float, fn: Callable[..., object], *args: object) -> SimTimer:
        self._seq = seq = self._seq + 1
        when = self.now + (delay if delay > 0 else 0.0)
        timer = SimTimer(when, seq, fn, args)
        heapq.heappush(self._queue, (when, seq, timer))
        return timer

    def pending(self) -> int:
        return sum(1 for _, _, t in self._queue if not t.done)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        queue = self._queue
        pop = heapq.heappop
        while queue and queue[0][0] <= end:
            when, _, timer = pop(queue)
            if not timer.done:
                timer.done = True
                self.now = when
                timer.fn(*timer.args)
        self.now = end


class LifeClock:
    """The clock as one process sees it: when the process is dead none of its timers runs any more."""

    def __init__(self, base: SimClock) -> None:
        self.base = base
        self.alive = True
        self._timers: list[SimTimer] = []
        self._most = 4096

    def time(self) -> float:
        return self.base.epoch + self.base.now

    def monotonic(self) -> float:
        return self.base.now

    def call_later(self, delay: float, fn: Callable[..., object], *args: object) -> SimTimer:
        if not self.alive:  # a dead process sets nothing
            timer = SimTimer(0.0, 0, fn, args)
            timer.done = True
            return timer
        timer = self.base.call_later(delay, fn, *args)
        self._timers.append(timer)
        if len(self._timers) > self._most:
            self._timers = self.pending()
            self._most = 4096 + 2 * len(self._timers)
        return timer

    def pending(self) -> list[SimTimer]:
        return [t for t in self._timers if not t.done]

    def die(self) -> None:
        self.alive = False
        for timer in self._timers:
            timer.done = True


class LifeNet:
    """The network as one process sees it. Port numbers of connections come from the world; nothing reaches a dead process."""

    def __init__(self, net: SimNet, clock: LifeClock) -> None:
        self.net = net
        self.clock = clock

    def udp(self, address: Address, receive: Callable[[bytes, Address], None]) -> SimUdp:
        return self.net.udp(address, receive)

    def listen(self, address: Address, accept: Callable[[], StreamHandler], tls: Any = None) -> SimListener:
        return self.net.listen(address, accept, tls)

    def connect(self, address: Address, handler: StreamHandler, tls: Any = None, timeout: float = 10.0, bind: str | None = None) -> None:
        self.net.connect(address, Guard(self.clock, handler), tls, timeout, bind)

    def lookup(self, name: str, rtype: str) -> Any:
        return self.net.lookup(name, rtype)


class Guard:
    """Handler of a connection that a process asked for and may not live to see."""

    def __init__(self, clock: LifeClock, handler: StreamHandler) -> None:
        self._clock = clock
        self._handler = handler

    def opened(self, stream: Stream) -> None:
        if self._clock.alive:
            self._handler.opened(stream)
        else:
            stream.abort()

    def received(self, data: bytes) -> None:
        if self._clock.alive:
            self._handler.received(data)

    def closed(self, reason: str) -> None:
        if self._clock.alive:
            self._handler.closed(reason)


class Faults:
    """What is broken at the moment."""

    def __init__(self) -> None:
        self.store_down = False
        self.kv_down = False
        self.disk_full = False
        self.lag = 0.0
        """Longest time a piece of database or disk work takes, in seconds."""


class Threads:
    """An Executor. Work waits up to `faults.lag`; with the store down it is refused, or done and its success not told (a connection that
    broke in the commit)."""

    def __init__(self, clock: LifeClock, faults: Faults, rng: random.Random, *, store: bool) -> None:
        self.clock = clock
        self.faults = faults
        self.rng = rng
        self.store = store

    def run(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        if not self.clock.alive:
            return done
        lag = self.faults.lag
        if not lag:
            self._work(done, 0.0, fn, args, kwargs)
            return done
        before = lag * self.rng.random()
        self.clock.call_later(before, self._work, done, (lag - before) * self.rng.random(), fn, args, kwargs)
        return done

    def _work(self, done: Deferred[Any], after: float, fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
        result: Any
        if self.store and self.faults.store_down:
            if self.rng.random() < 0.1:
                result = self._call(fn, args, kwargs)
            result = StoreUnavailable("simulated outage")
            if getattr(fn, "__name__", "") != "_caught":
                result = Failure(result)
        else:
            result = self._call(fn, args, kwargs)
        if after:
            self.clock.call_later(after, self._tell, done, result)
        else:
            self._tell(done, result)

    @staticmethod
    def _call(fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except Exception:  # noqa: BLE001 - whatever the work raised goes to whoever waits for it
            return Failure()

    @staticmethod
    def _tell(done: Deferred[Any], result: Any) -> None:
        if isinstance(result, Failure):
            done.errback(result)
        else:
            done.callback(result)


class FaultyFile:
    def __init__(self, disk: FaultyDisk, path: str) -> None:
        self._disk = disk
        self._path = path

    def write(self, data: bytes) -> None:
        disk = self._disk
        if disk.faults.disk_full:
            disk.files[self._path] += data[: disk.rng.randrange(len(data))]
            raise OSError(errno.ENOSPC, "no space left on device", self._path)
        disk.files[self._path] += data
        disk.written += 1

    def sync(self) -> None:
        if self._disk.faults.disk_full and self._disk.rng.random() < 0.2:
            raise OSError(errno.EIO, "input/output error", self._path)

    def size(self) -> int:
        return len(self._disk.files[self._path])

    def close(self) -> None:
        return


class FaultyDisk(MemoryDisk):
    """A disk in memory that can be full: a write gets through in part and fails. `kept` has what was removed, for the checks at the end."""

    def __init__(self, faults: Faults, rng: random.Random) -> None:
        super().__init__()
        self.faults = faults
        self.rng = rng
        self.written = 0
        self.kept: dict[str, bytes] = {}

    def append(self, path: str, mode: int = 0o600) -> Any:
        if path not in self.files:
            self._room(path)
        self.files.setdefault(path, bytearray())
        return FaultyFile(self, path)

    def replace(self, path: str, data: bytes, mode: int = 0o600) -> None:
        self._room(path)
        super().replace(path, data, mode)

    def remove(self, path: str) -> None:
        self.kept[path] = bytes(self._get(path))
        super().remove(path)

    def _room(self, path: str) -> None:
        if self.faults.disk_full:
            raise OSError(errno.ENOSPC, "no space left on device", path)

    def tear(self, directory: str) -> None:
        """The process dies in the middle of a write: part of a record stands at the end of the newest journal file."""
        names = [n for n in self.list(directory) if n.endswith(".journal")]
        if names:
            data = self.files[f"{directory}/{names[-1]}"]
            data += (b"\x80\0\0\0" + self.rng.randbytes(self.rng.randrange(90)))[: self.rng.randrange(90)]


class KeyValueServer:
    """The data of a key-value server that outlives the daemons that use it."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.until: dict[str, float] = {}
        self.heap: list[tuple[float, str]] = []

    def connect(self, clock: LifeClock, rng: SeededRng, faults: Faults) -> SharedKeyValue:
        return SharedKeyValue(self, clock, rng, faults)


class SharedKeyValue(MemoryKeyValue):
    """One process's connection to the server."""

    def __init__(self, server: KeyValueServer, clock: LifeClock, rng: SeededRng, faults: Faults) -> None:
        self._faults = faults
        self._closed = False
        super().__init__(clock, rng)  # type: ignore[arg-type]
        self._data, self._until, self._heap = server.data, server.until, server.heap
        self._server = server

    @property
    def available(self) -> bool:
        return not self._closed and not self._faults.kv_down

    @available.setter
    def available(self, value: bool) -> None:
        self._closed = not value

    def _purge(self) -> None:
        super()._purge()
        self._server.heap = self._heap

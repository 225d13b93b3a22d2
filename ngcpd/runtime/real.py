"""What is passed in, for real: clock, randomness, threads, disk, network. The network's parts are in `real_net` and `real_dns`."""

from __future__ import annotations

import errno
import os
import queue
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, fail

from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Timer
from ngcpd.runtime.real_net import ReactorNet

__all__ = ["ExecutorFull", "ExecutorStopped", "OsDisk", "ReactorClock", "ReactorNet", "SystemRng", "ThreadExecutor"]

T = TypeVar("T")
P = ParamSpec("P")

log = logger("runtime")


# ------------------------------------------------------------------------------------------------------------------ time
class ReactorTimer:
    """A pending call of a Twisted reactor that forgives a second cancel."""

    __slots__ = ("_call",)

    def __init__(self, call: Any) -> None:
        self._call = call

    def cancel(self) -> None:
        if self._call.active():
            self._call.cancel()

    def active(self) -> bool:
        return bool(self._call.active())


class ReactorClock:
    """The operating system's clocks and the timers of a Twisted reactor."""

    def __init__(self, reactor: Any) -> None:
        self._later = reactor.callLater

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def call_later(self, delay: float, fn: Callable[..., object], *args: object) -> Timer:
        return ReactorTimer(self._later(max(0.0, delay), fn, *args))


# ------------------------------------------------------------------------------------------------------------ randomness
class SystemRng:
    """The operating system's generator: strong enough for keys, tags and nonces. Tokens are cut from a stock of it, because a call needs ten
    of them and each question to the system costs several microseconds."""

    STOCK = 2048

    def __init__(self) -> None:
        self._stock = ""
        self._at = 0

    def token(self, nbytes: int = 8) -> str:
        at = self._at
        end = at + 2 * nbytes
        if end > len(self._stock):
            if nbytes > self.STOCK:
                return os.urandom(nbytes).hex()
            self._stock = os.urandom(self.STOCK).hex()
            at, end = 0, 2 * nbytes
        self._at = end
        return self._stock[at:end]

    def bytes(self, nbytes: int) -> bytes:
        return os.urandom(nbytes)

    def uuid(self) -> str:
        return str(uuid.uuid4())

    def below(self, n: int) -> int:
        return secrets.randbelow(n)

    def random(self) -> float:
        return int.from_bytes(os.urandom(7), "big") / (1 << 56)


# --------------------------------------------------------------------------------------------------------------- threads
class ExecutorFull(Exception):
    """Too much work is waiting for the threads."""


class ExecutorStopped(Exception):
    """The executor takes no more work."""


Job = tuple[Callable[..., object], tuple[object, ...], dict[str, object], "Deferred[Any]"]


class ThreadExecutor:
    """A bounded pool of threads. Threads are started as they are needed, up to `threads`; at most `backlog` jobs wait, more fail with
    ExecutorFull. The threads are daemons: a job that hangs (a dead database) can not keep the process from ending."""

    def __init__(self, reactor: Any, threads: int = 10, backlog: int = 10_000, name: str = "worker") -> None:
        self._reactor = reactor
        self._limit = threads
        self._backlog = backlog
        self._name = name
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._open = 0  # jobs taken and not yet answered; touched on the reactor only
        self._stopping: Deferred[int] | None = None
        self._stop_timer: Any = None

    def run(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run `fn` on a thread. Errbacks with what it raised, with ExecutorFull or with ExecutorStopped."""
        if self._stopping is not None:
            return fail(ExecutorStopped("the executor has been stopped"))
        if self._open >= self._limit + self._backlog:
            log.limited("full", 60, "too much work is waiting for threads", pool=self._name, waiting=self._open)
            return fail(ExecutorFull(f"{self._open} jobs are waiting"))
        done: Deferred[T] = Deferred()
        self._open += 1
        self._queue.put((fn, args, kwargs, done))
        if len(self._threads) < min(self._limit, self._open):
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return done

    def _work(self) -> None:
        while True:
            job = self._queue.get()
            if job is None:
                return
            fn, args, kwargs, done = job
            result: object = None
            problem: BaseException | None = None
            try:
                result = fn(*args, **kwargs)
            except BaseException as raised:  # noqa: BLE001 - handed to whoever waits for the job; a thread must not die of it
                problem = raised
            self._reactor.callFromThread(self._finished, done, result, problem)
            del fn, args, kwargs, done, job, result, problem  # an idle thread must not keep a job's objects alive

    def _finished(self, done: Deferred[Any], result: object, problem: BaseException | None) -> None:
        self._open -= 1
        if problem is not None:
            done.errback(problem)
        else:
            done.callback(result)
        if self._stopping is not None and not self._open:
            self._ended()

    def stop(self, timeout: float = 5.0) -> Deferred[int]:
        """Take no more work, let what was taken finish. Fires with the number of jobs that were still not done after `timeout` seconds."""
        if self._stopping is None:
            self._stopping = Deferred()
            self._stop_timer = self._reactor.callLater(timeout if self._open else 0, self._ended)
        return self._stopping

    def _ended(self) -> None:
        if self._stopping is None or self._stopping.called:
            return
        if self._stop_timer.active():
            self._stop_timer.cancel()
        for _ in self._threads:
            self._queue.put(None)
        if self._open:
            log.warning("threads did not finish in time", pool=self._name, jobs=self._open)
        else:
            for thread in self._threads:
                thread.join(1.0)  # they have nothing left to do but to read the end mark
        self._stopping.callback(self._open)

    def counters(self) -> dict[str, int]:
        return {"threads": sum(t.is_alive() for t in self._threads), "jobs": self._open}


# ------------------------------------------------------------------------------------------------------------------ disk
class OsAppendFile:
    """A file opened for appending."""

    def __init__(self, path: str, mode: int) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)

    def write(self, data: bytes) -> None:
        written = os.write(self._fd, data)
        if written != len(data):
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
            raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes could be written", self._path)

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class OsDisk:
    """Files of the operating system."""

    def append(self, path: str, mode: int = 0o600) -> OsAppendFile:
        return OsAppendFile(path, mode)

    def read(self, path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def replace(self, path: str, data: bytes, mode: int = 0o600) -> None:
        temporary = f"{path}.new"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise
        self._sync_directory(os.path.dirname(path) or ".")

    def truncate(self, path: str, size: int) -> None:
        os.truncate(path, size)

    def remove(self, path: str) -> None:
        os.unlink(path)

    def list(self, directory: str) -> list[str]:
        return sorted(os.listdir(directory))

    @staticmethod
    def _sync_directory(directory: str) -> None:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

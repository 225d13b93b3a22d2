"""Clock, randomness, threads, disk of the operating system."""

from __future__ import annotations

import os
import stat
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList

from ngcpd.runtime.ports import Clock, Disk, Executor, Net, Rng
from ngcpd.runtime.real import ExecutorFull, ExecutorStopped, OsDisk, ReactorClock, ReactorNet, SystemRng, ThreadExecutor
from ngcpd.sip.wheel import Wheel


def doors() -> tuple[Clock, Rng, Net, Disk, Executor]:
    """Checked by mypy: the real things fit the doors."""
    return ReactorClock(reactor), SystemRng(), ReactorNet(reactor), OsDisk(), ThreadExecutor(reactor)


# ------------------------------------------------------------------------------------------------------------------ time
@pytest_twisted.inlineCallbacks
def test_clock() -> Any:
    clock = ReactorClock(reactor)
    fired: Deferred[str] = Deferred()
    start = clock.monotonic()
    never = clock.call_later(0.01, lambda: fired.errback(AssertionError("cancelled")))
    timer = clock.call_later(0.03, fired.callback, "now")
    assert timer.active() and never.active()
    never.cancel()
    never.cancel()
    assert (yield fired) == "now" and clock.monotonic() - start >= 0.029
    assert not timer.active()
    timer.cancel()
    assert abs(clock.time() - 1.7e9) < 3e9
    clock.call_later(-1, lambda: None)


@pytest_twisted.inlineCallbacks
def test_wheel_on_the_reactor() -> Any:
    clock = ReactorClock(reactor)
    wheel = Wheel(clock)
    done: Deferred[float] = Deferred()
    start = clock.monotonic()
    wheel.after(0.12, lambda: done.callback(clock.monotonic() - start))
    assert (yield done) >= 0.119
    assert wheel.pending == 0 and wheel._timer is None


# ------------------------------------------------------------------------------------------------------------ randomness
def test_rng() -> None:
    rng = SystemRng()
    assert len(rng.token(8)) == 16 and rng.token(8) != rng.token(8) and rng.token().islower() is not None
    assert len(rng.bytes(16)) == 16
    assert uuid.UUID(rng.uuid()).version == 4
    assert {rng.below(3) for _ in range(200)} == {0, 1, 2}
    values = [rng.random() for _ in range(1000)]
    assert all(0 <= v < 1 for v in values) and 0.4 < sum(values) / 1000 < 0.6


# --------------------------------------------------------------------------------------------------------------- threads
@pytest_twisted.inlineCallbacks
def test_executor_results_failures_and_the_reactor_thread() -> Any:
    executor = ThreadExecutor(reactor, 2)
    here = threading.get_ident()
    where: list[int] = []
    found = executor.run(lambda a, b=0: (a + b, threading.get_ident()), 1, b=2)
    found.addCallback(lambda r: (where.append(threading.get_ident()), r)[1])
    result, thread = yield found
    assert result == 3 and thread != here and where == [here]
    with pytest.raises(ZeroDivisionError):
        yield executor.run(lambda: 1 / 0)
    with pytest.raises(SystemExit):
        yield executor.run(lambda: exec("raise SystemExit(1)"))
    assert (yield executor.run(lambda: "still alive")) == "still alive"
    assert (yield executor.stop()) == 0
    assert executor.counters() == {"threads": 0, "jobs": 0}


@pytest_twisted.inlineCallbacks
def test_executor_is_bounded_in_threads_and_backlog() -> Any:
    executor = ThreadExecutor(reactor, 3, backlog=5)
    gate = threading.Event()
    jobs = [executor.run(gate.wait, 10) for _ in range(8)]
    assert executor.counters() == {"threads": 3, "jobs": 8}
    with pytest.raises(ExecutorFull):
        yield executor.run(lambda: None)
    gate.set()
    results = yield DeferredList(jobs)
    assert all(ok and value for ok, value in results)
    assert (yield executor.run(lambda: 5)) == 5
    yield executor.stop()


@pytest_twisted.inlineCallbacks
def test_executor_stop_waits_for_what_was_taken_and_refuses_more() -> Any:
    executor = ThreadExecutor(reactor, 1)
    gate = threading.Event()
    order: list[str] = []
    first = executor.run(gate.wait, 10).addCallback(lambda _: order.append("first"))
    second = executor.run(lambda: None).addCallback(lambda _: order.append("second"))
    stopped = executor.stop()
    assert executor.stop() is stopped and not stopped.called
    with pytest.raises(ExecutorStopped):
        yield executor.run(lambda: None)
    gate.set()
    assert (yield stopped) == 0
    yield first
    yield second
    assert order == ["first", "second"] and executor.counters() == {"threads": 0, "jobs": 0}


@pytest_twisted.inlineCallbacks
def test_executor_stop_gives_up_on_a_job_that_hangs() -> Any:
    executor = ThreadExecutor(reactor, 1)
    gate = threading.Event()
    hanging = executor.run(gate.wait, 30)
    assert (yield executor.stop(0.1)) == 1
    gate.set()
    assert (yield hanging) is True


@pytest_twisted.inlineCallbacks
def test_executor_never_used() -> Any:
    executor = ThreadExecutor(reactor, 4)
    assert (yield executor.stop()) == 0


# ------------------------------------------------------------------------------------------------------------------ disk
def test_disk(tmp_path: Path) -> None:
    disk = OsDisk()
    path = str(tmp_path / "journal")
    file = disk.append(path)
    file.write(b"one")
    file.write(b"two")
    file.sync()
    assert file.size() == 6 and disk.read(path) == b"onetwo" and stat.S_IMODE(os.stat(path).st_mode) == 0o600
    file.close()
    file.close()
    again = disk.append(path)
    again.write(b"three")
    assert disk.read(path) == b"onetwothree"
    disk.truncate(path, 3)
    again.write(b"4")
    assert disk.read(path) == b"one4"
    again.close()
    disk.replace(str(tmp_path / "mark"), b"1")
    disk.replace(str(tmp_path / "mark"), b"22")
    assert disk.read(str(tmp_path / "mark")) == b"22"
    assert disk.list(str(tmp_path)) == ["journal", "mark"]
    disk.remove(path)
    assert disk.list(str(tmp_path)) == ["mark"]
    with pytest.raises(FileNotFoundError):
        disk.read(path)
    with pytest.raises(OSError):
        disk.append(str(tmp_path / "no" / "such"))
    with pytest.raises(OSError):
        disk.replace(str(tmp_path), b"a directory")
    assert disk.list(str(tmp_path)) == ["mark"]


def test_short_write_counts_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = OsDisk()
    path = str(tmp_path / "journal")
    file = disk.append(path)
    file.write(b"whole")
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:2]))
    with pytest.raises(OSError, match="only 2 of 5"):
        file.write(b"other")
    monkeypatch.undo()
    file.write(b"!")
    assert disk.read(path) == b"whole!"
    file.close()

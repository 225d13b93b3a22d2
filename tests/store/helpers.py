"""What the store's tests share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred

from ngcpd.runtime import log
from ngcpd.runtime.real import ReactorTimer


class RealTime:
    """The Clock of tests with real servers."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def call_later(self, delay: float, fn: Callable[..., object], *args: object) -> Any:
        return ReactorTimer(reactor.callLater(delay, fn, *args))


def turn(seconds: float = 0.0) -> Deferred[None]:
    """Let the reactor run for a moment."""
    return task.deferLater(reactor, seconds, lambda: None)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition that the reactor's events will bring about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        await turn(0.005)


@contextmanager
def captured() -> Iterator[list[str]]:
    """The log lines written inside."""
    lines: list[str] = []
    before = log.sink.write
    log.sink.write = lines.append
    log.sink._seen.clear()
    try:
        yield lines
    finally:
        log.sink.write = before


def lines_with(lines: list[str], *words: str) -> list[str]:
    return [line for line in lines if all(word in line for word in words)]

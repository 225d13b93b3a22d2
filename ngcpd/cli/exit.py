"""The exit status of this process, and the one line that goes with a failure."""

from __future__ import annotations

import os
import sys
from typing import Any

OK = 0
FAILED = 1
CONFIG = 78
"""EX_CONFIG of sysexits.h."""


class StartError(Exception):
    """The daemon cannot start; the text is one line for the operator with what to do."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


class _State:
    status: int | None = None


def status() -> int:
    """What the process is to exit with: 0 unless `fail` was called."""
    return OK if _State.status is None else _State.status


def write(line: str) -> None:
    """A line on stderr, past a running twistd, which takes the standard streams into its log."""
    stream = sys.stderr
    if type(stream).__module__.startswith("twisted.") and sys.__stderr__ is not None:
        stream = sys.__stderr__
    stream.write(line + "\n")
    stream.flush()


def say(message: str) -> None:
    """One line for the operator."""
    write(f"ngcpd: {' '.join(message.split())}")


def fail(status: int, message: str) -> None:
    """End the process with `status` (the first one counts) after an orderly stop; `message` is told the operator once.

    May be called before the reactor runs: it then stops as soon as it does.
    """
    if _State.status is not None:
        return
    _State.status = status
    say(message)
    loop = reactor()
    if loop.running:
        loop.callLater(0, stop)
    else:
        loop.callWhenRunning(stop)


def reactor() -> Any:
    """The process's reactor; imported late because the import installs one."""
    from twisted.internet import reactor as found

    return found


def stop() -> None:
    """Stop the reactor; harmless when it stops already."""
    from twisted.internet.error import ReactorNotRunning

    try:
        reactor().stop()
    except ReactorNotRunning:
        pass


def at_terminal() -> bool:
    """Is somebody at a terminal in front of the daemon?"""
    try:
        return os.isatty(0)
    except OSError:
        return False

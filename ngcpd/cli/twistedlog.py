"""Events of Twisted's own log -> lines of ours. Only failures matter; the rest is told at level debug."""

from __future__ import annotations

import traceback
from typing import Any

from twisted.internet.error import ReactorNotRunning

from ngcpd.runtime.log import logger

log = logger("twisted")


def observe(event: dict[str, Any]) -> None:
    """A legacy log observer. A failure is one line with its kind, its text and the innermost places it came through."""
    failure = event.get("failure")
    if failure is None:
        if "log_io" in event:
            # something printed; twistd takes the standard streams into the log
            log.info("printed", text=str(event["log_io"])[:500])
        elif event.get("isError"):
            log.error("error", text=_text(event))
        elif log.level <= 10:
            log.debug("message", text=_text(event), system=event.get("system"))
        return
    if failure.check(ReactorNotRunning) is None:
        error = failure.value
        log.error("unhandled failure", why=event.get("why") or None, kind=type(error).__name__, text=str(error), at=places(error) or None)


def _text(event: dict[str, Any]) -> str:
    return str(event.get("log_text") or " ".join(str(part) for part in event.get("message", ())))[:500]


def places(error: BaseException) -> str:
    """The innermost places an exception came through, innermost first."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " < ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in reversed(frames))


def observer() -> Any:
    """What `twistd --logger` calls to get the observer."""
    return observe

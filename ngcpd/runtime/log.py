"""Structured log: one line per event, fields as key=value, a level per room that can be changed at run time.

    log = logger("calls")
    log.info("call answered", call_id=cid, code=200)

gives `2026-11-24T21:40:00.123Z info calls "call answered" node=self call_id=abc@host code=200`. A field whose name says that it holds
a secret is never printed. A disabled level costs one comparison; do not format on hot paths.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable
from typing import Protocol

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "off": 100}
_NAMES = {v: k for k, v in LEVELS.items()}
_SECRET = ("password", "passwd", "secret", "ha1", "token", "credential", "authorization", "key")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:;@/+*#<>[](),|~%!?&$^=")
LIMIT_KEYS = 10_000


class _Time(Protocol):
    def time(self) -> float: ...

    def monotonic(self) -> float: ...


def render(value: object) -> str:
    """A field's value on one line: plain when it can be read back unambiguously, else quoted with escapes. Bounded."""
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    if len(text) > 500:
        text = text[:500] + "..."
    if text and _PLAIN.issuperset(text) and "=" not in text:
        return text
    body = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{body}"'


class Sink:
    """Where lines go. `configure` is called once by the composition; before that lines go to stderr without a time stamp."""

    def __init__(self) -> None:
        self.write: Callable[[str], object] = sys.stderr.write
        self.clock: _Time | None = None
        self.node = "-"
        self._seen: dict[object, tuple[float, int]] = {}

    def emit(self, level: int, room: str, event: str, fields: dict[str, object]) -> None:
        stamp = ""
        if self.clock is not None:
            moment = datetime.datetime.fromtimestamp(self.clock.time(), datetime.UTC)
            stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z "
        parts = [f"{stamp}{_NAMES.get(level, str(level))} {room} {render(event)} node={self.node}"]
        for key, value in fields.items():
            if value is None:
                continue
            low = key.lower()
            parts.append(f"{key}=***" if any(s in low for s in _SECRET) else f"{key}={render(value)}")
        self.write(" ".join(parts) + "\n")

    def allow(self, key: object, seconds: float) -> int:
        """Rate limit for repeated events: 0 = keep silent; n > 0 = print, standing for n events since the last line."""
        now = self.clock.monotonic() if self.clock is not None else 0.0
        entry = self._seen.get(key)
        if entry is not None and now - entry[0] < seconds:
            self._seen[key] = (entry[0], entry[1] + 1)
            return 0
        if entry is None and len(self._seen) >= LIMIT_KEYS:
            self._seen = {k: v for k, v in self._seen.items() if now - v[0] < seconds}
            if len(self._seen) >= LIMIT_KEYS:
                return 0
        self._seen[key] = (now, 1)
        return entry[1] if entry is not None else 1


sink = Sink()


class Logger:
    """The log of one room."""

    __slots__ = ("level", "room")

    def __init__(self, room: str, level: int = LEVELS["info"]) -> None:
        self.room = room
        self.level = level

    def debug(self, event: str, **fields: object) -> None:
        if self.level <= 10:
            sink.emit(10, self.room, event, fields)

    def info(self, event: str, **fields: object) -> None:
        if self.level <= 20:
            sink.emit(20, self.room, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        if self.level <= 30:
            sink.emit(30, self.room, event, fields)

    def error(self, event: str, **fields: object) -> None:
        if self.level <= 40:
            sink.emit(40, self.room, event, fields)

    def limited(self, key: object, seconds: float, event: str, **fields: object) -> None:
        """A warning at most once per `key` and `seconds`; the line that comes next tells how many it stands for."""
        if self.level > 30:
            return
        n = sink.allow((self.room, event, key), seconds)
        if n:
            if n > 1:
                fields["times"] = n
            sink.emit(30, self.room, event, fields)


_loggers: dict[str, Logger] = {}


def logger(room: str) -> Logger:
    """The one Logger of a room (`sip`, `registrar`, `calls` ...)."""
    found = _loggers.get(room)
    if found is None:
        found = _loggers[room] = Logger(room)
    return found


def levels() -> dict[str, str]:
    """Level by room, as `ngcpctl log` shows it."""
    return {name: _NAMES.get(lg.level, str(lg.level)) for name, lg in sorted(_loggers.items())}


def set_level(room: str, level: str) -> None:
    """Change the level of a room, or of all with `*`. KeyError for an unknown room or level."""
    number = LEVELS[level]
    if room == "*":
        for lg in _loggers.values():
            lg.level = number
        return
    _loggers[room].level = number


def configure(clock: _Time, node: str, write: Callable[[str], object]) -> None:
    """Set where lines go and what they carry."""
    sink.clock = clock
    sink.node = node
    sink.write = write

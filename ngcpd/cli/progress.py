"""How far a long command is: a bar on a terminal, lines now and then elsewhere. Goes to stderr."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

BAR_SECONDS = 0.2
LINE_SECONDS = 5.0
WIDTH = 24


class Progress:
    """`total` steps, `done` of them finished before. `quiet`: says nothing."""

    def __init__(self, total: int, done: int = 0, *, unit: str = "lines", quiet: bool = False, stream: TextIO | None = None) -> None:
        self.total = max(total, 1)
        self._first = done
        self._unit = unit
        self._stream = sys.stderr if stream is None else stream
        self._bar = self._stream.isatty()
        self._quiet = quiet
        self._begun = self._last = time.monotonic()

    def show(self, done: int, extra: str = "") -> None:
        """Say how far it is, unless that was said a moment ago."""
        at = time.monotonic()
        if self._quiet or at - self._last < (BAR_SECONDS if self._bar else LINE_SECONDS):
            return
        self._last = at
        self._write(self._text(done, at, extra))

    def end(self) -> None:
        """Clear the bar."""
        if self._bar and not self._quiet:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def rate(self, done: int) -> float:
        """Steps per second of this run."""
        return (done - self._first) / max(time.monotonic() - self._begun, 0.001)

    def _text(self, done: int, at: float, extra: str) -> str:
        share = min(done / self.total, 1.0)
        rate = (done - self._first) / max(at - self._begun, 0.001)
        left = f", {_span((self.total - done) / rate)} left" if rate > 0 and done < self.total else ""
        words = f"{share:4.0%}  {done:,} of {self.total:,} {self._unit}, {rate:,.0f}/s{extra}{left}"
        return f"[{'#' * round(share * WIDTH):{WIDTH}}] {words}" if self._bar else words

    def _write(self, text: str) -> None:
        if self._bar:
            self._stream.write("\r" + text[: shutil.get_terminal_size().columns - 1] + "\x1b[K")
        else:
            self._stream.write(text.strip() + "\n")
        self._stream.flush()


def _span(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole} s" if whole < 90 else f"{whole // 60} min" if whole < 5400 else f"{whole / 3600:.1f} h"

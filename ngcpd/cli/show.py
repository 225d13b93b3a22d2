"""Results as text for people: tables, pairs, times."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

WIDEST = 60


def clean(value: object) -> str:
    """A value on one line; what a terminal could take for a command is made visible."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, list | tuple):
        return ", ".join(clean(v) for v in value) or "-"
    if isinstance(value, Mapping):
        return " ".join(f"{clean(k)}={clean(v)}" for k, v in value.items()) or "-"
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(value))


def cut(text: str, width: int = WIDEST) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def moment(value: Any) -> str:
    """Seconds since the epoch as local time."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return clean(value)
    return datetime.datetime.fromtimestamp(value).strftime("%Y-%m-%d %H:%M:%S")


def span(value: Any) -> str:
    """Seconds as days, hours, minutes and seconds."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return clean(value)
    days, rest = divmod(int(value), 86400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days} d {clock}" if days else clock


def table(head: Sequence[str], rows: Iterable[Sequence[object]], none: str = "none") -> str:
    """Columns as wide as their widest cell; `none` when there are no rows."""
    cells = [[cut(clean(c)) for c in row] for row in rows]
    if not cells:
        return none + "\n"
    widths = [max(len(title), *(len(row[i]) for row in cells)) for i, title in enumerate(head)]
    lines = ["  ".join(title.upper().ljust(width) for title, width in zip(head, widths, strict=True)).rstrip()]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines) + "\n"


def pairs(values: Mapping[str, object]) -> str:
    """One `name  value` per line."""
    width = max((len(clean(k)) for k in values), default=0)
    return "".join(f"{clean(k).ljust(width)}  {clean(v)}\n" for k, v in values.items()) or "none\n"


def columns(items: Any, names: Sequence[tuple[str, str]], none: str, **how: Any) -> str:
    """A table of the given (title, field) columns; `how` maps fields to functions that show them."""
    rows = items if isinstance(items, list) else []
    shown = [[how.get(field, clean)(row.get(field)) for _, field in names] for row in rows if isinstance(row, dict)]
    return table([title for title, _ in names], shown, none)

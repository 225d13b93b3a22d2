"""The decision trace of a call as data for people: rendered when asked for, never on the signalling path."""

from __future__ import annotations

from collections.abc import Iterable

from ngcpd.routing.model import Deliver, Looked, Reject

Entry = tuple[str, Looked, object]


def _text(value: object) -> object:
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (tuple, list)):
        return [_text(v) for v in value]
    return str(value)


def verdict_text(verdict: object) -> str:
    """One line for a verdict."""
    if verdict is None:
        return "continue"
    if isinstance(verdict, Reject):
        return f"{verdict.code} {verdict.reason} ({verdict.key})"
    if isinstance(verdict, Deliver):
        return f"deliver to {len(verdict.branches)} contact{'s' if len(verdict.branches) != 1 else ''}"
    return str(verdict)


def render(trace: Iterable[Entry]) -> list[dict[str, object]]:
    """One dict per entry: `stage`, `looked_at` (name -> value) and `verdict`; only values that JSON knows."""
    out: list[dict[str, object]] = []
    for stage, looked, verdict in trace:
        pairs = {str(name): _text(value) for name, value in zip(looked[::2], looked[1::2], strict=False)}
        out.append({"stage": stage, "looked_at": pairs, "verdict": verdict_text(verdict)})
    return out

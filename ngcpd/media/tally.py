"""Counters of a session: what the relay processes reported, one after the other, added up."""

from __future__ import annotations

from collections.abc import Sequence

from ngcpd.media.types import Address, StreamCounters
from ngcpd.media.wire import Addr, LegReport

_SUMS = ("packets", "octets", "rtcp_packets", "rtcp_octets", "undelivered", "strangers")


class Tally:
    """By pid: the last report, and what earlier relay processes had counted."""

    __slots__ = ("_base", "_last", "_reports", "_retired")

    def __init__(self) -> None:
        self._reports: dict[int, LegReport] = {}
        self._base: dict[int, tuple[int, ...]] = {}
        self._last: dict[int, float] = {}
        self._retired: list[StreamCounters] = []

    def note(self, legs: Sequence[LegReport], now: float) -> None:
        """Take a report; `now` is wall clock seconds."""
        for leg in legs:
            self._reports[leg.pid] = leg
            if leg.age >= 0:
                self._last[leg.pid] = now - leg.age

    def fold(self) -> None:
        """The relay process is gone: its counts are kept, those of the next are added. The learned sources stay known."""
        for pid, report in self._reports.items():
            self._base[pid] = self._sums(pid)
            self._reports[pid] = LegReport(pid, 0, 0, 0, 0, 0, 0, report.rtp_source, report.rtcp_source, -1.0)

    def sources(self, pid: int) -> tuple[Addr | None, Addr | None]:
        report = self._reports.get(pid)
        return (report.rtp_source, report.rtcp_source) if report is not None else (None, None)

    def _sums(self, pid: int) -> tuple[int, ...]:
        report = self._reports.get(pid)
        base = self._base.get(pid, (0,) * len(_SUMS))
        if report is None:
            return base
        return tuple(b + getattr(report, name) for b, name in zip(base, _SUMS, strict=True))

    def counters(self, pid: int, side: str, line: int, kind: str, local: Address) -> StreamCounters:
        sums = dict(zip(_SUMS, self._sums(pid), strict=True))
        return StreamCounters(
            side=side,
            line=line,
            kind=kind,
            local=local,
            packets=sums["packets"],
            octets=sums["octets"],
            rtcp_packets=sums["rtcp_packets"],
            rtcp_octets=sums["rtcp_octets"],
            undelivered=sums["undelivered"],
            strangers=sums["strangers"],
            source=self.sources(pid)[0],
            last_packet=self._last.get(pid),
        )

    def retire(self, pid: int, side: str, line: int, kind: str, local: Address) -> None:
        """The pair is freed; what it had counted stays part of the session's counters."""
        self._retired.append(self.counters(pid, side, line, kind, local))
        for table in (self._reports, self._base, self._last):
            table.pop(pid, None)

    def retired(self) -> list[StreamCounters]:
        return list(self._retired)

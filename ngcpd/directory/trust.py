"""Trusted sources: addresses from which requests are a certain subscriber's without digest (call processing 2.5)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ngcpd.directory.model import parse_ip
from ngcpd.directory.patterns import MAX_URI, BadPattern, Problem, compile_pattern


class TrustedRow(NamedTuple):
    """A row as provisioned. `protocol` is `UDP`, `TCP`, `TLS` or `ANY`; `from_pattern` a regular expression, None or "" = any."""

    id: int
    subscriber_id: int
    src_ip: str
    protocol: str
    from_pattern: str | None


class _Entry(NamedTuple):
    subscriber_id: int
    protocol: str
    pattern: re.Pattern[str] | None


class TrustedSources:
    """All rows, found by address. A row whose address or pattern cannot be used trusts nobody and is named in `problems`."""

    __slots__ = ("_by_ip", "problems")

    def __init__(self, rows: Iterable[TrustedRow]) -> None:
        """`rows` in the order in which they are tried."""
        by_ip: dict[tuple[int, int], list[_Entry]] = {}
        problems: list[Problem] = []
        for row in rows:
            address = parse_ip(row.src_ip.strip())
            if address is None:
                problems.append(Problem("trusted source skipped", row.id, row.src_ip, "no address"))
                continue
            try:
                pattern = compile_pattern(row.from_pattern, MAX_URI) if row.from_pattern else None
            except BadPattern as error:
                problems.append(Problem("trusted source skipped", row.id, row.from_pattern or "", str(error)))
                continue
            by_ip.setdefault(address, []).append(_Entry(row.subscriber_id, row.protocol.lower(), pattern))
        self.problems = tuple(problems)
        self._by_ip = {address: tuple(entries) for address, entries in by_ip.items()}

    def find(self, ip: str, transport: str, from_uri: str) -> int | None:
        """The subscriber id of the first row that fits, None when none does. A pattern never fits a URI longer than 128 characters."""
        address = parse_ip(ip) if self._by_ip else None
        entries = self._by_ip.get(address) if address is not None else None
        if entries is None:
            return None
        for entry in entries:
            if entry.protocol not in ("any", transport):
                continue
            if entry.pattern is None or (len(from_uri) <= MAX_URI and entry.pattern.search(from_uri) is not None):
                return entry.subscriber_id
        return None

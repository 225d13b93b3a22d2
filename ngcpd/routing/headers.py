"""Which header fields of one leg may appear on the other: a whitelist (call processing 1.5, 3.22). Never pass-through.

Not passed by the list though it names them, because somebody else writes them: identities (P-Asserted-Identity, P-Preferred-Identity, Privacy,
User-Agent) are rebuilt per target by routing, RAck and RSeq belong to the leg engine, the fields that describe a body go with the body.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache
from itertools import compress
from operator import itemgetter
from typing import Final

from ngcpd.config.headers import DEFAULT_BOTH, NEVER, Names, forbidden
from ngcpd.sip.base import Message
from ngcpd.sip.message import Request

__all__ = ["DEFAULT_BOTH", "DEFAULT_FILTER", "NEVER", "REBUILT", "HeaderFilter", "forbidden", "without_refer"]
_NEVER = Names(NEVER)
_NAME: Final = itemgetter(0)
_MOST_NAMES: Final = 1000

REBUILT: Final = frozenset(
    ("p-r-uri", "p-d-uri", "p-preferred-identity", "p-asserted-identity", "privacy", "user-agent", "server", "rack", "rseq", "mime-version")
)


@lru_cache(maxsize=256)
def without_refer(value: str) -> str:
    """An Allow value without REFER. Kept: a model of phone always says the same."""
    return ", ".join([m for m in [part.strip() for part in value.split(",")] if m and m.upper() != "REFER"])


class _Way:
    """One kind of message: the names that have been seen in it, and those of them that cross."""

    __slots__ = ("crossing", "listed", "seen")

    def __init__(self, names: Iterable[str]) -> None:
        self.listed = Names(names)
        self.seen: set[str] = set()
        self.crossing: set[str] = set()

    def passes(self, name: str) -> bool:
        low = name.lower()
        return low in self.listed and not (low in REBUILT or low.startswith("content-") or low in _NEVER)

    def learn(self, names: Collection[str]) -> None:
        """Names come from outside: what is remembered of them is bounded."""
        if len(self.seen) + len(names) > _MOST_NAMES:
            self.seen.clear()
            self.crossing.clear()
        self.seen.update(names)
        self.crossing.update([name for name in names if self.passes(name)])


class HeaderFilter:
    """A whitelist: names for requests, for responses and for both, a trailing `*` stands for any rest."""

    __slots__ = ("_request", "_response")

    def __init__(self, request: Iterable[str] = (), response: Iterable[str] = (), both: Iterable[str] = DEFAULT_BOTH) -> None:
        shared = list(both)
        self._request = _Way([*request, *shared])
        self._response = _Way([*response, *shared])

    def passes(self, name: str, is_request: bool) -> bool:
        """May a field of this name cross?"""
        return (self._request if is_request else self._response).passes(name)

    def crosses(self, name: str, is_request: bool) -> bool:
        """`passes` of a canonical name, remembered."""
        way = self._request if is_request else self._response
        if name not in way.seen:
            way.learn((name,))
        return name in way.crossing

    def passed(self, message: Message, *, allow_refer: bool = False) -> list[tuple[str, str]]:
        """The fields of `message` that may cross, in their order. REFER is taken out of Allow unless `allow_refer`."""
        way = self._request if isinstance(message, Request) else self._response
        names = message.names()
        if not names.keys() <= way.seen:
            way.learn(names)
        crossing = way.crossing
        if crossing.isdisjoint(names):
            return []
        fields = message.fields
        out = list(compress(fields, map(crossing.__contains__, map(_NAME, fields))))
        if "Allow" not in names or allow_refer or "Allow" not in crossing:
            return out
        passed: list[tuple[str, str]] = []
        for field in out:
            if field[0] == "Allow":
                value = without_refer(field[1])
                if not value:
                    continue
                field = ("Allow", value)
            passed.append(field)
        return passed


DEFAULT_FILTER: Final = HeaderFilter()

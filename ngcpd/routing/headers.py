"""Which header fields of one leg may appear on the other: a whitelist (call processing 1.5, 3.22). Never pass-through.

Not passed by the list though it names them, because somebody else writes them: identities (P-Asserted-Identity, P-Preferred-Identity, Privacy,
User-Agent) are rebuilt per target by routing, RAck and RSeq belong to the leg engine, the fields that describe a body go with the body.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ngcpd.config.headers import DEFAULT_BOTH, NEVER, Names, forbidden
from ngcpd.sip.base import Message
from ngcpd.sip.message import Request

__all__ = ["DEFAULT_BOTH", "DEFAULT_FILTER", "NEVER", "REBUILT", "HeaderFilter", "forbidden", "without_refer"]
_NEVER = Names(NEVER)

REBUILT: Final = frozenset(
    ("p-r-uri", "p-d-uri", "p-preferred-identity", "p-asserted-identity", "privacy", "user-agent", "server", "rack", "rseq", "mime-version")
)


def without_refer(value: str) -> str:
    """An Allow value without REFER."""
    return ", ".join(m for m in (part.strip() for part in value.split(",")) if m and m.upper() != "REFER")


class HeaderFilter:
    """A whitelist: names for requests, for responses and for both, a trailing `*` stands for any rest."""

    __slots__ = ("_known", "_request", "_response")

    def __init__(self, request: Iterable[str] = (), response: Iterable[str] = (), both: Iterable[str] = DEFAULT_BOTH) -> None:
        shared = list(both)
        self._request = Names([*request, *shared])
        self._response = Names([*response, *shared])
        self._known: dict[tuple[bool, str], bool] = {}

    def passes(self, name: str, is_request: bool) -> bool:
        """May a field of this name cross?"""
        low = name.lower()
        if low in REBUILT or low.startswith("content-") or low in _NEVER:
            return False
        return low in (self._request if is_request else self._response)

    def passed(self, message: Message, *, allow_refer: bool = False) -> list[tuple[str, str]]:
        """The fields of `message` that may cross, in their order. REFER is taken out of Allow unless `allow_refer`."""
        is_request = isinstance(message, Request)
        known = self._known
        out: list[tuple[str, str]] = []
        for name, value in message.fields:
            yes = known.get((is_request, name))
            if yes is None:
                yes = self.passes(name, is_request)
                if len(known) < 1000:  # names come from outside
                    known[is_request, name] = yes
            if not yes:
                continue
            if name == "Allow" and not allow_refer:
                value = without_refer(value)
                if not value:
                    continue
            out.append((name, value))
        return out


DEFAULT_FILTER: Final = HeaderFilter()

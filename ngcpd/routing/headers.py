"""Which header fields of one leg may appear on the other: a whitelist (call processing 1.5, 3.22). Never pass-through.

Not passed by the list though it names them, because somebody else writes them: identities (P-Asserted-Identity, P-Preferred-Identity, Privacy,
User-Agent) are rebuilt per target by routing, RAck and RSeq belong to the leg engine, the fields that describe a body go with the body.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ngcpd.sip.base import Message
from ngcpd.sip.message import Request

DEFAULT_BOTH: Final = (
    "P-R-Uri",
    "P-D-Uri",
    "P-Preferred-Identity",
    "P-Asserted-Identity",
    "Diversion",
    "Privacy",
    "Allow",
    "Supported",
    "Require",
    "RAck",
    "RSeq",
    "User-Agent",
    "History-Info",
    "Call-Info",
)
"""The whitelist of both directions as delivered (call processing 1.5)."""

NEVER: Final = (
    "P-NGCP-*",
    "P-App-*",
    "P-Caller-UUID",
    "P-Callee-UUID",
    "P-Acc-*",
    "P-First-*",
    "P-Called-Party-ID",
    "P-Language",
    "P-Prepaid*",
    "P-Sock-Info",
    "P-Out-Socket",
    "P-From-Peer",
    "P-CF-Depth",
    "P-Callee-Account-ID",
    "Via",
    "Route",
    "Record-Route",
    "Path",
    "Service-Route",
    "Contact",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Max-Forwards",
    "Content-Length",
    "Remote-Party-ID",
    "Authorization",
    "Proxy-Authorization",
    "WWW-Authenticate",
    "Proxy-Authenticate",
    "Authentication-Info",
    "Proxy-Authentication-Info",
)
"""Not passed whatever an operator's list says; an operator's list that names one of them is wrong."""

REBUILT: Final = frozenset(
    ("p-r-uri", "p-d-uri", "p-preferred-identity", "p-asserted-identity", "privacy", "user-agent", "server", "rack", "rseq", "mime-version")
)


class _Names:
    """Names and name prefixes (`X-Acme-*`), compared without case."""

    __slots__ = ("exact", "prefixes")

    def __init__(self, names: Iterable[str]) -> None:
        low = [n.strip().lower() for n in names]
        self.exact = frozenset(n for n in low if not n.endswith("*"))
        self.prefixes = tuple(n[:-1] for n in low if n.endswith("*"))

    def __contains__(self, low: str) -> bool:
        return low in self.exact or (bool(self.prefixes) and low.startswith(self.prefixes))

    def touches(self, low: str) -> bool:
        """True when a listed name or pattern `low` could let one of these names through."""
        if not low.endswith("*"):
            return low in self
        stem = low[:-1]
        return any(n.startswith(stem) for n in self.exact) or any(p.startswith(stem) or stem.startswith(p) for p in self.prefixes)


_NEVER = _Names(NEVER)


def forbidden(names: Iterable[str]) -> list[str]:
    """Those entries of an operator's list that may not stand there."""
    return [n for n in names if _NEVER.touches(n.strip().lower())]


def without_refer(value: str) -> str:
    """An Allow value without REFER."""
    return ", ".join(m for m in (part.strip() for part in value.split(",")) if m and m.upper() != "REFER")


class HeaderFilter:
    """A whitelist: names for requests, for responses and for both, a trailing `*` stands for any rest."""

    __slots__ = ("_known", "_request", "_response")

    def __init__(self, request: Iterable[str] = (), response: Iterable[str] = (), both: Iterable[str] = DEFAULT_BOTH) -> None:
        shared = list(both)
        self._request = _Names([*request, *shared])
        self._response = _Names([*response, *shared])
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


def passed_fields(message: Message, headers: HeaderFilter = DEFAULT_FILTER, *, allow_refer: bool = False) -> list[tuple[str, str]]:
    """The fields of a request or response that may appear on the other leg."""
    return headers.passed(message, allow_refer=allow_refer)

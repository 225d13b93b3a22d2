"""Which header fields cross from one leg to the other, beyond the operator's whitelist (`routing.headers.passed_fields`).

Bodies and their Content-* fields pass unread; protocol fields that belong to the leg engine are copied or rebuilt here
(call processing 1.5, RFC 3262, 3265, 4028, 6086).
"""

from __future__ import annotations

from collections.abc import Iterable

from ngcpd.routing.headers import passed_fields
from ngcpd.sip.base import Message

Fields = list[tuple[str, str]]

# Copied as they are in both directions.
_LEG = frozenset(
    {
        "Session-Expires",
        "Min-SE",
        "Event",
        "Subscription-State",
        "Reason",
        "Warning",
        "Retry-After",
        "Info-Package",
        "Recv-Info",
        "Accept",
        "Unsupported",
        "Error-Info",
        "Alert-Info",
        "Supported",
        "Allow",
        "Require",
    }
)
# Option tags that would speak of the other leg's dialog, which the receiver does not know (replaces, join, tdialog) or of hop-by-hop
# registration matters. They are taken out of Supported and Require.
_OPTIONS_NOT_PASSED = frozenset({"replaces", "join", "tdialog", "outbound", "path", "gruu", "norefersub"})
_REBUILT = frozenset(
    {"RSeq", "RAck", "Via", "From", "To", "Call-ID", "CSeq", "Contact", "Max-Forwards", "Content-Length", "Route", "Record-Route"}
)


def _describes_body(name: str) -> bool:
    return (name.startswith("Content-") and name != "Content-Length") or name == "MIME-Version"


def content_fields(message: Message) -> Fields:
    """The fields that describe the body."""
    return [(n, v) for n, v in message.fields if _describes_body(n)]


def filter_options(value: str, drop: Iterable[str] = ()) -> str:
    """An option-tag list without what must not cross to the other leg."""
    gone = _OPTIONS_NOT_PASSED.union(drop)
    return ", ".join(t for t in (x.strip() for x in value.split(",")) if t and t.lower() not in gone)


def filter_allow(value: str, allow_refer: bool = False) -> str:
    """A method list without REFER while transfers are not allowed (call processing 1.3)."""
    return ", ".join(t for t in (x.strip() for x in value.split(",")) if t and (allow_refer or t.upper() != "REFER"))


def merge(*groups: Iterable[tuple[str, str]], drop_options: Iterable[str] = ()) -> Fields:
    """Join groups of fields: what the leg engine writes itself is removed, option and method lists are filtered, a field given by a later
    group does not repeat a single-valued one of an earlier group."""
    out: Fields = []
    have: set[str] = set()
    for group in groups:
        names: set[str] = set()
        for name, value in group:
            if name in _REBUILT or name in have:
                continue
            if name in ("Supported", "Require"):
                value = filter_options(value, drop_options)
                if not value:
                    continue
            elif name == "Allow":
                value = filter_allow(value)
            names.add(name)
            out.append((name, value))
        have |= names
    return out


def relayed(message: Message, *, drop_options: Iterable[str] = (), body: bool = True) -> Fields:
    """Everything of a message that goes on to the other leg, apart from what the leg writes itself. With `body=False` the fields that
    describe the body are left out."""
    leg = [(n, v) for n, v in message.fields if n in _LEG]
    passed = [(n, v) for n, v in passed_fields(message) if not _describes_body(n)]
    return merge(leg, passed, content_fields(message) if body else (), drop_options=drop_options)

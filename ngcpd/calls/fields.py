"""Which header fields cross from one leg to the other, beyond the operator's whitelist (`routing.headers.HeaderFilter`).

Bodies and their Content-* fields pass unread; protocol fields that belong to the leg engine are copied or rebuilt here
(call processing 1.5, RFC 3262, 3326, 4028, 6086). What a leg writes itself (Via, From, To, Call-ID, CSeq, Contact, Max-Forwards, Route,
Record-Route, RSeq, RAck) is in neither list.
"""

from __future__ import annotations

from collections.abc import Iterable

from ngcpd.calls.model import ALLOWED
from ngcpd.routing.headers import HeaderFilter
from ngcpd.sip.base import Message
from ngcpd.sip.errors import ParseError
from ngcpd.sip.grammar import split_list

Fields = list[tuple[str, str]]

# The leg engine's own: they cross in both directions whatever the whitelist says.
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
        "Supported",
        "Allow",
        "Require",
    }
)
# Option tags that would speak of the other leg's dialog, which the receiver does not know (replaces, join, tdialog) or of hop-by-hop
# registration matters. They are taken out of Supported and Require.
_OPTIONS_NOT_PASSED = frozenset({"replaces", "join", "tdialog", "outbound", "path", "gruu", "norefersub"})
_WARN_AGENT = "platform"  # a pseudonym: the agent is the address of the party (RFC 3261 20.43)


def _describes_body(name: str) -> bool:
    return (name.startswith("Content-") and name != "Content-Length") or name == "MIME-Version"


def content_fields(message: Message) -> Fields:
    """The fields that describe the body; none when there is no body."""
    return [(n, v) for n, v in message.fields if _describes_body(n)] if message.body else []


def filter_options(value: str, drop: Iterable[str] = ()) -> str:
    """An option-tag list without what must not cross to the other leg and without those in `drop` (lower case)."""
    kept = [t for t in (x.strip() for x in value.split(",")) if t and t.lower() not in _OPTIONS_NOT_PASSED and t.lower() not in drop]
    return ", ".join(kept)


def filter_allow(value: str) -> str:
    """A method list with only what may be used through us: without REFER and what else we would refuse (call processing 1.3)."""
    return ", ".join(t for t in (x.strip() for x in value.split(",")) if t.upper() in ALLOWED)


def _hide_agents(value: str) -> str:
    """Warning values without the address of who warns. "" for what cannot be read."""
    try:
        warnings = split_list(value)
    except ParseError:
        return ""
    out = []
    for warning in warnings:
        code, _, rest = warning.partition(" ")
        text = rest.lstrip().partition(" ")[2].lstrip()
        if code.isdecimal() and text[:1] == '"':
            out.append(f"{code} {_WARN_AGENT} {text}")
    return ", ".join(out)


def leg_fields(message: Message, drop_options: Iterable[str] = ()) -> Fields:
    """The protocol fields of a message as they go on: option and method lists filtered, addresses hidden, repeated fields in their order."""
    out: Fields = []
    for name, value in message.fields:
        if name not in _LEG:
            continue
        if name in ("Supported", "Require"):
            value = filter_options(value, drop_options)
        elif name == "Allow":
            value = filter_allow(value)
        elif name == "Warning":
            value = _hide_agents(value)
        if value:
            out.append((name, value))
    return out


def passed_on(fields: Iterable[tuple[str, str]]) -> Fields:
    """Those of the whitelisted fields that are not the leg engine's own."""
    return [f for f in fields if f[0] not in _LEG]


def relayed(message: Message, headers: HeaderFilter, *, drop_options: Iterable[str] = (), body: bool = True) -> Fields:
    """Everything of a message that goes on to the other leg, apart from what the leg writes itself. With `body=False` the fields that
    describe the body are left out."""
    out = leg_fields(message, drop_options) + passed_on(headers.passed(message))
    return out + content_fields(message) if body else out

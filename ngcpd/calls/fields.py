"""Which header fields cross from one leg to the other, beyond the operator's whitelist (`routing.headers.HeaderFilter`).

Bodies and their Content-* fields pass unread; protocol fields that belong to the leg engine are copied or rebuilt here
(call processing 1.5, RFC 3262, 3326, 4028, 6086). What a leg writes itself (Via, From, To, Call-ID, CSeq, Contact, Max-Forwards, Route,
Record-Route, RSeq, RAck) is in neither list.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import filterfalse

from ngcpd.calls.model import ALLOWED
from ngcpd.routing.headers import HeaderFilter
from ngcpd.sip.base import Message
from ngcpd.sip.errors import ParseError
from ngcpd.sip.grammar import split_list
from ngcpd.sip.message import Request

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
# Most of each message: written anew for the other leg, never whitelisted.
_WRITTEN = frozenset({"Via", "From", "To", "Call-ID", "CSeq", "Contact", "Max-Forwards", "Content-Length"})
_PLAIN, _OPTIONS, _METHODS, _WARNING, _DESCRIBES = range(5)
_KINDS = dict.fromkeys(_LEG, _PLAIN) | {
    "Supported": _OPTIONS,
    "Require": _OPTIONS,
    "Allow": _METHODS,
    "Warning": _WARNING,
    "Content-Type": _DESCRIBES,
    "MIME-Version": _DESCRIBES,
}
KEPT_LENGTH = 512  # of a list whose filtered form is remembered
_WARN_AGENT = "platform"  # a pseudonym: the agent is the address of the party (RFC 3261 20.43)


def content_fields(message: Message) -> Fields:
    """The fields that describe the body; none when there is no body."""
    if not message.body:
        return []
    return [f for f in message.fields if f[0] not in _WRITTEN and (f[0].startswith("Content-") or f[0] == "MIME-Version")]


def filter_options(value: str, drop: tuple[str, ...] = ()) -> str:
    """An option-tag list without what must not cross to the other leg and without those in `drop` (lower case)."""
    return _options(value, drop) if len(value) <= KEPT_LENGTH else _filtered_options(value, drop)


def _filtered_options(value: str, drop: tuple[str, ...]) -> str:
    kept = [t for t in (x.strip() for x in value.split(",")) if t and t.lower() not in _OPTIONS_NOT_PASSED and t.lower() not in drop]
    return ", ".join(kept)


def filter_allow(value: str) -> str:
    """A method list with only what may be used through us: without REFER and what else we would refuse (call processing 1.3)."""
    return _allow(value) if len(value) <= KEPT_LENGTH else _filtered_allow(value)


def _filtered_allow(value: str) -> str:
    return ", ".join([t for t in [x.strip() for x in value.split(",")] if t.upper() in ALLOWED])


# The lists of a model of phone are the same in each of its calls.
_options = lru_cache(maxsize=512)(_filtered_options)
_allow = lru_cache(maxsize=512)(_filtered_allow)


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


def passed_on(fields: Iterable[tuple[str, str]]) -> Fields:
    """Those of the whitelisted fields that are not the leg engine's own."""
    return [f for f in fields if f[0] not in _LEG]


def relayed(message: Message, headers: HeaderFilter | None, *, drop_options: tuple[str, ...] = (), body: bool = True) -> Fields:
    """Everything of a message that goes on to the other leg, apart from what the leg writes itself: the leg engine's own fields (option and method
    lists filtered, addresses hidden), those of the whitelist `headers` (None: passed on elsewhere), and those that describe the body, unless there
    is none or `body` is False. Repeated fields keep their order."""
    fields = message.fields
    names = message.names()
    left: Iterable[tuple[str, str]]
    if len(names) == len(fields):  # each stands once: most of them are dropped without a look at their values
        left = [(name, names[name]) for name in filterfalse(_WRITTEN.__contains__, names)]
    else:
        left = [field for field in fields if field[0] not in _WRITTEN]
    own: Fields = []
    listed: Fields = []
    describing: Fields = []
    for field in left:
        name = field[0]
        kind = _KINDS.get(name)
        if kind is None:
            if name.startswith("Content-"):
                describing.append(field)
            elif headers is not None and headers.crosses(name, isinstance(message, Request)):
                listed.append(field)
        elif kind == _DESCRIBES:
            describing.append(field)
        elif kind == _PLAIN:
            if field[1]:
                own.append(field)
        else:
            value = field[1]
            if kind == _OPTIONS:
                value = filter_options(value, drop_options)
            elif kind == _METHODS:
                value = filter_allow(value)
            else:
                value = _hide_agents(value)
            if value:
                own.append((name, value))
    own += listed
    if body and message.body:
        own += describing
    return own

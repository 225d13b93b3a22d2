"""Everything about header values under one name: grammar, canonical names, addresses and Via, and the values of extensions."""

from __future__ import annotations

from ngcpd.sip.address import MAGIC_COOKIE, MAX_EXPIRES, NameAddr, Via
from ngcpd.sip.errors import ParseError
from ngcpd.sip.fields import (
    Diversion,
    Event,
    HistoryEntry,
    RAck,
    Reason,
    ReferTo,
    Replaces,
    RetryAfter,
    SessionExpires,
    SubscriptionState,
    diversions,
    history,
    identities,
    min_se,
    parse_rseq,
    privacy,
    reasons,
    session_expires,
)
from ngcpd.sip.grammar import format_params, from_wire, parse_params, quote, split_list, to_wire, unquote
from ngcpd.sip.names import canonical

__all__ = [
    "MAGIC_COOKIE",
    "MAX_EXPIRES",
    "Diversion",
    "Event",
    "HistoryEntry",
    "NameAddr",
    "ParseError",
    "RAck",
    "Reason",
    "ReferTo",
    "Replaces",
    "RetryAfter",
    "SessionExpires",
    "SubscriptionState",
    "Via",
    "canonical",
    "diversions",
    "format_params",
    "from_wire",
    "history",
    "identities",
    "min_se",
    "parse_params",
    "parse_rseq",
    "privacy",
    "quote",
    "reasons",
    "session_expires",
    "split_list",
    "to_wire",
    "unquote",
]

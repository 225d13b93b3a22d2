"""Header field names: one spelling for each, so that a name cannot slip past a comparison by its case, compact form or blanks."""

from __future__ import annotations

from typing import Final

from ngcpd.sip.errors import ParseError
from ngcpd.sip.grammar import TOKEN

_REGISTERED = (
    "Accept Accept-Contact Accept-Encoding Accept-Language Accept-Resource-Priority Alert-Info Allow Allow-Events Answer-Mode Authentication-Info "
    "Authorization Call-ID Call-Info Contact Content-Disposition Content-Encoding Content-ID Content-Language Content-Length Content-Type CSeq Date "
    "Diversion Error-Info Event Expires Feature-Caps Flow-Timer From Geolocation History-Info Identity Identity-Info In-Reply-To Info-Package Join "
    "Max-Breadth Max-Forwards MIME-Version Min-Expires Min-SE Organization P-Access-Network-Info P-Answer-State P-Asserted-Identity "
    "P-Asserted-Service P-Associated-URI P-Called-Party-ID P-Charging-Function-Addresses P-Charging-Vector P-Early-Media P-Media-Authorization "
    "P-Preferred-Identity P-Preferred-Service P-Profile-Key P-User-Database P-Visited-Network-ID Path Permission-Missing Policy-Contact "
    "Priority Privacy Proxy-Authenticate Proxy-Authorization Proxy-Require RAck Reason Record-Route Recv-Info Refer-Sub Refer-To Referred-By "
    "Reject-Contact Remote-Party-ID Replaces Reply-To Request-Disposition Require Resource-Priority Retry-After Route RSeq Server Service-Route "
    "Session-Expires Session-ID SIP-ETag SIP-If-Match Subject Subscription-State Supported Suppress-If-Match Target-Dialog Timestamp To Unsupported "
    "User-Agent User-to-User Via Warning WWW-Authenticate "
    # names with a meaning inside the platform (call processing 1.5)
    "P-NGCP-Src-Ip P-NGCP-Src-Port P-NGCP-Src-Proto P-NGCP-Src-Af P-NGCP-Src-Nat P-NGCP-Auth-IP P-NGCP-Auth-UA P-NGCP-Authorization "
    "P-NGCP-Authorized P-NGCP-Caller-Info P-NGCP-Callee-Info P-NGCP-Forward-Info P-Sock-Info P-D-Uri P-R-Uri P-Out-Socket P-App-Name P-App-Param "
    "P-Caller-UUID P-Callee-UUID P-Language P-First-Caller-UPN P-First-Caller-NPN P-Acc-Caller-User P-Acc-Caller-Domain P-Acc-State P-From-Peer "
    "P-CF-Depth P-Callee-Account-ID"
)

NAMES: Final[frozenset[str]] = frozenset(_REGISTERED.split())
"""The registered names in their canonical spelling: to these `canonical` has nothing to do."""

COMPACT: Final[dict[str, str]] = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "n": "Identity-Info",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}
"""Compact forms registered with IANA, lower case."""

_LOWER: Final[dict[str, str]] = {name.lower(): name for name in _REGISTERED.split()} | COMPACT

SPELLINGS: Final[dict[str, str]] = {}
"""Frequent spellings to the canonical one: what the fast path looks up before it falls back to `canonical`. Never changed after import."""

for _low, _name in _LOWER.items():
    for _spelling in (_low, _low.upper(), _low.title(), _name):
        SPELLINGS[_spelling] = _name

_SINGLE = (
    "From To Call-ID CSeq Max-Forwards Content-Length Content-Type Content-Disposition Expires Min-Expires Event Refer-To Referred-By Replaces RAck "
    "RSeq Session-Expires Min-SE Subscription-State SIP-ETag SIP-If-Match Join Target-Dialog"
)
SINGLE: Final[frozenset[str]] = frozenset(_SINGLE.split())
"""Headers that may stand once only and whose doubling would let two readers see different messages. Others, as a second User-Agent, are harmless."""


def canonical(name: str) -> str:
    """The one spelling of a header name: the registered one, for others each part capitalised (`X-Foo`).

    Blanks around the name (RFC 3261 allows them before the colon) do not matter. ParseError when it is no token.
    """
    found = SPELLINGS.get(name)
    if found is not None:
        return found
    low = name.strip(" \t").lower()
    found = _LOWER.get(low)
    if found is not None:
        return found
    if not low or not TOKEN.issuperset(low):
        raise ParseError("Bad Header Name")
    return "-".join([part.capitalize() for part in low.split("-")])

"""The two leg strings of an accounting row (billing 1.2). Every field is followed by `|`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote

from ngcpd.directory.model import NO_PREFS, parse_ip

if TYPE_CHECKING:
    from ngcpd.routing.model import CallContext

FIELD_LIMIT = 255
_NOTHING = NO_PREFS.effective
_NO_GPPS = ("",) * 10
_FREE_SOURCE = (1, 2, 3, 7, 8, *range(13, 23))
_FREE_DESTINATION = (4, 6, 7, 8, 9, *range(11, 21))
"""Fields whose text comes from outside or from a preference: user, domain, number, names of a peer, gpp0 to gpp9."""
_FORBIDDEN = re.compile(r"[|\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def clean(value: str) -> str:
    """A field's text: `|`, control characters and lone surrogates would break the row apart and become `_`; at most 255 characters."""
    if not value or (value.isascii() and value.isprintable() and "|" not in value and len(value) <= FIELD_LIMIT):
        return value
    return _FORBIDDEN.sub("_", value[:FIELD_LIMIT])


def _leg(fields: list[str], free: Iterable[int]) -> str:
    """The finished leg, with the `free` ones of its fields clean. Nearly always they are: one look at the whole tells, as long as it is no longer
    than a field may be."""
    leg = "|".join(fields) + "|"
    if len(leg) <= FIELD_LIMIT and leg.count("|") == len(fields) and leg.isascii() and leg.isprintable():
        return leg
    for n in free:
        fields[n] = clean(fields[n])
    return "|".join(fields) + "|"


def _external(value: str) -> str:
    return quote(value[:FIELD_LIMIT].encode("utf-8", "replace"), safe="") if value else ""


def source_ip(ctx: CallContext) -> str:
    """The address to log: of the header named by `ip_header` when that is another one than the default and holds an address."""
    name = ctx.caller_says.ip_header
    if name:
        value = ctx.request.first(name)
        if value is not None and parse_ip(value.strip()) is not None:
            return value.strip()
    return ctx.source.ip


def source_leg(ctx: CallContext) -> str:
    """The 24 fields of `src_leg`."""
    caller = ctx.caller
    says = ctx.caller_says if caller is not None else _NOTHING
    return _leg(
        [
            caller.uuid if caller is not None else "0",
            ctx.src_user,
            ctx.src_domain,
            ctx.numbers.upn,
            _external(caller.external_id) if caller is not None else "",
            _external(caller.contract_external_id) if caller is not None else "",
            str(caller.contract_id) if caller is not None else "0",
            says.peer_auth_user,
            says.peer_auth_realm,
            "1" if ctx.clir else "0",
            ctx.call_type,
            source_ip(ctx),
            f"{ctx.time:.3f}",
            *(says.gpps or _NO_GPPS),
            "",
        ],
        _FREE_SOURCE,
    )


def destination_leg(ctx: CallContext) -> str:
    """The 22 fields of `dst_leg`."""
    callee = ctx.callee
    says = ctx.callee_says if callee is not None else _NOTHING
    return _leg(
        [
            "0",
            _external(callee.external_id) if callee is not None else "",
            _external(callee.contract_external_id) if callee is not None else "",
            str(callee.contract_id) if callee is not None else "0",
            ctx.dialed_user,
            callee.uuid if callee is not None else "0",
            callee.username if callee is not None else ctx.routed_user,
            callee.domain if callee is not None else ctx.routed_domain,
            ctx.routed_user,
            ctx.routed_domain,
            "0",
            *(says.gpps or _NO_GPPS),
            "",
        ],
        _FREE_DESTINATION,
    )

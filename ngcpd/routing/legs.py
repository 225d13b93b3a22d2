"""The two leg strings of an accounting row (billing 1.2). Every field is followed by `|`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from ngcpd.directory.model import NO_PREFS, Prefs, parse_ip

if TYPE_CHECKING:
    from ngcpd.routing.model import CallContext

SOURCE_FIELDS = 24
DESTINATION_FIELDS = 22
_GPP = tuple(f"gpp{n}" for n in range(10))
FIELD_LIMIT = 255
_FORBIDDEN = re.compile(r"[|\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def clean(value: str) -> str:
    """A field's text: `|`, control characters and lone surrogates would break the row apart and become `_`; at most 255 characters."""
    if not value or (value.isascii() and value.isprintable() and "|" not in value and len(value) <= FIELD_LIMIT):
        return value
    return _FORBIDDEN.sub("_", value[:FIELD_LIMIT])


def _join(fields: list[str]) -> str:
    return "|".join(fields) + "|"


def _gpps(prefs: Prefs) -> list[str]:
    values = [prefs.get(name) for name in _GPP]
    return [clean(value) if value else "" for value in values]


def _external(value: str) -> str:
    return quote(value[:FIELD_LIMIT].encode("utf-8", "replace"), safe="") if value else ""


def source_ip(ctx: CallContext) -> str:
    """The address to log: of the header named by `ip_header` when that is another one than the default and holds an address."""
    name = ctx.caller_prefs.get("ip_header")
    if name and name.lower() != "p-ngcp-src-ip":
        value = ctx.request.first(name)
        if value is not None and parse_ip(value.strip()) is not None:
            return value.strip()
    return ctx.source.ip


def source_leg(ctx: CallContext) -> str:
    """The 24 fields of `src_leg`."""
    caller = ctx.caller
    prefs = ctx.caller_prefs if caller is not None else NO_PREFS
    return _join(
        [
            caller.uuid if caller is not None else "0",
            clean(ctx.src_user),
            clean(ctx.src_domain),
            clean(ctx.numbers.upn),
            _external(caller.external_id) if caller is not None else "",
            _external(caller.contract_external_id) if caller is not None else "",
            str(caller.contract_id) if caller is not None else "0",
            clean(prefs.get("peer_auth_user") or ""),
            clean(prefs.get("peer_auth_realm") or ""),
            "1" if ctx.clir else "0",
            ctx.call_type,
            source_ip(ctx),
            f"{ctx.time:.3f}",
            *_gpps(prefs),
            "",
        ]
    )


def destination(ctx: CallContext) -> tuple[str, str]:
    """(final callee user, user as dialed)."""
    return (ctx.callee.username if ctx.callee is not None else ctx.routed_user), ctx.dialed_user


def destination_leg(ctx: CallContext) -> str:
    """The 22 fields of `dst_leg`."""
    callee = ctx.callee
    prefs = ctx.callee_prefs if callee is not None else NO_PREFS
    return _join(
        [
            "0",
            _external(callee.external_id) if callee is not None else "",
            _external(callee.contract_external_id) if callee is not None else "",
            str(callee.contract_id) if callee is not None else "0",
            clean(ctx.dialed_user),
            callee.uuid if callee is not None else "0",
            clean(callee.username if callee is not None else ctx.routed_user),
            clean(callee.domain if callee is not None else ctx.routed_domain),
            clean(ctx.routed_user),
            clean(ctx.routed_domain),
            "0",
            *_gpps(prefs),
            "",
        ]
    )

"""The two leg strings of an accounting row (billing 1.2). Every field is followed by `|`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from ngcpd.directory.effective import Effective
from ngcpd.directory.model import parse_ip

if TYPE_CHECKING:
    from ngcpd.routing.model import CallContext

SOURCE_FIELDS = 24
DESTINATION_FIELDS = 22
FIELD_LIMIT = 255
_NO_GPPS = [""] * 10
_FORBIDDEN = re.compile(r"[|\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def clean(value: str) -> str:
    """A field's text: `|`, control characters and lone surrogates would break the row apart and become `_`; at most 255 characters."""
    if not value or (value.isascii() and value.isprintable() and "|" not in value and len(value) <= FIELD_LIMIT):
        return value
    return _FORBIDDEN.sub("_", value[:FIELD_LIMIT])


def _join(fields: list[str]) -> str:
    return "|".join(fields) + "|"


def _gpps(says: Effective) -> list[str]:
    return [clean(value) for value in says.gpps] or _NO_GPPS


def _is_clean(leg: str, fields: int) -> bool:
    """Whether every field of a finished leg is as `clean` leaves it: so one look at the whole does, as long as it is not longer than one may be."""
    return len(leg) <= FIELD_LIMIT and leg.count("|") == fields and leg.isascii() and leg.isprintable()


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
    says = ctx.caller_says
    upn = ctx.numbers.upn
    clir = "1" if ctx.clir else "0"
    if caller is not None and not (says.gpps or says.peer_auth_user or says.peer_auth_realm):
        who = f"{_external(caller.external_id)}|{_external(caller.contract_external_id)}|{caller.contract_id}"
        when = f"{clir}|{ctx.call_type}|{source_ip(ctx)}|{ctx.time:.3f}"
        leg = f"{caller.uuid}|{ctx.src_user}|{ctx.src_domain}|{upn}|{who}|||{when}||||||||||||"
        if _is_clean(leg, SOURCE_FIELDS):
            return leg
    return _join(
        [
            caller.uuid if caller is not None else "0",
            clean(ctx.src_user),
            clean(ctx.src_domain),
            clean(upn),
            _external(caller.external_id) if caller is not None else "",
            _external(caller.contract_external_id) if caller is not None else "",
            str(caller.contract_id) if caller is not None else "0",
            clean(says.peer_auth_user) if caller is not None else "",
            clean(says.peer_auth_realm) if caller is not None else "",
            clir,
            ctx.call_type,
            source_ip(ctx),
            f"{ctx.time:.3f}",
            *(_gpps(says) if caller is not None else _NO_GPPS),
            "",
        ]
    )


def destination_leg(ctx: CallContext) -> str:
    """The 22 fields of `dst_leg`."""
    callee = ctx.callee
    says = ctx.callee_says
    if callee is not None and not says.gpps:
        who = f"{_external(callee.external_id)}|{_external(callee.contract_external_id)}|{callee.contract_id}"
        found = f"{callee.uuid}|{callee.username}|{callee.domain}|{ctx.routed_user}|{ctx.routed_domain}"
        leg = f"0|{who}|{ctx.dialed_user}|{found}|0||||||||||||"
        if _is_clean(leg, DESTINATION_FIELDS):
            return leg
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
            *(_gpps(says) if callee is not None else _NO_GPPS),
            "",
        ]
    )

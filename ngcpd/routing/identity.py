"""How the caller and callee are named on leg B: From, To, P-Asserted-Identity, P-Preferred-Identity, Privacy (call processing 3.7, 3.3.4).

Identities are built here from what the platform knows, never copied from what the caller sent.
"""

from __future__ import annotations

from ngcpd.directory.effective import Effective
from ngcpd.directory.model import Snapshot
from ngcpd.routing.model import FOREIGN, LOCAL, CallContext, Numbers
from ngcpd.routing.rewriting import outbound_callee, outbound_caller
from ngcpd.routing.uris import ANONYMOUS, ANONYMOUS_ADDRESS, sip_uri
from ngcpd.sip.address import name_addr
from ngcpd.sip.grammar import to_wire

Fields = list[tuple[str, str]]


def pick(kind: str, numbers: Numbers) -> str:
    """The value a preference like `outbound_from_user` names; `uprn/x` is the redirecting number when there is one, else x."""
    if kind == "npn":
        return numbers.npn
    if kind == "none":
        return ""
    if kind.startswith("uprn/"):
        return numbers.uprn or pick(kind[5:], numbers)
    if kind == "upn":
        return numbers.upn
    if kind == "auth_user":
        return numbers.auth_user
    if kind == "rcv_display":
        return numbers.rcv_display
    if kind == "np_display":
        return numbers.np_display
    if kind == "uprn":
        return numbers.uprn
    return ""


def hidden(ctx: CallContext, says: Effective) -> bool:
    """The callee does not learn who calls: CLIR, unless it may see everybody (`clir_override`)."""
    return ctx.clir and not says.clir_override


def identity_fields(ctx: CallContext, snapshot: Snapshot, says: Effective) -> tuple[str, Fields]:
    """(From value without tag, the identity fields) for a target with these preferences."""
    if hidden(ctx, says):
        return ANONYMOUS_ADDRESS, [("Privacy", "id")]
    if ctx.caller_class == FOREIGN:
        return _foreign(ctx, says)
    host = ctx.caller.domain if ctx.caller is not None else ctx.request.from_.uri.host or ctx.src_domain
    phone = says.outbound_from_user_is_phone

    def shown(kind: str) -> str:
        return outbound_caller(ctx, snapshot, says, pick(kind, ctx.numbers))

    wanted = says.outbound_from_user
    user = shown(wanted)
    by_kind = {wanted: user}
    user = user or shown("npn") or shown("upn") or shown("auth_user") or ANONYMOUS
    uri = sip_uri(user, host, phone=phone)
    from_ = name_addr("" if says.outbound_from_display == "none" else to_wire(shown(says.outbound_from_display)), uri)
    fields: Fields = []
    for name, kind in (("P-Asserted-Identity", says.outbound_pai_user), ("P-Preferred-Identity", says.outbound_ppi_user)):
        if kind == "none":
            continue
        value = by_kind.get(kind)
        if value is None:
            value = by_kind[kind] = shown(kind)
        if value and value.lower() != ANONYMOUS:
            fields.append((name, f"<{uri if value == user else sip_uri(value, host, phone=phone)}>"))
    return from_, fields


def _foreign(ctx: CallContext, says: Effective) -> tuple[str, Fields]:
    """From as received, and asserted as such: it is all that is known."""
    uri = ctx.request.from_.uri
    if uri.headers:
        uri = uri.replace(headers="")
    display = pick(says.outbound_from_display, ctx.numbers)
    return name_addr(to_wire(display), str(uri)), [("P-Asserted-Identity", f"<{uri}>")]


def to_header(ctx: CallContext, snapshot: Snapshot, says: Effective, keep: bool) -> str:
    """The To value by `outbound_to_user`: the called party, or To as received (`rcvd_to`, or `keep` = setting `keep_original_to`)."""
    if keep or says.outbound_to_user == "rcvd_to":
        received = ctx.request.to
        uri = received.uri.replace(headers="") if received.uri.headers else received.uri
        return name_addr(received.display, str(uri))
    phone = says.outbound_to_user_is_phone
    if ctx.callee is not None and ctx.target == LOCAL:
        return f"<{sip_uri(ctx.callee.username, ctx.callee.domain, phone=phone)}>"
    return f"<{sip_uri(outbound_callee(ctx, snapshot, says, ctx.routed_user), ctx.routed_domain, phone=phone)}>"

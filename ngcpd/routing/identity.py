"""How the caller and callee are named on leg B: From, To, P-Asserted-Identity, P-Preferred-Identity, Privacy (call processing 3.7, 3.3.4).

Identities are built here from what the platform knows, never copied from what the caller sent.
"""

from __future__ import annotations

from ngcpd.directory.model import Prefs, Snapshot
from ngcpd.routing.model import FOREIGN, LOCAL, CallContext, Numbers
from ngcpd.routing.rewriting import outbound_callee, outbound_caller
from ngcpd.routing.uris import ANONYMOUS, ANONYMOUS_ADDRESS, sip_uri
from ngcpd.sip.grammar import to_wire
from ngcpd.sip.headers import NameAddr

Fields = list[tuple[str, str]]


def pick(kind: str, numbers: Numbers) -> str:
    """The value a preference like `outbound_from_user` names; `uprn/x` is the redirecting number when there is one, else x."""
    if kind.startswith("uprn/"):
        return numbers.uprn or pick(kind[5:], numbers)
    if kind == "npn":
        return numbers.npn
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


def hidden(ctx: CallContext, prefs: Prefs) -> bool:
    """The callee does not learn who calls: CLIR, unless it may see everybody (`clir_override`)."""
    return ctx.clir and not prefs.flag("clir_override")


def identity_fields(ctx: CallContext, snapshot: Snapshot, prefs: Prefs) -> tuple[str, Fields]:
    """(From value without tag, the identity fields) for a target with these preferences."""
    if hidden(ctx, prefs):
        return ANONYMOUS_ADDRESS, [("Privacy", "id")]
    if ctx.caller_class == FOREIGN:
        return _foreign(ctx, prefs)
    host = ctx.caller.domain if ctx.caller is not None else ctx.request.from_.uri.host or ctx.src_domain
    phone = prefs.flag("outbound_from_user_is_phone")

    def shown(kind: str) -> str:
        return outbound_caller(ctx, snapshot, prefs, pick(kind, ctx.numbers))

    user = shown(prefs.get("outbound_from_user") or "npn") or shown("npn") or shown("upn") or shown("auth_user") or ANONYMOUS
    display = shown(prefs.get("outbound_from_display") or "none")
    from_ = NameAddr(to_wire(display), sip_uri(user, host, phone=phone))
    fields: Fields = []
    for name, preference, default in (
        ("P-Asserted-Identity", "outbound_pai_user", "npn"),
        ("P-Preferred-Identity", "outbound_ppi_user", "none"),
    ):
        value = shown(prefs.get(preference) or default)
        if value and value.lower() != ANONYMOUS:
            fields.append((name, str(NameAddr("", sip_uri(value, host, phone=phone)))))
    return str(from_), fields


def _foreign(ctx: CallContext, prefs: Prefs) -> tuple[str, Fields]:
    """From as received, and asserted as such: it is all that is known."""
    uri = ctx.request.from_.uri
    if uri.headers:
        uri = uri.replace(headers="")
    display = pick(prefs.get("outbound_from_display") or "none", ctx.numbers)
    return str(NameAddr(to_wire(display), uri)), [("P-Asserted-Identity", str(NameAddr("", uri)))]


def to_header(ctx: CallContext, snapshot: Snapshot, prefs: Prefs, keep: bool) -> str:
    """The To value by `outbound_to_user`: the called party, or To as received (`rcvd_to`, or `keep` = setting `keep_original_to`)."""
    kind = prefs.get("outbound_to_user") or "callee"
    if keep or kind == "rcvd_to":
        received = ctx.request.to
        uri = received.uri.replace(headers="") if received.uri.headers else received.uri
        return str(NameAddr(received.display, uri))
    phone = prefs.flag("outbound_to_user_is_phone")
    if ctx.callee is not None and ctx.target == LOCAL:
        return str(NameAddr("", sip_uri(ctx.callee.username, ctx.callee.domain, phone=phone)))
    return str(NameAddr("", sip_uri(outbound_callee(ctx, snapshot, prefs, ctx.routed_user), ctx.routed_domain, phone=phone)))

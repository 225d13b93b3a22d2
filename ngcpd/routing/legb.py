"""C25: the INVITE of leg B, one branch per contact of the callee (call processing 3.7, 3.10, 1.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ngcpd.directory.effective import Effective
from ngcpd.directory.model import Prefs, Snapshot
from ngcpd.registrar.model import Binding
from ngcpd.routing.identity import hidden, identity_fields, to_header
from ngcpd.routing.model import Branch, CallContext, Deliver, MediaHints, RoutingSettings
from ngcpd.routing.rejects import Rejects
from ngcpd.routing.rewriting import outbound_callee
from ngcpd.routing.stage import Outcome
from ngcpd.routing.uris import is_own
from ngcpd.sip.errors import ParseError
from ngcpd.sip.flow import family_of
from ngcpd.sip.headers import NameAddr
from ngcpd.sip.uri import Uri, escape_user

if TYPE_CHECKING:
    from ngcpd.sip.transport import Flow

Flows = Callable[[int], "Flow | None"]
"""The open connection with this `Flow.id`."""


def user_agent(ctx: CallContext, says: Effective) -> str:
    """User-Agent towards the target by `ua_header_mode` (call processing 1.3), "" for none."""
    mode = says.ua_header_mode
    if mode == "passthrough":
        return ctx.request.first("User-Agent") or ""
    return says.ua_header_replace if mode == "replace" else ""


class BuildLegB:
    """Builds the branches and delivers. Contacts that cannot be reached are left out; when none is left the callee is offline."""

    def __init__(self, rejects: Rejects, settings: RoutingSettings, flows: Flows) -> None:
        self._reject = rejects
        self._settings = settings
        self._flows = flows

    def run(self, ctx: CallContext, snapshot: Snapshot) -> Outcome:
        prefs, says, settings = ctx.callee_prefs, ctx.callee_says, self._settings
        from_, fields = identity_fields(ctx, snapshot, says)
        to = to_header(ctx, snapshot, says, settings.keep_original_to)
        agent = user_agent(ctx, says)
        if agent:
            fields.append(("User-Agent", agent))
        passed = settings.headers.passed(ctx.request, allow_refer=settings.allow_refer_method)
        if ctx.clir and hidden(ctx, says):  # a picture or business card says who it is
            passed = [f for f in passed if f[0] != "Call-Info"]
        fields += passed
        number = self._number_for_ruri(ctx, snapshot, says) if says.e164_to_ruri else ""
        branches: list[Branch] = []
        for binding in ctx.bindings:
            branch, why = self._branch(binding, number, prefs, says.media)
            if branch is None:
                ctx.looked += (binding.contact, why)
                continue
            branch.from_, branch.to, branch.fields = from_, to, fields.copy()
            branches.append(branch)
            ctx.looked += (binding.contact, branch.request_uri)
        return Deliver(branches) if branches else self._reject("callee_offline")

    @staticmethod
    def _number_for_ruri(ctx: CallContext, snapshot: Snapshot, says: Effective) -> str:
        """The user part for trunk devices (`e164_to_ruri`): the number dialed, else the primary number; "" = that of the contact."""
        if ctx.callee is None:
            return ""
        if ctx.dialed_by in ("primary", "alias"):
            number = ctx.routed_user
        else:
            number = ctx.callee.primary.e164 if ctx.callee.primary is not None else ""
        return outbound_callee(ctx, snapshot, says, number)

    def _branch(self, binding: Binding, number: str, prefs: Prefs, media: MediaHints) -> tuple[Branch | None, str]:
        """The branch to one contact, or why there is none."""
        try:
            contact = Uri.parse(binding.contact)
            path = [NameAddr.parse(p) for p in binding.path if not self._internal(p)] if binding.path else []
        except ParseError as error:
            return None, error.reason
        if contact.scheme not in ("sip", "sips"):
            return None, "not a SIP URI"
        next_hop = path[0].uri if path else contact
        flow = self._flows(binding.flow_id) if binding.flow_id else None
        if binding.flow_id and (flow is None or not flow.alive):
            return None, "its connection has ended"
        if flow is None and binding.received is None and is_own(next_hop, self._settings):
            return None, "it is the platform itself"
        transport = binding.transport if binding.received is not None else next_hop.transport
        socket = self._socket(binding, next_hop, transport)
        request_uri = _request_uri(contact, number)
        family = flow.family if flow is not None else _family(binding, next_hop)
        routes = tuple([str(p) for p in path]) if path else ()
        label = f"{contact.scheme}:{contact.aor}"
        return Branch(request_uri, next_hop, binding.received, routes, flow, socket, transport, "", "", [], label, prefs, binding, media, family), ""

    def _internal(self, path: str) -> bool:
        """A Path value that stands for the platform itself: stored for show, not a hop."""
        return path in self._settings.internal_paths or is_own(NameAddr.parse(path).uri, self._settings)

    def _socket(self, binding: Binding, next_hop: Uri, transport: str) -> str | None:
        """The socket the contact registered by, when it is still there and fits the next hop."""
        name = binding.socket
        if not name or (self._settings.own_sockets and name not in self._settings.own_sockets):
            return None
        kind, _, where = name.partition(":")
        host = binding.received[0] if binding.received is not None else next_hop.host
        family = family_of(host)
        secure = next_hop.scheme == "sips" and binding.received is None
        if not family or secure or kind != (transport or "udp") or (6 if where.startswith("[") else 4) != family:
            return None
        return name


def _request_uri(contact: Uri, number: str) -> str:
    """The contact as a Request-URI: without headers and `method`, which have no place there (RFC 3261 19.1.1)."""
    if number:
        contact = contact.replace(user=escape_user(number), password=None)
    if contact.headers:
        contact = contact.replace(headers="")
    if "method" in contact.params:
        contact = contact.without_params(("method",))
    return str(contact)


def _family(binding: Binding, next_hop: Uri) -> int:
    """4 or 6: of the address that will be sent to; of a name, that of the socket it registered by."""
    if binding.received is not None:
        return family_of(binding.received[0]) or 4
    return family_of(next_hop.host) or (6 if "[" in binding.socket else 4)

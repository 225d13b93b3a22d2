"""One SIP dialog as seen from our end (RFC 3261 12): identifiers, sequence numbers, route set, remote target, next hop."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from ngcpd.runtime.ports import Address
from ngcpd.sip.base import Message, Star
from ngcpd.sip.endpoint import Endpoint, Hop, NoRoute
from ngcpd.sip.flow import Flow
from ngcpd.sip.headers import NameAddr
from ngcpd.sip.message import Request, Response
from ngcpd.sip.uri import Uri

DialogId = tuple[str, str, str]


def without_tag(address: NameAddr) -> str:
    """A From or To value as text without its tag."""
    params = "".join(f";{k}" if v is None else f";{k}={v}" for k, v in address.params.items() if k != "tag")
    display = f"{address.display} " if address.display else ""
    return f"{display}<{address.uri}>{params}"


class Dialog:
    """`local` and `remote` are the From/To texts without tags; `local_seq` is the last number we used, `remote_seq` the last we saw.

    Where requests go: the first Route, else the remote target; a party behind NAT or on a connection is reached at the flow or the
    address it last spoke from (call processing 1.6)."""

    __slots__ = (
        "_hops",
        "call_id",
        "contact_user",
        "endpoint",
        "flow",
        "follow_source",
        "local",
        "local_seq",
        "local_tag",
        "received",
        "remote",
        "remote_seq",
        "remote_tag",
        "routes",
        "socket",
        "target",
        "token",
    )

    def __init__(
        self, endpoint: Endpoint, call_id: str, local: str, local_tag: str, remote: str, remote_tag: str, contact_user: str, token: str
    ) -> None:
        self.endpoint = endpoint
        self.call_id = call_id
        self.local = local
        self.local_tag = local_tag
        self.remote = remote
        self.remote_tag = remote_tag
        self.local_seq = 0
        self.remote_seq = -1
        self.routes: list[NameAddr] = []
        self.target: Uri | None = None
        self.follow_source = False
        self.flow: Flow | None = None
        self.received: Address | None = None
        self.socket: str | None = None
        self.contact_user = contact_user
        self.token = token
        self._hops: list[Hop] | None = None

    @property
    def key(self) -> DialogId:
        return (self.call_id, self.local_tag, self.remote_tag)

    # -------------------------------------------------------------------------------------------------------- making
    @classmethod
    def uas(cls, endpoint: Endpoint, request: Request, flow: Flow, local_tag: str, follow_source: bool, contact_user: str, token: str) -> Dialog:
        """The dialog made by answering `request` with `local_tag`. Raises ParseError for an unusable Contact or Record-Route."""
        dialog = cls(endpoint, request.call_id, without_tag(request.to), local_tag, without_tag(request.from_), request.from_tag, contact_user, token)
        dialog.remote_seq = request.cseq
        dialog.routes = list(request.record_routes)
        dialog.flow = flow
        dialog.socket = flow.socket.name
        dialog.follow_source = follow_source or flow.reliable
        dialog.refresh_target(request)
        return dialog

    @classmethod
    def uac(cls, endpoint: Endpoint, request: Request, response: Response, contact_user: str, token: str) -> Dialog:
        """The dialog made by `response` to our own `request`."""
        local, remote = without_tag(request.from_), without_tag(request.to)
        dialog = cls(endpoint, request.call_id, local, request.from_tag, remote, response.to_tag, contact_user, token)
        dialog.local_seq = request.cseq
        dialog.target = request.ruri
        dialog.accept(response)
        return dialog

    def accept(self, response: Response) -> None:
        """Take route set and target from a response that makes or confirms the dialog."""
        routes = response.record_routes
        if routes:
            self.routes = list(reversed(routes))
        self.refresh_target(response)

    def refresh_target(self, message: Message) -> None:
        """RFC 3261 12.2: the Contact of a target refresh request or its 2xx."""
        contacts = message.contacts
        if isinstance(contacts, Star) or not contacts:
            return
        uri = contacts[0].uri
        if self.target is None or str(uri) != str(self.target):
            self.target = uri
            self._hops = None

    def heard(self, flow: Flow) -> None:
        """A request of the other end came over `flow`: a party behind NAT or on a connection is answered there from now on."""
        if (self.follow_source or flow.reliable) and flow is not self.flow:
            self.follow_source = True
            self.flow = flow
            self.socket = flow.socket.name
            self._hops = None

    # -------------------------------------------------------------------------------------------------------- sending
    def hops(self) -> list[Hop] | Deferred[list[Hop]]:
        """Where the next request goes. Raises or errbacks NoRoute."""
        if self._hops is not None and (not self._hops or self._hops[0].flow is None or self._hops[0].flow.alive):
            return self._hops
        next_hop = self.routes[0].uri if self.routes else self.target
        if next_hop is None:
            raise NoRoute("dialog without remote target")
        flow = self.flow if self.follow_source and not self.routes else None
        if flow is not None and not flow.alive:
            flow = None
        found = self.endpoint.resolve(next_hop, received=self.received, flow=flow, forced_socket=self.socket)
        if isinstance(found, Deferred):
            return found.addCallback(self._keep)
        return self._keep(found)

    def _keep(self, hops: list[Hop]) -> list[Hop]:
        self._hops = hops
        return hops

    def contact(self, hop: Hop) -> str:
        """Our Contact as this party shall see it: an address of the platform that maps back to the dialog."""
        return f"<sip:{self.contact_user}@{hop.contact_host};ngcpct={self.token}>"

    def request(self, method: str, hop: Hop, fields: list[tuple[str, str]], body: bytes = b"", cseq: int = 0, max_forwards: int = 70) -> Request:
        """A request inside this dialog. `cseq` repeats a number (ACK); else the next one is used."""
        if not cseq:
            self.local_seq += 1
            cseq = self.local_seq
        uri = str(self.target)
        routes = [str(r) for r in self.routes]
        if routes and "lr" not in self.routes[0].uri.params:  # strict router, RFC 3261 12.2.1.1
            routes.append(f"<{uri}>")
            uri = str(self.routes[0].uri)
            routes.pop(0)
        head = [
            ("Max-Forwards", str(max_forwards)),
            ("From", f"{self.local};tag={self.local_tag}"),
            ("To", f"{self.remote};tag={self.remote_tag}" if self.remote_tag else self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} {method}"),
        ]
        head += [("Route", r) for r in routes]
        if method != "BYE" and method != "ACK":
            head.append(("Contact", self.contact(hop)))
        return Request.make(method, uri, head + fields, body)


def with_hops(dialog: Dialog, fn: Callable[[list[Hop]], None], failed: Callable[[str], None]) -> None:
    """Call `fn(hops)` now when no DNS is needed, else when the answer is there; `failed(reason)` when there is no way."""
    try:
        hops = dialog.hops()
    except NoRoute as error:
        failed(error.reason)
        return
    if isinstance(hops, Deferred):
        hops.addCallbacks(fn, lambda failure: failed(failure.getErrorMessage()))
    elif hops:
        fn(hops)
    else:
        failed("no hop")

"""One SIP dialog as seen from our end (RFC 3261 12): identifiers, sequence numbers, route set, remote target, next hop."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ngcpd.calls.model import Persona
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Address
from ngcpd.sip.base import Message, Star
from ngcpd.sip.endpoint import Endpoint, Hop, NoRoute
from ngcpd.sip.errors import ParseError
from ngcpd.sip.flow import Flow
from ngcpd.sip.headers import NameAddr
from ngcpd.sip.message import Request, Response
from ngcpd.sip.stack import ClientTransaction
from ngcpd.sip.uri import Uri

DialogId = tuple[str, str, str]
TARGET_REFRESH = frozenset({"INVITE", "UPDATE"})
KEPT_LENGTH = 512  # of a From or To whose spelling is remembered
_WITH_CONTACT = frozenset({"INVITE", "UPDATE", "NOTIFY"})

log = logger("calls")


def without_tag(address: NameAddr) -> str:
    """A From or To value as text without its tag."""
    if "tag" not in address.params:
        return str(address)
    return str(address.replace(params={k: v for k, v in address.params.items() if k != "tag"}))


def untagged(text: str, tag: str = "") -> str:
    """`without_tag` of a From or To value whose tag is known. ParseError."""
    end = f";tag={tag}"
    if tag and text.endswith(end):
        try:
            return untagged(text[: -len(end)])
        except ParseError:  # it can only be read as a whole
            pass
    return _kept(text) if len(text) <= KEPT_LENGTH else _untagged(text)


def _untagged(text: str) -> str:
    return without_tag(NameAddr.parse(text))


_kept = lru_cache(maxsize=4096)(_untagged)  # the same users call and are called again and again


class Dialog:
    """`local` and `remote` are the From/To texts without tags; `local_seq` is the last number we used, `remote_seq` the last we saw.

    Where requests go (call processing 1.6): over `flow`, the connection or pair of addresses that a party behind NAT or on a connection
    spoke from last; else to the first Route; else to `received`, the source address of a registered contact behind NAT; else to the
    remote target. A `bound` party is reached in no other way than the first: its contact address means nothing out here.
    """

    __slots__ = (
        "bound",
        "call_id",
        "endpoint",
        "flow",
        "local",
        "local_seq",
        "local_tag",
        "me",
        "received",
        "remote",
        "remote_seq",
        "remote_tag",
        "routes",
        "socket",
        "target",
        "transport",
    )

    def __init__(self, endpoint: Endpoint, me: Persona, call_id: str, local: str, local_tag: str, remote: str, remote_tag: str) -> None:
        self.endpoint = endpoint
        self.me = me
        self.call_id = call_id
        self.local = local
        self.local_tag = local_tag
        self.remote = remote
        self.remote_tag = remote_tag
        self.local_seq = 0
        self.remote_seq = -1
        self.routes: list[NameAddr] = []
        self.target: Uri | None = None
        self.bound = False
        self.flow: Flow | None = None
        self.received: Address | None = None
        self.transport = ""  # that of `received`
        self.socket: str | None = None

    @property
    def key(self) -> DialogId:
        return (self.call_id, self.local_tag, self.remote_tag)

    # -------------------------------------------------------------------------------------------------------- making
    @classmethod
    def uas(cls, endpoint: Endpoint, me: Persona, request: Request, flow: Flow, local_tag: str, nat: bool) -> Dialog:
        """The dialog made by answering `request` with `local_tag`. Raises ParseError for an unusable Contact or Record-Route."""
        names = request.names()
        to, from_tag = untagged(names["To"], request.to_tag), request.from_tag
        dialog = cls(endpoint, me, request.call_id, to, local_tag, untagged(names["From"], from_tag), from_tag)
        dialog.remote_seq = request.cseq
        dialog.routes = list(request.record_routes)
        dialog.socket = flow.socket.name
        dialog.bound = nat
        if nat or flow.reliable:
            dialog.flow = flow
        dialog.refresh_target(request)
        return dialog

    @classmethod
    def uac(cls, endpoint: Endpoint, me: Persona, call_id: str, from_: str, from_tag: str, to: str, response: Response) -> Dialog:
        """The dialog made by `response` to a request of our own, which had these identifiers (no tag in `from_` and `to`); its number and target
        are still to be set. Raises ParseError for an unreadable To."""
        return cls(endpoint, me, call_id, untagged(from_), from_tag, untagged(to), response.to_tag)

    def accept(self, response: Response) -> None:
        """Take route set and target from a response that makes or confirms the dialog (RFC 3261 12.1.2, 13.2.2.4). ParseError."""
        routes = response.record_routes
        if routes:
            self.routes = list(reversed(routes))
        self.refresh_target(response)

    def refresh_target(self, message: Message) -> None:
        """RFC 3261 12.2: the Contact of a target refresh request or its 2xx. ParseError."""
        contacts = message.contacts
        if not isinstance(contacts, Star) and contacts:
            self.target = contacts[0].uri

    def heard(self, flow: Flow) -> None:
        """A request of the other end came over `flow`: a party behind NAT or on a connection is answered there from now on."""
        if self.bound or flow.reliable:
            self.flow = flow
            self.socket = flow.socket.name

    # -------------------------------------------------------------------------------------------------------- sending
    def hops(self) -> list[Hop] | Deferred[list[Hop]]:
        """Where the next request goes. Raises or errbacks NoRoute."""
        target = self.target
        if target is None:
            raise NoRoute("dialog without remote target")
        flow = self.flow
        if flow is not None and (flow.reliable or not self.routes):
            if flow.alive:
                return self.endpoint.resolve(target, flow=flow)
            if self.bound and not self.routes:
                raise NoRoute("the connection of the party has ended")
        next_hop = self.routes[0].uri if self.routes else target
        if self.socket is None:
            return self._resolve(next_hop, None)
        try:
            found = self._resolve(next_hop, self.socket)
        except NoRoute:  # the target has another transport or family than the socket that was used so far
            return self._resolve(next_hop, None)
        return found if not isinstance(found, Deferred) else self._or_any_socket(found, next_hop)

    def _or_any_socket(self, found: Deferred[list[Hop]], next_hop: Uri) -> Deferred[list[Hop]]:
        def again(failure: Failure) -> Failure | list[Hop] | Deferred[list[Hop]]:
            return self._resolve(next_hop, None) if isinstance(failure.value, NoRoute) else failure

        either: Deferred[list[Hop]] = found.addErrback(again)  # type: ignore[call-overload]
        return either

    def _resolve(self, next_hop: Uri, socket: str | None) -> list[Hop] | Deferred[list[Hop]]:
        return self.endpoint.resolve(next_hop, self.received, None, socket, self.transport if self.received is not None else "")

    def request(self, method: str, hop: Hop, fields: list[tuple[str, str]], body: bytes = b"", cseq: int = 0) -> Request:
        """A request inside this dialog. `cseq` repeats a number (ACK); else the next one is used."""
        if not cseq:
            self.local_seq += 1
            cseq = self.local_seq
        uri = str(self.target)
        head = [
            ("Max-Forwards", str(self.me.max_forwards)),
            ("From", f"{self.local};tag={self.local_tag}"),
            ("To", f"{self.remote};tag={self.remote_tag}" if self.remote_tag else self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} {method}"),
        ]
        if self.routes:
            routes = [str(r) for r in self.routes]
            if "lr" not in self.routes[0].uri.params:  # strict router, RFC 3261 12.2.1.1
                routes.append(f"<{uri}>")
                uri = str(self.routes[0].uri)
                routes.pop(0)
            head += [("Route", r) for r in routes]
        if method in _WITH_CONTACT:
            head.append(("Contact", self.me.contact(hop.contact_host)))
        return Request.make(method, uri, head + fields, body)


class Silent:
    """User of a client transaction whose outcome does not matter (RFC 3261 15: a BYE ends the dialog whatever the answer)."""

    __slots__ = ()

    def response(self, tx: ClientTransaction, response: Response) -> None:
        return

    def failed(self, tx: ClientTransaction, kind: str) -> None:
        return


def when_resolved(hops: list[Hop] | Deferred[list[Hop]], fn: Callable[[list[Hop]], object], failed: Callable[[str], object]) -> None:
    """Call `fn(hops)` now when no DNS was needed, else when the answer is there; `failed(reason)` when there is no way."""
    if not isinstance(hops, Deferred):
        fn(hops)
        return

    def trouble(failure: Failure) -> None:
        if not isinstance(failure.value, NoRoute):
            log.error("fault after a name was resolved", why=failure.getErrorMessage(), kind=type(failure.value).__name__)
        failed(failure.getErrorMessage())

    hops.addCallback(fn).addErrback(trouble)


def with_hops(dialog: Dialog, fn: Callable[[list[Hop]], object], failed: Callable[[str], object]) -> None:
    """`when_resolved` for the next request of a dialog."""
    try:
        hops = dialog.hops()
    except NoRoute as error:
        failed(error.reason)
        return
    when_resolved(hops, fn, failed)

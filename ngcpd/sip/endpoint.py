"""Where a request goes and what we call ourselves there: the only source of Via and of Contact host, port and transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ngcpd.runtime.ports import Address
from ngcpd.sip.dns import DnsError, Resolver, Target
from ngcpd.sip.flow import DEFAULT_PORT, TRANSPORTS, WEBSOCKETS, Flow, SipSocket, family_of
from ngcpd.sip.transport import Transports
from ngcpd.sip.uri import Uri


class NoRoute(Exception):
    """There is no way to the destination; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Hop:
    """One place to send a request to.

    `flow`: the connection or pair of addresses to use, None: by `socket` and `remote`; `transport`; `via_prefix` ("SIP/2.0/UDP host:port");
    `contact_host` ("host:port[;transport=tcp]"); `tls_name`: the name the peer's certificate must carry when certificates are verified.
    """

    flow: Flow | None
    socket: SipSocket
    transport: str
    remote: Address
    via_prefix: str
    contact_host: str
    tls_name: str = ""


def _loopback(host: str) -> bool:
    return host == "::1" or host.startswith("127.")


class Endpoint:
    """Resolves next hops against the sockets of one stack."""

    KEPT: ClassVar[int] = 4096

    def __init__(self, transports: Transports, resolver: Resolver) -> None:
        self.transports = transports
        self.resolver = resolver
        # The way to a numeric address is the same each time: by transport (as far as it was said), address and forced socket.
        self._known: dict[tuple[str, str, int, str | None], Hop] = {}
        self._sockets = 0  # as many as there were when these were found

    def resolve(
        self, next_hop: Uri, received: Address | None = None, flow: Flow | None = None, forced_socket: str | None = None, transport: str = ""
    ) -> list[Hop] | Deferred[list[Hop]]:
        """The hops for `next_hop`, in the order to try them (RFC 3263 4.3): a list at once when no DNS is needed.

        `flow`: send over this one and nothing else. `received`: send to this address whatever the URI says (a contact behind NAT).
        `forced_socket`: label or name of the socket to send from. `transport`: overrides that of the URI. Raises or errbacks NoRoute.
        """
        if flow is not None:
            if not flow.alive:
                raise NoRoute("the connection has ended")
            sock = flow.socket
            return [Hop(flow, sock, sock.transport, flow.remote, sock.via_prefix, sock.contact_host)]
        if next_hop.scheme != "sip" or "maddr" in next_hop.params:
            return self._resolve(next_hop, received, forced_socket, transport)
        if self._sockets != len(self.transports.sockets):
            self._sockets = len(self.transports.sockets)
            self._known.clear()
        host, port = (next_hop.host, next_hop.port or 0) if received is None else received
        key = (transport or next_hop.transport, host, port, forced_socket)
        hop = self._known.get(key)
        if hop is not None:
            return [hop]
        found = self._resolve(next_hop, received, forced_socket, transport)
        if not isinstance(found, Deferred) and found[0].remote[0] == host and found[0].transport != "tls":
            if len(self._known) >= self.KEPT:
                self._known.clear()
            self._known[key] = found[0]
        return found

    def _resolve(self, next_hop: Uri, received: Address | None, forced_socket: str | None, transport: str) -> list[Hop] | Deferred[list[Hop]]:
        secure = next_hop.scheme.lower() == "sips"
        if next_hop.scheme.lower() not in ("sip", "sips") and received is None:
            raise NoRoute("not a sip: or sips: URI")
        forced = self._forced(forced_socket)
        kind = transport.lower() or next_hop.transport
        if secure and kind != "udp":
            kind = "tls" if kind in ("", "tcp", "tls") else kind
        if not kind and forced is not None:
            kind = forced.transport
        if kind in WEBSOCKETS.values():  # RFC 7118 5: a browser can not be connected to
            raise NoRoute("a WebSocket client is reached over its own connection only")
        if kind and kind not in TRANSPORTS:
            raise NoRoute("unsupported transport")
        if secure and kind == "udp":
            raise NoRoute("sips: needs TLS")
        if received is not None:
            kind = kind or "udp"
            return [self._hop(Target(kind, received[0], received[1]), forced, next_hop.host)]
        host = next_hop.params.get("maddr") or next_hop.host
        host = host.strip("[]")
        if not host:
            raise NoRoute("no host in the URI")
        if family_of(host):
            kind = kind or ("tls" if secure else "udp")
            return [self._hop(Target(kind, host, next_hop.port or DEFAULT_PORT[kind]), forced, host)]
        try:
            found = self.resolver.resolve(host, next_hop.port, kind, secure, self._families(forced))
        except DnsError as error:
            raise NoRoute(str(error)) from None
        if isinstance(found, Deferred):
            return found.addCallbacks(self._hops, self._no_dns, callbackArgs=(forced, host))
        return self._hops(found, forced, host)

    def _no_dns(self, failure: Failure) -> list[Hop]:
        if isinstance(failure.value, DnsError):
            raise NoRoute(str(failure.value)) from None
        problem: Any = failure.value
        raise problem

    def _hops(self, targets: list[Target], forced: SipSocket | None, name: str) -> list[Hop]:
        hops = []
        for target in targets:
            try:
                hops.append(self._hop(target, forced, name))
            except NoRoute:
                continue
        if not hops:
            raise NoRoute("no socket that fits")
        return hops

    def _hop(self, target: Target, forced: SipSocket | None, name: str) -> Hop:
        host, port = target.host, target.port
        if not 0 < port < 65536:
            raise NoRoute("no such port")
        sock = self._socket(target.transport, host, forced)
        return Hop(None, sock, target.transport, (host, port), sock.via_prefix, sock.contact_host, name if target.transport == "tls" else "")

    def _socket(self, transport: str, host: str, forced: SipSocket | None) -> SipSocket:
        """The first unlabelled socket of that transport and family; loopback to loopback, if there is a choice."""
        family = family_of(host)
        if forced is not None:
            if (forced.transport, forced.family) != (transport, family):
                raise NoRoute("the forced socket has another transport or family")
            return forced
        fallback = None
        near = _loopback(host)
        for sock in self.transports.sockets:
            if sock.transport == transport and sock.family == family and sock.label is None:
                if _loopback(sock.address[0]) == near:
                    return sock
                fallback = fallback or sock
        if fallback is None:
            raise NoRoute(f"no {transport} socket for IPv{family}")
        return fallback

    def _forced(self, name: str | None) -> SipSocket | None:
        if not name:
            return None
        sock = self.transports.find(name)
        if sock is None:
            raise NoRoute("no such socket")
        return sock

    def _families(self, forced: SipSocket | None) -> dict[str, set[int]]:
        if forced is not None:
            return {forced.transport: {forced.family}}
        return {kind: self.transports.families(kind) for kind in TRANSPORTS}

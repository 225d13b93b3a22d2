"""Sockets and flows: RFC 3261 18, RFC 3581, RFC 5626 4.4 (keepalive), RFC 5923 (reuse of connections).

A `SipSocket` is something we listen on and send from; a `Flow` is a way to one remote address: a pair of addresses over UDP, a connection
over TCP and TLS. This layer hands whole messages to `Receiver.message` and knows nothing of what is in them.

A request over 1300 bytes is not moved from UDP to TCP (RFC 3261 18.1.1 asks for it): a phone behind NAT is reachable only over the binding
of the transport it registered with, and all networks between carry fragments.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Callable

from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Address, Clock, Net, TlsServer
from ngcpd.sip.flow import DEFAULT_PORT, TRANSPORTS, WEBSOCKETS, Counters, Flow, Limits, Receiver, SipSocket, UdpFlow, family_of, hostport
from ngcpd.sip.framing import is_keepalive
from ngcpd.sip.stream import StreamFlow
from ngcpd.sip.websocket import WebSocketRules
from ngcpd.sip.websocket_flow import WebSocketFlow
from ngcpd.sip.wheel import Wheel

__all__ = [
    "DEFAULT_PORT",
    "TRANSPORTS",
    "Counters",
    "Flow",
    "Limits",
    "Receiver",
    "SipSocket",
    "StreamFlow",
    "Transports",
    "UdpFlow",
    "family_of",
    "hostport",
]

log = logger("sip")


class Transports:
    """All sockets and connections of a stack.

    `sockets` in the order of `listen`; `flows` the connections by id (also those being set up). With `websockets` each TCP and TLS socket
    takes WebSockets too (RFC 7118).
    """

    def __init__(self, clock: Clock, net: Net, wheel: Wheel, receiver: Receiver, limits: Limits, websockets: WebSocketRules | None = None) -> None:
        self.clock = clock
        self.net = net
        self.wheel = wheel
        self.receiver = receiver
        self.limits = limits
        self.websockets = websockets
        self.counters = Counters()
        self.sockets: list[SipSocket] = []
        self.flows: dict[int, StreamFlow] = {}
        self.own: set[tuple[str, int]] = set()
        self._by_remote: dict[tuple[str, Address, str], StreamFlow] = {}
        self._next_id = 0
        self.closed = False

    def listen(
        self, transport: str, address: Address, *, advertised: str | None = None, label: str | None = None, tls: TlsServer | None = None
    ) -> SipSocket:
        """Bind and start. Raises OSError (with the address in its file name) when that fails, ValueError for an impossible combination."""
        if transport not in TRANSPORTS:
            raise ValueError(f"no such transport: {transport}")
        if (transport == "tls") != (tls is not None):
            raise ValueError("a certificate belongs to tls, and only to it")
        where = f"{transport}:{hostport(address)}"
        if not family_of(address[0]):
            raise OSError(errno.EADDRNOTAVAIL, "not a numeric address", where)
        if ipaddress.ip_address(address[0]).is_unspecified and advertised is None:
            raise OSError(errno.EADDRNOTAVAIL, "a wildcard address needs an advertised host for Via and Contact", where)
        if transport == "udp":
            udp = self.net.udp(address, lambda data, remote: self._datagram(sock, data, remote))
            sock = SipSocket(transport, udp.address, advertised, label)
            sock.udp = udp
        else:
            listener = self.net.listen(address, lambda: self._accept(sock), tls)
            sock = SipSocket(transport, listener.address, advertised, label)
            sock.listener = listener
        self.sockets.append(sock)
        if self.websockets is not None and transport in WEBSOCKETS:
            sock.web = SipSocket(WEBSOCKETS[transport], sock.address, advertised, label)
            self.sockets.append(sock.web)
        self.own.add(sock.sent_by)
        log.info("listening", socket=sock.name, advertised=advertised, label=label)
        return sock

    def find(self, name: str) -> SipSocket | None:
        """A socket by label or by name ("udp:127.0.0.1:5060")."""
        for sock in self.sockets:
            if name in (sock.label, sock.name):
                return sock
        return None

    def renewed(self, tls: TlsServer) -> Callable[[], None]:
        """Other certificate files for all TLS sockets: read here (blocking; OSError), in force when the result is called."""
        puts = [sock.listener.renewed(tls) for sock in self.sockets if sock.transport == "tls" and sock.listener is not None]

        def put() -> None:
            for each in puts:
                each()

        return put

    def families(self, transport: str) -> set[int]:
        """The address families (4, 6) we have unlabelled sockets for."""
        return {s.family for s in self.sockets if s.transport == transport and s.label is None}

    def close(self) -> None:
        """Close all sockets and connections (what is queued on them is still sent)."""
        self.closed = True
        for sock in self.sockets:
            sock.close()
        for flow in list(self.flows.values()):
            flow.close()

    # ------------------------------------------------------------------------------------------------------ datagrams
    def _datagram(self, sock: SipSocket, data: bytes, remote: Address) -> None:
        counters = self.counters
        if is_keepalive(data) or not remote[1]:  # port 0 can not be answered
            counters.keepalives += 1
            self.receiver.keepalive(UdpFlow(sock, remote))
            return
        if not self.receiver.admit(remote, "udp"):
            counters.dropped += 1
            return
        self.receiver.message(data, UdpFlow(sock, remote))

    # ------------------------------------------------------------------------------------------------------ connections
    def _accept(self, sock: SipSocket) -> StreamFlow:
        self._next_id += 1
        return StreamFlow(self, sock, ("", 0), self._next_id, incoming=True)

    def connect(self, sock: SipSocket, remote: Address, tls_name: str = "") -> StreamFlow | None:
        """The connection to `remote` from `sock`: the one there is (RFC 5923), else a new one that queues what is sent until it is open.

        None when there are too many connections, and for a WebSocket that is gone. `tls_name` is the name the peer's certificate must carry
        when certificates are verified.
        """
        name = tls_name if self.limits.tls_verify else ""
        flow = self._by_remote.get((sock.name, remote, name))
        if flow is not None and flow.alive:
            return flow
        if sock.transport not in TRANSPORTS:
            return None
        if self.closed or len(self.flows) >= self.limits.connections:
            self.counters.dropped += 1
            log.limited("connections", 60, "too many connections: an outgoing one was not opened", remote=hostport(remote))
            return None
        self._next_id += 1
        flow = StreamFlow(self, sock, remote, self._next_id, incoming=False, tls_name=tls_name)
        self.add(flow, name)
        flow.start()
        return flow

    def web_flow(self, flow: StreamFlow) -> WebSocketFlow | None:
        """What an accepted connection that begins like a WebSocket goes on as; None when none are taken there."""
        if self.websockets is None or flow.socket.web is None:
            return None
        return WebSocketFlow(self, flow.socket.web, flow.remote, flow.id, self.websockets)

    def add(self, flow: StreamFlow, name: str = "") -> None:
        self.flows[flow.id] = flow
        self._by_remote[(flow.socket.name, flow.remote, name)] = flow
        flow.key = (flow.socket.name, flow.remote, name)

    def remove(self, flow: StreamFlow) -> None:
        self.flows.pop(flow.id, None)
        if flow.key is not None and self._by_remote.get(flow.key) is flow:
            del self._by_remote[flow.key]

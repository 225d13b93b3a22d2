"""The SIP stack: sockets, transactions and the way between them and the user.

    stack = Stack(clock, rng, net)
    stack.handler = edge
    stack.listen("udp", ("127.0.0.1", 5060))

Everything is called on the reactor and returns at once. Nothing that is raised in a handler or in the user of a transaction gets further than
this module: it is logged (once a minute per kind), counted in `errors`, and a request that has no final response is answered with 500.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Address, Clock, Net, Rng, TlsServer
from ngcpd.sip.client import ClientTransaction, ClientUser
from ngcpd.sip.dns import Resolver
from ngcpd.sip.endpoint import Endpoint, Hop, NoRoute
from ngcpd.sip.errors import ParseError
from ngcpd.sip.flow import COUNTED, DEFAULT_PORT, Counters, Flow, Limits, SipSocket
from ngcpd.sip.framing import FramingError
from ngcpd.sip.handler import Handler, NotReady
from ngcpd.sip.message import Request, Response, parse_message, reply
from ngcpd.sip.server import ServerTransaction
from ngcpd.sip.transaction import Layer, Timers, ack_key, merge_key, server_key
from ngcpd.sip.transport import Transports
from ngcpd.sip.websocket import WebSocketRules
from ngcpd.sip.wheel import Wheel

__all__ = ["ClientTransaction", "ClientUser", "Handler", "Hop", "Limits", "NoRoute", "ServerTransaction", "Stack", "Timers"]

CANCELLABLE = ("INVITE", "REGISTER", "OPTIONS", "BYE", "MESSAGE", "SUBSCRIBE", "NOTIFY", "REFER", "INFO", "UPDATE", "PRACK", "PUBLISH")

log = logger("sip")


class Stack:
    """`transports`, `endpoint`, `wheel`, `handler`. `websockets`: what is taken as a WebSocket on TCP and TLS sockets; None = nothing."""

    def __init__(
        self,
        clock: Clock,
        rng: Rng,
        net: Net,
        timers: Timers | None = None,
        resolver: Resolver | None = None,
        limits: Limits | None = None,
        websockets: WebSocketRules | None = None,
    ) -> None:
        self.timers = timers or Timers()
        self.limits = limits or Limits()
        self.wheel = Wheel(clock)
        self.transports = Transports(clock, net, self.wheel, self, self.limits, websockets)
        self.resolver = resolver or Resolver(clock, rng, net)
        self.endpoint = Endpoint(self.transports, self.resolver)
        self.handler: Handler = NotReady(self)
        self._layer = Layer(clock, rng, self.wheel, self.transports, self.timers, self.limits)
        self._count: Counters = self.transports.counters

    # ------------------------------------------------------------------------------------------------------ for users
    def listen(
        self, transport: str, address: Address, *, advertised: str | None = None, label: str | None = None, tls: TlsServer | None = None
    ) -> SipSocket:
        """Open a socket ("udp", "tcp", "tls"). Raises OSError that names the address when it can not be bound."""
        return self.transports.listen(transport, address, advertised=advertised, label=label, tls=tls)

    def send(
        self, request: Request, hops: Sequence[Hop], user: ClientUser, *, first_reply: float | None = None, final_reply: float | None = None
    ) -> ClientTransaction:
        """Send a request (neither ACK nor CANCEL) to the first of `hops` that works.

        The layer adds the Via; `request` must not be changed afterwards. A hop fails by transport error, by silence, or by 503 when there is
        another one. `first_reply`: seconds until the first response (default: 64*T1), `final_reply`: until the final one (default: none for an
        INVITE). ValueError without hops. Nothing of `user` is called before this has returned.
        """
        if not hops:
            raise ValueError("no hop to send to")
        tx = ClientTransaction(self._layer, request, hops, user, first_reply, final_reply)
        tx.start()
        return tx

    def send_ack(self, request: Request, hops: Sequence[Hop]) -> bytes:
        """Send the ACK of a 2xx, which belongs to no transaction. Returns what was sent, for `repeat`; empty when no hop takes it."""
        for hop in hops:
            copy = request.copy()
            rport = "" if hop.transport != "udp" else ";rport"
            copy.insert("Via", f"{hop.via_prefix};branch={self._layer.branch()}{rport}")
            data = copy.to_bytes()
            if self.repeat(data, (hop,)):
                return data
        return b""

    def repeat(self, data: bytes, hops: Sequence[Hop]) -> bool:
        """Send the bytes of an ACK again, to the first hop that takes them."""
        for hop in hops:
            flow = self._layer.flow(hop)
            if flow is not None and flow.send(data):
                self._count.sent += 1
                return True
        return False

    def reply_stateless(self, request: Request, flow: Flow, status: int, reason: str = "", fields: Iterable[tuple[str, str]] = ()) -> bool:
        """Answer without a transaction; each copy of the request gets the same answer. False when there is no way back."""
        if request.method == "ACK":
            return False
        try:
            _note_source(request, flow)
            response = reply(request, status, reason, to_tag=self._layer.stateless_tag(request), fields=fields)
        except ParseError:
            return False
        self._count.sent += 1
        return flow.send(response.to_bytes())

    def reply_malformed(self, error: Exception, flow: Flow) -> bool:
        """Answer a malformed request with the code and reason of its error. False when it can not be answered."""
        if isinstance(error, FramingError):
            error = _as_parse_error(error)
        if not isinstance(error, ParseError) or error.request is None:
            return False
        return self.reply_stateless(error.request, flow, error.code, error.reason)

    def tune(self, timers: Timers, limits: Limits) -> None:
        """Other timers and limits for what begins from now on; timers that run keep their end."""
        self.timers = self._layer.timers = timers
        self.limits = self._layer.limits = self.transports.limits = limits

    def counters(self) -> dict[str, int]:
        """What there is now (zero when nothing goes on: transactions by kind, flows, timers, DNS questions) and counts since the start."""
        servers = self._layer.servers.values()
        clients = self._layer.clients
        invites = sum(1 for s in servers if s.invite)
        invite_clients = sum(1 for _, method in clients if method == "INVITE")
        flows = self.transports.flows.values()
        count = self._count
        return {
            "invite_server": invites,
            "server": len(servers) - invites,
            "invite_client": invite_clients,
            "client": len(clients) - invite_clients,
            "flows": len(flows),
            "connecting": sum(1 for f in flows if f.connecting),
            "timers": self.wheel.pending,
            "dns_waiting": self.resolver.counters()["dns_waiting"],
            "errors": count.errors + self.wheel.errors,
            **{name: getattr(count, name) for name in COUNTED if name != "errors"},
        }

    def close(self) -> None:
        """Close all sockets and forget all transactions without a word to their users. What is queued on connections is still sent."""
        self.transports.close()
        for attempt in list(self._layer.clients.values()):
            if attempt.tx is not None:
                attempt.tx.drop()
            attempt.forget()
        for server in list(self._layer.servers.values()):
            server.forget()
        if not self.transports.flows:
            self.wheel.close()

    # --------------------------------------------------------------------------------------------- from the transports
    def admit(self, address: Address, transport: str) -> bool:
        try:
            return self.handler.accept(address, transport)
        except Exception as error:  # noqa: BLE001 - boundary: a broken filter must not stop the socket
            self._raised(error, "accept", None)
            return True

    def keepalive(self, flow: Flow) -> None:
        try:
            self.handler.keepalive(flow)
        except Exception as error:  # noqa: BLE001 - boundary
            self._raised(error, "keepalive", flow)

    def unframed(self, error: Exception, data: bytes, flow: Flow) -> None:
        self._malformed(error, data, flow)

    def message(self, data: bytes, flow: Flow) -> None:
        """One whole message."""
        self._count.received += 1
        try:
            message = parse_message(data)
        except ParseError as error:
            self._malformed(error, data, flow)
            return
        try:
            if isinstance(message, Request):
                self._request(message, flow)
            else:
                self._response(message, flow)
        except ParseError as error:
            if isinstance(message, Request) and message.method != "ACK" and error.request is None:
                error.request = message
            self._malformed(error, data, flow)
        except Exception as raised:  # noqa: BLE001 - boundary: whatever a user of a transaction raises ends here
            self._raised(raised, message.start_line(), flow)

    def _malformed(self, error: Exception, data: bytes, flow: Flow) -> None:
        self._count.malformed += 1
        try:
            self.handler.malformed(error, data, flow)
        except Exception as raised:  # noqa: BLE001 - boundary
            self._raised(raised, "malformed", flow)

    def _raised(self, error: Exception, where: str, flow: Flow | None) -> None:
        self._count.errors += 1
        remote = flow.remote[0] if flow is not None else None
        log.limited((type(error).__name__, where.partition(" ")[0]), 60, "a handler raised", error=repr(error), at=where, remote=remote)

    # ------------------------------------------------------------------------------------------------------- requests
    def _request(self, request: Request, flow: Flow) -> None:
        method = request.method
        if method == "ACK":
            self._ack(request, flow)
            return
        layer = self._layer
        key = server_key(request, method)
        known = layer.servers.get(key)
        if known is not None:
            known.retransmitted()
            return
        merge = None
        if method != "CANCEL" and not request.to_tag:
            merge = merge_key(request)
            if merge in layer.merged:
                self.reply_stateless(request, flow, 482)
                return
        if layer.full() and method != "CANCEL":
            self._count.overload += 1
            log.limited("overload", 60, "too many transactions, requests are refused", limit=self.limits.transactions)
            self.reply_stateless(request, flow, 503, fields=[("Retry-After", str(self.limits.retry_after))])
            return
        _note_source(request, flow)
        tx = ServerTransaction(layer, request, flow, key, merge)
        if method == "CANCEL":
            self._cancel(tx, request)
            return
        try:
            self.handler.request(tx)
        except ParseError as error:
            self._give_up(tx, error.code, error.reason)
            log.limited(flow.remote[0], 60, "request refused while it was handled", reason=error.reason, method=method, remote=flow.remote[0])
        except Exception as raised:  # noqa: BLE001 - boundary: one request that cannot be handled harms no other
            self._raised(raised, method, flow)
            self._give_up(tx, 500, "")

    def _give_up(self, tx: ServerTransaction, status: int, reason: str) -> None:
        if not tx.final:
            tx.respond(reply(tx.request, status, reason, to_tag=self._layer.rng.token(8)))

    def _ack(self, request: Request, flow: Flow) -> None:
        layer = self._layer
        key = ack_key(request, request.to_tag)
        tx = layer.servers.get(server_key(request, "INVITE")) if key is None else layer.acks.get(key)
        if tx is not None and not tx.acknowledged():
            return
        if tx is None and request.to_tag == layer.stateless_tag(request):
            return  # the ACK of a failure response that was sent without a transaction
        try:
            self.handler.ack(request, flow)
        except Exception as error:  # noqa: BLE001 - boundary
            self._raised(error, "ACK", flow)

    def _cancel(self, tx: ServerTransaction, request: Request) -> None:
        """RFC 3261 9.2: answered here, then the transaction that is meant learns of it."""
        servers = self._layer.servers
        for method in CANCELLABLE:
            meant = servers.get(server_key(request, method))
            if meant is None:
                continue
            tag = meant.to_tag if isinstance(meant, ServerTransaction) and meant.to_tag else self._layer.rng.token(8)
            tx.respond(reply(request, 200, to_tag=tag))
            meant.cancelled(request)
            return
        tx.respond(reply(request, 481, to_tag=self._layer.rng.token(8)))

    # ------------------------------------------------------------------------------------------------------ responses
    def _response(self, response: Response, flow: Flow) -> None:
        vias = response.vias
        via = vias[0]
        transports = self.transports
        if len(vias) != 1 or (via.host.lower(), via.port or DEFAULT_PORT[flow.transport]) not in transports.own:
            self._count.stray += 1
            return
        attempt = self._layer.clients.get((via.branch or "", response.method))
        if attempt is not None:
            attempt.receive(response)
            return
        self._count.stray += 1
        try:
            self.handler.stray_response(response, flow)
        except Exception as error:  # noqa: BLE001 - boundary
            self._raised(error, "stray response", flow)


def _as_parse_error(error: FramingError) -> ParseError:
    """What can be read of the request whose end could not be found."""
    request: Request | None = None
    try:
        message = parse_message(error.head + b"\r\n\r\n")
        request = message if isinstance(message, Request) else None
    except ParseError as found:
        request = found.request
    return ParseError(error.reason, 513 if "Large" in error.reason or "Long" in error.reason else 400, request)


def _note_source(request: Request, flow: Flow) -> None:
    """`received` and `rport` of the top Via (RFC 3261 18.2.1, RFC 3581 4); what the sender wrote there itself is not believed."""
    via = request.via
    params = via.params
    host, port = flow.remote
    asked = "rport" in params
    if not asked and "received" not in params and via.host.lower() == host:
        return
    if via.host.lower() == host and not asked:
        params.pop("received", None)
    else:
        params["received"] = host
    if asked:
        params["rport"] = str(port)
    request.replace_top("Via", str(via))
    request._via = via  # as written; saves reading it again for each request

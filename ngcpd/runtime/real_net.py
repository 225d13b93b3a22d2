"""Sockets on a Twisted reactor that is passed in: datagrams by a read descriptor of our own, streams and TLS by Twisted.

The datagram socket is drained with `recvfrom` until it would block, at most 256 datagrams per turn of the reactor so that timers and
connections get theirs, and sends with a direct `sendto`: about a tenth cheaper per message than Twisted's UDP transport, and the kernel's
queue is emptied before it overflows.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from typing import Any

from OpenSSL import SSL
from twisted.internet import error, interfaces, ssl
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer  # type: ignore[import-untyped]

from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Address, DnsRecord, StreamHandler, TlsClient, TlsServer
from ngcpd.runtime.real_dns import ReactorDns

PER_TURN = 256
RECEIVE_BUFFER = 4 << 20
BACKLOG = 1024
HANDSHAKE_SECONDS = 10.0
HALF_CLOSED_SECONDS = 2.0  # for answers on their way to a peer that has closed its direction

log = logger("runtime")
Receive = Callable[[bytes, Address], None]


def bound(kind: socket.SocketKind, address: Address) -> socket.socket:
    """A bound non-blocking socket; OSError names the address. An IPv6 socket serves IPv6 only."""
    host, port = address
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    try:
        sock.setblocking(False)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as problem:
        sock.close()
        raise OSError(problem.errno, problem.strerror or str(problem), f"{host}:{port}") from None
    return sock


# ------------------------------------------------------------------------------------------------------------- datagrams
@implementer(interfaces.IReadDescriptor)
class Datagrams:
    """A bound datagram socket."""

    def __init__(self, reactor: Any, address: Address, receive: Receive) -> None:
        self._reactor = reactor
        self._receive = receive
        self._sock = bound(socket.SOCK_DGRAM, address)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)  # the kernel caps it (net.core.rmem_max)
        self._fd = self._sock.fileno()
        self._sendto = self._sock.sendto
        name = self._sock.getsockname()
        self.address: Address = (name[0], name[1])
        reactor.addReader(self)

    def send(self, data: bytes, to: Address) -> bool:
        try:
            self._sendto(data, to)
        except OSError:
            return False
        return True

    def close(self) -> None:
        if self._fd >= 0:
            self._reactor.removeReader(self)
            self._sock.close()
            self._fd = -1

    # IReadDescriptor
    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "datagrams"

    def connectionLost(self, reason: Failure) -> None:
        self.close()

    def doRead(self) -> None:
        recvfrom = self._sock.recvfrom
        receive = self._receive
        for _ in range(PER_TURN):
            try:
                data, source = recvfrom(65_536)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error for something sent earlier
            try:
                receive(data, (source[0], source[1]))
            except Exception as problem:  # noqa: BLE001 - boundary: one datagram must not stop the socket
                log.limited(type(problem).__name__, 60, "a datagram's receiver raised", error=repr(problem), source=source[0])
            if self._fd < 0:
                return


# --------------------------------------------------------------------------------------------------------------- streams
def reason_of(failure: Failure) -> str:
    """A few words for why a connection ended."""
    value = failure.value
    if isinstance(value, error.ConnectionDone):
        return "closed by peer"
    if isinstance(value, error.ConnectionAborted):
        return "aborted"
    if isinstance(value, error.TimeoutError):
        return "timeout"
    if isinstance(value, error.ConnectionRefusedError):
        return "refused"
    if isinstance(value, SSL.Error):
        return "tls: " + (str(value) or type(value).__name__)
    return f"{type(value).__name__}: {value}"


@implementer(interfaces.IHalfCloseableProtocol, interfaces.IHandshakeListener)
class StreamProtocol(Protocol):
    """One connection: runtime.ports.Stream for the one side, a Twisted protocol for the other."""

    def __init__(self, net: ReactorNet, handler: StreamHandler, secure: bool) -> None:
        self.net = net
        self.handler = handler
        self.secure = secure
        self.lingers = True
        self.local: Address = ("", 0)
        self.remote: Address = ("", 0)
        self._wire: Any = None
        self._up = False
        self._ended = False
        self._tcp: Any = None
        self._timer: Any = None
        self._reason = ""

    # ---- Stream
    def write(self, data: bytes) -> None:
        if self._up and not self._ended:
            self._wire.write(data)

    def pending(self) -> int:
        """What waits in Twisted's buffers (TLS hands its records on at once, so they are below it too)."""
        tcp = self._tcp
        return 0 if self._ended or tcp is None else len(tcp.dataBuffer) - tcp.offset + tcp._tempDataLen

    def close(self) -> None:
        if not self._ended and self._wire is not None:
            self._reason = self._reason or "closed"
            self._wire.loseConnection()

    def abort(self) -> None:
        if not self._ended and self._wire is not None:
            self._reason = self._reason or "aborted"
            self._wire.abortConnection()

    # ---- Twisted's side
    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._wire = transport
        self._tcp = transport.transport if self.secure else transport
        host, peer = transport.getHost(), transport.getPeer()
        self.local = (host.host, host.port)
        self.remote = (peer.host, peer.port)
        self.net.streams.add(self)
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        tune_keepalive(transport)
        if self.secure:
            self._timer = self.net.reactor.callLater(HANDSHAKE_SECONDS, self._late)
        else:
            self._opened()

    def handshakeCompleted(self) -> None:
        self._stop_timer()
        self._opened()

    def _late(self) -> None:
        self._timer = None
        self._reason = "tls: no handshake in time"
        self.abort()

    def _opened(self) -> None:
        self._up = True
        self._guard(self.handler.opened, self)

    def dataReceived(self, data: bytes) -> None:
        self._guard(self.handler.received, data)

    def readConnectionLost(self) -> None:
        """The peer has closed its direction; it may still wait for an answer."""
        self._reason = self._reason or "closed by peer"
        if not self.lingers:
            self.close()
        elif self._timer is None:
            self._timer = self.net.reactor.callLater(HALF_CLOSED_SECONDS, self._finish)

    def _finish(self) -> None:
        self._timer = None
        self.close()

    def writeConnectionLost(self) -> None:
        return

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._ended = True
        self._stop_timer()
        self.net.streams.discard(self)
        self._guard(self.handler.closed, self._reason or reason_of(reason))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _guard(self, fn: Callable[..., object], *args: object) -> None:
        try:
            fn(*args)
        except Exception as problem:  # noqa: BLE001 - boundary: the connection is cut, the others go on
            log.limited(type(problem).__name__, 60, "a connection's handler raised", error=repr(problem), remote=self.remote[0])
            self.abort()


def tune_keepalive(transport: Any) -> None:
    """A peer that vanished without a word is noticed after about four minutes, not after two hours."""
    handle = getattr(transport, "getHandle", None)
    sock = handle() if handle is not None else None
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 120)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


class Accepting(Factory):
    noisy = False

    def __init__(self, net: ReactorNet, accept: Callable[[], StreamHandler], secure: bool) -> None:
        self.net = net
        self.accept = accept
        self.secure = secure

    def buildProtocol(self, addr: object) -> StreamProtocol:
        return StreamProtocol(self.net, self.accept(), self.secure)


class Connecting(ClientFactory):
    noisy = False

    def __init__(self, net: ReactorNet, handler: StreamHandler, secure: bool) -> None:
        self.net = net
        self.handler = handler
        self.secure = secure

    def buildProtocol(self, addr: object) -> StreamProtocol:
        return StreamProtocol(self.net, self.handler, self.secure)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self.handler.closed(reason_of(reason))


class PortListener:
    """A listening port."""

    def __init__(self, port: Any, creator: _ServerContext | None = None) -> None:
        self._port = port
        self._creator = creator
        host = port.getHost()
        self.address: Address = (host.host, host.port)

    def close(self) -> None:
        if self._port is not None:
            self._port.stopListening()
            self._port = None

    def renewed(self, tls: TlsServer) -> Callable[[], None]:
        creator, context = self._creator, server_context(tls)

        def put() -> None:
            if creator is not None:
                creator.context = context

        return put


# ------------------------------------------------------------------------------------------------------------------- TLS
def server_context(tls: TlsServer) -> SSL.Context:
    """A context with one certificate, whose files are read. Blocking; OSError names the file."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    for path, load in ((tls.key, context.use_privatekey_file), (tls.certificate, context.use_certificate_chain_file)):
        with open(path, "rb"):  # a missing or unreadable file is told by its own name
            pass
        try:
            load(path)
        except SSL.Error as problem:
            raise OSError(errno.EINVAL, f"no usable PEM file: {problem}", path) from None
    try:
        context.check_privatekey()
    except SSL.Error:
        raise OSError(errno.EINVAL, "the key does not belong to the certificate", tls.key) from None
    return context


@implementer(interfaces.IOpenSSLServerConnectionCreator)
class _ServerContext:
    """TLS 1.2 or later with one certificate; another context may be put in its place."""

    def __init__(self, tls: TlsServer) -> None:
        self.context = server_context(tls)

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return SSL.Connection(self.context, None)


@implementer(interfaces.IOpenSSLClientConnectionCreator)
class _Unverified:
    """An outgoing connection whose peer's certificate is not looked at: encrypted, not authenticated."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._context = SSL.Context(SSL.TLS_METHOD)
        self._context.set_min_proto_version(SSL.TLS1_2_VERSION)
        self._context.set_verify(SSL.VERIFY_NONE, lambda *_: True)

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if self._name and not self._name.replace(".", "").isdigit() and ":" not in self._name:  # RFC 6066 3: no literal addresses
            connection.set_tlsext_host_name(self._name.encode("ascii", "ignore"))
        return connection


# ------------------------------------------------------------------------------------------------------------- the door
class ReactorNet:
    """runtime.ports.Net on a Twisted reactor (the asyncio reactor in production)."""

    def __init__(self, reactor: Any, dns: ReactorDns | None = None) -> None:
        self.reactor = reactor
        self.streams: set[StreamProtocol] = set()
        self.dns = dns or ReactorDns(reactor)

    def udp(self, address: Address, receive: Receive) -> Datagrams:
        return Datagrams(self.reactor, address, receive)

    def listen(self, address: Address, accept: Callable[[], StreamHandler], tls: TlsServer | None = None) -> PortListener:
        factory: Any = Accepting(self, accept, tls is not None)
        creator: Any = None
        if tls is not None:
            creator = _ServerContext(tls)
            factory = TLSMemoryBIOFactory(creator, False, factory, self.reactor)
            factory.noisy = False
        sock = bound(socket.SOCK_STREAM, address)
        try:
            sock.listen(BACKLOG)
            port = self.reactor.adoptStreamPort(sock.fileno(), sock.family, factory)  # it keeps a copy of the descriptor
        except OSError as problem:
            raise OSError(problem.errno, problem.strerror, f"{address[0]}:{address[1]}") from None
        finally:
            sock.close()
        return PortListener(port, creator)

    def connect(self, address: Address, handler: StreamHandler, tls: TlsClient | None = None, timeout: float = 10.0, bind: str | None = None) -> None:
        factory: Any = Connecting(self, handler, tls is not None)
        if tls is not None:
            creator: Any = ssl.optionsForClientTLS(tls.name) if tls.verify else _Unverified(tls.name)
            factory = TLSMemoryBIOFactory(creator, True, factory, self.reactor)
            factory.noisy = False
        self.reactor.connectTCP(address[0], address[1], factory, timeout, (bind, 0) if bind else None)

    def lookup(self, name: str, rtype: str) -> Deferred[Sequence[DnsRecord]]:
        return self.dns.lookup(name, rtype)

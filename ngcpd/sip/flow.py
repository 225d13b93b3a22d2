"""What the transports are made of: limits, counts, `SipSocket`, `Flow`."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

from ngcpd.runtime.ports import Address, Listener, UdpSocket

TRANSPORTS = ("udp", "tcp", "tls")
"""What is listened on and connected to."""
WEBSOCKETS = {"tcp": "ws", "tls": "wss"}
"""RFC 7118: what an accepted connection of the one kind may become."""
DEFAULT_PORT = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class Limits:
    """What strangers may use up. Seconds and bytes."""

    connections: int = 10_000
    """Connections in both directions; more are refused."""
    connection_idle: float = 3605.0
    """A connection without a byte in either direction for so long is closed (a registration's usual life time and a little)."""
    connect_timeout: float = 8.0
    first_message: float = 30.0
    """An accepted connection must have sent a first whole message or keepalive by then."""
    incomplete: float = 10.0
    """A message that has begun must be whole by then."""
    write_buffer: int = 1 << 20
    """Bytes queued for a peer that does not read; more cuts the connection."""
    connect_buffer: int = 1 << 18
    """Bytes queued while a connection is being set up."""
    message: int = 65_535
    """Largest message on a stream."""
    transactions: int = 200_000
    """Transactions of all kinds; beyond that new requests get a 503 without a transaction."""
    retry_after: int = 10
    """Retry-After of that 503."""
    tls_verify: bool = False
    """Verify the certificate of outgoing TLS connections against the system's CAs."""


COUNTED: Final = ("dropped", "errors", "keepalives", "malformed", "overload", "received", "retransmissions", "sent", "stray")


class Counters:
    """Plain counts since start."""

    __slots__ = COUNTED

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0
        self.retransmissions = 0
        self.malformed = 0
        self.stray = 0
        self.dropped = 0
        self.keepalives = 0
        self.errors = 0
        self.overload = 0


class Receiver(Protocol):
    """Where the transports deliver to: the stack."""

    def message(self, data: bytes, flow: Flow) -> None: ...

    def admit(self, address: Address, transport: str) -> bool: ...

    def keepalive(self, flow: Flow) -> None: ...

    def unframed(self, error: Exception, data: bytes, flow: Flow) -> None:
        """A stream that can not be cut into messages; it is closed afterwards."""


@lru_cache(maxsize=4096)
def family_of(host: str) -> int:
    """4 or 6 for a numeric host, 0 for a name."""
    try:
        return ipaddress.ip_address(host).version
    except ValueError:
        return 0


def hostport(address: Address) -> str:
    """`host:port` with brackets round an IPv6 host."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class SipSocket:
    """A socket of ours.

    `transport`; `address` as bound; `advertised` the host put into Via and Contact instead of the bound one; `label` the name of an extra
    socket (used only when asked for); `via_host` ("host:port" of Via and Contact); `name` ("udp:127.0.0.1:5060"); `via_prefix`
    ("SIP/2.0/UDP host:port"); `contact_host` ("host:port[;transport=tcp]"); `sent_by` what the top Via of a response must name; `web` what
    connections of it that turn into WebSockets belong to: same address, transport "ws" or "wss", never used to connect anywhere.
    """

    __slots__ = (
        "address",
        "advertised",
        "contact_host",
        "family",
        "label",
        "listener",
        "name",
        "open",
        "reliable",
        "secure",
        "sent_by",
        "transport",
        "udp",
        "via_host",
        "via_prefix",
        "web",
    )  # fmt: skip

    def __init__(self, transport: str, address: Address, advertised: str | None, label: str | None) -> None:
        self.transport = transport
        self.address = address
        self.advertised = advertised
        self.label = label
        self.family = family_of(address[0])
        self.secure = transport in ("tls", "wss")
        self.reliable = transport != "udp"
        host = advertised or address[0]
        self.via_host = hostport((host, address[1]))
        self.name = f"{transport}:{hostport(address)}"
        self.via_prefix = f"SIP/2.0/{transport.upper()} {self.via_host}"
        self.contact_host = self.via_host if transport == "udp" else f"{self.via_host};transport={transport}"
        self.sent_by = (host.lower(), address[1])
        self.open = True
        self.udp: UdpSocket | None = None
        self.listener: Listener | None = None
        self.web: SipSocket | None = None

    def close(self) -> None:
        self.open = False
        if self.udp is not None:
            self.udp.close()
        if self.listener is not None:
            self.listener.close()

    def __repr__(self) -> str:
        return f"<SipSocket {self.name}>"


class Flow:
    """A way to one remote address.

    `transport`, `local`, `remote`, `secure`, `reliable`, `family` (4|6), `alive`, `id` (of a connection; 0 for UDP), `socket`.
    """

    __slots__ = ("remote", "socket")

    id = 0

    def __init__(self, socket: SipSocket, remote: Address) -> None:
        self.socket = socket
        self.remote = remote

    @property
    def transport(self) -> str:
        return self.socket.transport

    @property
    def local(self) -> Address:
        return self.socket.address

    @property
    def secure(self) -> bool:
        return self.socket.secure

    @property
    def reliable(self) -> bool:
        return self.socket.reliable

    @property
    def family(self) -> int:
        return self.socket.family

    @property
    def alive(self) -> bool:
        return self.socket.open

    def send(self, data: bytes) -> bool:
        """Send a message. False: it certainly does not arrive (connection ended, queue full, refused by the operating system)."""
        raise NotImplementedError

    def watch(self, fn: Callable[[Flow], object]) -> None:
        """Call `fn(flow)` once when the connection ends (also when it could not be set up). UDP never ends. The same `fn` counts once."""

    def unwatch(self, fn: Callable[[Flow], object]) -> None:
        """Undo `watch`."""

    def close(self) -> None:
        """Close the connection after what is queued has been sent; nothing for UDP."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.socket.name} {hostport(self.remote)} id={self.id}>"


class UdpFlow(Flow):
    """A pair of addresses; made anew for each datagram, equal when both ends are."""

    __slots__ = ()

    def send(self, data: bytes) -> bool:
        udp = self.socket.udp
        return udp is not None and self.socket.open and udp.send(data, self.remote)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UdpFlow) and other.socket is self.socket and other.remote == self.remote

    def __hash__(self) -> int:
        return hash((id(self.socket), self.remote))

"""The interfaces of everything that is passed in. Structural: an object with these methods is one of these.

Addresses are `(host, port)` with a numeric host without brackets, e.g. `("127.0.0.1", 5060)` or `("::1", 5060)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred

Address = tuple[str, int]
T = TypeVar("T")
P = ParamSpec("P")


class Timer(Protocol):
    """One pending call of `Clock.call_later`."""

    def cancel(self) -> None:
        """Forget the call. Harmless when it already ran or was cancelled."""

    def active(self) -> bool:
        """True while the call is still to come."""


class Clock(Protocol):
    """Time, in seconds."""

    def time(self) -> float:
        """Wall clock: seconds since the epoch (UTC). May jump; for stamps and expiries only."""

    def monotonic(self) -> float:
        """Never goes back; for intervals and timers."""

    def call_later(self, delay: float, fn: Callable[..., object], *args: object) -> Timer:
        """Run `fn(*args)` once after `delay` >= 0 seconds."""


class Rng(Protocol):
    """Randomness. The real one is cryptographically strong, the simulated one is seeded."""

    def token(self, nbytes: int = 8) -> str:
        """Lower-case hex text of `nbytes` random bytes: tags, branches, Call-IDs."""

    def bytes(self, nbytes: int) -> bytes:
        """Key material."""

    def uuid(self) -> str:
        """A version 4 UUID in its 36 character form."""

    def below(self, n: int) -> int:
        """An integer in [0, n)."""

    def random(self) -> float:
        """A float in [0, 1)."""


class Executor(Protocol):
    """A bounded pool of threads for work that blocks."""

    def run(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run `fn` off the reactor; the Deferred fires on the reactor with its result or failure."""


class AppendFile(Protocol):
    """A file that only grows."""

    def write(self, data: bytes) -> None:
        """Append `data` with one write(2); raises OSError when it could not be written whole (then nothing of it counts)."""

    def sync(self) -> None:
        """fdatasync; blocks, so call it on an Executor."""

    def size(self) -> int: ...

    def close(self) -> None: ...


class Disk(Protocol):
    """The few file operations of the journal. Paths are text; all raise OSError."""

    def append(self, path: str, mode: int = 0o600) -> AppendFile:
        """Open for appending, created when missing."""

    def read(self, path: str) -> bytes: ...

    def replace(self, path: str, data: bytes, mode: int = 0o600) -> None:
        """Write a whole file atomically (temporary file, fsync, rename)."""

    def truncate(self, path: str, size: int) -> None: ...

    def remove(self, path: str) -> None: ...

    def list(self, directory: str) -> list[str]:
        """Names (not paths) in a directory, sorted."""


# ---------------------------------------------------------------------------------------------------------------- network
class UdpSocket(Protocol):
    """A bound datagram socket."""

    address: Address

    def send(self, data: bytes, to: Address) -> bool:
        """Send now. False when the operating system refused it (buffer full, unreachable); the datagram is then lost."""

    def close(self) -> None: ...


class Stream(Protocol):
    """An open TCP or TLS connection.

    `lingers` (may be set, True at first): when the peer has closed its direction, wait a moment for answers still to be sent to it.
    """

    local: Address
    remote: Address
    secure: bool
    lingers: bool

    def write(self, data: bytes) -> None:
        """Queue bytes; ignored after the connection ended."""

    def pending(self) -> int:
        """Bytes queued and not yet taken by the operating system."""

    def close(self) -> None:
        """Close after what is queued has been sent."""

    def abort(self) -> None:
        """Close at once."""


class StreamHandler(Protocol):
    """What receives the events of one Stream. `opened` comes first and once, `closed` last and once."""

    def opened(self, stream: Stream) -> None: ...

    def received(self, data: bytes) -> None: ...

    def closed(self, reason: str) -> None: ...


class Listener(Protocol):
    address: Address

    def close(self) -> None:
        """Stop accepting; accepted connections stay open."""

    def renewed(self, tls: TlsServer) -> Callable[[], None]:
        """Read another certificate for a TLS listener (blocking; OSError names the file that cannot be used). From the call of the result on
        new connections meet it; those that are open go on."""


@dataclass(frozen=True, slots=True)
class TlsServer:
    """Certificate chain and key of a TLS listener: paths of PEM files."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class TlsClient:
    """An outgoing TLS connection. `name` is sent as SNI; verified against the system's CAs when `verify`."""

    name: str
    verify: bool = False


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """One resource record, the fields used by RFC 3263. `data` is the address (A, AAAA) or the target name (SRV, NAPTR)."""

    type: str
    data: str
    ttl: int = 0
    priority: int = 0
    weight: int = 0
    port: int = 0
    service: str = ""
    flags: str = ""


class Net(Protocol):
    """Sockets and DNS. Binding errors are raised as OSError with errno set (EADDRINUSE ...)."""

    def udp(self, address: Address, receive: Callable[[bytes, Address], None]) -> UdpSocket: ...

    def listen(self, address: Address, accept: Callable[[], StreamHandler], tls: TlsServer | None = None) -> Listener:
        """`accept` makes the handler of each incoming connection."""

    def connect(self, address: Address, handler: StreamHandler, tls: TlsClient | None = None, timeout: float = 10.0, bind: str | None = None) -> None:
        """Ends in `handler.opened` or in `handler.closed` without an `opened` before it."""

    def lookup(self, name: str, rtype: str) -> Deferred[Sequence[DnsRecord]]:
        """Records of one type ("A", "AAAA", "SRV", "NAPTR"). No such name or record: an empty list. Server failure or timeout: errback."""


Decoder = Callable[[bytes], Any]

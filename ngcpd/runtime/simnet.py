"""A simulated network: UDP, TCP-like streams and DNS between the addresses of one SimClock world.

    world = SimNet(clock, rng)
    world.default = Link(delay=0.02, loss=0.05)
    phone, server = world.host("10.0.0.2"), world.host("10.0.0.1")    # each is a runtime.ports.Net

`SimNet` itself is a Net too, for tests that do not care whose address is whose. Nothing happens but through the clock, so that a run with
the same seed is the same run. Every datagram and stream write passes `filter`, where a test may look at it, drop it or count it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from ngcpd.runtime.fake import SimClock
from ngcpd.runtime.ports import Address, DnsRecord, Rng, StreamHandler, TlsClient, TlsServer
from ngcpd.runtime.simstream import SimListener, SimStream

MAX_DATAGRAM = 65_507
FIRST_PORT = 32_768

Receive = Callable[[bytes, Address], None]
Filter = Callable[[str, bytes, Address, Address], bool]


@dataclass(frozen=True, slots=True)
class Link:
    """What one direction between two hosts does: seconds and probabilities. Streams know only delay and jitter (and stay in order)."""

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    """Probability that a datagram is held back for `reorder_delay`, so that later ones overtake it."""
    reorder_delay: float = 0.1


class DnsFailure(Exception):
    """The simulated DNS server failed."""


class SimUdp:
    """A bound datagram socket."""

    def __init__(self, net: SimNet, address: Address, receive: Receive) -> None:
        self.net = net
        self.address = address
        self.receive = receive

    def send(self, data: bytes, to: Address) -> bool:
        if self.net.sockets.get(self.address) is not self or len(data) > MAX_DATAGRAM or version(to[0]) != version(self.address[0]):
            return False
        self.net.datagram(data, self.address, to)
        return True

    def close(self) -> None:
        if self.net.sockets.get(self.address) is self:
            del self.net.sockets[self.address]


def version(host: str) -> int:
    return 6 if ":" in host else 4


class SimNet:
    """The world. `links` by (from host, to host), else `default`; `cut` pairs lose everything; `records` and `dns_down` are the DNS."""

    def __init__(self, clock: SimClock, rng: Rng) -> None:
        self.clock = clock
        self.rng = rng
        self.default = Link()
        self.links: dict[tuple[str, str], Link] = {}
        self.filter: Filter | None = None
        """`filter(kind, data, source, destination)` with kind "udp" or "tcp"; False loses a datagram (for streams it only looks)."""
        self.records: dict[tuple[str, str], list[DnsRecord]] = {}
        self.dns_down: set[str] = set()
        self.dns_delay = 0.01
        self.questions: list[tuple[str, str]] = []
        self.segment = 0
        """When set, stream writes arrive in pieces of so many bytes."""
        self.stall = 30.0
        """Seconds after which a stream gives up when its link is cut."""
        self.unsent: set[str] = set()
        """Hosts towards which sending is refused at once (no route)."""
        self.sockets: dict[Address, SimUdp] = {}
        self.listeners: dict[Address, SimListener] = {}
        self.streams: set[SimStream] = set()
        self._cut: set[tuple[str, str]] = set()
        self._port = FIRST_PORT

    # -------------------------------------------------------------------------------------------------------- topology
    def host(self, *addresses: str) -> SimHost:
        """The Net of one machine, with its own addresses."""
        return SimHost(self, addresses)

    def link(self, a: str, b: str, link: Link, *, both: bool = True) -> None:
        self.links[(a, b)] = link
        if both:
            self.links[(b, a)] = link

    def link_of(self, source: str, to: str) -> Link:
        return self.links.get((source, to), self.default)

    def cut(self, a: str, b: str) -> None:
        """Lose everything between two hosts, both ways."""
        self._cut |= {(a, b), (b, a)}

    def heal(self, a: str, b: str) -> None:
        self._cut -= {(a, b), (b, a)}

    def is_cut(self, source: str, to: str) -> bool:
        return (source, to) in self._cut

    def kill(self, host: str) -> None:
        """The process on `host` dies: its sockets vanish, its connections are reset."""
        for address in [a for a in self.sockets if a[0] == host]:
            del self.sockets[address]
        for address in [a for a in self.listeners if a[0] == host]:
            del self.listeners[address]
        for stream in sorted((s for s in self.streams if s.local[0] == host), key=lambda s: s.number):
            stream.die()

    def delay(self, source: str, to: str) -> float:
        link = self.link_of(source, to)
        return link.delay + (link.jitter * self.rng.random() if link.jitter else 0.0)

    # ------------------------------------------------------------------------------------------------------------- udp
    def udp(self, address: Address, receive: Receive) -> SimUdp:
        address = self.bind(address, self.sockets)
        sock = self.sockets[address] = SimUdp(self, address, receive)
        return sock

    def bind(self, address: Address, used: dict[Address, SimUdp] | dict[Address, SimListener] | None = None) -> Address:
        """The address with a port; OSError when it is taken."""
        host, port = address
        if not port:
            self._port = self._port + 1 if self._port < 65_000 else FIRST_PORT
            return host, self._port
        if used is not None and address in used:
            raise OSError(errno.EADDRINUSE, "address already in use", f"{host}:{port}")
        return address

    def datagram(self, data: bytes, source: Address, to: Address) -> None:
        if self.filter is not None and not self.filter("udp", data, source, to):
            return
        if (source[0], to[0]) in self._cut:
            return
        link = self.link_of(source[0], to[0])
        copies = 2 if link.duplicate and self.rng.random() < link.duplicate else 1
        for _ in range(copies):
            if link.loss and self.rng.random() < link.loss:
                continue
            held = link.reorder_delay if link.reorder and self.rng.random() < link.reorder else 0.0
            self.clock.call_later(self.delay(source[0], to[0]) + held, self._arrive, data, source, to)

    def _arrive(self, data: bytes, source: Address, to: Address) -> None:
        sock = self.sockets.get(to)
        if sock is not None:
            sock.receive(data, source)

    # --------------------------------------------------------------------------------------------------------- streams
    def listen(self, address: Address, accept: Callable[[], StreamHandler], tls: TlsServer | None = None) -> SimListener:
        address = self.bind(address, self.listeners)
        listener = self.listeners[address] = SimListener(self, address, accept, tls is not None)
        return listener

    def connect(self, address: Address, handler: StreamHandler, tls: TlsClient | None = None, timeout: float = 10.0, bind: str | None = None) -> None:
        host = bind or ("::1" if version(address[0]) == 6 else "127.0.0.1")
        local = self.bind((host, 0))
        if address[0] in self.unsent or version(host) != version(address[0]):
            self.clock.call_later(0, handler.closed, "no route")
            return
        if self.is_cut(host, address[0]):
            self.clock.call_later(timeout, handler.closed, "timeout")
            return
        there = self.delay(host, address[0])
        back = self.delay(address[0], host)
        self.clock.call_later(there, self._knock, local, address, handler, tls is not None, back)

    def _knock(self, local: Address, address: Address, handler: StreamHandler, secure: bool, back: float) -> None:
        listener = self.listeners.get(address)
        if listener is None:
            self.clock.call_later(back, handler.closed, "refused")
            return
        if listener.secure != secure:
            self.clock.call_later(back, handler.closed, "tls: handshake failed")
            return
        ours = SimStream(self, local, address, secure, handler)
        theirs = SimStream(self, address, local, secure, listener.accept())
        ours.peer, theirs.peer = theirs, ours
        theirs.open()
        self.clock.call_later(back, ours.open)

    # ------------------------------------------------------------------------------------------------------------- dns
    def add(self, name: str, *records: DnsRecord) -> None:
        """Put records into the DNS."""
        for record in records:
            self.records.setdefault((name.lower(), record.type), []).append(record)

    def lookup(self, name: str, rtype: str) -> Deferred[Sequence[DnsRecord]]:
        self.questions.append((name, rtype))
        answer: Deferred[Sequence[DnsRecord]] = Deferred()
        self.clock.call_later(self.dns_delay, self._answer, answer, name.lower(), rtype)
        return answer

    def _answer(self, answer: Deferred[Sequence[DnsRecord]], name: str, rtype: str) -> None:
        if name in self.dns_down or "*" in self.dns_down:
            answer.errback(DnsFailure(f"server failure for {name}"))
        else:
            answer.callback(list(self.records.get((name, rtype), ())))


class SimHost:
    """The network as one machine sees it."""

    def __init__(self, world: SimNet, addresses: Sequence[str]) -> None:
        self.world = world
        self.addresses = tuple(addresses)

    def _check(self, address: Address) -> None:
        if address[0] not in self.addresses:
            raise OSError(errno.EADDRNOTAVAIL, "cannot assign requested address", f"{address[0]}:{address[1]}")

    def udp(self, address: Address, receive: Receive) -> SimUdp:
        self._check(address)
        return self.world.udp(address, receive)

    def listen(self, address: Address, accept: Callable[[], StreamHandler], tls: TlsServer | None = None) -> SimListener:
        self._check(address)
        return self.world.listen(address, accept, tls)

    def connect(self, address: Address, handler: StreamHandler, tls: TlsClient | None = None, timeout: float = 10.0, bind: str | None = None) -> None:
        if bind is None:
            bind = next((a for a in self.addresses if version(a) == version(address[0])), None)
        elif bind not in self.addresses:
            self.world.clock.call_later(0, handler.closed, "cannot assign requested address")
            return
        if bind is None:
            self.world.clock.call_later(0, handler.closed, "no route")
            return
        self.world.connect(address, handler, tls, timeout, bind)

    def lookup(self, name: str, rtype: str) -> Deferred[Sequence[DnsRecord]]:
        return self.world.lookup(name, rtype)

    def kill(self) -> None:
        """The process dies: sockets vanish, connections are reset."""
        for address in self.addresses:
            self.world.kill(address)

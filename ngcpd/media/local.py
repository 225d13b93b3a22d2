"""The relay inside this process, on a `Net` that is passed in: for simulation and tests. Packets cost what they cost in the reactor, so
it is not for service."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ngcpd.media.control import Controller
from ngcpd.media.relay import MediaSocket
from ngcpd.media.wire import WireError
from ngcpd.runtime.ports import Address, Clock, Net, UdpSocket


class NetSocket:
    """A `Net` socket with the operations of a plain one. What arrives while nobody watches waits, as in a socket buffer."""

    LIMIT = 256

    def __init__(self, sockets: NetSockets, number: int) -> None:
        self._sockets = sockets
        self._number = number
        self._waiting: deque[tuple[bytes, Address]] = deque()
        self.watched = False
        self.udp: UdpSocket | None = None

    def received(self, data: bytes, source: Address) -> None:
        if len(self._waiting) < self.LIMIT:
            self._waiting.append((data, source))
            if self.watched:
                self._sockets.readable(self._number)

    def fileno(self) -> int:
        return self._number

    def recvfrom_into(self, buffer: bytearray, /) -> tuple[int, Any]:
        if not self._waiting:
            raise BlockingIOError
        data, source = self._waiting.popleft()
        n = min(len(data), len(buffer))
        buffer[:n] = data[:n]
        return n, source

    def sendto(self, data: memoryview, address: Any, /) -> int:
        if self.udp is None or not self.udp.send(bytes(data), address):
            raise OSError("not sent")
        return len(data)

    def close(self) -> None:
        self.watched = False
        if self.udp is not None:
            self.udp.close()
            self.udp = None


class NetSockets:
    """`relay.SocketFactory` on a `Net`. Set `on_readable` to what serves a socket's number."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self._last = 0
        self.on_readable: Callable[[int], object] = lambda number: None

    def readable(self, number: int) -> None:
        self.on_readable(number)

    def bind(self, host: str, port: int) -> MediaSocket:
        self._last += 1
        sock = NetSocket(self, self._last)
        sock.udp = self._net.udp((host, port), sock.received)
        return sock

    def address(self, host: str, port: int) -> tuple[Any, ...]:
        return (host, port)

    def watch(self, sock: MediaSocket) -> None:
        assert isinstance(sock, NetSocket)
        sock.watched = True

    def unwatch(self, sock: MediaSocket) -> None:
        assert isinstance(sock, NetSocket)
        sock.watched = False


class LocalChannel:
    """A relay in this process. Both directions are delivered by the clock, so neither side is entered from within the other."""

    name = "local"

    def __init__(self, clock: Clock, net: Net) -> None:
        self.clock = clock
        self.deaf = False  # for tests: nothing gets through any more, as with a process that hangs
        self._received: Callable[[bytes], object] = lambda data: None
        self._ended: Callable[[str], object] | None = None
        self._alive = True
        sockets = NetSockets(net)
        self.controller = Controller(clock, sockets, self._say)
        sockets.on_readable = self._serve

    def open(self, received: Callable[[bytes], object], ended: Callable[[str], object]) -> None:
        self._received = received
        self._ended = ended

    def send(self, data: bytes) -> None:
        if self._alive and not self.deaf:
            self.clock.call_later(0.0, self._hear, data)

    def close(self) -> None:
        self._end("closed")

    def kill(self) -> None:
        self._end("killed")

    def _hear(self, data: bytes) -> None:
        if self._alive:
            try:
                self.controller.feed(data)
            except WireError as error:
                self._end(str(error))

    def _say(self, data: bytes) -> None:
        if not self.deaf:
            self.clock.call_later(0.0, self._told, data)

    def _told(self, data: bytes) -> None:
        if self._alive:
            self._received(data)

    def _serve(self, number: int) -> None:
        relay = self.controller.relay
        end = relay.ends.get(number) if relay is not None else None
        if relay is not None and end is not None:
            relay.now = self.clock.monotonic()
            relay.receive(end)

    def _end(self, reason: str) -> None:
        if self._alive:
            self._alive = False
            self.controller.shut()
            if self._ended is not None:
                self.clock.call_later(0.0, self._ended, reason)


class LocalSpawner:
    """Makes relays inside this process (`client.Spawn`). `channels`: all that were made."""

    def __init__(self, clock: Clock, net: Net) -> None:
        self._clock = clock
        self._net = net
        self.channels: list[LocalChannel] = []

    def __call__(self) -> LocalChannel:
        channel = LocalChannel(self._clock, self._net)
        self.channels.append(channel)
        return channel

"""The streams of the simulated network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ngcpd.runtime.ports import Address, StreamHandler, TlsServer

if TYPE_CHECKING:
    from ngcpd.runtime.simnet import SimNet

RETRY = 0.5  # seconds between attempts to get bytes over a cut link


class SimListener:
    """A listening socket."""

    def __init__(self, net: SimNet, address: Address, accept: Callable[[], StreamHandler], secure: bool) -> None:
        self.net = net
        self.address = address
        self.accept = accept
        self.secure = secure

    def close(self) -> None:
        if self.net.listeners.get(self.address) is self:
            del self.net.listeners[self.address]

    def renewed(self, tls: TlsServer) -> Callable[[], None]:
        """There are no certificates in the simulation."""
        return lambda: None


class SimStream:
    """One end of a connection. Bytes arrive in order, whole or in pieces (`SimNet.segment`). `pause` makes this end stop reading, so that what the
    other end writes stays pending there."""

    _count = 0

    def __init__(self, net: SimNet, local: Address, remote: Address, secure: bool, handler: StreamHandler) -> None:
        SimStream._count += 1
        self.number = SimStream._count  # for a stable order
        self.net = net
        self.local = local
        self.remote = remote
        self.secure = secure
        self.lingers = True  # without effect: a simulated peer closes both directions at once
        self.handler = handler
        self.peer: SimStream
        self._opened = False
        self._closed = False
        self._closing = False
        self._paused = False
        self._early: list[bytes] = []  # arrived before this end was open, or while it did not read
        self._flying: list[bytes] = []  # written here, not yet taken there
        self._arrival = 0.0  # nothing may overtake
        self._stalled = 0.0
        self._moving = False
        net.streams.add(self)

    # ---------------------------------------------------------------------------------------------------------- port
    def write(self, data: bytes) -> None:
        if self._closed or self._closing or not data:
            return
        if self.net.filter is not None:
            self.net.filter("tcp", data, self.local, self.remote)
        size = self.net.segment or len(data)
        self._flying += [data[i : i + size] for i in range(0, len(data), size)]
        self._move()

    def pending(self) -> int:
        return sum(len(piece) for piece in self._flying)

    def close(self) -> None:
        if not self._closed and not self._closing:
            self._closing = True
            self._move()

    def abort(self) -> None:
        if not self._closed:
            self._flying.clear()
            self._end("aborted", "reset")

    # ------------------------------------------------------------------------------------------------------ for tests
    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self.peer._move()

    # ------------------------------------------------------------------------------------------------------- the world
    def open(self) -> None:
        self._opened = True
        if self._closed:  # reset before the news of the connection had come back
            return
        self.handler.opened(self)
        early, self._early = self._early, []
        for data in early:
            if not self._closed:
                self.handler.received(data)

    def die(self) -> None:
        """The process at this end is gone: no event for it, a reset for the other."""
        self._closed = True
        self.net.streams.discard(self)
        self.net.clock.call_later(self.net.delay(self.local[0], self.remote[0]), self.peer._cease, "reset")

    def _move(self) -> None:
        """Start the first piece on its way, or the end of the stream."""
        if self._moving or self._closed or self.peer._paused or not (self._flying or self._closing):
            return
        net = self.net
        self._moving = True
        self._arrival = max(self._arrival, net.clock.monotonic() + net.delay(self.local[0], self.remote[0]))
        net.clock.call_later(self._arrival - net.clock.monotonic(), self._land)

    def _land(self) -> None:
        self._moving = False
        if self._closed:
            return
        net = self.net
        if net.is_cut(self.local[0], self.remote[0]):
            self._stalled += RETRY
            if self._stalled >= net.stall:
                self._cease("timeout")
                net.clock.call_later(0, self.peer._cease, "timeout")
                return
            self._moving = True
            net.clock.call_later(RETRY, self._land)
            return
        self._stalled = 0.0
        peer = self.peer
        if peer._paused:
            return
        if not self._flying:
            self._end("closed", "closed by peer")
            return
        pieces, self._flying = self._flying, []
        if net.segment:
            self._flying = pieces[1:]
            pieces = pieces[:1]
        data = b"".join(pieces)
        if peer._closed:
            pass
        elif peer._opened:
            peer.handler.received(data)
        else:
            peer._early.append(data)
        self._move()

    def _end(self, mine: str, theirs: str) -> None:
        self.net.clock.call_later(self.net.delay(self.local[0], self.remote[0]), self.peer._cease, theirs)
        self._closed = True
        self.net.clock.call_later(0, self._told, mine)

    def _cease(self, reason: str) -> None:
        if not self._closed:
            self._closed = True
            self._told(reason)

    def _told(self, reason: str) -> None:
        if self in self.net.streams:
            self.net.streams.discard(self)
            self.handler.closed(reason)

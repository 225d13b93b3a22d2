"""Connections: TCP and TLS. Framing, keepalive, and all the ways a peer can be slow, silent or greedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Address, Stream, TlsClient
from ngcpd.sip.flow import Flow, SipSocket, hostport
from ngcpd.sip.framing import FramingError, Keepalive, StreamFramer
from ngcpd.sip.websocket import OPENING
from ngcpd.sip.wheel import WheelTimer

if TYPE_CHECKING:
    from ngcpd.sip.transport import Transports

CLOSE_SECONDS = 5.0  # after which a connection that was asked to close, but whose peer does not read, is aborted

log = logger("sip")


class StreamFlow(Flow):
    """One connection, from before it is open until it has ended. Implements `runtime.ports.StreamHandler`.

    An accepted one that turns out to be a WebSocket hands its stream over to an heir and is not `alive` any more.
    """

    __slots__ = (
        "_alive",
        "_first",
        "_framer",
        "_heir",
        "_idle",
        "_last",
        "_layer",
        "_local",
        "_queue",
        "_queued",
        "_slow",
        "_stream",
        "_watchers",
        "id",
        "incoming",
        "key",
        "tls_name",
    )  # fmt: skip

    def __init__(self, layer: Transports, socket: SipSocket, remote: Address, flow_id: int, *, incoming: bool, tls_name: str = "") -> None:
        super().__init__(socket, remote)
        self.id = flow_id
        self.incoming = incoming
        self.tls_name = tls_name
        self.key: tuple[str, Address, str] | None = None
        self._layer = layer
        self._stream: Stream | None = None
        self._alive = True
        self._framer = StreamFramer(layer.limits.message)
        self._queue: list[bytes] = []
        self._queued = 0
        self._watchers: dict[Callable[[Flow], object], None] = {}
        self._last = layer.clock.monotonic()
        self._idle: WheelTimer | None = None
        self._slow: WheelTimer | None = None
        self._local = socket.address
        self._first: bytes | None = b"" if incoming and socket.web is not None else None  # None: it is known what the peer speaks
        self._heir: StreamFlow | None = None

    @property
    def alive(self) -> bool:
        return self._alive

    @property
    def local(self) -> Address:
        return self._local

    @property
    def connecting(self) -> bool:
        return self._alive and self._stream is None

    def start(self) -> None:
        """Set up an outgoing connection."""
        layer = self._layer
        host = self.socket.address[0]
        bind = None if host in ("0.0.0.0", "::") else host
        tls = TlsClient(self.tls_name or self.remote[0], layer.limits.tls_verify) if self.socket.secure else None
        layer.net.connect(self.remote, self, tls, layer.limits.connect_timeout, bind)

    # ------------------------------------------------------------------------------------------------------ sending
    def send(self, data: bytes) -> bool:
        if not self._alive:
            return False
        limits = self._layer.limits
        stream = self._stream
        if stream is None:
            if self._queued + len(data) > limits.connect_buffer:
                self._layer.counters.dropped += 1
                return False
            self._queue.append(data)
            self._queued += len(data)
            return True
        self._last = self._layer.clock.monotonic()
        return self._write(stream, data)

    def _write(self, stream: Stream, data: bytes) -> bool:
        """Queue octets; False when a peer that does not read has too many waiting: it is cut off."""
        if stream.pending() + len(data) > self._layer.limits.write_buffer:
            log.limited(self.remote[0], 60, "peer does not read, connection cut", remote=hostport(self.remote), transport=self.transport)
            self._layer.counters.dropped += 1
            self._alive = False
            stream.abort()
            return False
        stream.write(data)
        return True

    def watch(self, fn: Callable[[Flow], object]) -> None:
        self._watchers[fn] = None

    def unwatch(self, fn: Callable[[Flow], object]) -> None:
        self._watchers.pop(fn, None)

    def close(self) -> None:
        if not self._alive:
            return
        self._alive = False
        if self._stream is not None:
            self._set_slow(CLOSE_SECONDS, self._stream.abort)
            self._stream.close()

    # ------------------------------------------------------------------------------------------------- StreamHandler
    def opened(self, stream: Stream) -> None:
        layer = self._layer
        self._stream = stream
        if not self._alive:
            stream.abort()
            return
        self._local = stream.local
        if self.incoming:
            self.remote = stream.remote
            if layer.closed or len(layer.flows) >= layer.limits.connections:
                layer.counters.dropped += 1
                log.limited("connections", 60, "too many connections: one was refused", remote=hostport(stream.remote))
                self._alive = False
                stream.abort()
                return
            layer.add(self)
            self._set_slow(layer.limits.first_message, self._too_slow, "nothing whole came after connecting")
        queue, self._queue, self._queued = self._queue, [], 0
        self._last = layer.clock.monotonic()
        for data in queue:
            stream.write(data)
        self._idle = layer.wheel.after(layer.limits.connection_idle, self._check_idle)

    def received(self, data: bytes) -> None:
        if self._heir is not None:
            self._heir.received(data)
            return
        if not self._alive:
            return
        if self._first is not None and not (data := self._recognize(self._first + data)):
            return
        layer = self._layer
        self._last = layer.clock.monotonic()
        error: FramingError | None = None
        try:
            messages = self._framer.feed(data)
        except FramingError as caught:
            error = caught
            messages = caught.messages
        for message in messages:
            self._clear_slow()
            self._message(message)
            if not self.alive:
                return
        if error is not None:
            layer.receiver.unframed(error, data, self)
            self.close()
        elif self._framer.pending and self._slow is None:
            self._set_slow(layer.limits.incomplete, self._too_slow, "a message was not completed in time")

    def _recognize(self, data: bytes) -> bytes:
        """SIP or HTTP, by the first octets of an accepted connection; the data when it is SIP, else nothing (yet)."""
        if not data.startswith(OPENING):
            self._first = data if OPENING.startswith(data) else None
            return b"" if self._first else data
        self._first = None
        heir = self._layer.web_flow(self)
        stream = self._stream
        if heir is None or stream is None:
            return data
        self._alive = False
        self._retire()
        self._heir = heir
        heir.opened(stream)
        heir.received(data)
        return b""

    def _retire(self) -> None:
        """Leave the tables and stop the timers."""
        self._layer.remove(self)
        self._clear_slow()
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _message(self, message: bytes | Keepalive) -> None:
        layer = self._layer
        if isinstance(message, Keepalive):
            layer.counters.keepalives += 1
            self.send(b"\r\n")  # RFC 5626 4.4.1
            layer.receiver.keepalive(self)
        elif layer.receiver.admit(self.remote, self.transport):
            layer.receiver.message(message, self)
        else:
            layer.counters.dropped += 1

    def closed(self, reason: str) -> None:
        if self._heir is not None:
            self._heir.closed(reason)
            return
        self._alive = False
        self._retire()
        if not self.incoming and self._stream is None:
            log.limited(self.remote, 60, "connection could not be set up", remote=hostport(self.remote), transport=self.transport, why=reason)
        self._stream = None
        self._queue = []
        watchers, self._watchers = self._watchers, {}
        for fn in watchers:
            try:
                fn(self)
            except Exception as error:  # noqa: BLE001 - one watcher must not keep the others from learning of the end
                self._layer.counters.errors += 1
                log.limited(type(error).__name__, 60, "the watcher of a connection raised", error=repr(error), remote=hostport(self.remote))

    # ------------------------------------------------------------------------------------------------------ patience
    def _set_slow(self, seconds: float, fn: Callable[..., object], *args: object) -> None:
        self._clear_slow()
        self._slow = self._layer.wheel.after(seconds, fn, *args)

    def _clear_slow(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _too_slow(self, why: str) -> None:
        self._slow = None
        log.limited(self.remote[0], 60, "connection closed", remote=hostport(self.remote), transport=self.transport, why=why)
        self._layer.counters.dropped += 1
        self.close()

    def _check_idle(self) -> None:
        self._idle = None
        if not self._alive:
            return
        layer = self._layer
        left = self._last + layer.limits.connection_idle - layer.clock.monotonic()
        if left <= 0 and not self._watchers:
            log.debug("idle connection closed", remote=hostport(self.remote))
            self.close()
            return
        self._idle = layer.wheel.after(max(left, 1.0), self._check_idle)

"""SIP over WebSocket (RFC 7118): an accepted connection that began with an HTTP request. The client is a browser, or like one: it can be sent
to, but never connected to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Address, Stream
from ngcpd.sip.flow import SipSocket, hostport
from ngcpd.sip.stream import CLOSE_SECONDS, StreamFlow
from ngcpd.sip.websocket import WebSocketRules, WebSocketSession
from ngcpd.sip.wheel import WheelTimer

if TYPE_CHECKING:
    from ngcpd.sip.transport import Transports

LINGER_SECONDS = 1.0
"""So long what still comes is swallowed after a refusal: closed at once, the connection would be reset and the peer not learn why."""
NORMAL, GOING_AWAY, UNEXPECTED = 1000, 1001, 1011  # RFC 6455 7.4.1

log = logger("sip")


class WebSocketFlow(StreamFlow):
    """One WebSocket. Pings and pongs do not count as traffic: without messages and without watchers it is closed like any idle connection."""

    __slots__ = ("_missed", "_ping", "_rules", "_session")

    def __init__(self, layer: Transports, socket: SipSocket, remote: Address, flow_id: int, rules: WebSocketRules) -> None:
        super().__init__(layer, socket, remote, flow_id, incoming=True)
        self._rules = rules
        self._session = WebSocketSession(rules, layer.limits.message)
        self._ping: WheelTimer | None = None
        self._missed = 0

    def send(self, data: bytes) -> bool:
        stream = self._stream
        if not self._alive or stream is None or not self._session.open:
            return False
        self._last = self._layer.clock.monotonic()
        return self._write(stream, self._session.message(data))

    def close(self) -> None:
        self._leave(GOING_AWAY if self._layer.closed else NORMAL, "")

    # ------------------------------------------------------------------------------------------------- StreamHandler
    def opened(self, stream: Stream) -> None:
        stream.lingers = False
        super().opened(stream)
        if self.alive:
            self._set_slow(self._rules.handshake, self._too_slow, "the WebSocket handshake was not completed in time")

    def received(self, data: bytes) -> None:
        stream = self._stream
        if stream is None or self._session.ended:
            return
        session = self._session
        self._missed = 0
        greeting = not session.open
        messages = session.feed(data)
        out = session.output()
        if out and not self._write(stream, out):
            return
        if not self._alive:  # goodbye was said, here comes the answer
            if session.ended:
                stream.close()
            return
        if greeting and session.open:
            self._clear_slow()
            log.debug("websocket open", remote=hostport(self.remote), transport=self.transport)
            self._arm()
        if messages:
            self._clear_slow()
            self._last = self._layer.clock.monotonic()
        for message in messages:
            self._message(message)
            if not self.alive:
                return
        self._after(stream)

    def _after(self, stream: Stream) -> None:
        """What was received is dealt with: is the connection over, is something half there?"""
        session = self._session
        if session.ended:
            self._alive = False
            self._stop_ping()
            if session.trouble:
                log.limited(self.remote[0], 60, "websocket refused", remote=hostport(self.remote), transport=self.transport, why=session.trouble)
                self._layer.counters.malformed += 1
                self._set_slow(LINGER_SECONDS, self._hang_up)
            else:
                self._hang_up()
        elif not session.open:
            return  # the time of the handshake runs
        elif not session.partial:
            self._clear_slow()
        elif self._slow is None:
            self._set_slow(self._layer.limits.incomplete, self._too_slow, "a message was not completed in time")

    def closed(self, reason: str) -> None:
        self._stop_ping()
        super().closed(reason)

    # ------------------------------------------------------------------------------------------------------- the end
    def _leave(self, code: int, reason: str) -> None:
        """Say goodbye and wait for the answer (RFC 6455 7.1.2), but not long."""
        if not self._alive:
            return
        self._alive = False
        self._stop_ping()
        stream = self._stream
        if stream is None:
            return
        self._set_slow(CLOSE_SECONDS, stream.abort)
        if self._session.open:
            stream.write(self._session.close(code, reason))
        else:
            stream.close()

    def _hang_up(self) -> None:
        """Nothing more is to be said; a peer that does not read is aborted."""
        self._clear_slow()
        if self._stream is not None:
            self._set_slow(CLOSE_SECONDS, self._stream.abort)
            self._stream.close()

    # --------------------------------------------------------------------------------------------------------- pings
    def _arm(self) -> None:
        if self._rules.ping_interval > 0:
            self._ping = self._layer.wheel.after(self._rules.ping_interval, self._beat)

    def _stop_ping(self) -> None:
        if self._ping is not None:
            self._ping.cancel()
            self._ping = None

    def _beat(self) -> None:
        self._ping = None
        stream = self._stream
        if not self._alive or stream is None:
            return
        if self._missed >= self._rules.missed:
            log.debug("websocket without sign of life", remote=hostport(self.remote), transport=self.transport)
            self._leave(UNEXPECTED, "no answer to pings")
            self._hang_up()
            return
        self._missed += 1
        if self._write(stream, self._session.ping()):
            self._arm()

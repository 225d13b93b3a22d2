"""Server transactions: RFC 3261 17.2 with the Accepted state of RFC 6026, and 18.2.2 for the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ngcpd.runtime.log import logger
from ngcpd.sip.flow import DEFAULT_PORT, Flow
from ngcpd.sip.message import Request, Response, reply
from ngcpd.sip.transaction import Layer, MergeKey, ServerKey, ack_key
from ngcpd.sip.wheel import WheelTimer

PROCEEDING, COMPLETED, CONFIRMED, ACCEPTED, TERMINATED = range(5)
STATE_NAMES = ("proceeding", "completed", "confirmed", "accepted", "terminated")

log = logger("sip")


class WayBack:
    """Where the responses to one request go: over its connection, else (RFC 3261 18.2.2) over a new one to the source address and the port
    of the top Via; over UDP to the source address and port, as if rport had been asked for (RFC 3581, call processing 1.6)."""

    __slots__ = ("_flow", "_layer", "_port")

    def __init__(self, layer: Layer, request: Request, flow: Flow) -> None:
        self._layer = layer
        self._flow = flow
        self._port = (request.via.port or DEFAULT_PORT.get(flow.transport, 5060)) if flow.reliable else 0

    @property
    def reliable(self) -> bool:
        return self._flow.reliable

    def send(self, data: bytes) -> bool:
        """False: the response can not arrive. A datagram that the operating system refused counts as lost on the way: it will be repeated."""
        flow = self._flow
        self._layer.counters.sent += 1
        if flow.send(data) or not flow.reliable:
            return True
        again = self._layer.transports.connect(flow.socket, (flow.remote[0], self._port))
        if again is None:
            return False
        self._flow = again
        return again.send(data)


class ServerTransaction:
    """One request from outside.

    `request`; `flow` it came over; `final` the status of the final response (0 until one was sent); `data` is the user's.
    The user sets `on_cancel(cancel_request)`: called once when a CANCEL came before a final response (it was answered already, the 487 is
    the user's), and `on_end(reason)`: called once when nothing more comes of the transaction: "done", "timeout" (no ACK came) or
    "transport" (a response could not be sent).
    """

    __slots__ = (
        "_ack_key",
        "_acked",
        "_back",
        "_cancelled",
        "_interval",
        "_key",
        "_last",
        "_layer",
        "_limit",
        "_merge",
        "_retry",
        "data",
        "final",
        "flow",
        "invite",
        "on_cancel",
        "on_end",
        "request",
        "state",
        "to_tag",
    )  # fmt: skip

    def __init__(self, layer: Layer, request: Request, flow: Flow, key: ServerKey, merge: MergeKey | None) -> None:
        self.request = request
        self.flow = flow
        self.final = 0
        self.data: Any = None
        self.on_cancel: Callable[[Request], object] | None = None
        self.on_end: Callable[[str], object] | None = None
        self.invite = request.method == "INVITE"
        self.to_tag = request.to_tag
        self.state = PROCEEDING
        self._layer = layer
        self._key = key
        self._ack_key: ServerKey | None = None
        self._merge = merge
        self._back = WayBack(layer, request, flow)
        self._last = b""
        self._interval = 0.0
        self._retry: WheelTimer | None = None
        self._limit: WheelTimer | None = None
        self._acked = False
        self._cancelled = False
        layer.servers[key] = self
        if merge is not None:
            layer.merged[merge] = self
        if not self.invite:  # nobody waits longer for an answer (Timer F of the client): an unanswered request must not stay for ever
            self._limit = layer.wheel.after(layer.timers.timeout, self._end, "timeout")

    def __repr__(self) -> str:
        return f"<ServerTransaction {self.request.method} {STATE_NAMES[self.state]}>"

    # --------------------------------------------------------------------------------------------------------- user
    def respond(self, response: Response) -> None:
        """Send a response. After a final one further ones are dropped with a warning (an INVITE's 2xx may be followed by another 2xx)."""
        status = response.status
        if self.state != PROCEEDING and not (self.state == ACCEPTED and 200 <= status < 300):
            if self.state != TERMINATED or self.final:
                log.limited(self.final, 60, "response after the final one dropped", status=status, final=self.final, method=self.request.method)
            return
        self.to_tag = response.to_tag or self.to_tag
        self._last = response.to_bytes()
        if status >= 200 and self.state == PROCEEDING:
            self._finish(status)
            return
        if not self._back.send(self._last):
            self._lost()

    def refuse(self, status: int, reason: str = "", fields: Iterable[tuple[str, str]] = ()) -> None:
        """Answer finally, as the first answer, and keep nothing: each copy of the request is looked at anew (RFC 3261 8.2.7).

        For senders who have not shown yet who they are: a flood of them must not become a flood of transactions. `on_end` is not called.
        """
        response = reply(self.request, status, reason, to_tag=self._layer.stateless_tag(self.request), fields=fields)
        self.final = status
        self.on_end = None
        self._layer.counters.sent += 1
        self.flow.send(response.to_bytes())
        self.forget()

    def acked(self) -> None:
        """The ACK of the 2xx came: stop repeating it."""
        self._acked = True
        self._stop_retry()
        if self.state == ACCEPTED:
            self._last = b""
            self._slim()

    # ------------------------------------------------------------------------------------------------------ machine
    def _finish(self, status: int) -> None:
        """The final response. The timers are set before it is sent: what the sending brings about finds the new state."""
        layer = self._layer
        timers = layer.timers
        self.final = status
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        if status >= 300:
            self._unmerge()
        if self.invite:
            self.state = ACCEPTED if status < 300 else COMPLETED
            self._limit = layer.wheel.after(timers.timeout, self._timer_h)
            if self.state == COMPLETED:
                key = self._ack_key = ack_key(self.request, self.to_tag)
                if key is not None:
                    layer.acks[key] = self
            if self.state == ACCEPTED or not self._back.reliable:
                self._interval = timers.t1
                self._retry = layer.wheel.after(timers.t1, self._repeat)
            sent = self._back.send(self._last)
        else:
            self.state = COMPLETED
            sent = self._back.send(self._last)
            if sent and self._back.reliable:
                self._end("done")
            elif sent:
                self._limit = layer.wheel.after(timers.timer_j, self._end, "done")
                self._slim()
        if not sent:
            self._lost()

    def _repeat(self) -> None:
        """Timer G of a final failure response; for a 2xx the retransmission of RFC 3261 13.3.1.4, over any transport."""
        timers = self._layer.timers
        self._interval = min(self._interval * 2, timers.t2)
        self._retry = self._layer.wheel.after(self._interval, self._repeat)
        self._layer.counters.retransmissions += 1
        if not self._back.send(self._last):
            self._lost()

    def _timer_h(self) -> None:
        """Timers H and L."""
        self._limit = None
        self._end("done" if self.state == ACCEPTED and self._acked else "timeout")

    def retransmitted(self) -> None:
        """The request came again."""
        if self._last and self.state in (PROCEEDING, COMPLETED):
            self._layer.counters.retransmissions += 1
            self._back.send(self._last)

    def acknowledged(self) -> bool:
        """An ACK that belongs to this transaction came. True: it is that of a 2xx and the user's."""
        if self.state == COMPLETED:
            self.state = CONFIRMED
            self._stop_retry()
            if self._limit is not None:
                self._limit.cancel()
                self._limit = None
            if self._back.reliable:
                self._end("done")
            else:
                self._limit = self._layer.wheel.after(self._layer.timers.t4, self._end, "done")  # Timer I
        return self.state == ACCEPTED

    def cancelled(self, cancel: Request) -> None:
        """A CANCEL came (RFC 3261 9.2)."""
        if self.invite and not self.final and not self._cancelled and self.state == PROCEEDING:
            self._cancelled = True
            if self.on_cancel is not None:
                self.on_cancel(cancel)

    # ---------------------------------------------------------------------------------------------------------- end
    def _stop_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _unmerge(self) -> None:
        if self._merge is not None:
            if self._layer.merged.get(self._merge) is self:
                del self._layer.merged[self._merge]
            self._merge = None

    def _slim(self) -> None:
        """From here on only retransmissions matter. When the user does not wait for the end, a record that holds just what they need takes
        the place in the tables, so that the request and all that hangs on it are freed up to 32 s earlier."""
        if self.on_end is not None or self._limit is None:
            return
        self._limit.cancel()
        seconds = self._layer.timers.timeout if self.invite else self._layer.timers.timer_j
        Linger(self._layer, self._key, self._merge, self._back, self._last, self.invite, seconds)
        self._limit = None
        self.state = TERMINATED

    def _lost(self) -> None:
        log.limited(self.flow.remote[0], 60, "a response could not be sent", remote=self.flow.remote[0], transport=self.flow.transport)
        self._end("transport")

    def _end(self, reason: str) -> None:
        self.forget()
        if self.on_end is not None:
            on_end, self.on_end = self.on_end, None
            on_end(reason)

    def forget(self) -> None:
        """Leave the tables, without a word to the user."""
        layer = self._layer
        self.state = TERMINATED
        self._stop_retry()
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        if layer.servers.get(self._key) is self:
            del layer.servers[self._key]
        if self._ack_key is not None:
            layer.acks.pop(self._ack_key, None)
            self._ack_key = None
        self._unmerge()
        self.on_cancel = None
        self._last = b""


class Linger:
    """What is left of a server transaction whose user is done with it: it answers retransmissions until its time is over."""

    __slots__ = ("_back", "_key", "_last", "_layer", "_limit", "_merge", "invite")

    def __init__(self, layer: Layer, key: ServerKey, merge: MergeKey | None, back: WayBack, last: bytes, invite: bool, seconds: float) -> None:
        self.invite = invite
        self._layer = layer
        self._key = key
        self._merge = merge
        self._back = back
        self._last = last
        self._limit = layer.wheel.after(seconds, self.forget)
        layer.servers[key] = self
        if merge is not None:
            layer.merged[merge] = self

    def retransmitted(self) -> None:
        if self._last:
            self._layer.counters.retransmissions += 1
            self._back.send(self._last)

    def acknowledged(self) -> bool:
        return self.invite  # only an answered INVITE comes to linger

    def cancelled(self, cancel: Request) -> None:
        return  # too late

    def forget(self) -> None:
        self._limit.cancel()
        layer = self._layer
        if layer.servers.get(self._key) is self:
            del layer.servers[self._key]
        if self._merge is not None and layer.merged.get(self._merge) is self:
            del layer.merged[self._merge]

"""The state machine of a client transaction at one hop: RFC 3261 17.1 with the Accepted state of RFC 6026, and 9.1 (CANCEL).

An attempt whose user has been told of the failure is *abandoned*: it stays for the rest of its time, so that a callee that rings late is
cancelled, a late failure acknowledged and a late 2xx still handed up (the user must acknowledge and end it).
"""

from __future__ import annotations

from typing import Protocol

from ngcpd.sip.endpoint import Hop
from ngcpd.sip.flow import Flow
from ngcpd.sip.message import Request, Response
from ngcpd.sip.transaction import Layer
from ngcpd.sip.wheel import GRAIN, WheelTimer

CALLING, PROCEEDING, COMPLETED, ACCEPTED, TERMINATED = range(5)
STATE_NAMES = ("calling", "proceeding", "completed", "accepted", "terminated")


class Owner(Protocol):
    """What an attempt needs of the ClientTransaction it works for."""

    base: Request
    first_reply: float | None
    cancel_fields: list[tuple[str, str]] | None
    invite: bool

    @property
    def more(self) -> bool:
        """Another hop may be tried."""

    def fail_over(self, kind: str) -> None:
        """The hop did not answer at all."""

    def fail(self, kind: str) -> None: ...

    def progress(self, response: Response) -> None:
        """A provisional response."""

    def conclude(self, response: Response) -> None:
        """A final response other than the 2xx of an INVITE."""

    def answered(self, attempt: Attempt, response: Response) -> None:
        """A 2xx to an INVITE."""

    def drop(self) -> None:
        """The stack is closing."""


class Attempt:
    """The state machine of one request at one hop. `tx` is None for a CANCEL, whose outcome nobody waits for."""

    __slots__ = (
        "_cancel",
        "_data",
        "_flow",
        "_interval",
        "_layer",
        "_limit",
        "_refused",
        "_retry",
        "_started",
        "abandoned",
        "hop",
        "key",
        "request",
        "state",
        "tx",
    )

    def __init__(self, layer: Layer, tx: Owner | None, hop: Hop) -> None:
        self.tx = tx
        self.hop = hop
        self.request: Request
        self.state = CALLING
        self.key = ("", "")
        self.abandoned = False
        self._layer = layer
        self._flow: Flow | None = None
        self._data = b""
        self._interval = layer.timers.t1
        self._retry: WheelTimer | None = None
        self._limit: WheelTimer | None = None
        self._started = layer.clock.monotonic()
        self._cancel = 0  # 1: as soon as a provisional response has come, 2: sent
        self._refused = False

    # ------------------------------------------------------------------------------------------------------- sending
    def start(self) -> bool:
        """Send with a new branch. False when the hop can not be reached."""
        tx = self.tx
        assert tx is not None
        flow = self._layer.flow(self.hop)
        if flow is None:
            return False
        branch = self._layer.branch()
        request = tx.base.copy()
        request.insert("Via", f"{self.hop.via_prefix};branch={branch};rport" if not flow.reliable else f"{self.hop.via_prefix};branch={branch}")
        first = tx.first_reply
        return self.run(request, branch, flow, self._layer.timers.timeout if first is None else first)

    def run(self, request: Request, branch: str, flow: Flow, limit: float) -> bool:
        layer = self._layer
        self.request = request
        self._data = request.to_bytes()
        self._flow = flow
        self.key = (branch, request.method)
        layer.clients[self.key] = self
        flow.watch(self.flow_ended)
        layer.counters.sent += 1
        if not flow.send(self._data):
            # A datagram may only have met a full buffer: without another hop it gets a second chance by Timer A or E.
            if flow.reliable or (self.tx is not None and self.tx.more):
                self.forget()
                return False
            self._refused = True
        if not flow.reliable:
            self._retry = layer.wheel.after(layer.timers.t1, self._repeat)
        self._limit = layer.wheel.after(limit, self._timed_out)
        return True

    def _repeat(self) -> None:
        """Timers A and E."""
        layer = self._layer
        timers = layer.timers
        self._interval *= 2
        if self.request.method != "INVITE":
            self._interval = timers.t2 if self.state == PROCEEDING else min(self._interval, timers.t2)
        self._retry = layer.wheel.after(self._interval, self._repeat)
        layer.counters.retransmissions += 1
        assert self._flow is not None
        if self._flow.send(self._data):
            self._refused = False
        elif self._refused:
            self._transport_failed()
        else:
            self._refused = True

    # ----------------------------------------------------------------------------------------------------- responses
    def receive(self, response: Response) -> None:
        """A response with our branch and method."""
        status = response.status
        if self.request.method == "INVITE":
            self._invite_response(response, status)
        elif self.state in (CALLING, PROCEEDING):
            if status < 200:
                self._provisional(response)
            else:
                self._conclude(response, self._layer.timers.t4)  # Timer K

    def _invite_response(self, response: Response, status: int) -> None:
        layer = self._layer
        if self.state == ACCEPTED:
            if 200 <= status < 300 and self.tx is not None:
                self.tx.answered(self, response)
        elif self.state == COMPLETED:
            if status >= 300 and self._flow is not None:
                layer.counters.retransmissions += 1
                self._flow.send(self._data)  # the ACK
        elif status < 200:
            self._provisional(response)
        elif status < 300:
            self._quiet()
            self.state = ACCEPTED
            self._limit = layer.wheel.after(layer.timers.timeout, self.forget)  # Timer M
            if self._flow is not None:
                self._flow.unwatch(self.flow_ended)
                self._flow = None
            self._data = b""
            if self.tx is not None:
                self.tx.answered(self, response)
        else:
            self._data = self._make_ack(response).to_bytes()
            if self._flow is not None:
                layer.counters.sent += 1
                self._flow.send(self._data)
            self._conclude(response, layer.timers.completed)  # Timer D

    def _conclude(self, response: Response, absorb: float) -> None:
        """A final response. Over UDP its retransmissions are absorbed for a while, over a stream the end is here. The user is let go first."""
        tx, self.tx = self.tx, None
        self._quiet()
        if self._flow is None or self._flow.reliable:
            self.forget()
        else:
            self.state = COMPLETED
            self._limit = self._layer.wheel.after(absorb, self.forget)
            if self.request.method != "INVITE":
                self._data = b""
        if tx is not None and not self.abandoned:
            tx.conclude(response)

    def _provisional(self, response: Response) -> None:
        if self.state == CALLING:
            self.state = PROCEEDING
            if self.request.method == "INVITE":
                if self._retry is not None:
                    self._retry.cancel()
                    self._retry = None
                if self._limit is not None and not self.abandoned:
                    self._limit.cancel()
                    self._limit = None
            elif self._limit is not None and self.tx is not None and self.tx.first_reply is not None:
                self._limit.cancel()
                self._limit = self._layer.wheel.after(max(0.0, self._left()), self._timed_out)
            if self._cancel == 1:
                self._send_cancel()
        if self.tx is not None and not self.abandoned:
            self.tx.progress(response)

    # ------------------------------------------------------------------------------------------------------ failures
    def _timed_out(self) -> None:
        """Timers B and F, the limit of the first response, and the 64*T1 after a CANCEL."""
        self._limit = None
        tx = self.tx
        if tx is None or self.abandoned:
            self.forget()
            return
        if self.state != CALLING:
            self.forget()
            tx.fail("timeout" if self._cancel else "expired")
            return
        if tx.invite and self._left() > GRAIN:
            self.abandon()
            self.want_cancel()
        else:
            self.forget()
        tx.fail_over("timeout")

    def abandon(self) -> None:
        """The user was or is being told that this attempt failed; keep it for what may still come."""
        self.abandoned = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._limit is not None:
            self._limit.cancel()
        timers = self._layer.timers
        self._limit = self._layer.wheel.after(max(self._left(), timers.t1) if self.state == CALLING else timers.timeout, self._timed_out)

    def _left(self) -> float:
        """Seconds until 64*T1 after the start."""
        return self._started + self._layer.timers.timeout - self._layer.clock.monotonic()

    def flow_ended(self, flow: Flow) -> None:
        self._flow = None
        self._transport_failed()

    def _transport_failed(self) -> None:
        state = self.state
        if state in (CALLING, PROCEEDING):
            tx = self.tx
            self.forget()
            if tx is not None and not self.abandoned:
                if state == CALLING:
                    tx.fail_over("transport")
                else:
                    tx.fail("transport")

    # --------------------------------------------------------------------------------------------------- CANCEL, ACK
    def want_cancel(self) -> None:
        if self._cancel == 0:
            self._cancel = 1
        if self._cancel == 1 and self.state == PROCEEDING:
            self._send_cancel()

    def _send_cancel(self) -> None:
        layer = self._layer
        self._cancel = 2
        if self._limit is not None:
            self._limit.cancel()
        self._limit = layer.wheel.after(layer.timers.timeout, self._timed_out)
        flow = self._flow
        if flow is None:
            return
        fields = self._same_fields("CANCEL", "")
        if self.tx is not None and self.tx.cancel_fields:
            fields += self.tx.cancel_fields
        request = Request.make("CANCEL", self.request.uri, fields)
        Attempt(layer, None, self.hop).run(request, self.key[0], flow, layer.timers.timeout)

    def _make_ack(self, response: Response) -> Request:
        """RFC 3261 17.1.1.3."""
        return Request.make("ACK", self.request.uri, self._same_fields("ACK", response.first("To") or ""))

    def _same_fields(self, method: str, to: str) -> list[tuple[str, str]]:
        """What an ACK and a CANCEL share with their INVITE."""
        request = self.request
        fields = [("Via", request.raw("Via")[0]), ("Max-Forwards", "70")]
        fields += [("Route", value) for value in request.raw("Route")]
        fields += [("From", request.first("From") or ""), ("To", to or request.first("To") or ""), ("Call-ID", request.call_id)]
        fields.append(("CSeq", f"{request.cseq} {method}"))
        return fields

    # ----------------------------------------------------------------------------------------------------------- end
    def _quiet(self) -> None:
        for timer in (self._retry, self._limit):
            if timer is not None:
                timer.cancel()
        self._retry = self._limit = None

    def forget(self) -> None:
        """Leave the tables, without a word to the user."""
        self.state = TERMINATED
        self._quiet()
        if self._layer.clients.get(self.key) is self:
            del self._layer.clients[self.key]
        if self._flow is not None:
            self._flow.unwatch(self.flow_ended)
            self._flow = None
        self._data = b""
        self.tx = None

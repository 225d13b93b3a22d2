"""What server and client transactions share: timers, keys, the tables. RFC 3261 17, RFC 6026.

The layer keeps the bytes of the last message of each transaction, so that a retransmission costs one look-up and one send.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ngcpd.runtime.ports import Clock, Rng
from ngcpd.sip.message import Request
from ngcpd.sip.transport import Counters, Flow, Limits, Transports, UdpFlow
from ngcpd.sip.wheel import Wheel

if TYPE_CHECKING:
    from ngcpd.sip.attempt import Attempt
    from ngcpd.sip.endpoint import Hop
    from ngcpd.sip.server import Linger, ServerTransaction

COOKIE = "z9hG4bK"  # RFC 3261 8.1.1.7

ServerKey = tuple[str, ...]
MergeKey = tuple[str, str, int, str]


@dataclass(frozen=True, slots=True)
class Timers:
    """The timer values of RFC 3261 17 in seconds. 64*T1 is Timers B, F, H, L, M and J unless `linger` says otherwise."""

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0
    linger: float | None = None
    """Timer J: how long a non-INVITE server transaction over UDP answers retransmissions after its final response. None: 64*T1. Closed
    networks may use 5 s and save memory."""
    completed: float = 32.0
    """Timer D: how long an INVITE client transaction over UDP repeats its ACK (at least 32 s by the RFC)."""

    @property
    def timeout(self) -> float:
        return 64 * self.t1

    @property
    def timer_j(self) -> float:
        return self.timeout if self.linger is None else self.linger


class Layer:
    """The transaction tables and what transactions need: one per stack."""

    def __init__(self, clock: Clock, rng: Rng, wheel: Wheel, transports: Transports, timers: Timers, limits: Limits) -> None:
        self.clock = clock
        self.rng = rng
        self.wheel = wheel
        self.transports = transports
        self.timers = timers
        self.limits = limits
        self.counters: Counters = transports.counters
        self.servers: dict[ServerKey, ServerTransaction | Linger] = {}
        self.acks: dict[ServerKey, ServerTransaction] = {}
        """RFC 2543 INVITEs by what their ACK will look like."""
        self.merged: dict[MergeKey, ServerTransaction | Linger] = {}
        self.clients: dict[tuple[str, str], Attempt] = {}
        self._tag_key = rng.bytes(16)

    def full(self) -> bool:
        return len(self.servers) + len(self.clients) >= self.limits.transactions

    def branch(self) -> str:
        return COOKIE + self.rng.token(10)

    def flow(self, hop: Hop) -> Flow | None:
        """The flow a hop means; a connection is set up when there is none. None: impossible now."""
        if hop.flow is not None:
            return hop.flow if hop.flow.alive else None
        if hop.transport == "udp":
            return UdpFlow(hop.socket, hop.remote)
        return self.transports.connect(hop.socket, hop.remote, hop.tls_name)

    def stateless_tag(self, request: Request) -> str:
        """A To-tag that is the same for each copy of a request (RFC 3261 8.2.7)."""
        text = "\0".join((request.first("Call-ID") or "", request.first("From") or "", request.via.branch or ""))
        return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), key=self._tag_key, digest_size=8).hexdigest()


def has_cookie(branch: str | None) -> bool:
    """A branch that identifies its transaction alone: with the cookie and something after it (a bare cookie is worth nothing)."""
    return branch is not None and len(branch) > len(COOKIE) and branch[: len(COOKIE)].lower() == COOKIE.lower()


def server_key(request: Request, method: str) -> ServerKey:
    """What a request must share with another one to belong to the same server transaction (RFC 3261 17.2.3). Raises ParseError.

    `method` is that of the transaction looked for: the request's own, or INVITE for what an ACK or a CANCEL may mean.
    """
    via = request.via
    branch = via.branch or ""
    if has_cookie(branch):
        return (method, branch, via.host.lower(), str(via.port or 0))
    return (*_old_key(request, method), request.to_tag)


def ack_key(request: Request, to_tag: str) -> ServerKey | None:
    """What the ACK of a non-2xx to an RFC 2543 INVITE will look like: its To-tag is that of the response. None for newer requests."""
    return None if has_cookie(request.via.branch) else (*_old_key(request, "INVITE"), to_tag)


def _old_key(request: Request, method: str) -> ServerKey:
    via = request.via
    return (method, via.branch or "", via.host.lower(), str(via.port or 0), request.uri, request.from_tag, request.call_id, str(request.cseq))


def merge_key(request: Request) -> MergeKey:
    """RFC 3261 8.2.2.2: equal for copies of one request that came by different ways."""
    return (request.call_id, request.from_tag, request.cseq, request.method)

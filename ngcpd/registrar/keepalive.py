"""OPTIONS that keep the way to contacts behind NAT open (call processing 1.6).

Sent without a transaction: a lost one is followed by the next anyway, and any answer, even none, changes nothing but counts. Each contact is
visited once per interval; the visits are spread over it by the shards of the table.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ngcpd.registrar.location import Location
from ngcpd.registrar.model import Binding, connection_bound
from ngcpd.registrar.settings import KeepaliveSettings
from ngcpd.registrar.survey import Survey
from ngcpd.registrar.table import SHARDS
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Rng, Timer
from ngcpd.sip.endpoint import Hop, NoRoute
from ngcpd.sip.errors import ParseError
from ngcpd.sip.message import Request, Response
from ngcpd.sip.stack import Stack
from ngcpd.sip.uri import Uri

log = logger("registrar")


class Keepalive:
    """`sent` and `alive` count OPTIONS and answers to them."""

    def __init__(self, location: Location, survey: Survey, stack: Stack, clock: Clock, rng: Rng, settings: KeepaliveSettings | None = None) -> None:
        self._location = location
        self._survey = survey
        self._stack = stack
        self._clock = clock
        self.settings = settings or KeepaliveSettings()
        self._mark = f"natping-{rng.token(6)}-"
        self._rng = rng
        self._timer: Timer | None = None
        self._shard = 0
        self._due = 0.0
        self.sent = 0
        self.alive = 0

    def start(self) -> None:
        """Begin, unless the interval is 0."""
        if self.settings.interval > 0 and self._timer is None:
            self._due = self._clock.monotonic()
            self._arm()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        # By a fixed grid: what one round took does not lengthen the interval. After a long stall the rounds missed are left out.
        now = self._clock.monotonic()
        self._due = max(self._due + self.settings.interval / SHARDS, now)
        self._timer = self._clock.call_later(self._due - now, self._tick)

    def _tick(self) -> None:
        self._arm()
        if self._location.table.nat_count:
            now = self._clock.time()
            for subscriber_id, bindings in self._location.table.shard(self._shard):
                nat = [b for b in bindings if b.nat and b.live(now) and b.node == self._location.node]
                if nat and not self._survey.wants_none(subscriber_id):
                    for binding in nat:
                        self.ping(binding)
        self._shard = (self._shard + 1) % SHARDS

    def ping(self, binding: Binding) -> None:
        """One OPTIONS to one contact."""
        try:
            uri = Uri.parse(binding.contact)
            if connection_bound(binding):
                flow = self._location.flow(binding)
                if flow is None:
                    return
                hops = self._stack.endpoint.resolve(uri, flow=flow)
            else:
                hops = self._stack.endpoint.resolve(uri, received=binding.received, forced_socket=binding.socket or None, transport=binding.transport)
        except (NoRoute, ParseError) as error:
            log.limited(binding.ruid, 3600.0, "contact cannot be kept alive", contact=binding.contact, why=str(error))
            return
        if isinstance(hops, Deferred):
            hops.addCallback(self._send, uri).addErrback(self._unresolved, binding)
        else:
            self._send(hops, uri)

    def _unresolved(self, failure: Failure, binding: Binding) -> None:
        failure.trap(NoRoute)  # type: ignore[no-untyped-call]
        log.limited(binding.ruid, 3600.0, "contact cannot be kept alive", contact=binding.contact, why=failure.getErrorMessage())

    def _send(self, hops: list[Hop], uri: Uri) -> None:
        # Header parts and method of a Contact URI have no business in a Request-URI (RFC 3261 19.1.1).
        target = uri.replace(headers="").without_params(("method",)) if uri.headers or "method" in uri.params else uri
        self.sent += 1
        request = Request.make(
            "OPTIONS",
            str(target),
            [
                ("Max-Forwards", "70"),
                ("From", f"<{self.settings.from_uri}>;tag={self._rng.token(4)}"),
                ("To", f"<{target}>"),
                ("Call-ID", f"{self._mark}{self.sent}"),
                ("CSeq", "1 OPTIONS"),
            ],
        )
        self._stack.send_ack(request, hops)

    def answered(self, response: Response) -> bool:
        """Is this stray response the answer to a keepalive? Any status counts as alive."""
        if not response.call_id.startswith(self._mark):
            return False
        self.alive += 1
        return True

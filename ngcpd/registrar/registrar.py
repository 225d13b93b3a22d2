"""The registrar (RFC 3261 10, call processing 2): answers REGISTER and knows where each subscriber can be reached."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ngcpd.registrar.accounts import Accounts
from ngcpd.registrar.answers import Answers
from ngcpd.registrar.auth import REGISTER, Authenticator
from ngcpd.registrar.contacts import MAX_URI, Wish, contact_value, wishes
from ngcpd.registrar.location import Location, NotStored, visible
from ngcpd.registrar.model import Binding
from ngcpd.registrar.plan import Origin, TooManyContacts, carry_out, limit, remove_all
from ngcpd.registrar.results import AuthResult, Challenge, Refused
from ngcpd.registrar.settings import RegistrarSettings
from ngcpd.registrar.source import Source
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Rng
from ngcpd.sip.errors import ParseError
from ngcpd.sip.message import Request
from ngcpd.sip.uri import Uri

if TYPE_CHECKING:
    from ngcpd.directory.model import Subscriber
    from ngcpd.sip.stack import ServerTransaction
    from ngcpd.sip.transport import Flow

log = logger("registrar")
MAX_TEXT = 255
"""Characters of Call-ID and User-Agent that are kept; Call-IDs are compared up to there."""


class Registrar:
    """The door of the room. `is_us(uri)` tells whether a URI names one of our own sockets (devices may send REGISTER to our address)."""

    def __init__(
        self,
        directory: Accounts,
        auth: Authenticator,
        location: Location,
        answers: Answers,
        clock: Clock,
        rng: Rng,
        settings: RegistrarSettings | None = None,
        *,
        is_us: Callable[[Uri], bool] = lambda uri: False,
    ) -> None:
        self._directory = directory
        self._auth = auth
        self.location = location
        self._answers = answers
        self._clock = clock
        self._rng = rng
        self.settings = settings or RegistrarSettings()
        self._is_us = is_us
        self.counters: Counter[str] = Counter()

    # -------------------------------------------------------------------------------------------------------- location
    def bindings(self, subscriber_id: int) -> list[Binding]:
        """Live bindings, permanent ones included."""
        return self.location.bindings(subscriber_id)

    def flow(self, binding: Binding) -> Flow | None:
        """The open connection of a connection-bound binding of this node."""
        return self.location.flow(binding)

    def all(self) -> Iterator[Binding]:
        """Every live binding, for lists and reports."""
        return self.location.all()

    def remove(self, subscriber_id: int, ruid: str | None = None) -> int:
        """Remove one binding or all of a subscriber, permanent ones too; how many went. Raises `NotStored`."""
        return self.location.remove(subscriber_id, ruid)

    def add_permanent(self, subscriber_id: int, contact: str, *, q: float = 1.0, nat: bool = False, path: str = "") -> Binding:
        """Add a permanent registration (call processing 2.3); `path` are Path values, the route set toward the contact.

        Raises ParseError for a contact or path that is no SIP URI, ValueError for a q beyond -1..1, `NotStored`.
        """
        return self.location.add_permanent(subscriber_id, contact, q=q, nat=nat, path=path)

    # ---------------------------------------------------------------------------------------------------------- REGISTER
    def register(self, tx: ServerTransaction, source: Source) -> None:
        """Answer a REGISTER by decision table 2.1."""
        self.counters["received"] += 1
        try:
            realm = self._realm(tx.request)
        except ParseError as error:
            self._answer(tx, error.code, error.reason)
            return
        if realm is None:
            self._answer(tx, 404, "Not Found")
            return
        result = self._auth.check(tx.request, source, realm, REGISTER)
        if isinstance(result, Deferred):
            result.addCallback(self._checked, tx, source).addErrback(self._broke, tx)
        else:
            self._checked(result, tx, source)

    def _realm(self, request: Request) -> str | None:
        """Name of the domain registered in (R2); None when To or Request-URI are not ours."""
        to = request.to.uri
        ruri = request.ruri
        if to.scheme not in ("sip", "sips") or not to.user:
            return None
        domain = self._directory.domain(to.host)
        if domain is None or (self._directory.domain(ruri.host) is None and not self._is_us(ruri)):
            return None
        return domain.name

    def _broke(self, failure: Failure, tx: ServerTransaction) -> None:
        log.error("REGISTER failed", call_id=tx.request.call_id, kind=type(failure.value).__name__, why=failure.getErrorMessage())
        if not tx.final:
            self._answer(tx, 500)

    def _checked(self, result: AuthResult, tx: ServerTransaction, source: Source) -> None:
        if isinstance(result, Challenge):
            self.counters[f"sent_{result.status}"] += 1
            self._answers.challenge(tx, result.status, result.fields)
        elif isinstance(result, Refused):
            self._answer(tx, result.code, result.reason, result.fields)
        else:
            self._update(tx, source, result.subscriber)

    def _answer(self, tx: ServerTransaction, code: int, reason: str = "", fields: tuple[tuple[str, str], ...] = ()) -> None:
        self.counters[f"sent_{code}"] += 1
        self._answers.send(tx, code, reason, fields)

    # ---------------------------------------------------------------------------------------------------------- contacts
    def _update(self, tx: ServerTransaction, source: Source, subscriber: Subscriber) -> None:
        """R10: all of the request's changes or none."""
        request = tx.request
        if source.flow.reliable and not source.flow.alive:
            return  # Its connection closed while the subscriber was loaded: nobody waits for an answer, nothing could reach the contact.
        now = self._clock.time()
        before = self.location.known(subscriber.id)
        try:
            path = tuple(request.values("Path"))
            echo = tuple(("Path", value) for value in path)
            if path and not request.has_token("Supported", "path") and not request.has_token("Require", "path"):
                # RFC 3327 5.3: a device that does not know Path could not be told of the proxies that see its calls.
                self._answer(tx, 420, "Bad Extension", (("Unsupported", "path"), *echo))
                return
            after = self._after(request, source, subscriber, path, before, now)
            if after != before:
                self.location.change(subscriber.id, after, source.flow)
        except ParseError as error:
            self._answer(tx, error.code, error.reason)
        except TooManyContacts:
            self._answer(tx, 503, "Too many registered contacts")
        except NotStored:
            self._answer(tx, 500)
        else:
            self._answer(tx, 200, "OK", (*(("Contact", contact_value(b, now)) for b in visible(after)), *echo))

    def _after(
        self, request: Request, source: Source, subscriber: Subscriber, path: tuple[str, ...], before: list[Binding], now: float
    ) -> list[Binding]:
        if not request.raw("Contact"):
            return before
        if sum(len(p) for p in path) > MAX_URI:
            raise ParseError("Bad Path Header")
        wished = wishes(request, self.settings, self._rng)
        # Behind a proxy that put itself on the Path, the source address is the proxy's and says nothing about the device.
        bound = source.flow.reliable and not path
        direct = (source.nat or bound) and not path
        origin = Origin(request.call_id[:MAX_TEXT], request.cseq, path, source.ip if direct else "")
        if wished is None:
            return remove_all(before, origin)
        user_agent = sys.intern((request.first("User-Agent") or "")[:MAX_TEXT])

        def make(wish: Wish, ruid: str) -> Binding:
            return Binding(
                ruid=ruid or self.location.new_ruid(),
                subscriber_id=subscriber.id,
                contact=wish.contact,
                received=(source.ip, source.port) if direct else None,
                path=path,
                expires_at=now + wish.expires,
                q=wish.q,
                call_id=origin.call_id,
                cseq=origin.cseq,
                user_agent=user_agent,
                instance=wish.instance,
                reg_id=wish.reg_id,
                socket=source.socket,
                transport=source.transport,
                flow_id=source.flow.id if bound else 0,
                nat=source.nat and not path,
                permanent=False,
                node=self.location.node,
            )

        after = carry_out(before, wished, origin, make)
        return limit(before, after, self.settings.max_registrations, self.settings.drop_oldest)

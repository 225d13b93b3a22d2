"""The edge: everything that comes from outside passes here first (call processing 1.4), and is then handed to the room it is for."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from ngcpd.edge.internal import strip_internal
from ngcpd.edge.nat import NatTest
from ngcpd.edge.own import Own
from ngcpd.edge.settings import REQUIRABLE, EdgeSettings
from ngcpd.registrar.answers import Answers
from ngcpd.registrar.source import Source
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Address
from ngcpd.sip import sanity
from ngcpd.sip.digest import Credentials
from ngcpd.sip.errors import ParseError
from ngcpd.sip.flow import Flow
from ngcpd.sip.grammar import from_wire
from ngcpd.sip.message import Request, Response
from ngcpd.sip.stack import ServerTransaction

log = logger("edge")

IN_DIALOG_ONLY = frozenset(("BYE", "PRACK", "UPDATE", "NOTIFY"))
"""Without a dialog they mean nothing: 481."""
REFUSED = frozenset(("MESSAGE", "SUBSCRIBE", "PUBLISH", "REFER", "INFO"))
"""Known, but outside of a dialog not served to anybody: 405."""
SERVED = frozenset(("INVITE", "REGISTER", "OPTIONS"))


class Registering(Protocol):
    def register(self, tx: ServerTransaction, source: Source) -> None: ...


class Calling(Protocol):
    def invite(self, tx: ServerTransaction, source: Source) -> None: ...

    def in_dialog(self, tx: ServerTransaction) -> bool: ...

    def ack(self, request: Request, flow: Flow) -> bool: ...


class Pinging(Protocol):
    def answered(self, response: Response) -> bool: ...


class Bans(Protocol):
    """Who is shut out. Both are asked for every message and must be memory look-ups."""

    def source(self, ip: str, transport: str) -> bool:
        """True: drop what comes from there, without an answer (call processing 5.2)."""

    def account(self, user: str, domain: str) -> bool:
        """True: refuse these credentials unseen (call processing 5.1)."""


class Answering(Protocol):
    def reply_malformed(self, error: Exception, flow: Flow) -> bool: ...


class Edge:
    """The handler of the SIP stack. What the rooms above raise is answered with 500 by the stack."""

    def __init__(
        self,
        stack: Answering,
        own: Own,
        registrar: Registering,
        calls: Calling,
        answers: Answers,
        settings: EdgeSettings | None = None,
        *,
        keepalive: Pinging | None = None,
        bans: Bans | None = None,
    ) -> None:
        self._stack = stack
        self._own = own
        self._registrar = registrar
        self._calls = calls
        self._answers = answers
        self.settings = settings or EdgeSettings()
        self._nat = NatTest(self.settings.nattest_exception_ips)
        self._pinging = keepalive
        self._bans = bans
        self.counters: Counter[str] = Counter()

    def configure(self, settings: EdgeSettings) -> None:
        """Other settings from now on. ValueError for addresses that are none."""
        nat = NatTest(settings.nattest_exception_ips)
        self.settings, self._nat = settings, nat

    # --------------------------------------------------------------------------------------------------- stack's handler
    def accept(self, address: Address, transport: str) -> bool:
        """Before anything is parsed."""
        if self._bans is not None and self._bans.source(address[0], transport):
            self.counters["banned"] += 1
            return False
        return True

    def keepalive(self, flow: Flow) -> None:
        self.counters["keepalive"] += 1

    def stray_response(self, response: Response, flow: Flow) -> None:
        if self._pinging is None or not self._pinging.answered(response):
            self.counters["stray"] += 1

    def malformed(self, error: Exception, data: bytes, flow: Flow) -> None:
        """Bytes that are no message: an answer when one is possible, else silence."""
        self._count_bad(error, flow)
        self._stack.reply_malformed(error, flow)

    def _count_bad(self, error: Exception, flow: Flow) -> None:
        self.counters["malformed"] += 1
        ip = flow.remote[0]
        log.limited(ip, 60.0, "malformed message", reason=getattr(error, "reason", str(error)), ip=ip, transport=flow.transport)

    def ack(self, request: Request, flow: Flow) -> None:
        try:
            sanity.check(request)
        except ParseError as error:
            self._count_bad(error, flow)
            return
        strip_internal(request)
        if not self._calls.ack(request, flow):
            self.counters["stray"] += 1

    def request(self, tx: ServerTransaction) -> None:
        """One request, in the order of call processing 1.4."""
        request = tx.request
        self.counters[request.method if request.method in SERVED else "other"] += 1
        try:
            if not self._admit(tx, request):
                return
            sanity.check(request)
            strip_internal(request)
            if self._banned(request):
                self._answers.send(tx, 403, "Try again later")
                return
            source = self._source(request, tx.flow)
        except ParseError as error:
            self._count_bad(error, tx.flow)
            self._answers.send(tx, error.code, error.reason)
            return
        self._dispatch(tx, request, source)

    # -------------------------------------------------------------------------------------------------------------- steps
    def _admit(self, tx: ServerTransaction, request: Request) -> bool:
        hops = request.max_forwards
        if hops is None:
            request.set("Max-Forwards", str(self.settings.max_forwards))
        elif hops == 0 and not self._asks_us(request):
            self._answers.send(tx, 483)
            return False
        return True

    def _asks_us(self, request: Request) -> bool:
        """OPTIONS to the platform itself."""
        return request.method == "OPTIONS" and not request.ruri.user and not request.to_tag and self._own.platform(request.ruri)

    def _banned(self, request: Request) -> bool:
        if self._bans is None:
            return False
        for name in ("Authorization", "Proxy-Authorization"):
            for value in request.raw(name):
                found = Credentials.parse(value)
                if found is not None and self._bans.account(from_wire(found.username), found.realm.lower()):
                    self.counters["account_banned"] += 1
                    return True
        return False

    def _source(self, request: Request, flow: Flow) -> Source:
        nat = self._nat.marks(request, flow)
        return Source(flow.remote[0], flow.remote[1], flow.transport, flow.socket.name, flow.family, nat, flow)

    def _dispatch(self, tx: ServerTransaction, request: Request, source: Source) -> None:
        method = request.method
        in_dialog = request.to_tag != "" and method != "REGISTER"
        if not in_dialog and method not in SERVED:
            self._answers.send(tx, 481) if method in IN_DIALOG_ONLY else self._not_allowed(tx)
            return
        unsupported = sanity.unsupported_options(request, REQUIRABLE)
        if unsupported:
            self._answers.send(tx, 420, fields=[("Unsupported", ", ".join(unsupported))])
            return
        if not self._strip_routes(request, in_dialog):
            self._answers.send(tx, 403, "Preload Route denied")
        elif method == "REGISTER":
            self._registrar.register(tx, source)
        elif in_dialog:
            if not self._calls.in_dialog(tx):
                self._answers.send(tx, 481)
        elif method == "INVITE":
            self._calls.invite(tx, source)
        else:
            self._options(tx)

    def _strip_routes(self, request: Request, in_dialog: bool) -> bool:
        """Take out the Route values that name us. What is left outside of a dialog is a route we were asked to take for a stranger: False.
        Within a dialog we are its end, so nothing beyond us counts."""
        if "Route" not in request:
            return True
        if in_dialog:
            request.remove("Route")
            return True
        for route in list(request.routes):
            if not self._own.platform(route.uri):
                return False
        request.remove("Route")
        return True

    def _options(self, tx: ServerTransaction) -> None:
        """OPTIONS out of a dialog. What a user's devices can do is told to nobody, whether or not the user exists (call processing 5.3)."""
        if self._asks_us(tx.request):
            fields = [("Allow", self.settings.allow), ("Accept", "application/sdp"), ("Supported", self.settings.supported)]
            self._answers.send(tx, 200, fields=fields)
        else:
            self._answers.send(tx, 404)

    def _not_allowed(self, tx: ServerTransaction) -> None:
        self._answers.send(tx, 405, fields=[("Allow", self.settings.allow)])

"""Who sends this request: digest and source-address authentication (call processing 2.1, 2.4-2.7; RFC 7616, RFC 8760).

Nothing is kept per request but the counts of nonces that were used with qop=auth. Unknown users, wrong passwords and accounts out of service
are answered alike. No secret reaches the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ngcpd.registrar.accounts import Accounts
from ngcpd.registrar.results import Authenticated, AuthResult, Challenge, Refused
from ngcpd.registrar.settings import AuthSettings
from ngcpd.registrar.source import Source
from ngcpd.runtime.log import logger
from ngcpd.sip.digest import FRESH, SHA256, Credentials, NonceCounter, NonceMaker, challenges, verify
from ngcpd.sip.errors import ParseError
from ngcpd.sip.grammar import from_wire
from ngcpd.sip.message import Request
from ngcpd.sip.uri import Uri
from ngcpd.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from ngcpd.directory.model import Subscriber

__all__ = ["PROXY", "REGISTER", "AuthResult", "Authenticated", "Authenticator", "Challenge", "Refused"]

log = logger("registrar")
REGISTER = "register"
"""Kind of check: 401, Authorization, and the rules R6 and R7 of the REGISTER table."""
PROXY = "proxy"
"""Kind of check of every other request: 407, Proxy-Authorization. Locks are left to the routing."""
_NOBODY = "0" * 32


class Authenticator:
    """One for all methods.

    `on_result(user, domain, ok)` is told of each check of credentials that were right or wrong, not of stale or missing ones (call processing 5.1).
    """

    def __init__(
        self,
        directory: Accounts,
        nonces: NonceMaker,
        settings: AuthSettings | None = None,
        *,
        on_result: Callable[[str, str, bool], object] | None = None,
    ) -> None:
        self._directory = directory
        self._nonces = nonces
        self.settings = settings or AuthSettings()
        self._counts = NonceCounter()
        self.on_result = on_result

    # ------------------------------------------------------------------------------------------------------------- realm
    def realm(self, request: Request) -> str | None:
        """The local domain that a request claims to come from: From, else P-Asserted-Identity, else P-Preferred-Identity (call processing 2.4).

        None: it comes from a foreign domain. Raises ParseError.
        """
        domain = self._directory.domain(request.from_.uri.host)
        if domain is not None:
            return domain.name
        for name in ("P-Asserted-Identity", "P-Preferred-Identity"):
            for identity in request.addresses(name):
                domain = self._directory.domain(identity.uri.host) if identity.uri.host else None
                if domain is not None:
                    return domain.name
        return None

    # ------------------------------------------------------------------------------------------------------------- check
    def check(self, request: Request, source: Source, realm: str, kind: str) -> AuthResult | Deferred[AuthResult]:
        """Who sends `request`? `realm` is the local domain it is for (REGISTER) or from (`realm()`); `kind` is REGISTER or PROXY.

        A Deferred only when the subscriber has to be loaded first. Never raises; never errbacks for an unreachable store (503 instead).
        """
        try:
            trusted = self._directory.trusted(source.ip, source.transport, str(request.from_.uri))
            if trusted is not None:
                return self._loaded(trusted, self._trusted, request, realm, kind)
            credentials = self._credentials(request, realm, kind)
        except ParseError as error:
            return Refused(error.code, error.reason)
        if credentials is None:
            return self._challenge(realm, kind)
        user_id = self._directory.user_id(self._account_domain(credentials, realm), from_wire(credentials.username))
        if user_id is None:
            return self._digest(None, request, source, realm, kind, credentials)
        return self._loaded(user_id, self._digest, request, source, realm, kind, credentials)

    def _loaded(self, subscriber_id: int, then: Callable[..., AuthResult], *args: object) -> AuthResult | Deferred[AuthResult]:
        """`then(subscriber, *args)`, at once when the subscriber is in memory."""
        subscriber = self._directory.subscriber(subscriber_id)
        if subscriber is not None:
            return then(subscriber, *args)
        waiting = self._directory.load((subscriber_id,))
        if waiting is None:
            return then(self._directory.subscriber(subscriber_id), *args)
        return waiting.addCallbacks(lambda _: then(self._directory.subscriber(subscriber_id), *args), _unavailable)

    def _trusted(self, subscriber: Subscriber | None, request: Request, realm: str, kind: str) -> AuthResult:
        """The source address stands for the digest; `allowed_ips` is not asked (call processing 2.5)."""
        if subscriber is None or not subscriber.alive:
            return self._challenge(realm, kind)
        return self._rights(subscriber, None, request, realm, kind) or Authenticated(subscriber, trusted=True)

    # ----------------------------------------------------------------------------------------------------------- digest
    def _credentials(self, request: Request, realm: str, kind: str) -> Credentials | None:
        """The Digest credentials meant for us: those for `realm`, else for another of our domains, else (relaxed) any.

        Foreign schemes and realms are ignored. Raises ParseError "Bad Auth Header" for credentials that cannot be read.
        """
        other: Credentials | None = None
        for value in request.raw("Authorization" if kind == REGISTER else "Proxy-Authorization"):
            found = Credentials.parse(value)
            if found is None:
                continue
            if found.realm.lower() == realm:
                return found
            if other is None and (self.settings.ignore_auth_realm or self._directory.domain(found.realm) is not None):
                other = found
        return other

    def _account_domain(self, credentials: Credentials, realm: str) -> str:
        domain = self._directory.domain(credentials.realm)
        return realm if domain is None else domain.name

    def _digest(self, subscriber: Subscriber | None, request: Request, source: Source, realm: str, kind: str, credentials: Credentials) -> AuthResult:
        """R5 to R9. Everything about an account that does not exist or is out of service looks like a wrong password."""
        domain = self._account_domain(credentials, realm)
        state = self._nonces.check(credentials.nonce, domain)
        if state is not FRESH:
            # Old, or not ours. Whether the password is right is not looked at: an answer that told would let it be guessed uncounted.
            return self._challenge(realm, kind, stale=True)
        known = subscriber is not None and subscriber.alive
        ha1 = ""
        if subscriber is not None and known:
            ha1 = subscriber.ha1_sha256 if credentials.algorithm == SHA256 else subscriber.ha1
        right = verify(credentials, request.method, ha1 or _NOBODY) and bool(ha1)
        if not right or subscriber is None:
            self._tell(from_wire(credentials.username), domain, False)
            return self._challenge(realm, kind)
        if credentials.qop and not self._counts.use(credentials.nonce, credentials.nc):
            return self._challenge(realm, kind, stale=True)
        self._tell(subscriber.username, domain, True)
        refused = self._rights(subscriber, domain, request, realm, kind)
        if refused is not None:
            return refused
        if not subscriber.ip_allowed(source.ip):
            log.info("refused by allowed_ips", call_id=request.call_id, subscriber=subscriber.uuid, ip=source.ip)
            return Refused(403, "Unauthorized IP detected")
        return Authenticated(subscriber)

    def _rights(self, subscriber: Subscriber, domain: str | None, request: Request, realm: str, kind: str) -> Refused | None:
        """R6 and R7 for REGISTER: only one's own contacts, and not while locked. `domain` is that of the credentials."""
        if domain is not None and domain != realm and not self.settings.ignore_auth_realm:
            return Refused(403, "Forbidden")
        if kind != REGISTER:
            return None
        if not self._is_own(subscriber, request.to.uri, realm):
            return Refused(403, "Forbidden")
        if subscriber.lock == 4:
            return Refused(403, "Caller locked")
        if subscriber.lock == 5:
            return Refused(403, "Unauthorized, lock level ported detected")
        return None

    def _is_own(self, subscriber: Subscriber, to: Uri, realm: str) -> bool:
        """Is the To of a REGISTER this subscriber: by user name, or by one of its numbers?"""
        user = to.user_decoded
        if user == subscriber.username and (realm == subscriber.domain or self.settings.ignore_auth_realm):
            return True
        if realm != subscriber.domain or self._directory.user_id(realm, user) is not None:
            return False
        number = self._directory.number(user.removeprefix("+"))
        return number is not None and number.subscriber_id == subscriber.id

    def _tell(self, user: str, domain: str, ok: bool) -> None:
        if self.on_result is not None:
            self.on_result(user, domain, ok)

    def _challenge(self, realm: str, kind: str, *, stale: bool = False) -> Challenge:
        name = "WWW-Authenticate" if kind == REGISTER else "Proxy-Authenticate"
        values = challenges(realm, self._nonces.make(realm), qop=self.settings.qop, sha256=self.settings.sha256, stale=stale)
        return Challenge(tuple((name, value) for value in values), 401 if kind == REGISTER else 407)


def _unavailable(failure: Failure) -> AuthResult:
    failure.trap(StoreUnavailable)  # type: ignore[no-untyped-call]
    return Refused(503, "Service Unavailable", (("Retry-After", "5"),))

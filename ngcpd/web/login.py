"""Logins by HTTP Basic (administrators by their login, subscribers as `webusername@domain`) and by client certificate (REST API 1.2).

Argon2id runs on a pool of at most two threads. A verified login is remembered for at most 60 s under a keyed hash of login, password and
stored hash, so the password itself is not kept; a change notice drops it. Failed logins are limited per source address.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from twisted.internet.defer import Deferred

from ngcpd.provisioning.caller import Caller
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Executor, Rng
from ngcpd.store.changes import Change
from ngcpd.store.credentials import Argon
from ngcpd.store.db import Database
from ngcpd.web.accounts import Account, by_login, by_serial, store_hash

log = logger("web")

REMEMBER = 60.0
"""Seconds that a verified login is believed without asking the database."""
MOST = 10_000
FAILURES, WINDOW = 20, 60.0
"""So many failed logins of one source in so many seconds, then it has to wait."""
ADMINS = frozenset(("admin", "reseller", "all"))
SUBSCRIBERS = frozenset(("subscriber", "preference:usr", "contract", "domain", "reseller", "all"))
"""Kinds of change notices after which what is known of such logins is read again."""
REALM, SUBSCRIBER_REALM = "api_admin_http", "api_subscriber_http"
SUBJECT = "Sipwise NGCP API client certificate"


class Denied(Exception):
    """No login: `status` 401 (missing or wrong), 403, 400 (foreign certificate) or 429 (too many failures). `realm`: where a 401 asks to log in."""

    def __init__(self, status: int, message: str, realm: str = REALM) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.realm = realm


class Failures:
    """Counts failed logins per source address (IPv6: per /64)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def blocked(self, source: str) -> bool:
        began, count = self._seen.get(_source(source), (0.0, 0))
        return count >= FAILURES and self._clock.monotonic() - began < WINDOW

    def add(self, source: str) -> None:
        key, now = _source(source), self._clock.monotonic()
        began, count = self._seen.get(key, (now, 0))
        self._seen[key] = (began, count + 1) if now - began < WINDOW else (now, 1)
        self._seen.move_to_end(key)
        while len(self._seen) > MOST:
            self._seen.popitem(last=False)

    def forget(self, source: str) -> None:
        self._seen.pop(_source(source), None)


def _source(source: str) -> str:
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)


class Logins:
    """Knows who asks. `threads`: the executor for Argon2id. `authority`: the CA of client certificates, None = none are accepted."""

    def __init__(
        self,
        database: Database,
        threads: Executor,
        clock: Clock,
        rng: Rng,
        argon: Argon,
        *,
        authority: x509.Certificate | None = None,
        show_passwords: bool = False,
    ) -> None:
        self._database = database
        self._threads = threads
        self._clock = clock
        self._argon = argon
        self._authority = authority
        self.show_passwords = show_passwords
        self._key = rng.bytes(32)
        self._generation = 0
        self._accounts: OrderedDict[str, tuple[float, Account]] = OrderedDict()
        self._verified: OrderedDict[bytes, float] = OrderedDict()
        self._dummy = argon.hash("no such administrator")
        self.failures = Failures(clock)

    def changed(self, changes: Sequence[Change]) -> None:
        """For the change feed: an administrator, a subscriber or what they belong to changed."""
        kinds = {change.kind for change in changes}
        if not kinds & (ADMINS | SUBSCRIBERS):
            return
        self._generation += 1
        if kinds & ADMINS:
            self._accounts.clear()
            self._verified.clear()
        else:  # a verified password stays so as long as its stored hash is the same
            for key in [key for key, (_, account) in self._accounts.items() if account.caller.is_person]:
                del self._accounts[key]

    async def basic(self, header: bytes | None, source: str) -> Caller:
        """Who the Authorization header names. Raises Denied."""
        login, password = _credentials(header)
        if self.failures.blocked(source):
            log.limited(("login", source), 60, "too many failed logins", source=source)
            raise Denied(429, "Too many failed logins, try again later")
        account = await self._account(login, by_login, login)
        stored = account.stored if account is not None else self._dummy
        digest = self._digest(login, password, stored)
        if account is None or not self._remembered(digest):
            right = await self._verify(account, password, stored)
            if account is None or not right:
                self.failures.add(source)
                log.info("login failed", login=login[:64], source=source)
                raise Denied(401, "Unauthorized", SUBSCRIBER_REALM if "@" in login else REALM)
            self._verified[digest] = self._clock.monotonic()
            while len(self._verified) > MOST:
                self._verified.popitem(last=False)
            self.failures.forget(source)
        return account.caller

    async def certificate(self, certificate: x509.Certificate) -> Caller:
        """Who presented a client certificate. Raises Denied."""
        now = self._clock.time()
        if self._authority is None or not _issued(certificate, self._authority):
            raise Denied(400, "The SSL certificate error")
        if not certificate.not_valid_before_utc.timestamp() <= now <= certificate.not_valid_after_utc.timestamp():
            raise Denied(400, "The SSL certificate error")
        names = list(certificate.subject)
        if len(names) != 1 or names[0].oid != x509.NameOID.COMMON_NAME or names[0].value != SUBJECT:
            shown = "".join(f"/{name.rfc4514_attribute_name}={name.value!s}" for name in names)
            raise Denied(403, f"Invalid certificate subject '{shown[:200]}'")
        serial = str(certificate.serial_number)
        account = await self._account(f"/{serial}", by_serial, serial)
        if account is None:
            raise Denied(403, "Invalid user")
        return account.caller

    # -------------------------------------------------------------------------------------------------------------- inside
    async def _account(self, key: str, load: Callable[[sa.Connection, str, bool], Account | None], text: str) -> Account | None:
        now = self._clock.monotonic()
        known = self._accounts.get(key)
        if known is not None and now - known[0] < REMEMBER:
            return known[1]
        generation = self._generation
        account = await self._database.read(load, text, self.show_passwords)
        if account is not None and generation == self._generation:  # else what was read may be older than the change
            self._accounts[key] = (now, account)
            while len(self._accounts) > MOST:
                self._accounts.popitem(last=False)
        return account

    def _digest(self, login: str, password: str, stored: str) -> bytes:
        return hmac.digest(self._key, "\0".join((login, password, stored)).encode(), "sha256")

    def _remembered(self, digest: bytes) -> bool:
        since = self._verified.get(digest)
        return since is not None and self._clock.monotonic() - since < REMEMBER

    async def _verify(self, account: Account | None, password: str, stored: str) -> bool:
        if account is not None and re.fullmatch("[0-9a-f]{32}", stored):
            # Taken over from an older system: made new with the first right login.
            given = hashlib.md5(password.encode(), usedforsecurity=False).hexdigest()
            if not hmac.compare_digest(given, stored):
                return False
            await self._renew(account, password)
            return True
        checked: Deferred[bool] = self._threads.run(self._argon.verify, stored, password)
        right = await checked
        if right and account is not None and self._argon.outdated(stored):
            await self._renew(account, password)
        return right

    async def _renew(self, account: Account, password: str) -> None:
        hashing: Deferred[str] = self._threads.run(self._argon.hash, password)
        await self._database.run(store_hash, account.caller, account.stored, await hashing)


def _credentials(header: bytes | None) -> tuple[str, str]:
    scheme, _, rest = (header or b"").strip().partition(b" ")
    if scheme.lower() != b"basic":
        raise Denied(401, "Unauthorized")
    try:
        login, colon, password = base64.b64decode(rest.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        raise Denied(401, "Unauthorized") from None
    if not colon or not login or len(login) > 255 or len(password) > 1024:
        raise Denied(401, "Unauthorized")
    return login, password


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True

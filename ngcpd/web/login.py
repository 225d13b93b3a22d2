"""Logins of administrators by HTTP Basic and by client certificate (REST API 1.2).

Argon2id runs on a pool of at most two threads. A verified login is remembered for at most 60 s under a keyed hash of login, password and
stored hash, so the password itself is not kept; a change notice of the administrator drops it. Failed logins are limited per source address.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from twisted.internet.defer import Deferred

from ngcpd.provisioning.caller import ADMIN, RESELLER, Caller
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Executor, Rng
from ngcpd.store.changes import Change, note
from ngcpd.store.credentials import Argon
from ngcpd.store.db import Database
from ngcpd.store.tables.tenancy import admin, reseller

log = logger("web")

REMEMBER = 60.0
"""Seconds that a verified login is believed without asking the database."""
MOST = 10_000
FAILURES, WINDOW = 20, 60.0
"""So many failed logins of one source in so many seconds, then it has to wait."""
SUBJECT = "Sipwise NGCP API client certificate"


class Denied(Exception):
    """No login: `status` 401 (missing or wrong), 403, 400 (foreign certificate) or 429 (too many failures)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


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
        self._show = show_passwords
        self._key = rng.bytes(32)
        self._generation = 0
        self._records: OrderedDict[str, tuple[float, Any]] = OrderedDict()
        self._verified: OrderedDict[bytes, float] = OrderedDict()
        self._dummy = argon.hash("no such administrator")
        self.failures = Failures(clock)

    def changed(self, changes: Sequence[Change]) -> None:
        """For the change feed: an administrator or its reseller changed."""
        if any(change.kind in ("admin", "reseller", "all") for change in changes):
            self._generation += 1
            self._records.clear()
            self._verified.clear()

    async def basic(self, header: bytes | None, source: str) -> Caller:
        """Who the Authorization header names. Raises Denied."""
        login, password = _credentials(header)
        if self.failures.blocked(source):
            log.limited(("login", source), 60, "too many failed logins", source=source)
            raise Denied(429, "Too many failed logins, try again later")
        record = await self._record(login, admin.c.login == login)
        stored = record.password_hash if record is not None else self._dummy
        digest = self._digest(login, password, stored)
        if record is None or not self._remembered(digest):
            right = await self._verify(login, password, stored)
            if record is None or not right:
                self.failures.add(source)
                log.info("login failed", login=login[:64], source=source)
                raise Denied(401, "Unauthorized")
            self._verified[digest] = self._clock.monotonic()
            while len(self._verified) > MOST:
                self._verified.popitem(last=False)
            self.failures.forget(source)
        return self._caller(record)

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
        record = await self._record(f"/{serial}", admin.c.cert_serial == serial)
        if record is None:
            raise Denied(403, "Invalid user")
        return self._caller(record)

    # -------------------------------------------------------------------------------------------------------------- inside
    async def _record(self, key: str, which: sa.ColumnElement[bool]) -> Any:
        now = self._clock.monotonic()
        known = self._records.get(key)
        if known is not None and now - known[0] < REMEMBER:
            return known[1]
        generation = self._generation
        record = await self._database.read(_load, which)
        if record is not None and generation == self._generation:  # else what was read may be older than the change
            self._records[key] = (now, record)
            while len(self._records) > MOST:
                self._records.popitem(last=False)
        return record

    def _digest(self, login: str, password: str, stored: str) -> bytes:
        return hmac.digest(self._key, "\0".join((login, password, stored)).encode(), "sha256")

    def _remembered(self, digest: bytes) -> bool:
        since = self._verified.get(digest)
        return since is not None and self._clock.monotonic() - since < REMEMBER

    async def _verify(self, login: str, password: str, stored: str) -> bool:
        if re.fullmatch("[0-9a-f]{32}", stored):
            # Taken over from an older system: made new with the first right login.
            given = hashlib.md5(password.encode(), usedforsecurity=False).hexdigest()
            if not hmac.compare_digest(given, stored):
                return False
            await self._renew(login, password, stored)
            return True
        checked: Deferred[bool] = self._threads.run(self._argon.verify, stored, password)
        right = await checked
        if right and self._argon.outdated(stored):
            await self._renew(login, password, stored)
        return right

    async def _renew(self, login: str, password: str, stored: str) -> None:
        hashing: Deferred[str] = self._threads.run(self._argon.hash, password)
        await self._database.run(_store_hash, login, stored, await hashing)

    def _caller(self, record: Any) -> Caller:
        return Caller(
            login=record.login,
            role=ADMIN if record.is_superuser else RESELLER,
            id=record.id,
            reseller_id=record.reseller_id,
            is_master=bool(record.is_master),
            read_only=bool(record.read_only),
            show_passwords=bool(record.show_passwords) or self._show,
            call_data=bool(record.call_data),
            billing_data=bool(record.billing_data),
            lawful_intercept=bool(record.lawful_intercept),
        )


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


def _load(conn: sa.Connection, which: sa.ColumnElement[bool]) -> Any:
    """The record of an active administrator whose reseller is active, too."""
    query = sa.select(admin).outerjoin(reseller, reseller.c.id == admin.c.reseller_id)
    active = sa.or_(admin.c.is_superuser.is_(True), reseller.c.status == "active")
    return conn.execute(query.where(which, admin.c.is_active.is_(True), active)).one_or_none()


def _store_hash(conn: sa.Connection, login: str, before: str, after: str) -> None:
    where = (admin.c.login == login, admin.c.password_hash == before)
    key = conn.scalar(sa.select(admin.c.id).where(*where))
    if key is not None:
        conn.execute(sa.update(admin).where(*where).values(password_hash=after))
        note(conn, "admin", key)


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True

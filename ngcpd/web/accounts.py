"""What the database knows of logins: administrators by login or client certificate, subscribers by web user name and domain
(REST API 1.2, web interface 2.2)."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from ngcpd.provisioning.caller import ADMIN, RESELLER, SUBSCRIBER, SUBSCRIBERADMIN, Caller
from ngcpd.store.changes import note
from ngcpd.store.tables.identity import domain, subscriber
from ngcpd.store.tables.preferences import preference_value
from ngcpd.store.tables.tenancy import admin, contact, contract, reseller

GLOBAL_LOCK = "4"
"""The lock of a subscriber that shuts its self-care, too (billing 5.1)."""


@dataclass(frozen=True, slots=True)
class Account:
    """A login that may be used now: who it is, and the stored hash of its password."""

    caller: Caller
    stored: str


def by_login(conn: sa.Connection, login: str, show_passwords: bool) -> Account | None:
    """Who has this login: an administrator, else, when it looks like `user@domain`, a subscriber."""
    found = _administrator(conn, admin.c.login == login, show_passwords)
    if found is None and "@" in login:
        return _subscriber(conn, login)
    return found


def by_serial(conn: sa.Connection, serial: str, show_passwords: bool) -> Account | None:
    """The administrator with this client certificate."""
    return _administrator(conn, admin.c.cert_serial == serial, show_passwords)


def store_hash(conn: sa.Connection, caller: Caller, before: str, after: str) -> None:
    """Keep a new hash of the same password, unless it was changed meanwhile."""
    if caller.subscriber_id is not None:
        mine = (subscriber.c.id == caller.subscriber_id, subscriber.c.webpassword_hash == before)
        changed = conn.execute(sa.update(subscriber).where(*mine).values(webpassword_hash=after)).rowcount
        kind, key = "subscriber", caller.subscriber_id
    else:
        assert caller.id is not None
        theirs = (admin.c.id == caller.id, admin.c.password_hash == before)
        changed = conn.execute(sa.update(admin).where(*theirs).values(password_hash=after)).rowcount
        kind, key = "admin", caller.id
    if changed:
        note(conn, kind, key)


def _administrator(conn: sa.Connection, which: sa.ColumnElement[bool], show_passwords: bool) -> Account | None:
    """An active administrator whose reseller is active, too."""
    query = sa.select(admin).outerjoin(reseller, reseller.c.id == admin.c.reseller_id)
    active = sa.or_(admin.c.is_superuser.is_(True), reseller.c.status == "active")
    row = conn.execute(query.where(which, admin.c.is_active.is_(True), active)).one_or_none()
    if row is None:
        return None
    caller = Caller(
        login=row.login,
        role=ADMIN if row.is_superuser else RESELLER,
        id=row.id,
        reseller_id=row.reseller_id,
        is_master=bool(row.is_master),
        read_only=bool(row.read_only),
        show_passwords=bool(row.show_passwords) or show_passwords,
        call_data=bool(row.call_data),
        billing_data=bool(row.billing_data),
        lawful_intercept=bool(row.lawful_intercept),
    )
    return Account(caller, row.password_hash)


def _subscriber(conn: sa.Connection, login: str) -> Account | None:
    """An active subscriber of an active customer of an active reseller, not locked altogether. The web user name may hold an `@` itself."""
    user, _, host = login.rpartition("@")
    value = preference_value.c
    locked = sa.exists().where(value.level == "usr", value.owner_id == subscriber.c.id, value.attribute == "lock", value.value == GLOBAL_LOCK)
    columns = (subscriber.c.id, subscriber.c.contract_id, subscriber.c.is_admin, subscriber.c.webusername, subscriber.c.webpassword_hash)
    row = conn.execute(
        sa.select(*columns, contact.c.reseller_id)
        .join(domain, domain.c.id == subscriber.c.domain_id)
        .join(contract, contract.c.id == subscriber.c.contract_id)
        .join(contact, contact.c.id == contract.c.contact_id)
        .join(reseller, reseller.c.id == contact.c.reseller_id)
        .where(
            subscriber.c.webusername == user,
            domain.c.name == host.lower(),
            subscriber.c.webpassword_hash.is_not(None),
            *(table.c.status == "active" for table in (subscriber, contract, reseller)),
            sa.not_(locked),
        )
    ).one_or_none()
    if row is None or row.webusername != user:  # some collations do not tell case apart
        return None
    role = SUBSCRIBERADMIN if row.is_admin else SUBSCRIBER
    caller = Caller(f"{user}@{host.lower()}", role, reseller_id=row.reseller_id, subscriber_id=row.id, customer_id=row.contract_id)
    return Account(caller, row.webpassword_hash)

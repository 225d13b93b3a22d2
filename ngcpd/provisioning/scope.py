"""What a subscriber that logs in may see, and look-ups that making subscribers needs, each for many at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning.caller import SUBSCRIBER, SUBSCRIBERADMIN, Caller
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.errors import ProvisioningError
from ngcpd.provisioning.numbers import CHUNK
from ngcpd.store.db import now
from ngcpd.store.tables.accounting import events as event_table
from ngcpd.store.tables.billing import billing_mapping, billing_profile
from ngcpd.store.tables.features import sound_set
from ngcpd.store.tables.identity import domain, subscriber, subscriber_profile, subscriber_profile_set
from ngcpd.store.tables.tenancy import contact, contract, product


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer that may get subscribers. `kind`: class of its product; `living`: how many it has; `sound_set`: the set that new ones inherit."""

    id: int
    kind: str
    reseller_id: int
    external_id: str | None
    max_subscribers: int | None
    living: int
    prepaid: bool
    sound_set: int | None = None


@dataclass(frozen=True, slots=True)
class Home:
    """A served domain."""

    id: int
    name: str
    reseller_id: int


@dataclass(frozen=True, slots=True)
class Profile:
    """The subscriber profile that follows from a set and perhaps a profile."""

    set_id: int | None
    id: int | None
    reseller_id: int | None


def of_person(caller: Caller, owner: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Rows that are the caller's own, for `Resource.own`: `owner` holds the id of a subscriber. A plain subscriber has its own rows, the
    administrator of a customer those of all its subscribers. Nobody else has any."""
    if caller.role == SUBSCRIBER and caller.subscriber_id is not None:
        return owner == caller.subscriber_id
    if caller.role == SUBSCRIBERADMIN and caller.customer_id is not None:
        return owner.in_(sa.select(subscriber.c.id).where(subscriber.c.contract_id == caller.customer_id))
    return sa.false()


def of_customer(caller: Caller, owner: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """The same where `owner` holds the id of a customer: only for the administrator of that customer."""
    if caller.role == SUBSCRIBERADMIN and caller.customer_id is not None:
        return owner == caller.customer_id
    return sa.false()


def customers(conn: sa.Connection, ids: set[int]) -> dict[int, Customer]:
    """Customers by contract id, their rows locked so that limits hold against others."""
    conn.execute(sa.select(contract.c.id).where(contract.c.id.in_(ids)).order_by(contract.c.id).with_for_update())
    kind = product.c["class"].label("kind")
    columns = (contract.c.id, contract.c.status, contract.c.external_id, contract.c.max_subscribers, contact.c.reseller_id, kind)
    rows = conn.execute(
        sa.select(*columns)
        .join(contact, contact.c.id == contract.c.contact_id)
        .join(product, product.c.id == contract.c.product_id)
        .where(contract.c.id.in_(ids))
    ).all()
    found = {row.id: row for row in rows}
    for customer_id in sorted(ids):
        row = found.get(customer_id)
        if row is None or row.kind not in ("sipaccount", "pbxaccount") or row.status == "terminated":
            raise ProvisioningError("customer_id", "there is no such customer", "unknown")
    living = (subscriber.c.contract_id.in_(ids), subscriber.c.status != "terminated")
    counted = sa.select(subscriber.c.contract_id, sa.func.count().label("living")).where(*living).group_by(subscriber.c.contract_id)
    counts: dict[int, int] = {row.contract_id: row.living for row in conn.execute(counted)}
    paid = prepaid(conn, ids)
    inherited = sa.select(sound_set.c.contract_id, sound_set.c.id).where(sound_set.c.contract_id.in_(ids), sound_set.c.contract_default.is_(True))
    sounds: dict[int, int] = {row.contract_id: row.id for row in conn.execute(inherited)}
    return {
        row.id: Customer(
            row.id,
            row.kind,
            row.reseller_id,
            row.external_id,
            row.max_subscribers,
            counts.get(row.id, 0),
            paid.get(row.id, False),
            sounds.get(row.id),
        )
        for row in rows
    }


def room(conn: sa.Connection, ids: set[int]) -> dict[int, int]:
    """How many subscribers customers with a limit may still get."""
    limited = {row.id: row.max_subscribers for row in conn.execute(
        sa.select(contract.c.id, contract.c.max_subscribers).where(contract.c.id.in_(ids), contract.c.max_subscribers.is_not(None))
    )}  # fmt: skip
    if not limited:
        return {}
    living = (subscriber.c.contract_id.in_(limited), subscriber.c.status != "terminated")
    counted = sa.select(subscriber.c.contract_id, sa.func.count().label("living")).where(*living).group_by(subscriber.c.contract_id)
    counts = {row.contract_id: row.living for row in conn.execute(counted)}
    return {key: most - counts.get(key, 0) for key, most in limited.items()}


def prepaid(conn: sa.Connection, ids: set[int]) -> dict[int, bool]:
    """Whether the billing profile in force is prepaid (billing 3.3: latest start wins, none is earliest, then the highest id)."""
    at = now(conn)
    mapping = billing_mapping.c
    rows = conn.execute(
        sa.select(mapping.contract_id, mapping.start_at, mapping.id, billing_profile.c.prepaid)
        .join(billing_profile, billing_profile.c.id == mapping.profile_id)
        .where(
            mapping.contract_id.in_(ids),
            sa.or_(mapping.start_at.is_(None), mapping.start_at <= at),
            sa.or_(mapping.end_at.is_(None), mapping.end_at >= at),
        )
    ).all()
    ordered = sorted(rows, key=lambda row: (row.start_at is not None, row.start_at or at, row.id))
    return {row.contract_id: bool(row.prepaid) for row in ordered}


def domains(conn: sa.Connection, names: set[str]) -> dict[str, Home]:
    """Domains by name; the system's own is not for customers."""
    columns = (domain.c.id, domain.c.name, domain.c.reseller_id)
    rows = conn.execute(sa.select(*columns).where(domain.c.name.in_(names), domain.c.is_system.is_(False))).all()
    found = {row.name: Home(row.id, row.name, row.reseller_id) for row in rows}
    for name in sorted(names - found.keys()):
        raise ProvisioningError("domain", f"{name} is not served here", "unknown")
    return found


def profiles(conn: sa.Connection, asked: set[tuple[int | None, int | None]]) -> dict[tuple[int | None, int | None], Profile]:
    """For each (set, profile): the profile to use. Only a set given: its default. Only a profile: its set."""
    result: dict[tuple[int | None, int | None], Profile] = {}
    for set_id, profile_id in asked:
        if set_id is None and profile_id is None:
            result[(None, None)] = Profile(None, None, None)
            continue
        query = sa.select(subscriber_profile.c.id, subscriber_profile.c.set_id, subscriber_profile_set.c.reseller_id).join(
            subscriber_profile_set, subscriber_profile_set.c.id == subscriber_profile.c.set_id
        )
        if profile_id is not None:
            query = query.where(subscriber_profile.c.id == profile_id)
        if set_id is not None:
            query = query.where(subscriber_profile.c.set_id == set_id)
        if profile_id is None:
            query = query.where(subscriber_profile.c.set_default.is_(True)).order_by(subscriber_profile.c.id).limit(1)
        row = conn.execute(query).one_or_none()
        if row is None:
            raise ProvisioningError("profile_id" if profile_id is not None else "profile_set_id", "there is no such profile", "unknown")
        result[(set_id, profile_id)] = Profile(row.set_id, row.id, row.reseller_id)
    return result


def taken(conn: sa.Connection, column: str, asked: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
    """Which (domain id, name) exist in a column of `subscriber`."""
    found: set[tuple[int, str]] = set()
    by_domain: dict[int, list[str]] = {}
    for domain_id, name in asked:
        by_domain.setdefault(domain_id, []).append(name)
    for domain_id, names in by_domain.items():
        for at in range(0, len(names), CHUNK):
            where = (subscriber.c.domain_id == domain_id, subscriber.c[column].in_(names[at : at + CHUNK]))
            found |= {(domain_id, name) for name in conn.scalars(sa.select(subscriber.c[column]).where(*where))}
    return found


def events(conn: sa.Connection, env: Env, rows: Iterable[tuple[str, int, int, str | None, str]]) -> None:
    """Event records: (type, subscriber id, reseller id, old status, new status)."""
    at = env.clock.time()
    values = [
        {"type": kind, "subscriber_id": who, "reseller_id": reseller_id, "old_status": old, "new_status": new, "timestamp": at}
        for kind, who, reseller_id, old, new in rows
    ]
    if values:
        conn.execute(sa.insert(event_table), values)

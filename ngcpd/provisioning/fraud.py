"""Customers who spend more than their limit of the month or day (billing 5.2), for the interface and for the checks that lock and warn."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import schedule
from ngcpd.store.db import now
from ngcpd.store.intervals import first_of_month, to_local, to_utc
from ngcpd.store.tables.accounting import cdr
from ngcpd.store.tables.billing import billing_profile, contract_fraud
from ngcpd.store.tables.tenancy import contact, contract

COLUMNS = {"month": "fraud_interval", "day": "fraud_daily"}
"""How the columns of an interval's limit begin."""


@dataclass(frozen=True, slots=True)
class Event:
    """One customer over its limit. `kind`: whose limit it is, profile_limit or account_limit; amounts in cents."""

    contract_id: int
    kind: str
    cost: Decimal
    limit: int
    lock: int
    notify: str
    reseller_rates: bool


@dataclass(frozen=True, slots=True)
class _Limit:
    kind: str
    limit: int
    lock: int
    notify: str


def events(conn: sa.Connection, zone: datetime.tzinfo, interval: str, *, reseller_id: int | None = None) -> list[Event]:
    """Active customers (of a reseller) whose calls since the start of the local month or day cost their limit or more."""
    begin, end = bounds(now(conn), zone, interval)
    spent = _spent(conn, begin, end)
    where = [contract.c.status == "active", contact.c.reseller_id.is_not(None)]
    if reseller_id is not None:
        where.append(contact.c.reseller_id == reseller_id)
    found = []
    for part in schedule.chunks(sorted(spent)):
        query = sa.select(contract.c.id).join(contact, contact.c.id == contract.c.contact_id).where(contract.c.id.in_(part), *where)
        active = list(conn.scalars(query.order_by(contract.c.id)))
        limits = _limits(conn, active, interval)
        found += [event for key in active for event in _judge(spent[key], key, *limits[key])]
    return found


def bounds(at: datetime.datetime, zone: datetime.tzinfo, interval: str) -> tuple[float, float]:
    """Seconds since the epoch at which the local month or day that holds `at` (naive UTC) begins, and at which the next one does."""
    local = to_local(at, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    start = first_of_month(local) if interval == "month" else local
    following = (start + datetime.timedelta(days=32)).replace(day=1) if interval == "month" else start + datetime.timedelta(days=1)
    begin, end = (to_utc(edge, zone).replace(tzinfo=datetime.UTC).timestamp() for edge in (start, following))
    return begin, end


def _spent(conn: sa.Connection, begin: float, end: float) -> dict[int, tuple[Decimal, Decimal]]:
    """What each contract's calls cost in the time: by its own rates, by its reseller's."""
    account = cdr.c.source_account_id
    sums = (sa.func.sum(cdr.c.source_customer_cost), sa.func.sum(cdr.c.source_reseller_cost))
    where = [cdr.c.start_time >= begin, cdr.c.start_time < end, account > 0]
    rows = conn.execute(sa.select(account, *sums).where(*where).group_by(account)).all()
    return {row[0]: (Decimal(row[1] or 0), Decimal(row[2] or 0)) for row in rows}


def _limits(conn: sa.Connection, contracts: list[int], interval: str) -> dict[int, tuple[list[_Limit], bool]]:
    """The limits of contracts, the one that counts first, and whether they are of the reseller's cost."""
    at, prefix = now(conn), COLUMNS[interval]
    current = {key: schedule.in_force(rows, at) for key, rows in schedule.load(conn, contracts).items()}
    profiles = _rows(conn, billing_profile, billing_profile.c.id, {m["profile_id"] for m in current.values() if m is not None})
    own = _rows(conn, contract_fraud, contract_fraud.c.contract_id, set(contracts))
    found: dict[int, tuple[list[_Limit], bool]] = {}
    for key in contracts:
        mapped = current[key]
        profile = profiles.get(mapped["profile_id"]) if mapped is not None else None
        rows = [(kind, row) for kind, row in (("account_limit", own.get(key)), ("profile_limit", profile)) if row is not None]
        limits = [
            _Limit(kind, int(row[f"{prefix}_limit"] or 0), int(row[f"{prefix}_lock"] or 0), row[f"{prefix}_notify"] or "") for kind, row in rows
        ]
        found[key] = ([limit for limit in limits if limit.limit > 0], profile is not None and bool(profile["fraud_use_reseller_rates"]))
    return found


def _judge(spent: tuple[Decimal, Decimal], key: int, limits: list[_Limit], reseller_rates: bool) -> Iterable[Event]:
    cost = spent[1] if reseller_rates else spent[0]
    for limit in limits[:1]:
        if cost >= limit.limit:
            yield Event(key, limit.kind, cost, limit.limit, limit.lock, limit.notify, reseller_rates)


def _rows(conn: sa.Connection, table: sa.Table, column: sa.Column[Any], keys: set[int]) -> dict[int, sa.RowMapping]:
    found: dict[int, sa.RowMapping] = {}
    for part in schedule.chunks(sorted(keys)):
        found |= {row[column.name]: row for row in conn.execute(sa.select(table).where(column.in_(part))).mappings()}
    return found

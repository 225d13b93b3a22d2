"""Balances in the store: accounts are read, brought up to date and written back, each contract under its row lock (billing 4.4, REST API 1.11).

`catch_up` is the door for everybody who needs a balance; rating gets it by constructor from `app`.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning.balance import effects
from ngcpd.provisioning.balance.account import Account, FutureInterval, Mapped
from ngcpd.provisioning.balance.rules import Grant, Interval, Origin, Terms
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.errors import Plain, ProvisioningError, Stale
from ngcpd.provisioning.numbers import CHUNK
from ngcpd.store import changes
from ngcpd.store.db import insert, now
from ngcpd.store.tables.billing import billing_mapping, billing_profile, contract_balance
from ngcpd.store.tables.packages import package_profile, profile_package
from ngcpd.store.tables.tenancy import contract

_BALANCE = contract_balance.c
_MANY = 1000
_PART = 5000


def open_account(conn: sa.Connection, env: Env, contract_id: int) -> None:
    """First intervals of a new contract whose billing profiles are mapped. Underrun rules act at once."""
    account = load(conn, env, [contract_id], new=True)[contract_id]
    account.begin(now(conn))
    save(conn, [account])


def catch_up(conn: sa.Connection, env: Env, contracts: Iterable[int], at: datetime.datetime | None = None) -> None:
    """Add the intervals that are missing up to now (or `at`). Stale when there are some and the connection only reads; terminated contracts and
    those without any interval stay as they are."""
    moment = now(conn) if at is None else at
    due = _due(conn, env, contracts, moment)
    if not due:
        return
    if conn.get_execution_options().get("readonly"):
        raise Stale(functools.partial(catch_up_part, env=env, contracts=due))
    lock(conn, due)
    accounts = [account for account in load(conn, env, due).values() if account.due(moment)]
    for account in accounts:
        account.catch_up(moment)
    save(conn, accounts)


def catch_up_part(conn: sa.Connection, env: Env, contracts: Sequence[int]) -> bool:
    """As much of `catch_up` as a unit of work may hold others up; whether something is left. Intervals can be as short as a minute."""
    moment, left = now(conn), _PART
    for key in _due(conn, env, contracts, moment):
        account = account_of(conn, env, key)
        if account is not None and account.due(moment):
            left -= account.catch_up(moment, left)
            save(conn, [account])
        if left <= 0:
            return True
    return False


def account_of(conn: sa.Connection, env: Env, contract_id: int) -> Account | None:
    """One account, its contract locked for this unit of work; None when there are no intervals."""
    lock(conn, [contract_id])
    return load(conn, env, [contract_id]).get(contract_id)


def lock(conn: sa.Connection, contracts: Iterable[int]) -> None:
    """Lock rows of contracts, always in the same order."""
    ids = sorted(set(contracts))
    for part in _chunks(ids):
        conn.execute(sa.select(contract.c.id).where(contract.c.id.in_(part)).order_by(contract.c.id).with_for_update())


def switch_package(conn: sa.Connection, env: Env, contract_id: int, before: int | None) -> None:
    """After a contract got another package (or none) and its billing profiles: the interval in force follows (billing 4.8). `before`: the package
    it had. ProvisioningError when a top-up of this second is in the way."""
    account = account_of(conn, env, contract_id)
    if account is None:
        return
    new = account.terms
    account.terms = Terms() if before is None else terms(conn, [before]).get(before, Terms())
    try:
        account.switch(new, now(conn))
    except FutureInterval:
        raise future_interval("profile_package_id") from None
    save(conn, [account])


def future_interval(field: str) -> ProvisioningError:
    """What is told when an interval was begun in this very second."""
    return Plain(field, "Future balance interval detected. Please retry, if another top-up action finished meanwhile.", "refused")


def underrun_locks(conn: sa.Connection, contracts: Iterable[int]) -> dict[int, int]:
    """Lock levels of those contracts whose balance is below the threshold of their package (billing 4.6)."""
    package = profile_package.c
    found: dict[int, int] = {}
    for part in _chunks(sorted(set(contracts))):
        query = (
            sa.select(contract.c.id, package.underrun_lock_threshold, package.underrun_lock_level)
            .join(profile_package, package.id == contract.c.profile_package_id)
            .where(contract.c.id.in_(part), package.underrun_lock_threshold.is_not(None), package.underrun_lock_level.is_not(None))
        )
        limits = {row.id: (row.underrun_lock_threshold, row.underrun_lock_level) for row in conn.execute(query)}
        rows = newest(conn, list(limits)) if limits else {}
        found |= {key: limits[key][1] for key, row in rows.items() if Decimal(row["cash_balance"] or 0) < limits[key][0]}
    return found


def newest(conn: sa.Connection, contracts: Sequence[int]) -> dict[int, sa.RowMapping]:
    """The last interval of each contract as stored."""
    found: dict[int, sa.RowMapping] = {}
    for part in _chunks(contracts):
        starts = sa.select(_BALANCE.contract_id, sa.func.max(_BALANCE.start).label("start")).where(_BALANCE.contract_id.in_(part))
        last = starts.group_by(_BALANCE.contract_id).subquery()
        rows = sa.select(contract_balance).join(last, sa.and_(last.c.contract_id == _BALANCE.contract_id, last.c.start == _BALANCE.start))
        found |= {row["contract_id"]: row for row in conn.execute(rows).mappings()}
    return found


def terms(conn: sa.Connection, packages: Iterable[int]) -> dict[int, Terms]:
    """The rules of profile packages by id."""
    found: dict[int, Terms] = {}
    for part in _chunks(sorted(set(packages))):
        lists: dict[tuple[int, str], list[tuple[int, int | None]]] = {}
        entries = sa.select(package_profile).where(package_profile.c.package_id.in_(part)).order_by(package_profile.c.id)
        for row in conn.execute(entries):
            lists.setdefault((row.package_id, row.discriminator), []).append((row.profile_id, row.network_id))
        for row in conn.execute(sa.select(profile_package).where(profile_package.c.id.in_(part))):
            found[row.id] = Terms(
                package_id=row.id,
                mode=row.balance_interval_start_mode,
                unit=row.balance_interval_unit,
                count=row.balance_interval_value,
                carry_over=row.carry_over_mode,
                timely_unit=row.timely_duration_unit,
                timely_count=row.timely_duration_value,
                discard_after=row.notopup_discard_intervals,
                initial=Decimal(row.initial_balance),
                charge=Decimal(row.service_charge),
                lock_threshold=row.underrun_lock_threshold,
                lock_level=row.underrun_lock_level,
                profile_threshold=row.underrun_profile_threshold,
                topup_lock_level=row.topup_lock_level,
                underrun=tuple(lists.get((row.id, "underrun"), ())),
                topup=tuple(lists.get((row.id, "topup"), ())),
            )
    return found


def load(conn: sa.Connection, env: Env, contracts: Sequence[int], *, new: bool = False) -> dict[int, Account]:
    """Accounts by contract; `new`: of contracts that have no interval yet, instead of leaving those out."""
    found: dict[int, Account] = {}
    for part in _chunks(sorted(set(contracts))):
        heads = conn.execute(sa.select(contract.c.id, contract.c.created_at, contract.c.profile_package_id).where(contract.c.id.in_(part))).all()
        packages = terms(conn, {head.profile_package_id for head in heads if head.profile_package_id is not None})
        mapped = _mapped(conn, part)
        # Profiles of the packages, too: a top-up or an underrun may put them in force.
        known = {m.profile_id for rows in mapped.values() for m in rows} | {p for t in packages.values() for p, _ in (*t.underrun, *t.topup)}
        granted = grants(conn, known)
        rows = {} if new else _last(conn, part)
        for head in heads:
            if new or head.id in rows:
                row, opened, anchor = rows.get(head.id, (None, None, None))
                origin = Origin(head.created_at, env.zone)
                package = packages.get(head.profile_package_id, Terms())
                found[head.id] = Account(head.id, origin, package, granted, mapped.get(head.id, ()), row, opened, anchor)
    return found


def grants(conn: sa.Connection, profiles: Iterable[int]) -> dict[int, Grant]:
    """What billing profiles give, by id."""
    p = billing_profile.c
    columns = (p.id, p.prepaid, p.interval_free_cash, p.interval_free_time, p.interval_unit, p.interval_count)
    found: dict[int, Grant] = {}
    for part in _chunks(sorted(set(profiles))):
        for row in conn.execute(sa.select(*columns).where(p.id.in_(part))):
            cash, seconds = Decimal(row.interval_free_cash), int(row.interval_free_time)
            found[row.id] = Grant(row.id, bool(row.prepaid), cash, seconds, row.interval_unit, row.interval_count)
    return found


def save(conn: sa.Connection, accounts: Iterable[Account]) -> None:
    """Store what has changed: intervals, billing profiles that came into force, locks, preference `prepaid`; notices."""
    at = now(conn)
    paid: dict[int, bool] = {}
    for account in accounts:
        if not account.changed and account.lock is None:
            continue
        new = []
        for row in account.rows:
            if row.id is None:
                new.append(_columns(account.contract_id, row))
            else:
                conn.execute(sa.update(contract_balance).where(_BALANCE.id == row.id).values(**_columns(account.contract_id, row)))
        for start in range(0, max(0, len(new) - 1), _MANY):
            conn.execute(sa.insert(contract_balance), new[:-1][start : start + _MANY])
        if new:
            account.row.id = insert(conn, contract_balance, **new[-1])
        if account.entries:
            entries = [
                {"contract_id": account.contract_id, "profile_id": m.profile_id, "network_id": m.network_id, "start_at": m.start, "end_at": m.end}
                for m in account.entries
            ]
            conn.execute(sa.insert(billing_mapping), entries)
            paid[account.contract_id] = account.grant(at).prepaid
        if account.lock is not None:
            effects.set_lock(conn, account.contract_id, account.lock)
        if account.news:
            changes.note(conn, "contract", account.contract_id)
        account.rows, account.entries, account.lock, account.changed, account.news = [account.row], [], None, False, False
    if paid:
        effects.set_prepaid(conn, paid)


# ---------------------------------------------------------------------------------------------------------------------- inside
def _due(conn: sa.Connection, env: Env, contracts: Iterable[int], at: datetime.datetime) -> list[int]:
    """Those whose last interval has ended, or is open and holds money that has expired. One statement when there are none."""
    due: list[int] = []
    maybe: list[int] = []
    discards = sa.or_(profile_package.c.notopup_discard_intervals.is_not(None), profile_package.c.carry_over_mode == "carry_over_timely")
    for part in _chunks(sorted(set(contracts))):
        ends = sa.select(_BALANCE.contract_id, sa.func.max(_BALANCE.end).label("end")).where(_BALANCE.contract_id.in_(part))
        last = ends.group_by(_BALANCE.contract_id).subquery()
        query = (
            sa.select(contract.c.id, last.c.end)
            .join(last, last.c.contract_id == contract.c.id)
            .outerjoin(profile_package, profile_package.c.id == contract.c.profile_package_id)
            .where(contract.c.status != "terminated", sa.or_(last.c.end < at, discards))
        )
        for row in conn.execute(query):
            (due if row.end < at else maybe).append(row.id)
    if maybe:
        due += [key for key, account in load(conn, env, maybe).items() if account.due(at)]
    return sorted(due)


def _mapped(conn: sa.Connection, contracts: Sequence[int]) -> dict[int, list[Mapped]]:
    found: dict[int, list[Mapped]] = {}
    for row in conn.execute(sa.select(billing_mapping).where(billing_mapping.c.contract_id.in_(contracts)).order_by(billing_mapping.c.id)):
        found.setdefault(row.contract_id, []).append(Mapped(row.profile_id, row.network_id, row.start_at, row.end_at))
    return found


def _last(conn: sa.Connection, contracts: Sequence[int]) -> dict[int, tuple[Interval, datetime.datetime, datetime.datetime | None]]:
    """Last interval, start of the first one, start of the last one with a top-up."""
    topped = sa.func.max(sa.case((_BALANCE.topup_count > 0, _BALANCE.start)))
    edges = sa.select(_BALANCE.contract_id, sa.func.min(_BALANCE.start), sa.func.max(_BALANCE.start), topped)
    found: dict[int, tuple[Any, Any, Any]] = {
        row[0]: tuple(row[1:]) for row in conn.execute(edges.where(_BALANCE.contract_id.in_(contracts)).group_by(_BALANCE.contract_id))
    }
    return {key: (interval(row), found[key][0], found[key][2]) for key, row in newest(conn, contracts).items()}


def interval(row: sa.RowMapping) -> Interval:
    """A stored row."""
    return Interval(
        start=row["start"],
        end=row["end"],
        cash=Decimal(row["cash_balance"] or 0),
        seconds=int(row["free_time_balance"] or 0),
        cash_used=Decimal(row["cash_balance_interval"]),
        seconds_used=int(row["free_time_balance_interval"]),
        topups=row["topup_count"],
        timely=row["timely_topup_count"],
        profiles_at=row["underrun_profiles_at"],
        lock_at=row["underrun_lock_at"],
        id=row["id"],
    )


def _columns(contract_id: int, row: Interval) -> dict[str, Any]:
    return {
        "contract_id": contract_id,
        "start": row.start,
        "end": row.end,
        "cash_balance": row.cash,
        "free_time_balance": row.seconds,
        "cash_balance_interval": row.cash_used,
        "free_time_balance_interval": row.seconds_used,
        "topup_count": row.topups,
        "timely_topup_count": row.timely,
        "underrun_profiles_at": row.profiles_at,
        "underrun_lock_at": row.lock_at,
    }


def _chunks(keys: Sequence[int]) -> Iterable[Sequence[int]]:
    return (keys[at : at + CHUNK] for at in range(0, len(keys), CHUNK))

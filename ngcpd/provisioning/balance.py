"""The first balance rows of a new contract (billing 4.2): interval from the first of the month, cash and free time in proportion."""

from __future__ import annotations

import datetime
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Any

import sqlalchemy as sa

from ngcpd.store.intervals import add, first_of_month, to_local, to_utc
from ngcpd.store.tables.billing import contract_balance

SECOND = datetime.timedelta(seconds=1)


def first_rows(contract_id: int, profile: sa.RowMapping, at: datetime.datetime, zone: datetime.tzinfo) -> list[dict[str, Any]]:
    """Rows for `contract_balance` from the month's first day to the interval that holds `at` (naive UTC).

    The first row gets its share: from the start of the creation day, or from the moment of creation on the first day itself. Intervals
    shorter than a month may need more rows at once; those get the full amounts.
    """
    created = to_local(at, zone)
    start = first_of_month(created)
    rows: list[dict[str, Any]] = []
    while True:
        following = add(start, profile["interval_unit"], profile["interval_count"])
        share = _share(start, following, created, zone) if not rows else Decimal(1)
        cash = (Decimal(profile["interval_free_cash"]) * share).quantize(Decimal("0.0001"), ROUND_HALF_UP)
        seconds = (Decimal(profile["interval_free_time"]) * share).quantize(Decimal(1), ROUND_HALF_EVEN)
        rows.append(
            {
                "contract_id": contract_id,
                "start": to_utc(start, zone),
                "end": to_utc(following, zone) - SECOND,
                "cash_balance": cash,
                "free_time_balance": int(seconds),
            }
        )
        if following > created:
            return rows
        start = following


def _share(start: datetime.datetime, following: datetime.datetime, created: datetime.datetime, zone: datetime.tzinfo) -> Decimal:
    """The part of the interval that is left at creation; durations are differences of real time, so right across clock changes."""
    day = created.replace(hour=0, minute=0, second=0, microsecond=0)
    counted = day if day > start else created
    end = to_utc(following, zone)
    left = Decimal((end - to_utc(counted, zone)).total_seconds())
    return max(Decimal(0), left / Decimal((end - to_utc(start, zone)).total_seconds()))


def write(conn: sa.Connection, contract_id: int, profile: sa.RowMapping, at: datetime.datetime, zone: datetime.tzinfo) -> None:
    """Insert the first rows of a new contract."""
    conn.execute(sa.insert(contract_balance), first_rows(contract_id, profile, at, zone))

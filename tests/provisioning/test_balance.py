"""First balance rows (billing 4.2) and the calendar (billing 4.3)."""

from __future__ import annotations

import datetime
import itertools
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngcpd.provisioning.balance import first_rows
from ngcpd.store.intervals import FOREVER, add, to_local, to_utc

D = datetime.datetime
UTC = datetime.UTC
VIENNA = ZoneInfo("Europe/Vienna")


def profile(cash="0", seconds=0, unit="month", count=1):
    return {"interval_free_cash": Decimal(cash), "interval_free_time": seconds, "interval_unit": unit, "interval_count": count}


def test_share_of_the_creation_month():
    [row] = first_rows(5, profile("3000", 300), D(2016, 6, 16, 13, 0), UTC)
    assert row == {
        "contract_id": 5,
        "start": D(2016, 6, 1),
        "end": D(2016, 6, 30, 23, 59, 59),
        "cash_balance": Decimal("1500.0000"),  # 15 of 30 days are left, from the start of the day
        "free_time_balance": 150,
    }


def test_on_the_first_day_the_moment_counts():
    [row] = first_rows(5, profile("3000"), D(2016, 6, 1, 12, 0), UTC)
    assert row["cash_balance"] == Decimal("2950.0000")
    [row] = first_rows(5, profile("3000"), D(2016, 6, 1, 0, 0), UTC)
    assert row["cash_balance"] == Decimal("3000.0000")


def test_local_month_and_clock_change():
    """March 2016 in Vienna has an hour less: the 31st is 24 of 743 hours, and its end is 21:59:59 UTC."""
    [row] = first_rows(5, profile("743"), D(2016, 3, 31, 10, 0), VIENNA)
    assert (row["start"], row["end"]) == (D(2016, 2, 29, 23, 0), D(2016, 3, 31, 21, 59, 59))
    assert row["cash_balance"] == Decimal("24.0000")


def test_weeks_are_caught_up_at_once():
    rows = first_rows(5, profile("100", 70, "week"), D(2016, 6, 16, 13, 0), UTC)
    assert [(r["start"], r["end"]) for r in rows] == [
        (D(2016, 6, 1), D(2016, 6, 7, 23, 59, 59)),
        (D(2016, 6, 8), D(2016, 6, 14, 23, 59, 59)),
        (D(2016, 6, 15), D(2016, 6, 21, 23, 59, 59)),
    ]
    assert [r["cash_balance"] for r in rows] == [0, 100, 100]
    assert [r["free_time_balance"] for r in rows] == [0, 70, 70]


@pytest.mark.parametrize(
    ("start", "unit", "count", "align", "expected"),
    [
        (D(2016, 1, 31), "month", 1, None, D(2016, 2, 29)),
        (D(2016, 2, 29), "month", 1, None, D(2016, 3, 31)),
        (D(2016, 1, 30), "month", 1, None, D(2016, 2, 29)),
        (D(2016, 1, 30), "month", 1, 1, D(2016, 2, 28)),
        (D(2016, 11, 15), "month", 3, None, D(2017, 2, 15)),
        (D(2016, 12, 31, 5), "day", 1, None, D(2017, 1, 1, 5)),
        (D(2016, 1, 1), "week", 2, None, D(2016, 1, 15)),
        (D(2016, 1, 1), "minute", 90, None, D(2016, 1, 1, 1, 30)),
    ],
)
def test_add(start, unit, count, align, expected):
    assert add(start, unit, count, align) == expected


def test_unknown_unit():
    with pytest.raises(ValueError, match="fortnight"):
        add(D(2016, 1, 1), "fortnight", 1)


@given(st.datetimes(D(2000, 1, 1), D(2100, 1, 1)), st.sampled_from(["week", "month"]), st.integers(1, 12))
def test_rows_are_contiguous_and_reach_the_moment(at, unit, count):
    at = at.replace(microsecond=0)
    rows = first_rows(1, profile("1000", 1000, unit, count), at, VIENNA)
    for one, two in itertools.pairwise(rows):
        assert two["start"] - one["end"] == datetime.timedelta(seconds=1)
    assert rows[0]["start"] <= at <= rows[-1]["end"]
    assert all(0 <= r["cash_balance"] <= 1000 and 0 <= r["free_time_balance"] <= 1000 for r in rows)


@given(st.datetimes(D(2000, 1, 1), D(2100, 1, 1)))
def test_zones_round_trip(moment):
    assert to_utc(to_local(moment, UTC), UTC) == moment
    assert to_local(FOREVER, VIENNA) == FOREVER == to_utc(FOREVER, VIENNA)

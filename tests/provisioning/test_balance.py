"""Balances as arithmetic: the worked numbers of billing 4, 6.3 and 10, the calendar, and what always holds (billing 11)."""

from __future__ import annotations

import datetime
import itertools
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngcpd.provisioning.balance.account import Account, FutureInterval, Mapped, TooMuch
from ngcpd.provisioning.balance.rules import Grant, Interval, Origin, Terms, kept
from ngcpd.store.intervals import FOREVER, add, to_local, to_utc

D = datetime.datetime
UTC = datetime.UTC
VIENNA = ZoneInfo("Europe/Vienna")
SECOND = datetime.timedelta(seconds=1)
DAY = datetime.timedelta(days=1)


def account(created: D, terms: Terms | None = None, zone: datetime.tzinfo = UTC, mapped: Any = (1,), **grants: Any) -> Account:
    """A new one; `grants` by p1, p2: (cents, seconds) of billing profiles, `mapped` those in force since ever."""
    known = {int(name[1:]): Grant(int(name[1:]), False, Decimal(value[0]), *value[1:]) for name, value in grants.items()}
    return Account(7, Origin(to_utc(created, zone), zone), terms or Terms(), known, [Mapped(key) for key in mapped])


def package(mode: str = "1st", unit: str = "month", count: int = 1, **more: Any) -> Terms:
    amounts = {k: Decimal(v) for k, v in more.items() if k in ("initial", "charge", "lock_threshold", "profile_threshold")}
    return Terms(**{"package_id": 1, "mode": mode, "unit": unit, "count": count, **more, **amounts})


# ---------------------------------------------------------------------------------------------------------------- first interval
@pytest.mark.parametrize(
    ("created", "cash", "seconds"),
    [
        (D(2016, 5, 16, 10), "516.1290", 3097),
        (D(2016, 3, 16, 10), "515.4778", 3093),  # the clock changes in this month
        (D(2016, 5, 1, 10), "986.5591", 5919),  # on the first day the moment counts
    ],
)
def test_v26_share_of_the_first_month(created: D, cash: str, seconds: int) -> None:
    made = account(created, zone=VIENNA, p1=("1000", 6000))
    assert (made.row.cash, made.row.seconds) == (Decimal(cash), seconds)
    assert to_local(made.row.start, VIENNA) == created.replace(day=1, hour=0)
    assert to_local(made.row.end + SECOND, VIENNA) == created.replace(day=1, hour=0, month=created.month + 1)


def test_first_interval_by_start_mode() -> None:
    at = D(2016, 5, 16, 10, 30)
    create = account(at, package("create", initial="200"), p1=("1000", 60)).row
    assert (create.start, create.end) == (D(2016, 5, 16), D(2016, 6, 15, 23, 59, 59))
    left = Decimal(int((D(2016, 6, 16) - at).total_seconds())) / (31 * 86400)
    assert create.cash == (200 + (1000 * left).quantize(Decimal("0.0001"))).quantize(Decimal("0.0001"))
    for mode in ("topup", "topup_interval"):
        row = account(at, package(mode, initial="200"), p1=("1000", 60)).row
        assert (row.start, row.end, row.cash, row.seconds) == (at, FOREVER, 1200, 60)


def test_weeks_are_caught_up_at_once() -> None:
    made = account(D(2016, 6, 16, 13), p1=("100", 70, "week"))
    made.begin(D(2016, 6, 16, 13))
    assert [(r.start, r.end, r.cash, r.seconds) for r in made.rows] == [
        (D(2016, 6, 1), D(2016, 6, 7, 23, 59, 59), 0, 0),
        (D(2016, 6, 8), D(2016, 6, 14, 23, 59, 59), 100, 70),
        (D(2016, 6, 15), D(2016, 6, 21, 23, 59, 59), 100, 70),
    ]


# ---------------------------------------------------------------------------------------------------------------------- carry-over
@pytest.mark.parametrize(
    ("cash", "debit", "following", "start"),
    [
        ("1000", "0", "1000", "1000"),
        ("700", "300", "1000", "1000"),
        ("0", "1200", "1000", "1000"),
        ("1500", "0", "1000", "1500"),
        ("1300", "200", "800", "1300"),
    ],
)
def test_carry_over_table(cash: str, debit: str, following: str, start: str) -> None:
    """The examples of billing 4.5, column Spec."""
    row = Interval(D(2016, 1, 1), D(2016, 1, 31, 23, 59, 59), Decimal(cash), cash_used=Decimal(debit))
    assert kept(row, Decimal(1000), D(2016, 2, 1), Terms(), None) + Decimal(following) == Decimal(start)


def test_carry_over_modes() -> None:
    """A top-up of 500 in the first month; what is there in the second."""
    for mode, at, expected in (
        ("carry_over", D(2016, 5, 10), 600),
        ("discard", D(2016, 5, 10), 100),
        ("carry_over_timely", D(2016, 5, 10), 100),
        ("carry_over_timely", D(2016, 5, 24, 0, 0), 100),
        ("carry_over_timely", D(2016, 5, 25, 0, 0), 600),  # seven days before the end
        ("carry_over_timely", D(2016, 5, 31, 23, 59, 59), 600),
    ):
        made = account(D(2016, 5, 1), package(carry_over=mode, timely_unit="day", timely_count=7), p1=("100", 0))
        made.top_up(Decimal(500), None, at)
        made.catch_up(D(2016, 6, 2))
        assert made.row.cash == expected, (mode, at)


def test_discard_after_intervals_without_topup() -> None:
    """Two intervals of two months each: the start of the last one with a top-up, and (2 + 1) * 2 months."""
    made = account(D(2016, 1, 1), package(count=2, discard_after=2), p1=("0", 0))
    made.top_up(Decimal(500), None, D(2016, 3, 15))
    assert made.expiry() == D(2016, 9, 1)
    for at, cash in ((D(2016, 5, 2), 500), (D(2016, 8, 31), 500), (D(2016, 9, 1), 0)):
        made.catch_up(at)
        assert made.row.cash == cash, at
    opened = account(D(2016, 1, 1), package("topup", discard_after=2, initial="300"), p1=("0", 0))
    assert opened.expiry() == D(2016, 3, 1)
    assert not opened.due(D(2016, 2, 29, 23, 59, 59)) and opened.due(D(2016, 3, 1))
    opened.catch_up(D(2016, 3, 1))
    assert (opened.row.cash, opened.row.end, len(opened.rows)) == (0, FOREVER, 1)
    assert account(D(2016, 1, 1), package("topup", count=3, discard_after=2), p1=("0", 0)).expiry() == D(2016, 7, 1)
    timely = account(D(2016, 1, 1), package("topup", carry_over="carry_over_timely", timely_unit="day", timely_count=1, initial="300"), p1=("0", 0))
    timely.catch_up(D(2016, 1, 31, 23, 59, 59))
    assert timely.row.cash == 300
    timely.catch_up(D(2016, 2, 1))
    assert timely.row.cash == 0


# -------------------------------------------------------------------------------------------------------------------------- top-up
def test_v27_interval_from_the_first_topup() -> None:
    made = account(D(2016, 5, 1, 10), package("topup_interval", "day", 30, charge="50"), p1=("0", 0))
    made.begin(D(2016, 5, 1, 10))
    assert made.top_up(Decimal(1000), None, D(2016, 5, 10, 12)) == 950
    one, two = made.rows
    assert (one.start, one.end, one.topups, one.cash) == (D(2016, 5, 1, 10), D(2016, 5, 10, 12), 1, 0)
    assert (two.start, two.end, two.topups, two.cash) == (D(2016, 5, 10, 12, 0, 1), D(2016, 6, 9, 12), 0, 950)
    made.top_up(Decimal(1000), None, D(2016, 5, 20))
    assert (len(made.rows), made.row.cash, made.row.topups) == (2, 1900, 1)
    made.catch_up(D(2016, 7, 1))
    assert [(r.start, r.end) for r in made.rows[2:]] == [(D(2016, 6, 9, 12, 0, 1), D(2016, 7, 9, 12))]


def test_v27_interval_with_each_topup() -> None:
    made = account(D(2016, 5, 1, 10), package("topup", "day", 30, charge="50"), p1=("0", 0))
    made.top_up(Decimal(1000), None, D(2016, 5, 10, 12))
    made.top_up(Decimal(1000), None, D(2016, 5, 20))
    assert [(r.start, r.end, r.cash) for r in made.rows[1:]] == [
        (D(2016, 5, 10, 12, 0, 1), D(2016, 5, 20), 950),
        (D(2016, 5, 20, 0, 0, 1), FOREVER, 1900),
    ]
    with pytest.raises(FutureInterval):
        made.top_up(Decimal(1), None, D(2016, 5, 20))


def test_topup_profiles_package_and_lock() -> None:
    made = account(D(2016, 5, 1), package("1st", charge="50", topup=((2, None),)), p1=("0", 0), p2=("300", 0), p3=("0", 0))
    given = package("topup_interval", "day", 10, package_id=2, charge="10", topup=((3, 9),), topup_lock_level=0)
    assert made.top_up(Decimal(1000), given, D(2016, 5, 10)) == 990, "the charge of the package that comes with it"
    assert [(m.profile_id, m.network_id, m.start) for m in made.entries] == [(3, 9, D(2016, 5, 10))]
    assert made.terms == given and made.lock == 0
    assert [(r.start, r.end, r.cash) for r in made.rows] == [
        (D(2016, 5, 1), D(2016, 5, 10), 0),
        (D(2016, 5, 10, 0, 0, 1), D(2016, 5, 20), 990),
    ]


@pytest.mark.parametrize(("old", "new", "cash"), [("discard", "carry_over", 50), ("carry_over", "discard", 350)])
def test_the_old_package_hands_on(old: str, new: str, cash: int) -> None:
    """The interval that a top-up begins gets what the package before leaves it (billing 4.8)."""
    made = account(D(2016, 5, 1), package("topup", carry_over=old, initial="300"), p1=("0", 0))
    made.top_up(Decimal(50), package("topup", package_id=2, carry_over=new), D(2016, 5, 10))
    assert made.row.cash == cash


def test_too_much() -> None:
    made = account(D(2016, 5, 1), p1=("0", 0))
    made.top_up(Decimal(99_999_999), None, D(2016, 5, 2))
    with pytest.raises(TooMuch):
        made.top_up(Decimal(1), None, D(2016, 5, 2))


# ------------------------------------------------------------------------------------------------------------------------ underrun
def test_underrun_when_written() -> None:
    rules = package(lock_threshold="100", lock_level=4, profile_threshold="50", underrun=((2, None),), initial="500")
    made = account(D(2016, 5, 1), rules, p1=("0", 0), p2=("0", 0))
    made.begin(D(2016, 5, 1))
    assert made.lock is None and not made.entries
    made.write(Decimal(100), 0, D(2016, 5, 2))
    assert made.lock is None
    made.write(Decimal("99.99"), 0, D(2016, 5, 3))
    assert (made.lock, made.row.lock_at, made.row.profiles_at) == (4, D(2016, 5, 3), None)
    made.lock = None
    made.write(Decimal(-5), 0, D(2016, 5, 4))
    assert made.lock is None, "it was below before"
    assert [m.profile_id for m in made.entries] == [2] and made.row.profiles_at == D(2016, 5, 4)
    made.write(Decimal(1000), 0, D(2016, 5, 5))
    assert made.lock is None, "more money clears nothing by itself"


def test_underrun_at_creation_and_in_catch_up() -> None:
    low = package(lock_threshold="100", lock_level=2)
    made = account(D(2016, 5, 1), low, p1=("0", 0))
    made.begin(D(2016, 5, 1, 1))
    assert made.lock == 2 and made.row.lock_at == D(2016, 5, 1, 1)
    rules = package(carry_over="discard", profile_threshold="100", underrun=((2, None),), initial="500", lock_threshold="40", lock_level=3)
    made = account(D(2016, 5, 1), rules, p1=("20", 0), p2=("60", 90))
    made.begin(D(2016, 5, 1))
    made.catch_up(D(2016, 6, 5))
    assert (made.row.cash, made.row.seconds, made.row.profiles_at) == (60, 90, D(2016, 6, 5)), "the row is made with the new profile"
    assert [(m.profile_id, m.start) for m in made.entries] == [(2, D(2016, 6, 1))] and made.lock is None


def test_underrun_that_comes_with_a_package() -> None:
    made = account(D(2016, 5, 1), p1=("0", 0), p2=("0", 0))
    made.write(Decimal(80), 0, D(2016, 5, 2))
    made.switch(package(package_id=2, lock_threshold="100", lock_level=1, profile_threshold="50", underrun=((2, None),)), D(2016, 5, 3))
    assert made.lock == 1 and not made.entries, "80 is below 100, not below 50"
    made.lock = None
    made.top_up(Decimal(10), package(package_id=3, lock_threshold="90", lock_level=1, profile_threshold="95", underrun=((2, None),)), D(2016, 5, 4))
    assert made.lock is None and [m.profile_id for m in made.entries] == [2], "90 is below 95; the other threshold did not rise"


# ------------------------------------------------------------------------------------------------------------------- other package
@pytest.mark.parametrize(
    ("mode", "end"),
    [("1st", D(2016, 6, 30, 23, 59, 59)), ("create", D(2016, 7, 15, 23, 59, 59)), ("topup", D(2016, 6, 20, 8)), ("topup_interval", FOREVER)],
)
def test_resize_by_the_new_start_mode(mode: str, end: D) -> None:
    before = "create" if mode == "1st" else "1st"
    made = account(D(2016, 5, 16), package(before), p1=("1000", 3100))
    made.catch_up(D(2016, 6, 20, 8))
    assert made.row.cash == 1000
    made.switch(package(mode, package_id=2), D(2016, 6, 20, 8))
    assert made.row.end == end


def test_resize_shares_the_first_interval_anew() -> None:
    made = account(D(2016, 5, 16), package("1st"), p1=("1000", 3100))
    assert (made.row.cash, made.row.seconds) == (Decimal("516.1290"), 1600)
    made.write(made.row.cash + 200, made.row.seconds, D(2016, 5, 17))
    made.switch(package("create", package_id=2), D(2016, 5, 20))
    assert (made.row.end, made.row.cash) == (D(2016, 6, 15, 23, 59, 59), Decimal("873.9130"))  # 31 of 46 days, and 200
    spent = account(D(2016, 5, 16), package("1st"), p1=("1000", 0))
    spent.row.cash, spent.row.cash_used = Decimal(0), spent.row.cash
    spent.switch(package("topup", package_id=2), D(2016, 5, 20))
    assert spent.row.cash == 0, "what was spent is not asked back"


# ------------------------------------------------------------------------------------------------------------------------ calendar
@pytest.mark.parametrize(
    ("start", "unit", "count", "align", "expected"),
    [
        (D(2016, 1, 31), "month", 1, None, D(2016, 2, 29)),
        (D(2016, 2, 29), "month", 1, None, D(2016, 3, 31)),
        (D(2016, 1, 30), "month", 1, None, D(2016, 2, 29)),
        (D(2016, 2, 29), "month", 1, D(2016, 1, 30), D(2016, 3, 30)),
        (D(2016, 3, 30), "month", 1, D(2016, 1, 30), D(2016, 4, 30)),
        (D(2016, 2, 29), "month", 1, D(2016, 1, 31), D(2016, 3, 31)),
        (D(2016, 3, 15), "month", -1, None, D(2016, 2, 15)),
        (D(2016, 11, 15), "month", 3, None, D(2017, 2, 15)),
        (D(2016, 12, 31, 5), "day", 1, None, D(2017, 1, 1, 5)),
        (D(2016, 1, 1), "week", 2, None, D(2016, 1, 15)),
        (D(2016, 1, 1), "minute", 90, None, D(2016, 1, 1, 1, 30)),
    ],
)
def test_add(start: D, unit: str, count: int, align: D | None, expected: D) -> None:
    assert add(start, unit, count, align) == expected


def test_created_on_the_30th_of_january() -> None:
    """Billing 4.3: 30 January, 29 February, 30 March, 30 April."""
    made = account(D(2016, 1, 30, 9), package("create"), zone=VIENNA, p1=("0", 0))
    made.catch_up(D(2016, 5, 1))
    assert [to_local(r.start, VIENNA) for r in made.rows] == [D(2016, 1, 30), D(2016, 2, 29), D(2016, 3, 30), D(2016, 4, 30)]


def test_unknown_unit() -> None:
    with pytest.raises(ValueError, match="fortnight"):
        add(D(2016, 1, 1), "fortnight", 1)


def test_hours_are_real_hours() -> None:
    """Across the end of summer time (03:00 becomes 02:00) and its beginning."""
    for created in (D(2016, 10, 30, 0), D(2016, 3, 27, 0)):
        made = account(created, package("create", "hour", 6), zone=VIENNA, p1=("0", 0))
        made.catch_up(to_utc(created, VIENNA) + DAY)
        assert {r.end + SECOND - r.start for r in made.rows} == {datetime.timedelta(hours=6)}


def test_intervals_without_end() -> None:
    made = account(D(2016, 1, 1), package("create", "month", 2**31 - 1), p1=("0", 0))
    assert made.row.end == FOREVER and not made.due(D(2100, 1, 1))


@given(st.datetimes(D(2000, 1, 1), D(2100, 1, 1)))
def test_zones_round_trip(moment: D) -> None:
    assert to_utc(to_local(moment, UTC), UTC) == moment
    assert to_local(FOREVER, VIENNA) == FOREVER == to_utc(FOREVER, VIENNA)


# ------------------------------------------------------------------------------------------------------------- what always holds
CENTS = st.integers(0, 5000)
UNITS = st.sampled_from(["hour", "day", "week", "month"])
TERMS = st.builds(
    package,
    st.sampled_from(["1st", "create", "topup", "topup_interval"]),
    UNITS,
    st.integers(1, 5),
    carry_over=st.sampled_from(["carry_over", "carry_over_timely", "discard"]),
    timely_unit=UNITS,
    timely_count=st.integers(1, 40),
    discard_after=st.one_of(st.none(), st.integers(1, 5)),
    initial=CENTS,
    charge=st.integers(0, 100),
)
CREATED = st.datetimes(D(2015, 1, 1), D(2016, 12, 31)).map(lambda at: at.replace(microsecond=0))
LATER = st.integers(0, 200 * 86400).map(lambda n: datetime.timedelta(seconds=n))
FREE = st.tuples(CENTS, st.integers(0, 5000))


def state(made: Account) -> list[tuple[Any, ...]]:
    return [(r.start, r.end, r.cash, r.seconds, r.topups, r.timely) for r in made.rows]


@given(CREATED, TERMS, FREE, st.lists(LATER, min_size=1, max_size=4))
def test_catching_up_in_steps_is_catching_up_at_once(created: D, terms: Terms, free: Any, steps: Any) -> None:
    one, many = (account(created, terms, VIENNA, p1=free) for _ in range(2))
    start, end = to_utc(created, VIENNA), to_utc(created, VIENNA) + sum(steps, datetime.timedelta())
    one.catch_up(end)
    for at in itertools.accumulate(steps, initial=start):
        many.catch_up(at)
        assert not many.due(at)
    assert state(one) == state(many)
    assert one.rows[0].start <= start and one.row.end >= end
    for earlier, later in itertools.pairwise(one.rows):
        assert later.start - earlier.end == SECOND
    assert all(row.seconds >= 0 for row in one.rows)


@given(CREATED, TERMS, FREE, st.lists(st.tuples(LATER, st.integers(0, 3000)), max_size=5))
def test_no_money_from_nowhere(created: D, terms: Terms, free: Any, topups: Any) -> None:
    """Own money is never more than the initial balance and what was credited; with carry_over and no expiry it is just that."""
    made = account(created, terms, VIENNA, p1=free)
    at, paid = to_utc(created, VIENNA), terms.initial
    for wait, amount in topups:
        at += max(wait, 2 * SECOND)
        paid += made.top_up(Decimal(amount), None, at)
        assert all(later.start - earlier.end == SECOND for earlier, later in itertools.pairwise(made.rows))
    made.catch_up(at + DAY)
    own = made.row.cash - made.granted(made.row)[0]
    whole = terms.carry_over == "carry_over" and terms.discard_after is None
    if whole:
        assert own == paid
    elif terms.charge == 0:
        assert own <= paid
        assert made.row.cash >= 0


@given(CREATED, TERMS, TERMS, FREE, LATER, CENTS)
def test_another_package_changes_no_own_money(created: D, one: Terms, two: Terms, free: Any, wait: datetime.timedelta, spent: int) -> None:
    """Whatever becomes of the interval in force, own money and what was spent of the free cash are as before."""
    made = account(created, one, VIENNA, p1=free)
    at = to_utc(created, VIENNA) + wait
    made.catch_up(at)
    granted = made.granted(made.row)[0]
    used = min(Decimal(spent), made.row.cash)
    made.row.cash, made.row.cash_used = made.row.cash - used, used
    own = made.row.cash - max(Decimal(0), granted - used)
    made.switch(Terms(**{**{f: getattr(two, f) for f in two.__slots__}, "package_id": 2}), at)
    assert made.row.cash - max(Decimal(0), made.granted(made.row)[0] - used) == own
    assert made.row.start <= at <= made.row.end


@given(CREATED, FREE, st.lists(LATER, max_size=4))
def test_unspent_free_cash_does_not_gather(created: D, free: Any, steps: Any) -> None:
    made = account(created, zone=VIENNA, p1=free)
    made.catch_up(to_utc(created, VIENNA) + DAY * 40 + sum(steps, datetime.timedelta()))
    assert made.row.cash == free[0] and made.row.seconds == free[1]

"""Balance intervals as arithmetic: first interval, following ones, carry-over, windows (billing 4.2-4.5, 4.8, 6.3). No database, no clock.

Moments are naive UTC with whole seconds; both ends of an interval are inside. Days, weeks and months are those of the server's zone, minutes
and hours and every share of an interval are real time, so right across clock changes. Amounts are cents.
"""

from __future__ import annotations

import calendar
import datetime
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

from ngcpd.store.intervals import FOREVER, add, first_of_month, to_local, to_utc

SECOND = datetime.timedelta(seconds=1)
ZERO = Decimal(0)
_STEP = Decimal("0.0001")
Entry = tuple[int, int | None]
"""Billing profile and network of an entry of a package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The rules of a customer's intervals: those of its profile package, or the defaults without one. `unit` None: as long as the billing
    profile in force at the start of an interval says. `discard_after`: intervals without a top-up until the money is gone."""

    package_id: int | None = None
    mode: str = "1st"
    unit: str | None = None
    count: int = 1
    carry_over: str = "carry_over"
    timely_unit: str | None = None
    timely_count: int | None = None
    discard_after: int | None = None
    initial: Decimal = ZERO
    charge: Decimal = ZERO
    lock_threshold: Decimal | None = None
    lock_level: int | None = None
    profile_threshold: Decimal | None = None
    topup_lock_level: int | None = None
    underrun: tuple[Entry, ...] = ()
    topup: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """What a billing profile gives for each interval, and how long that is without a package."""

    profile_id: int | None = None
    prepaid: bool = False
    cash: Decimal = ZERO
    seconds: int = 0
    unit: str = "month"
    count: int = 1


@dataclass(slots=True)
class Interval:
    """One row of `contract_balance`."""

    start: datetime.datetime
    end: datetime.datetime
    cash: Decimal = ZERO
    seconds: int = 0
    cash_used: Decimal = ZERO
    seconds_used: int = 0
    topups: int = 0
    timely: int = 0
    profiles_at: datetime.datetime | None = None
    lock_at: datetime.datetime | None = None
    id: int | None = None

    @property
    def is_open(self) -> bool:
        return self.end == FOREVER


@dataclass(frozen=True, slots=True)
class Origin:
    """When a contract was made, and where."""

    created: datetime.datetime
    zone: datetime.tzinfo

    def after(self, start: datetime.datetime, unit: str, count: int, mode: str = "") -> datetime.datetime:
        """`count` units after a moment (before it when negative), FOREVER when the calendar ends. In mode `create`, months begin on the day of
        creation."""
        try:
            if unit in ("minute", "hour"):
                return add(start, unit, count)
            align = to_local(self.created, self.zone) if mode == "create" and unit == "month" else None
            return to_utc(add(to_local(start, self.zone), unit, count, align), self.zone)
        except (ValueError, OverflowError):
            return FOREVER if count > 0 else datetime.datetime.min

    def share(self, start: datetime.datetime, end: datetime.datetime) -> Decimal:
        """The part of the first interval that is left at creation: from the start of that day, on the first day from the moment itself."""
        if end == FOREVER:
            return Decimal(1)
        local = to_local(self.created, self.zone)
        day = to_utc(local.replace(hour=0, minute=0, second=0, microsecond=0), self.zone)
        left = Decimal((end + SECOND - (day if day > start else self.created)).total_seconds())
        return min(Decimal(1), max(ZERO, left / Decimal((end + SECOND - start).total_seconds())))


def first(terms: Terms, grant: Grant, origin: Origin) -> Interval:
    """The interval a new contract begins with (billing 4.2)."""
    start = first_start(terms, origin)
    end = FOREVER if terms.mode in ("topup", "topup_interval") else period_end(start, terms, grant, origin)
    share = origin.share(start, end)
    return Interval(start, end, cents(terms.initial + whole_cents(grant, share)), whole_seconds(grant, share))


def first_start(terms: Terms, origin: Origin) -> datetime.datetime:
    """Where the first interval begins."""
    if terms.mode in ("topup", "topup_interval"):
        return origin.created
    local = to_local(origin.created, origin.zone)
    day = local.replace(hour=0, minute=0, second=0, microsecond=0)
    return to_utc(day if terms.mode == "create" else first_of_month(local), origin.zone)


def cents(amount: Decimal) -> Decimal:
    """An amount as a new row keeps it."""
    return amount.quantize(_STEP, ROUND_HALF_UP)


def whole_cents(grant: Grant, share: Decimal) -> Decimal:
    """Free cash of a part of an interval."""
    return cents(grant.cash * share)


def whole_seconds(grant: Grant, share: Decimal) -> int:
    """Free seconds of a part of an interval."""
    return int((Decimal(grant.seconds) * share).quantize(Decimal(1), ROUND_HALF_EVEN))


def length(terms: Terms, grant: Grant) -> tuple[str, int]:
    """Unit and number of units of an interval."""
    return (grant.unit, grant.count) if terms.unit is None else (terms.unit, terms.count)


def period_end(start: datetime.datetime, terms: Terms, grant: Grant, origin: Origin) -> datetime.datetime:
    """The last second of the interval that begins at `start`, as if it were not open."""
    following = origin.after(start, *length(terms, grant), terms.mode)
    return FOREVER if following == FOREVER else following - SECOND


def next_end(start: datetime.datetime, terms: Terms, grant: Grant, origin: Origin) -> datetime.datetime:
    """The end of a following interval: open until the next top-up in mode `topup`."""
    return FOREVER if terms.mode == "topup" else period_end(start, terms, grant, origin)


def expiry(row: Interval, anchor: datetime.datetime, terms: Terms, grant: Grant, origin: Origin) -> datetime.datetime | None:
    """When money expires for want of a top-up (billing 4.5); `anchor`: start of the last interval with a top-up, else of the first."""
    if terms.discard_after is None:
        return None
    unit, count = length(terms, grant)
    if row.is_open:
        return origin.after(row.start, unit, terms.discard_after * count, terms.mode)
    return origin.after(anchor, unit, (terms.discard_after + 1) * count, terms.mode)


def window(row: Interval, terms: Terms, grant: Grant, origin: Origin) -> tuple[datetime.datetime, datetime.datetime] | None:
    """First and last second in which a top-up is timely, None when nothing hangs on it (billing 6.3)."""
    if terms.carry_over != "carry_over_timely" or terms.timely_unit is None or terms.timely_count is None:
        return None
    end = period_end(row.start, terms, grant, origin) if row.is_open else row.end
    if end == FOREVER:
        return None
    return max(row.start, origin.after(end + SECOND, terms.timely_unit, -terms.timely_count)), end


def kept(row: Interval, free: Decimal, start: datetime.datetime, terms: Terms, expires: datetime.datetime | None) -> Decimal:
    """What an interval hands on to the one that begins at `start`: unspent free cash (`free` was given) expires, own money stays."""
    if terms.carry_over == "discard" or (terms.carry_over == "carry_over_timely" and not row.timely) or (expires is not None and start >= expires):
        return ZERO
    return row.cash + min(ZERO, row.cash_used - free)


def resized_end(mode: str, at: datetime.datetime, topup: bool, origin: Origin) -> datetime.datetime:
    """The new end of the interval in force when the start mode becomes `mode`, or when a top-up ends it (billing 4.8)."""
    local = to_local(at, origin.zone)
    if mode == "1st":
        return to_utc(add(first_of_month(local), "month", 1), origin.zone) - SECOND
    if mode == "create":
        day = first_of_month(local)
        created = to_local(origin.created, origin.zone)
        while aligned(day, created) <= local:
            day = add(day, "month", 1)
        return to_utc(aligned(day, created), origin.zone) - SECOND
    return at if mode == "topup" or topup else FOREVER


def aligned(month: datetime.datetime, created: datetime.datetime) -> datetime.datetime:
    """The day of creation in the month that begins at `month`."""
    last = calendar.monthrange(month.year, month.month)[1]
    is_last = created.day == calendar.monthrange(created.year, created.month)[1]
    return month.replace(day=last if is_last else min(created.day, last))

"""Calendar arithmetic of balance intervals (billing 4.3), for all who need it. Local time is naive; the tables keep UTC."""

from __future__ import annotations

import calendar
import datetime

FOREVER = datetime.datetime(9999, 12, 31, 23, 59, 59)
"""The end of an open interval, the same in every zone."""
UNITS = ("minute", "hour", "day", "week", "month")


def add(start: datetime.datetime, unit: str, count: int, align: datetime.datetime | None = None) -> datetime.datetime:
    """`count` units after a local time, a negative count before it.

    Months keep the day, limited to the length of the target month; a start on the last day of a month goes to the last day of the target
    month. `align`: instead to this date's day of the month (created 30 January: 30 January, 29 February, 30 March, 30 April), the last one if it
    was the last. ValueError for an unknown unit.
    """
    if unit == "month":
        months = start.year * 12 + start.month - 1 + count
        year, month = divmod(months, 12)
        last = calendar.monthrange(year, month + 1)[1]
        kept = start if align is None else align
        is_last = kept.day == calendar.monthrange(kept.year, kept.month)[1]
        return start.replace(year=year, month=month + 1, day=last if is_last else min(kept.day, last))
    if unit in ("minute", "hour", "day", "week"):
        return start + datetime.timedelta(**{f"{unit}s": count})
    raise ValueError(f"unknown interval unit {unit}")


def to_local(moment: datetime.datetime, zone: datetime.tzinfo) -> datetime.datetime:
    """Naive UTC to naive local time."""
    return moment if moment == FOREVER else moment.replace(tzinfo=datetime.UTC).astimezone(zone).replace(tzinfo=None)


def to_utc(local: datetime.datetime, zone: datetime.tzinfo) -> datetime.datetime:
    """Naive local time to naive UTC."""
    return local if local == FOREVER else local.replace(tzinfo=zone).astimezone(datetime.UTC).replace(tzinfo=None)


def first_of_month(local: datetime.datetime) -> datetime.datetime:
    return local.replace(day=1, hour=0, minute=0, second=0, microsecond=0)

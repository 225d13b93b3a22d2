"""Billing profiles, zones and fees (data model 3, REST API 1.10)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import lifecycle, schedule, units
from ngcpd.provisioning.csvfile import csv_lines
from ngcpd.provisioning.env import FEE_COLUMNS
from ngcpd.provisioning.errors import Invalid, Plain
from ngcpd.provisioning.fields import (
    Array,
    Bool,
    Choice,
    Enum,
    Field,
    Int,
    Moment,
    Number,
    Object,
    Ref,
    Regex,
    Text,
    TimeOfDay,
    mail_list,
    parse_fields,
)
from ngcpd.provisioning.query import find, visible
from ngcpd.provisioning.resource import CHANGE, ID, Child, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.store import changes
from ngcpd.store.db import insert, now
from ngcpd.store.tables.billing import billing_fee, billing_mapping, billing_profile, billing_zone
from ngcpd.store.tables.packages import package_profile, peaktime_special, peaktime_weekday
from ngcpd.store.tables.tenancy import contract

FROZEN = ("interval_charge", "interval_free_time", "interval_free_cash")
LOCKS = Choice((0, 1, 2, 3, 4, 5))
FREE = Number(6, Decimal(0))
RATE = Number(14, Decimal(-999_999), Decimal(999_999))


# --------------------------------------------------------------------------------------------------------------------- profiles
def check_profile(work: Work, values: Values, row: Row | None) -> None:
    """Off-peak times that do not overlap; what contracts rely on does not change."""
    _weekdays(values.get("peaktime_weekdays") or [])
    _specials(values.get("peaktime_special") or [])
    if row is None:
        return
    linked = sa.select(contract.c.id).join(billing_mapping, billing_mapping.c.contract_id == contract.c.id)
    linked = linked.where(billing_mapping.c.profile_id == row["id"], contract.c.status != "terminated").limit(1)
    if work.conn.scalar(linked) is not None:
        for name in FROZEN:
            if Decimal(values[name] or 0) != Decimal(row[name]):
                raise Invalid([(name, values[name], f"{name} cannot be changed (contract(s) exist for this profile)")])
    if values["status"] == "terminated":
        needed = linked.where(sa.or_(billing_mapping.c.end_at.is_(None), billing_mapping.c.end_at >= now(work.conn)))
        packaged = sa.select(package_profile.c.id).where(package_profile.c.profile_id == row["id"]).limit(1)
        if row["id"] == 1:
            raise Plain("status", "The default billing profile cannot be terminated.", "refused")
        if work.conn.scalar(needed) is not None or work.conn.scalar(packaged) is not None:
            raise Plain("status", "Cannot terminate billing_profile that is still used by contracts or profile packages", "refused")
        values["terminated_at"] = now(work.conn)


def _weekdays(entries: list[Doc]) -> None:
    by_day: dict[int, list[tuple[str, str]]] = {}
    for entry in entries:
        start, stop = entry["start"] or "00:00:00", entry["stop"] or "23:59:59"
        if start >= stop:
            raise Invalid([("peaktime_weekdays", f"{start}-{stop}", "'start' must be before 'stop'")])
        by_day.setdefault(entry["weekday"], []).append((start, stop))
    for day, ranges in by_day.items():
        ranges.sort()
        if any(later[0] <= earlier[1] for earlier, later in itertools.pairwise(ranges)):
            raise Invalid([("peaktime_weekdays", day, "time ranges of a day must not overlap")])


def _specials(entries: list[Doc]) -> None:
    ranges = sorted((entry["start"], entry["stop"]) for entry in entries)
    for start, stop in ranges:
        if start >= stop:
            raise Invalid([("peaktime_special", str(start), "'start' must be before 'stop'")])
    if any(later[0] <= earlier[1] for earlier, later in itertools.pairwise(ranges)):
        raise Invalid([("peaktime_special", str(ranges[0][0]), "date ranges must not overlap")])


def update_profile(work: Work, row: Row, values: Values) -> None:
    units._update(work, PROFILES, row, values)
    if "terminated_at" in values:
        units.update_row(work, billing_profile, row["id"], {"terminated_at": values["terminated_at"]})
    if bool(values["prepaid"]) != bool(row["prepaid"]):
        mapped = work.conn.scalars(sa.select(billing_mapping.c.contract_id).where(billing_mapping.c.profile_id == row["id"]).distinct())
        contracts = list(mapped)
        at = now(work.conn)
        current = {key: schedule.in_force(found, at) for key, found in schedule.load(work.conn, contracts).items()}
        lifecycle.sync_prepaid(work, [key for key, m in current.items() if m is not None and m["profile_id"] == row["id"]])


def _fraud(kind: str) -> tuple[Field, ...]:
    return (
        Field(f"fraud_{kind}_limit", Int(0), nullable=True, help="Cents that may be spent, null = no limit"),
        Field(f"fraud_{kind}_lock", LOCKS, nullable=True, help="Lock level when more is spent; null or 0 = only tell"),
        Field(f"fraud_{kind}_notify", Text(255, check=mail_list), nullable=True, help="Mail addresses to tell, separated by commas"),
    )


PROFILES = Resource(
    name="billingprofiles",
    entity="billingprofile",
    help="A billing profile: prices by zone, free units, off-peak times, limits against fraud.",
    table=billing_profile,
    where=(billing_profile.c.status != "terminated",),
    scope=billing_profile.c.reseller_id,
    fields=(
        ID,
        Field("reseller_id", Ref("resellers"), required=True, own=True, fixed=True, help="Reseller it belongs to; cannot change"),
        Field("handle", Text(63, pattern=r"\w+", wrong="Only word characters are allowed"), required=True, help="Short name, unique per reseller"),
        Field("name", Text(31), required=True, help="Name, unique per reseller"),
        Field("prepaid", Bool(), default=False, help="Calls are paid in advance"),
        Field("interval_charge", FREE, default=Decimal(0), help="Charge of an interval, in currency units"),
        Field("interval_free_time", Int(0), default=0, help="Free seconds in an interval"),
        Field("interval_free_cash", FREE, default=Decimal(0), help="Free cents in an interval"),
        *_fraud("interval"),
        *_fraud("daily"),
        Field("fraud_use_reseller_rates", Bool(), default=False, help="Limits count the reseller's cost"),
        Field("currency", Text(31), nullable=True, help="Currency"),
        Field("status", Enum(("active", "terminated")), default="active", help="terminated ends it"),
        Field(
            "peaktime_weekdays",
            Array(
                Object(
                    (
                        Field("weekday", Int(0, 6), required=True, help="0 = Monday"),
                        Field("start", TimeOfDay(), nullable=True, help="From"),
                        Field("stop", TimeOfDay(), nullable=True, help="To"),
                    )
                ),
                1000,
            ),
            help="Off-peak hours of a week",
        ),
        Field(
            "peaktime_special",
            Array(Object((Field("start", Moment(), required=True, help="From"), Field("stop", Moment(), required=True, help="To"))), 10_000),
            help="Off-peak periods",
        ),
    ),
    children={"peaktime_weekdays": Child(peaktime_weekday, "profile_id"), "peaktime_special": Child(peaktime_special, "profile_id")},
    filters=(Filter("reseller_id"), Filter("handle", "like"), Filter("name", "like")),
    links=(
        Link("billingfees", filter="billing_profile_id"),
        Link("billingzones", filter="billing_profile_id"),
        Link("resellers", field="reseller_id"),
    ),
    item=CHANGE,
    journal=True,
    unique=(("reseller_id", "name"), ("reseller_id", "handle")),
    notices=(("billing_profile", "id"),),
    check=check_profile,
    update=update_profile,
    example={"reseller_id": 1, "handle": "gold2016", "name": "Gold 2016"},
)


# ------------------------------------------------------------------------------------------------------------------------ zones
def delete_zone(work: Work, row: Row) -> None:
    """With every fee in it. Rows stay for the call records that point to them."""
    gone = {"deleted_at": now(work.conn)}
    work.conn.execute(sa.update(billing_fee).where(billing_fee.c.zone_id == row["id"], billing_fee.c.deleted_at.is_(None)).values(**gone))
    work.conn.execute(sa.update(billing_zone).where(billing_zone.c.id == row["id"]).values(**gone))


def check_zone(work: Work, values: Values, row: Row | None) -> None:
    """(profile, zone, detail) is unique, an absent detail counting like any other."""
    where = [
        billing_zone.c.profile_id == values["billing_profile_id"],
        billing_zone.c.zone == values["zone"],
        billing_zone.c.detail.is_(None) if values.get("detail") is None else billing_zone.c.detail == values["detail"],
        billing_zone.c.deleted_at.is_(None),
    ]
    if row is not None:
        where.append(billing_zone.c.id != row["id"])
    if work.conn.scalar(sa.select(billing_zone.c.id).where(*where)) is not None:
        raise Invalid([("zone", values["zone"], "A billingzone with this zone and detail already exists")])


ZONES = Resource(
    name="billingzones",
    entity="billingzone",
    help="A zone of a billing profile: a name for destinations on invoices.",
    table=billing_zone,
    source=billing_zone.join(billing_profile, billing_profile.c.id == billing_zone.c.profile_id),
    where=(billing_zone.c.deleted_at.is_(None), billing_profile.c.status != "terminated"),
    scope=billing_profile.c.reseller_id,
    fields=(
        ID,
        Field("billing_profile_id", Ref("billingprofiles"), required=True, column="profile_id", help="Billing profile"),
        Field("zone", Text(127), required=True, help="Name"),
        Field("detail", Text(127), nullable=True, help="Further name"),
    ),
    filters=(Filter("billing_profile_id", "int", billing_zone.c.profile_id), Filter("zone", "contains")),
    links=(Link("billingfees", filter="billing_zone_id"), Link("billingprofiles", field="billing_profile_id")),
    journal=True,
    notices=(("billing_profile", "profile_id"), ("billing_profile", "billing_profile_id")),
    check=check_zone,
    delete=delete_zone,
    example={"billing_profile_id": 1, "zone": "Austria", "detail": "Mobile"},
)


# ------------------------------------------------------------------------------------------------------------------------- fees
def check_fee(work: Work, values: Values, row: Row | None) -> None:
    """Zone by id, or by name and made on demand; the fee's key is unique in its profile."""
    profile_id, zone_id = values["billing_profile_id"], values.get("billing_zone_id")
    name, detail = values.pop("billing_zone_zone", None), values.pop("billing_zone_detail", None)
    if name is not None and (row is None or zone_id is None or (name, detail) != (row["zone"], row["detail"])):
        values["billing_zone_id"] = _zone(work, profile_id, name, detail)
    elif zone_id is None:
        raise Invalid([("billing_zone_id", None, "billing_zone_id field is required")])
    else:
        owner = work.conn.scalar(sa.select(billing_zone.c.profile_id).where(billing_zone.c.id == zone_id, billing_zone.c.deleted_at.is_(None)))
        if owner != profile_id:
            raise Invalid([("billing_zone_id", zone_id, "Invalid 'billing_zone_id': the zone belongs to another billing profile")])
    if values.pop("purge_existing", None):
        work.conn.execute(_purge(work, profile_id))
    values["type"] = "call"


def _purge(work: Work, profile_id: int) -> sa.Update:
    living = (billing_fee.c.profile_id == profile_id, billing_fee.c.deleted_at.is_(None))
    return sa.update(billing_fee).where(*living).values(deleted_at=now(work.conn))


def _zone(work: Work, profile_id: int, name: str, detail: str | None) -> int:
    where = (
        billing_zone.c.profile_id == profile_id,
        billing_zone.c.zone == name,
        billing_zone.c.detail.is_(None) if detail is None else billing_zone.c.detail == detail,
        billing_zone.c.deleted_at.is_(None),
    )
    found = work.conn.scalar(sa.select(billing_zone.c.id).where(*where))
    if found is not None:
        return int(found)
    at = now(work.conn)
    return insert(work.conn, billing_zone, profile_id=profile_id, zone=name, detail=detail, created_at=at, modified_at=at)


def insert_fee(work: Work, values: Values) -> int:
    at = now(work.conn)
    return insert(work.conn, billing_fee, **_fee_columns(values), type="call", valid_from=at, created_at=at, modified_at=at)


def update_fee(work: Work, row: Row, values: Values) -> None:
    units.update_row(work, billing_fee, row["id"], _fee_columns(values))


def _fee_columns(values: Values) -> Doc:
    renamed = {"billing_profile_id": "profile_id", "billing_zone_id": "zone_id"}
    found = {renamed.get(name, name): value for name, value in values.items()}
    return {name: value for name, value in found.items() if name in billing_fee.c and name not in ("id", "type")}


def delete_fee(work: Work, row: Row) -> None:
    work.conn.execute(sa.update(billing_fee).where(billing_fee.c.id == row["id"]).values(deleted_at=now(work.conn)))


def upload_fees(work: Work, query: Mapping[str, str], text: str) -> list[int]:
    """Lines of fees: bad ones are left out (their numbers), existing fees and the first of several lines win."""
    profile_id = _profile_of(work, query)
    if query.get("purge_existing", "").lower() in ("true", "1"):
        work.conn.execute(_purge(work, profile_id))
    living = (billing_fee.c.profile_id == profile_id, billing_fee.c.deleted_at.is_(None))
    key_columns = (billing_fee.c.source, billing_fee.c.destination, billing_fee.c.direction)
    seen = {tuple(row) for row in work.conn.execute(sa.select(*key_columns).where(*living))}
    zones: dict[tuple[str, str | None], int] = {}
    at, rows, skipped = now(work.conn), [], []
    stamp = {"created_at": at, "modified_at": at}
    for number, line in csv_lines(text):
        values = _line(work, line)
        if values is None:
            skipped.append(number)
            continue
        key = (values["source"], values["destination"], values["direction"])
        if key in seen:
            continue
        seen.add(key)
        zone = (values.pop("zone"), values.pop("zone_detail"))
        if zone not in zones:
            zones[zone] = _zone(work, profile_id, *zone)
        rows.append({**values, "profile_id": profile_id, "zone_id": zones[zone], "type": "call", "valid_from": at, **stamp})
    for start in range(0, len(rows), 1000):
        work.conn.execute(sa.insert(billing_fee), rows[start : start + 1000])
    changes.note(work.conn, "billing_profile", profile_id)
    return skipped


def _profile_of(work: Work, query: Mapping[str, str]) -> int:
    given = query.get("billing_profile_id")
    if (
        given is None
        or not given.isascii()
        or not given.isdigit()
        or len(given) > 9
        or int(given) not in visible(work, "billingprofiles", [int(given)])
    ):
        raise Invalid([("billing_profile_id", given, "Invalid 'billing_profile_id'")])
    return int(find(work, PROFILES, int(given), lock=True)["id"])


def _line(work: Work, line: list[str]) -> Doc | None:
    """One line as values, None when it cannot be used."""
    columns = work.env.rules.fee_columns
    if len(line) != len(columns):
        return None
    given = dict(zip(columns, (part.strip() for part in line), strict=True))
    if not given.get("zone"):
        return None
    errors: list[tuple[str, Any, str]] = []
    fields = [f for f in FEES.fields if f.name in FEE_COLUMNS]
    values = parse_fields(fields, {k: v for k, v in given.items() if v != ""}, work.env.zone, errors)
    zone, detail = given["zone"], given.get("zone_detail") or None
    if errors or len(zone) > 127 or len(detail or "") > 127:
        return None
    return {**values, "zone": zone, "zone_detail": detail}


def _rates(peak: str, part: str) -> tuple[Field, Field]:
    return (
        Field(f"{peak}_{part}_rate", RATE, default=Decimal(0), help="Cents per second; negative is a credit"),
        Field(f"{peak}_{part}_interval", Int(1), default=60, help="Seconds per unit"),
    )


FEES = Resource(
    name="billingfees",
    entity="billingfee",
    help="A fee of a billing profile: what calls to destinations cost.",
    table=billing_fee,
    source=billing_fee.join(billing_profile, billing_profile.c.id == billing_fee.c.profile_id).outerjoin(
        billing_zone, billing_zone.c.id == billing_fee.c.zone_id
    ),
    where=(billing_fee.c.deleted_at.is_(None), billing_profile.c.status != "terminated"),
    scope=billing_profile.c.reseller_id,
    extra={"zone": billing_zone.c.zone, "detail": billing_zone.c.detail},
    fields=(
        ID,
        Field("billing_profile_id", Ref("billingprofiles"), required=True, column="profile_id", help="Billing profile"),
        Field("billing_zone_id", Ref("billingzones"), nullable=True, column="zone_id", help="Zone; or its names"),
        Field("billing_zone_zone", Text(127), nullable=True, write_only=True, column=None, help="Name of the zone, made when there is none"),
        Field("billing_zone_detail", Text(127), nullable=True, write_only=True, column=None, help="Further name of the zone"),
        Field("source", Regex(255), default=".", help="Regular expression on the caller"),
        Field("destination", Regex(255), required=True, help="Regular expression on the callee"),
        Field("direction", Enum(("in", "out")), default="out", help="out: the caller pays, in: the callee"),
        *(f for peak in ("onpeak", "offpeak") for part in ("init", "follow") for f in _rates(peak, part)),
        Field("use_free_time", Bool(), default=False, help="Free seconds may pay for it"),
        Field("purge_existing", Bool(), write_only=True, default=False, column=None, help="Deletes all fees of the profile first"),
    ),
    filters=(Filter("billing_profile_id", "int", billing_fee.c.profile_id), Filter("billing_zone_id", "int", billing_fee.c.zone_id)),
    links=(Link("billingprofiles", field="billing_profile_id"), Link("billingzones", field="billing_zone_id")),
    unique=(("billing_profile_id", "source", "direction", "destination"),),
    unique_where=(billing_fee.c.deleted_at.is_(None),),
    notices=(("billing_profile", "profile_id"), ("billing_profile", "billing_profile_id")),
    check=check_fee,
    create=insert_fee,
    update=update_fee,
    delete=delete_fee,
    bulk=upload_fees,
    example={"billing_profile_id": 1, "billing_zone_zone": "Austria", "destination": "^43", "onpeak_init_rate": 0.02, "onpeak_init_interval": 60},
)

RESOURCES = [PROFILES, ZONES, FEES]

"""Profile packages (data model 3, billing 6.1)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import units
from ngcpd.provisioning.errors import Invalid, Plain
from ngcpd.provisioning.fields import Array, Choice, Enum, Field, Int, Number, Object, Ref, Text
from ngcpd.provisioning.query import CHUNK, pattern
from ngcpd.provisioning.resource import ID, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.store.tables.billing import billing_network, billing_profile
from ngcpd.store.tables.packages import CARRY_OVER, START_MODES, UNITS, package_profile, profile_package, voucher
from ngcpd.store.tables.tenancy import contract

LISTS = {"initial_profiles": "initial", "underrun_profiles": "underrun", "topup_profiles": "topup"}
INTERVAL = ("balance_interval_unit", "balance_interval_value", "balance_interval_start_mode")
CENTS = Number(6)
LOCK = Choice((0, 1, 2, 3, 4, 5))
ENTRY = Object(
    (
        Field("profile_id", Ref("billingprofiles"), required=True, help="Billing profile"),
        Field("network_id", Ref("billingnetworks"), nullable=True, help="Only for calls out of this network"),
    )
)


def check_package(work: Work, values: Values, row: Row | None) -> None:
    """Profiles of the package's reseller that agree, rules that are whole; the interval of a package that customers have does not change
    (billing 6.1)."""
    for name in LISTS:
        if name in values:
            _agree(work, name, values[name] or [], values["reseller_id"])
    if all(entry.get("network_id") is not None for entry in values["initial_profiles"]):
        raise Invalid([("initial_profiles", None, "An initial billing profile mapping with no billing network is required.")])
    needs = (
        ("timely_duration_unit", values.get("carry_over_mode") == "carry_over_timely"),
        ("timely_duration_value", values.get("carry_over_mode") == "carry_over_timely"),
        ("underrun_lock_threshold", values.get("underrun_lock_level") is not None),
        ("underrun_profile_threshold", bool(values.get("underrun_profiles"))),
    )
    for name, needed in needs:
        if needed and values.get(name) is None:
            raise Invalid([(name, None, f"{name} field is required with the other rules of the package")])
    if row is not None:
        _frozen(work, values, row)


def _frozen(work: Work, values: Values, row: Row) -> None:
    """What customers live by stays while they have the package."""
    having = sa.select(sa.func.count()).where(contract.c.profile_package_id == row["id"], contract.c.status != "terminated")
    used = work.conn.scalar(having) or 0
    for name in (*INTERVAL, "reseller_id"):
        if used and values[name] != row[name]:
            raise Invalid([(name, values[name], f"{name} cannot be changed (package linked to {used} contracts).")])


def _agree(work: Work, name: str, entries: list[Doc], reseller_id: int) -> None:
    wanted = {entry["profile_id"] for entry in entries}
    profile = billing_profile.c
    columns = (profile.id, profile.reseller_id, profile.status, profile.prepaid, profile.interval_free_cash, profile.interval_free_time)
    rows = work.conn.execute(sa.select(*columns).where(profile.id.in_(wanted))).all()
    for row in rows:
        if row.reseller_id != reseller_id or row.status != "active":
            raise Invalid([(name, row.id, "Invalid 'profile_id': the billing profile is terminated or belongs to another reseller")])
    texts = (
        ("prepaid", "Mixing prepaid and post-paid billing profiles is not supported"),
        ("interval_free_cash", "Profiles are supposed to have the same interval_free_cash value"),
        ("interval_free_time", "Profiles are supposed to have the same interval_free_time value"),
    )
    for trait, text in texts:
        if len({getattr(row, trait) for row in rows}) > 1:
            raise Invalid([(name, None, text)])
    networks = {entry["network_id"] for entry in entries if entry.get("network_id") is not None}
    usable = sa.and_(billing_network.c.reseller_id == reseller_id, billing_network.c.status == "active")
    foreign = sa.select(billing_network.c.id).where(billing_network.c.id.in_(networks), sa.not_(usable))
    if networks and work.conn.scalar(foreign.limit(1)) is not None:
        raise Invalid([(name, None, "Invalid 'network_id': the billing network is terminated or belongs to another reseller")])


def create_package(work: Work, values: Values) -> int:
    key = units._insert(work, PACKAGES, values)
    _write(work, key, values)
    return key


def update_package(work: Work, row: Row, values: Values) -> None:
    units._update(work, PACKAGES, row, values)
    work.conn.execute(sa.delete(package_profile).where(package_profile.c.package_id == row["id"]))
    _write(work, row["id"], values)


def _write(work: Work, key: int, values: Values) -> None:
    rows = [
        {"package_id": key, "discriminator": kind, "profile_id": entry["profile_id"], "network_id": entry.get("network_id")}
        for name, kind in LISTS.items()
        for entry in values.get(name) or ()
    ]
    if rows:
        work.conn.execute(sa.insert(package_profile), rows)


def delete_package(work: Work, row: Row) -> None:
    """Not while customers or vouchers have it."""
    customers = sa.select(contract.c.id).where(contract.c.profile_package_id == row["id"], contract.c.status != "terminated").limit(1)
    if work.conn.scalar(customers) is not None:
        raise Plain("id", "Profile package is still in use by contracts.", "in_use")
    if work.conn.scalar(sa.select(voucher.c.id).where(voucher.c.package_id == row["id"]).limit(1)) is not None:
        raise Plain("id", "Profile package is still in use by vouchers.", "in_use")
    work.conn.execute(sa.delete(profile_package).where(profile_package.c.id == row["id"]))


def show_package(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    keys = [row["id"] for row in rows]
    found: dict[tuple[int, str], list[Doc]] = {}
    for at in range(0, len(keys), CHUNK):
        query = sa.select(package_profile).where(package_profile.c.package_id.in_(keys[at : at + CHUNK])).order_by(package_profile.c.id)
        for row in work.conn.execute(query):
            found.setdefault((row.package_id, row.discriminator), []).append({"profile_id": row.profile_id, "network_id": row.network_id})
    for doc, key in zip(docs, keys, strict=True):
        for name, kind in LISTS.items():
            doc[name] = found.get((key, kind), [])
        doc["_profiles"] = sorted({e["profile_id"] for name in LISTS for e in doc[name]})
        doc["_networks"] = sorted({e["network_id"] for name in LISTS for e in doc[name] if e["network_id"] is not None})


def _named(table: sa.Table, column: Any) -> Any:
    def where(work: Work, text: str) -> sa.ColumnElement[bool]:
        named = sa.select(package_profile.c.package_id).join(table, table.c.id == column)
        return profile_package.c.id.in_(named.where(table.c.name.ilike(pattern(text), escape="\\")))

    return where


PACKAGES = Resource(
    name="profilepackages",
    entity="profilepackage",
    help="A profile package: billing profiles and rules of the balance of customers.",
    table=profile_package,
    scope=profile_package.c.reseller_id,
    fields=(
        ID,
        Field("reseller_id", Ref("resellers"), required=True, own=True, help="Reseller it belongs to"),
        Field("name", Text(255), required=True, help="Name, unique per reseller"),
        Field("description", Text(255), required=True, help="Description"),
        Field("initial_balance", CENTS, default=Decimal(0), help="Cents at the start"),
        Field("service_charge", CENTS, default=Decimal(0), help="Cents taken from each top-up"),
        Field("initial_profiles", Array(ENTRY, 1000, 1), required=True, column=None, help="In force when the package is given"),
        Field("underrun_profiles", Array(ENTRY, 1000), column=None, help="In force below the threshold"),
        Field("topup_profiles", Array(ENTRY, 1000), column=None, help="In force after a top-up"),
        Field("balance_interval_unit", Enum(UNITS), required=True, help="Unit of the balance interval"),
        Field("balance_interval_value", Int(1), required=True, help="Its length in units"),
        Field("balance_interval_start_mode", Enum(START_MODES), required=True, help="When intervals begin"),
        Field("carry_over_mode", Enum(CARRY_OVER), default="carry_over", help="What becomes of the rest of an interval"),
        Field("timely_duration_unit", Enum(UNITS), nullable=True, help="Unit of the time before the end in which a top-up is timely"),
        Field("timely_duration_value", Int(1), nullable=True, help="Its length"),
        Field("notopup_discard_intervals", Int(1), nullable=True, help="Intervals without top-up until the balance is discarded"),
        Field("underrun_lock_threshold", CENTS, nullable=True, help="Cents below which subscribers are locked"),
        Field("underrun_lock_level", LOCK, nullable=True, help="Lock level then"),
        Field("underrun_profile_threshold", CENTS, nullable=True, help="Cents below which the underrun profiles come into force"),
        Field("topup_lock_level", LOCK, nullable=True, help="Lock level after a top-up, null = as before"),
    ),
    filters=(
        Filter("reseller_id"),
        Filter("name", "like"),
        Filter("profile_name", "custom", where=_named(billing_profile, package_profile.c.profile_id)),
        Filter("network_name", "custom", where=_named(billing_network, package_profile.c.network_id)),
    ),
    links=(Link("billingprofiles", field="_profiles"), Link("billingnetworks", field="_networks"), Link("resellers", field="reseller_id")),
    priority="P2",
    unique=(("reseller_id", "name"),),
    check=check_package,
    create=create_package,
    update=update_package,
    delete=delete_package,
    show=show_package,
    example={
        "reseller_id": 1,
        "name": "starter",
        "description": "starter",
        "initial_profiles": [{"profile_id": 1}],
        "balance_interval_unit": "month",
        "balance_interval_value": 1,
        "balance_interval_start_mode": "1st",
    },
)

RESOURCES = [PACKAGES]

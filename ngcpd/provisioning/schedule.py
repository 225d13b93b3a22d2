"""Which billing profile applies to a contract from when to when (REST API 2.2, data model 3 billing_mappings)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import query
from ngcpd.provisioning.errors import Invalid
from ngcpd.provisioning.fields import Array, Field, Moment, Object, Ref
from ngcpd.provisioning.resource import Doc, Row, Values, Work
from ngcpd.store.db import now
from ngcpd.store.tables.billing import billing_mapping, billing_network, billing_profile
from ngcpd.store.tables.packages import package_profile

MODES = ("id", "profiles", "package")
ENTRY = (
    Field("profile_id", Ref("billingprofiles"), required=True, help="Billing profile"),
    Field("start", Moment(), nullable=True, help="From when, in the future; without it at once"),
    Field("stop", Moment(), nullable=True, help="Until when; without it for good"),
)
NETWORK_ENTRY = (ENTRY[0], Field("network_id", Ref("billingnetworks"), nullable=True, help="Only for calls out of this network"), *ENTRY[1:])
HISTORY = (
    Field("profile_id", Ref("billingprofiles"), read_only=True),
    Field("network_id", Ref("billingnetworks"), read_only=True, nullable=True),
    Field("start", Moment(), read_only=True, nullable=True),
    Field("stop", Moment(), read_only=True, nullable=True),
    Field("effective_start_time", Moment(), read_only=True, nullable=True),
)


def fields(networks: bool) -> tuple[Field, ...]:
    """The fields of a schedule in a document."""
    entry = NETWORK_ENTRY if networks else ENTRY
    return (
        Field("billing_profile_id", Ref("billingprofiles"), nullable=True, column=None, help="Profile in force"),
        Field("billing_profiles", Array(Object(entry), 1000), column=None, help="Entries to come"),
        Field("all_billing_profiles", Array(Object(HISTORY)), read_only=True, column=None, help="All entries, past ones too"),
    )


def in_force(mappings: Iterable[Row], at: datetime.datetime) -> Row | None:
    """The entry that applies now: latest start wins (none is earliest), then the highest id."""
    valid = [m for m in mappings if (m["start_at"] is None or m["start_at"] <= at) and (m["end_at"] is None or m["end_at"] >= at)]
    return max(valid, key=lambda m: (m["start_at"] or datetime.datetime.min, m["id"]), default=None)


def load(conn: sa.Connection, contracts: Sequence[int]) -> dict[int, list[Row]]:
    """All entries of contracts, in the order of their start."""
    found: dict[int, list[Row]] = {key: [] for key in contracts}
    for at in range(0, len(contracts), query.CHUNK):
        part = billing_mapping.c.contract_id.in_(contracts[at : at + query.CHUNK])
        for row in conn.execute(sa.select(billing_mapping).where(part).order_by(billing_mapping.c.id)).mappings():
            found[row["contract_id"]].append(row)
    for rows in found.values():
        rows.sort(key=lambda m: (m["start_at"] or datetime.datetime.min, m["id"]))
    return found


def chunks(keys: Sequence[int]) -> Iterable[Sequence[int]]:
    """Parts of a list of keys that fit into one statement."""
    return (keys[at : at + query.CHUNK] for at in range(0, len(keys), query.CHUNK))


def show(work: Work, docs: list[Doc], rows: Sequence[Row], networks: bool) -> None:
    """Fill the schedule's fields."""
    at, zone, moment = now(work.conn), work.env.zone, Moment()
    all_mappings = load(work.conn, [row["id"] for row in rows])
    for doc, row in zip(docs, rows, strict=True):
        mappings = all_mappings[row["id"]]
        current = in_force(mappings, at)

        def entry(m: Row) -> Doc:
            network = {"network_id": m["network_id"]} if networks else {}
            return {"profile_id": m["profile_id"], **network, "start": moment.show(m["start_at"], zone), "stop": moment.show(m["end_at"], zone)}

        doc["billing_profile_id"] = current["profile_id"] if current is not None else None
        doc["billing_profiles"] = [entry(m) for m in mappings if m["start_at"] is not None and m["start_at"] > at]
        doc["all_billing_profiles"] = [
            {**entry(m), "effective_start_time": moment.show(m["start_at"] or row["created_at"], zone)} for m in mappings
        ]
        doc["_networks"] = sorted({m["network_id"] for m in mappings if m["network_id"] is not None})


def plan(work: Work, values: Values, row: Row | None, reseller_id: int | None, modes: Sequence[str]) -> list[Doc]:
    """Check what was asked for; the entries to write, each profile_id, network_id, start_at, end_at. `values["_future"]` says that they replace
    those to come. Invalid."""
    mode = values.get("billing_profile_definition") or "id"
    if mode not in modes:
        raise Invalid([("billing_profile_definition", mode, f"'{mode}' is not a valid value")])
    at = now(work.conn)
    current = in_force(load(work.conn, [row["id"]])[row["id"]], at) if row is not None else None
    entries: list[Doc] = []
    if mode == "id":
        profile_id = values.get("billing_profile_id")
        if profile_id is None:
            raise Invalid([("billing_profile_id", None, "billing_profile_id field is required")])
        if current is None or current["profile_id"] != profile_id:
            entries = [{"profile_id": profile_id, "network_id": None, "start_at": None if row is None else at, "end_at": None}]
        _profiles(work, "billing_profile_id", entries, current, reseller_id)
    elif mode == "profiles":
        entries = _timed(values.get("billing_profiles"), row is None, at)
        _profiles(work, "billing_profiles", entries, current, reseller_id)
        values["_future"] = True
    else:
        entries = _package(work, values, row, at)
        _profiles(work, "profile_package_id", entries, None, reseller_id)
    return entries


def write(conn: sa.Connection, contract_id: int, entries: Sequence[Mapping[str, Any]], *, future: bool) -> None:
    """Add entries; with `future` those that have not begun give way to them."""
    if future:
        conn.execute(sa.delete(billing_mapping).where(billing_mapping.c.contract_id == contract_id, billing_mapping.c.start_at > now(conn)))
    if entries:
        conn.execute(sa.insert(billing_mapping), [{"contract_id": contract_id, **entry} for entry in entries])


# ---------------------------------------------------------------------------------------------------------------------- inside
def _timed(given: list[Doc] | None, new: bool, at: datetime.datetime) -> list[Doc]:
    if given is None:
        raise Invalid([("billing_profiles", None, "billing_profiles field is required")])
    open_entries = 0
    for entry in given:
        start, stop = entry.get("start"), entry.get("stop")
        if start is None and stop is None:
            if not new:
                raise Invalid([("billing_profiles", entry["profile_id"], "adding intervals without start and stop timestamps is not allowed")])
            open_entries += entry.get("network_id") is None
        elif start is None:
            raise Invalid([("billing_profiles", entry["profile_id"], "interval with 'stop' timestamp but no 'start' timestamp specified")])
        elif start <= at:
            raise Invalid([("billing_profiles", entry["profile_id"], "'start' timestamp is not in the future")])
        elif stop is not None and start >= stop:
            raise Invalid([("billing_profiles", entry["profile_id"], "'start' timestamp has to be before 'stop' timestamp")])
    if new and not open_entries:
        raise Invalid([("billing_profiles", None, "an initial interval without start, stop and network is required")])
    return [
        {"profile_id": e["profile_id"], "network_id": e.get("network_id"), "start_at": e.get("start"), "end_at": e.get("stop")} for e in given
    ]


def _package(work: Work, values: Values, row: Row | None, at: datetime.datetime) -> list[Doc]:
    package_id = values.get("profile_package_id")
    if package_id is None:
        if row is None:
            raise Invalid([("profile_package_id", None, "profile_package_id field is required")])
        return []
    if row is not None and row["profile_package_id"] == package_id:
        return []
    initial = (package_profile.c.package_id == package_id, package_profile.c.discriminator == "initial")
    found = work.conn.execute(sa.select(package_profile).where(*initial).order_by(package_profile.c.id)).mappings().all()
    start = None if row is None else at
    return [{"profile_id": p["profile_id"], "network_id": p["network_id"], "start_at": start, "end_at": None} for p in found]


def _profiles(work: Work, name: str, entries: Sequence[Doc], current: Row | None, reseller_id: int | None) -> None:
    """Profiles and networks exist, are active, belong to the reseller, and agree in being prepaid or not."""
    wanted = {e["profile_id"] for e in entries} | ({current["profile_id"]} if current is not None else set())
    columns = (billing_profile.c.id, billing_profile.c.reseller_id, billing_profile.c.status, billing_profile.c.prepaid)
    known = {row.id: row for row in work.conn.execute(sa.select(*columns).where(billing_profile.c.id.in_(wanted)))}
    for entry in entries:
        profile = known.get(entry["profile_id"])
        if profile is None or profile.status != "active":
            raise Invalid([(name, entry["profile_id"], "Invalid 'billing_profile_id'")])
        if reseller_id is not None and profile.reseller_id != reseller_id:
            text = "The reseller of the contact doesn't match the reseller of the billing profile"
            raise Invalid([(name, entry["profile_id"], text)])
        if entry["network_id"] is not None:
            _network(work, name, entry["network_id"], reseller_id)
    kinds = {bool(known[key].prepaid) for key in wanted if key in known} if entries else set()
    if len(kinds) > 1:
        raise Invalid([(name, entries[0]["profile_id"], "prepaid and postpaid billing profiles cannot be mixed")])


def _network(work: Work, name: str, key: int, reseller_id: int | None) -> None:
    found = work.conn.execute(
        sa.select(billing_network.c.reseller_id, billing_network.c.status).where(billing_network.c.id == key)
    ).one_or_none()
    if found is None or found.status != "active" or (reseller_id is not None and found.reseller_id not in (None, reseller_id)):
        raise Invalid([(name, key, "Invalid 'network_id'")])

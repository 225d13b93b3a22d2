"""Call forwards: destination sets, time sets, mappings, and the simple view of them (data model 9, REST API 2.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import forwards, units, values
from ngcpd.provisioning.errors import Invalid, Plain, ProvisioningError
from ngcpd.provisioning.fields import Array, Field, Int, Object, Text
from ngcpd.provisioning.query import CHUNK
from ngcpd.provisioning.resource import CHANGE, FULL_PATCH, ITEM, Child, Doc, Filter, Resource, Row, Values, Work
from ngcpd.provisioning.resources.features import below, view
from ngcpd.store import changes
from ngcpd.store.db import insert, now
from ngcpd.store.tables.features import FORWARDS, cf_destination, cf_destination_set, cf_mapping, cf_period, cf_time_set
from ngcpd.store.tables.identity import domain, number, subscriber

TIMEOUT = 300
PARTS = {"year": (1990, 3000), "month": (1, 12), "mday": (1, 31), "wday": (1, 8), "hour": (0, 23), "minute": (0, 59)}
_RANGE = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")
QUICK = "quickset_"
SHOWN = Text(255)

DESTINATION = Object(
    (
        Field("destination", Text(255), required=True, help="Number, user name, SIP URI or word (voicebox, fax2mail, conference, ...)"),
        Field("timeout", Int(1, 3600), default=TIMEOUT, help="Seconds to ring"),
        Field("priority", Int(0, 10_000), default=1, help="The lowest is tried first"),
        Field("simple_destination", SHOWN, read_only=True, help="The part before @"),
    )
)


def part(name: str) -> Text:
    """One part of a period: `n` or `a-b` within its limits."""
    low, high = PARTS[name]

    def check(field: str, value: str) -> str:
        found = _RANGE.fullmatch(value.replace(" ", ""))
        ends = [] if found is None else [int(v) for v in found.groups() if v is not None]
        if not ends or any(not low <= v <= high for v in ends) or (name == "wday" and ends[0] == 8):
            raise ProvisioningError(field, f"must be a number or a range from {low} to {high}")
        return value.replace(" ", "")

    return Text(16, check=check)


PERIOD = Object(tuple(Field(name, part(name), nullable=True, help=f"{low} to {high}, n or a-b") for name, (low, high) in PARTS.items()))


# -------------------------------------------------------------------------------------------------------------------------- sets
def owner(work: Work, subscriber_id: int) -> tuple[str, str]:
    """(number, domain) of a subscriber, for its destinations: the primary number, else the uuid."""
    query = (
        sa.select(subscriber.c.uuid, domain.c.name, number.c.e164)
        .join(domain, domain.c.id == subscriber.c.domain_id)
        .outerjoin(number, sa.and_(number.c.subscriber_id == subscriber.c.id, number.c.is_primary.is_(True)))
        .where(subscriber.c.id == subscriber_id)
    )
    row = work.conn.execute(query).first()
    assert row is not None
    return row.e164 or row.uuid, row.name


def check_destinations(work: Work, given: Values, row: Row | None) -> None:
    dialled, home = owner(work, given["subscriber_id"])
    for entry in given["destinations"]:
        entry["destination"] = forwards.destination("destinations_destination", entry["destination"], "", dialled, home)


def show_destinations(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    """In the order in which they are tried."""
    for doc in docs:
        doc["destinations"].sort(key=lambda entry: entry["priority"])
        for entry in doc["destinations"]:
            entry["simple_destination"] = forwards.simple(entry["destination"])


def delete_set(table: sa.Table) -> Callable[[Work, Row], None]:
    """With the mappings that use it (by the foreign keys)."""

    def delete(work: Work, row: Row) -> None:
        work.conn.execute(sa.delete(table).where(table.c.id == row["id"]))
        drop_ringtimeout(work, row["subscriber_id"])

    return delete


def drop_ringtimeout(work: Work, subscriber_id: int) -> None:
    """`ringtimeout` belongs to the forward on no answer within a time and goes with it."""
    left = (cf_mapping.c.subscriber_id == subscriber_id, cf_mapping.c.type == "cft")
    if work.conn.scalar(sa.select(cf_mapping.c.id).where(*left).limit(1)) is None:
        values.put(work.conn, "usr", subscriber_id, {"ringtimeout": None})


SET_FILTERS = (Filter("subscriber_id"), Filter("name", "like"))
SET_MORE: dict[str, Any] = {
    "patch": FULL_PATCH,
    "journal": True,
    "unique": (("subscriber_id", "name"),),
    "notices": (("forward", "subscriber_id"),),
    "filters": SET_FILTERS,
}

DESTINATION_SETS = below(
    "cfdestinationsets",
    "cfdestinationset",
    cf_destination_set,
    (
        Field("name", Text(255), required=True, help="Name, unique per subscriber"),
        Field("destinations", Array(DESTINATION, 100), required=True, help="Where to forward"),
    ),
    help="Destinations of call forwards of a subscriber.",
    children={"destinations": Child(cf_destination, "set_id")},
    check=check_destinations,
    show=show_destinations,
    delete=delete_set(cf_destination_set),
    example={"subscriber_id": 4, "name": "night", "destinations": [{"destination": "voicebox", "timeout": 300}]},
    **SET_MORE,
)

TIME_SETS = below(
    "cftimesets",
    "cftimeset",
    cf_time_set,
    (
        Field("name", Text(255), required=True, help="Name, unique per subscriber"),
        Field("times", Array(PERIOD, 100), required=True, help="Periods; all parts of one must match, one of them suffices"),
    ),
    help="Times at which call forwards of a subscriber are in force.",
    children={"times": Child(cf_period, "set_id")},
    delete=delete_set(cf_time_set),
    example={"subscriber_id": 4, "name": "afterhours", "times": [{"wday": "2-6", "hour": "18-23"}]},
    **SET_MORE,
)


# --------------------------------------------------------------------------------------------------------------------- mappings
def mappings(work: Work, keys: Sequence[int]) -> dict[int, list[Any]]:
    """Mappings of subscribers with the names of their sets, in order."""
    found: dict[int, list[Any]] = {key: [] for key in keys}
    columns = (*cf_mapping.c, cf_destination_set.c.name.label("destinationset"), cf_time_set.c.name.label("timeset"))
    for at in range(0, len(keys), CHUNK):
        query = (
            sa.select(*columns)
            .join(cf_destination_set, cf_destination_set.c.id == cf_mapping.c.destination_set_id)
            .outerjoin(cf_time_set, cf_time_set.c.id == cf_mapping.c.time_set_id)
            .where(cf_mapping.c.subscriber_id.in_(keys[at : at + CHUNK]))
            .order_by(cf_mapping.c.id)
        )
        for row in work.conn.execute(query):
            found[row.subscriber_id].append(row)
    return found


def ringtimeouts(work: Work, keys: Sequence[int]) -> dict[int, int | None]:
    """Preference `ringtimeout` of subscribers."""
    stored = values.get(work.conn, "usr", keys, ("ringtimeout",))
    return {key: int(found["ringtimeout"][0]) if found.get("ringtimeout") else None for key, found in stored.items()}


def show_mappings(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    keys = [row["id"] for row in rows]
    found, times = mappings(work, keys), ringtimeouts(work, keys)
    for doc, row in zip(docs, rows, strict=True):
        for kind in FORWARDS:
            doc[kind] = [{"destinationset": m.destinationset, "timeset": m.timeset} for m in found[row["id"]] if m.type == kind]
        doc["cft_ringtimeout"] = times[row["id"]]


def update_mappings(work: Work, row: Row, given: Values) -> None:
    """Replace all mappings; sets are named and must exist."""
    key, conn = row["id"], work.conn
    named = {
        "destinationset": dict(_names(work, cf_destination_set, key)),
        "timeset": dict(_names(work, cf_time_set, key)),
    }
    rows = []
    for kind in FORWARDS:
        for entry in given[kind]:
            for name in ("destinationset", "timeset"):
                if entry.get(name) is not None and entry[name] not in named[name]:
                    raise Invalid([(f"{kind}_{name}", entry[name], f"Invalid '{name}'")])
            sets = {
                "destination_set_id": named["destinationset"][entry["destinationset"]],
                "time_set_id": None if entry.get("timeset") is None else named["timeset"][entry["timeset"]],
            }
            rows.append({"subscriber_id": key, "type": kind, **sets})
    conn.execute(sa.delete(cf_mapping).where(cf_mapping.c.subscriber_id == key))
    for one in rows:
        insert(conn, cf_mapping, **one)
    seconds = given.get("cft_ringtimeout")
    values.put(conn, "usr", key, {"ringtimeout": str(seconds) if seconds and given["cft"] else None})


def _names(work: Work, table: sa.Table, subscriber_id: int) -> list[tuple[str, int]]:
    return [(row.name, row.id) for row in work.conn.execute(sa.select(table.c.name, table.c.id).where(table.c.subscriber_id == subscriber_id))]


MAPPING = Object(
    (
        Field("destinationset", Text(255), required=True, help="Name of a destination set"),
        Field("timeset", Text(255), nullable=True, help="Name of a time set, null = always"),
    )
)

MAPPINGS = view(
    "cfmappings",
    "cfmapping",
    (
        *(Field(kind, Array(MAPPING, 100), required=True, column=None, help=f"Mappings of {kind}") for kind in FORWARDS),
        Field("cft_ringtimeout", Int(1, 3600), nullable=True, column=None, help="Seconds to ring before cft"),
    ),
    help="Which destination sets are in force when, for a subscriber.",
    journal=True,
    notices=(("forward", "id"),),
    item=CHANGE,
    show=show_mappings,
    update=update_mappings,
)


# -------------------------------------------------------------------------------------------------------------------- simple view
def show_forwards(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    """A type with more than one mapping cannot be shown as an item; in a list it is left empty."""
    keys = [row["id"] for row in rows]
    found, times = mappings(work, keys), ringtimeouts(work, keys)
    sets = {m.destination_set_id for one in found.values() for m in one}
    periods = {m.time_set_id for one in found.values() for m in one if m.time_set_id is not None}
    targets, when = _entries(work, cf_destination, sets), _entries(work, cf_period, periods)
    for doc, row in zip(docs, rows, strict=True):
        for kind in FORWARDS:
            mine = [m for m in found[row["id"]] if m.type == kind]
            if len(mine) > 1:
                if len(rows) == 1:
                    raise Plain(kind, f"Cannot show or change {kind}: it has more than one mapping, use cfmappings", "refused")
                mine = []
            doc[kind] = {} if not mine else _forward(mine[0], targets, when)
            if mine and kind == "cft":
                doc[kind]["ringtimeout"] = times[row["id"]]


def _forward(mapping: Any, targets: dict[int, list[Any]], when: dict[int, list[Any]]) -> Doc:
    destinations = sorted(targets[mapping.destination_set_id], key=lambda d: d.priority)
    return {
        "destinations": [
            {
                "destination": d.destination,
                "timeout": d.timeout,
                "priority": d.priority,
                "simple_destination": forwards.simple(d.destination),
            }
            for d in destinations
        ],
        "times": [{name: getattr(p, name) for name in PARTS} for p in when.get(mapping.time_set_id, ())],
    }


def _entries(work: Work, table: sa.Table, keys: set[int]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {key: [] for key in keys}
    wanted = sorted(keys)
    for at in range(0, len(wanted), CHUNK):
        for row in work.conn.execute(sa.select(table).where(table.c.set_id.in_(wanted[at : at + CHUNK])).order_by(table.c.id)):
            found[row.set_id].append(row)
    return found


def update_forwards(work: Work, row: Row, given: Values) -> None:
    """Sets `quickset_TYPE` hold what is given; an empty forward goes with its sets."""
    key = row["id"]
    dialled, home = owner(work, key)
    for kind in FORWARDS:
        wanted = given.get(kind) or {}
        mine = [m for m in mappings(work, [key])[key] if m.type == kind]
        if len(mine) > 1:
            raise Plain(kind, f"Cannot show or change {kind}: it has more than one mapping, use cfmappings", "refused")
        work.conn.execute(sa.delete(cf_mapping).where(cf_mapping.c.subscriber_id == key, cf_mapping.c.type == kind))
        destinations = wanted.get("destinations") or []
        for entry in destinations:
            entry["destination"] = forwards.destination(f"{kind}_destinations_destination", entry["destination"], kind, dialled, home)
        target = _quickset(work, DESTINATION_SETS, key, kind, "destinations", destinations)
        periods = _quickset(work, TIME_SETS, key, kind, "times", (wanted.get("times") or []) if destinations else [])
        if target is not None:
            insert(work.conn, cf_mapping, subscriber_id=key, type=kind, destination_set_id=target, time_set_id=periods)
        if kind == "cft":
            if destinations and wanted.get("ringtimeout") is None:
                raise Invalid([("cft_ringtimeout", None, "ringtimeout field is required")])
            values.put(work.conn, "usr", key, {"ringtimeout": str(wanted["ringtimeout"]) if destinations else None})


def _quickset(work: Work, resource: Resource, subscriber_id: int, kind: str, name: str, entries: list[Doc]) -> int | None:
    """The set of that name with these entries; without entries it goes."""
    table = resource.table
    where = (table.c.subscriber_id == subscriber_id, table.c.name == QUICK + kind)
    found = work.conn.scalar(sa.select(table.c.id).where(*where))
    if not entries:
        if found is not None:
            work.conn.execute(sa.delete(table).where(table.c.id == found))
        return None
    if found is None:
        at = now(work.conn)
        found = insert(work.conn, table, subscriber_id=subscriber_id, name=QUICK + kind, created_at=at, modified_at=at)
    child = resource.children[name]
    work.conn.execute(sa.delete(child.table).where(child.table.c[child.parent] == found))
    units.write_children(work, resource, name, found, entries)
    return int(found)


def delete_forwards(work: Work, row: Row) -> None:
    """All four, with their quick sets."""
    key = row["id"]
    work.conn.execute(sa.delete(cf_mapping).where(cf_mapping.c.subscriber_id == key))
    for table in (cf_destination_set, cf_time_set):
        quick = [QUICK + kind for kind in FORWARDS]
        work.conn.execute(sa.delete(table).where(table.c.subscriber_id == key, table.c.name.in_(quick)))
    values.put(work.conn, "usr", key, {"ringtimeout": None})
    changes.note(work.conn, "forward", key)


def _forward_field(kind: str) -> Field:
    parts = [
        Field("destinations", Array(DESTINATION, 100), help="Where to forward; empty = not at all"),
        Field("times", Array(PERIOD, 100), help="When; empty = always"),
    ]
    if kind == "cft":
        parts.append(Field("ringtimeout", Int(1, 3600), nullable=True, help="Seconds to ring before it"))
    return Field(kind, Object(tuple(parts)), column=None, help=f"Forward {kind}")


CALL_FORWARDS = view(
    "callforwards",
    "callforward",
    tuple(_forward_field(kind) for kind in FORWARDS),
    help="The call forwards of a subscriber, in their simple form.",
    journal=True,
    notices=(("forward", "id"),),
    item=ITEM,
    show=show_forwards,
    update=update_forwards,
    delete=delete_forwards,
)

RESOURCES = [DESTINATION_SETS, TIME_SETS, MAPPINGS, CALL_FORWARDS]

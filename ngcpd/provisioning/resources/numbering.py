"""NCOS levels and number portability (data model 7, REST API 1.10)."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import values as stored_values
from ngcpd.provisioning.csvfile import csv_lines
from ngcpd.provisioning.errors import Invalid
from ngcpd.provisioning.fields import Bool, Day, Enum, Field, Ref, Regex, Text, parse_fields
from ngcpd.provisioning.resource import ID, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.store import changes
from ngcpd.store.db import insert, now
from ngcpd.store.tables.numbering import lnp_number, lnp_provider, ncos_level, ncos_lnp, ncos_pattern

NCOS_PREFERENCES = ("ncos", "adm_ncos", "adm_cf_ncos")
LAST_SECOND = datetime.time(23, 59, 59)


def delete_level(work: Work, row: Row) -> None:
    """With its patterns, and the preferences that name it."""
    stored_values.remove_reference(work.conn, NCOS_PREFERENCES, str(row["id"]))
    work.conn.execute(sa.delete(ncos_level).where(ncos_level.c.id == row["id"]))


LEVELS = Resource(
    name="ncoslevels",
    entity="ncoslevel",
    help="A class of service: which numbers may be called, or may not.",
    table=ncos_level,
    scope=ncos_level.c.reseller_id,
    fields=(
        ID,
        Field("reseller_id", Ref("resellers"), required=True, own=True, help="Reseller it belongs to"),
        Field("level", Text(31), required=True, help="Name, unique per reseller"),
        Field("mode", Enum(("whitelist", "blacklist")), required=True, help="whitelist: only what matches; blacklist: all but that"),
        Field("description", Text(255), nullable=True, help="Description"),
        Field("local_ac", Bool(), default=False, help="The caller's own area counts as a pattern"),
    ),
    filters=(Filter("reseller_id"), Filter("level", "like")),
    links=(Link("ncospatterns", filter="ncos_level_id"), Link("ncoslnpcarriers", filter="ncos_level_id"), Link("resellers", field="reseller_id")),
    unique=(("reseller_id", "level"),),
    notices=(("ncos", "id"),),
    delete=delete_level,
    example={"reseller_id": 1, "level": "no-premium", "mode": "blacklist"},
)

PATTERNS = Resource(
    name="ncospatterns",
    entity="ncospattern",
    help="A number pattern of a class of service.",
    table=ncos_pattern,
    source=ncos_pattern.join(ncos_level, ncos_level.c.id == ncos_pattern.c.ncos_level_id),
    scope=ncos_level.c.reseller_id,
    fields=(
        ID,
        Field("ncos_level_id", Ref("ncoslevels"), required=True, help="Class of service"),
        Field("pattern", Regex(255), required=True, help="Regular expression on the number, unique in its class"),
        Field("description", Text(255), nullable=True, help="Description"),
    ),
    filters=(Filter("ncos_level_id"),),
    links=(Link("ncoslevels", field="ncos_level_id"),),
    unique=(("ncos_level_id", "pattern"),),
    notices=(("ncos", "ncos_level_id"),),
    example={"ncos_level_id": 1, "pattern": "^43900", "description": "premium"},
)

LNP_CARRIERS_OF_LEVELS = Resource(
    name="ncoslnpcarriers",
    entity="ncoslnpcarrier",
    help="A carrier of ported numbers that a class of service names.",
    table=ncos_lnp,
    source=ncos_lnp.join(ncos_level, ncos_level.c.id == ncos_lnp.c.ncos_level_id),
    scope=ncos_level.c.reseller_id,
    fields=(
        ID,
        Field("ncos_level_id", Ref("ncoslevels"), required=True, help="Class of service"),
        Field("carrier_id", Ref("lnpcarriers"), required=True, column="provider_id", help="Carrier"),
        Field("description", Text(255), nullable=True, help="Description"),
    ),
    filters=(Filter("ncos_level_id"), Filter("carrier_id", "int", ncos_lnp.c.provider_id)),
    item_roles=("admin",),
    links=(Link("ncoslevels", field="ncos_level_id"), Link("lnpcarriers", field="carrier_id")),
    priority="P2",
    unique=(("ncos_level_id", "carrier_id"),),
    notices=(("ncos", "ncos_level_id"),),
    example={"ncos_level_id": 1, "carrier_id": 1},
)

CARRIERS = Resource(
    name="lnpcarriers",
    entity="lnpcarrier",
    help="A carrier to which numbers have been ported.",
    table=lnp_provider,
    roles=("admin",),
    fields=(
        ID,
        Field("name", Text(31), required=True, help="Name, unique"),
        Field("prefix", Text(31), required=True, help="Put before a called number of this carrier"),
    ),
    filters=(Filter("prefix", "like"), Filter("name", "like")),
    links=(Link("lnpnumbers", filter="carrier_id"),),
    priority="P2",
    unique=(("name",),),
    notices=(("lnp", "id"),),
    example={"name": "alps", "prefix": "D100"},
)


# ---------------------------------------------------------------------------------------------------------------------- numbers
def check_number(work: Work, values: Values, row: Row | None) -> None:
    """Dates become moments: from the first second of the first day to the last of the last."""
    start, end = values.get("start"), values.get("end")
    if start is not None and end is not None and end < start:
        raise Invalid([("end", str(end), "'end' must not be before 'start'")])
    values |= _moments(start, end)


def _moments(start: datetime.date | None, end: datetime.date | None) -> Doc:
    return {
        "start": None if start is None else datetime.datetime.combine(start, datetime.time()),
        "end": None if end is None else datetime.datetime.combine(end, LAST_SECOND),
    }


def upload_numbers(work: Work, query: Mapping[str, str], text: str) -> list[int]:
    """Lines of numbers; bad ones are left out (their numbers), carriers are made on demand."""
    if query.get("purge_existing", "").lower() in ("true", "1"):
        work.conn.execute(sa.delete(lnp_number))
        work.conn.execute(sa.delete(lnp_provider))
    carriers = {row.name: row.id for row in work.conn.execute(sa.select(lnp_provider.c.name, lnp_provider.c.id))}
    at, rows, skipped = now(work.conn), [], []
    for place, line in csv_lines(text):
        found = _line(work, line)
        if found is None:
            skipped.append(place)
            continue
        name, prefix, values = found
        if name not in carriers:
            carriers[name] = insert(work.conn, lnp_provider, name=name, prefix=prefix, created_at=at, modified_at=at)
        rows.append({**values, "provider_id": carriers[name], "created_at": at, "modified_at": at})
    for start in range(0, len(rows), 1000):
        work.conn.execute(sa.insert(lnp_number), rows[start : start + 1000])
    changes.note(work.conn, "lnp", 0)
    return skipped


def _line(work: Work, line: list[str]) -> tuple[str, str, Doc] | None:
    if len(line) != 6:
        return None
    name, prefix, *rest = (part.strip() for part in line)
    if not 0 < len(name) <= 31 or len(prefix) > 31:
        return None
    errors: list[tuple[str, Any, str]] = []
    given = {key: value for key, value in zip(("number", "routing_number", "start", "end"), rest, strict=True) if value}
    values = parse_fields(NUMBER_FIELDS, given, work.env.zone, errors)
    if errors or (values["start"] and values["end"] and values["end"] < values["start"]):
        return None
    return name, prefix, {**values, **_moments(values["start"], values["end"])}


NUMBER_FIELDS: tuple[Field, ...] = (
    Field("number", Text(31, pattern="[0-9]+", wrong="Value must be digits"), required=True, help="E.164 number without +"),
    Field("routing_number", Text(31), nullable=True, help="Number to route to"),
    Field("start", Day(), nullable=True, help="First day"),
    Field("end", Day(), nullable=True, help="Last day"),
)

NUMBERS = Resource(
    name="lnpnumbers",
    entity="lnpnumber",
    help="A number that has been ported to a carrier.",
    table=lnp_number,
    roles=("admin",),
    fields=(ID, Field("carrier_id", Ref("lnpcarriers"), required=True, column="provider_id", help="Carrier"), *NUMBER_FIELDS),
    filters=(Filter("carrier_id", "int", lnp_number.c.provider_id), Filter("number", "like")),
    links=(Link("lnpcarriers", field="carrier_id"),),
    priority="P2",
    notices=(("lnp", "provider_id"), ("lnp", "carrier_id")),
    check=check_number,
    bulk=upload_numbers,
    example={"carrier_id": 1, "number": "43664123456"},
)

RESOURCES = [LEVELS, PATTERNS, LNP_CARRIERS_OF_LEVELS, CARRIERS, NUMBERS]

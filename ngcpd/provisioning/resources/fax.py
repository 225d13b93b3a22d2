"""Fax settings of subscribers (data model 9)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import check, units
from ngcpd.provisioning.errors import Invalid, ProvisioningError
from ngcpd.provisioning.fields import Array, Bool, Email, Enum, Field, Object, Text
from ngcpd.provisioning.query import CHUNK, pattern
from ngcpd.provisioning.resource import Doc, Filter, Resource, Row, Values, Work
from ngcpd.provisioning.resources.features import listed, once, replaced, view
from ngcpd.store.credentials import VaultError
from ngcpd.store.db import insert, now
from ngcpd.store.tables.features import FAX_TYPES, fax_destination, fax_settings
from ngcpd.store.tables.identity import subscriber

DESTINATION = Object(
    (
        Field("destination", Email(), required=True, help="Mail address"),
        Field("filetype", Enum(FAX_TYPES), required=True, help="Form of the document"),
        Field("incoming", Bool(), default=True, help="Gets faxes that come in"),
        Field("outgoing", Bool(), default=True, help="Gets faxes that go out"),
        Field("status", Bool(), default=True, help="Gets reports"),
    )
)
NAMES = ("destination", "filetype", "incoming", "outgoing", "status")


def _about(row: Row) -> str:
    return f"fax:{row['uuid']}"


def check_fax(work: Work, values: Values, row: Row | None) -> None:
    once("destinations", "destination")(work, values, row)
    if values.get("password") is not None:
        try:
            check.password("password", values["password"], work.env.rules)
        except ProvisioningError as error:
            raise Invalid([("password", "", f"Password {error.message}")]) from None


def show_fax(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    listed(fax_destination, "destinations", lambda row: {name: getattr(row, name) for name in NAMES})(work, docs, rows)
    keys = [row["id"] for row in rows]
    found: dict[int, Any] = {}
    for at in range(0, len(keys), CHUNK):
        query = sa.select(fax_settings).where(fax_settings.c.subscriber_id.in_(keys[at : at + CHUNK]))
        found |= {one.subscriber_id: one for one in work.conn.execute(query)}
    for doc, row in zip(docs, rows, strict=True):
        doc["destinations"] = [DESTINATION.show(entry, work.env.zone) for entry in doc["destinations"]]
        mine = found.get(row["id"])
        doc |= {"name": mine.name if mine else None, "active": bool(mine.active) if mine else False, "password": None}
        if mine is not None and mine.password_enc is not None and work.caller.show_passwords:
            try:
                doc["password"] = work.env.vault.open(mine.password_enc, _about(row))
            except VaultError:
                doc["password"] = None  # sealed with another key: there is nothing to show


def update_fax(work: Work, row: Row, values: Values) -> None:
    replaced(fax_destination, "destinations", lambda work, row, entry: entry)(work, row, values)
    columns: Doc = {"name": values.get("name"), "active": values["active"]}
    if "password" in values:
        given = values["password"]
        columns["password_enc"] = None if given is None else work.env.vault.seal(given, _about(row))
    key = work.conn.scalar(sa.select(fax_settings.c.id).where(fax_settings.c.subscriber_id == row["id"]))
    if key is not None:
        units.update_row(work, fax_settings, key, columns)
    else:
        at = now(work.conn)
        insert(work.conn, fax_settings, subscriber_id=row["id"], **columns, created_at=at, modified_at=at)


def _name(work: Work, text: str) -> sa.ColumnElement[bool]:
    named = sa.select(fax_settings.c.subscriber_id).where(fax_settings.c.name.ilike(pattern(text), escape="\\"))
    return subscriber.c.id.in_(named)


def _active(work: Work, text: str) -> sa.ColumnElement[bool]:
    active = sa.select(fax_settings.c.subscriber_id).where(fax_settings.c.active.is_(True))
    return subscriber.c.id.in_(active) if Bool().parse(text, work.env.zone) else subscriber.c.id.not_in(active)


FAX: Resource = view(
    "faxserversettings",
    "faxserversettings",
    (
        Field("name", Text(64), nullable=True, column=None, help="Name for sending"),
        Field("password", Text(255), nullable=True, keep=True, see="show_passwords", secret=True, column=None, help="Password for sending"),
        Field("active", Bool(), default=False, column=None, help="Faxes are taken and sent"),
        Field("destinations", Array(DESTINATION, 100), column=None, help="Who gets documents"),
    ),
    help="The fax settings of a subscriber.",
    journal=True,
    priority="P2",
    filters=(
        Filter("name_or_password", "custom", where=_name, help="The name; passwords are not searched"),
        Filter("active", "custom", where=_active),
    ),
    check=check_fax,
    show=show_fax,
    update=update_fax,
)

RESOURCES = [FAX]

"""Telephones of Cloud PBX customers and who is on their keys (data model 11; device management 1.5)."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import units
from ngcpd.provisioning.errors import Invalid, Plain
from ngcpd.provisioning.fields import Array, Bool, Enum, Field, Int, Object, Ref, Text
from ngcpd.provisioning.query import CHUNK
from ngcpd.provisioning.resource import FULL_PATCH, ID, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.store.db import insert, now
from ngcpd.store.tables.devices import (
    LINE_TYPES,
    device,
    device_config,
    device_line,
    device_line_range,
    device_model,
    device_model_extension,
    device_profile,
)
from ngcpd.store.tables.identity import subscriber
from ngcpd.store.tables.tenancy import contact, contract, product

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
KEY_LENGTH = 16


def identifier(text: str) -> str:
    """How a telephone is known: lower case; a MAC address without its separators."""
    low = text.strip().lower()
    bare = re.sub("[:.-]", "", low)
    return bare if re.fullmatch("[0-9a-f]{12}", bare) else low


def check_device(work: Work, values: Values, row: Row | None) -> None:
    """The rules of device management 1.5. Leaves the lines with their ranges' ids."""
    values["identifier"] = identifier(values["identifier"])
    same = [device.c.identifier == values["identifier"]]
    if row is not None:
        same.append(device.c.id != row["id"])
    if work.conn.scalar(sa.select(device.c.id).where(*same)) is not None:
        raise Plain("identifier", "Entry with given 'identifier' already exists.", "duplicate")
    customer = work.conn.execute(
        sa.select(contract.c.status, product.c["class"].label("kind"), contact.c.reseller_id)
        .join(product, product.c.id == contract.c.product_id)
        .join(contact, contact.c.id == contract.c.contact_id)
        .where(contract.c.id == values["customer_id"])
    ).one()
    if customer.status == "terminated":
        raise Plain("customer_id", "Invalid customer_id, does not exist.")
    if customer.kind != "pbxaccount":
        raise Invalid([("customer_id", values["customer_id"], "the customer is not of type pbxaccount")])
    model = work.conn.execute(
        sa.select(device_model)
        .join(device_config, device_config.c.device_id == device_model.c.id)
        .join(device_profile, device_profile.c.config_id == device_config.c.id)
        .where(device_profile.c.id == values["profile_id"])
    ).one()
    if model.reseller_id != customer.reseller_id:
        raise Plain("profile_id", "Invalid customer_id and profile_id combination, both must belong to the same reseller.")
    values["_vendor"] = model.vendor
    values["lines"] = _lines(work, values, model)


def _lines(work: Work, values: Values, model: Any) -> list[Doc]:
    own, boards = _ranges(work, model.id)
    living = (subscriber.c.contract_id == values["customer_id"], subscriber.c.status != "terminated")
    mine = set(work.conn.scalars(sa.select(subscriber.c.id).where(*living)))
    found, taken = list[Doc](), set[tuple[int, int, int]]()
    for line in values["lines"]:
        if line["extension_unit"] > model.extensions_num:
            raise Invalid([("lines_extension_unit", line["extension_unit"], f"the telephone takes {model.extensions_num} modules")])
        block = (boards if line["extension_unit"] else own).get(line["linerange"])
        if block is None:
            raise Plain("lines_linerange", "Invalid 'linerange', does not exist.")
        if line["key_num"] >= block.num_lines:
            raise Plain("lines_key_num", "Invalid 'key_num', out of range for this linerange.")
        if not getattr(block, f"can_{line['type']}"):
            raise Invalid([("lines_type", line["type"], f"not possible in {line['linerange']}")])
        if line["subscriber_id"] not in mine:
            raise Plain("lines_subscriber_id", "Invalid 'subscriber_id'. Could not find subscriber.")
        place = (block.id, line["extension_unit"], line["key_num"])
        if place in taken:
            raise Invalid([("lines_key_num", line["key_num"], "the key is given twice")])
        taken.add(place)
        columns = {name: line[name] for name in ("subscriber_id", "key_num", "extension_unit")}
        found.append({**columns, "line_type": line["type"], "range_id": block.id})
    return found


def _ranges(work: Work, model_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ranges by name: of the telephone, and of the modules that fit it."""
    t, boards = device_line_range, sa.select(device_model_extension.c.extension_id).where(device_model_extension.c.device_id == model_id)
    own = work.conn.execute(sa.select(t).where(t.c.device_id == model_id))
    more = work.conn.execute(sa.select(t).where(t.c.device_id.in_(boards)).order_by(t.c.id.desc()))
    return {row.name: row for row in own}, {row.name: row for row in more}


def _columns(work: Work, values: Values, row: Row | None) -> Values:
    found = {"contract_id": values["customer_id"], **{name: values[name] for name in ("profile_id", "identifier", "station_name")}}
    if values["_vendor"].lower() == "yealink" and (row is None or row["encryption_key_enc"] is None):
        key = "".join(ALPHABET[work.env.rng.below(len(ALPHABET))] for _ in range(KEY_LENGTH))
        found["encryption_key_enc"] = work.env.vault.seal(key, f"device:{values['identifier']}")
    elif row is not None and row["encryption_key_enc"] is not None and row["identifier"] != values["identifier"]:
        key = work.env.vault.open(row["encryption_key_enc"], f"device:{row['identifier']}")
        found["encryption_key_enc"] = work.env.vault.seal(key, f"device:{values['identifier']}")
    return found


def create_device(work: Work, values: Values) -> int:
    at = now(work.conn)
    key = insert(work.conn, device, **_columns(work, values, None), created_at=at, modified_at=at)
    _write(work, key, values)
    return key


def update_device(work: Work, row: Row, values: Values) -> None:
    units.update_row(work, device, row["id"], _columns(work, values, row))
    work.conn.execute(sa.delete(device_line).where(device_line.c.device_id == row["id"]))
    _write(work, row["id"], values)


def _write(work: Work, key: int, values: Values) -> None:
    rows = [{**line, "device_id": key} for line in values["lines"]]
    if rows:
        work.conn.execute(sa.insert(device_line), rows)


def show_device(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    keys = [row["id"] for row in rows]
    found: dict[int, list[Doc]] = {key: [] for key in keys}
    for at in range(0, len(keys), CHUNK):
        query = (
            sa.select(device_line, device_line_range.c.name)
            .join(device_line_range, device_line_range.c.id == device_line.c.range_id)
            .where(device_line.c.device_id.in_(keys[at : at + CHUNK]))
        )
        for line in work.conn.execute(query.order_by(device_line.c.id)):
            shown = {"linerange": line.name, "subscriber_id": line.subscriber_id, "key_num": line.key_num, "type": line.line_type}
            found[line.device_id].append({**shown, "extension_unit": line.extension_unit})
    for doc, row in zip(docs, rows, strict=True):
        doc["lines"] = found[row["id"]]


LINE = Object(
    (
        Field("linerange", Text(255), required=True, help="Name of a range of the model, or of a module"),
        Field("subscriber_id", Int(1), required=True, help="Who is on the key"),
        Field("key_num", Int(0), required=True, help="Key in the range, from 0"),
        Field("type", Enum(LINE_TYPES), required=True, help="Use of the key"),
        Field("extension_unit", Int(0, 127), default=0, help="0 is the telephone, 1 its first module"),
    )
)

DEVICES = Resource(
    name="pbxdevices",
    entity="pbxdevice",
    help="A telephone of a Cloud PBX customer.",
    table=device,
    source=device.join(contract, contract.c.id == device.c.contract_id).join(contact, contact.c.id == contract.c.contact_id),
    scope=contact.c.reseller_id,
    fields=(
        ID,
        Field("customer_id", Ref("customers"), required=True, column="contract_id", help="Customer of type pbxaccount"),
        Field("profile_id", Ref("pbxdeviceprofiles"), required=True, help="Profile"),
        Field("identifier", Text(255, shortest=1, pattern=r"[A-Za-z0-9:._-]+"), required=True, help="MAC address, unique"),
        Field("station_name", Text(255, shortest=1), required=True, help="Name"),
        Field("lines", Array(LINE, 1000), required=True, column=None, help="Who is on which key"),
        Field("bootstrapped", Bool(), read_only=True, help="It has fetched its configuration"),
    ),
    filters=(
        Filter("customer_id", "int", device.c.contract_id),
        Filter("profile_id"),
        Filter("identifier", "like"),
        Filter("reseller_id", "int", contact.c.reseller_id),
    ),
    links=(Link("customers", field="customer_id"), Link("pbxdeviceprofiles", field="profile_id")),
    patch=FULL_PATCH,
    priority="P3",
    notices=(("device", "id"),),
    check=check_device,
    create=create_device,
    update=update_device,
    show=show_device,
    example={
        "customer_id": 1,
        "profile_id": 1,
        "identifier": "00:15:65:ab:cd:ef",
        "station_name": "Reception",
        "lines": [{"linerange": "Phone Keys", "subscriber_id": 4, "key_num": 0, "type": "private"}],
    },
)

RESOURCES = [DEVICES]

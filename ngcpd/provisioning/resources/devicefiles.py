"""Firmware and configuration templates of telephones, and the profiles that offer them (device management 1.3, 1.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import units
from ngcpd.provisioning.errors import Invalid
from ngcpd.provisioning.fields import Field, Ref, Text
from ngcpd.provisioning.resource import CHANGE, ID, READ_ONLY, Filter, Link, Resource, Row, Values, Work
from ngcpd.provisioning.uploads import OCTETS, Blob, Download, Raw
from ngcpd.store import blobs
from ngcpd.store.db import insert, now
from ngcpd.store.tables.devices import (
    device_config,
    device_config_piece,
    device_firmware,
    device_firmware_piece,
    device_model,
    device_profile,
)

FIRMWARE_MOST, CONFIG_MOST = 128 << 20, 64 << 20
TEXTS = ("text/plain", "text/xml")
MODEL = Field("device_id", Ref("pbxdevicemodels"), required=True, help="Model")
VERSION = Field("version", Text(255, shortest=1), required=True, column="release", help="Version; versions are compared as text")


class _Kept:
    """Rows whose contents are in a table of pieces: how they are written. `names`: columns by field."""

    def __init__(self, table: sa.Table, pieces: sa.Table, names: Mapping[str, str]) -> None:
        self.table, self.pieces, self.names = table, pieces, names

    def _columns(self, values: Values) -> Values:
        return {**{column: values[name] for name, column in self.names.items()}, "size": len(values["data"].data)}

    def create(self, work: Work, values: Values) -> int:
        at = now(work.conn)
        key = insert(work.conn, self.table, **self._columns(values), created_at=at, modified_at=at)
        blobs.put(work.conn, self.pieces, key, values["data"].data)
        return key

    def update(self, work: Work, row: Row, values: Values) -> None:
        units.update_row(work, self.table, row["id"], self._columns(values))
        blobs.put(work.conn, self.pieces, row["id"], values["data"].data)


FIRMWARE_KEPT = _Kept(device_firmware, device_firmware_piece, {"device_id": "device_id", "version": "release", "filename": "filename"})
CONFIG_KEPT = _Kept(device_config, device_config_piece, {"device_id": "device_id", "version": "release", "content_type": "content_type"})


def firmware_binary(work: Work, row: Row, asked: Mapping[str, str]) -> Download:
    return Download(blobs.get(work.conn, device_firmware_piece, row["id"]), OCTETS, row["filename"])


def config_file(work: Work, row: Row, asked: Mapping[str, str]) -> Download:
    return Download(blobs.get(work.conn, device_config_piece, row["id"]), row["content_type"])


def check_config(work: Work, values: Values, row: Row | None) -> None:
    try:
        values["data"].data.decode()
    except UnicodeDecodeError:
        raise Invalid([("data", None, "The template must be UTF-8 text")]) from None


def _of_model(table: sa.Table) -> Any:
    return table.join(device_model, device_model.c.id == table.c.device_id)


def _item(name: str, entity: str, table: sa.Table, download: Any, downloads: tuple[str, ...], help: str) -> Resource:
    return Resource(
        name=name,
        entity=entity,
        help=help,
        table=table,
        source=_of_model(table),
        scope=device_model.c.reseller_id,
        fields=(),
        collection=("OPTIONS",),
        item=READ_ONLY,
        patch=(),
        priority="P3",
        download=download,
        downloads=downloads,
    )


FIRMWARES = Resource(
    name="pbxdevicefirmwares",
    entity="pbxdevicefirmware",
    help="A firmware of a model.",
    table=device_firmware,
    source=_of_model(device_firmware),
    scope=device_model.c.reseller_id,
    fields=(
        ID,
        MODEL,
        VERSION,
        Field("filename", Text(255, shortest=1), required=True, help="File name that is delivered"),
        Field("data", Blob(FIRMWARE_MOST), required=True, write_only=True, column=None, help="Contents"),
    ),
    filters=(Filter("device_id"), Filter("version", "string", device_firmware.c.release), Filter("filename", "like")),
    links=(Link("pbxdevicemodels", field="device_id"), Link("pbxdevicefirmwarebinaries", field="id")),
    item=("GET", "HEAD", "OPTIONS", "PUT"),
    patch=(),
    priority="P3",
    upload=Raw("data", (OCTETS,), FIRMWARE_MOST),
    create=FIRMWARE_KEPT.create,
    update=FIRMWARE_KEPT.update,
    example={"device_id": 1, "version": "9.8.7", "filename": "spa-9.8.7.bin"},
)

CONFIGS = Resource(
    name="pbxdeviceconfigs",
    entity="pbxdeviceconfig",
    help="The template of a configuration of a model. A change acts when a telephone fetches its configuration next.",
    table=device_config,
    source=_of_model(device_config),
    scope=device_model.c.reseller_id,
    fields=(
        ID,
        MODEL,
        VERSION,
        Field(
            "content_type",
            Text(255, pattern=r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+", wrong="Value must be a media type"),
            required=True,
            help="Media type that telephones are told; that of the request unless given",
        ),
        Field("data", Blob(CONFIG_MOST), required=True, write_only=True, column=None, help="Template, UTF-8"),
    ),
    filters=(Filter("device_id"), Filter("version", "string", device_config.c.release), Filter("content_type", "string")),
    links=(Link("pbxdevicemodels", field="device_id"), Link("pbxdeviceconfigfiles", field="id")),
    item=("GET", "HEAD", "OPTIONS", "PUT"),
    patch=(),
    priority="P3",
    upload=Raw("data", TEXTS, CONFIG_MOST, kind_field="content_type"),
    check=check_config,
    create=CONFIG_KEPT.create,
    update=CONFIG_KEPT.update,
    example={"device_id": 1, "version": "1", "content_type": "text/xml"},
)

PROFILES = Resource(
    name="pbxdeviceprofiles",
    entity="pbxdeviceprofile",
    help="A configuration under the name by which customers choose it.",
    table=device_profile,
    source=device_profile.join(device_config, device_config.c.id == device_profile.c.config_id).join(
        device_model, device_model.c.id == device_config.c.device_id
    ),
    scope=device_model.c.reseller_id,
    fields=(
        ID,
        Field("config_id", Ref("pbxdeviceconfigs"), required=True, help="Configuration"),
        Field("name", Text(255), required=True, help="Name, unique per configuration"),
    ),
    filters=(Filter("name", "like"), Filter("config_id"), Filter("reseller_id", "int", device_model.c.reseller_id)),
    links=(Link("pbxdeviceconfigs", field="config_id"), Link("pbxdevices", filter="profile_id")),
    item=CHANGE,
    priority="P3",
    unique=(("config_id", "name"),),
    example={"config_id": 1, "name": "Cisco SPA504G"},
)

RESOURCES = [
    FIRMWARES,
    _item("pbxdevicefirmwarebinaries", "pbxdevicefirmwarebinary", device_firmware, firmware_binary, (OCTETS,), "The contents of a firmware."),
    CONFIGS,
    _item("pbxdeviceconfigfiles", "pbxdeviceconfigfile", device_config, config_file, (*TEXTS, "*/*"), "The text of a configuration template."),
    PROFILES,
]

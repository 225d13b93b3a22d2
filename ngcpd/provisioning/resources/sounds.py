"""Sound sets, their files and the places where they are played (data model 9, applications 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import audio, handles, units
from ngcpd.provisioning import values as stored_values
from ngcpd.provisioning.errors import Invalid
from ngcpd.provisioning.fields import Bool, Field, Ref, Text
from ngcpd.provisioning.resource import ID, READ_ONLY, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.provisioning.uploads import Blob, Download, File, Raw
from ngcpd.store import blobs
from ngcpd.store.db import insert, now
from ngcpd.store.tables.features import sound_set
from ngcpd.store.tables.identity import subscriber
from ngcpd.store.tables.media import sound_file, sound_file_piece
from ngcpd.store.tables.tenancy import contact, contract

WAV = "audio/x-wav"
MOST = 64 << 20


# -------------------------------------------------------------------------------------------------------------------------- sets
def check_sounds(work: Work, values: Values, row: Row | None) -> None:
    """The customer's reseller is the set's; names are unique; only a customer's set can be its default; its files must fit."""
    customer = values.get("customer_id")
    if customer is not None:
        owner = work.conn.scalar(
            sa.select(contact.c.reseller_id).join(contract, contract.c.contact_id == contact.c.id).where(contract.c.id == customer)
        )
        if owner != values["reseller_id"]:
            raise Invalid([("customer_id", customer, "The customer belongs to another reseller")])
    elif values["contract_default"]:
        raise Invalid([("contract_default", True, "only the set of a customer can be its default")])
    where = [
        sound_set.c.reseller_id == values["reseller_id"],
        sound_set.c.name == values["name"],
        sound_set.c.contract_id.is_(None) if customer is None else sound_set.c.contract_id == customer,
    ]
    if row is not None:
        where.append(sound_set.c.id != row["id"])
    if work.conn.scalar(sa.select(sound_set.c.id).where(*where)) is not None:
        raise Invalid([("name", values["name"], "A soundset with this name already exists")])
    if row is not None and (row["contract_id"] is None) != (customer is None):
        _files_fit(work, row["id"], customer)


def _files_fit(work: Work, key: int, customer: int | None) -> None:
    for group in work.conn.scalars(sa.select(sound_file.c.group).where(sound_file.c.set_id == key).distinct()):
        if not handles.allowed(group, customer is not None):
            raise Invalid([("customer_id", customer, f"the set has files of group {group}")])


def sound_effects(work: Work, operation: str, key: int, row: Row | None, values: Values) -> None:
    """One default per customer; on update its subscribers get it. A set that goes to somebody else is forgotten by those who had it."""
    if operation == "delete":
        return
    if row is not None and row["contract_id"] != values.get("customer_id"):
        stored_values.remove_reference(work.conn, ("sound_set", "contract_sound_set"), str(key))
    if not values.get("contract_default"):
        return
    others = (sound_set.c.contract_id == values["customer_id"], sound_set.c.id != key)
    work.conn.execute(sa.update(sound_set).where(*others).values(contract_default=False))
    if operation == "update":
        living = (subscriber.c.contract_id == values["customer_id"], subscriber.c.status != "terminated")
        for owner in work.conn.scalars(sa.select(subscriber.c.id).where(*living)).all():
            stored_values.put(work.conn, "usr", owner, {"contract_sound_set": str(key)})


def delete_sounds(work: Work, row: Row) -> None:
    """With its files and the preferences that name it."""
    stored_values.remove_reference(work.conn, ("sound_set", "contract_sound_set"), str(row["id"]))
    work.conn.execute(sa.delete(sound_set).where(sound_set.c.id == row["id"]))


SOUND_SETS = Resource(
    name="soundsets",
    entity="soundset",
    help="A set of announcements, of a reseller or of one customer.",
    table=sound_set,
    scope=sound_set.c.reseller_id,
    fields=(
        ID,
        Field("reseller_id", Ref("resellers"), required=True, own=True, help="Reseller it belongs to"),
        Field("customer_id", Ref("customers"), nullable=True, column="contract_id", help="Customer whose set it is"),
        Field("name", Text(255), required=True, help="Name"),
        Field("description", Text(255), default="", help="Description"),
        Field("contract_default", Bool(), default=False, help="New subscribers of the customer get it"),
    ),
    filters=(Filter("customer_id", "int", sound_set.c.contract_id), Filter("reseller_id"), Filter("name", "like")),
    links=(Link("resellers", field="reseller_id"), Link("customers", field="customer_id"), Link("soundfiles", filter="set_id")),
    journal=True,
    notices=(("sound_set", "id"),),
    check=check_sounds,
    effects=sound_effects,
    delete=delete_sounds,
    example={"reseller_id": 1, "name": "english", "description": "English"},
)


# ------------------------------------------------------------------------------------------------------------------------- files
def prepare_file(given: Doc) -> Doc:
    """The upload as 16 bit samples at 8 kHz."""
    try:
        samples = audio.telephone(given["data"].data)
    except audio.BadAudio as error:
        raise Invalid([("data", None, str(error))]) from None
    return {**given, "data": File(samples, WAV)}


def check_file(work: Work, values: Values, row: Row | None) -> None:
    """The handle must be one that this kind of set may have, and no other file of the set has it after a move."""
    # The set is locked, so that of two uploads for a handle the second takes the place of the first.
    work.conn.execute(sa.select(sound_set.c.id).where(sound_set.c.id == values["set_id"]).with_for_update())
    customer = work.conn.scalar(sa.select(sound_set.c.contract_id).where(sound_set.c.id == values["set_id"])) is not None
    handle = handles.choose(values["handle"], values.get("group"), customer)
    if handle is None:
        known = any(h.name == values["handle"] and values.get("group") in (None, h.group) for h in handles.HANDLES)
        kind = "customer" if customer else "system"
        text = f"Handle is not possible in a {kind} sound set" if known else "Invalid handle"
        raise Invalid([("handle", values["handle"], text)])
    values["group"] = handle.group
    raw = handle.name == "music_on_hold" and not customer
    stem = values["filename"].rpartition(".")[0] if values["filename"].lower().endswith((".wav", ".pcma")) else values["filename"]
    values["filename"] = f"{stem}{'.pcma' if raw else '.wav'}"
    if len(values["filename"]) > 255:
        raise Invalid([("filename", values["filename"], "Field should not exceed 255 characters")])
    values["codec"] = "PCMA" if raw else "WAV"
    if row is not None and _same(work, values) not in (None, row["id"]):
        raise Invalid([("handle", values["handle"], "A soundfile with this handle already exists in the set")])


def _same(work: Work, values: Values) -> int | None:
    """The file that the set has for the handle."""
    mine = (sound_file.c.set_id == values["set_id"], sound_file.c.group == values["group"], sound_file.c.handle == values["handle"])
    return work.conn.scalar(sa.select(sound_file.c.id).where(*mine))


def _columns(values: Values, data: bytes) -> Values:
    names = ("set_id", "group", "handle", "filename", "codec", "loopplay")
    return {**{name: values[name] for name in names}, "size": len(data)}


def _contents(values: Values) -> bytes:
    samples: bytes = values["data"].data
    return audio.to_alaw(samples) if values["codec"] == "PCMA" else audio.wav(samples)


def create_file(work: Work, values: Values) -> int:
    """A file, or the new contents of the one that the set has for the handle."""
    data, known = _contents(values), _same(work, values)
    if known is None:
        at = now(work.conn)
        known = insert(work.conn, sound_file, **_columns(values, data), created_at=at, modified_at=at)
    else:
        units.update_row(work, sound_file, known, _columns(values, data))
    blobs.put(work.conn, sound_file_piece, known, data)
    return known


def update_file(work: Work, row: Row, values: Values) -> None:
    data = _contents(values)
    units.update_row(work, sound_file, row["id"], _columns(values, data))
    blobs.put(work.conn, sound_file_piece, row["id"], data)


def as_wav(work: Work, row: Row, asked: Mapping[str, str]) -> Download:
    """The file as WAV, whatever it is kept as."""
    data = blobs.get(work.conn, sound_file_piece, row["id"])
    name = row["filename"].rpartition(".")[0]
    return Download(audio.wav(audio.from_alaw(data)) if row["codec"] == "PCMA" else data, WAV, f"{name}.wav")


FILE_SOURCE = sound_file.join(sound_set, sound_set.c.id == sound_file.c.set_id)

SOUND_FILES = Resource(
    name="soundfiles",
    entity="soundfile",
    help="An announcement of a sound set. A second one for the same handle takes the place of the first.",
    table=sound_file,
    source=FILE_SOURCE,
    scope=sound_set.c.reseller_id,
    fields=(
        ID,
        Field("set_id", Ref("soundsets"), required=True, help="Sound set"),
        Field("handle", Text(63), required=True, help="Where it is played, see soundhandles"),
        Field("group", Text(63), nullable=True, help="Group of the handle, where several have one of that name; else the first"),
        Field("filename", Text(255, shortest=1), required=True, help="File name; its ending becomes .wav or, for A-law, .pcma"),
        Field("loopplay", Bool(), default=False, help="Is repeated until the call goes on"),
        Field("data", Blob(MOST), required=True, write_only=True, column=None, help="WAV file"),
    ),
    filters=(Filter("set_id"), Filter("handle", "string"), Filter("filename", "like"), Filter("loopplay", "bool")),
    links=(Link("soundsets", field="set_id"), Link("soundfilerecordings", field="id")),
    item=("GET", "HEAD", "OPTIONS", "PUT", "DELETE"),
    patch=(),
    upload=Raw("data", (WAV,), MOST),
    prepare=prepare_file,
    notices=(("sound_set", "set_id"),),
    check=check_file,
    create=create_file,
    update=update_file,
    example={"set_id": 1, "handle": "music_on_hold", "filename": "hold.wav", "loopplay": True},
)

RECORDINGS = Resource(
    name="soundfilerecordings",
    entity="soundfilerecording",
    help="The audio of a sound file.",
    table=sound_file,
    source=FILE_SOURCE,
    scope=sound_set.c.reseller_id,
    fields=(ID,),
    collection=("OPTIONS",),
    item=READ_ONLY,
    patch=(),
    download=as_wav,
    downloads=(WAV,),
)


# ----------------------------------------------------------------------------------------------------------------------- handles
HANDLE = sa.Table(
    "sound_handle", sa.MetaData(), sa.Column("id", sa.Integer(), primary_key=True), sa.Column("handle", sa.Text()), sa.Column("group", sa.Text())
)
"""The shape of the list, which is in no database."""


def _row(handle: handles.Handle) -> Any:
    return {"id": handle.id, "handle": handle.name, "group": handle.group}


def list_handles(work: Work, asked: Mapping[str, str], offset: int, count: int) -> tuple[int, list[Row]]:
    wanted = [_row(h) for h in handles.HANDLES if asked.get("group", h.group) == h.group and asked.get("handle", h.name) == h.name]
    name = asked.get("order_by", "id")
    wanted.sort(key=lambda row: (row.get(name, 0), row["id"]), reverse=asked.get("order_by_direction", "").lower() == "desc")
    return len(wanted), wanted[offset : offset + count]


def find_handle(work: Work, key: int) -> Row | None:
    handle = handles.BY_ID.get(key)
    found: Row | None = None if handle is None else _row(handle)
    return found


SOUND_HANDLES = Resource(
    name="soundhandles",
    entity="soundhandle",
    help="A place where an announcement is played.",
    table=HANDLE,
    unscoped=True,
    fields=(
        ID,
        Field("handle", Text(63), read_only=True, help="Name, unique in its group"),
        Field("group", Text(63), read_only=True, help="Group of places"),
    ),
    filters=(Filter("group", "string"), Filter("handle", "string")),
    collection=READ_ONLY,
    item=READ_ONLY,
    patch=(),
    listed=list_handles,
    found=find_handle,
)

RESOURCES = [SOUND_SETS, SOUND_FILES, RECORDINGS, SOUND_HANDLES]

"""Models of telephones and key modules (data model 11; device management 1.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import units
from ngcpd.provisioning.errors import Invalid, Plain
from ngcpd.provisioning.fields import Array, Bool, Enum, Field, Int, Object, Ref, Text
from ngcpd.provisioning.query import CHUNK, visible
from ngcpd.provisioning.resource import CHANGE, ID, READ_ONLY, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.provisioning.uploads import Blob, Download, File, Multipart
from ngcpd.store.db import insert, now
from ngcpd.store.tables.devices import (
    BOOTSTRAPS,
    LABELS,
    MODEL_TYPES,
    device_key_annotation,
    device_line,
    device_line_range,
    device_model,
    device_model_extension,
    device_redirect_credentials,
    device_sync_parameter,
)

IMAGE_MOST = 5 << 20
STARTS = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF87a": "image/gif", b"GIF89a": "image/gif"}
IMAGES = tuple(dict.fromkeys(STARTS.values()))
PICTURES = ("front", "mac")
VENDORS = ("panasonic", "yealink", "polycom")
HTTP = {"sync_uri": "http://[% client.ip %]/admin/resync", "sync_method": "GET", "sync_params": "[% server.uri %]/$MA"}
"""Parameters of method http and what they are unless said otherwise."""
FLAGS = ("can_private", "can_shared", "can_blf")


# ---------------------------------------------------------------------------------------------------------------------- checking
def prepare_model(given: Doc) -> Doc:
    """Images by what they are and not by what the sender says."""
    found = dict(given)
    for picture in PICTURES:
        sent = given.get(f"{picture}_image")
        if sent is not None:
            kind = next((kind for start, kind in STARTS.items() if sent.data.startswith(start)), None)
            if kind is None:
                raise Invalid([(f"{picture}_image", None, "Invalid file type, use PNG, JPEG or GIF")])
            found[f"{picture}_image"] = File(sent.data, kind, sent.name)
    return found


def check_model(work: Work, values: Values, row: Row | None) -> None:
    if row is None and values.get("front_image") is None:
        raise Invalid([("front_image", None, "front_image field is required")])
    values["linerange"] = [entry for entry in values["linerange"] if not entry["extension_range"]]
    if not values["linerange"]:
        raise Invalid([("linerange", [], "At least one entry is required")])
    names = [entry["name"] for entry in values["linerange"]]
    for name in names:
        if names.count(name) > 1:
            raise Invalid([("linerange_name", name, "name is given twice")])
    _connectable(work, values, row)


def _connectable(work: Work, values: Values, row: Row | None) -> None:
    """A telephone takes modules, a module fits telephones; both of one reseller."""
    ids = values.get("connectable_models") or []
    other = "extension" if values["type"] == "phone" else "phone"
    fit = (device_model.c.id.in_(ids), device_model.c.type == other, device_model.c.reseller_id == values["reseller_id"])
    found = set(work.conn.scalars(sa.select(device_model.c.id).where(*fit))) & visible(work, "pbxdevicemodels", ids)
    for key in ids:
        if key not in found or ids.count(key) > 1:
            raise Invalid([("connectable_models", key, f"there is no such {other} model, or it is given twice")])


# ----------------------------------------------------------------------------------------------------------------------- writing
def create_model(work: Work, values: Values) -> int:
    at = now(work.conn)
    key = insert(work.conn, device_model, **_columns(values), created_at=at, modified_at=at)
    _below(work, key, values, None)
    return key


def update_model(work: Work, row: Row, values: Values) -> None:
    units.update_row(work, device_model, row["id"], _columns(values))
    _below(work, row["id"], values, row["bootstrap_method"])


def _columns(values: Values) -> Values:
    names = ("reseller_id", "type", "vendor", "model", "extensions_num", "bootstrap_method", "bootstrap_uri")
    found = {name: values[name] for name in names if name in values}
    for picture in PICTURES:
        sent = values.get(f"{picture}_image")
        if sent is not None:
            found |= {f"{picture}_image": sent.data, f"{picture}_image_type": sent.kind}
    return found


def _below(work: Work, key: int, values: Values, method: str | None) -> None:
    _ranges(work, key, values["linerange"])
    mine, other = ("device_id", "extension_id") if values["type"] == "phone" else ("extension_id", "device_id")
    t = device_model_extension
    work.conn.execute(sa.delete(t).where(t.c[mine] == key))
    for order, one in enumerate(values.get("connectable_models") or ()):
        work.conn.execute(sa.insert(t).values({mine: key, other: one, "order": order}))
    _parameters(work, key, values)
    _credentials(work, key, values, method)


def _ranges(work: Work, key: int, wanted: list[Doc]) -> None:
    """Ranges keep their ids (by id, else by name), so that assigned keys stay. What a range does not allow any more goes."""
    t = device_line_range
    known = {row.id: row.name for row in work.conn.execute(sa.select(t.c.id, t.c.name).where(t.c.device_id == key))}
    by_name = {name: number for number, name in known.items()}
    chosen: list[int | None] = []
    for entry in wanted:
        number = entry["id"] if entry["id"] in known else by_name.get(entry["name"])
        chosen.append(None if number in chosen else number)
    work.conn.execute(sa.delete(t).where(t.c.device_id == key, t.c.id.not_in([n for n in chosen if n is not None])))
    for number in chosen:  # names may be exchanged
        if number is not None:
            work.conn.execute(sa.update(t).where(t.c.id == number).values(name=f"\x01{number}"))
    for number, entry in zip(chosen, wanted, strict=True):
        columns = {"name": entry["name"], "num_lines": len(entry["keys"]), **{flag: entry[flag] for flag in FLAGS}}
        if number is None:
            number = insert(work.conn, t, device_id=key, **columns)
        else:
            work.conn.execute(sa.update(t).where(t.c.id == number).values(**columns))
            kinds = [kind for kind in ("private", "shared", "blf") if entry[f"can_{kind}"]]
            outside = sa.or_(device_line.c.key_num >= len(entry["keys"]), device_line.c.line_type.not_in(kinds))
            work.conn.execute(sa.delete(device_line).where(device_line.c.range_id == number, outside))
            work.conn.execute(sa.delete(device_key_annotation).where(device_key_annotation.c.range_id == number))
        rows = [{"range_id": number, "line_index": n, "x": k["x"], "y": k["y"], "position": k["labelpos"]} for n, k in enumerate(entry["keys"])]
        if rows:
            work.conn.execute(sa.insert(device_key_annotation), rows)


def _parameters(work: Work, key: int, values: Values) -> None:
    t = device_sync_parameter
    work.conn.execute(sa.delete(t).where(t.c.device_id == key))
    method, found = values["bootstrap_method"], dict[str, str]()
    if method == "http":
        for name, usual in HTTP.items():
            given = values.get(f"bootstrap_config_http_{name}")
            found[name] = usual if given is None else given
    elif method == "redirect_polycom" and values.get("bootstrap_config_redirect_polycom_profile"):
        found["profile"] = values["bootstrap_config_redirect_polycom_profile"]
    rows = [{"device_id": key, "parameter_name": name, "parameter_value": value} for name, value in found.items()]
    if rows:
        work.conn.execute(sa.insert(t), rows)


def _credentials(work: Work, key: int, values: Values, method: str | None) -> None:
    """Account at the vendor; a password that is not given stays while the method (`method` is the one before) does."""
    t = device_redirect_credentials
    kept = work.conn.scalar(sa.select(t.c.password_enc).where(t.c.device_id == key)) if method == values["bootstrap_method"] else None
    vendor = values["bootstrap_method"].removeprefix("redirect_")
    work.conn.execute(sa.delete(t).where(t.c.device_id == key))
    if vendor not in VENDORS:
        return
    user, password = (values.get(f"bootstrap_config_redirect_{vendor}_{name}") for name in ("user", "password"))
    sealed = kept if password is None else work.env.vault.seal(password, f"redirect:{key}")
    if user is not None or sealed is not None:
        insert(work.conn, t, device_id=key, user=user, password_enc=sealed)


# ----------------------------------------------------------------------------------------------------------------------- reading
def show_model(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    keys = [row["id"] for row in rows]
    boards = _boards(work, keys)
    ranges = ranges_of(work, {*keys, *(board for listed in boards.values() for board in listed)})
    parameters = _by_model(work, device_sync_parameter, keys)
    accounts = _by_model(work, device_redirect_credentials, keys)
    for doc, row in zip(docs, rows, strict=True):
        key, vendor = row["id"], row["bootstrap_method"].removeprefix("redirect_")
        doc["connectable_models"] = boards.get(key, [])
        own = [{**entry, "extension_range": None} for entry in ranges.get(key, ())]
        more = boards.get(key, []) if row["type"] == "phone" else []
        doc["linerange"] = own + [{**entry, "extension_range": board} for board in more for entry in ranges.get(board, ())]
        found = {one.parameter_name: one.parameter_value for one in parameters.get(key, ())}
        doc |= {f"bootstrap_config_http_{name}": found.get(name) for name in HTTP}
        doc["bootstrap_config_redirect_polycom_profile"] = found.get("profile")
        doc |= {f"bootstrap_config_redirect_{v}_user": None for v in VENDORS}
        if key in accounts and vendor in VENDORS:
            doc[f"bootstrap_config_redirect_{vendor}_user"] = accounts[key][0].user


def _boards(work: Work, keys: list[int]) -> dict[int, list[int]]:
    """What each model can be connected with."""
    t, found = device_model_extension.c, dict[int, list[int]]()
    for at in range(0, len(keys), CHUNK):
        part = keys[at : at + CHUNK]
        query = sa.select(t.device_id, t.extension_id).where(sa.or_(t.device_id.in_(part), t.extension_id.in_(part)))
        for row in work.conn.execute(query.order_by(t.order, t.id)):
            found.setdefault(row.device_id, []).append(row.extension_id)
            found.setdefault(row.extension_id, []).append(row.device_id)
    return found


def ranges_of(work: Work, models: set[int]) -> dict[int, list[Doc]]:
    """The ranges of models, with their keys."""
    listed, t = sorted(models), device_line_range.c
    found: dict[int, list[Doc]] = {}
    by_id: dict[int, Doc] = {}
    for at in range(0, len(listed), CHUNK):
        for row in work.conn.execute(sa.select(device_line_range).where(t.device_id.in_(listed[at : at + CHUNK])).order_by(t.id)):
            flags = {flag: bool(getattr(row, flag)) for flag in FLAGS}
            by_id[row.id] = {"id": row.id, "name": row.name, "num_lines": row.num_lines, **flags, "keys": []}
            found.setdefault(row.device_id, []).append(by_id[row.id])
    numbers = sorted(by_id)
    for at in range(0, len(numbers), CHUNK):
        k = device_key_annotation.c
        query = sa.select(device_key_annotation).where(k.range_id.in_(numbers[at : at + CHUNK])).order_by(k.range_id, k.line_index)
        for row in work.conn.execute(query):
            by_id[row.range_id]["keys"].append({"x": row.x, "y": row.y, "labelpos": row.position})
    return found


def _by_model(work: Work, table: sa.Table, keys: list[int]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for at in range(0, len(keys), CHUNK):
        for row in work.conn.execute(sa.select(table).where(table.c.device_id.in_(keys[at : at + CHUNK]))):
            found.setdefault(row.device_id, []).append(row)
    return found


def picture(work: Work, row: Row, asked: Mapping[str, str]) -> Download:
    """The front image, or with `type=mac` the other one."""
    which = asked.get("type", "front")
    if which not in PICTURES:
        raise Invalid([("type", which, "use front or mac")])
    kind = row[f"{which}_image_type"]
    if kind is None:
        raise Plain("type", f"Image type '{which}' is not uploaded", "absent")
    data = work.conn.scalar(sa.select(device_model.c[f"{which}_image"]).where(device_model.c.id == row["id"]))
    return Download(data or b"", kind, f"{which}-{row['id']}.{kind.removeprefix('image/')}")


KEY = Object(
    (
        Field("x", Int(-100_000, 100_000), required=True, help="Place on the front image"),
        Field("y", Int(-100_000, 100_000), required=True, help="Place on the front image"),
        Field("labelpos", Enum(LABELS), required=True, help="Where its label is"),
    )
)
RANGE = Object(
    (
        Field("id", Int(1), nullable=True, help="Number of the range"),
        Field("name", Text(255), required=True, help="Name, which templates know"),
        *(Field(flag, Bool(), required=True, help=f"Keys can be {flag.removeprefix('can_')} lines") for flag in FLAGS),
        Field("keys", Array(KEY, 1000), required=True, help="Keys from 0"),
        Field("num_lines", Int(), nullable=True, help="How many keys; counted from them"),
        Field("extension_range", Int(), nullable=True, help="Model of the module whose range it is; such ranges are not written"),
    )
)


def _config(name: str, kind: Any, help: str, **more: Any) -> Field:
    return Field(f"bootstrap_config_{name}", kind, nullable=True, column=None, help=help, **more)


def _account(vendor: str) -> tuple[Field, ...]:
    return (
        _config(f"redirect_{vendor}_user", Text(255), f"Account at {vendor.capitalize()}"),
        _config(f"redirect_{vendor}_password", Text(255), "Its password; not shown again", write_only=True, keep=True, secret=True),
    )


MODELS = Resource(
    name="pbxdevicemodels",
    entity="pbxdevicemodel",
    help="A model of a telephone or key module. POST and PUT take part json and images.",
    table=device_model,
    scope=device_model.c.reseller_id,
    fields=(
        ID,
        Field("reseller_id", Ref("resellers"), required=True, own=True, fixed=True, help="Reseller it belongs to"),
        Field("vendor", Text(255), required=True, help="Maker"),
        Field("model", Text(255), required=True, help="Name, unique per reseller and vendor"),
        Field("type", Enum(MODEL_TYPES), required=True, fixed=True, help="extension is a key module"),
        Field("extensions_num", Int(0, 127), default=0, help="Modules that a telephone takes"),
        Field("connectable_models", Array(Ref("pbxdevicemodels"), 100), column=None, help="Modules of a telephone, telephones of a module"),
        Field("linerange", Array(RANGE, 100), required=True, column=None, help="Blocks of keys"),
        Field("bootstrap_method", Enum(BOOTSTRAPS), required=True, help="How it finds its configuration"),
        Field("bootstrap_uri", Text(255), default="", help="URI that is told to a redirect server"),
        _config("http_sync_uri", Text(255), "How it is told to fetch its configuration"),
        _config("http_sync_method", Enum(("GET", "POST")), "Method of that"),
        _config("http_sync_params", Text(255), "Parameters of that"),
        *(f for vendor in VENDORS for f in _account(vendor)),
        _config("redirect_polycom_profile", Text(255), "Profile at Polycom"),
        Field("front_image", Blob(IMAGE_MOST), nullable=True, keep=True, write_only=True, column=None, help="Front; required at first"),
        Field("mac_image", Blob(IMAGE_MOST), nullable=True, keep=True, write_only=True, column=None, help="Where its MAC address is"),
    ),
    filters=(Filter("reseller_id"), Filter("vendor", "like"), Filter("model", "like"), Filter("type", "string")),
    links=(
        Link("resellers", field="reseller_id"),
        Link("pbxdevicefirmwares", filter="device_id"),
        Link("pbxdeviceconfigs", filter="device_id"),
        Link("pbxdevicemodelimages", field="id"),
    ),
    item=CHANGE,
    priority="P3",
    upload=Multipart(("front_image", "mac_image"), 2 * IMAGE_MOST + (4 << 20)),
    prepare=prepare_model,
    unique=(("reseller_id", "vendor", "model"),),
    check=check_model,
    create=create_model,
    update=update_model,
    show=show_model,
    example={
        "reseller_id": 1,
        "vendor": "Yealink",
        "model": "T46",
        "type": "phone",
        "bootstrap_method": "http",
        "linerange": [
            {
                "name": "Phone Keys",
                "can_private": True,
                "can_shared": True,
                "can_blf": True,
                "keys": [{"x": 10, "y": 20, "labelpos": "left"}, {"x": 10, "y": 40, "labelpos": "left"}],
            }
        ],
    },
)

PICTURE = Resource(
    name="pbxdevicemodelimages",
    entity="pbxdevicemodelimage",
    help="An image of a model.",
    table=device_model,
    scope=device_model.c.reseller_id,
    fields=(),
    collection=("OPTIONS",),
    item=READ_ONLY,
    patch=(),
    priority="P3",
    parameters=(("type", "string", "front (the default) or mac"),),
    download=picture,
    downloads=IMAGES,
)

RESOURCES = [MODELS, PICTURE]

"""Telephones over TLS: models with images, firmware, templates, profiles, customers' devices (device management 1)."""

from __future__ import annotations

import copy
from typing import Any
from urllib.parse import urlencode

import pytest_twisted
import sqlalchemy as sa

from ngcpd.provisioning.resources.devicemodels import MODELS
from ngcpd.store.tables.devices import device, device_line, device_line_range, device_model, device_redirect_credentials
from tests.web.forms import form, send
from tests.web.harness import Client, Reply, Web

ensure = pytest_twisted.ensureDeferred
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
JPEG = b"\xff\xd8\xff\xe0" + bytes(50)
FRONT = {"front_image": (PNG, "front.png", "image/png")}
PATH = "/api/pbxdevicemodels/"


def phone(**more: Any) -> dict[str, Any]:
    return {**copy.deepcopy(dict(MODELS.example)), **more}


async def model(root: Client, **more: Any) -> int:
    return (await send(root, PATH, form(phone(**more), **FRONT))).id


async def upload(root: Client, path: str, data: bytes, kind: str, method: str = "POST", key: str = "", **query: Any) -> Reply:
    return await root.raw(method, f"/api/{path}/{key}?{urlencode(query)}", data, Content_Type=kind)


async def profile(root: Client, **more: Any) -> int:
    """A profile of a new model; the ids of the steps between are 1, 2 ... on a fresh store."""
    device_id = await model(root, **more)
    config = (await upload(root, "pbxdeviceconfigs", b"<x/>", "text/xml", device_id=device_id, version="1")).id
    return (await root.post("/api/pbxdeviceprofiles/", {"config_id": config, "name": f"p{config}"})).id


def said(reply: Reply, text: str, status: int = 422) -> bool:
    assert reply.status == status and text in reply.json()["message"], reply
    return True


@ensure
async def test_models_and_their_images(web: Web) -> None:
    root = web.client()
    said(await send(root, PATH, form(phone())), "field='front_image'")
    made = await send(root, PATH, form(phone(), front_image=(PNG, "a.jpg", "image/jpeg"), mac_image=(JPEG, "m", "")))
    item = f"{PATH}{made.id}"
    doc = await root.doc(item)
    assert [(r["name"], r["num_lines"], r["extension_range"]) for r in doc["linerange"]] == [("Phone Keys", 2, None)]
    assert doc["linerange"][0]["keys"] == phone()["linerange"][0]["keys"]
    assert (doc["bootstrap_config_http_sync_method"], doc["bootstrap_config_http_sync_params"]) == ("GET", "[% server.uri %]/$MA")
    assert not {"front_image", "mac_image"} & set(doc)
    for which, data, kind in (("", PNG, "image/png"), ("?type=front", PNG, "image/png"), ("?type=mac", JPEG, "image/jpeg")):
        reply = await root.get(f"/api/pbxdevicemodelimages/{made.id}{which}")
        assert (reply.status, reply.body, reply.headers["content-type"]) == (200, data, kind)
    said(await root.get(f"/api/pbxdevicemodelimages/{made.id}?type=side"), "field='type'")
    assert (await send(root, item, form(doc), method="PUT")).status == 204  # the images stay
    assert await root.doc(item) == doc
    assert (await send(root, item, form(doc, front_image=(JPEG, "x", "")), method="PUT", Prefer="return=representation")).status == 200
    assert (await root.get(f"/api/pbxdevicemodelimages/{made.id}")).body == JPEG
    patch = [{"op": "replace", "path": "/bootstrap_uri", "value": "http://x.example/"}]
    assert (await root.patch(item, patch)).status == 204 and (await root.doc(item))["bootstrap_uri"] == "http://x.example/"
    other = await model(root, model="T47")
    said(await root.get(f"/api/pbxdevicemodelimages/{other}?type=mac"), "Image type 'mac' is not uploaded", 404)
    assert (await root.delete(item)).status == 404 and (await root.put(item, doc)).status == 415
    said(await send(root, PATH, form(phone(), **FRONT)), "field='model'")
    line = phone()["linerange"][0]
    for name, wrong in (
        ("linerange", {}),
        ("linerange", []),
        ("linerange", [{**line, "keys": {}}]),
        ("linerange", [{k: v for k, v in line.items() if k != "can_blf"}]),
        ("linerange", [{**line, "keys": [{"x": 1, "y": 1, "labelpos": "middle"}]}]),
        ("linerange", [line, line]),
        ("type", "fax"),
        ("bootstrap_method", "tftp"),
        ("connectable_models", [other]),
        ("connectable_models", [made.id]),
        ("reseller_id", 999),
    ):
        said(await send(root, PATH, form(phone(model="new", **{name: wrong}), **FRONT)), f"field='{name}")
    for bad in (b"<svg/>", b"GIF", b"x" * 10):
        said(await send(root, PATH, form(phone(model="new"), front_image=(bad, "a.png", "image/png"))), "field='front_image'")
    said(await send(root, PATH, form(phone(model="new"), front_image=(PNG + bytes(5 << 20), "a", ""))), "field='front_image'")
    assert web.count(device_model) == 2
    _, foreign = await web.reseller("foreign")
    for path in (item, f"/api/pbxdevicemodelimages/{made.id}"):
        assert (await foreign.get(path)).status == 404
    assert (await send(foreign, item, form(doc), method="PUT")).status == 404


@ensure
async def test_modules_and_accounts_of_redirect_servers(web: Web) -> None:
    root = web.client()
    keys = {**phone()["linerange"][0], "name": "Extra Keys"}
    board = await model(root, type="extension", model="EXP", linerange=[keys])
    one = await model(root, connectable_models=[board], extensions_num=2, bootstrap_method="redirect_yealink")
    doc = await root.doc(f"{PATH}{one}")
    assert [(r["name"], r["extension_range"]) for r in doc["linerange"]] == [("Phone Keys", None), ("Extra Keys", board)]
    assert (await root.doc(f"{PATH}{board}"))["connectable_models"] == [one]
    assert (await send(root, f"{PATH}{one}", form(doc), method="PUT")).status == 204 and await root.doc(f"{PATH}{one}") == doc
    said(await send(root, f"{PATH}{one}", form({**doc, "type": "extension"}), method="PUT"), "field='type'")
    login = {"bootstrap_config_redirect_yealink_user": "u", "bootstrap_config_redirect_yealink_password": "topsecret"}
    assert (await send(root, f"{PATH}{one}", form({**doc, **login}), method="PUT")).status == 204
    shown = await root.doc(f"{PATH}{one}")
    assert shown["bootstrap_config_redirect_yealink_user"] == "u" and "bootstrap_config_redirect_yealink_password" not in shown

    def sealed() -> str | None:
        found: str | None = web.rows(sa.select(device_redirect_credentials.c.password_enc))[0][0]
        return found

    kept = sealed()
    assert kept is not None and web.env.vault.open(kept, f"redirect:{one}") == "topsecret"
    assert (await send(root, f"{PATH}{one}", form(shown), method="PUT")).status == 204 and sealed() == kept
    assert (await send(root, f"{PATH}{one}", form({**shown, "bootstrap_method": "http"}), method="PUT")).status == 204
    assert web.count(device_redirect_credentials) == 0


@ensure
async def test_firmware_and_templates(web: Web) -> None:
    root = web.client()
    device_id = await model(root)
    data = bytes(range(256)) * 10_000
    firmware = {"device_id": device_id, "version": "1.0", "filename": "fw 1.bin"}
    made = await upload(root, "pbxdevicefirmwares", data, "application/octet-stream", **firmware)
    doc = await root.doc(f"/api/pbxdevicefirmwares/{made.id}")
    assert {name: doc[name] for name in firmware} == firmware
    reply = await root.get(f"/api/pbxdevicefirmwarebinaries/{made.id}")
    assert (reply.body, reply.headers["content-type"]) == (data, "application/octet-stream")
    assert reply.headers["content-disposition"] == 'attachment; filename="fw 1.bin"'
    changed = await upload(root, "pbxdevicefirmwares", b"new", "application/octet-stream", "PUT", str(made.id), **{**firmware, "version": "2"})
    assert changed.status == 204 and (await root.get(f"/api/pbxdevicefirmwarebinaries/{made.id}")).body == b"new"
    assert (await root.doc("/api/pbxdevicefirmwares/?version=2"))["total_count"] == 1
    assert (await root.doc("/api/pbxdevicefirmwares/?version=1.0"))["total_count"] == 0
    said(await upload(root, "pbxdevicefirmwares", data, "application/octet-stream", **{**firmware, "device_id": 99}), "field='device_id'")
    assert (await upload(root, "pbxdevicefirmwares", b"x", "application/zip", **firmware)).status == 415

    template = "<a>[% x %] \u00fc</a>".encode()
    config = (await upload(root, "pbxdeviceconfigs", template, "text/xml; charset=utf-8", device_id=device_id, version="1")).id
    assert (await root.doc(f"/api/pbxdeviceconfigs/{config}"))["content_type"] == "text/xml"
    reply = await root.get(f"/api/pbxdeviceconfigfiles/{config}")
    assert (reply.body, reply.headers["content-type"]) == (template, "text/xml")
    assert "content-disposition" not in reply.headers
    more = {"device_id": device_id, "version": "2", "content_type": "text/x-own"}
    assert (await upload(root, "pbxdeviceconfigs", b"k=v", "text/plain", "PUT", str(config), **more)).status == 204
    assert (await root.get(f"/api/pbxdeviceconfigfiles/{config}")).headers["content-type"] == "text/x-own"
    said(await upload(root, "pbxdeviceconfigs", b"\xff", "text/plain", device_id=device_id, version="1"), "field='data'")
    said(await upload(root, "pbxdeviceconfigs", b"x", "text/plain", **{**more, "content_type": "a\r\nb: c"}), "field='content_type'")
    assert (await root.post("/api/pbxdeviceconfigs/", more)).status == 415
    profile = {"config_id": config, "name": "p"}
    key = (await root.post("/api/pbxdeviceprofiles/", profile)).id
    said(await root.post("/api/pbxdeviceprofiles/", profile), "field='name'")
    said(await root.post("/api/pbxdeviceprofiles/", {**profile, "config_id": 99}), "field='config_id'")
    _, foreign = await web.reseller("foreign")
    for path in (f"pbxdevicefirmwares/{made.id}", f"pbxdevicefirmwarebinaries/{made.id}", f"pbxdeviceconfigs/{config}", f"pbxdeviceprofiles/{key}"):
        assert (await root.get(f"/api/{path}")).status == 200 and (await foreign.get(f"/api/{path}")).status == 404
    said(await upload(foreign, "pbxdeviceconfigs", b"x", "text/plain", **more), "field='device_id'")


@ensure
async def test_devices_of_customers(web: Web) -> None:
    root = web.client()
    await root.post("/api/domains/", {"domain": "pbx.example", "reseller_id": 1})
    customer, plain = await web.customer(root, type="pbxaccount"), await web.customer(root)
    number = {"cc": "43", "ac": "1", "sn": "9"}
    pilot = await web.subscriber(root, customer, "pbx.example", "pilot", is_pbx_pilot=True, primary_number=number)
    seat = await web.subscriber(root, customer, "pbx.example", "seat", pbx_extension="1")
    stranger = await web.subscriber(root, plain, "pbx.example", "stranger")
    extra = {**phone()["linerange"][0], "name": "Extra Keys", "can_private": False}
    board = await model(root, type="extension", model="EXP", linerange=[extra])
    key = await profile(root, connectable_models=[board], extensions_num=1)
    line = {"linerange": "Phone Keys", "subscriber_id": pilot, "key_num": 0, "type": "private"}
    right = {"customer_id": customer, "profile_id": key, "identifier": "00:15:65:AB:CD:EF", "station_name": "Desk", "lines": [line]}

    async def refused(text: str, **change: Any) -> None:
        said(await root.post("/api/pbxdevices/", {**right, **change}), text)

    lines: list[dict[str, Any]] = [line, {**line, "linerange": "Extra Keys", "type": "blf", "extension_unit": 1, "subscriber_id": seat}]
    made = (await root.post("/api/pbxdevices/", {**right, "lines": lines})).id
    item = f"/api/pbxdevices/{made}"
    doc = await root.doc(item)
    assert (doc["identifier"], doc["bootstrapped"]) == ("001565abcdef", False)
    assert doc["lines"] == [{**line, "extension_unit": 0}, lines[1]]
    assert (await root.put(item, doc)).status == 204 and await root.doc(item) == doc
    sealed = web.rows(sa.select(device.c.encryption_key_enc))[0][0]
    assert len(web.env.vault.open(sealed, "device:001565abcdef")) == 16
    for same in ("001565ABCDEF", "00-15-65-ab-cd-ef", "0015.65ab.cdef"):
        await refused("Entry with given 'identifier' already exists.", identifier=same)
    right["identifier"] = "0015650000ff"
    await refused("field='customer_id'", customer_id=999)
    await refused("not of type pbxaccount", customer_id=plain)
    await refused("field='profile_id'", profile_id=999)
    await refused("field='station_name'", station_name="")
    for text, change in (
        ("Invalid 'linerange', does not exist.", {"linerange": "Other"}),
        ("Invalid 'linerange', does not exist.", {"extension_unit": 1}),
        ("field='lines_extension_unit'", {"extension_unit": 2}),
        ("Invalid 'key_num', out of range for this linerange.", {"key_num": 2}),
        ("Could not find subscriber", {"subscriber_id": stranger}),
        ("Could not find subscriber", {"subscriber_id": 999}),
        ("field='lines_type'", {"type": "loud"}),
        ("field='lines_type'", {"linerange": "Extra Keys", "extension_unit": 1}),
        ("field='lines_subscriber_id'", {"subscriber_id": None}),
        ("field='lines_linerange'", {"linerange": None}),
    ):
        await refused(text, lines=[{**line, **change}])
    await refused("the key is given twice", lines=[line, {**line, "subscriber_id": seat}])
    await refused("field='lines'", lines={})
    assert (await root.doc(f"/api/pbxdevices/?customer_id={customer}&identifier=001565*"))["total_count"] == 1
    # Another reseller sees nothing, and its profiles do not go with this customer.
    reseller, foreign = await web.reseller("foreign")
    theirs = await profile(root, reseller_id=reseller)
    await refused("must belong to the same reseller", profile_id=theirs)
    assert (await foreign.get(item)).status == 404 and (await foreign.delete(item)).status == 404
    said(await foreign.post("/api/pbxdevices/", right), "field='customer_id'")
    # What the model does not allow any more goes; a range that stays keeps its keys.
    models = await root.doc("/api/pbxdevicemodels/?type=phone&reseller_id=1")
    device_id = models["_embedded"]["ngcp:pbxdevicemodels"]["id"]
    shape = await root.doc(f"{PATH}{device_id}")
    await root.patch(item, [{"op": "replace", "path": "/lines", "value": [line, {**line, "key_num": 1, "type": "shared", "subscriber_id": seat}]}])
    own = next(r for r in shape["linerange"] if not r["extension_range"])
    smaller = {**own, "name": "Keys", "can_shared": False}
    assert (await send(root, f"{PATH}{device_id}", form({**shape, "linerange": [smaller]}), method="PUT")).status == 204
    assert (await root.doc(item))["lines"] == [{**line, "linerange": "Keys", "extension_unit": 0}]
    fresh = {**smaller, "id": None, "name": "New"}
    assert (await send(root, f"{PATH}{device_id}", form({**shape, "linerange": [fresh]}), method="PUT")).status == 204
    assert (await root.doc(item))["lines"] == [] and web.count(device_line) == 0
    assert web.rows(sa.select(device_line_range.c.name).where(device_line_range.c.device_id == device_id))[0][0] == "New"
    patch = [{"op": "replace", "path": "/identifier", "value": "aa:bb:cc:dd:ee:ff"}]
    assert (await root.patch(item, patch)).status == 204
    kept = web.rows(sa.select(device.c.encryption_key_enc))[0][0]
    assert len(web.env.vault.open(kept, "device:aabbccddeeff")) == 16
    second = (await root.post("/api/pbxdevices/", {**right, "lines": []})).id
    assert (await root.delete(item)).status == 204 and (await root.get(item)).status == 404
    assert (await root.patch(f"/api/customers/{customer}", [{"op": "replace", "path": "/status", "value": "terminated"}])).status == 204
    assert (await root.get(f"/api/pbxdevices/{second}")).status == 404 and web.count(device) == 0

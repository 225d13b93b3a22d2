"""The bundle that every resource passes (REST API 6.1)."""

from __future__ import annotations

import copy
import json
from typing import Any
from urllib.parse import quote
from xml.dom import minidom

import pytest_twisted

from ngcpd.provisioning.fields import Ref, Text
from ngcpd.provisioning.registry import standard
from ngcpd.provisioning.resource import Resource
from tests.web import forms
from tests.web.harness import Client, Reply, Web

ensure = pytest_twisted.ensureDeferred
REGISTRY = standard()
LIVE = ("subscriberregistrations",)  # answered by the registrar, tested with it
MADE = [r for r in REGISTRY.values() if "POST" in r.collection and "GET" in r.item and r.upload is None and r.name not in LIVE]
ALWAYS_OTHER = ("create_timestamp", "modify_timestamp", "activate_timestamp", "terminate_timestamp")


async def world(web: Web, root: Client) -> dict[str, int]:
    """One object of each kind that others refer to, by resource name."""
    ids: dict[str, int] = {"resellers": 1, "billingprofiles": 1, "systemcontacts": 2}
    ids["customercontacts"] = (await root.post("/api/customercontacts/", {"reseller_id": 1, "email": "c@example.org"})).id
    ids["customers"] = await web.customer(root)
    ids["domains"] = (await root.post("/api/domains/", {"domain": "voice.brook.example", "reseller_id": 1})).id
    number = {"cc": "43", "ac": "1", "sn": "9001"}
    ids["subscribers"] = await web.subscriber(root, ids["customers"], "voice.brook.example", "first", primary_number=number)
    peering = {"contact_id": 2, "type": "sippeering", "status": "active", "billing_profile_id": 1}
    ids["contracts"] = (await root.post("/api/contracts/", peering)).id
    for name in ("peeringgroups", "rewriterulesets", "ncoslevels", "lnpcarriers", "billingzones", "subscriberprofilesets", "profilepackages"):
        if name in REGISTRY:
            ids[name] = (await root.post(f"/api/{name}/", variant(REGISTRY[name], ids, 99))).id
    assert (await root.patch("/api/resellers/1", [{"op": "replace", "path": "/enable_rtc", "value": True}])).status == 204
    ids["pbx customer"] = await web.customer(root, type="pbxaccount")
    number = {"cc": "43", "ac": "1", "sn": "9002"}
    ids["pbx pilot"] = await web.subscriber(root, ids["pbx customer"], "voice.brook.example", "pilot", is_pbx_pilot=True, primary_number=number)
    models = REGISTRY["pbxdevicemodels"]
    picture = (b"\x89PNG\r\n\x1a\n", "front.png", "image/png")
    ids[models.name] = (await forms.send(root, "/api/pbxdevicemodels/", forms.form(dict(models.example), front_image=picture))).id
    query = f"device_id={ids[models.name]}&version=1"
    ids["pbxdeviceconfigs"] = (await root.raw("POST", f"/api/pbxdeviceconfigs/?{query}", b"<x/>", Content_Type="text/xml")).id
    profile = {"config_id": ids["pbxdeviceconfigs"], "name": "of the world"}
    ids["pbxdeviceprofiles"] = (await root.post("/api/pbxdeviceprofiles/", profile)).id
    return ids


def variant(resource: Resource, ids: dict[str, int], n: int) -> dict[str, Any]:
    """The example with ids that exist and texts that are this object's own."""
    body = copy.deepcopy(dict(resource.example))
    for f in resource.fields:
        if isinstance(f.type, Ref) and f.name in body:
            body[f.name] = ids[f.type.resource]
    unique = {name for group in resource.unique for name in group}
    unique |= {"zone", "pattern", "email", "username", "callee_prefix", "destination", "name", "code"}
    for name in unique & set(body):
        declared = resource.field(name)
        if declared is not None and isinstance(declared.type, Text):
            body[name] = f"{n}{body[name]}" if name != "pattern" else f"{body[name]}{n}"
    if resource.name == "resellers":
        body["contract_id"] = ids[f"reseller-contract-{n}"]
    if resource.name == "subscribers":
        body["primary_number"] = {"cc": "43", "ac": "7700", "sn": f"41{n:03d}"}
    if resource.name == "pbxdevices":
        body |= {"customer_id": ids["pbx customer"], "identifier": f"0015650000{n:02x}"}
        body["lines"][0]["subscriber_id"] = ids["pbx pilot"]
    if resource.name == "interceptions":
        body["number"] = "4319001"
    if resource.name == "reminders":
        body["subscriber_id"] = ids[f"subscriber-{n}"]
    if resource.name == "ncoslnpcarriers":
        body["carrier_id"] = ids[f"carrier-{n}"]
    return body


async def extra(web: Web, root: Client, resource: Resource, ids: dict[str, int], numbers: list[int]) -> None:
    if resource.name == "resellers":
        for n in numbers:
            body = {"contact_id": 2, "type": "reseller", "status": "active", "billing_profile_id": 1}
            ids[f"reseller-contract-{n}"] = (await root.post("/api/contracts/", body)).id
    if resource.name == "ncoslnpcarriers":
        for n in numbers:
            ids[f"carrier-{n}"] = (await root.post("/api/lnpcarriers/", {"name": f"c{n}", "prefix": f"D{n}"})).id
    if resource.name == "reminders":
        for n in numbers:
            ids[f"subscriber-{n}"] = await web.subscriber(root, ids["customers"], "voice.brook.example", f"r{n}")


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return {k: v for k, v in one.items() if k not in ALWAYS_OTHER} == {k: v for k, v in other.items() if k not in ALWAYS_OTHER}


@ensure
async def test_every_resource_that_is_made_by_post(web: Web) -> None:
    root = web.client()
    ids = await world(web, root)
    for resource in MADE:
        try:
            await extra(web, root, resource, ids, [1, 2, 3])
            await bundle(root, resource, ids)
        except AssertionError as error:
            raise AssertionError(f"{resource.name}: {error}") from error


async def bundle(root: Client, resource: Resource, ids: dict[str, int]) -> None:
    path = f"/api/{resource.name}/"
    bodies = [variant(resource, ids, n) for n in (1, 2, 3)]
    made = []
    for body in bodies:
        reply = await root.post(path, body)
        assert reply.status == 201 and reply.body == b"", reply
        assert reply.headers["location"].startswith(path), reply
        made.append(reply.id)
    await pages(root, resource, path, made)
    item = f"{path}{made[0]}"
    doc = await shown(root, resource, item, bodies[0])
    await refused(root, resource, path, bodies[0])
    if "PUT" in resource.item:
        await replaced(root, resource, item, doc)
    if "PATCH" in resource.item:
        await patched(root, resource, item, doc)
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        if method not in resource.item:
            assert (await root.raw(method, item, b"{}")).status == 404
    if "DELETE" in resource.item:
        for key in made:
            gone = await root.delete(f"{path}{key}")
            assert (gone.status, gone.body) == (204, b""), gone
            assert (await root.get(f"{path}{key}")).status == 404
            assert (await root.delete(f"{path}{key}")).status == 404
    if resource.journal:
        await journal(root, resource, item)


async def pages(root: Client, resource: Resource, path: str, made: list[int]) -> None:
    seen: list[int] = []
    page, total = 1, None
    while True:
        found = await root.doc(f"{path}?page={page}&rows=2")
        total = found["total_count"] if total is None else total
        assert found["total_count"] == total
        items = found["_embedded"].get(f"ngcp:{resource.name}", [])
        links = found["_links"].get(f"ngcp:{resource.name}", [])
        if isinstance(items, dict):
            assert isinstance(links, dict)
            items, links = [items], [links]
        else:
            assert len(items) != 1
        assert [f"{path}{i['id']}" for i in items] == [link["href"] for link in links]
        seen += [i["id"] for i in items]
        assert found["_links"]["self"]["href"] == f"{path}?page={page}&rows=2"
        assert ("prev" in found["_links"]) == (page > 1)
        assert ("next" in found["_links"]) == (total > page * 2)
        if "next" not in found["_links"]:
            break
        page += 1
    assert len(seen) == len(set(seen)) == total and set(made) <= set(seen)
    beyond = await root.doc(f"{path}?page=1000&rows=2")
    assert "next" not in beyond["_links"] and "prev" in beyond["_links"] and beyond["_embedded"] == {}
    back = await root.doc(f"{path}?rows=1000&order_by=id&order_by_direction=desc&nonsense=1&order_by_x=;")
    items = back["_embedded"][f"ngcp:{resource.name}"]
    assert [i["id"] for i in items] == sorted(seen, reverse=True)
    for bad in ("page=0", "rows=abc", "rows=-1"):
        assert (await root.get(f"{path}?{bad}")).status == 422


async def shown(root: Client, resource: Resource, item: str, body: dict[str, Any]) -> dict[str, Any]:
    reply = await root.get(item)
    doc: dict[str, Any] = reply.json()
    assert reply.status == 200
    for link in ("self", "collection", "profile", "curies"):
        assert link in doc["_links"]
    for name, value in doc["_links"].items():
        if name.startswith("ngcp:"):
            for target in value if isinstance(value, list) else [value]:
                answer = await root.get(target["href"])
                assert answer.status == 200, (name, target, answer)
    for name, value in body.items():
        declared = resource.field(name)
        if declared is not None and not declared.write_only and not isinstance(value, list | dict):
            assert doc[name] == value, (name, doc[name], value)
    assert f'<{item}>; rel="item self"' in reply.links
    return doc


async def refused(root: Client, resource: Resource, path: str, body: dict[str, Any]) -> None:
    before = (await root.doc(path))["total_count"]
    for f in resource.fields:
        if f.required and not f.read_only and not f.own:
            answer = await root.post(path, {k: v for k, v in body.items() if k != f.name})
            assert answer.status == 422 and f"field='{f.name}'" in answer.json()["message"], (f.name, answer)
        if isinstance(f.type, Ref) and not f.read_only and not f.own:
            answer = await root.post(path, {**body, f.name: 2_000_000_000})
            assert answer.status == 422, (f.name, answer)
        if not f.read_only and f.name != "purge_existing":
            for wrong in ([], {}, {"a": [1]}, [{"x": None}], 1.5, "\0", "x" * 70_000, True):
                answer = await root.post(path, {**body, f.name: wrong})
                assert answer.status in (201, 422, 403), (f.name, wrong, answer)
                if answer.status == 201:
                    before += 1
    assert (await root.doc(path))["total_count"] == before
    for f in resource.filters:
        for text in ("'", "\\", "%", "*", "NULL", "1", "a,b", "2024-01-01", "\u20ac", "[", "9" * 30):
            answer = await root.get(f"{path}?{f.name}={quote(text)}")
            assert answer.status in (200, 422), (f.name, text, answer)


async def replaced(root: Client, resource: Resource, item: str, doc: dict[str, Any]) -> None:
    data = json.dumps(doc).encode()
    assert (await root.raw("PUT", item, data)).status == 415
    assert (await root.raw("PUT", item, data, Content_Type="text/plain")).status == 415
    wrong = await root.put(item, doc, Prefer="nonsense")
    assert wrong.status == 400 and wrong.json()["message"].startswith("Header 'Prefer' must be either")
    assert (await root.raw("PUT", item, b"", Content_Type="application/json")).status == 400
    assert (await root.put(item, doc, Link="<x>; rel=self")).status == 400
    minimal = await root.put(item, doc)
    assert (minimal.status, minimal.body, minimal.headers.get("preference-applied")) == (204, b"", "return=minimal"), minimal
    now = await root.doc(item)
    assert same(now, doc), (now, doc)
    full = await root.put(item, doc, Prefer="return=representation")
    assert (full.status, full.headers["preference-applied"]) == (200, "return=representation")
    assert same(full.json(), doc)
    assert (await root.put(f"/api/{resource.name}/999999999", doc)).status == 404
    assert (await root.put(f"/api/{resource.name}/abc", doc)).status == 400


async def patched(root: Client, resource: Resource, item: str, doc: dict[str, Any]) -> None:
    kind = "application/json-patch+json"

    async def send(body: bytes, mime: str = kind) -> Reply:
        return await root.raw("PATCH", item, body, Content_Type=mime)

    assert (await send(b"[]", "application/json")).status == 415
    for bad in (b"{}", b"[1]", b"[{}]", b'[{"op":""}]', b'[{"op":"foo","path":"/x"}]', b'[{"op":"replace","path":"/x"}]', b'[{"op":"replace"}]'):
        assert (await send(bad)).status == 400, bad
    assert (await send(b'[{"op":"replace","path":"/x","value":1,"extra":1}]')).status == 400
    assert (await send(b'[{"op":"test","path":"/id","value":1}]')).status == 400
    missing = await send(b'[{"op":"replace","path":"/foo/bar","value":1}]')
    assert missing.status == 422 and missing.json()["message"].startswith("The entity could not be processed"), missing
    assert (await send(b"[]")).status == 204
    name, value = next(((f.name, "changed") for f in resource.fields if f.name in ("description", "city", "detail")), ("", ""))
    if name:
        reply = await root.raw(
            "PATCH",
            item,
            json.dumps([{"op": "replace", "path": f"/{name}", "value": value}]).encode(),
            Content_Type=kind,
            Prefer="return=representation",
        )
        assert reply.status == 200 and reply.json()[name] == value, reply
        assert same({**reply.json(), name: doc[name]}, doc)


async def journal(root: Client, resource: Resource, item: str) -> None:
    found = await root.doc(f"{item}/journal/?rows=100")
    entries = found["_embedded"]["ngcp:journal"]
    assert isinstance(entries, list)
    wanted = ["create"]
    assert [e["operation"] for e in entries][:1] == wanted and entries[0]["username"] == "administrator"
    assert (entries[-1]["operation"] == "delete") == ("DELETE" in resource.item)
    recent = await root.doc(f"{item}/journal/recent")
    assert recent["id"] == entries[-1]["id"] and isinstance(recent["content"], dict)
    assert (await root.doc(f"{item}/journal/{entries[0]['id']}"))["operation"] == "create"
    only = await root.doc(f"{item}/journal/?operation=create")
    assert only["total_count"] == 1
    assert (await root.get(f"{item}/journal/99999999")).status == 404


@ensure
async def test_resellers_are_kept_apart(web: Web) -> None:
    """What belongs to reseller A is not there for reseller B."""
    root = web.client()
    ids = await world(web, root)
    _, other = await web.reseller("other")
    for resource in MADE:
        await extra(web, root, resource, ids, [4])
        key = (await root.post(f"/api/{resource.name}/", variant(resource, ids, 4))).id
        item = f"/api/{resource.name}/{key}"
        if "reseller" not in resource.roles:
            assert (await other.get(item)).status == 403, resource.name
            assert (await other.get(f"/api/{resource.name}/")).status == 403, resource.name
            continue
        doc = await root.doc(item)
        hidden = 404 if "reseller" in resource.roles_of(True) else 403
        for method in set(resource.item) - {"HEAD", "OPTIONS"}:
            kind = "application/json-patch+json" if method == "PATCH" else "application/json"
            data = None if method in ("GET", "DELETE") else b"[]" if method == "PATCH" else json.dumps(doc).encode()
            answer = await other.raw(method, item, data, Content_Type=kind)
            assert answer.status == hidden, (resource.name, method, answer)
        found = await other.doc(f"/api/{resource.name}/?rows=1000")
        shown = found["_embedded"].get(f"ngcp:{resource.name}", [])
        assert key not in [i["id"] for i in (shown if isinstance(shown, list) else [shown])], resource.name
        assert (await other.post(f"/api/{resource.name}/", variant(resource, ids, 5 if f"subscriber-{5}" in ids else 4))).status in (422, 201)


@ensure
async def test_every_collection_and_the_generated_documents(web: Web) -> None:
    root = web.client()
    openapi = (await root.get("/api/openapi.json")).json()
    obligatory = {"calllists": f"&customer_id={await web.customer(root)}"}
    assert openapi["openapi"] == "3.1.0"
    references: list[str] = []
    operations: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            references.extend([node["$ref"]] if "$ref" in node else [])
            operations.extend([node["operationId"]] if "operationId" in node else [])
        for below in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(below)

    walk(openapi)
    assert len(operations) == len(set(operations)) > 200
    for reference in set(references):
        found = openapi
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    minidom.parseString((await root.get("/api/")).body)
    for resource in REGISTRY.values():
        answer = await root.raw("OPTIONS", f"/api/{resource.name}/")
        assert answer.status == 200 and answer.json()["methods"] == list(resource.collection)
        if "GET" in resource.collection and resource.name not in LIVE:
            found = await root.get(f"/api/{resource.name}/?rows=3{obligatory.get(resource.name, '')}")
            assert found.status == 200, (resource.name, found)
        if resource.single is None:
            assert {f"/api/{resource.name}/", f"/api/{resource.name}/{{id}}"} & set(openapi["paths"])


@ensure
async def test_views_of_a_subscriber_come_back_as_they_were_sent(web: Web) -> None:
    """What has an item per subscriber: PUT of what GET gave changes nothing, wrong types are refused, nothing of it breaks."""
    root = web.client()
    ids = await world(web, root)
    samples: dict[str, dict[str, Any]] = {
        "speeddials": {"speeddials": [{"slot": "*1", "destination": "431200"}]},
        "autoattendants": {"slots": [{"slot": 1, "destination": "431200"}]},
        "ccmapentries": {"mappings": [{"auth_key": "431200"}]},
        "voicemailsettings": {"pin": "4711", "email": "a@example.org", "attach": True, "delete": True},
        "faxserversettings": {
            "name": "fax",
            "password": "s3cret-pw",
            "active": True,
            "destinations": [{"destination": "a@example.org", "filetype": "PDF", "incoming": True, "outgoing": False, "status": False}],
        },
    }
    for name, sample in samples.items():
        item = f"/api/{name}/{ids['subscribers']}"
        assert (await root.put(item, sample)).status == 204, name
        doc = await root.doc(item)
        for key, value in sample.items():
            if not isinstance(value, list):
                assert doc[key] == value, (name, key, doc)
        assert (await root.put(item, doc)).status == 204, name
        assert await root.doc(item) == doc, name
        for f in REGISTRY[name].fields:
            if not f.read_only:
                for wrong in ({"a": 1}, [1], "\0", 1.5, [{"x": 1}]):
                    assert (await root.put(item, {**sample, f.name: wrong})).status in (204, 422), (name, f.name, wrong)
        twice = {k: v + v if isinstance(v, list) else v for k, v in sample.items()}
        if twice != sample:
            assert (await root.put(item, twice)).status == 422, name
        assert (await root.put(f"/api/{name}/999999", sample)).status == 404
    empty = await root.doc("/api/speeddials/?nonempty=false")
    assert empty["total_count"] == 1 and empty["_embedded"]["ngcp:speeddials"]["id"] == ids["pbx pilot"]
    assert (await root.put(f"/api/voicemailsettings/{ids['subscribers']}", {"pin": "12"})).status == 422
    assert (await root.put(f"/api/voicemailsettings/{ids['subscribers']}", {"pin": "1234", "delete": True, "attach": False})).status == 422

"""Bad input over all collections and fields, out of the declarations: wrong types, unknown ids, other resellers' objects, twice the same, what
means something to SQL, templates, paths and browsers. The bundle of test_generic.py has the single fields; here everything meets everything."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted
import sqlalchemy as sa
from twisted.internet.defer import DeferredList, ensureDeferred

from ngcpd.provisioning.fields import Array, Bool, Choice, Day, Enum, Field, Int, Moment, Number, Object, Ref, Text, TimeOfDay
from ngcpd.provisioning.resource import Resource
from ngcpd.store.tables.tenancy import contact
from tests.web.harness import Client, Web
from tests.web.test_generic import LIVE, MADE, REGISTRY, extra, variant, world

ensure = pytest_twisted.ensureDeferred
one_engine = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
SCALARS = (Int, Bool, Enum, Choice, Number, Moment, Day, TimeOfDay, Ref)
NASTY = (
    "'; DROP TABLE contact; --",
    '" OR "1"="1',
    "\\' UNION SELECT password_hash FROM admin#",
    "[% USE x = Directory('/') %][% 7*7 %]{{7*7}}${7*7}",
    "../../../../etc/passwd",
    "%00%0a..%2f%n%s",
    "<script>alert(1)</script><!--",
    "=cmd|' /C calc'!A0",
    "\u0130\u0131\ufb03\U0001f4de\u05d0",
)
VIEWS = [r for r in REGISTRY.values() if "PUT" in r.item and "POST" not in r.collection and r.parse is None and r.fields]


def wrong(kind: str, f: Field) -> bool:
    """Whether a value of this kind is wrong for a field. `kind`: object, list, words, control, long, far."""
    type_ = f.type
    if kind == "object":
        return isinstance(type_, (*SCALARS, Text, Array))
    if kind == "list":
        return isinstance(type_, (*SCALARS, Text, Object))
    if kind == "words":
        return isinstance(type_, (*SCALARS, Array, Object))
    if kind == "control":
        return isinstance(type_, (*SCALARS, Text, Array, Object))
    if kind == "long":
        return isinstance(type_, Enum | Choice | TimeOfDay | Moment) or (isinstance(type_, Text) and type_.longest <= 5000)
    return isinstance(type_, Ref | Choice) or (isinstance(type_, Int) and type_.high < 10**30)


VALUES: dict[str, Any] = {
    "object": {"a": {"b": [None]}},
    "list": [[{"a": 1}]],
    "words": "neither this nor that",
    "control": "a\x00b\x1b[2J",
    "long": "9" * 5001,
    "far": 10**30,
}


def written(resource: Resource) -> list[Field]:
    return [f for f in resource.fields if not f.read_only]


async def check_kinds(client: Client, resource: Resource, method: str, path: str) -> None:
    """All fields wrong at once: each is named, and nothing else is said of the value than a short part of it."""
    for kind, value in VALUES.items():
        fields = [f for f in written(resource) if wrong(kind, f)]
        if not fields:
            continue
        body = json.dumps({f.name: value for f in fields}).encode()
        answer = await client.raw(method, path, body, Content_Type="application/json")
        message = answer.json().get("message", "")
        assert answer.status == 422 and message.startswith("Validation failed. "), (resource.name, kind, answer)
        missing = [f.name for f in fields if f"field='{f.name}'" not in message and f"field='{f.name}_" not in message]
        assert not missing, (resource.name, kind, missing, message)
        assert "9" * 100 not in message and "\x1b" not in message and len(message) < 300 * (len(written(resource)) + 1)


@one_engine
@ensure
async def test_every_field_refuses_every_wrong_kind(web: Web) -> None:
    root = web.client()
    ids = await world(web, root)
    for resource in MADE:
        await check_kinds(root, resource, "POST", f"/api/{resource.name}/")
    for resource in VIEWS:
        key = ids["customers"] if resource.name == "customerbalances" else ids["subscribers"]
        if (await root.get(f"/api/{resource.name}/{key}")).status == 200:
            await check_kinds(root, resource, "PUT", f"/api/{resource.name}/{key}")


def references(resource: Resource) -> list[Field]:
    """Fields of their own that name an object a reseller has to own."""
    found = []
    for f in written(resource):
        if isinstance(f.type, Ref) and not f.own and "reseller" in REGISTRY[f.type.resource].roles:
            found.append(f)
    return found


@one_engine
@ensure
async def test_no_field_takes_another_resellers_object(web: Web) -> None:
    root = web.client()
    ids = await world(web, root)
    _, own = await web.reseller("alps")
    seen = set()
    for resource in MADE:
        fields = references(resource)
        if "reseller" not in resource.roles or not fields:
            continue
        await extra(web, root, resource, ids, [7])
        body = variant(resource, ids, 7)
        for f in fields:
            assert isinstance(f.type, Ref)
            if f.type.resource not in ids:
                continue
            foreign = ids[f.type.resource]
            for value in (foreign, 2_000_000_000, str(foreign)):
                answer = await own.post(f"/api/{resource.name}/", {**body, f.name: value})
                assert answer.status == 422, (resource.name, f.name, value, answer)
                assert f"field='{f.name}'" in answer.json()["message"], (resource.name, f.name, answer)
            seen.add((resource.name, f.name))
    assert len(seen) >= 15, seen


@ensure
async def test_nothing_is_there_twice(web: Web) -> None:
    """Each group of fields that is unique: a second POST, and a PUT that makes one like another, on both engines."""
    root = web.client()
    ids = await world(web, root)
    for resource in MADE:
        if not resource.unique:
            continue
        await extra(web, root, resource, ids, [8, 9, 10])
        path = f"/api/{resource.name}/"
        first, second, third = (variant(resource, ids, n) for n in (8, 9, 10))
        assert (await root.post(path, first)).status == 201, resource.name
        other = (await root.post(path, second)).id
        for group in resource.unique:
            same = {name: first[name] for name in group if name in first}
            if len(same) < len(group):
                continue
            again = await root.post(path, {**third, **same})
            assert again.status == 422 and f"field='{group[-1]}'" in again.json()["message"], (resource.name, group, again)
            if "PUT" in resource.item:
                changed = await root.put(f"{path}{other}", {**await root.doc(f"{path}{other}"), **same})
                assert changed.status == 422, (resource.name, group, changed)


@one_engine
@ensure
async def test_text_means_nothing(web: Web) -> None:
    """What means something elsewhere is kept as it is, finds what it says and nothing else, and is a plain wrong value otherwise."""
    root = web.client()
    for n, text in enumerate(NASTY):
        body = {"email": f"n{n}@example.org", "firstname": text, "gpp0": text, "street": text}
        made = await root.post("/api/systemcontacts/", body)
        doc = await root.doc(f"/api/systemcontacts/{made.id}")
        assert (doc["firstname"], doc["gpp0"], doc["street"]) == (text, text, text)
        level = await root.post("/api/ncoslevels/", {"reseller_id": 1, "level": text[:31], "mode": "blacklist", "description": text})
        assert level.status == 201, (text, level)
        found = await root.doc(f"/api/ncoslevels/?level={quote(text[:31].replace('*', ''))}")
        assert found["total_count"] == 1 and found["_embedded"]["ngcp:ncoslevels"]["id"] == level.id, text
        assert quote(text[:31], safe="") in found["_links"]["self"]["href"]
    before = web.count(contact)
    for resource in REGISTRY.values():
        if resource.name in LIVE or "GET" not in resource.collection or resource.single is not None:
            continue
        path = f"/api/{resource.name}/"
        plain = await root.get(path)
        for text in NASTY[:5]:
            for name in ("order_by", "order_by_direction"):
                answer = await root.get(f"{path}?{name}={quote(text)}")
                assert answer.status == plain.status == 200 or answer.status == plain.status, (resource.name, name, text, answer)
            for name in ("page", "rows"):
                answer = await root.get(f"{path}?{name}={quote(text)}")
                assert answer.status == 422, (resource.name, name, text, answer)
        for declared in resource.filters:
            answer = await root.get(f"{path}?{declared.name}={quote(NASTY[0])}&{quote(NASTY[1])}={quote(NASTY[2])}")
            assert answer.status in (200, 404, 422), (resource.name, declared.name, answer)
            if (
                answer.status == 200
                and declared.kind in ("like", "contains", "string", "list")
                and not declared.negate
                and resource.name != "ncoslevels"
            ):
                assert answer.json()["total_count"] == 0, (resource.name, declared.name)
    assert web.count(contact) == before
    for secret in ("password_hash", "password", "webpassword", "sip_password_enc", "ha1"):
        for name in ("admins", "subscribers"):
            assert (await root.get(f"/api/{name}/?order_by={secret}")).status == 200, "no order by what is hidden, no fault either"


@one_engine
@ensure
async def test_bodies_that_are_no_documents(web: Web) -> None:
    root = web.client()
    ids = await world(web, root)
    deep = b'{"a":' * 3000 + b"1" + b"}" * 3000
    bad = (b"", b"{", b"[]", b'"text"', b"null", b"1", b'{"a":1,"a":2}', b"{'a': 1}", b'{"a":Infinity}', b"\xff\xfe{}", deep, b"[" * 200_000)
    broken = 0
    for resource in REGISTRY.values():
        if resource.name in LIVE or getattr(resource, "upload", None) is not None:
            continue
        targets = [("POST", f"/api/{resource.name}/")] if "POST" in resource.collection else []
        key = ids.get(resource.name, ids["subscribers"])
        if "PUT" in resource.item and (await root.get(f"/api/{resource.name}/{key}")).status == 200:
            targets += [("PUT", f"/api/{resource.name}/{key}"), ("PATCH", f"/api/{resource.name}/{key}")][: 1 + ("PATCH" in resource.item)]
        for method, path in targets:
            kind = "application/json-patch+json" if method == "PATCH" else "application/json"
            for body in bad:
                if method == "PATCH" and body == b"[]":
                    continue
                answer = await root.raw(method, path, body, Content_Type=kind)
                assert answer.status == 400 and set(answer.json()) == {"code", "message"}, (method, path, body[:20], answer)
            for other in ("text/plain", "application/xml", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", ""):
                answer = await root.raw(method, path, b"{}", Content_Type=other)
                assert answer.status == 415, (method, path, other, answer)
                assert answer.json()["message"].startswith("Unsupported media type '"), answer
            broken += 1
    assert broken > 70, broken
    huge = b'{"email":"' + b"x" * (10 << 20) + b'"}'
    for method, path in (("POST", "/api/customers/"), ("PUT", f"/api/subscribers/{ids['subscribers']}"), ("PATCH", f"/api/domains/{ids['domains']}")):
        answer = await root.raw(method, path, huge, Content_Type="application/json")
        assert (answer.status, answer.json()["code"]) == (413, 413), (method, path)


@ensure
async def test_many_change_one_object_at_a_time(web: Web) -> None:
    """Concurrent PUT and PATCH of one object of each kind: no fault, no mixture; the last one stands."""
    root = web.client()
    ids = await world(web, root)
    clients = [web.client() for _ in range(4)]
    for name, field in (("ncoslevels", "description"), ("rewriterulesets", "description"), ("customercontacts", "city"), ("billingzones", "detail")):
        path = f"/api/{name}/{ids[name]}"
        doc = await root.doc(path)
        work = [c.put(path, {**doc, field: f"put {n}"}) for n, c in enumerate(clients[:2])]
        work += [c.patch(path, [{"op": "replace", "path": f"/{field}", "value": f"patch {n}"}]) for n, c in enumerate(clients[2:])]
        replies = await DeferredList([ensureDeferred(w) for w in work])
        assert [reply.status for _, reply in replies] == [204] * 4, (name, replies)
        after = await root.doc(path)
        assert after[field] in {f"{way} {n}" for way in ("put", "patch") for n in range(2)}
        assert {k: v for k, v in after.items() if k not in (field, "modify_timestamp")} == {
            k: v for k, v in doc.items() if k not in (field, "modify_timestamp")
        }
    gone = await DeferredList([ensureDeferred(c.delete(f"/api/ncoslevels/{ids['ncoslevels']}")) for c in clients])
    assert sorted(reply.status for _, reply in gone) == [204, 404, 404, 404]
    assert web.rows(sa.select(sa.literal(1)))

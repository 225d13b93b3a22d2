"""Logins, paths, methods, media types, errors (REST API 1.1 to 1.9)."""

from __future__ import annotations

import csv
import hashlib
import json

import pytest
import pytest_twisted
import sqlalchemy as sa

from ngcpd.store.tables.tenancy import admin
from tests.web.harness import Web

ensure = pytest_twisted.ensureDeferred


@ensure
async def test_login_and_denial(web: Web) -> None:
    root = web.client()
    assert (await root.get("/api/domains/")).status == 200
    for auth in ("", "Basic", "Basic !!!", "Bearer x", "Basic YWRtaW5pc3RyYXRvcjp3cm9uZw==", "Basic OmE="):
        denied = await root.raw("GET", "/api/domains/", Authorization=auth)
        assert denied.status == 401, auth
        assert denied.headers["www-authenticate"] == 'Basic realm="api_admin_http"'
        assert denied.json()["code"] == 401
    for path in ("/", "/api/nothing/", "/api/openapi.json", "/api/", "/api/domains/1", "/x"):
        assert (await root.raw("GET", path, Authorization="Basic eDp5")).status in (401, 404)


@ensure
async def test_paths_and_methods(web: Web) -> None:
    root = web.client()
    moved = await root.get("/api/domains?page=2")
    assert (moved.status, moved.headers["location"]) == (301, "/api/domains/?page=2")
    for path in ("/api/nothing/", "/api/nothing", "/api/domains/1/x", "/api/domains/1/journal/x/y"):
        answer = await root.get(path)
        assert (answer.status, answer.json()) == (404, {"code": 404, "message": "Path not found"})
    assert (await root.raw("PUT", "/api/domains/1", b"{}")).status == 404
    assert (await root.raw("DELETE", "/api/domains/")).status == 404
    assert (await root.get("/api/domains/abc")).json() == {"code": 400, "message": "Invalid id in request URI"}
    gone = await root.get("/api/domains/99999999999")
    assert (gone.status, gone.body) == (404, b"{\"code\":404,\"message\":\"Entity 'domain' not found.\"}\n")


@ensure
async def test_options_and_head(web: Web) -> None:
    root = web.client()
    found = await root.raw("OPTIONS", "/api/customers/")
    assert found.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert found.headers["accept-post"] == "application/hal+json; profile=http://purl.org/sipwise/ngcp-api/#rel-customers"
    assert found.json() == {"methods": ["GET", "HEAD", "OPTIONS", "POST"]}
    item = await root.raw("OPTIONS", "/api/customers/1")
    assert item.headers["allow"] == "GET, HEAD, OPTIONS, PUT, PATCH"
    assert item.headers["accept-patch"] == "application/json-patch+json"
    head = await root.raw("HEAD", "/api/customercontacts/1")
    get = await root.get("/api/customercontacts/1")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(get.body))
    assert get.headers["content-type"] == 'application/hal+json; profile="http://purl.org/sipwise/ngcp-api/"'
    page = await root.get("/api/")
    assert page.status == 200 and b"customercontacts" in page.body and page.headers["content-language"] == "en"
    assert '</api/customers/>; rel="collection http://purl.org/sipwise/ngcp-api/#rel-customers"' in page.links


@ensure
async def test_bodies(web: Web) -> None:
    root = web.client()
    path = "/api/systemcontacts/"

    async def post(body: bytes, kind: str = "application/json", **headers: str) -> int:
        return (await root.raw("POST", path, body, Content_Type=kind, **headers)).status

    assert await post(b"") == 400
    assert await post(b"{") == 400
    assert await post(b"[]") == 400
    assert await post(b'{"email":"a@b.c","email":"a@b.c"}') == 400
    assert await post(b'{"email":NaN}') == 400
    assert await post(b'{"email":"\\ud800"}') == 400
    assert await post(b"\xff") == 400
    assert await post(b'{"a":' * 65 + b"1" + b"}" * 65) == 400
    assert await post(b"[" * 100_000) == 400
    assert await post(b'{"email":"a@b.c"}', "text/plain") == 415
    assert await post(b'{"email":"a@b.c"}', Link="<x>; rel=y") == 400
    assert (await root.raw("POST", path, b" " * (10 << 20), Content_Type="application/json")).status == 413
    assert await post(b'{"email":"a@b.c","unknown":[{}],"id":77}') == 201
    missing = await root.post(path, {"firstname": "x"})
    assert missing.status == 422 and "field='email'" in missing.json()["message"]
    assert missing.json()["message"].startswith("Validation failed. ")


@ensure
async def test_failed_logins_are_limited(web: Web) -> None:
    bad = web.client("administrator", "wrong")
    seen = [(await bad.get("/api/domains/")).status for _ in range(21)]
    assert seen[:20] == [401] * 20 and seen[20] == 429
    assert (await web.client().get("/api/domains/")).status == 429


@ensure
async def test_csv_of_a_page(web: Web) -> None:
    root = web.client()
    for name in ("b,1", 'a"2'):
        body = {"reseller_id": 1, "name": name, "description": "x", "blocks": [{"ip": "192.0.2.1"}]}
        assert (await root.post("/api/billingnetworks/", body)).status == 201
    answer = await root.get("/api/billingnetworks/?order_by=name", Accept="text/csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(answer.body.decode().splitlines()))
    assert [row["name"] for row in rows] == ['a"2', "b,1"] and json.loads(rows[0]["blocks"]) == [{"ip": "192.0.2.1", "mask": None}]


@ensure
async def test_starting(web: Web) -> None:
    web.api.ready = lambda: False
    answer = await web.client().get("/api/domains/")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")


@ensure
async def test_md5_of_an_older_system_is_made_new(web: Web) -> None:
    old = hashlib.md5(b"administrator").hexdigest()
    web.database.run_here(lambda conn: conn.execute(sa.update(admin).where(admin.c.id == 1).values(password_hash=old)))
    assert (await web.client("administrator", "wrong").get("/api/domains/")).status == 401
    assert (await web.client().get("/api/domains/")).status == 200
    assert web.rows(sa.select(admin.c.password_hash).where(admin.c.id == 1))[0][0].startswith("$argon2id$")
    assert (await web.client().get("/api/domains/")).status == 200


@ensure
async def test_a_verified_login_is_remembered_without_asking_argon(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    verify = web.env.argon.verify

    def counted(stored: str, password: str) -> bool:
        asked.append(password)
        return verify(stored, password)

    monkeypatch.setattr(web.env.argon, "verify", counted)
    for _ in range(3):
        assert (await web.client().get("/api/domains/")).status == 200
    assert asked == ["administrator"]
    assert (await web.client("administrator", "Administrator").get("/api/domains/")).status == 401
    assert len(asked) == 2


@ensure
async def test_admin_changes_are_in_force_at_once(web: Web) -> None:
    root = web.client()
    made = await root.post("/api/admins/", {"reseller_id": 1, "login": "second", "password": "correct-horse", "is_superuser": True})
    second = web.client("second", "correct-horse")
    assert (await second.get("/api/contracts/")).status == 200
    assert "password" not in (await root.doc(f"/api/admins/{made.id}"))
    path = f"/api/admins/{made.id}"
    assert (await root.patch(path, [{"op": "replace", "path": "/read_only", "value": True}])).status == 204
    import tests.store.helpers as helpers

    async def until(status: int, method: str = "POST") -> None:
        for _ in range(200):
            body = b'{"email":"a@b.c"}' if method == "POST" else None
            answer = await second.raw(method, "/api/systemcontacts/", body, Content_Type="application/json")
            if answer.status == status:
                return
            await helpers.turn(0.02)
        raise AssertionError(f"never {status}")

    await until(403)
    assert (await second.raw("POST", "/api/systemcontacts/", b"{}")).json()["message"] == "Invalid HTTP method for read-only user"
    assert (await second.raw("OPTIONS", "/api/systemcontacts/")).json() == {"methods": ["GET", "HEAD", "OPTIONS"]}
    assert (await second.get("/api/systemcontacts/")).status == 200
    assert (await root.delete("/api/admins/1")).status == 403
    assert (await root.delete(path)).status == 204
    await until(401, "GET")

"""Every route is closed unless a declaration opens it: all of them without a login, with one that may only look, with a reseller's without rights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import pytest_twisted

from ngcpd.provisioning.registry import standard
from tests.web.harness import Client, Reply, Web
from tests.web.test_generic import LIVE

ensure = pytest_twisted.ensureDeferred
pytestmark = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "X")
READING = ("GET", "HEAD", "OPTIONS")
SHARED = [r.name for r in standard().values() if r.unscoped]
"""What belongs to nobody; resellers may read it."""


def routes() -> Iterator[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    """(method, path, methods that are declared there, roles)"""
    for resource in standard().values():
        if resource.name in LIVE:
            continue
        places = [
            (f"/api/{resource.name}/", resource.collection, resource.roles),
            (f"/api/{resource.name}/1", resource.item, resource.roles_of(True)),
        ]
        if resource.journal:
            places += [(f"/api/{resource.name}/1/journal/{part}", READING, resource.roles_of(True)) for part in ("", "1", "recent")]
        for path, declared, roles in places:
            for method in METHODS:
                yield method, path, declared, roles


async def ask(client: Client, method: str, path: str) -> Reply:
    reply = await client.raw(method, path, b"{}" if method in ("POST", "PUT", "PATCH") else None, Content_Type="application/json")
    assert reply.status < 500, (method, path, reply)
    if reply.status >= 400 and method != "HEAD":
        assert set(reply.json()) == {"code", "message"} and reply.json()["code"] == reply.status and reply.body.endswith(b"}\n"), reply
        assert reply.headers["content-type"] == "application/json"
    return reply


@ensure
async def test_nothing_without_a_login(web: Web) -> None:
    stranger = web.client()
    stranger.auth = ""
    for method, path, _, _ in routes():
        reply = await ask(stranger, method, path)
        assert reply.status == 401 and reply.headers["www-authenticate"] == 'Basic realm="api_admin_http"', (method, path)
    for path in ("/api/", "/api/openapi.json", "/api/nothing/", "/api/admins/x/y/z"):
        assert (await ask(stranger, "GET", path)).status == 401, path


@ensure
async def test_a_login_that_may_only_look(web: Web) -> None:
    body = {"reseller_id": 1, "login": "looker", "password": "correct-horse", "is_superuser": True, "read_only": True, "lawful_intercept": True}
    assert (await web.client().post("/api/admins/", body)).status == 201
    looker = web.client("looker", "correct-horse")
    before = web.notices()
    for method, path, declared, _ in routes():
        reply = await ask(looker, method, path)
        if method not in declared:
            assert reply.status == 404, (method, path)
        elif method in READING:
            assert reply.status in (200, 400, 404, 422), (method, path, reply)
            if method == "OPTIONS":
                assert set(reply.headers["allow"].split(", ")) <= set(READING), (path, reply)
        else:
            assert (reply.status, reply.json()["message"]) == (403, "Invalid HTTP method for read-only user"), (method, path)
    assert before and not web.notices(), "nothing was written"


@ensure
async def test_a_resellers_login_without_rights(web: Web) -> None:
    root = web.client()
    key, _ = await web.reseller("alps")
    flags = dict.fromkeys(("is_superuser", "is_master", "show_passwords", "call_data", "billing_data", "lawful_intercept"), False)
    assert (await root.post("/api/admins/", {"reseller_id": key, "login": "plain", "password": "correct-horse", **flags})).status == 201
    plain = web.client("plain", "correct-horse")
    web.notices()
    for method, path, declared, roles in routes():
        reply = await ask(plain, method, path)
        if method not in declared:
            assert reply.status == 404, (method, path)
        elif "reseller" not in roles:
            assert reply.status == 403, (method, path, reply)
        elif path.split("/")[2] in SHARED and method in READING:
            assert reply.status in (200, 404)
        elif path.endswith("/1") and method not in ("OPTIONS",):
            # Objects with id 1 are the first reseller's, or not there.
            assert reply.status in (400, 403, 404, 422), (method, path, reply)
        elif method == "POST":
            assert reply.status in (400, 403, 404, 415, 422), (method, path, reply)
    assert not web.notices(), "nothing was written"


@ensure
async def test_odd_paths(web: Web) -> None:
    root = web.client()
    for path in (
        "/api/..", "/api/../admin", "/api/%2e%2e/", "/api/domains/..%2f..%2f..%2fetc%2fpasswd", "/api/domains/%00", "/api/domains/1%0a", "/api/%0a/",
        "/api//", "//", "/api/domains//", "/api/domains/1;x=1", "/api/domains/1/../1", "/api/domains/-1", "/api/domains/0x1", "/api/domains/1e3",
        "/api/domains/\u0661".encode().decode("latin-1"), "/api/domains/" + "9" * 3000, "/api/domains/1/journal/..", "/api/domains/1/journal/x",
        "/api/*", "/api/domains/*", "/API/domains/", "/api/Domains/", "/api/domains/?" + "a=1&" * 5000,
    ):  # fmt: skip
        for method in ("GET", "PUT"):
            sent = path.encode("latin-1").decode("latin-1")
            try:
                reply = await root.raw(method, sent, b"{}" if method == "PUT" else None, Content_Type="application/json")
            except (UnicodeEncodeError, ValueError):
                continue  # the client itself refuses such a path
            assert reply.status < 500 and (reply.status != 200 or path.startswith("/api/domains/?")), (method, path, reply)
            assert reply.status < 400 or reply.json()["code"] == reply.status, (method, path, reply)
            assert b"Traceback" not in reply.body and b"<html" not in reply.body
    many = await root.get("/api/domains/?" + "a=1&" * 201)
    assert many.status == 400 and "query parameters" in many.json()["message"]
    header = await root.raw("GET", "/api/domains/", None, X_Long="x" * 20_000)
    assert header.status == 400 and "too long" in header.json()["message"]

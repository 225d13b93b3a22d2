"""Faxes by REST: multipart POST, journal, documents, mail to fax (applications 12)."""

from __future__ import annotations

from typing import Any

import pytest_twisted
import sqlalchemy as sa

from ngcpd.store import blobs
from ngcpd.store.tables.media import fax_job, fax_journal, fax_journal_piece, mail2fax_settings
from tests.web.forms import form, part, send
from tests.web.harness import Client, Web

ensure = pytest_twisted.ensureDeferred
PDF = b"%PDF-1.4 not much"
PATH = "/api/faxes/"


async def subscriber(web: Web, root: Client, **settings: Any) -> int:
    await root.post("/api/domains/", {"domain": "voice.example", "reseller_id": 1})
    number = {"cc": "43", "ac": "1", "sn": "100"}
    key = await web.subscriber(root, await web.customer(root), "voice.example", "ada", primary_number=number)
    if settings:
        assert (await root.put(f"/api/faxserversettings/{key}", settings)).status == 204
    return key


ACTIVE = {"name": "Brook Mills", "password": "s3cret-fax", "active": True, "destinations": []}


@ensure
async def test_text_and_documents_wait_to_be_sent(web: Web) -> None:
    root = web.client()
    who = await subscriber(web, root, **ACTIVE)
    web.notices()
    right = {"subscriber_id": who, "destination": "+4315551234", "data": "Good\nmorning \u20ac", "pageheader": "hello", "notify": "a@example.org"}
    reply = await send(root, PATH, form(right))
    assert (reply.status, reply.body) == (201, b"") and "location" not in reply.headers
    assert ("fax", str(who)) in web.notices()
    more = {"subscriber_id": str(who), "destination": "4315551234", "quality": "low", "data": "first", "coverpage": 1}
    assert (await send(root, PATH, form(more, faxfile=(PDF, "letter.pdf", "application/octet-stream")))).status == 201
    found = (await root.doc(f"{PATH}?subscriber_id={who}"))["_embedded"]["ngcp:faxes"]
    expected = {"direction": "out", "caller": "431100", "callee": "+4315551234", "status": "queued", "quality": "normal", "pages": 0}
    assert {name: found[0][name] for name in expected} == expected
    assert not {"data", "faxfile", "destination"} & set(found[0])
    jobs = web.rows(sa.select(fax_job.c.text, fax_job.c.pageheader, fax_job.c.notify, fax_job.c.coverpage, fax_job.c.attempts).order_by(fax_job.c.id))
    assert [tuple(job) for job in jobs] == [(None, "hello", "a@example.org", False, 0), ("first", None, None, True, 0)]
    for doc, data, kind, ending in zip(found, (right["data"].encode(), PDF), ("text/plain", "application/pdf"), ("txt", "pdf"), strict=True):
        assert doc["_links"]["ngcp:faxrecordings"]["href"] == f"/api/faxrecordings/{doc['id']}"
        reply = await root.get(f"/api/faxrecordings/{doc['id']}?format={ending}")
        assert (reply.status, reply.body, reply.headers["content-type"]) == (200, data, kind)
        assert reply.headers["content-disposition"] == f'attachment; filename="{doc["filename"]}"' and doc["filename"].endswith(ending)
        other = await root.get(f"/api/faxrecordings/{doc['id']}?format=tiff")
        assert other.status == 422 and "field='format'" in other.json()["message"]
    assert (await root.get("/api/faxrecordings/999")).status == 404
    assert (await root.delete(f"{PATH}{found[0]['id']}")).status == 404
    assert (await root.delete(f"/api/subscribers/{who}")).status == 204
    assert web.count(fax_journal) == web.count(fax_job) == web.count(fax_journal_piece) == 0


@ensure
async def test_the_number_is_rewritten_and_the_sender_may_have_none(web: Web) -> None:
    root = web.client()
    who = await subscriber(web, root, **ACTIVE)
    rule = {"direction": "in", "field": "callee", "match_pattern": "^0([1-9][0-9]+)$", "replace_pattern": "${caller_cc}\\1", "description": "n"}
    await root.post("/api/rewriterulesets/", {"reseller_id": 1, "name": "at", "description": "", "rewriterules": [rule]})
    add = [{"op": "add", "path": "/rewrite_rule_set", "value": "at"}]
    assert (await root.patch(f"/api/subscriberpreferences/{who}", add)).status == 204
    await send(root, PATH, form({"subscriber_id": who, "destination": "015551234", "data": "x"}))
    assert (await root.patch(f"/api/subscribers/{who}", [{"op": "replace", "path": "/primary_number", "value": None}])).status == 204
    await send(root, PATH, form({"subscriber_id": who, "destination": "x", "data": "x"}))
    rows = web.rows(sa.select(fax_journal.c.caller, fax_journal.c.callee).order_by(fax_journal.c.id))
    assert [tuple(row) for row in rows] == [("431100", "4315551234"), ("webfax", "x")]


@ensure
async def test_what_is_refused(web: Web) -> None:
    root = web.client()
    who = await subscriber(web, root)
    right: dict[str, Any] = {"subscriber_id": who, "destination": "431", "data": "x"}

    async def refused(document: Any, status: int, text: str, **files: tuple[bytes, str, str]) -> None:
        reply = await send(root, PATH, form(document, **files))
        assert reply.status == status and text in reply.json()["message"], reply

    await refused(right, 422, "Invalid subscriber fax preferences")
    for wrong in ({"active": False}, {"password": None}):
        assert (await root.put(f"/api/faxserversettings/{who}", {**ACTIVE, **wrong})).status == 204
        await refused(right, 422, "Invalid subscriber fax preferences")
    assert (await root.put(f"/api/faxserversettings/{who}", ACTIVE)).status == 204
    web.rules(faxserver=False)
    await refused(right, 422, "Faxserver feature is not active.")
    web.rules(faxserver=True)
    await refused({**right, "data": None}, 422, "field='data'")
    for name, value in (("subscriber_id", 999), ("destination", "a b"), ("quality", "best"), ("notify", "nobody"), ("data", "x" * 1_000_001)):
        await refused({**right, name: value}, 422, f"field='{name}'")
    await refused(right, 422, "field='faxfile'", faxfile=(b"\x89PNG\r\n", "a.pdf", "application/pdf"))
    await refused(right, 422, "field='faxfile'", faxfile=(b"PK\0\0", "a.txt", "text/plain"))
    await refused(b"{", 400, "not a well-formed JSON")
    await refused(b"[]", 400, "not a JSON object")
    await refused(b"", 400, "missing a message body")
    whole = form(right)
    for body in (whole[:-60], b"nonsense", part("json", b"{}")[:-2] + part("json", b"{}") + whole, part("data", b"x") + whole[-46:]):
        assert (await send(root, PATH, body)).status == 400, body
    assert (await send(root, PATH, whole, boundary="")).status == 400
    assert (await send(root, PATH, b"")).status == 400
    assert (await send(root, PATH, b"".join(part(f"p{n}", b"x") for n in range(30)) + whole)).status == 413
    assert (await root.post(PATH, right)).status == 415
    assert (await send(root, PATH, form(right, faxfile=(b"%!PS" + bytes(64 << 20), "a.ps", "application/postscript")))).status == 422
    assert (await send(root, PATH, form(right, faxfile=(b"%!PS" + bytes(69 << 20), "a.ps", "application/postscript")))).status == 413
    _, other = await web.reseller("other")
    assert (await send(other, PATH, form(right))).status == 422
    assert web.count(fax_journal) == web.count(fax_job) == 0
    assert (await send(root, PATH, form(right))).status == 201
    key = web.rows(sa.select(fax_journal.c.id))[0][0]
    for path in (f"{PATH}{key}", f"/api/faxrecordings/{key}"):
        assert (await root.get(path)).status == 200 and (await other.get(path)).status == 404
    assert (await other.doc(PATH))["total_count"] == 0


@ensure
async def test_a_large_document_is_kept_in_pieces(web: Web) -> None:
    root = web.client()
    who = await subscriber(web, root, **ACTIVE)
    data = b"%!PS\n" + bytes(range(256)) * (5 << 12)
    reply = await send(root, PATH, form({"subscriber_id": who, "destination": "431"}, faxfile=(data, "a.ps", "")))
    assert reply.status == 201, reply
    key = web.rows(sa.select(fax_journal.c.id))[0][0]
    assert web.count(fax_journal_piece) == -(-len(data) // blobs.PIECE)
    assert (await root.get(f"/api/faxrecordings/{key}")).body == data


@ensure
async def test_mail_to_fax_settings(web: Web) -> None:
    root = web.client()
    who = await subscriber(web, root)
    item = f"/api/mailtofaxsettings/{who}"
    empty = await root.doc(item)
    assert (empty["active"], empty["secret_key"], empty["secret_key_renew"], empty["acl"]) == (False, None, "never", [])
    entry = {"from_email": "a@example.org", "received_from": None, "destination": "^43.+", "use_regex": True}
    full = {
        "active": True,
        "secret_key": "open sesame",
        "secret_key_renew": "daily",
        "secret_renew_notify": [{"destination": "n@example.org"}],
        "acl": [entry],
    }
    assert (await root.put(item, full)).status == 204
    doc = await root.doc(item)
    assert {name: doc[name] for name in full} == full
    assert (await root.put(item, doc)).status == 204 and await root.doc(item) == doc
    key = web.rows(sa.select(mail2fax_settings.c.secret_key_enc))[0][0]
    assert "sesame" not in key
    for name, value in (
        ("acl", {}),
        ("secret_renew_notify", "x"),
        ("secret_renew_notify", [{"destination": "x"}]),
        ("secret_renew_notify", full["secret_renew_notify"] * 2),
        ("secret_key_renew", "hourly"),
        ("secret_key_renew", None),
        ("acl", [{**entry, "destination": "("}]),
    ):
        assert (await root.put(item, {**full, name: value})).status == 422, (name, value)
    assert (await root.doc("/api/mailtofaxsettings/?active=true"))["total_count"] == 1
    assert (await root.doc("/api/mailtofaxsettings/?secret_key_renew=never"))["total_count"] == 0
    assert (await root.put(item, {"secret_key_renew": "never", "acl": [], "secret_renew_notify": [], "secret_key": None})).status == 204
    doc = await root.doc(item)
    assert (doc["active"], doc["secret_key"], doc["acl"], doc["secret_renew_notify"]) == (False, None, [], [])
    _, other = await web.reseller("other")
    assert (await other.get(item)).status == 404

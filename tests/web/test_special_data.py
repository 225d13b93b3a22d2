"""Reports of malicious calls, interceptions and the WebRTC back end over TLS."""

from __future__ import annotations

import datetime
from typing import Any

import pytest_twisted
import sqlalchemy as sa

from ngcpd.store.tables.identity import subscriber
from ngcpd.store.tables.special import interception, malicious_calls, rtc_session
from tests.web.harness import Reply, Web

ensure = pytest_twisted.ensureDeferred


def said(reply: Reply, text: str, status: int = 422) -> bool:
    assert reply.status == status and text in reply.json()["message"], reply
    return True


async def ada(web: Web) -> int:
    root = web.client()
    await root.post("/api/domains/", {"domain": "voice.example", "reseller_id": 1})
    number = {"cc": "43", "ac": "1", "sn": "100"}
    return await web.subscriber(root, await web.customer(root), "voice.example", "ada", primary_number=number)


@ensure
async def test_reports_of_malicious_calls(web: Web) -> None:
    root, key = web.client(), await ada(web)
    uuid = web.rows(sa.select(subscriber.c.uuid).where(subscriber.c.id == key))[0][0]
    values = {"callee_uuid": uuid, "call_id": "x@y", "start_time": 1_700_000_000, "duration": 12.5, "caller": "43999", "callee": "431100"}
    at = datetime.datetime(2026, 3, 1)
    web.database.run_here(lambda conn: conn.execute(sa.insert(malicious_calls).values(**values, reported_at=at)))
    doc = (await root.doc("/api/maliciouscalls/?reseller_id=1"))["_embedded"]["ngcp:maliciouscalls"]
    assert (doc["call_id"], doc["caller"], doc["duration"], doc["source"], doc["reseller_id"]) == ("x@y", "43999", 12.5, None, 1)
    assert (await root.doc("/api/maliciouscalls/?reseller_id=2"))["total_count"] == 0
    _, other = await web.reseller("other")
    item = f"/api/maliciouscalls/{doc['id']}"
    assert (await other.get(item)).status == (await other.delete(item)).status == 404
    assert (await root.post("/api/maliciouscalls/", {})).status == (await root.put(item, doc)).status == 404
    assert (await root.delete(item)).status == 204 and (await root.get(item)).status == 404


@ensure
async def test_interceptions(web: Web) -> None:
    root, key = web.client(), await ada(web)
    right: dict[str, Any] = {"liid": 4711, "number": "431100", "x2_host": "192.0.2.60", "x2_port": 5555, "x2_user": "u", "x2_password": "topsecret"}
    assert (
        await root.post("/api/admins/", {"reseller_id": 1, "login": "plain-admin", "password": "correct-horse", "is_superuser": True})
    ).status == 201
    for method in ("get", "post"):
        who = web.client("plain-admin", "correct-horse")
        assert (await (who.get("/api/interceptions/") if method == "get" else who.post("/api/interceptions/", right))).status == 403
    _, reseller = await web.reseller("other")
    assert (await reseller.get("/api/interceptions/")).status == 403
    made = (await root.post("/api/interceptions/", right)).id
    item = f"/api/interceptions/{made}"
    doc = await root.doc(item)
    assert (doc["liid"], doc["number"], doc["x3_required"], doc["x3_host"]) == ("4711", "431100", False, None) and "x2_password" not in doc
    row = web.rows(sa.select(interception))[0]
    assert (row.sip_username, row.sip_domain, row.reseller_id) == ("ada", "voice.example", 1)
    assert web.env.vault.open(row.delivery_pass_enc, f"interception:{made}") == "topsecret"
    assert (await root.put(item, {**doc, "x3_required": True, "x3_host": "2001:db8::1", "x3_port": 6666})).status == 204
    row = web.rows(sa.select(interception))[0]
    assert (row.cc_delivery_host, row.cc_delivery_port, row.delivery_pass_enc is not None) == ("2001:db8::1", 6666, True)
    for name, wrong in (
        ("number", "43999"),
        ("number", "x"),
        ("x2_host", "nowhere"),
        ("x2_port", 0),
        ("x2_port", 65_536),
        ("liid", None),
    ):
        said(await root.post("/api/interceptions/", {**right, name: wrong}), f"field='{name}'")
    said(await root.post("/api/interceptions/", {**right, "x3_required": True}), "field='x3_host'")
    said(await root.post("/api/interceptions/", {**right, "x3_required": True, "x3_host": "192.0.2.1"}), "field='x3_port'")
    assert (await root.patch(f"/api/subscribers/{key}", [{"op": "replace", "path": "/status", "value": "locked"}])).status == 204
    said(await root.post("/api/interceptions/", right), "field='number'")
    assert (await root.delete(item)).status == 204 and (await root.get(item)).status == 404
    assert web.rows(sa.select(interception.c.deleted))[0][0]


@ensure
async def test_networks_and_sessions(web: Web) -> None:
    root, key = web.client(), await ada(web)
    networks = [{"connector": "webrtc", "tag": "w", "config": {"a": [1, {"b": None}]}}, {"connector": "sip-connector", "tag": "s", "config": {}}]
    item = "/api/rtcnetworks/1"
    assert (await root.put(item, {"networks": networks})).status == 204
    doc = await root.doc(item)
    assert doc["networks"] == networks and doc["reseller_id"] == 1
    assert (await root.put(item, doc)).status == 204 and await root.doc(item) == doc
    for wrong in ([{**networks[0], "connector": "x"}], [networks[0], networks[0]], [{**networks[0], "config": []}], {}, None):
        assert (await root.put(item, {"networks": wrong})).status == 422, wrong
    said(await root.post("/api/rtcsessions/", {"subscriber_id": key}), "WebRTC is not enabled")
    assert (await root.patch("/api/resellers/1", [{"op": "replace", "path": "/enable_rtc", "value": True}])).status == 204
    said(await root.post("/api/rtcsessions/", {"subscriber_id": 999}), "field='subscriber_id'")
    made = (await root.post("/api/rtcsessions/", {"subscriber_id": key})).id
    session = await root.doc(f"/api/rtcsessions/{made}")
    assert len(session["rtc_browser_token"]) == 64 and session["subscriber_id"] == key
    _, other = await web.reseller("other")
    assert (await other.get(f"/api/rtcsessions/{made}")).status == (await other.get(item)).status == 404
    assert (await other.doc("/api/rtcnetworks/"))["total_count"] == 1
    past = datetime.datetime(2020, 1, 1)
    web.database.run_here(lambda conn: conn.execute(sa.update(rtc_session).values(expires_at=past)))
    assert (await root.get(f"/api/rtcsessions/{made}")).status == 404
    assert (await root.doc("/api/rtcsessions/"))["total_count"] == 0
    assert (await root.post("/api/rtcsessions/", {"subscriber_id": key})).status == 201 and web.count(rtc_session) == 1

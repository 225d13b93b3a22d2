"""The workflows of the interface, step by step (REST API 3)."""

from __future__ import annotations

import pytest_twisted
import sqlalchemy as sa

from ngcpd.store.tables.identity import number, subscriber
from ngcpd.store.tables.tenancy import contact
from tests.web.harness import Client, Web, certificate, subscriber_ada

ensure = pytest_twisted.ensureDeferred


async def setting(web: Web, root: Client) -> tuple[int, int, int]:
    """Customer, domain, subscriber `ada`."""
    body = {"reseller_id": 1, "firstname": "Ada", "lastname": "Brook", "email": "ada.brook@example.net", "country": "AT"}
    person = (await root.post("/api/customercontacts/", body)).id
    customer = {
        "contact_id": person,
        "type": "sipaccount",
        "status": "active",
        "billing_profile_id": 1,
        "external_id": "BM-0058",
        "max_subscribers": 20,
    }
    customer_id = (await root.post("/api/customers/", customer)).id
    domain_id = (await root.post("/api/domains/", {"domain": "voice.brook.example", "reseller_id": 1})).id
    ada = subscriber_ada(customer_id)
    reply = await root.post("/api/subscribers/", ada)
    again = await root.post("/api/subscribers/", ada)
    assert (again.status, again.json()) == (422, {"code": 422, "message": "Subscriber already exists."})
    bad = await root.post("/api/subscribers/", {**ada, "username": "a da"})
    assert bad.status == 422 and "field='username', input='a da'" in bad.json()["message"]
    return customer_id, domain_id, reply.id


@ensure
async def test_profile_by_handle_and_customer(web: Web) -> None:
    root = web.client()
    gold = (await root.post("/api/billingprofiles/", {"reseller_id": 1, "handle": "gold2016", "name": "Gold 2016"})).id
    found = await root.doc("/api/billingprofiles/?handle=gold2016")
    assert found["total_count"] == 1 and found["_embedded"]["ngcp:billingprofiles"]["id"] == gold
    assert found["_links"]["ngcp:billingprofiles"] == {"href": f"/api/billingprofiles/{gold}"}
    assert found["_links"]["self"] == {"href": "/api/billingprofiles/?page=1&rows=10&handle=gold2016"}
    customer_id, _, _ = await setting(web, root)
    path = f"/api/customers/{customer_id}"
    doc = await root.doc(path)
    assert doc["billing_profile_definition"] == "id" and doc["billing_profile_id"] == 1 and doc["vat_rate"] == 0 and doc["add_vat"] is False
    assert doc["_links"]["ngcp:customerbalances"] == {"href": f"/api/customerbalances/{customer_id}"}
    planned = [
        {"op": "replace", "path": "/billing_profile_definition", "value": "profiles"},
        {"op": "replace", "path": "/billing_profiles", "value": [{"profile_id": gold, "start": "2036-07-01 00:00:00"}]},
    ]
    changed = await root.patch(path, planned, Prefer="return=representation")
    assert (changed.status, changed.headers["preference-applied"]) == (200, "return=representation")
    entry = {"profile_id": gold, "network_id": None, "start": "2036-07-01 00:00:00", "stop": None}
    assert changed.json()["billing_profiles"] == [entry] and changed.json()["billing_profile_id"] == 1
    assert len(changed.json()["all_billing_profiles"]) == 2
    back = await root.doc(path)
    assert (await root.put(path, back)).status == 204
    after = await root.doc(path)
    assert after["all_billing_profiles"] == back["all_billing_profiles"]
    for wrong in (
        [{"profile_id": gold, "start": "2001-01-01 00:00:00"}],
        [{"profile_id": gold, "stop": "2036-01-01 00:00:00"}],
        [{"profile_id": gold, "start": "2036-02-01 00:00:00", "stop": "2036-01-01 00:00:00"}],
        [{"profile_id": gold}],
        {"profile_id": gold},
        [1],
        [{"profile_id": 999, "start": "2036-07-01 00:00:00"}],
    ):
        body = {**back, "billing_profile_definition": "profiles", "billing_profiles": wrong}
        assert (await root.put(path, body)).status == 422, wrong
    assert (await root.put(path, {**back, "billing_profile_definition": "nonsense"})).status == 422
    prepaid = (await root.post("/api/billingprofiles/", {"reseller_id": 1, "handle": "pre", "name": "pre", "prepaid": True})).id
    assert (await root.put(path, {**back, "billing_profile_id": prepaid})).status == 422, "prepaid and postpaid cannot be mixed"
    assert (await root.put(path, {**back, "billing_profile_id": gold})).status == 204
    assert (await root.doc(path))["billing_profile_id"] == gold
    assert (await root.patch("/api/billingprofiles/" + str(gold), [{"op": "replace", "path": "/status", "value": "terminated"}])).status == 422


@ensure
async def test_preferences(web: Web) -> None:
    root = web.client()
    customer_id, _, ada = await setting(web, root)
    defs = await root.doc("/api/subscriberpreferencedefs/")
    assert defs["block_out_list"]["max_occur"] == 0 and defs["concurrent_max"]["data_type"] == "int" and "account_id" not in defs
    assert (await root.post("/api/ncoslevels/", {"reseller_id": 1, "level": "no-premium", "mode": "blacklist"})).status == 201
    path = f"/api/subscriberpreferences/{ada}"
    web.notices()
    added = await root.patch(
        path,
        [
            {"op": "add", "path": "/concurrent_max", "value": 3},
            {"op": "add", "path": "/block_out_list", "value": ["4390*", "43930*"]},
            {"op": "add", "path": "/ncos", "value": "no-premium"},
        ],
    )
    assert (added.status, added.headers["preference-applied"]) == (204, "return=minimal")
    assert ("preference:usr", str(ada)) in web.notices()
    doc = await root.doc(path)
    wanted = {
        "id": ada,
        "subscriber_id": ada,
        "account_id": customer_id,
        "cc": "43",
        "ac": "7700",
        "cli": "43770041001",
        "concurrent_max": 3,
        "block_out_list": ["4390*", "43930*"],
        "ncos": "no-premium",
    }
    assert {k: doc.get(k) for k in wanted} == wanted
    assert (await root.put(path, doc)).status == 204
    assert await root.doc(path) == doc
    assert (await root.patch(path, [{"op": "add", "path": "/block_out_list", "value": "4390*"}])).status == 422
    assert (await root.patch(path, [{"op": "remove", "path": "/nosuch"}])).status == 422
    assert (await root.patch(path, [{"op": "test", "path": "/cc", "value": "43"}])).status == 400
    for name, value in (
        ("concurrent_max", [1]),
        ("concurrent_max", "x"),
        ("concurrent_max", True),
        ("clir", "maybe"),
        ("use_rtpproxy", "nonsense"),
        ("ncos", "unknown"),
        ("rewrite_rule_set", "unknown"),
        ("sound_set", "unknown"),
        ("allowed_ips", ["300.1.1.1"]),
        ("allowed_ips", "10.0.0.1"),
        ("block_out_list", [{}]),
    ):
        answer = await root.put(path, {**doc, name: value})
        assert answer.status == 422 and f"field='{name}'" in answer.json()["message"], (name, value, answer)
    assert await root.doc(path) == doc, "nothing half-written"
    nets = {**doc, "allowed_ips": ["10.0.0.1", "2001:db8::/32"], "concurrent_max": "4", "unknown": 1}
    assert (await root.put(path, nets)).status == 204
    assert (await root.doc(path))["allowed_ips"] == ["10.0.0.1", "2001:db8::/32"] and (await root.doc(path))["concurrent_max"] == 4
    lock = await root.patch(f"/api/subscribers/{ada}", [{"op": "replace", "path": "/lock", "value": 2}])
    assert lock.status == 204
    bare = {"id": ada}
    assert (await root.put(path, bare)).status == 204
    left = await root.doc(path)
    assert "concurrent_max" not in left and "allowed_ips" not in left and left["account_id"] == customer_id
    assert (await root.doc(f"/api/subscribers/{ada}"))["lock"] == 2, "the lock is not a preference that a PUT clears"


@ensure
async def test_call_forwards(web: Web) -> None:
    root = web.client()
    _, _, ada = await setting(web, root)
    path = f"/api/callforwards/{ada}"
    body = {
        "cfu": {},
        "cfb": {"destinations": [{"destination": "voicebox", "timeout": 300}]},
        "cft": {"destinations": [{"destination": "43664123456", "timeout": 20}, {"destination": "voicebox", "timeout": 300}], "ringtimeout": 15},
        "cfna": {"destinations": [{"destination": "voicebox", "timeout": 300}]},
    }
    assert (await root.put(path, body)).status == 204
    doc = await root.doc(path)
    assert [d["destination"] for d in doc["cfb"]["destinations"]] == ["sip:vmb43770041001@voicebox.local"]
    assert [d["destination"] for d in doc["cft"]["destinations"]] == ["sip:43664123456@voice.brook.example", "sip:vmu43770041001@voicebox.local"]
    assert doc["cft"]["ringtimeout"] == 15 and doc["cfu"] == {} and doc["cft"]["destinations"][0]["simple_destination"] == "43664123456"
    assert (await root.put(path, doc)).status == 204
    assert await root.doc(path) == doc
    sets = await root.doc(f"/api/cfdestinationsets/?subscriber_id={ada}")
    assert sorted(s["name"] for s in sets["_embedded"]["ngcp:cfdestinationsets"]) == ["quickset_cfb", "quickset_cfna", "quickset_cft"]
    assert (await root.delete(path)).status == 204
    assert (await root.doc(path))["cft"] == {} and (await root.doc(f"/api/cfmappings/{ada}"))["cft_ringtimeout"] is None
    night = {"subscriber_id": ada, "name": "night", "destinations": [{"destination": "sip:night@voice.brook.example", "timeout": 60, "priority": 1}]}
    night_id = (await root.post("/api/cfdestinationsets/", night)).id
    after = {"subscriber_id": ada, "name": "afterhours", "times": [{"wday": "2-6", "hour": "18-23"}, {"wday": "2-6", "hour": "0-7"}]}
    assert (await root.post("/api/cftimesets/", after)).status == 201
    mapping = {"cfu": [{"destinationset": "night", "timeset": "afterhours"}], "cfb": [], "cft": [], "cfna": []}
    assert (await root.put(f"/api/cfmappings/{ada}", mapping)).status == 204
    assert (await root.doc(f"/api/cfmappings/{ada}"))["cfu"] == mapping["cfu"]
    assert (await root.put(f"/api/cfmappings/{ada}", {**mapping, "cfb": [{"destinationset": "nosuch"}]})).status == 422
    assert (await root.put(f"/api/cfmappings/{ada}", {"cfu": [], "cfb": [], "cft": []})).status == 422
    both = {**mapping, "cfu": [*mapping["cfu"], {"destinationset": "night"}]}
    assert (await root.put(f"/api/cfmappings/{ada}", both)).status == 204
    assert (await root.get(path)).status == 422
    for times in ([{"hour": "24"}], [{"month": "13"}], [{"wday": "0"}], [{"minute": "x"}], "always"):
        assert (await root.post("/api/cftimesets/", {**after, "name": "bad", "times": times})).status == 422, times
    assert (await root.delete(f"/api/cfdestinationsets/{night_id}")).status == 204
    assert (await root.doc(f"/api/cfmappings/{ada}"))["cfu"] == []
    for bad in ("a b", "sip:", "sip:a@b c", "<sip:a@b>", "a\nb", ""):
        answer = await root.put(path, {**body, "cfu": {"destinations": [{"destination": bad}]}})
        assert answer.status == 422, bad


@ensure
async def test_balance(web: Web) -> None:
    root = web.client()
    customer_id, _, _ = await setting(web, root)
    path = f"/api/customerbalances/{customer_id}"
    assert (await root.doc(path))["cash_balance"] == 0
    assert (await root.patch(path, [{"op": "replace", "path": "/cash_balance", "value": 12.5}])).status == 204
    assert (await root.doc(path))["cash_balance"] == 12.5


@ensure
async def test_peering(web: Web) -> None:
    root = web.client()
    person = (await root.post("/api/systemcontacts/", {"email": "noc@carrier.example"})).id
    body = {"contact_id": person, "type": "sippeering", "status": "active", "billing_profile_id": 1}
    contract_id = (await root.post("/api/contracts/", body)).id
    group = {"name": "alps-carrier", "priority": 1, "description": "default exit", "contract_id": contract_id}
    group_id = (await root.post("/api/peeringgroups/", group)).id
    server = {"group_id": group_id, "name": "alps-sbc1", "ip": "192.0.2.80", "host": "sbc.carrier.example", "port": 5060}
    server |= {"transport": 1, "weight": 10}
    server_id = (await root.post("/api/peeringservers/", {**server, "enabled": True})).id
    prefs = await root.doc(f"/api/peeringserverpreferences/{server_id}")
    assert prefs["sst_enable"] == "no" and prefs["outbound_to_user"] == "callee", "defaults are stored"
    rule = {"group_id": group_id, "callee_prefix": "", "callee_pattern": "", "caller_pattern": "", "description": "all", "enabled": True}
    assert (await root.post("/api/peeringrules/", rule)).status == 201
    assert (await root.post("/api/peeringrules/", rule)).status == 422
    for name, value in (("weight", 0), ("weight", 128), ("ip", "sbc.example"), ("transport", 4), ("port", 0)):
        assert (await root.post("/api/peeringservers/", {**server, "name": "x", name: value})).status == 422, name
    customer = await web.customer(root)
    assert (await root.post("/api/peeringgroups/", {**group, "name": "x", "contract_id": customer})).status == 422
    for priority in (0, 10):
        assert (await root.post("/api/peeringgroups/", {**group, "name": "x", "priority": priority})).status == 422
    assert (await root.delete(f"/api/peeringgroups/{group_id}")).status == 204
    assert (await root.get(f"/api/peeringservers/{server_id}")).status == 404


@ensure
async def test_termination(web: Web) -> None:
    root = web.client()
    customer_id, domain_id, ada = await setting(web, root)
    person = (await root.doc(f"/api/customers/{customer_id}"))["contact_id"]
    assert (await root.delete(f"/api/customercontacts/{person}")).status == 423
    bob = await web.subscriber(root, customer_id, "voice.brook.example", "bob")
    web.notices()
    assert (await root.delete(f"/api/subscribers/{ada}")).status == 204
    assert (await root.get(f"/api/subscribers/{ada}")).status == 404
    assert {("subscriber", str(ada)), ("number", "43770041001")} <= web.notices()
    assert web.rows(sa.select(number.c.subscriber_id).where(number.c.e164 == "43770041001")) == [(None,)]
    again = {"primary_number": {"cc": 43, "ac": "7700", "sn": "41001"}}
    assert await web.subscriber(root, customer_id, "voice.brook.example", "ada", **again) != ada
    path = f"/api/customers/{customer_id}"
    assert (await root.patch(path, [{"op": "replace", "path": "/status", "value": "locked"}])).status == 204
    assert (await root.doc(f"/api/subscribers/{bob}"))["lock"] == 4
    assert (await root.patch(path, [{"op": "replace", "path": "/status", "value": "active"}])).status == 204
    assert (await root.doc(f"/api/subscribers/{bob}"))["lock"] is None
    assert (await root.patch(path, [{"op": "replace", "path": "/status", "value": "terminated"}])).status == 204
    assert (await root.get(f"/api/subscribers/{bob}")).status == 404
    assert (await root.doc(path))["status"] == "terminated"
    assert (await root.patch(path, [{"op": "replace", "path": "/external_id", "value": "x"}])).status == 422
    assert (await root.delete(f"/api/customercontacts/{person}")).status == 204
    assert (await root.get(f"/api/customercontacts/{person}")).status == 404
    assert web.rows(sa.select(contact.c.email, contact.c.lastname).where(contact.c.id == person)) == [(None, None)]
    assert (await root.delete(f"/api/domains/{domain_id}")).status == 204
    assert web.rows(sa.select(subscriber.c.id).where(subscriber.c.domain_id == domain_id)) == []
    found = await root.doc("/api/customers/?status=terminated")
    assert found["total_count"] == 1
    assert (await root.doc("/api/customers/?not_status=terminated"))["total_count"] == 0


@ensure
async def test_fee_upload(web: Web) -> None:
    root = web.client()
    gold = (await root.post("/api/billingprofiles/", {"reseller_id": 1, "handle": "gold2016", "name": "Gold 2016"})).id
    lines = b'.,^431.+$,out,"Austria","Vienna fixed",0.02,60,0.02,1,0.01,60,0.01,1,1\n'
    lines += b'.,^4366\\d+$,out,"Austria","Mobile",0.08,60,0.08,1,0.08,60,0.08,1,0\n'
    path = f"/api/billingfees/?billing_profile_id={gold}"
    made = await root.raw("POST", f"{path}&purge_existing=true", lines + b"bad,line\n.,(,out,A,B,1,1,1,1,1,1,1,1,0\n", Content_Type="text/csv")
    assert (made.status, made.body) == (201, b"") and "location" not in made.headers
    found = (await root.doc(path))["_embedded"]["ngcp:billingfees"]
    assert [f["destination"] for f in found] == ["^431.+$", "^4366\\d+$"] and found[0]["onpeak_init_rate"] == 0.02
    assert (await root.doc(f"/api/billingzones/?billing_profile_id={gold}"))["total_count"] == 2
    assert (await root.raw("POST", path, lines.replace(b"0.02", b"0.09"), Content_Type="text/csv")).status == 201
    assert (await root.doc(path))["_embedded"]["ngcp:billingfees"][0]["onpeak_init_rate"] == 0.02, "what exists wins"
    for bad in ("/api/billingfees/", "/api/billingfees/?billing_profile_id=999", "/api/billingfees/?billing_profile_id=x"):
        assert (await root.raw("POST", bad, lines, Content_Type="text/csv")).status == 422
    assert (await root.raw("POST", path, lines, Content_Type="text/csv2")).status == 415


@ensure
async def test_client_certificate(web: Web) -> None:
    from ngcpd.store.tables.tenancy import admin

    web.database.run_here(lambda conn: conn.execute(sa.update(admin).where(admin.c.id == 1).values(cert_serial="1467000000")))
    right = "Sipwise NGCP API client certificate"
    for name, serial, authority, status in (
        (right, 1467000000, True, 200),
        (right, 1467000001, True, 403),
        ("somebody", 1467000002, True, 403),
        (right, 1467000003, False, 400),
    ):
        answer = await web.client(certificate=certificate(web, name, serial, authority)).get("/api/customers/")
        assert answer.status == status, (name, serial, answer)

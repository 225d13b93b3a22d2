"""The workflows of REST API 3 as printed there: every request in its order with its own words, every status, header and link of the answers.
The rules behind them are in `test_workflows`; top-ups and vouchers (3.6) have a file of their own."""

from __future__ import annotations

import time
from typing import Any

import pytest_twisted
import sqlalchemy as sa

from ngcpd.store.tables.tenancy import admin
from tests.web.harness import Client, Reply, Web, certificate, subscriber_ada

ensure = pytest_twisted.ensureDeferred
HAL = 'application/hal+json; profile="http://purl.org/sipwise/ngcp-api/"'


class Steps:
    """Requests of one administrator; what each makes is kept by name."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.ids: dict[str, int] = {}

    async def post(self, name: str, body: dict[str, Any]) -> int:
        """201 with an empty body and the Location of what was made."""
        answer = await self.client.post(f"/api/{name}/", body)
        assert (answer.status, answer.body) == (201, b""), (name, answer.body)
        path, _, key = answer.headers["location"].rpartition("/")
        assert path == f"/api/{name}" and key.isdigit(), answer.headers
        self.ids[name] = int(key)
        return int(key)

    async def get(self, path: str) -> dict[str, Any]:
        answer = await self.client.get(path)
        assert (answer.status, answer.headers["content-type"]) == (200, HAL), answer
        doc: dict[str, Any] = answer.json()
        return doc

    async def done(self, answer: Reply) -> None:
        """204 without a body; what was asked for with Prefer is told."""
        assert (answer.status, answer.body) == (204, b""), answer.body


def href(path: str) -> dict[str, str]:
    return {"href": path}


async def setting(web: Web) -> tuple[Steps, int]:
    """The reseller, and the profile of 3.1."""
    reseller, _ = await web.reseller("alps")
    steps = Steps(web.client())
    await steps.post("billingprofiles", {"reseller_id": reseller, "handle": "gold2016", "name": "Gold 2016"})
    return steps, reseller


@ensure
async def test_look_up_to_call_forward(web: Web) -> None:
    """3.1 to 3.5 and 3.8, one after the other on one customer."""
    steps, reseller = await setting(web)
    root, ids = steps.client, steps.ids
    gold = ids["billingprofiles"]
    # 3.1
    doc = await steps.get("/api/billingprofiles/?handle=gold2016")
    found = doc["_embedded"]["ngcp:billingprofiles"]
    assert (found["id"], found["handle"], found["name"], found["prepaid"]) == (gold, "gold2016", "Gold 2016", False) and doc["total_count"] == 1
    assert doc["_links"]["self"] == href("/api/billingprofiles/?page=1&rows=10&handle=gold2016")
    assert doc["_links"]["ngcp:billingprofiles"] == href(f"/api/billingprofiles/{gold}")
    # 3.2
    person = {"firstname": "Ada", "lastname": "Brook", "email": "ada.brook@example.net", "company": "Brook Mills Ltd", "country": "AT"}
    contact = await steps.post("customercontacts", {"reseller_id": reseller, **person})
    shown = await steps.get(f"/api/customercontacts/{contact}")
    assert {k: shown[k] for k in person} == person and shown["_links"]["self"] == href(f"/api/customercontacts/{contact}")
    wanted = {"contact_id": contact, "type": "sipaccount", "status": "active", "billing_profile_id": gold, "external_id": "BM-0058"}
    customer = await steps.post("customers", {**wanted, "max_subscribers": 20})
    path = f"/api/customers/{customer}"
    doc = await steps.get(path)
    printed = {**wanted, "id": customer, "billing_profile_definition": "id", "max_subscribers": 20, "vat_rate": 0, "add_vat": False}
    assert {k: doc[k] for k in printed} == printed
    assert doc["_links"]["self"] == href(path) and doc["_links"]["ngcp:customercontacts"] == href(f"/api/customercontacts/{contact}")
    assert doc["_links"]["ngcp:customerbalances"] == href(f"/api/customerbalances/{customer}")
    second = await steps.post("billingprofiles", {"reseller_id": reseller, "handle": "next", "name": "Next"})
    plan = [
        {"op": "replace", "path": "/billing_profile_definition", "value": "profiles"},
        {"op": "replace", "path": "/billing_profiles", "value": [{"profile_id": second, "start": "2046-07-01 00:00:00"}]},
    ]
    answer = await root.patch(path, plan, Prefer="return=representation")
    assert (answer.status, answer.headers["preference-applied"]) == (200, "return=representation")
    assert answer.json()["id"] == customer and answer.json()["billing_profiles"][0]["profile_id"] == second
    # 3.3
    domain = await steps.post("domains", {"domain": "voice.brook.example", "reseller_id": reseller})
    ada = subscriber_ada(customer)
    key = await steps.post("subscribers", ada)
    doc = await steps.get(f"/api/subscribers/{key}")
    for name in ("customer_id", "domain", "username", "webusername", "status", "administrative", "email", "external_id"):
        assert doc[name] == ada[name], name
    assert doc["primary_number"]["sn"] == "41001" and [n["sn"] for n in doc["alias_numbers"]] == ["41002"]
    assert doc["_links"]["ngcp:domains"] == href(f"/api/domains/{domain}") and doc["_links"]["ngcp:customers"] == href(path)
    again = await root.post("/api/subscribers/", ada)
    assert (again.status, again.json()) == (422, {"code": 422, "message": "Subscriber already exists."})
    bad = await root.post("/api/subscribers/", {**ada, "username": "a da"})
    assert bad.status == 422 and bad.json()["message"].startswith("Validation failed. field='username', input='a da', errors='")
    # 3.4
    defs = (await root.get("/api/subscriberpreferencedefs/")).json()
    assert defs["block_out_list"]["max_occur"] == 0 and defs["block_out_list"]["data_type"] == "string"
    assert defs["block_out_list"]["read_only"] is False and defs["block_out_list"]["label"] and "concurrent_max" in defs
    await steps.post("ncoslevels", {"reseller_id": reseller, "level": "no-premium", "mode": "blacklist"})
    prefs = f"/api/subscriberpreferences/{key}"
    add = [
        {"op": "add", "path": "/concurrent_max", "value": 3},
        {"op": "add", "path": "/block_out_list", "value": ["4390*", "43930*"]},
        {"op": "add", "path": "/ncos", "value": "no-premium"},
    ]
    answer = await root.patch(prefs, add)
    await steps.done(answer)
    assert answer.headers["preference-applied"] == "return=minimal"
    doc = await steps.get(prefs)
    printed = {"id": key, "subscriber_id": key, "account_id": customer, "cc": "43", "ac": "7700", "cli": "43770041001", "concurrent_max": 3}
    printed |= {"block_out_list": ["4390*", "43930*"], "ncos": "no-premium"}
    assert {k: doc.get(k) for k in printed} == printed and doc["_links"]["self"] == href(prefs)
    assert (await root.patch(prefs, [{"op": "add", "path": "/block_out_list", "value": "4390*"}])).status == 422
    assert (await root.patch(prefs, [{"op": "remove", "path": "/nosuch"}])).status == 422
    assert (await root.patch(prefs, [{"op": "test", "path": "/cc", "value": "43"}])).status == 400
    # 3.5
    box = {"destination": "voicebox", "timeout": 300}
    forwards = {"cfu": {}, "cfb": {"destinations": [box]}, "cfna": {"destinations": [box]}}
    forwards["cft"] = {"destinations": [{"destination": "43664123456", "timeout": 20}, box], "ringtimeout": 15}
    await steps.done(await root.put(f"/api/callforwards/{key}", forwards))
    doc = await steps.get(f"/api/callforwards/{key}")
    assert [d["timeout"] for d in doc["cft"]["destinations"]] == [20, 300] and doc["cft"]["ringtimeout"] == 15 and doc["cfu"] == {}
    night = [{"destination": "sip:night@voice.brook.example", "timeout": 60, "priority": 1}]
    await steps.post("cfdestinationsets", {"subscriber_id": key, "name": "night", "destinations": night})
    times = [{"wday": "2-6", "hour": "18-23"}, {"wday": "2-6", "hour": "0-7"}]
    await steps.post("cftimesets", {"subscriber_id": key, "name": "afterhours", "times": times})
    mapping = {"cfu": [{"destinationset": "night", "timeset": "afterhours"}], "cfb": [], "cft": [], "cfna": []}
    await steps.done(await root.put(f"/api/cfmappings/{key}", mapping))
    assert {k: (await steps.get(f"/api/cfmappings/{key}"))[k] for k in mapping} == mapping
    # 3.8
    assert (await root.delete(f"/api/customercontacts/{contact}")).status == 423
    await steps.done(await root.delete(f"/api/subscribers/{key}"))
    assert (await root.get(f"/api/subscribers/{key}")).status == 404
    await steps.done(await root.patch(path, [{"op": "replace", "path": "/status", "value": "terminated"}]))
    assert (await root.patch(path, [{"op": "replace", "path": "/external_id", "value": "x"}])).status == 422
    await steps.done(await root.delete(f"/api/customercontacts/{contact}"))


@ensure
async def test_peering_and_fees(web: Web) -> None:
    """3.7 and 3.9."""
    steps, _ = await setting(web)
    root, ids = steps.client, steps.ids
    contact = await steps.post("systemcontacts", {"email": "noc@carrier.example"})
    contract = {"contact_id": contact, "type": "sippeering", "status": "active", "billing_profile_id": ids["billingprofiles"]}
    await steps.post("contracts", contract)
    assert (await steps.get(f"/api/contracts/{ids['contracts']}"))["_links"]["ngcp:systemcontacts"] == href(f"/api/systemcontacts/{contact}")
    group = {"name": "alps-carrier", "priority": 1, "description": "default exit", "contract_id": ids["contracts"]}
    await steps.post("peeringgroups", group)
    server = {"group_id": ids["peeringgroups"], "name": "alps-sbc1", "ip": "192.0.2.80", "host": "sbc.carrier.example", "port": 5060}
    server |= {"transport": 1, "weight": 10, "enabled": True}
    await steps.post("peeringservers", server)
    doc = await steps.get(f"/api/peeringservers/{ids['peeringservers']}")
    assert {k: doc[k] for k in server} == server and doc["_links"]["ngcp:peeringgroups"] == href(f"/api/peeringgroups/{ids['peeringgroups']}")
    rule = {"group_id": ids["peeringgroups"], "callee_prefix": "", "callee_pattern": "", "caller_pattern": "", "description": "all", "enabled": True}
    await steps.post("peeringrules", rule)
    lines = b'.,^431.+$,out,"Austria","Vienna fixed",0.02,60,0.02,1,0.01,60,0.01,1,1\n'
    lines += b'.,^4366\\d+$,out,"Austria","Mobile",0.08,60,0.08,1,0.08,60,0.08,1,0\n'
    fees = f"/api/billingfees/?billing_profile_id={ids['billingprofiles']}"
    for _ in range(2):  # the second one replaces the first
        answer = await root.raw("POST", f"{fees}&purge_existing=true", lines, Content_Type="text/csv")
        assert answer.status == 201
        found = (await steps.get(fees))["_embedded"]["ngcp:billingfees"]
        assert [(f["destination"], f["onpeak_init_rate"], f["use_free_time"]) for f in found] == [
            ("^431.+$", 0.02, True),
            ("^4366\\d+$", 0.08, False),
        ]


@ensure
async def test_client_certificate_until_it_is_deleted(web: Web) -> None:
    """3.10: the rights are those of the administrator whose key it is; without the key 403."""
    reseller, _ = await web.reseller("alps")
    root = web.client()
    mine = (await root.post("/api/customercontacts/", {"reseller_id": reseller, "email": "c@example.org"})).id
    other = (await root.post("/api/customercontacts/", {"reseller_id": 1, "email": "d@example.org"})).id
    name, serial = "Sipwise NGCP API client certificate", 1467000000
    owner = sa.update(admin).where(admin.c.login == "alps-admin")
    web.database.run_here(lambda conn: conn.execute(owner.values(cert_serial=str(serial))))
    client = web.client(certificate=certificate(web, name, serial))
    assert (await client.get(f"/api/customercontacts/{mine}")).status == 200
    assert (await client.get(f"/api/customercontacts/{other}")).status == 404
    assert (await client.get("/api/contracts/")).status == 403

    def delete(conn: sa.Connection) -> None:
        from ngcpd.store.changes import note

        conn.execute(owner.values(cert_serial=None))
        note(conn, "admin", conn.scalar(sa.select(admin.c.id).where(admin.c.login == "alps-admin")) or 0)

    await web.database.run(delete)
    # what was remembered of the login goes with the notice, moments later
    end = time.monotonic() + 1.0
    while (answer := await web.client(certificate=certificate(web, name, serial)).get("/api/customers/")).status == 200:
        assert time.monotonic() < end, "still let in"
    assert answer.status == 403

"""Rules of single resources, rights, many at a time (REST API 2, 6.2, 6.3)."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.internet.threads import deferToThread

from ngcpd.store.tables.accounting import cdr
from ngcpd.store.tables.identity import number, subscriber
from ngcpd.store.tables.preferences import preference_value
from ngcpd.store.tables.tenancy import admin, contact, idempotency, journal, reseller
from tests.web.harness import Client, Web

ensure = pytest_twisted.ensureDeferred
DOMAIN = "voice.brook.example"


async def home(web: Web, root: Client, **more: Any) -> int:
    """A customer with a domain beside it."""
    assert (await root.post("/api/domains/", {"domain": DOMAIN, "reseller_id": 1})).status == 201
    return await web.customer(root, **more)


async def together(*work: Any) -> list[Any]:
    results = await DeferredList([ensureDeferred(w) for w in work])
    return [result for ok, result in results]


@ensure
async def test_idempotency_key(web: Web) -> None:
    root, other = web.client(), web.client()
    body = {"email": "a@example.net"}
    first = await root.post("/api/systemcontacts/", body, Idempotency_Key="k1")
    again = await root.post("/api/systemcontacts/", body, Idempotency_Key="k1")
    assert (again.status, again.headers["location"]) == (201, first.headers["location"])
    assert (await root.post("/api/systemcontacts/", {"email": "b@example.net"}, Idempotency_Key="k1")).status == 422
    assert (await root.post("/api/systemcontacts/", body, Idempotency_Key="k2")).headers["location"] != first.headers["location"]
    assert (await root.post("/api/systemcontacts/", {}, Idempotency_Key="k3")).status == 422
    assert (await root.post("/api/systemcontacts/", body, Idempotency_Key="k3")).status == 201, "a failed request does not use the key up"
    before = web.count(contact)
    both = await together(*(c.post("/api/systemcontacts/", body, Idempotency_Key="k4") for c in (root, other, web.client())))
    assert {r.status for r in both} == {201} and len({r.headers["location"] for r in both}) == 1
    assert web.count(contact) == before + 1 and web.count(idempotency) == 4


@ensure
async def test_limit_holds_among_many_at_a_time(web: Web) -> None:
    root = web.client()
    customer = await home(web, root, max_subscribers=5)
    clients = [web.client() for _ in range(10)]
    bodies = [{"customer_id": customer, "domain": DOMAIN, "username": f"u{n}", "password": "s3cret-pw"} for n in range(10)]
    replies = await together(*(c.post("/api/subscribers/", b) for c, b in zip(clients, bodies, strict=True)))
    assert sorted(r.status for r in replies) == [201] * 5 + [403] * 5
    assert web.rows(sa.select(sa.func.count()).select_from(subscriber).where(subscriber.c.contract_id == customer)) == [(5,)]
    assert {r.json()["message"] for r in replies if r.status == 403} == {"Maximum number of subscribers for this customer reached"}


@ensure
async def test_same_name_and_number_at_a_time(web: Web) -> None:
    root = web.client()
    customer = await home(web, root)
    clients = [web.client() for _ in range(4)]
    body = {"customer_id": customer, "domain": DOMAIN, "username": "same", "password": "s3cret-pw"}
    replies = await together(*(c.post("/api/subscribers/", body) for c in clients))
    assert sorted(r.status for r in replies) == [201, 422, 422, 422]
    taken = {"primary_number": {"cc": "43", "ac": "1", "sn": "5555"}}
    bodies = [{**body, "username": f"n{n}", **taken} for n in range(4)]
    replies = await together(*(c.post("/api/subscribers/", b) for c, b in zip(clients, bodies, strict=True)))
    assert sorted(r.status for r in replies) == [201, 422, 422, 422]
    assert web.rows(sa.select(sa.func.count()).select_from(number).where(number.c.e164 == "4315555")) == [(1,)]
    names = await together(*(c.post("/api/domains/", {"domain": "twice.example", "reseller_id": 1}) for c in clients))
    assert sorted(r.status for r in names) == [201, 422, 422, 422]


@ensure
async def test_puts_on_one_object_at_a_time(web: Web) -> None:
    root = web.client()
    customer = await home(web, root)
    doc = await root.doc(f"/api/customers/{customer}")
    clients = [web.client() for _ in range(5)]
    replies = await together(*(c.put(f"/api/customers/{customer}", {**doc, "external_id": f"x{n}"}) for n, c in enumerate(clients)))
    assert {r.status for r in replies} == {204}
    updates = (journal.c.resource_name == "customers", journal.c.operation == "update")
    rows = web.rows(sa.select(journal.c.content).where(*updates).order_by(journal.c.id))
    assert json.loads(rows[-1][0])["external_id"] == (await root.doc(f"/api/customers/{customer}"))["external_id"]


@ensure
async def test_subscriber_rules(web: Web) -> None:
    root = web.client()
    customer = await home(web, root, external_id="EXT")
    other = await web.customer(root)
    ada = await web.subscriber(root, customer, DOMAIN, "ada", primary_number={"cc": "43", "ac": "1", "sn": "100"}, external_id="S1")
    path = f"/api/subscribers/{ada}"
    doc = await root.doc(path)
    assert doc["password"] == "s3cret-pw" and "webpassword" not in doc and doc["webusername"] == "ada" and len(doc["uuid"]) == 36

    async def refused(status: int = 422, **change: Any) -> str:
        answer = await root.put(path, {**doc, **change})
        assert answer.status == status, (change, answer)
        return str(answer.json()["message"])

    for name in ("a..b", ".a", "a.", "a b", "ä", "a@b", "", "a\nb"):
        assert "field='username'" in await refused(username=name)
    assert "field='customer_id'" in await refused(customer_id=other)
    assert "field='domain'" in await refused(domain="other.example", domain_id=None)
    assert "field='lock'" in await refused(lock=6)
    assert "field='alias_numbers'" in await refused(alias_numbers="x")
    assert "field='password', input=''" in await refused(password="short")
    assert "field='email'" in await refused(email="nobody")
    assert "pbx" in await refused(is_pbx_pilot=True)
    bob = await web.subscriber(root, customer, DOMAIN, "bob", primary_number={"cc": "43", "ac": "1", "sn": "200"})
    assert "431200" in await refused(alias_numbers=[{"cc": "43", "ac": "1", "sn": "200"}])
    assert await root.doc(path) == doc, "nothing half-written"
    moved = {"primary_number": {"cc": "43", "ac": "1", "sn": "101"}, "alias_numbers": [{"cc": 43, "ac": 1, "sn": "102"}]}
    assert (await root.put(path, {**doc, **moved})).status == 204
    prefs = await root.doc(f"/api/subscriberpreferences/{ada}")
    assert (prefs["cli"], prefs["allowed_clis"]) == ("431101", ["431101", "431102"])
    assert (await root.doc("/api/subscribers/?alias=31102"))["_embedded"]["ngcp:subscribers"]["id"] == ada
    assert (await root.doc("/api/subscribers/?customer_external_id=ext"))["total_count"] == 2
    renamed = {**await root.doc(path), "username": "Ada.2", "lock": 2, "email": "ada@example.net", "display_name": "Ada"}
    assert (await root.put(path, renamed)).status == 204
    after = await root.doc(path)
    wanted = {"username": "Ada.2", "lock": 2, "email": "ada@example.net", "display_name": "Ada", "password": "s3cret-pw"}
    assert {name: after[name] for name in wanted} == wanted
    without = {k: v for k, v in after.items() if k not in ("lock", "password", "email")}
    assert (await root.put(path, without)).status == 204
    left = await root.doc(path)
    assert (left["lock"], left["password"], left["email"]) == (2, "s3cret-pw", None), "lock and password survive a PUT without them"
    assert (await root.patch(f"/api/subscribers/{bob}", [{"op": "replace", "path": "/status", "value": "locked"}])).status == 204
    assert (await root.doc(f"/api/subscribers/{bob}"))["lock"] == 4
    ext = web.rows(sa.select(preference_value.c.value).where(preference_value.c.attribute == "ext_contract_id", preference_value.c.owner_id == ada))
    assert ext == [("EXT",)]
    content = " ".join(row[0] for row in web.rows(sa.select(journal.c.content)))
    assert "s3cret-pw" not in content and "password" not in content, "no secret in the journal"
    hidden = {"reseller_id": 1, "login": "nopasswords", "password": "correct-horse", "is_superuser": True, "show_passwords": False}
    assert (await root.post("/api/admins/", hidden)).status == 201
    shy = web.client("nopasswords", "correct-horse")
    seen = await shy.doc(path)
    assert "password" not in seen
    assert (await shy.put(path, seen)).status == 204 and (await root.doc(path))["password"] == "s3cret-pw"


@ensure
async def test_reseller_scope_and_escalation(web: Web) -> None:
    root = web.client()
    key, own = await web.reseller("alps")
    made = await own.post("/api/admins/", {"reseller_id": 1, "login": "sneaky", "password": "correct-horse", "is_superuser": True, "is_master": True})
    row = web.rows(sa.select(admin.c.reseller_id, admin.c.is_superuser, admin.c.is_master).where(admin.c.id == made.id))
    assert row == [(key, False, False)], "no rights that the maker does not have"
    assert (await own.put("/api/admins/1", {"login": "administrator", "password": "correct-horse"})).status == 404
    person = (await own.post("/api/customercontacts/", {"reseller_id": 1, "email": "x@example.org"})).id
    assert (await own.doc(f"/api/customercontacts/{person}"))["reseller_id"] == key
    customer = {"contact_id": person, "type": "sipaccount", "status": "active", "billing_profile_id": 1}
    assert (await own.post("/api/customers/", customer)).status == 422, "the profile is another reseller's"
    assert (await own.post("/api/customers/", {**customer, "contact_id": 1})).status == 422
    for name in ("contracts", "resellers", "systemcontacts", "lnpcarriers", "peeringgroups"):
        assert (await own.get(f"/api/{name}/")).status == 403
    assert (await own.get("/api/domains/?reseller_id=1")).json()["total_count"] == 0
    page = (await own.get("/api/")).body
    assert b"id='contracts'" not in page and b"id='customers'" in page
    assert (await root.patch(f"/api/resellers/{key}", [{"op": "replace", "path": "/status", "value": "terminated"}])).status == 204
    assert (await root.get(f"/api/resellers/{key}")).status == 404
    assert web.rows(sa.select(admin.c.id).where(admin.c.reseller_id == key)) == []
    assert (await root.patch("/api/contracts/1", [{"op": "replace", "path": "/status", "value": "terminated"}])).status == 403


@ensure
async def test_rewrite_rules(web: Web) -> None:
    root = web.client()
    rules = [
        {"match_pattern": "^00([1-9][0-9]+)$", "replace_pattern": "\\1", "description": "int", "direction": "in", "field": "callee"},
        {"match_pattern": "^0([1-9][0-9]+)$", "replace_pattern": "$avp(s:caller_cc)\\1", "description": "nat", "direction": "in", "field": "callee"},
    ]
    key = (await root.post("/api/rewriterulesets/", {"reseller_id": 1, "name": "at", "rewriterules": rules})).id
    doc = await root.doc(f"/api/rewriterulesets/{key}")
    assert doc["rewriterules"][1]["replace_pattern"] == "${caller_cc}\\1" and doc["caller_in_dpid"] != doc["callee_in_dpid"]
    assert (await root.put(f"/api/rewriterulesets/{key}", {**doc, "rewriterules": rules[:1]})).status == 204
    assert (await root.doc(f"/api/rewriterules/?set_id={key}"))["total_count"] == 1
    for bad in ("a b", "?x", "x$", "\\2", "@{caller_x}"):
        assert (await root.post("/api/rewriterules/", {**rules[0], "set_id": key, "replace_pattern": bad})).status == 422, bad
    assert (await root.post("/api/rewriterules/", {**rules[0], "set_id": key, "match_pattern": "("})).status == 422
    domain = (await root.post("/api/domains/", {"domain": DOMAIN, "reseller_id": 1})).id
    path = f"/api/domainpreferences/{domain}"
    assert (await root.patch(path, [{"op": "add", "path": "/rewrite_rule_set", "value": "at"}])).status == 204
    assert (await root.doc(path))["rewrite_rule_set"] == "at"
    assert (await root.delete(f"/api/rewriterulesets/{key}")).status == 204
    assert "rewrite_rule_set" not in await root.doc(path)


@ensure
async def test_call_records_show_a_reseller_its_own_side(web: Web) -> None:
    root = web.client()
    _, own = await web.reseller("alps")
    contract = web.rows(sa.select(reseller.c.contract_id).where(reseller.c.name == "alps"))[0][0]
    row = {
        **dict.fromkeys(("source_user", "source_domain", "source_cli", "source_ip", "destination_user", "destination_domain"), "x"),
        **dict.fromkeys(("destination_user_dialed", "destination_user_in", "destination_domain_in", "call_id"), "y"),
        "source_user_id": "u1", "source_provider_id": str(contract), "source_account_id": 7, "source_clir": False,
        "destination_user_id": "u2", "destination_provider_id": "1", "destination_account_id": 8, "call_code": "200",
        "init_time": 1_700_000_000.25, "start_time": 1_700_000_001.5, "duration": 12.5, "update_time": datetime.datetime(2024, 1, 1),
        "source_customer_cost": 3, "destination_customer_cost": 4, "source_carrier_cost": 5,
    }
    foreign = {**row, "source_provider_id": "1"}
    web.database.run_here(lambda conn: conn.execute(sa.insert(cdr), [row, foreign]))
    assert (await root.doc("/api/calls/"))["total_count"] == 2
    mine = (await own.doc("/api/calls/"))["_embedded"]["ngcp:calls"]
    assert (mine["source_user"], mine["source_customer_cost"], mine["destination_user"], mine["destination_customer_cost"]) == ("x", 3, None, None)
    assert mine["init_time"].endswith(".250") and mine["duration"] == 12.5 and "source_carrier_cost" not in mine and "rated_at" not in mine
    assert (await root.doc("/api/calls/?customer_id=8"))["total_count"] == 2 and (await root.doc("/api/calls/?customer_id=9"))["total_count"] == 0
    assert (await root.doc(f"/api/calls/{mine['id']}"))["source_carrier_cost"] == 5
    assert (await own.post("/api/calls/", {})).status == 404


@ensure
async def test_the_example_script(web: Web) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    script = Path(__file__).resolve().parents[2] / "docs/rest-example.sh"
    done = await deferToThread(
        subprocess.run, [str(script), f"https://127.0.0.1:{web.port}/api"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ben@alps.example has id" in done.stdout and '"ringtimeout":20' in done.stdout



"""What is special about single collections, and the operator's settings for all of them (REST API 1.3, 1.12, 2.2 to 2.5, column `special`)."""

from __future__ import annotations

import json

import pytest_twisted
import sqlalchemy as sa

from ngcpd.config.schema_signalling import JOURNALS
from ngcpd.provisioning.registry import standard
from ngcpd.store.tables.packages import invoice_template
from ngcpd.store.tables.preferences import preference_value
from ngcpd.store.tables.tenancy import journal
from tests.web.harness import Client, Web

ensure = pytest_twisted.ensureDeferred
DOMAIN = "voice.brook.example"


async def home(web: Web, root: Client, **more: object) -> tuple[int, int]:
    """(customer, subscriber)"""
    assert (await root.post("/api/domains/", {"domain": DOMAIN, "reseller_id": 1})).status == 201
    customer = await web.customer(root, **more)
    return customer, await web.subscriber(root, customer, DOMAIN, "ada")


async def second_admin(web: Web, root: Client, login: str, **flags: object) -> Client:
    body = {"reseller_id": 1, "login": login, "password": "correct-horse", "is_superuser": True, **flags}
    assert (await root.post("/api/admins/", body)).status == 201
    return web.client(login, "correct-horse")


@ensure
async def test_patterns_that_could_run_without_end_are_refused_everywhere(web: Web) -> None:
    root = web.client()
    _, ada = await home(web, root)
    peering = {"contact_id": 2, "type": "sippeering", "status": "active", "billing_profile_id": 1}
    contract = (await root.post("/api/contracts/", peering)).id
    group = (await root.post("/api/peeringgroups/", {"contract_id": contract, "name": "g", "priority": 1})).id
    level = (await root.post("/api/ncoslevels/", {"reseller_id": 1, "level": "l", "mode": "blacklist"})).id
    rules = (await root.post("/api/rewriterulesets/", {"reseller_id": 1, "name": "s"})).id
    fee = {"billing_profile_id": 1, "billing_zone_zone": "z", "destination": "^43", "onpeak_init_interval": 60}
    cases = {
        "billingfees": [({**fee}, "source"), ({**fee}, "destination")],
        "ncospatterns": [({"ncos_level_id": level, "pattern": "x"}, "pattern")],
        "trustedsources": [({"subscriber_id": ada, "src_ip": "192.0.2.1", "protocol": "UDP"}, "from_pattern")],
        "peeringrules": [({"group_id": group}, "callee_pattern"), ({"group_id": group}, "caller_pattern")],
        "rewriterules": [({"set_id": rules, "replace_pattern": "x", "description": "d"}, "match_pattern")],
    }
    for name, bodies in cases.items():
        for body, field in bodies:
            for bad in ("(a+)+$", "(x*)*y", "(", "*", "[", "(?<=a+)b"):
                answer = await root.post(f"/api/{name}/", {**body, field: bad})
                assert answer.status == 422 and f"field='{field}'" in answer.json()["message"], (name, field, bad, answer)
            made = await root.post(f"/api/{name}/", {**body, field: "^43[0-9]+$"})
            assert made.status == 201, (name, field, made)
            assert (await root.delete(f"/api/{name}/{made.id}")).status == 204
    nested = [{"match_pattern": "(a+)+$", "replace_pattern": "x", "description": "d"}]
    answer = await root.post("/api/rewriterulesets/", {"reseller_id": 1, "name": "t", "rewriterules": nested})
    assert answer.status == 422 and "field='rewriterules_match_pattern'" in answer.json()["message"]


@ensure
async def test_passwords_among_preferences(web: Web) -> None:
    root = web.client()
    _, ada = await home(web, root)
    path = f"/api/subscriberpreferences/{ada}"
    secrets = {"peer_auth_pass": "s3cret-peer", "conference_pin": "4711", "block_out_override_pin": "0815"}
    assert (await root.put(path, {**secrets, "concurrent_max": 3})).status == 204
    assert secrets.items() <= (await root.doc(path)).items()
    shy = await second_admin(web, root, "nopasswords", show_passwords=False)
    seen = await shy.doc(path)
    assert not secrets.keys() & seen.keys() and seen["concurrent_max"] == 3
    assert (await shy.put(path, {**seen, "concurrent_max": 4})).status == 204
    assert {**secrets, "concurrent_max": 4}.items() <= (await root.doc(path)).items(), "what it cannot see stays"
    assert (await shy.patch(path, [{"op": "add", "path": "/conference_pin", "value": "1234"}])).status == 204
    assert (await root.doc(path))["conference_pin"] == "1234"
    kept = " ".join(row[0] for row in web.rows(sa.select(journal.c.content)))
    assert "s3cret-peer" not in kept and "4711" not in kept and "1234" not in kept and "concurrent_max" in kept
    long = await root.put(path, {"peer_auth_pass": "x" * 300})
    assert long.status == 422 and "xxx" not in long.body.decode()


@ensure
async def test_the_default_sound_set_of_a_customer(web: Web) -> None:
    root = web.client()
    customer, ada = await home(web, root)
    body = {"reseller_id": 1, "customer_id": customer, "name": "hold", "contract_default": True}
    first = (await root.post("/api/soundsets/", body)).id
    ben = await web.subscriber(root, customer, DOMAIN, "ben")
    second = (await root.post("/api/soundsets/", {**body, "name": "other"})).id
    assert (await root.doc(f"/api/soundsets/{first}"))["contract_default"] is False, "one default per customer"

    async def named(key: int) -> object:
        return (await root.doc(f"/api/subscriberpreferences/{key}")).get("contract_sound_set")

    assert (await named(ada), await named(ben)) == (None, "hold"), "new ones inherit, others do not at creation"
    cid = await web.subscriber(root, customer, DOMAIN, "cid")
    assert await named(cid) == "other"
    assert (await root.patch(f"/api/soundsets/{second}", [{"op": "replace", "path": "/description", "value": "x"}])).status == 204
    assert [await named(key) for key in (ada, ben, cid)] == ["other"] * 3, "an update hands it to all"
    stranger = await web.subscriber(root, await web.customer(root), DOMAIN, "dan")
    assert await named(stranger) is None
    assert (await root.delete(f"/api/soundsets/{second}")).status == 204
    assert [await named(key) for key in (ada, ben, cid)] == [None] * 3


@ensure
async def test_journals_as_the_operator_wants_them(web: Web) -> None:
    root = web.client()
    path = "/api/systemcontacts/"

    async def entries(key: int) -> list[str]:
        found = await root.get(f"{path}{key}/journal/")
        return [e["operation"] for e in found.json()["_embedded"].get("ngcp:journal", [])] if found.status == 200 else []

    async def life() -> int:
        key = (await root.post(path, {"email": "a@example.org"})).id
        assert (await root.patch(f"{path}{key}", [{"op": "replace", "path": "/email", "value": "b@example.org"}])).status == 204
        assert (await root.delete(f"{path}{key}")).status == 204
        return key

    assert await entries(await life()) == ["create", "update", "delete"]
    web.rules(journal={"systemcontacts": frozenset({"update"})})
    assert await entries(await life()) == ["update"]
    web.rules(journal={"systemcontacts": frozenset()})
    assert await entries(await life()) == []
    web.rules(journal={}, journal_deflate=True)
    key = await life()
    stored = web.rows(sa.select(journal.c.content).where(journal.c.resource_id == key, journal.c.operation == "update"))
    assert stored[0][0].startswith("deflate:") and "example" not in stored[0][0]
    recent = await root.doc(f"{path}{key}/journal/recent")
    assert (recent["operation"], recent["content"]["email"]) == ("delete", "b@example.org")
    before = web.count(journal)
    assert (await root.post("/api/ncoslevels/", {"reseller_id": 1, "level": "x", "mode": "blacklist"})).status == 201
    assert web.count(journal) == before, "no journal where there is none to read"


def test_the_settings_name_every_journal() -> None:
    assert sorted(JOURNALS) == [r.name for r in standard().values() if r.journal]


@ensure
async def test_pages_as_the_operator_wants_them(web: Web) -> None:
    root = web.client()
    for n in range(4):
        assert (await root.post("/api/ncoslevels/", {"reseller_id": 1, "level": f"l{n}", "mode": "blacklist"})).status == 201
    one = "/api/ncoslevels/?level=l1"
    assert isinstance((await root.doc(one))["_embedded"]["ngcp:ncoslevels"], dict)
    web.rules(single_as_object=False, max_rows=3)
    doc = await root.doc(one)
    assert isinstance(doc["_embedded"]["ngcp:ncoslevels"], list) and isinstance(doc["_links"]["ngcp:ncoslevels"], list)
    for asked in ("rows=50", "rows=4", ""):
        page = await root.doc(f"/api/ncoslevels/?{asked}")
        assert len(page["_embedded"]["ngcp:ncoslevels"]) == 3 and page["_links"]["next"]["href"].endswith("page=2&rows=3"), asked


@ensure
async def test_carriers_of_a_resellers_class_of_service(web: Web) -> None:
    """The collection is a reseller's, too, the items are the administrator's."""
    root = web.client()
    _, own = await web.reseller("alps")
    carrier = (await root.post("/api/lnpcarriers/", {"name": "c", "prefix": "D1"})).id
    level = (await own.post("/api/ncoslevels/", {"level": "mine", "mode": "whitelist"})).id
    foreign = (await root.post("/api/ncoslevels/", {"reseller_id": 1, "level": "other", "mode": "whitelist"})).id
    made = (await own.post("/api/ncoslnpcarriers/", {"ncos_level_id": level, "carrier_id": carrier})).id
    assert (await own.post("/api/ncoslnpcarriers/", {"ncos_level_id": level, "carrier_id": carrier})).status == 422
    assert (await own.post("/api/ncoslnpcarriers/", {"ncos_level_id": foreign, "carrier_id": carrier})).status == 422
    assert (await own.doc("/api/ncoslnpcarriers/"))["total_count"] == 1
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"):
        assert (await own.raw(method, f"/api/ncoslnpcarriers/{made}")).status == 403, method
    assert (await root.delete(f"/api/ncoslnpcarriers/{made}")).status == 204


@ensure
async def test_templates_of_a_customer_are_its_resellers(web: Web) -> None:
    root = web.client()
    key, own = await web.reseller("alps")
    customer, _ = await home(web, root)
    mail = {"name": "m", "from_email": "noc@example.org", "subject": "s", "body": "b"}
    foreign = (await own.post("/api/emailtemplates/", mail)).id
    stamp = {"created_at": sa.func.current_timestamp(), "modified_at": sa.func.current_timestamp()}
    bill = web.database.run_here(
        lambda conn: conn.execute(sa.insert(invoice_template).values(reseller_id=key, name="i", type="svg", **stamp)).inserted_primary_key[0]
    )
    for name, value in (("subscriber_email_template_id", foreign), ("passreset_email_template_id", foreign), ("invoice_template_id", bill)):
        answer = await root.patch(f"/api/customers/{customer}", [{"op": "replace", "path": f"/{name}", "value": value}])
        assert answer.status == 422 and f"field='{name}'" in answer.json()["message"], name
    for sender in ("nobody", "a b@example.org", "a@b\r\nBcc: c@d", ""):
        assert (await own.post("/api/emailtemplates/", {**mail, "name": "n", "from_email": sender})).status == 422, sender
    assert (await own.post("/api/emailtemplates/", {**mail, "name": "n", "from_email": "[% adminmail %]"})).status == 201


@ensure
async def test_lock_levels(web: Web) -> None:
    """2.5: 0 or null none, 1 to 5; status locked is level 4, active clears."""
    root = web.client()
    _, ada = await home(web, root)
    path = f"/api/subscribers/{ada}"
    value = preference_value.c

    def stored() -> list[str]:
        return [row[0] for row in web.rows(sa.select(value.value).where(value.owner_id == ada, value.level == "usr", value.attribute == "lock"))]

    async def change(name: str, new: object) -> int:
        return (await root.patch(path, [{"op": "replace", "path": f"/{name}", "value": new}])).status

    for level in (1, 2, 3, 4, 5):
        assert await change("lock", level) == 204 and stored() == [str(level)]
        assert (await root.doc(path))["lock"] == level
    assert await change("lock", None) == 204 and stored() == []
    for bad in (6, -1, "x", 1.5, True, [1]):
        assert await change("lock", bad) == 422, bad
    assert await change("status", "locked") == 204 and stored() == ["4"]
    assert await change("status", "active") == 204 and stored() == []
    locked = await root.post("/api/subscribers/", {**await root.doc(path), "username": "ben", "webusername": "ben", "status": "locked", "lock": None})
    assert locked.status == 201 and (await root.doc(f"/api/subscribers/{locked.id}"))["lock"] == 4
    assert json.loads((await root.get(f"{path}/journal/recent")).body)["content"]["lock"] is None


@ensure
async def test_columns_of_fee_files(web: Web) -> None:
    """1.10: the operator says what they are."""
    root = web.client()
    web.rules(fee_columns=("zone", "destination", "onpeak_init_rate", "onpeak_init_interval"))
    lines = b"Austria,^43,0.02,60\n,^44,0.02,60\nAustria,^43,out,60,1\nItaly,(,0.1,60\nItaly,^39,0.1,30\n"
    answer = await root.raw("POST", "/api/billingfees/?billing_profile_id=1&purge_existing=true", lines, Content_Type="text/csv")
    assert (answer.status, answer.body) == (201, b"") and "location" not in answer.headers
    fees = (await root.doc("/api/billingfees/?billing_profile_id=1&order_by=destination"))["_embedded"]["ngcp:billingfees"]
    assert [(f["destination"], f["onpeak_init_rate"], f["onpeak_init_interval"], f["direction"]) for f in fees] == [
        ("^39", 0.1, 30, "out"),
        ("^43", 0.02, 60, "out"),
    ]


@ensure
async def test_a_web_login_may_be_a_mail_address(web: Web) -> None:
    root = web.client()
    _, ada = await home(web, root)
    path = f"/api/subscribers/{ada}"
    doc = {**await root.doc(path), "webusername": "ada@brook.example", "webpassword": "w3b-ada-pw"}
    assert (await root.put(path, doc)).status == 204
    assert (await web.client(f"ada@brook.example@{DOMAIN}", "w3b-ada-pw").get("/api/customers/")).status == 403
    assert (await web.client(f"ada@{DOMAIN}", "w3b-ada-pw").get("/api/customers/")).status == 401
    for bad in ("@", "a@", "@b", "a b@c", "a@@b", "a\n@b", "a..b@c"):
        assert (await root.put(path, {**doc, "webusername": bad})).status == 422, bad


@ensure
async def test_what_a_profile_takes_away(web: Web) -> None:
    """5: the first profile is the default, a second default takes the flag; attributes that go take the subscribers' values with them."""
    root = web.client()
    customer, ada = await home(web, root)
    group = (await root.post("/api/subscriberprofilesets/", {"reseller_id": 1, "name": "homes", "description": "d"})).id
    body = {"profile_set_id": group, "name": "all", "description": "d", "attributes": ["clir", "block_out_list", "cfu"]}
    bad = await root.post("/api/subscriberprofiles/", {**body, "attributes": ["no_such"]})
    assert bad.status == 422 and "field='attributes'" in bad.json()["message"]
    first = (await root.post("/api/subscriberprofiles/", body)).id
    second = (await root.post("/api/subscriberprofiles/", {**body, "name": "few", "attributes": ["clir"], "set_default": True})).id
    assert [(await root.doc(f"/api/subscriberprofiles/{key}"))["set_default"] for key in (first, second)] == [False, True]
    path, prefs = f"/api/subscribers/{ada}", f"/api/subscriberpreferences/{ada}"
    assert (await root.put(prefs, {"clir": True, "block_out_list": ["43900*"], "peer_auth_user": "x"})).status == 204
    doc = await root.doc(path)
    assert (await root.put(path, {**doc, "profile_id": first, "profile_set_id": group})).status == 204
    assert (await root.doc(prefs))["block_out_list"] == ["43900*"]
    changed = await root.patch(f"/api/subscriberprofiles/{first}", [{"op": "replace", "path": "/attributes", "value": ["clir"]}])
    assert changed.status == 204
    after = await root.doc(prefs)
    assert "block_out_list" not in after and after["clir"] is True and after["peer_auth_user"] == "x"
    ben = await web.subscriber(root, customer, DOMAIN, "ben", profile_set_id=group)
    assert (await root.doc(f"/api/subscribers/{ben}"))["profile_id"] == second, "only the set: its default"
    assert (await root.delete(f"/api/subscriberprofiles/{second}")).status == 204
    assert (await root.doc(f"/api/subscribers/{ben}"))["profile_id"] is None
    assert (await root.doc(f"/api/subscriberprofiles/{first}"))["set_default"] is True
    web.rules(profile_sets_reseller_edit=False)
    _, own = await web.reseller("alps")
    assert (await own.post("/api/subscriberprofilesets/", {"name": "x", "description": "d"})).status == 403

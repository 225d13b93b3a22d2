"""Every write that the directory has to know of makes a notice: held over all of provisioning by `tests.noticed`, which every test of this
room runs under. Here: that it watches everything, and that it would complain."""

from __future__ import annotations

import pytest_twisted
import sqlalchemy as sa

from ngcpd.directory import loader
from ngcpd.store import changes
from ngcpd.store.tables.identity import subscriber
from ngcpd.store.tables.tenancy import reseller
from tests.web.harness import Web

ensure = pytest_twisted.ensureDeferred
REPLACE = [{"op": "replace", "path": "/status", "value": "locked"}]


@ensure
async def test_every_table_of_the_directory_is_written_under_notices(web: Web) -> None:
    """Each table that the loader reads is written here by the interface at least once. One that is missing here is read in vain, or its
    writes are not watched."""
    root = web.client()
    number = {"primary_number": {"cc": "43", "ac": "7700", "sn": "41001"}}
    customer = await web.customer(root)
    domain = (await root.post("/api/domains/", {"domain": "a.example", "reseller_id": 1})).id
    ada = await web.subscriber(root, customer, "a.example", "ada", **number)
    profiles = (await root.post("/api/subscriberprofilesets/", {"reseller_id": 1, "name": "s", "description": "s"})).id
    body = {"profile_set_id": profiles, "name": "p", "description": "p", "attributes": ["clir", "clir_override"]}
    profile = (await root.post("/api/subscriberprofiles/", body)).id
    place = {"contract_id": customer, "name": "l", "description": "l", "blocks": [{"ip": "10.1.0.0", "mask": 16}]}
    assert (await root.post("/api/customerlocations/", place)).status == 201
    assert (await root.post("/api/trustedsources/", {"subscriber_id": ada, "src_ip": "192.0.2.9", "protocol": "UDP"})).status == 201
    rules = (await root.post("/api/rewriterulesets/", {"reseller_id": 1, "name": "r", "description": "r"})).id
    rule = {"set_id": rules, "direction": "in", "field": "callee", "match_pattern": "^0", "replace_pattern": "43", "description": "d"}
    assert (await root.post("/api/rewriterules/", rule)).status == 201
    contract = (await root.post("/api/contracts/", {"contact_id": 2, "type": "sippeering", "status": "active", "billing_profile_id": 1})).id
    group = (await root.post("/api/peeringgroups/", {"name": "g", "priority": 1, "description": "g", "contract_id": contract})).id
    server = {"group_id": group, "name": "h", "ip": "192.0.2.80", "host": "h.example", "port": 5060, "transport": 1, "weight": 1}
    peer = (await root.post("/api/peeringservers/", server)).id
    assert (await root.post("/api/peeringrules/", {"group_id": group, "callee_prefix": "", "description": "d"})).status == 201
    await web.reseller("other")
    for path, change in (
        (f"subscriberpreferences/{ada}", {"clir": True, "allowed_ips": ["10.0.0.1"]}),
        (f"domainpreferences/{domain}", {"use_rtpproxy": "never"}),
        (f"profilepreferences/{profile}", {"clir_override": True}),
        (f"peeringserverpreferences/{peer}", {"use_rtpproxy": "never"}),
        (f"customerpreferences/{customer}", {"block_in_clir": True}),
    ):
        found = await root.doc(f"/api/{path}")
        answer = await root.put(f"/api/{path}", {**found, **change})
        assert answer.status == 204, (path, answer.body)
    assert (await root.patch(f"/api/customers/{customer}", REPLACE)).status == 204
    read = {name for places in (*web.watch.plan.places.values(), web.watch.plan.whole) for name, _ in places}
    assert len(read) > 15 and read - web.watch.written <= {"contact", "reseller"}  # for these two see below
    assert not web.watch.plan.whole - {p for places in web.watch.plan.places.values() for p in places}, "what is loaded whole is kept up to date"


@ensure
async def test_a_write_without_a_notice_is_a_fault(web: Web) -> None:
    root = web.client()
    customer = await web.customer(root)
    await root.post("/api/domains/", {"domain": "a.example", "reseller_id": 1})
    ada = await web.subscriber(root, customer, "a.example", "ada")
    assert web.watch.faults == []
    status = sa.update(subscriber).where(subscriber.c.id == ada)
    for values, kinds, faults in (
        ({"status": "locked"}, [], 1),
        ({"status": "locked"}, ["number"], 0),  # drops the owner's details
        ({"status": "locked"}, ["admin", "rewrite", "domain"], 1),
        ({"live_name": "bea"}, ["preference:usr"], 1),
        ({"live_name": "ada"}, ["subscriber"], 0),
        ({"webusername": "a"}, [], 0),
        ({"webusername": "b"}, ["nonsense"], 1),
    ):

        def work(conn: sa.Connection, values: dict[str, str] = values, kinds: list[str] = kinds) -> None:
            conn.execute(status.values(**values))
            changes.note_all(conn, [(kind, ada) for kind in kinds])

        web.database.run_here(work)
        assert len(web.watch.faults) == faults, (values, kinds, web.watch.faults)
        web.watch.faults.clear()


@ensure
async def test_reseller_of_a_contact_and_contract_of_a_reseller(web: Web) -> None:
    """Rows that are read by way of others: a contract has the reseller of its contact, a domain's calls belong to its reseller's contract."""
    root = web.client()
    other, _ = await web.reseller("other")
    person = (await root.post("/api/customercontacts/", {"reseller_id": 1, "email": "c@example.org"})).id
    body = {"contact_id": person, "type": "sipaccount", "status": "active", "billing_profile_id": 1}
    customer = (await root.post("/api/customers/", body)).id
    web.notices()
    doc = await root.doc(f"/api/customercontacts/{person}")
    answer = await root.put(f"/api/customercontacts/{person}", {**doc, "reseller_id": other})
    assert answer.status == 204, answer.body
    assert ("contract", str(customer)) in web.notices()
    contract = {"contact_id": 2, "type": "reseller", "status": "active", "billing_profile_id": 1}
    second = (await root.post("/api/contracts/", contract)).id
    doc = await root.doc(f"/api/resellers/{other}")
    web.notices()
    answer = await root.put(f"/api/resellers/{other}", {**doc, "contract_id": second})
    if answer.status == 204:
        assert ("reseller", str(other)) in web.notices()
        assert web.rows(sa.select(reseller.c.contract_id).where(reseller.c.id == other)) == [(second,)]
    else:
        assert answer.status == 422, answer.body


def test_loader_is_where_the_watch_looks() -> None:
    assert loader.__name__ == "ngcpd.directory.loader"

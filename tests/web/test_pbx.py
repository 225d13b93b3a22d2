"""Subscribers of a Cloud PBX customer over TLS (device management 12, 14; REST API 2.4)."""

from __future__ import annotations

from typing import Any

import pytest_twisted
import sqlalchemy as sa

from ngcpd.store.tables.accounting import events
from ngcpd.store.tables.devices import pbx_group_member
from ngcpd.store.tables.preferences import preference_value
from tests.web.harness import Client, Reply, Web

ensure = pytest_twisted.ensureDeferred
NUMBER = {"cc": "43", "ac": "1", "sn": "9876"}


class Pbx:
    """A Cloud PBX customer in domain pbx.example."""

    def __init__(self, root: Client, customer: int) -> None:
        self.root, self.customer = root, customer

    async def post(self, username: str, **more: Any) -> Reply:
        body = {"customer_id": self.customer, "domain": "pbx.example", "username": username, "password": "s3cret-pw", **more}
        return await self.root.post("/api/subscribers/", body)

    async def add(self, username: str, **more: Any) -> int:
        return (await self.post(username, **more)).id

    async def doc(self, key: int) -> Any:
        return await self.root.doc(f"/api/subscribers/{key}")

    async def prefs(self, key: int) -> Any:
        return await self.root.doc(f"/api/subscriberpreferences/{key}")

    async def change(self, key: int, **values: Any) -> Reply:
        patch = [{"op": "replace", "path": f"/{name}", "value": value} for name, value in values.items()]
        return await self.root.patch(f"/api/subscribers/{key}", patch)


async def pbx(web: Web, **more: Any) -> Pbx:
    root = web.client()
    await root.post("/api/domains/", {"domain": "pbx.example", "reseller_id": 1})
    return Pbx(root, await web.customer(root, type="pbxaccount", **more))


def said(reply: Reply, text: str, status: int = 422) -> bool:
    message = reply.json()["message"]
    assert reply.status == status and text in message, reply
    return True


@ensure
async def test_pilot_and_extensions(web: Web) -> None:
    here = await pbx(web, max_subscribers=3)
    said(await here.post("first"), "Customer has no pbx pilot subscriber yet and is_pbx_pilot is not set.")
    said(await here.post("first", is_pbx_pilot=True, is_pbx_group=True), "field='is_pbx_group'")
    pilot = await here.add("pilot", is_pbx_pilot=True, administrative=True)
    said(await here.post("second", is_pbx_pilot=True, pbx_extension="1"), "Customer already has a pbx pilot subscriber.")
    said(await here.post("second"), "A pbx_extension is required if customer is PBX and pilot subscriber exists.")
    said(await here.post("second", pbx_extension="12"), "The pilot subscriber does not have a primary number.")
    assert (await here.change(pilot, primary_number=NUMBER)).status == 204
    one = await here.add("one", pbx_extension="12")
    doc, prefs = await here.doc(one), await here.prefs(one)
    assert (doc["primary_number"], doc["pbx_extension"], doc["is_pbx_pilot"]) == ({"cc": "43", "ac": "1", "sn": "987612"}, "12", False)
    assert {n: prefs[n] for n in ("cli", "cc", "ac", "allowed_clis")} == {"cli": "431987612", "cc": "43", "ac": "1", "allowed_clis": ["431987612"]}
    stored = preference_value.c
    rows = web.rows(sa.select(stored.attribute, stored.value).where(stored.owner_id == one, stored.attribute.like("cloud_pbx%")))
    assert {("cloud_pbx", "1"), ("cloud_pbx_ext", "12"), ("cloud_pbx_base_cli", "4319876")} <= {tuple(row) for row in rows}
    said(await here.post("two", pbx_extension="12"), "The pbx_extension already exists for this customer.")
    for wrong in ("1a", "-1", "+4"):
        said(await here.post("two", pbx_extension=wrong), "field='pbx_extension'")
    await here.root.post("/api/domains/", {"domain": "other.example", "reseller_id": 1})
    said(await here.post("two", pbx_extension="13", domain="other.example"), "field='domain'")
    two = await here.add("two", pbx_extension="13")
    said(await here.post("three", pbx_extension="14"), "Maximum number of subscribers", 403)
    said(await here.change(pilot, is_pbx_pilot=False), "Cannot revoke is_pbx_pilot status from a subscriber.")
    said(await here.change(two, is_pbx_pilot=True), "Customer already has a pbx pilot subscriber.")
    said(await here.change(two, pbx_extension="12"), "The pbx_extension already exists")
    said(await here.change(two, pbx_extension=None), "A pbx_extension is required")
    said(await here.change(two, is_pbx_group=True), "is_pbx_group cannot be changed")
    said(await here.change(pilot, primary_number=None), "The pilot subscriber does not have a primary number.")
    assert (await here.doc(pilot))["primary_number"] == NUMBER
    # The extension changes its number, the pilot everybody's.
    assert (await here.change(two, pbx_extension="99")).status == 204
    assert (await here.doc(two))["primary_number"]["sn"] == "987699"
    assert (await here.change(pilot, primary_number={"cc": "43", "ac": "1", "sn": "55"})).status == 204
    assert [(await here.doc(key))["primary_number"]["sn"] for key in (pilot, one, two)] == ["55", "5512", "5599"]
    assert [(await here.prefs(key))["cli"] for key in (pilot, one, two)] == ["43155", "4315512", "4315599"]
    # What GET gave changes nothing.
    for key in (pilot, one):
        before = await here.doc(key)
        assert (await here.root.put(f"/api/subscribers/{key}", before)).status == 204
        assert await here.doc(key) == before


@ensure
async def test_groups_and_their_members(web: Web) -> None:
    here = await pbx(web)
    pilot = await here.add("pilot", is_pbx_pilot=True, primary_number=NUMBER)
    seats = [await here.add(f"seat{n}", pbx_extension=str(10 + n)) for n in range(3)]
    said(await here.post("sales team", is_pbx_group=True, pbx_extension="50"), "field='username'")
    said(await here.post("sales.team", is_pbx_group=True, pbx_extension="50"), "field='username'")
    members = [seats[2], seats[0]]
    sales = (await here.post("sales", is_pbx_group=True, pbx_extension="50", password=None, pbx_groupmember_ids=members)).id
    doc = await here.doc(sales)
    expected = {"pbx_groupmember_ids": members, "pbx_hunt_policy": "serial", "pbx_hunt_timeout": 10, "display_name": "Sales", "is_pbx_group": True}
    assert {name: doc[name] for name in expected} == expected
    support = await here.add("support", is_pbx_group=True, pbx_extension="51", cloud_pbx_hunt_policy="random", cloud_pbx_hunt_timeout=20)
    doc = await here.doc(support)
    assert (doc["pbx_hunt_policy"], doc["pbx_hunt_timeout"]) == ("random", 20)
    hunt = [("cloud_pbx_hunt_policy", "random"), ("cloud_pbx_hunt_timeout", "20")]
    stored = preference_value.c
    found = web.rows(
        sa.select(stored.attribute, stored.value).where(stored.owner_id == support, stored.attribute.like("%hunt%")).order_by(stored.attribute)
    )
    assert [tuple(row) for row in found] == hunt
    # Both sides are the same thing, each keeps its own order.
    assert (await here.change(seats[0], pbx_group_ids=[support, sales])).status == 204
    assert (await here.change(seats[1], pbx_group_ids=[sales])).status == 204
    assert (await here.doc(seats[0]))["pbx_group_ids"] == [support, sales]
    assert (await here.doc(sales))["pbx_groupmember_ids"] == [*members, seats[1]]
    assert (await here.change(sales, pbx_groupmember_ids=seats)).status == 204
    assert (await here.doc(seats[0]))["pbx_group_ids"] == [support, sales]
    assert (await here.doc(seats[2]))["pbx_group_ids"] == [sales]

    def mirrored(key: int) -> list[str]:
        here = (stored.owner_id == key, stored.attribute == "cloud_pbx_hunt_group")
        return [row[0] for row in web.rows(sa.select(stored.value).where(*here).order_by(stored.position))]

    assert mirrored(sales) == [f"sip:seat{n}@pbx.example" for n in range(3)] and mirrored(support) == ["sip:seat0@pbx.example"]
    assert (await here.change(seats[0], username="front")).status == 204
    assert mirrored(sales)[0] == "sip:front@pbx.example"
    other = await pbx_other(web, here)
    for name, wrong in (
        ("pbx_group_ids", seats[:1]),
        ("pbx_group_ids", [other]),
        ("pbx_group_ids", [sales, sales]),
        ("pbx_group_ids", "x"),
        ("pbx_group_ids", [999999]),
        ("pbx_groupmember_ids", [seats[0]]),
    ):
        said(await here.change(seats[1], **{name: wrong}), f"field='{name}'")
    for members in ([sales], [other], [seats[0], seats[0]], {"a": 1}):
        said(await here.change(sales, pbx_groupmember_ids=members), "field='pbx_groupmember_ids'")
    said(await here.post("new", pbx_extension="60", pbx_group_ids=[other]), "field='pbx_group_ids'")
    said(await here.change(sales, pbx_hunt_policy="loudest"), "field='pbx_hunt_policy'")
    assert (await here.root.doc(f"/api/subscribers/?is_pbx_group=true&customer_id={here.customer}"))["total_count"] == 2
    # The end of a member, of a group, and at last of the customer.
    assert (await here.root.delete(f"/api/subscribers/{seats[1]}")).status == 204
    assert (await here.doc(sales))["pbx_groupmember_ids"] == [seats[0], seats[2]] and mirrored(sales)[1] == "sip:seat2@pbx.example"
    said(await here.root.delete(f"/api/subscribers/{pilot}"), "The pilot subscriber cannot be terminated")
    assert (await here.root.delete(f"/api/subscribers/{support}")).status == 204
    assert (await here.doc(seats[0]))["pbx_group_ids"] == [sales]
    kinds = web.rows(sa.select(events.c.type, events.c.subscriber_id).where(events.c.type.like("%huntgroup")).order_by(events.c.id))
    assert [tuple(row) for row in kinds] == [
        ("start_huntgroup", sales),
        ("start_huntgroup", support),
        ("start_huntgroup", other),
        ("end_huntgroup", support),
    ]
    assert (await here.root.patch(f"/api/customers/{here.customer}", [{"op": "replace", "path": "/status", "value": "terminated"}])).status == 204
    assert (await here.root.get(f"/api/subscribers/{pilot}")).status == 404 and web.count(pbx_group_member) == 0


async def pbx_other(web: Web, here: Pbx) -> int:
    """A group of another customer."""
    other = Pbx(here.root, await web.customer(here.root, type="pbxaccount"))
    await other.add("pilot2", is_pbx_pilot=True, primary_number={"cc": "43", "ac": "2", "sn": "1"})
    return await other.add("foreign", is_pbx_group=True, pbx_extension="50")


@ensure
async def test_aliases_move_between_the_pilot_and_extensions(web: Web) -> None:
    here = await pbx(web)
    aliases = [{"cc": "43", "ac": "1", "sn": str(sn)} for sn in (7001, 7002, 7003)]
    pilot = await here.add("pilot", is_pbx_pilot=True, primary_number=NUMBER, alias_numbers=aliases)
    one = await here.add("one", pbx_extension="1", alias_numbers=aliases[:1])
    assert (await here.doc(pilot))["alias_numbers"] == aliases[1:]
    assert (await here.change(one, alias_numbers=aliases[:2])).status == 204
    assert [(await here.doc(key))["alias_numbers"] for key in (pilot, one)] == [aliases[2:], aliases[:2]]
    assert (await here.prefs(pilot))["allowed_clis"] == ["4319876", "4317003"]
    assert (await here.prefs(one))["allowed_clis"] == ["43198761", "4317001", "4317002"]
    two = await here.add("two", pbx_extension="2")
    said(await here.change(two, alias_numbers=aliases[:1]), "4317001")
    said(await here.change(two, alias_numbers=[NUMBER]), "4319876")
    assert (await here.root.delete(f"/api/subscribers/{one}")).status == 204
    assert sorted((await here.doc(pilot))["alias_numbers"], key=lambda n: n["sn"]) == aliases
    assert len((await here.prefs(pilot))["allowed_clis"]) == 4
    again = await here.add("again", pbx_extension="1")
    assert (await here.doc(again))["primary_number"]["sn"] == "98761"


@ensure
async def test_the_profile_set_is_the_pilots(web: Web) -> None:
    here = await pbx(web)
    set_id = (await here.root.post("/api/subscriberprofilesets/", {"reseller_id": 1, "name": "s", "description": "s"})).id
    profile = {"profile_set_id": set_id, "name": "p", "description": "p", "attributes": ["cfu"]}
    profile_id = (await here.root.post("/api/subscriberprofiles/", profile)).id
    await here.add("pilot", is_pbx_pilot=True, primary_number=NUMBER, profile_set_id=set_id)
    doc = await here.doc(await here.add("one", pbx_extension="1"))
    assert (doc["profile_set_id"], doc["profile_id"]) == (set_id, profile_id)

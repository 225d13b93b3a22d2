"""Call lists over TLS: each side sees its own view of a call record."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa

from ngcpd.provisioning.resources.calllists import spoken
from ngcpd.store.tables.accounting import cdr
from ngcpd.store.tables.identity import subscriber
from tests.web.harness import Client, Web

ensure = pytest_twisted.ensureDeferred
BEGIN = 1_700_000_000
NOBODY = {"user_id": "0", "account_id": 0, "provider_id": "3"}


class World:
    """A customer with two subscribers, one of another customer, and their calls."""

    def __init__(self, web: Web, root: Client) -> None:
        self.web, self.root = web, root
        self.who: dict[str, dict[str, Any]] = {}

    async def subscriber(self, name: str, customer: int, sn: str) -> int:
        number = {"cc": "43", "ac": "1", "sn": sn}
        key = await self.web.subscriber(self.root, customer, "voice.example", name, primary_number=number)
        uuid = self.web.rows(sa.select(subscriber.c.uuid).where(subscriber.c.id == key))[0][0]
        self.who[name] = {"user_id": uuid, "account_id": customer, "provider_id": "1", "user": name, "number": f"431{sn}"}
        return key

    def call(self, source: str, destination: str, **more: Any) -> int:
        """A record; a party that is no subscriber is its number."""
        values: dict[str, Any] = {
            "update_time": datetime.datetime(2024, 1, 1),
            "source_ip": "192.0.2.1",
            "source_clir": False,
            "call_type": "call",
            "call_status": "ok",
            "call_code": "200",
            "init_time": BEGIN,
            "start_time": BEGIN,
            "duration": Decimal("61.200"),
            "call_id": "abc",
            "rating_status": "ok",
        }
        for side, name in (("source", source), ("destination", destination)):
            party = self.who.get(name, {**NOBODY, "user": name, "number": name})
            values |= {f"{side}_{key}": party[key] for key in ("user_id", "account_id", "provider_id", "user")} | {f"{side}_domain": "voice.example"}
            if side == "source":
                values["source_cli"] = party["number"]
            else:
                values |= {
                    "destination_user_dialed": party["number"],
                    "destination_user_in": party["number"],
                    "destination_domain_in": "voice.example",
                }
        values |= more
        return self.web.database.run_here(lambda conn: conn.execute(sa.insert(cdr).values(**values)).inserted_primary_key[0])

    async def list(self, query: str, client: Client | None = None) -> list[dict[str, Any]]:
        found = await (client or self.root).doc(f"/api/calllists/?rows=100&{query}")
        items = found["_embedded"].get("ngcp:calllists", [])
        items = items if isinstance(items, list) else [items]
        assert found["total_count"] == len(items)
        return items


async def world(web: Web) -> tuple[World, int, int, int, int]:
    root = web.client()
    await root.post("/api/domains/", {"domain": "voice.example", "reseller_id": 1})
    mine, other = await web.customer(root, add_vat=True, vat_rate=20), await web.customer(root)
    made = World(web, root)
    a, b = await made.subscriber("ada", mine, "100"), await made.subscriber("bob", mine, "200")
    await made.subscriber("eve", other, "300")
    return made, mine, other, a, b


@ensure
async def test_both_sides_of_a_call(web: Web) -> None:
    made, mine, other, a, b = await world(web)
    out = made.call("ada", "4420123", call_id="x@y_b2b-1_pbx-1", source_customer_cost=Decimal("12.5"), source_customer_free_time=30)
    got = made.call("eve", "ada", source_clir=True, destination_customer_cost=Decimal(2), start_time=BEGIN + 60, source_customer_free_time=5)
    inside = made.call("ada", "bob", start_time=BEGIN + 120, rating_status="unrated", duration=0, call_status="busy", call_type="cfb")
    made.call("eve", "4420123")
    made.call("ada", "*55*1420", destination_domain_in="vsc.local")
    items = {(i["id"], i["direction"]): i for i in await made.list(f"customer_id={mine}")}
    assert set(items) == {(out, "out"), (got, "in"), (inside, "in"), (inside, "out")}
    first = items[(out, "out")]
    expected = {"call_id": "x@y", "own_cli": "431100", "other_cli": "4420123", "status": "ok", "rating_status": "ok", "type": "call"}
    expected |= {"duration": "0:01:02", "customer_cost": 12.5, "total_customer_cost": 15, "customer_free_time": 30, "intra_customer": False}
    assert {name: first[name] for name in expected} == expected
    assert first["_links"]["ngcp:customers"]["href"] == f"/api/customers/{mine}"
    second = items[(got, "in")]
    assert (second["own_cli"], second["other_cli"], second["customer_cost"], second["customer_free_time"]) == ("431100", None, 2, 0)
    assert [items[(inside, d)]["own_cli"] for d in ("out", "in")] == ["431100", "431200"]
    assert items[(inside, "in")]["intra_customer"] is True and items[(inside, "in")]["duration"] == "0:00:00"
    assert items[(inside, "in")]["total_customer_cost"] is None
    # The caller knows whom it called, and its own customer has no VAT.
    caller = await made.list(f"customer_id={other}&direction=out&type=call&start_ge=2023-11-14T22:14:20Z")
    assert [(i["id"], i["other_cli"]) for i in caller] == [(got, "431100")]
    assert {i["id"] for i in await made.list(f"subscriber_id={b}")} == {inside}
    assert {i["id"] for i in await made.list(f"subscriber_id={a}&customer_id={mine}")} == {out, got, inside}
    assert await made.list(f"subscriber_id={a}&customer_id={other}") == []


@ensure
async def test_filters_order_and_items(web: Web) -> None:
    made, mine, _, a, _ = await world(web)
    keys = [
        made.call("ada", "4420123", call_status=status, call_type=kind, rating_status=rated, start_time=BEGIN + n * 60, duration=n)
        for n, (status, kind, rated) in enumerate((("ok", "call", "ok"), ("busy", "cfu", "unrated"), ("cancel", "cfb", "failed")))
    ]

    async def ids(query: str) -> list[int]:
        return [i["id"] for i in await made.list(f"subscriber_id={a}&{query}")]

    assert await ids("status=busy") == [keys[1]] and await ids("status_ne=busy") == [keys[0], keys[2]]
    assert await ids("rating_status=ok,failed") == [keys[0], keys[2]] and await ids("rating_status_ne=ok,failed") == [keys[1]]
    assert await ids("type=cfb") == [keys[2]] and await ids("type_ne=call") == keys[1:]
    assert await ids("direction=in") == [] and await ids("direction=out") == keys
    assert await ids("start_ge=2023-11-14T22:14:20Z") == keys[1:] and await ids("start_le=2023-11-14T22:14:20Z") == keys[:2]
    assert await ids("start_le=2023-11-13") == [] and await ids("start_ge=2023-11-16") == []
    assert await ids("order_by=start_time&order_by_direction=desc") == keys[::-1]
    page = await made.root.doc(f"/api/calllists/?customer_id={mine}&rows=2&page=2")
    assert page["_embedded"]["ngcp:calllists"]["id"] == keys[2] and page["total_count"] == 3
    assert f"customer_id={mine}" in page["_links"]["prev"]["href"]
    item = await made.root.doc(f"/api/calllists/{keys[1]}?subscriber_id={a}")
    assert (item["type"], item["duration"], item["start_time"]) == ("cfu", "0:00:01", item["start_time"])
    assert (await made.root.get(f"/api/calllists/{keys[1]}?subscriber_id={a}&direction=in")).status == 404
    csv = await made.root.get(f"/api/calllists/?subscriber_id={a}", Accept="text/csv")
    assert csv.body.decode().splitlines()[0].startswith("id,call_id,direction,own_cli")


@ensure
async def test_who_may_see_which_list(web: Web) -> None:
    made, mine, _, a, _ = await world(web)
    key = made.call("ada", "4420123")
    _, foreign = await web.reseller("foreign")
    for path in ("/api/calllists/", f"/api/calllists/{key}"):
        reply = await made.root.get(path)
        assert reply.status == 422 and "field='subscriber_id'" in reply.json()["message"]
        for bad in ("subscriber_id=x", f"subscriber_id={a}&direction=up", f"subscriber_id={a}&alias_field=cli"):
            assert (await made.root.get(f"{path}?{bad}")).status == 422, bad
        for name, value in (("subscriber_id", a), ("customer_id", mine)):
            assert (await foreign.get(f"{path}?{name}={value}")).status == 404
            assert (await made.root.get(f"{path}?{name}=99999")).status == 404
    assert (await made.root.get(f"/api/calllists/?subscriber_id={a}&start_ge=yesterday")).status == 422
    assert (await made.root.post("/api/calllists/", {})).status == 404


@ensure
async def test_subscribers_that_log_in_see_their_own(web: Web) -> None:
    made, mine, other, a, b = await world(web)
    for name, key, admin in (("ada", a, False), ("bob", b, True)):
        patch = [{"op": "add", "path": "/webpassword", "value": "w3b-secret"}, {"op": "replace", "path": "/administrative", "value": admin}]
        assert (await made.root.patch(f"/api/subscribers/{key}", patch)).status == 204, name
    ada, bob = web.client("ada@voice.example", "w3b-secret"), web.client("bob@voice.example", "w3b-secret")
    out, inside, got = made.call("ada", "4420123"), made.call("ada", "bob"), made.call("eve", "bob")
    assert [i["id"] for i in await made.list("", ada)] == [out, inside]
    assert [i["id"] for i in await made.list(f"subscriber_id={a}", ada)] == [out, inside]
    assert sorted(i["id"] for i in await made.list("", bob)) == [out, inside, inside, got]
    assert [i["id"] for i in await made.list(f"subscriber_id={a}", bob)] == [out, inside]
    for client, query in ((ada, f"subscriber_id={b}"), (ada, f"customer_id={mine}"), (bob, f"customer_id={other}"), (bob, "subscriber_id=99999")):
        assert (await client.get(f"/api/calllists/?{query}")).status == 404, query
    assert (await ada.get(f"/api/calllists/{out}")).status == 200
    assert (await ada.get(f"/api/calllists/{got}")).status == 404
    assert (await ada.get("/api/calls/")).status == 403


@ensure
async def test_numbers_in_the_notation_of_the_subscriber(web: Web) -> None:
    made, _mine, _, a, _b = await world(web)
    rules = {"direction": "out", "field": "caller", "match_pattern": "^${caller_cc}([1-9][0-9]+)$", "replace_pattern": "0\\1", "description": "n"}
    also = {**rules, "match_pattern": "^([1-9][0-9]+)$", "replace_pattern": "00\\1"}
    key = (await made.root.post("/api/rewriterulesets/", {"reseller_id": 1, "name": "at", "description": "", "rewriterules": [rules, also]})).id
    assert key
    add = [{"op": "add", "path": "/rewrite_rule_set", "value": "at"}]
    domains = await made.root.doc("/api/domains/?domain=voice.example")
    assert (await made.root.patch(f"/api/domainpreferences/{domains['_embedded']['ngcp:domains']['id']}", add)).status == 204
    made.call("ada", "4420123", source_gpp1="desk", destination_gpp1="secret")
    made.call("ada", "bob", destination_gpp1="lab", source_gpp1=None)
    made.call("ada", "vmu431200", destination_domain_in="voicebox.local")
    items = await made.list(f"subscriber_id={a}")
    assert [(i["own_cli"], i["other_cli"]) for i in items] == [("01100", "004420123"), ("01100", "01200"), ("01100", "voicemail")]
    # A preference takes the place of a number, of another customer's party it is not told.
    items = await made.list(f"subscriber_id={a}&alias_field=gpp1")
    assert [(i["own_cli"], i["other_cli"]) for i in items[:2]] == [("desk", "004420123"), ("01100", "lab")]


@pytest.mark.parametrize(
    ("seconds", "text"), [("0", "0:00:00"), ("0.001", "0:00:01"), ("59.9", "0:01:00"), ("3661", "1:01:01"), ("360000", "100:00:00")]
)
def test_durations(seconds, text):
    assert spoken(Decimal(seconds)) == text

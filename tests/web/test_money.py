"""Vouchers, top-ups, balance intervals, fraud events and zone costs over TLS (REST API 3.6, billing 4-6)."""

from __future__ import annotations

import datetime
from typing import Any

import pytest_twisted
import sqlalchemy as sa
from twisted.internet.defer import Deferred, gatherResults

from ngcpd.store.tables.accounting import cdr
from ngcpd.store.tables.billing import contract_balance
from ngcpd.store.tables.identity import subscriber
from ngcpd.store.tables.packages import topup_log, voucher
from tests.web.harness import Client, Web

ensure = pytest_twisted.ensureDeferred
UNTIL = "2036-12-31 23:59:59"


class Later:
    """A clock that is ahead of another."""

    def __init__(self, clock: Any, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def time(self) -> float:
        return float(self._clock.time()) + self._seconds


def travel(web: Web, days: float) -> None:
    """From now on the units of work see a later day."""
    web.database.engine = web.database.engine.execution_options(clock=Later(web.database.clock, days * 86400))


async def setting(web: Web, root: Client, **more: Any) -> tuple[int, int]:
    """A customer with a subscriber."""
    customer = await web.customer(root, **more)
    await root.post("/api/domains/", {"domain": "voice.brook.example", "reseller_id": 1})
    return customer, await web.subscriber(root, customer, "voice.brook.example", f"ada{customer}")


async def package(root: Client, name: str, **more: Any) -> int:
    body = {
        "reseller_id": 1,
        "name": name,
        "description": name,
        "initial_profiles": [{"profile_id": 1}],
        "balance_interval_unit": "month",
        "balance_interval_value": 1,
        "balance_interval_start_mode": "1st",
        **more,
    }
    return (await root.post("/api/profilepackages/", body)).id


async def logs(root: Client, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await root.doc(f"/api/topuplogs/?rows=100{query}"))["_embedded"].get("ngcp:topuplogs", [])
    return found


async def cash(root: Client, customer: int) -> Any:
    return (await root.doc(f"/api/customerbalances/{customer}"))["cash_balance"]


# ---------------------------------------------------------------------------------------------------------------------- workflow
@ensure
async def test_balance_voucher_topup(web: Web) -> None:
    """REST API 3.6, step by step."""
    root = web.client()
    profile = {"reseller_id": 1, "handle": "free", "name": "free", "interval_free_time": 3600}
    profile_id = (await root.post("/api/billingprofiles/", profile)).id
    customer, ada = await setting(web, root, profile=profile_id)
    path = f"/api/customerbalances/{customer}"
    doc = await root.doc(path)
    assert (doc["id"], doc["cash_balance"], doc["cash_balance_interval"]) == (customer, 0, 0) and 0 < doc["free_time_balance"] <= 3600
    assert doc["_links"]["ngcp:balanceintervals"] == {"href": f"/api/balanceintervals/{customer}"}
    assert (await root.patch(path, [{"op": "replace", "path": "/cash_balance", "value": 12.5}])).status == 204
    assert await cash(root, customer) == 12.5
    body = {"reseller_id": 1, "code": "BM-AA17-2016", "amount": 1000, "valid_until": UNTIL, "package_id": None, "customer_id": customer}
    voucher_id = (await root.post("/api/vouchers/", body)).id
    top_up = {"subscriber_id": ada, "code": "BM-AA17-2016", "request_token": "shop-8841"}
    done = await root.post("/api/topupvouchers/", top_up)
    assert (done.status, done.body) == (204, b"") and "location" not in done.headers
    again = await root.post("/api/topupvouchers/", top_up)
    assert (again.status, again.json()) == (422, {"code": 422, "message": "Invalid voucher code, already used or expired."})
    assert await cash(root, customer) == 22.5
    used = await root.doc(f"/api/vouchers/{voucher_id}")
    assert used["used_by_subscriber_id"] == ada and used["used_at"] is not None and used["code"] == "BM-AA17-2016"
    both = await logs(root, "&request_token=shop-8841")
    assert [entry["outcome"] for entry in both] == ["ok", "failed"]
    told = {
        k: both[0][k] for k in ("type", "username", "amount", "cash_balance_before", "cash_balance_after", "voucher_id", "contract_id", "message")
    }
    assert told == {
        "type": "voucher",
        "username": "administrator",
        "amount": 10,
        "cash_balance_before": 12.5,
        "cash_balance_after": 22.5,
        "voucher_id": voucher_id,
        "contract_id": customer,
        "message": None,
    }
    assert both[0]["profile_before_id"] == both[0]["profile_after_id"] == profile_id
    assert "already used" in both[1]["message"] and both[1]["voucher_id"] == voucher_id and both[1]["cash_balance_after"] is None
    for name, value in both[0]["_links"].items():
        if name.startswith("ngcp:"):
            for target in value if isinstance(value, list) else [value]:
                assert (await root.get(target["href"])).status == 200, (name, target)
    assert (await root.delete(f"/api/vouchers/{voucher_id}")).status == 204, "used ones, too"
    assert web.count(topup_log) == 2


# ---------------------------------------------------------------------------------------------------------------------- vouchers
@ensure
async def test_vouchers(web: Web) -> None:
    root = web.client()
    other_id, other = await web.reseller("other")
    customer, _ = await setting(web, root)
    plain = {"reseller_id": 1, "code": "C-1", "amount": 500, "valid_until": "2036-12-31"}
    first = await root.post("/api/vouchers/", plain)
    doc = await root.doc(f"/api/vouchers/{first.id}")
    assert doc["valid_until"] == UNTIL and doc["used_at"] is None and doc["customer_id"] is None
    [row] = web.rows(sa.select(voucher.c.code_hash, voucher.c.code_enc))
    assert "C-1" not in row.code_enc and "C-1" not in row.code_hash, "sealed at rest"
    twice = await root.post("/api/vouchers/", plain)
    assert twice.status == 422 and "Voucher with this code already exists for this reseller" in twice.json()["message"]
    assert "C-1" not in twice.json()["message"]
    assert (await root.post("/api/vouchers/", {**plain, "reseller_id": other_id})).status == 201, "another reseller may have the code"
    assert (await other.post("/api/vouchers/", {**plain, "code": "C-2"})).status == 201
    mine = await other.doc("/api/vouchers/")
    assert mine["total_count"] == 2 and {v["reseller_id"] for v in mine["_embedded"]["ngcp:vouchers"]} == {other_id}
    for wrong, field in (
        ({"valid_until": "2099-01-01 00:00:00"}, "valid_until"),
        ({"valid_until": None}, "valid_until"),
        ({"code": "x" * 129}, "code"),
        ({"code": None}, "code"),
        ({"amount": -1}, "amount"),
        ({"customer_id": 999999}, "customer_id"),
        ({"package_id": 999999}, "package_id"),
        ({"reseller_id": other_id, "customer_id": customer}, "customer_id"),
    ):
        answer = await root.post("/api/vouchers/", {**plain, "code": "C-9", **wrong})
        assert answer.status == 422 and f"field='{field}'" in answer.json()["message"], (wrong, answer)
    changed = await root.patch(f"/api/vouchers/{first.id}", [{"op": "replace", "path": "/code", "value": "C-3"}], Prefer="return=representation")
    assert (changed.status, changed.json()["code"]) == (200, "C-3")
    assert (await root.post("/api/vouchers/", plain)).status == 201, "the old code is free again"
    starter = await package(root, "starter")
    bound = (await root.post("/api/vouchers/", {**plain, "code": "C-4", "package_id": starter})).id
    assert (await root.doc(f"/api/vouchers/?package_id={starter}"))["_embedded"]["ngcp:vouchers"]["id"] == bound
    assert (await root.delete(f"/api/profilepackages/{starter}")).status == 423
    assert (await root.delete(f"/api/vouchers/{bound}")).status == 204
    assert (await root.delete(f"/api/profilepackages/{starter}")).status == 204


@ensure
async def test_without_the_right_to_billing_data(web: Web) -> None:
    root = web.client()
    _, ada = await setting(web, root)
    login = {"reseller_id": 1, "login": "clerk", "password": "correct-horse", "billing_data": False, "is_superuser": True}
    assert (await root.post("/api/admins/", login)).status == 201
    clerk = web.client("clerk", "correct-horse")
    body = {"reseller_id": 1, "code": "C-1", "amount": 500, "valid_until": UNTIL}
    key = (await root.post("/api/vouchers/", body)).id
    item = f"/api/vouchers/{key}"
    doc = await clerk.doc(item)
    assert "code" not in doc and doc["amount"] == 500
    listed = await clerk.get("/api/vouchers/", Accept="text/csv")
    assert listed.status == 200 and b"C-1" not in listed.body and b"code" not in listed.body.splitlines()[0].split(b",")
    assert (await clerk.post("/api/vouchers/", {**body, "code": "C-2"})).status == 403
    assert (await clerk.put(item, {**body, "amount": 1})).status == 403
    assert (await clerk.patch(item, [{"op": "replace", "path": "/amount", "value": 1}])).status == 403
    assert (await clerk.delete(item)).status == 403
    assert (await clerk.post("/api/topupcash/", {"subscriber_id": ada, "amount": 1})).status == 403
    assert (await clerk.post("/api/topupvouchers/", {"subscriber_id": ada, "code": "C-1"})).status == 403
    upload = await clerk.raw("POST", "/api/vouchers/", b"1,C-5,1,2036-01-01,,", Content_Type="text/csv")
    assert upload.status == 403
    assert web.count(voucher) == 1 and web.count(topup_log) == 0


@ensure
async def test_voucher_upload(web: Web) -> None:
    root = web.client()
    customer, _ = await setting(web, root)
    other_id, other = await web.reseller("other")
    lines = f"1,A-1,1000,2036-01-31,,\n1,A-2,500,2036-01-31 12:00:00,{customer},\n1,A-1,7,2036-01-31,,\n1,A-3,x,2036-01-31,,\n1,short\n"
    lines += f"{other_id},A-4,5,2036-01-31,{customer},\n{other_id},A-5,5,2036-01-31,,\n1,A-6,5,2099-01-31,,\n"
    sent = await root.raw("POST", "/api/vouchers/", lines.encode(), Content_Type="text/csv")
    assert (sent.status, sent.body) == (201, b"")
    assert sent.headers["warning"] == '199 - "skipped the following line numbers: 3, 4, 5, 6, 8"'
    found = (await root.doc("/api/vouchers/?rows=50"))["_embedded"]["ngcp:vouchers"]
    assert [(v["code"], v["amount"], v["customer_id"], v["reseller_id"]) for v in found] == [
        ("A-1", 1000, None, 1),
        ("A-2", 500, customer, 1),
        ("A-5", 5, None, other_id),
    ]
    own = await other.raw("POST", "/api/vouchers/?purge_existing=true", b"B-1,1,2036-01-31,,\n", Content_Type="text/csv")
    assert own.status == 201 and "warning" not in own.headers
    found = (await root.doc("/api/vouchers/?rows=50"))["_embedded"]["ngcp:vouchers"]
    assert [v["code"] for v in found] == ["A-1", "A-2", "B-1"], "only the own ones go"


# ----------------------------------------------------------------------------------------------------------------------- top-ups
@ensure
async def test_cash_topups(web: Web) -> None:
    root = web.client()
    _, other = await web.reseller("other")
    customer, ada = await setting(web, root)
    path = "/api/topupcash/"
    assert (await root.raw("OPTIONS", path)).json()["methods"] == ["OPTIONS", "POST"]
    assert (await root.get(path)).status == 404 and (await root.get(f"{path}1")).status == 404
    assert (await root.post(path, {"subscriber_id": ada, "amount": 250.5})).status == 204
    assert await cash(root, customer) == 2.505
    before = web.count(topup_log)
    for body, told in (
        ({"amount": 1, "request_token": "t1"}, "subscriber_id"),
        ({"subscriber_id": 999999, "amount": 1, "request_token": "t2"}, "subscriber_id"),
        ({"subscriber_id": ada, "request_token": "t3"}, "amount"),
        ({"subscriber_id": ada, "amount": -5, "request_token": "t4"}, "amount"),
        ({"subscriber_id": ada, "amount": "much", "request_token": "t5"}, "amount"),
        ({"subscriber_id": ada, "amount": 1, "package_id": 999999, "request_token": "t6"}, "package_id"),
        ({"subscriber_id": ada, "amount": 99_999_999, "request_token": "t7"}, "too large"),
    ):
        answer = await root.post(path, body)
        assert answer.status == 422 and told in answer.json()["message"], (body, answer)
        [entry] = await logs(root, f"&request_token={body['request_token']}")
        assert entry["outcome"] == "failed" and told in entry["message"], entry
    assert web.count(topup_log) == before + 7 and await cash(root, customer) == 2.505
    foreign = await other.post(path, {"subscriber_id": ada, "amount": 1, "request_token": "t8"})
    assert foreign.status == 422
    [entry] = await logs(other)
    assert (entry["request_token"], entry["contract_id"], entry["cash_balance_before"]) == ("t8", None, None), "nothing of a foreign customer"
    assert (await root.post(path, [])).status == 400 and (await root.raw("POST", path, b"{}", Content_Type="text/plain")).status == 415
    locked = [{"op": "replace", "path": "/status", "value": "locked"}]
    assert (await root.patch(f"/api/customers/{customer}", locked)).status == 204
    answer = await root.post(path, {"subscriber_id": ada, "amount": 1})
    assert (answer.status, answer.json()["message"]) == (422, "Customer contract is not active.")
    assert (await root.delete(f"/api/subscribers/{ada}")).status == 204
    assert (await root.post(path, {"subscriber_id": ada, "amount": 1})).status == 422


@ensure
async def test_vouchers_that_cannot_be_used(web: Web) -> None:
    root = web.client()
    other_id, other = await web.reseller("other")
    customer, ada = await setting(web, root)
    second, bob = await setting(web, root)
    bodies = {
        "old": {"valid_until": "2001-01-01"},
        "theirs": {"customer_id": second},
        "elsewhere": {"reseller_id": other_id},
    }
    for code, more in bodies.items():
        assert (await root.post("/api/vouchers/", {"reseller_id": 1, "code": code, "amount": 100, "valid_until": UNTIL, **more})).status == 201
    for code in ("old", "elsewhere", "unknown"):
        answer = await root.post("/api/topupvouchers/", {"subscriber_id": ada, "code": code})
        assert (answer.status, answer.json()["message"]) == (422, "Invalid voucher code, already used or expired."), code
    answer = await root.post("/api/topupvouchers/", {"subscriber_id": ada, "code": "theirs"})
    assert (answer.status, answer.json()["message"]) == (422, "Voucher is reserved for a different customer.")
    assert (await other.post("/api/topupvouchers/", {"subscriber_id": bob, "code": "theirs"})).status == 422
    assert (await root.post("/api/topupvouchers/", {"subscriber_id": bob, "code": "theirs"})).status == 204
    assert (await cash(root, customer), await cash(root, second)) == (0, 1)
    assert [e["outcome"] for e in await logs(root)] == ["failed"] * 5 + ["ok"]
    text = str(await logs(root))
    assert "theirs" not in text and "elsewhere" not in text, "codes are not in the log"


@ensure
async def test_filters_of_the_log(web: Web) -> None:
    root = web.client()
    customer, ada = await setting(web, root)
    for n, amount in enumerate((100, 200, 300)):
        assert (await root.post("/api/topupcash/", {"subscriber_id": ada, "amount": amount, "request_token": f"run-{n}"})).status == 204
    await root.post("/api/topupcash/", {"subscriber_id": ada, "amount": -1})
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    for query, count in (
        ("outcome=ok", 3),
        ("outcome=failed", 1),
        ("request_token=run-*", 3),
        ("request_token=run-1", 1),
        ("amount_above=2", 2),
        ("amount_below=2", 2),
        (f"timestamp_from={today}", 4),
        (f"timestamp_to={today}", 4),
        ("timestamp_from=2036-01-01", 0),
        ("timestamp_to=2001-01-01", 0),
        (f"contract_id={customer}&subscriber_id={ada}&reseller_id=1", 4),
        ("voucher_id=5", 0),
    ):
        assert len(await logs(root, f"&{query}")) == count, query
    for bad in ("timestamp_from=yesterday", "amount_above=much", "contract_id=x"):
        assert (await root.get(f"/api/topuplogs/?{bad}")).status == 422
    one = (await root.doc("/api/topuplogs/?request_token=run-1"))["_embedded"]["ngcp:topuplogs"]
    assert isinstance(one, list), "always an array"


@ensure
async def test_request_tokens(web: Web) -> None:
    """The same request again, as of a client that got no answer, is answered like the first time and books nothing."""
    root = web.client()
    customer, ada = await setting(web, root)
    second, bob = await setting(web, root)
    body = {"subscriber_id": ada, "amount": 100, "request_token": "once"}
    assert [(await root.post("/api/topupcash/", body)).status for _ in range(3)] == [204] * 3
    assert await cash(root, customer) == 1
    assert [(e["outcome"], e["amount"]) for e in await logs(root)] == [("ok", 1), ("ok", 0), ("ok", 0)]
    assert (await root.post("/api/topupcash/", {**body, "subscriber_id": bob})).status == 204
    assert await cash(root, second) == 1, "a token is one customer's"
    for _ in range(2):
        assert (await root.post("/api/topupcash/", {**body, "request_token": "panel"})).status == 204
        assert (await root.post("/api/topupcash/", {"subscriber_id": ada, "amount": 100})).status == 204
    assert await cash(root, customer) == 5, "the panel's token names no request"
    for status in (204, 204):
        reply = await root.post("/api/topupcash/", {"subscriber_id": ada, "amount": 100}, Idempotency_Key="k1")
        assert reply.status == status
    assert await cash(root, customer) == 6
    assert (await root.post("/api/topupcash/", {"subscriber_id": ada, "amount": 200}, Idempotency_Key="k1")).status == 422


@ensure
async def test_topups_at_the_same_time(web: Web) -> None:
    """The sum is exact, a voucher and a token count once, nobody gets a 500."""
    root = web.client()
    customer, ada = await setting(web, root)
    voucher_body = {"reseller_id": 1, "code": "one", "amount": 1000, "valid_until": UNTIL}
    assert (await root.post("/api/vouchers/", voucher_body)).status == 201

    async def many(path: str, body: dict[str, Any], count: int) -> list[int]:
        sent = [Deferred.fromCoroutine(web.client().post(path, body)) for _ in range(count)]
        return sorted(reply.status for reply in await gatherResults(sent))

    assert await many("/api/topupcash/", {"subscriber_id": ada, "amount": 100}, 8) == [204] * 8
    assert await cash(root, customer) == 8
    assert await many("/api/topupvouchers/", {"subscriber_id": ada, "code": "one"}, 6) == [204] + [422] * 5
    assert await many("/api/topupcash/", {"subscriber_id": ada, "amount": 100, "request_token": "same"}, 6) == [204] * 6
    assert await cash(root, customer) == 19
    assert web.count(topup_log) == 20


# ---------------------------------------------------------------------------------------------------------------------- packages
@ensure
async def test_package_with_a_voucher(web: Web) -> None:
    root = web.client()
    second = (await root.post("/api/billingprofiles/", {"reseller_id": 1, "handle": "pre", "name": "pre", "prepaid": True})).id
    customer, ada = await setting(web, root)
    prepaid = await package(
        root,
        "prepaid",
        initial_profiles=[{"profile_id": second}],
        topup_profiles=[{"profile_id": second}],
        balance_interval_unit="day",
        balance_interval_value=30,
        balance_interval_start_mode="topup_interval",
        service_charge=50,
        topup_lock_level=0,
    )
    assert (await root.patch(f"/api/subscribers/{ada}", [{"op": "replace", "path": "/lock", "value": 2}])).status == 204
    body = {"reseller_id": 1, "code": "one", "amount": 1000, "valid_until": UNTIL, "package_id": prepaid}
    assert (await root.post("/api/vouchers/", body)).status == 201
    web.notices()
    assert (await root.post("/api/topupvouchers/", {"subscriber_id": ada, "code": "one"})).status == 204
    assert {("contract", str(customer)), ("preference:usr", str(ada))} <= web.notices()
    doc = await root.doc(f"/api/customers/{customer}")
    assert (doc["profile_package_id"], doc["billing_profile_id"]) == (prepaid, second)
    [entry] = await logs(root)
    assert (entry["amount"], entry["package_before_id"], entry["package_after_id"]) == (9.5, None, prepaid)
    assert (entry["profile_before_id"], entry["profile_after_id"], entry["lock_level_before"], entry["lock_level_after"]) == (1, second, 2, None)
    assert entry["contract_balance_before_id"] != entry["contract_balance_after_id"]
    assert (await root.doc(f"/api/subscribers/{ada}"))["lock"] is None
    assert await cash(root, customer) == 9.5
    prefs = web.rows(sa.text(f"SELECT value FROM preference_value WHERE level = 'usr' AND owner_id = {ada} AND attribute = 'prepaid'"))
    assert [tuple(p) for p in prefs] == [("1",)]
    assert (await root.delete(f"/api/profilepackages/{prepaid}")).status == 423
    frozen = {**await root.doc(f"/api/profilepackages/{prepaid}"), "balance_interval_value": 31}
    answer = await root.put(f"/api/profilepackages/{prepaid}", frozen)
    assert answer.status == 422 and "package linked to 1 contracts" in answer.json()["message"]


@ensure
async def test_rules_of_packages(web: Web) -> None:
    root = web.client()
    other_id, _ = await web.reseller("other")
    foreign = (await root.post("/api/billingprofiles/", {"reseller_id": other_id, "handle": "f", "name": "f"})).id
    ids = {}
    for name, more in (("pre", {"prepaid": True}), ("cash", {"interval_free_cash": 5}), ("time", {"interval_free_time": 5})):
        ids[name] = (await root.post("/api/billingprofiles/", {"reseller_id": 1, "handle": name, "name": name, **more})).id
    network = {"reseller_id": 1, "name": "n", "description": "n", "blocks": [{"ip": "10.0.0.0", "mask": 8}]}
    network_id = (await root.post("/api/billingnetworks/", network)).id
    good = {
        "reseller_id": 1,
        "name": "p",
        "description": "p",
        "initial_profiles": [{"profile_id": 1}, {"profile_id": 1, "network_id": network_id}],
        "balance_interval_unit": "month",
        "balance_interval_value": 1,
        "balance_interval_start_mode": "create",
    }
    for wrong, text in (
        ({"initial_profiles": [{"profile_id": 1, "network_id": network_id}]}, "no billing network is required"),
        ({"initial_profiles": []}, "initial_profiles"),
        ({"initial_profiles": [{"profile_id": foreign}]}, "initial_profiles"),
        ({"topup_profiles": [{"profile_id": 1}, {"profile_id": ids["pre"]}]}, "Mixing prepaid and post-paid"),
        ({"topup_profiles": [{"profile_id": 1}, {"profile_id": ids["cash"]}]}, "same interval_free_cash value"),
        ({"topup_profiles": [{"profile_id": 1}, {"profile_id": ids["time"]}]}, "same interval_free_time value"),
        ({"balance_interval_unit": "fortnight"}, "balance_interval_unit"),
        ({"balance_interval_value": 0}, "balance_interval_value"),
        ({"balance_interval_start_mode": "never"}, "balance_interval_start_mode"),
        ({"carry_over_mode": "carry_over_timely"}, "timely_duration_unit"),
        ({"carry_over_mode": "carry_over_timely", "timely_duration_unit": "day"}, "timely_duration_value"),
        ({"underrun_lock_level": 4}, "underrun_lock_threshold"),
        ({"underrun_lock_level": 6, "underrun_lock_threshold": 1}, "underrun_lock_level"),
        ({"underrun_profiles": [{"profile_id": 1}]}, "underrun_profile_threshold"),
    ):
        answer = await root.post("/api/profilepackages/", {**good, **wrong})
        assert answer.status == 422 and text in answer.json()["message"], (wrong, answer)
    assert (await root.post("/api/profilepackages/", good)).status == 201


@ensure
async def test_customer_with_a_package(web: Web) -> None:
    root = web.client()
    low = (await root.post("/api/billingprofiles/", {"reseller_id": 1, "handle": "low", "name": "low"})).id
    starter = await package(
        root,
        "starter",
        initial_balance=500,
        balance_interval_start_mode="create",
        underrun_lock_threshold=200,
        underrun_lock_level=3,
        underrun_profile_threshold=100,
        underrun_profiles=[{"profile_id": low}],
    )
    customer, ada = await setting(web, root, billing_profile_definition="package", profile_package_id=starter)
    path, item = f"/api/customerbalances/{customer}", f"/api/customers/{customer}"
    assert await cash(root, customer) == 5
    doc = await root.doc(item)
    assert (await root.put(item, doc)).status == 204
    assert (await root.doc(item))["profile_package_id"] == starter, "a document sent back changes nothing"
    put = {"cash_balance": 1.99, "free_time_balance": 0, "cash_balance_interval": 77, "free_time_balance_interval": 7}
    done = await root.put(path, put, Prefer="return=representation")
    assert (done.status, done.json()["cash_balance"], done.json()["cash_balance_interval"]) == (200, 1.99, 0)
    assert (await root.doc(f"/api/subscribers/{ada}"))["lock"] == 3
    [shown] = (await root.doc(f"/api/balanceintervals/{customer}"))["_embedded"]["ngcp:balanceintervals"]
    assert shown["underrun_lock"] is not None and shown["underrun_profiles"] is None
    later = await web.subscriber(root, customer, "voice.brook.example", "late")
    assert (await root.doc(f"/api/subscribers/{later}"))["lock"] == 3, "locked at once"
    assert (await root.patch(path, [{"op": "replace", "path": "/cash_balance", "value": -5}])).status == 204
    assert await cash(root, customer) == -5 and (await root.doc(item))["billing_profile_id"] == low
    assert (await root.patch(path, [{"op": "replace", "path": "/cash_balance", "value": 50}])).status == 204
    assert (await root.doc(f"/api/subscribers/{ada}"))["lock"] == 3, "raising clears nothing by itself"
    for wrong in ({"cash_balance": "x"}, {"cash_balance": None}, {"free_time_balance": -1}):
        assert (await root.put(path, {**put, **wrong})).status == 422, wrong
    monthly = await package(root, "monthly")
    change = {**await root.doc(item), "billing_profile_definition": "package", "profile_package_id": monthly}
    assert (await root.put(item, change)).status == 204
    [shown] = (await root.doc(f"/api/balanceintervals/{customer}"))["_embedded"]["ngcp:balanceintervals"]
    last = datetime.datetime.strptime(shown["stop"], "%Y-%m-%d %H:%M:%S") + datetime.timedelta(seconds=1)
    assert (last.day, last.hour) == (1, 0) and shown["cash_balance"] == 50, "the interval ends with the month"
    assert (await root.doc(item))["billing_profile_id"] == 1
    change = {**await root.doc(item), "billing_profile_definition": "package", "profile_package_id": None}
    assert (await root.put(item, change)).status == 204
    assert (await root.doc(item))["profile_package_id"] is None and await cash(root, customer) == 50


@ensure
async def test_profiles_that_customers_have(web: Web) -> None:
    """What contracts rely on is frozen; prepaid and postpaid are told to every subscriber."""
    root = web.client()
    profile = {"reseller_id": 1, "handle": "g", "name": "g", "interval_free_cash": 100}
    profile_id = (await root.post("/api/billingprofiles/", profile)).id
    item = f"/api/billingprofiles/{profile_id}"
    doc = await root.doc(item)
    assert (await root.put(item, {**doc, "interval_free_cash": 200})).status == 204, "nobody has it yet"
    customer, ada = await setting(web, root, profile=profile_id)
    other, _ = await setting(web, root)
    for name in ("interval_charge", "interval_free_time", "interval_free_cash"):
        answer = await root.put(item, {**doc, "interval_free_cash": 200, name: 7})
        assert answer.status == 422 and f"field='{name}'" in answer.json()["message"]

    def paid() -> set[int]:
        return {row[0] for row in web.rows(sa.text("SELECT owner_id FROM preference_value WHERE level = 'usr' AND attribute = 'prepaid'"))}

    web.notices()
    assert (await root.put(item, {**doc, "interval_free_cash": 200, "prepaid": True})).status == 204
    assert paid() == {ada} and ("preference:usr", str(ada)) in web.notices()
    late = await web.subscriber(root, customer, "voice.brook.example", "late")
    assert paid() == {ada, late}
    assert (await root.put(item, {**doc, "interval_free_cash": 200, "prepaid": False})).status == 204
    assert paid() == set()
    ended = [{"op": "replace", "path": "/status", "value": "terminated"}]
    assert (await root.patch(item, ended)).status == 422 and (await root.patch("/api/billingprofiles/1", ended)).status == 422
    for key in (customer, other):
        assert (await root.patch(f"/api/customers/{key}", ended)).status == 204
    assert (await root.patch(item, [{"op": "replace", "path": "/interval_free_cash", "value": 300}])).status == 204, "nobody who lives has it"
    assert (await root.patch(item, ended)).status == 204 and (await root.get(item)).status == 404
    credit = {"billing_profile_id": 1, "billing_zone_zone": "bonus", "destination": "^99", "direction": "in", "onpeak_init_rate": -0.02}
    made = (await root.post("/api/billingfees/", credit)).id
    assert (await root.doc(f"/api/billingfees/{made}"))["onpeak_init_rate"] == -0.02


@ensure
async def test_fee_upload_tells_what_it_left_out(web: Web) -> None:
    root = web.client()
    _, other = await web.reseller("other")
    path = "/api/billingfees/?billing_profile_id=1"
    good = ".,^43{},out,AT,all,0.02,60,0.02,1,0.01,60,0.01,1,1\n"
    text = good.format(1) + "bad\n" + good.format(2) + ".,(,out,A,B,1,1,1,1,1,1,1,1,0\n" + good.format(3)
    sent = await root.raw("POST", path, text.encode(), Content_Type="text/csv")
    assert (sent.status, sent.body) == (201, b"") and "location" not in sent.headers
    assert sent.headers["warning"] == '199 - "skipped the following line numbers: 2, 4"'
    before = (await root.doc(f"{path}&rows=1"))["total_count"]
    again = await root.raw("POST", path, text.encode(), Content_Type="text/csv")
    assert again.status == 201 and (await root.doc(f"{path}&rows=1"))["total_count"] == before, "the same file again changes nothing"
    purged = await root.raw("POST", f"{path}&purge_existing=true", good.format(9).encode(), Content_Type="text/csv")
    assert purged.status == 201 and "warning" not in purged.headers and (await root.doc(f"{path}&rows=1"))["total_count"] == 1
    for who, bad in ((root, "/api/billingfees/"), (root, "/api/billingfees/?billing_profile_id=999"), (other, path)):
        refused = await who.raw("POST", f"{bad}{'&' if '?' in bad else '?'}purge_existing=true", good.format(5).encode(), Content_Type="text/csv")
        assert refused.status == 422, bad
    assert (await root.doc(f"{path}&rows=1"))["total_count"] == 1


# ---------------------------------------------------------------------------------------------------------------------- intervals
@ensure
async def test_balance_intervals(web: Web) -> None:
    root = web.client()
    _, other = await web.reseller("other")
    profile = {"reseller_id": 1, "handle": "free", "name": "free", "interval_free_cash": 100, "interval_free_time": 60}
    profile_id = (await root.post("/api/billingprofiles/", profile)).id
    customer, _ = await setting(web, root, profile=profile_id)
    own = f"/api/balanceintervals/{customer}"
    for path in ("/api/balanceintervals/", own, f"{own}/1"):
        assert (await root.raw("OPTIONS", path)).json()["methods"] == ["GET", "HEAD", "OPTIONS"]
        assert (await root.put(path, {})).status == 404
    found = await root.doc(own)
    [first] = found["_embedded"]["ngcp:balanceintervals"]
    assert found["total_count"] == 1 and first["is_actual"] is True and first["billing_profile_id"] == profile_id
    assert found["_links"]["ngcp:balanceintervals"] == [{"href": f"{own}/{first['id']}"}]
    assert (await root.patch(f"/api/customerbalances/{customer}", [{"op": "replace", "path": "/cash_balance", "value": 7}])).status == 204
    travel(web, 92)
    assert web.count(contract_balance) == len(web.rows(sa.select(contract_balance.c.contract_id).distinct()))
    found = await root.doc(own)
    listed = found["_embedded"]["ngcp:balanceintervals"]
    assert len(listed) == found["total_count"] == 4 and [i["is_actual"] for i in listed] == [False, False, False, True]
    own_money = 7 - first["cash_balance"]
    assert [round(i["cash_balance"] - own_money, 6) for i in listed[1:]] == [1, 1, 1] and listed[-1]["free_time_balance"] == 60
    assert (await root.doc(f"/api/customerbalances/{customer}"))["cash_balance"] == listed[-1]["cash_balance"]
    for entry in listed:
        item = await root.doc(f"{own}/{entry['id']}")
        assert item == entry and item["_links"]["self"] == {"href": f"{own}/{entry['id']}"}
        for name, value in item["_links"].items():
            if name.startswith("ngcp:"):
                assert (await root.get(value["href"])).status == 200, (name, value)
    assert (await root.doc(f"{own}?start={listed[2]['start'].replace(' ', 'T')}"))["total_count"] == 2
    newest = await root.doc("/api/balanceintervals/?rows=50")
    contracts = [i["_links"]["collection"]["href"] for i in newest["_embedded"]["ngcp:balanceintervals"]]
    assert len(contracts) == len(set(contracts)) == newest["total_count"] and own in contracts
    assert all(i["is_actual"] for i in newest["_embedded"]["ngcp:balanceintervals"])
    paged = await root.doc(f"{own}/?page=2&rows=3")
    assert [i["id"] for i in paged["_embedded"]["ngcp:balanceintervals"]] == [listed[3]["id"]] and "prev" in paged["_links"]
    assert (await root.get("/api/balanceintervals/abc")).status == 400 and (await root.get(f"{own}/abc")).status == 400
    assert (await root.get("/api/balanceintervals/999999")).status == 404 and (await root.get(f"{own}/999999")).status == 404
    assert (await root.get(f"/api/balanceintervals/1/{first['id']}")).status == 404, "of another contract"
    for path in (own, f"{own}/{first['id']}"):
        assert (await other.get(path)).status == 404
    assert own not in str((await other.doc("/api/balanceintervals/"))["_embedded"])
    for query, count in ((f"contact_id={10**6}", 0), ("status=active&external_id=NULL&reseller_id=1", 1)):
        assert (await root.doc(f"/api/balanceintervals/?{query}"))["total_count"] == count, query


@ensure
async def test_reading_brings_balances_up_to_date(web: Web) -> None:
    """Customers, contracts, subscribers and balances: the intervals that are missing, and what hangs on them."""
    root = web.client()
    low = (await root.post("/api/billingprofiles/", {"reseller_id": 1, "handle": "low", "name": "low", "prepaid": True})).id
    rules = {
        "initial_balance": 500,
        "carry_over_mode": "discard",
        "underrun_lock_threshold": 200,
        "underrun_lock_level": 4,
        "underrun_profile_threshold": 200,
        "underrun_profiles": [{"profile_id": low}],
    }
    starter = await package(root, "starter", **rules)
    customers = [await setting(web, root, billing_profile_definition="package", profile_package_id=starter) for _ in range(3)]
    travel(web, 32)
    one, two, three = customers
    assert (await root.doc(f"/api/customers/{one[0]}"))["billing_profile_id"] == low
    shown = (await root.doc(f"/api/subscribers/?customer_id={two[0]}"))["_embedded"]["ngcp:subscribers"]
    assert shown["lock"] == 4
    listed = (await root.doc("/api/customers/?rows=50"))["_embedded"]["ngcp:customers"]
    assert {c["billing_profile_id"] for c in listed if c["id"] == three[0]} == {low}
    count = web.count(contract_balance)
    assert (await root.doc("/api/contracts/1"))["id"] == 1
    assert web.count(contract_balance) > count, "the platform's own contract, too"
    ended = [{"op": "replace", "path": "/status", "value": "terminated"}]
    assert (await root.patch(f"/api/customers/{one[0]}", ended)).status == 204
    count = web.count(contract_balance)
    travel(web, 90)
    assert (await root.doc(f"/api/customers/{one[0]}"))["status"] == "terminated"
    assert web.count(contract_balance) == count, "a contract that ended has no more intervals"
    assert (await root.get(f"/api/balanceintervals/{one[0]}")).status == 404


# ------------------------------------------------------------------------------------------------------------------ spent money
def call(web: Web, customer: int, cents: float, uuid: str = "0", **more: Any) -> None:
    """A rated call of now."""
    columns = {c.name: "" for c in cdr.c if isinstance(c.type, sa.String) and not c.nullable and c.server_default is None}
    at = web.env.clock.time()
    row = {
        **columns,
        "update_time": datetime.datetime(2016, 1, 1),
        "source_user_id": uuid,
        "source_account_id": customer,
        "source_clir": False,
        "init_time": at,
        "start_time": at,
        "duration": 60,
        "source_customer_cost": cents,
        "rating_status": "ok",
        **more,
    }
    web.database.run_here(lambda conn: conn.execute(sa.insert(cdr).values(**row)))


@ensure
async def test_fraud_events(web: Web) -> None:
    """Billing V28: the limit is reached when it is met; a customer's own limit stands for that of its profile."""
    root = web.client()
    _, other = await web.reseller("other")
    profile = {
        "reseller_id": 1,
        "handle": "f",
        "name": "f",
        "fraud_interval_limit": 5000,
        "fraud_interval_lock": 2,
        "fraud_interval_notify": "a@b.example",
    }
    profile_id = (await root.post("/api/billingprofiles/", profile)).id
    customer, _ = await setting(web, root, profile=profile_id)
    quiet, _ = await setting(web, root, profile=profile_id)
    limits = f"/api/customerfraudpreferences/{customer}"
    own = {"fraud_daily_limit": 5001, "fraud_daily_lock": 0, "fraud_daily_notify": "x@b.example"}
    assert (await root.put(limits, own)).status == 204
    assert (await root.put(limits, {**own, "fraud_daily_lock": 6})).status == 422
    assert (await root.put(limits, {**own, "fraud_daily_notify": "nobody"})).status == 422
    assert (await other.get(limits)).status == 404
    call(web, customer, 4999.99)
    call(web, quiet, 4999.99)
    path = "/api/customerfraudevents/"
    assert (await root.doc(path))["total_count"] == 0
    call(web, customer, 0.01)
    event = (await root.doc(path))["_embedded"]["ngcp:customerfraudevents"]
    assert {k: v for k, v in event.items() if k != "_links"} == {
        "id": customer,
        "reseller_id": 1,
        "interval": "month",
        "type": "profile_limit",
        "interval_cost": 5000,
        "interval_limit": 5000,
        "interval_lock": 2,
        "use_reseller_rates": False,
        "interval_notify": "a@b.example",
    }
    assert (await root.doc(f"{path}?interval=day"))["total_count"] == 0
    assert (await root.get(f"{path}{customer}?interval=day")).status == 404
    call(web, customer, 1)
    day = await root.doc(f"{path}{customer}?interval=day")
    assert (day["type"], day["interval_lock"], day["interval_notify"], day["interval_limit"]) == ("account_limit", 0, "x@b.example", 5001)
    assert (await root.get(f"{path}?interval=year")).status == 422
    assert (await root.doc(f"{path}?reseller_id=1"))["total_count"] == 1 and (await root.doc(f"{path}?reseller_id=77"))["total_count"] == 0
    assert (await other.doc(path))["total_count"] == 0 and (await other.get(f"{path}{customer}")).status == 404
    assert (await root.get(f"{path}{quiet}")).status == 404
    lock = [{"op": "replace", "path": "/status", "value": "locked"}]
    assert (await root.patch(f"/api/customers/{customer}", lock)).status == 204
    assert (await root.doc(path))["total_count"] == 0, "locking removes the event"


@ensure
async def test_zone_costs(web: Web) -> None:
    root = web.client()
    _, other = await web.reseller("other")
    customer, ada = await setting(web, root)
    bob = await web.subscriber(root, customer, "voice.brook.example", "bob")
    [(uuid,)] = web.rows(sa.select(subscriber.c.uuid).where(subscriber.c.id == ada))
    zones = [
        (await root.post("/api/billingzones/", {"billing_profile_id": 1, "zone": z, "detail": d})).id
        for z, d in (("AT", "a"), ("AT", "b"), ("DE", "c"))
    ]
    for n, zone in enumerate(zones):
        costs = {"source_reseller_cost": 1, "source_carrier_cost": 2, "source_customer_free_time": 5}
        call(web, customer, 10 + n, uuid if n < 2 else "0", source_customer_billing_zone_id=zone, **costs)
    call(web, 0, 0, destination_account_id=customer, destination_customer_cost=4, destination_customer_billing_zone_id=zones[2])
    path = f"/api/customerzonecosts/{customer}"
    doc = await root.doc(path)
    assert (doc["id"], doc["customer_id"]) == (customer, customer)
    assert doc["zones"] == {
        "AT": {"customercost": 21, "resellercost": 2, "carriercost": 4, "duration": 120, "free_time": 10, "number": 2},
        "DE": {"customercost": 16, "resellercost": 1, "carriercost": 2, "duration": 120, "free_time": 5, "number": 2},
    }
    assert (await root.doc(f"{path}?start=2001-01-01T000000&end=2001-12-31T235959"))["zones"] == {}
    assert set((await root.doc(f"{path}?start=2001-01-01T000000"))["zones"]) == {"AT", "DE"}
    assert set((await root.doc(f"{path}?subscriber_id={ada}"))["zones"]) == {"AT"}
    assert (await root.doc(f"{path}?subscriber_id={bob}"))["zones"] == {}
    for bad in ("start=yesterday", "end=2001-13-01T000000", "subscriber_id=999999", "subscriber_id=x"):
        assert (await root.get(f"{path}?{bad}")).status == 422, bad
        assert (await root.get(f"/api/customerzonecosts/?{bad}")).status == 422, bad
    assert (await root.doc(f"/api/customerzonecosts/?customer_id={customer}"))["total_count"] == 1
    assert (await other.get(path)).status == 404 and (await other.doc("/api/customerzonecosts/"))["total_count"] == 0
    clerk = {"reseller_id": 1, "login": "clerk", "password": "correct-horse"}
    assert (await root.post("/api/admins/", clerk)).status == 201
    assert "carriercost" not in (await web.client("clerk", "correct-horse").doc(path))["zones"]["AT"]


# ---------------------------------------------------------------------------------------------------------------------- rewriting
@ensure
async def test_apply_rewrites(web: Web) -> None:
    root = web.client()
    _, other = await web.reseller("other")
    customer, _ = await setting(web, root)
    number = {"cc": "43", "ac": "1", "sn": "9001"}
    ada = await web.subscriber(root, customer, "voice.brook.example", "ada", primary_number=number)
    path = "/api/applyrewrites/"
    body = {"subscriber_id": ada, "number": "0123", "direction": "callee_in"}
    done = await root.post(path, body)
    assert (done.status, done.json()) == (200, {"result": "0123"}), "no rule set"
    set_id = (await root.post("/api/rewriterulesets/", {"reseller_id": 1, "name": "at", "description": "at"})).id
    directions = {"in": ("caller", "callee"), "out": ("caller", "callee"), "lnp": ("caller", "callee")}
    for n, (direction, field) in enumerate((d, f) for d, fields in directions.items() for f in fields):
        rule = {
            "set_id": set_id,
            "direction": direction,
            "field": field,
            "match_pattern": "^0([1-9]+)$",
            "replace_pattern": f"{n}${{{field}_cc}}\\1",
            "description": "x",
        }
        assert (await root.post("/api/rewriterules/", rule)).status == 201
    prefs = [{"op": "add", "path": "/rewrite_rule_set", "value": "at"}]
    domains = (await root.doc("/api/domains/?domain=voice.brook.example"))["_embedded"]["ngcp:domains"]["id"]
    assert (await root.patch(f"/api/domainpreferences/{domains}", prefs)).status == 204
    names = ("caller_in", "callee_in", "caller_out", "callee_out", "caller_lnp", "callee_lnp")
    results = [(await root.post(path, {**body, "direction": name})).json()["result"] for name in names]
    assert results == [f"{n}43123" for n in range(6)]
    assert (await root.post(path, {**body, "number": "++"})).json() == {"result": "++"}
    assert (await root.post(path, {**body, "subscriber_id": 999999})).status == 404
    assert (await other.post(path, body)).status == 404
    for wrong in ({"direction": "sideways"}, {"number": None}, {"subscriber_id": "x"}):
        assert (await root.post(path, {**body, **wrong})).status == 422, wrong
    assert (await root.get(path)).status == 404 and (await root.raw("OPTIONS", path)).json()["methods"] == ["OPTIONS", "POST"]
    off = (await root.doc(f"/api/rewriterules/?set_id={set_id}&rows=50"))["_embedded"]["ngcp:rewriterules"][1]["id"]
    assert (await root.patch(f"/api/rewriterules/{off}", [{"op": "replace", "path": "/enabled", "value": False}])).status == 204
    assert (await root.post(path, body)).json() == {"result": "0123"}, "a rule that is off has no effect"

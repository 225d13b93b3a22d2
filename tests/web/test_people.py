"""Subscribers that log in: who gets in, and that they see only what a declaration opens to them (REST API 1.2, 1.3; web interface 2.2)."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa

from ngcpd.provisioning.caller import PEOPLE
from ngcpd.provisioning.registry import standard
from ngcpd.provisioning.resource import ALL, Registry
from ngcpd.provisioning.scope import of_customer, of_person
from ngcpd.store.tables.features import reminder
from ngcpd.store.tables.identity import subscriber
from ngcpd.store.tables.tenancy import contract
from tests.web.harness import Client, Web

ensure = pytest_twisted.ensureDeferred
DOMAIN = "voice.brook.example"


async def people(web: Web, root: Client) -> tuple[int, dict[str, int]]:
    """A customer with its administrator `boss` and with `ada`; another one with `eve`."""
    assert (await root.post("/api/domains/", {"domain": DOMAIN, "reseller_id": 1})).status == 201
    one, other = await web.customer(root), await web.customer(root)
    ids = {}
    for name, customer, boss in (("boss", one, True), ("ada", one, False), ("eve", other, False)):
        ids[name] = await web.subscriber(root, customer, DOMAIN, name, webpassword=f"w3b-{name}-pw", administrative=boss)
    return one, ids


def opened(web: Web) -> None:
    """Let subscribers use two resources that are closed to them else."""
    names = {
        "reminders": lambda caller: of_person(caller, reminder.c.subscriber_id),
        "customers": lambda caller: of_customer(caller, contract.c.id),
    }
    declared = [dataclasses.replace(r, roles=(*ALL, *PEOPLE), own=names[r.name]) if r.name in names else r for r in standard().values()]
    web.api._served = dataclasses.replace(web.api._served, resources=Registry(declared))


def person(web: Web, name: str, domain: str = DOMAIN, password: str | None = None) -> Client:
    return web.client(f"{name}@{domain}", password or f"w3b-{name}-pw")


@ensure
async def test_subscribers_log_in_and_everything_is_closed_to_them(web: Web) -> None:
    root = web.client()
    await people(web, root)
    for client in (person(web, "ada"), person(web, "boss", DOMAIN.upper())):
        for name, resource in standard().items():
            for path, methods in ((f"/api/{name}/", resource.collection), (f"/api/{name}/1", resource.item)):
                if not set(PEOPLE) & set(resource.roles):
                    for method in methods:
                        answer = await client.raw(method, path, b"{}", Content_Type="application/json")
                        assert answer.status == 403, (method, path)
                        assert method == "HEAD" or answer.json() == {"code": 403, "message": "Invalid user"}
        for path in ("/api/", "/api/openapi.json", "/api/customers/1/journal/", "/api/customers/1/journal/recent"):
            assert (await client.get(path)).status == 403, path


@ensure
async def test_wrong_logins_of_subscribers(web: Web) -> None:
    root = web.client()
    await people(web, root)
    assert (await person(web, "ada").get("/api/calllists/")).status != 401
    for login, password in (("ada", "w3b-ada-pw"), (f"ada@{DOMAIN}", "s3cret-pw"), (f"ADA@{DOMAIN}", "w3b-ada-pw"), ("ada@x.example", "w3b-ada-pw")):
        denied = await web.client(login, password).get("/api/customers/")
        assert denied.status == 401, login
        realm = "api_subscriber_http" if "@" in login else "api_admin_http"
        assert denied.headers["www-authenticate"] == f'Basic realm="{realm}"'
    taken = await root.post("/api/admins/", {"reseller_id": 1, "login": f"ada@{DOMAIN}", "password": "correct-horse"})
    assert taken.status == 422 and "field='login'" in taken.json()["message"], "an administrator does not take a subscriber's login"
    assert (await root.post("/api/admins/", {"reseller_id": 1, "login": "ada@work.example", "password": "correct-horse"})).status == 201
    assert (await web.client("ada@work.example", "correct-horse").get("/api/customers/")).status == 200


@ensure
async def test_what_is_opened_to_subscribers_is_their_own(web: Web) -> None:
    root = web.client()
    one, ids = await people(web, root)
    opened(web)
    made = {}
    for name, key in ids.items():
        body = {"subscriber_id": key, "time": "07:00", "recur": "never"}
        made[name] = (await root.post("/api/reminders/", body)).id
    ada, boss = person(web, "ada"), person(web, "boss")

    async def seen(client: Client, path: str = "/api/reminders/") -> set[int]:
        found = (await client.doc(path))["_embedded"].get(f"ngcp:{path.split('/')[2]}", [])
        return {item["id"] for item in (found if isinstance(found, list) else [found])}

    assert await seen(ada) == {made["ada"]} and await seen(boss) == {made["ada"], made["boss"]}
    assert await seen(ada, "/api/customers/") == set() and await seen(boss, "/api/customers/") == {one}
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        assert (await ada.raw(method, f"/api/reminders/{made['boss']}")).status == 404, method
        assert (await boss.raw(method, f"/api/reminders/{made['eve']}")).status == 404, method
    for part in ("", "recent", "1"):
        assert (await ada.get(f"/api/reminders/{made['eve']}/journal/{part}")).status == 404
        assert (await ada.get(f"/api/reminders/999999/journal/{part}")).status == 404
    assert (await ada.get(f"/api/reminders/{made['ada']}/journal/recent")).status == 200
    assert (await ada.get(f"/api/reminders/?subscriber_id={ids['eve']}")).json()["total_count"] == 0
    foreign = await ada.put(f"/api/reminders/{made['ada']}", {"subscriber_id": ids["eve"], "time": "08:00", "recur": "never"})
    assert foreign.status == 422, "resources that are not opened hold nothing to refer to"


@ensure
async def test_a_resource_for_subscribers_says_which_rows_are_theirs() -> None:
    with pytest.raises(ValueError, match="which rows are theirs"):
        dataclasses.replace(standard()["reminders"], roles=(*ALL, *PEOPLE))


@ensure
async def test_the_end_of_a_login(web: Web) -> None:
    root = web.client()
    customer, ids = await people(web, root)
    opened(web)
    ada, path = person(web, "ada"), f"/api/subscribers/{ids['ada']}"
    import tests.store.helpers as helpers

    async def until(status: int, client: Client = ada) -> None:
        for _ in range(200):
            web.logins.failures.forget("127.0.0.1")
            if (await client.get("/api/reminders/")).status == status:
                return
            await helpers.turn(0.02)
        raise AssertionError(f"never {status}")

    async def change(path: str, name: str, value: Any) -> None:
        answer = await root.patch(path, [{"op": "replace", "path": f"/{name}", "value": value}])
        assert answer.status == 204, answer

    await until(200)
    for level, status in ((3, 200), (4, 401), (None, 200), (5, 200), (None, 200)):
        await change(path, "lock", level)
        await until(status)
    await change(f"/api/customers/{customer}", "status", "locked")
    await until(401)
    await change(f"/api/customers/{customer}", "status", "active")
    await until(200)
    await change(path, "webpassword", "an0ther-pw")
    await until(401)
    ada = person(web, "ada", password="an0ther-pw")
    await until(200, ada)
    assert (await root.delete(path)).status == 204
    await until(401, ada)


@ensure
async def test_a_password_of_an_older_system_is_made_new(web: Web) -> None:
    _, ids = await people(web, web.client())
    opened(web)
    old = hashlib.md5(b"old-web-pw").hexdigest()
    web.database.run_here(lambda conn: conn.execute(sa.update(subscriber).where(subscriber.c.id == ids["ada"]).values(webpassword_hash=old)))
    assert (await person(web, "ada", password="wrong").get("/api/reminders/")).status == 401
    assert (await person(web, "ada", password="old-web-pw").get("/api/reminders/")).status == 200
    kept = sa.select(subscriber.c.webpassword_hash).where(subscriber.c.id == ids["ada"])
    assert web.rows(kept)[0][0].startswith("$argon2id$")
    assert (await person(web, "ada", password="old-web-pw").get("/api/reminders/")).status == 200

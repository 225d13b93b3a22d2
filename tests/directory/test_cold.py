"""What loading a subscriber that nobody asked for yet costs in queries; on both engines."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.directory import loader
from ngcpd.provisioning import preferences, tenancy
from ngcpd.provisioning.check import E164
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.subscribers import NewSubscriber, create_subscribers
from ngcpd.runtime.fake import InlineExecutor, SeededRng, SimClock
from ngcpd.store.credentials import Argon, Vault
from ngcpd.store.db import Database
from ngcpd.store.seed import seed


def test_a_cold_look_up_takes_three_queries(store_url: str) -> None:
    """However many are wanted (up to 500), with numbers, addresses, locations and preferences: round trips are what a call would wait for."""
    clock, rng = SimClock(1_700_000_000.0), SeededRng(3)
    env = Env(clock, rng, Vault(bytes(32), rng), Argon(rng, time_cost=1, memory_cost=8, parallelism=1))
    database = Database(store_url, InlineExecutor(), clock)

    def work(conn: sa.Connection) -> list[int]:
        seed(conn, rng, env.vault, env.argon)
        customer = tenancy.create_customer(conn, env, contact_id=tenancy.create_contact(conn, env, reseller_id=1, email="c@example.org"))
        tenancy.create_domain(conn, env, name="example.org")
        new = [
            NewSubscriber(customer_id=customer, domain="example.org", username=f"u{n}", password="secret-pw-1", number=E164(43, "1", f"{n:03d}"))
            for n in range(20)
        ]
        made = [created.id for created in create_subscribers(conn, env, new)]
        preferences.set_preference(conn, env, level="usr", owner_id=made[0], attribute="allowed_ips", value=["192.0.2.0/24", "2001:db8::1"])
        preferences.set_preference(conn, env, level="contract", owner_id=customer, attribute="concurrent_max_total", value=4)
        return made

    ids = database.run_here(work)
    said: list[str] = []
    sa.event.listen(database.engine, "before_cursor_execute", lambda conn, cursor, statement, *_: said.append(statement))
    for wanted in (ids[:1], ids):
        said.clear()
        rows, contracts = database.read_here(loader.read_subscribers, wanted)
        asked = [statement for statement in said if statement.lstrip().startswith("SELECT")]
        assert len(asked) <= 3, asked
        assert {row.id for row in rows} == set(wanted)
    first = next(row for row in rows if row.id == ids[0])
    assert [n.e164 for n in first.numbers] == ["431000"] and len(first.allowed) == 2
    assert first.rows["allowed_ips"] == ("192.0.2.0/24", "2001:db8::1")
    assert next(iter(contracts.values())).rows == {"concurrent_max_total": ("4",)}
    database.close()

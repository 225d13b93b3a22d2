"""A seeded store on each engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import sqlalchemy as sa

from ngcpd.provisioning import Env, Rules
from ngcpd.runtime.fake import InlineExecutor, SeededRng, SimClock
from ngcpd.store.credentials import Argon, Vault
from ngcpd.store.db import Database
from ngcpd.store.seed import seed
from ngcpd.store.tables.identity import domain
from ngcpd.store.tables.runtime import changes


@dataclass
class World:
    """A store and calls into it."""

    database: Database
    env: Env
    clock: SimClock

    def do(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        return self.database.run_here(fn, self.env, *args, **kwargs)

    def rules(self, **kwargs: Any) -> None:
        self.env = replace(self.env, rules=replace(self.env.rules, **kwargs))

    def rows(self, statement: Any) -> list[Any]:
        return self.database.read_here(lambda conn: list(conn.execute(statement).all()))

    def count(self, table: sa.Table) -> int:
        return int(self.rows(sa.select(sa.func.count()).select_from(table))[0][0])

    def notices(self) -> list[tuple[str, str]]:
        """Change notices since the last call."""
        rows = self.rows(sa.select(changes.c.kind, changes.c.key).order_by(changes.c.id))
        self.database.run_here(lambda conn: conn.execute(sa.delete(changes)))
        return [tuple(row) for row in rows]

    @property
    def system_domain(self) -> int:
        return int(self.rows(sa.select(domain.c.id).where(domain.c.is_system))[0][0])

    def customer(self, **kwargs: Any) -> int:
        from ngcpd.provisioning import create_contact, create_customer

        contact = self.do(create_contact, reseller_id=1, email="c@example.org")
        return int(self.do(create_customer, contact_id=contact, **kwargs))


@pytest.fixture
def world(store_url: str) -> Iterator[World]:
    clock = SimClock(1_700_000_000.0)
    rng = SeededRng(7)
    env = Env(clock, rng, Vault(bytes(32), rng), Argon(rng, time_cost=1, memory_cost=8, parallelism=1), Rules())
    database = Database(store_url, InlineExecutor(), clock)
    database.run_here(seed, rng, env.vault, env.argon)
    world = World(database, env, clock)
    world.notices()
    yield world
    database.close()

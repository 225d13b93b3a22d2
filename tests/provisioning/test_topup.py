"""Balances in the store: what is read back and goes on is what one account in memory comes to (billing 4, 6.3)."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from ngcpd.provisioning import NewSubscriber, ProvisioningError, balance, create_domain, create_subscriber
from ngcpd.provisioning.balance import topup
from ngcpd.provisioning.balance.book import load
from ngcpd.provisioning.errors import Stale
from ngcpd.store.db import insert, now
from ngcpd.store.tables.billing import billing_mapping, billing_profile, contract_balance
from ngcpd.store.tables.packages import package_profile, profile_package, topup_log
from ngcpd.store.tables.preferences import preference_value
from ngcpd.store.tables.tenancy import contract
from tests.provisioning.conftest import World

DAY = 86400
STEPS = ((3, 500), (9, None), (4, 1200), (0.5, 10), (31, None), (29, 700), (75, None), (1, 300))
"""Days to wait, and the cents of a top-up then."""


def package(conn: sa.Connection, env: Any, n: int, values: dict[str, Any], profiles: dict[str, int]) -> int:
    at = now(conn)
    key = insert(conn, profile_package, reseller_id=1, name=f"p{n}", description="", created_at=at, modified_at=at, **values)
    for kind, profile_id in profiles.items():
        insert(conn, package_profile, package_id=key, discriminator=kind, profile_id=profile_id)
    return key


def profile(conn: sa.Connection, env: Any, name: str, cash: int, seconds: int, prepaid: bool = False) -> int:
    at = now(conn)
    free = {"interval_free_cash": cash, "interval_free_time": seconds}
    return insert(conn, billing_profile, reseller_id=1, handle=name, name=name, prepaid=prepaid, created_at=at, modified_at=at, **free)


def give(conn: sa.Connection, env: Any, customer: int, package_id: int) -> None:
    conn.execute(sa.update(contract).where(contract.c.id == customer).values(profile_package_id=package_id))
    balance.switch_package(conn, env, customer, None)


def stored(world: World, customer: int) -> list[tuple[Any, ...]]:
    columns = ("start", "end", "cash_balance", "free_time_balance", "topup_count", "timely_topup_count", "underrun_profiles_at", "underrun_lock_at")
    mine = contract_balance.c.contract_id == customer
    return [tuple(row) for row in world.rows(sa.select(*(contract_balance.c[c] for c in columns)).where(mine).order_by(contract_balance.c.start))]


@pytest.fixture
def someone(world: World) -> tuple[int, int]:
    """A customer and its subscriber."""
    customer = world.customer()
    world.do(create_domain, name="example.org")
    new = NewSubscriber(customer_id=customer, domain="example.org", username="ada", password="secret1")
    return customer, world.do(create_subscriber, new).id


@pytest.mark.parametrize("mode", ["1st", "create", "topup", "topup_interval"])
@pytest.mark.parametrize("carry", ["carry_over", "carry_over_timely", "discard"])
def test_the_store_and_one_account_in_memory_agree(world: World, someone: tuple[int, int], mode: str, carry: str) -> None:
    customer, ada = someone
    free, low, paid = world.do(profile, "free", 100, 60), world.do(profile, "low", 40, 0), world.do(profile, "paid", 0, 0, True)
    values = {
        "balance_interval_unit": "day",
        "balance_interval_value": 30,
        "balance_interval_start_mode": mode,
        "carry_over_mode": carry,
        "timely_duration_unit": "day",
        "timely_duration_value": 20,
        "notopup_discard_intervals": 2,
        "service_charge": 50,
        "underrun_profile_threshold": 90,
        "underrun_lock_threshold": 30,
        "underrun_lock_level": 3,
        "topup_lock_level": 0,
    }
    package_id = world.do(package, 1, values, {"initial": free, "underrun": low, "topup": paid})
    world.do(give, customer, package_id)
    alone = world.database.read_here(lambda conn: load(conn, world.env, [customer]))[customer]
    for days, amount in STEPS:
        world.clock.advance(days * DAY)
        at = world.database.read_here(now)
        if amount is None:
            world.database.run_here(balance.catch_up, world.env, [customer])
            alone.catch_up(at)
        else:
            world.do(topup.book, topup.TopUp(ada, "test", amount=Decimal(amount)))
            alone.top_up(Decimal(amount), None, at)
    rows = [(r.start, r.end, r.cash, r.seconds, r.topups, r.timely, r.profiles_at, r.lock_at) for r in alone.rows]
    assert stored(world, customer)[-len(rows) :] == rows and len(rows) > 1
    mapped = world.rows(sa.select(billing_mapping.c.profile_id).where(billing_mapping.c.contract_id == customer).order_by(billing_mapping.c.id))
    assert [row[0] for row in mapped] == [m.profile_id for m in alone.mapped]
    prepaid = (preference_value.c.attribute == "prepaid", preference_value.c.owner_id == ada)
    assert len(world.rows(sa.select(preference_value.c.id).where(*prepaid))) == alone.grant(world.database.read_here(now)).prepaid
    assert world.count(topup_log) == sum(amount is not None for _, amount in STEPS)


def test_a_reading_connection_is_told_and_nothing_is_made_twice(world: World, someone: tuple[int, int]) -> None:
    customer, _ = someone
    world.database.read_here(balance.catch_up, world.env, [customer])
    world.clock.advance(100 * DAY)
    with pytest.raises(Stale):
        world.database.read_here(balance.catch_up, world.env, [customer])
    before = stored(world, customer)
    world.notices()
    for _ in range(2):
        world.database.run_here(balance.catch_up, world.env, [customer, customer])
        assert len(stored(world, customer)) == len(before) + 3, "December, January, February"
    assert world.notices() == [], "time that passes is no news"
    world.database.read_here(balance.catch_up, world.env, [customer])
    assert stored(world, customer)[: len(before)] == before


def test_two_topups_in_one_second(world: World, someone: tuple[int, int]) -> None:
    """In start mode topup the second one has no interval to end; it is refused and changes nothing."""
    customer, ada = someone
    values = {"balance_interval_unit": "month", "balance_interval_value": 1, "balance_interval_start_mode": "topup"}
    world.do(give, customer, world.do(package, 1, values, {"initial": 1}))
    world.clock.advance(DAY)
    asked = topup.TopUp(ada, "test", amount=Decimal(100))
    world.do(topup.book, asked)
    before = stored(world, customer)
    with pytest.raises(ProvisioningError, match="Future balance interval detected"):
        world.do(topup.book, asked)
    assert stored(world, customer) == before
    world.clock.advance(1)
    world.do(topup.book, asked)
    assert stored(world, customer)[-1][2] == 200 and stored(world, customer)[-1][1] == datetime.datetime(9999, 12, 31, 23, 59, 59)


def test_very_many_intervals_are_made_in_parts(world: World, someone: tuple[int, int]) -> None:
    """Looking makes them in units of work of 5000 at most; in the end they are those of one go."""
    customer, _ = someone
    values = {"balance_interval_unit": "minute", "balance_interval_value": 1, "balance_interval_start_mode": "create"}
    world.do(give, customer, world.do(package, 1, values, {"initial": 1}))
    alone = world.database.read_here(lambda conn: load(conn, world.env, [customer]))[customer]
    before = len(stored(world, customer))
    world.clock.advance(38 * DAY)  # the interval in force ends at midnight of 14 December
    alone.catch_up(world.database.read_here(now))
    missing, parts = len(alone.rows) - 1, 0
    assert missing > 10_000
    try:
        world.database.read_here(balance.catch_up, world.env, [customer])
    except Stale as stale:
        while world.database.run_here(stale.part):
            parts += 1
            assert len(stored(world, customer)) == before + parts * 5000
    rows = stored(world, customer)
    assert parts == missing // 5000 and len(rows) == before + missing and rows[-1][:2] == (alone.row.start, alone.row.end)
    world.database.read_here(balance.catch_up, world.env, [customer])

"""Writers at the same time, on threads: one wins, the others are told, limits hold, nothing is half done."""

from __future__ import annotations

import pytest
import pytest_twisted
import sqlalchemy as sa
from twisted.internet import reactor
from twisted.internet.defer import DeferredList

from ngcpd.provisioning import (
    E164,
    NewSubscriber,
    ProvisioningError,
    create_domain,
    create_subscriber,
    demo,
    set_numbers,
    set_preference,
    terminate_subscriber,
)
from ngcpd.runtime.real import SystemRng, ThreadExecutor
from ngcpd.store.credentials import Vault
from ngcpd.store.db import Database
from ngcpd.store.tables.identity import domain, number, subscriber
from ngcpd.store.tables.preferences import preference_value


@pytest.fixture
def crowd(world, store_url):
    """A function that runs many units of work on threads and gives their results and errors."""
    executor = ThreadExecutor(reactor, threads=6)
    database = Database(store_url, executor, world.clock, pool_size=6)
    rng = SystemRng()
    env = type(world.env)(world.clock, rng, Vault(bytes(32), rng), world.env.argon)
    world.do(create_domain, name="example.org")

    async def run(calls):
        results = await DeferredList([database.run(fn, env, *args, **kwargs) for fn, args, kwargs in calls], consumeErrors=True)
        good = [value for ok, value in results if ok]
        bad = [failure.value for ok, failure in results if not ok]
        assert all(isinstance(error, ProvisioningError) for error in bad), bad
        return good, bad

    yield run
    pytest_twisted.blockon(executor.stop())
    database.close()


def person(customer, name, **kwargs):
    return NewSubscriber(customer_id=customer, domain="example.org", username=name, password="secret1", **kwargs)


@pytest_twisted.ensureDeferred
async def test_one_name_and_one_number(world, crowd):
    customers = [world.customer() for _ in range(6)]
    good, bad = await crowd([(create_subscriber, (person(c, "alice"),), {}) for c in customers])
    assert len(good) == 1 and {e.kind for e in bad} == {"duplicate"} and len(bad) == 5
    good, bad = await crowd([(create_subscriber, (person(c, f"n{c}", number=E164(43, "1", "1")),), {}) for c in customers])
    assert len(good) == 1 and {(e.kind, e.field) for e in bad} == {("duplicate", "primary_number")}
    # A free number is fought for too.
    world.do(terminate_subscriber, subscriber_id=good[0].id)
    good, bad = await crowd([(create_subscriber, (person(c, f"m{c}", number=E164(43, "1", "1")),), {}) for c in customers])
    assert len(good) == 1 and len(bad) == 5
    [owner] = world.rows(sa.select(number.c.subscriber_id))
    assert owner[0] == good[0].id
    living = world.rows(sa.select(subscriber.c.id).join(domain).where(~domain.c.is_system, subscriber.c.status == "active"))
    assert len(living) == 2


@pytest_twisted.ensureDeferred
async def test_limit_holds(world, crowd):
    customer = world.customer(max_subscribers=3)
    good, bad = await crowd([(create_subscriber, (person(customer, f"u{n}"),), {}) for n in range(10)])
    assert len(good) == 3 and {e.kind for e in bad} == {"limit"}


@pytest_twisted.ensureDeferred
async def test_many_different_ones(world, crowd):
    customers = [world.customer() for _ in range(3)]
    calls = [
        (create_subscriber, (person(customers[n % 3], f"u{n}", number=E164(43, "1", f"{n}"), aliases=(E164(43, "2", f"{n}"),)),), {})
        for n in range(30)
    ]
    good, bad = await crowd(calls)
    assert len(good) == 30 and bad == []


@pytest_twisted.ensureDeferred
async def test_one_preference(world, crowd):
    who = world.do(create_subscriber, person(world.customer(), "alice")).id
    calls = [(set_preference, (), {"level": "usr", "owner_id": who, "attribute": "gpp0", "value": f"v{n}"}) for n in range(12)]
    calls += [(set_preference, (), {"level": "usr", "owner_id": who, "attribute": "allowed_clis", "value": [f"{n}*", "1"]}) for n in range(12)]
    good, bad = await crowd(calls)
    assert len(good) == 24 and bad == []
    stored = world.rows(
        sa.select(preference_value.c.position).where(preference_value.c.owner_id == who, preference_value.c.attribute == "allowed_clis")
    )
    assert sorted(r[0] for r in stored) == [0, 1]


@pytest_twisted.ensureDeferred
async def test_numbers_swapped_both_ways(world, crowd):
    customer = world.customer()
    one = world.do(create_subscriber, person(customer, "a", number=E164(43, "1", "1"))).id
    two = world.do(create_subscriber, person(customer, "b", number=E164(43, "1", "2"))).id
    swaps = [(set_numbers, (), {"subscriber_id": who, "primary": E164(43, "1", n)}) for n in "12" for who in (one, two)]
    await crowd(swaps * 3)
    rows = world.rows(sa.select(number.c.subscriber_id, number.c.is_primary))
    owners = [r[0] for r in rows if r[0] is not None]
    assert len(rows) == 2 and len(owners) == len(set(owners)) and all(r[1] == (r[0] is not None) for r in rows)


@pytest_twisted.ensureDeferred
async def test_demo_at_once(world, crowd):
    good, _ = await crowd([(demo, (), {}) for _ in range(4)])
    assert good and all([a.password for a in g] == [a.password for a in good[0]] for g in good)
    assert len(world.rows(sa.select(domain.c.id).where(domain.c.name == "demo.test"))) == 1

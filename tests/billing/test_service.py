"""The mediation service: when it runs, alone in the cluster, and what outages and bad rows do to it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from twisted.internet.defer import Deferred

from ngcpd.billing import service
from ngcpd.billing.providers import Providers
from ngcpd.billing.service import Mediator
from ngcpd.runtime.fake import InlineExecutor, MemoryDisk, SeededRng, SimClock
from ngcpd.store.acc import AccEvent, Accounting, acc_home
from ngcpd.store.changes import Change
from ngcpd.store.db import Database
from ngcpd.store.follower import Follower
from ngcpd.store.journal import Journal
from ngcpd.store.kv_memory import MemoryKeyValue
from ngcpd.store.legs import DestinationLeg, SourceLeg
from ngcpd.store.tables import metadata
from ngcpd.store.tables.accounting import acc, acc_backup, acc_trash, cdr
from ngcpd.store.tables.identity import domain, subscriber
from ngcpd.store.tables.tenancy import contact, contract, product, reseller
from tests.billing.test_mediation import T0, cdrs, count, put, row
from tests.store.helpers import captured, lines_with


class House:
    def __init__(self) -> None:
        self.clock = SimClock(T0 + 100)
        self.db = Database("sqlite://", InlineExecutor(), self.clock)
        metadata.create_all(self.db.engine)
        self.kv = MemoryKeyValue(self.clock, SeededRng())
        self.mediator = Mediator(self.db, self.kv, self.clock, batch=5)


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.db.close()


def test_runs_at_start_at_each_poke_and_every_interval(house: House) -> None:
    put(house.db, row("c1", "INVITE", "486", T0))
    house.mediator.poke()  # not started: nothing happens
    house.clock.advance(1)
    assert not cdrs(house.db)
    house.mediator.start()
    assert len(cdrs(house.db)) == 1
    put(house.db, row("c2", "INVITE", "486", T0))
    house.clock.advance(9.9)
    assert len(cdrs(house.db)) == 1
    house.clock.advance(0.2)
    assert len(cdrs(house.db)) == 2
    put(house.db, row("c3", "INVITE", "486", T0))
    for _ in range(10):
        house.mediator.poke()
    house.clock.advance(0.06)
    assert len(cdrs(house.db)) == 3
    house.mediator.stop()
    assert house.clock.pending() == 0
    put(house.db, row("c4", "INVITE", "486", T0))
    house.mediator.poke()
    house.clock.advance(60)
    assert len(cdrs(house.db)) == 3


def test_more_than_a_batch_in_one_run(house: House) -> None:
    put(house.db, *[row(f"c{n}", "INVITE", "486", T0 + n) for n in range(23)])
    house.mediator.start()
    assert len(cdrs(house.db)) == 23


def test_call_end_through_journal_to_cdr(house: House) -> None:
    """The whole way, as the daemon wires it: event, journal, table acc, CDR, within a moment of the BYE."""
    journal = Journal(MemoryDisk(), house.clock, InlineExecutor(), "/j", "self")
    journal.open()
    accounting = Accounting(journal, house.clock)
    accounting.recover()
    follower = Follower(journal, "acc", acc_home(house.db, "self"), house.clock, on_applied=lambda _: house.mediator.poke())
    follower.start()
    house.mediator.start()
    legs = {"src_leg": SourceLeg(init_time=house.clock.time()).encode(), "dst_leg": DestinationLeg().encode()}
    house.clock.advance(4)
    accounting.write(AccEvent("INVITE", "c1", house.clock.time(), **legs))
    house.clock.advance(12.345)
    accounting.write(AccEvent("BYE", "c1", house.clock.time(), **legs))
    house.clock.advance(0.2)
    [made] = cdrs(house.db)
    assert (str(made["duration"]), str(made["init_time"]), str(made["start_time"])) == ("12.345", f"{T0 + 100}.000", f"{T0 + 104}.000")


def test_only_one_in_the_cluster(house: House) -> None:
    other: list[Any] = []
    house.kv.lock("mediator", 60).addCallback(other.append)
    put(house.db, row("c1", "INVITE", "486", T0))
    house.mediator.start()
    assert not cdrs(house.db)
    other[0].release()
    house.clock.advance(10.1)
    assert len(cdrs(house.db)) == 1
    free: list[Any] = []
    house.kv.lock("mediator", 60).addCallback(free.append)
    assert free[0] is not None  # given up after the run


def test_key_value_store_away(house: House) -> None:
    house.kv.available = False
    put(house.db, row("c1", "INVITE", "486", T0))
    house.mediator.start()
    assert len(cdrs(house.db)) == 1


def test_database_away_and_back(house: House) -> None:
    gone = True

    def broken(*_: Any) -> None:
        if gone:
            raise sa.exc.OperationalError("", {}, Exception(2013, "gone"), connection_invalidated=True)

    put(house.db, row("c1", "INVITE", "486", T0))
    sa.event.listen(house.db.engine, "before_cursor_execute", broken)
    with captured() as lines:
        house.mediator.start()
        house.clock.advance(60)
        gone = False
        house.clock.advance(11)
    assert len(cdrs(house.db)) == 1
    assert len(lines_with(lines, "warning")) == 1  # the database's own


def test_bad_call_does_not_stop_the_others(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Call-ID whose batch fails for a reason nobody thought of goes to the trash after some tries; the others are served at once."""
    real = service.mediate

    def failing(conn: sa.Connection, *args: Any, **kwargs: Any) -> Any:
        outcome = real(conn, *args, **kwargs)
        if conn.scalar(sa.select(sa.func.count()).select_from(cdr).where(cdr.c.call_id == "bad")):
            raise ArithmeticError("out of range")
        return outcome

    monkeypatch.setattr(service, "mediate", failing)
    put(house.db, *[row(c, "INVITE", "486", T0) for c in ("good1", "bad", "good2")])
    with captured() as lines:
        house.mediator.start()
        assert {c["call_id"] for c in cdrs(house.db)} == {"good1", "good2"}
        assert count(house.db, acc) == 1
        house.clock.advance(31)
    assert (count(house.db, acc), count(house.db, acc_backup), count(house.db, acc_trash)) == (0, 2, 1)
    assert len(lines_with(lines, "error", "acc_trash", "call_id=bad")) == 1


def test_trash_is_logged_once(house: House) -> None:
    put(house.db, row("c1", "INVITE", "486", T0, src_leg="x|"))
    with captured() as lines:
        house.mediator.start()
        house.clock.advance(60)
    assert len(lines_with(lines, "error", "call_id=c1", "source leg")) == 1


class HeldExecutor:
    def __init__(self) -> None:
        self.jobs: list[Any] = []

    def run(self, fn: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.jobs.append(lambda: done.callback(fn(*args, **kwargs)))
        return done


def test_stop_waits_for_the_batch_in_hand_and_a_poke_during_a_run_is_not_lost(house: House) -> None:
    threads = HeldExecutor()
    db = Database("sqlite://", threads, house.clock)
    metadata.create_all(db.engine)
    mediator = Mediator(db, house.kv, house.clock)
    put(db, row("c1", "INVITE", "486", T0))
    mediator.start()
    mediator.poke()
    threads.jobs.pop()()
    assert len(cdrs(db)) == 1
    put(db, row("c2", "INVITE", "486", T0))
    house.clock.advance(0.06)
    stopped: list[None] = []
    mediator.stop().addCallback(stopped.append)
    assert not stopped
    threads.jobs.pop()()
    assert stopped == [None] and len(cdrs(db)) == 2
    assert not threads.jobs and house.clock.pending() == 0
    db.close()


def test_providers_follow_changes(house: House) -> None:
    stamp = {"created_at": datetime.datetime(2024, 1, 1), "modified_at": datetime.datetime(2024, 1, 1)}

    def identity(conn: sa.Connection) -> tuple[int, int, int]:
        def made(table: sa.Table, **values: Any) -> int:
            return int(conn.execute(sa.insert(table).values(**values)).inserted_primary_key[0])

        kind = made(product, **{"class": "sipaccount", "handle": "S", "name": "s"})
        own = made(contact, **stamp)
        terms = [made(contract, contact_id=own, product_id=kind, **stamp) for _ in range(2)]
        sellers = [made(reseller, contract_id=t, name=f"r{t}", **stamp) for t in terms]
        customer_contact = made(contact, reseller_id=sellers[0], **stamp)
        customer = made(contract, contact_id=customer_contact, product_id=kind, **stamp)
        where = made(domain, reseller_id=sellers[0], name="a.example", **stamp)
        made(subscriber, uuid="uuid-a", contract_id=customer, domain_id=where, username="alice", **stamp)
        conn.execute(sa.update(contact).where(contact.c.id == customer_contact).values(reseller_id=sellers[0]))
        return terms[0], terms[1], customer_contact

    first, second, who = house.db.run_here(identity)
    legs = {"src_leg": SourceLeg("uuid-a", "alice").encode(), "dst_leg": DestinationLeg(user_id="uuid-x").encode()}
    house.mediator.start()

    def provider_of(callid: str) -> tuple[str, str]:
        put(house.db, row(callid, "INVITE", "486", T0, **legs))
        house.mediator.poke()
        house.clock.advance(0.1)
        made = cdrs(house.db)[-1]
        return made["source_provider_id"], made["destination_provider_id"]

    assert provider_of("c1") == (str(first), "0")
    seller = house.db.read_here(lambda conn: conn.scalar(sa.select(reseller.c.id).where(reseller.c.contract_id == second)))
    house.db.run_here(lambda conn: conn.execute(sa.update(contact).where(contact.c.id == who).values(reseller_id=seller)))
    house.mediator.changed([Change(1, "preference:usr", "1")])
    assert provider_of("c2") == (str(first), "0")  # still known
    house.mediator.changed([Change(2, "contract", "1")])
    assert provider_of("c3") == (str(second), "0")


def test_provider_cache_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ngcpd.billing.providers.CACHE_LIMIT", 50)
    providers = Providers()
    for n in range(200):
        house.db.read_here(lambda conn, n=n: providers.prepare(conn, [f"u{n}-{i}" for i in range(10)]))
        assert len(providers._subscribers) <= 60

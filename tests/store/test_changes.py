"""Change notices: written with the change, told in order, none missed, none twice."""

from __future__ import annotations

import contextlib
import random
import threading

import pytest
import pytest_twisted
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import fail, gatherResults

from ngcpd.runtime.fake import InlineExecutor, SeededRng, SimClock
from ngcpd.runtime.real import ThreadExecutor
from ngcpd.store import changes
from ngcpd.store.changes import Change, ChangeFeed, Position, note, note_all, purge
from ngcpd.store.db import Database
from ngcpd.store.errors import StoreUnavailable
from ngcpd.store.kv import KeyValueUnavailable
from ngcpd.store.kv_memory import MemoryKeyValue
from ngcpd.store.tables.runtime import changes as table
from tests.store.helpers import captured, lines_with


class Node:
    """A process's view: its own database object, feed and what was told."""

    def __init__(self, url, clock, kv=None):
        self.database = Database(url, InlineExecutor(), clock)
        self.feed = ChangeFeed(self.database, clock, kv)
        self.told = []
        self.calls = 0
        self.feed.subscribe(self.take)

    def take(self, found):
        self.calls += 1
        self.told += found

    def keys(self):
        return [change.key for change in self.told]

    def write(self, *keys):
        """Without the hook of `Database.run`: as another process would."""
        self.database.run_here(lambda conn: note_all(conn, [("domain", key) for key in keys]))

    def close(self):
        self.feed.stop()
        self.database.close()


@contextlib.contextmanager
def unreadable(monkeypatch, error):
    """Nobody can read notices; writing them works."""

    def bad(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(changes, "_since", bad)
        yield


@pytest.fixture
def clock():
    return SimClock()


@pytest.fixture
def nodes(store_url, clock):
    made = [Node(store_url, clock), Node(store_url, clock)]
    yield made
    for node in made:
        node.close()


def test_note_is_part_of_the_transaction(nodes):
    one, _ = nodes

    def fails(conn):
        note(conn, "domain", 1)
        raise KeyError

    with pytest.raises(KeyError):
        one.database.run_here(fails)
    one.database.run_here(lambda conn: note_all(conn, [("a", 1), ("b", 2), ("a", 1), ("a", "1")]))
    one.database.run_here(lambda conn: note_all(conn, []))
    found = one.database.read_here(lambda conn: conn.execute(sa.select(table.c.kind, table.c.key, table.c.at).order_by(table.c.id)).all())
    assert [(r.kind, r.key) for r in found] == [("a", "1"), ("b", "2")]
    assert found[0].at.isoformat() == "2023-11-14T22:13:20"


@pytest_twisted.ensureDeferred
async def test_other_process_is_told_within_its_period(nodes, clock):
    one, two = nodes
    one.write("before")
    await two.feed.start()
    clock.advance(5)
    assert two.told == []
    one.write("x", "y")
    clock.advance(0.3 if two.database.is_sqlite else 1.1)
    assert two.keys() == ["x", "y"]
    assert [c.kind for c in two.told] == ["domain", "domain"] and two.told[0].id < two.told[1].id
    clock.advance(5)
    assert two.calls == 1
    for n in range(5):
        one.write(f"n{n}")
    clock.advance(1.1)
    assert two.keys()[2:] == ["n0", "n1", "n2", "n3", "n4"]


@pytest_twisted.ensureDeferred
async def test_own_commit_is_told_at_once(nodes, clock):
    one, _ = nodes
    await one.feed.start()
    await one.database.run(note, "subscriber", 7)
    assert one.keys() == ["7"]
    clock.advance(10)
    assert one.keys() == ["7"]


@pytest_twisted.ensureDeferred
async def test_notice_by_key_value_store(store_url, clock):
    kv = MemoryKeyValue(clock, SeededRng())
    one, two = Node(store_url, clock, kv), Node(store_url, clock, kv)
    await one.feed.start()
    await two.feed.start()
    await one.database.run(note, "subscriber", 7)
    clock.advance(0)
    assert two.keys() == ["7"]
    one.close()
    two.close()


@pytest_twisted.ensureDeferred
async def test_subscriber_that_fails_does_not_stop_others(nodes, clock):
    one, _ = nodes

    def broken(_):
        raise ZeroDivisionError("broken subscriber")

    one.feed.subscribe(broken)
    later = []
    one.feed.subscribe(later.extend)
    await one.feed.start()
    with captured() as lines:
        await one.database.run(note, "domain", 1)
        await one.database.run(note, "domain", 2)
    assert one.keys() == ["1", "2"] == [c.key for c in later]
    assert lines_with(lines, "error store", "broken subscriber")


@pytest_twisted.ensureDeferred
async def test_stop(nodes, clock):
    one, two = nodes
    await two.feed.start()
    two.feed.stop()
    two.feed.stop()
    one.write("x")
    clock.advance(10)
    assert two.told == [] and clock.pending() == 0 and two.database.changed == []


@pytest_twisted.ensureDeferred
async def test_outage_is_caught_up(nodes, clock, monkeypatch):
    one, two = nodes
    await two.feed.start()
    with unreadable(monkeypatch, StoreUnavailable("away")), captured() as lines:
        one.write("x")
        clock.advance(10)
    assert two.told == [] and len(lines) == 1
    clock.advance(1.1)
    assert two.keys() == ["x"]


@pytest_twisted.ensureDeferred
async def test_fault_while_reading_is_logged_and_tried_again(nodes, clock, monkeypatch):
    one, two = nodes
    await two.feed.start()
    with unreadable(monkeypatch, ZeroDivisionError("strange")), captured() as lines:
        one.write("x")
        clock.advance(3)
    assert len(lines_with(lines, "reading changes failed", "strange")) == 1
    clock.advance(1.1)
    assert two.keys() == ["x"]


@pytest_twisted.ensureDeferred
async def test_purge(nodes, clock):
    one, two = nodes
    one.write("old 1", "old 2")
    await two.feed.start()
    clock.epoch += 25 * 3600
    one.write("new")
    clock.advance(1.1)
    assert one.database.run_here(purge) == 2
    assert one.database.run_here(purge) == 0
    one.write("newer")
    clock.advance(1.1)
    assert two.keys() == ["new", "newer"]
    clock.epoch += 25 * 3600
    one.database.run_here(purge)
    assert one.database.read_here(lambda conn: conn.scalars(sa.select(table.c.key)).all()) == ["newer"]


@pytest_twisted.ensureDeferred
async def test_missed_rows_are_admitted(nodes, clock, monkeypatch):
    """Away for longer than notices are kept: subscribers are told to read everything."""
    one, two = nodes
    one.write("seen")
    await two.feed.start()
    with unreadable(monkeypatch, StoreUnavailable("away")):
        one.write("lost 1", "lost 2")
        clock.advance(3)
        clock.epoch += 25 * 3600
        one.write("kept")
        one.database.run_here(purge)
    clock.advance(1.1)
    assert [(c.kind, c.key) for c in two.told] == [("all", ""), ("domain", "kept")]


@pytest_twisted.ensureDeferred
async def test_memory_store(clock):
    from ngcpd.store import migrations

    node = Node("sqlite://", clock)
    node.database.run_here(migrations.upgrade)
    await node.feed.start()
    node.write("x")
    clock.advance(0.3)
    assert node.keys() == ["x"]
    node.close()


# ------------------------------------------------------------------------------------------------- ids that appear out of order
@pytest.mark.peer
@pytest_twisted.ensureDeferred
async def test_late_commit_is_not_missed(mariadb_store, clock):
    from tests.servers.stores import empty

    empty(mariadb_store)
    one, two = Node(mariadb_store, clock), Node(mariadb_store, clock)
    slow = one.database.engine.connect()
    rolled = one.database.engine.connect()
    await two.feed.start()
    slow.begin()
    note(slow, "domain", "slow 1")  # has its id now, commits later
    one.write("a")
    rolled.begin()
    note(rolled, "domain", "never")
    note(slow, "domain", "slow 2")
    one.write("b")
    clock.advance(1.1)
    assert two.keys() == ["a", "b"]
    rolled.rollback()
    late = Node(mariadb_store, clock)  # starts while they are open
    await late.feed.start()
    clock.advance(30)
    slow.commit()
    clock.advance(1.1)
    assert two.keys() == ["a", "b", "slow 1", "slow 2"] and late.keys() == ["slow 1", "slow 2"]
    clock.advance(changes.SETTLE_SECONDS)
    assert two.feed._position.gaps == []
    one.write("c")
    clock.advance(1.1)
    assert two.keys()[4:] == ["c"] == late.keys()[2:]
    slow.close()
    rolled.close()
    for node in (one, two, late):
        node.close()


@pytest_twisted.ensureDeferred
async def test_many_writers_at_once(store_url):
    """Real threads and a real clock: every notice exactly once, each batch in the order of ids."""
    from ngcpd.runtime.real import ReactorClock
    from tests.store.helpers import until

    clock = ReactorClock(reactor)
    executor = ThreadExecutor(reactor, threads=6)
    writer = Database(store_url, executor, clock, pool_size=6)
    reader = Database(store_url, executor, clock, pool_size=2)
    feed = ChangeFeed(reader, clock)
    batches = []
    feed.subscribe(batches.append)
    await feed.start()
    chance = random.Random(5)

    def work(conn, n, pause):
        note(conn, "domain", f"{n}a")
        threading.Event().wait(pause)
        note(conn, "domain", f"{n}b")
        if n % 10 == 0:
            raise KeyError(n)

    jobs = [writer.run(work, n, chance.random() * 0.01).addErrback(lambda f: f.trap(KeyError)) for n in range(100)]
    await gatherResults(jobs)
    expected = {f"{n}{half}" for n in range(100) if n % 10 for half in "ab"}
    await until(lambda: sum(map(len, batches)) >= len(expected))
    told = [change.key for batch in batches for change in batch]
    assert sorted(told) == sorted(expected)
    assert all([c.id for c in batch] == sorted(c.id for c in batch) for batch in batches)
    feed.stop()
    await executor.stop()
    writer.close()
    reader.close()


@given(st.lists(st.integers(1, 60), unique=True), st.data())
def test_position_tells_each_id_once(order, data):
    """Whatever the order in which ids become visible: each poll reads what it asked for and takes what is new."""
    position = Position()
    visible: set[int] = set()
    told: list[int] = []
    at = 0.0
    while True:
        wanted = {i for i in visible if i > position.highest or any(a <= i <= b for a, b in position.ranges())}
        told += position.take(wanted, at)
        assert set(told) == visible and len(told) == len(visible)
        if not order:
            break
        count = data.draw(st.integers(1, len(order)))
        visible |= set(order[:count])
        order = order[count:]
        at += 1.0


def test_ranges_are_bounded():
    position = Position()
    position.take(range(1, 1000, 3), 0.0)
    assert len(position.gaps) > 300 and len(position.ranges()) <= changes.MAX_RANGES
    assert all(any(a <= first and last <= b for a, b in position.ranges()) for first, last, _ in position.gaps)
    position.take([], changes.SETTLE_SECONDS + 1)
    assert position.gaps == []


def test_change_is_a_value():
    assert Change(1, "domain", "2") == Change(1, "domain", "2")


# ------------------------------------------------------------------------------------------- what may go wrong between nodes
class Deaf:
    """A key-value store whose notices reach nobody: Redis is down, or the message was lost."""

    def __init__(self, clock):
        self.store = MemoryKeyValue(clock, SeededRng())
        self.lost = 0

    def publish(self, channel, text):
        self.lost += 1
        return fail(KeyValueUnavailable("away"))

    def subscribe(self, channel, fn):
        return self.store.subscribe(channel, fn)


@pytest_twisted.ensureDeferred
async def test_lost_notices_are_made_up_for_by_looking(store_url, clock):
    kv = Deaf(clock)
    one, two = Node(store_url, clock, kv), Node(store_url, clock, kv)
    await one.feed.start()
    await two.feed.start()
    for n in range(3):
        await one.database.run(note, "subscriber", n)
        clock.advance(changes.MARIADB_SECONDS + 0.1)
        assert two.keys() == [str(k) for k in range(n + 1)] and kv.lost == n + 1
    one.close()
    two.close()


@pytest_twisted.ensureDeferred
async def test_thousands_behind(nodes, clock, monkeypatch):
    """A node that could not read for long gets everything at once, each notice once and in order."""
    one, two = nodes
    await two.feed.start()
    with unreadable(monkeypatch, StoreUnavailable("away")):
        for start in range(0, 6000, 500):
            one.write(*range(start, start + 500))
        clock.advance(5)
        assert two.told == []
    clock.advance(1.1)
    assert two.keys() == [str(n) for n in range(6000)] and two.calls == 1
    one.write("next")
    clock.advance(1.1)
    assert two.keys()[6000:] == ["next"]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("hours", [-30.0, -1.0, 1.0, 30.0])
async def test_clocks_that_differ(store_url, clock, hours):
    """What time a writer believes it is has no say in what is told."""
    other = SimClock()
    other.epoch = clock.epoch + hours * 3600
    one, two = Node(store_url, other), Node(store_url, clock)
    one.write("seen")
    await two.feed.start()
    one.write("a")
    two.write("b")
    clock.advance(1.1)
    assert two.keys() == ["a", "b"]
    two.write("c", "d")
    one.write("e", "f")
    one.database.run_here(purge)
    two.database.run_here(purge)
    clock.advance(1.1)
    told = [(c.kind, c.key) for c in two.told[2:]]
    everything = [("domain", key) for key in "cdef"]
    assert told == everything, "none of one node's notices vanished from between the other's"
    one.close()
    two.close()


@pytest_twisted.ensureDeferred
async def test_purge_by_a_clock_that_runs_ahead_costs_a_full_reading(store_url, clock):
    ahead = SimClock()
    ahead.epoch = clock.epoch + 30 * 3600
    one, two, hasty = Node(store_url, clock), Node(store_url, clock), Node(store_url, ahead)
    one.write("seen")
    await two.feed.start()
    one.write("a", "b")
    hasty.database.run_here(purge)
    clock.advance(1.1)
    assert [(c.kind, c.key) for c in two.told] == [("all", ""), ("domain", "b")]
    for node in (one, two, hasty):
        node.close()


@pytest_twisted.ensureDeferred
async def test_nothing_is_reread_when_only_old_notices_went(nodes, clock):
    one, two = nodes
    one.write("old")
    await two.feed.start()
    one.write("told")
    clock.advance(1.1)
    clock.epoch += 25 * 3600
    one.write("new")
    one.database.run_here(purge)
    clock.advance(1.1)
    assert [(c.kind, c.key) for c in two.told] == [("domain", "told"), ("domain", "new")]

"""Bindings and their homes: the same tests on SQLite, MariaDB, Redis and the in-process key-value store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import pytest_twisted
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from ngcpd.runtime.fake import InlineExecutor, MemoryDisk, SeededRng, SimClock
from ngcpd.store.bindings import GRACE, BindingRecord, Bindings, RedisBindingHome, SqlBindingHome, split_path
from ngcpd.store.db import Database, StoreUnavailable
from ngcpd.store.journal import Journal
from ngcpd.store.kv import KeyValue, KeyValueUnavailable
from ngcpd.store.kv_memory import MemoryKeyValue
from ngcpd.store.kv_redis import RedisKeyValue
from ngcpd.store.tables import metadata
from ngcpd.store.tables.runtime import registration
from tests.servers.redis import Redis
from tests.store.helpers import RealTime, captured, lines_with, until

run = pytest_twisted.ensureDeferred


def binding(ruid: str, expires_at: float, **more: Any) -> BindingRecord:
    return msgspec.structs.replace(BindingRecord(ruid, 1, f"sip:{ruid}@192.0.2.1:5060", expires_at), **more)


class House:
    """A node whose process can crash; its home stays."""

    def __init__(self, home: Any, clock: SimClock, kv: KeyValue | None = None, db: Database | None = None) -> None:
        self.clock = clock
        self.home = home
        self.kv = kv
        self.db = db
        self.disk = MemoryDisk()
        self.start()

    def start(self) -> None:
        self.clock._heap.clear()
        self.clock.advance(1)
        self.journal = Journal(self.disk, self.clock, InlineExecutor(), "/j", "self", segment_size=2000)
        self.journal.open()
        self.bindings = Bindings(self.journal, self.home, self.clock)

    async def settle(self) -> None:
        """Everything has reached the home (whose answers may come from a real server)."""
        self.clock.advance(0.06)
        follower = self.bindings.follower
        await until(lambda: follower.idle)

    async def loaded(self) -> dict[str, BindingRecord]:
        return {b.ruid: b for b in await self.bindings.load_all()}

    async def close(self) -> None:
        if self.kv is not None:
            await self.kv.close()
        if self.db is not None:
            self.db.close()


HOMES = ["sqlite", pytest.param("mariadb", marks=pytest.mark.peer), pytest.param("redis", marks=pytest.mark.peer), "memory"]


@pytest.fixture(params=HOMES)
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    if request.param in ("redis", "memory"):
        # The clock of the homes is the real time here: the keys live on the server's own clock.
        clock = SimClock(RealTime().time())
        if request.param == "redis":
            server: Redis = request.getfixturevalue("redis_server")
            kv: KeyValue = RedisKeyValue(reactor, RealTime(), SeededRng(), server.url)
        else:
            kv = MemoryKeyValue(clock, SeededRng())
        made = House(RedisBindingHome(kv, clock, "self"), clock, kv)
    else:
        clock = SimClock()
        if request.param == "sqlite":
            url = str(request.getfixturevalue("sqlite_url"))
        else:
            from tests.servers.stores import empty

            url = request.getfixturevalue("mariadb_store")
            empty(url)
        db = Database(url, InlineExecutor(), clock)
        made = House(SqlBindingHome(db, clock, "self"), clock, db=db)
    yield made
    pytest_twisted.blockon(Deferred.fromCoroutine(made.close()))


@run
async def test_all_fields_survive(house: House) -> None:
    now = house.clock.time()
    full = BindingRecord(
        ruid="r1", subscriber_id=7, contact="sip:ü@[2001:db8::1]:5060;transport=tcp", expires_at=now + 3600.5, received=("2001:db8::2", 40000),
        path=("<sip:p1.example;lr>", '"a, b" <sip:x,y@p2.example;lr>;q="1,2"'), q=0.5, call_id="cid@host", cseq=2**31 - 1, user_agent="Phone/1.0",
        instance="urn:uuid:1", reg_id=2, socket="tcp:127.0.0.1:5060", transport="tcp", flow_id=99, nat=True, permanent=False, node="self",
    )  # fmt: skip
    least = binding("r2", now + 60)
    for b in (full, least):
        house.bindings.put(b)
    before = await house.loaded()  # out of the journal only
    house.bindings.start()
    await house.settle()
    after = await house.loaded()
    house.disk.files.clear()
    house.start()
    from_home = await house.loaded()
    wanted = {"r1": msgspec.structs.replace(full, flow_id=0), "r2": least}
    assert before == wanted and after == wanted and from_home == wanted


@run
async def test_replace_and_delete(house: House) -> None:
    now = house.clock.time()
    house.bindings.start()
    house.bindings.put(binding("a", now + 60))
    house.bindings.put(binding("b", now + 60))
    await house.settle()
    house.bindings.put(binding("a", now + 600, cseq=2))
    house.bindings.delete(1, "b")
    house.bindings.put(binding("c", now + 60))
    house.bindings.delete(1, "c")
    house.bindings.delete(1, "never there")
    house.bindings.delete(1, "d")
    house.bindings.put(binding("d", now + 60))
    wanted = {"a": binding("a", now + 600, cseq=2), "d": binding("d", now + 60)}
    assert await house.loaded() == wanted
    await house.settle()
    assert await house.loaded() == wanted
    house.start()
    assert await house.loaded() == wanted


@run
async def test_crash_before_the_home_has_it(house: House) -> None:
    now = house.clock.time()
    house.bindings.put(binding("a", now + 600))
    house.bindings.put(binding("b", now + 600))
    house.start()
    house.bindings.delete(1, "b")
    house.start()
    assert set(await house.loaded()) == {"a"}
    house.bindings.start()
    await house.settle()
    assert set(await house.loaded()) == {"a"}


@run
async def test_expired_ones_are_skipped_and_permanent_ones_stay(house: House) -> None:
    now = house.clock.time()
    house.bindings.start()
    house.bindings.put(binding("over", now - 1))
    house.bindings.put(binding("long over", now - GRACE - 1))
    house.bindings.put(binding("soon", now + 5))
    house.bindings.put(binding("static", 4294967295.0, permanent=True))
    await house.settle()
    assert set(await house.loaded()) == {"soon", "static"}
    await house.bindings.purge()
    house.clock.advance(GRACE + 6)
    await house.bindings.purge()
    assert set(await house.loaded()) == {"static"}
    if house.db is not None:
        assert house.db.read_here(lambda conn: conn.scalars(sa.select(registration.c.ruid)).all()) == ["static"]


@run
async def test_key_lives_as_long_as_the_binding_and_30_seconds(redis_server: Redis) -> None:
    clock = SimClock(RealTime().time())
    kv = RedisKeyValue(reactor, RealTime(), SeededRng(), redis_server.url)
    house = House(RedisBindingHome(kv, clock, "self"), clock, kv)
    house.bindings.start()
    house.bindings.put(binding("a", clock.time() + 100))
    house.bindings.put(binding("p", 4294967295.0, permanent=True))
    await house.settle()
    assert 125 <= int(redis_server.ask("TTL", "ngcp:binding:1:a")[1:].strip()) <= 130
    assert redis_server.ask("TTL", "ngcp:binding:1:p").strip() == b":-1"
    await house.close()


@run
async def test_two_nodes_share_a_home(house: House) -> None:
    now = house.clock.time()
    house.bindings.start()
    house.bindings.put(binding("a", now + 60, node="self"))
    await house.settle()
    if house.db is not None:
        home: Any = SqlBindingHome(house.db, house.clock, "other")
    else:
        assert house.kv is not None
        home = RedisBindingHome(house.kv, house.clock, "other")
    journal = Journal(MemoryDisk(), house.clock, InlineExecutor(), "/j", "other")
    journal.open()
    other = Bindings(journal, home, house.clock)
    other.start()
    other.put(binding("b", now + 60, node="other"))
    house.clock.advance(0.06)
    await until(lambda: other.follower.idle)
    assert set(await house.loaded()) == {"a", "b"}
    other.delete(1, "a")
    house.clock.advance(0.06)
    await until(lambda: other.follower.idle)
    assert set(await house.loaded()) == {"b"}


@run
async def test_unreadable_records_stop_nothing(house: House) -> None:
    now = house.clock.time()
    house.bindings.start()
    with captured() as lines:
        house.journal.append("binding", b"{}")
        house.journal.append("binding", b'{"type":"put","binding":{"ruid":5}}')
        house.bindings.put(binding("a", now + 60))
        assert set(await house.loaded()) == {"a"}
        await house.settle()
        assert set(await house.loaded()) == {"a"}
    assert len(lines_with(lines, "error", "put aside")) == 2


@run
async def test_redis_lost_while_running() -> None:
    server = Redis()
    server.start()
    clock = SimClock(RealTime().time())
    kv = RedisKeyValue(reactor, RealTime(), SeededRng(), server.url)
    house = House(RedisBindingHome(kv, clock, "self"), clock, kv)
    try:
        house.bindings.start()
        house.bindings.put(binding("a", clock.time() + 600))
        await house.settle()
        with captured() as lines:
            server.stop()
            await until(lambda: not kv.available)
            for n in range(20):
                house.bindings.put(binding(f"b{n}", clock.time() + 600))
            clock.advance(0.06)
            await until(lambda: house.bindings.follower.away)
            with pytest.raises(KeyValueUnavailable):
                await house.bindings.load_all()
            server.start()
            await until(lambda: kv.available)
            clock.advance(6)
            await until(lambda: house.bindings.follower.idle)
            assert lines_with(lines, "info", "caught up", "records=21")
        # The server came back empty: also what had been in it comes again out of the journal.
        assert set(await house.loaded()) == {"a", *(f"b{n}" for n in range(20))}
    finally:
        await house.close()
        server.close()


@run
async def test_database_lost_while_running(sqlite_url: str) -> None:
    clock = SimClock()
    db = Database(sqlite_url, InlineExecutor(), clock)
    house = House(SqlBindingHome(db, clock, "self"), clock, db=db)
    house.bindings.start()
    gone = True

    def broken(*_: Any) -> None:
        if gone:
            raise sa.exc.OperationalError("", {}, Exception(2013, "gone"), connection_invalidated=True)

    sa.event.listen(db.engine, "before_cursor_execute", broken)
    house.bindings.put(binding("a", clock.time() + 600))
    clock.advance(1)
    assert house.bindings.follower.away
    with pytest.raises(StoreUnavailable):
        await house.bindings.load_all()
    gone = False
    clock.advance(6)
    assert set(await house.loaded()) == {"a"}
    await house.close()


# -------------------------------------------------------------------------------------------------------------- properties
token = st.text(st.sampled_from("abc;=%.:@"), min_size=1, max_size=12)


@given(st.lists(st.one_of(st.builds("<sip:{}>".format, st.text(st.sampled_from("ab,;=.@"), min_size=1, max_size=12)), token), max_size=5))
def test_paths_split_again(values: list[str]) -> None:
    assert split_path(",".join(values)) == tuple(values)


@given(st.text(st.sampled_from('<>",ab '), max_size=30))
def test_any_path_text_can_be_read(text: str) -> None:
    split_path(text)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcd")),
        st.tuples(st.just("delete"), st.sampled_from("abcd")),
        st.tuples(st.just("wait"), st.sampled_from(["0.01", "0.06", "6"])),
        st.tuples(st.just("crash"), st.none()),
        st.tuples(st.just("down"), st.booleans()),
    ),
    max_size=30,
)


@settings(max_examples=80, deadline=None)
@given(steps, st.booleans())
def test_a_restart_loses_no_binding(plan: list[tuple[str, Any]], sql: bool) -> None:
    clock = SimClock()
    kv = MemoryKeyValue(clock, SeededRng())
    db = Database("sqlite://", InlineExecutor(), clock)
    metadata.create_all(db.engine)
    gone = False

    def broken(*_: Any) -> None:
        if gone:
            raise sa.exc.OperationalError("", {}, Exception(2013, "gone"), connection_invalidated=True)

    sa.event.listen(db.engine, "before_cursor_execute", broken)
    house = House(SqlBindingHome(db, clock, "self") if sql else RedisBindingHome(kv, clock, "self"), clock)
    house.bindings.start()
    wanted: dict[str, BindingRecord] = {}
    serial = 0

    def check() -> None:
        got: list[list[BindingRecord]] = []
        house.bindings.load_all().addCallback(got.append)
        assert {b.ruid: b for b in got[0]} == wanted

    with captured():
        for what, value in plan:
            if what == "put":
                serial += 1
                wanted[value] = binding(value, clock.time() + 100_000, cseq=serial)
                house.bindings.put(wanted[value])
            elif what == "delete":
                wanted.pop(value, None)
                house.bindings.delete(1, value)
            elif what == "wait":
                clock.advance(float(value))
            elif what == "down":
                gone = value
                kv.available = not value
            else:
                house.start()
                house.bindings.start()
            if not gone:
                check()
        gone, kv.available = False, True
        clock.advance(10)
        check()
        house.disk.files.clear()  # and all of it is in the home
        house.start()
        check()
    db.close()

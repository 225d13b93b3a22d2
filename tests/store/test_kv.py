"""The key-value door: the same tests on the in-process store and on a real Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import defer, reactor

from ngcpd.runtime.fake import SeededRng, SimClock
from ngcpd.store.kv import KeyValue, KeyValueError, KeyValueUnavailable
from ngcpd.store.kv_memory import MemoryKeyValue
from ngcpd.store.kv_redis import RedisKeyValue
from tests.servers.redis import Redis
from tests.store.helpers import RealTime, captured, lines_with, turn, until


class Store:
    """One store under test and how time passes for it."""

    def __init__(self, kv: KeyValue, make: Callable[[], KeyValue], wait: Callable[[float], Any]) -> None:
        self.kv = kv
        self.make = make
        self.wait = wait


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.peer)])
def store(request: pytest.FixtureRequest) -> Any:
    made: list[KeyValue] = []
    if request.param == "memory":
        clock = SimClock()

        async def advance(seconds: float) -> None:
            clock.advance(seconds)

        kv: KeyValue = MemoryKeyValue(clock, SeededRng())
        made.append(kv)
        yield Store(kv, lambda: kv, advance)
    else:
        server: Redis = request.getfixturevalue("redis_server")
        seeds = iter(range(100))

        def make() -> KeyValue:
            another = RedisKeyValue(reactor, RealTime(), SeededRng(next(seeds)), server.url)
            made.append(another)
            return another

        async def sleep(seconds: float) -> None:
            await turn(seconds)

        yield Store(make(), make, sleep)
    for kv in made:
        pytest_twisted.blockon(kv.close())


def run(test: Callable[..., Any]) -> Any:
    return pytest_twisted.ensureDeferred(test)


@run
async def test_text_values(store: Store) -> None:
    kv = store.kv
    assert await kv.get("a") is None
    assert await kv.set("a", "1.50") is True
    assert await kv.get("a") == "1.50"  # text stays text, also when it looks like a number
    assert await kv.set("a", "ü \r\n | \x00 x", None) is True
    assert await kv.get("a") == "ü \r\n | \x00 x"
    assert await kv.set("a", "other", absent=True) is False
    assert await kv.set("b", "", absent=True) is True
    assert await kv.mget(["a", "missing", "b"]) == ["ü \r\n | \x00 x", None, ""]
    assert await kv.mget([]) == []
    assert await kv.delete("a", "b", "missing") == 2
    assert await kv.get("a") is None


@run
async def test_time_to_live(store: Store) -> None:
    kv = store.kv
    await kv.set("short", "x", 0.05)
    await kv.set("long", "x", 60)
    await kv.set("renewed", "x", 0.05)
    assert await kv.expire("renewed", 60) is True
    await kv.set("kept", "x", 0.05)
    assert await kv.expire("kept", None) is True
    await kv.set("plain", "x")
    assert await kv.expire("plain", None) is True
    await kv.set("again", "x", 0.05)
    await kv.set("again", "y")  # storing anew forgets the time to live
    assert await kv.expire("missing", 5) is False
    assert await kv.expire("missing", None) is False
    assert await kv.get("short") == "x"
    await store.wait(0.12)
    assert await kv.mget(["short", "long", "renewed", "kept", "plain", "again"]) == [None, "x", "x", "x", "x", "y"]
    assert await kv.expire("long", 0) is True
    assert await kv.get("long") is None
    assert await kv.set("dead", "x", -1) is True
    assert await kv.get("dead") is None


@run
async def test_counters(store: Store) -> None:
    kv = store.kv
    assert await kv.incr("n") == 1
    assert await kv.incr("n", 5) == 6
    assert await kv.get("n") == "6"
    assert await kv.decr("n", 2) == 4
    assert await kv.decr("n", 10) == 0
    assert await kv.get("n") is None  # nothing left behind
    assert await kv.decr("n") == 0
    assert await kv.incr("f", 5) == 5
    assert await kv.decr("f", 9, 2) == 2
    assert await kv.incr("t", 1, 0.05) == 1
    assert await kv.incr("k", 3, 0.05) == 3
    assert await kv.decr("k") == 2  # keeps the time to live
    await store.wait(0.12)
    assert await kv.mget(["t", "k"]) == [None, None]
    await kv.set("text", "abc")
    with pytest.raises(KeyValueError):
        await kv.incr("text")


@run
async def test_hashes_and_sets(store: Store) -> None:
    kv = store.kv
    assert await kv.hgetall("h") == {}
    await kv.hset("h", {"a": "1", "b": "2"})
    await kv.hset("h", {"b": "3"})
    await kv.hset("h", {})
    assert await kv.hgetall("h") == {"a": "1", "b": "3"}
    assert await kv.hget("h", "a") == "1"
    assert await kv.hget("h", "x") is None
    assert await kv.hdel("h", "a", "x") == 1
    assert await kv.hdel("h", "b") == 1
    assert await kv.expire("h", 5) is False  # an empty hash is no key
    assert await kv.sadd("s", "a", "b", "a") == 2
    assert await kv.sadd("s", "b", "c") == 1
    assert await kv.smembers("s") == {"a", "b", "c"}
    assert await kv.srem("s", "a", "x") == 1
    assert await kv.srem("s", "b", "c") == 2
    assert await kv.smembers("s") == frozenset()
    assert await kv.expire("s", 5) is False
    await kv.set("text", "x")
    with pytest.raises(KeyValueError):
        await kv.hset("text", {"a": "b"})
    with pytest.raises(KeyValueError):
        await kv.sadd("text", "a")
    assert await kv.mget(["text"]) == ["x"]


@run
async def test_scan_takes_the_prefix_literally(store: Store) -> None:
    kv = store.kv
    for key in ("user:1", "user:2", "us*r:3", "other", "user[1]:x"):
        await kv.set(key, "x")
    for n in range(700):
        await kv.set(f"many:{n}", "x")
    assert await kv.scan("user:") == ["user:1", "user:2"]
    assert await kv.scan("us*") == ["us*r:3"]
    assert await kv.scan("user[1]") == ["user[1]:x"]
    assert len(await kv.scan("many:")) == 700
    assert await kv.scan("nothing") == []


@run
async def test_locks(store: Store) -> None:
    kv, other = store.kv, store.make()
    mine = await kv.lock("mediator", 60)
    assert mine is not None
    assert await other.lock("mediator", 60) is None
    assert await mine.renew(60) is True
    assert await mine.release() is True
    assert await mine.release() is False
    assert await mine.renew(1) is False
    theirs = await other.lock("mediator", 60)
    assert theirs is not None and theirs.token != mine.token
    assert await mine.release() is False  # never that of somebody else
    assert await kv.lock("mediator", 60) is None
    assert await theirs.renew(0.05) is True
    await store.wait(0.12)
    assert await theirs.renew(60) is False
    again = await kv.lock("mediator", 60)
    assert again is not None
    assert await theirs.release() is False


@run
async def test_publish_reaches_every_subscriber(store: Store) -> None:
    kv, other = store.kv, store.make()
    heard: list[tuple[str, str]] = []

    def bad(message: str) -> None:
        raise RuntimeError("mistake of a subscriber")

    with captured() as lines:
        failing = kv.subscribe("news", bad)
        one = kv.subscribe("news", lambda m: heard.append(("one", m)))
        two = other.subscribe("news", lambda m: heard.append(("two", m)))
        kv.subscribe("elsewhere", lambda m: heard.append(("wrong", m)))

        async def publish_until(count: int, message: str) -> None:
            # A subscription becomes active a moment after `subscribe`: publish until it is heard.
            for _ in range(200):
                await kv.publish("news", message)
                await store.wait(0.01)
                if len({who for who, m in heard if m == message}) >= count:
                    return
            raise AssertionError(heard)

        await publish_until(2, "1")
        assert ("wrong", "1") not in heard
        one.close()
        one.close()
        failing.close()
        await publish_until(1, "2")
        assert ("one", "2") not in heard
        two.close()
        await kv.publish("news", "3")
        await kv.publish("nobody", "3")
        await store.wait(0.03)
        assert not [m for _, m in heard if m == "3"]
    assert lines_with(lines, "error", "subscriber failed")


@run
async def test_closed(store: Store) -> None:
    kv = store.kv
    await kv.set("a", "1")
    await kv.close()
    with pytest.raises(KeyValueUnavailable):
        await kv.get("a")
    with pytest.raises(KeyValueUnavailable):
        await kv.lock("a", 5)


def test_memory_store_forgets_expired_keys() -> None:
    clock = SimClock()
    kv = MemoryKeyValue(clock, SeededRng())
    for n in range(1000):
        kv.set("same", str(n), 1)
        kv.set(f"k{n}", "x", 1)
    clock.advance(2)
    kv.get("x")
    assert not kv._data and not kv._until
    assert len(kv._heap) <= 64


ops = st.one_of(
    st.tuples(st.just("incr"), st.sampled_from("ab"), st.integers(0, 5)),
    st.tuples(st.just("decr"), st.sampled_from("ab"), st.integers(0, 5)),
)


@given(st.lists(ops, max_size=40))
def test_counters_never_go_below_the_floor(steps: list[tuple[str, str, int]]) -> None:
    kv = MemoryKeyValue(SimClock(), SeededRng())
    model = {"a": 0, "b": 0}
    for what, key, by in steps:
        model[key] = model[key] + by if what == "incr" else max(0, model[key] - by)
        got: list[int] = []
        getattr(kv, what)(key, by).addCallback(got.append)
        assert got == [model[key]]


# --------------------------------------------------------------------------------------------------------- outages of Redis
@pytest.fixture
def own_redis() -> Any:
    server = Redis()
    server.start()
    yield server
    server.close()


@pytest.mark.peer
@run
async def test_redis_outage(own_redis: Redis) -> None:
    kv = RedisKeyValue(reactor, RealTime(), SeededRng(), own_redis.url, timeout=1.0)
    heard: list[str] = []
    again: list[None] = []
    with captured() as lines:
        kv.subscribe("news", heard.append, lambda: again.append(None))
        await kv.set("a", "1")

        async def heard_again() -> None:
            before = len(heard)
            for _ in range(400):
                try:
                    await kv.publish("news", "x")
                except KeyValueUnavailable:
                    pass
                await turn(0.01)
                if len(heard) > before:
                    return
            raise AssertionError("subscription not re-established")

        await heard_again()
        assert not again
        for n in range(2):
            pending = kv.get("a")
            own_redis.stop()
            await until(lambda: not kv.available)
            await defer.gatherResults([pending.addErrback(lambda f: f.trap(KeyValueUnavailable))])
            for _ in range(3):
                with pytest.raises(KeyValueUnavailable):
                    await kv.get("a")
            own_redis.start()
            await until(lambda: kv.available)
            await heard_again()
            assert len(again) == n + 1
            assert await kv.get("a") is None
            await kv.set("a", "2")
        await kv.close()
    assert len(lines_with(lines, "warning", "key-value server away")) == 2
    assert len(lines_with(lines, "info", "reachable again")) == 2


@pytest.mark.peer
@run
async def test_redis_that_does_not_answer(own_redis: Redis) -> None:
    kv = RedisKeyValue(reactor, RealTime(), SeededRng(), own_redis.url, timeout=0.3)
    await kv.set("a", "1")
    own_redis.freeze()
    replies = [kv.get("a") for _ in range(5)]
    for reply in replies:
        with pytest.raises(KeyValueUnavailable):
            await reply
    own_redis.thaw()
    await until(lambda: kv.available)
    assert await kv.get("a") == "1"
    await kv.close()


@pytest.mark.peer
@run
async def test_redis_away_from_the_start(own_redis: Redis) -> None:
    own_redis.stop()
    with captured() as lines:
        kv = RedisKeyValue(reactor, RealTime(), SeededRng(), own_redis.url)
        with pytest.raises(KeyValueUnavailable):
            await kv.get("a")
        own_redis.start()
        await until(lambda: kv.available)
        assert await kv.get("a") is None
        await kv.close()
    assert len(lines_with(lines, "warning")) == 1


@pytest.mark.peer
@run
async def test_redis_password_and_database() -> None:
    server = Redis("--requirepass", "geheim-word")
    server.start()
    try:
        with captured() as lines:
            wrong = RedisKeyValue(reactor, RealTime(), SeededRng(), f"redis://:nope-word@127.0.0.1:{server.port}/3")
            with pytest.raises(KeyValueUnavailable):
                await wrong.get("a")
            await wrong.close()
            right = RedisKeyValue(reactor, RealTime(), SeededRng(), f"redis://:geheim-word@127.0.0.1:{server.port}/3")
            await right.set("a", "1")
            await right.close()
        assert not lines_with(lines, "nope-word") and not lines_with(lines, "geheim-word")
    finally:
        server.close()


@pytest.mark.parametrize("url", ["", "http://x", "redis://", "redis://h/abc", "127.0.0.1:6379"])
def test_redis_url(url: str) -> None:
    with pytest.raises(ValueError):
        RedisKeyValue(reactor, RealTime(), SeededRng(), url)


@pytest.mark.peer
@run
async def test_redis_gone_silent_is_noticed_by_a_subscriber(own_redis: Redis) -> None:
    clock = SimClock()
    kv = RedisKeyValue(reactor, clock, SeededRng(), own_redis.url, timeout=0.3)
    heard: list[str] = []
    kv.subscribe("news", heard.append)
    await until(lambda: kv._messages.protocol is not None)
    own_redis.freeze()
    clock.advance(10.0)
    await until(lambda: not kv.available)
    own_redis.thaw()
    await until(lambda: kv.available)
    await turn(0.05)
    await kv.publish("news", "after")
    await until(lambda: heard == ["after"])
    await kv.close()
    assert clock.pending() == 0

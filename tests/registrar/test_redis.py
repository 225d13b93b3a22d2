"""Two nodes on one real Redis: registrations cross over, and a node that starts later finds them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from ngcpd.registrar.location import Location
from ngcpd.registrar.sharing import Sharing
from ngcpd.runtime.fake import InlineExecutor, MemoryDisk, SeededRng
from ngcpd.runtime.real import ReactorClock, SystemRng
from ngcpd.store.bindings import Bindings, RedisBindingHome
from ngcpd.store.journal import Journal
from ngcpd.store.kv_redis import RedisKeyValue
from tests.registrar.test_location import binding
from tests.servers.redis import Redis

pytestmark = pytest.mark.peer


class Node:
    def __init__(self, name: str, url: str) -> None:
        clock = ReactorClock(reactor)
        self.clock = clock
        self.name = name
        self.kv = RedisKeyValue(reactor, clock, SystemRng(), url)
        self.journal = Journal(MemoryDisk(), clock, InlineExecutor(), "/journal", name)
        self.journal.open()
        self.bindings = Bindings(self.journal, RedisBindingHome(self.kv, clock, name), clock)
        self.location = Location(self.bindings, clock, SeededRng(3), name)
        self.sharing = Sharing(self.location, self.kv, self.bindings, "run")

    async def start(self) -> None:
        await self.location.load()
        self.bindings.start()
        self.sharing.start()

    def register(self, subscriber_id: int, **changes: object) -> None:
        made = binding(subscriber_id, node=self.name, ruid=f"{self.name}-{subscriber_id}", expires_at=self.clock.time() + 60, **changes)
        self.location.change(subscriber_id, [*(b for b in self.location.known(subscriber_id) if b.ruid != made.ruid), made])

    async def stop(self) -> None:
        self.sharing.stop()
        await self.bindings.stop()
        await self.journal.close()
        await self.kv.close()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("did not come about in 10 s")


@pytest_twisted.ensureDeferred
async def test_two_nodes(redis_server: Redis) -> None:
    a, b = Node("a", redis_server.url), Node("b", redis_server.url)
    try:
        await a.start()
        await b.start()
        for _ in range(500):  # a subscription is not there at once
            if a.location.bindings(1) and b.location.bindings(2):
                break
            a.register(2)
            b.register(1)
            await deferLater(reactor, 0.02)
        assert [x.node for x in a.location.bindings(1) + b.location.bindings(2)] == ["b", "a"]
        a.register(10, transport="tcp", flow_id=99)
        await until(lambda: bool(b.location.bindings(10)))
        assert [(x.node, x.flow_id) for x in b.location.bindings(10)] == [("a", 0)]
        b.location.remove(10)
        await until(lambda: not a.location.bindings(10))
        a.register(11)
        assert await a.bindings.drain(5.0) and await b.bindings.drain(5.0)
        late = Node("c", redis_server.url)
        await late.location.load()
        assert [x.ruid for x in late.location.bindings(11)] == ["a-11"] and late.location.bindings(10) == []
        await late.kv.close()
    finally:
        await a.stop()
        await b.stop()

"""The key-value door inside one process (a single node without Redis; tests). State ends with the process."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred, fail, succeed

from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Rng
from ngcpd.store.kv import KeyValueError, KeyValueUnavailable, Lock, Subscription

log = logger("store")
T = TypeVar("T")
Value = str | dict[str, str] | set[str]


class _Subscription:
    def __init__(self, owner: MemoryKeyValue, channel: str, fn: Callable[[str], None]) -> None:
        self._owner = owner
        self.channel = channel
        self.fn = fn
        self.open = True

    def close(self) -> None:
        if self.open:
            self.open = False
            self._owner._unsubscribe(self)


class _Lock:
    def __init__(self, owner: MemoryKeyValue, name: str, token: str) -> None:
        self._owner = owner
        self.name = name
        self.token = token

    def renew(self, ttl: float) -> Deferred[bool]:
        return self._owner._do(lambda: self._owner._holds(self.name, self.token) and self._owner._set_ttl("lock:" + self.name, ttl))

    def release(self) -> Deferred[bool]:
        return self._owner._do(lambda: self._owner._holds(self.name, self.token) and self._owner._drop("lock:" + self.name))


class MemoryKeyValue:
    """`available` can be set to False by tests: every command then errbacks `KeyValueUnavailable`."""

    def __init__(self, clock: Clock, rng: Rng) -> None:
        self._clock = clock
        self._rng = rng
        self._data: dict[str, Value] = {}
        self._until: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._channels: dict[str, list[_Subscription]] = {}
        self.available = True

    # ------------------------------------------------------------------------------------------------------------ helpers
    def _do(self, fn: Callable[[], T]) -> Deferred[T]:
        if not self.available:
            return fail(KeyValueUnavailable("in-process store closed"))
        self._purge()
        try:
            return succeed(fn())
        except KeyValueError as e:
            return fail(e)

    def _purge(self) -> None:
        """Forget what ran out; heap entries of keys whose expiry was changed are stale and skipped."""
        now = self._clock.monotonic()
        while self._heap and self._heap[0][0] <= now:
            when, key = heapq.heappop(self._heap)
            if self._until.get(key) == when:
                self._drop(key)
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._until):
            self._heap = [(when, key) for key, when in self._until.items()]
            heapq.heapify(self._heap)

    def _drop(self, key: str) -> bool:
        self._until.pop(key, None)
        return self._data.pop(key, None) is not None

    def _set_ttl(self, key: str, ttl: float | None) -> bool:
        if key not in self._data:
            return False
        if ttl is None:
            self._until.pop(key, None)
        elif ttl <= 0:
            self._drop(key)
        else:
            when = self._clock.monotonic() + ttl
            self._until[key] = when
            heapq.heappush(self._heap, (when, key))
        return True

    def _text(self, key: str) -> str | None:
        value = self._data.get(key)
        if value is not None and not isinstance(value, str):
            raise KeyValueError("wrong kind of value: " + key)
        return value

    def _counter(self, key: str) -> int:
        text = self._text(key)
        try:
            return int(text) if text is not None else 0
        except ValueError:
            raise KeyValueError("not a counter: " + key) from None

    def _hash(self, key: str) -> dict[str, str]:
        value = self._data.get(key, {})
        if not isinstance(value, dict):
            raise KeyValueError("wrong kind of value: " + key)
        return value

    def _members(self, key: str) -> set[str]:
        value = self._data.get(key, set())
        if not isinstance(value, set):
            raise KeyValueError("wrong kind of value: " + key)
        return value

    def _holds(self, name: str, token: str) -> bool:
        return self._data.get("lock:" + name) == token

    # ------------------------------------------------------------------------------------------------------------ commands
    def get(self, key: str) -> Deferred[str | None]:
        return self._do(lambda: self._text(key))

    def mget(self, keys: Sequence[str]) -> Deferred[list[str | None]]:
        def read() -> list[str | None]:
            found: list[str | None] = []
            for key in keys:
                value = self._data.get(key)
                found.append(value if isinstance(value, str) else None)
            return found

        return self._do(read)

    def set(self, key: str, value: str, ttl: float | None = None, absent: bool = False) -> Deferred[bool]:
        def store() -> bool:
            if absent and key in self._data:
                return False
            self._data[key] = value
            self._set_ttl(key, ttl)
            return True

        return self._do(store)

    def delete(self, *keys: str) -> Deferred[int]:
        return self._do(lambda: sum(self._drop(key) for key in keys))

    def incr(self, key: str, by: int = 1, ttl: float | None = None) -> Deferred[int]:
        def add() -> int:
            value = self._counter(key) + by
            self._data[key] = str(value)
            if ttl is not None:
                self._set_ttl(key, ttl)
            return value

        return self._do(add)

    def decr(self, key: str, by: int = 1, floor: int = 0) -> Deferred[int]:
        def take() -> int:
            value = max(floor, self._counter(key) - by)
            if value:
                self._data[key] = str(value)
            else:
                self._drop(key)
            return value

        return self._do(take)

    def expire(self, key: str, ttl: float | None) -> Deferred[bool]:
        return self._do(lambda: self._set_ttl(key, ttl))

    def hset(self, key: str, fields: Mapping[str, str]) -> Deferred[None]:
        def store() -> None:
            if fields:
                value = self._hash(key)
                value.update(fields)
                self._data[key] = value

        return self._do(store)

    def hget(self, key: str, field: str) -> Deferred[str | None]:
        return self._do(lambda: self._hash(key).get(field))

    def hgetall(self, key: str) -> Deferred[dict[str, str]]:
        return self._do(lambda: dict(self._hash(key)))

    def hdel(self, key: str, *fields: str) -> Deferred[int]:
        def remove() -> int:
            value = self._hash(key)
            n = sum(value.pop(field, None) is not None for field in fields)
            if not value:
                self._drop(key)
            return n

        return self._do(remove)

    def sadd(self, key: str, *members: str) -> Deferred[int]:
        def add() -> int:
            value = self._members(key)
            n = len(set(members) - value)
            if members:
                value.update(members)
                self._data[key] = value
            return n

        return self._do(add)

    def srem(self, key: str, *members: str) -> Deferred[int]:
        def remove() -> int:
            value = self._members(key)
            n = len(value & set(members))
            value.difference_update(members)
            if not value:
                self._drop(key)
            return n

        return self._do(remove)

    def smembers(self, key: str) -> Deferred[frozenset[str]]:
        return self._do(lambda: frozenset(self._members(key)))

    def scan(self, prefix: str) -> Deferred[list[str]]:
        return self._do(lambda: sorted(key for key in self._data if key.startswith(prefix)))

    def lock(self, name: str, ttl: float) -> Deferred[Lock | None]:
        def take() -> Lock | None:
            key = "lock:" + name
            if key in self._data:
                return None
            token = self._rng.token(16)
            self._data[key] = token
            self._set_ttl(key, ttl)
            return _Lock(self, name, token)

        return self._do(take)

    def publish(self, channel: str, message: str) -> Deferred[None]:
        def tell() -> None:
            for sub in self._channels.get(channel, ())[:]:
                # From a fresh turn, as from a server: a subscriber never runs inside the publisher.
                self._clock.call_later(0, self._deliver, sub, message)

        return self._do(tell)

    def _deliver(self, sub: _Subscription, message: str) -> None:
        if not sub.open:
            return
        try:
            sub.fn(message)
        except Exception as e:  # noqa: BLE001 - one subscriber's mistake must not stop the others
            log.error("subscriber failed", channel=sub.channel, error=repr(e))

    def subscribe(self, channel: str, fn: Callable[[str], None], again: Callable[[], None] | None = None) -> Subscription:
        sub = _Subscription(self, channel, fn)
        self._channels.setdefault(channel, []).append(sub)
        return sub

    def _unsubscribe(self, sub: _Subscription) -> None:
        subs = self._channels.get(sub.channel, [])
        if sub in subs:
            subs.remove(sub)
        if not subs:
            self._channels.pop(sub.channel, None)

    def close(self) -> Deferred[None]:
        self.available = False
        for subs in list(self._channels.values()):
            for sub in subs[:]:
                sub.close()
        return succeed(None)

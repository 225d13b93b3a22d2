"""Shared run-time state: the key-value door (features F2), used for counters, locks, bindings in a cluster and notices between processes.

Keys, fields and values are text; times to live are seconds (float, millisecond grain). Every command answers with a Deferred that errbacks
`KeyValueUnavailable` when the server is away; none blocks and none waits longer than the implementation's command time-out. In process:
`kv_memory.MemoryKeyValue`; on a Redis server: `kv_redis.RedisKeyValue`. Both pass the same tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

NONE: Mapping[str, str] = {}


class KeyValueUnavailable(Exception):
    """The key-value server cannot be reached, did not answer in time or refused the log-in. Callers decide (fail open, 503, retry)."""


class KeyValueError(Exception):
    """The server refused one command (for instance a counter command on a key that holds text). A mistake of the caller, not an outage."""


class Lock(Protocol):
    """A named lock held by this object until its time to live runs out, it is released, or the store loses it."""

    name: str
    token: str

    def renew(self, ttl: float) -> Deferred[bool]:
        """Hold it for `ttl` seconds from now. False: it was lost; stop what it protects."""

    def release(self) -> Deferred[bool]:
        """Give it up. False: it had been lost before. Never releases the lock of somebody else."""


class Subscription(Protocol):
    """A subscribed channel."""

    def close(self) -> None:
        """No more calls. Harmless when done twice."""


class KeyValue(Protocol):
    """See the module text."""

    def get(self, key: str) -> Deferred[str | None]: ...

    def mget(self, keys: Sequence[str]) -> Deferred[list[str | None]]: ...

    def set(self, key: str, value: str, ttl: float | None = None, absent: bool = False) -> Deferred[bool]:
        """Store; without `ttl` for ever. With `absent` only when the key does not exist: False when it does."""

    def delete(self, *keys: str) -> Deferred[int]:
        """Remove; the number of keys that existed."""

    def incr(self, key: str, by: int = 1, ttl: float | None = None) -> Deferred[int]:
        """Add to a counter (a missing one is 0) and answer the new value; `ttl` is set anew each time when given."""

    def decr(self, key: str, by: int = 1, floor: int = 0) -> Deferred[int]:
        """Take from a counter, never below `floor`; answers the new value. A counter at 0 is removed, so none is left behind by ended calls."""

    def expire(self, key: str, ttl: float | None) -> Deferred[bool]:
        """Set the time to live of a key, None = for ever. False when there is no such key."""

    def hset(self, key: str, fields: Mapping[str, str]) -> Deferred[None]: ...

    def hget(self, key: str, field: str) -> Deferred[str | None]: ...

    def hgetall(self, key: str) -> Deferred[dict[str, str]]:
        """All fields; empty when there is no such key."""

    def hdel(self, key: str, *fields: str) -> Deferred[int]: ...

    def sadd(self, key: str, *members: str) -> Deferred[int]: ...

    def srem(self, key: str, *members: str) -> Deferred[int]: ...

    def smembers(self, key: str) -> Deferred[frozenset[str]]: ...

    def scan(self, prefix: str) -> Deferred[list[str]]:
        """Keys that begin with `prefix`, sorted. Walks the store; for start-up and tools."""

    def lock(self, name: str, ttl: float) -> Deferred[Lock | None]:
        """Take the lock `name` for `ttl` seconds. None: somebody holds it."""

    def publish(self, channel: str, message: str) -> Deferred[None]:
        """Tell all subscribers of all processes. Not kept for those that are away."""

    def subscribe(self, channel: str, fn: Callable[[str], None], again: Callable[[], None] | None = None) -> Subscription:
        """Call `fn(message)` for each message from now on; after an outage again by itself. Messages of the outage are lost: `again()` is called
        when it is over and messages come once more."""

    def close(self) -> Deferred[None]:
        """Drop connections and subscriptions; later commands errback `KeyValueUnavailable`."""

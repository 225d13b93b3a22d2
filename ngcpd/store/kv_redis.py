"""The key-value door on a Redis server (>= 6), over txredisapi. The only module that imports it, and only when a store is made: txredisapi
touches the reactor at import.

Two connections: one for commands, answered in order, and one for subscriptions. Both are opened on first use and opened again when lost;
meanwhile commands fail at once. A server that stays silent for `timeout` seconds counts as lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.python.failure import Failure

from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Rng, Timer
from ngcpd.store.kv import KeyValueError, KeyValueUnavailable, Lock, Subscription

log = logger("store")
TIMEOUT = 2.0
PING = 10.0
_DECR = """
local v = (tonumber(redis.call('GET', KEYS[1]) or '0') or 0) - tonumber(ARGV[1])
local floor = tonumber(ARGV[2])
if v < floor then v = floor end
if v == 0 then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], string.format('%.0f', v), 'KEEPTTL') end
return v
"""
_INCR = "local v = redis.call('INCRBY', KEYS[1], ARGV[1]) redis.call('PEXPIRE', KEYS[1], ARGV[2]) return v"
_PERSIST = "redis.call('PERSIST', KEYS[1]) return redis.call('EXISTS', KEYS[1])"
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) else return 0 end"
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end"


def _ms(ttl: float) -> str:
    return str(max(1, round(ttl * 1000)))


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class _Subscription:
    def __init__(self, owner: RedisKeyValue, channel: str, fn: Callable[[str], None], again: Callable[[], None] | None) -> None:
        self._owner = owner
        self.channel = channel
        self.fn = fn
        self.again = again
        self.open = True
        self.heard = False  # messages have come, or could have

    def close(self) -> None:
        if self.open:
            self.open = False
            self._owner._unsubscribe(self)


class _Lock:
    def __init__(self, owner: RedisKeyValue, name: str, token: str) -> None:
        self._owner = owner
        self.name = name
        self.token = token

    def renew(self, ttl: float) -> Deferred[bool]:
        return self._owner._command("EVAL", _RENEW, 1, "lock:" + self.name, self.token, _ms(ttl)).addCallback(bool)

    def release(self) -> Deferred[bool]:
        return self._owner._command("EVAL", _RELEASE, 1, "lock:" + self.name, self.token).addCallback(bool)


class _Link:
    """One kept connection. `ready(protocol)` is called when it can be used; `lost()` when it ended."""

    def __init__(self, owner: RedisKeyValue, subscriber: bool, ready: Callable[[Any], None]) -> None:
        self._owner = owner
        self._ready = ready
        self.protocol: Any = None
        self.tried = False
        self._waiting: list[Deferred[Any]] = []
        self._factory: Any = None
        self._subscriber = subscriber

    def open(self) -> None:
        if self._factory is not None:
            return
        redis = self._owner._redis
        link = self

        class Factory(redis.RedisFactory):  # type: ignore[misc, name-defined]
            initialDelay = 0.2
            maxDelay = 2.0
            factor = 1.5

            def addConnection(self, conn: Any) -> None:
                super().addConnection(conn)
                if conn in self.pool:
                    link._connected(conn)

            def delConnection(self, conn: Any) -> None:
                super().delConnection(conn)
                link.lost(conn, "connection lost")

        if self._subscriber:
            owner = self._owner

            class Subscriber(redis.SubscriberProtocol):  # type: ignore[misc, name-defined]
                def messageReceived(self, pattern: object, channel: object, message: object) -> None:
                    owner._deliver(_text(channel), _text(message))

            Factory.protocol = Subscriber
        # Log-in and SELECT are done here, not by the factory: it would give up for good after a refused log-in.
        self._factory = Factory(None, None, 1, True, charset=None, replyTimeout=self._owner.timeout, convertNumbers=False)
        self._factory.deferred.addErrback(lambda _: None)
        self._factory.startConnecting(_Watched(self._owner._endpoint, self))

    def _connected(self, conn: Any) -> None:
        Deferred.fromCoroutine(self._prepare(conn)).addErrback(self._refused, conn)

    async def _prepare(self, conn: Any) -> None:
        owner = self._owner
        if owner._password:
            names = (owner._user,) if owner._user else ()
            await conn.execute_command("AUTH", *names, owner._password)
        if owner._db:
            await conn.execute_command("SELECT", owner._db)
        if not self._subscriber:
            await conn.execute_command("PING")  # a server that is still loading its data says so here
        self.protocol = conn
        self.tried = True
        self._owner._up(self)
        self._ready(conn)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(conn)

    def _refused(self, failure: Failure, conn: Any) -> None:
        self.failed(failure.getErrorMessage())
        if conn.transport is not None:
            conn.transport.loseConnection()

    def lost(self, conn: Any, why: str) -> None:
        """This connection is of no use any more, whether the transport knows it yet or not."""
        if self.protocol is conn:
            self.protocol = None
            self.failed(why)

    def failed(self, why: str) -> None:
        """An attempt failed or the connection ended: what waits for it fails now."""
        self.tried = True
        self._owner._down(why)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.errback(KeyValueUnavailable(why))

    def get(self) -> Deferred[Any]:
        """The protocol. Before the first attempt has ended this waits for it, after that it fails at once while there is no connection."""
        self.open()
        if self.protocol is not None:
            return succeed(self.protocol)
        if self.tried:
            return fail(KeyValueUnavailable("no connection to the key-value server"))
        waiter: Deferred[Any] = Deferred()
        self._waiting.append(waiter)
        return waiter

    def close(self) -> Deferred[None]:
        protocol, self.protocol = self.protocol, None
        factory, self._factory = self._factory, None
        self.failed("closed")
        if protocol is not None and protocol.transport is not None:
            protocol.transport.abortConnection()
        return factory.disconnect().addCallback(lambda _: None) if factory is not None else succeed(None)


class _Watched:
    """An endpoint that tells its link of failed attempts (the factory keeps them to itself)."""

    def __init__(self, endpoint: Any, link: _Link) -> None:
        self._endpoint = endpoint
        self._link = link

    def connect(self, factory: Any) -> Deferred[Any]:
        def failed(failure: Failure) -> Failure:
            self._link.failed(failure.getErrorMessage())
            return failure

        connected: Deferred[Any] = self._endpoint.connect(factory)
        return connected.addErrback(failed)


class RedisKeyValue:
    """`url`: `redis://[[user]:password@]host[:port][/db]` or `unix:///path[?db=n]`. `reactor` makes the connections."""

    def __init__(self, reactor: Any, clock: Clock, rng: Rng, url: str, *, timeout: float = TIMEOUT) -> None:
        import txredisapi

        self._redis = txredisapi
        self._clock = clock
        self._rng = rng
        self.timeout = timeout
        parts = urlsplit(url)
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        if parts.scheme == "unix":
            self.name = f"unix:{parts.path}"
            db = parts.query.removeprefix("db=")
            self._endpoint: Any = UNIXClientEndpoint(reactor, parts.path, timeout=timeout)  # type: ignore[no-untyped-call]
        elif parts.scheme == "redis" and parts.hostname:
            self.name = f"{parts.hostname}:{parts.port or 6379}"
            db = parts.path.strip("/")
            self._endpoint = HostnameEndpoint(reactor, parts.hostname, parts.port or 6379, timeout=timeout)
        else:
            raise ValueError("key-value server: redis://host:port/db or unix:///path expected")
        if db and not db.isdigit():
            raise ValueError("key-value server: the database has to be a number")
        self._db = int(db or 0)
        self._away = False
        self._closed = False
        self._channels: dict[str, list[_Subscription]] = {}
        self._missed: list[_Subscription] = []
        self._ping: Timer | None = None
        self._commands = _Link(self, False, lambda conn: None)
        self._messages = _Link(self, True, self._resubscribe)

    # -------------------------------------------------------------------------------------------------------------- state
    @property
    def available(self) -> bool:
        """False while the server is known to be away."""
        return not self._away and not self._closed

    def _down(self, why: str) -> None:
        if not self._away and not self._closed:
            self._away = True
            log.warning("key-value server away; what needs it goes on without, start it or repair the connection", server=self.name, error=why)

    def _up(self, link: _Link) -> None:
        """Back when every connection in use is."""
        if self._away and (self._commands.protocol or not self._commands.tried) and (self._messages.protocol or not self._channels):
            self._away = False
            log.info("key-value server reachable again", server=self.name)
            self._tell_missed()

    # ------------------------------------------------------------------------------------------------------------ commands
    def _command(self, *args: Any) -> Deferred[Any]:
        if self._closed:
            return fail(KeyValueUnavailable("closed"))
        if self._commands.protocol is not None:
            return self._send(self._commands.protocol, args)
        return self._commands.get().addCallback(self._send, args)

    def _send(self, protocol: Any, args: tuple[Any, ...]) -> Deferred[Any]:
        try:
            reply: Deferred[Any] = protocol.execute_command(*args)
        except self._redis.RedisError as e:
            return fail(KeyValueUnavailable(str(e)))
        return reply.addErrback(self._error, protocol)

    def _error(self, failure: Failure, protocol: Any) -> NoReturn:
        e = failure.value
        if isinstance(e, self._redis.ResponseError):
            words = str(e)
            # Answers about the state of the server, not about the command.
            if words.startswith(("LOADING", "NOAUTH", "MASTERDOWN", "READONLY", "MISCONF", "OOM", "CLUSTERDOWN", "BUSY")):
                raise KeyValueUnavailable(words)
            raise KeyValueError(words)
        self._commands.lost(protocol, str(e))
        raise KeyValueUnavailable(str(e) or type(e).__name__)

    def get(self, key: str) -> Deferred[str | None]:
        return self._command("GET", key).addCallback(lambda v: None if v is None else _text(v))

    def mget(self, keys: Sequence[str]) -> Deferred[list[str | None]]:
        if not keys:
            return succeed([])
        return self._command("MGET", *keys).addCallback(lambda vs: [None if v is None else _text(v) for v in vs])

    def set(self, key: str, value: str, ttl: float | None = None, absent: bool = False) -> Deferred[bool]:
        if ttl is not None and ttl <= 0:
            return self.delete(key).addCallback(lambda _: True)
        args = ["SET", key, value, *(() if ttl is None else ("PX", _ms(ttl))), *(("NX",) if absent else ())]
        return self._command(*args).addCallback(lambda v: v is not None)

    def delete(self, *keys: str) -> Deferred[int]:
        return self._command("DEL", *keys) if keys else succeed(0)

    def incr(self, key: str, by: int = 1, ttl: float | None = None) -> Deferred[int]:
        if ttl is None:
            return self._command("INCRBY", key, str(by))
        return self._command("EVAL", _INCR, 1, key, str(by), _ms(ttl))

    def decr(self, key: str, by: int = 1, floor: int = 0) -> Deferred[int]:
        return self._command("EVAL", _DECR, 1, key, str(by), str(floor)).addCallback(int)

    def expire(self, key: str, ttl: float | None) -> Deferred[bool]:
        if ttl is None:
            return self._command("EVAL", _PERSIST, 1, key).addCallback(bool)
        if ttl <= 0:
            return self.delete(key).addCallback(bool)
        return self._command("PEXPIRE", key, _ms(ttl)).addCallback(bool)

    def hset(self, key: str, fields: Mapping[str, str]) -> Deferred[None]:
        if not fields:
            return succeed(None)
        return self._command("HSET", key, *(x for item in fields.items() for x in item)).addCallback(lambda _: None)

    def hget(self, key: str, field: str) -> Deferred[str | None]:
        return self._command("HGET", key, field).addCallback(lambda v: None if v is None else _text(v))

    def hgetall(self, key: str) -> Deferred[dict[str, str]]:
        return self._command("HGETALL", key).addCallback(lambda vs: {_text(k): _text(v) for k, v in zip(vs[::2], vs[1::2], strict=True)})

    def hdel(self, key: str, *fields: str) -> Deferred[int]:
        return self._command("HDEL", key, *fields) if fields else succeed(0)

    def sadd(self, key: str, *members: str) -> Deferred[int]:
        return self._command("SADD", key, *members) if members else succeed(0)

    def srem(self, key: str, *members: str) -> Deferred[int]:
        return self._command("SREM", key, *members) if members else succeed(0)

    def smembers(self, key: str) -> Deferred[frozenset[str]]:
        return self._command("SMEMBERS", key).addCallback(lambda vs: frozenset(_text(v) for v in vs))

    def scan(self, prefix: str) -> Deferred[list[str]]:
        return Deferred.fromCoroutine(self._scan(prefix))

    async def _scan(self, prefix: str) -> list[str]:
        pattern = "".join("\\" + c if c in "*?[]\\^" else c for c in prefix) + "*"
        found: dict[str, None] = {}
        cursor = "0"
        while True:
            cursor_raw, keys = await self._command("SCAN", cursor, "MATCH", pattern, "COUNT", "500")
            found.update(dict.fromkeys(_text(k) for k in keys))
            cursor = _text(cursor_raw)
            if cursor == "0":
                return sorted(found)

    def lock(self, name: str, ttl: float) -> Deferred[Lock | None]:
        token = self._rng.token(16)
        taken = self.set("lock:" + name, token, ttl, absent=True)
        return taken.addCallback(lambda ok: _Lock(self, name, token) if ok else None)

    # ------------------------------------------------------------------------------------------------------------ messages
    def publish(self, channel: str, message: str) -> Deferred[None]:
        return self._command("PUBLISH", channel, message).addCallback(lambda _: None)

    def subscribe(self, channel: str, fn: Callable[[str], None], again: Callable[[], None] | None = None) -> Subscription:
        sub = _Subscription(self, channel, fn, again)
        if self._closed:
            sub.open = False
            return sub
        first = channel not in self._channels
        self._channels.setdefault(channel, []).append(sub)
        self._messages.open()
        if self._messages.protocol is not None:
            sub.heard = True
            if first:
                self._quiet(self._messages.protocol.subscribe(channel))
        return sub

    def _unsubscribe(self, sub: _Subscription) -> None:
        subs = self._channels.get(sub.channel, [])
        if sub in subs:
            subs.remove(sub)
        if not subs and self._channels.pop(sub.channel, None) is not None and self._messages.protocol is not None:
            self._quiet(self._messages.protocol.unsubscribe(sub.channel))

    def _resubscribe(self, protocol: Any) -> None:
        for channel in self._channels:
            self._quiet(protocol.subscribe(channel).addCallback(lambda _, name=channel: self._subscribed(name)))
        if self._ping is None:
            self._ping = self._clock.call_later(PING, self._pinged)

    def _subscribed(self, channel: str) -> None:
        """The server has taken the subscription."""
        for sub in self._channels.get(channel, ()):
            if sub.heard:
                self._missed.append(sub)
            sub.heard = True
        self._tell_missed()

    def _tell_missed(self) -> None:
        """After an outage, when commands work too: tell those who may have missed messages."""
        if self._away:
            return
        missed, self._missed = self._missed, []
        for sub in missed:
            if sub.again is None or not sub.open:
                continue
            try:
                sub.again()
            except Exception as e:  # noqa: BLE001 - as in _deliver
                log.error("subscriber failed", channel=sub.channel, error=repr(e))

    def _pinged(self) -> None:
        """A subscriber only listens: without this it would not learn that the server is gone without a word."""
        self._ping = self._clock.call_later(PING, self._pinged)
        protocol = self._messages.protocol
        if protocol is not None and self._channels:
            protocol.execute_command("PING").addErrback(lambda f: self._messages.lost(protocol, f.getErrorMessage()))

    @staticmethod
    def _quiet(reply: Deferred[Any]) -> None:
        """The loss of the connection is noticed and logged elsewhere."""
        reply.addErrback(lambda f: log.debug("subscription command failed", error=f.getErrorMessage()))

    def _deliver(self, channel: str, message: str) -> None:
        for sub in self._channels.get(channel, [])[:]:
            if not sub.open:
                continue
            try:
                sub.fn(message)
            except Exception as e:  # noqa: BLE001 - one subscriber's mistake must not stop the others
                log.error("subscriber failed", channel=channel, error=repr(e))

    def close(self) -> Deferred[None]:
        self._closed = True
        if self._ping is not None:
            self._ping.cancel()
            self._ping = None
        self._channels.clear()
        return gatherResults([self._commands.close(), self._messages.close()]).addCallback(lambda _: None)


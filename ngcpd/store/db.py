"""The database: units of work on pool threads, each in one transaction.

    subscriber_id = await database.run(create_subscriber, env, ...)

runs `create_subscriber(conn, env, ...)`. The function gets a connection inside a transaction, which is committed when it returns and rolled
back when it raises. Contract of such a function: no side effect but through `conn`, because it is run again when the transaction lost
against another one (deadlock, lock timeout).
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Executor
from ngcpd.store import migrations
from ngcpd.store.engine import Trouble, check_server, is_memory, make_engine, reason, trouble
from ngcpd.store.errors import StoreError, StoreLocked, StoreOutdated, StoreTooNew, StoreUnavailable, StoreUnsupported
from ngcpd.store.lock import StoreLock

__all__ = ["Database", "StoreError", "StoreLocked", "StoreOutdated", "StoreTooNew", "StoreUnavailable", "StoreUnsupported", "insert", "now", "utc"]

T = TypeVar("T")
P = ParamSpec("P")
ATTEMPTS = 4

log = logger("store")


def utc(seconds: float) -> datetime.datetime:
    """Seconds since the epoch as the tables keep a moment: naive UTC, whole seconds."""
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).replace(tzinfo=None)


def now(conn: sa.Connection) -> datetime.datetime:
    """The present moment by the clock of the connection's Database."""
    clock: Clock | None = conn.get_execution_options().get("clock")
    if clock is None:
        raise RuntimeError("this connection has no clock: its engine was not made by a Database")
    return utc(clock.time())


def insert(conn: sa.Connection, table: sa.Table, **values: object) -> int:
    """Insert one row and return its id."""
    key = conn.execute(sa.insert(table).values(**values)).inserted_primary_key
    if key is None:
        raise RuntimeError(f"table {table.name} has no key")
    return int(key[0])


class Database:
    """One database, its pool of connections, and whether it can be reached.

    `url`: SQLite or MariaDB. `pool_size`: as many as the executor has threads. Methods that end in `_here` block and run on the calling
    thread; they are for command line tools, for code that is already on a pool thread and for tests.
    """

    def __init__(self, url: str | sa.URL, executor: Executor, clock: Clock, pool_size: int = 8) -> None:
        self.engine = make_engine(url, clock, pool_size)
        self.clock = clock
        self.executor = executor
        self.changed: list[Callable[[], object]] = []
        """Called on the reactor after each commit of `run` that wrote a change notice."""
        self._away = False
        self._lock = StoreLock(self.engine.url.database or "") if self.is_sqlite and not self.is_memory else None

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @property
    def is_memory(self) -> bool:
        """A SQLite database that exists only in this process."""
        return is_memory(self.engine.url)

    @property
    def available(self) -> bool:
        """False between a failed unit of work and the next one that reaches the database."""
        return not self._away

    # ------------------------------------------------------------------------------------------------------------ asynchronous
    def run(self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """One unit of work that may write. Errback StoreUnavailable, or what `fn` raised."""
        return self._start(False, fn, args, kwargs)

    def read(self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """One unit of work that only reads; writing in it is an error."""
        return self._start(True, fn, args, kwargs)

    def check(self) -> Deferred[None]:
        """Is the database reachable, of a known kind and version, and at the newest migration? Errback StoreUnavailable, StoreUnsupported,
        StoreOutdated or StoreTooNew."""
        return self.executor.run(self.check_here)

    # ---------------------------------------------------------------------------------------------------------------- blocking
    def run_here(self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`run`, on this thread."""
        return self._work(False, fn, args, kwargs)[0]

    def read_here(self, fn: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`read`, on this thread."""
        return self._work(True, fn, args, kwargs)[0]

    def check_here(self) -> None:
        """`check`, on this thread."""
        self.read_here(_check)

    # ---------------------------------------------------------------------------------------------------------------- lifetime
    def lock(self) -> None:
        """Claim a SQLite store for this daemon until `close`. StoreLocked when another daemon has it. Nothing to do on MariaDB."""
        if self._lock is not None:
            self._lock.acquire()

    @property
    def in_use(self) -> bool:
        """True unless it is a SQLite store that no daemon works on at the moment."""
        return self._lock is None or self._lock.holder() is not None

    def close(self) -> None:
        """Close the connections that are idle and give up the lock. Call it when no unit of work is running."""
        self.engine.dispose()
        if self._lock is not None:
            self._lock.release()

    # ---------------------------------------------------------------------------------------------------------------- inside
    def _start(self, readonly: bool, fn: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object]) -> Deferred[T]:
        done: Deferred[T] = Deferred()
        work = self.executor.run(self._caught, readonly, fn, args, kwargs)
        work.addErrback(_not_run)
        work.addCallback(self._finished, done)
        work.addErrback(_hook_failed)
        return done

    def _caught(self, readonly: bool, fn: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[T, bool] | Exception:
        try:
            return self._work(readonly, fn, args, kwargs)
        except Exception as error:  # noqa: BLE001 - whatever the unit of work raised is handed to whoever waits for it
            return error

    def _work(self, readonly: bool, fn: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[T, bool]:
        """Runs on a pool thread: the result of `fn`, and whether it wrote change notices."""
        attempt = 1
        while True:
            try:
                with self.engine.connect() as conn:
                    conn.execution_options(readonly=readonly)
                    conn.info.pop("noted", None)
                    with conn.begin():
                        result = fn(conn, *args, **kwargs)
                    return result, bool(conn.info.pop("noted", False))
            except sa.exc.TimeoutError:
                raise StoreUnavailable("all database connections are busy") from None
            except sa.exc.DBAPIError as error:
                kind = trouble(error)
                if kind is Trouble.AGAIN and attempt < ATTEMPTS:
                    attempt += 1
                    continue
                if kind is Trouble.FAULT:
                    raise
                raise StoreUnavailable(reason(error)) from None

    def _finished(self, outcome: tuple[T, bool] | Exception, done: Deferred[T]) -> None:
        """On the reactor: note whether the database is there, answer, then tell that there are notices."""
        if isinstance(outcome, _NotRun):
            done.errback(StoreUnavailable(str(outcome)))
            return
        if isinstance(outcome, Exception):
            if isinstance(outcome, StoreUnavailable) and not self._away:
                self._away = True
                log.warning("store is not available; work that needs it fails until it is back", url=self._name(), reason=str(outcome))
            done.errback(outcome)
            return
        if self._away:
            self._away = False
            log.info("store is back", url=self._name())
        result, noted = outcome
        done.callback(result)
        if noted:
            for hook in list(self.changed):
                hook()

    def _name(self) -> str:
        return self.engine.url.render_as_string(hide_password=True)


class _NotRun(Exception):
    """The executor refused the work (full, stopped)."""


def _not_run(failure: Failure) -> _NotRun:
    return _NotRun(f"no thread for database work: {failure.getErrorMessage()}")


def _hook_failed(failure: Failure) -> None:
    """One of `changed` raised; the unit of work itself is done and answered."""
    log.error("fault after a unit of work", reason=failure.getErrorMessage())


def _check(conn: sa.Connection) -> None:
    check_server(conn)
    migrations.check(conn)

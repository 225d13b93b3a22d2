"""Engines: how connections to SQLite and MariaDB are opened and set up, and what their errors mean.

SQLite runs in WAL mode with synchronous=FULL: each commit is on disk when it returns. NORMAL would be faster by single commits, but could
lose the last commits at a power cut after the journal behind them was already cut; writers commit in batches, so FULL costs little.
MariaDB sessions use READ COMMITTED, a strict sql_mode and UTC.
"""

from __future__ import annotations

import enum
import logging
import sqlite3
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ngcpd.runtime.ports import Clock
from ngcpd.store.errors import StoreUnsupported

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30
LOCK_WAIT_SECONDS = 5
POOL_WAIT_SECONDS = 10.0
SQL_MODE = "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_ENGINE_SUBSTITUTION,ONLY_FULL_GROUP_BY"
OLDEST_MARIADB = (10, 5)
OLDEST_SQLITE = (3, 35)


# A connection that broke is logged by whoever worked on it; the pool would add a traceback on stderr when it throws it away.
logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)


class Trouble(enum.Enum):
    """What to do about a database error."""

    AGAIN = "again"  # the transaction lost against another one; the same work may succeed now
    AWAY = "away"  # the database cannot be used at the moment
    FAULT = "fault"  # the statement itself is wrong or refused


# MariaDB error numbers: lock wait timeout, deadlock, record has changed since last read.
_AGAIN = frozenset((1205, 1213, 1020))
# Too many connections, access denied (3), no such database, shutting down (5), network (5), limits of the user (2), killed (3), read-only,
# full (2), statement timeout, cluster node not ready. 2xxx come from the client side.
_AWAY = frozenset(
    (1040, 1044, 1045, 1698, 1049, 1053, 1077, 1078, 1079, 1080, 1081, 1158, 1159, 1160, 1161, 1203, 1226, 1184, 1927, 1928, 1290)
    + (1021, 1114, 1969, 1047)
)
_SQLITE_AGAIN = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED))
_SQLITE_AWAY = frozenset(
    (
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_PROTOCOL,
    )
)


def trouble(error: DBAPIError) -> Trouble:
    """Sort a database error."""
    orig = error.orig
    if isinstance(orig, sqlite3.Error):
        # pysqlite gives the extended code; the low byte is the primary one. A write in a read-only unit is a fault of the caller.
        extended = getattr(orig, "sqlite_errorcode", 0)
        code = extended & 0xFF
        if code == sqlite3.SQLITE_READONLY and "attempt to write a readonly database" in str(orig) and extended == code:
            return Trouble.FAULT
        return Trouble.AGAIN if code in _SQLITE_AGAIN else Trouble.AWAY if code in _SQLITE_AWAY else Trouble.FAULT
    number = orig.args[0] if orig is not None and orig.args and isinstance(orig.args[0], int) else 0
    if number in _AGAIN:
        return Trouble.AGAIN
    if error.connection_invalidated or number in _AWAY or 2000 <= number < 3000 or (number == 0 and type(orig).__name__ == "InterfaceError"):
        return Trouble.AWAY
    return Trouble.FAULT


def reason(error: DBAPIError) -> str:
    """The server's own words, on one line, without statement and parameters."""
    orig = error.orig
    words = str(orig.args[1]) if orig is not None and len(orig.args) > 1 else str(orig)
    return " ".join(words.split())[:300]


def make_engine(url: str | sa.URL, clock: Clock | None = None, pool_size: int = 8, *, long_statements: bool = False) -> sa.Engine:
    """An engine for a SQLite or MariaDB URL (`sqlite:////path`, `mysql+pymysql://user:password@host/name`).

    `clock` is what the units of work stamp their rows with. `long_statements` drops the limit on a statement's run time (migrations).
    StoreUnsupported for any other URL.
    """
    try:
        target = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise StoreUnsupported("bad database URL; write sqlite:////path/file or mysql+pymysql://user:password@host/name") from None
    options: dict[str, Any] = {"hide_parameters": True, "execution_options": {"clock": clock}}
    if target.drivername in ("sqlite", "sqlite+pysqlite"):
        return _sqlite(target, pool_size, options)
    if target.drivername in ("mysql+pymysql", "mariadb+pymysql", "mysql", "mariadb"):
        return _mariadb(target.set(drivername="mysql+pymysql"), pool_size, options, long_statements)
    raise StoreUnsupported(f"unknown kind of database {target.drivername}; use sqlite or mysql+pymysql")


def is_memory(url: sa.URL) -> bool:
    """True for a SQLite database that lives in memory, in its one connection."""
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def _sqlite(url: sa.URL, pool_size: int, options: dict[str, Any]) -> sa.Engine:
    size = 1 if is_memory(url) else pool_size
    engine = sa.create_engine(
        url,
        poolclass=sa.QueuePool,
        pool_size=size,
        max_overflow=0 if is_memory(url) else 2,
        pool_timeout=POOL_WAIT_SECONDS,
        connect_args={"timeout": LOCK_WAIT_SECONDS, "check_same_thread": False},
        **options,
    )

    @sa.event.listens_for(engine, "connect")
    def connected(dbapi: sqlite3.Connection, record: object) -> None:
        dbapi.isolation_level = None  # pysqlite must not begin transactions by itself
        for pragma in (f"busy_timeout={LOCK_WAIT_SECONDS * 1000}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            dbapi.execute(f"PRAGMA {pragma}").close()

    @sa.event.listens_for(engine, "begin")
    def begin(conn: sa.Connection) -> None:
        # A writer takes the lock at once: a later upgrade from reader to writer could not wait and would fail.
        readonly = bool(conn.get_execution_options().get("readonly"))
        conn.exec_driver_sql(f"PRAGMA query_only={int(readonly)}").close()
        conn.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE").close()

    return engine


def _mariadb(url: sa.URL, pool_size: int, options: dict[str, Any], long_statements: bool) -> sa.Engine:
    limits: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS}
    if not long_statements:
        limits |= {"read_timeout": STATEMENT_SECONDS, "write_timeout": STATEMENT_SECONDS}
    engine = sa.create_engine(
        url.update_query_dict({"charset": "utf8mb4"}),
        isolation_level="READ COMMITTED",
        pool_size=pool_size,
        max_overflow=2,
        pool_timeout=POOL_WAIT_SECONDS,
        pool_pre_ping=True,
        pool_recycle=3600,
        connect_args={
            **limits,
            "init_command": f"SET SESSION sql_mode='{SQL_MODE}', time_zone='+00:00', innodb_lock_wait_timeout={LOCK_WAIT_SECONDS}, "
            "collation_connection=utf8mb4_nopad_bin",
        },
        **options,
    )

    @sa.event.listens_for(engine, "begin")
    def begin(conn: sa.Connection) -> None:
        if conn.get_execution_options().get("readonly"):
            conn.exec_driver_sql("START TRANSACTION READ ONLY").close()

    return engine


def check_server(conn: sa.Connection) -> None:
    """StoreUnsupported unless the server is MariaDB >= 10.5 or SQLite >= 3.35."""
    version = tuple(conn.dialect.server_version_info or ())
    shown = ".".join(str(part) for part in version)
    if conn.dialect.name == "sqlite":
        if version < OLDEST_SQLITE:
            raise StoreUnsupported(f"SQLite 3.35 or newer is needed, this is {shown}")
    elif not getattr(conn.dialect, "is_mariadb", False):
        raise StoreUnsupported(f"MariaDB 10.5 or newer is needed, the server is another one (version {shown})")
    elif version < OLDEST_MARIADB:
        raise StoreUnsupported(f"MariaDB 10.5 or newer is needed, this is {shown}")

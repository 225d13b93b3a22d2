"""Units of work: transactions, retries, errors, the server going and coming back; set-up of connections; the lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from decimal import Decimal

import pytest
import pytest_twisted
import sqlalchemy as sa
from twisted.internet import reactor
from twisted.internet.defer import DeferredList

from ngcpd.runtime.fake import InlineExecutor, SimClock
from ngcpd.runtime.real import ThreadExecutor
from ngcpd.store import changes, engine, migrations
from ngcpd.store.db import Database, StoreLocked, StoreOutdated, StoreTooNew, StoreUnavailable, StoreUnsupported, insert, now
from ngcpd.store.tables.accounting import mark
from tests.servers.mariadb import MariaDb
from tests.store.helpers import captured, lines_with


@pytest.fixture
def database(store_url):
    database = Database(store_url, InlineExecutor(), SimClock())
    yield database
    database.close()


@pytest.fixture
def threaded(store_url):
    executor = ThreadExecutor(reactor, threads=4)
    database = Database(store_url, executor, SimClock(), pool_size=4)
    yield database
    database.close()
    pytest_twisted.blockon(executor.stop())


def add(conn, name, value=0):
    return insert(conn, mark, collector=name, acc_id=value)


def names(conn):
    return conn.scalars(sa.select(mark.c.collector).order_by(mark.c.id)).all()


def test_commit_and_rollback(database):
    database.run_here(add, "kept")

    def fails(conn):
        add(conn, "lost")
        raise KeyError("x")

    with pytest.raises(KeyError):
        database.run_here(fails)
    assert database.read_here(names) == ["kept"]


def test_read_cannot_write(database):
    with pytest.raises(sa.exc.DBAPIError):
        database.read_here(add, "x")
    assert database.read_here(names) == []
    database.run_here(add, "x")  # the same connection can write again
    assert database.available


@pytest_twisted.ensureDeferred
async def test_run_on_threads(threaded):
    here = threading.get_ident()

    def where(conn):
        return threading.get_ident()

    assert await threaded.run(where) != here
    assert await threaded.read(where) != here
    ids = await DeferredList([threaded.run(add, f"n{n}") for n in range(30)])
    assert all(ok for ok, _ in ids) and len({key for _, key in ids}) == 30
    with pytest.raises(sa.exc.IntegrityError):
        await threaded.run(add, "n3")
    assert len(await threaded.read(names)) == 30


@pytest_twisted.ensureDeferred
async def test_lost_updates_do_not_happen(threaded):
    """Read, then write: by SQLite's write lock or by a locking read."""
    await threaded.run(add, "counter")

    def count(conn):
        value = conn.scalar(sa.select(mark.c.acc_id).where(mark.c.collector == "counter").with_for_update())
        conn.execute(sa.update(mark).where(mark.c.collector == "counter").values(acc_id=value + 1))

    await DeferredList([threaded.run(count) for _ in range(40)], fireOnOneErrback=True)
    assert await threaded.read(lambda conn: conn.scalar(sa.select(mark.c.acc_id))) == 40


@pytest.mark.peer
@pytest_twisted.ensureDeferred
async def test_deadlock_is_tried_again(mariadb_store):
    from tests.servers.stores import empty

    empty(mariadb_store)
    executor = ThreadExecutor(reactor, threads=2)
    database = Database(mariadb_store, executor, SimClock(), pool_size=2)
    await database.run(add, "a")
    await database.run(add, "b")
    meeting = threading.Barrier(2)
    tries = []

    def cross(conn, first, second):
        tries.append(first)
        conn.execute(sa.update(mark).where(mark.c.collector == first).values(acc_id=mark.c.acc_id + 1))
        if len(tries) <= 2:
            meeting.wait(10)  # both hold one row and now want the other's
        conn.execute(sa.update(mark).where(mark.c.collector == second).values(acc_id=mark.c.acc_id + 1))

    await DeferredList([database.run(cross, "a", "b"), database.run(cross, "b", "a")], fireOnOneErrback=True)
    assert len(tries) == 3
    assert await database.read(lambda conn: conn.scalars(sa.select(mark.c.acc_id)).all()) == [2, 2]
    await executor.stop()
    database.close()


def test_lock_that_does_not_open(store_url, monkeypatch):
    monkeypatch.setattr(engine, "LOCK_WAIT_SECONDS", 1 if store_url.startswith("mysql") else 0)
    monkeypatch.setattr("ngcpd.store.db.ATTEMPTS", 2)
    one, two = (Database(store_url, InlineExecutor(), SimClock()) for _ in range(2))
    one.run_here(add, "x")
    tries = []

    def change(conn):
        tries.append(1)
        conn.execute(sa.update(mark).values(acc_id=1))

    def hold(conn):
        change(conn)
        with pytest.raises(StoreUnavailable):
            two.run_here(change)

    one.run_here(hold)
    assert len(tries) == (1 if one.is_sqlite else 3)  # SQLite does not even begin, MariaDB waits at the statement
    two.run_here(change)
    one.close()
    two.close()


def test_clock_of_the_connection(database):
    assert database.run_here(now).isoformat() == "2023-11-14T22:13:20"
    with sa.create_engine("sqlite://").connect() as conn, pytest.raises(RuntimeError):
        now(conn)


def test_session_settings(database):
    def ask(conn, *statements):
        return [conn.exec_driver_sql(s).scalar() for s in statements]

    if database.is_sqlite:
        found = database.run_here(ask, "PRAGMA journal_mode", "PRAGMA synchronous", "PRAGMA foreign_keys", "PRAGMA busy_timeout")
        assert found == ["wal", 2, 1, 5000]
    else:
        found = database.run_here(
            ask, "SELECT @@tx_isolation", "SELECT @@time_zone", "SELECT @@character_set_client", "SELECT @@innodb_lock_wait_timeout"
        )
        assert found == ["READ-COMMITTED", "+00:00", "utf8mb4", 5]
        assert "STRICT_TRANS_TABLES" in database.run_here(ask, "SELECT @@sql_mode")[0]


def test_too_long_text_is_refused_by_mariadb_and_checks_by_both(database):
    from ngcpd.store.tables.accounting import events

    row = {"type": "x", "subscriber_id": 1, "new_status": "", "timestamp": Decimal("1.5")}
    database.run_here(lambda conn: insert(conn, events, **row))
    with pytest.raises(sa.exc.DBAPIError):
        database.run_here(lambda conn: insert(conn, events, **row, export_status="later"))
    if not database.is_sqlite:
        with pytest.raises(sa.exc.DBAPIError):
            database.run_here(lambda conn: insert(conn, events, **{**row, "type": "x" * 256}))


def test_text_is_compared_byte_by_byte(database):
    for name in ("a", "A", "a ", "ä", "a\u0308", "😀"):
        database.run_here(add, name)
    assert database.read_here(names) == ["a", "A", "a ", "ä", "a\u0308", "😀"]
    assert database.read_here(lambda conn: conn.scalar(sa.select(sa.func.count()).where(mark.c.collector == "a"))) == 1


def test_ids_are_never_used_again(database):
    last = database.run_here(add, "x")
    database.run_here(lambda conn: conn.execute(sa.delete(mark)))
    assert database.run_here(add, "y") > last


def test_errors_hold_no_data(database):
    database.run_here(add, "top-secret")
    with pytest.raises(sa.exc.IntegrityError) as caught:
        database.run_here(lambda conn: conn.execute(sa.insert(mark), {"collector": "top-secret", "acc_id": 4711}))
    assert "4711" not in str(caught.value)


@pytest_twisted.ensureDeferred
async def test_hook_after_notices_only(database):
    calls = []
    database.changed.append(lambda: calls.append(1))
    await database.run(add, "x")
    assert calls == []
    assert await database.run(lambda conn: changes.note(conn, "domain", 5)) is None
    assert calls == [1]

    def fails(conn):
        changes.note(conn, "domain", 6)
        raise KeyError

    with pytest.raises(KeyError):
        await database.run(fails)
    await database.run(add, "y")
    assert calls == [1]

    def broken():
        raise ZeroDivisionError("in a hook")

    database.changed.append(broken)
    with captured() as lines:
        await database.run(lambda conn: changes.note(conn, "domain", 5))
    assert lines_with(lines, "error store", "in a hook")


@pytest_twisted.ensureDeferred
async def test_executor_that_takes_no_work(threaded):
    await threaded.executor.stop()
    with pytest.raises(StoreUnavailable, match="no thread"):
        await threaded.run(add, "x")


@pytest.mark.peer
@pytest_twisted.ensureDeferred
async def test_server_goes_and_comes_back():
    server = MariaDb()
    try:
        server.start()
        url = server.create().replace("root@", "root:pass-word@")
        server.execute("SET PASSWORD FOR root@localhost = PASSWORD('pass-word')")
        migrations.upgrade(url)
        database = Database(url, InlineExecutor(), SimClock())
        await database.run(add, "before")
        with captured() as lines:
            server.kill()
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    await database.run(add, "while")
            assert not database.available
            with pytest.raises(StoreUnavailable):
                database.check_here()
        assert len(lines) == 1 and lines_with(lines, "warning store", "not available")
        assert "pass-word" not in "".join(lines)
        _start_with_password(server)
        with captured() as lines:
            await database.run(add, "after")
            await database.run(add, "later")
        assert len(lines) == 1 and lines_with(lines, "info store", "store is back")
        assert await database.read(names) == ["before", "after", "later"]

        def cut(conn):
            add(conn, "cut")
            server.kill()
            add(conn, "cut 2")

        with pytest.raises(StoreUnavailable):
            await database.run(cut)
        _start_with_password(server)
        assert await database.read(names) == ["before", "after", "later"]
        database.close()
    finally:
        server.close()


def _start_with_password(server):
    """`start` waits with an empty password; being refused means that the server answers."""
    import pymysql

    plain = server.connect
    server.connect = lambda database=None: pymysql.connect(unix_socket=str(server.socket), user="root", password="pass-word", database=database)
    try:
        server.start()
    finally:
        server.connect = plain


@pytest_twisted.ensureDeferred
async def test_wrong_password_is_unavailable(mariadb):
    database = Database(mariadb.url("mysql").replace("root@", "nobody:wrong@"), InlineExecutor(), SimClock())
    with captured() as lines, pytest.raises(StoreUnavailable, match="Access denied"):
        await database.check()
    with captured() as lines, pytest.raises(StoreUnavailable):
        await database.read(names)
    assert "wrong" not in "".join(lines)
    database.close()


@pytest_twisted.ensureDeferred
async def test_sqlite_without_directory(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/none/x.db", InlineExecutor(), SimClock())
    with pytest.raises(StoreUnavailable):
        await database.run(add, "x")
    with pytest.raises(StoreUnavailable):
        database.lock()


def test_sqlite_file_that_is_none(tmp_path):
    (tmp_path / "x.db").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StoreUnavailable):
        Database(f"sqlite:///{tmp_path}/x.db", InlineExecutor(), SimClock()).check_here()


# ------------------------------------------------------------------------------------------------------------------------ check
def test_check(database):
    database.check_here()
    database.run_here(lambda conn: conn.exec_driver_sql("UPDATE alembic_version SET version_num='9999'"))
    try:
        with pytest.raises(StoreTooNew):
            database.check_here()
    finally:
        database.run_here(lambda conn: conn.exec_driver_sql(f"UPDATE alembic_version SET version_num='{migrations.head()}'"))


def test_check_without_tables(empty_url):
    database = Database(empty_url, InlineExecutor(), SimClock())
    with pytest.raises(StoreOutdated, match="no tables yet"):
        database.check_here()
    database.close()


def test_check_of_the_version(database, monkeypatch):
    monkeypatch.setattr(engine, "OLDEST_MARIADB", (99, 1))
    monkeypatch.setattr(engine, "OLDEST_SQLITE", (99, 1))
    with pytest.raises(StoreUnsupported, match="or newer is needed"):
        database.check_here()


# ------------------------------------------------------------------------------------------------------------------------- lock
HOLDER = """
import sys
from ngcpd.store.lock import StoreLock
lock = StoreLock(sys.argv[1])
lock.acquire()
print("locked", flush=True)
sys.stdin.read()
"""


def test_one_daemon_per_store(sqlite_url):
    path = sqlite_url.removeprefix("sqlite:///")
    other = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"locked\n"
        database = Database(sqlite_url, InlineExecutor(), SimClock())
        with pytest.raises(StoreLocked, match=f"pid {other.pid}") as caught:
            database.lock()
        assert caught.value.pid == other.pid
        database.check_here()  # others may still read and write
        other.send_signal(signal.SIGKILL)
        other.wait(10)
        database.lock()
        database.lock()
        assert os.stat(path + ".lock").st_mode & 0o777 == 0o600
        second = Database(sqlite_url, InlineExecutor(), SimClock())
        with pytest.raises(StoreLocked, match=f"pid {os.getpid()}"):
            second.lock()
        database.close()
        second.lock()
        second.close()
    finally:
        other.kill()
        other.wait(10)
        other.stdin.close()
        other.stdout.close()


def test_no_lock_on_mariadb_and_memory(mariadb_store):
    for url in (mariadb_store, "sqlite://"):
        one, two = (Database(url, InlineExecutor(), SimClock()) for _ in range(2))
        one.lock()
        two.lock()
        one.close()
        two.close()


def test_memory_store():
    database = Database("sqlite://", InlineExecutor(), SimClock())
    database.run_here(migrations.upgrade)
    database.check_here()
    database.run_here(add, "x")
    assert database.read_here(names) == ["x"]
    database.close()

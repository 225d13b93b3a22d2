"""Migrations (Alembic) of the tables.

`upgrade` brings a database, also an empty one, to `head()`. Revisions are numbered files in `versions`; each is self-contained and never
changed once released. On MariaDB a named lock keeps two programs from migrating at once, on SQLite the write lock does, and a copy of the
file is kept beside it (`<file>.before-<revision>`) when there was something in it.
"""

from __future__ import annotations

import functools
import os
import sqlite3

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from ngcpd.store.engine import Trouble, check_server, is_memory, make_engine, reason, trouble
from ngcpd.store.errors import StoreOutdated, StoreTooNew, StoreUnavailable

LOCK_NAME = "ngcpd.migrate"
LOCK_SECONDS = 60


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "ngcpd.store:migrations")
    config.set_main_option("path_separator", "os")
    return config


@functools.cache
def _known() -> tuple[str, frozenset[str]]:
    scripts = ScriptDirectory.from_config(_config())
    head = scripts.get_current_head()
    if head is None:
        raise RuntimeError("the package holds no migrations")
    return head, frozenset(script.revision for script in scripts.walk_revisions())


def head() -> str:
    """The newest revision that this program knows."""
    return _known()[0]


def current(target: str | sa.URL | sa.Connection) -> str | None:
    """The revision of a database; None when it has none yet. StoreUnavailable when it cannot be reached."""
    if isinstance(target, sa.Connection):
        return MigrationContext.configure(target).get_current_revision()
    engine = make_engine(target)
    try:
        with engine.connect() as conn:
            return current(conn)
    except sa.exc.DBAPIError as error:
        raise StoreUnavailable(reason(error)) from None
    finally:
        engine.dispose()


def check(conn: sa.Connection) -> None:
    """StoreOutdated when migrations are missing, StoreTooNew when the database is ahead of this program."""
    newest, revisions = _known()
    at = current(conn)
    if at is not None and at not in revisions:
        raise StoreTooNew(at, newest)
    if at != newest:
        raise StoreOutdated(at, newest)


def upgrade(target: str | sa.URL | sa.Connection) -> str | None:
    """Apply what is missing and return the revision found before. StoreTooNew when the database is ahead of this program, StoreUnsupported when
    the server is too old, StoreUnavailable when it cannot be reached. A given connection must be inside a transaction of the caller."""
    if isinstance(target, sa.Connection):
        return _upgrade(target)
    engine = make_engine(target, long_statements=True)
    try:
        _keep_copy(engine)
        with engine.begin() as conn:
            return _upgrade(conn)
    except sa.exc.DBAPIError as error:
        if trouble(error) is Trouble.FAULT:
            raise
        raise StoreUnavailable(reason(error)) from None
    finally:
        engine.dispose()


def _upgrade(conn: sa.Connection) -> str | None:
    check_server(conn)
    newest, revisions = _known()
    locked = conn.dialect.name != "sqlite"
    if locked and conn.scalar(sa.text("SELECT GET_LOCK(:name, :seconds)"), {"name": LOCK_NAME, "seconds": LOCK_SECONDS}) != 1:
        raise StoreUnavailable("another program is applying migrations to this database")
    try:
        found = current(conn)
        if found is not None and found not in revisions:
            raise StoreTooNew(found, newest)
        if found != newest:
            config = _config()
            config.attributes["connection"] = conn
            command.upgrade(config, "head")
        return found
    finally:
        if locked and not conn.invalidated:
            conn.scalar(sa.text("SELECT RELEASE_LOCK(:name)"), {"name": LOCK_NAME})


def _keep_copy(engine: sa.Engine) -> None:
    """Before a SQLite file with something in it is changed, copy it."""
    path = engine.url.database or ""
    if engine.dialect.name != "sqlite" or is_memory(engine.url) or not os.path.exists(path):
        return
    with engine.connect() as conn:
        found = current(conn)
    if found is None or found == head() or found not in _known()[1]:
        return
    copy = f"{path}.before-{head()}"
    descriptor = os.open(copy, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    os.close(descriptor)
    source, target = sqlite3.connect(path), sqlite3.connect(copy)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()

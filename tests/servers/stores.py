"""Stores with all tables, the same test on both engines.

    def test_x(store_url): ...        # tables, no rows; once on SQLite, once on MariaDB

The SQLite file is a copy of a template; on MariaDB one database is made for the whole run and emptied before each test.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from ngcpd.store import migrations
from ngcpd.store.engine import make_engine
from ngcpd.store.tables import metadata
from tests.servers.mariadb import MariaDb

ENGINES = [pytest.param("sqlite"), pytest.param("mariadb", marks=pytest.mark.peer)]


def empty(url: str) -> None:
    """Delete all rows of all tables."""
    engine = make_engine(url)
    with engine.begin() as conn:
        conn.exec_driver_sql("SET FOREIGN_KEY_CHECKS=0")
        for name in metadata.tables:
            conn.execute(sa.text(f"DELETE FROM `{name}`"))
        conn.exec_driver_sql("SET FOREIGN_KEY_CHECKS=1")
    engine.dispose()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "template.db"
    migrations.upgrade(f"sqlite:///{path}")
    assert [p.name for p in path.parent.iterdir()] == ["template.db"]  # nothing is left in a write-ahead log
    return path


@pytest.fixture(scope="session")
def mariadb_store(mariadb: MariaDb) -> str:
    url = mariadb.create()
    migrations.upgrade(url)
    return url


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """A SQLite store with all tables and no rows."""
    shutil.copy(sqlite_template, tmp_path / "store.db")
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture(params=ENGINES)
def store_url(request: pytest.FixtureRequest) -> str:
    """A store with all tables and no rows."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    url: str = request.getfixturevalue("mariadb_store")
    empty(url)
    return url


@pytest.fixture(params=ENGINES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    return f"sqlite:///{tmp_path / 'empty.db'}" if request.param == "sqlite" else str(request.getfixturevalue("mariadb_url"))

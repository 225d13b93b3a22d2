"""Migrations: what they make is what the tables say, on both engines; older and newer databases."""

from __future__ import annotations

import os

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from ngcpd.store import migrations
from ngcpd.store.engine import make_engine
from ngcpd.store.errors import StoreOutdated, StoreTooNew, StoreUnavailable, StoreUnsupported
from ngcpd.store.tables import metadata


def dump(conn: sa.Connection) -> dict[str, str]:
    """The server's own words for each table and index."""
    if conn.dialect.name == "sqlite":
        rows = conn.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'").all()
        return {name: " ".join(sql.replace("\t", " ").split()) for name, sql in rows if name != "alembic_version"}
    names = conn.exec_driver_sql("SHOW TABLES").scalars().all()
    return {n: conn.exec_driver_sql(f"SHOW CREATE TABLE `{n}`").one()[1] for n in names if n != "alembic_version"}


def items(ddl: str) -> list[str]:
    """The parts of a CREATE TABLE, sorted: the order of constraints means nothing, and that of columns is compared apart."""
    return sorted(part.strip(" ,)") for part in ddl.replace(", CONSTRAINT", "\nCONSTRAINT").split("\n"))


def meant_for(item: object, dialect: str) -> bool:
    """False for an index that is declared for another engine only (`ddl_if`)."""
    rule = getattr(item, "_ddl_if", None)
    return rule is None or rule.dialect == dialect


def test_upgrade_equals_metadata(empty_url):
    assert migrations.current(empty_url) is None
    assert migrations.upgrade(empty_url) is None
    assert migrations.current(empty_url) == migrations.head()
    engine = make_engine(empty_url)
    with engine.connect() as conn:
        options = {"compare_type": True, "include_object": lambda item, *_: meant_for(item, conn.dialect.name)}
        assert compare_metadata(MigrationContext.configure(conn, opts=options), metadata) == []
        migrated = dump(conn)
        columns = {t: [c["name"] for c in sa.inspect(conn).get_columns(t)] for t in metadata.tables}
    assert columns == {name: [c.name for c in t.columns] for name, t in metadata.tables.items()}
    with engine.begin() as conn:
        if conn.dialect.name == "sqlite":
            conn.exec_driver_sql("PRAGMA foreign_keys=OFF")
        metadata.drop_all(conn)
        metadata.create_all(conn)
    with engine.connect() as conn:
        declared = dump(conn)
    engine.dispose()
    assert migrated.keys() == declared.keys()
    for name, ddl in migrated.items():
        assert items(ddl) == items(declared[name]), name


def test_upgrade_twice_changes_nothing(empty_url):
    migrations.upgrade(empty_url)
    assert migrations.upgrade(empty_url) == migrations.head()


def test_upgrade_from_each_older_revision(empty_url, tmp_path):
    """A database left at any revision reaches the head, and a SQLite file is copied first."""
    from alembic import command

    engine = make_engine(empty_url)
    with engine.begin() as conn:
        config = migrations._config()
        config.attributes["connection"] = conn
        command.upgrade(config, "0003")
    with engine.connect() as conn, pytest.raises(StoreOutdated) as outdated:
        migrations.check(conn)
    engine.dispose()
    assert outdated.value.current == "0003"
    assert migrations.upgrade(empty_url) == "0003"
    assert migrations.current(empty_url) == migrations.head()
    if empty_url.startswith("sqlite"):
        copy = f"{tmp_path}/empty.db.before-{migrations.head()}"
        assert migrations.current(f"sqlite:///{copy}") == "0003"
        assert os.stat(copy).st_mode & 0o777 == 0o600


def test_newer_database_is_refused_and_left_alone(empty_url):
    migrations.upgrade(empty_url)
    engine = make_engine(empty_url)
    with engine.begin() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num='9999'")
    with pytest.raises(StoreTooNew, match=r"revision 9999.*does not know"):
        migrations.upgrade(empty_url)
    with engine.connect() as conn, pytest.raises(StoreTooNew):
        migrations.check(conn)
    assert migrations.current(empty_url) == "9999"
    engine.dispose()


def test_failed_upgrade_of_sqlite_leaves_nothing(tmp_path):
    url = f"sqlite:///{tmp_path / 'x.db'}"
    engine = make_engine(url)
    with engine.begin() as conn:
        conn.exec_driver_sql("CREATE TABLE cdr (x INTEGER)")
    with pytest.raises(sa.exc.OperationalError):
        migrations.upgrade(url)
    with engine.connect() as conn:
        assert sa.inspect(conn).get_table_names() == ["cdr"]
    engine.dispose()


@pytest.mark.peer
def test_only_one_migrates_at_a_time(mariadb_url, monkeypatch):
    monkeypatch.setattr(migrations, "LOCK_SECONDS", 0)
    engine = make_engine(mariadb_url)
    with engine.connect() as other:
        assert other.scalar(sa.text("SELECT GET_LOCK(:n, 0)"), {"n": migrations.LOCK_NAME}) == 1
        with pytest.raises(StoreUnavailable, match="another program"):
            migrations.upgrade(mariadb_url)
    engine.dispose()
    assert migrations.current(mariadb_url) is None
    migrations.upgrade(mariadb_url)


@pytest.mark.parametrize("url", ["mysql+pymysql://nobody@127.0.0.1:1/x", "sqlite:////nonexistent/directory/x.db"])
def test_unreachable(url):
    with pytest.raises(StoreUnavailable):
        migrations.upgrade(url)
    with pytest.raises(StoreUnavailable):
        migrations.current(url)


@pytest.mark.parametrize("url", ["postgresql://x/y", "nonsense", ""])
def test_unknown_kind(url):
    with pytest.raises(StoreUnsupported):
        migrations.upgrade(url)

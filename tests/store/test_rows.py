"""Rows written in one piece are the rows that SQLAlchemy writes, on both engines."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from ngcpd.runtime.fake import InlineExecutor, SimClock
from ngcpd.store import rows
from ngcpd.store.db import Database
from ngcpd.store.tables.accounting import acc, cdr
from ngcpd.store.tables.runtime import registration

AT = datetime.datetime(2026, 3, 29, 1, 0, 7)
TEXTS = [
    "", "plain", "it's \"q\" `b`", "back\\slash\\", "100% %s %(x)s", "new\nline\r\t\x1a\0end", "zażółć 漢字 😀", "); DROP TABLE acc; --", "a" * 255,
]  # fmt: skip


@pytest.fixture
def store(store_url: str) -> Iterator[Database]:
    made = Database(store_url, InlineExecutor(), SimClock())
    yield made
    made.close()


def _acc(text: str, time: Any) -> dict[str, Any]:
    return {"method": "INVITE", "callid": text, "sip_code": "200", "time": AT, "time_hires": time, "src_leg": text * 40, "dst_leg": None}


def _registration(n: int, **more: Any) -> dict[str, Any]:
    made = {
        "ruid": f"r{n}", "subscriber_id": n, "contact": "sip:a", "received": None, "path": "", "expires_at": 1700003601.5, "q": -1.0, "callid": "c",
        "cseq": 2**31 - 1, "nat": True, "permanent": False, "modified_at": 1e9 + 0.125,
    }  # fmt: skip
    return made | more


def _back(conn: sa.Connection, table: sa.Table) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in conn.execute(sa.select(*[c for c in table.c if c.name != "id"]).order_by(next(iter(table.primary_key))))]


@pytest.mark.parametrize("table", [acc, registration], ids=lambda t: t.name)
def test_the_same_rows_as_sqlalchemy(store: Database, table: sa.Table) -> None:
    if table is acc:
        given = [_acc(text, time) for text in TEXTS for time in (Decimal("1700000000.1235"), 1700000000.25, 7)]
    else:
        given = [_registration(n, contact=text, q=n / 7) for n, text in enumerate(TEXTS)]

    def unit(conn: sa.Connection) -> tuple[list[Any], list[Any]]:
        rows.insert_rows(conn, table, given)
        mine = _back(conn, table)
        conn.execute(sa.delete(table))
        conn.execute(sa.insert(table), given)
        return mine, _back(conn, table)

    mine, theirs = store.run_here(unit)
    assert len(mine) == len(given) and mine == theirs


def test_long_batches_are_cut(store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LIMIT", 3000)
    given = [_acc(f"{n:04d}", n) for n in range(100)]
    store.run_here(rows.insert_rows, acc, given)
    store.run_here(rows.insert_rows, acc, [])
    assert [row[3] for row in store.read_here(_back, acc)] == [f"{n:04d}" for n in range(100)]


@pytest.mark.parametrize(
    "bad",
    [
        {"callid": "x" * 256},
        {"time_hires": Decimal(10) ** 12},
        {"callid": "\ud800"},
        {"sip_code": None},
    ],
    ids=["too long", "too large", "not UTF-8", "NULL"],
)
def test_what_a_column_refuses_is_refused_and_nothing_is_kept(store: Database, bad: dict[str, Any]) -> None:
    if store.is_sqlite and "x" in str(bad.get("callid")):
        pytest.skip("SQLite has no lengths")
    with pytest.raises((ValueError, sa.exc.DBAPIError, sa.exc.StatementError)):
        store.run_here(rows.insert_rows, acc, [_acc("good", 1), _acc("bad", 1) | bad])
    assert store.read_here(_back, acc) == []


@pytest.mark.parametrize("value", [5, float("nan"), b"x", [1]])
def test_values_of_strange_types_are_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        (rows._text if value == 5 else rows._plain)(value)


def test_a_cdr(store: Database) -> None:
    names = {c.name: c for c in cdr.c if not c.nullable and c.server_default is None and c.name != "id"}
    row = {n: AT if n == "update_time" else Decimal("12.5") if n in ("init_time", "start_time", "duration") else "x" for n in names}
    store.run_here(rows.insert_rows, cdr, [row])
    [kept] = store.read_here(lambda conn: conn.execute(sa.select(cdr)).mappings().all())
    assert {n: kept[n] for n in row} == row and kept["rating_status"] == "unrated" and kept["source_clir"] is False

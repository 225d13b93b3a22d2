"""Watches the writes of a store: whatever the directory reads must not change without a notice that makes it read again.

Which queries a notice repeats, and which tables and columns each query looks at, is asked of the directory itself: its refresh and its loader
run against a store that notes the statements. So a table that the loader learns to read is watched from then on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from ngcpd.directory import loader, refresh
from ngcpd.store import changes

LEVELS = ("usr", "prof", "dom", "peer", "contract", "reseller")
KINDS = (*changes.KINDS, *(f"preference:{level}" for level in LEVELS))
LOADER = loader.__file__
UNSEEN = {("contact", "INSERT"), ("contact", "UPDATE"), ("contact", "DELETE"), ("reseller", "INSERT"), ("subscriber", "DELETE")}
"""Rows that nobody refers to when they come or go; what refers to them has its own notice (a contact may have none: `tests.web.test_noticed`).
Subscribers are terminated before their row goes."""
TAKEN_OVER = {("domain", "read_subscribers", "domain")}
"""Kind, reader, table: the directory drops the details itself when it has read the kind's own rows again (`KeyRing.take_domains`)."""

Place = tuple[str, str]
"""A table (preferences: with their level) and a column."""


def _bound(statement: Any, name: str) -> list[Any]:
    """Values that a statement binds for a column of that name."""
    return [value for key, value in statement.compile().params.items() if key == name or key.startswith(f"{name}_")]


def _table(statement: Any, table: sa.Table) -> list[str]:
    if table.name != "preference_value":
        return [table.name]
    found = [v for v in _bound(statement, "level") if isinstance(v, str)]
    return [f"preference_value[{level}]" for level in found or LEVELS]


def _seen(statement: Any) -> set[Place]:
    """What a query looks at."""
    found: set[Place] = set()
    for element in visitors.iterate(statement):
        if isinstance(element, sa.Column) and isinstance(element.table, sa.Table):
            found |= {(name, element.name) for name in _table(statement, element.table)}
    return found


def _reader() -> str:
    """The function of the loader by which a query was asked for."""
    frame, name = sys._getframe(1), ""
    while frame is not None:
        if frame.f_code.co_filename == LOADER and not frame.f_code.co_name.startswith("<"):
            name = frame.f_code.co_name
        frame = frame.f_back  # type: ignore[assignment]
    return name


class _Blank:
    """In the place of the directory: notes that details are dropped."""

    def __init__(self) -> None:
        self.dropped = False

    def owner_of(self, e164: str) -> int:
        return 1

    def tell_of(self, subscriber_id: int) -> None: ...

    def outdate(self, subscriber_id: int) -> None:
        self.dropped = True

    outdate_contract = outdate

    def outdate_all(self) -> None:
        self.dropped = True

    def all_domain_ids(self) -> list[int]:
        return [1]


class Plan:
    """What the directory reads: `places` of each reader, and `readers` that each kind of notice repeats."""

    def __init__(self, engine: sa.Engine) -> None:
        self.places: dict[str, set[Place]] = {}
        self.readers: dict[str, set[str]] = {}
        self.whole: set[Place] = set()
        with engine.connect() as conn:
            self._note(conn, loader.read_keys)
            self.whole = self.places.pop("read_keys")
            for kind in KINDS:
                blank = _Blank()
                refresher = refresh.Refresher(blank, None, None)  # type: ignore[arg-type]
                refresher.notice(kind, "1")
                names = self._note(conn, refresh._read, refresher._dirty, [1])
                if blank.dropped:
                    names |= self._note(conn, loader.read_subscribers, [1])
                self.readers[kind] = names

    def _note(self, conn: sa.Connection, fn: Any, *args: Any) -> set[str]:
        names: set[str] = set()

        def note(_: Any, statement: Any, *__: Any) -> None:
            name = _reader()
            names.add(name)
            self.places.setdefault(name, set()).update(_seen(statement))

        sa.event.listen(conn, "before_execute", note)
        try:
            fn(conn, *args)
        finally:
            sa.event.remove(conn, "before_execute", note)
        return names


class Watch:
    """Collects in `faults` every unit of work on an engine that wrote what the directory reads without telling it."""

    def __init__(self, engine: sa.Engine) -> None:
        self.plan = Plan(engine)
        self.faults: list[str] = []
        self.written: set[str] = set()
        """Tables that were written to, among those that the directory reads."""
        self._open: dict[int, tuple[list[tuple[str, set[Place]]], set[str]]] = {}
        self._listeners = (("after_execute", self._execute), ("commit", self._commit), ("rollback", self._rollback))
        self._engine = engine
        for name, fn in self._listeners:
            sa.event.listen(engine, name, fn)

    def close(self) -> None:
        for name, fn in self._listeners:
            sa.event.remove(self._engine, name, fn)

    def _execute(self, conn: sa.Connection, statement: Any, many: Any, params: Any, _: Any, result: Any) -> None:
        if not isinstance(statement, sa.Insert | sa.Update | sa.Delete) or not isinstance(statement.table, sa.Table):
            return
        writes, kinds = self._open.setdefault(id(conn), ([], set()))
        rows = list(many) or ([params] if params else [])
        table = statement.table
        if table is changes.changes:
            found = {row["kind"] for row in rows}
            kinds |= found
            self.faults += [f"kind {kind} is not among those of ngcpd.store.changes" for kind in found - set(KINDS)]
            return
        kind = type(statement).__name__.upper()
        if (table.name, kind) in UNSEEN or (kind != "INSERT" and result.rowcount == 0):
            return
        columns: Iterable[str] = table.c.keys()
        if isinstance(statement, sa.Update):
            set_here = getattr(statement, "_values", None) or {}
            columns = {str(getattr(c, "key", c)) for c in set_here} | set(rows[0] if rows else ())
        levels = {row["level"] for row in rows if "level" in row} if table.name == "preference_value" else set()
        names = [f"preference_value[{level}]" for level in levels] or _table(statement, table)
        wildcard = table.name == "preference_value" and len(names) == len(LEVELS)
        if not wildcard:
            writes.append((f"{kind} {table.name}", {(name, column) for name in names for column in columns}))

    def _commit(self, conn: sa.Connection) -> None:
        writes, kinds = self._open.pop(id(conn), ([], set()))
        told = {reader for kind in kinds for reader in self.plan.readers.get(kind, ())}
        for what, places in writes:
            for reader, looked in self.plan.places.items():
                hit = {place for place in places & looked if not any((k, reader, place[0]) in TAKEN_OVER for k in kinds)}
                if hit:
                    self.written |= {name for name, _ in hit}
                    if reader not in told:
                        columns = ", ".join(sorted({c for _, c in hit}))
                        self.faults.append(f"{what} ({columns}): {reader} is not told; notices of the unit of work: {sorted(kinds)}")

    def _rollback(self, conn: sa.Connection) -> None:
        self._open.pop(id(conn), None)


@contextmanager
def noticed(engine: sa.Engine) -> Iterator[Watch]:
    """For the length of a test; fails at its end."""
    watch = Watch(engine)
    try:
        yield watch
    finally:
        watch.close()
    assert not watch.faults, "\n".join(dict.fromkeys(watch.faults))

"""A reseller on its way in: reads the lines of `moveform` twice, once to check everything, once to write in batches that carry on after a crash.

Numbers of rows become ids by adding a base per table; the ids are reserved before the first row is written, so the mapping needs no memory.
Rows are written as they are, without the rules of single writes: the file is trusted like a dump of the database. Until the last batch the
reseller is locked and running daemons are not told of anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import importing, moveform, moveplan
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.importing import Run
from ngcpd.provisioning.moveform import MARK, VERSION, BadFile, decode
from ngcpd.store import changes
from ngcpd.store.credentials import Vault, VaultError
from ngcpd.store.tables import identity, metadata, tenancy

SLACK = 1000
"""Ids left free for rows that others insert while ids are being reserved."""
CHUNK = 500
SHOWN = 10
NOTICES = {
    **{name: name for name in ("reseller", "contract", "domain", "subscriber", "trusted_source", "admin")},
    **{name: name for name in ("sound_set", "billing_profile", "billing_network", "device")},
    "ncos_level": "ncos",
    "rewrite_rule_set": "rewrite",
    "subscriber_profile": "profile",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A line: where it is, its table, the number of the row (0 if it has none) and the values as they are in the file."""

    line: int
    table: sa.Table
    n: int
    values: dict[str, Any]


class Arrival:
    """One import. `key`: fingerprint of the installation's key; `passphrase`: "" if none was given; `name`: another name for the reseller."""

    def __init__(self, env: Env, *, key: str, passphrase: str = "", name: str = "") -> None:
        self.env = env
        self.key = key
        self.passphrase = passphrase
        self.name = name
        self.header: dict[str, Any] = {}
        self.counts: dict[str, int] = {}
        self.total = 0
        self.status = "active"
        self.notes: dict[str, int] = {}
        self._plan = moveplan.plan()
        self._travel: Vault | None = None
        self._named: dict[tuple[str, str], int | None] = {}
        self._uuids: dict[int, str] = {}

    # -------------------------------------------------------------------------------------------------------------- reading
    def survey(self, conn: sa.Connection, lines: Iterable[str]) -> None:
        """Check the whole file and that it fits into this store. Raises BadFile."""
        found: dict[str, int] = {}
        unique: dict[str, set[Any]] = {}
        columns = [(t, c) for t in self._plan.tables for c in _global(t)]
        for row in self.rows(lines):
            name = row.table.name
            found[name] = found.get(name, 0) + 1
            if row.n != (found[name] if name in self._plan.referenced else 0):
                raise BadFile(f"line {row.line}: rows of {name} are not in their order")
            self.check(conn, row)
            for table, column in columns:
                if table is row.table and row.values.get(column.name) is not None:
                    unique.setdefault(f"{table.name}.{column.name}", set()).add(self._renamed(row, column.name))
        # Of rows that nothing refers to, some may have stayed behind on their own (`moveout.Dangling`).
        if found.keys() - self.counts.keys() or any(
            found.get(name, 0) > count or (name in self._plan.referenced and found.get(name) != count) for name, count in self.counts.items()
        ):
            raise BadFile("the file does not hold what its first line says")
        self._collisions(conn, unique)

    def rows(self, lines: Iterable[str]) -> Iterator[Row]:
        """The lines between header and end. Raises BadFile."""
        rest = enumerate(lines, 1)
        self._head(_json(*next(rest, (1, ""))))
        done = False
        for number, text in rest:
            entry = _json(number, text)
            if done:
                raise BadFile(f"line {number}: something comes after the end")
            if "end" in entry:
                if entry["end"] != number - 2:
                    raise BadFile(f"line {number}: {number - 2} rows came before the end, not {str(entry['end'])[:20]}")
                done = True
                continue
            table = self._plan.named(str(entry.get("table")))
            values, n = entry.get("row"), entry.get("n", 0)
            if table is None or not isinstance(values, dict) or isinstance(n, bool) or not isinstance(n, int):
                raise BadFile(f"line {number}: table {str(entry.get('table'))[:40]!r} is not known here")
            yield Row(number, table, n, values)
        if not done:
            raise BadFile("the file ends too early; it was cut off")

    def _head(self, header: dict[str, Any]) -> None:
        if header.get(MARK) != "reseller":
            raise BadFile("this is no exported reseller")
        if header.get("version") != VERSION:
            raise BadFile(f"the file has version {str(header.get('version'))[:20]}, this program reads {VERSION}")
        counts, salt = header.get("counts"), header.get("salt", "")
        if not isinstance(counts, dict) or not all(isinstance(v, int) and 0 < v < 2**31 for v in counts.values()) or not isinstance(salt, str):
            raise BadFile("the first line is damaged")
        unknown = sorted(name for name in counts if self._plan.named(name) is None)
        if unknown or counts.get("reseller") != 1:
            raise BadFile(f"table {unknown[0][:40]!r} is not known here" if unknown else "there is not one reseller in it")
        self.header, self.counts, self.total = header, counts, sum(counts.values()) + 2
        if header.get("sealed") == "passphrase" and self._travel is None:
            if not self.passphrase:
                raise BadFile("its secrets are sealed with a passphrase; --passphrase-file is needed")
            try:
                self._travel = moveform.travel_vault(self.passphrase, bytes.fromhex(salt), self.env.rng)
                self._travel.open(str(header.get("check")), "check")
            except (VaultError, ValueError):
                raise BadFile("the passphrase is another one") from None

    def check(self, conn: sa.Connection, row: Row) -> None:
        """One row: columns, kinds of values, references."""
        for name, value in row.values.items():
            column = row.table.c.get(name)
            if column is None or name == "id":
                raise BadFile(f"line {row.line}: there is no column {row.table.name}.{name[:40]} here; import it with the version that wrote it")
            goal = _goal(row, column)
            if goal is None:
                decode(column, value)
            elif isinstance(value, dict) and isinstance(value.get("@"), list):
                self._look(conn, row, column, goal, value["@"])
            elif isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= self.counts.get(goal, 0):
                raise BadFile(f"line {row.line}: {row.table.name}.{name} refers to nothing in this file")
        for column in row.table.c:
            absent = row.values.get(column.name) is None and f"{row.table.name}.{column.name}" not in moveplan.MARKS
            if not column.nullable and column.server_default is None and column.name != "id" and absent:
                raise BadFile(f"line {row.line}: {row.table.name}.{column.name} is missing")
        if row.table.name == "reseller":
            self.status = str(row.values.get("status", "active"))

    def _look(self, conn: sa.Connection, row: Row, column: sa.Column[Any], goal: str, key: list[Any]) -> None:
        place = (goal, json.dumps(key))
        if place not in self._named:
            self._named[place] = moveform.find_named(conn, goal, key)
        if self._named[place] is None:
            shown = " of ".join(str(part) for part in reversed(key) if part is not None)
            if not column.nullable:
                raise BadFile(f"line {row.line}: there is no {goal} {shown} here, which {row.table.name}.{column.name} needs; make it first")
            self.note(f"{row.table.name}.{column.name} was emptied: there is no {goal} {shown} here")

    def _collisions(self, conn: sa.Connection, unique: dict[str, set[Any]]) -> None:
        found: list[str] = []
        for place, values in unique.items():
            table, column = place.split(".")
            here = metadata.tables[table].c[column]
            listed = sorted(values)
            free = (identity.number.c.subscriber_id.is_not(None),) if table == "number" else ()
            for at in range(0, len(listed), CHUNK):
                found += [f"{table} {column} {v}" for v in conn.scalars(sa.select(here).where(here.in_(listed[at : at + CHUNK]), *free))]
        if found:
            more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            hint = "; --name gives the reseller another name" if any(f.startswith("reseller name") for f in found) else ""
            raise BadFile(f"exists here already: {', '.join(found[:SHOWN])}{more}{hint}")

    def _renamed(self, row: Row, name: str) -> Any:
        return self.name if self.name and row.table.name == "reseller" and name == "name" else row.values[name]

    # -------------------------------------------------------------------------------------------------------------- writing
    def reserve(self, conn: sa.Connection) -> dict[str, int]:
        """Take ids for the numbered rows; the base of each table. A unit of work (on MariaDB each table by itself)."""
        bases: dict[str, int] = {}
        for name, count in self.counts.items():
            if name in self._plan.referenced:
                bases[name] = _reserve(conn, metadata.tables[name], count)
        return bases

    def values(self, row: Row, bases: dict[str, int]) -> dict[str, Any] | None:
        """A row as it is stored, None when it has to be left out."""
        table = row.table
        found: dict[str, Any] = {c.name: None for c in table.c if c.nullable}
        for name, value in row.values.items():
            column = table.c[name]
            goal = _goal(row, column)
            if goal is None:
                found[name] = decode(column, value)
            elif isinstance(value, dict):
                found[name] = self._named[(goal, json.dumps(value["@"]))]
            else:
                key = bases[goal] + value
                found[name] = str(key) if isinstance(column.type, sa.String) else key
        if row.n:
            found["id"] = bases[table.name] + row.n
        if table.name == "subscriber":
            self._uuids[row.n] = row.values["uuid"]
        elif table.name == "reseller":
            found |= {"name": self.name or found["name"], "status": "locked"}
        for name in [c for c in found if f"{table.name}.{c}" in moveplan.SEALED and found[c] is not None]:
            full = f"{table.name}.{name}"
            opened = self._sealed(full, found[name], row)
            if opened is None and full in moveplan.MARKED:
                return None
            found[name] = opened
            if self._travel is not None and full in moveplan.MARKED:
                mark, purpose = moveplan.MARKED[full]
                found[mark] = self.env.vault.mark(str(opened), purpose)
                found[name] = self.env.vault.seal(str(opened), found[mark])
        return found

    def _sealed(self, name: str, value: str, row: Row) -> str | None:
        if self._travel is None:
            if self.header.get("key") == self.key:
                return value
            what = "was left out with its row" if name in moveplan.MARKED else "was left out"
            self.note(f"{name} is sealed with the key of another installation and {what}; export with --passphrase-file to move it")
            return None
        bound = moveplan.SEALED[name]
        if bound is None:
            return None
        if name in moveplan.MARKED:
            return self._opened(name, value, moveplan.MARKED[name][1], row)
        about = bound(row.values.get("uuid") or self._uuids[row.values["subscriber_id"]])
        return self.env.vault.seal(self._opened(name, value, about, row), about)

    def _opened(self, name: str, value: str, about: str, row: Row) -> str:
        assert self._travel is not None
        try:
            return self._travel.open(value, about)
        except VaultError:
            raise BadFile(f"line {row.line}: {name} is damaged") from None

    def put(self, conn: sa.Connection, run: Run, rows: Sequence[tuple[Row, dict[str, Any]]]) -> Run:
        """Write some rows. A unit of work."""
        groups: list[tuple[sa.Table, frozenset[str], list[dict[str, Any]]]] = []
        for row, values in rows:
            keys = frozenset(values)
            if not groups or groups[-1][0] is not row.table or groups[-1][1] != keys:
                groups.append((row.table, keys, []))
            groups[-1][2].append(values)
        for table, _, values_of in groups:
            if table.name == "number":
                free = (identity.number.c.e164.in_([v["e164"] for v in values_of]), identity.number.c.subscriber_id.is_(None))
                conn.execute(sa.delete(identity.number).where(*free))
            conn.execute(sa.insert(table), values_of)
        return importing.advance(conn, run, replace(run, line=rows[-1][0].line, made=run.made + len(rows)))

    def notices(self, row: Row, values: dict[str, Any]) -> list[tuple[str, str]]:
        """What running daemons have to be told of a row."""
        if row.table.name == "number":
            return [("number", values["e164"])]
        kind = NOTICES.get(row.table.name)
        return [] if kind is None else [(kind, str(values.get("id", 0)))]

    def finish(self, conn: sa.Connection, run: Run, reseller_id: int) -> Run:
        """Open the reseller. A unit of work."""
        conn.execute(sa.update(tenancy.reseller).where(tenancy.reseller.c.id == reseller_id).values(status=self.status))
        changes.note(conn, "reseller", reseller_id)
        return importing.finish(conn, run)

    def note(self, what: str) -> None:
        self.notes[what] = self.notes.get(what, 0) + 1


def _goal(row: Row, column: sa.Column[Any]) -> str | None:
    """The table that a value of a row refers to."""
    if row.table.name == "preference_value":
        if column.name == "owner_id":
            return moveplan.LEVELS.get(str(row.values.get("level")), "none")
        if column.name == "location_id":
            return "customer_location" if row.values.get("location_id") else None
        if column.name == "value":
            return moveplan.ATTRIBUTES.get(str(row.values.get("attribute")))
    return moveplan.target(column)


def _global(table: sa.Table) -> list[sa.Column[Any]]:
    """Columns whose values are unique on the whole platform."""
    found = []
    for constraint in table.constraints:
        if isinstance(constraint, sa.UniqueConstraint) and len(constraint.columns) == 1:
            column = next(iter(constraint.columns))
            if moveplan.target(column) is None:
                found.append(column)
    return found


def _reserve(conn: sa.Connection, table: sa.Table, count: int) -> int:
    newest = conn.scalar(sa.select(sa.func.max(table.c.id))) or 0
    if conn.dialect.name == "sqlite":
        where = {"name": table.name}
        base = max(newest, conn.scalar(sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name"), where) or 0)
        conn.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :name"), where)
        conn.execute(sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)"), where | {"seq": base + count})
        return int(base)
    query = "SELECT AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = :name"
    base = max(newest, (conn.scalar(sa.text(query), {"name": table.name}) or 1) - 1) + SLACK
    conn.execute(sa.text(f"ALTER TABLE `{table.name}` AUTO_INCREMENT = {base + count + 1}"))
    return int(base)


def _json(number: int, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadFile(f"line {number}: is no JSON object")
    return found

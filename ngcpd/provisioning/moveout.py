"""A reseller on its way out: the lines of `moveform`, out of one consistent read of the store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import moveform, moveplan
from ngcpd.provisioning.moveform import MARK, VERSION, encode
from ngcpd.store import migrations
from ngcpd.store.credentials import Vault, VaultError
from ngcpd.store.db import now
from ngcpd.store.tables import identity

PAGE, LARGE_PAGE = 2000, 8
"""Rows per query; those with large contents may have 16 MiB each."""


class Dangling(Exception):
    """A row that cannot go: something it needs stays behind."""


class Export:
    """One export. `vault` opens what is sealed here, `travel` seals it for the way (None: it goes as it is). `notes`: what was left behind."""

    def __init__(self, conn: sa.Connection, reseller_id: int, *, key: str, vault: Vault, travel: Vault | None = None, salt: bytes = b"") -> None:
        self.conn = conn
        self.reseller_id = reseller_id
        self.at = now(conn)
        self.plan = moveplan.plan()
        self.key, self.vault, self.travel, self.salt = key, vault, travel, salt
        self.notes: dict[str, int] = {}
        self._numbers: dict[str, dict[int, int]] = {}
        self._named: dict[tuple[str, int], list[Any] | None] = {}
        self._uuids: dict[int, str] = {}
        self.total = 0

    def lines(self) -> Iterator[str]:
        """The whole file, line by line."""
        counts: dict[str, int] = {}
        for table in self.plan.tables:
            if table.name in self.plan.referenced:
                ids = self.conn.scalars(sa.select(table.c.id).where(self._mine(table)).order_by(table.c.id))
                self._numbers[table.name] = {key: n for n, key in enumerate(ids, 1)}
                counts[table.name] = len(self._numbers[table.name])
            else:
                counts[table.name] = self.conn.scalar(sa.select(sa.func.count()).select_from(table).where(self._mine(table))) or 0
        self.total = sum(counts.values())
        people = identity.subscriber
        self._uuids = {row.id: row.uuid for row in self.conn.execute(sa.select(people.c.id, people.c.uuid).where(self._mine(people)))}
        name = self.conn.scalar(sa.select(moveplan.reseller.c.name).where(moveplan.reseller.c.id == self.reseller_id))
        header: dict[str, Any] = {MARK: "reseller", "version": VERSION, "reseller": name, "schema": migrations.head(), "at": self.at.isoformat(" ")}
        header |= {"key": self.key, "sealed": "own" if self.travel is None else "passphrase", "salt": self.salt.hex()}
        if self.travel is not None:
            header["check"] = self.travel.seal("ngcpd", "check")
        yield _line(header | {"counts": {k: v for k, v in counts.items() if v}})
        written = 0
        for table in self.plan.tables:
            numbers = self._numbers.get(table.name)
            for row in self._rows(table):
                try:
                    values = self._row(table, row)
                except Dangling as error:
                    self._note(str(error))
                    if numbers is not None:
                        raise  # others refer to it: cannot be, or the store is damaged
                    continue
                line: dict[str, Any] = {"table": table.name}
                if numbers is not None:
                    line["n"] = numbers[row["id"]]
                written += 1
                yield _line(line | {"row": values})
        yield _line({"end": written})

    # -------------------------------------------------------------------------------------------------------------- inside
    def _mine(self, table: sa.Table) -> moveplan.Condition:
        return moveplan.condition(table, self.reseller_id, self.at)

    def _rows(self, table: sa.Table) -> Iterator[sa.RowMapping]:
        key = list(table.primary_key.columns)
        size = PAGE if not any(isinstance(c.type, sa.LargeBinary) for c in table.c) else LARGE_PAGE
        last: list[Any] | None = None
        while True:
            behind = () if last is None else (_behind(key, last),)
            found = self.conn.execute(sa.select(table).where(self._mine(table), *behind).order_by(*key).limit(size)).mappings().all()
            yield from found
            if len(found) < size:
                return
            last = [found[-1][c.name] for c in key]

    def _row(self, table: sa.Table, row: sa.RowMapping) -> dict[str, Any]:
        values: dict[str, Any] = {}
        special = self._preference(row) if table.name == "preference_value" else {}
        for column in table.c:
            value = row[column.name]
            name = f"{table.name}.{column.name}"
            if column.name == "id" or value is None:
                continue
            if column.name in special:
                values[column.name] = special[column.name]
            elif self.travel is not None and name in moveplan.MARKS:
                continue  # made anew where it arrives
            elif name in moveplan.SEALED:
                sealed = self._sealed(name, value, row)
                if sealed is not None:
                    values[column.name] = sealed
            elif column.foreign_keys and not (goal := moveplan.target(column)):
                raise AssertionError(f"{name}: foreign key to a column that is no id")
            elif (goal := moveplan.target(column)) is not None:
                found = self._reference(goal, value)
                if found is None and (not column.nullable or name in moveplan.NEEDED):
                    raise Dangling(f"{name} refers to a {goal} that stays behind")
                if found is not None:
                    values[column.name] = found
                elif goal not in moveplan.LEFT_OUT:
                    self._note(f"{name} was emptied: the {goal} stays behind")
            elif name not in moveplan.SOFT:
                values[column.name] = encode(column, value)
        return values

    def _reference(self, goal: str, key: int) -> Any:
        number = self._numbers.get(goal, {}).get(key)
        if number is not None:
            return number
        if (goal, key) not in self._named:
            self._named[(goal, key)] = moveform.named(self.conn, goal, key)
        found = self._named[(goal, key)]
        return None if found is None else {"@": found}

    def _preference(self, row: sa.RowMapping) -> dict[str, Any]:
        """Owner, location and a value that is an id."""
        owner = self._numbers[moveplan.LEVELS[row["level"]]].get(row["owner_id"])
        if owner is None:
            raise Dangling("preference_value of an owner that stays behind")
        found: dict[str, Any] = {"owner_id": owner}
        if row["location_id"]:
            place = self._numbers["customer_location"].get(row["location_id"])
            if place is None:
                raise Dangling("preference_value of a location that is gone")
            found["location_id"] = place
        goal = moveplan.ATTRIBUTES.get(row["attribute"])
        if goal is not None:
            number = self._numbers[goal].get(int(row["value"])) if row["value"].isdigit() else None
            if number is None:
                raise Dangling(f"preference {row['attribute']} refers to a {goal} that stays behind")
            found["value"] = number
        return found

    def _sealed(self, name: str, value: str, row: sa.RowMapping) -> str | None:
        bound = moveplan.SEALED[name]
        if bound is None:
            self._note(f"{name} is bound to this installation and stays behind; set it anew")
            return None
        if self.travel is None:
            return value
        mark, purpose = moveplan.MARKED.get(name, ("", ""))
        about = bound(row[mark] if mark else row["uuid"] if "uuid" in row else self._uuids[row["subscriber_id"]])
        try:
            return self.travel.seal(self.vault.open(value, about), purpose or about)
        except VaultError:
            if mark:
                raise Dangling(f"{name} was sealed with another key, these rows stay behind") from None
            self._note(f"{name} was sealed with another key and stays behind")
            return None

    def _note(self, what: str) -> None:
        self.notes[what] = self.notes.get(what, 0) + 1


def _behind(key: list[sa.Column[Any]], last: list[Any]) -> moveplan.Condition:
    """Rows that come after the one with this key."""
    column, value = key[0], last[0]
    return column > value if len(key) == 1 else sa.or_(column > value, sa.and_(column == value, _behind(key[1:], last[1:])))


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def find_reseller(conn: sa.Connection, text: str) -> int | None:
    """A reseller by name, or by id."""
    reseller = moveplan.reseller
    found = conn.scalar(sa.select(reseller.c.id).where(reseller.c.name == text))
    if found is None and text.isascii() and text.isdigit() and len(text) < 10:
        found = conn.scalar(sa.select(reseller.c.id).where(reseller.c.id == int(text)))
    return found

"""`ngcpctl export reseller`, and `ngcpctl import` of what it wrote."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import sqlalchemy as sa

from ngcpd.cli import exit as exits
from ngcpd.cli.commands import Usage
from ngcpd.cli.local import Pace, Store, opened
from ngcpd.cli.progress import Progress
from ngcpd.provisioning import importing
from ngcpd.provisioning.check import needed
from ngcpd.provisioning.errors import ProvisioningError
from ngcpd.provisioning.importing import Run
from ngcpd.provisioning.moveform import SALT_BYTES, BadFile, fingerprint, travel_vault
from ngcpd.provisioning.movein import Arrival, Row
from ngcpd.provisioning.moveout import Dangling, Export, find_reseller
from ngcpd.store import changes
from ngcpd.store.errors import StoreError

LARGE = 4 << 20
"""Bytes of large contents in one transaction, about."""
NOTICES = 2000
"""Change notices in one transaction."""


# --------------------------------------------------------------------------------------------------------------------- export
def export(args: argparse.Namespace) -> int:
    """Write a reseller; the exit status."""
    passphrase = _passphrase(args)
    with opened(args.config_dir) as store:
        conn = store.database.engine.connect()
        try:
            if not store.database.is_sqlite:
                conn = conn.execution_options(isolation_level="REPEATABLE READ")  # one moment for all tables
            conn = conn.execution_options(readonly=True)
            with conn.begin():
                reseller_id = find_reseller(conn, args.reseller)
                if reseller_id is None:
                    raise Usage(f"there is no reseller {args.reseller[:60]}")
                salt = store.env.rng.bytes(SALT_BYTES) if passphrase else b""
                travel = travel_vault(passphrase, salt, store.env.rng) if passphrase else None
                work = Export(conn, reseller_id, key=fingerprint(store.key), vault=store.env.vault, travel=travel, salt=salt)
                _write(args, work)
        except Dangling as error:
            raise StoreError(f"cannot export: {error}") from None
        finally:
            conn.close()
    for what, times in work.notes.items():
        sys.stderr.write(f"ngcpctl: {what} ({times} times)\n")
    return exits.OK


def _write(args: argparse.Namespace, work: Export) -> None:
    if args.file == "-":
        _all(sys.stdout, work, quiet=True)
        return
    path = Path(args.file)
    part = Path(f"{path}.part")
    if path.exists():
        raise Usage(f"{path} exists")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            _all(file, work, quiet=args.quiet)
            file.flush()
            os.fsync(descriptor)
        os.rename(part, path)
    except OSError as error:
        raise Usage(f"{path}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def _all(file: TextIO, work: Export, *, quiet: bool) -> None:
    progress: Progress | None = None
    for n, line in enumerate(work.lines()):
        file.write(line)
        if progress is None:
            progress = Progress(work.total, quiet=quiet, unit="rows")
        progress.show(n)
    if progress is not None:
        progress.end()


# --------------------------------------------------------------------------------------------------------------------- import
def load(store: Store, file: BinaryIO, digest: str, args: argparse.Namespace) -> int:
    """Make the reseller of a file; the exit status."""
    try:
        name = needed("--name", args.name, 63) if args.name else ""
    except ProvisioningError as error:
        raise Usage(str(error)) from None
    arrival = Arrival(store.env, key=fingerprint(store.key), passphrase=_passphrase(args), name=name)
    digest = hashlib.sha256(f"{digest}\0{name}".encode()).hexdigest()
    try:
        return _Load(store, arrival, file, args).run(digest)
    except BadFile as error:
        raise StoreError(f"cannot import: {error}") from None


class _Load:
    """One run of the command."""

    def __init__(self, store: Store, arrival: Arrival, file: BinaryIO, args: argparse.Namespace) -> None:
        self.store = store
        self.database = store.database
        self.arrival = arrival
        self.file = file
        self.args = args

    def run(self, digest: str) -> int:
        before = self.database.read_here(importing.look, digest)
        if before.finished and not self.args.restart:
            print(f"this file was imported before: {before.made} rows; --restart makes it again if it is gone")
            return exits.OK
        if before.state is None or before.finished:
            self.database.read_here(lambda conn: self.arrival.survey(conn, self._lines()))
            if self.args.dry_run:
                print(f"reseller {self.arrival.name or self.arrival.header['reseller']}: {self.arrival.total - 2} rows could be made")
                return self._told()
            bases = self.database.run_here(self.arrival.reserve)
            run = self.database.run_here(self._begin, digest, bases)
        else:
            run, bases = before, json.loads(before.state)
            sys.stderr.write(f"ngcpctl: goes on behind line {run.line}\n")
            self.database.read_here(self._look_again)
        try:
            run = self._rows(run, bases)
        except KeyboardInterrupt:
            sys.stderr.write("ngcpctl: stopped; the same command carries on where it stopped. Until then the reseller is locked.\n")
            return 130
        print(f"reseller {self.arrival.name or self.arrival.header['reseller']}: {run.made} rows made, id {bases['reseller'] + 1}")
        return self._told()

    def _begin(self, conn: sa.Connection, digest: str, bases: dict[str, int]) -> Run:
        fresh = importing.begin(conn, digest, "reseller", restart=True)
        return importing.advance(conn, fresh, replace(fresh, state=json.dumps(bases)))

    def _look_again(self, conn: sa.Connection) -> None:
        """What the survey found out, for a run that goes on: no collisions, its own rows are there."""
        for row in self.arrival.rows(self._lines()):
            self.arrival.check(conn, row)

    def _rows(self, run: Run, bases: dict[str, int]) -> Run:
        progress = Progress(self.arrival.total, run.line, unit="rows", quiet=self.args.quiet)
        pace = Pace(self.database, first=200, least=100, most=2000)
        told: list[tuple[str, str]] = []
        first = run.line

        def wanted() -> Iterator[tuple[Row, dict[str, Any]]]:
            for row in self.arrival.rows(self._lines()):
                values = self.arrival.values(row, bases)
                if values is None:
                    continue
                told.extend(self.arrival.notices(row, values))
                if row.line > first:
                    yield row, values

        rest = wanted()
        while part := _part(rest, pace.size):
            with pace:
                after = self.database.run_here(self.arrival.put, run, part)
            progress.show(after.line)
            run = after
        for at in range(0, len(told), NOTICES):
            with pace:
                self.database.run_here(changes.note_all, told[at : at + NOTICES])
        run = self.database.run_here(self.arrival.finish, run, bases["reseller"] + 1)
        progress.end()
        return run

    def _lines(self) -> Iterator[str]:
        self.file.seek(0)
        for line in self.file:
            yield line.decode("utf-8", "surrogateescape")

    def _told(self) -> int:
        for what, times in self.arrival.notes.items():
            sys.stderr.write(f"ngcpctl: {what} ({times} times)\n")
        return exits.OK


def _part(rows: Iterator[tuple[Row, dict[str, Any]]], most: int) -> list[tuple[Row, dict[str, Any]]]:
    """The next rows: so many, or fewer when they are large."""
    found: list[tuple[Row, dict[str, Any]]] = []
    size = 0
    for row in islice(rows, most):
        found.append(row)
        size += sum(len(value) for value in row[1].values() if isinstance(value, bytes))
        if size > LARGE:
            break
    return found


def _passphrase(args: argparse.Namespace) -> str:
    """The first line of the file."""
    path: Path | None = args.passphrase_file
    if path is None:
        return ""
    try:
        first = path.read_text().splitlines()[:1]
    except OSError as error:
        raise Usage(f"{path}: {error.strerror}") from None
    if not first or len(first[0]) < 8:
        raise Usage(f"{path}: the passphrase, its first line, must have 8 characters at least")
    return first[0]

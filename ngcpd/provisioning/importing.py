"""Imports of files: batches of one unit of work each, which also advance the import's row in `import_run`. A run that was killed is carried on
from there: what was committed is not made again, what was not is.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import sqlalchemy as sa

from ngcpd.provisioning import bulk
from ngcpd.provisioning.caller import OPERATOR
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.errors import ProvisioningError
from ngcpd.provisioning.reading import Line
from ngcpd.provisioning.resource import Doc, Resource, Work
from ngcpd.store.db import insert, now
from ngcpd.store.tables.runtime import import_run

HEADER = "line,field,error\n"


class Lost(Exception):
    """Somebody else carries the same import on at the same time."""


class Rehearsed(Exception):
    """The end of a batch of a dry run: rolls it back and carries its result."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run


class Report(Protocol):
    """Where refused lines are written."""

    def put(self, at: int, text: str) -> int:
        """Cut what is behind `at` bytes, write `text` there; the length in bytes then. Called again when a unit of work is."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """How far an import is. `line`: the last line done; `finished`: all of them are."""

    id: int = 0
    line: int = 0
    made: int = 0
    refused: int = 0
    report_bytes: int = 0
    state: str | None = None
    finished: bool = False


def begin(conn: sa.Connection, digest: str, what: str, *, restart: bool = False) -> Run:
    """The run of this file, made if it is new. `restart`: from the first line again."""
    row = conn.execute(sa.select(import_run).where(import_run.c.digest == digest)).one_or_none()
    if row is not None and restart:
        conn.execute(sa.delete(import_run).where(import_run.c.id == row.id))
        row = None
    if row is None:
        at = now(conn)
        return Run(insert(conn, import_run, digest=digest, what=what, started_at=at, modified_at=at))
    return Run(row.id, row.line, row.made, row.refused, row.report_bytes, row.state, row.finished_at is not None)


def look(conn: sa.Connection, digest: str) -> Run:
    """The run of this file as it is, for a dry run: a new one when there is none."""
    row = conn.execute(sa.select(import_run).where(import_run.c.digest == digest)).one_or_none()
    return Run() if row is None else Run(row.id, row.line, row.made, row.refused, row.report_bytes, row.state, row.finished_at is not None)


def advance(conn: sa.Connection, before: Run, after: Run) -> Run:
    """Store how far the run is. Lost when it is not where it was."""
    at = now(conn)
    values = {"line": after.line, "made": after.made, "refused": after.refused, "report_bytes": after.report_bytes, "state": after.state}
    where = (import_run.c.id == before.id, import_run.c.line == before.line, import_run.c.finished_at.is_(None))
    done = conn.execute(sa.update(import_run).where(*where).values(**values, modified_at=at, finished_at=at if after.finished else None))
    if done.rowcount != 1:
        raise Lost
    return after


def batch(
    conn: sa.Connection,
    env: Env,
    resources: Mapping[str, Resource],
    resource: Resource,
    run: Run,
    lines: Sequence[Line],
    report: Report,
    seen: dict[Any, Any] | None = None,
) -> Run:
    """Make the objects of some lines; the run after them. A unit of work. `seen` is given for a dry run, which ends with Rehearsed."""
    good: list[tuple[Line, Doc]] = [(line, line.body) for line in lines if line.body is not None]
    work = Work(conn, env, OPERATOR, resources, memory={})
    trial = None if seen is None else dict(seen)
    results = bulk.create_many(work, resource, [body for _, body in good], trial)
    wrong: dict[int, list[tuple[str, str]]] = {line.number: [("", line.wrong)] for line in lines if line.body is None}
    for (line, _), result in zip(good, results, strict=True):
        if isinstance(result, ProvisioningError):
            wrong[line.number] = bulk.explain(result)
    made = len(lines) - len(wrong)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number in sorted(wrong):
        for name, what in wrong[number]:
            writer.writerow((number, name, what))
    size = report.put(run.report_bytes, text.getvalue()) if text.getvalue() else run.report_bytes
    after = replace(run, line=lines[-1].number, made=run.made + made, refused=run.refused + len(wrong), report_bytes=size)
    if seen is not None:
        seen.update(trial or {})
        raise Rehearsed(after)
    return advance(conn, run, after)


def finish(conn: sa.Connection, run: Run) -> Run:
    """All lines are done."""
    return advance(conn, run, replace(run, finished=True))

"""`ngcpctl import`: many objects out of a file, straight into the store, by the rules of the REST interface."""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from ngcpd.cli import exit as exits
from ngcpd.cli import resellercmd
from ngcpd.cli.commands import Usage
from ngcpd.cli.local import Pace, Store, opened
from ngcpd.cli.progress import Progress
from ngcpd.provisioning import importing
from ngcpd.provisioning.importing import Lost, Rehearsed, Run
from ngcpd.provisioning.reading import BadHeader, Line, read_csv, read_json
from ngcpd.provisioning.registry import standard
from ngcpd.provisioning.resource import Resource
from ngcpd.store.errors import StoreError

REFUSED = 3
"""Exit status: it is done, but some lines were refused."""


@dataclass(frozen=True)
class Source:
    """The file: a seekable copy of what was given, its digest and number of lines."""

    file: BinaryIO
    digest: str
    lines: int


def run(args: argparse.Namespace) -> int:
    """The command; its exit status."""
    name, path = _words(args.words)
    resources = standard()
    resource = resources.get(name)
    if resource is None or "POST" not in resource.collection:
        possible = ", ".join(r.name for r in resources.values() if "POST" in r.collection)
        raise Usage(f"nothing can be imported into {name[:40]}; possible: {possible}")
    with _source(path, name) as file:
        source, kind = file
        with opened(args.config_dir) as store:
            try:
                if kind == "reseller":
                    return resellercmd.load(store, source.file, source.digest, args)
                importer = Importer(store, resource, source, args, Path(args.report or ("import.errors" if path == "-" else f"{path}.errors")))
                return importer.run(args.format or kind)
            except BadHeader as error:
                raise Usage(f"{path}: {error}") from None
            except Lost:
                raise StoreError("another import of the same file is running; this one stops") from None


def _words(words: list[str]) -> tuple[str, str]:
    if len(words) > 2:
        raise Usage("give a collection and a file, or a file alone")
    return ("subscribers", words[0]) if len(words) == 1 else (words[0], words[1])


class _source:
    """Opens the file; standard input is copied first, so that it can be read twice."""

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.name = name

    def __enter__(self) -> tuple[Source, str]:
        try:
            if self.path == "-":
                self.file: BinaryIO = tempfile.TemporaryFile()
                shutil.copyfileobj(sys.stdin.buffer, self.file)
                self.file.seek(0)
            else:
                self.file = open(self.path, "rb")
        except OSError as error:
            raise Usage(f"{self.path}: {error.strerror}") from None
        first = self.file.readline(1 << 20).lstrip(b"\xef\xbb\xbf \t")
        kind = "reseller" if first.startswith(b'{"ngcpd-export"') else "json" if first.startswith(b"{") else "csv"
        self.file.seek(0)
        digest, lines, last = hashlib.sha256(f"{self.name}\0".encode()), 0, b"\n"
        while block := self.file.read(1 << 20):
            digest.update(block)
            lines += block.count(b"\n")
            last = block[-1:]
        self.file.seek(0)
        return Source(self.file, digest.hexdigest(), lines + (last != b"\n")), kind

    def __exit__(self, *_: object) -> None:
        self.file.close()


class ReportFile:
    """The report of refused lines. Nothing secret is in it: line, field, what is wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, at: int, text: str) -> int:
        """See `importing.Report`."""
        with open(self.path, "a+b") as file:
            if file.seek(0, os.SEEK_END) < at:
                at = file.tell()  # it was taken away meanwhile: begin a new one
            file.truncate(at)
            if not at:
                file.write(importing.HEADER.encode())
            file.write(text.encode("utf-8", "backslashreplace"))
            return file.tell()


class Importer:
    """One run of the command over a file of documents."""

    def __init__(self, store: Store, resource: Resource, source: Source, args: argparse.Namespace, report: Path) -> None:
        self.store = store
        self.resource = resource
        self.source = source
        self.args = args
        self.resources = standard()
        self.report = ReportFile(report)

    def run(self, kind: str) -> int:
        lines = self._lines(kind)
        first = next(lines, None)  # a wrong header is told before anything is written
        database = self.store.database
        if self.args.dry_run:
            before = Run()
        else:
            before = database.run_here(importing.begin, self.source.digest, self.resource.name, restart=self.args.restart)
        if before.finished:
            return self._known(before)
        if before.line:
            self._say(f"goes on behind line {before.line}; {before.made} were made before")
        rest = _behind(first, lines, before.line)
        progress = Progress(self.source.lines, before.line, quiet=self.args.quiet)
        begun = time.monotonic()
        after = before
        try:
            for after in self._batches(before, rest):
                progress.show(after.line, f", {after.refused} refused" if after.refused else "")
        except KeyboardInterrupt:
            progress.end()
            self._say("stopped; the same command carries on where it stopped")
            return 130
        if not self.args.dry_run:
            after = database.run_here(importing.finish, after)
        progress.end()
        return self._told(before, after, time.monotonic() - begun)

    def _lines(self, kind: str) -> Iterator[Line]:
        text = io.TextIOWrapper(self.source.file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        return read_json(text, self.resource) if kind == "json" else read_csv(text, self.resource)

    def _batches(self, run: Run, lines: Iterator[Line]) -> Iterator[Run]:
        database = self.store.database
        seen: dict[object, object] | None = {} if self.args.dry_run else None
        pace = Pace(database, first=50, least=50, most=500)
        while part := list(islice(lines, pace.size)):
            with pace:
                try:
                    run = database.run_here(importing.batch, self.store.env, self.resources, self.resource, run, part, self.report, seen)
                except Rehearsed as done:
                    run = done.run
            yield run

    # -------------------------------------------------------------------------------------------------------------- words
    def _known(self, run: Run) -> int:
        print(f"this file was imported before: {run.made} made, {run.refused} refused; --restart begins anew")
        return REFUSED if run.refused else exits.OK

    def _told(self, before: Run, after: Run, seconds: float) -> int:
        made = after.made - before.made
        verb = "could be made" if self.args.dry_run else "made"
        speed = f" in {seconds:.1f} s, {made / max(seconds, 0.001):,.0f}/s" if made else ""
        print(f"{self.resource.name}: {after.made} {verb}, {after.refused} refused{speed}")
        if after.refused:
            self._say(f"the refused lines are told in {self.report.path}")
        return REFUSED if after.refused else exits.OK

    @staticmethod
    def _say(text: str) -> None:
        sys.stderr.write(f"ngcpctl: {text}\n")


def _behind(first: Line | None, rest: Iterator[Line], line: int) -> Iterator[Line]:
    if first is not None and first.number > line:
        yield first
    for entry in rest:
        if entry.number > line:
            yield entry

"""A configuration directory for commands that open a store by themselves."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ngcpd.cli import ngcpctl
from ngcpd.runtime.fake import InlineExecutor, SimClock
from ngcpd.store.db import Database

ETC = Path(__file__).resolve().parent.parent.parent / "etc"


class Node:
    """One installation: its configuration, its store, and `ngcpctl` on it."""

    def __init__(self, directory: Path, url: str, capture: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.url = url
        self.etc = directory / "etc"
        self.capture = capture
        shutil.copytree(ETC, self.etc)
        constants = (self.etc / "constants.yml").read_text()
        added = f'  database: {{url: "{url}"}}'
        (self.etc / "constants.yml").write_text(re.sub(r"(?m)^(  state_dir: .*)$", lambda m: f"{m[1]}\n{added}", constants))
        self.out = self.err = ""
        self.database = Database(url, InlineExecutor(), SimClock(1_700_000_000.0))

    def ctl(self, *words: object) -> int:
        """Run a command; what it said is in `out` and `err`."""
        self.capture.readouterr()
        status = ngcpctl.main([*map(str, words), "-c", str(self.etc)])
        self.out, self.err = self.capture.readouterr()
        return status

    def file(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path

    def rows(self, statement: Any) -> list[Any]:
        return self.database.read_here(lambda conn: list(conn.execute(statement).all()))

    def count(self, table: sa.Table, *where: Any) -> int:
        return int(self.rows(sa.select(sa.func.count()).select_from(table).where(*where))[0][0])

    def customer(self) -> int:
        """Domain `load.example`, a contact and a customer of reseller 1, made by import; the customer's id."""
        assert self.ctl("import", "domains", self.file("d.csv", "domain,reseller_id\nload.example,1\n")) == 0, self.err
        assert self.ctl("import", "customercontacts", self.file("c.json", '{"email": "x@load.example", "reseller_id": 1}\n')) == 0, self.err
        contact = self.rows(sa.text("SELECT max(id) FROM contact"))[0][0]
        body = f'{{"contact_id": {contact}, "type": "sipaccount", "status": "active", "billing_profile_id": 1}}\n'
        assert self.ctl("import", "customers", self.file("k.json", body)) == 0, self.err
        return int(self.rows(sa.text("SELECT max(id) FROM contract"))[0][0])


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[str], Node]]:
    """Makes installations: each with a store of its own."""
    monkeypatch.setenv("NGCPD_NODE", "self")
    made: list[Node] = []

    def make(url: str) -> Node:
        directory = tmp_path / f"node{len(made)}"
        directory.mkdir()
        made.append(Node(directory, url, capsys))
        return made[-1]

    yield make
    for node in made:
        node.database.close()


@pytest.fixture
def node(nodes: Callable[[str], Node], store_url: str) -> Node:
    """An installation on each engine."""
    return nodes(store_url)


@pytest.fixture
def lone(nodes: Callable[[str], Node], sqlite_url: str) -> Node:
    """An installation on SQLite, for what does not depend on the engine."""
    return nodes(sqlite_url)

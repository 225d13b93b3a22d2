"""A private MariaDB for tests: own data directory, UNIX socket only, nothing shared with the machine's own server.

    def test_x(mariadb):           # one server for the whole run
        url = mariadb.create()     # an empty database of its own

`MariaDb()` can also be made by a test that wants to stop, kill and start a server.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

START_SECONDS = 60.0


class MariaDb:
    """One server. `start` after `stop` or `kill` keeps the data."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ngcpd-mariadb-"))
        self.socket = self.directory / "s"
        self.process: subprocess.Popen[bytes] | None = None
        self._count = 0
        self._user = ["--user=mysql"] if os.geteuid() == 0 else []
        if self._user:
            shutil.chown(self.directory, "mysql")
        data = f"--datadir={self.directory / 'data'}"
        made = subprocess.run(
            ["mariadb-install-db", "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db", *self._user],
            capture_output=True,
            text=True,
        )
        if made.returncode:
            raise RuntimeError(f"mariadb-install-db failed: {made.stdout[-2000:]}{made.stderr[-2000:]}")

    def start(self) -> None:
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [
                    shutil.which("mariadbd") or "/usr/sbin/mariadbd",
                    "--no-defaults",
                    f"--datadir={self.directory / 'data'}",
                    f"--socket={self.socket}",
                    f"--pid-file={self.directory / 'pid'}",
                    "--skip-networking",
                    "--skip-name-resolve",
                    "--performance-schema=off",
                    "--innodb-buffer-pool-size=32M",
                    "--innodb-log-file-size=16M",
                    "--skip-innodb-doublewrite",
                    "--innodb-flush-log-at-trx-commit=2",  # commits survive `kill`
                    *self._user,
                ],
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.connect().close()
                return
            except pymysql.err.OperationalError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"mariadbd did not start: {(self.directory / 'log').read_text()[-2000:]}") from None
                time.sleep(0.02)

    def stop(self) -> None:
        """An orderly shutdown."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def kill(self) -> None:
        """Gone without a word."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def connect(self, database: str | None = None) -> pymysql.Connection:
        return pymysql.connect(unix_socket=str(self.socket), user="root", database=database, autocommit=True)

    def execute(self, statement: str) -> None:
        connection = self.connect()
        try:
            connection.cursor().execute(statement)
        finally:
            connection.close()

    def url(self, name: str) -> str:
        return f"mysql+pymysql://root@localhost/{name}?unix_socket={self.socket}"

    def create(self) -> str:
        """A new empty database; its URL."""
        self._count += 1
        name = f"t{self._count}"
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin")
        return self.url(name)

    def drop(self, url: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {url.split('?')[0].rsplit('/', 1)[1]}")


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    server = MariaDb()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def mariadb_url(mariadb: MariaDb) -> Iterator[str]:
    """An empty database on MariaDB."""
    url = mariadb.create()
    yield url
    mariadb.drop(url)

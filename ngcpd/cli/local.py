"""The store for commands that work without a daemon and beside one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from ngcpd.app.daemon import local_zone, rules
from ngcpd.config import Loaded, ensure_directory, load
from ngcpd.config.secrets import load_or_create
from ngcpd.provisioning.env import Env
from ngcpd.runtime.fake import InlineExecutor
from ngcpd.runtime.ports import Timer
from ngcpd.runtime.real import SystemRng
from ngcpd.store import migrations
from ngcpd.store.credentials import Argon, Vault
from ngcpd.store.db import Database
from ngcpd.store.errors import StoreError, StoreOutdated
from ngcpd.store.seed import seed
from ngcpd.store.tables.tenancy import reseller


class WallClock:
    """The part of a clock that units of work ask for."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def call_later(self, delay: float, fn: Callable[..., object], *args: object) -> Timer:
        raise NotImplementedError("nothing is timed at the command line")


class Pace:
    """Sizes of batches, so that each holds the store for a short time: use it as a context around each batch.

    Beside a daemon on SQLite a pause follows, in which others get to write. Seconds: of a batch beside a daemon and alone, of the longest pause;
    REST is the pause as a part of the batch's time.
    """

    BESIDE, ALONE, REST, LONGEST = 0.05, 0.25, 0.4, 0.025

    def __init__(self, database: Database, first: int, least: int, most: int) -> None:
        self.size = first
        self._database = database
        self._least, self._most = least, most
        self._begun = 0.0

    def __enter__(self) -> None:
        self._begun = time.monotonic()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        took = time.monotonic() - self._begun
        beside = self._database.in_use
        wanted = self.size * min(2.0, (self.BESIDE if beside else self.ALONE) / max(took, 0.001))
        self.size = max(self._least, min(self._most, round(wanted)))
        if beside and self._database.is_sqlite and error is None:
            time.sleep(min(took * self.REST, self.LONGEST))


class Store:
    """An open store with the keys of this installation."""

    def __init__(self, loaded: Loaded) -> None:
        paths = loaded.settings.paths
        os.umask(0o077)
        ensure_directory(paths.state_dir)
        rng, clock = SystemRng(), WallClock()
        keys = load_or_create(paths.secrets_file, rng)
        self.loaded = loaded
        self.key = keys.sip_password_key
        self.env = Env(clock, rng, Vault(keys.sip_password_key, rng), Argon(rng), rules(loaded), zone=local_zone())
        self.database = Database(paths.database_url, InlineExecutor(), clock, pool_size=2)

    def prepare(self) -> None:
        """A new store gets its tables and first rows; one of another version is refused. Raises StoreError."""
        try:
            self.database.check_here()
        except StoreOutdated as error:
            if error.current is not None:
                raise StoreError(f"{error} (ngcpd of this version does that when it starts)") from None
            self.database.lock()
            migrations.upgrade(self.database.engine.url)
        if not self.database.read_here(_seeded):
            self.database.lock()
            self.database.run_here(seed, self.env.rng, self.env.vault, self.env.argon, self.env.zone)
        self.database.close()  # the lock is the daemon's; connections are made again when they are needed


def _seeded(conn: sa.Connection) -> bool:
    return conn.scalar(sa.select(reseller.c.id).limit(1)) is not None


@contextmanager
def opened(config_dir: str | None) -> Iterator[Store]:
    """The store of the configuration, ready. Raises ConfigError, StoreError."""
    store = Store(load(config_dir))
    try:
        store.prepare()
        yield store
    finally:
        store.database.close()

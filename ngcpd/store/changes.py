"""Change notices: each unit of work that changes what others keep in memory writes rows into `changes`; a `ChangeFeed` in each process reads
them and tells its subscribers, in the order of their ids, none missed, none twice (data model 17.1).

Kinds and keys (the id as text unless said otherwise):

| kind | key |
|---|---|
| `reseller`, `contract`, `domain`, `subscriber`, `profile`, `trusted_source`, `location` (a customer's: contract id), `admin` | the id |
| `number` | the E.164 number |
| `preference:LEVEL` (usr, prof, dom, peer, contract) | the owner's id |
| `allowed_ip` | the subscriber's id |
| `rewrite` | the rule set's id |
| `peer` | the peer group's id |
| `sound_set` | the sound set's id |
| `voicemail` | the id of the subscriber whose messages changed |
| `fax` | the id of the subscriber who sends one |
| `device` | the id of a customer's telephone |
| `forward` (mappings, destination sets and time sets of call forwards) | the subscriber's id |
| `billing_profile` (with its fees, zones, peak times) | the profile's id |
| `billing_network`, `ncos` (level, patterns, carriers) | the id |
| `lnp` | the carrier's id; 0: many at once |
| `all` | made by the feed itself when it may have missed some: read everything again |
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Timer
from ngcpd.store.db import Database, now
from ngcpd.store.errors import StoreUnavailable
from ngcpd.store.kv import KeyValue, Subscription
from ngcpd.store.tables.runtime import changes

SQLITE_SECONDS = 0.25
MARIADB_SECONDS = 1.0
SETTLE_SECONDS = 120.0
"""How long a transaction may take between getting an id for its notice and its commit. Far above every limit of a unit of work."""
START_WINDOW = 20_000
"""Ids below the newest among which missing ones may be those of transactions still open when the feed starts."""
MAX_RANGES = 32
KEEP_HOURS = 24
CHANNEL = "ngcpd.changes"
KINDS = (
    *("reseller", "contract", "domain", "subscriber", "number", "profile", "trusted_source", "location", "admin", "allowed_ip", "rewrite", "peer"),
    *("sound_set", "voicemail", "fax", "device"),
    *("billing_profile", "billing_network", "ncos", "lnp", "forward"),
)

log = logger("store")


@dataclass(frozen=True, slots=True)
class Change:
    """One notice."""

    id: int
    kind: str
    key: str


def note(conn: sa.Connection, kind: str, key: str | int) -> None:
    """Write one notice, in the transaction of the change itself."""
    note_all(conn, [(kind, key)])


def note_all(conn: sa.Connection, notices: Iterable[tuple[str, str | int]]) -> None:
    """Write many, each different one once, in the given order."""
    unique = dict.fromkeys((kind, str(key)) for kind, key in notices)
    if not unique:
        return
    at = now(conn)
    conn.execute(sa.insert(changes), [{"kind": kind, "key": key, "at": at} for kind, key in unique])
    conn.info["noted"] = True


def purge(conn: sa.Connection, hours: float = KEEP_HOURS) -> int:
    """Delete notices older than `hours`, all but the newest one; how many. A unit of work.

    Only those before the first one that is kept: a reader sees by the lowest id that some went unread. Were they picked by their time alone,
    the notices of a node whose clock is wrong would vanish from between the others, and nobody would know.
    """
    fresh = sa.select(sa.func.min(changes.c.id)).where(changes.c.at >= now(conn) - timedelta(hours=hours))
    first = conn.scalar(fresh) or conn.scalar(sa.select(sa.func.max(changes.c.id))) or 0
    return conn.execute(sa.delete(changes).where(changes.c.id < first)).rowcount


class Position:
    """Which ids were seen. On MariaDB an id is given out before its transaction commits, so ids become visible out of order: those missing
    below the highest one (`gaps`) are looked for again until they are too old to come."""

    def __init__(self) -> None:
        self.highest = 0
        self.gaps: list[tuple[int, int, float]] = []  # first, last, when it was noticed; in ascending order

    def ranges(self) -> list[tuple[int, int]]:
        """Inclusive ranges that hold all gaps, not more than MAX_RANGES."""
        found = [(first, last) for first, last, _ in self.gaps]
        while len(found) > MAX_RANGES:
            found = [(found[i][0], found[min(i + 1, len(found) - 1)][1]) for i in range(0, len(found), 2)]
        return found

    def take(self, ids: Iterable[int], at: float) -> set[int]:
        """Those of `ids` that are new."""
        new: set[int] = set()
        for number in sorted(ids):
            if number > self.highest:
                if number > self.highest + 1:
                    self.gaps.append((self.highest + 1, number - 1, at))
                self.highest = number
                new.add(number)
            elif self._fill(number):
                new.add(number)
        self.gaps = [gap for gap in self.gaps if at - gap[2] < SETTLE_SECONDS]
        return new

    def _fill(self, number: int) -> bool:
        for index, (first, last, since) in enumerate(self.gaps):
            if first <= number <= last:
                rest = [(first, number - 1, since), (number + 1, last, since)]
                self.gaps[index : index + 1] = [gap for gap in rest if gap[0] <= gap[1]]
                return True
        return False


class ChangeFeed:
    """Reads `changes` and tells subscribers. `start` first, then load what is to be kept up to date: a change made in between is told.

    SQLite: `PRAGMA data_version` is asked every 250 ms on a connection of its own and the table read when it moved. MariaDB: the table is read
    every second. A commit of this process is followed at once, one of another process as soon as its notice on the key-value channel comes.
    """

    def __init__(self, database: Database, clock: Clock, kv: KeyValue | None = None) -> None:
        self._database = database
        self._clock = clock
        self._kv = kv
        self._position = Position()
        self._subscribers: list[Callable[[list[Change]], object]] = []
        self._probe: sqlite3.Connection | None = None
        self._version = -1
        self._timer: Timer | None = None
        self._subscription: Subscription | None = None
        self._running = False
        self._busy = False
        self._again = False
        self._forced = True

    @property
    def position(self) -> int:
        """The highest id that was told, or that existed at the start."""
        return self._position.highest

    def subscribe(self, fn: Callable[[list[Change]], object]) -> None:
        """`fn(changes)` is called on the reactor with one or more new notices."""
        self._subscribers.append(fn)

    def start(self) -> Deferred[None]:
        """Find the present end of the table; what comes after is told. Errback StoreUnavailable; then it may be started again."""
        return self._database.read(_ends).addCallback(self._started)

    def stop(self) -> None:
        """No more calls."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
        if self._subscription is not None:
            self._subscription.close()
        if self.poke in self._database.changed:
            self._database.changed.remove(self.poke)
            self._database.changed.remove(self._publish)
        if self._probe is not None and not self._busy:
            self._probe.close()
            self._probe = None

    def poke(self, *_: object) -> None:
        """Read now."""
        self._forced = True
        self._poll()

    # ------------------------------------------------------------------------------------------------------------------ inside
    def _started(self, ids: list[int]) -> None:
        at = self._clock.monotonic()
        if ids:
            self._position.highest = max(0, ids[-1] - START_WINDOW)
        self._position.take(ids, at)
        self._running = True
        self._database.changed += [self.poke, self._publish]
        if self._kv is not None:
            self._subscription = self._kv.subscribe(CHANNEL, self.poke)
        self._schedule()

    def _publish(self) -> None:
        if self._kv is not None:
            # Only a hint that makes it faster: the table is read anyway.
            self._kv.publish(CHANNEL, "").addErrback(lambda _: None)

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(SQLITE_SECONDS if self._database.is_sqlite else MARIADB_SECONDS, self._poll)

    def _poll(self) -> None:
        if not self._running:
            return
        if self._busy:
            self._again = True
            return
        self._busy, self._again = True, False
        force, self._forced = self._forced, False
        work = self._database.executor.run(self._moved, force)
        work.addCallback(self._read).addCallbacks(self._tell, self._failed).addErrback(self._fault).addBoth(self._polled)

    def _moved(self, force: bool) -> bool:
        """On a pool thread: is there anything to read? Only one runs at a time."""
        if not self._database.is_sqlite or self._database.is_memory:
            return True
        if self._probe is None:
            path = self._database.engine.url.database or ""
            self._probe = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False, isolation_level=None)
        version = int(self._probe.execute("PRAGMA data_version").fetchone()[0])
        moved, self._version = version != self._version, version
        return moved or force

    def _read(self, moved: bool) -> Deferred[tuple[int | None, list[Change]]] | None:
        if not moved:
            return None
        return self._database.read(_since, self._position.highest, self._position.ranges())

    def _tell(self, found: tuple[int | None, list[Change]] | None) -> None:
        if found is None or not self._running:
            return
        oldest, rows = found
        before = self._position.highest
        new = self._position.take((row.id for row in rows), self._clock.monotonic())
        fresh = [row for row in rows if row.id in new]
        if before and oldest is not None and oldest > before + 1:
            # Everything up to what was told last has been purged, perhaps more: start over.
            fresh.insert(0, Change(before, "all", ""))
        if not fresh:
            return
        for fn in self._subscribers:
            try:
                fn(fresh)
            except Exception as error:  # noqa: BLE001 - one subscriber's fault must not keep the others from learning of the change
                log.error("subscriber of changes failed", reason=f"{type(error).__name__}: {error}", first=fresh[0].id, count=len(fresh))

    def _failed(self, failure: Failure) -> Failure | None:
        self._forced = True  # what was to be read has not been read
        # That the store is away has been logged by the Database.
        return None if isinstance(failure.value, StoreUnavailable) else failure

    def _fault(self, failure: Failure) -> None:
        log.limited("feed", 60.0, "reading changes failed", reason=failure.getErrorMessage())

    def _polled(self, _: object) -> None:
        self._busy = False
        if not self._running:
            self.stop()
        elif self._again:
            self._poll()
        else:
            self._schedule()


def _ends(conn: sa.Connection) -> list[int]:
    """The newest ids, ascending, enough to see which are missing."""
    newest = conn.scalar(sa.select(sa.func.max(changes.c.id))) or 0
    return list(conn.scalars(sa.select(changes.c.id).where(changes.c.id > newest - START_WINDOW).order_by(changes.c.id)))


def _since(conn: sa.Connection, highest: int, ranges: list[tuple[int, int]]) -> tuple[int | None, list[Change]]:
    wanted = sa.or_(changes.c.id > highest, *(changes.c.id.between(first, last) for first, last in ranges))
    rows = conn.execute(sa.select(changes.c.id, changes.c.kind, changes.c.key).where(wanted).order_by(changes.c.id)).all()
    return conn.scalar(sa.select(sa.func.min(changes.c.id))), [Change(*row) for row in rows]

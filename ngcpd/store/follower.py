"""Followers carry the records of one journal stream, in order, to their home (a table, Redis) and remember there how far they came.

While the home is away nothing waits and nothing is held beyond `queue` records: the rest is read again from the journal's segments. A record
that the home refuses for what it contains is put aside in `<journal>/rejected-<stream>.jsonl` and logged, so that it cannot stop the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import sqlalchemy as sa
from sqlalchemy import exc
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Timer
from ngcpd.store.db import Database
from ngcpd.store.errors import StoreUnavailable
from ngcpd.store.journal import START, Journal, Position, Record
from ngcpd.store.kv import KeyValueUnavailable
from ngcpd.store.tables.accounting import acc_mark

log = logger("store")
BATCH = 200
DELAY = 0.05
QUEUE = 10_000
FIRST_RETRY = 0.2
LAST_RETRY = 5.0


class SetBack(Exception):
    """The home's mark is older than what had been stored: the server crashed and lost its last commits, or was emptied."""

    def __init__(self, mark: Position) -> None:
        super().__init__(f"mark is back at {mark.epoch}/{mark.seq}")
        self.mark = mark


class Home(Protocol):
    """Where the records of a stream live in the end."""

    name: str
    """For the log: what it is."""

    def position(self) -> Deferred[Position]:
        """The mark: the last record known to be in the home; `START` when there is none."""

    def apply(self, records: Sequence[Record], after: Position, upto: Position) -> Deferred[None]:
        """Store `records` and advance the mark to `upto`: both or nothing, or in a way that doing it again changes nothing. Errbacks
        `SetBack`, with nothing stored, when the mark is below `after`."""

    def refuses(self, error: Exception) -> bool:
        """True when `error` is about what a record contains; False when trying again can help."""


def read_mark(conn: sa.Connection, node: str, stream: str) -> Position:
    """The mark of a stream in table `acc_mark`."""
    query = sa.select(acc_mark.c.epoch, acc_mark.c.seq).where(acc_mark.c.node == node, acc_mark.c.stream == stream)
    row = conn.execute(query).first()
    return START if row is None else Position(int(row[0]), int(row[1]))


def write_mark(conn: sa.Connection, node: str, stream: str, upto: Position) -> None:
    """Set the mark; part of the transaction that stores the records."""
    where = (acc_mark.c.node == node, acc_mark.c.stream == stream)
    if not conn.execute(sa.update(acc_mark).where(*where).values(epoch=upto.epoch, seq=upto.seq)).rowcount:
        conn.execute(sa.insert(acc_mark).values(node=node, stream=stream, epoch=upto.epoch, seq=upto.seq))


class SqlHome:
    """Tables. `store(conn, records)` writes a batch; the mark moves in the same transaction, so each record counts exactly once."""

    def __init__(self, db: Database, node: str, stream: str, store: Callable[[sa.Connection, Sequence[Record]], None]) -> None:
        self.name = "database"
        self._db = db
        self._node = node
        self._stream = stream
        self._store = store

    def position(self) -> Deferred[Position]:
        return self._db.read(self.mark)

    def mark(self, conn: sa.Connection) -> Position:
        """The mark, inside a unit of work."""
        return read_mark(conn, self._node, self._stream)

    def apply(self, records: Sequence[Record], after: Position, upto: Position) -> Deferred[None]:
        return self._db.run(self._unit, records, after, upto)

    def refuses(self, error: Exception) -> bool:
        # A value that cannot even be bound comes as a bare StatementError; its subclasses are mostly about the connection or the schema.
        return isinstance(error, (exc.DataError, exc.IntegrityError, msgspec.MsgspecError, ValueError)) or type(error) is exc.StatementError

    def _unit(self, conn: sa.Connection, records: Sequence[Record], after: Position, upto: Position) -> None:
        # The connection may have broken during the commit of the attempt before this one: what the mark covers is there already.
        # (A mark of a later epoch than the records' own is a leftover of a lost journal, see Follower._locate.)
        mark = self.mark(conn)
        if mark < after:
            raise SetBack(mark)
        if mark.epoch <= upto.epoch:
            records = [r for r in records if r.position > mark]
        if records:
            self._store(conn, records)
        write_mark(conn, self._node, self._stream, upto)


class Follower:
    """Carries one stream. `on_applied(records)` is told on the reactor after each batch that reached the home."""

    def __init__(
        self,
        journal: Journal,
        stream: str,
        home: Home,
        clock: Clock,
        *,
        batch: int = BATCH,
        delay: float = DELAY,
        pace: float = 0.0,
        queue: int = QUEUE,
        on_applied: Callable[[Sequence[Record]], None] | None = None,
    ) -> None:
        self.stream = stream
        self.home = home
        self._journal = journal
        self._clock = clock
        self._batch = batch
        self._delay = delay  # a record waits so long for further ones after a pause,
        self._pace = pace  # and under load so long after the batch before: a transaction costs far more than a row
        self._next = 0.0
        self._limit = queue
        self._on_applied = on_applied
        self._queue: deque[Record] = deque()
        self._feeding = False  # new records are queued as they come; otherwise they are read from the segments later
        self._busy = True  # a batch or a segment is in hand, or the mark is not known yet
        self._read = START  # everything up to here has been queued
        self._applied = START
        self._located = False
        self._stopping = False
        self._away = False
        self._recovering = False
        self._recovered = 0
        self._refusal = ""
        self._pause: Deferred[None] | None = None
        self._for_records = False
        self._timer: Timer | None = None
        self._loop: Deferred[None] | None = None
        self._drains: list[Deferred[bool]] = []
        journal.follow(self)

    # ------------------------------------------------------------------------------------------------------------- outside
    def start(self) -> None:
        """Begin to carry; the mark is asked for first, as soon as the home answers."""
        if self._loop is None:
            self._loop = Deferred.fromCoroutine(self._run()).addErrback(self._broken)

    def _broken(self, failure: Failure) -> None:
        self._feeding = False
        log.error("follower stopped by a mistake of the program; the journal keeps its records", stream=self.stream, error=failure.getTraceback())

    def offer(self, record: Record) -> None:
        if not self._feeding:
            return
        if len(self._queue) >= self._limit:
            self._feeding = False
            return
        self._queue.append(record)
        self._read = record.position
        if self._pause is None or not self._for_records:
            return
        if len(self._queue) >= self._batch:
            self._wake()
        elif self._timer is None:
            self._timer = self._clock.call_later(max(self._delay, self._next - self._clock.monotonic()), self._wake)

    def passed(self, position: Position) -> bool:
        return self._located and (self._applied >= position or self.idle)

    @property
    def idle(self) -> bool:
        """True when the home has everything."""
        return self._feeding and not self._queue and not self._busy

    @property
    def backlog(self) -> int:
        """Records queued in memory (more may wait in segments)."""
        return len(self._queue)

    @property
    def away(self) -> bool:
        """True while the home cannot be reached."""
        return self._away

    def drain(self, timeout: float = 3.0) -> Deferred[bool]:
        """Apply all that was appended, at once. False when that is not done after `timeout` seconds; the journal keeps the rest."""
        if self.idle or self._loop is None:
            return succeed(self.idle)
        waiter: Deferred[bool] = Deferred()
        self._drains.append(waiter)
        timer = self._clock.call_later(timeout, self._drained, waiter, False)

        def done(ok: bool) -> bool:
            timer.cancel()
            return ok

        waiter.addCallback(done)
        self._wake()
        return waiter

    def check(self) -> Deferred[None]:
        """After an outage: when the home has lost what it was given, it gets it again without waiting for the next record. Errbacks when away."""
        return self.home.position().addCallback(self._compare)

    def _compare(self, mark: Position) -> None:
        if self._located and self.idle and mark < self._applied:
            self._go_back(mark)
            self._wake()

    def _drained(self, waiter: Deferred[bool], ok: bool) -> None:
        if waiter in self._drains:
            self._drains.remove(waiter)
            waiter.callback(ok)

    def stop(self) -> Deferred[None]:
        """End after the batch in hand; what is left stays in the journal."""
        self._stopping = True
        self._wake()
        return self._loop if self._loop is not None else succeed(None)

    async def pending(self, position: Position) -> list[Record]:
        """Records of the stream beyond `position` that the journal has now, oldest first."""
        found: list[Record] = []
        while (segment := self._journal.segment_after(position, self.stream)) is not None:
            name, end, _ = segment
            found += self._beyond(await self._journal.fetch(name), position, end)
            position = end
        return found

    # ---------------------------------------------------------------------------------------------------------------- loop
    async def _run(self) -> None:
        await self._locate()
        while not self._stopping:
            if self._queue:
                await self._gather()
                await self._carry()
            elif not self._feeding:
                await self._catch_up()
            else:
                self._rest()
                await self._sleep(None)
        self._feeding = False
        for waiter in self._drains[:]:
            self._drained(waiter, False)

    async def _locate(self) -> None:
        retry = FIRST_RETRY
        while not self._stopping:
            try:
                mark = await self.home.position()
            except Exception as e:  # noqa: BLE001 - whatever it is, it is logged and tried again
                self._failed(e)
                await self._sleep(retry)
                retry = min(retry * 2, LAST_RETRY)
                continue
            if mark.epoch > self._journal.epoch:
                log.warning(
                    "mark is ahead of the journal (directory lost and clock set back?), going on with this run's records",
                    stream=self.stream, mark=f"{mark.epoch}/{mark.seq}", epoch=self._journal.epoch,
                )  # fmt: skip
                mark = Position(self._journal.epoch, 0)
            self._read = self._applied = mark
            self._located = True
            self._came_back(0)
            return

    async def _catch_up(self) -> None:
        """Queue the next segment with records not queued yet; when it is the one being written, new records come by `offer` from now on."""
        segment = self._journal.segment_after(self._read, self.stream)
        if segment is None:
            self._feeding = True
            return
        name, end, newest = segment
        after = self._read
        self._busy = True
        if newest:
            # What is appended while the file is being read is queued behind what the file holds up to here.
            self._feeding = True
            self._read = end
        try:
            records = await self._journal.fetch(name)
        except Exception as e:  # noqa: BLE001 - unreadable now or no thread free: logged and tried again
            self._feeding = False
            self._queue.clear()
            self._read = after
            log.limited(name, 60, "journal segment cannot be read", file=name, error=str(e))
            await self._sleep(LAST_RETRY)
            return
        self._queue.extendleft(reversed(self._beyond(records, after, end)))
        self._read = max(self._read, end)

    def _beyond(self, records: list[Record], after: Position, end: Position) -> list[Record]:
        return [r for r in records if r.stream == self.stream and after < r.position <= end]

    async def _gather(self) -> None:
        """Let a small batch grow until it is time for it."""
        wait = self._next - self._clock.monotonic()
        if wait > 0 and self._feeding and len(self._queue) < self._batch and not self._drains:
            pause = self._sleep(None)
            if self._timer is None:
                self._timer = self._clock.call_later(wait, self._wake)
            await pause

    async def _carry(self) -> None:
        """One batch: together, or one by one when the home refuses it."""
        self._busy = True
        self._next = self._clock.monotonic() + self._pace
        batch = [self._queue[i] for i in range(min(self._batch, len(self._queue)))]
        stored = await self._store(batch, batch[-1].position)
        if stored is None:
            return
        if stored:
            self._take(batch)
            return
        for record in batch:
            stored = await self._store([record], record.position)
            if stored is False and await self._put_aside(record):
                stored = await self._store([], record.position)
            if not stored:
                return
            self._take([record])

    async def _store(self, records: list[Record], upto: Position) -> bool | None:
        """True: in the home. False: refused, see `_refusal`. None: not now, the follower is stopping or begins again further back."""
        retry = FIRST_RETRY
        while True:
            try:
                await self.home.apply(records, self._applied, upto)
            except SetBack as e:
                self._go_back(e.mark)
                return None
            except Exception as e:  # noqa: BLE001 - refused records are put aside, all else is logged and tried again
                if records and self.home.refuses(e):
                    self._refusal = _words(e)
                    return False
                self._failed(e)
            else:
                self._came_back(len(records))
                return True
            await self._sleep(retry)
            if self._stopping:
                return None
            retry = min(retry * 2, LAST_RETRY)

    def _go_back(self, mark: Position) -> None:
        """Read again from `mark` on, as far as the journal still has it."""
        log.warning(
            "home lost records it had stored, the journal gives them again",
            stream=self.stream, home=self.home.name, mark=f"{mark.epoch}/{mark.seq}", stored=f"{self._applied.epoch}/{self._applied.seq}",
        )  # fmt: skip
        self._queue.clear()
        self._feeding = False
        self._read = self._applied = mark

    async def _put_aside(self, record: Record) -> bool:
        try:
            path = await self._journal.put_aside(record, self._refusal)
        except Exception as e:  # noqa: BLE001 - as above
            self._failed(e)
            await self._sleep(LAST_RETRY)
            return False
        log.error("record refused by its home, put aside", stream=self.stream, seq=record.seq, epoch=record.epoch, error=self._refusal, file=path)
        return True

    def _take(self, records: list[Record]) -> None:
        for _ in records:
            self._queue.popleft()
        self._applied = records[-1].position
        if self._on_applied is not None:
            try:
                self._on_applied(records)
            except Exception as e:  # noqa: BLE001 - a listener's mistake must not stop the stream
                log.error("listener of a stream failed", stream=self.stream, error=repr(e))
        self._journal.prune()

    def _rest(self) -> None:
        """Nothing left to do."""
        self._busy = False
        if self._recovering:
            self._recovering = False
            log.info("home reachable again, records caught up", stream=self.stream, home=self.home.name, records=self._recovered)
        for waiter in self._drains[:]:
            self._drained(waiter, True)
        self._journal.prune()

    # ------------------------------------------------------------------------------------------------------------- helpers
    def _failed(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            # An outage has been logged by the database or the key-value store itself.
            say = log.info if isinstance(error, (StoreUnavailable, KeyValueUnavailable)) else log.warning
            say(
                "home away, the journal keeps its records; start it or repair the connection, nothing else is needed",
                stream=self.stream, home=self.home.name, error=_words(error),
            )  # fmt: skip

    def _came_back(self, records: int) -> None:
        if self._away:
            self._away = False
            self._recovering = True
            self._recovered = 0
        if self._recovering:
            self._recovered += records

    def _sleep(self, seconds: float | None) -> Deferred[None]:
        """Until `seconds` passed, or with None until there are records. `stop` and `drain` end it early."""
        if self._stopping:
            return succeed(None)
        self._pause = Deferred()
        self._for_records = seconds is None
        if seconds is not None:
            self._timer = self._clock.call_later(seconds, self._wake)
        return self._pause

    def _wake(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pause, self._pause = self._pause, None
        if pause is not None:
            pause.callback(None)


def _words(error: Exception) -> str:
    """An error for the log: what the driver said, without the statement and its values."""
    return str(getattr(error, "orig", None) or error) or type(error).__name__

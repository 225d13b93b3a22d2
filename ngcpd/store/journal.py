"""The journal: what must survive a crash of the process is on disk before the reply that makes it visible is sent.

One append is one write(2) of one record (the page cache outlives the process); a thread makes it durable against power loss at most
`sync_interval` later. Records belong to named streams; each stream has one follower (`store.follower`) that carries them in order to their
home. Segments whose records have all reached their homes are removed. Segment names are `<epoch>-<index>.journal`; each start of the
daemon is a new epoch and a new segment. A torn tail is cut off; a damaged segment is kept aside as `.bad` and read around the damage.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import AppendFile, Clock, Disk, Executor, Timer
from ngcpd.store.journal_record import START, Position, Record, decode, encode

log = logger("store")

__all__ = ["ALIVE", "CHECKPOINT", "START", "Journal", "JournalFull", "Position", "Reader", "Record"]

SEGMENT_SIZE = 16 << 20
SYNC_INTERVAL = 0.05
SPARE = 1
"""Closed segments that stay although nobody needs them."""
CHECKPOINT = "checkpoint"
"""Stream of the records written by `on_checkpoint` functions."""
ALIVE = "alive"
"""Stream of the records that say that the node was running (one a second)."""
UNFOLLOWED = frozenset({CHECKPOINT, ALIVE})
"""Streams without a home; they never keep a segment."""
_NAME = re.compile(r"(\d{16})-(\d{6})\.journal\Z")


class JournalFull(Exception):
    """The record could not be written (disk full or failing). Nothing of it counts; the caller decides what that means."""


class Reader(Protocol):
    """What the journal knows about a follower."""

    stream: str

    def offer(self, record: Record) -> None:
        """Called for each new record of the stream. Must not raise."""

    def passed(self, position: Position) -> bool:
        """True when everything of the stream up to `position` has reached its home."""


@dataclass(slots=True)
class Segment:
    """One file. `checkpointed`: replaying from here needs nothing older."""

    name: str
    epoch: int
    index: int
    first: int = 0
    last: int = 0
    streams: set[str] = field(default_factory=set)
    checkpointed: bool = False


class Journal:
    """See the module text. All methods but `read` run on the reactor; `open` and `replay` block and belong to the start."""

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        executor: Executor,
        directory: str,
        node: str,
        *,
        segment_size: int = SEGMENT_SIZE,
        sync_interval: float = SYNC_INTERVAL,
    ) -> None:
        self._disk = disk
        self._clock = clock
        self._executor = executor
        self._directory = directory.rstrip("/")
        self.node = node
        self._segment_size = segment_size
        self._sync_interval = sync_interval
        self._segments: list[Segment] = []
        self._readers: dict[str, Reader] = {}
        self._checkpoints: list[Callable[[], Iterable[bytes]]] = []
        self._file: AppendFile | None = None
        self._size = 0
        self._broken = False
        self._failing = False
        self._sync_failing = False
        self._dirty = False
        self._timer: Timer | None = None
        self._syncing = False
        self._waiters: list[Deferred[None]] = []
        self._retired: list[AppendFile] = []
        self._closed = False
        self._held = False
        self.epoch = 0
        self._seq = 0

    # -------------------------------------------------------------------------------------------------------------- start
    def open(self) -> None:
        """Look at what earlier runs left, repair a torn tail, begin a new epoch. Raises OSError (no directory, no permission, disk full)."""
        for name in self._disk.list(self._directory):
            match = _NAME.match(name)
            if match is not None:
                self._inspect(Segment(name, int(match[1]), int(match[2])))
        newest = max((s.epoch for s in self._segments), default=0)
        # The wall clock keeps epochs growing even when the directory was lost: marks kept by the homes stay below.
        self.epoch = max(newest + 1, int(self._clock.time()))
        self._begin_segment()

    def _inspect(self, segment: Segment) -> None:
        path = self._path(segment)
        data = self._disk.read(path)
        found = decode(data, segment.epoch)
        if found.damaged:
            log.error("journal segment damaged, the records around it are used, the file is kept aside", file=path, bytes=found.damaged)
            if segment.name + ".bad" not in self._disk.list(self._directory):
                self._disk.replace(path + ".bad", data)
        if found.end < len(data):
            log.warning("journal ends in an unfinished record, cut off", file=path, bytes=len(data) - found.end)
            self._disk.truncate(path, found.end)
        if not found.records:
            self._disk.remove(path)
            return
        segment.first, segment.last = found.records[0].seq, found.records[-1].seq
        segment.streams = {r.stream for r in found.records}
        segment.checkpointed = CHECKPOINT in segment.streams
        self._segments.append(segment)

    def replay(self) -> Iterator[Record]:
        """All records still kept, oldest first (blocks). What is removed had reached its home and lies before a checkpoint."""
        for segment in list(self._segments):
            yield from self.read(segment.name)

    def read(self, name: str) -> list[Record]:
        """The records of one segment; blocks, run it on the Executor. May be used while the segment grows."""
        return decode(self._disk.read(f"{self._directory}/{name}"), int(name[:16])).records

    @contextmanager
    def blocking(self) -> Iterator[None]:
        """For the start: what is appended inside sets no timer, so it may run on a thread, and is durable at the end. Raises OSError."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._dirty:
            retired, self._retired = self._retired, []
            _make_durable(retired, self._file)
            self._dirty = False

    def fetch(self, name: str) -> Deferred[list[Record]]:
        """`read` on the Executor."""
        return self._executor.run(self.read, name)

    def put_aside(self, record: Record, reason: str) -> Deferred[str]:
        """Keep a record that its home refuses in `rejected-<stream>.jsonl`, one JSON object a line; the path. Errbacks OSError."""
        path = f"{self._directory}/rejected-{record.stream}.jsonl"

        def write() -> str:
            entry = {"node": record.node, "epoch": record.epoch, "seq": record.seq, "reason": reason}
            line = json.dumps(entry | {"payload": record.payload.decode("utf-8", "backslashreplace")})
            file = self._disk.append(path)
            try:
                file.write(line.encode() + b"\n")
                file.sync()
            finally:
                file.close()
            return path

        return self._executor.run(write)

    # -------------------------------------------------------------------------------------------------------------- write
    @property
    def position(self) -> Position:
        """The newest record."""
        return Position(self.epoch, self._seq)

    def append(self, stream: str, payload: bytes) -> int:
        """Write one record; its sequence number. Raises `JournalFull`."""
        if self._closed:
            raise JournalFull("journal closed")
        if self._file is None or self._broken or self._size >= self._segment_size:
            self._rotate()
        return self._write(stream, payload)

    def _write(self, stream: str, payload: bytes) -> int:
        assert self._file is not None
        seq = self._seq + 1
        record = Record(self.node, self.epoch, seq, stream, payload)
        data = encode(record)
        try:
            self._file.write(data)
        except OSError as e:
            self._repair()
            self._failed(e)
            raise JournalFull(str(e)) from e
        if self._failing:
            self._failing = False
            log.info("journal can be written again")
        self._seq = seq
        self._size += len(data)
        segment = self._segments[-1]
        if not segment.first:
            segment.first = seq
        segment.last = seq
        segment.streams.add(stream)
        if not self._dirty or self._timer is None:
            self._touch()
        reader = self._readers.get(stream)
        if reader is not None:
            reader.offer(record)
        return seq

    def _failed(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            log.error("journal cannot be written; free space on its disk or repair it", directory=self._directory, error=str(error))

    def _repair(self) -> None:
        """After a failed write: what got through must not stand between records."""
        assert self._file is not None
        try:
            if self._file.size() != self._size:
                self._disk.truncate(self._path(self._segments[-1]), self._size)
        except OSError:
            self._broken = True

    # ----------------------------------------------------------------------------------------------------------- segments
    def _path(self, segment: Segment) -> str:
        return f"{self._directory}/{segment.name}"

    def _begin_segment(self) -> None:
        index = self._segments[-1].index + 1 if self._segments and self._segments[-1].epoch == self.epoch else 0
        segment = Segment(f"{self.epoch:016d}-{index:06d}.journal", self.epoch, index)
        self._file = self._disk.append(self._path(segment))
        self._size = self._file.size()
        self._broken = False
        self._segments.append(segment)

    def _rotate(self) -> None:
        """Go on in a new file. While the disk refuses one, the old file is used on when it is sound."""
        old = self._file
        try:
            self._begin_segment()
        except OSError as e:
            if old is None or self._broken:
                self._failed(e)
                raise JournalFull(str(e)) from e
            log.limited("rotate", 60, "journal cannot begin a new segment", directory=self._directory, error=str(e))
            return
        if old is not None:
            self._retired.append(old)
            self._touch()
        # The followers prune after each batch; an idle node writes only signs of life, which no follower carries.
        self.prune()
        self.checkpoint()

    def on_checkpoint(self, fn: Callable[[], Iterable[bytes]]) -> None:
        """`fn()` gives the records that stand for all that happened before: written at the head of each new segment."""
        self._checkpoints.append(fn)

    def checkpoint(self) -> None:
        """Write the checkpoint now; older segments are then only kept for their followers. A full disk postpones it."""
        try:
            for fn in self._checkpoints:
                for payload in fn():
                    self._write(CHECKPOINT, payload)
        except JournalFull:
            return
        self._segments[-1].checkpointed = True

    def follow(self, reader: Reader) -> None:
        """Register the follower of a stream; one per stream."""
        if reader.stream in self._readers:
            raise ValueError("stream has a follower already: " + reader.stream)
        self._readers[reader.stream] = reader

    def segment_after(self, position: Position, stream: str) -> tuple[str, Position, bool] | None:
        """Where to read on: the first segment with records of `stream` that ends beyond `position`: name, end, and whether it is being written."""
        for segment in self._segments:
            if stream in segment.streams and Position(segment.epoch, segment.last) > position:
                return segment.name, Position(segment.epoch, segment.last), segment is self._segments[-1]
        return None

    def prune(self) -> None:
        """Remove the segments that nobody needs. A stream without a follower keeps its segments; the newest closed one always stays, for a
        home that loses its last commits in a crash."""
        keep = max((i for i, s in enumerate(self._segments) if s.checkpointed), default=0) if self._checkpoints else len(self._segments) - 1
        for segment in self._segments[: min(keep, len(self._segments) - 1 - SPARE)]:
            end = Position(segment.epoch, segment.last)
            for stream in segment.streams - UNFOLLOWED:
                reader = self._readers.get(stream)
                if reader is None or not reader.passed(end):
                    return
            self._segments.remove(segment)
            self._executor.run(self._disk.remove, self._path(segment)).addErrback(self._remove_failed, segment.name)

    def _remove_failed(self, failure: Failure, name: str) -> None:
        log.limited("remove", 60, "journal segment cannot be removed", file=name, error=failure.getErrorMessage())

    # --------------------------------------------------------------------------------------------------------------- sync
    def _touch(self) -> None:
        self._dirty = True
        if self._timer is None and not self._syncing and not self._held:
            self._timer = self._clock.call_later(self._sync_interval, self._sync)

    def _sync(self) -> None:
        """One thread job at a time: the closed segments first, then the one being written."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._syncing or not self._dirty:
            return
        self._dirty = False
        self._syncing = True
        retired, self._retired = self._retired, []
        work = self._executor.run(_make_durable, retired, self._file)
        work.addCallbacks(self._sync_worked, self._sync_failed, errbackArgs=(retired,)).addCallback(self._sync_done)

    def _sync_worked(self, _: None) -> None:
        if self._sync_failing:
            self._sync_failing = False
            log.info("journal reaches the disk again")

    def _sync_failed(self, failure: Failure, retired: list[AppendFile]) -> None:
        if not self._sync_failing:
            self._sync_failing = True
            log.error("journal does not reach the disk; a power failure now would lose records", error=failure.getErrorMessage())
        if not isinstance(failure.value, OSError):
            # No thread took the work: all of it is still to be done, later.
            self._retired = retired + self._retired
            self._dirty = True
            self._release()

    def _sync_done(self, _: None) -> None:
        self._syncing = False
        if self._dirty and self._waiters:
            self._sync()
        elif not self._dirty:
            self._release()
        elif not self._closed:
            self._touch()

    def _release(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def flush(self) -> Deferred[None]:
        """fdatasync all that was appended so far; fires also when that failed (it has been logged)."""
        if not self._dirty and not self._syncing:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        self._sync()
        return waiter

    def close(self) -> Deferred[None]:
        """Make everything durable and close the file. A later append raises `JournalFull`."""
        self._closed = True

        def finish(_: None) -> None:
            if self._file is not None:
                self._file.close()
                self._file = None

        return self.flush().addCallback(finish)


def _make_durable(retired: list[AppendFile], current: AppendFile | None) -> None:
    for file in retired:
        try:
            file.sync()
        finally:
            file.close()
    if current is not None:
        current.sync()

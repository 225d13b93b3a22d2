"""The journal and its followers: on disk before visible, applied once and in order, whatever breaks in between."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed

from ngcpd.runtime.fake import InlineExecutor, MemoryAppendFile, MemoryDisk, SimClock
from ngcpd.runtime.real import OsDisk
from ngcpd.store.follower import Follower, SetBack
from ngcpd.store.journal import ALIVE, CHECKPOINT, START, Journal, JournalFull, Position, Record
from ngcpd.store.journal_record import decode, encode
from tests.store.helpers import captured, lines_with


class Disk(MemoryDisk):
    """A disk that can be full (`room` bytes left), write a part of a record, or fail to sync."""

    def __init__(self) -> None:
        super().__init__()
        self.room: int | None = None
        self.writes = 0
        self.syncs = 0
        self.sync_error: OSError | None = None
        self.open_error: OSError | None = None
        self.truncate_error: OSError | None = None

    def append(self, path: str, mode: int = 0o600) -> MemoryAppendFile:
        if self.open_error is not None:
            raise self.open_error
        return File(self, path, super().append(path, mode))

    def truncate(self, path: str, size: int) -> None:
        if self.truncate_error is not None:
            raise self.truncate_error
        super().truncate(path, size)


class File(MemoryAppendFile):
    def __init__(self, disk: Disk, path: str, inner: MemoryAppendFile) -> None:
        super().__init__(disk.files, path)
        self.disk = disk

    def write(self, data: bytes) -> None:
        self.disk.writes += 1
        room = self.disk.room
        if room is not None and room < len(data):
            super().write(data[:room])  # what a full disk may leave behind
            self.disk.room = 0
            raise OSError(errno.ENOSPC, "No space left on device")
        if room is not None:
            self.disk.room = room - len(data)
        super().write(data)

    def sync(self) -> None:
        self.disk.syncs += 1
        if self.disk.sync_error is not None:
            raise self.disk.sync_error


class Away(Exception):
    pass


class Refused(Exception):
    pass


class ListHome:
    """A home in memory, transactional, that can be away or refuse records."""

    name = "list"

    def __init__(self) -> None:
        self.got: list[tuple[int, bytes]] = []
        self.mark = START
        self.batches: list[int] = []
        self.down = False
        self.lose_reply = False
        self.bad: set[bytes] = set()

    def position(self) -> Deferred[Position]:
        return fail(Away("down")) if self.down else succeed(self.mark)

    def apply(self, records: Sequence[Record], after: Position, upto: Position) -> Deferred[None]:
        if self.down:
            return fail(Away("down"))
        if self.mark < after:
            return fail(SetBack(self.mark))
        if any(r.payload in self.bad for r in records):
            return fail(Refused("bad value"))
        fresh = [r for r in records if r.position > self.mark]
        self.got += [(r.epoch, r.payload) for r in fresh]
        self.batches.append(len(records))
        self.mark = upto
        if self.lose_reply:
            self.lose_reply = False
            return fail(Away("connection lost during commit"))
        return succeed(None)

    def refuses(self, error: Exception) -> bool:
        return isinstance(error, Refused)


class House:
    """Clock, disk and a journal that can crash and start again."""

    def __init__(self, **options: Any) -> None:
        self.clock = SimClock()
        self.disk = Disk()
        self.options = options
        self.home = ListHome()
        self.starts = 0
        self.start()

    def start(self, **follower: Any) -> None:
        self.clock.advance(1)
        self.starts += 1
        self.journal = Journal(self.disk, self.clock, InlineExecutor(), "/j", "self", **self.options)
        self.journal.open()
        self.follower = Follower(self.journal, "acc", self.home, self.clock, **follower)

    def crash(self, **follower: Any) -> None:
        """The process is gone: nothing of it runs on, what was written is there."""
        self.clock._heap.clear()
        self.start(**follower)

    def payloads(self) -> list[bytes]:
        return [payload for _, payload in self.home.got]

    def segments(self) -> list[str]:
        return [n for n in self.disk.list("/j") if n.endswith(".journal")]


def write(house: House, *payloads: bytes, stream: str = "acc") -> None:
    for payload in payloads:
        house.journal.append(stream, payload)


# ------------------------------------------------------------------------------------------------------------------ records
records = st.builds(
    Record, st.text(max_size=20).filter(lambda t: len(t.encode("utf-8", "ignore")) < 200 and t.isprintable()), st.just(7),
    st.integers(1, 2**60), st.sampled_from(["acc", "binding", "alive"]), st.binary(max_size=200),
)  # fmt: skip


@given(st.lists(records, max_size=10))
def test_records_read_back(wanted: list[Record]) -> None:
    data = b"".join(encode(r) for r in wanted)
    assert decode(data, 7) == (wanted, len(data), 0)


@given(st.lists(records, min_size=1, max_size=6), st.data())
def test_torn_tail_loses_only_the_torn_record(wanted: list[Record], data: st.DataObject) -> None:
    whole = b"".join(encode(r) for r in wanted)
    last = len(encode(wanted[-1]))
    cut = whole[: len(whole) - data.draw(st.integers(1, last))]
    assert decode(cut, 7) == (wanted[:-1], len(whole) - last, 0)
    zeros = cut + b"\0" * data.draw(st.integers(0, 5000))
    found = decode(zeros, 7)
    assert found.records[: len(wanted) - 1] == wanted[:-1] and found.damaged == 0


@given(st.lists(records, min_size=2, max_size=8), st.data())
def test_damage_in_the_middle_loses_only_what_it_hit(wanted: list[Record], data: st.DataObject) -> None:
    hit = data.draw(st.integers(0, len(wanted) - 2))
    parts = [bytearray(encode(r)) for r in wanted]
    at = data.draw(st.integers(0, len(parts[hit]) - 1))
    parts[hit][at] ^= data.draw(st.integers(1, 255))
    found = decode(b"".join(parts), 7)
    assert [r for r in found.records if r != wanted[hit]] == [r for i, r in enumerate(wanted) if i != hit and r != wanted[hit]]
    assert found.damaged


@given(st.binary(max_size=600))
def test_any_bytes_can_be_read(data: bytes) -> None:
    found = decode(data, 0)
    assert 0 <= found.end <= len(data)


# ------------------------------------------------------------------------------------------------------------------ writing
def test_one_append_is_one_write_and_is_there_at_once() -> None:
    house = House()
    before = house.disk.writes
    assert house.journal.append("acc", b"one") == 1
    assert house.journal.append("binding", b"two") == 2
    assert house.disk.writes == before + 2
    assert [(r.seq, r.stream, r.payload, r.node) for r in house.journal.replay()] == [(1, "acc", b"one", "self"), (2, "binding", b"two", "self")]


def test_sync_at_most_every_50_ms_and_only_when_dirty() -> None:
    house = House()
    for _ in range(100):
        write(house, b"x")
    assert house.disk.syncs == 0
    house.clock.advance(0.049)
    assert house.disk.syncs == 0
    house.clock.advance(0.002)
    assert house.disk.syncs == 1
    house.clock.advance(10)
    assert house.disk.syncs == 1
    for _ in range(20):
        write(house, b"x")
        house.clock.advance(0.01)
    assert 4 <= house.disk.syncs <= 6
    done: list[None] = []
    write(house, b"x")
    before = house.disk.syncs
    house.journal.flush().addCallback(done.append)
    assert done == [None] and house.disk.syncs == before + 1


def test_epoch_grows_with_each_start_also_when_the_directory_was_lost() -> None:
    house = House()
    epochs = [house.journal.epoch]
    for _ in range(3):
        write(house, b"x")
        house.crash()
        epochs.append(house.journal.epoch)
    house.disk.files.clear()
    house.crash()
    epochs.append(house.journal.epoch)
    assert epochs == sorted(set(epochs))
    write(house, b"x")
    house.clock.epoch -= 1000  # clock set back: the segments still keep it growing
    house.crash()
    assert house.journal.epoch > epochs[-1]


def test_disk_full() -> None:
    house = House()
    house.follower.start()
    write(house, b"before")
    house.disk.room = 20
    with captured() as lines:
        for _ in range(3):
            with pytest.raises(JournalFull):
                house.journal.append("acc", b"lost" * 10)
        house.disk.room = None
        assert house.journal.append("acc", b"after") == 2
        assert len(lines_with(lines, "error", "journal cannot be written")) == 1
        assert len(lines_with(lines, "info", "journal can be written again")) == 1
    house.clock.advance(1)
    assert house.payloads() == [b"before", b"after"]
    assert [r.payload for r in house.journal.replay()] == [b"before", b"after"]
    with captured() as lines:
        house.crash()
    assert not lines  # nothing torn was left behind


def test_disk_full_and_not_repairable_goes_on_in_a_new_segment() -> None:
    house = House()
    write(house, b"before")
    house.disk.room = 20
    house.disk.truncate_error = OSError(errno.EIO, "Input/output error")
    with pytest.raises(JournalFull):
        house.journal.append("acc", b"lost" * 10)
    house.disk.open_error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(JournalFull):
        house.journal.append("acc", b"lost" * 10)
    house.disk.room = house.disk.open_error = house.disk.truncate_error = None
    write(house, b"after")
    assert len(house.segments()) == 2
    assert [r.payload for r in house.journal.replay()] == [b"before", b"after"]


def test_sync_failure_is_said_once() -> None:
    house = House()
    house.disk.sync_error = OSError(errno.EIO, "Input/output error")
    with captured() as lines:
        for _ in range(5):
            write(house, b"x")
            house.clock.advance(1)
        house.disk.sync_error = None
        write(house, b"x")
        house.clock.advance(1)
    assert len(lines_with(lines, "error", "does not reach the disk")) == 1
    assert len(lines_with(lines, "info", "reaches the disk again")) == 1


def test_no_thread_free_for_the_sync() -> None:
    class Full:
        full = True

        def run(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
            return fail(RuntimeError("too much work")) if self.full else InlineExecutor().run(fn, *args, **kwargs)

    threads, disk, clock = Full(), Disk(), SimClock()
    journal = Journal(disk, clock, threads, "/j", "self", segment_size=50)
    journal.open()
    with captured() as lines:
        for _ in range(10):
            journal.append("acc", b"x" * 50)
            clock.advance(1)
        done: list[None] = []
        journal.flush().addCallback(done.append)
        assert done == [None] and disk.syncs == 0
        threads.full = False
        clock.advance(1)
    assert disk.syncs == 10  # every closed segment and the one being written
    assert [line.split()[0] for line in lines] == ["error", "info"]


def test_torn_tail_is_cut_off_with_one_warning() -> None:
    house = House()
    write(house, b"one", b"two")
    path = f"/j/{house.segments()[-1]}"
    house.disk.files[path] = house.disk.files[path][:-3]
    with captured() as lines:
        house.crash()
    assert len(lines_with(lines, "warning", "unfinished record")) == 1
    house.follower.start()
    write(house, b"three")
    house.clock.advance(1)
    assert house.payloads() == [b"one", b"three"]
    with captured() as lines:
        house.crash()
    assert not lines


def test_damaged_segment_is_kept_aside_and_the_rest_used() -> None:
    house = House()
    write(house, b"one", b"two", b"three")
    path = f"/j/{house.segments()[-1]}"
    data = house.disk.files[path]
    data[data.index(b"two")] ^= 1
    original = bytes(data)
    with captured() as lines:
        house.crash()
    assert len(lines_with(lines, "error", "damaged")) == 1
    assert house.disk.read(path + ".bad") == original
    house.follower.start()
    house.clock.advance(1)
    assert house.payloads() == [b"one", b"three"]


def test_closed() -> None:
    house = House()
    write(house, b"x")
    house.journal.close()
    assert house.disk.syncs == 1
    with pytest.raises(JournalFull):
        house.journal.append("acc", b"x")


# ----------------------------------------------------------------------------------------------------------------- segments
def test_segments_rotate_and_go_when_all_followers_passed() -> None:
    house = House(segment_size=200)
    bindings = ListHome()
    other = Follower(house.journal, "binding", bindings, house.clock)
    house.follower.start()
    for n in range(30):
        write(house, b"a%d" % n)
        write(house, b"b%d" % n, stream="binding")
    house.clock.advance(1)
    assert len(house.payloads()) == 30
    assert len(house.segments()) > 5  # the other follower has not passed
    other.start()
    house.clock.advance(1)
    assert len(bindings.got) == 30
    assert len(house.segments()) <= 2


def test_stream_without_follower_keeps_its_segments() -> None:
    house = House(segment_size=100)
    house.follower.start()
    write(house, b"kept" * 10, stream="binding")
    for _ in range(10):
        write(house, b"x" * 50)
    house.clock.advance(1)
    assert b"kept" * 10 in [r.payload for r in house.journal.replay()]
    for _ in range(10):
        write(house, b"1700000000.000", stream=ALIVE)


def test_checkpoints_keep_what_a_replay_needs() -> None:
    house = House(segment_size=150)
    state: list[bytes] = []
    house.journal.on_checkpoint(lambda: [b"+".join(state)])
    house.follower.start()
    for n in range(20):
        write(house, b"%d" % n)
        state.append(b"%d" % n)
    house.clock.advance(1)

    def replayed() -> list[bytes]:
        known: list[bytes] = []
        for r in house.journal.replay():
            known = r.payload.split(b"+") if r.stream == CHECKPOINT else [*known, r.payload]
        return known

    assert replayed() == state
    house.disk.room = 0
    with pytest.raises(JournalFull):
        for _ in range(20):
            write(house, b"full")
    house.disk.room = None
    house.clock.advance(1)
    assert replayed() == state


# ---------------------------------------------------------------------------------------------------------------- followers
def test_group_commit_within_50_ms() -> None:
    house = House()
    house.follower.start()
    for n in range(30):
        write(house, b"%d" % n)
    assert house.home.got == []
    house.clock.advance(0.05)
    assert house.payloads() == [b"%d" % n for n in range(30)]
    assert house.home.batches == [30]
    for n in range(450):
        write(house, b"%d" % n)
    house.clock.advance(0.05)
    assert house.home.batches[1:] == [200, 200, 50] and house.follower.idle


def test_home_away_and_back() -> None:
    house = House()
    house.follower.start()
    write(house, b"0")
    house.clock.advance(1)
    heard: list[bytes] = []
    house.follower._on_applied = lambda batch: heard.extend(r.payload for r in batch)
    with captured() as lines:
        house.home.down = True
        for n in range(1, 300):
            write(house, b"%d" % n)
            house.clock.advance(0.1)
        assert house.follower.away
        house.home.down = False
        house.clock.advance(6)
        assert not house.follower.away and house.follower.idle
    assert house.payloads() == [b"%d" % n for n in range(300)]
    assert heard == house.payloads()[1:]
    assert len(lines) == 2, lines
    assert lines_with(lines, "warning", "home away", "journal keeps")
    assert lines_with(lines, "info", "caught up", "records=299")


def test_memory_is_bounded_while_the_home_is_away() -> None:
    house = House(segment_size=2000)
    house.follower = None  # type: ignore[assignment]
    house.crash(queue=50, batch=20)
    house.follower.start()
    house.home.down = True
    for n in range(2000):
        write(house, b"%d" % n)
        if n % 50 == 0:
            house.clock.advance(0.1)
        assert house.follower.backlog <= 50
    house.home.down = False
    house.clock.advance(10)
    for n in range(2000, 2100):
        write(house, b"%d" % n)
        house.clock.advance(0.01)
    house.clock.advance(1)
    assert house.payloads() == [b"%d" % n for n in range(2100)]
    assert len(house.segments()) <= 2


def test_home_away_at_start() -> None:
    house = House()
    write(house, b"old")
    house.home.down = True
    with captured() as lines:
        house.crash()
        house.follower.start()
        write(house, b"new")
        house.clock.advance(5)
        house.home.down = False
        house.clock.advance(5)
    assert house.payloads() == [b"old", b"new"]
    assert len(lines) == 2


def test_refused_record_is_put_aside_and_stops_nothing() -> None:
    house = House()
    house.follower.start()
    house.home.bad = {b"bad"}
    with captured() as lines:
        write(house, b"1", b"bad", b"2", b"bad", b"3")
        house.clock.advance(1)
    assert house.payloads() == [b"1", b"2", b"3"]
    assert house.home.mark == house.journal.position
    assert len(lines_with(lines, "error", "put aside")) == 2
    kept = house.disk.read("/j/rejected-acc.jsonl").decode().splitlines()
    assert len(kept) == 2 and '"payload": "bad"' in kept[0] and '"reason": "bad value"' in kept[0]


def test_reply_lost_during_commit_does_not_double() -> None:
    house = House()
    house.follower.start()
    house.home.lose_reply = True
    write(house, b"1", b"2")
    house.clock.advance(2)
    assert house.payloads() == [b"1", b"2"]


@pytest.mark.parametrize("keep", [0, 3, 9])
def test_home_that_lost_its_last_commits_gets_them_again(keep: int) -> None:
    house = House()
    house.follower.start()
    marks = [(0, START)]
    for n in range(10):
        write(house, b"%d" % n)
        house.clock.advance(1)
        marks.append((len(house.home.got), house.home.mark))
    length, house.home.mark = marks[keep]
    del house.home.got[length:]
    with captured() as lines:
        write(house, b"10", b"11")
        house.clock.advance(1)
    assert house.payloads() == [b"%d" % n for n in range(12)]
    assert house.follower.idle
    assert len(lines_with(lines, "warning", "lost records")) == 1


def test_drain_is_prompt_and_bounded() -> None:
    house = House()
    house.follower.start()
    results: list[bool] = []
    house.follower.drain().addCallback(results.append)
    write(house, b"1")
    house.follower.drain().addCallback(results.append)
    assert results == [True, True] and house.payloads() == [b"1"]
    house.home.down = True
    write(house, b"2")
    house.follower.drain(1.0).addCallback(results.append)
    house.clock.advance(0.9)
    assert len(results) == 2
    house.clock.advance(0.2)
    assert results == [True, True, False]
    stopped: list[None] = []
    house.follower.stop().addCallback(stopped.append)
    assert stopped == [None]
    house.journal.close()
    assert house.clock.pending() == 0
    house.home.down = False
    house.crash()
    house.follower.start()
    house.clock.advance(1)
    assert house.payloads() == [b"1", b"2"]


def test_mark_ahead_of_the_journal() -> None:
    house = House()
    house.home.mark = Position(house.journal.epoch + 10_000, 5)
    with captured() as lines:
        house.follower.start()
    assert lines_with(lines, "warning", "ahead")


class HeldExecutor:
    """Threads whose work ends when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []

    def run(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()

        def job() -> None:
            try:
                result = fn(*args, **kwargs)
            except OSError:
                done.errback()
            else:
                done.callback(result)

        self.jobs.append(job)
        return done

    def work(self) -> None:
        while self.jobs:
            self.jobs.pop(0)()


def test_records_written_while_a_segment_is_read_are_neither_lost_nor_doubled() -> None:
    clock, disk, home, threads = SimClock(), Disk(), ListHome(), HeldExecutor()
    journal = Journal(disk, clock, threads, "/j", "self")
    journal.open()
    follower = Follower(journal, "acc", home, clock)
    for n in range(5):
        journal.append("acc", b"%d" % n)
    follower.start()
    assert not follower.idle
    for n in range(5, 10):
        journal.append("acc", b"%d" % n)  # the thread has not read yet, but will see these in the file as well
    assert not follower.passed(journal.position)
    threads.work()
    clock.advance(1)
    threads.work()
    assert [p for _, p in home.got] == [b"%d" % n for n in range(10)]
    assert follower.idle


steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 30)),
        st.tuples(st.just("advance"), st.sampled_from([0.01, 0.05, 0.3, 6.0])),
        st.tuples(st.just("down"), st.booleans()),
        st.tuples(st.just("crash"), st.integers(0, 40)),
        st.tuples(st.just("lose"), st.none()),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(steps, st.sampled_from([150, 700, 100_000]), st.sampled_from([5, 10_000]))
@example([("write", 3), ("write", 30), ("write", 30)], 150, 10_000)
def test_exactly_once_and_in_order_through_crashes_and_outages(plan: list[tuple[str, Any]], size: int, queue: int) -> None:
    house = House(segment_size=size)
    house.crash(queue=queue, batch=7)
    house.follower.start()
    wanted: list[bytes] = []
    for what, value in plan:
        if what == "write":
            for _ in range(value):
                wanted.append(b"%d" % len(wanted))
                write(house, wanted[-1])
                write(house, b"0", stream=ALIVE)
        elif what == "advance":
            house.clock.advance(value)
        elif what == "down":
            house.home.down = value
        elif what == "lose":
            house.home.lose_reply = True
        else:
            if value > 20:  # the record in hand was torn: its append never returned
                path = f"/j/{house.segments()[-1]}"
                house.disk.files[path] += encode(Record("self", house.journal.epoch, 10**6, "acc", b"never" * 10))[:value]
            house.crash(queue=queue, batch=7)
            house.follower.start()
    house.home.down = False
    house.clock.advance(30)
    assert house.payloads() == wanted
    assert house.follower.idle
    assert len(house.segments()) <= 2


def test_signs_of_life_alone_do_not_pile_up() -> None:
    house = House(segment_size=150)
    house.crash()
    house.follower.start()
    write(house, b"0")
    house.clock.advance(30)
    for _ in range(200):
        write(house, b"0", stream=ALIVE)
    house.clock.advance(30)
    assert house.payloads() == [b"0"] and len(house.segments()) <= 2


def test_real_files(tmp_path: Path) -> None:
    """The same on the file system."""
    disk = OsDisk()
    home, clock = ListHome(), SimClock()
    for n in range(3):
        clock.advance(1)
        journal = Journal(disk, clock, InlineExecutor(), str(tmp_path), "self", segment_size=300)
        journal.open()
        follower = Follower(journal, "acc", home, clock)
        follower.start()
        for i in range(10):
            journal.append("acc", b"%d" % (n * 10 + i))
        if n != 1:  # the second run crashes before anything reaches the home
            clock.advance(1)
        else:
            clock._heap.clear()
    assert [p for _, p in home.got] == [b"%d" % i for i in range(30)]
    assert len(list(tmp_path.glob("*.journal"))) <= 2

"""Accounting events on their way to table `acc` (billing 1.1, call processing 4.5): journal first, table by the stream's follower.

Events are rows of `acc`: one INVITE row per final answer of a routed leg, one BYE row per ended dialog. A crash must not leave calls open:
the journal also tells which calls were answered and not ended, and when the node was last alive, so that the next start closes them
(features 3, no. 33).
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Iterable, Sequence
from operator import le
from typing import Final

import msgspec
import sqlalchemy as sa

from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Timer
from ngcpd.store.db import Database
from ngcpd.store.follower import SqlHome
from ngcpd.store.journal import ALIVE, CHECKPOINT, Journal, JournalFull, Record
from ngcpd.store.legs import DestinationLeg, LegError, SourceLeg
from ngcpd.store.rows import insert_rows
from ngcpd.store.tables.accounting import acc

__all__ = ["STREAM", "AccEvent", "Accounting", "DestinationLeg", "LegError", "SourceLeg", "acc_home"]

log = logger("store")
STREAM = "acc"
ALIVE_INTERVAL = 1.0


class AccEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row of `acc`. `time` is epoch seconds with milliseconds; the legs are `SourceLeg.encode()` and `DestinationLeg.encode()`."""

    method: str
    callid: str
    time: float
    sip_code: str = "200"
    sip_reason: str = ""
    from_tag: str = ""
    to_tag: str = ""
    src_leg: str = ""
    dst_leg: str = ""
    src_user: str = ""
    src_domain: str = ""
    dst_user: str = ""
    dst_ouser: str = ""
    dst_domain: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AccEvent).decode


def fit(text: str, limit: int) -> str:
    """Text for a column of `limit` characters, without control characters and lone surrogates."""
    if len(text) > limit:
        text = text[:limit]
    if text.isprintable():
        return text
    return "".join("_" if ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 else c for c in text)


def fit_call_id(call_id: str) -> str:
    """A Call-ID for its column of 255 characters; a longer one keeps its head and gets a digest, so that two never become one."""
    if len(call_id) <= 255:
        return fit(call_id, 255)
    digest = hashlib.blake2b(call_id.encode("utf-8", "replace"), digest_size=16).hexdigest()
    return fit(call_id, 222) + "~" + digest


_LIMITS: Final = (16, 255, 3, 128, 128, 128, 10240, 10240, 64, 128, 64, 64, 128)
"""Of the columns, in the order of `AccEvent` without its time."""


def _fitted(event: AccEvent) -> AccEvent:
    """The event as its columns take it. Nearly always that is what it is already: one look at all texts together finds out."""
    method, callid, time, *rest = msgspec.structs.astuple(event)
    texts = (method, callid, *rest)
    if round(time, 3) == time and "".join(texts).isprintable() and all(map(le, map(len, texts), _LIMITS)):
        return event
    method, _, *rest = map(fit, texts, _LIMITS)
    return AccEvent(method, fit_call_id(callid), round(time, 3), *rest)


def store(conn: sa.Connection, records: Sequence[Record]) -> None:
    """Insert a batch of journal records into `acc`."""
    rows = []
    for record in records:
        event = _decode(record.payload)
        row = msgspec.structs.asdict(event)
        row["time_hires"] = row["time"]
        row["time"] = datetime.datetime.fromtimestamp(event.time, datetime.UTC)
        rows.append(row)
    insert_rows(conn, acc, rows)


def acc_home(db: Database, node: str) -> SqlHome:
    """The home of the stream: table `acc`, each event exactly once."""
    return SqlHome(db, node, STREAM, store)


class OpenCall(msgspec.Struct, frozen=True, array_like=True):
    """An answered call without BYE row. `epoch` is the run of the daemon that answered it."""

    callid: str
    from_tag: str
    to_tag: str
    start: float
    epoch: int


class Checkpoint(msgspec.Struct, frozen=True, tag="acc"):
    """All that is open, and per run when it was last known alive."""

    open: list[OpenCall]
    alive: list[tuple[int, float]]


class Accounting:
    """The door for what happens in calls. Order at start: journal open, `recover()`, followers, `start()`."""

    def __init__(self, journal: Journal, clock: Clock, *, alive_interval: float = ALIVE_INTERVAL) -> None:
        self._journal = journal
        self._clock = clock
        self._interval = alive_interval
        self._open: dict[str, OpenCall] = {}
        self._alive: dict[int, float] = {}
        self._timer: Timer | None = None
        self.before_beat: Callable[[], bool] | None = None
        """Writes events that had to wait for the journal; False: some still do, and a sign of life would be newer than they are."""
        journal.on_checkpoint(self._checkpoint)

    @property
    def open_calls(self) -> int:
        """Answered calls whose end was not written yet."""
        return len(self._open)

    def write(self, event: AccEvent) -> int:
        """Put one event on disk; its journal number. Raises `JournalFull`: nothing was written, the caller decides about the call."""
        event = _fitted(event)
        seq = self._journal.append(STREAM, _encode(event))
        self._note(event, self._journal.epoch)
        return seq

    def _note(self, event: AccEvent, epoch: int) -> None:
        self._alive[epoch] = max(self._alive.get(epoch, 0.0), event.time)
        if event.method == "BYE":
            self._open.pop(event.callid, None)
        elif event.method == "INVITE" and event.sip_code == "200":
            self._open.setdefault(event.callid, OpenCall(event.callid, event.from_tag, event.to_tag, event.time, epoch))

    def _checkpoint(self) -> Iterable[bytes]:
        epochs = {call.epoch for call in self._open.values()} | {self._journal.epoch}
        alive = [(epoch, at) for epoch, at in self._alive.items() if epoch in epochs]
        return [msgspec.json.encode(Checkpoint(list(self._open.values()), alive))]

    # --------------------------------------------------------------------------------------------------------------- start
    def recover(self) -> int:
        """Close the calls that an earlier run left open: a BYE row each, stamped with the moment that run was last alive, reason `timeout`.

        Blocks (reads the journal, waits for the disk) and may run on a thread; call it once after `Journal.open` and before any follower
        runs or anything is written. The number of calls closed. Raises `JournalFull`, OSError.
        """
        for record in self._journal.replay():
            self._replay(record)
        calls = list(self._open.values())
        with self._journal.blocking():
            for call in calls:
                self.write(self._closing(call))
            self._journal.checkpoint()
        if calls:
            log.warning("calls of an earlier run closed", calls=len(calls))
        return len(calls)

    def _replay(self, record: Record) -> None:
        try:
            if record.stream == STREAM:
                self._note(_decode(record.payload), record.epoch)
            elif record.stream == ALIVE:
                self._alive[record.epoch] = max(self._alive.get(record.epoch, 0.0), float(record.payload))
            elif record.stream == CHECKPOINT:
                state = msgspec.json.decode(record.payload, type=Checkpoint)
                self._open = {call.callid: call for call in state.open}
                self._alive.update(state.alive)
        except (msgspec.MsgspecError, ValueError) as e:
            log.error("journal record cannot be read, left out", stream=record.stream, epoch=record.epoch, seq=record.seq, error=str(e))

    def _closing(self, call: OpenCall) -> AccEvent:
        at = max(call.start, self._alive.get(call.epoch, 0.0))
        return AccEvent("BYE", call.callid, at, "200", "timeout", call.from_tag, call.to_tag)

    def start(self) -> None:
        """Write the sign of life now and once every interval."""
        if self._timer is None:
            self._beat()

    def _beat(self) -> None:
        self._timer = self._clock.call_later(self._interval, self._beat)
        if self.before_beat is not None and not self.before_beat():
            return
        now = round(self._clock.time(), 3)
        try:
            self._journal.append(ALIVE, str(now).encode())
        except JournalFull:
            return  # the journal has said so; the next beat tries again
        self._alive[self._journal.epoch] = now

    def stop(self) -> None:
        """No more signs of life."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

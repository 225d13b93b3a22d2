"""Bindings of registered contacts, durably: each change is in the journal before the REGISTER is answered and reaches its one home later.

The home is table `registration` (`SqlBindingHome`) or, in a cluster, Redis (`RedisBindingHome`): one key per binding that lives until the
binding expires plus 30 s (features F2). A binding is named by its `ruid`; putting it again replaces it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa
from twisted.internet.defer import Deferred, FirstError, gatherResults, succeed

from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Address, Clock
from ngcpd.store.db import Database
from ngcpd.store.follower import Follower, Home, SetBack, SqlHome
from ngcpd.store.journal import START, Journal, Position, Record
from ngcpd.store.kv import KeyValue, KeyValueError
from ngcpd.store.rows import insert_rows
from ngcpd.store.tables.runtime import registration

log = logger("store")
STREAM = "binding"
GRACE = 30.0
"""Seconds that a binding stays in its home after it expired."""
READ_AT_ONCE = 500


class BindingRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One registered contact (call processing 2.2); the fields of `registrar.Binding`. Times are epoch seconds."""

    ruid: str
    subscriber_id: int
    contact: str
    expires_at: float
    received: Address | None = None
    path: tuple[str, ...] = ()
    q: float = -1.0
    call_id: str = ""
    cseq: int = 0
    user_agent: str = ""
    instance: str = ""
    reg_id: int = 0
    socket: str = ""
    transport: str = "udp"
    flow_id: int = 0
    nat: bool = False
    permanent: bool = False
    node: str = ""

    def live(self, now: float) -> bool:
        return self.permanent or self.expires_at > now


class Put(msgspec.Struct, frozen=True, tag="put"):
    """Journal record: this binding exists."""

    binding: BindingRecord


class Delete(msgspec.Struct, frozen=True, tag="delete"):
    """Journal record: this binding is gone."""

    subscriber_id: int
    ruid: str


Change = Put | Delete
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Change).decode
_binding = msgspec.json.Decoder(BindingRecord).decode


def latest(records: Sequence[Record]) -> dict[str, Change]:
    """The last change of each binding in a run of journal records, by ruid."""
    last: dict[str, Change] = {}
    for record in records:
        change = _decode(record.payload)
        ruid = change.binding.ruid if isinstance(change, Put) else change.ruid
        last.pop(ruid, None)
        last[ruid] = change
    return last


class BindingHome(Home, Protocol):
    """A home that can be read back."""

    def load(self) -> Deferred[tuple[Position, list[BindingRecord]]]:
        """The mark and the bindings stored at that moment (or later). Errbacks as `apply` does when away."""

    def purge(self) -> Deferred[int]:
        """Remove what expired more than `GRACE` seconds ago; how many. Redis does it by itself."""


# ---------------------------------------------------------------------------------------------------------------------- SQL
def _address(text: str | None) -> Address | None:
    host, _, port = (text or "").rpartition(":")
    return (host, int(port)) if host and port.isdigit() else None


def split_path(text: str) -> tuple[str, ...]:
    """Path values of the column: split at commas outside of `<>` and quotes."""
    values: list[str] = []
    start = 0
    closing = ""
    for i, c in enumerate(text):
        if closing:
            closing = "" if c == closing else closing
        elif c in '<"':
            closing = ">" if c == "<" else c
        elif c == ",":
            values.append(text[start:i].strip())
            start = i + 1
    values.append(text[start:].strip())
    return tuple(v for v in values if v)


def _row(b: BindingRecord, now: float) -> dict[str, object]:
    return {
        "ruid": b.ruid,
        "subscriber_id": b.subscriber_id,
        "contact": b.contact,
        "received": f"{b.received[0]}:{b.received[1]}" if b.received is not None else None,
        "path": ",".join(b.path),
        "expires_at": b.expires_at,
        "q": b.q,
        "callid": b.call_id[:255],
        "cseq": b.cseq,
        "user_agent": b.user_agent[:255],
        "instance": b.instance,
        "reg_id": b.reg_id,
        "socket": b.socket,
        "transport": b.transport,
        "nat": b.nat,
        "permanent": b.permanent,
        "node": b.node,
        "modified_at": now,
    }


def _record(row: sa.Row[tuple[object, ...]]) -> BindingRecord:
    m = row._mapping
    return BindingRecord(
        ruid=m["ruid"],
        subscriber_id=m["subscriber_id"],
        contact=m["contact"],
        expires_at=float(m["expires_at"]),
        received=_address(m["received"]),
        path=split_path(m["path"]),
        q=float(m["q"]),
        call_id=m["callid"],
        cseq=m["cseq"],
        user_agent=m["user_agent"],
        instance=m["instance"],
        reg_id=m["reg_id"],
        socket=m["socket"],
        transport=m["transport"],
        nat=bool(m["nat"]),
        permanent=bool(m["permanent"]),
        node=m["node"],
    )


class SqlBindingHome(SqlHome):
    """Table `registration`."""

    def __init__(self, db: Database, clock: Clock, node: str) -> None:
        super().__init__(db, node, STREAM, self._changes)
        self._clock = clock

    def _changes(self, conn: sa.Connection, records: Sequence[Record]) -> None:
        last = latest(records)
        gone = list(last)
        for i in range(0, len(gone), 500):
            conn.execute(sa.delete(registration).where(registration.c.ruid.in_(gone[i : i + 500])))
        now = self._clock.time()
        insert_rows(conn, registration, [_row(change.binding, now) for change in last.values() if isinstance(change, Put)])

    def load(self) -> Deferred[tuple[Position, list[BindingRecord]]]:
        def unit(conn: sa.Connection) -> tuple[Position, list[BindingRecord]]:
            mark = self.mark(conn)
            return mark, [_record(row) for row in conn.execute(sa.select(registration))]

        return self._db.read(unit)

    def purge(self) -> Deferred[int]:
        def unit(conn: sa.Connection, before: float) -> int:
            over = registration.c.expires_at < before
            return conn.execute(sa.delete(registration).where(over, registration.c.permanent == sa.false())).rowcount

        return self._db.run(unit, self._clock.time() - GRACE)


# -------------------------------------------------------------------------------------------------------------------- Redis
class RedisBindingHome:
    """Keys `ngcp:binding:<subscriber>:<ruid>` on a shared key-value store. Applying a batch again changes nothing, so the mark follows it."""

    PREFIX = "ngcp:binding:"

    def __init__(self, kv: KeyValue, clock: Clock, node: str) -> None:
        self.name = "key-value store"
        self._kv = kv
        self._clock = clock
        self._mark = f"ngcp:mark:{STREAM}:{node}"

    def position(self) -> Deferred[Position]:
        return self._kv.get(self._mark).addCallback(self._position)

    @staticmethod
    def _position(text: str | None) -> Position:
        epoch, _, seq = (text or "").partition("/")
        return Position(int(epoch), int(seq)) if epoch.isdigit() and seq.isdigit() else START

    def _key(self, subscriber_id: int, ruid: str) -> str:
        return f"{self.PREFIX}{subscriber_id}:{ruid}"

    def apply(self, records: Sequence[Record], after: Position, upto: Position) -> Deferred[None]:
        return Deferred.fromCoroutine(self._apply(records, after, upto))

    async def _apply(self, records: Sequence[Record], after: Position, upto: Position) -> None:
        mark = await self.position()
        if mark < after:
            raise SetBack(mark)
        now = self._clock.time()
        gone: list[str] = []
        commands: list[Deferred[Any]] = []
        for change in latest(records).values():
            if isinstance(change, Delete):
                gone.append(self._key(change.subscriber_id, change.ruid))
                continue
            b = change.binding
            ttl = None if b.permanent else b.expires_at + GRACE - now
            if ttl is not None and ttl <= 0:
                gone.append(self._key(b.subscriber_id, b.ruid))
                continue
            commands.append(self._kv.set(self._key(b.subscriber_id, b.ruid), _encode(b).decode(), ttl))
        if gone:
            commands.append(self._kv.delete(*gone))
        try:
            await gatherResults(commands, consumeErrors=True)
        except FirstError as e:
            e.subFailure.raiseException()
        await self._kv.set(self._mark, f"{upto.epoch}/{upto.seq}")

    def refuses(self, error: Exception) -> bool:
        return isinstance(error, (KeyValueError, msgspec.MsgspecError, ValueError))

    def load(self) -> Deferred[tuple[Position, list[BindingRecord]]]:
        return Deferred.fromCoroutine(self._load())

    async def _load(self) -> tuple[Position, list[BindingRecord]]:
        mark = await self.position()
        keys = await self._kv.scan(self.PREFIX)
        found: list[BindingRecord] = []
        for i in range(0, len(keys), READ_AT_ONCE):
            for text in await self._kv.mget(keys[i : i + READ_AT_ONCE]):
                if text is None:
                    continue
                try:
                    found.append(_binding(text))
                except msgspec.MsgspecError as e:
                    log.limited("binding", 60, "binding in the key-value store cannot be read, left out", error=str(e))
        return mark, found

    def purge(self) -> Deferred[int]:
        return succeed(0)


# ------------------------------------------------------------------------------------------------------------------ service
class Bindings:
    """The registrar's durable side. `put` and `delete` raise `JournalFull`: nothing was written, answer 503."""

    def __init__(self, journal: Journal, home: BindingHome, clock: Clock) -> None:
        self._journal = journal
        self._home = home
        self._clock = clock
        self.follower = Follower(journal, STREAM, home, clock)

    def put(self, binding: BindingRecord) -> int:
        """Make or replace a binding; the journal number."""
        return self._journal.append(STREAM, _encode(Put(binding)))

    def delete(self, subscriber_id: int, ruid: str) -> int:
        """Forget a binding; the journal number."""
        return self._journal.append(STREAM, _encode(Delete(subscriber_id, ruid)))

    def load_all(self) -> Deferred[list[BindingRecord]]:
        """All live bindings of all nodes: the home's content with this journal's unapplied changes on top. Connections do not outlive a
        process: `flow_id` is 0. Errbacks `StoreUnavailable` or `KeyValueUnavailable`."""
        return Deferred.fromCoroutine(self._load_all())

    async def _load_all(self) -> list[BindingRecord]:
        mark, stored = await self._home.load()
        found = {b.ruid: b for b in stored}
        for record in await self.follower.pending(mark):
            try:
                changes = latest([record])
            except msgspec.MsgspecError as e:
                log.error("binding in the journal cannot be read, left out", epoch=record.epoch, seq=record.seq, error=str(e))
                continue
            for ruid, change in changes.items():
                if isinstance(change, Put):
                    found[ruid] = change.binding
                else:
                    found.pop(ruid, None)
        now = self._clock.time()
        return [msgspec.structs.replace(b, flow_id=0) if b.flow_id else b for b in found.values() if b.live(now)]

    def start(self) -> None:
        """Begin to carry changes to the home."""
        self.follower.start()

    def purge(self) -> Deferred[int]:
        """Remove long expired bindings from the home; call it now and then."""
        return self._home.purge()

    def check(self) -> Deferred[None]:
        """See `Follower.check`."""
        return self.follower.check()

    def drain(self, timeout: float = 3.0) -> Deferred[bool]:
        return self.follower.drain(timeout)

    def stop(self) -> Deferred[None]:
        return self.follower.stop()

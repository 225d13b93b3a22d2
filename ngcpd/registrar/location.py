"""Where subscribers are: the bindings in memory, kept equal to their durable home through the journal and to the other nodes by notices.

A change is journalled before it counts. Connections are watched: a binding that is bound to one goes with it (call processing 1.6).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec
from twisted.internet.defer import Deferred

from ngcpd.registrar.model import NEVER, Binding, connection_bound
from ngcpd.registrar.table import SHARDS, BindingTable
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Rng, Timer
from ngcpd.sip.errors import ParseError
from ngcpd.sip.grammar import split_list
from ngcpd.sip.headers import NameAddr
from ngcpd.sip.uri import Uri
from ngcpd.store.journal import JournalFull

if TYPE_CHECKING:
    from ngcpd.sip.transport import Flow

log = logger("registrar")
SWEEP_ROUND = 30.0
"""Seconds in which the sweep has looked at everybody."""
SWEEP_SHARDS = 10
STORED_AT_ONCE = 200


class NotStored(Exception):
    """The journal did not take a change; nothing of it counts."""


class Durable(Protocol):
    """What keeps bindings over a restart (`store.bindings.Bindings`)."""

    def put(self, binding: Binding) -> object:
        """Add or replace by `ruid`. Raises `JournalFull`."""

    def delete(self, subscriber_id: int, ruid: str) -> object:
        """Raises `JournalFull`."""

    def load_all(self) -> Deferred[list[Binding]]: ...

    def check(self) -> Deferred[None]:
        """After an outage of the home: what it lost and the journal still has is given to it again. Errbacks when it is away."""

    def drain(self, timeout: float) -> Deferred[bool]:
        """Fires when all changes are in the home, with False when that takes longer than `timeout` seconds."""


class Audience(Protocol):
    """Who is told of each change: the other nodes (`registrar.sharing`)."""

    def changed(self, subscriber_id: int, new: Sequence[Binding], gone: Sequence[Binding]) -> None: ...


def visible(bindings: list[Binding]) -> list[Binding]:
    """Without the permanent ones whose URI the device itself has registered: it knows the way better, and is one phone, not two."""
    if any(b.permanent for b in bindings):
        own = {b.contact for b in bindings if not b.permanent}
        return [b for b in bindings if not b.permanent or b.contact not in own]
    return bindings


class Location:
    """All bindings that this node knows. `node` is its name, `durable` where changes go first, `audience` whom they are told."""

    def __init__(self, durable: Durable, clock: Clock, rng: Rng, node: str) -> None:
        self._durable = durable
        self._clock = clock
        self._rng = rng
        self.node = node
        self.audience: Audience | None = None
        self.table = BindingTable()
        self._flows: dict[int, Flow] = {}
        self._timer: Timer | None = None
        self._shard = 0
        self.expired = 0

    # ------------------------------------------------------------------------------------------------------------- start
    def load(self) -> Deferred[int]:
        """Take over what was kept; how many bindings. Those of this node's former connections are dropped. Errbacks when the home is away."""
        return self._durable.load_all().addCallback(self._restore)

    def _restore(self, found: Iterable[Binding]) -> int:
        now = self._clock.time()
        by_subscriber: dict[int, list[Binding]] = {}
        for binding in found:
            if binding.node == self.node and connection_bound(binding):
                self._forget(binding)
            elif binding.live(now):
                by_subscriber.setdefault(binding.subscriber_id, []).append(binding)
        for subscriber_id, bindings in by_subscriber.items():
            self.table.replace(subscriber_id, tuple(bindings))
        log.info("registrations restored", bindings=self.table.count, subscribers=len(by_subscriber))
        return self.table.count

    def start(self) -> None:
        """Begin to sweep out what has expired."""
        if self._timer is None:
            self._timer = self._clock.call_later(SWEEP_ROUND * SWEEP_SHARDS / SHARDS, self._sweep)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ------------------------------------------------------------------------------------------------------------ looks
    def known(self, subscriber_id: int) -> list[Binding]:
        """All live bindings."""
        now = self._clock.time()
        return [b for b in self.table.get(subscriber_id) if b.live(now)]

    def bindings(self, subscriber_id: int) -> list[Binding]:
        """The live bindings to be called."""
        return visible(self.known(subscriber_id))

    def all(self) -> Iterator[Binding]:
        now = self._clock.time()
        return (b for b in self.table if b.live(now))

    def flow(self, binding: Binding) -> Flow | None:
        flow = self._flows.get(binding.flow_id) if binding.node == self.node else None
        return flow if flow is not None and flow.alive else None

    def new_ruid(self) -> str:
        return f"{self.node[:40]}-{self._rng.token(8)}"

    # ---------------------------------------------------------------------------------------------------------- changes
    def change(self, subscriber_id: int, after: Sequence[Binding], flow: Flow | None = None) -> None:
        """Make `after` the subscriber's bindings. `flow` is the connection that new ones among them may be bound to. Raises `NotStored`."""
        before = self.table.get(subscriber_id)
        kept = {b.ruid for b in after}
        gone = [b for b in before if b.ruid not in kept]
        new = [b for b in after if not any(b is old for old in before)]
        self._store(new, gone, before)
        self.table.replace(subscriber_id, tuple(after))
        if flow is not None and flow.id and self.table.flow_used(flow.id):
            self._flows[flow.id] = flow
            flow.watch(self._flow_closed)
        self._let_go(before)
        self._told(subscriber_id, new, gone)

    def _store(self, new: Sequence[Binding], gone: Sequence[Binding], before: Sequence[Binding]) -> None:
        done: list[Binding] = []
        try:
            for b in new:
                self._durable.put(b)
                done.append(b)
            for b in gone:
                self._durable.delete(b.subscriber_id, b.ruid)
                done.append(b)
        except JournalFull as error:
            log.limited("journal", 60.0, "bindings cannot be stored, REGISTER is refused", why=str(error))
            self._undo(done, before)
            raise NotStored(str(error)) from error

    def _undo(self, done: Sequence[Binding], before: Sequence[Binding]) -> None:
        old = {b.ruid: b for b in before}
        try:
            for b in done:
                if b.ruid in old:
                    self._durable.put(old[b.ruid])
                else:
                    self._durable.delete(b.subscriber_id, b.ruid)
        except JournalFull:
            # What was written before the failure stays in the journal until the device registers again or the binding expires.
            log.limited("undo", 60.0, "a half stored registration could not be taken back")

    def _drop(self, subscriber_id: int, gone: Sequence[Binding]) -> None:
        """Take bindings out whether or not the journal can be written: they are dead. What another node accepted, that one takes out of the store."""
        if not gone:
            return
        self.table.replace(subscriber_id, tuple(b for b in self.table.get(subscriber_id) if not any(b is g for g in gone)))
        self._let_go(gone)
        own = [b for b in gone if b.node == self.node]
        for b in own:
            self._forget(b)
        if own:
            self._told(subscriber_id, (), own)

    def _let_go(self, before: Iterable[Binding]) -> None:
        """Connections that no binding needs any more may close when they are idle."""
        for flow_id in {b.flow_id for b in before}:
            if flow_id and not self.table.flow_used(flow_id):
                flow = self._flows.pop(flow_id, None)
                if flow is not None:
                    flow.unwatch(self._flow_closed)

    def _forget(self, binding: Binding) -> None:
        try:
            self._durable.delete(binding.subscriber_id, binding.ruid)
        except JournalFull as error:
            log.limited("forget", 60.0, "a binding that ended stays in the store until its expiry", why=str(error))

    def _told(self, subscriber_id: int, new: Sequence[Binding], gone: Sequence[Binding]) -> None:
        if self.audience is not None:
            self.audience.changed(subscriber_id, new, gone)
        if log.level <= 10:
            for b in new:
                log.debug("contact registered", subscriber=subscriber_id, contact=b.contact, call_id=b.call_id, expires=b.expires_at)
            for b in gone:
                log.debug("contact gone", subscriber=subscriber_id, contact=b.contact, call_id=b.call_id)

    def remove(self, subscriber_id: int, ruid: str | None = None) -> int:
        """Remove one or all; how many. Raises `NotStored`."""
        before = self.table.get(subscriber_id)
        after = [b for b in before if ruid is not None and b.ruid != ruid]
        if len(after) != len(before):
            self.change(subscriber_id, after)
        return len(before) - len(after)

    def add_permanent(self, subscriber_id: int, contact: str, *, q: float, nat: bool, path: str) -> Binding:
        """See `Registrar.add_permanent`. The same contact again replaces its permanent registration."""
        uri = Uri.parse(contact)
        if uri.scheme not in ("sip", "sips") or not uri.host:
            raise ParseError("Bad Contact Header")
        if not -1 <= q <= 1:
            raise ValueError("q must lie between -1 and 1")
        route = tuple(split_list(path)) if path else ()
        for value in route:
            NameAddr.parse(value)
        before = self.table.get(subscriber_id)
        old = next((b for b in before if b.permanent and b.contact == contact), None)
        binding = Binding(
            ruid=old.ruid if old is not None else self.new_ruid(),
            subscriber_id=subscriber_id,
            contact=contact,
            received=None,
            path=route,
            expires_at=NEVER,
            q=q if q >= 0 else -1.0,
            call_id="",
            cseq=0,
            user_agent="",
            instance="",
            reg_id=0,
            socket="",
            transport=uri.transport or "udp",
            flow_id=0,
            nat=nat,
            permanent=True,
            node=self.node,
        )
        self.change(subscriber_id, [*(b for b in before if b is not old), binding])
        return binding

    # ------------------------------------------------------------------------------------------------- what ends bindings
    def other_node(self, subscriber_id: int, new: Sequence[Binding], gone: Iterable[str]) -> None:
        """Another node changed bindings and stores that itself; here the memory follows.

        What this node stored of them before may still be on its way to the home and would arrive there after the change: it is stored again.
        """
        changed: dict[str, Binding | None] = {**dict.fromkeys(gone), **{b.ruid: b for b in new}}
        now = self._clock.time()
        before = self.table.get(subscriber_id)
        kept = [b for b in before if b.ruid not in changed]
        self.table.replace(subscriber_id, (*kept, *(_elsewhere(b) for b in new if b.live(now))))
        self._let_go(before)
        for old in before:
            if old.node == self.node and old.ruid in changed:
                self._follow(old, changed[old.ruid])

    def _follow(self, old: Binding, now: Binding | None) -> None:
        if now is None:
            self._forget(old)
            return
        try:
            self._durable.put(now)
        except JournalFull as error:
            log.limited("follow", 60.0, "a binding that moved to another node could not be stored", why=str(error))

    def other_nodes(self, found: Iterable[Binding]) -> None:
        """Replace what is known of the other nodes' bindings by `found`, after notices were lost."""
        now = self._clock.time()
        theirs: dict[int, list[Binding]] = {}
        for binding in found:
            if binding.node != self.node and binding.live(now):
                theirs.setdefault(binding.subscriber_id, []).append(_elsewhere(binding))
        for subscriber_id in theirs.keys() | {b.subscriber_id for b in self.table if b.node != self.node}:
            own = [b for b in self.table.get(subscriber_id) if b.node == self.node]
            taken = {b.ruid for b in own}
            self.table.replace(subscriber_id, (*own, *(b for b in theirs.get(subscriber_id, ()) if b.ruid not in taken)))

    def store_again(self, found: Iterable[Binding]) -> Deferred[int]:
        """Store this node's bindings that the home, where `found` was read, has lost; how many. In small parts: they may be many."""
        there = {b.ruid for b in found}
        now = self._clock.time()
        lost = [b for b in self.table if b.node == self.node and b.ruid not in there and b.live(now)]
        done: Deferred[int] = Deferred()
        self._store_part(lost, 0, done)
        return done

    def _store_part(self, lost: Sequence[Binding], start: int, done: Deferred[int]) -> None:
        try:
            for b in lost[start : start + STORED_AT_ONCE]:
                if any(b is now for now in self.table.get(b.subscriber_id)):
                    self._durable.put(b)
        except JournalFull as error:
            log.limited("again", 60.0, "bindings that the home lost cannot be stored again", why=str(error))
            start = len(lost)
        if start + STORED_AT_ONCE < len(lost):
            self._clock.call_later(0.01, self._store_part, lost, start + STORED_AT_ONCE, done)
        else:
            done.callback(len(lost))

    def _flow_closed(self, flow: Flow) -> None:
        self._flows.pop(flow.id, None)
        for subscriber_id in self.table.on_flow(flow.id):
            self._drop(subscriber_id, [b for b in self.table.get(subscriber_id) if b.flow_id == flow.id])

    def subscriber_gone(self, subscriber_id: int) -> None:
        """The subscriber was deleted or terminated: nothing of it stays, permanent registrations included."""
        self._drop(subscriber_id, self.table.get(subscriber_id))

    def _sweep(self) -> None:
        self._timer = None
        now = self._clock.time()
        for _ in range(SWEEP_SHARDS):
            for subscriber_id, bindings in self.table.shard(self._shard):
                dead = [b for b in bindings if not b.live(now)]
                if dead:
                    self.expired += len(dead)
                    self._drop(subscriber_id, dead)
            self._shard = (self._shard + 1) % SHARDS
        self.start()


def _elsewhere(binding: Binding) -> Binding:
    """A binding of another node: the number of its connection means nothing here."""
    return msgspec.structs.replace(binding, flow_id=0) if binding.flow_id else binding

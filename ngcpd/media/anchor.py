"""The inside of a session: port pairs of its sides, how they are linked, and the description of it all for the relay process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from ngcpd.media import wire
from ngcpd.media.client import RelayClient
from ngcpd.media.rewriting import Facing, Line, OriginKeeper, write
from ngcpd.media.sdp import Sdp
from ngcpd.media.sides import Pair, Side, on_hold
from ngcpd.media.tally import Tally
from ngcpd.media.types import Address, Interface, NoPorts, Policy, Settings

CALLER = "a"


class Hub(Protocol):
    """What a session needs of the engine. An *index* is that of an interface address (see `wire`)."""

    client: RelayClient
    interfaces: Sequence[Interface]
    settings: Settings

    def choose(self, receiver: Side, policy: Policy, families: Sequence[int], needed: bool) -> int:
        """The address to face `receiver` with; `families`: those that the sender of the SDP uses. NoPorts when `needed` and none fits."""

    def alike(self, one: int, other: int) -> bool:
        """Same logical interface and family."""

    def check_limit(self) -> None:
        """NoPorts when no further session may have ports."""

    def update(self, update: wire.Update) -> None:
        """A session has changed."""

    def forget(self, sid: int, pids: Sequence[int]) -> None:
        """A session is closed."""

    def hosts(self, pid: int) -> Iterable[str]:
        """All names of a pair's address: bound and advertised."""

    def local(self, pid: int) -> Address:
        """Bound address of the pair's RTP port."""


class Anchor:
    """State of one session and how it becomes a `wire.Update`."""

    def __init__(self, engine: Hub, sid: int) -> None:
        self.sid = sid
        self._engine = engine
        self._sides: dict[str, Side] = {}
        self._origins: dict[tuple[str, str], OriginKeeper] = {}
        self._selected: str | None = None
        self._turn = 0
        self._armed = 0
        self._sent: wire.Update | None = None
        self._tally = Tally()
        self._closed = False

    def _reserve(self, receiver: Side, lines: Sequence[Line | None], index: int) -> dict[int, Pair]:
        """The pair for each relayed line: the one there is, or a new one. All or none."""
        engine = self._engine
        pairs: dict[int, Pair] = {}
        taken: list[int] = []
        if self._sent is None and any(line is not None for line in lines):
            engine.check_limit()
        for k, line in enumerate(lines):
            if line is None:
                continue
            old = receiver.pairs.get(k)
            if old is not None and engine.alike(wire.index_of(old.pid), index):
                pairs[k] = old
                continue
            pid = engine.client.take(index)
            if pid is None:
                engine.client.put_back(reversed(taken))
                raise NoPorts(f"no media ports left on {engine.interfaces[index].address}")
            taken.append(pid)
            pairs[k] = Pair(pid)
        return pairs

    def _free_rejected(self, sender: Side, receiver: Side) -> None:
        """Lines that `sender` rejects: its own pair is of no use when the other never had one (a rejected offer); both are when both
        sides have dropped the line."""
        for k in [k for k in sender.pairs if sender.rejects(k)]:
            if k not in receiver.pairs or receiver.rejects(k):
                self._retire(sender, [k])
        if receiver.name == CALLER:
            others = [s for s in self._sides.values() if s is not receiver]
            for k in [k for k in receiver.pairs if receiver.rejects(k) and all(s.rejects(k) for s in others)]:
                self._retire(receiver, [k])
        else:
            for k in [k for k in receiver.pairs if receiver.rejects(k) and sender.rejects(k)]:
                self._retire(receiver, [k])

    def _retire(self, side: Side, lines: Iterable[int]) -> None:
        for k in list(lines):
            self._retire_pair(side, k, side.pairs.pop(k))
            side.standing.pop(k, None)

    def _retire_pair(self, side: Side, k: int, pair: Pair) -> None:
        self._tally.retire(pair.pid, side.name, k, self._kind(side, k), self._engine.local(pair.pid))
        self._engine.client.freed([pair.pid])

    @staticmethod
    def _kind(side: Side, k: int) -> str:
        line = side.standing.get(k)
        return line.media if line is not None else ""

    def _current(self) -> Side | None:
        """The branch that the caller exchanges media with."""
        if self._selected is not None:
            return self._sides.get(self._selected)
        spoken = [side for side in self._sides.values() if side.name != CALLER and side.turn]
        return max(spoken, key=lambda side: side.turn, default=None)

    def _own(self) -> set[wire.Addr]:
        """Every address of our own pairs."""
        return {
            (host, wire.port_of(pair.pid) + odd)
            for side in self._sides.values()
            for pair in side.pairs.values()
            for host in self._engine.hosts(pair.pid)
            for odd in (0, 1)
        }

    def _describe(self) -> wire.Update:
        caller, current = self._sides.get(CALLER), self._current()
        legs = []
        for side in self._sides.values():
            other = current if side is caller else caller if side is current else None
            for k in side.pairs:
                facing = other.pairs.get(k) if other is not None else None
                legs.append(side.leg(k, facing.pid if facing is not None else 0, self._own))
        settings = self._engine.settings
        silence = 0.0
        if self._selected is not None and caller is not None and current is not None:
            silence = settings.rtp_timeout_onhold if on_hold((caller, current)) else settings.rtp_timeout
        return wire.Update(self.sid, legs, silence, settings.final_timeout, self._armed)

    def _push(self) -> None:
        """Tell the relay when something changed."""
        if self._closed or (self._sent is None and not any(side.pairs for side in self._sides.values())):
            return
        update = self._describe()
        sent = self._sent
        if sent is not None and sent != update and self._epochs(sent) != self._epochs(update):
            self._armed += 1
            update = self._describe()
        if update != sent:
            self._sent = update
            self._engine.update(update)

    @staticmethod
    def _epochs(update: wire.Update) -> dict[int, int]:
        return {leg.pid: leg.epoch for leg in update.legs}

    def _write(self, sdp: Sdp, lines: list[Line | None], src: str, receiver: Side, index: int, policy: Policy) -> bytes:
        engine = self._engine
        facing: list[Facing | None] = []
        for k, line in enumerate(lines):
            pid = receiver.pairs[k].pid if line is not None else 0
            facing.append(Facing(engine.interfaces[wire.index_of(pid)].public, wire.port_of(pid)) if line is not None else None)
        default = engine.interfaces[index].public
        write(sdp, facing, default, lines, policy.strip_ice)
        keeper = self._origins.get((src, receiver.name))
        if keeper is None:
            address = next((f.address for f in facing if f is not None), default)
            keeper = self._origins[(src, receiver.name)] = OriginKeeper(sdp.origin, address)
        sdp.origin = keeper.next(sdp)
        return sdp.to_bytes()

    def restored(self) -> wire.Update | None:
        """The whole session for a new relay process, with the sources learned so far."""
        if self._sent is None:
            return None
        legs = [wire.Leg(leg.pid, leg.to, leg.epoch, leg.remote, self._tally.sources(leg.pid)) for leg in self._sent.legs]
        return wire.Update(self.sid, legs, self._sent.silence, self._sent.life, self._sent.armed)

    def relay_lost(self) -> None:
        self._tally.fold()

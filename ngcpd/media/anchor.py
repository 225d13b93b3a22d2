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
    """What a session needs of the engine. An *index* is that of an interface address (see `wire`). `publics`: the advertised addresses by
    index; `own_hosts`: all names of all addresses."""

    client: RelayClient
    interfaces: Sequence[Interface]
    publics: Sequence[str]
    own_hosts: frozenset[str]
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
        self._tally: Tally | None = None  # made when there is something to count
        self._closed = False

    def _reserve(self, receiver: Side, lines: Sequence[Line | None], index: int) -> dict[int, Pair]:
        """The pair for each relayed line: the one there is, or a new one. All or none."""
        engine = self._engine
        pairs: dict[int, Pair] = {}
        taken: list[int] = []
        for k, line in enumerate(lines):
            if line is None:
                continue
            if self._sent is None and not pairs:
                engine.check_limit()
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
        for k in (*sender.pairs, *receiver.pairs):
            if sender.rejects(k):
                break
        else:  # the usual case; whoever else rejects, `sender` has to as well
            return
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
        self._counts().retire(pair.pid, side.name, k, self._kind(side, k), self._engine.local(pair.pid))
        self._engine.client.freed([pair.pid])

    def _counts(self) -> Tally:
        if self._tally is None:
            self._tally = Tally()
        return self._tally

    @staticmethod
    def _kind(side: Side, k: int) -> str:
        line = side.standing.get(k)
        return line.media if line is not None else ""

    def _current(self) -> Side | None:
        """The branch that the caller exchanges media with."""
        if self._selected is not None:
            return self._sides.get(self._selected)
        found: Side | None = None
        for side in self._sides.values():
            if side.turn and side.name != CALLER and (found is None or side.turn > found.turn):
                found = side
        return found

    def _own(self, address: wire.Addr) -> bool:
        """True for an address of our own pairs."""
        host, port = address
        engine = self._engine
        if host not in engine.own_hosts:
            return False
        for side in self._sides.values():
            for pair in side.pairs.values():
                if port - wire.port_of(pair.pid) in (0, 1) and host in engine.hosts(pair.pid):
                    return True
        return False

    def _legs(self) -> list[wire.Leg]:
        sides = self._sides
        caller, current = sides.get(CALLER), self._current()
        legs = []
        for side in sides.values():
            other = current if side is caller else caller if side is current else None
            for k in side.pairs:
                facing = other.pairs.get(k) if other is not None else None
                legs.append(side.leg(k, facing.pid if facing is not None else 0, self._own))
        return legs

    def _silence(self) -> float:
        """Seconds without media after which the relay reports it, 0: never."""
        if self._selected is None:
            return 0.0
        caller, current = self._sides.get(CALLER), self._sides.get(self._selected)
        if caller is None or current is None:
            return 0.0
        settings = self._engine.settings
        return settings.rtp_timeout_onhold if on_hold((caller, current)) else settings.rtp_timeout

    def _push(self, legs: list[wire.Leg] | None = None) -> None:
        """Tell the relay when something changed. `legs`: when the caller knows that they are as last told."""
        sent = self._sent
        if self._closed:
            return
        if legs is None:
            legs = self._legs()
        if sent is None and not legs:
            return
        silence = self._silence()
        life = self._engine.settings.final_timeout
        if sent is not None:
            if legs != sent.legs:
                if len(legs) != len(sent.legs) or self._epochs(legs) != self._epochs(sent.legs):
                    self._armed += 1
            elif self._armed == sent.armed and silence == sent.silence and life == sent.life:
                return
        self._sent = update = wire.Update(self.sid, legs, silence, life, self._armed)
        self._engine.update(update)

    @staticmethod
    def _epochs(legs: Sequence[wire.Leg]) -> dict[int, int]:
        return {leg.pid: leg.epoch for leg in legs}

    def _write(self, sdp: Sdp, lines: list[Line | None], src: str, receiver: Side, index: int, policy: Policy) -> bytes:
        publics = self._engine.publics
        facing: list[Facing | None] = []
        for k, line in enumerate(lines):
            if line is None:
                facing.append(None)
            else:
                pid = receiver.pairs[k].pid
                facing.append(Facing(publics[wire.index_of(pid)], wire.port_of(pid)))
        default = publics[index]
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
        counts = self._counts()
        legs = [wire.Leg(leg.pid, leg.to, leg.epoch, leg.remote, counts.sources(leg.pid)) for leg in self._sent.legs]
        return wire.Update(self.sid, legs, self._sent.silence, self._sent.life, self._sent.armed)

    def relay_lost(self) -> None:
        if self._tally is not None:
            self._tally.fold()

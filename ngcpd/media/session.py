"""The door: `Engine` makes a `Session` for each call; the session puts the relay into every SDP body on its way between the sides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from twisted.internet.defer import Deferred

from ngcpd.media import wire
from ngcpd.media.anchor import CALLER, Anchor, Hub
from ngcpd.media.client import RelayClient, Spawn
from ngcpd.media.rewriting import Line, read_line
from ngcpd.media.sdp import BadSdp, Sdp, numeric
from ngcpd.media.sides import Said, Side
from ngcpd.media.types import (
    Address,
    EngineCounters,
    Interface,
    MediaError,
    NoPorts,
    Policy,
    SessionClosed,
    Settings,
    StreamCounters,
)
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock

__all__ = ["BadSdp", "Engine", "Interface", "MediaError", "NoPorts", "Policy", "Session", "SessionClosed", "Settings", "StreamCounters"]

log = logger("media")


class Session(Anchor):
    """The media of one call. Sides are "a" (the caller) and one name per callee branch. All of it is synchronous.

    The caller has one set of ports whatever the number of branches. It exchanges media with the branch whose SDP came last until
    `select` names one.
    """

    def __init__(self, engine: Hub, sid: int, call_id: str) -> None:
        super().__init__(engine, sid)
        self.call_id = call_id
        self.timeout_kind = ""
        self._on_timeout: list[Callable[[], object]] = []
        self._on_closed: list[Callable[[list[StreamCounters]], object]] = []

    # -------------------------------------------------------------------------------------------------------- the door
    def rewrite(self, body: bytes, src: str, dst: str, policy: Policy, *, source: Address | None = None) -> bytes:
        """The SDP that `src` sent (its SIP message came from `source`), as it goes on to `dst` under `policy`.

        Raises BadSdp, NoPorts (also for the limit of sessions) and SessionClosed; the session is then as it was. ValueError when not
        exactly one of the sides is "a". The same body again changes nothing.
        """
        if (src == CALLER) == (dst == CALLER):
            raise ValueError("media flows between the caller and a branch")
        if self._closed:
            raise SessionClosed("session is closed")
        sdp = Sdp.parse(body)
        lines: list[Line | None] = []
        families: list[int] = []
        needed = False
        for media in sdp.media:
            line = read_line(sdp, media)
            lines.append(line)
            if line is not None:
                needed = True
                if line.family:
                    families.append(line.family)
        sides = self._sides
        receiver = sides.get(dst) or Side(dst)
        index = self._engine.choose(receiver, policy, families, needed=needed)
        pairs = self._reserve(receiver, lines, index)
        sender = sides.get(src)
        if sender is None:
            sender = sides[src] = Side(src)
        sides[dst] = receiver
        for k, pair in pairs.items():
            old = receiver.pairs.get(k)
            if old is not None and old is not pair:
                self._retire_pair(receiver, k, old)
        receiver.pairs.update(pairs)
        sender.say(Said(tuple(lines), numeric(source[0]) if source is not None else None), body)
        self._turn += 1
        sender.turn = self._turn
        self._free_rejected(sender, receiver)
        self._push()
        return self._write(sdp, lines, src, receiver, index, policy)

    def select(self, side: str) -> None:
        """Media of the caller is exchanged with this branch from now on; silence is watched from now on."""
        if side == CALLER:
            raise ValueError("a branch is selected, not the caller")
        before = self._current()
        self._selected = side
        self._armed += 1
        sent = self._sent
        self._push(sent.legs if sent is not None and self._current() is before else None)

    def drop(self, side: str) -> None:
        """A branch is gone: its ports are freed. Unknown ones are none."""
        if side == CALLER:
            raise ValueError("the caller is not dropped; close the session")
        gone = self._sides.pop(side, None)
        if self._selected == side:
            self._selected = None
        if gone is not None and not self._closed:
            self._retire(gone, list(gone.pairs))
            self._push()

    def revert(self, side: str) -> bool:
        """The last offer of `side` was refused (a failed re-INVITE or UPDATE): what it said before holds again. False: nothing to undo."""
        found = self._sides.get(side)
        if found is None or self._closed or not found.revert():
            return False
        self._push()
        return True

    def close(self) -> list[StreamCounters]:
        """Free all ports. Returns the counters as last reported (a few seconds old at most; `on_closed` gets the exact ones)."""
        self.release()
        return self.counters()

    def release(self) -> None:
        """`close` for whom the counters are of no interest."""
        if not self._closed:
            self._closed = True
            self._engine.forget(self.sid, [pair.pid for side in self._sides.values() for pair in side.pairs.values()])

    def counters(self) -> list[StreamCounters]:
        """What each side has sent in each line so far, as last reported."""
        counts = self._counts()
        found = counts.retired()
        for side in self._sides.values():
            for k, pair in sorted(side.pairs.items()):
                found.append(counts.counters(pair.pid, side.name, k, self._kind(side, k), self._engine.local(pair.pid)))
        return found

    def on_timeout(self, fn: Callable[[], object]) -> None:
        """`fn()` once for each silence of `rtp_timeout` (`rtp_timeout_onhold` while no line flows both ways) after `select`, and when
        the session reaches `final_timeout`. `timeout_kind` is then "media" or "life"."""
        self._on_timeout.append(fn)

    def on_closed(self, fn: Callable[[list[StreamCounters]], object]) -> None:
        """`fn(counters)` once after `close`, with the last counters of the relay process."""
        self._on_closed.append(fn)

    # -------------------------------------------------------------------------------------------------- from the engine
    def reported(self, legs: Sequence[wire.LegReport], now: float) -> None:
        self._counts().note(legs, now)

    def finished(self, legs: Sequence[wire.LegReport], now: float) -> None:
        """The relay process has closed it."""
        if legs:
            self._counts().note(legs, now)
        if self._on_closed:
            told, self._on_closed = self._on_closed, []
            final = self.counters()
            for fn in told:
                fn(final)

    def timed_out(self, kind: str) -> None:
        self.timeout_kind = kind
        log.info("no media" if kind == "media" else "media session too old", call_id=self.call_id)
        for fn in list(self._on_timeout):
            fn()


class Engine:
    """All sessions of this process, and the relay process behind them.

    `spawn` starts a relay process (`child.ChildSpawner`, or `local.LocalSpawner` inside this process). `interfaces`: the relay's
    addresses; the first one's name is the default when none is called "default". MediaError for settings that cannot work. The
    time-outs and the limit of sessions may be changed while it runs (`tune`).
    """

    def __init__(self, clock: Clock, spawn: Spawn, interfaces: Sequence[Interface], settings: Settings | None = None) -> None:
        self.clock = clock
        self.settings = settings if settings is not None else Settings()
        self.interfaces: Sequence[Interface] = tuple(interfaces)
        self.publics: Sequence[str] = tuple(interface.public for interface in self.interfaces)
        self.own_hosts = frozenset(self.publics).union(interface.address for interface in self.interfaces)
        self._by_name: dict[str, dict[int, list[int]]] = {}  # by family
        for index, interface in enumerate(self.interfaces):
            for text in (interface.address, interface.public):
                if numeric(text) is None:
                    raise MediaError(f"media address {text!r} is not a numeric unicast address")
            if (":" in interface.public) != (interface.family == 6):
                raise MediaError(f"media address {interface.address} is advertised as {interface.public}, which is of the other family")
            self._by_name.setdefault(interface.name, {}).setdefault(interface.family, []).append(index)
        if not self.interfaces:
            raise MediaError("no media address is configured")
        if len({interface.address for interface in self.interfaces}) != len(self.interfaces):
            raise MediaError("a media address is configured twice")
        if not (1024 <= self.settings.min_port < self.settings.max_port <= 65_535):
            raise MediaError(f"media ports {self.settings.min_port}-{self.settings.max_port} are no range within 1024-65535")
        names = [interface.name for interface in self.interfaces]
        self._default = "default" if "default" in names else names[0]
        self.client = RelayClient(clock, spawn, self.interfaces, self.settings, self)
        self._next = 0
        self._sessions: dict[int, Session] = {}
        self._anchored: set[int] = set()
        self._closing: dict[int, Session] = {}

    def start(self) -> Deferred[None]:
        """Fires when ports are at hand on every address; errbacks MediaError with the reason when that cannot be."""
        return self.client.start()

    def stop(self) -> Deferred[None]:
        """Close what is left and end the relay process; fires when it has gone."""
        for session in list(self._sessions.values()):
            session.close()
        return self.client.stop()

    def session(self, call_id: str) -> Session:
        """A new session. It takes ports with its first `rewrite`; it has to be closed. `call_id` is for the log."""
        self._next += 1
        session = self._sessions[self._next] = Session(self, self._next, call_id)
        return session

    def tune(self, settings: Settings) -> None:
        """Take over time-outs and the limit of sessions for what happens from now on; ports and the rest are those of the start."""
        self.settings = replace(
            self.settings,
            max_sessions=settings.max_sessions,
            rtp_timeout=settings.rtp_timeout,
            rtp_timeout_onhold=settings.rtp_timeout_onhold,
            final_timeout=settings.final_timeout,
        )

    def counters(self) -> EngineCounters:
        used, free, resting = self.client.port_counts()
        return EngineCounters(len(self._sessions), used, free, resting, self.client.restarts)

    # ------------------------------------------------------------------------------------------------- for the sessions
    def choose(self, receiver: Side, policy: Policy, families: Sequence[int], needed: bool) -> int:
        """The address to face `receiver` with (see `Policy`). NoPorts when ports are `needed` and a forced family is not there."""
        name = policy.interface
        by_family = self._by_name.get(name)
        if by_family is None:
            if name != "default":
                log.limited(name, 60.0, "unknown media interface, default used", interface=name)
            name = self._default
            by_family = self._by_name[name]
        if policy.family == "auto":
            wanted = [receiver.family, policy.dst_family or 0, *families, 4, 6]
        else:
            wanted = [int(policy.family)]
        for family in wanted:
            found = by_family.get(family)
            if found is None:
                continue
            if len(found) == 1:
                return found[0]
            mine = {wire.index_of(pair.pid) for pair in receiver.pairs.values()}
            kept = [i for i in found if i in mine]
            return kept[0] if kept else max(found, key=self.client.available)
        if needed:
            raise NoPorts(f"media interface {name} has no IPv{policy.family} address")
        return next(i for i, interface in enumerate(self.interfaces) if interface.name == name)

    def alike(self, one: int, other: int) -> bool:
        a, b = self.interfaces[one], self.interfaces[other]
        return a.name == b.name and a.family == b.family

    def check_limit(self) -> None:
        if 0 <= self.settings.max_sessions <= len(self._anchored):
            raise NoPorts("limit of media sessions reached")

    def update(self, update: wire.Update) -> None:
        self._anchored.add(update.sid)
        self.client.update(update)

    def forget(self, sid: int, pids: Sequence[int]) -> None:
        session = self._sessions.pop(sid)
        self.client.freed(pids)
        if sid in self._anchored:
            self._anchored.discard(sid)
            if self.client.close(sid):
                self._closing[sid] = session
                return
        session.finished([], self.clock.time())

    def hosts(self, pid: int) -> tuple[str, str]:
        interface = self.interfaces[wire.index_of(pid)]
        return interface.address, interface.public

    def local(self, pid: int) -> Address:
        return self.interfaces[wire.index_of(pid)].address, wire.port_of(pid)

    # ------------------------------------------------------------------------------------------- from the relay process
    def updates(self) -> Iterator[wire.Update]:
        for session in list(self._sessions.values()):
            update = session.restored()
            if update is not None:
                yield update

    def relay_lost(self) -> None:
        closing, self._closing = self._closing, {}
        for session in closing.values():
            session.finished([], self.clock.time())
        for session in self._sessions.values():
            session.relay_lost()

    def reported(self, sid: int, legs: Sequence[wire.LegReport]) -> None:
        session = self._sessions.get(sid)
        if session is not None:
            session.reported(legs, self.clock.time())

    def closed(self, sid: int, legs: Sequence[wire.LegReport]) -> None:
        session = self._closing.pop(sid, None)
        if session is not None:
            session.finished(legs, self.clock.time())

    def timed_out(self, sid: int, kind: str) -> None:
        session = self._sessions.get(sid)
        if session is not None:
            session.timed_out(kind)

    def leg_failed(self, sid: int, pids: Sequence[int], reason: str) -> None:
        session = self._sessions.get(sid)
        ports = ",".join(str(wire.port_of(pid)) for pid in pids)
        log.error("media ports lost", call_id=session.call_id if session else None, ports=ports, reason=reason)

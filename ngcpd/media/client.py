"""The signalling process's half of the relay: starts the relay process, keeps ports at hand, replaces it when it dies, restores what it did.

Everything the sessions need from here is synchronous: ports were granted ahead, commands are written and not waited for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Protocol

import msgspec
from twisted.internet.defer import Deferred

from ngcpd.media import wire
from ngcpd.media.types import Interface, MediaError, Settings
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Timer

log = logger("media")
START_LIMIT: Final = 10.0  # s until the first ports have to be there
RESTART: Final = 0.05  # s between the death of a relay process and the start of the next
RESTART_AGAIN: Final = 0.5  # s when the last one did not live long
SHORT_LIFE: Final = 5.0
PAIRS_PER_CALL: Final = 2


class Channel(Protocol):
    """A running relay process and the stream to it."""

    name: str

    def open(self, received: Callable[[bytes], object], ended: Callable[[str], object]) -> None:
        """From now on: `received(data)` for what it says, `ended(reason)` once when it has gone."""

    def send(self, data: bytes) -> None:
        """Queue bytes; ignored after the end."""

    def close(self) -> None:
        """Let it finish: end the stream; kill it when that does not help. `ended` follows."""

    def kill(self) -> None:
        """End it at once. `ended` follows."""


Spawn = Callable[[], Channel]


class Owner(Protocol):
    """What the client asks of and tells to the engine that owns the sessions."""

    def updates(self) -> Iterable[wire.Update]:
        """All live sessions whole, with the sources learned so far."""

    def relay_lost(self) -> None:
        """The relay process has gone, and with it what it counted since the last report."""

    def reported(self, sid: int, legs: Sequence[wire.LegReport]) -> None: ...

    def closed(self, sid: int, legs: Sequence[wire.LegReport]) -> None: ...

    def timed_out(self, sid: int, kind: str) -> None: ...

    def leg_failed(self, sid: int, pids: Sequence[int], reason: str) -> None: ...


class RelayClient:
    """`interfaces[i]` is address index i of the wire."""

    def __init__(self, clock: Clock, spawn: Spawn, interfaces: Sequence[Interface], settings: Settings, owner: Owner) -> None:
        self.clock = clock
        self.settings = settings
        self.interfaces = tuple(interfaces)
        self.restarts = 0
        self.per_address = max(0, (settings.max_port - settings.min_port - (settings.min_port & 1) + 1) // 2)
        self._spawn = spawn
        self._owner = owner
        self._ready: list[deque[int]] = [deque() for _ in interfaces]
        self._owed = [0] * len(self.interfaces)
        self._target = max(PAIRS_PER_CALL, settings.batch * PAIRS_PER_CALL)
        self._used: set[int] = set()
        self._resting: deque[tuple[float, int]] = deque()
        self._taken = [0] * len(self.interfaces)
        self._channel: Channel | None = None
        self._number = 0
        self._queue: list[wire.Command] = []  # what waits for `gather`
        self._queued: dict[int, int] = {}  # place in it of the last update of each session
        self._unpacker = wire.Unpacker()
        self._started_at = 0.0
        self._unanswered = 0
        self._why = ""
        self._starting: Deferred[None] | None = None
        self._stopping: Deferred[None] | None = None
        self._running = False
        self._timers: dict[str, Timer] = {}

    # ----------------------------------------------------------------------------------------------------- start, stop
    def start(self) -> Deferred[None]:
        """Fires when each address has its first ports. Errbacks MediaError when an address cannot be bound, all ports of one are in
        use, or the relay process does not come up."""
        done = self._starting = Deferred()
        self._timers["start"] = self.clock.call_later(START_LIMIT, self._too_slow)
        try:
            self._launch()
        except OSError as error:
            self._fail_start(f"relay process cannot be started: {error.strerror or error}")
        return done

    def stop(self) -> Deferred[None]:
        """End the relay process; fires when it has gone."""
        self._running = False
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        waiting, self._starting = self._starting, None
        if waiting is not None:
            waiting.errback(MediaError("stopped before it had started"))
        if self._stopping is not None:
            follower: Deferred[None] = Deferred()
            self._stopping.chainDeferred(follower)
            return follower
        done: Deferred[None] = Deferred()
        if self._channel is None:
            done.callback(None)
        else:
            self._stopping = done
            self._flush()
            self._channel.close()
        return done

    def _launch(self) -> None:
        channel = self._spawn()
        self._channel = channel
        self._queue.clear()
        self._queued.clear()
        self._unpacker = wire.Unpacker()
        self._started_at = self.clock.monotonic()
        self._unanswered = 0
        self._why = ""
        channel.open(lambda data: self._received(channel, data), lambda reason: self._ended(channel, reason))
        s = self.settings
        held = sorted(self._used) + [wire.pid_of(i, port) for i, ports in enumerate(self._ready) for port in ports]
        addresses = [(interface.address, s.min_port, s.max_port) for interface in self.interfaces]
        self._send(wire.Configure(addresses, held, s.quarantine, s.window, s.probation))
        for update in self._owner.updates():
            self.update(update)
        self._owed = [0] * len(self.interfaces)
        for index in range(len(self.interfaces)):
            self._refill(index)
        self._flush()
        self._timers["ping"] = self.clock.call_later(s.ping, self._ping)

    def _fail_start(self, reason: str) -> None:
        waiting, self._starting = self._starting, None
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._channel is not None:
            self._channel.kill()
        if waiting is not None:
            waiting.errback(MediaError(reason))

    def _too_slow(self) -> None:
        missing = [i.address for i, ports in zip(self.interfaces, self._ready, strict=True) if not ports]
        s = self.settings
        self._fail_start(f"no free media ports on {', '.join(missing)} in {s.min_port}-{s.max_port}, or the relay process does not answer")

    # ------------------------------------------------------------------------------------------------------------ ports
    def available(self, index: int) -> int:
        """Pairs at hand on an address."""
        return len(self._ready[index])

    def take(self, index: int) -> int | None:
        """A pair for use; None when there is none at hand."""
        ports = self._ready[index]
        if not ports:
            self._refill(index)
            return None
        pid = wire.pid_of(index, ports.popleft())
        self._used.add(pid)
        if len(ports) * 4 <= self._target * 3:
            self._refill(index)
        return pid

    def put_back(self, pids: Iterable[int]) -> None:
        """Taken, but never put to use."""
        for pid in pids:
            self._used.discard(pid)
            self._ready[wire.index_of(pid)].appendleft(wire.port_of(pid))

    def freed(self, pids: Collection[int]) -> None:
        """No longer in use (the relay learns it from an Update or Close)."""
        if pids:
            self._used.difference_update(pids)
            now = self.clock.monotonic()
            resting = self._resting
            resting.append((now + self.settings.quarantine, len(pids)))
            while resting and resting[0][0] <= now:  # they are only counted; without this they would pile up until somebody asks
                resting.popleft()

    def _refill(self, index: int) -> None:
        want = self._target - len(self._ready[index]) - self._owed[index]
        if self._channel is not None and want > 0 and (want * 4 >= self._target or not self._ready[index]):
            self._owed[index] += want
            self._send(wire.Grant(index, want))

    def port_counts(self) -> tuple[int, int, int]:
        """Pairs of all addresses: used, free, quarantined."""
        now = self.clock.monotonic()
        while self._resting and self._resting[0][0] <= now:
            self._resting.popleft()
        resting = sum(n for _until, n in self._resting)
        used = len(self._used)
        return used, max(0, self.per_address * len(self.interfaces) - used - resting - sum(self._taken)), resting

    # --------------------------------------------------------------------------------------------------------- commands
    def update(self, update: wire.Update) -> None:
        """Describe a session. It replaces a description that still waits, unless that one has pairs which the relay must see to free them."""
        if self._channel is None:
            return
        at = self._queued.get(update.sid)
        if at is not None:
            waiting = self._queue[at]
            if isinstance(waiting, wire.Update) and {leg.pid for leg in waiting.legs} <= {leg.pid for leg in update.legs}:
                self._queue[at] = update
                return
        self._queued[update.sid] = len(self._queue)
        self._send(update)

    def close(self, sid: int) -> bool:
        """False when there is no relay process that could answer with the last counters."""
        self._send(wire.Close(sid))
        return self._channel is not None

    def _send(self, command: wire.Command) -> None:
        if self._channel is None:
            return
        queue = self._queue
        queue.append(command)
        if self.settings.gather <= 0:
            self._flush()
        elif len(queue) == 1:
            self._timers["gather"] = self.clock.call_later(self.settings.gather, self._flush)

    def _flush(self) -> None:
        """Send what waits, in one piece."""
        timer = self._timers.pop("gather", None)
        if timer is not None:
            timer.cancel()
        queue = self._queue
        if queue and self._channel is not None:
            first = self._number + 1
            self._number += len(queue)
            self._channel.send(b"".join([wire.pack(wire.CommandFrame(n, command)) for n, command in enumerate(queue, first)]))
        queue.clear()
        self._queued.clear()

    def _ping(self) -> None:
        # Pings are counted, not seconds: a reactor that was stopped itself must not take that for the relay's silence.
        silent = self._unanswered * self.settings.ping
        if silent >= self.settings.wedged and self._channel is not None:
            self._why = f"no answer for {silent:.0f} s"
            self._channel.kill()
            return
        self._unanswered += 1
        self._send(wire.Ping())
        self._timers["ping"] = self.clock.call_later(self.settings.ping, self._ping)

    # ------------------------------------------------------------------------------------------------------------ events
    def _received(self, channel: Channel, data: bytes) -> None:
        if channel is not self._channel:
            return
        self._unanswered = 0
        try:
            for frame in self._unpacker.feed(data):
                self._event(wire.decode_event(frame).body)
        except (wire.WireError, msgspec.DecodeError) as error:
            self._why = f"talks nonsense: {error}"
            channel.kill()

    def _event(self, event: wire.Event) -> None:
        if isinstance(event, wire.Granted):
            self._granted(event)
        elif isinstance(event, wire.Report):
            for sid, legs in event.sessions:
                self._owner.reported(sid, legs)
        elif isinstance(event, wire.Closed):
            self._owner.closed(event.sid, event.legs)
        elif isinstance(event, wire.Pong):
            self._taken = event.taken
        elif isinstance(event, wire.Ready):
            self._is_ready(event)
        elif isinstance(event, wire.TimedOut):
            self._owner.timed_out(event.sid, event.kind)
        elif isinstance(event, wire.Failed):
            self._owner.leg_failed(event.sid, event.pids, event.reason)
        else:
            log.limited(event.event, 60.0, event.event, **event.fields)

    def _granted(self, event: wire.Granted) -> None:
        index = event.index
        self._owed[index] = max(0, self._owed[index] - len(event.ports))
        self._ready[index].extend(event.ports)
        if self._starting is not None and all(self._ready):
            waiting, self._starting = self._starting, None
            self._timers.pop("start").cancel()
            self._running = True
            channel = self._channel
            log.info("relay process started", process=channel.name if channel else None, addresses=",".join(i.address for i in self.interfaces))
            waiting.callback(None)

    def _is_ready(self, event: wire.Ready) -> None:
        refused = ", ".join(f"{self.interfaces[i].address}: {reason}" for i, reason in sorted(event.refused.items()))
        if refused and self._starting is not None:
            self._fail_start(f"media address cannot be used: {refused}")
            return
        for pid in event.lost:
            ports = self._ready[wire.index_of(pid)]
            if pid not in self._used and wire.port_of(pid) in ports:
                ports.remove(wire.port_of(pid))
        if self._running:
            channel = self._channel
            log.info("relay process replaced, media restored", process=channel.name if channel else None, refused=refused or None)

    def _ended(self, channel: Channel, reason: str) -> None:
        if channel is not self._channel:
            return
        self._channel = None
        ping = self._timers.pop("ping", None)
        if ping is not None:
            ping.cancel()
        if self._stopping is not None:
            self._owner.relay_lost()
            waiting, self._stopping = self._stopping, None
            waiting.callback(None)
            return
        if self._starting is not None:
            self._fail_start(f"relay process ended at start: {self._why or reason}")
            return
        if not self._running:
            return
        log.warning("relay process ended, starting another", process=channel.name, reason=self._why or reason)
        self.restarts += 1
        self._owner.relay_lost()
        lived = self.clock.monotonic() - self._started_at
        self._timers["restart"] = self.clock.call_later(RESTART if lived >= SHORT_LIFE else RESTART_AGAIN, self._restart)

    def _restart(self) -> None:
        self._timers.pop("restart", None)
        try:
            self._launch()
        except OSError as error:
            log.limited("restart", 60.0, "relay process cannot be started", reason=error.strerror or str(error))
            self._timers["restart"] = self.clock.call_later(RESTART_AGAIN, self._restart)

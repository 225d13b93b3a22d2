"""The relay process's side of the wire: obeys commands, grants port pairs, reports. No operating system in here: sockets, clock and the
way to the signalling process are passed in, so it runs as well inside another process."""

from __future__ import annotations

import errno
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from ngcpd.media import wire
from ngcpd.media.ports import PortPool
from ngcpd.media.relay import Relay, SocketFactory

if TYPE_CHECKING:
    from ngcpd.runtime.ports import Clock, Timer

TICK: Final = 0.1  # s between reports
REPORT_EVERY: Final = 5.0  # s until each session was reported once
GRANT_SLICE: Final = 32  # pairs bound in one go, so that media never waits for long
KEEP: Final = 1024  # pairs that stay open between two sessions, per relay
RETRY: Final = 0.5  # s until binding is tried again after the operating system refused it


class Controller:
    """`send` takes the bytes for the signalling process. Commands come in through `feed`, which raises WireError for nonsense."""

    def __init__(self, clock: Clock, sockets: SocketFactory, send: Callable[[bytes], object], keep: int = KEEP) -> None:
        self.clock = clock
        self.sockets = sockets
        self.relay: Relay | None = None
        self._send = send
        self._keep = keep
        self._unpacker = wire.Unpacker()
        self._pools: list[PortPool] = []
        self._credit: list[int] = []
        self._turn: deque[int] = deque()
        self._fresh: set[int] = set()
        self._tick: Timer | None = None
        self._granting: Timer | None = None
        self._complained: set[str] = set()

    # -------------------------------------------------------------------------------------------------------- commands
    def feed(self, data: bytes) -> None:
        for frame in self._unpacker.feed(data):
            try:
                command = wire.decode_command(frame)
            except msgspec.DecodeError as error:
                raise wire.WireError(str(error)) from error
            self.obey(command.number, command.body)

    def obey(self, number: int, command: wire.Command) -> None:
        if isinstance(command, wire.Configure):
            self._configure(number, command)
            return
        relay = self.relay
        if relay is None:
            raise wire.WireError("the first command has to be configure")
        if isinstance(command, wire.Update):
            self._update(relay, command)
        elif isinstance(command, wire.Close):
            self._fresh.discard(command.sid)
            self._say(wire.Closed(command.sid, relay.close(command.sid)), number)
            self._grant_soon()
        elif isinstance(command, wire.Grant):
            self._credit[command.index] += command.count
            self._grant()
        elif isinstance(command, wire.Free):
            for pid in command.pids:
                relay.unbind(pid)
            self._grant_soon()
        else:
            self._say(wire.Pong([pool.taken for pool in self._pools]), number)

    def _say(self, event: wire.Event, number: int = 0) -> None:
        self._send(wire.pack(wire.EventFrame(number, event)))

    def _configure(self, number: int, command: wire.Configure) -> None:
        if self.relay is not None:
            raise wire.WireError("configured twice")
        hosts = [host for host, _first, _last in command.addresses]
        relay = self.relay = Relay(
            self.clock, self.sockets, hosts, self._freed, self._timed_out, self._fresh.add, command.window, command.probation, self._keep
        )
        # Half of them may rest after their last use while the other half waits for the next one.
        keep = self._keep // 2 // max(1, len(hosts))
        self._pools = [PortPool(first, last, command.quarantine, keep) for _host, first, last in command.addresses]
        self._credit = [0] * len(self._pools)
        lost = []
        for pid in command.held:
            try:
                relay.bind(pid)
            except OSError:
                lost.append(pid)
        for index, pool in enumerate(self._pools):
            pool.reserve(wire.port_of(pid) for pid in command.held if wire.index_of(pid) == index)
        for pid in lost:
            self._pools[wire.index_of(pid)].busy(wire.port_of(pid), self.clock.monotonic())
        refused: dict[int, str] = {}
        for index, host in enumerate(hosts):
            try:
                self.sockets.bind(host, 0).close()
            except OSError as error:
                refused[index] = error.strerror or str(error)
        self._say(wire.Ready(refused, lost), number)

    def _update(self, relay: Relay, command: wire.Update) -> None:
        known = command.sid in relay.sessions
        failed = relay.update(command.sid, command.legs, command.silence, command.life, command.armed)
        if failed:
            self._say(wire.Failed(command.sid, list(failed), next(iter(failed.values()))))
        if not known:
            self._turn.append(command.sid)
            if self._tick is None:
                self._tick = self.clock.call_later(TICK, self._report)
        self._grant_soon()

    # ---------------------------------------------------------------------------------------------------------- ports
    def _freed(self, pid: int, kept: bool) -> None:
        self._pools[wire.index_of(pid)].give(wire.port_of(pid), self.clock.monotonic(), kept)

    def _grant(self) -> None:
        """Bind and grant what is owed and can be had now; come back for the rest."""
        if self._granting is not None:
            self._granting.cancel()
            self._granting = None
        again: float | None = None
        for index, pool in enumerate(self._pools):
            if self._credit[index] > 0:
                wait = self._grant_on(index, pool)
                if wait is not None:
                    again = wait if again is None else min(again, wait)
        if again is not None:
            self._granting = self.clock.call_later(again, self._grant)

    def _grant_on(self, index: int, pool: PortPool) -> float | None:
        """Seconds until it is worth to try again, None when nothing is owed any more."""
        relay = self.relay
        assert relay is not None
        now = self.clock.monotonic()
        ports: list[int] = []
        wait: float | None = None
        for _ in range(min(GRANT_SLICE, self._credit[index])):
            port = pool.take(now)
            if port is None:
                change = pool.next_change()
                wait = None if change is None else max(0.0, change - now)
                break
            try:
                relay.bind(wire.pid_of(index, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    pool.busy(port, now)
                    wait = 0.0
                    continue
                pool.put_back(port)
                self._complain("cannot bind media ports", relay.hosts[index], error)
                wait = RETRY
                break
            ports.append(port)
        self._credit[index] -= len(ports)
        if ports:
            self._say(wire.Granted(index, ports))
        if not self._credit[index]:
            return None
        return 0.0 if wait is None and len(ports) == GRANT_SLICE else wait

    def _grant_soon(self) -> None:
        """Something was freed: look at what is owed once it has rested."""
        if any(self._credit):
            if self._granting is not None:
                self._granting.cancel()
            self._granting = self.clock.call_later(0.0, self._grant)

    def _complain(self, event: str, host: str, error: OSError) -> None:
        reason = error.strerror or str(error)
        if event + host + reason not in self._complained:
            self._complained.add(event + host + reason)
            self._say(wire.Note(event, {"address": host, "reason": reason}))

    # -------------------------------------------------------------------------------------------------------- reports
    def _timed_out(self, sid: int, kind: str) -> None:
        self._say(wire.TimedOut(sid, kind))

    def _report(self) -> None:
        """Each session within REPORT_EVERY when something changed; those that have learned a source at once."""
        relay = self.relay
        assert relay is not None
        now = self.clock.monotonic()
        due, self._fresh = self._fresh, set()
        for _ in range(math.ceil(len(self._turn) * TICK / REPORT_EVERY)):
            sid = self._turn.popleft()
            if sid in relay.sessions:
                self._turn.append(sid)
                due.add(sid)
        out = []
        for sid in sorted(due):
            session = relay.sessions.get(sid)
            if session is None or session.told == session.seen():
                continue
            session.told = session.seen()
            out.append((sid, [leg.report(now) for leg in session.legs.values()]))
        if out:
            self._say(wire.Report(out))
        self._tick = self.clock.call_later(TICK, self._report) if self._turn else None

    def shut(self) -> None:
        """Close every socket and stop all clocks."""
        for timer in (self._tick, self._granting):
            if timer is not None:
                timer.cancel()
        self._tick = self._granting = None
        if self.relay is not None:
            self.relay.shut()

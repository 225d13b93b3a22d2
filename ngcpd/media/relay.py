"""The relay: datagrams that come from one side of a call leave towards the other.

A *leg* is the port pair that faces one side for one m-line; an *end* is one socket of it. What reaches an end from that side's source
leaves from the same end (RTP or RTCP) of the leg it is linked to, to the address of that leg's side.

Whose packets are accepted (symmetric RTP, RFC 4961, bound against injection): the signalled address at once and for good; else the first
plausible source from a host that was to be expected (the signalled host, the host of the SIP message); else, when nothing better speaks
up during `probation`, a steady source from elsewhere. A learned source may be replaced by a better one for `window` seconds, then it is
locked. Everybody else is a stranger: dropped, counted, never answered and never a reason to stop. See `Learning`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from ngcpd.media.learning import CLOSED, End, Learning
from ngcpd.media.wire import Leg, LegReport, index_of, port_of

if TYPE_CHECKING:
    from ngcpd.runtime.ports import Clock, Timer

BUFFER: Final = 65_536
CACHED: Final = 2_048  # lengths with a ready slice of the buffer
DRAIN: Final = 512


class MediaSocket(Protocol):
    """A bound, non-blocking datagram socket, the operations of `socket.socket`."""

    def fileno(self) -> int: ...

    def recvfrom_into(self, buffer: bytearray, /) -> tuple[int, Any]:
        """Raises BlockingIOError when nothing waits."""

    def sendto(self, data: memoryview, address: Any, /) -> int: ...

    def close(self) -> None: ...


class SocketFactory(Protocol):
    """Where sockets come from and who watches them for input."""

    def bind(self, host: str, port: int) -> MediaSocket:
        """Raises OSError."""

    def address(self, host: str, port: int) -> tuple[Any, ...]:
        """An address in the form in which `recvfrom_into` tells it."""

    def watch(self, sock: MediaSocket) -> None: ...

    def unwatch(self, sock: MediaSocket) -> None: ...


class RelayLeg:
    """A port pair in use. `to`: pid of the leg its packets leave from."""

    __slots__ = ("epoch", "pid", "rtcp", "rtp", "spoken", "to")

    def __init__(self, pid: int, rtp: End, rtcp: End) -> None:
        self.pid = pid
        self.to = 0
        self.epoch = -1
        self.spoken = False
        self.rtp = rtp
        self.rtcp = rtcp

    def report(self, now: float) -> LegReport:
        rtp, rtcp = self.rtp, self.rtcp
        last = max(rtp.last, rtcp.last)
        return LegReport(
            self.pid,
            rtp.packets,
            rtp.octets,
            rtcp.packets,
            rtcp.octets,
            rtp.undelivered + rtcp.undelivered,
            rtp.strangers + rtcp.strangers,
            (rtp.bound[0], rtp.bound[1]) if rtp.bound else None,
            (rtcp.bound[0], rtcp.bound[1]) if rtcp.bound else None,
            now - last if last >= 0 else -1.0,
        )


class RelaySession:
    """All legs of one call and its clocks."""

    __slots__ = ("armed", "armed_at", "legs", "life_timer", "reported", "sid", "silence", "silence_timer", "told")

    def __init__(self, sid: int) -> None:
        self.sid = sid
        self.legs: dict[int, RelayLeg] = {}
        self.silence = 0.0
        self.armed = -1
        self.armed_at = 0.0
        self.reported = False
        self.silence_timer: Timer | None = None
        self.life_timer: Timer | None = None
        self.told = -1  # packets at the last report

    def last(self) -> float:
        """Moment of the last accepted packet or of the last arming."""
        heard = [end.last for leg in self.legs.values() for end in (leg.rtp, leg.rtcp)]
        return max([self.armed_at, *heard])

    def seen(self) -> int:
        return sum(end.packets + end.strangers for leg in self.legs.values() for end in (leg.rtp, leg.rtcp))


class Relay:
    """The sockets and their traffic. `hosts`: numeric address by index (see `wire.pid_of`).

    `freed(pid, kept)` is called when a pair is no longer in use; `kept`: its sockets stay open in `idle` (at most `keep` pairs), unwatched,
    until `bind` asks for the pair again. What arrives there meanwhile is thrown away before the next session gets them. `timed_out(sid, kind)`
    with kind "media" or "life"; `learned(sid)` when a source was accepted. The caller sets `now` (monotonic seconds) before each turn and calls
    `receive` for each end that has input.
    """

    def __init__(
        self,
        clock: Clock,
        sockets: SocketFactory,
        hosts: list[str],
        freed: Callable[[int, bool], object],
        timed_out: Callable[[int, str], object],
        learned: Callable[[int], object],
        window: float = 3.0,
        probation: float = 0.25,
        keep: int = 0,
    ) -> None:
        self.clock = clock
        self.sockets = sockets
        self.hosts = hosts
        self.now = clock.monotonic()
        self.ends: dict[int, End] = {}
        self.ready: dict[int, tuple[MediaSocket, MediaSocket]] = {}
        self.idle: dict[int, tuple[MediaSocket, MediaSocket]] = {}
        self.keep = keep
        self.sessions: dict[int, RelaySession] = {}
        self._owner: dict[int, int] = {}
        self._freed = freed
        self._timed_out = timed_out
        self._learned = learned
        self._buffer = bytearray(BUFFER)
        view = memoryview(self._buffer)
        self._view = view
        self._slices = [view[:n] for n in range(CACHED)]
        self.learning = Learning(clock, self._buffer, window, probation)

    # ------------------------------------------------------------------------------------------------------- packets
    def receive(self, end: End) -> None:
        """Take one datagram from `end`. The caller asks again while the socket stays readable, so a busy socket starves nobody."""
        try:
            n, source = end.recv(self._buffer)
        except OSError:
            return
        if source != end.bound and not self._admit(end, source, n):
            return
        end.packets += 1
        end.octets += n
        end.last = self.now
        out = end.out
        if out is None or out.target is None:
            end.undelivered += 1
            return
        try:
            out.send(self._slices[n] if n < CACHED else self._view[:n], out.target)
        except OSError:
            end.undelivered += 1

    def _admit(self, end: End, source: Any, n: int) -> bool:
        if self.learning.admit(end, source, n, self.now):
            self._learned(end.sid)
            return True
        if end.state != CLOSED:
            end.strangers += 1
        return False

    # --------------------------------------------------------------------------------------------------------- pairs
    def bind(self, pid: int) -> None:
        """Open both sockets of a pair, or take them out of the idle ones, and keep them ready. Raises OSError; then neither is open."""
        kept = self.idle.pop(pid, None)
        if kept is not None:
            self.ready[pid] = kept
            return
        host, port = self.hosts[index_of(pid)], port_of(pid)
        rtp = self.sockets.bind(host, port)
        try:
            rtcp = self.sockets.bind(host, port + 1)
        except OSError:
            rtp.close()
            raise
        self.ready[pid] = (rtp, rtcp)

    def unbind(self, pid: int) -> None:
        """Close a pair that was ready and is not in use."""
        pair = self.ready.pop(pid, None)
        if pair is not None:
            for sock in pair:
                sock.close()
            self._freed(pid, False)

    def _drained(self, pid: int) -> tuple[MediaSocket, MediaSocket]:
        """The sockets of a pair that is ready, empty: what came while it was idle belongs to nobody. A socket that does not get empty, because
        somebody floods it, is opened anew: nothing that was sent to the session before may be left in it. Raises OSError."""
        pair = self.ready.pop(pid)
        if all(self._drain(sock) for sock in pair):
            return pair
        for sock in pair:
            sock.close()
        self.bind(pid)
        return self.ready.pop(pid)

    def _drain(self, sock: MediaSocket) -> bool:
        for _ in range(DRAIN):
            try:
                sock.recvfrom_into(self._buffer)
            except BlockingIOError:
                return True
            except OSError:
                continue  # an error message about what was sent before; it is taken out like a datagram
        return False

    def _occupy(self, pid: int, sid: int) -> RelayLeg:
        if pid not in self.ready:
            self.bind(pid)
        ends = []
        for sock, is_rtcp in zip(self._drained(pid), (False, True), strict=True):
            end = End(sock, sid, is_rtcp)
            self.ends[end.fd] = end
            self.sockets.watch(sock)
            ends.append(end)
        ends[1].sibling = ends[0]
        self._owner[pid] = sid
        return RelayLeg(pid, ends[0], ends[1])

    def _release(self, leg: RelayLeg) -> None:
        for end in (leg.rtp, leg.rtcp):
            end.state = CLOSED
            end.out = None
            del self.ends[end.fd]
            self.sockets.unwatch(end.sock)
        del self._owner[leg.pid]
        kept = len(self.idle) < self.keep
        if kept:
            self.idle[leg.pid] = (leg.rtp.sock, leg.rtcp.sock)
        else:
            leg.rtp.sock.close()
            leg.rtcp.sock.close()
        self._freed(leg.pid, kept)

    # ------------------------------------------------------------------------------------------------------ sessions
    def update(self, sid: int, legs: list[Leg], silence: float, life: float, armed: int) -> dict[int, str]:
        """Make session `sid` what is described (see `wire.Update`). Returns the reason by pid for pairs that could not be had."""
        self.now = self.clock.monotonic()
        session = self.sessions.get(sid)
        if session is None:
            session = self.sessions[sid] = RelaySession(sid)
            if life > 0:
                session.life_timer = self.clock.call_later(life, self._aged, session)
        wanted = {leg.pid for leg in legs}
        for pid in [pid for pid in session.legs if pid not in wanted]:
            self._release(session.legs.pop(pid))
        failed: dict[int, str] = {}
        for state in legs:
            leg = session.legs.get(state.pid)
            if leg is None:
                try:
                    if state.pid in self._owner:
                        raise OSError("in use by another session")
                    leg = session.legs[state.pid] = self._occupy(state.pid, sid)
                except OSError as error:
                    failed[state.pid] = error.strerror or str(error)
                    continue
            self._apply(leg, state)
        for leg in session.legs.values():
            other = session.legs.get(leg.to)
            leg.rtp.out = other.rtp if other is not None else None
            leg.rtcp.out = other.rtcp if other is not None else None
        self._arm(session, silence, armed)
        return failed

    def _apply(self, leg: RelayLeg, state: Leg) -> None:
        leg.to = state.to
        remote = state.remote
        if remote is None or (leg.spoken and leg.epoch == state.epoch):
            return
        known = state.learned if not leg.spoken else (None, None)
        leg.spoken = True
        leg.epoch = state.epoch
        family = ":" in self.hosts[index_of(leg.pid)]
        for end, signalled, learned in ((leg.rtp, remote.rtp, known[0]), (leg.rtcp, remote.rtcp, known[1])):
            end.rtp_format = remote.rtp_format
            end.dtls = remote.dtls
            end.hosts = remote.hosts
            usable = signalled is not None and (":" in signalled[0]) == family
            address = self.sockets.address(*signalled) if usable and signalled is not None else None
            self.learning.open(end, address, remote.muted, self.now)
            if learned is not None and (":" in learned[0]) == family:
                self.learning.restore(end, self.sockets.address(*learned), remote.muted)
        if not remote.rtp_format:
            leg.rtcp.state = CLOSED

    def close(self, sid: int) -> list[LegReport]:
        """Free all of a session; its last counters. Empty for an unknown one."""
        session = self.sessions.pop(sid, None)
        if session is None:
            return []
        now = self.clock.monotonic()
        for timer in (session.silence_timer, session.life_timer):
            if timer is not None:
                timer.cancel()
        reports = [leg.report(now) for leg in session.legs.values()]
        for leg in session.legs.values():
            self._release(leg)
        session.legs.clear()
        return reports

    def shut(self) -> None:
        """Close every socket."""
        self.keep = 0
        for sid in list(self.sessions):
            self.close(sid)
        for pair in self.idle.values():
            for sock in pair:
                sock.close()
        self.idle.clear()
        for pid in list(self.ready):
            self.unbind(pid)

    # -------------------------------------------------------------------------------------------------------- clocks
    def _arm(self, session: RelaySession, silence: float, armed: int) -> None:
        if armed != session.armed:
            session.armed = armed
            session.armed_at = self.now
            session.reported = False
        elif silence == session.silence:
            return
        session.silence = silence
        if session.silence_timer is not None:
            session.silence_timer.cancel()
            session.silence_timer = None
        if silence > 0 and not session.reported:
            session.silence_timer = self.clock.call_later(max(0.0, session.last() + silence - self.now), self._silent, session)

    def _silent(self, session: RelaySession) -> None:
        session.silence_timer = None
        now = self.clock.monotonic()
        left = session.last() + session.silence - now
        if left > 0.001:
            session.silence_timer = self.clock.call_later(left, self._silent, session)
            return
        session.reported = True
        self._timed_out(session.sid, "media")

    def _aged(self, session: RelaySession) -> None:
        session.life_timer = None
        self._timed_out(session.sid, "life")

"""Whose packets an end of the relay accepts, and where it sends: symmetric RTP (RFC 4961) that strangers cannot take over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ngcpd.media.relay import MediaSocket
    from ngcpd.runtime.ports import Clock

# States of an end.
CLOSED: Final = 0  # its side has not spoken yet: nothing is accepted
OPEN: Final = 1  # waiting for a source (a source from before may still be heard meanwhile)
TENTATIVE: Final = 2  # learned, may be replaced by a better one until the window ends
LOCKED: Final = 3  # this source and no other
# Ranks of sources.
SIGNALLED: Final = 3  # exactly the address in the SDP
EXPECTED: Final = 2  # a host that the signalling named, or nothing was named
FOREIGN: Final = 1
STEADY: Final = 3  # packets that a foreign source has to send before it is believed


class End:
    """One socket that faces one side.

    `bound`: the source that is accepted. `target`: where packets to the side go, None: nowhere. `out`: the end that what is heard here
    leaves from. `signalled`: the address in the side's SDP. `changed`: when the side's description last changed; `moved`: its address
    did. `last`: monotonic seconds of the last accepted packet, -1: none. `sibling`: of an RTCP end, the RTP end.
    """

    __slots__ = (
        "bound",
        "candidate",
        "candidate_last",
        "candidate_packets",
        "candidate_since",
        "changed",
        "deadline",
        "dtls",
        "fd",
        "hosts",
        "is_rtcp",
        "last",
        "moved",
        "muted",
        "octets",
        "out",
        "packets",
        "rank",
        "recv",
        "rtp_format",
        "send",
        "sibling",
        "sid",
        "signalled",
        "sock",
        "state",
        "strangers",
        "target",
        "undelivered",
    )

    def __init__(self, sock: MediaSocket, sid: int, is_rtcp: bool) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.recv: Callable[[bytearray], tuple[int, Any]] = sock.recvfrom_into
        self.send: Callable[[memoryview, Any], int] = sock.sendto
        self.sid = sid
        self.is_rtcp = is_rtcp
        self.sibling: End | None = None
        self.out: End | None = None
        self.bound: Any = None
        self.target: Any = None
        self.state = CLOSED
        self.rank = 0
        self.signalled: Any = None
        self.hosts: tuple[str, ...] = ()
        self.muted = False
        self.rtp_format = True
        self.dtls = False
        self.changed = 0.0
        self.moved = False
        self.deadline = 0.0
        self.candidate: Any = None
        self.candidate_since = 0.0
        self.candidate_last = 0.0
        self.candidate_packets = 0
        self.packets = 0
        self.octets = 0
        self.undelivered = 0
        self.strangers = 0
        self.last = -1.0


class Learning:
    """The rules. `buffer` holds the datagram that `admit` judges; `window` and `probation` are seconds (see `types.Settings`)."""

    def __init__(self, clock: Clock, buffer: bytearray, window: float, probation: float) -> None:
        self.clock = clock
        self.buffer = buffer
        self.window = window
        self.probation = probation

    def open(self, end: End, signalled: Any, muted: bool, now: float) -> None:
        """The side's description is new or has changed. A source from before stays accepted until a better one is heard; it is locked
        again when it is still heard after `window` seconds."""
        end.muted = muted
        end.changed = now
        end.deadline = now + self.window
        end.rank = 0
        end.candidate = None
        end.state = OPEN
        end.moved = signalled is not None and signalled != end.signalled
        if signalled is not None:
            end.signalled = signalled
        target = end.signalled if end.moved or end.bound is None else end.bound
        end.target = None if muted else target
        if end.bound is not None:
            if end.bound == signalled:
                end.state, end.rank = LOCKED, SIGNALLED
            else:
                self.clock.call_later(self.window, self._settle, end, now)

    def restore(self, end: End, bound: Any, muted: bool) -> None:
        """Lock a source that was learned before the relay process was replaced."""
        end.bound = bound
        end.target = None if muted else bound
        end.rank = SIGNALLED if bound == end.signalled else EXPECTED
        end.state = LOCKED

    def _settle(self, end: End, changed: float) -> None:
        """The window after a change of description ends while the source from before is still the bound one."""
        if end.state != OPEN or end.changed != changed:
            return
        now = self.clock.monotonic()
        if not end.moved:
            if end.last >= changed:
                end.state = LOCKED
        elif end.last >= changed + self.window / 2:
            # The signalled address moved but the old source goes on: it is the side's after all (a NAT in between).
            end.rank = FOREIGN
            end.state = TENTATIVE
            end.deadline = now + self.window
            if not end.muted:
                end.target = end.bound

    def admit(self, end: End, source: Any, n: int, now: float) -> bool:
        """Judge a datagram of `n` bytes from a source that is not the bound one; True makes it the bound one."""
        state = end.state
        if state in (LOCKED, CLOSED):
            return False
        if state == TENTATIVE and now >= end.deadline:
            end.state = LOCKED
            return False
        rank = self._rank(end, source)
        if rank <= end.rank or not self._plausible(end, n, rank):
            return False
        if rank == FOREIGN and not self._steady(end, source, now):
            return False
        end.bound = source
        end.rank = rank
        if not end.muted:
            end.target = source
        if rank == SIGNALLED:
            end.state = LOCKED
        elif state == OPEN:
            end.state = TENTATIVE
            end.deadline = now + self.window
        return True

    @staticmethod
    def _rank(end: End, source: Any) -> int:
        if source == end.signalled:
            return SIGNALLED
        host = source[0]
        rtp = end.sibling
        if host in end.hosts or (rtp is not None and rtp.bound is not None and rtp.bound[0] == host):
            return EXPECTED
        return EXPECTED if not end.hosts and end.signalled is None and (rtp is None or rtp.bound is None) else FOREIGN

    def _plausible(self, end: End, n: int, rank: int) -> bool:
        """RTP or RTCP by its header (RFC 3550 5.1, 6.4.1; RFC 5761 4), DTLS (RFC 5764 5.1.2) where it was signalled, UDPTL by its size."""
        if rank == SIGNALLED:
            return n > 0
        if not end.rtp_format:
            return n >= 5
        buffer = self.buffer
        if n < 8 or buffer[0] & 0xC0 != 0x80:
            return end.dtls and rank >= EXPECTED and n >= 13 and 20 <= buffer[0] <= 63
        if 192 <= buffer[1] <= 223:
            return 4 * ((buffer[2] << 8 | buffer[3]) + 1) <= n
        return not end.is_rtcp and n >= 12 + 4 * (buffer[0] & 0x0F)

    def _steady(self, end: End, source: Any, now: float) -> bool:
        """A source from an unexpected host: only on RTP ports, only while there is none from before or the window after the change
        is open, and only after it went on for `probation` seconds."""
        if end.is_rtcp or (end.bound is not None and now >= end.deadline):
            return False
        if source != end.candidate:
            if end.candidate is None or now - end.candidate_last > self.probation:
                end.candidate = source
                end.candidate_since = end.candidate_last = now
                end.candidate_packets = 1
            return False
        end.candidate_last = now
        end.candidate_packets += 1
        return end.candidate_packets >= STEADY and now - end.candidate_since >= self.probation

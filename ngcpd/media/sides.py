"""What a session knows of each side: what it said in SDP, and the port pairs that face it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ngcpd.media.rewriting import RTP, Line
from ngcpd.media.wire import Addr, Leg, Remote

ACTIVE = "sendrecv"


class Pair:
    """A port pair of ours that faces a side. `epoch` grows with each change of what the side says about this line."""

    __slots__ = ("epoch", "pid", "remote", "said")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.epoch = 0
        self.said: object = None
        self.remote: Remote | None = None


class Said(NamedTuple):
    """One side's description: its lines (None: rejected or not for the relay) and the host that its SIP message came from."""

    lines: tuple[Line | None, ...]
    host: str | None


class Side:
    """A party of the call. `turn`: when it last sent a description, counted over the session, 0: not yet."""

    __slots__ = ("before", "mark", "name", "pairs", "said", "standing", "turn")

    def __init__(self, name: str) -> None:
        self.name = name
        self.said = Said((), None)
        self.before: Said | None = None
        self.mark = 0
        self.standing: dict[int, Line] = {}  # by m-line: the last description that was not a rejection
        self.pairs: dict[int, Pair] = {}
        self.turn = 0

    @property
    def family(self) -> int:
        """The address family that the side uses itself, 0: not known."""
        for line in self.said.lines:
            if line is not None and line.family:
                return line.family
        return 0

    def say(self, said: Said, body: bytes) -> None:
        """Take a description. The one before can be had back once (`revert`), also when a new body says the same; the same body again is a
        repetition and changes nothing."""
        mark = hash(body)
        if said == self.said and mark == self.mark:
            return
        self.mark = mark
        self.before = self.said
        if said != self.said:
            self._take(said)

    def revert(self) -> bool:
        """Go back to the description before the last one. False when there is none."""
        if self.before is None or not self.before.lines:
            return False
        said, self.before = self.before, None
        self._take(said)
        return True

    def _take(self, said: Said) -> None:
        self.said = said
        for k, line in enumerate(said.lines):
            if line is not None:
                self.standing[k] = line

    def rejects(self, k: int) -> bool:
        """True when the side has spoken and its last description gives no media in line k."""
        lines = self.said.lines
        return bool(lines) and (k >= len(lines) or lines[k] is None)

    def leg(self, k: int, to: int, own: Callable[[Addr], bool]) -> Leg:
        """The wire's description of pair k. `own`: is it an address of this session's own pairs? That is never a place to send to."""
        pair = self.pairs[k]
        line = self.standing.get(k)
        if line is not None:
            key = (line, self.said.host)
            if key != pair.said:
                pair.said = key
                pair.epoch += 1
                pair.remote = _remote(line, self.said.host, own)
        return Leg(pair.pid, to, pair.epoch, pair.remote)


def _remote(line: Line, host: str | None, own: Callable[[Addr], bool]) -> Remote:
    rtp, rtcp = line.rtp, line.rtcp
    hosts: list[str] = []
    if rtp is not None:
        if own(rtp):
            rtp = None
        else:
            hosts.append(rtp[0])
    if rtcp is not None:
        if own(rtcp):
            rtcp = None
        elif rtcp[0] not in hosts:
            hosts.append(rtcp[0])
    if host is not None and host not in hosts:
        hosts.append(host)
    return Remote(rtp, rtcp, tuple(hosts), line.muted, line.kind == RTP, line.dtls)


def on_hold(sides: Sequence[Side]) -> bool:
    """True when no line flows both ways: every line that `sides` have in common is held by one of them (RFC 3264 8.4)."""
    for lines in zip(*[side.said.lines for side in sides], strict=False):
        for line in lines:
            if line is None or line.direction != ACTIVE or line.muted:
                break
        else:
            return False
    return True

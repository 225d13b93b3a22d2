"""What one side says in an SDP body, and the body that goes on with the relay's address in it. Pure functions on `Sdp`."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ngcpd.media.sdp import BadSdp, Connection, Media, Origin, Sdp, numeric

RTP = "rtp"
UDPTL = "udptl"
_PROTOCOLS = {
    "RTP/AVP": RTP,
    "RTP/AVPF": RTP,
    "RTP/SAVP": RTP,
    "RTP/SAVPF": RTP,
    "UDP/TLS/RTP/SAVP": RTP,
    "UDP/TLS/RTP/SAVPF": RTP,
    "UDPTL": UDPTL,
    "UDP/TLS/UDPTL": UDPTL,
}
_HOLD = frozenset({"0.0.0.0", "::"})
# What an RFC 2543 hold becomes where the zero address cannot be kept: the holder does not want to hear anything.
_HELD_DIRECTION = {"sendrecv": "sendonly", "recvonly": "inactive", "sendonly": "sendonly", "inactive": "inactive"}


class Line(NamedTuple):
    """Where one side wants the media of one m-line.

    `rtp`, `rtcp`: numeric (host, port), None when unknown (domain name, hold): learned from its media then. `muted`: it gave the zero
    address and wants to hear nothing (RFC 2543 hold). `family`: 4, 6 or 0 (unknown). `mux`: RTP and RTCP on one port asked for.
    """

    kind: str
    media: str
    rtp: tuple[str, int] | None
    rtcp: tuple[str, int] | None
    muted: bool
    direction: str
    dtls: bool
    family: int


class Facing(NamedTuple):
    """The relay's port pair for one m-line towards the receiver of a body."""

    address: str
    port: int


def family_of(address: str) -> int:
    return 6 if ":" in address else 4


def read_line(sdp: Sdp, media: Media) -> Line | None:
    """What the sender of `sdp` says in this m-line; None when the relay does not carry it. Raises BadSdp."""
    proto = media.proto.upper()
    kind = _PROTOCOLS.get(proto)
    if kind is None or not media.port:  # not UDP, or rejected
        return None
    if media.nports != 1:
        raise BadSdp("several ports in one m= line")
    connection = sdp.connection_of(media)
    if connection is None:
        raise BadSdp("m= line without an address")
    if connection.nettype != "IN" or connection.addrtype not in ("IP4", "IP6"):
        raise BadSdp("address is not of the Internet")
    host = numeric(connection.address)
    muted = host in _HOLD
    family = 6 if connection.addrtype == "IP6" else 4
    if host is None:
        family = 0
    elif family_of(host) != family:
        raise BadSdp("address does not fit its type")
    if muted:
        host = None
    rtcp: tuple[str, int] | None = None
    if kind == RTP and host is not None:
        rtcp = (host, media.port + 1) if media.port < 65_535 else None
        said = media.rtcp
        if said is not None:
            other = numeric(said.connection.address) if said.connection else host
            usable = other is not None and other not in _HOLD and said.port and family_of(other) == family
            rtcp = (other, said.port) if usable and other is not None else None
    return Line(
        kind,
        media.kind,
        (host, media.port) if host is not None else None,
        rtcp,
        muted,
        sdp.direction_of(media),
        proto.startswith("UDP/TLS/"),
        family,
    )


def write(sdp: Sdp, facing: list[Facing | None], default: str, lines: list[Line | None], strip_ice: bool) -> None:
    """Put the relay into `sdp`: `facing[k]` is the pair for m-line k, None for a line that is left alone. `default` is the relay's
    address for a session-level c= line when no m-line is relayed. The o= line is the caller's."""
    session_old = sdp.session.connection
    session_new: Connection | None = None
    if strip_ice:
        sdp.session.strip_ice()
    if session_old is not None:
        first = default
        for pair in facing:
            if pair is not None:
                first = pair.address
                break
        session_new = _connection(first)
        if session_old.address in _HOLD and session_new.addrtype == session_old.addrtype:
            session_new = session_old
        # An untouched m-line that leans on the session's address keeps it.
        if None in facing:
            for media, pair in zip(sdp.media, facing, strict=True):
                if pair is None and media.port and media.connection is None:
                    media.connection = session_old
        sdp.session.connection = session_new
    for media, pair, line in zip(sdp.media, facing, lines, strict=True):
        if pair is not None and line is not None:
            _write_line(sdp, media, pair, line, session_old, session_new)
            if strip_ice:
                media.strip_ice()
        elif media.port == 0:
            _hide(media, default, strip_ice)


def _write_line(sdp: Sdp, media: Media, pair: Facing, line: Line, session_old: Connection | None, session_new: Connection | None) -> None:
    own = media.connection
    old = own or session_old
    new = _connection(pair.address)
    if line.muted and old is not None:
        if old.addrtype == new.addrtype:
            new = old
        else:
            media.set_direction(_HELD_DIRECTION[sdp.direction_of(media)])
    said = media.rtcp
    if said is not None:
        same = said.port == media.port and said.port != 0
        media.set_rtcp(pair.port if same else pair.port + 1, _connection(pair.address) if said.connection else None)
    media.set_port(pair.port)
    if own is not None or new != session_new:
        media.connection = new


def _hide(media: Media, default: str, strip_ice: bool) -> None:
    """A rejected m-line stays rejected, but does not carry the sender's address on."""
    if media.connection is not None:
        media.connection = _connection(default)
    media.drop_rtcp()
    if strip_ice:
        media.strip_ice()


@lru_cache(maxsize=256)  # our own addresses
def _connection(address: str) -> Connection:
    return Connection("IN", "IP6" if ":" in address else "IP4", address)


class OriginKeeper:
    """The o= lines that one side gets from another: one session id and user for the life of the session, versions that follow the
    sender's and never fall when the description changed (RFC 3264 8), whatever the sender does behind the relay."""

    __slots__ = ("_content", "_last", "_offset", "_source", "address", "family", "session", "user")

    def __init__(self, first: Origin, address: str) -> None:
        self.user = first.user
        self.session = first.session
        self.address = address
        self.family = "IP6" if ":" in address else "IP4"
        self._source = (first.user, first.session)
        self._offset = 0
        self._last = -1
        self._content = ""

    def next(self, sdp: Sdp) -> Origin:
        """The origin of `sdp`, whose other lines are already final."""
        said = sdp.origin
        content = sdp.content()
        changed = content != self._content
        self._content = content
        if not (said.version.isascii() and said.version.isdigit()):
            return self._make(said.version)
        version = int(said.version[:40])
        if self._last < 0:
            self._last = version
            return self._make(str(version))
        wanted = version + self._offset
        restarted = (said.user, said.session) != self._source
        if restarted:
            self._source = (said.user, said.session)
        if not changed and (restarted or wanted < self._last):
            self._offset += self._last - wanted
            wanted = self._last
        elif changed and (restarted or wanted <= self._last):
            self._offset += self._last + 1 - wanted
            wanted = self._last + 1
        self._last = wanted
        return self._make(str(wanted))

    def _make(self, version: str) -> Origin:
        return Origin(self.user, self.session, version, "IN", self.family, self.address)

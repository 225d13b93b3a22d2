"""Session descriptions (RFC 8866) as lists of lines: what is understood can be read and replaced, everything else stays byte for byte.

Text is decoded as Latin-1, so every byte has its character and comes back as it was. Lines may end in CRLF or bare LF; they are written
with CRLF.
"""

from __future__ import annotations

from itertools import pairwise
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import ClassVar, Final, NamedTuple

MAX_BYTES: Final = 65_536
MAX_MEDIA: Final = 32
DIRECTIONS: Final = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})
ICE_ATTRIBUTES: Final = frozenset(
    {
        "candidate",
        "remote-candidates",
        "end-of-candidates",
        "ice-ufrag",
        "ice-pwd",
        "ice-options",
        "ice-lite",
        "ice-mismatch",
        "ice-pacing",
        "ice2",
        "altc",
    }
)
_MAPPED: Final = bytes(10) + b"\xff\xff"  # IPv4 in IPv6


class BadSdp(ValueError):
    """A body that is no usable session description; the text says why. Answered 488."""


class Origin(NamedTuple):
    """The o= line (RFC 8866 5.2). `version` is text: a number of any size, or whatever the sender wrote."""

    user: str
    session: str
    version: str
    nettype: str
    addrtype: str
    address: str

    def line(self) -> str:
        return "o=" + " ".join(self)


class Connection(NamedTuple):
    """A c= line (RFC 8866 5.7). `address` is as written: IPv4, IPv6 or a domain name."""

    nettype: str
    addrtype: str
    address: str

    def line(self) -> str:
        return f"c={self.nettype} {self.addrtype} {self.address}"


class Rtcp(NamedTuple):
    """a=rtcp (RFC 3605). `connection` is None when only a port was given."""

    port: int
    connection: Connection | None


def numeric(text: str) -> str | None:
    """The canonical text of an IPv4 or IPv6 address, None for anything else (a domain name, a multicast, mapped or scoped address)."""
    family = AF_INET6 if ":" in text else AF_INET
    try:
        packed = inet_pton(family, text)
    except (OSError, ValueError):
        return None
    if (packed.startswith(_MAPPED) or packed[0] == 0xFF) if family == AF_INET6 else 224 <= packed[0] <= 239:
        return None
    return inet_ntop(family, packed)


def _digits(text: str, limit: int, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(limit))) or int(text) > limit:
        raise BadSdp(f"bad {what}")
    return int(text)


def _connection(value: str) -> Connection:
    parts = value.split(" ")
    if len(parts) != 3 or not all(parts):
        raise BadSdp("bad c= line")
    found = Connection(*parts)
    if found.nettype == "IN" and ":" in found.address and found.addrtype == "IP4":
        raise BadSdp("IPv6 address in an IP4 c= line")
    return found


def _rtcp(value: str) -> Rtcp:
    port, space, rest = value.strip(" ").partition(" ")
    return Rtcp(_digits(port, 65_535, "port in a=rtcp"), _connection(rest) if space else None)


class _Section:
    """The session part or one media description. What is understood is read once; it is changed by the methods, not in `lines`."""

    __slots__ = ("_connection", "lines")
    after_connection: ClassVar[frozenset[str]] = frozenset("bka")  # line types that come after c=

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        value = self.value("c=")
        self._connection = None if value is None else _connection(value)

    def value(self, prefix: str) -> str | None:
        """What follows `prefix` in the first line that starts with it, e.g. "c=" or "a=ptime:"."""
        for line in self.lines:
            if line.startswith(prefix):
                return line[len(prefix) :]
        return None

    def has(self, line: str) -> bool:
        return line in self.lines

    @property
    def connection(self) -> Connection | None:
        return self._connection

    @connection.setter
    def connection(self, new: Connection) -> None:
        """Replace the first c= line and drop further ones, or put one where RFC 8866 wants it."""
        self._connection = new
        first = -1
        kept: list[str] = []
        for line in self.lines:
            if line.startswith("c="):
                if first >= 0:
                    continue
                first = len(kept)
            kept.append(line)
        if first >= 0:
            kept[first] = new.line()
        else:
            at = next((i for i, line in enumerate(kept) if i and line[0] in self.after_connection), len(kept))
            kept.insert(at, new.line())
        self.lines = kept

    @property
    def own_direction(self) -> str | None:
        """The direction attribute of this part, None without one."""
        for line in self.lines:
            if line.startswith("a=") and line[2:] in DIRECTIONS:
                return line[2:]
        return None

    def strip_attributes(self, names: frozenset[str]) -> None:
        """Drop the attributes of these names."""
        self.lines = [line for line in self.lines if not (line.startswith("a=") and line[2:].split(":", 1)[0] in names)]


class SessionPart(_Section):
    """The lines before the first m= line."""

    __slots__ = ()
    after_connection: ClassVar[frozenset[str]] = frozenset("btrzka")


class Media(_Section):
    """One media description; its first line is the m= line."""

    __slots__ = ("_rtcp", "formats", "kind", "nports", "port", "proto")

    def __init__(self, lines: list[str]) -> None:
        super().__init__(lines)
        parts = lines[0][2:].split(" ", 3)
        if len(parts) != 4 or not all(parts):
            raise BadSdp("bad m= line")
        self.kind, port, self.proto, self.formats = parts
        port, slash, count = port.partition("/")
        self.port = _digits(port, 65_535, "port in an m= line")
        self.nports = _digits(count, 65_535, "port count in an m= line") if slash else 1
        said = self.value("a=rtcp:")
        self._rtcp = None if said is None else _rtcp(said)

    def set_port(self, port: int) -> None:
        """Replace the port; a count of ports is dropped."""
        self.port, self.nports = port, 1
        self.lines[0] = f"m={self.kind} {port} {self.proto} {self.formats}"

    @property
    def rtcp(self) -> Rtcp | None:
        return self._rtcp

    def set_rtcp(self, port: int, connection: Connection | None) -> None:
        """Replace the first a=rtcp attribute; further ones are dropped."""
        self._rtcp = Rtcp(port, connection)
        line = f"a=rtcp:{port}" + (f" {connection.nettype} {connection.addrtype} {connection.address}" if connection else "")
        first = True
        kept = []
        for old in self.lines:
            if old.startswith("a=rtcp:"):
                if not first:
                    continue
                first = False
                old = line
            kept.append(old)
        self.lines = kept

    def drop_rtcp(self) -> None:
        """Remove the a=rtcp attributes."""
        if self._rtcp is not None:
            self._rtcp = None
            self.strip_attributes(frozenset({"rtcp"}))

    @property
    def rtcp_mux(self) -> bool:
        return self.has("a=rtcp-mux")

    def set_direction(self, direction: str) -> None:
        """Replace the direction attribute or add one."""
        self.lines = [line for line in self.lines if not (line.startswith("a=") and line[2:] in DIRECTIONS)]
        self.lines.append(f"a={direction}")


class Sdp:
    """A session description: `session` (the lines before the first m= line) and `media` in order."""

    __slots__ = ("_origin", "media", "session")

    def __init__(self, session: SessionPart, media: list[Media]) -> None:
        self.session = session
        self.media = media
        if [i for i, line in enumerate(session.lines) if line[0] == "o"] != [1]:
            raise BadSdp("needs exactly one o= line, the second")
        parts = session.lines[1][2:].split(" ")
        if len(parts) != 6 or not all(parts):
            raise BadSdp("bad o= line")
        self._origin = Origin(*parts)

    @classmethod
    def parse(cls, body: bytes) -> Sdp:
        """Read a body. Raises BadSdp, and nothing else, for whatever is not one."""
        if len(body) > MAX_BYTES:
            raise BadSdp("longer than 64 KiB")
        text = body.decode("latin-1").replace("\r\n", "\n")
        if "\r" in text or "\0" in text:
            raise BadSdp("holds a control character")
        lines = text.rstrip("\n").split("\n")
        if lines[0] != "v=0":
            raise BadSdp("does not begin with v=0")
        starts = []
        for i, line in enumerate(lines):
            if line[1:2] != "=" or not "a" <= line[0] <= "z":
                raise BadSdp(f"line {i + 1} is not of the form letter=value")
            if line[0] == "m":
                starts.append(i)
        if len(starts) > MAX_MEDIA:
            raise BadSdp(f"more than {MAX_MEDIA} media descriptions")
        cuts = [*starts, len(lines)]
        return cls(SessionPart(lines[: cuts[0]]), [Media(lines[s:e]) for s, e in pairwise(cuts)])

    def to_bytes(self) -> bytes:
        lines = list(self.session.lines)
        for media in self.media:
            lines += media.lines
        lines.append("")
        return "\r\n".join(lines).encode("latin-1")

    @property
    def origin(self) -> Origin:
        return self._origin

    @origin.setter
    def origin(self, new: Origin) -> None:
        self._origin = new
        self.session.lines[1] = new.line()

    def connection_of(self, media: Media) -> Connection | None:
        """The connection that holds for a media description: its own, else the session's."""
        return media.connection or self.session.connection

    def direction_of(self, media: Media) -> str:
        """The direction that holds for a media description (RFC 8866 6.7): its own, the session's, sendrecv."""
        return media.own_direction or self.session.own_direction or "sendrecv"

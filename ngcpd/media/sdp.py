"""Session descriptions (RFC 8866) as text: what is understood can be read and replaced in it, everything else stays byte for byte.

Text is decoded as Latin-1, so every byte has its character and comes back as it was. Lines may end in CRLF or bare LF; they are written
with CRLF.
"""

from __future__ import annotations

import re
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import ClassVar, Final, NamedTuple

MAX_BYTES: Final = 65_536
MAX_MEDIA: Final = 32
DIRECTIONS: Final = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})
LONGEST_ADDRESS: Final = 45  # an IPv6 address whose end is written as IPv4

# Each line of a part ends in LF, so a line begins after one and what follows it is the next line's LF.
_BAD_LINE: Final = re.compile(r"\n(?![a-z]=)")
_MEDIA_LINE: Final = re.compile(r"m=([^ \n]+) ([0-9]{1,5}) ([^ \n]+) ([^\n]+)\n")
_DIRECTION: Final = re.compile(r"\na=(sendrecv|sendonly|recvonly|inactive)(?=\n)")
_CONNECTION: Final = re.compile(r"\nc=[^\n]*(?=\n)")
_RTCP_VALUE: Final = re.compile(r"\na=rtcp:[^\n]*(?=\n)")
_RTCP: Final = re.compile(r"\na=rtcp(?::[^\n]*)?(?=\n)")
_ICE: Final = re.compile(
    r"\na=(?:candidate|remote-candidates|end-of-candidates|ice-(?:ufrag|pwd|options|lite|mismatch|pacing)|ice2|altc)(?::[^\n]*)?(?=\n)"
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
    return _numeric(text) if len(text) <= LONGEST_ADDRESS else None


@lru_cache(maxsize=4096)  # the same phones send the same addresses again and again
def _numeric(text: str) -> str | None:
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


class _Part:
    """The session part or one media description: `text` with LF behind each line. What is understood is read once; it is changed by the
    methods, not in `text`."""

    __slots__ = ("_connection", "text")
    after_connection: ClassVar[re.Pattern[str]] = re.compile(r"\n[bka]=")  # line types that come after c=

    def __init__(self, text: str) -> None:
        self.text = text
        self._connection = None
        at = text.find("\nc=")
        if at >= 0:
            at += 3
            self._connection = _connection(text[at : text.index("\n", at)])

    @property
    def lines(self) -> list[str]:
        return self.text[:-1].split("\n")

    def value(self, prefix: str) -> str | None:
        """What follows `prefix` in the first line that starts with it, e.g. "c=" or "a=ptime:". The part's very first line is none of them."""
        text = self.text
        at = text.find("\n" + prefix)
        if at < 0:
            return None
        at += 1 + len(prefix)
        return text[at : text.index("\n", at)]

    def has(self, line: str) -> bool:
        return f"\n{line}\n" in self.text

    @property
    def connection(self) -> Connection | None:
        return self._connection

    @connection.setter
    def connection(self, new: Connection) -> None:
        """Replace the first c= line and drop further ones, or put one where RFC 8866 wants it."""
        self._connection = new
        text = self.text
        at = text.find("\nc=")
        if at >= 0:
            end = text.index("\n", at + 1)
            rest = text[end:]
            if "\nc=" in rest:
                rest = _CONNECTION.sub("", rest)
        else:
            found = self.after_connection.search(text)
            at = found.start() if found is not None else len(text) - 1
            rest = text[at:]
        self.text = f"{text[:at]}\n{new.line()}{rest}"

    @property
    def own_direction(self) -> str | None:
        """The direction attribute of this part, None without one."""
        found = _DIRECTION.search(self.text)
        return found[1] if found is not None else None

    def strip_ice(self) -> None:
        """Drop the attributes of ICE (RFC 8839) and their kin."""
        self.text = _ICE.sub("", self.text)


class SessionPart(_Part):
    """The lines before the first m= line, but for the o= line, which the `Sdp` keeps."""

    __slots__ = ()
    after_connection: ClassVar[re.Pattern[str]] = re.compile(r"\n[btrzka]=")


class Media(_Part):
    """One media description; its first line is the m= line."""

    __slots__ = ("_rtcp", "formats", "kind", "nports", "port", "proto")

    def __init__(self, text: str) -> None:
        super().__init__(text)
        found = _MEDIA_LINE.match(text)
        if found is not None:
            self.kind, port, self.proto, self.formats = found.groups()
            slash = count = ""
        else:  # something is wrong, or there is a count of ports
            parts = text[2 : text.index("\n")].split(" ", 3)
            if len(parts) != 4 or not all(parts):
                raise BadSdp("bad m= line")
            self.kind, port, self.proto, self.formats = parts
            port, slash, count = port.partition("/")
        self.port = _digits(port, 65_535, "port in an m= line")
        self.nports = _digits(count, 65_535, "port count in an m= line") if slash else 1
        self._rtcp = None
        if "\na=rtcp:" in text:
            self._rtcp = _rtcp(self.value("a=rtcp:") or "")

    def set_port(self, port: int) -> None:
        """Replace the port; a count of ports is dropped."""
        self.port, self.nports = port, 1
        rest = self.text[self.text.index("\n") :]
        self.text = f"m={self.kind} {port} {self.proto} {self.formats}{rest}"

    @property
    def rtcp(self) -> Rtcp | None:
        return self._rtcp

    def set_rtcp(self, port: int, connection: Connection | None) -> None:
        """Replace the first a=rtcp attribute; further ones are dropped."""
        self._rtcp = Rtcp(port, connection)
        text = self.text
        at = text.find("\na=rtcp:")
        if at < 0:
            return
        line = f"\na=rtcp:{port}" + (f" {connection.nettype} {connection.addrtype} {connection.address}" if connection else "")
        end = text.index("\n", at + 1)
        self.text = text[:at] + line + _RTCP_VALUE.sub("", text[end:])

    def drop_rtcp(self) -> None:
        """Remove the a=rtcp attributes."""
        if self._rtcp is not None:
            self._rtcp = None
            self.text = _RTCP.sub("", self.text)

    @property
    def rtcp_mux(self) -> bool:
        return self.has("a=rtcp-mux")

    def set_direction(self, direction: str) -> None:
        """Replace the direction attribute or add one."""
        self.text = f"{_DIRECTION.sub('', self.text)}a={direction}\n"


class Sdp:
    """A session description: `session` (the lines before the first m= line), `media` in order, `origin`: the o= line."""

    __slots__ = ("media", "origin", "session")

    def __init__(self, session: SessionPart, media: list[Media]) -> None:
        self.session = session
        self.media = media
        text = session.text
        if not text.startswith("\no=", 3) or text.find("\no=", 4) >= 0:
            raise BadSdp("needs exactly one o= line, the second")
        end = text.index("\n", 4)
        parts = text[6:end].split(" ")
        if len(parts) != 6 or not all(parts):
            raise BadSdp("bad o= line")
        self.origin = Origin(*parts)
        session.text = text[:3] + text[end:]

    @classmethod
    def parse(cls, body: bytes) -> Sdp:
        """Read a body. Raises BadSdp, and nothing else, for whatever is not one."""
        if len(body) > MAX_BYTES:
            raise BadSdp("longer than 64 KiB")
        text = body.decode("latin-1").replace("\r\n", "\n")
        if "\r" in text or "\0" in text:
            raise BadSdp("holds a control character")
        text = text.rstrip("\n")
        if not text.startswith("v=0\n") and text != "v=0":
            raise BadSdp("does not begin with v=0")
        bad = _BAD_LINE.search(text)
        if bad is not None:
            at = text.count("\n", 0, bad.end()) + 1
            raise BadSdp(f"line {at} is not of the form letter=value")
        first, *more = text.split("\nm=")
        if len(more) > MAX_MEDIA:
            raise BadSdp(f"more than {MAX_MEDIA} media descriptions")
        return cls(SessionPart(first + "\n"), [Media(f"m={part}\n") for part in more])

    def content(self) -> str:
        """All but the o= line, with LF for line ends."""
        text = self.session.text
        for media in self.media:
            text += media.text
        return text

    def to_bytes(self) -> bytes:
        content = self.content()
        return f"{content[:4]}{self.origin.line()}{content[3:]}".replace("\n", "\r\n").encode("latin-1")

    def connection_of(self, media: Media) -> Connection | None:
        """The connection that holds for a media description: its own, else the session's."""
        return media._connection or self.session._connection

    def direction_of(self, media: Media) -> str:
        """The direction that holds for a media description (RFC 8866 6.7): its own, the session's, sendrecv."""
        return media.own_direction or self.session.own_direction or "sendrecv"

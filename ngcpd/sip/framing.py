"""Where a message ends: on a stream by Content-Length (RFC 3261 18.3), and which datagrams are no messages at all.

The framer reads header names exactly as the parser does (same line ends, folding, compact forms, blanks before the colon), so the two can never
disagree about where a message ends. Messages that are wrong inside are cut and passed on; only what makes the boundary uncertain is an error.
"""

from __future__ import annotations

from typing import Final

from ngcpd.sip.errors import ParseError
from ngcpd.sip.grammar import number
from ngcpd.sip.message import MAX_MESSAGE
from ngcpd.sip.names import canonical

MAX_HEAD: Final = 65_536
SHORTEST: Final = 24  # octets; the shortest conceivable request with a Via is longer


class Keepalive:
    """The type of KEEPALIVE."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "KEEPALIVE"


KEEPALIVE: Final = Keepalive()
"""Stands in the result of `StreamFramer.feed` for a ping (double CRLF, RFC 5626 3.5.1), to be answered with one CRLF."""


class FramingError(Exception):
    """The stream can no longer be cut into messages and must be closed. `messages` is what was complete before; `head` the header block at fault,
    as far as it is known."""

    def __init__(self, reason: str, head: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.head = head
        self.messages: list[bytes | Keepalive] = []


class StreamFramer:
    """Cuts one direction of a TCP or TLS connection into messages of at most `limit` octets.

    Work is linear in the octets fed, however they are split. After a FramingError the framer is not to be fed again.
    """

    __slots__ = ("_buffer", "_limit", "_need", "_pings", "_scanned")

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._scanned = 0  # octets of the buffer known to hold no end of headers
        self._need = 0  # length of the whole message once its headers are read
        self._pings = 0  # CRLFs seen since the last message or ping

    @property
    def pending(self) -> int:
        """Octets of a message that is not complete yet."""
        size = len(self._buffer)
        return 0 if size == 1 and self._buffer[0] == 13 else size

    def feed(self, data: bytes) -> list[bytes | Keepalive]:
        """Take octets as they came; give what they complete, in order. FramingError."""
        out: list[bytes | Keepalive] = []
        self._buffer += data
        try:
            self._cut(out)
        except FramingError as error:
            error.messages = out
            self._buffer.clear()
            raise
        return out

    def _cut(self, out: list[bytes | Keepalive]) -> None:
        buffer = self._buffer
        start = 0
        size = len(buffer)
        while start < size:
            if not self._need:
                if self._scanned <= 0 and buffer[start] in b"\r\n\0":
                    skipped = self._skip_blank(start, out)
                    if skipped == start:
                        break  # a CR whose LF is still to come
                    start = skipped
                    continue
                if not self._read_head(start):
                    break
            if size - start < self._need:
                break
            out.append(bytes(buffer[start : start + self._need]))
            start += self._need
            self._need = self._scanned = self._pings = 0
        if start:
            del buffer[:start]

    def _skip_blank(self, start: int, out: list[bytes | Keepalive]) -> int:
        """Between messages: one CRLF, LF or NUL. Returns the place behind it."""
        buffer = self._buffer
        if buffer[start] != 13:
            return start + 1
        if start + 1 >= len(buffer):
            return start
        if buffer[start + 1] != 10:
            raise FramingError("Stray Line Break")
        self._pings += 1
        if self._pings == 2:
            self._pings = 0
            out.append(KEEPALIVE)
        return start + 2

    def _read_head(self, start: int) -> bool:
        """Find the end of the headers and set `_need`. False when it is still to come."""
        buffer = self._buffer
        limit = min(MAX_HEAD, self._limit)
        end = buffer.find(b"\r\n\r\n", start + self._scanned)
        if end < 0:
            held = len(buffer) - start
            if held > limit:
                raise FramingError("Headers Too Long")
            self._scanned = max(1, held - 3)
            return False
        head = bytes(buffer[start:end])
        if len(head) + 4 > limit:
            raise FramingError("Headers Too Long", head[:limit])
        need = len(head) + 4 + content_length(head)
        if need > self._limit:
            raise FramingError("Message Too Large", head)
        self._need = need
        return True


def content_length(head: bytes) -> int:
    """Content-Length of a header block without its end. FramingError when it is missing, no number, over the cap or there twice."""
    text = head.decode("latin-1")
    if "\r\n " in text or "\r\n\t" in text:
        text = text.replace("\r\n ", " ").replace("\r\n\t", " ")
    found: str | None = None
    for line in text.split("\r\n")[1:]:
        if line[:1] not in ("C", "c", "L", "l"):
            continue
        name, colon, value = line.partition(":")
        if not colon or not _is_length(name):
            continue
        if found is not None:
            raise FramingError("Duplicate Content-Length Header", head)
        found = value.strip(" \t")
    if found is None:
        raise FramingError("Missing Content-Length Header", head)
    try:
        return number(found, MAX_MESSAGE, "Bad Content-Length Header")
    except ParseError as error:
        raise FramingError(error.reason, head) from error


def _is_length(name: str) -> bool:
    if name == "Content-Length":
        return True
    try:
        return canonical(name) == "Content-Length"
    except ParseError:
        return False


def is_keepalive(datagram: bytes) -> bool:
    """True for a datagram that is no message and deserves no answer: line ends, NULs, or a few dummy octets that keep a NAT binding open."""
    return len(datagram) < SHORTEST or not datagram.strip(b"\r\n\0 \t")

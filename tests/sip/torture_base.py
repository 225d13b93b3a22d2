"""Building blocks of the RFC 4475 messages."""

from __future__ import annotations

from typing import NamedTuple

VALID = "valid"
INVALID = "invalid"
TRANSACTION = "transaction"
APPLICATION = "application"
COMPATIBILITY = "compatibility"


class Vector(NamedTuple):
    """One message: its name and section in the RFC, its class, what reading and sanity check make of it (0 accepted, else the code), its bytes."""

    name: str
    section: str
    kind: str
    code: int
    data: bytes


VECTORS: dict[str, Vector] = {}


def crlf(text: str) -> bytes:
    """Lines as they go on the wire."""
    return text.replace("\n", "\r\n").encode("utf-8")


def sdp(address: str, time: str = "0 0") -> bytes:
    """The session description that most of the messages share."""
    return crlf(f"""\
v=0
o=mhandley 29739 7272939 IN IP4 {address}
s=-
c=IN IP4 {address}
t={time}
m=audio 49217 RTP/AVP 0 12
m=video 3227 RTP/AVP 31
a=rtpmap:31 LPC
""")


def add(name: str, section: str, kind: str, code: int, text: str, body: bytes = b"") -> None:
    """Note a message."""
    VECTORS[name] = Vector(name, section, kind, code, crlf(text) + body)

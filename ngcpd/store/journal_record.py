"""How journal records look on disk, and how a damaged file is read. Little endian::

    u32 length of what follows the checksum | u32 crc32 of it | u64 epoch | u64 seq | u8 len | u8 len | node | stream | payload
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache
from typing import NamedTuple

HEAD = struct.Struct("<II")
BODY = struct.Struct("<QQBB")
MAX_RECORD = 64 << 20


class Position(NamedTuple):
    """A place in the journal of one node: everything up to and including record `seq` of `epoch`."""

    epoch: int
    seq: int


START = Position(0, 0)


class Record(NamedTuple):
    """One journal entry. `epoch` grows with each start of the daemon, `seq` from 1 within it."""

    node: str
    epoch: int
    seq: int
    stream: str
    payload: bytes

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.seq)


@lru_cache(maxsize=64)
def _names(node: str, stream: str) -> tuple[int, int, bytes]:
    """Lengths and bytes of the two names. A node has one name and a handful of streams."""
    one, other = node.encode(), stream.encode()
    if len(one) > 255 or len(other) > 255:
        raise ValueError("journal record out of bounds")
    return len(one), len(other), one + other


def encode(record: Record) -> bytes:
    """The bytes of one record. ValueError when node or stream are longer than 255 bytes or the payload is beyond all measure."""
    node, epoch, seq, stream, payload = record
    n, s, names = _names(node, stream)
    if len(payload) > MAX_RECORD - 1024:
        raise ValueError("journal record out of bounds")
    body = BODY.pack(epoch, seq, n, s) + names + payload
    return HEAD.pack(len(body), zlib.crc32(body)) + body


def _record_at(data: bytes, at: int) -> tuple[Record, int] | None:
    """The record that begins at `at` and where it ends; None when there is no whole and right one."""
    if at + HEAD.size + BODY.size > len(data):
        return None
    length, crc = HEAD.unpack_from(data, at)
    start = at + HEAD.size
    if not BODY.size <= length <= MAX_RECORD or start + length > len(data):
        return None
    body = data[start : start + length]
    if zlib.crc32(body) != crc:
        return None
    epoch, seq, n, s = BODY.unpack_from(body)
    if BODY.size + n + s > length:
        return None
    try:
        node = body[BODY.size : BODY.size + n].decode()
        stream = body[BODY.size + n : BODY.size + n + s].decode()
    except UnicodeDecodeError:
        return None
    return Record(node, epoch, seq, stream, body[BODY.size + n + s :]), start + length


def _resume(data: bytes, at: int, epoch: int) -> int | None:
    """Where the next right record of `epoch` begins after a damaged place, None when there is none."""
    mark = struct.pack("<Q", epoch)
    found = data.find(mark, at + 1 + HEAD.size)
    while found >= 0:
        if _record_at(data, found - HEAD.size) is not None:
            return found - HEAD.size
        found = data.find(mark, found + 1)
    return None


class Decoded(NamedTuple):
    """Content of a segment: its right records, where the last of them ends, and how many damaged bytes lie between them."""

    records: list[Record]
    end: int
    damaged: int


def decode(data: bytes, epoch: int) -> Decoded:
    """Read a segment. What follows the last right record is a torn tail; damage before that is skipped."""
    records: list[Record] = []
    at = damaged = 0
    while at < len(data):
        found = _record_at(data, at)
        if found is not None:
            records.append(found[0])
            at = found[1]
            continue
        again = _resume(data, at, epoch)
        if again is None:
            break
        damaged += again - at
        at = again
    return Decoded(records, at, damaged)

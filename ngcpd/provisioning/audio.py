"""WAV files as they are uploaded, made into what announcements are kept as: 8 kHz, mono, 16 bit, or A-law (applications 1.1).

`audioop` is C code; on Python 3.13 and later it comes from the package audioop-lts. It is called on short blocks, so that other threads run
in between.
"""

from __future__ import annotations

import math
import struct
import warnings
from dataclasses import dataclass

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

RATE = 8000
RATES = range(4000, 192_001)
BLOCK = 1 << 14
"""Samples that are worked on at a time."""
CUT = 3600.0
"""Hz; above it a file of a higher rate is damped before it is made slower."""
WAVE, ALAW, ULAW, EXTENSIBLE = 1, 6, 7, 0xFFFE
_GUID = bytes.fromhex("000000001000800000aa00389b71")


class BadAudio(Exception):
    """It is not a WAV file that can be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Pcm:
    """Samples as they are in a file: `width` bytes each, `channels` side by side, `rate` per second."""

    data: bytes
    width: int
    channels: int
    rate: int


def telephone(data: bytes) -> bytes:
    """16 bit little-endian samples at 8 kHz, one channel, of any WAV file in PCM, A-law or u-law. BadAudio."""
    pcm = read(data)
    blocks = _mono(pcm)
    return _slower(blocks, pcm.rate) if pcm.rate != RATE else b"".join(blocks)


def wav(samples: bytes) -> bytes:
    """A WAV file of 16 bit samples at 8 kHz, one channel."""
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, WAVE, 1, RATE, RATE * 2, 2, 16, b"data", len(samples))
    return head + samples


def to_alaw(samples: bytes) -> bytes:
    """A-law of 16 bit samples."""
    return audioop.lin2alaw(samples, 2)


def from_alaw(data: bytes) -> bytes:
    """16 bit samples of A-law."""
    return audioop.alaw2lin(data, 2)


def read(data: bytes) -> Pcm:
    """The samples of a WAV file (RIFF chunks `fmt ` and `data`); a data chunk that promises more than there is ends with the file. BadAudio."""
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise BadAudio("Invalid file type detected, only WAV supported")
    at, shape = 12, None
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8
        if name == b"fmt ":
            shape = _shape(data[at : at + min(size, 64)])
        elif name == b"data":
            if shape is None:
                raise BadAudio("The WAV file has no format before its data")
            return _samples(data[at : at + size], *shape)
        at += size + size % 2
    raise BadAudio("The WAV file has no data")


# ---------------------------------------------------------------------------------------------------------------------- inside
def _shape(chunk: bytes) -> tuple[int, int, int, int]:
    """Format, channels, rate, bits of a `fmt ` chunk."""
    if len(chunk) < 16:
        raise BadAudio("The WAV file has a broken format")
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunk[:16])
    if kind == EXTENSIBLE:
        if len(chunk) < 40 or chunk[26:40] != _GUID:
            raise BadAudio("The format of the WAV file is not supported")
        kind = int.from_bytes(chunk[24:26], "little")
    if kind not in (WAVE, ALAW, ULAW) or bits not in ((8, 16, 24, 32) if kind == WAVE else (8,)):
        raise BadAudio("The format of the WAV file is not supported, use PCM, A-law or u-law")
    if channels not in (1, 2):
        raise BadAudio("The WAV file must have one or two channels")
    if rate not in RATES:
        raise BadAudio(f"The WAV file must have {RATES.start} to {RATES.stop - 1} samples per second")
    return kind, channels, rate, bits


def _samples(data: bytes, kind: int, channels: int, rate: int, bits: int) -> Pcm:
    width = bits // 8
    data = data[: len(data) // (width * channels) * width * channels]
    if not data:
        raise BadAudio("The WAV file has no data")
    if kind != WAVE:
        return Pcm(audioop.alaw2lin(data, 2) if kind == ALAW else audioop.ulaw2lin(data, 2), 2, channels, rate)
    return Pcm(audioop.bias(data, 1, -128) if width == 1 else data, width, channels, rate)


def _mono(pcm: Pcm) -> list[bytes]:
    """16 bit blocks of one channel."""
    step = BLOCK * pcm.width * pcm.channels
    found = []
    for at in range(0, len(pcm.data), step):
        block = audioop.lin2lin(pcm.data[at : at + step], pcm.width, 2)
        found.append(audioop.tomono(block, 2, 0.5, 0.5) if pcm.channels == 2 else block)
    return found


def _slower(blocks: list[bytes], rate: int) -> bytes:
    """Another rate made 8 kHz: low-pass where it was higher, then linear interpolation."""
    taps = _low_pass(rate) if rate > RATE else ()
    reach = len(taps) // 2
    state, found = None, []
    tail = bytes(2 * reach)
    ahead = b"".join(blocks[:1])
    for index in range(len(blocks)):
        following = blocks[index + 1] if index + 1 < len(blocks) else b""
        block = ahead
        if taps:
            # Each output sample needs `reach` samples on both sides: those before are kept, those after come from the next block or are silence.
            padded = tail + block + (following[: 2 * reach]).ljust(2 * reach, b"\0")
            tail = (tail + block)[-2 * reach :]
            block = _filter(padded, len(block), taps)
        out, state = audioop.ratecv(block, 2, 1, rate, RATE, state)
        found.append(out)
        ahead = following
    return b"".join(found)


def _low_pass(rate: int) -> tuple[float, ...]:
    """A windowed sinc for CUT Hz, of length proportional to how much slower it becomes; its sum is 1."""
    reach = 4 * math.ceil(rate / RATE)
    omega = 2 * math.pi * CUT / rate
    raw = []
    for n in range(-reach, reach + 1):
        ideal = omega / math.pi if n == 0 else math.sin(omega * n) / (math.pi * n)
        raw.append(ideal * (0.54 + 0.46 * math.cos(math.pi * n / (reach + 1))))
    total = sum(raw)
    return tuple(value / total for value in raw)


def _filter(padded: bytes, length: int, taps: tuple[float, ...]) -> bytes:
    """The sum of shifted and weighted copies, in 32 bits, of which `length` bytes of 16 bit samples are wanted."""
    wide = audioop.lin2lin(padded, 2, 4)
    total = bytes(length * 2)
    for index, weight in enumerate(taps):
        total = audioop.add(total, audioop.mul(wide[index * 4 : index * 4 + length * 2], 4, weight), 4)
    return audioop.lin2lin(total, 4, 2)

"""WAV files for tests."""

from __future__ import annotations

import math
import struct


def tone(rate: int = 8000, hertz: float = 1000.0, seconds: float = 0.2, channels: int = 1) -> bytes:
    """A sine of a third of the full scale, 16 bit."""
    samples = [int(10_000 * math.sin(2 * math.pi * hertz * i / rate)) for i in range(int(rate * seconds))]
    return riff(b"".join(struct.pack("<h", s) * channels for s in samples), rate, channels)


def riff(data: bytes, rate: int = 8000, channels: int = 1, bits: int = 16, kind: int = 1) -> bytes:
    """Samples with the header of a WAV file."""
    block = channels * bits // 8
    shape = struct.pack("<HHIIHH", kind, channels, rate, rate * block, block, bits)
    return b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + shape + b"data" + struct.pack("<I", len(data)) + data

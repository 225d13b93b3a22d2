"""Findings as files: tests/hostile/regressions/SURFACE-NAME.bin, replayed by test_regressions.py. The surface tells what reads it."""

from __future__ import annotations

import hashlib
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parent / "regressions"


def save(surface: str, data: bytes) -> Path:
    """Keep an input under the digest of its octets; give it a speaking name when the fault is mended."""
    path = DIRECTORY / f"{surface}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
    path.write_bytes(data)
    return path


def kept() -> list[Path]:
    return sorted(DIRECTORY.glob("*.bin"))

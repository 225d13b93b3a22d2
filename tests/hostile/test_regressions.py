"""Findings kept as files (see regression.py): each is read again by what it once broke."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fuzz.targets import TARGETS
from tests.hostile.generate import WORDS
from tests.hostile.regression import kept
from tests.hostile.rig import Rig
from tests.hostile.scenes import Stage


@pytest.mark.parametrize("path", [p for p in kept() if p.name.partition("-")[0] in TARGETS], ids=lambda p: p.stem)
def test_values(path: Path) -> None:
    target, data = TARGETS[path.name.partition("-")[0]], path.read_bytes()
    spent = []
    for _ in range(3):
        begun = time.process_time()
        target(data)
        spent.append(time.process_time() - begun)
    assert min(spent) < 0.05


@pytest.mark.parametrize("path", [p for p in kept() if p.name.startswith("world-")], ids=lambda p: p.stem)
def test_world(path: Path) -> None:
    """Datagrams to the whole daemon, from a stranger and from the party of an established call."""
    rig = Rig()
    stage = Stage(rig)
    rig.fire(path.read_bytes(), path.stem)
    stage.establish()
    stage.x.send(path.read_bytes())
    rig.step()
    stage.tidy()
    rig.call()
    rig.end()


def test_every_file_has_a_reader() -> None:
    assert {p.name.partition("-")[0] for p in kept()} <= {*TARGETS, "world"}


def test_passes_of_a_long_call_id_are_counted_at_once() -> None:
    """2,700 suffixes of the platform in one Call-ID of an authenticated caller took a tenth of a second."""
    rig = Rig()
    stage = Stage(rig)
    call_id = b"Call-ID: " + b"_b2b-1" * 2_700
    assert b"_b2b-1" in WORDS[-1]
    for end in (b"x", b""):
        base = stage.invite()
        lines = tuple(call_id + end if line.startswith(b"Call-ID") else line for line in base.lines)
        spent = min(rig.timed("passes", stage.x.send, base._replace(lines=lines).whole()) for _ in range(3))
        assert spent < 0.08
        stage.tidy()
    rig.end()

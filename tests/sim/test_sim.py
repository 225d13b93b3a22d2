"""A few thousand calls under faults, the same seeds every time; `make soak` runs fresh ones."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ngcpd.calls.ending import hang_up
from ngcpd.calls.engine import Calls
from ngcpd.runtime.simnet import Link
from ngcpd.store.acc import Accounting
from ngcpd.store.bindings import Bindings
from tests.sim.run import Profile, simulate, template

HERE = Path(__file__).resolve().parent
SEEDS = (3, 4, 22, 76, 601, 606, 622)
REGRESSIONS = [int(line.split()[0]) for line in (HERE / "seeds.txt").read_text().splitlines() if line[:1].isdigit()]


@pytest.mark.parametrize("seed", SEEDS)
def test_random_calls(seed: int) -> None:
    result = simulate(seed)
    assert not result.faults, str(result)


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_what_was_found_stays_mended(seed: int) -> None:
    result = simulate(seed)
    assert not result.faults, str(result)


ROUGH = Profile(
    seconds=40.0,
    rate=5.0,
    link=Link(delay=0.02, jitter=0.05, loss=0.05, duplicate=0.05, reorder=0.05),
    lag=0.02,
    kills=1,
    store_outages=1,
    moves=3,
    noise=2.0,
    act=0.2,
)


def test_a_seed_is_a_run() -> None:
    """The same messages at the same moments, whatever the order of hashes; another seed is another run."""
    here = simulate(77, ROUGH)
    assert not here.faults, str(here)
    assert simulate(77, ROUGH).digest == here.digest
    assert simulate(78, ROUGH).digest != here.digest
    code = "from tests.sim.test_sim import ROUGH, simulate; print(simulate(77, ROUGH).digest)"
    for number in ("0", "7"):
        env = {**os.environ, "PYTHONHASHSEED": number}
        done = subprocess.run([sys.executable, "-c", code], cwd=HERE.parent.parent, env=env, capture_output=True, text=True, check=True, timeout=100)
        assert done.stdout.split()[-1] == here.digest


def test_memory_stays_flat() -> None:
    template()
    calm = Profile(seconds=30.0, rate=5.0, kills=1)
    counts = []
    for _ in range(4):
        simulate(5, calm)
        gc.collect()
        counts.append(len(gc.get_objects()))
    assert counts[3] - counts[1] < 500, counts


# ------------------------------------------------------------------------------------------- the checks see what they are for
CALM = Profile(seconds=40.0, rate=5.0, link=Link(delay=0.02), wrong_password=0.0)


def seen(profile: Profile) -> str:
    return " ".join(simulate(99, profile).faults)


def test_a_calm_run_is_clean() -> None:
    assert seen(CALM) == ""


def test_a_lost_end_of_a_call_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Accounting.write
    count = 0

    def write(self: Accounting, event: Any) -> int:
        nonlocal count
        count += 1
        return 0 if count == 60 else real(self, event)

    monkeypatch.setattr(Accounting, "write", write)
    faults = seen(CALM)
    assert "no CDR" in faults or "open_calls" in faults


def test_a_doubled_record_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Accounting.write
    count = 0

    def write(self: Accounting, event: Any) -> int:
        nonlocal count
        count += event.sip_code == "486"
        if count == 3:
            count += 1
            real(self, event)
        return real(self, event)

    monkeypatch.setattr(Accounting, "write", write)
    assert "CDR" in seen(CALM)


def test_a_dialog_that_stays_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Calls, "unregister", lambda self, pair: None)
    assert "dialogs" in seen(CALM)


def test_a_lost_binding_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bindings, "put", lambda self, binding: 0)
    assert "lost after the last start" in seen(Profile(seconds=40.0, rate=1.0, last_kill=True))


def test_an_exception_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Calls.ack
    count = 0

    def ack(self: Calls, *args: Any) -> bool:
        nonlocal count
        count += 1
        if count == 20:
            raise KeyError("sabotage")
        return real(self, *args)

    monkeypatch.setattr(Calls, "ack", ack)
    assert "exceptions counted" in seen(CALM)


def test_a_call_ended_without_reason_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Calls.ack

    def ack(self: Calls, request: Any, flow: Any) -> bool:
        done = real(self, request, flow)
        found = self.dialogs.get((request.call_id, request.to_tag, request.from_tag))
        if found is not None and request.call_id.startswith("c-99-1"):
            hang_up(found[0], "sabotage")
        return done

    monkeypatch.setattr(Calls, "ack", ack)
    assert "healthy call" in seen(CALM)

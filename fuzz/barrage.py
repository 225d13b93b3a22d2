"""Fires recipes of tests/hostile/generate.py at the simulated daemon for a given time, a valid call after each: `make fuzz`.

    python -m fuzz.barrage SECONDS [SEED]

Each case that does harm, or takes more than 50 ms of CPU three times in a row, is written to tests/hostile/regressions and named. A faulty
world is thrown away and the run goes on with a new one. The last line is a summary in JSON; the exit status is 1 when there was a finding.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time

from tests.hostile.generate import Recipe
from tests.hostile.regression import save
from tests.hostile.test_generated import BATCH, WEIGHTS, Barrage

WORLD_CASES = 5000  # then the daemon is settled, checked for what is left, and started anew


class Run:
    """One run: seconds left, findings, figures."""

    def __init__(self, seconds: float, seed: int) -> None:
        self.deadline = time.monotonic() + seconds
        self.random = random.Random(seed)
        self.cases = 0
        self.worlds = 0
        self.findings: list[str] = []
        self.slowest: tuple[float, str] = (0.0, "")

    def one_world(self) -> None:
        """Cases in random order until the world is worn out or the time is over."""
        self.worlds += 1
        barrage = Barrage()
        rig = barrage.rig
        everything = {name: barrage.everything(name) for name in WEIGHTS}
        names = list(everything)
        recent: list[tuple[str, Recipe]] = []
        try:
            for n in range(WORLD_CASES // BATCH):
                batch = [(name, self.random.choice(everything[name])) for name in (self.random.choice(names) for _ in range(BATCH))]
                self._batch(barrage, batch)
                recent += batch
                if n % 20 == 19:
                    self._settle(barrage, recent)
                    recent.clear()
                if time.monotonic() > self.deadline:
                    break
            rig.end()
        except AssertionError as error:
            self._found(barrage, str(error))
            rig.log.close()

    def _batch(self, barrage: Barrage, batch: list[tuple[str, Recipe]]) -> None:
        barrage.run(iter(batch))
        self.cases += len(batch)
        self.slowest = max(self.slowest, barrage.rig.slowest)
        for label in barrage.too_slow():
            self._found(barrage, f"{label}: more than 50 ms")

    def _settle(self, barrage: Barrage, recent: list[tuple[str, Recipe]]) -> None:
        """Nothing may be left; else the case that leaves it is looked for, in a world of its own."""
        try:
            barrage.rig.settle()
            return
        except AssertionError as error:
            left = str(error)
        alone = Barrage()
        try:
            for name, recipe in recent:
                alone.run(iter([(name, recipe)]))
                try:
                    alone.rig.settle()
                except AssertionError as error:
                    raise AssertionError(f"{recipe} leaves {error}") from error
        except AssertionError:
            barrage.stage.result = alone.stage.result
            raise
        finally:
            alone.rig.log.close()
        raise AssertionError(f"left, but by no case alone: {left}")

    def _found(self, barrage: Barrage, what: str) -> None:
        self.findings.append(what)
        path = save("world", barrage.stage.result)
        sys.stdout.write(f"FINDING {what[:1500]}\n  saved as {path}\n")
        sys.stdout.flush()

    def whole(self) -> None:
        while time.monotonic() < self.deadline and len(self.findings) < 50:
            self.one_world()
            gc.collect()


def main(argv: list[str]) -> int:
    run = Run(float(argv[0]), int(argv[1]) if len(argv) > 1 else time.time_ns() % 1_000_000)
    run.whole()
    figures = {
        "target": "calls",
        "executions": run.cases,
        "worlds": run.worlds,
        "findings": len(run.findings),
        "slowest_ms": round(run.slowest[0] * 1000),
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    return 1 if run.findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

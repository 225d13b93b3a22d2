"""Thousands of messages with one anomaly each, at every place of a call, against the whole daemon; after each a valid call must go through.

Here a sample; `make fuzz` fires them all.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator

from tests.hostile.generate import Recipe, recipes, sample
from tests.hostile.rig import Rig
from tests.hostile.scenes import Stage

LOCAL = "ngcpd:\n  calls:\n    traces: 20\nkamailio:\n  lb:\n    security:\n      dos_ban_enable: no\n      failed_auth_ban_enable: no\n"
BATCH = 50
LIMIT = 0.05  # seconds of CPU for one input
WEIGHTS = {
    "INVITE": 1200,
    "REGISTER": 800,
    "OPTIONS": 400,
    "CANCEL": 300,
    "ACK": 250,
    "BYE": 300,
    "re-INVITE": 400,
    "UPDATE": 200,
    "PRACK": 150,
    "INFO": 100,
    "NOTIFY": 150,
    "180": 350,
    "200": 450,
    "486": 200,
    "401": 150,
    "302": 150,
    "200-BYE": 150,
}
Scene = Callable[[Recipe | None], None]


class Barrage:
    """A stage and the cases fired on it."""

    def __init__(self) -> None:
        self.rig = Rig(LOCAL)
        self.stage = Stage(self.rig)
        self.fired = 0
        self.slow: list[tuple[str, Recipe]] = []

    def everything(self, name: str) -> list[Recipe]:
        return list(recipes(self.stage.make(name), name))

    def fire(self, name: str, scene: Scene, recipe: Recipe) -> None:
        """One case, the end of what it began, and the probe."""
        rig = self.rig
        try:
            spent = rig.timed(recipe.name, scene, recipe)
            if spent > LIMIT:
                self.slow.append((name, recipe))
            self.stage.tidy()
            rig.call()
            rig.check()
        except AssertionError as error:
            raise AssertionError(f"{recipe.name}: {error}\n{recipe}\n{self.stage.result[:2000]!r}") from error
        self.fired += 1

    def run(self, cases: Iterator[tuple[str, Recipe]]) -> None:
        scenes = self.stage.scenes()
        gc.disable()  # its full runs would be charged to whatever message is there
        self.rig.hold()
        try:
            for n, (name, recipe) in enumerate(cases, 1):
                self.fire(name, scenes[name], recipe)
                if n % BATCH == 0:
                    self._breathe()
                    self.rig.hold()
            self._breathe()
        finally:
            gc.enable()

    def too_slow(self) -> list[str]:
        """Those of the slow cases that are slow each time: the first may have met something else, as a pause of the machine."""
        suspects, self.slow = self.slow, []
        for case in suspects * 3:
            self.run(iter([case]))
        again, self.slow = self.slow, []
        return [recipe.name for name, recipe in suspects if again.count((name, recipe)) >= 3]

    def _breathe(self) -> None:
        """Database work and garbage of the last batch."""
        self.rig.release()
        self.rig.step(0.5)
        gc.collect(1)


def test_at_every_place_of_a_call() -> None:
    barrage = Barrage()
    rig = barrage.rig
    cases = [(name, recipe) for name, count in WEIGHTS.items() for recipe in sample(barrage.everything(name), count, seed=1)]
    random.Random(2).shuffle(cases)
    assert len(cases) >= 5000
    first = len(cases) // 4
    barrage.run(iter(cases[:first]))
    rig.settle()
    before = rig.objects()
    barrage.run(iter(cases[first:]))
    assert barrage.too_slow() == []
    rig.settle()
    grown = rig.objects() - before
    assert grown < 5000, f"{grown} objects more after {len(cases) - first} cases"
    assert barrage.fired == rig.probes >= len(cases)
    rig.end()

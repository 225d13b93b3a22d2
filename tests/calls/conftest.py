"""The world of a test of calls. At its end everything that the phones saw is checked, and nothing may be left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.calls import rig
from tests.world import World


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "open_media: session descriptions of this test's call pass untouched")
    config.addinivalue_line("markers", "config(text): overlay of the configuration")


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Marks: `open_media`, `config(text)`."""
    overlay = request.node.get_closest_marker("config")
    made = World(overlay.args[0] if overlay is not None else "")
    yield made
    rig.check(made, open_media=request.node.get_closest_marker("open_media") is not None)
    made.end()


@pytest.fixture(params=["caller", "callee"])
def end(world: World, request: pytest.FixtureRequest) -> rig.End:
    """One end of an established call: the test runs from both."""
    return rig.End(rig.established(world), request.param == "caller")

"""Every beginning of every message of the corpus, as datagrams and on connections that then end, against the whole daemon.

The places cut are all with NGCPD_PREFIXES=all (`make fuzz`), else every line's first and last octets and a sample of the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.hostile.generate import recipes
from tests.hostile.ipv6 import VECTORS as IPV6
from tests.hostile.rig import Rig
from tests.hostile.scenes import Stage
from tests.sip.torture import VECTORS

ALL = os.environ.get("NGCPD_PREFIXES") == "all"
STEP = 1 if ALL else 17
LOCAL = "kamailio:\n  lb:\n    security:\n      dos_ban_enable: no\n      failed_auth_ban_enable: no\n"


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig(LOCAL)
    yield made
    made.end()


def cuts(data: bytes) -> list[int]:
    """Where a message is cut: near each line end, and every STEP octets."""
    places = set(range(1, len(data), STEP))
    at = data.find(b"\r\n")
    while at >= 0:
        places |= {at - 1, at, at + 1, at + 2, at + 3}
        at = data.find(b"\r\n", at + 2)
    return sorted(p for p in places if 0 < p < len(data))


def corpus() -> dict[str, bytes]:
    return {**{n: v.data for n, v in VECTORS.items()}, **{n: v.data for n, v in IPV6.items() if len(v.data) < 3_000}}


def test_datagrams(rig: Rig) -> None:
    count = 0
    for name, data in corpus().items():
        for end in cuts(data):
            rig.evil.send(data[:end], ("127.0.0.1", 5060))
            count += 1
        rig.timed(name, rig.step)
        rig.options()
        rig.check()
    assert count > 3_000
    rig.call()


def test_connections(rig: Rig) -> None:
    """Cut at a sample of places, the rest never comes; and the whole, octet by octet for short ones."""
    for n, (name, data) in enumerate(corpus().items()):
        for end in cuts(data)[n % 5 :: 1 if ALL else 12]:
            connection = rig.connection()
            connection.send(data[:end])
            rig.step(0.001)
            connection.close()
        rig.timed(name, rig.step)
        rig.check()
    rig.call()
    rig.world.run(60.0)
    assert rig.world.daemon.stack.counters()["flows"] == 0


def test_messages_of_a_call(rig: Rig) -> None:
    """Beginnings of each request and answer of the scenes, with credentials and dialogs that are real, as whole messages with their header cut."""
    stage = Stage(rig)
    rig.hold()
    for name, scene in stage.scenes().items():
        message = stage.make(name)
        cut = [r for r in recipes(message, name) if r.how == "cut" or (r.part >= 0 and r.how == "set" and r.value == b"")]
        for recipe in cut[:: 1 if ALL else 6]:
            rig.timed(recipe.name, scene, recipe)
            stage.tidy()
        rig.check()
        rig.release()
        rig.step(0.5)
        rig.hold()
    rig.release()
    rig.step(0.5)
    rig.call()

"""The lock matrix (call processing 2.7)."""

from __future__ import annotations

import pytest

from tests.routing.rig import Rig

OUT = "403 Caller locked"
IN = "403 Callee locked"
AWAY = "503 PSTN Termination Currently Unavailable"
DENIED = "403 Relaying Denied"


@pytest.mark.parametrize(
    ("level", "to_local", "to_offnet", "to_foreign", "incoming"),
    [
        (0, "deliver", AWAY, DENIED, "deliver"),
        (1, "deliver", OUT, OUT, "deliver"),
        (2, OUT, OUT, OUT, "deliver"),
        (3, OUT, OUT, OUT, IN),
        (4, OUT, OUT, OUT, IN),
        (5, OUT, OUT, OUT, IN),
    ],
)
def test_matrix(rig: Rig, level: int, to_local: str, to_offnet: str, to_foreign: str, incoming: str) -> None:
    rig.set(lock=level)
    assert rig.code() == to_local
    assert rig.code("sip:4311003@spce.test") == to_local
    assert rig.code("sip:4366412345@spce.test") == to_offnet
    assert rig.code("sip:x@other.test") == to_foreign
    rig.set(lock=0)
    rig.set(rig.callee, lock=level)
    assert rig.code() == incoming
    assert rig.code("sip:4313333@spce.test") == incoming


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_emergency_calls_are_exempt(rig: Rig, level: int) -> None:
    """They go to a peer, of which this release has none."""
    set_id = rig.world.rules("r", ("in", "callee", "^(112|133)$", "emergency_\\1"))
    rig.world.pump()
    rig.set(rewrite_rule_set=set_id, lock=level)
    assert rig.code("sip:112@spce.test") == AWAY


def test_ringing_contacts_do_not_matter_for_a_locked_callee(rig: Rig) -> None:
    rig.set(rig.callee, lock=3)
    rig.contacts.clear()
    assert rig.code() == IN


def test_challenge_comes_before_the_lock(rig: Rig) -> None:
    rig.set(lock=5)
    assert rig.code(user=None) == "407 Proxy Authentication Required"
    assert rig.code() == OUT

"""Random calls on a bad network: whatever the parties do and in whatever order messages arrive, the platform ends with nothing left, one
record per call, and both parties of one mind."""

from __future__ import annotations

import os
import re

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ngcpd.runtime.simnet import Link
from tests.calls.rig import ALICE, BOB, check
from tests.calls.ua import Ua
from tests.world import World

EXPLORE = int(os.environ.get("NGCPD_EXAMPLES", "0"))  # other examples each time, and so many; a failure is then made smaller
PHASES = tuple(Phase) if EXPLORE else (Phase.explicit, Phase.generate)
# Nothing but signalling ends a call here, and nothing looks for work that there is not.
QUIET = "rtpproxy:\n  rtp_timeout: 86400\n  rtp_timeout_onhold: 86400\nmediator:\n  interval: 300\n"
CALLER = ("cancel", "bye", "change", "info", "update")
CALLEE = ("ring", "progress", "answer", "answer", "refuse", "decline", "bye", "change", "info", "update")
moves = st.one_of(
    st.tuples(st.just("a"), st.sampled_from(CALLER)),
    st.tuples(st.just("b"), st.sampled_from(CALLEE)),
    st.tuples(st.just("c"), st.sampled_from(CALLEE)),
)
scripts = st.lists(st.tuples(st.sampled_from((0.0, 0.01, 0.06, 0.3, 1.0, 4.0)), moves), max_size=14)
links = st.builds(
    Link,
    delay=st.sampled_from((0.0, 0.02)),
    jitter=st.sampled_from((0.0, 0.05, 0.6)),
    loss=st.sampled_from((0.0, 0.0, 0.1, 0.3)),
    duplicate=st.sampled_from((0.0, 0.3)),
)


class Stage:
    """A world of its own for each example, so that each can be replayed."""

    def __init__(self, seed: int, devices: int) -> None:
        self.world = World(QUIET, seed=seed)
        self.phones = [self.world.phone(ALICE), self.world.phone(BOB, host="127.2.0.1"), self.world.phone(BOB, host="127.2.0.2")]
        self.finals: dict[str, list[int]] = {}
        self.world.net.filter = self._watch
        for phone in self.phones[: 1 + devices]:
            assert phone.register(self.world.run).status == 200
        self.agents = [Ua(self.world, phone) for phone in self.phones]

    def _watch(self, kind: str, data: bytes, source: tuple[str, int], to: tuple[str, int]) -> bool:
        """Note the final answers to initial INVITEs that leave the platform for the caller."""
        found = re.match(rb"SIP/2\.0 ([2-6]\d\d) ", data)
        if found and to[0] == self.phones[0].address[0]:
            call_id, cseq = re.search(rb"Call-ID: (\S+)", data), re.search(rb"CSeq: 2 INVITE", data)
            if call_id and cseq and b"_b2b-1" not in call_id.group(1):
                codes = self.finals.setdefault(call_id.group(1).decode(), [])
                if int(found.group(1)) not in codes:
                    codes.append(int(found.group(1)))
        return True


@settings(max_examples=EXPLORE or 150, deadline=None, derandomize=not EXPLORE, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(script=scripts, link=links, devices=st.integers(1, 2), seed=st.integers(0, 2**16))
def test_every_call_ends_well(script: list[tuple[float, tuple[str, str]]], link: Link, devices: int, seed: int) -> None:
    stage = Stage(seed, devices)
    world = stage.world
    a, *callees = stage.agents
    world.net.default = link
    start = world.clock.monotonic()
    a.dial("sip:testuser1003@spce.test")
    for delay, (who, action) in script:
        world.run(delay)
        getattr(stage.agents["abc".index(who)], action)()
    world.run(max(0.0, 18.0 - (world.clock.monotonic() - start)))
    world.net.default = Link()
    world.run(50.0)  # whatever was repeated has arrived or was given up

    up = [ua for ua in callees if ua.state in ("up", "answered")]
    assert len(up) <= 1, "two devices believe that they have the call"
    assert (a.state == "up") == bool(up), f"caller {a.state}, callees {[c.state for c in callees]}"
    talking = [c["state"] for c in world.daemon.calls.active()]
    assert talking == (["answered"] if up else []) or a.state == "calling", talking

    a.cancel()
    (up[0] if up and seed % 2 else a).bye()
    world.run(130.0)
    assert all(ua.state not in ("up", "answered") for ua in stage.agents), [ua.state for ua in stage.agents]
    records = {r["call_id"]: r["call_code"] for r in world.cdrs()}
    assert records == {call_id: str(codes[0]) for call_id, codes in stage.finals.items() if codes[0] != 407}
    assert all(len(codes) == 1 for codes in stage.finals.values()), stage.finals
    check(world, ordered=False)
    world.end(0.0)

"""Any order of operations: nothing but the named errors, nothing leaked, and relay and engine agree."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ngcpd.media import BadSdp, NoPorts, Policy, Settings
from ngcpd.media.sdp import Sdp
from tests.media.parties import ALICE, BOB, RELAY4, RELAY6, World, sdp

HOSTS = {"a": ALICE, "b0": BOB, "b1": "2001:db8::31", "b2": "198.51.100.32"}
SIDES = list(HOSTS)
LINES = ["m=audio 4000 RTP/AVP 0", "m=audio 0 RTP/AVP 0", "m=video 4002 RTP/SAVP 31", "m=image 4004 udptl t38", "m=x 5 TCP/MSRP *"]
POLICIES = [Policy(), Policy(family="4"), Policy(family="6"), Policy(dst_family=6), Policy(interface="other"), Policy(strip_ice=False)]
STEP = st.one_of(
    st.tuples(
        st.just("say"),
        st.integers(0, 1),
        st.sampled_from(["b0", "b1", "b2"]),
        st.booleans(),
        st.lists(st.sampled_from(LINES), min_size=1, max_size=3),
        st.sampled_from(POLICIES),
        st.sampled_from(["", "a=sendonly", "a=ice-ufrag:x"]),
        st.sampled_from(["", "0.0.0.0", "name.example"]),
    ),
    st.tuples(st.sampled_from(["select", "drop", "revert"]), st.integers(0, 1), st.sampled_from(["b0", "b1", "b2"])),
    st.tuples(st.sampled_from(["close", "kill", "wait", "wait"]), st.integers(0, 1)),
)


def say(session: Any, branch: str, from_caller: bool, lines: list[str], policy: Policy, extra: str, host: str, version: int) -> None:
    src, dst = ("a", branch) if from_caller else (branch, "a")
    body = sdp(host or HOSTS[src], 0, *([extra] if extra else []), media=lines, version=version)
    try:
        out = session.rewrite(body, src, dst, policy, source=(HOSTS[src], 5060))
    except (NoPorts, BadSdp):
        return
    found = Sdp.parse(out)
    assert [m.kind for m in found.media] == [line.split()[0][2:] for line in lines]
    assert [m.port == 0 for m in found.media] == [line.split()[1] == "0" for line in lines]
    assert out == session.rewrite(body, src, dst, policy, source=(HOSTS[src], 5060))


@given(st.lists(STEP, max_size=25))
@settings(max_examples=120, deadline=None)
def test_any_order_of_operations(steps: list[Any]) -> None:
    w = World(Settings(min_port=30000, max_port=30031, batch=4))
    sessions = [w.engine.session(str(n)) for n in range(2)]
    version = 0
    for step in steps:
        session = sessions[step[1]]
        if step[0] == "say":
            version += 1
            say(session, *step[2:], version=version)
        elif step[0] in ("select", "drop", "revert"):
            getattr(session, step[0])(step[2])
        elif step[0] == "close":
            session.close()
            sessions[step[1]] = w.engine.session("new")
        elif step[0] == "kill":
            w.spawner.channels[-1].kill()
        w.step(0.3 if step[0] == "wait" else 0.0)
        agree(w)
    w.step(2.0)
    agree(w, settled=True)
    for session in sessions:
        session.close()
    w.end()


def agree(w: World, settled: bool = False) -> None:
    pairs = [pair.pid for s in w.engine._sessions.values() for side in s._sides.values() for pair in side.pairs.values()]
    assert len(pairs) == len(set(pairs)) == w.engine.counters().used
    if settled:
        relay = w.spawner.channels[-1].controller.relay
        assert relay is not None
        assert sorted(pid for s in relay.sessions.values() for pid in s.legs) == sorted(pairs)
        assert len(relay.ends) == 2 * len(pairs)
        open_now = [a for a in w.net.sockets if a[0] in (RELAY4, RELAY6)]
        assert len(open_now) == 2 * (len(pairs) + len(relay.ready) + len(relay.idle))

"""The commands of the control socket on the whole daemon."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ngcpd.app.commands import commands
from ngcpd.ops.control import CommandError
from ngcpd.provisioning.errors import ProvisioningError
from tests.phones import sdp
from tests.world import World, outcome


class Operator:
    """Runs commands as the control socket does."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stopped = 0
        self.table = commands(world.daemon, self._stop)

    def _stop(self) -> None:
        self.stopped += 1

    def __call__(self, name: str, /, **args: Any) -> Any:
        result = self.table[name](args)
        self.world.run(1.0)
        return outcome(result) if hasattr(result, "addBoth") else result


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.end()


@pytest.fixture
def run(world: World) -> Operator:
    return Operator(world)


def test_a_permanent_registration_is_called_and_removed(world: World, run: Operator) -> None:
    a, trunk = world.registered(1002), world.phone(1003, host="127.9.9.9", port=5070)
    made = run("registration.add", user="testuser1003@spce.test", contact="sip:trunk@127.9.9.9:5070", q=1.0, nat=False, path="")
    assert made["contact"] == "sip:trunk@127.9.9.9:5070"
    shown = run("registrations", user="testuser1003@spce.test")
    assert [(r["contact"], r["expires"], r["permanent"]) for r in shown] == [("sip:trunk@127.9.9.9:5070", None, True)]
    call = a.call("sip:testuser1003@spce.test", world.run, sdp(a.address[0], 20000))
    invite = trunk.take("INVITE")
    assert invite.uri == "sip:trunk@127.9.9.9:5070"
    trunk.reply(invite, 486, "Busy Here")
    world.run()
    call.ack(a.take(486))
    trunk.take("ACK")
    assert run("registration.remove", user="testuser1003@spce.test", contact="sip:trunk@127.9.9.9:5070")["removed"] == 1
    with pytest.raises(CommandError):
        run("registration.remove", user="testuser1003@spce.test")
    with pytest.raises(CommandError, match="URI"):
        run("registration.add", user="testuser1003@spce.test", contact="no uri", q=1.0, nat=False, path="")


def test_subscriber_made_changed_and_ended_while_running(world: World, run: Operator) -> None:
    run("domain.add", domain="Other.test")
    made = run("subscriber.add", user="carol@other.test", password="secret-12", number={"cc": "43", "ac": "1", "sn": "77"}, aliases=[])
    assert made["user"] == "carol@other.test"
    with pytest.raises(ProvisioningError):
        run("subscriber.add", user="carol@other.test", password="secret-12", number=None, aliases=[])
    with pytest.raises(ProvisioningError):
        run("subscriber.add", user="dave@nowhere.test", password="secret-12", number=None, aliases=[])
    carol = world.phone(7)
    carol.user, carol.domain, carol.password, carol.from_value = "carol", "other.test", "secret-12", "<sip:carol@other.test>"
    assert carol.register(world.run).status == 200
    assert run("subscriber.show", user="carol@other.test")["registrations"] == 1
    run("subscriber.password", user="carol@other.test", password="another-12")
    carol.register_request()
    world.run()
    carol.take(401)
    carol.password = "another-12"
    assert carol.register(world.run).status == 200
    assert run("lock.set", user="carol@other.test", level=2)["level"] == 2
    call = carol.call("sip:testuser1001@spce.test", world.run)
    refused = carol.take(403)
    assert refused.line.endswith("Caller locked")
    call.ack(refused)
    run("subscriber.delete", user="carol@other.test")
    assert run("registrations") == []
    with pytest.raises(ProvisioningError):
        run("subscriber.show", user="carol@other.test")


def test_preferences_are_checked_and_act(world: World, run: Operator) -> None:
    user = "testuser1002@spce.test"
    assert run("pref.set", user=user, name="clir", values=["true"]) == {"clir": ["1"]}
    assert run("pref.get", user=user, name="clir") == {"clir": ["1"]}
    assert run("pref.set", user=user, name="clir", values=[]) == {"clir": []}
    assert run("pref.set", user=user, name="block_in_list", values=["431*", "44?"])["block_in_list"] == ["431*", "44?"]
    for name, values in (("clir", ["maybe"]), ("nonsense", ["1"]), ("ringtimeout", ["soon"]), ("clir", ["1", "0"])):
        with pytest.raises(ProvisioningError):
            run("pref.set", user=user, name=name, values=values)


def test_looking(world: World, run: Operator) -> None:
    a, b = world.registered(1002), world.registered(1003)
    call = a.call("sip:4311003@spce.test", world.run, sdp(a.address[0], 20000))
    invite = b.take("INVITE")
    (shown,) = run("calls")
    assert (shown["caller"], shown["callee"], shown["answered"]) == ("testuser1002@spce.test", "testuser1003@spce.test", None)
    b.reply(invite, 486, "Busy Here")
    world.run()
    call.ack(a.take(486))
    trace = run("call.trace", call_id=call.call_id)
    assert trace["state"] == "ended" and [s["stage"] for s in trace["stages"]][-1] == "answer"
    with pytest.raises(CommandError) as caught:
        run("call.trace", call_id="unknown")
    assert caught.value.code == "not-found"
    (cdr,) = run("cdrs", last=5)
    assert (cdr["source"], cdr["destination"], cdr["call_status"]) == ("testuser1002@spce.test", "testuser1003@spce.test", "busy")
    route = run("route", caller="testuser1002@spce.test", callee="4311003")
    assert route[-1]["stage"] == "branch"
    status = run("status")
    assert status["counters"]["registrar.bindings"] == 2 and status["counters"]["calls.calls"] == 0
    assert run("log.set", room="sip", level="debug")["sip"] == "debug"
    run("log.set", room="sip", level="info")
    with pytest.raises(CommandError):
        run("log.set", room="nowhere", level="info")
    assert run("stop") == {"stopping": True} and run.stopped == 1


def test_following_cdrs(world: World, run: Operator) -> None:
    seen: list[dict[str, Any]] = []
    stream = run.table["cdrs"]({"follow": True, "last": 0})
    stop = stream.start(seen.append, seen.append)
    world.run(1.0)
    a = world.registered(1002)
    for n in range(2):
        call = a.call("sip:testuser1003@spce.test", world.run)
        call.ack(a.take(480))
        world.run(2.0)
        assert len(seen) == n + 1
    stop()
    call = a.call("sip:testuser1003@spce.test", world.run)
    call.ack(a.take(480))
    world.run(3.0)
    assert len(seen) == 2


def test_the_mediator_can_be_switched_off() -> None:
    world = World("mediator:\n  enabled: 'no'\n")
    a = world.registered(1002)
    call = a.call("sip:testuser1003@spce.test", world.run)
    call.ack(a.take(480))
    world.run(30.0)
    assert world.cdrs() == [] and [r["sip_code"] for r in world.accs()] == ["480"]
    world.end()

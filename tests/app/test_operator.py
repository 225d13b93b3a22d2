"""What the operator's settings do in a call: further names of the platform, header lists, which registration makes room."""

from __future__ import annotations

import pytest

from ngcpd.app import tuning
from ngcpd.calls.call import Call
from tests.phones import sdp
from tests.world import World


def test_further_names_of_the_platform() -> None:
    """A request URI with a name of the list means the platform: the user is looked up as with our address. Other names are foreign."""
    world = World("ngcpd: {sip: {names: [Sip.Carrier.example]}}\n")
    a, b = world.registered(1002), world.registered(1003)
    call = a.call("sip:testuser1003@sip.carrier.example", world.run, sdp(a.address[0], 20000))
    invite = b.take("INVITE")
    b.reply(invite, 486, "Busy Here")
    world.run()
    call.ack(a.take(486))
    a.send(
        [
            "OPTIONS sip:sip.carrier.example SIP/2.0",
            f"Via: {a.via};branch=z9hG4bKo1",
            f"From: {a.from_value};tag=o",
            "To: <sip:sip.carrier.example>",
            "Call-ID: o@x",
            "CSeq: 1 OPTIONS",
        ]
    )
    world.run()
    a.take(200)
    world.end()
    other = World()
    a, b = other.registered(1002), other.registered(1003)
    a.call("sip:testuser1003@sip.carrier.example", other.run, sdp(a.address[0], 20000))
    assert not b.has("INVITE")
    other.run(40.0)
    other.end()


def test_names_and_paths_come_from_the_network(tmp_path: object) -> None:
    world = World("kamailio: {lb: {port: 5090, tls: {port: 5091}}}\n")
    loaded = world.loaded
    found = tuning.routing(loaded, tuning.sip_listeners(loaded.settings, loaded.node))
    assert {"127.0.0.1", "::1"} <= found.own_names
    assert {"<sip:127.0.0.1:5090;lr>", "<sip:[::1]:5090;lr>", "<sip:127.0.0.1:5060;lr>"} <= found.internal_paths
    world.end()


@pytest.mark.parametrize(("drop", "answer"), [("no", 503), ("yes", 200)])
def test_which_registration_makes_room(drop: str, answer: int) -> None:
    world = World(f"kamailio: {{proxy: {{max_registrations_per_subscriber: 2, drop_oldest_registration: '{drop}'}}}}\n")
    for n in (1, 2):
        world.registered(1003, host=f"127.8.0.{n}", name=f"d{n}")
        world.run(5.0)
    third = world.phone(1003, host="127.8.0.3")
    assert third.register(world.run).status == answer
    contacts = sorted(b.contact.partition("@")[2].partition(":")[0] for b in world.daemon.registrar.all())
    assert contacts == (["127.8.0.2", "127.8.0.3"] if drop == "yes" else ["127.8.0.1", "127.8.0.2"])
    world.end()


def test_a_call_whose_answer_cannot_be_sent_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Call.reject` frees the call even if the reply raises."""
    world = World()
    a, b = world.registered(1002), world.registered(1003)
    a.call("sip:testuser1003@spce.test", world.run, sdp(a.address[0], 20000))
    invite = b.take("INVITE")
    (call,) = world.daemon.calls.calls.values()
    with monkeypatch.context() as patch:

        def broken(self: Call, *args: object) -> None:
            raise RuntimeError("no answer")

        patch.setattr(Call, "_reply", broken)
        with pytest.raises(RuntimeError):
            call.reject_all(503, "Service Unavailable", "test")
    assert world.daemon.calls.counters()["calls"] == 0 and world.daemon.media.counters().sessions == 0 and call.over
    world.run(1.0)
    b.reply(invite, 487, "Request Terminated")

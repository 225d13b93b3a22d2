"""Limits that the operator sets."""

from __future__ import annotations

from tests.phones import sdp
from tests.world import World


def test_calls_beyond_the_limit_are_refused_and_harm_nothing() -> None:
    world = World("ngcpd:\n  calls:\n    max_calls: 1\n")
    a, b, c = (world.registered(n) for n in (1001, 1002, 1003))
    first = a.call("sip:testuser1003@spce.test", world.run, sdp(a.address[0], 20000))
    invite = c.take("INVITE")
    second = b.invite("sip:testuser1003@spce.test", sdp(b.address[0], 20000))
    world.run()
    refused = b.take(503)
    assert refused["retry-after"] == "5"
    second.ack(refused)
    c.reply(invite, 486, "Busy Here")
    world.run()
    first.ack(a.take(486))
    c.take("ACK")
    again = b.call("sip:testuser1001@spce.test", world.run, sdp(b.address[0], 20000))
    invite = a.take("INVITE")
    a.reply(invite, 486, "Busy Here")
    world.run()
    again.ack(b.take(486))
    world.end()


def test_no_more_devices_ring_than_the_operator_allows() -> None:
    world = World("ngcpd:\n  calls:\n    max_branches: 2\n")
    a = world.registered(1002)
    devices = [world.registered(1003, host=f"127.8.0.{n}", name=f"d{n}") for n in (1, 2, 3)]
    call = a.call("sip:testuser1003@spce.test", world.run, sdp(a.address[0], 20000))
    assert sum(d.has("INVITE") for d in devices) == 2
    for d in devices:
        if d.has("INVITE"):
            d.reply(d.take("INVITE"), 486, "Busy Here")
    world.run()
    call.ack(a.take(486))
    world.end()


def test_100rel_is_stripped_where_the_operator_says_so() -> None:
    world = World("kamailio:\n  proxy:\n    filter_100rel_from_supported: 'yes'\n")
    a, b = world.registered(1002), world.registered(1003)
    call = a.call("sip:testuser1003@spce.test", world.run, sdp(a.address[0], 20000), ["Supported: 100rel, timer"])
    invite = b.take("INVITE")
    assert invite.get("supported") == "timer"
    b.reply(invite, 486, "Busy Here")
    world.run()
    call.ack(a.take(486))
    world.end()

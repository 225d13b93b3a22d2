"""Parties on different transports, behind NAT, on connections that break, behind proxies that stay in the route."""

from __future__ import annotations

import pytest

from ngcpd.runtime.ports import DnsRecord
from tests.calls.rig import ALICE, BOB, End, Talk, answer, established, hang_up, offer_of, ringing, statuses
from tests.phones import Outgoing, Phone
from tests.world import World


def exercise(world: World, talk: Talk) -> None:
    """A request from each side, then BYE."""
    for end in (End(talk, True), End(talk, False)):
        end.send("INVITE", offer_of(end.phone, 20000, version=2))
        world.run()
        end.other.reply(end.other.take("INVITE"), 200, "OK", offer_of(end.other, 30000, version=2))
        world.run()
        end.ack(end.phone.take(200))
        world.run()
        end.other.take("ACK")
    hang_up(world, talk)


@pytest.mark.parametrize("kinds", ["tcp udp", "udp tcp", "tcp tcp"])
def test_transports_are_bridged(world: World, kinds: str) -> None:
    """Each side keeps its own; `rig.check` looks at Via and Contact."""
    one, other = kinds.split()
    a, b = world.registered(ALICE, transport=one), world.registered(BOB, transport=other)
    talk = established(world, a, b)
    assert f"SIP/2.0/{other.upper()}" in talk.invite["via"]
    exercise(world, talk)
    assert statuses(world) == [("ok", "200")]


@pytest.mark.parametrize("hosts", [("::2", ""), ("", "::2"), ("::2", "::3")])
def test_families_are_bridged(world: World, hosts: tuple[str, str]) -> None:
    a, b = world.registered(ALICE, host=hosts[0]), world.registered(BOB, host=hosts[1])
    talk = established(world, a, b)
    assert ("[::1]:5060" in talk.invite.contact) == bool(hosts[1]) and ("[::1]:5060" in talk.ok.contact) == bool(hosts[0])
    exercise(world, talk)


def test_connection_of_the_callee_closes_while_it_rings(world: World) -> None:
    """T14: 480, no hang."""
    a, b = world.registered(ALICE), world.registered(BOB, transport="tcp")
    call, _ = ringing(world, a, b)
    b.socket.drop()  # type: ignore[union-attr]
    world.run()
    call.ack(a.take(480))
    world.run()
    assert statuses(world) == [("noanswer", "480")]


def test_connection_of_the_callee_has_closed_before(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB, transport="tcp")
    b.socket.drop()  # type: ignore[union-attr]
    world.run()
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a))
    call.ack(a.take(480))
    assert statuses(world) == [("noanswer", "480")]


def test_connection_of_the_callee_closes_during_the_call(world: World) -> None:
    """It is reached no more: the caller's BYE is answered here, at once. Its contact address may be somebody else's out here: nothing is
    sent there."""
    a, b = world.registered(ALICE), world.registered(BOB, transport="tcp")
    talk = established(world, a, b)
    asked: list[str] = []
    places = [b.address, b.socket.stream.local]  # type: ignore[union-attr]
    b.socket.drop()  # type: ignore[union-attr]
    world.run()
    listeners = [world.net.listen(p, lambda: asked.append("connected")) for p in places]  # type: ignore[arg-type, return-value]
    talk.call.bye()
    world.run(0.01)
    for listener in listeners:
        listener.close()
    world.run()
    assert a.take(200).method == "BYE" and not asked
    assert statuses(world) == [("ok", "200")]


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_party_comes_back_on_a_new_connection(world: World, who: str) -> None:
    """The phone's connection broke; from its next request on it is reached over the new one."""
    a, b = (world.registered(n, transport="tcp") for n in (ALICE, BOB))
    talk = established(world, a, b)
    mine = End(talk, who == "caller")
    mine.phone.socket.drop()  # type: ignore[union-attr]
    world.run()
    mine.send("INFO", b"x", ctype="application/x")
    world.run()
    mine.other.reply(mine.other.take("INFO"), 200, "OK")
    world.run()
    assert mine.phone.take(200).method == "INFO"
    other = End(talk, who != "caller")
    other.send("INFO", b"y", ctype="application/x")
    world.run()
    mine.phone.reply(mine.phone.take("INFO"), 200, "OK")
    world.run()
    other.phone.take(200)
    hang_up(world, talk)


def test_connection_of_the_caller_closes_before_the_answer(world: World) -> None:
    """Nobody is there to be answered: the answer can not be delivered, the callee is not left in a dead call."""
    a, b = world.registered(ALICE, transport="tcp"), world.registered(BOB)
    _, invite = ringing(world, a, b)
    a.socket.drop()  # type: ignore[union-attr]
    world.run()
    b.reply(invite, 200, "OK", offer_of(b, 30000))
    world.run(40.0)
    b.take("ACK")
    b.reply(b.take("BYE"), 200, "OK")
    world.run()
    assert [c[0] for c in statuses(world)] == ["ok"]


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_behind_nat(world: World, who: str) -> None:
    """Contact and Via name a private address: everything goes to where the phone spoke from."""
    a, b = world.phone(ALICE), world.phone(BOB)
    hidden = a if who == "caller" else b
    hidden.contact = f"sip:{hidden.user}@10.0.0.5:5060"
    hidden.via = "SIP/2.0/UDP 10.0.0.5:5060"
    for phone in (a, b):
        assert phone.register(world.run).status == 200
    talk = established(world, a, b)
    if who == "callee":
        assert talk.invite.uri == f"sip:{b.user}@10.0.0.5:5060"
    exercise(world, talk)


def test_nat_binding_moves_during_the_call(world: World) -> None:
    """The phone's public port changes: from its next request on it is reached there."""
    a, b = world.phone(ALICE), world.phone(BOB)
    b.contact, b.via = f"sip:{b.user}@10.0.0.5:5060", "SIP/2.0/UDP 10.0.0.5:5060"
    for phone in (a, b):
        assert phone.register(world.run).status == 200
    talk = established(world, a, b)
    moved = world.phone(BOB, port=6000)
    moved.contact, moved.via = b.contact, b.via
    moved.in_dialog(talk.invite, "INFO", 1, b"x", ctype="application/x")
    world.run()
    a.reply(a.take("INFO"), 200, "OK")
    world.run()
    moved.take(200)
    talk.call.bye()
    world.run()
    moved.reply(moved.take("BYE"), 200, "OK")
    world.run()
    a.take(200)


def test_caller_changes_its_transport(world: World) -> None:
    """A UDP caller whose Contact asks for TCP: later requests go there over TCP."""
    a, b = world.registered(ALICE), world.registered(BOB)
    got: list[bytes] = []

    class Listening:
        def opened(self, stream: object) -> None: ...

        def received(self, data: bytes) -> None:
            got.append(data)

        def closed(self, reason: str) -> None: ...

    listener = world.net.listen((a.address[0], 5080), Listening)
    a.contact = f"sip:{a.user}@{a.address[0]}:5080;transport=tcp"
    talk = established(world, a, b)
    b.in_dialog(talk.invite, "INFO", 1, b"x", ctype="application/x")
    world.run()
    assert got and got[0].startswith(b"INFO ") and b"SIP/2.0/TCP 127.0.0.1:5060" in got[0]
    talk.call.bye()
    world.run()
    b.reply(b.take("BYE"), 200, "OK")
    world.run()
    listener.close()


def test_contact_with_a_name(world: World) -> None:
    """The remote target is a name: it is looked up when it is needed; when it does not exist, the call still ends for the other side."""
    world.net.add("caller.example", DnsRecord("A", "127.1.4.3", ttl=60))
    a, b = world.registered(ALICE), world.registered(BOB)
    a.contact = f"sip:{a.user}@caller.example:5060"
    talk = established(world, a, b)
    End(talk, False).send("INFO", b"x", ctype="application/x")
    world.run()
    a.reply(a.take("INFO"), 200, "OK")
    world.run()
    b.take(200)
    a.contact = f"sip:{a.user}@nowhere.example:5060"
    End(talk, True).send("UPDATE")
    world.run()
    b.reply(b.take("UPDATE"), 200, "OK")
    world.run()
    a.take(200)
    b.in_dialog(talk.invite, "BYE", 2)
    world.run(1.0)
    assert b.take(200).method == "BYE"
    assert statuses(world) == [("ok", "200")]


# ---------------------------------------------------------------------------------------------------------------- routes
class Proxy:
    """A record-routing proxy in front of a phone, as far as the platform sees it: a socket whose Record-Route the phone's messages carry."""

    def __init__(self, world: World, party: Phone, host: str, params: str = ";lr") -> None:
        self.route = f"<sip:{host}:5070{params}>"
        self.phone = Phone(world.net, (host, 5070), "proxy", "x", "", ("127.0.0.1", 5060))
        self.phone.party = party.party
        world.phones[f"proxy {host}"] = self.phone


def test_record_route_of_the_callee(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    near, far = Proxy(world, b, "127.6.0.1"), Proxy(world, b, "127.6.0.2")
    call, invite = ringing(world, a, b)
    b.reply(invite, 200, "OK", offer_of(b, 30000), [f"Record-Route: {far.route}", f"Record-Route: {near.route}"])
    world.run()
    call.ack(a.take(200))
    world.run()
    ack = near.phone.take("ACK")
    assert ack.headers["route"] == [near.route, far.route] and ack.uri == b.contact
    call.send("INFO", b"x", ctype="application/x")
    world.run()
    info = near.phone.take("INFO")
    assert info.headers["route"] == [near.route, far.route] and info.uri == b.contact
    near.phone.reply(info, 200, "OK")
    world.run()
    a.take(200)
    call.bye()
    world.run()
    near.phone.reply(near.phone.take("BYE"), 200, "OK")
    world.run()
    assert not b.has("BYE") and a.take(200).method == "BYE"


def test_record_route_of_the_caller(world: World) -> None:
    """The caller's proxies in the INVITE: its answers repeat them, requests to it go through them, in their order."""
    a, b = world.registered(ALICE), world.registered(BOB)
    near, far = Proxy(world, a, "127.6.0.1"), Proxy(world, a, "127.6.0.2")
    talk = established(world, a, b, fields=[f"Record-Route: {near.route}, {far.route}"])
    assert talk.ok["record-route"] == f"{near.route}, {far.route}"
    b.in_dialog(talk.invite, "BYE", 1)
    world.run()
    bye = near.phone.take("BYE")
    assert bye.headers["route"] == [near.route, far.route] and bye.uri == a.contact
    near.phone.reply(bye, 200, "OK")
    world.run()
    assert b.take(200).method == "BYE" and not a.has("BYE")


def test_strict_router(world: World) -> None:
    """RFC 3261 12.2.1.1: without lr the first route becomes the Request-URI, the target the last Route."""
    a, b = world.registered(ALICE), world.registered(BOB)
    strict, far = Proxy(world, b, "127.6.0.1", ""), Proxy(world, b, "127.6.0.2")
    call, invite = ringing(world, a, b)
    b.reply(invite, 200, "OK", offer_of(b, 30000), [f"Record-Route: {far.route}, {strict.route}"])
    world.run()
    call.ack(a.take(200))
    call.bye()
    world.run()
    for method in ("ACK", "BYE"):
        got = strict.phone.take(method)
        assert got.uri == "sip:127.6.0.1:5070" and got.headers["route"] == [far.route, f"<{b.contact}>"]
    strict.phone.reply(got, 200, "OK")
    world.run()
    assert a.take(200).method == "BYE"


def test_route_of_the_early_dialog_is_replaced_by_the_answer(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    one, two = Proxy(world, b, "127.6.0.1"), Proxy(world, b, "127.6.0.2")
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a))
    invite = b.take("INVITE")
    b.reply(invite, 180, "Ringing", fields=[f"Record-Route: {one.route}"])
    world.run()
    b.reply(invite, 200, "OK", offer_of(b, 30000), [f"Record-Route: {two.route}"])
    world.run()
    call.ack(a.take(200))
    call.bye()
    world.run()
    two.phone.take("ACK")
    two.phone.reply(two.phone.take("BYE"), 200, "OK")
    assert not one.phone.seen


def test_path_of_the_binding(world: World) -> None:
    """A phone registered through a proxy with Path: its INVITE goes there, with the Path as Route."""
    a, b = world.registered(ALICE), world.phone(BOB)
    edge = Proxy(world, b, "127.6.0.1")
    assert b.register(world.run, fields=["Supported: path", f"Path: {edge.route}"]).status == 200
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a))
    invite = edge.phone.take("INVITE")
    assert invite["route"] == edge.route and invite.uri == b.contact and not b.has("INVITE")
    edge.phone.reply(invite, 200, "OK", offer_of(b, 30000), [f"Record-Route: {edge.route}", f"Contact: <{b.contact}>"], contact=False)
    world.run()
    call.ack(a.take(200))
    world.run()
    assert edge.phone.take("ACK")["route"] == edge.route
    call.bye()
    world.run()
    edge.phone.reply(edge.phone.take("BYE"), 200, "OK")
    world.run()
    assert a.take(200).method == "BYE"


def test_preloaded_route_to_the_platform(world: World) -> None:
    """In-dialog requests may carry a Route that names us; it does not go on."""
    talk = established(world)
    talk.call.send("INFO", b"x", ["Route: <sip:127.0.0.1:5060;lr>"], ctype="application/x")
    world.run()
    info = talk.b.take("INFO")
    assert "route" not in info.headers
    talk.b.reply(info, 200, "OK")
    world.run()
    talk.a.take(200)
    hang_up(world, talk)


def test_callee_at_a_name_that_does_not_exist(world: World) -> None:
    """480 for the caller as soon as the look-up has failed."""
    a, b = world.registered(ALICE), world.phone(BOB)
    assert b.register(world.run, contact=f"<sip:{b.user}@nowhere.example>").status == 200
    call: Outgoing = a.call("sip:testuser1003@spce.test", world.run, offer_of(a))
    world.run(5.0)
    call.ack(a.take(480))
    assert statuses(world) == [("noanswer", "480")]


def test_two_addresses_of_a_name(world: World) -> None:
    """RFC 3263: the first address is silent, the second one answers the same call."""
    world.net.add("phone.example", DnsRecord("A", "127.7.0.1", ttl=60), DnsRecord("A", "127.7.0.2", ttl=60))
    a, b = world.registered(ALICE), world.phone(BOB, host="127.7.0.2")
    assert b.register(world.run, contact=f"<sip:{b.user}@phone.example:5060>").status == 200
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a))
    world.run(10.0)
    hang_up(world, answer(world, a, b, call, b.take("INVITE")))
    assert statuses(world) == [("ok", "200")]

"""Browsers and telephones on the whole daemon: registrations bound to their WebSocket, calls in all directions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.phones import Msg, Outgoing, Phone, sdp
from tests.webphone import WebPhone
from tests.world import DOMAIN, PASSWORD, SERVER, World

BROWSER = "v=0\r\no=- 7 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n"


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.end()


def web_phone(world: World, n: int) -> WebPhone:
    phone = WebPhone(world.net, (f"127.3.0.{n % 250}", 5060), f"testuser{n}", DOMAIN, PASSWORD, SERVER)
    world.phones[f"web{n}"] = phone
    world.run()
    return phone


def registered(world: World, n: int) -> WebPhone:
    phone = web_phone(world, n)
    answer = phone.register(world.run)
    assert answer.status == 200, answer
    return phone


def establish(world: World, a: Phone, b: Phone, n: int, body: bytes = b"") -> tuple[Outgoing, Msg]:
    call = a.call(f"sip:testuser{n}@{DOMAIN}", world.run, body or sdp(a.address[0], 20000))
    invite = b.take("INVITE")
    b.reply(invite, 180, "Ringing")
    world.run()
    b.reply(invite, 200, "OK", sdp(b.address[0], 30000))
    world.run()
    a.take(180)
    call.ack(a.take(200))
    world.run()
    b.take("ACK")
    return call, invite


def test_a_registration_belongs_to_its_connection(world: World) -> None:
    phone = web_phone(world, 1002)
    answer = phone.register(world.run)
    host, port = phone.client.local
    assert answer.status == 200
    assert answer["contact"].startswith(f'<{phone.contact}>;expires=3600;received="sip:{host}:{port};transport=ws"')
    assert answer["via"].startswith("SIP/2.0/WS testuser1002.invalid;branch=") and f"received={host}" in answer["via"]
    (binding,) = world.daemon.registrar.bindings(world.subscribers[1002].id)
    assert (binding.transport, binding.socket, binding.received, binding.nat) == ("ws", "ws:127.0.0.1:5060", (host, port), True)
    assert binding.flow_id and binding.contact == phone.contact
    caller = world.registered(1003)
    phone.client.abort()
    world.run()
    assert world.daemon.registrar.bindings(world.subscribers[1002].id) == []
    caller.call(f"sip:testuser1002@{DOMAIN}", world.run, sdp(caller.address[0], 20000))
    assert caller.take(480)


def test_pinged_while_registered(world: World) -> None:
    """OPTIONS by SIP like any contact behind NAT, and the ping of the WebSocket."""
    phone = registered(world, 1002)
    phone.auto = lambda msg: msg.method == "OPTIONS" and (phone.reply(msg, 200, "OK") or True)
    world.run(300.0)
    pings = [m for m in phone.seen if m.method == "OPTIONS" and not m.status]
    assert len(pings) >= 9 and all(m["via"].startswith("SIP/2.0/WS 127.0.0.1:5060;") for m in pings)
    assert len(world.daemon.registrar.bindings(world.subscribers[1002].id)) == 1 and not phone.client.reason


def test_browser_calls_telephone(world: World) -> None:
    browser, phone = registered(world, 1002), world.registered(1003)
    call, invite = establish(world, browser, phone, 1003)
    assert invite["via"].startswith("SIP/2.0/UDP 127.0.0.1:5060;") and "invalid" not in str(invite.headers)
    world.run(5.0)
    call.bye()
    world.run()
    phone.reply(phone.take("BYE"), 200, "OK", contact=False)
    world.run()
    assert browser.take(200).method == "BYE"
    (cdr,) = world.cdrs()
    assert (cdr["source_user"], cdr["destination_user"], cdr["call_status"]) == ("testuser1002", "testuser1003", "ok")
    assert cdr["source_ip"] == browser.address[0]


def test_telephone_calls_browser_which_hangs_up(world: World) -> None:
    phone, browser = world.registered(1003), registered(world, 1002)
    _, invite = establish(world, phone, browser, 1002)
    assert invite.uri == browser.contact and len(invite.headers["via"]) == 1
    assert invite["via"].startswith("SIP/2.0/WS 127.0.0.1:5060;branch=")
    assert invite.contact.split("@")[1].startswith("127.0.0.1:5060;transport=ws")
    world.run(3.0)
    browser.in_dialog(invite, "BYE", 1)
    world.run()
    phone.reply(phone.take("BYE"), 200, "OK", contact=False)
    world.run()
    assert browser.take(200).method == "BYE"
    (cdr,) = world.cdrs()
    assert cdr["call_status"] == "ok" and 2.9 < float(cdr["duration"]) < 4


def test_browser_calls_browser_with_untouched_media(world: World) -> None:
    for n in (1002, 1003):
        world.prefer("usr", n, use_rtpproxy="never")
    a, b = registered(world, 1002), registered(world, 1003)
    body = BROWSER.encode()
    call, invite = establish(world, a, b, 1003, body)
    assert invite.body == body
    call.send("INVITE", body.replace(b"- 7 2", b"- 7 3"))
    world.run()
    again = b.take("INVITE")
    assert again.body == body.replace(b"- 7 2", b"- 7 3") and again.uri == b.contact
    b.reply(again, 200, "OK", body)
    world.run()
    final = a.take(200)
    assert final.body == body
    call.ack(final)
    world.run()
    b.take("ACK")
    call.bye()
    world.run()
    b.reply(b.take("BYE"), 200, "OK", contact=False)
    world.run()
    a.take(200)
    assert len(world.cdrs()) == 1


def test_a_browser_lost_in_a_call(world: World) -> None:
    """Its calls can not be ended toward it any more, but they do end."""
    browser, phone = registered(world, 1002), world.registered(1003)
    _, invite = establish(world, browser, phone, 1003)
    browser.client.abort()
    world.run(1.0)
    phone.in_dialog(invite, "BYE", 1)
    world.run(40.0)
    assert phone.take(200).method == "BYE"
    (cdr,) = world.cdrs()
    assert cdr["call_status"] == "ok"


def test_a_browser_that_came_back_goes_on_with_its_call(world: World) -> None:
    """The page's connection broke; over the next one it registers again and ends the call."""
    browser, phone = registered(world, 1002), world.registered(1003)
    call, _ = establish(world, browser, phone, 1003)
    browser.client.abort()
    world.run(1.0)
    browser.inbox.clear()
    assert browser.register(world.run).status == 200
    call.bye()
    world.run()
    phone.reply(phone.take("BYE"), 200, "OK", contact=False)
    world.run()
    assert browser.take(200).method == "BYE"


def test_registrations_of_websockets_do_not_survive_a_crash() -> None:
    first = World()
    registered(first, 1002)
    phone = first.registered(1003)
    first.kill()
    second = World(before=first)
    assert second.daemon.registrar.bindings(second.subscribers[1002].id) == []
    phone.call(f"sip:testuser1002@{DOMAIN}", second.run, sdp(phone.address[0], 20000))
    assert phone.take(480)
    second.end()


def test_websockets_switched_off() -> None:
    world = World("ngcpd: {sip: {websocket: no}}\n")
    phone = WebPhone(world.net, ("127.3.0.9", 5060), "testuser1002", DOMAIN, PASSWORD, SERVER)
    world.run(1.0)
    assert phone.client.status == 0 and phone.client.reason
    world.end()


def test_origin_list_of_the_settings() -> None:
    world = World("ngcpd: {sip: {ws_origins: [phone.example]}}\n")
    refused = WebPhone(world.net, ("127.3.0.9", 5060), "testuser1002", DOMAIN, PASSWORD, SERVER)
    world.run(1.5)
    assert refused.client.status == 403 and refused.client.reason
    world.end()

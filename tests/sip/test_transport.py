"""Flows, sockets and connections on the simulated network."""

from __future__ import annotations

import errno

import pytest

from ngcpd.runtime.ports import TlsServer
from ngcpd.sip.flow import Flow, Limits, UdpFlow
from ngcpd.sip.message import parse_message
from tests.sip.moving import RawStream, User, Wire, World, answer, no_leaks, raw, request, respond  # noqa: F401 - a fixture

A = ("10.0.0.1", 5060)
TLS = TlsServer("cert.pem", "key.pem")


def start(limits: Limits | None = None) -> World:
    world = World(limits=limits)
    world.listen("udp", "tcp")
    world.ra.answer = lambda tx: respond(tx, 200)
    return world


def connect(world: World, host: str = "10.0.0.9") -> RawStream:
    peer = RawStream()
    world.net.connect(A, peer, bind=host)
    world.run(0)
    return peer


def flows(world: World) -> int:
    return world.a.counters()["flows"]


# -------------------------------------------------------------------------------------------------------- received, rport
@pytest.mark.parametrize(
    ("via", "rport", "expected"),
    [
        ("10.0.0.9:4000", False, "10.0.0.9:4000;branch=z9hG4bKx1"),
        ("10.0.0.9:4000", True, "10.0.0.9:4000;branch=z9hG4bKx1;rport=4000;received=10.0.0.9"),
        ("192.168.1.1:5060", False, "192.168.1.1:5060;branch=z9hG4bKx1;received=10.0.0.9"),
        ("192.168.1.1", True, "192.168.1.1;branch=z9hG4bKx1;rport=4000;received=10.0.0.9"),
        ("phone.local:5060", False, "phone.local:5060;branch=z9hG4bKx1;received=10.0.0.9"),
    ],
)
def test_received_and_rport_and_always_back_to_the_source(via: str, rport: bool, expected: str) -> None:
    world = start()
    wire = Wire(world.net, ("10.0.0.9", 4000))
    wire.send(raw(via=via, rport=rport), A)
    world.run(0)
    assert parse_message(wire.got[0]).raw("Via") == [f"SIP/2.0/UDP {expected}"]
    assert world.ra.requests[0].request.raw("Via") == [f"SIP/2.0/UDP {expected}"]


def test_received_of_the_sender_is_not_believed() -> None:
    world = start()
    wire = Wire(world.net, ("10.0.0.9", 4000))
    wire.send(raw(via="10.0.0.9:4000").replace(b";branch", b";received=1.2.3.4;rport=99;branch"), A)
    world.run(0)
    via = parse_message(wire.got[0]).via
    assert via.received == "10.0.0.9" and via.rport == 4000
    wire.send(raw(via="10.0.0.9:4000", branch="z9hG4bK2", call_id="c2").replace(b";branch", b";received=1.2.3.4;branch"), A)
    world.run(0)
    assert parse_message(wire.got[1]).via.received == ""


def test_only_the_top_via_is_touched() -> None:
    world = start()
    wire = Wire(world.net, ("10.0.0.9", 5060))
    two = b"Via: SIP/2.0/UDP 192.168.0.1;branch=z9hG4bKx1, SIP/2.0/UDP 172.16.0.1;branch=z9hG4bKdown\r\nVia: SIP/2.0/TCP last.example\r\n"
    data = raw()
    line = data[data.index(b"Via:") : data.index(b"Max-")]
    wire.send(data.replace(line, two), A)
    world.run(0)
    assert [v.received for v in parse_message(wire.got[0]).vias] == ["10.0.0.9", "", ""]
    assert [v.host for v in parse_message(wire.got[0]).vias] == ["192.168.0.1", "172.16.0.1", "last.example"]


def test_ipv6_received() -> None:
    world = World()
    world.a.listen("udp", ("fd00::1", 5060))
    world.ra.answer = lambda tx: respond(tx, 200)
    wire = Wire(world.net, ("fd00::9", 5060))
    wire.send(raw(via="phone.local", rport=True), ("fd00::1", 5060))
    wire.send(raw(via="[fd00::9]:5060", branch="z9hG4bK2", call_id="c2"), ("fd00::1", 5060))
    world.run(0)
    first, second = (parse_message(d).via for d in wire.got)
    assert first.received == "fd00::9" and first.rport == 5060 and second.received == ""


# ------------------------------------------------------------------------------------------------------------ datagrams
@pytest.mark.parametrize("data", [b"", b"\r\n", b"\r\n\r\n", b"\0", b"\0" * 40, b"keep-alive", b"jaK"])
def test_keepalive_datagrams_are_ignored(data: bytes) -> None:
    world = start()
    wire = Wire(world.net, ("10.0.0.9", 5060))
    wire.send(data, A)
    world.run(0)
    counters = world.a.counters()
    assert wire.got == [] and counters["keepalives"] == 1 and counters["malformed"] == 0 and len(world.ra.keepalives) == 1


def test_refused_sources_are_dropped_before_parsing() -> None:
    world = start()
    world.ra.admit = False
    wire = Wire(world.net, ("10.0.0.9", 5060))
    wire.send(raw(), A)
    wire.send(b"x" * 100, A)
    peer = connect(world)
    peer.stream.write(raw(transport="TCP"))
    world.run(0)
    counters = world.a.counters()
    assert wire.got == [] and peer.data == b"" and counters["dropped"] == 3 and counters["received"] == 0 and counters["malformed"] == 0


def test_udp_flow() -> None:
    world = start()
    one = UdpFlow(world.a.transports.sockets[0], ("10.0.0.9", 5060))
    two = UdpFlow(world.a.transports.sockets[0], ("10.0.0.9", 5060))
    assert one == two and hash(one) == hash(two) and one != UdpFlow(world.a.transports.sockets[0], ("10.0.0.9", 5061))
    assert (one.transport, one.local, one.remote, one.secure, one.reliable, one.family, one.id) == ("udp", A, ("10.0.0.9", 5060), False, False, 4, 0)
    one.watch(lambda f: None)
    one.close()
    assert one.alive
    world.a.close()
    assert not one.alive and not one.send(b"x")


# ---------------------------------------------------------------------------------------------------------------- sockets
def test_bind_errors_name_the_address() -> None:
    world = start()
    for transport in ("udp", "tcp"):
        with pytest.raises(OSError) as caught:
            world.a.listen(transport, A)
        assert caught.value.errno == errno.EADDRINUSE and "10.0.0.1:5060" in str(caught.value)
    with pytest.raises(OSError) as caught:
        world.a.listen("udp", ("10.9.9.9", 5060))
    assert caught.value.errno == errno.EADDRNOTAVAIL and "10.9.9.9:5060" in str(caught.value)
    with pytest.raises(OSError, match="advertised"):
        world.a.listen("udp", ("0.0.0.0", 5060))
    with pytest.raises(OSError, match="numeric"):
        world.a.listen("udp", ("localhost", 5060))
    with pytest.raises(ValueError):
        world.a.listen("sctp", A)
    with pytest.raises(ValueError):
        world.a.listen("tls", A)
    with pytest.raises(ValueError):
        world.a.listen("tcp", A, tls=TLS)
    assert len(world.a.transports.sockets) == 2


# ------------------------------------------------------------------------------------------------------------ connections
@pytest.mark.parametrize("segment", [1, 7, 100, 0])
def test_messages_in_any_pieces_and_pipelined(segment: int) -> None:
    world = start()
    world.net.segment = segment
    peer = connect(world)
    peer.stream.write(b"\r\n" + b"".join(raw(transport="TCP", branch=f"z9hG4bK{n}", call_id=f"c{n}") for n in range(5)))
    world.run(0)
    assert peer.starts() == ["SIP/2.0 200 OK"] * 5
    peer.stream.close()
    world.run(1)
    assert flows(world) == 0


def test_double_crlf_is_answered_with_one() -> None:
    world = start()
    peer = connect(world)
    peer.stream.write(b"\r\n\r\n")
    world.run(0)
    assert peer.data == b"\r\n" and len(world.ra.keepalives) == 1
    peer.stream.write(b"\r\n")
    world.run(0)
    assert peer.data == b"\r\n"


def test_responses_go_over_the_connection_whatever_the_via_says() -> None:
    world = start()
    peer = connect(world)
    peer.stream.write(raw(transport="TCP", via="192.168.0.77:5099"))
    world.run(0)
    assert peer.starts() == ["SIP/2.0 200 OK"] and parse_message(peer.data).via.received == "10.0.0.9"


def test_response_after_the_connection_ended_opens_one_to_the_via_port() -> None:
    world = start()
    world.ra.answer = None
    back = RawStream()
    world.net.listen(("10.0.0.9", 5099), lambda: back)
    peer = connect(world)
    peer.stream.write(raw("INVITE", transport="TCP", via="10.0.0.9:5099"))
    world.run(0)
    peer.stream.close()
    world.run(1)
    respond(world.ra.requests[0], 486)
    world.run(0)
    assert back.starts() == ["SIP/2.0 486 Busy Here"]
    back.stream.write(raw("ACK", transport="TCP", via="10.0.0.9:5099", to_tag="t1"))
    world.run(0)
    assert world.ra.ended == ["done"]


def test_connections_are_reused_in_both_directions() -> None:
    world = start()
    peer = connect(world)
    peer.stream.write(raw(transport="TCP"))
    world.run(0)
    user = User()
    host, port = peer.stream.local
    world.a.send(request(), world.hops(world.a, f"sip:bob@{host}:{port};transport=tcp"), user)
    world.run(0)
    assert flows(world) == 1 and peer.starts()[-1].startswith("OPTIONS")
    callee = RawStream()
    world.net.listen(("10.0.0.8", 5060), lambda: callee)
    for _ in range(3):
        world.a.send(request(), world.hops(world.a, "sip:10.0.0.8;transport=tcp"), user)
    world.run(0)
    assert flows(world) == 2 and len(callee.starts()) == 3
    flow = next(f for f in world.a.transports.flows.values() if not f.incoming)
    assert flow.local == callee.stream.remote and flow.local[0] == "10.0.0.1" and flow.id > 0 and flow.reliable and not flow.secure
    callee.stream.write(answer(callee.data[: callee.data.index(b"\r\n\r\n") + 4], 200))
    world.run(0)
    assert user.statuses == [200]


def test_framing_error_is_reported_answered_and_closes() -> None:
    world = start()
    peer = connect(world)
    good = raw(transport="TCP", branch="z9hG4bKgood", call_id="good")
    peer.stream.write(good + raw(transport="TCP").replace(b"Content-Length: 0", b"Content-Length: -1"))
    world.run(0)
    assert peer.starts() == ["SIP/2.0 200 OK", "SIP/2.0 400 Bad Content-Length Header"]
    assert peer.reason == "closed by peer" and world.a.counters()["malformed"] == 1 and flows(world) == 0
    assert len(world.ra.requests) == 1


def test_garbage_on_a_stream_closes_it() -> None:
    world = start(Limits(message=2000))
    peer = connect(world)
    peer.stream.write(b"x" * 3000)
    world.run(0)
    assert peer.reason == "closed by peer" and peer.data == b"" and len(world.ra.bad) == 1


def test_incomplete_message_is_cut_after_a_while() -> None:
    world = start(Limits(incomplete=10))
    peer = connect(world)
    whole = raw(transport="TCP")
    peer.stream.write(whole + raw(transport="TCP", branch="z9hG4bK2", call_id="c2")[:50])
    world.run(5)
    for _ in range(4):  # a drop now and then does not buy time
        peer.stream.write(b"X")
        world.run(1)
    assert peer.reason == ""
    world.run(1.2)
    assert peer.reason == "closed by peer" and peer.starts() == ["SIP/2.0 200 OK"]


def test_slow_but_whole_messages_are_fine() -> None:
    world = start(Limits(incomplete=10))
    peer = connect(world)
    for n in range(6):
        data = raw(transport="TCP", branch=f"z9hG4bK{n}", call_id=f"c{n}")
        peer.stream.write(data[:60])
        world.run(6)
        peer.stream.write(data[60:])
        world.run(1)
    assert len(peer.starts()) == 6 and peer.reason == ""


def test_connection_that_never_says_anything() -> None:
    world = start(Limits(first_message=30))
    silent, pinging = connect(world), connect(world)
    pinging.stream.write(b"\r\n\r\n")
    world.run(31)
    assert silent.reason == "closed by peer" and pinging.reason == ""


def test_idle_connection_is_closed_unless_somebody_waits_on_it() -> None:
    world = start(Limits(connection_idle=100))
    peer, held = connect(world), connect(world)
    for each in (peer, held):
        each.stream.write(raw(transport="TCP", branch=f"z9hG4bK{each.stream.local[1]}", call_id=str(each.stream.local[1])))
    world.run(50)
    told: list[Flow] = []
    world.ra.flows[1].watch(told.append)
    peer.stream.write(b"\r\n\r\n")
    world.run(90)
    assert peer.reason == ""
    world.run(20)
    assert peer.reason == "closed by peer" and held.reason == "" and told == []
    held.stream.close()
    world.run(1)
    assert told == [world.ra.flows[1]] and not told[0].alive and not told[0].send(b"x")


def test_number_of_connections_is_bounded() -> None:
    world = start(Limits(connections=2))
    peers = [connect(world) for _ in range(4)]
    assert [bool(p.reason) for p in peers] == [False, False, True, True] and flows(world) == 2
    user = User()
    world.a.send(request(), world.hops(world.a, "sip:10.0.0.8;transport=tcp"), user)
    world.run(0.1)
    assert user.failures == ["transport"]
    peers[0].stream.close()
    world.run(0)
    assert not connect(world).reason


def test_peer_that_does_not_read_is_cut() -> None:
    world = start(Limits(write_buffer=10_000))
    peer = connect(world)
    peer.stream.write(raw(transport="TCP"))
    world.run(0)
    flow = world.ra.flows[0]
    told: list[Flow] = []
    flow.watch(told.append)
    peer.stream.pause()
    sent = 0
    while flow.send(b"x" * 1000):
        sent += 1
        assert sent < 100
    world.run(0)
    assert sent == 10 and not flow.alive and told == [flow] and peer.reason == "reset"


def test_what_is_sent_while_connecting_waits_and_is_bounded() -> None:
    world = start(Limits(connect_buffer=3000))
    world.net.default = type(world.net.default)(delay=1.0)
    callee = RawStream()
    world.net.listen(("10.0.0.8", 5060), lambda: callee)
    sock = world.a.transports.find("tcp:10.0.0.1:5060")
    assert sock is not None
    flow = world.a.transports.connect(sock, ("10.0.0.8", 5060))
    assert flow is not None and flow.alive and flow.connecting
    assert [flow.send(bytes([c]) * 1000) for c in b"abcd"] == [True, True, True, False]
    assert world.a.counters()["connecting"] == 1
    world.run(5)
    assert callee.data == b"a" * 1000 + b"b" * 1000 + b"c" * 1000


def test_flow_closed_while_connecting() -> None:
    world = start()
    world.net.default = type(world.net.default)(delay=1.0)
    callee = RawStream()
    world.net.listen(("10.0.0.8", 5060), lambda: callee)
    sock = world.a.transports.find("tcp:10.0.0.1:5060")
    assert sock is not None
    flow = world.a.transports.connect(sock, ("10.0.0.8", 5060))
    assert flow is not None
    told: list[Flow] = []
    flow.watch(told.append)
    flow.close()
    world.run(10)
    assert told == [flow] and callee.data == b"" and flows(world) == 0


def test_raising_watcher_does_not_keep_the_others_from_knowing() -> None:
    world = start()
    peer = connect(world)
    peer.stream.write(raw(transport="TCP"))
    world.run(0)
    told: list[Flow] = []
    world.ra.flows[0].watch(lambda f: 1 / 0)
    world.ra.flows[0].watch(told.append)
    world.ra.flows[0].watch(told.append)
    world.ra.flows[0].close()
    world.run(0)
    assert len(told) == 1 and world.a.counters()["errors"] == 1
    world.expected_errors = 1


def test_close_with_a_peer_that_does_not_read() -> None:
    world = start()
    peer = connect(world)
    peer.stream.write(raw(transport="TCP"))
    world.run(0)
    peer.stream.pause()
    world.ra.flows[0].send(b"x" * 100)
    world.ra.flows[0].close()
    world.run(4)
    assert flows(world) == 1
    world.run(2)
    assert flows(world) == 0


def test_tls_flow_is_secure() -> None:
    world = start()
    world.a.listen("tls", ("10.0.0.1", 5061), tls=TLS)
    world.b.listen("tls", ("10.0.0.2", 5061), tls=TLS)
    world.rb.answer = lambda tx: respond(tx, 200)
    user = User()
    world.a.send(request(), world.hops(world.a, "sips:bob@10.0.0.2"), user)
    world.run(0)
    assert user.statuses == [200] and world.rb.flows[0].secure and world.rb.flows[0].transport == "tls"
    world.a.send(request(call_id="c2"), world.hops(world.a, "sip:bob@10.0.0.2:5060;transport=tls"), user)  # a TCP port
    world.run(0)
    assert user.failures == ["transport"]
    world.finish()


def test_stack_close_ends_connections() -> None:
    world = start()
    peer = connect(world)
    peer.stream.write(raw(transport="TCP"))
    world.run(0)
    world.a.close()
    world.run(1)
    assert peer.reason == "closed by peer" and flows(world) == 0 and world.a.counters()["timers"] == 0
    late = connect(world)
    assert late.reason == "refused"

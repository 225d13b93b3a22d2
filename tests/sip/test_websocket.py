"""SIP over WebSocket on the simulated network: handshake, frames, limits, goodbyes, ways back."""

from __future__ import annotations

import re
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngcpd.runtime.ports import TlsClient, TlsServer
from ngcpd.sip.endpoint import NoRoute
from ngcpd.sip.flow import Limits
from ngcpd.sip.framing import KEEPALIVE
from ngcpd.sip.message import parse_message
from ngcpd.sip.stack import Stack
from ngcpd.sip.uri import Uri
from ngcpd.sip.websocket import MAX_CONTROL, MAX_FRAGMENTS, WebSocketRules, WebSocketSession
from tests.sip.moving import RawStream, Recorder, User, Wire, World, answer, no_leaks, raw, request, respond  # noqa: F401 - a fixture
from tests.sip.torture import VECTORS
from tests.webphone import BINARY, CLOSE, CONT, PING, PONG, TEXT, WebClient, frame, opening

HOST = "10.0.0.3"
WS = (HOST, 5060)
WSS = (HOST, 5061)
RULES = WebSocketRules()


class Site(World):
    """A third stack, `web`, that takes WebSockets on 10.0.0.3 and answers requests with 200."""

    def __init__(self, rules: WebSocketRules | None = RULES, limits: Limits | None = None) -> None:
        super().__init__()
        self.web = Stack(self.clock, self.rng, self.net.host(HOST), None, limits=limits, websockets=rules)
        self.rec = Recorder(self.web)
        self.web.handler = self.rec
        self.rec.answer = lambda tx: respond(tx, 200)
        self.stacks.append(self.web)
        self.web.listen("udp", WS)
        self.web.listen("tcp", WS)
        self.web.listen("tls", WSS, tls=TlsServer("cert.pem", "key.pem"))

    def client(self, hello: bytes = opening(), *, secure: bool = False, expect: int = 101) -> WebClient:
        client = WebClient(hello)
        self.net.connect(WSS if secure else WS, client, TlsClient("x") if secure else None, bind="10.0.0.9")
        self.run(0.1)
        assert client.status == expect
        return client

    def tcp(self) -> RawStream:
        peer = RawStream()
        self.net.connect(WS, peer, bind="10.0.0.9")
        self.run(0)
        return peer

    @property
    def flows(self) -> int:
        return self.web.counters()["flows"]


def options(n: int = 1, *, length: bool = True, host: str = "a1b2.invalid", body: bytes = b"") -> bytes:
    data = raw(via=host, branch=f"z9hG4bKw{n}", transport="WS", call_id=f"w{n}", extra="Contact: <sip:x@a1b2.invalid;transport=ws>\r\n")
    return (data if length else data.replace(b"Content-Length: 0\r\n", b"")) + body


def goodbye(client: WebClient, code: int) -> None:
    """Closed by the other end with that code, and the connection gone."""
    assert client.closes == [code], (client.closes, client.close_reason, client.reason)
    assert client.reason


# ---------------------------------------------------------------------------------------------------------------- handshake
def test_upgrade_and_a_request_each_way() -> None:
    site = Site()
    client = site.client()
    assert client.fields["upgrade"].lower() == "websocket" and client.fields["connection"].lower() == "upgrade"
    assert not {"server", "date", "sec-websocket-extensions"} & client.fields.keys()
    client.send(options())
    site.run(0)
    (reply,) = client.messages
    assert client.frames[0][0] == TEXT and reply.startswith(b"SIP/2.0 200 OK\r\n")
    assert parse_message(reply).raw("Via") == ["SIP/2.0/WS a1b2.invalid;branch=z9hG4bKw1;received=10.0.0.9"]
    flow = site.rec.flows[0]
    assert (flow.transport, flow.secure, flow.reliable, flow.family, flow.local) == ("ws", False, True, 4, WS)
    assert flow.id and flow.socket.name == "ws:10.0.0.3:5060" and site.web.transports.flows[flow.id] is flow
    user = User()
    (hop,) = site.hops(site.web, "sip:x@a1b2.invalid;transport=ws", flow=flow)
    assert (hop.via_prefix, hop.contact_host) == ("SIP/2.0/WS 10.0.0.3:5060", "10.0.0.3:5060;transport=ws")
    site.web.send(request("OPTIONS", "sip:x@a1b2.invalid;transport=ws"), [hop], user)
    site.run(0)
    ours = client.messages[1]
    assert ours.startswith(b"OPTIONS sip:x@a1b2.invalid;transport=ws SIP/2.0\r\nVia: SIP/2.0/WS 10.0.0.3:5060;branch=z9hG4bK")
    client.send(answer(ours, 200))
    site.run(0)
    assert user.statuses == [200] and user.failures == []


def test_secure_is_wss() -> None:
    site = Site()
    client = site.client(secure=True)
    client.send(options())
    site.run(0)
    flow = site.rec.flows[0]
    assert (flow.transport, flow.secure, flow.socket.name) == ("wss", True, "wss:10.0.0.3:5061")
    assert flow.socket.via_prefix == "SIP/2.0/WSS 10.0.0.3:5061" and flow.socket.contact_host == "10.0.0.3:5061;transport=wss"


def test_the_ports_still_speak_sip() -> None:
    site = Site()
    peer = site.tcp()
    peer.stream.write(raw(transport="TCP"))
    peer.stream.write(b"\r\n\r\n")
    site.run(0)
    assert peer.starts() == ["SIP/2.0 200 OK"] and peer.data.endswith(b"\r\n\r\n\r\n") and site.rec.flows[0].transport == "tcp"
    get = site.tcp()
    get.stream.write(raw("GET", transport="TCP", branch="z9hG4bKget", call_id="get"))  # a SIP request of that name, split inside of it
    site.net.segment = 2
    site.run(0)
    site.net.segment = 0
    assert get.starts() == ["SIP/2.0 200 OK"]


def test_not_taken_unless_wanted() -> None:
    site = Site(rules=None)
    peer = site.tcp()
    peer.stream.write(opening())
    site.run(0.1)
    assert b"101" not in peer.data and site.flows == 0 and peer.reason
    assert [s.transport for s in site.web.transports.sockets] == ["udp", "tcp", "tls"]


@pytest.mark.parametrize("segment", [1, 3, 7])
def test_octet_by_octet(segment: int) -> None:
    site = Site()
    site.net.segment = segment
    client = site.client()
    client.send(options())
    client.raw(frame(PING, b"p"))
    site.run(1.0)
    assert client.starts() == ["SIP/2.0 200 OK"] and (PONG, b"p") in client.frames


@pytest.mark.parametrize(
    ("hello", "status"),
    [
        (opening("/"), 101),
        (opening("/ws?token=1"), 101),
        (opening("/other"), 404),
        (opening("/ws/"), 404),
        (opening("//"), 404),
        (opening(Sec_WebSocket_Protocol=None), 400),
        (opening(Sec_WebSocket_Protocol="xmpp"), 400),
        (opening(Sec_WebSocket_Protocol="xmpp, sip"), 101),
        (opening(Sec_WebSocket_Protocol=","), 400),
        (opening(Upgrade=None), 426),
        (opening(Upgrade="h2c"), 426),
        (opening(Connection="close"), 426),
        (opening(Upgrade=None, Connection=None, Sec_WebSocket_Key=None, Sec_WebSocket_Version=None, Sec_WebSocket_Protocol=None), 426),
        (opening(Sec_WebSocket_Version="8"), 426),
        (opening(Sec_WebSocket_Version=None), 400),
        (opening(Sec_WebSocket_Key=None), 400),
        (opening(Sec_WebSocket_Key="c2hvcnQ="), 400),
        (opening(Sec_WebSocket_Key="%%%"), 400),
        (opening(Host=None), 400),
        (opening(Content_Length="5"), 400),
        (opening(Transfer_Encoding="chunked"), 400),
        (opening(Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits"), 101),
        (opening(Origin="https://evil.example"), 101),
        (opening(X="\xff\xfe"), 101),
        (opening(X="a\0b"), 400),
        (opening(first="GET /ws HTTP/1.0"), 505),
        (opening(first="GET /ws HTTP/2"), 400),
        (opening(first="GET /ws"), 400),
        (opening(first="GET /w\xff HTTP/1.1"), 400),
        (b"GET /ws HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET /ws HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400),
        (opening(X="a" * 8500), 431),
        (b"GET /ws HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
        (b"GET /ws HTTP/1.1\r\nX: " + b"x" * 30_000, 431),
    ],
)
def test_handshakes(hello: bytes, status: int) -> None:
    site = Site()
    client = site.client(hello, expect=status)
    site.run(1.2)
    if status == 101:
        assert site.flows == 1
    else:
        assert client.reason and site.flows == 0 and site.web.counters()["malformed"] == 1
        assert client.fields["connection"] == "close" and int(client.fields["content-length"]) == len(client.body) and b"Traceback" not in client.body
    if status == 426:
        assert client.fields["upgrade"] == "websocket"
    assert site.rec.requests == [] and site.rec.bad == []


def test_the_wrong_version_is_told_the_right_one() -> None:
    assert Site().client(opening(Sec_WebSocket_Version="8"), expect=426).fields["sec-websocket-version"] == "13"


@pytest.mark.parametrize(
    ("origins", "origin", "status"),
    [
        ((), None, 101),
        ((), "https://any.example", 101),
        (("https://phone.example",), "https://phone.example", 101),
        (("https://phone.example/",), "HTTPS://Phone.Example", 101),
        (("https://phone.example",), "http://phone.example", 403),
        (("https://phone.example",), "https://phone.example:8443", 403),
        (("https://phone.example",), "https://phone.example.evil.example", 403),
        (("https://phone.example",), None, 403),
        (("https://phone.example",), "null", 403),
        (("null",), "null", 101),
        (("a.example", "phone.example"), "https://phone.example:8443", 101),
        (("a.example", "phone.example"), "https://evil.example/phone.example", 403),
        (("phone.example",), "https://notphone.example", 403),
        (("::1",), "http://[::1]:8080", 101),
    ],
)
def test_origins(origins: tuple[str, ...], origin: str | None, status: int) -> None:
    site = Site(WebSocketRules(origins=origins))
    site.client(opening(Origin=origin), expect=status)
    site.run(1.2)
    assert site.flows == (1 if status == 101 else 0)


def test_two_origins_are_none() -> None:
    Site(WebSocketRules(origins=("a.example",))).client(opening(Origin="https://a.example\r\nOrigin: https://b.example"), expect=400)


def test_slow_handshake_is_cut() -> None:
    site = Site()
    slow = WebClient(opening()[:-10])
    site.net.connect(WS, slow, bind="10.0.0.9")
    site.run(9.0)
    assert not slow.reason
    slow.raw(b"x")
    site.run(1.2)
    assert slow.reason and slow.status == 0 and site.flows == 0


def test_nothing_at_all_is_cut_like_any_connection() -> None:
    site = Site()
    peer = site.tcp()
    peer.stream.write(b"GE")
    site.run(31.0)
    assert peer.reason and site.flows == 0


def test_an_idle_handshake_needs_no_message_soon() -> None:
    site = Site()
    client = site.client()
    site.run(60.0)
    client.send(options())
    site.run(0)
    assert client.starts() == ["SIP/2.0 200 OK"]


# ------------------------------------------------------------------------------------------------------------------- frames
def test_content_length_may_be_missing_and_bodies_end_with_the_message() -> None:
    site = Site()
    client = site.client()
    client.send(options(1, length=False, body=b"hello"))
    client.send(options(2, length=False), BINARY)
    site.run(0)
    assert client.starts() == ["SIP/2.0 200 OK"] * 2
    assert [tx.request.body for tx in site.rec.requests] == [b"hello", b""]


def test_fragments_with_pings_between() -> None:
    site = Site()
    client = site.client()
    data = options()
    client.raw(frame(TEXT, data[:10], fin=False) + frame(PING, b"1") + frame(CONT, data[10:20], fin=False))
    site.run(0)
    assert client.messages == [] and client.frames == [(PONG, b"1")]
    client.raw(frame(CONT, b"", fin=False) + frame(CONT, data[20:]) + frame(TEXT, options(2)))
    site.run(0)
    assert client.starts() == ["SIP/2.0 200 OK"] * 2


def test_text_cut_inside_a_character() -> None:
    site = Site()
    client = site.client()
    data = options().replace(b"Max-Forwards", "Subject: größer\r\nMax-Forwards".encode())
    cut = data.index(b"\xc3") + 1
    client.raw(frame(TEXT, data[:cut], fin=False) + frame(CONT, data[cut:]))
    site.run(0)
    assert client.starts() == ["SIP/2.0 200 OK"] and site.rec.requests[0].request.first("Subject") is not None


def test_what_is_no_utf8_goes_out_binary() -> None:
    site = Site()
    client = site.client()
    data = options().replace(b"To: <sip:bob@10.0.0.1>", b'To: "gr\xf6\xdfer" <sip:bob@10.0.0.1>')
    client.send(data, BINARY)
    client.send(options(2).replace(b"To: <sip:bob@10.0.0.1>", 'To: "größer" <sip:bob@10.0.0.1>'.encode()))
    site.run(0)
    assert [op for op, _ in client.frames] == [BINARY, TEXT] and all("200 OK" in s for s in client.starts())


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (frame(TEXT, b"x" * 100, mask=None), 1002),
        (frame(TEXT, b"x", rsv=4), 1002),
        (frame(3, b"x"), 1002),
        (frame(11, b"x"), 1002),
        (frame(CONT, b"x"), 1002),
        (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(CLOSE, b"x"), 1002),
        (frame(CLOSE, struct.pack(">H", 1005)), 1002),
        (frame(TEXT, b"\xff\xfe sip"), 1007),
        (frame(TEXT, b"", length=1 << 63), 1009),
        (frame(TEXT, b"x" * 200, length=65_536), 1009),
        (frame(TEXT, b"x" * 40_000, fin=False) + frame(CONT, b"x" * 40_000), 1009),
        (frame(TEXT, b"x", fin=False) + frame(CONT, b"x", fin=False) * (6 * MAX_FRAGMENTS), 1008),
        (frame(PING) * (MAX_CONTROL + 1), 1008),
        (frame(PONG) * (MAX_CONTROL + 1), 1008),
        (frame(TEXT) * (MAX_CONTROL + 1), 1008),
        (frame(TEXT, b"\r\n\r\n") * (MAX_CONTROL + 1), 1008),
    ],
)
def test_what_is_against_the_rules_ends_the_connection(octets: bytes, code: int) -> None:
    site = Site()
    client = site.client()
    client.send(options(1))
    site.run(0)
    client.raw(octets)
    client.send(options(2))
    site.run(1.2)
    goodbye(client, code)
    assert client.starts()[0] == "SIP/2.0 200 OK"
    assert [tx.request.call_id for tx in site.rec.requests] == ["w1"], "what comes behind is not read"
    assert site.flows == 0 and site.web.counters()["malformed"] == 1 and site.rec.bad == []


def test_the_largest_message_passes() -> None:
    site = Site()
    client = site.client()
    data = options(length=False)
    client.send(data + b"x" * (65_535 - len(data)))
    site.run(0)
    assert client.starts() == ["SIP/2.0 200 OK"]


def test_messages_that_are_not_sip_are_answered_or_ignored_and_harm_nothing() -> None:
    site = Site()
    client = site.client()
    bad = options().replace(b"CSeq: 1 OPTIONS", b"CSeq: x OPTIONS")
    for junk in (b"hello" * 10, b"{}", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bad, b"\0" * 50, b"INVITE"):
        client.send(junk)
    client.send(options(9))
    site.run(0)
    assert client.starts() == ["SIP/2.0 400 Bad CSeq Header", "SIP/2.0 200 OK"] and site.flows == 1
    assert site.web.counters()["malformed"] == len(site.rec.bad) == 3


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_torture_messages_are_taken_like_datagrams(name: str) -> None:
    site = Site()
    data = VECTORS[name].data
    wire = Wire(site.net, ("10.0.0.9", 7000))
    wire.send(data, WS)
    site.run(0)
    again = Site()
    client = again.client()
    client.send(data, BINARY)
    again.run(0)
    seen = [
        (starts, [re.sub(rb";rport=\d+", b"", tx.request.to_bytes()) for tx in rec.requests], [str(e) for e, _ in rec.bad], len(rec.strays))
        for starts, rec in ((wire.starts(), site.rec), (client.starts(), again.rec))
    ]
    assert seen[0] == seen[1] and again.flows == 1


def test_a_request_and_a_goodbye_at_once() -> None:
    """The request counts, though its answer can not be sent any more."""
    site = Site()
    client = site.client()
    client.raw(frame(TEXT, options()) + frame(CLOSE, struct.pack(">H", 1000)))
    site.run(0.1)
    goodbye(client, 1000)
    assert len(site.rec.requests) == 1 and site.rec.ended == ["transport"] and site.flows == 0


# ---------------------------------------------------------------------------------------------------------- keepalive, idle
def test_keepalives() -> None:
    site = Site()
    client = site.client()
    client.send(b"\r\n\r\n")
    client.send(b"\r\n")
    client.send(b"")
    client.raw(frame(PING, b"abc"))
    site.run(0)
    assert client.frames == [(PONG, b"abc"), (TEXT, b"\r\n")]
    assert site.web.counters()["keepalives"] == 1 and len(site.rec.keepalives) == 1


def test_pings_of_ours() -> None:
    site = Site()
    client = site.client()
    site.run(100.0)
    assert [op for op, _ in client.frames] == [PING] * 4 and site.flows == 1
    client.pongs = False
    site.run(75.5)
    goodbye(client, 1011)
    assert site.flows == 0


def test_any_sign_of_life_will_do() -> None:
    site = Site()
    client = site.client()
    client.pongs = False
    for n in range(10):
        site.run(40.0)
        client.send(options(n))
    site.run(0)
    assert len(client.messages) == 10


def test_pings_can_be_left_out() -> None:
    site = Site(WebSocketRules(ping_interval=0))
    client = site.client()
    site.run(3000.0)
    assert client.frames == [] and site.flows == 1


def test_idle_connections_close_in_spite_of_pongs() -> None:
    site = Site(limits=Limits(connection_idle=100.0))
    client = site.client()
    client.send(options())
    site.run(99.0)
    assert site.flows == 1
    site.run(3.0)
    goodbye(client, 1000)


def test_watched_connections_stay() -> None:
    site = Site(limits=Limits(connection_idle=100.0))
    client = site.client()
    client.send(options())
    site.run(0)
    ended: list[object] = []
    site.rec.flows[0].watch(ended.append)
    site.run(500.0)
    assert site.flows == 1 and not ended
    client.stream.abort()
    site.run(0)
    assert ended == [site.rec.flows[0]] and site.flows == 0


def test_a_message_must_be_completed_in_time() -> None:
    for part in (frame(TEXT, options())[:100], frame(TEXT, options()[:50], fin=False)):
        site = Site()
        client = site.client()
        client.raw(part)
        site.run(9.0)
        site.run(1.3)
        assert client.closes == [1000]
        site.run(5.0)  # the answer to the goodbye was swallowed by the frame
        assert client.reason and site.flows == 0


def test_no_time_runs_between_messages() -> None:
    site = Site()
    client = site.client()
    data = frame(TEXT, options(1))
    client.raw(data[:50])
    site.run(5.0)
    client.raw(data[50:] + frame(TEXT, options(2))[:50])
    site.run(8.0)
    client.raw(frame(TEXT, options(2))[50:])
    site.run(60.0)
    assert len(client.messages) == 2 and site.flows == 1


# ---------------------------------------------------------------------------------------------------------------- goodbyes
def test_their_goodbye() -> None:
    site = Site()
    client = site.client()
    client.send(options())
    client.raw(frame(CLOSE, struct.pack(">H", 1001) + b"gone"))
    site.run(0.1)
    goodbye(client, 1001)
    assert site.flows == 0 and not site.rec.flows[0].alive and not site.rec.flows[0].send(b"x") and site.web.counters()["malformed"] == 0


def test_a_goodbye_without_a_code() -> None:
    site = Site()
    client = site.client()
    client.raw(frame(CLOSE))
    site.run(0.1)
    goodbye(client, 0)


@pytest.mark.parametrize("polite", [True, False])
def test_our_goodbye(polite: bool) -> None:
    site = Site()
    client = site.client()
    client.polite = polite
    client.send(options())
    site.run(0)
    flow = site.rec.flows[0]
    flow.close()
    assert not flow.alive and not flow.send(b"x")
    client.send(options(2))
    site.run(0.5)
    assert client.closes == [1000] and bool(client.reason) == polite
    site.run(5.0)
    assert client.reason and site.flows == 0 and len(site.rec.requests) == 1


def test_the_stack_goes_away() -> None:
    site = Site()
    client = site.client()
    waiting = WebClient(opening()[:-2])
    site.net.connect(WS, waiting, bind="10.0.0.9")
    site.run(0.1)
    site.web.close()
    site.run(0.1)
    goodbye(client, 1001)
    assert waiting.reason and site.flows == 0


def test_connection_lost() -> None:
    site = Site()
    for client in (site.client(), site.client(opening()[:-2], expect=0)):
        client.stream.abort()
    site.run(0.1)
    assert site.flows == 0


def test_peer_that_does_not_read() -> None:
    site = Site(limits=Limits(write_buffer=10_000))
    client = site.client()
    client.send(options())
    site.run(0)
    client.stream.pause()
    flow = site.rec.flows[0]
    assert flow.send(b"x" * 9_000) and not flow.send(b"x" * 2_000) and not flow.alive
    site.run(0.1)
    assert client.reason and site.flows == 0


def test_too_many_connections() -> None:
    site = Site(limits=Limits(connections=3))
    kept = [site.client() for _ in range(3)]
    more = WebClient()
    site.net.connect(WS, more, bind="10.0.0.9")
    site.run(0.1)
    assert more.reason and more.status == 0 and site.flows == 3 and not any(c.reason for c in kept)


def test_refused_sources() -> None:
    site = Site()
    client = site.client()
    site.rec.admit = False
    client.send(options())
    site.run(0)
    assert client.frames == [] and site.rec.requests == [] and site.web.counters()["dropped"] == 1


# ------------------------------------------------------------------------------------------------------------------- routing
def test_nobody_can_be_connected_to_by_websocket() -> None:
    site = Site()
    client = site.client()
    client.send(options())
    site.run(0)
    flow = site.rec.flows[0]
    for kwargs in ({}, {"received": flow.remote}, {"forced_socket": "ws:10.0.0.3:5060"}, {"transport": "ws"}):
        uri = "sip:x@10.0.0.9" if "transport" in kwargs or "forced_socket" in kwargs else "sip:x@10.0.0.9;transport=ws"
        with pytest.raises(NoRoute, match="own connection"):
            site.web.endpoint.resolve(Uri.parse(uri), **kwargs)
    client.stream.abort()
    site.run(0)
    with pytest.raises(NoRoute, match="has ended"):
        site.web.endpoint.resolve(Uri.parse("sip:x@a.invalid;transport=ws"), flow=flow)


def test_its_address_is_not_taken_for_a_tcp_connection() -> None:
    site = Site()
    client = site.client()
    client.send(options())
    site.run(0)
    host, port = site.rec.flows[0].remote
    user = User()
    site.web.send(request("OPTIONS", f"sip:x@{host}:{port};transport=tcp"), site.hops(site.web, f"sip:x@{host}:{port};transport=tcp"), user)
    site.run(1.0)
    assert client.messages[1:] == [] and user.failures == ["transport"]


def test_an_answer_for_a_browser_that_left_goes_nowhere() -> None:
    site = Site()
    site.rec.answer = None
    listening = Wire(site.net, ("10.0.0.9", 5060))
    client = site.client()
    client.send(options().replace(b"OPTIONS", b"INVITE"))
    site.run(0)
    client.stream.abort()
    site.run(0)
    (tx,) = site.rec.requests
    respond(tx, 486)
    site.run(1.0)
    assert site.rec.ended == ["transport"] and listening.got == [] and site.web.counters()["connecting"] == 0


def test_websocket_and_datagrams_meet() -> None:
    """A request of a browser is passed on by UDP and its answer comes back, and the other way round."""
    site = Site()
    phone = Wire(site.net, ("10.0.0.8", 5060))
    client = site.client()
    site.rec.answer = lambda tx: None
    client.send(options(1))
    site.run(0)
    out, back = User(), User()
    site.web.send(request("OPTIONS", "sip:y@10.0.0.8", call_id="out"), site.hops(site.web, "sip:y@10.0.0.8"), out)
    site.run(0)
    assert phone.got[0].startswith(b"OPTIONS sip:y@10.0.0.8 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.3:5060;")
    phone.send(answer(phone.got[0], 200), WS)
    phone.send(raw(via="10.0.0.8:5060", branch="z9hG4bKu", call_id="u"), WS)
    site.run(0)
    respond(site.rec.requests[0], 200)
    flow = site.rec.flows[0]
    site.web.send(request("OPTIONS", "sip:x@a1b2.invalid;transport=ws", call_id="in"), site.hops(site.web, "sip:x@a1b2.invalid", flow=flow), back)
    site.run(0)
    client.send(answer(client.messages[1], 200))
    site.run(0)
    respond(site.rec.requests[1], 200)
    site.run(0)
    assert out.statuses == back.statuses == [200] and client.starts()[0] == "SIP/2.0 200 OK" and phone.starts()[1] == "SIP/2.0 200 OK"


def test_reliable_no_repetitions() -> None:
    site = Site()
    client = site.client()
    client.send(options())
    site.run(0)
    user = User()
    site.web.send(request("INVITE", "sip:x@a1b2.invalid"), site.hops(site.web, "sip:x@a1b2.invalid", flow=site.rec.flows[0]), user)
    site.run(20.0)
    assert len([m for m in client.messages if m.startswith(b"INVITE")]) == 1


# ------------------------------------------------------------------------------------------------------------------- session
def test_a_flood_is_noticed_early() -> None:
    for octets in (frame(PING) * 10_922, frame(PONG, b"x" * 125) * 490, frame(TEXT, b"", fin=False) + frame(CONT, b"", fin=False) * 10_000):
        session = WebSocketSession(RULES, 65_535)
        session.feed(opening())
        session.output()
        begun = time.process_time()
        assert session.feed(octets) == []
        assert time.process_time() - begun < 0.025
        assert session.ended and session.trouble.startswith("1008")


def test_a_flood_of_junk_does_not_stop_the_others() -> None:
    site = Site()
    client = site.client()
    junk = frame(TEXT, b"no SIP, but long enough.") * (65_536 // 30)
    begun = time.process_time()
    client.raw(junk)
    site.run(0)
    assert time.process_time() - begun < 0.5  # tens of milliseconds where nothing else runs
    client.send(options())
    site.run(0)
    assert client.starts() == ["SIP/2.0 200 OK"] and len(site.rec.bad) == 65_536 // 30


def test_endless_head_takes_no_memory() -> None:
    session = WebSocketSession(RULES, 65_535)
    session.feed(b"GET / HTTP/1.1\r\n")
    for _ in range(1000):
        session.feed(b"X: y\r\n" * 100)
    assert session.ended and b"HTTP/1.1 431 " in session.output() and not session.feed(b"more") and session.output() == b""


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 400), max_size=30), st.integers(1, 90))
def test_messages_survive_any_fragmentation_and_segmentation(bodies: list[bytes], cuts: list[int], piece: int) -> None:
    session = WebSocketSession(RULES, 65_535)
    octets = opening()
    wanted: list[object] = []
    for n, body in enumerate(bodies):
        parts = [body[i : i + piece] for i in range(0, len(body), piece)] or [b""]
        octets += b"".join(frame(BINARY if i == 0 else CONT, part, fin=i == len(parts) - 1) for i, part in enumerate(parts))
        if len(body) >= 24 and body.strip(b"\r\n\0 \t"):
            wanted.append(body)
        elif b"\r\n\r\n" in body and not body.strip(b"\r\n"):
            wanted.append(KEEPALIVE)
        if n % 2:
            octets += frame(PING, b"%d" % n)
    got: list[object] = []
    at = 0
    for cut in [*cuts, len(octets)]:
        got += session.feed(octets[at : at + cut])
        at += cut
    assert got == wanted and session.open and not session.partial and not session.trouble


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600), st.integers(1, 50), st.booleans())
def test_any_octets_are_taken(data: bytes, cut: int, greeted: bool) -> None:
    session = WebSocketSession(RULES, 65_535)
    octets = (opening() if greeted else b"GET /") + data
    for at in range(0, len(octets), cut):
        session.feed(octets[at : at + cut])
        assert isinstance(session.output(), bytes)
    assert session.ended or session.open or session.partial

"""Endpoint.resolve: which socket, which address, which Via and Contact."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from ngcpd.runtime.ports import DnsRecord, TlsServer
from ngcpd.sip.endpoint import Hop, NoRoute
from ngcpd.sip.flow import UdpFlow
from ngcpd.sip.uri import Uri
from tests.sip.moving import RawStream, User, Wire, World, answer, no_leaks, raw, request  # noqa: F401 - a fixture

TLS = TlsServer("cert.pem", "key.pem")


def world(*sockets: tuple[str, str, int]) -> World:
    made = World()
    for transport, host, port in sockets:
        made.a.listen(transport, (host, port), tls=TLS if transport == "tls" else None)
    return made


def resolve(w: World, uri: str, **kw: Any) -> list[Hop]:
    found = w.a.endpoint.resolve(Uri.parse(uri), **kw)
    assert isinstance(found, list)
    return found


def eventually(w: World, uri: str, **kw: Any) -> list[Hop] | str:
    out: list[Any] = []
    found = w.a.endpoint.resolve(Uri.parse(uri), **kw)
    assert isinstance(found, Deferred)
    found.addCallbacks(out.append, lambda f: out.append(str(f.value) if f.check(NoRoute) else f))
    w.run(1)
    result: list[Hop] | str = out[0]
    return result


def why(w: World, uri: str, **kw: Any) -> str:
    with pytest.raises(NoRoute) as caught:
        w.a.endpoint.resolve(Uri.parse(uri), **kw)
    return caught.value.reason


EVERYTHING = (
    ("udp", "10.0.0.1", 5060),
    ("tcp", "10.0.0.1", 5060),
    ("tls", "10.0.0.1", 5061),
    ("udp", "fd00::1", 5060),
    ("tcp", "fd00::1", 5062),
)


@pytest.mark.parametrize(
    ("uri", "via", "contact", "remote"),
    [
        ("sip:bob@10.9.9.9", "SIP/2.0/UDP 10.0.0.1:5060", "10.0.0.1:5060", ("10.9.9.9", 5060)),
        ("sip:bob@10.9.9.9:5080", "SIP/2.0/UDP 10.0.0.1:5060", "10.0.0.1:5060", ("10.9.9.9", 5080)),
        ("sip:bob@10.9.9.9;transport=TCP", "SIP/2.0/TCP 10.0.0.1:5060", "10.0.0.1:5060;transport=tcp", ("10.9.9.9", 5060)),
        ("sip:bob@10.9.9.9;transport=tls", "SIP/2.0/TLS 10.0.0.1:5061", "10.0.0.1:5061;transport=tls", ("10.9.9.9", 5061)),
        ("sips:bob@10.9.9.9", "SIP/2.0/TLS 10.0.0.1:5061", "10.0.0.1:5061;transport=tls", ("10.9.9.9", 5061)),
        ("sips:bob@10.9.9.9;transport=tcp", "SIP/2.0/TLS 10.0.0.1:5061", "10.0.0.1:5061;transport=tls", ("10.9.9.9", 5061)),
        ("sip:bob@[2001:db8::9]:5070", "SIP/2.0/UDP [fd00::1]:5060", "[fd00::1]:5060", ("2001:db8::9", 5070)),
        ("sip:bob@[2001:db8::9];transport=tcp", "SIP/2.0/TCP [fd00::1]:5062", "[fd00::1]:5062;transport=tcp", ("2001:db8::9", 5060)),
        ("sip:bob@far.example;maddr=10.8.8.8", "SIP/2.0/UDP 10.0.0.1:5060", "10.0.0.1:5060", ("10.8.8.8", 5060)),
    ],
)
def test_numeric_targets(uri: str, via: str, contact: str, remote: tuple[str, int]) -> None:
    w = world(*EVERYTHING)
    (hop,) = resolve(w, uri)
    assert (hop.via_prefix, hop.contact_host, hop.remote, hop.flow) == (via, contact, remote, None)
    assert hop.transport == hop.socket.transport == via.split("/")[2].split()[0].lower()


def test_advertised_host_stands_in_via_and_contact() -> None:
    w = World()
    sock = w.a.listen("udp", ("10.0.0.1", 5060), advertised="sip.example.com")
    six = w.a.listen("udp", ("fd00::1", 5060), advertised="2001:db8::77")
    (hop,) = resolve(w, "sip:x@10.9.9.9")
    assert hop.via_prefix == "SIP/2.0/UDP sip.example.com:5060" and hop.contact_host == sock.via_host == "sip.example.com:5060"
    assert sock.name == "udp:10.0.0.1:5060" and six.name == "udp:[fd00::1]:5060" and six.via_host == "[2001:db8::77]:5060"


def test_response_to_the_advertised_host_is_ours() -> None:
    w = World()
    w.a.listen("udp", ("10.0.0.1", 5060), advertised="SIP.Example.com")
    wire = Wire(w.net, ("10.0.0.9", 5060))
    user = User()
    w.a.send(request(), resolve(w, "sip:10.0.0.9"), user)
    w.run(0)
    wire.send(answer(wire.got[0], 200), ("10.0.0.1", 5060))
    w.run(0)
    assert user.statuses == [200]


def test_received_overrides_the_uri() -> None:
    w = world(*EVERYTHING)
    (hop,) = resolve(w, "sip:bob@192.168.1.5:5060", received=("10.7.7.7", 40000))
    assert hop.remote == ("10.7.7.7", 40000) and hop.transport == "udp"
    (hop,) = resolve(w, "sip:bob@unresolvable.invalid", received=("10.7.7.7", 40000), transport="tcp")
    assert hop.remote == ("10.7.7.7", 40000) and hop.transport == "tcp"
    (hop,) = resolve(w, "sip:bob@192.168.1.5", received=("fd00::9", 40000))
    assert hop.socket.family == 6
    assert w.net.questions == []


def test_flow_is_used_and_nothing_else() -> None:
    w = world(*EVERYTHING)
    flow = UdpFlow(w.a.transports.sockets[0], ("10.7.7.7", 1234))
    (hop,) = resolve(w, "sip:bob@far.example", flow=flow)
    assert hop.flow is flow and hop.remote == ("10.7.7.7", 1234) and hop.via_prefix == "SIP/2.0/UDP 10.0.0.1:5060"
    peer = RawStream()
    w.net.connect(("10.0.0.1", 5060), peer, bind="10.0.0.9")
    w.run(0)
    peer.stream.write(raw(transport="TCP"))
    w.run(0)
    tcp = w.ra.flows[0]
    (hop,) = resolve(w, "sip:bob@far.example", flow=tcp)
    assert hop.flow is tcp and hop.contact_host == "10.0.0.1:5060;transport=tcp" and hop.remote == peer.stream.local
    peer.stream.close()
    w.run(0)
    assert not tcp.alive
    assert why(w, "sip:bob@10.9.9.9", flow=tcp) == "the connection has ended"


def test_forced_socket_by_label_and_name() -> None:
    w = world(*EVERYTHING)
    w.a.listen("udp", ("10.0.0.1", 5090), label="carrier")
    w.a.listen("tcp", ("10.0.0.1", 5091), label="trunk")
    assert resolve(w, "sip:10.9.9.9")[0].socket.address[1] == 5060
    assert resolve(w, "sip:10.9.9.9", forced_socket="")[0].socket.address[1] == 5060
    assert resolve(w, "sip:10.9.9.9", forced_socket="carrier")[0].contact_host == "10.0.0.1:5090"
    (hop,) = resolve(w, "sip:10.9.9.9", forced_socket="trunk")  # the socket decides the transport when the URI does not
    assert hop.via_prefix == "SIP/2.0/TCP 10.0.0.1:5091"
    assert resolve(w, "sip:10.9.9.9", forced_socket="udp:10.0.0.1:5060")[0].socket.name == "udp:10.0.0.1:5060"
    assert why(w, "sip:10.9.9.9;transport=tcp", forced_socket="carrier") == "the forced socket has another transport or family"
    assert why(w, "sip:[fd00::9]", forced_socket="carrier") == "the forced socket has another transport or family"
    assert why(w, "sip:10.9.9.9", forced_socket="gone") == "no such socket"


def test_only_labelled_sockets_are_no_default() -> None:
    w = World()
    w.a.listen("udp", ("10.0.0.1", 5090), label="carrier")
    assert why(w, "sip:10.9.9.9") == "no udp socket for IPv4"


def test_loopback_socket_for_loopback_destinations() -> None:
    w = World()
    stack = w.stack(("127.0.0.1", "10.0.0.3"))
    stack.listen("udp", ("127.0.0.1", 5060))
    stack.listen("udp", ("10.0.0.3", 5060))

    def socket_to(host: str) -> str:
        found = stack.endpoint.resolve(Uri.parse(f"sip:{host}"))
        assert isinstance(found, list)
        return found[0].socket.address[0]

    assert socket_to("127.0.0.9") == "127.0.0.1" and socket_to("10.9.9.9") == "10.0.0.3"


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("tel:+4312345", "not a sip: or sips: URI"),
        ("sip:10.9.9.9;transport=sctp", "unsupported transport"),
        ("sip:10.9.9.9;transport=ws", "a WebSocket client is reached over its own connection only"),
        ("sip:10.9.9.9;transport=wss", "a WebSocket client is reached over its own connection only"),
        ("sips:10.9.9.9;transport=udp", "sips: needs TLS"),
        ("sip:[2001:db8::1];transport=tls", "no tls socket for IPv6"),
        ("sip:10.9.9.9:0", "no such port"),
    ],
)
def test_no_route(uri: str, reason: str) -> None:
    w = world(*EVERYTHING)
    if uri.endswith(":0"):
        with pytest.raises((NoRoute, ValueError)):
            w.a.endpoint.resolve(Uri.parse(uri))
        return
    assert why(w, uri) == reason


def test_names_by_dns_in_fail_over_order_then_from_the_cache() -> None:
    w = world(*EVERYTHING)
    w.net.add("_sip._udp.far.example", DnsRecord("SRV", "s1.far.example", 60, 1, 0, 5070), DnsRecord("SRV", "s2.far.example", 60, 2, 0, 5071))
    w.net.add("s1.far.example", DnsRecord("A", "10.3.3.1", 60), DnsRecord("AAAA", "2001:db8::31", 60))
    w.net.add("s2.far.example", DnsRecord("A", "10.3.3.2", 60))
    found = eventually(w, "sip:bob@far.example")
    assert [(h.remote, h.via_prefix) for h in found if isinstance(h, Hop)] == [
        (("10.3.3.1", 5070), "SIP/2.0/UDP 10.0.0.1:5060"),
        (("2001:db8::31", 5070), "SIP/2.0/UDP [fd00::1]:5060"),
        (("10.3.3.2", 5071), "SIP/2.0/UDP 10.0.0.1:5060"),
    ]
    assert len(resolve(w, "sip:bob@far.example")) == 3


def test_names_that_do_not_resolve() -> None:
    w = world(*EVERYTHING)
    assert eventually(w, "sip:bob@nowhere.example") == "DNS: no address for nowhere.example"
    assert why(w, "sip:bob@nowhere.example") == "DNS: no address for nowhere.example"


def test_tls_hop_knows_the_name_to_verify() -> None:
    w = world(*EVERYTHING)
    w.net.add("far.example", DnsRecord("A", "10.3.3.1", 60))
    found = eventually(w, "sips:bob@far.example")
    assert isinstance(found, list) and found[0].tls_name == "far.example" and found[0].remote == ("10.3.3.1", 5061)


def test_forced_socket_limits_the_dns_answers() -> None:
    w = world(*EVERYTHING)
    w.net.add("far.example", DnsRecord("A", "10.3.3.1", 60), DnsRecord("AAAA", "2001:db8::31", 60))
    found = eventually(w, "sip:bob@far.example:5060", forced_socket="udp:[fd00::1]:5060")
    assert [h.remote[0] for h in found if isinstance(h, Hop)] == ["2001:db8::31"]


def test_what_is_remembered_of_a_numeric_address_is_the_way_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    w = world(("udp", "10.0.0.1", 5060), ("udp", "10.0.0.1", 5062), ("tcp", "10.0.0.1", 5060))
    monkeypatch.setattr(type(w.a.endpoint), "KEPT", 4)
    ways = [
        ("sip:b@10.9.9.9", {}, ("udp", 5060, "10.9.9.9", 5060)),
        ("sip:b@10.9.9.9;transport=tcp", {}, ("tcp", 5060, "10.9.9.9", 5060)),
        ("sip:b@10.9.9.9", {"transport": "tcp"}, ("tcp", 5060, "10.9.9.9", 5060)),
        ("sip:b@10.9.9.9:5070", {}, ("udp", 5060, "10.9.9.9", 5070)),
        ("sip:b@10.9.9.9", {"forced_socket": "udp:10.0.0.1:5062"}, ("udp", 5062, "10.9.9.9", 5060)),
        ("sip:b@10.9.9.9", {"received": ("10.7.7.7", 1024)}, ("udp", 5060, "10.7.7.7", 1024)),
        ("sip:b@10.9.9.9;maddr=10.6.6.6", {}, ("udp", 5060, "10.6.6.6", 5060)),
        ("sip:b@10.6.6.6", {}, ("udp", 5060, "10.6.6.6", 5060)),
    ]
    for _ in range(3):
        for uri, how, (transport, socket, host, port) in ways:
            (hop,) = resolve(w, uri, **how)
            assert (hop.transport, hop.socket.address[1], hop.remote) == (transport, socket, (host, port)), (uri, how)
        assert why(w, "sip:b@10.9.9.9:5070;transport=ws") and why(w, "sips:b@10.9.9.9") and why(w, "sip:b@[2001:db8::9]")
    first = resolve(w, "sip:b@10.9.9.9")
    first.clear()
    assert len(resolve(w, "sip:b@10.9.9.9")) == 1, "each caller has its own list"


def test_a_socket_that_comes_later_is_used() -> None:
    w = world(("udp", "10.0.0.1", 5060))
    for _ in range(2):
        assert resolve(w, "sip:b@127.0.0.9")[0].socket.address[0] == "10.0.0.1"
    w.a.transports.net.addresses += ("127.0.0.1",)  # type: ignore[attr-defined]
    w.a.listen("udp", ("127.0.0.1", 5060))
    assert resolve(w, "sip:b@127.0.0.9")[0].socket.address[0] == "127.0.0.1"

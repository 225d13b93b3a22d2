"""The edge on the wire: call processing 1.3-1.6, 4.2, 5.3."""

from __future__ import annotations

import io

import pytest

from ngcpd.edge.internal import is_internal
from ngcpd.edge.nat import NatTest
from ngcpd.edge.settings import EdgeSettings
from ngcpd.runtime import log as runtime_log
from tests.registrar.world import Device, Reply, World

SDP = b"v=0\r\n"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def phone(world: World) -> Device:
    return Device(world, ("10.0.1.3", 5060))


class Bans:
    def __init__(self) -> None:
        self.ips: set[str] = set()
        self.accounts: set[tuple[str, str]] = set()

    def source(self, ip: str, transport: str) -> bool:
        return ip in self.ips

    def account(self, user: str, domain: str) -> bool:
        return (user, domain) in self.accounts


# ----------------------------------------------------------------------------------------------------------- keepalive bytes
@pytest.mark.parametrize("data", [b"\r\n", b"\r\n\r\n", b"\0", b"\0\0\0\0", b"", b"jaK", b"hello"])
def test_keepalive_bytes_are_ignored(world: World, phone: Device, data: bytes) -> None:
    phone.raw(data)
    world.run(1)
    assert phone.inbox == [] and world.edge.counters["malformed"] == 0


def test_double_crlf_over_tcp_is_answered(world: World) -> None:
    phone = Device(world, ("10.0.1.3", 5060), tcp=True)
    got: list[bytes] = []
    phone.received = got.append  # type: ignore[method-assign,assignment]
    phone.raw(b"\r\n\r\n")
    world.run(1)
    assert got == [b"\r\n"]


# ---------------------------------------------------------------------------------------------------------------------- bans
def test_banned_source_hears_nothing() -> None:
    bans = Bans()
    world = World(bans=bans)
    phone = Device(world, ("10.0.1.3", 5060))
    assert phone.request("OPTIONS", "sip:spce.test").status == 200
    bans.ips.add("10.0.1.3")
    with pytest.raises(AssertionError):
        phone.request("OPTIONS", "sip:spce.test")
    assert world.edge.counters["banned"] >= 1


def test_banned_account_is_refused_unseen() -> None:
    bans = Bans()
    world = World(bans=bans)
    phone = Device(world, ("10.0.1.3", 5060))
    assert phone.register().status == 200
    bans.accounts.add(("testuser1003", "spce.test"))
    results = list(world.results)
    answer = phone.register()
    assert (answer.status, answer.reason) == (403, "Try again later")
    assert world.results == results, "the core was not asked"


# -------------------------------------------------------------------------------------------------------------- Max-Forwards
def test_max_forwards(world: World, phone: Device) -> None:
    assert phone.request("INVITE", "sip:4311@spce.test", "Max-Forwards: 0", to="<sip:x@spce.test>").status == 483
    assert phone.request("REGISTER", "sip:spce.test", "Max-Forwards: 0").status == 483
    assert phone.request("OPTIONS", "sip:someone@spce.test", "Max-Forwards: 0").status == 483
    assert phone.request("OPTIONS", "sip:spce.test", "Max-Forwards: 0").status == 200
    assert world.calls.invites == []
    for value in ("256", "-1", "x", "99999999999999999999"):
        assert phone.request("INVITE", "sip:4311@spce.test", f"Max-Forwards: {value}").status == 400


def test_absent_max_forwards_is_added(world: World, phone: Device) -> None:
    via = f"Via: SIP/2.0/UDP {phone.host_port};branch=z9hG4bKnomf"
    phone.text(f"INVITE sip:4311@spce.test SIP/2.0\n{via}\nFrom: <sip:a@spce.test>;tag=1\nTo: <sip:b@spce.test>\nCall-ID: nomf\nCSeq: 1 INVITE")
    world.run(1)
    assert world.calls.invites[0][0].max_forwards == 70


# -------------------------------------------------------------------------------------------------------------------- sanity
@pytest.mark.parametrize(
    ("method", "uri", "field", "status", "reason"),
    [
        ("INVITE", "sip:a@spce.test", "Contact: <sip:a@b", 400, "Bad Contact Header"),
        ("INVITE", "sip:a@spce.test", 'Proxy-Authorization: Digest username="x', 400, "Bad Auth Header"),
        ("INVITE", "mailto:a@spce.test", "X: y", 416, "Unsupported URI Scheme"),
        ("OPTIONS", "soap.beep://192.0.2.103:3002", "X: y", 416, "Unsupported URI Scheme"),
        ("INVITE", "sip:a@spce.test?Route=%3Csip:b%3E", "X: y", 400, "Bad Request-URI"),
        ("INVITE", "sip:a@spce.test", "Route: <sip:", 400, "Bad Route Header"),
    ],
)
def test_sanity(world: World, phone: Device, method: str, uri: str, field: str, status: int, reason: str) -> None:
    answer = phone.request(method, uri, field)
    assert (answer.status, answer.reason) == (status, reason)
    assert world.calls.invites == [] and world.edge.counters["malformed"] == 1


def test_invalid_parties(world: World, phone: Device) -> None:
    answer = phone.request("INVITE", "sip:a@spce.test", from_='"unbalanced <sip:a@b>;tag=1')
    assert (answer.status, answer.reason) == (400, "Invalid From Header")
    answer = phone.request("INVITE", "sip:a@spce.test", to='"unbalanced <sip:a@b>')
    assert (answer.status, answer.reason) == (400, "Invalid To Header")


def test_version(world: World, phone: Device) -> None:
    via = f"Via: SIP/2.0/UDP {phone.host_port};branch=z9hG4bKv"
    phone.text(f"OPTIONS sip:spce.test SIP/7.0\n{via}\nFrom: <sip:a@b>;tag=1\nTo: <sip:a@b>\nCall-ID: v\nCSeq: 1 OPTIONS")
    world.run(1)
    assert [m.status for m in phone.inbox] == [505]
    assert world.edge.counters["malformed"] == 1


def test_one_line_per_source_and_minute(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(runtime_log.sink, "write", out.write)
    monkeypatch.setattr(runtime_log.sink, "clock", world.clock)
    monkeypatch.setattr(runtime_log.sink, "_seen", {})
    for port in (5060, 5070):
        device = Device(world, ("10.0.1.3", port))
        for _ in range(20):
            device.raw(b"this is not SIP at all, but long enough to be read\r\n\r\n")
    world.run(1)
    assert world.edge.counters["malformed"] == 40
    assert len([line for line in out.getvalue().splitlines() if "malformed message" in line]) == 1
    world.run(60)
    Device(world, ("10.0.1.4", 5060)).raw(b"this is not SIP at all, but long enough to be read\r\n\r\n")
    device.raw(b"this is not SIP at all, but long enough to be read\r\n\r\n")
    world.run(1)
    lines = [line for line in out.getvalue().splitlines() if "malformed message" in line]
    assert len(lines) == 3 and "times=40" in lines[2]


# ---------------------------------------------------------------------------------------------------------------------- T15
def test_internal_fields_are_dropped(world: World, phone: Device) -> None:
    forged = [
        "P-NGCP-Src-Ip: 1.2.3.4",
        "p-ngcp-authorized : 1",
        "P-App-Param: x",
        "P-Caller-UUID: 0",
        "P-CALLEE-UUID: 0",
        "P-Called-Party-ID: <sip:x@y>",
        "P-First-Caller-UPN: 43",
        "P-Acc-State: cfu",
        "P-D-Uri: sip:evil",
        "P-R-Uri: sip:evil",
        "P-Out-Socket: udp:x",
        "P-Sock-Info: x",
        "P-From-Peer: 1",
        "P-CF-Depth: 1",
        "P-Callee-Account-ID: 1",
        "P-Language: de",
        "P-Prepaid: yes",
    ]
    phone.request("INVITE", "sip:4311@spce.test", *forged, "P-Asserted-Identity: <sip:4311003@spce.test>", "P-Early-Media: sendrecv", "X-P-NGCP-Y: 1")
    request = world.calls.invites[0][0]
    kept = {name for name, _ in request.fields}
    assert not {n for n in kept if is_internal(n)}
    assert {"P-Asserted-Identity", "P-Early-Media"} <= kept
    assert request.first("P-NGCP-Src-Ip") is None and request.first("P-Caller-UUID") is None


# ----------------------------------------------------------------------------------------------------------------------- NAT
@pytest.mark.parametrize(
    ("via", "contact", "nat"),
    [
        ("10.0.1.3:5060", "<sip:a@10.0.1.3:5060>", False),
        ("10.0.1.3", "<sip:a@203.0.113.5>", False),
        ("10.0.1.3:5061", "<sip:a@10.0.1.3:5061>", True),
        ("192.168.1.2:5060", "<sip:a@192.168.1.2>", True),
        ("host.example.com:5060", "<sip:a@10.0.1.3>", True),
        ("10.0.1.3:5060", "<sip:a@192.168.3.4>", True),
        ("10.0.1.3:5060", "<sip:a@172.31.3.4>", True),
        ("10.0.1.3:5060", "<sip:a@172.32.3.4>", False),
        ("10.0.1.3:5060", "<sip:a@host.example.com>", False),
    ],
)
def test_nat_test(world: World, phone: Device, via: str, contact: str, nat: bool) -> None:
    phone.request("INVITE", "sip:4311@spce.test", f"Contact: {contact}", via=f"SIP/2.0/UDP {via};branch=z9hG4bKnat;rport")
    source = world.calls.invites[0][1]
    assert source.nat is nat
    assert (source.ip, source.port, source.transport, source.socket, source.family) == ("10.0.1.3", 5060, "udp", "udp:10.0.0.1:5060", 4)


def test_nat_port_of_a_connection_says_nothing(world: World) -> None:
    phone = Device(world, ("10.0.1.3", 5060), tcp=True)
    phone.request("INVITE", "sip:4311@spce.test", "Contact: <sip:a@10.0.1.3:5060;transport=tcp>")
    phone.request("INVITE", "sip:4311@spce.test", "Contact: <sip:a@10.0.1.3>", via="SIP/2.0/TCP 192.168.9.9;branch=z9hG4bKother")
    assert [s.nat for _, s in world.calls.invites] == [False, True]


def test_nat_exceptions() -> None:
    world = World(edge=EdgeSettings(nattest_exception_ips=("10.0.1.0/24", "fd00::/8")))
    Device(world, ("10.0.1.3", 5060)).request("INVITE", "sip:4311@spce.test", "Contact: <sip:a@192.168.3.4>")
    Device(world, ("10.0.2.3", 5060)).request("INVITE", "sip:4311@spce.test", "Contact: <sip:a@192.168.3.4>")
    assert [s.nat for _, s in world.calls.invites] == [False, True]
    with pytest.raises(ValueError):
        NatTest(["nonsense"])


# ----------------------------------------------------------------------------------------------------------- default deny
@pytest.mark.parametrize("method", ["MESSAGE", "SUBSCRIBE", "PUBLISH", "REFER", "INFO", "NEWMETHOD", "invite", "ACKK"])
@pytest.mark.parametrize("from_", ["<sip:testuser1003@spce.test>;tag=1", "<sip:x@foreign.test>;tag=1"])
def test_not_served_to_anybody(world: World, phone: Device, method: str, from_: str) -> None:
    answer = phone.request(method, "sip:testuser1003@spce.test", from_=from_)
    assert answer.status == 405
    assert {"INVITE", "REGISTER", "OPTIONS", "BYE"} <= set(answer.get("allow").split(", "))
    assert "REFER" not in answer.get("allow")
    assert world.calls.invites == world.calls.inside == []


@pytest.mark.parametrize("method", ["BYE", "PRACK", "UPDATE", "NOTIFY"])
def test_dialog_methods_without_a_dialog(phone: Device, method: str) -> None:
    assert phone.request(method, "sip:testuser1003@spce.test").status == 481


@pytest.mark.parametrize("method", ["INVITE", "BYE", "INFO", "MESSAGE", "REFER", "OPTIONS", "UPDATE", "SUBSCRIBE", "NEWMETHOD"])
def test_unknown_and_known_dialogs(world: World, phone: Device, method: str) -> None:
    assert phone.request(method, "sip:ngcp@10.0.0.1", to="<sip:x@spce.test>;tag=unknown").status == 481
    world.calls.known.add("known")
    assert phone.request(method, "sip:ngcp@10.0.0.1", "Route: <sip:10.0.0.1;lr>", to="<sip:x@spce.test>;tag=known").status == 200
    assert world.calls.inside[0].method == method and "Route" not in world.calls.inside[0]
    assert world.calls.invites == []


def test_cancel_of_nothing(phone: Device) -> None:
    assert phone.request("CANCEL", "sip:x@spce.test").status == 481


def test_ack_goes_to_the_calls_without_forged_fields(world: World, phone: Device) -> None:
    for branch, from_ in (("z9hG4bKack", "<sip:a@b>"), ("z9hG4bKac2", "<sip:a")):
        via = f"Via: SIP/2.0/UDP {phone.host_port};branch={branch}"
        phone.text(
            f"ACK sip:x@10.0.0.1 SIP/2.0\n{via}\nFrom: {from_};tag=1\nTo: <sip:a@b>;tag=2\nCall-ID: a\nCSeq: 1 ACK\nP-Caller-UUID: x"
        )
    world.run(1)
    assert phone.inbox == [], "an ACK is never answered"
    assert [r.first("P-Caller-UUID") for r in world.calls.acks] == [None]


# -------------------------------------------------------------------------------------------------------------------- OPTIONS
@pytest.mark.parametrize("uri", ["sip:spce.test", "sip:SPCE.test:5060", "sip:10.0.0.1", "sip:10.0.0.1:5060;transport=udp"])
def test_options_to_the_platform(phone: Device, uri: str) -> None:
    answer = phone.request("OPTIONS", uri)
    assert answer.status == 200
    assert answer.get("allow") and answer.get("accept") == "application/sdp" and answer.get("server") == "ngcpd"
    assert {"100rel", "timer"} <= set(answer.get("supported").split(", "))


@pytest.mark.parametrize("uri", ["sip:testuser1003@spce.test", "sip:nobody@spce.test", "sip:foreign.test", "sip:10.0.0.1:5099", "tel:+431"])
def test_options_tells_nothing_of_users(phone: Device, uri: str) -> None:
    answer = phone.request("OPTIONS", uri)
    assert (answer.status, answer.get("allow"), answer.get("contact")) == (404, "", "")


# -------------------------------------------------------------------------------------------------------------------- Require
@pytest.mark.parametrize("field", ["Require: foo, 100rel", "Proxy-Require: foo", "Require: 100rel\nProxy-Require: privacy, foo"])
@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "REGISTER"])
def test_unknown_extension(world: World, phone: Device, method: str, field: str) -> None:
    answer = phone.request(method, "sip:spce.test", *field.split("\n"))
    assert (answer.status, answer.reason, answer.get("unsupported")) == (420, "Bad Extension", "foo")
    assert world.calls.invites == []


def test_known_extensions_pass(world: World, phone: Device) -> None:
    phone.request("INVITE", "sip:4311@spce.test", "Require: 100rel, Timer, precondition", "Proxy-Require: privacy")
    assert len(world.calls.invites) == 1
    for tag in ("replaces", "gruu", "sec-agree", "resource-priority"):
        assert phone.request("INVITE", "sip:4311@spce.test", f"Require: {tag}").status == 420


# ---------------------------------------------------------------------------------------------------------------------- Route
@pytest.mark.parametrize("route", ["<sip:10.0.0.1;lr>", "<sip:10.0.0.1:5060;transport=tcp;lr>", "<sip:spce.test;lr>, <sip:10.0.0.1:5060;lr>"])
def test_own_route_is_taken_out(world: World, phone: Device, route: str) -> None:
    phone.request("INVITE", "sip:4311@spce.test", f"Route: {route}")
    assert "Route" not in world.calls.invites[0][0]


@pytest.mark.parametrize(
    "route", ["<sip:evil.test;lr>", "<sip:10.0.0.1;lr>, <sip:evil.test;lr>", "<sip:10.0.0.1:5099;lr>", "<sip:spce.test:5099;lr>"]
)
@pytest.mark.parametrize("method", ["INVITE", "REGISTER", "OPTIONS"])
def test_preloaded_route_is_refused(world: World, phone: Device, method: str, route: str) -> None:
    answer = phone.request(method, "sip:4311@spce.test", f"Route: {route}")
    assert (answer.status, answer.reason) == (403, "Preload Route denied")
    assert world.calls.invites == []


# -------------------------------------------------------------------------------------------------------------------- trouble
def test_a_fault_above_is_one_500(world: World, phone: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(runtime_log.sink, "write", out.write)
    world.calls.fail = KeyError("secret detail")
    answer = phone.request("INVITE", "sip:4311@spce.test")
    assert answer.status == 500 and "secret" not in str(answer)
    assert "secret detail" in out.getvalue()
    world.calls.fail = None
    assert phone.request("INVITE", "sip:4311@spce.test").status == 480


def test_stream_that_is_no_sip_is_closed(world: World) -> None:
    phone = Device(world, ("10.0.1.3", 5060), tcp=True)
    phone.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
    phone.raw(b"OPTIONS sip:spce.test SIP/2.0\r\nContent-Length: -1\r\n\r\n")
    world.run(40)
    assert phone.lost and world.edge.counters["malformed"] >= 1


def test_every_prefix_of_a_register_is_survived(world: World, phone: Device) -> None:
    whole = (
        b"REGISTER sip:spce.test SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.1.3:5060;branch=z9hG4bKpre;rport\r\nMax-Forwards: 70\r\n"
        b'From: "x" <sip:a@spce.test>;tag=1\r\nTo: <sip:a@spce.test>\r\nCall-ID: pre\r\nCSeq: 1 REGISTER\r\n'
        b'Contact: "y" <sip:a@10.0.1.3;ob>;q=0.5;expires=60\r\n'
        b'Authorization: Digest username="a", realm="spce.test", nonce="b", uri="c", response="00"\r\n'
        b"Content-Length: 0\r\n\r\n"
    )
    for end in range(len(whole)):
        phone.raw(whole[:end])
        world.run(0.01)
    world.run(1)
    assert world.stack.counters()["errors"] == 0
    assert {m.status for m in phone.inbox if isinstance(m, Reply)} <= {400, 401, 505}
    assert world.location.table.count == 0

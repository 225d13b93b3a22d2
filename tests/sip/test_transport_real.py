"""The stack on real sockets of the loopback interface: UDP, TCP, TLS, IPv4 and IPv6."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from ngcpd.runtime.ports import Address, TlsServer
from ngcpd.runtime.real import ReactorClock, ReactorNet, SystemRng
from ngcpd.sip.flow import Limits
from ngcpd.sip.message import Response, parse_message, reply
from ngcpd.sip.server import ServerTransaction
from ngcpd.sip.stack import ClientTransaction, Stack
from ngcpd.sip.transaction import Timers
from ngcpd.sip.uri import Uri
from tests.runtime.certificates import make_certificate
from tests.sip.moving import Recorder, raw, request

FAST = Timers(t1=0.1, t2=0.4, t4=0.1, linger=0.2, completed=0.2)


class Outcome:
    """A user that waits for the final outcome."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.done: Deferred[int | str] = Deferred()

    def response(self, tx: ClientTransaction, response: Response) -> None:
        self.statuses.append(response.status)
        if response.status >= 200 and not self.done.called:
            self.done.callback(response.status)

    def failed(self, tx: ClientTransaction, kind: str) -> None:
        self.done.callback(kind)


class Site:
    """One stack with all its sockets on ephemeral ports."""

    def __init__(self, tls: TlsServer | None = None, limits: Limits | None = None, hosts: tuple[str, ...] = ("127.0.0.1", "::1")) -> None:
        self.net = ReactorNet(reactor)
        self.stack = Stack(ReactorClock(reactor), SystemRng(), self.net, FAST, limits=limits)
        self.handler = Recorder(self.stack)
        self.handler.answer = self.answer
        self.stack.handler = self.handler
        self.where: dict[tuple[str, int], Address] = {}
        for host in hosts:
            for transport in ("udp", "tcp") + (("tls",) if tls else ()):
                sock = self.stack.listen(transport, (host, 0), tls=tls if transport == "tls" else None)
                self.where[(transport, sock.family)] = sock.address

    def answer(self, tx: ServerTransaction) -> None:
        tx.respond(reply(tx.request, 486 if tx.invite else 200, to_tag="t1"))

    def uri(self, transport: str, family: int) -> str:
        host, port = self.where[(transport, family)]
        return f"sip:bob@{'[' + host + ']' if family == 6 else host}:{port};transport={transport}"

    async def close(self) -> None:
        for flow in list(self.stack.transports.flows.values()):
            flow.close()
        for _ in range(400):
            counters = self.stack.counters()
            gauges = ("invite_server", "server", "invite_client", "client", "flows", "timers")
            if not any(counters[name] for name in gauges) and not self.net.streams:
                break
            await deferLater(reactor, 0.02, lambda: None)
        else:
            raise AssertionError({name: counters[name] for name in gauges})
        assert counters["errors"] == 0
        self.stack.close()
        assert self.stack.wheel._timer is None


def peer(address: Address) -> socket.socket:
    sock = socket.create_connection(address)
    sock.setblocking(False)
    return sock


async def read(sock: socket.socket, until: bytes | None = None, count: int = 1) -> bytes:
    """Read without blocking the reactor: until `count` ends of headers (or `until`), or the end of the stream."""
    data = b""
    for _ in range(1000):
        try:
            more = sock.recv(65_536)
            if not more:
                return data
            data += more
        except BlockingIOError:
            await deferLater(reactor, 0.01, lambda: None)
        if (until is not None and until in data) or (until is None and data.count(b"\r\n\r\n") >= count):
            return data
    raise AssertionError(f"nothing more came after {data!r}")


ALL = [("udp", 4), ("udp", 6), ("tcp", 4), ("tcp", 6), ("tls", 4), ("tls", 6)]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> TlsServer:
    return make_certificate(Path(tmp_path_factory.mktemp("tls")))


@pytest.mark.parametrize(("transport", "family"), ALL)
@pytest_twisted.ensureDeferred
async def test_request_and_answer(certificate: TlsServer, transport: str, family: int) -> None:
    here, there = Site(certificate), Site(certificate)
    for method, expected in (("OPTIONS", 200), ("INVITE", 486)):
        user = Outcome()
        hops = here.stack.endpoint.resolve(Uri.parse(there.uri(transport, family)))
        assert isinstance(hops, list)
        here.stack.send(request(method, call_id=method), hops, user)
        assert (await user.done) == expected
    flow = there.handler.flows[0]
    assert (flow.transport, flow.family, flow.secure) == (transport, family, transport == "tls")
    assert flow.local[1] == there.where[(transport, family)][1]
    if transport == "udp":
        assert flow.remote == here.where[(transport, family)] and flow.id == 0
    else:
        assert flow.remote[0] == here.where[(transport, family)][0] and flow.id > 0 and there.stack.counters()["flows"] == 1
    await here.close()
    await there.close()


@pytest_twisted.ensureDeferred
async def test_many_datagrams() -> None:
    here, there = Site(), Site()
    hops = here.stack.endpoint.resolve(Uri.parse(there.uri("udp", 4)))
    assert isinstance(hops, list)
    users = [Outcome() for _ in range(300)]
    for n, user in enumerate(users):
        here.stack.send(request(call_id=f"c{n}"), hops, user)
    for user in users:
        assert (await user.done) == 200
    assert len(there.handler.requests) == 300
    await here.close()
    await there.close()


@pytest_twisted.ensureDeferred
async def test_partial_reads_and_pipelining() -> None:
    site = Site()
    sock = peer(site.where[("tcp", 4)])
    data = b"\r\n\r\n" + b"".join(raw(transport="TCP", branch=f"z9hG4bK{n}", call_id=f"c{n}") for n in range(3))
    for start in range(0, len(data), 97):
        sock.send(data[start : start + 97])
        await deferLater(reactor, 0.002, lambda: None)
    got = await read(sock, count=3)
    assert got.startswith(b"\r\nSIP/2.0 200 OK") and got.count(b"SIP/2.0 200 OK") == 3
    sock.close()
    await site.close()


@pytest_twisted.ensureDeferred
async def test_half_closed_peer_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ngcpd.runtime.real_net.HALF_CLOSED_SECONDS", 0.5)
    site = Site()
    site.handler.answer = lambda tx: reactor.callLater(0.1, site.answer, tx)  # type: ignore[attr-defined]
    sock = peer(site.where[("tcp", 4)])
    sock.send(raw(transport="TCP"))
    sock.shutdown(socket.SHUT_WR)
    got = await read(sock)
    assert got.startswith(b"SIP/2.0 200 OK")
    assert await read(sock) == b""
    sock.close()
    await site.close()


@pytest_twisted.ensureDeferred
async def test_peer_that_does_not_read_is_cut() -> None:
    site = Site(limits=Limits(write_buffer=100_000))
    sock = peer(site.where[("tcp", 4)])
    sock.send(raw(transport="TCP"))
    await read(sock)
    flow = site.handler.flows[0]
    ended: Deferred[Any] = Deferred()
    flow.watch(ended.callback)
    sent = 0
    while flow.send(b"x" * 50_000):
        sent += 1
        assert sent < 2000
        await deferLater(reactor, 0, lambda: None)
    await ended
    assert not flow.alive and site.stack.counters()["flows"] == 0
    sock.close()
    await site.close()


@pytest_twisted.ensureDeferred
async def test_slow_loris_and_silence() -> None:
    site = Site(limits=Limits(incomplete=0.2, first_message=0.4))
    slow, silent = peer(site.where[("tcp", 4)]), peer(site.where[("tcp", 4)])
    slow.send(raw(transport="TCP") + b"OPTIONS sip:x")
    assert (await read(slow, until=b"never")).startswith(b"SIP/2.0 200")  # to the end of the stream
    assert await read(silent) == b""
    slow.close()
    silent.close()
    await site.close()


@pytest_twisted.ensureDeferred
async def test_framing_error_closes() -> None:
    site = Site()
    sock = peer(site.where[("tcp", 4)])
    sock.send(raw(transport="TCP").replace(b"Content-Length: 0", b"Content-Length: 99999999999"))
    got = await read(sock, until=b"never")
    assert got.startswith(b"SIP/2.0 400") and site.stack.counters()["malformed"] == 1
    sock.close()
    await site.close()


@pytest_twisted.ensureDeferred
async def test_refused_and_unreachable() -> None:
    site = Site()
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    for uri, expected in ((f"sip:127.0.0.1:{port};transport=tcp", "transport"), (f"sip:127.0.0.1:{port}", "timeout")):
        user = Outcome()
        hops = site.stack.endpoint.resolve(Uri.parse(uri))
        assert isinstance(hops, list)
        site.stack.send(request(), hops, user, first_reply=0.5)
        assert (await user.done) == expected
    await site.close()


@pytest_twisted.ensureDeferred
async def test_fail_over_from_a_dead_tcp_port_to_udp() -> None:
    here, there = Site(), Site()
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    hops = []
    for uri in (f"sip:127.0.0.1:{port};transport=tcp", there.uri("udp", 4)):
        found = here.stack.endpoint.resolve(Uri.parse(uri))
        assert isinstance(found, list)
        hops += found
    user = Outcome()
    tx = here.stack.send(request(), hops, user)
    assert (await user.done) == 200 and tx.hop is hops[1]
    await here.close()
    await there.close()


def test_port_in_use_names_the_address_and_leaves_nothing() -> None:
    site = Site()
    for transport in ("udp", "tcp"):
        address = site.where[(transport, 4)]
        with pytest.raises(OSError) as caught:
            site.stack.listen(transport, address)
        assert caught.value.errno == errno.EADDRINUSE and f"127.0.0.1:{address[1]}" in str(caught.value)
    assert len(site.stack.transports.sockets) == 4
    with pytest.raises(OSError, match=r"/no/such\.key"):
        site.stack.listen("tls", ("127.0.0.1", 0), tls=TlsServer("/no/such.pem", "/no/such.key"))
    site.stack.close()


@pytest_twisted.ensureDeferred
async def test_datagram_from_another_socket_is_answered_there_by_rport() -> None:
    site = Site()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.9", 0))
    sock.setblocking(False)
    sock.sendto(raw(via="192.0.2.7:5060", rport=True), site.where[("udp", 4)])
    got = await read(sock)
    via = parse_message(got).via
    assert via.received == "127.0.0.9" and via.rport == sock.getsockname()[1]
    sock.close()
    await site.close()

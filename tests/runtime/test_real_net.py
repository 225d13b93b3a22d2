"""ReactorNet on loopback: datagrams, streams, TLS, DNS."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.names import dns, server
from twisted.names.authority import FileAuthority
from twisted.names.common import ResolverBase

from ngcpd.runtime.ports import Address, DnsRecord, TlsClient, TlsServer
from ngcpd.runtime.real import ReactorNet
from ngcpd.runtime.real_dns import ReactorDns
from tests.runtime.certificates import make_certificate

V4, V6 = "127.0.0.1", "::1"


class End:
    """A stream handler with Deferreds for its events."""

    def __init__(self) -> None:
        self.stream: Any = None
        self.data = b""
        self.reason = ""
        self.up: Deferred[Any] = Deferred()
        self.down: Deferred[str] = Deferred()
        self.waiting: list[tuple[int, Deferred[bytes]]] = []

    def opened(self, stream: Any) -> None:
        self.stream = stream
        self.up.callback(stream)

    def received(self, data: bytes) -> None:
        self.data += data
        self._check()

    def closed(self, reason: str) -> None:
        assert not self.down.called
        self.reason = reason
        self.down.callback(reason)

    def until(self, size: int) -> Deferred[bytes]:
        done: Deferred[bytes] = Deferred()
        self.waiting.append((size, done))
        self._check()
        return done

    def _check(self) -> None:
        for size, done in list(self.waiting):
            if len(self.data) >= size:
                self.waiting.remove((size, done))
                done.callback(self.data)


class Got:
    """Collects datagrams."""

    def __init__(self) -> None:
        self.all: list[tuple[bytes, Address]] = []
        self._wanted = 0
        self._done: Deferred[None] | None = None

    def __call__(self, data: bytes, source: Address) -> None:
        self.all.append((data, source))
        if self._done is not None and len(self.all) >= self._wanted:
            done, self._done = self._done, None
            done.callback(None)

    def until(self, count: int) -> Deferred[None]:
        self._wanted, self._done = count, Deferred()
        done = self._done
        if len(self.all) >= count:
            self._done = None
            done.callback(None)
        return done


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("ngcpd.runtime.real_net.HALF_CLOSED_SECONDS", 0.3)
    made = ReactorNet(reactor)
    yield made
    for stream in list(made.streams):
        stream.abort()


# ------------------------------------------------------------------------------------------------------------- datagrams
@pytest.mark.parametrize("host", [V4, V6])
@pytest_twisted.inlineCallbacks
def test_datagrams(net: ReactorNet, host: str) -> Any:
    here, there = Got(), Got()
    a, b = net.udp((host, 0), here), net.udp((host, 0), there)
    assert a.send(b"ping", b.address)
    yield there.until(1)
    assert there.all == [(b"ping", a.address)]
    assert b.send(b"pong", there.all[0][1])
    yield here.until(1)
    assert here.all == [(b"pong", b.address)] and a.address[0] == host and a.address[1] > 0
    assert not a.send(b"x" * 70_000, b.address)
    a.close()
    a.close()
    assert not a.send(b"x", b.address)
    b.close()


@pytest_twisted.inlineCallbacks
def test_a_burst_of_more_than_one_turn_arrives(net: ReactorNet) -> Any:
    got = Got()
    sock = net.udp((V4, 0), got)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for n in range(1000):
        sender.sendto(b"%d" % n, sock.address)
    yield got.until(600)  # the kernel's default buffer may be smaller than what was asked for
    assert [int(d) for d, _ in got.all[:600]] == sorted(int(d) for d, _ in got.all[:600])
    sender.close()
    sock.close()


@pytest_twisted.inlineCallbacks
def test_raising_receiver_does_not_stop_the_socket(net: ReactorNet) -> Any:
    got = Got()

    def receive(data: bytes, source: Address) -> None:
        if data == b"bad":
            raise RuntimeError("receiver")
        got(data, source)

    sock = net.udp((V4, 0), receive)
    for data in (b"bad", b"good", b"bad", b""):
        sock.send(data, sock.address)
    yield got.until(2)
    assert [d for d, _ in got.all] == [b"good", b""]
    sock.close()


@pytest_twisted.inlineCallbacks
def test_socket_closed_by_its_receiver(net: ReactorNet) -> Any:
    done: Deferred[bytes] = Deferred()

    def receive(data: bytes, source: Address) -> None:
        sock.close()
        done.callback(data)

    sock = net.udp((V4, 0), receive)
    for _ in range(3):
        sock.send(b"x", sock.address)
    assert (yield done) == b"x"
    yield deferLater(reactor, 0.01, lambda: None)


def test_binding_errors_name_the_address(net: ReactorNet) -> None:
    sock = net.udp((V4, 0), lambda d, s: None)
    with pytest.raises(OSError) as caught:
        net.udp(sock.address, lambda d, s: None)
    assert caught.value.errno == errno.EADDRINUSE and f"127.0.0.1:{sock.address[1]}" in str(caught.value)
    port = net.listen((V4, 0), End)
    with pytest.raises(OSError) as caught:
        net.listen(port.address, End)
    assert caught.value.errno == errno.EADDRINUSE and f"127.0.0.1:{port.address[1]}" in str(caught.value)
    with pytest.raises(OSError) as caught:
        net.udp(("192.0.2.1", 5060), lambda d, s: None)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    sock.close()
    port.close()
    port.close()


def test_ipv6_sockets_leave_ipv4_alone(net: ReactorNet) -> None:
    six = net.udp(("::", 0), lambda d, s: None)
    four = net.udp(("0.0.0.0", six.address[1]), lambda d, s: None)
    port = net.listen(("::", 0), End)
    other = net.listen(("0.0.0.0", port.address[1]), End)
    for each in (six, four, port, other):
        each.close()


# --------------------------------------------------------------------------------------------------------------- streams
@pytest.mark.parametrize("host", [V4, V6])
@pytest_twisted.inlineCallbacks
def test_streams(net: ReactorNet, host: str) -> Any:
    server_end, client_end = End(), End()
    port = net.listen((host, 0), lambda: server_end)
    net.connect(port.address, client_end, bind=host)
    stream = yield client_end.up
    yield server_end.up
    assert stream.remote == port.address and stream.local == server_end.stream.remote and not stream.secure
    stream.write(b"hello")
    yield server_end.until(5)
    server_end.stream.write(b"x" * 300_000)
    server_end.stream.close()  # what is queued still goes out
    data = yield client_end.until(300_000)
    assert len(data) == 300_000
    assert (yield client_end.down) == "closed by peer"
    assert (yield server_end.down) == "closed"
    stream.write(b"ignored")
    stream.close()
    stream.abort()
    assert stream.pending() == 0 and not net.streams
    port.close()


@pytest_twisted.inlineCallbacks
def test_refused_and_abort(net: ReactorNet) -> Any:
    probe = socket.socket()
    probe.bind((V4, 0))
    free = probe.getsockname()
    probe.close()
    end = End()
    net.connect(free, end)
    assert (yield end.down) == "refused" and not end.up.called
    server_end, client_end = End(), End()
    port = net.listen((V4, 0), lambda: server_end)
    net.connect(port.address, client_end)
    yield client_end.up
    yield server_end.up
    client_end.stream.abort()
    assert (yield client_end.down) == "aborted"
    yield server_end.down
    port.close()


@pytest_twisted.inlineCallbacks
def test_pending_grows_when_the_peer_does_not_read_and_falls_when_it_does(net: ReactorNet) -> Any:
    server_end = End()
    port = net.listen((V4, 0), lambda: server_end)
    peer = socket.create_connection(port.address)
    stream = yield server_end.up
    total = 0
    while stream.pending() < 1_000_000:
        stream.write(b"x" * 65_536)
        total += 65_536
        assert total < 64 << 20
        yield deferLater(reactor, 0, lambda: None)
    got = 0

    def drain() -> None:
        nonlocal got
        while got < total:
            got += len(peer.recv(1 << 20))

    thread = threading.Thread(target=drain, daemon=True)
    thread.start()
    while thread.is_alive():
        yield deferLater(reactor, 0.01, lambda: None)
    assert got == total
    while stream.pending():
        yield deferLater(reactor, 0.01, lambda: None)
    stream.close()
    yield server_end.down
    peer.close()
    port.close()


@pytest_twisted.inlineCallbacks
def test_close_while_the_buffer_is_full_still_delivers_everything(net: ReactorNet) -> Any:
    server_end = End()
    port = net.listen((V4, 0), lambda: server_end)
    peer = socket.create_connection(port.address)
    stream = yield server_end.up
    total = 8 << 20
    stream.write(b"x" * total)
    yield deferLater(reactor, 0.05, lambda: None)
    assert stream.pending() > 0
    stream.close()
    got = 0

    def drain() -> None:
        nonlocal got
        while data := peer.recv(1 << 20):
            got += len(data)

    thread = threading.Thread(target=drain, daemon=True)
    thread.start()
    assert (yield server_end.down) == "closed"
    while thread.is_alive():
        yield deferLater(reactor, 0.01, lambda: None)
    assert got == total
    peer.close()
    port.close()


@pytest_twisted.inlineCallbacks
def test_half_closed_peer_gets_its_answer(net: ReactorNet) -> Any:
    server_end = End()
    port = net.listen((V4, 0), lambda: server_end)
    peer = socket.create_connection(port.address)
    yield server_end.up
    peer.sendall(b"question")
    peer.shutdown(socket.SHUT_WR)
    yield server_end.until(8)
    yield deferLater(reactor, 0.1, lambda: None)  # the end of the peer's direction has been seen by now
    assert not server_end.down.called
    server_end.stream.write(b"answer")
    assert (yield server_end.down) == "closed by peer"
    peer.settimeout(5)
    assert peer.recv(100) == b"answer" and peer.recv(100) == b""
    peer.close()
    port.close()


@pytest_twisted.inlineCallbacks
def test_raising_handler_cuts_only_its_own_connection(net: ReactorNet) -> Any:
    class Bad(End):
        def received(self, data: bytes) -> None:
            raise RuntimeError("handler")

    ends: list[End] = [Bad(), End()]
    pending = list(ends)
    port = net.listen((V4, 0), lambda: pending.pop(0))
    peers = []
    for end in ends:
        peers.append(socket.create_connection(port.address))
        yield end.up
    for peer in peers:
        peer.sendall(b"hello")
    yield ends[0].down
    yield ends[1].until(5)
    assert not ends[1].down.called
    ends[1].stream.close()
    yield ends[1].down
    for peer in peers:
        peer.close()
    port.close()


# ------------------------------------------------------------------------------------------------------------------- TLS
@pytest.mark.parametrize("host", [V4, V6])
@pytest_twisted.inlineCallbacks
def test_tls(net: ReactorNet, tmp_path: Path, host: str) -> Any:
    server_end, client_end = End(), End()
    port = net.listen((host, 0), lambda: server_end, make_certificate(tmp_path))
    net.connect(port.address, client_end, TlsClient("sip.example"))
    stream = yield client_end.up
    yield server_end.up
    assert stream.secure and server_end.stream.secure and stream.local == server_end.stream.remote
    stream.write(b"hello")
    assert (yield server_end.until(5)) == b"hello"
    server_end.stream.write(b"y" * 200_000)
    yield client_end.until(200_000)
    stream.close()
    yield client_end.down
    yield server_end.down
    port.close()


@pytest_twisted.inlineCallbacks
def test_tls_verification_refuses_a_certificate_nobody_vouches_for(net: ReactorNet, tmp_path: Path) -> Any:
    server_end, client_end = End(), End()
    port = net.listen((V4, 0), lambda: server_end, make_certificate(tmp_path))
    net.connect(port.address, client_end, TlsClient("sip.example", verify=True))
    reason = yield client_end.down
    yield server_end.down
    assert reason.startswith("tls") and not client_end.up.called and not server_end.up.called
    port.close()


@pytest.mark.parametrize(("version", "works"), [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)])
@pytest_twisted.inlineCallbacks
def test_tls_versions(net: ReactorNet, tmp_path: Path, version: ssl.TLSVersion, works: bool) -> Any:
    server_end = End()
    port = net.listen((V4, 0), lambda: server_end, make_certificate(tmp_path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with pytest.warns(DeprecationWarning) if not works else __import__("contextlib").nullcontext():
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    outcome: list[str] = []

    def client() -> None:
        try:
            with socket.create_connection(port.address, 5) as plain, context.wrap_socket(plain) as wrapped:
                wrapped.sendall(b"hello")
                outcome.append(wrapped.version() or "")
                wrapped.recv(1)
        except (ssl.SSLError, OSError) as error:
            outcome.append(type(error).__name__)

    thread = threading.Thread(target=client, daemon=True)
    thread.start()
    if works:
        yield server_end.until(5)
        server_end.stream.close()
    reason = yield server_end.down
    while thread.is_alive():
        yield deferLater(reactor, 0.01, lambda: None)
    if works:
        assert outcome[0] == version.name.replace("_", ".")
    else:
        assert server_end.data == b"" and reason.startswith("tls") and not server_end.up.called
    port.close()


@pytest_twisted.inlineCallbacks
def test_plain_text_on_a_tls_port_and_silence(net: ReactorNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("ngcpd.runtime.real_net.HANDSHAKE_SECONDS", 0.2)
    ends = [End(), End()]
    pending = list(ends)
    port = net.listen((V4, 0), lambda: pending.pop(0), make_certificate(tmp_path))
    loud = socket.create_connection(port.address)
    loud.sendall(b"OPTIONS sip:x SIP/2.0\r\n\r\n")
    assert (yield ends[0].down).startswith("tls") and not ends[0].up.called
    silent = socket.create_connection(port.address)
    assert (yield ends[1].down) == "tls: no handshake in time" and not ends[1].up.called
    loud.close()
    silent.close()
    port.close()


def test_unusable_certificates_are_told_before_anything_listens(net: ReactorNet, tmp_path: Path) -> None:
    good = make_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other")
    (tmp_path / "junk.pem").write_text("junk")
    junk = str(tmp_path / "junk.pem")
    for certificate, key, what in (
        ("/nonexistent.pem", good.key, "/nonexistent.pem"),
        (good.certificate, "/nonexistent.key", "/nonexistent.key"),
        (junk, good.key, junk),
        (good.certificate, junk, junk),
        (good.certificate, other.key, "does not belong"),
    ):
        with pytest.raises(OSError) as caught:
            net.listen((V4, 0), End, TlsServer(certificate, key))
        assert what in str(caught.value)


# ------------------------------------------------------------------------------------------------------------------- DNS
class Failing(ResolverBase):  # type: ignore[misc]
    """An authority that breaks: the server says SERVFAIL."""

    def _lookup(self, name: Any, cls: Any, type: Any, timeout: Any) -> Any:
        from twisted.internet.defer import fail

        return fail(RuntimeError("broken"))


def dns_server(records: Any) -> tuple[Any, Address]:
    factory = server.DNSServerFactory(authorities=records)
    protocol = dns.DNSDatagramProtocol(factory)
    port = reactor.listenUDP(0, protocol, interface=V4)  # type: ignore[attr-defined]
    return port, (V4, port.getHost().port)


def soa_zone() -> Any:
    class Zone(FileAuthority):  # type: ignore[misc]
        def loadFile(self, filename: Any) -> None:
            name = b"example.test"
            self.soa = (name, dns.Record_SOA(b"ns.example.test", b"root.example.test", 1, 60, 60, 60, 60, 60))
            self.records = {
                name: [
                    self.soa[1],
                    dns.Record_NAPTR(50, 60, b"s", b"SIP+D2U", b"", b"_sip._udp.example.test", 60),
                ],
                b"host.example.test": [
                    dns.Record_A("192.0.2.1", 60),
                    dns.Record_A("192.0.2.2", 60),
                    dns.Record_AAAA("2001:db8::1", 60),
                ],
                b"alias.example.test": [dns.Record_CNAME(b"host.example.test", 60)],
                b"_sip._udp.example.test": [dns.Record_SRV(10, 20, 5070, b"host.example.test", 60)],
            }

    return Zone("unused")


@pytest_twisted.inlineCallbacks
def test_dns_lookups(tmp_path: Path) -> Any:
    port, address = dns_server([soa_zone()])
    hosts = tmp_path / "hosts"
    hosts.write_text("# comment\n127.0.0.7 local.test alias.test # more\n::7 local.test\nrubbish bad.test\n127.0.0.8 late.test\n")
    names = ReactorDns(reactor, hosts=str(hosts), servers=[address])
    assert (yield names.lookup("local.test", "A")) == [DnsRecord("A", "127.0.0.7")]
    assert (yield names.lookup("LOCAL.test.", "AAAA")) == [DnsRecord("AAAA", "::7")]
    found = yield names.lookup("host.example.test", "A")
    assert sorted(r.data for r in found) == ["192.0.2.1", "192.0.2.2"] and found[0].ttl == 60
    assert [r.data for r in (yield names.lookup("host.example.test", "AAAA"))] == ["2001:db8::1"]
    assert (yield names.lookup("_sip._udp.example.test", "SRV")) == [DnsRecord("SRV", "host.example.test", 60, 10, 20, 5070)]
    assert (yield names.lookup("example.test", "NAPTR")) == [DnsRecord("NAPTR", "_sip._udp.example.test", 60, 50, 60, 0, "SIP+D2U", "s")]
    assert {r.data for r in (yield names.lookup("alias.example.test", "A"))} <= {"192.0.2.1", "192.0.2.2"}
    assert (yield names.lookup("host.example.test", "SRV")) == []
    assert (yield names.lookup("nothing.example.test", "A")) == []
    hosts.write_text("127.0.0.99 changed.test\n")
    assert (yield names.lookup("changed.test", "A")) == [DnsRecord("A", "127.0.0.99")]
    with pytest.raises(ValueError):
        yield names.lookup("x" * 64 + ".test", "SRV")
    yield port.stopListening()


@pytest_twisted.inlineCallbacks
def test_dns_server_failure_and_silence(monkeypatch: pytest.MonkeyPatch) -> Any:
    port, address = dns_server([Failing()])
    names = ReactorDns(reactor, servers=[address])
    failed: list[Any] = []
    yield names.lookup("host.example.test", "A").addErrback(failed.append)
    assert len(failed) == 1
    yield port.stopListening()
    monkeypatch.setattr("ngcpd.runtime.real_dns.TIMEOUTS", (0.1,))
    quiet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    quiet.bind((V4, 0))
    names = ReactorDns(reactor, servers=[quiet.getsockname()])
    yield names.lookup("host.example.test", "A").addErrback(failed.append)
    assert len(failed) == 2
    quiet.close()


@pytest_twisted.inlineCallbacks
def test_resolv_conf_is_read_and_read_again(tmp_path: Path) -> Any:
    conf = tmp_path / "resolv.conf"
    names = ReactorDns(reactor, resolv_conf=str(conf))
    assert names._get().servers == [("127.0.0.1", 53)]
    conf.write_text("# x\nsearch a b\nnameserver 192.0.2.53\nnameserver 2001:db8::53 # second\noptions ndots:1\n")
    assert names._get().servers == [("192.0.2.53", 53), ("2001:db8::53", 53)]
    assert names._get() is names._get()
    yield deferLater(reactor, 0, lambda: None)

"""A malformed flood against the real daemon on real sockets, while a call stands."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ngcpd.runtime.ports import Address
from tests.hostile.test_floods import garbage
from tests.phones import Phone, sdp
from tests.servers.daemon import DOMAIN, DaemonProcess, password, running, until

pytestmark = pytest.mark.peer
DATAGRAMS = 20_000
SOURCES = 3
GROWTH_MB = 32


class Sockets:
    """A Net of real datagram sockets for scripted phones: `pump(seconds)` delivers what comes."""

    def __init__(self) -> None:
        self._open: dict[socket.socket, Callable[[bytes, Address], None]] = {}

    def udp(self, address: Address, receive: Callable[[bytes, Address], None]) -> BoundSocket:
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind(address)
        self._open[sock] = receive
        return BoundSocket(sock)

    def pump(self, seconds: float = 0.3, done: Callable[[], bool] = lambda: False) -> None:
        end = time.monotonic() + seconds
        while not done() and (left := end - time.monotonic()) > 0:
            for sock in select.select(list(self._open), [], [], left)[0]:
                data, source = sock.recvfrom(65_536)
                self._open[sock](data, source)

    def close(self) -> None:
        for sock in self._open:
            sock.close()


class BoundSocket:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, data: bytes, to: Address) -> bool:
        self._sock.sendto(data, to)
        return True

    def close(self) -> None:
        return


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    with running(tmp_path_factory.mktemp("hostile")) as made:
        made.domain()
        made.add(1801, 1802)
        yield made


@pytest.fixture
def net() -> Iterator[Sockets]:
    made = Sockets()
    yield made
    made.close()


def rss_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def expect(net: Sockets, phone: Phone, what: int | str, seconds: float = 15.0):
    net.pump(seconds, lambda: phone.has(what))
    return phone.take(what)


def flood(node: DaemonProcess, sources: list[socket.socket], count: int) -> None:
    """As fast as the daemon reads them, or nearly: what the kernel drops does not test anything."""
    cases = [data for data in garbage() if len(data) > 30]
    for n in range(count):
        sources[n % len(sources)].sendto(cases[n % len(cases)], (node.ip, node.port))
        if n % 50 == 0:
            time.sleep(0.01)
        for sock in sources:
            try:
                while sock.recv(65_536):
                    pass
            except BlockingIOError:
                pass


def test_a_malformed_flood_on_real_sockets(node: DaemonProcess, net: Sockets) -> None:
    a, b = (Phone(net, (node.address(n), 5060), f"testuser{u}", DOMAIN, password(u), (node.ip, node.port)) for n, u in ((11, 1801), (12, 1802)))  # type: ignore[arg-type]
    until(lambda: b.register(lambda: net.pump(2.0, lambda: bool(b.inbox))).status == 200, 10.0, "the account is known")
    target = f"sip:testuser1802@{DOMAIN}"
    call = a.call(target, lambda: net.pump(3.0, lambda: a.has(407) or b.has("INVITE")), sdp(a.address[0], 20000))
    invite = b.take("INVITE")
    b.reply(invite, 200, "OK", sdp(b.address[0], 30000))
    call.ack(expect(net, a, 200))
    expect(net, b, "ACK")
    sources = []
    for n in range(SOURCES):
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind((node.address(101 + n), 0))
        sock.setblocking(False)
        sources.append(sock)
    try:
        flood(node, sources, DATAGRAMS // 10)
        before, received, begun = rss_mb(node.pid), node.counters()["sip.received"], time.monotonic()
        flood(node, sources, DATAGRAMS)
        minutes = (time.monotonic() - begun) // 60 + 2
    finally:
        for sock in sources:
            sock.close()
    counters = node.counters()
    assert counters["sip.received"] - received > DATAGRAMS // 2, "the daemon got most of it"
    assert counters["sip.malformed"] > DATAGRAMS // 4 and counters["sip.errors"] == 0
    assert rss_mb(node.pid) - before < GROWTH_MB
    assert 1 <= len(node.lines('"malformed message"')) <= SOURCES * minutes
    a.inbox.clear()
    call.send("INVITE", sdp(a.address[0], 20002, version=2))
    again = expect(net, b, "INVITE")
    b.reply(again, 200, "OK", sdp(b.address[0], 30002, version=2))
    call.ack(expect(net, a, 200))
    expect(net, b, "ACK")
    call.bye()
    b.reply(expect(net, b, "BYE"), 200)
    net.pump(10.0, lambda: a.has(200))
    (cdr,) = node.new_cdrs(1)
    assert (cdr["call_status"], cdr["source"]) == ("ok", f"testuser1801@{DOMAIN}")

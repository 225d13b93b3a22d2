"""Messages that are none, or strange ones, at the sockets of the running daemon: answered or met with silence, told once, without harm."""

from __future__ import annotations

import random
import re
import socket
import time
from collections.abc import Iterator

import pytest

from tests.edge.test_torture import ANSWERS, CLOSED, ON_STREAMS
from tests.integration.sipp import Phones
from tests.servers.daemon import DaemonProcess, running, until
from tests.sip.torture import INVALID, VECTORS, Vector

ROUTED = {200, 480}
"""Answers of the doubles behind the edge; the real registrar and call engine ask for credentials or know no such dialog."""
ASKED = {401, 403, 404, 407, 481}
SECONDS = 10.0


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon with the domains of RFC 4475, telling everything."""
    levels = {"ngcpd": {"log": {"level": "debug"}}}
    with running(tmp_path_factory.mktemp("daemon"), levels) as made:
        for name in ("example.com", "example.net", "example.org"):
            made.domain(name)
        made.domain()
        made.add(1002, 1003)
        yield made


class Peer:
    """A socket that sends bytes and OPTIONS, and collects the final answers."""

    def __init__(self, daemon: DaemonProcess, ip: str, *, tcp: bool) -> None:
        self.daemon = daemon
        self.ip = ip
        self.tcp = tcp
        self.n = 0
        self.codes: list[int] = []
        self.open()

    def open(self) -> None:
        self.closed = False
        self.buffer = b""
        if self.tcp:
            self.socket = socket.create_connection((self.daemon.ip, self.daemon.port), timeout=SECONDS, source_address=(self.ip, 0))
        else:
            self.socket = socket.socket(type=socket.SOCK_DGRAM)
            self.socket.bind((self.ip, 5060))
            self.socket.settimeout(SECONDS)

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data) if self.tcp else self.socket.sendto(data, (self.daemon.ip, self.daemon.port))
        except (BrokenPipeError, ConnectionResetError):
            self.closed = True

    def read(self, seconds: float = SECONDS) -> bool:
        """Take what comes next: final answers to anything but our OPTIONS. True when that is answered or the connection is gone."""
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        except TimeoutError:
            return False
        if not data and self.tcp:
            self.closed = True
            return True
        self.buffer += data
        answered = False
        while b"\r\n\r\n" in self.buffer:
            head, _, rest = self.buffer.partition(b"\r\n\r\n")
            length = re.search(rb"(?mi)^Content-Length: *([0-9]+)", head)
            self.buffer = rest[int(length[1]) if length else 0 :]
            status = int(head.split(b" ")[1]) if head.startswith(b"SIP/2.0 ") else 0
            if f"Call-ID: {self.n}-options".encode() in head:
                assert status == 200, (head.decode(), self.codes)
                answered = True
            elif status >= 200:
                self.codes.append(status)
        return answered

    def options(self) -> None:
        """Ask whether it lives, and wait until it says so."""
        if self.closed:
            self.socket.close()
            self.open()
        self.n += 1
        kind = "TCP" if self.tcp else "UDP"
        port = self.socket.getsockname()[1]
        lines = [
            f"OPTIONS sip:{self.daemon.target} SIP/2.0",
            f"Via: SIP/2.0/{kind} {self.ip}:{port};branch=z9hG4bKopt{self.n}{kind}",
            "Max-Forwards: 70",
            f"From: <sip:peer@{self.ip}>;tag=o{self.n}",
            f"To: <sip:{self.daemon.target}>",
            f"Call-ID: {self.n}-options{kind}@{self.ip}",
            f"CSeq: {self.n} OPTIONS",
            "Content-Length: 0",
        ]
        self.send("\r\n".join([*lines, "", ""]).encode())
        end = time.monotonic() + SECONDS
        while not self.read():
            assert time.monotonic() < end, f"OPTIONS not answered\n{self.daemon.log[-2000:]}"


def corpus() -> list[tuple[Vector, bytes]]:
    """The messages. Some of RFC 4475 share their branch; here each has one of its own, or they would count as repetitions of each other."""
    seen: set[bytes] = set()
    out = []
    for vector in VECTORS.values():
        data = vector.data
        for branch in set(re.findall(rb"branch *= *z9hG4bK[0-9A-Za-z.]+", data)):
            if branch in seen:
                data = data.replace(branch, branch + b".%d" % len(out))
            seen.add(branch)
        out.append((vector, data))
    return out


def fits(found: list[int], expected: tuple[int, ...]) -> bool:
    """The same answers; where the doubles took a request, it has gone on to a refusal of the rooms behind."""
    found = sorted(set(found))
    return (
        len(found) <= len(expected)
        and all(any(f == e or (e in ROUTED and f in ASKED) for e in expected) for f in found)
        and bool(found) == bool(expected)
    )


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_torture(daemon: DaemonProcess, tcp: bool) -> None:
    daemon.settle()  # over UDP and TCP they are not to be repetitions either
    wrong = {}
    for n, (vector, data) in enumerate(corpus()):
        peer = Peer(daemon, daemon.address(20 + n), tcp=tcp)
        expected = (ON_STREAMS if tcp else ANSWERS).get(vector.name, (vector.code,))
        peer.send(data)
        if not tcp:
            peer.options()  # what is answered at once has been answered before that
        end = time.monotonic() + 2.0
        while not peer.closed and len(set(peer.codes)) < len(expected) and time.monotonic() < end:
            peer.read(0.1)
        if not fits(peer.codes, expected):
            wrong[vector.name] = (peer.codes, expected)
        if tcp and vector.name in CLOSED:
            peer.closed = True  # it has been closed, or the daemon waits for the rest of the message
        peer.options()
        peer.socket.close()
    assert not wrong, wrong


def test_one_line_for_a_source_and_minute(daemon: DaemonProcess) -> None:
    """Both passes of the corpus came from the same address for each message."""
    told = 0
    for n, vector in enumerate(VECTORS.values()):
        lines = daemon.lines(" warning ", f"ip={daemon.address(20 + n)} ")
        assert len(lines) <= 1, lines
        assert lines or not _refused_as_malformed(vector), (vector.name, daemon.lines(f"ip={daemon.address(20 + n)} "))
        told += len(lines)
    assert told > 10


def _refused_as_malformed(vector: Vector) -> bool:
    return vector.kind == INVALID and vector.code == 400


def test_noise(daemon: DaemonProcess) -> None:
    """Random bytes, cut and changed messages, as datagrams and on connections."""
    rng = random.Random(4475)
    peer = Peer(daemon, daemon.address(90), tcp=False)
    noise = [rng.randbytes(rng.choice((1, 10, 300, 1400))) for _ in range(100)]
    for vector in VECTORS.values():
        whole = bytearray(vector.data[:1400])
        noise.append(bytes(whole[: rng.randrange(1, len(whole))]))
        for _ in range(5):
            whole[rng.randrange(len(whole))] = rng.randrange(256)
        noise.append(bytes(whole))
    for n, data in enumerate(noise):
        peer.send(data)
        if n % 40 == 39:
            peer.options()  # not more than its socket holds
    peer.options()
    peer.socket.close()
    assert len(daemon.lines(" warning ", '"malformed message"', f"ip={daemon.address(90)} ")) == 1
    for data in noise[::10]:
        stream = Peer(daemon, daemon.address(91), tcp=True)
        stream.send(data)
        stream.send(b"\r\n\r\n" * 3)
        stream.socket.close()
    after = Peer(daemon, daemon.address(91), tcp=True)
    after.options()
    after.socket.close()
    assert len(daemon.lines(" warning ", '"malformed message"', f"ip={daemon.address(91)} ")) <= 1
    assert daemon.counters()["sip.errors"] == 0


def test_it_carries_a_call(daemon: DaemonProcess, phones: Phones) -> None:
    """After all this; and what was counted is told."""
    phones.register(1003)
    callee = phones.callee(1003)
    phones.call(1002, "testuser1003").done()
    callee.done()
    until(lambda: [c for c in daemon.cdrs() if c["call_status"] == "ok"], 10.0)
    assert daemon.counters()["edge.malformed"] > 50
    assert daemon.registrations() and {b["user"] for b in daemon.registrations()} == {"testuser1003@spce.test"}

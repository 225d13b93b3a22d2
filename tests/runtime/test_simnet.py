"""The simulated network itself."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from ngcpd.runtime.fake import SeededRng, SimClock
from ngcpd.runtime.ports import Address, DnsRecord, TlsClient, TlsServer
from ngcpd.runtime.simnet import DnsFailure, Link, SimNet

A, B = ("10.0.0.1", 5060), ("10.0.0.2", 5060)


class End:
    def __init__(self) -> None:
        self.stream: Any = None
        self.data = b""
        self.reason = ""
        self.order: list[str] = []

    def opened(self, stream: Any) -> None:
        self.stream = stream
        self.order.append("opened")

    def received(self, data: bytes) -> None:
        self.data += data
        self.order.append("received")

    def closed(self, reason: str) -> None:
        self.reason = reason
        self.order.append("closed")


def world(seed: int = 1) -> tuple[SimClock, SimNet]:
    clock = SimClock()
    return clock, SimNet(clock, SeededRng(seed))


def pair(clock: SimClock, net: SimNet) -> tuple[End, End]:
    ours, theirs = End(), End()
    net.listen(B, lambda: theirs)
    net.connect(B, ours, bind="10.0.0.1")
    clock.advance(1)
    return ours, theirs


def test_datagrams_arrive_with_delay_and_source() -> None:
    clock, net = world()
    net.default = Link(delay=0.5)
    got: list[tuple[bytes, Address]] = []
    a = net.udp(A, lambda d, s: None)
    net.udp(B, lambda d, s: got.append((d, s)))
    assert a.send(b"hello", B)
    clock.advance(0.4)
    assert got == []
    clock.advance(0.2)
    assert got == [(b"hello", A)]
    assert a.send(b"into the void", ("10.0.0.3", 1))
    assert not a.send(b"x" * 70_000, B) and not a.send(b"x", ("fd00::1", 5060))
    a.close()
    assert not a.send(b"x", B)
    assert clock.pending() == 1  # the lost one is still in the air
    clock.advance(1)
    assert clock.pending() == 0


def run_lossy(seed: int) -> list[bytes]:
    clock, net = world(seed)
    net.link("10.0.0.1", "10.0.0.2", Link(delay=0.01, jitter=0.02, loss=0.2, duplicate=0.2, reorder=0.2))
    got: list[bytes] = []
    a = net.udp(A, lambda d, s: None)
    net.udp(B, lambda d, s: got.append(d))
    for n in range(500):
        a.send(str(n).encode(), B)
        clock.advance(0.001)
    clock.advance(5)
    return got


def test_loss_duplication_reordering_reproducible() -> None:
    got = run_lossy(3)
    assert got == run_lossy(3) != run_lossy(4)
    numbers = [int(d) for d in got]
    assert 350 < len(set(numbers)) < 470 and len(numbers) > len(set(numbers)) and numbers != sorted(numbers)


def test_binding() -> None:
    _, net = world()
    host = net.host("10.0.0.1")
    one = host.udp(A, lambda d, s: None)
    with pytest.raises(OSError) as caught:
        host.udp(A, lambda d, s: None)
    assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(OSError) as caught:
        host.udp(B, lambda d, s: None)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    one.close()
    host.udp(A, lambda d, s: None)
    free, other = host.udp(("10.0.0.1", 0), lambda d, s: None), host.udp(("10.0.0.1", 0), lambda d, s: None)
    assert free.address[1] != other.address[1] and free.address[1] > 1024


def test_cut_and_heal() -> None:
    clock, net = world()
    got: list[bytes] = []
    a = net.udp(A, lambda d, s: None)
    net.udp(B, lambda d, s: got.append(d))
    net.cut("10.0.0.1", "10.0.0.2")
    a.send(b"1", B)
    clock.advance(1)
    net.heal("10.0.0.1", "10.0.0.2")
    a.send(b"2", B)
    clock.advance(1)
    assert got == [b"2"]


def test_filter_sees_and_drops() -> None:
    clock, net = world()
    got: list[bytes] = []
    seen: list[tuple[str, bytes]] = []

    def look(kind: str, data: bytes, source: Address, to: Address) -> bool:
        seen.append((kind, data))
        return data != b"drop"

    net.filter = look
    a = net.udp(A, lambda d, s: None)
    net.udp(B, lambda d, s: got.append(d))
    a.send(b"drop", B)
    a.send(b"keep", B)
    clock.advance(1)
    assert got == [b"keep"] and seen == [("udp", b"drop"), ("udp", b"keep")]


# --------------------------------------------------------------------------------------------------------------- streams
def test_stream_in_order_and_closed_once_on_each_side() -> None:
    clock, net = world()
    net.default = Link(delay=0.1, jitter=0.2)
    ours, theirs = pair(clock, net)
    for n in range(50):
        ours.stream.write(str(n).encode())
        theirs.stream.write(b"%d" % n)
        clock.advance(0.01)
    ours.stream.close()
    ours.stream.write(b"after the close")
    clock.advance(5)
    expected = "".join(map(str, range(50))).encode()
    assert theirs.data == expected and ours.data == expected
    assert (ours.reason, theirs.reason) == ("closed", "closed by peer")
    assert ours.order.count("closed") == theirs.order.count("closed") == 1 and ours.order[0] == "opened"
    assert not net.streams and ours.stream.remote == B and theirs.stream.remote == ours.stream.local


def test_refused_timeout_and_tls_mismatch() -> None:
    clock, net = world()
    refused, cut, wrong = End(), End(), End()
    net.connect(B, refused, bind="10.0.0.1")
    clock.advance(1)
    assert refused.order == ["closed"] and refused.reason == "refused"
    net.cut("10.0.0.1", "10.0.0.2")
    net.connect(B, cut, timeout=3, bind="10.0.0.1")
    clock.advance(2.9)
    assert cut.order == []
    clock.advance(0.2)
    assert cut.reason == "timeout"
    net.heal("10.0.0.1", "10.0.0.2")
    net.listen(B, End, TlsServer("c", "k"))
    net.connect(B, wrong, bind="10.0.0.1")
    clock.advance(1)
    assert wrong.reason.startswith("tls") and wrong.order == ["closed"]
    right = End()
    net.connect(B, right, TlsClient("name"), bind="10.0.0.1")
    clock.advance(1)
    assert right.stream.secure


def test_segments() -> None:
    clock, net = world()
    net.segment = 3
    ours, theirs = pair(clock, net)
    ours.stream.write(b"abcdefgh")
    clock.advance(1)
    assert theirs.data == b"abcdefgh" and theirs.order.count("received") == 3


def test_reader_that_pauses_lets_the_writer_pile_up() -> None:
    clock, net = world()
    ours, theirs = pair(clock, net)
    theirs.stream.pause()
    ours.stream.write(b"x" * 100)
    ours.stream.write(b"y" * 100)
    clock.advance(1)
    assert ours.stream.pending() == 200 and theirs.data == b""
    theirs.stream.resume()
    clock.advance(1)
    assert ours.stream.pending() == 0 and len(theirs.data) == 200


def test_abort_loses_what_is_queued() -> None:
    clock, net = world()
    ours, theirs = pair(clock, net)
    ours.stream.write(b"never seen")
    ours.stream.abort()
    clock.advance(1)
    assert theirs.data == b"" and theirs.reason == "reset" and ours.reason == "aborted"


def test_cut_link_stalls_a_stream_and_ends_it_in_the_end() -> None:
    clock, net = world()
    ours, theirs = pair(clock, net)
    net.cut("10.0.0.1", "10.0.0.2")
    ours.stream.write(b"held back")
    clock.advance(10)
    assert theirs.data == b""
    net.heal("10.0.0.1", "10.0.0.2")
    clock.advance(1)
    assert theirs.data == b"held back"
    net.cut("10.0.0.1", "10.0.0.2")
    ours.stream.write(b"lost")
    clock.advance(31)
    assert ours.reason == theirs.reason == "timeout" and not net.streams


def test_killed_process() -> None:
    clock, net = world()
    host = net.host("10.0.0.2")
    ours, theirs = pair(clock, net)
    got: list[bytes] = []
    host.udp(B, lambda d, s: got.append(d))
    host.kill()
    net.udp(A, lambda d, s: None).send(b"x", B)
    clock.advance(1)
    assert ours.reason == "reset" and theirs.reason == "" and got == [] and not net.streams and not net.listeners
    host.udp(B, lambda d, s: None)


def test_outgoing_address_of_a_host() -> None:
    clock, net = world()
    theirs, ours, six = End(), End(), End()
    net.listen(B, lambda: theirs)
    net.host("10.0.0.7", "fd00::7").connect(B, ours)
    net.host("10.0.0.7").connect(("fd00::2", 1), six)
    clock.advance(1)
    assert theirs.stream.remote[0] == "10.0.0.7" and six.reason == "no route"
    bad = End()
    net.host("10.0.0.7").connect(B, bad, bind="10.0.0.8")
    clock.advance(1)
    assert bad.order == ["closed"]


# ------------------------------------------------------------------------------------------------------------------- dns
def test_dns() -> None:
    clock, net = world()
    net.add("H.example", DnsRecord("A", "10.0.0.1", 60), DnsRecord("AAAA", "fd00::1", 60))
    out: list[Any] = []
    net.lookup("h.example", "A").addCallback(out.append)
    net.lookup("h.example", "SRV").addCallback(out.append)
    assert out == []
    clock.advance(1)
    assert out == [[DnsRecord("A", "10.0.0.1", 60)], []]
    net.dns_down.add("*")
    failed: list[Any] = []
    net.lookup("h.example", "A").addErrback(failed.append)
    clock.advance(1)
    assert failed[0].check(DnsFailure)

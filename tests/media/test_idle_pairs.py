"""Pairs stay open between two sessions: nothing of the old one reaches the new one. Real sockets on loopback, where delivery is immediate."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from ngcpd.media import wire
from ngcpd.media.control import Controller
from ngcpd.media.ports import PortPool
from ngcpd.media.relay import DRAIN, MediaSocket
from ngcpd.media.sockets import UdpSockets
from ngcpd.runtime.fake import SimClock
from tests.media.parties import rtp

RELAY, PHONE = "127.20.1.1", "127.20.1.10"


class Counting:
    """Real sockets, and how many of them were bound."""

    def __init__(self) -> None:
        self.real = UdpSockets()
        self.bound = 0
        self.epoll, self.address, self.watch, self.unwatch = self.real.epoll, self.real.address, self.real.watch, self.real.unwatch

    def bind(self, host: str, port: int) -> MediaSocket:
        self.bound += port != 0
        return self.real.bind(host, port)


class Bench:
    """A relay with the port range 41000-41015 of which four pairs may stay open, and a phone."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.sockets = Counting()
        self.said: list[bytes] = []
        self.controller = Controller(self.clock, self.sockets, self.said.append, keep=4)
        self.number = 0
        self.tell(wire.Configure([(RELAY, 41000, 41015)], [], 1.0, 3.0, 0.25))
        self.phone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.phone.bind((PHONE, 0))
        self.phone.setblocking(False)

    @property
    def relay(self):  # type: ignore[no-untyped-def]
        assert self.controller.relay is not None
        return self.controller.relay

    def tell(self, *commands: wire.Command) -> None:
        for command in commands:
            self.number += 1
            self.controller.feed(wire.pack(wire.CommandFrame(self.number, command)))

    def granted(self) -> list[int]:
        said, self.said[:] = b"".join(self.said), []
        events = [wire.decode_event(frame).body for frame in wire.Unpacker().feed(said)]
        return [port for event in events if isinstance(event, wire.Granted) for port in event.ports]

    def call(self, sid: int, port: int) -> None:
        """A session whose one pair sends back what the phone sends."""
        remote = wire.Remote(self.phone.getsockname(), None, (PHONE,))
        pid = wire.pid_of(0, port)
        self.tell(wire.Update(sid, [wire.Leg(pid, pid, 1, remote)], 0.0, 0.0, 0))

    def turn(self) -> None:
        """One turn of the relay's loop: a datagram from each socket that has input."""
        for fd, _ in self.sockets.epoll.poll(0):
            end = self.relay.ends.get(fd)
            if end is not None:
                self.relay.receive(end)

    def heard(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self.phone.recv(2000))
            except BlockingIOError:
                return found


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.controller.shut()
    made.sockets.epoll.close()
    made.phone.close()


def first_call(bench: Bench) -> int:
    """Grants all eight pairs, uses the first one and frees it; its port."""
    bench.tell(wire.Grant(0, 8))
    port = bench.granted()[0]
    bench.call(1, port)
    bench.phone.sendto(rtp(1), (RELAY, port))
    bench.turn()
    assert bench.heard() == [rtp(1)]
    bench.tell(wire.Close(1))
    return port


def test_a_pair_is_used_again_without_binding_it(bench: Bench) -> None:
    port = first_call(bench)
    bound = bench.sockets.bound
    bench.tell(wire.Grant(0, 1))
    assert bench.granted() == []  # it rests
    bench.clock.advance(1.1)
    assert bench.granted() == [port]
    bench.call(2, port)
    bench.phone.sendto(rtp(2), (RELAY, port))
    bench.turn()
    assert bench.heard() == [rtp(2)] and bench.sockets.bound == bound


def test_what_comes_between_two_sessions_reaches_neither(bench: Bench) -> None:
    port = first_call(bench)
    for n in range(20):
        bench.phone.sendto(rtp(n), (RELAY, port))
    bench.turn()
    bench.tell(wire.Grant(0, 1))
    bench.clock.advance(1.1)
    bench.phone.sendto(rtp(21), (RELAY, port))
    bench.call(2, port)
    bench.turn()
    assert bench.heard() == []
    bench.phone.sendto(rtp(22), (RELAY, port))
    bench.turn()
    assert bench.heard() == [rtp(22)]
    [leg] = bench.relay.close(2)
    assert (leg.packets, leg.strangers) == (1, 0)


def test_a_flooded_socket_is_opened_anew(bench: Bench) -> None:
    port = first_call(bench)
    [(sock, _)] = bench.relay.idle.values()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUFFORCE if hasattr(socket, "SO_RCVBUFFORCE") else socket.SO_RCVBUF, 4_000_000)
    for n in range(DRAIN + 50):
        bench.phone.sendto(rtp(n & 0xFFF, payload=b""), (RELAY, port))
    bound = bench.sockets.bound
    bench.tell(wire.Grant(0, 1))
    bench.clock.advance(1.1)
    bench.call(2, port)
    for _ in range(DRAIN):
        bench.turn()
    assert bench.heard() == [] and bench.sockets.bound in (bound, bound + 2)  # a kernel that keeps fewer lets all of them be drained
    bench.phone.sendto(rtp(7), (RELAY, port))
    bench.turn()
    assert bench.heard() == [rtp(7)]


def test_no_more_stay_open_than_wanted(bench: Bench) -> None:
    bench.tell(wire.Grant(0, 8))
    for sid, port in enumerate(bench.granted()):
        bench.call(sid, port)
    for sid in range(8):
        bench.tell(wire.Close(sid))
    assert len(bench.relay.idle) == 4
    bench.clock.advance(1.1)
    bench.tell(wire.Grant(0, 8))
    assert sorted(bench.granted()) == list(range(41000, 41016, 2)) and not bench.relay.idle


def test_a_pool_keeps_the_open_pairs_for_later_and_gives_the_one_that_rested_longest() -> None:
    pool = PortPool(30000, 30009, 1.0, keep=2)
    out = [pool.take(0.0) for _ in range(3)]
    assert out == [30000, 30002, 30004]
    pool.give(30000, 1.0, kept=True)
    pool.give(30002, 1.0, kept=True)
    assert pool.take(2.5) == 30006  # two are open: not more than it keeps
    pool.give(30004, 3.0, kept=True)
    assert pool.take(4.5) == 30000
    assert [pool.take(4.5) for _ in range(4)] == [30008, 30002, 30004, None]

"""Two stacks over a bad network, malformed input, throughput."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngcpd.runtime.simnet import Link
from ngcpd.sip.message import Response, reply
from ngcpd.sip.server import ServerTransaction
from ngcpd.sip.stack import ClientTransaction, Stack
from tests.sip.moving import RawStream, User, Wire, World, no_leaks, raw, request, respond  # noqa: F401 - a fixture

A = ("10.0.0.1", 5060)
BAD = Link(delay=0.02, jitter=0.03, loss=0.25, duplicate=0.2, reorder=0.2, reorder_delay=0.3)


class Caller(User):
    """Acknowledges each 2xx as a user agent must."""

    def __init__(self, world: World, stack: Stack) -> None:
        super().__init__()
        self.world = world
        self.stack = stack

    def response(self, tx: ClientTransaction, response: Response) -> None:
        super().response(tx, response)
        if 200 <= response.status < 300 and tx.invite:
            ack = request("ACK", call_id=response.call_id, cseq=response.cseq, to_tag=response.to_tag)
            self.stack.send_ack(ack, [tx.hop])


def callee(world: World, final: int, ring: float) -> None:
    def answer(tx: ServerTransaction) -> None:
        if not tx.invite:
            respond(tx, final)
            return
        tx.respond(reply(tx.request, 100))
        world.clock.call_later(ring, respond, tx, 180)
        world.clock.call_later(ring * 2, respond, tx, final)

    world.rb.answer = answer

    def ack(req: object, flow: object) -> None:
        for tx in world.rb.requests:
            tx.acked()

    world.rb.ack = ack  # type: ignore[method-assign]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), method=st.sampled_from(["INVITE", "OPTIONS"]), final=st.sampled_from([200, 486]))
def test_lossy_network(seed: int, method: str, final: int) -> None:
    """25 % loss, duplicates and reordering: one request, one outcome, each side agrees, nothing is left."""
    world = World(seed)
    world.listen("udp")
    world.net.default = BAD
    callee(world, final, 0.4)
    user = Caller(world, world.a)
    world.a.send(request(method), world.hops(world.a, "sip:10.0.0.2"), user)
    world.run(60)
    finals = [s for s in user.statuses if s >= 200]
    assert set(finals) <= {final} and len(user.failures) <= 1
    assert bool(finals) != bool(user.failures)
    if final != 200 or method != "INVITE":
        assert len(finals) <= 1
    assert len(world.rb.requests) <= 1
    if finals:
        assert len(world.rb.requests) == 1 and world.rb.requests[0].final == final
    world.net.default = Link()
    world.finish()
    assert len(world.rb.ended) == len(world.rb.requests)


def test_clean_network_calls_need_no_retransmission() -> None:
    world = World()
    world.listen("udp")
    callee(world, 200, 0.1)
    users = []
    for n in range(200):
        user = Caller(world, world.a)
        users.append(user)
        world.a.send(request("INVITE", call_id=f"c{n}"), world.hops(world.a, "sip:10.0.0.2"), user)
    world.run(5)
    assert all(u.statuses == [100, 180, 200] for u in users)
    assert world.a.counters()["retransmissions"] == world.b.counters()["retransmissions"] == 0
    world.finish()
    assert world.rb.ended == ["done"] * 200


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_call_between_two_stacks(transport: str) -> None:
    world = World()
    world.listen("udp", "tcp")
    callee(world, 200, 1.0)
    user = Caller(world, world.a)
    world.a.send(request("INVITE"), world.hops(world.a, f"sip:10.0.0.2;transport={transport}"), user)
    world.run(5)
    assert user.statuses == [100, 180, 200]
    assert world.rb.requests[0].request.via.transport == transport.upper()
    world.finish()
    assert world.rb.ended == ["done"]


def test_thousands_of_requests_leave_nothing() -> None:
    """A throughput sanity: everything is answered and freed. Time is not asserted."""
    world = World()
    world.listen("udp")

    def answer(tx: ServerTransaction) -> None:
        tx.on_end = None
        respond(tx, 200)

    world.rb.answer = answer
    user = User()
    hops = world.hops(world.a, "sip:10.0.0.2")
    for n in range(3000):
        world.a.send(request(call_id=f"c{n}"), hops, user)
        if n % 100 == 0:
            world.run(0.01)
    world.run(1)
    assert user.statuses == [200] * 3000
    assert world.b.counters()["server"] == 3000
    world.finish()


# ------------------------------------------------------------------------------------------------------------- malformed
GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: x\r\nAccept: everything\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    b"INVITE sip:x SIP/2.0\r\n" + b"A" * 5000,
    bytes(range(256)) * 8,
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKx\r\n\r\n",
    b"OPTIONS sip:x SIP/2.0\r\nVia: \xff\xfe\r\nFrom: \x00\r\nTo: \r\nCall-ID: \r\nCSeq: x y z\r\n\r\n",
]


@pytest.mark.parametrize("data", GARBAGE)
def test_garbage_is_counted_and_harms_nothing(data: bytes) -> None:
    world = World()
    world.listen("udp")
    wire = Wire(world.net, ("10.0.0.9", 5060))
    wire.send(data, A)
    world.run(0)
    assert world.a.counters()["malformed"] == 1 and len(world.ra.bad) == 1 and world.ra.requests == [] and wire.got == []
    wire.send(raw(), A)
    world.run(0)
    assert len(world.ra.requests) == 1
    respond(world.ra.requests[0], 200)
    wire.sock.close()
    world.finish()


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ((b" SIP/2.0\r\n", b" SIP/7.0\r\n"), "SIP/2.0 505 Version Not Supported"),
        ((b"Call-ID: c1\r\n", b""), "SIP/2.0 400 Missing Call-ID Header"),
        ((b"1 OPTIONS\r\nContent", b"1 BYE\r\nContent"), "SIP/2.0 400 CSeq Method Mismatch"),
        ((b"<sip:x@10.0.0.9>", b"<<<"), "SIP/2.0 400 Invalid From Header"),
    ],
)
def test_malformed_requests_are_answered_when_they_can_be(change: tuple[bytes, bytes], answer: str) -> None:
    world = World()
    world.listen("udp")
    wire = Wire(world.net, ("10.0.0.9", 7777))
    data = raw(via="10.0.0.9:7777", rport=True)
    assert change[0] in data
    wire.send(data.replace(*change), A)
    world.run(0)
    assert wire.starts() == [answer] and world.a.counters()["malformed"] == 1
    assert b"received=10.0.0.9" in wire.got[0] and b"rport=7777" in wire.got[0]
    assert world.ra.requests == [] and world.a.counters()["server"] == 0
    wire.sock.close()
    world.finish()


def test_malformed_ack_and_response_get_no_answer() -> None:
    world = World()
    world.listen("udp")
    wire = Wire(world.net, ("10.0.0.9", 5060))
    wire.send(raw("ACK").replace(b"Call-ID: c1\r\n", b""), A)
    wire.send(raw("ACK").replace(b"<sip:x@10.0.0.9>", b"<<<"), A)
    world.run(0)
    assert wire.got == [] and world.a.counters()["malformed"] + world.a.counters()["received"] >= 2
    wire.sock.close()
    world.finish()


def test_handler_that_raises_everywhere() -> None:
    world = World()
    world.listen("udp", "tcp")

    class Broken:
        def __getattr__(self, name: str) -> object:
            def bad(*args: object) -> bool:
                raise RuntimeError(name)

            return bad

    world.a.handler = Broken()  # type: ignore[assignment]
    wire = Wire(world.net, ("10.0.0.9", 5060))
    peer = RawStream()
    world.net.connect(A, peer, bind="10.0.0.9")
    world.run(0)
    for data in (raw(), raw("ACK", to_tag="q"), b"garbage that is long enough to be taken seriously", b"\r\n\r\n"):
        wire.send(data, A)
    peer.stream.write(b"\r\n\r\n" + raw("INVITE", transport="TCP", branch="z9hG4bKt", call_id="c9"))
    world.run(0)
    assert [s.split()[1] for s in wire.starts()] == ["500"] and "500" in peer.starts()[0]
    assert world.a.counters()["errors"] == 10
    world.expected_errors = 10
    wire.sock.close()
    peer.stream.close()
    world.finish()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_prefix_and_any_flipped_byte(data: st.DataObject) -> None:
    """Whatever arrives: no exception, no state that stays."""
    world = World()
    world.listen("udp", "tcp")
    world.ra.answer = lambda tx: respond(tx, 200) if tx.request.method != "INVITE" else respond(tx, 486)
    message = bytearray(raw(data.draw(st.sampled_from(["OPTIONS", "INVITE", "CANCEL", "ACK", "BYE"])), rport=True))
    for _ in range(data.draw(st.integers(0, 6))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(message[: data.draw(st.integers(0, len(message)))])
    wire = Wire(world.net, ("10.0.0.9", 5060))
    wire.send(cut, A)
    peer = RawStream()
    world.net.connect(A, peer, bind="10.0.0.9")
    world.run(0)
    peer.stream.write(cut)
    world.run(0)
    wire.sock.close()
    world.finish(120)

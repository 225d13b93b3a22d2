"""A small world for the tests of transports and transactions: two stacks on a simulated network, and peers that speak raw bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from ngcpd.runtime.fake import SeededRng, SimClock
from ngcpd.runtime.ports import Address
from ngcpd.runtime.simnet import SimHost, SimNet
from ngcpd.sip.endpoint import Hop
from ngcpd.sip.flow import Flow, Limits
from ngcpd.sip.message import Request, Response, parse_message, reply
from ngcpd.sip.server import ServerTransaction
from ngcpd.sip.stack import ClientTransaction, Stack
from ngcpd.sip.transaction import Timers
from ngcpd.sip.uri import Uri

WORLDS: list[World] = []
GAUGES = ("invite_server", "server", "invite_client", "client", "flows", "connecting", "timers", "dns_waiting", "errors")


class Recorder:
    """A handler that writes everything down; `answer` decides what happens with a request."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.requests: list[ServerTransaction] = []
        self.acks: list[Request] = []
        self.strays: list[Response] = []
        self.bad: list[tuple[Exception, bytes]] = []
        self.flows: list[Flow] = []
        self.keepalives: list[Flow] = []
        self.ended: list[str] = []
        self.cancels: list[Request] = []
        self.admit = True
        self.answer: Any = None
        self.answer_malformed = True

    def request(self, tx: ServerTransaction) -> None:
        self.requests.append(tx)
        self.flows.append(tx.flow)
        tx.on_end = self.ended.append
        tx.on_cancel = self.cancels.append
        if self.answer is not None:
            self.answer(tx)

    def ack(self, request: Request, flow: Flow) -> None:
        self.acks.append(request)

    def stray_response(self, response: Response, flow: Flow) -> None:
        self.strays.append(response)

    def malformed(self, error: Exception, data: bytes, flow: Flow) -> None:
        self.bad.append((error, data))
        if self.answer_malformed:
            self.stack.reply_malformed(error, flow)

    def accept(self, address: Address, transport: str) -> bool:
        return self.admit

    def keepalive(self, flow: Flow) -> None:
        self.keepalives.append(flow)


class User:
    """A user of client transactions that writes everything down."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.responses: list[Response] = []
        self.failures: list[str] = []

    def response(self, tx: ClientTransaction, response: Response) -> None:
        self.statuses.append(response.status)
        self.responses.append(response)

    def failed(self, tx: ClientTransaction, kind: str) -> None:
        self.failures.append(kind)


class Wire:
    """A raw datagram peer."""

    def __init__(self, net: SimNet | SimHost, address: Address) -> None:
        self.got: list[bytes] = []
        self.at: list[float] = []
        self.froms: list[Address] = []
        self.clock = net.world.clock if isinstance(net, SimHost) else net.clock
        self.sock = net.udp(address, self._receive)
        self.address = self.sock.address

    def _receive(self, data: bytes, source: Address) -> None:
        self.got.append(data)
        self.at.append(round(self.clock.monotonic(), 3))
        self.froms.append(source)

    def send(self, data: bytes, to: Address) -> None:
        assert self.sock.send(data, to)

    def messages(self) -> list[Request | Response]:
        return [parse_message(d) for d in self.got]

    def starts(self) -> list[str]:
        return [d.split(b"\r\n", 1)[0].decode() for d in self.got]

    def clear(self) -> None:
        self.got.clear()
        self.at.clear()
        self.froms.clear()


class RawStream:
    """A raw stream peer: a handler for `Net.connect` and `Net.listen`."""

    def __init__(self) -> None:
        self.stream: Any = None
        self.data = b""
        self.reason = ""

    def opened(self, stream: Any) -> None:
        self.stream = stream

    def received(self, data: bytes) -> None:
        self.data += data

    def closed(self, reason: str) -> None:
        self.reason = reason

    def starts(self) -> list[str]:
        return [part.lstrip().split(b"\r\n", 1)[0].decode() for part in self.data.split(b"\r\n\r\n") if part.strip()]


class World:
    """`a` and `b` are stacks on 10.0.0.1 and 10.0.0.2 (and fd00::1, fd00::2) with a Recorder each."""

    def __init__(self, seed: int = 1, timers: Timers | None = None, limits: Limits | None = None) -> None:
        self.clock = SimClock()
        self.rng = SeededRng(seed)
        self.net = SimNet(self.clock, self.rng)
        self.stacks: list[Stack] = []
        self.finished = False
        self.expected_errors = 0
        WORLDS.append(self)
        self.a = self.stack(("10.0.0.1", "fd00::1"), timers, limits)
        self.b = self.stack(("10.0.0.2", "fd00::2"), timers, limits)
        self.ra: Recorder = self.a.handler  # type: ignore[assignment]
        self.rb: Recorder = self.b.handler  # type: ignore[assignment]

    def stack(self, hosts: Iterable[str], timers: Timers | None = None, limits: Limits | None = None) -> Stack:
        stack = Stack(self.clock, self.rng, self.net.host(*hosts), timers, limits=limits)
        stack.handler = Recorder(stack)
        self.stacks.append(stack)
        return stack

    def listen(self, *transports: str) -> None:
        for stack, n in ((self.a, 1), (self.b, 2)):
            for transport in transports:
                stack.listen(transport, (f"10.0.0.{n}", 5060))

    def hops(self, stack: Stack, uri: str, **kw: Any) -> list[Hop]:
        found = stack.endpoint.resolve(Uri.parse(uri), **kw)
        assert isinstance(found, list)
        return found

    def run(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def idle(self) -> None:
        """Nothing is left anywhere."""
        for stack in self.stacks:
            counters = stack.counters()
            left = {name: counters[name] for name in GAUGES if counters[name]}
            if left.get("errors") == self.expected_errors:
                del left["errors"]
            assert not left, left
            assert not stack._layer.merged and not stack._layer.acks

    def finish(self, seconds: float = 70.0) -> None:
        """Let all time pass, close what idles, and look for leaks."""
        self.finished = True
        self.run(seconds)
        for stack in self.stacks:
            for flow in list(stack.transports.flows.values()):
                flow.close()
        self.run(10.0)
        self.idle()
        for stack in self.stacks:
            stack.close()
        self.run(10.0)
        self.idle()
        assert not self.net.streams
        hosts = {address for stack in self.stacks for address in stack.transports.net.addresses}  # type: ignore[attr-defined]
        assert not [a for a in (*self.net.sockets, *self.net.listeners) if a[0] in hosts]
        assert self.clock.pending() == 0


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Import this into a test module: after each test every world in it is brought to its end and must be empty."""
    WORLDS.clear()
    yield
    for world in WORLDS:
        if not world.finished:
            world.finish(120.0)
    WORLDS.clear()


def request(
    method: str = "OPTIONS", uri: str = "sip:bob@10.0.0.2", *, call_id: str = "c1", cseq: int = 1, to_tag: str = "", body: bytes = b""
) -> Request:
    """A request without a Via, as a user of the stack makes it."""
    to = f"<{uri}>" + (f";tag={to_tag}" if to_tag else "")
    fields = [("Max-Forwards", "70"), ("From", "<sip:alice@10.0.0.1>;tag=f1"), ("To", to), ("Call-ID", call_id), ("CSeq", f"{cseq} {method}")]
    return Request.make(method, uri, fields, body)


def raw(
    method: str = "OPTIONS",
    *,
    branch: str | None = "z9hG4bKx1",
    via: str = "10.0.0.9:5060",
    rport: bool = False,
    transport: str = "UDP",
    call_id: str = "c1",
    cseq: int = 1,
    to_tag: str = "",
    from_tag: str = "f1",
    uri: str = "sip:bob@10.0.0.1",
    extra: str = "",
) -> bytes:
    """A request as a peer sends it."""
    params = (f";branch={branch}" if branch is not None else "") + (";rport" if rport else "")
    to = "<sip:bob@10.0.0.1>" + (f";tag={to_tag}" if to_tag else "")
    return (
        f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {via}{params}\r\nMax-Forwards: 70\r\nFrom: <sip:x@10.0.0.9>;tag={from_tag}\r\n"
        f"To: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n{extra}Content-Length: 0\r\n\r\n"
    ).encode()


def respond(tx: ServerTransaction, status: int, tag: str = "t1") -> None:
    tx.respond(reply(tx.request, status, to_tag=tag))


def answer(data: bytes, status: int, tag: str = "t1", *, fields: Iterable[tuple[str, str]] = ()) -> bytes:
    """A raw peer's answer to the request in `data`."""
    message = parse_message(data)
    assert isinstance(message, Request)
    return reply(message, status, to_tag=tag, fields=fields).to_bytes()

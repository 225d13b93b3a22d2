"""SIP over WebSocket on real sockets, against the client of another library."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from ngcpd.runtime.ports import Address, TlsServer
from ngcpd.runtime.real import ReactorClock, ReactorNet, SystemRng
from ngcpd.sip.flow import Limits
from ngcpd.sip.message import reply
from ngcpd.sip.stack import Stack
from ngcpd.sip.transaction import Timers
from ngcpd.sip.websocket import WebSocketRules
from tests.runtime.certificates import make_certificate
from tests.sip.moving import Recorder, raw
from tests.webphone import frame, opening

FAST = Timers(t1=0.1, t2=0.4, t4=0.1, linger=0.2, completed=0.2)


class Site:
    """A stack with WebSockets on ephemeral ports of 127.0.0.1 and ::1."""

    def __init__(self, tls: TlsServer | None, rules: WebSocketRules, limits: Limits | None) -> None:
        self.net = ReactorNet(reactor)
        self.stack = Stack(ReactorClock(reactor), SystemRng(), self.net, FAST, limits=limits, websockets=rules)
        self.handler = Recorder(self.stack)
        self.handler.answer = lambda tx: tx.respond(reply(tx.request, 200, to_tag="t1"))
        self.stack.handler = self.handler
        self.where: dict[str, Address] = {}
        for host in ("127.0.0.1", "::1"):
            for transport in ("tcp",) + (("tls",) if tls else ()):
                sock = self.stack.listen(transport, (host, 0), tls=tls if transport == "tls" else None)
                self.where[f"{sock.web.transport}{sock.family}"] = sock.address  # type: ignore[union-attr]

    def url(self, kind: str, path: str = "/ws") -> str:
        host, port = self.where[kind]
        return f"{kind[:-1]}://{'[' + host + ']' if ':' in host else host}:{port}{path}"

    async def idle(self) -> None:
        names = ("server", "client", "flows", "timers")
        for _ in range(300):
            counters = self.stack.counters()
            if not any(counters[name] for name in names) and not self.net.streams:
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError({name: counters[name] for name in names})
        assert counters["errors"] == 0


@asynccontextmanager
async def site(tls: TlsServer | None = None, rules: WebSocketRules | None = None, limits: Limits | None = None) -> AsyncIterator[Site]:
    made = Site(tls, rules or WebSocketRules(), limits)
    try:
        yield made
        await made.idle()
    finally:
        made.stack.close()


def web(url: str, **kwargs: Any) -> connect:
    """The library's client, as a browser would call."""
    if url.startswith("wss:"):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        kwargs["ssl"] = context
    return connect(url, subprotocols=[Subprotocol("sip")], proxy=None, ping_interval=None, close_timeout=3, **kwargs)


def on_loop(fn: Callable[..., Awaitable[None]]) -> Any:
    """A test that is a coroutine of asyncio."""

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        loop = cast("Any", reactor)._asyncioEventloop
        return Deferred.fromFuture(loop.create_task(asyncio.wait_for(fn(*args, **kwargs), 20)))

    return pytest_twisted.ensureDeferred(run)


def options(n: int = 1) -> bytes:
    return raw(via="a.invalid", branch=f"z9hG4bKw{n}", transport="WS", call_id=f"w{n}").replace(b"Content-Length: 0\r\n", b"")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> TlsServer:
    return make_certificate(Path(tmp_path_factory.mktemp("tls")))


@pytest.mark.parametrize("kind", ["ws4", "ws6", "wss4", "wss6"])
@on_loop
async def test_request_and_answer(certificate: TlsServer, kind: str) -> None:
    async with site(certificate) as here:
        async with web(here.url(kind)) as client:
            assert client.subprotocol == "sip"
            await client.send(options(1).decode())
            assert (await client.recv()).startswith("SIP/2.0 200 OK")  # type: ignore[arg-type]
            await client.send([options(2)[:50], options(2)[50:]])
            assert (await client.recv()).startswith("SIP/2.0 200 OK")  # type: ignore[arg-type]
            await (await client.ping())
            await client.send("\r\n\r\n")
            assert await client.recv() == "\r\n"
            flow = here.handler.flows[0]
            assert flow is here.handler.flows[1] and flow.transport == kind[:-1] and flow.family == int(kind[-1])
            assert flow.secure == (kind[:3] == "wss") and flow.local == here.where[kind] and flow.remote[1] == client.local_address[1]
        assert client.close_code == 1000


@on_loop
async def test_large_messages_both_ways() -> None:
    body = b"x" * 60_000
    async with site() as here:
        text = [("Content-Type", "text/plain")]
        here.handler.answer = lambda tx: tx.respond(reply(tx.request, 200, to_tag="t1", fields=text, body=tx.request.body))
        async with web(here.url("ws4"), max_size=None) as client:
            await asyncio.gather(*(client.send((options(n) + body).decode()) for n in range(5)))
            for _ in range(5):
                assert (await client.recv()).endswith("\r\n\r\n" + body.decode())  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["ws4", "wss4"])
@on_loop
async def test_too_much_is_told_even_to_one_who_is_still_talking(certificate: TlsServer, kind: str) -> None:
    async with site(certificate) as here, web(here.url(kind)) as client:
        with pytest.raises(ConnectionClosed):
            await client.send("x" * 3_000_000)
            await client.recv()
        await client.wait_closed()
        assert client.close_code == 1009
        assert here.handler.requests == []


@on_loop
async def test_refusals() -> None:
    async with site(rules=WebSocketRules(origins=("https://phone.example",))) as here:
        for path, origin, status in (("/other", "https://phone.example", 404), ("/ws", "https://evil.example", 403), ("/ws", None, 403)):
            with pytest.raises(InvalidStatus) as caught:
                async with web(here.url("ws4", path), origin=cast("Any", origin)):
                    pass
            assert caught.value.response.status_code == status
        async with web(here.url("ws4", "/"), origin=cast("Any", "https://phone.example")):
            pass


@on_loop
async def test_pings_of_ours_and_a_peer_that_is_gone() -> None:
    async with site(rules=WebSocketRules(ping_interval=0.2)) as here:
        async with web(here.url("ws4")) as client:
            await asyncio.sleep(1.0)  # several pings long
            await client.send(options().decode())
            assert (await client.recv()).startswith("SIP/2.0 200 OK")  # type: ignore[arg-type]
        silent = await plain(here, opening())
        assert b" 101 " in await silent.until(b"\r\n\r\n")
        assert (await silent.to_end()).endswith(frame(9, mask=None) * 2 + frame(8, b"\x03\xf3no answer to pings", mask=None))


@on_loop
async def test_ends_of_connections_are_known_at_once() -> None:
    async with site() as here:
        for way in ("close", "shutdown", "reset"):
            peer = await plain(here, opening() + frame(1, options()))
            await peer.until(b"SIP/2.0 200 OK")
            flow = here.handler.flows[-1]
            gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            flow.watch(lambda _, gone=gone: gone.set_result(None))
            if way == "shutdown":
                peer.sock.shutdown(socket.SHUT_WR)
            elif way == "reset":
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                peer.sock.close()
            else:
                peer.sock.close()
            await asyncio.wait_for(gone, 0.9)
            peer.sock.close()


@on_loop
async def test_slow_handshake() -> None:
    async with site(rules=WebSocketRules(handshake=0.3)) as here:
        peer = await plain(here, opening()[:-1])
        assert await peer.to_end() == b""


@on_loop
async def test_sip_on_the_same_port() -> None:
    async with site() as here:
        peer = await plain(here, raw(transport="TCP", branch="z9hG4bKt"))
        assert (await peer.until(b"\r\n\r\n")).startswith(b"SIP/2.0 200 OK")
        assert here.handler.flows[0].transport == "tcp"
        peer.sock.close()


@on_loop
async def test_the_stack_goes_away() -> None:
    async with site() as here, web(here.url("ws4")) as client:
        here.stack.close()
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1001


class Plain:
    """A raw connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.data = b""

    async def _more(self) -> bool:
        more = await asyncio.get_running_loop().sock_recv(self.sock, 65_536)
        self.data += more
        return bool(more)

    async def until(self, mark: bytes) -> bytes:
        while mark not in self.data:
            assert await self._more(), f"hung up after {self.data!r}"
        return self.data

    async def to_end(self) -> bytes:
        while await self._more():
            pass
        self.sock.close()
        return self.data


async def plain(here: Site, hello: bytes) -> Plain:
    sock = socket.socket()
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, here.where["ws4"])
    await loop.sock_sendall(sock, hello)
    return Plain(sock)

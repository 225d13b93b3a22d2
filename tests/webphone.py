"""The client's end of a WebSocket for tests, with its own reading and writing of frames, and phones that speak SIP over it.

    client = WebClient(); net.connect(server, client)     raw: frames as they are
    phone = web_phone(net, address, ...)                  a `tests.phones.Phone`
"""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import Any

from ngcpd.runtime.ports import Address
from tests.phones import Phone

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = base64.b64encode(b"0123456789abcdef").decode()
ACCEPT = base64.b64encode(hashlib.sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


def opening(path: str = "/ws", *, first: str = "", **fields: str | None) -> bytes:
    """An HTTP request for a WebSocket; fields by name with _ for -, None leaves one out."""
    known: dict[str, str | None] = {
        "Host": "server.example",
        "Upgrade": "websocket",
        "Connection": "keep-alive, Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "sip",
    }
    known |= {name.replace("_", "-"): value for name, value in fields.items()}
    lines = [first or f"GET {path} HTTP/1.1"] + [f"{name}: {value}" for name, value in known.items() if value is not None]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


MASK = b"\x11\x22\x33\x44"


def frame(op: int, payload: bytes = b"", *, fin: bool = True, mask: bytes | None = MASK, rsv: int = 0, length: int | None = None) -> bytes:
    """One frame; `length` is what it says of itself."""
    size = len(payload) if length is None else length
    bit = 0x80 if mask is not None else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | op])
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + struct.pack(">H", size)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", size)
    if mask is None:
        return head + payload
    return head + mask + bytes(c ^ mask[i % 4] for i, c in enumerate(payload))


class WebClient:
    """Handler of a stream: says `hello`, then collects what comes.

    `status` and `fields` (lower-case names) of the HTTP answer, `body` after a refusal; `frames` as (opcode, payload) in order; `closes` the
    close codes received (0: none given). Pings are answered while `pongs`, a close while `polite`. `reason` once the connection is gone.
    """

    def __init__(self, hello: bytes = opening(), handler: Any = None) -> None:
        self.hello = hello
        self.handler = handler
        self.stream: Any = None
        self.status = 0
        self.fields: dict[str, str] = {}
        self.body = b""
        self.frames: list[tuple[int, bytes]] = []
        self.closes: list[int] = []
        self.close_reason = ""
        self.pongs = True
        self.polite = True
        self.reason = ""
        self._data = b""

    # ---- for tests
    def send(self, data: bytes, op: int = TEXT) -> None:
        self.raw(frame(op, data))

    def raw(self, data: bytes) -> None:
        self.stream.write(data)

    @property
    def messages(self) -> list[bytes]:
        return [payload for op, payload in self.frames if op in (TEXT, BINARY)]

    def starts(self) -> list[str]:
        return [m.split(b"\r\n", 1)[0].decode() for m in self.messages]

    # ---- handler
    def opened(self, stream: Any) -> None:
        self.stream = stream
        if self.hello:
            stream.write(self.hello)

    def received(self, data: bytes) -> None:
        self._data += data
        if not self.status and not self._answer():
            return
        if self.status != 101:
            self.body, self._data = self.body + self._data, b""
            return
        while self._frame():
            pass

    def closed(self, reason: str) -> None:
        self.reason = reason
        if self.handler is not None:
            self.handler.closed(reason)

    # ---- what stands behind a handler: a stream of whole messages
    @property
    def local(self) -> Address:
        return self.stream.local

    @property
    def remote(self) -> Address:
        return self.stream.remote

    def write(self, data: bytes) -> None:
        self.send(data)

    def abort(self) -> None:
        self.stream.abort()

    def close(self) -> None:
        self.raw(frame(CLOSE, struct.pack(">H", 1000)))

    def _answer(self) -> bool:
        head, found, rest = self._data.partition(b"\r\n\r\n")
        if not found:
            return False
        lines = head.decode("latin-1").split("\r\n")
        assert lines[0].startswith("HTTP/1.1 "), lines[0]
        self.status = int(lines[0].split(" ")[1])
        self.fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        self._data = rest
        if self.status == 101:
            assert self.fields["sec-websocket-accept"] == ACCEPT and self.fields["sec-websocket-protocol"] == "sip"
            assert "sec-websocket-extensions" not in self.fields
            if self.handler is not None:
                self.handler.opened(self)
        return True

    def _frame(self) -> bool:
        data = self._data
        if len(data) < 2:
            return False
        assert data[0] & 0xF0 == 0x80, "fragmented, or reserved bits"
        assert not data[1] & 0x80, "a server must not mask"
        size, at = data[1] & 0x7F, 2
        if size == 126:
            size, at = struct.unpack(">H", data[2:4])[0] if len(data) >= 4 else 1 << 30, 4
        elif size == 127:
            size, at = struct.unpack(">Q", data[2:10])[0] if len(data) >= 10 else 1 << 30, 10
        if len(data) < at + size:
            return False
        op, payload = data[0] & 0x0F, data[at : at + size]
        self._data = data[at + size :]
        self.frames.append((op, payload))
        if op == PING and self.pongs:
            self.raw(frame(PONG, payload))
        elif op == CLOSE:
            self.closes.append(struct.unpack(">H", payload[:2])[0] if payload else 0)
            self.close_reason = payload[2:].decode()
            if self.polite:
                self.raw(frame(CLOSE, payload))
        elif op == TEXT:
            payload.decode()
        if op in (TEXT, BINARY) and self.handler is not None:
            self.handler.received(payload)
        return True


class WebNet:
    """A Net whose connections are WebSockets; the last one is `client`."""

    def __init__(self, net: Any) -> None:
        self.net = net
        self.client: WebClient | None = None

    def connect(self, address: Address, handler: Any, tls: Any = None, timeout: float = 10.0, bind: str | None = None) -> None:
        self.client = WebClient(handler=handler)
        self.net.connect(address, self.client, tls, timeout, bind)


class WebPhone(Phone):
    """A browser's phone: its Via and Contact are `xyz.invalid` (RFC 7118 5)."""

    def __init__(self, net: Any, address: Address, user: str, domain: str, password: str, server: Address) -> None:
        self.web = WebNet(net)
        super().__init__(self.web, address, user, domain, password, server, "ws")  # type: ignore[arg-type]
        self.via = f"SIP/2.0/WS {user}.invalid"
        self.contact = f"sip:{user}@{user}.invalid;transport=ws"

    @property
    def client(self) -> WebClient:
        assert self.web.client is not None
        return self.web.client

"""The server's end of one WebSocket (RFC 6455) with subprotocol `sip` (RFC 7118), as octets in and octets out: no socket, no clock.

    session = WebSocketSession(rules, limit)
    for message in session.feed(data): ...
    stream.write(session.output())

Each WebSocket message, text or binary, is one SIP message. What goes out is text when it is UTF-8, else binary.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from websockets.datastructures import Headers
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from ngcpd.sip.framing import KEEPALIVE, Keepalive, is_keepalive

OPENING: Final = b"GET /"
"""How a handshake begins; no SIP request does, for a SIP Request-URI has a scheme."""
MAX_HANDSHAKE: Final = 8192
SLICE: Final = 4096
"""The library reads all it is fed at once; fed by slices, a flood of tiny frames is noticed after the first of them."""
MAX_CONTROL: Final = 64
"""Control frames, and messages too short to be one, in what came at once."""
MAX_FRAGMENTS: Final = 128
"""Frames of one message."""
_SUBPROTOCOL: Final = Subprotocol("sip")

_silent = logging.getLogger("ngcpd.sip.websocket.library")  # what it would say, `WebSocketSession.trouble` says
_silent.propagate = False
_silent.addHandler(logging.NullHandler())
_silent.setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class WebSocketRules:
    """What is accepted on the SIP ports as a WebSocket. Times in seconds."""

    paths: tuple[str, ...] = ("/ws", "/")
    origins: tuple[str, ...] = ()
    """Origins of pages that may connect, as `https://host[:port]` or as a host alone; none = every origin. With a list, a request without an
    Origin is refused too."""
    handshake: float = 10.0
    """From the connection to the end of the handshake."""
    ping_interval: float = 25.0
    """Between our pings; 0 = none."""
    missed: int = 2
    """Pings without any sign of life after which the connection is cut."""

    def welcomes(self, origin: str | None) -> bool:
        """May a page of that origin connect?"""
        if not self.origins:
            return True
        if origin is None:
            return False
        wanted = origin.strip().lower()
        host = _host_of(wanted)
        return any(wanted == known if "://" in known else known in (host, wanted) for known in (o.lower().rstrip("/") for o in self.origins))


def _host_of(origin: str) -> str:
    """`https://a.example:8443` -> `a.example`, `http://[::1]:80` -> `::1`; "" for "null"."""
    rest = origin.partition("://")[2]
    if rest.startswith("["):
        return rest[1:].partition("]")[0]
    return rest.partition(":")[0]


class WebSocketSession:
    """One connection, from its HTTP request on.

    `open`: the handshake is done and nobody has said goodbye. `ended`: nothing more will come or go, the connection is to be closed once
    `output` was sent; `trouble` then says what the peer did wrong ("" for a regular end). `partial`: a message, a frame or the handshake
    has begun and is not complete.
    """

    __slots__ = ("_control", "_head", "_own", "_parts", "_protocol", "_rules", "_text", "trouble")

    def __init__(self, rules: WebSocketRules, limit: int) -> None:
        self._rules = rules
        self._protocol = ServerProtocol(subprotocols=[_SUBPROTOCOL], max_size=limit, logger=_silent)
        self._head: bytearray | None = bytearray()  # the HTTP request; None once it was answered
        self._parts: list[bytes] = []  # frames of a message that is not complete
        self._text = False
        self._control = 0
        self._own = b""  # an answer that is not the library's
        self.trouble = ""

    @property
    def open(self) -> bool:
        return self._protocol.state is State.OPEN

    @property
    def ended(self) -> bool:
        return self._protocol.eof_sent

    @property
    def partial(self) -> bool:
        return self._head is not None or bool(self._parts) or bool(self._protocol.reader.buffer)

    # ----------------------------------------------------------------------------------------------------------- output
    def output(self) -> bytes:
        """What is to be sent now. May be empty."""
        own, self._own = self._own, b""
        return own + b"".join(self._protocol.data_to_send())

    def message(self, data: bytes) -> bytes:
        """A whole SIP message (or keepalive) as it goes out, with what else waits. Only while `open`."""
        protocol = self._protocol
        if data.isascii() or is_utf8(data):
            protocol.send_text(data)
        else:
            protocol.send_binary(data)
        return self.output()

    def ping(self) -> bytes:
        """A ping as it goes out. Only while `open`."""
        self._protocol.send_ping(b"")
        return self.output()

    def close(self, code: int, reason: str = "") -> bytes:
        """Our goodbye as it goes out; `ended` when the peer has answered it. Only while `open`."""
        self._protocol.send_close(code, reason)
        return self.output()

    # ------------------------------------------------------------------------------------------------------------ input
    def feed(self, data: bytes) -> list[bytes | Keepalive]:
        """Take octets as they came; the messages they complete, in order. Never raises: see `ended` and `trouble`."""
        out: list[bytes | Keepalive] = []
        if self._head is not None:
            data = self._shake_hands(data)
        self._control = 0
        protocol = self._protocol
        for at in range(0, len(data), SLICE):
            if protocol.eof_sent:
                break
            protocol.receive_data(data[at : at + SLICE] if len(data) > SLICE else data)
            for event in protocol.events_received():
                if isinstance(event, Frame):
                    self._frame(event, out)
                if self.trouble:
                    break
        if protocol.eof_sent:
            self._parts.clear()
            if not self.trouble and protocol.close_sent is not None and protocol.parser_exc is not None:
                self.trouble = f"{protocol.close_sent.code} {protocol.close_sent.reason}".strip()
        return out

    def _frame(self, frame: Frame, out: list[bytes | Keepalive]) -> None:
        code = frame.opcode
        if code is Opcode.TEXT or code is Opcode.BINARY:
            self._text = code is Opcode.TEXT
        elif code is not Opcode.CONT:
            self._tiny()
            return
        if not frame.fin or self._parts:
            self._parts.append(bytes(frame.data))
            if len(self._parts) > MAX_FRAGMENTS:
                self._fail(CloseCode.POLICY_VIOLATION, "too many fragments")
                return
            if not frame.fin:
                return
            whole = b"".join(self._parts)
            self._parts.clear()
        else:
            whole = bytes(frame.data)
        if self._text and not whole.isascii() and not is_utf8(whole):
            self._fail(CloseCode.INVALID_DATA, "text that is not UTF-8")
        elif not is_keepalive(whole):
            out.append(whole)
        else:
            self._tiny()
            if b"\r\n\r\n" in whole and not whole.strip(b"\r\n"):
                out.append(KEEPALIVE)

    def _tiny(self) -> None:
        self._control += 1
        if self._control > MAX_CONTROL:
            self._fail(CloseCode.POLICY_VIOLATION, "too many control frames")

    def _fail(self, code: CloseCode, reason: str) -> None:
        if not self._protocol.eof_sent:
            self._protocol.fail(code, reason)
        self.trouble = f"{int(code)} {reason}"

    # -------------------------------------------------------------------------------------------------------- handshake
    def _shake_hands(self, data: bytes) -> bytes:
        """Collect and answer the HTTP request; what came behind it."""
        head = self._head
        assert head is not None
        looked = max(0, len(head) - 3)
        head += data
        end = head.find(b"\r\n\r\n", looked)
        if end < 0 and len(head) <= MAX_HANDSHAKE:
            return b""
        self._head = None
        if end < 0 or end > MAX_HANDSHAKE:
            self._reject(431, "Request Header Fields Too Large")
            return b""
        self._protocol.receive_data(bytes(head[: end + 4]))
        request = next(iter(self._protocol.events_received()), None)
        if not isinstance(request, Request):
            self._unreadable()
            return b""
        response = self._refusal(request) or self._protocol.accept(request)
        if response.status_code != 101:
            self.trouble = f"HTTP {response.status_code}"
        for name in ("Date", "Server"):
            if name in response.headers:
                del response.headers[name]
        self._protocol.send_response(response)
        return bytes(head[end + 4 :])

    def _refusal(self, request: Request) -> Response | None:
        """What the library does not look at. None: it decides."""
        headers = request.headers
        origins = headers.get_all("Origin")
        if request.path.partition("?")[0] not in self._rules.paths:
            return _response(404, "Not Found", "No WebSocket here.")
        if len(headers.get_all("Host")) != 1:
            return _response(400, "Bad Request", "Exactly one Host header field is needed.")
        if "Upgrade" not in headers:
            return None
        if len(origins) > 1:
            return _response(400, "Bad Request", "More than one Origin header field.")
        if not self._rules.welcomes(origins[0] if origins else None):
            return _response(403, "Forbidden", "Pages of this origin may not connect.")
        if headers.get_all("Sec-WebSocket-Version") not in (["13"], []):  # RFC 6455 4.4
            version = (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))
            return _response(426, "Upgrade Required", "WebSocket version 13 is spoken here.", *version)
        return None

    def _unreadable(self) -> None:
        """The library has no request: it has either answered (a line too long) or given up without a word."""
        self._own = b"".join(self._protocol.data_to_send())
        self.trouble = "HTTP request refused"
        if not self._own:
            self._own = _response(400, "Bad Request", "That is no HTTP request.").serialize()

    def _reject(self, status: int, reason: str) -> None:
        self.trouble = f"HTTP {status}"
        self._protocol.send_response(_response(status, reason, reason + "."))


def _response(status: int, reason: str, text: str, *more: tuple[str, str]) -> Response:
    body = text.encode("ascii") + b"\n"
    fields = [*more, ("Connection", "close"), ("Content-Length", str(len(body))), ("Content-Type", "text/plain; charset=utf-8")]
    return Response(status, reason, Headers(fields), body)


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


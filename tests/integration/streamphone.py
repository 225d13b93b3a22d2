"""A phone on a TLS connection, for what SIPp was not built with. Blocking; every wait has a deadline."""

from __future__ import annotations

import socket
import ssl
from collections import deque

from tests.phones import Msg, digest
from tests.servers.daemon import DOMAIN, DaemonProcess, password

SECONDS = 15.0


class TlsPhone:
    """testuserN, connected from `ip` to the TLS port of a daemon."""

    def __init__(self, daemon: DaemonProcess, n: int, ip: str) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        plain = socket.create_connection((daemon.ip, daemon.port + 1), timeout=SECONDS, source_address=(ip, 0))
        self.socket = context.wrap_socket(plain, server_hostname="sip.example")
        self.user = f"testuser{n}"
        self.secret = password(n)
        host, port = self.socket.getsockname()[:2]
        self.host_port = f"{host}:{port}"
        self.contact = f"<sip:{self.user}@{self.host_port};transport=tls>"
        self.inbox: deque[Msg] = deque()
        self._buffer = b""
        self._n = 0

    def send(self, lines: list[str], body: bytes = b"") -> None:
        self.socket.sendall("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)

    def take(self, what: int | str) -> Msg:
        """The next message, which must be this status or method; repetitions of earlier ones do not come on a stream."""
        while True:
            head, found, rest = self._buffer.lstrip(b"\r\n").partition(b"\r\n\r\n")
            if found:
                length = int(Msg(head + b"\r\n\r\n", ("", 0)).get("content-length", "0"))
                if len(rest) >= length:
                    self._buffer = rest[length:]
                    msg = Msg(head + found + rest[:length], ("", 0))
                    assert what in (msg.status, msg.method if not msg.status else None), msg.raw.decode()
                    return msg
            part = self.socket.recv(65536)
            assert part, f"hung up while waiting for {what}"
            self._buffer += part

    def register(self) -> None:
        self._register("")
        challenge = self.take(401)["www-authenticate"]
        self._register(digest(challenge, self.user, self.secret, "REGISTER", f"sip:{DOMAIN}"))
        self.take(200)

    def _register(self, authorization: str) -> None:
        self._n += 1
        me = f"<sip:{self.user}@{DOMAIN}>"
        lines = [
            f"REGISTER sip:{DOMAIN} SIP/2.0",
            f"Via: SIP/2.0/TLS {self.host_port};branch=z9hG4bKreg{self._n}",
            "Max-Forwards: 70",
            f"From: {me};tag=r1",
            f"To: {me}",
            f"Call-ID: {self.host_port}",
            f"CSeq: {self._n} REGISTER",
            f"Contact: {self.contact}",
            "Expires: 600",
        ]
        self.send(lines + ([f"Authorization: {authorization}"] if authorization else []))

    def reply(self, request: Msg, status: str, body: bytes = b"") -> None:
        to = request["to"] + ("" if ";tag=" in request["to"] else ";tag=tls")
        head = [f"SIP/2.0 {status}", *[f"Via: {v}" for v in request.headers["via"]], f"From: {request['from']}", f"To: {to}"]
        head += [f"Call-ID: {request['call-id']}", f"CSeq: {request['cseq']}", f"Contact: {self.contact}"]
        self.send(head + (["Content-Type: application/sdp"] if body else []), body)

    def close(self) -> None:
        self.socket.close()

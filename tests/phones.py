"""Scripted SIP parties that share no code with the product: they build and read messages as text.

A `Phone` sits on any `Net` (simulated or real). Tests send with `request`/`reply` and look at `take(...)`, which fails with the whole
inbox when the expected message is not there.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable
from typing import Any

from ngcpd.runtime.ports import Address, Net, Stream, UdpSocket

COMPACT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length", "c": "content-type", "k": "supported"}


class Msg:
    """A received message: `line` (first line), `headers` (lower-case name -> values in order), `body`."""

    def __init__(self, data: bytes, source: Address) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = re.sub(r"\r\n[ \t]+", " ", head.decode("latin-1")).split("\r\n")
        self.raw = data
        self.source = source
        self.line = lines[0]
        self.headers: dict[str, list[str]] = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            self.headers.setdefault(COMPACT.get(name, name), []).append(value.strip())
        self.status = int(self.line.split(" ")[1]) if self.line.startswith("SIP/2.0") else 0
        self.method = self["cseq"].split()[1] if self.status else self.line.split(" ")[0]
        self.uri = "" if self.status else self.line.split(" ")[1]

    def __getitem__(self, name: str) -> str:
        values = self.headers.get(name)
        if not values:
            raise KeyError(f"no {name} in {self.line}")
        return values[0]

    def get(self, name: str, default: str = "") -> str:
        values = self.headers.get(name)
        return values[0] if values else default

    @property
    def tag(self) -> str:
        """To-tag."""
        found = re.search(r";tag=([^;>\s]+)", self["to"])
        return found.group(1) if found else ""

    @property
    def from_tag(self) -> str:
        found = re.search(r";tag=([^;>\s]+)", self["from"])
        return found.group(1) if found else ""

    @property
    def cseq(self) -> int:
        return int(self["cseq"].split()[0])

    @property
    def contact(self) -> str:
        found = re.search(r"<([^>]+)>", self["contact"])
        assert found, self["contact"]
        return found.group(1)

    def __repr__(self) -> str:
        return f"<{self.line} cseq={self.get('cseq')} to={self.get('to')}>"


def sdp(host: str, port: int, extra: str = "", version: int = 1, direction: str = "sendrecv") -> bytes:
    """An audio offer or answer with PCMA and telephone-event."""
    family = "IP6" if ":" in host else "IP4"
    return (
        f"v=0\r\no=- 4242 {version} IN {family} {host}\r\ns=-\r\nc=IN {family} {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8 101\r\n"
        f"a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na={direction}\r\n{extra}"
    ).encode()


def media_of(body: bytes) -> tuple[str, int]:
    """(address, port) of the first audio stream."""
    text = body.decode()
    address = re.search(r"c=IN IP[46] (\S+)", text)
    port = re.search(r"m=audio (\d+)", text)
    assert address and port, text
    return address.group(1), int(port.group(1))


def digest(challenge: str, user: str, password: str, method: str, uri: str) -> str:
    """Authorization value for a challenge without qop (RFC 2069 style)."""
    realm = re.search(r'realm="([^"]*)"', challenge)
    nonce = re.search(r'nonce="([^"]*)"', challenge)
    assert realm and nonce, challenge

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    response = md5(f"{md5(f'{user}:{realm.group(1)}:{password}')}:{nonce.group(1)}:{md5(f'{method}:{uri}')}")
    return f'Digest username="{user}", realm="{realm.group(1)}", nonce="{nonce.group(1)}", uri="{uri}", response="{response}", algorithm=MD5'


class Connection:
    """A TCP phone's way to the server: one connection from the phone's address, opened at once and, when it was lost, by the next `send`."""

    def __init__(self, net: Net, address: Address, server: Address, receive: Callable[[bytes, Address], None]) -> None:
        self.net = net
        self.address = address
        self.server = server
        self.receive = receive
        self.stream: Stream | None = None
        self.closed_reasons: list[str] = []
        self._data = b""
        self._queue: list[bytes] = []
        self._connecting = False
        self.connect()

    def connect(self) -> None:
        self._connecting = True
        self.net.connect(self.server, self, bind=self.address[0])

    def opened(self, stream: Stream) -> None:
        self.stream = stream
        self._connecting = False
        queue, self._queue = self._queue, []
        for data in queue:
            stream.write(data)

    def received(self, data: bytes) -> None:
        self._data += data
        while True:
            head, found, rest = self._data.partition(b"\r\n\r\n")
            if not found:
                return
            length = re.search(rb"(?im)^(?:content-length|l)[ \t]*:[ \t]*(\d+)", head)
            size = int(length.group(1)) if length else 0
            if len(rest) < size:
                return
            self._data = rest[size:]
            self.receive(head + b"\r\n\r\n" + rest[:size], self.server)

    def closed(self, reason: str) -> None:
        self.closed_reasons.append(reason)
        self.stream = None
        self._connecting = False
        self._data = b""

    def send(self, data: bytes, to: Address) -> bool:
        if self.stream is not None:
            self.stream.write(data)
            return True
        self._queue.append(data)
        if not self._connecting:
            self.connect()
        return True

    def drop(self) -> None:
        """Lose the connection."""
        if self.stream is not None:
            self.stream.abort()
            self.stream = None

    def close(self) -> None:
        if self.stream is not None:
            self.stream.close()


class Outgoing:
    """An INVITE this phone sent, and the dialog that may come of it."""

    def __init__(self, phone: Phone, target: str, call_id: str) -> None:
        self.phone = phone
        self.target = target
        self.call_id = call_id
        self.from_tag = f"ft{phone.next()}"
        self.to_tag = ""
        self.remote = target
        self.cseq = 0
        self.branch = ""
        self.fields: list[str] = []
        self.routes: list[str] = []

    def send(
        self,
        method: str,
        body: bytes = b"",
        fields: list[str] | None = None,
        *,
        cseq: int = 0,
        branch: str = "",
        ctype: str = "application/sdp",
        uri: str = "",
    ) -> None:
        if not cseq:
            self.cseq += 1
            cseq = self.cseq
        self.branch = branch or f"z9hG4bK{self.phone.user}{self.phone.next()}"
        phone = self.phone
        to = f"<{self.target}>" + (f";tag={self.to_tag}" if self.to_tag else "")
        lines = [
            f"{method} {uri or self.remote} SIP/2.0",
            f"Via: {phone.via};branch={self.branch};rport",
            "Max-Forwards: 70",
            f"From: {phone.from_value};tag={self.from_tag}",
            f"To: {to}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: <{phone.contact}>",
            *(f"Route: {r}" for r in self.routes),
            *(fields or []),
        ]
        if body:
            lines.append(f"Content-Type: {ctype}")
        phone.send(lines, body)

    def ack(self, final: Msg, body: bytes = b"") -> None:
        """ACK a final answer: same branch for a failure, end to end for a 2xx."""
        if final.status >= 300:
            saved, self.to_tag = self.to_tag, final.tag
            self.send("ACK", cseq=final.cseq, branch=self.branch, uri=self.target)
            self.to_tag = saved
        else:
            self.to_tag = final.tag
            self.remote = final.contact
            self.send("ACK", body, cseq=final.cseq)

    def cancel(self) -> None:
        self.send("CANCEL", cseq=self.cseq, branch=self.branch)

    def bye(self) -> None:
        self.send("BYE")


class Phone:
    """One subscriber's device, or a stranger's."""

    def __init__(self, net: Net, address: Address, user: str, domain: str, password: str, server: Address, transport: str = "udp") -> None:
        self.user = user
        self.domain = domain
        self.password = password
        self.server = server
        self.address = address
        self.party = address[0]
        """Whose it is: a proxy in front of a phone may see what that phone may."""
        self.host_port = f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
        self.from_value = f"<sip:{user}@{domain}>"
        self.inbox: deque[Msg] = deque()
        self.seen: list[Msg] = []
        self.sent: list[Msg] = []
        self.auto: Callable[[Msg], bool] | None = None
        self._n = 0
        self.via = f"SIP/2.0/{transport.upper()} {self.host_port}"
        self.contact = f"sip:{user}@{self.host_port}" + (f";transport={transport}" if transport != "udp" else "")
        self.socket: UdpSocket | Connection
        if transport == "udp":
            self.socket = net.udp(address, self._received)
        else:
            self.socket = Connection(net, address, server, self._received)
        self.reg_cseq = 0

    def next(self) -> int:
        self._n += 1
        return self._n

    def _received(self, data: bytes, source: Address) -> None:
        if not data.strip(b"\r\n\0"):
            return
        msg = Msg(data, source)
        self.seen.append(msg)
        if self.auto is None or not self.auto(msg):
            self.inbox.append(msg)

    def send(self, lines: list[str], body: bytes = b"", to: Address | None = None) -> None:
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
        data = head.encode("latin-1") + body
        self.sent.append(Msg(data, self.address))
        self.socket.send(data, to or self.server)

    # --------------------------------------------------------------------------------------------------------- looking
    def take(self, what: int | str) -> Msg:
        """The first message in the inbox with this status or method; it is removed."""
        for msg in self.inbox:
            if (msg.status == what) if isinstance(what, int) else (not msg.status and msg.method == what):
                self.inbox.remove(msg)
                return msg
        raise AssertionError(f"{self.user}: no {what} in {list(self.inbox)}")

    def has(self, what: int | str) -> bool:
        return any((m.status == what) if isinstance(what, int) else (not m.status and m.method == what) for m in self.inbox)

    # -------------------------------------------------------------------------------------------------------- speaking
    def register_request(self, contact: str | None = None, expires: int | None = 3600, fields: list[str] | None = None, auth: str = "") -> None:
        self.reg_cseq += 1
        contact = f"<{self.contact}>" if contact is None else contact
        lines = [
            f"REGISTER sip:{self.domain} SIP/2.0",
            f"Via: {self.via};branch=z9hG4bKreg{self.user}{self.next()};rport",
            "Max-Forwards: 70",
            f"From: <sip:{self.user}@{self.domain}>;tag=reg{self.user}",
            f"To: <sip:{self.user}@{self.domain}>",
            f"Call-ID: reg-{self.user}-{self.address[0]}-{self.address[1]}",
            f"CSeq: {self.reg_cseq} REGISTER",
            *([f"Contact: {contact}"] if contact else []),
            *([f"Expires: {expires}"] if expires is not None else []),
            *([f"Authorization: {auth}"] if auth else []),
            *(fields or []),
        ]
        self.send(lines)

    def register(self, run: Callable[[], Any], **kwargs: Any) -> Msg:
        """REGISTER, answer the challenge, return the final answer. `run()` lets the world move on."""
        self.register_request(**kwargs)
        run()
        challenge = self.take(401)
        auth = digest(challenge["www-authenticate"], self.user, self.password, "REGISTER", f"sip:{self.domain}")
        self.register_request(auth=auth, **kwargs)
        run()
        return self.inbox.popleft()

    def invite(
        self, target: str, body: bytes = b"", fields: list[str] | None = None, call_id: str = "", *, ctype: str = "application/sdp"
    ) -> Outgoing:
        """Send an INVITE without credentials."""
        call = Outgoing(self, target, call_id or f"call-{self.user}-{self.next()}@{self.address[0]}")
        call.fields = fields or []
        call.send("INVITE", body, call.fields, ctype=ctype)
        return call

    def call(
        self,
        target: str,
        run: Callable[[], Any],
        body: bytes = b"",
        fields: list[str] | None = None,
        call_id: str = "",
        *,
        ctype: str = "application/sdp",
    ) -> Outgoing:
        """INVITE, 407, ACK, INVITE with credentials (CSeq + 1)."""
        call = self.invite(target, body, fields, call_id, ctype=ctype)
        run()
        challenge = self.take(407)
        call.ack(challenge)
        auth = digest(challenge["proxy-authenticate"], self.user, self.password, "INVITE", target)
        call.send("INVITE", body, [*call.fields, f"Proxy-Authorization: {auth}"], ctype=ctype)
        run()
        return call

    def reply(
        self,
        request: Msg,
        status: int,
        reason: str = "",
        body: bytes = b"",
        fields: list[str] | None = None,
        tag: str = "",
        ctype: str = "application/sdp",
        contact: bool = True,
    ) -> None:
        """Answer a request; a tag is added to To when it has none."""
        to = request["to"]
        if ";tag=" not in to and status > 100:
            to += f";tag={tag or 'tt' + self.user}"
        lines = [
            f"SIP/2.0 {status} {reason or 'Reason'}",
            *[f"Via: {v}" for v in request.headers["via"]],
            f"From: {request['from']}",
            f"To: {to}",
            f"Call-ID: {request['call-id']}",
            f"CSeq: {request['cseq']}",
            *([f"Contact: <{self.contact}>"] if contact else []),
            *(fields or []),
        ]
        if body:
            lines.append(f"Content-Type: {ctype}")
        self.send(lines, body, request.source)

    def in_dialog(
        self,
        invite: Msg,
        method: str,
        cseq: int,
        body: bytes = b"",
        fields: list[str] | None = None,
        tag: str = "",
        branch: str = "",
        ctype: str = "application/sdp",
    ) -> str:
        """A request of the called party inside the dialog that `invite` made. Returns its branch."""
        branch = branch or f"z9hG4bKin{self.user}{self.next()}"
        to_tag = tag or f"tt{self.user}"
        lines = [
            f"{method} {invite.contact} SIP/2.0",
            f"Via: {self.via};branch={branch};rport",
            "Max-Forwards: 70",
            f"From: {invite['to']};tag={to_tag}",
            f"To: {invite['from']}",
            f"Call-ID: {invite['call-id']}",
            f"CSeq: {cseq} {method}",
            f"Contact: <{self.contact}>",
            *(fields or []),
        ]
        if body:
            lines.append(f"Content-Type: {ctype}")
        self.send(lines, body, invite.source)
        return branch

    def close(self) -> None:
        self.socket.close()

"""Messages as simulated user agents write and read them. Shares nothing with the product."""

from __future__ import annotations

import hashlib


class In:
    """A received message. `status` is 0 for a request; `method` of a response is that of its CSeq."""

    __slots__ = ("body", "branch", "call_id", "cseq", "from_", "from_tag", "h", "line", "method", "status", "to", "to_tag", "uri", "via")

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.line = line = lines[0]
        h: dict[str, str] = {}
        for field in lines[1:]:
            name, _, value = field.partition(": ")
            if name in h:
                value = f"{h[name]}, {value}"
            h[name] = value
        self.h = h
        number, _, method = h["CSeq"].partition(" ")
        self.cseq = int(number)
        if line.startswith("SIP/2.0 "):
            self.status = int(line[8:11])
            self.method = method
            self.uri = ""
        else:
            self.status = 0
            self.method, self.uri, _ = line.split(" ", 2)
        self.call_id = h["Call-ID"]
        self.from_ = h["From"]
        self.to = h["To"]
        self.from_tag = tag(self.from_)
        self.to_tag = tag(self.to)
        self.via = h["Via"]
        self.branch = self.via.partition("branch=")[2].partition(";")[0].partition(",")[0]

    @property
    def contact(self) -> str:
        return self.h.get("Contact", "").partition("<")[2].partition(">")[0]

    def has(self, name: str, token: str) -> bool:
        return token in self.h.get(name, "")

    def __repr__(self) -> str:
        return f"<{self.line} {self.cseq} {self.method} {self.call_id} to={self.to_tag}>"


def tag(value: str) -> str:
    return value.rpartition(";tag=")[2].partition(";")[0] if ";tag=" in value else ""


def request(method: str, uri: str, via: str, from_: str, to: str, call_id: str, cseq: int, more: str = "", body: bytes = b"") -> bytes:
    kind = "Content-Type: application/sdp\r\n" if body else ""
    return (
        f"{method} {uri} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nFrom: {from_}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n"
        f"CSeq: {cseq} {method}\r\n{more}{kind}Content-Length: {len(body)}\r\n\r\n"
    ).encode("latin-1") + body


def response(to: In, status: int, local_tag: str = "", more: str = "", body: bytes = b"") -> bytes:
    kind = "Content-Type: application/sdp\r\n" if body else ""
    end = f"{to.to};tag={local_tag}" if local_tag and not to.to_tag else to.to
    return (
        f"SIP/2.0 {status} Reason\r\nVia: {to.via}\r\nFrom: {to.from_}\r\nTo: {end}\r\nCall-ID: {to.call_id}\r\n"
        f"CSeq: {to.cseq} {to.method}\r\n{more}{kind}Content-Length: {len(body)}\r\n\r\n"
    ).encode("latin-1") + body


def sdp(host: str, port: int, version: int = 1, direction: str = "sendrecv") -> bytes:
    family = "IP6" if ":" in host else "IP4"
    return (
        f"v=0\r\no=- 77 {version} IN {family} {host}\r\ns=-\r\nc=IN {family} {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8 101\r\n"
        f"a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
    ).encode()


def _quoted(text: str, name: str) -> str:
    return text.partition(f'{name}="')[2].partition('"')[0]


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def digest(challenge: str, user: str, password: str, method: str, uri: str) -> str:
    realm, nonce = _quoted(challenge, "realm"), _quoted(challenge, "nonce")
    answer = _md5(f"{_md5(f'{user}:{realm}:{password}')}:{nonce}:{_md5(f'{method}:{uri}')}")
    return f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", response="{answer}", algorithm=MD5'


class Cutter:
    """Cuts a stream into messages by Content-Length; keepalives are left out."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> list[bytes]:
        self._data += data
        out = []
        while True:
            self._data = self._data.lstrip(b"\r\n")
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return out
            at = self._data.find(b"Content-Length: ", 0, end)
            size = end + 4 + int(self._data[at + 16 : self._data.find(b"\r\n", at)])
            if len(self._data) < size:
                return out
            out.append(self._data[:size])
            self._data = self._data[size:]

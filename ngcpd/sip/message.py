"""SIP messages: reading them from bytes, looking at them, changing them, writing them (RFC 3261 7, 8, 20).

Reading is strict at once about what decides where a message begins, ends and belongs: first line, version, header syntax, line breaks, presence
and uniqueness of the single headers, topmost Via, CSeq, Content-Length. Everything else is decoded when asked for. Where RFC 3261 leaves room:

- A line ends with CRLF. A lone CR or LF in the header block is an error (400): it is how headers are smuggled past a filter.
- Blanks before the colon are legal and dropped; names are brought to one spelling, so a filter by name sees every variant.
- Limits: message 65,535 octets, 500 header lines, a header value 16 KiB, 256 values of a header that is decoded as a list.
- CRLFs before the first line are skipped. Octets behind Content-Length are ignored; without Content-Length the body reaches to the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import compress, repeat
from operator import itemgetter
from typing import Final

from ngcpd.sip.address import Via
from ngcpd.sip.base import STAR as STAR
from ngcpd.sip.base import Fields, Message, parse_cseq
from ngcpd.sip.base import Star as Star
from ngcpd.sip.codes import reason_of
from ngcpd.sip.errors import ParseError as ParseError
from ngcpd.sip.grammar import is_token, number
from ngcpd.sip.names import NAMES, SINGLE, SPELLINGS, canonical
from ngcpd.sip.uri import Uri

MAX_MESSAGE: Final = 65_535
MAX_LINES: Final = 500
MAX_VALUE: Final = 16_384
METHODS: Final = frozenset(
    ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "PRACK", "UPDATE", "INFO", "MESSAGE", "SUBSCRIBE", "NOTIFY", "PUBLISH", "REFER")
)
DIALOG_METHODS: Final = frozenset(("INVITE", "SUBSCRIBE", "REFER", "NOTIFY"))
_MANDATORY: Final = ("Via", "From", "To", "Call-ID", "CSeq")
_STATUS: Final[dict[str, int]] = {str(status): status for status in range(100, 700)}
_name_of = itemgetter(0)

KEPT_NAMES: Final = 1024
_plain: Final[set[str]] = set(NAMES)
"""Names that are canonical as they stand: the registered ones, and what else came first so spelled (up to a limit; the rest is only slower)."""


def _named(fields: Iterable[tuple[str, str]]) -> Fields:
    made = list(fields)
    if _plain.issuperset(map(_name_of, made)):
        return made
    return [(SPELLINGS.get(name) or canonical(name), value) for name, value in made]


class Request(Message):
    """A request. `uri` is the text of the Request-URI; `ruri` the same decoded."""

    __slots__ = ("_method", "_ruri", "uri")

    def __init__(self, method: str, uri: str, fields: Fields, body: bytes = b"", first: dict[str, str] | None = None) -> None:
        Message.__init__(self, fields, body, first)
        self._method = method
        self.uri = uri
        self._ruri: tuple[str, Uri] | None = None

    @classmethod
    def make(cls, method: str, uri: str | Uri, fields: Iterable[tuple[str, str]], body: bytes = b"") -> Request:
        """A request to be sent."""
        return cls(method, str(uri), _named(fields), body)

    @property
    def method(self) -> str:
        return self._method

    @property
    def ruri(self) -> Uri:
        """The Request-URI. ParseError, code 416 for a foreign scheme."""
        got = self._ruri
        if got is None or got[0] != self.uri:
            got = self._ruri = (self.uri, Uri.parse(self.uri))
        return got[1]

    def start_line(self) -> str:
        return f"{self._method} {self.uri} SIP/2.0"

    def copy(self) -> Request:
        """An independent copy (the body, being bytes, is shared)."""
        return Request(self._method, self.uri, self.fields.copy(), self.body)

    def under(self, via: str) -> Request:
        """A copy with one more Via at the top."""
        return Request(self._method, self.uri, [("Via", via), *self.fields], self.body)

    def __repr__(self) -> str:
        return f"<Request {self._method} {self.uri}>"


class Response(Message):
    """A response. `method` is that of its CSeq."""

    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: str, fields: Fields, body: bytes = b"", first: dict[str, str] | None = None) -> None:
        Message.__init__(self, fields, body, first)
        self.status = status
        self.reason = reason

    @classmethod
    def make(cls, status: int, reason: str, fields: Iterable[tuple[str, str]], body: bytes = b"") -> Response:
        """A response to be sent. An empty reason becomes the default one."""
        return cls(status, reason or reason_of(status), _named(fields), body)

    @property
    def method(self) -> str:
        """ParseError when there is no readable CSeq."""
        return (self._cseq or self._read_cseq())[1]

    def start_line(self) -> str:
        return f"SIP/2.0 {self.status} {self.reason}"

    def copy(self) -> Response:
        """An independent copy (the body, being bytes, is shared)."""
        return Response(self.status, self.reason, self.fields.copy(), self.body)

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.reason}>"


_ECHOED: Final = frozenset(_MANDATORY)  # what an answer has of its request (RFC 3261 8.2.6)
_ECHOED_ROUTED: Final = _ECHOED | {"Record-Route"}
_ECHOED_TIMED: Final = _ECHOED | {"Timestamp"}


def reply(
    request: Request, status: int, reason: str = "", *, to_tag: str = "", fields: Iterable[tuple[str, str]] = (), body: bytes = b""
) -> Response:
    """The answer to a request (RFC 3261 8.2.6), also to one that only partly parsed: what it lacks is left out.

    `to_tag` is added to a To without a tag unless the status is 100. Record-Route is copied into 101..299 for methods that make dialogs,
    Timestamp into 100.
    """
    index = request.names()
    wanted = _ECHOED
    if "Record-Route" in index and 100 < status < 300 and request.method in DIALOG_METHODS:
        wanted = _ECHOED_ROUTED
    elif status == 100 and "Timestamp" in index:
        wanted = _ECHOED_TIMED
    fields_of = request.fields
    out: Fields = list(compress(fields_of, map(wanted.__contains__, map(_name_of, fields_of))))
    if len(index) != len(fields_of):
        out = [field for n, field in enumerate(out) if field[0] in ("Via", "Record-Route") or field[0] not in map(_name_of, out[:n])]
    if to_tag and status != 100:
        value = index.get("To")
        if value is not None and not _has_tag(request, value):
            out[out.index(("To", value))] = ("To", f"{value};tag={to_tag}")
    out += _named(fields)
    return Response(status, reason or reason_of(status), out, body)


def _has_tag(request: Request, value: str) -> bool:
    try:
        return request.to_tag != ""
    except ParseError:
        return "tag=" in value.lower().replace(" ", "").replace("\t", "")


# ---------------------------------------------------------------------------------------------------------------- reading
def parse_message(data: bytes) -> Request | Response:
    """Read one whole message: a datagram, or what a StreamFramer cut. ParseError, with `request` set as far as it can be answered."""
    try:
        return _parse(data)
    except ParseError as error:
        error.request = _salvage(data)
        raise


def _parse(data: bytes) -> Request | Response:
    if len(data) > MAX_MESSAGE:
        raise ParseError("Message Too Large", 513)
    if data[:1] in (b"\r", b"\n"):
        data = data.lstrip(b"\r\n")
    end = data.find(b"\r\n\r\n")
    if end < 0:
        raise ParseError("Incomplete Message")
    head = data[:end].decode("latin-1")
    breaks = head.count("\r\n")
    if breaks > MAX_LINES:
        raise ParseError("Too Many Headers")
    if head.count("\r") != breaks or head.count("\n") != breaks:
        raise ParseError("Stray Line Break")
    line, _, rest = head.partition("\r\n")
    response = line[:4].upper() == "SIP/"
    method = uri = reason = ""
    status = 0
    if response:
        status, reason = _status_line(line)
    else:
        method, uri = _request_line(line)
    fields, first = _read_fields(rest)
    get = first.get
    if not (get("Via") and get("From") and get("To") and get("Call-ID") and get("CSeq")):
        for name in _MANDATORY:
            if not get(name):
                raise ParseError(f"Missing {name} Header")
    cseq = parse_cseq(first["CSeq"])
    if not response and cseq[1] != method:
        raise ParseError("CSeq Method Mismatch")
    body = data[end + 4 :]
    length = get("Content-Length")
    if length is not None and length != str(len(body)):
        body = _cut_body(body, length)
    message = Response(status, reason, fields, body, first) if response else Request(method, uri, fields, body, first)
    message._cseq = cseq
    via = first["Via"]
    message._via = Via.parse(via) if "," not in via else message.via  # who the message belongs to; decoded once and kept
    return message


def _status_line(line: str) -> tuple[int, str]:
    version, _, rest = line.partition(" ")
    if version.upper() != "SIP/2.0":
        raise ParseError("Version Not Supported", 505)
    code, _, reason = rest.partition(" ")
    status = _STATUS.get(code)
    if status is None:
        raise ParseError("Bad Status Line")
    return status, reason


def _request_line(line: str) -> tuple[str, str]:
    parts = line.split(" ")
    version = parts[-1]
    if version != "SIP/2.0" and version.upper() != "SIP/2.0":
        name, _, digits = version.partition("/")
        if name.upper() == "SIP" and digits.replace(".", "", 1).isdecimal():
            raise ParseError("Version Not Supported", 505)
        raise ParseError("Bad Request Line")
    if len(parts) != 3 or not parts[1]:
        raise ParseError("Bad Request Line")
    method = parts[0]
    if method not in METHODS and not is_token(method):
        raise ParseError("Bad Request Line")
    return method, parts[1]


def _read_fields(rest: str) -> tuple[Fields, dict[str, str]]:
    """All header lines, and the value of the first line of each name.

    Nearly all messages are written plainly: canonical names, one blank behind the colon, none at the end. Such a block is cut and indexed without
    a look at the single line; any other (a folded line begins with a blank, so its name is no plain one) is read by `_read_lines`.
    """
    if "\t" in rest or " \r\n" in rest or ":  " in rest or rest[-1:] == " ":
        return _read_lines(rest)
    try:
        fields: Fields = list(map(tuple, map(str.split, rest.split("\r\n"), repeat(": "), repeat(1))))  # type: ignore[arg-type]  # pairs, or:
        first = dict(fields)  # ValueError: a line without colon and blank
    except ValueError:
        return _read_lines(rest)
    if not _plain.issuperset(first):
        return _read_lines(rest)
    if len(first) != len(fields):
        first = dict(reversed(fields))
        names = list(map(_name_of, fields))
        for name in SINGLE.intersection(first):
            if names.count(name) > 1:
                return _read_lines(rest)
    if len(rest) > MAX_VALUE:
        _check_lengths(fields)
    return fields, first


def _read_lines(rest: str) -> tuple[Fields, dict[str, str]]:
    """All header lines one by one: unfolded, names canonical, single ones seen once."""
    if rest[:1] in (" ", "\t"):
        raise ParseError("Bad Request Line")
    if "\r\n " in rest or "\r\n\t" in rest:
        rest = rest.replace("\r\n ", " ").replace("\r\n\t", " ")
    fields: Fields = []
    first: dict[str, str] = {}
    add = fields.append
    spelling = SPELLINGS.get
    for line in rest.split("\r\n"):
        name, colon, value = line.partition(":")
        known = spelling(name)
        if known is None:
            if not colon:
                raise ParseError("Bad Header Line")
            known = canonical(name)
            if known == name and len(name) <= 64 and len(_plain) < KEPT_NAMES:
                _plain.add(name)
        elif not colon:
            raise ParseError("Bad Header Line")
        value = value.strip(" \t")
        if known not in first:
            first[known] = value
        elif known in SINGLE:
            raise ParseError(f"Duplicate {known} Header")
        add((known, value))
    if len(rest) > MAX_VALUE:
        _check_lengths(fields)
    return fields, first


def _check_lengths(fields: Fields) -> None:
    if max([len(value) for _, value in fields]) > MAX_VALUE:
        raise ParseError("Header Too Long")


def _cut_body(body: bytes, length: str) -> bytes:
    size = number(length, MAX_MESSAGE, "Bad Content-Length Header")
    if size > len(body):
        raise ParseError("Content-Length Mismatch")
    return body[:size]


def _salvage(data: bytes) -> Request | None:
    """What can be read of a malformed request, for its answer. None when there is nothing to answer, or no way back."""
    data = data[:MAX_MESSAGE].lstrip(b"\r\n")
    end = data.find(b"\r\n\r\n")
    head = (data if end < 0 else data[:end]).decode("latin-1")
    line, _, rest = head.partition("\r\n")
    words = line.split()
    if len(words) < 3 or not is_token(words[0]) or words[-1][:4].upper() != "SIP/" or words[0] == "ACK":
        return None
    fields: Fields = []
    for text in rest.replace("\r\n ", " ").replace("\r\n\t", " ").split("\r\n", MAX_LINES)[:MAX_LINES]:
        name, colon, value = text.partition(":")
        if not colon or "\r" in text or "\n" in text or len(value) > MAX_VALUE:
            continue
        try:
            fields.append((canonical(name), value.strip(" \t")))
        except ParseError:
            continue  # an unreadable name: the line is not needed to answer
    request = Request(words[0], " ".join(words[1:-1]), fields)
    try:
        _ = request.via
    except ParseError:
        try:
            request._via = Via.salvage(request.first("Via") or "")
        except ParseError:
            return None  # no way back
    return request

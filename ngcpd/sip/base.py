"""What requests and responses have in common: their header fields, looked at, decoded, changed and written (RFC 3261 7, 20)."""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from typing import Final

from ngcpd.sip.address import MAX_EXPIRES, NameAddr, Via
from ngcpd.sip.errors import ParseError
from ngcpd.sip.grammar import is_token, number, split_list
from ngcpd.sip.names import NAMES, SPELLINGS, canonical

MAX_VALUES: Final = 256  # of a header that is decoded as a list
MAX_CSEQ: Final = 2**31 - 1
Fields = list[tuple[str, str]]
_TAG = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3d\x3f-\x5b\x5d-\x7e]+\Z")  # a token or what devices take for one: it can stand without quotes
_HOPS: Final[dict[str, int]] = {str(n): n for n in range(256)}  # the values of Max-Forwards, read twice per request
_COLON: Final = ": ".join


class Star(Enum):
    """The Contact value `*`."""

    STAR = "*"


STAR: Final = Star.STAR


class Message:
    """What requests and responses have in common.

    `fields` are (canonical name, unfolded and stripped value) in the order of the message; read it freely, change it by the methods only.
    What is decoded of the headers that every message has is kept in a slot each, of the others in `_lists`.
    """

    __slots__ = ("_contacts", "_cseq", "_first", "_from", "_lists", "_to", "_via", "_vias", "body", "fields")

    def __init__(self, fields: Fields, body: bytes = b"", first: dict[str, str] | None = None) -> None:
        self.fields = fields
        self.body = body
        self._first = first  # name -> value of its first line; made on demand
        self._from: NameAddr | None = None
        self._to: NameAddr | None = None
        self._via: Via | None = None
        self._vias: list[Via] | None = None
        self._cseq: tuple[int, str] | None = None
        self._contacts: list[NameAddr] | Star | None = None
        self._lists: dict[str, list[NameAddr]] | None = None

    @property
    def method(self) -> str:
        raise NotImplementedError

    def start_line(self) -> str:
        raise NotImplementedError

    # ---- looking
    def names(self) -> dict[str, str]:
        """Every canonical name that occurs, with the value of its first line. Not to be changed."""
        first = self._first
        if first is None:
            fields = self.fields
            first = dict(fields)
            if len(first) != len(fields):  # of a name on several lines the first counts
                first = dict(reversed(fields))
            self._first = first
        return first

    def first(self, name: str) -> str | None:
        """The value of the first line with this name, None when there is none."""
        first = self._first
        if first is None:
            first = self.names()
        found = first.get(name)
        return found if found is not None or name in NAMES else first.get(canonical(name))

    def __contains__(self, name: str) -> bool:
        return self.first(name) is not None

    def _present(self, name: str) -> str:
        """The canonical spelling of a name that occurs, "" when it does not."""
        first = self._first
        if first is None:
            first = self.names()
        if name in first:
            return name
        if name in NAMES:
            return ""
        name = canonical(name)
        return name if name in first else ""

    def raw(self, name: str) -> list[str]:
        """The value of each line with this name."""
        name = self._present(name)
        if not name:
            return []
        first = self.names()
        if len(first) == len(self.fields):  # no name is there twice
            return [first[name]]
        return [v for n, v in self.fields if n == name]

    def values(self, name: str) -> list[str]:
        """All values of a comma list header over all its lines, without empty ones. ParseError for open quotes or brackets.

        Not for headers whose commas mean something else: Authorization and its kin, Date, Subject, User-Agent.
        """
        out: list[str] = []
        for line in self.raw(name):
            out += [v for v in split_list(line) if v]
        return out

    def has_token(self, name: str, token: str) -> bool:
        """True when the comma list holds this token (case does not matter), parameters behind it aside."""
        if self.first(name) is None:
            return False
        token = token.lower()
        return any(v.partition(";")[0].rstrip(" \t").lower() == token for v in self.values(name))

    # ---- decoded headers, each raises ParseError
    def _need(self, name: str) -> str:
        value = self.names().get(name)
        if not value:
            raise ParseError(f"Missing {name} Header")
        return value

    @property
    def call_id(self) -> str:
        first = self._first
        return (first.get("Call-ID") if first is not None else None) or self._need("Call-ID")

    def _party(self, name: str, reason: str) -> NameAddr:
        try:
            party = NameAddr.parse(self._need(name))
        except ParseError as error:
            raise ParseError(reason) from error
        # an empty tag is neither in a dialog nor out of it; a quoted one could hide more
        if party.params and "tag" in party.params and not _TAG.match(party.tag):
            raise ParseError(reason)
        return party

    # Each message is asked for these two a dozen times.
    @property
    def from_(self) -> NameAddr:
        got = self._from
        if got is None:
            got = self._from = self._party("From", "Invalid From Header")
        return got

    @property
    def to(self) -> NameAddr:
        got = self._to
        if got is None:
            got = self._to = self._party("To", "Invalid To Header")
        return got

    @property
    def from_tag(self) -> str:
        got = self._from
        return (self.from_ if got is None else got).tag

    @property
    def to_tag(self) -> str:
        got = self._to
        return (self.to if got is None else got).tag

    @property
    def cseq(self) -> int:
        return (self._cseq or self._read_cseq())[0]

    def _read_cseq(self) -> tuple[int, str]:
        got = self._cseq = parse_cseq(self._need("CSeq"))
        return got

    @property
    def via(self) -> Via:
        """The topmost Via."""
        got = self._via
        if got is None:
            value = self._need("Via")
            if "," in value:
                value = self._list("Via", "Bad Via Header")[0]
            got = self._via = Via.parse(value)
        return got

    @property
    def vias(self) -> list[Via]:
        got = self._vias
        if got is None:
            value = self._need("Via")
            got = [self.via]
            if "," in value or len(self.names()) != len(self.fields):
                got += [Via.parse(value) for value in self._list("Via", "Bad Via Header")[1:]]
            self._vias = got
        return got

    def _list(self, name: str, reason: str) -> list[str]:
        lines = self.raw(name)
        if len(lines) == 1 and "," not in lines[0]:
            return lines
        out: list[str] = []
        for line in lines:
            if "," not in line:
                out.append(line)
                continue
            try:
                out += split_list(line)
            except ParseError as error:
                raise ParseError(reason) from error
        if len(out) > MAX_VALUES:
            raise ParseError(reason)
        return out

    def addresses(self, name: str, reason: str = "") -> list[NameAddr]:
        """All values of a name-addr header (Route, Path, P-Asserted-Identity, Diversion ...), cached. [] when there is none."""
        name = self._present(name)
        if not name:
            return []
        lists = self._lists
        if lists is None:
            lists = self._lists = {}
        got = lists.get(name)
        if got is None:
            reason = reason or f"Bad {name} Header"
            try:
                got = [NameAddr.parse(value) for value in self._list(name, reason)]
            except ParseError as error:
                raise ParseError(reason) from error
            lists[name] = got
        return got

    @property
    def contacts(self) -> list[NameAddr] | Star:
        """[] when there is no Contact; STAR for `*`, which may only stand alone."""
        got = self._contacts
        if got is None:
            if self.names().get("Contact") == "*" and len(self.raw("Contact")) == 1:
                got = STAR
            else:
                got = self.addresses("Contact", "Bad Contact Header")
            self._contacts = got
        return got

    @property
    def routes(self) -> list[NameAddr]:
        return self.addresses("Route")

    @property
    def record_routes(self) -> list[NameAddr]:
        return self.addresses("Record-Route")

    @property
    def max_forwards(self) -> int | None:
        """0..255, None when absent."""
        value = self.names().get("Max-Forwards")
        if value is None:
            return None
        hops = _HOPS.get(value)
        return number(value, 255, "Bad Max-Forwards Header") if hops is None else hops

    @property
    def expires(self) -> int | None:
        """Seconds, below 2**32; None when absent."""
        value = self.names().get("Expires")
        return None if value is None else number(value, MAX_EXPIRES, "Bad Expires Header")

    @property
    def content_type(self) -> str:
        """`type/subtype` in lower case without parameters, "" when absent."""
        value = self.names().get("Content-Type")
        if value is None:
            return ""
        return _known_media_type(value) if len(value) < 64 else _media_type(value)

    # ---- changing
    def set(self, name: str, value: str) -> None:
        """Replace all lines of this name by one, at the place of the first; append when there was none."""
        name = SPELLINGS.get(name) or canonical(name)
        fields = self.fields
        at = next((i for i, f in enumerate(fields) if f[0] == name), -1)
        if at < 0:
            fields.append((name, value))
        else:
            fields[at] = (name, value)
            fields[at + 1 :] = [f for f in fields[at + 1 :] if f[0] != name]
        self._changed(name, value)

    def add(self, name: str, value: str) -> None:
        """Append a line."""
        name = SPELLINGS.get(name) or canonical(name)
        self.fields.append((name, value))
        self._changed(name)

    def insert(self, name: str, value: str) -> None:
        """Add a line at the top."""
        name = SPELLINGS.get(name) or canonical(name)
        self.fields.insert(0, (name, value))
        self._changed(name, value)

    def remove(self, name: str) -> None:
        """Drop all lines of this name."""
        name = SPELLINGS.get(name) or canonical(name)
        if name in self.names():
            self.fields = [f for f in self.fields if f[0] != name]
            self._changed(name)

    def replace_top(self, name: str, value: str) -> None:
        """Replace the first value of a comma list header (say, the topmost Via). KeyError when there is none."""
        at, rest = self._top(name)
        name = self.fields[at][0]
        line = ", ".join([value, *rest]) if rest else value
        self.fields[at] = (name, line)
        self._changed(name, line)

    def pop_top(self, name: str) -> None:
        """Drop the first value of a comma list header. KeyError when there is none."""
        at, rest = self._top(name)
        name = self.fields[at][0]
        if rest:
            self.fields[at] = (name, ", ".join(rest))
        else:
            del self.fields[at]
        self._changed(name)

    def _top(self, name: str) -> tuple[int, list[str]]:
        name = SPELLINGS.get(name) or canonical(name)
        for i, field in enumerate(self.fields):
            if field[0] == name:
                return i, split_list(field[1])[1:] if "," in field[1] else []
        raise KeyError(name)

    def _changed(self, name: str, first: str | None = None) -> None:
        """Forget what was derived from the fields of this (canonical) name. `first` is the value of its first line when that is known."""
        if first is None:
            self._first = None
        elif self._first is not None:
            self._first[name] = first
        if name == "Via":
            self._via = self._vias = None
        elif name == "To":
            self._to = None
        elif name == "From":
            self._from = None
        elif name == "CSeq":
            self._cseq = None
        elif name == "Contact":
            self._contacts = None
        if self._lists is not None:
            self._lists.pop(name, None)

    # ---- writing
    def to_bytes(self) -> bytes:
        """The message on the wire, with a Content-Length of its own.

        A line break inside a value is written as a space, so that no value can begin a header; text beyond latin-1 is written as UTF-8.
        """
        body = self.body
        fields = self.fields
        start = self.start_line()
        lines = "\r\n".join(map(_COLON, fields))
        head = f"{start}\r\n{lines}\r\nContent-Length: {len(body)}\r\n\r\n" if fields else ""
        breaks = len(fields) + 3
        if "\r\nContent-Length: " in lines or head.count("\r") != breaks or head.count("\n") != breaks or lines.startswith("Content-Length: "):
            head = self._head()
        try:
            return head.encode("latin-1") + body
        except UnicodeEncodeError:
            return b"\r\n".join([_encode(line) for line in head.split("\r\n")]) + body

    def _head(self) -> str:
        """What stands before the body, line by line."""
        lines = [self.start_line()]
        lines += [f"{name}: {value}" for name, value in self.fields if name != "Content-Length"]
        lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([line.replace("\r", " ").replace("\n", " ") for line in lines]) + "\r\n\r\n"


def _encode(line: str) -> bytes:
    try:
        return line.encode("latin-1")
    except UnicodeEncodeError:
        return line.encode("utf-8", "replace")


def _media_type(value: str) -> str:
    kind, _, sub = value.partition(";")[0].partition("/")
    kind, sub = kind.strip(" \t"), sub.strip(" \t")
    if not is_token(kind) or not is_token(sub):
        raise ParseError("Bad Content-Type Header")
    return f"{kind}/{sub}".lower()


_known_media_type = lru_cache(maxsize=256)(_media_type)  # a handful of texts makes up nearly all messages


def parse_cseq(value: str) -> tuple[int, str]:
    """`number method` of a CSeq value. ParseError."""
    parts = value.split()
    if len(parts) != 2 or not is_token(parts[1]):
        raise ParseError("Bad CSeq Header")
    return number(parts[0], MAX_CSEQ, "Bad CSeq Header"), parts[1]

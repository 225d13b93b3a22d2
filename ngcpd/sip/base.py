"""What requests and responses have in common: their header fields, looked at, decoded, changed and written (RFC 3261 7, 20)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from ngcpd.sip.address import MAX_EXPIRES, NameAddr, Via
from ngcpd.sip.errors import ParseError
from ngcpd.sip.grammar import is_token, number, split_list
from ngcpd.sip.names import SPELLINGS, canonical

MAX_VALUES: Final = 256  # of a header that is decoded as a list
MAX_CSEQ: Final = 2**31 - 1
Fields = list[tuple[str, str]]
_TAG = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3d\x3f-\x5b\x5d-\x7e]+\Z")  # a token or what devices take for one: it can stand without quotes


class Star(Enum):
    """The Contact value `*`."""

    STAR = "*"


STAR: Final = Star.STAR


class Message:
    """What requests and responses have in common.

    `fields` are (canonical name, unfolded and stripped value) in the order of the message; read it freely, change it by the methods only.
    """

    __slots__ = ("_cache", "_first", "body", "fields")

    def __init__(self, fields: Fields, body: bytes = b"", first: dict[str, str] | None = None) -> None:
        self.fields = fields
        self.body = body
        self._first = first  # name -> value of its first line; made on demand
        self._cache: dict[str, Any] = {}

    @property
    def method(self) -> str:
        raise NotImplementedError

    def start_line(self) -> str:
        raise NotImplementedError

    # ---- looking
    def _index(self) -> dict[str, str]:
        first = self._first
        if first is None:
            first = self._first = {}
            for name, value in self.fields:
                if name not in first:
                    first[name] = value
        return first

    def first(self, name: str) -> str | None:
        """The value of the first line with this name, None when there is none."""
        return self._index().get(SPELLINGS.get(name) or canonical(name))

    def names(self) -> Mapping[str, str]:
        """Every canonical name that occurs, with the value of its first line."""
        return self._index()

    def __contains__(self, name: str) -> bool:
        return self.first(name) is not None

    def raw(self, name: str) -> list[str]:
        """The value of each line with this name."""
        name = SPELLINGS.get(name) or canonical(name)
        if name not in self._index():
            return []
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
        token = token.lower()
        return any(v.partition(";")[0].rstrip(" \t").lower() == token for v in self.values(name))

    # ---- decoded headers, each raises ParseError
    def _need(self, name: str) -> str:
        value = self._index().get(name)
        if not value:
            raise ParseError(f"Missing {name} Header")
        return value

    @property
    def call_id(self) -> str:
        return self._need("Call-ID")

    def _party(self, name: str, reason: str) -> NameAddr:
        got = self._cache.get(name)
        if got is None:
            try:
                got = NameAddr.parse(self._need(name))
            except ParseError as error:
                raise ParseError(reason) from error
            if "tag" in got.params and not _TAG.match(got.tag):  # an empty one is neither in a dialog nor out of it; a quoted one could hide more
                raise ParseError(reason)
            self._cache[name] = got
        party: NameAddr = got
        return party

    # Each message is asked for these two a dozen times.
    @property
    def from_(self) -> NameAddr:
        got: NameAddr | None = self._cache.get("From")
        return self._party("From", "Invalid From Header") if got is None else got

    @property
    def to(self) -> NameAddr:
        got: NameAddr | None = self._cache.get("To")
        return self._party("To", "Invalid To Header") if got is None else got

    @property
    def from_tag(self) -> str:
        return self.from_.tag

    @property
    def to_tag(self) -> str:
        return self.to.tag

    @property
    def cseq(self) -> int:
        return self._cseq()[0]

    def _cseq(self) -> tuple[int, str]:
        got: tuple[int, str] | None = self._cache.get("CSeq")
        if got is None:
            got = self._cache["CSeq"] = parse_cseq(self._need("CSeq"))
        return got

    @property
    def via(self) -> Via:
        """The topmost Via."""
        got = self._cache.get("Via")
        if got is None:
            value = self._need("Via")
            if "," in value:
                value = self._list("Via", "Bad Via Header")[0]
            got = self._cache["Via"] = Via.parse(value)
        via: Via = got
        return via

    @property
    def vias(self) -> list[Via]:
        got = self._cache.get("vias")
        if got is None:
            self._need("Via")
            got = [self.via]
            got += [Via.parse(value) for value in self._list("Via", "Bad Via Header")[1:]]
            self._cache["vias"] = got
        vias: list[Via] = got
        return vias

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
        name = SPELLINGS.get(name) or canonical(name)
        key = name + "*"
        got = self._cache.get(key)
        if got is None:
            reason = reason or f"Bad {name} Header"
            try:
                got = [NameAddr.parse(value) for value in self._list(name, reason)] if name in self._index() else []
            except ParseError as error:
                raise ParseError(reason) from error
            self._cache[key] = got
        found: list[NameAddr] = got
        return found

    @property
    def contacts(self) -> list[NameAddr] | Star:
        """[] when there is no Contact; STAR for `*`, which may only stand alone."""
        if self._index().get("Contact") == "*" and len(self.raw("Contact")) == 1:
            return STAR
        return self.addresses("Contact", "Bad Contact Header")

    @property
    def routes(self) -> list[NameAddr]:
        return self.addresses("Route")

    @property
    def record_routes(self) -> list[NameAddr]:
        return self.addresses("Record-Route")

    @property
    def max_forwards(self) -> int | None:
        """0..255, None when absent."""
        value = self._index().get("Max-Forwards")
        return None if value is None else number(value, 255, "Bad Max-Forwards Header")

    @property
    def expires(self) -> int | None:
        """Seconds, below 2**32; None when absent."""
        value = self._index().get("Expires")
        return None if value is None else number(value, MAX_EXPIRES, "Bad Expires Header")

    @property
    def content_type(self) -> str:
        """`type/subtype` in lower case without parameters, "" when absent."""
        value = self._index().get("Content-Type")
        if value is None:
            return ""
        kind, _, sub = value.partition(";")[0].partition("/")
        kind, sub = kind.strip(" \t"), sub.strip(" \t")
        if not is_token(kind) or not is_token(sub):
            raise ParseError("Bad Content-Type Header")
        return f"{kind}/{sub}".lower()

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
        self._changed(name)

    def add(self, name: str, value: str) -> None:
        """Append a line."""
        name = SPELLINGS.get(name) or canonical(name)
        self.fields.append((name, value))
        self._changed(name)

    def insert(self, name: str, value: str) -> None:
        """Add a line at the top."""
        name = SPELLINGS.get(name) or canonical(name)
        self.fields.insert(0, (name, value))
        self._changed(name)

    def remove(self, name: str) -> None:
        """Drop all lines of this name."""
        name = SPELLINGS.get(name) or canonical(name)
        if name in self._index():
            self.fields = [f for f in self.fields if f[0] != name]
            self._changed(name)

    def replace_top(self, name: str, value: str) -> None:
        """Replace the first value of a comma list header (say, the topmost Via). KeyError when there is none."""
        at, rest = self._top(name)
        name = self.fields[at][0]
        self.fields[at] = (name, ", ".join([value, *rest]) if rest else value)
        self._changed(name)

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

    def _changed(self, name: str) -> None:
        """Forget what was derived from the fields of this (canonical) name."""
        self._first = None
        cache = self._cache
        if cache:
            cache.pop(name, None)
            cache.pop(name + "*", None)
            if name == "Via":
                cache.pop("vias", None)

    # ---- writing
    def to_bytes(self) -> bytes:
        """The message on the wire, with a Content-Length of its own.

        A line break inside a value is written as a space, so that no value can begin a header; text beyond latin-1 is written as UTF-8.
        """
        lines = [self.start_line()]
        lines += [f"{name}: {value}" for name, value in self.fields if name != "Content-Length"]
        lines.append(f"Content-Length: {len(self.body)}\r\n\r\n")
        head = "\r\n".join(lines)
        breaks = len(lines) + 1
        if head.count("\r") != breaks or head.count("\n") != breaks:
            lines[-1] = lines[-1][:-4]
            head = "\r\n".join([line.replace("\r", " ").replace("\n", " ") for line in lines]) + "\r\n\r\n"
        try:
            return head.encode("latin-1") + self.body
        except UnicodeEncodeError:
            return b"\r\n".join([_encode(line) for line in head.split("\r\n")]) + self.body


def _encode(line: str) -> bytes:
    try:
        return line.encode("latin-1")
    except UnicodeEncodeError:
        return line.encode("utf-8", "replace")


def parse_cseq(value: str) -> tuple[int, str]:
    """`number method` of a CSeq value. ParseError."""
    parts = value.split()
    if len(parts) != 2 or not is_token(parts[1]):
        raise ParseError("Bad CSeq Header")
    return number(parts[0], MAX_CSEQ, "Bad CSeq Header"), parts[1]

"""Structured header values that nearly every message has: name-addr (From, To, Contact, Route ...) and Via. Rarer ones are in `fields`."""

from __future__ import annotations

import re
from typing import Any

from ngcpd.sip.errors import ParseError
from ngcpd.sip.grammar import format_hostport, format_params, number, parse_hostport, parse_params, quote, quoted_end, unescape
from ngcpd.sip.uri import Uri

MAGIC_COOKIE = "z9hG4bK"
MAX_EXPIRES = 2**32 - 1
_BAD_DISPLAY = re.compile(r"[^A-Za-z0-9\-.!%*_+`'~ \t\x80-\xff]")  # tokens and blanks; octets above ASCII are common in the field and harmless
_VIA = re.compile(r"([A-Za-z0-9\-.!%*_+`'~]+)[ \t]*/[ \t]*([A-Za-z0-9\-.!%*_+`'~]+)[ \t]*/[ \t]*([A-Za-z0-9\-.!%*_+`'~]+)[ \t]+([^;]+)")
_Q = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\Z")


KEPT = 8192
KEPT_LENGTH = 256


def name_addr(display: str, uri: str) -> str:
    """`"display" <uri>` from plain text, or `<uri>` without one."""
    return f"{quote(display)} <{uri}>" if display else f"<{uri}>"


class NameAddr:
    """`"Display" <uri>;params`, RFC 3261 20.10. Not changed after construction (`replace` makes another): a value that was parsed is shared.

    `display` is plain text without quotes ("" when absent), `params` are the header parameters with lower-case names and unquoted values (None
    without "="). `str` always puts the URI into brackets, quotes the display name and the values that need it, and keeps order.
    """

    __slots__ = ("display", "params", "uri")

    def __init__(self, display: str, uri: Uri, params: dict[str, str | None] | None = None) -> None:
        self.display = display
        self.uri = uri
        self.params: dict[str, str | None] = {} if params is None else params

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        """Read one value. Without <> everything from the first ";" on belongs to the header, not to the URI. ParseError.

        The values of a dialog come again in each of its messages: what was read lately is kept.
        """
        known = _known.get(text)
        if known is not None:
            return known
        address = cls._parse(text.strip(" \t"))
        if len(text) <= KEPT_LENGTH:
            if len(_known) >= KEPT:
                _known.clear()
            _known[text] = address
        return address

    @classmethod
    def _parse(cls, text: str) -> NameAddr:
        if text[:1] == '"':
            end = quoted_end(text)
            if end < 0:
                raise ParseError("Unbalanced Quotes")
            left = end
            while text[left : left + 1] in (" ", "\t"):
                left += 1
            if text[left : left + 1] != "<":
                raise ParseError("Bad Address")
            display = unescape(text[1 : end - 1])
        else:
            left = text.find("<")
            semicolon = text.find(";")
            if left < 0 or 0 <= semicolon < left:
                return cls._parse_bare(text, semicolon)
            display = text[:left].rstrip(" \t")
            if _BAD_DISPLAY.search(display):
                raise ParseError("Bad Display Name")
        right = text.find(">", left)
        if right < 0:
            raise ParseError("Unbalanced Angle Brackets")
        uri = Uri.parse(text[left + 1 : right])
        rest = text[right + 1 :].lstrip(" \t")
        if not rest:
            return cls(display, uri, {})
        if rest[0] != ";":
            raise ParseError("Bad Address")
        return cls(display, uri, parse_params(rest))

    @classmethod
    def _parse_bare(cls, text: str, semicolon: int) -> NameAddr:
        addr = text if semicolon < 0 else text[:semicolon].rstrip(" \t")
        if "?" in addr or "," in addr:  # RFC 3261 20: such a URI must be in brackets
            raise ParseError("Bad Address")
        uri = Uri.parse(addr)
        return cls("", uri, {} if semicolon < 0 else parse_params(text[semicolon:]))

    def __str__(self) -> str:
        head = name_addr(self.display, str(self.uri))
        return head + format_params(self.params) if self.params else head

    def __repr__(self) -> str:
        return f"<NameAddr {self}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NameAddr):
            return NotImplemented
        return (self.display, self.uri, self.params) == (other.display, other.uri, other.params)

    __hash__ = None  # type: ignore[assignment]

    @property
    def tag(self) -> str:
        """The tag parameter, "" when absent."""
        return self.params.get("tag") or ""

    @property
    def q(self) -> float | None:
        """The q parameter, 0 to 1 with at most three decimals; None when absent. ParseError."""
        text = self.params.get("q")
        if text is None:
            if "q" in self.params:
                raise ParseError("Bad q Value")
            return None
        if not _Q.match(text):
            raise ParseError("Bad q Value")
        return float(text)

    @property
    def expires(self) -> int | None:
        """The expires parameter in seconds, None when absent. ParseError when it is no number below 2**32."""
        if "expires" not in self.params:
            return None
        return number(self.params["expires"] or "", MAX_EXPIRES, "Bad Expires Value")

    def replace(self, **changes: Any) -> NameAddr:
        """A copy with another `display`, `uri` or `params`."""
        return NameAddr(changes.pop("display", self.display), changes.pop("uri", self.uri), changes.pop("params", dict(self.params)), **changes)


_known: dict[str, NameAddr] = {}


class Via:
    """One Via value, RFC 3261 20.42. `protocol` is "SIP/2.0", `transport` in upper case, `host` and `port` the sent-by."""

    __slots__ = ("host", "params", "port", "protocol", "transport")

    def __init__(self, protocol: str, transport: str, host: str, port: int | None = None, params: dict[str, str | None] | None = None) -> None:
        self.protocol = protocol
        self.transport = transport
        self.host = host
        self.port = port
        self.params: dict[str, str | None] = {} if params is None else params

    @classmethod
    def parse(cls, text: str) -> Via:
        """Read one value. ParseError."""
        via, end = cls._parse_head(text)
        if end < len(text):
            try:
                via.params = parse_params(text[end:])
            except ParseError as error:
                raise ParseError("Bad Via Header") from error
        return via

    @classmethod
    def salvage(cls, text: str) -> Via:
        """Read protocol and sent-by only, whatever follows: enough to send an error back. ParseError."""
        return cls._parse_head(text.partition(",")[0])[0]

    @classmethod
    def _parse_head(cls, text: str) -> tuple[Via, int]:
        found = _VIA.match(text)
        if found is None:
            raise ParseError("Bad Via Header")
        name, version, transport, sent_by = found.groups()
        host, port = parse_hostport(sent_by.rstrip(" \t"), "Bad Via Header")
        return cls(f"{name.upper()}/{version}", transport.upper(), host, port, {}), found.end()

    def __str__(self) -> str:
        return f"{self.protocol}/{self.transport} {format_hostport(self.host, self.port)}{format_params(self.params, ':')}"

    def __repr__(self) -> str:
        return f"<Via {self}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Via):
            return NotImplemented
        mine = (self.protocol, self.transport, self.host, self.port, self.params)
        return mine == (other.protocol, other.transport, other.host, other.port, other.params)

    __hash__ = None  # type: ignore[assignment]

    @property
    def branch(self) -> str:
        """The branch parameter, "" when absent."""
        return self.params.get("branch") or ""

    @property
    def has_cookie(self) -> bool:
        """True when the branch identifies the transaction by itself (RFC 3261 17.2.3): the magic cookie with something behind it."""
        branch = self.branch
        return len(branch) > len(MAGIC_COOKIE) and branch[:7].lower() == "z9hg4bk"

    @property
    def received(self) -> str:
        """The received parameter without brackets, "" when absent."""
        return (self.params.get("received") or "").strip("[]")

    @property
    def rport(self) -> int | None:
        """The value of rport (RFC 3581); None when absent or without a value. ParseError when it is no port."""
        text = self.params.get("rport")
        return number(text, 65535, "Bad Via Header") if text else None

    @property
    def wants_rport(self) -> bool:
        """True when the sender asks for the answer at the port it sent from (RFC 3581)."""
        return "rport" in self.params

    @property
    def sent_by(self) -> str:
        """`host[:port]` as part of a transaction's key."""
        return format_hostport(self.host, self.port)

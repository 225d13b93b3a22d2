"""Lexical helpers of RFC 3261 chapter 25: tokens, quoted strings, comma lists, parameters, bounded numbers.

All text is the latin-1 image of the bytes on the wire (one character per octet), so that nothing is lost and nothing has to be decoded.
`to_wire` and `from_wire` cross over to and from ordinary Unicode text. Everything here is linear in the size of its input.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from socket import AF_INET6, inet_ntop

from ngcpd.sip.errors import ParseError

TOKEN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~")
_QUOTED = re.compile(r'"[^"\\]*(?:\\[\x00-\xff][^"\\]*)*"')
_ESCAPED = re.compile(r"\\([\x00-\xff])")
_STOP = re.compile(r'[",<]')
# Blanks are possessive: those round an empty value would else be tried in every split, which is quadratic.
_PARAM = re.compile(
    r"[ \t]*+([A-Za-z0-9\-.!%*_+`'~]++)[ \t]*+"  # name
    r'(?:=[ \t]*+(?:"([^"\\]*(?:\\[\x00-\xff][^"\\]*)*)"|([\x21\x23-\x2b\x2d-\x3a\x3d\x3f-\x7e]*+))[ \t]*+)?'  # ="..." or visible, not " , ; < >
    r"(;|\Z)"
)
_HOST = re.compile(r"[A-Za-z0-9._\-]+\Z")


def to_wire(text: str) -> str:
    """Unicode text as it stands in a message: UTF-8, one character per octet."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("latin-1")


def from_wire(text: str) -> str:
    """Text of a message as Unicode; octets that are no UTF-8 become U+FFFD."""
    return text if text.isascii() else text.encode("latin-1", "replace").decode("utf-8", "replace")


def is_token(text: str) -> bool:
    """RFC 3261 25.1 token."""
    return text != "" and TOKEN.issuperset(text)


def number(text: str, highest: int, reason: str) -> int:
    """A decimal number 0..`highest` of at most ten digits; ParseError(reason) otherwise, without ever building a huge integer."""
    if not text.isdecimal() or len(text) > 10 or not text.isascii():
        raise ParseError(reason)
    value = int(text)
    if value > highest:
        raise ParseError(reason)
    return value


def unescape(text: str) -> str:
    """The inside of a quoted-string without its quoting backslashes."""
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def unquote(text: str) -> str:
    """A value that may be a quoted-string, as plain text."""
    if len(text) >= 2 and text[0] == '"' and text[-1] == '"':
        return unescape(text[1:-1])
    return text


def quote(text: str) -> str:
    """A quoted-string. Control characters are written as quoted-pairs; line breaks, which no quoted-string can hold, as spaces."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    out = []
    for c in text:
        if c in "\r\n":
            out.append(" ")
        elif c in '"\\' or (c < " " and c != "\t") or c == "\x7f":
            out.append("\\" + c)
        else:
            out.append(c)
    return '"' + "".join(out) + '"'


def quoted_end(text: str, start: int = 0) -> int:
    """Index behind the quoted-string that begins at `start`; -1 when it does not end."""
    found = _QUOTED.match(text, start)
    return found.end() if found is not None else -1


def split_list(text: str) -> list[str]:
    """The elements of a comma list (RFC 3261 7.3.1), stripped. Commas inside quotes and inside <> do not count. ParseError when those are open."""
    if "," not in text:
        return [text.strip(" \t")]
    if '"' not in text and "<" not in text:
        return [part.strip(" \t") for part in text.split(",")]
    out: list[str] = []
    start = pos = 0
    while True:
        found = _STOP.search(text, pos)
        if found is None:
            break
        at = found.start()
        c = text[at]
        if c == ",":
            out.append(text[start:at].strip(" \t"))
            start = pos = at + 1
        elif c == '"':
            pos = quoted_end(text, at)
            if pos < 0:
                raise ParseError("Unbalanced Quotes")
        else:
            pos = text.find(">", at) + 1
            if pos == 0:
                raise ParseError("Unbalanced Angle Brackets")
    out.append(text[start:].strip(" \t"))
    return out


def parse_params(text: str) -> dict[str, str | None]:
    """`;a=b;c="d e";f` (the first semicolon may be missing) as {"a": "b", "c": "d e", "f": None}.

    Names come in lower case and in their order; quoted values come unquoted. An empty text has no parameters; an empty or doubled parameter is a
    ParseError: two readers could otherwise see two different values.
    """
    params: dict[str, str | None] = {}
    if not text:
        return params
    pos = 1 if text[0] == ";" else 0
    match = _PARAM.match
    while True:
        found = match(text, pos)
        if found is None:
            raise ParseError("Bad Parameter")
        name, quoted, plain, end = found.groups()
        name = name.lower()
        if name in params:
            raise ParseError("Duplicate Parameter")
        params[name] = plain if quoted is None else unescape(quoted)
        if not end:
            return params
        pos = found.end()


def format_params(params: Mapping[str, str | None], also: str = "") -> str:
    """`;name=value` of each parameter. A value is quoted unless it is a token (with the characters of `also`) or an address in brackets."""
    if not params:
        return ""
    out = []
    for name, value in params.items():
        if value is None:
            out.append(f";{name}")
        elif value and (TOKEN.issuperset(value) or (also and TOKEN.union(also).issuperset(value)) or is_ipv6_reference(value)):
            out.append(f";{name}={value}")
        else:
            out.append(f";{name}={quote(value)}")
    return "".join(out)


def is_ipv6(text: str) -> bool:
    """True for an IPv6 address without brackets and without a zone."""
    return len(text) <= 45 and ":" in text and "%" not in text and _is_ipv6(text)


@lru_cache(maxsize=4096)
def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=4096)
def canonical_ipv6(text: str) -> str:
    """The one spelling of an IPv6 address (RFC 5952). ValueError when it is none."""
    return inet_ntop(AF_INET6, ipaddress.IPv6Address(text).packed)


def is_ipv6_reference(text: str) -> bool:
    """True for an IPv6 address in brackets."""
    return text[:1] == "[" and text[-1:] == "]" and is_ipv6(text[1:-1])


def parse_hostport(text: str, reason: str) -> tuple[str, int | None]:
    """`host`, `host:port`, `[v6]:port` as (host without brackets in lower case, port 1..65535 or None). ParseError(reason)."""
    if text[:1] == "[":
        close = text.find("]")
        host = text[1:close].lower()
        if ":::" in host and "." in host:  # RFC 5118 4.10: the grammar of RFC 3261 puts a third colon before an IPv4 part
            host = host.replace(":::", "::", 1)
        if close < 0 or not is_ipv6(host):
            raise ParseError(reason)
        rest = text[close + 1 :].strip(" \t")
        if rest and rest[0] != ":":
            raise ParseError(reason)
        port = rest[1:]
        colon = bool(rest)
    else:
        host, sep, port = text.partition(":")
        colon = sep != ""
        if not _HOST.match(host):
            host = host.rstrip(" \t")
            if not _HOST.match(host):
                raise ParseError(reason)
        host = host.lower()
    if not colon:
        return host, None
    value = number(port.strip(" \t"), 65535, reason)
    if value == 0:
        raise ParseError(reason)
    return host, value


def format_hostport(host: str, port: int | None) -> str:
    """The reverse of `parse_hostport`."""
    if ":" in host:
        host = f"[{host}]"
    return host if port is None else f"{host}:{port}"

"""SIP, SIPS and TEL URIs (RFC 3261 19.1, RFC 3966)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from ngcpd.sip.errors import ParseError as ParseError
from ngcpd.sip.grammar import canonical_ipv6, format_hostport, parse_hostport

# What may not stand anywhere in a URI. More than RFC 3261 forbids is let through on purpose: phones send `#`, `[` and the like unescaped.
_FORBIDDEN = re.compile(r"[^\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*\Z")
_TEL = re.compile(r"(?:\+[0-9\-.()]+|[0-9A-Fa-f*#\-.()]+)\Z")
_UNRESERVED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()")
_USER = _UNRESERVED | frozenset("&=+$,;?/")
_VISUAL = str.maketrans("", "", "-.()")
_NO_PARAMS: Final[Mapping[str, str | None]] = MappingProxyType({})
_REASON = "Bad URI"


def escape_user(text: str) -> str:
    """Any text as the user part of a URI: octets (UTF-8) that may not stand there become %HH."""
    if _USER.issuperset(text):
        return text
    return "".join([c if c in _USER else "".join([f"%{octet:02X}" for octet in c.encode("utf-8", "replace")]) for c in text])


def unescape_percent(text: str) -> str:
    """%HH sequences as the characters (UTF-8, else latin-1) that they stand for."""
    if "%" not in text:
        return text
    octets = _ESCAPE.sub(lambda m: chr(int(m.group(1), 16)), text)
    try:
        return octets.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return octets


def _normal(text: str) -> str:
    """For comparison: an escaped unreserved character is the same as the plain one, an escaped reserved one is not (RFC 3261 19.1.4)."""
    if "%" not in text:
        return text

    def one(m: re.Match[str]) -> str:
        c = chr(int(m.group(1), 16))
        return c if c in _UNRESERVED else m.group(0).upper()

    return _ESCAPE.sub(one, text)


KEPT = 8192
KEPT_LENGTH = 128


class Uri:
    """One URI. Not changed after construction (`replace` makes another), so that `str` can give back exactly the text that was parsed.

    `scheme` is "sip", "sips" or "tel". `user` is the raw, escaped text, "" when absent; of a tel URI it is the number. `password`: None when absent.
    `host` is in lower case, an IPv6 address stands without brackets and in its one spelling (RFC 5954 4.2); "" in a tel URI. `port` is None when
    absent. `params` have lower-case names and raw values, None for a parameter without "=". `headers` is the raw text behind "?".
    """

    __slots__ = ("_text", "headers", "host", "params", "password", "port", "scheme", "user")

    def __init__(
        self,
        scheme: str = "sip",
        user: str = "",
        password: str | None = None,
        host: str = "",
        port: int | None = None,
        params: Mapping[str, str | None] = _NO_PARAMS,
        headers: str = "",
        _text: str = "",
    ) -> None:
        self.scheme: Final = scheme
        self.user: Final = user
        self.password: Final = password
        self.host: Final = host
        self.port: Final = port
        self.params: Final = params
        self.headers: Final = headers
        self._text = _text

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Read a URI without surrounding blanks or brackets. ParseError: code 416 for a scheme other than sip, sips, tel, else 400.

        The same few texts come again and again, in each message of a call and in each call of a user: what was read lately is kept.
        """
        known = _known.get(text)
        if known is not None:
            return known
        uri = cls._parse(text)
        if len(text) <= KEPT_LENGTH:
            if len(_known) >= KEPT:
                _known.clear()
            _known[text] = uri
        return uri

    @classmethod
    def _parse(cls, text: str) -> Uri:
        scheme, colon, rest = text.partition(":")
        if scheme not in ("sip", "sips", "tel"):
            scheme = scheme.lower()
            if scheme not in ("sip", "sips", "tel"):
                if colon and _SCHEME.match(scheme):
                    raise ParseError("Unsupported URI Scheme", 416)
                raise ParseError(_REASON)
        if _FORBIDDEN.search(rest) or ("%" in rest and _BAD_ESCAPE.search(rest)):
            raise ParseError(_REASON)
        if scheme == "tel":
            return cls._parse_tel(text, rest)
        user = ""
        password: str | None = None
        at = rest.find("@")
        if at >= 0:
            user, colon, secret = rest[:at].partition(":")
            if colon:
                password = secret
            rest = rest[at + 1 :]
            if not user or "@" in rest:
                raise ParseError(_REASON)
        headers = ""
        if "?" in rest:
            rest, _, headers = rest.partition("?")
            if not headers:
                raise ParseError(_REASON)
        params = _NO_PARAMS
        semicolon = rest.find(";")
        if semicolon >= 0:
            params = _read_params(rest[semicolon + 1 :])
            rest = rest[:semicolon]
        host, port = parse_hostport(rest, _REASON)
        if ":" in host:
            host = canonical_ipv6(host)
        return cls(scheme, user, password, host, port, params, headers, text)

    @classmethod
    def _parse_tel(cls, text: str, rest: str) -> Uri:
        number, semicolon, tail = rest.partition(";")
        if not _TEL.match(number) or not number.translate(_VISUAL).lstrip("+") or "?" in tail:
            raise ParseError(_REASON)
        return cls("tel", number, None, "", None, _read_params(tail) if semicolon else _NO_PARAMS, "", text)

    def __str__(self) -> str:
        """The text that was parsed, or the URI composed of its parts."""
        text = self._text
        if not text:
            tail = "".join([f";{k}" if v is None else f";{k}={v}" for k, v in self.params.items()])
            if self.scheme == "tel":
                text = f"tel:{self.user}{tail}"
            else:
                user = self.user if self.password is None else f"{self.user}:{self.password}"
                headers = f"?{self.headers}" if self.headers else ""
                text = f"{self.scheme}:{user}{'@' if user else ''}{format_hostport(self.host, self.port)}{tail}{headers}"
            self._text = text
        return text

    def __repr__(self) -> str:
        return f"<Uri {self}>"

    def replace(self, **changes: Any) -> Uri:
        """A copy with other parts: `uri.replace(host="192.0.2.1", port=None)`. TypeError for a name that is no part."""
        parts: dict[str, Any] = {
            "scheme": self.scheme,
            "user": self.user,
            "password": self.password,
            "host": self.host,
            "port": self.port,
            "params": self.params,
            "headers": self.headers,
        }
        unknown = changes.keys() - parts.keys()
        if unknown:
            raise TypeError(f"no part of a URI: {', '.join(sorted(unknown))}")
        parts.update(changes)
        return Uri(**parts)

    def with_params(self, **params: str | None) -> Uri:
        """A copy with these parameters added or set (None: without a value)."""
        return self.replace(params={**self.params, **params})

    def without_params(self, names: Iterable[str]) -> Uri:
        """A copy without these parameters."""
        drop = frozenset(names)
        return self.replace(params={k: v for k, v in self.params.items() if k not in drop})

    @property
    def transport(self) -> str:
        """The transport parameter in lower case, "" when absent."""
        return (self.params.get("transport") or "").lower()

    @property
    def lr(self) -> bool:
        """True for a loose router (RFC 3261 19.1.1)."""
        return "lr" in self.params

    @property
    def hostport(self) -> str:
        """`host[:port]`, with brackets around an IPv6 address."""
        return format_hostport(self.host, self.port)

    @property
    def user_decoded(self) -> str:
        """The user part with its escapes resolved."""
        return unescape_percent(self.user)

    @property
    def aor(self) -> str:
        """`user@host` as the URI has it: user raw, host in lower case."""
        return f"{self.user}@{self.host}" if self.user else self.host

    def __eq__(self, other: object) -> bool:
        """All parts are the same text. The equality of RFC 3261 is `matches`."""
        if not isinstance(other, Uri):
            return NotImplemented
        return self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash((self.scheme, self.user, self.host, self.port))

    def _parts(self) -> tuple[object, ...]:
        return (self.scheme, self.user, self.password, self.host, self.port, tuple(self.params.items()), self.headers)

    def matches(self, other: Uri) -> bool:
        """Equal by RFC 3261 19.1.4 (tel: RFC 3966 4: visual separators do not count)."""
        if self.scheme != other.scheme or self.host != other.host or self.port != other.port:
            return False
        if self.scheme == "tel":
            mine, theirs = self.user.translate(_VISUAL).lower(), other.user.translate(_VISUAL).lower()
            return mine == theirs and _lower(self.params) == _lower(other.params)
        if _normal(self.user) != _normal(other.user) or _normal(self.password or "") != _normal(other.password or ""):
            return False
        mine_p, theirs_p = _lower(self.params), _lower(other.params)
        for name in mine_p.keys() | theirs_p.keys():
            both = name in mine_p and name in theirs_p
            if both and mine_p[name] != theirs_p[name]:
                return False
            if not both and name in ("user", "ttl", "method", "maddr", "transport"):
                return False
        return _header_set(self.headers) == _header_set(other.headers)

    def header_fields(self) -> list[tuple[str, str]]:
        """The headers part as (name, value), decoded. Nothing here is trustworthy: it never becomes part of a request unchecked."""
        out = []
        for part in self.headers.split("&") if self.headers else ():
            name, _, value = part.partition("=")
            out.append((unescape_percent(name), unescape_percent(value)))
        return out


_known: dict[str, Uri] = {}


def _read_params(text: str) -> dict[str, str | None]:
    params: dict[str, str | None] = {}
    for part in text.split(";"):
        name, equal, value = part.partition("=")
        name = name.lower()
        if not name or name in params:
            raise ParseError(_REASON)
        params[name] = value if equal else None
    return params


def _lower(params: Mapping[str, str | None]) -> dict[str, str]:
    return {_normal(k).lower(): _normal(v or "").lower() for k, v in params.items()}


def _header_set(headers: str) -> list[tuple[str, str]]:
    pairs = []
    for part in headers.split("&") if headers else ():
        name, _, value = part.partition("=")
        pairs.append((_normal(name).lower(), _normal(value)))
    return sorted(pairs)

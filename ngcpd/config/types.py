"""The types a setting can have: text of the file -> value, or an error that says what is allowed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, NamedTuple

from ngcpd.config.problems import Mark
from ngcpd.config.tree import Map, Node, Scalar, Seq, kind

Bad = Callable[[Mark, str], None]
"""Receives the place and what is wrong there."""

_TRUE_LIKE = {"true", "on", "y", "1", "enable", "enabled"}
_FALSE_LIKE = {"false", "off", "n", "0", "disable", "disabled"}
_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_SIP_URI = re.compile(r"sips?:(?:[^@\s<>]+@)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::\d{1,5})?(?:;[^\s<>?]+)*(?:/\d{1,3})?")


class Type:
    """One kind of value. `python` is the annotation of what `read` returns."""

    python: ClassVar[str] = "str"
    empty: ClassVar[object] = ""

    def allowed(self) -> str:
        """What may be written, for messages and the reference."""
        raise NotImplementedError

    def read(self, node: Node, bad: Bad) -> object:
        """The value of a node that is not null. On a wrong one `bad` is called and the result has no meaning."""
        if not isinstance(node, Scalar) or node.value is None:
            bad(node.mark, f"{kind(node)} where one value is expected")
            return None
        wrong = self.problem(node.value)
        if wrong:
            bad(node.mark, wrong)
            return None
        return self.convert(node.value)

    def problem(self, text: str) -> str:
        """What is wrong with a scalar's text, "" when nothing is."""
        return ""

    def convert(self, text: str) -> object:
        return text

    def typed(self) -> str:
        return self.python


@dataclass(frozen=True)
class Text(Type):
    """Free text, optionally matched whole by a pattern."""

    pattern: str = ""
    words: str = "text"
    longest: int = 4096

    def allowed(self) -> str:
        return self.words

    def problem(self, text: str) -> str:
        if len(text) > self.longest:
            return f"text of {len(text)} characters is too long"
        if self.pattern and not re.fullmatch(self.pattern, text):
            return f'"{text[:60]}" is not {self.words}'
        return ""


@dataclass(frozen=True)
class _Switch(Type):
    yes: str
    no: str
    python: ClassVar[str] = "bool"

    def allowed(self) -> str:
        return f"{self.yes} or {self.no}"

    def problem(self, text: str) -> str:
        if text in (self.yes, self.no):
            return ""
        low = text.lower()
        hint = ""
        if low in _TRUE_LIKE or low == self.yes:
            hint = f"; write {self.yes}"
        elif low in _FALSE_LIKE or low == self.no:
            hint = f"; write {self.no}"
        elif low == "yes":
            hint = f"; write {self.yes}"
        elif low == "no":
            hint = f"; write {self.no}"
        return f'"{text[:60]}" is not {self.allowed()}{hint}'

    def convert(self, text: str) -> object:
        return text == self.yes


@dataclass(frozen=True)
class Int(Type):
    """A decimal integer inside a range (both ends included)."""

    low: int | None = None
    high: int | None = None
    python: ClassVar[str] = "int"

    def allowed(self) -> str:
        if self.low is None and self.high is None:
            return "an integer"
        if self.high is None:
            return f"an integer >= {self.low}"
        if self.low is None:
            return f"an integer <= {self.high}"
        return f"an integer from {self.low} to {self.high}"

    def problem(self, text: str) -> str:
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            return f'"{text[:60]}" is not an integer'
        number = int(text)
        if (self.low is not None and number < self.low) or (self.high is not None and number > self.high):
            return f"{number} is out of range"
        return ""

    def convert(self, text: str) -> object:
        return int(text)


@dataclass(frozen=True)
class Float(Type):
    """A decimal number inside a range."""

    low: float = 0.0
    high: float = 1e9
    python: ClassVar[str] = "float"

    def allowed(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"

    def problem(self, text: str) -> str:
        if not re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", text):
            return f'"{text[:60]}" is not a number'
        return "" if self.low <= float(text) <= self.high else f"{text} is out of range"

    def convert(self, text: str) -> object:
        return float(text)


@dataclass(frozen=True)
class Enum(Type):
    """One of a few words."""

    values: tuple[str, ...]

    def allowed(self) -> str:
        return ", ".join(v if v else "nothing" for v in self.values[:-1]) + " or " + self.values[-1] if len(self.values) > 1 else self.values[0]

    def problem(self, text: str) -> str:
        if text in self.values:
            return ""
        low = [v for v in self.values if v.lower() == text.lower()]
        return f'"{text[:60]}" is not allowed' + (f"; write {low[0]}" if low else "")


@dataclass(frozen=True)
class Ip(Type):
    """A numeric address without brackets."""

    family: int = 0

    def allowed(self) -> str:
        return {0: "an IPv4 or IPv6 address", 4: "an IPv4 address", 6: "an IPv6 address"}[self.family]

    def problem(self, text: str) -> str:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return f'"{text[:60]}" is not {self.allowed()}'
        if (self.family and address.version != self.family) or "%" in text:
            return f'"{text[:60]}" is not {self.allowed()}'
        return ""

    def convert(self, text: str) -> object:
        return str(ipaddress.ip_address(text))


def is_host(text: str) -> bool:
    """True for an address or a host name."""
    try:
        ipaddress.ip_address(text)
        return True
    except ValueError:
        pass
    return len(text) <= 253 and _HOSTNAME.fullmatch(text) is not None and not re.fullmatch(r"[0-9.]+", text)


@dataclass(frozen=True)
class Host(Type):
    """A numeric address or a host name."""

    def allowed(self) -> str:
        return "an address or a host name"

    def problem(self, text: str) -> str:
        return "" if is_host(text) else f'"{text[:60]}" is not {self.allowed()}'


@dataclass(frozen=True)
class Cidr(Type):
    """A network; a single address counts as one."""

    def allowed(self) -> str:
        return "a network such as 192.0.2.0/24 or 2001:db8::/32"

    def problem(self, text: str) -> str:
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            reason = "has bits set right of the prefix" if "host bits" in str(error) else f"is not {self.allowed()}"
            return f'"{text[:60]}" {reason}'
        return ""

    def convert(self, text: str) -> object:
        return str(ipaddress.ip_network(text))


@dataclass(frozen=True)
class Path(Type):
    """A path of the file system. Relative ones count from the directory above the configuration directory."""

    def allowed(self) -> str:
        return "a path"

    def problem(self, text: str) -> str:
        return "a path cannot have a NUL byte" if "\0" in text else ""


@dataclass(frozen=True)
class Regex(Type):
    """A regular expression."""

    def allowed(self) -> str:
        return "a regular expression"

    def problem(self, text: str) -> str:
        try:
            re.compile(text)
        except (re.error, RecursionError, OverflowError) as error:
            return f'"{text[:60]}" is not a regular expression: {error}'
        return ""


@dataclass(frozen=True)
class SipUri(Type):
    """A SIP URI, optionally followed by a /mask as the fax gateways have it."""

    def allowed(self) -> str:
        return "a SIP URI such as sip:192.0.2.1:5060"

    def problem(self, text: str) -> str:
        return "" if _SIP_URI.fullmatch(text) else f'"{text[:60]}" is not {self.allowed()}'


class SocketAddress(NamedTuple):
    """Where to listen."""

    transport: str
    host: str
    port: int


@dataclass(frozen=True)
class Socket(Type):
    """`transport:address:port`, an IPv6 address in brackets."""

    python: ClassVar[str] = "SocketAddress"
    transports: tuple[str, ...] = ("udp", "tcp", "tls")

    def allowed(self) -> str:
        return "transport:address:port with transport " + Enum(self.transports).allowed() + ", e.g. udp:192.0.2.20:5064 or tcp:[2001:db8::1]:5064"

    def problem(self, text: str) -> str:
        match = re.fullmatch(r"([a-z]+):(\[[^\]]*\]|[^:\[\]]*):([0-9]{1,5})", text)
        if match is None:
            return f'"{text[:60]}" is not transport:address:port'
        transport, host, port = match.groups()
        if transport not in self.transports:
            return f'transport "{transport[:20]}" is not known'
        wrong = Ip(6 if host.startswith("[") else 4).problem(host.strip("[]"))
        return wrong or Int(1, 65535).problem(port)

    def convert(self, text: str) -> object:
        transport, rest = text.split(":", 1)
        host, port = rest.rsplit(":", 1)
        return SocketAddress(transport, str(ipaddress.ip_address(host.strip("[]"))), int(port))


@dataclass(frozen=True)
class List(Type):
    """A list. Nulls in it are skipped (merging puts them there); one scalar alone counts as a list of one."""

    item: Type
    empty: ClassVar[object] = ()

    def allowed(self) -> str:
        return f"a list, each item {self.item.allowed()}"

    def typed(self) -> str:
        return f"tuple[{self.item.typed()}, ...]"

    def read(self, node: Node, bad: Bad) -> object:
        if isinstance(node, Map):
            bad(node.mark, "a map where a list is expected")
            return None
        items = node.items if isinstance(node, Seq) else (node,)
        return tuple(self.item.read(item, bad) for item in items if not (isinstance(item, Scalar) and item.value is None))


@dataclass(frozen=True)
class Table(Type):
    """A map from free names to values of one type."""

    item: Type
    name: Type = field(default_factory=lambda: Text(r"[^\s:]{1,64}", "a name without blanks and colons"))
    empty: ClassVar[object] = MappingProxyType({})

    def allowed(self) -> str:
        return f"a map from {self.name.allowed()} to {self.item.allowed()}"

    def typed(self) -> str:
        return f"Mapping[str, {self.item.typed()}]"

    def read(self, node: Node, bad: Bad) -> object:
        if not isinstance(node, Map):
            bad(node.mark, f"{kind(node)} where a map is expected")
            return None
        result: dict[str, object] = {}
        for key, value in node.items.items():
            wrong = self.name.problem(key)
            if wrong:
                bad(node.keys.get(key, node.mark), wrong)
            if isinstance(value, Scalar) and value.value is None:
                continue
            result[key] = self.item.read(value, lambda mark, text, key=key: bad(mark, f"{key}: {text}"))  # type: ignore[misc]
        return MappingProxyType(result)


@dataclass(frozen=True)
class Record(Type):
    """A map with known keys, for items of lists."""

    fields: Mapping[str, Type]
    required: tuple[str, ...] = ()

    def allowed(self) -> str:
        return "a map with " + ", ".join(self.fields)

    def typed(self) -> str:
        return "Mapping[str, object]"

    def read(self, node: Node, bad: Bad) -> object:
        if not isinstance(node, Map):
            bad(node.mark, f"{kind(node)} where a map is expected")
            return None
        result: dict[str, object] = {}
        for key, value in node.items.items():
            place = node.keys.get(key, node.mark)
            if key not in self.fields:
                bad(place, f"{key} is not one of {', '.join(self.fields)}")
            elif isinstance(value, Scalar) and value.value is None:
                result[key] = self.fields[key].empty
            else:
                result[key] = self.fields[key].read(value, lambda mark, text, key=key: bad(mark, f"{key}: {text}"))  # type: ignore[misc]
        for key in self.required:
            if key not in result:
                bad(node.mark, f"{key} is missing")
        return MappingProxyType(result)


@dataclass(frozen=True)
class AnyTree(Type):
    """Whatever is written there, unread."""

    python: ClassVar[str] = "Node"

    def allowed(self) -> str:
        return "anything"

    def read(self, node: Node, bad: Bad) -> object:
        return node


YN = _Switch("yes", "no")
B01 = _Switch("1", "0")
ONOFF = _Switch("on", "off")
TEXT = Text()
LINE = Text(r"[^\r\n]*", "text of one line")
NAME = Text(r"[^\s]*", "a word without blanks")
TOKEN = Text(r"[A-Za-z0-9_.-]*", "letters, digits, _ . -")
MAIL = Text(r"[^@\s]+@[^@\s]+", "a mail address")
SIZE = Text(r"[1-9][0-9]*[KMG]", "a size such as 254M or 4G", 12)
PORT = Int(1, 65535)
NAT = Int(0)
POS = Int(1)
IP = Ip()
IP4 = Ip(4)
IP6 = Ip(6)
HOST = Host()
CIDR = Cidr()
PATH = Path()
REGEX = Regex()
SIPURI = SipUri()
SOCKET = Socket()
WORDS = List(NAME)
FACILITY = Enum((*(f"local{n}" for n in range(8)), "daemon", "user"))
SYSLOG_LEVEL = Enum(("emerg", "alert", "crit", "err", "error", "warning", "notice", "info", "debug"))
LOG4_LEVEL = Enum(("DEBUG", "INFO", "WARN", "ERROR", "FATAL"))
SIP_CODE = Int(300, 699)

"""Checks of single values. Each returns the value in the form in which it is stored, or raises ProvisioningError."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass

from ngcpd.directory.patterns import MAX_NUMBER, MAX_URI, BadPattern, compile_pattern
from ngcpd.provisioning.env import Rules
from ngcpd.provisioning.errors import ProvisioningError

_IDENTIFIER = re.compile(r"[A-Za-z0-9=+,;_.~'()\-]+")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_\-]*[a-z0-9_])?")
_VARIABLE = re.compile(r"[$@]\{([A-Za-z0-9_]+)\}")
_STORED_ONE = re.compile(r"\$avp\(s:([A-Za-z0-9_]+)\)")
_STORED_LIST = re.compile(r"\$\(avp\(s:([A-Za-z0-9_]+)\)\[\+\]\)")
_EMAIL = re.compile(r"[^@\s,<>]+@[^@\s,<>]+")
MAPPED = int(ipaddress.IPv6Address("::ffff:0:0"))


def text(field: str, value: str | None, longest: int, *, required: bool = True, shortest: int = 1) -> str | None:
    """Text without control characters, of bounded length; empty is None."""
    if value is None or value == "":
        if required:
            raise ProvisioningError(field, "a value is needed", "missing")
        return None
    if not isinstance(value, str):
        raise ProvisioningError(field, "must be text")
    if len(value) > longest:
        raise ProvisioningError(field, f"longer than {longest} characters")
    if len(value) < shortest:
        raise ProvisioningError(field, f"shorter than {shortest} characters")
    if not value.isprintable():
        raise ProvisioningError(field, "holds control characters")
    return value


def needed(field: str, value: str | None, longest: int) -> str:
    """`text` that must be there."""
    return text(field, value, longest) or ""


def one_of(field: str, value: str, values: Collection[str]) -> str:
    if value not in values:
        raise ProvisioningError(field, f"must be one of {', '.join(values)}")
    return value


def whole(field: str, value: int, lowest: int, highest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ProvisioningError(field, "must be a whole number")
    if not lowest <= value <= highest:
        raise ProvisioningError(field, f"must be from {lowest} to {highest}")
    return value


def username(field: str, value: str | None) -> str:
    """A SIP user name: letters, digits and `= + , ; _ . ~ ' ( ) -`; no dot at the ends, no two in a row."""
    name = needed(field, value, 127)
    if not _IDENTIFIER.fullmatch(name):
        raise ProvisioningError(field, "may hold only letters, digits and = + , ; _ . ~ ' ( ) -")
    if name.startswith(".") or name.endswith(".") or ".." in name:
        raise ProvisioningError(field, "may not begin or end with a dot or hold two in a row")
    return name


def webusername(field: str, value: str | None) -> str:
    """A login of the self-care pages: a user name that may be a mail address."""
    name = needed(field, value, 127)
    for part in name.split("@"):
        username(field, part)
    return name


def domain(field: str, value: str | None) -> str:
    """A host name or an address; lower case, IPv6 without brackets in its canonical form."""
    name = needed(field, value, 127).lower().removesuffix(".")
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        pass
    labels = name.split(".")
    if not name or any(len(label) > 63 or not _LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise ProvisioningError(field, "is no host name")
    return name


def email(field: str, value: str | None) -> str | None:
    """One mail address, or None."""
    address = text(field, value, 255, required=False)
    if address is not None and not _EMAIL.fullmatch(address):
        raise ProvisioningError(field, "is no mail address")
    return address


def password(field: str, value: str, rules: Rules) -> str:
    """A new password, by the rules of the operator."""
    if not isinstance(value, str) or not value.isprintable():
        raise ProvisioningError(field, "must be printable text")
    if len(value) < rules.password_min_length:
        raise ProvisioningError(field, f"shorter than {rules.password_min_length} characters")
    if len(value) > rules.password_max_length:
        raise ProvisioningError(field, f"longer than {rules.password_max_length} characters")
    if rules.password_musthave_lowercase and not any(c.islower() for c in value):
        raise ProvisioningError(field, "needs a lower-case letter")
    if rules.password_musthave_uppercase and not any(c.isupper() for c in value):
        raise ProvisioningError(field, "needs an upper-case letter")
    if rules.password_musthave_digit and not any(c.isdigit() for c in value):
        raise ProvisioningError(field, "needs a digit")
    if rules.password_musthave_specialchar and all(c.isalnum() for c in value):
        raise ProvisioningError(field, "needs a special character")
    return value


@dataclass(frozen=True, slots=True)
class E164:
    """A number: country code, area code (may be empty), subscriber number."""

    cc: int
    ac: str
    sn: str

    @property
    def digits(self) -> str:
        return f"{self.cc}{self.ac}{self.sn}"

    @classmethod
    def parse(cls, value: str) -> E164:
        """From `43-1-1001`; the area code may be empty (`43--1001`). ProvisioningError when it does not look like that."""
        parts = value.split("-")
        if len(parts) != 3 or not _digits(parts[0]):
            raise ProvisioningError("number", "write it as country code, area code and subscriber number, like 43-1-1001")
        return number("number", cls(int(parts[0]), parts[1], parts[2]))


def _digits(value: str) -> bool:
    return value.isascii() and value.isdigit()


def number(field: str, value: E164) -> E164:
    """A number whose parts have the right form and length."""
    if isinstance(value.cc, bool) or not isinstance(value.cc, int) or not 1 <= value.cc <= 9999:
        raise ProvisioningError(field, "the country code has 1 to 4 digits and does not begin with 0")
    if value.ac and (not _digits(value.ac) or len(value.ac) > 7):
        raise ProvisioningError(field, "the area code has at most 7 digits")
    if not _digits(value.sn) or len(value.sn) > 31:
        raise ProvisioningError(field, "the subscriber number has 1 to 31 digits")
    return value


@dataclass(frozen=True, slots=True)
class Net:
    """An address range as the tables keep it: `first` and `last` of 16 bytes, IPv4 mapped into IPv6."""

    text: str
    family: int
    first: bytes
    last: bytes
    address: str
    mask: int | None


def net(field: str, value: str) -> Net:
    """An address or a network; host bits are cut off."""
    try:
        found = ipaddress.ip_network(value.strip() if isinstance(value, str) else "", strict=False)
    except ValueError:
        raise ProvisioningError(field, "must be an IPv4 or IPv6 address or network") from None
    host = found.num_addresses == 1
    shift = MAPPED if found.version == 4 else 0
    return Net(
        text=str(found.network_address) if host else str(found),
        family=found.version,
        first=(int(found.network_address) + shift).to_bytes(16, "big"),
        last=(int(found.broadcast_address) + shift).to_bytes(16, "big"),
        address=str(found.network_address),
        mask=None if host else found.prefixlen,
    )


def address(field: str, value: str | None) -> str:
    """One IPv4 or IPv6 address in its canonical form."""
    try:
        return str(ipaddress.ip_address((value or "").strip().strip("[]")))
    except ValueError:
        raise ProvisioningError(field, "must be an IPv4 or IPv6 address") from None


def pattern(field: str, value: str | None, longest: int, *, required: bool = False) -> str | None:
    """A regular expression that can be run on what strangers send: one that could backtrack without end is refused, as calls would not use it."""
    found = text(field, value, longest, required=required)
    if found is not None:
        _compiled(field, found, MAX_URI)
    return found


def _compiled(field: str, value: str, subject: int) -> re.Pattern[str]:
    try:
        return compile_pattern(value, subject)
    except BadPattern as error:
        raise ProvisioningError(field, f"is no usable regular expression: {error}") from None


def rewrite_text(value: str) -> str:
    """Variables in the form in which they are kept: `${name}`, `@{name}`; the older form with `avp` is understood."""
    return _STORED_ONE.sub(r"${\1}", _STORED_LIST.sub(r"@{\1}", value))


def rewrite_match(field: str, value: str) -> str:
    """A rewrite rule's match pattern: a regular expression once its variables are put in."""
    kept = rewrite_text(value)
    text(field, kept, 128, required=False)
    _compiled(field, _VARIABLE.sub("0", kept), MAX_NUMBER)
    return kept


def rewrite_replace(field: str, value: str, match: str) -> str:
    """A rewrite rule's replacement: references \\0 to \\9 to groups that the match pattern has."""
    kept = rewrite_text(value)
    text(field, kept, 255, required=False)
    groups = re.compile(_VARIABLE.sub("0", match)).groups
    for digit in re.findall(r"\\(\d)", kept):
        if int(digit) > groups:
            raise ProvisioningError(field, f"refers to group {digit}, the match pattern has {groups}")
    if "@{" in kept:
        raise ProvisioningError(field, "a list can only be used in the match pattern")
    return kept

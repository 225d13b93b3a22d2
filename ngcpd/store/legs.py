"""The leg strings of accounting rows (billing 1.2, call processing 4.5): who called and who was called, each field followed by `|`.

A source leg has 24 fields, a destination leg 22. The two external ids are percent-encoded; no other field can hold a `|`.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

SOURCE_FIELDS = 24
DESTINATION_FIELDS = 22
FIELD_LIMIT = 255
NO_GPP = ("",) * 10
CALL_TYPES = frozenset({"call", "cfu", "cft", "cfb", "cfna"})
_HEX = frozenset("0123456789abcdefABCDEF")


class LegError(ValueError):
    """Not a leg string: too few fields, or a field that has to be a number or one of a list is not."""


def clean(text: str) -> str:
    """A field's text without what would break the leg or a table: `|`, control characters and lone surrogates become `_`; 255 characters."""
    if text.isascii() and text.isprintable() and "|" not in text and len(text) <= FIELD_LIMIT:
        return text
    return "".join("_" if c == "|" or ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 else c for c in text[:FIELD_LIMIT])


def escape(text: str) -> str:
    """Percent-encode an external id (UTF-8, all but letters, digits and `-._~`)."""
    return quote(text[:FIELD_LIMIT].encode("utf-8", "replace"), safe="")


def unescape(text: str) -> str:
    """Decode an external id. An escape that is malformed, not UTF-8 or would give a NUL is kept as it is."""
    if "%" not in text:
        return text
    out = bytearray()
    i = 0
    while i < len(text):
        pair = text[i + 1 : i + 3]
        if text[i] == "%" and len(pair) == 2 and _HEX.issuperset(pair) and pair != "00":
            out.append(int(pair, 16))
            i += 3
        else:
            out += text[i].encode("utf-8", "replace")
            i += 1
    try:
        return out.decode()
    except UnicodeDecodeError:
        return text


def _gpp(values: tuple[str, ...]) -> list[str]:
    return [clean(v) for v in (*values, *NO_GPP)[:10]]


def _number(text: str, what: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 1 << 31):
        raise LegError(f"{what} is not a number: {text[:40]!r}")
    return int(text)


def _split(text: str, fields: int) -> list[str]:
    parts = text.split("|")
    if len(parts) <= fields:
        raise LegError(f"{len(parts) - 1} fields instead of {fields}")
    return parts


@dataclass(frozen=True, slots=True)
class SourceLeg:
    """The calling side. `user_id` is the subscriber's UUID or `0`, `account_id` the contract id, `init_time` the arrival of the INVITE
    (epoch seconds)."""

    user_id: str = "0"
    user: str = ""
    domain: str = ""
    cli: str = ""
    external_subscriber_id: str = ""
    external_contract_id: str = ""
    account_id: int = 0
    peer_auth_user: str = ""
    peer_auth_realm: str = ""
    clir: bool = False
    call_type: str = "call"
    ip: str = ""
    init_time: float = 0.0
    gpp: tuple[str, ...] = NO_GPP
    lnp_prefix: str = ""

    def encode(self) -> str:
        """The leg string."""
        fields = [
            clean(self.user_id) or "0",
            clean(self.user),
            clean(self.domain),
            clean(self.cli),
            escape(self.external_subscriber_id),
            escape(self.external_contract_id),
            str(self.account_id),
            clean(self.peer_auth_user),
            clean(self.peer_auth_realm),
            "1" if self.clir else "0",
            clean(self.call_type),
            clean(self.ip),
            f"{self.init_time:.3f}",
            *_gpp(self.gpp),
            clean(self.lnp_prefix),
        ]
        return "|".join(fields) + "|"

    @classmethod
    def decode(cls, text: str) -> SourceLeg:
        """Read a leg string; raises `LegError`. An empty call type is `call`."""
        f = _split(text, SOURCE_FIELDS)
        call_type = f[10] or "call"
        if call_type not in CALL_TYPES:
            raise LegError(f"unknown call type {call_type[:40]!r}")
        return cls(
            f[0] or "0", f[1], f[2], f[3], unescape(f[4]), unescape(f[5]), _number(f[6], "source account id"), f[7], f[8], f[9] == "1",
            call_type, f[11], _moment(f[12]), tuple(f[13:23]), f[23],
        )  # fmt: skip


def _moment(text: str) -> float:
    """Epoch seconds with a fraction; digits and one point only, in the range of the CDR's column."""
    whole, _, fraction = text.partition(".")
    if not text:
        return 0.0
    if not (whole.isascii() and whole.isdigit() and len(whole) <= 10 and (not fraction or (fraction.isascii() and fraction.isdigit()))):
        raise LegError(f"init time is not a time: {text[:40]!r}")
    return float(text[:40])


@dataclass(frozen=True, slots=True)
class DestinationLeg:
    """The called side. `dialed` is what the caller dialled, `user_in` and `domain_in` the target after inbound rewriting, `peer_host_id`
    the chosen peer."""

    split: bool = False
    external_subscriber_id: str = ""
    external_contract_id: str = ""
    account_id: int = 0
    dialed: str = ""
    user_id: str = "0"
    user: str = ""
    domain: str = ""
    user_in: str = ""
    domain_in: str = ""
    peer_host_id: int = 0
    gpp: tuple[str, ...] = NO_GPP
    lnp_prefix: str = ""

    def encode(self) -> str:
        """The leg string."""
        fields = [
            "1" if self.split else "0",
            escape(self.external_subscriber_id),
            escape(self.external_contract_id),
            str(self.account_id),
            clean(self.dialed),
            clean(self.user_id) or "0",
            clean(self.user),
            clean(self.domain),
            clean(self.user_in),
            clean(self.domain_in),
            str(self.peer_host_id) if self.peer_host_id else "",
            *_gpp(self.gpp),
            clean(self.lnp_prefix),
        ]
        return "|".join(fields) + "|"

    @classmethod
    def decode(cls, text: str) -> DestinationLeg:
        """Read a leg string; raises `LegError`."""
        f = _split(text, DESTINATION_FIELDS)
        return cls(
            f[0] == "1", unescape(f[1]), unescape(f[2]), _number(f[3], "destination account id"), f[4], f[5] or "0", f[6], f[7], f[8], f[9],
            _number(f[10], "peer host id"), tuple(f[11:21]), f[21],
        )  # fmt: skip

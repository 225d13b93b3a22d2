"""What the directory knows, as values that nobody changes.

Preferences are resolved here and nowhere else (call processing 3.0, data model 6.3). Names of domains are lower case; user names are as
provisioned. Numbers are E.164 digits without `+` and without `00`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ngcpd.directory.effective import Effective

if TYPE_CHECKING:
    from ngcpd.directory.rewrite import RuleSet

PrefMap = Mapping[str, tuple[str, ...]]
"""Stored rows of one level: attribute -> its values, never an empty tuple."""

_TRUE = frozenset(("1", "yes", "true"))

# Call processing 3.0: what holds when no row exists at any level.
DOMAIN_FALLBACK: PrefMap = {
    "sst_enable": ("yes",),
    "sst_expires": ("300",),
    "sst_min_timer": ("90",),
    "sst_max_timer": ("7200",),
    "sst_refresh_method": ("UPDATE_FALLBACK_INVITE",),
    "outbound_from_user": ("npn",),
    "inbound_upn": ("from_user",),
    "inbound_uprn": ("from_user",),
    "ip_header": ("P-NGCP-Src-Ip",),
}
PEER_FALLBACK: PrefMap = {**DOMAIN_FALLBACK, "inbound_npn": ("from_user",)}
SUBSCRIBER_FALLBACK: PrefMap = {
    **DOMAIN_FALLBACK,
    "account_id": ("0",),
    "ext_subscriber_id": ("",),
    "ext_contract_id": ("",),
    "ringtimeout": ("180",),
}


class Version:
    """Counts how often the maps that several `Prefs` share were written; whoever writes one raises it."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0

    def written(self) -> None:
        """What was read from the shared maps is to be read again."""
        self.number += 1


_NEVER_CHANGED = Version()


class Prefs:
    """Effective preferences: the first map that has an attribute gives all its values; lists are never merged (call processing 3.0).

    The maps are shared: one of a domain serves all its subscribers, so a change of the domain is seen by all of them at once. `version` tells
    that one of them was written.
    """

    __slots__ = ("_effective", "_maps", "_version")

    def __init__(self, *maps: PrefMap, version: Version = _NEVER_CHANGED) -> None:
        self._maps = maps
        self._version = version
        self._effective: Effective | None = None

    @property
    def effective(self) -> Effective:
        """What every call asks for, decoded once until one of the maps changes."""
        made = self._effective
        if made is None or made.version != self._version.number:
            made = self._effective = Effective(self, self._version.number)
        return made

    def all(self, name: str) -> tuple[str, ...]:
        """All values of an attribute in stored order, () when unset."""
        for rows in self._maps:
            found = rows.get(name)
            if found is not None:
                return found
        return ()

    def get(self, name: str) -> str | None:
        """The value (the first one of a list), None when unset."""
        for rows in self._maps:
            found = rows.get(name)
            if found is not None:
                return found[0]
        return None

    def flag(self, name: str) -> bool:
        """True when the value says yes (`1`); unset is no."""
        return self.get(name) in _TRUE

    def number(self, name: str, default: int = 0) -> int:
        """The value as an integer; `default` when unset or not a number."""
        value = self.get(name)
        if value is None:
            return default
        try:
            return int(value)
        except ValueError:
            return default


NO_PREFS = Prefs()


class Domain(NamedTuple):
    """A local domain and the reseller it belongs to."""

    id: int
    name: str
    reseller_id: int
    reseller_contract_id: int


class Number(NamedTuple):
    """One number of a subscriber in its three parts."""

    cc: str
    ac: str
    sn: str
    e164: str
    is_primary: bool


class NumberEntry(NamedTuple):
    """Whose a number is."""

    subscriber_id: int
    is_primary: bool


class Network(NamedTuple):
    """Addresses `first` to `last`, both inclusive, of one family (4 or 6)."""

    family: int
    first: int
    last: int

    def holds(self, address: tuple[int, int]) -> bool:
        return address[0] == self.family and self.first <= address[1] <= self.last


@lru_cache(maxsize=4096)
def parse_ip(text: str) -> tuple[int, int] | None:
    """(family, number) of a numeric address, None for anything else. An IPv4 address mapped into IPv6 is the IPv4 address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version, int(address)


class Location(NamedTuple):
    """A site of a customer: its address block and its own preferences, which replace the customer's (data model 6.3)."""

    id: int
    block: Network
    rows: PrefMap


@dataclass(frozen=True, slots=True)
class Contract:
    """A customer: what calls need of it. `locations` are ordered so that the first one that holds an address is the most specific."""

    id: int
    status: str
    external_id: str
    reseller_id: int
    rows: PrefMap
    locations: tuple[Location, ...]
    own: Prefs = field(init=False, repr=False, compare=False)
    """The preferences where no location has a say: one object for all calls."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "own", Prefs(self.rows))

    def prefs(self, source_ip: str) -> Prefs:
        """Customer preferences for a call from this address (call processing 3.0: longest mask wins, only that location's rows)."""
        if self.locations:
            address = parse_ip(source_ip)
            if address is not None:
                for location in self.locations:
                    if location.block.holds(address):
                        return Prefs(location.rows)
        return self.own


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A subscriber with everything a call or a registration needs to know about it.

    `status` and `contract_status` are `active`, `locked`, `terminated` (contracts also `pending`). `ha1` and `ha1_sha256` are the hashes of
    `user:domain:password` for digest, "" when there are none.
    """

    id: int
    uuid: str
    username: str
    domain_id: int
    domain: str
    contract_id: int
    contract_status: str
    reseller_id: int
    status: str
    ha1: str
    ha1_sha256: str
    external_id: str
    contract_external_id: str
    profile_id: int
    numbers: tuple[Number, ...]
    primary: Number | None
    prefs: Prefs
    allowed: tuple[Network, ...] = ()
    """Both lists of call processing 2.6 (`allowed_ips`, `man_allowed_ips`)."""

    @property
    def alive(self) -> bool:
        """False when it may neither register nor call nor be called: it or its customer is terminated or not yet active (2.1 R8)."""
        return self.status != "terminated" and self.contract_status not in ("terminated", "pending")

    @property
    def lock(self) -> int:
        """Effective lock level 0..5 (call processing 2.7). Locks of the customer and reseller are pushed down into the preference; a locked
        status that came without a level counts as 4."""
        level = self.prefs.effective.lock
        if 0 <= level <= 5:
            return level
        return 4 if self.status == "locked" or self.contract_status == "locked" else 0

    def ip_allowed(self, source_ip: str) -> bool:
        """Call processing 2.6: no list set, or the address in one of them, or `ignore_allowed_ips`."""
        if not self.allowed or self.prefs.flag("ignore_allowed_ips"):
            return True
        address = parse_ip(source_ip)
        return address is not None and any(net.holds(address) for net in self.allowed)


@dataclass(frozen=True, slots=True)
class Peer:
    """A peering host (data model 10). `transport` is `udp`, `tcp` or `tls`; `host` is the name for Request-URIs or ""."""

    id: int
    group_id: int
    name: str
    ip: str
    host: str
    port: int
    transport: str
    weight: int
    via_route: str
    via_lb: bool
    enabled: bool
    prefs: Prefs


@dataclass(frozen=True, slots=True)
class PeerRule:
    """An outbound rule of a group; the patterns are text as provisioned, "" = any."""

    id: int
    callee_prefix: str
    callee_pattern: str
    caller_pattern: str


@dataclass(frozen=True, slots=True)
class PeerGroup:
    """A peering group with its enabled rules and all its hosts, in order of their ids."""

    id: int
    name: str
    priority: int
    contract_id: int
    rules: tuple[PeerRule, ...]
    hosts: tuple[Peer, ...]


class Snapshot(Protocol):
    """The part of the directory that routing stages read. Every look-up is a memory read and never waits."""

    def domain(self, name: str) -> Domain | None: ...

    def user_id(self, domain_name: str, username: str) -> int | None: ...

    def number(self, e164: str) -> NumberEntry | None: ...

    def trusted(self, ip: str, transport: str, from_uri: str) -> int | None: ...

    def peer_by_ip(self, ip: str) -> Peer | None: ...

    def subscriber(self, subscriber_id: int) -> Subscriber | None: ...

    def domain_prefs(self, name: str) -> Prefs: ...

    def contract_prefs(self, contract_id: int, source_ip: str) -> Prefs: ...

    def rule_set(self, set_id: int) -> RuleSet | None: ...

    def peer_groups(self) -> Sequence[PeerGroup]: ...

"""What the directory reads from the store: functions of one unit of work each, run on a pool thread. They only read and share no state."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa

from ngcpd.directory.model import PEER_FALLBACK, Contract, Domain, Location, Network, Number, Peer, PeerGroup, PeerRule, PrefMap, Prefs
from ngcpd.directory.rewrite import RuleRow, RuleSet
from ngcpd.directory.trust import TrustedRow, TrustedSources
from ngcpd.store.tables.identity import customer_location, customer_location_block, domain, number, subscriber, trusted_source
from ngcpd.store.tables.preferences import allowed_ip, preference_value
from ngcpd.store.tables.routing import peer_group, peer_host, peer_rule, rewrite_rule, rewrite_rule_set
from ngcpd.store.tables.tenancy import contact, contract, reseller

T = TypeVar("T")
Rows = dict[str, tuple[str, ...]]
CHUNK = 500
MAX_SHARED = 10_000
_values: dict[tuple[str, ...], tuple[str, ...]] = {}
_TRANSPORTS = {1: "udp", 2: "tcp", 3: "tls"}


class SubscriberRow(NamedTuple):
    """A subscriber as stored, without what it shares with others."""

    id: int
    uuid: str
    username: str
    domain_id: int
    domain: str
    contract_id: int
    reseller_id: int
    status: str
    ha1: str
    ha1_sha256: str
    external_id: str
    profile_id: int
    numbers: tuple[Number, ...]
    rows: Rows
    allowed: tuple[Network, ...]


@dataclass(slots=True)
class Keys:
    """Everything that is loaded whole."""

    domains: dict[int, Domain] = field(default_factory=dict)
    domain_rows: dict[int, Rows] = field(default_factory=dict)
    profile_rows: dict[int, Rows] = field(default_factory=dict)
    users: dict[int, dict[str, int]] = field(default_factory=dict)
    """Domain id -> user name -> subscriber id."""
    names: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Subscriber id -> (domain id, user name)."""
    numbers: dict[str, int] = field(default_factory=dict)
    """E.164 -> subscriber id * 2 + (1 when it is the primary number)."""
    trusted: TrustedSources = field(default_factory=lambda: TrustedSources(()))
    groups: tuple[PeerGroup, ...] = ()
    rule_sets: dict[int, RuleSet] = field(default_factory=dict)


def _chunks(ids: Iterable[T]) -> Iterator[Sequence[T]]:
    rest = list(ids)
    for at in range(0, len(rest), CHUNK):
        yield rest[at : at + CHUNK]


# ------------------------------------------------------------------------------------------------------------ preferences
def _collect(found: Iterable[Any]) -> dict[tuple[int, int], Rows]:
    """(owner, attribute, location, value) rows, in order of position, by (owner, location)."""
    out: dict[tuple[int, int], dict[str, list[str]]] = {}
    for owner, attribute, location, value in found:
        out.setdefault((owner, location), {}).setdefault(sys.intern(attribute), []).append(value)
    return {key: {name: _shared(tuple(v)) for name, v in rows.items()} for key, rows in out.items()}


def _shared(values: tuple[str, ...]) -> tuple[str, ...]:
    """The same object for equal values that many have: switches, enumerations, area codes. Pool threads may race here; then two are kept."""
    if len(values) != 1 or (len(values[0]) > 6 and values[0].isdigit()):
        return values
    found = _values.get(values)
    if found is None:
        if len(_values) >= MAX_SHARED:
            return values
        found = _values[values] = (sys.intern(values[0]),)
    return found


def _rows(conn: sa.Connection, level: str, ids: Sequence[int] | None = None) -> dict[tuple[int, int], Rows]:
    t = preference_value.c
    query = sa.select(t.owner_id, t.attribute, t.location_id, t.value).where(t.level == level)
    if ids is not None:
        query = query.where(t.owner_id.in_(ids))
    return _collect(conn.execute(query.order_by(t.owner_id, t.attribute, t.position)))


def read_profile_rows(conn: sa.Connection, ids: Sequence[int] | None = None) -> dict[int, Rows]:
    """Preferences of profiles (all when `ids` is None)."""
    return {owner: rows for (owner, _), rows in _rows(conn, "prof", ids).items()}


# ---------------------------------------------------------------------------------------------------------------- domains
def read_domains(conn: sa.Connection, ids: Sequence[int] | None = None) -> tuple[dict[int, Domain], dict[int, Rows]]:
    """Domains and their preferences. Hidden system domains are no local domains."""
    query = (
        sa.select(domain.c.id, domain.c.name, domain.c.reseller_id, reseller.c.contract_id)
        .join(reseller, reseller.c.id == domain.c.reseller_id)
        .where(domain.c.is_system.is_(False))
    )
    if ids is not None:
        query = query.where(domain.c.id.in_(ids))
    found = {row[0]: Domain(row[0], sys.intern(row[1].lower()), row[2], row[3]) for row in conn.execute(query)}
    rows = {owner: rows for (owner, _), rows in _rows(conn, "dom", ids).items()}
    return found, rows


# ------------------------------------------------------------------------------------------------------------ user, number
def read_user_keys(conn: sa.Connection, ids: Sequence[int]) -> dict[int, tuple[int, str]]:
    """(domain id, user name) of those of `ids` that are not terminated."""
    out: dict[int, tuple[int, str]] = {}
    for some in _chunks(ids):
        query = sa.select(subscriber.c.id, subscriber.c.domain_id, subscriber.c.live_name).where(
            subscriber.c.id.in_(some), subscriber.c.live_name.is_not(None)
        )
        out |= {row[0]: (row[1], row[2]) for row in conn.execute(query)}
    return out


def read_numbers(conn: sa.Connection, e164s: Sequence[str]) -> dict[str, tuple[int, bool]]:
    """(subscriber id, is primary) of those numbers that belong to somebody."""
    out: dict[str, tuple[int, bool]] = {}
    for some in _chunks(e164s):
        query = sa.select(number.c.e164, number.c.subscriber_id, number.c.is_primary).where(
            number.c.e164.in_(some), number.c.subscriber_id.is_not(None)
        )
        out |= {row[0]: (row[1], bool(row[2])) for row in conn.execute(query)}
    return out


def read_trusted(conn: sa.Connection) -> TrustedSources:
    """All trusted sources."""
    t = trusted_source.c
    query = sa.select(t.id, t.subscriber_id, t.src_ip, t.protocol, t.from_pattern).order_by(t.id)
    return TrustedSources([TrustedRow(*row) for row in conn.execute(query)])


# --------------------------------------------------------------------------------------------------------- rules and peers
def read_rule_sets(conn: sa.Connection, ids: Sequence[int] | None = None) -> dict[int, RuleSet]:
    """Compiled rewrite rule sets."""
    query = sa.select(rewrite_rule_set.c.id, rewrite_rule_set.c.name)
    t = rewrite_rule.c
    rules = sa.select(t.id, t.set_id, t.direction, t.field, t.priority, t.match_pattern, t.replace_pattern).where(t.enabled.is_(True))
    if ids is not None:
        query = query.where(rewrite_rule_set.c.id.in_(ids))
        rules = rules.where(t.set_id.in_(ids))
    by_set: dict[int, list[RuleRow]] = {}
    for row in conn.execute(rules):
        by_set.setdefault(row[1], []).append(RuleRow(*row))
    return {set_id: RuleSet(set_id, name, by_set.get(set_id, ())) for set_id, name in conn.execute(query)}


def read_peers(conn: sa.Connection) -> tuple[PeerGroup, ...]:
    """All peering groups with their enabled rules and their hosts with preferences."""
    prefs = _rows(conn, "peer")
    hosts: dict[int, list[Peer]] = {}
    h = peer_host.c
    columns = (h.id, h.group_id, h.name, h.ip, h.host, h.port, h.transport, h.weight, h.via_route, h.via_lb, h.enabled)
    for i, group, name, ip, host, port, transport, weight, via, lb, enabled in conn.execute(sa.select(*columns).order_by(h.id)):
        own: PrefMap = prefs.get((i, 0), {})
        how = _TRANSPORTS.get(transport, "udp")
        peer = Peer(i, group, name, ip.strip("[]"), host or "", port, how, weight, via or "", bool(lb), bool(enabled), Prefs(own, PEER_FALLBACK))
        hosts.setdefault(group, []).append(peer)
    rules: dict[int, list[PeerRule]] = {}
    r = peer_rule.c
    query = sa.select(r.id, r.group_id, r.callee_prefix, r.callee_pattern, r.caller_pattern).where(r.enabled.is_(True)).order_by(r.id)
    for i, group, prefix, callee, caller in conn.execute(query):
        rules.setdefault(group, []).append(PeerRule(i, prefix or "", callee or "", caller or ""))
    g = peer_group.c
    return tuple(
        PeerGroup(i, name, priority, contract_id or 0, tuple(rules.get(i, ())), tuple(hosts.get(i, ())))
        for i, name, priority, contract_id in conn.execute(sa.select(g.id, g.name, g.priority, g.contract_id).order_by(g.id))
    )


def read_keys(conn: sa.Connection) -> Keys:
    """Everything that is loaded whole, as of one moment."""
    keys = Keys()
    keys.domains, keys.domain_rows = read_domains(conn)
    keys.profile_rows = read_profile_rows(conn)
    live = sa.select(subscriber.c.id, subscriber.c.domain_id, subscriber.c.live_name).where(subscriber.c.live_name.is_not(None))
    for i, domain_id, name in conn.execute(live):
        keys.users.setdefault(domain_id, {})[name] = i
        keys.names[i] = (domain_id, name)
    owned = sa.select(number.c.e164, number.c.subscriber_id, number.c.is_primary).where(number.c.subscriber_id.is_not(None))
    for e164, owner, primary in conn.execute(owned):
        keys.numbers[e164] = owner * 2 + bool(primary)
    keys.trusted = read_trusted(conn)
    keys.groups = read_peers(conn)
    keys.rule_sets = read_rule_sets(conn)
    return keys


# ---------------------------------------------------------------------------------------------------------------- details
def _network(family: int, first: bytes, last: bytes) -> Network:
    """A stored range: 16 byte addresses, IPv4 mapped into IPv6."""
    low, high = int.from_bytes(first, "big"), int.from_bytes(last, "big")
    return Network(4, low & 0xFFFFFFFF, high & 0xFFFFFFFF) if family == 4 else Network(6, low, high)


@dataclass(slots=True)
class _Own:
    """Rows that belong to some subscribers and their contracts, by owner."""

    numbers: dict[int, list[Number]] = field(default_factory=dict)
    allowed: dict[int, list[tuple[str, str, Network]]] = field(default_factory=dict)
    places: dict[int, list[tuple[int, Network]]] = field(default_factory=dict)


def _read_own(conn: sa.Connection, ids: Sequence[int], contracts: Sequence[int]) -> _Own:
    """Numbers, allowed addresses and the locations' blocks, in one query: each subscriber loads once, and round trips are what it waits for."""
    n, a, p, b = number.c, allowed_ip.c, customer_location.c, customer_location_block.c
    none = sa.null()
    parts = (
        sa.select(sa.literal(1), n.subscriber_id, n.id, n.is_primary, n.cc, n.ac, n.sn, n.e164, none, none).where(n.subscriber_id.in_(ids)),
        sa.select(sa.literal(2), a.subscriber_id, a.id, none, a.family, a.list, a.text, none, a.first, a.last).where(a.subscriber_id.in_(ids)),
        sa.select(sa.literal(3), p.contract_id, p.id, none, b.family, none, none, none, b.first, b.last)
        .join(customer_location_block, b.location_id == p.id)
        .where(p.contract_id.in_(contracts)),
    )
    out = _Own()
    rows = conn.execute(sa.union_all(*parts)).all()
    for what, owner, key, primary, small, one, two, e164, first, last in sorted(rows, key=lambda row: (row[0], row[2])):
        if what == 1:
            out.numbers.setdefault(owner, []).append(Number(sys.intern(str(small)), sys.intern(one), two, e164, bool(primary)))
        elif what == 2:
            attribute = "allowed_ips" if one == "allowed" else "man_allowed_ips"
            out.allowed.setdefault(owner, []).append((attribute, two, _network(small, first, last)))
        else:
            out.places.setdefault(owner, []).append((key, _network(small, first, last)))
    return out


def _read_prefs(conn: sa.Connection, ids: Sequence[int], contracts: Sequence[int]) -> tuple[dict[tuple[int, int], Rows], dict[tuple[int, int], Rows]]:
    """Preferences of subscribers and of contracts."""
    t = preference_value.c
    wanted = sa.or_(
        sa.and_(t.level == "usr", t.owner_id.in_(ids)),
        sa.and_(t.level == "contract", t.owner_id.in_(contracts)),
    )
    query = sa.select(t.level, t.owner_id, t.attribute, t.location_id, t.value).where(wanted)
    rows = conn.execute(query.order_by(t.owner_id, t.attribute, t.position)).all()
    return _collect(row[1:] for row in rows if row[0] == "usr"), _collect(row[1:] for row in rows if row[0] == "contract")


def _contract(i: int, status: str, external: str, reseller_id: int, own: _Own, prefs: dict[tuple[int, int], Rows]) -> Contract:
    places = [Location(key, block, prefs.get((i, key), {})) for key, block in own.places.get(i, ())]
    # The most specific block first: fewest addresses, then the higher ones (data model 6.3).
    places.sort(key=lambda p: (p.block.last - p.block.first, -p.block.first))
    return Contract(i, status, external, reseller_id, prefs.get((i, 0), {}), tuple(places))


def read_subscribers(conn: sa.Connection, ids: Sequence[int]) -> tuple[list[SubscriberRow], dict[int, Contract]]:
    """Details of living subscribers and of the contracts they belong to. Those that are not there are left out. Three queries for 500."""
    found: list[SubscriberRow] = []
    contracts: dict[int, Contract] = {}
    t = subscriber.c
    for some in _chunks(ids):
        query = (
            sa.select(t.id, t.uuid, t.username, t.domain_id, domain.c.name, t.contract_id, domain.c.reseller_id, t.status)
            .add_columns(t.ha1, t.ha1_sha256, t.external_id, t.profile_id)
            .add_columns(contract.c.status, contract.c.external_id, contact.c.reseller_id)
            .join(domain, domain.c.id == t.domain_id)
            .join(contract, contract.c.id == t.contract_id)
            .join(contact, contact.c.id == contract.c.contact_id)
            .where(t.id.in_(some), t.live_name.is_not(None))
        )
        there = conn.execute(query).all()
        homes = sorted({row[5] for row in there})
        prefs, contract_prefs = _read_prefs(conn, some, homes)
        own = _read_own(conn, some, homes)
        for i, uuid, user, domain_id, name, home, reseller_id, status, ha1, sha256, external, profile, state, their, holder in there:
            if home not in contracts:
                contracts[home] = _contract(home, state, their or "", holder or 0, own, contract_prefs)
            rows = prefs.get((i, 0), {})
            allowed = own.allowed.get(i, ())
            for attribute, text, _ in allowed:
                rows[attribute] = (*rows.get(attribute, ()), text)
            found.append(
                SubscriberRow(
                    i, uuid, user, domain_id, sys.intern(name.lower()), home, reseller_id, sys.intern(status), ha1 or "", sha256 or "",
                    external or "", profile or 0, tuple(own.numbers.get(i, ())), rows, tuple(net for _, _, net in allowed),
                )
            )  # fmt: skip
    return found, contracts

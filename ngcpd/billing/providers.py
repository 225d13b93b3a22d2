"""Which contract stands behind a party of a call: that of a subscriber's reseller or of a peer (billing 1.3, provider look-up)."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from ngcpd.store.legs import DestinationLeg, SourceLeg
from ngcpd.store.tables.identity import domain, subscriber
from ngcpd.store.tables.routing import peer_group, peer_host
from ngcpd.store.tables.tenancy import contact, contract, reseller

UNKNOWN = "0"
CACHE_LIMIT = 100_000


class _Peers:
    """The peering hosts: contract id as text by host id, by `ip` and by `host`."""

    def __init__(self) -> None:
        self.by_id: dict[int, str] = {}
        self.by_ip: dict[str, str] = {}
        self.by_host: dict[str, str] = {}
        self.double: set[str] = set()

    def by_domain(self, name: str) -> str:
        return self.by_ip.get(name) or self.by_host.get(name) or UNKNOWN


class Providers:
    """A cache over the database. Used by one mediation run at a time, on its pool thread; `invalidate` may be called from the reactor."""

    def __init__(self) -> None:
        self._subscribers: dict[str, str] = {}
        self._peers: _Peers | None = None
        self._generation = 0
        self._filled = 0

    def invalidate(self) -> None:
        """Something in tenancy, identity or peering changed: the next run reads anew."""
        self._generation += 1

    @property
    def double(self) -> frozenset[str]:
        """Addresses and host names given to peers of different contracts; the peer made first counts."""
        return frozenset(self._peers.double) if self._peers is not None else frozenset()

    def prepare(self, conn: sa.Connection, uuids: Iterable[str]) -> None:
        """Read what a batch needs and is not known yet."""
        generation = self._generation
        if self._filled != generation or len(self._subscribers) > CACHE_LIMIT:
            self._subscribers = {}
            self._peers = None
            self._filled = generation
        if self._peers is None:
            self._peers = _load_peers(conn)
        missing = [u for u in dict.fromkeys(uuids) if u != UNKNOWN and u not in self._subscribers]
        for i in range(0, len(missing), 500):
            part = missing[i : i + 500]
            found = _load_subscribers(conn, part)
            self._subscribers.update((u, found.get(u, UNKNOWN)) for u in part)

    def source(self, leg: SourceLeg) -> str:
        """The contract id as text, `0` when unknown."""
        assert self._peers is not None
        if leg.user_id != UNKNOWN:
            return self._subscribers.get(leg.user_id, UNKNOWN)
        return self._peers.by_domain(leg.domain)

    def destination(self, leg: DestinationLeg) -> str:
        """The contract id as text, `0` when unknown."""
        assert self._peers is not None
        if leg.user_id != UNKNOWN:
            return self._subscribers.get(leg.user_id, UNKNOWN)
        if leg.peer_host_id:
            return self._peers.by_id.get(leg.peer_host_id, UNKNOWN)
        return self._peers.by_domain(leg.domain)


def _load_subscribers(conn: sa.Connection, uuids: list[str]) -> dict[str, str]:
    """The customer's contact names the reseller; a contact without one leaves it to the domain."""
    of_contact = reseller.alias("of_contact")
    of_domain = reseller.alias("of_domain")
    tables = (
        subscriber.join(contract, subscriber.c.contract_id == contract.c.id)
        .join(contact, contract.c.contact_id == contact.c.id)
        .join(domain, subscriber.c.domain_id == domain.c.id)
        .outerjoin(of_contact, contact.c.reseller_id == of_contact.c.id)
        .outerjoin(of_domain, domain.c.reseller_id == of_domain.c.id)
    )
    query = sa.select(subscriber.c.uuid, of_contact.c.contract_id, of_domain.c.contract_id).select_from(tables).where(subscriber.c.uuid.in_(uuids))
    return {row[0]: str(row[1] or row[2] or UNKNOWN) for row in conn.execute(query)}


def _load_peers(conn: sa.Connection) -> _Peers:
    peers = _Peers()
    tables = peer_host.join(peer_group, peer_host.c.group_id == peer_group.c.id)
    query = sa.select(peer_host.c.id, peer_host.c.ip, peer_host.c.host, peer_group.c.contract_id).select_from(tables).order_by(peer_host.c.id)
    for number, ip, host, contract_id in conn.execute(query):
        provider = str(contract_id) if contract_id is not None else UNKNOWN
        peers.by_id[number] = provider
        for index, name in ((peers.by_ip, ip), (peers.by_host, host)):
            if name and index.setdefault(name, provider) != provider:
                peers.double.add(name)
    return peers

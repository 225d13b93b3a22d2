"""The directory: who exists, what numbers they have and what holds for them, in memory (decisions on loading: keys whole, details on use).

Keys (domains, user names, numbers, trusted sources), peers and rewrite rules are loaded at the start and kept by change notices; a name that is not
among them never reaches the database. Subscribers with their customers are loaded on first use and kept in a bounded cache. With the
database away everything that is loaded goes on working.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ngcpd.directory import loader
from ngcpd.directory.loader import Keys, Rows, SubscriberRow
from ngcpd.directory.model import (
    DOMAIN_FALLBACK,
    NO_PREFS,
    SUBSCRIBER_FALLBACK,
    Contract,
    Domain,
    NumberEntry,
    Peer,
    PeerGroup,
    Prefs,
    Subscriber,
    parse_ip,
)
from ngcpd.directory.refresh import Refresher
from ngcpd.directory.rewrite import RuleSet
from ngcpd.directory.trust import TrustedSources
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock
from ngcpd.store.changes import Change, ChangeFeed
from ngcpd.store.db import Database, StoreUnavailable

__all__ = ["Directory", "StoreUnavailable"]

log = logger("directory")
Listener = Callable[[str, int], object]
MAX_READS = 4
MAX_BATCH = 500


class _Waiter:
    """One call of `load`: fires when none of its ids is open any more."""

    __slots__ = ("done", "open")

    def __init__(self, ids: Iterable[int]) -> None:
        self.open = set(ids)
        self.done: Deferred[None] | None = Deferred()


class _Read:
    """A read of details under way. What is named by a notice meanwhile is read again."""

    __slots__ = ("all_stale", "ids", "stale", "stale_contracts")

    def __init__(self, ids: list[int]) -> None:
        self.ids = ids
        self.stale: set[int] = set()
        self.stale_contracts: set[int] = set()
        self.all_stale = False


class Directory:
    """See the module. `subscribers` bounds how many details are kept.

    Start `feed` before `start()`, so that no change falls between. Look-ups are memory reads on the reactor; only `load` may wait.
    """

    def __init__(self, database: Database, feed: ChangeFeed | None, clock: Clock, *, subscribers: int = 20_000) -> None:
        self._database = database
        self._feed = feed
        self._limit = max(1, subscribers)
        self._keys = Keys()
        self._by_name: dict[str, Domain] = {}
        self._domain_prefs: dict[str, Prefs] = {}
        self._peers_by_ip: dict[tuple[int, int], Peer] = {}
        self._subscribers: OrderedDict[int, Subscriber] = OrderedDict()
        self._contracts: dict[int, Contract] = {}
        self._members: dict[int, set[int]] = {}
        self._waiters: dict[int, list[_Waiter]] = {}
        self._wanted: dict[int, None] = {}
        self._reads: list[_Read] = []
        self._listeners: list[Listener] = []
        self._refresher = Refresher(self, database, clock)
        self._started = False

    # ------------------------------------------------------------------------------------------------------------ start
    def start(self) -> Deferred[None]:
        """Load the keys. Errback StoreUnavailable; then it may be called again."""
        if self._feed is not None and not self._started:
            self._feed.subscribe(self.changed)
            self._started = True
        self._refresher.hold()
        done = self._database.read(loader.read_keys)
        return done.addCallbacks(self._begin, self._not_begun)

    def _begin(self, keys: Keys) -> None:
        self.replace_keys(keys)
        log.info("directory loaded", domains=len(keys.domains), subscribers=len(keys.names), numbers=len(keys.numbers), peers=len(self._peers_by_ip))
        self._refresher.release()

    def _not_begun(self, failure: Failure) -> Failure:
        self._refresher.forget()
        return failure

    def stop(self) -> None:
        """No more reads of its own."""
        self._refresher.stop()

    # --------------------------------------------------------------------------------------------------------- look-ups
    def domain(self, name: str) -> Domain | None:
        """A local domain; case does not matter."""
        found = self._by_name.get(name)
        return found if found is not None else self._by_name.get(name.lower())

    def user_id(self, domain_name: str, username: str) -> int | None:
        """The id of a living subscriber; user names are compared exactly."""
        domain = self.domain(domain_name)
        if domain is None:
            return None
        users = self._keys.users.get(domain.id)
        return users.get(username) if users is not None else None

    def number(self, e164: str) -> NumberEntry | None:
        """Whose number this is, primary or alias."""
        packed = self._keys.numbers.get(e164)
        if packed is None or packed >> 1 not in self._keys.names:
            return None
        return NumberEntry(packed >> 1, bool(packed & 1))

    def trusted(self, ip: str, transport: str, from_uri: str) -> int | None:
        """The subscriber whom requests from here belong to (call processing 2.5)."""
        found = self._keys.trusted.find(ip, transport, from_uri)
        return found if found in self._keys.names else None

    def peer_by_ip(self, ip: str) -> Peer | None:
        """The enabled peering host with this address, the first by id (call processing 3.2)."""
        if not self._peers_by_ip:
            return None
        address = parse_ip(ip)
        return self._peers_by_ip.get(address) if address is not None else None

    def peer_groups(self) -> Sequence[PeerGroup]:
        """All peering groups by id."""
        return self._keys.groups

    def rule_set(self, set_id: int) -> RuleSet | None:
        """A compiled rewrite rule set."""
        return self._keys.rule_sets.get(set_id)

    def domain_prefs(self, name: str) -> Prefs:
        """Preferences of a domain alone; of an unknown one the built-in ones."""
        domain = self.domain(name)
        if domain is None:
            return Prefs(DOMAIN_FALLBACK)
        prefs = self._domain_prefs.get(domain.name)
        if prefs is None:
            prefs = self._domain_prefs[domain.name] = Prefs(self._rows_of(self._keys.domain_rows, domain.id), DOMAIN_FALLBACK)
        return prefs

    def contract_prefs(self, contract_id: int, source_ip: str) -> Prefs:
        """Preferences of a customer for a call from this address; nothing is set when none of its subscribers is loaded."""
        contract = self._contracts.get(contract_id)
        return contract.prefs(source_ip) if contract is not None else NO_PREFS

    def subscriber(self, subscriber_id: int) -> Subscriber | None:
        """A subscriber's details; None: not loaded, or gone."""
        found = self._subscribers.get(subscriber_id)
        if found is not None:
            self._subscribers.move_to_end(subscriber_id)
        return found

    def subscribe(self, fn: Listener) -> None:
        """`fn(kind, id)` after a change was taken over. Kinds: `subscriber`, `subscriber_gone`, `domain`, `domain_gone`, `peer` (id of the
        group), `rewrite` (id of the set), `contract`, `profile`; `all` with 0 when anything may have changed."""
        self._listeners.append(fn)

    def counters(self) -> dict[str, int]:
        """How much is held."""
        return {
            "domains": len(self._keys.domains),
            "users": len(self._keys.names),
            "numbers": len(self._keys.numbers),
            "subscribers": len(self._subscribers),
            "contracts": len(self._contracts),
            "reads": len(self._reads),
        }

    # ------------------------------------------------------------------------------------------------------------- load
    def load(self, ids: Iterable[int]) -> Deferred[None] | None:
        """Make details available. None: all are there (or do not exist). Errback StoreUnavailable. Calls for the same id share one read."""
        missing = [i for i in ids if i not in self._subscribers and i in self._keys.names]
        if not missing:
            return None
        waiter = _Waiter(missing)
        for i in waiter.open:
            waiting = self._waiters.get(i)
            if waiting is None:
                self._waiters[i] = [waiter]
                self._wanted[i] = None
            else:
                waiting.append(waiter)
        done = waiter.done
        self._read_wanted()
        return done

    def _read_wanted(self) -> None:
        while self._wanted and len(self._reads) < MAX_READS:
            ids = list(self._wanted)[:MAX_BATCH]
            for i in ids:
                del self._wanted[i]
            read = _Read(ids)
            self._reads.append(read)
            work = self._database.read(loader.read_subscribers, ids)
            work.addCallbacks(self._details, self._no_details, callbackArgs=(read,), errbackArgs=(read,)).addErrback(self._fault)

    def _details(self, found: tuple[list[SubscriberRow], dict[int, Contract]], read: _Read) -> None:
        self._reads.remove(read)
        rows, contracts = found
        stale = set(read.ids) if read.all_stale else read.stale | {r.id for r in rows if r.contract_id in read.stale_contracts}
        for row in rows:
            contract = contracts.get(row.contract_id)
            if row.id not in stale and contract is not None and row.id in self._keys.names:
                self._keep(row, contract)
        done: list[Deferred[None]] = []
        for i in read.ids:
            if i in stale:
                self._wanted[i] = None
            else:
                done += self._arrived(i)
        for d in done:
            d.callback(None)
        self._read_wanted()

    def _arrived(self, i: int) -> list[Deferred[None]]:
        out: list[Deferred[None]] = []
        for waiter in self._waiters.pop(i, ()):
            waiter.open.discard(i)
            if not waiter.open and waiter.done is not None:
                out.append(waiter.done)
                waiter.done = None
        return out

    def _no_details(self, failure: Failure, read: _Read) -> None:
        """The read failed: everybody who waits for one of its ids is told, the rest goes on."""
        self._reads.remove(read)
        failed: list[Deferred[None]] = []
        for i in read.ids:
            for waiter in self._waiters.pop(i, ()):
                if waiter.done is not None:
                    failed.append(waiter.done)
                    waiter.done = None
        for d in failed:
            d.errback(failure)
        self._read_wanted()

    def _fault(self, failure: Failure) -> None:
        log.error("fault after details were loaded", why=failure.getErrorMessage(), kind=type(failure.value).__name__)

    def _keep(self, row: SubscriberRow, contract: Contract) -> None:
        known = self._contracts.get(contract.id)
        if known is not None and known == contract:
            contract = known
        else:
            self._contracts[contract.id] = contract
        domain_rows = self._rows_of(self._keys.domain_rows, row.domain_id)
        if row.profile_id:
            prefs = Prefs(row.rows, self._rows_of(self._keys.profile_rows, row.profile_id), domain_rows, SUBSCRIBER_FALLBACK)
        else:
            prefs = Prefs(row.rows, domain_rows, SUBSCRIBER_FALLBACK)
        self._subscribers[row.id] = Subscriber(
            id=row.id,
            uuid=row.uuid,
            username=row.username,
            domain_id=row.domain_id,
            domain=row.domain,
            contract_id=row.contract_id,
            contract_status=contract.status,
            reseller_id=contract.reseller_id or row.reseller_id,
            status=row.status,
            ha1=row.ha1,
            ha1_sha256=row.ha1_sha256,
            external_id=row.external_id,
            contract_external_id=contract.external_id,
            profile_id=row.profile_id,
            numbers=row.numbers,
            primary=next((n for n in row.numbers if n.is_primary), None),
            prefs=prefs,
            allowed=row.allowed,
        )
        self._subscribers.move_to_end(row.id)
        self._members.setdefault(contract.id, set()).add(row.id)
        while len(self._subscribers) > self._limit:
            self.drop(next(iter(self._subscribers)))

    @staticmethod
    def _rows_of(rows: dict[int, Rows], owner: int) -> Rows:
        """The one map of a domain or profile, shared by all who hold its preferences; changes are written into it."""
        found = rows.get(owner)
        if found is None:
            found = rows[owner] = {}
        return found

    # ---------------------------------------------------------------------------------------------------------- changes
    def changed(self, changes: Sequence[Change]) -> None:
        """Take notice: details are dropped at once, keys are read again."""
        for change in changes:
            self._refresher.notice(change.kind, change.key)
        self._refresher.go()

    def drop(self, subscriber_id: int) -> None:
        """Forget a subscriber's details; a read under way is done again."""
        gone = self._subscribers.pop(subscriber_id, None)
        if gone is not None:
            members = self._members.get(gone.contract_id)
            if members is not None:
                members.discard(subscriber_id)
                if not members:
                    del self._members[gone.contract_id]
                    self._contracts.pop(gone.contract_id, None)

    def outdate(self, subscriber_id: int) -> None:
        """`drop`, because it changed: what is being read of it is old."""
        self.drop(subscriber_id)
        for read in self._reads:
            read.stale.add(subscriber_id)

    def outdate_contract(self, contract_id: int) -> None:
        """The same for all subscribers of a customer."""
        for subscriber_id in list(self._members.get(contract_id, ())):
            self.drop(subscriber_id)
        for read in self._reads:
            read.stale_contracts.add(contract_id)

    def outdate_all(self) -> None:
        """The same for everybody."""
        self._subscribers.clear()
        self._members.clear()
        self._contracts.clear()
        for read in self._reads:
            read.all_stale = True

    def owner_of(self, e164: str) -> int | None:
        """The id a number is known to belong to, living or not."""
        packed = self._keys.numbers.get(e164)
        return packed >> 1 if packed is not None else None

    # ------------------------------------------------------------------------------------- what was read again, taken over
    def replace_keys(self, keys: Keys) -> None:
        """Take over a whole new set of keys. Maps that are shared with loaded subscribers are kept and filled anew."""
        for new, old in ((keys.domain_rows, self._keys.domain_rows), (keys.profile_rows, self._keys.profile_rows)):
            for owner, rows in old.items():
                fresh = new.get(owner, {})
                rows.clear()
                rows.update(fresh)
                new[owner] = rows
        gone = [i for i in self._keys.names if i not in keys.names]
        self._keys = keys
        self._index_domains()
        self._index_peers()
        for i in gone:
            self.outdate(i)
            self.tell("subscriber_gone", i)

    def _index_domains(self) -> None:
        self._by_name = {d.name: d for d in self._keys.domains.values()}
        self._domain_prefs.clear()

    def _index_peers(self) -> None:
        self._peers_by_ip.clear()
        hosts = sorted((h for g in self._keys.groups for h in g.hosts if h.enabled), key=lambda h: h.id)
        for host in hosts:
            address = parse_ip(host.ip)
            if address is None:
                log.limited(host.id, 3600.0, "peering host has no numeric address: calls from it are not known", host=host.name, ip=host.ip)
            else:
                self._peers_by_ip.setdefault(address, host)

    def take_domains(self, asked: Iterable[int], domains: dict[int, Domain], rows: dict[int, Rows]) -> None:
        """Domains were read again; those of `asked` that were not found are gone."""
        keys = self._keys
        for i in asked:
            own = self._rows_of(keys.domain_rows, i)
            own.clear()
            own.update(rows.get(i, {}))
            before, now = keys.domains.get(i), domains.get(i)
            if now is not None:
                keys.domains[i] = now
            else:
                keys.domains.pop(i, None)
            if before is not None and (now is None or now.name != before.name):
                for subscriber_id in [s.id for s in self._subscribers.values() if s.domain_id == i]:
                    self.outdate(subscriber_id)
            self.tell("domain" if now is not None else "domain_gone", i)
        self._index_domains()

    def take_profiles(self, asked: Iterable[int], rows: dict[int, Rows]) -> None:
        """Preferences of profiles were read again."""
        for i in asked:
            own = self._rows_of(self._keys.profile_rows, i)
            own.clear()
            own.update(rows.get(i, {}))
            self.tell("profile", i)

    def take_users(self, asked: Iterable[int], names: dict[int, tuple[int, str]]) -> None:
        """Keys of subscribers were read again; those of `asked` that were not found are gone."""
        keys = self._keys
        for i in asked:
            before, now = keys.names.get(i), names.get(i)
            if before is not None and before != now:
                users = keys.users.get(before[0])
                if users is not None and users.get(before[1]) == i:
                    del users[before[1]]
            if now is not None:
                keys.names[i] = now
                keys.users.setdefault(now[0], {})[now[1]] = i
            elif before is not None:
                del keys.names[i]
                self.outdate(i)
            self.tell("subscriber" if now is not None else "subscriber_gone", i)

    def take_numbers(self, asked: Iterable[str], found: dict[str, tuple[int, bool]]) -> None:
        """Numbers were read again. Details of the old and the new owner hold the number too."""
        numbers = self._keys.numbers
        for e164 in asked:
            before, now = numbers.get(e164), found.get(e164)
            if before is not None:
                self.outdate(before >> 1)
            if now is None:
                numbers.pop(e164, None)
            else:
                numbers[e164] = now[0] * 2 + now[1]
                self.outdate(now[0])

    def take_trusted(self, trusted: TrustedSources) -> None:
        self._keys.trusted = trusted

    def take_peers(self, groups: tuple[PeerGroup, ...], asked: Iterable[int]) -> None:
        self._keys.groups = groups
        self._index_peers()
        for i in asked:
            self.tell("peer", i)

    def take_rule_sets(self, asked: Iterable[int], found: dict[int, RuleSet]) -> None:
        for i in asked:
            rule_set = found.get(i)
            if rule_set is None:
                self._keys.rule_sets.pop(i, None)
            else:
                self._keys.rule_sets[i] = rule_set
            self.tell("rewrite", i)

    def all_domain_ids(self) -> list[int]:
        return list(self._keys.domains)

    def tell(self, kind: str, key: int) -> None:
        """Tell the subscribers of changes; a fault of one does not keep the others from hearing."""
        for fn in self._listeners:
            try:
                fn(kind, key)
            except Exception as error:  # noqa: BLE001 - the fault is logged; the others must still learn of the change
                log.error("listener of the directory failed", kind=kind, id=key, why=f"{type(error).__name__}: {error}")

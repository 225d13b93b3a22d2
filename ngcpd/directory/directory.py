"""The directory: who exists, what numbers they have and what holds for them, in memory (decisions on loading: keys whole, details on use).

Keys (domains, user names, numbers, trusted sources), peers and rewrite rules are loaded at the start and kept by change notices; a name that is not
among them never reaches the database. Subscribers with their customers are loaded on first use and kept in a bounded cache. With the
database away everything that is loaded goes on working.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ngcpd.directory import loader
from ngcpd.directory.keyring import KeyRing
from ngcpd.directory.loader import Keys, SubscriberRow
from ngcpd.directory.model import (
    NO_PREFS,
    SUBSCRIBER_FALLBACK,
    Contract,
    Prefs,
    Subscriber,
)
from ngcpd.directory.refresh import Refresher
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


class Directory(KeyRing):
    """See the module. `subscribers` bounds how many details are kept.

    Start `feed` before `start()`, so that no change falls between. Look-ups are memory reads on the reactor; only `load` may wait.
    """

    def __init__(self, database: Database, feed: ChangeFeed | None, clock: Clock, *, subscribers: int = 20_000) -> None:
        super().__init__()
        self._database = database
        self._feed = feed
        self._limit = max(1, subscribers)
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
        """`fn(kind, id)` after a change was taken over. Kinds: `subscriber` (anything of it), `subscriber_gone`, `domain`, `domain_gone`, `peer`
        (id of the group, or of the host whose preferences changed), `rewrite` (id of the set), `contract`, `profile`; `all` with 0 when anything
        may have changed."""
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
    def load(self, ids: Collection[int]) -> Deferred[None] | None:
        """Make details available. None: all are there (or do not exist). Errback StoreUnavailable. Calls for the same id share one read."""
        loaded, names = self._subscribers, self._keys.names
        for i in ids:
            if i not in loaded and i in names:
                return self._load([i for i in ids if i not in loaded and i in names])
        return None

    def _load(self, missing: list[int]) -> Deferred[None] | None:
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
        known_name = self._keys.names[row.id][1]
        domain_rows = self._rows_of(self._keys.domain_rows, row.domain_id)
        if row.profile_id:
            prefs = Prefs(row.rows, self._rows_of(self._keys.profile_rows, row.profile_id), domain_rows, SUBSCRIBER_FALLBACK, version=self.version)
        else:
            prefs = Prefs(row.rows, domain_rows, SUBSCRIBER_FALLBACK, version=self.version)
        self._subscribers[row.id] = Subscriber(
            id=row.id,
            uuid=row.uuid,
            username=known_name if known_name == row.username else row.username,  # one text for both
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

    def loaded_in(self, domain_id: int) -> list[int]:
        """Ids of the subscribers of a domain whose details are held."""
        return [s.id for s in self._subscribers.values() if s.domain_id == domain_id]

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

    def tell(self, kind: str, key: int) -> None:
        """Tell the subscribers of changes; a fault of one does not keep the others from hearing."""
        for fn in self._listeners:
            try:
                fn(kind, key)
            except Exception as error:  # noqa: BLE001 - the fault is logged; the others must still learn of the change
                log.error("listener of the directory failed", kind=kind, id=key, why=f"{type(error).__name__}: {error}")

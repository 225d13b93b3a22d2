"""Looking again at the subscribers behind the bindings: who is gone, and who wants no keepalive (`no_nat_sipping`).

Done for one subscriber when a notice names it, and for all, shard after shard, after the start and after notices that may touch many. The
keepalive itself looks at whoever is in memory; the survey is for those who are not.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ngcpd.registrar.accounts import Accounts
from ngcpd.registrar.location import Location
from ngcpd.registrar.table import SHARDS
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Timer

log = logger("registrar")
TICK = 0.1
CHUNK = 100
"""Subscribers loaded at once."""
RETRY = 5.0
_MANY = frozenset(("all", "domain_gone"))
"""Notices after which anybody may be gone."""
_SETTINGS = frozenset(("domain", "profile"))
"""Notices after which `no_nat_sipping` may be another for many; of a customer (`contract`) neither changes."""


class Survey:
    """`quiet` holds subscribers that are not to be pinged, as far as they were looked at."""

    def __init__(self, directory: Accounts, location: Location, clock: Clock) -> None:
        self._directory = directory
        self._location = location
        self._clock = clock
        self.quiet: set[int] = set()
        self._timer: Timer | None = None
        self._shards_left = 0
        self._nat_only = False
        self._shard = 0
        self._queue: list[int] = []
        self._running = False
        directory.subscribe(self._notice)

    def start(self) -> None:
        """Look at all."""
        self._running = True
        self._all()

    def stop(self) -> None:
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def wants_none(self, subscriber_id: int) -> bool:
        """`no_nat_sipping`, from what is in memory now, else from the last look."""
        subscriber = self._directory.subscriber(subscriber_id)
        if subscriber is None:
            return subscriber_id in self.quiet
        return self._note(subscriber_id, subscriber.prefs.flag("no_nat_sipping"))

    def _note(self, subscriber_id: int, quiet: bool) -> bool:
        if quiet:
            self.quiet.add(subscriber_id)
        else:
            self.quiet.discard(subscriber_id)
        return quiet

    # ------------------------------------------------------------------------------------------------------------ notices
    def _notice(self, kind: str, key: int) -> None:
        if kind == "subscriber_gone":
            self._gone(key)
        elif not self._running:
            return
        elif kind in _MANY:
            self._all()
        elif kind in _SETTINGS:
            self._all(nat_only=True)
        elif kind == "subscriber" and self._location.table.get(key):
            self._queue.append(key)
            self._arm(0.0)

    def _all(self, *, nat_only: bool = False) -> None:
        # A round over those behind NAT does not cut short one over all.
        self._nat_only = nat_only and (self._nat_only or not self._shards_left)
        self._shards_left = SHARDS
        self._arm(TICK)

    def _arm(self, seconds: float) -> None:
        if self._timer is None and self._running:
            self._timer = self._clock.call_later(seconds, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if not self._queue and self._shards_left:
            shard = self._location.table.shard(self._shard)
            self._queue = [i for i, bindings in shard if not self._nat_only or any(b.nat for b in bindings)]
            self._shard = (self._shard + 1) % SHARDS
            self._shards_left -= 1
        ids, self._queue = self._queue[:CHUNK], self._queue[CHUNK:]
        waiting = self._directory.load(ids) if ids else None
        if isinstance(waiting, Deferred):
            # The next tick is set when this one is done: one question to the store at a time.
            waiting.addCallback(lambda _: self._look(ids)).addErrback(self._failed, ids)
        else:
            self._look(ids)

    def _look(self, ids: Iterable[int]) -> None:
        for subscriber_id in ids:
            subscriber = self._directory.subscriber(subscriber_id)
            if subscriber is None or not subscriber.alive:
                self._gone(subscriber_id)
            else:
                self._note(subscriber_id, subscriber.prefs.flag("no_nat_sipping"))
        if self._queue or self._shards_left:
            self._arm(TICK)

    def _gone(self, subscriber_id: int) -> None:
        self.quiet.discard(subscriber_id)
        if self._location.table.get(subscriber_id):
            log.info("subscriber is gone, its registrations are removed", subscriber=subscriber_id)
            self._location.subscriber_gone(subscriber_id)

    def _failed(self, failure: Failure, ids: list[int]) -> None:
        log.limited("survey", 60.0, "subscribers of registrations could not be looked at, will be tried again", why=failure.getErrorMessage())
        self._queue = [*ids, *self._queue]
        self._arm(RETRY)

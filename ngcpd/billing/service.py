"""The mediation service: runs at each call end and, for what was left, every `mediator.interval` seconds (features 3, no. 32)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from ngcpd.billing.mediation import Outcome, candidates, discard, mediate
from ngcpd.billing.providers import Providers
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Timer
from ngcpd.store.db import Database, StoreUnavailable
from ngcpd.store.kv import KeyValue, KeyValueUnavailable, Lock

log = logger("billing")
INTERVAL = 10.0
BATCH = 200
SOON = 0.05
LOCK = "mediator"
LOCK_SECONDS = 60.0
GIVE_UP = 3
"""Runs after which a Call-ID that alone makes its batch fail goes to the trash."""
RELEVANT = frozenset({"subscriber", "contract", "reseller", "domain", "peer", "all"})


class _Change(Protocol):
    @property
    def kind(self) -> str: ...


class Mediator:
    """One at a time in the cluster by a lock in the key-value store. Should that be away it runs without: row locks in the database keep every
    CDR single."""

    def __init__(
        self,
        db: Database,
        kv: KeyValue,
        clock: Clock,
        *,
        interval: float = INTERVAL,
        batch: int = BATCH,
        period: str = "hour",
        pace: float = 0.0,
    ) -> None:
        self._db = db
        self._kv = kv
        self._clock = clock
        self.interval = interval
        self._batch = batch
        self._period = period
        self.providers = Providers()
        self._pace = pace  # seconds from the beginning of one run to the next under load: a run costs more than a call in it
        self._next = 0.0
        self._timer: Timer | None = None
        self._soon = False
        self._run: Deferred[None] | None = None
        self._again = False
        self._started = False
        self._failures: dict[str, int] = {}
        self._told: frozenset[str] = frozenset()

    # ------------------------------------------------------------------------------------------------------------- outside
    def start(self) -> None:
        """Run now and every interval from here on."""
        self._started = True
        self._begin()

    def poke(self) -> None:
        """A call ended: run within a moment. Several pokes make one run."""
        if not self._started:
            return
        if self._run is not None:
            self._again = True
        elif not self._soon:
            self._soon = True
            self._schedule(self._wait())

    def changed(self, changes: Iterable[_Change]) -> None:
        """Subscriber of the change feed: who belongs to whom may be another now."""
        if any(change.kind in RELEVANT for change in changes):
            self.providers.invalidate()

    def stop(self) -> Deferred[None]:
        """No further run; fires when the batch in hand is done."""
        self._started = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._run is None:
            return succeed(None)
        done: Deferred[None] = Deferred()

        def pass_on(_: None) -> None:
            done.callback(None)

        self._run.addCallback(pass_on)
        return done

    # ---------------------------------------------------------------------------------------------------------------- runs
    def _schedule(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(seconds, self._begin)

    def _wait(self) -> float:
        """Seconds until the run for calls that ended just now."""
        return max(SOON, self._next - self._clock.monotonic())

    def _begin(self) -> None:
        self._timer = None
        self._next = self._clock.monotonic() + self._pace
        self._soon = self._again = False
        if not self._started or self._run is not None:
            return
        run = self._run = Deferred.fromCoroutine(self.run())
        run.addErrback(self._failed).addCallback(self._ended)

    def _failed(self, failure: Failure) -> None:
        # An outage of the database has been logged by the database itself; the next run tries again.
        if not isinstance(failure.value, StoreUnavailable):
            log.limited("run", 60, "mediation failed, next run tries again", error=repr(failure.value))

    def _ended(self, _: None) -> None:
        self._run = None
        if self._started:
            self._soon = self._again
            self._schedule(self._wait() if self._again else self.interval)

    async def run(self) -> None:
        """All finished calls there are now, batch by batch. Errbacks StoreUnavailable."""
        lock: Lock | None = None
        try:
            lock = await self._kv.lock(LOCK, LOCK_SECONDS)
            if lock is None:
                return  # another node is at it
        except KeyValueUnavailable:
            pass
        try:
            await self._batches(lock)
        finally:
            if lock is not None:
                try:
                    await lock.release()
                except KeyValueUnavailable:
                    pass  # it runs out by itself

    async def _batches(self, lock: Lock | None) -> None:
        renewed = self._clock.monotonic()
        while True:
            outcome = await self._one_batch()
            self._tell(outcome)
            if outcome.calls < self._batch or not self._started:
                return
            if lock is not None and self._clock.monotonic() - renewed > LOCK_SECONDS / 3:
                try:
                    if not await lock.renew(LOCK_SECONDS):
                        return
                except KeyValueUnavailable:
                    lock = None
                renewed = self._clock.monotonic()

    async def _one_batch(self) -> Outcome:
        try:
            outcome = await self._db.run(mediate, self._batch, self.providers, period=self._period)
        except StoreUnavailable:
            raise
        except Exception as e:  # noqa: BLE001 - one bad Call-ID must not stop the others: they are tried one by one
            log.limited("batch", 60, "mediation batch failed, its calls are tried one by one", error=repr(e))
            return await self._singly()
        self._failures.clear()
        return outcome

    async def _singly(self) -> Outcome:
        total = Outcome()
        for call_id in await self._db.run(candidates, self._batch):
            try:
                outcome = await self._db.run(mediate, 1, self.providers, period=self._period, only=[call_id])
            except StoreUnavailable:
                raise
            except Exception as e:  # noqa: BLE001 - what it was goes to the log, the rows to the trash in the end
                tries = self._failures[call_id] = self._failures.get(call_id, 0) + 1
                if tries < GIVE_UP:
                    continue
                del self._failures[call_id]
                await self._db.run(discard, call_id)
                outcome = Outcome(1, 0, ((call_id, repr(e)),))
            total = Outcome(total.calls + outcome.calls, total.cdrs + outcome.cdrs, total.trashed + outcome.trashed)
        return total

    def _tell(self, outcome: Outcome) -> None:
        for call_id, reason in outcome.trashed:
            log.error("accounting rows cannot be made a CDR, moved to acc_trash", call_id=call_id, reason=reason)
        if outcome.cdrs:
            log.debug("CDRs written", calls=outcome.calls, cdrs=outcome.cdrs)
        double = self.providers.double
        if double != self._told:
            self._told = double
            if double:
                log.warning("peers of different contracts share an address, the one made first counts", addresses=" ".join(sorted(double)))

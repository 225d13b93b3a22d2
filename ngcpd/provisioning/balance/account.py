"""The balance of one contract, in memory: intervals up to a moment, writes, top-ups, changes of package (billing 4, 6.3).

An `Account` is made of what the store holds, changed by its methods, and what came of it is stored by `book.save`. It knows no database, so all
of it can be tried with numbers alone.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from ngcpd.provisioning.balance import rules
from ngcpd.provisioning.balance.rules import SECOND, ZERO, Entry, Grant, Interval, Origin, Terms

LIMIT = Decimal(99_999_999)
"""Cents that a balance can hold, the sign aside."""


class FutureInterval(Exception):
    """The interval in force was begun by another top-up in this very second."""


class TooMuch(Exception):
    """The balance would grow beyond what can be kept."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """A billing profile in force from when to when; None = since ever, for good. Networks do not matter to balances (billing 3.3)."""

    profile_id: int
    network_id: int | None = None
    start: datetime.datetime | None = None
    end: datetime.datetime | None = None


class Account:
    """See the module. `mapped` in the order of their ids; `row` is the last interval, `opened` the start of the first one, `anchor` that of the
    last one with a top-up (else of the first).

    What is new since it was loaded: `rows` (intervals added or changed, the last is `row`), `entries` (billing profiles that came into force),
    `lock` (a level that all subscribers get), `changed` (anything at all), `news` (more than that time has passed).
    """

    def __init__(
        self,
        contract_id: int,
        origin: Origin,
        terms: Terms,
        grants: Mapping[int, Grant],
        mapped: Iterable[Mapped],
        row: Interval | None = None,
        opened: datetime.datetime | None = None,
        anchor: datetime.datetime | None = None,
    ) -> None:
        self.contract_id = contract_id
        self.origin = origin
        self.terms = terms
        self.grants = grants
        self.mapped = list(mapped)
        if row is None:
            opened = rules.first_start(terms, origin)
            row = rules.first(terms, self.grant(opened), origin)
        self.row = row
        self.opened = row.start if opened is None else opened
        self.anchor = self.opened if anchor is None else anchor
        self.rows = [row]
        self.entries: list[Mapped] = []
        self.lock: int | None = None
        self.changed = row.id is None
        self.news = False

    # ---------------------------------------------------------------------------------------------------------------- questions
    def grant(self, at: datetime.datetime) -> Grant:
        """What the billing profile in force at a moment gives: latest start wins, none is earliest, then the newest entry."""
        valid = [(m.start or datetime.datetime.min, n) for n, m in enumerate(self.mapped) if _holds(m, at)]
        return self.grants.get(self.mapped[max(valid)[1]].profile_id, Grant()) if valid else Grant()

    def granted(self, row: Interval) -> tuple[Decimal, int]:
        """Free cash and free seconds that an interval was given; the first one's in proportion."""
        grant = self.grant(row.start)
        share = self.origin.share(row.start, row.end) if row.start == self.opened else Decimal(1)
        return rules.whole_cents(grant, share), rules.whole_seconds(grant, share)

    def expiry(self, row: Interval | None = None) -> datetime.datetime | None:
        """When the money of an interval (the last one) expires for want of a top-up."""
        row = row or self.row
        anchor = row.start if row.topups else self.anchor
        return rules.expiry(row, anchor, self.terms, self.grant(row.start), self.origin)

    def window(self, row: Interval | None = None) -> tuple[datetime.datetime, datetime.datetime] | None:
        """When a top-up in an interval (the last one) is timely."""
        row = row or self.row
        return rules.window(row, self.terms, self.grant(row.start), self.origin)

    def due(self, at: datetime.datetime) -> bool:
        """Whether `catch_up` would change anything."""
        return self.row.end < at or self._expired(at)

    # ------------------------------------------------------------------------------------------------------------------ changes
    def begin(self, at: datetime.datetime) -> None:
        """The rules that hold for the first interval at once, then those up to now (billing 4.2)."""
        self._raised(Terms(), at)
        self.catch_up(at)

    def catch_up(self, at: datetime.datetime, most: int | None = None) -> int:
        """Add the intervals that are missing up to a moment (billing 4.4), or `most` of them; how many there were. Underrun rules act at most once
        in it."""
        done: set[str] = set()
        before_all = len(self.rows)
        while self.row.end < at:
            if most is not None and len(self.rows) - before_all >= most:
                return most
            before = self.row.cash
            self._follow(self.row.end + SECOND, self.terms, self.terms)
            self._crossed(before, self.row.start, at, done)
        if self._expired(at):
            before, self.row.cash, self.changed = self.row.cash, ZERO, True
            self._crossed(before, at, at, done)
        return len(self.rows) - before_all

    def write(self, cash: Decimal, seconds: int, at: datetime.datetime) -> None:
        """Put other amounts into the interval in force (billing 4.7)."""
        before = self.row.cash
        if (before, self.row.seconds) != (cash, seconds):
            self.row.cash, self.row.seconds, self.changed, self.news = cash, seconds, True, True
            self._crossed(before, at, at, set())

    def switch(self, terms: Terms, at: datetime.datetime) -> None:
        """Other rules from now on; `catch_up` with the old ones comes first (billing 4.8). FutureInterval."""
        old, self.changed, self.news = self.terms, True, True
        self._resize(terms, at, topup=False)
        self._raised(old, at)

    def top_up(self, amount: Decimal, given: Terms | None, at: datetime.datetime) -> Decimal:
        """Book an amount; `given`: the package that comes with it. What was credited, after the service charge (billing 6.3). FutureInterval,
        TooMuch."""
        self.catch_up(at)
        old, new, before = self.terms, given or self.terms, self.row.cash
        credit = amount - new.charge
        self._map(new.topup, at)
        timely = self.window()
        self.row.topups += 1
        self.row.timely += timely is not None and timely[0] <= at <= timely[1]
        self.anchor = self.row.start
        self._resize(new, at, topup=True)
        self.row.cash += credit
        if abs(self.row.cash) > LIMIT:
            raise TooMuch
        self.changed = self.news = True
        done: set[str] = set()
        self._crossed(before, at, at, done)
        self._raised(old, at, done)
        if new.topup_lock_level is not None:
            self.lock = new.topup_lock_level
        return credit

    # ------------------------------------------------------------------------------------------------------------------- inside
    def _follow(self, start: datetime.datetime, handing: Terms, terms: Terms) -> None:
        """The next interval: money by the rules of `handing`, length by those of `terms`."""
        old, grant = self.row, self.grant(start)
        anchor = old.start if old.topups else self.anchor
        expires = rules.expiry(old, anchor, handing, self.grant(old.start), self.origin)
        kept = rules.kept(old, self.granted(old)[0], start, handing, expires)
        end = rules.next_end(start, terms, grant, self.origin)
        self.row = Interval(start, end, rules.cents(kept + grant.cash), grant.seconds)
        self.rows.append(self.row)
        self.changed = True

    def _resize(self, new: Terms, at: datetime.datetime, *, topup: bool) -> None:
        old, self.terms = self.terms, new
        ends = topup and (new.mode == "topup" or (new.mode == "topup_interval" and self.row.is_open))
        if old.mode == new.mode and not ends:
            return
        if self.row.start > at:
            raise FutureInterval
        before = self.granted(self.row)
        self.row.end, self.changed = rules.resized_end(new.mode, at, topup, self.origin), True
        self._regrant(before)
        if topup and new.mode in ("topup", "topup_interval"):
            self._follow(at + SECOND, old, new)

    def _regrant(self, before: tuple[Decimal, int]) -> None:
        """What the last interval was given has changed: the unspent part follows, own money does not."""
        cash, seconds = self.granted(self.row)
        row = self.row
        row.cash += max(ZERO, cash - row.cash_used) - max(ZERO, before[0] - row.cash_used)
        row.seconds = max(0, row.seconds + max(0, seconds - row.seconds_used) - max(0, before[1] - row.seconds_used))

    def _expired(self, at: datetime.datetime) -> bool:
        """Whether money of an open interval is left after its time."""
        if not self.row.is_open or self.terms.package_id is None or self.row.cash == ZERO:
            return False
        expires = self.expiry()
        if expires is not None and at >= expires:
            return True
        grant = self.grant(self.row.start)
        return self.terms.carry_over == "carry_over_timely" and at > rules.period_end(self.row.start, self.terms, grant, self.origin)

    def _crossed(self, before: Decimal, since: datetime.datetime, at: datetime.datetime, done: set[str]) -> None:
        """Underrun rules (billing 4.6): cash was at least the threshold and is below it now."""
        terms = self.terms
        if terms.profile_threshold is not None and "profiles" not in done and before >= terms.profile_threshold > self.row.cash:
            self._underrun_profiles(since, at, done)
        if terms.lock_threshold is not None and "lock" not in done and before >= terms.lock_threshold > self.row.cash:
            self._underrun_lock(at, done)

    def _raised(self, old: Terms, at: datetime.datetime, done: set[str] | None = None) -> None:
        """Underrun rules that come with other terms act at once: a higher threshold, profiles where there were none (billing 4.8)."""
        new, done = self.terms, set() if done is None else done
        if old == new:
            return
        higher = _higher(old.profile_threshold, new.profile_threshold) or (bool(new.underrun) and not old.underrun)
        if new.profile_threshold is not None and higher and "profiles" not in done and self.row.cash < new.profile_threshold:
            self._underrun_profiles(at, at, done)
        if _higher(old.lock_threshold, new.lock_threshold) and "lock" not in done and self.row.cash < (new.lock_threshold or ZERO):
            self._underrun_lock(at, done)

    def _underrun_profiles(self, since: datetime.datetime, at: datetime.datetime, done: set[str]) -> None:
        if self.terms.underrun:
            done.add("profiles")
            self._map(self.terms.underrun, since)
            self.row.profiles_at, self.changed = at, True

    def _underrun_lock(self, at: datetime.datetime, done: set[str]) -> None:
        if self.terms.lock_level is not None:
            done.add("lock")
            self.lock = self.terms.lock_level
            self.row.lock_at, self.changed = at, True

    def _map(self, entries: Iterable[Entry], since: datetime.datetime) -> None:
        """Billing profiles come into force. An interval that has not begun earlier gets what they give."""
        new = [Mapped(profile_id, network_id, since) for profile_id, network_id in entries]
        if not new:
            return
        before = self.granted(self.row)
        self.mapped += new
        self.entries += new
        self.changed = self.news = True
        if since <= self.row.start:
            self._regrant(before)


def _holds(mapped: Mapped, at: datetime.datetime) -> bool:
    return (mapped.start is None or mapped.start <= at) and (mapped.end is None or mapped.end >= at)


def _higher(old: Decimal | None, new: Decimal | None) -> bool:
    return new is not None and (old is None or new > old)

"""Change notices at work: sorts them by what they name and reads that again, one read at a time, so that an older result never overwrites a newer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ngcpd.directory import loader
from ngcpd.directory.loader import Keys, Rows
from ngcpd.directory.model import Domain, PeerGroup
from ngcpd.directory.rewrite import RuleSet
from ngcpd.directory.trust import TrustedSources
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Timer
from ngcpd.store.db import Database, StoreUnavailable

if TYPE_CHECKING:
    from ngcpd.directory.directory import Directory

log = logger("directory")
RETRY_SECONDS = 1.0


class Dirty:
    """What has to be read again."""

    __slots__ = ("contracts", "domains", "everything", "numbers", "peers", "profiles", "resellers", "rules", "trusted", "users")

    def __init__(self) -> None:
        self.everything = False
        self.resellers = False
        self.domains: set[int] = set()
        self.profiles: set[int] = set()
        self.users: set[int] = set()
        self.numbers: set[str] = set()
        self.trusted = False
        self.peers: set[int] = set()
        self.rules: set[int] = set()
        self.contracts: set[int] = set()

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__slots__)

    def merge(self, other: Dirty) -> None:
        """Add what another one holds."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) | getattr(other, name))


class Answer:
    """What one refresh read; only the parts that were asked for are set."""

    __slots__ = ("asked_domains", "domains", "keys", "numbers", "peers", "profiles", "rules", "trusted", "users")

    def __init__(self) -> None:
        self.keys: Keys | None = None
        self.asked_domains: list[int] = []
        self.domains: tuple[dict[int, Domain], dict[int, Rows]] | None = None
        self.profiles: dict[int, Rows] | None = None
        self.users: dict[int, tuple[int, str]] | None = None
        self.numbers: dict[str, tuple[int, bool]] | None = None
        self.trusted: TrustedSources | None = None
        self.peers: tuple[PeerGroup, ...] | None = None
        self.rules: dict[int, RuleSet] | None = None


def _read(conn: sa.Connection, dirty: Dirty, known_domains: list[int]) -> Answer:
    """One unit of work on a pool thread. `dirty` is not touched by anybody else meanwhile."""
    out = Answer()
    if dirty.everything:
        out.keys = loader.read_keys(conn)
        return out
    if dirty.domains or dirty.resellers:
        out.asked_domains = sorted(dirty.domains.union(known_domains) if dirty.resellers else dirty.domains)
        out.domains = loader.read_domains(conn, out.asked_domains)
    if dirty.profiles:
        out.profiles = loader.read_profile_rows(conn, sorted(dirty.profiles))
    if dirty.users:
        out.users = loader.read_user_keys(conn, sorted(dirty.users))
    if dirty.numbers:
        out.numbers = loader.read_numbers(conn, sorted(dirty.numbers))
    if dirty.trusted:
        out.trusted = loader.read_trusted(conn)
    if dirty.peers:
        out.peers = loader.read_peers(conn)
    if dirty.rules:
        out.rules = loader.read_rule_sets(conn, sorted(dirty.rules))
    return out


class Refresher:
    """Collects notices while held or while a read is under way; then reads what they name in one unit of work."""

    def __init__(self, directory: Directory, database: Database, clock: Clock) -> None:
        self._directory = directory
        self._database = database
        self._clock = clock
        self._dirty = Dirty()
        self._busy = False
        self._held = True
        self._stopped = False
        self._retry: Timer | None = None

    def hold(self) -> None:
        """Only collect."""
        self._held = True

    def release(self) -> None:
        """Work again, beginning with what was collected."""
        self._held = False
        self.go()

    def forget(self) -> None:
        """Drop what was collected: everything is about to be read."""
        self._dirty = Dirty()

    def stop(self) -> None:
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()

    # --------------------------------------------------------------------------------------------------------- notices
    def notice(self, kind: str, key: str) -> None:
        """Take one change notice. Details it names are dropped at once. Unknown kinds are none of the directory's business."""
        if kind == "number":
            owner = self._directory.owner_of(key)
            if owner is not None:
                self._directory.outdate(owner)
                self._directory.tell_of(owner)
            self._dirty.numbers.add(key)
            return
        if kind in ("trusted_source", "reseller"):
            self._dirty.trusted |= kind == "trusted_source"
            self._dirty.resellers |= kind == "reseller"
            return
        if kind == "all":
            self._directory.outdate_all()
            self._dirty.everything = True
            return
        try:
            number = int(key)
        except ValueError:
            log.limited(kind, 60.0, "change notice without a number", kind=kind, id=key)
            return
        self._notice(kind, number)

    def _notice(self, kind: str, number: int) -> None:
        dirty, directory = self._dirty, self._directory
        if kind in ("subscriber", "preference:usr", "allowed_ip", "forward"):
            directory.outdate(number)
            if kind == "subscriber":
                dirty.users.add(number)  # told when it is known whether it is gone
            else:
                directory.tell_of(number)
        elif kind in ("contract", "preference:contract", "location"):
            directory.outdate_contract(number)
            dirty.contracts.add(number)
        elif kind in ("domain", "preference:dom"):
            dirty.domains.add(number)
        elif kind in ("profile", "preference:prof"):
            dirty.profiles.add(number)
        elif kind in ("peer", "preference:peer"):
            dirty.peers.add(number)
        elif kind == "rewrite":
            dirty.rules.add(number)

    # ------------------------------------------------------------------------------------------------------------ work
    def go(self) -> None:
        """Read what is dirty, unless a read is under way already or the store is being waited for."""
        if self._busy or self._held or self._stopped or self._retry is not None or not self._dirty:
            return
        dirty, self._dirty = self._dirty, Dirty()
        self._busy = True
        work: Deferred[Answer] = self._database.read(_read, dirty, self._directory.all_domain_ids())
        work.addCallbacks(self._take, self._failed, callbackArgs=(dirty,), errbackArgs=(dirty,)).addErrback(self._fault).addBoth(self._done)

    def _take(self, answer: Answer, dirty: Dirty) -> None:
        directory = self._directory
        if answer.keys is not None:
            directory.replace_keys(answer.keys)
            directory.tell("all", 0)
            return
        if answer.domains is not None:
            directory.take_domains(answer.asked_domains, *answer.domains)
        if answer.profiles is not None:
            directory.take_profiles(dirty.profiles, answer.profiles)
        if answer.users is not None:
            directory.take_users(dirty.users, answer.users)
        if answer.numbers is not None:
            directory.take_numbers(dirty.numbers, answer.numbers)
        if answer.trusted is not None:
            directory.take_trusted(answer.trusted)
        if answer.peers is not None:
            directory.take_peers(answer.peers, dirty.peers)
        if answer.rules is not None:
            directory.take_rule_sets(dirty.rules, answer.rules)
        for contract_id in dirty.contracts:
            directory.tell("contract", contract_id)

    def _failed(self, failure: Failure, dirty: Dirty) -> None:
        """The store is away, or a read is faulty: keep the task and try again later."""
        self._dirty.merge(dirty)
        self._retry = self._clock.call_later(RETRY_SECONDS, self._again)
        if not isinstance(failure.value, StoreUnavailable):
            log.limited("refresh", 60.0, "reading changes failed", why=failure.getErrorMessage(), kind=type(failure.value).__name__)

    def _again(self) -> None:
        self._retry = None
        self.go()

    def _fault(self, failure: Failure) -> None:
        log.error("fault while taking over changes", why=failure.getErrorMessage(), kind=type(failure.value).__name__)

    def _done(self, _: object) -> None:
        self._busy = False
        self.go()

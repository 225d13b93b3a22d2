"""Keys, peers and rules: what is loaded whole, how it is found, and how what was read again is taken over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ngcpd.directory.loader import Keys, Rows
from ngcpd.directory.model import DOMAIN_FALLBACK, Domain, NumberEntry, Peer, PeerGroup, Prefs, Version, parse_ip
from ngcpd.directory.patterns import Problem
from ngcpd.directory.rewrite import RuleSet
from ngcpd.directory.trust import TrustedSources
from ngcpd.runtime.log import logger

log = logger("directory")


def _complain(problems: Iterable[Problem]) -> None:
    """Log what could not be used; here and not where it was read, because that was on a pool thread."""
    for problem in problems:
        log.limited(problem, 3600.0, problem.what, id=problem.id, pattern=problem.pattern, why=problem.why)


class KeyRing:
    """The part of the directory that never waits. Whoever builds on it is told what has to be forgotten (`outdate`) and said (`tell`)."""

    def __init__(self) -> None:
        self._keys = Keys()
        self.version = Version()
        """Of the preferences of domains and profiles, which subscribers share."""
        self._by_name: dict[str, Domain] = {}
        self._domain_prefs: dict[str, Prefs] = {}
        self._peers_by_ip: dict[tuple[int, int], Peer] = {}

    def outdate(self, subscriber_id: int) -> None:
        """A subscriber changed."""
        raise NotImplementedError

    def tell(self, kind: str, key: int) -> None:
        """A change was taken over."""
        raise NotImplementedError

    def loaded_in(self, domain_id: int) -> list[int]:
        """Ids of the subscribers of a domain whose details are held."""
        raise NotImplementedError

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
        return found if found is not None and found in self._keys.names else None

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
            prefs = self._domain_prefs[domain.name] = Prefs(self._rows_of(self._keys.domain_rows, domain.id), DOMAIN_FALLBACK, version=self.version)
        return prefs

    def tell_of(self, subscriber_id: int) -> None:
        """Something of a living subscriber changed."""
        if subscriber_id in self._keys.names:
            self.tell("subscriber", subscriber_id)

    def owner_of(self, e164: str) -> int | None:
        """The id a number is known to belong to, living or not."""
        packed = self._keys.numbers.get(e164)
        return packed >> 1 if packed is not None else None

    @staticmethod
    def _rows_of(rows: dict[int, Rows], owner: int) -> Rows:
        """The one map of a domain or profile, shared by all who hold its preferences; changes are written into it."""
        found = rows.get(owner)
        if found is None:
            found = rows[owner] = {}
        return found

    # ------------------------------------------------------------------------------------- what was read again, taken over
    def replace_keys(self, keys: Keys) -> None:
        """Take over a whole new set of keys. Maps that are shared with loaded subscribers are kept and filled anew."""
        for new, old in ((keys.domain_rows, self._keys.domain_rows), (keys.profile_rows, self._keys.profile_rows)):
            for owner, rows in old.items():
                fresh = new.get(owner, {})
                rows.clear()
                rows.update(fresh)
                new[owner] = rows
        self.version.written()
        gone = [i for i in self._keys.names if i not in keys.names]
        for rule_set in keys.rule_sets.values():
            _complain(rule_set.problems)
        _complain(keys.trusted.problems)
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
            self.version.written()
            before, now = keys.domains.get(i), domains.get(i)
            if now is not None:
                keys.domains[i] = now
            else:
                keys.domains.pop(i, None)
            if before is not None and (now is None or now.name != before.name):
                for subscriber_id in self.loaded_in(i):
                    self.outdate(subscriber_id)
            self.tell("domain" if now is not None else "domain_gone", i)
        self._index_domains()

    def take_profiles(self, asked: Iterable[int], rows: dict[int, Rows]) -> None:
        """Preferences of profiles were read again."""
        for i in asked:
            own = self._rows_of(self._keys.profile_rows, i)
            own.clear()
            own.update(rows.get(i, {}))
            self.version.written()
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
                self.tell_of(now[0])

    def take_trusted(self, trusted: TrustedSources) -> None:
        """All trusted sources were read again."""
        _complain(trusted.problems)
        self._keys.trusted = trusted

    def take_peers(self, groups: tuple[PeerGroup, ...], asked: Iterable[int]) -> None:
        """All peerings were read again, because of those of `asked`."""
        self._keys.groups = groups
        self._index_peers()
        for i in asked:
            self.tell("peer", i)

    def take_rule_sets(self, asked: Iterable[int], found: dict[int, RuleSet]) -> None:
        """Rule sets were read again; those of `asked` that were not found are gone."""
        for i in asked:
            rule_set = found.get(i)
            if rule_set is None:
                self._keys.rule_sets.pop(i, None)
            else:
                self._keys.rule_sets[i] = rule_set
                _complain(rule_set.problems)
            self.tell("rewrite", i)

    def all_domain_ids(self) -> list[int]:
        """Ids of all local domains."""
        return list(self._keys.domains)

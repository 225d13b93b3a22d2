"""Finding the servers of a host: RFC 3263 4 (NAPTR, SRV, A, AAAA), RFC 2782 (weights).

The walk through the records is a plain function on a cache; what the cache lacks is asked for and the walk begins anew. So a destination
whose records are cached is resolved at once, without a Deferred.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, DnsRecord, Net, Rng
from ngcpd.sip.flow import DEFAULT_PORT, family_of

SERVICES = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}  # RFC 3263 4.1
SRV_PREFIX = {"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp."}
ADDRESS_TYPES = {4: "A", 6: "AAAA"}
MAX_TARGETS = 16
MAX_ROUNDS = 8  # NAPTR, SRV, addresses: 3 are enough; more means that the cache is being emptied while we walk

log = logger("sip")


class DnsError(Exception):
    """No server can be found for a host; the text says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """One server to try: transport, numeric address, port."""

    transport: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """Seconds and entries. A record's own time to live is kept within `minimum` and `maximum`."""

    minimum: float = 5.0
    maximum: float = 3600.0
    negative: float = 30.0
    """For "no such record"."""
    failed: float = 5.0
    """For a server failure or time-out; short, and long enough not to ask again for each message."""
    entries: int = 10_000


class _Missing(Exception):
    def __init__(self, questions: list[tuple[str, str]]) -> None:
        super().__init__(questions)
        self.questions = questions


@dataclass(frozen=True, slots=True)
class _Entry:
    until: float
    records: Sequence[DnsRecord]
    failed: bool


Families = dict[str, set[int]]
Wanted = tuple[str, int | None, str, bool, Families]
Answer = Callable[[], object]


class Resolver:
    """Resolves host names by RFC 3263 through `Net.lookup`, with a cache."""

    def __init__(self, clock: Clock, rng: Rng, net: Net, policy: CachePolicy | None = None) -> None:
        self.clock = clock
        self.rng = rng
        self.net = net
        self.policy = policy or CachePolicy()
        self._cache: dict[tuple[str, str], _Entry] = {}
        self._waiting: dict[tuple[str, str], list[Answer]] = {}
        self._saw_failure = False  # during one walk

    def resolve(self, host: str, port: int | None, transport: str, secure: bool, families: Families) -> list[Target] | Deferred[list[Target]]:
        """The servers of `host` in the order to try them.

        `port`, `transport` as the URI gives them (None, ""), `secure` for a sips: URI, `families`: the address families there are sockets
        for, by transport. Raises or errbacks DnsError.
        """
        wanted = (host.rstrip(".").lower(), port, transport, secure, families)
        try:
            return self._walk(*wanted)
        except _Missing as missing:
            done: Deferred[list[Target]] = Deferred()
            self._ask(missing.questions, lambda: self._again(done, 1, wanted))
            return done

    def _again(self, done: Deferred[list[Target]], round_: int, wanted: Wanted) -> None:
        try:
            targets = self._walk(*wanted)
        except _Missing as missing:
            if round_ >= MAX_ROUNDS:
                done.errback(DnsError(f"DNS: no stable answer for {wanted[0]}"))
                return
            self._ask(missing.questions, lambda: self._again(done, round_ + 1, wanted))
        except DnsError as error:
            done.errback(error)
        else:
            done.callback(targets)

    # ---------------------------------------------------------------------------------------------------------- walk
    def _walk(self, host: str, port: int | None, transport: str, secure: bool, families: Families) -> list[Target]:
        self._saw_failure = False
        if transport:
            if secure:
                transport = "tls"
        elif family_of(host) or port is not None:
            transport = "tls" if secure else "udp"
        if family_of(host):
            return self._found([Target(transport, host, port or DEFAULT_PORT[transport])], host)
        if port is not None:
            return self._found(self._addresses([(transport, host, port)], families), host)
        services = [(transport, SRV_PREFIX[transport] + host)] if transport else self._naptr(host, secure, families)
        servers: list[tuple[str, str, int]] = []
        questions: list[tuple[str, str]] = []
        there = False
        for kind, name in services:
            try:
                records = self._get(name, "SRV")
            except _Missing as missing:
                questions += missing.questions
                continue
            there = there or bool(records)
            servers += [(kind, r.data.rstrip(".").lower(), r.port) for r in self._ordered(records) if r.data.rstrip(".") and r.port]
        if questions:
            raise _Missing(questions)
        if not there:  # no SRV at all: the address of the name itself
            kind = transport or ("tls" if secure else "udp")
            servers = [(kind, host, DEFAULT_PORT[kind])]
        return self._found(self._addresses(servers, families), host)

    def _found(self, targets: list[Target], host: str) -> list[Target]:
        if targets:
            return targets
        raise DnsError(f"DNS: servers failed for {host}" if self._saw_failure else f"DNS: no address for {host}")

    def _naptr(self, host: str, secure: bool, families: Families) -> list[tuple[str, str]]:
        """(transport, SRV name) by NAPTR; all we can do when there is none (RFC 3263 4.1)."""
        usable = []
        for record in self._get(host, "NAPTR"):
            kind = SERVICES.get(record.service.upper())
            if kind and families.get(kind) and record.flags.lower() == "s" and record.data.rstrip(".") and (kind == "tls" or not secure):
                usable.append((record.priority, record.weight, kind, record.data.rstrip(".").lower()))
        if usable:
            order = min(usable)[0]
            return [(kind, name) for priority, _, kind, name in sorted(usable) if priority == order]
        return [(kind, prefix + host) for kind, prefix in SRV_PREFIX.items() if families.get(kind) and (kind == "tls" or not secure)]

    def _ordered(self, records: Sequence[DnsRecord]) -> list[DnsRecord]:
        """RFC 2782: by priority, within one priority at random by weight, zero weights with a very small chance of being first."""
        out: list[DnsRecord] = []
        for priority in sorted({r.priority for r in records}):
            left = sorted((r for r in records if r.priority == priority), key=lambda r: r.weight)
            while left:
                pick = self.rng.below(sum(r.weight for r in left) + 1)
                for index, record in enumerate(left):
                    pick -= record.weight
                    if pick <= 0:
                        out.append(left.pop(index))
                        break
        return out

    def _addresses(self, servers: list[tuple[str, str, int]], families: Families) -> list[Target]:
        """Addresses of the servers, IPv4 first, only of the families we can send from."""
        targets: list[Target] = []
        questions: list[tuple[str, str]] = []
        for transport, name, port in servers[:MAX_TARGETS]:
            usable = sorted(families.get(transport, ()))
            version = family_of(name)
            if version:  # an address where a name should be: not allowed by RFC 2782, and understood all the same
                if version in usable:
                    targets.append(Target(transport, name, port))
                continue
            for family in usable:
                try:
                    targets += [Target(transport, r.data, port) for r in self._get(name, ADDRESS_TYPES[family])]
                except _Missing as missing:
                    questions += missing.questions
        if questions:
            raise _Missing(questions)
        return list(dict.fromkeys(targets))[:MAX_TARGETS]

    # --------------------------------------------------------------------------------------------------------- cache
    def _get(self, name: str, rtype: str) -> Sequence[DnsRecord]:
        entry = self._cache.get((name, rtype))
        if entry is None or entry.until <= self.clock.monotonic():
            raise _Missing([(name, rtype)])
        self._saw_failure = self._saw_failure or entry.failed
        return entry.records

    def _ask(self, questions: list[tuple[str, str]], then: Answer) -> None:
        """Ask for all of them at once, each only once however many wait for it; `then()` after the last answer."""
        open_ = len(set(questions))

        def answered() -> None:
            nonlocal open_
            open_ -= 1
            if not open_:
                then()

        for question in dict.fromkeys(questions):
            waiting = self._waiting.get(question)
            if waiting is not None:
                waiting.append(answered)
                continue
            self._waiting[question] = [answered]
            try:
                found = self.net.lookup(*question)
            except (ValueError, OSError) as error:  # a name that cannot be written in DNS
                self._no_answer(question, str(error))
                continue
            found.addCallbacks(self._came, self._failed, callbackArgs=(question,), errbackArgs=(question,))

    def _came(self, records: Sequence[DnsRecord], question: tuple[str, str]) -> None:
        policy = self.policy
        usable = [r for r in records if r.type == question[1]]
        seconds = min(max(min(r.ttl for r in usable), policy.minimum), policy.maximum) if usable else policy.negative
        self._store(question, usable, seconds, False)

    def _failed(self, failure: Failure, question: tuple[str, str]) -> None:
        self._no_answer(question, failure.getErrorMessage())

    def _no_answer(self, question: tuple[str, str], why: str) -> None:
        log.limited(question[0], 60, "DNS look-up failed", name=question[0], type=question[1], error=why)
        self._store(question, (), self.policy.failed, True)

    def _store(self, question: tuple[str, str], records: Sequence[DnsRecord], seconds: float, failed: bool) -> None:
        now = self.clock.monotonic()
        if len(self._cache) >= self.policy.entries:
            self._cache = {k: e for k, e in self._cache.items() if e.until > now}
            if len(self._cache) >= self.policy.entries:
                self._cache.clear()
        self._cache[question] = _Entry(now + seconds, records, failed)
        for answered in self._waiting.pop(question, ()):
            answered()

    def flush(self) -> None:
        """Forget all answers."""
        self._cache.clear()

    def counters(self) -> dict[str, int]:
        return {"dns_cached": len(self._cache), "dns_waiting": len(self._waiting)}

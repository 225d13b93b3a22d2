"""One run of the simulation: a seed gives the faults, the links, the user agents and every one of their decisions.

result = simulate(4711)
assert not result.faults, result
"""

from __future__ import annotations

import gc
import hashlib
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from twisted.logger import globalLogPublisher

from ngcpd.runtime import log as logs
from ngcpd.runtime.fake import SeededRng
from ngcpd.runtime.simnet import Link, SimNet
from tests.sim.agent import Ua
from tests.sim.checks import check_bindings, check_calls, check_records
from tests.sim.noise import Stranger
from tests.sim.outside import FastClock
from tests.sim.platform import DOMAIN, HOSTS, PASSWORD, USERS, Platform, Template
from tests.sim.talk import SUFFIX, Call, Leg, Talk

_template: list[Template] = []
LOUD = ("journal cannot be written", "journal does not reach the disk")


def template() -> Template:
    if not _template:
        logs.sink.write = lambda line: None
        _template.append(Template())
        gc.collect()
        gc.freeze()  # what stays for ever is not looked at again after each run
    return _template[0]


@dataclass
class Profile:
    """What a run is like; probabilities, rates per second, seconds."""

    seconds: float = 240.0
    rate: float = 1.5
    link: Link = field(default_factory=Link)
    redis: bool = False
    lag: float = 0.0
    cuts: int = 0
    vanish: int = 0
    moves: int = 0
    leaves: int = 0
    store_outages: int = 0
    kv_outages: int = 0
    full_disks: int = 0
    kills: int = 0
    stops: int = 0
    noise: float = 0.0
    stale: float = 0.0
    wrong_password: float = 0.02
    cancel: float = 0.2
    answer: float = 0.62
    reject: float = 0.27
    talk: float = 8.0
    long: float = 0.03
    act: float = 0.06
    deaf: float = 0.01
    segment: int = 0
    last_kill: bool = False

    @classmethod
    def drawn(cls, rng: random.Random) -> Profile:
        def some(chance: float, most: int) -> int:
            return rng.randint(1, most) if rng.random() < chance else 0

        bad = rng.random() < 0.7
        link = Link(
            delay=rng.choice((0.001, 0.02, 0.08)),
            jitter=rng.choice((0.0, 0.01, 0.1)),
            loss=rng.choice((0.0, 0.01, 0.05, 0.1)) if bad else 0.0,
            duplicate=rng.choice((0.0, 0.02, 0.1)) if bad else 0.0,
            reorder=rng.choice((0.0, 0.02, 0.1)) if bad else 0.0,
            reorder_delay=rng.choice((0.05, 0.3, 1.0)),
        )
        redis = rng.random() < 0.4
        quick = link.delay + link.jitter <= 0.011
        return cls(
            seconds=rng.choice((60.0, 120.0)),
            rate=rng.choice((1.5, 5.0, 10.0)),
            link=link,
            redis=redis,
            lag=rng.choice((0.0, 0.005, 0.2)),
            cuts=some(0.3, 6),
            vanish=some(0.3, 6),
            moves=some(0.5, 8),
            leaves=some(0.5, 6),
            store_outages=some(0.3, 3),
            kv_outages=some(0.5, 3) if redis else 0,
            full_disks=some(0.15, 2),
            kills=some(0.3, 3),
            stops=some(0.15, 2),
            noise=rng.choice((0.0, 0.0, 1.0, 5.0)),
            stale=rng.choice((0.0, 0.01)),
            act=rng.choice((0.0, 0.06, 0.3)),
            segment=rng.choice((0, 0, 0, 37 if quick else 1000)),
            last_kill=rng.random() < 0.3,
        )


@dataclass
class Result:
    """`digest` covers every message on the wire with its moment."""

    seed: int
    digest: str
    calls: int
    messages: int
    seconds: float
    faults: list[str]
    counts: Counter[str]
    profile: Profile

    def __str__(self) -> str:
        head = f"seed {self.seed}: {self.calls} calls, {self.messages} messages, digest {self.digest}"
        return "\n".join([head, *(f"  {fault}" for fault in self.faults)])


class Run:
    """The world of one seed."""

    def __init__(self, seed: int, profile: Profile | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(f"{seed}/parties")
        self.chance = random.Random(f"{seed}/faults")
        self.p = profile or Profile.drawn(random.Random(f"{seed}/profile"))
        self.domain, self.password = DOMAIN, PASSWORD
        self.clock = FastClock()
        self.net = SimNet(self.clock, SeededRng(seed))
        self.net.default = self.p.link
        self.net.segment = self.p.segment
        self.net.filter = self._observe
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()
        self.calls: dict[str, Call] = {}
        self.legs: list[Leg] = []
        self.unacked: list[Leg] = []
        self.initial: dict[str, str] = {}
        """Branch of each first INVITE (and its repetition with credentials) -> Call-ID."""
        self.sent_finals: dict[tuple[int, str], tuple[int, float, str]] = {}
        """(life of the daemon, branch) -> status, moment, excuse."""
        self.byes: dict[str, list[float]] = {}
        """Call-ID -> when the platform sent or answered a BYE."""
        self.hurt: list[tuple[float, float, Ua | None]] = []
        self.full: list[tuple[float, float]] = []
        self.placed = 0
        self.messages = 0
        self.busy = True
        self.recent: deque[bytes] = deque(maxlen=50)
        self._hash = hashlib.blake2b(digest_size=12)
        self.talk = Talk(self)
        self.uas: list[Ua] = []
        self.platform = Platform(self, template(), self.p.redis)
        self.platform.faults.lag = self.p.lag

    # ------------------------------------------------------------------------------------------------------------- notes
    def fault(self, text: str) -> None:
        if len(self.faults) < 40:
            self.faults.append(f"{self.clock.now:.3f} {text}")

    def disturb(self, ua: Ua | None, seconds: float) -> None:
        """From now on for so long, what `ua` (None: anybody) sees may differ."""
        self.hurt.append((self.clock.now - 0.5, self.clock.now + seconds, ua))

    def heard(self, data: bytes) -> None:
        self.recent.append(data)

    def _observe(self, kind: str, data: bytes, source: tuple[str, int], to: tuple[str, int]) -> bool:
        self.messages += 1
        self._hash.update(f"{self.clock.now:.6f}{kind}{source}{to}".encode())
        self._hash.update(data)
        if source[0] not in HOSTS:
            return True
        if data[:4] == b"BYE ":
            self._ended(data)
        elif data[:8] == b"SIP/2.0 " and data[8] >= 50:
            at = data.find(b"\r\nCSeq: ")
            method = data[data.find(b" ", at + 8) + 1 : data.find(b"\r\n", at + 8)]
            if method == b"BYE":
                self._ended(data)
            elif method == b"INVITE":
                at = data.find(b"branch=") + 7
                branch = data[at : data.find(b";", at)].partition(b"\r")[0].decode("latin-1")
                if branch in self.initial:
                    self._final(branch, int(data[8:11]))
        return True

    def _ended(self, data: bytes) -> None:
        """The platform sends a BYE or answers one."""
        at = data.find(b"\r\nCall-ID: ") + 11
        base = data[at : data.find(b"\r\n", at)].decode("latin-1").removesuffix(SUFFIX)
        self.byes.setdefault(base, []).append(self.clock.now)

    def _final(self, branch: str, status: int) -> None:
        platform = self.platform
        key = (platform.life, branch)
        excuse = "" if platform.ready and not platform.stopping else "not serving"
        if platform.faults.disk_full and (self.p.kills or self.p.stops):  # what waits for the disk is lost with the process
            excuse = "disk full"
        old = self.sent_finals.get(key)
        if old is not None and not old[2] and not (old[0] in (401, 407) and excuse):  # challenges are answered anew each time
            if old[0] != status:
                self.fault(f"final responses {old[0]} and {status} to one INVITE of {self.initial[branch]}")
            return
        self.sent_finals[key] = (status, self.clock.time(), excuse)

    # ----------------------------------------------------------------------------------------------------------- parties
    def _people(self) -> None:
        rng = self.rng
        for n in USERS:
            for k in range(rng.choice((1, 1, 1, 2, 3))):
                number = len(self.uas)
                six = rng.random() < 0.15
                transport = "tcp" if rng.random() < 0.2 else "udp"
                host = f"fd00::{number + 2:x}" if six else f"127.2.{n - 1000}.{k + 1}"
                ua = Ua(self, number, n, host, 5060, transport, (HOSTS[1] if six else HOSTS[0], 5060))
                self.uas.append(ua)
                self.clock.call_later(rng.random() * 5, ua.register)
        if self.p.noise:
            stranger = Stranger(self)
            self.clock.call_later(3.0, stranger.speak)

    def _target(self, ua: Ua) -> str:
        rng = self.rng
        what = rng.random()
        n = rng.choice(USERS)
        if what < 0.45:
            return f"sip:431{n}@{DOMAIN}"
        if what < 0.75:
            return f"sip:testuser{n}@{DOMAIN}"
        if what < 0.88:
            return f"sip:431{n + 8000}@{DOMAIN}"
        if what < 0.92:
            return f"sip:431{n}@127.0.0.1"
        if what < 0.96:
            return f"sip:nobody{rng.randrange(100)}@{DOMAIN}"
        if what < 0.98:
            return f"sip:4399{rng.randrange(1000)}@{DOMAIN}"
        return "sip:x@example.org"

    def _traffic(self) -> None:
        if not self.busy:
            return
        self.clock.call_later(self.rng.expovariate(self.p.rate), self._traffic)
        ua = self.rng.choice(self.uas)
        if ua.online:
            self.talk.place(ua, self._target(ua))

    # ------------------------------------------------------------------------------------------------------------ faults
    def _schedule(self) -> None:
        p = self.p
        at = self._at
        for n, fn in (
            (p.cuts, self._cut),
            (p.vanish, self._vanish),
            (p.moves, self._move),
            (p.leaves, self._leave),
            (p.store_outages, self._store_outage),
            (p.kv_outages, self._kv_outage),
            (p.full_disks, self._full_disk),
            (p.kills, self._kill),
            (p.stops, self._stop),
        ):
            for _ in range(n):
                self.clock.call_later(at(), fn)

    def _at(self) -> float:
        return 8 + self.chance.random() * (self.p.seconds - 8)

    def _any(self) -> Ua:
        return self.chance.choice(self.uas)

    def _cut(self) -> None:
        ua = self._any()
        seconds = self.chance.choice((1, 5, 20, 60)) * (0.5 + self.chance.random())
        self.net.cut(ua.host, ua.server[0])
        self.clock.call_later(seconds, self.net.heal, ua.host, ua.server[0])
        self.disturb(ua, seconds + 40)

    def _vanish(self) -> None:
        self._any().vanish(self.chance.random() * 90)

    def _move(self) -> None:
        self._any().move()

    def _leave(self) -> None:
        self._any().leave()

    def _store_outage(self) -> None:
        self._outage("store_down", self.chance.expovariate(1 / 15))

    def _kv_outage(self) -> None:
        self._outage("kv_down", self.chance.expovariate(1 / 15))

    def _full_disk(self) -> None:
        seconds = self.chance.expovariate(1 / 8)
        now = self.clock.time()
        self.full.append((now, now + seconds))
        self._outage("disk_full", seconds)

    def _outage(self, name: str, seconds: float) -> None:
        faults = self.platform.faults
        if not getattr(faults, name):
            setattr(faults, name, True)
            self.counts[name] += 1
            self.clock.call_later(seconds, setattr, faults, name, False)

    def _kill(self) -> None:
        platform = self.platform
        if platform.stopping or not platform.ready:
            return
        self.counts["killed"] += 1
        down = self.chance.choice((0.3, 2.0, 10.0))
        platform.kill(torn=self.chance.random() < 0.3)
        self.disturb(None, down + 45.0)
        self.clock.call_later(down, platform.start)

    def _stop(self) -> None:
        if self.platform.stopping or not self.platform.ready:
            return
        self.counts["stopped"] += 1
        self.disturb(None, 50.0)
        self.platform.stop(True)

    # --------------------------------------------------------------------------------------------------------------- run
    def go(self) -> Result:
        lines: list[str] = []
        failures: list[str] = []

        def observer(event: dict[str, Any]) -> None:
            if event.get("isError") or event.get("log_failure") is not None:
                failures.append(str(event.get("log_failure") or event))

        self._logging(lines)
        globalLogPublisher.addObserver(observer)
        try:
            self._go()
            gc.collect()
        finally:
            globalLogPublisher.removeObserver(observer)
        for text in failures:
            self.fault(f"unhandled: {text[-1500:]}")
        for line in lines:
            if not (self.counts["disk_full"] and any(word in line for word in LOUD)):
                self.fault(f"log: {line.strip()}")
        return Result(self.seed, self._hash.hexdigest(), self.placed, self.messages, self.clock.now, self.faults, self.counts, self.p)

    def _logging(self, lines: list[str]) -> None:
        def write(line: str) -> None:
            if " error " in line[:40] or "raised" in line:
                lines.append(line)

        logs.configure(self.clock, "self", write)
        logs.sink._seen.clear()
        logs.set_level("*", "warning")

    def _go(self) -> None:
        clock = self.clock
        self.platform.start()
        clock.advance(1.0)
        self._people()
        self._schedule()
        clock.call_later(6.0, self._traffic)
        clock.advance(self.p.seconds)
        self.busy = False
        self._heal()
        clock.advance(42.0)
        check_bindings(self, "after the traffic")
        left = self._settle()
        if left:
            self.fault(f"left: {left}")
        if self.p.last_kill:
            self.platform.kill()
            self.platform.start()
            clock.advance(2.0)
            check_bindings(self, "after the last start")
        for ua in self.uas:
            ua.close()
        self._finish()
        check_calls(self)
        check_records(self)

    def _heal(self) -> None:
        """Everything works again for the rest of the run."""
        faults = self.platform.faults
        faults.store_down = faults.kv_down = faults.disk_full = False
        self._outage = lambda name, seconds: None  # type: ignore[method-assign]
        for ua in self.uas:
            self.net.heal(ua.host, ua.server[0])

    def _settle(self) -> dict[str, Any]:
        left: dict[str, Any] = {}
        # A call on hold whose parties have both vanished stays until the relay gives up after an hour.
        for step in [5.0] * 120 + [600.0] * (7 if self.hurt else 0):
            self.clock.advance(step)
            left = self.platform.left()
            waiting = sum(1 for leg in self.legs if leg.state in ("up", "ending"))
            waiting += sum(1 for ua in self.uas for c in ua.clients.values() if not c.over)
            if waiting:
                left["parties"] = waiting
            if not left:
                break
        return left

    def _finish(self) -> None:
        platform = self.platform
        self.clock.advance(3.0)  # connections close
        if platform.daemon.stack.transports.flows:
            self.fault(f"connections left: {platform.daemon.stack.transports.flows}")
        platform.stop(False)
        self.clock.advance(10.0)
        if platform.ready:
            self.fault("the daemon does not stop")
        platform.errors += platform.daemon.stack.counters()["errors"]
        if platform.errors:
            self.fault(f"{platform.errors} exceptions counted by the stack")
        pending = [t.fn for t in platform.clock.pending()]
        if pending:
            self.fault(f"timers left after stop: {pending[:5]}")
        sockets = [a for a in (*self.net.sockets, *self.net.listeners) if a[0] in HOSTS]
        if sockets:
            self.fault(f"sockets left after stop: {sockets[:5]}")


def simulate(seed: int, profile: Profile | None = None) -> Result:
    """Run one seed."""
    return Run(seed, profile).go()

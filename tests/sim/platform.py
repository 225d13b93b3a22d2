"""The daemon of a simulation over its lives: started, killed, stopped and started again on the same disk and store."""

from __future__ import annotations

import atexit
import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ngcpd.app.daemon import Daemon
from ngcpd.app.world import World as Outside
from ngcpd.config import Loaded
from ngcpd.config.secrets import Secrets
from ngcpd.media import Engine
from ngcpd.media.local import LocalSpawner
from ngcpd.provisioning.check import E164
from ngcpd.provisioning.subscribers import NewSubscriber, create_subscribers
from ngcpd.provisioning.tenancy import create_contact, create_customer, create_domain
from ngcpd.runtime.fake import SeededRng, SimClock
from ngcpd.runtime.simnet import SimNet
from tests.sim.outside import Faults, FaultyDisk, KeyValueServer, LifeClock, LifeNet, Threads
from tests.world import configuration, outcome

if TYPE_CHECKING:
    from tests.sim.run import Run

HOSTS = ("127.0.0.1", "::1")
DOMAIN = "spce.test"
PASSWORD = "testuser1"
USERS = tuple(range(1001, 1013))
LOCAL = """
kamailio:
  lb: {security: {dos_ban_enable: 'no', failed_auth_ban_enable: 'no'}}
  proxy: {max_registrations_per_subscriber: 50}
ngcpd: {journal: {segment_size: 1}}
"""
KEY = bytes(range(32))


class Template:
    """A provisioned store, made once per process and copied for each run."""

    def __init__(self) -> None:
        shm = Path("/dev/shm")
        self.directory = Path(tempfile.mkdtemp(prefix=f"ngcpd-sim-{os.getpid()}-", dir=shm if shm.is_dir() else None))
        atexit.register(shutil.rmtree, self.directory, ignore_errors=True)
        self.loaded: dict[bool, Loaded] = {}
        self.subscribers: dict[int, int] = {}
        for redis in (False, True):
            where = self.directory / ("kv" if redis else "plain")
            where.mkdir()
            self.loaded[redis] = self._configured(where, redis)
        self.store = self.directory / "template.db"
        self._provision()

    @staticmethod
    def _configured(where: Path, redis: bool) -> Loaded:
        from ngcpd.config import load

        loaded = configuration(str(where), LOCAL)
        if redis:
            file = where / "etc" / "constants.yml"
            text = file.read_text()
            file.write_text(text.replace("  state_dir: ./var\n", "  state_dir: ./var\n  redis: {url: 'redis://127.0.0.1:1'}\n"))
            loaded = load(str(where / "etc"), {"NGCPD_NODE": "self"}, "self")
            assert loaded.settings.ngcpd.redis.url
        Path(loaded.settings.paths.state_dir).mkdir(parents=True, exist_ok=True)
        return loaded

    def state(self, redis: bool) -> Path:
        return Path(self.loaded[redis].settings.paths.state_dir)

    def _provision(self) -> None:
        clock = SimClock()
        run = _Bare(clock, self.loaded[False])
        daemon = run.daemon
        daemon.bind()
        started = daemon.start()
        clock.advance(1.0)
        outcome(started)
        env = daemon.env

        def work(conn: sa.Connection) -> list[Any]:
            create_domain(conn, env, name=DOMAIN)
            customer = create_customer(conn, env, contact_id=create_contact(conn, env, reseller_id=1, email="customer@default.invalid"))
            wanted = [
                NewSubscriber(
                    customer_id=customer,
                    domain=DOMAIN,
                    username=f"testuser{n}",
                    password=PASSWORD,
                    number=E164(43, "1", str(n)),
                    aliases=[E164(43, "1", str(n + 8000))],
                )
                for n in USERS
            ]
            return create_subscribers(conn, env, wanted)

        for n, made in zip(USERS, outcome(daemon.db.run(work)), strict=True):
            self.subscribers[n] = made.id
        stopped = daemon.stop()
        clock.advance(10.0)
        outcome(stopped)
        state = self.state(False)
        shutil.copy(state / "ngcpd.db", self.store)
        self.fresh(False)

    def fresh(self, redis: bool) -> Path:
        """A new copy of the store in its place; its path."""
        state = self.state(redis)
        for file in state.glob("ngcpd.db*"):
            file.unlink()
        return Path(shutil.copy(self.store, state / "ngcpd.db"))


class _Bare:
    """A daemon for the making of the template."""

    def __init__(self, clock: SimClock, loaded: Loaded) -> None:
        life = LifeClock(clock)
        rng = SeededRng(1)
        net = SimNet(clock, rng)
        self.daemon = make_daemon(life, rng, net, FaultyDisk(Faults(), random.Random(1)), Faults(), random.Random(1), loaded, KeyValueServer())


def make_daemon(
    clock: LifeClock,
    rng: SeededRng,
    net: SimNet,
    disk: FaultyDisk,
    faults: Faults,
    chance: random.Random,
    loaded: Loaded,
    server: KeyValueServer,
) -> Daemon:
    own_net = LifeNet(net, clock)
    outside = Outside(
        clock=clock,
        rng=rng,
        net=own_net,
        disk=disk,
        executor=Threads(clock, faults, chance, store=True),
        disk_executor=Threads(clock, faults, chance, store=False),
        media=lambda interfaces, settings: Engine(clock, LocalSpawner(clock, own_net), interfaces, settings),
        key_value=lambda url: server.connect(clock, rng, faults),
    )
    return Daemon(outside, loaded, Secrets(KEY, KEY, KEY))


class Platform:
    """The node of a run. `life` counts its starts; `ready` while it serves."""

    def __init__(self, run: Run, template: Template, redis: bool) -> None:
        self.run = run
        self.template = template
        self.redis = redis
        self.loaded = template.loaded[redis]
        self.store = template.fresh(redis)
        self.faults = Faults()
        self.disk = FaultyDisk(self.faults, random.Random(f"{run.seed}/disk"))
        self.server = KeyValueServer()
        self.chance = random.Random(f"{run.seed}/threads")
        self.life = 0
        self.ready = False
        self.stopping = False
        self.deaths: list[float] = []
        self.errors = 0
        self.daemon: Daemon
        self.clock: LifeClock

    def start(self) -> None:
        run = self.run
        self.life += 1
        self.clock = LifeClock(run.clock)
        rng = SeededRng(run.seed * 64 + self.life)
        self.daemon = make_daemon(self.clock, rng, run.net, self.disk, self.faults, self.chance, self.loaded, self.server)
        self.stopping = False
        self.daemon.bind()
        life = self.life
        self.daemon.start().addCallbacks(lambda _: self._started(life), lambda failure: self._failed(failure, life))

    def _started(self, life: int) -> None:
        if life == self.life:
            self.ready = True

    def _failed(self, failure: Any, life: int) -> None:
        if life != self.life:
            return
        text = failure.getErrorMessage()
        if not any(word in text for word in ("simulated outage", "store closed", "no space left", "input/output error")):
            self.run.fault(f"start failed: {text}")
        self.run.counts["failed_starts"] += 1
        self.run.disturb(None, 50.0)  # a store that is away for long keeps the node down for as long
        self._gone()
        self.run.clock.call_later(2.0, self.start)

    def kill(self, *, torn: bool = False) -> None:
        """SIGKILL: memory is lost; disk, store and key-value server keep what they have."""
        self.deaths.append(self.run.clock.time())
        if torn:
            self.disk.tear(self.loaded.settings.paths.journal_dir)
        self._gone()

    def _gone(self) -> None:
        self.ready = False
        self.errors += self.daemon.stack.counters()["errors"]
        self.clock.die()
        for host in HOSTS:
            self.run.net.kill(host)
        probe = self.daemon.feed._probe
        if probe is not None:
            probe.close()
        self.daemon.db.close()

    def stop(self, again: bool) -> None:
        """In good order."""
        self.stopping = True
        self.deaths.append(self.run.clock.time())
        life = self.life

        def stopped(_: object) -> None:
            if life != self.life:
                return
            self.ready = False
            if not again:
                return
            self._gone()
            self.run.clock.call_later(1.0, self.start)

        self.daemon.stop().addCallbacks(stopped, lambda failure: self.run.fault(f"stop failed: {failure.getErrorMessage()}"))

    def left(self) -> dict[str, Any]:
        """What should be gone when nothing goes on."""
        daemon = self.daemon
        stack = daemon.stack
        counters = stack.counters()
        names = ("invite_server", "server", "invite_client", "client", "connecting", "dns_waiting")
        left: dict[str, Any] = {name: counters[name] for name in names if counters[name]}
        left.update({k: v for k, v in daemon.calls.counters().items() if v})
        timers = counters["timers"] - sum(1 for f in stack.transports.flows.values() if f._idle is not None)
        if timers:
            left["timers"] = timers
        layer = stack._layer
        if layer.merged or layer.acks:
            left["keys"] = len(layer.merged) + len(layer.acks)
        media = daemon.media.counters()
        if media.used or media.sessions:
            left["media"] = (media.used, media.sessions)
        if daemon.accounting.open_calls:
            left["open_calls"] = daemon.accounting.open_calls
        if not daemon.acc_follower.idle or not daemon.bindings.follower.idle:
            left["backlog"] = (daemon.acc_follower.backlog, daemon.bindings.follower.backlog)
        return left

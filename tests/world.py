"""The whole daemon in one process on a simulated clock and network, with scripted phones around it.

    world = World()
    alice, bob = world.registered(1002), world.registered(1003)
    call = alice.call("sip:4311003@spce.test", world.run, sdp(alice.address[0], 20000))

`run(seconds)` moves time on. `end()` asserts that nothing is left: calls, dialogs, transactions, ports. `kill()` is a crash;
`World(before=world)` then starts the daemon again on the same disk, database, network and time.

The first world of a kind (configuration and users) makes its database; later ones of the same process get a copy.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import sqlalchemy as sa
from twisted.internet.defer import Deferred

from ngcpd.app.daemon import Daemon
from ngcpd.app.world import World as Outside
from ngcpd.config import Loaded, load
from ngcpd.config.secrets import Secrets
from ngcpd.media import Engine
from ngcpd.media.local import LocalSpawner
from ngcpd.provisioning.check import E164
from ngcpd.provisioning.preferences import set_preference
from ngcpd.provisioning.subscribers import Created, NewSubscriber, create_subscribers
from ngcpd.provisioning.tenancy import create_contact, create_customer, create_domain
from ngcpd.runtime.fake import InlineExecutor, MemoryDisk, SeededRng, SimClock, SimTimer
from ngcpd.runtime.simnet import SimNet
from ngcpd.store.kv_memory import MemoryKeyValue
from ngcpd.store.tables.accounting import acc, acc_backup, cdr
from tests.phones import Phone

SERVER = ("127.0.0.1", 5060)
SERVER6 = ("::1", 5060)
DOMAIN = "spce.test"
PASSWORD = "testuser1"
ETC = Path(__file__).resolve().parent.parent / "etc"


P = ParamSpec("P")
T = TypeVar("T")


class Place(NamedTuple):
    """A directory with a configuration that was loaded from it."""

    directory: str
    loaded: Loaded


class Template(NamedTuple):
    """What a world of one kind has in its state directory when it begins."""

    files: dict[str, bytes]
    subscribers: dict[int, Created]
    time: float


_free: dict[str, list[Place]] = {}
_templates: dict[tuple[str, tuple[int, ...]], Template] = {}


def configuration(directory: str, local: str = "") -> Loaded:
    """The shipped configuration with an overlay, its state under `directory`."""
    etc = Path(directory) / "etc"
    shutil.copytree(ETC, etc)
    if local:
        (etc / "config.local.yml").write_text(local)
    return load(str(etc), {"NGCPD_NODE": "self"}, "self")


def place(local: str) -> Place:
    """A place for a world with this overlay; one that an earlier world has left, if there is one."""
    free = _free.get(local)
    if free:
        return free.pop()
    directory = tempfile.mkdtemp(prefix="ngcpd-world-")
    return Place(directory, configuration(directory, local))


class Lifetime:
    """The clock of one run of the daemon: when it is killed, nothing that it was going to do happens."""

    def __init__(self, clock: SimClock) -> None:
        self.clock = clock
        self.alive = True
        self.time = clock.time
        self.monotonic = clock.monotonic

    def call_later(self, delay: float, fn: Callable[..., object], *args: object) -> SimTimer:
        return self.clock.call_later(delay, self._run, fn, args)

    def _run(self, fn: Callable[..., object], args: tuple[object, ...]) -> None:
        if self.alive:
            fn(*args)


class HoldingExecutor:
    """Runs at once, or when told to: between `hold` and `release` work waits."""

    def __init__(self) -> None:
        self._inline = InlineExecutor()
        self._held: list[tuple[Deferred[None], Deferred[Any]]] | None = None

    def run(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        if self._held is None:
            return self._inline.run(fn, *args, **kwargs)
        start: Deferred[None] = Deferred()
        done = start.addCallback(lambda _: fn(*args, **kwargs))
        self._held.append((start, done))
        return done

    def hold(self) -> None:
        self._held = []

    def release(self) -> None:
        held, self._held = self._held or [], None
        for start, _ in held:
            start.callback(None)


def outcome(d: Deferred[Any]) -> Any:
    """The result of a Deferred that must have fired by now."""
    results: list[Any] = []
    d.addBoth(results.append)
    assert results, "the Deferred has not fired"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


class World:
    """`numbers`: subscribers testuserNNNN with number 431NNNN. `disk` and `url` may be those of an earlier world: a restart."""

    def __init__(self, local: str = "", *, users: tuple[int, ...] = (1001, 1002, 1003), seed: int = 1, before: World | None = None) -> None:
        template = _templates.get((local, users)) if before is None else None
        self.local = before.local if before is not None else local
        self.clock = before.clock if before is not None else SimClock(template.time) if template is not None else SimClock()
        # the store of a template was made with this seed: its uuids must not come again
        self.rng = SeededRng(seed if template is None else seed + 1_000_003)
        self.net = before.net if before is not None else SimNet(self.clock, self.rng)
        self.disk = before.disk if before is not None else MemoryDisk()
        self.place = before.place if before is not None else place(local)
        self.directory, self.loaded = self.place
        self.phones: dict[str, Phone] = before.phones if before is not None else {}
        self.subscribers: dict[int, Created] = before.subscribers if before is not None else {}
        if before is None:
            self._prepare(template)
        self.executor = HoldingExecutor()
        self.lifetime = Lifetime(self.clock)
        outside = Outside(
            clock=self.lifetime,
            rng=self.rng,
            net=self.net,
            disk=self.disk,
            executor=self.executor,
            disk_executor=InlineExecutor(),
            media=lambda interfaces, settings: Engine(self.lifetime, LocalSpawner(self.lifetime, self.net), interfaces, settings),
            key_value=lambda url: MemoryKeyValue(self.lifetime, self.rng),
        )
        key = bytes(range(32))
        self.daemon = Daemon(outside, self.loaded, Secrets(key, key, key))
        self.daemon.bind()
        started = self.daemon.start()
        self.run(0.5)
        outcome(started)
        if before is None and users and template is None:
            self.provision(users)

    def _prepare(self, template: Template | None) -> None:
        """Put the files of the template into the state directory."""
        state = Path(self.loaded.settings.paths.state_dir)
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir(parents=True)
        if template is not None:
            self.subscribers.update(template.subscribers)
            for name, data in template.files.items():
                (state / name).write_bytes(data)

    def _keep_as_template(self, users: tuple[int, ...]) -> None:
        """Copy the database as it is now, for later worlds."""
        path = Path(self.daemon.db.engine.url.database or "")
        copy = path.with_suffix(".copy")
        source, target = sqlite3.connect(path), sqlite3.connect(copy)
        source.backup(target)
        source.close()
        target.close()
        _templates[(self.local, users)] = Template({path.name: copy.read_bytes()}, dict(self.subscribers), self.clock.time() + 10.0)
        copy.unlink()

    # ----------------------------------------------------------------------------------------------------- provisioning
    def provision(self, users: tuple[int, ...]) -> None:
        """Domain `spce.test`, one customer, the users."""
        env = self.daemon.env

        def work(conn: sa.Connection) -> list[Created]:
            create_domain(conn, env, name=DOMAIN)
            contact = create_contact(conn, env, reseller_id=1, email="customer@default.invalid")
            customer = create_customer(conn, env, contact_id=contact)
            wanted = [
                NewSubscriber(customer_id=customer, domain=DOMAIN, username=f"testuser{n}", password=PASSWORD, number=E164(43, "1", str(n)))
                for n in users
            ]
            return create_subscribers(conn, env, wanted)

        for n, made in zip(users, self.write(work), strict=True):
            self.subscribers[n] = made
        self.run(1.0)
        self._keep_as_template(users)

    def write(self, fn: Any, *args: Any) -> Any:
        """One unit of work."""
        return outcome(self.daemon.db.run(fn, *args))

    def prefer(self, level: str, owner: int, **values: Any) -> None:
        """Set preferences: level `usr` with a user's number, `dom` with the domain's id."""
        owner_id = self.subscribers[owner].id if level == "usr" else owner
        for name, value in values.items():
            self.write(lambda conn, n=name, v=value: set_preference(conn, self.daemon.env, level=level, owner_id=owner_id, attribute=n, value=v))
        self.run(1.0)

    def domain_id(self) -> int:
        domain = self.daemon.directory.domain(DOMAIN)
        assert domain is not None
        return domain.id

    # ----------------------------------------------------------------------------------------------------------- phones
    def phone(self, n: int, *, host: str = "", port: int = 0, name: str = "", server: tuple[str, int] | None = None, transport: str = "udp") -> Phone:
        """A phone of testuserN on an address of its own. `transport`: udp, or tcp for a connection that the phone opens."""
        host = host or f"127.1.{n // 250 % 250}.{n % 250 + 1}"
        made = Phone(self.net, (host, port or 5060), f"testuser{n}", DOMAIN, PASSWORD, server or (SERVER6 if ":" in host else SERVER), transport)
        self.phones[name or made.host_port] = made
        if transport == "tcp":
            self.run()
        return made

    def registered(self, n: int, **kwargs: Any) -> Phone:
        phone = self.phone(n, **kwargs)
        answer = phone.register(self.run)
        assert answer.status == 200, answer
        return phone

    def run(self, seconds: float = 0.2) -> None:
        """Time passes."""
        self.clock.advance(seconds)

    # ----------------------------------------------------------------------------------------------------------- looking
    def accs(self) -> list[dict[str, Any]]:
        """All accounting rows in order of time, mediated ones too."""
        self.run(0.5)

        def read(conn: sa.Connection) -> list[dict[str, Any]]:
            rows = [dict(r._mapping) for t in (acc_backup, acc) for r in conn.execute(sa.select(t).order_by(t.c.id))]
            return sorted(rows, key=lambda r: r["time_hires"])

        return outcome(self.daemon.db.read(read))

    def cdrs(self) -> list[dict[str, Any]]:
        """All CDRs in order."""
        self.run(0.5)
        return outcome(self.daemon.db.read(lambda conn: [dict(r._mapping) for r in conn.execute(sa.select(cdr).order_by(cdr.c.id))]))

    def idle(self) -> dict[str, int]:
        """What is still there and should not be."""
        counters = self.daemon.stack.counters()
        names = ("invite_server", "server", "invite_client", "client", "connecting", "dns_waiting", "errors")
        left = {name: counters[name] for name in names if counters[name]}
        left.update({k: v for k, v in self.daemon.calls.counters().items() if v})
        media = self.daemon.media.counters()
        if media.used or media.sessions:
            left["media"] = media.used
        if self.daemon.accounting.open_calls:
            left["open_calls"] = self.daemon.accounting.open_calls
        return left

    def end(self, settle: float = 120.0) -> None:
        """Let everything run out and assert that nothing is left; then stop the daemon."""
        for phone in self.phones.values():
            phone.auto = lambda msg: True
        self.run(settle)
        assert self.idle() == {}, self.idle()
        self.stop()

    def stop(self) -> None:
        done = self.daemon.stop()
        self.run(10.0)
        outcome(done)
        for phone in self.phones.values():
            phone.close()
        _free.setdefault(self.local, []).append(self.place)

    def kill(self) -> None:
        """The daemon's process dies."""
        self.lifetime.alive = False
        self.net.kill(SERVER[0])
        self.net.kill(SERVER6[0])
        self.daemon.db.close()

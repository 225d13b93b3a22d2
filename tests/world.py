"""The whole daemon in one process on a simulated clock and network, with scripted phones around it.

    world = World()
    alice, bob = world.phone("alice"), world.phone("bob")
    alice.register(world.run)

`run(seconds)` moves time on. `end()` asserts that nothing is left: calls, dialogs, transactions, ports.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

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
from ngcpd.runtime.fake import InlineExecutor, MemoryDisk, SeededRng, SimClock
from ngcpd.runtime.simnet import SimNet
from ngcpd.store.kv_memory import MemoryKeyValue
from ngcpd.store.tables.accounting import acc, acc_backup, cdr
from tests.phones import Phone

SERVER = ("127.0.0.1", 5060)
SERVER6 = ("::1", 5060)
DOMAIN = "spce.test"
PASSWORD = "testuser1"
ETC = Path(__file__).resolve().parent.parent / "etc"


def configuration(directory: str, local: str = "") -> Loaded:
    """The shipped configuration with an overlay, its state under `directory`."""
    etc = Path(directory) / "etc"
    shutil.copytree(ETC, etc)
    if local:
        (etc / "config.local.yml").write_text(local)
    return load(str(etc), {"NGCPD_NODE": "self"}, "self")


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
        self.clock = before.clock if before is not None else SimClock()
        self.rng = SeededRng(seed)
        self.net = before.net if before is not None else SimNet(self.clock, self.rng)
        self.disk = before.disk if before is not None else MemoryDisk()
        self.directory = before.directory if before is not None else tempfile.mkdtemp(prefix="ngcpd-world-")
        self.loaded = before.loaded if before is not None else configuration(self.directory, local)
        Path(self.loaded.settings.paths.state_dir).mkdir(parents=True, exist_ok=True)
        outside = Outside(
            clock=self.clock,
            rng=self.rng,
            net=self.net,
            disk=self.disk,
            executor=InlineExecutor(),
            disk_executor=InlineExecutor(),
            media=lambda interfaces, settings: Engine(self.clock, LocalSpawner(self.clock, self.net), interfaces, settings),
            key_value=lambda url: MemoryKeyValue(self.clock, self.rng),
        )
        key = bytes(range(32))
        self.daemon = Daemon(outside, self.loaded, Secrets(key, key, key))
        self.phones: dict[str, Phone] = before.phones if before is not None else {}
        self.subscribers: dict[int, Created] = before.subscribers if before is not None else {}
        self.daemon.bind()
        started = self.daemon.start()
        self.run(0.5)
        outcome(started)
        if before is None and users:
            self.provision(users)

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
    def phone(self, n: int, *, host: str = "", port: int = 0, name: str = "", server: tuple[str, int] = SERVER) -> Phone:
        """A phone of testuserN on an address of its own."""
        address = (host or f"127.1.{n // 250 % 250}.{n % 250 + 1}", port or 5060)
        made = Phone(self.net, address, f"testuser{n}", DOMAIN, PASSWORD, server)
        self.phones[name or made.host_port] = made
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
        shutil.rmtree(self.directory, ignore_errors=True)

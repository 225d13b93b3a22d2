"""A store filled by provisioning, a directory on it, and an executor whose work the test releases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from twisted.internet.defer import Deferred, execute

from ngcpd.directory.directory import Directory
from ngcpd.provisioning import numbers, preferences, routing, subscribers, tenancy
from ngcpd.provisioning.check import E164
from ngcpd.provisioning.env import Env
from ngcpd.runtime.fake import SeededRng, SimClock
from ngcpd.store import migrations, seed
from ngcpd.store.changes import Change, changes
from ngcpd.store.credentials import Argon, Vault
from ngcpd.store.db import Database, StoreUnavailable

PASSWORD = "secret-pw-1"
_template: list[bytes] = []


class HeldExecutor:
    """Runs at once, or with `held` when the test says so. `away` makes every piece of work fail as if the database were gone."""

    def __init__(self) -> None:
        self.held = False
        self.away = False
        self.queue: list[Callable[[], None]] = []
        self.count = 0

    def run(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        self.count += 1
        if not self.held:
            return execute(self._fail) if self.away else execute(fn, *args, **kwargs)
        done: Deferred[Any] = Deferred()

        def work() -> None:
            (execute(self._fail) if self.away else execute(fn, *args, **kwargs)).chainDeferred(done)

        self.queue.append(work)
        return done

    @staticmethod
    def _fail() -> None:
        raise StoreUnavailable("gone")

    def release(self, count: int = 1000) -> None:
        """Run what waits (also what it causes), up to `count` pieces."""
        while self.queue and count:
            count -= 1
            self.queue.pop(0)()


class LateReads(HeldExecutor):
    """Does the work at once but delivers its result only on `release`: a read that is overtaken by a change."""

    def run(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        if not self.held:
            return super().run(fn, *args, **kwargs)
        self.count += 1
        ready = execute(fn, *args, **kwargs)
        done: Deferred[Any] = Deferred()
        self.queue.append(lambda: ready.chainDeferred(done))  # type: ignore[arg-type]
        return done


class World:
    """`spce.test` with customers and subscribers on demand. `pump` hands the directory the notices written since the last time."""

    def __init__(self, path: Path, executor: HeldExecutor | None = None, *, limit: int = 20_000, store: bytes | None = None) -> None:
        """`store`: the content of a store to begin with."""
        self.clock = SimClock()
        # What a given store holds was made with other random numbers, else its uuids would come again.
        self.rng = SeededRng(9 if store is not None else 8 if _template else 7)
        self.executor = executor or HeldExecutor()
        file = path / "store.db"
        url = f"sqlite:///{file}"
        self.env = Env(self.clock, self.rng, Vault(b"k" * 32, self.rng), Argon(self.rng, 1, 8, 1))
        if store is not None:
            file.write_bytes(store)
        elif not _template:
            migrations.upgrade(url)
            first = Database(url, self.executor, self.clock)
            first.run_here(seed.seed, self.rng, self.env.vault, self.env.argon)
            first.close()
            _template.append(file.read_bytes())
        else:
            file.write_bytes(_template[0])
        self.database = Database(url, self.executor, self.clock)
        self.directory = Directory(self.database, None, self.clock, subscribers=limit)
        self._seen = 0

    def do(self, fn: Callable[..., Any], **kwargs: Any) -> Any:
        """Run a provisioning function."""
        return self.database.run_here(fn, self.env, **kwargs)

    def sql(self, statement: Any) -> Any:
        return self.database.run_here(lambda conn: conn.execute(statement))

    def domain(self, name: str = "spce.test") -> int:
        return int(self.do(tenancy.create_domain, name=name))

    def customer(self, **kwargs: Any) -> int:
        contact = self.do(tenancy.create_contact, reseller_id=1, email="a@example.org")
        return int(self.do(tenancy.create_customer, contact_id=contact, **kwargs))

    def subscriber(
        self, username: str, number: str = "", aliases: tuple[str, ...] = (), *, customer: int, domain: str = "spce.test", **prefs: Any
    ) -> int:
        """`number` is E.164 of 43/1. Preferences that provisioning writes by itself can be overridden; None removes."""
        new = subscribers.NewSubscriber(
            customer_id=customer,
            domain=domain,
            username=username,
            password=PASSWORD,
            number=e164(number) if number else None,
            aliases=tuple(e164(a) for a in aliases),
            external_id=prefs.pop("external_id", None),
        )
        made = self.database.run_here(subscribers.create_subscriber, self.env, new)
        self.usr(made.id, **prefs)
        return int(made.id)

    def usr(self, subscriber_id: int, **prefs: Any) -> None:
        for name, value in prefs.items():
            if name == "lock":
                self.do(subscribers.set_lock, subscriber_id=subscriber_id, level=value)
            else:
                self.pref("usr", subscriber_id, name, value)

    def pref(self, level: str, owner: int, name: str, value: Any, location: int = 0) -> None:
        self.do(preferences.set_preference, level=level, owner_id=owner, attribute=name, value=value, location_id=location)

    def rules(self, name: str, *rules: tuple[str, str, str, str]) -> int:
        """A rule set of (direction, field, match, replacement)."""
        set_id = self.do(routing.create_rewrite_rule_set, name=name)
        for n, (direction, field, match, to) in enumerate(rules):
            self.do(
                routing.create_rewrite_rule, set_id=set_id, direction=direction, field=field, match_pattern=match, replace_pattern=to, priority=n
            )
        return int(set_id)

    def peer(self, ip: str, **kwargs: Any) -> tuple[int, int]:
        group = self.do(routing.create_peer_group, name=f"group {ip} {self.rng.token(2)}")
        return group, self.do(routing.create_peer_host, group_id=group, name="host", ip=ip, **kwargs)

    def set_numbers(self, subscriber_id: int, primary: str, *aliases: str) -> None:
        self.do(numbers.set_numbers, subscriber_id=subscriber_id, primary=e164(primary), aliases=tuple(e164(a) for a in aliases))

    def start(self) -> Directory:
        """Load the keys; must be ready at once."""
        done: list[object] = []
        self.directory.start().addCallbacks(done.append, lambda f: done.append(f) or f)
        self.pump(False)
        assert done == [None], done
        return self.directory

    def notices(self) -> list[Change]:
        """Change notices written since the last time."""
        query = sa.select(changes.c.id, changes.c.kind, changes.c.key).where(changes.c.id > self._seen).order_by(changes.c.id)
        with self.database.engine.connect() as conn:
            found = [Change(*row) for row in conn.execute(query)]
        if found:
            self._seen = found[-1].id
        return found

    def pump(self, tell: bool = True) -> list[Change]:
        found = self.notices()
        if tell and found:
            self.directory.changed(found)
        return found

    def load(self, *ids: int) -> None:
        """Load details now."""
        waiting = self.directory.load(ids)
        if waiting is not None:
            failed: list[object] = []
            waiting.addErrback(failed.append)
            assert waiting.called and not failed, failed

    def get(self, subscriber_id: int) -> Any:
        self.load(subscriber_id)
        return self.directory.subscriber(subscriber_id)

    def close(self) -> None:
        self.directory.stop()
        self.database.close()


def e164(digits: str) -> E164:
    assert digits.startswith("431")
    return E164(43, "1", digits[3:])

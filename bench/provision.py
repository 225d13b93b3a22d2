"""Fills a store with the subscribers of a bench: `python -m bench.provision CONFIG_DIR USERS [TRUSTED_IP]`. Run before the daemon starts."""

from __future__ import annotations

import sys
import time
from typing import Any

from bench.peers import REALM, callee, caller, secret
from ngcpd.app.daemon import rules
from ngcpd.config import ensure_directory, load
from ngcpd.config.secrets import load_or_create
from ngcpd.provisioning.check import E164
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.preferences import set_preference
from ngcpd.provisioning.routing import create_trusted_source
from ngcpd.provisioning.subscribers import NewSubscriber, create_subscribers
from ngcpd.provisioning.tenancy import create_contact, create_customer, create_domain
from ngcpd.runtime.fake import InlineExecutor
from ngcpd.runtime.real import SystemRng
from ngcpd.store import migrations
from ngcpd.store.credentials import Argon, Vault
from ngcpd.store.db import Database
from ngcpd.store.seed import seed

BATCH = 2000


class WallClock:
    """The part of a clock that provisioning asks for."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def call_later(self, delay: float, fn: Any, *args: Any) -> Any:
        raise NotImplementedError("nothing is timed here")


def main(directory: str, users: int, trusted_ip: str = "") -> None:
    loaded = load(directory)
    paths = loaded.settings.paths
    for path in (paths.state_dir, paths.journal_dir):
        ensure_directory(path)
    rng, clock = SystemRng(), WallClock()
    keys = load_or_create(paths.secrets_file, rng)
    env = Env(clock, rng, Vault(keys.sip_password_key, rng), Argon(rng), rules(loaded))
    database = Database(paths.database_url, InlineExecutor(), clock)
    migrations.upgrade(database.engine.url)
    database.run_here(seed, rng, env.vault, env.argon, env.zone)
    contact = database.run_here(create_contact, env, reseller_id=1, email="bench@example.org")
    customer = database.run_here(create_customer, env, contact_id=contact)
    database.run_here(create_domain, env, name=REALM)
    new = [
        NewSubscriber(customer_id=customer, domain=REALM, username=name, password=secret(name), number=E164(43, str(side), f"{n:06d}"))
        for n in range(users)
        for side, name in ((1, caller(n)), (2, callee(n)))
    ]
    begun = time.monotonic()
    first = 0
    for start in range(0, len(new), BATCH):
        made = database.run_here(create_subscribers, env, new[start : start + BATCH])
        first = first or made[0].id
    sys.stdout.write(f"{len(new)} subscribers in {time.monotonic() - begun:.1f} s\n")
    if trusted_ip:
        database.run_here(create_trusted_source, env, subscriber_id=first, src_ip=trusted_ip)
        database.run_here(set_preference, env, level="usr", owner_id=first, attribute="use_rtpproxy", value="never")
    database.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:4])

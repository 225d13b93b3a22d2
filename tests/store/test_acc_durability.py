"""Durability with the real things: threads, files, a process killed without a word, a MariaDB killed under load."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import pytest_twisted
import sqlalchemy as sa
from twisted.internet import reactor

from ngcpd.runtime.fake import InlineExecutor, SimClock
from ngcpd.runtime.real import OsDisk, ReactorClock, ThreadExecutor
from ngcpd.store.acc import AccEvent, Accounting, acc_home
from ngcpd.store.db import Database
from ngcpd.store.follower import Follower
from ngcpd.store.journal import Journal
from ngcpd.store.tables import metadata
from ngcpd.store.tables.accounting import acc
from tests.servers.mariadb import MariaDb
from tests.store.helpers import captured, lines_with, turn, until

CHILD = """
import sys
from ngcpd.runtime.fake import InlineExecutor, SimClock
from ngcpd.runtime.real import OsDisk
from ngcpd.store.acc import AccEvent, Accounting
from ngcpd.store.journal import Journal
journal = Journal(OsDisk(), SimClock(float(sys.argv[2])), InlineExecutor(), sys.argv[1], "self", segment_size=20000)
journal.open()
accounting = Accounting(journal, SimClock())
print("closed", accounting.recover(), flush=True)
n = 0
while True:
    n += 1
    accounting.write(AccEvent("INVITE", f"{sys.argv[2]}-{n}", 1.7e9, sip_code="486" if n % 100 else "200"))
    print(n, flush=True)
"""


def test_killed_process_loses_nothing_it_had_answered(tmp_path: Path) -> None:
    answered: list[str] = []
    for round_ in range(3):
        stamp = 1_700_000_000 + round_
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), str(stamp)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline().startswith("closed")
        for line in child.stdout:
            answered.append(f"{stamp}-{line.strip()}")
            if line.strip() == str(150 + 170 * round_):
                child.kill()
                break
        rest = child.stdout.read().splitlines()
        answered += [f"{stamp}-{line}" for line in rest if line.isdigit()]
        child.wait(10)
    journal = Journal(OsDisk(), SimClock(1_700_000_100), InlineExecutor(), str(tmp_path), "self")
    journal.open()
    closed = Accounting(journal, SimClock()).recover()
    db = Database("sqlite://", InlineExecutor(), SimClock())
    metadata.create_all(db.engine)
    clock = SimClock()
    Follower(journal, "acc", acc_home(db, "self"), clock).start()
    clock.advance(1)
    rows = db.read_here(lambda conn: list(conn.execute(sa.select(acc))))
    invites = Counter(r.callid for r in rows if r.method == "INVITE")
    byes = Counter(r.callid for r in rows if r.method == "BYE")
    assert set(answered) <= set(invites) and max(invites.values()) == 1
    assert len(invites) - len(set(answered)) <= 3  # written, and killed before it could be said
    assert byes == Counter(r.callid for r in rows if r.method == "INVITE" and r.sip_code == "200")
    assert closed >= 1
    db.close()


@pytest.mark.peer
@pytest_twisted.ensureDeferred
async def test_mariadb_killed_under_load(tmp_path: Path) -> None:
    """The test server flushes its log once a second only: what it loses by the kill has to come again out of the journal, too."""
    server = MariaDb()
    server.start()
    threads = ThreadExecutor(reactor, threads=3)
    clock = ReactorClock(reactor)
    db = Database(server.create(), threads, clock, pool_size=3)
    metadata.create_all(db.engine)
    journal = Journal(OsDisk(), clock, threads, str(tmp_path), "self", segment_size=50_000)
    journal.open()
    accounting = Accounting(journal, clock)
    accounting.recover()
    follower = Follower(journal, "acc", acc_home(db, "self"), clock, queue=300, batch=50)
    follower.start()
    written = 0

    async def load(events: int) -> None:
        nonlocal written
        for _ in range(events):
            accounting.write(AccEvent("INVITE", f"c{written}", clock.time(), sip_code="486"))
            written += 1
            if written % 20 == 0:
                await turn()

    try:
        with captured() as lines:
            await load(500)
            await until(lambda: follower.backlog < 300)
            server.kill()
            await load(1500)
            await until(lambda: follower.away)
            server.start()
            await load(500)
            await until(lambda: follower.idle, 30)
        found = db.read_here(lambda conn: list(conn.scalars(sa.select(acc.c.callid).order_by(acc.c.id))))
        assert found == [f"c{n}" for n in range(written)]
        assert len([n for n in tmp_path.iterdir() if n.suffix == ".journal"]) <= 2
        assert len(lines_with(lines, "info", "home away")) == 1 and len(lines_with(lines, "info", "caught up")) == 1
        assert await follower.drain()
        await follower.stop()
        await journal.close()
    finally:
        await threads.stop()
        db.close()
        server.close()

"""What a CDR costs: `python -m bench.cdr URL DATABASE_PID COUNT DIRECTORY` prints a JSON object.

Ours: accounting events go through the journal to `acc`, mediation makes the CDRs and moves the rows to `acc_backup`, all by the daemon's own
rooms on a real reactor, with its pacing. The peer: the very rows that come out of it (two of `acc_backup`, one of `cdr` for each call) are
inserted again into copies of the tables, one row per commit on one connection, prepared as a mediator of that kind would: plain pymysql.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pymysql
import sqlalchemy as sa
from twisted.internet import asyncioreactor

from bench.host import tree_seconds

GROUP = 250


def main(url: str, database_pid: int, count: int, directory: str) -> None:
    asyncioreactor.install()
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from ngcpd.app import tuning
    from ngcpd.billing.service import Mediator
    from ngcpd.runtime.real import OsDisk, ReactorClock, SystemRng, ThreadExecutor
    from ngcpd.store import migrations
    from ngcpd.store.acc import STREAM, AccEvent, Accounting, DestinationLeg, SourceLeg, acc_home
    from ngcpd.store.credentials import Argon, Vault
    from ngcpd.store.db import Database
    from ngcpd.store.follower import Follower
    from ngcpd.store.journal import Journal
    from ngcpd.store.kv_memory import MemoryKeyValue
    from ngcpd.store.seed import seed

    loop: Any = reactor
    clock, rng = ReactorClock(loop), SystemRng()
    executor, disk_executor = ThreadExecutor(loop, 8), ThreadExecutor(loop, 4)
    migrations.upgrade(url)
    database = Database(url, executor, clock)
    database.run_here(seed, rng, Vault(bytes(32), rng), Argon(rng))
    journal = Journal(OsDisk(), clock, disk_executor, directory, "bench")
    result: dict[str, float] = {}

    def total(table: str) -> int:
        return int(database.read_here(lambda conn: conn.scalar(sa.text(f"SELECT COUNT(*) FROM {table}"))))

    async def pause(seconds: float) -> None:
        done: Deferred[None] = Deferred()
        loop.callLater(seconds, done.callback, None)
        await done

    async def work() -> None:
        journal.open()
        accounting = Accounting(journal, clock)
        accounting.recover()
        mediator = Mediator(database, MemoryKeyValue(clock, rng), clock, pace=tuning.MEDIATION_PACE)
        follower = Follower(
            journal, STREAM, acc_home(database, "bench"), clock, batch=500, pace=tuning.ACCOUNTING_PACE, on_applied=lambda records: mediator.poke()
        )
        follower.start()
        accounting.start()
        mediator.start()
        await pause(0.5)
        own, server, begun = time.process_time(), tree_seconds(database_pid), time.monotonic()
        made = 0
        while made < count:
            for n in range(made, min(made + GROUP, count)):
                now = clock.time()
                source = SourceLeg(
                    user_id=f"uuid-caller-{n % 1000:012d}",
                    user=f"caller{n % 1000}",
                    domain="bench.test",
                    cli=f"431{n % 1000:06d}",
                    ip="127.0.0.1",
                    init_time=now,
                    account_id=7,
                ).encode()
                target = DestinationLeg(
                    user_id=f"uuid-callee-{n % 1000:012d}",
                    user=f"callee{n % 1000}",
                    domain="bench.test",
                    account_id=7,
                    dialed=f"432{n % 1000:06d}",
                    user_in=f"432{n % 1000:06d}",
                    domain_in="bench.test",
                ).encode()
                names = {
                    "src_user": f"caller{n % 1000}",
                    "src_domain": "bench.test",
                    "dst_user": f"callee{n % 1000}",
                    "dst_ouser": f"432{n % 1000:06d}",
                    "dst_domain": "bench.test",
                }
                common = {"callid": f"{n:016x}@127.0.0.1", "from_tag": f"a{n}", "to_tag": f"b{n}", "src_leg": source, "dst_leg": target, **names}
                accounting.write(AccEvent(method="INVITE", time=now, sip_reason="OK", **common))
                accounting.write(AccEvent(method="BYE", time=now + 1, sip_reason="OK", **common))
            made += GROUP
            while follower.backlog > 4000:
                await pause(0.02)
            await pause(0.0)
        while total("cdr") < count:
            await pause(0.1)
        seconds = time.monotonic() - begun
        result["ours_us"] = (time.process_time() - own) / count * 1e6
        result["ours_server_us"] = (tree_seconds(database_pid) - server) / count * 1e6
        result["cdrs_per_second"] = count / seconds
        mediator._started = False
        await follower.stop()

    def done(outcome: object) -> None:
        if outcome is not None:
            sys.stderr.write(f"{outcome}\n")
        loop.stop()

    loop.callWhenRunning(lambda: Deferred.fromCoroutine(work()).addBoth(done))
    loop.run()
    result |= single(url, database_pid, min(count, 1500))
    print(json.dumps(result))
    sys.stdout.flush()
    import os

    os._exit(0)  # threads that wait for work are of no interest


def single(url: str, database_pid: int, count: int) -> dict[str, float]:
    """The same rows, each in its own transaction."""
    target = sa.make_url(url)
    connection = pymysql.connect(
        host=target.host, port=target.port or 3306, user=target.username, password=target.password or "", database=target.database, autocommit=True
    )
    cursor = connection.cursor()
    rows: list[tuple[str, str, tuple[Any, ...]]] = []
    for table, per_call in (("acc_backup", 2), ("cdr", 1)):
        cursor.execute(f"CREATE TABLE single_{table} LIKE {table}")
        cursor.execute(f"SELECT * FROM {table} LIMIT {count * per_call}")
        names = [column[0] for column in cursor.description]
        at = names.index("id")
        statement = f"INSERT INTO single_{table} ({', '.join(n for n in names if n != 'id')}) VALUES ({', '.join(['%s'] * (len(names) - 1))})"
        rows += [(table, statement, (*row[:at], *row[at + 1 :])) for row in cursor.fetchall()]
    own, server = time.process_time(), tree_seconds(database_pid)
    for _, statement, values in rows:
        cursor.execute(statement, values)
    calls = len(rows) / 3
    return {"single_us": (time.process_time() - own) / calls * 1e6, "single_server_us": (tree_seconds(database_pid) - server) / calls * 1e6}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])

"""Provisioning: rate of imports, CPU of the REST interface over many subscribers, memory of the directory, calls while things are changed.

`python -m bench.provisioning fill ETC COUNT` and `... directory ETC` are the parts that run as processes of their own.
"""

from __future__ import annotations

import base64
import gc
import http.client
import json
import re
import sqlite3
import ssl
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from bench.host import NGCPD, PYTHON, ROOT, Unavailable, pinned, resident_bytes, tree_seconds
from bench.ngcpd import Ngcpd
from bench.peers import REALM, caller

if TYPE_CHECKING:
    from bench.harness import Bench

BATCH = 1000
GETS, LISTS = 60, 15
CALL_RATE, CHANGE_RATE = 50, 100
LISTED = (
    ("", "all"),
    ("&page=50", "page 50"),
    ("&username=m1*", "user names m1*"),
    ("&domain=bench.test", "one domain"),
    ("&alias=4399", "alias"),
    ("&order_by=username", "by user name"),
    ("&customer_id={customer}", "one customer"),
)


def provision(bench: Bench) -> None:
    total, imported = (10_000, 3_000) if bench.quick else (100_000, 10_000)
    server = Ngcpd(bench.processes, bench.directory, name="ngcpd-provision")
    server.make(bench.subscribers)
    customer = _customer(server)
    _import(bench, server, customer, imported)
    rest = total - imported - 2 * bench.subscribers
    _part("fill", str(server.etc), str(max(rest, 0)))
    found = json.loads(_part("directory", str(server.etc)))
    how = f"growth of resident memory for the keys and details of {found['count']} active subscribers with a number each, scaled to 100,000"
    bench.report.add("directory.mb_per_100k", found["mb"] * 100_000 / found["count"], "MB", how, "none")
    server.start()
    try:
        _api(bench, server, total, customer)
        _changes(bench, server)
    finally:
        server.stop()


def _customer(server: Ngcpd) -> int:
    with sqlite3.connect(server.state / "ngcpd.db") as store:
        return int(store.execute("SELECT max(id) FROM contract").fetchone()[0])


def _import(bench: Bench, server: Ngcpd, customer: int, count: int) -> None:
    path = bench.directory / "import.csv"
    with open(path, "w") as file:
        file.write("customer_id,domain,username,password,cc,ac,sn,display_name\n")
        file.writelines(f"{customer},{REALM},i{n},secret-{n},43,7,{n:07d},Imported {n}\n" for n in range(count))
    command = [PYTHON, "-m", "ngcpd.cli.ngcpctl", "import", str(path), "-c", str(server.etc), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, env=server._environment(), cwd=ROOT, preexec_fn=pinned(0), timeout=300)
    words = re.search(r"(\d+) made, (\d+) refused in ([0-9.]+) s", done.stdout)
    if done.returncode or words is None or int(words[1]) != count:
        raise Unavailable("import failed: " + done.stdout[-200:] + done.stderr[-400:])
    how = f"ngcpctl import of {count} CSV lines with SIP password and number, embedded store, no daemon running, one core"
    bench.report.add("import.subscribers_per_second", count / float(words[3]), "1/s", how, "none")


def _part(*words: str) -> str:
    done = subprocess.run([PYTHON, "-m", "bench.provisioning", *words], capture_output=True, text=True, cwd=ROOT, preexec_fn=pinned(0), timeout=300)
    if done.returncode:
        raise Unavailable(f"bench.provisioning {words[0]} failed: {done.stderr[-500:]}")
    return done.stdout


class Rest:
    """An administrator with one connection."""

    def __init__(self, login: str, password: str) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._connection = http.client.HTTPSConnection(NGCPD, 1443, context=context, timeout=60)
        self._auth = {"Authorization": "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode(), "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        self._connection.request(method, path, None if body is None else json.dumps(body), self._auth)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise Unavailable(f"{method} {path}: {answer.status} {data[:200]!r}")
        return answer.status, json.loads(data) if data else None


def _api(bench: Bench, server: Ngcpd, total: int, customer: int) -> None:
    admin = Rest("administrator", "administrator")
    admin.ask("POST", "/api/admins/", {"reseller_id": 1, "login": "bench", "password": "bench-pass-1"})
    reseller = Rest("bench", "bench-pass-1")
    _, page = admin.ask("GET", "/api/subscribers/?username=m1*&rows=1")
    one = page["_embedded"]["ngcp:subscribers"]
    key = (one[0] if isinstance(one, list) else one)["id"]
    got = {who: _cpu(server, rest, f"/api/subscribers/{key}", GETS) for who, rest in (("administrator", admin), ("reseller", reseller))}
    how = f"CPU of the daemon per GET of one of {total} subscribers over TLS, login cached: " + ", ".join(
        f"{who} {ms:.1f}" for who, ms in got.items()
    )
    bench.report.add("api.get_cpu_ms", got["administrator"], "ms", how, "none")
    times: dict[str, float] = {}
    for who, rest in (("administrator", admin), ("reseller", reseller)):
        for query, name in LISTED:
            times[f"{who}, {name}"] = _cpu(server, rest, f"/api/subscribers/?rows=100{query.format(customer=customer)}", LISTS)
    base = times["administrator, all"]
    how = f"CPU of the daemon per page of 100 out of {total} subscribers: " + "; ".join(f"{name} {ms:.0f}" for name, ms in times.items())
    bench.report.add("api.list_cpu_ms", base, "ms", how, "none")
    slow = max(times, key=lambda name: times[name])
    bench.report.add("api.list_cpu_ms_worst", times[slow], "ms", f"the dearest of these: {slow}", "none")


def _cpu(server: Ngcpd, rest: Rest, path: str, times: int) -> float:
    """CPU of the daemon per request, ms; the first one is not counted."""
    rest.ask("GET", path)
    before = tree_seconds(server.pid)
    for _ in range(times):
        rest.ask("GET", path)
    return (tree_seconds(server.pid) - before) / times * 1000


def _changes(bench: Bench, server: Ngcpd) -> None:
    """Calls at 50/s while preferences of callers and callees are changed 100 times a second."""
    seconds = 6 if bench.quick else 20
    made = [0]

    def change() -> None:
        begun = time.monotonic()
        while (now := time.monotonic()) < begun + seconds:
            if made[0] < (now - begun) * CHANGE_RATE:
                user = f"{caller(made[0] % bench.subscribers)}@{REALM}"
                server.control("pref.set", user=user, name="gpp0", values=[f"v{made[0]}"])
                made[0] += 1
            else:
                time.sleep(0.002)

    bench.register_callees(server)
    bench.load.run("call", server.target, CALL_RATE, bench.subscribers // 2, settled=server.written)
    run = bench.load.run("call", server.target, CALL_RATE, CALL_RATE * seconds, during=change)
    bench.note("provision", f"{made[0] / seconds:.0f} changes/s", run)
    what = f"{made[0] / seconds:.0f} changes/s of subscribers who call"
    how = f"failed of {run.calls} full calls at {CALL_RATE}/s with {what}, {run.repeated} repeated, embedded store"
    bench.report.add("provision.failed_calls", run.failed, "calls", how, "none")


# -------------------------------------------------------------------------------------------------------- own processes
def fill(directory: str, count: int) -> None:
    """Further subscribers `mN`, in large units of work."""
    from ngcpd.cli.local import Store
    from ngcpd.config import load
    from ngcpd.provisioning.check import E164
    from ngcpd.provisioning.subscribers import NewSubscriber, create_subscribers
    from ngcpd.provisioning.tenancy import create_contact, create_customer

    store = Store(load(directory))
    contact = store.database.run_here(create_contact, store.env, reseller_id=1, email="bench@example.org")
    customers = [store.database.run_here(create_customer, store.env, contact_id=contact) for _ in range(100)]
    for first in range(0, count, BATCH):
        new = [
            NewSubscriber(customer_id=customers[n % 100], domain=REALM, username=f"m{n}", password="secret-pw-1", number=E164(43, "9", f"{n:07d}"))
            for n in range(first, min(first + BATCH, count))
        ]
        store.database.run_here(create_subscribers, store.env, new)
    store.database.close()


def directory_memory(directory: str) -> None:
    """Load everybody into a directory and say what that took."""
    import os

    from ngcpd.cli.local import Store
    from ngcpd.config import load
    from ngcpd.directory.directory import Directory

    store = Store(load(directory))
    store.prepare()
    made = Directory(store.database, None, store.env.clock, subscribers=1_000_000)
    gc.collect()
    before = resident_bytes([os.getpid()])
    made.start()
    ids = list(made._keys.names)
    for at in range(0, len(ids), 500):
        made.load(ids[at : at + 500])
    gc.collect()
    grown = resident_bytes([os.getpid()]) - before
    held = made.counters()["subscribers"]
    if held != len(ids):
        raise SystemExit(f"{held} of {len(ids)} were loaded")
    sys.stdout.write(json.dumps({"mb": grown / 2**20, "count": held}) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(sys.argv[2], int(sys.argv[3]))
    else:
        directory_memory(sys.argv[2])

"""Soak: simulated calls under random faults, and a real daemon killed under load, for as long as asked.

    scripts/soak.py --minutes 30      80 % of the time simulation with fresh seeds, 20 % kill rounds
    scripts/soak.py --seed 4711       one seed again, with everything that is wrong with it

Prints what was done and each failure with the way to repeat it; exit status 1 when there was one. The figures are added up in docs/soak.json.
Everything happens on 127.0.0.0/8.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LEDGER = ROOT / "docs" / "soak.json"
PAGE = ROOT / "docs" / "reliability.md"
USERS = (1002, 1003, 1004, 1005)
FINAL = re.compile(r"SIP/2\.0 ([2-6]\d\d) .*?\n(?:.*\n)*?Call-ID: (\S+)\s*\n(?:.*\n)*?CSeq: \d+ INVITE", re.M)


# -------------------------------------------------------------------------------------------------------------- simulation
def simulation(seconds: float, failures: list[str]) -> dict[str, float]:
    """Fresh seeds until the time is over."""
    from tests.sim.run import simulate, template

    template()
    end = time.monotonic() + seconds
    cpu = time.process_time()
    total: Counter[str] = Counter()
    while time.monotonic() < end:
        seed = secrets.randbelow(2**31)
        try:
            result = simulate(seed)
        except KeyboardInterrupt:
            print("interrupted; what was done so far counts", flush=True)
            break
        except Exception as error:  # noqa: BLE001 - a seed that breaks the simulation itself is a failure like others
            failures.append(f"seed {seed}: {type(error).__name__}: {error}\n  repeat: scripts/soak.py --seed {seed}")
            print(failures[-1], flush=True)
            continue
        total["runs"] += 1
        total["calls"] += result.calls
        total["messages"] += result.messages
        total["simulated_seconds"] += int(result.seconds)
        for name in ("killed", "stopped", "store_down", "kv_down", "disk_full", "cdrs"):
            total[name] += result.counts[name]
        if result.faults:
            failures.append(f"{result}\n  repeat: scripts/soak.py --seed {seed}")
            print(failures[-1], flush=True)
        if total["runs"] % 50 == 0:
            used = time.process_time() - cpu
            print(
                f"simulation: {total['runs']} seeds, last {seed}, {total['calls']} calls, {total['calls'] / used:.0f} calls/CPU s, {rss()} MB",
                flush=True,
            )
    return {**total, "cpu_seconds": round(time.process_time() - cpu, 1)}


def rss() -> int:
    """Memory of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024
    return 0


def again(seed: int) -> int:
    from tests.sim.run import simulate

    begun = time.process_time()
    result = simulate(seed)
    print(result)
    print(f"  {result.profile}\n  {dict(result.counts)}\n  {time.process_time() - begun:.1f} s CPU")
    return 1 if result.faults else 0


# -------------------------------------------------------------------------------------------------------------- kill rounds
class Killing:
    """A daemon on SQLite and SIPp phones; each round ends with SIGKILL in the middle of calls and a new start."""

    def __init__(self, directory: Path) -> None:
        from tests.servers.daemon import DaemonProcess

        self.directory = directory
        self.daemon = DaemonProcess(directory / "daemon").start()
        self.daemon.domain()
        self.daemon.add(*USERS)
        self.rounds = 0
        self.seen: set[int] = set()

    def close(self) -> None:
        self.daemon.kill()

    def round(self) -> dict[str, int]:
        """AssertionError says what was lost or doubled."""
        from tests.integration.sipp import Phones

        daemon = self.daemon
        self.rounds += 1
        where = self.directory / f"round-{self.rounds}"
        phones = Phones(daemon, where)
        chance = secrets.SystemRandom()
        try:
            phones.register(*USERS)
            callees = [phones.callee(n, calls=1000) for n in (1003, 1005)]
            load = {"calls": 1000, "pause": chance.choice((100, 400, 1500)), "options": ("-r", "8", "-l", "30")}
            callers = [phones.call(a, f"testuser{b}", **load) for a, b in ((1002, 1003), (1004, 1005))]
            time.sleep(0.5 + 4 * chance.random())
            before = {b["contact"] for b in daemon.registrations()}
            daemon.kill()
            phones.close()
            daemon.start()
            after = {b["contact"] for b in daemon.registrations()}
            assert before <= after and len(before) == len(USERS), f"bindings lost: {before - after}"
            return self._records([c.messages for c in callers], callees)
        finally:
            phones.close()
            shutil.rmtree(where, ignore_errors=True)

    def _records(self, logs: list[str], callees: list[Any]) -> dict[str, int]:
        from tests.servers.daemon import until

        daemon = self.daemon
        until(lambda: not daemon.query("SELECT id FROM acc") and not daemon.busy(), 30.0, "accounting rows or calls are left")
        rows = [row for row in daemon.cdrs() if row["id"] not in self.seen]
        self.seen |= {row["id"] for row in rows}
        made = Counter((row["call_id"], row["call_code"]) for row in rows)
        doubled = [key for key, n in made.items() if n > 1]
        assert not doubled, f"CDRs doubled: {doubled[:5]}"
        finals: set[tuple[str, str]] = set()
        for log in logs:
            for part in log.split(" message received "):
                found = FINAL.search(part.split(" message sent ")[0])
                if found is not None and found[1] not in ("401", "407"):
                    finals.add((found[2], found[1]))
        missing = finals - set(made)
        assert not missing, f"answered calls without CDR: {sorted(missing)[:5]} of {len(finals)}"
        assert finals, "no call got through before the kill"
        return {"calls": len(made), "seen_by_callers": len(finals)}


def kill_rounds(seconds: float, failures: list[str]) -> dict[str, int]:
    end = time.monotonic() + seconds
    total: Counter[str] = Counter()
    directory = Path(tempfile.mkdtemp(prefix="ngcpd-soak-"))
    killing: Killing | None = None
    try:
        while time.monotonic() < end:
            try:
                killing = killing or Killing(directory / f"d{total['rounds']}")
                done = killing.round()
            except (AssertionError, OSError, RuntimeError) as error:
                failures.append(f"kill round {total['rounds'] + 1}: {str(error)[:2000]}\n  repeat: scripts/soak.py --minutes 1 --kills-only")
                print(failures[-1], flush=True)
                if killing is not None:
                    killing.close()
                    killing = None
                if len(failures) > 20:
                    break
                done = {"failed": 1}
            total["rounds"] += 1
            total.update(done)
        print(f"kill rounds: {total['rounds']}, {total['calls']} calls", flush=True)
    finally:
        if killing is not None:
            killing.close()
        shutil.rmtree(directory, ignore_errors=True)
    return dict(total)


# ----------------------------------------------------------------------------------------------------------------- figures
def add_up(simulated: dict[str, float], killed: dict[str, int], minutes: float, failed: int) -> dict[str, Any]:
    ledger: dict[str, Any] = json.loads(LEDGER.read_text()) if LEDGER.exists() else {}
    for name, values in (("simulation", simulated), ("kills", killed), ("soak", {"times": 1, "minutes": round(minutes, 1), "failures": failed})):
        part = ledger.setdefault(name, {})
        for key, value in values.items():
            part[key] = round(part.get(key, 0) + value, 1)
    LEDGER.write_text(json.dumps(ledger, indent=1, sort_keys=True) + "\n")
    text = PAGE.read_text()
    head, mark, rest = text.partition("<!-- figures -->\n")
    if mark:
        _, end, tail = rest.partition("<!-- end of figures -->")
        PAGE.write_text(head + mark + table(ledger) + end + tail)
    return ledger


def table(ledger: dict[str, Any]) -> str:
    """The figures so far as a table for the page."""
    simulated, kills, soak = (ledger.get(name, {}) for name in ("simulation", "kills", "soak"))
    rows = [
        ("seeds simulated", simulated.get("runs", 0)),
        ("calls simulated", simulated.get("calls", 0)),
        ("messages on the simulated wire", simulated.get("messages", 0)),
        ("hours of simulated time", simulated.get("simulated_seconds", 0) / 3600),
        ("simulated kills of the process", simulated.get("killed", 0)),
        ("simulated stops and starts", simulated.get("stopped", 0)),
        ("simulated outages of database, key-value store, disk", sum(simulated.get(n, 0) for n in ("store_down", "kv_down", "disk_full"))),
        ("calls per CPU second", simulated.get("calls", 0) / max(1, simulated.get("cpu_seconds", 1))),
        ("real processes killed under load", kills.get("rounds", 0)),
        ("real calls in those rounds", kills.get("calls", 0)),
        ("minutes of soak", soak.get("minutes", 0)),
        ("failures found (each mended or named below)", soak.get("failures", 0)),
    ]
    return "| Figure | So far |\n|---|---|\n" + "".join(f"| {name} | {value:,.0f} |\n" for name, value in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="simulated calls under faults and a real daemon killed under load")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, help="run one seed again")
    parser.add_argument("--kills-only", action="store_true")
    parser.add_argument("--simulation-only", action="store_true")
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    sys.path.insert(0, str(ROOT))
    if options.seed is not None:
        return again(options.seed)
    failures: list[str] = []
    seconds = options.minutes * 60
    share = 0.0 if options.kills_only else 1.0 if options.simulation_only else 0.8
    simulated = simulation(seconds * share, failures) if share else {}
    killed = kill_rounds(seconds * (1 - share), failures) if share < 1 else {}
    total = add_up(simulated, killed, options.minutes, len(failures))
    if simulated.get("cpu_seconds"):
        rate = simulated.get("calls", 0) / simulated["cpu_seconds"]
        print(f"{simulated.get('runs', 0)} seeds, {simulated.get('calls', 0)} calls, {rate:.0f} calls per CPU second, {rss()} MB")
    print(f"so far: {json.dumps(total)}")
    print(f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

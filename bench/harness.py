"""`python -m bench.harness [--quick] [--only call,plain,...]`: runs the benches, peers and ngcpd in turn, and writes bench/results.

Every run is bounded in calls and seconds, everything is started in a private directory on addresses of its own (127.77.0.0/24), and everything
is stopped at the end, also after Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pymysql

from bench import provisioning, small
from bench.host import (
    CALLEE,
    DATABASE,
    DATABASE_PORT,
    HERE,
    PYTHON,
    ROOT,
    TRUSTED,
    Processes,
    Unavailable,
    machine,
    pinned,
    stolen_seconds,
    versions,
    workplace,
)
from bench.load import CALLEE_PORT, Load, Run
from bench.ngcpd import Ngcpd
from bench.peers import Chain, Kamailio, MariaDb, RtpEngine, Sippy, caller, full, write_users
from bench.report import Report


class Server(Protocol):
    target: str

    @property
    def groups(self) -> dict[str, int]: ...

    def stop(self) -> None: ...


class Bench:
    """One run of everything."""

    def __init__(self, processes: Processes, directory: Path, report: Report, quick: bool) -> None:
        self.processes = processes
        self.directory = directory
        self.report = report
        self.quick = quick
        self.rounds = 1 if quick else 3
        self.seconds = 3.0 if quick else 6.0
        self.subscribers = 300 if quick else 800  # callers, and as many callees; each of them calls once before anything is measured
        self.users = write_users(directory / "users.csv", self.subscribers)
        self.trusted_users = write_users(directory / "trusted.csv", self.subscribers, fixed_caller=caller(0))
        self.load = Load(processes, directory, self.users)
        self._database: MariaDb | None = None
        self._relay: RtpEngine | None = None
        self._ngcpd: dict[str, Ngcpd] = {}
        self._failed: dict[str, str] = {}

    # ----------------------------------------------------------------------------------------------------- what is shared
    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What a peer needs is made once; when it cannot be made it is not tried again."""
        if name in self._failed:
            raise Unavailable(self._failed[name])
        try:
            return make()
        except Unavailable as error:
            self._failed[name] = str(error)
            raise

    @property
    def database(self) -> MariaDb:
        if self._database is None:
            self._database = self.once("mariadb", lambda: MariaDb(self.processes, self.directory))
            assert self._database is not None
            with contextlib.suppress(Unavailable):
                self._database.kamailio(self.subscribers)
        return self._database

    @property
    def relay(self) -> RtpEngine:
        if self._relay is None:
            self._relay = self.once("rtpengine", lambda: RtpEngine(self.processes, self.directory))
            assert self._relay is not None
        return self._relay

    def ngcpd(self, store: str) -> Ngcpd:
        """With its subscribers, not started. `store`: "mariadb" or "embedded"."""
        found = self._ngcpd.get(store)
        if found is None:
            url = self.database.create("ngcpd") if store == "mariadb" else None
            found = Ngcpd(self.processes, self.directory, database=url, name=f"ngcpd-{store}")
            found.make(self.subscribers)
            self._ngcpd[store] = found
        return found

    # -------------------------------------------------------------------------------------------------------------- runs
    def groups(self, server: Server, *, database: bool = False, relay: bool = False) -> dict[str, int]:
        found = dict(server.groups)
        if database:
            found["mariadb"] = self.database.pid
        if relay:
            found["rtpengine"] = self.relay.pid
        return found

    def note(self, what: str, who: str, run: Run) -> None:
        print(f"  {what:9} {who:22} {run} {run.unexpected}", flush=True)
        self.report.runs.append(
            {
                "bench": what,
                "server": who,
                "rate": run.rate,
                "real_rate": round(run.real_rate, 1),
                "good": run.good,
                "failed": run.failed,
                "repeated": run.repeated,
                "clean": run.clean,
                "cpu_s_per_1000": {k: round(v, 4) for k, v in run.cpu.items()},
                "delay_p50_ms": run.delay,
            }
        )

    def register_callees(self, server: Server) -> None:
        made = self.load.run("register_callee", server.target, 500, self.subscribers, callee="", caller_ip=CALLEE, caller_port=CALLEE_PORT)
        if made.good < self.subscribers:
            raise Unavailable(f"only {made.good} of {self.subscribers} callees could register {made.unexpected}")

    @contextlib.contextmanager
    def kamailio(self, children: int, *, media: bool = False, **words: str) -> Iterator[tuple[Server, dict[str, int], None]]:
        if media:
            words["RELAY"] = self.relay.control
        server = Kamailio(self.processes, self.directory, children=children, **words)
        try:
            yield server, self.groups(server, database="DIGEST" in words, relay=media), None
        finally:
            server.stop()

    @contextlib.contextmanager
    def chain(self) -> Iterator[tuple[Server, dict[str, int], None]]:
        server = Chain(self.processes, self.directory, **full(), RELAY=self.relay.control)
        try:
            yield server, self.groups(server, database=True, relay=True), None
        finally:
            server.stop()

    @contextlib.contextmanager
    def sippy(self) -> Iterator[tuple[Server, dict[str, int], None]]:
        server = Sippy(self.processes, self.directory)
        try:
            yield server, self.groups(server), None
        finally:
            server.stop()

    @contextlib.contextmanager
    def ours(self, store: str = "mariadb", compiled: bool = False) -> Iterator[tuple[Server, dict[str, int], Callable[[], object]]]:
        server = self.ngcpd(store)
        if compiled:
            self.once("compiled", up_to_date)
        server.compiled = compiled
        server.start()
        try:
            yield server, self.groups(server, database=store == "mariadb"), server.written
        finally:
            server.stop()
            server.compiled = False

    def measure(
        self, what: str, who: str, opened: Any, scenario: str, rate: float, *, callees: bool = True, warm: int = 0, **options: Any
    ) -> Run | None:
        """Start a server, warm it up, measure one run. None when it cannot be had."""
        try:
            with opened as (server, groups, settled):
                if callees:
                    self.register_callees(server)
                if not callees:
                    options |= {"callee": ""}
                warm = warm or self.subscribers
                if warm:
                    self.load.run(scenario, server.target, min(rate, 400), warm, settled=settled, **options)
                run = self.load.run(scenario, server.target, rate, int(rate * self.seconds), groups, settled=settled, delays=True, **options)
        except Unavailable as error:
            print(f"  {what:9} {who:22} not measured: {error}", flush=True)
            self._failed.setdefault(who, str(error))
            return None
        self.note(what, who, run)
        return run

    def ratio(self, name: str, ours: list[Run | None], theirs: list[Run | None], how: str, peer: str, *, repeating: bool = False) -> None:
        """The ratio of the medians of the clean runs. `repeating`: this peer is never free of retransmissions, a run without failures counts."""
        good, other = clean(ours), clean(theirs)
        if repeating and not other:
            other = [run for run in theirs if run is not None and run.good and not run.failed]
            how += "; the peer repeated more than the rule allows"
        if good and other:
            a, b = statistics.median(r.total for r in good), statistics.median(r.total for r in other)
            self.report.add(
                name, a / b, "ratio", f"{how}; ngcpd {a:.3f}, peer {b:.3f} CPU-s per 1000, median of {len(good)}/{len(other)} clean runs", peer
            )
        else:
            side = "ngcpd" if not good else "the peer"
            reason = self._failed.get(peer, "")
            self.report.add(name, None, "ratio", f"no clean run of {side} of {self.rounds} {reason}".strip(), peer)

    # ------------------------------------------------------------------------------------------------------------- cases
    def call(self) -> None:
        """S1, S2, S8: the full call at 250/s."""
        rate = 250
        names = ("ngcpd", "ngcpd, compiled", "ngcpd, embedded store", "kamailio x8", "lb + proxy")
        runs: dict[str, list[Run | None]] = {name: [] for name in names}
        for _ in range(self.rounds):
            runs["ngcpd"].append(self.measure("call", "ngcpd", self.ours(), "call", rate))
            runs["ngcpd, compiled"].append(self.measure("call", "ngcpd, compiled", self.ours(compiled=True), "call", rate))
            runs["kamailio x8"].append(self.measure("call", "kamailio x8", self.kamailio(8, media=True, **full()), "call", rate))
            runs["lb + proxy"].append(self.measure("call", "lb + proxy", self.chain(), "call", rate))
            if not self.quick:
                runs["ngcpd, embedded store"].append(self.measure("call", "ngcpd, embedded store", self.ours("embedded"), "call", rate))
        how = "full call (digest, accounting, media control) at 250/s, CPU of all server processes, database and relay included"
        peer = "Kamailio tlsf, 8 children + MariaDB + rtpengine"
        self.ratio("call.cpu_ratio", runs["ngcpd"], runs["kamailio x8"], how + ", ngcpd on MariaDB", peer)
        self.ratio("call.cpu_ratio_compiled", runs["ngcpd, compiled"], runs["kamailio x8"], how + ", ngcpd compiled, on MariaDB", peer)
        self.ratio(
            "call.cpu_ratio_chain",
            runs["ngcpd"],
            runs["lb + proxy"],
            how + ", ngcpd on MariaDB",
            "Kamailio lb + proxy (tlsf, 1 child each) + MariaDB + rtpengine",
        )
        if not self.quick:
            self.ratio(
                "call.cpu_ratio_embedded", runs["ngcpd, embedded store"], runs["kamailio x8"], how + ", ngcpd on its embedded SQLite store", peer
            )
        self._delay(runs["ngcpd"], runs["kamailio x8"], peer, rate)

    def _delay(self, ours: list[Run | None], theirs: list[Run | None], peer: str, rate: float) -> None:
        direct = self.load.run("plain", f"{CALLEE}:{CALLEE_PORT}", rate, int(rate * 3), delays=True).delay
        a, b = ([r.delay for r in clean(runs) if r.delay is not None] for runs in (ours, theirs))
        if not a or not b or direct is None:
            self.report.add("call.delay_ratio", None, "ratio", "no clean run of one side", peer)
            return
        mine, other = statistics.median(a), statistics.median(b)
        how = f"INVITE to 200, challenge included, p50 at {rate:g}/s less {direct:.1f} ms without a server: ngcpd {mine:.1f} ms, peer {other:.1f} ms"
        if other - direct < 0.5:
            self.report.add("call.delay_ratio", None, "ratio", how + "; the peer's own share is too small to divide by", peer)
        else:
            self.report.add("call.delay_ratio", max(mine - direct, 0.0) / (other - direct), "ratio", how, peer)

    def rate(self) -> None:
        """S7: the highest clean rate."""
        peer = "Kamailio tlsf, 8 children + MariaDB + rtpengine"
        found = {
            "ngcpd": self._ladder("ngcpd", self.ours()),
            "compiled": None if self.quick else self._ladder("ngcpd, compiled", self.ours(compiled=True)),
            peer: self._ladder("kamailio x8", self.kamailio(8, media=True, **full())),
        }
        ours, theirs = found["ngcpd"], found[peer]
        how = "highest clean rate of full calls on one core (steps of 1.4, then halved twice)"
        compiled = found["compiled"]
        if not self.quick:
            self.report.add("call.max_rate_compiled", compiled, "calls/s", f"{how}, ngcpd compiled" if compiled else "no clean run", "none")
        self.report.add("call.max_rate", ours, "calls/s", how if ours else "no clean run", "none")
        ratio = ours / theirs if ours and theirs else None
        self.report.add("call.max_rate_ratio", ratio, "ratio", f"{how}: ngcpd {ours or 0:.0f}/s, peer {theirs or 0:.0f}/s", peer)

    def _ladder(self, who: str, opened: Any) -> float | None:
        best, bad = 0.0, 0.0
        try:
            with opened as (server, groups, settled):
                self.register_callees(server)
                self.load.run("call", server.target, 200, self.subscribers, settled=settled)
                rate, tries = 200.0, 0
                while tries < (3 if self.quick else 8):
                    tries += 1
                    run = self.load.run("call", server.target, rate, int(rate * self.seconds), groups, settled=settled)
                    self.note("rate", who, run)
                    if run.kept_up:
                        best = max(best, rate)
                    else:
                        bad = rate
                        time.sleep(2)
                    if bad and bad - best < 0.1 * bad:
                        break
                    rate = best * 1.4 if not bad else (best + bad) / 2
                    if rate < 50:
                        break
        except Unavailable as error:
            print(f"  rate      {who}: {error}", flush=True)
        return best or None

    def plain(self) -> None:
        """S4, S6: a call without digest and media."""
        low = 100
        runs: dict[str, list[Run | None]] = {name: [] for name in ("ngcpd", "compiled", "kamailio", "ngcpd low", "sippy")}
        trusted = {"caller_ip": TRUSTED, "users": self.trusted_users}
        for rate in (800, 400, 200):  # a lower one when either side is not clean
            runs["kamailio"], runs["ngcpd"], runs["compiled"] = [], [], []
            for _ in range(self.rounds):
                runs["kamailio"].append(self.measure("plain", "kamailio x1, no database", self.kamailio(1), "plain", rate))
                runs["ngcpd"].append(self.measure("plain", "ngcpd", self.ours("embedded"), "plain", rate, **trusted))
                if not (clean(runs["kamailio"]) and clean(runs["ngcpd"])):
                    break  # too much for one side: a lower rate
                if not self.quick:
                    runs["compiled"].append(self.measure("plain", "ngcpd, compiled", self.ours("embedded", True), "plain", rate, **trusted))
            if clean(runs["kamailio"]) and clean(runs["ngcpd"]):
                break
        for _ in range(0 if self.quick else self.rounds):
            runs["sippy"].append(self._sippy(low))
            runs["ngcpd low"].append(self.measure("plain", "ngcpd", self.ours("embedded"), "plain", low, **trusted))
        how = (
            "call of a trusted source, no digest, use_rtpproxy=never; ngcpd is a B2BUA with routing and accounting (embedded store) all the same, "
            "the peer only routes"
        )
        peer = "Kamailio tlsf, 1 child, no database"
        self.ratio("plain.cpu_ratio", runs["ngcpd"], runs["kamailio"], f"{how}; at {rate}/s", peer)
        if not self.quick:
            self.ratio("plain.cpu_ratio_compiled", runs["compiled"], runs["kamailio"], f"{how}; at {rate}/s; ngcpd compiled", peer)
        if not self.quick:
            self.ratio("plain.cpu_ratio_sippy", runs["ngcpd low"], runs["sippy"], f"{how}; at {low}/s", "sippy", repeating=True)

    def _sippy(self, rate: float) -> Run | None:
        try:
            with self.sippy() as (server, groups, _):
                self.load.run("plain", server.target, 50, 100)
                run = self.load.run("plain", server.target, rate, int(rate * self.seconds), groups, delays=True)
        except Unavailable as error:
            print(f"  plain     sippy not measured: {error}", flush=True)
            self._failed.setdefault("sippy", str(error))
            return None
        self.note("plain", "sippy", run)
        return run

    def register(self) -> None:
        """S5: REGISTER with digest."""
        rate = 2000
        words = {"DIGEST": "", "DATABASE": f"{DATABASE}:{DATABASE_PORT}"}
        runs: dict[str, list[Run | None]] = {"ngcpd": [], "compiled": [], "kamailio": []}
        for _ in range(self.rounds):
            runs["kamailio"].append(self.measure("register", "kamailio x1", self.kamailio(1, **words), "register", rate, callees=False))
            runs["ngcpd"].append(self.measure("register", "ngcpd", self.ours(), "register", rate, callees=False))
            runs["compiled"].append(self.measure("register", "ngcpd, compiled", self.ours(compiled=True), "register", rate, callees=False))
        how = (
            f"REGISTER with digest (401, 200) at {rate}/s, {self.subscribers} users, bindings kept (ngcpd: journal and database; the peer: in memory)"
        )
        peer = "Kamailio tlsf, 1 child + MariaDB for credentials"
        self.ratio("register.cpu_ratio", runs["ngcpd"], runs["kamailio"], how, peer)
        self.ratio("register.cpu_ratio_compiled", runs["compiled"], runs["kamailio"], f"{how}; ngcpd compiled", peer)

    def lateness(self) -> None:
        """S8: how late the reactor's timers are at 1,000 calls/s; also at 250."""
        if not self.quick:
            self._lateness(250, "call.timer_lateness_p99_ms_at_250")
        self._lateness(1000, "call.timer_lateness_p99_ms")

    def _lateness(self, rate: int, name: str) -> None:
        path = self.directory / "probe.json"
        server = self.ngcpd("mariadb")
        server.start("-m", "bench.probe", NGCPD_BENCH_PROBE=str(path))
        try:
            self.register_callees(server)
            self.load.run("call", server.target, 200, self.subscribers, settled=server.written)
            assert server.process is not None
            server.process.send_signal(signal.SIGUSR1)
            run = self.load.run("call", server.target, rate, int(rate * self.seconds), self.groups(server, database=True))
            server.stop()
            late = json.loads(path.read_text())
        finally:
            server.stop()
        self.note("lateness", "ngcpd", run)
        if not late:
            self.report.add(name, None, "ms", "no timer fired", "none")
            return
        p50, p99 = (late[int(len(late) * part)] * 1000 for part in (0.5, 0.99))
        state = "clean" if run.kept_up else f"NOT clean: {run.real_rate:.0f}/s reached, {run.failed} failed, {run.repeated} repeated"
        self.report.add(
            name, p99, "ms", f"timers of the reactor at {rate} full calls/s ({state}), p50 {p50:.1f} ms, max {late[-1] * 1000:.0f} ms", "none"
        )

    def cdr(self) -> None:
        """D1: accounting rows and CDRs in MariaDB."""
        count = 4000 if self.quick else 20_000
        place = self.directory / "cdr-journal"
        place.mkdir()
        command = [PYTHON, "-m", "bench.cdr", self.database.create("cdr"), str(self.database.pid), str(count), str(place)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=200, preexec_fn=pinned(0))
        if not done.stdout.strip().startswith("{") and "{" not in done.stdout:
            raise Unavailable("bench.cdr failed: " + done.stderr[-400:])
        found = json.loads(done.stdout[done.stdout.index("{") :])
        ours, theirs = found["ours_us"] + found["ours_server_us"], found["single_us"] + found["single_server_us"]
        how = (
            f"client and server CPU for a call's two accounting rows and CDR: journal, acc, mediation, cdr, acc_backup {ours:.0f} us "
            f"({found['ours_us']:.0f} + {found['ours_server_us']:.0f}) against the same rows with one commit each {theirs:.0f} us, {count} calls"
        )
        self.report.add("cdr.cpu_ratio", ours / theirs, "ratio", how, "one row per commit, pymysql")
        self.report.add(
            "cdr.rows_per_second",
            found["cdrs_per_second"],
            "CDRs/s",
            "durable CDRs from the first event to the last CDR, client and server on one core",
            "none",
        )

    def memory(self) -> None:
        small.memory(self)

    def start(self) -> None:
        small.start(self)

    def provision(self) -> None:
        provisioning.provision(self)


CASES = ("call", "plain", "register", "rate", "lateness", "cdr", "memory", "start", "provision")


def up_to_date() -> None:
    """Unavailable when build/compiled is not what the sources are."""
    done = subprocess.run([PYTHON, str(ROOT / "scripts" / "compile.py"), "--check"], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise Unavailable(done.stdout.strip() or done.stderr[-200:])


def clean(runs: list[Run | None]) -> list[Run]:
    return [run for run in runs if run is not None and run.clean]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description="Measures ngcpd and its peers in one run.")
    parser.add_argument("--quick", action="store_true", help="one round, short runs, at most five minutes")
    parser.add_argument("--only", default=",".join(CASES), help="comma list of " + ", ".join(CASES))
    parser.add_argument("--out", type=Path, default=HERE / "results", help="where latest.json and latest.svg go")
    options = parser.parse_args()
    wanted = options.only.split(",")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = Report(machine(), versions())
    processes = Processes()
    begun, stolen = time.monotonic(), stolen_seconds()
    with workplace() as directory:
        try:
            bench = Bench(processes, directory, report, options.quick)
            for case in CASES:
                if case not in wanted:
                    continue
                print(f"{case}:", flush=True)
                try:
                    getattr(bench, case)()
                except (Unavailable, OSError, pymysql.err.MySQLError, subprocess.SubprocessError) as error:
                    print(f"  {case} not measured: {error}", flush=True)
                    report.runs.append({"bench": case, "not_measured": str(error)})
        finally:
            processes.close()
    seconds = time.monotonic() - begun
    report.machine |= {"seconds": round(seconds), "stolen_share": round((stolen_seconds() - stolen) / seconds, 4), "quick": options.quick}
    report.write(options.out)
    print("\n" + report.table())
    print(f"\n{seconds:.0f} s; written to {options.out}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

"""SIPp as caller and callee on the load core, and what one run of it showed."""

from __future__ import annotations

import csv
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.host import CALLEE, CALLER, HERE, LOAD_CORE, Processes, Unavailable, tree_seconds, until

SCENARIOS = HERE / "sipp"
CALLEE_PORT, CALLER_PORT = 7070, 6060
MAX_FAILED, MAX_REPEATED, MIN_RATE = 0.001, 0.01, 0.95
"""The clean-run rule: failed calls, retransmissions per call, rate really reached against the one that was asked for."""
LAST_CALL = 1.0
"""Seconds that starting SIPp and the last call take beyond the time in which calls begin."""


@dataclass
class Run:
    """What one run showed. `cpu` is CPU-seconds per 1000 calls by group of processes."""

    rate: float
    calls: int
    good: int
    failed: int
    repeated: int
    seconds: float
    cpu: dict[str, float] = field(default_factory=dict)
    delays: list[float] = field(default_factory=list)
    unexpected: str = ""

    @property
    def real_rate(self) -> float:
        return self.calls / self.seconds if self.seconds else 0.0

    @property
    def total(self) -> float:
        """CPU-seconds of all groups per 1000 calls."""
        return sum(self.cpu.values())

    @property
    def clean(self) -> bool:
        calls = max(self.good + self.failed, 1)
        return self.failed < MAX_FAILED * calls and self.repeated < MAX_REPEATED * calls and self.good > 0

    @property
    def kept_up(self) -> bool:
        """Clean, and at the rate that was asked for."""
        return self.clean and self.calls / max(self.seconds - LAST_CALL, 0.1) >= MIN_RATE * self.rate

    @property
    def delay(self) -> float | None:
        """Median of the response time, ms."""
        return statistics.median(self.delays) if self.delays else None

    def __str__(self) -> str:
        parts = " ".join(f"{name} {value:.3f}" for name, value in self.cpu.items())
        delay = f" p50 {self.delay:.1f} ms" if self.delay is not None else ""
        state = "clean" if self.clean else "NOT CLEAN"
        return f"{self.real_rate:6.0f}/s {state} failed {self.failed} repeated {self.repeated} cpu/1000 {self.total:.3f} ({parts}){delay}"


class Load:
    """Runs of SIPp against `target` in a directory of its own."""

    def __init__(self, processes: Processes, directory: Path, users: Path) -> None:
        if shutil.which("sipp") is None:
            raise Unavailable("sipp is not installed")
        self.processes = processes
        self.directory = directory
        self.users = users
        self._count = 0

    def _command(self, scenario: str, ip: str, port: int, media: int) -> list[str]:
        return [
            *("sipp", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", ip, "-mi", ip, "-p", str(port), "-mp", str(media), "-nostdin"),
            *("-buff_size", "4000000", "-max_recv_loops", "1000", "-watchdog_minor_threshold", "3000", "-watchdog_major_threshold", "9000"),
            *("-trace_stat", "-fd", "1"),
        ]

    def run(
        self,
        scenario: str,
        target: str,
        rate: float,
        calls: int,
        groups: Mapping[str, int] | None = None,
        *,
        callee: str = "callee",
        caller_ip: str = CALLER,
        caller_port: int = CALLER_PORT,
        users: Path | None = None,
        settled: Callable[[], object] | None = None,
        during: Callable[[], object] | None = None,
        timeout: float = 60.0,
        delays: bool = False,
        keys: Mapping[str, str] | None = None,
    ) -> Run:
        """`calls` of a scenario at `rate` per second. `groups`: process groups to be counted, by their topmost process. `settled` returns when
        the servers have also finished what they do after the calls; only then CPU is read. `during` runs while the calls do."""
        self._count += 1
        place = self.directory / f"load{self._count}-{scenario}"
        place.mkdir()
        other = None
        if callee:
            (place / "uas").mkdir()
            command = [*self._command(callee, CALLEE, CALLEE_PORT, 40_000), "-stf", "stat.csv"]
            other = self.processes.start(command, place / "uas" / "screen", LOAD_CORE, cwd=place / "uas", env=_environment())
            until(lambda: _bound(CALLEE, CALLEE_PORT) or other.poll() is not None, 10, "SIPp callee")
        command = [*self._command(scenario, caller_ip, caller_port, 30_000), "-inf", str(users or self.users), "-r", f"{rate:g}", "-m", str(calls)]
        command += ["-l", "100000", "-stf", "stat.csv", "-timeout", f"{timeout:.0f}s", *(["-trace_rtt", "-rtt_freq", "20"] if delays else [])]
        for name, value in (keys or {}).items():
            command += ["-key", name, value]
        before = {name: tree_seconds(pid) for name, pid in (groups or {}).items()}
        begun = time.monotonic()
        process = self.processes.start([*command, target], place / "screen", LOAD_CORE, cwd=place, env=_environment())
        try:
            if during is not None:
                during()
            try:
                process.wait(timeout + 15)
            except subprocess.TimeoutExpired:
                pass
            seconds = time.monotonic() - begun
            if settled is not None:
                settled()
            after = {name: tree_seconds(pid) for name, pid in (groups or {}).items()}
        finally:
            self.processes.end(process, 2.0)
            if other is not None:
                self.processes.end(other, 2.0)
        run = _result(place, rate, seconds)
        if delays:
            run.delays = _delays(place)
        run.cpu = {name: (after[name] - before[name]) / max(run.good, 1) * 1000 for name in before}
        shutil.rmtree(place, ignore_errors=True)
        return run


def _environment() -> dict[str, str]:
    return {**os.environ, "TERM": "dumb"}


def _result(place: Path, rate: float, seconds: float) -> Run:
    try:
        with open(place / "stat.csv") as file:
            rows = list(csv.reader(file, delimiter=";"))
        last = dict(zip(rows[0], rows[-1], strict=False))
        good, failed = int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"])
        return Run(rate, good + failed, good, failed + int(last["CurrentCall"]), int(last["Retransmissions(C)"]), seconds)
    except (OSError, IndexError, KeyError, ValueError):
        words = " ".join((place / "screen").read_text(errors="replace").split())[-300:] if (place / "screen").exists() else ""
        return Run(rate, 0, 0, 1, 0, seconds, unexpected=f"SIPp left no statistics: {words}")


def _delays(place: Path) -> list[float]:
    found: list[float] = []
    for path in place.glob("*_rtt.csv"):
        for line in path.read_text().splitlines():
            words = line.split(";")
            if len(words) >= 2 and words[1].replace(".", "", 1).isdigit():
                found.append(float(words[1]))
    return found


def _bound(ip: str, port: int) -> bool:
    packed = "".join(f"{int(part):02X}" for part in reversed(ip.split(".")))
    return f" {packed}:{port:04X} " in Path("/proc/net/udp").read_text()

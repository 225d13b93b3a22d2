"""`python -m bench.profile [--rate N] [--seconds N]`: where the signalling process spends its time under full calls; results/profile.txt.

Two views. The sampled one is the running daemon with its threads, seen 200 times a second from outside by py-spy (a thread that waits for the
interpreter or for another process of the same core counts as working, so system calls look longer than they are). The counted one is the
signalling core without I/O under cProfile (`bench.core`), which makes small functions look dearer than they are.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from bench.host import BENCH_VENV, CALLEE, HERE, PYTHON, ROOT, Processes, Unavailable, machine, workplace
from bench.load import CALLEE_PORT, Load
from bench.ngcpd import Ngcpd
from bench.peers import MariaDb, write_users

TOP = 40
USERS = 1000


def sampled(raw: Path) -> str:
    """Tables of a file of py-spy's format `raw`: share of samples by thread, by function itself, by function with what it calls."""
    threads: Counter[str] = Counter()
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    total = 0
    for line in raw.read_text(errors="replace").splitlines():
        stack, _, count = line.rpartition(" ")
        if not count.isdigit():
            continue
        frames = [re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";")]
        n = int(count)
        total += n
        threads[re.sub(r"^thread \(\d+\):? ?", "", frames[0]) or frames[0]] += n
        own[frames[-1]] += n
        for frame in set(frames[1:]):
            whole[frame] += n
    if not total:
        return "no samples\n"

    def table(title: str, found: Counter[str], top: int = TOP) -> str:
        return title + "\n" + "".join(f"{100 * n / total:6.1f} %  {name}\n" for name, n in found.most_common(top)) + "\n"

    return table("By thread", threads, 12) + table("Itself", own) + table("With what it calls", whole, 2 * TOP)


def record(rate: float, seconds: float, place: Path) -> str:
    """The running daemon under `rate` full calls per second."""
    spy = BENCH_VENV / "bin" / "py-spy"
    if not spy.exists():
        raise Unavailable("py-spy is not installed")
    processes = Processes()
    try:
        load = Load(processes, place, write_users(place / "users.csv", USERS))
        database = MariaDb(processes, place)
        server = Ngcpd(processes, place, database=database.create("ngcpd"))
        server.make(USERS)
        server.start()
        load.run("register_callee", server.target, 300, USERS, callee="", caller_ip=CALLEE, caller_port=CALLEE_PORT)
        load.run("call", server.target, min(rate, 200), USERS, settled=server.written)
        raw = place / "raw"
        command = [str(spy), "record", "--nonblocking", "-p", str(server.pid), "-d", str(int(seconds)), "-r", "200", "-f", "raw", "-F", "-t"]
        process = processes.start([*command, "-o", str(raw)], place / "py-spy.log", 1)
        before = server.parts()
        run = load.run("call", server.target, rate, int(rate * (seconds + 1)), {**server.groups, "mariadb": database.pid}, settled=server.written)
        after = server.parts()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        parts = ", ".join(f"{name} {(after[name] - before[name]) / max(run.good, 1) * 1000:.2f}" for name in before)
        server.stop()
        return f"{rate:g} full calls/s on MariaDB: {run}\nms of CPU per call: {parts}\n\n{sampled(raw)}"
    finally:
        processes.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.profile")
    parser.add_argument("--rate", type=float, default=250)
    parser.add_argument("--seconds", type=float, default=12)
    options = parser.parse_args()
    with workplace() as place:
        try:
            first = record(options.rate, options.seconds, place)
        except Unavailable as error:
            first = f"not sampled: {error}\n"
    done = subprocess.run([PYTHON, "-m", "bench.core", "call", "1500", "--profile"], capture_output=True, text=True, cwd=ROOT)
    text = f"{machine()}\n\n== The running daemon, sampled\n\n{first}\n== The core without I/O, counted\n\n{done.stdout}"
    path = HERE / "results" / "profile.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    sys.stdout.write(first[:3000] + f"\nwritten to {path}\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

"""The machine under a bench: which core does what, what processes cost in CPU and memory, private directories, addresses."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "bench"
PYTHON = str(ROOT / ".venv" / "bin" / "python")
BENCH_VENV = ROOT / "build" / "bench-venv"
COMPILED = ROOT / "build" / "compiled"
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SERVER_CORE = 0
LOAD_CORE = min(1, (os.cpu_count() or 1) - 1)
NETWORK = "127.77.0"
FILES = 200_000
PRIORITY = -10


def address(n: int) -> str:
    """An address of the bench's own loopback network."""
    return f"{NETWORK}.{n}"


# What has which address. All servers use port 5060 or the port named with them.
NGCPD, KAMAILIO, BALANCER, PROXY, SIPPY, RTPENGINE, DATABASE = (address(n) for n in range(1, 8))
CALLER, CALLEE, TRUSTED = (address(n) for n in range(10, 13))
DATABASE_PORT = 3377
CONTROL_PORT = 2277  # rtpengine's ng protocol


class Unavailable(Exception):
    """A peer cannot be run here; the text says why."""


# ---------------------------------------------------------------------------------------------------------------- processes
def descendants(pid: int) -> list[int]:
    """The process and all that live below it."""
    found, todo = [pid], [pid]
    while todo:
        one = todo.pop()
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{one}/task"):
                with contextlib.suppress(OSError):
                    below = [int(word) for word in Path(f"/proc/{one}/task/{task}/children").read_text().split()]
                    found += below
                    todo += below
    return found


def cpu_seconds(pid: int) -> float:
    """utime + stime of a process and of its children that ended and were waited for. 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return sum(int(fields[n]) for n in (11, 12, 13, 14)) / TICK


def tree_seconds(pid: int) -> float:
    """`cpu_seconds` of a process and all below it."""
    return sum(cpu_seconds(one) for one in descendants(pid))


def resident_bytes(pids: Iterable[int]) -> int:
    """Anonymous resident memory: what the processes have of their own, without files they map."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1]) * 1024
    return total


def whole_resident_bytes(pids: Iterable[int]) -> int:
    """All resident memory, what several processes share counted in each of them."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE for pid in pids)


def pinned(core: int) -> Callable[[], None]:
    """For `preexec_fn`: this core only, before the machine's other programs, many files, and dead when the harness dies."""

    def prepare() -> None:
        os.sched_setaffinity(0, {core})
        with contextlib.suppress(OSError):  # not root: other programs of the machine disturb more
            os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
        _die_with_parent()

    return prepare


def _die_with_parent() -> None:
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


class Processes:
    """All that a bench has started; `close` ends what still runs."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, command: Sequence[str], log: Path, core: int = SERVER_CORE, **options: object) -> subprocess.Popen[bytes]:
        """Start a program on a core, its output appended to `log`."""
        with open(log, "ab") as out:
            process = subprocess.Popen(  # type: ignore[call-overload]
                list(command), stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=pinned(core), **options
            )
        self._running.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes], seconds: float = 10.0, number: int = signal.SIGTERM) -> None:
        """Stop a program, with force when it does not obey."""
        below = descendants(process.pid)[1:]
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if process in self._running:
            self._running.remove(process)

    def close(self) -> None:
        for process in list(reversed(self._running)):
            self.end(process, 5.0)


def until(what: Callable[[], object], seconds: float, why: str) -> None:
    """Wait until something is so. Unavailable when it is not in time."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise Unavailable(f"{why} (waited {seconds:.0f} s)")
        time.sleep(0.02)


def tail(path: Path, length: int = 600) -> str:
    """The end of a log, on one line."""
    try:
        return " ".join(path.read_text(errors="replace").split())[-length:]
    except OSError:
        return ""


# -------------------------------------------------------------------------------------------------------------- the machine
@contextlib.contextmanager
def workplace():  # type: ignore[no-untyped-def]
    """A private directory that servers under other users may enter."""
    made = Path(tempfile.mkdtemp(prefix="bench-ngcpd-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_mb": memory,
        "kernel": platform.release(),
        "system": _first_line(["sh", "-c", ". /etc/os-release; echo $PRETTY_NAME"]),
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "load_before": round(os.getloadavg()[0], 2),
    }


def stolen_seconds() -> float:
    """Time that the host of a virtual machine took from all cores, since boot."""
    return int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[8]) / TICK


def foreign_load(own: Iterable[int]) -> float:
    """CPU seconds, since their start, of everything that does not belong to this bench; the difference of two calls tells how noisy it was."""
    mine: set[int] = set()
    for pid in [os.getpid(), *own]:
        mine.update(descendants(pid))
    return sum(cpu_seconds(int(name)) for name in os.listdir("/proc") if name.isdigit() and int(name) not in mine)


def _first_line(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(list(command), capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout or done.stderr).strip().split("\n")[0].strip()


def _revision() -> str:
    """The commit that is measured, with "-dirty" when files differ from it."""
    found = _first_line(["git", "-C", str(ROOT), "describe", "--always", "--dirty"])
    return "not in a repository" if found.startswith("fatal") else found


def versions() -> dict[str, str]:
    """Who took part."""
    pip = "import importlib.metadata as m; print(m.version('{}'))"
    return {
        "ngcpd": _revision(),
        "python": _first_line([PYTHON, "-VV"]),
        "twisted": _first_line([PYTHON, "-c", pip.format("twisted")]),
        "kamailio": _first_line(["kamailio", "-v"]),
        "rtpengine": _first_line(["rtpengine", "--version"]),
        "mariadb": _first_line(["mariadbd", "--version"]),
        "sipp": _first_line(["sh", "-c", "sipp -v | grep -m1 v[0-9]"]),
        "sippy": _first_line([str(BENCH_VENV / "bin" / "python"), "-c", pip.format("sippy")]),
    }

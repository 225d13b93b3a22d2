"""The starter as a process: exit status and words for each way it can end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.config.room import NETWORK, Room

TOP = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def environ(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NGCPD_")}
    return {**kept, "PYTHONPATH": str(TOP), **more}


def run(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=TOP, env=environ(**more), capture_output=True, text=True, timeout=30, check=False)


def ngcpd(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
    return run("-m", "ngcpd.cli.ngcpd", *args, **more)


def fake(room: Room, mode: str = "") -> subprocess.CompletedProcess[str]:
    return run("-m", "tests.cli.fakedaemon", "--config-dir", str(room.path), NGCPD_FAKE=mode)


# ---------------------------------------------------------------------------------------------------- before anything starts
def test_broken_yaml(room: Room) -> None:
    room.write("config.yml", "a: [\n")
    done = ngcpd("--config-dir", str(room.path))
    assert (done.returncode, done.stdout) == (78, "")
    first, last = done.stderr.splitlines()
    assert first.startswith(f"{room.path}/config.yml:2:1: invalid file syntax: ")
    assert last == "ngcpd: the configuration has 1 problem; nothing was started"
    assert not (room.path.parent / "var").exists()


def test_a_wrong_value_and_an_unknown_node(room: Room) -> None:
    room.write("config.yml", "kamailio: {lb: {port: 0}}\n")
    room.write("network.yml", NETWORK.replace("self:", "sp1:").replace("eth0: {", "eth0: {hwaddr: '00:16:3e:00:00:01', "))
    done = ngcpd("-c", str(room.path), NGCPD_NODE="sp2")
    assert done.returncode == 78
    assert "kamailio.lb.port: 0 is out of range" in done.stderr
    assert "this node is not among the hosts: NGCPD_NODE is sp2, known are sp1" in done.stderr
    assert "the configuration has 2 problems" in done.stderr


def test_no_configuration_directory() -> None:
    done = ngcpd("--config-dir", "/nowhere/at/all")
    assert done.returncode == 78 and "/nowhere/at/all: the configuration directory does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_version_help_and_wrong_usage(room: Room) -> None:
    done = ngcpd("--check", "--config-dir", str(room.path))
    assert done.returncode == 0 and "the configuration is good; this is node self" in done.stdout and done.stderr == ""
    room.write("config.yml", "porst: 1\n")
    assert "unknown key porst" in ngcpd("--check", "--config-dir", str(room.path)).stderr
    room.write("constants.yml", "- a\n")
    assert ngcpd("--check", "--config-dir", str(room.path)).returncode == 78
    assert ngcpd("--version").stdout.startswith("ngcpd 0.")
    done = ngcpd("--help")
    assert done.returncode == 0 and "NGCPD_LISTEN" in done.stdout and "78" in done.stdout
    assert ngcpd("--nonsense").returncode == 2


# ------------------------------------------------------------------------------------------------------------------ twistd
def twistd(*args: str) -> subprocess.CompletedProcess[str]:
    return run(str(BIN / "twistd"), "-n", "--pidfile=", *args)


def test_another_reactor_is_refused(room: Room) -> None:
    done = twistd("--reactor=epoll", "ngcpd", "--config-dir", str(room.path))
    assert done.returncode == 78
    assert "ngcpd: the reactor is EPollReactor; start with the option --reactor=asyncio, or with the command ngcpd\n" in done.stderr
    assert "Traceback" not in done.stderr and not (room.path.parent / "var").exists()


def test_twistd_with_a_wrong_configuration(room: Room) -> None:
    room.write("config.yml", "a: [\n")
    done = twistd("--reactor=asyncio", "ngcpd", "--config-dir", str(room.path))
    assert done.returncode == 78 and "config.yml:2:1: invalid file syntax" in done.stderr and "Traceback" not in done.stderr


def test_twistd_knows_the_service() -> None:
    assert "ngcpd" in twistd("--help").stdout


# ------------------------------------------------------------------------------------------------------- start-up failures
@pytest.mark.parametrize(
    ("mode", "status", "words", "printed"),
    [
        ("port", 1, ["ngcpd: cannot start: [Errno 98] Address already in use: 'udp:127.0.0.1:5060'"], ["bound"]),
        ("secrets", 78, ["/x/secrets.yml: can be read by others", "ngcpd: the configuration has 1 problem; nothing was started"], ["bound"]),
        ("start", 1, ["ngcpd: another daemon with pid 5 uses this store"], []),
        ("late", 1, ["ngcpd: the database cannot be reached; start it"], ["bound", "started", "stopped"]),
        ("later", 1, ["ngcpd: the database cannot be reached"], ["bound", "started", "stopped"]),
    ],
)
def test_start_up_failures(room: Room, mode: str, status: int, words: list[str], printed: list[str]) -> None:
    done = fake(room, mode)
    assert done.returncode == status
    assert done.stderr.splitlines() == words
    assert [line.split()[0] for line in done.stdout.splitlines()] == printed


def test_an_unexpected_failure_is_told_without_a_traceback(room: Room) -> None:
    done = fake(room, "bug")
    assert done.returncode == 1
    logged, told = done.stderr.splitlines()
    assert told == "ngcpd: cannot start: ZeroDivisionError: division by zero"
    assert 'error start "start failed"' in logged and "fakedaemon.py:" in logged


# --------------------------------------------------------------------------------------------------------------- a running one
def start(room: Room, mode: str = "", stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.fakedaemon", "--config-dir", str(room.path)],
        cwd=TOP,
        env=environ(NGCPD_FAKE=mode),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=stdin,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "bound\n"
    return child


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_stop_it_cleanly(room: Room, number: signal.Signals) -> None:
    terminal, inside = os.openpty()  # that it hangs up stops the daemon only if somebody sits in front of it
    child = start(room, "event", inside)
    os.close(inside)
    assert child.stdout is not None
    assert child.stdout.readline() == "started self reactor=AsyncioSelectorReactor umask=077 files=all\n"
    # the reactor runs, and so the handlers are there, when the first event has come
    assert child.stdout.readline() == "still here\n"
    child.send_signal(number)
    child.send_signal(number)
    out, err = child.communicate(timeout=10)
    os.close(terminal)
    assert (child.returncode, out) == (0, "stopped\n")
    (line,) = err.splitlines()
    assert 'error twisted "unhandled failure"' in line and "kind=ZeroDivisionError" in line and "fakedaemon.py:" in line


def test_hanging_up_without_a_terminal_does_not_stop_it(room: Room) -> None:
    """SIGHUP of a service manager asks for a reload; before the daemon serves there is nothing to reload."""
    child = start(room, "event")
    assert child.stdout is not None
    assert child.stdout.readline().startswith("started")
    assert child.stdout.readline() == "still here\n"
    child.send_signal(signal.SIGHUP)
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate(timeout=10)
    assert (child.returncode, out) == (0, "stopped\n")


def test_the_limit_of_open_files_is_raised(room: Room) -> None:
    limited = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (256, 1024))\n"
    done = run("-c", limited + "from ngcpd.cli.ngcpd import raise_file_limit as f; f(); print(r.getrlimit(r.RLIMIT_NOFILE))")
    assert done.stdout == "(1024, 1024)\n"

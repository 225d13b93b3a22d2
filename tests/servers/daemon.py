"""The real daemon as a process, with a configuration, a state directory and addresses of its own.

    def test_x(daemon):                    # one on SQLite for the whole run
        daemon.add(1002)                   # testuser1002@spce.test, number 43 1 1002
        daemon.control("status")

    made = DaemonProcess(tmp_path, {"kamailio": {...}})    # for tests that stop, kill and start it
    made.start(); made.stop()

Every daemon has a loopback address of its own (`ip`, SIP port 5060) and further ones for its phones (`address(n)`), so that no two of them
and no daemon of the machine meet. `stop` asserts that nothing is left behind and that the log has neither failures nor secrets.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ngcpd.store.engine import make_engine

ROOT = Path(__file__).resolve().parent.parent.parent
ETC = ROOT / "etc"
DOMAIN = "spce.test"
START_SECONDS = 60.0
STOP_SECONDS = 5.0
SETTLE_SECONDS = 20.0
IDLE = (
    *("sip.invite_server", "sip.server", "sip.invite_client", "sip.client", "sip.connecting", "sip.dns_waiting", "sip.errors"),
    *("calls.calls", "media.sessions", "media.ports_used", "journal.acc_backlog", "journal.binding_backlog"),
)
"""Counters that are zero when nothing goes on."""
_count = itertools.count()
Tree = dict[str, Any]


def until(what: Callable[[], Any], seconds: float, why: Callable[[], str] | str = "") -> Any:
    """Ask until the answer is true; it is returned. AssertionError with `why` when it is not within `seconds`."""
    end = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {why() if callable(why) else why or what}")
        time.sleep(0.02)


def password(n: int) -> str:
    """The SIP password of testuserN."""
    return f"Pw{n * 7919 % 100_000:05d}.q"


def merged(base: Tree, over: Tree) -> Tree:
    """Both trees, the second one winning."""
    out = dict(base)
    for key, value in over.items():
        out[key] = merged(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def free_network() -> str:
    """The first three bytes of a loopback network that nobody has SIP on."""
    while True:
        n = next(_count)
        found = f"127.{100 + os.getpid() % 100}.{os.getpid() // 100 % 200 + n % 50}"
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            try:
                udp.bind((f"{found}.1", 5060))
                tcp.bind((f"{found}.1", 5060))
            except OSError:
                continue
            return found


def free_port() -> int:
    """A port that is free on ::1, like the one after it; not one that the system gives to clients or the relay takes."""
    for port in range(20_000 + os.getpid() % 400 * 20, 30_000, 2):
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp, socket.socket(socket.AF_INET6) as tcp, socket.socket(socket.AF_INET6) as tls:
            try:
                udp.bind(("::1", port))
                tcp.bind(("::1", port))
                tls.bind(("::1", port + 1))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port on ::1")


def children(pid: int) -> list[int]:
    """Processes that a process has started and that live."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def alive(pid: int) -> bool:
    """True unless the process is gone or only waits to be asked for its status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Refused(Exception):
    """The daemon answered a control command with an error; `code` as in `ngcpd.ops.control`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


# What is not the subject of a test is quick: a transaction is over after 6.4 s at the latest, an unanswered call after 4 s.
QUICK: Tree = {
    "kamailio": {
        "lb": {"security": {"dos_ban_enable": "no", "failed_auth_ban_enable": "no"}},
        "proxy": {"tm": {"fr_timer": 3000, "fr_inv_timer": 4000}},
    },
    "ngcpd": {"sip": {"t1": 100, "t2": 400, "t4": 500, "linger": 500}},
}


class DaemonProcess:
    """One node. `local` is config.local.yml, `ngcpd` goes into that section of constants.yml (database, redis)."""

    def __init__(
        self,
        directory: Path,
        local: Tree | None = None,
        *,
        ngcpd: Tree | None = None,
        ipv6: bool = False,
        node: str = "self",
        hosts: dict[str, str] | None = None,
        network: str = "",
        command: tuple[str, ...] = ("-m", "ngcpd.cli.ngcpd"),
    ) -> None:
        self.directory = directory
        self.etc = directory / "etc"
        self.state = directory / "var"
        self.log_path = directory / "log"
        self.node = node
        self.network = network or free_network()
        self.hosts = hosts or {node: f"{self.network}.1"}
        self.ip = self.hosts[node]
        self.port = free_port() if ipv6 else 5060
        self.command = command
        self.database_url: str = (ngcpd or {}).get("database", {}).get("url", f"sqlite:///{self.state / 'ngcpd.db'}")
        self.process: subprocess.Popen[bytes] | None = None
        self.ready_after = 0.0
        self.allowed_errors: tuple[str, ...] = ()
        self._secrets: set[str] = set()
        self._seen = 0
        shutil.copytree(ETC, self.etc)
        # Several daemons may be on ::1 at a time, so their web sites need ports of their own there, too.
        web: Tree = {"www_admin": {"http_admin": {"port": self.port + 10_000}}} if ipv6 else {}
        self.local = merged(merged(QUICK, {"kamailio": {"lb": {"port": self.port, "tls": {"port": self.port + 1}}}, **web}), local or {})
        (self.etc / "config.local.yml").write_text(json.dumps(self.local, indent=1))  # JSON is YAML
        if ngcpd:
            constants = (self.etc / "constants.yml").read_text()
            (self.etc / "constants.yml").write_text(re.sub(r"(?m)^(  state_dir: .*)$", lambda m: f"{m[1]}\n{_inside(ngcpd)}", constants))
        (self.etc / "network.yml").write_text(json.dumps({"hosts": {name: _host(ip, ipv6) for name, ip in self.hosts.items()}}, indent=1))

    def address(self, n: int) -> str:
        """An address for a phone, n from 2 to 250."""
        return f"{self.network}.{n}"

    @property
    def target(self) -> str:
        return f"{self.ip}:{self.port}"

    # ------------------------------------------------------------------------------------------------------ the process
    def environ(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("NGCPD_")}
        return {**kept, "NGCPD_NODE": self.node, "PYTHONPATH": str(ROOT), **more}

    def start(self) -> DaemonProcess:
        """Start it and wait until it serves."""
        assert self.process is None
        begun = time.monotonic()
        inside, outside = os.pipe()
        try:
            with open(self.log_path, "ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, *self.command, "--config-dir", str(self.etc)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(outside,),
                    env=self.environ(NGCPD_READY_FD=str(outside)),
                    cwd=self.directory,
                )
            os.close(outside)
            outside = -1
            readable, _, _ = select.select([inside], [], [], START_SECONDS)
            word = os.read(inside, 100) if readable else b""
        finally:
            os.close(inside)
            if outside >= 0:
                os.close(outside)
        if word != b"ready\n":
            self.kill()
            raise AssertionError(f"the daemon did not start ({word!r}):\n{self.log}")
        self.ready_after = time.monotonic() - begun
        return self

    def fails(self, seconds: float = START_SECONDS, **environ: str) -> tuple[int, str]:
        """Start it and expect that it ends by itself: exit status and what it said."""
        done = subprocess.run(
            [sys.executable, *self.command, "--config-dir", str(self.etc)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environ(**environ),
            cwd=self.directory,
            timeout=seconds,
        )
        return done.returncode, done.stdout.decode()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def send_signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Exit status of a process that is on its way out."""
        assert self.process is not None
        status = self.process.wait(seconds)
        self.process = None
        return status

    def stop(self, number: int = signal.SIGTERM, *, settle: bool = True) -> float:
        """End it in good order: idle before, exit status 0, no child left, a clean log. Seconds it took."""
        assert self.process is not None, "it does not run"
        try:
            if settle:
                self.settle()
            helpers = children(self.pid)
            begun = time.monotonic()
            self.send_signal(number)
            status = self.wait()
            took = time.monotonic() - begun
            assert status == 0, f"exit status {status}:\n{self.log}"
            assert not [pid for pid in helpers if alive(pid)], "a child process was left"
        finally:
            self.kill()
        self.check_log()
        return took

    def kill(self) -> None:
        """Gone without a word, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    # ------------------------------------------------------------------------------------------------------------- log
    @property
    def log(self) -> str:
        try:
            return self.log_path.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def lines(self, *words: str) -> list[str]:
        """Log lines that have all these words."""
        return [line for line in self.log.splitlines() if all(word in line for word in words)]

    def check_log(self) -> None:
        """No failure that nobody handled, no line of level error but those allowed, no password and no hash of one."""
        text = self.log
        assert "Traceback" not in text and "unhandled" not in text.lower(), text
        bad = [line for line in text.splitlines() if re.match(r"\S+ error ", line) and not any(word in line for word in self.allowed_errors)]
        assert not bad, bad
        assert not [secret for secret in self._secrets if secret in text], "a secret stands in the log"

    # ---------------------------------------------------------------------------------------------------------- control
    def control(self, cmd: str, *, timeout: float = 20.0, **args: Any) -> Any:
        """The result of a command on the control socket. Raises Refused."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(timeout)
            s.connect(str(self.state / "ngcpd.ctl"))
            s.sendall(json.dumps({"id": 1, "cmd": cmd, "args": args}).encode() + b"\n")
            data = b""
            while not data.endswith(b"\n"):
                part = s.recv(65536)
                assert part, f"the daemon hung up during {cmd}"
                data += part
        reply = json.loads(data)
        if not reply["ok"]:
            raise Refused(reply["code"], reply["error"])
        return reply["result"]

    def counters(self) -> dict[str, int]:
        return self.control("status")["counters"]

    def busy(self) -> dict[str, int]:
        """The counters of `IDLE` that are not zero."""
        found = self.counters()
        return {name: found[name] for name in IDLE if found[name]}

    def settle(self, seconds: float = SETTLE_SECONDS) -> None:
        """Wait until nothing goes on: no transaction, call, media port."""
        until(lambda: not self.busy(), seconds, lambda: f"{self.busy()}\n{self.log[-3000:]}")

    def cdrs(self) -> list[dict[str, Any]]:
        """All CDRs, oldest first."""
        return self.control("cdrs", last=10_000)

    def new_cdrs(self, n: int, seconds: float = 15.0) -> list[dict[str, Any]]:
        """The CDRs that came since this was asked last, oldest first; waits until there are `n`, fails when there are more."""

        def found() -> list[dict[str, Any]]:
            return [row for row in self.cdrs() if row["id"] > self._seen]

        until(lambda: len(found()) >= n, seconds, lambda: f"{n} CDRs, there are {found()}\n{self.log[-3000:]}")
        rows = found()
        self._seen = max((row["id"] for row in rows), default=self._seen)
        assert len(rows) == n, rows
        return rows

    def skip_cdrs(self) -> None:
        """What there is now, and what is still on its way to a CDR, is not new any more."""

        def on_the_way() -> Any:
            counters = self.counters()
            return counters["calls.calls"] or counters["journal.acc_backlog"] or self.query("SELECT callid, method FROM acc")

        until(lambda: not on_the_way(), SETTLE_SECONDS, lambda: f"{on_the_way()}\n{self.log[-3000:]}")
        self._seen = max((row["id"] for row in self.cdrs()), default=0)

    def registrations(self, n: int | None = None) -> list[dict[str, Any]]:
        """Bindings of testuserN, or all."""
        return self.control("registrations", **({} if n is None else {"user": f"testuser{n}@{DOMAIN}"}))

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of its database, read beside it."""
        engine = make_engine(self.database_url)
        try:
            with engine.connect() as connection:
                return [tuple(row) for row in connection.execute(sa.text(statement))]
        finally:
            engine.dispose()

    # ----------------------------------------------------------------------------------------------------- provisioning
    def domain(self, name: str = DOMAIN) -> None:
        self.control("domain.add", domain=name)

    def add(self, *users: int, aliases: tuple[int, ...] = (), domain: str = DOMAIN) -> None:
        """Subscribers testuserN with password `password(n)` and number 43 1 N; `aliases` are further numbers of each."""
        for n in users:
            number = {"cc": "43", "ac": "1", "sn": str(n)}
            more = [{"cc": "43", "ac": "1", "sn": str(a)} for a in aliases]
            user = f"testuser{n}@{domain}"
            self.note_secret(f"testuser{n}", domain, password(n))
            self.control("subscriber.add", user=user, password=password(n), number=number, aliases=more)

    def note_secret(self, user: str, domain: str, secret: str) -> None:
        """A password whose traces must not be in the log."""
        text = f"{user}:{domain}:{secret}".encode()
        self._secrets |= {secret, hashlib.md5(text).hexdigest(), hashlib.sha256(text).hexdigest()}

    def prefer(self, n: int, **values: str | list[str]) -> None:
        """Preferences of testuserN; "" removes one."""
        for name, value in values.items():
            self.control("pref.set", user=f"testuser{n}@{DOMAIN}", name=name, values=value if isinstance(value, list) else [value])

    def lock(self, n: int, level: int) -> None:
        self.control("lock.set", user=f"testuser{n}@{DOMAIN}", level=level)


def _host(ip: str, ipv6: bool) -> Tree:
    types = ["sip_ext", "sip_int", "rtp_ext", "web_ext", "web_int", "ha_int", "ssh_ext", "mon_ext", "aux_ext"]
    lo: Tree = {"ip": ip, "netmask": "255.0.0.0", "type": types}
    if ipv6:
        lo |= {"v6ip": "::1", "v6netmask": 128}
    return {"interfaces": ["lo"], "lo": lo, "role": ["proxy", "lb", "mgmt", "rtp", "db"]}


def _inside(tree: Tree) -> str:
    """Lines of a section's content, two columns in."""
    return "\n".join(f"  {key}: {json.dumps(value)}" for key, value in tree.items())


@contextlib.contextmanager
def running(directory: Path, local: Tree | None = None, **options: Any) -> Iterator[DaemonProcess]:
    """A daemon that serves, stopped in good order at the end unless a test failed or stopped it already."""
    made = DaemonProcess(directory, local, **options)
    try:
        yield made.start()
        if made.process is not None:
            made.stop()
    finally:
        made.kill()


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon on SQLite with domain spce.test for all tests that need nothing special; each file of tests has subscribers of its own."""
    with running(tmp_path_factory.mktemp("daemon")) as made:
        made.domain()
        yield made

"""SIPp as the peer of a daemon.

    phones = Phones(daemon, tmp_path)
    phones.register(1003)                                        # sends from daemon.address(13), port 5060
    callee = phones.callee(1003)                                 # now it waits for a call there
    phones.call(1002, "testuser1003").done()
    callee.done()

The scenarios are in tests/sipp. `@name@` in them is filled in from keyword arguments.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.servers.daemon import DOMAIN, DaemonProcess, password, until

SCENARIOS = Path(__file__).resolve().parent.parent / "sipp"
SECONDS = 30.0
"""Longest time of one SIPp run."""
_TABLES = {("udp", False): "udp", ("udp", True): "udp6", ("tcp", False): "tcp", ("tcp", True): "tcp6"}


def bound(ip: str, port: int, transport: str) -> bool:
    """True when some process has the address: the kernel's tables say so, nothing is sent."""
    packed = bytes(15) + b"\1" if ip == "::1" else bytes(int(part) for part in ip.split("."))
    words = "".join(packed[i : i + 4][::-1].hex().upper() for i in range(0, len(packed), 4))
    wanted = f" {words}:{port:04X} "
    return any(wanted in line for line in Path(f"/proc/net/{_TABLES[transport, ':' in ip]}").read_text().splitlines())


class Sipp:
    """One run of a scenario."""

    def __init__(
        self,
        directory: Path,
        scenario: str,
        ip: str,
        port: int,
        target: str,
        *,
        rows: list[str] | None = None,
        calls: int = 1,
        tcp: bool = False,
        options: tuple[str, ...] = (),
        seconds: float = SECONDS,
        **filled: str | int,
    ) -> None:
        self.directory = directory
        self.name = scenario
        self.ip, self.port, self.tcp = ip, port, tcp
        directory.mkdir(parents=True)
        values = {"pause": "200", "connection": r"IP[46] [0-9a-f:.]+", **{name: str(value) for name, value in filled.items()}}
        text = (SCENARIOS / f"{scenario}.xml").read_text()
        (directory / "scenario.xml").write_text(re.sub(r"@([a-z]+)@", lambda m: values[m[1]], text))
        args = ["-sf", "scenario.xml", "-i", f"[{ip}]" if ":" in ip else ip, "-p", str(port), "-mi", ip]
        args += ["-m", str(calls), "-t", "t1" if tcp else "u1"]
        if rows is not None:
            (directory / "rows.csv").write_text("\n".join(["SEQUENTIAL", *rows]) + "\n")
            args += ["-inf", "rows.csv"]
        args += ["-nostdin", "-timeout", f"{seconds:.0f}s", "-timeout_error", "-trace_err", "-error_file", "errors.log"]
        args += ["-trace_msg", "-message_file", "messages.log", *options, target]
        self.seconds = seconds
        with open(directory / "screen", "wb") as screen:
            self.process = subprocess.Popen(
                [shutil.which("sipp") or "sipp", *args],
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=screen,
                cwd=directory,
                env={**os.environ, "TERM": "dumb"},
            )

    def ready(self) -> Sipp:
        """Wait until its socket is there."""
        until(lambda: bound(self.ip, self.port, "tcp" if self.tcp else "udp") or self.process.poll() is not None, 10.0)
        assert self.process.poll() is None, self.report()
        return self

    def done(self) -> Sipp:
        """Wait until it ends by itself and assert that the scenario went as written."""
        try:
            status = self.process.wait(self.seconds + 5)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(self.report()) from None
        assert status == 0, self.report()
        return self

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    @property
    def call_id(self) -> str:
        """Of its first call, when it is the caller."""
        return f"1-{self.process.pid}@{self.ip}"

    @property
    def messages(self) -> str:
        """Everything it sent and received."""
        path = self.directory / "messages.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def report(self) -> str:
        errors = self.directory / "errors.log"
        said = errors.read_text(errors="replace") if errors.exists() else (self.directory / "screen").read_text(errors="replace")[-1500:]
        return f"{self.name} from {self.ip}:{self.port} ended with {self.process.poll()}:\n{said}\n{self.messages[-6000:]}"


class Phones:
    """SIPp runs of one test. testuserN calls and is called at port 5060 of `address(N % 100 + 10)`."""

    def __init__(self, daemon: DaemonProcess, directory: Path) -> None:
        self.daemon = daemon
        self.directory = directory
        self.runs: list[Sipp] = []
        self._count = itertools.count(1)

    def ip(self, n: int) -> str:
        return self.daemon.address(n % 100 + 10)

    def run(self, scenario: str, n: int, *, ip: str = "", port: int = 5060, daemon: DaemonProcess | None = None, **options: object) -> Sipp:
        """Any scenario from the phone of testuserN."""
        ip = ip or self.ip(n)
        target = daemon or self.daemon
        place = f"[::1]:{target.port}" if ":" in ip else target.target
        made = Sipp(self.directory / f"{next(self._count)}-{scenario}", scenario, ip, port, place, **options)  # type: ignore[arg-type]
        self.runs.append(made)
        return made

    @staticmethod
    def row(n: int, target: str = "", *, user: str = "", secret: str = "", domain: str = DOMAIN) -> str:
        """A line of an injection file."""
        user = user or f"testuser{n}"
        return f"{user};{domain};[authentication username={user} password={secret or password(n)}];{target}"

    def register(self, *users: int, scenario: str = "register_stay", **options: object) -> None:
        """REGISTER from where each phone can be called; answered 200."""
        runs = [self.run(scenario, n, rows=[self.row(n)], **options) for n in users]
        for one in runs:
            one.done()

    def callee(self, n: int, scenario: str = "callee", **options: object) -> Sipp:
        """The phone of testuserN waits for a call."""
        return self.run(scenario, n, **options).ready()

    def call(self, n: int, target: str, scenario: str = "call", *, domain: str = DOMAIN, **options: object) -> Sipp:
        """testuserN calls; `target` without a domain is in its own one."""
        target = target if "@" in target else f"{target}@{DOMAIN}"
        user, secret = str(options.pop("user", "")), str(options.pop("secret", ""))
        return self.run(scenario, n, rows=[self.row(n, target, user=user, secret=secret, domain=domain)], **options)

    def close(self) -> None:
        for one in self.runs:
            one.kill()

"""`ngcpctl` as it is typed, against the running daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.sipp import Phones
from tests.servers.daemon import DOMAIN, DaemonProcess, running, until

CALLER, CALLEE = 1052, 1053


class Ctl:
    """Runs the command for one daemon."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.daemon = daemon

    def run(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ngcpd.cli.ngcpctl", "--config-dir", str(self.daemon.etc), *words]
        return subprocess.run(command, input=given, capture_output=True, text=True, env=self.daemon.environ(), cwd=self.daemon.directory, timeout=30)

    def __call__(self, *words: str, given: str = "") -> str:
        """What it prints; it must succeed."""
        done = self.run(*words, given=given)
        assert done.returncode == 0 and not done.stderr, done
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self("--json", *words))

    def refused(self, *words: str, given: str = "") -> str:
        """The one line it says when it fails with status 1."""
        done = self.run(*words, given=given)
        assert done.returncode == 1 and not done.stdout and done.stderr.startswith("ngcpctl: ") and done.stderr.count("\n") == 1, done
        return done.stderr


@pytest.fixture
def ctl(daemon: DaemonProcess) -> Ctl:
    return Ctl(daemon)


def test_subscribers_registrations_calls_cdrs(daemon: DaemonProcess, phones: Phones, ctl: Ctl) -> None:
    """From nothing to a call and its record."""
    for n in (CALLER, CALLEE):
        secret = f"Typed.{n}"
        daemon.note_secret(f"testuser{n}", DOMAIN, secret)
        said = ctl("subscriber", "add", f"testuser{n}@{DOMAIN}", "--password", "-", "--number", f"43-1-{n}", given=secret + "\n")
        assert f"testuser{n}@{DOMAIN}" in said and secret not in said
    assert f"testuser{CALLER}" in ctl.refused("subscriber", "add", f"testuser{CALLER}@{DOMAIN}", "--password", "Again.99")
    shown = ctl("subscriber", "show", f"testuser{CALLEE}@{DOMAIN}")
    assert f"431{CALLEE}" in shown and "Typed" not in shown
    assert f"testuser{CALLER}@{DOMAIN}" in ctl("subscriber", "list", "--domain", DOMAIN)

    callee_row = phones.row(CALLEE, secret=f"Typed.{CALLEE}")
    until(lambda: phones.run("register_stay", CALLEE, rows=[callee_row]).process.wait(20) == 0, 2.0)
    assert phones.ip(CALLEE) in ctl("registrations", "--user", f"testuser{CALLEE}@{DOMAIN}")
    assert ctl("registrations", "--user", f"testuser{CALLER}@{DOMAIN}") == "no registrations\n"

    callee = phones.callee(CALLEE)
    caller = phones.call(CALLER, f"testuser{CALLEE}", secret=f"Typed.{CALLER}", pause=3000)
    until(lambda: [c["state"] for c in daemon.control("calls")] == ["answered"], 10.0)
    said = ctl("calls")
    assert caller.call_id in said and f"testuser{CALLEE}@{DOMAIN}" in said
    caller.done()
    callee.done()
    trace = ctl("call", "trace", caller.call_id)
    assert f"testuser{CALLER}@{DOMAIN}" in trace and "ended" in trace and "200" in trace
    daemon.skip_cdrs()
    found = until(lambda: [row for row in ctl.json("cdrs", "--last", "5") if row["call_id"] == caller.call_id], 10.0)
    assert found[0]["call_status"] == "ok"
    assert caller.call_id in ctl("cdrs", "--last", "5")
    assert "no call" in ctl.refused("call", "trace", "never@heard")


def test_preferences_and_locks(daemon: DaemonProcess, ctl: Ctl) -> None:
    user = f"testuser{CALLER}@{DOMAIN}"
    ctl("pref", "set", user, "allowed_clis", "4312*", "4313*")
    assert ctl.json("pref", "get", user, "allowed_clis") == {"allowed_clis": ["4312*", "4313*"]}
    ctl("pref", "set", user, "allowed_clis")
    assert ctl.json("pref", "get", user, "allowed_clis") == {"allowed_clis": []}
    assert "no_such" in ctl.refused("pref", "set", user, "no_such", "1")
    ctl("lock", "set", user, "2")
    until(lambda: "403 Caller locked" in ctl("route", user, f"testuser{CALLEE}@{DOMAIN}"), 3.0)
    ctl("lock", "set", user, "none")
    assert ctl.json("subscriber", "show", user)["lock"] in ("0", None)


def test_log_levels(daemon: DaemonProcess, ctl: Ctl) -> None:
    assert "sip" in ctl("log", "levels")
    assert ctl.json("log", "set", "sip", "error")["sip"] == "error"
    ctl("log", "set", "sip", "info")
    assert "nowhere" in ctl.refused("log", "set", "nowhere", "info")
    assert ctl.run("log", "set", "sip", "loud").returncode == 2


def test_status(daemon: DaemonProcess, ctl: Ctl) -> None:
    found = ctl.json("status")
    assert found["pid"] == daemon.pid and found["node"] == "self" and f"udp:{daemon.target}" in found["listeners"]
    said = ctl("status")
    assert "sip.errors" in said and f"udp:{daemon.target}" in said


def test_stop(tmp_path: Path) -> None:
    with running(tmp_path / "d") as daemon:
        ctl = Ctl(daemon)
        ctl("domain", "add", "new.test")
        assert "new.test" in ctl("domain", "list")
        ctl("stop")
        assert daemon.wait() == 0
        daemon.check_log()
        assert "not running" in ctl.refused("status")

"""Ends of the daemon with calls running: signals, the stop command, and a kill after which it is started again."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sipp import Phones, Sipp
from tests.servers.daemon import DOMAIN, DaemonProcess, alive, children, until
from tests.servers.mariadb import MariaDb

CALLER, CALLEE = 1002, 1003


def talking(daemon: DaemonProcess, phones: Phones) -> tuple[Sipp, Sipp]:
    """An answered call between two phones that wait for the BYE."""
    callee = phones.callee(CALLEE, "callee")
    caller = phones.call(CALLER, f"testuser{CALLEE}", "call_stays")
    until(lambda: [c["state"] for c in daemon.control("calls")] == ["answered"], 10.0)
    return caller, callee


def ready(daemon: DaemonProcess, directory: Path) -> Phones:
    daemon.start()
    daemon.domain()
    daemon.add(CALLER, CALLEE)
    phones = Phones(daemon, directory / "sipp")
    phones.register(CALLER, CALLEE)
    return phones


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[DaemonProcess]:
    made = DaemonProcess(tmp_path / "d")
    yield made
    made.kill()


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "command"])
def test_stop_with_a_running_call(stopped: DaemonProcess, tmp_path: Path, how: str) -> None:
    """BYE to both, the CDR is written, exit status 0 within 5 s, and what is restarted knows the phones."""
    daemon = stopped
    phones = ready(daemon, tmp_path)
    try:
        caller, callee = talking(daemon, phones)
        helpers = children(daemon.pid)
        assert helpers
        begun = time.monotonic()
        if how == "command":
            assert daemon.control("stop") == {"stopping": True}
        else:
            daemon.send_signal(getattr(signal, how))
        assert daemon.wait() == 0
        assert time.monotonic() - begun < 5.0
        caller.done()
        callee.done()
        assert not [pid for pid in helpers if alive(pid)] and not (daemon.state / "ngcpd.ctl").exists()
        daemon.check_log()
        if how == "SIGTERM":
            daemon.start()
            (cdr,) = daemon.new_cdrs(1)
            assert (cdr["call_status"], cdr["call_id"]) == ("ok", caller.call_id) and 0 < cdr["duration"] < 10
            assert [b["contact"] for b in daemon.registrations(CALLEE)]
            daemon.stop()
    finally:
        phones.close()


def test_stop_while_it_rings(stopped: DaemonProcess, tmp_path: Path) -> None:
    """The caller gets 503, the callee a CANCEL."""
    phones = ready(stopped, tmp_path)
    try:
        callee = phones.callee(CALLEE, "callee_cancelled")
        caller = phones.call(CALLER, f"testuser{CALLEE}", "call_fails", code=503, reason="Service Unavailable")
        until(lambda: [c["state"] for c in stopped.control("calls")] == ["ringing"], 10.0)
        assert stopped.stop(settle=False) < 5.0
        caller.done()
        callee.done()
        stopped.start()
        (cdr,) = stopped.new_cdrs(1)
        assert (cdr["call_status"], cdr["call_code"]) == ("other", "503")
        stopped.stop()
    finally:
        phones.close()


def test_stop_with_silent_phones(stopped: DaemonProcess, tmp_path: Path) -> None:
    """Nobody answers the BYE: it ends in time all the same."""
    phones = ready(stopped, tmp_path)
    try:
        talking(stopped, phones)
        phones.close()
        assert stopped.stop(settle=False) < 5.0
    finally:
        phones.close()


@pytest.fixture(params=["sqlite", "mariadb"])
def killable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DaemonProcess]:
    ngcpd = {}
    if request.param == "mariadb":
        server: MariaDb = request.getfixturevalue("mariadb")
        ngcpd = {"database": {"url": server.create()}}
    made = DaemonProcess(tmp_path / "d", ngcpd=ngcpd)
    yield made
    made.kill()


def test_killed_with_running_calls(killable: DaemonProcess, tmp_path: Path) -> None:
    """Nothing that was answered for is lost: bindings, CDRs; calls that nobody ends any more are closed at their last sign of life."""
    daemon = killable
    phones = ready(daemon, tmp_path)
    try:
        talking(daemon, phones)
        call_id = daemon.control("calls")[0]["call_id"]
        (relay,) = children(daemon.pid)
        before = {b["contact"] for b in daemon.registrations()}
        daemon.kill()
        until(lambda: not alive(relay), 5.0, "the relay process outlived the daemon")
        phones.close()
        daemon.start()
        assert {b["contact"] for b in daemon.registrations()} == before and len(before) == 2
        # calls work at once
        callee = phones.callee(CALLEE)
        caller = phones.call(CALLER, f"testuser{CALLEE}").done()
        callee.done()
        cdrs = daemon.new_cdrs(2)
        assert {c["call_id"] for c in cdrs} == {call_id, caller.call_id}
        (lost,) = [c for c in cdrs if c["call_id"] == call_id]
        assert (lost["call_status"], lost["call_code"], lost["source"]) == ("ok", "200", f"testuser{CALLER}@{DOMAIN}")
        assert 0 <= lost["duration"] < 10
        ends = daemon.query(f"SELECT sip_code, sip_reason FROM acc_backup WHERE method = 'BYE' AND callid = '{call_id}'")
        assert ends == [("200", "timeout")] and daemon.query("SELECT id FROM acc") == []
        assert daemon.control("calls") == []
        assert len(daemon.lines(" warning ", "calls of an earlier run closed", "calls=1")) == 1
        daemon.stop(settle=False)
        daemon.start()
        assert daemon.new_cdrs(0) == [] and len(daemon.cdrs()) == 2
        daemon.stop()
    finally:
        phones.close()

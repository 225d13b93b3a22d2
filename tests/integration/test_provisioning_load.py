"""Provisioning while calls go on: nothing of a call waits for the store, and what is new acts within a second."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.integration.sipp import Phones
from tests.servers.daemon import DOMAIN, ROOT, DaemonProcess, until

RATE, SECONDS, CHANGES = 50, 5, 100
CALLER, CALLEE, OTHERS = 1070, 1071, tuple(range(1072, 1078))


class Changer(threading.Thread):
    """Changes subscribers at a steady rate, those who call among them."""

    def __init__(self, daemon: DaemonProcess, users: tuple[int, ...], rate: float) -> None:
        super().__init__()
        self.daemon_process = daemon
        self.users = users
        self.rate = rate
        self.done = 0
        self.seconds = 0.0
        self.failed: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        begun = time.monotonic()
        while not self.over.is_set():
            try:
                user = self.users[self.done % len(self.users)]
                self.daemon_process.prefer(user, gpp0=f"value {self.done}")
            except Exception as error:  # noqa: BLE001 - told by the test
                self.failed.append(repr(error))
            self.done += 1
            self.over.wait(max(0.0, begun + self.done / self.rate - time.monotonic()))
        self.seconds = time.monotonic() - begun

    def stop(self) -> None:
        self.over.set()
        self.join(20)


def test_changes_spoil_no_call(daemon: DaemonProcess, phones: Phones, tmp_path: Path) -> None:
    """100 changes a second at 50 calls a second, and an import beside the daemon: every call is made, and the imported can be called at once."""
    daemon.add(CALLER, CALLEE, *OTHERS)
    phones.register(CALLEE)
    daemon.skip_cdrs()
    calls = RATE * SECONDS
    customer = daemon.control("resource.show", resource="subscribers", id=daemon.control("subscriber.show", user=f"testuser{CALLER}@{DOMAIN}")["id"])
    rows = [f"{customer['customer_id']},{DOMAIN},bulk{n},secret-12,43,9,{n:05d}" for n in range(300)]
    path = tmp_path / "bulk.csv"
    path.write_text("\n".join(["customer_id,domain,username,password,cc,ac,sn", *rows]) + "\n")
    callee = phones.callee(CALLEE, calls=calls)
    row = phones.row(CALLER, f"testuser{CALLEE}@{DOMAIN}")
    changers = [Changer(daemon, (CALLER, CALLEE, *OTHERS), CHANGES / 2) for _ in range(2)]
    for changer in changers:
        changer.start()
    try:
        caller = phones.run("call", CALLER, rows=[row], calls=calls, options=("-r", str(RATE)), pause=300)
        command = [sys.executable, "-m", "ngcpd.cli.ngcpctl", "import", "subscribers", str(path), "-c", str(daemon.etc), "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, env=daemon.environ(), cwd=ROOT, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

        def known() -> bool:
            stages = daemon.control("route", caller=f"testuser{CALLER}@{DOMAIN}", callee=f"bulk299@{DOMAIN}")
            return "Offline" in str(stages)

        until(known, 10, lambda: str(daemon.control("route", caller=f"testuser{CALLER}@{DOMAIN}", callee=f"bulk299@{DOMAIN}")))
        caller.done()
        callee.done()
    finally:
        for changer in changers:
            changer.stop()
    assert not [fault for changer in changers for fault in changer.failed]
    made = sum(changer.done for changer in changers)
    assert made > calls, f"only {made} changes in {changers[0].seconds:.1f} s"  # how fast, and how soon they act: bench.provision
    cdrs = daemon.new_cdrs(calls)
    assert {(c["call_status"], c["call_code"]) for c in cdrs} == {("ok", "200")}
    shown = daemon.control("subscriber.show", user=f"testuser{CALLER}@{DOMAIN}")
    assert shown["prefs"]["gpp0"][0].startswith("value ")
    daemon.settle()

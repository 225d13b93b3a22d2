"""docs/rest-example.sh word for word against a real daemon; then the two it made call each other at once."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.sipp import Phones
from tests.servers.daemon import ROOT, DaemonProcess
from tests.web.test_daemon import Rest

HOME, SECRET = "alps.example", "bR00k-mill"
ADA, BEN = 1090, 1091


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_example_of_the_rest_interface(daemon: DaemonProcess, tmp_path: Path) -> None:
    script = [str(ROOT / "docs/rest-example.sh"), f"https://{daemon.ip}:1443/api"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    ids = {line.split("@")[0]: int(line.split()[3]) for line in done.stdout.splitlines() if "has id" in line}
    assert sorted(ids) == ["ada", "ben"]
    phones = Phones(daemon, tmp_path / "sipp")
    try:
        for n, user in ((ADA, "ada"), (BEN, "ben")):
            phones.run("register_stay", n, rows=[phones.row(n, user=user, secret=SECRET, domain=HOME)]).done()
            assert len(daemon.control("registrations", user=f"{user}@{HOME}")) == 1
        for target in (f"ben@{HOME}", f"43599002@{HOME}"):
            callee = phones.callee(BEN)
            caller = phones.call(ADA, target, user="ada", secret=SECRET, domain=HOME)
            caller.done()
            callee.done()
    finally:
        phones.close()
    daemon.skip_cdrs()
    rest = Rest(daemon)
    status, _, data = rest("GET", f"/api/callforwards/{ids['ben']}")
    forward = json.loads(data)["cft"]
    assert status == 200 and forward["ringtimeout"] == 20 and forward["destinations"][0]["destination"] == "sip:vmu43599002@voicebox.local"
    assert json.loads(done.stdout[done.stdout.index("{") :])["cft"] == forward, "the last call of the script shows it"
    assert json.loads(rest("GET", f"/api/subscriberpreferences/{ids['ben']}")[2])["concurrent_max"] == 3
    again = subprocess.run(script, capture_output=True, text=True, timeout=60)
    assert again.returncode != 0 and "cannot make" in again.stderr, "a second run says what it cannot make"

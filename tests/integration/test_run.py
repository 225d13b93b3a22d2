"""`make run` as a newcomer uses it: the printed words are followed, two baresip phones talk, the records are right."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.firstcall import Terminal, call, check_record, printed_commands

ROOT = Path(__file__).resolve().parent.parent.parent
ADDRESS = "127.0.21.1"
pytestmark = pytest.mark.peer


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "etc", tmp_path / "etc")
    (tmp_path / "etc/config.local.yml").write_text("www_admin:\n  http_admin:\n    port: '21443'\n")  # a daemon may run on this machine
    return tmp_path / "etc"


def start(etc: Path) -> Terminal:
    argv = [sys.executable, "-m", "ngcpd.cli.run", "--config-dir", str(etc)]
    run = Terminal(argv, etc.parent, {"NGCPD_LISTEN": ADDRESS, "PYTHONPATH": str(ROOT)})
    run.expect(r"info app ready", 30)
    return run


def ctl(etc: Path, *args: str) -> str:
    argv = [sys.executable, "-m", "ngcpd.cli.ngcpctl", "--config-dir", str(etc), *args]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def stop(run: Terminal) -> None:
    run.type("\x03")
    assert run.wait(5.0) == 0, run.text[-2000:]


def test_the_printed_words_give_a_call_with_audio_both_ways(etc: Path) -> None:
    run = start(etc)
    try:
        seconds = call(run, etc.parent, etc.parent / "var/phones", lambda *args: ctl(etc, *args))
        stop(run)
    finally:
        run.end()
    again = start(etc)
    try:
        secret = r"alice@demo\.test\s+(\S+)"
        assert re.findall(secret, again.text)[0] == re.findall(secret, run.text)[0], "a second start keeps the data"
        assert "bob@demo.test" not in ctl(etc, "registrations"), "baresip unregistered at its end"
        check_record(ctl(etc, "cdrs"), seconds)
        stop(again)
    finally:
        again.end()


def test_ctrl_c_with_a_call_up_ends_it_cleanly(etc: Path) -> None:
    run = start(etc)
    phones: list[Terminal] = []
    try:
        for command, mark in zip(printed_commands(run.text), ("registered successfully", "Call established"), strict=True):
            phone = Terminal(command, etc.parent)
            phones.append(phone)
            phone.expect(mark)
        run.type("\x03")
        for phone in phones:
            phone.expect(r"terminated \(duration|session closed", 5)
        assert run.wait(5.0) == 0, run.text[-2000:]
    finally:
        for phone in phones:
            phone.end()
        run.end()
    again = start(etc)
    try:
        assert re.search(r"alice@demo\.test\s+bob@demo\.test\s+ok\s+200", ctl(etc, "cdrs"))
        stop(again)
    finally:
        again.end()

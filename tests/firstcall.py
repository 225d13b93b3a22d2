"""Follows the words that `make run` prints: two baresip phones on terminals of their own, a call, both tones heard, a right record.

Standard library only. `scripts/fresh` runs it as `python3 tests/firstcall.py make run` with FIRSTCALL_PREFIX (words put before every
command, to run it inside a fresh system) and FIRSTCALL_DIR (where that system's checkout is seen from outside).
"""

from __future__ import annotations

import math
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Sequence
from pathlib import Path

TONES = {"alice": 440.0, "bob": 880.0}


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, argv: list[str], cwd: Path, env: dict[str, str] | None = None) -> None:
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execvpe(argv[0], argv, {**os.environ, **(env or {})})
        self.status: int | None = None

    def read(self, seconds: float) -> bool:
        """Take what comes within `seconds`; False at the end of the program."""
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)

    def expect(self, pattern: str, seconds: float = 20.0, start: int = 0) -> re.Match[str]:
        deadline = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.text[start:])
            if found:
                return found
            left = deadline - time.monotonic()
            if left <= 0 or not self.read(left):
                found = re.search(pattern, self.text[start:])
                assert found, f"{pattern!r} not seen in:\n{self.text[-3000:]}"
                return found

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def wait(self, seconds: float = 10.0) -> int:
        """Exit status; the program must end by itself."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                return self.status
            self.read(0.05)
        raise AssertionError(f"still running:\n{self.text[-3000:]}")

    def end(self) -> None:
        if self.status is None:
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        os.close(self.fd)


def loudness(samples: list[int], rate: int, frequency: float) -> float:
    """Goertzel: the share of the signal's energy that lies at one frequency, 0..1."""
    k = 2 * math.cos(2 * math.pi * frequency / rate)
    a = b = 0.0
    for x in samples:
        a, b = x + k * a - b, a
    energy = sum(x * x for x in samples) or 1
    return (a * a + b * b - k * a * b) / (energy * len(samples) / 2)


def recording(directory: Path, kind: str) -> tuple[list[int], int]:
    """The last second but one of what a phone heard (dec) or said (enc), and its sample rate."""
    (path,) = directory.glob(f"dump-*-{kind}.wav")
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        data = file.readframes(file.getnframes())
    samples = list(struct.unpack(f"<{len(data) // 2}h", data))
    assert len(samples) > 3 * rate, "less than three seconds recorded"
    return samples[-2 * rate : -rate], rate


def printed_commands(text: str) -> list[list[str]]:
    """The two baresip commands among the printed words."""
    found = [shlex.split(c) for c in re.findall(r"^\s+(baresip -f .*?)\r?$", text, re.MULTILINE)]
    assert len(found) == 2, text
    return found


def call(run: Terminal, cwd: Path, phones_dir: Path, ctl: Callable[..., str], prefix: Sequence[str] = ()) -> int:
    """Make the printed call while the daemon of `run` serves; what each heard and what the tools show is checked. The seconds bob's phone counted."""
    phones: list[Terminal] = []
    try:
        for command, mark in zip(printed_commands(run.text), ("registered successfully", "Call established"), strict=True):
            phone = Terminal([*prefix, *command], cwd)
            phones.append(phone)
            phone.expect(mark)
        bob, alice = phones
        bob.expect(r"Call established")
        assert "answered" in ctl("calls")
        shown = ctl("registrations")
        assert "alice@demo.test" in shown and "bob@demo.test" in shown, shown
        alice.expect(r"\[0:00:05\]", 15)
        alice.type("b")
        seconds = int(bob.expect(r"terminated \(duration: (\d+) sec").group(1))
        for phone in phones:
            phone.type("q")
            phone.wait()
    finally:
        for phone in phones:
            phone.end()
    for me, other in (("alice", "bob"), ("bob", "alice")):
        heard, rate = recording(phones_dir / me, "dec")
        right, wrong = loudness(heard, rate, TONES[other]), loudness(heard, rate, TONES[me])
        assert right > 0.8 and wrong < 0.05, f"{me} heard {right:.2f} of the other and {wrong:.2f} of itself"
    return seconds


def check_record(cdrs: str, seconds: int) -> None:
    """The newest line of `ngcpctl cdrs` is the call; its duration is what the phone counted, to the second."""
    last = cdrs.strip().splitlines()[-1]
    found = re.search(r"\s(\d+\.\d+)\s+alice@demo\.test\s+bob@demo\.test\s+ok\s+200\s+(\S+)", last)
    assert found and abs(float(found.group(1)) - seconds) <= 1.1, (seconds, cdrs)


def main(argv: list[str]) -> int:
    """Run the command of `argv` (make run) here and follow its words."""
    prefix = shlex.split(os.environ.get("FIRSTCALL_PREFIX", ""))
    here = Path(os.environ.get("FIRSTCALL_DIR", "."))
    run = Terminal([*prefix, *argv], Path.cwd())
    try:
        run.expect(r"info app ready", 300)
        tool = re.search(r"^\s+(\S*ngcpctl) registrations", run.text, re.MULTILINE)
        phones = re.search(r"baresip -f (\S+)/bob", run.text)
        assert tool and phones, run.text

        def ctl(*args: str) -> str:
            return subprocess.run([*prefix, tool.group(1), *args], capture_output=True, text=True, timeout=30, check=True).stdout

        seconds = call(run, Path.cwd(), here / phones.group(1), ctl, prefix)
        check_record(ctl("cdrs"), seconds)
        run.type("\x03")
        assert run.wait(10.0) == 0, "Ctrl-C"
    finally:
        sys.stdout.write(run.text)
        run.end()
    sys.stdout.write("first call: both heard each other, the record is right\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A private Redis for tests: a free port on 127.0.0.1, nothing written to disk.

    def test_x(redis_server):             # one server for the whole run, emptied before each test
        url = redis_server.url

`Redis()` can also be made by a test that wants to stop, freeze and start a server.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

START_SECONDS = 20.0


class Redis:
    """One server. `start` after `stop` gives an empty one on the same port."""

    def __init__(self, *options: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ngcpd-redis-"))
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        args = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self.directory), *self.options]
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen([shutil.which("redis-server") or "/usr/bin/redis-server", *args], stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                if self.ask("PING").startswith((b"+PONG", b"-NOAUTH")):
                    return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"redis-server did not start: {(self.directory / 'log').read_text()[-2000:]}") from None
                time.sleep(0.02)

    def ask(self, *command: str) -> bytes:
        """Send one command on a connection of its own; the beginning of the raw answer."""
        words = [word.encode() for word in command]
        data = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as s:
            s.sendall(data)
            return s.recv(65536)

    def flush(self) -> None:
        self.ask("FLUSHALL")

    def stop(self) -> None:
        """End it; all connections break."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(20)
            self.process = None

    def freeze(self) -> None:
        """Connections stay open, nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture(scope="session")
def _redis_session() -> Iterator[Redis]:
    server = Redis()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def redis_server(_redis_session: Redis) -> Redis:
    """A running, empty Redis."""
    if _redis_session.process is None:
        _redis_session.start()
    _redis_session.flush()
    return _redis_session

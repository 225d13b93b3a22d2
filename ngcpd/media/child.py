"""Starts the relay process and carries the stream to it on a reactor that is passed in."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.python.failure import Failure

import ngcpd
from ngcpd.runtime.ports import Clock, Timer

READ: Final = 262_144
LEAVE: Final = 2.0  # s that a relay process may take to end by itself
REAP: Final = 0.02  # s between looks whether it has ended


class ChildChannel(FileDescriptor):
    """One relay process: its stream as a descriptor of the reactor, its life from start to reaping."""

    def __init__(self, reactor: Any, clock: Clock, stream: socket.socket, process: subprocess.Popen[bytes]) -> None:
        super().__init__(reactor=reactor)
        self.name = str(process.pid)
        self._clock = clock
        self._stream = stream
        self._process = process
        self._received: Callable[[bytes], object] = lambda data: None
        self._ended: Callable[[str], object] | None = None
        self._gone = False
        self._leaving: Timer | None = None
        self._fd = stream.fileno()

    # ------------------------------------------------------------------------------------------------------ the channel
    def open(self, received: Callable[[bytes], object], ended: Callable[[str], object]) -> None:
        self._received = received
        self._ended = ended
        self.connected = 1
        self.startReading()  # type: ignore[no-untyped-call]

    def send(self, data: bytes) -> None:
        """At once when nothing waits before it, so that the relay knows of a stream before the SIP message that names it leaves."""
        if self._gone:
            return
        if not self._tempDataLen and self.offset == len(self.dataBuffer):
            sent = self.writeSomeData(data)
            data = data[sent:]
        if data:
            self.write(data)

    def close(self) -> None:
        """End the stream: the relay process leaves by itself, or is killed after `LEAVE` seconds."""
        if self._gone:
            return
        self._disconnect()
        self._leaving = self._clock.call_later(LEAVE, self.kill)
        self._reap()

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        if not self._gone:
            self._disconnect()
            self._reap()

    # --------------------------------------------------------------------------------------------------- the descriptor
    def fileno(self) -> int:
        return self._fd

    def doRead(self) -> Failure | None:
        try:
            data = self._stream.recv(READ)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            self.kill()  # it is ending, or cannot be talked to any more
            return None
        self._received(data)
        return None

    def writeSomeData(self, data: bytes) -> int:
        try:
            return self._stream.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._clock.call_later(0.0, self.kill)
            return len(data)

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self.kill()

    # -------------------------------------------------------------------------------------------------------- the end
    def _disconnect(self) -> None:
        self._gone = True
        self.stopReading()  # type: ignore[no-untyped-call]
        self.stopWriting()  # type: ignore[no-untyped-call]
        self.connected = 0
        self.disconnected = 1
        self._fd = -1
        self._stream.close()

    def _reap(self) -> None:
        code = self._process.poll()
        if code is None:
            self._clock.call_later(REAP, self._reap)
            return
        if self._leaving is not None:
            self._leaving.cancel()
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(_words(code))


def _words(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


class ChildSpawner:
    """Makes relay processes (`client.Spawn`). They run this interpreter and this installation, in a process group of their own so that
    the terminal's Ctrl-C does not reach them; their complaints go to our standard error."""

    def __init__(self, reactor: Any, clock: Clock) -> None:
        self._reactor = reactor
        self._clock = clock

    def __call__(self) -> ChildChannel:
        """Raises OSError when it cannot be started."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            try:
                ours.setblocking(False)
                root = str(Path(ngcpd.__file__).resolve().parent.parent)
                paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "ngcpd.media.process", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                    process_group=0,
                )
            except OSError:
                ours.close()
                raise
        return ChildChannel(self._reactor, self._clock, ours, process)

"""The relay process: `python -m ngcpd.media.process FD`, where FD is one end of a UNIX stream socket pair.

It lives as long as the other end is open. SIGINT, SIGTERM and SIGHUP are ignored: they are meant for the signalling process, which ends
its calls first and then closes the connection.
"""

from __future__ import annotations

import gc
import heapq
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

from ngcpd.media.control import KEEP, Controller
from ngcpd.media.sockets import EVENTS, UdpSockets, raise_file_limit
from ngcpd.media.wire import WireError

READ: Final = 262_144
COMPACT: Final = 256  # cancelled timers that may stay in the heap
EXIT_USAGE: Final = 2
EXIT_WIRE: Final = 3


class LoopTimer:
    """One pending call of `LoopClock`."""

    __slots__ = ("args", "clock", "done", "fn", "seq", "when")

    def __init__(self, clock: LoopClock, when: float, seq: int, fn: Callable[..., object], args: tuple[object, ...]) -> None:
        self.clock = clock
        self.when = when
        self.seq = seq
        self.fn = fn
        self.args = args
        self.done = False

    def cancel(self) -> None:
        if not self.done:
            self.done = True
            self.args = ()
            self.clock.dead += 1

    def active(self) -> bool:
        return not self.done

    def __lt__(self, other: LoopTimer) -> bool:
        return (self.when, self.seq) < (other.when, other.seq)


class LoopClock:
    """Time of the relay process, in seconds; timers run in `run_due`."""

    def __init__(self) -> None:
        self._heap: list[LoopTimer] = []
        self._seq = 0
        self.dead = 0  # cancelled timers still in the heap

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def call_later(self, delay: float, fn: Callable[..., object], *args: object) -> LoopTimer:
        self._seq += 1
        timer = LoopTimer(self, time.monotonic() + delay, self._seq, fn, args)
        if self.dead > COMPACT and self.dead * 2 > len(self._heap):
            self._heap = [t for t in self._heap if not t.done]
            heapq.heapify(self._heap)
            self.dead = 0
        heapq.heappush(self._heap, timer)
        return timer

    def run_due(self) -> float:
        """Run what is due; seconds until the next timer, -1 when there is none."""
        now = time.monotonic()
        while self._heap and (self._heap[0].done or self._heap[0].when <= now):
            timer = heapq.heappop(self._heap)
            if timer.done:
                self.dead -= 1
            else:
                timer.done = True
                timer.fn(*timer.args)
        return max(0.0, self._heap[0].when - now) if self._heap else -1.0


class Loop:
    """Media and commands in one epoll loop. `run` returns when the signalling process has gone."""

    def __init__(self, control: socket.socket, keep: int = KEEP) -> None:
        control.setblocking(False)
        self.control = control
        self.sockets = UdpSockets()
        self.clock = LoopClock()
        self.controller = Controller(self.clock, self.sockets, self._send, keep)
        self._out = bytearray()
        self._writing = False
        self._open = True
        self.sockets.epoll.register(control.fileno(), select.EPOLLIN)

    def run(self) -> None:
        poll = self.sockets.epoll.poll
        control_fd = self.control.fileno()
        while self._open:
            wait = self.clock.run_due()
            if self._out and not self._writing:
                self._flush()
            events = poll(wait, EVENTS)
            commanded = False
            relay = self.controller.relay
            if relay is not None:
                relay.now = time.monotonic()
                ends = relay.ends
                receive = relay.receive
                for fd, _mask in events:
                    end = ends.get(fd)
                    if end is not None:
                        receive(end)
                    elif fd == control_fd:
                        commanded = True
            else:
                commanded = bool(events)
            if commanded:
                self._commanded()
        self.controller.shut()

    def _commanded(self) -> None:
        if self._out:
            self._flush()
        try:
            data = self.control.recv(READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._open = False
            return
        self.controller.feed(data)

    def _send(self, data: bytes) -> None:
        """What is said in one turn goes out together at its end."""
        self._out += data

    def _flush(self) -> None:
        try:
            sent = self.control.send(self._out)
            del self._out[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._open = False
            self._out.clear()
        if bool(self._out) != self._writing:
            self._writing = bool(self._out)
            self.sockets.epoll.modify(self.control.fileno(), select.EPOLLIN | (select.EPOLLOUT if self._writing else 0))


def main(arguments: list[str]) -> int:
    """Exit status: 0 the signalling process has gone, 2 wrong arguments, 3 it said what cannot be understood."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if len(arguments) != 1 or not arguments[0].isdigit():
        sys.stderr.write("usage: python -m ngcpd.media.process FD (started by the daemon)\n")
        return EXIT_USAGE
    try:
        control = socket.socket(fileno=int(arguments[0]))
    except OSError as error:
        sys.stderr.write(f"ngcpd relay: descriptor {arguments[0]}: {error.strerror}\n")
        return EXIT_USAGE
    os.set_inheritable(control.fileno(), False)
    loop = Loop(control, min(KEEP, raise_file_limit() // 8))  # an idle pair is two files
    gc.freeze()
    try:
        loop.run()
    except WireError as error:
        sys.stderr.write(f"ngcpd relay: {error}\n")
        return EXIT_WIRE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The whole simulated daemon under fire: a stranger's socket, phones that make the valid calls, and everything that must not happen.

    rig = Rig()
    rig.fire(data)                  # a datagram from a stranger
    rig.call()                      # the health probe: a complete valid call between two other phones
    rig.end()                       # nothing was raised, nothing is left

What counts as harm: an exception that reached the stack's boundary (`errors`), a line at level error, a failure nobody took care of in a
Deferred, a message of the daemon that is not well-formed, a valid call that does not go through.
"""

from __future__ import annotations

import gc
import heapq
import re
import time
from typing import Any

from twisted.logger import globalLogPublisher

from ngcpd.runtime import log as runtime_log
from ngcpd.runtime.ports import Address
from ngcpd.runtime.simstream import SimStream
from ngcpd.sip import address as sip_address
from ngcpd.sip import uri as sip_uri
from tests.phones import Outgoing, Phone, digest, sdp
from tests.world import SERVER, SERVER6, World

STRANGER: Address = ("127.9.9.9", 5060)
STEP = 0.02
BOUND = 1.0  # seconds of CPU for one input: far above any honest work, far below what quadratic reading takes
_FIRST = re.compile(rb"(?:SIP/2\.0 [1-6][0-9][0-9] [^\r\n]*|[A-Za-z0-9\-.!%*_+`'~]+ [^ \r\n]+ SIP/2\.0)\Z")
_LINE = re.compile(rb"[A-Za-z0-9\-.!%*_+`'~]+: ?[^\r\n]*\Z")


class Log:
    """Takes the place of the log's output for the life of a rig. Lines that stand for a fault are kept."""

    MARKS = (" a handler raised", "a timer raised", "Traceback")

    def __init__(self, clock: Any) -> None:
        sink = runtime_log.sink
        self._saved = (sink.write, sink.clock, sink._seen)
        sink.write, sink.clock, sink._seen = self.write, clock, {}
        self.faults: list[str] = []
        self.lines: list[str] = []
        self.keep = False
        self.count = 0
        globalLogPublisher.addObserver(self._twisted)

    def write(self, line: str) -> None:
        self.count += 1
        if self.keep:
            self.lines.append(line)
        level = line.split(" ", 2)[1]
        if level == "error" or any(mark in line for mark in self.MARKS) or '"a handler raised"' in line:
            self.faults.append(line)

    def _twisted(self, event: Any) -> None:
        failure = event.get("log_failure")
        if failure is not None or event.get("isError"):
            self.faults.append(f"twisted: {failure.getTraceback() if failure is not None else event}")

    def close(self) -> None:
        sink = runtime_log.sink
        sink.write, sink.clock, sink._seen = self._saved
        globalLogPublisher.removeObserver(self._twisted)


def why_not_wellformed(data: bytes) -> str:
    """What is wrong with a message of the daemon; "" when nothing is. Written without the product's parser."""
    if data.strip(b"\r\n\0") == b"":
        return ""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return "no end of the header"
    lines = head.split(b"\r\n")
    if not _FIRST.match(lines[0]):
        return "first line"
    for line in lines[1:]:
        if not _LINE.match(line):
            return f"header line {line[:80]!r}"
    lengths = [line.partition(b":")[2].strip() for line in lines[1:] if line.partition(b":")[0].strip().lower() in (b"content-length", b"l")]
    if lengths != [str(len(body)).encode()]:
        return f"Content-Length {lengths} for {len(body)} octets"
    return ""


class Connection:
    """A stranger's TCP connection."""

    def __init__(self, rig: Rig, remote: Address = SERVER) -> None:
        self.stream: SimStream | None = None
        self.got = bytearray()
        self.lost = ""
        rig.world.net.connect(remote, self, bind="::1" if ":" in remote[0] else STRANGER[0])  # type: ignore[arg-type]
        rig.step()

    def opened(self, stream: SimStream) -> None:
        self.stream = stream

    def received(self, data: bytes) -> None:
        self.got += data

    def closed(self, reason: str) -> None:
        self.lost = reason or "closed"

    def send(self, data: bytes) -> None:
        if self.stream is not None and not self.lost:
            self.stream.write(data)

    def close(self) -> None:
        if self.stream is not None and not self.lost:
            self.stream.close()


class Rig:
    """`a` and `b` make the probes; `evil` is the address of the stranger, whose answers are in `answers`."""

    def __init__(self, local: str = "", users: tuple[int, ...] = (1001, 1002, 1003, 1004)) -> None:
        self.world = World(local, users=users)
        self.log = Log(self.world.clock)
        self.a = self.world.registered(1002)
        self.b = self.world.registered(1003)
        self.answers: list[bytes] = []
        self.answers6: list[bytes] = []
        self.evil = self.world.net.udp(STRANGER, lambda data, source: self.answers.append(data))
        self.evil6 = self.world.net.udp(("::1", 5999), lambda data, source: self.answers6.append(data))
        self.malformed: list[tuple[str, bytes]] = []
        self.probes = 0
        self.slowest: tuple[float, str] = (0.0, "")
        self._n = 0
        self.world.net.filter = self._look

    def _look(self, kind: str, data: bytes, source: Address, to: Address) -> bool:
        if kind == "udp" and source in (SERVER, SERVER6):
            why = why_not_wellformed(data)
            if why:
                self.malformed.append((why, data))
        return True

    # ------------------------------------------------------------------------------------------------------------ time
    def step(self, seconds: float = STEP) -> None:
        self.world.run(seconds)

    def timed(self, name: str, *work: Any) -> float:
        """Do `work` (a callable and its arguments) and let it take effect; the CPU seconds it took, which must stay below the bound."""
        begun = time.process_time()
        work[0](*work[1:])
        self.step()
        spent = time.process_time() - begun
        if spent > self.slowest[0]:
            self.slowest = (spent, name)
        assert spent < BOUND, (name, spent)
        return spent

    # --------------------------------------------------------------------------------------------------------- attacks
    def fire(self, data: bytes, name: str = "", *, v6: bool = False) -> list[bytes]:
        """A datagram of the stranger; the answers to it."""
        answers = self.answers6 if v6 else self.answers
        answers.clear()
        self.timed(name, (self.evil6 if v6 else self.evil).send, data, SERVER6 if v6 else SERVER)
        return list(answers)

    def connection(self, remote: Address = SERVER) -> Connection:
        return Connection(self, remote)

    def hold(self) -> None:
        """Database work waits: it then comes in batches, as under load, and costs a quarter."""
        self.world.executor.hold()

    def release(self) -> None:
        self.world.executor.release()

    # ---------------------------------------------------------------------------------------------------------- probes
    def options(self) -> None:
        """A valid OPTIONS of a phone is answered."""
        self._n += 1
        a = self.a
        a.inbox.clear()
        a.send(
            [
                "OPTIONS sip:127.0.0.1:5060 SIP/2.0",
                f"Via: SIP/2.0/UDP {a.host_port};branch=z9hG4bKprobe{self._n};rport",
                "Max-Forwards: 70",
                "From: <sip:probe@probe.invalid>;tag=probe",
                "To: <sip:127.0.0.1:5060>",
                f"Call-ID: probe-{self._n}",
                "CSeq: 1 OPTIONS",
            ]
        )
        self.step(0.001)
        a.take(200)

    def call(self) -> None:
        """A valid call: challenged, ringing, answered, acknowledged, ended."""
        a, b = self.a, self.b
        self.forget(a, b)
        self.probes += 1
        call = a.call("sip:testuser1003@spce.test", self.step, sdp(a.address[0], 20000), call_id=f"probe-{self.probes}@{a.address[0]}")
        invite = b.take("INVITE")
        b.reply(invite, 180, "Ringing")
        self.step()
        b.reply(invite, 200, "OK", sdp(b.address[0], 30000))
        self.step()
        a.take(180)
        call.ack(a.take(200))
        self.step()
        b.take("ACK")
        call.bye()
        self.step()
        b.reply(b.take("BYE"), 200)
        self.step()
        assert a.take(200).method == "BYE"

    def standing_call(self) -> tuple[Outgoing, Any]:
        """A call in progress between the two phones: (leg of a, INVITE at b)."""
        a, b = self.a, self.b
        call = a.call("sip:testuser1003@spce.test", self.step, sdp(a.address[0], 20000))
        invite = b.take("INVITE")
        b.reply(invite, 200, "OK", sdp(b.address[0], 30000))
        self.step()
        call.ack(a.take(200))
        self.step()
        b.take("ACK")
        return call, invite

    def hang_up(self, call: Outgoing) -> None:
        """The caller ends a standing call."""
        self.a.inbox.clear()
        call.bye()
        self.step()
        self.b.reply(self.b.take("BYE"), 200)
        self.step()
        assert self.a.take(200).method == "BYE"

    def credentials(self, phone: Phone, method: str, uri: str) -> str:
        """The value of (Proxy-)Authorization of `phone` for a nonce fetched now."""
        phone.inbox.clear()
        if method == "REGISTER":
            phone.register_request()
            self.step()
            return digest(phone.take(401)["www-authenticate"], phone.user, phone.password, method, uri)
        call = phone.invite(uri)
        self.step()
        challenge = phone.take(407)
        call.ack(challenge)
        return digest(challenge["proxy-authenticate"], phone.user, phone.password, method, uri)

    # ------------------------------------------------------------------------------------------------------------ harm
    def check(self) -> None:
        """Nothing of what must not happen has happened."""
        assert self.log.faults == [], self.log.faults[:3]
        assert self.malformed == [], self.malformed[:2]
        errors = self.world.daemon.stack.counters()["errors"]
        assert errors == 0, errors

    def settle(self, seconds: float = 200.0) -> None:
        """Let everything run out; nothing may be left."""
        self.world.run(seconds)
        self.forget(*self.world.phones.values())
        self.answers.clear()
        self.answers6.clear()
        assert self.world.idle() == {}, (self.world.idle(), self.world.daemon.calls.active())

    @staticmethod
    def forget(*phones: Phone) -> None:
        """What the phones remember of earlier messages would look like memory of the daemon."""
        for phone in phones:
            phone.inbox.clear()
            phone.seen.clear()
            phone.sent.clear()

    def objects(self) -> int:
        """Live objects that may hold others: a measure of memory that does not depend on the allocator. Not counted: the caches of values read
        lately, whose size is fixed (test_properties.py)."""
        sip_address._known.clear()
        sip_uri._known.clear()
        clock = self.world.clock
        clock._heap = [timer for timer in clock._heap if not timer.done]  # the simulated clock forgets cancelled timers only when due
        heapq.heapify(clock._heap)
        gc.collect()
        return len(gc.get_objects())

    def calls_recorded(self) -> int:
        """CDRs of probe calls that were answered."""
        return sum(1 for c in self.world.cdrs() if c["call_id"].startswith("probe-") and c["call_status"] == "ok")

    def end(self) -> None:
        """Everything runs out, every probe has its record, the daemon stops."""
        try:
            self.check()
            self.settle()
            recorded = self.calls_recorded()
            assert recorded == self.probes, (recorded, self.probes)
            self.evil.close()
            self.evil6.close()
            self.world.net.filter = None
            self.world.end()
            self.check()
        finally:
            self.log.close()

"""Strangers that send mutated copies of what they might have overheard. Identities are changed first, so that they harm no call by guessing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.sim.run import Run

METHODS = (b"INVITE", b"REGISTER", b"OPTIONS", b"BYE", b"ACK", b"CANCEL", b"MESSAGE", b"SUBSCRIBE", b"PRACK", b"UPDATE", b"NOSUCH")
JUNK = (b"\0", b"\xff\xfe", b"%00", b"<", b'"', b";;", b"\r\n", b"\r\n ", b" ", b"9" * 40, b"-1", b"\xc3\xa9", b"a" * 3000, b"::1", b"[", b"sip:")
SDP = b"v=0\r\nm=audio 99999 RTP/AVP 8\r\n"


class Stranger:
    """Speaks from a few addresses of its own, over datagrams and connections."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.rng = run.rng
        self.count = 0
        self.sockets = [run.net.udp((f"127.9.9.{k}", 5060), lambda data, source: None) for k in range(1, 4)]

    def speak(self) -> None:
        run = self.run
        if not run.busy:
            for sock in self.sockets:
                sock.close()
            return
        run.clock.call_later(self.rng.expovariate(run.p.noise), self.speak)
        run.counts["noise"] += 1
        data = self._message()
        if self.rng.random() < 0.15:
            run.net.connect(("127.0.0.1", 5060), _Once(run, data), None, 10.0, "127.9.9.9")
        else:
            self.rng.choice(self.sockets).send(data[:60000], ("127.0.0.1", 5060))

    def _message(self) -> bytes:
        rng = self.rng
        self.count += 1
        if rng.random() < 0.1 or not self.run.recent:
            return rng.randbytes(rng.randrange(200))
        data = rng.choice(self.run.recent)
        mark = b"noise-%d" % self.count
        data = re.sub(rb"\r\nCall-ID: [^\r]*", b"\r\nCall-ID: " + mark, data)
        data = re.sub(rb"branch=[^;\r]*", b"branch=z9hG4bK" + mark, data)
        data = re.sub(rb"\r\n(Proxy-)?Authorization: [^\r]*", b"", data)
        if rng.random() < 0.5:
            method = rng.choice(METHODS)
            data = method + data[data.find(b" ") :]
            data = re.sub(rb"(\r\nCSeq: \d+ )\S+", lambda m: m[1] + method, data)
        if rng.random() < 0.2:
            data = b"SIP/2.0 200 OK" + data[data.find(b"\r\n") :]
        if rng.random() < 0.2:
            data = data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + SDP
        for _ in range(rng.randrange(4)):
            data = self._mutated(data)
        return data

    def _mutated(self, data: bytes) -> bytes:
        rng = self.rng
        if not data:
            return data
        at = rng.randrange(len(data))
        what = rng.randrange(6)
        if what == 0:
            return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        if what == 1:
            return data[:at] + data[at + rng.randrange(30) :]
        if what == 2:
            return data[:at] + rng.choice(JUNK) + data[at:]
        lines = data.split(b"\r\n")
        line = rng.randrange(len(lines))
        if what == 3:
            lines.insert(line, lines[line])
        elif what == 4:
            lines[line] = lines[line].partition(b":")[0] + b": " + rng.choice(JUNK)
        else:
            return data[:at]
        return b"\r\n".join(lines)


class _Once:
    """A connection on which something is said, and which ends some time later."""

    def __init__(self, run: Run, data: bytes) -> None:
        self.run = run
        self.data = data

    def opened(self, stream: object) -> None:
        stream.write(self.data)  # type: ignore[attr-defined]
        self.run.clock.call_later(self.run.rng.random() * 15, stream.abort)  # type: ignore[attr-defined]

    def received(self, data: bytes) -> None:
        return

    def closed(self, reason: str) -> None:
        return

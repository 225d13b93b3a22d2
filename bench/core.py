"""The signalling core without I/O: the whole daemon on a simulated clock, fed with the messages of full calls, plain calls or registrations.

    python -m bench.core [call|plain|register] [COUNT] [--profile | --opcodes]

Prints microseconds of CPU per message and per call, or the functions that cost most, or the number of interpreter instructions, which is the same
on a busy machine. No kernel, no other process, no threads; what the database writers do is not in it.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import hashlib
import json
import pstats
import re
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from bench.host import ROOT
from bench.peers import REALM, callee, caller, secret
from ngcpd.app.daemon import Daemon
from ngcpd.app.world import World
from ngcpd.config import load
from ngcpd.config.secrets import Secrets
from ngcpd.media import Engine, wire
from ngcpd.provisioning.check import E164
from ngcpd.provisioning.preferences import set_preference
from ngcpd.provisioning.routing import create_trusted_source
from ngcpd.provisioning.subscribers import NewSubscriber, create_subscribers
from ngcpd.provisioning.tenancy import create_contact, create_customer, create_domain
from ngcpd.runtime.fake import InlineExecutor, MemoryDisk, SimClock
from ngcpd.runtime.real import SystemRng
from ngcpd.runtime.simnet import SimNet
from ngcpd.store.kv_memory import MemoryKeyValue

SERVER = ("127.0.0.1", 5060)
A, B, TRUSTED = ("127.0.0.10", 6060), ("127.0.0.11", 7070), ("127.0.0.12", 6060)
USERS = 100
SDP = (
    "v=0\r\no=x 7261528 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 30000 RTP/AVP 8 0 18 101\r\na=rtpmap:8 PCMA/8000\r\n"
    "a=rtpmap:0 PCMU/8000\r\na=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
    "a=ptime:20\r\na=sendrecv\r\n"
)


class Relay:
    """Says what a relay process would say, without one."""

    name = "none"

    def __init__(self, clock: SimClock) -> None:
        self.clock = clock
        self.port = 30000
        self.unpacker = wire.Unpacker()

    def open(self, received: Callable[[bytes], object], ended: Callable[[str], object]) -> None:
        self.received = received

    def say(self, event: wire.Event) -> None:
        self.clock.call_later(0.0, self.received, wire.pack(wire.EventFrame(0, event)))

    def send(self, data: bytes) -> None:
        for frame in self.unpacker.feed(data):
            command = wire.decode_command(frame).body
            if isinstance(command, wire.Grant):
                ports = [30000 + (self.port + 2 * n) % 20000 for n in range(command.count)]
                self.port += 2 * command.count
                self.say(wire.Granted(command.index, ports))
            elif isinstance(command, wire.Configure):
                self.say(wire.Ready({}, []))
            elif isinstance(command, wire.Close):
                self.say(wire.Closed(command.sid, []))

    def close(self) -> None:
        return

    def kill(self) -> None:
        return


class CountingNet(SimNet):
    """A simulated network where only the daemon lives: what it sends is kept in `sent`."""

    def __init__(self, clock: SimClock, rng: Any) -> None:
        super().__init__(clock, rng)
        self.sent: list[bytes] = []
        self.receive: Any = None

    def udp(self, address: Any, receive: Any) -> Any:
        made = super().udp(address, receive)
        if address == SERVER:
            self.receive = receive
            made.send = lambda data, to: (self.sent.append(data), True)[1]
        return made


class NoExecutor:
    """Takes work and never does it."""

    def run(self, fn: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
        return Deferred()


class Opcodes:
    """Counts the interpreter's instructions of Python code, in all and by function; of calls into C only the call itself."""

    def __init__(self) -> None:
        self.count = 0
        self.by: Counter[Any] = Counter()

    def enable(self) -> None:
        sys.settrace(self._trace)

    def disable(self) -> None:
        sys.settrace(None)

    def _trace(self, frame: Any, event: str, arg: object) -> Any:
        if event == "call":
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        elif event == "opcode":
            self.count += 1
            self.by[frame.f_code] += 1
        return self._trace

    def table(self, each: int, top: int = 100) -> str:
        """The functions that cost most by themselves: instructions per call of the bench."""
        return "\n".join(
            f"{n / each:8.1f}  {Path(code.co_filename).parent.name}/{Path(code.co_filename).name}:{code.co_firstlineno} {code.co_qualname}"
            for code, n in self.by.most_common(top)
        )


class Core:
    """The daemon, and the phones around it."""

    def __init__(self, directory: str) -> None:
        etc = Path(directory) / "etc"
        shutil.copytree(ROOT / "etc", etc)
        (etc / "config.local.yml").write_text(json.dumps({"rtpproxy": {"minport": 30000, "maxport": 60000}}))
        loaded = load(str(etc), {"NGCPD_NODE": "self"}, "self")
        Path(loaded.settings.paths.state_dir).mkdir(parents=True, exist_ok=True)
        rng = SystemRng()
        self.clock = SimClock()
        self.net = CountingNet(self.clock, rng)
        world = World(
            clock=self.clock,
            rng=rng,
            net=self.net,
            disk=MemoryDisk(),
            executor=InlineExecutor(),
            disk_executor=InlineExecutor(),
            media=lambda interfaces, settings: Engine(self.clock, lambda: Relay(self.clock), interfaces, settings),
            key_value=lambda url: MemoryKeyValue(self.clock, rng),
        )
        key = bytes(range(32))
        self.daemon = Daemon(world, loaded, Secrets(key, key, key))
        self.daemon.bind()
        self.daemon.start()
        self.clock.advance(1.0)
        self.daemon.db.run_here(self._provision)
        self.clock.advance(2.0)
        self.spent: dict[str, float] = defaultdict(float)
        self.times: dict[str, int] = defaultdict(int)
        self.profiler: cProfile.Profile | Opcodes | None = None

    def _provision(self, conn: Any) -> None:
        env = self.daemon.env
        create_domain(conn, env, name=REALM)
        customer = create_customer(conn, env, contact_id=create_contact(conn, env, reseller_id=1, email="bench@example.org"))
        made = create_subscribers(
            conn,
            env,
            [
                NewSubscriber(customer_id=customer, domain=REALM, username=name, password=secret(name), number=E164(43, str(side), f"{n:06d}"))
                for n in range(USERS)
                for side, name in ((1, caller(n)), (2, callee(n)))
            ],
        )
        create_trusted_source(conn, env, subscriber_id=made[0].id, src_ip=TRUSTED[0])
        set_preference(conn, env, level="usr", owner_id=made[0].id, attribute="use_rtpproxy", value="never")

    def hold(self) -> None:
        """From now on nothing is written to the database: its work, done in this thread, would only spoil the caches."""
        self.daemon.db.executor = NoExecutor()

    def give(self, what: str, message: str, source: tuple[str, int]) -> list[str]:
        """One message to the daemon; what it sent."""
        data = message.encode("latin-1")
        self.net.sent.clear()
        if self.profiler is not None:
            self.profiler.enable()
        counter = self.profiler if isinstance(self.profiler, Opcodes) else None
        begun = counter.count if counter is not None else time.thread_time_ns()
        self.net.receive(data, source)
        if self.profiler is not None:
            self.profiler.disable()
        self.spent[what] += (counter.count if counter is not None else time.thread_time_ns()) - begun
        self.times[what] += 1
        return [sent.decode("latin-1") for sent in self.net.sent]


def fields(message: str, *names: str) -> str:
    """The lines of these headers."""
    return "".join(line + "\r\n" for line in message.split("\r\n\r\n")[0].split("\r\n")[1:] if line.split(":")[0] in names)


def value(message: str, name: str) -> str:
    found = re.search(rf"(?m)^{name}: (.*?)\r?$", message)
    assert found is not None, (name, message)
    return found[1]


def credentials(challenge: str, user: str, method: str, uri: str) -> str:
    nonce = re.search(r'nonce="([^"]*)"', challenge)
    assert nonce is not None, challenge

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    answer = md5(f"{md5(f'{user}:{REALM}:{secret(user)}')}:{nonce[1]}:{md5(f'{method}:{uri}')}")
    return f'Digest username="{user}",realm="{REALM}",nonce="{nonce[1]}",uri="{uri}",response="{answer}",algorithm=MD5'


def request(
    method: str, uri: str, cseq: int, n: int, a: str, b: str, source: tuple[str, int], branch: str, more: str = "", to: str = "", body: str = ""
) -> str:
    return (
        f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {source[0]}:{source[1]};rport;branch=z9hG4bK-{n}-{branch}\r\nMax-Forwards: 70\r\n"
        f'From: "Bench Caller" <sip:{a}@{REALM}>;tag=a1x{n}\r\nTo: {to or f"<sip:{b}@{REALM}>"}\r\nCall-ID: {n}-4711@{source[0]}\r\n'
        f"CSeq: {cseq} {method}\r\nContact: <sip:{a}@{source[0]}:{source[1]}>\r\n{more}User-Agent: Bench Phone (caller)\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )


OFFER = (
    "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, NOTIFY, REFER\r\nSupported: replaces, timer, 100rel\r\nContent-Type: application/sdp\r\n"
)
ANSWER = "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, NOTIFY\r\nSupported: timer\r\nContent-Type: application/sdp\r\n"


def response(to: str, status: str, tag: str, more: str = "", body: str = "") -> str:
    copied = fields(to, "Via", "Record-Route", "From", "To", "Call-ID", "CSeq")
    if tag:
        copied = re.sub(r"(?m)^(To: .*?)\r$", rf"\1;tag={tag}\r", copied)
    return f"SIP/2.0 {status}\r\n{copied}Contact: <sip:{B[0]}:{B[1]}>\r\n{more}Content-Length: {len(body)}\r\n\r\n{body}"


def register(core: Core, n: int, user: str, source: tuple[str, int]) -> None:
    uri = f"sip:{REALM}"
    sent = core.give("REGISTER", request("REGISTER", uri, 1, n, user, user, source, "1", "Expires: 3600\r\n"), source)
    more = f"Authorization: {credentials(value(sent[0], 'WWW-Authenticate'), user, 'REGISTER', uri)}\r\nExpires: 3600\r\n"
    sent = core.give("REGISTER auth", request("REGISTER", uri, 2, n, user, user, source, "2", more), source)
    assert sent[0].startswith("SIP/2.0 200"), sent
    core.clock.advance(0.01)


def call(core: Core, n: int, source: tuple[str, int]) -> None:
    """A whole call; with digest unless its source is trusted."""
    a, b = caller(n % USERS), callee(n % USERS)
    uri, body, cseq = f"sip:{b}@{REALM}", SDP.format(source[0]), 1
    sent = core.give("INVITE", request("INVITE", uri, 1, n, a, b, source, "1", OFFER, body=body), source)
    if source != TRUSTED:
        challenge = sent[0]
        core.give("ACK 407", request("ACK", uri, 1, n, a, b, source, "1", to=value(challenge, "To")), source)
        more = f"Proxy-Authorization: {credentials(value(challenge, 'Proxy-Authenticate'), a, 'INVITE', uri)}\r\n{OFFER}"
        cseq = 2
        sent = core.give("INVITE auth", request("INVITE", uri, 2, n, a, b, source, "2", more, body=body), source)
    invite = next((s for s in sent if s.startswith("INVITE")), "")
    assert invite, sent
    tag = f"b1x{n}"
    core.give("180", response(invite, "180 Ringing", tag), B)
    core.clock.advance(0.02)
    sent = core.give("200", response(invite, "200 OK", tag, ANSWER, SDP.format(B[0])), B)
    ok = next(s for s in sent if s.startswith("SIP/2.0 200"))
    target = value(ok, "Contact").strip("<>")
    sent = core.give("ACK", request("ACK", target, cseq, n, a, b, source, "3", to=value(ok, "To")), source)
    assert sent and sent[0].startswith("ACK"), sent
    core.clock.advance(0.5)
    sent = core.give("BYE", request("BYE", target, cseq + 1, n, a, b, source, "4", to=value(ok, "To")), source)
    bye = next(s for s in sent if s.startswith("BYE"))
    sent = core.give("200 BYE", response(bye, "200 OK", ""), B)
    assert sent and sent[0].startswith("SIP/2.0 200"), sent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="call", choices=("call", "plain", "register"))
    parser.add_argument("count", nargs="?", type=int, default=2000)
    view = parser.add_mutually_exclusive_group()
    view.add_argument("--profile", action="store_true")
    view.add_argument("--opcodes", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ngcpd-core-") as directory:
        core = Core(directory)
        for n in range(USERS):
            register(core, 10_000_000 + n, callee(n), B)
        steps = {
            "call": lambda n: call(core, n, A),
            "plain": lambda n: call(core, n, TRUSTED),
            "register": lambda n: register(core, n, caller(n % USERS), A),
        }
        step = steps[options.what]
        for n in range(300):
            step(n)
        core.hold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 10, 20)
        core.spent.clear()
        core.times.clear()
        if options.profile:
            core.profiler = cProfile.Profile()
        elif options.opcodes:
            core.profiler = Opcodes()
        for n in range(1000, 1000 + options.count):
            step(n)
        unit, scale = ("instructions", 1) if options.opcodes else ("us", 1000)
        total = sum(core.spent.values()) / options.count / scale
        print(f"{options.what}: {total:.1f} {unit} each; " + ", ".join(f"{k} {v / core.times[k] / scale:.1f}" for k, v in core.spent.items()))
        if isinstance(core.profiler, Opcodes):
            print(core.profiler.table(options.count))
        elif core.profiler is not None:
            pstats.Stats(core.profiler).sort_stats("tottime").print_stats(60)
            pstats.Stats(core.profiler).sort_stats("cumtime").print_stats("ngcpd", 130)


if __name__ == "__main__":
    main()

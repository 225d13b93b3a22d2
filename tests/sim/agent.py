"""A simulated user agent: its socket or connection, its transactions, its registration. Calls are in `talk`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.sim.wire import Cutter, In, digest, request, response

if TYPE_CHECKING:
    from tests.sim.run import Run
    from tests.sim.talk import Leg

T1, T2, LONGEST = 0.5, 4.0, 32.0
Done = Callable[[int, In | None], None]


class Client:
    """A client transaction. `fn(status, message)`: each provisional response, one final one (each 2xx of an INVITE), or status 0: none came."""

    __slots__ = ("ack", "branch", "data", "fn", "got", "interval", "limit", "method", "over", "ua", "wait")

    def __init__(self, ua: Ua, method: str, branch: str, data: bytes, fn: Done) -> None:
        self.ua = ua
        self.method = method
        self.branch = branch
        self.data = data
        self.fn = fn
        self.got = 0
        self.over = False
        self.ack = b""
        self.interval = T1
        ua.clients[(branch, method)] = self
        ua.send(data)
        call_later = ua.run.clock.call_later
        self.wait = None if ua.tcp else call_later(T1, self._repeat)
        self.limit = call_later(LONGEST, self.give_up)

    def _repeat(self) -> None:
        self.ua.send(self.data)
        self.interval = self.interval * 2 if self.method == "INVITE" else min(self.interval * 2, T2)
        self.wait = self.ua.run.clock.call_later(self.interval, self._repeat)

    def _quiet(self) -> None:
        if self.wait is not None:
            self.wait.cancel()
            self.wait = None

    def give_up(self) -> None:
        if not self.over:
            self.over = True
            self._quiet()
            self.limit.cancel()
            self.fn(0, None)

    def patience(self, seconds: float) -> None:
        """Wait so long for the final response, from now on."""
        self.limit.cancel()
        self.limit = self.ua.run.clock.call_later(seconds, self.give_up)

    def receive(self, m: In) -> None:
        status = m.status
        invite = self.method == "INVITE"
        if invite and status >= 300:
            self._acknowledge(m)
        if self.over and not (invite and 200 <= status < 300):
            return
        if status < 200:
            if invite:
                self._quiet()
                if not self.got:
                    self.patience(300.0)
            self.got = max(self.got, status)
            self.fn(status, m)
            return
        self.over = True
        self._quiet()
        self.limit.cancel()
        self.fn(status, m)

    def _acknowledge(self, m: In) -> None:
        """The ACK of a failure: same branch, Request-URI and Call-ID, the response's To."""
        if not self.ack:
            uri = self.data.split(b" ", 2)[1].decode("latin-1")
            self.ack = request("ACK", uri, m.via.partition(";rport")[0], m.from_, m.to, m.call_id, m.cseq)
        self.ua.send(self.ack)


class Server:
    """A server transaction: what it last answered. A final response to an INVITE is repeated until the ACK comes."""

    __slots__ = ("final", "fn_noack", "interval", "last", "message", "stop_at", "tag", "timer", "ua")

    def __init__(self, ua: Ua, m: In) -> None:
        self.ua = ua
        self.message = m
        self.last = b""
        self.final = 0
        self.tag = ""
        self.interval = T1
        self.timer: Any = None
        self.stop_at = 0.0
        self.fn_noack: Callable[[], None] | None = None
        ua.servers[(m.branch, m.method)] = self

    def reply(self, status: int, tag: str = "", more: str = "", body: bytes = b"") -> None:
        if self.final and not (self.final < 300 and 200 <= status < 300):
            return
        data = response(self.message, status, tag, more, body)
        if status >= 200 and not self.final:
            self.final = status
            self.tag = tag or self.message.to_tag
            if self.message.method == "INVITE":
                self.stop_at = self.ua.run.clock.now + LONGEST
                self.timer = self.ua.run.clock.call_later(T1, self._repeat)
        self.last = data
        self.ua.send(data)

    def _repeat(self) -> None:
        if self.ua.run.clock.now >= self.stop_at:
            self.timer = None
            if self.fn_noack is not None:
                self.fn_noack()
            return
        if self.final < 300 or not self.ua.tcp:
            self.ua.send(self.last)
        self.interval = min(self.interval * 2, T2)
        self.timer = self.ua.run.clock.call_later(self.interval, self._repeat)

    def acked(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.last = b""

    def again(self) -> None:
        if self.last:
            self.ua.send(self.last)


class Ua:
    """One device of testuser`n`."""

    def __init__(self, run: Run, number: int, n: int, host: str, port: int, transport: str, server: tuple[str, int]) -> None:
        self.run = run
        self.rng = run.rng
        self.number = number
        self.n = n
        self.user = f"testuser{n}"
        self.password = run.password
        self.domain = run.domain
        self.tcp = transport == "tcp"
        self.host = host
        self.port = port
        self.server = server
        self.clients: dict[tuple[str, str], Client] = {}
        self.servers: dict[tuple[str, str], Server] = {}
        self.legs: dict[tuple[str, str, str], Leg] = {}
        self.online = True
        self.count = 0
        self.sock: Any = None
        self.stream: Any = None
        self.cutter = Cutter()
        self.unsent: list[bytes] = []
        self.connecting = False
        # registration
        self.reg_id = f"r-{number}-0@{host}"
        self.reg_seq = 0
        self.refresh: Any = None
        self.registering = False
        self.wanted: tuple[int | None, str] | None = None
        self.bound: dict[str, tuple[float, float]] = {}
        """Contact -> bound surely until, possibly until (simulated seconds)."""
        self.unsure: set[str] = set()
        """Contacts of REGISTERs of which no answer is known."""
        self.address()

    # ---------------------------------------------------------------------------------------------------------- address
    def address(self) -> None:
        """Names that go with the present address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.host_port = f"{host}:{self.port}"
        self.contact = f"sip:{self.user}@{self.host_port}" + (";transport=tcp" if self.tcp else "")
        self.via = f"SIP/2.0/{'TCP' if self.tcp else 'UDP'} {self.host_port};branch="
        if not self.tcp:
            self.sock = self.run.net.udp((self.host, self.port), self._datagram)

    def next(self) -> str:
        self.count += 1
        return f"{self.number}.{self.count}"

    def branch(self) -> str:
        return f"z9hG4bK-{self.next()}"

    def _datagram(self, data: bytes, source: object) -> None:
        if self.online and len(data) > 4:
            self._message(data)

    def send(self, data: bytes) -> None:
        if not self.online:
            return
        if not self.tcp:
            self.sock.send(data, self.server)
            if self.run.p.stale and self.rng.random() < self.run.p.stale:
                self.run.clock.call_later(self.rng.random() * 3, self._again, self.sock, data)
        elif self.stream is not None:
            self.stream.write(data)
        else:
            self.unsent.append(data)
            self.connect()

    def _again(self, sock: Any, data: bytes) -> None:
        if self.online and sock is self.sock:
            sock.send(data, self.server)

    # ------------------------------------------------------------------------------------------------------- connection
    def connect(self) -> None:
        if not self.connecting:
            self.connecting = True
            self.run.net.connect(self.server, self, None, 10.0, self.host)

    def opened(self, stream: Any) -> None:
        self.connecting = False
        self.stream = stream
        self.cutter = Cutter()
        unsent, self.unsent = self.unsent, []
        for data in unsent:
            stream.write(data)

    def received(self, data: bytes) -> None:
        for message in self.cutter.feed(data):
            if self.online:
                self._message(message)

    def closed(self, reason: str) -> None:
        self.connecting = False
        self.unsent.clear()
        lost = self.stream is not None
        self.stream = None
        if lost:
            self.bound.clear()
            self.unsure.clear()
        if self.online and self.run.busy:
            self.run.clock.call_later(1 + 4 * self.rng.random(), self.register)

    # ---------------------------------------------------------------------------------------------------------- messages
    def _message(self, data: bytes) -> None:
        m = In(data)
        if m.status:
            client = self.clients.get((m.branch, m.method))
            if client is not None:
                client.receive(m)
            return
        if m.method == "ACK":
            self._ack(m)
            return
        known = self.servers.get((m.branch, m.method))
        if known is not None:
            known.again()
            return
        leg = self.legs.get((m.call_id, m.to_tag, m.from_tag)) if m.to_tag else None
        if leg is not None:
            leg.request(m)
        elif m.to_tag:
            Server(self, m).reply(481)
        elif m.method == "INVITE":
            self.run.talk.called(self, m)
        elif m.method == "CANCEL":
            self.run.talk.cancelled(self, m)
        else:
            Server(self, m).reply(200 if m.method == "OPTIONS" else 405, f"o{self.number}")

    def _ack(self, m: In) -> None:
        server = self.servers.get((m.branch, "INVITE"))
        if server is not None and server.final >= 300:
            server.acked()
            return
        leg = self.legs.get((m.call_id, m.to_tag, m.from_tag))
        if leg is not None:
            leg.ack(m)

    # ------------------------------------------------------------------------------------------------------ registration
    def register(self, expires: int | None = None, old: str = "") -> None:
        """Register the present contact; `old` is a contact to be taken out in the same request."""
        if self.registering:  # not before the one before it has an answer (RFC 3261 10.2)
            self.wanted = (expires, old)
            return
        if self.refresh is not None:
            self.refresh.cancel()
            self.refresh = None
        if not self.online or not self.run.busy:
            return
        self.registering = True
        wanted = self.rng.choice((60, 90, 180, 600)) if expires is None else expires
        self._register(wanted, old, "", 2)

    def _register(self, expires: int, old: str, auth: str, tries: int) -> None:
        self.reg_seq += 1
        more = f"Contact: <{self.contact}>;expires={expires}\r\n"
        if old:
            more += f"Contact: <{old}>;expires=0\r\n"
        if auth:
            more += f"Authorization: {auth}\r\n"
            self.unsure |= {self.contact, old} - {""}
        branch = self.branch()
        me = f"<sip:{self.user}@{self.domain}>"
        data = request("REGISTER", f"sip:{self.domain}", f"{self.via}{branch};rport", f"{me};tag=r{self.number}", me, self.reg_id, self.reg_seq, more)
        contact = self.contact
        sent = self.run.clock.now

        def answered(status: int, m: In | None) -> None:
            if 100 <= status < 200:
                return
            self.registering = False
            if m is None:
                self._again_later(10.0)
            elif status == 401 and tries:
                bad = self.run.p.wrong_password and self.rng.random() < self.run.p.wrong_password
                password = "wrong" if bad else self.password
                answer = digest(m.h["WWW-Authenticate"], self.user, password, "REGISTER", f"sip:{self.domain}")
                self.registering = True
                self._register(expires, old, answer, tries - 1)
                return
            elif status == 200:
                self._registered(m, contact, old, expires, sent)
            else:
                self._again_later(5.0)
            if self.wanted is not None:
                wanted, self.wanted = self.wanted, None
                self.register(*wanted)

        Client(self, "REGISTER", branch, data, answered)

    def _again_later(self, seconds: float) -> None:
        if self.refresh is None and self.run.busy:
            self.refresh = self.run.clock.call_later(seconds * (0.5 + self.rng.random()), self.register)

    def _registered(self, m: In, contact: str, old: str, expires: int, sent: float) -> None:
        now = self.run.clock.now
        self.run.counts["registered"] += 1
        for uri in (contact, old):
            self.unsure.discard(uri)
        self.bound.pop(old, None)
        if not expires:
            self.bound.pop(contact, None)
            return
        self.bound[contact] = (sent + expires, now + expires)
        if f"<{contact}>" not in m.h.get("Contact", ""):
            self.run.fault(f"200 to REGISTER without the contact {contact}: {m.h.get('Contact')}")
        if self.refresh is None and self.run.busy and contact == self.contact:
            share = self.rng.uniform(0.4, 0.95) if self.rng.random() < 0.9 else 1.2  # some are late
            self.refresh = self.run.clock.call_later(expires * share, self.register)

    # ------------------------------------------------------------------------------------------------------------ moving
    def move(self) -> None:
        """A new address (datagrams only); sometimes with a new Call-ID as after a restart, sometimes taking the old contact out."""
        if self.tcp or not self.online:
            return
        if any(leg.state != "over" for leg in self.legs.values()) or any(not c.over for c in self.clients.values()):
            return
        old = self.contact
        self.sock.close()
        self.port += 1
        self.address()
        if self.rng.random() < 0.5:
            self.count += 1
            self.reg_id = f"r-{self.number}-{self.count}@{self.host}"
        self.run.counts["moved"] += 1
        self.register(old=old if self.rng.random() < 0.7 else "")

    def vanish(self, seconds: float) -> None:
        """Off, without a word, for a while."""
        if not self.online:
            return
        self.online = False
        self.run.counts["vanished"] += 1
        self.run.disturb(self, seconds + 40.0)
        if self.stream is not None:
            self.stream.abort()
            self.stream = None
            self.bound.clear()
            self.unsure.clear()
        self.run.clock.call_later(seconds, self._back)

    def _back(self) -> None:
        self.online = True
        self.register()

    def leave(self) -> None:
        """Unregister in good order, and come back."""
        self.register(0)
        self._again_later(20.0)

    def close(self) -> None:
        self.online = False
        if self.refresh is not None:
            self.refresh.cancel()
        if self.sock is not None:
            self.sock.close()
        if self.stream is not None:
            self.stream.abort()

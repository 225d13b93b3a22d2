"""Calls of the simulated user agents: who calls whom, what callees do, what happens inside a dialog, who ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.sim.agent import Client, Server, Ua
from tests.sim.wire import In, digest, request, response, sdp, tag

if TYPE_CHECKING:
    from tests.sim.run import Run

REJECTS = (486, 486, 486, 603, 480, 404, 500, 503, 488, 600, 302, 403, 400, 415, 699, 401, 407, 487)
SUFFIX = "_b2b-1"


class Leg:
    """A dialog of one user agent. `how` tells what ended it."""

    __slots__ = (
        *("acked", "answer", "base", "busy", "call_id", "down", "glared", "how", "local", "lseq", "offered", "remote", "role", "rseq", "server"),
        *("state", "sent_bye", "tags", "target", "ua", "up", "version", "ack_data", "deaf"),
    )

    def __init__(self, ua: Ua, role: str, call_id: str, local: str, remote: str, target: str, rseq: int, lseq: int) -> None:
        self.ua = ua
        self.role = role
        self.call_id = call_id
        self.base = call_id.removesuffix(SUFFIX)
        self.local = local
        self.remote = remote
        self.target = target
        self.rseq = rseq
        self.lseq = lseq
        self.tags = (call_id, tag(local), tag(remote))
        self.state = "early"
        self.up = self.down = self.acked = self.sent_bye = -1.0
        self.how = ""
        self.busy = 0
        self.glared = False
        self.server: Server | None = None
        self.version = 1
        self.offered = False
        self.answer = b""
        self.ack_data = b""
        self.deaf = False
        ua.legs[self.tags] = self
        ua.run.legs.append(self)

    # ---------------------------------------------------------------------------------------------------------- requests
    def send(self, method: str, fn: Callable[[int, In | None], None], more: str = "", body: bytes = b"") -> Client:
        self.lseq += 1
        ua = self.ua
        branch = ua.branch()
        more = f"Contact: <{ua.contact}>\r\n{more}"
        data = request(method, self.target, f"{ua.via}{branch};rport", self.local, self.remote, self.call_id, self.lseq, more, body)
        return Client(ua, method, branch, data, fn)

    def send_ack(self, cseq: int, body: bytes = b"") -> None:
        ua = self.ua
        self.ack_data = request(
            "ACK", self.target, f"{ua.via}{ua.branch()}", self.local, self.remote, self.call_id, cseq, f"Contact: <{ua.contact}>\r\n", body
        )
        ua.send(self.ack_data)

    def established(self) -> None:
        run = self.ua.run
        self.state = "up"
        self.up = run.clock.now
        rng = run.rng
        stay = rng.expovariate(1 / run.p.talk) if rng.random() > run.p.long else 61 + 30 * rng.random()
        run.clock.call_later(stay, self.hang_up)
        if run.p.act:
            run.clock.call_later(rng.expovariate(run.p.act), self.act)
        run.clock.call_later(1000.0, self.forgotten)

    def forgotten(self) -> None:
        if self.state == "up":
            self.ua.run.fault(f"{self} was never ended")

    def over(self, how: str) -> None:
        if self.state != "over":
            self.state = "over"
            self.how = how
            self.down = self.ua.run.clock.now
            if self.server is not None:
                self.server.acked()

    def hang_up(self) -> None:
        if self.state != "up":
            return
        if self.role == "callee" and self.acked < 0:  # a callee may not end before the ACK (RFC 3261 15)
            self.ua.run.clock.call_later(1.0, self.hang_up)
            return
        self.bye()

    def bye(self) -> None:
        self.sent_bye = self.ua.run.clock.now
        self.state = "ending"
        self.send("BYE", self._bye_answered)

    def _bye_answered(self, status: int, m: In | None) -> None:
        if status >= 200 or not status:
            self.over(f"bye-{status}" if self.state == "ending" else self.how)

    def act(self) -> None:
        """Something inside the dialog."""
        if self.state != "up":
            return
        run = self.ua.run
        rng = run.rng
        run.clock.call_later(rng.expovariate(run.p.act), self.act)
        if not self.ua.online or (self.role == "callee" and self.acked < 0):
            return
        what = rng.random()
        run.counts["inside"] += 1
        if what < 0.5:
            self.reinvite(late=rng.random() < 0.2, cancel=rng.random() < 0.1)
        elif what < 0.65:
            self.version += 1
            body = sdp(self.ua.host, 20000, self.version) if rng.random() < 0.5 else b""
            if self.busy:
                body = b""
            self.send("UPDATE", self._told, "", body)
        elif what < 0.9:
            self.send("INFO", self._told, "", b"Signal=5" if rng.random() < 0.5 else b"")
        elif what < 0.95:
            self.send("OPTIONS", self._told)
        else:
            self.send("REFER", self._told, "Refer-To: <sip:x@example.org>\r\n")

    def reinvite(self, late: bool = False, cancel: bool = False) -> None:
        if self.busy or self.state != "up":
            return
        run = self.ua.run
        self.busy = 1
        self.version += 1
        direction = run.rng.choice(("sendrecv", "sendonly", "inactive"))
        body = b"" if late else sdp(self.ua.host, 20000, self.version, direction)
        number = self.lseq + 1
        seen = False

        def answered(status: int, m: In | None) -> None:
            nonlocal seen
            if 0 < status < 200:
                if cancel and not seen:
                    self.cancel(client)
                seen = True
                return
            self.busy = 0
            if m is not None and status < 300:
                if m.contact:
                    self.target = m.contact
                self.send_ack(number, sdp(self.ua.host, 20000, self.version) if late else b"")
            elif status == 491 and self.state == "up":
                run.clock.call_later(run.rng.random() * 4, self.reinvite)
            else:
                self._told(status, m)

        client = self.send("INVITE", answered, "", body)

    def cancel(self, client: Client) -> None:
        branch = client.branch
        uri = client.data.split(b" ", 2)[1].decode("latin-1")
        number = self.lseq
        data = request("CANCEL", uri, f"{self.ua.via}{branch};rport", self.local, self.remote, self.call_id, number)
        Client(self.ua, "CANCEL", branch, data, lambda status, m: None)

    def _told(self, status: int, m: In | None) -> None:
        if status in (0, 408) and self.state == "up":
            self.bye()
        elif status == 481 and self.state == "up":
            self.over("481")

    # --------------------------------------------------------------------------------------------------------- requested
    def request(self, m: In) -> None:
        """A request of the other end inside the dialog."""
        ua = self.ua
        run = ua.run
        server = Server(ua, m)
        method = m.method
        if method == "CANCEL":
            server.reply(200)
            meant = ua.servers.get((m.branch, "INVITE"))
            if meant is not None and not meant.final:
                self.busy = 0
                meant.reply(487)
            return
        if m.cseq <= self.rseq:
            server.reply(500, more="Retry-After: 1\r\n")
            return
        self.rseq = m.cseq
        if method == "BYE":
            server.reply(200)
            self.over("bye-in")
            return
        if self.state == "over":
            server.reply(481)
            return
        if m.contact and method in ("INVITE", "UPDATE"):
            self.target = m.contact
        here = f"Contact: <{ua.contact}>\r\n"
        if method == "INVITE":
            self._reinvited(server, here)
        elif method == "PRACK":
            run.talk.pracked(self, m)
            server.reply(200)
        elif method == "UPDATE":
            if m.body and self.busy:
                server.reply(491)
            else:
                server.reply(200, more=here, body=sdp(ua.host, 20000, self.version) if m.body else b"")
        elif method in ("INFO", "OPTIONS", "MESSAGE"):
            server.reply(200 if run.rng.random() < 0.95 else 415)
        else:
            server.reply(405)

    def _reinvited(self, server: Server, here: str) -> None:
        ua = self.ua
        run = ua.run
        if self.busy:
            server.reply(491)
            return
        what = run.rng.random()
        if what < run.p.deaf:
            self.deaf = True
            return  # never answered
        self.busy = 2
        if what < 0.1:
            self.busy = 0
            server.reply(run.rng.choice((488, 486, 500, 403)))
            return

        def answer() -> None:
            if server.final:
                return
            self.busy = 0
            if self.state != "up":
                server.reply(487)
                return
            self.version += 1
            server.fn_noack = self.bye_if_up
            self.server = server
            server.reply(200, more=here, body=sdp(ua.host, 20000, self.version))

        run.clock.call_later(0.0 if what < 0.6 else run.rng.random() * 2, answer)

    def bye_if_up(self) -> None:
        if self.state == "up":
            self.bye()

    def ack(self, m: In) -> None:
        server = self.server
        if server is not None and m.cseq == server.message.cseq:
            server.acked()
        if self.acked < 0:
            self.acked = self.ua.run.clock.now

    def __repr__(self) -> str:
        return f"<{self.role} {self.ua.user} {self.call_id} {self.state} {self.how} up={self.up:.3f} down={self.down:.3f}>"


class Call:
    """A caller's attempt: one Call-ID, one INVITE or two (challenge). `finals`: its final status codes in order, 0 for none."""

    __slots__ = ("auth", "base", "cancel_at", "cancelled", "client", "codes", "early", "gone", "late", "legs", "lseq", "me", "pracked", "reliable")
    __slots__ += ("started", "target", "ua", "uri", "wrong", "never_prack", "given_up", "finished", "early_bye_at")

    def __init__(self, ua: Ua, target: str, call_id: str) -> None:
        run = ua.run
        rng = run.rng
        self.ua = ua
        self.target = target
        self.base = call_id
        self.me = f"<sip:{ua.user}@{ua.domain}>;tag=c{ua.next()}"
        self.lseq = 0
        self.auth = ""
        self.wrong = rng.random() < run.p.wrong_password
        self.late = rng.random() < 0.1
        self.reliable = rng.random() < 0.3
        self.never_prack = self.reliable and rng.random() < 0.03
        self.pracked: set[tuple[str, str]] = set()
        self.early: dict[str, str] = {}
        self.legs: dict[str, Leg] = {}
        self.codes: list[int] = []
        self.cancelled = False
        self.gone = False
        self.given_up = False
        self.finished = 0.0
        self.early_bye_at = -1.0
        self.started = run.clock.now
        self.client: Client
        run.calls[call_id] = self
        self.invite()
        if rng.random() < run.p.cancel:
            run.clock.call_later(rng.random() ** 2 * 15, self.cancel)

    def body(self) -> bytes:
        return sdp(self.ua.host, 20000)

    def invite(self) -> None:
        ua = self.ua
        self.lseq += 1
        more = f"Contact: <{ua.contact}>\r\n"
        if self.reliable:
            more += "Supported: 100rel\r\n"
        if self.auth:
            more += f"Proxy-Authorization: {self.auth}\r\n"
        branch = ua.branch()
        ua.run.initial[branch] = self.base
        body = b"" if self.late else self.body()
        data = request("INVITE", self.target, f"{ua.via}{branch};rport", self.me, f"<{self.target}>", self.base, self.lseq, more, body)
        ua.run.counts["invites"] += 1
        ua.run.heard(data)
        self.client = Client(ua, "INVITE", branch, data, self.answered)

    def cancel(self) -> None:
        if self.gone or self.cancelled or not self.ua.online:
            return
        self.cancelled = True
        rng = self.ua.rng
        if self.early and rng.random() < 0.15:
            self.early_bye()
        elif self.client.got:
            self._cancel()

    def _cancel(self) -> None:
        ua = self.ua
        branch = self.client.branch
        data = request("CANCEL", self.target, f"{ua.via}{branch};rport", self.me, f"<{self.target}>", self.base, self.lseq)
        self.client.patience(40.0)
        Client(ua, "CANCEL", branch, data, lambda status, m: None)
        ua.run.counts["cancels"] += 1

    def early_bye(self) -> None:
        """Ends each early dialog (RFC 3261 15.1.1)."""
        self.early_bye_at = self.ua.run.clock.now
        for to, target in list(self.early.items()):
            self.lseq += 1
            ua = self.ua
            branch = ua.branch()
            data = request("BYE", target, f"{ua.via}{branch};rport", self.me, to, self.base, self.lseq)
            Client(ua, "BYE", branch, data, lambda status, m: None)

    def answered(self, status: int, m: In | None) -> None:
        if not 0 < status < 200:
            self.finished = self.ua.run.clock.now
        if m is None:
            self.codes.append(0)
            self.given_up = True
            self.gone = True
            return
        if status < 200:
            if m.to_tag and m.contact:
                self.early[m.to] = m.contact
            if m.has("Require", "100rel") and not self.never_prack:
                self._prack(m)
            if self.cancelled and status == 100 and not self.early:
                self._cancel()
            return
        if status < 300:
            self._success(m)
            return
        self.codes.append(status)
        if status == 407 and len(self.codes) < 2 and not self.cancelled:
            self.auth = digest(m.h["Proxy-Authenticate"], self.ua.user, "wrong" if self.wrong else self.ua.password, "INVITE", self.target)
            self.invite()
            return
        self.gone = True

    def _prack(self, m: In) -> None:
        key = (m.to_tag, m.h["RSeq"])
        if key in self.pracked or not m.contact:
            return
        self.pracked.add(key)
        ua = self.ua
        self.lseq += 1
        branch = ua.branch()
        more = f"RAck: {m.h['RSeq']} {m.cseq} INVITE\r\n"
        data = request("PRACK", m.contact, f"{ua.via}{branch};rport", self.me, m.to, self.base, self.lseq, more)
        Client(ua, "PRACK", branch, data, lambda status, answer: None)
        ua.run.counts["pracks"] += 1

    def _success(self, m: In) -> None:
        known = self.legs.get(m.to_tag)
        if known is not None:
            self.ua.send(known.ack_data)
            return
        if self.legs and not self._restarted():
            self.ua.run.fault(f"two answers to one call {self.base}")
        self.gone = True
        self.codes.append(m.status)
        leg = self.legs[m.to_tag] = Leg(self.ua, "caller", self.base, self.me, m.to, m.contact, 0, self.lseq)
        leg.acked = self.ua.run.clock.now
        leg.send_ack(m.cseq, self.body() if self.late else b"")
        if not m.body:
            self.ua.run.fault(f"an answer without a session description: {self.base}")
        leg.established()
        self.ua.run.counts["answered"] += 1
        if self.cancelled or self.given_up:
            leg.bye()

    def _restarted(self) -> bool:
        """The platform began a new life since it answered: it may take a belated copy of the INVITE for a new call."""
        run = self.ua.run
        answered = min(leg.acked for leg in self.legs.values()) + run.clock.time() - run.clock.now
        return any(death >= answered for death in run.platform.deaths)


class Ringing:
    """The callee's side of one INVITE."""

    __slots__ = ("code", "legs", "plan", "rseq", "server", "tags", "ua", "waiting")

    def __init__(self, ua: Ua, m: In) -> None:
        run = ua.run
        rng = run.rng
        self.ua = ua
        self.server = Server(ua, m)
        self.tags = [f"t{ua.next()}"]
        self.legs: dict[str, Leg] = {}
        self.rseq = 0
        self.waiting: Any = None
        what = rng.random()
        p = run.p
        self.plan = "answer" if what < p.answer else "reject" if what < p.answer + p.reject else "ring" if what < 0.98 else "ignore"
        if self.plan == "ignore":
            return
        if rng.random() < 0.3:
            self.server.reply(100)
        ring = 0.0 if rng.random() < 0.1 else rng.random() ** 2 * 12
        if ring or rng.random() < 0.5:
            run.clock.call_later(rng.random() * min(ring, 6.0), self.ring)
        if self.plan != "ring":
            run.clock.call_later(ring, self.decide)

    def leg(self, to_tag: str) -> Leg:
        leg = self.legs.get(to_tag)
        if leg is None:
            m = self.server.message
            leg = self.legs[to_tag] = Leg(self.ua, "callee", m.call_id, f"{m.to};tag={to_tag}", m.from_, m.contact, m.cseq, 100)
        return leg

    def ring(self) -> None:
        """180 or 183, one or several, reliable or not."""
        if self.server.final:
            return
        rng = self.ua.rng
        m = self.server.message
        if rng.random() < 0.07:
            self.tags.append(f"t{self.ua.next()}")
        for to_tag in self.tags:
            self.leg(to_tag)
            more = f"Contact: <{self.ua.contact}>\r\n"
            body = sdp(self.ua.host, 20000) if m.body and rng.random() < 0.3 else b""
            if m.has("Supported", "100rel") and len(self.tags) == 1 and rng.random() < 0.6:
                self.rseq += 1
                more += f"Require: 100rel\r\nRSeq: {self.rseq}\r\n"
                self._reliable(to_tag, more, body, 0.5)
            else:
                self.server.reply(183 if body else 180, to_tag, more, body)

    def _reliable(self, to_tag: str, more: str, body: bytes, wait: float) -> None:
        if self.server.final:
            return
        if wait > 32:
            self.server.reply(504, to_tag)
            return
        self.server.reply(183, to_tag, more, body)
        self.waiting = self.ua.run.clock.call_later(wait, self._reliable, to_tag, more, body, wait * 2)

    def pracked(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None

    def decide(self) -> None:
        run = self.ua.run
        rng = run.rng
        server = self.server
        if server.final:
            return
        if self.waiting is not None and self.plan == "answer":  # not before the PRACK (RFC 3262 3)
            run.clock.call_later(0.5, self.decide)
            return
        if not self.ua.online:
            return
        if self.plan == "reject":
            self.pracked()
            code = rng.choice(REJECTS)
            more = "Contact: <sip:else@example.org>\r\n" if code == 302 else ""
            if code in (401, 407):
                name = "WWW" if code == 401 else "Proxy"
                more = f'{name}-Authenticate: Digest realm="evil", nonce="1"\r\n'
            server.reply(code, self.tags[-1], more)
            return
        self.accept(self.tags[-1])
        if rng.random() < 0.03:  # a fork behind this contact answers too
            self.accept(f"t{self.ua.next()}")

    def accept(self, to_tag: str) -> None:
        leg = self.leg(to_tag)
        server = self.server
        leg.server = server
        more = f"Contact: <{self.ua.contact}>\r\n"
        leg.offered = bool(server.final)
        leg.server = None if leg.offered else server
        if leg.offered:
            self._fork(leg, response(server.message, 200, to_tag, more, sdp(self.ua.host, 20000)), 0.5)
        else:
            server.fn_noack = self.noack
            server.reply(200, to_tag, more, sdp(self.ua.host, 20000))
        leg.established()
        self.ua.run.counts["accepted"] += 1

    def _fork(self, leg: Leg, data: bytes, wait: float) -> None:
        """A second 2xx is repeated by the device behind the fork that sent it."""
        if leg.acked >= 0 or leg.state == "over":
            return
        if self.ua.run.clock.now > leg.up + 32 > 32:
            self._unacked(leg)
            return
        self.ua.send(data)
        self.ua.run.clock.call_later(wait, self._fork, leg, data, min(wait * 2, 4.0))

    def noack(self) -> None:
        for leg in self.legs.values():
            if not leg.offered:
                self._unacked(leg)

    def _unacked(self, leg: Leg) -> None:
        if leg.state == "up" and leg.acked < 0:
            leg.acked = self.ua.run.clock.now
            self.ua.run.unacked.append(leg)
            leg.bye()

    def cancelled(self) -> None:
        self.pracked()
        self.server.reply(487, self.tags[0])


class Talk:
    """All calls of a run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.ringing: dict[tuple[int, str], Ringing] = {}
        self.by_call: dict[tuple[int, str], list[Ringing]] = {}

    def place(self, ua: Ua, target: str) -> None:
        run = self.run
        run.placed += 1
        Call(ua, target, f"c-{run.seed}-{run.placed}@{ua.host}")

    def called(self, ua: Ua, m: In) -> None:
        ringing = self.ringing[(ua.number, m.branch)] = Ringing(ua, m)
        self.by_call.setdefault((ua.number, m.call_id), []).append(ringing)

    def cancelled(self, ua: Ua, m: In) -> None:
        ringing = self.ringing.get((ua.number, m.branch))
        Server(ua, m).reply(481 if ringing is None else 200, f"x{ua.number}")
        if ringing is not None:
            ringing.cancelled()

    def pracked(self, leg: Leg, m: In) -> None:
        for ringing in self.by_call.get((leg.ua.number, leg.call_id), ()):
            ringing.pracked()

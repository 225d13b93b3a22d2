"""A platform of edge, registrar and SIP stack in a simulated network, and devices that speak to it in plain text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred

from ngcpd.directory.model import Domain, Network, NumberEntry, Prefs, Subscriber
from ngcpd.edge.edge import Edge
from ngcpd.edge.own import Own
from ngcpd.edge.settings import EdgeSettings
from ngcpd.registrar.answers import Answers
from ngcpd.registrar.auth import Authenticator
from ngcpd.registrar.keepalive import Keepalive
from ngcpd.registrar.location import Location
from ngcpd.registrar.registrar import Registrar
from ngcpd.registrar.settings import AuthSettings, KeepaliveSettings, RegistrarSettings
from ngcpd.registrar.survey import Survey
from ngcpd.runtime.fake import InlineExecutor, MemoryDisk, SeededRng, SimClock
from ngcpd.runtime.ports import Address
from ngcpd.runtime.simnet import SimNet
from ngcpd.sip.digest import NonceMaker
from ngcpd.sip.flow import Limits
from ngcpd.sip.grammar import to_wire
from ngcpd.sip.message import Request, reply
from ngcpd.sip.stack import Stack
from ngcpd.store.bindings import Bindings, RedisBindingHome
from ngcpd.store.journal import Journal, JournalFull
from ngcpd.store.kv_memory import MemoryKeyValue

SERVER = ("10.0.0.1", 5060)


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class FakeDirectory:
    """Subscribers in a dict. Those in `cold` have to be loaded; `waiting` collects the loads that nobody finished yet."""

    def __init__(self) -> None:
        self.domains: dict[str, Domain] = {}
        self.subs: dict[int, Subscriber] = {}
        self.numbers: dict[str, NumberEntry] = {}
        self.cold: set[int] = set()
        self.waiting: list[tuple[Deferred[None], list[int]]] = []
        self.trust: dict[str, int] = {}
        self.listeners: list[Callable[[str, int], object]] = []
        self.loads = 0

    def add_domain(self, name: str) -> None:
        self.domains[name] = Domain(len(self.domains) + 1, name, 1, 1)

    def add(self, subscriber_id: int, username: str, domain: str = "spce.test", password: str = "testuser", **changes: Any) -> Subscriber:
        values: dict[str, Any] = {
            "id": subscriber_id,
            "uuid": f"uuid-{subscriber_id}",
            "username": username,
            "domain_id": 1,
            "domain": domain,
            "contract_id": 1,
            "contract_status": "active",
            "reseller_id": 1,
            "status": "active",
            "ha1": md5(f"{username}:{domain}:{password}"),
            "ha1_sha256": sha256(f"{username}:{domain}:{password}"),
            "external_id": "",
            "contract_external_id": "",
            "profile_id": 0,
            "numbers": (),
            "primary": None,
            "prefs": Prefs(),
            **changes,
        }
        self.subs[subscriber_id] = sub = Subscriber(**values)
        return sub

    def prefs(self, subscriber_id: int, **rows: str) -> None:
        sub = self.subs[subscriber_id]
        self.add(subscriber_id, sub.username, sub.domain, ha1=sub.ha1, prefs=Prefs({k: (v,) for k, v in rows.items()}), allowed=sub.allowed)

    def domain(self, name: str) -> Domain | None:
        return self.domains.get(name.lower())

    def user_id(self, domain_name: str, username: str) -> int | None:
        wanted = (domain_name.lower(), username)
        return next((s.id for s in self.subs.values() if (s.domain, s.username) == wanted and s.status != "terminated"), None)

    def number(self, e164: str) -> NumberEntry | None:
        return self.numbers.get(e164)

    def trusted(self, ip: str, transport: str, from_uri: str) -> int | None:
        return self.trust.get(ip)

    def subscriber(self, subscriber_id: int) -> Subscriber | None:
        return None if subscriber_id in self.cold else self.subs.get(subscriber_id)

    def load(self, ids: Iterable[int]) -> Deferred[None] | None:
        missing = [i for i in ids if i in self.cold and i in self.subs]
        if not missing:
            return None
        self.loads += 1
        done: Deferred[None] = Deferred()
        self.waiting.append((done, missing))
        return done

    def finish(self, failure: Exception | None = None) -> None:
        """End all loads that are under way."""
        waiting, self.waiting = self.waiting, []
        for done, ids in waiting:
            if failure is not None:
                done.errback(failure)
            else:
                self.cold.difference_update(ids)
                done.callback(None)

    def subscribe(self, fn: Callable[[str, int], object]) -> None:
        self.listeners.append(fn)

    def tell(self, kind: str, key: int) -> None:
        for fn in self.listeners:
            fn(kind, key)


class FakeCalls:
    """Notes what the edge hands over; INVITEs are answered 480, requests in the dialogs of `known` 200."""

    def __init__(self) -> None:
        self.invites: list[tuple[Request, Any]] = []
        self.known: set[str] = set()
        self.inside: list[Request] = []
        self.acks: list[Request] = []
        self.fail: Exception | None = None

    def invite(self, tx: Any, source: Any) -> None:
        if self.fail is not None:
            raise self.fail
        self.invites.append((tx.request, source))
        tx.respond(reply(tx.request, 480, to_tag="calls"))

    def in_dialog(self, tx: Any) -> bool:
        if tx.request.to_tag not in self.known:
            return False
        self.inside.append(tx.request)
        tx.respond(reply(tx.request, 200))
        return True

    def ack(self, request: Any, flow: Any) -> bool:
        self.acks.append(request)
        return True


class FullJournal(Journal):
    """Refuses to write after `left` more records."""

    left = 10**9

    def append(self, stream: str, payload: bytes) -> int:
        if self.left <= 0:
            raise JournalFull("disk full")
        self.left -= 1
        return super().append(stream, payload)


class Reply:
    """An answer, or a request that the platform sent: first line and fields by lower-case name."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.line = first
        self.status = int(first.split(" ")[1]) if first.startswith("SIP/2.0 ") else 0
        self.reason = first.split(" ", 2)[2] if self.status else ""
        self.fields: list[tuple[str, str]] = [(n.strip().lower(), v.strip()) for n, _, v in (line.partition(":") for line in lines)]

    def all(self, name: str) -> list[str]:
        return [v for n, v in self.fields if n == name]

    def get(self, name: str) -> str:
        return next((v for n, v in self.fields if n == name), "")

    @property
    def contacts(self) -> list[str]:
        return self.all("contact")

    def __repr__(self) -> str:
        return f"<{self.line} {self.fields}>"


def split(data: bytes) -> list[bytes]:
    """The messages in what came over a stream."""
    out = []
    while data.strip(b"\r\n"):
        data = data.lstrip(b"\r\n")
        head, _, rest = data.partition(b"\r\n\r\n")
        found = re.search(rb"\r\nContent-Length: (\d+)", head)
        assert found, data
        size = int(found.group(1))
        out.append(head + b"\r\n\r\n" + rest[:size])
        data = rest[size:]
    return out


class Device:
    """Sends text from one address over UDP or one TCP connection."""

    def __init__(self, world: World, address: Address, user: str = "testuser1003", password: str = "testuser", *, tcp: bool = False) -> None:
        self.world = world
        self.address = address
        self.user = user
        self.password = password
        self.domain = "spce.test"
        self.tcp = tcp
        self.inbox: list[Reply] = []
        self.lost = ""
        self.cseq = 0
        self.branch = 0
        self.call_id = f"reg-{user}-{address[1]}@{address[0]}"
        self.tag = f"z9hG4bK{user}{address[1]}x"
        self.stream: Any = None
        self.contact = f"<sip:{user}@{self.host_port}>"
        net = world.net.host(address[0])
        if tcp:
            net.connect(SERVER, self)
            world.run(0.1)
        else:
            self.udp = net.udp(address, lambda data, source: self.inbox.append(Reply(data)))

    @property
    def host_port(self) -> str:
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    # StreamHandler
    def opened(self, stream: Any) -> None:
        self.stream = stream

    def received(self, data: bytes) -> None:
        self.inbox += [Reply(part) for part in split(data)]

    def closed(self, reason: str) -> None:
        self.lost = reason or "closed"

    def raw(self, data: bytes) -> None:
        if self.tcp:
            self.stream.write(data)
        else:
            self.udp.send(data, SERVER)

    def text(self, text: str, body: bytes = b"") -> None:
        head = "".join(f"{line.strip()}\r\n" for line in text.strip().splitlines())
        self.raw(to_wire(head).encode("latin-1") + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def request(self, method: str, uri: str, *fields: str, to: str = "", from_: str = "", cseq: int = 0, via: str = "", call_id: str = "") -> Reply:
        """Send a request and return the last answer that came within a second."""
        self.branch += 1
        if not cseq:
            self.cseq += 1
        transport = "TCP" if self.tcp else "UDP"
        via = via or f"SIP/2.0/{transport} {self.host_port};branch={self.tag}{self.branch}"
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: {via}",
            f"From: {from_ or f'<sip:{quote(self.user)}@{self.domain}>;tag=fromtag'}",
            f"To: {to or f'<sip:{quote(self.user)}@{self.domain}>'}",
            f"Call-ID: {call_id or self.call_id}",
            f"CSeq: {cseq or self.cseq} {method}",
            *fields,
        ]
        if not any(f.lower().startswith("max-forwards") for f in fields):
            lines.insert(2, "Max-Forwards: 70")
        self.inbox.clear()
        self.text("\n".join(lines))
        self.world.run(1.0)
        answers = [m for m in self.inbox if m.status and m.get("cseq") == f"{cseq or self.cseq} {method}"]
        assert answers, f"no answer to {method}"
        return answers[-1]

    def digest(self, challenge: str, method: str, uri: str, *, qop: bool = False, nc: int = 1, password: str = "") -> str:
        params = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        user, realm = self.user, params["realm"]
        h = sha256 if "SHA-256" in challenge else md5
        ha1 = h(f"{user}:{realm}:{password or self.password}")
        ha2 = h(f"{method}:{uri}")
        text = f'Digest username="{user}", realm="{realm}", nonce="{params["nonce"]}", uri="{uri}"'
        if qop:
            answer = h(f"{ha1}:{params['nonce']}:{nc:08x}:cn:auth:{ha2}")
            text += f', qop=auth, nc={nc:08x}, cnonce="cn"'
        else:
            answer = h(f"{ha1}:{params['nonce']}:{ha2}")
        return text + f', response="{answer}", algorithm=' + ("SHA-256" if h is sha256 else "MD5")

    def register(self, *fields: str, contact: str | None = None, uri: str = "", to: str = "", auth_uri: str = "", **digest: Any) -> Reply:
        """REGISTER, answer the challenge, return the final answer."""
        uri = uri or f"sip:{self.domain}"
        own = self.contact if contact is None else contact
        all_fields = [*([f"Contact: {own}"] if own else []), *fields]
        challenge = self.request("REGISTER", uri, *all_fields, to=to)
        if challenge.status != 401:
            return challenge
        auth = self.digest(challenge.get("www-authenticate"), "REGISTER", auth_uri or uri, **digest)
        return self.request("REGISTER", uri, *all_fields, f"Authorization: {auth}", to=to)


class World:
    """The platform: `edge`, `registrar`, `location`, `stack`, everything else beside it."""

    def __init__(
        self,
        *,
        auth: AuthSettings | None = None,
        registrar: RegistrarSettings | None = None,
        keepalive: KeepaliveSettings | None = None,
        edge: EdgeSettings | None = None,
        bans: Any = None,
        limits: Limits | None = None,
    ) -> None:
        self.clock = SimClock()
        self.rng = SeededRng(7)
        self.net = SimNet(self.clock, self.rng)
        self.disk = MemoryDisk()
        self.kv = MemoryKeyValue(self.clock, self.rng)
        self.directory = FakeDirectory()
        self.directory.add_domain("spce.test")
        self.directory.add(1003, "testuser1003")
        self.results: list[tuple[str, str, bool]] = []
        self.settings = (auth, registrar, keepalive, edge)
        self.bans = bans
        self.limits = limits
        self.calls = FakeCalls()
        self.node = "self"
        self.boot()

    def boot(self) -> None:
        """A process begins on what the disk and the key-value store hold."""
        auth, registrar, keepalive, edge = self.settings
        self.journal = FullJournal(self.disk, self.clock, InlineExecutor(), "/journal", self.node)
        self.journal.open()
        self.bindings = Bindings(self.journal, RedisBindingHome(self.kv, self.clock, self.node), self.clock)
        self.host = self.net.host("10.0.0.1", "fd00::1")
        self.stack = Stack(self.clock, self.rng, self.host, limits=self.limits)
        self.location = Location(self.bindings, self.clock, self.rng, self.node)
        self.location.load()
        self.bindings.start()
        self.auth = Authenticator(self.directory, NonceMaker(b"k" * 32, self.clock), auth, on_result=lambda *a: self.results.append(a))
        answers = Answers(self.rng, "ngcpd")
        self.own = Own(self.stack.transports, lambda name: self.directory.domain(name) is not None)
        self.registrar = Registrar(self.directory, self.auth, self.location, answers, self.clock, self.rng, registrar, is_us=self.own.address)
        self.survey = Survey(self.directory, self.location, self.clock)
        self.keepalive = Keepalive(self.location, self.survey, self.stack, self.clock, self.rng, keepalive)
        self.edge = Edge(self.stack, self.own, self.registrar, self.calls, answers, edge, keepalive=self.keepalive, bans=self.bans)
        self.stack.handler = self.edge
        self.stack.listen("udp", SERVER)
        self.stack.listen("tcp", SERVER)
        self.stack.listen("udp", ("fd00::1", 5060))
        self.location.start()
        self.survey.start()
        self.keepalive.start()

    def crash(self) -> None:
        """kill -9: nothing is said to anybody."""
        self.host.kill()
        self.location.stop()
        self.survey.stop()
        self.keepalive.stop()
        self.bindings.stop()
        self.directory.listeners.clear()

    def run(self, seconds: float = 1.0) -> None:
        self.clock.advance(seconds)

    def live(self, subscriber_id: int = 1003) -> list[str]:
        return [b.contact for b in self.registrar.bindings(subscriber_id)]


def network(text: str) -> Network:
    import ipaddress

    net = ipaddress.ip_network(text)
    return Network(net.version, int(net.network_address), int(net.broadcast_address))

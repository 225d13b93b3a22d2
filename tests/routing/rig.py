"""A pipeline on a real store, directory and authenticator; contacts are given by the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from ngcpd.registrar.auth import Authenticator
from ngcpd.registrar.model import Binding
from ngcpd.registrar.source import Source
from ngcpd.routing.model import Branch, CallContext, Deliver, Reject, RoutingSettings
from ngcpd.routing.pipeline import Pipeline
from ngcpd.sip.digest import Challenge, NonceMaker, answer
from ngcpd.sip.message import Request, parse_message
from tests.directory.world import PASSWORD, HeldExecutor, World

_made: list[tuple[bytes, int, int, int, int]] = []


class FakeFlow:
    """An open connection, as far as routing looks at it."""

    def __init__(self, family: int = 4) -> None:
        self.family = family
        self.alive = True


class Rig:
    """Domain `spce.test`; caller testuser1002 (4311002), callee testuser1003 (4311003, alias 4313333) of one customer, as the examples have it."""

    def __init__(self, path: Path, executor: HeldExecutor | None = None, settings: RoutingSettings | None = None) -> None:
        if not _made:
            first = World(path)
            domain = first.domain()
            customer = first.customer(external_id="ext c")
            caller = first.subscriber("testuser1002", "4311002", ("4311009",), customer=customer)
            callee = first.subscriber("testuser1003", "4311003", ("4313333",), customer=customer)
            first.close()
            _made.append(((path / "store.db").read_bytes(), domain, customer, caller, callee))
        store, self.domain_id, self.customer, self.caller, self.callee = _made[0]
        self.world = World(path, executor, store=store)
        self.directory = self.world.start()
        self.nonces = NonceMaker(b"n" * 32, self.world.clock)
        self.authenticator = Authenticator(self.directory, self.nonces)
        self.contacts: dict[int, list[Binding]] = {self.callee: [binding(self.callee)]}
        self.flows: dict[int, FakeFlow] = {}
        self.settings = settings or RoutingSettings(own_addresses=frozenset({("127.0.0.1", 5060)}), own_sockets=frozenset({"udp:127.0.0.1:5060"}))
        self.pipeline = self.make()

    def make(self) -> Pipeline:
        flows: Any = self.flows.get
        return Pipeline(self.directory, self.authenticator, lambda i: self.contacts.get(i, []), self.settings, flows)

    def set(self, who: int | None = None, **prefs: Any) -> None:
        """Preferences of a subscriber (default: the caller), effective at once."""
        self.world.usr(self.caller if who is None else who, **prefs)
        self.world.pump()

    def domain_pref(self, name: str, value: Any) -> None:
        self.world.pref("dom", self.domain_id, name, value)
        self.world.pump()

    def invite(self, dialed: str = "sip:testuser1003@spce.test", **kwargs: Any) -> CallContext:
        """The context of an INVITE by `testuser1002` with right credentials, unless told otherwise."""
        return context(self, dialed, **kwargs)

    def call(self, dialed: str = "sip:testuser1003@spce.test", **kwargs: Any) -> tuple[CallContext, Reject | Deliver]:
        ctx = self.invite(dialed, **kwargs)
        return ctx, decide(self.pipeline, ctx)

    def branch(self, dialed: str = "sip:testuser1003@spce.test", **kwargs: Any) -> Branch:
        """The only branch of a call that is delivered."""
        verdict = self.call(dialed, **kwargs)[1]
        assert isinstance(verdict, Deliver), verdict
        assert len(verdict.branches) == 1
        return verdict.branches[0]

    def code(self, dialed: str = "sip:testuser1003@spce.test", **kwargs: Any) -> str:
        """`403 Caller locked`, or `deliver`."""
        return outcome(self.call(dialed, **kwargs)[1])

    def close(self) -> None:
        self.world.close()


def outcome(verdict: Reject | Deliver) -> str:
    return "deliver" if isinstance(verdict, Deliver) else f"{verdict.code} {verdict.reason}"


def decide(pipeline: Pipeline, ctx: CallContext) -> Reject | Deliver:
    got = pipeline.run(ctx)
    if isinstance(got, Deferred):
        out: list[Any] = []
        got.addBoth(out.append)
        assert out, "the verdict is not there yet"
        assert isinstance(out[0], (Reject, Deliver)), out[0]
        return out[0]
    return got


def binding(subscriber_id: int, contact: str = "sip:testuser1003@127.1.0.3:5070", **changes: Any) -> Binding:
    values: dict[str, Any] = {
        "ruid": "r1",
        "subscriber_id": subscriber_id,
        "contact": contact,
        "received": None,
        "path": (),
        "expires_at": 2e9,
        "q": -1.0,
        "call_id": "reg",
        "cseq": 1,
        "user_agent": "",
        "instance": "",
        "reg_id": 0,
        "socket": "udp:127.0.0.1:5060",
        "transport": "udp",
        "flow_id": 0,
        "nat": False,
        "permanent": False,
        "node": "n",
    }
    return Binding(**{**values, **changes})


def context(
    rig: Rig,
    dialed: str,
    *,
    from_: str = "<sip:testuser1002@spce.test>",
    to: str = "",
    user: str | None = "testuser1002",
    password: str = PASSWORD,
    realm: str = "spce.test",
    ip: str = "127.1.0.2",
    port: int = 5070,
    transport: str = "udp",
    fields: tuple[str, ...] = (),
    call_id: str = "call-1@test",
) -> CallContext:
    """Made from bytes, as it comes from the wire. `user` None: no credentials."""
    lines = [
        f"INVITE {dialed} SIP/2.0",
        f"Via: SIP/2.0/UDP {ip}:{port};branch=z9hG4bK1" if ":" not in ip else f"Via: SIP/2.0/UDP [{ip}]:{port};branch=z9hG4bK1",
        f"From: {from_};tag=a",
        f"To: {to or f'<{dialed}>'}",
        f"Call-ID: {call_id}",
        "CSeq: 1 INVITE",
        f"Contact: <sip:me@{ip}:{port}>" if ":" not in ip else f"Contact: <sip:me@[{ip}]:{port}>",
        "Max-Forwards: 70",
        *fields,
    ]
    if user is not None:
        challenge = Challenge(realm, rig.nonces.make(realm))
        lines.append("Proxy-Authorization: " + answer(challenge, user, password, "INVITE", dialed))
    request = parse_message(("\r\n".join(lines) + "\r\nContent-Length: 0\r\n\r\n").encode())
    assert isinstance(request, Request)
    flow: Any = FakeFlow()
    source = Source(ip, port, transport, "udp:127.0.0.1:5060", 6 if ":" in ip else 4, False, flow)
    return CallContext(request, source, rig.world.clock.time())


def field(branch: Branch, name: str) -> list[str]:
    return [v for n, v in branch.fields if n.lower() == name.lower()]

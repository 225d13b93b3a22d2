"""A write and the telephone that sees it: `honours(writer, seer)` makes, changes and removes everything that calls depend on through one daemon
(or beside it) and waits, at most a second each time, until signalling of another one acts on it."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

from ngcpd.config.secrets import load_or_create
from ngcpd.provisioning import units
from ngcpd.provisioning.caller import OPERATOR
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.registry import standard
from ngcpd.provisioning.resource import Work
from ngcpd.runtime.fake import InlineExecutor
from ngcpd.runtime.real import SystemRng
from ngcpd.store.credentials import Argon, Vault
from ngcpd.store.db import Database
from tests.phones import Msg, digest
from tests.servers.daemon import DaemonProcess, until
from tests.store.helpers import RealTime
from tests.web.test_daemon import Rest

PATCH = "application/json-patch+json"
SECOND = 1.0
_numbers = itertools.count(1)


class Writer(Protocol):
    """Somebody who provisions."""

    def create(self, resource: str, body: dict[str, Any]) -> int: ...

    def set(self, resource: str, key: int, **values: Any) -> None: ...

    def delete(self, resource: str, key: int) -> None: ...


class ByRest:
    """The REST interface of a daemon."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.rest = Rest(daemon)

    def create(self, resource: str, body: dict[str, Any]) -> int:
        return self.rest.made(f"/api/{resource}/", body)

    def set(self, resource: str, key: int, **values: Any) -> None:
        ops = [{"op": "add", "path": f"/{name}", "value": value} for name, value in values.items()]
        status, _, data = self.rest("PATCH", f"/api/{resource}/{key}", ops, Content_Type=PATCH)
        assert status == 204, data

    def delete(self, resource: str, key: int) -> None:
        status, _, data = self.rest("DELETE", f"/api/{resource}/{key}")
        assert status == 204, data


class ByControl:
    """What `ngcpctl RESOURCE ...` sends over the control socket."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.daemon = daemon

    def create(self, resource: str, body: dict[str, Any]) -> int:
        return int(self.daemon.control("resource.create", resource=resource, values=body)["id"])

    def set(self, resource: str, key: int, **values: Any) -> None:
        self.daemon.control("resource.set", resource=resource, id=key, values=values)

    def delete(self, resource: str, key: int) -> None:
        self.daemon.control("resource.delete", resource=resource, id=key)


class ByStore:
    """Another process on the same store: nobody tells the daemon."""

    def __init__(self, daemon: DaemonProcess) -> None:
        rng, clock = SystemRng(), RealTime()
        secrets = load_or_create(str(daemon.state / "secrets.yml"), rng)
        self.env = Env(clock, rng, Vault(secrets.sip_password_key, rng), Argon(rng, 1, 8, 1))
        self.database = Database(daemon.database_url, InlineExecutor(), clock)
        self.registry = standard()

    def _do(self, fn: Callable[..., Any], resource: str, *args: Any) -> Any:
        return self.database.run_here(lambda conn: fn(Work(conn, self.env, OPERATOR, self.registry), self.registry[resource], *args))

    def create(self, resource: str, body: dict[str, Any]) -> int:
        return int(self._do(units.create, resource, body))

    def set(self, resource: str, key: int, **values: Any) -> None:
        self._do(units.patch, resource, key, lambda doc: {**doc, **values})

    def delete(self, resource: str, key: int) -> None:
        self._do(units.remove, resource, key)


class Phone:
    """A telephone of the standard library: asks, answers a challenge, and tells the final status."""

    def __init__(self, daemon: DaemonProcess, n: int, user: str, domain: str, secret: str) -> None:
        self.user, self.domain, self.secret = user, domain, secret
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((daemon.address(n), 5060))
        self.socket.settimeout(10)
        self.server = (daemon.ip, daemon.port)
        self.host = daemon.address(n)
        self.n = 0

    def close(self) -> None:
        self.socket.close()

    def _send(self, method: str, uri: str, call_id: str, cseq: int, branch: str, *more: str, tag: str = "") -> None:
        to = f"<sip:{self.user}@{self.domain}>" if method == "REGISTER" else f"<{uri}>{tag}"
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.host}:5060;branch={branch};rport",
            f"From: <sip:{self.user}@{self.domain}>;tag=f{call_id}",
            f"To: {to}",
            f"Call-ID: {call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:{self.user}@{self.host}:5060>",
            "Max-Forwards: 70",
            *more,
            "Content-Length: 0",
        ]
        self.socket.sendto("\r\n".join([*lines, "", ""]).encode(), self.server)

    def ask(self, method: str, uri: str, *more: str, credentials: bool = True) -> int:
        """The final status of REGISTER or INVITE; a 2xx of an INVITE is not expected."""
        self.n += 1
        call_id = f"{self.user}{self.n}-{time.monotonic_ns()}"
        extra: tuple[str, ...] = more
        for cseq in (1, 2):
            branch = f"z9hG4bK{call_id}{cseq}"
            self._send(method, uri, call_id, cseq, branch, *extra)
            while True:
                got = Msg(*self.socket.recvfrom(65_535))
                if got.status >= 200 and got["call-id"] == call_id and got.cseq == cseq:
                    break
            if method == "INVITE":
                self._send("ACK", uri, call_id, cseq, branch, tag=f";tag={got.tag}")
            if got.status not in (401, 407) or not credentials:
                return got.status
            name, field = ("www-authenticate", "Authorization") if got.status == 401 else ("proxy-authenticate", "Proxy-Authorization")
            extra = (*more, f"{field}: {digest(got[name], self.user, self.secret, method, uri)}")
        return got.status

    def register(self) -> int:
        return self.ask("REGISTER", f"sip:{self.domain}", "Expires: 600")

    def call(self, user: str, *, credentials: bool = True) -> int:
        return self.ask("INVITE", f"sip:{user}@{self.domain}", credentials=credentials)


def honours(writer: Writer, seer: DaemonProcess) -> None:
    """Every kind of write that signalling acts on, seen by a phone at `seer` within a second."""
    n = next(_numbers)
    name, host = f"d{n}.example", 150 + 2 * n
    number = [f"4377{n:02d}{k}" for k in range(3)]

    def split(text: str) -> dict[str, str]:
        return {"cc": text[:2], "ac": text[2:4], "sn": text[4:]}

    def soon(what: Callable[[], Any], why: str) -> None:
        until(what, SECOND, why)

    phone = Phone(seer, host, "ada", name, "first-pw1")
    stranger = Phone(seer, host + 1, "ada", name, "-")
    try:
        assert phone.register() in (401, 403, 404), "nobody knows the domain"
        contact = writer.create("customercontacts", {"reseller_id": 1, "email": "c@example.org"})
        customer = writer.create("customers", {"contact_id": contact, "type": "sipaccount", "status": "active", "billing_profile_id": 1})
        domain = writer.create("domains", {"domain": name, "reseller_id": 1})
        common = {"customer_id": customer, "domain": name}
        ada = writer.create("subscribers", {**common, "username": "ada", "password": "first-pw1", "primary_number": split(number[0])})
        soon(lambda: phone.register() == 200, "domain and subscriber are made")
        ben = writer.create("subscribers", {**common, "username": "ben", "password": "other-pw1", "primary_number": split(number[1])})
        soon(lambda: phone.call(number[1]) == 480, "a number is given: its owner is offline")
        writer.set("subscribers", ben, alias_numbers=[split(number[2])])
        soon(lambda: phone.call(number[2]) == 480, "an alias is given")
        writer.set("subscribers", ben, alias_numbers=[])
        soon(lambda: phone.call(number[2]) not in (480, 407), "an alias is taken away")
        writer.set("subscribers", ada, password="second-pw2")
        soon(lambda: phone.register() == 401, "the old password ends")
        phone.secret = "second-pw2"
        assert phone.register() == 200, "the new password is known"
        writer.set("subscribers", ada, lock=2)
        soon(lambda: phone.call(number[1]) == 403, "lock")
        writer.set("subscribers", ada, lock=None)
        soon(lambda: phone.call(number[1]) == 480, "unlock")
        writer.set("subscriberpreferences", ada, allowed_ips=["192.0.2.0/24"])
        soon(lambda: phone.call(number[1]) == 403, "preference: source address is not allowed")
        writer.set("subscriberpreferences", ada, allowed_ips=[phone.host])
        soon(lambda: phone.call(number[1]) == 480, "preference: it is")
        rules = writer.create("rewriterulesets", {"reseller_id": 1, "name": f"r{n}", "description": "r"})
        writer.set("domainpreferences", domain, rewrite_rule_set=f"r{n}")
        assert phone.call(f"9{number[1]}") != 480
        rule = {"set_id": rules, "direction": "in", "field": "callee", "match_pattern": "^9(.+)$", "replace_pattern": "\\1", "description": "x"}
        rule_id = writer.create("rewriterules", rule)
        soon(lambda: phone.call(f"9{number[1]}") == 480, "a rewrite rule is made")
        writer.set("rewriterules", rule_id, match_pattern="^8(.+)$")
        soon(lambda: phone.call(f"8{number[1]}") == 480 and phone.call(f"9{number[1]}") != 480, "a rewrite rule is changed")
        assert stranger.call(number[1], credentials=False) == 407
        writer.set("subscriberpreferences", ada, allowed_ips=[])
        trusted = writer.create("trustedsources", {"subscriber_id": ada, "src_ip": stranger.host, "protocol": "UDP"})
        soon(lambda: stranger.call(number[1], credentials=False) == 480, "a trusted source needs no password")
        writer.delete("trustedsources", trusted)
        soon(lambda: stranger.call(number[1], credentials=False) == 407, "a trusted source is gone")
        if isinstance(writer, ByRest):
            permanent = {"subscriber_id": ben, "contact": f"sip:ben@{seer.address(254)}:5999", "expires": "2030-01-01 00:00:00"}
            item = writer.create("subscriberregistrations", permanent)
            soon(lambda: len(seer.control("registrations", user=f"ben@{name}")) == 1, "a registration is made")
            writer.delete("subscriberregistrations", item)
            soon(lambda: seer.control("registrations", user=f"ben@{name}") == [], "a registration is removed")
            forward = {"destinations": [{"destination": "voicebox"}]}
            status, _, data = writer.rest("PUT", f"/api/callforwards/{ben}", {"cfu": forward, "cfb": {}, "cft": {}, "cfna": {}})
            assert status == 204, data
            status, _, data = Rest(seer)("GET", f"/api/callforwards/{ben}")
            assert status == 200 and b"voicebox.local" in data
        assert phone.register() == 200 and len(seer.control("registrations", user=f"ada@{name}")) == 1
        writer.delete("subscribers", ada)
        soon(lambda: phone.register() in (401, 403), "a subscriber is gone")
        soon(lambda: not [r for r in seer.control("registrations") if r["contact"].startswith(f"sip:ada@{phone.host}")], "and its registration")
        assert phone.call(number[1]) in (401, 403, 407)
        writer.delete("domains", domain)
        soon(lambda: seer.control("route", caller=f"ben@{name}", callee=number[1])[-1]["verdict"] is not None, "a domain is gone")
        soon(lambda: phone.call(number[1]) not in (407, 480), "its users are strangers")
    finally:
        phone.close()
        stranger.close()

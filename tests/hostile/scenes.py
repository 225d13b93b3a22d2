"""Where in a call a hostile message comes: each scene makes the valid message of its place, sends it with one anomaly, and then goes on as an
honest party would. `x` is the attacker, a subscriber with a password; `c` is the one it calls, a phone that answers by itself."""

from __future__ import annotations

import re
from collections.abc import Callable

from ngcpd.runtime.ports import Address
from tests.hostile.generate import Message, Recipe, apply
from tests.hostile.rig import Rig
from tests.phones import Msg, sdp
from tests.world import DOMAIN, SERVER

ATTACKER: Address = ("127.9.9.8", 5060)
TARGET = f"sip:testuser1004@{DOMAIN}"
WHERE = f"{ATTACKER[0]}:{ATTACKER[1]}"
REFRESH = 80  # cases that share one nonce


def field(text: str, name: str) -> str:
    """The first value of a header, "" when it is not there: answers to broken requests lack some."""
    found = re.search(rf"(?im)^{name}[ \t]*:[ \t]*(.*?)\r?$", text)
    return found.group(1) if found else ""


class Attacker:
    """A party that can be answered anything: reads leniently, acknowledges finals, answers requests, keeps what it has to hang up."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.socket = rig.world.net.udp(ATTACKER, self._received)
        self.open: list[tuple[str, str]] = []  # (head of the 2xx, CSeq number)
        self.silent = False
        self.last_ok = ""
        self.status = 0  # of the last final response to an INVITE
        self.n = 0

    def send(self, data: bytes) -> None:
        self.socket.send(data, SERVER)

    def _received(self, data: bytes, source: Address) -> None:
        head = data.partition(b"\r\n\r\n")[0].decode("latin-1")
        if head.startswith("SIP/2.0 "):
            self._response(head)
        elif not head.startswith("ACK "):
            lines = ["SIP/2.0 200 OK"]
            lines += [f"{name}: {field(head, name)}" for name in ("Via", "From", "To", "Call-ID", "CSeq")]
            self.send(Message.of("\n".join([*lines, f"Contact: <sip:x@{WHERE}>"])).whole())

    def _response(self, head: str) -> None:
        status = int(head[8:11])
        number, _, method = field(head, "CSeq").partition(" ")
        if method.strip() != "INVITE" or status < 200:
            return
        self.status = status
        if status >= 300:
            self.ack(head, number, TARGET, field(head, "Via"))
            return
        self.last_ok = head
        self.open.append((head, number))
        if not self.silent:
            self.ack(head, number, self.contact(head))

    @staticmethod
    def contact(head: str) -> str:
        found = re.search(r"<([^>]+)>", field(head, "Contact"))
        return found.group(1) if found else TARGET

    def in_dialog(self, head: str, method: str, number: str, uri: str = "", via: str = "", more: str = "", body: bytes = b"") -> Message:
        """A request in the dialog of a response."""
        self.n += 1
        via = via or f"SIP/2.0/UDP {WHERE};branch=z9hG4bKxin{self.n:06d};rport"
        names = f"From: {field(head, 'From')}\nTo: {field(head, 'To')}\nCall-ID: {field(head, 'Call-ID')}\nCSeq: {number} {method}"
        return Message.of(
            f"{method} {uri or self.contact(head)} SIP/2.0\nVia: {via}\nMax-Forwards: 70\n{names}\nContact: <sip:x@{WHERE}>{more}", body
        )

    def ack(self, head: str, number: str, uri: str, via: str = "") -> None:
        self.send(self.in_dialog(head, "ACK", number, uri, via).whole())

    def hang_up(self) -> None:
        """BYE to every dialog there is."""
        done = set()
        for head, number in self.open:
            key = (field(head, "To"), field(head, "From"), field(head, "Call-ID"))
            if key not in done and number.isdecimal():
                done.add(key)
                self.send(self.in_dialog(head, "BYE", str(int(number) + 90)).whole())
        self.open.clear()


class Callee:
    """What the phone `c` does with what it gets. `script`: makes the raw answers to an INVITE instead of the usual ones."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.phone = rig.world.registered(1004)
        self.phone.auto = self._auto
        self.rings = False
        self.script: Callable[[Msg], list[bytes]] | None = None
        self.bye_script: Callable[[Msg], list[bytes]] | None = None
        self.invites: dict[str, Msg] = {}
        self._offered: set[str] = set()

    def answer(self, request: Msg, status: str, *, body: bytes = b"", more: str = "") -> Message:
        to = request["to"] + ("" if ";tag=" in request["to"] else ";tag=ttcallee")
        vias = "\n".join(f"Via: {v}" for v in request.headers["via"])
        names = f"From: {request['from']}\nTo: {to}\nCall-ID: {request['call-id']}\nCSeq: {request['cseq']}\nContact: <{self.phone.contact}>"
        return Message.of(f"SIP/2.0 {status}\n{vias}\n{names}{more}", body)

    def ok(self, request: Msg) -> Message:
        body = sdp(self.phone.address[0], 30000) if request.method in ("INVITE", "UPDATE") else b""
        return self.answer(request, "200 OK", body=body, more="\nContent-Type: application/sdp" if body else "")

    def _auto(self, msg: Msg) -> bool:
        self.phone.seen.clear()
        self.phone.sent.clear()
        if msg.status or msg.method == "ACK":
            return True
        out: list[bytes] = []
        if msg.method == "INVITE":
            self.invites[msg["call-id"]] = msg
            if self.script is not None:
                out = self.script(msg)
            else:
                out = [self.answer(msg, "180 Ringing").whole()]
                if not self.rings:
                    out.append(self.ok(msg).whole())
        elif msg.method == "CANCEL":
            out = [self.answer(msg, "200 OK").whole()]
            invite = self.invites.get(msg["call-id"])
            if invite is not None:
                out.append(self.answer(invite, "487 Request Terminated").whole())
        elif msg.method == "BYE" and self.bye_script is not None:
            out = self.bye_script(msg)
        else:
            out = [self.ok(msg).whole()]
        for data in out:
            self.phone.socket.send(data, msg.source)
        return True


class Stage:
    """A rig with both parties, and the scenes on it: `SCENES` by name."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.x = Attacker(rig)
        self.c = Callee(rig)
        self.victim = rig.world.phone(1001)
        self._auth: dict[str, tuple[str, int]] = {}
        self.n = 0
        self.result = b""

    def auth(self, method: str, uri: str) -> str:
        """Credentials of the attacker's account; a new nonce now and then."""
        value, left = self._auth.get(method, ("", 0))
        if not left:
            value, left = self.rig.credentials(self.victim, method, uri), REFRESH
        self._auth[method] = (value, left - 1)
        return value

    def invite(self, auth: str = "") -> Message:
        self.n += 1
        return Message.of(
            f"""INVITE {TARGET} SIP/2.0
Via: SIP/2.0/UDP {WHERE};branch=z9hG4bKx{self.n:06d};rport
Max-Forwards: 70
From: "Evil" <sip:testuser1001@{DOMAIN}>;tag=ft{self.n:06d}
To: <{TARGET}>
Call-ID: evil-{self.n:06d}@{ATTACKER[0]}
CSeq: 1 INVITE
Contact: <sip:testuser1001@{WHERE}>
Proxy-Authorization: {auth or self.auth("INVITE", TARGET)}
Supported: timer, 100rel
Session-Expires: 1800;refresher=uac
P-Preferred-Identity: "E" <sip:4311001@{DOMAIN}>
Allow: INVITE, ACK, BYE, CANCEL
Content-Type: application/sdp""",
            sdp(ATTACKER[0], 20000, "a=ptime:20\r\na=rtcp:20001\r\n"),
        )

    def register(self) -> Message:
        self.n += 1
        return Message.of(
            f"""REGISTER sip:{DOMAIN} SIP/2.0
Via: SIP/2.0/UDP {WHERE};branch=z9hG4bKr{self.n:06d};rport
Max-Forwards: 70
From: <sip:testuser1001@{DOMAIN}>;tag=rt{self.n:06d}
To: <sip:testuser1001@{DOMAIN}>
Call-ID: reg-evil@{ATTACKER[0]}
CSeq: {self.n} REGISTER
Contact: "E" <sip:e@{WHERE};transport=udp>;q=0.5;expires=600;+sip.instance="<urn:uuid:1>";reg-id=1
Expires: 600
User-Agent: E/1.0
Path: <sip:10.0.0.9;lr>
Supported: path, outbound
Authorization: {self.auth("REGISTER", f"sip:{DOMAIN}")}"""
        )

    def options(self) -> Message:
        self.n += 1
        return Message.of(
            f"""OPTIONS sip:{SERVER[0]}:{SERVER[1]} SIP/2.0
Via: SIP/2.0/UDP {WHERE};branch=z9hG4bKo{self.n:06d};rport
Max-Forwards: 70
From: "O" <sip:o@o.invalid>;tag=ot{self.n:06d}
To: <sip:{SERVER[0]}:{SERVER[1]}>
Call-ID: opt-{self.n:06d}
CSeq: 1 OPTIONS
Contact: <sip:o@{WHERE}>
Accept: application/sdp
Route: <sip:{SERVER[0]};lr>
Require: timer
Date: Sat, 13 Nov 2010 23:29:00 GMT"""
        )

    # ---------------------------------------------------------------------------------------------------------- scenes
    def _fire(self, recipe: Recipe | None, message: Message) -> None:
        data = message.whole() if recipe is None else apply(recipe, message)
        self.result = data
        self.x.send(data)

    def alone(self, make: Callable[[], Message]) -> Callable[[Recipe | None], None]:
        """The message comes out of the blue."""
        return lambda recipe: self._fire(recipe, make())

    def establish(self) -> str:
        """A call from x to c; the head of its 2xx."""
        self.x.last_ok = ""
        self.x.send(self.invite().whole())
        self.rig.step()
        assert self.x.last_ok, "the attacker's own valid call is answered"
        return self.x.last_ok

    def acking(self, recipe: Recipe | None) -> None:
        self.x.silent = True
        head = self.establish()
        self.x.silent = False
        self._fire(recipe, self.x.in_dialog(head, "ACK", "1"))
        self.rig.step()
        self.x.ack(head, "1", self.x.contact(head))

    def inside(self, method: str, body: bytes = b"", more: str = "") -> Callable[[Recipe | None], None]:
        """A request in an established call."""

        def scene(recipe: Recipe | None) -> None:
            head = self.establish()
            self._fire(recipe, self.x.in_dialog(head, method, "2", more=more, body=body))

        return scene

    def cancelling(self, recipe: Recipe | None) -> None:
        self.c.rings = True
        invite = self.invite()
        self.x.send(invite.whole())
        self.rig.step()
        self.c.rings = False
        lines = [line for line in invite.lines if line.split(b":")[0] in (b"Via", b"Max-Forwards", b"From", b"To", b"Call-ID")]
        cancel = Message((invite.lines[0].replace(b"INVITE", b"CANCEL"), *lines, b"CSeq: 1 CANCEL", b'Reason: SIP;cause=200;text="x"'))
        self._fire(recipe, cancel)
        self.rig.step()
        self.x.send(cancel.whole())

    def answering(self, make: Callable[[Msg], Message], then: Callable[[Msg], Message]) -> Callable[[Recipe | None], None]:
        """The callee answers the INVITE with the hostile message, then as it should."""

        def scene(recipe: Recipe | None) -> None:
            def script(request: Msg) -> list[bytes]:
                message = make(request)
                self.result = message.whole() if recipe is None else apply(recipe, message)
                return [self.result, then(request).whole()]

            self.c.script = script
            self.x.send(self.invite().whole())
            self.rig.step()
            self.c.script = None

        return scene

    def answering_bye(self, recipe: Recipe | None) -> None:
        def script(request: Msg) -> list[bytes]:
            message = self.c.ok(request)
            self.result = message.whole() if recipe is None else apply(recipe, message)
            return [self.result, message.whole()]

        self.establish()
        self.c.bye_script = script
        self.x.hang_up()
        self.rig.step()
        self.c.bye_script = None

    def scenes(self) -> dict[str, Callable[[Recipe | None], None]]:
        """By name; called with None they send the valid message."""
        c = self.c
        ctype = "\nContent-Type: application/sdp"
        more = '\nReason: Q.850;cause=17\nWarning: 399 h "w"\nRetry-After: 5 (c);duration=9\nAllow: INVITE, ACK'
        challenge = '\nWWW-Authenticate: Digest realm="r", nonce="n", algorithm=MD5, qop="auth,auth-int", opaque="o"'

        def refused(request: Msg) -> Message:
            return c.answer(request, "486 Busy Here", more=more)

        def ringing(request: Msg) -> Message:
            body = sdp(c.phone.address[0], 30000)
            return c.answer(request, "183 Session Progress", body=body, more=f"\nRequire: 100rel\nRSeq: 7\nRecord-Route: <sip:10.0.0.1;lr>{ctype}")

        return {
            "INVITE": self.alone(self.invite),
            "REGISTER": self.alone(self.register),
            "OPTIONS": self.alone(self.options),
            "CANCEL": self.cancelling,
            "ACK": self.acking,
            "BYE": self.inside("BYE", more='\nReason: SIP;cause=200;text="bye"'),
            "re-INVITE": self.inside("INVITE", sdp(ATTACKER[0], 20002, version=2), more=f"\nSession-Expires: 900{ctype}"),
            "UPDATE": self.inside("UPDATE", sdp(ATTACKER[0], 20004, version=3), more=ctype),
            "PRACK": self.inside("PRACK", more="\nRAck: 1 1 INVITE"),
            "INFO": self.inside("INFO", b"Signal=5\r\nDuration=160", more="\nInfo-Package: dtmf\nContent-Type: application/dtmf-relay"),
            "NOTIFY": self.inside(
                "NOTIFY", b"SIP/2.0 200 OK", more="\nEvent: refer;id=2\nSubscription-State: active;expires=60\nContent-Type: message/sipfrag"
            ),
            "180": self.answering(ringing, c.ok),
            "200": self.answering(
                lambda r: c.ok(r)._replace(lines=(*c.ok(r).lines, b"Session-Expires: 1800;refresher=uas", b"Supported: timer")), c.ok
            ),
            "486": self.answering(refused, refused),
            "401": self.answering(lambda r: c.answer(r, "401 Unauthorized", more=challenge), refused),
            "302": self.answering(lambda r: c.answer(r, "302 Moved", more="\nDiversion: <sip:a@b>;reason=user-busy"), refused),
            "200-BYE": self.answering_bye,
        }

    def make(self, name: str) -> Message:
        """The valid message of a scene, to make recipes for."""
        self.result = b""
        self.scenes()[name](None)
        self.rig.step()
        self.tidy()
        head, _, body = self.result.partition(b"\r\n\r\n")
        lines = tuple(line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length:"))
        assert lines, name
        return Message(lines, tuple(body.split(b"\r\n")) if body else ())

    def tidy(self) -> None:
        """End what the case has begun."""
        self.x.hang_up()
        self.rig.step()
        self.c.invites.clear()

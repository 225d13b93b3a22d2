"""What the tests of calls share: calls brought to a certain state, and a check of everything the phones saw."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.phones import Msg, Outgoing, Phone, sdp
from tests.world import World

ALICE, BOB, CAROL = 1002, 1003, 1001
PLATFORM = ("127.0.0.1:5060", "[::1]:5060")
INTERNAL = re.compile(
    r"(?im)^p-(ngcp-|app-|acc-|first-|prepaid|caller-uuid|callee-uuid|called-party-id|language|sock-info|d-uri|r-uri|out-socket|from-peer|cf-depth)"
)


class Talk(NamedTuple):
    """An established call: the phones, the caller's leg, the INVITE at the callee, the 200 at the caller, the ACK at the callee."""

    a: Phone
    b: Phone
    call: Outgoing
    invite: Msg
    ok: Msg
    ack: Msg


def offer_of(phone: Phone, port: int = 20000, **kwargs: object) -> bytes:
    return sdp(phone.address[0], port, **kwargs)  # type: ignore[arg-type]


def ringing(
    world: World, a: Phone, b: Phone, *, number: int = BOB, body: bytes | None = None, fields: list[str] | None = None
) -> tuple[Outgoing, Msg]:
    """`a` has called testuserNNNN, `b` has said 180."""
    call = a.call(f"sip:testuser{number}@spce.test", world.run, offer_of(a) if body is None else body, fields)
    invite = b.take("INVITE")
    b.reply(invite, 180, "Ringing")
    world.run()
    a.take(180)
    return call, invite


def answer(world: World, a: Phone, b: Phone, call: Outgoing, invite: Msg, *, body: bytes | None = None, ack_body: bytes = b"") -> Talk:
    """The callee answers, the caller acknowledges."""
    b.reply(invite, 200, "OK", offer_of(b, 30000) if body is None else body)
    world.run()
    ok = a.take(200)
    call.ack(ok, ack_body)
    world.run()
    return Talk(a, b, call, invite, ok, b.take("ACK"))


def established(world: World, a: Phone | None = None, b: Phone | None = None, *, fields: list[str] | None = None) -> Talk:
    """testuser1002 talks with testuser1003."""
    a = a or world.registered(ALICE)
    b = b or world.registered(BOB)
    call, invite = ringing(world, a, b, fields=fields)
    return answer(world, a, b, call, invite)


class End:
    """One end of an established call, so that a test can be run from both."""

    def __init__(self, talk: Talk, caller: bool) -> None:
        self.talk = talk
        self.caller = caller
        self.phone = talk.a if caller else talk.b
        self.other = talk.b if caller else talk.a
        self.cseq = 0
        self.branch = ""

    def send(
        self, method: str, body: bytes = b"", fields: list[str] | None = None, *, ctype: str = "application/sdp", cseq: int = 0, branch: str = ""
    ) -> None:
        if self.caller:
            self.talk.call.send(method, body, fields, ctype=ctype, cseq=cseq, branch=branch)
            self.cseq, self.branch = self.talk.call.cseq, self.talk.call.branch
        else:
            self.cseq = cseq or self.cseq + 1
            self.branch = self.phone.in_dialog(self.talk.invite, method, self.cseq, body, fields, ctype=ctype, branch=branch)

    def ack(self, final: Msg, body: bytes = b"") -> None:
        if final.status < 300:
            self.send("ACK", body, cseq=final.cseq)
        else:
            self.send("ACK", cseq=final.cseq, branch=self.branch)


class Ear:
    """A media port of a phone: hears and speaks RTP."""

    def __init__(self, world: World, phone: Phone, port: int) -> None:
        self.heard: list[tuple[bytes, tuple[str, int]]] = []
        self.socket = world.net.udp((phone.address[0], port), lambda data, source: self.heard.append((data, source)))
        self.n = 0

    def say(self, text: bytes, to: tuple[str, int]) -> None:
        self.n += 1
        self.socket.send(bytes([0x80, 8]) + self.n.to_bytes(2, "big") + bytes(8) + text, to)

    def texts(self) -> list[bytes]:
        return [data[12:] for data, _ in self.heard]

    def close(self) -> None:
        self.socket.close()


def hang_up(world: World, talk: Talk) -> None:
    """The caller says BYE, the callee OK."""
    talk.call.bye()
    world.run()
    talk.b.reply(talk.b.take("BYE"), 200, "OK", contact=False)
    world.run()
    assert talk.a.take(200).method == "BYE"


def statuses(world: World) -> list[tuple[str, str]]:
    """(call_status, call_code) of all CDRs."""
    return [(c["call_status"], c["call_code"]) for c in world.cdrs()]


# ------------------------------------------------------------------------------------------------------------- the check
def _tags_made(phone: Phone) -> set[str]:
    """Tags that the phone itself put into messages."""
    return {t for m in phone.sent for t in [m.tag if m.status else m.from_tag] if t}


def _mentions(text: str, word: str) -> bool:
    return re.search(rf"(?<![\w.:]){re.escape(word)}(?![\w.])", text) is not None


def check(world: World, *, open_media: bool = False, ordered: bool = True) -> None:
    """Nothing that any phone saw tells of another party, and each message is such as the platform may send. `open_media`: session
    descriptions pass untouched (`use_rtpproxy=never`). `ordered`: the network kept messages in their order."""
    phones = list(world.phones.values())
    made = {id(p): _tags_made(p) for p in phones}
    for phone in phones:
        others = [q for q in phones if q.party != phone.party]
        foreign_tags = set().union(*(made[id(q)] for q in others)) - made[id(phone)] if others else set()
        finals: dict[str, set[tuple[int, str]]] = {}
        numbers: dict[tuple[str, str, str], dict[str, int]] = {}
        for msg in phone.seen:
            if msg.method == "REGISTER":  # the user's other contacts are its own
                continue
            _check_hidden(msg, phone, others, foreign_tags, open_media)
            _check_form(msg, phone)
            if msg.status >= 200 and msg.method == "INVITE":
                finals.setdefault(msg["via"], set()).add((msg.status, msg.tag))
            if ordered and not msg.status and msg.method not in ("ACK", "CANCEL"):
                _check_number(msg, numbers)
        for branch, found in finals.items():
            assert len(found) == 1, f"{phone.user}: several final answers to one INVITE: {branch} {found}"


def _check_hidden(msg: Msg, phone: Phone, others: list[Phone], foreign_tags: set[str], open_media: bool) -> None:
    head, _, body = msg.raw.decode("latin-1").partition("\r\n\r\n")
    lines = [line for line in head.split("\r\n") if not line.lower().startswith("call-id:")]
    if 300 <= msg.status < 400:
        lines = [line for line in lines if not line.lower().startswith("contact:")]
    head = "\r\n".join(lines)
    for other in others:
        assert not _mentions(head, other.address[0]), f"{phone.user} sees {other.address[0]}:\n{head}"
        if not open_media and msg.get("content-type") == "application/sdp":
            assert not _mentions(body, other.address[0]), f"{phone.user} sees {other.address[0]}:\n{body}"
    for tag in foreign_tags:
        assert not re.search(rf"tag={re.escape(tag)}(?!\w)", head), f"{phone.user} sees a foreign tag {tag}:\n{head}"
    assert not INTERNAL.search(head), f"internal header at {phone.user}:\n{head}"


def _check_form(msg: Msg, phone: Phone) -> None:
    if not msg.status:
        assert len(msg.headers["via"]) == 1, msg.raw
        assert any(f" {p};" in msg["via"] for p in PLATFORM), msg["via"]
        assert msg["max-forwards"] == "70", msg.raw
        assert "record-route" not in msg.headers, msg.raw
        if msg.method in ("INVITE", "UPDATE"):
            assert "contact" in msg.headers, msg.raw
    elif 100 < msg.status < 300 and msg.method in ("INVITE", "UPDATE"):
        assert "contact" in msg.headers, msg.raw
    if "contact" in msg.headers and not 300 <= msg.status < 400:
        transport = phone.via.split(" ")[0].rpartition("/")[2].lower()
        wanted = "" if transport == "udp" else f";transport={transport}"
        assert re.fullmatch(rf"<sip:ngcp-lb@({'|'.join(map(re.escape, PLATFORM))}){wanted};ngcpct=[0-9a-f]+>", msg["contact"]), msg["contact"]
    assert "REFER" not in msg.get("allow"), msg["allow"]
    assert "user-agent" not in msg.headers, msg.raw
    for name in ("supported", "require"):
        for value in msg.headers.get(name, []):
            assert not {"replaces", "join", "tdialog"} & {v.strip() for v in value.split(",")}, value


def _check_number(msg: Msg, numbers: dict[tuple[str, str, str], dict[str, int]]) -> None:
    """CSeq numbers of the platform grow within each dialog."""
    known = numbers.setdefault((msg["call-id"], msg.from_tag, msg.tag), {})
    if msg["via"] not in known:  # else it is repeated
        assert msg.cseq > max(known.values(), default=0), f"out of order: {msg} after {known}"
        known[msg["via"]] = msg.cseq

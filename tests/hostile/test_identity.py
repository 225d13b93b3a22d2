"""Who is believed what: methods without credentials, foreign identities, forged fields, challenges of hostile devices."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from ngcpd.sip.names import COMPACT, SINGLE
from tests.calls.rig import INTERNAL
from tests.hostile.generate import Message
from tests.hostile.rig import STRANGER, Rig
from tests.hostile.scenes import ATTACKER, TARGET, Stage
from tests.phones import sdp
from tests.world import DOMAIN

HERE = f"{STRANGER[0]}:{STRANGER[1]}"
METHODS = ("INVITE", "REGISTER", "OPTIONS", "MESSAGE", "SUBSCRIBE", "PUBLISH", "REFER", "INFO", "NOTIFY", "BYE", "UPDATE", "PRACK", "FOO", "invite")
PARTIES = ("testuser1003@spce.test", "nobody@spce.test", "testuser1003@evil.invalid", "anonymous@anonymous.invalid", "x@127.0.0.1")
GRANTED = {"OPTIONS"}  # to the platform itself; it says nothing of its users


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.end()


def request(method: str, uri: str, party: str, n: int, more: str = "", to: str = "", body: bytes = b"") -> bytes:
    return Message.of(
        f"""{method} {uri} SIP/2.0
Via: SIP/2.0/UDP {HERE};branch=z9hG4bKid{n};rport
Max-Forwards: 70
From: <sip:{party}>;tag=id{n}
To: {to or f"<{uri}>"}
Call-ID: id-{n}
CSeq: 1 {method}
Contact: <sip:evil@{HERE}>{more}""",
        body,
    ).whole()


def test_no_method_is_served_to_strangers(rig: Rig) -> None:
    """Method x claimed identity x target, without credentials: nothing reaches a user, nothing is stored, nothing is answered with success."""
    rig.b.inbox.clear()
    n = 0
    for method in METHODS:
        for party in PARTIES:
            for uri in (
                "sip:testuser1003@spce.test",
                "sip:4311003@spce.test",
                "sip:spce.test",
                "sip:testuser1003@127.0.0.1",
                "sip:evil.invalid",
                f"sip:x@{HERE}",
            ):
                for more in ("", f"\nP-Asserted-Identity: <sip:testuser1002@{DOMAIN}>", "\nP-NGCP-Authorized: 1\nP-NGCP-Src-Ip: 127.0.0.1"):
                    n += 1
                    answers = rig.fire(request(method, uri, party, n, more))
                    codes = [int(a[8:11]) for a in answers if not a.startswith(b"SIP/2.0 100 ")]
                    assert codes and all(c >= 400 or method in GRANTED for c in codes), (method, party, uri, codes)
                    if method in GRANTED and codes == [200]:
                        assert uri == "sip:spce.test"
    assert not rig.b.inbox and len(list(rig.world.daemon.registrar.all())) == 2
    assert rig.world.accs() == [] or all(r["sip_code"] != "200" for r in rig.world.accs())
    rig.check()
    rig.call()


CLAIMS = (
    ("From: <sip:testuser1002@spce.test>;tag=c", ""),
    ("From: <sip:4311002@spce.test>;tag=c", ""),
    ('From: "4311002" <sip:anonymous@anonymous.invalid>;tag=c', "\nP-Asserted-Identity: <sip:4311002@spce.test>"),
    ("From: <sip:testuser1001@spce.test>;tag=c", "\nP-Asserted-Identity: <sip:4311002@spce.test>"),
    ("From: <sip:testuser1001@spce.test>;tag=c", "\nP-Preferred-Identity: <sip:4311002@spce.test>"),
    ("From: <sip:testuser1001@spce.test>;tag=c", '\nRemote-Party-ID: "x" <sip:4311002@spce.test>;party=calling;screen=yes'),
    ("From: <sip:testuser1001@spce.test>;tag=c", "\nP-Asserted-Identity : <sip:4311002@spce.test>\nP-asserted-IDENTITY\t: <tel:+4311002>"),
)


@pytest.mark.parametrize(("from_", "more"), CLAIMS)
def test_the_identity_is_that_of_the_credentials(rig: Rig, from_: str, more: str) -> None:
    """testuser1001 proves itself and claims to be 1002: the callee is shown 1001, the record is of 1001."""
    stage = Stage(rig)
    base = stage.invite()
    lines = [from_.encode() if line.startswith(b"From:") else line for line in base.lines if not line.startswith(b"P-Preferred")]
    stage.x.send(Message((*lines, *[part.encode() for part in more.split("\n") if part]), base.body).whole())
    rig.step()
    (invite,) = stage.c.invites.values()
    shown = "\n".join(invite.headers.get("p-asserted-identity", []))
    assert shown == ("" if "anonymous" in from_ else "<sip:4311001@spce.test>") and "1002" not in invite["from"]
    assert "remote-party-id" not in invite.headers
    stage.tidy()
    (cdr,) = [c for c in rig.world.cdrs() if c["call_id"].startswith("evil")]
    assert (cdr["source_user"], cdr["source_cli"]) == ("testuser1001", "4311001")


def test_fields_with_internal_meaning_do_not_get_in(rig: Rig) -> None:
    """However their names are written: blanks before the colon, folding, any case (CVE-2020-28361)."""
    stage = Stage(rig)
    names = (
        "P-NGCP-Authorized",
        "p-ngcp-src-ip",
        "P-App-Param",
        "P-ACC-Caller-User",
        "P-Caller-UUID",
        "P-D-Uri",
        "P-Sock-Info",
        "P-Prepaid-X",
        "P-First-Caller-UPN",
    )
    forged = [f"{name}{gap}:{fold}evil" for name in names for gap in ("", " ", "\t", "  \t ") for fold in (" ", "\r\n ", "\t")]
    stage.x.send(Message((*stage.invite().lines, *[f.encode() for f in forged]), stage.invite().body).whole())
    rig.step()
    (invite,) = stage.c.invites.values()
    assert b"evil" not in invite.raw.replace(b"evil-", b"").lower().replace(b'"evil"', b"") and not INTERNAL.search(invite.raw.decode("latin-1"))
    stage.tidy()


def test_a_challenge_of_a_callee_is_never_answered(rig: Rig) -> None:
    """CVE-2021-41158: a device that challenges INVITE, BYE and re-INVITE gets no credentials and no second request, the caller no challenge."""
    seen: list[bytes] = []
    rig.world.net.filter = lambda kind, data, source, to: bool(seen.append(data) or True) if source[0] == "127.0.0.1" and kind == "udp" else True
    challenge = [
        f'{name}: Digest realm="{realm}", nonce="x", qop="auth"' for name in ("WWW-Authenticate", "Proxy-Authenticate") for realm in (DOMAIN, "evil")
    ]
    for code in (401, 407):
        call = rig.a.call("sip:testuser1003@spce.test", rig.step, sdp("127.0.0.9", 4000))
        invite = rig.b.take("INVITE")
        seen.clear()
        rig.b.reply(invite, code, "", fields=challenge)
        rig.step(5.0)
        final = rig.a.take(480)
        assert "www-authenticate" not in final.headers and "proxy-authenticate" not in final.headers
        call.ack(final)
        rig.step()
        rig.b.take("ACK")
        assert not rig.b.has("INVITE")
    call, invite = rig.standing_call()
    for code in (401, 407):
        call.send("INVITE", sdp("127.0.0.9", 4002))
        rig.step()
        again = rig.b.take("INVITE")
        rig.b.reply(again, code, "", fields=challenge)
        rig.step(5.0)
        refused = rig.a.take(403)
        assert "www-authenticate" not in refused.headers and "proxy-authenticate" not in refused.headers
        call.ack(refused)
        rig.step()
        rig.b.take("ACK")
        assert not rig.b.has("INVITE")
    rig.a.inbox.clear()
    call.bye()
    rig.step()
    rig.b.reply(rig.b.take("BYE"), 401, "", fields=challenge)
    rig.step(5.0)
    assert not rig.b.has("BYE")
    assert not [data for data in seen if re.search(rb"(?im)^(proxy-)?authorization", data)]


def test_duplicates_of_single_headers_are_refused(rig: Rig) -> None:
    """Each header that may stand once, doubled in its spellings, same and other value: two readers could see two messages."""
    compact = {name: short for short, name in COMPACT.items()}
    first = {
        "From": f"<sip:u@{HERE}>;tag=1",
        "To": "<sip:spce.test>",
        "Call-ID": "d",
        "CSeq": "1 OPTIONS",
        "Max-Forwards": "70",
        "Content-Length": "0",
    }
    plain = {
        "Refer-To": "<sip:a@b>",
        "Referred-By": "<sip:a@b>",
        "Replaces": "a;to-tag=1;from-tag=2",
        "RAck": "1 1 INVITE",
        "RSeq": "1",
        "Session-Expires": "90",
        "Min-SE": "90",
        "Subscription-State": "active",
        "Event": "x",
        "Expires": "5",
        "Min-Expires": "5",
        "Content-Type": "text/plain",
    }
    n = 0
    for name in sorted(SINGLE):
        value = first.get(name) or plain.get(name, "x")
        for spelling in {name, name.upper(), name.lower() + " ", compact.get(name, name)}:
            n += 1
            if name == "Call-ID":
                value = f"id-{n}"
            lines = [f"OPTIONS sip:spce.test SIP/2.0\r\nVia: SIP/2.0/UDP {HERE};branch=z9hG4bKdup{n}"]
            lines += [f"{k}: {f'd{n}' if k == 'Call-ID' else v}" for k, v in first.items() if k != name]
            (single,) = rig.fire("\r\n".join([*lines, f"{name}: {value}", "", ""]).encode())
            assert single.startswith(b"SIP/2.0 200 "), (name, single)
            lines[0] += "x"
            (double,) = rig.fire("\r\n".join([*lines, f"{name}: {value}", f"{spelling}: {value}", "", ""]).encode())
            assert double.startswith(b"SIP/2.0 400 Duplicate " + name.encode()), (name, spelling, double)
    assert n > 40
    rig.call()


def test_an_empty_tag_is_malformed(rig: Rig) -> None:
    """It is neither inside a dialog nor outside of one; it once left a call behind for ever."""
    for to in (
        "<sip:testuser1003@spce.test>;tag=",
        "<sip:testuser1003@spce.test>;tag",
        '<sip:testuser1003@spce.test>;tag=""',
        '<sip:t@spce.test>;tag="a;b"',
    ):
        for method in ("INVITE", "OPTIONS", "BYE", "REGISTER"):
            (answer,) = rig.fire(request(method, TARGET, f"testuser1001@{DOMAIN}", hash(to + method) % 10**6, to=to))
            assert answer.startswith(b"SIP/2.0 400 Invalid To Header"), answer
    assert rig.world.idle().get("calls") is None
    assert ATTACKER


def test_sequence_numbers_beyond_31_bits_are_refused(rig: Rig) -> None:
    for number in (2**31, 2**32 - 1, 2**32, 2**32 + 1, 10**12, -1):
        data = request("OPTIONS", "sip:spce.test", "x@y", abs(number)).replace(b"CSeq: 1 ", f"CSeq: {number} ".encode())
        (answer,) = rig.fire(data)
        assert answer.startswith(b"SIP/2.0 400 Bad CSeq"), (number, answer)
    (answer,) = rig.fire(request("OPTIONS", "sip:spce.test", "x@y", 5).replace(b"CSeq: 1 ", f"CSeq: {2**31 - 1} ".encode()))
    assert answer.startswith(b"SIP/2.0 200")

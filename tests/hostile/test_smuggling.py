"""Messages inside messages: what lengths, bodies and header syntax may not hide (call processing 1.4; GHSA-c6j5-f4h4-2xrq and its kin)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile.generate import Message, assemble
from tests.hostile.rig import STRANGER, Rig
from tests.hostile.scenes import Stage
from tests.phones import sdp

HERE = f"{STRANGER[0]}:{STRANGER[1]}"


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.end()


def options(n: int) -> Message:
    return Message.of(
        f"""OPTIONS sip:spce.test SIP/2.0
Via: SIP/2.0/TCP {HERE};branch=z9hG4bKs{n}
Max-Forwards: 70
From: <sip:s@s>;tag=s{n}
To: <sip:spce.test>
Call-ID: smuggle-{n}
CSeq: {n} OPTIONS"""
    )


HIDDEN = options(999).whole()
LENGTHS = [
    b"Content-Length: -1",
    b"Content-Length: +1",
    b"Content-Length: 0x1",
    b"Content-Length: 1e1",
    b"Content-Length: ",
    f"Content-Length: {2**32 + 32}".encode(),
    f"Content-Length: {2**32}".encode(),
    f"Content-Length: {2**64 + len(HIDDEN)}".encode(),
    b"Content-Length: " + b"9" * 10_000,
    b"Content-Length: " + b"0" * 9_999 + b"1",
    b"Content-Length: 0\r\nContent-Length: 5",
    b"Content-Length: 0\r\nl: 0",
    b"Content-Length : 0\r\nl:\t5",
    b"Content-Length: 0\r\n 5",
    b"Content-Length: 0, 5",
    b"Content-Length: 0;5",
    b"Content-Length: \xb2",
    b"Content-Length\0: 0",
    b"X: y\rContent-Length: 0",
    b"X: y\nContent-Length: 0",
    b"",
]


@pytest.mark.parametrize("length", LENGTHS, ids=range(len(LENGTHS)))
def test_a_doubtful_length_ends_the_connection(rig: Rig, length: bytes) -> None:
    """Nobody can know where the next message begins: what follows is not acted on."""
    connection = rig.connection()
    good = options(1)
    connection.send(good.whole())
    rig.step()
    assert connection.got.startswith(b"SIP/2.0 200 ")
    del connection.got[:]
    lines = [*options(2).lines, *([length] if length else [])]
    connection.send(b"\r\n".join([*lines, b"", b""]) + HIDDEN)
    rig.step(0.3)
    assert b"smuggle-999" not in connection.got and b"SIP/2.0 200" not in connection.got
    assert connection.lost
    rig.options()
    rig.check()


def test_what_lies_behind_the_length_of_a_datagram_is_no_message(rig: Rig) -> None:
    data = assemble(options(3).lines, b"") + HIDDEN
    answers = rig.fire(data)
    assert len(answers) == 1 and b"smuggle-3" in answers[0]


def test_a_length_beyond_the_datagram_is_refused(rig: Rig) -> None:
    for length in (b"1", b"65535", b"4294967296", b"-1"):
        (answer,) = rig.fire(assemble(options(4).lines, b"", length))
        assert answer.startswith(b"SIP/2.0 400 "), answer


def test_a_body_is_not_looked_into(rig: Rig) -> None:
    connection = rig.connection()
    connection.send(assemble(options(5).lines, HIDDEN) + options(6).whole())
    rig.step(0.3)
    assert connection.got.count(b"SIP/2.0 200 ") == 2 and b"smuggle-999" not in connection.got


def test_a_value_begins_no_line_on_the_other_leg(rig: Rig) -> None:
    """Line ends in values, escaped or folded, do not become header lines of the callee's INVITE."""
    stage = Stage(rig)
    for n, evil in enumerate(
        (b"a%0d%0aX-Evil: 1", b'"a\\\r\n X-Evil: 1"', b"a\r\n X-Evil: 1", b"a\r\n\tX-Evil: 1", b"\\r\\nX-Evil: 1", b"=0D=0AX-Evil:1")
    ):
        base = stage.invite()
        lines = [
            *base.lines,
            b"Call-Info: <http://x/" + evil.replace(b'"', b"") + b">",
            b"User-Agent: " + evil,
            b"Subject: " + evil,
            b"Reason: SIP;text=" + evil,
        ]
        lines[3] = b'From: "x' + evil.replace(b'"', b"").replace(b"\\\r", b"\r") + b'" <sip:testuser1001@spce.test>;tag=e%d' % n
        stage.x.send(Message(tuple(lines), base.body).whole())
        rig.step()
        for invite in stage.c.invites.values():
            names = {line.partition(b":")[0].strip().lower() for line in invite.raw.partition(b"\r\n\r\n")[0].split(b"\r\n")}
            assert b"x-evil" not in names, invite.raw
        stage.tidy()
        rig.check()
    rig.call()


PARTS = b"--b\r\nContent-Type: application/sdp\r\n\r\n" + sdp("127.0.0.9", 4000) + b"\r\n--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n"
MULTIPART = {
    "plain": ("multipart/mixed;boundary=b", PARTS),
    "empty": ("multipart/mixed;boundary=b", b"--b--\r\n"),
    "no boundary parameter": ("multipart/mixed", PARTS),
    "empty boundary": ('multipart/mixed;boundary=""', PARTS),
    "wrong boundary": ("multipart/mixed;boundary=zzz", PARTS),
    "unterminated": ("multipart/mixed;boundary=b", PARTS[:-8]),
    "nested": ("multipart/mixed;boundary=b", b"--b\r\nContent-Type: multipart/mixed;boundary=b\r\n\r\n" * 200),
    "only dashes": ("multipart/mixed;boundary=-", b"--" * 5_000),
    "many parts": ("multipart/mixed;boundary=b", b"--b\r\n\r\n" * 7_000),
    "octets": ("multipart/mixed;boundary=b", bytes(range(256)) * 40),
    "line ends": ("multipart/mixed;boundary=b", b"\r\n\n\r\r\n--b\n\n--b--\r"),
}


UNREADABLE = ("no boundary parameter", "empty boundary", "wrong boundary", "unterminated")


@pytest.mark.parametrize("kind", list(MULTIPART))
def test_multipart_bodies(rig: Rig, kind: str) -> None:
    """A session description among the parts is moved to the relay and nothing else changes. A body that names one and cannot be taken apart is
    refused, so no address slips past the relay; one that names none passes as it is, whatever it is."""
    ctype, body = MULTIPART[kind]
    stage = Stage(rig)
    base = stage.invite()
    lines = [f"Content-Type: {ctype}".encode() if line.startswith(b"Content-Type") else line for line in base.lines]
    stage.x.send(assemble(lines, body))
    rig.step()
    if kind in UNREADABLE:
        assert stage.x.status == 488 and not stage.c.invites
    else:
        (invite,) = stage.c.invites.values()
        assert invite["content-type"] == ctype
        if kind == "plain":
            before, inside, after = body.partition(sdp("127.0.0.9", 4000))
            assert invite.body.startswith(before) and invite.body.endswith(after)
            moved = invite.body[len(before) : len(invite.body) - len(after)]
            assert inside and b"127.0.0.9" not in moved and b"m=audio 4000 " not in moved and b"m=audio " in moved
        else:
            assert invite.body == body
    stage.tidy()
    rig.call()

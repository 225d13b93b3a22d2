"""Floods: memory stays flat, the log short, and a call in progress unharmed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ngcpd.runtime.ports import Address
from tests.hostile.generate import Message, apply, recipes, sample
from tests.hostile.rig import STRANGER, Rig
from tests.hostile.scenes import Stage
from tests.phones import media_of, sdp
from tests.sip.torture import INVALID, VECTORS
from tests.world import DOMAIN, SERVER

HERE = f"{STRANGER[0]}:{STRANGER[1]}"
LOCAL = "kamailio:\n  lb:\n    security:\n      dos_ban_enable: no\n      failed_auth_ban_enable: no\n"
ROUND = 1200
METHODS = (
    "INVITE",
    "REGISTER",
    "OPTIONS",
    "ACK",
    "BYE",
    "CANCEL",
    "MESSAGE",
    "SUBSCRIBE",
    "NOTIFY",
    "PRACK",
    "UPDATE",
    "INFO",
    "REFER",
    "PUBLISH",
    "FOO",
)
PROVEN_FIRST = ("INVITE", "REGISTER")
"""What asks for a password keeps nothing at all before it has seen one."""


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig(LOCAL)
    made.settle(40.0)
    yield made
    made.end()


def request(method: str, n: int, padding: int = 2_000) -> bytes:
    """A request of a stranger in the name of a user, each a new transaction and dialog."""
    return Message.of(
        f"""{method} sip:{DOMAIN} SIP/2.0
Via: SIP/2.0/UDP {HERE};branch=z9hG4bKflood{n};rport
Max-Forwards: 70
From: <sip:testuser{n}@{DOMAIN}>;tag=f{n}
To: <sip:testuser1003@{DOMAIN}>
Call-ID: flood-{n}
CSeq: 1 {method}
Contact: <sip:evil{n}@{HERE}>
User-Agent: flood/{n}
Content-Type: application/sdp""",
        sdp("127.0.0.9", 4000, "a=x:" + "x" * padding),
    ).whole()


@pytest.mark.parametrize("method", METHODS)
def test_a_flood_leaves_nothing(rig: Rig, method: str) -> None:
    """No state but that of transactions, no transaction for longer than its time, no object more after the second wave than after the first."""
    counts = []
    n = 0
    for _ in range(2):
        for _ in range(ROUND):
            n += 1
            rig.evil.send(request(method, n), SERVER)
        rig.step(0.5)
        counters = rig.world.daemon.stack.counters()
        assert counters["received"] >= n
        if method in PROVEN_FIRST:
            assert counters["server"] == counters["invite_server"] == 0, counters
        assert counters["server"] + counters["invite_server"] <= ROUND
        rig.answers.clear()
        rig.settle(40.0)
        counts.append(rig.objects())
    assert counts[1] - counts[0] < 200, counts
    assert len(rig.world.daemon.calls.traces) == 0
    rig.call()


def test_calls_of_strangers_push_no_trace_out(rig: Rig) -> None:
    rig.call()
    for n in range(1_100):
        rig.evil.send(request("INVITE", n, 10), SERVER)
        if n % 100 == 0:
            rig.step()
    rig.settle(40.0)
    assert rig.world.daemon.calls.trace("probe-1@127.1.4.3") is not None


def test_credentials_that_are_wrong_leave_nothing(rig: Rig) -> None:
    """Guessing: a fresh nonce and a wrong answer for each request."""
    counts = []
    value = rig.credentials(rig.world.phone(1001), "REGISTER", f"sip:{DOMAIN}")
    wrong = value.replace('response="', 'response="0')
    n = 0
    for _ in range(2):
        for _ in range(ROUND):
            n += 1
            lines = request("REGISTER", n, 10).split(b"\r\n")
            lines[1:1] = [b"Authorization: " + wrong.encode()]
            rig.evil.send(b"\r\n".join(lines), SERVER)
        rig.step(0.5)
        assert rig.world.daemon.stack.counters()["server"] == 0
        assert rig.answers and all(a.startswith(b"SIP/2.0 401 ") for a in rig.answers)
        rig.answers.clear()
        rig.settle(40.0)
        counts.append(rig.objects())
    assert counts[1] - counts[0] < 200, counts


def garbage() -> list[bytes]:
    """Malformed messages of all kinds."""
    out = [vector.data for vector in VECTORS.values() if vector.kind == INVALID and vector.code]
    base = Message.of(request("OPTIONS", 1, 10).partition(b"Content-Length")[0].decode().replace("\r\n", "\n"))
    out += [data for data in (apply(r, base) for r in sample(list(recipes(base, "OPTIONS")), 400, 5)) if len(data) < 3_000]
    return out + [b"\0" * 100, b"\xff" * 500, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3, b"\x16\x03\x01" * 20, b"SIP/2.0" * 40]


def test_a_malformed_flood_harms_no_call_and_fills_no_log(rig: Rig) -> None:
    """20,000 datagrams from five sources while a call stands and others are made."""
    sources: list[Address] = [(f"127.9.8.{n}", 5060 + n) for n in range(1, 6)]
    sockets = [rig.world.net.udp(source, lambda data, source: None) for source in sources]
    call, _ = rig.standing_call()
    cases = garbage()
    rig.log.keep = True
    begun = rig.world.clock.now
    for n in range(20_000):
        sockets[n % 5].send(cases[n % len(cases)], SERVER)
        if n % 500 == 0:
            rig.step(0.5)
            rig.options()
    rig.step(0.5)
    minutes = (rig.world.clock.now - begun) // 60 + 1
    rig.log.keep = False
    lines = [line for line in rig.log.lines if any(source[0] in line for source in sources)]
    assert 5 <= len(lines) <= 5 * minutes * 2, lines  # "malformed message", and what the parser lets through and a room refuses
    assert len([line for line in rig.log.lines if '"malformed message"' in line]) <= 5 * minutes
    rig.check()
    rig.call()
    rig.hang_up(call)
    for sock in sockets:
        sock.close()


def test_many_connections_that_send_nonsense_leave_nothing(rig: Rig) -> None:
    counts = []
    for _ in range(2):
        for n in range(150):
            connection = rig.connection()
            connection.send([b"\0" * 70_000, b"GET / HTTP/1.1\r\n\r\n", b"INVITE", b"\r\n" * 500, request("OPTIONS", n)[:-5]][n % 5])
            rig.step(0.01)
            if n % 2 or n % 5 == 3:  # pings alone keep a connection (RFC 5626); all others have a time
                connection.close()
        rig.world.run(60.0)
        assert rig.world.daemon.stack.counters()["flows"] == 0
        rig.settle(40.0)
        counts.append(rig.objects())
    assert counts[1] - counts[0] < 200, counts
    rig.call()


def test_an_account_can_not_register_without_end(rig: Rig) -> None:
    """Each contact is another host name; what is kept is bounded by the limit of contacts."""
    stage = Stage(rig)
    for n in range(60):
        base = stage.register()
        lines = [f"Contact: <sip:u@h{n}.evil.invalid>;expires=60".encode() if line.startswith(b"Contact") else line for line in base.lines]
        stage.x.send(Message(tuple(line for line in lines if not line.startswith((b"Path", b"Supported")))).whole())
        rig.step()
    assert (
        len(rig.world.daemon.registrar.bindings(rig.world.subscribers[1001].id))
        <= rig.world.loaded.settings.kamailio.proxy.max_registrations_per_subscriber
    )
    rig.check()


# ----------------------------------------------------------------------------------------------------------------- media
HELLO = b"\x16\xfe\xff" + b"\0" * 8 + b"\0\x40" + b"\1" + b"\0" * 63  # a DTLS ClientHello in outline
NOISE = [
    HELLO,
    b"",
    b"\x80",
    b"\x80\0" + b"\xff" * 10,
    b"\0\1\0\0\x21\x12\xa4\x42" + b"\0" * 12,
    b"\x80\xc9\0\1" + b"\0" * 4,
    bytes([0x80, 8]) + bytes(10) + b"evil" * 10,
]


def test_noise_on_the_media_ports_ends_no_call_and_gets_nothing(rig: Rig) -> None:
    """Spray of strangers before and after the parties have spoken: RTP, RTCP, STUN, DTLS hellos, garbage (CVE-2025-53399,
    CVE-2021-41105, CVE-2023-49786)."""
    heard: dict[str, list[bytes]] = {"a": [], "b": [], "evil": []}
    ear_a = rig.world.net.udp((rig.a.address[0], 20000), lambda data, source: heard["a"].append(data))
    ear_b = rig.world.net.udp((rig.b.address[0], 30000), lambda data, source: heard["b"].append(data))
    evil = [rig.world.net.udp((f"127.9.7.{n}", 4000 + n), lambda data, source: heard["evil"].append(data)) for n in range(1, 4)]
    call, invite = rig.standing_call()
    to_b = media_of(invite.body)  # the relay's port that faces b
    to_a = media_of(next(m for m in reversed(rig.a.seen) if m.status == 200 and m.method == "INVITE").body)

    def spray(times: int) -> None:
        for _ in range(times):
            for sock in evil:
                for data in NOISE:
                    for host, port in (to_a, to_b):
                        sock.send(data, (host, port))
                        sock.send(data, (host, port + 1))
        rig.step(0.01)

    spray(20)
    assert len(heard["a"]) + len(heard["b"]) <= 5 and heard["evil"] == []
    packet = bytes([0x80, 8]) + bytes(10)
    for n in range(50):
        ear_a.send(packet + b"from a %d" % n, to_a)
        ear_b.send(packet + b"from b %d" % n, to_b)
        spray(2)
        rig.step(0.02)
    assert [d for d in heard["b"] if b"from a" in d] == [packet + b"from a %d" % n for n in range(50)]
    assert [d for d in heard["a"] if b"from b" in d] == [packet + b"from b %d" % n for n in range(50)]
    assert not [d for d in heard["a"] + heard["b"] if b"evil" in d] and heard["evil"] == []
    rig.hang_up(call)
    for sock in (ear_a, ear_b, *evil):
        sock.close()


def test_the_security_of_a_stream_is_what_the_parties_say(rig: Rig) -> None:
    """Protocol, keys and fingerprints pass the relay as they are, first and later (CVE-2022-39269): nothing is made weaker in between."""
    stage = Stage(rig)
    crypto = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abcdefghijklmnopqrstuvwxyz0123456789ABCD\r\n"
    secure = sdp("127.9.9.8", 20000, crypto).replace(b"RTP/AVP", b"RTP/SAVP")
    dtls = sdp("127.9.9.8", 20000, "a=fingerprint:sha-256 AA:BB\r\na=setup:actpass\r\n").replace(b"RTP/AVP", b"UDP/TLS/RTP/SAVP")
    for body in (secure, dtls):
        base = stage.invite()
        stage.x.send(Message(base.lines, tuple(body.split(b"\r\n"))).whole())
        rig.step()
        (got,) = stage.c.invites.values()
        assert b"/SAVP 8 101" in got.body and (b"UDP/TLS" in got.body) == (b"UDP/TLS" in body)
        for line in body.split(b"\r\n"):
            if line.startswith((b"a=crypto", b"a=fingerprint", b"a=setup")):
                assert line in got.body.split(b"\r\n")
        stage.tidy()

"""What the fuzzer starts from: the torture messages, generated ones, and the values in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from tests.hostile.generate import Message, apply, recipes, sample
from tests.hostile.ipv6 import VECTORS as IPV6
from tests.hostile.regression import kept
from tests.phones import sdp
from tests.sip.torture import VECTORS

DIGESTS = (
    b'Digest username="u", realm="r", nonce="n", uri="sip:r", response="0123456789abcdef0123456789abcdef", algorithm=MD5',
    b'Digest username="u", realm="r", nonce="n", uri="sip:r", response="aa", qop=auth, nc=00000001, cnonce="c", opaque="", algorithm=SHA-256',
    b'Digest realm="r", nonce="n", qop="auth,auth-int", stale=TRUE, opaque="o"',
    b'Digest  username = "a\\"b" ,realm=r,nonce="",uri="",response=0',
    b"Basic dTpw",
)
VALUES = (
    b"sip:user:pw@host.example:5061;transport=tcp;lr?subject=a&x=%41",
    b"sips:[2001:db8::1]:5061;user=phone",
    b"tel:+43-1-2345;phone-context=x",
    b'"A \\" B" <sip:%61@h;p=1?h=v>;tag=t;q=0.5;expires=60',
    b"sip:a@b;tag=1",
    b"SIP / 2.0 / UDP h.example:5060;branch=z9hG4bKx;rport=1;received=[::1]",
    b"1800;refresher=uac",
    b"1 2 INVITE",
    b"call@h;to-tag=1;from-tag=2;early-only",
    b"<sip:a@b?Replaces=c%3Bto-tag%3D1%3Bfrom-tag%3D2>",
    b'SIP;cause=200;text="x"',
    b"refer;id=3",
    b"active;expires=60;retry-after=5",
    b"120 (busy);duration=60",
    b"<sip:a@b>;reason=no-answer;counter=2;privacy=off",
    b"<sip:a@b?Reason=SIP>;index=1.2",
)


def bodies() -> list[bytes]:
    ice = "a=ice-ufrag:x\r\na=candidate:1 1 UDP 1 192.0.2.5 5000 typ host\r\na=rtcp:5001 IN IP4 192.0.2.5\r\na=rtcp-mux\r\n"
    return [
        sdp("198.51.100.1", 4000, ice),
        sdp("2001:db8::9", 4000),
        sdp("0.0.0.0", 4000, direction="sendonly"),
        sdp("198.51.100.1", 0, "m=video 5000 RTP/SAVPF 96\r\nc=IN IP6 2001:db8::2\r\nm=image 6000 udptl t38\r\n"),
        sdp("host.invalid", 4000, "m=application 9 UDP/DTLS/SCTP 5000\r\n"),
    ]


def messages() -> Iterator[bytes]:
    yield from (vector.data for vector in VECTORS.values())
    yield from (vector.data for vector in IPV6.values())
    options = Message.of(
        "OPTIONS sip:a@h SIP/2.0\nv: SIP/2.0/UDP h;branch=z9hG4bK1;rport\nf: <sip:a@h>;tag=1\nt: <sip:b@h>\ni: c\nCSeq: 1 OPTIONS"
        "\nm: *\nx: 90\nRequire: timer"
    )
    invite = Message.of(
        "INVITE sip:a@h SIP/2.0\nVia: SIP/2.0/UDP h\nFrom: <sip:a@h>;tag=1\nTo: <sip:b@h>\nCall-ID: c\nCSeq: 1 INVITE\nContent-Type: application/sdp",
        bodies()[0],
    )
    for kind, message in (("OPTIONS", options), ("INVITE", invite)):
        yield message.whole()
        yield from (data for data in (apply(r, message) for r in sample(list(recipes(message, kind)), 150, 3)) if len(data) < 4096)


def seeds(target: str) -> Iterator[bytes]:
    """The first inputs of a target."""
    yield from (path.read_bytes() for path in kept() if path.name.startswith(target + "-"))
    if target == "message":
        yield from messages()
    elif target == "stream":
        for i, data in enumerate(messages()):
            yield bytes([i % 256]) + data + (b"\r\n\r\n" if i % 2 else b"") + data
    elif target == "sdp":
        yield from bodies()
    elif target == "digest":
        yield from DIGESTS
    else:
        yield from VALUES


def write(target: str, directory: Path) -> int:
    """Put the seeds of a target into a corpus directory; how many."""
    directory.mkdir(parents=True, exist_ok=True)
    count = 0
    for data in seeds(target):
        (directory / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
        count += 1
    return count

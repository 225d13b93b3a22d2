"""Messages about IPv6 in the manner of RFC 5118 and for its rules, in words of our own. `VECTORS[name]`: section of the RFC ("" = beyond it),
what reading and sanity check make of it (0: accepted, else the code), what the platform answers (0: nothing), the octets."""

from __future__ import annotations

from typing import NamedTuple

from tests.phones import sdp
from tests.sip.torture import crlf


class Ipv6Vector(NamedTuple):
    """`read`: 0 or the code of the parse error; `answers`: the codes that come back from the whole platform over UDP."""

    name: str
    section: str
    read: int
    answers: tuple[int, ...]
    data: bytes


VECTORS: dict[str, Ipv6Vector] = {}


def add(
    name: str,
    section: str,
    read: int,
    answers: tuple[int, ...],
    *,
    method: str = "OPTIONS",
    uri: str = "sip:[::1]:5060",
    via: str = "SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bK6-{name}",
    from_: str = "<sip:u@[2001:db8::9:1]>;tag=six",
    to: str = "<sip:[::1]:5060>",
    contact: str = "<sip:u@[2001:db8::9:1]>",
    more: str = "",
    body: bytes = b"",
) -> None:
    text = f"""\
{method} {uri} SIP/2.0
Via: {via.format(name=name)}
Max-Forwards: 70
From: {from_}
To: {to}
Call-ID: six-{name}
CSeq: 6 {method}
Contact: {contact}
{more}Content-Length: {len(body)}

"""
    VECTORS[name] = Ipv6Vector(name, section, read, answers, crlf(text) + body)


SDP = "Content-Type: application/sdp\n"
DIGEST = (407,)  # a caller from a local domain is asked for its password

add("reference", "4.1", 0, (200,))
add(
    "reference-in-register",
    "4.1",
    0,
    (401,),
    method="REGISTER",
    uri="sip:spce.test",
    to="<sip:testuser1001@spce.test>",
    from_="<sip:testuser1001@spce.test>;tag=6",
)
add("no-brackets", "4.2", 400, (400,), uri="sip:2001:db8::10")
add("no-brackets-in-contact", "4.2", 0, (400,), contact="<sip:u@2001:db8::9:1>")
add("no-brackets-in-from", "4.2", 0, (400,), from_="<sip:u@2001:db8::9:1>;tag=six")
add("no-brackets-in-via", "4.2", 400, (), via="SIP/2.0/UDP 2001:db8::9:1;branch=z9hG4bK6nb")
add("port-ambiguous", "4.3", 0, (404,), uri="sip:[2001:db8::10:5070]", to="<sip:[2001:db8::10:5070]>")
add("port-unambiguous", "4.4", 0, (404,), uri="sip:[2001:db8::10]:5070", to="<sip:[2001:db8::10]:5070>")
add("received-with-brackets", "4.5", 0, (200,), via="SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bK6rb")
add("received-without-brackets", "4.5", 0, (200,), via="SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bK6rn")
add(
    "sdp",
    "4.6",
    0,
    DIGEST,
    method="INVITE",
    uri="sip:testuser1003@spce.test",
    from_="<sip:testuser1001@spce.test>;tag=6",
    more=SDP,
    body=sdp("2001:db8::20", 4000),
)
add(
    "many-addresses",
    "4.7",
    0,
    (200,),
    via="SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bK6m1\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK6m2, "
    "SIP/2.0/UDP [2001:db8:9::1];received=192.0.2.7;branch=z9hG4bK6m3",
    contact='"C" <sip:u@[2001:db8::9:1]>, <sip:u@192.0.2.4:5061>',
)
add(
    "many-in-sdp",
    "4.8",
    0,
    DIGEST,
    method="INVITE",
    uri="sip:testuser1003@spce.test",
    from_="<sip:testuser1001@spce.test>;tag=6",
    more=SDP,
    body=sdp("192.0.2.1", 4000, "m=audio 5000 RTP/AVP 0\r\nc=IN IP6 2001:db8::1\r\n"),
)
add("mapped", "4.9", 0, (200,), via="SIP/2.0/UDP [::ffff:192.0.2.10]:19823;branch=z9hG4bK6map", contact="<sip:u@[::ffff:192.0.2.2]>")
add("mapped-uri", "4.9", 0, (404,), uri="sip:u@[::ffff:127.0.0.1]:5060")
add("three-colons", "4.10", 0, (404,), uri="sip:u@[2001:db8:::192.0.2.1]", to="<sip:u@[2001:db8:::192.0.2.1]>")
add("two-colons", "4.10", 0, (404,), uri="sip:u@[2001:db8::192.0.2.1]", to="<sip:u@[2001:db8::192.0.2.1]>")
add("three-colons-without-ipv4", "", 400, (400,), uri="sip:u@[2001:db8:::1]")
add("four-colons", "", 400, (400,), uri="sip:u@[2001:db8::::192.0.2.1]")
add("scope", "", 0, (400,), contact="<sip:u@[fe80::1%25eth0]>")
add("scope-unescaped", "", 0, (400,), contact="<sip:u@[fe80::1%eth0]>")
add("scope-in-uri", "", 400, (400,), uri="sip:u@[fe80::1%25eth0]")
add("ipv4-in-brackets", "", 400, (400,), uri="sip:u@[192.0.2.1]")
add("open-bracket", "", 400, (400,), uri="sip:u@[2001:db8::1")
add("close-bracket", "", 400, (400,), uri="sip:u@2001:db8::1]")
add("nothing-in-brackets", "", 400, (400,), uri="sip:u@[]")
add("text-after-bracket", "", 400, (400,), uri="sip:u@[::1]5060")
add("port-empty", "", 400, (400,), uri="sip:u@[::1]:")
add("port-zero", "", 400, (400,), uri="sip:u@[::1]:0")
add("port-too-big", "", 400, (400,), uri="sip:u@[::1]:65536")
add("nine-groups", "", 400, (400,), uri="sip:u@[1:2:3:4:5:6:7:8:9]")
add("five-digits", "", 400, (400,), uri="sip:u@[2001:db8::12345]")
add("two-gaps", "", 400, (400,), uri="sip:u@[2001::db8::1]")
add("upper-case", "", 0, (200,), uri="sip:[0:0:0:0:0:0:0:1]:5060", via="SIP/2.0/UDP [2001:DB8::A];branch=z9hG4bK6up")
add("long-in-brackets", "", 400, (400,), uri="sip:u@[" + "0:" * 2000 + "1]")

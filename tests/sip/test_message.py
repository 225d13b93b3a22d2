"""Messages: reading, looking, changing, answering, writing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngcpd.sip import sanity
from ngcpd.sip.codes import REASONS
from ngcpd.sip.headers import NameAddr, Via
from ngcpd.sip.message import STAR, ParseError, Request, Response, parse_message, reply
from ngcpd.sip.uri import Uri
from tests.sip.torture import crlf

PLAIN = """\
INVITE sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKnashds8;rport, SIP/2.0/TCP 192.0.2.7
Via: SIP/2.0/TLS 192.0.2.9
Max-Forwards: 70
To: Bob <sip:bob@example.com>
From: "Alice" <sip:alice@example.com>;tag=1928301774
Call-ID: a84b4c76e66710
CSeq: 314159 INVITE
Contact: <sip:alice@192.0.2.1:5060>
Record-Route: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>
Allow: INVITE, ACK, BYE
allow: CANCEL
Supported: replaces, Timer
Timestamp: 54
Content-Type: application/SDP; charset=utf-8
Content-Length: 4

body and more"""


def plain(old: str = "", new: str = "", **more: str) -> bytes:
    """PLAIN with one text replaced."""
    assert old in PLAIN
    return crlf(PLAIN.replace(old, new, 1))


def request(data: bytes = b"") -> Request:
    message = parse_message(data or crlf(PLAIN))
    assert isinstance(message, Request)
    return message


def refused(data: bytes) -> ParseError:
    with pytest.raises(ParseError) as caught:
        sanity.check(parse_message(data))
    return caught.value


# ---------------------------------------------------------------------------------------------------------------- looking
def test_accessors() -> None:
    m = request()
    assert (m.method, m.uri, str(m.ruri), m.call_id, m.cseq) == ("INVITE", "sip:bob@example.com", "sip:bob@example.com", "a84b4c76e66710", 314159)
    assert (m.from_tag, m.to_tag, m.from_.display, m.to.display) == ("1928301774", "", "Alice", "Bob")
    assert m.via.branch == "z9hG4bKnashds8" and [v.host for v in m.vias] == ["192.0.2.1", "192.0.2.7", "192.0.2.9"]
    assert m.vias[0] is m.via and m.from_ is m.from_
    assert m.max_forwards == 70 and m.expires is None and m.routes == []
    assert [r.uri.host for r in m.record_routes] == ["p1.example.com", "p2.example.com"]
    assert m.content_type == "application/sdp" and m.body == b"body"
    assert m.raw("ALLOW") == ["INVITE, ACK, BYE", "CANCEL"] and m.values("allow") == ["INVITE", "ACK", "BYE", "CANCEL"]
    assert m.has_token("k", "timer") and m.has_token("Allow", "cancel") and not m.has_token("Allow", "REFER")
    assert m.first("f") == m.first("FROM") == '"Alice" <sip:alice@example.com>;tag=1928301774'
    assert m.first("X-None") is None and "Via" in m and "x-none" not in m and m.values("Require") == []


def test_contacts() -> None:
    assert request(plain("Contact: <sip:alice@192.0.2.1:5060>\n", "")).contacts == []
    assert request(plain("<sip:alice@192.0.2.1:5060>", "*")).contacts is STAR
    assert refused(plain("<sip:alice@192.0.2.1:5060>", "*, <sip:a@b>")).reason == "Bad Contact Header"
    assert refused(plain("<sip:alice@192.0.2.1:5060>", "*\nContact: <sip:a@b>")).reason == "Bad Contact Header"
    sanity.check(request(plain("<sip:alice@192.0.2.1:5060>", "<sip:a@b>;expires=soon")))  # counts as absent
    two = request(plain("<sip:alice@192.0.2.1:5060>", "<sip:a@b>;q=1\nm: sip:c@d;expires=5, <sip:e@f>")).contacts
    assert two is not STAR and [c.uri.user for c in two] == ["a", "c", "e"]


def test_blank_before_colon_and_compact_forms_hide_nothing() -> None:
    m = request(plain("Max-Forwards: 70", "P-NGCP-Src-Ip\t : 10.0.0.1\np-ngcp-src-ip:10.0.0.2\nMax-Forwards \t: 70\nx: 90"))
    assert m.raw("P-NGCP-Src-Ip") == ["10.0.0.1", "10.0.0.2"] and m.first("Session-Expires") == "90"
    m.remove("P-NGCP-SRC-IP")
    assert b"10.0.0." not in m.to_bytes()


def test_folding() -> None:
    m = request(plain("To: Bob <sip:bob@example.com>", "To: Bob\n \t<sip:bob@example.com>\n\t;tag=1\nSubject: a\n  \n b"))
    assert m.to_tag == "1" and m.first("Subject") == "a   b"
    assert refused(plain("SIP/2.0\n", "SIP/2.0\n Folded: x\n")).reason == "Bad Request Line"


def test_leading_line_breaks_are_skipped() -> None:
    assert request(b"\r\n\r\n" + crlf(PLAIN)).cseq == 314159


def test_body_is_octets() -> None:
    body = bytes(range(256))
    m = request(plain("\n\nbody and more", "").replace(b"Length: 4", b"Length: 256") + b"\r\n\r\n" + body)
    assert m.body == body and m.to_bytes().endswith(b"\r\n\r\n" + body)
    assert request(plain("Content-Length: 4\n", "")).body == b"body and more"


# ---------------------------------------------------------------------------------------------------------------- refused
@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("Via: SIP/2.0/UDP 192", "Via: 192", "Bad Via Header"),
        ("SIP/2.0/TCP 192.0.2.7", "", "Bad Via Header"),
        ("SIP/2.0/TLS 192.0.2.9", "x", "Bad Via Header"),
        ("To: Bob", "To: Bob,", "Invalid To Header"),
        ("example.com>\nFrom", "example.com>;tag=1;tag=2\nFrom", "Invalid To Header"),
        ('"Alice"', '"Alice', "Invalid From Header"),
        ("<sip:alice@example.com>", "<urn:x>", "Invalid From Header"),
        ("To: Bob <sip:bob@example.com>\n", "", "Missing To Header"),
        ("To: Bob <sip:bob@example.com>", "To:", "Missing To Header"),
        ("Call-ID: a84b4c76e66710\n", "", "Missing Call-ID Header"),
        ("a84b4c76e66710", "a84 b4c", "Bad Call-ID Header"),
        ("CSeq: 314159 INVITE\n", "", "Missing CSeq Header"),
        ("314159 INVITE", "314159", "Bad CSeq Header"),
        ("314159 INVITE", "314159 BYE", "CSeq Method Mismatch"),
        ("314159 INVITE", "314159 invite", "CSeq Method Mismatch"),
        ("314159 INVITE", "2147483648 INVITE", "Bad CSeq Header"),
        ("314159 INVITE", "-1 INVITE", "Bad CSeq Header"),
        ("314159 INVITE", "1 INVITE x", "Bad CSeq Header"),
        ("314159 INVITE", "² INVITE", "Bad CSeq Header"),
        ("Max-Forwards: 70", "Max-Forwards: 256", "Bad Max-Forwards Header"),
        ("Max-Forwards: 70", "Max-Forwards: -1", "Bad Max-Forwards Header"),
        ("Max-Forwards: 70", "Max-Forwards:", "Bad Max-Forwards Header"),
        ("Max-Forwards: 70", "Max-Forwards: 7\nMax-Forwards: 7", "Duplicate Max-Forwards Header"),
        ("Max-Forwards: 70", "Expires: 4294967296", "Bad Expires Header"),
        ("Max-Forwards: 70", "Expires: Thu, 01 Dec 1994 16:00:00 GMT", "Bad Expires Header"),
        ("Max-Forwards: 70", "Route: <sip:a>,", "Bad Route Header"),
        ("Max-Forwards: 70", "Path: x", "Bad Path Header"),
        ("Max-Forwards: 70", "Session-Expires: x", "Bad Session-Expires Header"),
        ("Max-Forwards: 70", "x: 90\nSession-Expires: 90", "Duplicate Session-Expires Header"),
        ("Max-Forwards: 70", "Refer-To: nowhere", "Bad Refer-To Header"),
        ("Max-Forwards: 70", "RAck: 1 2", "Bad RAck Header"),
        ("Max-Forwards: 70", "RSeq: 99999999999", "Bad RSeq Header"),
        ("Max-Forwards: 70", "Min-SE: ", "Bad Min-SE Header"),
        ("Max-Forwards: 70", 'Authorization: Digest username="a', "Bad Auth Header"),
        ("Max-Forwards: 70", 'Proxy-Authorization: Digest username="a", realm="b"', "Bad Auth Header"),
        ("Max-Forwards: 70", "Authorization:", "Bad Auth Header"),
        ("Contact: <sip:alice@192.0.2.1:5060>", "Contact: <sip:a@b>;q=2", "Bad Contact Header"),
        ("Contact: <sip:alice@192.0.2.1:5060>", "Contact: <sip:a@b>;expires=4294967296", "Bad Contact Header"),
        ("Contact: <sip:alice@192.0.2.1:5060>", "Contact:", "Bad Contact Header"),
        ("application/SDP", "application", "Bad Content-Type Header"),
        ("Content-Length: 4", "Content-Length: 14", "Content-Length Mismatch"),
        ("Content-Length: 4", "Content-Length: 4294967300", "Bad Content-Length Header"),
        ("Content-Length: 4", "Content-Length: " + "9" * 10_000, "Bad Content-Length Header"),
        ("Content-Length: 4", "Content-Length: +4", "Bad Content-Length Header"),
        ("Content-Length: 4", "Content-Length: 4 4", "Bad Content-Length Header"),
        ("Content-Length: 4", "Content-Length: 0x4", "Bad Content-Length Header"),
        ("Content-Length: 4", "Content-Length: 4, 4", "Bad Content-Length Header"),
        ("Content-Length: 4", "Content-Length:", "Bad Content-Length Header"),
        ("Content-Length: 4", "Content-Length: 4\nl : 4", "Duplicate Content-Length Header"),
        ("Content-Length: 4", "Content-Length: 4\nContent-Length: 5", "Duplicate Content-Length Header"),
        ("Max-Forwards: 70", "No colon here", "Bad Header Line"),
        ("Max-Forwards: 70", "Via", "Bad Header Line"),
        ("Max-Forwards: 70", "Max Forwards: 70", "Bad Header Name"),
        ("Max-Forwards: 70", ": 70", "Bad Header Name"),
        ("Max-Forwards: 70", "X-Ä: 70", "Bad Header Name"),
        ("Max-Forwards: 70", "A: b\rVia: c", "Stray Line Break"),
        ("Max-Forwards: 70", "X: " + "x" * 16_385, "Header Too Long"),
        ("Max-Forwards: 70", "X: y\n" * 500, "Too Many Headers"),
        ("Max-Forwards: 70", "Route: " + ",".join(["<sip:a>"] * 257), "Bad Route Header"),
        ("sip:bob@example.com SIP", "sip:bob@ SIP", "Bad Request-URI"),
        ("sip:bob@example.com SIP", "<sip:bob@example.com> SIP", "Bad Request-URI"),
        ("sip:bob@example.com SIP", "sip:bob@example.com?a=b SIP", "Bad Request-URI"),
        ("INVITE sip:bob", "INVITE  sip:bob", "Bad Request Line"),
        ("INVITE sip:bob@example.com SIP/2.0", "INVITE sip:bob@example.com SIP/2.0 ", "Bad Request Line"),
    ],
)
def test_refused_and_answerable(old: str, new: str, reason: str) -> None:
    error = refused(plain(old, new))
    assert (error.code, error.reason) == (400, reason)
    if old == "Via: SIP/2.0/UDP 192":
        assert error.request is None  # no way back
        return
    assert error.request is not None and error.request.via.host == "192.0.2.1"
    answer = reply(error.request, error.code, error.reason, to_tag="z")
    assert answer.raw("Via") == error.request.raw("Via")
    assert answer.to_bytes().startswith(b"SIP/2.0 400 " + reason.encode())


@pytest.mark.parametrize(
    ("line", "code", "answerable"),
    [
        ("INVITE sip:b SIP/3.0", 505, True),
        ("INVITE sip:b sip/2", 505, True),
        ("INVITE sip:b HTTP/1.1", 400, False),
        ("INVITE sip:b", 400, False),
        ("INVITE", 400, False),
        ("", 400, False),
        ("IN VITE sip:b SIP/2.0", 400, True),
        ("INV{ITE sip:b SIP/2.0", 400, False),
        ("SIP/2.0 2000 OK", 400, False),
        ("SIP/2.0 99 OK", 400, False),
        ("SIP/2.0 700 OK", 400, False),
        ("SIP/2.0 -99 OK", 400, False),
        ("SIP/2.0  200 OK", 400, False),
        ("SIP/2.0", 400, False),
        ("SIP/3.0 200 OK", 505, False),
        ("ACK sip:b SIP/2.0", 400, False),
    ],
)
def test_first_line(line: str, code: int, answerable: bool) -> None:
    error = refused(plain("INVITE sip:bob@example.com SIP/2.0", line))
    assert error.code == code and (error.request is not None) == answerable


def test_version_is_read_without_case() -> None:
    assert request(plain("SIP/2.0\nVia", "sip/2.0\nVia")).method == "INVITE"


def test_acks_are_never_answered() -> None:
    data = crlf(PLAIN.replace("INVITE", "ACK"))
    assert request(data).method == "ACK"
    for bad in (data.replace(b"Max-Forwards: 70", b"Max-Forwards: x"), data.replace(b"CSeq: 314159", b"CSeq: x")):
        assert refused(bad).request is None


def test_bad_responses_are_never_answered() -> None:
    data = reply(request(), 200).to_bytes()
    assert isinstance(parse_message(data), Response)
    assert refused(data.replace(b'"Alice"', b'"Alice')).request is None
    assert refused(data.replace(b"CSeq", b"X-CSeq")).request is None


def test_bare_line_feeds_are_refused() -> None:
    assert refused(PLAIN.encode()).code == 400
    assert refused(crlf(PLAIN).replace(b"Allow: INVITE", b"X: y\nAllow: INVITE")).reason == "Stray Line Break"
    salvaged = refused(crlf(PLAIN).replace(b"Allow: INVITE", b"Subject: y\nEvil: INVITE")).request
    assert salvaged is not None and salvaged.first("Evil") is None and salvaged.first("Subject") is None


def test_size() -> None:
    head = plain("\n\nbody and more", "").replace(b"Content-Length: 4", b"Content-Length: 64000") + b"\r\n\r\n"
    assert len(request(head + b"x" * 64_000).body) == 64_000
    error = refused(head + b"x" * 65_536)
    assert error.code == 513 and error.request is not None


# ---------------------------------------------------------------------------------------------------------------- changing
def test_editing() -> None:
    m = request()
    assert m.to_tag == "" and m.max_forwards == 70
    m.set("to", "<sip:b@c>;tag=9")
    m.set("Max-Forwards", "69")
    m.set("l", "77")
    m.set("X-new", "1")
    m.add("X-New", "2")
    m.insert("v", "SIP/2.0/UDP top;branch=z9hG4bK1")
    m.set("Allow", "ACK")
    m.remove("Supported")
    m.remove("Nothing")
    assert (m.to_tag, m.max_forwards, m.via.host, len(m.vias)) == ("9", 69, "top", 4)
    assert m.raw("Allow") == ["ACK"] and m.raw("x-new") == ["1", "2"] and m.first("Supported") is None
    assert m.fields[0][0] == "Via" and [n for n, _ in m.fields].count("To") == 1
    again = request(m.to_bytes())
    assert [f for f in again.fields if f[0] != "Content-Length"] == [f for f in m.fields if f[0] != "Content-Length"] and again.body == b"body"


def test_copy_is_independent() -> None:
    m = request()
    other = m.copy()
    other.set("To", "<sip:x@y>")
    other.uri = "sip:else@where"
    assert str(m.to) == '"Bob" <sip:bob@example.com>' and str(m.ruri) == "sip:bob@example.com" and str(other.ruri) == "sip:else@where"
    answer = reply(m, 200)
    twin = answer.copy()
    twin.remove("To")
    assert answer.first("To") and not twin.first("To") and twin.status == 200


def test_top_of_a_list() -> None:
    m = request()
    m.replace_top("Via", "SIP/2.0/UDP changed")
    assert m.raw("Via") == ["SIP/2.0/UDP changed, SIP/2.0/TCP 192.0.2.7", "SIP/2.0/TLS 192.0.2.9"]
    for left in (2, 1, 0):
        m.pop_top("v")
        assert len(m.values("Via")) == left
    with pytest.raises(KeyError):
        m.pop_top("Via")
    with pytest.raises(ParseError, match="Missing Via Header"):
        _ = m.via
    with pytest.raises(ParseError, match="Missing Via Header"):
        _ = m.vias


def test_ruri_follows_uri() -> None:
    m = request()
    assert m.ruri.user == "bob"
    m.uri = "sip:carol@example.com"
    assert m.ruri.user == "carol"


# ---------------------------------------------------------------------------------------------------------------- writing
def test_make_and_write() -> None:
    m = Request.make("OPTIONS", Uri.parse("sip:a@b"), [("v", "SIP/2.0/UDP x"), ("content-length", "99"), ("Subject", "hi")], b"xyz")
    assert m.to_bytes() == b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP x\r\nSubject: hi\r\nContent-Length: 3\r\n\r\nxyz"
    assert Response.make(486, "", []).to_bytes() == b"SIP/2.0 486 Busy Here\r\nContent-Length: 0\r\n\r\n"
    assert Response.make(499, "", []).reason == "Request Failure" and REASONS[200] == "OK"


def test_no_value_can_begin_a_header() -> None:
    m = Request.make("OPTIONS", "sip:a@b\r\nEvil: 1", [("Subject", "a\r\nEvil: 2\n\r\n\r\nbody"), ("X-A", "\n")])
    assert m.to_bytes() == b"OPTIONS sip:a@b  Evil: 1 SIP/2.0\r\nSubject: a  Evil: 2     body\r\nX-A:  \r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(ParseError):
        m.add("Evil: x\r\nMore", "1")


def test_text_beyond_latin_1_is_written_as_utf_8() -> None:
    m = Request.make("OPTIONS", "sip:a@b", [("Subject", "Дом"), ("X-A", "\xc3\xbc")])
    assert m.to_bytes() == b"OPTIONS sip:a@b SIP/2.0\r\nSubject: " + "Дом".encode() + b"\r\nX-A: " + "ü".encode() + b"\r\nContent-Length: 0\r\n\r\n"


# ---------------------------------------------------------------------------------------------------------------- answering
def test_reply() -> None:
    m = request()
    trying = reply(m, 100, to_tag="t")
    assert trying.first("To") == "Bob <sip:bob@example.com>" and trying.first("Timestamp") == "54" and trying.first("Record-Route") is None
    ringing = reply(m, 180, to_tag="t", fields=[("contact", "<sip:x@y>")], body=b"b")
    assert [n for n, _ in ringing.fields] == ["Via", "Via", "To", "From", "Call-ID", "CSeq", "Record-Route", "Contact"]
    assert ringing.to_tag == "t" and ringing.method == "INVITE" and ringing.cseq == 314159 and ringing.reason == "Ringing"
    assert ringing.raw("Via") == m.raw("Via") and ringing.raw("Record-Route") == m.raw("Record-Route") and ringing.body == b"b"
    busy = reply(m, 486, "Engaged", to_tag="t")
    assert busy.reason == "Engaged" and busy.first("Record-Route") is None
    inside = reply(request(plain("<sip:bob@example.com>\n", "<sip:bob@example.com>;tag=old\n")), 200, to_tag="new")
    assert inside.to_tag == "old"
    assert parse_message(ringing.to_bytes()).fields[:-1] == ringing.fields
    bye = request(crlf(PLAIN.replace("INVITE", "BYE")))
    assert reply(bye, 200).first("Record-Route") is None


def test_reply_to_what_is_broken() -> None:
    error = refused(plain("To: Bob <sip", 'To: "Bob <sip'))
    assert error.request is not None
    assert reply(error.request, 400, to_tag="t").first("To") == '"Bob <sip:bob@example.com>;tag=t'
    broken = refused(plain("To: Bob <sip:bob@example.com>", 'To: "Bob <sip:bob@example.com>; tag = x')).request
    assert broken is not None and (reply(broken, 400, to_tag="t").first("To") or "").endswith("tag = x")
    none = refused(crlf("INVITE sip:a SIP/2.0\nVia: SIP/2.0/UDP h\n\n")).request
    assert none is not None and reply(none, 400, to_tag="t").fields == [("Via", "SIP/2.0/UDP h")]
    with pytest.raises(ParseError):
        _ = none.call_id


def test_response_method_needs_a_cseq() -> None:
    with pytest.raises(ParseError):
        _ = Response.make(200, "", []).method


# ---------------------------------------------------------------------------------------------------------------- round trip
TEXT = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=20).map(lambda t: t.strip(" \t"))
FIELDS = st.lists(st.tuples(st.sampled_from(["Subject", "X-A", "User-Agent", "Allow", "k"]), TEXT), max_size=6)


@given(FIELDS, st.binary(max_size=60), st.integers(0, 2**31 - 1), st.sampled_from(["INVITE", "X!"]))
def test_message_round_trip(fields: list[tuple[str, str]], body: bytes, cseq: int, method: str) -> None:
    base = [("Via", str(Via("SIP/2.0", "UDP", "h", None, {"branch": "z9hG4bK1"}))), ("From", str(NameAddr("ü", Uri.parse("sip:a@b"), {"tag": "1"})))]
    base += [("To", "<sip:a@b>"), ("Call-ID", "1"), ("CSeq", f"{cseq} {method}")]
    made = Request.make(method, "sip:a@b", base + fields, body)
    read = parse_message(made.to_bytes())
    assert isinstance(read, Request)
    assert (read.method, read.uri, read.fields[:-1], read.body, read.cseq) == (method, "sip:a@b", made.fields, body, cseq)
    sanity.check(read)
    answer = parse_message(reply(read, 200, to_tag="x", body=body).to_bytes())
    assert isinstance(answer, Response) and answer.method == method and answer.to_tag == "x" and answer.body == body

"""Structured header values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngcpd.sip.grammar import format_params, from_wire, number, quote, split_list, to_wire, unquote
from ngcpd.sip.headers import (
    Diversion,
    Event,
    HistoryEntry,
    NameAddr,
    ParseError,
    RAck,
    Reason,
    ReferTo,
    Replaces,
    RetryAfter,
    SessionExpires,
    SubscriptionState,
    Via,
    canonical,
    parse_params,
)
from ngcpd.sip.names import COMPACT, SINGLE, SPELLINGS
from ngcpd.sip.uri import Uri
from tests.sip.test_uri import HOST, SIP, TEL

WIRE = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=20)
NAME = st.text("abcxyz-+.", min_size=1, max_size=8)
PARAMS = st.dictionaries(NAME, st.none() | WIRE, max_size=4)


# ---------------------------------------------------------------------------------------------------------------- names
def test_names_have_one_spelling() -> None:
    for name in ("via", "VIA", "Via", "v", "V", " via ", "vIa\t"):
        assert canonical(name) == "Via"
    assert [canonical(n) for n in ("CALL-ID", "cseq", "www-authenticate", "SIP-ETAG", "mime-version", "k")] == [
        "Call-ID",
        "CSeq",
        "WWW-Authenticate",
        "SIP-ETag",
        "MIME-Version",
        "Supported",
    ]
    assert canonical("x-foo-BAR") == canonical("X-FOO-bar") == "X-Foo-Bar"
    assert canonical("p-ngcp-src-ip") == canonical("P-NGCP-SRC-IP ") == "P-NGCP-Src-Ip"
    assert set(SPELLINGS.values()) >= SINGLE and len(COMPACT) == 20


@pytest.mark.parametrize("name", ["", " ", "a b", "a\tb", "a\x0b", "ä", "a:b", "a\x00", "(x)"])
def test_bad_names(name: str) -> None:
    with pytest.raises(ParseError):
        canonical(name)


@given(st.text("abcXYZ-.!%", min_size=1, max_size=12))
def test_case_never_matters(name: str) -> None:
    assert canonical(name) == canonical(name.lower()) == canonical(name.upper()) == canonical(canonical(name))


# ---------------------------------------------------------------------------------------------------------------- grammar
def test_split_list() -> None:
    assert split_list("a, b ,c") == ["a", "b", "c"]
    assert split_list('"x, y" <sip:a,b@c>;p="1,\\"2", <sip:d>') == ['"x, y" <sip:a,b@c>;p="1,\\"2"', "<sip:d>"]
    assert split_list("a,,b") == ["a", "", "b"] and split_list("") == [""]
    for bad in ('a,"b', 'a,"b\\"', "a,<b", '<a>,"'):
        with pytest.raises(ParseError):
            split_list(bad)


@given(st.lists(WIRE, min_size=1, max_size=6))
def test_split_list_finds_quoted_elements(parts: list[str]) -> None:
    quoted = [quote(p) for p in parts]
    assert split_list(",".join(quoted)) == quoted
    assert [unquote(q) for q in split_list(" , ".join(quoted))] == parts


@given(PARAMS)
def test_params_round_trip(params: dict[str, str | None]) -> None:
    text = format_params(params)
    again = parse_params(text)
    assert again == params and list(again) == list(params)


def test_params() -> None:
    assert parse_params("") == {}
    assert parse_params("A=B;c") == parse_params(" ;A=B;c".strip()) == {"a": "B", "c": None}
    assert parse_params(' a = "x;y\\"" ; b = ; c') == {"a": 'x;y"', "b": "", "c": None}
    for bad in (";", ";;a", "a;", "a;;b", "a;A", 'a="', 'a="b"c', "a b", "=b", "a=b c", "a=\x01", "a,b", "a=b,c", "a=<b>", "a=b\n"):
        with pytest.raises(ParseError):
            parse_params(bad)


@given(st.text(max_size=20))
def test_wire_text(text: str) -> None:
    wire = to_wire(text.encode("utf-8", "ignore").decode())
    assert all(ord(c) < 256 for c in wire) and from_wire(wire) == text.encode("utf-8", "ignore").decode()


@pytest.mark.parametrize("text", ["", "-1", "+1", " 1", "1 ", "²", "١", "1.0", "0x1", "1_0", "12345678901", "9" * 10_000, "256"])
def test_number_refuses(text: str) -> None:
    with pytest.raises(ParseError):
        number(text, 255, "no")


def test_number() -> None:
    assert number("0000000255", 255, "no") == 255 and number("0", 0, "no") == 0


# ---------------------------------------------------------------------------------------------------------------- name-addr
@given(st.builds(NameAddr, WIRE, SIP | TEL, PARAMS))
def test_name_addr_round_trip(address: NameAddr) -> None:
    text = str(address)
    assert "\r" not in text and "\n" not in text
    assert NameAddr.parse(text) == address
    assert split_list(text + "," + text) == [text, text]


def test_name_addr() -> None:
    bare = NameAddr.parse("sip:u@1.2.3.4:5060;transport=UDP")
    assert str(bare) == "<sip:u@1.2.3.4:5060>;transport=UDP" and bare.uri.transport == ""
    spaced = NameAddr.parse('"A. G. Bell"   <sip:agb@example.com> ;tag=a48s')
    assert (spaced.display, spaced.tag) == ("A. G. Bell", "a48s")
    instance = NameAddr.parse('<sip:a@b>;+sip.instance="<urn:uuid:f81d>";reg-id=1;expires=60;q=0.5')
    assert instance.params["+sip.instance"] == "<urn:uuid:f81d>" and (instance.expires, instance.q) == (60, 0.5)
    assert str(instance) == '<sip:a@b>;+sip.instance="<urn:uuid:f81d>";reg-id=1;expires=60;q=0.5'
    in_bare = NameAddr.parse('sip:a@b;+sip.instance="<urn:x>"')
    assert in_bare.params == {"+sip.instance": "<urn:x>"}
    assert NameAddr.parse("Grüße <sip:a@b>").display == "Grüße"
    assert NameAddr.parse('""<sip:a@b>').display == ""
    assert str(spaced.replace(uri=Uri.parse("sip:x@y"), params={})) == '"A. G. Bell" <sip:x@y>'
    assert str(NameAddr('a"b\\c\r\nVia: x', Uri.parse("sip:x@y"))) == '"a\\"b\\\\c  Via: x" <sip:x@y>'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<>",
        "sip:a@b>",
        "<sip:a@b",
        '"x" sip:a@b',
        '"x',
        '"x\\',
        'a"b" <sip:a@b>',
        "a, b <sip:a@b>",
        "a;b <sip:a@b>",
        "< sip:a@b >",
        "<sip:a@b>x",
        "<sip:a@b>,",
        "<sip:a@b>;",
        "<sip:a@b>;;tag=1",
        "<sip:a@b>;tag=1;Tag=2",
        "sip:a@b?Route=x",
        "sip:a,b@c",
        "<<sip:a@b>>",
        "<http://x>",
        "*",
    ],
)
def test_name_addr_refused(text: str) -> None:
    with pytest.raises(ParseError):
        NameAddr.parse(text)


@pytest.mark.parametrize("q", ["1.1", "-0.1", "0.1234", "", "x", "0,5", ".5", "1.001", "9" * 5000])
def test_bad_q(q: str) -> None:
    with pytest.raises(ParseError):
        _ = NameAddr("", Uri.parse("sip:a"), {"q": q}).q


# ---------------------------------------------------------------------------------------------------------------- Via
TOKENS = st.text("abcXYZ019-.!%*_+`'~", min_size=1, max_size=8)


@given(
    st.builds(
        Via,
        st.just("SIP/2.0"),
        st.sampled_from(["UDP", "TCP", "TLS", "WSS", "X-1"]),
        HOST,
        st.none() | st.integers(1, 65535),
        st.dictionaries(NAME, st.none() | TOKENS | HOST, max_size=4),
    )
)
def test_via_round_trip(via: Via) -> None:
    assert Via.parse(str(via)) == via


def test_via() -> None:
    via = Via.parse("SIP/2.0/udp [2001:DB8::9]:5070;received=2001:db8::1;branch=z9hG4bKx;rport")
    assert (via.transport, via.host, via.port, via.received, via.branch) == ("UDP", "2001:db8::9", 5070, "2001:db8::1", "z9hG4bKx")
    assert via.wants_rport and via.rport is None and via.has_cookie and via.sent_by == "[2001:db8::9]:5070"
    via.params["rport"] = "1234"
    assert via.rport == 1234
    assert str(via) == "SIP/2.0/UDP [2001:db8::9]:5070;received=2001:db8::1;branch=z9hG4bKx;rport=1234"
    odd = Via.parse("sip / 2.0 / TCP  host : 5060 ; branch = z9hG4bK")
    assert (odd.protocol, odd.host, odd.port, odd.has_cookie) == ("SIP/2.0", "host", 5060, False)
    assert Via.salvage("SIP/2.0/UDP 192.0.2.15;;,;,,").host == "192.0.2.15"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ",
        "SIP/2.0 UDP x",
        "SIP/2.0/UDP a b",
        "SIP/2.0/UDP a:b",
        "SIP/2.0/UDP a:0",
        "SIP/2.0/UDP [::1",
        "SIP/2.0/UDP a;",
    ],
)
def test_via_refused(text: str) -> None:
    with pytest.raises(ParseError, match="Bad Via Header"):
        Via.parse(text)


# ---------------------------------------------------------------------------------------------------------------- extensions
@pytest.mark.parametrize(
    ("cls", "text"),
    [
        (SessionExpires, "1800;refresher=uac"),
        (SessionExpires, "90"),
        (RAck, "776656 1 INVITE"),
        (Replaces, "98732@host;to-tag=r33th4x0r;from-tag=ff87ff"),
        (Replaces, "98732@host;to-tag=1;from-tag=2;early-only"),
        (Reason, 'SIP;cause=600;text="Busy Everywhere"'),
        (Reason, "Q.850;cause=16"),
        (Reason, "X"),
        (Event, "message-summary"),
        (Event, "refer;id=93809824;x=y"),
        (SubscriptionState, "active;expires=60"),
        (SubscriptionState, "terminated;reason=noresource;retry-after=5"),
        (RetryAfter, "18000;duration=3600"),
        (RetryAfter, "5"),
        (Diversion, "<sip:43@x>;reason=user-busy;counter=2"),
        (HistoryEntry, "<sip:43@x?Reason=SIP%3Bcause%3D302>;index=1.1"),
    ],
)
def test_extension_round_trip(cls: type[SessionExpires], text: str) -> None:
    assert str(cls.parse(text)) == text


@pytest.mark.parametrize(
    ("cls", "text"),
    [
        (SessionExpires, ""),
        (SessionExpires, "x"),
        (SessionExpires, "90;refresher=me"),
        (SessionExpires, "9" * 20),
        (RAck, ""),
        (RAck, "1"),
        (RAck, "1 2"),
        (RAck, "1 2 A B"),
        (RAck, "1 99999999999 INVITE"),
        (RAck, "-1 2 INVITE"),
        (Replaces, ""),
        (Replaces, "x;to-tag=1"),
        (Replaces, "x;from-tag=1;to-tag"),
        (Replaces, ";to-tag=1;from-tag=2"),
        (Reason, ""),
        (Reason, ";cause=1"),
        (Reason, "SIP;cause=x"),
        (Event, ""),
        (Event, "a b"),
        (SubscriptionState, ""),
        (SubscriptionState, "active;expires=-1"),
        (RetryAfter, "soon"),
        (RetryAfter, "5 (x"),
        (RetryAfter, "949302838503028349304023988"),
        (Diversion, "x"),
        (Diversion, "<sip:a@b>;counter=9999"),
        (HistoryEntry, "<sip:a@b>"),
        (HistoryEntry, "<sip:a@b>;index=1..2"),
        (ReferTo, ""),
        (ReferTo, "<sip:a@b?Replaces=x>"),
        (ReferTo, "<http://x>"),
        (ReferTo, "<sip:a@b?Replaces=x%3Bto-tag%3D1%3Bfrom-tag%3D2&replaces=y%3Bto-tag%3D1%3Bfrom-tag%3D2>"),
    ],
)
def test_extension_refused(cls: type[SessionExpires], text: str) -> None:
    with pytest.raises(ParseError):
        cls.parse(text)


def test_refer_to() -> None:
    refer = ReferTo.parse('"B" <sip:bob@b.example;method=SUBSCRIBE;x=1?Replaces=12345%40192.168.118.3%3Bto-tag%3D12345%3Bfrom-tag%3D5FFE-3994>')
    assert str(refer.target) == '"B" <sip:bob@b.example;x=1>' and refer.method == "SUBSCRIBE"
    assert refer.replaces == Replaces("12345@192.168.118.3", "12345", "5FFE-3994")
    assert ReferTo.parse("sip:a@b").method == "INVITE"


def test_retry_after_comment() -> None:
    assert RetryAfter.parse("18000 (in a (nested) meeting);duration=3600") == RetryAfter(18000, 3600)

"""URIs: reading, writing, comparing."""

from __future__ import annotations

from socket import AF_INET6, inet_ntop

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngcpd.sip.uri import ParseError, Uri, escape_user, unescape_percent

USER = st.text("abcXYZ019-_.!~*'()&=+$,;?/#", min_size=1, max_size=20)
ESCAPED = st.text(min_size=1, max_size=8).map(escape_user)
LABEL = st.text("abcxyz019", min_size=1, max_size=8)
HOST = st.one_of(
    st.lists(LABEL, min_size=1, max_size=4).map(".".join),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda a: inet_ntop(AF_INET6, a.packed)),  # the spelling of the stack
)
VALUE = st.text("abcXYZ019-_.!~*'()[]/:&+$%", max_size=10).map(lambda t: t.replace("%", "%41"))
PARAMS = st.dictionaries(st.text("abcxyz-", min_size=1, max_size=8), st.none() | VALUE, max_size=4)
SIP = st.builds(
    Uri,
    scheme=st.sampled_from(["sip", "sips"]),
    user=USER | ESCAPED,
    password=st.none() | st.text("abc019&=+$,", max_size=6),
    host=HOST,
    port=st.none() | st.integers(1, 65535),
    params=PARAMS,
    headers=st.sampled_from(["", "subject=x", "a=b&c=d%20e"]),
)
TEL = st.builds(Uri, scheme=st.just("tel"), user=st.from_regex(r"\+[0-9]{1,15}", fullmatch=True), params=PARAMS)


@given(SIP | TEL)
def test_round_trip(uri: Uri) -> None:
    again = Uri.parse(str(uri))
    assert again == uri
    assert str(again) == str(uri)
    assert again.matches(uri) and uri.matches(again)


@given(st.text(max_size=60) | st.text("sip:@;?%[]<>0a. ", max_size=30).map(lambda t: "sip:" + t))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        uri = Uri.parse(text)
    except ParseError as error:
        assert error.code in (400, 416)
    else:
        assert str(uri) == text
        assert uri.replace(port=None) is not None
        assert isinstance(uri.user_decoded, str) and isinstance(uri.header_fields(), list)


@given(st.text(max_size=30))
def test_escape_user(text: str) -> None:
    escaped = escape_user(text)
    assert escaped.isascii() and not set(escaped) & set('@:<>" \r\n')
    if text:
        uri = Uri("sip", escaped, host="h")
        assert Uri.parse(str(uri)).user == escaped
    if text.isprintable():
        assert unescape_percent(escaped) == text


def test_parts() -> None:
    uri = Uri.parse("SIP:Alice:secret@Example.COM:5070;Transport=TCP;lr;X=Y?Subject=a%20b&h=")
    assert (uri.scheme, uri.user, uri.password, uri.host, uri.port) == ("sip", "Alice", "secret", "example.com", 5070)
    assert list(uri.params.items()) == [("transport", "TCP"), ("lr", None), ("x", "Y")]
    assert uri.transport == "tcp" and uri.lr and uri.headers == "Subject=a%20b&h="
    assert uri.header_fields() == [("Subject", "a b"), ("h", "")]
    assert str(uri) == "SIP:Alice:secret@Example.COM:5070;Transport=TCP;lr;X=Y?Subject=a%20b&h="
    assert str(uri.replace(port=None, headers="")) == "sip:Alice:secret@example.com;transport=TCP;lr;x=Y"
    assert uri.aor == "Alice@example.com"


def test_ipv6() -> None:
    uri = Uri.parse("sip:bob@[2001:DB8::1]:5062;maddr=[::1]")
    assert (uri.host, uri.port, uri.hostport) == ("2001:db8::1", 5062, "[2001:db8::1]:5062")
    assert str(uri.replace(port=None)) == "sip:bob@[2001:db8::1];maddr=[::1]"


def test_tel() -> None:
    uri = Uri.parse("tel:+43(1)234-56;phone-context=example.com")
    assert (uri.scheme, uri.user, uri.host, uri.params) == ("tel", "+43(1)234-56", "", {"phone-context": "example.com"})
    assert uri.matches(Uri.parse("TEL:+4312.3456;Phone-Context=EXAMPLE.com"))
    assert not uri.matches(Uri.parse("tel:+43123456"))
    assert str(Uri("tel", "123", params={"phone-context": "+43"})) == "tel:123;phone-context=+43"


def test_feature_codes_of_phones_are_let_through() -> None:
    assert Uri.parse("sip:*72*0431#@example.com").user == "*72*0431#"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip",
        "sip:",
        ":x",
        "sip:@example.com",
        "sip:a@",
        "sip:a@b@c",
        "sip:a@b:",
        "sip:a@b:0",
        "sip:a@b:65536",
        "sip:a@b:99999999999999999999",
        "sip:a@b:5x",
        "sip:a@b:²",
        "sip:a@b:-1",
        "sip:a@b;",
        "sip:a@b;;lr",
        "sip:a@b;=x",
        "sip:a@b;lr;LR",
        "sip:a@b?",
        "sip:a b@c",
        "sip:a@b c",
        "sip:a@b\r\nVia: x",
        "sip:a@b\x00",
        "sip:<a@b>",
        'sip:"a"@b',
        "sip:a%@b",
        "sip:a%4@b",
        "sip:a%zz@b",
        "sip:ä@b",
        "sip:a@[::1",
        "sip:a@[::1]x",
        "sip:a@[1.2.3.4]",
        "sip:a@[fe80::1%25eth0]",
        "sip:a@::1",
        "sip:a@b/c",
        "tel:",
        "tel:+",
        "tel:-.-",
        "tel:abc;x?y",
        "tel:+43x",
        "1x:y",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ParseError) as caught:
        Uri.parse(text)
    assert caught.value.code == 400


@pytest.mark.parametrize("text", ["http://example.com", "mailto:a@b", "soap.beep://x", "urn:service:sos", "x:\x00"])
def test_foreign_scheme(text: str) -> None:
    with pytest.raises(ParseError) as caught:
        Uri.parse(text)
    assert caught.value.code == 416


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        ("sip:alice@atlanta.com?subject=project%20x&priority=urgent", "sip:alice@atlanta.com?priority=urgent&subject=project%20x"),
    ],
)
def test_equivalent(one: str, two: str) -> None:
    """RFC 3261 19.1.4."""
    assert Uri.parse(one).matches(Uri.parse(two)) and Uri.parse(two).matches(Uri.parse(one))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:a@b", "sips:a@b"),
        ("sip:a@b", "sip:a@b;user=phone"),
        ("sip:a@b", "sip:a@b;maddr=1.2.3.4"),
        ("sip:a@b", "sip:a:x@b"),
        ("sip:a%3Bb@c", "sip:a;b@c"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
    ],
)
def test_different(one: str, two: str) -> None:
    """RFC 3261 19.1.4."""
    assert not Uri.parse(one).matches(Uri.parse(two)) and not Uri.parse(two).matches(Uri.parse(one))


def test_replace_knows_its_parts() -> None:
    uri = Uri.parse("sip:a@b;x=1")
    assert str(uri.with_params(transport="tcp", lr=None)) == "sip:a@b;x=1;transport=tcp;lr"
    assert str(uri.without_params(["x"])) == "sip:a@b"
    with pytest.raises(TypeError):
        uri.replace(hots="x")

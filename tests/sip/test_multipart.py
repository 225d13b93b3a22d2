"""Bodies of several parts (RFC 2046 5.1, RFC 5621)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngcpd.sip.errors import ParseError
from ngcpd.sip.multipart import MAX_PARTS, Multipart, boundary_of

SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n"
TYPE = 'multipart/mixed;boundary="b1"'


def body(*parts: bytes, boundary: bytes = b"b1", preamble: bytes = b"", after: bytes = b"\r\n") -> bytes:
    return preamble + b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--" + after


def test_the_part_is_found_and_the_rest_stays() -> None:
    other = b"Content-Type: application/isup\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\x01\r\n--b2\r\n"
    data = body(b"Content-Type: application/SDP\r\n\r\n" + SDP, other, preamble=b"x\r\n")
    whole = Multipart.parse(TYPE, data)
    assert [p.kind for p in whole.parts] == ["application/sdp", "application/isup"]
    part = whole.find("application/sdp")
    assert part is not None and part.body == SDP
    assert whole.parts[1].body == b"\x00\x01\r\n--b2\r\n"
    assert whole.replaced(part, b"NEW") == data.replace(SDP, b"NEW")


def test_nested_folded_and_dispositions() -> None:
    inner = body(b"c: text/plain\r\n\r\nhi", b"Content-Type:\r\n application/sdp\r\n\r\n" + SDP, boundary=b"in", after=b"")
    early = b"Content-Type: application/sdp\r\nContent-Disposition: early-session;handling=optional\r\n\r\nearly"
    data = body(b"Content-Type: multipart/alternative; boundary=in\r\n\r\n" + inner, early)
    whole = Multipart.parse(TYPE, data)
    part = whole.find("application/sdp")
    assert part is not None and part.body == SDP and [p.disposition for p in whole.parts] == ["", "", "early-session"]
    assert whole.find("image/png") is None


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_newlines_and_parts_without_header(newline: bytes) -> None:
    data = body(b"\r\nplain", b"Content-Type: application/sdp\r\n\r\n" + SDP).replace(b"\r\n", newline)
    assert [p.kind for p in Multipart.parse(TYPE, data).parts] == ["text/plain", "application/sdp"]
    assert Multipart.parse(TYPE, b"--b1" + newline + b"--b1--").parts[0].body == b""


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("multipart/mixed", body(b"\r\nx")),
        ('multipart/mixed;boundary=""', body(b"\r\nx")),
        (f"multipart/mixed;boundary={'x' * 71}", body(b"\r\nx")),
        (TYPE, b""),
        (TYPE, b"nothing of it"),
        (TYPE, body(b"\r\nx")[:-6]),
        (TYPE, body(b"\r\nx", boundary=b"other")),
        (TYPE, body(*[b"\r\nx"] * (MAX_PARTS + 1))),
        (TYPE, body(*[b"Content-Type: multipart/mixed;boundary=b1\r\n\r\n"])),
    ],
)
def test_what_cannot_be_read(kind: str, data: bytes) -> None:
    with pytest.raises(ParseError):
        Multipart.parse(kind, data)


def test_two_descriptions_and_encoded_ones_are_refused() -> None:
    one = b"Content-Type: application/sdp\r\n\r\n" + SDP
    with pytest.raises(ParseError):
        Multipart.parse(TYPE, body(one, one)).find("application/sdp")
    with pytest.raises(ParseError):
        Multipart.parse(TYPE, body(b"Content-Transfer-Encoding: base64\r\n" + one)).find("application/sdp")


def test_boundary() -> None:
    assert boundary_of('multipart/mixed; charset=x;Boundary="a\\"b c"') == b'--a"b c'
    assert boundary_of("multipart/mixed;boundary=a'b:c") == b"--a'b:c"


@given(st.binary(max_size=300), st.sampled_from([TYPE, "multipart/mixed;boundary=-", "multipart/x", ""]))
def test_any_bytes(data: bytes, kind: str) -> None:
    try:
        whole = Multipart.parse(kind, data)
    except ParseError:
        return
    for part in whole.parts:
        assert 0 <= part.start <= part.end <= len(data)
        assert whole.replaced(part, part.body) == data


@given(st.lists(st.binary(max_size=40).filter(lambda b: b"--b1" not in b), min_size=1, max_size=5))
def test_contents_come_back(contents: list[bytes]) -> None:
    data = body(*[b"Content-Type: a/b\r\n\r\n" + c for c in contents])
    assert [p.body for p in Multipart.parse(TYPE, data).parts] == contents

"""Cutting a stream into messages."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngcpd.sip.framing import KEEPALIVE, FramingError, StreamFramer, is_keepalive
from ngcpd.sip.message import ParseError, parse_message
from tests.sip.torture import VECTORS, crlf


def message(body: bytes = b"", length: str | None = None, extra: str = "") -> bytes:
    text = f"OPTIONS sip:a SIP/2.0\nVia: SIP/2.0/TCP h\nFrom: <sip:a>\nTo: <sip:a>\nCall-ID: 1\nCSeq: 1 OPTIONS\n{extra}"
    return crlf(text + f"{length or f'Content-Length: {len(body)}'}\n\n") + body


def test_several_at_once_and_in_parts() -> None:
    one, two, three = message(b"abc"), message(), message(b"\r\n\r\nOPTIONS")
    framer = StreamFramer()
    assert framer.feed(one + two + three[:-3]) == [one, two]
    assert framer.pending == len(three) - 3
    assert framer.feed(three[-3:] + one[:10]) == [three]
    assert framer.feed(one[10:]) == [one] and framer.pending == 0


@given(
    st.lists(st.binary(max_size=40), min_size=1, max_size=5),
    st.lists(st.integers(0, 800), max_size=12),
    st.lists(st.sampled_from([b"", b"\r\n", b"\r\n\r\n"])),
)
def test_any_split_gives_the_same(bodies: list[bytes], cuts: list[int], gaps: list[bytes]) -> None:
    messages = [message(b) for b in bodies]
    stream = b"".join([(gaps[i] if i < len(gaps) else b"") + m for i, m in enumerate(messages)])
    whole = StreamFramer().feed(stream)
    assert [m for m in whole if m is not KEEPALIVE] == messages
    assert whole.count(KEEPALIVE) == gaps[: len(messages)].count(b"\r\n\r\n")
    framer, parts, last = StreamFramer(), [], 0
    for cut in [*sorted(c for c in cuts if c < len(stream)), len(stream)]:
        parts += framer.feed(stream[last:cut])
        last = cut
    assert parts == whole and framer.pending == 0


@pytest.mark.parametrize("vector", VECTORS.values(), ids=lambda v: v.name)
def test_octet_by_octet_equals_whole(vector: object) -> None:
    def run(parts: list[bytes]) -> tuple[list[object], str]:
        framer, out = StreamFramer(), []
        for part in parts:
            try:
                out += framer.feed(part)
            except FramingError as error:
                return [*out, *error.messages], error.reason
        return out, ""

    data = vector.data  # type: ignore[attr-defined]
    assert run([data[i : i + 1] for i in range(len(data))]) == run([data])


def test_pings() -> None:
    framer = StreamFramer()
    assert framer.feed(b"\r\n") == [] and framer.pending == 0
    assert framer.feed(b"\r") == [] and framer.pending == 0
    assert framer.feed(b"\n") == [KEEPALIVE]
    assert framer.feed(b"\r\n\r\n\r\n\r\n\r\n") == [KEEPALIVE, KEEPALIVE]
    assert framer.feed(message()) == [message()]
    assert framer.feed(b"\r\n") == []  # the count began anew
    assert framer.feed(b"\0\n\0" + message() + b"\r\n\r\n") == [message(), KEEPALIVE]


@pytest.mark.parametrize(
    "line",
    [
        "l: 3",
        "L:3",
        "content-length:   3",
        "CONTENT-LENGTH : 3",
        "l \t: 0003",
        "Content-Length:\n 3",
        "Content-Length\t:\n\t\n 3",
        "Content-Length: 0000000003",
    ],
)
def test_content_length_as_the_parser_reads_it(line: str) -> None:
    data = message(b"abc", line)
    assert StreamFramer().feed(data + b"OPT") == [data]
    assert parse_message(data).body == b"abc"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Content-Length: -1", "Bad"),
        ("Content-Length: +1", "Bad"),
        ("Content-Length: 1.0", "Bad"),
        ("Content-Length: 0x1", "Bad"),
        ("Content-Length: 1 1", "Bad"),
        ("Content-Length: 1,1", "Bad"),
        ("Content-Length:", "Bad"),
        ("Content-Length: \u00b2", "Bad"),
        ("Content-Length: 4294967297", "Bad"),
        ("Content-Length: 4294967328", "Bad"),
        ("Content-Length: 18446744073709551617", "Bad"),
        ("Content-Length: " + "1" * 10_000, "Bad"),
        ("Content-Length: 65536", "Bad"),
        ("Content-Length: 65535", "Message Too Large"),
        ("Content-Length: 1\nContent-Length: 2", "Duplicate"),
        ("Content-Length: 1\nl : 1", "Duplicate"),
        ("Subject: x", "Missing"),
        ("X-Content-Length: 1", "Missing"),
        ("Subject: x\n Content-Length: 1", "Missing"),
        ("Subject: x\rContent-Length: 1", "Missing"),
    ],
)
def test_what_closes_the_connection(line: str, reason: str) -> None:
    good = message(b"x")
    with pytest.raises(FramingError, match=reason) as caught:
        StreamFramer().feed(good + message(b"x", line))
    assert caught.value.messages == [good] and caught.value.head.startswith(b"OPTIONS")


def test_the_body_hides_no_headers() -> None:
    inner = message(b"evil")
    outer = message(inner)
    assert StreamFramer().feed(outer + message()) == [outer, message()]


def test_wrong_inside_is_passed_on() -> None:
    bad = message(extra="Broken header line\n")
    assert StreamFramer().feed(bad + message()) == [bad, message()]
    with pytest.raises(ParseError):
        parse_message(bad)


def test_header_cap() -> None:
    framer = StreamFramer(limit=2_000)
    assert framer.feed(b"A" * 2_000) == []
    with pytest.raises(FramingError, match="Headers Too Long"):
        framer.feed(b"A")
    with pytest.raises(FramingError, match="Headers Too Long"):
        StreamFramer(limit=2_000).feed(b"A" * 2_000 + b"\r\n\r\n")
    with pytest.raises(FramingError, match="Headers Too Long"):
        StreamFramer().feed(b"A" * 70_000)
    with pytest.raises(FramingError, match="Message Too Large"):
        StreamFramer(limit=300).feed(message(b"x" * 200))


def test_stray_carriage_return_between_messages() -> None:
    with pytest.raises(FramingError, match="Stray"):
        StreamFramer().feed(b"\rOPTIONS")


def test_slow_drip_and_bursts_are_linear() -> None:
    start = time.process_time()
    framer = StreamFramer()
    data = message(b"x" * 60_000)
    for i in range(len(data)):
        framer.feed(data[i : i + 1])
    head = b"A" * 60_000
    for i in range(len(head)):
        framer.feed(head[i : i + 1])
    assert len(StreamFramer().feed(message() * 5_000)) == 5_000
    assert len(StreamFramer().feed(b"\r\n" * 200_000)) == 100_000
    assert time.process_time() - start < 5.0  # rescanning would take minutes


@given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"\0", b"l: 1", b"Content-Length: 0", b"x", b" ", message(b"a")]), max_size=20))
def test_noise(parts: list[bytes]) -> None:
    framer = StreamFramer()
    try:
        for part in parts:
            for got in framer.feed(part):
                assert got is KEEPALIVE or (isinstance(got, bytes) and b"\r\n\r\n" in got)
    except FramingError as error:
        assert error.reason


def test_datagrams_that_are_no_messages() -> None:
    for data in (b"", b"\r\n", b"\r\n\r\n", b"\0", b"\0" * 100, b"jaK", b"\xff\xff\xff\xff", b"\n", b"hello", b" " * 50):
        assert is_keepalive(data)
    assert not is_keepalive(message()) and not is_keepalive(b"INVITE sip:a SIP/2.0\r\nx: y")

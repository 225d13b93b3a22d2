"""The short ways of reading, indexing and writing a message lead where the long ones do."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from ngcpd.sip import message as reading
from ngcpd.sip.message import Fields, Message, ParseError, Request, parse_message, reply
from tests.sip.test_message import PLAIN
from tests.sip.torture import crlf

NAMES = ("Via", "From", "To", "Call-ID", "CSeq", "Content-Length", "Record-Route", "Timestamp", "Subject", "X-Foo")
WRITTEN = st.sampled_from((*NAMES, "v", "to", "FROM", "x-foo", "X-foo", "Subject ", " Subject", "\tX", "", "Bad Name", "Subject:"))
GAPS = st.sampled_from((": ", ": ", ": ", ":", ":  ", ":\t", " : ", ": \t ", "", " "))
VALUES = st.sampled_from(("", "a", "a: b", "a ", "a\t", " a", "1", "\r\n b", "\r\n\tb", "\r\n", "\x85", "a\xa0"))
LINES = st.lists(st.tuples(WRITTEN, GAPS, VALUES).map("".join), max_size=6)


def outcome(read: Callable[[str], object], text: str) -> object:
    try:
        return read(text)
    except ParseError as error:
        return (error.code, error.reason)


@given(LINES)
def test_a_plain_header_block_is_read_as_line_by_line(lines: list[str]) -> None:
    text = "\r\n".join(lines)
    assert outcome(reading._read_fields, text) == outcome(reading._read_lines, text)


def test_a_long_value_is_refused_either_way() -> None:
    for gap in (": ", ":"):
        assert outcome(reading._read_fields, f"Subject{gap}{'a' * (reading.MAX_VALUE + 1)}") == (400, "Header Too Long")


def test_names_that_were_learnt_are_bounded() -> None:
    before = reading._plain.copy()
    for n in range(2 * reading.KEPT_NAMES):
        fields, first = reading._read_fields(f"Subject: x\r\nX-Learnt{n}: y")
        assert fields == [("Subject", "x"), (f"X-Learnt{n}", "y")] and first == dict(fields)
    assert len(reading._plain) == reading.KEPT_NAMES
    reading._plain.intersection_update(before)


FIELDS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(("a", "b, c", "x\r\ny", "é", "€"))), max_size=8)


def by_lines(message: Message) -> bytes:
    lines = [message.start_line(), *(f"{n}: {v}" for n, v in message.fields if n != "Content-Length"), f"Content-Length: {len(message.body)}"]
    texts = [line.replace("\r", " ").replace("\n", " ") for line in lines]
    try:
        return "".join([f"{text}\r\n" for text in [*texts, ""]]).encode("latin-1") + message.body
    except UnicodeEncodeError:
        return b"".join([(t.encode("latin-1") if t.isprintable() and "€" not in t else t.encode()) + b"\r\n" for t in [*texts, ""]]) + message.body


@given(FIELDS, st.sampled_from(("sip:a@b", "sip:\r\nX: y")), st.binary(max_size=3))
def test_written_as_line_by_line(fields: Fields, uri: str, body: bytes) -> None:
    message = Request("INVITE", uri, fields, body)
    assert message.to_bytes() == by_lines(message)


def echoed(request: Request, status: int, to_tag: str) -> Fields:
    out: Fields = []
    seen: set[str] = set()
    for name, value in request.fields:
        if name in ("Via", "Record-Route"):
            if name == "Via" or 100 < status < 300:
                out.append((name, value))
        elif (name in ("From", "To", "Call-ID", "CSeq") or (name == "Timestamp" and status == 100)) and name not in seen:
            seen.add(name)
            out.append((name, f"{value};tag={to_tag}" if name == "To" and status != 100 and to_tag and value == "<sip:b@x>" else value))
    return out


ECHO = st.lists(st.sampled_from([*((n, "a") for n in NAMES), ("To", "<sip:b@x>"), ("To", "<sip:b@x>;tag=1"), ("Via", "b"), ("Via", "a")]), max_size=9)


@given(ECHO, st.sampled_from((100, 180, 200, 404)), st.sampled_from(("", "t")))
def test_a_reply_echoes_in_the_order_of_the_request(fields: Fields, status: int, to_tag: str) -> None:
    fields = [f for f in fields if f != ("To", "a")]
    request = Request("INVITE", "sip:b@x", fields)
    assert reply(request, status, to_tag=to_tag, fields=[("Server", "x")]).fields == [*echoed(request, status, to_tag), ("Server", "x")]


VALUE = st.sampled_from(("<sip:a@x>;tag=1", "<sip:b@x>;tag=2", "<sip:c@x>"))
VIA = st.sampled_from(("SIP/2.0/UDP a;branch=z9hG4bK1", "SIP/2.0/UDP b;branch=z9hG4bK2, SIP/2.0/TCP c"))
EDIT = st.one_of(
    st.tuples(st.sampled_from(("set", "add", "insert", "replace_top")), st.sampled_from(("From", "To", "Contact", "Route", "t", "route")), VALUE),
    st.tuples(st.sampled_from(("set", "add", "insert", "replace_top")), st.sampled_from(("Via", "v")), VIA),
    st.tuples(st.sampled_from(("remove", "pop_top")), st.sampled_from(("From", "To", "Contact", "Route", "Via")), st.just("")),
)


def seen(message: Message) -> list[object]:
    views: list[Callable[[Message], object]] = [
        lambda m: m.names(),
        lambda m: [m.raw(name) for name in NAMES],
        lambda m: (m.from_, m.from_tag),
        lambda m: (m.to, m.to_tag),
        lambda m: m.contacts,
        lambda m: m.routes,
        lambda m: m.via,
        lambda m: m.vias,
    ]
    out: list[object] = []
    for view in views:
        try:
            out.append(view(message))
        except ParseError as error:
            out.append(error.reason)
    return out


@given(st.lists(EDIT, max_size=6))
def test_what_was_decoded_follows_every_change(edits: list[tuple[str, str, str]]) -> None:
    message = parse_message(crlf(PLAIN))
    seen(message)
    for what, name, value in edits:
        try:
            getattr(message, what)(*([name, value] if value else [name]))
        except KeyError:
            assert not message.raw(name)
        assert seen(message) == seen(Request("X", "sip:x", message.fields.copy()))


def test_under_puts_a_via_on_top_of_a_copy() -> None:
    request = Request("INVITE", "sip:b@x", [("Via", "SIP/2.0/UDP a"), ("To", "<sip:b@x>")], b"x")
    copy = request.under("SIP/2.0/UDP b")
    assert copy.raw("Via") == ["SIP/2.0/UDP b", "SIP/2.0/UDP a"] and request.raw("Via") == ["SIP/2.0/UDP a"]
    assert copy.body == b"x" and copy.start_line() == request.start_line()

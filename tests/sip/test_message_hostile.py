"""Whatever comes, reading raises ParseError only and stays linear."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngcpd.sip import headers, sanity
from ngcpd.sip.digest import Challenge, Credentials
from ngcpd.sip.grammar import split_list
from ngcpd.sip.headers import NameAddr, Via, parse_params
from ngcpd.sip.message import Message, ParseError, Request, parse_message, reply
from ngcpd.sip.uri import Uri
from tests.sip.test_message import PLAIN
from tests.sip.torture import VECTORS, crlf

CORPUS = [v.data for v in VECTORS.values()] + [crlf(PLAIN)]
READERS: list[Callable[[Message], object]] = [
    sanity.check,
    lambda m: m.method,
    lambda m: m.call_id,
    lambda m: m.from_tag,
    lambda m: m.to_tag,
    lambda m: m.cseq,
    lambda m: m.via.rport,
    lambda m: [(v.branch, v.received, v.rport, v.has_cookie, str(v)) for v in m.vias],
    lambda m: [(c.q, c.expires, c.tag, str(c)) for c in m.contacts] if isinstance(m.contacts, list) else None,
    lambda m: (m.max_forwards, m.expires),
    lambda m: (m.routes, m.record_routes, m.addresses("Path")),
    lambda m: m.content_type,
    lambda m: m.ruri.matches(m.ruri) if isinstance(m, Request) else None,
    lambda m: [m.values(name) for name in m.names()],
    lambda m: sanity.unsupported_options(m, ()),
    headers.session_expires,
    headers.min_se,
    headers.parse_rseq,
    headers.reasons,
    headers.diversions,
    headers.history,
    headers.privacy,
    headers.identities,
    lambda m: [(Credentials.parse(v), Challenge.parse(v)) for v in m.raw("Authorization")],
    lambda m: [headers.ReferTo.parse(v) for v in m.raw("Refer-To")],
    lambda m: [headers.RetryAfter.parse(v) for v in m.raw("Retry-After")],
]


def use(data: bytes) -> None:
    """Read a message and everything in it, answer it, write it, read that; let nothing but ParseError be raised on the way."""
    try:
        message = parse_message(data)
    except ParseError as error:
        assert error.reason.isascii() and error.reason.isprintable() and error.code in (400, 505, 513)
        if error.request is None:
            return
        assert error.request.via.host
        message = error.request
    for reader in READERS:
        try:
            reader(message)
        except ParseError as error:
            assert error.code in (400, 416)
    message.to_bytes()
    if isinstance(message, Request):
        answer = reply(message, 400, to_tag="tag").to_bytes()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert not body and head.count(b"\n") == head.count(b"\r\n") == head.count(b"\r")


@pytest.mark.parametrize("data", CORPUS, ids=[*VECTORS, "plain"])
def test_every_prefix(data: bytes) -> None:
    # cutting elsewhere than in the first octets of a line only moves the cut inside a value: every place of short messages, every third of long ones
    for end in range(0, len(data) + 1, 1 if len(data) < 700 else 3):
        use(data[:end])


@pytest.mark.parametrize("data", CORPUS, ids=[*VECTORS, "plain"])
def test_every_prefix_of_the_headers_as_a_whole_message(data: bytes) -> None:
    head = data.partition(b"\r\n\r\n")[0]
    for end in range(0, len(head) + 1, 1 if len(head) < 700 else 5):
        use(head[:end] + b"\r\n\r\n")


SPICE = [b"\r\n", b"\r", b"\n", b"\0", b'"', b"<", b">", b";", b",", b":", b"@", b"%", b"\\", b" ", b"\t", b"=", b"?", b"[", b"]", b"\xff", b"9" * 40]


PIECES = [*SPICE, b"Via: SIP/2.0/UDP h", b"To", b"INVITE sip:a SIP/2.0"]


@settings(max_examples=400)
@given(st.data())
def test_mutations(data: st.DataObject) -> None:
    message = bytearray(data.draw(st.sampled_from(CORPUS)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(message)))
        length = data.draw(st.integers(0, 8))
        message[at : at + length] = data.draw(st.sampled_from(SPICE) | st.binary(max_size=4))
    use(bytes(message))


@settings(max_examples=200)
@given(st.binary(max_size=300) | st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join))
def test_noise(data: bytes) -> None:
    use(data)


@settings(max_examples=300)
@given(st.lists(st.sampled_from([*'"\\<>,;= \t[:*é%', "sip:a@b", "tag"]), max_size=14).map("".join))
def test_value_noise(text: str) -> None:
    for parse in VALUE_READERS:
        try:
            parse(text)
        except ParseError:
            continue


VALUE_READERS: list[Callable[[str], object]] = [
    Uri.parse,
    NameAddr.parse,
    Via.parse,
    parse_params,
    split_list,
    Credentials.parse,
    Challenge.parse,
    headers.SessionExpires.parse,
    headers.RAck.parse,
    headers.Replaces.parse,
    headers.ReferTo.parse,
    headers.Reason.parse,
    headers.Event.parse,
    headers.SubscriptionState.parse,
    headers.RetryAfter.parse,
    headers.Diversion.parse,
    headers.HistoryEntry.parse,
]

# ---------------------------------------------------------------------------------------------------------------- time
# Quadratic work on these sizes takes many seconds, linear work milliseconds: the bound tells them apart on any machine.
BOUND = 1.0
SIZE = 60_000
UNITS = [*'"\\<>,;= \t:@%?&/.1a[]()-+*é\0', '\\"', '"\\', "<>", ", ", ";a", ";a=", "%4", "%41", "1.", "a ", "::", "a,", '"a",', "<sip:a>,", '""']
UNITS += ["a=b,", 'a="b",', "a;", "a@", "sip:", "SIP/", "/ "]
STARTS = [
    "",
    "sip:",
    "sip:a@",
    "tel:+",
    "tel:",
    "<sip:",
    '"',
    '"x" <sip:a>',
    "<sip:a>;",
    "SIP/2.0/UDP ",
    "SIP/2.0/UDP a;",
    "Digest ",
    'Digest a="',
    "1 ",
]
STARTS += ["<sip:a?"]


def spent(fn: Callable[[], object]) -> float:
    start = time.process_time()
    try:
        fn()
    except ParseError:
        pass
    return time.process_time() - start


@pytest.mark.parametrize("unit", UNITS)
def test_values_are_read_in_linear_time(unit: str) -> None:
    for start in STARTS:
        for end in ("", "\x01"):
            text = start + unit * (SIZE // len(unit)) + end
            for parse in VALUE_READERS:
                assert spent(lambda parse=parse, text=text: parse(text)) < BOUND, (start, unit, end, parse)  # type: ignore[misc]


NAMES = ["Via", "To", "Contact", "Route", "Authorization", "History-Info", "Privacy", "Reason", "Content-Type", "Call-ID", "CSeq", "Supported"]
NAMES += ["Content-Length", "X-A"]


@pytest.mark.parametrize("unit", UNITS)
def test_messages_are_read_in_linear_time(unit: str) -> None:
    start, _, rest = crlf(PLAIN).partition(b"\r\n\r\n")[0].partition(b"\r\n")
    for name in NAMES:
        lines = "".join([f"{name}: {unit * (15_000 // len(unit))}\r\n" for _ in range(4)]).encode("latin-1")
        for data in (start + b"\r\n" + lines + rest + b"\r\n\r\n", start + b"\r\n" + rest + b"\r\n" + lines + b"\r\n"):
            assert spent(lambda data=data: use(data)) < BOUND, (name, unit)  # type: ignore[misc]


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n" * 32_000,
        b"a" * 65_000,
        b"a " * 32_000,
        b"INVITE " + b"s" * 65_000 + b" SIP/2.0\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h" + b"\r\n " * 20_000 + b"\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n" + b"a:\r\n" * 15_000 + b"\r\n",
        b"INVITE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n" + b"".join([b"x%d:y\r\n" % i for i in range(400)]) + b"\r\n" + b"\r\n\r\n" * 10_000,
        b"INVITE sip:a SIP/2.0\r\n" + b"Via: SIP/2.0/UDP h\r\n" * 499 + b"\r\n",
        b"INVITE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n" + b"Content-Length: 1\r\n" * 400 + b"\r\n",
        b"X" * 30_000 + b": y\r\n" * 5 + b"\r\n",
    ],
    ids=range(10),
)
def test_whole_messages_in_linear_time(data: bytes) -> None:
    assert spent(lambda: use(data)) < BOUND

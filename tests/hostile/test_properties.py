"""Properties for any input: what is well-formed is read as it was meant, what is not raises nothing but what it may, and two readers agree."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv6Address
from socket import AF_INET6, inet_ntop

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuzz import seeds
from fuzz.targets import TARGETS
from ngcpd.media import Policy
from ngcpd.media.sdp import Sdp, numeric
from ngcpd.sip import address, uri
from ngcpd.sip.digest import Challenge, Credentials, answer, ha1, verify
from ngcpd.sip.errors import ParseError
from ngcpd.sip.framing import KEEPALIVE, FramingError, StreamFramer
from ngcpd.sip.grammar import parse_params
from ngcpd.sip.headers import NameAddr, Via
from ngcpd.sip.message import Request, parse_message
from ngcpd.sip.sanity import check
from ngcpd.sip.uri import Uri
from tests.media.parties import BOB, RELAY4, RELAY6
from tests.media.parties import World as MediaWorld

TOKENS = st.text("abcXYZ0123456789-.!%*_+`'~", min_size=1, max_size=12)
OCTETS = st.characters(min_codepoint=32, max_codepoint=255)
QUOTED = st.text(OCTETS, max_size=12)
USERS = st.text("abcXYZ019-_.!~*'()&=+$,;?/", min_size=1, max_size=12)
NAMES = st.from_regex(r"[a-z0-9]([a-z0-9\-]{0,8}[a-z0-9])?(\.[a-z]{2,6})?", fullmatch=True)
HOSTS = st.one_of(NAMES, st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(lambda a: f"[{a}]"))
PORTS = st.none() | st.integers(1, 65_535)
PARAM_VALUES = st.none() | st.text("abcXYZ019-_.!~*'()[]/:&+$", min_size=1, max_size=8)


def distinct(keys: st.SearchStrategy[str], values: st.SearchStrategy[str | None]) -> st.SearchStrategy[dict[str, str | None]]:
    return st.lists(st.tuples(keys, values), max_size=4, unique_by=lambda p: p[0].lower()).map(dict)


@st.composite
def uris(draw: st.DrawFn) -> tuple[str, dict[str, object]]:
    """A SIP URI as text, and its parts."""
    scheme, user, host, port = draw(st.sampled_from(["sip", "sips"])), draw(st.just("") | USERS), draw(HOSTS), draw(PORTS)
    params = draw(distinct(st.text("abclrxyz019-", min_size=1, max_size=6), PARAM_VALUES))
    tail = "".join(f";{k}" if v is None else f";{k}={v}" for k, v in params.items())
    text = f"{scheme}:{user}{'@' if user else ''}{host}{'' if port is None else f':{port}'}{tail}"
    parts = {"scheme": scheme, "user": user, "port": port, "params": {k.lower(): v for k, v in params.items()}, "host": spelled(host)}
    return text, parts


def spelled(host: str) -> str:
    """A host as the stack compares it: an IPv6 address as the sockets spell it, which Python's own text differs from for mapped IPv4."""
    return inet_ntop(AF_INET6, IPv6Address(host.strip("[]")).packed) if ":" in host else host.lower()


@given(uris())
@example(("sip:[::ffff:0:0]", {"scheme": "sip", "user": "", "port": None, "params": {}, "host": "::ffff:0.0.0.0"}))
def test_any_uri_is_read_as_it_was_meant(made: tuple[str, dict[str, object]]) -> None:
    text, parts = made
    read = Uri.parse(text)
    assert {"scheme": read.scheme, "user": read.user, "port": read.port, "params": dict(read.params), "host": read.host} == parts
    assert str(read) == text and read.matches(Uri.parse(str(read.replace())))


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def addresses(draw: st.DrawFn) -> tuple[str, str, dict[str, str | None], str]:
    """A name-addr as text: display, parameters (plain and quoted), URI."""
    display, target = draw(QUOTED), draw(uris())[0]
    params = draw(distinct(TOKENS, st.none() | QUOTED.filter(bool)))
    tail = "".join(f" ; {k}" if v is None else f";{k} = {quoted(v)}" for k, v in params.items())
    return f"{quoted(display)} <{target}>{tail}", display, {k.lower(): v for k, v in params.items()}, target


@given(addresses())
def test_any_address_is_read_as_it_was_meant(made: tuple[str, str, dict[str, str | None], str]) -> None:
    text, display, params, target = made
    read = NameAddr.parse(text)
    assert (read.display, read.params, str(read.uri)) == (display, params, target)
    again = NameAddr.parse(str(read))
    assert (again.display, again.params, again.uri) == (read.display, read.params, read.uri)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, dict[str, object]]:
    """A valid request in any order, folding, spelling and spacing of its header; and what it says."""
    method, target, from_, to = draw(st.sampled_from(["INVITE", "OPTIONS", "FOO-bar.1"])), draw(uris())[0], draw(addresses()), draw(addresses())
    branch, call_id, cseq, body = draw(TOKENS), draw(TOKENS), draw(st.integers(0, 2**31 - 1)), draw(st.binary(max_size=60))
    host = draw(HOSTS)
    more = draw(st.lists(st.tuples(TOKENS.map(lambda t: f"X-{t}"), QUOTED.map(str.strip)), max_size=3))
    lines = [
        ("Via", f"SIP / 2.0/UDP {host};branch=z9hG4bK{branch}"),
        ("From", f"{draw(st.just(from_[0]))}"),
        ("To", to[0]),
        ("Call-ID", call_id),
        ("CSeq", f"{cseq} {method}"),
        ("Content-Length", str(len(body))),
        *more,
    ]
    short = {"Via": "v", "From": "f", "To": "t", "Call-ID": "i", "Content-Length": "l"}
    out = []
    for name, value in draw(st.permutations(lines)):
        spelled = draw(st.sampled_from([name, name.upper(), name.lower(), short.get(name, name)]))
        gap = draw(st.sampled_from(["", " ", "\t", " \t "]))
        fold = draw(st.sampled_from([" ", "", "\r\n ", "\t"]))
        out.append(f"{spelled}{gap}:{fold}{value}")
    head = f"{method} {target} SIP/2.0\r\n" + "\r\n".join(out) + "\r\n\r\n"
    said = {
        "method": method,
        "uri": target,
        "call_id": call_id,
        "cseq": cseq,
        "body": body,
        "from": from_,
        "to": to,
        "branch": f"z9hG4bK{branch}",
        "more": sorted(more),
    }
    return head.encode("latin-1") + body, said


@settings(max_examples=200)
@given(requests())
def test_any_request_is_read_as_it_was_meant(made: tuple[bytes, dict[str, object]]) -> None:
    data, said = made
    read = parse_message(data)
    assert isinstance(read, Request)
    assert (read.method, read.uri, read.call_id, read.cseq, read.body) == (said["method"], said["uri"], said["call_id"], said["cseq"], said["body"])
    assert read.via.branch == said["branch"]
    for party, name in ((read._party, "From"), (read._party, "To")):
        wanted = said[name.lower()]
        assert isinstance(wanted, tuple)
        if "tag" not in wanted[2]:
            found = party(name, "bad")
            assert (found.display, str(found.uri)) == (wanted[1], wanted[3])
    framer = StreamFramer()
    assert framer.feed(data) == [data] and framer.pending == 0
    TARGETS["message"](data)


@given(uris(), st.sampled_from(["UDP", "tcp", "X-y"]), HOSTS, PORTS, distinct(TOKENS, PARAM_VALUES))
def test_any_via_is_written_as_it_was_read(_: object, transport: str, host: str, port: int | None, params: dict[str, str | None]) -> None:
    text = f"SIP/2.0/{transport} {host}{'' if port is None else f':{port}'}"
    text += "".join(f";{k}" if v is None else f';{k}="{v}"' for k, v in params.items())
    read = Via.parse(text)
    assert (read.transport, read.host, read.port, read.params) == (
        transport.upper(),
        host.strip("[]").lower(),
        port,
        {k.lower(): v for k, v in params.items()},
    )
    assert Via.parse(str(read)) == read


TEXTS = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1, max_size=20)


@given(TEXTS, TEXTS, QUOTED.filter(bool), TOKENS, st.sampled_from(["MD5", "SHA-256"]), st.booleans(), TOKENS)
def test_any_account_can_prove_itself_and_only_that_one(
    user: str, password: str, realm: str, nonce: str, algorithm: str, qop: bool, cnonce: str
) -> None:
    challenge = Challenge.parse(str(Challenge(realm, nonce, algorithm, ("auth",) if qop else ())))
    assert challenge is not None and (challenge.realm, challenge.nonce) == (realm, nonce)
    value = answer(challenge, user, password, "INVITE", "sip:a@b", cnonce=cnonce)
    read = Credentials.parse(value)
    assert read is not None
    wire_realm = realm.encode("latin-1").decode("latin-1")
    secret = ha1(user, wire_realm, password, algorithm) if realm.isascii() else ""
    if secret:
        assert verify(read, "INVITE", secret)
        assert not verify(read, "BYE", secret) and not verify(read, "INVITE", ha1(user, realm, password + "x", algorithm))
    TARGETS["digest"](value.encode("latin-1"))


@given(st.lists(st.sampled_from([*seeds.messages()]) | st.binary(max_size=40), max_size=6), st.integers(1, 255))
def test_any_stream_is_cut_the_same_however_it_comes(pieces: list[bytes], size: int) -> None:
    TARGETS["stream"](bytes([size]) + b"".join(pieces))


@given(st.lists(st.sampled_from([b"\r\n", b"\r\n\r\n", b"\0", b"\n"]), max_size=8), st.integers(0, 5))
def test_pings_are_counted_the_same_however_they_come(gaps: list[bytes], at: int) -> None:
    octets = b"".join(gaps)

    def count(parts: list[bytes]) -> tuple[int, bool]:
        framer, pings = StreamFramer(), 0
        for part in parts:
            try:
                pings += framer.feed(part).count(KEEPALIVE)
            except FramingError as error:
                return pings + error.messages.count(KEEPALIVE), True
        return pings, False

    assert count([octets]) == count([octets[:at], octets[at:]]) == count([octets[i : i + 1] for i in range(len(octets))])


ADDRESS = "198.51.100.77"
LINES = st.sampled_from(
    [
        "a=ptime:20",
        "a=x",
        "b=AS:64",
        "i=y",
        "a=rtpmap:8 PCMA/8000",
        "a=rtcp:4711",
        f"a=rtcp:4711 IN IP4 {ADDRESS}",
        "a=sendonly",
        "a=candidate:1 1 UDP 1 10.0.0.1 9 typ host",
        "k=prompt",
        "a=fmtp:101 0-15",
        "a=rtcp-mux",
        "a=rtcp-mux-only",
        "a=\xff\xfe",
        "a=",
        "z=0 0",
    ]
)
PROTOCOLS = st.sampled_from(["RTP/AVP", "RTP/SAVP", "RTP/AVPF", "UDP/TLS/RTP/SAVPF", "udptl", "TCP/MSRP", "UDP/DTLS/SCTP"])


@st.composite
def descriptions(draw: st.DrawFn) -> bytes:
    """Offers of up to five streams, relayed ones and others."""
    lines = ["v=0", f"o=- {draw(st.integers(0, 2**70))} {draw(st.integers(0, 2**70))} IN IP4 {ADDRESS}", "s=-", f"c=IN IP4 {ADDRESS}", "t=0 0"]
    for _ in range(draw(st.integers(0, 5))):
        kind, port = draw(st.sampled_from(["audio", "video", "image", "application"])), draw(st.sampled_from([0, 4000, 65_534, 65_535]))
        lines.append(f"m={kind} {port} {draw(PROTOCOLS)} 8 101")
        if draw(st.booleans()):
            lines.append(f"c=IN IP4 {ADDRESS}")
        lines += draw(st.lists(LINES, max_size=5))
    return "".join(line + "\r\n" for line in lines).encode("latin-1")


MEDIA: list[MediaWorld] = []


@settings(max_examples=150, deadline=None)
@given(descriptions(), st.booleans())
def test_a_relayed_stream_names_the_relay_and_nothing_else_changes(body: bytes, strip: bool) -> None:
    if not MEDIA:
        MEDIA.append(MediaWorld())
    world = MEDIA[0]
    session = world.engine.session("c")
    try:
        sent, got = Sdp.parse(body), Sdp.parse(session.rewrite(body, "a", "b0", Policy(strip_ice=strip), source=(BOB, 5060)))
        assert len(sent.media) == len(got.media)
        for before, after in zip(sent.media, got.media, strict=True):
            assert (before.kind, before.proto, before.formats, before.port == 0) == (after.kind, after.proto, after.formats, after.port == 0)
            connection = got.connection_of(after)
            relayed = before.port and before.proto.upper().rpartition("/")[2] in ("AVP", "AVPF", "SAVP", "SAVPF", "UDPTL")
            if relayed:
                assert connection is not None and connection.address in (RELAY4, RELAY6) and after.port != before.port
                assert after.rtcp is None or (after.rtcp.connection is None or numeric(after.rtcp.connection.address) in (RELAY4, RELAY6))
            kept = [x for x in before.lines[1:] if not x.startswith(("c=", "a=rtcp:")) and not (strip and x.startswith("a=candidate"))]
            assert [x for x in after.lines[1:] if not x.startswith(("c=", "a=rtcp:", "a=candidate"))] == [
                x for x in kept if not x.startswith("a=candidate")
            ]
    finally:
        session.close()
        world.step(0.05)
        if world.engine.counters().free < 100:
            world.step(60.0)


SURFACES = [(name, data) for name in TARGETS for data in seeds.seeds(name) if len(data) < 3_000]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_seeds_with_octets_changed(data: st.DataObject) -> None:
    """The fuzzer's first inputs, a few octets changed, through the fuzzer's targets."""
    name, seed = data.draw(st.sampled_from(SURFACES))
    octets = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(octets)))
        octets[at : at + data.draw(st.integers(0, 4))] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b"\r\n", b'"', b"[", b"%", b";tag=", b":::"])
        )
    TARGETS[name](bytes(octets))


@pytest.mark.parametrize("name", list(TARGETS))
def test_every_seed(name: str) -> None:
    for data in seeds.seeds(name):
        TARGETS[name](data)


BLANKS = (" " * 15_000, " \t" * 7_500)


@pytest.mark.parametrize("before", ["a=", "a", "a;b=", 'a="b"', "a=b", 'a="\\"', "a=b;"])
@pytest.mark.parametrize("blanks", BLANKS, ids=["spaces", "mixed"])
@pytest.mark.parametrize("after", ["x", "\x01", '"', "=", "<"])
def test_blanks_round_a_value_cost_no_more_than_they_are(before: str, blanks: str, after: str) -> None:
    """15,000 of them behind an equals sign cost a second: blanks, an empty value and blanks again were tried in every split."""
    readers: list[tuple[Callable[[str], object], str]] = [(parse_params, ""), (NameAddr.parse, "<sip:a>;"), (Via.parse, "SIP/2.0/UDP h;")]
    readers += [(Credentials.parse, "Digest "), (Challenge.parse, "Digest ")]
    for parse, start in readers:
        begun = time.process_time()
        try:
            parse(start + before.replace(";", "," if start == "Digest " else ";") + blanks + after)
        except ParseError:
            pass
        assert time.process_time() - begun < 0.05, start


def test_what_was_read_lately_is_bounded_in_number_and_size() -> None:
    for n in range(3 * uri.KEPT):
        Uri.parse(f"sip:u{n}@h")
        NameAddr.parse(f"<sip:u{n}@h>;tag={n}")
    long = Uri.parse("sip:" + "u" * 60_000 + "@h")
    assert len(uri._known) <= uri.KEPT and len(address._known) <= address.KEPT
    assert str(long) not in uri._known
    assert sum(map(len, uri._known)) <= uri.KEPT * uri.KEPT_LENGTH


def test_what_is_shared_is_not_changed_by_its_readers() -> None:
    """Two messages with the same From share what was read of it: changing one leaves the other."""
    text = b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:shared@h>;tag=1\r\nTo: <sip:a>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n"
    one, two = parse_message(text), parse_message(text)
    check(one)
    one.set("From", "<sip:other@h>;tag=2")
    assert (one.from_tag, two.from_tag) == ("2", "1")
    assert str(two.from_) == "<sip:shared@h>;tag=1"

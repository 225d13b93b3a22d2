"""What is fuzzed: one function per surface. Each takes octets and returns; whatever it raises is a finding.

They do not only look for exceptions: what was read must be the same when it is written and read again, and two readers of the same octets
must see the same.
"""

from __future__ import annotations

from collections.abc import Callable

from ngcpd.media import BadSdp, Engine, Interface, MediaError, Policy, Settings
from ngcpd.media.local import LocalSpawner
from ngcpd.media.sdp import Sdp
from ngcpd.runtime.fake import SeededRng, SimClock
from ngcpd.runtime.simnet import SimNet
from ngcpd.sip import headers, sanity
from ngcpd.sip.digest import Challenge, Credentials, NonceMaker, answer, strongest, verify
from ngcpd.sip.errors import ParseError
from ngcpd.sip.framing import FramingError, Keepalive, StreamFramer, is_keepalive
from ngcpd.sip.grammar import from_wire, parse_params, quote, split_list, to_wire, unquote
from ngcpd.sip.headers import NameAddr, Via
from ngcpd.sip.message import Message, Request, Response, parse_message, reply
from ngcpd.sip.uri import Uri

Reader = Callable[[Message], object]
READERS: tuple[Reader, ...] = (
    sanity.check,
    lambda m: m.method,
    lambda m: (m.call_id, m.cseq, m.from_tag, m.to_tag),
    lambda m: (str(m.from_), str(m.to)),
    lambda m: [(v.branch, v.received, v.rport, v.has_cookie, v.sent_by, str(v)) for v in m.vias],
    lambda m: [(c.q, c.expires, c.tag, str(c), c.uri.aor) for c in m.contacts] if isinstance(m.contacts, list) else None,
    lambda m: (m.max_forwards, m.expires, m.content_type),
    lambda m: (m.routes, m.record_routes, m.addresses("Path"), m.addresses("P-Asserted-Identity")),
    lambda m: [m.values(name) for name in m.names()],
    lambda m: (m.has_token("Require", "100rel"), sanity.unsupported_options(m, ())),
    lambda m: m.ruri.matches(m.ruri) if isinstance(m, Request) else None,
    headers.session_expires,
    headers.min_se,
    headers.parse_rseq,
    headers.reasons,
    headers.diversions,
    headers.history,
    headers.privacy,
    headers.identities,
    lambda m: [Credentials.parse(v) for v in m.raw("Authorization") + m.raw("Proxy-Authorization")],
    lambda m: strongest(m.raw("WWW-Authenticate") + m.raw("Proxy-Authenticate")),
    lambda m: [headers.ReferTo.parse(v) for v in m.raw("Refer-To")],
    lambda m: [headers.RetryAfter.parse(v) for v in m.raw("Retry-After")],
)
VALUES: tuple[Callable[[str], object], ...] = (
    NameAddr.parse,
    Via.parse,
    Via.salvage,
    parse_params,
    split_list,
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
)


def one_head(data: bytes) -> None:
    """What is written has no line that was not meant: each line end is a whole one."""
    head = data.partition(b"\r\n\r\n")[0]
    assert head.count(b"\r") == head.count(b"\n") == head.count(b"\r\n"), data


def message(data: bytes) -> None:
    """Datagrams: parser, sanity check, every accessor, the answer, writing and reading again."""
    try:
        read = parse_message(data)
    except ParseError as error:
        assert error.reason.isascii() and error.reason.isprintable() and error.code in (400, 505, 513), error
        if error.request is None:
            return
        assert error.request.via.host
        one_head(reply(error.request, error.code, error.reason, to_tag="t").to_bytes())
        read = error.request
        for reader in READERS:
            _quietly(reader, read)
        one_head(read.to_bytes())
        return
    for reader in READERS:
        _quietly(reader, read)
    _again(read)
    if isinstance(read, Request):
        one_head(reply(read, 200, to_tag="t", fields=[("Contact", "<sip:a>")]).to_bytes())
    assert read.copy().to_bytes() == read.to_bytes()


def _quietly(reader: Reader, read: Message) -> None:
    try:
        reader(read)
    except ParseError as error:
        assert error.code in (400, 416), error


def _again(read: Request | Response) -> None:
    """Written and read again it is the same, and a stream cuts it where the parser does."""
    written = read.to_bytes()
    one_head(written)
    again = parse_message(written)
    assert type(again) is type(read) and again.body == read.body
    mine = [f for f in read.fields if f[0] != "Content-Length"]
    assert [f for f in again.fields if f[0] != "Content-Length"] == mine, (read.fields, again.fields)
    if isinstance(read, Request) and isinstance(again, Request):
        assert (read.method, read.uri) == (again.method, again.uri)
    if len(written) <= 65_535:
        assert StreamFramer().feed(written) == [written]


def stream(data: bytes) -> None:
    """Connections: however the octets are split, the same messages come out, and the parser finds their ends where the framer did."""
    if not data:
        return
    size, octets = data[0] + 1, data[1:]
    whole = _cut([octets])
    assert whole == _cut([octets[i : i + size] for i in range(0, len(octets), size)])
    for cut in whole[0]:
        if isinstance(cut, Keepalive):
            continue
        is_keepalive(cut)
        try:
            read = parse_message(cut)
        except ParseError:
            continue
        assert cut.endswith(b"\r\n\r\n" + read.body), cut


def _cut(pieces: list[bytes]) -> tuple[list[bytes | Keepalive], str]:
    framer = StreamFramer()
    out: list[bytes | Keepalive] = []
    for piece in pieces:
        try:
            out += framer.feed(piece)
        except FramingError as error:
            return [*out, *error.messages], error.reason
    return out, ""


class _Media:
    """An engine in a simulated world, made once."""

    made: Engine | None = None
    clock = SimClock()

    @classmethod
    def engine(cls) -> Engine:
        if cls.made is None:
            net = SimNet(cls.clock, SeededRng())
            places = [Interface("default", "192.0.2.1"), Interface("default", "2001:db8::1")]
            cls.made = Engine(cls.clock, LocalSpawner(cls.clock, net), places, Settings(min_port=30000, max_port=30999, batch=100))
            cls.made.start()
            cls.clock.advance(1.0)
        return cls.made


OFFER = b"v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


def sdp(data: bytes) -> None:
    """Bodies: reading, writing, and their way through the relay as offer, as answer and as a second offer."""
    try:
        read = Sdp.parse(data)
    except BadSdp:
        read = None
    if read is not None:
        assert Sdp.parse(read.to_bytes()).to_bytes() == read.to_bytes()
    engine = _Media.engine()
    session = engine.session("fuzz")
    try:
        strip = Policy(strip_ice=bool(data[-1:] > b"m"))
        for body, src, dst in ((data, "a", "b0"), (OFFER, "b0", "a"), (data, "b0", "a"), (OFFER, "a", "b0"), (data, "a", "b0")):
            try:
                out = session.rewrite(body, src, dst, strip, source=("198.51.100.9", 5060))
            except (BadSdp, MediaError):
                continue
            Sdp.parse(out)
        session.select("b0")
        session.revert("a")
    finally:
        session.close()
        _Media.clock.advance(0.01)
        if engine.counters().free < 100:
            _Media.clock.advance(60.0)


def digest(data: bytes) -> None:
    """Authorization and challenges."""
    text = data.decode("latin-1")
    try:
        credentials = Credentials.parse(text)
    except ParseError:
        credentials = None
    if credentials is not None:
        again = Credentials.parse(str(credentials))
        assert again is not None and (again.username, again.realm, again.nonce, again.response) == (
            _flat(credentials.username),
            _flat(credentials.realm),
            _flat(credentials.nonce),
            credentials.response,
        )
        assert not verify(credentials, "INVITE", "0" * 32)
        NonceMaker(b"k" * 32, SimClock()).check(credentials.nonce, credentials.realm)
        from_wire(credentials.username)
    try:
        challenge = Challenge.parse(text)
    except ParseError:
        return
    if challenge is not None:
        assert Challenge.parse(str(challenge)) is not None
        best = strongest([text])
        if best is not None:
            assert Credentials.parse(answer(best, "user", "secret", "INVITE", "sip:a@b", cnonce="c")) is not None


def _flat(text: str) -> str:
    """Line ends do not survive quoting."""
    return text.replace("\r", " ").replace("\n", " ")


def uri(data: bytes) -> None:
    """URIs, addresses and the values of the rarer headers."""
    text = data.decode("latin-1")
    try:
        read = Uri.parse(text)
    except ParseError as error:
        assert error.code in (400, 416)
    else:
        assert str(read) == text and read.matches(read)
        composed = str(read.replace())
        assert Uri.parse(composed).matches(read) and str(Uri.parse(composed)) == composed
        read.header_fields()
        assert (read.aor, read.hostport, read.user_decoded, read.transport, read.lr) is not None
    for parse in VALUES:
        try:
            value = parse(text)
        except ParseError:
            continue
        if isinstance(value, NameAddr | Via):
            again = type(value).parse(str(value))
            assert str(again) == str(value), (value, again)
        else:
            str(value)
    assert unquote(quote(text)) == _flat(text)
    assert from_wire(to_wire("é" + from_wire(text))) == "é" + from_wire(text)


TARGETS: dict[str, Callable[[bytes], None]] = {"message": message, "stream": stream, "sdp": sdp, "digest": digest, "uri": uri}

"""The torture messages of RFC 4475 at the level of reading and sanity check, as datagrams and on a stream."""

from __future__ import annotations

import pytest

from ngcpd.sip import sanity
from ngcpd.sip.framing import KEEPALIVE, FramingError, StreamFramer
from ngcpd.sip.message import ParseError, Request, Response, parse_message, reply
from tests.sip.torture import VECTORS, Vector

ALL = list(VECTORS.values())
RESPONSES = {"unreason", "noreason", "scalarlg", "bigcode", "bcast"}
REASONS = {
    "badinv01": "Bad Via Header",
    "clerr": "Content-Length Mismatch",
    "ncl": "Bad Content-Length Header",
    "scalar02": "Bad CSeq Header",
    "quotbal": "Invalid To Header",
    "ltgtruri": "Bad Request-URI",
    "lwsruri": "Bad Request Line",
    "lwsstart": "Bad Request Line",
    "trws": "Bad Request Line",
    "escruri": "Bad Request-URI",
    "regbadct": "Bad Contact Header",
    "badaspec": "Invalid To Header",
    "baddn": "Incomplete Message",
    "badvers": "Version Not Supported",
    "mismatch01": "CSeq Method Mismatch",
    "mismatch02": "CSeq Method Mismatch",
    "insuf": "Missing From Header",
    "unkscm": "Unsupported URI Scheme",
    "novelsc": "Unsupported URI Scheme",
    "unksm2": "Invalid From Header",
    "multi01": "Duplicate CSeq Header",
    "mcl01": "Duplicate Content-Length Header",
}


def read(name: str) -> Request | Response:
    return parse_message(VECTORS[name].data)


def request(name: str) -> Request:
    message = read(name)
    assert isinstance(message, Request)
    sanity.check(message)
    return message


@pytest.mark.parametrize("vector", ALL, ids=lambda v: v.name)
def test_reaction(vector: Vector) -> None:
    if vector.code == 0:
        message = parse_message(vector.data)
        sanity.check(message)
        assert isinstance(message, Response) == (vector.name in RESPONSES)
        return
    with pytest.raises(ParseError) as caught:
        sanity.check(parse_message(vector.data))
    error = caught.value
    assert error.code == vector.code
    if vector.name in RESPONSES:
        assert error.request is None  # a response is dropped
        return
    assert error.reason == REASONS[vector.name]
    assert error.request is not None
    via = error.request.via
    via.params["received"] = "192.0.2.254"
    error.request.replace_top("Via", str(via))  # as the transport does to find the way back
    assert error.request.via.received == "192.0.2.254"
    answer = parse_or_none(reply(error.request, error.code, error.reason, to_tag="t").to_bytes())
    if vector.name not in ("insuf", "scalar02"):  # whose answers repeat what the request got wrong
        assert answer is not None and answer.status == vector.code


def parse_or_none(data: bytes) -> Response | None:
    try:
        message = parse_message(data)
    except ParseError:
        return None
    assert isinstance(message, Response)
    return message


@pytest.mark.parametrize("vector", [v for v in ALL if v.code == 0], ids=lambda v: v.name)
def test_writing_back_keeps_everything(vector: Vector) -> None:
    message = parse_message(vector.data)
    again = parse_message(message.to_bytes())
    drop = [f for f in message.fields if f[0] != "Content-Length"]
    assert [f for f in again.fields if f[0] != "Content-Length"] == drop
    assert again.body == message.body
    assert again.start_line() == message.start_line()


# ------------------------------------------------------------------------------------------------ what a valid message means
def test_wsinv() -> None:
    m = request("wsinv")
    assert m.method == "INVITE" and m.cseq == 9 and m.max_forwards == 68
    assert m.ruri.host == "chair-dnrc.example.com" and m.ruri.params == {"unknownparam": None}
    assert m.to_tag == "1918181833n" and m.from_tag == "98asjd8"
    assert m.from_.display == 'J Rosenberg \\"'
    assert [(v.transport, v.host, v.branch) for v in m.vias] == [
        ("UDP", "192.0.2.2", "390skdjuw"),
        ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
        ("UDP", "192.168.255.111", "z9hG4bK30239"),
    ]
    assert m.first("Subject") == ""
    assert m.first("NewFangledHeader") == "newfangled value continued newfangled value"
    assert m.first("unknownheaderwithunusualvalue") == ";;,,;;,;"
    assert [str(r.uri) for r in m.routes] == ["sip:services.example.com;lr;unknownwith=value;unknown-no-value"]
    contact = m.contacts[0]  # type: ignore[index]
    assert contact.display == 'Quoted string ""' and contact.q == 0.33
    assert contact.params == {"newparam": "newvalue", "secondparam": None, "q": "0.33"}
    assert len(m.body) == 150


def test_intmeth() -> None:
    m = request("intmeth")
    assert m.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert m.ruri.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert m.ruri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert m.to.display == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert m.from_tag == "_token~1'+`*%!-."
    assert (m.from_.params["fromparam''~+*_!.-%"] or "").encode("latin-1").decode() == "работающий"
    assert m.call_id == "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"
    assert m.max_forwards == 255


def test_escapes_are_no_syntax() -> None:
    m = request("esc01")
    assert (m.ruri.scheme, m.ruri.user, m.ruri.host) == ("sip", "sips%3Auser%40example.com", "example.net")
    assert m.to.uri.user_decoded == "user"
    assert not m.contacts[0].uri.lr  # type: ignore[index]
    assert str(m.contacts[0].uri) == "sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31"  # type: ignore[index]
    null = request("escnull")
    first, second = null.contacts
    assert (first.uri.user, second.uri.user) == ("%00", "%00%00") and not first.uri.matches(second.uri)
    odd = request("esc02")
    assert odd.method == "RE%47IST%45R" and odd.to.display == "%Z%45"
    assert len(odd.raw("Contact")) == 2 and odd.first("C%6Fntact") == "<sip:alias2@host2.example.com>"


def test_longreq() -> None:
    m = request("longreq")
    assert len(m.vias) == 34 and m.vias[-1].received == "192.0.2.5"
    assert len(m.call_id) > 100 and m.to.uri.port == 6000


def test_valid_details() -> None:
    assert request("lwsdisp").from_.display == "caller"
    assert request("semiuri").ruri.user == "user;par=u%40example.net"
    assert [v.transport for v in request("transports").vias] == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]
    assert request("mpart01").body.startswith(b"--7a9cbec02ceef655\r\n") and len(request("mpart01").body) == 553
    assert len(request("semiuri").values("Accept")) == 6
    reason = read("unreason")
    assert isinstance(reason, Response) and reason.reason.encode("latin-1").decode().endswith("девяносто девять - простое")
    empty = read("noreason")
    assert isinstance(empty, Response) and (empty.status, empty.reason) == (100, "")


def test_datagram_ignores_what_follows_the_body() -> None:
    m = request("dblreq")
    assert m.method == "REGISTER" and m.body == b"" and len(m.fields) == 8


def test_for_the_layers_above() -> None:
    assert not request("badbranch").via.has_cookie
    assert not request("inv2543").via.has_cookie and request("inv2543").via.branch == ""
    bext = request("bext01")
    assert sanity.unsupported_options(bext, {"timer"}) == [
        "nothingSupportsThis",
        "nothingSupportsThisEither",
        "noProxiesSupportThis",
        "norDoAnyProxiesSupportThis",
    ]
    assert request("zeromf").max_forwards == 0
    assert request("invut").content_type == "application/unknownformat"
    assert request("cparam01").contacts[0].params == {"unknownparam": None}  # type: ignore[index]
    assert request("cparam02").contacts[0].uri.params == {"unknownparam": None}  # type: ignore[index]
    injected = request("regescrt").contacts[0].uri  # type: ignore[index]
    assert injected.header_fields() == [("Route", "<sip:sip.example.com>")]
    assert len(read("bcast").vias) == 2


# ------------------------------------------------------------------------------------------------ on a stream
CLOSED = {"ncl": "Bad Content-Length Header", "mcl01": "Duplicate Content-Length Header", "inv2543": "Missing Content-Length Header"}
WAITING = {"clerr", "baddn"}


@pytest.mark.parametrize("vector", ALL, ids=lambda v: v.name)
def test_stream(vector: Vector) -> None:
    framer = StreamFramer(65_535)
    if vector.name in CLOSED:
        with pytest.raises(FramingError, match=CLOSED[vector.name]):
            framer.feed(vector.data)
        return
    if vector.name == "dblreq":
        with pytest.raises(FramingError) as caught:  # the second Content-Length is shorter than its body: what follows is no message
            framer.feed(vector.data)
        register, invite = (parse_message(m) for m in caught.value.messages if isinstance(m, bytes))
        assert (register.method, invite.method, len(invite.body)) == ("REGISTER", "INVITE", 150)
        return
    got = [m for m in framer.feed(vector.data) if m is not KEEPALIVE]
    if vector.name in WAITING:
        assert got == [] and framer.pending == len(vector.data)
        return
    assert len(got) == 1 and isinstance(got[0], bytes)
    assert vector.data.startswith(got[0]) and not vector.data[len(got[0]) :].strip()
    assert framer.pending == 0

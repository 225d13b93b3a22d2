"""RFC 4475 and messages about IPv6 against the whole simulated daemon, as datagrams and on connections; after each an OPTIONS is answered, after
each group a valid call goes through, and nothing is left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ngcpd.sip import sanity
from ngcpd.sip.message import ParseError, Request, parse_message
from ngcpd.sip.uri import Uri
from tests.hostile import ipv6
from tests.hostile.rig import SERVER6, Rig
from tests.sip.torture import VECTORS


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.end()


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_rfc4475(rig: Rig, tcp: bool) -> None:
    for vector in VECTORS.values():
        if tcp:
            for segment in (0, 1, 7):
                rig.world.net.segment = segment
                connection = rig.connection()
                connection.send(vector.data)
                rig.step(0.3)
                connection.close()
            rig.world.net.segment = 0
        else:
            rig.fire(vector.data, vector.name)
        rig.options()
        rig.check()
    rig.call()


@pytest.mark.parametrize("vector", ipv6.VECTORS.values(), ids=lambda v: v.name)
def test_reading(vector: ipv6.Ipv6Vector) -> None:
    """What the parser and the sanity check of the edge say."""
    try:
        message = parse_message(vector.data)
    except ParseError as error:
        assert vector.read == error.code == 400 and vector.answers == ()
        return
    try:
        sanity.check(message)
        code = 0
    except ParseError as error:
        code = error.code
    assert code == (400 if vector.answers == (400,) else 0)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_ipv6(rig: Rig, tcp: bool, family: int) -> None:
    for vector in ipv6.VECTORS.values():
        if tcp:
            connection = rig.connection(SERVER6) if family == 6 else rig.connection()
            connection.send(vector.data)
            rig.step(0.3)
            answers = [bytes(connection.got)] if connection.got else []
            connection.close()
        else:
            answers = rig.fire(vector.data, vector.name, v6=family == 6)
        codes = tuple(int(data[8:11]) for data in answers)
        assert codes == vector.answers, vector.name
        rig.options()
        rig.check()
    rig.call()


def test_the_source_stands_in_received_whatever_the_sender_wrote(rig: Rig) -> None:
    for name in ("received-with-brackets", "received-without-brackets"):
        (answer,) = rig.fire(ipv6.VECTORS[name].data, v6=True)
        via = next(line for line in answer.split(b"\r\n") if line.startswith(b"Via:"))
        assert b"received=::1" in via and b"255" not in via


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("sip:[2001:db8:::192.0.2.1]", "2001:db8::c000:201"),
        ("sip:u@[:::192.0.2.1]:5070", "::192.0.2.1"),
        ("sip:[2001:db8::192.0.2.1]", "2001:db8::c000:201"),
    ],
)
def test_one_colon_too_many_before_an_ipv4_address(text: str, host: str) -> None:
    """RFC 5118 4.10: the grammar of RFC 3261 produced it, so it is read; it stays as it was written."""
    uri = Uri.parse(text)
    assert uri.host == host and str(uri) == text


@pytest.mark.parametrize(
    "host", ["2001:db8:::1", "1:2:3:4:5:6:::192.0.2.1", "::::192.0.2.1", "2001::db8:::192.0.2.1", "2001:db8:::192.0.2", "2001:db8:::1.2.3.4:::1"]
)
def test_nothing_else_comes_in_with_it(host: str) -> None:
    with pytest.raises(ParseError):
        Uri.parse(f"sip:[{host}]")


def test_brackets_are_no_part_of_a_host() -> None:
    request = parse_message(ipv6.VECTORS["port-ambiguous"].data)
    assert isinstance(request, Request)
    assert (request.ruri.host, request.ruri.port) == ("2001:db8::10:5070", None)
    request = parse_message(ipv6.VECTORS["port-unambiguous"].data)
    assert isinstance(request, Request)
    assert (request.ruri.host, request.ruri.port) == ("2001:db8::10", 5070)


def test_an_ipv6_address_is_the_same_in_any_spelling() -> None:
    """RFC 5954 4.2."""
    one = Uri.parse("sip:u@[2001:DB8:0:0:0:0:0:0A]")
    assert one.matches(Uri.parse("sip:u@[2001:db8::a]")) and not one.matches(Uri.parse("sip:u@[2001:db8::b]"))
    assert Uri.parse("sip:[::FFFF:192.0.2.1]").matches(Uri.parse("sip:[::ffff:c000:201]"))

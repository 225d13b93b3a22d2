"""What each type takes and refuses."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngcpd.config import types as t
from ngcpd.config.problems import Mark
from ngcpd.config.tree import from_plain

HERE = Mark("f", 1, 1)


def read(kind: t.Type, value: object) -> tuple[object, list[str]]:
    found: list[str] = []
    result = kind.read(from_plain(value, HERE), lambda mark, text: found.append(text))
    return result, found


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        (t.YN, "yes", True),
        (t.YN, "no", False),
        (t.B01, "1", True),
        (t.B01, "0", False),
        (t.ONOFF, "on", True),
        (t.ONOFF, "off", False),
        (t.PORT, "5060", 5060),
        (t.PORT, "1", 1),
        (t.PORT, "65535", 65535),
        (t.Int(), "-5", -5),
        (t.Int(0, 9), "007", 7),
        (t.Float(0, 1), "0.02", 0.02),
        (t.Float(0, 10), "3", 3.0),
        (t.TEXT, "010", "010"),
        (t.TEXT, "yes", "yes"),
        (t.IP, "192.0.2.1", "192.0.2.1"),
        (t.IP, "2001:DB8::0001", "2001:db8::1"),
        (t.CIDR, "192.0.2.0/24", "192.0.2.0/24"),
        (t.CIDR, "192.0.2.7", "192.0.2.7/32"),
        (t.HOST, "sip.example.org", "sip.example.org"),
        (t.HOST, "::1", "::1"),
        (t.SOCKET, "udp:192.0.2.20:5064", ("udp", "192.0.2.20", 5064)),
        (t.SOCKET, "tls:[2001:db8::1]:5061", ("tls", "2001:db8::1", 5061)),
        (t.List(t.IP), ["192.0.2.1", None, "192.0.2.2"], ("192.0.2.1", "192.0.2.2")),
        (t.List(t.IP), "192.0.2.1", ("192.0.2.1",)),
        (t.List(t.IP), [], ()),
        (t.Table(t.PORT), {"a": "1", "b": None}, {"a": 1}),
        (t.SIPURI, "sip:192.0.2.1:5060/8", "sip:192.0.2.1:5060/8"),
        (t.SIPURI, "sip:pinger@sipwise.com", "sip:pinger@sipwise.com"),
        (t.MAIL, "a@b", "a@b"),
        (t.SIZE, "254M", "254M"),
        (t.REGEX, r"[1-9]\d{0,3}", r"[1-9]\d{0,3}"),
    ],
)
def test_taken(kind: t.Type, written: object, value: object) -> None:
    assert read(kind, written) == (value, [])


@pytest.mark.parametrize(
    ("kind", "written", "says"),
    [
        (t.YN, "true", "write yes"),
        (t.YN, "on", "write yes"),
        (t.YN, "False", "write no"),
        (t.YN, "1", "write yes"),
        (t.YN, "Yes", "write yes"),
        (t.YN, "off", "write no"),
        (t.YN, "maybe", "is not yes or no"),
        (t.YN, "", "is not yes or no"),
        (t.B01, "yes", "write 1"),
        (t.B01, "no", "write 0"),
        (t.ONOFF, "yes", "write on"),
        (t.ONOFF, "no", "write off"),
        (t.PORT, "0", "out of range"),
        (t.PORT, "65536", "out of range"),
        (t.PORT, "5060.0", "is not an integer"),
        (t.PORT, "0x10", "is not an integer"),
        (t.PORT, "５０６０", "is not an integer"),
        (t.PORT, "", "is not an integer"),
        (t.PORT, "9" * 40, "is not an integer"),
        (t.PORT, ["1"], "a list where one value is expected"),
        (t.PORT, {"a": "1"}, "a map where one value"),
        (t.Float(0, 1), "1.5", "out of range"),
        (t.Float(0, 1), "nan", "is not a number"),
        (t.Float(0, 1), ".5", "is not a number"),
        (t.IP, "999.1.1.1", "is not an IPv4 or IPv6 address"),
        (t.IP, "192.0.2.01", "is not"),
        (t.IP4, "::1", "is not an IPv4"),
        (t.IP6, "192.0.2.1", "is not an IPv6"),
        (t.IP, "fe80::1%eth0", "is not"),
        (t.IP, "192.0.2.1 ", "is not"),
        (t.CIDR, "192.0.2.1/24", "bits set right of the prefix"),
        (t.CIDR, "x/8", "is not a network"),
        (t.HOST, "-bad-", "is not"),
        (t.HOST, "a b", "is not"),
        (t.HOST, "1.2.3", "is not"),
        (t.HOST, "999.1.1.1", "is not"),
        (t.HOST, "", "is not"),
        (t.SOCKET, "192.0.2.20:5064", "is not transport:address:port"),
        (t.SOCKET, "sctp:192.0.2.20:5064", "is not known"),
        (t.SOCKET, "udp:2001:db8::1:5064", "is not transport:address:port"),
        (t.SOCKET, "udp:host:5064", "is not an IPv4 address"),
        (t.SOCKET, "udp:192.0.2.20:99999", "out of range"),
        (t.SOCKET, "udp::5060", "is not an IPv4 address"),
        (t.SOCKET, "udp:[1.2.3.4]:5060", "is not an IPv6"),
        (t.List(t.IP), ["192.0.2.1", "x"], "is not an IPv4 or IPv6"),
        (t.List(t.IP), {"a": "b"}, "a map where a list is expected"),
        (t.Table(t.PORT), ["a"], "a list where a map is expected"),
        (t.Table(t.PORT), {"a": "x"}, 'a: "x" is not an integer'),
        (t.Table(t.PORT), {"a b": "1"}, "without blanks"),
        (t.REGEX, "(", "is not a regular expression"),
        (t.REGEX, "a{99999999999}", "is not a regular expression"),
        (t.SIPURI, "http://x", "is not a SIP URI"),
        (t.SIPURI, "sip:a b", "is not"),
        (t.MAIL, "nobody", "is not a mail address"),
        (t.PATH, "a\0b", "NUL"),
        (t.Enum(("rfc2833", "info")), "RFC2833", "write rfc2833"),
        (t.Enum(("a", "b")), "c", "is not allowed"),
        (t.SIZE, "254", "is not a size"),
        (t.LINE, "a\nb", "is not text of one line"),
        (t.Text(longest=3), "abcd", "too long"),
    ],
)
def test_refused(kind: t.Type, written: object, says: str) -> None:
    _, found = read(kind, written)
    assert len(found) == 1 and says in found[0], found
    assert kind.allowed()


def test_records() -> None:
    kind = t.Record({"domain": t.HOST, "threshold": t.NAT}, ("domain",))
    assert read(kind, {"domain": "a.b", "threshold": "5"}) == ({"domain": "a.b", "threshold": 5}, [])
    assert read(kind, {"threshold": "x", "other": "1"})[1] == [
        'threshold: "x" is not an integer',
        "other is not one of domain, threshold",
        "domain is missing",
    ]


def test_a_message_is_bounded() -> None:
    _, found = read(t.YN, "x" * 5000)
    assert len(found[0]) < 200


@given(st.integers(-(10**6), 10**6), st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_ranges(number: int, low: int, high: int) -> None:
    value, found = read(t.Int(low, high), str(number))
    assert (not found) == (low <= number <= high)
    if not found:
        assert value == number


@given(st.ip_addresses())
def test_addresses(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if getattr(address, "scope_id", None):
        return
    assert read(t.IP, str(address)) == (str(address), [])
    host = f"[{address}]" if address.version == 6 else str(address)
    assert read(t.SOCKET, f"udp:{host}:5060") == (("udp", str(address), 5060), [])


every = [
    t.YN,
    t.B01,
    t.ONOFF,
    t.TEXT,
    t.PORT,
    t.Float(),
    t.IP,
    t.CIDR,
    t.HOST,
    t.SOCKET,
    t.SIPURI,
    t.MAIL,
    t.SIZE,
    t.REGEX,
    t.PATH,
    t.List(t.SOCKET),
    t.Enum(("a", "b")),
]


@given(st.sampled_from(every), st.text(max_size=40))
def test_no_text_raises(kind: t.Type, written: str) -> None:
    read(kind, written)

"""RFC 3263: NAPTR, SRV, addresses, weights, the cache."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from ngcpd.runtime.fake import SeededRng, SimClock
from ngcpd.runtime.ports import DnsRecord
from ngcpd.runtime.simnet import SimNet
from ngcpd.sip.dns import CachePolicy, DnsError, Resolver, Target

ALL = {"udp": {4}, "tcp": {4}, "tls": {4}}
DUAL = {"udp": {4, 6}, "tcp": {4, 6}, "tls": {4, 6}}


class Names:
    def __init__(self, policy: CachePolicy | None = None, seed: int = 1) -> None:
        self.clock = SimClock()
        self.rng = SeededRng(seed)
        self.net = SimNet(self.clock, self.rng)
        self.resolver = Resolver(self.clock, self.rng, self.net, policy)

    def a(self, name: str, *addresses: str, ttl: int = 60) -> None:
        self.net.add(name, *[DnsRecord("AAAA" if ":" in a else "A", a, ttl) for a in addresses])

    def srv(self, name: str, target: str, port: int, priority: int = 0, weight: int = 0, ttl: int = 60) -> None:
        self.net.add(name, DnsRecord("SRV", target, ttl, priority, weight, port))

    def naptr(self, name: str, service: str, target: str, order: int = 10, preference: int = 10, flags: str = "s") -> None:
        self.net.add(name, DnsRecord("NAPTR", target, 60, order, preference, 0, service, flags))

    def ask(
        self, host: str, port: int | None = None, transport: str = "", secure: bool = False, families: dict[str, set[int]] | None = None
    ) -> list[Target] | str:
        """The targets, or the text of the DnsError."""
        try:
            found = self.resolver.resolve(host, port, transport, secure, families or ALL)
        except DnsError as error:
            return str(error)
        if isinstance(found, Deferred):
            out: list[Any] = []
            found.addCallbacks(out.append, lambda f: out.append(str(f.value)))
            self.clock.advance(1)
            assert len(out) == 1
            assert self.resolver.counters()["dns_waiting"] == 0
            result: list[Target] | str = out[0]
            return result
        return found


def t(transport: str, host: str, port: int) -> Target:
    return Target(transport, host, port)


def test_numeric_hosts_need_no_dns() -> None:
    n = Names()
    assert n.resolver.resolve("10.1.1.1", None, "", False, ALL) == [t("udp", "10.1.1.1", 5060)]
    assert n.resolver.resolve("10.1.1.1", None, "", True, ALL) == [t("tls", "10.1.1.1", 5061)]
    assert n.resolver.resolve("10.1.1.1", 5080, "tcp", False, ALL) == [t("tcp", "10.1.1.1", 5080)]
    assert n.resolver.resolve("2001:db8::1", None, "tls", False, ALL) == [t("tls", "2001:db8::1", 5061)]
    assert n.net.questions == []


def test_explicit_port_asks_for_addresses_only() -> None:
    n = Names()
    n.a("h.example", "10.1.1.1", "10.1.1.2")
    n.srv("_sip._udp.h.example", "other.example", 5999)
    assert n.ask("h.example", 5070) == [t("udp", "10.1.1.1", 5070), t("udp", "10.1.1.2", 5070)]
    assert n.ask("h.example", 5070, secure=True) == [t("tls", "10.1.1.1", 5070), t("tls", "10.1.1.2", 5070)]
    assert n.net.questions == [("h.example", "A")]


def test_explicit_transport_asks_for_its_srv() -> None:
    n = Names()
    n.srv("_sip._tcp.h.example", "s.example", 5080)
    n.a("s.example", "10.1.1.1")
    assert n.ask("h.example", transport="tcp") == [t("tcp", "10.1.1.1", 5080)]
    assert ("h.example", "NAPTR") not in n.net.questions


def test_explicit_transport_without_srv_uses_the_address() -> None:
    n = Names()
    n.a("h.example", "10.1.1.1")
    assert n.ask("h.example", transport="tls") == [t("tls", "10.1.1.1", 5061)]
    assert ("_sips._tcp.h.example", "SRV") in n.net.questions


def test_naptr_order_preference_and_support() -> None:
    n = Names()
    n.naptr("h.example", "SIPS+D2T", "_sips._tcp.h.example", 50, 50)
    n.naptr("h.example", "SIP+D2T", "_sip._tcp.h.example", 90, 50)
    n.naptr("h.example", "SIP+D2U", "_sip._udp.h.example", 100, 50)
    n.srv("_sips._tcp.h.example", "tls.example", 5061)
    n.srv("_sip._tcp.h.example", "tcp.example", 5060)
    n.srv("_sip._udp.h.example", "udp.example", 5060)
    n.a("tls.example", "10.1.1.1")
    n.a("tcp.example", "10.1.1.2")
    n.a("udp.example", "10.1.1.3")
    assert n.ask("h.example") == [t("tls", "10.1.1.1", 5061)]
    assert n.ask("h.example", families={"udp": {4}, "tcp": {4}}) == [t("tcp", "10.1.1.2", 5060)]
    assert n.ask("h.example", families={"udp": {4}}) == [t("udp", "10.1.1.3", 5060)]
    assert n.ask("h.example", secure=True) == [t("tls", "10.1.1.1", 5061)]


def test_naptr_of_equal_order_are_tried_by_preference() -> None:
    n = Names()
    n.naptr("h.example", "SIP+D2T", "_sip._tcp.h.example", 10, 20)
    n.naptr("h.example", "SIP+D2U", "_sip._udp.h.example", 10, 10)
    n.srv("_sip._tcp.h.example", "x.example", 5070)
    n.srv("_sip._udp.h.example", "x.example", 5080)
    n.a("x.example", "10.1.1.1")
    assert n.ask("h.example") == [t("udp", "10.1.1.1", 5080), t("tcp", "10.1.1.1", 5070)]


def test_useless_naptr_are_passed_over() -> None:
    n = Names()
    n.naptr("h.example", "SIP+D2S", "_sip._sctp.h.example")
    n.naptr("h.example", "E2U+sip", "x", flags="u")
    n.naptr("h.example", "SIP+D2U", "", 20)
    n.a("h.example", "10.1.1.1")
    assert n.ask("h.example") == [t("udp", "10.1.1.1", 5060)]


def test_no_naptr_tries_srv_of_each_transport_then_the_address() -> None:
    n = Names()
    n.srv("_sip._tcp.h.example", "s.example", 5090)
    n.a("s.example", "10.1.1.5")
    assert n.ask("h.example") == [t("tcp", "10.1.1.5", 5090)]
    n.a("plain.example", "10.1.1.6")
    assert n.ask("plain.example") == [t("udp", "10.1.1.6", 5060)]
    assert n.ask("plain.example", secure=True) == [t("tls", "10.1.1.6", 5061)]
    asked = [q for q in n.net.questions if q[0].endswith("plain.example")]
    assert sorted(asked) == [
        ("_sip._tcp.plain.example", "SRV"),
        ("_sip._udp.plain.example", "SRV"),
        ("_sips._tcp.plain.example", "SRV"),
        ("plain.example", "A"),
        ("plain.example", "NAPTR"),
    ]


def test_srv_dot_means_not_here() -> None:
    n = Names()
    n.srv("_sip._udp.h.example", ".", 0)
    n.a("h.example", "10.1.1.1")
    assert n.ask("h.example", transport="udp") == "DNS: no address for h.example"
    assert n.net.questions == [("_sip._udp.h.example", "SRV")]


def test_srv_priorities_and_weights() -> None:
    first: Counter[str] = Counter()
    for seed in range(400):
        n = Names(seed=seed)
        n.srv("_sip._udp.h.example", "backup.example", 5060, 20, 100)
        n.srv("_sip._udp.h.example", "big.example", 5060, 10, 90)
        n.srv("_sip._udp.h.example", "small.example", 5060, 10, 10)
        for index, name in enumerate(("backup", "big", "small")):
            n.a(f"{name}.example", f"10.1.1.{index + 1}")
        found = n.ask("h.example", transport="udp")
        assert isinstance(found, list)
        assert len(found) == 3 and found[2].host == "10.1.1.1"
        first[found[0].host] += 1
    assert 300 < first["10.1.1.2"] < 395 and first["10.1.1.3"] > 5


def test_zero_weights_are_all_used() -> None:
    first: Counter[str] = Counter()
    for seed in range(200):
        n = Names(seed=seed)
        for index in (1, 2):
            n.srv("_sip._udp.h.example", f"s{index}.example", 5060)
            n.a(f"s{index}.example", f"10.1.1.{index}")
        found = n.ask("h.example", transport="udp")
        assert isinstance(found, list) and len(found) == 2
        first[found[0].host] += 1
    assert first  # RFC 2782 leaves the order of equal zero weights open


def test_families() -> None:
    n = Names()
    n.a("h.example", "10.1.1.1", "2001:db8::1")
    assert n.ask("h.example", 5060, families=DUAL) == [t("udp", "10.1.1.1", 5060), t("udp", "2001:db8::1", 5060)]
    assert n.ask("h.example", 5060, families={"udp": {6}}) == [t("udp", "2001:db8::1", 5060)]
    assert n.ask("h.example", 5060, "tcp", families={"udp": {4}}) == "DNS: no address for h.example"
    n.a("six.example", "2001:db8::2")
    assert n.ask("six.example", 5060) == "DNS: no address for six.example"


def test_cache_is_synchronous_until_the_time_to_live_is_over() -> None:
    n = Names()
    n.a("h.example", "10.1.1.1", ttl=60)
    n.ask("h.example", 5060)
    assert isinstance(n.resolver.resolve("H.Example.", 5060, "", False, ALL), list)
    n.clock.advance(58)
    assert isinstance(n.resolver.resolve("h.example", 5060, "", False, ALL), list)
    n.clock.advance(2)
    found = n.resolver.resolve("h.example", 5060, "", False, ALL)
    assert isinstance(found, Deferred)
    n.clock.advance(1)
    assert n.net.questions == [("h.example", "A")] * 2


@pytest.mark.parametrize(("ttl", "kept", "gone"), [(0, 4.0, 5.1), (10**9, 3590.0, 3601.0)])
def test_time_to_live_is_bounded(ttl: int, kept: float, gone: float) -> None:
    n = Names()
    n.a("h.example", "10.1.1.1", ttl=ttl)
    n.ask("h.example", 5060)
    n.clock.advance(kept - 1)
    assert isinstance(n.resolver.resolve("h.example", 5060, "", False, ALL), list)
    n.clock.advance(gone - kept)
    found = n.resolver.resolve("h.example", 5060, "", False, ALL)
    assert isinstance(found, Deferred)
    n.clock.advance(1)


def test_nothing_is_remembered_for_seconds_and_at_once() -> None:
    n = Names()
    assert n.ask("no.example", 5060) == "DNS: no address for no.example"
    with pytest.raises(DnsError):
        n.resolver.resolve("no.example", 5060, "", False, ALL)
    n.a("no.example", "10.1.1.1")
    n.clock.advance(30)
    assert n.ask("no.example", 5060) == [t("udp", "10.1.1.1", 5060)]


def test_server_failure_is_told_and_not_remembered_long() -> None:
    n = Names()
    n.a("h.example", "10.1.1.1")
    n.net.dns_down.add("h.example")
    assert n.ask("h.example", 5060) == "DNS: servers failed for h.example"
    n.net.dns_down.clear()
    n.clock.advance(5)
    assert n.ask("h.example", 5060) == [t("udp", "10.1.1.1", 5060)]


def test_failed_naptr_look_up_does_not_stop_the_rest() -> None:
    n = Names()
    n.net.dns_down.add("_sip._udp.h.example")
    n.srv("_sip._tcp.h.example", "s.example", 5060)
    n.a("s.example", "10.1.1.1")
    assert n.ask("h.example") == [t("tcp", "10.1.1.1", 5060)]


def test_the_same_question_is_asked_once() -> None:
    n = Names()
    n.a("h.example", "10.1.1.1")
    out: list[Any] = []
    for _ in range(50):
        found = n.resolver.resolve("h.example", 5060, "", False, ALL)
        assert isinstance(found, Deferred)
        found.addCallback(out.append)
    n.clock.advance(1)
    assert out == [[t("udp", "10.1.1.1", 5060)]] * 50 and n.net.questions == [("h.example", "A")]


def test_names_that_cannot_be_asked() -> None:
    n = Names()

    def refuse(name: str, rtype: str) -> Any:
        raise ValueError("label too long")

    n.net.lookup = refuse  # type: ignore[method-assign]
    assert n.ask("x" * 100 + ".example", 5060) == f"DNS: servers failed for {'x' * 100}.example"


def test_many_records_are_bounded_and_the_cache_too() -> None:
    n = Names(CachePolicy(entries=20))
    for index in range(60):
        n.srv("_sip._udp.h.example", f"s{index}.example", 5060)
        n.a(f"s{index}.example", f"10.1.1.{index}")
    found = n.ask("h.example", transport="udp")
    assert isinstance(found, list) and len(found) == 16
    for index in range(60):
        n.ask(f"s{index}.example", 5060)
    assert n.resolver.counters()["dns_cached"] <= 20

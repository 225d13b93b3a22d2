"""The directory on a real store: keys, details, change notices, failures."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ngcpd.directory.directory import Directory, StoreUnavailable
from ngcpd.directory.loader import Keys
from ngcpd.directory.model import NumberEntry
from ngcpd.provisioning import routing, subscribers, tenancy
from ngcpd.runtime.fake import SimClock
from ngcpd.store import changes
from ngcpd.store.db import insert
from ngcpd.store.tables.identity import customer_location, customer_location_block, subscriber, subscriber_profile, subscriber_profile_set
from ngcpd.store.tables.preferences import preference_value
from ngcpd.store.tables.tenancy import contract
from tests.directory.world import HeldExecutor, LateReads, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    w = World(tmp_path)
    w.domain()
    yield w
    w.close()


def watch(directory: Directory) -> list[tuple[str, int]]:
    heard: list[tuple[str, int]] = []
    directory.subscribe(lambda kind, key: heard.append((kind, key)))
    return heard


# -------------------------------------------------------------------------------------------------------------------- keys
def test_keys(world: World) -> None:
    customer = world.customer()
    alice = world.subscriber("alice", "4311001", ("4312001",), customer=customer)
    d = world.start()
    assert d.domain("spce.test") is not None
    assert d.domain("SPCE.Test") is d.domain("spce.test")
    assert d.domain("other.test") is None
    assert d.user_id("spce.test", "alice") == alice
    assert d.user_id("SPCE.TEST", "alice") == alice
    assert d.user_id("spce.test", "Alice") is None, "user names are compared exactly"
    assert d.user_id("other.test", "alice") is None
    assert d.number("4311001") == NumberEntry(alice, True)
    assert d.number("4312001") == NumberEntry(alice, False)
    assert d.number("43110011") is None
    found = d.domain("spce.test")
    assert found is not None and found.reseller_id == 1 and found.reseller_contract_id > 0


def test_system_domain_is_not_local(world: World) -> None:
    d = world.start()
    assert d.domain("voip.sipwise.local") is None


def test_details(world: World) -> None:
    customer = world.customer(external_id="EXT|C 1")
    alice = world.subscriber("alice", "4311001", ("4312001",), customer=customer, external_id="ext-s", display_name="Alice")
    d = world.start()
    assert d.subscriber(alice) is None, "not loaded before first use"
    s = world.get(alice)
    assert (s.username, s.domain, s.status, s.contract_id, s.contract_status) == ("alice", "spce.test", "active", customer, "active")
    assert (s.external_id, s.contract_external_id) == ("ext-s", "EXT|C 1")
    assert [(n.e164, n.is_primary) for n in s.numbers] == [("4311001", True), ("4312001", False)]
    assert s.primary is not None and (s.primary.cc, s.primary.ac, s.primary.sn) == ("43", "1", "1001")
    assert len(s.ha1) == 32 and len(s.ha1_sha256) == 64
    assert s.prefs.get("cli") == "4311001" and s.prefs.get("display_name") == "Alice"
    assert d.load([alice]) is None, "loaded once"


def test_unknown_ids_and_names_never_reach_the_store(world: World) -> None:
    d = world.start()
    before = world.executor.count
    assert d.load([424242]) is None
    assert d.user_id("spce.test", "nobody") is None and d.number("999") is None
    assert world.executor.count == before


# ------------------------------------------------------------------------------------------------------------- preferences
def profile(world: World, **prefs: str) -> tuple[int, int]:
    def make(conn: sa.Connection, env: Any) -> tuple[int, int]:
        at = {"created_at": changes.now(conn), "modified_at": changes.now(conn)}
        set_id = insert(conn, subscriber_profile_set, reseller_id=1, name="s", description="", **at)
        return set_id, insert(conn, subscriber_profile, set_id=set_id, name="p", description="", **at)

    set_id, profile_id = world.do(make)
    for name, value in prefs.items():
        world.pref("prof", profile_id, name, value)
    return set_id, profile_id


def test_preference_levels(world: World) -> None:
    customer = world.customer()
    set_id, profile_id = profile(world, outbound_from_user="auth_user", use_rtpproxy="never")
    alice = world.subscriber("alice", customer=customer, outbound_from_user="npn")
    world.sql(sa.update(subscriber).where(subscriber.c.id == alice).values(profile_set_id=set_id, profile_id=profile_id))
    d = world.start()
    s = world.get(alice)
    assert s.prefs.get("outbound_from_user") == "npn", "subscriber"
    assert s.prefs.get("use_rtpproxy") == "never", "profile"
    assert s.prefs.get("ua_header_mode") == "strip", "domain"
    assert s.prefs.get("sst_enable") == "no", "the domain's row hides the fallback"
    assert s.prefs.get("sst_expires") == "300" and s.prefs.number("ringtimeout") == 180, "fallback"
    assert s.prefs.get("clir") is None and s.prefs.flag("clir") is False and s.prefs.number("clir", 9) == 9
    assert d.domain_prefs("spce.test").get("outbound_from_user") == "upn"
    assert d.domain_prefs("nowhere.test").get("outbound_from_user") == "npn"


def test_lists_are_replaced_not_merged(world: World) -> None:
    customer = world.customer()
    alice = world.subscriber("alice", customer=customer, block_in_list=["1*", "2*"])
    d = world.start()
    assert world.get(alice).prefs.all("block_in_list") == ("1*", "2*")
    assert world.get(alice).prefs.all("block_out_list") == ()
    world.usr(alice, block_in_list=["3*"])
    world.pump()
    assert d.subscriber(alice) is None
    assert world.get(alice).prefs.all("block_in_list") == ("3*",)


def test_domain_change_touches_one_map(world: World) -> None:
    customer = world.customer()
    ids = [world.subscriber(f"u{n}", customer=customer) for n in range(5)]
    d = world.start()
    people = [world.get(i) for i in ids]
    domain = d.domain("spce.test")
    assert domain is not None
    before = world.executor.count
    world.pref("dom", domain.id, "outbound_from_user", "npn")
    world.pump()
    assert world.executor.count == before + 1, "one read"
    assert [d.subscriber(i) for i in ids] == people, "nobody was dropped"
    assert {p.prefs.get("outbound_from_user") for p in people} == {"npn"}
    assert d.domain_prefs("spce.test").get("outbound_from_user") == "npn"


def test_preference_taken_from_a_domain(world: World) -> None:
    alice = world.subscriber("alice", customer=world.customer())
    d = world.start()
    domain = d.domain("spce.test")
    assert domain is not None
    s = world.get(alice)
    assert s.prefs.get("outbound_pai_user") == "npn"
    world.pref("dom", domain.id, "outbound_pai_user", None)
    world.pref("dom", domain.id, "outbound_from_user", None)
    world.pump()
    assert s.prefs.get("outbound_pai_user") is None and s.prefs.get("outbound_from_user") == "npn", "the built-in fallback shows again"


def test_number_of_a_subscriber_that_is_gone_names_nobody(world: World) -> None:
    bob = world.subscriber("bob", "4311002", customer=world.customer())
    d = world.start()
    world.do(subscribers.terminate_subscriber, subscriber_id=bob)
    d.changed([c for c in world.notices() if c.kind == "subscriber"])
    assert d.number("4311002") is None


def test_profile_change_is_seen_by_loaded_subscribers(world: World) -> None:
    set_id, profile_id = profile(world)
    alice = world.subscriber("alice", customer=world.customer())
    world.sql(sa.update(subscriber).where(subscriber.c.id == alice).values(profile_set_id=set_id, profile_id=profile_id))
    world.start()
    s = world.get(alice)
    assert s.prefs.get("use_rtpproxy") == "ice_strip_candidates"
    world.pref("prof", profile_id, "use_rtpproxy", "never")
    world.pump()
    assert s.prefs.get("use_rtpproxy") == "never"


def test_what_calls_ask_follows_every_change_of_shared_preferences(world: World) -> None:
    set_id, profile_id = profile(world)
    alice = world.subscriber("alice", customer=world.customer())
    world.sql(sa.update(subscriber).where(subscriber.c.id == alice).values(profile_set_id=set_id, profile_id=profile_id))
    d = world.start()
    domain = d.domain("spce.test")
    assert domain is not None
    s = world.get(alice)
    before = s.prefs.effective
    assert s.prefs.effective is before, "read once"
    assert (before.media.use_rtpproxy, before.outbound_from_user_is_phone, before.outbound_from_display) == ("ice_strip_candidates", False, "none")
    assert (before.lock, before.gpps) == (-1, ())
    world.pref("prof", profile_id, "use_rtpproxy", "never")
    world.pump()
    assert s.prefs.effective.media.use_rtpproxy == "never"
    world.pref("dom", domain.id, "outbound_from_user_is_phone", "1")
    world.pump()
    assert s.prefs.effective.outbound_from_user_is_phone and d.domain_prefs("spce.test").effective.outbound_from_user_is_phone
    world.pref("dom", domain.id, "outbound_from_display", "npn")
    world.notices()
    d.start()
    assert s.prefs.effective.outbound_from_display == "npn", "the keys were read as a whole"
    world.usr(alice, lock=2, gpp3="three")
    world.pump()
    now = world.get(alice).prefs.effective
    assert now.lock == world.get(alice).lock == 2 and now.gpps == ("", "", "", "three", "", "", "", "", "", "")


def locate(world: World, customer: int, *blocks: tuple[str, str, str]) -> list[int]:
    """Locations of one block each: (name, first, last) as IPv4 or IPv6 text."""
    import ipaddress

    def pack(text: str) -> bytes:
        a = ipaddress.ip_address(text)
        return a.packed if a.version == 6 else b"\0" * 10 + b"\xff\xff" + a.packed

    def make(conn: sa.Connection, env: Any) -> list[int]:
        at = {"created_at": changes.now(conn), "modified_at": changes.now(conn)}
        out = []
        for name, first, last in blocks:
            i = insert(conn, customer_location, contract_id=customer, name=name, description="", **at)
            family = ipaddress.ip_address(first).version
            conn.execute(
                sa.insert(customer_location_block).values(
                    location_id=i, ip=first, mask=None, family=family, first=pack(first), last=pack(last)
                )
            )
            out.append(i)
        changes.note(conn, "location", customer)
        return out

    return list(world.do(make))


def test_contract_preferences_by_location(world: World) -> None:
    customer = world.customer()
    alice = world.subscriber("alice", customer=customer)
    wide, narrow, six = locate(
        world, customer, ("a wide", "10.0.0.0", "10.255.255.255"), ("b narrow", "10.1.0.0", "10.1.255.255"), ("six", "2001:db8::", "2001:db8::ffff")
    )
    world.pref("contract", customer, "concurrent_max", 1)
    world.pref("contract", customer, "block_out_list", ["9*"])
    world.pref("contract", customer, "concurrent_max", 2, wide)
    world.pref("contract", customer, "concurrent_max", 3, narrow)
    world.pref("contract", customer, "concurrent_max", 4, six)
    d = world.start()
    assert d.contract_prefs(customer, "10.1.2.3").get("concurrent_max") is None, "not loaded yet"
    world.load(alice)
    table = {"192.0.2.1": "1", "10.2.0.1": "2", "10.1.2.3": "3", "2001:db8::1": "4", "2001:db9::1": "1", "": "1", "junk": "1", "::ffff:10.1.0.9": "3"}
    assert {ip: d.contract_prefs(customer, ip).get("concurrent_max") for ip in table} == table
    assert d.contract_prefs(customer, "10.1.2.3").all("block_out_list") == (), "only the location's rows"
    assert d.contract_prefs(customer, "192.0.2.1").all("block_out_list") == ("9*",)
    s = d.subscriber(alice)
    assert s is not None and s.prefs.get("concurrent_max") is None, "they do not fall through to the subscriber"


# ------------------------------------------------------------------------------------------------------------------- locks
@pytest.mark.parametrize(
    ("pref", "status", "customer", "level"),
    [
        (None, "active", "active", 0),
        ("0", "active", "active", 0),
        ("1", "active", "active", 1),
        ("5", "active", "active", 5),
        ("2", "locked", "active", 2),
        (None, "locked", "active", 4),
        (None, "active", "locked", 4),
        ("2", "active", "locked", 2),
        ("junk", "active", "active", 0),
        ("9", "locked", "active", 4),
    ],
)
def test_effective_lock(world: World, pref: str | None, status: str, customer: str, level: int) -> None:
    owner = world.customer()
    alice = world.subscriber("alice", customer=owner)
    world.sql(sa.update(subscriber).where(subscriber.c.id == alice).values(status=status))
    world.sql(sa.update(contract).where(contract.c.id == owner).values(status=customer))
    if pref is not None:
        row = {"level": "usr", "owner_id": alice, "attribute": "lock", "position": 0, "value": pref}
        world.database.run_here(lambda conn: conn.execute(sa.insert(preference_value).values(**row, modified_at=changes.now(conn))))
    world.start()
    s = world.get(alice)
    assert (s.lock, s.alive) == (level, True)


@pytest.mark.parametrize("status", ["terminated", "pending"])
def test_customer_out_of_service(world: World, status: str) -> None:
    owner = world.customer()
    alice = world.subscriber("alice", customer=owner)
    world.sql(sa.update(contract).where(contract.c.id == owner).values(status=status))
    world.start()
    assert world.get(alice).alive is False


@pytest.mark.parametrize(
    ("allowed", "manual", "ignore", "ip", "ok"),
    [
        ([], [], False, "192.0.2.1", True),
        (["10.0.0.0/8"], [], False, "10.9.9.9", True),
        (["10.0.0.0/8"], [], False, "11.0.0.1", False),
        (["10.0.0.0/8"], [], True, "11.0.0.1", True),
        ([], ["192.0.2.7"], False, "192.0.2.7", True),
        ([], ["192.0.2.7"], False, "192.0.2.8", False),
        (["10.0.0.0/8"], ["192.0.2.7"], False, "192.0.2.7", True),
        (["2001:db8::/32"], [], False, "2001:db8:1::5", True),
        (["2001:db8::/32"], [], False, "2001:db9::5", False),
        (["10.0.0.0/8"], [], False, "::ffff:10.0.0.1", True),
        (["10.0.0.0/8"], [], False, "not an address", False),
        (["0.0.0.0/0"], [], False, "2001:db8::1", False),
    ],
)
def test_allowed_ips(world: World, allowed: list[str], manual: list[str], ignore: bool, ip: str, ok: bool) -> None:
    alice = world.subscriber("alice", customer=world.customer(), allowed_ips=allowed, man_allowed_ips=manual, ignore_allowed_ips=ignore)
    world.start()
    s = world.get(alice)
    assert s.ip_allowed(ip) is ok
    assert s.prefs.all("allowed_ips") == tuple(allowed) and s.prefs.all("man_allowed_ips") == tuple(manual)


# ---------------------------------------------------------------------------------------------------- trusted sources, peers
def test_trusted_sources(world: World) -> None:
    customer = world.customer()
    alice = world.subscriber("alice", customer=customer)
    bob = world.subscriber("bob", customer=customer)
    world.do(routing.create_trusted_source, subscriber_id=alice, src_ip="192.0.2.1", protocol="UDP", from_pattern="^sip:alice")
    world.do(routing.create_trusted_source, subscriber_id=bob, src_ip="192.0.2.1", protocol="ANY")
    world.do(routing.create_trusted_source, subscriber_id=bob, src_ip="2001:db8::1", protocol="TLS")
    d = world.start()
    assert d.trusted("192.0.2.1", "udp", "sip:alice@x") == alice
    assert d.trusted("192.0.2.1", "tcp", "sip:alice@x") == bob
    assert d.trusted("192.0.2.1", "udp", "sip:carol@x") == bob
    assert d.trusted("192.0.2.2", "udp", "sip:alice@x") is None
    assert d.trusted("2001:0db8::0:1", "tls", "sip:x@x") == bob
    assert d.trusted("2001:db8::1", "udp", "sip:x@x") is None
    assert d.trusted("192.0.2.1", "udp", "sip:alice" + "a" * 200) == bob, "no pattern runs on an endless URI"
    assert d.trusted("junk", "udp", "sip:alice@x") is None


def test_peers(world: World) -> None:
    group, host = world.peer("192.0.2.10", host="carrier.example", transport="tcp", port=5070)
    world.peer("192.0.2.10")
    off_group, _ = world.peer("192.0.2.11", enabled=False)
    world.do(routing.create_peer_rule, group_id=group, callee_prefix="43")
    world.do(routing.create_peer_rule, group_id=group, callee_prefix="44", enabled=False)
    d = world.start()
    peer = d.peer_by_ip("192.0.2.10")
    assert peer is not None and (peer.id, peer.host, peer.transport, peer.port) == (host, "carrier.example", "tcp", 5070)
    assert peer.prefs.get("outbound_from_user") == "upn" and peer.prefs.get("inbound_npn") == "from_user"
    assert d.peer_by_ip("192.0.2.11") is None, "disabled"
    assert d.peer_by_ip("192.0.2.12") is None
    assert [(g.id, [r.callee_prefix for r in g.rules]) for g in d.peer_groups() if g.id in (group, off_group)] == [(group, ["43"]), (off_group, [])]
    heard = watch(d)
    world.pref("peer", host, "outbound_from_user", "npn")
    world.pump()
    again = d.peer_by_ip("192.0.2.10")
    assert again is not None and again.prefs.get("outbound_from_user") == "npn"
    assert ("peer", host) in heard


# ------------------------------------------------------------------------------------------------------------------ changes
def test_new_subscriber_and_number_appear(world: World) -> None:
    customer = world.customer()
    d = world.start()
    heard = watch(d)
    bob = world.subscriber("bob", "4311002", customer=customer)
    assert d.user_id("spce.test", "bob") is None
    world.pump()
    assert d.user_id("spce.test", "bob") == bob and d.number("4311002") == NumberEntry(bob, True)
    assert ("subscriber", bob) in heard


def test_terminated_subscriber_goes(world: World) -> None:
    customer = world.customer()
    bob = world.subscriber("bob", "4311002", ("4312002",), customer=customer)
    d = world.start()
    world.load(bob)
    heard = watch(d)
    world.do(subscribers.terminate_subscriber, subscriber_id=bob)
    world.pump()
    assert d.user_id("spce.test", "bob") is None and d.number("4311002") is None and d.number("4312002") is None
    assert d.subscriber(bob) is None and d.load([bob]) is None
    assert ("subscriber_gone", bob) in heard
    again = world.subscriber("bob", "4311002", customer=customer)
    world.pump()
    assert d.user_id("spce.test", "bob") == again != bob and d.number("4311002") == NumberEntry(again, True)


def test_numbers_change_hands(world: World) -> None:
    customer = world.customer()
    alice = world.subscriber("alice", "4311001", ("4312001",), customer=customer)
    bob = world.subscriber("bob", "4311002", customer=customer)
    d = world.start()
    world.load(alice, bob)
    world.set_numbers(alice, "4311001")
    world.set_numbers(bob, "4312001", "4311002")
    world.pump()
    assert d.number("4312001") == NumberEntry(bob, True) and d.number("4311002") == NumberEntry(bob, False)
    assert [n.e164 for n in world.get(alice).numbers] == ["4311001"]
    assert sorted(n.e164 for n in world.get(bob).numbers) == ["4311002", "4312001"]


def test_change_of_one_leaves_others_loaded(world: World) -> None:
    customer = world.customer()
    alice, bob = (world.subscriber(n, customer=customer) for n in ("alice", "bob"))
    d = world.start()
    world.load(alice, bob)
    kept = d.subscriber(bob)
    heard = watch(d)
    world.usr(alice, clir=True)
    world.pump()
    assert d.subscriber(alice) is None and d.subscriber(bob) is kept and heard == [("subscriber", alice)]
    assert world.get(alice).prefs.flag("clir")


def test_contract_change_reloads_its_members_only(world: World) -> None:
    one, two = world.customer(), world.customer()
    a, b, c = world.subscriber("a", customer=one), world.subscriber("b", customer=one), world.subscriber("c", customer=two)
    d = world.start()
    world.load(a, b, c)
    world.pref("contract", one, "concurrent_max", 7)
    world.pump()
    assert d.subscriber(a) is None and d.subscriber(b) is None and d.subscriber(c) is not None
    world.load(a)
    assert d.contract_prefs(one, "").get("concurrent_max") == "7"


def test_rewrite_rules_change(world: World) -> None:
    set_id = world.rules("r", ("in", "callee", "^00(.*)$", "\\1"))
    d = world.start()
    rules = d.rule_set(set_id)
    assert rules is not None and rules.rewrite("in", "callee", "0043", lambda name: ()) == "43"
    world.do(routing.create_rewrite_rule, set_id=set_id, direction="in", field="callee", match_pattern="^0(.*)$", replace_pattern="49\\1", priority=0)
    world.pump()
    rules = d.rule_set(set_id)
    assert rules is not None and rules.rewrite("in", "callee", "01", lambda name: ()) == "491"
    world.do(routing.delete_rewrite_rule_set, set_id=set_id)
    world.pump()
    assert d.rule_set(set_id) is None


def test_trusted_source_change(world: World) -> None:
    alice = world.subscriber("alice", customer=world.customer())
    d = world.start()
    world.do(routing.create_trusted_source, subscriber_id=alice, src_ip="192.0.2.1")
    assert d.trusted("192.0.2.1", "udp", "sip:x") is None
    world.pump()
    assert d.trusted("192.0.2.1", "udp", "sip:x") == alice


def test_domain_comes_and_goes(world: World) -> None:
    d = world.start()
    heard = watch(d)
    new = world.domain("new.test")
    world.pump()
    assert d.domain("new.test") is not None
    world.do(tenancy.delete_domain, domain_id=new)
    world.pump()
    assert d.domain("new.test") is None
    assert [h for h in heard if h[1] == new][-1] == ("domain_gone", new)


def test_notice_all_reads_everything_again(world: World) -> None:
    customer = world.customer()
    alice = world.subscriber("alice", customer=customer)
    d = world.start()
    world.load(alice)
    heard = watch(d)
    bob = world.subscriber("bob", customer=customer)
    world.do(subscribers.terminate_subscriber, subscriber_id=alice)
    d.changed([changes.Change(1, "all", "")])
    assert d.user_id("spce.test", "bob") == bob and d.user_id("spce.test", "alice") is None and d.subscriber(alice) is None
    assert ("subscriber_gone", alice) in heard and ("all", 0) in heard


@pytest.mark.parametrize("kind", ["subscriber", "domain", "peer", "preference:usr", "nonsense", "admin", "allowed_ip"])
@pytest.mark.parametrize("key", ["", "x", "-5", "99999999999999999999"])
def test_odd_notices_do_no_harm(world: World, kind: str, key: str) -> None:
    alice = world.subscriber("alice", customer=world.customer())
    d = world.start()
    world.load(alice)
    d.changed([changes.Change(1, kind, key)])
    assert d.user_id("spce.test", "alice") == alice and d.subscriber(alice) is not None
    world.clock.advance(5)


# ------------------------------------------------------------------------------------------------------ races and failures
def test_notice_while_details_are_read(tmp_path: Path) -> None:
    """What was read before the change must not be kept after the notice."""
    held = LateReads()
    world = World(tmp_path, held)
    world.domain()
    alice = world.subscriber("alice", customer=world.customer())
    d = world.start()
    held.held = True
    done: list[object] = []
    waiting = d.load([alice])
    assert waiting is not None
    waiting.addCallback(done.append)
    world.usr(alice, clir=True)  # the read has the old rows already
    world.pump()
    held.release(1)
    assert not done and d.subscriber(alice) is None, "the outdated result was not kept and nobody was told"
    held.release()
    s = d.subscriber(alice)
    assert done == [None] and s is not None and s.prefs.flag("clir")
    world.close()


def test_contract_notice_while_details_are_read(tmp_path: Path) -> None:
    held = LateReads()
    world = World(tmp_path, held)
    world.domain()
    customer = world.customer()
    alice = world.subscriber("alice", customer=customer)
    d = world.start()
    held.held = True
    d.load([alice])
    world.pref("contract", customer, "concurrent_max", 3)
    world.pump()
    held.release()
    assert d.subscriber(alice) is not None and d.contract_prefs(customer, "").get("concurrent_max") == "3"
    world.close()


def test_domain_notice_while_keys_are_read_again(tmp_path: Path) -> None:
    held = LateReads()
    world = World(tmp_path, held)
    domain_id = world.domain()
    d = world.start()
    held.held = True
    world.pref("dom", domain_id, "language", "de")
    world.pump()
    world.pref("dom", domain_id, "language", "es")
    world.pump()
    assert len(held.queue) == 1, "one at a time: a late answer must not overwrite a newer one"
    held.release()
    assert d.domain_prefs("spce.test").get("language") == "es"
    world.close()


def test_notice_during_start(tmp_path: Path) -> None:
    held = LateReads()
    world = World(tmp_path, held)
    world.domain()
    customer = world.customer()
    world.notices()
    held.held = True
    started: list[object] = []
    world.directory.start().addCallback(started.append)
    bob = world.subscriber("bob", customer=customer)
    world.pump()
    held.release()
    assert started == [None] and world.directory.user_id("spce.test", "bob") == bob
    world.close()


def test_loads_of_the_same_id_share_a_read(tmp_path: Path) -> None:
    held = HeldExecutor()
    world = World(tmp_path, held)
    world.domain()
    customer = world.customer()
    alice, bob = world.subscriber("alice", customer=customer), world.subscriber("bob", customer=customer)
    d = world.start()
    held.held = True
    done: list[str] = []
    for name, ids in (("one", [alice]), ("two", [alice]), ("both", [alice, bob])):
        waiting = d.load(ids)
        assert waiting is not None
        waiting.addCallback(lambda _, name=name: done.append(name))
    assert len(held.queue) == 2, "alice once, bob once"
    held.release(1)
    assert done == ["one", "two"]
    held.release()
    assert done == ["one", "two", "both"]
    world.close()


def test_many_ids_are_read_in_bulk(tmp_path: Path) -> None:
    held = HeldExecutor()
    world = World(tmp_path, held)
    world.domain()
    customer = world.customer()
    ids = [world.subscriber(f"u{n}", customer=customer) for n in range(30)]
    d = world.start()
    held.held = True
    waiting = [d.load([i]) for i in ids]
    assert len(held.queue) == 4, "four reads at once, the others wait"
    held.release()
    assert all(w is not None and w.called for w in waiting) and held.count < 30
    assert d.counters()["subscribers"] == 30 and d.counters()["reads"] == 0
    world.close()


def test_cache_is_bounded(tmp_path: Path) -> None:
    world = World(tmp_path, limit=3)
    world.domain()
    one, two = world.customer(), world.customer()
    ids = [world.subscriber(f"u{n}", customer=one if n < 3 else two) for n in range(6)]
    d = world.start()
    for i in ids[:3]:
        world.load(i)
    assert d.subscriber(ids[0]) is not None  # used: now the newest
    world.load(ids[3])
    assert [d.subscriber(i) is not None for i in ids[:4]] == [True, False, True, True]
    for i in ids[4:]:
        world.load(i)
    world.load(ids[3])
    assert d.counters()["subscribers"] == 3
    assert d.counters()["contracts"] == 1, "the customer of nobody is forgotten"
    world.close()


def test_store_away(world: World) -> None:
    customer = world.customer()
    alice, bob = world.subscriber("alice", customer=customer), world.subscriber("bob", customer=customer)
    d = world.start()
    world.load(alice)
    world.executor.away = True
    waiting = d.load([bob])
    assert waiting is not None
    failed: list[Any] = []
    waiting.addErrback(failed.append)
    assert failed and failed[0].check(StoreUnavailable)
    assert d.subscriber(alice) is not None and d.load([alice]) is None, "loaded things keep working"
    assert d.user_id("spce.test", "bob") == bob
    world.executor.away = False
    assert world.get(bob) is not None, "and the next call works"


def test_refresh_is_repeated_until_the_store_is_back(world: World) -> None:
    customer = world.customer()
    d = world.start()
    carol = world.subscriber("carol", customer=customer)
    notices = world.notices()
    world.executor.away = True
    d.changed(notices)
    assert d.user_id("spce.test", "carol") is None
    world.clock.advance(3)
    assert d.user_id("spce.test", "carol") is None
    world.executor.away = False
    world.clock.advance(1)
    assert d.user_id("spce.test", "carol") == carol
    assert world.clock.pending() == 0, "no timer left"


def test_start_fails_and_is_repeated(world: World) -> None:
    alice = world.subscriber("alice", customer=world.customer())
    world.executor.away = True
    failed: list[Any] = []
    world.directory.start().addErrback(failed.append)
    assert failed and failed[0].check(StoreUnavailable)
    world.executor.away = False
    assert world.start().user_id("spce.test", "alice") == alice


def test_faulty_listener_does_not_silence_the_others(world: World) -> None:
    d = world.start()
    heard: list[tuple[str, int]] = []

    def bad(kind: str, key: int) -> None:
        raise RuntimeError("no")

    d.subscribe(bad)
    d.subscribe(lambda kind, key: heard.append((kind, key)))
    new = world.domain("n.test")
    world.pump()
    assert ("domain", new) in heard


def test_waiters_of_a_deleted_subscriber_are_released(tmp_path: Path) -> None:
    held = HeldExecutor()
    world = World(tmp_path, held)
    world.domain()
    alice = world.subscriber("alice", customer=world.customer())
    d = world.start()
    held.held = True
    waiting = d.load([alice])
    assert waiting is not None
    world.do(subscribers.terminate_subscriber, subscriber_id=alice)
    held.release()
    assert waiting.called and d.subscriber(alice) is None
    world.close()


def test_memory_of_many_keys() -> None:
    """100,000 subscribers with two numbers each cost less than 60 MB, names included."""

    class Nothing:
        def read(self, *args: object) -> None:
            raise AssertionError

    tracemalloc.start()
    keys = Keys()
    for n in range(100_000):
        name = f"testuser{n:07d}"
        keys.users.setdefault(1 + n % 10, {})[name] = n
        keys.names[n] = (1 + n % 10, name)
        keys.numbers[f"4311{n:07d}"] = n * 2 + 1
        keys.numbers[f"4312{n:07d}"] = n * 2
    d = Directory(Nothing(), None, SimClock())  # type: ignore[arg-type]
    d.replace_keys(keys)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 60_000_000, size
    assert d.number("43110000007") == NumberEntry(7, True)


def test_unusable_rows_are_named_in_the_log_once(world: World) -> None:
    from ngcpd.store.tables.routing import rewrite_rule
    from tests.store.helpers import captured, lines_with

    set_id = world.rules("r", ("in", "callee", "^1$", "2"))
    world.sql(sa.update(rewrite_rule).where(rewrite_rule.c.set_id == set_id).values(match_pattern="(a+)+$"))
    with captured() as lines:
        d = world.start()
        d.changed([changes.Change(1, "rewrite", str(set_id)), changes.Change(2, "all", "")])
    assert len(lines_with(lines, "rewrite rule skipped", "backtrack")) == 1
    rules = d.rule_set(set_id)
    assert rules is not None and rules.rewrite("in", "callee", "aaa", lambda name: ()) == "aaa"

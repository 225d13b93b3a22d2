"""Rule sets, trusted sources, peers, domains, resellers, the demo."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from ngcpd.provisioning import (
    NewSubscriber,
    ProvisioningError,
    create_contact,
    create_domain,
    create_peer_group,
    create_peer_host,
    create_peer_rule,
    create_reseller,
    create_rewrite_rule,
    create_rewrite_rule_set,
    create_subscriber,
    create_trusted_source,
    delete_domain,
    demo,
    list_preferences,
    terminate_subscriber,
)
from ngcpd.provisioning.demo import DOMAIN
from ngcpd.store.credentials import Vault, VaultError
from ngcpd.store.tables.billing import billing_mapping, contract_balance, email_template
from ngcpd.store.tables.identity import domain, number, subscriber, trusted_source
from ngcpd.store.tables.routing import peer_host, rewrite_rule
from ngcpd.store.tables.tenancy import contract, reseller

DOMAIN_DEFAULTS = {
    "sst_enable": "no",
    "sst_refresh_method": "UPDATE_FALLBACK_INVITE",
    "outbound_from_user": "upn",
    "outbound_pai_user": "npn",
    "inbound_uprn": "npn",
    "use_rtpproxy": "ice_strip_candidates",
    "ua_header_mode": "strip",
    "ipv46_for_rtpproxy": "auto",
    "force_outbound_calls_to_peer": "never",
    "allowed_clis_reject_policy": "override_by_usernpn",
    "extended_dialing_mode": "extended_send_dialed",
    "outbound_to_user": "callee",
    "language": "en",
    "transport_protocol": "transparent",
    "prepaid_library": "libswrate",
    "call_deflection": "enabled",
}
PEER_DEFAULTS = {
    "sst_enable": "no",
    "sst_refresh_method": "UPDATE_FALLBACK_INVITE",
    "outbound_from_user": "upn",
    "outbound_pai_user": "npn",
    "use_rtpproxy": "ice_strip_candidates",
    "ua_header_mode": "strip",
    "ipv46_for_rtpproxy": "auto",
    "force_outbound_calls_to_peer": "never",
    "outbound_to_user": "callee",
    "transport_protocol": "transparent",
    "dialogic_mode": "none",
    "dialogic_out_codecs": "G711 ulaw, G711 alaw, G729, AMR",
}


def refused(world, kind, fn, **kwargs):
    with pytest.raises(ProvisioningError) as caught:
        world.do(fn, **kwargs)
    assert caught.value.kind == kind, caught.value
    return caught.value


def test_domain_gets_exactly_its_defaults(world):
    made = world.do(create_domain, name="Example.ORG.")
    assert world.rows(sa.select(domain.c.name).where(domain.c.id == made))[0][0] == "example.org"
    assert world.do(list_preferences, level="dom", owner_id=made) == DOMAIN_DEFAULTS
    assert world.notices() == [("domain", str(made))]
    refused(world, "duplicate", create_domain, name="EXAMPLE.org")
    refused(world, "unknown", create_domain, name="x.org", reseller_id=9)


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "-a.org", "a..b", "x" * 64 + ".org", "a" * 128, "exämple.org", "a.org/x", "1.2.3", "999.1.1.1", "a\n.org"]
)
def test_bad_domain_names(world, name):
    with pytest.raises(ProvisioningError):
        world.do(create_domain, name=name)


@pytest.mark.parametrize(
    ("name", "kept"), [("192.0.2.1", "192.0.2.1"), ("[2001:DB8::1]", "2001:db8::1"), ("my_host", "my_host"), ("a-b.c1", "a-b.c1")]
)
def test_good_domain_names(world, name, kept):
    made = world.do(create_domain, name=name)
    assert world.rows(sa.select(domain.c.name).where(domain.c.id == made))[0][0] == kept


def test_delete_domain(world):
    made = world.do(create_domain, name="example.org")
    who = world.do(create_subscriber, NewSubscriber(customer_id=world.customer(), domain="example.org", username="a", password="secret1"))
    refused(world, "refused", delete_domain, domain_id=made)
    world.do(terminate_subscriber, subscriber_id=who.id)
    refused(world, "refused", delete_domain, domain_id=made)
    refused(world, "refused", delete_domain, domain_id=world.system_domain)
    free = world.do(create_domain, name="free.org")
    world.do(delete_domain, domain_id=free)
    refused(world, "unknown", delete_domain, domain_id=free)
    refused(world, "unknown", list_preferences, level="dom", owner_id=free)


def test_reseller(world):
    contact = world.do(create_contact, email="r@example.org")
    world.notices()
    made = world.do(create_reseller, name="second", contact_id=contact)
    row = world.rows(sa.select(reseller).where(reseller.c.id == made))[0]
    assert world.rows(sa.select(contract.c.product_id, contract.c.contact_id).where(contract.c.id == row.contract_id))[0] == (3, contact)
    mails = {r[0] for r in world.rows(sa.select(email_template.c.name).where(email_template.c.reseller_id == made))}
    assert len(mails) == 6 and "passreset_default_email" in mails
    assert len(world.rows(sa.select(billing_mapping).where(billing_mapping.c.contract_id == row.contract_id))) == 1
    assert len(world.rows(sa.select(contract_balance).where(contract_balance.c.contract_id == row.contract_id))) == 1
    assert world.notices() == [("contract", str(row.contract_id)), ("reseller", str(made))]
    refused(world, "duplicate", create_reseller, name="second", contact_id=contact)
    refused(world, "missing", create_reseller, name="", contact_id=contact)
    refused(world, "unknown", create_reseller, name="third", contact_id=99)
    refused(world, "invalid", create_reseller, name="third", contact_id=1)


def test_rewrite_rules(world):
    made = world.do(create_rewrite_rule_set, name="at", description="Austria")
    refused(world, "duplicate", create_rewrite_rule_set, name="at")
    refused(world, "invalid", create_rewrite_rule_set, name="x" * 33)
    rule = {"set_id": made, "direction": "in", "field": "callee"}
    world.notices()
    world.do(create_rewrite_rule, **rule, match_pattern=r"^0([1-9]\d+)$", replace_pattern=r"${caller_cc}\1")
    old = world.do(create_rewrite_rule, **rule, match_pattern=r"^$(avp(s:caller_list)[+])(\d+)$", replace_pattern=r"$avp(s:caller_cc)\1", priority=1)
    assert tuple(world.rows(sa.select(rewrite_rule.c.match_pattern, rewrite_rule.c.replace_pattern).where(rewrite_rule.c.id == old))[0]) == (
        r"^@{caller_list}(\d+)$",
        r"${caller_cc}\1",
    )
    assert world.notices() == [("rewrite", str(made))] * 2
    for bad in (
        {"match_pattern": "(", "replace_pattern": ""},
        {"match_pattern": "a", "replace_pattern": r"\1"},
        {"match_pattern": "a", "replace_pattern": "@{caller_list}"},
        {"match_pattern": "a" * 129, "replace_pattern": ""},
        {"match_pattern": "a", "replace_pattern": "b\r\n"},
        {"match_pattern": "a", "replace_pattern": "b", "priority": -1},
        {"match_pattern": "a", "replace_pattern": "b", "direction": "up"},
        {"match_pattern": "a", "replace_pattern": "b", "field": "both"},
    ):
        refused(world, "invalid", create_rewrite_rule, **{**rule, **bad})
    refused(world, "unknown", create_rewrite_rule, **{**rule, "set_id": 99}, match_pattern="a", replace_pattern="b")


def test_trusted_sources(world):
    world.do(create_domain, name="example.org")
    who = world.do(create_subscriber, NewSubscriber(customer_id=world.customer(), domain="example.org", username="a", password="secret1")).id
    world.notices()
    made = world.do(create_trusted_source, subscriber_id=who, src_ip="[2001:DB8:0::7]", protocol="udp", from_pattern="^sip:.*@pbx$")
    assert tuple(world.rows(sa.select(trusted_source.c.src_ip, trusted_source.c.protocol))[0]) == ("2001:db8::7", "UDP")
    assert world.notices() == [("trusted_source", str(made))]
    refused(world, "invalid", create_trusted_source, subscriber_id=who, src_ip="host.example.org")
    refused(world, "invalid", create_trusted_source, subscriber_id=who, src_ip="10.0.0.1", protocol="SCTP")
    refused(world, "invalid", create_trusted_source, subscriber_id=who, src_ip="10.0.0.1", from_pattern="(")
    refused(world, "unknown", create_trusted_source, subscriber_id=999, src_ip="10.0.0.1")
    world.do(terminate_subscriber, subscriber_id=who)
    assert world.count(trusted_source) == 0


def test_peers(world):
    group = world.do(create_peer_group, name="carrier")
    refused(world, "duplicate", create_peer_group, name="carrier")
    refused(world, "unknown", create_peer_group, name="b", contract_id=1)
    refused(world, "invalid", create_peer_group, name="b", priority=0)
    world.notices()
    on = world.do(create_peer_host, group_id=group, name="one", ip="192.0.2.1", host="Sip.Carrier.example", transport="TLS", port=5061, weight=10)
    off = world.do(create_peer_host, group_id=group, name="two", ip="2001:db8::1", enabled=False)
    assert world.do(list_preferences, level="peer", owner_id=on) == PEER_DEFAULTS
    assert world.do(list_preferences, level="peer", owner_id=off) == {}
    row = world.rows(sa.select(peer_host).where(peer_host.c.id == on))[0]
    assert (row.host, row.transport, row.port, row.weight, row.enabled) == ("sip.carrier.example", 3, 5061, 10, True)
    world.do(create_peer_rule, group_id=group, callee_prefix="43", callee_pattern="^sip:43")
    assert {n for n in world.notices() if n[0] == "peer"} == {("peer", str(group))}
    refused(world, "duplicate", create_peer_host, group_id=group, name="one", ip="192.0.2.2")
    refused(world, "unknown", create_peer_host, group_id=99, name="x", ip="192.0.2.2")
    for bad in ({"ip": "x"}, {"port": 0}, {"port": 65536}, {"weight": 128}, {"transport": "sctp"}):
        refused(world, "invalid", create_peer_host, **{"group_id": group, "name": "z", "ip": "192.0.2.9", **bad})
    for bad in ({"callee_prefix": "1" * 17}, {"callee_pattern": "["}, {"caller_pattern": "*"}):
        refused(world, "invalid", create_peer_rule, group_id=group, **bad)


def test_demo_is_made_once(world):
    first = world.do(demo)
    again = world.do(demo)
    assert [(a.username, a.domain, a.numbers) for a in first] == [
        ("alice", DOMAIN, ("4311001", "4312001")),
        ("bob", DOMAIN, ("4311002", "4312002")),
    ]
    assert [(a.id, a.password) for a in first] == [(a.id, a.password) for a in again]
    assert first[0].password != first[1].password and first[0].password not in repr(first)
    assert world.count(number) == 4
    assert len(world.rows(sa.select(subscriber).where(subscriber.c.username.in_(["alice", "bob"])))) == 2
    world.env = type(world.env)(world.clock, world.env.rng, Vault(b"x" * 32, world.env.rng), world.env.argon)
    with pytest.raises(VaultError):
        world.do(demo)

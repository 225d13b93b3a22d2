"""Preferences: types, levels, lists, enums, references, addresses."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from ngcpd.provisioning import (
    NewSubscriber,
    ProvisioningError,
    create_contact,
    create_domain,
    create_peer_group,
    create_peer_host,
    create_reseller,
    create_rewrite_rule_set,
    create_subscriber,
    delete_rewrite_rule_set,
    list_preferences,
    set_preference,
    set_preferences,
    unset_preference,
)
from ngcpd.store.tables.identity import customer_location
from ngcpd.store.tables.preferences import allowed_ip, preference_value


@pytest.fixture
def alice(world):
    world.do(create_domain, name="example.org")
    made = world.do(create_subscriber, NewSubscriber(customer_id=world.customer(), domain="example.org", username="alice", password="secret1"))
    world.notices()
    return made.id


def put(world, owner, attribute, value, level="usr", **kwargs):
    world.do(set_preference, level=level, owner_id=owner, attribute=attribute, value=value, **kwargs)


def get(world, owner, attribute, level="usr", **kwargs):
    return world.do(list_preferences, level=level, owner_id=owner, **kwargs).get(attribute)


def test_each_type(world, alice):
    for attribute, value, shown in [
        ("clir", True, True),
        ("clir", "yes", True),
        ("clir", False, None),
        ("clir", 1, True),
        ("clir", "0", None),
        ("ringtimeout", 30, 30),
        ("ringtimeout", "45", 45),
        ("ringtimeout", "007", 7),
        ("ringtimeout", None, None),
        ("gpp0", "x y", "x y"),
        ("gpp0", 5, "5"),
        ("gpp0", "", None),
        ("use_rtpproxy", "never", "never"),
        ("use_rtpproxy", None, None),
        ("block_in_list", ["1*", "#2?"], ["1*", "#2?"]),
        ("block_in_list", [], None),
        ("outbound_from_user", "uprn/npn", "uprn/npn"),
    ]:
        put(world, alice, attribute, value)
        assert get(world, alice, attribute) == shown, (attribute, value)


def test_lists_keep_their_order_and_single_values_replace(world, alice):
    entries = [f"{n}*" for n in range(50, 0, -1)]
    put(world, alice, "allowed_clis", entries)
    assert get(world, alice, "allowed_clis") == entries
    put(world, alice, "allowed_clis", ["9"])
    assert get(world, alice, "allowed_clis") == ["9"]
    for n in range(3):
        put(world, alice, "ringtimeout", n + 1)
    rows = world.rows(sa.select(preference_value.c.value).where(preference_value.c.attribute == "ringtimeout"))
    assert [r[0] for r in rows] == ["3"]


@pytest.mark.parametrize(
    ("level", "attribute", "value", "kind"),
    [
        ("usr", "no_such", "1", "unknown"),
        ("usr", "clir", "maybe", "invalid"),
        ("usr", "clir", 2, "invalid"),
        ("usr", "ringtimeout", "1.5", "invalid"),
        ("usr", "ringtimeout", True, "invalid"),
        ("usr", "ringtimeout", "٣", "invalid"),
        ("usr", "ringtimeout", "9" * 30, "invalid"),
        ("usr", "ringtimeout", [1], "invalid"),
        ("usr", "ringtimeout", 1.5, "invalid"),
        ("usr", "allowed_clis", "43*", "invalid"),
        ("usr", "allowed_clis", [["x"]], "invalid"),
        ("usr", "use_rtpproxy", "sometimes", "invalid"),
        ("usr", "outbound_from_user", "peer_auth_user", "invalid"),
        ("usr", "inbound_npn", "pai_user", "refused"),
        ("usr", "unauth_inbound_calls", True, "refused"),
        ("usr", "account_id", 5, "refused"),
        ("usr", "lock", "4", "refused"),
        ("usr", "rewrite_caller_in_dpid", 5, "refused"),
        ("usr", "allowed_ips_grp", ["5"], "refused"),
        ("usr", "gpp0", "x" * 256, "invalid"),
        ("usr", "gpp0", "a\r\nContact: <sip:evil>", "invalid"),
        ("usr", "gpp0", "a\0", "invalid"),
        ("usr", "ncos", "gold", "unknown"),
        ("usr", "sound_set", "gold", "unknown"),
        ("usr", "rewrite_rule_set", "none", "unknown"),
        ("usr", "rewrite_rule_set", True, "invalid"),
        ("usr", "allowed_ips", ["300.1.1.1"], "invalid"),
        ("usr", "allowed_ips", "10.0.0.1", "invalid"),
        ("dom", "allowed_ips", ["10.0.0.1"], "refused"),
        ("dom", "ringtimeout", 3, "refused"),
        ("nothing", "clir", True, "invalid"),
    ],
)
def test_refused(world, alice, level, attribute, value, kind):
    before = world.do(list_preferences, level="usr", owner_id=alice)
    with pytest.raises(ProvisioningError) as caught:
        put(world, world.system_domain if level == "dom" else alice, attribute, value, level)
    assert caught.value.kind == kind
    assert world.do(list_preferences, level="usr", owner_id=alice) == before
    assert world.notices() == []


def test_several_or_none(world, alice):
    with pytest.raises(ProvisioningError):
        world.do(set_preferences, level="usr", owner_id=alice, values={"gpp0": "a", "gpp1": "b", "clir": "x"})
    assert get(world, alice, "gpp0") is None
    world.do(set_preferences, level="usr", owner_id=alice, values={"gpp0": "a", "gpp1": "b", "clir": "1"})
    assert (get(world, alice, "gpp0"), get(world, alice, "gpp1"), get(world, alice, "clir")) == ("a", "b", True)
    assert world.notices() == [("preference:usr", str(alice))]


def test_addresses(world, alice):
    put(world, alice, "allowed_ips", ["10.1.2.3/8", "192.0.2.7", "2001:DB8::1/64", "10.0.0.0/8"])
    assert get(world, alice, "allowed_ips") == ["10.0.0.0/8", "192.0.2.7", "2001:db8::/64"]
    put(world, alice, "man_allowed_ips", ["::1"])
    rows = world.rows(sa.select(allowed_ip).where(allowed_ip.c.list == "allowed").order_by(allowed_ip.c.id))
    assert (rows[0].family, bytes(rows[0].first).hex(), bytes(rows[0].last).hex()) == (4, "0" * 20 + "ffff0a000000", "0" * 20 + "ffff0affffff")
    assert rows[2].family == 6 and bytes(rows[2].last).hex() == "20010db800000000" + "f" * 16
    assert ("allowed_ip", str(alice)) in world.notices()
    put(world, alice, "allowed_ips", None)
    assert get(world, alice, "allowed_ips") is None and get(world, alice, "man_allowed_ips") == ["::1"]


def test_rewrite_rule_set_by_name(world, alice):
    first = world.do(create_rewrite_rule_set, name="austria")
    put(world, alice, "rewrite_rule_set", "austria")
    home = world.system_domain
    put(world, home, "rewrite_rule_set", first, "dom")
    assert get(world, alice, "rewrite_rule_set") == "austria" == get(world, home, "rewrite_rule_set", "dom")
    contact = world.do(create_contact, email="r@example.org")
    reseller = world.do(create_reseller, name="other", contact_id=contact)
    world.do(create_rewrite_rule_set, name="theirs", reseller_id=reseller)
    with pytest.raises(ProvisioningError):
        put(world, alice, "rewrite_rule_set", "theirs")
    world.notices()
    world.do(delete_rewrite_rule_set, set_id=first)
    assert get(world, alice, "rewrite_rule_set") is None is get(world, home, "rewrite_rule_set", "dom")
    assert set(world.notices()) == {("rewrite", str(first)), ("preference:usr", str(alice)), ("preference:dom", str(home))}


def test_customer_and_location(world, alice):
    customer = world.customer()
    other = world.customer()
    at = world.rows(sa.select(preference_value.c.modified_at))[0][0]
    row = {"contract_id": customer, "name": "site", "created_at": at, "modified_at": at}
    site = world.database.run_here(lambda conn: conn.execute(sa.insert(customer_location), row).inserted_primary_key[0])
    put(world, customer, "concurrent_max", 10, "contract")
    put(world, customer, "concurrent_max", 3, "contract", location_id=site)
    assert get(world, customer, "concurrent_max", "contract") == 10
    assert get(world, customer, "concurrent_max", "contract", location_id=site) == 3
    for owner, where, attribute, kind in ((other, site, "concurrent_max", "unknown"), (customer, site, "block_in_clir", "refused")):
        with pytest.raises(ProvisioningError) as caught:
            put(world, owner, attribute, 1, "contract", location_id=where)
        assert caught.value.kind == kind


def test_peer(world, alice):
    group = world.do(create_peer_group, name="g")
    host = world.do(create_peer_host, group_id=group, name="h", ip="192.0.2.1")
    put(world, host, "inbound_npn", "pai_user", "peer")
    assert get(world, host, "inbound_npn", "peer") == "pai_user"
    with pytest.raises(ProvisioningError):
        put(world, host + 1, "inbound_npn", "pai_user", "peer")


def test_unset(world, alice):
    put(world, alice, "gpp0", "x")
    world.do(unset_preference, level="usr", owner_id=alice, attribute="gpp0")
    world.do(unset_preference, level="usr", owner_id=alice, attribute="gpp0")
    assert get(world, alice, "gpp0") is None


def test_any_value_is_stored_or_refused(world, alice):
    """Never another exception, and what is stored reads back in its type."""
    anything = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=40), st.lists(st.text(max_size=10), max_size=4))

    @settings(max_examples=60, deadline=None)
    @given(attribute=st.sampled_from(sorted(world.env.catalogue)), value=anything)
    def check(attribute, value):
        try:
            put(world, alice, attribute, value)
        except ProvisioningError:
            return
        shown = get(world, alice, attribute)
        known = world.env.catalogue[attribute]
        if shown is not None and known.type == "boolean":
            assert shown is True
        elif shown is not None and known.type == "int" and not known.is_list and attribute != "rewrite_rule_set":
            assert isinstance(shown, int)

    check()

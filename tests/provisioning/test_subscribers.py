"""Subscribers: what is written when one is made, changed, terminated; what is refused."""

from __future__ import annotations

import hashlib

import pytest
import sqlalchemy as sa

from ngcpd.provisioning import (
    E164,
    NewSubscriber,
    ProvisioningError,
    create_contact,
    create_customer,
    create_domain,
    create_reseller,
    create_subscriber,
    create_subscribers,
    get_password,
    list_preferences,
    set_lock,
    set_numbers,
    set_password,
    set_preference,
    set_status,
    set_web_password,
    terminate_subscriber,
)
from ngcpd.provisioning.pbx import Seat
from ngcpd.store.tables.accounting import events
from ngcpd.store.tables.billing import billing_profile
from ngcpd.store.tables.identity import number, subscriber, subscriber_profile, subscriber_profile_set
from ngcpd.store.tables.preferences import allowed_ip, preference_value


def new(customer_id, username="alice", **kwargs):
    return NewSubscriber(**{"customer_id": customer_id, "domain": "example.org", "username": username, "password": "secret1", **kwargs})


def refused(world, kind, field, fn, *args, **kwargs):
    before = world.count(subscriber), world.count(number), world.count(preference_value)
    with pytest.raises(ProvisioningError) as caught:
        world.do(fn, *args, **kwargs)
    assert (caught.value.kind, caught.value.field) == (kind, field)
    assert (world.count(subscriber), world.count(number), world.count(preference_value)) == before
    return caught.value


def prefs(world, subscriber_id):
    return world.do(list_preferences, level="usr", owner_id=subscriber_id)


@pytest.fixture
def customer(world):
    world.do(create_domain, name="Example.ORG")
    customer = world.customer(external_id="c-9")
    world.notices()
    return customer


def test_create_writes_everything(world, customer):
    made = world.do(
        create_subscriber,
        new(
            customer, number=E164(43, "1", "1001"), aliases=(E164(43, "", "12001"), E164(43, "1", "2002")), external_id="s-1", display_name="Alice A."
        ),
    )
    row = world.rows(sa.select(subscriber).where(subscriber.c.id == made.id))[0]
    assert row.uuid == made.uuid and len(made.uuid) == 36
    assert (row.username, row.live_name, row.webusername, row.status) == ("alice", "alice", "alice", "active")
    assert row.ha1 == hashlib.md5(b"alice:example.org:secret1").hexdigest()
    assert row.ha1b == hashlib.md5(b"alice@example.org:example.org:secret1").hexdigest()
    assert row.ha1_sha256 == hashlib.sha256(b"alice:example.org:secret1").hexdigest()
    assert "secret1" not in row.sip_password_enc
    assert world.do(get_password, subscriber_id=made.id) == "secret1"
    assert prefs(world, made.id) == {
        "account_id": customer,
        "ac": "1",
        "allowed_clis": ["4311001", "4312001", "4312002"],
        "cc": "43",
        "cli": "4311001",
        "cloud_pbx_hunt_policy": "serial",
        "display_name": "Alice A.",
        "ext_contract_id": "c-9",
        "ext_subscriber_id": "s-1",
    }
    numbers = world.rows(sa.select(number.c.e164, number.c.is_primary, number.c.reseller_id, number.c.ac).order_by(number.c.id))
    assert [tuple(r) for r in numbers] == [("4311001", True, 1, "1"), ("4312001", False, 1, ""), ("4312002", False, 1, "1")]
    assert world.notices() == [("number", "4311001"), ("number", "4312001"), ("number", "4312002"), ("subscriber", str(made.id))]


def test_passwords_do_not_show_in_text(world, customer):
    made = world.do(create_subscriber, new(customer))
    assert "secret1" not in repr(made) and "secret1" not in str(made)


def test_without_numbers_and_rules_off(world, customer):
    world.rules(auto_allow_cli=False, auto_sync_cli=False)
    plain = world.do(create_subscriber, new(customer))
    numbered = world.do(create_subscriber, new(customer, "bob", number=E164(43, "", "77")))
    assert prefs(world, plain.id).keys() == {"account_id", "cloud_pbx_hunt_policy", "ext_contract_id"}
    assert prefs(world, numbered.id).keys() == {"account_id", "cloud_pbx_hunt_policy", "ext_contract_id", "cc"}


def test_prepaid_follows_the_profile_in_force(world, customer):
    at = world.rows(sa.select(billing_profile.c.created_at))[0][0]
    row = {"reseller_id": 1, "handle": "pre", "name": "pre", "prepaid": True, "created_at": at, "modified_at": at}
    profile = world.database.run_here(lambda conn: conn.execute(sa.insert(billing_profile), row).inserted_primary_key[0])
    prepaid = world.customer(billing_profile_id=profile)
    assert prefs(world, world.do(create_subscriber, new(prepaid)).id)["prepaid"] is True
    assert "prepaid" not in prefs(world, world.do(create_subscriber, new(customer, "bob")).id)


def test_locked_at_creation(world, customer):
    made = world.do(create_subscriber, new(customer, status="locked"))
    assert prefs(world, made.id)["lock"] == "4"


@pytest.mark.parametrize(
    ("change", "kind", "field"),
    [
        ({"username": ""}, "missing", "username"),
        ({"username": "a b"}, "invalid", "username"),
        ({"username": "a..b"}, "invalid", "username"),
        ({"username": ".a"}, "invalid", "username"),
        ({"username": "a."}, "invalid", "username"),
        ({"username": "a@b"}, "invalid", "username"),
        ({"username": "a\r\nVia: x"}, "invalid", "username"),
        ({"username": "ä"}, "invalid", "username"),
        ({"username": "x" * 128}, "invalid", "username"),
        ({"password": None}, "missing", "password"),
        ({"password": "abcde"}, "invalid", "password"),
        ({"password": "x" * 41}, "invalid", "password"),
        ({"password": "ABCDEF1"}, "invalid", "password"),
        ({"password": "abc\r\ndef"}, "invalid", "password"),
        ({"webpassword": "abc"}, "invalid", "webpassword"),
        ({"status": "terminated"}, "invalid", "status"),
        ({"domain": "nowhere.org"}, "unknown", "domain"),
        ({"domain": "not a domain"}, "invalid", "domain"),
        ({"domain": "voip.sipwise.local"}, "unknown", "domain"),
        ({"customer_id": 999}, "unknown", "customer_id"),
        ({"customer_id": 1}, "unknown", "customer_id"),
        ({"number": E164(0, "1", "2")}, "invalid", "primary_number"),
        ({"number": E164(43, "1x", "2")}, "invalid", "primary_number"),
        ({"number": E164(43, "1", "")}, "invalid", "primary_number"),
        ({"number": E164(43, "1", "٣")}, "invalid", "primary_number"),
        ({"number": E164(43, "1", "1" * 32)}, "invalid", "primary_number"),
        ({"number": E164(43, "1", "5"), "aliases": (E164(43, "", "15"),)}, "duplicate", "alias_numbers"),
        ({"email": "no mail"}, "invalid", "email"),
        ({"external_id": "x" * 256}, "invalid", "external_id"),
        ({"profile_set_id": 77}, "unknown", "profile_set_id"),
        ({"profile_id": 77}, "unknown", "profile_id"),
    ],
)
def test_bad_input_changes_nothing(world, customer, change, kind, field):
    refused(world, kind, field, create_subscriber, new(**{"customer_id": customer, **change}))


def test_names_are_unique_among_the_living(world, customer):
    first = world.do(create_subscriber, new(customer, number=E164(43, "1", "1")))
    refused(world, "duplicate", "username", create_subscriber, new(customer))
    refused(world, "duplicate", "webusername", create_subscriber, new(customer, "bob", webusername="alice"))
    world.do(create_subscriber, new(customer, "Alice"))  # names are compared exactly
    world.do(create_domain, name="example.net")
    world.do(create_subscriber, new(customer, domain="example.net"))
    world.do(terminate_subscriber, subscriber_id=first.id)
    again = world.do(create_subscriber, new(customer, number=E164(43, "1", "1")))
    assert again.id != first.id


def test_numbers_are_unique(world, customer):
    world.do(create_subscriber, new(customer, number=E164(43, "1", "1001")))
    error = refused(world, "duplicate", "alias_numbers", create_subscriber, new(customer, "bob", aliases=[E164(43, "11", "001")]))
    assert "4311001 is taken" in error.message


def test_limit_of_the_customer(world, customer):
    small = world.customer(max_subscribers=2)
    first = world.do(create_subscriber, new(small))
    refused(world, "limit", "customer_id", create_subscribers, [new(small, "b"), new(small, "c")])
    world.do(create_subscriber, new(small, "b"))
    refused(world, "limit", "customer_id", create_subscriber, new(small, "c"))
    world.do(terminate_subscriber, subscriber_id=first.id)
    world.do(create_subscriber, new(small, "c"))


def test_domain_of_another_reseller(world, customer):
    contact = world.do(create_contact, email="r@example.org")
    reseller = world.do(create_reseller, name="other", contact_id=contact)
    world.do(create_domain, name="other.org", reseller_id=reseller)
    refused(world, "invalid", "domain", create_subscriber, new(customer, domain="other.org"))


def test_a_pbx_customer_begins_with_its_pilot(world, customer):
    pbx = world.customer(product_handle="PBX_ACCOUNT")
    refused(world, "invalid", "is_pbx_pilot", create_subscriber, new(pbx))
    both = [new(pbx, seat=Seat(is_pilot=True), number=E164(43, "1", "9")), new(pbx, username="bob", seat=Seat(extension="12"))]
    made = world.do(create_subscribers, both)
    assert [tuple(row) for row in world.rows(sa.select(number.c.e164).where(number.c.subscriber_id == made[1].id))] == [("431912",)]


def test_random_passwords_when_allowed(world, customer):
    world.rules(password_sip_autogenerate=True, password_web_autogenerate=True)
    one = world.do(create_subscriber, new(customer, "a", password=None))
    two = world.do(create_subscriber, new(customer, "b", password=None))
    assert len({one.password, two.password, one.webpassword, two.webpassword}) == 4
    stored = world.rows(sa.select(subscriber.c.webpassword_hash).where(subscriber.c.id == one.id))[0][0]
    assert stored.startswith("$argon2id$") and world.env.argon.verify(stored, one.webpassword)
    assert not world.env.argon.verify(stored, two.webpassword)


def test_profiles(world, customer):
    at = world.rows(sa.select(billing_profile.c.created_at))[0][0]

    def make(conn):
        stamp = {"created_at": at, "modified_at": at}
        set_id = conn.execute(sa.insert(subscriber_profile_set).values(reseller_id=1, name="s", **stamp)).inserted_primary_key[0]
        ids = [
            conn.execute(sa.insert(subscriber_profile).values(set_id=set_id, name=n, set_default=d, **stamp)).inserted_primary_key[0]
            for n, d in (("a", False), ("b", True))
        ]
        return set_id, ids

    set_id, (plain, default) = world.database.run_here(make)
    one = world.do(create_subscriber, new(customer, "a", profile_set_id=set_id))
    two = world.do(create_subscriber, new(customer, "b", profile_id=plain))
    rows = world.rows(
        sa.select(subscriber.c.profile_set_id, subscriber.c.profile_id).where(subscriber.c.id.in_([one.id, two.id])).order_by(subscriber.c.id)
    )
    assert [tuple(r) for r in rows] == [(set_id, default), (set_id, plain)]
    world.do(terminate_subscriber, subscriber_id=one.id)
    found = world.rows(
        sa.select(events.c.type, events.c.subscriber_id, events.c.old_status, events.c.new_status, events.c.reseller_id).order_by(events.c.id)
    )
    assert [tuple(r) for r in found] == [
        ("start_profile", one.id, None, str(default), 1),
        ("start_profile", two.id, None, str(plain), 1),
        ("stop_profile", one.id, str(default), "", 1),
    ]


def test_bulk_in_few_statements(world, customer):
    statements = []
    sa.event.listen(world.database.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    people = [new(customer, f"u{n}", number=E164(43, "5", f"{n:04d}"), aliases=(E164(43, "6", f"{n:04d}"),)) for n in range(300)]
    made = world.do(create_subscribers, people)
    assert [m.username for m in made] == [f"u{n}" for n in range(300)]
    assert len(statements) < 60
    assert world.count(number) == 600
    assert prefs(world, made[299].id)["allowed_clis"] == ["4350299", "4360299"]
    refused(world, "duplicate", "username", create_subscribers, [new(customer, "x"), new(customer, "y"), new(customer, "x")])
    refused(world, "duplicate", "alias_numbers", create_subscribers, [new(customer, c, number=E164(1, "", "9")) for c in "xy"])
    refused(world, "duplicate", "username", create_subscribers, [new(customer, "new1"), new(customer, "u5")])
    assert world.do(create_subscribers, []) == []


def test_set_password(world, customer):
    made = world.do(create_subscriber, new(customer))
    world.notices()
    refused(world, "invalid", "password", set_password, subscriber_id=made.id, password="short")
    world.do(set_password, subscriber_id=made.id, password="another2")
    assert world.do(get_password, subscriber_id=made.id) == "another2"
    row = world.rows(sa.select(subscriber).where(subscriber.c.id == made.id))[0]
    assert row.ha1 == hashlib.md5(b"alice:example.org:another2").hexdigest() and row.version == 2
    world.do(set_web_password, subscriber_id=made.id, password="web-pass")
    assert world.notices() == [("subscriber", str(made.id))] * 2


def test_lock_and_status(world, customer):
    made = world.do(create_subscriber, new(customer))
    world.notices()
    world.do(set_lock, subscriber_id=made.id, level=2)
    assert prefs(world, made.id)["lock"] == "2"
    refused(world, "invalid", "lock", set_lock, subscriber_id=made.id, level=6)
    refused(world, "invalid", "lock", set_lock, subscriber_id=made.id, level=True)
    world.do(set_lock, subscriber_id=made.id, level=0)
    assert "lock" not in prefs(world, made.id)
    world.do(set_status, subscriber_id=made.id, status="locked")
    assert prefs(world, made.id)["lock"] == "4"
    world.do(set_status, subscriber_id=made.id, status="active")
    assert "lock" not in prefs(world, made.id)
    world.do(set_lock, subscriber_id=made.id, level=1)
    world.do(set_status, subscriber_id=made.id, status="active")  # no change: the lock stays
    assert prefs(world, made.id)["lock"] == "1"
    assert {kind for kind, _ in world.notices()} == {"preference:usr", "subscriber"}


def test_terminate(world, customer):
    made = world.do(create_subscriber, new(customer, number=E164(43, "1", "1"), aliases=(E164(43, "1", "2"),)))
    world.do(set_preference, level="usr", owner_id=made.id, attribute="allowed_ips", value=["10.0.0.0/8"])
    world.notices()
    world.do(set_status, subscriber_id=made.id, status="terminated")
    row = world.rows(sa.select(subscriber).where(subscriber.c.id == made.id))[0]
    assert (row.status, row.username, row.live_name, row.sip_password_enc, row.ha1, row.webusername) == (
        "terminated",
        "alice",
        None,
        None,
        None,
        None,
    )
    assert row.terminated_at is not None
    assert [tuple(r) for r in world.rows(sa.select(number.c.subscriber_id, number.c.reseller_id, number.c.is_primary))] == [(None, None, False)] * 2
    assert world.rows(sa.select(preference_value).where(preference_value.c.level == "usr", preference_value.c.owner_id == made.id)) == []
    assert world.count(allowed_ip) == 0
    notices = world.notices()
    assert ("subscriber", str(made.id)) in notices and ("number", "4311") in notices and ("number", "4312") in notices
    for fn, kwargs in ((terminate_subscriber, {}), (set_lock, {"level": 1}), (set_password, {"password": "secret2"}), (get_password, {})):
        refused(world, "unknown", "subscriber_id", fn, subscriber_id=made.id, **kwargs)


def test_set_numbers(world, customer):
    one = world.do(create_subscriber, new(customer, number=E164(43, "1", "1001"), aliases=(E164(43, "1", "2001"),)))
    two = world.do(create_subscriber, new(customer, "bob", number=E164(43, "1", "1002")))
    world.do(set_preference, level="usr", owner_id=one.id, attribute="allowed_clis", value=["4311001", "4312001", "4319*"])
    world.notices()
    refused(world, "duplicate", "primary_number", set_numbers, subscriber_id=one.id, primary=E164(43, "1", "1002"))
    world.do(set_numbers, subscriber_id=one.id, primary=E164(44, "", "5"), aliases=(E164(43, "1", "1001"),))
    found = prefs(world, one.id)
    assert (found["cli"], found["cc"], found.get("ac"), found["allowed_clis"]) == ("445", "44", None, ["445", "4311001", "4319*"])
    rows = world.rows(sa.select(number.c.e164, number.c.subscriber_id, number.c.is_primary).order_by(number.c.e164))
    assert [tuple(r) for r in rows] == [("4311001", one.id, False), ("4311002", two.id, True), ("4312001", None, False), ("445", one.id, True)]
    notices = world.notices()
    assert {("number", n) for n in ("4312001", "445", "4311001")} <= set(notices) and ("preference:usr", str(one.id)) in notices
    # A free number can be taken by another one; a cli made by hand stays.
    world.do(set_preference, level="usr", owner_id=two.id, attribute="cli", value="999")
    world.do(set_numbers, subscriber_id=two.id, primary=E164(43, "1", "2001"))
    assert prefs(world, two.id)["cli"] == "999"
    world.do(set_numbers, subscriber_id=two.id, primary=None)
    assert "cc" not in prefs(world, two.id) and prefs(world, two.id).get("allowed_clis") is None
    world.do(set_numbers, subscriber_id=two.id, primary=E164(43, "1", "2001"))
    assert prefs(world, two.id)["cc"] == "43"


def test_numbers_of_the_system_are_out_of_reach(world, customer):
    hidden = world.rows(sa.select(subscriber.c.id).where(subscriber.c.username == "nagios"))[0][0]
    refused(world, "unknown", "subscriber_id", set_numbers, subscriber_id=hidden, primary=None)
    refused(world, "unknown", "subscriber_id", terminate_subscriber, subscriber_id=hidden)


def test_create_customer_and_balance(world):
    contact = world.do(create_contact, reseller_id=1, email="a@example.org", firstname="A", gender="female", gpp3="x")
    system = world.do(create_contact, email="s@example.org")
    refused(world, "unknown", "shoe_size", create_contact, email="a@b.c", shoe_size="44")
    refused(world, "unknown", "contact_id", create_customer, contact_id=999)
    refused(world, "invalid", "contact_id", create_customer, contact_id=system)
    refused(world, "unknown", "billing_profile_id", create_customer, contact_id=contact, billing_profile_id=9)
    refused(world, "unknown", "product", create_customer, contact_id=contact, product_handle="VOIP_RESELLER")
    refused(world, "invalid", "status", create_customer, contact_id=contact, status="terminated")
    refused(world, "invalid", "vat_rate", create_customer, contact_id=contact, vat_rate=101)
    world.notices()
    made = world.do(create_customer, contact_id=contact)
    assert world.notices() == [("contract", str(made))]

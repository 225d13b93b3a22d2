"""The catalogue and what a fresh system holds (data model 15, 17.5)."""

from __future__ import annotations

import datetime
from collections import Counter
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from ngcpd.runtime.fake import InlineExecutor, SeededRng, SimClock
from ngcpd.store import catalogue
from ngcpd.store.credentials import Argon, Vault, VaultError, digest_hashes, random_password
from ngcpd.store.db import Database
from ngcpd.store.seed import seed, sync_catalogue
from ngcpd.store.tables import billing, identity, metadata, preferences, tenancy
from ngcpd.store.tables.preferences import preference_value

LISTS = (
    "block_in_list block_out_list adm_block_in_list adm_block_out_list allowed_clis allowed_ips man_allowed_ips "
    "cfu cfb cfna cft allowed_ips_grp man_allowed_ips_grp cloud_pbx_hunt_group"
)
EXPOSED = (
    "block_in_mode block_in_list block_in_clir block_out_mode block_out_list block_out_override_pin ncos clir clir_intrapbx clir_override "
    "contract_sound_set music_on_hold extended_dialing_mode enable_t38 cloud_pbx_callqueue max_queue_length queue_wrap_up_time "
    "ignore_cf_when_hunting language conference_max_participants softphone_autoprov speed_dial reminder auto_attendant voice_mail fax_server"
)


# -------------------------------------------------------------------------------------------------------------------- catalogue
def test_catalogue_facts():
    known = catalogue.load()
    assert len(known) == 163
    assert max(len(name) for name in known) <= 31
    assert {name for name, a in known.items() if a.is_list} == set(LISTS.split())
    assert {name for name, a in known.items() if a.expose} == set(EXPOSED.split())
    assert {name for name, a in known.items() if a.read_only} == {"lock", "cfu", "cfb", "cfna", "cft"}
    assert len({a.group for a in known.values()}) == 12
    for a in known.values():
        assert a.type in ("boolean", "int", "string", "enum") and a.internal in (-1, 0, 1) and a.max_occur in (0, 1)
        assert a.levels and a.levels <= set(catalogue.LEVELS), a.name
        assert a.label and a.meaning and len(a.meaning) <= 1024
        assert (a.type == "enum") == bool(a.choices), a.name
        for c in a.choices:
            assert c.defaults <= c.levels <= a.levels, (a.name, c)
            assert c.label and (c.value is None or 0 < len(c.value) <= 128)
        for level in a.levels if a.choices else ():
            defaults = [c for c in a.choices if level in c.defaults]
            assert len(defaults) <= 1, (a.name, level)
            assert a.values(level) or level == "prof", (a.name, level)  # two are flagged for profiles and offer nothing there
            shown = Counter(c.label for c in a.choices if level in c.levels)
            assert not [label for label, times in shown.items() if times > 1], (a.name, level)


def test_catalogue_defaults_by_level():
    known = catalogue.load()
    assert {level: len(known.defaults(level)) for level in ("dom", "peer", "usr", "prof")} == {"dom": 16, "peer": 12, "usr": 1, "prof": 0}
    assert known["outbound_from_user"].values("dom") == (
        "npn", "upn", "auth_user", "rcv_display", "uprn/npn", "uprn/upn", "uprn/auth_user", "uprn/rcv_display"
    )  # fmt: skip
    assert known["outbound_from_user"].values("usr")[4] is None
    assert known["dialogic_out_codecs"].default("peer") == "G711 ulaw, G711 alaw, G729, AMR"
    assert known["transport_protocol"].values("usr")[-1] == "UDP/TLS/RTP/SAVPF"
    assert catalogue.COMPUTED | catalogue.REFERENCES | catalogue.ADDRESS_LISTS.keys() <= known.keys()


def test_values_of_a_site():
    known = catalogue.load().with_values("rtp_interface", ["ext1", "ext2", "ext1"])
    assert known["rtp_interface"].values("usr") == (None, "ext1", "ext2")
    assert catalogue.load()["rtp_interface"].values("usr") == (None,)
    assert list(known) == list(catalogue.load())


# ------------------------------------------------------------------------------------------------------------------------- seed
def tools(n=3):
    rng = SeededRng(n)
    return rng, Vault(bytes(range(32)), rng), Argon(rng, time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def database(store_url):
    database = Database(store_url, InlineExecutor(), SimClock())
    assert database.run_here(seed, *tools()) is True
    yield database
    database.close()


def rows(database, table, *where):
    query = sa.select(table).where(*where).order_by(*table.primary_key.columns)
    return [dict(row) for row in database.read_here(lambda conn: list(conn.execute(query).mappings()))]


def test_tenancy(database):
    assert [(r["id"], r["class"], r["handle"], r["name"]) for r in rows(database, tenancy.product)] == [
        (1, "pstnpeering", "PSTN_PEERING", "PSTN Peering"),
        (2, "sippeering", "SIP_PEERING", "SIP Peering"),
        (3, "reseller", "VOIP_RESELLER", "VoIP Reseller"),
        (4, "sipaccount", "SIP_ACCOUNT", "Basic SIP Account"),
        (5, "pbxaccount", "PBX_ACCOUNT", "Cloud PBX Account"),
    ]
    assert [(r["id"], r["reseller_id"], r["email"]) for r in rows(database, tenancy.contact)] == [
        (1, 1, "default-customer@default.invalid"),
        (2, None, "default-system@default.invalid"),
    ]
    [contract] = rows(database, tenancy.contract)
    assert (contract["id"], contract["contact_id"], contract["product_id"], contract["status"]) == (1, 2, 3, "active")
    [reseller] = rows(database, tenancy.reseller)
    assert (reseller["id"], reseller["contract_id"], reseller["name"], reseller["status"]) == (1, 1, "default", "active")
    [admin] = rows(database, tenancy.admin)
    rights = ("is_master", "is_superuser", "is_active", "show_passwords", "call_data", "billing_data", "lawful_intercept")
    assert (admin["id"], admin["login"], admin["reseller_id"], admin["read_only"]) == (1, "administrator", 1, False)
    assert all(admin[right] is True for right in rights)
    argon = tools()[2]
    assert admin["password_hash"].startswith("$argon2id$")
    assert argon.verify(admin["password_hash"], "administrator") and not argon.verify(admin["password_hash"], "Administrator")


def test_billing(database):
    [profile] = rows(database, billing.billing_profile)
    assert (profile["id"], profile["handle"], profile["name"], profile["prepaid"]) == (1, "default", "Default Billing Profile", False)
    assert (profile["interval_unit"], profile["interval_count"], profile["interval_free_cash"], profile["currency"]) == ("month", 1, 0, None)
    [zone] = rows(database, billing.billing_zone)
    assert (zone["id"], zone["zone"], zone["detail"]) == (1, "Free Default Zone", "All Destinations")
    [fee] = rows(database, billing.billing_fee)
    assert (fee["source"], fee["destination"], fee["direction"], fee["type"], fee["use_free_time"]) == (".", ".*", "out", "call", False)
    parts = [f"{peak}_{part}" for peak in ("onpeak", "offpeak") for part in ("init", "follow")]
    assert all(fee[f"{part}_interval"] == 600 and fee[f"{part}_rate"] == Decimal(0) for part in parts)
    [mapping] = rows(database, billing.billing_mapping)
    assert mapping == {"id": 1, "contract_id": 1, "profile_id": 1, "network_id": None, "start_at": None, "end_at": None}
    [balance] = rows(database, billing.contract_balance)
    assert (balance["start"], balance["end"]) == (datetime.datetime(2014, 1, 1), datetime.datetime(2014, 1, 31, 23, 59, 59))
    assert balance["cash_balance"] == balance["free_time_balance"] == balance["cash_balance_interval"] == 0


def test_balance_in_the_zone_of_the_server(store_url):
    database = Database(store_url, InlineExecutor(), SimClock())
    database.run_here(seed, *tools(), ZoneInfo("Europe/Vienna"))
    [balance] = rows(database, billing.contract_balance)
    assert (balance["start"], balance["end"]) == (datetime.datetime(2013, 12, 31, 23), datetime.datetime(2014, 1, 31, 22, 59, 59))
    database.close()


def test_mail_templates(database):
    found = {r["name"]: r for r in rows(database, billing.email_template)}
    assert set(found) == {
        "subscriber_default_email",
        "passreset_default_email",
        "invoice_default_email",
        "credit_warning_default_email",
        "customer_fraud_lock_default_email",
        "customer_fraud_warning_default_email",
    }
    assert all(r["reseller_id"] is None and r["body"].strip() and r["subject"] for r in found.values())
    assert found["subscriber_default_email"]["subject"] == "Subscriber created"
    assert "[% subscriber %]" in found["subscriber_default_email"]["body"]
    assert found["passreset_default_email"]["subject"] == "Password reset email"
    assert "[% url %]" in found["passreset_default_email"]["body"]
    assert "[% invoice.serial %]" in found["invoice_default_email"]["subject"] and "[% invoice.month %]" in found["invoice_default_email"]["body"]
    for name in ("credit_warning_default_email", "customer_fraud_lock_default_email", "customer_fraud_warning_default_email"):
        assert found[name]["from_email"] == "[% adminmail %]"
    assert "[% contracts %]" in found["credit_warning_default_email"]["body"]
    assert "[% subscribers %]" in found["customer_fraud_lock_default_email"]["body"]


def test_system_domain(database):
    [domain] = rows(database, identity.domain)
    assert (domain["name"], domain["is_system"], domain["reseller_id"]) == ("voip.sipwise.local", True, 1)
    people = rows(database, identity.subscriber)
    assert [p["username"] for p in people] == ["no_such_number", "nagios"]
    vault = tools()[1]
    passwords = [vault.open(p["sip_password_enc"], p["uuid"]) for p in people]
    assert len(set(passwords)) == 2
    for person, password in zip(people, passwords, strict=True):
        assert person["ha1"] == digest_hashes(person["username"], domain["name"], password).ha1
    assert len(rows(database, preference_value, preference_value.c.level == "dom")) == 16
    assert len(rows(database, preference_value, preference_value.c.level == "usr")) == 2


def test_preferences_of_the_catalogue(database):
    stored = rows(database, preferences.preference)
    assert len(stored) == 163
    assert [r["attribute"] for r in stored] == list(catalogue.load())
    by_name = {r["attribute"]: r for r in stored}
    assert by_name["concurrent_max"]["levels"] == "usr|prof|dom|peer|contract|contract_location"
    choices = rows(database, preferences.preference_enum, preferences.preference_enum.c.attribute == "inbound_npn")
    assert [(c["value"], c["level"], c["is_default"]) for c in choices] == [
        (None, "peer", True),
        ("from_display", "peer", False),
        ("pai_user", "peer", False),
        ("ppi_user", "peer", False),
        ("rpid_user", "peer", False),
    ]


def everything(database):
    return {name: rows(database, table) for name, table in metadata.tables.items()}


def test_seed_twice(database):
    before = everything(database)
    assert database.run_here(seed, *tools(9)) is False
    assert everything(database) == before


def test_seed_does_not_bring_back_what_was_deleted(database):
    database.run_here(lambda conn: conn.execute(sa.delete(billing.email_template)))
    assert database.run_here(seed, *tools(9)) is False
    assert rows(database, billing.email_template) == []


def test_catalogue_follows_the_package(database):
    before = everything(database)

    def spoil(conn):
        conn.execute(sa.delete(preferences.preference).where(preferences.preference.c.attribute == "cli"))
        conn.execute(sa.update(preferences.preference_enum).where(preferences.preference_enum.c.value == "never").values(label="?"))

    database.run_here(spoil)
    assert database.run_here(sync_catalogue) is True
    assert database.run_here(sync_catalogue) is False
    assert everything(database) == before


def test_seed_is_all_or_nothing(store_url):
    database = Database(store_url, InlineExecutor(), SimClock())
    rng, vault, argon = tools()

    def fail(*_):
        raise OSError("no randomness")

    rng.uuid = fail
    with pytest.raises(OSError, match="no randomness"):
        database.run_here(seed, rng, vault, argon)
    assert all(found == [] for found in everything(database).values())
    database.close()


# ------------------------------------------------------------------------------------------------------------------ credentials
def test_vault():
    rng, vault, _ = tools()
    sealed = vault.seal("pä$$", "uuid-1")
    assert vault.open(sealed, "uuid-1") == "pä$$" and "pä$$" not in sealed
    assert vault.seal("pä$$", "uuid-1") != sealed
    for bad, about in (
        (sealed, "uuid-2"),
        (sealed[:-4], "uuid-1"),
        ("", "uuid-1"),
        ("1:", "uuid-1"),
        ("1:!!", "uuid-1"),
        ("2:" + sealed[2:], "uuid-1"),
    ):
        with pytest.raises(VaultError):
            vault.open(bad, about)
    with pytest.raises(VaultError):
        Vault(b"k" * 32, rng).open(sealed, "uuid-1")
    with pytest.raises(ValueError, match="32 bytes"):
        Vault(b"short", rng)
    assert len(vault.seal("😀" * 40, "u")) <= 512


def test_digest_hashes():
    """RFC 7616 3.9.1: the HA1 of Mufasa."""
    found = digest_hashes("Mufasa", "http-auth@example.org", "Circle of Life")
    assert found.ha1 == "3d78807defe7de2157e2b0b6573a855f"
    assert found.ha1_sha256 == "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232"


def test_argon_and_random_passwords():
    rng, _, argon = tools()
    assert argon.hash("x") != argon.hash("x")
    assert not argon.verify("no hash", "x") and not argon.verify("", "x")
    assert Argon(rng, time_cost=2, memory_cost=8, parallelism=1).outdated(argon.hash("x")) and not argon.outdated(argon.hash("x"))
    made = {random_password(rng) for _ in range(200)}
    assert len(made) == 200
    assert all(len(p) == 16 and p.isascii() and p.isalnum() and any(c.islower() for c in p) and any(c.isdigit() for c in p) for p in made)

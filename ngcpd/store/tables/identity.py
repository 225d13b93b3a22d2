"""Domains, subscribers, their numbers and trusted sources, and the sites of a customer (data model 4, 17.2)."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.store.tables._base import Address16, choice, flag, integer, moment, pk, ref, stamps, table, text
from ngcpd.store.tables.tenancy import STATES

HUNT_POLICIES = ("serial", "parallel", "random", "circular")
TRUSTED_PROTOCOLS = ("UDP", "TCP", "TLS", "ANY")

# Names are stored in lower case.
domain = table(
    "domain",
    pk(),
    ref("reseller_id", "reseller"),
    text("name", 127),
    flag("is_system"),
    *stamps(),
    sa.UniqueConstraint("name"),
)

subscriber_profile_set = table(
    "subscriber_profile_set",
    pk(),
    ref("reseller_id", "reseller", on_delete="CASCADE", index=False),
    text("name", 255),
    text("description", 255, default=""),
    *stamps(),
    sa.UniqueConstraint("reseller_id", "name"),
)

subscriber_profile = table(
    "subscriber_profile",
    pk(),
    ref("set_id", "subscriber_profile_set", on_delete="CASCADE", index=False),
    text("name", 255),
    text("description", 255, default=""),
    flag("set_default"),
    *stamps(),
    sa.UniqueConstraint("set_id", "name"),
)

subscriber_profile_attribute = table(
    "subscriber_profile_attribute",
    sa.Column("profile_id", sa.Integer(), sa.ForeignKey("subscriber_profile.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("attribute", sa.String(31), primary_key=True),
)

# `live_name` is the user name of a subscriber that is not terminated, else NULL: a terminated name can be used again.
# `sip_password_enc` is the SIP password encrypted with a key that is not in the database; the three hashes are what digest needs.
subscriber = table(
    "subscriber",
    pk(),
    text("uuid", 36),
    ref("contract_id", "contract"),
    ref("domain_id", "domain", index=False),
    text("username", 127),
    text("live_name", 127, null=True),
    *choice("status", STATES, default="active"),
    text("sip_password_enc", 512, null=True),
    text("ha1", 32, null=True),
    text("ha1b", 32, null=True),
    text("ha1_sha256", 64, null=True),
    text("webusername", 127, null=True),
    text("webpassword_hash", 255, null=True),
    flag("is_admin"),
    text("external_id", 255, null=True),
    ref("contact_id", "contact", null=True, on_delete="SET NULL"),
    ref("profile_set_id", "subscriber_profile_set", null=True, on_delete="SET NULL"),
    ref("profile_id", "subscriber_profile", null=True, on_delete="SET NULL"),
    flag("is_pbx_pilot"),
    flag("is_pbx_group"),
    text("pbx_extension", 255, null=True),
    *choice("pbx_hunt_policy", HUNT_POLICIES, null=True),
    integer("pbx_hunt_timeout", null=True),
    moment("terminated_at", null=True),
    *stamps(),
    sa.UniqueConstraint("uuid"),
    sa.UniqueConstraint("domain_id", "live_name"),
    sa.UniqueConstraint("domain_id", "webusername"),
    sa.Index(None, "external_id"),
    sa.Index(None, "domain_id", "status"),
    sa.Index(None, "username"),
)
# The names of one page or filter out of many: case does not matter there, and SQLite looks for an index that says so.
sa.Index("ix_subscriber__username_nocase", sa.collate(subscriber.c.username, "NOCASE")).ddl_if(dialect="sqlite")

# E.164: country code, area code (may be empty), subscriber number; `e164` is the three written together and what calls are found by.
# A number without subscriber is free. A subscriber has one number with `is_primary` at most; the others are its aliases.
number = table(
    "number",
    pk(),
    integer("cc"),
    text("ac", 7, default=""),
    text("sn", 31),
    text("e164", 42),
    ref("subscriber_id", "subscriber", null=True, on_delete="SET NULL"),
    ref("reseller_id", "reseller", null=True, on_delete="SET NULL"),
    flag("is_primary"),
    *stamps(),
    sa.UniqueConstraint("e164"),
    sa.UniqueConstraint("cc", "ac", "sn"),
)

# `src_ip` is the canonical text of an IPv4 or IPv6 address; `from_pattern` a regular expression searched in the From URI, NULL = any.
trusted_source = table(
    "trusted_source",
    pk(),
    ref("subscriber_id", "subscriber", on_delete="CASCADE"),
    text("src_ip", 50),
    *choice("protocol", TRUSTED_PROTOCOLS, default="ANY"),
    text("from_pattern", 64, null=True),
    *stamps(),
)

customer_location = table(
    "customer_location",
    pk(),
    ref("contract_id", "contract", on_delete="CASCADE", index=False),
    text("name", 255),
    text("description", 255, default=""),
    *stamps(),
    sa.UniqueConstraint("contract_id", "name"),
)

# `first` and `last` are 16 byte addresses (IPv4 mapped into IPv6), both inclusive; `family` is 4 or 6. `mask` NULL = one host.
customer_location_block = table(
    "customer_location_block",
    pk(),
    ref("location_id", "customer_location", on_delete="CASCADE", index=False),
    text("ip", 39),
    integer("mask", null=True),
    integer("family"),
    sa.Column("first", Address16, nullable=False),
    sa.Column("last", Address16, nullable=False),
    sa.CheckConstraint("family IN (4, 6)", name="family"),
    sa.UniqueConstraint("location_id", "first", "last"),
)

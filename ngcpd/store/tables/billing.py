"""Rating data, balances and the mail templates (data model 3, 17.2; billing 3.3-3.5, 4.1). Amounts in cents, rates in cents per second."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.store.tables._base import Address16, LongText, Money, Rate, choice, fixed, flag, integer, moment, pk, ref, stamps, table, text

billing_profile = table(
    "billing_profile",
    pk(),
    ref("reseller_id", "reseller", on_delete="CASCADE", index=False),
    text("handle", 63),
    text("name", 31),
    flag("prepaid"),
    fixed("interval_charge", Money(), default=0),
    integer("interval_free_time", default=0),
    fixed("interval_free_cash", Money(), default=0),
    *choice("interval_unit", ("week", "month"), default="month"),
    integer("interval_count", default=1),
    integer("fraud_interval_limit", null=True),
    integer("fraud_interval_lock", null=True),
    text("fraud_interval_notify", 255, null=True),
    integer("fraud_daily_limit", null=True),
    integer("fraud_daily_lock", null=True),
    text("fraud_daily_notify", 255, null=True),
    flag("fraud_use_reseller_rates"),
    text("currency", 31, null=True),
    *choice("status", ("active", "terminated"), default="active"),
    moment("terminated_at", null=True),
    *stamps(),
    sa.UniqueConstraint("reseller_id", "handle"),
    sa.UniqueConstraint("reseller_id", "name"),
)

# Zones and fees are never changed in place once used: a change marks the row deleted and adds a new one, so CDRs keep what they point at.
billing_zone = table(
    "billing_zone",
    pk(),
    ref("profile_id", "billing_profile", on_delete="CASCADE", index=False),
    text("zone", 127),
    text("detail", 127, null=True),
    moment("deleted_at", null=True),
    *stamps(),
    sa.Index(None, "profile_id", "zone", "detail"),
)

billing_fee = table(
    "billing_fee",
    pk(),
    ref("profile_id", "billing_profile", on_delete="CASCADE", index=False),
    ref("zone_id", "billing_zone", null=True),
    text("source", 255, default="."),
    text("destination", 255),
    *choice("direction", ("in", "out"), default="out"),
    *choice("type", ("call", "sms"), default="call"),
    *(
        column
        for peak in ("onpeak", "offpeak")
        for part in ("init", "follow")
        for column in (fixed(f"{peak}_{part}_rate", Rate(), default=0), integer(f"{peak}_{part}_interval", default=0))
    ),
    flag("use_free_time"),
    moment("valid_from"),
    moment("deleted_at", null=True),
    *stamps(),
    sa.Index(None, "profile_id", "source", "destination", "direction", "type"),
)

billing_network = table(
    "billing_network",
    pk(),
    ref("reseller_id", "reseller", null=True, on_delete="CASCADE", index=False),
    text("name", 255),
    text("description", 255, default=""),
    *choice("status", ("active", "terminated"), default="active"),
    *stamps(),
    sa.UniqueConstraint("reseller_id", "name"),
)

# `first` and `last`: 16 byte addresses, IPv4 mapped into IPv6, both inclusive.
billing_network_block = table(
    "billing_network_block",
    pk(),
    ref("network_id", "billing_network", on_delete="CASCADE", index=False),
    text("ip", 39),
    integer("mask", null=True),
    integer("family"),
    sa.Column("first", Address16, nullable=False),
    sa.Column("last", Address16, nullable=False),
    sa.CheckConstraint("family IN (4, 6)", name="family"),
    sa.UniqueConstraint("network_id", "first", "last"),
)

# Which profile applies to a contract from when to when; NULL start = since ever, NULL end = open; both inclusive.
billing_mapping = table(
    "billing_mapping",
    pk(),
    ref("contract_id", "contract", on_delete="CASCADE", index=False),
    ref("profile_id", "billing_profile"),
    ref("network_id", "billing_network", null=True),
    moment("start_at", null=True),
    moment("end_at", null=True),
    sa.Index(None, "contract_id", "start_at"),
)

# One row per contract and interval, contiguous; `start` and `end` inclusive; an open end is 9999-12-31 23:59:59.
contract_balance = table(
    "contract_balance",
    pk(),
    ref("contract_id", "contract", on_delete="CASCADE", index=False),
    moment("start"),
    moment("end"),
    fixed("cash_balance", Money(), null=True),
    fixed("cash_balance_interval", Money(), default=0),
    integer("free_time_balance", null=True),
    integer("free_time_balance_interval", default=0),
    integer("topup_count", default=0),
    integer("timely_topup_count", default=0),
    moment("underrun_profiles_at", null=True),
    moment("underrun_lock_at", null=True),
    integer("invoice_id", null=True),
    sa.UniqueConstraint("contract_id", "start"),
)

# A contract's own limits against fraud; where its limit is above 0 they stand for those of the billing profile.
contract_fraud = table(
    "contract_fraud",
    pk(),
    ref("contract_id", "contract", on_delete="CASCADE", index=False),
    *(
        column
        for kind in ("interval", "daily")
        for column in (
            integer(f"fraud_{kind}_limit", null=True),
            integer(f"fraud_{kind}_lock", null=True),
            text(f"fraud_{kind}_notify", 255, null=True),
        )
    ),
    sa.UniqueConstraint("contract_id"),
)

# `reseller_id` NULL = the platform's own, copied to each new reseller.
email_template = table(
    "email_template",
    pk(),
    ref("reseller_id", "reseller", null=True, on_delete="CASCADE", index=False),
    text("name", 255),
    text("from_email", 255),
    text("subject", 255),
    sa.Column("body", LongText, nullable=False),
    *stamps(),
    sa.UniqueConstraint("reseller_id", "name"),
)

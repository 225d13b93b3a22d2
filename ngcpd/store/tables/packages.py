"""Peak times, profile packages, vouchers, top-ups and invoices (data model 3). Amounts in cents; amounts of invoices in currency units."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.store.tables._base import Epoch3, LongBlob, LongText, Money, choice, fixed, integer, moment, pk, ref, stamps, table, text

UNITS = ("minute", "hour", "day", "week", "month")
START_MODES = ("create", "1st", "topup", "topup_interval")
CARRY_OVER = ("carry_over", "carry_over_timely", "discard")

# Off-peak hours of a week: 0 = Monday; NULL start = from midnight, NULL stop = until midnight; HH:MM:SS in the server's zone.
peaktime_weekday = table(
    "peaktime_weekday",
    pk(),
    ref("profile_id", "billing_profile", on_delete="CASCADE"),
    integer("weekday"),
    text("start", 8, null=True),
    text("stop", 8, null=True),
)

# Off-peak periods, both ends inclusive.
peaktime_special = table(
    "peaktime_special",
    pk(),
    ref("profile_id", "billing_profile", on_delete="CASCADE"),
    moment("start"),
    moment("stop"),
)

profile_package = table(
    "profile_package",
    pk(),
    ref("reseller_id", "reseller", on_delete="CASCADE", index=False),
    text("name", 255),
    text("description", 255, default=""),
    fixed("initial_balance", Money(), default=0),
    fixed("service_charge", Money(), default=0),
    *choice("balance_interval_unit", UNITS, default="month"),
    integer("balance_interval_value", default=1),
    *choice("balance_interval_start_mode", START_MODES, default="1st"),
    *choice("carry_over_mode", CARRY_OVER, default="carry_over"),
    *choice("timely_duration_unit", UNITS, null=True),
    integer("timely_duration_value", null=True),
    integer("notopup_discard_intervals", null=True),
    fixed("underrun_lock_threshold", Money(), null=True),
    integer("underrun_lock_level", null=True),
    fixed("underrun_profile_threshold", Money(), null=True),
    integer("topup_lock_level", null=True),
    *stamps(),
    sa.UniqueConstraint("reseller_id", "name"),
)

package_profile = table(
    "package_profile",
    pk(),
    ref("package_id", "profile_package", on_delete="CASCADE"),
    *choice("discriminator", ("initial", "underrun", "topup")),
    ref("profile_id", "billing_profile"),
    ref("network_id", "billing_network", null=True),
)

# `code_hash` is a keyed hash for look-up and uniqueness, `code_enc` the sealed code itself.
voucher = table(
    "voucher",
    pk(),
    ref("reseller_id", "reseller", on_delete="CASCADE", index=False),
    text("code_hash", 64),
    text("code_enc", 512),
    fixed("amount", Money(), default=0),
    moment("valid_until"),
    ref("customer_id", "contract", null=True, on_delete="CASCADE"),
    ref("package_id", "profile_package", null=True),
    ref("used_by_subscriber_id", "subscriber", null=True, on_delete="SET NULL"),
    moment("used_at", null=True),
    *stamps(),
    sa.UniqueConstraint("reseller_id", "code_hash"),
)

# Every try, successful or not, with the state before and after. No foreign keys: the log outlives what it tells of.
topup_log = table(
    "topup_log",
    pk(),
    text("username", 127, null=True),
    fixed("timestamp", Epoch3()),
    *choice("type", ("cash", "voucher")),
    *choice("outcome", ("ok", "failed")),
    text("message", 255, null=True),
    integer("reseller_id", null=True),
    *(integer(name, null=True) for name in ("subscriber_id", "contract_id")),
    fixed("amount", Money(), null=True),
    integer("voucher_id", null=True),
    fixed("cash_balance_before", Money(), null=True),
    fixed("cash_balance_after", Money(), null=True),
    *(
        integer(f"{what}_{when}{suffix}", null=True)
        for what, suffix in (("package", "_id"), ("profile", "_id"), ("lock_level", ""), ("contract_balance", "_id"))
        for when in ("before", "after")
    ),
    text("request_token", 255, null=True),
    sa.Index(None, "contract_id"),
    sa.Index(None, "request_token"),
)

invoice_template = table(
    "invoice_template",
    pk(),
    ref("reseller_id", "reseller", on_delete="CASCADE", index=False),
    text("name", 255),
    *choice("type", ("svg", "html"), default="svg"),
    sa.Column("data", LongText, nullable=True),
    *stamps(),
    sa.UniqueConstraint("reseller_id", "name"),
)

invoice = table(
    "invoice",
    pk(),
    ref("contract_id", "contract"),
    text("serial", 32),
    moment("period_start"),
    moment("period_end"),
    fixed("amount_net", Money(), default=0),
    fixed("amount_vat", Money(), default=0),
    fixed("amount_total", Money(), default=0),
    sa.Column("data", LongBlob, nullable=True),
    moment("sent_at", null=True),
    *choice("generator", ("auto", "web"), null=True),
    *stamps(),
    sa.UniqueConstraint("serial"),
)

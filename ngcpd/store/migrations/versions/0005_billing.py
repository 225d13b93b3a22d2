"""Billing: profiles, zones, fees, networks, mappings, balances; mail templates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ngcpd.store.migrations.ddl import ADDRESS16, COUNTED, LONG_TEXT, MONEY, RATE, pk

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "contract_balance",
        pk(sa.Integer()),
        sa.Column("contract_id", sa.Integer(), nullable=False),
        sa.Column("start", sa.DateTime(), nullable=False),
        sa.Column("end", sa.DateTime(), nullable=False),
        sa.Column("cash_balance", MONEY, nullable=True),
        sa.Column("cash_balance_interval", MONEY, nullable=False, server_default=sa.text("0")),
        sa.Column("free_time_balance", sa.Integer(), nullable=True),
        sa.Column("free_time_balance_interval", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("topup_count", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("timely_topup_count", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("underrun_profiles_at", sa.DateTime(), nullable=True),
        sa.Column("underrun_lock_at", sa.DateTime(), nullable=True),
        sa.Column("invoice_id", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_contract_balance"),
        sa.ForeignKeyConstraint(["contract_id"], ["contract.id"], name="fk_contract_balance__contract_id", ondelete="CASCADE"),
        sa.UniqueConstraint("contract_id", "start", name="uq_contract_balance__contract_id_start"),
        **COUNTED,
    )
    op.create_table(
        "billing_network",
        pk(sa.Integer()),
        sa.Column("reseller_id", sa.Integer(), nullable=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.String(255), nullable=False, server_default=""),
        sa.Column("status", sa.String(10), nullable=False, server_default="active"),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_billing_network"),
        sa.CheckConstraint("status IN ('active', 'terminated')", name=op.f("ck_billing_network__status")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name="fk_billing_network__reseller_id", ondelete="CASCADE"),
        sa.UniqueConstraint("reseller_id", "name", name="uq_billing_network__reseller_id_name"),
        **COUNTED,
    )
    op.create_table(
        "billing_profile",
        pk(sa.Integer()),
        sa.Column("reseller_id", sa.Integer(), nullable=False),
        sa.Column("handle", sa.String(63), nullable=False),
        sa.Column("name", sa.String(31), nullable=False),
        sa.Column("prepaid", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("interval_charge", MONEY, nullable=False, server_default=sa.text("0")),
        sa.Column("interval_free_time", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("interval_free_cash", MONEY, nullable=False, server_default=sa.text("0")),
        sa.Column("interval_unit", sa.String(5), nullable=False, server_default="month"),
        sa.Column("interval_count", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("fraud_interval_limit", sa.Integer(), nullable=True),
        sa.Column("fraud_interval_lock", sa.Integer(), nullable=True),
        sa.Column("fraud_interval_notify", sa.String(255), nullable=True),
        sa.Column("fraud_daily_limit", sa.Integer(), nullable=True),
        sa.Column("fraud_daily_lock", sa.Integer(), nullable=True),
        sa.Column("fraud_daily_notify", sa.String(255), nullable=True),
        sa.Column("fraud_use_reseller_rates", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("currency", sa.String(31), nullable=True),
        sa.Column("status", sa.String(10), nullable=False, server_default="active"),
        sa.Column("terminated_at", sa.DateTime(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_billing_profile"),
        sa.CheckConstraint("interval_unit IN ('week', 'month')", name=op.f("ck_billing_profile__interval_unit")),
        sa.CheckConstraint("status IN ('active', 'terminated')", name=op.f("ck_billing_profile__status")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name="fk_billing_profile__reseller_id", ondelete="CASCADE"),
        sa.UniqueConstraint("reseller_id", "handle", name="uq_billing_profile__reseller_id_handle"),
        sa.UniqueConstraint("reseller_id", "name", name="uq_billing_profile__reseller_id_name"),
        **COUNTED,
    )
    op.create_table(
        "email_template",
        pk(sa.Integer()),
        sa.Column("reseller_id", sa.Integer(), nullable=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("from_email", sa.String(255), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("body", LONG_TEXT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_email_template"),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name="fk_email_template__reseller_id", ondelete="CASCADE"),
        sa.UniqueConstraint("reseller_id", "name", name="uq_email_template__reseller_id_name"),
        **COUNTED,
    )
    op.create_table(
        "billing_mapping",
        pk(sa.Integer()),
        sa.Column("contract_id", sa.Integer(), nullable=False),
        sa.Column("profile_id", sa.Integer(), nullable=False),
        sa.Column("network_id", sa.Integer(), nullable=True),
        sa.Column("start_at", sa.DateTime(), nullable=True),
        sa.Column("end_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_billing_mapping"),
        sa.ForeignKeyConstraint(["contract_id"], ["contract.id"], name="fk_billing_mapping__contract_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["network_id"], ["billing_network.id"], name="fk_billing_mapping__network_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["profile_id"], ["billing_profile.id"], name="fk_billing_mapping__profile_id", ondelete="RESTRICT"),
        **COUNTED,
    )
    op.create_index("ix_billing_mapping__contract_id_start_at", "billing_mapping", ["contract_id", "start_at"])
    op.create_index("ix_billing_mapping__network_id", "billing_mapping", ["network_id"])
    op.create_index("ix_billing_mapping__profile_id", "billing_mapping", ["profile_id"])
    op.create_table(
        "billing_network_block",
        pk(sa.Integer()),
        sa.Column("network_id", sa.Integer(), nullable=False),
        sa.Column("ip", sa.String(39), nullable=False),
        sa.Column("mask", sa.Integer(), nullable=True),
        sa.Column("family", sa.Integer(), nullable=False),
        sa.Column("first", ADDRESS16, nullable=False),
        sa.Column("last", ADDRESS16, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_billing_network_block"),
        sa.CheckConstraint("family IN (4, 6)", name=op.f("ck_billing_network_block__family")),
        sa.ForeignKeyConstraint(["network_id"], ["billing_network.id"], name="fk_billing_network_block__network_id", ondelete="CASCADE"),
        sa.UniqueConstraint("network_id", "first", "last", name="uq_billing_network_block__network_id_first_last"),
        **COUNTED,
    )
    op.create_table(
        "billing_zone",
        pk(sa.Integer()),
        sa.Column("profile_id", sa.Integer(), nullable=False),
        sa.Column("zone", sa.String(127), nullable=False),
        sa.Column("detail", sa.String(127), nullable=True),
        sa.Column("deleted_at", sa.DateTime(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_billing_zone"),
        sa.ForeignKeyConstraint(["profile_id"], ["billing_profile.id"], name="fk_billing_zone__profile_id", ondelete="CASCADE"),
        **COUNTED,
    )
    op.create_index("ix_billing_zone__profile_id_zone_detail", "billing_zone", ["profile_id", "zone", "detail"])
    op.create_table(
        "billing_fee",
        pk(sa.Integer()),
        sa.Column("profile_id", sa.Integer(), nullable=False),
        sa.Column("zone_id", sa.Integer(), nullable=True),
        sa.Column("source", sa.String(255), nullable=False, server_default="."),
        sa.Column("destination", sa.String(255), nullable=False),
        sa.Column("direction", sa.String(3), nullable=False, server_default="out"),
        sa.Column("type", sa.String(4), nullable=False, server_default="call"),
        sa.Column("onpeak_init_rate", RATE, nullable=False, server_default=sa.text("0")),
        sa.Column("onpeak_init_interval", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("onpeak_follow_rate", RATE, nullable=False, server_default=sa.text("0")),
        sa.Column("onpeak_follow_interval", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("offpeak_init_rate", RATE, nullable=False, server_default=sa.text("0")),
        sa.Column("offpeak_init_interval", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("offpeak_follow_rate", RATE, nullable=False, server_default=sa.text("0")),
        sa.Column("offpeak_follow_interval", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("use_free_time", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("valid_from", sa.DateTime(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_billing_fee"),
        sa.CheckConstraint("direction IN ('in', 'out')", name=op.f("ck_billing_fee__direction")),
        sa.CheckConstraint("type IN ('call', 'sms')", name=op.f("ck_billing_fee__type")),
        sa.ForeignKeyConstraint(["profile_id"], ["billing_profile.id"], name="fk_billing_fee__profile_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["zone_id"], ["billing_zone.id"], name="fk_billing_fee__zone_id", ondelete="RESTRICT"),
        **COUNTED,
    )
    op.create_index(
        "ix_billing_fee__profile_id_source_destination_direction_type", "billing_fee", ["profile_id", "source", "destination", "direction", "type"]
    )
    op.create_index("ix_billing_fee__zone_id", "billing_fee", ["zone_id"])

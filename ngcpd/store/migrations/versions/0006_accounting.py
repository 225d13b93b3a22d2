"""Accounting: raw rows, CDRs, event records and what belongs to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ngcpd.store.migrations.ddl import BIG_ID, COUNTED, EPOCH3, MONEY, TABLE, pk

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "acc",
        pk(BIG_ID),
        sa.Column("method", sa.String(16), nullable=False, server_default=""),
        sa.Column("from_tag", sa.String(128), nullable=False, server_default=""),
        sa.Column("to_tag", sa.String(128), nullable=False, server_default=""),
        sa.Column("callid", sa.String(255), nullable=False, server_default=""),
        sa.Column("sip_code", sa.String(3), nullable=False, server_default=""),
        sa.Column("sip_reason", sa.String(128), nullable=False, server_default=""),
        sa.Column("time", sa.DateTime(), nullable=False),
        sa.Column("time_hires", EPOCH3, nullable=False),
        sa.Column("src_leg", sa.Text(), nullable=True),
        sa.Column("dst_leg", sa.Text(), nullable=True),
        sa.Column("dst_user", sa.String(64), nullable=False, server_default=""),
        sa.Column("dst_ouser", sa.String(64), nullable=False, server_default=""),
        sa.Column("dst_domain", sa.String(128), nullable=False, server_default=""),
        sa.Column("src_user", sa.String(64), nullable=False, server_default=""),
        sa.Column("src_domain", sa.String(128), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_acc"),
        **COUNTED,
    )
    op.create_index("ix_acc__callid", "acc", ["callid"])
    op.create_index("ix_acc__time_hires", "acc", ["time_hires"])
    op.create_table(
        "acc_backup",
        pk(BIG_ID),
        sa.Column("method", sa.String(16), nullable=False, server_default=""),
        sa.Column("from_tag", sa.String(128), nullable=False, server_default=""),
        sa.Column("to_tag", sa.String(128), nullable=False, server_default=""),
        sa.Column("callid", sa.String(255), nullable=False, server_default=""),
        sa.Column("sip_code", sa.String(3), nullable=False, server_default=""),
        sa.Column("sip_reason", sa.String(128), nullable=False, server_default=""),
        sa.Column("time", sa.DateTime(), nullable=False),
        sa.Column("time_hires", EPOCH3, nullable=False),
        sa.Column("src_leg", sa.Text(), nullable=True),
        sa.Column("dst_leg", sa.Text(), nullable=True),
        sa.Column("dst_user", sa.String(64), nullable=False, server_default=""),
        sa.Column("dst_ouser", sa.String(64), nullable=False, server_default=""),
        sa.Column("dst_domain", sa.String(128), nullable=False, server_default=""),
        sa.Column("src_user", sa.String(64), nullable=False, server_default=""),
        sa.Column("src_domain", sa.String(128), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_acc_backup"),
        **COUNTED,
    )
    op.create_index("ix_acc_backup__callid", "acc_backup", ["callid"])
    op.create_index("ix_acc_backup__time_hires", "acc_backup", ["time_hires"])
    op.create_table(
        "acc_mark",
        sa.Column("node", sa.String(64), nullable=False),
        sa.Column("stream", sa.String(32), nullable=False, server_default="acc"),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node", "stream", name="pk_acc_mark"),
        **TABLE,
    )
    op.create_table(
        "acc_trash",
        pk(BIG_ID),
        sa.Column("method", sa.String(16), nullable=False, server_default=""),
        sa.Column("from_tag", sa.String(128), nullable=False, server_default=""),
        sa.Column("to_tag", sa.String(128), nullable=False, server_default=""),
        sa.Column("callid", sa.String(255), nullable=False, server_default=""),
        sa.Column("sip_code", sa.String(3), nullable=False, server_default=""),
        sa.Column("sip_reason", sa.String(128), nullable=False, server_default=""),
        sa.Column("time", sa.DateTime(), nullable=False),
        sa.Column("time_hires", EPOCH3, nullable=False),
        sa.Column("src_leg", sa.Text(), nullable=True),
        sa.Column("dst_leg", sa.Text(), nullable=True),
        sa.Column("dst_user", sa.String(64), nullable=False, server_default=""),
        sa.Column("dst_ouser", sa.String(64), nullable=False, server_default=""),
        sa.Column("dst_domain", sa.String(128), nullable=False, server_default=""),
        sa.Column("src_user", sa.String(64), nullable=False, server_default=""),
        sa.Column("src_domain", sa.String(128), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_acc_trash"),
        **COUNTED,
    )
    op.create_index("ix_acc_trash__callid", "acc_trash", ["callid"])
    op.create_index("ix_acc_trash__time_hires", "acc_trash", ["time_hires"])
    op.create_table(
        "call_info",
        pk(sa.Integer()),
        sa.Column("sip_code", sa.String(3), nullable=False),
        sa.Column("period", sa.DateTime(), nullable=False),
        sa.Column("amount", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("id", name="pk_call_info"),
        sa.UniqueConstraint("sip_code", "period", name="uq_call_info__sip_code_period"),
        **COUNTED,
    )
    op.create_table(
        "cdr",
        pk(BIG_ID),
        sa.Column("update_time", sa.DateTime(), nullable=False),
        sa.Column("source_user_id", sa.String(36), nullable=False),
        sa.Column("source_provider_id", sa.String(255), nullable=False),
        sa.Column("source_external_subscriber_id", sa.String(255), nullable=True),
        sa.Column("source_external_contract_id", sa.String(255), nullable=True),
        sa.Column("source_account_id", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("source_user", sa.String(255), nullable=False),
        sa.Column("source_domain", sa.String(255), nullable=False),
        sa.Column("source_cli", sa.String(64), nullable=False),
        sa.Column("source_clir", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("source_ip", sa.String(64), nullable=False),
        sa.Column("source_gpp0", sa.String(255), nullable=True),
        sa.Column("source_gpp1", sa.String(255), nullable=True),
        sa.Column("source_gpp2", sa.String(255), nullable=True),
        sa.Column("source_gpp3", sa.String(255), nullable=True),
        sa.Column("source_gpp4", sa.String(255), nullable=True),
        sa.Column("source_gpp5", sa.String(255), nullable=True),
        sa.Column("source_gpp6", sa.String(255), nullable=True),
        sa.Column("source_gpp7", sa.String(255), nullable=True),
        sa.Column("source_gpp8", sa.String(255), nullable=True),
        sa.Column("source_gpp9", sa.String(255), nullable=True),
        sa.Column("source_lnp_prefix", sa.String(255), nullable=False, server_default=""),
        sa.Column("destination_user_id", sa.String(36), nullable=False),
        sa.Column("destination_provider_id", sa.String(255), nullable=False),
        sa.Column("destination_external_subscriber_id", sa.String(255), nullable=True),
        sa.Column("destination_external_contract_id", sa.String(255), nullable=True),
        sa.Column("destination_account_id", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("destination_user", sa.String(255), nullable=False),
        sa.Column("destination_domain", sa.String(255), nullable=False),
        sa.Column("destination_user_dialed", sa.String(255), nullable=False),
        sa.Column("destination_user_in", sa.String(255), nullable=False),
        sa.Column("destination_domain_in", sa.String(255), nullable=False),
        sa.Column("destination_gpp0", sa.String(255), nullable=True),
        sa.Column("destination_gpp1", sa.String(255), nullable=True),
        sa.Column("destination_gpp2", sa.String(255), nullable=True),
        sa.Column("destination_gpp3", sa.String(255), nullable=True),
        sa.Column("destination_gpp4", sa.String(255), nullable=True),
        sa.Column("destination_gpp5", sa.String(255), nullable=True),
        sa.Column("destination_gpp6", sa.String(255), nullable=True),
        sa.Column("destination_gpp7", sa.String(255), nullable=True),
        sa.Column("destination_gpp8", sa.String(255), nullable=True),
        sa.Column("destination_gpp9", sa.String(255), nullable=True),
        sa.Column("destination_lnp_prefix", sa.String(255), nullable=False, server_default=""),
        sa.Column("peer_auth_user", sa.String(255), nullable=True),
        sa.Column("peer_auth_realm", sa.String(255), nullable=True),
        sa.Column("call_type", sa.String(4), nullable=False, server_default="call"),
        sa.Column("call_status", sa.String(8), nullable=False, server_default="ok"),
        sa.Column("call_code", sa.String(3), nullable=False),
        sa.Column("init_time", EPOCH3, nullable=False),
        sa.Column("start_time", EPOCH3, nullable=False),
        sa.Column("duration", EPOCH3, nullable=False),
        sa.Column("call_id", sa.String(255), nullable=False),
        sa.Column("source_carrier_cost", MONEY, nullable=True),
        sa.Column("source_reseller_cost", MONEY, nullable=True),
        sa.Column("source_customer_cost", MONEY, nullable=True),
        sa.Column("source_carrier_free_time", sa.Integer(), nullable=True),
        sa.Column("source_reseller_free_time", sa.Integer(), nullable=True),
        sa.Column("source_customer_free_time", sa.Integer(), nullable=True),
        sa.Column("source_carrier_billing_fee_id", sa.Integer(), nullable=True),
        sa.Column("source_reseller_billing_fee_id", sa.Integer(), nullable=True),
        sa.Column("source_customer_billing_fee_id", sa.Integer(), nullable=True),
        sa.Column("source_carrier_billing_zone_id", sa.Integer(), nullable=True),
        sa.Column("source_reseller_billing_zone_id", sa.Integer(), nullable=True),
        sa.Column("source_customer_billing_zone_id", sa.Integer(), nullable=True),
        sa.Column("destination_carrier_cost", MONEY, nullable=True),
        sa.Column("destination_reseller_cost", MONEY, nullable=True),
        sa.Column("destination_customer_cost", MONEY, nullable=True),
        sa.Column("destination_carrier_free_time", sa.Integer(), nullable=True),
        sa.Column("destination_reseller_free_time", sa.Integer(), nullable=True),
        sa.Column("destination_customer_free_time", sa.Integer(), nullable=True),
        sa.Column("destination_carrier_billing_fee_id", sa.Integer(), nullable=True),
        sa.Column("destination_reseller_billing_fee_id", sa.Integer(), nullable=True),
        sa.Column("destination_customer_billing_fee_id", sa.Integer(), nullable=True),
        sa.Column("destination_carrier_billing_zone_id", sa.Integer(), nullable=True),
        sa.Column("destination_reseller_billing_zone_id", sa.Integer(), nullable=True),
        sa.Column("destination_customer_billing_zone_id", sa.Integer(), nullable=True),
        sa.Column("frag_carrier_onpeak", sa.Boolean(), nullable=True),
        sa.Column("frag_reseller_onpeak", sa.Boolean(), nullable=True),
        sa.Column("frag_customer_onpeak", sa.Boolean(), nullable=True),
        sa.Column("is_fragmented", sa.Boolean(), nullable=True),
        sa.Column("split", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("rated_at", sa.DateTime(), nullable=True),
        sa.Column("rating_status", sa.String(7), nullable=False, server_default="unrated"),
        sa.Column("exported_at", sa.DateTime(), nullable=True),
        sa.Column("export_status", sa.String(10), nullable=False, server_default="unexported"),
        sa.PrimaryKeyConstraint("id", name="pk_cdr"),
        sa.CheckConstraint("call_status IN ('ok', 'busy', 'noanswer', 'cancel', 'offline', 'timeout', 'other')", name=op.f("ck_cdr__call_status")),
        sa.CheckConstraint("call_type IN ('call', 'cfu', 'cft', 'cfb', 'cfna')", name=op.f("ck_cdr__call_type")),
        sa.CheckConstraint("export_status IN ('unexported', 'ok', 'failed')", name=op.f("ck_cdr__export_status")),
        sa.CheckConstraint("rating_status IN ('unrated', 'ok', 'failed')", name=op.f("ck_cdr__rating_status")),
        **COUNTED,
    )
    op.create_index("ix_cdr__call_id", "cdr", ["call_id"])
    op.create_index("ix_cdr__destination_provider_id", "cdr", ["destination_provider_id"])
    op.create_index("ix_cdr__destination_user_destination_domain", "cdr", ["destination_user", "destination_domain"])
    op.create_index("ix_cdr__destination_user_id", "cdr", ["destination_user_id"])
    op.create_index("ix_cdr__destination_user_in_destination_domain_in", "cdr", ["destination_user_in", "destination_domain_in"])
    op.create_index("ix_cdr__export_status", "cdr", ["export_status"])
    op.create_index("ix_cdr__rating_status", "cdr", ["rating_status"])
    op.create_index("ix_cdr__source_account_id_start_time", "cdr", ["source_account_id", "start_time"])
    op.create_index("ix_cdr__source_cli_destination_user_in_start_time", "cdr", ["source_cli", "destination_user_in", "start_time"])
    op.create_index("ix_cdr__source_provider_id", "cdr", ["source_provider_id"])
    op.create_index("ix_cdr__source_user_id", "cdr", ["source_user_id"])
    op.create_index("ix_cdr__source_user_source_domain_source_cli", "cdr", ["source_user", "source_domain", "source_cli"])
    op.create_index("ix_cdr__start_time", "cdr", ["start_time"])
    op.create_table(
        "events",
        pk(BIG_ID),
        sa.Column("type", sa.String(255), nullable=False),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("reseller_id", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("old_status", sa.String(255), nullable=True),
        sa.Column("new_status", sa.String(255), nullable=False),
        sa.Column("timestamp", EPOCH3, nullable=False),
        sa.Column("export_status", sa.String(10), nullable=False, server_default="unexported"),
        sa.Column("exported_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.CheckConstraint("export_status IN ('unexported', 'ok', 'filtered', 'failed')", name=op.f("ck_events__export_status")),
        **COUNTED,
    )
    op.create_index("ix_events__export_status", "events", ["export_status"])
    op.create_index("ix_events__timestamp", "events", ["timestamp"])
    op.create_table(
        "mark",
        pk(sa.Integer()),
        sa.Column("collector", sa.String(255), nullable=False),
        sa.Column("acc_id", BIG_ID, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mark"),
        sa.UniqueConstraint("collector", name="uq_mark__collector"),
        **COUNTED,
    )
    op.create_table(
        "prepaid_costs",
        pk(BIG_ID),
        sa.Column("call_id", sa.String(255), nullable=False),
        sa.Column("source_user_id", sa.String(36), nullable=False, server_default="0"),
        sa.Column("cost", MONEY, nullable=False),
        sa.Column("free_time_used", sa.Integer(), nullable=False),
        sa.Column("timestamp", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_prepaid_costs"),
        **COUNTED,
    )
    op.create_index("ix_prepaid_costs__call_id", "prepaid_costs", ["call_id"])
    op.create_index("ix_prepaid_costs__timestamp", "prepaid_costs", ["timestamp"])

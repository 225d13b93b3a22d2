"""Identity: domains, profiles, subscribers, numbers, trusted sources, customer locations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ngcpd.store.migrations.ddl import ADDRESS16, COUNTED, TABLE, pk

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "customer_location",
        pk(sa.Integer()),
        sa.Column("contract_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.String(255), nullable=False, server_default=""),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_customer_location"),
        sa.ForeignKeyConstraint(["contract_id"], ["contract.id"], name="fk_customer_location__contract_id", ondelete="CASCADE"),
        sa.UniqueConstraint("contract_id", "name", name="uq_customer_location__contract_id_name"),
        **COUNTED,
    )
    op.create_table(
        "customer_location_block",
        pk(sa.Integer()),
        sa.Column("location_id", sa.Integer(), nullable=False),
        sa.Column("ip", sa.String(39), nullable=False),
        sa.Column("mask", sa.Integer(), nullable=True),
        sa.Column("family", sa.Integer(), nullable=False),
        sa.Column("first", ADDRESS16, nullable=False),
        sa.Column("last", ADDRESS16, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_customer_location_block"),
        sa.CheckConstraint("family IN (4, 6)", name=op.f("ck_customer_location_block__family")),
        sa.ForeignKeyConstraint(["location_id"], ["customer_location.id"], name="fk_customer_location_block__location_id", ondelete="CASCADE"),
        sa.UniqueConstraint("location_id", "first", "last", name="uq_customer_location_block__location_id_first_last"),
        **COUNTED,
    )
    op.create_table(
        "domain",
        pk(sa.Integer()),
        sa.Column("reseller_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(127), nullable=False),
        sa.Column("is_system", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_domain"),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name="fk_domain__reseller_id", ondelete="RESTRICT"),
        sa.UniqueConstraint("name", name="uq_domain__name"),
        **COUNTED,
    )
    op.create_index("ix_domain__reseller_id", "domain", ["reseller_id"])
    op.create_table(
        "subscriber_profile_set",
        pk(sa.Integer()),
        sa.Column("reseller_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.String(255), nullable=False, server_default=""),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_subscriber_profile_set"),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name="fk_subscriber_profile_set__reseller_id", ondelete="CASCADE"),
        sa.UniqueConstraint("reseller_id", "name", name="uq_subscriber_profile_set__reseller_id_name"),
        **COUNTED,
    )
    op.create_table(
        "subscriber_profile",
        pk(sa.Integer()),
        sa.Column("set_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.String(255), nullable=False, server_default=""),
        sa.Column("set_default", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_subscriber_profile"),
        sa.ForeignKeyConstraint(["set_id"], ["subscriber_profile_set.id"], name="fk_subscriber_profile__set_id", ondelete="CASCADE"),
        sa.UniqueConstraint("set_id", "name", name="uq_subscriber_profile__set_id_name"),
        **COUNTED,
    )
    op.create_table(
        "subscriber",
        pk(sa.Integer()),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("contract_id", sa.Integer(), nullable=False),
        sa.Column("domain_id", sa.Integer(), nullable=False),
        sa.Column("username", sa.String(127), nullable=False),
        sa.Column("live_name", sa.String(127), nullable=True),
        sa.Column("status", sa.String(10), nullable=False, server_default="active"),
        sa.Column("sip_password_enc", sa.String(512), nullable=True),
        sa.Column("ha1", sa.String(32), nullable=True),
        sa.Column("ha1b", sa.String(32), nullable=True),
        sa.Column("ha1_sha256", sa.String(64), nullable=True),
        sa.Column("webusername", sa.String(127), nullable=True),
        sa.Column("webpassword_hash", sa.String(255), nullable=True),
        sa.Column("is_admin", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("external_id", sa.String(255), nullable=True),
        sa.Column("contact_id", sa.Integer(), nullable=True),
        sa.Column("profile_set_id", sa.Integer(), nullable=True),
        sa.Column("profile_id", sa.Integer(), nullable=True),
        sa.Column("is_pbx_pilot", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("is_pbx_group", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("pbx_extension", sa.String(255), nullable=True),
        sa.Column("pbx_hunt_policy", sa.String(8), nullable=True),
        sa.Column("pbx_hunt_timeout", sa.Integer(), nullable=True),
        sa.Column("terminated_at", sa.DateTime(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_subscriber"),
        sa.CheckConstraint("pbx_hunt_policy IN ('serial', 'parallel', 'random', 'circular')", name=op.f("ck_subscriber__pbx_hunt_policy")),
        sa.CheckConstraint("status IN ('active', 'locked', 'terminated')", name=op.f("ck_subscriber__status")),
        sa.ForeignKeyConstraint(["contact_id"], ["contact.id"], name="fk_subscriber__contact_id", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["contract_id"], ["contract.id"], name="fk_subscriber__contract_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["domain_id"], ["domain.id"], name="fk_subscriber__domain_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["profile_id"], ["subscriber_profile.id"], name="fk_subscriber__profile_id", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["profile_set_id"], ["subscriber_profile_set.id"], name="fk_subscriber__profile_set_id", ondelete="SET NULL"),
        sa.UniqueConstraint("domain_id", "live_name", name="uq_subscriber__domain_id_live_name"),
        sa.UniqueConstraint("domain_id", "webusername", name="uq_subscriber__domain_id_webusername"),
        sa.UniqueConstraint("uuid", name="uq_subscriber__uuid"),
        **COUNTED,
    )
    op.create_index("ix_subscriber__contact_id", "subscriber", ["contact_id"])
    op.create_index("ix_subscriber__contract_id", "subscriber", ["contract_id"])
    op.create_index("ix_subscriber__external_id", "subscriber", ["external_id"])
    op.create_index("ix_subscriber__profile_id", "subscriber", ["profile_id"])
    op.create_index("ix_subscriber__profile_set_id", "subscriber", ["profile_set_id"])
    op.create_table(
        "subscriber_profile_attribute",
        sa.Column("profile_id", sa.Integer(), nullable=False),
        sa.Column("attribute", sa.String(31), nullable=False),
        sa.PrimaryKeyConstraint("profile_id", "attribute", name="pk_subscriber_profile_attribute"),
        sa.ForeignKeyConstraint(["profile_id"], ["subscriber_profile.id"], name="fk_subscriber_profile_attribute__profile_id", ondelete="CASCADE"),
        **TABLE,
    )
    op.create_table(
        "number",
        pk(sa.Integer()),
        sa.Column("cc", sa.Integer(), nullable=False),
        sa.Column("ac", sa.String(7), nullable=False, server_default=""),
        sa.Column("sn", sa.String(31), nullable=False),
        sa.Column("e164", sa.String(42), nullable=False),
        sa.Column("subscriber_id", sa.Integer(), nullable=True),
        sa.Column("reseller_id", sa.Integer(), nullable=True),
        sa.Column("is_primary", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_number"),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name="fk_number__reseller_id", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_number__subscriber_id", ondelete="SET NULL"),
        sa.UniqueConstraint("cc", "ac", "sn", name="uq_number__cc_ac_sn"),
        sa.UniqueConstraint("e164", name="uq_number__e164"),
        **COUNTED,
    )
    op.create_index("ix_number__reseller_id", "number", ["reseller_id"])
    op.create_index("ix_number__subscriber_id", "number", ["subscriber_id"])
    op.create_table(
        "trusted_source",
        pk(sa.Integer()),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("src_ip", sa.String(50), nullable=False),
        sa.Column("protocol", sa.String(3), nullable=False, server_default="ANY"),
        sa.Column("from_pattern", sa.String(64), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trusted_source"),
        sa.CheckConstraint("protocol IN ('UDP', 'TCP', 'TLS', 'ANY')", name=op.f("ck_trusted_source__protocol")),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_trusted_source__subscriber_id", ondelete="CASCADE"),
        **COUNTED,
    )
    op.create_index("ix_trusted_source__subscriber_id", "trusted_source", ["subscriber_id"])

"""Preferences: the catalogue, the values, allowed addresses."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ngcpd.store.migrations.ddl import ADDRESS16, BIG_ID, COUNTED, pk

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "preference",
        pk(sa.Integer()),
        sa.Column("attribute", sa.String(31), nullable=False),
        sa.Column("group", sa.String(63), nullable=False),
        sa.Column("label", sa.String(255), nullable=False),
        sa.Column("data_type", sa.String(7), nullable=False),
        sa.Column("max_occur", sa.Integer(), nullable=False),
        sa.Column("levels", sa.String(63), nullable=False),
        sa.Column("internal", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("expose_to_customer", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("read_only", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("description", sa.String(1024), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_preference"),
        sa.CheckConstraint("data_type IN ('boolean', 'int', 'string', 'enum')", name=op.f("ck_preference__data_type")),
        sa.UniqueConstraint("attribute", name="uq_preference__attribute"),
        **COUNTED,
    )
    op.create_table(
        "preference_value",
        pk(BIG_ID),
        sa.Column("level", sa.String(8), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("location_id", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("attribute", sa.String(31), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("value", sa.String(255), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_preference_value"),
        sa.CheckConstraint("level IN ('usr', 'prof', 'dom', 'peer', 'contract')", name=op.f("ck_preference_value__level")),
        sa.UniqueConstraint("level", "owner_id", "location_id", "attribute", "position", name="uq_preference_value__place"),
        **COUNTED,
    )
    op.create_index("ix_preference_value__attribute_value", "preference_value", ["attribute", "value"])
    op.create_table(
        "preference_enum",
        pk(sa.Integer()),
        sa.Column("attribute", sa.String(31), nullable=False),
        sa.Column("label", sa.String(128), nullable=False),
        sa.Column("value", sa.String(128), nullable=True),
        sa.Column("level", sa.String(17), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("id", name="pk_preference_enum"),
        sa.CheckConstraint("level IN ('usr', 'prof', 'dom', 'peer', 'contract', 'contract_location')", name=op.f("ck_preference_enum__level")),
        sa.ForeignKeyConstraint(["attribute"], ["preference.attribute"], name="fk_preference_enum__attribute", ondelete="CASCADE"),
        **COUNTED,
    )
    op.create_index("ix_preference_enum__attribute", "preference_enum", ["attribute"])
    op.create_table(
        "allowed_ip",
        pk(sa.Integer()),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("list", sa.String(7), nullable=False),
        sa.Column("family", sa.Integer(), nullable=False),
        sa.Column("first", ADDRESS16, nullable=False),
        sa.Column("last", ADDRESS16, nullable=False),
        sa.Column("text", sa.String(50), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_allowed_ip"),
        sa.CheckConstraint("family IN (4, 6)", name=op.f("ck_allowed_ip__family")),
        sa.CheckConstraint("list IN ('allowed', 'manual')", name=op.f("ck_allowed_ip__list")),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_allowed_ip__subscriber_id", ondelete="CASCADE"),
        sa.UniqueConstraint("subscriber_id", "list", "first", "last", name="uq_allowed_ip__subscriber_id_list_first_last"),
        **COUNTED,
    )

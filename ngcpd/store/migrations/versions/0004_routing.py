"""Routing: rewrite rules and peerings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ngcpd.store.migrations.ddl import COUNTED, pk

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "peer_group",
        pk(sa.Integer()),
        sa.Column("name", sa.String(127), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("description", sa.String(255), nullable=True),
        sa.Column("contract_id", sa.Integer(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_peer_group"),
        sa.ForeignKeyConstraint(["contract_id"], ["contract.id"], name="fk_peer_group__contract_id", ondelete="SET NULL"),
        sa.UniqueConstraint("name", name="uq_peer_group__name"),
        **COUNTED,
    )
    op.create_index("ix_peer_group__contract_id", "peer_group", ["contract_id"])
    op.create_table(
        "peer_host",
        pk(sa.Integer()),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("ip", sa.String(64), nullable=False),
        sa.Column("host", sa.String(64), nullable=True),
        sa.Column("port", sa.Integer(), nullable=False, server_default=sa.text("5060")),
        sa.Column("transport", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("weight", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("via_route", sa.String(255), nullable=True),
        sa.Column("via_lb", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("enabled", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_peer_host"),
        sa.CheckConstraint("transport IN (1, 2, 3)", name=op.f("ck_peer_host__transport")),
        sa.ForeignKeyConstraint(["group_id"], ["peer_group.id"], name="fk_peer_host__group_id", ondelete="CASCADE"),
        sa.UniqueConstraint("group_id", "name", name="uq_peer_host__group_id_name"),
        **COUNTED,
    )
    op.create_index("ix_peer_host__ip", "peer_host", ["ip"])
    op.create_table(
        "peer_rule",
        pk(sa.Integer()),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("callee_prefix", sa.String(64), nullable=False, server_default=""),
        sa.Column("callee_pattern", sa.String(64), nullable=False, server_default=""),
        sa.Column("caller_pattern", sa.String(64), nullable=True),
        sa.Column("description", sa.String(255), nullable=False, server_default=""),
        sa.Column("enabled", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_peer_rule"),
        sa.ForeignKeyConstraint(["group_id"], ["peer_group.id"], name="fk_peer_rule__group_id", ondelete="CASCADE"),
        **COUNTED,
    )
    op.create_index("ix_peer_rule__group_id", "peer_rule", ["group_id"])
    op.create_table(
        "rewrite_rule_set",
        pk(sa.Integer()),
        sa.Column("reseller_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("description", sa.String(255), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rewrite_rule_set"),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name="fk_rewrite_rule_set__reseller_id", ondelete="CASCADE"),
        sa.UniqueConstraint("reseller_id", "name", name="uq_rewrite_rule_set__reseller_id_name"),
        **COUNTED,
    )
    op.create_table(
        "rewrite_rule",
        pk(sa.Integer()),
        sa.Column("set_id", sa.Integer(), nullable=False),
        sa.Column("direction", sa.String(3), nullable=False, server_default="in"),
        sa.Column("field", sa.String(6), nullable=False, server_default="caller"),
        sa.Column("priority", sa.Integer(), nullable=False, server_default=sa.text("50")),
        sa.Column("match_pattern", sa.String(128), nullable=False, server_default=""),
        sa.Column("replace_pattern", sa.String(255), nullable=False),
        sa.Column("description", sa.String(127), nullable=False, server_default=""),
        sa.Column("enabled", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rewrite_rule"),
        sa.CheckConstraint("direction IN ('in', 'out', 'lnp')", name=op.f("ck_rewrite_rule__direction")),
        sa.CheckConstraint("field IN ('caller', 'callee')", name=op.f("ck_rewrite_rule__field")),
        sa.ForeignKeyConstraint(["set_id"], ["rewrite_rule_set.id"], name="fk_rewrite_rule__set_id", ondelete="CASCADE"),
        **COUNTED,
    )
    op.create_index("ix_rewrite_rule__set_id", "rewrite_rule", ["set_id"])

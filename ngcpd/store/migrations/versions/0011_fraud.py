"""Limits against fraud of single contracts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ngcpd.store.migrations.ddl import COUNTED, pk

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "contract_fraud",
        pk(sa.Integer()),
        sa.Column("contract_id", sa.Integer(), nullable=False),
        *(
            sa.Column(f"fraud_{kind}_{name}", type_, nullable=True)
            for kind in ("interval", "daily")
            for name, type_ in (("limit", sa.Integer()), ("lock", sa.Integer()), ("notify", sa.String(255)))
        ),
        sa.PrimaryKeyConstraint("id", name="pk_contract_fraud"),
        sa.ForeignKeyConstraint(["contract_id"], ["contract.id"], name="fk_contract_fraud__contract_id", ondelete="CASCADE"),
        sa.UniqueConstraint("contract_id", name="uq_contract_fraud__contract_id"),
        **COUNTED,
    )

"""Run time: registrations, dialogs, change notices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ngcpd.store.migrations.ddl import BIG_ID, COUNTED, LONG_TEXT, TABLE, pk

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "changes",
        pk(BIG_ID),
        sa.Column("kind", sa.String(48), nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_changes"),
        **COUNTED,
    )
    op.create_index("ix_changes__at", "changes", ["at"])
    op.create_table(
        "dialog_state",
        sa.Column("call_id", sa.String(255), nullable=False),
        sa.Column("node", sa.String(64), nullable=False, server_default=""),
        sa.Column("state", LONG_TEXT, nullable=False),
        sa.Column("modified_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("call_id", name="pk_dialog_state"),
        **TABLE,
    )
    op.create_table(
        "registration",
        sa.Column("ruid", sa.String(64), nullable=False),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("contact", sa.String(2048), nullable=False),
        sa.Column("received", sa.String(64), nullable=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("q", sa.Double(), nullable=False, server_default=sa.text("1.0")),
        sa.Column("callid", sa.String(255), nullable=False),
        sa.Column("cseq", sa.BigInteger(), nullable=False),
        sa.Column("user_agent", sa.String(255), nullable=False, server_default=""),
        sa.Column("instance", sa.String(255), nullable=False, server_default=""),
        sa.Column("reg_id", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("socket", sa.String(255), nullable=False, server_default=""),
        sa.Column("transport", sa.String(8), nullable=False, server_default="udp"),
        sa.Column("nat", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("permanent", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("node", sa.String(64), nullable=False, server_default=""),
        sa.Column("modified_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("ruid", name="pk_registration"),
        **TABLE,
    )
    op.create_index("ix_registration__expires_at", "registration", ["expires_at"])
    op.create_index("ix_registration__subscriber_id", "registration", ["subscriber_id"])

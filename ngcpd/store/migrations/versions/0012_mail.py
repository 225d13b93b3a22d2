"""The queue of outgoing mails."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ngcpd.store.migrations.ddl import BIG_ID, COUNTED, LONG_TEXT, pk

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "mail_queue",
        pk(BIG_ID),
        sa.Column("sender", sa.String(255), nullable=False),
        sa.Column("recipient", sa.String(255), nullable=False),
        sa.Column("message", LONG_TEXT, nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("due_at", sa.DateTime(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("last_error", sa.String(255), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_mail_queue"),
        **COUNTED,
    )
    op.create_index("ix_mail_queue__due_at", "mail_queue", ["due_at"])

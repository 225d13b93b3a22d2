"""How far imports have come."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ngcpd.store.migrations.ddl import COUNTED, LONG_TEXT, pk

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "import_run",
        pk(sa.Integer()),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("what", sa.String(64), nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("made", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("refused", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("report_bytes", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("state", LONG_TEXT, nullable=True),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_import_run"),
        sa.UniqueConstraint("digest", name="uq_import_run__digest"),
        **COUNTED,
    )

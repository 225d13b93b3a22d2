"""Call records are found by the customer who was called, as by the one who called."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_index("ix_cdr__destination_account_id_start_time", "cdr", ["destination_account_id", "start_time"])

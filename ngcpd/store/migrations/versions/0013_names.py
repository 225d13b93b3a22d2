"""Indexes by which one page or filter of subscribers' names is found among many."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_index("ix_subscriber__username", "subscriber", ["username"])
    if op.get_bind().dialect.name == "sqlite":
        op.create_index("ix_subscriber__username_nocase", "subscriber", [sa.text('username COLLATE "NOCASE"')])

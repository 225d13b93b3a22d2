"""Mails that wait to be sent (invoices and e-mails 8.5)."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.store.tables._base import LongText, integer, moment, pk, table, text

# `message` is the whole text (RFC 5322); `due_at` when it is tried next, `tries` how often it was. A mail that is sent has no row.
mail_queue = table(
    "mail_queue",
    pk(big=True),
    text("sender", 255),
    text("recipient", 255),
    sa.Column("message", LongText, nullable=False),
    moment("created_at"),
    moment("due_at"),
    integer("tries", default=0),
    text("last_error", 255, null=True),
    sa.Index(None, "due_at"),
)

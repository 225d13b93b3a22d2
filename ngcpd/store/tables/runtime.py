"""What a running node keeps: registrations, dialogs, and the notices by which all processes learn of changes (data model 12, 17.1, 17.2)."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.store.tables._base import LongText, flag, integer, moment, pk, table, text

# One binding. `ruid` is the binding's own id. Times are seconds since the epoch as a double; `path` holds the Path values joined by commas.
# No foreign key: rows are written late, out of a journal, and may outlive their subscriber for a moment.
registration = table(
    "registration",
    sa.Column("ruid", sa.String(64), primary_key=True),
    integer("subscriber_id"),
    text("contact", 2048),
    text("received", 64, null=True),
    sa.Column("path", sa.Text(), nullable=False),
    sa.Column("expires_at", sa.Double(), nullable=False),
    sa.Column("q", sa.Double(), nullable=False, server_default=sa.text("1.0")),
    text("callid", 255),
    sa.Column("cseq", sa.BigInteger(), nullable=False),
    text("user_agent", 255, default=""),
    text("instance", 255, default=""),
    integer("reg_id", default=0),
    text("socket", 255, default=""),
    text("transport", 8, default="udp"),
    flag("nat"),
    flag("permanent"),
    text("node", 64, default=""),
    sa.Column("modified_at", sa.Double(), nullable=False),
    sa.Index(None, "subscriber_id"),
    sa.Index(None, "expires_at"),
)

# An open dialog as JSON text, for a restart.
dialog_state = table(
    "dialog_state",
    sa.Column("call_id", sa.String(255), primary_key=True),
    text("node", 64, default=""),
    sa.Column("state", LongText, nullable=False),
    sa.Column("modified_at", sa.Double(), nullable=False),
)

# Change notices: what kind of thing changed and its id as text; see `store.changes`.
changes = table(
    "changes",
    pk(big=True),
    text("kind", 48),
    text("key", 128),
    moment("at"),
    sa.Index(None, "at"),
)

# How far an import of a file has come, advanced in the transaction of each batch. `digest` covers the file and what it is imported as;
# `line` is the last line that is done, `report_bytes` the length of the report of refused lines then. `state` is what the kind of import
# has to remember, as JSON. No foreign keys: it outlives what it tells of.
import_run = table(
    "import_run",
    pk(),
    text("digest", 64),
    text("what", 64),
    sa.Column("line", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
    integer("made", default=0),
    integer("refused", default=0),
    sa.Column("report_bytes", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
    sa.Column("state", LongText, nullable=True),
    moment("started_at"),
    moment("modified_at"),
    moment("finished_at", null=True),
    sa.UniqueConstraint("digest"),
)

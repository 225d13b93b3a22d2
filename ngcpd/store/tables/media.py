"""Recordings and documents: sound files, messages of voice boxes, faxes (data model 9, 17.2).

Large contents are kept in pieces (`ngcpd.store.blobs`), in a table beside their owner's, so that they are deleted with it.
"""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.store.tables._base import Epoch3, LongBlob, LongText, choice, fixed, flag, integer, moment, pk, ref, stamps, table, text

CODECS = ("WAV", "PCMA")
FOLDERS = ("INBOX", "Old", "Work", "Friends", "Family", "Cust1", "Cust2", "Cust3", "Cust4", "Cust5", "Cust6")
GREETINGS = ("unavail", "busy", "temp", "greet")
FAX_DIRECTIONS = ("in", "out", "mtf")
RENEWALS = ("never", "daily", "weekly", "monthly")


def pieces(owner: str) -> sa.Table:
    """The contents of the rows of a table, in pieces of at most `blobs.PIECE` bytes counted from 0."""
    return table(
        f"{owner}_piece",
        sa.Column("owner_id", sa.Integer(), sa.ForeignKey(f"{owner}.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("data", LongBlob, nullable=False),
    )


# `group` and `handle` name one entry of `ngcpd.provisioning.handles`. `codec` WAV: 16 bit, 8 kHz, mono with its header; PCMA: bare A-law, 8 kHz.
sound_file = table(
    "sound_file",
    pk(),
    ref("set_id", "sound_set", on_delete="CASCADE", index=False),
    text("group", 63),
    text("handle", 63),
    text("filename", 255),
    *choice("codec", CODECS, default="WAV"),
    flag("loopplay"),
    integer("size"),
    *stamps(),
    sa.UniqueConstraint("set_id", "group", "handle"),
)
sound_file_piece = pieces("sound_file")

# Messages and greetings of a voice box. `msgnum` counts the messages of a folder from 0 without gaps, a greeting has -1. `duration` in seconds.
# `audio` is a WAV file.
voicemail_message = table(
    "voicemail_message",
    pk(),
    ref("box_id", "voicemail_box", on_delete="CASCADE", index=False),
    *choice("folder", FOLDERS, default="INBOX"),
    integer("msgnum", default=0),
    text("caller", 255, default=""),
    moment("received_at"),
    integer("duration", default=0),
    *choice("greeting_type", GREETINGS, null=True),
    text("msg_id", 40, null=True),
    sa.Column("audio", LongBlob, nullable=False),
    sa.Index(None, "box_id", "folder"),
)

# What was received or sent. `time` is when it began, `duration` in seconds, `sid` names the fax in the log, `filename` the stored document.
fax_journal = table(
    "fax_journal",
    pk(),
    ref("subscriber_id", "subscriber", on_delete="CASCADE"),
    fixed("time", Epoch3()),
    *choice("direction", FAX_DIRECTIONS, default="out"),
    integer("duration", default=0),
    text("caller", 255, default=""),
    text("callee", 255, default=""),
    integer("pages", default=0),
    text("reason", 255, default=""),
    text("status", 255, default=""),
    integer("signal_rate", default=0),
    text("quality", 255, default=""),
    text("filename", 255, default=""),
    text("content_type", 63, default=""),
    text("sid", 255),
    sa.UniqueConstraint("sid"),
    sa.Index(None, "time"),
)
fax_journal_piece = pieces("fax_journal")

# Faxes that wait to be sent. `next_at` is when the next attempt is due; `text` is printed before the document.
fax_job = table(
    "fax_job",
    pk(),
    ref("journal_id", "fax_journal", on_delete="CASCADE", index=False),
    text("pageheader", 255, null=True),
    sa.Column("text", LongText, nullable=True),
    flag("coverpage"),
    text("notify", 255, null=True),
    integer("attempts", default=0),
    moment("next_at"),
    sa.UniqueConstraint("journal_id"),
    sa.Index(None, "next_at"),
)

# `secret_key_enc` is sealed like SIP passwords.
mail2fax_settings = table(
    "mail2fax_settings",
    pk(),
    ref("subscriber_id", "subscriber", on_delete="CASCADE", index=False),
    flag("active"),
    text("secret_key_enc", 1024, null=True),
    *choice("secret_key_renew", RENEWALS, default="never"),
    moment("secret_key_modified_at", null=True),
    *stamps(),
    sa.UniqueConstraint("subscriber_id"),
)

# NULL = any. `use_regex`: `destination` is a regular expression.
mail2fax_acl = table(
    "mail2fax_acl",
    pk(),
    ref("subscriber_id", "subscriber", on_delete="CASCADE"),
    text("from_email", 255, null=True),
    text("received_from", 255, null=True),
    text("destination", 255, null=True),
    flag("use_regex"),
)

mail2fax_notify = table(
    "mail2fax_notify",
    pk(),
    ref("subscriber_id", "subscriber", on_delete="CASCADE", index=False),
    text("destination", 255),
    sa.UniqueConstraint("subscriber_id", "destination"),
)

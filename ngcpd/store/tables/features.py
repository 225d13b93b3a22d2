"""What subscribers and customers set up for their calls: forwards, speed dials, voice boxes, reminders, fax, announcements (data model 9, 11)."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.store.tables._base import choice, flag, integer, pk, ref, stamps, table, text

FORWARDS = ("cfu", "cfb", "cfna", "cft")
RECURRENCES = ("never", "weekdays", "always")
FAX_TYPES = ("PS", "TIFF", "PDF", "PDF14")

cf_destination_set = table(
    "cf_destination_set",
    pk(),
    ref("subscriber_id", "subscriber", on_delete="CASCADE", index=False),
    text("name", 255),
    *stamps(),
    sa.UniqueConstraint("subscriber_id", "name"),
)

# `destination` is a SIP URI; tried in ascending `priority`, each for `timeout` seconds.
cf_destination = table(
    "cf_destination",
    pk(),
    ref("set_id", "cf_destination_set", on_delete="CASCADE"),
    text("destination", 255),
    integer("priority", default=1),
    integer("timeout", default=300),
)

cf_time_set = table(
    "cf_time_set",
    pk(),
    ref("subscriber_id", "subscriber", on_delete="CASCADE", index=False),
    text("name", 255),
    *stamps(),
    sa.UniqueConstraint("subscriber_id", "name"),
)

# Each part is one number or `a-b`, NULL = any; all must match.
cf_period = table(
    "cf_period",
    pk(),
    ref("set_id", "cf_time_set", on_delete="CASCADE"),
    *(text(part, 16, null=True) for part in ("year", "month", "mday", "wday", "hour", "minute")),
)

# In the order of their ids. No time set = always.
cf_mapping = table(
    "cf_mapping",
    pk(),
    ref("subscriber_id", "subscriber", on_delete="CASCADE"),
    *choice("type", FORWARDS, default="cfu"),
    ref("destination_set_id", "cf_destination_set", on_delete="CASCADE"),
    ref("time_set_id", "cf_time_set", null=True, on_delete="CASCADE"),
)

speed_dial = table(
    "speed_dial",
    pk(),
    ref("subscriber_id", "subscriber", on_delete="CASCADE", index=False),
    text("slot", 64),
    text("destination", 192),
    sa.UniqueConstraint("subscriber_id", "slot"),
)

# `time` is HH:MM:SS in the server's zone.
reminder = table(
    "reminder",
    pk(),
    ref("subscriber_id", "subscriber", on_delete="CASCADE", index=False),
    text("time", 8),
    *choice("recur", RECURRENCES, default="never"),
    *stamps(),
    sa.UniqueConstraint("subscriber_id"),
)

# `email`: one or more addresses joined by commas.
voicemail_box = table(
    "voicemail_box",
    pk(),
    ref("subscriber_id", "subscriber", on_delete="CASCADE", index=False),
    text("pin", 31),
    text("email", 255, null=True),
    flag("attach", True),
    flag("delete_after_mail"),
    text("tz", 64, default="vienna"),
    *stamps(),
    sa.UniqueConstraint("subscriber_id"),
)

# `contract_id` NULL = a set of the reseller; else one of that customer, and `contract_default` gives it to new subscribers.
sound_set = table(
    "sound_set",
    pk(),
    ref("reseller_id", "reseller", on_delete="CASCADE", index=False),
    ref("contract_id", "contract", null=True, on_delete="CASCADE"),
    text("name", 255),
    text("description", 255, default=""),
    flag("contract_default"),
    *stamps(),
    sa.UniqueConstraint("reseller_id", "contract_id", "name"),
)

auto_attendant_choice = table(
    "auto_attendant_choice",
    pk(),
    ref("subscriber_id", "subscriber", on_delete="CASCADE", index=False),
    integer("choice"),
    text("destination", 255),
    sa.UniqueConstraint("subscriber_id", "choice"),
)

fax_settings = table(
    "fax_settings",
    pk(),
    ref("subscriber_id", "subscriber", on_delete="CASCADE", index=False),
    text("name", 64, null=True),
    text("password_enc", 512, null=True),
    flag("active"),
    flag("send_status", True),
    flag("send_copy", True),
    *stamps(),
    sa.UniqueConstraint("subscriber_id"),
)

fax_destination = table(
    "fax_destination",
    pk(),
    ref("subscriber_id", "subscriber", on_delete="CASCADE", index=False),
    text("destination", 255),
    *choice("filetype", FAX_TYPES, default="TIFF"),
    flag("incoming", True),
    flag("outgoing"),
    flag("status"),
    sa.UniqueConstraint("subscriber_id", "destination"),
)

calling_card_map = table(
    "calling_card_map",
    pk(),
    ref("subscriber_id", "subscriber", on_delete="CASCADE"),
    text("auth_key", 255),
    ref("source_subscriber_id", "subscriber", on_delete="CASCADE"),
    sa.UniqueConstraint("subscriber_id", "auth_key"),
)

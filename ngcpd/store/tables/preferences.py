"""The preference catalogue and the stored values (data model 6, 17.2).

One table holds the values of all levels: `level` names whose they are, `owner_id` is the id of that subscriber, profile, domain, peer host
or contract, `location_id` a customer location or 0. `position` counts the entries of a list from 0 and is 0 for single values, so a
duplicate is impossible.
"""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.store.tables._base import Address16, choice, flag, integer, moment, pk, ref, table, text

LEVELS = ("usr", "prof", "dom", "peer", "contract")
DATA_TYPES = ("boolean", "int", "string", "enum")

preference = table(
    "preference",
    pk(),
    text("attribute", 31),
    text("group", 63),
    text("label", 255),
    *choice("data_type", DATA_TYPES),
    integer("max_occur"),
    text("levels", 63),
    integer("internal", default=0),
    flag("expose_to_customer"),
    flag("read_only"),
    text("description", 1024, default=""),
    sa.UniqueConstraint("attribute"),
)

# `value` NULL is the choice that stores nothing.
preference_enum = table(
    "preference_enum",
    pk(),
    sa.Column("attribute", sa.String(31), sa.ForeignKey("preference.attribute", ondelete="CASCADE"), nullable=False, index=True),
    text("label", 128),
    text("value", 128, null=True),
    *choice("level", (*LEVELS, "contract_location")),
    flag("is_default"),
)

preference_value = table(
    "preference_value",
    pk(big=True),
    *choice("level", LEVELS),
    integer("owner_id"),
    integer("location_id", default=0),
    text("attribute", 31),
    integer("position", default=0),
    text("value", 255),
    moment("modified_at"),
    sa.UniqueConstraint("level", "owner_id", "location_id", "attribute", "position", name="uq_preference_value__place"),
    sa.Index(None, "attribute", "value"),
)

# Members of the pseudo preferences `allowed_ips` (list `allowed`) and `man_allowed_ips` (list `manual`).
# `first` and `last`: 16 byte addresses, IPv4 mapped into IPv6; `text` as shown.
allowed_ip = table(
    "allowed_ip",
    pk(),
    ref("subscriber_id", "subscriber", on_delete="CASCADE", index=False),
    *choice("list", ("allowed", "manual")),
    integer("family"),
    sa.Column("first", Address16, nullable=False),
    sa.Column("last", Address16, nullable=False),
    text("text", 50),
    sa.CheckConstraint("family IN (4, 6)", name="family"),
    sa.UniqueConstraint("subscriber_id", "list", "first", "last"),
)

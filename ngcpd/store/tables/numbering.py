"""Network classes of service and number portability (data model 7)."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.store.tables._base import choice, flag, moment, pk, ref, stamps, table, text

ncos_level = table(
    "ncos_level",
    pk(),
    ref("reseller_id", "reseller", on_delete="CASCADE", index=False),
    text("level", 31),
    *choice("mode", ("blacklist", "whitelist"), default="blacklist"),
    flag("local_ac"),
    text("description", 255, null=True),
    *stamps(),
    sa.UniqueConstraint("reseller_id", "level"),
)

ncos_pattern = table(
    "ncos_pattern",
    pk(),
    ref("ncos_level_id", "ncos_level", on_delete="CASCADE", index=False),
    text("pattern", 255),
    text("description", 255, null=True),
    *stamps(),
    sa.UniqueConstraint("ncos_level_id", "pattern"),
)

lnp_provider = table(
    "lnp_provider",
    pk(),
    text("name", 31),
    text("prefix", 31, default=""),
    *stamps(),
    sa.UniqueConstraint("name"),
)

# Valid when `start` <= now and now < `end`; NULL = open.
lnp_number = table(
    "lnp_number",
    pk(),
    ref("provider_id", "lnp_provider", on_delete="CASCADE"),
    text("number", 31),
    text("routing_number", 31, null=True),
    moment("start", null=True),
    moment("end", null=True),
    *stamps(),
    sa.Index(None, "number", "start"),
)

ncos_lnp = table(
    "ncos_lnp",
    pk(),
    ref("ncos_level_id", "ncos_level", on_delete="CASCADE", index=False),
    ref("provider_id", "lnp_provider", on_delete="CASCADE"),
    text("description", 255, null=True),
    *stamps(),
    sa.UniqueConstraint("ncos_level_id", "provider_id"),
)

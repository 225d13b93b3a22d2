"""Rewrite rules and peerings (data model 8, 10, 17.2)."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.store.tables._base import choice, flag, integer, pk, ref, stamps, table, text

DIRECTIONS = ("in", "out", "lnp")
FIELDS = ("caller", "callee")

rewrite_rule_set = table(
    "rewrite_rule_set",
    pk(),
    ref("reseller_id", "reseller", on_delete="CASCADE", index=False),
    text("name", 32),
    text("description", 255, null=True),
    *stamps(),
    sa.UniqueConstraint("reseller_id", "name"),
)

# Patterns are kept with their variables as `${name}` and `@{name}`.
rewrite_rule = table(
    "rewrite_rule",
    pk(),
    ref("set_id", "rewrite_rule_set", on_delete="CASCADE"),
    *choice("direction", DIRECTIONS, default="in"),
    *choice("field", FIELDS, default="caller"),
    integer("priority", default=50),
    text("match_pattern", 128, default=""),
    text("replace_pattern", 255),
    text("description", 127, default=""),
    flag("enabled", True),
    *stamps(),
)

peer_group = table(
    "peer_group",
    pk(),
    text("name", 127),
    integer("priority", default=1),
    text("description", 255, null=True),
    ref("contract_id", "contract", null=True, on_delete="SET NULL"),
    *stamps(),
    sa.UniqueConstraint("name"),
)

# `transport` 1 UDP, 2 TCP, 3 TLS; `weight` 1-127 is the share inside a group.
peer_host = table(
    "peer_host",
    pk(),
    ref("group_id", "peer_group", on_delete="CASCADE", index=False),
    text("name", 64),
    text("ip", 64),
    text("host", 64, null=True),
    integer("port", default=5060),
    integer("transport", default=1),
    integer("weight", default=1),
    text("via_route", 255, null=True),
    flag("via_lb"),
    flag("enabled", True),
    *stamps(),
    sa.CheckConstraint("transport IN (1, 2, 3)", name="transport"),
    sa.UniqueConstraint("group_id", "name"),
    sa.Index(None, "ip"),
)

peer_rule = table(
    "peer_rule",
    pk(),
    ref("group_id", "peer_group", on_delete="CASCADE"),
    text("callee_prefix", 64, default=""),
    text("callee_pattern", 64, default=""),
    text("caller_pattern", 64, null=True),
    text("description", 255, default=""),
    flag("enabled", True),
    *stamps(),
)

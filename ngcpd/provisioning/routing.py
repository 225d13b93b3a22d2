"""Rewrite rules, trusted sources and peerings (data model 4, 8, 10)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import check, numbers
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.errors import ProvisioningError, unique
from ngcpd.provisioning.tenancy import store_defaults
from ngcpd.store import changes
from ngcpd.store.db import insert, now
from ngcpd.store.tables.identity import TRUSTED_PROTOCOLS, trusted_source
from ngcpd.store.tables.preferences import preference_value
from ngcpd.store.tables.routing import DIRECTIONS, FIELDS, peer_group, peer_host, peer_rule, rewrite_rule, rewrite_rule_set
from ngcpd.store.tables.tenancy import contract, product, reseller

TRANSPORTS = {"udp": 1, "tcp": 2, "tls": 3}


def create_rewrite_rule_set(conn: sa.Connection, env: Env, *, name: str, description: str | None = None, reseller_id: int = 1) -> int:
    """An empty rule set; its name is unique within the reseller. Its id."""
    name = check.needed("name", name, 32)
    if conn.scalar(sa.select(reseller.c.id).where(reseller.c.id == reseller_id, reseller.c.status != "terminated")) is None:
        raise ProvisioningError("reseller_id", "there is no such reseller", "unknown")
    where = (rewrite_rule_set.c.reseller_id == reseller_id, rewrite_rule_set.c.name == name)
    if conn.scalar(sa.select(rewrite_rule_set.c.id).where(*where)) is not None:
        raise ProvisioningError("name", "there is a rule set of that name", "duplicate")
    described = check.text("description", description, 255, required=False)
    with unique("name", "there is a rule set of that name"):
        set_id = insert(conn, rewrite_rule_set, reseller_id=reseller_id, name=name, description=described, **_stamp(conn))
    changes.note(conn, "rewrite", set_id)
    return set_id


def create_rewrite_rule(
    conn: sa.Connection,
    env: Env,
    *,
    set_id: int,
    direction: str,
    field: str,
    match_pattern: str,
    replace_pattern: str,
    description: str = "",
    priority: int = 50,
    enabled: bool = True,
) -> int:
    """One rule of a set. Its id."""
    _exists(conn, rewrite_rule_set, set_id, "set_id", "rule set")
    match = check.rewrite_match("match_pattern", match_pattern)
    values = {
        "set_id": set_id,
        "direction": check.one_of("direction", direction, DIRECTIONS),
        "field": check.one_of("field", field, FIELDS),
        "priority": check.whole("priority", priority, 0, 2**31 - 1),
        "match_pattern": match,
        "replace_pattern": check.rewrite_replace("replace_pattern", replace_pattern, match),
        "description": check.text("description", description, 127, required=False) or "",
        "enabled": bool(enabled),
    }
    rule_id = insert(conn, rewrite_rule, **values, **_stamp(conn))
    changes.note(conn, "rewrite", set_id)
    return rule_id


def delete_rewrite_rule_set(conn: sa.Connection, env: Env, *, set_id: int) -> None:
    """Remove a rule set, its rules, and the preference wherever it names this set."""
    _exists(conn, rewrite_rule_set, set_id, "set_id", "rule set")
    value = preference_value.c
    users = (value.attribute == "rewrite_rule_set", value.value == str(set_id))
    owners = conn.execute(sa.select(value.level, value.owner_id).where(*users)).all()
    conn.execute(sa.delete(preference_value).where(*users))
    conn.execute(sa.delete(rewrite_rule_set).where(rewrite_rule_set.c.id == set_id))
    changes.note_all(conn, [("rewrite", set_id), *((f"preference:{level}", owner) for level, owner in owners)])


def create_trusted_source(
    conn: sa.Connection, env: Env, *, subscriber_id: int, src_ip: str, protocol: str = "ANY", from_pattern: str | None = None
) -> int:
    """An address whose requests are taken as this subscriber's without digest (call processing 2.5). Its id."""
    numbers.living(conn, subscriber_id)
    values = {
        "subscriber_id": subscriber_id,
        "src_ip": check.address("src_ip", src_ip),
        "protocol": check.one_of("protocol", protocol.upper(), TRUSTED_PROTOCOLS),
        "from_pattern": check.pattern("from_pattern", from_pattern, 64),
    }
    source_id = insert(conn, trusted_source, **values, **_stamp(conn))
    changes.note(conn, "trusted_source", source_id)
    return source_id


def create_peer_group(
    conn: sa.Connection, env: Env, *, name: str, priority: int = 1, description: str | None = None, contract_id: int | None = None
) -> int:
    """A group of peers; `contract_id`: a peering contract, for the carrier's cost. Its id."""
    name = check.needed("name", name, 127)
    if contract_id is not None:
        kind = conn.scalar(sa.select(product.c["class"]).join(contract, contract.c.product_id == product.c.id).where(contract.c.id == contract_id))
        if kind not in ("pstnpeering", "sippeering"):
            raise ProvisioningError("contract_id", "must be a peering contract", "unknown")
    if conn.scalar(sa.select(peer_group.c.id).where(peer_group.c.name == name)) is not None:
        raise ProvisioningError("name", "there is a peer group of that name", "duplicate")
    values = {
        "priority": check.whole("priority", priority, 1, 9),
        "description": check.text("description", description, 255, required=False),
        "contract_id": contract_id,
    }
    with unique("name", "there is a peer group of that name"):
        group_id = insert(conn, peer_group, name=name, **values, **_stamp(conn))
    changes.note(conn, "peer", group_id)
    return group_id


def create_peer_host(
    conn: sa.Connection,
    env: Env,
    *,
    group_id: int,
    name: str,
    ip: str,
    host: str | None = None,
    port: int = 5060,
    transport: str = "udp",
    weight: int = 1,
    via_route: str | None = None,
    via_lb: bool = False,
    enabled: bool = True,
) -> int:
    """One peer; an enabled one gets the default preferences of its level (data model 15.4). Its id."""
    _exists(conn, peer_group, group_id, "group_id", "peer group")
    name = check.needed("name", name, 64)
    if conn.scalar(sa.select(peer_host.c.id).where(peer_host.c.group_id == group_id, peer_host.c.name == name)) is not None:
        raise ProvisioningError("name", "the group has a peer of that name", "duplicate")
    values = {
        "ip": check.address("ip", ip),
        "host": None if not host else check.needed("host", check.domain("host", host), 64),
        "port": check.whole("port", port, 1, 65535),
        "transport": TRANSPORTS[check.one_of("transport", transport.lower(), TRANSPORTS)],
        "weight": check.whole("weight", weight, 1, 127),
        "via_route": check.text("via_route", via_route, 255, required=False),
        "via_lb": bool(via_lb),
        "enabled": bool(enabled),
    }
    with unique("name", "the group has a peer of that name"):
        host_id = insert(conn, peer_host, group_id=group_id, name=name, **values, **_stamp(conn))
    if enabled:
        store_defaults(conn, env, "peer", [host_id])
    changes.note_all(conn, [("peer", group_id), ("preference:peer", host_id)])
    return host_id


def create_peer_rule(
    conn: sa.Connection,
    env: Env,
    *,
    group_id: int,
    callee_prefix: str = "",
    callee_pattern: str = "",
    caller_pattern: str | None = None,
    description: str = "",
    enabled: bool = True,
) -> int:
    """An outbound rule: longest `callee_prefix` of the number without `+`, then the patterns on the whole URIs. Its id."""
    _exists(conn, peer_group, group_id, "group_id", "peer group")
    values = {
        "callee_prefix": check.text("callee_prefix", callee_prefix, 16, required=False) or "",
        "callee_pattern": check.pattern("callee_pattern", callee_pattern, 64) or "",
        "caller_pattern": check.pattern("caller_pattern", caller_pattern, 64),
        "description": check.text("description", description, 255, required=False) or "",
        "enabled": bool(enabled),
    }
    rule_id = insert(conn, peer_rule, group_id=group_id, **values, **_stamp(conn))
    changes.note(conn, "peer", group_id)
    return rule_id


def _exists(conn: sa.Connection, table: sa.Table, key: int, field: str, what: str) -> None:
    if conn.scalar(sa.select(table.c.id).where(table.c.id == key)) is None:
        raise ProvisioningError(field, f"there is no such {what}", "unknown")


def _stamp(conn: sa.Connection) -> dict[str, Any]:
    at = now(conn)
    return {"created_at": at, "modified_at": at}

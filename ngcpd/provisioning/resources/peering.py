"""Peering groups, servers, rules (data model 10)."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.provisioning import check, units
from ngcpd.provisioning.errors import Invalid
from ngcpd.provisioning.fields import Address, Bool, Choice, Field, Int, Ref, Regex, Text
from ngcpd.provisioning.resource import ID, Filter, Link, Resource, Row, Values, Work
from ngcpd.provisioning.resources.contracts import JOINED, KIND
from ngcpd.provisioning.tenancy import store_defaults
from ngcpd.store import changes
from ngcpd.store.tables.preferences import preference_value
from ngcpd.store.tables.routing import peer_group, peer_host, peer_rule
from ngcpd.store.tables.tenancy import contract


def check_group(work: Work, values: Values, row: Row | None) -> None:
    kind = work.conn.scalar(sa.select(KIND).select_from(JOINED).where(contract.c.id == values["contract_id"]))
    if kind not in ("sippeering", "pstnpeering"):
        raise Invalid([("contract_id", values["contract_id"], "Invalid 'contract_id': the contract is not one of a peering")])


def _drop_preferences(work: Work, hosts: list[int]) -> None:
    value = preference_value.c
    work.conn.execute(sa.delete(preference_value).where(value.level == "peer", value.owner_id.in_(hosts)))
    changes.note_all(work.conn, (("preference:peer", key) for key in hosts))


def delete_group(work: Work, row: Row) -> None:
    """With rules, servers and their preferences."""
    _drop_preferences(work, list(work.conn.scalars(sa.select(peer_host.c.id).where(peer_host.c.group_id == row["id"]))))
    work.conn.execute(sa.delete(peer_group).where(peer_group.c.id == row["id"]))


def create_server(work: Work, values: Values) -> int:
    """One that is enabled gets the default preferences of its level."""
    key = units._insert(work, SERVERS, values)
    if values["enabled"]:
        store_defaults(work.conn, work.env, "peer", [key])
    changes.note(work.conn, "preference:peer", key)
    return key


def update_server(work: Work, row: Row, values: Values) -> None:
    """Enabled for the first time, it gets the default preferences."""
    units._update(work, SERVERS, row, values)
    value = preference_value.c
    if values["enabled"] and not row["enabled"]:
        have = work.conn.scalar(sa.select(value.id).where(value.level == "peer", value.owner_id == row["id"]).limit(1))
        if have is None:
            store_defaults(work.conn, work.env, "peer", [row["id"]])
        changes.note(work.conn, "preference:peer", row["id"])


def delete_server(work: Work, row: Row) -> None:
    _drop_preferences(work, [row["id"]])
    work.conn.execute(sa.delete(peer_host).where(peer_host.c.id == row["id"]))


def check_rule(work: Work, values: Values, row: Row | None) -> None:
    """One rule of a kind per group; absent patterns count like any other."""
    values["callee_pattern"] = values.get("callee_pattern") or ""
    where = [peer_rule.c[name] == values[name] for name in ("group_id", "callee_prefix", "callee_pattern")]
    caller = values.get("caller_pattern")
    where.append(sa.func.coalesce(peer_rule.c.caller_pattern, "") == (caller or ""))
    if row is not None:
        where.append(peer_rule.c.id != row["id"])
    if work.conn.scalar(sa.select(peer_rule.c.id).where(*where).limit(1)) is not None:
        raise Invalid([("callee_prefix", values["callee_prefix"], "A peeringrule with this prefix and these patterns already exists")])


NOTICES = (("peer", "group_id"),)

GROUPS = Resource(
    name="peeringgroups",
    entity="peeringgroup",
    help="A group of peering servers.",
    table=peer_group,
    roles=("admin",),
    fields=(
        ID,
        Field("contract_id", Ref("contracts"), required=True, help="Contract of the peering, for its cost"),
        Field("name", Text(127), required=True, help="Name, unique"),
        Field("priority", Int(1, 9), required=True, help="1 is tried first"),
        Field("description", Text(255), nullable=True, help="Description"),
    ),
    filters=(Filter("name", "like"), Filter("description", "like")),
    links=(Link("contracts", field="contract_id"), Link("peeringservers", filter="group_id"), Link("peeringrules", filter="group_id")),
    unique=(("name",),),
    notices=(("peer", "id"),),
    check=check_group,
    delete=delete_group,
    example={"contract_id": 2, "name": "alps-carrier", "priority": 1, "description": "default exit"},
)

SERVERS = Resource(
    name="peeringservers",
    entity="peeringserver",
    help="A server of a peering group.",
    table=peer_host,
    roles=("admin",),
    fields=(
        ID,
        Field("group_id", Ref("peeringgroups"), required=True, help="Peering group"),
        Field("name", Text(64), required=True, help="Name, unique in its group"),
        Field("ip", Address(), required=True, help="Address"),
        Field("host", Text(64, check=check.domain), nullable=True, help="Host name in the Request-URI"),
        Field("port", Int(1, 65535), default=5060, help="Port"),
        Field("transport", Choice((1, 2, 3)), default=1, help="1 UDP, 2 TCP, 3 TLS"),
        Field("weight", Int(1, 127), default=1, help="Share among the servers of the group"),
        Field("via_route", Text(255), nullable=True, help="Route set towards it"),
        Field("enabled", Bool(), default=True, help="Takes part in routing"),
    ),
    filters=(Filter("group_id"), Filter("name", "like"), Filter("host", "like"), Filter("ip", "like"), Filter("enabled", "bool")),
    links=(Link("peeringgroups", field="group_id"), Link("peeringserverpreferences", field="id")),
    unique=(("group_id", "name"),),
    notices=NOTICES,
    create=create_server,
    update=update_server,
    delete=delete_server,
    example={"group_id": 1, "name": "alps-sbc1", "ip": "192.0.2.80", "port": 5060, "transport": 1, "weight": 10},
)

RULES = Resource(
    name="peeringrules",
    entity="peeringrule",
    help="Which calls a peering group may take.",
    table=peer_rule,
    roles=("admin",),
    fields=(
        ID,
        Field("group_id", Ref("peeringgroups"), required=True, help="Peering group"),
        Field("callee_prefix", Text(16), default="", help="First digits of the callee, without +"),
        Field("callee_pattern", Regex(64), default="", help="Regular expression on the callee's URI"),
        Field("caller_pattern", Regex(64), nullable=True, help="Regular expression on the caller's URI"),
        Field("description", Text(255), default="", help="Description"),
        Field("enabled", Bool(), default=True, help="Is in force"),
    ),
    filters=(Filter("group_id"), Filter("description", "like"), Filter("enabled", "bool")),
    links=(Link("peeringgroups", field="group_id"),),
    notices=NOTICES,
    check=check_rule,
    example={"group_id": 1, "callee_prefix": "43", "description": "Austria"},
)

RESOURCES = [GROUPS, SERVERS, RULES]

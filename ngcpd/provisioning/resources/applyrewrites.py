"""What the rewrite rules of a subscriber make of a number (data model 8), by the rules of call routing themselves."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.directory import loader
from ngcpd.directory.model import SUBSCRIBER_FALLBACK, Prefs
from ngcpd.directory.rewrite import Lookup
from ngcpd.provisioning.errors import Absent
from ngcpd.provisioning.fields import Enum, Field, Int, Text
from ngcpd.provisioning.query import visible
from ngcpd.provisioning.resource import Doc, Resource, Values, Work
from ngcpd.provisioning.resources.rewrite import DPIDS
from ngcpd.store.tables.identity import subscriber


def apply(work: Work, values: Values) -> Doc:
    """The number as a call of the subscriber would have it. Absent for a subscriber that is not there."""
    key = values["subscriber_id"]
    if not visible(work, "subscribers", [key]):
        raise Absent("subscriber")
    prefs, customer = _preferences(work.conn, key)
    set_id = prefs.number("rewrite_rule_set")
    rules = loader.read_rule_sets(work.conn, [set_id]).get(set_id)
    if rules is None:
        return {"result": values["number"]}
    field, _, direction = values["direction"].partition("_")
    return {"result": rules.rewrite(direction, field, values["number"], _lookup(prefs, customer))}


def _lookup(prefs: Prefs, customer: Prefs) -> Lookup:
    """`caller_NAME` and `callee_NAME`: the subscriber stands for whichever party a rule asks for."""

    def found(name: str) -> tuple[str, ...]:
        side, _, attribute = name.partition("_")
        return (prefs.all(attribute) or customer.all(attribute)) if side in ("caller", "callee") else ()

    return found


def _preferences(conn: sa.Connection, key: int) -> tuple[Prefs, Prefs]:
    """Those of a subscriber as the directory resolves them, and those of its customer."""
    rows, contracts = loader.read_subscribers(conn, [key])
    row = rows[0]
    layers = [row.rows]
    if row.profile_id:
        layers.append(loader.read_profile_rows(conn, [row.profile_id]).get(row.profile_id, {}))
    layers.append(loader.read_domains(conn, [row.domain_id])[1].get(row.domain_id, {}))
    return Prefs(*layers, SUBSCRIBER_FALLBACK), Prefs(contracts[row.contract_id].rows)


APPLY = Resource(
    name="applyrewrites",
    entity="applyrewrite",
    help="Answers what the rewrite rules of a subscriber make of a number.",
    table=subscriber,
    unscoped=True,
    fields=(
        Field("subscriber_id", Int(1), required=True, help="Subscriber"),
        Field("number", Text(255), required=True, help="Number or user part"),
        Field("direction", Enum(DPIDS), required=True, help="Party, and whether the call comes in, goes out, or is looked up for portability"),
    ),
    collection=("OPTIONS", "POST"),
    item=(),
    patch=(),
    priority="P2",
    act=apply,
    harmless=True,
    example={"subscriber_id": 1, "number": "0043123", "direction": "callee_in"},
)

RESOURCES = [APPLY]

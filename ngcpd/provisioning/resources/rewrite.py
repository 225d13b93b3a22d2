"""Rewrite rule sets and rules (data model 8)."""

from __future__ import annotations

import re

import sqlalchemy as sa

from ngcpd.provisioning import check, routing, units
from ngcpd.provisioning.errors import Invalid, ProvisioningError
from ngcpd.provisioning.fields import Array, Bool, Enum, Field, Int, Object, Ref, Text
from ngcpd.provisioning.resource import FULL_PATCH, ID, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.store.db import insert, now
from ngcpd.store.tables.routing import DIRECTIONS, FIELDS, rewrite_rule, rewrite_rule_set

DPIDS = ("caller_in", "callee_in", "caller_out", "callee_out", "caller_lnp", "callee_lnp")
PER_SET = 6
PRIORITY = 50


def check_patterns(values: Values, prefix: str = "") -> None:
    """Match and replacement, in the form in which they are kept."""
    replacement = check.rewrite_text(values["replace_pattern"])
    name = f"{prefix}replace_pattern"
    if re.search(r"\s", replacement) or replacement.startswith("?") or replacement.endswith("$"):
        raise Invalid([(name, values["replace_pattern"], "must not hold blanks, start with ? or end with $")])
    if check.rewrite_text(values["match_pattern"]).count("@{") > 1 or replacement.count("@{") > 1:
        raise Invalid([(f"{prefix}match_pattern", values["match_pattern"], "may hold only one array variable")])
    try:
        match = check.rewrite_match("match_pattern", values["match_pattern"])
        values["match_pattern"], values["replace_pattern"] = match, check.rewrite_replace("replace_pattern", replacement, match)
    except ProvisioningError as error:
        raise Invalid([(f"{prefix}{error.field}", values.get(error.field), error.message)]) from None


def check_rule(work: Work, values: Values, row: Row | None) -> None:
    check_patterns(values)
    if values.get("priority") is None:
        values["priority"] = row["priority"] if row is not None else PRIORITY


def check_set(work: Work, values: Values, row: Row | None) -> None:
    for rule in values.get("rewriterules") or ():
        check_patterns(rule, "rewriterules_")
        rule["priority"] = PRIORITY if rule.get("priority") is None else rule["priority"]


def create_set(work: Work, values: Values) -> int:
    key = units._insert(work, SETS, values)
    _write_rules(work, key, values.get("rewriterules") or [])
    return key


def update_set(work: Work, row: Row, values: Values) -> None:
    """The rules are replaced as a whole; equal ones stay untouched."""
    units._update(work, SETS, row, values)
    if values.get("rewriterules") is None:
        return
    stored = _rules(work, [row["id"]])[row["id"]]
    if [_bare(r) for r in stored] != [_bare(r) for r in values["rewriterules"]]:
        work.conn.execute(sa.delete(rewrite_rule).where(rewrite_rule.c.set_id == row["id"]))
        _write_rules(work, row["id"], values["rewriterules"])


def _bare(rule: Doc) -> Doc:
    return {f.name: rule.get(f.name) for f in RULE_FIELDS}


def _write_rules(work: Work, key: int, rules: list[Doc]) -> None:
    at = now(work.conn)
    for rule in rules:
        insert(work.conn, rewrite_rule, set_id=key, **_bare(rule), created_at=at, modified_at=at)


def _rules(work: Work, keys: list[int]) -> dict[int, list[Doc]]:
    found: dict[int, list[Doc]] = {key: [] for key in keys}
    order = (rewrite_rule.c.priority, rewrite_rule.c.id)
    for row in work.conn.execute(sa.select(rewrite_rule).where(rewrite_rule.c.set_id.in_(keys)).order_by(*order)).mappings():
        found[row["set_id"]].append(dict(row))
    return found


def show_set(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    """Rules, and the numbers of the six lists, which are made of the set's id."""
    stored = _rules(work, [row["id"] for row in rows])
    kind = Object(RULE_FIELDS)
    for doc, row in zip(docs, rows, strict=True):
        doc["rewriterules"] = [kind.show(rule, work.env.zone) for rule in stored[row["id"]]]
        doc |= {f"{name}_dpid": row["id"] * PER_SET - PER_SET + n for n, name in enumerate(DPIDS, 1)}


def delete_set(work: Work, row: Row) -> None:
    routing.delete_rewrite_rule_set(work.conn, work.env, set_id=row["id"])


RULE_FIELDS = (
    Field("match_pattern", Text(128), required=True, help="Regular expression on the number; ${name} and @{name} are variables"),
    Field("replace_pattern", Text(255), required=True, help="What it becomes; \\1 to \\9 are groups"),
    Field("description", Text(127), required=True, help="Description"),
    Field("direction", Enum(DIRECTIONS), default="in", help="in, out or lnp"),
    Field("field", Enum(FIELDS), default="caller", help="Whose number"),
    Field("priority", Int(0), nullable=True, help="The lowest comes first, the first that matches is applied"),
    Field("enabled", Bool(), default=True, help="Is in force"),
)

SETS = Resource(
    name="rewriterulesets",
    entity="rewriteruleset",
    help="A set of rewrite rules for numbers.",
    table=rewrite_rule_set,
    scope=rewrite_rule_set.c.reseller_id,
    fields=(
        ID,
        Field("reseller_id", Ref("resellers"), required=True, own=True, help="Reseller it belongs to"),
        Field("name", Text(32), required=True, help="Name, unique per reseller"),
        Field("description", Text(255), nullable=True, help="Description"),
        Field("rewriterules", Array(Object(RULE_FIELDS), 10_000), keep=True, column=None, help="Its rules; replaced as a whole"),
        *(Field(f"{name}_dpid", Int(), read_only=True, column=None, help="Number of one of the six lists of rules") for name in DPIDS),
    ),
    filters=(Filter("reseller_id"), Filter("description", "like"), Filter("name", "like")),
    links=(Link("rewriterules", filter="set_id"), Link("resellers", field="reseller_id")),
    patch=FULL_PATCH,
    unique=(("reseller_id", "name"),),
    notices=(("rewrite", "id"),),
    check=check_set,
    create=create_set,
    update=update_set,
    delete=delete_set,
    show=show_set,
    example={"reseller_id": 1, "name": "austria", "description": "numbers of Austria"},
)

RULES = Resource(
    name="rewriterules",
    entity="rewriterule",
    help="A rewrite rule of a set.",
    table=rewrite_rule,
    source=rewrite_rule.join(rewrite_rule_set, rewrite_rule_set.c.id == rewrite_rule.c.set_id),
    scope=rewrite_rule_set.c.reseller_id,
    fields=(ID, Field("set_id", Ref("rewriterulesets"), required=True, help="Set"), *RULE_FIELDS),
    filters=(Filter("description", "like"), Filter("set_id"), Filter("reseller_id", "int", rewrite_rule_set.c.reseller_id)),
    links=(Link("rewriterulesets", field="set_id"),),
    patch=FULL_PATCH,
    notices=(("rewrite", "set_id"),),
    check=check_rule,
    example={"set_id": 1, "match_pattern": "^00([1-9][0-9]+)$", "replace_pattern": "\\1", "description": "international"},
)

RESOURCES = [SETS, RULES]

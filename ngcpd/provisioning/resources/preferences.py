"""Preference documents of every level and their definitions (REST API 2.3, data model 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import preferences, profiles
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.errors import Invalid, ProvisioningError
from ngcpd.provisioning.fields import Field, Int
from ngcpd.provisioning.resource import CHANGE, FULL_PATCH, ID, READ_ONLY, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.provisioning.resources.contracts import CUSTOMERS
from ngcpd.provisioning.resources.domains import DOMAINS
from ngcpd.provisioning.resources.subscribers import SUBSCRIBERS, of_customers
from ngcpd.store.catalogue import ADDRESS_LISTS, COMPUTED, REFERENCES, SECRETS, Attribute, Catalogue
from ngcpd.store.tables.identity import customer_location, subscriber_profile, subscriber_profile_set
from ngcpd.store.tables.preferences import preference_value
from ngcpd.store.tables.routing import peer_host
from ngcpd.store.tables.tenancy import contact, contract

KEPT = ("lock", "cfu", "cfb", "cfna", "cft")
"""Read-only attributes: said so, dropped silently when written, never cleared."""
TYPES: dict[str, Doc] = {
    "boolean": {"type": "boolean"},
    "int": {"type": "integer"},
    "string": {"type": "string", "maxLength": preferences.LONGEST},
    "enum": {"type": "string"},
}


def levels(level: str) -> frozenset[str]:
    """A customer may hold what its locations may hold, too."""
    return frozenset((level, "contract_location")) if level == "contract" else frozenset((level,))


def exposed(catalogue: Catalogue, level: str) -> list[Attribute]:
    """What a document of a level may hold: everything that is not internal."""
    return [a for a in catalogue.values() if a.levels & levels(level) and a.internal != 1 and a.name not in COMPUTED]


def definitions(level: str) -> Callable[[Work], Doc]:
    """The document of a `*preferencedefs` resource."""

    def make(work: Work) -> Doc:
        return {a.name: _definition(a, level) for a in exposed(work.env.catalogue, level)}

    return make


def _definition(a: Attribute, level: str) -> Doc:
    found: Doc = {
        "label": a.label,
        "description": a.meaning,
        "data_type": "string" if a.name in REFERENCES or a.name in ADDRESS_LISTS else a.type,
        "max_occur": a.max_occur,
        "read_only": a.read_only,
    }
    if a.type == "enum":
        found["enum_values"] = [
            {"label": c.label, "value": c.value, "default_val": bool(c.defaults & levels(level))} for c in a.choices if c.levels & levels(level)
        ]
    return found


# ---------------------------------------------------------------------------------------------------------------------- documents
def show(level: str, owner: str) -> Callable[[Work, list[Doc], list[Row]], None]:
    """Fills documents: all stored values that are not internal; those the system writes (`cli`, `cc` ...) too."""

    def fill(work: Work, docs: list[Doc], rows: list[Row]) -> None:
        keys = [row["id"] for row in rows]
        if work.location_id:
            _check_location(work, keys)
        found = preferences.list_many(work.conn, work.env, level=level, owners=keys, location_id=work.location_id)
        for doc, row in zip(docs, rows, strict=True):
            doc[owner] = row["id"]
            doc |= {name: value for name, value in found[row["id"]].items() if _shown(work.env.catalogue[name], work)}

    return fill


def _shown(a: Attribute, work: Work) -> bool:
    return (a.internal != 1 or a.name == "account_id") and (a.name not in SECRETS or work.caller.show_passwords)


def _check_location(work: Work, customers: list[int]) -> None:
    owner = work.conn.scalar(sa.select(customer_location.c.contract_id).where(customer_location.c.id == work.location_id))
    if any(key != owner for key in customers):
        raise Invalid([("location_id", work.location_id, "Invalid 'location_id'")])


def parse(level: str, owner: str) -> Callable[[Work, Doc, Row | None], Values]:
    """The values of a document. Names that do not exist or not at this level are dropped, and what only the system writes."""

    def read(work: Work, given: Doc, row: Row | None) -> Values:
        found: Values = {}
        for a in exposed(work.env.catalogue, level):
            if a.read_only or a.name in KEPT or a.name not in given:
                continue
            _kind(a, given[a.name])
            found[a.name] = given[a.name]
        return found

    return read


def _kind(a: Attribute, value: Any) -> None:
    """The JSON type. Texts of numbers and booleans are taken (REST API 1.11)."""
    if value is None:
        return
    if a.is_list != isinstance(value, list):
        raise Invalid([(a.name, value, "Value must be an array" if a.is_list else "Value must be a single value, not an array")])
    for entry in value if a.is_list else [value]:
        if entry is None or isinstance(entry, dict | list | float):
            raise Invalid([(a.name, entry, f"Value must be of type {a.type}")])
        if a.type == "boolean" and not isinstance(entry, bool) and str(entry).lower() not in ("0", "1", "true", "false", ""):
            raise Invalid([(a.name, entry, "Value must be true or false")])


def store(level: str) -> Callable[[Work, Row, Values], None]:
    """Replace all values that are not internal by those given."""

    def write(work: Work, row: Row, values: Values) -> None:
        location = work.location_id
        # Who cannot see a password is not expected to send it back.
        blind = frozenset() if work.caller.show_passwords else SECRETS - values.keys()
        writable = [a.name for a in exposed(work.env.catalogue, level) if not a.read_only and a.name not in KEPT and a.name not in blind]
        if location:
            writable = [n for n in writable if "contract_location" in work.env.catalogue[n].levels]
        current = preferences.list_preferences(work.conn, work.env, level=level, owner_id=row["id"], location_id=location)
        wanted = {name: values.get(name) for name in writable}
        changed = {n: v for n, v in wanted.items() if _normal(v) != _normal(current.get(n))}
        if not changed:
            return
        try:
            preferences.set_preferences(work.conn, work.env, level=level, owner_id=row["id"], values=changed, location_id=location)
        except ProvisioningError as error:
            raise Invalid([(error.field, changed.get(error.field), error.message)]) from None

    return write


def _normal(value: Any) -> Any:
    """Two values that are stored alike compare equal; others may not."""
    if value is None or value is False or value == "" or value == []:
        return None
    return [str(v) for v in value] if isinstance(value, list) else str(value)


def schema(level: str, owner: str) -> Callable[[Env], Doc]:
    """JSON Schema of a document."""

    def make(env: Env) -> Doc:
        properties: Doc = {"id": {"type": "integer"}, owner: {"type": "integer"}, "_links": {"type": "object"}}
        for a in exposed(env.catalogue, level):
            one = dict(TYPES[a.type])
            if a.name in REFERENCES:
                one = dict(TYPES["string"])
            properties[a.name] = {"type": ["array", "null"], "items": one} if a.is_list else {**one, "type": [one["type"], "null"]}
            properties[a.name]["description"] = a.label
        return {"type": "object", "properties": properties}

    return make


# ---------------------------------------------------------------------------------------------------------------------- profiles
PROFILE_SOURCE = subscriber_profile.join(subscriber_profile_set, subscriber_profile_set.c.id == subscriber_profile.c.set_id)


def parse_profile(work: Work, given: Doc, row: Row | None) -> Values:
    """Only what the profile holds."""
    values = parse("prof", "profile_id")(work, given, row)
    held = profiles.attributes(work.conn, row["id"]) if row is not None else set()
    return {name: value for name, value in values.items() if name in held}


def _customer_location(work: Work, text: str) -> sa.ColumnElement[bool]:
    """Not a filter of customers: it selects which values are shown. A location that is none of the caller's is refused."""
    key = Int(1).parse(text, work.env.zone)
    return contract.c.id.in_(sa.select(customer_location.c.contract_id).where(customer_location.c.id == key))


def _pair(
    name: str,
    entity: str,
    owner: str,
    level: str,
    base: Resource | None,
    links: Sequence[Link],
    *,
    help: str,
    journal: bool,
    table: sa.Table,
    source: sa.FromClause | None = None,
    where: tuple[sa.ColumnElement[bool], ...] = (),
    scope: Any = None,
    filters: tuple[Filter, ...] = (),
    roles: tuple[str, ...] = ("admin", "reseller"),
    defs_roles: tuple[str, ...] = ("admin", "reseller"),
    priority: str = "P1",
    parser: Any = None,
) -> list[Resource]:
    """The two resources of a level: documents and definitions."""
    documents = Resource(
        name=f"{name}preferences",
        entity=f"{entity}preferences",
        help=help,
        table=table,
        source=source,
        where=where,
        scope=scope,
        extra={} if base is None else base.extra,
        roles=roles,
        fields=(ID, Field(owner, Int(1), read_only=True, column=None, help=f"The {entity}")),
        filters=filters,
        links=tuple(links),
        collection=READ_ONLY,
        item=CHANGE,
        patch=FULL_PATCH,
        journal=journal,
        priority=priority,
        secrets=SECRETS,
        parse=parser or parse(level, owner),
        show=show(level, owner),
        update=store(level),
        schema=schema(level, owner),
        location=level == "contract",
    )
    defs = Resource(
        name=f"{name}preferencedefs",
        entity=f"{entity}preferencedefs",
        help=f"Which preferences a {entity} may have.",
        table=preference_value,
        fields=(),
        roles=defs_roles,
        collection=READ_ONLY,
        item=(),
        patch=(),
        hidden=True,
        single=definitions(level),
        schema=lambda env: {"type": "object"},
        priority=priority,
    )
    return [documents, defs]


RESOURCES = [
    *_pair(
        "subscriber",
        "subscriber",
        "subscriber_id",
        "usr",
        SUBSCRIBERS,
        [Link("subscribers", field="id")],
        help="The preferences of a subscriber; each name of subscriberpreferencedefs is a property.",
        journal=True,
        table=SUBSCRIBERS.table,
        where=SUBSCRIBERS.where,
        scope=SUBSCRIBERS.scope,
        filters=(
            Filter("reseller_id", "custom", where=of_customers(contact.c.reseller_id)),
            Filter("contact_id", "custom", where=of_customers(contract.c.contact_id)),
        ),
    ),
    *_pair(
        "domain",
        "domain",
        "domain_id",
        "dom",
        None,
        [Link("domains", field="id")],
        help="The preferences of a domain: values for its subscribers that have none of their own.",
        journal=False,
        table=DOMAINS.table,
        where=DOMAINS.where,
        scope=DOMAINS.scope,
    ),
    *_pair(
        "customer",
        "customer",
        "customer_id",
        "contract",
        CUSTOMERS,
        [Link("customers", field="id")],
        help="The preferences of a customer as a whole; with location_id those of one of its locations.",
        journal=True,
        table=CUSTOMERS.table,
        source=CUSTOMERS.source,
        where=(*CUSTOMERS.where, contract.c.status != "terminated"),
        scope=CUSTOMERS.scope,
        filters=(Filter("location_id", "custom", where=_customer_location, help="Shows and writes the values of this location"),),
    ),
    *_pair(
        "profile",
        "subscriberprofile",
        "profile_id",
        "prof",
        None,
        [Link("subscriberprofiles", field="id")],
        help="The preferences of a subscriber profile: values between those of the subscriber and those of the domain.",
        journal=True,
        table=subscriber_profile,
        source=PROFILE_SOURCE,
        scope=subscriber_profile_set.c.reseller_id,
        priority="P2",
        parser=parse_profile,
    ),
    *_pair(
        "peeringserver",
        "peeringserver",
        "peering_id",
        "peer",
        None,
        [Link("peeringservers", field="id")],
        help="The preferences of a peering server.",
        journal=False,
        table=peer_host,
        roles=("admin",),
    ),
]

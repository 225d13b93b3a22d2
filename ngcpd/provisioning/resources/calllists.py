"""The calls of a subscriber or a customer as it sees them: call records turned to its side (REST resource calllists)."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from ngcpd.directory.rewrite import CALLER, IN, OUT
from ngcpd.provisioning.caller import ADMIN, PEOPLE, RESELLER, SUBSCRIBER, Caller
from ngcpd.provisioning.errors import Absent, Invalid
from ngcpd.provisioning.fields import Bad, Bool, Enum, Int, Moment, Number, Text, shown
from ngcpd.provisioning.query import CHUNK, conditions, visible
from ngcpd.provisioning.resource import ID, READ_ONLY, Doc, Filter, Link, Resource, Row, Work
from ngcpd.provisioning.resources.calls import Epoch, of_provider
from ngcpd.provisioning.rewriting import OwnRules
from ngcpd.provisioning.scope import of_person
from ngcpd.store.tables.accounting import CALL_STATES, CALL_TYPES, cdr
from ngcpd.store.tables.identity import subscriber
from ngcpd.store.tables.tenancy import contract

DIRECTIONS = ("in", "out")
SIDES = {"out": ("source", "destination"), "in": ("destination", "source")}
"""Own and other side of a call, by its direction."""
ALIASES = tuple(f"gpp{n}" for n in range(10))
FEATURE_CODES = "vsc.local"
SERVICES = {"voicebox.local": "voicemail", "conference.local": "conference"}
ORDERS = {"id": "id", "start_time": "start_time", "duration": "duration", "status": "call_status", "type": "call_type", "call_id": "call_id"}
SUFFIX = re.compile(r"(?:_b2b-1|_pbx-1)+$")


# ----------------------------------------------------------------------------------------------------------------------- choice
class _Whose:
    """The subscriber or customer whose list it is, and what was asked besides. Invalid without one, Absent for one that is not visible."""

    def __init__(self, work: Work, asked: Mapping[str, str]) -> None:
        if work.caller.is_person:
            self.customer, subscriber_id = _person(work, asked)
        else:
            self.customer = _key(work, asked, "customer_id", "customers", "customer")
            subscriber_id = _key(work, asked, "subscriber_id", "subscribers", "subscriber")
        if self.customer is None and subscriber_id is None:
            raise Invalid([("subscriber_id", None, "subscriber_id or customer_id is required")])
        self.uuid = None
        if subscriber_id is not None:
            self.uuid = work.conn.scalar(sa.select(subscriber.c.uuid).where(subscriber.c.id == subscriber_id))
        self.alias = _one_of(work, asked, "alias_field", ALIASES)
        direction = _one_of(work, asked, "direction", DIRECTIONS)
        self.directions = DIRECTIONS if direction is None else (direction,)

    def calls(self, direction: str) -> list[sa.ColumnElement[bool]]:
        own = SIDES[direction][0]
        found: list[sa.ColumnElement[bool]] = [cdr.c.destination_domain_in != FEATURE_CODES]
        if self.uuid is not None:
            found.append(cdr.c[f"{own}_user_id"] == self.uuid)
        if self.customer is not None:
            found.append(cdr.c[f"{own}_account_id"] == self.customer)
        return found


def _key(work: Work, asked: Mapping[str, str], name: str, resource: str, entity: str) -> int | None:
    key = _number(work, asked, name)
    if key is not None and key not in visible(work, resource, [key]):
        raise Absent(entity)
    return key


def _number(work: Work, asked: Mapping[str, str], name: str) -> int | None:
    if name not in asked:
        return None
    try:
        return int(Int(1).parse(asked[name], work.env.zone))
    except Bad as error:
        raise Invalid([(name, asked[name], str(error))]) from None


def _person(work: Work, asked: Mapping[str, str]) -> tuple[int | None, int | None]:
    """Whose list somebody gets who logs in as a subscriber: its own, or as administrator that of the customer or of one of its subscribers."""
    caller = work.caller
    customer, who = (_number(work, asked, name) for name in ("customer_id", "subscriber_id"))
    if customer not in (None, caller.customer_id) or (customer is not None and caller.role == SUBSCRIBER):
        raise Absent("customer")
    if who is not None and work.conn.scalar(sa.select(subscriber.c.id).where(subscriber.c.id == who, of_person(caller, subscriber.c.id))) is None:
        raise Absent("subscriber")
    return (None, caller.subscriber_id) if caller.role == SUBSCRIBER else (caller.customer_id, who)


def of_callers(caller: Caller) -> sa.ColumnElement[bool]:
    """Calls of those whom a subscriber that logs in may see."""
    uuids = sa.select(subscriber.c.uuid).where(of_person(caller, subscriber.c.id))
    return sa.or_(cdr.c.source_user_id.in_(uuids), cdr.c.destination_user_id.in_(uuids))


def _one_of(work: Work, asked: Mapping[str, str], name: str, values: tuple[str, ...]) -> str | None:
    if name not in asked:
        return None
    try:
        return str(Enum(values).parse(asked[name], work.env.zone))
    except Bad as error:
        raise Invalid([(name, asked[name], str(error))]) from None


def list_calls(work: Work, asked: Mapping[str, str], offset: int, count: int) -> tuple[int, list[Row]]:
    """Each direction is a query of its own on its own index; a call between two of the customer's subscribers comes twice."""
    whose, filters = _Whose(work, asked), conditions(work, CALL_LISTS, asked)
    order = ORDERS.get(asked.get("order_by", ""), "id")
    parts = [
        sa.select(cdr.c.id, cdr.c[order].label("sorted"), sa.literal(direction).label("direction")).where(*whose.calls(direction), *filters)
        for direction in whose.directions
    ]
    both = sa.union_all(*parts).subquery("both")
    total = work.conn.scalar(sa.select(sa.func.count()).select_from(both)) or 0
    if offset >= total:
        return total, []
    down = asked.get("order_by_direction", "").lower() == "desc"
    sort = both.c.sorted.desc() if down else both.c.sorted.asc()
    page = sa.select(both.c.id, both.c.direction).order_by(sort, both.c.id, both.c.direction).limit(count).offset(offset)
    keys = [(row.id, row.direction) for row in work.conn.execute(page)]
    found: dict[int, Any] = {}
    for at in range(0, len(keys), CHUNK):
        part = {key for key, _ in keys[at : at + CHUNK]}
        found |= {row["id"]: row for row in work.conn.execute(sa.select(cdr).where(cdr.c.id.in_(part))).mappings()}
    return total, _turned(work, whose, [(found[key], direction) for key, direction in keys])


def find_call(work: Work, key: int) -> Row | None:
    """One call, by the same parameters as the list; outgoing first when it is both."""
    whose = _Whose(work, work.asked)
    for direction in sorted(whose.directions, reverse=True):
        row = work.conn.execute(sa.select(cdr).where(cdr.c.id == key, *whose.calls(direction))).mappings().one_or_none()
        if row is not None:
            found: Row = _turned(work, whose, [(row, direction)])[0]
            return found
    return None


# ----------------------------------------------------------------------------------------------------------------------- turning
def _turned(work: Work, whose: _Whose, calls: list[tuple[Any, str]]) -> list[Any]:
    parties = _parties(work, {row[f"{side}_user_id"] for row, _ in calls for side in ("source", "destination")})
    taxes = _taxes(work, {row[f"{SIDES[direction][0]}_account_id"] for row, direction in calls})
    rules: dict[int, OwnRules] = {}

    def notation(party: Any, number: str, raw: bool) -> str:
        """A number as the subscriber would see it: what is raw goes through its caller-in rules first."""
        if party is None:
            return number
        if party.id not in rules:
            rules[party.id] = OwnRules(work.conn, party.id)
        return rules[party.id].rewrite(OUT, CALLER, rules[party.id].rewrite(IN, CALLER, number) if raw else number)

    return [_turn(row, direction, whose.alias, parties, taxes, notation) for row, direction in calls]


def _turn(row: Any, direction: str, alias: str | None, parties: Mapping[str, Any], taxes: Mapping[int, Decimal], notation: Any) -> Doc:
    own, other = SIDES[direction]
    me = parties.get(row[f"{own}_user_id"])
    intra = bool(row["source_account_id"]) and row["source_account_id"] == row["destination_account_id"]
    peer = parties.get(row[f"{other}_user_id"]) if intra else None

    def number(side: str, party: Any) -> str:
        """Of a party whose own names may be told, its alias or extension; else its number."""
        if party is not None and alias is not None and row[f"{side}_{alias}"]:
            return str(row[f"{side}_{alias}"])
        if party is not None and party.pbx_extension:
            return str(party.pbx_extension)
        if side == "source":
            return str(notation(me, row["source_cli"] or row["source_user"], raw=False))
        service = _service(row)
        return service or str(notation(me, row["destination_user_in"] or row["destination_user_dialed"], raw=not row["destination_user_in"]))

    hidden = direction == "in" and bool(row["source_clir"])
    cost = row[f"{own}_customer_cost"]
    return {
        "id": row["id"],
        "call_id": SUFFIX.sub("", row["call_id"]),
        "direction": direction,
        "own_cli": number(own, me),
        "other_cli": None if hidden else number(other, peer),
        "status": row["call_status"],
        "rating_status": row["rating_status"],
        "type": row["call_type"],
        "start_time": row["start_time"],
        "duration": spoken(row["duration"]),
        "customer_cost": cost,
        "total_customer_cost": None if cost is None else cost * taxes.get(row[f"{own}_account_id"], Decimal(1)),
        "customer_free_time": (row["source_customer_free_time"] or 0) if direction == "out" else 0,
        "intra_customer": intra,
        "_customer_id": row[f"{own}_account_id"] or None,
    }


def spoken(seconds: Decimal) -> str:
    """A duration as h:mm:ss, begun seconds count whole."""
    whole = math.ceil(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _service(row: Any) -> str:
    """What is told of a call to one of our own services instead of a number."""
    for name in ("destination_domain_in", "destination_domain"):
        found = SERVICES.get(row[name])
        if found:
            return found
    return "auto-attendant" if row["destination_domain_in"] == "app.local" and row["destination_user_in"] == "auto-attendant" else ""


def _parties(work: Work, uuids: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    listed = sorted(uuids)
    for at in range(0, len(listed), CHUNK):
        query = sa.select(subscriber.c.id, subscriber.c.uuid, subscriber.c.pbx_extension).where(subscriber.c.uuid.in_(listed[at : at + CHUNK]))
        found |= {row.uuid: row for row in work.conn.execute(query)}
    return found


def _taxes(work: Work, customers: set[int]) -> dict[int, Decimal]:
    """What a cost is multiplied with, by customer."""
    query = sa.select(contract.c.id, contract.c.vat_rate).where(contract.c.id.in_(customers), contract.c.add_vat.is_(True))
    return {row.id: 1 + Decimal(row.vat_rate) / 100 for row in work.conn.execute(query)}


def keep_customer(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    """For the link."""
    for doc, row in zip(docs, rows, strict=True):
        doc["_customer_id"] = row["_customer_id"]


# ------------------------------------------------------------------------------------------------------------------- declaration
def _taken(work: Work, text: str) -> sa.ColumnElement[bool]:
    return sa.true()  # says whose list it is, see _Whose


def _from(work: Work, text: str) -> sa.ColumnElement[bool]:
    return cdr.c.start_time >= _epoch(Moment().parse(text, work.env.zone))


def _until(work: Work, text: str) -> sa.ColumnElement[bool]:
    return cdr.c.start_time < _epoch(Moment(end=True).parse(text, work.env.zone)) + 1  # the whole last second


def _epoch(moment: Any) -> Decimal:
    return Decimal(int(moment.replace(tzinfo=datetime.UTC).timestamp()))


CALL_LISTS = Resource(
    name="calllists",
    entity="calllist",
    help="A call as a subscriber or customer sees it; administrators must give subscriber_id or customer_id, for an item too.",
    table=cdr,
    scope=of_provider,
    roles=(ADMIN, RESELLER, *PEOPLE),
    own=of_callers,
    fields=(
        ID,
        shown("call_id", Text(255), "Call-ID without what is added to it at forwards"),
        shown("direction", Enum(DIRECTIONS), "out = made, in = received"),
        shown("own_cli", Text(255), "Own number or extension"),
        shown("other_cli", Text(255), "Number of the other party, null when it was hidden"),
        shown("status", Enum(CALL_STATES), "How it ended"),
        shown("rating_status", Enum(("ok", "unrated", "failed")), "Whether it was rated"),
        shown("type", Enum(CALL_TYPES), "A call, or the kind of forward"),
        shown("start_time", Epoch(), "When it was answered"),
        shown("duration", Text(16), "h:mm:ss, begun seconds count whole"),
        shown("customer_cost", Number(6), "Cents"),
        shown("total_customer_cost", Number(6), "Cents, with VAT where it is added"),
        shown("customer_free_time", Int(), "Seconds of free time that were used"),
        shown("intra_customer", Bool(), "Between two subscribers of the customer"),
    ),
    filters=(
        Filter("subscriber_id", "custom", where=_taken, help="The list of this subscriber"),
        Filter("customer_id", "custom", where=_taken, help="The list of this customer"),
        Filter("alias_field", "custom", where=_taken, help="gpp0 to gpp9: preference whose value is shown instead of a number"),
        Filter("direction", "custom", where=_taken, help="in or out"),
        Filter("status", "list", cdr.c.call_status),
        Filter("status_ne", "list", cdr.c.call_status, negate=True),
        Filter("rating_status", "list", cdr.c.rating_status),
        Filter("rating_status_ne", "list", cdr.c.rating_status, negate=True),
        Filter("type", "list", cdr.c.call_type),
        Filter("type_ne", "list", cdr.c.call_type, negate=True),
        Filter("start_ge", "custom", where=_from, help="Began at this moment or later"),
        Filter("start_le", "custom", where=_until, help="Began at this moment or earlier; a date alone is its last second"),
    ),
    links=(Link("customers", field="_customer_id"),),
    collection=READ_ONLY,
    item=READ_ONLY,
    patch=(),
    listed=list_calls,
    found=find_call,
    show=keep_customer,
)

RESOURCES = [CALL_LISTS]

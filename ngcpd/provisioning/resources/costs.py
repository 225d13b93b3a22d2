"""What customers spend: over their limits (billing 5.2), and by zones."""

from __future__ import annotations

import datetime
import re
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import fraud
from ngcpd.provisioning.errors import Invalid
from ngcpd.provisioning.fields import Bad, Bool, Choice, Enum, Field, Int, Json, Moment, Number, Ref, Text, mail_list
from ngcpd.provisioning.query import visible
from ngcpd.provisioning.resource import CHANGE, ID, READ_ONLY, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.provisioning.resources.contracts import CUSTOMERS
from ngcpd.store.db import now
from ngcpd.store.tables.accounting import cdr
from ngcpd.store.tables.billing import billing_zone, contract_fraud
from ngcpd.store.tables.identity import subscriber
from ngcpd.store.tables.tenancy import contact, contract

COST = Number(6)
LIVING = (*CUSTOMERS.where, contract.c.status != "terminated")


def _any(work: Work, text: str) -> sa.ColumnElement[bool]:
    """A parameter that changes the documents and not which there are."""
    return sa.true()


# ----------------------------------------------------------------------------------------------------------------- fraud events
def _interval(work: Work) -> str:
    text = work.asked.get("interval", "month")
    if text not in fraud.COLUMNS:
        raise Invalid([("interval", text, "Value must be one of month, day")])
    return text


def narrow_events(work: Work) -> list[sa.ColumnElement[bool]]:
    return [contract.c.id.in_([event.contract_id for event in _events(work)])]


def _events(work: Work) -> list[fraud.Event]:
    """Of all customers that the caller sees; worked out once."""
    found: list[fraud.Event] = work.once("events", lambda: fraud.events(work.conn, work.env.zone, _interval(work), reseller_id=work.caller.scope))
    return found


def show_events(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    found = {event.contract_id: event for event in _events(work)}
    for doc, row in zip(docs, rows, strict=True):
        event = found[row["id"]]
        doc |= {
            "interval": _interval(work),
            "type": event.kind,
            "interval_cost": COST.show(event.cost, work.env.zone),
            "interval_limit": event.limit,
            "interval_lock": event.lock,
            "use_reseller_rates": event.reseller_rates,
            "interval_notify": event.notify,
        }


def _computed(name: str, kind: Any, help: str, **more: Any) -> Field:
    return Field(name, kind, read_only=True, column=None, help=help, **more)


EVENTS = Resource(
    name="customerfraudevents",
    entity="customerfraudevent",
    help="Customers whose calls of the present month or day cost more than their limit.",
    table=contract,
    source=CUSTOMERS.source,
    where=LIVING,
    scope=CUSTOMERS.scope,
    extra={"reseller_id": contact.c.reseller_id},
    narrow=narrow_events,
    fields=(
        ID,
        Field("reseller_id", Ref("resellers"), read_only=True, see="admin", column="reseller_id", help="Reseller of the customer"),
        _computed("interval", Enum(("month", "day")), "Calendar interval"),
        _computed("type", Enum(("profile_limit", "account_limit")), "Limit of the billing profile, or the customer's own"),
        _computed("interval_cost", COST, "Cents spent"),
        _computed("interval_limit", Int(), "Limit in cents"),
        _computed("interval_lock", Int(), "Lock level that belongs to the limit"),
        _computed("use_reseller_rates", Bool(), "The limit is of the reseller's cost"),
        _computed("interval_notify", Text(255), "Mail addresses that are told"),
    ),
    filters=(
        Filter("reseller_id", "int", contact.c.reseller_id),
        Filter("interval", "custom", where=_any, help="month (default) or day"),
    ),
    links=(Link("customers", field="id"), Link("customerfraudpreferences", field="id")),
    collection=READ_ONLY,
    item=READ_ONLY,
    patch=(),
    priority="P2",
    show=show_events,
)


# ------------------------------------------------------------------------------------------------------------- fraud preferences
def show_limits(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    query = sa.select(contract_fraud).where(contract_fraud.c.contract_id.in_([row["id"] for row in rows]))
    found = {row["contract_id"]: row for row in work.conn.execute(query).mappings()}
    for doc, row in zip(docs, rows, strict=True):
        have = found.get(row["id"])
        doc |= {f.name: None if have is None else have[f.name] for f in LIMITS.fields[1:]}


def update_limits(work: Work, row: Row, values: Values) -> None:
    """One row per customer; none when nothing is set."""
    work.conn.execute(sa.delete(contract_fraud).where(contract_fraud.c.contract_id == row["id"]))
    given = {f.name: values.get(f.name) for f in LIMITS.fields[1:]}
    if any(value is not None for value in given.values()):
        work.conn.execute(sa.insert(contract_fraud).values(contract_id=row["id"], **given))


def _limit(kind: str, words: str) -> tuple[Field, ...]:
    def field(name: str, type_: Any, help: str) -> Field:
        return Field(f"fraud_{kind}_{name}", type_, nullable=True, column=None, help=help)

    return (
        field("limit", Int(0), f"Cents that may be spent in a {words}; null or 0 = as the billing profile says"),
        field("lock", Choice((0, 1, 2, 3, 4, 5)), "Lock level when more is spent; null or 0 = only tell"),
        field("notify", Text(255, check=mail_list), "Mail addresses to tell, separated by commas"),
    )


LIMITS = Resource(
    name="customerfraudpreferences",
    entity="customerfraudpreference",
    help="A customer's own limits against fraud, instead of those of the billing profile.",
    table=contract,
    source=CUSTOMERS.source,
    where=LIVING,
    scope=CUSTOMERS.scope,
    fields=(ID, *_limit("interval", "month"), *_limit("daily", "day")),
    filters=(Filter("reseller_id", "int", contact.c.reseller_id), Filter("contact_id")),
    links=(Link("customers", field="id"),),
    collection=READ_ONLY,
    item=CHANGE,
    patch=("add", "replace", "remove", "copy"),
    journal=True,
    priority="P3",
    show=show_limits,
    update=update_limits,
)


# ----------------------------------------------------------------------------------------------------------------------- zones
_COMPACT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d)(\d\d)(\d\d)")


def _moment(work: Work, name: str) -> float | None:
    """A parameter `start` or `end` in seconds since the epoch, None when it is not given. Invalid."""
    text = work.asked.get(name)
    if text is None:
        return None
    try:
        moment = Moment(end=name == "end").parse(_COMPACT.sub(r"\1:\2:\3", text), work.env.zone)
    except Bad as error:
        raise Invalid([(name, text, str(error))]) from None
    return moment.replace(tzinfo=datetime.UTC).timestamp()


def _range(work: Work) -> tuple[float, float]:
    """First moment, and the first one after; without parameters the present month."""
    begin, end = fraud.bounds(now(work.conn), work.env.zone, "month")
    first, last = _moment(work, "start"), _moment(work, "end")
    return begin if first is None else first, end if last is None else last + 1


def _uuid(work: Work) -> str | None:
    """The subscriber whose calls are meant, None = all. Invalid."""
    text = work.asked.get("subscriber_id")
    if text is None:
        return None
    key = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if key not in visible(work, "subscribers", [key]):
        raise Invalid([("subscriber_id", text, "Invalid 'subscriber_id'")])
    return str(work.conn.scalar(sa.select(subscriber.c.uuid).where(subscriber.c.id == key)))


def narrow_zones(work: Work) -> list[sa.ColumnElement[bool]]:
    """Parameters that are wrong are refused, also where there is no customer; a subscriber has one customer."""
    _range(work)
    uuid = _uuid(work)
    return [] if uuid is None else [contract.c.id.in_(sa.select(subscriber.c.contract_id).where(subscriber.c.uuid == uuid))]


def show_zones(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    """Both what the customer pays for its own calls and what it pays for being called."""
    found: dict[int, dict[str, Doc]] = {row["id"]: {} for row in rows}
    for side in ("source", "destination"):
        for row in work.conn.execute(_sums(work, side, list(found), _uuid(work))).mappings():
            zone = found[row["contract_id"]].setdefault(row["zone"], dict.fromkeys(SUMS, Decimal(0)))
            for name in SUMS:
                zone[name] += Decimal(str(row[name] or 0))
    hidden = () if work.caller.has("admin") else ("carriercost",)
    for doc, row in zip(docs, rows, strict=True):
        doc["customer_id"] = row["id"]
        doc["zones"] = {
            name: {key: COST.show(value, work.env.zone) for key, value in sums.items() if key not in hidden}
            for name, sums in sorted(found[row["id"]].items())
        }


SUMS = ("customercost", "resellercost", "carriercost", "duration", "free_time", "number")


def _sums(work: Work, side: str, contracts: list[int], uuid: str | None) -> sa.Select[Any]:
    begin, end = _range(work)
    account, zone = cdr.c[f"{side}_account_id"], cdr.c[f"{side}_customer_billing_zone_id"]
    where = [account.in_(contracts), cdr.c.start_time >= begin, cdr.c.start_time < end]
    if uuid is not None:
        where.append(cdr.c[f"{side}_user_id"] == uuid)
    total = sa.func.sum
    return (
        sa.select(
            account.label("contract_id"),
            billing_zone.c.zone,
            *(total(cdr.c[f"{side}_{party}_cost"]).label(f"{party}cost") for party in ("customer", "reseller", "carrier")),
            total(cdr.c.duration).label("duration"),
            total(cdr.c[f"{side}_customer_free_time"]).label("free_time"),
            sa.func.count().label("number"),
        )
        .join(billing_zone, billing_zone.c.id == zone)
        .where(*where)
        .group_by(account, billing_zone.c.zone)
    )


ZONES = Resource(
    name="customerzonecosts",
    entity="customerzonecost",
    help="What the calls of a customer cost, by zones.",
    table=contract,
    source=CUSTOMERS.source,
    where=LIVING,
    scope=CUSTOMERS.scope,
    narrow=narrow_zones,
    fields=(
        ID,
        _computed("customer_id", Ref("customers"), "The customer"),
        _computed(
            "zones",
            Json({"type": "object", "additionalProperties": {"type": "object", "properties": {name: {"type": "number"} for name in SUMS}}}),
            "Sums by the name of the zone: costs in cents, duration and free time in seconds, number of calls",
        ),
    ),
    filters=(
        Filter("customer_id", "int", contract.c.id),
        Filter("start", "custom", where=_any, help="First moment (YYYY-MM-DDThhmmss), without it the start of the month"),
        Filter("end", "custom", where=_any, help="Last moment, without it the end of the month"),
        Filter("subscriber_id", "custom", where=_any, help="Only calls of this subscriber"),
    ),
    links=(Link("customers", field="id"),),
    collection=READ_ONLY,
    item=READ_ONLY,
    patch=(),
    priority="P2",
    show=show_zones,
)

RESOURCES = [EVENTS, LIMITS, ZONES]

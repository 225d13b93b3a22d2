"""Call records (billing 2.1): a view of the table, both sides of a call, the other party's side hidden from resellers."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning.fields import Bool, Enum, Field, Int, Moment, Number, Text, Type
from ngcpd.provisioning.resource import ID, READ_ONLY, Doc, Filter, Link, Resource, Row, Work
from ngcpd.store.tables.accounting import CALL_STATES, CALL_TYPES, cdr
from ngcpd.store.tables.identity import subscriber
from ngcpd.store.tables.tenancy import reseller

COST = Number(6)
RENAMED = {"customer_id": "account_id"}
SIDE = {
    "customer_id": Int(),
    "user_id": Text(36),
    "provider_id": Text(255),
    "external_subscriber_id": Text(255),
    "external_contract_id": Text(255),
    "user": Text(255),
    "domain": Text(255),
    **{f"gpp{n}": Text(255) for n in range(10)},
    "customer_cost": COST,
    "reseller_cost": COST,
    "customer_free_time": Int(),
    "reseller_free_time": Int(),
    "customer_billing_fee_id": Int(),
    "customer_billing_zone_id": Int(),
}
ADMIN_SIDE = {
    "carrier_cost": COST,
    "carrier_free_time": Int(),
    "carrier_billing_fee_id": Int(),
    "carrier_billing_zone_id": Int(),
    "reseller_billing_fee_id": Int(),
    "reseller_billing_zone_id": Int(),
}
OWN = {
    "source": ("source_cli", "source_clir", "source_ip"),
    "destination": (),
}
"""Further fields that belong to one side."""


class Epoch(Type):
    """Seconds since the epoch, shown as date and time with milliseconds in the server's zone."""

    kind = "datetime"

    def show(self, value: Any, zone: datetime.tzinfo) -> Any:
        if value is None:
            return None
        moment = datetime.datetime.fromtimestamp(int(value), zone)
        return f"{moment.strftime('%Y-%m-%d %H:%M:%S')}.{int(Decimal(str(value)) % 1 * 1000):03d}"

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


def _plain(name: str, kind: Type, help: str, **more: Any) -> Field:
    return Field(name, kind, read_only=True, nullable=True, help=help, **more)


def _side(side: str) -> tuple[Field, ...]:
    words = "caller" if side == "source" else "callee"
    fields = [_plain(f"{side}_{n}", kind, f"Of the {words}", column=f"{side}_{RENAMED.get(n, n)}") for n, kind in SIDE.items()]
    return (*fields, *(_plain(f"{side}_{n}", kind, f"Of the {words}", see="admin") for n, kind in ADMIN_SIDE.items()))


def _contract_of(reseller_id: int) -> sa.ScalarSelect[Any]:
    """The number under which call records know a reseller: its contract, as text."""
    return sa.select(sa.cast(reseller.c.contract_id, sa.String(16))).where(reseller.c.id == reseller_id).scalar_subquery()


def of_provider(reseller_id: int) -> sa.ColumnElement[bool]:
    mine = _contract_of(reseller_id)
    return sa.or_(cdr.c.source_provider_id == mine, cdr.c.destination_provider_id == mine)


def hide_other_side(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    """A reseller sees what belongs to its own side only."""
    if work.caller.scope is None:
        return
    mine = work.conn.scalar(sa.select(_contract_of(work.caller.scope)))
    for doc, row in zip(docs, rows, strict=True):
        for side, own in OWN.items():
            if row[f"{side}_provider_id"] != mine:
                doc |= dict.fromkeys([*(f"{side}_{name}" for name in SIDE), *own])


def _customer(work: Work, text: str) -> sa.ColumnElement[bool]:
    key = Int(1).parse(text, work.env.zone)
    return sa.or_(cdr.c.source_account_id == key, cdr.c.destination_account_id == key)


def _subscriber(work: Work, text: str) -> sa.ColumnElement[bool]:
    key = Int(1).parse(text, work.env.zone)
    uuid = sa.select(subscriber.c.uuid).where(subscriber.c.id == key).scalar_subquery()
    return sa.or_(cdr.c.source_user_id == uuid, cdr.c.destination_user_id == uuid)




CALLS = Resource(
    name="calls",
    entity="call",
    help="A call record.",
    table=cdr,
    scope=of_provider,
    fields=(
        ID,
        *_side("source"),
        _plain("source_cli", Text(64), "Number of the caller"),
        _plain("source_clir", Bool(), "The caller hid its number"),
        _plain("source_ip", Text(64), "Address of the caller"),
        *_side("destination"),
        _plain("destination_user_dialed", Text(255), "What was dialled"),
        _plain("destination_user_in", Text(255), "The number after rewriting"),
        _plain("destination_domain_in", Text(255), "Its domain"),
        _plain("peer_auth_user", Text(255), "User at a peer"),
        _plain("peer_auth_realm", Text(255), "Realm at a peer"),
        _plain("call_type", Enum(CALL_TYPES), "A call, or the kind of forward"),
        _plain("call_status", Enum(CALL_STATES), "How it ended"),
        _plain("call_code", Text(3), "Last SIP code"),
        _plain("init_time", Epoch(), "When it began"),
        _plain("start_time", Epoch(), "When it was answered"),
        _plain("duration", Number(3), "Seconds"),
        _plain("call_id", Text(255), "Call-ID"),
        _plain("rated_at", Moment(), "When it was rated", see="admin"),
        _plain("rating_status", Enum(("unrated", "ok", "failed")), "Whether it was rated", see="admin"),
        _plain("exported_at", Moment(), "When it was exported", see="admin"),
        _plain("export_status", Enum(("unexported", "ok", "failed")), "Whether it was exported", see="admin"),
    ),
    filters=(
        Filter("customer_id", "custom", where=_customer, help="Calls from or to the customer"),
        Filter("subscriber_id", "custom", where=_subscriber, help="Calls from or to the subscriber"),
    ),
    links=(Link("customers", field="source_customer_id"), Link("customers", field="destination_customer_id")),
    collection=READ_ONLY,
    item=READ_ONLY,
    patch=(),
    show=hide_other_side,
)

RESOURCES = [CALLS]

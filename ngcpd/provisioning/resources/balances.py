"""Balances of customers and their intervals (billing 4.7, REST API 1.11)."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.provisioning import balance, lifecycle
from ngcpd.provisioning.balance.book import interval
from ngcpd.provisioning.errors import Plain
from ngcpd.provisioning.fields import Bool, Field, Int, Moment, Number, Ref
from ngcpd.provisioning.query import pattern
from ngcpd.provisioning.resource import CHANGE, ID, READ_ONLY, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.provisioning.resources.contracts import CUSTOMERS, JOINED, KIND, freshen
from ngcpd.store.db import now
from ngcpd.store.intervals import FOREVER
from ngcpd.store.tables.billing import contract_balance
from ngcpd.store.tables.identity import domain, subscriber
from ngcpd.store.tables.tenancy import contact, contract

MONEY = Number(6, unit=100)
"""Cents, shown in currency units."""
MOMENT = Moment()
FILTERS = (
    Filter("reseller_id", "int", contact.c.reseller_id),
    Filter("contact_id", "int", contract.c.contact_id),
    Filter("status", "string", contract.c.status),
    Filter("external_id", "like", contract.c.external_id),
)


# -------------------------------------------------------------------------------------------------------------------- customers
def show_balance(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    found = balance.newest(work.conn, [row["id"] for row in rows])
    for doc, row in zip(docs, rows, strict=True):
        have = found.get(row["id"])
        for f in BALANCES.fields[1:]:
            value = have[f.name] if have is not None else None
            doc[f.name] = f.type.show(value if value is not None else 0, work.env.zone)


def update_balance(work: Work, row: Row, values: Values) -> None:
    """Cash and free time of the interval in force; underrun rules act."""
    account = balance.account_of(work.conn, work.env, row["id"])
    if account is None:
        raise Plain("id", "The customer has no balance interval.", "refused")
    account.write(values["cash_balance"], values["free_time_balance"], now(work.conn))
    balance.save(work.conn, [account])


def _domain_like(work: Work, text: str) -> sa.ColumnElement[bool]:
    inside = sa.select(subscriber.c.contract_id).join(domain, domain.c.id == subscriber.c.domain_id)
    return contract.c.id.in_(inside.where(domain.c.name.ilike(pattern(text), escape="\\"), subscriber.c.status != "terminated"))


WRITTEN = Number(6, -999_999, 999_999, 100)  # type: ignore[arg-type]
BALANCES = Resource(
    name="customerbalances",
    entity="customerbalance",
    help="The balance of a customer in the interval in force.",
    table=contract,
    source=CUSTOMERS.source,
    where=(*CUSTOMERS.where, contract.c.status != "terminated"),
    scope=CUSTOMERS.scope,
    fields=(
        ID,
        Field("cash_balance", WRITTEN, required=True, column=None, help="Money left, in currency units"),
        Field("free_time_balance", Int(0), required=True, column=None, help="Free seconds left"),
        Field("cash_balance_interval", MONEY, read_only=True, column=None, help="Money spent, in currency units"),
        Field("free_time_balance_interval", Int(), read_only=True, column=None, help="Free seconds used"),
    ),
    filters=(*FILTERS, Filter("domain", "custom", where=_domain_like)),
    links=(Link("customers", field="id"), Link("balanceintervals", field="id")),
    collection=READ_ONLY,
    item=CHANGE,
    journal=True,
    freshen=freshen,
    show=show_balance,
    update=update_balance,
)


# -------------------------------------------------------------------------------------------------------------------- intervals
def show_interval(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    """What follows from the contract's package and billing profiles."""
    zone, at = work.env.zone, now(work.conn)
    accounts = balance.load(work.conn, work.env, [row["contract_id"] for row in rows])
    for doc, row in zip(docs, rows, strict=True):
        account, shown = accounts[row["contract_id"]], interval(row)
        if shown.end == FOREVER:
            doc["stop"] = None
        doc["is_actual"] = shown.end >= at
        doc["billing_profile_id"] = account.grant(shown.start).profile_id
        window = account.window(shown)
        doc["timely_topup_start"], doc["timely_topup_stop"] = (MOMENT.show(w, zone) for w in window) if window is not None else (None, None)
        # Of an interval that is over it does not matter any more.
        expires = account.expiry(shown) if shown.start == account.row.start else None
        doc["notopup_discard_expiry"] = MOMENT.show(expires, zone)
        kind = "_customer" if row["kind"] in lifecycle.CUSTOMERS else "_contract"
        doc[kind] = row["contract_id"]


def _plain(name: str, column: str | None, help: str) -> Field:
    return Field(name, MOMENT, read_only=True, nullable=True, column=column, help=help)


INTERVALS = Resource(
    name="balanceintervals",
    entity="balanceinterval",
    help="The balance intervals of contracts: /api/balanceintervals/ the one in force of each, /api/balanceintervals/CONTRACT all of one.",
    table=contract_balance,
    source=contract_balance.join(JOINED, contract.c.id == contract_balance.c.contract_id),
    where=(contract.c.status != "terminated",),
    scope=contact.c.reseller_id,
    extra={"kind": KIND},
    parent="contract_id",
    parent_entity="contract",
    fields=(
        ID,
        Field("start", MOMENT, read_only=True, help="First second"),
        Field("stop", MOMENT, read_only=True, nullable=True, column="end", help="Last second, null = until the next top-up"),
        Field("is_actual", Bool(), read_only=True, column=None, help="It is not over"),
        Field("billing_profile_id", Ref("billingprofiles"), read_only=True, nullable=True, column=None, help="Profile in force at the start"),
        Field("invoice_id", Ref("invoices"), read_only=True, nullable=True, help="Invoice"),
        Field("cash_balance", MONEY, read_only=True, help="Money left, in currency units"),
        Field("cash_debit", MONEY, read_only=True, column="cash_balance_interval", help="Money spent, in currency units"),
        Field("free_time_balance", Int(), read_only=True, help="Free seconds left"),
        Field("free_time_spent", Int(), read_only=True, column="free_time_balance_interval", help="Free seconds used"),
        Field("topup_count", Int(), read_only=True, help="Top-ups"),
        Field("timely_topup_count", Int(), read_only=True, help="Of these in the time before the end that counts"),
        _plain("timely_topup_start", None, "First second in which a top-up is timely"),
        _plain("timely_topup_stop", None, "Last second in which a top-up is timely"),
        _plain("notopup_discard_expiry", None, "When the money expires for want of a top-up"),
        _plain("underrun_profiles", "underrun_profiles_at", "When the balance fell below the threshold of profiles"),
        _plain("underrun_lock", "underrun_lock_at", "When it fell below the threshold of locks"),
    ),
    filters=(*FILTERS, Filter("start", "datetime", contract_balance.c.start, compare=">=", help="Intervals that begin at that moment or later")),
    links=(
        Link("customers", field="_customer"),
        Link("contracts", field="_contract"),
        Link("customerbalances", field="_customer"),
        Link("billingprofiles", field="billing_profile_id"),
        Link("invoices", field="invoice_id"),
    ),
    collection=READ_ONLY,
    item=READ_ONLY,
    patch=(),
    priority="P2",
    always_array=True,
    freshen=freshen,
    show=show_interval,
)

RESOURCES = [BALANCES, INTERVALS]

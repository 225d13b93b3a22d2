"""Top-ups with cash and vouchers, and their log (billing 6.3)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning.balance import topup
from ngcpd.provisioning.fields import Bad, Enum, Field, Int, Moment, Number, Ref, Text, Type, shown
from ngcpd.provisioning.resource import ID, READ_ONLY, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.provisioning.resources.calls import Epoch
from ngcpd.provisioning.resources.vouchers import AMOUNT, CODE, RIGHTS
from ngcpd.store.tables.packages import topup_log

MONEY = Number(6, unit=100)
"""Cents, shown in currency units."""
ACT = ("OPTIONS", "POST")
TOKEN = Field("request_token", Text(255), nullable=True, help="Names the request; with the same one nothing is booked twice")
SUBSCRIBER = Field("subscriber_id", Ref("subscribers"), required=True, help="Subscriber whose customer gets the money")


# ---------------------------------------------------------------------------------------------------------------------- top-ups
def _asked(work: Work, values: Values, kind: str) -> topup.TopUp:
    made = topup.TopUp(values["subscriber_id"], work.caller.login, work.caller.scope, token=values.get("request_token"))
    if kind == "voucher":
        return replace(made, code=values["code"])
    return replace(made, amount=values["amount"], package_id=values.get("package_id"))


def book(kind: str) -> Any:
    """What a POST does."""

    def act(work: Work, values: Values) -> None:
        topup.book(work.conn, work.env, _asked(work, values, kind))

    return act


def log_failure(kind: str) -> Any:
    """The row about a try that failed, of a document that may hold anything."""

    def failed(work: Work, body: Doc, why: str) -> None:
        if not work.caller.billing_data:
            return
        code = _told(CODE, body.get("code")) or ""
        values = {
            "subscriber_id": _told(Int(1), body.get("subscriber_id")) or 0,
            "request_token": _told(Text(255), body.get("request_token")),
            "code": code,
            "amount": _told(AMOUNT, body.get("amount")),
            "package_id": None,
        }
        topup.log_failure(work.conn, work.env, _asked(work, values, kind), why)

    return failed


def _told(kind: Type, value: Any) -> Any:
    """A value of the right form, else None."""
    try:
        return None if value is None else kind.parse(value, None)  # type: ignore[arg-type]
    except Bad:
        return None


def _topups(name: str, kind: str, help: str, fields: tuple[Field, ...], example: Doc) -> Resource:
    return Resource(
        name=name,
        entity="topup",
        help=help,
        table=topup_log,
        scope=topup_log.c.reseller_id,
        flags=RIGHTS,
        fields=(SUBSCRIBER, *fields, TOKEN),
        collection=ACT,
        item=(),
        patch=(),
        priority="P2",
        act=book(kind),
        failed=log_failure(kind),
        example={"subscriber_id": 1, **example, "request_token": "shop-8841"},
    )


CASH = _topups(
    "topupcash",
    "cash",
    "Adds an amount to the balance of a subscriber's customer.",
    (
        Field("amount", AMOUNT, required=True, help="Cents; the service charge of the package is taken from it"),
        Field("package_id", Ref("profilepackages"), nullable=True, help="Profile package that the customer gets with it"),
    ),
    {"amount": 1000},
)
CODES = _topups(
    "topupvouchers",
    "voucher",
    "Adds what a voucher is worth to the balance of a subscriber's customer.",
    (Field("code", CODE, required=True, secret=True, help="Code of the voucher"),),
    {"code": "BM-AA17-2016"},
)


# -------------------------------------------------------------------------------------------------------------------------- log
def show_log(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    """Both packages, profiles and intervals, for the links."""
    for doc, row in zip(docs, rows, strict=True):
        for name in ("package", "profile"):
            doc[f"_{name}s"] = sorted({row[f"{name}_{when}_id"] for when in ("before", "after")} - {None})
        balances = sorted({row[f"contract_balance_{when}_id"] for when in ("before", "after")} - {None})
        doc["_balances"] = [f"{row['contract_id']}/{key}" for key in balances]


def _moment(compare: str) -> Any:
    def where(work: Work, text: str) -> sa.ColumnElement[bool]:
        moment = Moment(end=compare == "to").parse(text, work.env.zone).replace(tzinfo=UTC).timestamp()
        return topup_log.c.timestamp >= moment if compare == "from" else topup_log.c.timestamp < moment + 1

    return where


def _amount(compare: str) -> Any:
    def where(work: Work, text: str) -> sa.ColumnElement[bool]:
        value = MONEY.parse(text, work.env.zone)
        return topup_log.c.amount >= value if compare == "above" else topup_log.c.amount <= value

    return where


def _pair(name: str, kind: Type, help: str, end: str = "") -> tuple[Field, Field]:
    return shown(f"{name}_before{end}", kind, f"{help} before"), shown(f"{name}_after{end}", kind, f"{help} after")


LOGS = Resource(
    name="topuplogs",
    entity="topuplog",
    help="The log of all tries to top up a balance.",
    table=topup_log,
    scope=topup_log.c.reseller_id,
    fields=(
        ID,
        shown("username", Text(127), "Who asked for it"),
        shown("timestamp", Epoch(), "When"),
        shown("type", Enum(("cash", "voucher")), "Kind"),
        shown("outcome", Enum(("ok", "failed")), "Whether it was booked"),
        shown("message", Text(255), "Why not"),
        shown("subscriber_id", Int(), "Subscriber"),
        shown("contract_id", Int(), "Customer"),
        shown("amount", MONEY, "Currency units; of a booking without the service charge"),
        shown("voucher_id", Int(), "Voucher"),
        *_pair("cash_balance", MONEY, "Balance, in currency units,"),
        *_pair("package", Int(), "Profile package", "_id"),
        *_pair("profile", Int(), "Billing profile", "_id"),
        *_pair("lock_level", Int(), "Lock level of the subscriber"),
        *_pair("contract_balance", Int(), "Balance interval", "_id"),
        shown("request_token", Text(255), "Name of the request"),
    ),
    filters=(
        Filter("reseller_id"),
        Filter("request_token", "like"),
        Filter("timestamp_from", "custom", where=_moment("from"), help="At that moment or later"),
        Filter("timestamp_to", "custom", where=_moment("to"), help="At that moment or earlier"),
        Filter("contract_id"),
        Filter("subscriber_id"),
        Filter("voucher_id"),
        Filter("outcome", "string"),
        Filter("amount_above", "custom", where=_amount("above"), help="Currency units or more"),
        Filter("amount_below", "custom", where=_amount("below"), help="Currency units or less"),
    ),
    links=(
        Link("customers", field="contract_id"),
        Link("subscribers", field="subscriber_id"),
        Link("vouchers", field="voucher_id"),
        Link("profilepackages", field="_packages"),
        Link("billingprofiles", field="_profiles"),
        Link("balanceintervals", field="_balances"),
    ),
    collection=READ_ONLY,
    item=READ_ONLY,
    patch=(),
    priority="P2",
    always_array=True,
    show=show_log,
)

RESOURCES = [CASH, CODES, LOGS]

"""Vouchers, top-ups with cash and vouchers, and their log (billing 6.2, 6.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import units
from ngcpd.provisioning.balance import topup
from ngcpd.provisioning.csvfile import csv_lines
from ngcpd.provisioning.errors import Invalid
from ngcpd.provisioning.fields import Bad, Enum, Field, Int, Moment, Number, Ref, Text, Type, parse_fields
from ngcpd.provisioning.query import CHUNK, base, visible
from ngcpd.provisioning.resource import ID, READ_ONLY, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.provisioning.resources.calls import Epoch
from ngcpd.store.credentials import VaultError
from ngcpd.store.db import insert, now
from ngcpd.store.tables.packages import profile_package, topup_log, voucher
from ngcpd.store.tables.tenancy import contact, contract

LAST_YEAR = 2037
AMOUNT = Number(6, Decimal(0))
"""Cents."""
MONEY = Number(6, unit=100)
"""Cents, shown in currency units."""
ACT = ("OPTIONS", "POST")
CODE = Text(128)
TOKEN = Field("request_token", Text(255), nullable=True, help="Names the request; with the same one nothing is booked twice")
SUBSCRIBER = Field("subscriber_id", Ref("subscribers"), required=True, help="Subscriber whose customer gets the money")
RIGHTS = {"write": "billing_data"}


# --------------------------------------------------------------------------------------------------------------------- vouchers
def check_voucher(work: Work, values: Values, row: Row | None) -> None:
    """Customer and package of the voucher's reseller; a code that the reseller does not have yet."""
    owner = values["reseller_id"]
    for name, query in _owners(values).items():
        if work.conn.scalar(query) != owner:
            raise Invalid([(name, values[name], f"Invalid '{name}': it belongs to another reseller")])
    values["_mark"] = topup.code_mark(work.env, values["code"])
    same = [voucher.c.reseller_id == owner, voucher.c.code_hash == values["_mark"]]
    if row is not None:
        same.append(voucher.c.id != row["id"])
    if work.conn.scalar(sa.select(voucher.c.id).where(*same)) is not None:
        raise Invalid([("code", None, "Voucher with this code already exists for this reseller")])


def _owners(values: Values) -> dict[str, Any]:
    found = {}
    if values.get("customer_id") is not None:
        owner = sa.select(contact.c.reseller_id).join(contract, contract.c.contact_id == contact.c.id)
        found["customer_id"] = owner.where(contract.c.id == values["customer_id"])
    if values.get("package_id") is not None:
        found["package_id"] = sa.select(profile_package.c.reseller_id).where(profile_package.c.id == values["package_id"])
    return found


def _sealed(work: Work, values: Values) -> Values:
    """The columns of the code: sealed, and the mark by which it is found."""
    return {"code_hash": values["_mark"], "code_enc": work.env.vault.seal(values["code"], values["_mark"])}


def create_voucher(work: Work, values: Values) -> int:
    at = now(work.conn)
    return insert(work.conn, voucher, **units._columns(VOUCHERS, values), **_sealed(work, values), created_at=at, modified_at=at)


def update_voucher(work: Work, row: Row, values: Values) -> None:
    sealed = _sealed(work, values) if values["_mark"] != row["code_hash"] else {}
    units.update_row(work, voucher, row["id"], {**units._columns(VOUCHERS, values), **sealed})


def show_voucher(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    for doc, row in zip(docs, rows, strict=True):
        try:
            doc["code"] = work.env.vault.open(row["code_enc"], row["code_hash"]) if work.caller.billing_data else None
        except VaultError:
            doc["code"] = None  # sealed with another key: there is nothing to show


def upload_vouchers(work: Work, query: Mapping[str, str], text: str) -> list[int]:
    """Lines `code,amount,valid_until,customer_id,package_id`, for administrators with `reseller_id` in front; bad lines and codes that exist are
    left out. `purge_existing` deletes all vouchers of the caller first."""
    if query.get("purge_existing", "").lower() in ("true", "1"):
        work.conn.execute(sa.delete(voucher).where(*base(work, VOUCHERS)))
    names = (*(("reseller_id",) if work.caller.scope is None else ()), "code", "amount", "valid_until", "customer_id", "package_id")
    lines: list[tuple[int, Values | None]] = []
    for place, line in csv_lines(text):
        lines.append((place, _line(work, names, line)))
    good = [values for _, values in lines if values is not None]
    seen = _known(work, good)
    allowed = {name: visible(work, target, {v[name] for v in good if v[name] is not None}) for name, target in REFERENCES.items()}
    at, rows, skipped = now(work.conn), [], []
    for place, values in lines:
        if values is None or not _usable(work, values, allowed) or (values["reseller_id"], values["_mark"]) in seen:
            skipped.append(place)
            continue
        seen.add((values["reseller_id"], values["_mark"]))
        rows.append({**units._columns(VOUCHERS, values), **_sealed(work, values), "created_at": at, "modified_at": at})
    for start in range(0, len(rows), 1000):
        work.conn.execute(sa.insert(voucher), rows[start : start + 1000])
    return skipped


REFERENCES = {"reseller_id": "resellers", "customer_id": "customers", "package_id": "profilepackages"}


def _line(work: Work, names: tuple[str, ...], line: list[str]) -> Values | None:
    """One line as values, None when it cannot be used."""
    if len(line) != len(names):
        return None
    errors: list[tuple[str, Any, str]] = []
    given: Doc = {name: part for name, part in zip(names, line, strict=True) if part}
    if work.caller.scope is not None:
        given["reseller_id"] = work.caller.scope
    # A code of digits is text all the same.
    values = parse_fields([f for f in VOUCHERS.fields if not f.read_only], given, work.env.zone, errors)
    if errors:
        return None
    values["_mark"] = topup.code_mark(work.env, values["code"])
    return values


def _known(work: Work, good: list[Values]) -> set[tuple[int, str]]:
    marks = sorted({values["_mark"] for values in good})
    found: set[tuple[int, str]] = set()
    for at in range(0, len(marks), CHUNK):
        rows = work.conn.execute(sa.select(voucher.c.reseller_id, voucher.c.code_hash).where(voucher.c.code_hash.in_(marks[at : at + CHUNK])))
        found |= {(row.reseller_id, row.code_hash) for row in rows}
    return found


def _usable(work: Work, values: Values, allowed: dict[str, set[int]]) -> bool:
    """Everything the voucher names is the caller's and of one reseller."""
    if any(values[name] is not None and values[name] not in ids for name, ids in allowed.items()):
        return False
    return all(work.conn.scalar(query) == values["reseller_id"] for query in _owners(values).values())


VOUCHERS = Resource(
    name="vouchers",
    entity="voucher",
    help="A voucher: a code that is worth an amount once.",
    table=voucher,
    scope=voucher.c.reseller_id,
    flags=RIGHTS,
    fields=(
        ID,
        Field("reseller_id", Ref("resellers"), required=True, own=True, help="Reseller it belongs to"),
        Field("code", CODE, required=True, column=None, see="billing_data", secret=True, help="The code, unique per reseller; kept sealed"),
        Field("amount", AMOUNT, default=Decimal(0), help="Cents"),
        Field("valid_until", Moment(end=True, last_year=LAST_YEAR), required=True, help="Last moment; a date alone is its last second"),
        Field("customer_id", Ref("customers"), nullable=True, help="Only for this customer"),
        Field("package_id", Ref("profilepackages"), nullable=True, help="Profile package that the customer gets with it"),
        Field("used_at", Moment(), read_only=True, nullable=True, help="When it was used"),
        Field("used_by_subscriber_id", Ref("subscribers"), read_only=True, nullable=True, help="By whom"),
        Field("created_at", Moment(), read_only=True, help="When it was made"),
    ),
    filters=(Filter("reseller_id"), Filter("package_id"), Filter("customer_id")),
    links=(
        Link("resellers", field="reseller_id"),
        Link("customers", field="customer_id"),
        Link("profilepackages", field="package_id"),
        Link("subscribers", field="used_by_subscriber_id"),
    ),
    priority="P2",
    check=check_voucher,
    create=create_voucher,
    update=update_voucher,
    show=show_voucher,
    bulk=upload_vouchers,
    example={"reseller_id": 1, "code": "BM-AA17-2016", "amount": 1000, "valid_until": "2036-01-31 23:59:59"},
)


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


def _read(name: str, kind: Type, help: str) -> Field:
    return Field(name, kind, read_only=True, nullable=True, help=help)


def _pair(name: str, kind: Type, help: str, end: str = "") -> tuple[Field, Field]:
    return _read(f"{name}_before{end}", kind, f"{help} before"), _read(f"{name}_after{end}", kind, f"{help} after")


LOGS = Resource(
    name="topuplogs",
    entity="topuplog",
    help="The log of all tries to top up a balance.",
    table=topup_log,
    scope=topup_log.c.reseller_id,
    fields=(
        ID,
        _read("username", Text(127), "Who asked for it"),
        _read("timestamp", Epoch(), "When"),
        _read("type", Enum(("cash", "voucher")), "Kind"),
        _read("outcome", Enum(("ok", "failed")), "Whether it was booked"),
        _read("message", Text(255), "Why not"),
        _read("subscriber_id", Int(), "Subscriber"),
        _read("contract_id", Int(), "Customer"),
        _read("amount", MONEY, "Currency units; of a booking without the service charge"),
        _read("voucher_id", Int(), "Voucher"),
        *_pair("cash_balance", MONEY, "Balance, in currency units,"),
        *_pair("package", Int(), "Profile package", "_id"),
        *_pair("profile", Int(), "Billing profile", "_id"),
        *_pair("lock_level", Int(), "Lock level of the subscriber"),
        *_pair("contract_balance", Int(), "Balance interval", "_id"),
        _read("request_token", Text(255), "Name of the request"),
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

RESOURCES = [VOUCHERS, CASH, CODES, LOGS]

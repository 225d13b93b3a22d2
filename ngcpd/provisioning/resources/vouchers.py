"""Vouchers (billing 6.2)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import units
from ngcpd.provisioning.balance import topup
from ngcpd.provisioning.csvfile import csv_lines
from ngcpd.provisioning.errors import Invalid
from ngcpd.provisioning.fields import Field, Moment, Number, Ref, Text, parse_fields
from ngcpd.provisioning.query import CHUNK, base, visible
from ngcpd.provisioning.resource import ID, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.store.credentials import VaultError
from ngcpd.store.db import insert, now
from ngcpd.store.tables.packages import profile_package, voucher
from ngcpd.store.tables.tenancy import contact, contract

LAST_YEAR = 2037
AMOUNT = Number(6, Decimal(0))
"""Cents."""
CODE = Text(128)
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

RESOURCES = [VOUCHERS]

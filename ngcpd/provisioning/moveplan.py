"""What belongs to a reseller, derived from the tables: a table whose rows hang on a reseller by foreign keys is part of it, without being named
here. Named are only references that are no foreign keys, tables that stay behind (with the reason), and rows that do.

A test fails when a table is none of these (`undecided`) or has a reference that is not known (`unknown_references`).
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ngcpd.store.catalogue import REFERENCES
from ngcpd.store.tables import billing, identity, metadata, tenancy

Condition = sa.ColumnElement[bool]
reseller, contact, contract = tenancy.reseller, tenancy.contact, tenancy.contract
balance = billing.contract_balance

LEFT_OUT: dict[str, str] = {
    **dict.fromkeys(("acc", "acc_backup", "acc_trash", "cdr", "prepaid_costs"), "call records stay with who made the calls"),
    **dict.fromkeys(("journal", "events", "topup_log", "malicious_calls"), "logs tell what happened here"),
    **dict.fromkeys(("acc_mark", "mark", "call_info", "changes", "dialog_state", "idempotency", "import_run"), "state of this installation"),
    "registration": "telephones register again",
    **dict.fromkeys(("preference", "preference_enum"), "the catalogue is part of the product"),
    **dict.fromkeys(("peer_group", "peer_host", "peer_rule", "lnp_number"), "belongs to the platform"),
    "interception": "orders of an authority to this platform",
    **dict.fromkeys(("fax_job", "mail_queue"), "what waits to be sent is sent from here"),
    "rtc_session": "sessions end with the move",
    "invoice": "documents with serial numbers of this platform",
}
"""Tables that are not exported, and why."""

SHARED = ("product", "lnp_provider")
"""Tables of the platform that rows of a reseller refer to; the rows are found again by their names."""

SOFT: dict[str, str | None] = {
    "contact.reseller_id": "reseller",
    "contract.profile_package_id": "profile_package",
    "contract.subscriber_email_template_id": "email_template",
    "contract.passreset_email_template_id": "email_template",
    "contract.invoice_email_template_id": "email_template",
    "contract.invoice_template_id": "invoice_template",
    "contract_balance.invoice_id": None,
}
"""References without a foreign key: the table that is meant, None = the reference is dropped."""

LEVELS = {"usr": "subscriber", "prof": "subscriber_profile", "dom": "domain", "contract": "contract"}
"""Whose `preference_value.owner_id` is, by level. Those of peers stay behind."""

ATTRIBUTES: dict[str, str] = {
    "account_id": "contract",
    **{name: {"rewrite_rule_set": "rewrite_rule_set"}.get(name, "sound_set" if name.endswith("sound_set") else "ncos_level") for name in REFERENCES},
}
"""Preferences whose value is the id of a row."""

SEALED: dict[str, Callable[[str], str] | None] = {
    "subscriber.sip_password_enc": lambda uuid: uuid,
    "fax_settings.password_enc": lambda uuid: f"fax:{uuid}",
    "device_redirect_credentials.password_enc": None,
    "device.encryption_key_enc": None,
    "mail2fax_settings.secret_key_enc": lambda uuid: f"mail2fax:{uuid}",
    "voucher.code_enc": lambda mark: mark,
}
"""Columns that are sealed with the key of the installation, and what they are bound to, given the subscriber's uuid (or the mark, see MARKED).
None: to something of this installation, they stay behind and have to be set anew."""

MARKED: dict[str, tuple[str, str]] = {"voucher.code_enc": ("code_hash", "voucher")}
"""Sealed columns that are bound to a keyed mark of their content: the column with the mark, and its purpose (`Vault.mark`). On the way they are
bound to the purpose, and the mark is made anew with the key of the new home; without a key that opens them the row stays behind."""
MARKS = frozenset(f"{name.partition('.')[0]}.{column}" for name, (column, _) in MARKED.items())

NEEDED = ("voucher.customer_id",)
"""References that may be empty, but must not become so: a voucher of one customer is not everybody's."""


def _kept(now: datetime.datetime) -> dict[str, Condition]:
    """Of these tables only such rows go with the reseller."""
    system = sa.select(identity.domain.c.id).where(identity.domain.c.is_system.is_(True))
    return {
        "contact": contact.c.deleted_at.is_(None),
        "contract": contract.c.status != "terminated",
        "domain": identity.domain.c.is_system.is_(False),
        "subscriber": sa.and_(identity.subscriber.c.status != "terminated", identity.subscriber.c.domain_id.not_in(system)),
        "billing_fee": billing.billing_fee.c.deleted_at.is_(None),
        "contract_balance": sa.or_(balance.c.end >= now, _last()),
        "admin": tenancy.admin.c.is_superuser.is_(False),
    }


def _last() -> Condition:
    """The last balance interval of a contract. It may be over: those that follow are made when somebody looks."""
    newer = balance.alias("newer")
    return ~sa.exists().where(newer.c.contract_id == balance.c.contract_id, newer.c.start > balance.c.start).correlate(balance)


@dataclass(frozen=True)
class Plan:
    """`tables`: what is exported, parents first. `owner`: the column by which a row belongs to its parent. `referenced`: tables whose rows
    others refer to; these rows have numbers in the file."""

    tables: tuple[sa.Table, ...]
    owner: dict[str, sa.Column[Any]]
    referenced: frozenset[str]

    def named(self, name: str) -> sa.Table | None:
        return next((t for t in self.tables if t.name == name), None)


def target(column: sa.Column[Any]) -> str | None:
    """The table a column refers to by id, None when it does not. Columns that depend on their row (`preference_value`) are not among these."""
    for key in column.foreign_keys:
        if key.column.name == "id":
            return key.column.table.name
    return SOFT.get(f"{column.table.name}.{column.name}")


@functools.cache
def plan() -> Plan:
    """The plan for the tables as they are."""
    tables: list[sa.Table] = []
    owner: dict[str, sa.Column[Any]] = {}
    inside: set[str] = set()
    for table in sorted(metadata.sorted_tables, key=lambda t: t.name == "preference_value"):  # that one last: it refers to many
        if table.name in LEFT_OUT or table.name in SHARED:
            continue
        if table.name == "contact":
            # Before its owner: resellers hang on contracts, these on contacts.
            found: sa.Column[Any] | None = contact.c.reseller_id
        elif table.name == "preference_value":
            found = table.c.owner_id
        else:
            found = _owner(table, inside)
        if found is not None:
            inside.add(table.name)
            tables.append(table)
            owner[table.name] = found
    referenced = {t for table in tables for column in table.c if (t := target(column)) is not None and t in inside}
    referenced |= (set(LEVELS.values()) | set(ATTRIBUTES.values()) | {"customer_location"}) & inside
    return Plan(tuple(tables), owner, frozenset(referenced))


def _owner(table: sa.Table, inside: set[str]) -> sa.Column[Any] | None:
    candidates = [c for c in table.c if c.foreign_keys and target(c) in inside]
    needed = [c for c in candidates if not c.nullable]
    optional = sorted((c for c in candidates if c.nullable), key=lambda c: c.name != "reseller_id")
    return next(iter([*needed, *optional]), None)


def condition(table: sa.Table, reseller_id: int, now: datetime.datetime) -> Condition:
    """Which rows of a table belong to the reseller."""
    found = _belongs(table, reseller_id, now)
    kept = _kept(now).get(table.name)
    return found if kept is None else sa.and_(found, kept)


def _belongs(table: sa.Table, reseller_id: int, now: datetime.datetime) -> Condition:
    own = sa.select(reseller.c.contract_id).where(reseller.c.id == reseller_id).scalar_subquery()
    if table.name == "reseller":
        return reseller.c.id == reseller_id
    if table.name == "contact":
        holder = sa.select(contract.c.contact_id).where(contract.c.id == own).scalar_subquery()
        return sa.or_(contact.c.reseller_id == reseller_id, contact.c.id == holder)
    if table.name == "contract":
        mine = sa.select(contact.c.id).where(contact.c.reseller_id == reseller_id)
        return sa.or_(contract.c.id == own, contract.c.contact_id.in_(mine))
    if table.name == "preference_value":
        return sa.or_(
            *(sa.and_(table.c.level == level, table.c.owner_id.in_(_ids(metadata.tables[name], reseller_id, now))) for level, name in LEVELS.items())
        )
    column = plan().owner[table.name]
    name = target(column)
    assert name is not None
    if name == "reseller":
        return column == reseller_id
    return column.in_(_ids(metadata.tables[name], reseller_id, now))


def _ids(table: sa.Table, reseller_id: int, now: datetime.datetime) -> Any:
    return sa.select(table.c.id).where(condition(table, reseller_id, now))


# ------------------------------------------------------------------------------------------------------------ for the test
def undecided() -> list[str]:
    """Tables that are neither exported nor left out with a reason."""
    known = {t.name for t in plan().tables} | LEFT_OUT.keys() | set(SHARED)
    return sorted(metadata.tables.keys() - known)


def unknown_references() -> list[str]:
    """Columns of exported tables that look like references and are none that is known; sealed ones that are not known."""
    found = []
    for table in plan().tables:
        for column in table.c:
            name = f"{table.name}.{column.name}"
            special = table.name == "preference_value" and column.name in ("owner_id", "location_id")
            looks = column.name.endswith("_id") and isinstance(column.type, sa.Integer)
            if looks and not special and name not in SOFT and not column.foreign_keys:
                found.append(name)
            elif (goal := target(column)) is not None and goal in LEFT_OUT and not column.nullable:
                found.append(f"{name} -> {goal}, which is left out")
            elif column.name.endswith("_enc") and name not in SEALED:
                found.append(f"{name} is sealed")
    return found

"""Administrators (data model 2, web interface 3.1)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import check
from ngcpd.provisioning.errors import Forbidden, Invalid, ProvisioningError
from ngcpd.provisioning.fields import Bool, Field, Ref, Text
from ngcpd.provisioning.resource import FULL_PATCH, ID, Filter, Link, Resource, Row, Values, Work
from ngcpd.provisioning.units import update_row
from ngcpd.store.db import insert, now
from ngcpd.store.tables.identity import domain
from ngcpd.store.tables.tenancy import admin

MASTER = "Only a master administrator may change other administrators"
SELF_PROTECTED = ("is_master", "is_active", "read_only", "is_superuser")


def check_admin(work: Work, values: Values, row: Row | None) -> None:
    """Passwords by the operator's rules, hashed; only a master may change others and make masters; nobody changes its own main rights."""
    caller = work.caller
    if row is not None and row["id"] != caller.id and not caller.is_master:
        raise Forbidden(MASTER)
    if not caller.is_master:
        values["is_master"] = False if row is None else row["is_master"]
    if row is not None and row["id"] == caller.id:
        values |= {name: row[name] for name in SELF_PROTECTED}
    password = values.pop("password", None)
    if password is not None:
        try:
            check.password("password", password, work.env.rules)
        except ProvisioningError as error:
            raise Invalid([("password", "", f"Password {error.message}")]) from None
        values["password_hash"] = work.env.argon.hash(password)
    host, new = values["login"].rpartition("@")[2].lower(), row is None or row["login"] != values["login"]
    served = sa.select(domain.c.id).where(domain.c.name == host)
    if new and host != values["login"].lower() and work.conn.scalar(served) is not None:
        raise Invalid([("login", values["login"], "Subscribers of this domain log in like this")])
    if row is None and values.get("is_superuser") is None:
        values["is_superuser"] = False


def insert_admin(work: Work, values: Values) -> int:
    at = now(work.conn)
    return insert(work.conn, admin, **_row(values), created_at=at, modified_at=at)


def update_admin(work: Work, row: Row, values: Values) -> None:
    update_row(work, admin, row["id"], _row(values))


def delete_admin(work: Work, row: Row) -> None:
    if row["id"] == work.caller.id:
        raise Forbidden("An administrator cannot delete itself")
    if not work.caller.is_master:
        raise Forbidden(MASTER)
    work.conn.execute(sa.delete(admin).where(admin.c.id == row["id"]))


def _row(values: Values) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in admin.c}


def _flag(name: str, help: str, default: bool = False, **more: Any) -> Field:
    return Field(name, Bool(), default=default, help=help, **more)


ADMINS = Resource(
    name="admins",
    entity="admin",
    help="An administrator: a login for this interface and the panel.",
    table=admin,
    scope=admin.c.reseller_id,
    fields=(
        ID,
        Field("reseller_id", Ref("resellers"), required=True, own=True, help="Reseller it works for"),
        Field("login", Text(31, 5), required=True, help="Login name, at least 5 characters"),
        Field("password", Text(255), required=True, write_only=True, secret=True, keep=True, column=None, help="Password"),
        _flag("is_superuser", "Sees everything; without it only what belongs to its reseller", set="admin"),
        _flag("lawful_intercept", "May use interceptions", set="admin"),
        _flag("is_master", "May change other administrators"),
        _flag("is_active", "May log in", True),
        _flag("read_only", "May only look"),
        _flag("show_passwords", "Sees passwords of subscribers", True),
        _flag("call_data", "Sees calls", True),
        _flag("billing_data", "Sees vouchers and changes them", True),
    ),
    filters=(Filter("reseller_id"), Filter("login", "like")),
    links=(Link("resellers", field="reseller_id"),),
    unique=(("login",),),
    patch=FULL_PATCH,
    journal=True,
    notices=(("admin", "id"),),
    check=check_admin,
    create=insert_admin,
    update=update_admin,
    delete=delete_admin,
    example={"reseller_id": 1, "login": "helpdesk", "password": "correct-horse", "read_only": True},
)

RESOURCES = [ADMINS]

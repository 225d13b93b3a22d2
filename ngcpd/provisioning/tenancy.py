"""Contacts, resellers, customers and domains. Each function is a unit of work: `database.run(create_domain, env, name="example.org")`."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import balance, check
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.errors import ProvisioningError, unique
from ngcpd.provisioning.subscribers import terminate_subscriber
from ngcpd.store import changes
from ngcpd.store.db import insert, now
from ngcpd.store.tables.billing import billing_mapping, billing_profile, email_template
from ngcpd.store.tables.identity import domain, subscriber
from ngcpd.store.tables.preferences import preference_value
from ngcpd.store.tables.tenancy import contact, contract, product, reseller

_CONTACT_LENGTHS = {
    "firstname": 127,
    "lastname": 127,
    "company": 127,
    "street": 127,
    "postcode": 16,
    "city": 127,
    "country": 2,
    "phonenumber": 31,
    "mobilenumber": 31,
    "faxnumber": 31,
    "comregnum": 31,
    "vatnum": 127,
    "iban": 34,
    "bic": 11,
    "bankname": 255,
    **{f"gpp{n}": 255 for n in range(10)},
}


def create_contact(conn: sa.Connection, env: Env, *, reseller_id: int | None = None, email: str | None = None, **fields: str | None) -> int:
    """A contact of a reseller's customer, or with `reseller_id` None a system contact (for resellers and peerings). Its id."""
    unknown = sorted(fields.keys() - _CONTACT_LENGTHS.keys() - {"gender"})
    if unknown:
        raise ProvisioningError(unknown[0], "a contact has no such field", "unknown")
    values: dict[str, Any] = {
        name: check.text(name, value, _CONTACT_LENGTHS[name], required=False) for name, value in fields.items() if name != "gender"
    }
    if fields.get("gender"):
        values["gender"] = check.one_of("gender", str(fields["gender"]), ("male", "female"))
    if reseller_id is not None:
        _reseller(conn, reseller_id)
    return insert(conn, contact, reseller_id=reseller_id, email=check.email("email", email), **values, **_stamp(conn))


def create_reseller(conn: sa.Connection, env: Env, *, name: str, contact_id: int, billing_profile_id: int = 1) -> int:
    """A reseller with a contract of its own on a system contact, the platform's mail templates copied to it. Its id."""
    name = check.needed("name", name, 63)
    owner = conn.execute(sa.select(contact.c.reseller_id).where(contact.c.id == contact_id)).one_or_none()
    if owner is None:
        raise ProvisioningError("contact_id", "there is no such contact", "unknown")
    if owner.reseller_id is not None:
        raise ProvisioningError("contact_id", "is the contact of a customer; a reseller needs a system contact")
    if conn.scalar(sa.select(reseller.c.id).where(reseller.c.name == name)) is not None:
        raise ProvisioningError("name", "there is a reseller of that name", "duplicate")
    product_id = _product(conn, "VOIP_RESELLER", ("reseller",))
    contract_id = _contract(conn, env, contact_id, product_id, _profile(conn, billing_profile_id), {})
    with unique("name", "there is a reseller of that name"):
        reseller_id = insert(conn, reseller, contract_id=contract_id, name=name, **_stamp(conn))
    stamp = _stamp(conn)
    copied = ("name", "from_email", "subject", "body")
    mails = conn.execute(sa.select(*(email_template.c[c] for c in copied)).where(email_template.c.reseller_id.is_(None))).mappings().all()
    if mails:
        conn.execute(sa.insert(email_template), [{**mail, "reseller_id": reseller_id, **stamp} for mail in mails])
    changes.note_all(conn, [("contract", contract_id), ("reseller", reseller_id)])
    return reseller_id


def create_customer(
    conn: sa.Connection,
    env: Env,
    *,
    contact_id: int,
    billing_profile_id: int = 1,
    product_handle: str = "SIP_ACCOUNT",
    status: str = "active",
    external_id: str | None = None,
    max_subscribers: int | None = None,
    vat_rate: int = 0,
    add_vat: bool = False,
) -> int:
    """A customer: contract, billing mapping without dates and first balance rows. Its contract id."""
    reseller_id = _customer_reseller(conn, contact_id)
    profile = _profile(conn, billing_profile_id)
    if profile["reseller_id"] != reseller_id:
        raise ProvisioningError("billing_profile_id", "belongs to another reseller than the contact")
    details = {
        "status": check.one_of("status", status, ("pending", "active", "locked")),
        "external_id": check.text("external_id", external_id, 255, required=False),
        "max_subscribers": None if max_subscribers is None else check.whole("max_subscribers", max_subscribers, 0, 2**31 - 1),
        "vat_rate": check.whole("vat_rate", vat_rate, 0, 100),
        "add_vat": bool(add_vat),
    }
    product_id = _product(conn, product_handle, ("sipaccount", "pbxaccount"))
    contract_id = _contract(conn, env, contact_id, product_id, profile, details)
    changes.note(conn, "contract", contract_id)
    return contract_id


def create_domain(conn: sa.Connection, env: Env, *, name: str, reseller_id: int = 1) -> int:
    """A served domain with its default preferences. Its id."""
    name = check.domain("domain", name)
    _reseller(conn, reseller_id)
    if conn.scalar(sa.select(domain.c.id).where(domain.c.name == name)) is not None:
        raise ProvisioningError("domain", f"{name} exists", "duplicate")
    with unique("domain", f"{name} exists"):
        domain_id = insert(conn, domain, reseller_id=reseller_id, name=name, **_stamp(conn))
    store_defaults(conn, env, "dom", [domain_id])
    changes.note(conn, "domain", domain_id)
    return domain_id


def delete_domain(conn: sa.Connection, env: Env, *, domain_id: int, with_subscribers: bool = False) -> None:
    """Remove a domain and its preferences. `with_subscribers`: those in it are terminated and their rows go, too; without it they keep the
    domain, terminated ones also."""
    row = conn.execute(sa.select(domain.c.is_system).where(domain.c.id == domain_id).with_for_update()).one_or_none()
    if row is None:
        raise ProvisioningError("domain_id", "there is no such domain", "unknown")
    if row.is_system:
        raise ProvisioningError("domain_id", "is the system's own domain", "refused")
    here = sa.select(subscriber.c.id, subscriber.c.status).where(subscriber.c.domain_id == domain_id)
    inside = conn.execute(here.order_by(subscriber.c.is_pbx_pilot, subscriber.c.id)).all()  # a pilot is the last to go
    if inside and not with_subscribers:
        raise ProvisioningError("domain_id", "has or had subscribers", "refused")
    for who in inside:
        if who.status != "terminated":
            terminate_subscriber(conn, env, subscriber_id=who.id)
    conn.execute(sa.delete(subscriber).where(subscriber.c.domain_id == domain_id))
    conn.execute(sa.delete(preference_value).where(preference_value.c.level == "dom", preference_value.c.owner_id == domain_id))
    conn.execute(sa.delete(domain).where(domain.c.id == domain_id))
    changes.note_all(conn, [("domain", domain_id), ("preference:dom", domain_id)])


def store_defaults(conn: sa.Connection, env: Env, level: str, owners: list[int]) -> None:
    """The values that objects of a level get when they are made (data model 15.4)."""
    at = now(conn)
    rows = [
        {"level": level, "owner_id": owner, "attribute": attribute, "value": value, "modified_at": at}
        for owner in owners
        for attribute, value in env.catalogue.defaults(level)
    ]
    if rows:
        conn.execute(sa.insert(preference_value), rows)


def _stamp(conn: sa.Connection) -> dict[str, Any]:
    at = now(conn)
    return {"created_at": at, "modified_at": at}


def _contract(conn: sa.Connection, env: Env, contact_id: int, product_id: int, profile: sa.RowMapping, details: dict[str, Any]) -> int:
    at = now(conn)
    active = details.get("status", "active") == "active"
    contract_id = insert(conn, contract, contact_id=contact_id, product_id=product_id, activated_at=at if active else None, **details, **_stamp(conn))
    insert(conn, billing_mapping, contract_id=contract_id, profile_id=profile["id"])
    balance.open_account(conn, env, contract_id)
    return contract_id


def _reseller(conn: sa.Connection, reseller_id: int) -> None:
    status = conn.scalar(sa.select(reseller.c.status).where(reseller.c.id == reseller_id))
    if status is None or status == "terminated":
        raise ProvisioningError("reseller_id", "there is no such reseller", "unknown")


def _customer_reseller(conn: sa.Connection, contact_id: int) -> int:
    row = conn.execute(sa.select(contact.c.reseller_id).where(contact.c.id == contact_id)).one_or_none()
    if row is None:
        raise ProvisioningError("contact_id", "there is no such contact", "unknown")
    if row.reseller_id is None:
        raise ProvisioningError("contact_id", "is a system contact; a customer needs one of its reseller")
    _reseller(conn, row.reseller_id)
    return int(row.reseller_id)


def _profile(conn: sa.Connection, profile_id: int) -> sa.RowMapping:
    row = conn.execute(sa.select(billing_profile).where(billing_profile.c.id == profile_id)).mappings().one_or_none()
    if row is None or row["status"] != "active":
        raise ProvisioningError("billing_profile_id", "there is no such billing profile", "unknown")
    return row


def _product(conn: sa.Connection, handle: str, classes: tuple[str, ...]) -> int:
    row = conn.execute(sa.select(product.c.id, product.c["class"].label("kind")).where(product.c.handle == handle)).one_or_none()
    if row is None or row.kind not in classes:
        raise ProvisioningError("product", f"must be a product of class {' or '.join(classes)}", "unknown")
    return int(row.id)

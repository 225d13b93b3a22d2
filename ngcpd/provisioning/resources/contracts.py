"""Contracts of resellers and peerings, customers, resellers (data model 2)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import balance, lifecycle, schedule
from ngcpd.provisioning.errors import Forbidden, Invalid, Plain
from ngcpd.provisioning.fields import Array, Bool, Enum, Field, Int, Moment, Ref, Text
from ngcpd.provisioning.resource import CHANGE, ID, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.provisioning.units import update_row
from ngcpd.store import changes
from ngcpd.store.db import insert, now
from ngcpd.store.tables.billing import email_template
from ngcpd.store.tables.packages import invoice_template
from ngcpd.store.tables.tenancy import CONTRACT_STATES, contact, contract, product, reseller

PRODUCTS = {
    "sippeering": "SIP_PEERING",
    "pstnpeering": "PSTN_PEERING",
    "reseller": "VOIP_RESELLER",
    "sipaccount": "SIP_ACCOUNT",
    "pbxaccount": "PBX_ACCOUNT",
}
SYSTEM_KINDS = ("sippeering", "pstnpeering", "reseller")
KIND = product.c["class"]
JOINED = contract.join(contact, contact.c.id == contract.c.contact_id).join(product, product.c.id == contract.c.product_id)
TEMPLATES = ("subscriber_email_template_id", "passreset_email_template_id", "invoice_email_template_id")
OWN_COLUMNS = ("contact_id", "external_id", "max_subscribers", "profile_package_id", "invoice_template_id", "vat_rate", "add_vat", *TEMPLATES)
STAMPS = tuple(
    Field(f"{name}_timestamp", Moment(), read_only=True, nullable=True, column=column, help=help)
    for name, column, help in (
        ("create", "created_at", "When it was made"),
        ("modify", "modified_at", "When it was last changed"),
        ("activate", "activated_at", "When it first became active"),
        ("terminate", "terminated_at", "When it ended"),
    )
)
RTC_NETWORKS = ("sip", "xmpp", "sipwise", "webrtc")


def _definition(modes: tuple[str, ...]) -> Field:
    return Field("billing_profile_definition", Enum(modes), default="id", column=None, help="How the billing profile is given; answers say id")


# -------------------------------------------------------------------------------------------------------------------- contracts
def check_contract(work: Work, values: Values, row: Row | None) -> None:
    """Schedule, and the first contract, on which the platform itself hangs."""
    if row is not None and row["id"] == 1 and values["status"] == "terminated":
        raise Forbidden("Cannot terminate contract with the id 1")
    values["_entries"] = schedule.plan(work, values, row, None, ("id", "profiles"))


def check_customer(work: Work, values: Values, row: Row | None) -> None:
    if row is not None and row["status"] == "terminated":
        raise Plain("status", "Customer is already terminated and cannot be changed.", "refused")
    owner = work.conn.scalar(sa.select(contact.c.reseller_id).where(contact.c.id == values["contact_id"]))
    for name in TEMPLATES:
        if values.get(name) is not None:
            found = work.conn.scalar(sa.select(email_template.c.reseller_id).where(email_template.c.id == values[name]))
            if found != owner:
                raise Invalid([(name, values[name], f"Invalid '{name}'")])
    invoices = values.get("invoice_template_id")
    if invoices is not None and work.conn.scalar(sa.select(invoice_template.c.reseller_id).where(invoice_template.c.id == invoices)) != owner:
        raise Invalid([("invoice_template_id", invoices, "Invalid 'invoice_template_id'")])
    values["_entries"] = schedule.plan(work, values, row, owner, schedule.MODES)
    mode = values.get("billing_profile_definition") or "id"
    if mode != "package":
        values["profile_package_id"] = None if row is None else row["profile_package_id"]
    if row is not None and "type" in values:
        values["type"] = row["type"]


def create_contract(work: Work, values: Values) -> int:
    """Contract, schedule, first balance rows."""
    conn, at = work.conn, now(work.conn)
    product_id = conn.scalar(sa.select(product.c.id).where(product.c.handle == PRODUCTS[values["type"]]))
    own = {name: values[name] for name in OWN_COLUMNS if name in values}
    key = insert(conn, contract, product_id=product_id, status="pending", **own, created_at=at, modified_at=at)
    schedule.write(conn, key, values["_entries"], future=False)
    balance.open_account(conn, work.env, key)
    lifecycle.set_contract_status(work, key, None, values["status"])
    return key


def update_contract(work: Work, row: Row, values: Values) -> None:
    """Columns, schedule, and what a new status or external id means for the subscribers."""
    key = row["id"]
    update_row(work, contract, key, {name: values[name] for name in OWN_COLUMNS if name in values})
    schedule.write(work.conn, key, values["_entries"], future=bool(values.get("_future")))
    package_id = values.get("profile_package_id", row["profile_package_id"])
    if package_id != row["profile_package_id"]:
        balance.switch_package(work.conn, work.env, key, row["profile_package_id"])
    if values["_entries"]:
        lifecycle.sync_prepaid(work, [key])
    if row["external_id"] != values.get("external_id"):
        lifecycle.copy_external_id(work, key, values.get("external_id"))
    if row["status"] != values["status"]:
        lifecycle.set_contract_status(work, key, row["status"], values["status"])
    changes.note(work.conn, "contract", key)


def freshen(work: Work, keys: list[int]) -> None:
    """Balance intervals up to now: a billing profile may come into force with one."""
    balance.catch_up(work.conn, work.env, keys)


def show_contract(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    schedule.show(work, docs, rows, networks=False)
    for doc in docs:
        doc["billing_profile_definition"] = "id"


def show_customer(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    schedule.show(work, docs, rows, networks=True)
    for doc in docs:
        doc["billing_profile_definition"] = "id"


CONTRACTS = Resource(
    name="contracts",
    entity="contract",
    help="The contract of a reseller or of a peering.",
    table=contract,
    source=JOINED,
    where=(KIND.in_(SYSTEM_KINDS), contract.c.status != "terminated"),
    roles=("admin",),
    extra={"type": KIND},
    fields=(
        ID,
        Field("contact_id", Ref("systemcontacts"), required=True, help="System contact"),
        Field("type", Enum(SYSTEM_KINDS), required=True, fixed=True, silent=True, help="What it is for, decided at creation"),
        Field("status", Enum(CONTRACT_STATES), required=True, help="terminated ends it for good"),
        Field("external_id", Text(255), nullable=True, help="The operator's own number"),
        _definition(("id", "profiles")),
        *schedule.fields(networks=False),
        *STAMPS,
    ),
    filters=(Filter("contact_id"), Filter("status", "string"), Filter("external_id", "like")),
    links=(
        Link("systemcontacts", field="contact_id"),
        Link("billingprofiles", field="billing_profile_id"),
        Link("balanceintervals", field="id"),
        Link("resellers", filter="contract_id"),
    ),
    item=CHANGE,
    journal=True,
    check=check_contract,
    freshen=freshen,
    create=create_contract,
    update=update_contract,
    show=show_contract,
    example={"contact_id": 2, "type": "sippeering", "status": "active", "billing_profile_id": 1},
)

CUSTOMERS = Resource(
    name="customers",
    entity="customer",
    help="A customer: who is billed for subscribers.",
    table=contract,
    source=JOINED,
    where=(KIND.in_(lifecycle.CUSTOMERS),),
    scope=contact.c.reseller_id,
    extra={"type": KIND, "reseller_id": contact.c.reseller_id},
    fields=(
        ID,
        Field("contact_id", Ref("customercontacts"), required=True, help="Contact of the customer; its reseller is the customer's"),
        Field("type", Enum(lifecycle.CUSTOMERS), required=True, fixed=True, silent=True, help="Kind of account; decided at creation"),
        Field("status", Enum(CONTRACT_STATES), required=True, help="locked locks all subscribers, terminated ends them for good"),
        Field("external_id", Text(255), nullable=True, help="The operator's own number"),
        Field("max_subscribers", Int(0), nullable=True, help="How many subscribers it may have; null = any number"),
        _definition(schedule.MODES),
        *schedule.fields(networks=True),
        Field("profile_package_id", Ref("profilepackages"), nullable=True, help="Profile package"),
        *(Field(name, Ref("emailtemplates"), nullable=True, help="Mail template") for name in TEMPLATES),
        Field("invoice_template_id", Ref("invoicetemplates"), nullable=True, help="Template of invoices"),
        Field("vat_rate", Int(0, 100), default=0, help="VAT in percent"),
        Field("add_vat", Bool(), default=False, help="VAT is added on invoices"),
        *STAMPS,
    ),
    filters=(
        Filter("status", "list", contract.c.status),
        Filter("not_status", "list", contract.c.status, negate=True),
        Filter("reseller_id", "int", contact.c.reseller_id),
        Filter("external_id", "like"),
        Filter("contact_id"),
        Filter("package_id", "int", contract.c.profile_package_id),
    ),
    links=(
        Link("customercontacts", field="contact_id"),
        Link("customerpreferences", field="id"),
        Link("billingprofiles", field="billing_profile_id"),
        Link("billingnetworks", field="_networks"),
        Link("profilepackages", field="profile_package_id"),
        Link("customerbalances", field="id"),
        Link("balanceintervals", field="id"),
        Link("invoicetemplates", field="invoice_template_id"),
        Link("subscriberemailtemplates", field="subscriber_email_template_id", target="emailtemplates"),
        Link("passresetemailtemplates", field="passreset_email_template_id", target="emailtemplates"),
        Link("invoiceemailtemplates", field="invoice_email_template_id", target="emailtemplates"),
        Link("calls", filter="customer_id"),
        Link("subscribers", filter="customer_id"),
    ),
    item=CHANGE,
    journal=True,
    check=check_customer,
    freshen=freshen,
    create=create_contract,
    update=update_contract,
    show=show_customer,
    example={"contact_id": 1, "type": "sipaccount", "status": "active", "billing_profile_id": 1, "external_id": "BM-0058", "max_subscribers": 20},
)


# -------------------------------------------------------------------------------------------------------------------- resellers
def check_reseller(work: Work, values: Values, row: Row | None) -> None:
    kind = work.conn.scalar(sa.select(KIND).select_from(JOINED).where(contract.c.id == values["contract_id"]))
    if kind != "reseller":
        raise Invalid([("contract_id", values["contract_id"], "Invalid 'contract_id': the contract is not one of a reseller")])


def create_reseller(work: Work, values: Values) -> int:
    """The reseller, with the platform's mail templates copied to it."""
    conn, at = work.conn, now(work.conn)
    stamp = {"created_at": at, "modified_at": at}
    key = insert(conn, reseller, **_reseller_columns(values), status="active", **stamp)
    copied = ("name", "from_email", "subject", "body")
    mails = conn.execute(sa.select(*(email_template.c[c] for c in copied)).where(email_template.c.reseller_id.is_(None))).mappings().all()
    if mails:
        conn.execute(sa.insert(email_template), [{**mail, "reseller_id": key, **stamp} for mail in mails])
    if values["status"] != "active":
        lifecycle.set_reseller_status(work, key, values["contract_id"], values["status"])
    return key


def update_reseller(work: Work, row: Row, values: Values) -> None:
    update_row(work, reseller, row["id"], _reseller_columns(values))
    if row["status"] != values["status"]:
        lifecycle.set_reseller_status(work, row["id"], values["contract_id"], values["status"])


def _reseller_columns(values: Values) -> dict[str, Any]:
    networks = ",".join(values.get("rtc_networks") or ())
    return {"contract_id": values["contract_id"], "name": values["name"], "enable_rtc": values["enable_rtc"], "rtc_networks": networks}


def show_reseller(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    for doc, row in zip(docs, rows, strict=True):
        doc["rtc_networks"] = [name for name in row["rtc_networks"].split(",") if name]


RESELLERS = Resource(
    name="resellers",
    entity="reseller",
    help="A reseller: the owner of customers, domains and everything that belongs to them.",
    table=reseller,
    where=(reseller.c.status != "terminated",),
    roles=("admin",),
    fields=(
        ID,
        Field("contract_id", Ref("contracts"), required=True, help="Contract of type reseller, used by no other"),
        Field("name", Text(63), required=True, help="Name, unique"),
        Field("status", Enum(("active", "locked", "terminated")), required=True, help="passed on to everything the reseller owns"),
        Field("enable_rtc", Bool(), default=False, help="WebRTC for its subscribers"),
        Field("rtc_networks", Array(Enum(RTC_NETWORKS), 10), column=None, help="WebRTC connectors"),
    ),
    filters=(Filter("name", "like"), Filter("contract_id")),
    links=(
        Link("contracts", field="contract_id"),
        *(Link(name, filter="reseller_id") for name in ("billingprofiles", "ncoslevels", "rewriterulesets", "soundsets", "customers", "domains")),
        Link("pbxdevices", filter="reseller_id"),
    ),
    item=CHANGE,
    journal=True,
    unique=(("contract_id",), ("name",)),
    notices=(("reseller", "id"),),
    check=check_reseller,
    create=create_reseller,
    update=update_reseller,
    show=show_reseller,
    example={"contract_id": 1, "name": "alps", "status": "active"},
)

RESOURCES = [CONTRACTS, CUSTOMERS, RESELLERS]

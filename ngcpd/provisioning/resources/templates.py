"""Mail templates, invoice templates, invoices, sound sets (data model 3, 9)."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.provisioning import check
from ngcpd.provisioning.fields import Enum, Field, Moment, Number, Ref, Text
from ngcpd.provisioning.resource import ID, READ_ONLY, Filter, Link, Resource, Row, Work
from ngcpd.provisioning.resources.contracts import JOINED, TEMPLATES
from ngcpd.store.tables.billing import email_template
from ngcpd.store.tables.packages import invoice, invoice_template
from ngcpd.store.tables.tenancy import contact, contract


def delete_mail(work: Work, row: Row) -> None:
    """Customers that use it are left without one."""
    for name in TEMPLATES:
        work.conn.execute(sa.update(contract).where(contract.c[name] == row["id"]).values({name: None}))
    work.conn.execute(sa.delete(email_template).where(email_template.c.id == row["id"]))


def _sender(name: str, value: str) -> str | None:
    """A mail address, or text with variables that become one."""
    return value if "[%" in value else check.email(name, value)


MAILS = Resource(
    name="emailtemplates",
    entity="emailtemplate",
    help="A template of mails.",
    table=email_template,
    where=(email_template.c.reseller_id.is_not(None),),
    scope=email_template.c.reseller_id,
    fields=(
        ID,
        Field("reseller_id", Ref("resellers"), required=True, own=True, help="Reseller it belongs to"),
        Field("name", Text(255), required=True, help="Name, unique per reseller"),
        Field("from_email", Text(255, check=_sender), required=True, help="Sender; variables are written [% name %]"),
        Field("subject", Text(255), required=True, help="Subject; variables are written [% name %]"),
        Field("body", Text(1_000_000, lines=True), required=True, help="Text; variables are written [% name %]"),
    ),
    filters=(Filter("reseller_id"), Filter("name", "like")),
    links=(Link("resellers", field="reseller_id"),),
    unique=(("reseller_id", "name"),),
    delete=delete_mail,
    example={"reseller_id": 1, "name": "welcome", "from_email": "noc@example.net", "subject": "Welcome", "body": "Dear customer"},
)

INVOICE_TEMPLATES = Resource(
    name="invoicetemplates",
    entity="invoicetemplate",
    help="A template of invoices; its text is edited in the panel.",
    table=invoice_template,
    scope=invoice_template.c.reseller_id,
    fields=(
        ID,
        Field("reseller_id", Ref("resellers"), read_only=True, help="Reseller it belongs to"),
        Field("name", Text(255), read_only=True, help="Name"),
        Field("type", Enum(("svg", "html")), read_only=True, help="Kind"),
    ),
    filters=(Filter("reseller_id"),),
    links=(Link("resellers", field="reseller_id"),),
    collection=READ_ONLY,
    item=READ_ONLY,
    patch=(),
    priority="P2",
)

AMOUNT = Number(6)
INVOICES = Resource(
    name="invoices",
    entity="invoice",
    help="An invoice.",
    table=invoice,
    source=invoice.join(JOINED, contract.c.id == invoice.c.contract_id),
    scope=contact.c.reseller_id,
    fields=(
        ID,
        Field("customer_id", Ref("customers"), read_only=True, column="contract_id", help="Customer"),
        Field("serial", Text(32), read_only=True, help="Number"),
        Field("period_start", Moment(), read_only=True, help="First second of its period"),
        Field("period_end", Moment(), read_only=True, help="Last second of its period"),
        Field("amount_net", AMOUNT, read_only=True, help="Net amount in currency units"),
        Field("amount_vat", AMOUNT, read_only=True, help="VAT"),
        Field("amount_total", AMOUNT, read_only=True, help="Total"),
        Field("sent_date", Moment(), read_only=True, nullable=True, column="sent_at", help="When it was mailed"),
    ),
    filters=(
        Filter("period_start_ge", "datetime", invoice.c.period_start, compare=">="),
        Filter("period_end_le", "datetime", invoice.c.period_end, compare="<="),
        Filter("reseller_id", "int", contact.c.reseller_id),
        Filter("customer_id", "int", invoice.c.contract_id),
        Filter("serial", "like"),
    ),
    links=(Link("customers", field="customer_id"),),
    collection=READ_ONLY,
    item=READ_ONLY,
    patch=(),
    priority="P2",
)


RESOURCES = [MAILS, INVOICE_TEMPLATES, INVOICES]

"""Who owns what: resellers, their administrators, contacts, products and contracts (data model 2, 17.2)."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.store.tables._base import LongText, choice, flag, integer, moment, pk, ref, stamps, table, text

STATES = ("active", "locked", "terminated")
CONTRACT_STATES = ("pending", *STATES)
PRODUCT_CLASSES = ("sippeering", "pstnpeering", "reseller", "sipaccount", "pbxaccount")

# A contact's reseller is not a foreign key: resellers hang on contracts and contracts on contacts, which would close a circle.
contact = table(
    "contact",
    pk(),
    sa.Column("reseller_id", sa.Integer(), nullable=True, index=True),
    text("firstname", 127, null=True),
    text("lastname", 127, null=True),
    text("company", 127, null=True),
    text("street", 127, null=True),
    text("postcode", 16, null=True),
    text("city", 127, null=True),
    text("country", 2, null=True),
    text("phonenumber", 31, null=True),
    text("mobilenumber", 31, null=True),
    text("faxnumber", 31, null=True),
    text("email", 255, null=True),
    *choice("gender", ("male", "female"), null=True),
    text("comregnum", 31, null=True),
    text("vatnum", 127, null=True),
    text("iban", 34, null=True),
    text("bic", 11, null=True),
    text("bankname", 255, null=True),
    flag("newsletter"),
    *(text(f"gpp{n}", 255, null=True) for n in range(10)),
    *stamps(),
)

product = table(
    "product",
    pk(),
    *choice("class", PRODUCT_CLASSES),
    text("handle", 63),
    text("name", 127),
    sa.UniqueConstraint("handle"),
)

# Template and package ids are plain values, checked by the application: their owners hang on contracts themselves.
contract = table(
    "contract",
    pk(),
    ref("contact_id", "contact"),
    ref("product_id", "product"),
    *choice("status", CONTRACT_STATES, default="active"),
    text("external_id", 255, null=True),
    integer("max_subscribers", null=True),
    integer("profile_package_id", null=True),
    integer("subscriber_email_template_id", null=True),
    integer("passreset_email_template_id", null=True),
    integer("invoice_email_template_id", null=True),
    integer("invoice_template_id", null=True),
    integer("vat_rate", default=0),
    flag("add_vat"),
    moment("activated_at", null=True),
    moment("terminated_at", null=True),
    *stamps(),
    sa.Index(None, "external_id"),
)

reseller = table(
    "reseller",
    pk(),
    ref("contract_id", "contract", index=False),
    text("name", 63),
    *choice("status", STATES, default="active"),
    *stamps(),
    sa.UniqueConstraint("contract_id"),
    sa.UniqueConstraint("name"),
)

admin = table(
    "admin",
    pk(),
    ref("reseller_id", "reseller", null=True, on_delete="CASCADE"),
    text("login", 31),
    text("password_hash", 255),
    flag("is_master"),
    flag("is_superuser"),
    flag("is_active", True),
    flag("read_only"),
    flag("show_passwords", True),
    flag("call_data", True),
    flag("billing_data", True),
    flag("lawful_intercept"),
    text("cert_serial", 64, null=True),
    sa.Column("cert_pem", LongText, nullable=True),
    *stamps(),
    sa.UniqueConstraint("login"),
    sa.UniqueConstraint("cert_serial"),
)

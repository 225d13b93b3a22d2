"""Who owns what: resellers, their administrators, contacts, products and contracts (data model 2, 17.2)."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.store.tables._base import Epoch3, LongText, choice, fixed, flag, integer, moment, pk, ref, stamps, table, text

STATES = ("active", "locked", "terminated")
CONTRACT_STATES = ("pending", *STATES)
PRODUCT_CLASSES = ("sippeering", "pstnpeering", "reseller", "sipaccount", "pbxaccount")

# A contact's reseller is not a foreign key: resellers hang on contracts and contracts on contacts, which would close a circle.
# `deleted_at`: its data is gone, the row stays for ended contracts.
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
    moment("deleted_at", null=True),
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

# `rtc_networks`: names joined by commas.
reseller = table(
    "reseller",
    pk(),
    ref("contract_id", "contract", index=False),
    text("name", 63),
    *choice("status", STATES, default="active"),
    *stamps(),
    flag("enable_rtc"),
    text("rtc_networks", 255, default=""),
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

# Every write of an object: what it was after it, or before it for `delete`. No foreign keys: it outlives what it tells of.
journal = table(
    "journal",
    pk(big=True),
    fixed("at", Epoch3()),
    *choice("operation", ("create", "update", "delete")),
    text("resource_name", 64),
    integer("resource_id"),
    text("username", 127, null=True),
    sa.Column("content", LongText, nullable=False),
    sa.Index(None, "resource_name", "resource_id"),
    sa.Index(None, "at"),
)

# What a request with an Idempotency-Key has made, so that the same request again makes nothing. `key_hash` covers who asked and the key,
# `body_hash` what was asked for.
idempotency = table(
    "idempotency",
    sa.Column("key_hash", sa.String(64), primary_key=True),
    text("body_hash", 64),
    integer("status"),
    text("location", 255, default=""),
    moment("at"),
    sa.Index(None, "at"),
)

"""Tenancy: contacts, products, contracts, resellers, administrators."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ngcpd.store.migrations.ddl import COUNTED, LONG_TEXT, pk

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "contact",
        pk(sa.Integer()),
        sa.Column("reseller_id", sa.Integer(), nullable=True),
        sa.Column("firstname", sa.String(127), nullable=True),
        sa.Column("lastname", sa.String(127), nullable=True),
        sa.Column("company", sa.String(127), nullable=True),
        sa.Column("street", sa.String(127), nullable=True),
        sa.Column("postcode", sa.String(16), nullable=True),
        sa.Column("city", sa.String(127), nullable=True),
        sa.Column("country", sa.String(2), nullable=True),
        sa.Column("phonenumber", sa.String(31), nullable=True),
        sa.Column("mobilenumber", sa.String(31), nullable=True),
        sa.Column("faxnumber", sa.String(31), nullable=True),
        sa.Column("email", sa.String(255), nullable=True),
        sa.Column("gender", sa.String(6), nullable=True),
        sa.Column("comregnum", sa.String(31), nullable=True),
        sa.Column("vatnum", sa.String(127), nullable=True),
        sa.Column("iban", sa.String(34), nullable=True),
        sa.Column("bic", sa.String(11), nullable=True),
        sa.Column("bankname", sa.String(255), nullable=True),
        sa.Column("newsletter", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("gpp0", sa.String(255), nullable=True),
        sa.Column("gpp1", sa.String(255), nullable=True),
        sa.Column("gpp2", sa.String(255), nullable=True),
        sa.Column("gpp3", sa.String(255), nullable=True),
        sa.Column("gpp4", sa.String(255), nullable=True),
        sa.Column("gpp5", sa.String(255), nullable=True),
        sa.Column("gpp6", sa.String(255), nullable=True),
        sa.Column("gpp7", sa.String(255), nullable=True),
        sa.Column("gpp8", sa.String(255), nullable=True),
        sa.Column("gpp9", sa.String(255), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_contact"),
        sa.CheckConstraint("gender IN ('male', 'female')", name=op.f("ck_contact__gender")),
        **COUNTED,
    )
    op.create_index("ix_contact__reseller_id", "contact", ["reseller_id"])
    op.create_table(
        "product",
        pk(sa.Integer()),
        sa.Column("class", sa.String(11), nullable=False),
        sa.Column("handle", sa.String(63), nullable=False),
        sa.Column("name", sa.String(127), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_product"),
        sa.CheckConstraint("class IN ('sippeering', 'pstnpeering', 'reseller', 'sipaccount', 'pbxaccount')", name=op.f("ck_product__class")),
        sa.UniqueConstraint("handle", name="uq_product__handle"),
        **COUNTED,
    )
    op.create_table(
        "contract",
        pk(sa.Integer()),
        sa.Column("contact_id", sa.Integer(), nullable=False),
        sa.Column("product_id", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(10), nullable=False, server_default="active"),
        sa.Column("external_id", sa.String(255), nullable=True),
        sa.Column("max_subscribers", sa.Integer(), nullable=True),
        sa.Column("profile_package_id", sa.Integer(), nullable=True),
        sa.Column("subscriber_email_template_id", sa.Integer(), nullable=True),
        sa.Column("passreset_email_template_id", sa.Integer(), nullable=True),
        sa.Column("invoice_email_template_id", sa.Integer(), nullable=True),
        sa.Column("invoice_template_id", sa.Integer(), nullable=True),
        sa.Column("vat_rate", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("add_vat", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("activated_at", sa.DateTime(), nullable=True),
        sa.Column("terminated_at", sa.DateTime(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_contract"),
        sa.CheckConstraint("status IN ('pending', 'active', 'locked', 'terminated')", name=op.f("ck_contract__status")),
        sa.ForeignKeyConstraint(["contact_id"], ["contact.id"], name="fk_contract__contact_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["product_id"], ["product.id"], name="fk_contract__product_id", ondelete="RESTRICT"),
        **COUNTED,
    )
    op.create_index("ix_contract__contact_id", "contract", ["contact_id"])
    op.create_index("ix_contract__external_id", "contract", ["external_id"])
    op.create_index("ix_contract__product_id", "contract", ["product_id"])
    op.create_table(
        "reseller",
        pk(sa.Integer()),
        sa.Column("contract_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("status", sa.String(10), nullable=False, server_default="active"),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reseller"),
        sa.CheckConstraint("status IN ('active', 'locked', 'terminated')", name=op.f("ck_reseller__status")),
        sa.ForeignKeyConstraint(["contract_id"], ["contract.id"], name="fk_reseller__contract_id", ondelete="RESTRICT"),
        sa.UniqueConstraint("contract_id", name="uq_reseller__contract_id"),
        sa.UniqueConstraint("name", name="uq_reseller__name"),
        **COUNTED,
    )
    op.create_table(
        "admin",
        pk(sa.Integer()),
        sa.Column("reseller_id", sa.Integer(), nullable=True),
        sa.Column("login", sa.String(31), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.Column("is_master", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("is_superuser", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("is_active", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("read_only", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("show_passwords", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("call_data", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("billing_data", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("lawful_intercept", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("cert_serial", sa.String(64), nullable=True),
        sa.Column("cert_pem", LONG_TEXT, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_admin"),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name="fk_admin__reseller_id", ondelete="CASCADE"),
        sa.UniqueConstraint("cert_serial", name="uq_admin__cert_serial"),
        sa.UniqueConstraint("login", name="uq_admin__login"),
        **COUNTED,
    )
    op.create_index("ix_admin__reseller_id", "admin", ["reseller_id"])

"""Journal and idempotency; features of subscribers; classes of service and portability; packages, vouchers, invoices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ngcpd.store.migrations.ddl import BIG_ID, COUNTED, EPOCH3, LONG_BLOB, LONG_TEXT, MONEY, TABLE, pk

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("contact", sa.Column("deleted_at", sa.DateTime(), nullable=True))
    op.add_column("reseller", sa.Column("enable_rtc", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("reseller", sa.Column("rtc_networks", sa.String(255), nullable=False, server_default=""))
    op.create_index("ix_subscriber__domain_id_status", "subscriber", ["domain_id", "status"])
    _own()
    _features()
    _numbering()
    _packages()


def _own() -> None:
    op.create_table(
        "journal",
        pk(BIG_ID),
        sa.Column("at", EPOCH3, nullable=False),
        sa.Column("operation", sa.String(6), nullable=False),
        sa.Column("resource_name", sa.String(64), nullable=False),
        sa.Column("resource_id", sa.Integer(), nullable=False),
        sa.Column("username", sa.String(127), nullable=True),
        sa.Column("content", LONG_TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_journal"),
        sa.CheckConstraint("operation IN ('create', 'update', 'delete')", name=op.f("ck_journal__operation")),
        **COUNTED,
    )
    op.create_index("ix_journal__at", "journal", ["at"])
    op.create_index("ix_journal__resource_name_resource_id", "journal", ["resource_name", "resource_id"])
    op.create_table(
        "idempotency",
        sa.Column("key_hash", sa.String(64), nullable=False),
        sa.Column("body_hash", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("location", sa.String(255), nullable=False, server_default=""),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key_hash", name="pk_idempotency"),
        **TABLE,
    )
    op.create_index("ix_idempotency__at", "idempotency", ["at"])


def _features() -> None:
    op.create_table(
        "cf_destination_set",
        pk(sa.Integer()),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_cf_destination_set"),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_cf_destination_set__subscriber_id", ondelete="CASCADE"),
        sa.UniqueConstraint("subscriber_id", "name", name="uq_cf_destination_set__subscriber_id_name"),
        **COUNTED,
    )
    op.create_table(
        "cf_time_set",
        pk(sa.Integer()),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_cf_time_set"),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_cf_time_set__subscriber_id", ondelete="CASCADE"),
        sa.UniqueConstraint("subscriber_id", "name", name="uq_cf_time_set__subscriber_id_name"),
        **COUNTED,
    )
    op.create_table(
        "cf_destination",
        pk(sa.Integer()),
        sa.Column("set_id", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(255), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("timeout", sa.Integer(), nullable=False, server_default=sa.text("300")),
        sa.PrimaryKeyConstraint("id", name="pk_cf_destination"),
        sa.ForeignKeyConstraint(["set_id"], ["cf_destination_set.id"], name="fk_cf_destination__set_id", ondelete="CASCADE"),
        **COUNTED,
    )
    op.create_index("ix_cf_destination__set_id", "cf_destination", ["set_id"])
    op.create_table(
        "cf_period",
        pk(sa.Integer()),
        sa.Column("set_id", sa.Integer(), nullable=False),
        sa.Column("year", sa.String(16), nullable=True),
        sa.Column("month", sa.String(16), nullable=True),
        sa.Column("mday", sa.String(16), nullable=True),
        sa.Column("wday", sa.String(16), nullable=True),
        sa.Column("hour", sa.String(16), nullable=True),
        sa.Column("minute", sa.String(16), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_cf_period"),
        sa.ForeignKeyConstraint(["set_id"], ["cf_time_set.id"], name="fk_cf_period__set_id", ondelete="CASCADE"),
        **COUNTED,
    )
    op.create_index("ix_cf_period__set_id", "cf_period", ["set_id"])
    op.create_table(
        "cf_mapping",
        pk(sa.Integer()),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(4), nullable=False, server_default="cfu"),
        sa.Column("destination_set_id", sa.Integer(), nullable=False),
        sa.Column("time_set_id", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_cf_mapping"),
        sa.CheckConstraint("type IN ('cfu', 'cfb', 'cfna', 'cft')", name=op.f("ck_cf_mapping__type")),
        sa.ForeignKeyConstraint(["destination_set_id"], ["cf_destination_set.id"], name="fk_cf_mapping__destination_set_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_cf_mapping__subscriber_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["time_set_id"], ["cf_time_set.id"], name="fk_cf_mapping__time_set_id", ondelete="CASCADE"),
        **COUNTED,
    )
    op.create_index("ix_cf_mapping__destination_set_id", "cf_mapping", ["destination_set_id"])
    op.create_index("ix_cf_mapping__subscriber_id", "cf_mapping", ["subscriber_id"])
    op.create_index("ix_cf_mapping__time_set_id", "cf_mapping", ["time_set_id"])
    op.create_table(
        "speed_dial",
        pk(sa.Integer()),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("slot", sa.String(64), nullable=False),
        sa.Column("destination", sa.String(192), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_speed_dial"),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_speed_dial__subscriber_id", ondelete="CASCADE"),
        sa.UniqueConstraint("subscriber_id", "slot", name="uq_speed_dial__subscriber_id_slot"),
        **COUNTED,
    )
    op.create_table(
        "reminder",
        pk(sa.Integer()),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("time", sa.String(8), nullable=False),
        sa.Column("recur", sa.String(8), nullable=False, server_default="never"),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reminder"),
        sa.CheckConstraint("recur IN ('never', 'weekdays', 'always')", name=op.f("ck_reminder__recur")),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_reminder__subscriber_id", ondelete="CASCADE"),
        sa.UniqueConstraint("subscriber_id", name="uq_reminder__subscriber_id"),
        **COUNTED,
    )
    op.create_table(
        "voicemail_box",
        pk(sa.Integer()),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("pin", sa.String(31), nullable=False),
        sa.Column("email", sa.String(255), nullable=True),
        sa.Column("attach", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("delete_after_mail", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("tz", sa.String(64), nullable=False, server_default="vienna"),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_voicemail_box"),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_voicemail_box__subscriber_id", ondelete="CASCADE"),
        sa.UniqueConstraint("subscriber_id", name="uq_voicemail_box__subscriber_id"),
        **COUNTED,
    )
    op.create_table(
        "sound_set",
        pk(sa.Integer()),
        sa.Column("reseller_id", sa.Integer(), nullable=False),
        sa.Column("contract_id", sa.Integer(), nullable=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.String(255), nullable=False, server_default=""),
        sa.Column("contract_default", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sound_set"),
        sa.ForeignKeyConstraint(["contract_id"], ["contract.id"], name="fk_sound_set__contract_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name="fk_sound_set__reseller_id", ondelete="CASCADE"),
        sa.UniqueConstraint("reseller_id", "contract_id", "name", name="uq_sound_set__reseller_id_contract_id_name"),
        **COUNTED,
    )
    op.create_index("ix_sound_set__contract_id", "sound_set", ["contract_id"])
    op.create_table(
        "auto_attendant_choice",
        pk(sa.Integer()),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("choice", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_auto_attendant_choice"),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_auto_attendant_choice__subscriber_id", ondelete="CASCADE"),
        sa.UniqueConstraint("subscriber_id", "choice", name="uq_auto_attendant_choice__subscriber_id_choice"),
        **COUNTED,
    )
    op.create_table(
        "fax_settings",
        pk(sa.Integer()),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(64), nullable=True),
        sa.Column("password_enc", sa.String(512), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("send_status", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("send_copy", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_fax_settings"),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_fax_settings__subscriber_id", ondelete="CASCADE"),
        sa.UniqueConstraint("subscriber_id", name="uq_fax_settings__subscriber_id"),
        **COUNTED,
    )
    op.create_table(
        "fax_destination",
        pk(sa.Integer()),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(255), nullable=False),
        sa.Column("filetype", sa.String(5), nullable=False, server_default="TIFF"),
        sa.Column("incoming", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("outgoing", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("status", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("id", name="pk_fax_destination"),
        sa.CheckConstraint("filetype IN ('PS', 'TIFF', 'PDF', 'PDF14')", name=op.f("ck_fax_destination__filetype")),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_fax_destination__subscriber_id", ondelete="CASCADE"),
        sa.UniqueConstraint("subscriber_id", "destination", name="uq_fax_destination__subscriber_id_destination"),
        **COUNTED,
    )
    op.create_table(
        "calling_card_map",
        pk(sa.Integer()),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("auth_key", sa.String(255), nullable=False),
        sa.Column("source_subscriber_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_calling_card_map"),
        sa.ForeignKeyConstraint(["source_subscriber_id"], ["subscriber.id"], name="fk_calling_card_map__source_subscriber_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_calling_card_map__subscriber_id", ondelete="CASCADE"),
        sa.UniqueConstraint("subscriber_id", "auth_key", name="uq_calling_card_map__subscriber_id_auth_key"),
        **COUNTED,
    )
    op.create_index("ix_calling_card_map__source_subscriber_id", "calling_card_map", ["source_subscriber_id"])
    op.create_index("ix_calling_card_map__subscriber_id", "calling_card_map", ["subscriber_id"])


def _numbering() -> None:
    op.create_table(
        "ncos_level",
        pk(sa.Integer()),
        sa.Column("reseller_id", sa.Integer(), nullable=False),
        sa.Column("level", sa.String(31), nullable=False),
        sa.Column("mode", sa.String(9), nullable=False, server_default="blacklist"),
        sa.Column("local_ac", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("description", sa.String(255), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ncos_level"),
        sa.CheckConstraint("mode IN ('blacklist', 'whitelist')", name=op.f("ck_ncos_level__mode")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name="fk_ncos_level__reseller_id", ondelete="CASCADE"),
        sa.UniqueConstraint("reseller_id", "level", name="uq_ncos_level__reseller_id_level"),
        **COUNTED,
    )
    op.create_table(
        "ncos_pattern",
        pk(sa.Integer()),
        sa.Column("ncos_level_id", sa.Integer(), nullable=False),
        sa.Column("pattern", sa.String(255), nullable=False),
        sa.Column("description", sa.String(255), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ncos_pattern"),
        sa.ForeignKeyConstraint(["ncos_level_id"], ["ncos_level.id"], name="fk_ncos_pattern__ncos_level_id", ondelete="CASCADE"),
        sa.UniqueConstraint("ncos_level_id", "pattern", name="uq_ncos_pattern__ncos_level_id_pattern"),
        **COUNTED,
    )
    op.create_table(
        "lnp_provider",
        pk(sa.Integer()),
        sa.Column("name", sa.String(31), nullable=False),
        sa.Column("prefix", sa.String(31), nullable=False, server_default=""),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lnp_provider"),
        sa.UniqueConstraint("name", name="uq_lnp_provider__name"),
        **COUNTED,
    )
    op.create_table(
        "lnp_number",
        pk(sa.Integer()),
        sa.Column("provider_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.String(31), nullable=False),
        sa.Column("routing_number", sa.String(31), nullable=True),
        sa.Column("start", sa.DateTime(), nullable=True),
        sa.Column("end", sa.DateTime(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lnp_number"),
        sa.ForeignKeyConstraint(["provider_id"], ["lnp_provider.id"], name="fk_lnp_number__provider_id", ondelete="CASCADE"),
        **COUNTED,
    )
    op.create_index("ix_lnp_number__number_start", "lnp_number", ["number", "start"])
    op.create_index("ix_lnp_number__provider_id", "lnp_number", ["provider_id"])
    op.create_table(
        "ncos_lnp",
        pk(sa.Integer()),
        sa.Column("ncos_level_id", sa.Integer(), nullable=False),
        sa.Column("provider_id", sa.Integer(), nullable=False),
        sa.Column("description", sa.String(255), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ncos_lnp"),
        sa.ForeignKeyConstraint(["ncos_level_id"], ["ncos_level.id"], name="fk_ncos_lnp__ncos_level_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["provider_id"], ["lnp_provider.id"], name="fk_ncos_lnp__provider_id", ondelete="CASCADE"),
        sa.UniqueConstraint("ncos_level_id", "provider_id", name="uq_ncos_lnp__ncos_level_id_provider_id"),
        **COUNTED,
    )
    op.create_index("ix_ncos_lnp__provider_id", "ncos_lnp", ["provider_id"])


def _packages() -> None:
    op.create_table(
        "peaktime_weekday",
        pk(sa.Integer()),
        sa.Column("profile_id", sa.Integer(), nullable=False),
        sa.Column("weekday", sa.Integer(), nullable=False),
        sa.Column("start", sa.String(8), nullable=True),
        sa.Column("stop", sa.String(8), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_peaktime_weekday"),
        sa.ForeignKeyConstraint(["profile_id"], ["billing_profile.id"], name="fk_peaktime_weekday__profile_id", ondelete="CASCADE"),
        **COUNTED,
    )
    op.create_index("ix_peaktime_weekday__profile_id", "peaktime_weekday", ["profile_id"])
    op.create_table(
        "peaktime_special",
        pk(sa.Integer()),
        sa.Column("profile_id", sa.Integer(), nullable=False),
        sa.Column("start", sa.DateTime(), nullable=False),
        sa.Column("stop", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_peaktime_special"),
        sa.ForeignKeyConstraint(["profile_id"], ["billing_profile.id"], name="fk_peaktime_special__profile_id", ondelete="CASCADE"),
        **COUNTED,
    )
    op.create_index("ix_peaktime_special__profile_id", "peaktime_special", ["profile_id"])
    op.create_table(
        "profile_package",
        pk(sa.Integer()),
        sa.Column("reseller_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.String(255), nullable=False, server_default=""),
        sa.Column("initial_balance", MONEY, nullable=False, server_default=sa.text("0")),
        sa.Column("service_charge", MONEY, nullable=False, server_default=sa.text("0")),
        sa.Column("balance_interval_unit", sa.String(6), nullable=False, server_default="month"),
        sa.Column("balance_interval_value", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("balance_interval_start_mode", sa.String(14), nullable=False, server_default="1st"),
        sa.Column("carry_over_mode", sa.String(17), nullable=False, server_default="carry_over"),
        sa.Column("timely_duration_unit", sa.String(6), nullable=True),
        sa.Column("timely_duration_value", sa.Integer(), nullable=True),
        sa.Column("notopup_discard_intervals", sa.Integer(), nullable=True),
        sa.Column("underrun_lock_threshold", MONEY, nullable=True),
        sa.Column("underrun_lock_level", sa.Integer(), nullable=True),
        sa.Column("underrun_profile_threshold", MONEY, nullable=True),
        sa.Column("topup_lock_level", sa.Integer(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_profile_package"),
        sa.CheckConstraint(
            "balance_interval_start_mode IN ('create', '1st', 'topup', 'topup_interval')",
            name=op.f("ck_profile_package__balance_interval_start_mode"),
        ),
        sa.CheckConstraint(
            "timely_duration_unit IN ('minute', 'hour', 'day', 'week', 'month')", name=op.f("ck_profile_package__timely_duration_unit")
        ),
        sa.CheckConstraint("carry_over_mode IN ('carry_over', 'carry_over_timely', 'discard')", name=op.f("ck_profile_package__carry_over_mode")),
        sa.CheckConstraint(
            "balance_interval_unit IN ('minute', 'hour', 'day', 'week', 'month')", name=op.f("ck_profile_package__balance_interval_unit")
        ),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name="fk_profile_package__reseller_id", ondelete="CASCADE"),
        sa.UniqueConstraint("reseller_id", "name", name="uq_profile_package__reseller_id_name"),
        **COUNTED,
    )
    op.create_table(
        "package_profile",
        pk(sa.Integer()),
        sa.Column("package_id", sa.Integer(), nullable=False),
        sa.Column("discriminator", sa.String(8), nullable=False),
        sa.Column("profile_id", sa.Integer(), nullable=False),
        sa.Column("network_id", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_package_profile"),
        sa.CheckConstraint("discriminator IN ('initial', 'underrun', 'topup')", name=op.f("ck_package_profile__discriminator")),
        sa.ForeignKeyConstraint(["network_id"], ["billing_network.id"], name="fk_package_profile__network_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["package_id"], ["profile_package.id"], name="fk_package_profile__package_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["profile_id"], ["billing_profile.id"], name="fk_package_profile__profile_id", ondelete="RESTRICT"),
        **COUNTED,
    )
    op.create_index("ix_package_profile__network_id", "package_profile", ["network_id"])
    op.create_index("ix_package_profile__package_id", "package_profile", ["package_id"])
    op.create_index("ix_package_profile__profile_id", "package_profile", ["profile_id"])
    op.create_table(
        "voucher",
        pk(sa.Integer()),
        sa.Column("reseller_id", sa.Integer(), nullable=False),
        sa.Column("code_hash", sa.String(64), nullable=False),
        sa.Column("code_enc", sa.String(512), nullable=False),
        sa.Column("amount", MONEY, nullable=False, server_default=sa.text("0")),
        sa.Column("valid_until", sa.DateTime(), nullable=False),
        sa.Column("customer_id", sa.Integer(), nullable=True),
        sa.Column("package_id", sa.Integer(), nullable=True),
        sa.Column("used_by_subscriber_id", sa.Integer(), nullable=True),
        sa.Column("used_at", sa.DateTime(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_voucher"),
        sa.ForeignKeyConstraint(["customer_id"], ["contract.id"], name="fk_voucher__customer_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["package_id"], ["profile_package.id"], name="fk_voucher__package_id", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name="fk_voucher__reseller_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["used_by_subscriber_id"], ["subscriber.id"], name="fk_voucher__used_by_subscriber_id", ondelete="SET NULL"),
        sa.UniqueConstraint("reseller_id", "code_hash", name="uq_voucher__reseller_id_code_hash"),
        **COUNTED,
    )
    op.create_index("ix_voucher__customer_id", "voucher", ["customer_id"])
    op.create_index("ix_voucher__package_id", "voucher", ["package_id"])
    op.create_index("ix_voucher__used_by_subscriber_id", "voucher", ["used_by_subscriber_id"])
    op.create_table(
        "topup_log",
        pk(sa.Integer()),
        sa.Column("username", sa.String(127), nullable=True),
        sa.Column("timestamp", EPOCH3, nullable=False),
        sa.Column("type", sa.String(7), nullable=False),
        sa.Column("outcome", sa.String(6), nullable=False),
        sa.Column("message", sa.String(255), nullable=True),
        sa.Column("reseller_id", sa.Integer(), nullable=True),
        sa.Column("subscriber_id", sa.Integer(), nullable=True),
        sa.Column("contract_id", sa.Integer(), nullable=True),
        sa.Column("amount", MONEY, nullable=True),
        sa.Column("voucher_id", sa.Integer(), nullable=True),
        sa.Column("cash_balance_before", MONEY, nullable=True),
        sa.Column("cash_balance_after", MONEY, nullable=True),
        sa.Column("package_before_id", sa.Integer(), nullable=True),
        sa.Column("package_after_id", sa.Integer(), nullable=True),
        sa.Column("profile_before_id", sa.Integer(), nullable=True),
        sa.Column("profile_after_id", sa.Integer(), nullable=True),
        sa.Column("lock_level_before", sa.Integer(), nullable=True),
        sa.Column("lock_level_after", sa.Integer(), nullable=True),
        sa.Column("contract_balance_before_id", sa.Integer(), nullable=True),
        sa.Column("contract_balance_after_id", sa.Integer(), nullable=True),
        sa.Column("request_token", sa.String(255), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_topup_log"),
        sa.CheckConstraint("type IN ('cash', 'voucher')", name=op.f("ck_topup_log__type")),
        sa.CheckConstraint("outcome IN ('ok', 'failed')", name=op.f("ck_topup_log__outcome")),
        **COUNTED,
    )
    op.create_index("ix_topup_log__contract_id", "topup_log", ["contract_id"])
    op.create_index("ix_topup_log__request_token", "topup_log", ["request_token"])
    op.create_table(
        "invoice_template",
        pk(sa.Integer()),
        sa.Column("reseller_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("type", sa.String(4), nullable=False, server_default="svg"),
        sa.Column("data", LONG_TEXT, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_invoice_template"),
        sa.CheckConstraint("type IN ('svg', 'html')", name=op.f("ck_invoice_template__type")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name="fk_invoice_template__reseller_id", ondelete="CASCADE"),
        sa.UniqueConstraint("reseller_id", "name", name="uq_invoice_template__reseller_id_name"),
        **COUNTED,
    )
    op.create_table(
        "invoice",
        pk(sa.Integer()),
        sa.Column("contract_id", sa.Integer(), nullable=False),
        sa.Column("serial", sa.String(32), nullable=False),
        sa.Column("period_start", sa.DateTime(), nullable=False),
        sa.Column("period_end", sa.DateTime(), nullable=False),
        sa.Column("amount_net", MONEY, nullable=False, server_default=sa.text("0")),
        sa.Column("amount_vat", MONEY, nullable=False, server_default=sa.text("0")),
        sa.Column("amount_total", MONEY, nullable=False, server_default=sa.text("0")),
        sa.Column("data", LONG_BLOB, nullable=True),
        sa.Column("sent_at", sa.DateTime(), nullable=True),
        sa.Column("generator", sa.String(4), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_invoice"),
        sa.CheckConstraint("generator IN ('auto', 'web')", name=op.f("ck_invoice__generator")),
        sa.ForeignKeyConstraint(["contract_id"], ["contract.id"], name="fk_invoice__contract_id", ondelete="RESTRICT"),
        sa.UniqueConstraint("serial", name="uq_invoice__serial"),
        **COUNTED,
    )
    op.create_index("ix_invoice__contract_id", "invoice", ["contract_id"])

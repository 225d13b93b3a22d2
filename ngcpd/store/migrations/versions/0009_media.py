"""Sound files, voice box messages, faxes; hunt groups, telephones; reports of malicious calls, interceptions, WebRTC."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ngcpd.store.migrations.ddl import COUNTED, EPOCH3, LONG_BLOB, LONG_TEXT, TABLE, pk

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    _media()
    _devices()
    _special()


def _media() -> None:
    op.create_table(
        "sound_file",
        pk(sa.Integer()),
        sa.Column("set_id", sa.Integer(), nullable=False),
        sa.Column("group", sa.String(63), nullable=False),
        sa.Column("handle", sa.String(63), nullable=False),
        sa.Column("filename", sa.String(255), nullable=False),
        sa.Column("codec", sa.String(4), nullable=False, server_default="WAV"),
        sa.Column("loopplay", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sound_file"),
        sa.CheckConstraint("codec IN ('WAV', 'PCMA')", name=op.f("ck_sound_file__codec")),
        sa.ForeignKeyConstraint(["set_id"], ["sound_set.id"], name="fk_sound_file__set_id", ondelete="CASCADE"),
        sa.UniqueConstraint("set_id", "group", "handle", name="uq_sound_file__set_id_group_handle"),
        **COUNTED,
    )
    op.create_table(
        "sound_file_piece",
        sa.Column("owner_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("position", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("data", LONG_BLOB, nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "position", name="pk_sound_file_piece"),
        sa.ForeignKeyConstraint(["owner_id"], ["sound_file.id"], name="fk_sound_file_piece__owner_id", ondelete="CASCADE"),
        **TABLE,
    )
    op.create_table(
        "fax_journal",
        pk(sa.Integer()),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("time", EPOCH3, nullable=False),
        sa.Column("direction", sa.String(3), nullable=False, server_default="out"),
        sa.Column("duration", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("caller", sa.String(255), nullable=False, server_default=""),
        sa.Column("callee", sa.String(255), nullable=False, server_default=""),
        sa.Column("pages", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("reason", sa.String(255), nullable=False, server_default=""),
        sa.Column("status", sa.String(255), nullable=False, server_default=""),
        sa.Column("signal_rate", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("quality", sa.String(255), nullable=False, server_default=""),
        sa.Column("filename", sa.String(255), nullable=False, server_default=""),
        sa.Column("content_type", sa.String(63), nullable=False, server_default=""),
        sa.Column("sid", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_fax_journal"),
        sa.CheckConstraint("direction IN ('in', 'out', 'mtf')", name=op.f("ck_fax_journal__direction")),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_fax_journal__subscriber_id", ondelete="CASCADE"),
        sa.UniqueConstraint("sid", name="uq_fax_journal__sid"),
        **COUNTED,
    )
    op.create_index("ix_fax_journal__subscriber_id", "fax_journal", ["subscriber_id"])
    op.create_index("ix_fax_journal__time", "fax_journal", ["time"])
    op.create_table(
        "mail2fax_acl",
        pk(sa.Integer()),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("from_email", sa.String(255), nullable=True),
        sa.Column("received_from", sa.String(255), nullable=True),
        sa.Column("destination", sa.String(255), nullable=True),
        sa.Column("use_regex", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("id", name="pk_mail2fax_acl"),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_mail2fax_acl__subscriber_id", ondelete="CASCADE"),
        **COUNTED,
    )
    op.create_index("ix_mail2fax_acl__subscriber_id", "mail2fax_acl", ["subscriber_id"])
    op.create_table(
        "mail2fax_notify",
        pk(sa.Integer()),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mail2fax_notify"),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_mail2fax_notify__subscriber_id", ondelete="CASCADE"),
        sa.UniqueConstraint("subscriber_id", "destination", name="uq_mail2fax_notify__subscriber_id_destination"),
        **COUNTED,
    )
    op.create_table(
        "mail2fax_settings",
        pk(sa.Integer()),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("secret_key_enc", sa.String(1024), nullable=True),
        sa.Column("secret_key_renew", sa.String(7), nullable=False, server_default="never"),
        sa.Column("secret_key_modified_at", sa.DateTime(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mail2fax_settings"),
        sa.CheckConstraint("secret_key_renew IN ('never', 'daily', 'weekly', 'monthly')", name=op.f("ck_mail2fax_settings__secret_key_renew")),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_mail2fax_settings__subscriber_id", ondelete="CASCADE"),
        sa.UniqueConstraint("subscriber_id", name="uq_mail2fax_settings__subscriber_id"),
        **COUNTED,
    )
    op.create_table(
        "fax_job",
        pk(sa.Integer()),
        sa.Column("journal_id", sa.Integer(), nullable=False),
        sa.Column("pageheader", sa.String(255), nullable=True),
        sa.Column("text", LONG_TEXT, nullable=True),
        sa.Column("coverpage", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("notify", sa.String(255), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("next_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_fax_job"),
        sa.ForeignKeyConstraint(["journal_id"], ["fax_journal.id"], name="fk_fax_job__journal_id", ondelete="CASCADE"),
        sa.UniqueConstraint("journal_id", name="uq_fax_job__journal_id"),
        **COUNTED,
    )
    op.create_index("ix_fax_job__next_at", "fax_job", ["next_at"])
    op.create_table(
        "fax_journal_piece",
        sa.Column("owner_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("position", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("data", LONG_BLOB, nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "position", name="pk_fax_journal_piece"),
        sa.ForeignKeyConstraint(["owner_id"], ["fax_journal.id"], name="fk_fax_journal_piece__owner_id", ondelete="CASCADE"),
        **TABLE,
    )
    op.create_table(
        "voicemail_message",
        pk(sa.Integer()),
        sa.Column("box_id", sa.Integer(), nullable=False),
        sa.Column("folder", sa.String(7), nullable=False, server_default="INBOX"),
        sa.Column("msgnum", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("caller", sa.String(255), nullable=False, server_default=""),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.Column("duration", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("greeting_type", sa.String(7), nullable=True),
        sa.Column("msg_id", sa.String(40), nullable=True),
        sa.Column("audio", LONG_BLOB, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_voicemail_message"),
        sa.CheckConstraint(
            "folder IN ('INBOX', 'Old', 'Work', 'Friends', 'Family', 'Cust1', 'Cust2', 'Cust3', 'Cust4', 'Cust5', 'Cust6')",
            name=op.f("ck_voicemail_message__folder"),
        ),
        sa.CheckConstraint("greeting_type IN ('unavail', 'busy', 'temp', 'greet')", name=op.f("ck_voicemail_message__greeting_type")),
        sa.ForeignKeyConstraint(["box_id"], ["voicemail_box.id"], name="fk_voicemail_message__box_id", ondelete="CASCADE"),
        **COUNTED,
    )
    op.create_index("ix_voicemail_message__box_id_folder", "voicemail_message", ["box_id", "folder"])


def _devices() -> None:
    op.create_table(
        "device_model",
        pk(sa.Integer()),
        sa.Column("reseller_id", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(9), nullable=False, server_default="phone"),
        sa.Column("vendor", sa.String(255), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("front_image", LONG_BLOB, nullable=True),
        sa.Column("front_image_type", sa.String(32), nullable=True),
        sa.Column("mac_image", LONG_BLOB, nullable=True),
        sa.Column("mac_image_type", sa.String(32), nullable=True),
        sa.Column("extensions_num", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("bootstrap_method", sa.String(18), nullable=False, server_default="http"),
        sa.Column("bootstrap_uri", sa.String(255), nullable=False, server_default=""),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_device_model"),
        sa.CheckConstraint(
            "bootstrap_method IN ('http', 'redirect_panasonic', 'redirect_yealink', 'redirect_polycom')",
            name=op.f("ck_device_model__bootstrap_method"),
        ),
        sa.CheckConstraint("type IN ('phone', 'extension')", name=op.f("ck_device_model__type")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name="fk_device_model__reseller_id", ondelete="CASCADE"),
        sa.UniqueConstraint("reseller_id", "vendor", "model", name="uq_device_model__reseller_id_vendor_model"),
        **COUNTED,
    )
    op.create_table(
        "device_config",
        pk(sa.Integer()),
        sa.Column("device_id", sa.Integer(), nullable=False),
        sa.Column("release", sa.String(255), nullable=False),
        sa.Column("content_type", sa.String(255), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_device_config"),
        sa.ForeignKeyConstraint(["device_id"], ["device_model.id"], name="fk_device_config__device_id", ondelete="CASCADE"),
        **COUNTED,
    )
    op.create_index("ix_device_config__device_id", "device_config", ["device_id"])
    op.create_table(
        "device_firmware",
        pk(sa.Integer()),
        sa.Column("device_id", sa.Integer(), nullable=False),
        sa.Column("release", sa.String(255), nullable=False),
        sa.Column("filename", sa.String(255), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_device_firmware"),
        sa.ForeignKeyConstraint(["device_id"], ["device_model.id"], name="fk_device_firmware__device_id", ondelete="CASCADE"),
        **COUNTED,
    )
    op.create_index("ix_device_firmware__device_id", "device_firmware", ["device_id"])
    op.create_table(
        "device_line_range",
        pk(sa.Integer()),
        sa.Column("device_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("num_lines", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("can_private", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("can_shared", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("can_blf", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("id", name="pk_device_line_range"),
        sa.ForeignKeyConstraint(["device_id"], ["device_model.id"], name="fk_device_line_range__device_id", ondelete="CASCADE"),
        sa.UniqueConstraint("device_id", "name", name="uq_device_line_range__device_id_name"),
        **COUNTED,
    )
    op.create_table(
        "device_model_extension",
        pk(sa.Integer()),
        sa.Column("device_id", sa.Integer(), nullable=False),
        sa.Column("extension_id", sa.Integer(), nullable=False),
        sa.Column("order", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("id", name="pk_device_model_extension"),
        sa.ForeignKeyConstraint(["device_id"], ["device_model.id"], name="fk_device_model_extension__device_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["extension_id"], ["device_model.id"], name="fk_device_model_extension__extension_id", ondelete="CASCADE"),
        sa.UniqueConstraint("device_id", "extension_id", name="uq_device_model_extension__device_id_extension_id"),
        **COUNTED,
    )
    op.create_index("ix_device_model_extension__extension_id", "device_model_extension", ["extension_id"])
    op.create_table(
        "device_redirect_credentials",
        pk(sa.Integer()),
        sa.Column("device_id", sa.Integer(), nullable=False),
        sa.Column("user", sa.String(255), nullable=True),
        sa.Column("password_enc", sa.String(1024), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_device_redirect_credentials"),
        sa.ForeignKeyConstraint(["device_id"], ["device_model.id"], name="fk_device_redirect_credentials__device_id", ondelete="CASCADE"),
        sa.UniqueConstraint("device_id", name="uq_device_redirect_credentials__device_id"),
        **COUNTED,
    )
    op.create_table(
        "device_sync_parameter",
        pk(sa.Integer()),
        sa.Column("device_id", sa.Integer(), nullable=False),
        sa.Column("parameter_name", sa.String(16), nullable=False),
        sa.Column("parameter_value", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_device_sync_parameter"),
        sa.CheckConstraint(
            "parameter_name IN ('sync_uri', 'sync_method', 'sync_params', 'security_handler', 'profile')",
            name=op.f("ck_device_sync_parameter__parameter_name"),
        ),
        sa.ForeignKeyConstraint(["device_id"], ["device_model.id"], name="fk_device_sync_parameter__device_id", ondelete="CASCADE"),
        sa.UniqueConstraint("device_id", "parameter_name", name="uq_device_sync_parameter__device_id_parameter_name"),
        **COUNTED,
    )
    op.create_table(
        "device_config_piece",
        sa.Column("owner_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("position", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("data", LONG_BLOB, nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "position", name="pk_device_config_piece"),
        sa.ForeignKeyConstraint(["owner_id"], ["device_config.id"], name="fk_device_config_piece__owner_id", ondelete="CASCADE"),
        **TABLE,
    )
    op.create_table(
        "device_firmware_piece",
        sa.Column("owner_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("position", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("data", LONG_BLOB, nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "position", name="pk_device_firmware_piece"),
        sa.ForeignKeyConstraint(["owner_id"], ["device_firmware.id"], name="fk_device_firmware_piece__owner_id", ondelete="CASCADE"),
        **TABLE,
    )
    op.create_table(
        "device_key_annotation",
        pk(sa.Integer()),
        sa.Column("range_id", sa.Integer(), nullable=False),
        sa.Column("line_index", sa.Integer(), nullable=False),
        sa.Column("x", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("y", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("position", sa.String(11), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_device_key_annotation"),
        sa.CheckConstraint(
            "position IN ('top', 'bottom', 'left', 'right', 'topleft', 'topright', 'bottomleft', 'bottomright')",
            name=op.f("ck_device_key_annotation__position"),
        ),
        sa.ForeignKeyConstraint(["range_id"], ["device_line_range.id"], name="fk_device_key_annotation__range_id", ondelete="CASCADE"),
        sa.UniqueConstraint("range_id", "line_index", name="uq_device_key_annotation__range_id_line_index"),
        **COUNTED,
    )
    op.create_table(
        "device_profile",
        pk(sa.Integer()),
        sa.Column("config_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_device_profile"),
        sa.ForeignKeyConstraint(["config_id"], ["device_config.id"], name="fk_device_profile__config_id", ondelete="RESTRICT"),
        sa.UniqueConstraint("config_id", "name", name="uq_device_profile__config_id_name"),
        **COUNTED,
    )
    op.create_table(
        "device",
        pk(sa.Integer()),
        sa.Column("contract_id", sa.Integer(), nullable=False),
        sa.Column("profile_id", sa.Integer(), nullable=False),
        sa.Column("identifier", sa.String(255), nullable=False),
        sa.Column("station_name", sa.String(255), nullable=False),
        sa.Column("bootstrapped", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("insecure_transfer", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("encryption_key_enc", sa.String(1024), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_device"),
        sa.ForeignKeyConstraint(["contract_id"], ["contract.id"], name="fk_device__contract_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["profile_id"], ["device_profile.id"], name="fk_device__profile_id", ondelete="RESTRICT"),
        sa.UniqueConstraint("identifier", name="uq_device__identifier"),
        **COUNTED,
    )
    op.create_index("ix_device__contract_id", "device", ["contract_id"])
    op.create_index("ix_device__profile_id", "device", ["profile_id"])
    op.create_table(
        "pbx_group_member",
        pk(sa.Integer()),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("member_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("rank", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("id", name="pk_pbx_group_member"),
        sa.ForeignKeyConstraint(["group_id"], ["subscriber.id"], name="fk_pbx_group_member__group_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["member_id"], ["subscriber.id"], name="fk_pbx_group_member__member_id", ondelete="CASCADE"),
        sa.UniqueConstraint("group_id", "member_id", name="uq_pbx_group_member__group_id_member_id"),
        **COUNTED,
    )
    op.create_index("ix_pbx_group_member__member_id", "pbx_group_member", ["member_id"])
    op.create_table(
        "device_line",
        pk(sa.Integer()),
        sa.Column("device_id", sa.Integer(), nullable=False),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("range_id", sa.Integer(), nullable=False),
        sa.Column("key_num", sa.Integer(), nullable=False),
        sa.Column("line_type", sa.String(7), nullable=False, server_default="private"),
        sa.Column("extension_unit", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("id", name="pk_device_line"),
        sa.CheckConstraint("line_type IN ('private', 'shared', 'blf')", name=op.f("ck_device_line__line_type")),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name="fk_device_line__device_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_device_line__subscriber_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["range_id"], ["device_line_range.id"], name="fk_device_line__range_id", ondelete="CASCADE"),
        sa.UniqueConstraint("device_id", "range_id", "extension_unit", "key_num", name="uq_device_line__device_id_range_id_extension_unit_key_num"),
        **COUNTED,
    )
    op.create_index("ix_device_line__range_id", "device_line", ["range_id"])
    op.create_index("ix_device_line__subscriber_id", "device_line", ["subscriber_id"])


def _special() -> None:
    op.create_table(
        "malicious_calls",
        pk(sa.Integer()),
        sa.Column("callee_uuid", sa.String(36), nullable=False),
        sa.Column("call_id", sa.String(255), nullable=False),
        sa.Column("start_time", EPOCH3, nullable=False),
        sa.Column("duration", EPOCH3, nullable=False),
        sa.Column("caller", sa.String(255), nullable=False),
        sa.Column("callee", sa.String(255), nullable=False),
        sa.Column("source", sa.String(255), nullable=True),
        sa.Column("reported_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_malicious_calls"),
        sa.UniqueConstraint("call_id", name="uq_malicious_calls__call_id"),
        **COUNTED,
    )
    op.create_index("ix_malicious_calls__callee_uuid", "malicious_calls", ["callee_uuid"])
    op.create_table(
        "interception",
        pk(sa.Integer()),
        sa.Column("reseller_id", sa.Integer(), nullable=True),
        sa.Column("liid", sa.String(63), nullable=False),
        sa.Column("number", sa.String(63), nullable=False),
        sa.Column("cc_required", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("delivery_host", sa.String(64), nullable=False),
        sa.Column("delivery_port", sa.Integer(), nullable=False),
        sa.Column("delivery_user", sa.String(255), nullable=True),
        sa.Column("delivery_pass_enc", sa.String(1024), nullable=True),
        sa.Column("cc_delivery_host", sa.String(64), nullable=True),
        sa.Column("cc_delivery_port", sa.Integer(), nullable=True),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("sip_username", sa.String(127), nullable=False),
        sa.Column("sip_domain", sa.String(127), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("modified_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_interception"),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name="fk_interception__reseller_id", ondelete="SET NULL"),
        **COUNTED,
    )
    op.create_index("ix_interception__number", "interception", ["number"])
    op.create_index("ix_interception__reseller_id", "interception", ["reseller_id"])
    op.create_table(
        "rtc_network",
        pk(sa.Integer()),
        sa.Column("reseller_id", sa.Integer(), nullable=False),
        sa.Column("connector", sa.String(17), nullable=False),
        sa.Column("tag", sa.String(127), nullable=False),
        sa.Column("config", LONG_TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rtc_network"),
        sa.CheckConstraint(
            "connector IN ('webrtc', 'conference', 'xmpp-connector', 'sip-connector', 'sipwise-connector')", name=op.f("ck_rtc_network__connector")
        ),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name="fk_rtc_network__reseller_id", ondelete="CASCADE"),
        sa.UniqueConstraint("reseller_id", "tag", name="uq_rtc_network__reseller_id_tag"),
        **COUNTED,
    )
    op.create_table(
        "rtc_session",
        pk(sa.Integer()),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("token_enc", sa.String(512), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rtc_session"),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscriber.id"], name="fk_rtc_session__subscriber_id", ondelete="CASCADE"),
        **COUNTED,
    )
    op.create_index("ix_rtc_session__expires_at", "rtc_session", ["expires_at"])
    op.create_index("ix_rtc_session__subscriber_id", "rtc_session", ["subscriber_id"])

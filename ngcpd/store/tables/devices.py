"""Cloud PBX: members of hunt groups, the catalogue of telephones, the customers' telephones (data model 11, 17.2; device management 1.1)."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.store.tables._base import LongBlob, choice, flag, integer, pk, ref, stamps, table, text
from ngcpd.store.tables.media import pieces

MODEL_TYPES = ("phone", "extension")
BOOTSTRAPS = ("http", "redirect_panasonic", "redirect_yealink", "redirect_polycom")
LABELS = ("top", "bottom", "left", "right", "topleft", "topright", "bottomleft", "bottomright")
LINE_TYPES = ("private", "shared", "blf")
SYNC_PARAMETERS = ("sync_uri", "sync_method", "sync_params", "security_handler", "profile")

# `position` orders the members of a group, `rank` the groups of a member.
pbx_group_member = table(
    "pbx_group_member",
    pk(),
    ref("group_id", "subscriber", on_delete="CASCADE", index=False),
    ref("member_id", "subscriber", on_delete="CASCADE"),
    integer("position", default=0),
    integer("rank", default=0),
    sa.UniqueConstraint("group_id", "member_id"),
)

# A telephone or a key module (`type` extension). `extensions_num`: how many modules a telephone takes.
device_model = table(
    "device_model",
    pk(),
    ref("reseller_id", "reseller", on_delete="CASCADE", index=False),
    *choice("type", MODEL_TYPES, default="phone"),
    text("vendor", 255),
    text("model", 255),
    sa.Column("front_image", LongBlob, nullable=True),
    text("front_image_type", 32, null=True),
    sa.Column("mac_image", LongBlob, nullable=True),
    text("mac_image_type", 32, null=True),
    integer("extensions_num", default=0),
    *choice("bootstrap_method", BOOTSTRAPS, default="http"),
    text("bootstrap_uri", 255, default=""),
    *stamps(),
    sa.UniqueConstraint("reseller_id", "vendor", "model"),
)

# A block of keys; `num_lines` is how many.
device_line_range = table(
    "device_line_range",
    pk(),
    ref("device_id", "device_model", on_delete="CASCADE", index=False),
    text("name", 255),
    integer("num_lines", default=0),
    flag("can_private"),
    flag("can_shared"),
    flag("can_blf"),
    sa.UniqueConstraint("device_id", "name"),
)

# Where a key is on the front image.
device_key_annotation = table(
    "device_key_annotation",
    pk(),
    ref("range_id", "device_line_range", on_delete="CASCADE", index=False),
    integer("line_index"),
    integer("x", default=0),
    integer("y", default=0),
    *choice("position", LABELS, null=True),
    sa.UniqueConstraint("range_id", "line_index"),
)

device_model_extension = table(
    "device_model_extension",
    pk(),
    ref("device_id", "device_model", on_delete="CASCADE", index=False),
    ref("extension_id", "device_model", on_delete="CASCADE"),
    integer("order", default=0),
    sa.UniqueConstraint("device_id", "extension_id"),
)

device_sync_parameter = table(
    "device_sync_parameter",
    pk(),
    ref("device_id", "device_model", on_delete="CASCADE", index=False),
    *choice("parameter_name", SYNC_PARAMETERS),
    text("parameter_value", 255),
    sa.UniqueConstraint("device_id", "parameter_name"),
)

# Account at the vendor's redirect server.
device_redirect_credentials = table(
    "device_redirect_credentials",
    pk(),
    ref("device_id", "device_model", on_delete="CASCADE", index=False),
    text("user", 255, null=True),
    text("password_enc", 1024, null=True),
    sa.UniqueConstraint("device_id"),
)

# `release` is the version of the contents (`version` counts changes of the row, as everywhere).
device_firmware = table(
    "device_firmware",
    pk(),
    ref("device_id", "device_model", on_delete="CASCADE"),
    text("release", 255),
    text("filename", 255),
    integer("size"),
    *stamps(),
)
device_firmware_piece = pieces("device_firmware")

device_config = table(
    "device_config",
    pk(),
    ref("device_id", "device_model", on_delete="CASCADE"),
    text("release", 255),
    text("content_type", 255),
    integer("size"),
    *stamps(),
)
device_config_piece = pieces("device_config")

device_profile = table(
    "device_profile",
    pk(),
    ref("config_id", "device_config", index=False),
    text("name", 255),
    *stamps(),
    sa.UniqueConstraint("config_id", "name"),
)

# `identifier` is the MAC address in lower case without separators, or the vendor's own name.
device = table(
    "device",
    pk(),
    ref("contract_id", "contract", on_delete="CASCADE"),
    ref("profile_id", "device_profile"),
    text("identifier", 255),
    text("station_name", 255),
    flag("bootstrapped"),
    flag("insecure_transfer"),
    text("encryption_key_enc", 1024, null=True),
    *stamps(),
    sa.UniqueConstraint("identifier"),
)

# `key_num` counts from 0 inside the range; `extension_unit` 0 is the telephone, 1.. its modules.
device_line = table(
    "device_line",
    pk(),
    ref("device_id", "device", on_delete="CASCADE", index=False),
    ref("subscriber_id", "subscriber", on_delete="CASCADE"),
    ref("range_id", "device_line_range", on_delete="CASCADE"),
    integer("key_num"),
    *choice("line_type", LINE_TYPES, default="private"),
    integer("extension_unit", default=0),
    sa.UniqueConstraint("device_id", "range_id", "extension_unit", "key_num"),
)

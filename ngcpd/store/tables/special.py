"""Reports of malicious calls, interceptions, the WebRTC back end (data model 13, 14)."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.store.tables._base import Epoch3, LongText, choice, fixed, flag, integer, moment, pk, ref, stamps, table, text

RTC_CONNECTORS = ("webrtc", "conference", "xmpp-connector", "sip-connector", "sipwise-connector")

# `start_time` is the epoch, `duration` seconds.
malicious_calls = table(
    "malicious_calls",
    pk(),
    text("callee_uuid", 36),
    text("call_id", 255),
    fixed("start_time", Epoch3()),
    fixed("duration", Epoch3()),
    text("caller", 255),
    text("callee", 255),
    text("source", 255, null=True),
    moment("reported_at"),
    sa.UniqueConstraint("call_id"),
    sa.Index(None, "callee_uuid"),
)

# A target of lawful interception: where signalling (`delivery_*`) and, with `cc_required`, media go. `deleted` rows are kept.
interception = table(
    "interception",
    pk(),
    ref("reseller_id", "reseller", null=True, on_delete="SET NULL"),
    text("liid", 63),
    text("number", 63),
    flag("cc_required"),
    text("delivery_host", 64),
    integer("delivery_port"),
    text("delivery_user", 255, null=True),
    text("delivery_pass_enc", 1024, null=True),
    text("cc_delivery_host", 64, null=True),
    integer("cc_delivery_port", null=True),
    text("uuid", 36),
    text("sip_username", 127),
    text("sip_domain", 127),
    flag("deleted"),
    *stamps(),
    sa.Index(None, "number"),
)

rtc_network = table(
    "rtc_network",
    pk(),
    ref("reseller_id", "reseller", on_delete="CASCADE", index=False),
    *choice("connector", RTC_CONNECTORS),
    text("tag", 127),
    sa.Column("config", LongText, nullable=False),
    sa.UniqueConstraint("reseller_id", "tag"),
)

rtc_session = table(
    "rtc_session",
    pk(),
    ref("subscriber_id", "subscriber", on_delete="CASCADE"),
    text("token_enc", 512),
    moment("expires_at"),
    sa.Index(None, "expires_at"),
)

"""Raw accounting rows, CDRs and their helpers (data model 13; billing 1.1, 2.1, 2.2). Column names, order and enum texts are a contract
with integrators. These tables only grow and have no foreign keys to the rest.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ngcpd.store.tables._base import BigId, Epoch3, Money, choice, fixed, flag, integer, moment, pk, table, text

CALL_TYPES = ("call", "cfu", "cft", "cfb", "cfna")
CALL_STATES = ("ok", "busy", "noanswer", "cancel", "offline", "timeout", "other")
PARTIES = ("carrier", "reseller", "customer")


def _acc(name: str) -> sa.Table:
    # The leg strings may have 10240 characters each, which is too much for two VARCHAR in one row of MariaDB; tags have 128 as in
    # call processing (the tables of the original cut them at 64).
    return table(
        name,
        pk(big=True),
        text("method", 16, default=""),
        text("from_tag", 128, default=""),
        text("to_tag", 128, default=""),
        text("callid", 255, default=""),
        text("sip_code", 3, default=""),
        text("sip_reason", 128, default=""),
        moment("time"),
        fixed("time_hires", Epoch3()),
        sa.Column("src_leg", sa.Text(), nullable=True),
        sa.Column("dst_leg", sa.Text(), nullable=True),
        text("dst_user", 64, default=""),
        text("dst_ouser", 64, default=""),
        text("dst_domain", 128, default=""),
        text("src_user", 64, default=""),
        text("src_domain", 128, default=""),
        sa.Index(None, "callid"),
        sa.Index(None, "time_hires"),
    )


acc = _acc("acc")
acc_backup = _acc("acc_backup")
acc_trash = _acc("acc_trash")

# How far the journal of a node has been written to its table: advanced in the transaction that inserts the batch. `epoch` and `seq` number the
# journal's records; `stream` tells apart what is followed.
acc_mark = table(
    "acc_mark",
    sa.Column("node", sa.String(64), primary_key=True),
    sa.Column("stream", sa.String(32), primary_key=True, server_default="acc"),
    sa.Column("epoch", sa.BigInteger(), nullable=False),
    sa.Column("seq", sa.BigInteger(), nullable=False),
)


def _party(side: str) -> tuple[sa.Column[Any], ...]:
    def each(suffix: str) -> tuple[str, ...]:
        return tuple(f"{side}_{party}_{suffix}" for party in PARTIES)

    return (
        *(fixed(n, Money(), null=True) for n in each("cost")),
        *(integer(n, null=True) for n in each("free_time")),
        *(integer(n, null=True) for n in each("billing_fee_id")),
        *(integer(n, null=True) for n in each("billing_zone_id")),
    )


cdr = table(
    "cdr",
    pk(big=True),
    moment("update_time"),
    text("source_user_id", 36),
    text("source_provider_id", 255),
    text("source_external_subscriber_id", 255, null=True),
    text("source_external_contract_id", 255, null=True),
    integer("source_account_id", default=0),
    text("source_user", 255),
    text("source_domain", 255),
    text("source_cli", 64),
    flag("source_clir"),
    text("source_ip", 64),
    *(text(f"source_gpp{n}", 255, null=True) for n in range(10)),
    text("source_lnp_prefix", 255, default=""),
    text("destination_user_id", 36),
    text("destination_provider_id", 255),
    text("destination_external_subscriber_id", 255, null=True),
    text("destination_external_contract_id", 255, null=True),
    integer("destination_account_id", default=0),
    text("destination_user", 255),
    text("destination_domain", 255),
    text("destination_user_dialed", 255),
    text("destination_user_in", 255),
    text("destination_domain_in", 255),
    *(text(f"destination_gpp{n}", 255, null=True) for n in range(10)),
    text("destination_lnp_prefix", 255, default=""),
    text("peer_auth_user", 255, null=True),
    text("peer_auth_realm", 255, null=True),
    *choice("call_type", CALL_TYPES, default="call"),
    *choice("call_status", CALL_STATES, default="ok"),
    text("call_code", 3),
    fixed("init_time", Epoch3()),
    fixed("start_time", Epoch3()),
    fixed("duration", Epoch3()),
    text("call_id", 255),
    *_party("source"),
    *_party("destination"),
    *(flag(f"frag_{party}_onpeak", None, null=True) for party in PARTIES),
    flag("is_fragmented", None, null=True),
    flag("split"),
    moment("rated_at", null=True),
    *choice("rating_status", ("unrated", "ok", "failed"), default="unrated"),
    moment("exported_at", null=True),
    *choice("export_status", ("unexported", "ok", "failed"), default="unexported"),
    sa.Index(None, "source_user_id"),
    sa.Index(None, "destination_user_id"),
    sa.Index(None, "source_user", "source_domain", "source_cli"),
    sa.Index(None, "destination_user", "destination_domain"),
    sa.Index(None, "destination_user_in", "destination_domain_in"),
    sa.Index(None, "source_provider_id"),
    sa.Index(None, "destination_provider_id"),
    sa.Index(None, "call_id"),
    sa.Index(None, "rating_status"),
    sa.Index(None, "export_status"),
    sa.Index(None, "start_time"),
    sa.Index(None, "source_account_id", "start_time"),
    sa.Index(None, "destination_account_id", "start_time"),
    sa.Index(None, "source_cli", "destination_user_in", "start_time"),
)

# Event records (EDR).
events = table(
    "events",
    pk(big=True),
    text("type", 255),
    integer("subscriber_id"),
    integer("reseller_id", default=1),
    text("old_status", 255, null=True),
    text("new_status", 255),
    fixed("timestamp", Epoch3()),
    *choice("export_status", ("unexported", "ok", "filtered", "failed"), default="unexported"),
    moment("exported_at", null=True),
    sa.Index(None, "export_status"),
    sa.Index(None, "timestamp"),
)

# What live credit control has taken for a call. `source_user_id`: two forwarded legs of one call must not be mixed up.
prepaid_costs = table(
    "prepaid_costs",
    pk(big=True),
    text("call_id", 255),
    text("source_user_id", 36, default="0"),
    fixed("cost", Money()),
    integer("free_time_used"),
    moment("timestamp"),
    sa.Index(None, "call_id"),
    sa.Index(None, "timestamp"),
)

# State of an exporter: `<exporter>-lastid`, `<exporter>-lastseq` ...
mark = table(
    "mark",
    pk(),
    text("collector", 255),
    sa.Column("acc_id", BigId, nullable=False),
    sa.UniqueConstraint("collector"),
)

# Final SIP codes per period (start of hour, day or month).
call_info = table(
    "call_info",
    pk(),
    text("sip_code", 3),
    moment("period"),
    integer("amount", default=0),
    sa.UniqueConstraint("sip_code", "period"),
)

"""Reports of malicious calls, lawful interception, and the WebRTC back end (data model 13, 14; SOAP 5.3 for interceptions)."""

from __future__ import annotations

import datetime
import json

import sqlalchemy as sa

from ngcpd.provisioning.errors import Invalid
from ngcpd.provisioning.fields import Address, Array, Bool, Enum, Field, Int, Json, Moment, Number, Object, Text, shown
from ngcpd.provisioning.query import CHUNK
from ngcpd.provisioning.resource import CHANGE, FULL_PATCH, ID, READ_ONLY, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.provisioning.resources.calls import Epoch
from ngcpd.provisioning.resources.features import below
from ngcpd.provisioning.units import update_row
from ngcpd.store.credentials import VaultError
from ngcpd.store.db import insert, now
from ngcpd.store.tables.identity import domain, number, subscriber
from ngcpd.store.tables.special import RTC_CONNECTORS, interception, malicious_calls, rtc_network, rtc_session
from ngcpd.store.tables.tenancy import reseller

SESSION = datetime.timedelta(hours=1)
"""How long a WebRTC session may be used (assumed)."""


# --------------------------------------------------------------------------------------------------------------- malicious calls
_OWNER = (
    sa.select(domain.c.reseller_id)
    .join(subscriber, subscriber.c.domain_id == domain.c.id)
    .where(subscriber.c.uuid == malicious_calls.c.callee_uuid)
    .correlate(malicious_calls)
    .scalar_subquery()
)


MALICIOUS = Resource(
    name="maliciouscalls",
    entity="maliciouscall",
    help="A call that its callee reported as malicious.",
    table=malicious_calls,
    scope=_OWNER,
    extra={"reseller_id": _OWNER},
    fields=(
        ID,
        shown("call_id", Text(255), "Call-ID"),
        shown("caller", Text(255), "Who called"),
        shown("callee", Text(255), "Who reported it"),
        shown("start_time", Epoch(), "When it began"),
        shown("duration", Number(3), "Seconds"),
        shown("source", Text(255), "Where the report comes from"),
        shown("reported_at", Moment(), "When it was reported"),
        shown("reseller_id", Int(), "Reseller of the callee"),
    ),
    filters=(
        Filter("reseller_id", "int", _OWNER),
        Filter("caller", "like"),
        Filter("callee", "like"),
        Filter("call_id", "string"),
    ),
    collection=READ_ONLY,
    item=(*READ_ONLY, "DELETE"),
    patch=(),
    priority="P3",
)


# ----------------------------------------------------------------------------------------------------------------- interceptions
def check_interception(work: Work, values: Values, row: Row | None) -> None:
    """The number must be an active subscriber's, who is kept with it; media need a place to go."""
    who = work.conn.execute(
        sa.select(subscriber.c.uuid, subscriber.c.username, domain.c.name, domain.c.reseller_id)
        .join(number, number.c.subscriber_id == subscriber.c.id)
        .join(domain, domain.c.id == subscriber.c.domain_id)
        .where(number.c.e164 == values["number"], subscriber.c.status == "active")
    ).one_or_none()
    if who is None:
        raise Invalid([("number", values["number"], "there is no active subscriber with this number")])
    values["_who"] = who
    for name in ("x3_host", "x3_port"):
        if values["x3_required"] and values.get(name) is None:
            raise Invalid([(name, None, f"{name} field is required with x3_required")])


def _columns(values: Values) -> Values:
    who = values["_who"]
    return {
        "liid": values["liid"],
        "number": values["number"],
        "cc_required": values["x3_required"],
        "delivery_host": values["x2_host"],
        "delivery_port": values["x2_port"],
        "delivery_user": values.get("x2_user"),
        "cc_delivery_host": values.get("x3_host") if values["x3_required"] else None,
        "cc_delivery_port": values.get("x3_port") if values["x3_required"] else None,
        "reseller_id": who.reseller_id,
        "uuid": who.uuid,
        "sip_username": who.username,
        "sip_domain": who.name,
    }


def _sealed(work: Work, key: int, values: Values) -> Values:
    if "x2_password" not in values:
        return {}
    given = values["x2_password"]
    return {"delivery_pass_enc": None if given is None else work.env.vault.seal(given, f"interception:{key}")}


def create_interception(work: Work, values: Values) -> int:
    at = now(work.conn)
    key = insert(work.conn, interception, **_columns(values), created_at=at, modified_at=at)
    sealed = _sealed(work, key, values)
    if sealed:
        work.conn.execute(sa.update(interception).where(interception.c.id == key).values(**sealed))
    return key


def update_interception(work: Work, row: Row, values: Values) -> None:
    update_row(work, interception, row["id"], {**_columns(values), **_sealed(work, row["id"], values)})


def end_interception(work: Work, row: Row) -> None:
    """The row stays, for the record."""
    update_row(work, interception, row["id"], {"deleted": True})


PORT = Int(1, 65_535)
INTERCEPTIONS = Resource(
    name="interceptions",
    entity="interception",
    help="A target of lawful interception: where its signalling (x2) and media (x3) are delivered.",
    table=interception,
    where=(interception.c.deleted.is_(False),),
    roles=("admin",),
    flags={"read": "lawful_intercept", "write": "lawful_intercept"},
    fields=(
        ID,
        Field("liid", Text(63, shortest=1), required=True, help="Number of the order"),
        Field("number", Text(42, pattern="[0-9]+", wrong="Invalid number"), required=True, help="E.164 number of an active subscriber"),
        Field("x2_host", Address(), required=True, column="delivery_host", help="Where signalling goes"),
        Field("x2_port", PORT, required=True, column="delivery_port", help="Its port"),
        Field("x2_user", Text(255), nullable=True, column="delivery_user", help="Its login"),
        Field("x2_password", Text(255), nullable=True, keep=True, write_only=True, secret=True, column=None, help="Its password"),
        Field("x3_required", Bool(), default=False, column="cc_required", help="Media are delivered, too"),
        Field("x3_host", Address(), nullable=True, column="cc_delivery_host", help="Where media go"),
        Field("x3_port", PORT, nullable=True, column="cc_delivery_port", help="Its port"),
    ),
    filters=(Filter("liid", "string"), Filter("number", "string")),
    priority="P3",
    check=check_interception,
    create=create_interception,
    update=update_interception,
    delete=end_interception,
    example={"liid": "4711", "number": "43770041001", "x2_host": "192.0.2.60", "x2_port": 5555},
)


# ------------------------------------------------------------------------------------------------------------------------ WebRTC
NETWORK = Object(
    (
        Field("connector", Enum(RTC_CONNECTORS), required=True, help="Kind"),
        Field("tag", Text(127, shortest=1), required=True, help="Name, unique"),
        Field("config", Json({"type": "object"}), required=True, help="Settings of the connector"),
    )
)
CONFIG_MOST = 100_000


def check_networks(work: Work, values: Values, row: Row | None) -> None:
    tags = [entry["tag"] for entry in values["networks"]]
    for entry in values["networks"]:
        if not isinstance(entry["config"], dict):
            raise Invalid([("networks_config", None, "Value must be an object")])
        if len(json.dumps(entry["config"])) > CONFIG_MOST:
            raise Invalid([("networks_config", None, f"must not exceed {CONFIG_MOST} characters")])
        if tags.count(entry["tag"]) > 1:
            raise Invalid([("networks_tag", entry["tag"], "tag is given twice")])


def show_networks(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    keys = [row["id"] for row in rows]
    found: dict[int, list[Doc]] = {key: [] for key in keys}
    for at in range(0, len(keys), CHUNK):
        query = sa.select(rtc_network).where(rtc_network.c.reseller_id.in_(keys[at : at + CHUNK])).order_by(rtc_network.c.id)
        for one in work.conn.execute(query):
            found[one.reseller_id].append({"connector": one.connector, "tag": one.tag, "config": json.loads(one.config)})
    for doc, row in zip(docs, rows, strict=True):
        doc["networks"] = found[row["id"]]


def update_networks(work: Work, row: Row, values: Values) -> None:
    work.conn.execute(sa.delete(rtc_network).where(rtc_network.c.reseller_id == row["id"]))
    fresh = [{**entry, "config": json.dumps(entry["config"], ensure_ascii=False), "reseller_id": row["id"]} for entry in values["networks"]]
    if fresh:
        work.conn.execute(sa.insert(rtc_network), fresh)


NETWORKS = Resource(
    name="rtcnetworks",
    entity="rtcnetwork",
    help="The WebRTC connectors of a reseller; the item has the reseller's number.",
    table=reseller,
    where=(reseller.c.status != "terminated",),
    scope=reseller.c.id,
    fields=(
        ID,
        Field("reseller_id", Int(1), read_only=True, column="id", help="Reseller"),
        Field("networks", Array(NETWORK, 100), required=True, column=None, help="Connectors"),
    ),
    links=(Link("resellers", field="reseller_id"),),
    collection=READ_ONLY,
    item=CHANGE,
    patch=FULL_PATCH,
    priority="P3",
    check=check_networks,
    show=show_networks,
    update=update_networks,
)


def check_session(work: Work, values: Values, row: Row | None) -> None:
    """WebRTC must be on for the subscriber's reseller. What has expired goes."""
    enabled = (
        sa.select(reseller.c.enable_rtc).join(domain, domain.c.reseller_id == reseller.c.id).join(subscriber, subscriber.c.domain_id == domain.c.id)
    )
    if not work.conn.scalar(enabled.where(subscriber.c.id == values["subscriber_id"])):
        raise Invalid([("subscriber_id", values["subscriber_id"], "WebRTC is not enabled for the reseller")])
    work.conn.execute(sa.delete(rtc_session).where(rtc_session.c.expires_at <= now(work.conn)))


def create_session(work: Work, values: Values) -> int:
    at, who = now(work.conn), values["subscriber_id"]
    sealed = work.env.vault.seal(work.env.rng.bytes(32).hex(), f"rtc:{who}")
    return insert(work.conn, rtc_session, subscriber_id=who, token_enc=sealed, expires_at=at + SESSION)


def show_sessions(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    for doc, row in zip(docs, rows, strict=True):
        try:
            doc["rtc_browser_token"] = work.env.vault.open(row["token_enc"], f"rtc:{row['subscriber_id']}")
        except VaultError:
            doc["rtc_browser_token"] = None  # sealed with another key: there is nothing to show


def not_expired(work: Work) -> list[sa.ColumnElement[bool]]:
    return [rtc_session.c.expires_at > now(work.conn)]


SESSIONS = below(
    "rtcsessions",
    "rtcsession",
    rtc_session,
    (Field("rtc_browser_token", Text(64), read_only=True, secret=True, column=None, help="Token for the browser"),),
    help="A WebRTC session of a subscriber; it ends after an hour.",
    collection=("GET", "HEAD", "OPTIONS", "POST"),
    item=READ_ONLY,
    patch=(),
    priority="P3",
    check=check_session,
    narrow=not_expired,
    create=create_session,
    show=show_sessions,
    example={"subscriber_id": 4},
)

RESOURCES = [MALICIOUS, INTERCEPTIONS, NETWORKS, SESSIONS]

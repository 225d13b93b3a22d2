"""What a fresh system holds (data model 15.1-15.4). `seed` is a unit of work; run again it changes nothing but the preference catalogue, which
follows the package.
"""

from __future__ import annotations

import datetime
from importlib import resources
from typing import Any

import sqlalchemy as sa

from ngcpd.runtime.ports import Rng
from ngcpd.store import catalogue, changes
from ngcpd.store.credentials import Argon, Vault, digest_hashes, random_password
from ngcpd.store.db import insert, now
from ngcpd.store.intervals import to_utc
from ngcpd.store.tables import billing, identity, preferences, tenancy

SYSTEM_DOMAIN = "voip.sipwise.local"
SYSTEM_USERS = ("no_such_number", "nagios")
MAILS = (
    "subscriber_default_email",
    "passreset_default_email",
    "invoice_default_email",
    "credit_warning_default_email",
    "customer_fraud_lock_default_email",
    "customer_fraud_warning_default_email",
)
PRODUCTS = (
    (1, "pstnpeering", "PSTN_PEERING", "PSTN Peering"),
    (2, "sippeering", "SIP_PEERING", "SIP Peering"),
    (3, "reseller", "VOIP_RESELLER", "VoIP Reseller"),
    (4, "sipaccount", "SIP_ACCOUNT", "Basic SIP Account"),
    (5, "pbxaccount", "PBX_ACCOUNT", "Cloud PBX Account"),
)


def seed(conn: sa.Connection, rng: Rng, vault: Vault, argon: Argon, zone: datetime.tzinfo = datetime.UTC, system_domain: str = SYSTEM_DOMAIN) -> bool:
    """Fill an empty database; True when that was done. `zone` is the server's time zone."""
    sync_catalogue(conn)
    if conn.scalar(sa.select(sa.func.count()).select_from(tenancy.reseller)):
        return False
    at = now(conn)
    stamp = {"created_at": at, "modified_at": at}
    _tenancy(conn, stamp, argon)
    _billing(conn, stamp, at, zone)
    _mails(conn, stamp)
    _system_domain(conn, stamp, rng, vault, system_domain)
    return True


def sync_catalogue(conn: sa.Connection) -> bool:
    """Make the catalogue tables equal to the packaged catalogue; True when something was to be done."""
    known = catalogue.load()
    attributes = [
        {
            "attribute": a.name,
            "group": a.group,
            "label": a.label,
            "data_type": a.type,
            "max_occur": a.max_occur,
            "levels": "|".join(level for level in catalogue.LEVELS if level in a.levels),
            "internal": a.internal,
            "expose_to_customer": a.expose,
            "read_only": a.read_only,
            "description": a.meaning,
        }
        for a in known.values()
    ]
    choices = [
        {"attribute": a.name, "label": c.label, "value": c.value, "level": level, "is_default": level in c.defaults}
        for a in known.values()
        for c in a.choices
        for level in catalogue.LEVELS
        if level in c.levels
    ]
    if _rows(conn, preferences.preference) == attributes and _rows(conn, preferences.preference_enum) == choices:
        return False
    conn.execute(sa.delete(preferences.preference_enum))
    conn.execute(sa.delete(preferences.preference))
    # The ids follow the catalogue's order.
    conn.execute(sa.insert(preferences.preference), [{"id": n, **row} for n, row in enumerate(attributes, 1)])
    conn.execute(sa.insert(preferences.preference_enum), [{"id": n, **row} for n, row in enumerate(choices, 1)])
    return True


def _rows(conn: sa.Connection, table: sa.Table) -> list[dict[str, Any]]:
    columns = [c for c in table.columns if c.name != "id"]
    return [dict(row) for row in conn.execute(sa.select(*columns).order_by(table.c.id)).mappings()]


def _tenancy(conn: sa.Connection, stamp: dict[str, Any], argon: Argon) -> None:
    conn.execute(sa.insert(tenancy.product), [{"id": i, "class": c, "handle": h, "name": n} for i, c, h, n in PRODUCTS])
    conn.execute(
        sa.insert(tenancy.contact),
        [
            {"id": 1, "reseller_id": 1, "email": "default-customer@default.invalid", **stamp},
            {"id": 2, "reseller_id": None, "email": "default-system@default.invalid", **stamp},
        ],
    )
    conn.execute(
        sa.insert(tenancy.contract), {"id": 1, "contact_id": 2, "product_id": 3, "status": "active", "activated_at": stamp["created_at"], **stamp}
    )
    conn.execute(sa.insert(tenancy.reseller), {"id": 1, "contract_id": 1, "name": "default", "status": "active", **stamp})
    rights = ("is_master", "is_superuser", "is_active", "show_passwords", "call_data", "billing_data", "lawful_intercept")
    conn.execute(
        sa.insert(tenancy.admin),
        {
            "id": 1,
            "reseller_id": 1,
            "login": "administrator",
            "password_hash": argon.hash("administrator"),
            "read_only": False,
            **dict.fromkeys(rights, True),
            **stamp,
        },
    )
    changes.note_all(conn, [("contract", 1), ("reseller", 1), ("admin", 1)])


def _billing(conn: sa.Connection, stamp: dict[str, Any], at: datetime.datetime, zone: datetime.tzinfo) -> None:
    conn.execute(
        sa.insert(billing.billing_profile),
        {"id": 1, "reseller_id": 1, "handle": "default", "name": "Default Billing Profile", "prepaid": False, **stamp},
    )
    conn.execute(sa.insert(billing.billing_zone), {"id": 1, "profile_id": 1, "zone": "Free Default Zone", "detail": "All Destinations", **stamp})
    intervals = {f"{peak}_{part}_interval": 600 for peak in ("onpeak", "offpeak") for part in ("init", "follow")}
    rates = {f"{peak}_{part}_rate": 0 for peak in ("onpeak", "offpeak") for part in ("init", "follow")}
    conn.execute(
        sa.insert(billing.billing_fee),
        {
            "id": 1,
            "profile_id": 1,
            "zone_id": 1,
            "source": ".",
            "destination": ".*",
            "direction": "out",
            "type": "call",
            "use_free_time": False,
            "valid_from": at,
            **intervals,
            **rates,
            **stamp,
        },
    )
    conn.execute(sa.insert(billing.billing_mapping), {"id": 1, "contract_id": 1, "profile_id": 1})
    conn.execute(
        sa.insert(billing.contract_balance),
        {
            "id": 1,
            "contract_id": 1,
            "start": to_utc(datetime.datetime(2014, 1, 1), zone),
            "end": to_utc(datetime.datetime(2014, 1, 31, 23, 59, 59), zone),
            "cash_balance": 0,
            "free_time_balance": 0,
        },
    )


def _mails(conn: sa.Connection, stamp: dict[str, Any]) -> None:
    """Each file: sender, subject, body."""
    rows = []
    for name in MAILS:
        sender, subject, body = resources.files("ngcpd.store").joinpath("data", f"mail_{name}.txt").read_text("utf-8").split("\n", 2)
        rows.append({"reseller_id": None, "name": name, "from_email": sender, "subject": subject, "body": body, **stamp})
    conn.execute(sa.insert(billing.email_template), rows)


def _system_domain(conn: sa.Connection, stamp: dict[str, Any], rng: Rng, vault: Vault, name: str) -> None:
    """The hidden domain and its subscribers; they hang on the contract of reseller 1, as each subscriber needs one."""
    domain_id = insert(conn, identity.domain, reseller_id=1, name=name, is_system=True, **stamp)
    rows = []
    for user in SYSTEM_USERS:
        uuid, password = rng.uuid(), random_password(rng)
        hashes = digest_hashes(user, name, password)
        rows.append(
            {
                "uuid": uuid,
                "contract_id": 1,
                "domain_id": domain_id,
                "username": user,
                "live_name": user,
                "sip_password_enc": vault.seal(password, uuid),
                "ha1": hashes.ha1,
                "ha1b": hashes.ha1b,
                "ha1_sha256": hashes.ha1_sha256,
                **stamp,
            }
        )
    ids = conn.execute(sa.insert(identity.subscriber).returning(identity.subscriber.c.id), rows).scalars().all()
    values = [("dom", domain_id, *pair) for pair in catalogue.load().defaults("dom")]
    values += [("usr", i, *pair) for i in ids for pair in catalogue.load().defaults("usr")]
    at = stamp["modified_at"]
    conn.execute(
        sa.insert(preferences.preference_value),
        [{"level": lv, "owner_id": owner, "attribute": a, "value": v, "modified_at": at} for lv, owner, a, v in values],
    )
    changes.note_all(conn, [("domain", domain_id), *(("subscriber", i) for i in ids)])

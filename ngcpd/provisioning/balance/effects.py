"""What a balance does to the subscribers of its contract: preferences `lock` and `prepaid` (billing 4.6, 4.8). Each writes its notices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning.numbers import CHUNK
from ngcpd.store import changes
from ngcpd.store.db import now
from ngcpd.store.tables.identity import subscriber
from ngcpd.store.tables.preferences import preference_value


def set_lock(conn: sa.Connection, contract_id: int, level: int) -> None:
    """The lock level of all living subscribers of a contract, 0 = none."""
    ids = list(conn.scalars(sa.select(subscriber.c.id).where(subscriber.c.contract_id == contract_id, subscriber.c.status != "terminated")))
    _put(conn, ids, "lock", dict.fromkeys(ids, str(level)) if level else {})


def set_prepaid(conn: sa.Connection, paid: dict[int, bool]) -> None:
    """Preference `prepaid` of the living subscribers of contracts says what their billing profile in force says."""
    contracts = sorted(paid)
    found: list[sa.Row[Any, Any]] = []
    for at in range(0, len(contracts), CHUNK):
        part = subscriber.c.contract_id.in_(contracts[at : at + CHUNK])
        found += conn.execute(sa.select(subscriber.c.id, subscriber.c.contract_id).where(part, subscriber.c.status != "terminated")).all()
    _put(conn, [row.id for row in found], "prepaid", {row.id: "1" for row in found if paid[row.contract_id]})


def lock_of(conn: sa.Connection, subscriber_id: int) -> int | None:
    """The lock level of a subscriber, None = not locked."""
    value = preference_value.c
    where = (value.level == "usr", value.owner_id == subscriber_id, value.location_id == 0, value.attribute == "lock")
    found = conn.scalar(sa.select(value.value).where(*where))
    return int(found) if found is not None and found in "12345" and found else None


def _put(conn: sa.Connection, owners: list[int], attribute: str, wanted: dict[int, str]) -> None:
    """One plain preference of many subscribers: those not in `wanted` lose it. Only what differs is written."""
    value = preference_value.c
    have: dict[int, str] = {}
    for part in _chunks(owners):
        where = (value.level == "usr", value.attribute == attribute, value.location_id == 0, value.owner_id.in_(part))
        have |= {row.owner_id: row.value for row in conn.execute(sa.select(value.owner_id, value.value).where(*where))}
    differing = sorted(key for key in owners if have.get(key) != wanted.get(key))
    for part in _chunks([key for key in differing if key in have]):
        where = (value.level == "usr", value.attribute == attribute, value.location_id == 0, value.owner_id.in_(part))
        conn.execute(sa.delete(preference_value).where(*where))
    at = now(conn)
    rows = [{"level": "usr", "owner_id": key, "attribute": attribute, "value": wanted[key], "modified_at": at} for key in differing if key in wanted]
    if rows:
        conn.execute(sa.insert(preference_value), rows)
    changes.note_all(conn, (("preference:usr", key) for key in differing))


def _chunks(keys: list[int]) -> Iterable[list[int]]:
    return (keys[at : at + CHUNK] for at in range(0, len(keys), CHUNK))

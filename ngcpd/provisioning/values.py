"""Preferences that the system itself writes: no rule of who may set them applies (data model 6.2, internal ones too)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from ngcpd.provisioning.numbers import CHUNK
from ngcpd.store import changes
from ngcpd.store.db import now
from ngcpd.store.tables.preferences import preference_value


def put(conn: sa.Connection, level: str, owner_id: int, values: Mapping[str, str | Sequence[str] | None]) -> None:
    """Store values of attributes as they are; None and an empty list remove them. Writes the notice."""
    value = preference_value.c
    conn.execute(
        sa.delete(preference_value).where(
            value.level == level, value.owner_id == owner_id, value.location_id == 0, value.attribute.in_(list(values))
        )
    )
    at = now(conn)
    rows = [
        {"level": level, "owner_id": owner_id, "attribute": name, "position": n, "value": entry, "modified_at": at}
        for name, given in values.items()
        if given is not None
        for n, entry in enumerate([given] if isinstance(given, str) else given)
    ]
    if rows:
        conn.execute(sa.insert(preference_value), rows)
    changes.note(conn, f"preference:{level}", owner_id)


def get(conn: sa.Connection, level: str, owners: Sequence[int], names: Sequence[str]) -> dict[int, dict[str, list[str]]]:
    """Stored values of some attributes of many owners."""
    value = preference_value.c
    found: dict[int, dict[str, list[str]]] = {owner: {} for owner in owners}
    for at in range(0, len(owners), CHUNK):
        part = owners[at : at + CHUNK]
        where = (value.level == level, value.owner_id.in_(part), value.location_id == 0, value.attribute.in_(names))
        query = sa.select(value.owner_id, value.attribute, value.value).where(*where).order_by(value.position)
        for row in conn.execute(query):
            found[row.owner_id].setdefault(row.attribute, []).append(row.value)
    return found


def remove_reference(conn: sa.Connection, names: Sequence[str], value_text: str) -> None:
    """Remove attributes that name an object (by its id) which is about to go."""
    value = preference_value.c
    users = (value.attribute.in_(names), value.value == value_text)
    owners = conn.execute(sa.select(value.level, value.owner_id).where(*users)).all()
    conn.execute(sa.delete(preference_value).where(*users))
    changes.note_all(conn, ((f"preference:{row.level}", row.owner_id) for row in owners))

"""Large contents in pieces: no statement is longer than MariaDB's usual `max_allowed_packet` (16 MiB), whatever was uploaded."""

from __future__ import annotations

import sqlalchemy as sa

PIECE = 1 << 20


def put(conn: sa.Connection, table: sa.Table, owner_id: int, data: bytes) -> None:
    """Store the contents of a row, in the place of what it had."""
    conn.execute(sa.delete(table).where(table.c.owner_id == owner_id))
    for position, at in enumerate(range(0, len(data), PIECE)):
        conn.execute(sa.insert(table).values(owner_id=owner_id, position=position, data=data[at : at + PIECE]))


def get(conn: sa.Connection, table: sa.Table, owner_id: int) -> bytes:
    """The contents of a row; empty when there are none."""
    query = sa.select(table.c.data).where(table.c.owner_id == owner_id).order_by(table.c.position)
    return b"".join(conn.scalars(query))

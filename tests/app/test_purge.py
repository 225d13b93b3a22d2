"""The daemon deletes old change notices by itself, every hour."""

from __future__ import annotations

import datetime

import sqlalchemy as sa

from ngcpd.app import daemon
from ngcpd.store.changes import note
from ngcpd.store.tables.runtime import changes
from tests.world import World


def test_old_notices_go_every_hour() -> None:
    world = World()

    def kinds() -> list[str]:
        return world.write(lambda conn: list(conn.scalars(sa.select(changes.c.key).where(changes.c.kind == "test").order_by(changes.c.id))))

    def older(key: str) -> None:
        made = datetime.datetime.fromtimestamp(world.clock.time() - 25 * 3600, datetime.UTC).replace(tzinfo=None)
        world.write(lambda conn: conn.execute(sa.update(changes).where(changes.c.key == key).values(at=made)))

    for key in ("old", "later", "newest"):
        world.write(lambda conn, key=key: note(conn, "test", key))
    world.write(lambda conn: conn.execute(sa.delete(changes).where(changes.c.kind != "test")))
    older("old")
    assert kinds() == ["old", "later", "newest"]
    world.run(daemon.PURGE + 1)
    assert kinds() == ["later", "newest"], "the others are fresh"
    older("later")
    world.run(daemon.PURGE_CHANGES + 1)
    assert kinds() == ["newest"]
    world.end()

"""Run by Alembic. The connection comes from `ngcpd.store.migrations.upgrade` and is inside a transaction."""

from __future__ import annotations

from alembic import context

from ngcpd.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()

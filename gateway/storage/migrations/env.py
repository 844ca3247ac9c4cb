"""Alembic's entry: migrate the connection that `gateway.storage.database` hands over."""

from alembic import context

from gateway.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()

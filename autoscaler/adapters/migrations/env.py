"""Alembic's entry point: migrates on the connection that the store hands over, inside the store's transaction."""

from alembic import context

from autoscaler.adapters.store_schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()

"""Run by Alembic: applies the revisions on the connection that ``db.migrate`` opened."""

from alembic import context

from ferrotype.db.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()

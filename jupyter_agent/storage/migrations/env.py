"""What Alembic runs: the migrations, on the connection it is given, in that connection's transaction."""

from alembic import context

from jupyter_agent.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()

"""Runs the migrations, on the connection that `db.engine.migrate` hands over or on DATABASE_URL."""

from alembic import context
from sqlmodel import SQLModel

import db.tables  # noqa: F401  (registers every table)
from db.engine import engine

config = context.config


def run(connection) -> None:
    """Run the migrations in one transaction on `connection`."""
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        compare_type=True,
        compare_server_default=True,
        autogenerate_plugins=["alembic.autogenerate.*", "alembic.ext.checkconstraint_byname"],
    )
    with context.begin_transaction():
        context.run_migrations()


connection = config.attributes.get("connection")
if connection is not None:
    run(connection)
else:
    with engine().connect() as own:
        run(own)
        own.commit()

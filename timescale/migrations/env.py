"""Alembic's entry point: runs the migrations on the connection that ``timescale.migrate`` hands over."""

from alembic import context

from timescale.sql_files import VERSION_SCHEMA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    version_table_schema=VERSION_SCHEMA,
)
context.run_migrations()

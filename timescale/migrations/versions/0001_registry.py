"""The registry: sensors and their series."""

from timescale.sql_files import migration

revision = "0001"
down_revision = None

upgrade = migration("0001_registry")

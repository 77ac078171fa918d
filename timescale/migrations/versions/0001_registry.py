"""The registry: sensors and their series."""

from timescale.scripts import migration

revision = "0001"
down_revision = None

upgrade = migration("0001_registry")

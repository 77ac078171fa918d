"""The readings."""

from timescale.sql_files import migration

revision = "0002"
down_revision = "0001"

upgrade = migration("0002_readings")

"""Means per minute, hour and day."""

from timescale.sql_files import migration

revision = "0003"
down_revision = "0002"

upgrade = migration("0003_rollups")

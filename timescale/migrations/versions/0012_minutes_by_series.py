"""Minutes divided by series."""

from timescale.sql_files import migration

revision = "0012"
down_revision = "0011"

upgrade = migration("0012_minutes_by_series")

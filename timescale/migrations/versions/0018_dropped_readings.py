"""The number of readings that retention has dropped."""

from timescale.sql_files import migration

revision = "0018"
down_revision = "0017"

upgrade = migration("0018_dropped_readings")

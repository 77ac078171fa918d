"""The series that arrive from a broker, not from files."""

from timescale.sql_files import migration

revision = "0022"
down_revision = "0021"

upgrade = migration("0022_live_series")

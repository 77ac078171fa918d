"""Hours that got readings late, so that what is computed from them can be computed again."""

from timescale.sql_files import migration

revision = "0007"
down_revision = "0006"

upgrade = migration("0007_late_hours")

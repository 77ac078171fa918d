"""Messages that became readings, by hour and content."""

from timescale.sql_files import migration

revision = "0020"
down_revision = "0019"

upgrade = migration("0020_arrived")

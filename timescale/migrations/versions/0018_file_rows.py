"""How long a message in quarantine may have waited at the broker."""

from timescale.sql_files import migration

revision = "0018"
down_revision = "0017"

upgrade = migration("0018_file_rows")

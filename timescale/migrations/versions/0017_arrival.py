"""How long a message in quarantine may have waited at the broker."""

from timescale.sql_files import migration

revision = "0017"
down_revision = "0016"

upgrade = migration("0017_arrival")

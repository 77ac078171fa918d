"""How the file of a row in quarantine was read."""

from timescale.sql_files import migration

revision = "0019"
down_revision = "0018"

upgrade = migration("0019_file_rows")

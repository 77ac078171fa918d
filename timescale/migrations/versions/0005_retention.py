"""How long raw readings are kept."""

from timescale.sql_files import migration

revision = "0005"
down_revision = "0004"

upgrade = migration("0005_retention")

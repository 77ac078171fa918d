"""Results of quality scans."""

from timescale.sql_files import migration

revision = "0006"
down_revision = "0005"

upgrade = migration("0006_quality")

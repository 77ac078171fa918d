"""Limits of the quarantine: payloads per topic and day, and the age of open rows."""

from timescale.sql_files import migration

revision = "0023"
down_revision = "0022"

upgrade = migration("0023_quarantine_limits")

"""Ignored messages and values, by hour, source, topic and reason."""

from timescale.sql_files import migration

revision = "0015"
down_revision = "0014"

upgrade = migration("0015_ignored")

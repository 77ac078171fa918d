"""Gated retention: what is in the archive, and what must have happened before raw readings go."""

from timescale.sql_files import migration

revision = "0013"
down_revision = "0012"

upgrade = migration("0013_gated_retention")

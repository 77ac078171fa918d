"""Locks that only the roles of the warehouse can take."""

from timescale.sql_files import migration

revision = "0021"
down_revision = "0020"

upgrade = migration("0021_locks")

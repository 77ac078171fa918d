"""Quarantine and accounts."""

from timescale.sql_files import migration

revision = "0004"
down_revision = "0003"

upgrade = migration("0004_accounts")

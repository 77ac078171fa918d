"""Replaced values: readings whose value a later publish of the same instant replaces."""

from timescale.sql_files import migration

revision = "0014"
down_revision = "0013"

upgrade = migration("0014_replaced")

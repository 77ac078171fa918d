"""Sensors that are registered as they appear."""

from timescale.sql_files import migration

revision = "0008"
down_revision = "0007"

upgrade = migration("0008_discovery")

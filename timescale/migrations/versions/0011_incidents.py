"""Incidents reported by quality scans and failed tasks."""

from timescale.sql_files import migration

revision = "0011"
down_revision = "0010"

upgrade = migration("0011_incidents")

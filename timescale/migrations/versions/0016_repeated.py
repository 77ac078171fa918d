"""Repeated rejections share a quarantine row per hour."""

from timescale.sql_files import migration

revision = "0016"
down_revision = "0015"

upgrade = migration("0016_repeated")

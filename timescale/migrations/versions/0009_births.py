"""Births of Sparkplug's nodes and devices, without which their data can't be read."""

from timescale.sql_files import migration

revision = "0009"
down_revision = "0008"

upgrade = migration("0009_births")

"""The readings."""

from timescale.scripts import migration

revision = "0002"
down_revision = "0001"

upgrade = migration("0002_readings")

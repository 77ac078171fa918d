"""Old minutes in the order of their series."""

from timescale.sql_files import migration

revision = "0010"
down_revision = "0009"

upgrade = migration("0010_minutes_in_order")

"""What ``collector archive verify --record`` tells the database: raw readings go only once they are in the archive.

The archiver itself knows no database, so that nothing there can touch it; docs/decisions/0016-gated-retention.md.
"""

from datetime import datetime, timedelta

from collector.archive.upkeep import GRACE, Hour
from core.database import Connection, wrapped

_RECORD = """
insert into telemetry.archived (hour, messages, files, size_bytes, verified_at)
values (%s, %s, %s, %s, %s)
on conflict (hour) do update set
    messages = excluded.messages,
    files = excluded.files,
    size_bytes = excluded.size_bytes,
    verified_at = excluded.verified_at
"""


def known(connection: Connection) -> dict[datetime, tuple[int, int]]:
    """Return the files and their bytes of each hour that was recorded and is there."""
    with wrapped("record the archive"):
        rows = connection.execute("select hour, files, size_bytes from telemetry.archived where files > 0").fetchall()
    return {hour: (files, size) for hour, files, size in rows}


def record(connection: Connection, hour: Hour, now: datetime) -> None:
    """Record an hour that is over; one of which a file can't be read as one without files, so that it is read again."""
    if hour.begins + timedelta(hours=1) + GRACE > now:
        return
    there = (0, 0, 0) if hour.wrong else (hour.content.messages, hour.files, hour.size)
    with wrapped("record the archive"):
        connection.execute(_RECORD, (hour.begins, *there, now))

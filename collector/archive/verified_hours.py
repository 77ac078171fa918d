"""Verified hours in the database: raw readings are deleted only after the archive has them verifiably.

``collector archive verify --record`` writes them. The archiver does not use the database, so that a failure there can't
stop it; docs/decisions/0016-gated-retention.md.
"""

from datetime import datetime, timedelta

from collector.archive.hourly_files import GRACE
from collector.archive.verify import HourReport
from core.database import Connection, wrapped_errors

_RECORD = """
insert into telemetry.archived (hour, messages, files, size_bytes, verified_at, slots)
values (%s, %s, %s, %s, %s, %s)
on conflict (hour) do update set
    messages = excluded.messages,
    files = excluded.files,
    size_bytes = excluded.size_bytes,
    verified_at = excluded.verified_at,
    slots = excluded.slots
"""
# Hours that an earlier version has read are read again where the collector has counted by content.
_LOAD = """
select hour, files, size_bytes
from telemetry.archived
where files > 0 and (slots is not null or hour < (select min(arrived.hour) from telemetry.arrived) is not false)
"""


def load(connection: Connection) -> dict[datetime, tuple[int, int]]:
    """Return number and size of the files of each recorded hour that has files."""
    with wrapped_errors("record the archive"):
        rows = connection.execute(_LOAD).fetchall()
    return {hour: (files, size) for hour, files, size in rows}


def record(connection: Connection, report: HourReport, now: datetime) -> None:
    """Record a past hour; one with an unreadable file as an hour without files, so that it is read again."""
    if report.begins + timedelta(hours=1) + GRACE > now:
        return
    messages, files, size = (0, 0, 0) if report.errors else (report.content.messages, report.files, report.size)
    slots = [0] * len(report.content.slots) if report.errors else list(report.content.slots)
    with wrapped_errors("record the archive"):
        connection.execute(_RECORD, (report.begins, messages, files, size, now, slots))

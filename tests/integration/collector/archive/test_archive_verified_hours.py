"""``collector archive verify --record`` records the verified hours in the database."""

import os
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from fix_archive import HOUR, message, write
from fix_collector import PROGRAM

from collector.archive import verified_hours
from collector.archive.hourly_files import Content
from collector.archive.verify import HourReport


@pytest.fixture
def verify(collectors, database, tmp_path):
    """Return a function that verifies an archive and returns exit status and recorded (hour, messages, files)."""

    def run(*arguments: str) -> tuple[int, list[tuple[int, int, int]]]:
        process = subprocess.run(
            [PROGRAM, "archive", "verify", "--record", *arguments],
            env={**os.environ, "COLLECTOR_REGISTRY": str(collectors.registry),
                 "ARCHIVE_DIRECTORY": str(tmp_path)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "Traceback" not in process.stderr
        with database.connect() as connection:
            return process.returncode, connection.execute(
                "select extract(hour from hour)::integer, messages, files from telemetry.archived order by 1"
            ).fetchall()

    return run


def test_verified_hours_are_recorded(verify, tmp_path):
    """Each hour is recorded with messages and files; changes are recorded later: new, damaged, repaired, missing."""
    first, second = (
        write(tmp_path, f"20260301T120{n}00000000Z-0000000{n}", message(60 * n), message(60 * n + 1)) for n in range(2)
    )
    later = HOUR + timedelta(hours=1)
    write(tmp_path, "20260301T130000000000Z-00000000", message(3600), hour=later)
    assert verify() == (0, [(12, 4, 2), (13, 1, 1)])
    content = second.read_bytes()
    second.write_bytes(content[:20] + bytes(20) + content[40:])
    assert verify() == (1, [(12, 0, 0), (13, 1, 1)])
    second.write_bytes(content)
    assert verify("--days", "1") == (0, [(12, 4, 2), (13, 1, 1)])
    second.unlink()
    assert verify("--days", "1") == (0, [(12, 2, 1), (13, 1, 1)])
    first.unlink()
    assert verify("--days", "1") == (0, [(12, 0, 0), (13, 1, 1)])


def test_current_hour_is_not_recorded(database, tmp_path):
    """The current hour is not recorded: more files of it may follow."""
    now = datetime.now(tz=UTC)
    with database.connect() as connection:
        for hour in (now - timedelta(minutes=65), now - timedelta(hours=3)):
            verified_hours.record(connection, HourReport(hour, 1, 10, Content(5, 0, 0), {}), now)
        assert [files for files, _ in verified_hours.load(connection).values()] == [1]
        assert list(verified_hours.load(connection)) == [now - timedelta(hours=3)]

"""What the archive holds, hour by hour, told to the database by ``collector archive verify --record``."""

import os
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from fix_archive import HOUR, message, write
from fix_collector import PROGRAM

from collector.archive import upkeep, verified_hours


@pytest.fixture
def verify(collectors, database, tmp_path):
    """Run the command on an archive of this test; return its exit status and the table, hours by their number."""

    def run(*arguments: str) -> tuple[int, list[tuple[int, int, int]]]:
        done = subprocess.run(
            [PROGRAM, "archive", "verify", "--record", *arguments],
            env={**os.environ, "COLLECTOR_REGISTRY": str(collectors.registry),
                 "ARCHIVE_DIRECTORY": str(tmp_path)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        with database.connect() as connection:
            return done.returncode, connection.execute(
                "select extract(hour from hour)::integer, messages, files from telemetry.archived order by 1"
            ).fetchall()

    return run


def test_what_was_read_is_recorded(verify, tmp_path):
    """Messages and files of each hour; later what is new, damaged, mended or gone, whatever its age."""
    one, other = (
        write(tmp_path, f"20260301T120{n}00000000Z-0000000{n}", message(60 * n), message(60 * n + 1)) for n in range(2)
    )
    later = HOUR + timedelta(hours=1)
    write(tmp_path, "20260301T130000000000Z-00000000", message(3600), hour=later)
    assert verify() == (0, [(12, 4, 2), (13, 1, 1)])
    content = other.read_bytes()
    other.write_bytes(content[:20] + bytes(20) + content[40:])
    assert verify() == (1, [(12, 0, 0), (13, 1, 1)])
    other.write_bytes(content)
    assert verify("--days", "1") == (0, [(12, 4, 2), (13, 1, 1)])
    other.unlink()
    assert verify("--days", "1") == (0, [(12, 2, 1), (13, 1, 1)])
    one.unlink()
    assert verify("--days", "1") == (0, [(12, 0, 0), (13, 1, 1)])


def test_an_hour_that_is_not_over_is_not_recorded(database, tmp_path):
    """Its files may still come."""
    now = datetime.now(tz=UTC)
    with database.connect() as connection:
        for hour in (now - timedelta(minutes=65), now - timedelta(hours=3)):
            verified_hours.record(connection, upkeep.Hour(hour, 1, 10, upkeep.Content(5, 0, 0), {}), now)
        assert [files for files, _ in verified_hours.known(connection).values()] == [1]
        assert list(verified_hours.known(connection)) == [now - timedelta(hours=3)]

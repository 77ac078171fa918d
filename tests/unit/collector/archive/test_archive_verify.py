"""Verification of the archive."""

from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fix_archive import HOUR, message, write
from pyarrow import fs

from collector.archive import verify as verification

LATER = HOUR + timedelta(hours=2)


@pytest.fixture
def three(tmp_path):
    """Three files of one hour."""
    return [write(tmp_path, f"20260301T12{n:02}00000000Z-0000000{n}", message(60 * n), message(60 * n + 1, b"\xff\0"))
            for n in range(3)]  # fmt: skip


def verify(directory, *more):
    """Verify the archive in a directory."""
    return verification.verify(fs.LocalFileSystem(), str(directory), *more)


def test_every_message_is_read(tmp_path, three):
    """Every message of every file is read and counted."""
    report = verify(tmp_path, HOUR)
    assert (report.files, report.content.messages, report.errors) == (3, 6, {})


def test_object_store(tmp_path, three):
    """The files below the prefix of a bucket are read through its file system, other files are not."""
    folder = tmp_path / "bucket"
    for prefix, number in (("raw", 0), ("other", 5)):
        write(folder / prefix, "20260301T120000000000Z-00000000", message(number), message(number + 1))
    (folder / "raw" / "date=2026-03-01" / "notes.parquet").write_text("no file of the archive")
    (folder / "raw" / "date=2026-03-01" / "hour=12" / "_half.parquet").write_text("half")
    bucket = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    report = verification.verify(bucket, "bucket/raw", HOUR)
    assert (report.files, report.content.messages, report.errors) == (1, 2, {})
    with pytest.raises(OSError, match="nowhere"):
        verification.verify(bucket, "bucket/nowhere", HOUR)


def test_older_hours_are_skipped(tmp_path, three):
    """Hours before ``since`` are not read."""
    assert verify(tmp_path, HOUR + timedelta(hours=1)).files == 0


def flipped(path):
    """Damage a byte in the middle of the data."""
    content = bytearray(path.read_bytes())
    content[20] ^= 0xFF
    path.write_bytes(content)


def cut(path):
    """Cut off the end."""
    path.write_bytes(path.read_bytes()[:-10])


def strange(path):
    """Put another table there."""
    pq.write_table(pa.table({"a": [1]}), path)


def moved(path):
    """Put messages of another hour there."""
    write(path.parents[2], path.stem, message(7200))


@pytest.mark.parametrize("damage", [flipped, cut, strange, moved])
def test_damaged_file_is_reported(tmp_path, three, damage):
    """Damage anywhere in a file is reported by its name, and the other files are read."""
    damage(three[1])
    report = verify(tmp_path, HOUR)
    assert list(report.errors) == [str(three[1])]
    assert report.files == 3


def test_changed_hours_are_read_at_any_age(tmp_path, three):
    """Recorded hours are read again if their files have changed, and reported if their files are missing."""
    reports = []
    size = sum(path.stat().st_size for path in three)
    gone = HOUR - timedelta(hours=5)
    for recorded, expected in [
        ({}, [(HOUR, 3, 6)]),
        ({HOUR: (3, size)}, []),
        ({HOUR: (3, size - 1)}, [(HOUR, 3, 6)]),
        ({HOUR: (3, size), gone: (1, 500)}, [(gone, 0, 0)]),
    ]:
        verify(tmp_path, LATER, recorded, reports.append)
        assert [(hour.begins, hour.files, hour.content.messages) for hour in reports] == expected
        reports.clear()

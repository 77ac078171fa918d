"""Compaction: the files of an hour become one."""

import json
from datetime import timedelta

import pyarrow.parquet as pq
import pytest
from fix_archive import HOUR, message, write

from collector.archive.compact import compact
from collector.files.archive_file import Archive

LATER = HOUR + timedelta(hours=2)
LARGEST = 10**9


@pytest.fixture
def three(tmp_path):
    """Three files of one hour."""
    return [write(tmp_path, f"20260301T12{n:02}00000000Z-0000000{n}", message(60 * n), message(60 * n + 1, b"\xff\0"))
            for n in range(3)]  # fmt: skip


def all_files(directory):
    """Return all files below ``directory``, also hidden ones."""
    return [path for path in directory.rglob("*") if path.is_file()]


def test_an_hour_becomes_one_file_with_the_same_messages(tmp_path, three):
    """The new file has every message, unchanged and in order, and is named after the first file."""
    before = list(Archive([tmp_path]).messages())
    report = compact(tmp_path, LARGEST, LATER)
    (new,) = all_files(tmp_path)
    assert list(Archive([tmp_path]).messages()) == before
    assert (report.files, report.content.messages, report.errors) == (1, 6, {})
    assert new.name.startswith("20260301T120000000000Z-")
    assert new not in three


def test_compacting_again_changes_nothing(tmp_path, three):
    """An hour with one file stays as it is."""
    compact(tmp_path, LARGEST, LATER)
    before = [(path, path.read_bytes()) for path in all_files(tmp_path)]
    assert compact(tmp_path, LARGEST, LATER).files == 0
    assert [(path, path.read_bytes()) for path in all_files(tmp_path)] == before


def test_current_hour_is_not_compacted(tmp_path, three):
    """More files of the hour may follow, until some minutes after its end."""
    assert compact(tmp_path, LARGEST, HOUR + timedelta(hours=1, minutes=5)).files == 0
    assert sorted(all_files(tmp_path)) == three


def test_files_above_the_size_limit_stay(tmp_path, three):
    """Files that together exceed the size limit are not merged."""
    assert compact(tmp_path, 1000, LATER).files == 0
    assert sorted(all_files(tmp_path)) == three


@pytest.mark.parametrize("removed", [0, 1, 2])
def test_files_that_a_kill_left_are_removed(tmp_path, three, removed):
    """Replaced files that a kill left beside the new one are removed by the next run."""
    before = list(Archive([tmp_path]).messages())
    contents = {path: path.read_bytes() for path in three[removed:]}
    compact(tmp_path, LARGEST, LATER)
    for path, content in contents.items():
        path.write_bytes(content)
    (tmp_path / "date=2026-03-01" / "hour=12" / ".half.parquet.part").write_bytes(b"half")
    compact(tmp_path, LARGEST, LATER)
    assert list(Archive([tmp_path]).messages()) == before


def test_late_file_is_merged_too(tmp_path, three):
    """A file that an archiver finishes hours later is merged with the compacted one."""
    compact(tmp_path, LARGEST, LATER)
    write(tmp_path, "20260301T125900000000Z-0000000f", message(3540))
    assert compact(tmp_path, LARGEST, LATER).content.messages == 7
    assert len(all_files(tmp_path)) == 1


def test_hour_with_an_unreadable_file_stays(tmp_path, three):
    """No file of an hour with a damaged file is removed; other hours are compacted."""
    content = bytearray(three[1].read_bytes())
    content[10:60] = bytes(50)
    three[1].write_bytes(content)
    next_hour = HOUR + timedelta(hours=1)
    for n in range(2):
        write(tmp_path, f"20260301T13000000000{n}Z-00000000", message(3600 + n), hour=next_hour)
    report = compact(tmp_path, LARGEST, LATER + timedelta(hours=1))
    assert list(report.errors) == [str(three[1].parent)]
    assert report.files == 1
    assert all(path.exists() for path in three)


def test_metadata_name_the_replaced_files(tmp_path, three):
    """The metadata of the new file name the files it replaces."""
    compact(tmp_path, LARGEST, LATER)
    (new,) = all_files(tmp_path)
    assert json.loads(pq.read_metadata(new).metadata[b"made_of"]) == [path.name for path in three]

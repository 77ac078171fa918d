"""Hours of the archive become one file each, and what can't be read is told."""

import json
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fix_archive import HOUR, message, write
from pyarrow import fs

from collector.archive import upkeep
from collector.files.archive_file import Archive

LATER = HOUR + timedelta(hours=2)
LARGEST = 10**9


@pytest.fixture
def three(tmp_path):
    """An hour in three files."""
    return [write(tmp_path, f"20260301T12{n:02}00000000Z-0000000{n}", message(60 * n), message(60 * n + 1, b"\xff\0"))
            for n in range(3)]  # fmt: skip


def verify(directory, *more):
    """Read the archive in a directory."""
    return upkeep.verify(fs.LocalFileSystem(), str(directory), *more)


def left(directory):
    """Return the files there are, hidden ones too."""
    return [path for path in directory.rglob("*") if path.is_file()]


def test_an_hour_becomes_one_file_with_the_same_messages(tmp_path, three):
    """Every message is there, as it came and in its order, in one file that is called like the first."""
    before = list(Archive([tmp_path]).messages())
    done = upkeep.compact(tmp_path, LARGEST, LATER)
    (new,) = left(tmp_path)
    assert list(Archive([tmp_path]).messages()) == before
    assert (done.files, done.content.messages, done.wrong) == (1, 6, {})
    assert new.name.startswith("20260301T120000000000Z-")
    assert new not in three


def test_doing_it_again_changes_nothing(tmp_path, three):
    """One file is left alone."""
    upkeep.compact(tmp_path, LARGEST, LATER)
    before = [(path, path.read_bytes()) for path in left(tmp_path)]
    assert upkeep.compact(tmp_path, LARGEST, LATER).files == 0
    assert [(path, path.read_bytes()) for path in left(tmp_path)] == before


def test_the_current_hour_is_left_alone(tmp_path, three):
    """Files of it may still come, also some minutes after it is over."""
    assert upkeep.compact(tmp_path, LARGEST, HOUR + timedelta(hours=1, minutes=5)).files == 0
    assert sorted(left(tmp_path)) == three


def test_files_that_are_large_together_stay(tmp_path, three):
    """Whoever wants files of a size has them."""
    assert upkeep.compact(tmp_path, 1000, LATER).files == 0
    assert sorted(left(tmp_path)) == three


@pytest.mark.parametrize("removed", [0, 1, 2])
def test_a_kill_leaves_no_message_twice_for_long(tmp_path, three, removed):
    """The old files that a kill has left beside the new one go with the next run."""
    before = list(Archive([tmp_path]).messages())
    kept = {path: path.read_bytes() for path in three[removed:]}
    upkeep.compact(tmp_path, LARGEST, LATER)
    for path, content in kept.items():
        path.write_bytes(content)
    (tmp_path / "date=2026-03-01" / "hour=12" / ".half.parquet.part").write_bytes(b"half")
    upkeep.compact(tmp_path, LARGEST, LATER)
    assert list(Archive([tmp_path]).messages()) == before


def test_an_hour_that_came_late_is_compacted_again(tmp_path, three):
    """A file that an archiver finishes hours later joins the others."""
    upkeep.compact(tmp_path, LARGEST, LATER)
    write(tmp_path, "20260301T125900000000Z-0000000f", message(3540))
    assert upkeep.compact(tmp_path, LARGEST, LATER).content.messages == 7
    assert len(left(tmp_path)) == 1


def test_an_hour_that_cannot_be_read_stays(tmp_path, three):
    """Nothing is removed where a file is damaged; other hours are done all the same."""
    content = bytearray(three[1].read_bytes())
    content[10:60] = bytes(50)
    three[1].write_bytes(content)
    next_hour = HOUR + timedelta(hours=1)
    for n in range(2):
        write(tmp_path, f"20260301T13000000000{n}Z-00000000", message(3600 + n), hour=next_hour)
    done = upkeep.compact(tmp_path, LARGEST, LATER + timedelta(hours=1))
    assert list(done.wrong) == [str(three[1].parent)]
    assert done.files == 1
    assert all(path.exists() for path in three)


def test_all_is_well(tmp_path, three):
    """Every message of every file is read and counted."""
    seen = verify(tmp_path, HOUR)
    assert (seen.files, seen.content.messages, seen.wrong) == (3, 6, {})


def test_an_object_store_is_read_as_a_directory_is(tmp_path, three):
    """What is below the prefix of a bucket is listed and read through its file system; the rest of it is not."""
    folder = tmp_path / "bucket"
    for prefix, number in (("raw", 0), ("other", 5)):
        write(folder / prefix, "20260301T120000000000Z-00000000", message(number), message(number + 1))
    (folder / "raw" / "date=2026-03-01" / "notes.parquet").write_text("not ours")
    (folder / "raw" / "date=2026-03-01" / "hour=12" / "_half.parquet").write_text("half")
    bucket = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    seen = upkeep.verify(bucket, "bucket/raw", HOUR)
    assert (seen.files, seen.content.messages, seen.wrong) == (1, 2, {})
    with pytest.raises(OSError, match="nowhere"):
        upkeep.verify(bucket, "bucket/nowhere", HOUR)


def test_older_hours_are_passed_over(tmp_path, three):
    """Only what is new is read, if so wished."""
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
def test_what_is_wrong_is_told_by_file(tmp_path, three, damage):
    """Damage anywhere in a file is found, and the other files are read."""
    damage(three[1])
    seen = verify(tmp_path, HOUR)
    assert list(seen.wrong) == [str(three[1])]
    assert seen.files == 3


def test_what_a_file_was_made_of_stands_in_it(tmp_path, three):
    """Its metadata name the files, for whoever wonders where they went."""
    upkeep.compact(tmp_path, LARGEST, LATER)
    (new,) = left(tmp_path)
    assert json.loads(pq.read_metadata(new).metadata[b"made_of"]) == [path.name for path in three]


def test_what_is_new_is_read_whatever_its_age(tmp_path, three):
    """Of hours that were read before, those whose files have changed are read again, those that are gone are told."""
    told = []
    size = sum(path.stat().st_size for path in three)
    gone = HOUR - timedelta(hours=5)
    for known, expected in [
        ({}, [(HOUR, 3, 6)]),
        ({HOUR: (3, size)}, []),
        ({HOUR: (3, size - 1)}, [(HOUR, 3, 6)]),
        ({HOUR: (3, size), gone: (1, 500)}, [(gone, 0, 0)]),
    ]:
        verify(tmp_path, LATER, known, told.append)
        assert [(hour.begins, hour.files, hour.content.messages) for hour in told] == expected
        told.clear()

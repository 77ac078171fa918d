"""Finished files of the archive: complete or absent, exact, readable by other programs, and loaded in order."""

import itertools
import os
import random
import re
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fix_collector import until
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import fs
from structlog.testing import capture_logs

from collector.archive import finisher, message_table, object_store
from collector.archive.finisher import Finisher, finish
from collector.archive.object_store import LocalDirectory, ObjectStore
from collector.archive.spool import Segment, Spool
from collector.files.archive_file import Archive, is_archive
from collector.files.options import FileError
from collector.message import Message
from collector.settings import ArchiveSettings
from core.errors import SettingError
from core.settings import load

NOON = 1_772_366_400_000_000
"""2026-03-01 12:00 UTC, in microseconds since 1970."""


def message(number: int) -> Message:
    """Return a message with its number in arrival and payload."""
    return Message(f"plant/p{number % 3}", b'{"temperature": %d}' % number, NOON + number)


def segment(directory: Path, messages: list[Message], writes: int = 1) -> Segment:
    """Return a segment with ``messages``."""
    complete: list[Segment] = []
    spool = Spool(directory, 10**12, complete.append)
    for start in range(0, len(messages), -(-len(messages) // writes)):
        spool.append(messages[start : start + -(-len(messages) // writes)])
    spool.close()
    spool.release()
    return complete[0]


@pytest.fixture
def archive(tmp_path):
    """Return a function that writes files of messages to an archive and returns its directory."""

    def make(*files: list[Message]) -> Path:
        for messages in files:
            finish(segment(tmp_path / "archive" / ".spool", messages), LocalDirectory(tmp_path / "archive"))
        return tmp_path / "archive"

    return make


def files(directory: Path) -> list[Path]:
    """Return all files below ``directory`` except the lock."""
    return sorted(path for path in directory.rglob("*") if path.is_file() and path.name != "lock")


def test_place_and_name(archive):
    """A file is in the folder of the date and hour of its first message, and the spool is empty."""
    paths = files(archive([message(0), message(1)]))
    assert len(paths) == 1
    assert paths[0].parent.parts[-2:] == ("date=2026-03-01", "hour=12")
    assert paths[0].name.startswith("20260301T120000000000Z-")


texts = st.text(st.characters(codec="utf-8"), max_size=20)
anything = st.lists(st.tuples(texts, st.binary(max_size=60), st.booleans(), st.integers(0, 2)), min_size=1, max_size=40)


@settings(max_examples=40, deadline=None)
@given(anything, st.integers(1, 5))
def test_exact(tmp_path_factory, contents, writes):
    """The archive returns every message byte for byte and in order, whatever its content."""
    directory = tmp_path_factory.mktemp("exact")
    given = [
        Message(topic, payload, NOON + n, retained, 0, qos)
        for n, (topic, payload, retained, qos) in enumerate(contents)
    ]
    finish(segment(directory / ".spool", given, writes), LocalDirectory(directory))
    assert list(Archive([directory]).messages()) == given


def test_row_groups(archive, monkeypatch):
    """Row groups are in order of arrival and end at their limit; inside, rows are sorted by topic."""
    monkeypatch.setattr(message_table, "ROW_GROUP_ROWS", 10)
    directory = archive([message(n) for n in range(9)])
    finish(segment(directory / ".spool", [message(n) for n in range(100, 135)], 12), LocalDirectory(directory))
    table = pq.read_table(files(directory)[1])
    groups = pq.ParquetFile(files(directory)[1])
    assert [groups.metadata.row_group(n).num_rows for n in range(groups.num_row_groups)] == [9, 9, 9, 8]
    first = table.slice(0, 9).to_pylist()
    assert first == sorted(first, key=lambda row: (row["topic"], row["received"]))
    assert max(row["received"] for row in first) < min(row["received"] for row in table.slice(9, 9).to_pylist())


def test_readers(archive):
    """DuckDB and pandas read the archive directly: partitions, text of payloads, types."""
    directory = archive([message(n) for n in range(6)], [message(3_600_000_000 + n) for n in range(2)])
    query = f"""
        select date, hour, topic, sum((decode(payload) ->> '$.temperature')::double) as total, min(received)
        from read_parquet('{directory}/*/*/*.parquet', hive_partitioning = true) where hour = 12 and topic = 'plant/p1'
        group by all
    """
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        [(day, hour, topic, total, first)] = connection.execute(query).fetchall()
    assert (str(day), int(hour), topic, total) == ("2026-03-01", 12, "plant/p1", 5.0)
    assert first.astimezone(UTC) == datetime(2026, 3, 1, 12, 0, 0, 1, UTC)
    frame = pd.read_parquet(directory)
    assert len(frame) == 8
    assert str(frame["received"].dtype) == "datetime64[us, UTC]"
    assert sorted(frame["hour"].unique()) == [12, 13]
    assert frame.sort_values("received")["payload"].iloc[0] == b'{"temperature": 0}'
    assert (frame["qos"] == 1).all()
    assert not frame["retained"].any()


def test_documented_queries(archive, monkeypatch):
    """The examples for DuckDB and pandas in docs/archive.md run unchanged."""
    topics = ("sensors/athens/hall-1/thermostat-1", "elsewhere")
    directory = archive([message(n)._replace(topic=topics[n % 2]) for n in range(10)])
    monkeypatch.chdir(directory.parent)
    text = (Path(__file__).parents[4] / "docs" / "archive.md").read_text()
    [query] = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert duckdb.execute(query).fetchall() == [(date(2026, 3, 1), 12, topics[0], 4.0)]
    [program] = re.findall(r"```python\n(import .*?)```", text, re.DOTALL)
    variables: dict = {}
    exec(program, variables)
    assert variables["readings"]["temperature"].tolist() == list(range(10))


def test_invalid_text_in_duckdb(archive):
    """DuckDB reads topics with NUL and payloads that are no text."""
    directory = archive([message(0)._replace(topic="a\0b", payload=b"\xff\xfe"), message(1)])
    query = f"select count(*), count(try(decode(payload))), max(strlen(topic)) from '{directory}/*/*/*.parquet'"
    assert duckdb.execute(query).fetchall() == [(2, 1, 8)]


def test_finishing_again_after_a_kill(tmp_path):
    """A segment that a kill left although its file is finished gives the same file again, with the same name."""
    made = segment(tmp_path / "spool", [message(n) for n in range(50)], 5)
    content = made.path.read_bytes()
    finish(made, LocalDirectory(tmp_path / "a"))
    before = {path: path.read_bytes() for path in files(tmp_path / "a")}
    made.path.write_bytes(content)
    finish(made, LocalDirectory(tmp_path / "a"))
    assert {path: path.read_bytes() for path in files(tmp_path / "a")} == before
    assert len(before) == 1


@pytest.mark.parametrize("step", range(12))
def test_failing_at_any_step(tmp_path, monkeypatch, step):
    """Wherever finishing fails, there is no file or the complete one, and a retry ends with one."""
    made = segment(tmp_path / "spool", [message(n) for n in range(50)], 5)
    calls = itertools.count()

    def failing(real):
        def call(*arguments, **more):
            if next(calls) == step:
                raise OSError(5, "Input/output error")
            return real(*arguments, **more)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(os.fsync))
        for name in ("replace", "unlink", "mkdir", "open"):
            patch.setattr(Path, name, failing(getattr(Path, name)))
        failed = False
        try:
            finish(made, LocalDirectory(tmp_path / "a"))
        except OSError:
            failed = True
    for path in files(tmp_path / "a"):
        assert pq.read_table(path).num_rows == 50
    if failed and made.path.exists():
        finish(made, LocalDirectory(tmp_path / "a"))
    assert [stored.payload for stored in Archive([tmp_path / "a"]).messages()] == [
        message(n).payload for n in range(50)
    ]
    assert len(files(tmp_path / "a")) == 1
    finisher.remove_partial_files(tmp_path / "spool")
    assert files(tmp_path / "spool") == []


def test_spool_on_another_disk(tmp_path, monkeypatch):
    """A file that can't be renamed into the archive is copied, under a name that readers skip."""
    made = segment(tmp_path / "spool", [message(1)])
    real, names = Path.replace, []

    def replace(self, target):
        names.append(self.name)
        if self.parent == tmp_path / "spool":
            raise OSError(18, "Invalid cross-device link")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    finish(made, LocalDirectory(tmp_path / "a"))
    assert names[1].startswith(".")
    assert len(files(tmp_path / "a")) == 1
    assert files(tmp_path / "spool") == []


class Bucket(fs.FileSystemHandler):
    """An object store in memory: an object appears when its stream is closed."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.away = False

    def open_output_stream(self, path, metadata):
        """Return a stream that becomes the object."""
        if self.away:
            raise OSError("When initiating multiple part upload: AWS Error NETWORK_CONNECTION")
        bucket = self

        class Upload(pa.BufferOutputStream):
            """One upload."""

            def close(self):
                """Make the object visible."""
                if not self.closed:
                    bucket.objects[path] = self.getvalue().to_pybytes()
                super().close()

        return pa.PythonFile(Upload(), mode="w")


Bucket.__abstractmethods__ = frozenset()  # only the methods for an upload


def test_object_store(tmp_path):
    """In an object store the file is written as one object below the prefix."""
    bucket = Bucket()
    made = segment(tmp_path / "spool", [message(n) for n in range(5)])
    finish(made, ObjectStore(fs.PyFileSystem(bucket), "warehouse/raw"))
    [(path, content)] = bucket.objects.items()
    assert path.startswith("warehouse/raw/date=2026-03-01/hour=12/")
    assert pq.read_table(pa.BufferReader(content)).num_rows == 5
    assert files(tmp_path / "spool") == []


def test_object_store_away(tmp_path, monkeypatch):
    """While the store is away, segments stay in the spool and the reason is logged; then they are finished."""
    bucket = Bucket()
    bucket.away = True
    made = segment(tmp_path / "spool", [message(1)])
    with capture_logs() as logs:
        segments = Finisher(ObjectStore(fs.PyFileSystem(bucket), "warehouse"))
        segments.add(made)
        until(lambda: logs)
        assert (segments.waiting, made.path.exists(), bucket.objects) == (1, True, {})
        bucket.away = False
        until(lambda: segments.waiting == 0)
    assert segments.stop(10)
    assert "NETWORK_CONNECTION" in logs[0]["reason"]
    assert len(bucket.objects) == 1


def test_stopping_while_the_store_is_away(tmp_path):
    """Stopping while the store is away tries each segment once and leaves it for the next start."""
    bucket = Bucket()
    bucket.away = True
    with capture_logs() as logs:
        segments = Finisher(ObjectStore(fs.PyFileSystem(bucket), "warehouse"))
        segments.add(segment(tmp_path / "a", [message(1)]))
        segments.add(segment(tmp_path / "b", [message(2)]))
        assert not segments.stop(30)
    assert segments.waiting == 2
    assert len({line["file"] for line in logs}) == 2
    assert len(files(tmp_path)) >= 2


def test_damaged_segment_is_kept(tmp_path):
    """The readable messages of a damaged segment are archived, and its bytes are kept for further recovery."""
    made = segment(tmp_path / "spool", [message(n) for n in range(4)], 4)
    content = bytearray(made.path.read_bytes())
    content[content.index(b"BLCK") + 100] ^= 1
    made.path.write_bytes(content)
    with capture_logs() as logs:
        finish(made, LocalDirectory(tmp_path / "a"))
    assert [line["log_level"] for line in logs] == ["error", "info"]
    assert [stored.payload for stored in Archive([tmp_path / "a"]).messages()] == [
        message(n).payload for n in (1, 2, 3)
    ]
    assert made.path.with_suffix(".damaged").read_bytes() == content


def test_order_across_files(archive, monkeypatch):
    """Messages come in order of arrival, also from overlapping files, and only once if a file is named twice."""
    monkeypatch.setattr(message_table, "ROW_GROUP_ROWS", 8)
    numbers = list(range(300))
    random.Random(1).shuffle(numbers)
    directory = archive(
        *(sorted((message(n) for n in numbers[part::4]), key=lambda m: m.received) for part in range(4))
    )
    paths = files(directory)
    assert len(paths) == 4
    assert list(Archive([directory, paths[2]]).messages()) == [message(n) for n in range(300)]
    assert list(Archive([directory / "date=2026-03-01" / "hour=12"]).messages()) == [message(n) for n in range(300)]


def test_files_of_other_programs(archive, tmp_path):
    """Files of an archive that DuckDB merged into one are still an archive."""
    directory = archive([message(n) for n in range(0, 20, 2)], [message(n) for n in range(1, 20, 2)])
    path = tmp_path / "one.parquet"
    duckdb.execute(f"copy (select * from '{directory}/*/*/*.parquet' order by payload) to '{path}' (format parquet)")
    assert is_archive(path)
    assert list(Archive([path]).messages()) == [message(n) for n in range(20)]


def test_is_archive(archive, tmp_path):
    """An archive is recognised by its columns; a table of readings is none."""
    directory = archive([message(1)])
    readings = tmp_path / "readings.parquet"
    pq.write_table(pa.table({"time": [1], "topic": ["a"], "payload": [b""]}), readings)
    assert [is_archive(path) for path in (directory, *files(directory), readings, tmp_path / "nothing.parquet")] == [
        True,
        True,
        False,
        False,
    ]


def test_directories_without_an_archive(tmp_path):
    """A directory without an archive, or with other files in it, is rejected with its name."""
    with pytest.raises(FileError, match="a directory without an archive"):
        Archive([tmp_path])
    pq.write_table(pa.table({"time": [1]}), tmp_path / "readings.parquet")
    with pytest.raises(FileError, match=r"readings.parquet: not a file of an archive"):
        Archive([tmp_path])
    (tmp_path / "readings.parquet").write_bytes(b"PAR1")
    with pytest.raises(FileError, match=r"readings.parquet"):
        Archive([tmp_path])


@pytest.mark.parametrize("url", ["http://a/b", "s3://", "s3://key:secret@bucket/a", "bucket"])
def test_wrong_addresses(monkeypatch, url):
    """An address that is not an object store, or contains a password, is rejected before any connection."""
    monkeypatch.setenv("ARCHIVE_URL", url)
    with pytest.raises(SettingError, match="ARCHIVE_URL") as caught:
        load(ArchiveSettings)
    assert "secret" not in str(caught.value)


def test_addresses(monkeypatch, tmp_path):
    """An S3 address with a region and an endpoint gives a store, without a connection."""
    monkeypatch.setenv("ARCHIVE_URL", "s3://bucket/raw?endpoint_override=127.0.0.1:9&scheme=http&region=eu-north-1")
    archive_settings = load(ArchiveSettings)
    assert isinstance(object_store.open_store(archive_settings), ObjectStore)
    assert object_store.location(archive_settings) == "s3://bucket/raw"
    assert archive_settings.spool_directory == Path("archive/.spool")
    assert isinstance(
        object_store.open_store(archive_settings.model_copy(update={"url": None, "directory": tmp_path})),
        LocalDirectory,
    )

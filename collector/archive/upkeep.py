"""``collector archive compact`` and ``verify``: one file an hour, and every message of it readable."""

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from collector.archive.message_table import SCHEMA, row_groups, writer
from collector.archive.spool import ArchiveError, synchronise

GRACE = timedelta(minutes=10)
"""After an hour in which files of it may still be finished."""

_STAMP_LENGTH = len("20260301T120000123456Z")
_MADE_OF = "made_of"
"""In a file's metadata: the names of the files that it was made from, as a JSON list."""


@dataclass(frozen=True)
class Content:
    """What is in some files: enough to tell whether a message is missing."""

    messages: int = 0
    received: int = 0
    """Sum of the times of arrival, microseconds since 1970-01-01 UTC."""
    size: int = 0
    """Bytes of all topics and payloads."""

    def __add__(self, other: "Content") -> "Content":
        return Content(self.messages + other.messages, self.received + other.received, self.size + other.size)


@dataclass(frozen=True)
class Upkeep:
    """What was done, or seen: hours and files, messages, and what is wrong by file."""

    files: int
    content: Content
    wrong: dict[str, str]


@dataclass
class Hour:
    """The files of one hour: what is in them, and what is wrong by file."""

    begins: datetime
    files: int
    size: int
    """Bytes that they take."""
    content: Content
    wrong: dict[str, str]


def verify(
    filesystem: fs.FileSystem,
    root: str,
    since: datetime,
    known: Mapping[datetime, tuple[int, int]] | None = None,
    tell: Callable[[Hour], None] = lambda _: None,
) -> Upkeep:
    """Read every message of the files of hours that begin at ``since`` or later; ``tell`` gets each hour once read.

    The archive is at ``root`` of ``filesystem``. ``known`` says what had been read before, files and their bytes by
    hour: an earlier hour is read as well where that has changed, and one that has gone is told as one of no files.
    Raises ``OSError`` where the archive as a whole can't be looked into.
    """
    before = {} if known is None else dict(known)
    files, content = 0, Content()
    wrong: dict[str, str] = {}
    for hour, there in _hours(filesystem, root).items():
        found = len(there), sum(one.size for one in there)
        changed = before.pop(hour, None) != found and known is not None
        if hour < since and not changed:
            continue
        read = Hour(hour, *found, Content(), {})
        for one in there:
            try:
                with filesystem.open_input_file(one.path) as file:
                    read.content += sum((_content(batch) for batch in _batches(file, hour)), Content())
            except (OSError, ValueError, pa.ArrowException) as error:
                read.wrong[one.path] = str(error)
        files, content, wrong = files + read.files, content + read.content, wrong | read.wrong
        tell(read)
    for hour in before:
        tell(Hour(hour, 0, 0, Content(), {}))
    return Upkeep(files, content, wrong)


def compact(directory: Path, largest: int, now: datetime) -> Upkeep:
    """Make one file of the files of each hour that is over, where they come to ``largest`` bytes at most.

    A kill at any moment loses nothing: the new file appears whole, the old ones go afterwards, and those that a kill
    has left are removed by the next run, since the new file names them. An hour with a file that can't be read stays as
    it is. Memory is bounded by a row group. Returns what is in the new files.
    """
    files, content, wrong = 0, Content(), {}
    for hour, there in _hours(fs.LocalFileSystem(), str(directory)).items():
        if hour + timedelta(hours=1) + GRACE > now:
            continue
        folder = Path(there[0].path).parent
        try:
            _finish(folder)
            old = _files(folder)
            if len(old) > 1 and sum(path.stat().st_size for path in old) <= largest:
                content += _merge(folder, hour, old)
                files += 1
        except (OSError, ValueError, ArchiveError, pa.ArrowException) as error:
            wrong[str(folder)] = str(error)
    return Upkeep(files, content, wrong)


def _merge(folder: Path, hour: datetime, old: list[Path]) -> Content:
    new = folder / f"{old[0].name[:_STAMP_LENGTH]}-{secrets.token_hex(4)}.parquet"
    part = new.with_name(f".{new.name}.part")  # readers pass over names with a dot
    wanted = Content()

    def batches() -> Iterator["pa.RecordBatch"]:
        nonlocal wanted
        for path in old:
            for batch in _batches(path, hour):
                wanted += _content(batch)
                yield batch

    try:
        with part.open("wb") as file:
            with writer(file) as parquet:
                for table in row_groups(batches()):
                    parquet.write_table(table, row_group_size=table.num_rows)
                parquet.add_key_value_metadata({_MADE_OF: json.dumps([path.name for path in old])})
            file.flush()
            os.fsync(file.fileno())
        written = sum((_content(batch) for batch in _batches(part, hour)), Content())
        if written != wanted:
            raise ArchiveError(f"{part} does not hold what {len(old)} files held; they stay: {wanted}, {written}")
        part.replace(new)
    finally:
        part.unlink(missing_ok=True)
    synchronise(folder)
    _finish(folder)
    return written


def _finish(folder: Path) -> None:
    """Remove the files that a file here was made from."""
    files = _files(folder)
    stale = {name for path in files for name in _made_of(path)} & {path.name for path in files}
    for name in stale:
        (folder / name).unlink()
    if stale:
        synchronise(folder)


def _made_of(path: Path) -> list[str]:
    metadata: Any = pq.read_metadata(path).metadata or {}
    names: list[str] = json.loads(metadata.get(_MADE_OF.encode(), b"[]"))
    return names


def _hours(filesystem: fs.FileSystem, root: str) -> dict[datetime, list[fs.FileInfo]]:
    """Return the files of each hour, in order."""
    found: dict[datetime, list[fs.FileInfo]] = {}
    # One listing: an object store has no directories, and answers each question in some milliseconds.
    for one in sorted(filesystem.get_file_info(fs.FileSelector(root, recursive=True)), key=lambda one: one.path):
        if one.type != fs.FileType.File or not _finished(one.base_name):
            continue
        try:
            folder = "/".join(one.path.split("/")[-3:-1])
            begins = datetime.strptime(folder, "date=%Y-%m-%d/hour=%H").replace(tzinfo=UTC)
        except ValueError:
            continue  # not ours
        found.setdefault(begins, []).append(one)
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _finished(path.name))


def _finished(name: str) -> bool:
    """Say whether this is a whole file of the archive; readers pass over names with a dot or an underscore too."""
    return name.endswith(".parquet") and not name.startswith((".", "_"))


def _batches(path: Path | pa.NativeFile, hour: datetime) -> Iterator["pa.RecordBatch"]:
    """Yield the messages of a file; raises ``ValueError`` where they are not what an archive has in that hour."""
    with pq.ParquetFile(path) as file:
        if not set(SCHEMA.names) <= set(file.schema_arrow.names):
            raise ValueError("no file of an archive: it lacks columns")
        for number in range(file.num_row_groups):
            table: Any = file.read_row_group(number, columns=SCHEMA.names).select(SCHEMA.names).cast(SCHEMA)
            if any(column.null_count for column in table.columns):
                raise ValueError("a message lacks its topic, payload or another of its columns")
            if table.num_rows:
                bounds: Any = pc.min_max(table.column("received")).as_py()
                if not hour <= bounds["min"] <= bounds["max"] < hour + timedelta(hours=1):
                    raise ValueError("it holds messages of another hour")
            yield from table.to_batches()


def _content(batch: Any) -> Content:
    received = pc.sum(batch.column("received").cast(pa.int64())).as_py() or 0
    sizes = [pc.sum(pc.binary_length(batch.column(name))).as_py() or 0 for name in ("topic", "payload")]
    return Content(batch.num_rows, received, sum(sizes))

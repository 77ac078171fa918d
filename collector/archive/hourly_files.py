"""The files of the archive, grouped by hour, and their content."""

import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from collector.archive.message_table import SCHEMA
from collector.store import arrived

GRACE = timedelta(minutes=10)
"""After an hour: its files may still be finished within this time."""


@dataclass(frozen=True)
class Content:
    """Totals over messages: enough to notice a missing one."""

    messages: int = 0
    received: int = 0
    """Sum of the arrival times, microseconds since 1970-01-01 UTC."""
    size: int = 0
    """Bytes of all topics and payloads."""
    slots: tuple[int, ...] = (0,) * arrived.SLOTS
    """Number of messages by the hash of :mod:`collector.store.arrived`."""

    def __add__(self, other: "Content") -> "Content":
        return Content(
            self.messages + other.messages,
            self.received + other.received,
            self.size + other.size,
            tuple(map(operator.add, self.slots, other.slots)),
        )

    @classmethod
    def of(cls, batches: Iterable["pa.RecordBatch"]) -> "Content":
        """Return the totals of ``batches``."""
        return sum((_content(batch) for batch in batches), cls())


@dataclass(frozen=True)
class Report:
    """Result of compacting or verifying: number of files, their content, and errors by file or folder."""

    files: int
    content: Content
    errors: dict[str, str]


def list_by_hour(filesystem: fs.FileSystem, root: str) -> dict[datetime, list[fs.FileInfo]]:
    """Return the files of each hour, in order of hour and name; raises ``OSError``."""
    files_by_hour: dict[datetime, list[fs.FileInfo]] = {}
    # One listing: an object store has no directories, and each request takes some milliseconds.
    for file in sorted(filesystem.get_file_info(fs.FileSelector(root, recursive=True)), key=lambda file: file.path):
        if file.type != fs.FileType.File or not is_finished(file.base_name):
            continue
        try:
            folder = "/".join(file.path.split("/")[-3:-1])
            begins = datetime.strptime(folder, "date=%Y-%m-%d/hour=%H").replace(tzinfo=UTC)
        except ValueError:
            continue  # not a file of the archive
        files_by_hour.setdefault(begins, []).append(file)
    return files_by_hour


def is_finished(name: str) -> bool:
    """Return whether this is a complete file of the archive; readers too skip names with a dot or an underscore."""
    return name.endswith(".parquet") and not name.startswith((".", "_"))


def read_batches(path: Path | pa.NativeFile, hour: datetime) -> Iterator["pa.RecordBatch"]:
    """Yield the messages of a file; raises ``ValueError`` if they are not those of an archive in that hour."""
    with pq.ParquetFile(path) as file:
        if not set(SCHEMA.names) <= set(file.schema_arrow.names):
            raise ValueError("not a file of an archive: columns are missing")
        for number in range(file.num_row_groups):
            table: Any = file.read_row_group(number, columns=SCHEMA.names).select(SCHEMA.names).cast(SCHEMA)
            if any(column.null_count for column in table.columns):
                raise ValueError("a message lacks its topic, payload or another column")
            if table.num_rows:
                bounds: Any = pc.min_max(table.column("received")).as_py()
                if not hour <= bounds["min"] <= bounds["max"] < hour + timedelta(hours=1):
                    raise ValueError("it has messages of another hour")
            yield from table.to_batches()


def _content(batch: Any) -> Content:
    received = pc.sum(batch.column("received").cast(pa.int64())).as_py() or 0
    sizes = [pc.sum(pc.binary_length(batch.column(name))).as_py() or 0 for name in ("topic", "payload")]
    slots = [0] * arrived.SLOTS
    topics = batch.column("topic").dictionary_encode()
    hashes = [arrived.topic_hash(topic) for topic in topics.dictionary.to_pylist()]
    for index, payload in zip(topics.indices.to_pylist(), batch.column("payload").to_pylist(), strict=True):
        slots[arrived.slot(hashes[index], payload)] += 1
    return Content(batch.num_rows, received, sum(sizes), tuple(slots))

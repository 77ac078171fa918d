"""The archive of raw messages (``collector archive``), read in the order of arrival across all of its files."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from pyarrow import fs

from collector.archive.message_table import SCHEMA, Table, to_messages
from collector.files.options import FileError
from collector.files.table_file import errors_of
from collector.message import Message

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STORE = "s3:/"
"""Beginning of an object store's address; a ``Path`` turns its two slashes into one."""
_LATEST = 2**63 - 1
_SLICE = 10_000
"""Rows that become messages at a time: as Python objects they take several times the memory."""


def is_archive(path: Path) -> bool:
    """Return whether ``path`` is an archive: a directory, an object store's address, or a file with its columns."""
    if str(path).startswith(_STORE) or path.is_dir():
        return True
    if path.suffix.lower() not in (".parquet", ".pq") or not path.is_file():
        return False
    try:
        return _has_columns(pyarrow.parquet.read_schema(path))
    except (OSError, pa.ArrowException):
        return False  # the reader of the file reports the error


def _has_columns(schema: pa.Schema) -> bool:
    return set(SCHEMA.names) <= set(schema.names)


def _located(path: Path) -> tuple[fs.FileSystem, str]:
    text = str(path)
    if text.startswith(_STORE):
        return fs.FileSystem.from_uri(f"s3://{text.removeprefix(_STORE).lstrip('/')}")
    return fs.LocalFileSystem(), text


@dataclass(frozen=True)
class _File:
    filesystem: fs.FileSystem = field(compare=False)
    path: str

    @cached_property
    def parquet(self) -> pyarrow.parquet.ParquetFile:
        return pyarrow.parquet.ParquetFile(self.filesystem.open_input_file(self.path), pre_buffer=False)

    def close(self) -> None:
        """Close the file; the next access opens it again."""
        if "parquet" in vars(self):
            self.parquet.close(force=True)
            del vars(self)["parquet"]


@dataclass(frozen=True)
class _Part:
    """One row group; ``first`` is the earliest arrival in it (microseconds since 1970-01-01 UTC)."""

    file: _File
    number: int
    first: int
    rows: int

    def read(self) -> Table:
        with errors_of(Path(self.file.path)):
            table: Table = self.file.parquet.read_row_group(self.number, columns=SCHEMA.names)
            table = table.select(SCHEMA.names).cast(SCHEMA)
            if any(column.null_count for column in table.columns):
                raise ValueError("a message lacks its topic, payload or another of its columns")
        return table


class Archive:
    """The messages of all files at ``paths``: archives' directories, single files of them, object stores' addresses.

    Raises :class:`FileError`.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._parts: list[_Part] = []
        for file in dict.fromkeys(file for path in paths for file in _files(path)):
            self._parts += _parts(file)
        self._parts.sort(key=lambda part: part.first)
        self._rows = sum(part.rows for part in self._parts)
        self._read = 0
        self._open: list[_File] = []

    def messages(self) -> Iterator[Message]:
        """Yield all messages in the order of their arrival; raises :class:`FileError` where the rest is unreadable.

        Memory is bounded by the row groups whose times overlap: one or two in an archive of this program.
        """
        waiting: Table = SCHEMA.empty_table()
        ends = [part.first for part in self._parts[1:]]
        for part, end in zip(self._parts, [*ends, _LATEST], strict=False):
            waiting = _in_order(pa.concat_tables([waiting, part.read()]))
            # Messages that arrived before the first message of all parts that have not been read yet.
            ready = int(np.searchsorted(_received(waiting), end))
            for start in range(0, ready, _SLICE):
                self._read += min(_SLICE, ready - start)
                yield from to_messages(waiting.slice(start, min(_SLICE, ready - start)))
            waiting = waiting.slice(ready)
            self._close_all_but(part.file)

    def done(self) -> float:
        """Return the part of all messages that has been read, from 0 to 1."""
        return self._read / max(self._rows, 1)

    def _close_all_but(self, file: _File) -> None:
        for other in self._open:
            if other is not file:
                other.close()
        self._open = [file]

    def close(self) -> None:
        """Close the open files."""
        for file in self._open:
            file.close()


def _files(path: Path) -> Iterable[_File]:
    with errors_of(path):
        filesystem, place = _located(path)
        if filesystem.get_file_info(place).type != fs.FileType.Directory:
            return [_File(filesystem, place)]
        entries = filesystem.get_file_info(fs.FileSelector(place, recursive=True))
        names = sorted(
            entry.path for entry in entries if entry.type == fs.FileType.File and _visible(entry.path, place)
        )
    if not names:
        raise FileError(f"{path}: a directory without an archive (date=…/hour=…/*.parquet); name the files")
    return [_File(filesystem, name) for name in names]


def _visible(path: str, root: str) -> bool:
    inside = path.removeprefix(root).strip("/").split("/")
    return path.endswith(".parquet") and not any(name.startswith((".", "_")) for name in inside)


def _parts(file: _File) -> list[_Part]:
    with errors_of(Path(file.path)):
        metadata: Any = file.parquet.metadata
        if not _has_columns(file.parquet.schema_arrow):
            raise FileError(
                f"{file.path}: not a file of an archive (it lacks {', '.join(SCHEMA.names)}); load it separately"
            )
        column = file.parquet.schema_arrow.names.index("received")
        parts = []
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            if group.num_rows:
                parts.append(_Part(file, number, _first(file, number, group.column(column)), group.num_rows))
    file.close()
    return parts


def _first(file: _File, number: int, column: Any) -> int:
    """Return the earliest arrival in a row group; files of other programs may lack it in their statistics."""
    statistics = column.statistics
    earliest = statistics.min if statistics is not None and statistics.has_min_max else None
    if not isinstance(earliest, datetime) or earliest.tzinfo is None:
        table = file.parquet.read_row_group(number, columns=["received"]).cast(pa.schema([SCHEMA.field("received")]))
        return int(_received(table).min())
    return (earliest - _EPOCH) // timedelta(microseconds=1)


def _received(table: Table) -> Any:
    return table.column("received").cast(pa.int64()).to_numpy()


def _in_order(table: Table) -> Table:
    order = np.argsort(_received(table), kind="stable")
    return table.take(pa.array(order)).combine_chunks()

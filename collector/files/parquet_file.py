"""Parquet files, read row group by row group, a few pages at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from collector.files.options import FileError
from collector.files.table_file import Block, Chunk, check_not_empty, errors_of, gather


class ParquetFile:
    """One Parquet file; raises :class:`FileError`. Its first row is row 1."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with errors_of(path):
            check_not_empty(path)
            # Without read-ahead, memory is a few pages per column, however large the row groups are.
            self._file = pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
            self._schema = self._file.schema_arrow
        self.columns = self._schema.names
        self._rows = self._file.metadata.num_rows
        self._read = 0

    def time_unit(self, column: str, given: str | None) -> str:
        """Return the unit of times; numbers need a given unit, timestamps have one."""
        if column not in self.columns:  # several columns joined
            return given or "iso8601"
        kind = self._schema.field(column).type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return "iso8601"
        if given is None and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise FileError(
                f"{self._path}: column {column} holds numbers ({kind}); "
                "name their unit since 1970 with --time-unit s, ms, us or ns"
            )
        return given or "iso8601"

    def chunks(self, columns: Sequence[str], rows: int) -> Iterator[Chunk]:
        """Yield the ``columns``, about ``rows`` rows at a time; raises :class:`FileError` on unreadable rows."""
        with errors_of(self._path):
            yield from gather(self._blocks(columns, rows), columns, rows)

    def _blocks(self, columns: Sequence[str], rows: int) -> Iterator[Block]:
        for batch in self._file.iter_batches(batch_size=rows, columns=list(columns), use_threads=False):
            first = self._read + 1
            self._read += batch.num_rows
            yield batch, np.arange(first, self._read + 1, dtype=np.int64), []

    def done(self) -> float:
        """Return the part of the file that has been read, from 0 to 1."""
        return self._read / max(self._rows, 1)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

"""CSV files (RFC 4180, with a header row), read block by block as text."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv

from collector.files.cells import characters
from collector.files.options import FileError
from collector.files.row_decoder import parsed
from collector.files.table_file import Block, Chunk, check_not_empty, errors_of, gather, open_stream

DELIMITERS = ",;\t"
_BLOCK = 4_000_000
_HEAD = 65_536
_EPOCH_DIGITS = 9
_LONGEST = 1_000_000


class CsvFile:
    """One CSV file; ``delimiter`` None: the one of ``, ;`` and tab in the header. Raises :class:`FileError`.

    Rows are numbered as in spreadsheets: the header is row 1.
    """

    def __init__(self, path: Path, delimiter: str | None = None) -> None:
        self._path = path
        with errors_of(path):
            self._size = check_not_empty(path)
            raw, stream = open_stream(path)
            with raw:
                head = bytes(stream.read(_HEAD))
        text = head.decode("utf-8-sig", "backslashreplace").lstrip("\r\n")
        if not text:
            raise FileError(f"{path}: only empty lines; there is nothing to load")
        if "\0" in text.split("\n", 1)[0]:
            raise FileError(f"{path}: not a CSV file in UTF-8; save it as one, or name its format with --format")
        self._delimiter = delimiter or _sniff(text)
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter)
        self.columns = next(rows)
        self._first = [row for row, _ in zip(rows, range(20), strict=False)]
        self._raw, self._stream = open_stream(path)
        self._blocks_read = 0

    def time_unit(self, column: str, given: str | None) -> str:
        """Return the unit of times; raises :class:`FileError` for numbers without a given unit."""
        if given is None:
            place = self.columns.index(column)
            cells = [row[place].strip() for row in self._first if len(row) > place]
            # Eight digits may be a date (ISO 8601, basic format); no date has nine.
            if cells and all(parsed(cell) is not None and len(cell) >= _EPOCH_DIGITS for cell in cells):
                raise FileError(
                    f"{self._path}: column {column} holds numbers like {cells[0]}; "
                    "name their unit since 1970 with --time-unit s, ms, us or ns"
                )
        return given or "iso8601"

    def chunks(self, columns: Sequence[str], rows: int) -> Iterator[Chunk]:
        """Yield the ``columns``, about ``rows`` rows at a time; raises :class:`FileError` on unreadable rows."""
        with errors_of(self._path):
            yield from gather(self._blocks(columns), columns, rows)

    def _blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        malformed: list[tuple[int, str, str]] = []

        def refuse(row: pyarrow.csv.InvalidRow) -> Literal["skip", "error"]:
            problem = f"expected {row.expected_columns} cells in the row, got {row.actual_columns}"
            malformed.append((row.number or 0, row.text, problem))
            return "skip"

        reader = pyarrow.csv.open_csv(
            self._stream,
            # One thread: rows are in order then, and the database uses the second core.
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=self._delimiter, newlines_in_values=True, invalid_row_handler=refuse
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.binary()),
                include_columns=list(columns),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
        number = 2
        for batch in reader:
            self._blocks_read += 1
            bad_rows = malformed.copy()
            malformed.clear()
            self._check_closed(number, batch, bad_rows)
            numbers = np.arange(number, number + batch.num_rows + len(bad_rows), dtype=np.int64)
            if bad_rows:  # the numbers of the other rows skip theirs
                numbers = numbers[~np.isin(numbers, [row[0] for row in bad_rows])][: batch.num_rows]
            number += batch.num_rows + len(bad_rows)
            yield batch, numbers, bad_rows
        if malformed:
            nothing = pa.RecordBatch.from_pylist([], reader.schema)
            self._check_closed(number, nothing, malformed)
            yield nothing, np.zeros(0, np.int64), malformed

    def _check_closed(self, number: int, batch: pa.RecordBatch, malformed: list[tuple[int, str, str]]) -> None:
        """Raise an error for a cell that includes the rows after it, since its quotation mark is not closed."""
        longest = max((len(text) for _, text, _ in malformed), default=0)
        for column in batch.columns:
            longest = max(longest, int(characters(column, 0)[1].max(initial=0)))
        if longest > _LONGEST:
            size = f"{longest / 1e6:.1f} MB"
            raise FileError(
                f'{self._path}: from row {number} on there is a cell of {size}; close the quotation mark (") before it'
            )

    def done(self) -> float:
        """Return the part of the file that has been read, from 0 to 1."""
        # The reader is far ahead of the rows it yields; for compressed files only the file position is known.
        place = self._blocks_read * _BLOCK if self._stream is self._raw else self._raw.tell()
        return min(1.0, place / self._size)

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


def _sniff(text: str) -> str:
    """Return the most frequent delimiter in the header, outside quotation marks."""
    header = next(csv.reader(io.StringIO(text, newline=""), delimiter="\0"), [""])
    line = "".join(header) if '"' not in text.splitlines()[0] else text.splitlines()[0]
    outside = "".join(line.split('"')[::2])
    return max(DELIMITERS, key=outside.count)

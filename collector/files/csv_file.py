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
    """One CSV file; ``delimiter`` None finds out which of ``, ;`` and tab the header has. Raises :class:`FileError`.

    Rows are numbered as spreadsheets do: the header is row 1.
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
            raise FileError(f"{path}: no CSV file in UTF-8; save it as one, or say with --format what it is")
        self._delimiter = delimiter or _sniff(text)
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter)
        self.columns = next(rows)
        self._first = [row for row, _ in zip(rows, range(20), strict=False)]
        self._raw, self._stream = open_stream(path)
        self._blocks_read = 0

    def time_unit(self, column: str, given: str | None) -> str:
        """Return how times are written; numbers that nobody said the unit of are refused rather than quarantined."""
        if given is None:
            place = self.columns.index(column)
            cells = [row[place].strip() for row in self._first if len(row) > place]
            # Eight digits can be a date (ISO 8601, basic format); no date has nine.
            if cells and all(parsed(cell) is not None and len(cell) >= _EPOCH_DIGITS for cell in cells):
                raise FileError(
                    f"{self._path}: column {column} holds numbers like {cells[0]}; "
                    "say what they count since 1970 with --time-unit s, ms, us or ns"
                )
        return given or "iso8601"

    def chunks(self, columns: Sequence[str], rows: int) -> Iterator[Chunk]:
        """Yield the ``columns``, about ``rows`` rows at a time; raises :class:`FileError` where it can't go on."""
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
            # One thread: rows have numbers then, and the second core is the database's.
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
            found = malformed.copy()
            malformed.clear()
            self._check_closed(number, batch, found)
            numbers = np.arange(number, number + batch.num_rows + len(found), dtype=np.int64)
            if found:  # the others' numbers leave out those
                numbers = numbers[~np.isin(numbers, [one[0] for one in found])][: batch.num_rows]
            number += batch.num_rows + len(found)
            yield batch, numbers, found
        if malformed:
            nothing = pa.RecordBatch.from_pylist([], reader.schema)
            self._check_closed(number, nothing, malformed)
            yield nothing, np.zeros(0, np.int64), malformed

    def _check_closed(self, number: int, batch: pa.RecordBatch, malformed: list[tuple[int, str, str]]) -> None:
        """Refuse what swallowed the rows after it, rather than let them disappear in the quarantine as one cell."""
        longest = max((len(text) for _, text, _ in malformed), default=0)
        for column in batch.columns:
            longest = max(longest, int(characters(column, 0)[1].max(initial=0)))
        if longest > _LONGEST:
            size = f"{longest / 1e6:.1f} MB"
            raise FileError(
                f'{self._path}: from row {number} on there is a cell of {size}; close the quotation mark (") before it'
            )

    def done(self) -> float:
        """Return how much of the file has been read, from 0 to 1."""
        # What has been read is far ahead of what has come out; only the compressed file's size says nothing else.
        place = self._blocks_read * _BLOCK if self._stream is self._raw else self._raw.tell()
        return min(1.0, place / self._size)

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


def _sniff(text: str) -> str:
    """Return the delimiter that stands most often in the header, outside quotation marks."""
    header = next(csv.reader(io.StringIO(text, newline=""), delimiter="\0"), [""])
    line = "".join(header) if '"' not in text.splitlines()[0] else text.splitlines()[0]
    outside = "".join(line.split('"')[::2])
    return max(DELIMITERS, key=outside.count)

"""CSV files (RFC 4180, with a header row), read block by block as text."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.csv

from collector.files.columns.cells import characters
from collector.files.options import FileError, TextOptions
from collector.files.row_decoder import instant, parsed
from collector.files.table_file import Block, Chunk, check_not_empty, encoding_of, errors_of, gather, open_text
from collector.message import UnusableError

DELIMITERS = ",;\t"
_BLOCK = 4_000_000
_HEAD = 65_536
_EPOCH_DIGITS = 9
_LONGEST = 1_000_000


class CsvFile:
    """One CSV file; ``delimiter`` None: the one of ``, ;`` and tab in the header. Raises :class:`FileError`.

    Rows are numbered as in spreadsheets: the first line is row 1; comments do not count.
    """

    def __init__(self, path: Path, delimiter: str | None = None, text: TextOptions | None = None) -> None:
        self._path = path
        text = text or TextOptions()
        self._time_formats = text.time_formats
        with errors_of(path):
            self._size = check_not_empty(path)
            self._encoding = encoding_of(path, text.encoding)
            raw, stream = open_text(path, self._encoding, text.comment)
            with raw:
                head = bytes(stream.read(_HEAD))
        lines = io.StringIO(head.decode("utf-8-sig", "surrogateescape"), newline="").readlines()
        self._header_line = self._first_header_line(lines, text)
        head_text = "".join(lines[self._header_line :])
        if "\0" in lines[self._header_line]:
            raise FileError(f"{path}: not a text file; name its encoding with --encoding or its format with --format")
        self._delimiter = delimiter or _sniff(head_text)
        self.columns, consumed = self._header(head_text)
        self._skipped = max(text.skip_lines, self._header_line + consumed)
        """Lines before the first row."""
        rows = csv.reader(lines[self._skipped :], delimiter=self._delimiter)
        self._first = [row for row, _ in zip((row for row in rows if row), range(20), strict=False)]
        self._widths = self._check_widths()
        self._raw, self._stream = open_text(path, self._encoding, text.comment)
        self._blocks_read = 0

    def _first_header_line(self, lines: list[str], text: TextOptions) -> int:
        """Return the position of the header's line."""
        if text.header_line is not None:
            position = text.header_line - 1
        else:
            position = text.skip_lines
            while position < len(lines) and not lines[position].strip("\r\n"):
                position += 1
        if position >= len(lines):
            is_skipping = text.header_line is not None or text.skip_lines
            problem = f"only {len(lines)} lines; correct --skip-lines or --header-line" if is_skipping else ""
            raise FileError(f"{self._path}: {problem or 'only empty lines; there is nothing to load'}")
        return position

    def _header(self, text: str) -> tuple[list[str], int]:
        """Return the column names at the beginning of ``text`` and the number of their lines."""
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter)
        columns = next(rows, [])
        try:
            "".join(columns).encode()
        except UnicodeEncodeError:
            shown = ascii("".join(columns)[:60]).replace("\\udc", "\\x")
            raise FileError(
                f"{self._path}: the column names are not in {self._encoding} ({shown}); "
                "name the encoding, for Western Windows programs --encoding windows-1252"
            ) from None
        return columns, rows.line_num

    def _check_widths(self) -> int:
        """Return the number of cells of a row; forget a name, or expect a cell, for a delimiter too many."""
        width = len(self.columns)
        if not self._first:
            return width
        if all(len(row) == width + 1 and not row[-1].strip() for row in self._first):
            return width + 1
        if width > 1 and not self.columns[-1].strip() and all(len(row) == width - 1 for row in self._first):
            self.columns = self.columns[:-1]
            return width - 1
        if all(len(row) > width for row in self._first):
            raise FileError(
                f"{self._path}: line {self._header_line + 1} has {width} cells and the rows after it have "
                f"{len(self._first[0])}; name the header with --header-line, or skip the lines before it with "
                "--skip-lines or --comment '#'"
            )
        return width

    def time_unit(self, column: str, given: str | None) -> str:
        """Return the unit of times; raises :class:`FileError` for numbers without a given unit."""
        if given is None and not self._time_formats:
            parts = [column] if column in self.columns else column.split("+")
            places = [self.columns.index(part) for part in parts]
            cells = [" ".join(row[place].strip() for place in places) for row in self._first if len(row) > max(places)]
            cells = [cell for cell in cells if cell.strip()]
            # Eight digits may be a date (ISO 8601, basic format); no date has nine.
            if cells and all(parsed(cell) is not None and len(cell) >= _EPOCH_DIGITS for cell in cells):
                raise FileError(
                    f"{self._path}: column {column} holds numbers like {cells[0]}; "
                    "name their unit since 1970 with --time-unit s, ms, us or ns"
                )
            if cells and not any(map(_is_time, cells)):
                raise FileError(
                    f"{self._path}: column {column} holds times like {cells[0]!a}, which are not ISO 8601; name their "
                    f"format with --time-format, for example --time-format '{_likely_format(cells)}'"
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

        places = [str(self.columns.index(column)) for column in columns]
        reader = pyarrow.csv.open_csv(
            self._stream,
            # One thread: rows are in order then, and the database uses the second core. Names are positions, since
            # headers may have a name twice.
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False,
                block_size=_BLOCK,
                skip_rows=self._skipped,
                column_names=[str(place) for place in range(self._widths)],
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=self._delimiter, newlines_in_values=True, invalid_row_handler=refuse
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(places, pa.binary()),
                include_columns=places,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
        number = self._skipped + 1
        for batch in reader:
            self._blocks_read += 1
            bad_rows = malformed.copy()
            malformed.clear()
            self._check_closed(number, batch, bad_rows)
            numbers = np.arange(number, number + batch.num_rows + len(bad_rows), dtype=np.int64)
            if bad_rows:  # the numbers of the other rows skip theirs
                numbers = numbers[~np.isin(numbers, [row[0] for row in bad_rows])][: batch.num_rows]
            number += batch.num_rows + len(bad_rows)
            yield batch.rename_columns(list(columns)), numbers, bad_rows
        if malformed:
            nothing = pa.RecordBatch.from_pylist([], reader.schema)
            self._check_closed(number, nothing, malformed)
            yield nothing.rename_columns(list(columns)), np.zeros(0, np.int64), malformed

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
        # The reader is far ahead of the rows it yields; for transformed files only the file position is known.
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


_FORMATS = (
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%y %I:%M:%S %p",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%d-%m-%Y %H:%M:%S",
    "%d-%m-%Y %H:%M",
)
"""Frequent formats of times, as proposals."""


def _is_time(cell: str) -> bool:
    try:
        instant(cell, "iso8601", ZoneInfo("UTC"))
    except UnusableError:
        return False
    return True


def _likely_format(cells: Sequence[str]) -> str:
    """Return the format of most of ``cells``; the user decides what is day and what is month."""

    def matches(form: str) -> int:
        count = 0
        for cell in cells:
            with suppress(UnusableError):
                instant(cell, "iso8601", ZoneInfo("UTC"), (form,))
                count += 1
        return count

    return max(_FORMATS, key=matches)

"""Cells of Arrow columns: as arrays for the fast path, and one by one for rows that become messages. Pure.

Text is handled as bytes, since files need not be UTF-8; other bytes are escaped.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from collector.decode.reading_rule import EXACT
from collector.files.row_decoder import GROUPS, LOCAL_NUMBERS, NUMBER
from collector.message import LARGEST

Column: TypeAlias = Any
"""A ``pyarrow.Array``; its published type hints lack half of the methods used here."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the zone is added where there is one
_PER_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NUMBER = f"^{NUMBER}$"


def is_text(kind: pa.DataType) -> bool:
    """Return whether cells of this type are text, or bytes, which count as text."""
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def plain(column: Column) -> Column:
    """Return ``column`` in one of the few types that this package handles, without views and dictionaries."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return plain(column.dictionary_decode())
    if is_text(kind):
        return column.cast(pa.binary()) if kind != pa.binary() else column
    if pa.types.is_fixed_size_binary(kind) or kind in (pa.string_view(), pa.binary_view()):
        return column.cast(pa.binary())
    if pa.types.is_decimal(kind):
        return column.cast(pa.string()).cast(pa.binary())  # its digits: the double is then the nearest one
    if pa.types.is_date64(kind):
        return column.cast(pa.timestamp("ms"))
    return column.cast(pa.float32()) if pa.types.is_float16(kind) else column


def as_text(column: Column) -> Column:
    """Return bytes as text unchecked: only for parsers that refuse other text than ASCII."""
    return column.view(pa.string())


def nulls(column: Column) -> NDArray[np.bool_]:
    """Return which cells are null."""
    if not column.null_count:
        return np.zeros(len(column), np.bool_)
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False), np.bool_)


def blanks(column: Column) -> NDArray[np.bool_]:
    """Return which cells are empty; the row decoder handles text of blanks."""
    missing = nulls(column)
    if is_text(column.type):
        missing |= characters(column, 0)[1] == 0
    return missing


def integers(column: Column) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return an integer column and which cells are sure: not null, and in the range of 64 bits with a sign."""
    sure = ~nulls(column)
    filled = column.fill_null(0) if column.null_count else column
    values = filled.to_numpy(zero_copy_only=False)
    if values.dtype == np.uint64:
        sure &= values < 2**63
    return values.astype(np.int64), sure


def floats(column: Column) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return a floating-point column and which of its cells are not null."""
    sure = ~nulls(column)
    filled = column.fill_null(0) if column.null_count else column
    return filled.to_numpy(zero_copy_only=False).astype(np.float64), sure


def text_numbers(column: Column) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the numbers in a text column and which cells are numbers."""
    try:
        return floats(as_text(column).cast(pa.float64()))
    except pa.ArrowInvalid:  # Arrow does not report which cells; finding them takes as long again
        is_number = pc.match_substring_regex(column, _NUMBER)
        return floats(as_text(pc.if_else(is_number, column, pa.scalar(None, column.type))).cast(pa.float64()))


def local_numbers(column: Column, decimal: str) -> Column:
    """Return a text column with the numbers that have this decimal mark in the notation of programs, others null."""
    is_number = pc.match_substring_regex(column, f"^{LOCAL_NUMBERS[decimal]}$")
    column = pc.if_else(is_number, column, pa.scalar(None, column.type))
    for mark in GROUPS[decimal]:
        column = pc.replace_substring(column, mark, "")
    return column if decimal == "." else pc.replace_substring(column, ",", ".")


def missing(column: Column, rows: NDArray[np.int64], markers: Container[str]) -> NDArray[np.int64]:
    """Return those of ``rows`` whose cells are texts without a value."""
    if is_text(column.type):
        return rows[codes(column.take(pa.array(rows)), lambda text: 0 if not text or text in markers else -1) >= 0]
    if pa.types.is_floating(column.type) and "NaN" in markers:
        return rows[np.isnan(floats(column)[0][rows])]
    return rows[:0]


def numbers(column: Column) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the numbers in a column and which cells are sure: finite and exact as a double."""
    kind = column.type
    if is_text(kind):
        values, sure = text_numbers(column)
        return values, sure & (np.abs(values) < EXACT)
    if pa.types.is_integer(kind):
        ticks, sure = integers(column)
        return ticks.astype(np.float64), sure & (ticks < EXACT) & (ticks > -EXACT)
    if pa.types.is_floating(kind):
        values, sure = floats(column)
        return values, sure & (np.abs(values) < LARGEST)
    return np.zeros(len(column)), np.zeros(len(column), np.bool_)


def booleans(
    column: Column, values: NDArray[np.float64], sure: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return true and 1 as 1, false and 0 as 0, and which cells are sure; ``values`` are the column's numbers."""
    if pa.types.is_boolean(column.type):
        return column.fill_null(False).to_numpy(zero_copy_only=False).astype(np.float64), ~nulls(column)
    return values, sure & ((values == 0) | (values == 1))


def states(column: Column, known: Mapping[str, float]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the numbers that ``known`` has for the texts of a column, and which cells are such a text."""
    if not (known and is_text(column.type)):
        return np.zeros(len(column)), np.zeros(len(column), np.bool_)
    numbers_of_texts = list(dict.fromkeys(known.values()))

    def code(text: str) -> int:
        number = known.get(text, known.get(text.lower()))
        return -1 if number is None else numbers_of_texts.index(number)

    positions = codes(column, code)
    return np.array(numbers_of_texts)[positions], positions >= 0


def codes(column: Column, known: Callable[[str], int]) -> NDArray[np.int64]:
    """Return the result of ``known`` for the text of each cell; -1 for null."""
    encoded = column.dictionary_encode()
    meaning = [known(str(value(encoded.dictionary, row)).strip()) for row in range(len(encoded.dictionary))]
    positions, sure = integers(encoded.indices)
    return np.where(sure, np.array([*meaning, -1], np.int64)[np.where(sure, positions, -1)], -1)


def characters(column: Column, width: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the first ``width`` bytes of each cell, position by position, 0 after the end; and the cells' lengths."""
    rows = len(column)
    _, offset_bytes, data_bytes = column.buffers()
    offsets = np.frombuffer(offset_bytes, np.int32)[column.offset : column.offset + rows + 1].astype(np.int64)
    lengths = np.diff(offsets)
    if column.null_count:
        lengths[nulls(column)] = 0
    padded = np.zeros((width + 7, rows), np.uint8)  # so that readers may look past the end
    if data_bytes is not None and rows and offsets[-1] > offsets[0]:
        data = np.frombuffer(data_bytes, np.uint8)
        if (lengths == lengths[0]).all() and not column.null_count:
            count = min(int(lengths[0]), width)
            padded[:count] = data[offsets[0] : offsets[-1]].reshape(rows, -1)[:, :count].T
        else:
            for place in range(min(width, int(lengths.max()))):
                inside = lengths > place
                padded[place, inside] = data[offsets[:-1][inside] + place]
    return padded, lengths


def row(columns: Sequence[tuple[str, Column]], position: int) -> dict[str, Any]:
    """Return one row as a mapping of column to cell, with values of JSON types."""
    return {name: value(column, position) for name, column in columns}


def value(column: Column, position: int) -> Any:
    """Return one cell as a value of a JSON type; times as ISO 8601 text, to the microsecond."""
    cell = column[position]
    kind = column.type
    if not cell.is_valid:
        return None
    if pa.types.is_timestamp(kind):
        ticks = cell.value
        micros = ticks // 1_000 if kind.unit == "ns" else ticks * _PER_UNIT[kind.unit]
        return _iso8601(micros, zone="" if kind.tz is None else "+00:00")
    if pa.types.is_date32(kind):
        return _iso8601(cell.value * 86_400_000_000, zone="").removesuffix("T00:00:00")
    try:
        content = cell.as_py()
    except (ValueError, OverflowError, ImportError):
        return str(cell)
    if isinstance(content, bytes):
        return content.decode("utf-8", "backslashreplace")
    return str(content) if isinstance(content, Decimal | date | timedelta) else content


def _iso8601(micros: int, zone: str) -> str:
    try:
        return (_EPOCH + timedelta(microseconds=micros)).isoformat() + zone
    except OverflowError:
        return f"{micros} µs since 1970"

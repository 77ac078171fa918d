"""Times of whole columns: the fast path of :func:`collector.files.row_decoder.instant`. Pure.

A column becomes :class:`Instants`; rows that are not ``sure`` are decoded by the row decoder, which reports problems.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from collector.decode.reading_rule import EXACT
from collector.files.columns import cells
from collector.files.columns.cells import Column

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - local time, whatever the zone
_DAY = 86_400_000_000
_MINUTE = 60_000_000
_LIMIT = 2**62
_WIDTH = 32  # 2013-07-04T00:00:00.123456+00:00
_PER_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}
# Zones changed at odd seconds only before they agreed on whole minutes; 1972 is when the last one did.
_WHOLE_MINUTES = 2 * 365 * _DAY, 400 * 365 * _DAY


@dataclass
class Instants:
    """Times of a column."""

    micros: NDArray[np.int64]
    """Microseconds since 1970-01-01, in UTC or (``local``) in the zone of the row's clock."""
    local: NDArray[np.bool_]
    sure: NDArray[np.bool_]


def of(column: Column, unit: str) -> Instants:
    """Return the times in ``column``; ``unit`` is that of text and numbers (``iso8601``, ``s``, …)."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        return _timestamps(column, kind)
    if pa.types.is_date32(kind):
        days, sure = cells.integers(column.cast(pa.int32()))
        sure &= np.abs(days) < _LIMIT // _DAY
        return Instants(np.where(sure, days, 0) * _DAY, np.ones(len(days), np.bool_), sure)
    if cells.is_text(kind):
        return _iso8601(column) if unit == "iso8601" else _epoch_text(column, unit)
    if unit != "iso8601" and pa.types.is_integer(kind):
        return _epoch_integers(*cells.integers(column), unit)
    if unit != "iso8601" and pa.types.is_floating(kind):
        return _epoch_floats(*cells.floats(column), unit)
    nothing = np.zeros(len(column), np.bool_)
    return Instants(np.zeros(len(column), np.int64), nothing, nothing.copy())


def joined(columns: Sequence[Column]) -> Column:
    """Return the texts of ``columns`` joined by blanks; null where one is empty. Other columns are left to rows."""
    if not all(cells.is_text(column.type) for column in columns):
        return pa.nulls(len(columns[0]))
    whole = pc.binary_join_element_wise(*columns, pa.scalar(b" ", pa.binary()))
    present = np.all([~cells.blanks(column) for column in columns], axis=0)
    return pc.if_else(pa.array(present), whole, pa.scalar(None, pa.binary()))


_WIDTHS = {"Y": 4, "y": 2, "m": 2, "d": 2, "H": 2, "I": 2, "M": 2, "S": 2, "f": 6, "p": 2}
"""Characters of the codes of ``strptime`` that are read by column, where all digits are written."""


def of_format(column: Column, form: str) -> Instants:
    """Return the times of texts in ``form`` (codes of ``strptime``) whose numbers have all their digits."""
    nothing = np.zeros(len(column), np.bool_)
    places = _places(form)
    if places is None or not cells.is_text(column.type):
        return Instants(np.zeros(len(column), np.int64), nothing, nothing.copy())
    codes, literals, width = places
    characters, lengths = cells.characters(column, width)
    sure = lengths == width
    for place, literal in literals:
        sure &= characters[place] == literal
    digits = characters - np.uint8(ord("0"))
    numbers = {"Y": 1900, "m": 1, "d": 1, "H": 0, "M": 0, "S": 0, "f": 0}
    parts: dict[str, Any] = {code: np.full(len(column), number, np.int64) for code, number in numbers.items()}
    for code, place in codes.items():
        if code != "p":
            part = np.zeros(len(column), np.int64)
            for at in range(place, place + _WIDTHS[code]):
                sure &= digits[at] <= 9  # noqa: PLR2004
                part = part * 10 + digits[at]
            parts[code] = part
    if "y" in parts:
        parts["Y"] = parts["y"] + np.where(parts["y"] < 69, 2000, 1900)  # noqa: PLR2004 - as POSIX divides them
    if "I" in parts:
        sure &= (parts["I"] >= 1) & (parts["I"] <= 12)  # noqa: PLR2004
        parts["H"] = parts["I"] % 12
        if "p" in codes:
            letter = characters[codes["p"]] & ~np.uint8(32)
            sure &= ((letter == ord("A")) | (letter == ord("P"))) & (
                characters[codes["p"] + 1] & ~np.uint8(32) == ord("M")
            )
            parts["H"] = parts["H"] + np.where(letter == ord("P"), 12, 0)
    seconds, sure = _seconds(parts["Y"], parts["m"], parts["d"], parts["H"], parts["M"], parts["S"], sure)
    return Instants(np.where(sure, seconds * 1_000_000 + parts["f"], 0), np.ones(len(column), np.bool_), sure)


@lru_cache
def _places(form: str) -> tuple[dict[str, int], list[tuple[int, int]], int] | None:
    """Return where each code and each literal character stands, and the width; None: rows are read one by one."""
    codes: dict[str, int] = {}
    literals: list[tuple[int, int]] = []
    place = 0
    for code, literal in re.findall(r"%(.)|(.)", form, re.DOTALL):
        if code:
            if code not in _WIDTHS or code in codes:
                return None
            codes[code] = place
            place += _WIDTHS[code]
        elif literal.isascii():
            literals.append((place, ord(literal)))
            place += 1
        else:
            return None
    is_usual = ("Y" in codes) != ("y" in codes) and not {"H", "I"} <= set(codes) and ("p" not in codes or "I" in codes)
    return (codes, literals, place) if is_usual else None


def _seconds(
    year: Any, month: Any, day: Any, hour: Any, minute: Any, second: Any, sure: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return seconds since 1970-01-01 of local times, and which are sure: of the calendar and the clock."""
    sure = sure & (year > 0) & (month > 0) & (month <= 12) & (day > 0)  # noqa: PLR2004
    sure &= (hour < 24) & (minute < 60) & (second < 60)  # noqa: PLR2004
    months = np.where(sure, (year - 1970) * 12 + month - 1, 0)
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    sure &= day <= (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) - first
    return (first + day - 1) * 86_400 + (hour * 60 + minute) * 60 + second, sure


def to_utc(micros: NDArray[np.int64], zone: ZoneInfo) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Return the instants of local times in ``zone``, which of them are sure, and the length of repeated times.

    Times that the clock repeats or skips are not sure; their instants are those before it was changed (PEP 495, fold
    0). The length is the microseconds to the second instant of a repeated time, 0 for others.
    """
    if zone.key == "UTC":
        return micros, np.ones(len(micros), np.bool_), np.zeros(len(micros), np.int64)
    sure = (micros > _WHOLE_MINUTES[0]) & (micros < _WHOLE_MINUTES[1])
    minutes, positions = np.unique(np.where(sure, micros, 0) // _MINUTE, return_inverse=True)
    offsets = np.array([_offsets(zone, minute) for minute in minutes.tolist()], np.int64).reshape(-1, 2)
    before, lengths = offsets[:, 0], offsets[:, 0] - offsets[:, 1]
    repeated = np.where(sure, np.maximum(lengths, 0)[positions], 0)
    return micros - before[positions], sure & (lengths == 0)[positions], repeated


@lru_cache(maxsize=1 << 16)
def _offsets(zone: ZoneInfo, minute: int) -> tuple[int, int]:
    """Return the offsets from UTC of a local time, before and after a change of the clock, in microseconds."""
    local = (_EPOCH + timedelta(minutes=minute)).replace(tzinfo=zone)
    before, after = (local.replace(fold=fold).utcoffset() or timedelta() for fold in (0, 1))
    return before // timedelta(microseconds=1), after // timedelta(microseconds=1)


def passes(first: NDArray[np.int64], length: int, before: int | None, after: int | None) -> list[int] | None:
    """Return 0 (first pass) or 1 (second pass) for each of consecutive repeated local times; None: unknown.

    ``first`` are the instants of the first pass in the order of the rows, ``length`` is the time between the passes,
    ``before`` and ``after`` are the instants of the rows around them, if there are any; all in microseconds since
    1970. Instants ascend with the rows, or descend: where the local times go the other way, the clock was set back.
    """
    steps = np.sign(np.diff(first)).tolist()
    direction = _direction(first, length, before, after) or (sum(steps) > 0) - (sum(steps) < 0)
    opposite = [place for place, step in enumerate(steps, 1) if step != direction]
    # Equal times are the two passes only where each has one row; otherwise they may be a row that was written twice.
    if direction == 0 or len(opposite) != 1 or (0 in steps and len(steps) > 1):
        return None
    ascending = [0] * opposite[0] + [1] * (len(first) - opposite[0])
    return ascending if direction > 0 else [1 - number for number in ascending]


def _direction(first: NDArray[np.int64], length: int, before: int | None, after: int | None) -> int:
    """Return 1 where the rows around repeated times ascend, -1 where they descend, 0 if that is unknown."""
    earliest, latest = int(first.min()), int(first.max()) + length
    previous = 0 if before is None else (before < earliest) - (before > latest)
    following = 0 if after is None else (after > latest) - (after < earliest)
    return 0 if previous == -following else previous or following


def _timestamps(column: Column, kind: Any) -> Instants:
    ticks, sure = cells.integers(column.cast(pa.int64()))
    local = np.full(len(ticks), kind.tz is None)
    if kind.unit == "ns":
        return Instants(ticks // 1_000, local, sure)
    return Instants(*_scaled(ticks, _PER_UNIT[kind.unit], local, sure))


def _scaled(
    ticks: NDArray[np.int64], factor: int, local: NDArray[np.bool_], sure: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    sure &= (ticks < _LIMIT // factor) & (ticks > -_LIMIT // factor)
    return np.where(sure, ticks, 0) * factor, local, sure


def _epoch_text(column: Column, unit: str) -> Instants:
    try:
        whole = cells.as_text(column).cast(pa.int64())
    except pa.ArrowInvalid:
        return _epoch_floats(*cells.text_numbers(column), unit)
    return _epoch_integers(*cells.integers(whole), unit)


def _epoch_integers(ticks: NDArray[np.int64], sure: NDArray[np.bool_], unit: str) -> Instants:
    local = np.zeros(len(ticks), np.bool_)
    if unit == "ns":
        return Instants(ticks // 1_000, local, sure)
    return Instants(*_scaled(ticks, _PER_UNIT[unit], local, sure))


def _epoch_floats(ticks: NDArray[np.float64], sure: NDArray[np.bool_], unit: str) -> Instants:
    sure &= np.abs(ticks) < EXACT  # False for NaN too
    ticks = np.where(sure, ticks, 0.0)
    micros = ticks // 1_000 if unit == "ns" else np.rint(ticks * _PER_UNIT[unit])
    sure &= np.abs(micros) < _LIMIT
    return Instants(np.where(sure, micros, 0).astype(np.int64), np.zeros(len(ticks), np.bool_), sure)


def _iso8601(column: Column) -> Instants:
    """Read ``YYYY-MM-DD hh:mm:ss[.f…][Z|±hh[:mm]]`` with a blank or T between; other forms are not sure."""
    characters, lengths = cells.characters(column, _WIDTH)
    digits = characters - np.uint8(ord("0"))  # wraps around: other characters are above 9
    is_digit = digits <= 9  # noqa: PLR2004
    sure = (lengths >= 19) & (lengths <= _WIDTH)  # noqa: PLR2004 - up to the seconds
    for place in (0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18):
        sure &= is_digit[place]
    for place, character in ((4, "-"), (7, "-"), (13, ":"), (16, ":")):
        sure &= characters[place] == ord(character)
    sure &= (characters[10] == ord(" ")) | (characters[10] == ord("T"))

    def two(place: int) -> NDArray[np.int64]:
        pair: NDArray[np.int64] = digits[place].astype(np.int64) * 10 + digits[place + 1]
        return pair

    year, month, day = two(0) * 100 + two(2), two(5), two(8)
    hour, minute, second = two(11), two(14), two(17)
    seconds, sure = _seconds(year, month, day, hour, minute, second, sure)
    micros = seconds * 1_000_000
    local = lengths == 19  # noqa: PLR2004
    if not local.all():
        fraction, end = _fraction(characters, digits, is_digit, sure)
        micros += fraction
        shift, local = _shift(characters, digits, is_digit, lengths - end, end, sure)
        micros -= shift
    return Instants(np.where(sure, micros, 0), local, sure)


def _fraction(
    characters: NDArray[np.uint8], digits: NDArray[np.uint8], is_digit: NDArray[np.bool_], sure: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return microseconds after the dot, and the position of the rest of the text."""
    rows = characters.shape[1]
    fraction, end = np.zeros(rows, np.int64), np.full(rows, 19, np.int64)
    going = characters[19] == ord(".")
    if going.any():
        end[going] = 20
        for place in range(20, 26):
            going &= is_digit[place]
            fraction += np.where(going, digits[place], 0).astype(np.int64) * 10 ** (25 - place)
            end += going
        sure &= end != 20  # noqa: PLR2004 - a dot and no digit
    return fraction, end


def _shift(
    characters: NDArray[np.uint8],
    digits: NDArray[np.uint8],
    is_digit: NDArray[np.bool_],
    left: NDArray[np.int64],
    end: NDArray[np.int64],
    sure: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return microseconds east of UTC, and which texts have no zone; ``left`` characters follow from ``end`` on."""
    rows = np.arange(characters.shape[1])
    # Only rows with a numeric offset need a look-up at a position per row.
    first = characters[end, rows]
    shift = np.zeros(len(rows), np.int64)
    local = left == 0
    utc = left == 4  # noqa: PLR2004
    if utc.any():
        at = np.where(utc, end, 0)
        for place, letter in enumerate(" UTC"):
            utc &= characters[at + place, rows] == ord(letter)
    offset = ((left == 3) | (left == 6)) & ((first == ord("+")) | (first == ord("-")))  # noqa: PLR2004
    sure &= local | ((left == 1) & (first == ord("Z"))) | utc | offset
    chosen = np.flatnonzero(offset)
    if chosen.size:
        at = end[chosen]
        hours = digits[at + 1, chosen].astype(np.int64) * 10 + digits[at + 2, chosen]
        good = is_digit[at + 1, chosen] & is_digit[at + 2, chosen] & (hours < 24)  # noqa: PLR2004
        long = left[chosen] == 6  # noqa: PLR2004
        at = np.where(long, at, 0)
        minutes = np.where(long, digits[at + 4, chosen].astype(np.int64) * 10 + digits[at + 5, chosen], 0)
        tail = (characters[at + 3, chosen] == ord(":")) & is_digit[at + 4, chosen] & is_digit[at + 5, chosen]
        good &= ~long | (tail & (minutes < 60))  # noqa: PLR2004
        sure[chosen] &= good
        shift[chosen] = np.where(first[chosen] == ord("-"), -1, 1) * (hours * 60 + minutes) * _MINUTE
    return shift, local

"""One row of a file to its readings. Pure.

A row is a message whose payload is a JSON object of column to cell. Text cells are read as CSV cells are, whatever the
format of the file; then the rule of :mod:`collector.decode.reading_rule` applies, as to the values of a live message.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from collector.decode.reading_rule import EXACT, Series, check_time
from collector.files.file_sensors import FileSensor, FileSensors
from collector.files.layout import Layout
from collector.files.options import MISSING, TextOptions
from collector.formats import json_tree
from collector.formats.times import EPOCH, epoch, iso8601, parsed_iso8601, since_1970
from collector.message import (
    Decoded,
    IgnoredReason,
    Message,
    NoReadingError,
    Reading,
    Reason,
    Rejection,
    Rejections,
    UndecodableError,
    UnusableError,
    quoted,
)
from collector.registry.discovery import UnregisteredError

NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
"""A finite number as text: those of CSV files, without Python's underscores and other scripts' digits."""

LOCAL_NUMBERS = {
    mark: rf"[+-]?(?:[0-9]{{1,3}}(?:[{other} '][0-9]{{3}})+|[0-9]+)(?:{re.escape(mark)}[0-9]*)?(?:[eE][+-]?[0-9]+)?"
    for mark, other in ((",", "."), (".", ","))
}
"""Finite numbers by their decimal mark, with or without groups of thousands."""

GROUPS = {",": ". '", ".": ", '"}
"""Marks between groups of thousands, by decimal mark."""

_NUMBER = re.compile(NUMBER)
_LOCAL = {mark: re.compile(expression) for mark, expression in LOCAL_NUMBERS.items()}
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?[0-9]{1,400}")


class RowDecoder:
    """Decodes rows of one file.

    ``time_unit`` is ``iso8601`` or a unit of epoch numbers; ``max_future`` is how many microseconds a time may be
    after the row's arrival. Without a sensor column all rows are of the first of ``sensors``. ``text`` is how the file
    writes texts, numbers and times.
    """

    def __init__(
        self,
        layout: Layout,
        sensors: FileSensors,
        time_unit: str,
        max_future: int,
        text: TextOptions = TextOptions(),  # noqa: B008 - immutable
    ) -> None:
        self.decimal = text.decimal_mark
        self.time_formats = tuple(text.time_formats)
        mapped = {state for sensor in sensors.all for series in sensor.series.values() for state in series.states}
        self.missing = frozenset((*MISSING, *text.missing)) - mapped
        """Texts of cells without a value; a text that the registry maps to a state is a value."""
        numbers = (parsed(marker, self.decimal) for marker in text.missing)
        self.missing_numbers = frozenset(number for number in numbers if number is not None)
        self.passes: dict[str, int] = {}
        """Topic of a row whose local time occurs twice → 0 or 1, its pass; without one it is ambiguous."""
        self.layout = layout
        self.sensors = sensors
        self.time_unit = time_unit
        self.max_future = max_future

    def decode(self, message: Message) -> Decoded:
        """Return the content of the row; raises :class:`UndecodableError` or :class:`NoReadingError`.

        Raises :class:`~collector.registry.discovery.UnregisteredError` where it is the first row of a sensor or a
        quantity of a pattern. A row without any value holds no reading: empty lines at the end of a spreadsheet are not
        counted as errors.
        """
        row = json_tree.load(message.payload)
        if type(row) is not dict:
            raise UndecodableError(Reason.MALFORMED, f"expected a row, got {quoted(row)}")
        values = self._values(row)
        if not values:
            raise NoReadingError(IgnoredReason.NO_VALUE, "no value in the row")
        sensor = self._sensor(row)
        latest = message.received + self.max_future
        try:
            number = self.passes.get(message.topic)
            time = instant(self._time_cell(row), self.time_unit, sensor.zone, self.time_formats, number)
            check_time(time, sensor.since, latest)
        except UnusableError as error:
            return Decoded([], [Rejection(error.reason, error.detail, len(values))])
        readings: list[Reading] = []
        rejections = Rejections()
        for quantity, cell in values:
            series = sensor.series.get(quantity) if isinstance(quantity, str) else None
            if series is None:
                rejections.add(Reason.UNKNOWN_QUANTITY, f"quantity {quoted(quantity)}")
                continue
            try:
                raw = state_or_number(series, cell, self.decimal)
                reading = series.reading(raw, None, time, message.received, latest)
            except UnusableError as error:
                rejections.add(error.reason, f"{quantity}: {error.detail}")
            else:
                if reading is not None:
                    readings.append(reading)
        if discoveries := self.sensors.discoveries(reading[0] for reading in readings):
            raise UnregisteredError(discoveries)
        return Decoded(readings, rejections.as_list())

    def _values(self, row: dict[str, Any]) -> list[tuple[Any, Any]]:
        layout = self.layout
        if layout.value is not None and layout.quantity is not None:
            cell = row.get(layout.value)
            name = row.get(layout.quantity)
            return [] if self._is_missing(cell) else [(name.strip() if isinstance(name, str) else name, cell)]
        return [(quantity, cell) for quantity, column in layout.wide if not self._is_missing(cell := row.get(column))]

    def _is_missing(self, cell: Any) -> bool:
        if empty(cell) or (isinstance(cell, str) and cell.strip() in self.missing):
            return True
        if isinstance(cell, float) and cell != cell:  # noqa: PLR0124 - NaN: what data frames have for no value
            return "NaN" in self.missing
        return bool(self.missing_numbers) and number_or_text(cell, self.decimal) in self.missing_numbers

    def _time_cell(self, row: dict[str, Any]) -> Any:
        if not self.layout.time_parts:
            return row.get(self.layout.time)
        parts = [row.get(part) for part in self.layout.time_parts]
        return None if any(map(empty, parts)) else " ".join(str(part).strip() for part in parts)

    def _sensor(self, row: dict[str, Any]) -> FileSensor:
        if self.layout.sensor is None:
            return self.sensors.all[0]
        cell = row.get(self.layout.sensor)
        if empty(cell):
            raise UndecodableError(Reason.UNKNOWN_SENSOR, "names no sensor")
        position = self.sensors.find(str(cell).strip())
        if position < 0:
            raise UndecodableError(Reason.UNKNOWN_SENSOR, f"sensor {quoted(cell)}")
        try:
            self.sensors.check(position)
        except UnusableError as error:
            raise UndecodableError(error.reason, error.detail) from None
        return self.sensors.all[position]


def empty(cell: Any) -> bool:
    """Return whether a cell is empty: absent, null or blank."""
    return cell is None or (isinstance(cell, str) and not cell.strip())


def number_or_text(cell: Any, decimal: str | None = None) -> Any:
    """Return the number in a text cell; other cells as they are."""
    number = parsed(cell, decimal) if isinstance(cell, str) else None
    return cell if number is None else number


def state_or_number(series: Series, cell: Any, decimal: str | None = None) -> Any:
    """Return the state or the number in a text cell, for the rule; other cells as they are."""
    if not isinstance(cell, str):
        return cell
    text = cell.strip()
    return text if text in series.states or text.lower() in series.states else number_or_text(text, decimal)


def parsed(text: str, decimal: str | None = None) -> float | None:
    """Return the number in ``text``, as an integer where a double might alter it; None: it is no number.

    ``decimal`` is the decimal mark, with which thousands may be grouped; None: a point, without groups.
    """
    text = text.strip()
    if decimal is not None and _LOCAL[decimal].fullmatch(text):
        text = text.translate(dict.fromkeys(map(ord, GROUPS[decimal]))).replace(decimal, ".")
    elif decimal == ",":
        return float(text) if _NOT_FINITE.fullmatch(text) else None
    if not _NUMBER.fullmatch(text):
        return float(text) if _NOT_FINITE.fullmatch(text) else None
    value = float(text)
    return int(text) if abs(value) >= EXACT and _INTEGER.fullmatch(text) else value


def instant(
    cell: Any, unit: str, zone: ZoneInfo | None, formats: Sequence[str] = (), pass_number: int | None = None
) -> int:
    """Return the time in ``cell`` in microseconds since 1970; raises :class:`~collector.message.UnusableError`.

    ``formats`` have the codes of ``strptime``; the first that matches a text applies. Without them text is ISO 8601,
    or one of the spellings of :func:`iso_text`. A local time that occurs twice is of pass 0 or 1; None: it is
    ambiguous.
    """
    if empty(cell):
        raise UnusableError(Reason.MISSING_TIME, "no time in the row")
    if formats:
        return _local(_by_format(cell, formats), zone, pass_number)
    if unit == "iso8601":
        return _local(iso_text(cell.strip()) if isinstance(cell, str) else cell, zone, pass_number)
    raw = number_or_text(cell)
    try:
        return epoch(raw, unit)
    except OverflowError:
        raise UnusableError(Reason.UNREADABLE_TIME, f"{quoted(cell)} is out of the calendar") from None


def _local(text: Any, zone: ZoneInfo | None, pass_number: int | None) -> int:
    """Return the instant of ISO 8601 text; raises :class:`~collector.message.UnusableError`."""
    earlier = iso8601(text, zone)
    local = parsed_iso8601(text)
    if local.tzinfo is not None:
        return earlier
    length = since_1970(local.replace(tzinfo=zone, fold=1) - EPOCH) - earlier
    if length < 0:
        raise UnusableError(
            Reason.NONEXISTENT_TIME, f"{quoted(text)} does not exist in {zone}: clocks were set forward"
        )
    if length > 0 and pass_number is None:
        raise UnusableError(
            Reason.AMBIGUOUS_TIME,
            f"{quoted(text)} occurs twice in {zone}, and the order of the rows does not tell which; "
            "write the time with an offset or in UTC",
        )
    return earlier + length * (pass_number or 0)


_SPELLED = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]+([0-9]{1,2})(:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?)"
    r"\s*(Z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)?",
    re.IGNORECASE,
)


def iso_text(text: str) -> str:
    """Return a time in ISO 8601 where ``text`` differs from it by a short hour, a blank, or UTC for Z.

    >>> iso_text("2024-03-27 9:05 UTC")
    '2024-03-27T09:05Z'
    """
    match = _SPELLED.fullmatch(text)
    if match is None:
        return text
    day, hour, rest, zone = match.groups("")
    return f"{day}T{hour:0>2}{rest}{'Z' if zone.upper() in ('UTC', 'GMT') else zone}"


def _by_format(cell: Any, formats: Sequence[str]) -> str:
    """Return the time in ``cell`` as ISO 8601; raises :class:`~collector.message.UnusableError`."""
    text = str(cell).strip()
    for form in formats:
        try:
            return datetime.strptime(text, form).isoformat()  # noqa: DTZ007 - the zone follows
        except ValueError:
            continue
    raise UnusableError(
        Reason.UNREADABLE_TIME, f"{quoted(cell)} has none of the formats {', '.join(map(quoted, formats))}"
    )

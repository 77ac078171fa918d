"""One row of a file to its readings, and the sensors that rows can be of. Pure.

A row is a message whose payload is a JSON object of column to cell. Text cells are read as CSV cells are, whatever the
format of the file; then the rule of :mod:`collector.decode.reading_rule` applies, as to the values of a live message.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from collector.decode.reading_rule import EXACT, Series, check_time, microseconds
from collector.files.layout import Layout
from collector.formats import json_payload
from collector.formats.times import epoch, iso8601
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
from collector.registry.sensors_file import Sensor

NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
"""A finite number as text: those of CSV files, without Python's underscores and other scripts' digits."""

_NUMBER = re.compile(NUMBER)
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?[0-9]{1,400}")


@dataclass(frozen=True, slots=True)
class FileSensor:
    """One sensor, prepared for rows."""

    zone: ZoneInfo | None
    since: int
    """The earliest accepted time: microseconds since 1970-01-01 UTC."""
    series: Mapping[str, Series]
    """By quantity."""

    @classmethod
    def of(cls, sensor: Sensor, series_ids: Mapping[tuple[str, str], int], zone: ZoneInfo | None) -> "FileSensor":
        """Return ``sensor`` with the ids of its series; ``zone``, if given, replaces its own."""
        since = microseconds(sensor.since)
        series = {
            name: Series.of(name, quantity, series_ids[sensor.sensor_id, name], since, is_strict=True, takes_words=True)
            for name, quantity in sensor.quantities.items()
        }
        return cls(zone or sensor.zone, since, series)


class FileSensors:
    """The sensors of a registry by position; ``series_ids`` maps (sensor_id, quantity) to series_id.

    ``zone``, if given, replaces the sensors' own.
    """

    def __init__(
        self, sensors: Sequence[Sensor], series_ids: Mapping[tuple[str, str], int], zone: ZoneInfo | None = None
    ) -> None:
        self.all = tuple(FileSensor.of(sensor, series_ids, zone) for sensor in sensors)
        self.quantities = tuple(sorted({name for sensor in sensors for name in sensor.quantities}))
        """Names of all quantities."""
        self._by_name = _by_name(sensors)

    def find(self, name: str) -> int:
        """Return the position of the sensor called ``name`` (its sensor_id or its device name); -1: none."""
        return self._by_name.get(name, -1)


def _by_name(sensors: Sequence[Sensor]) -> dict[str, int]:
    devices: dict[str, int] = {}
    for position, sensor in enumerate(sensors):
        # Topics distinguish devices of the same name; a file has no topics, so such a name identifies no sensor.
        devices[sensor.device] = -1 if sensor.device in devices else position
    return devices | {sensor.sensor_id: position for position, sensor in enumerate(sensors)}


class RowDecoder:
    """Decodes rows of one file.

    ``time_unit`` is ``iso8601`` or a unit of epoch numbers; ``max_future`` is how many microseconds a time may be
    after the row's arrival. Without a sensor column all rows are of the first of ``sensors``.
    """

    def __init__(self, layout: Layout, sensors: FileSensors, time_unit: str, max_future: int) -> None:
        self.layout = layout
        self.sensors = sensors
        self.time_unit = time_unit
        self.max_future = max_future

    def decode(self, message: Message) -> Decoded:
        """Return the content of the row; raises :class:`UndecodableError` or :class:`NoReadingError`.

        A row without any value holds no reading: empty lines at the end of a spreadsheet are not counted as errors.
        """
        row = json_payload.load(message.payload)
        if type(row) is not dict:
            raise UndecodableError(Reason.MALFORMED, f"expected a row, got {quoted(row)}")
        values = self._values(row)
        if not values:
            raise NoReadingError(IgnoredReason.NO_VALUE, "no value in the row")
        sensor = self._sensor(row)
        latest = message.received + self.max_future
        try:
            time = instant(row.get(self.layout.time), self.time_unit, sensor.zone)
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
                reading = series.reading(state_or_number(series, cell), None, time, message.received, latest)
            except UnusableError as error:
                rejections.add(error.reason, f"{quantity}: {error.detail}")
            else:
                if reading is not None:
                    readings.append(reading)
        return Decoded(readings, rejections.as_list())

    def _values(self, row: dict[str, Any]) -> list[tuple[Any, Any]]:
        layout = self.layout
        if layout.value is not None and layout.quantity is not None:
            cell = row.get(layout.value)
            name = row.get(layout.quantity)
            return [] if empty(cell) else [(name.strip() if isinstance(name, str) else name, cell)]
        return [(quantity, cell) for quantity, column in layout.wide if not empty(cell := row.get(column))]

    def _sensor(self, row: dict[str, Any]) -> FileSensor:
        if self.layout.sensor is None:
            return self.sensors.all[0]
        cell = row.get(self.layout.sensor)
        if empty(cell):
            raise UndecodableError(Reason.UNKNOWN_SENSOR, "names no sensor")
        position = self.sensors.find(str(cell).strip())
        if position < 0:
            raise UndecodableError(Reason.UNKNOWN_SENSOR, f"sensor {quoted(cell)}")
        return self.sensors.all[position]


def empty(cell: Any) -> bool:
    """Return whether a cell is empty: absent, null or blank."""
    return cell is None or (isinstance(cell, str) and not cell.strip())


def number_or_text(cell: Any) -> Any:
    """Return the number in a text cell; other cells as they are."""
    number = parsed(cell) if isinstance(cell, str) else None
    return cell if number is None else number


def state_or_number(series: Series, cell: Any) -> Any:
    """Return the state or the number in a text cell, for the rule; other cells as they are."""
    if not isinstance(cell, str):
        return cell
    text = cell.strip()
    return text if text in series.states or text.lower() in series.states else number_or_text(text)


def parsed(text: str) -> float | None:
    """Return the number in ``text``, as an integer where a double might alter it; None: it is no number."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return float(text) if _NOT_FINITE.fullmatch(text) else None
    value = float(text)
    return int(text) if abs(value) >= EXACT and _INTEGER.fullmatch(text) else value


def instant(cell: Any, unit: str, zone: ZoneInfo | None) -> int:
    """Return the time in ``cell`` in microseconds since 1970; raises :class:`~collector.message.UnusableError`."""
    if empty(cell):
        raise UnusableError(Reason.MISSING_TIME, "no time in the row")
    if unit == "iso8601":
        return iso8601(cell.strip() if isinstance(cell, str) else cell, zone)
    raw = number_or_text(cell)
    try:
        return epoch(raw, unit)
    except OverflowError:
        raise UnusableError(Reason.UNREADABLE_TIME, f"{quoted(cell)} is out of the calendar") from None

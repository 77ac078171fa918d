"""Whole columns to readings: the fast path of :class:`~collector.files.row_decoder.RowDecoder`. Pure.

It decodes the rows whose cells are plainly accepted by the rule of :mod:`collector.decode.reading_rule` and marks all
others as unsure; a property test compares both.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.decode.reading_rule import Series
from collector.files.columns import cells, time_columns
from collector.files.columns.cells import Column
from collector.files.row_decoder import RowDecoder
from collector.files.table_file import Chunk
from collector.message import LARGEST, NoReadingError, UndecodableError
from collector.registry.discovery import Discovery, UnregisteredError


@dataclass(frozen=True)
class ColumnReadings:
    """The readings of a chunk: by row, and in two dimensions by row and possible reading of the row."""

    sensor: NDArray[np.int64]
    """Positions among the sensors; -1: unknown."""
    time: NDArray[np.int64]
    series: NDArray[np.int32]
    value: NDArray[np.float64]
    filled: NDArray[np.bool_]
    """Cells that are not empty."""
    unsure: NDArray[np.bool_]
    """Rows to be decoded by the row decoder."""
    repeated: NDArray[np.int64]
    """Microseconds to the second instant of a local time that occurs twice; 0: it does not."""
    is_time: NDArray[np.bool_]
    """Rows whose time is certain."""


class ColumnDecoder:
    """Decodes chunks of one file as ``rows`` decodes their rows."""

    def __init__(self, rows: RowDecoder) -> None:
        self.rows = rows
        self._columns = {name: column for column, name in enumerate(rows.sensors.quantities)}
        self._prepare()

    def _prepare(self) -> None:
        """Take over the sensors, which patterns extend while the file is read."""
        sensors, columns = self.rows.sensors, self._columns
        self._version = sensors.version
        shape = (len(sensors.all), len(columns))
        self._series_ids: NDArray[np.int32] = np.zeros(shape, np.int32)
        """By sensor and quantity; 0: the sensor doesn't measure that; below: the database does not have it yet."""
        self._kinds: NDArray[np.int64] = np.zeros(shape, np.int64)
        """By sensor and quantity: the position in ``_kind_series``; 0: plain numbers."""
        self._kind_series: list[Series | None] = [None]
        """A series of each kind: with equal states, units and kind of values."""
        kinds: dict[object, int] = {}
        for row, sensor in enumerate(sensors.all):
            for name, series in sensor.series.items():
                self._series_ids[row, columns[name]] = series.series_id
                self._kinds[row, columns[name]] = self._kind(series, kinds)
        self._since: NDArray[np.int64] = np.array([sensor.since for sensor in sensors.all], np.int64)

    def _kind(self, series: Series, kinds: dict[object, int]) -> int:
        """Return the position of a series like ``series`` in ``_kind_series``; ``kinds`` are the known positions."""
        if None in series.plain_units and not series.states:
            return 0
        key = (series.is_boolean, series.sent_unit, series.unit, tuple(series.states.items()))
        if key not in kinds:
            kinds[key] = len(self._kind_series)
            self._kind_series.append(series)
        return kinds[key]

    def decode(self, chunk: Chunk, received: int) -> ColumnReadings:
        """Return the readings of ``chunk``, which arrived at ``received`` (microseconds since 1970-01-01 UTC)."""
        columns = dict(chunk.columns)
        layout = self.rows.layout
        rows = len(chunk.numbers)
        if layout.sensor is None:
            sensor = np.zeros(rows, np.int64)
        else:
            sensor = cells.codes(columns[layout.sensor], self.rows.sensors.find)
        if self._version != self.rows.sensors.version:
            self._prepare()
        unsure = sensor < 0
        candidates = self._candidates(columns, rows)
        parts = [columns[part] for part in layout.time_parts]
        time_column = time_columns.joined(parts) if parts else columns[layout.time]
        time, is_time, repeated = self._times(time_column, sensor)
        unsure |= ~is_time | (time < self._since[sensor]) | (time > received + self.rows.max_future)
        shape = (rows, len(candidates))
        decoded = ColumnReadings(
            sensor,
            time,
            np.zeros(shape, np.int32),
            np.zeros(shape),
            np.zeros(shape, np.bool_),
            unsure,
            repeated,
            is_time,
        )
        for position, (quantity, column) in enumerate(candidates):
            filled = ~cells.blanks(column)
            numbers, is_number = self._numbers(column)
            if self.rows.missing_numbers:
                filled &= ~(is_number & np.isin(numbers, list(self.rows.missing_numbers)))
            series = np.where(quantity < 0, 0, self._series_ids[sensor, quantity])
            value, sure = self._values(column, self._kinds[sensor, quantity], numbers, is_number)
            doubtful = np.flatnonzero(filled & ~sure)
            if doubtful.size:
                filled[cells.missing(column, doubtful, self.rows.missing)] = False
            decoded.series[:, position] = series
            decoded.value[:, position] = value
            decoded.filled[:, position] = filled
            unsure |= filled & ~(sure & (series > 0))
        unsure &= decoded.filled.any(axis=1)
        return decoded

    def discoveries(self, chunk: Chunk, name: str, received: int) -> list[Discovery]:
        """Return the series of patterns that rows of ``chunk`` are the first of; ``name`` is the file's."""
        sensors, layout = self.rows.sensors, self.rows.layout
        if layout.sensor is not None:
            cells.codes(dict(chunk.columns)[layout.sensor], sensors.find)
        if not sensors.has_unregistered:
            return []
        readings = self.decode(chunk, received)
        is_new = readings.filled & (readings.series < 0)
        found: dict[int, Discovery] = {}
        for position in np.flatnonzero(is_new.any(axis=1)).tolist():
            if not found.keys() >= set(readings.series[position, is_new[position]].tolist()):
                try:
                    self.rows.decode(chunk.message(position, name, received))
                except UnregisteredError as error:
                    found |= {
                        sensors.series_id(discovery.sensor, discovery.quantity): discovery
                        for discovery in error.discoveries
                    }
                except (UndecodableError, NoReadingError):
                    continue
        return list(found.values())

    def _numbers(self, column: Column) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the numbers in ``column``, unconverted, and which cells surely are one."""
        decimal = self.rows.decimal
        return cells.numbers(cells.local_numbers(column, decimal) if decimal and cells.is_text(column.type) else column)

    def _values(
        self, column: Column, kinds: NDArray[np.int64], values: NDArray[np.float64], sure: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the values of ``column`` and which of them are sure.

        ``kinds`` are the rows' kinds of series, ``values`` the numbers in the column.
        """
        for kind in np.unique(kinds).tolist() if kinds.any() else ():
            series = self._kind_series[kind]
            if series is not None:
                rows = kinds == kind
                of_kind, sure_of_kind = _of_series(column, series, values, sure)
                values, sure = np.where(rows, of_kind, values), np.where(rows, sure_of_kind, sure)
        return values, sure

    def _candidates(self, columns: dict[str, Column], rows: int) -> list[tuple[NDArray[np.int64], Column]]:
        """Return the columns of values, each with the positions of its rows' quantities; -1: unknown."""
        layout = self.rows.layout
        if layout.quantity is not None and layout.value is not None:
            quantity = cells.codes(columns[layout.quantity], lambda text: self._columns.get(text, -1))
            return [(quantity, columns[layout.value])]
        return [(np.full(rows, self._columns.get(name, -1)), columns[column]) for name, column in layout.wide]

    def _times(
        self, column: Column, sensor: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
        """Return the instants, which of them are certain, and the length of repeated times."""
        formats = self.rows.time_formats
        instants = (
            time_columns.of_format(column, formats[0]) if formats else time_columns.of(column, self.rows.time_unit)
        )
        micros, sure = instants.micros, instants.sure
        repeated: NDArray[np.int64] = np.zeros(len(micros), np.int64)
        if instants.local.any():
            sensors = self.rows.sensors.all
            for zone in {file_sensor.zone for file_sensor in sensors}:
                of_zone = np.array([file_sensor.zone == zone for file_sensor in sensors])[sensor] & instants.local
                if zone is None:
                    sure &= ~of_zone
                elif of_zone.any():
                    micros[of_zone], certain, lengths = time_columns.to_utc(micros[of_zone], zone)
                    repeated[of_zone] = np.where(sure[of_zone], lengths, 0)
                    sure[of_zone] &= certain
        return micros, sure, repeated


def _of_series(
    column: Column, series: Series, values: NDArray[np.float64], sure: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the values of ``column`` for a series like ``series``; ``values`` are its plain numbers."""
    if series.is_boolean:
        values, sure = cells.booleans(column, values, sure)
    else:
        try:
            convert: Any = series.conversion()  # takes arrays as well as numbers
        except ValueError:
            return values, np.zeros(len(sure), np.bool_)  # the row decoder reports it
        if convert is not None:
            with np.errstate(over="ignore"):
                values = convert(np.where(sure, values, 0.0))
            sure = sure & (np.abs(values) < LARGEST)
    states, is_state = cells.states(column, series.states)
    return np.where(is_state, states, values), sure | is_state


class RepeatedTimes:
    """Finds by the order of the rows which pass of a repeated local time each row belongs to.

    Rows of a sensor (where a row is one reading: of a series) are compared with those around them. The passes are
    noted in the row decoder; a repeated time without one is quarantined there.
    """

    def __init__(self, decoder: ColumnDecoder, name: str) -> None:
        self._decoder = decoder
        self._name = name
        self._previous: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
        """Keys and instants of the last chunk's rows with a certain time."""

    def resolve(self, chunk: Chunk, columns: ColumnReadings, *, is_last: bool) -> NDArray[np.bool_]:
        """Note the passes of the rows in ``chunk``; return the rows that wait for the next chunk.

        These are the last of their sensor, unless ``is_last``.
        """
        waiting = np.zeros(len(chunk.numbers), np.bool_)
        is_narrow = self._decoder.rows.layout.quantity is not None
        keys = columns.series[:, 0].astype(np.int64) if is_narrow else columns.sensor
        known = (columns.repeated > 0) | columns.is_time
        for key in np.unique(keys[columns.repeated > 0]).tolist():
            rows = np.flatnonzero((keys == key) & known)
            changes = np.flatnonzero(np.diff(columns.repeated[rows])) + 1
            for run in np.split(np.arange(len(rows)), changes):
                length = int(columns.repeated[rows[run[0]]])
                if not length:
                    continue
                if run[-1] == len(rows) - 1 and not is_last:
                    waiting[rows[run]] = True
                    continue
                before = int(columns.time[rows[run[0] - 1]]) if run[0] else self._last_before(key)
                after = int(columns.time[rows[run[-1] + 1]]) if run[-1] + 1 < len(rows) else None
                passes = time_columns.passes(columns.time[rows[run]], length, before, after)
                for row, number in zip(rows[run], passes or (), strict=False):
                    self._decoder.rows.passes[f"{self._name}:{chunk.numbers[row]}"] = number
        keep = columns.is_time & ~waiting
        self._previous = keys[keep], columns.time[keep]
        return waiting

    def _last_before(self, key: int) -> int | None:
        """Return the instant of the last row of ``key`` in the chunk before."""
        if self._previous is None:
            return None
        rows = np.flatnonzero(self._previous[0] == key)
        return int(self._previous[1][rows[-1]]) if rows.size else None

"""Whole columns to readings: the fast path of :class:`~collector.files.row_decoder.RowDecoder`. Pure.

It decodes the rows whose cells are plainly accepted by the rule of :mod:`collector.decode.reading_rule` and marks all
others as unsure; a property test compares both.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collector.files import cells, time_columns
from collector.files.cells import Column
from collector.files.row_decoder import RowDecoder
from collector.files.table_file import Chunk


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


class ColumnDecoder:
    """Decodes chunks of one file as ``rows`` decodes their rows."""

    def __init__(self, rows: RowDecoder) -> None:
        self.rows = rows
        sensors = rows.sensors
        columns = {name: column for column, name in enumerate(sensors.quantities)}
        self._columns = columns
        shape = (len(sensors.all), len(columns))
        self._series_ids: NDArray[np.int32] = np.zeros(shape, np.int32)
        """By sensor and quantity; 0: the sensor doesn't measure that."""
        self._booleans: NDArray[np.bool_] = np.zeros(shape, np.bool_)
        for row, sensor in enumerate(sensors.all):
            for name, series in sensor.series.items():
                self._series_ids[row, columns[name]] = series.series_id
                self._booleans[row, columns[name]] = series.is_boolean
        self._since: NDArray[np.int64] = np.array([sensor.since for sensor in sensors.all], np.int64)

    def decode(self, chunk: Chunk, received: int) -> ColumnReadings:
        """Return the readings of ``chunk``, which arrived at ``received`` (microseconds since 1970-01-01 UTC)."""
        columns = dict(chunk.columns)
        layout = self.rows.layout
        rows = len(chunk.numbers)
        if layout.sensor is None:
            sensor = np.zeros(rows, np.int64)
        else:
            sensor = cells.codes(columns[layout.sensor], self.rows.sensors.find)
        unsure = sensor < 0
        candidates = self._candidates(columns, rows)
        time = self._times(columns[layout.time], sensor, unsure, received)
        shape = (rows, len(candidates))
        decoded = ColumnReadings(
            sensor, time, np.zeros(shape, np.int32), np.zeros(shape), np.zeros(shape, np.bool_), unsure
        )
        for position, (quantity, column) in enumerate(candidates):
            filled = ~cells.blanks(column)
            series = np.where(quantity < 0, 0, self._series_ids[sensor, quantity])
            value, sure = cells.numbers(column)
            is_boolean = self._booleans[sensor, quantity]
            if is_boolean.any():
                boolean, sure_boolean = cells.booleans(column)
                value, sure = np.where(is_boolean, boolean, value), np.where(is_boolean, sure_boolean, sure)
            decoded.series[:, position] = series
            decoded.value[:, position] = value
            decoded.filled[:, position] = filled
            unsure |= filled & ~(sure & (series > 0))
        unsure &= decoded.filled.any(axis=1)
        return decoded

    def _candidates(self, columns: dict[str, Column], rows: int) -> list[tuple[NDArray[np.int64], Column]]:
        """Return the columns of values, each with the positions of its rows' quantities; -1: unknown."""
        layout = self.rows.layout
        if layout.quantity is not None and layout.value is not None:
            quantity = cells.codes(columns[layout.quantity], lambda text: self._columns.get(text, -1))
            return [(quantity, columns[layout.value])]
        return [(np.full(rows, self._columns.get(name, -1)), columns[column]) for name, column in layout.wide]

    def _times(
        self, column: Column, sensor: NDArray[np.int64], unsure: NDArray[np.bool_], received: int
    ) -> NDArray[np.int64]:
        """Return the instants; rows whose time is not certain or out of bounds are marked in ``unsure``."""
        instants = time_columns.of(column, self.rows.time_unit)
        micros, sure = instants.micros, instants.sure
        if instants.local.any():
            sensors = self.rows.sensors.all
            for zone in {file_sensor.zone for file_sensor in sensors}:
                of_zone = np.array([file_sensor.zone == zone for file_sensor in sensors])[sensor] & instants.local
                if zone is None:
                    sure &= ~of_zone
                elif of_zone.any():
                    micros[of_zone], certain = time_columns.to_utc(micros[of_zone], zone)
                    sure[of_zone] &= certain
        unsure |= ~sure | (micros < self._since[sensor]) | (micros > received + self.rows.max_future)
        return micros

"""The sensors that rows of a file can be of, as look-ups for single rows and for whole columns. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from collector.registry.sensors_file import Sensor

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Source:
    """One sensor, ready for rows."""

    zone: ZoneInfo | None
    since: int
    """No reading is older: microseconds since 1970-01-01 UTC."""
    series: Mapping[str, tuple[int, bool]]
    """Quantity to its series_id and whether it is true or false rather than a number."""


class Sources:
    """The sensors of a registry by position; ``series_ids`` maps (sensor_id, quantity) to series_id.

    ``zone``, where given, comes before the sensors' own.
    """

    def __init__(
        self, sensors: Sequence[Sensor], series_ids: Mapping[tuple[str, str], int], zone: ZoneInfo | None = None
    ) -> None:
        self.all = tuple(
            Source(
                zone or sensor.zone,
                (sensor.since - _EPOCH) // datetime.resolution,
                {
                    name: (series_ids[sensor.sensor_id, name], quantity.kind == "boolean")
                    for name, quantity in sensor.quantities.items()
                },
            )
            for sensor in sensors
        )
        self.quantities = tuple(sorted({name for sensor in sensors for name in sensor.quantities}))
        """All quantities' names; their positions are the columns of :attr:`ids`."""
        shape = (len(self.all), len(self.quantities))
        self.ids: NDArray[np.int32] = np.zeros(shape, np.int32)
        """series_id by sensor and quantity; 0: the sensor doesn't measure that."""
        self.booleans: NDArray[np.bool_] = np.zeros(shape, np.bool_)
        for row, source in enumerate(self.all):
            for name, (series_id, boolean) in source.series.items():
                self.ids[row, self.quantities.index(name)] = series_id
                self.booleans[row, self.quantities.index(name)] = boolean
        self.since: NDArray[np.int64] = np.array([source.since for source in self.all], np.int64)
        self._by_name = _names(sensors)

    def find(self, name: str) -> int:
        """Return the position of the sensor called ``name`` (its sensor_id, or what it calls itself); -1: none."""
        return self._by_name.get(name, -1)


def _names(sensors: Sequence[Sensor]) -> dict[str, int]:
    devices: dict[str, int] = {}
    for position, sensor in enumerate(sensors):
        # Topics tell apart devices that call themselves the same; a file has none, so such a name says nothing.
        devices[sensor.device] = -1 if sensor.device in devices else position
    return devices | {sensor.sensor_id: position for position, sensor in enumerate(sensors)}

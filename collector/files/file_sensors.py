"""The sensors that rows of files can be of: with an entry of their own, or of a pattern. Pure.

A row names its sensor by sensor_id or device, without a topic. Sensors of patterns are discovered as by messages: a
series that the database does not have yet gets a negative number, and is registered before its readings are stored.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from collector.decode.reading_rule import Series, microseconds
from collector.registry.discovery import Discovery, RegisteredSensors
from collector.registry.sensors import Sensor


@dataclass(frozen=True, slots=True)
class FileSensor:
    """One sensor, prepared for rows."""

    zone: ZoneInfo | None
    since: int
    """The earliest accepted time: microseconds since 1970-01-01 UTC."""
    series: Mapping[str, Series]
    """By quantity."""

    @classmethod
    def of(cls, sensor: Sensor, series_id: Callable[[Sensor, str], int], zone: ZoneInfo | None) -> "FileSensor":
        """Return ``sensor`` with the ids of its series; ``zone``, if given, replaces its own."""
        since = microseconds(sensor.since)
        series = {
            name: Series.of(name, quantity, series_id(sensor, name), since, is_strict=True, takes_words=True)
            for name, quantity in sensor.quantities.items()
        }
        return cls(zone or sensor.zone, since, series)


class FileSensors:
    """The sensors that rows can be of, by position.

    ``sensors`` are those that are known before the first row; ``series_ids`` maps (sensor_id, quantity) to series_id.
    ``zone``, if given, replaces the sensors' own. ``registered`` are the sensors of the database, if sensors of
    patterns may be registered; ``in_files`` changes those as the options of the files say.
    """

    def __init__(
        self,
        sensors: Sequence[Sensor],
        series_ids: Mapping[tuple[str, str], int],
        zone: ZoneInfo | None = None,
        *,
        registered: RegisteredSensors | None = None,
        in_files: Callable[[Sensor], Sensor] = lambda sensor: sensor,
    ) -> None:
        self._series_ids = series_ids
        self._zone = zone
        self._registered = registered
        self._in_files = in_files
        self._new: dict[int, Discovery] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        """Numbers of the series in ``_new``."""
        self._names: dict[str, int] = _positions(sensors)
        self.sensors: list[Sensor] = []
        self._unregistered: set[int] = set()
        """Positions of sensors with series that the database does not have."""
        self.version = 0
        """Changes when series of sensors get their ids."""
        self.all: list[FileSensor] = []
        for sensor in sensors:
            self._append(sensor)
        entries = () if registered is None else registered.registry.entries
        self.quantities = tuple(sorted({name for sensor in (*sensors, *entries) for name in sensor.quantities}))
        """Names of all quantities."""

    def find(self, name: str) -> int:
        """Return the position of the sensor called ``name`` (its sensor_id or its device name); -1: none."""
        position = self._names.get(name)
        if position is None and self._registered is not None:
            sensor = self._registered.registry.named(name)
            if sensor is not None and len(self._new) < self._registered.limit:
                position = self._names[name] = self._append(self._in_files(sensor))
        return -1 if position is None else position

    def check(self, position: int) -> None:
        """Raise :class:`~collector.message.UnusableError` if the sensor is new and can't be registered.

        Else use the ids of its series that were registered meanwhile.
        """
        if self._registered is not None and position in self._unregistered:
            self._registered.check(self.sensors[position])
            self._unregistered.discard(position)
            self.all[position] = self._prepared(position)

    @property
    def has_unregistered(self) -> bool:
        """Whether a sensor has series that the database does not have."""
        return bool(self._unregistered)

    def discoveries(self, series_ids: Iterable[int]) -> list[Discovery]:
        """Return the series to register before readings of ``series_ids`` can be stored."""
        return [self._new[number] for number in dict.fromkeys(series_ids) if number < 0]

    def refresh(self) -> None:
        """Use the ids of series that were registered meanwhile."""
        waiting, self._unregistered = self._unregistered, set()
        self._new.clear()
        self._numbers.clear()
        for position in waiting:
            self.all[position] = self._prepared(position)
        self.version += 1

    def _append(self, sensor: Sensor) -> int:
        position = len(self.all)
        self.sensors.append(sensor)
        self.all.append(self._prepared(position))
        self.version += 1
        return position

    def _prepared(self, position: int) -> FileSensor:
        sensor = self.sensors[position]
        oldest = None if self._registered is None else self._registered.registry.oldest
        if oldest is not None:
            sensor = replace(sensor, since=max(sensor.since, oldest))
        prepared = FileSensor.of(sensor, self.series_id, self._zone)
        if any(series.series_id < 0 for series in prepared.series.values()):
            self._unregistered.add(position)
        return prepared

    def series_id(self, sensor: Sensor, quantity: str) -> int:
        """Return the id of a series; a negative number where the database does not have it."""
        if self._registered is None:
            return self._series_ids[sensor.sensor_id, quantity]
        key = sensor.sensor_id, quantity
        series_id = self._registered.series_ids.get(key)
        if series_id is None:
            series_id = self._numbers.setdefault(key, -1 - len(self._numbers))
            self._new[series_id] = Discovery(self._registered, sensor, quantity)
        return series_id


def _positions(sensors: Sequence[Sensor]) -> dict[str, int]:
    devices: dict[str, int] = {}
    for position, sensor in enumerate(sensors):
        # Topics distinguish devices of the same name; a file has no topics, so such a name identifies no sensor.
        devices[sensor.device] = -1 if sensor.device in devices else position
    return devices | {sensor.sensor_id: position for position, sensor in enumerate(sensors)}

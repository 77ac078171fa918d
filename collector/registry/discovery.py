"""Discovery: which sensors and series the database has, and which ones a message shows for the first time."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from collector.message import Reason, UnusableError, quoted
from collector.registry.sensors import Sensor
from collector.registry.sensors_file import Registry


class RegisteredSensors:
    """The sensors and series of the database, as far as this process knows them.

    ``series_ids`` maps (sensor_id, quantity) to series_id; ``discovered`` are the sensors that the database has in
    addition to the entries of sensors.json; ``limit`` is the maximum number of discovered sensors. The writer thread
    adds to it while other threads read.
    """

    def __init__(
        self,
        registry: Registry,
        series_ids: Mapping[tuple[str, str], int],
        discovered: Iterable[Sensor] = (),
        limit: int = 10_000,
    ) -> None:
        self.registry = registry
        self.limit = limit
        self.series_ids = dict(series_ids)
        self.is_full = False
        """Whether the database has reached ``limit``."""
        self._identities: dict[str, tuple[object, ...] | None] = {
            sensor.sensor_id: sensor.identity for sensor in discovered
        }
        """sensor_id → identity; None where an entry for one sensor, or a sensor of no pattern of ours, has the id."""
        self._identities |= {sensor.sensor_id: sensor.identity for sensor in registry.members}
        self._identities |= {sensor.sensor_id: None for sensor in registry.sensors}

    def check(self, sensor: Sensor) -> None:
        """Raise :class:`~collector.message.UnusableError` where ``sensor`` can't be registered."""
        identity = self._identities.get(sensor.sensor_id, ())
        if identity == ():
            if self.is_full:
                raise UnusableError(
                    Reason.UNKNOWN_SENSOR,
                    f"device {quoted(sensor.device)} is new, and {self.limit} sensors have been discovered already; "
                    "see COLLECTOR_MAX_DISCOVERED",
                )
        elif identity != sensor.identity:
            raise UnusableError(
                Reason.UNKNOWN_SENSOR,
                f"device {quoted(sensor.device)} would be sensor {sensor.sensor_id}, which another device or entry is; "
                "give its entry another sensor_id, such as one with a prefix",
            )

    def series_id(self, sensor: Sensor, quantity: str) -> int | None:
        """Return the series of a sensor that passed :meth:`check`; None where the series is not registered."""
        return self.series_ids.get((sensor.sensor_id, quantity)) if sensor.sensor_id in self._identities else None

    def record(self, sensor: Sensor, quantity: str, series_id: int) -> None:
        """Record that the database has this series."""
        self.series_ids[sensor.sensor_id, quantity] = series_id
        self._identities[sensor.sensor_id] = sensor.identity

    def is_registered(self, sensor: Sensor) -> bool:
        """Return whether ``sensor`` is a listed member or was registered before."""
        return self._identities.get(sensor.sensor_id, ()) == sensor.identity

    def record_taken(self, sensor_id: str, owner: Sensor | None) -> None:
        """Record that the database has this id for ``owner``, or (None) for a sensor of no pattern of ours."""
        self._identities[sensor_id] = None if owner is None else owner.identity


class Discovery(NamedTuple):
    """A series that a message shows and the database doesn't have yet."""

    registered: RegisteredSensors
    sensor: Sensor
    quantity: str


class UnregisteredError(Exception):
    """A message can only be decoded after ``discoveries`` are registered; the message itself is good."""

    def __init__(self, discoveries: Sequence[Discovery]) -> None:
        super().__init__(f"{len(discoveries)} series are not registered yet")
        self.discoveries = discoveries

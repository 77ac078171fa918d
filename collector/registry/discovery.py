"""Who is registered: the fleets' sensors and series that the database has, and those that a message shows first."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from collector.formats.scalars import UnusableError, shown
from collector.message import Reason
from collector.registry.sensors import Sensor
from collector.registry.sensors_file import Registry


class Roster:
    """The sensors of fleets, with their series, as far as they are known.

    ``series_ids`` maps (sensor_id, quantity) to series_id; ``discovered`` are the sensors the database has beside the
    registry's own; ``limit`` is how many of them there may be. The writer thread adds while others look.
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
        self.full = False
        """Whether the database has as many as there may be."""
        self._owners: dict[str, tuple[object, ...] | None] = {one.sensor_id: one.identity for one in discovered}
        self._owners |= {one.sensor_id: one.identity for one in registry.members}
        self._owners |= {one.sensor_id: None for one in registry.sensors}

    def check(self, sensor: Sensor) -> None:
        """Raise :class:`~collector.formats.scalars.UnusableError` where ``sensor`` can't be one."""
        owner = self._owners.get(sensor.sensor_id, ())
        if owner == ():
            if self.full:
                raise UnusableError(
                    Reason.UNKNOWN_SENSOR,
                    f"device {shown(sensor.device)} is new, and {self.limit} sensors have been discovered already; "
                    "see COLLECTOR_MAX_DISCOVERED",
                )
        elif owner != sensor.identity:
            raise UnusableError(
                Reason.UNKNOWN_SENSOR,
                f"device {shown(sensor.device)} would be sensor {sensor.sensor_id}, which another device or entry is; "
                "give its entry another sensor_id, such as one with a prefix",
            )

    def series_id(self, sensor: Sensor, quantity: str) -> int | None:
        """Return the series of a sensor that :meth:`check` let pass; None: it is not registered."""
        return self.series_ids.get((sensor.sensor_id, quantity)) if sensor.sensor_id in self._owners else None

    def settle(self, sensor: Sensor, quantity: str, series_id: int) -> None:
        """Take note that the database has this series."""
        self.series_ids[sensor.sensor_id, quantity] = series_id
        self._owners[sensor.sensor_id] = sensor.identity

    def knows(self, sensor: Sensor) -> bool:
        """Say whether this is a member, or was registered before."""
        return self._owners.get(sensor.sensor_id, ()) == sensor.identity

    def refuse(self, sensor_id: str, owner: Sensor | None) -> None:
        """Take note that the database has this id for ``owner``, or for something no fleet of ours would show."""
        self._owners[sensor_id] = None if owner is None else owner.identity


class Discovery(NamedTuple):
    """A series that a message shows and the database doesn't have yet."""

    roster: Roster
    sensor: Sensor
    quantity: str


class UnregisteredError(Exception):
    """A message can't be decoded before ``discoveries`` are registered; nothing is wrong with it."""

    def __init__(self, discoveries: Sequence[Discovery]) -> None:
        super().__init__(f"{len(discoveries)} series are not registered yet")
        self.discoveries = discoveries

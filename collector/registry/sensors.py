"""Sensors, sensor patterns, and the routes from topics to them. Pure values."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from collector.formats.supported import Format
from collector.message import Reason, UnusableError, quoted
from collector.registry.schema import UNSTORABLE, Member, Quantity
from collector.topics import Pattern, Template

_LONGEST_DEVICE = 200
"""Maximum number of characters in a device name."""
_FORBIDDEN_IN_ID = re.compile(r"[^\w.:-]")
"""The id of a discovered sensor may have letters of any script, because users name their devices in their language."""


@dataclass(frozen=True)
class Sensor:
    """One sensor with its type's definitions filled in."""

    sensor_id: str
    type: str
    site: str
    area: str
    latitude: float | None
    longitude: float | None
    topic: str
    """Topic or topic pattern it publishes on; for a discovered sensor, the topic of its first message."""
    device: str
    zone: ZoneInfo | None
    since: datetime
    description: str
    format: Format
    quantities: dict[str, Quantity]
    position: int = 0
    """Index of the entry in sensors.json; the first matching pattern wins."""
    replaces: bool = False
    """Whether a later value of one series and time replaces the earlier one."""
    origin: str | None = None
    """For a sensor of a pattern: its id before forbidden characters were replaced."""

    @property
    def identity(self) -> tuple[object, ...]:
        """Values that differ between two devices whose names lead to the same id."""
        return self.position, self.origin, self.site, self.area


@dataclass(frozen=True)
class SensorPattern:
    """An entry that covers many sensors: one per device on the topics that ``topic_pattern`` matches."""

    topic_pattern: Pattern
    prototype: Sensor
    """Common values of its sensors; ``sensor_id``, ``site`` and ``area`` are templates."""
    discover: bool
    members: Mapping[str, Member] = field(default_factory=dict)

    def sensor(self, topic: str, names: Mapping[str, str], device: str) -> Sensor:
        """Return the sensor of one device.

        ``names`` are the values of the placeholders in ``topic``; ``device`` is the name in the payload, empty where
        the payload has none. Raises :class:`~collector.message.UnusableError` where there is no such sensor.
        """
        device = device or names.get("sensor", "")
        if not device:
            raise UnusableError(Reason.UNKNOWN_SENSOR, "neither topic nor payload names the device")
        if len(device) > _LONGEST_DEVICE or UNSTORABLE.search(device + topic):
            raise UnusableError(Reason.UNKNOWN_SENSOR, f"device {quoted(device)}: not a valid device name")
        member = self.members.get(device)
        if member is None and not self.discover:
            raise UnusableError(Reason.UNKNOWN_SENSOR, f"device {quoted(device)} is not among the members")
        values = {**names, "device": device}
        origin = Template.compile(self.prototype.sensor_id).fill(values)
        sensor_id = _FORBIDDEN_IN_ID.sub("-", unicodedata.normalize("NFC", origin)).lstrip("_.:-")[:100]
        if not sensor_id:
            raise UnusableError(
                Reason.UNKNOWN_SENSOR, f"device {quoted(device)} has no letter or digit to make a sensor_id of"
            )
        member_values = {} if member is None else {name: value for name, value in member if value is not None}
        sensor = replace(
            self.prototype,
            sensor_id=sensor_id,
            origin=origin,
            topic=topic,
            device=device,
            site=Template.compile(self.prototype.site).fill(values),
            area=Template.compile(self.prototype.area).fill(values),
        )
        return replace(sensor, **member_values)

    def find_sensor(self, topic: str, names: Mapping[str, str], device: str) -> Sensor | None:
        """Return the same as :meth:`sensor`, or None where that raises."""
        try:
            return self.sensor(topic, names, device)
        except UnusableError:
            return None

    def named(self, name: str) -> Sensor | None:
        """Return the sensor whose sensor_id or device is ``name``; None: there is none, or only a topic can tell."""
        prototype = self.prototype
        templates = [Template.compile(text) for text in (prototype.sensor_id, prototype.site, prototype.area)]
        if any(set(template.names) - {"sensor", "device"} for template in templates):
            return None
        before, _, after = re.sub(r"\{\w+\}", "\0", prototype.sensor_id, count=1).partition("\0")
        devices = [name]
        if name.startswith(before) and name.endswith(after):
            devices.append(name[len(before) : len(name) - len(after)])
        for device in filter(None, devices):
            values = {"sensor": device, "device": device}
            sensor = self.find_sensor(self.topic_pattern.fill(values), values, device)
            if sensor is not None and name in (sensor.sensor_id, sensor.device):
                return sensor
        return None

    def listed_members(self) -> Iterator[Sensor]:
        """Yield the sensors known before their first message: all members of a pattern that does not discover."""
        for device in () if self.discover else self.members:
            values = {"sensor": device, "device": device}
            yield self.sensor(self.topic_pattern.fill(values), values, device)


@dataclass(frozen=True)
class Route:
    """The sensors, or the sensor pattern, whose messages arrive on the topics that ``topic_pattern`` matches."""

    topic_pattern: Pattern
    sensors: tuple[Sensor, ...]
    sensor_pattern: SensorPattern | None

    @property
    def position(self) -> int:
        """Index of the (first) entry in sensors.json."""
        return self.sensors[0].position if self.sensor_pattern is None else self.sensor_pattern.prototype.position


class Routes:
    """Finds the route of a topic: an entry with exactly that topic first, then the first pattern that matches."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.exact = {route.topic_pattern.text: route for route in routes if route.topic_pattern.exact}
        self._patterns = [route for route in routes if not route.topic_pattern.exact]

    def find(self, topic: str) -> tuple[Route, dict[str, str]] | None:
        """Return the route and the values of its placeholders, or None where no entry has the topic."""
        route = self.exact.get(topic)
        if route is not None:
            return route, {}
        for route in self._patterns:
            names = route.topic_pattern.match(topic)
            if names is not None:
                return route, names
        return None

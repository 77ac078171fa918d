"""Sensors, fleets of them, and which topic is whose. Pure values."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from collector.formats.scalars import UnusableError, shown
from collector.formats.supported import Format
from collector.message import Reason
from collector.registry.schema import UNSTORABLE, Member, Quantity
from collector.topics import Pattern, Template

_LONGEST = 200
"""Characters of a device's name; what names itself at greater length is no device."""
_OUTSIDE = re.compile(r"[^\w.:-]")
"""Letters of any script may be in the id of a discovered sensor: people call their devices what they like."""


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
    """Where it publishes: a topic or a pattern; of a sensor that was discovered, the topic that showed it."""
    device: str
    zone: ZoneInfo | None
    since: datetime
    description: str
    format: Format
    quantities: dict[str, Quantity]
    position: int = 0
    """Of its entry in the file: of two patterns, the first wins."""
    origin: str | None = None
    """Of a fleet's sensor: its id before characters that no id may have were replaced."""

    @property
    def identity(self) -> tuple[object, ...]:
        """What two devices differ in although they fall on the same id."""
        return self.position, self.origin, self.site, self.area


@dataclass(frozen=True)
class Fleet:
    """As many sensors as there are devices on the topics that ``pattern`` matches."""

    pattern: Pattern
    base: Sensor
    """What its sensors have in common; ``sensor_id``, ``site`` and ``area`` are templates."""
    discover: bool
    members: Mapping[str, Member] = field(default_factory=dict)

    def sensor(self, topic: str, names: Mapping[str, str], device: str) -> Sensor:
        """Return the sensor that ``topic``, with what its placeholders stand for, and ``device`` name.

        ``device`` is what the payload calls it, empty where it doesn't. Raises
        :class:`~collector.formats.scalars.UnusableError` where there is none.
        """
        device = device or names.get("sensor", "")
        if not device:
            raise UnusableError(Reason.UNKNOWN_SENSOR, "neither topic nor payload names the device")
        if len(device) > _LONGEST or UNSTORABLE.search(device + topic):
            raise UnusableError(Reason.UNKNOWN_SENSOR, f"device {shown(device)}: no name of a device")
        member = self.members.get(device)
        if member is None and not self.discover:
            raise UnusableError(Reason.UNKNOWN_SENSOR, f"device {shown(device)} is not among the members")
        values = {**names, "device": device}
        origin = Template.compile(self.base.sensor_id).fill(values)
        sensor_id = _OUTSIDE.sub("-", unicodedata.normalize("NFC", origin)).lstrip("_.:-")[:100]
        if not sensor_id:
            raise UnusableError(Reason.UNKNOWN_SENSOR, f"device {shown(device)} has no letter or digit to be named by")
        own = {} if member is None else {name: value for name, value in member if value is not None}
        found = replace(
            self.base,
            sensor_id=sensor_id,
            origin=origin,
            topic=topic,
            device=device,
            site=Template.compile(self.base.site).fill(values),
            area=Template.compile(self.base.area).fill(values),
        )
        return replace(found, **own)

    def find(self, topic: str, names: Mapping[str, str], device: str) -> Sensor | None:
        """Do what :meth:`sensor` does; None where it raises."""
        try:
            return self.sensor(topic, names, device)
        except UnusableError:
            return None

    def listed(self) -> Iterator[Sensor]:
        """Yield the members that are known before they say anything: all of a fleet that doesn't discover."""
        for device in () if self.discover else self.members:
            values = {"sensor": device, "device": device}
            yield self.sensor(self.pattern.fill(values), values, device)


@dataclass(frozen=True)
class Route:
    """The sensors, or the fleet, whose messages come on the topics that ``pattern`` matches."""

    pattern: Pattern
    sensors: tuple[Sensor, ...]
    fleet: Fleet | None

    @property
    def position(self) -> int:
        """Where its entry stands in the file."""
        return self.sensors[0].position if self.fleet is None else self.fleet.base.position


class Routes:
    """Finds the route of a topic: one of exactly that topic first, then the first pattern that matches."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.exact = {route.pattern.text: route for route in routes if route.pattern.exact}
        self._patterns = [route for route in routes if not route.pattern.exact]

    def find(self, topic: str) -> tuple[Route, dict[str, str]] | None:
        """Return the route and what its placeholders stand for; None: nobody publishes there."""
        route = self.exact.get(topic)
        if route is not None:
            return route, {}
        for route in self._patterns:
            names = route.pattern.match(topic)
            if names is not None:
                return route, names
        return None

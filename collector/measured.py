"""From measurements to readings, for all formats in one place: sensor, quantity, state, unit and time. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from collector import units
from collector.entries import Quantity
from collector.fleets import Sensor
from collector.formats.measurement import FormatOptions, Measurement, Reader
from collector.formats.values import UnusableError, check_time, number, shown
from collector.message import Decoded, Held, Message, NoReadingError, Reading, Reason

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_DEVICES = 20_000
"""Names that are kept of a topic's devices. Payloads may hold any number where the topic alone names the sensor."""
_WORDS = {"true": 1.0, "false": 0.0, "on": 1.0, "off": 0.0, "yes": 1.0, "no": 0.0}


@dataclass(frozen=True, slots=True)
class _Target:
    """One series, ready for values."""

    series_id: int
    quantity: str
    unit: str
    sent_unit: str
    is_boolean: bool
    states: Mapping[str, float]
    """By text as it is written and in lower case."""

    @classmethod
    def of(cls, name: str, quantity: Quantity, series_id: int) -> "_Target":
        states = quantity.states or {}
        return cls(
            series_id,
            name,
            quantity.unit,
            quantity.sent_unit or quantity.unit,
            quantity.kind == "boolean",
            {**{text.lower(): value for text, value in states.items()}, **states},
        )

    def value(self, measurement: Measurement) -> float | None:
        """Return the value in the series' unit; None: a text that stands for none. Raises :class:`UnusableError`."""
        raw = measurement.value
        if isinstance(raw, str):
            lower = raw.lower()
            value = self.states.get(raw, self.states.get(lower))
            return _WORDS.get(lower) if value is None and self.is_boolean else value
        if isinstance(raw, bool):
            return 1.0 if raw else 0.0
        if self.is_boolean:
            if raw in (0, 1):
                return float(raw)
            raise UnusableError(Reason.WRONG_TYPE, f"{shown(raw)} where true or false is due")
        value = number(raw)
        unit = measurement.unit or self.sent_unit
        if unit == self.unit:
            return value
        try:
            convert = units.conversion(unit, self.unit)
        except ValueError as error:
            raise UnusableError(Reason.WRONG_UNIT, str(error)) from None
        return value if convert is None else number(convert(value))


@dataclass(frozen=True, slots=True)
class _Source:
    """One sensor, ready for measurements."""

    since: int
    targets: Mapping[str, _Target]
    """By what the device calls the quantity."""


class MeasuredDecoder:
    """Decodes the messages of one topic, or pattern of topics, by a format that makes measurements.

    ``find`` returns the sensor that a measurement's ``device`` names, or raises :class:`UnusableError`; ``series_ids``
    maps (sensor_id, quantity) to series_id; ``max_future`` is how many microseconds a time may lie ahead of its
    message's arrival; ``names`` is what the placeholders of the topic's pattern stand for.
    """

    def __init__(
        self,
        options: FormatOptions,
        reader: Reader,
        find: Callable[[str], Sensor],
        series_ids: Mapping[tuple[str, str], int],
        max_future: int,
        names: Mapping[str, str],
        listed: Sequence[Mapping[str, Quantity]],
    ) -> None:
        self._read = reader.read
        self._strict = options.unlisted == "quarantine"
        self._find = find
        self._series_ids = series_ids
        self._max_future = max_future
        self._names = names
        self._listed = {quantity.source or name for quantities in listed for name, quantity in quantities.items()}
        self._sources: dict[str, _Source] = {}

    def decode(self, message: Message) -> Decoded:
        """Return what ``message`` holds; raises :class:`UndecodableError` or :class:`NoReadingError`."""
        measurements = self._read(message, self._names)
        readings: list[Reading] = []
        held = Held()
        for one in measurements:
            # What has no name could be any of the listed.
            if self._strict or one.quantity in self._listed or (one.problem is not None and not one.quantity):
                try:
                    reading = self._reading(one, message)
                except UnusableError as error:
                    named = f"{shown(one.quantity)[1:-1]}: " if one.quantity else ""
                    held.add(error.reason, named + error.detail)
                else:
                    if reading is not None:
                        readings.append(reading)
        rejections = held.rejections()
        if not readings and not rejections:
            raise NoReadingError("none of its sensor's quantities")
        return Decoded(readings, rejections)

    def _reading(self, measurement: Measurement, message: Message) -> Reading | None:
        """Return the reading; None: it is none by its nature. Raises :class:`UnusableError`."""
        source = self._sources.get(measurement.device)
        if source is None:
            source = self._source(measurement.device)
            if len(self._sources) < MOST_DEVICES:
                self._sources[measurement.device] = source
        if measurement.problem is not None:
            raise measurement.problem
        target = source.targets.get(measurement.quantity)
        if target is None:
            if self._strict:
                raise UnusableError(Reason.UNKNOWN_QUANTITY, "no quantity of this sensor")
            return None
        time = measurement.time
        if time is None:
            if message.retained:  # old news, and nobody knows how old
                return None
            time = message.received
        elif not source.since <= time <= message.received + self._max_future:
            check_time(time, source.since, message.received + self._max_future)
        value = target.value(measurement)
        return None if value is None else (target.series_id, time, value)

    def _source(self, device: str) -> _Source:
        sensor = self._find(device)
        return _Source(
            (sensor.since - _EPOCH) // datetime.resolution,
            {
                quantity.source or name: _Target.of(name, quantity, self._series_ids[sensor.sensor_id, name])
                for name, quantity in sensor.quantities.items()
            },
        )


def among(sensors: Sequence[Sensor]) -> Callable[[str], Sensor]:
    """Return how measurements find their sensor among those of one topic: by what the payload calls it, if it does."""
    by_device = {sensor.device: sensor for sensor in sensors}
    only = sensors[0] if len(sensors) == 1 else None

    def find(device: str) -> Sensor:
        found = by_device.get(device) if device else only
        if found is None:
            raise UnusableError(
                Reason.UNKNOWN_SENSOR,
                f"the payload names device {shown(device)}; set it as the device of a sensor with this topic"
                if device
                else "the payload names no device, and several sensors have this topic",
            )
        return found

    return find

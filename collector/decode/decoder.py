"""From a message to its readings: the topic names the sensors, their format does the rest. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count

from collector.decode.series_decoder import MeasuredDecoder, among
from collector.formats.fields import FieldsDecoder
from collector.formats.fields_options import FieldsFormat
from collector.formats.measurement import FormatOptions, Reader
from collector.formats.scalars import UnusableError
from collector.message import Decoded, Message, NoReadingError, Reason, UndecodableError
from collector.registry.discovery import Discovery, RegisteredSensors, UnregisteredError
from collector.registry.schema import Quantity
from collector.registry.sensors import Sensor, SensorPattern
from collector.registry.sensors_file import Registry

_Route = Callable[[Message], Decoded]

_MOST_TOPICS = 20_000
_LONGEST_TOPIC = 256
"""What is kept for a topic is bounded by these two: whoever can publish can think up topics."""
_MOST_NEW = 10_000
"""New series that one message may show, about."""


class Decoder:
    """Decodes messages by a registry.

    ``series_ids`` maps (sensor_id, quantity) to series_id, and ``discovered`` are the sensors that patterns have
    discovered so far, as :func:`collector.registry.sync.synchronise` returns both; ``max_discovered`` limits them.
    ``readers`` are those of the decoder before this one: what a format remembers of earlier messages outlives a change
    of the registry.
    """

    def __init__(
        self,
        registry: Registry,
        series_ids: Mapping[tuple[str, str], int],
        discovered: Iterable[Sensor] = (),
        *,
        max_future_seconds: float = 300,
        max_message_bytes: int = 4_000_000,
        max_discovered: int = 10_000,
        readers: Mapping[FormatOptions, Reader] | None = None,
    ) -> None:
        self.readers = dict(readers or {})
        """One for all sensors that have the same options."""
        self._max_message_bytes = max_message_bytes
        self._max_future = round(max_future_seconds * 1_000_000)
        self._find = registry.routes.find
        self._registered = RegisteredSensors(registry, series_ids, discovered, max_discovered)
        self._routes: dict[str, _Route] = {
            topic: self._group(route.sensors, {})
            for topic, route in registry.routes.exact.items()
            if route.sensor_pattern is None
        }
        self._opened: dict[str, _Route] = {}
        """Topics that matched a pattern."""

    def decode(self, message: Message) -> Decoded:
        """Return what ``message`` holds.

        Raises :class:`UndecodableError` or :class:`NoReadingError`; and, where it is the first message of a
        pattern's sensor or of a quantity, :class:`~collector.registry.discovery.UnregisteredError`. Nothing else.
        """
        route = self._routes.get(message.topic) or self._opened.get(message.topic) or self._open(message.topic)
        if not message.payload:
            # How a retained message is deleted (MQTT 3.1.1, 3.3.1.3), not something a sensor measured.
            raise NoReadingError("an empty payload")
        if len(message.payload) > self._max_message_bytes:
            # A decoded document takes many times the room of its text.
            raise UndecodableError(
                Reason.TOO_LARGE, f"{len(message.payload)} bytes; see COLLECTOR_MAX_MESSAGE_MEGABYTES"
            )
        try:
            return route(message)
        except (UndecodableError, NoReadingError, UnregisteredError):
            raise
        except Exception as error:  # a defect of ours must cost neither the stream nor the message
            raise UndecodableError(Reason.DEFECT, f"{type(error).__name__}: {error}"[:500]) from error

    def _open(self, topic: str) -> _Route:
        found = self._find(topic)
        if found is None:
            raise UndecodableError(Reason.UNKNOWN_SENSOR, "no sensor of the registry has this topic")
        route, names = found
        try:
            if route.sensor_pattern is None:
                decode = self._group(route.sensors, names)
            else:
                decode = self._open_pattern(route.sensor_pattern, topic, names)
        except UnusableError as error:
            raise UndecodableError(error.reason, error.detail) from None
        if len(topic) <= _LONGEST_TOPIC:
            if len(self._opened) >= _MOST_TOPICS:
                self._opened.clear()
            self._opened[topic] = decode
        return decode

    def _measured(
        self,
        form: FormatOptions,
        find: Callable[[str], Sensor],
        series_ids: Mapping[tuple[str, str], int],
        names: Mapping[str, str],
        listed: Sequence[Mapping[str, Quantity]],
    ) -> _Route:
        reader = self.readers.get(form) or self.readers.setdefault(form, form.reader())
        return MeasuredDecoder(form, reader, find, series_ids, self._max_future, names, listed).decode

    def _group(self, sensors: Sequence[Sensor], names: Mapping[str, str]) -> _Route:
        series_ids, form = self._registered.series_ids, sensors[0].format
        if isinstance(form, FieldsFormat):
            return FieldsDecoder(sensors, series_ids, self._max_future, named=names.get("quantity")).decode
        return self._measured(form, among(sensors), series_ids, names, [sensor.quantities for sensor in sensors])

    def _open_pattern(self, pattern: SensorPattern, topic: str, names: Mapping[str, str]) -> _Route:
        found = _PatternTopic(self._registered, pattern, topic, names)
        form = pattern.prototype.format
        if isinstance(form, FieldsFormat):
            only = [found.sensor("")] if "sensor" in names else []
            named = names.get("quantity")
            decode: _Route = FieldsDecoder(
                only, found, self._max_future, form=form, named=named, find=found.sensor
            ).decode
        else:
            decode = self._measured(form, found.sensor, found, names, [pattern.prototype.quantities])

        def registered(message: Message) -> Decoded:
            decoded = decode(message)
            if found.new:
                new = found.among(decoded)
                if new or len(found.new) > _MOST_NEW:
                    # Opened anew for the next message: with the series that are registered by then, and without those
                    # that came to nothing.
                    self._opened.pop(topic, None)
                if new:
                    raise UnregisteredError(new)
            return decoded

        return registered


class _PatternTopic(Mapping[tuple[str, str], int]):
    """One topic of a sensor pattern: its sensors, and the mapping of their series.

    A series that is not registered yet has a negative number here, by which a reading of it is known.
    """

    def __init__(
        self, registered: RegisteredSensors, pattern: SensorPattern, topic: str, names: Mapping[str, str]
    ) -> None:
        self.new: dict[int, Discovery] = {}
        self._registered = registered
        self._pattern = pattern
        self._topic = topic
        self._names = names
        self._sensors: dict[str, Sensor] = {}
        self._numbers = count(-1, -1)

    def sensor(self, device: str) -> Sensor:
        """Return the sensor of ``device``; raises :class:`UnusableError`."""
        sensor = self._pattern.sensor(self._topic, self._names, device)
        self._registered.check(sensor)
        if len(self.new) > _MOST_NEW and not self._registered.is_registered(sensor):
            raise UnusableError(Reason.UNKNOWN_SENSOR, "more new devices than can be registered at once")
        self._sensors[sensor.sensor_id] = sensor
        oldest = self._registered.registry.oldest
        return sensor if oldest is None else replace(sensor, since=max(sensor.since, oldest))

    def among(self, decoded: Decoded) -> list[Discovery]:
        """Return what has to be registered for ``decoded``."""
        if not decoded.readings or min(decoded.readings)[0] >= 0:  # as a rule; a tenth of the time of looking at each
            return []
        numbers = dict.fromkeys(reading[0] for reading in decoded.readings if reading[0] < 0)
        return [self.new[number] for number in numbers]

    def __getitem__(self, key: tuple[str, str]) -> int:
        sensor_id, quantity = key
        sensor = self._sensors[sensor_id]
        found = self._registered.series_id(sensor, quantity)
        if found is None:
            found = next(self._numbers)
            self.new[found] = Discovery(self._registered, sensor, quantity)
        return found

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._registered.series_ids)

    def __len__(self) -> int:
        return len(self._registered.series_ids)

"""From a message to its readings: finds the sensors of its topic and decodes it by their format. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count

from collector.decode.series_decoder import SeriesDecoder, sensor_by_device
from collector.formats.measurement import FormatOptions, Reader
from collector.message import Decoded, IgnoredReason, Message, NoReadingError, Reason, UndecodableError, UnusableError
from collector.registry.discovery import Discovery, RegisteredSensors, UnregisteredError
from collector.registry.sensors import Sensor, SensorPattern
from collector.registry.sensors_file import Registry

_Decode = Callable[[Message], Decoded]

_MOST_TOPICS = 20_000
_LONGEST_TOPIC = 256
"""These two bound the memory per topic: any client that may publish can invent topics."""
_MOST_NEW = 10_000
"""New series that one message may discover, about."""


class Decoder:
    """Decodes messages by a registry.

    ``series_ids`` maps (sensor_id, quantity) to series_id, and ``discovered`` are the sensors that patterns have
    discovered so far, as :func:`collector.registry.sync.synchronise` returns both; ``max_discovered`` limits them.
    ``readers`` are those of the previous decoder: the state of a format is kept when the registry changes.
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
        """By options; sensors with the same options share a reader."""
        self._max_message_bytes = max_message_bytes
        self._max_future = round(max_future_seconds * 1_000_000)
        self._find = registry.routes.find
        self._ignoring_filter = registry.ignoring_filter
        self._registered = RegisteredSensors(registry, series_ids, discovered, max_discovered)
        self._by_topic: dict[str, _Decode] = {
            topic: self._group(route.sensors, {})
            for topic, route in registry.routes.exact.items()
            if route.sensor_pattern is None and registry.ignoring_filter(topic) is None
        }
        self._by_pattern: dict[str, _Decode] = {}
        """Topics that matched a pattern."""

    def decode(self, message: Message) -> Decoded:
        """Return the content of ``message``.

        Raises :class:`UndecodableError` or :class:`NoReadingError`; and, where it is the first message of a
        pattern's sensor or of a quantity, :class:`~collector.registry.discovery.UnregisteredError`. Nothing else.
        """
        topic = message.topic
        decode = self._by_topic.get(topic) or self._by_pattern.get(topic) or self._open(topic)
        size = len(message.payload)
        if not size:
            # It deletes a retained message (MQTT 3.1.1, 3.3.1.3).
            raise NoReadingError(IgnoredReason.EMPTY_PAYLOAD, "an empty payload")
        if size > self._max_message_bytes:
            # A decoded document takes many times the memory of its text.
            raise UndecodableError(Reason.TOO_LARGE, f"{size} bytes; see COLLECTOR_MAX_MESSAGE_MEGABYTES")
        try:
            return decode(message)
        except (UndecodableError, NoReadingError, UnregisteredError):
            raise
        except Exception as error:  # a defect in our code must not stop the stream or lose the message
            raise UndecodableError(Reason.DEFECT, f"{type(error).__name__}: {error}"[:500]) from error

    def _open(self, topic: str) -> _Decode:
        """Return the decoder of a topic that matches a pattern; raises :class:`UndecodableError` for others."""
        decode = self._ignored(topic) or self._matched(topic)
        if len(topic) <= _LONGEST_TOPIC:
            if len(self._by_pattern) >= _MOST_TOPICS:
                self._by_pattern.clear()
            self._by_pattern[topic] = decode
        return decode

    def _ignored(self, topic: str) -> _Decode | None:
        """Return the decoder of a topic whose messages the registry ignores; None: it ignores none."""
        name = self._ignoring_filter(topic)
        if name is None:
            return None

        def ignored(_message: Message) -> Decoded:
            raise NoReadingError(IgnoredReason.IGNORED_BY_REGISTRY, f"/ignore has {name}")

        return ignored

    def _matched(self, topic: str) -> _Decode:
        """Return the decoder of the entries that cover ``topic``; raises :class:`UndecodableError`."""
        match = self._find(topic)
        if match is None:
            raise UndecodableError(Reason.UNKNOWN_SENSOR, "no sensor of the registry has this topic")
        route, names = match
        try:
            if route.sensor_pattern is None:
                decode = self._group(route.sensors, names)
            else:
                decode = self._pattern(route.sensor_pattern, topic, names)
        except UnusableError as error:
            raise UndecodableError(error.reason, error.detail) from None
        return decode

    def _group(self, sensors: Sequence[Sensor], names: Mapping[str, str]) -> _Decode:
        """Return the decoder of a topic that has one or several ``sensors``."""
        form = sensors[0].format
        return SeriesDecoder(
            form,
            self._reader(form),
            sensor_by_device(sensors),
            self._registered.series_ids,
            self._max_future,
            names,
            [sensor.quantities for sensor in sensors],
            one_sensor=len(sensors) == 1,
            replaces=sensors[0].replaces,
        ).decode

    def _pattern(self, pattern: SensorPattern, topic: str, names: Mapping[str, str]) -> _Decode:
        """Return the decoder of a topic of ``pattern``; raises :class:`UnusableError` where it names no sensor."""
        sensors = _PatternTopic(self._registered, pattern, topic, names)
        form = pattern.prototype.format
        decode = SeriesDecoder(
            form,
            self._reader(form),
            sensors.sensor,
            sensors,
            self._max_future,
            names,
            [pattern.prototype.quantities],
            one_sensor="sensor" in names,
            replaces=pattern.prototype.replaces,
        ).decode

        def registered(message: Message) -> Decoded:
            decoded = decode(message)
            if sensors.new:
                discoveries = sensors.discoveries(decoded)
                if discoveries or len(sensors.new) > _MOST_NEW:
                    # The next message builds the decoder again: with the series that are registered by then, and
                    # without the numbers of series that no reading used.
                    self._by_pattern.pop(topic, None)
                if discoveries:
                    raise UnregisteredError(discoveries)
            return decoded

        return registered

    def _reader(self, form: FormatOptions) -> Reader:
        return self.readers.get(form) or self.readers.setdefault(form, form.reader())


class _PatternTopic(Mapping[tuple[str, str], int]):
    """One topic of a sensor pattern: its sensors, and the mapping of their series.

    A series that is not registered yet has a negative number, which marks its readings.
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

    def discoveries(self, decoded: Decoded) -> list[Discovery]:
        """Return the series to register before the readings in ``decoded`` can be stored."""
        if not decoded.readings or min(decoded.readings)[0] >= 0:  # mostly; takes a tenth of the time of the next line
            return []
        numbers = dict.fromkeys(reading[0] for reading in decoded.readings if reading[0] < 0)
        return [self.new[number] for number in numbers]

    def __getitem__(self, key: tuple[str, str]) -> int:
        sensor_id, quantity = key
        sensor = self._sensors[sensor_id]
        series_id = self._registered.series_id(sensor, quantity)
        if series_id is None:
            series_id = next(self._numbers)
            self.new[series_id] = Discovery(self._registered, sensor, quantity)
        return series_id

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._registered.series_ids)

    def __len__(self) -> int:
        return len(self._registered.series_ids)

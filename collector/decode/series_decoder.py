"""From the measurements of a topic's messages to readings: finds sensor and series, then applies the rule. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collector.decode.reading_rule import EXACT, LEAST_EXACT, Series, column_readings, ignored_reason, microseconds
from collector.formats.json_tree import SMALL, Place, Tree, TreeReader, members, places
from collector.formats.measurement import (
    Column,
    FormatOptions,
    ListedSensor,
    Measured,
    PlainReader,
    Read,
    Reader,
    Topic,
)
from collector.message import (
    NONE_IGNORED,
    Decoded,
    IgnoredError,
    IgnoredReason,
    Message,
    NoReadingError,
    Reading,
    Reason,
    Rejections,
    UnusableError,
    quoted,
)
from collector.registry.schema import Quantity
from collector.registry.sensors import Sensor

MOST_DEVICES = 20_000
"""Devices of a topic that are cached. Payloads may hold any number where the topic alone names the sensor."""


@dataclass(frozen=True, slots=True)
class _SensorSeries:
    """One sensor, prepared for measurements."""

    since: int
    """The earliest accepted time, in microseconds since 1970-01-01 UTC."""
    series: Mapping[str, Series]
    """By the device's name for the quantity."""
    places: Mapping[str, Mapping[str, Place[Series]]]
    """The same, by place in a tree: by prefix, then by step."""
    listed: ListedSensor | None
    """For formats with pointers."""


_new = tuple.__new__  # takes half the time of Decoded's constructor
_NO_SERIES: Mapping[str, Series] = {}


class SeriesDecoder:
    """Decodes the messages of one topic, or pattern of topics.

    ``find`` returns the sensor of a measurement's ``device``, or raises :class:`~collector.message.UnusableError`;
    ``series_ids`` maps (sensor_id, quantity) to series_id; ``max_future`` is how many microseconds a time may be
    after its message's arrival; ``names`` are the values of the topic pattern's placeholders. ``listed`` are the
    quantities of the topic's sensors. With ``one_sensor`` all messages are of the sensor that ``find("")`` returns,
    for formats that then ignore the device in the payload. ``replaces`` is that of
    :class:`~collector.message.Decoded`. ``takes_words`` is that of
    :meth:`~collector.decode.reading_rule.Series.of`.
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
        *,
        one_sensor: bool = False,
        replaces: bool = False,
        takes_words: bool | None = None,
    ) -> None:
        self._replaces = replaces
        self._read: Read = reader.read
        self._trees = reader.trees if isinstance(reader, TreeReader) and options.unlisted == "ignore" else None
        self._options = options
        self._takes_words = takes_words
        self._is_strict = options.unlisted == "quarantine"
        self._find_sensor = find
        self._series_ids = series_ids
        self._max_future = max_future
        self._listed = frozenset(
            quantity.source or name for quantities in listed for name, quantity in quantities.items()
        )
        self._sensors: dict[str | None, _SensorSeries] = {}
        names_itself = one_sensor and options.has_pointers and not options.has_device_keys
        only = self._listed_sensor("") if names_itself else None
        has_comma = any(quantity.decimal == "," for quantities in listed for quantity in quantities.values())
        self._topic = Topic(names, self._listed_sensor, only, has_comma)
        self._single: Callable[[Any, Message], list[Reading] | None] = self._any_single
        if isinstance(reader, PlainReader):
            self._read = reader.plain(self._topic) or reader.read
        if only is not None and len(only.quantities) == 1:
            (series,) = self._sensors[""].series.values()
            self._single = _single_of(series, max_future)

    def decode(self, message: Message) -> Decoded:
        """Return the content of ``message``.

        Raises :class:`~collector.message.UndecodableError` or :class:`~collector.message.NoReadingError`.
        """
        if self._trees is None or len(message.payload) > SMALL:
            measurements = self._read(message, self._topic)
            if type(measurements) is not list:
                is_column = type(measurements) is Column
                plain = (self._column if is_column else self._single)(measurements, message)
                if plain is not None:
                    return _new(Decoded, (plain, [], NONE_IGNORED, self._replaces))
            readings: list[Reading] = []
            rejections = Rejections()
            self._decode_measurements(measurements, message, readings, rejections)
        else:
            readings, rejections = [], Rejections()
            for tree in self._trees(message, self._topic):
                if not self._decode_tree(tree, message, readings, rejections):
                    self._decode_measurements(tree.measurements(), message, readings, rejections)
        rejected = rejections.as_list()
        ignored = rejections.ignored
        if not readings and not rejected:
            if ignored:
                reason = max(ignored, key=lambda reason: ignored[reason])
                raise NoReadingError(reason, "no value of its sensor is a reading", ignored)
            raise NoReadingError(IgnoredReason.NO_LISTED_QUANTITY, "none of the sensor's quantities")
        return _new(Decoded, (readings, rejected, ignored or NONE_IGNORED, self._replaces))

    def _column(self, measurements: Any, message: Message) -> list[Reading] | None:
        """Return the readings of a column, if the rule plainly accepts all of them."""
        sensor = self._sensors.get("")
        series = None if sensor is None else sensor.series.get(measurements.quantity)
        latest = message.received + self._max_future
        return None if series is None else column_readings(measurements, series, latest)

    def _any_single(self, measurements: Sequence[Measured], message: Message) -> list[Reading] | None:
        """Return the reading of a message with one measurement, as many devices send it, if the rule accepts it."""
        if len(measurements) != 1:
            return None
        quantity, raw, time, unit, device, problem = measurements[0]
        sensor = self._sensors.get(device)
        if sensor is None or problem is not None or quantity not in sensor.series:
            return None
        series = sensor.series[quantity]
        if time is None:
            if message.retained:
                return None
            time = message.received
        elif not series.since <= time <= message.received + self._max_future:
            return None
        kind = type(raw)
        if (kind is float or kind is int) and LEAST_EXACT <= raw <= EXACT and unit in series.plain_units:
            return [(series.series_id, time, float(raw))]
        state = series.states.get(raw) if kind is str else None
        return None if state is None else [(series.series_id, time, state)]

    def _decode_measurements(  # noqa: C901, PLR0912 - one loop with few calls: it runs once per value
        self, measurements: Iterable[Measured], message: Message, readings: list[Reading], rejections: Rejections
    ) -> None:
        """Apply the rule to ``measurements``; extend ``readings`` and ``rejections``."""
        latest = message.received + self._max_future
        # The broker stored a retained message at an unknown time, which is not that of its arrival.
        arrival = None if message.retained else message.received
        known: str | None = None
        of_sensor = _NO_SERIES
        for quantity, raw, sent, unit, device, problem in measurements:
            if device != known:  # mostly that of the measurement before
                sensor = self._sensors.get(device)
                known = device
                of_sensor = _NO_SERIES if sensor is None else sensor.series
            series = of_sensor.get(quantity)
            if series is not None and problem is None:
                time = arrival if sent is None else sent if series.since <= sent <= latest else None
                if time is not None:
                    # The result of Series.reading() for most values, without calling it.
                    kind = type(raw)
                    if kind is bool and series.takes_booleans:
                        readings.append((series.series_id, time, 1.0 if raw else 0.0))
                        continue
                    if (kind is float or kind is int) and LEAST_EXACT <= raw <= EXACT and unit in series.plain_units:
                        readings.append((series.series_id, time, float(raw)))
                        continue
            try:
                if series is None or problem is not None:
                    series = self._find_series(quantity, device, problem, rejections)
                    if series is None:
                        continue
                if sent is None and arrival is None:
                    rejections.ignore(IgnoredReason.RETAINED_WITHOUT_TIME)
                    continue
                reading = series.reading(raw, unit, sent, message.received, latest)
            except UnusableError as error:
                rejections.add(error.reason, _prefix(quantity, device) + error.detail)
            else:
                if reading is None:
                    rejections.ignore(ignored_reason(raw))
                else:
                    readings.append(reading)

    def _find_series(
        self, quantity: str, device: str | None, problem: UnusableError | None, rejections: Rejections
    ) -> Series | None:
        """Return the series of a measurement; None: it is ignored, or rejected for its ``problem``.

        Raises :class:`~collector.message.UnusableError`.
        """
        if isinstance(problem, IgnoredError):
            rejections.ignore(problem.ignored, problem.readings)
            return None
        if problem is not None and device is None:
            rejections.add(problem.reason, problem.detail, problem.readings)
            return None
        # A measurement without a name could be of any of the listed quantities.
        if not (self._is_strict or quantity in self._listed or (problem is not None and not quantity)):
            return None
        sensor = self._sensor(device or "")
        if problem is not None:
            # Not raised: its traceback would hold this frame, which holds it, until garbage is collected.
            rejections.add(problem.reason, _prefix(quantity, device) + problem.detail, problem.readings)
            return None
        series = sensor.series.get(quantity)
        if series is None and self._is_strict:
            raise UnusableError(Reason.UNKNOWN_QUANTITY, "no quantity of this sensor")
        return series

    def _decode_tree(self, tree: Tree, message: Message, readings: list[Reading], rejections: Rejections) -> bool:
        """Do the same as :meth:`_decode_measurements` for ``tree``, in a third of the time.

        Returns False, with nothing done, where its sensor is new or its time unusual.
        """
        branch, prefix, (time, problem), device, units, key = tree
        sensor = self._sensors.get(device)
        if sensor is None or problem is not None or (time is None and message.retained):
            return False
        if time is None:
            time = message.received
        elif not sensor.since <= time <= message.received + self._max_future:
            return False
        places = sensor.places.get(prefix)
        if places is not None:
            _decode_branch(branch.items(), places, units, key, time, device, readings, rejections)
        return True

    def _sensor(self, device: str) -> _SensorSeries:
        known = self._sensors.get(device)
        if known is not None:
            return known
        sensor = self._find_sensor(device)
        since = microseconds(sensor.since)
        is_strict = self._options.wrong_kind == "quarantine"
        by_source = {
            quantity.source or name: Series.of(
                name,
                quantity.model_copy(update={"unit_suffix": True}) if self._options.has_unit_suffix else quantity,
                self._series_ids[sensor.sensor_id, name],
                since,
                is_strict=is_strict,
                takes_words=self._takes_words,
            )
            for name, quantity in sensor.quantities.items()
        }
        listed = None
        if self._options.has_pointers:
            listed = ListedSensor.of(
                sensor.zone,
                {name: quantity.pointer for name, quantity in sensor.quantities.items()},
                {name: quantity.unit_pointer for name, quantity in sensor.quantities.items()},
                {name: quantity.units for name, quantity in sensor.quantities.items()},
            )
        prepared = _SensorSeries(since, by_source, {} if self._trees is None else places(by_source), listed)
        if len(self._sensors) < MOST_DEVICES:
            self._sensors[device] = prepared
        return prepared

    def _listed_sensor(self, device: str) -> ListedSensor:
        listed = self._sensor(device).listed
        assert listed is not None, "a format without pointers"
        return listed


def _single_of(series: Series, max_future: int) -> Callable[[Any, Message], list[Reading] | None]:
    """Return what :meth:`SeriesDecoder._any_single` does for the plain numbers of the topic's only ``series``."""
    series_id, since, plain_units = series.series_id, series.since, series.plain_units

    def single(measurements: Any, message: Message) -> list[Reading] | None:
        ((_, raw, time, unit, _, _),) = measurements
        if since <= time <= message.received + max_future and LEAST_EXACT <= raw <= EXACT and unit in plain_units:
            kind = type(raw)
            if kind is float:
                return [(series_id, time, raw)]
            if kind is int:
                return [(series_id, time, float(raw))]
        return None

    return single


def _decode_branch(  # noqa: C901 - one loop with few calls: it runs once per value
    branch: Iterable[tuple[str, Any]],
    places: Mapping[str, Place[Series]],
    units: Mapping[str, str],
    key: Callable[[str], str | None] | None,
    time: int,
    device: str | None,
    readings: list[Reading],
    rejections: Rejections,
) -> None:
    """Apply the rule to the listed values of ``branch``, in its order; most values of a device are not listed."""
    for step, raw in branch:
        place = places.get(step)
        if place is None:
            continue
        kind, series = type(raw), place.here
        if kind is dict or kind is list:
            if place.below is not None:
                below = raw.items() if kind is dict else members(raw)
                _decode_branch(below, place.below, units, key, time, device, readings, rejections)
            elif series is not None:
                rejections.ignore(ignored_reason(raw))
            continue
        if series is None:
            continue
        # The result of Series.value() for most values, without calling it.
        if kind is bool and series.takes_booleans:
            readings.append((series.series_id, time, 1.0 if raw else 0.0))
            continue
        unit = units.get(step if key is None else key(series.source) or "")
        if (kind is float or kind is int) and LEAST_EXACT <= raw <= EXACT and unit in series.plain_units:
            readings.append((series.series_id, time, float(raw)))
            continue
        try:
            value = series.value(raw, unit)
        except UnusableError as error:
            rejections.add(error.reason, _prefix(series.source, device) + error.detail)
        else:
            if value is None:
                rejections.ignore(ignored_reason(raw))
            else:
                readings.append((series.series_id, time, value))


def _prefix(quantity: str, device: str | None) -> str:
    """Return the name of a value, for details: with its device where the payload names it."""
    name = "/".join(filter(None, (device, quantity)))
    return f"{quoted(name)[1:-1]}: " if name else ""


def sensor_decoder(sensor: Sensor, series_ids: Mapping[tuple[str, str], int], max_future: int) -> SeriesDecoder:
    """Return a decoder for lines of files of one ``sensor``, which have no topic; see :class:`SeriesDecoder`.

    Texts such as on and off are true and false, as in the cells of tables.
    """
    find = sensor_by_device([sensor])
    form = sensor.format
    return SeriesDecoder(
        form,
        form.reader(),
        find,
        series_ids,
        max_future,
        {},
        [sensor.quantities],
        one_sensor=True,
        takes_words=True,
    )


def sensor_by_device(sensors: Sequence[Sensor]) -> Callable[[str], Sensor]:
    """Return a function that finds the sensor of a device among the ``sensors`` of one topic.

    It raises :class:`~collector.message.UnusableError`. An empty name means the only sensor, where there is one.
    """
    by_device = {sensor.device: sensor for sensor in sensors}
    only = sensors[0] if len(sensors) == 1 else None

    def find(device: str) -> Sensor:
        sensor = by_device.get(device) if device else only
        if sensor is None:
            raise UnusableError(
                Reason.UNKNOWN_SENSOR,
                f"the payload names device {quoted(device)}; set it as the device of a sensor with this topic"
                if device
                else "the payload names no device, and several sensors have this topic",
            )
        return sensor

    return find

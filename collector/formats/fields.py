"""Format ``fields``: JSON objects whose members are found by JSON Pointers (see ``FieldsFormat``)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, repeat
from math import hypot
from typing import Any
from zoneinfo import ZoneInfo

from collector import units
from collector.formats import json_payload
from collector.formats.fields_options import FieldsFormat
from collector.formats.json_payload import MISSING, ROUNDED
from collector.formats.scalars import (
    EPOCH,
    EXACT,
    LONGEST_TIME,
    UnusableError,
    boolean,
    check_time,
    epoch,
    iso8601,
    number,
    shown,
)
from collector.message import Decoded, Held, Message, NoReadingError, Reading, Reason, UndecodableError
from collector.registry.schema import Quantity
from collector.registry.sensors import Sensor

_DEVICE_TYPES = (str, int, float)
_NUMBERS = frozenset((int, float))
_DOUBTS = (KeyError, TypeError, ValueError, OverflowError)
"""Nothing there, no object, no text, no time, none with a zone, no number that a double holds."""


@dataclass(frozen=True, slots=True)
class _Pointer:
    """A compiled JSON Pointer."""

    path: tuple[str, ...]
    key: str | None
    """The only step, where there is one: most pointers name a member, and a dictionary look-up is all they need."""

    @classmethod
    def compile(cls, text: str) -> "_Pointer":
        path = json_payload.steps(text)
        return cls(path, path[0] if len(path) == 1 else None)

    def find(self, item: dict[str, Any]) -> Any:
        return item.get(self.key, MISSING) if self.key is not None else json_payload.find(item, self.path)

    def find_in(self, item: dict[str, Any], document: Any) -> Any:
        """Look in ``item``, then beside its list: what the readings of a message share often stands there once."""
        found = self.find(item)
        return json_payload.find(document, self.path) if found is MISSING and item is not document else found


@dataclass(frozen=True, slots=True)
class _Series:
    quantity: str
    series_id: int
    convert: Callable[[Any], float]
    pointer: _Pointer


@dataclass(frozen=True, slots=True)
class _Source:
    """One sensor, ready for decoding."""

    zone: ZoneInfo | None
    since: int
    wide: tuple[_Series, ...]
    narrow: Mapping[str, _Series]


@dataclass(frozen=True, slots=True)
class _Quick:
    """The plain case: one series, whose values and times are members; in a third of the time.

    Nothing is decided here. None is what comes of any doubt, and all is left to the loop that knows every case.
    """

    series: str
    series_id: int
    since: int
    key: str | None
    quantity: str | None
    value: str | None
    time: str | None

    def reading(self, item: Any, latest: int) -> list[Reading] | None:
        """Return the reading in ``item``, if it is plain and good."""
        try:
            key = self.key
            if self.quantity in item:
                if item[self.quantity] != self.series:
                    return None
                key = self.value
            value, text = item[key], item[self.time]
            span = datetime.fromisoformat(text) - EPOCH
        except _DOUBTS:
            return None
        time = _microseconds(span)
        if type(value) not in _NUMBERS or not -EXACT <= value <= EXACT:
            return None
        if not self.since <= time <= latest or len(text) > LONGEST_TIME:
            return None
        return [(self.series_id, time, float(value))]

    def readings(self, items: Sequence[Any], latest: int) -> list[Reading] | None:
        """Return the readings in ``items``, if all are plain and good: whole columns are looked at, not values."""
        key, quantity, time = self.key, self.quantity, self.time
        try:
            names = [item[quantity] for item in items if quantity in item]
            if names:
                if len(names) < len(items) or set(names) != {self.series}:
                    return None
                key = self.value
            values = [item[key] for item in items]
            norm = hypot(*values)  # as large as the largest, infinite or none where one is
            texts = [item[time] for item in items]
            instants = list(map(datetime.fromisoformat, texts))
            base = instants[0] if instants else EPOCH
            spans = [instant - base for instant in instants]
            first = _microseconds(base - EPOCH)
        except _DOUBTS:
            return None
        # From the first and not from 1970: Python counts up to 2^30 in half the time.
        times = [first + (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds for span in spans]
        kinds = set(map(type, values))
        if not (kinds and kinds <= _NUMBERS and norm < EXACT):
            return None
        if not (self.since <= min(times) and max(times) <= latest and max(map(len, texts)) <= LONGEST_TIME):
            return None
        floats = map(float, values) if int in kinds else values
        return list(zip(repeat(self.series_id), times, floats, strict=False))


def _microseconds(span: timedelta) -> int:
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


class FieldsDecoder:
    """Decodes the messages of ``sensors``, which share one topic and one format.

    ``series_ids`` maps (sensor_id, quantity) to series_id; ``max_future`` is how many microseconds a time may lie
    ahead of its message's arrival; ``named`` is the quantity that the topic names, where it does. ``find`` returns the
    sensor of a device that is not among ``sensors``, or raises :class:`UnusableError`; without it there is none.
    """

    def __init__(
        self,
        sensors: Sequence[Sensor],
        series_ids: Mapping[tuple[str, str], int],
        max_future: int,
        *,
        form: FieldsFormat | None = None,
        named: str | None = None,
        find: Callable[[str], Sensor] | None = None,
    ) -> None:
        if form is None:
            form = fields_format(sensors[0])
        self._series_ids = series_ids
        self._named = named
        self._find = find
        self._sources = {sensor.device: _source(sensor, series_ids) for sensor in sensors}
        self._only = next(iter(self._sources.values())) if len(sensors) == 1 else None
        self._max_future = max_future
        self._readings = _Pointer.compile(form.readings)
        self._device = _Pointer.compile(form.device or "")
        self._quantity = None if form.quantity is None else _Pointer.compile(form.quantity)
        self._value = _Pointer.compile(form.value)
        self._time = None if form.time is None else _Pointer.compile(form.time)
        self._time_unit = form.time_unit
        self._quick = self._quickly()

    def decode(self, message: Message) -> Decoded:
        """Return what ``message`` holds; raises :class:`UndecodableError` or :class:`NoReadingError`."""
        document = json_payload.load(message.payload)
        if self._quick is not None:
            items, latest = self._items(document), message.received + self._max_future
            quick = self._quick.reading(items[0], latest) if len(items) == 1 else self._quick.readings(items, latest)
            if quick is not None:
                return Decoded(quick, [])
        decoded, rounded = self._decode(message, document)
        return self._decode(message, json_payload.load_exactly(message.payload))[0] if rounded else decoded

    def _decode(self, message: Message, document: Any) -> tuple[Decoded, bool]:
        """Return what ``document`` holds, and whether a number in it may be an integer that lost digits."""
        if message.retained and self._time is None:
            raise NoReadingError("retained, and without a time of its own")
        items = self._items(document)
        readings: list[Reading] = []
        held = Held()
        rounded = False
        for item in _objects(items, held):
            values: Sequence[tuple[_Series, Any]] = (_NO_VALUE,)
            try:
                source = self._source(item, document)
                values = self._values(item, source)
                time = self._instant(item, document, source, message.received)
            except UnusableError as error:
                held.add(error.reason, error.detail, len(values))
                continue
            for series, raw in values:
                try:
                    value = series.convert(raw)
                except UnusableError as error:
                    held.add(error.reason, f"{series.quantity}: {error.detail}")
                else:
                    readings.append((series.series_id, time, value))
                    if not -ROUNDED < value < ROUNDED:
                        rounded = True
        rejections = held.rejections()
        if not readings and not rejections:
            raise NoReadingError("an empty list")
        return Decoded(readings, rejections), rounded

    def _items(self, document: Any) -> Sequence[Any]:
        """Return the objects that hold readings."""
        items = json_payload.find(document, self._readings.path) if self._readings.path else document
        if items is MISSING:
            raise UndecodableError(Reason.MALFORMED, f"nothing at /{'/'.join(self._readings.path)}")
        return items if type(items) is list else (items,)

    def _quickly(self) -> _Quick | None:
        """Return the one series of the one sensor, where all pointers are members and times ISO 8601 text."""
        source, quantity, time = self._only, self._quantity, self._time
        if source is None or self._named or len(source.wide) != 1 or self._time_unit != "iso8601" or time is None:
            return None
        series = source.wide[0]
        if series.convert is not number or any(
            one.key is None for one in (series.pointer, self._value, time, quantity or self._value)
        ):
            return None
        narrow = None if quantity is None else quantity.key
        return _Quick(
            series.quantity, series.series_id, source.since, series.pointer.key, narrow, self._value.key, time.key
        )

    def _source(self, item: dict[str, Any], document: Any) -> _Source:
        if self._only is not None:
            return self._only
        device = self._device.find_in(item, document)
        source = self._sources.get(str(device)) if type(device) in _DEVICE_TYPES else None
        if source is None and self._find is not None and type(device) in _DEVICE_TYPES:
            source = self._sources[str(device)] = _source(self._find(str(device)), self._series_ids)
        if source is None:
            raise UnusableError(
                Reason.UNKNOWN_SENSOR, "names no device" if device is MISSING else f"device {shown(device)}"
            )
        return source

    def _values(self, item: dict[str, Any], source: _Source) -> Sequence[tuple[_Series, Any]]:
        name: Any = self._named
        if name is None:
            name = self._quantity.find(item) if self._quantity is not None else MISSING
        if type(name) is str:
            series = source.narrow.get(name)
            if series is None:
                raise UnusableError(Reason.UNKNOWN_QUANTITY, f"quantity {shown(name)}")
            raw = self._value.find(item)
            return ((series, None if raw is MISSING else raw),)
        values = [(series, raw) for series in source.wide if (raw := series.pointer.find(item)) is not MISSING]
        if not values:
            raise UnusableError(Reason.UNKNOWN_QUANTITY, f"none of its quantities among {_names(item)}")
        return values

    def _instant(self, item: dict[str, Any], document: Any, source: _Source, received: int) -> int:
        if self._time is None:
            return received
        raw = self._time.find_in(item, document)
        if raw is MISSING or raw is None:
            raise UnusableError(Reason.MISSING_TIME, "no time in the payload")
        time = iso8601(raw, source.zone) if self._time_unit == "iso8601" else epoch(raw, self._time_unit)
        if not source.since <= time <= received + self._max_future:
            check_time(time, source.since, received + self._max_future)
        return time


def _objects(items: Sequence[Any], held: Held) -> Sequence[dict[str, Any]]:
    """Return those of ``items`` that are objects; the others are held back.

    All at once: a message may hold half a million of them, and others wait behind it.
    """
    objects = [item for item in items if type(item) is dict]
    if len(objects) < len(items):
        first = next(item for item in items if type(item) is not dict)
        held.add(Reason.MALFORMED, f"{shown(first)} where an object is due", len(items) - len(objects))
    return objects


def _names(item: dict[str, Any]) -> str:
    return ", ".join(shown(name) for name in islice(item, 8)) or "none"


_NO_VALUE: Any = (None, None)
"""Stands for the one would-be reading of an item that is refused before its values are known."""


def fields_format(sensor: Sensor) -> FieldsFormat:
    """Return the format of a sensor that is known to have this one."""
    assert isinstance(sensor.format, FieldsFormat)
    return sensor.format


def _converter(quantity: Quantity) -> Callable[[Any], float]:
    """Return what makes a value of ``quantity`` from what stands in the payload; it raises :class:`UnusableError`."""
    plain = boolean if quantity.kind == "boolean" else number
    states = quantity.states
    change = units.conversion(quantity.sent_unit, quantity.unit) if quantity.sent_unit else None
    if states is None and change is None:
        return plain
    lower = {text.lower(): value for text, value in (states or {}).items()}

    def convert(raw: Any) -> float:
        if states and type(raw) is str:
            value = states.get(raw, lower.get(raw.lower()))
            if value is None:
                raise UnusableError(Reason.WRONG_TYPE, f"{shown(raw)} is none of {', '.join(map(shown, states))}")
            return value
        value = plain(raw)
        return value if change is None or plain is boolean else number(change(value))

    return convert


def _source(sensor: Sensor, series_ids: Mapping[tuple[str, str], int]) -> _Source:
    series = [
        _Series(
            name,
            series_ids[sensor.sensor_id, name],
            _converter(quantity),
            _Pointer((name,), name) if quantity.pointer is None else _Pointer.compile(quantity.pointer),
        )
        for name, quantity in sensor.quantities.items()
    ]
    since = (sensor.since - EPOCH) // datetime.resolution
    return _Source(sensor.zone, since, tuple(series), {one.quantity: one for one in series})

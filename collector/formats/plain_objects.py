"""Fast path of format ``fields``: objects whose members are values of one sensor, without anything unusual. Pure.

Each pointer names a member, values and times have an obvious meaning, and no member may be the unit of a value or a
list of earlier readings. Whatever is not plain is left to :class:`~collector.formats.fields.FieldsReader`; property
tests compare the two. The variables of a function are closed over, because Python reads them faster than attributes.
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from math import hypot
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from orjson import JSONDecodeError, loads

from collector.formats.json_payload import LEAST_ROUNDED, ROUNDED, find
from collector.formats.measurement import Column, ListedSensor, Measured, Read, Topic, unit_names
from collector.formats.times import EPOCH, LONGEST_TIME, arrival_of, epoch, is_likely, iso8601, since_1970
from collector.message import Message

_parse_time = datetime.fromisoformat
_BRACKET = ord("[")
MOST_DEVICES = 20_000
"""Devices of a topic that are cached."""
_NOT_PLAIN = (AttributeError, KeyError, TypeError, ValueError, OverflowError)
"""A missing member, no object, no text, no time, a time without a zone, an integer too large for a double."""


class Members(NamedTuple):
    """The members of an object by the options of the format."""

    value: str
    """The value of a narrow object."""
    device: str | None
    """The device's name, where the topic has several sensors."""
    quantity: str | None
    """Narrow objects, which name one quantity, have this member; None: there are no such objects."""
    unit: str | None
    """The unit of a narrow object; None: no member is a unit."""
    time: str | None
    """None: the arrival counts."""
    time_unit: str
    """``iso8601`` or the unit of a number since 1970."""
    readings: tuple[str, ...]
    """The steps from the document to the object or list."""


class _Sensor(NamedTuple):
    """The facts about a sensor that plain objects need."""

    device: str
    places: list[tuple[str, str]]
    """Each quantity and its member in a wide object."""
    has_no_unit: Callable[[Any], bool]
    """Whether no member of a wide object may be a unit."""
    quantities: AbstractSet[str]
    zone: ZoneInfo | None


_Items = Callable[[Sequence[Any], Message], Sequence[Measured] | None]


def plain_reader(members: Members, topic: Topic, read: Read) -> Read | None:
    """Return a function like ``read`` that is faster for plain messages of ``topic``; ``read`` reads all others.

    None: no messages are plain, by the pointers of the topic's only sensor.
    """
    only = topic.only
    if only is not None and only.unit_members is None:
        return None
    objects = _objects(members, topic)
    if (
        only is not None
        and only.only_member is not None
        and members.time is not None
        and members.time_unit == "iso8601"
    ):
        return _one_quantity(members, members.time, only, objects, read)
    counts_arrival, path = members.time is None, members.readings

    def read_plain(message: Message, topic: Topic) -> Sequence[Measured]:
        payload = message.payload
        try:
            items = find(loads(payload), path)
        except JSONDecodeError:
            return read(message, topic)
        is_list = type(items) is list
        # A list beside the values may be earlier readings.
        if payload.count(b"[") > is_list or (counts_arrival and message.retained):
            return read(message, topic)
        return objects(items if is_list else (items,), message) or read(message, topic)

    return read_plain


class _Sensors(dict[str, _Sensor]):
    """Sensors by device; a missing one is looked up, which raises ValueError where its pointers are not plain."""

    def __init__(self, members: Members, topic: Topic) -> None:
        super().__init__()
        self._reads_units = members.unit is not None
        self._topic = topic

    def __missing__(self, device: Any) -> _Sensor:
        if type(device) is not str:
            raise TypeError(device)
        listed = self._topic.only or self._topic.sensor(device)
        if listed.unit_members is None:
            raise ValueError(device)
        places = [(name, pointer.key) for name, pointer in listed.pointers if pointer.key is not None]
        has_no_unit = (listed.unit_members if self._reads_units else frozenset()).isdisjoint
        sensor = _Sensor(device, places, has_no_unit, listed.quantities, listed.zone)
        if len(self) < MOST_DEVICES:
            self[device] = sensor
        return sensor


def _objects(members: Members, topic: Topic) -> _Items:
    """Return a function that reads plain objects, of any quantities and in any form of time."""
    sensors = _Sensors(members, topic)
    only = None if topic.only is None else sensors[""]
    quantity: Any = members.quantity
    device_member: Any = members.device
    time_of, narrow = _time_reader(members), _narrow(members)

    def objects(items: Sequence[Any], message: Message) -> Sequence[Measured] | None:
        measured: list[Measured] = []
        try:
            for item in items:
                device, places, has_no_unit, quantities, zone = only or sensors[item[device_member]]
                time = time_of(item, zone, message)
                if quantity in item and type(item[quantity]) is str:
                    measured.append(narrow(item, quantities, time, device))
                    continue
                known = len(measured)
                for name, member in places:
                    if member in item:
                        raw = item[member]
                        if type(raw) is float and not LEAST_ROUNDED < raw < ROUNDED:
                            return None
                        measured.append((name, raw, time, None, device, None))
                if len(measured) == known or not has_no_unit(item):
                    return None
        except _NOT_PLAIN:
            return None
        return measured

    return objects


def _narrow(members: Members) -> Callable[[dict[str, Any], AbstractSet[str], int | None, str], Measured]:
    """Return a function that reads a narrow object; it raises an error of :data:`_NOT_PLAIN`."""
    quantity_member, value_member, unit_member = members.quantity or "", members.value, members.unit or ""
    has_no_unit = frozenset(() if members.unit is None else unit_names(value_member)).isdisjoint

    def narrow(item: dict[str, Any], quantities: AbstractSet[str], time: int | None, device: str) -> Measured:
        name, raw = item[quantity_member], item[value_member]
        unit = item.get(unit_member) if unit_member else None
        unit = unit.strip() if type(unit) is str else None
        is_rounded = type(raw) is float and not LEAST_ROUNDED < raw < ROUNDED
        if name not in quantities or is_rounded or not (unit or has_no_unit(item)):
            raise ValueError(name)
        return name, raw, time, unit or None, device, None

    return narrow


def _time_reader(members: Members) -> Callable[[dict[str, Any], ZoneInfo | None, Message], int | None]:
    """Return a function that reads the time of an object; it raises an error of :data:`_NOT_PLAIN`."""
    member, unit = members.time, members.time_unit
    if member is None:
        return lambda _item, _zone, _message: None
    if unit != "iso8601":
        return lambda item, _zone, _message: _likely(epoch(item[member], unit))

    def iso(item: dict[str, Any], zone: ZoneInfo | None, message: Message) -> int:
        text = item[member]
        instant = _parse_time(text)
        if zone is not None and instant.tzinfo is None:
            return iso8601(text, zone, arrival_of(message))
        span = instant - EPOCH
        if len(text) > LONGEST_TIME:
            raise ValueError(text)
        return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds

    return iso


def _likely(time: int) -> int:
    """Return ``time``; raises ValueError where its unit is hardly the right one."""
    if not is_likely(time):
        raise ValueError(time)
    return time


def _one_quantity(members: Members, time_member: str, sensor: ListedSensor, objects: _Items, read: Read) -> Read:
    """Return a function that reads objects of one quantity with times as ISO 8601 text, as most devices send them."""
    assert sensor.only_member is not None, "several quantities"
    name, own_member, unit_names = sensor.only_member
    value_member, quantity_member, unit_member, path = members.value, members.quantity, members.unit, members.readings
    expected = frozenset(sensor.units.get(name, ()))
    # Nor does a wide object name a quantity.
    is_wide = frozenset((*(() if unit_member is None else unit_names), quantity_member)).isdisjoint
    column = _column(name, own_member, time_member, is_wide)

    def read_plain(message: Message, topic: Topic) -> Sequence[Measured]:
        payload, unit = message.payload, None
        try:
            item = loads(payload)
            if path:
                item = find(item, path)
            # A list beside the value may be earlier readings.
            if type(item) is list and payload.count(b"[") == 1:
                if len(item) != 1:
                    return column(item) or objects(item, message) or read(message, topic)
                item = item[0]
            elif _BRACKET in payload:
                return read(message, topic)
            if is_wide(item):
                value = item[own_member]
            elif item[quantity_member] == name and item[unit_member] in expected:
                value, unit = item[value_member], item[unit_member]
            else:
                return objects((item,), message) or read(message, topic)
            text = item[time_member]
            span = _parse_time(text) - EPOCH
            if len(text) <= LONGEST_TIME and LEAST_ROUNDED < value < ROUNDED:
                time = (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds
                return ((name, value, time, unit, "", None),)
        except _NOT_PLAIN:
            pass
        return read(message, topic)

    return read_plain


def _column(
    name: str, member: str, time_member: str, is_wide: Callable[[Any], bool]
) -> Callable[[Sequence[Any]], Column | None]:
    """Return a function that reads wide objects of one quantity as a column of values and a column of times."""

    def column(items: Sequence[Any]) -> Column | None:
        try:
            if not is_wide(set().union(*items)):
                return None
            values = [item[member] for item in items]
            magnitude = hypot(*values)  # at least as large as the largest; infinite or NaN where a value is
            texts = [item[time_member] for item in items]
            instants = list(map(_parse_time, texts))
            base = instants[0] if instants else EPOCH
            first = since_1970(base - EPOCH)
            # From the first and not from 1970: Python counts up to 2^30 in half the time.
            times = [
                first + (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds
                for instant in instants
                for span in [instant - base]
            ]
        except _NOT_PLAIN:
            return None
        if not (values and magnitude < ROUNDED and max(map(len, texts)) <= LONGEST_TIME):
            return None
        return Column(name, values, times, magnitude)

    return column

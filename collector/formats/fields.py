"""Format ``fields``: JSON objects whose members are found by JSON Pointers (see :class:`FieldsFormat`)."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal, Self

from orjson import JSONDecodeError, loads
from pydantic import AfterValidator, Field

from collector.formats import json_payload
from collector.formats.field_units import UnitFinder
from collector.formats.history import history_problem
from collector.formats.json_payload import MISSING, PADDING, ROUNDED, Pointer
from collector.formats.measurement import (
    FormatOptions,
    ListedSensor,
    Measured,
    Policy,
    Read,
    Topic,
)
from collector.formats.name_patterns import Names, matcher
from collector.formats.numeric_text import AVAILABILITY
from collector.formats.plain_objects import Members, plain_reader
from collector.formats.times import (
    ARRIVAL,
    UNKNOWN_ARRIVAL,
    Arrival,
    Moment,
    arrival_of,
    is_likely,
    likely_unit,
    moment,
)
from collector.message import (
    LARGEST,
    IgnoredError,
    IgnoredReason,
    Message,
    NoReadingError,
    Reason,
    UndecodableError,
    UnusableError,
    quoted,
)

_DEVICE_TYPES = (str, int, float)
_parse_time = datetime.fromisoformat
_NO_NAMES: frozenset[str] = frozenset()
_BRACKET = ord("[")
_NOT_PLAIN = (KeyError, TypeError, ValueError, OverflowError)
"""A missing member, no object, no text, no time, a time without a zone, an integer too large for a double."""


def _pointer(text: str) -> str:
    if text and not text.startswith("/"):
        raise ValueError(f"a JSON Pointer starts with a slash: write {'/' + text!r}")
    return text


PointerText = Annotated[str, AfterValidator(_pointer)]
"""A JSON Pointer (RFC 6901): ``/a/b`` names member b of member a, the empty string the whole document."""


class FieldsFormat(FormatOptions):
    """Any JSON object, or array of objects, whose members are found by JSON Pointers.

    A *wide* object holds its quantities as members (``{"temperature": 25.2}``); a *narrow* one names one
    quantity (``{"sensor": "temperature", "value": 25.2}``). Both are understood; an object is narrow where the
    ``quantity`` pointer finds a text.
    """

    wrong_kind: ClassVar[Policy] = "quarantine"
    has_pointers: ClassVar[bool] = True
    sends_units: ClassVar[bool] = False
    needs_topic: ClassVar[bool] = False

    name: Literal["fields"] = "fields"
    time: PointerText | None = Field("/timestamp", description="Pointer to the time; null: the time of arrival.")
    time_unit: Literal["iso8601", "s", "ms", "us", "ns"] = Field(
        "iso8601", description="Form of the time: ISO 8601 text, or a number of these units since 1970-01-01 UTC."
    )
    time_format: Names = Field(
        (), description="strptime codes of times as text, such as %d.%m.%Y %H:%M:%S, or a list of them."
    )
    device: PointerText | None = Field(
        "/device_id", description="Pointer to the device's name; used only where several sensors share a topic."
    )
    quantity: PointerText | None = Field("/sensor", description="Narrow form: pointer to the quantity's name.")
    value: PointerText = Field("/value", description="Narrow form: pointer to the value.")
    unit: PointerText | None = Field(
        "/unit",
        description="Narrow form: pointer to the unit of the value. null: no member is a unit, whatever its name.",
    )
    readings: PointerText = Field(
        "", description="Pointer to the object or array of objects with the readings; empty: the whole payload."
    )
    device_keys: Names = Field(
        (),
        description="Names (with * and ?) of the members of the object at readings that are devices: each is an object "
        "with readings of the device of its name.",
    )
    history: PointerText | None = Field(
        None, description="Pointer, within an object, to a list of earlier readings: objects with their own times."
    )
    ignore: Names = Field(
        (), description="Names (with * and ?) of quantities and members that are counted as ignored, not quarantined."
    )

    @property
    def names_devices(self) -> bool:
        """Whether there is a pointer to the device's name, or devices are members."""
        return self.device is not None or self.has_device_keys

    @property
    def has_device_keys(self) -> bool:
        """Whether members of the object at ``readings`` are devices."""
        return bool(self.device_keys)

    @property
    def device_path(self) -> tuple[str, ...]:
        """The steps of the pointer to the device's name."""
        return json_payload.steps(self.device or "")

    def with_time_unit(self, unit: str) -> Self:
        """Return these options with times in ``unit``."""
        return self.model_copy(update={"time_unit": unit})

    def reader(self) -> "FieldsReader":
        """Return a reader for messages of this format."""
        return FieldsReader(self)


def _plain_members(form: FieldsFormat) -> Members | None:
    """Return the members of plain objects; None: by the options of ``form`` no object is plain."""
    texts = (form.value, form.device, form.quantity, form.unit, form.time)
    value, *others = (None if text is None else Pointer.compile(text).key for text in texts)
    is_nested = any(key is None and text is not None for key, text in zip(others, texts[1:], strict=True))
    if value is None or is_nested or form.time_format or form.device_keys or form.history:
        return None
    device, quantity, unit, time = others
    return Members(value, device, quantity, unit, time, form.time_unit, json_payload.steps(form.readings))


class FieldsReader:
    """Reads JSON objects by the pointers of the options and of the topic's sensors."""

    def __init__(self, form: FieldsFormat) -> None:
        self._plain_members = _plain_members(form)
        self._readings = json_payload.steps(form.readings)
        self._device = Pointer.compile(form.device or "")
        self._quantity = None if form.quantity is None else Pointer.compile(form.quantity)
        self._value = Pointer.compile(form.value)
        self._time = None if form.time is None else Pointer.compile(form.time)
        self._time_unit = form.time_unit
        self._codes = form.time_format
        self._units = UnitFinder(form.unit)
        self._device_keys = matcher(form.device_keys)
        self._history = None if form.history is None else Pointer.compile(form.history)
        self._ignore = matcher(form.ignore)
        self._reads_units = form.unit is not None

    def plain(self, topic: Topic) -> Read | None:
        """Return a faster :meth:`read` for messages on ``topic``; None: there is none."""
        if self._plain_members is None or "quantity" in topic.names:
            return None
        return plain_reader(self._plain_members, topic, self.read)

    def read(self, message: Message, topic: Topic) -> Sequence[Measured]:
        """Return the measurements in ``message``; see :class:`~collector.formats.measurement.Reader`."""
        payload = message.payload
        try:
            document = loads(payload)
        except JSONDecodeError:
            if payload.strip(PADDING).decode(errors="replace").lower() in AVAILABILITY:
                raise NoReadingError(IgnoredReason.AVAILABILITY_TEXT, "a text about availability") from None
            document = json_payload.load_exactly(payload)
        if message.retained and self._time is None:
            raise NoReadingError(IgnoredReason.RETAINED_WITHOUT_TIME, "retained, and without a time")
        if document is None:
            raise NoReadingError(IgnoredReason.NULL, "null")
        received = arrival_of(message)
        measurements = list(self._all(document, topic, received))
        if any(type(raw) is float and ROUNDED <= abs(raw) < LARGEST for _, raw, *_ in measurements):
            # It may have been an integer that lost digits.
            measurements = list(self._all(json_payload.load_exactly(message.payload), topic, received))
        if not measurements:
            raise NoReadingError(IgnoredReason.EMPTY_LIST, "an empty list")
        return measurements

    def _items(self, document: Any) -> Sequence[Any]:
        """Return the objects that hold readings."""
        items = json_payload.find(document, self._readings) if self._readings else document
        if items is MISSING:
            raise UndecodableError(Reason.MALFORMED, f"nothing at /{'/'.join(self._readings)}")
        return items if type(items) is list else (items,)

    def _all(self, document: Any, topic: Topic, received: Arrival) -> Iterator[Measured]:
        """Yield the measurements in ``document``; one for all items that are no objects.

        All at once: a message may hold half a million of them, and other messages wait behind it.
        """
        items = self._items(document)
        if self._device_keys is not None:
            yield from self._of_devices(items, document, topic, received)
            return
        objects = [item for item in items if type(item) is dict]
        if len(objects) < len(items):
            first = next(item for item in items if type(item) is not dict)
            detail = f"expected an object, got {quoted(first)}"
            problem = UnusableError(Reason.MALFORMED, detail)
            problem.readings = len(items) - len(objects)
            yield "", None, None, None, None, problem
        for item in objects:
            yield from self._item(item, document, topic, received)

    def _of_devices(self, items: Sequence[Any], document: Any, topic: Topic, received: Arrival) -> Iterator[Measured]:
        """Yield the measurements of objects whose members are devices."""
        for devices in items:
            for name, item in devices.items() if type(devices) is dict else ():
                if type(item) is dict and self._device_keys is not None and self._device_keys.fullmatch(name):
                    yield from self._item(item, document, topic, received, name)

    def _item(
        self, item: dict[str, Any], document: Any, topic: Topic, received: Arrival, device: str | None = None
    ) -> list[Measured]:
        """Return the measurements in ``item``, which is of ``device`` where its name is not in the item."""
        try:
            device, sensor = self._sensor(item, document, topic) if device is None else (device, topic.sensor(device))
        except UnusableError as error:
            return [("", None, None, None, device, error.with_traceback(None))]
        earlier = self._earlier(item)
        measured: list[Measured] = []
        for record in earlier or ():
            measured += self._record(record, record, topic, received, (device, sensor))
        if earlier is None or any(pointer.find(item) is not MISSING for _, pointer in sensor.pointers):
            measured += self._record(item, document, topic, received, (device, sensor))
        return measured

    def _record(
        self, item: dict[str, Any], document: Any, topic: Topic, received: Arrival, of: tuple[str, ListedSensor]
    ) -> list[Measured]:
        device, sensor = of
        try:
            values = self._values(item, sensor, topic.names.get("quantity"))
        except UnusableError as error:
            return [("", None, None, None, device, error.with_traceback(None))]
        time, problem = self._moment(item, document, sensor, received)
        measured: list[Measured] = []
        is_wide = values[0][2] is not self._value.path
        may_have_units = not (is_wide and sensor.unit_members is not None and sensor.unit_members.isdisjoint(item))
        reads_units = may_have_units and (self._reads_units or sensor.unit_pointers)
        for name, raw, path in values:
            unit, wrong = None, problem
            if raw is MISSING:
                raw, wrong = None, UnusableError(Reason.WRONG_TYPE, "no value")  # noqa: PLW2901
            elif reads_units:
                alone = not is_wide or sum(other[:-1] == path[:-1] for _, _, other in values) == 1
                try:
                    unit = self._units.unit(item, document, (name, path), sensor, is_narrow=not is_wide, alone=alone)
                except UnusableError as error:
                    wrong = wrong or error.with_traceback(None)
            measured.append((name, raw, time, unit, device, wrong))
        return measured + self._unread_history(item, sensor, device)

    def _earlier(self, item: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Return the earlier readings in ``item``; None: there are none."""
        records = MISSING if self._history is None else self._history.find(item)
        return [record for record in records if type(record) is dict] if type(records) is list and records else None

    def _unread_history(self, item: dict[str, Any], sensor: ListedSensor, device: str) -> list[Measured]:
        """Return a problem for each list in ``item`` that looks like earlier readings and that no option reads."""
        if self._history is not None or list not in map(type, item.values()):
            return []
        names = sensor.quantities | {pointer.path[-1] for _, pointer in sensor.pointers if pointer.path}
        return [
            ("", None, None, None, device, problem)
            for member, records in item.items()
            if (problem := history_problem(member, records, f'"history": "/{member}"', names)) is not None
            and not self._is_ignored(member)
        ]

    def _is_ignored(self, name: str) -> bool:
        return self._ignore is not None and self._ignore.fullmatch(name) is not None

    def _sensor(self, item: dict[str, Any], document: Any, topic: Topic) -> tuple[str, ListedSensor]:
        """Return the device's name and its sensor; raises :class:`~collector.message.UnusableError`."""
        if topic.only is not None:
            return "", topic.only
        device = self._device.find_shared(item, document)
        if type(device) not in _DEVICE_TYPES:
            raise UnusableError(
                Reason.UNKNOWN_SENSOR, "names no device" if device is MISSING else f"device {quoted(device)}"
            )
        return str(device), topic.sensor(str(device))

    def _values(
        self, item: dict[str, Any], sensor: ListedSensor, named: str | None
    ) -> Sequence[tuple[str, Any, tuple[str, ...]]]:
        """Return quantities, values and their places.

        Raises :class:`~collector.message.UnusableError` where there is none. ``named`` is the quantity that the topic
        names; None: it names none.
        """
        name: Any = named
        if name is None:
            name = self._quantity.find(item) if self._quantity is not None else MISSING
        if type(name) is str:
            if name not in sensor.quantities:
                if self._is_ignored(name):
                    raise IgnoredError(IgnoredReason.IGNORED_BY_REGISTRY, f"quantity {quoted(name)}")
                raise UnusableError(Reason.UNKNOWN_QUANTITY, f"quantity {quoted(name)}")
            raw = self._value.find(item)
            return ((name, raw, self._value.path),)
        values = [
            (name, raw, pointer.path) for name, pointer in sensor.pointers if (raw := pointer.find(item)) is not MISSING
        ]
        if not values:
            if any(map(self._is_ignored, item)):
                raise IgnoredError(IgnoredReason.IGNORED_BY_REGISTRY, "none of the sensor's quantities")
            raise UnusableError(
                Reason.UNKNOWN_QUANTITY, f"none of the sensor's quantities among the members {_listing(item)}"
            )
        return values

    def _moment(self, item: dict[str, Any], document: Any, sensor: ListedSensor, received: Arrival) -> Moment:
        if self._time is None:
            return ARRIVAL
        raw = self._time.find_shared(item, document)
        if raw is MISSING and len(self._readings) > 1 and item is not document:
            around = json_payload.find(document, self._readings[:-1])
            raw = self._time.find(around) if type(around) is dict else raw
        if raw is MISSING or raw is None:
            return None, UnusableError(Reason.MISSING_TIME, "no time in the payload")
        time, problem = moment(raw, self._time_unit, sensor.zone, received, self._codes)
        if problem is None and (self._time_unit == "iso8601" or time is None or is_likely(time)):
            return time, None
        return self._helped(raw, time, problem)

    def _helped(self, raw: Any, time: int | None, problem: UnusableError | None) -> Moment:
        """Return a time, or its problem with the option that reads it."""
        if problem is not None and problem.reason is not Reason.UNREADABLE_TIME:
            return time, problem
        unit = likely_unit(raw)
        if unit is None and (problem is None or type(raw) is not str or not raw):
            return time, problem
        if unit is not None:
            hint = f'set "time_unit": "{unit}" in the format'
        elif self._time_unit != "iso8601" and moment(raw, "iso8601", None, UNKNOWN_ARRIVAL)[1] is None:
            hint = 'set "time_unit": "iso8601" in the format'
        else:
            hint = 'set "time_format" in the format to its strptime codes'
        detail = f"{quoted(raw)} is no number of {self._time_unit} since 1970" if problem is None else problem.detail
        return None, UnusableError(Reason.UNREADABLE_TIME, f"{detail}; {hint}")


def _listing(item: dict[str, Any]) -> str:
    return ", ".join(quoted(name) for name in islice(item, 8)) or "(none)"

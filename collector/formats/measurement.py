"""The contract of payload formats: options, a reader and the measurements it returns. Pure.

A format is a module with two parts: its options, a :class:`FormatOptions` that ``sensors.json`` fills in, and a
:class:`Reader` made from them. A reader does not know the registry: :mod:`collector.decode` finds the sensor and
series of a measurement, converts its unit and checks its time, by one rule for all formats.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self, overload, runtime_checkable
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from collector.formats.json_payload import Pointer
from collector.message import Message, UnusableError

Policy = Literal["ignore", "quarantine"]


class Measurement(NamedTuple):
    """One value as the device sends it."""

    quantity: str
    """The device's name for it; the names of nested members are joined by slashes: ``AM2301/Temperature``."""
    value: Any
    """A number, true or false, or a state as text, unconverted; other JSON values are never readings."""
    time: int | None = None
    """Microseconds since 1970-01-01 UTC; None: the message has no time, so its arrival counts."""
    unit: str | None = None
    """UCUM code, or the device's own spelling where no code is known for it; None: the message has no unit."""
    device: str | None = ""
    """The payload's name for the sensor; empty: only the topic names it; None: the sensor can't be determined."""
    problem: UnusableError | None = None
    """The reason that this can't be a reading although the rest of its message can."""


Measured = tuple[str, Any, int | None, str | None, str | None, UnusableError | None]
"""A :class:`Measurement` as a bare tuple, which is made and taken apart in a third of the time."""


class Column(Sequence[Measured]):
    """Measurements of one series of the topic's only sensor, as columns of plain numbers and times.

    The decoder checks whole columns faster than single measurements. No absolute value in ``values`` is larger than
    ``magnitude``, which is never NaN or infinite.
    """

    __slots__ = ("magnitude", "quantity", "times", "values")

    def __init__(self, quantity: str, values: list[Any], times: list[int], magnitude: float) -> None:
        self.quantity = quantity
        self.values = values
        self.times = times
        self.magnitude = magnitude

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> Measured: ...
    @overload
    def __getitem__(self, index: slice) -> list[Measured]: ...
    def __getitem__(self, index: int | slice) -> Measured | list[Measured]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        return self.quantity, self.values[index], self.times[index], None, "", None


UNIT_NAMES = frozenset((
    "u", "U", "unit", "units", "Unit", "Units", "UNIT", "UNITS", "uom", "UOM", "UoM", "unit_of_measurement",
    "unitOfMeasurement", "unit_of_measure", "unitOfMeasure", "unit_code", "unitCode", "engUnit", "engUnits",
    "eng_unit",
))  # fmt: skip
"""Members that are plainly named like the unit of the value beside them."""

_OWN = ("_unit", "_units", "Unit", "Units", "_uom")
"""What follows a value's own name in the name of its unit."""


@cache
def unit_names(member: str) -> frozenset[str]:
    """Return the names that a member with the unit of ``member`` may have."""
    return UNIT_NAMES | {member + end for end in _OWN}


OnlyMember = tuple[str, str, frozenset[str]]
"""A quantity, its member, and the names that its unit may have."""


class ListedSensor(NamedTuple):
    """The registry's facts about one sensor, for readers that find values by the registry's pointers."""

    zone: ZoneInfo | None
    """Zone of times without an offset; None: such times are refused."""
    pointers: tuple[tuple[str, Pointer], ...]
    """Each quantity with the pointer to its value in a wide object."""
    quantities: frozenset[str]
    only_member: OnlyMember | None
    """The quantity and its member, where the sensor has one quantity and its pointer names a member."""
    unit_pointers: Mapping[str, Pointer] = {}
    """Each quantity that has one with the pointer to its unit."""
    units: Mapping[str, tuple[str, ...]] = {}
    """Each quantity with the units of its values, as UCUM codes: that of the series, and that of the device."""
    unit_members: frozenset[str] | None = None
    """The members that may be units of the sensor's values in a wide object; None: units may be elsewhere too."""

    @classmethod
    def of(
        cls,
        zone: ZoneInfo | None,
        pointers: Mapping[str, str | None],
        unit_pointers: Mapping[str, str | None],
        units: Mapping[str, tuple[str, ...]],
    ) -> "ListedSensor":
        """Return the facts; ``pointers``: quantity to JSON Pointer (None: the member of the quantity's name)."""
        compiled = tuple(
            (name, Pointer((name,), name) if text is None else Pointer.compile(text)) for name, text in pointers.items()
        )
        name, pointer = compiled[0] if len(compiled) == 1 else ("", None)
        unit_places = {name: Pointer.compile(text) for name, text in unit_pointers.items() if text is not None}
        only_member = (
            None
            if pointer is None or pointer.key is None or unit_places
            else (name, pointer.key, unit_names(pointer.key))
        )
        keys = [pointer.key for _, pointer in compiled]
        unit_members = None if unit_places or None in keys else frozenset().union(*map(unit_names, filter(None, keys)))
        return cls(zone, compiled, frozenset(pointers), only_member, unit_places, units, unit_members)


def _no_sensor(_device: str) -> ListedSensor:
    raise LookupError("this topic lists no sensors for readers")


class Topic(NamedTuple):
    """The facts about a message's topic that a reader may use."""

    names: Mapping[str, str] = {}
    """Values of the pattern's placeholders: ``tele/{sensor}/#`` gives ``sensor`` and ``#``."""
    sensor: Callable[[str], ListedSensor] = _no_sensor
    """Returns the sensor of a device that the payload names; raises :class:`~collector.message.UnusableError`.

    Only for formats with :attr:`FormatOptions.has_pointers`.
    """
    only: ListedSensor | None = None
    """The sensor of all messages on this topic, where the topic alone determines it."""
    decimal_comma: bool = False
    """Whether the decimal mark of texts is a comma for one of its quantities: ``1.234`` may then be 1234."""


Read = Callable[[Message, Topic], Sequence[Measured]]
"""See :meth:`Reader.read`."""


class Reader(Protocol):
    """Reads the messages of one format."""

    def read(self, message: Message, topic: Topic) -> Sequence[Measured]:
        """Return the measurements in ``message``, in its order.

        Raises :class:`~collector.message.UndecodableError` where the message can't be understood,
        :class:`~collector.message.NoReadingError` where it holds no measurement, and nothing else.
        """
        ...


@runtime_checkable
class PlainReader(Reader, Protocol):
    """A reader with a fast path for ordinary messages."""

    def plain(self, topic: Topic) -> Read | None:
        """Return a faster ``read`` for messages on ``topic``; None: there is none."""
        ...


class FormatOptions(BaseModel):
    """The options of a format in ``sensors.json``, and the properties by which formats differ for the decoder."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    unlisted: ClassVar[Policy] = "quarantine"
    """Treatment of quantities that the registry does not list. Devices that also report on themselves send many."""
    wrong_kind: ClassVar[Policy] = "ignore"
    """Treatment of values of another kind than the series has: text that is no state, null, lists and objects."""
    publishes_state: ClassVar[bool] = False
    """Whether a later message for the same instant replaces the value of the earlier one.

    True for formats whose devices publish their state as they know it, often repeatedly with one time. Formats of
    events keep the first value; the later one is a duplicate or a conflict. ``equal_times`` of a type overrides it.
    """
    has_pointers: ClassVar[bool] = False
    """Whether the registry gives JSON Pointers to the values (``pointer``) rather than device names (``source``)."""
    sends_units: ClassVar[bool] = True
    """Whether messages may name the unit of a value."""
    needs_topic: ClassVar[bool] = True
    """Whether a message can't be read without its topic; lines of NDJSON files have none."""

    @property
    def names_devices(self) -> bool:
        """Whether payloads may name the device that sent them."""
        return True

    @property
    def has_unit_suffix(self) -> bool:
        """Whether all texts may have a unit behind the number."""
        return False

    @property
    def has_device_keys(self) -> bool:
        """Whether members of an object in the payload are devices, by name."""
        return False

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Placeholders that the topic's pattern must have for this format."""
        return ()

    @property
    def device_path(self) -> tuple[str, ...]:
        """The steps of the pointer to the device's name in a payload; empty: there is no such pointer."""
        return ()

    def with_time_unit(self, unit: str) -> Self:  # noqa: ARG002 - for formats that have the option
        """Return these options with times in ``unit``, where the format has this option."""
        return self

    def reader(self) -> Reader:
        """Return a reader for messages of this format."""
        raise NotImplementedError

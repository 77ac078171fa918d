"""What a payload format makes of a message: measurements as the device names them. Pure.

A format is a small module with two things: its options, a :class:`FormatOptions` that ``sensors.json`` gives, and a
:class:`Reader` made from them. It knows nothing of the registry: which sensor and series a measurement belongs to, its
unit, and whether its time may be, is decided in one place for all formats, :mod:`collector.decode.decoder`.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from collector.formats.scalars import UnusableError
from collector.message import Message


class Measurement(NamedTuple):
    """One value as the device says it."""

    quantity: str
    """What the device calls it; the names of nested members are joined by slashes: ``AM2301/Temperature``."""
    value: float | bool | str
    """A number, true or false, or a state as text, unconverted."""
    time: int | None = None
    """Microseconds since 1970-01-01 UTC; None: the message says nothing, so its arrival counts."""
    unit: str | None = None
    """UCUM code, or the device's own spelling where no code is known for it; None: the message does not say."""
    device: str = ""
    """What the payload calls the sensor; empty: only the topic names it."""
    problem: UnusableError | None = None
    """Why this can't be a reading although the rest of its message can."""


Measured = tuple[str, float | bool | str, int | None, str | None, str, UnusableError | None]
"""A :class:`Measurement` as a bare tuple, which is made and taken apart in a third of the time."""


class Reader(Protocol):
    """Reads the messages of one format."""

    def read(self, message: Message, names: Mapping[str, str]) -> Sequence[Measured]:
        """Return the measurements in ``message``, in its order.

        ``names`` holds what the placeholders of the topic's pattern stand for: ``tele/{sensor}/#`` gives ``sensor``
        and ``#``. Raises :class:`~collector.message.UndecodableError` where the message can't be understood,
        :class:`~collector.message.NoReadingError` where it holds none by its nature, and nothing else.
        """
        ...


class FormatOptions(BaseModel):
    """What ``sensors.json`` may say about a format beside its name."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    unlisted: ClassVar[Literal["ignore", "quarantine"]] = "quarantine"
    """What becomes of quantities the registry doesn't list: devices that report on themselves as well send many."""

    @property
    def names_devices(self) -> bool:
        """Whether payloads may say which device they are from."""
        return True

    @property
    def placeholders(self) -> tuple[str, ...]:
        """What the topic's pattern must name for this format."""
        return ()

    def reader(self) -> Reader:
        """Return a reader for messages of this format."""
        raise NotImplementedError

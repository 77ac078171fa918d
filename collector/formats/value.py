"""Format ``value``: the payload is one value, and the topic names its quantity."""

import json
import re
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from collector import units
from collector.formats import numeric_text
from collector.formats.measurement import FormatOptions, Measurement, Reader, Topic
from collector.formats.numeric_text import PADDING
from collector.message import IgnoredReason, Message, NoReadingError, Reason, UndecodableError
from collector.topics import Template

_LONGEST = 256
"""Bytes; no value is longer, but other topics of the same devices have longer texts."""


_PLAIN = re.compile(rb"-?[0-9]{1,9}(?:\.[0-9]{1,9})?")
"""Numbers of few digits, which a double holds exactly where they are integers."""


def _template(text: str) -> str:
    Template.compile(text)
    return text


class ValueFormat(FormatOptions):
    """The payload is the value: ``21.5``, ``"21.5"``, ``true``, ``open``; the topic names sensor and quantity.

    ESPHome, Homie, Home Assistant's statestream, Hubitat, the first Shellies and many home-made devices do this.
    """

    unlisted: ClassVar[Literal["ignore", "quarantine"]] = "ignore"
    publishes_state: ClassVar[bool] = True

    name: Literal["value"] = "value"
    quantity: Annotated[str, AfterValidator(_template)] = Field(
        "{quantity}",
        min_length=1,
        description="The quantity's name, built from the topic's placeholders: {channel}/{quantity}.",
    )
    unit_suffix: bool = Field(False, description="Whether a unit follows the number, as in 21.5 °C.")

    @property
    def has_unit_suffix(self) -> bool:
        """Whether a unit follows the number in texts."""
        return self.unit_suffix

    @property
    def names_devices(self) -> bool:
        """Return False: a payload is only a value."""
        return False

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The placeholders in the template of the quantity."""
        return Template.compile(self.quantity).names

    def reader(self) -> Reader:
        """Return a reader for messages of this format."""
        return _ValueReader(Template.compile(self.quantity), self.unit_suffix)


class _ValueReader:
    def __init__(self, quantity: Template, unit_suffix: bool) -> None:  # noqa: FBT001 - an option
        self._quantity = quantity
        self._unit_suffix = unit_suffix

    def read(self, message: Message, topic: Topic) -> Sequence[Measurement]:
        """Return the one measurement; see :class:`~collector.formats.measurement.Reader`."""
        if "/$" in message.topic:  # attributes of Homie's devices: https://homieiot.github.io, "Attributes"
            raise NoReadingError(IgnoredReason.NOT_TELEMETRY, "an attribute of a device")
        value, unit = self._value(message.payload, topic.decimal_comma)
        return (Measurement(self._quantity.fill(topic.names), value, unit=unit),)

    def _value(self, payload: bytes, as_text: bool) -> tuple[float | bool | str, str | None]:  # noqa: FBT001
        """Return value and unit; with ``as_text`` numbers stay texts, which the quantity's decimal mark decides."""
        if not as_text and _PLAIN.fullmatch(payload):  # most payloads
            return float(payload) if b"." in payload else int(payload), None
        text = _text(payload)
        if text in ("true", "false"):
            return text == "true", None
        if as_text:
            return text, None
        if (value := numeric_text.number(text)) is not None:
            return value, None
        if self._unit_suffix and (parts := numeric_text.number_and_unit(text)) is not None:
            code = units.code(parts[1])
            return (text, None) if code in (None, "deg") else (parts[0], code)
        return text, None


def _text(payload: bytes) -> str:
    """Return the text in ``payload``; raises where it is none, or means that there is no value."""
    if len(payload) > _LONGEST:
        raise NoReadingError(IgnoredReason.UNMAPPED_TEXT, "longer than any value")
    try:
        text = payload.decode().strip(PADDING)
    except UnicodeDecodeError as error:
        raise UndecodableError(Reason.MALFORMED, f"not UTF-8 at byte {error.start}") from error
    if text[:1] == '"':
        text = _unquoted(text)
    if text[:1] in ("{", "["):
        raise NoReadingError(IgnoredReason.NOT_A_VALUE, "an object or a list, not a value")
    if text.lower() in numeric_text.NO_VALUE:
        raise NoReadingError(IgnoredReason.AVAILABILITY_TEXT, "the text means that there is no value")
    return text


def _unquoted(text: str) -> str:
    """Return the content of a JSON string; a text that is no JSON string as it is, without its quotation marks."""
    try:
        return str(json.loads(text)).strip()
    except ValueError:
        return text.strip('"').strip()

"""Schema of ``sensors.json``, part by part; :mod:`collector.registry.sensors_file` combines the parts."""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from collector import topics, units
from collector.formats.fields import FieldsFormat, PointerText
from collector.formats.supported import Format
from collector.topics import Pattern, Template

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$"
NAME_RULE = "names are letters, digits and _ . : - (100 at most), and start with a letter or digit"


def _zone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError("not a time zone of the IANA database: write one like 'UTC' or 'Europe/Athens'")
    return text


def _instant(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("has no zone: end it with Z or an offset such as +02:00")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside the calendar; leave it out for 2000-01-01") from None


def _text(text: str) -> str:
    if UNSTORABLE.search(text):
        raise ValueError("holds a NUL character or half a surrogate pair, which no database text can hold; remove it")
    return text


def _pattern(text: str) -> str:
    Pattern.compile(text)
    return text


def _template(text: str) -> str:
    Template.compile(_text(text))
    return text


def _sensor_id(text: str) -> str:
    template = Template.compile(text)
    if not re.fullmatch(NAME, template.fill(dict.fromkeys(template.names, "x"))):
        raise ValueError(NAME_RULE)
    return text


Text = Annotated[str, AfterValidator(_text)]
Name = Annotated[str, Field(pattern=NAME)]
Unit = Annotated[str, AfterValidator(units.check)]
Topic = Annotated[str, AfterValidator(_pattern)]
TemplateText = Annotated[str, AfterValidator(_template)]
SensorId = Annotated[str, AfterValidator(_sensor_id)]
Filter = Annotated[str, AfterValidator(topics.check_filter)]
TimeZone = Annotated[str, AfterValidator(_zone)]
Instant = Annotated[datetime, AfterValidator(_instant)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Quantity(_Strict):
    """One quantity that a sensor measures."""

    unit: Unit = Field(description="UCUM code, case-sensitive: Cel, [degF], %, hPa, /min, V (https://ucum.org/ucum).")
    minimum: float | None = Field(None, description="Lowest plausible value; lower readings are stored and reported.")
    maximum: float | None = Field(None, description="Highest plausible value; higher readings are stored and reported.")
    interval_seconds: float = Field(gt=0, le=31_622_400, description="Expected time between readings, in seconds.")
    kind: Literal["number", "boolean"] = Field("number", description="boolean: true and false, stored as 1 and 0.")
    pointer: PointerText | None = Field(
        None, description="Format fields: JSON Pointer to the value in a wide object; default /<quantity name>."
    )
    unit_pointer: PointerText | None = Field(
        None, description="Format fields: JSON Pointer to the unit of the value, in the message."
    )
    source: Text | None = Field(
        None,
        min_length=1,
        description="Other formats: the name that the device uses, AM2301/Temperature; default: the quantity name.",
    )
    sent_unit: Unit | None = Field(
        None, description="UCUM code of the unit that the device sends, if it differs and the payload has no unit."
    )
    decimal: Literal[",", "."] | None = Field(
        None, description='Decimal mark of numbers that are sent as text: "," for 21,5 and 1.234,5; "." for 1,234.5.'
    )
    unit_suffix: bool | None = Field(
        None, description="Whether texts have a unit behind the number, 20.6 °C, which is then read."
    )
    states: dict[str, float] | None = Field(
        None, min_length=1, description='Texts and the numbers to store for them: {"open": 1, "closed": 0}.'
    )
    signal: str | None = Field(None, description="Signal that the simulator generates; default: by the quantity name.")
    description: str = ""

    @property
    def units(self) -> tuple[str, ...]:
        """The units that its values are expected in, as UCUM codes."""
        return (self.unit,) if self.sent_unit is None else (self.unit, self.sent_unit)


class SensorType(_Strict):
    """Quantities and payload format of one kind of sensor."""

    description: str = ""
    format: Format = FieldsFormat()
    equal_times: Literal["replace", "keep"] | None = Field(
        None,
        description="Two values of one series and time: replace: the later message replaces the value of the earlier "
        "one; keep: the first value stays. Default: replace for formats that publish states, keep for the others.",
    )
    quantities: dict[Name, Quantity] = Field(min_length=1)

    decimal: Literal[",", "."] | None = Field(None, description="decimal of its quantities that have none.")
    unit_suffix: bool | None = Field(None, description="unit_suffix of its quantities that have none.")

    def completed(self, quantities: dict[str, Quantity]) -> dict[str, Quantity]:
        """Return ``quantities`` with this type's settings for texts where they have none."""
        common = {"decimal": self.decimal, "unit_suffix": self.unit_suffix}
        common = {name: value for name, value in common.items() if value is not None}
        if not common:
            return quantities
        return {
            name: quantity.model_copy(
                update={key: value for key, value in common.items() if getattr(quantity, key) is None}
            )
            for name, quantity in quantities.items()
        }

    def replaces(self, form: Format) -> bool:
        """Return whether a later value of one series and time replaces the earlier one, in messages of ``form``."""
        return form.publishes_state if self.equal_times is None else self.equal_times == "replace"


class Member(_Strict):
    """One device of a sensor pattern with the values that differ from its entry."""

    site: Text | None = Field(None, min_length=1)
    area: Text | None = Field(None, min_length=1)
    latitude: float | None = Field(None, ge=-90, le=90, description="Degrees north, WGS 84.")
    longitude: float | None = Field(None, ge=-180, le=180, description="Degrees east, WGS 84.")
    description: Text | None = None


class SensorEntry(_Strict):
    """One sensor, or a sensor pattern: one entry for all devices on its topics.

    In a sensor pattern the topic or the payload names the sensor. Its topic has placeholders, as in
    ``zigbee2mqtt/{sensor}``, which ``sensor_id``, ``site`` and ``area`` may use. ``discover`` or ``members``
    defines which devices belong to it.
    """

    sensor_id: SensorId | None = Field(
        None, description="Name of the sensor; in a sensor pattern with placeholders: z2m-{sensor}, default {device}."
    )
    type: Name
    site: TemplateText = Field(min_length=1)
    area: TemplateText = Field(min_length=1)
    latitude: float | None = Field(None, ge=-90, le=90, description="Degrees north, WGS 84.")
    longitude: float | None = Field(None, ge=-180, le=180, description="Degrees east, WGS 84.")
    topic: Topic = Field(
        description="MQTT topic that it publishes on, or a pattern with {sensor}, {quantity}, {any_name}, "
        "{sensor:path} for several levels, and the wildcards + and #."
    )
    discover: bool = Field(False, description="Register the sensors of the pattern when their first message arrives.")
    members: dict[Text, Member] | None = Field(
        None,
        min_length=1,
        description="Devices of the sensor pattern by name; with discover: those with another place.",
    )
    device: Text | None = Field(None, description="Its name in its payloads; default: its sensor_id.")
    timezone: TimeZone | None = Field(
        None, description="Zone of timestamps without a zone; default: none, they are quarantined."
    )
    since: Annotated[Instant, Field(strict=False)] | None = Field(
        None, description="Earliest accepted reading time; default 2000-01-01."
    )
    description: Text = ""
    format: Format | None = Field(None, description="Replaces the format of its type.")
    quantities: dict[Name, Quantity] | None = Field(None, description="Replace or extend the quantities of its type.")

    @property
    def is_pattern(self) -> bool:
        """Whether it covers many sensors, one per device."""
        return self.discover or self.members is not None


class RegistryFile(_Strict):
    """sensors.json"""  # noqa: D400 - the title of the schema

    schema_: str | None = Field(None, alias="$schema")
    subscribe: list[Filter] = Field(
        min_length=1,
        description="MQTT topic filters that the collector subscribes to; messages of no known sensor are quarantined.",
    )
    ignore: list[Filter] = Field(
        [], description="MQTT topic filters whose messages are counted as ignored, also where an entry covers them."
    )
    types: dict[Name, SensorType] = Field(description="Sensor types by name.")
    sensors: list[SensorEntry] = Field(description="The sensors.")

"""What ``sensors.json`` may hold, part by part; :mod:`collector.registry.sensors_file` puts the parts together."""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from collector import topics, units
from collector.formats.fields_options import FieldsFormat, Pointer
from collector.formats.supported import Format
from collector.topics import Pattern, Template

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$"
NAME_MEND = "names are letters, digits and _ . : - (100 at most), and start with a letter or digit"


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
        raise ValueError("is out of the calendar; leave it out for 2000-01-01") from None


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
        raise ValueError(NAME_MEND)
    return text


Text = Annotated[str, AfterValidator(_text)]
Name = Annotated[str, Field(pattern=NAME)]
Unit = Annotated[str, AfterValidator(units.check)]
Topic = Annotated[str, AfterValidator(_pattern)]
Filled = Annotated[str, AfterValidator(_template)]
SensorId = Annotated[str, AfterValidator(_sensor_id)]
Filter = Annotated[str, AfterValidator(topics.check_filter)]
TimeZone = Annotated[str, AfterValidator(_zone)]
Instant = Annotated[datetime, AfterValidator(_instant)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Quantity(_Strict):
    """One thing a sensor measures."""

    unit: Unit = Field(description="UCUM code, case-sensitive: Cel, [degF], %, hPa, /min, V (https://ucum.org/ucum).")
    minimum: float | None = Field(None, description="Least plausible value; readings below are stored and reported.")
    maximum: float | None = Field(None, description="Greatest plausible value; readings above are stored and reported.")
    interval_seconds: float = Field(gt=0, le=31_622_400, description="Expected time between readings, in seconds.")
    kind: Literal["number", "boolean"] = Field("number", description="boolean: true and false, stored as 1 and 0.")
    pointer: Pointer | None = Field(
        None, description="Format fields: where the value stands in a wide object; default /<quantity name>."
    )
    source: Text | None = Field(
        None, min_length=1, description="Other formats: what the device calls it, AM2301/Temperature; default its name."
    )
    sent_unit: Unit | None = Field(
        None, description="UCUM code of the unit the device sends, where it is another and the device doesn't say so."
    )
    states: dict[str, float] | None = Field(
        None, min_length=1, description='Texts that stand for numbers: {"open": 1, "closed": 0}.'
    )
    signal: str | None = Field(None, description="The signal the simulator makes for it; default by its name.")
    description: str = ""


class SensorType(_Strict):
    """What sensors of one kind measure and how they write it down."""

    description: str = ""
    format: Format = FieldsFormat()
    quantities: dict[Name, Quantity] = Field(min_length=1)


class Member(_Strict):
    """One device of a fleet, with what is its own; the rest is as its entry says."""

    site: Text | None = Field(None, min_length=1)
    area: Text | None = Field(None, min_length=1)
    latitude: float | None = Field(None, ge=-90, le=90, description="Degrees north, WGS 84.")
    longitude: float | None = Field(None, ge=-180, le=180, description="Degrees east, WGS 84.")
    description: Text | None = None


class SensorEntry(_Strict):
    """One sensor, or a fleet of them, as the file has it.

    In a fleet the topic, or the payload, names the sensor. Its topic has placeholders, ``zigbee2mqtt/{sensor}``, which
    ``sensor_id``, ``site`` and ``area`` may use, and ``discover`` or ``members`` says which devices belong to it.
    """

    sensor_id: SensorId | None = Field(
        None, description="Name of the sensor; of a fleet's, with placeholders: z2m-{sensor}, default {device}."
    )
    type: Name
    site: Filled = Field(min_length=1)
    area: Filled = Field(min_length=1)
    latitude: float | None = Field(None, ge=-90, le=90, description="Degrees north, WGS 84.")
    longitude: float | None = Field(None, ge=-180, le=180, description="Degrees east, WGS 84.")
    topic: Topic = Field(
        description="The MQTT topic it publishes on; or a pattern with {sensor}, {quantity}, {any_name}, "
        "{sensor:path} for several levels, and the wildcards + and #."
    )
    discover: bool = Field(False, description="Register the fleet's sensors as they appear.")
    members: dict[Text, Member] | None = Field(
        None, min_length=1, description="The fleet's devices by name; with discover, those with a place of their own."
    )
    device: Text | None = Field(None, description="What it calls itself in its payloads; default its sensor_id.")
    timezone: TimeZone | None = Field(None, description="Zone of times it writes without one; default: none, refused.")
    since: Annotated[Instant, Field(strict=False)] | None = Field(
        None, description="No reading is older; default 2000-01-01."
    )
    description: Text = ""
    format: Format | None = Field(None, description="Instead of its type's format.")
    quantities: dict[Name, Quantity] | None = Field(None, description="Instead of, or beside, its type's quantities.")

    @property
    def is_fleet(self) -> bool:
        """Whether it stands for as many sensors as there are devices."""
        return self.discover or self.members is not None


class RegistryFile(_Strict):
    """sensors.json"""  # noqa: D400 - the title of the schema

    schema_: str | None = Field(None, alias="$schema")
    subscribe: list[Filter] = Field(
        min_length=1,
        description="MQTT topic filters the collector subscribes to; what no sensor claims is quarantined.",
    )
    types: dict[Name, SensorType] = Field(description="Kinds of sensors by name.")
    sensors: list[SensorEntry] = Field(description="The sensors.")

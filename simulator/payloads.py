"""Payloads of simulated devices, in the format of their registry entry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from collector.registry.sensors_file import FieldsFormat, Sensor
from core.errors import SettingError

Form = Literal["wide", "narrow"]
Value = float | bool | str

_TICKS = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}


@dataclass(frozen=True)
class Sample:
    """Values of one sensor at one time (seconds since 1970-01-01 UTC, exact to the millisecond)."""

    sensor: Sensor
    seconds: float
    values: Mapping[str, Value]


@dataclass(frozen=True)
class Message:
    """One MQTT message; ``publish_time`` in seconds since 1970-01-01 UTC."""

    sensor_id: str
    topic: str
    payload: bytes
    publish_time: float
    readings: int


def tag(type_name: str) -> str:
    """Return the type as devices write it in payloads: ``heart_rate_meter`` is ``Heart Rate Meter``."""
    return type_name.replace("_", " ").title()


def timestamp(seconds: float) -> str:
    """Return ISO 8601 in UTC with milliseconds: ``2026-01-31T23:59:59.250Z``."""
    instant = datetime.fromtimestamp(round(seconds * 1000) / 1000, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def message(samples: Sequence[Sample], form: Form = "wide") -> Message:
    """Return one message with all ``samples`` of one sensor; several samples become a JSON array.

    ``wide``: the quantities are members; ``narrow``: one object ``{device_id, timestamp, sensor, value}`` per quantity.
    Raises :class:`SettingError` if the sensor's format can't express a value.
    """
    sensor = samples[0].sensor
    layout = _layout(sensor)
    objects = [item for sample in samples for item in (_wide(sample) if form == "wide" else _narrow(sample))]
    content: Any = objects[0] if len(objects) == 1 else objects
    for step in reversed(_steps(layout.readings)):
        content = {step: content}
    return Message(
        sensor_id=sensor.sensor_id,
        topic=sensor.topic,
        payload=orjson.dumps(content),
        publish_time=samples[-1].seconds,
        readings=sum(len(sample.values) for sample in samples),
    )


def _layout(sensor: Sensor) -> FieldsFormat:
    if not isinstance(sensor.format, FieldsFormat):
        raise SettingError(f"{sensor.sensor_id}: the simulator supports format fields only, not {sensor.format.name}")
    return sensor.format


def _wide(sample: Sample) -> list[dict[str, Any]]:
    document = _head(sample)
    for name, value in sample.values.items():
        pointer = sample.sensor.quantities[name].pointer
        _put(document, f"/{_escaped(name)}" if pointer is None else pointer, value, sample.sensor)
    document.setdefault("tag", tag(sample.sensor.type))
    return [document]


def _narrow(sample: Sample) -> list[dict[str, Any]]:
    layout = _layout(sample.sensor)
    if layout.quantity is None:
        raise SettingError(
            f"{sample.sensor.sensor_id}: its format has no quantity pointer, which --form narrow needs; use --form wide"
        )
    objects = []
    for name, value in sample.values.items():
        document = _head(sample)
        _put(document, layout.quantity, name, sample.sensor)
        _put(document, layout.value, value, sample.sensor)
        objects.append(document)
    return objects


def _head(sample: Sample) -> dict[str, Any]:
    layout = _layout(sample.sensor)
    document: dict[str, Any] = {}
    if layout.device is not None:
        _put(document, layout.device, sample.sensor.device, sample.sensor)
    if layout.time is not None:
        _put(document, layout.time, _time(sample.seconds, layout), sample.sensor)
    return document


def _time(seconds: float, layout: FieldsFormat) -> str | float:
    if layout.time_unit == "iso8601":
        return timestamp(seconds)
    if layout.time_unit == "s":
        return round(seconds, 3)
    # Via whole milliseconds, because a double can't represent nanoseconds since 1970.
    return round(seconds * 1000) * (_TICKS[layout.time_unit] // 1000)


def _put(document: dict[str, Any], pointer: str, value: Any, sensor: Sensor) -> None:
    """Set the value at a JSON Pointer; missing objects on the way are created, arrays are not."""
    steps = _steps(pointer)
    if not steps:
        raise SettingError(f"{sensor.sensor_id}: a pointer to the whole document leaves no place for other values")
    place = document
    for step in steps[:-1]:
        place = place.setdefault(step, {})
        if not isinstance(place, dict):
            raise SettingError(f"{sensor.sensor_id}: {pointer} is inside another value; change one of the pointers")
    place[steps[-1]] = value


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")

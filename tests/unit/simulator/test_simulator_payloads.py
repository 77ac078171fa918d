"""Payloads of simulated devices."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from collector.registry import sensors_file
from collector.registry.sensors_file import FieldsFormat
from core.errors import SettingError
from simulator import payloads
from simulator.payloads import Sample

WHEN = datetime(2023, 3, 28, 20, 4, 22, tzinfo=UTC).timestamp()


@pytest.fixture(scope="module")
def sensors():
    """Return the sensors of the repository's registry by id."""
    registry = sensors_file.load(Path(__file__).parents[3] / "sensors.json")
    return {sensor.sensor_id: sensor for sensor in registry.sensors}


def content(samples, form="wide"):
    """Return the content of a message with ``samples``."""
    return orjson.loads(payloads.message(samples, form).payload)


@pytest.mark.parametrize(
    ("name", "quantity", "value", "expected"),
    [
        ("thermostat-1", "temperature", 25.2, {"temperature": 25.2, "tag": "Thermostat"}),
        ("barometer-1", "pressure", 1060.5, {"pressure": 1060.5, "tag": "Barometer"}),
        ("hygrometer-1", "humidity", 41.5, {"humidity": 41.5, "tag": "Hygrometer"}),
        ("heart-rate-1", "heart_rate", 72, {"heart_rate": 72, "tag": "Heart Rate Meter"}),
    ],
)
def test_each_device_type_has_a_payload(sensors, name, quantity, value, expected):
    """Payloads of the four device types have device, time, quantity and tag, in this order."""
    sensor = replace(sensors[name], device="1")
    document = content([Sample(sensor, WHEN, {quantity: value})])
    assert document == {"device_id": "1", "timestamp": "2023-03-28T20:04:22.000Z", **expected}
    assert list(document) == ["device_id", "timestamp", quantity, "tag"]


def test_narrow_form(sensors):
    """The narrow form has device, time, sensor and value."""
    sensor = replace(sensors["thermostat-1"], device="1")
    assert content([Sample(sensor, WHEN, {"temperature": 25.2})], "narrow") == {
        "device_id": "1",
        "timestamp": "2023-03-28T20:04:22.000Z",
        "sensor": "temperature",
        "value": 25.2,
    }


def test_several_samples_make_an_array(sensors):
    """Several samples become an array in one message, published at the time of the last one."""
    samples = [Sample(sensors["motor-1"], WHEN + number, {"voltage": 12.0 + number}) for number in range(3)]
    message = payloads.message(samples)
    assert [document["voltage"] for document in orjson.loads(message.payload)] == [12.0, 13.0, 14.0]
    assert (message.topic, message.readings, message.publish_time) == (sensors["motor-1"].topic, 3, WHEN + 2)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("iso8601", "2023-03-28T20:04:22.250Z"),
        ("s", 1680033862.25),
        ("ms", 1680033862250),
        ("us", 1680033862250000),
        ("ns", 1680033862250000000),
    ],
)
def test_time_units(sensors, unit, expected):
    """The time has the unit of the format, exact to the millisecond."""
    sensor = replace(sensors["motor-1"], format=FieldsFormat(time_unit=unit))
    assert content([Sample(sensor, WHEN + 0.25, {"voltage": 12.0})])["timestamp"] == expected


def test_pointers_are_used(sensors):
    """Time, device, quantity and readings are at the pointers of the format, also with escapes."""
    sensor = sensors["motor-1"]
    quantity = sensor.quantities["voltage"].model_copy(update={"pointer": "/d/v~1a"})
    layout = FieldsFormat(time="/h/t", device=None, readings="/body/list")
    sensor = replace(sensor, format=layout, quantities={"voltage": quantity})
    assert content([Sample(sensor, WHEN, {"voltage": 12.0})]) == {
        "body": {"list": {"h": {"t": "2023-03-28T20:04:22.000Z"}, "d": {"v/a": 12.0}, "tag": "Motor"}}
    }


def test_format_without_time(sensors):
    """A format without time gives payloads without time."""
    sensor = replace(sensors["motor-1"], format=FieldsFormat(time=None))
    assert "timestamp" not in content([Sample(sensor, WHEN, {"voltage": 12.0})])


def test_narrow_needs_a_quantity_pointer(sensors):
    """The narrow form is refused for a format without quantity pointer, with the fix."""
    sensor = replace(sensors["motor-1"], format=FieldsFormat(quantity=None))
    with pytest.raises(SettingError, match="--form wide"):
        payloads.message([Sample(sensor, WHEN, {"voltage": 12.0})], "narrow")

"""Readings as the bytes a device publishes."""

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
    """Return the product's own sensors by id."""
    found = sensors_file.load(Path(__file__).parents[3] / "sensors.json")
    return {sensor.sensor_id: sensor for sensor in found.sensors}


def content(samples, form="wide"):
    """Return what a message of ``samples`` says."""
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
def test_each_device_type_has_its_own_form(sensors, name, quantity, value, expected):
    """The four device types publish device, time, quantity and tag, in this order."""
    sensor = replace(sensors[name], device="1")
    found = content([Sample(sensor, WHEN, {quantity: value})])
    assert found == {"device_id": "1", "timestamp": "2023-03-28T20:04:22.000Z", **expected}
    assert list(found) == ["device_id", "timestamp", quantity, "tag"]


def test_narrow_form(sensors):
    """The narrow form is the common message of device, time, sensor and value."""
    sensor = replace(sensors["thermostat-1"], device="1")
    assert content([Sample(sensor, WHEN, {"temperature": 25.2})], "narrow") == {
        "device_id": "1",
        "timestamp": "2023-03-28T20:04:22.000Z",
        "sensor": "temperature",
        "value": 25.2,
    }


def test_several_samples_make_an_array(sensors):
    """Samples sent together are an array in one message, which counts them and is due with its last one."""
    samples = [Sample(sensors["motor-1"], WHEN + number, {"voltage": 12.0 + number}) for number in range(3)]
    message = payloads.message(samples)
    assert [one["voltage"] for one in orjson.loads(message.payload)] == [12.0, 13.0, 14.0]
    assert (message.topic, message.readings, message.due) == (sensors["motor-1"].topic, 3, WHEN + 2)


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
    """The time is written as the format's unit says, exact to the millisecond."""
    sensor = replace(sensors["motor-1"], format=FieldsFormat(time_unit=unit))
    assert content([Sample(sensor, WHEN + 0.25, {"voltage": 12.0})])["timestamp"] == expected


def test_pointers_are_honoured(sensors):
    """Time, device, quantity and readings stand where the format's pointers say, escapes included."""
    sensor = sensors["motor-1"]
    quantity = sensor.quantities["voltage"].model_copy(update={"pointer": "/d/v~1a"})
    layout = FieldsFormat(time="/h/t", device=None, readings="/body/list")
    sensor = replace(sensor, format=layout, quantities={"voltage": quantity})
    assert content([Sample(sensor, WHEN, {"voltage": 12.0})]) == {
        "body": {"list": {"h": {"t": "2023-03-28T20:04:22.000Z"}, "d": {"v/a": 12.0}, "tag": "Motor"}}
    }


def test_format_without_time(sensors):
    """A format that has no time gets none."""
    sensor = replace(sensors["motor-1"], format=FieldsFormat(time=None))
    assert "timestamp" not in content([Sample(sensor, WHEN, {"voltage": 12.0})])


def test_narrow_needs_a_place_for_the_quantity(sensors):
    """The narrow form of a format that can't name quantities is refused with the mend."""
    sensor = replace(sensors["motor-1"], format=FieldsFormat(quantity=None))
    with pytest.raises(SettingError, match="--form wide"):
        payloads.message([Sample(sensor, WHEN, {"voltage": 12.0})], "narrow")

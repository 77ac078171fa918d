"""Messages of gateways: devices as members of an object, earlier readings, parts that are ignored, events with data."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from collector.decode.decoder import Decoder
from collector.formats.fields import FieldsFormat
from collector.message import Decoded, IgnoredReason, Message, NoReadingError, Reason
from collector.registry import sensors_file
from collector.registry.discovery import UnregisteredError

NOW = 1_772_366_400_000_000
SECOND = 1_000_000
T = {"t": {"unit": "Cel", "interval_seconds": 1}}


def collect(
    payload: object, form: object, topic: str = "x/gw", pattern: str = "x/+", quantities: Any = None, **more: object
) -> tuple[dict[tuple[str, str], list[tuple[float, int]]], Decoded]:
    """Return value and seconds before now by sensor and quantity, and all that a message holds."""
    kind = {"format": form, "quantities": quantities or T}
    entry = {"type": "k", "site": "s", "area": "a", "topic": pattern, "discover": True}
    document = {"subscribe": ["#"], "types": {"k": kind}, "sensors": [entry], **more}
    decoder, names = Decoder(sensors_file.parse(json.dumps(document).encode()), {}), {}
    message = Message(topic, json.dumps(payload).encode(), NOW)
    try:
        decoded = decoder.decode(message)
    except UnregisteredError as error:
        for number, (registered, sensor, quantity) in enumerate(error.discoveries, 1):
            registered.record(sensor, quantity, number)
            names[number] = sensor.device, quantity
        decoded = decoder.decode(message)
    readings: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for number, time, value in decoded.readings:
        readings.setdefault(names[number], []).append((value, (NOW - time) // SECOND))
    return readings, decoded


AGO = NOW // SECOND


def test_members_are_devices() -> None:
    """Each member that matches is a device, with its own time or that beside the devices."""
    payload = {
        "data": {
            "ts": AGO - 9,
            "tags": {"DA:77": {"t": 1, "ts": AGO - 5}, "DA:78": {"t": 2}, "gw": {"t": 3, "ts": AGO}, "n": 4},
        }
    }
    form = {"name": "fields", "time": "/ts", "time_unit": "s", "readings": "/data/tags", "device_keys": "DA:*"}
    assert collect(payload, form)[0] == {("DA:77", "t"): [(1, 5)], ("DA:78", "t"): [(2, 9)]}


def test_devices_of_a_bluetooth_gateway() -> None:
    """Tasmota's Bluetooth sensors are devices, with the units of the message."""
    payload = {"MJ_HT_V1-1": {"t": 70.7, "Temperature": 70.7}, "Wifi": {"t": 5}, "TempUnit": "F"}
    form = {"name": "tasmota", "device_keys": ["MJ_*", "ATC*"]}
    quantities = {"t": {"unit": "Cel", "source": "Temperature", "interval_seconds": 1}}
    readings, _ = collect(payload, form, "tele/gw/SENSOR", "tele/+/SENSOR", quantities)
    assert readings == {("MJ_HT_V1-1", "t"): [(pytest.approx(21.5), 0)]}


def test_nested_devices() -> None:
    """A pattern with slashes names devices below the first level of a message."""
    payload = {"Time": "2026-03-01T11:00:00", "BLE": {"ATC1": {"t": 1}, "n": {"t": 2}}, "ATC9": {"t": 3}}
    readings, _ = collect(payload, {"name": "tasmota", "device_keys": "BLE/ATC*"}, "tele/gw/SENSOR", "tele/+/SENSOR")
    assert readings == {("ATC1", "t"): [(1, 0)]}


def test_components_that_are_devices() -> None:
    """Shelly's components of Bluetooth sensors are devices, each with its own time, in notifications and status."""
    form = {"name": "shelly", "device_keys": "bthomesensor:*"}
    quantities = {"t": {"unit": "Cel", "source": "value", "interval_seconds": 60}}
    sensors = {"bthomesensor:200": {"last_updated_ts": AGO - 9, "value": 5}, "bthomesensor:201": {"value": 6}}
    params = {"ts": AGO - 1, **sensors, "temperature:0": {"tC": 7}, "value": 8}
    payload = {"src": "g", "method": "NotifyFullStatus", "params": params}
    readings, _ = collect(payload, form, "g/events/rpc", "+/events/rpc", quantities)
    assert {name: values for name, values in readings.items() if name[0].startswith("bthome")} == {
        ("bthomesensor:200", "t"): [(5, 9)],
        ("bthomesensor:201", "t"): [(6, 1)],
    }
    status = sensors["bthomesensor:200"]
    readings, _ = collect(status, form, "g/status/bthomesensor:200", "+/status/+", quantities)
    assert readings == {("bthomesensor:200", "t"): [(5, 9)]}


HISTORY = [{"timestamp": AGO - 600, "t": 20}, {"timestamp": AGO - 1200, "t": "19"}]
UPLINKS = {
    "things_stack": lambda decoded: {
        "end_device_ids": {"device_id": "d"},
        "uplink_message": {"decoded_payload": decoded},
    },
    "chirpstack": lambda decoded: {"deviceInfo": {"devEui": "d"}, "object": decoded},
}


@pytest.mark.parametrize("form", UPLINKS)
def test_history_in_an_uplink(form) -> None:
    """Earlier readings have their own times, and the current ones theirs."""
    payload = UPLINKS[form]({"t": 21, "history": HISTORY})
    readings, decoded = collect(payload, {"name": form, "history": {"list": "history"}}, "x/up", "x/up")
    assert readings == {("d", "t"): [(20, 600), (19, 1200), (21, 0)]}
    assert not decoded.rejections


@pytest.mark.parametrize("form", UPLINKS)
def test_devices_in_an_uplink(form) -> None:
    """Members of a decoded payload may be devices, which may have earlier readings."""
    payload = UPLINKS[form]({"t": 1, "meters": {"m1": {"t": 2, "history": HISTORY[:1]}, "m2": {"t": 3}}})
    options = {"name": form, "device_keys": ["meters/*"], "history": {"list": "history"}}
    readings, decoded = collect(payload, options, "x/up", "x/up")
    assert readings == {("d", "t"): [(1, 0)], ("m1", "t"): [(20, 600), (2, 0)], ("m2", "t"): [(3, 0)]}
    assert not decoded.rejections


@pytest.mark.parametrize("form", UPLINKS)
def test_history_that_is_not_configured(form) -> None:
    """Earlier readings that no option reads are quarantined with the line to add, beside the current ones."""
    readings, decoded = collect(UPLINKS[form]({"t": 21, "log": HISTORY}), form, "x/up", "x/up")
    assert readings == {("d", "t"): [(21, 0)]}
    assert [(rejection.reason, rejection.readings) for rejection in decoded.rejections] == [
        (Reason.UNKNOWN_QUANTITY, 2)
    ]
    assert '"history": {"list": "log"}' in decoded.rejections[0].detail


@pytest.mark.parametrize("form", UPLINKS)
def test_history_that_is_ignored(form) -> None:
    """A list that is not meant can be ignored."""
    options = {"name": form, "ignore": ["lo*"]}
    _, decoded = collect(UPLINKS[form]({"t": 21, "log": HISTORY}), options, "x/up", "x/up")
    assert not decoded.rejections


FIELDS = {"name": "fields", "time": "/timestamp", "time_unit": "s", "device": "/id"}


def test_history_of_fields() -> None:
    """Earlier readings of an object are of its device, each with its own time."""
    payload = {"id": "d", "timestamp": AGO, "t": 21, "log": [*HISTORY, {"t": 5}]}
    readings, decoded = collect(payload, {**FIELDS, "history": "/log"})
    assert readings == {("d", "t"): [(20, 600), (19, 1200), (21, 0)]}
    assert [rejection.reason for rejection in decoded.rejections] == [Reason.MISSING_TIME]


def test_history_of_fields_that_is_not_configured() -> None:
    """Earlier readings that no option reads are quarantined, also where the message has one quantity."""
    payload = {"id": "d", "timestamp": AGO, "t": 21, "log": HISTORY}
    readings, decoded = collect(payload, FIELDS)
    assert readings == {("d", "t"): [(21, 0)]}
    assert [(rejection.reason, rejection.readings) for rejection in decoded.rejections] == [
        (Reason.UNKNOWN_QUANTITY, 2)
    ]
    assert not collect(payload, {**FIELDS, "ignore": "log"})[1].rejections


def test_quantities_that_are_ignored() -> None:
    """Quantities and objects that are not meant are counted as ignored, others are quarantined."""
    form = {"name": "fields", "time": None, "quantity": "/n", "device": "/d", "ignore": ["Serial", "fw_*"]}
    items = [{"d": "a", "n": name, "value": 1} for name in ("Serial", "fw_major", "t", "other")]
    readings, decoded = collect([*items, {"d": "a", "fw_minor": 3}], form)
    assert readings == {("a", "t"): [(1, 0)]}
    assert decoded.ignored == {IgnoredReason.IGNORED_BY_REGISTRY: 3}
    assert [(rejection.reason, rejection.readings) for rejection in decoded.rejections] == [
        (Reason.UNKNOWN_QUANTITY, 1)
    ]


@pytest.mark.parametrize("topic", ["x/gw", "other/topic"])
def test_topics_that_are_ignored(topic) -> None:
    """Messages on topics that are not meant are ignored, whether or not an entry covers them."""
    with pytest.raises(NoReadingError) as caught:
        collect({"t": 1}, FIELDS, topic, ignore=["x/gw", "other/#"])
    assert caught.value.reason is IgnoredReason.IGNORED_BY_REGISTRY


@pytest.mark.parametrize("names", [[""], [1], 5, {"a": 1}])
def test_names(names) -> None:
    """A list of names holds texts that are not empty."""
    with pytest.raises(ValidationError):
        FieldsFormat.model_validate({"ignore": names})


def event(**more: object) -> dict:
    """Return a notification of Shelly with one event."""
    return {
        "src": "g",
        "method": "NotifyEvent",
        "params": {"ts": AGO, "events": [{"component": "script:4", "event": "shelly-blu", "ts": AGO - 3, **more}]},
    }


def shelly(payload: object, source: str = "temperature") -> dict:
    """Return the readings in a notification of Shelly."""
    quantities = {"t": {"unit": "Cel", "source": source, "interval_seconds": 1}}
    return collect(payload, "shelly", "g/events/rpc", "{sensor}/events/rpc", quantities)[0]


@pytest.mark.parametrize("source", ["temperature", "script:4/temperature"])
def test_event_with_data(source) -> None:
    """An event with data of a Bluetooth sensor is data of that sensor, with the event's time."""
    payload = event(data={"temperature": 21.5, "address": "b4:35"})
    assert shelly(payload, source) == {("b4:35", "t"): [(21.5, 3)]}


def test_event_without_an_address() -> None:
    """Data without an address is the gateway's."""
    assert shelly(event(data={"temperature": 21.5})) == {("g", "t"): [(21.5, 3)]}


@pytest.mark.parametrize("more", [{}, {"data": None}, {"data": {}}, {"data": "single_push"}])
def test_event_without_data(more) -> None:
    """An event without data is no telemetry."""
    with pytest.raises(NoReadingError) as caught:
        shelly(event(**more))
    assert caught.value.reason is IgnoredReason.NOT_TELEMETRY


@pytest.mark.parametrize("member", ["last_updated_ts", "ts"])
def test_own_time_of_a_component(member) -> None:
    """A component's own time counts, and that of the notification for the others."""
    payload = {
        "method": "NotifyFullStatus",
        "params": {"ts": AGO, "bthomesensor:200": {member: AGO - 3600, "value": 5}, "temperature:0": {"tC": 7}},
    }
    assert shelly(payload, "bthomesensor:200/value") == {("g", "t"): [(5, 3600)]}
    assert shelly(payload, "temperature:0/tC") == {("g", "t"): [(7, 0)]}

"""Format zwave_js: the sample with its expected content, and the other payload types."""

import pytest
from fix_formats import holds, messages, names_of, read, sample, sent
from hypothesis import given
from hypothesis import strategies as st

from collector import units
from collector.formats import zwave_js
from collector.formats.measurement import Measurement, Topic
from collector.formats.zwave_js import ZwaveJsFormat
from collector.message import NoReadingError, UndecodableError

FORM = ZwaveJsFormat()
TOPIC = "zwave/hall/plug/meter/endpoint_0/value"
NAMES = {"area": "hall", "sensor": "plug", "#": "meter/endpoint_0/value"}


def test_sample():
    """Time and value: the topic below the node is the quantity, the time is in milliseconds, there is no unit."""
    names = {"area": "BackRoom", "sensor": "Multisensor", "#": "sensor_multilevel/endpoint_0/Air_temperature"}
    assert FORM.reader().read(sample("zwavejs_time_value"), Topic(names)) == [
        Measurement("sensor_multilevel/endpoint_0/Air_temperature", 83.2, 1_656_470_510_619_000)
    ]


VALUE_ID = {
    "id": "50-0-value-66049",
    "nodeId": 8,
    "commandClass": 50,
    "commandClassName": "Meter",
    "endpoint": 0,
    "property": "value",
    "propertyKey": 66049,
    "type": "number",
    "min": 0,
    "unit": "W",
    "value": 12.5,
    "lastUpdate": 1604044669393,
    "nodeName": "plug",
}
PAYLOADS = [
    ({"time": 1604044669393, "value": 12.5}, 12.5, 1_604_044_669_393_000, None),
    (
        {"time": 1604044669393, "value": 12.5, "nodeName": "plug", "nodeLocation": "hall"},
        12.5,
        1_604_044_669_393_000,
        None,
    ),
    ({"value": True}, True, None, None),
    (VALUE_ID, 12.5, 1_604_044_669_393_000, "W"),
    ({**VALUE_ID, "unit": "°F"}, 12.5, 1_604_044_669_393_000, "[degF]"),
    ({**VALUE_ID, "unit": "furlong"}, 12.5, 1_604_044_669_393_000, "furlong"),
    ({**VALUE_ID, "unit": ""}, 12.5, 1_604_044_669_393_000, None),
    (12.5, 12.5, None, None),
    (False, False, None, None),
    (b"locked", "locked", None, None),
    ("12.5", "12.5", None, None),
]


@pytest.mark.parametrize(("payload", "value", "time", "unit"), PAYLOADS)
def test_payload_types(payload, value, time, unit):
    """All three payload types have the same quantity; the entire object also has its unit."""
    assert read(FORM, TOPIC, payload, NAMES) == [Measurement("meter/endpoint_0/value", value, time, unit)]


def test_object_value():
    """Values that are objects or lists, such as durations and notifications, are one quantity per member."""
    payload = {"time": 1604044669393, "value": {"value": 5, "unit": "seconds", "gone": None}}
    assert sent(read(FORM, TOPIC, payload, NAMES)) == [
        ("", "meter/endpoint_0/value/value", 5, None),
        ("", "meter/endpoint_0/value/unit", "seconds", None),
    ]


@pytest.mark.parametrize(
    ("names", "quantity"), [({}, "value"), ({"quantity": "power"}, "power"), ({"sensor": "plug"}, "value")]
)
def test_quantity(names, quantity):
    """Without # in the pattern the quantity is {quantity}, else the topic's last level."""
    assert [measurement.quantity for measurement in read(FORM, TOPIC, 1, names)] == [quantity]


def test_unreadable_time():
    """An invalid time is a problem of the reading."""
    (measurement,) = read(FORM, TOPIC, {"time": "now", "value": 1}, NAMES)
    assert measurement.problem is not None


def test_unit_codes():
    """The codes of all units are UCUM's."""
    assert [units.check(code) for code in zwave_js._UNITS.values()]


SILENT = [
    ("zwave/hall/plug/status", {"time": 1, "value": True, "status": "Alive", "nodeId": 8}, {"#": "status"}),
    ("zwave/hall/plug/status", True, {"sensor": "plug"}),
    ("zwave/hall/plug/lastActive", {"time": 1, "value": 1}, {"#": "lastActive"}),
    ("zwave/hall/plug/nodeinfo", {"id": 8}, {"#": "nodeinfo"}),
    ("zwave/_CLIENTS/ZWAVE_GATEWAY-home/status", {"value": True}, {}),
    ("zwave/_CLIENTS/ZWAVE_GATEWAY-home/api/getNodes", {"success": True}, {}),
    ("zwave/_EVENTS/ZWAVE_GATEWAY-home/node/node_added", {"data": []}, {}),
    ("zwave/driver/status", True, {}),
    ("zwave/hall/plug/switch/endpoint_0/targetValue/set", True, {"#": "switch/endpoint_0/targetValue/set"}),
    (TOPIC, {"time": 1604044669393}, NAMES),
    (TOPIC, {"time": 1604044669393, "value": None}, NAMES),
    (TOPIC, {"time": 1604044669393, "value": {}}, NAMES),
    (TOPIC, b"", NAMES),
    (TOPIC, b"null", NAMES),
]


@pytest.mark.parametrize(("topic", "payload", "names"), SILENT)
def test_no_reading(topic, payload, names):
    """The gateway, the state of nodes, commands and unknown values have no reading."""
    with pytest.raises(NoReadingError):
        read(FORM, topic, payload, names)


def test_property_status():
    """A property named status is a reading like any other."""
    measurements = read(FORM, "zwave/hall/lock/door/endpoint_0/status", 1, {"#": "door/endpoint_0/status"})
    assert sent(measurements) == [("", "door/endpoint_0/status", 1, None)]


@pytest.mark.parametrize("payload", [b'{"time":16', b"\xff\xfe", b"a\x00b"])
def test_malformed(payload):
    """A payload that is neither JSON nor a state as text is malformed."""
    with pytest.raises(UndecodableError):
        read(FORM, TOPIC, payload, NAMES)


@given(st.data())
def test_fuzz(data):
    """For any message the reader returns measurements or raises one of the two errors of its contract."""
    members = ["time", "value", "unit", "lastUpdate", "commandClass", "property", "nodeName"]
    message = data.draw(messages(members, ["zwave", "hall", "plug", "status", "set"], ["zwavejs_time_value"]))
    holds(FORM, message, data.draw(names_of(message.topic)))

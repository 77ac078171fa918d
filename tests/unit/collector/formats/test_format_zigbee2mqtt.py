"""Format zigbee2mqtt: the samples with their expected content, and other messages of the family."""

import pytest
from fix_formats import holds, messages, names_of, read, sample, sent, values
from hypothesis import given
from hypothesis import strategies as st

from collector.formats.measurement import Topic
from collector.formats.zigbee2mqtt import Zigbee2mqttFormat
from collector.message import NoReadingError, Reason, UndecodableError

FORM = Zigbee2mqttFormat()

SAMPLES = {
    "zigbee2mqtt_wsdcgq01lm": {"temperature": 27.34, "humidity": 44.72},
    "zigbee2mqtt_rtcgq01lm_occupancy": {"occupancy": True},
    "zigbee2mqtt_led1545g12": {"state": "ON", "brightness": 215, "color_temp": 325},
    "zigbee2mqtt_real_plug_nested_update": {
        "linkquality": 54,
        "power_on_behavior": "previous",
        "state": "OFF",
        "update/installed_version": 537019939,
        "update/latest_version": 587765297,
        "update/state": "available",
    },
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples(name):
    """Each sample has its attributes, nested ones by their path, with the time of arrival."""
    measurements = FORM.reader().read(sample(name), Topic({"sensor": "x"}))
    assert values(measurements) == SAMPLES[name]
    assert {
        (measurement.time, measurement.unit, measurement.device, measurement.problem) for measurement in measurements
    } == {(None, None, "", None)}


@pytest.mark.parametrize("name", ["zigbee2mqtt_bridge_state", "zigbee2mqtt_device_interview_exposes_units"])
def test_bridge_samples(name):
    """Messages of the bridge about itself and about devices have no reading."""
    with pytest.raises(NoReadingError):
        FORM.reader().read(sample(name), Topic({"sensor": "bridge"}))


SILENT = [
    ("zigbee2mqtt/bridge/state", b'{"state":"online"}'),
    ("home/zigbee/bridge/devices", b"[]"),
    ("zigbee2mqtt/bridge/response/permit_join", b'{"data":{"value":true},"status":"ok"}'),
    ("zigbee2mqtt/lamp/availability", b"online"),
    ("zigbee2mqtt/kitchen/lamp/availability", b'{"state":"offline"}'),
    ("zigbee2mqtt/lamp/set", b'{"state":"ON"}'),
    ("zigbee2mqtt/lamp/set/state", b"ON"),
    ("zigbee2mqtt/lamp/get", b'{"state":""}'),
    ("zigbee2mqtt/lamp", b""),
    ("zigbee2mqtt/lamp", b'{"action":null}'),
    ("zigbee2mqtt/lamp", b'{"last_seen":"2026-07-01T10:00:00Z"}'),
]


@pytest.mark.parametrize(("topic", "payload"), SILENT)
def test_no_reading(topic, payload):
    """Bridge, availability, commands, deletions and messages of nulls have no reading and are no error."""
    with pytest.raises(NoReadingError):
        read(FORM, topic, payload, {"sensor": "lamp"})


def test_partial_update():
    """Missing members and null have no reading; the rest has."""
    payload = {"temperature": 21.5, "battery": None, "color": {"x": 0.3, "y": None}, "action": ""}
    assert values(read(FORM, "zigbee2mqtt/a", payload)) == {"temperature": 21.5, "color/x": 0.3, "action": ""}


@pytest.mark.parametrize("last_seen", ["2026-07-01T10:00:00.000Z", "2026-07-01T12:00:00+02:00", 1_782_900_000_000])
def test_last_seen(last_seen):
    """last_seen is the time of the readings in each of its three spellings, and is no reading itself."""
    (measurement,) = read(FORM, "zigbee2mqtt/a", {"temperature": 1, "last_seen": last_seen})
    assert (measurement.quantity, measurement.time, measurement.problem) == ("temperature", 1_782_900_000_000_000, None)


@pytest.mark.parametrize(
    ("last_seen", "reason"),
    [
        ("2026-07-01T10:00:00", Reason.TIME_WITHOUT_ZONE),
        ("N/A", Reason.UNREADABLE_TIME),
        (True, Reason.UNREADABLE_TIME),
    ],
)
def test_unusable_last_seen(last_seen, reason):
    """An invalid last_seen is a problem of the readings."""
    (measurement,) = read(FORM, "zigbee2mqtt/a", {"temperature": 1, "last_seen": last_seen})
    assert measurement.problem.reason is reason


def test_arrival():
    """With time: arrival, last_seen is ignored: switches and occupancy change without a message of the device."""
    (measurement,) = read(
        Zigbee2mqttFormat(time="arrival"), "zigbee2mqtt/a", {"occupancy": False, "last_seen": "never"}
    )
    assert (measurement.quantity, measurement.time, measurement.problem) == ("occupancy", None, None)


def test_device_information():
    """Members added by include_device_information have no reading."""
    payload = {"state": "ON", "device": {"friendlyName": "a", "networkAddress": 29159}}
    assert values(read(FORM, "zigbee2mqtt/a", payload)) == {"state": "ON"}


NAMES = [
    ({"sensor": "kitchen", "#": "lamp"}, "kitchen/lamp"),
    ({"#": "kitchen/lamp"}, "kitchen/lamp"),
    ({"sensor": "lamp"}, ""),
    ({"sensor": "kitchen/lamp"}, ""),
    ({"sensor": "lamp", "#": ""}, ""),
]


@pytest.mark.parametrize(("names", "device"), NAMES)
def test_friendly_names(names, device):
    """Friendly names with slashes are complete, with a :path placeholder or a pattern that ends in #."""
    assert sent(read(FORM, "zigbee2mqtt/kitchen/lamp", {"state": "ON"}, names)) == [(device, "state", "ON", None)]


ATTRIBUTES = [
    ({"sensor": "lamp", "#": "brightness"}, b"215", ("", "brightness", 215, None)),
    ({"sensor": "lamp", "#": "color-x"}, b"0.31", ("", "color-x", 0.31, None)),
    ({"sensor": "lamp", "quantity": "state"}, b"ON", ("", "state", "ON", None)),
    ({"sensor": "lamp", "#": "occupancy"}, b"true", ("", "occupancy", True, None)),
    ({"sensor": "lamp", "#": "color"}, b"1,2,3", ("", "color", "1,2,3", None)),
    ({"#": "state"}, b"ON", ("", "state", "ON", None)),
]


@pytest.mark.parametrize(("names", "payload", "expected"), ATTRIBUTES)
def test_attribute_output(names, payload, expected):
    """With output: attribute the topic names the quantity, and the payload is its value."""
    assert sent(read(FORM, "zigbee2mqtt/x/y", payload, names)) == [expected]


@pytest.mark.parametrize(
    ("names", "payload"),
    [
        ({"sensor": "lamp"}, b"ON"),
        ({"sensor": "lamp", "#": ""}, b"12"),
        ({"#": ""}, b"12"),
        ({"sensor": "lamp", "#": "x"}, b"[1]"),
        ({"sensor": "lamp"}, b'{"state"'),
        ({"sensor": "lamp", "#": "state"}, b"\xff"),
    ],
)
def test_malformed(names, payload):
    """A payload that is neither an object nor a named attribute is malformed."""
    with pytest.raises(UndecodableError):
        read(FORM, "zigbee2mqtt/lamp", payload, names)


@given(st.data())
def test_fuzz(data):
    """For any message the reader returns measurements or raises one of the two errors of its contract."""
    members = ["last_seen", "state", "device", "temperature", "color", "update"]
    levels = ["zigbee2mqtt", "bridge", "lamp", "set", "availability", "state"]
    message = data.draw(messages(members, levels, list(SAMPLES)))
    holds(FORM, message, data.draw(names_of(message.topic)))

"""Format thingsboard: the sample with its expected content, and the device API."""

import pytest
from fix_formats import holds, messages, names_of, read, sample
from hypothesis import given
from hypothesis import strategies as st

from collector.formats.measurement import Topic
from collector.formats.thingsboard import ThingsboardFormat
from collector.message import NoReadingError, Reason, UndecodableError

FORM = ThingsboardFormat()
DEVICE, GATEWAY = "v1/devices/me/telemetry", "v1/gateway/telemetry"
FIRST, SECOND = 1_483_228_800_000_000, 1_483_228_801_000_000


def plain(measurements):
    """Return device, quantity, value and time of each measurement."""
    return [
        (measurement.device, measurement.quantity, measurement.value, measurement.time) for measurement in measurements
    ]


def test_sample():
    """One message of a gateway has several devices, each with several instants."""
    assert plain(FORM.reader().read(sample("thingsboard_gateway_telemetry"), Topic())) == [
        ("Device A", "temperature", 42, FIRST),
        ("Device A", "humidity", 80, FIRST),
        ("Device A", "temperature", 43, SECOND),
        ("Device A", "humidity", 82, SECOND),
        ("Device B", "temperature", 42, FIRST),
        ("Device B", "humidity", 80, FIRST),
    ]


TELEMETRY = [
    (DEVICE, {"t": 1, "on": True, "s": "x"}, [("", "t", 1, None), ("", "on", True, None), ("", "s", "x", None)]),
    (DEVICE, {"ts": 1483228800000, "values": {"t": 1}}, [("", "t", 1, FIRST)]),
    (DEVICE, [{"t": 1}, {"h": 2}], [("", "t", 1, None), ("", "h", 2, None)]),
    (
        DEVICE,
        [{"ts": 1483228800000, "values": {"t": 1}}, {"ts": 1483228801000, "values": {"t": 2}}],
        [("", "t", 1, FIRST), ("", "t", 2, SECOND)],
    ),
    (DEVICE, {"ts": 1, "t": 2}, [("", "ts", 1, None), ("", "t", 2, None)]),
    (DEVICE, {"place": {"x": 1, "y": [2, None]}}, [("", "place/x", 1, None), ("", "place/y/0", 2, None)]),
    (DEVICE, {"t": "21.5"}, [("", "t", "21.5", None)]),
    (GATEWAY, {"A": [{"t": 1}]}, [("A", "t", 1, None)]),
    (GATEWAY, {"A": [{"values": {"t": 1}}]}, [("A", "t", 1, None)]),
    (GATEWAY, {"A": {"ts": 1483228800000, "values": {"t": 1}}}, [("A", "t", 1, FIRST)]),
    ("site/telemetry", {"A": [{"ts": 1483228800000, "values": {"t": 1}}]}, [("A", "t", 1, FIRST)]),
    ("site/telemetry", {"t": 1}, [("", "t", 1, None)]),
    (DEVICE, {"list": [{"values": {"t": 1}}]}, [("", "list/0/values/t", 1, None)]),
]


@pytest.mark.parametrize(("topic", "payload", "expected"), TELEMETRY)
def test_telemetry(topic, payload, expected):
    """Every form of telemetry is read; a gateway's is distinguished by topic, else by structure."""
    assert plain(read(FORM, topic, payload)) == expected


def test_bad_record():
    """An invalid record affects itself only, not the others of its message."""
    payload = {"A": [5, {"ts": 1483228800000, "values": 7}, {"ts": 1483228800000, "values": {"t": 1}}], "B": None}
    measurements = read(FORM, GATEWAY, payload)
    assert [
        measurement.device
        for measurement in measurements
        if measurement.problem and measurement.problem.reason is Reason.MALFORMED
    ] == ["A", "A", "B"]
    assert plain(measurement for measurement in measurements if measurement.problem is None) == [("A", "t", 1, FIRST)]


@pytest.mark.parametrize("ts", ["2017-01-01T00:00:00Z", True, [1]])
def test_unreadable_time(ts):
    """A time that is not a number of milliseconds is a problem of its values only."""
    bad, good = read(FORM, DEVICE, [{"ts": ts, "values": {"t": 1}}, {"ts": 1483228800000, "values": {"t": 2}}])
    assert bad.problem.reason is Reason.UNREADABLE_TIME
    assert (good.time, good.problem) == (FIRST, None)


SILENT = [
    ("v1/devices/me/attributes", {"firmware": "1.2"}),
    ("v1/devices/me/attributes/request/1", {"clientKeys": "a"}),
    ("v1/devices/me/rpc/response/7", {"on": True}),
    ("v1/gateway/attributes", {"A": {"x": 1}}),
    ("v1/gateway/connect", {"device": "A"}),
    ("v1/gateway/disconnect", {"device": "A"}),
    ("v1/gateway/rpc", {"device": "A", "id": 1, "data": {"success": True}}),
    ("v1/gateway/claim", {"A": {"secretKey": "x"}}),
    (DEVICE, {}),
    (DEVICE, []),
    (DEVICE, {"t": None}),
    (DEVICE, b""),
]


@pytest.mark.parametrize(("topic", "payload"), SILENT)
def test_no_reading(topic, payload):
    """Attributes, connections, calls and empty telemetry have no reading and are no error."""
    with pytest.raises(NoReadingError):
        read(FORM, topic, payload)


@pytest.mark.parametrize("payload", [b"{", b"online", b"\xff"])
def test_malformed(payload):
    """A payload that is not JSON is malformed as a whole."""
    with pytest.raises(UndecodableError):
        read(FORM, DEVICE, payload)


@given(st.data())
def test_fuzz(data):
    """For any message the reader returns measurements or raises one of the two errors of its contract."""
    levels = ["v1", "devices", "me", "gateway", "telemetry", "rpc"]
    message = data.draw(messages(["ts", "values", "A"], levels, ["thingsboard_gateway_telemetry"]))
    holds(FORM, message, data.draw(names_of(message.topic)))

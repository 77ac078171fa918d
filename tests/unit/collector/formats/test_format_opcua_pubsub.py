"""Format opcua_pubsub: the sample with its expected content, and the standard's other encodings."""

import gzip
import math

import pytest
from fix_formats import holds, messages, names_of, read, sample, values
from hypothesis import given
from hypothesis import strategies as st

from collector.formats.measurement import Topic
from collector.formats.opcua_pubsub import OpcuaPubsubFormat
from collector.message import NoReadingError, Reason, UndecodableError

FORM = OpcuaPubsubFormat()
BAD, UNCERTAIN = 2150694912, 1083179008
TIME = "2022-03-18T12:55:20.9313098Z"
AT = 1_647_608_120_931_309
"""TIME, cut to microseconds."""


def plain(measurements):
    """Return device, quantity, value and time of each measurement."""
    return [
        (measurement.device, measurement.quantity, measurement.value, measurement.time) for measurement in measurements
    ]


def test_sample():
    """A delta frame has its good values at their source's times; a status without a value is no reading."""
    measurements = FORM.reader().read(sample("opcua_pubsub_json_deltaframe", "opc/data"), Topic())
    assert plain(measurements) == [
        ("1000", "AlternatingBoolean", True, 1_647_608_120_931_309),
        ("1000", "StepUp", 23305, 1_647_608_121_331_353),
        ("1000", "RandomSignedInt32", 1076635612, 1_647_608_121_341_916),
        ("1000", "RandomUnsignedInt32", 1461169798, 1_647_608_121_341_972),
    ]
    assert {measurement.problem for measurement in measurements} == {None}


def network(payload, **members):
    """Return a network message with one data set message."""
    return {
        "MessageId": "1",
        "MessageType": "ua-data",
        "PublisherId": "plc",
        "Messages": [{"DataSetWriterId": 7, "MessageType": "ua-keyframe", "Payload": payload, **members}],
    }


def test_batch():
    """A list may have several network messages, each with several data sets."""
    network_message = network({"a": {"Value": 1, "SourceTimestamp": TIME}})
    network_message["Messages"] += network({"b": {"Value": 2}}, DataSetWriterName="line")["Messages"]
    assert plain(read(FORM, "t", [network_message, network({"c": 3})])) == [
        ("7", "a", 1, AT),
        ("line", "b", 2, None),
        ("7", "c", 3, None),
    ]


ENVELOPES = [
    ({"DataSetWriterId": 7, "Payload": {"a": 1}}, "7"),
    ([{"DataSetWriterName": "line", "Payload": {"a": {"Value": 1}}}], "line"),
    ({"PublisherId": "plc", "Messages": {"DataSetWriterId": 7, "Payload": {"a": 1}}}, "7"),
    ({"a": {"Value": 1}}, ""),
    ({"a": 1}, ""),
    ([{"a": 1}], ""),
]


@pytest.mark.parametrize(("payload", "device"), ENVELOPES)
def test_envelopes(payload, device):
    """Network header, data set header and DataValue are each optional."""
    assert plain(read(FORM, "t", payload)) == [(device, "a", 1, None)]


@pytest.mark.parametrize(("device", "expected"), [("writer", "7"), ("publisher", "plc"), (None, "")])
def test_device(device, expected):
    """The option device chooses the member that names the sensor."""
    assert [measurement.device for measurement in read(OpcuaPubsubFormat(device=device), "t", network({"a": 1}))] == [
        expected
    ]


TIMES = [
    ({"SourceTimestamp": TIME, "ServerTimestamp": "2000-01-01T00:00:00Z"}, AT),
    ({"ServerTimestamp": TIME}, AT),
    ({"SourceTimestamp": "0001-01-01T00:00:00Z", "ServerTimestamp": TIME}, AT),
    ({"SourceTimestamp": None}, 1_782_900_000_000_000),
    ({}, 1_782_900_000_000_000),
]


@pytest.mark.parametrize(("members", "time"), TIMES)
def test_time(members, time):
    """The source's time is used, else the server's, else the data set's; the standard's null time is no time."""
    (measurement,) = read(FORM, "t", network({"a": {"Value": 1, **members}}, Timestamp="2026-07-01T10:00:00Z"))
    assert (measurement.time, measurement.problem) == (time, None)


@pytest.mark.parametrize(
    ("time", "reason"), [("2026-07-01T10:00:00", Reason.TIME_WITHOUT_ZONE), (5, Reason.UNREADABLE_TIME)]
)
def test_unusable_time(time, reason):
    """An invalid time is a problem of its value; the other values are read."""
    bad, good = read(FORM, "t", network({"a": {"Value": 1, "SourceTimestamp": time}, "b": {"Value": 2}}))
    assert bad.problem.reason is reason
    assert good.problem is None


STATUSES = [
    (0, None),
    ({"Code": 0, "Symbol": "Good"}, None),
    ({}, None),
    ({"Symbol": "GoodClamped"}, None),
    ("Good", None),
    ({"Code": BAD, "Symbol": "BadNoCommunication"}, "BadNoCommunication"),
    (BAD, "2150694912"),
    (BAD - 2**32, "-2144272384"),
    ({"Symbol": "BadNoCommunication"}, "BadNoCommunication"),
    ("BadNoCommunication", "BadNoCommunication"),
    ({"Code": UNCERTAIN, "Symbol": "UncertainLastUsableValue"}, "UncertainLastUsableValue"),
    (UNCERTAIN, "1083179008"),
    ("Uncertain", "Uncertain"),
    (True, "True"),
]


@pytest.mark.parametrize(("status", "detail"), STATUSES)
@pytest.mark.parametrize("member", ["StatusCode", "Status"])
def test_quality(member, status, detail):
    """A value with bad or uncertain status is rejected, and the detail names the status."""
    (measurement,) = read(FORM, "t", network({"a": {"Value": 1, member: status}}))
    if detail is None:
        assert measurement.problem is None
    else:
        assert measurement.problem.reason is Reason.BAD_QUALITY
        assert detail in measurement.problem.detail


def test_uncertain():
    """With uncertain: keep, uncertain values are readings; bad ones are not."""
    form = OpcuaPubsubFormat(uncertain="keep")
    payload = network({"a": {"Value": 1, "StatusCode": UNCERTAIN}, "b": {"Value": 2, "StatusCode": BAD}})
    assert [measurement.problem is None for measurement in read(form, "t", payload)] == [True, False]


FIELDS = [
    ({"Value": "18446744073709551615"}, {"a": 18446744073709551615}),  # UInt64 is text by OPC 10000-6, 5.4.2.3
    ({"Value": "-5"}, {"a": -5}),
    ({"Value": "007"}, {"a": "007"}),
    ({"UaType": 12, "Value": "5"}, {"a": "5"}),
    ({"UaType": 8, "Value": "5"}, {"a": 5}),
    ({"Value": {"Type": 11, "Body": 21.5}}, {"a": 21.5}),
    ({"Value": {"Type": "String", "Body": "5"}}, {"a": "5"}),
    ({"Type": 9, "Body": "5"}, {"a": 5}),
    ({"Value": [1, "2", None]}, {"a/0": 1, "a/1": 2}),
    ({"Value": {"Low": 1, "High": {"x": 2}}}, {"a/Low": 1, "a/High/x": 2}),
    ({"Name": "Step 1", "Duration": 1000.0}, {"a/Name": "Step 1", "a/Duration": 1000.0}),
    ({"Value": "running"}, {"a": "running"}),
]


@pytest.mark.parametrize(("field", "expected"), FIELDS)
def test_fields(field, expected):
    """64-bit integers are text, variants have a type, arrays and structures are several quantities."""
    assert values(read(FORM, "t", network({"a": field}))) == expected


def test_not_finite():
    """NaN and the infinities are text in the message and become numbers that the rule rejects."""
    number_of = values(read(FORM, "t", network({"a": {"Value": "NaN"}, "b": {"Value": "-Infinity"}})))
    assert math.isnan(number_of["a"])
    assert number_of["b"] == -math.inf


SAMPLE = {
    "NodeId": "nsu=http://microsoft.com/Opc/OpcPlc/;s=StepUp",
    "EndpointUrl": "opc.tcp://opcplc:50000/",
    "Value": {"Value": 21713, "SourceTimestamp": TIME},
}


def test_samples_mode():
    """Mode Samples of OPC Publisher: one node per message; its display name, else its node id, is the quantity."""
    more = {"DisplayName": "StepUp", "ExtensionFields": {"PublisherId": "plc", "DataSetWriterId": "1000"}}
    assert plain(read(FORM, "t", [SAMPLE, {**SAMPLE, **more}])) == [
        ("", "nsu=http://microsoft.com/Opc/OpcPlc/;s=StepUp", 21713, AT),
        ("1000", "StepUp", 21713, AT),
    ]
    assert plain(read(OpcuaPubsubFormat(device="publisher"), "t", {**SAMPLE, **more})) == [("plc", "StepUp", 21713, AT)]


SILENT = [
    {"MessageType": "ua-metadata", "DataSetWriterId": 1, "MetaData": {"Fields": []}},
    {"MessageType": "ua-status", "PublisherId": "plc", "Status": 2},
    {"MessageType": "ua-data", "Messages": []},
    network(None, MessageType="ua-keepalive"),
    network({"EventId": "x", "Severity": 100}, MessageType="ua-event"),
    network({"EventId": "x", "Severity": 100}, MessageType="ua-condition"),
    network({"a": {"StatusCode": {"Code": BAD}, "SourceTimestamp": TIME}}),
    network({"a": None, "b": {"Value": None}}),
    {**SAMPLE, "Value": {"EventId": "x", "Message": "started"}},
    {**SAMPLE, "Value": {"StatusCode": BAD, "SourceTimestamp": TIME}},
    [],
    b"",
]


@pytest.mark.parametrize("payload", SILENT)
def test_no_reading(payload):
    """Metadata, keep-alive messages, events and statuses without values have no reading and are no error."""
    with pytest.raises(NoReadingError):
        read(FORM, "t", payload)


@pytest.mark.parametrize(
    "payload", [b"5", b'{"Messages":5}', b'{"Messages":[5]}', b'{"DataSetWriterId":1,"Payload":[1]}', b"{", b"\x00\xff"]
)
def test_malformed(payload):
    """A message that is not PubSub is malformed as a whole."""
    with pytest.raises(UndecodableError):
        read(FORM, "t", payload)


def test_compressed():
    """A compressed message is rejected with the setting to change."""
    with pytest.raises(UndecodableError, match="plain JSON"):
        read(FORM, "t", gzip.compress(b"{}"))


@given(st.data())
def test_fuzz(data):
    """For any message the reader returns measurements or raises one of the two errors of its contract."""
    members = ["Messages", "MessageType", "Payload", "DataSetWriterId", "PublisherId", "Timestamp", "NodeId", "Value"]
    members += ["StatusCode", "Code", "Symbol", "SourceTimestamp", "UaType", "Type", "Body", "ExtensionFields"]
    message = data.draw(messages(members, ["t"], ["opcua_pubsub_json_deltaframe"]))
    holds(FORM, message, data.draw(names_of(message.topic)))

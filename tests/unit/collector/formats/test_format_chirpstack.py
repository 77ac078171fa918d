"""Format chirpstack: a sample with its expected content, and other messages of versions 4 and 3."""

import pytest
from fix_formats import holds, messages, names_of, read, sample, sent, values
from hypothesis import given
from hypothesis import strategies as st

from collector.formats.chirpstack import ChirpstackFormat
from collector.formats.measurement import Topic
from collector.message import NoReadingError, Reason, UndecodableError

PLAIN = ChirpstackFormat()
DEVICE = "application/17c82e96-be03-4f38-aef3-f83d48582d97/device/0101010101010101/event"
EUI = "0101010101010101"
INFO = {"tenantId": "52f14cd4", "applicationId": "17c82e96", "deviceName": "Test device", "devEui": EUI}
TIME = "2022-07-18T09:34:15.775023242+00:00"


def up(**members) -> dict:
    """Return an uplink event of version 4 with ``members``."""
    rx = [{"gatewayId": "0016c001f153a14c", "rssi": -36, "snr": 10.5, "context": "E3OWOQ=="}]
    return {
        "deduplicationId": "3ac7e3c4",
        "time": TIME,
        "deviceInfo": INFO,
        "fPort": 1,
        "data": "qg==",
        "rxInfo": rx,
        **members,
    }


def test_status():
    """Margin in dB and battery in percent, at the server's time to the microsecond."""
    measurements = PLAIN.reader().read(sample("chirpstack_status"), Topic())
    assert sent(measurements) == [(EUI, "margin", 10, "dB"), (EUI, "batteryLevel", 88.3, "%")]
    assert [measurement.time for measurement in measurements] == [1658136906_927172] * 2


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, {"margin": 0, "batteryLevel": 0}),  # the JSON mapping of Protocol Buffers leaves out what is 0
        ({"margin": -3, "externalPowerSource": True}, {"margin": -3}),
        ({"margin": 7, "batteryLevelUnavailable": True, "batteryLevel": 0}, {"margin": 7}),
    ],
)
def test_status_without_values(members, expected):
    """The server omits a margin of 0; a missing or unknown battery has no level."""
    assert values(read(PLAIN, f"{DEVICE}/status", {"time": TIME, "deviceInfo": INFO, **members})) == expected


def test_up():
    """The members of the decoded object are quantities, joined by slashes."""
    decoded = {"temperatureSensor": {"1": 25}, "on": True, "state": "open", "list": [1.5, None]}
    measurements = read(PLAIN, f"{DEVICE}/up", up(object=decoded))
    assert sent(measurements) == [
        (EUI, "temperatureSensor/1", 25, None),
        (EUI, "on", True, None),
        (EUI, "state", "open", None),
        (EUI, "list/0", 1.5, None),
    ]
    assert {measurement.time for measurement in measurements} == {1658136855_775023}


def test_options():
    """Options: devices by name, and signal strengths."""
    form = ChirpstackFormat(device="name", radio=True)
    assert sent(read(form, f"{DEVICE}/up", up())) == [
        ("Test device", "rxInfo/0/rssi", -36, None),
        ("Test device", "rxInfo/0/snr", 10.5, "dB"),
    ]


@pytest.mark.parametrize(
    ("members", "device"),
    [
        ({"devEUI": "0202020202020202", "object": {"t": 1}}, "0202020202020202"),
        ({"devEUI": "AgICAgICAgI=", "objectJSON": '{"t":1}'}, "0202020202020202"),
    ],
)
def test_version_3(members, device):
    """In version 3 the device's members are at top level, the EUI is hexadecimal or base64, the object may be text."""
    rx = [{"gatewayID": "AwMDAwMDAwM=", "time": None, "rssi": -48, "loRaSNR": 9},
          {"gatewayID": "AwMDAwMDAwQ=", "time": "2019-11-08T13:59:25.048445Z", "rssi": -50}]  # fmt: skip
    event = {"applicationID": "123", "deviceName": "garden-sensor", "rxInfo": rx, **members}
    measurements = read(ChirpstackFormat(radio=True), "application/123/device/0202020202020202/event/up", event)
    assert sent(measurements) == [
        (device, "t", 1, None), (device, "rxInfo/0/rssi", -48, None), (device, "rxInfo/0/snr", 9, "dB"),
        (device, "rxInfo/1/rssi", -50, None),
    ]  # fmt: skip
    assert measurements[0].time == 1573221565_048445


def test_version_3_published():
    """The server's time is used before a gateway's; without both, the time of arrival."""
    event = {"devEUI": EUI, "object": {"t": 1}, "publishedAt": "2019-11-08T13:59:26Z", "rxInfo": [{"time": TIME}]}
    assert read(PLAIN, "a/up", event)[0].time == 1573221566_000000
    assert read(PLAIN, "a/up", {"devEUI": EUI, "object": {"t": 1}})[0].time is None


@pytest.mark.parametrize("event", ["join", "ack", "txack", "log", "location", "integration", "error"])
def test_other_events(event):
    """Events other than up and status have no reading."""
    with pytest.raises(NoReadingError, match=event):
        read(PLAIN, f"{DEVICE}/{event}", up(object={"t": 1}, location={"latitude": 37.3}))


def test_commands():
    """Messages to a device have no reading."""
    with pytest.raises(NoReadingError):
        read(PLAIN, f"application/1/device/{EUI}/command/down", {"devEui": EUI, "object": {"t": 1}})


@pytest.mark.parametrize("members", [{}, {"object": None}, {"object": {}}, {"objectJSON": ""}])
def test_without_object(members):
    """An uplink without a decoded object has no reading."""
    with pytest.raises(NoReadingError, match="codec"):
        read(PLAIN, f"{DEVICE}/up", up(**members))


@pytest.mark.parametrize("payload", [{}, {"deviceInfo": {}}, {"deviceInfo": {"devEui": 3}}, [], b"{", b"\x0a\x03abc"])
def test_malformed(payload):
    """A message that names no device is malformed; so is the Protocol Buffers encoding."""
    with pytest.raises(UndecodableError):
        read(PLAIN, f"{DEVICE}/up", payload)


def test_bad_time():
    """An unreadable time is a problem of each value; no other time is used."""
    measurements = read(PLAIN, f"{DEVICE}/up", up(time="now", object={"t": 1}))
    assert measurements[0].problem.reason is Reason.UNREADABLE_TIME


MEMBERS = ["deviceInfo", "devEui", "devEUI", "deviceName", "object", "objectJSON", "time", "publishedAt", "rxInfo",
           "rssi", "margin", "batteryLevel"]  # fmt: skip


@given(
    message=messages(MEMBERS, ["application", "up", "status", "event"], ["chirpstack_status"]),
    names=names_of(f"{DEVICE}/up"),
    form=st.builds(ChirpstackFormat, device=st.sampled_from(["eui", "name"]), radio=st.booleans()),
)
def test_anything(message, names, form):
    """For any message the reader returns measurements or raises one of the two errors of its contract."""
    holds(form, message, names)

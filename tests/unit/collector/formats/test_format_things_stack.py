"""Format things_stack: the samples with their expected content, and other messages of The Things Stack."""

import pytest
from fix_formats import holds, messages, names_of, read, sample, sent, values
from hypothesis import given
from hypothesis import strategies as st

from collector import units
from collector.formats import things_stack
from collector.formats.measurement import Topic
from collector.formats.things_stack import ThingsStackFormat
from collector.message import NoReadingError, Reason, UndecodableError

PLAIN = ThingsStackFormat()
UP = "v3/app1@tenant1/devices/dev1/up"
NETWORK = 1581520545_789585
"""uplink_message.received_at, in microseconds since 1970: 2020-02-12T15:15:45.789585559Z."""
APPLICATION = 1581520546_014773
"""received_at: 2020-02-12T15:15:46.014773143Z."""


def uplink(**members) -> dict:
    """Return the vendor's example of an uplink with its missing comma, and other ``members`` in its uplink_message."""
    return {
        "end_device_ids": {"device_id": "dev1", "application_ids": {"application_id": "app1"}},
        "received_at": "2020-02-12T15:15:46.014773143Z",
        "uplink_message": {
            "f_cnt": 1,
            "decoded_payload": {"temperature": 1.0, "luminosity": 0.64},
            "rx_metadata": [
                {"gateway_ids": {"gateway_id": "gtw1"}, "time": "2020-02-12T15:15:45.787Z", "rssi": -35,
                 "channel_rssi": -35, "snr": 5},
                {"gateway_ids": {"gateway_id": "gtw2"}, "rssi": -101},
            ],
            "settings": {"time": "2020-02-12T15:15:45.787Z"},
            "received_at": "2020-02-12T15:15:45.789585559Z",
            **members,
        },
    }  # fmt: skip


def test_without_decoded_payload():
    """An uplink without a decoded payload has no reading."""
    with pytest.raises(NoReadingError, match="payload formatter"):
        PLAIN.reader().read(sample("ttn_v3_uplink"), Topic())


def test_signals_without_decoded_payload():
    """Its signal strengths are still read with the option radio; without a time it has that of its arrival."""
    measurements = ThingsStackFormat(radio=True).reader().read(sample("ttn_v3_uplink"), Topic())
    assert sent(measurements) == [("dev1", "rx_metadata/0/rssi", -35, None), ("dev1", "rx_metadata/0/snr", 5, "dB")]
    assert measurements[0].time is None


def test_printed_without_a_comma():
    """The vendor's example lacks a comma: it is not JSON, and refused."""
    with pytest.raises(UndecodableError) as caught:
        PLAIN.reader().read(sample("ttn_v3_uplink_decoded_invalid_json"), Topic())
    assert caught.value.rejection.reason is Reason.MALFORMED


def test_the_example_with_its_comma():
    """With the comma it has two quantities of the device, at the time of the network server."""
    message = sample("ttn_v3_uplink_decoded_invalid_json")
    mended = message.payload.replace(b'}\n    "received_at"', b'},\n    "received_at"')
    measurements = PLAIN.reader().read(message._replace(payload=mended), Topic())
    assert sent(measurements) == [("dev1", "temperature", 1.0, None), ("dev1", "luminosity", 0.64, None)]
    assert [measurement.time for measurement in measurements] == [NETWORK, NETWORK]


@pytest.mark.parametrize(("option", "time"), [("network", NETWORK), ("application", APPLICATION), ("arrival", None)])
def test_clocks(option, time):
    """The option time chooses the clock; gateways' clocks are never used."""
    assert {measurement.time for measurement in read(ThingsStackFormat(time=option), UP, uplink())} == {time}


def test_clock_of_the_application_server():
    """Where the network server's time is missing, the application server's is used."""
    assert read(PLAIN, UP, uplink(received_at=None))[0].time == APPLICATION


def test_nested():
    """Members of objects and lists are joined by slashes; null is skipped; warnings are no readings."""
    payload = {"env": {"t": [20.5, 21], "door": "open"}, "ok": False, "none": None}
    measurements = read(PLAIN, UP, uplink(decoded_payload=payload, decoded_payload_warnings=["old firmware"]))
    assert values(measurements) == {"env/t/0": 20.5, "env/t/1": 21, "env/door": "open", "ok": False}


def test_radio():
    """Signal strengths are read with the option radio; missing ones, which may be 0, are not invented."""
    rows = sent(read(ThingsStackFormat(radio=True), UP, uplink()))
    assert rows[2:] == [
        ("dev1", "rx_metadata/0/rssi", -35, None),
        ("dev1", "rx_metadata/0/channel_rssi", -35, None),
        ("dev1", "rx_metadata/0/snr", 5, "dB"),
        ("dev1", "rx_metadata/1/rssi", -101, None),
    ]


def test_normalized():
    """The normalized payload has fixed units, and a time for each of its objects."""
    payload = [
        {"time": "2020-02-12T15:10:00Z", "air": {"temperature": 21.5, "location": "indoor"}},
        {"air": {"relativeHumidity": 40}, "battery": 3.3, "other": 1},
    ]
    measurements = read(ThingsStackFormat(payload="normalized"), UP, uplink(normalized_payload=payload))
    assert sent(measurements) == [
        ("dev1", "air/temperature", 21.5, "Cel"), ("dev1", "air/location", "indoor", None),
        ("dev1", "air/relativeHumidity", 40, "%"), ("dev1", "battery", 3.3, "V"), ("dev1", "other", 1, None),
    ]  # fmt: skip
    assert [measurement.time for measurement in measurements] == [1581520200_000000] * 2 + [NETWORK] * 3


def test_simulated():
    """An uplink that the console simulates is read like any other."""
    assert values(read(PLAIN, UP, {**uplink(), "simulated": True})) == {"temperature": 1.0, "luminosity": 0.64}


@pytest.mark.parametrize(
    "event",
    ["join_accept", "downlink_ack", "downlink_nack", "downlink_sent", "downlink_failed", "downlink_queued",
     "downlink_queue_invalidated", "location_solved", "service_data", "uplink_normalized"],
)  # fmt: skip
def test_other_events(event):
    """Events other than uplinks have no reading."""
    with pytest.raises(NoReadingError, match=event):
        read(PLAIN, "v3/app1/devices/dev1/down/ack", {"end_device_ids": {"device_id": "dev1"}, event: {"f_cnt": 1}})


def test_downlinks():
    """Messages of an application to a device have no reading."""
    with pytest.raises(NoReadingError):
        read(PLAIN, "v3/app1/devices/dev1/down/push", {"downlinks": [{"f_port": 15, "decoded_payload": {"a": 1}}]})


@pytest.mark.parametrize("payload", [{}, {"uplink_message": 3}, [], 1, b"x"])
def test_malformed(payload):
    """A message that is no event is refused."""
    with pytest.raises(UndecodableError):
        read(PLAIN, UP, payload)


def test_bad_time():
    """An unreadable time is a problem of each value; no other time is used."""
    measurements = read(PLAIN, UP, uplink(received_at="yesterday"))
    assert [measurement.problem.reason for measurement in measurements] == [Reason.UNREADABLE_TIME] * 2


def test_units():
    """The units of the normalized payload are UCUM codes."""
    for unit in things_stack._NORMALIZED_UNITS.values():
        assert units.check(unit)


MEMBERS = ["uplink_message", "end_device_ids", "device_id", "received_at", "decoded_payload", "normalized_payload",
           "time", "rx_metadata", "rssi", "snr", "join_accept"]  # fmt: skip


@given(
    message=messages(MEMBERS, ["v3", "up"], ["ttn_v3_uplink", "ttn_v3_uplink_decoded_invalid_json"]),
    names=names_of(UP),
    form=st.builds(
        ThingsStackFormat,
        payload=st.sampled_from(["decoded", "normalized"]),
        time=st.sampled_from(["network", "application", "arrival"]),
        radio=st.booleans(),
    ),
)
def test_anything(message, names, form):
    """For any message the reader returns measurements or raises one of the two errors of its contract."""
    holds(form, message, names)

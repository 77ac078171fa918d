"""Format shelly: the samples with their expected content, and other messages of the family."""

import pytest
from fix_formats import holds, messages, names_of, read, sample, sent, values
from hypothesis import given
from hypothesis import strategies as st

from collector.formats.measurement import Topic
from collector.formats.shelly import ShellyFormat
from collector.message import NoReadingError, UndecodableError

BOTH = ShellyFormat()

STATUS = {
    "shelly_gen2_status_switch0": [
        ("", "switch:0/id", 0, None),
        ("", "switch:0/source", "init", None),
        ("", "switch:0/output", False, None),
        ("", "switch:0/apower", 0.0, None),
        ("", "switch:0/voltage", 232.7, None),
        ("", "switch:0/current", 0.0, None),
        ("", "switch:0/aenergy/total", 0.0, None),
        ("", "switch:0/aenergy/by_minute/0", 0.0, None),
        ("", "switch:0/aenergy/by_minute/1", 0.0, None),
        ("", "switch:0/aenergy/by_minute/2", 0.0, None),
        ("", "switch:0/aenergy/minute_ts", 1661517385, None),
        ("", "switch:0/temperature/tC", 39.2, "Cel"),
        ("", "switch:0/temperature/tF", 102.5, "[degF]"),
    ],
    "shelly_ht_status_humidity0": [("", "humidity:0/id", 0, None), ("", "humidity:0/rh", 57.0, None)],
}


@pytest.mark.parametrize("name", STATUS)
def test_status(name):
    """A component's status names its quantities by the component in its topic, and has no time."""
    measurements = BOTH.reader().read(sample(name), Topic())
    assert sent(measurements) == STATUS[name]
    assert {(measurement.time, measurement.problem) for measurement in measurements} == {(None, None)}


def test_partial():
    """A notification has only the changed members, with its time, and the quantities of the component's status."""
    measurements = BOTH.reader().read(sample("shelly_gen2_notifystatus_partial"), Topic())
    assert sent(measurements) == [("", "switch:0/id", 0, None), ("", "switch:0/voltage", 232.7, None)]
    assert {measurement.time for measurement in measurements} == {1_661_517_385_440_000}


def test_full_status():
    """A full notification has every component; empty ones have no reading."""
    measurements = BOTH.reader().read(sample("shelly_gen2_notifyfullstatus"), Topic())
    assert {measurement.time for measurement in measurements} == {1_736_604_018_380_000}
    assert values(measurements) == {
        "cloud/connected": True,
        "input:0/id": 0,
        "input:0/state": False,
        "mqtt/connected": True,
        "switch:0/id": 0,
        "switch:0/source": "SHC",
        "switch:0/output": True,
        "switch:0/temperature/tC": 48.4,
        "switch:0/temperature/tF": 119.2,
        "sys/mac": "08B61FD141E8",
        "sys/restart_required": False,
        "sys/time": "15:00",
        "sys/unixtime": 1736604018,
        "sys/uptime": 658773,
        "sys/ram_size": 268520,
        "sys/ram_free": 110248,
        "sys/fs_size": 393216,
        "sys/fs_free": 106496,
        "sys/cfg_rev": 13,
        "sys/kvs_rev": 0,
        "sys/schedule_rev": 1,
        "sys/webhook_rev": 0,
        "sys/available_updates/beta/version": "1.5.0-beta1",
        "sys/reset_reason": 3,
        "wifi/sta_ip": "192.168.1.76",
        "wifi/status": "got ip",
        "wifi/ssid": "Linksys_7A50",
        "wifi/rssi": -58,
        "wifi/ap_client_count": 0,
        "ws/connected": False,
    }


def test_empty_status():
    """A component without values has no reading and is no error."""
    with pytest.raises(NoReadingError):
        BOTH.reader().read(sample("shelly_ht_status_ble_empty"), Topic())


def test_generation_1_value():
    """A bare value of generation 1 is the quantity that its topic names below the device."""
    message = sample("shelly_gen1_em3_voltage")
    measurements = BOTH.reader().read(message, Topic({"sensor": "shellyem3", "#": "emeter/0/voltage"}))
    assert sent(measurements) == [("", "emeter/0/voltage", 230.35, None)]


def test_generation_1_info():
    """The info of a device whose clock was never set has the time of arrival."""
    measurements = BOTH.reader().read(sample("shelly_gen1_info"), Topic())
    assert {(measurement.time, measurement.problem) for measurement in measurements} == {(None, None)}
    held = values(measurements)
    assert held["relays/0/ison"] is False
    assert held["meters/0/power"] == 0.0
    assert held["wifi_sta/rssi"] == -59
    assert held["uptime"] == 1
    assert "unixtime" not in held


def test_generation_1_info_time():
    """Once the clock is set, the info's unixtime is the time of the readings."""
    (measurement,) = read(BOTH, "shellies/a/info", {"unixtime": 1_782_900_000, "uptime": 5})
    assert (measurement.quantity, measurement.time) == ("uptime", 1_782_900_000_000_000)


def test_invalid_meter():
    """A meter that is marked as not valid has no reading, and the other meters keep their index."""
    payload = {
        "meters": [{"power": 5.0, "is_valid": False}, {"power": 6.0, "is_valid": True}],
        "tmp": {"tC": 0.0, "tF": 32.0, "is_valid": False},
    }
    assert values(read(BOTH, "shellies/a/info", payload)) == {"meters/1/power": 6.0, "meters/1/is_valid": True}


GENERATION_1 = [
    ("relay/0", b"on", {"relay/0": "on"}),
    ("relay/0/power", b"12.5", {"relay/0/power": 12.5}),
    ("input/0", b"1", {"input/0": 1}),
    ("sensor/motion", b"true", {"sensor/motion": True}),
    (
        "light/0/status",
        b'{"ison":true,"brightness":40}',
        {"light/0/status/ison": True, "light/0/status/brightness": 40},
    ),
]


@pytest.mark.parametrize(("below", "payload", "expected"), GENERATION_1)
def test_generation_1(below, payload, expected):
    """Topics of generation 1 name the quantity, with a bare payload or an object."""
    assert values(read(BOTH, f"shellies/a/{below}", payload, {"sensor": "a", "#": below})) == expected


def test_null():
    """Members that a device can't measure are null and are skipped, also whole components."""
    payload = {
        "method": "NotifyStatus",
        "params": {"ts": None, "switch:0": None, "temperature:0": {"tC": None, "id": 0}},
    }
    measurements = read(BOTH, "a/events/rpc", payload)
    assert [(measurement.quantity, measurement.time) for measurement in measurements] == [("temperature:0/id", None)]


def test_clock_not_set():
    """A device whose clock is not set counts from its start: the time of arrival is used."""
    (measurement,) = read(
        BOTH, "a/events/rpc", {"method": "NotifyStatus", "params": {"ts": 12.5, "wifi": {"rssi": -60}}}
    )
    assert (measurement.time, measurement.problem) == (None, None)


def test_unreadable_time():
    """An invalid time is a problem of the readings."""
    (measurement,) = read(
        BOTH, "a/events/rpc", {"method": "NotifyStatus", "params": {"ts": "now", "wifi": {"rssi": -60}}}
    )
    assert measurement.problem is not None


def test_only():
    """With the option only, a change that is published on two topics is read from one."""
    rpc, status = sample("shelly_gen2_notifystatus_partial"), sample("shelly_gen2_status_switch0")
    with pytest.raises(NoReadingError):
        ShellyFormat(only="rpc").reader().read(status, Topic())
    with pytest.raises(NoReadingError):
        ShellyFormat(only="status").reader().read(rpc, Topic())
    assert ShellyFormat(only="rpc").reader().read(rpc, Topic())
    assert ShellyFormat(only="status").reader().read(status, Topic())


SILENT = [
    ("a/online", b"true"),
    ("a/rpc", b'{"id":1,"src":"user","method":"Switch.Set","params":{"id":0,"on":true}}'),
    ("user/rpc", b'{"id":1,"src":"a","dst":"user","result":{"output":true}}'),
    ("a/command/switch:0", b"on"),
    (
        "a/events/rpc",
        b'{"method":"NotifyEvent","params":{"ts":1.5,"events":[{"component":"input:0","event":"single_push"}]}}',
    ),
    ("shellies/announce", b'{"id":"shelly1-AABBCC","model":"SHSW-1"}'),
    ("shellies/a/announce", b'{"id":"shelly1-AABBCC","model":"SHSW-1"}'),
    ("shellies/a/input_event/0", b'{"event":"S","event_cnt":2}'),
    ("shellies/a/relay/0/command", b"on"),
    ("shellies/command", b"announce"),
    ("a/status/switch:0", b""),
    ("a/status/switch:0", b"null"),
]


@pytest.mark.parametrize(("topic", "payload"), SILENT)
def test_no_reading(topic, payload):
    """Presence, commands, their replies and button events have no reading and are no error."""
    with pytest.raises(NoReadingError):
        read(BOTH, topic, payload)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("a/events/rpc", b"online"),
        ("a/events/rpc", b'{"method":"NotifyStatus"}'),
        ("a/status/switch:0", b"12"),
        ("shellies/a/info", b'{"relays":['),
        ("shellies/a/x", b"[1]"),
    ],
)
def test_malformed(topic, payload):
    """A message without the structure of Shelly's messages is malformed."""
    with pytest.raises(UndecodableError):
        read(BOTH, topic, payload)


@given(st.data())
def test_fuzz(data):
    """For any message the reader returns measurements or raises one of the two errors of its contract."""
    members = ["method", "params", "ts", "switch:0", "unixtime", "meters", "is_valid", "tC"]
    levels = ["shellies", "a", "events", "rpc", "status", "switch:0", "info", "relay"]
    samples = [*STATUS, "shelly_gen2_notifyfullstatus", "shelly_gen1_info"]
    message = data.draw(messages(members, levels, samples))
    holds(BOTH, message, data.draw(names_of(message.topic)))

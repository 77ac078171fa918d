"""Format tasmota: the samples with their expected content, and other messages of the family."""

import pytest
from fix_formats import holds, messages, names_of, read, sample, sent, values
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from collector import units
from collector.formats import tasmota
from collector.formats.measurement import Topic
from collector.formats.tasmota import TasmotaFormat
from collector.message import NoReadingError, Reason, UndecodableError

PLAIN = TasmotaFormat()
BERLIN = TasmotaFormat(timezone="Europe/Berlin")

SAMPLES = {
    "tasmota_am2301_sensor": [("", "AM2301/Temperature", 24.6, "Cel"), ("", "AM2301/Humidity", 58.2, None)],
    "tasmota_bme280_sensor": [
        ("", "BME280/Temperature", 21.7, "Cel"),
        ("", "BME280/Humidity", 66.6, None),
        ("", "BME280/Pressure", 988.6, "hPa"),
    ],
    "tasmota_energy_pow_r2": [
        ("", "ENERGY/TotalStartTime", "2018-11-14T18:39:40", None),
        ("", "ENERGY/Total", 6.294, None),
        ("", "ENERGY/Yesterday", 5.34, None),
        ("", "ENERGY/Today", 0.954, None),
        ("", "ENERGY/Period", 217, None),
        ("", "ENERGY/Power", 2635, None),
        ("", "ENERGY/ApparentPower", 2650, None),
        ("", "ENERGY/ReactivePower", 282, None),
        ("", "ENERGY/Factor", 0.99, None),
        ("", "ENERGY/Voltage", 227, None),
        ("", "ENERGY/Current", 11.661, None),
    ],
    "tasmota_status_bmp280_no_unit": [
        ("", "BMP280/Temperature", 80.9, None),  # no TempUnit: nothing says that these are not °C, nor that they are
        ("", "BMP280/Pressure", 984.4, None),
    ],
    "tasmota_zigbee_bridge": [
        ("0x5ADF", "Dimmer", 254, None),
        ("0x5ADF", "Endpoint", 1, None),
        ("0x5ADF", "LinkQuality", 70, None),
    ],
    "tasmota_deepsleep_state": [
        ("", "Uptime", "0T00:00:13", None),
        ("", "UptimeSec", 13, None),
        ("", "Heap", 28, None),
        ("", "SleepMode", "Dynamic", None),
        ("", "Sleep", 50, None),
        ("", "LoadAvg", 19, None),
        ("", "MqttCount", 1, None),
        ("", "POWER", "ON", None),
        ("", "Wifi/AP", 1, None),
        ("", "Wifi/SSId", "DEMOAP", None),
        ("", "Wifi/BSSId", "XX:XX:XX:XX:XX:XX", None),
        ("", "Wifi/Channel", 1, None),
        ("", "Wifi/Mode", "11n", None),
        ("", "Wifi/RSSI", 86, None),
        ("", "Wifi/Signal", -57, None),
        ("", "Wifi/LinkCount", 1, None),
        ("", "Wifi/Downtime", "0T00:00:07", None),
    ],
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples(name):
    """Each sample has the values of its device, with the units in the message."""
    message = sample(name, "stat/bmp/STATUS8")
    assert sent(PLAIN.reader().read(message, Topic())) == SAMPLES[name]


def test_custom_full_topic():
    """The prefix may be anywhere in the topic: a teleinfo meter's counters, texts and chip temperature."""
    measurements = PLAIN.reader().read(sample("tasmota_teleinfo_custom_fulltopic"), Topic())
    assert {
        name: value for name, value in values(measurements).items() if name in ("ENERGY/Total", "TIC/HCHP", "TIC/PTEC")
    } == {
        "ENERGY/Total": 9098.245,
        "TIC/HCHP": 2275560,
        "TIC/PTEC": "HP..",
    }
    assert ("", "ESP32/Temperature", 36.1, "Cel") in sent(measurements)
    assert len(measurements) == 8 + 11 + 1


TIMES = [
    (PLAIN, {"Time": "2026-07-01T12:00:00"}, None),
    (PLAIN, {"Time": "2026-07-01T12:00:00+02:00"}, 1_782_900_000_000_000),
    (PLAIN, {"Time": "2026-07-01T10:00:00Z"}, 1_782_900_000_000_000),
    (PLAIN, {"Time": "2026-07-01T12:00:00", "Epoch": 1_782_900_000}, 1_782_900_000_000_000),
    (PLAIN, {"Epoch": 1_782_900_000}, 1_782_900_000_000_000),
    (PLAIN, {}, None),
    (BERLIN, {"Time": "2026-07-01T12:00:00"}, 1_782_900_000_000_000),
    (BERLIN, {"Time": "2026-07-01T12:00:00.250"}, 1_782_900_000_250_000),
    (BERLIN, {"Time": "2026-01-01T12:00:00"}, 1_767_265_200_000_000),
    (BERLIN, {"Time": "2026.07.01 12:00:00"}, 1_782_900_000_000_000),
    (BERLIN, {"Time": "2026-07-01T12:00:00+00:00"}, 1_782_907_200_000_000),
    (BERLIN, {"Time": "1970-01-01T00:00:12"}, None),
    (PLAIN, {"Epoch": 12}, None),
]


@pytest.mark.parametrize(("form", "members", "time"), TIMES)
def test_time(form, members, time):
    """Time is used with its offset, with Epoch, or in the option's zone; a clock that was never set is ignored."""
    (measurement,) = read(form, "tele/a/SENSOR", {**members, "ANALOG": {"A0": 1}})
    assert (measurement.time, measurement.problem) == (time, None)


def test_unreadable_time():
    """An unreadable Time is a problem of the readings where it should be used."""
    (measurement,) = read(BERLIN, "tele/a/SENSOR", {"Time": "noon", "ANALOG": {"A0": 1}})
    assert measurement.time is None
    assert measurement.problem.reason is Reason.UNREADABLE_TIME


UNITS = [
    ({"SHT3X": {"Temperature": 74.8, "DewPoint": 50.1}, "TempUnit": "F"}, {"[degF]"}),
    ({"BME280": {"SeaPressure": 760.1}, "PressureUnit": "mmHg"}, {"mm[Hg]"}),
    ({"BME280": {"Pressure": 29.9}, "PressureUnit": "inHg"}, {"[in_i'Hg]"}),
    ({"TX23": {"Speed": {"Act": 14.8, "Avg": 8.5}}, "SpeedUnit": "km/h"}, {"km/h"}),
    ({"TX23": {"Speed": {"Act": 14.8}}, "SpeedUnit": "kn"}, {"[kn_i]"}),
    ({"TX23": {"Dir": {"Deg": 247.5}}, "SpeedUnit": "km/h"}, {None}),
    ({"ANALOG": {"Temperature1": 20.1}, "TempUnit": "C"}, {"Cel"}),
    ({"MAX31855": {"ProbeTemperature": 20.1}, "TempUnit": "C"}, {"Cel"}),
    ({"X": {"Temperature": [1.5, 2.5]}, "TempUnit": "C"}, {"Cel"}),
    ({"AM2301": {"Temperature": 20.1}, "TempUnit": "Rankine"}, {"Rankine"}),
    ({"AM2301": {"Temperature": 20.1}, "TempUnit": 1}, {None}),
]


@pytest.mark.parametrize(("payload", "expected"), UNITS)
def test_units(payload, expected):
    """The message's units apply to their quantities, as UCUM codes, or as they are where none is known."""
    assert {measurement.unit for measurement in read(PLAIN, "tele/a/SENSOR", payload)} == expected


def test_unit_codes():
    """The codes of all units are UCUM's."""
    assert [units.check(code) for codes in tasmota._UNITS.values() for code in codes.values()]


def test_phases():
    """Meters with several phases send arrays: one quantity per phase."""
    payload = {"ENERGY": {"Total": 3.1, "Power": [10, 20, 30]}}
    expected = {"ENERGY/Total": 3.1, "ENERGY/Power/0": 10, "ENERGY/Power/1": 20, "ENERGY/Power/2": 30}
    assert values(read(PLAIN, "tele/a/SENSOR", payload)) == expected


def test_several_sensors():
    """One message has all sensors of a device, each under its name."""
    payload = {"DS18B20-1": {"Id": "00000566CC39", "Temperature": 13.3}, "DS18B20-2": {"Temperature": 1.2}, "A": None}
    expected = {"DS18B20-1/Id": "00000566CC39", "DS18B20-1/Temperature": 13.3, "DS18B20-2/Temperature": 1.2}
    assert values(read(PLAIN, "tele/a/SENSOR", payload)) == expected


RELAYS = [
    ("stat/a/RESULT", b'{"POWER":"ON"}', {"POWER": "ON"}),
    ("stat/a/RESULT", b'{"POWER2":"OFF"}', {"POWER2": "OFF"}),
    ("stat/a/POWER", b"ON", {"POWER": "ON"}),
    ("stat/a/POWER", b'{"POWER":"OFF"}', {"POWER": "OFF"}),
    ("tele/a/POWER_LOW", b"ON", {"POWER_LOW": "ON"}),
    (
        "a/stat/STATUS11",
        b'{"StatusSTS":{"Time":"2026-01-01T00:00:00","POWER":"ON","Vcc":3.1}}',
        {"POWER": "ON", "Vcc": 3.1},
    ),
    ("a/stat/STATUS10", b'{"StatusSNS":{"Switch1":"OFF"}}', {"Switch1": "OFF"}),
    ("a/stat/STATUS", b'{"Status":{"Power":0},"StatusSNS":{"A":1},"StatusSTS":{"B":2}}', {"A": 1, "B": 2}),
]


@pytest.mark.parametrize(("topic", "payload", "expected"), RELAYS)
def test_states(topic, payload, expected):
    """Relays and switches are states as text, in every kind of message."""
    assert values(read(PLAIN, topic, payload)) == expected


ZIGBEE = [
    ("SENSOR", {"ZbReceived": {"0x2916": {"Device": "0x2916", "Name": "Hall", "Temperature": 26.3}}}, "Hall"),
    ("SENSOR", {"ZbReceived": {"0x2916": {"Device": "0x2916", "Temperature": 26.3}}}, "0x2916"),
    ("SENSOR", {"ZbReceived": {"Hall": {"Device": "0x2916", "Temperature": 26.3}}}, "Hall"),
    ("RESULT", {"ZbReceived": {"0x2916": {"Temperature": 26.3}}}, "0x2916"),
    ("SENSOR", {"ZbReceived": {"Name": "Hall", "Temperature": 26.3}}, "Hall"),
    ("SENSOR", {"ZbReceived": {"Temperature": 26.3}}, ""),
    ("ZbReceived", {"0x2916": {"Device": "0x2916", "Name": "Hall", "Temperature": 26.3}}, "Hall"),
    ("ZBRECEIVED", {"Name": "Hall", "Temperature": 26.3}, "Hall"),
    ("SENSOR", {"LwDecoded": {"0x1234": {"Name": "Hall", "Temperature": 26.3}}}, "Hall"),
]


@pytest.mark.parametrize(("kind", "payload", "device"), ZIGBEE)
def test_zigbee(kind, payload, device):
    """Behind a bridge the device is its friendly name, else its short address, with any options."""
    assert sent(read(PLAIN, f"tele/bridge/{kind}", payload)) == [(device, "Temperature", 26.3, None)]


def test_zigbee_time():
    """With SetOption144 the message of a bridge has a time."""
    payload = {"Time": "2026-07-01T12:00:00+02:00", "ZbReceived": {"0x2916": {"Temperature": 26.3}}}
    assert [measurement.time for measurement in read(PLAIN, "tele/bridge/SENSOR", payload)] == [1_782_900_000_000_000]


def test_zigbee_without_prefix():
    """With SetOption100 devices are members of the message and are distinguished from the bridge's sensors."""
    payload = {"0x8F20": {"Name": "Kitchen", "Pressure": 1004.04, "PressureUnit": "hPa", "LinkQuality": 88}, "A": 1}
    assert sent(read(PLAIN, "tele/bridge/SENSOR", payload)) == [
        ("Kitchen", "Pressure", 1004.04, "hPa"),
        ("Kitchen", "LinkQuality", 88, None),
        ("", "A", 1, None),
    ]


SILENT = [
    ("tele/a/LWT", b"Online"),
    ("tele/a/INFO1", b'{"Info1":{"Module":"Generic","Version":"14.1.0"}}'),
    ("cmnd/a/POWER", b"TOGGLE"),
    ("home/cmnd/a/TelePeriod", b"10"),
    ("stat/a/STATUS5", b'{"StatusNET":{"Hostname":"a"}}'),
    ("tasmota/discovery/AABBCCDDEEFF/sensors", b'{"sn":{"AM2301":{"Temperature":1}},"ver":1}'),
    ("tele/a/SENSOR", b'{"Time":"2026-01-01T00:00:00"}'),
    ("tele/a/SENSOR", b""),
    ("stat/a/POWER", b"null"),
]


@pytest.mark.parametrize(("topic", "payload"), SILENT)
def test_no_reading(topic, payload):
    """Presence, start-up, commands, settings and discovery have no reading and are no error."""
    with pytest.raises(NoReadingError):
        read(PLAIN, topic, payload)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("tele/a/SENSOR", b'{"AM2301":{"Temp'),
        ("tele/a/SENSOR", b"nan"),
        ("stat/a/X", b"[1]"),
        ("stat/a/X", b"\xff\xfe"),
    ],
)
def test_malformed(topic, payload):
    """A truncated message, a missing object, or bytes that are not text are malformed as a whole."""
    with pytest.raises(UndecodableError) as caught:
        read(PLAIN, topic, payload)
    assert caught.value.rejection.reason is Reason.MALFORMED


def test_not_finite():
    """A sensor that reports nan affects its value only, not the message."""
    number_of = values(read(PLAIN, "tele/a/SENSOR", b'{"A":{"Temperature":NaN,"Humidity":4}}'))
    assert number_of["A/Humidity"] == 4
    assert number_of["A/Temperature"] != number_of["A/Temperature"]


def test_unknown_zone():
    """A zone that is not in the IANA database is a mistake in the registry."""
    with pytest.raises(ValidationError, match="IANA"):
        TasmotaFormat(timezone="Berlin")


@given(st.data())
def test_fuzz(data):
    """For any message the reader returns measurements or raises one of the two errors of its contract."""
    members = [
        "Time",
        "Epoch",
        "ZbReceived",
        "0x1A2B",
        "Name",
        "Device",
        "LinkQuality",
        "StatusSNS",
        "TempUnit",
        "Temperature",
    ]
    levels = ["tele", "stat", "a", "SENSOR", "STATE", "RESULT", "STATUS8", "ZbReceived", "POWER"]
    message = data.draw(messages(members, levels, list(SAMPLES)))
    holds(data.draw(st.sampled_from([PLAIN, BERLIN])), message, data.draw(names_of(message.topic)))

"""Format value: the payload is one value, and the topic names its quantity."""

import math

import pytest
from fix_formats import ARRIVED, read, sample
from hypothesis import given
from hypothesis import strategies as st

from collector.formats.measurement import Measurement, Topic
from collector.formats.value import ValueFormat
from collector.message import Message, NoReadingError, Reason, UndecodableError
from collector.topics import Pattern

PLAIN = ValueFormat()


def through(pattern: str, name: str, form: ValueFormat = PLAIN) -> list[Measurement]:
    """Read a sample on a topic of ``pattern``."""
    message = sample(name)
    names = Pattern.compile(pattern).match(message.topic)
    assert names is not None
    return list(form.reader().read(message, Topic(names)))


def value(payload: bytes, form: ValueFormat = PLAIN) -> float | bool | str:
    """Return the value in ``payload``."""
    (measurement,) = read(form, "a/x/t", payload, {"sensor": "x", "quantity": "t"})
    assert measurement.quantity == "t"
    assert (measurement.time, measurement.device, measurement.problem) == (None, "", None)
    return measurement.value


def test_esphome():
    """A binary sensor of ESPHome sends ON, which the registry's states map to a number."""
    measurements = through("esphome/{sensor}/binary_sensor/{quantity}/state", "esphome_binary_sensor_state")
    assert measurements == [Measurement("sunlight", "ON")]


def test_esphome_status():
    """Birth and will are text, which is a reading only if the registry maps it."""
    assert through("{sensor}/{quantity}", "esphome_status") == [Measurement("status", "online")]


def test_homie():
    """A property of Homie is its number; attributes of devices have no reading."""
    measurements = through("homie/5/{sensor}/{node}/{quantity}", "homie5_property_temperature")
    assert measurements == [Measurement("temperature", 21.5)]
    with pytest.raises(NoReadingError):
        through("/homie/5/{sensor}/{node}/{quantity}", "homie5_alert")


def test_home_assistant():
    """A time on a separate topic is text, with or without quotes."""
    measurements = through("homeassistant/{domain}/{sensor}/{quantity}", "ha_statestream_last_updated")
    assert measurements == [Measurement("last_updated", "2017-10-01T23:20:30.920969+00:00")]


def test_hubitat():
    """An attribute of Hubitat is its number."""
    measurements = through("hubitat/{hub}/{sensor}/attributes/{quantity}/value", "hubitat_attribute_value")
    assert measurements == [Measurement("temperature", 20.0)]


def test_shelly_with_channel():
    """The quantity may combine several placeholders."""
    form = ValueFormat(quantity="emeter/{channel}/{quantity}")
    measurements = through("shellies/shellies/{sensor}/emeter/{channel}/{quantity}", "shelly_gen1_em3_voltage", form)
    assert measurements == [Measurement("emeter/0/voltage", 230.35)]


def test_documents_are_no_values():
    """An object, a list or a long text is no value."""
    with pytest.raises(NoReadingError):
        through("shellies/{sensor}/{quantity}", "shelly_gen1_info")
    for payload in (b"{}", b"[1]", b"x" * 1000):
        with pytest.raises(NoReadingError):
            value(payload)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"21.5", 21.5),
        (b" 21.5\n", 21.5),
        (b'"21.5"', 21.5),
        (b'" 21.5 "', 21.5),
        (b"-3", -3),
        (b"+3", 3),
        (b"1e3", 1000.0),
        (b".5", 0.5),
        (b"007", 7),
        (b"true", True),
        (b"false", False),
        (b"open", "open"),
        (b'"open"', "open"),
        (b'"caf\\u00e9"', "café"),
        (b"ON", "ON"),
        (b"1_000", "1_000"),
        ("٣".encode(), "٣"),
        (b"21.5 C", "21.5 C"),
        (b"1,5", "1,5"),
        (b'"', ""),
        (b"\0", ""),
        (b"21.5\0", 21.5),
    ],
)
def test_values(payload, expected):
    """Numbers may have spaces and quotes around them; true and false are booleans; anything else is text."""
    if expected == "":
        with pytest.raises(NoReadingError):
            value(payload)
        return
    result = value(payload)
    assert (result, type(result)) == (expected, type(expected))


@pytest.mark.parametrize("payload", [b"unavailable", b"Unknown", b"none", b"null", b"NULL", b'""', b"  ", b"N/A"])
def test_words_for_no_value(payload):
    """Texts for a missing value have no reading."""
    with pytest.raises(NoReadingError):
        value(payload)


@pytest.mark.parametrize("payload", [b"nan", b"NaN", b"inf", b"-Infinity", b"1e999"])
def test_not_finite(payload):
    """A number that is not finite is passed on as such: the rule rejects it."""
    assert not math.isfinite(value(payload))


def test_whole_numbers_keep_their_digits():
    """An integer without an exact double is passed on unchanged, so that it is refused rather than altered."""
    assert value(b"9007199254740993") == 9007199254740993


@pytest.mark.parametrize(
    ("payload", "number", "unit"),
    [
        ("21.5 °C", 21.5, "Cel"),
        ("21.5°C", 21.5, "Cel"),
        ("45%", 45, "%"),
        ("1e3 W", 1000.0, "W"),
        ("230 V", 230, "V"),
        ("12 furlong", "12 furlong", None),  # left to the rule: no known unit
        ("-7.5 dBm", -7.5, "dB"),
    ],
)
def test_unit_suffix(payload, number, unit):
    """With unit_suffix a number may be followed by its unit."""
    form = ValueFormat(unit_suffix=True)
    (measurement,) = read(form, "a/x/t", payload.encode(), {"quantity": "t"})
    assert (measurement.value, measurement.unit) == (number, unit)
    assert value(b"21.5", form) == 21.5
    assert value(b"open", form) == "open"


def test_not_utf8():
    """A payload that is not UTF-8 is malformed."""
    with pytest.raises(UndecodableError) as caught:
        value(b"\xff\xfe")
    assert caught.value.rejection.reason is Reason.MALFORMED


@given(st.binary(max_size=300) | st.text().map(str.encode), st.text(), st.booleans())
def test_nothing_else_escapes(payload, topic, suffix):
    """For any payload the reader returns one measurement or raises one of the two errors of its contract."""
    reader = ValueFormat(unit_suffix=suffix, quantity="{a}/{quantity}").reader()
    try:
        (measurement,) = reader.read(Message(topic, payload, ARRIVED), Topic({"quantity": "t"}))
    except (UndecodableError, NoReadingError):
        return
    assert measurement.quantity == "/t"

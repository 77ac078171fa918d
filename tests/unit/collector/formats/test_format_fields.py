"""Format fields: every form of payload that a device may send, and every error in it."""

import json
import math
import time
from datetime import UTC, datetime

import pytest
from fix_bad_input import CASES, NOW, OTHER, TIME, TOPIC, probes, wide
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector.decode.decoder import Decoder
from collector.formats import json_payload
from collector.message import Decoded, Message, NoReadingError, Reason, Rejection, UndecodableError, quoted
from collector.registry import sensors_file

SECOND = 1_000_000
AT = NOW - 30 * SECOND
"""What TIME says."""
IDS = {("p0", "temperature"): 1, ("p0", "humidity"): 2, ("p0", "open"): 3}
IDS |= {("p1", quantity): series_id + 10 for (_, quantity), series_id in IDS.items()}
PROBES = Decoder(probes(), IDS)


def decoder(form: dict, devices: tuple[str, ...] = ("p0",), **more) -> Decoder:
    """Return a decoder for sensors of one topic whose type has the format ``form``."""
    quantities = {
        "temperature": {"unit": "Cel", "interval_seconds": 1},
        "humidity": {"unit": "%", "interval_seconds": 1},
    }
    for name, pointer in more.pop("pointers", {}).items():
        quantities[name]["pointer"] = pointer
    document = {
        "subscribe": ["plant/#"],
        "types": {"probe": {"quantities": quantities, "format": {"name": "fields", **form}}},
        "sensors": [
            {"sensor_id": name, "type": "probe", "site": "here", "area": "hall", "topic": TOPIC, **more}
            for name in devices
        ],
    }
    return Decoder(sensors_file.parse(json.dumps(document).encode()), IDS)


def decode(fields_decoder: Decoder, payload: object, **more) -> Decoded:
    """Decode a payload, given as bytes or as a JSON value."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return fields_decoder.decode(Message(TOPIC, raw, NOW, **more))


def good(fields_decoder: Decoder, payload: object) -> list:
    """Return the readings of a payload without errors."""
    readings, rejections, *_ = decode(fields_decoder, payload)
    assert rejections == []
    return readings


def reasons(decoded: Decoded) -> dict[Reason, int]:
    """Return reason → number of rejected readings."""
    return {rejection.reason: rejection.readings for rejection in decoded.rejections}


def test_wide():
    """A wide object has one reading for each of its quantities; other members are ignored."""
    payload = {"device_id": "x", "timestamp": TIME, "temperature": 21.5, "humidity": 50, "open": True, "tag": None}
    assert good(PROBES, payload) == [(1, AT, 21.5), (2, AT, 50.0), (3, AT, 1.0)]


def test_states_and_units():
    """A text may be a state, in any case, and a number may have another unit than the series."""
    quantities = {
        "temperature": {"unit": "Cel", "sent_unit": "[degF]", "interval_seconds": 1},
        "humidity": {"unit": "1", "states": {"dry": 0, "wet": 1}, "interval_seconds": 1},
    }
    fields_decoder = decoder({}, quantities=quantities)
    assert good(fields_decoder, {"timestamp": TIME, "temperature": 70.7, "humidity": "Wet"}) == [
        (1, AT, 21.5),
        (2, AT, 1.0),
    ]
    decoded = decode(fields_decoder, {"timestamp": TIME, "temperature": 1e290, "humidity": "damp"})
    assert reasons(decoded) == {Reason.TOO_LARGE: 1, Reason.WRONG_TYPE: 1}


def test_narrow():
    """A narrow object has the reading that it names."""
    assert good(PROBES, {"sensor": "humidity", "value": 50.5, "timestamp": TIME}) == [(2, AT, 50.5)]


def test_narrow_wins():
    """An object with the name of a quantity is narrow, whatever other members it has."""
    payload = {"sensor": "humidity", "value": 50.5, "temperature": 1, "timestamp": TIME}
    assert good(PROBES, payload) == [(2, AT, 50.5)]


def test_list():
    """A list has the readings of each of its objects, in order, each with its time."""
    items = [{"timestamp": TIME, "temperature": 1}, {"timestamp": "2026-03-01T11:59:31Z", "temperature": 2}]
    assert good(PROBES, items) == [(1, AT, 1.0), (1, AT + SECOND, 2.0)]


def test_one_bad_object_of_a_list():
    """An error in one object of a list affects that object only."""
    items = [{"temperature": 1}, {"timestamp": TIME, "temperature": 2}, 3, {"timestamp": TIME, "temperature": "four"}]
    decoded = decode(PROBES, items)
    assert decoded.readings == [(1, AT, 2.0)]
    assert reasons(decoded) == {Reason.MISSING_TIME: 1, Reason.MALFORMED: 1, Reason.WRONG_TYPE: 1}


def test_rejections_are_summed():
    """Readings rejected for one reason are one rejection with their number and the first detail."""
    items = [{"timestamp": TIME, "temperature": text} for text in ("a", "b", "c")]
    assert decode(PROBES, items).rejections == [
        Rejection(
            Reason.WRONG_TYPE, "temperature: expected a number, got 'a'; map it under \"states\" if it is a state", 3
        )
    ]


def test_nested():
    """Readings, times and values are found by pointers, at any depth and with any names."""
    fields_decoder = decoder(
        {"readings": "/data/0/list", "time": "/meta/a~1b"}, pointers={"temperature": "/values/0", "humidity": "/h~0"}
    )
    item = {"meta": {"a/b": TIME}, "values": [21.5], "h~": 50}
    assert good(fields_decoder, {"data": [{"list": [item]}]}) == [(1, AT, 21.5), (2, AT, 50.0)]


def test_time_beside_the_list():
    """A time next to the list applies to the objects of the list that have none."""
    fields_decoder = decoder({"readings": "/list"})
    own = {"timestamp": "2026-03-01T11:59:31Z", "temperature": 2}
    assert good(fields_decoder, {"timestamp": TIME, "list": [{"temperature": 1}, own]}) == [
        (1, AT, 1.0),
        (1, AT + SECOND, 2.0),
    ]


def test_nothing_at_the_readings_pointer():
    """A payload without a value at the readings pointer is malformed as a whole; the detail names the pointer."""
    with pytest.raises(UndecodableError) as caught:
        decode(decoder({"readings": "/data/list"}), {"data": []})
    assert caught.value.rejection == Rejection(Reason.MALFORMED, "nothing at /data/list", 0)


def test_shared_topic():
    """Sensors that share a topic are distinguished by device, in the object or next to the list."""
    fields_decoder = decoder({"readings": "/list"}, ("p0", "p1"))
    items = [{"device_id": "p1", "temperature": 1}, {"temperature": 2}]
    assert good(fields_decoder, {"timestamp": TIME, "device_id": "p0", "list": items}) == [(11, AT, 1.0), (1, AT, 2.0)]


@pytest.mark.parametrize("device", ["p2", 5, True, None, ["p0"], {"p0": 1}, ""])
def test_unknown_device(device):
    """On a shared topic an object with an unknown device is rejected; the other objects of the list are read."""
    fields_decoder = decoder({}, ("p0", "p1"))
    items = [
        {"device_id": device, "timestamp": TIME, "temperature": 1},
        {"device_id": "p0", "timestamp": TIME, "temperature": 2},
    ]
    decoded = decode(fields_decoder, items)
    assert decoded.readings == [(1, AT, 2.0)]
    assert reasons(decoded) == {Reason.UNKNOWN_SENSOR: 1}


def test_missing_device():
    """On a shared topic an object without a device is rejected with that detail."""
    decoded = decode(decoder({}, ("p0", "p1")), {"timestamp": TIME, "temperature": 1})
    assert decoded.rejections == [Rejection(Reason.UNKNOWN_SENSOR, "names no device", 1)]


def test_devices_that_are_numbers():
    """A device name that is a number matches the sensor whose device is the number's text."""
    fields_decoder = decoder({}, device="17")
    both = decoder({}, ("p0",), device="17")
    document = {"timestamp": TIME, "device_id": 17, "temperature": 1}
    assert good(fields_decoder, document) == good(both, document) == [(1, AT, 1.0)]


def test_device_is_ignored_on_a_topic_of_one_sensor():
    """Where a topic has one sensor, any device name in the payload is accepted."""
    assert good(decoder({}), {"timestamp": TIME, "device_id": "renamed", "temperature": 1}) == [(1, AT, 1.0)]


@pytest.mark.parametrize("shared", ["device_id", "timestamp"])
@pytest.mark.parametrize("value", [dict.fromkeys(map(str, range(20_000)), 1), [1] * 20_000])
def test_shared_members_are_not_copied_per_object(shared, value):
    """A large value in place of the shared device or time does not cost its size for each object."""
    fields_decoder = decoder({"readings": "/list"}, ("p0", "p1"))
    document = {"timestamp": TIME, "device_id": "p0", shared: value, "list": [{"temperature": 1}] * 20_000}
    begun = time.process_time()
    decoded = decode(fields_decoder, document)
    assert sum(reasons(decoded).values()) == 20_000
    assert time.process_time() - begun < 5  # a tenth of a second; looked through each time it is a minute


@pytest.mark.parametrize(
    ("unit", "raw"),
    [
        ("s", 1_772_366_370),
        ("s", 1_772_366_370.0),
        ("ms", 1_772_366_370_000),
        ("ms", 1_772_366_370_000.0),
        ("us", 1_772_366_370_000_000),
        ("ns", 1_772_366_370_000_000_000),
        ("ns", 1_772_366_370_000_000_999),
        ("iso8601", "2026-03-01T11:59:30Z"),
        ("iso8601", "2026-03-01T13:59:30+02:00"),
        ("iso8601", "2026-03-01T07:29:30.000000-04:30"),
        ("iso8601", "20260301T115930Z"),
        ("iso8601", "2026-03-01 11:59:30+00:00"),
        ("iso8601", "2026-W09-7T11:59:30Z"),
    ],
)
def test_times(unit, raw):
    """A time is the same instant in any unit or offset."""
    assert good(decoder({"time_unit": unit}), {"timestamp": raw, "temperature": 1}) == [(1, AT, 1.0)]


@pytest.mark.parametrize(
    ("unit", "raw", "expected"),
    [
        ("s", 1_772_366_370.123456, 123_456),
        ("ms", 1_772_366_370_123.4, 123_400),
        ("us", 1_772_366_370_123_456, 123_456),
        ("ns", 1_772_366_370_123_456_789, 123_456),
        ("iso8601", "2026-03-01T11:59:30.123456Z", 123_456),
        ("iso8601", "2026-03-01T11:59:30.123456789Z", 123_456),
    ],
)
def test_times_are_kept_to_the_microsecond(unit, raw, expected):
    """Fractions of a second are stored to the microsecond."""
    assert good(decoder({"time_unit": unit}), {"timestamp": raw, "temperature": 1}) == [(1, AT + expected, 1.0)]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize(
    ("literal", "reason"),
    [
        (b"true", Reason.UNREADABLE_TIME),
        (b'"today"', Reason.UNREADABLE_TIME),
        (b"NaN", Reason.UNREADABLE_TIME),
        (b"1e999", Reason.UNREADABLE_TIME),
        (b"[]", Reason.UNREADABLE_TIME),
        (b"null", Reason.MISSING_TIME),
        (b"1e305", Reason.TIME_IN_FUTURE),
        (b"-1e305", Reason.TIME_TOO_OLD),
        (b"1e22", Reason.TIME_IN_FUTURE),
        (b"1" * 300, Reason.TIME_IN_FUTURE),
        (b"0", Reason.TIME_TOO_OLD),
        (b"-1", Reason.TIME_TOO_OLD),
    ],
)
def test_bad_epochs(unit, literal, reason):
    """Numbers that are no valid time are rejected, whatever their size."""
    decoded = decode(decoder({"time_unit": unit}), b'{"timestamp": ' + literal + b', "temperature": 1}')
    assert decoded.readings == []
    assert reasons(decoded) == {reason: 1}


def test_zone_of_a_sensor():
    """Times without a zone are in the sensor's zone, including summer time; others have their own."""
    fields_decoder = decoder({}, timezone="Europe/Athens")
    for text, expected in {
        "2026-03-01T13:59:30": datetime(2026, 3, 1, 11, 59, 30, tzinfo=UTC),
        "2025-07-01T13:59:30": datetime(2025, 7, 1, 10, 59, 30, tzinfo=UTC),
        "2026-03-01T11:59:30Z": datetime(2026, 3, 1, 11, 59, 30, tzinfo=UTC),
    }.items():
        ((_, at, _),) = good(fields_decoder, {"timestamp": text, "temperature": 1})
        assert at == expected.timestamp() * SECOND


def test_time_of_arrival():
    """A format without a time uses the time of arrival."""
    assert good(decoder({"time": None}), {"temperature": 1}) == [(1, NOW, 1.0)]


def test_retained_without_a_time():
    """A retained message without a time has no reading."""
    with pytest.raises(NoReadingError):
        decode(decoder({"time": None}), {"temperature": 1}, retained=True)
    assert decode(PROBES, wide(temperature=1), retained=True).readings == [(1, AT, 1.0)]


def test_bounds_of_time():
    """The sensor's first instant and the last one accepted are readings; a microsecond beyond is rejected."""
    fields_decoder = decoder({"time_unit": "us"}, since="2020-01-01T00:00:00Z")
    first, last = 1_577_836_800 * SECOND, NOW + 300 * SECOND
    assert [at for _, at, _ in good(fields_decoder, [{"timestamp": at, "temperature": 1} for at in (first, last)])] == [
        first,
        last,
    ]
    decoded = decode(fields_decoder, [{"timestamp": at, "temperature": 1} for at in (first - 1, last + 1)])
    assert reasons(decoded) == {Reason.TIME_TOO_OLD: 1, Reason.TIME_IN_FUTURE: 1}


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        (b"9007199254740992", 2.0**53),
        (b"9007199254740994", 2.0**53 + 2),
        (b"-9007199254740994", -(2.0**53) - 2),
        (b"9223372036854775808", 2.0**63),
        (b"-9223372036854775808", -(2.0**63)),
        (b"18446744073709551616", 2.0**64),
        (b"-18446744073709551616", -(2.0**64)),
        (b"9007199254740993.0", 2.0**53),
        (b"18446744073709551617.0", 2.0**64),
        (b"1e20", 1e20),
        (b"9.9e289", 9.9e289),
        (b"-0.0", -0.0),
        (b"5e-324", 5e-324),
        (b"1e-999", 0.0),
    ],
)
def test_numbers_at_the_edge(literal, value):
    """Integers with an exact double are accepted, whatever their size, and so are all finite floats."""
    ((_, _, number),) = good(PROBES, wide(temperature=literal))
    assert type(number) is float
    assert number.hex() == value.hex()


def test_a_large_float_next_to_a_large_integer():
    """Reading a message again for exact integers does not change its other values."""
    decoded = decode(PROBES, [json.loads(wide(temperature=1e20, humidity=2**64 + 1)), json.loads(wide(temperature=3))])
    assert decoded.readings == [(1, AT, 1e20), (1, AT, 3.0)]
    assert reasons(decoded) == {Reason.NOT_EXACT: 1}


def test_large_message():
    """A message of 1 MB is decoded like any other."""
    items = [
        {"timestamp": f"2026-03-01T11:{n // 1000 % 60:02}:30.{n % 1000:03}Z", "temperature": n} for n in range(19_000)
    ]
    payload = json.dumps(items).encode()
    assert len(payload) > 1_000_000
    readings = good(PROBES, payload)
    assert [value for _, _, value in readings] == [float(n) for n in range(19_000)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(case):
    """Bad input is rejected for its reason, and good values next to it are readings."""
    if case.reason is None:
        with pytest.raises(NoReadingError):
            PROBES.decode(case.message)
        return
    try:
        readings, rejections, *_ = PROBES.decode(case.message)
    except UndecodableError as error:
        readings, rejections = [], [error.rejection]
    assert len(readings) == case.good
    ((reason, detail, held),) = rejections
    assert (reason, held) == (case.reason, case.held)
    assert case.words in detail
    assert len(detail) <= 500
    assert detail.isprintable()


def test_topic_of_another_sensor():
    """The topic determines the sensor of a message."""
    assert PROBES.decode(Message(OTHER, wide(temperature=1), NOW)).readings == [(11, AT, 1.0)]


@pytest.mark.parametrize(
    "topic", ["plant/\"p0'`", "plant/%s%(topic)s%%", "plant/θερμοκρασία/🌡/٣", "plant/" + "x" * 65_529]
)
def test_strange_topics_of_known_sensors(topic):
    """A sensor may have any topic that MQTT allows."""
    document = json.loads(
        json.dumps(
            {
                "subscribe": ["#"],
                "types": {"probe": {"quantities": {"temperature": {"unit": "Cel", "interval_seconds": 1}}}},
            }
        )
    )
    document["sensors"] = [{"sensor_id": "p0", "type": "probe", "site": "s", "area": "a", "topic": topic}]
    fields_decoder = Decoder(sensors_file.parse(json.dumps(document).encode()), IDS)
    assert fields_decoder.decode(Message(topic, wide(temperature=1), NOW)).readings == [(1, AT, 1.0)]


def test_defects_are_quarantined():
    """A defect in our code quarantines the message with the error, and the stream continues."""
    fields_decoder = Decoder(probes(), IDS)
    fields_decoder._by_topic[TOPIC] = lambda message: message.no_such_member
    with pytest.raises(UndecodableError) as caught:
        decode(fields_decoder, {"temperature": 1})
    assert caught.value.rejection.reason is Reason.DEFECT
    assert "AttributeError" in caught.value.rejection.detail


def test_quoted_is_short():
    """A quoted value is short and printable, whatever the value is."""
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for raw in ("x" * 10_000, "\0\x1b[31m\ud800é", 10**300, deep, {"a": deep}, None, True, 1.5):
        text = quoted(raw)
        assert len(text) <= 161
        assert text.rstrip("…").isascii()
        assert text.isprintable()


WIDE_SHARED = decoder({"readings": "/list"}, ("p0", "p1"))
EPOCHS = decoder({"time_unit": "s", "device": "/a/b"})
NUMBERS = st.one_of(st.floats(), st.integers(), st.integers(-(2**70), 2**70), st.integers(10**300, 10**310))
TEXTS = st.one_of(
    st.text(max_size=8), st.sampled_from([TIME, "2026-03-01", "p0", "p1", "temperature", "open", "\ud800"])
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
MEMBERS = st.sampled_from(
    ["timestamp", "temperature", "humidity", "open", "sensor", "value", "device_id", "list", "a", "b"]
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(MEMBERS, inner, max_size=6), max_leaves=20
)


def check(payload: bytes) -> None:
    """Assert the properties that hold for any payload."""
    for fields_decoder in (PROBES, WIDE_SHARED, EPOCHS):
        try:
            readings, rejections, *_ = fields_decoder.decode(Message(TOPIC, payload, NOW))
        except NoReadingError:
            continue
        except UndecodableError as error:
            readings, rejections = [], [error.rejection]
        else:
            assert all(rejection.readings > 0 for rejection in rejections)
        assert readings or rejections
        assert Reason.DEFECT not in [rejection.reason for rejection in rejections], rejections
        for series_id, at, value in readings:
            assert series_id in IDS.values()
            assert type(at) is int
            assert 946_684_800 * SECOND <= at <= NOW + 300 * SECOND
            assert type(value) is float
            assert math.isfinite(value)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbf{}")
@example(b'{"timestamp": "2026-03-01T11:59:30Z", "temperature": -' + b"9" * 5_000 + b"}")
def test_any_bytes(payload):
    """No bytes cause a defect, another exception, or a reading that is not finite."""
    check(payload)


@settings(max_examples=600, deadline=None)
@given(TREES)
def test_any_json(document):
    """No JSON, even with NaN and infinities, causes a defect or a reading that is not finite or out of bounds."""
    check(json.dumps(document).encode())


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=6), st.integers(0, 100), st.integers(0, 6))
def test_damaged_json(noise, place, length):
    """A good message that is damaged at any position causes no defect."""
    payload = wide(temperature=21.5, humidity=50)
    check(payload[:place] + noise + payload[place + length :])


@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**80), 2**80))
def test_integers_are_exact_or_refused(number):
    """An integer becomes the double that equals it or is refused, with either parser."""
    decoded = decode(PROBES, wide(temperature=number))
    assert [value for _, _, value in decoded.readings] == ([number] if float(number) == number else [])


@pytest.mark.parametrize("payload", [b"[1, 2.5, true, null]", b'{"a": "\xc3\xa9"}', b"18446744073709551615"])
def test_both_parsers_agree(payload):
    """The fast parser and the exact one have the same result."""
    assert json_payload.load(payload) == json_payload.load_exactly(payload) == json.loads(payload)


def test_a_message_beyond_the_limit_is_not_decoded():
    """A message larger than the setting allows is quarantined without being parsed."""
    parsed = sensors_file.parse(
        b'{"subscribe":["a"],"types":{"t":{"quantities":{"x":{"unit":"1","interval_seconds":1}}}},'
        b'"sensors":[{"sensor_id":"s","type":"t","site":"s","area":"a","topic":"a"}]}'
    )
    decoder = Decoder(parsed, {("s", "x"): 1}, max_message_bytes=100)
    with pytest.raises(UndecodableError) as caught:
        decoder.decode(Message("a", b"[" + b" " * 99 + b"]", 0))
    assert caught.value.rejection.reason == "too_large"

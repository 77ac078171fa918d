"""From measurements to readings: sensor, quantity, state, unit and time, by one rule for all formats."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.decode.decoder import Decoder
from collector.decode.series_decoder import SeriesDecoder, sensor_by_device
from collector.formats.json_tree import Tree
from collector.formats.measurement import FormatOptions, Measurement
from collector.formats.supported import FORMATS
from collector.message import Decoded, IgnoredReason, Message, NoReadingError, Reason, UndecodableError, UnusableError
from collector.registry import sensors_file
from collector.registry.discovery import UnregisteredError
from collector.registry.sensors_file import Sensor

NOW = 1_772_366_400_000_000
SECOND = 1_000_000

QUANTITIES = {
    "temperature": {"unit": "Cel", "source": "t", "interval_seconds": 1},
    "power": {"unit": "kW", "sent_unit": "W", "interval_seconds": 1},
    "door": {"unit": "1", "states": {"open": 1, "closed": 0}, "interval_seconds": 1},
    "open": {"unit": "1", "kind": "boolean", "interval_seconds": 1},
    "acidity": {"unit": "[pH]", "interval_seconds": 1},
    "level": {"unit": "1", "interval_seconds": 1},
}
IDS = {name: number for number, name in enumerate(QUANTITIES, 1)}


def sensors(*devices: str, **more) -> list[Sensor]:
    """Return sensors of one topic called ``devices``."""
    document = {
        "subscribe": ["#"],
        "types": {"k": {"quantities": QUANTITIES, "format": "thingsboard"}},
        "sensors": [
            {"sensor_id": name, "type": "k", "site": "s", "area": "a", "topic": "x", **more} for name in devices
        ],
    }
    return list(sensors_file.parse(json.dumps(document).encode()).sensors)


class Given:
    """A reader that returns the given measurements."""

    def __init__(self, *measurements: Measurement) -> None:
        self.measurements = measurements

    def read(self, _message, _names):
        """Return it."""
        return self.measurements


class Lenient(FormatOptions):
    """A format whose unlisted quantities are ignored."""

    unlisted = "ignore"


def decode(*measurements: Measurement, form: FormatOptions | None = None, known=None, **more) -> Decoded:
    """Decode measurements as those of a message of sensor a."""
    known = known or sensors("a")
    ids = {(sensor.sensor_id, name): number for sensor in known for name, number in IDS.items()}
    listed = [sensor.quantities for sensor in known]
    series_decoder = SeriesDecoder(
        form or FormatOptions(), Given(*measurements), sensor_by_device(known), ids, 300 * SECOND, {}, listed
    )
    return series_decoder.decode(Message("x", b"x", NOW, **more))


def value_of(quantity: str, value: float | str, **more) -> float:
    """Return the value of the one reading of a measurement."""
    ((series_id, time, decoded_value),), rejections, *_ = decode(Measurement(quantity, value, **more))
    assert rejections == []
    assert time == NOW
    assert series_id in IDS.values()
    return decoded_value


def rejected(*measurements: Measurement, **more) -> tuple[Reason, str]:
    """Return the reason and detail of the one rejection."""
    readings, (rejection,), *_ = decode(*measurements, **more)
    assert readings == []
    return rejection.reason, rejection.detail


def test_source():
    """A quantity is found by the device's name for it, not by its own name."""
    assert value_of("t", 21.5) == 21.5
    assert rejected(Measurement("temperature", 21.5)) == (
        Reason.UNKNOWN_QUANTITY,
        "temperature: no quantity of this sensor",
    )


def test_units():
    """A unit in the message is converted, also by its spelling; without one, sent_unit is used."""
    assert value_of("t", 70.7, unit="[degF]") == 21.5
    assert value_of("t", 70.7, unit="°F") == 21.5
    assert value_of("power", 1005) == 1.005
    assert value_of("power", 3.0, unit="kW") == 3.0
    assert value_of("acidity", 7, unit="pH") == 7


@pytest.mark.parametrize("unit", ["W", "furlong", "dB", "x" * 500])
def test_wrong_unit(unit):
    """A unit of another dimension, or an unknown one, is wrong_unit."""
    reason, detail = rejected(Measurement("t", 1, unit=unit))
    assert reason is Reason.WRONG_UNIT
    assert "to 'Cel'" in detail
    assert len(detail) < 200


def test_logarithm_is_not_converted():
    """Decibels are not converted: there is no conversion of the form a·x + b."""
    assert rejected(Measurement("level", 3, unit="dB"))[0] is Reason.WRONG_UNIT


def test_states():
    """Texts are mapped by the registry's states, exactly, then in any case; true and false are 1 and 0."""
    assert [value_of("door", text) for text in ("open", "closed", "OPEN", "Closed")] == [1, 0, 1, 0]
    assert (value_of("door", True), value_of("t", False)) == (1.0, 0.0)
    assert value_of("door", 0.5) == 0.5


def test_booleans():
    """A boolean accepts true, false, 0, 1 and the words for them, and no other number."""
    assert [value_of("open", value) for value in (True, False, 1, 0, "ON", "off", "True", "no")] == [
        1,
        0,
        1,
        0,
        1,
        0,
        1,
        0,
    ]
    assert rejected(Measurement("open", 2))[0] is Reason.WRONG_TYPE


def test_text_is_no_reading():
    """Text that is no state has no reading; a message with nothing else is ignored."""
    readings, rejections, *_ = decode(Measurement("t", "warm"), Measurement("door", "ajar"), Measurement("level", 3))
    assert (readings, rejections) == ([(IDS["level"], NOW, 3.0)], [])
    with pytest.raises(NoReadingError):
        decode(Measurement("t", "warm"))
    with pytest.raises(NoReadingError):
        decode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, Reason.NOT_FINITE),
        (math.inf, Reason.NOT_FINITE),
        (2**53 + 1, Reason.NOT_EXACT),
        (1e300, Reason.TOO_LARGE),
    ],
)
def test_numbers(value, reason):
    """A number that is not finite, not exact or too large is rejected."""
    assert rejected(Measurement("t", value))[0] is reason


def test_large_after_conversion():
    """A number that is too large after conversion is rejected."""
    assert rejected(Measurement("power", 1e289, unit="GW"))[0] is Reason.TOO_LARGE


def test_times():
    """The message's time is used within the bounds; without one, the time of arrival."""
    assert decode(Measurement("t", 1, NOW - 5)).readings == [(1, NOW - 5, 1.0)]
    assert rejected(Measurement("t", 1, 0))[0] is Reason.TIME_TOO_OLD
    assert rejected(Measurement("t", 1, NOW + 301 * SECOND))[0] is Reason.TIME_IN_FUTURE
    assert rejected(Measurement("t", 1, 10**30))[0] is Reason.TIME_IN_FUTURE


def test_retained():
    """A retained message has a reading only with a time."""
    decoded = decode(Measurement("t", 1), Measurement("level", 2, NOW - 5), retained=True)
    assert decoded == Decoded([(IDS["level"], NOW - 5, 2.0)], [], {IgnoredReason.RETAINED_WITHOUT_TIME: 1})
    with pytest.raises(NoReadingError):
        decode(Measurement("t", 1), retained=True)


def test_problem():
    """A measurement with a problem is rejected for it, the others are readings."""
    bad = Measurement("t", 1, problem=UnusableError(Reason.UNREADABLE_TIME, "no time"))
    readings, (rejection,), *_ = decode(bad, Measurement("level", 2))
    assert readings == [(IDS["level"], NOW, 2.0)]
    assert (rejection.reason, rejection.detail) == (Reason.UNREADABLE_TIME, "t: no time")


def test_unlisted():
    """Quantities that the registry does not list are quarantined or ignored, by the format."""
    extra = Measurement("uptime", 5, problem=UnusableError(Reason.NOT_FINITE, "x"))
    assert rejected(Measurement("uptime", 5))[0] is Reason.UNKNOWN_QUANTITY
    assert decode(extra, Measurement("t", 1), form=Lenient()) == Decoded([(1, NOW, 1.0)], [])
    with pytest.raises(NoReadingError):
        decode(extra, Measurement("temperature", 1), form=Lenient())


def test_devices():
    """Where several sensors share a topic the payload names the device; an unknown name is rejected."""
    both = sensors("a", "b")
    assert decode(Measurement("t", 1, device="b"), known=both).readings == [(1, NOW, 1.0)]
    for device in ("", "c"):
        assert rejected(Measurement("t", 1, device=device), known=both)[0] is Reason.UNKNOWN_SENSOR
    reason, detail = rejected(Measurement("t", 1, device="c"))
    assert reason is Reason.UNKNOWN_SENSOR
    assert "'c'; set it as the device" in detail
    assert decode(Measurement("t", 1, device="c"), known=sensors("a", device="c")).readings == [(1, NOW, 1.0)]
    assert decode(Measurement("uptime", 1, device="c"), Measurement("t", 2), form=Lenient()).rejections == []


def pattern_decoder(form: object, topic: str = "f/{sensor}/#", **more) -> Decoder:
    """Return a decoder for a sensor pattern that discovers."""
    document = {
        "subscribe": ["#"],
        "types": {"k": {"quantities": {"a": {"unit": "1", "interval_seconds": 1}}, "format": form}},
        "sensors": [{"type": "k", "site": "s", "area": "x", "topic": topic, "discover": True, **more}],
    }
    return Decoder(sensors_file.parse(json.dumps(document).encode()), {})


def discovers(decoder: Decoder, topic: str, payload: object) -> list[tuple[str, str, str, str]]:
    """Return (sensor_id, site, area, quantity) of the series that a message discovers."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    with pytest.raises(UnregisteredError) as caught:
        decoder.decode(Message(topic, raw, NOW))
    discoveries = caught.value.discoveries
    return [
        (discovery.sensor.sensor_id, discovery.sensor.site, discovery.sensor.area, discovery.quantity)
        for discovery in discoveries
    ]


TIME = "2026-03-01T11:59:30Z"


def test_pattern_of_format_fields():
    """A sensor pattern works with format fields: the topic or the payload names sensor and quantity."""
    wide = {"timestamp": TIME, "a": 1}
    assert discovers(pattern_decoder("fields", "f/{sensor}"), "f/one", wide) == [("one", "s", "x", "a")]
    narrow = {"timestamp": TIME, "value": 1}
    assert discovers(pattern_decoder("fields", "f/{sensor}/{quantity}"), "f/one/a", narrow) == [("one", "s", "x", "a")]
    items = [{**wide, "device_id": "one"}, {**wide, "device_id": 2}]
    assert discovers(pattern_decoder("fields", "f/all", sensor_id="g-{device}"), "f/all", items) == [
        ("g-one", "s", "x", "a"),
        ("g-2", "s", "x", "a"),
    ]


def test_pattern_fills_in_names():
    """Id, site and area are built from the topic's placeholders; forbidden characters of the id become hyphens."""
    more = {"sensor_id": "v-{sensor}", "site": "{site}", "area": "{site}/{area}"}
    decoder = pattern_decoder("value", "f/{site}/{area}/{sensor}/{quantity}", **more)
    assert discovers(decoder, "f/Athen/Flur 1/Lüfter 2/a", b"1") == [("v-Lüfter-2", "Athen", "Athen/Flur 1", "a")]


@pytest.mark.parametrize("device", ["?", "/", "x" * 201, "\0a"])
def test_invalid_device_names(device):
    """A device name without a valid character is quarantined."""
    decoder = pattern_decoder("thingsboard", "f")
    payload = {device: [{"ts": NOW // 1000, "values": {"a": 1}}]}
    decoded = decoder.decode(Message("f", json.dumps(payload).encode(), NOW))
    assert [rejection.reason for rejection in decoded.rejections] == [Reason.UNKNOWN_SENSOR]


def test_registered_devices_are_never_too_many():
    """A message of a large gateway has all of its readings, though most devices lack most of the type's quantities."""
    quantities = {f"q{number}": {"unit": "1", "interval_seconds": 1} for number in range(30)}
    document = {
        "subscribe": ["#"],
        "types": {"k": {"quantities": quantities, "format": "thingsboard"}},
        "sensors": [{"type": "k", "site": "s", "area": "x", "topic": "f", "discover": True}],
    }
    parsed = sensors_file.parse(json.dumps(document).encode())
    devices = [f"d{number}" for number in range(400)]
    discovered = [sensor for device in devices if (sensor := parsed.sensor_of_pattern("f", device))]
    decoder = Decoder(parsed, {(device, "q0"): number + 1 for number, device in enumerate(devices)}, discovered)
    payload = {device: [{"ts": NOW // 1000, "values": {"q0": 1}}] for device in devices}
    for _ in range(2):
        decoded = decoder.decode(Message("f", json.dumps(payload).encode(), NOW))
        assert (len(decoded.readings), decoded.rejections) == (400, [])


def test_cached_devices_are_bounded(monkeypatch):
    """Where the topic alone names the sensor, the number of cached device names is bounded."""
    monkeypatch.setattr("collector.decode.series_decoder.MOST_DEVICES", 10)
    (only,) = sensors("a")
    searched: list[str] = []

    def find(device: str) -> Sensor:
        searched.append(device)
        return only

    given = [Measurement("t", 1, device=f"d{number}") for number in range(50)]
    ids = {("a", name): number for name, number in IDS.items()}
    decoder = SeriesDecoder(FormatOptions(), Given(*given), find, ids, SECOND, {}, [only.quantities])
    for _ in range(2):
        assert len(decoder.decode(Message("x", b"x", NOW)).readings) == 50
    assert len(searched) == 50 + 40


def test_exact_topics_win():
    """A sensor's own topic takes precedence over patterns, and the first pattern over later ones."""
    document = {
        "subscribe": ["#"],
        "types": {"k": {"quantities": {"a": {"unit": "1", "interval_seconds": 1}}, "format": "value"}},
        "sensors": [
            {"type": "k", "site": "1", "area": "x", "topic": "f/{sensor}/{quantity}", "discover": True},
            {"type": "k", "site": "2", "area": "x", "topic": "+/own/{quantity}", "sensor_id": "wild"},
            {"type": "k", "site": "3", "area": "x", "topic": "{x}/{sensor}/{quantity}", "discover": True},
            {
                "type": "k",
                "site": "4",
                "area": "x",
                "topic": "f/own/a",
                "sensor_id": "own",
                "format": {"name": "value", "quantity": "a"},
            },
        ],
    }
    decoder = Decoder(sensors_file.parse(json.dumps(document).encode()), {("own", "a"): 7, ("wild", "a"): 8})
    assert decoder.decode(Message("f/own/a", b"1", NOW)).readings == [(7, NOW, 1.0)]
    assert discovers(decoder, "f/one/a", b"1") == [("one", "1", "x", "a")]
    assert decoder.decode(Message("g/own/a", b"1", NOW)).readings == [(8, NOW, 1.0)]
    assert discovers(decoder, "g/two/a", b"1") == [("two", "3", "x", "a")]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_a_key(name):
    """Options of a format are hashable and equal across registries, since readers are looked up by them."""
    first, second = pattern_decoder(name, "f/{sensor}/{quantity}"), pattern_decoder(name, "f/{sensor}/{quantity}")
    (form,) = [pattern.prototype.format for pattern in first._registered.registry.patterns]
    (same,) = [pattern.prototype.format for pattern in second._registered.registry.patterns]
    assert {form: 1}[same] == 1


PAYLOADS = [b'{"a": 1}', b'{"x": {"a": 1}}', b'{"x": [{"ts": 1, "values": {"a": 1}}]}', b"5"]


@settings(deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.lists(st.sampled_from(["f", "a", "$x", "SENSOR", "", "bridge", "état", "x" * 300]), max_size=5).map("/".join),
    st.binary(max_size=60) | st.sampled_from(PAYLOADS),
    st.booleans(),
)
def test_nothing_else_escapes(name, topic, payload, retained):
    """A message for a sensor pattern of any format is decoded, waits for registration, or raises one of two errors."""
    decoder = pattern_decoder(name, "f/{sensor}/{quantity}")
    for published in ("f/" + topic, topic):
        rejections = []
        try:
            rejections = decoder.decode(Message(published, payload, NOW, retained)).rejections
        except UndecodableError as error:
            rejections = [error.rejection]
        except (NoReadingError, UnregisteredError):
            pass
        assert Reason.DEFECT not in [rejection.reason for rejection in rejections]


PLACES = ["a", "b", "a/b", "a/a/0", "b/", "b//a", "0"]
PLACED = {
    f"q{place}": {"unit": "Cel", "source": name, "states": {"on": 1}, "interval_seconds": 1}
    for place, name in enumerate(PLACES)
}
STEPS = st.sampled_from(["a", "b", "a/b", "", "0", "x" * 201])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.sampled_from(["on", "off", "x"])
)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STEPS, inner, max_size=4), max_leaves=12
)
GROWN = st.builds(
    Tree,
    st.dictionaries(STEPS, TREES, max_size=4),
    st.sampled_from(["", "a/", "b/", "x/", "/"]),
    st.tuples(st.none() | st.integers(NOW - 10**15, NOW + 10**9), st.none()),
    st.sampled_from(["", "other"]),
    st.sampled_from([{}, {"a": "[degF]", "b": "V"}]),
    st.sampled_from([None, lambda name: name[:1]]),
)


class GivenTrees(Given):
    """A reader of trees that returns the given trees."""

    def __init__(self, *trees: Tree) -> None:
        super().__init__(*[measurement for tree in trees for measurement in tree.measurements()])
        self.given_trees = trees

    def trees(self, _message, _names):
        """Return them."""
        return self.given_trees


@given(st.lists(GROWN, max_size=3), st.booleans())
def test_trees(trees, retained):
    """Readings from trees equal those of their measurements, in the same order."""
    document = {
        "subscribe": ["#"],
        "types": {"k": {"quantities": PLACED, "format": "shelly"}},
        "sensors": [{"sensor_id": "a", "type": "k", "site": "s", "area": "a", "topic": "x"}],
    }
    (sensor,) = sensors_file.parse(json.dumps(document).encode()).sensors
    ids = {("a", name): number for number, name in enumerate(PLACED)}
    message = Message("x", b"x", NOW, retained)
    outcomes = []
    for reader in (Given(*GivenTrees(*trees).measurements), GivenTrees(*trees)):
        decoder = SeriesDecoder(
            Lenient(), reader, sensor_by_device([sensor]), ids, 300 * SECOND, {}, [sensor.quantities]
        )
        outcomes.append([])
        for _ in range(2):  # the sensor is known the second time
            try:
                # Trees count null too, which measurements leave out.
                outcomes[-1].append(decoder.decode(message)[:2])
            except NoReadingError:
                outcomes[-1].append(None)
    assert outcomes[0] == outcomes[1]

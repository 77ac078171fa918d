"""The fast path of format ``fields`` against its general path."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.decode.decoder import Decoder
from collector.formats.fields import FieldsReader
from collector.message import Message, NoReadingError, UndecodableError
from collector.registry import sensors_file

FIRST = datetime(2026, 10, 24)  # noqa: DTZ001 - the strategy adds the zone
ARRIVED = int(datetime(2026, 10, 25, 2, tzinfo=UTC).timestamp() * 1e6)
ONE = {"x": {"unit": "Cel", "sent_unit": "[degF]", "interval_seconds": 1}}
THREE = {
    "x": {"unit": "Cel", "interval_seconds": 1},
    "y": {"unit": "%", "interval_seconds": 1, "states": {"low": 5}},
    "z": {"unit": "1", "kind": "boolean", "interval_seconds": 1},
}
REGISTRIES = {
    "one quantity": ({"x": {"unit": "Cel", "interval_seconds": 1}}, {}, ["s"], {}),
    "one quantity in another unit": (ONE, {}, ["s"], {}),
    "three quantities": (THREE, {}, ["s"], {}),
    "two devices": (THREE, {}, ["s", "t"], {}),
    "local times": (THREE, {}, ["s"], {"timezone": "Europe/Berlin"}),
    "local times of one quantity": (ONE, {}, ["s"], {"timezone": "Europe/Berlin"}),
    "arrival": (THREE, {"time": None}, ["s"], {}),
    "milliseconds": (ONE, {"time_unit": "ms"}, ["s"], {}),
    "members are no units": (ONE, {"unit": None}, ["s"], {}),
    "a nested list": (ONE, {"readings": "/data"}, ["s"], {}),
    "only wide objects": (ONE, {"quantity": None}, ["s"], {}),
}
"""Quantities, options of the format, sensors and the settings of each sensor."""

_numbers = st.one_of(st.floats(-1e20, 1e20), st.integers(-(2**70), 2**70), st.integers(-50, 50))
_values = st.one_of(_numbers, st.booleans(), st.none(), st.sampled_from(["low", "on", "21.5", "21,5", "", "nan"]))
_times = st.one_of(
    st.datetimes(FIRST, FIRST + timedelta(days=2), timezones=st.none() | st.just(UTC)).map(datetime.isoformat),
    st.integers(ARRIVED // 1000 - 10**8, ARRIVED // 1000 + 10),
    st.sampled_from(["", "yesterday", None, "2026-10-25T00:00:00." + "0" * 60 + "Z", "2026-10-25T02:30:00"]),
)
_units = st.sampled_from(["Cel", "°F", "[degF]", " Cel ", "", "kg", 1, None, "%"])
_objects = st.fixed_dictionaries(
    {"timestamp": _times},
    optional={
        "x": _values,
        "y": _values,
        "z": _values,
        "value": _values,
        "sensor": st.sampled_from(["x", "y", "other", 1, None]),
        "device_id": st.sampled_from(["s", "t", "other", 7, None]),
        "unit": _units,
        "x_unit": _units,
        "U": _units,
        "tag": st.one_of(_values, st.lists(st.fixed_dictionaries({"timestamp": _times, "x": _values}), max_size=2)),
    },
)
_plain = st.fixed_dictionaries(
    {"timestamp": st.just("2026-10-25T00:30:00.123Z"), "x": st.floats(-50, 50), "device_id": st.just("s")},
    optional={"tag": st.just("T"), "x_unit": _units, "unit": _units},
)
_lists = st.lists(_plain, max_size=6) | st.lists(_objects, max_size=6) | st.lists(_objects | _values, max_size=3)
_documents = _lists | _objects | _values | st.fixed_dictionaries({"data": _lists | _objects}, optional={"x": _values})


def registry_of(name):
    """Return the registry ``name`` of :data:`REGISTRIES`."""
    quantities, options, sensors, of_sensor = REGISTRIES[name]
    entry = {"type": "t", "site": "s", "area": "a", "topic": "a", **of_sensor}
    text = {
        "subscribe": ["a"],
        "types": {"t": {"quantities": quantities, "format": {"name": "fields", **options}}},
        "sensors": [{"sensor_id": sensor, **entry} for sensor in sensors],
    }
    return sensors_file.parse(json.dumps(text).encode())


def outcome(registry, message):
    """Return what comes of ``message``, as text."""
    ids = {(sensor.sensor_id, name): n for n, sensor in enumerate(registry.sensors) for name in sensor.quantities}
    decoder = Decoder(registry, {key: 10 * n + len(key[1]) for n, key in enumerate(ids)})
    try:
        return repr(decoder.decode(message))
    except (UndecodableError, NoReadingError) as error:
        return repr((error, getattr(error, "rejection", None), getattr(error, "reason", None)))


@pytest.mark.parametrize("name", REGISTRIES)
@settings(max_examples=150, deadline=None)
@given(document=_documents, retained=st.booleans())
def test_fast_path_equals_the_general_path(name, document, retained):
    """A message has the same readings, rejections and ignored values by both, whatever the options."""
    registry = registry_of(name)
    message = Message("a", json.dumps(document).encode(), ARRIVED, retained=retained)
    fast = outcome(registry, message)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FieldsReader, "plain", lambda self, topic: None)
        assert outcome(registry, message) == fast


@pytest.mark.parametrize("name", REGISTRIES)
def test_the_fast_path_reads_plain_messages(name, monkeypatch):
    """A plain message does not reach the general path, so that a fast path that is never taken is noticed."""
    registry, options = registry_of(name), REGISTRIES[name][1]
    time = ARRIVED // 1000 if options.get("time_unit") == "ms" else "2026-10-25T00:30:00Z"
    item = {"device_id": "s", "timestamp": time, "x": 21.5}
    document = {"data": [item, item]} if "readings" in options else item
    monkeypatch.setattr(FieldsReader, "_all", None)
    assert "readings=[(" in outcome(registry, Message("a", json.dumps(document).encode(), ARRIVED))

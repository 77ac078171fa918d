"""Posted readings: every mistake is reported before publishing, and the collector decodes what is published."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.ingest import payload
from access.problems import ProblemError
from collector.decode.decoder import Decoder
from collector.message import Message
from collector.registry import sensors_file
from collector.registry.discovery import UnregisteredError

ROOT = Path(__file__).parents[3]
TIME = "2026-03-01T12:00:00Z"
MICROS = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp() * 1_000_000)
WIDE = {"device_id": "t0", "timestamp": TIME, "temperature": 21.5, "tag": "lab"}
NARROW = {"device_id": "t0", "timestamp": TIME, "sensor": "temperature", "value": 21.5}


def parse(body: object, kind: payload.Body = "application/json") -> list[dict]:
    """Return the readings in a body, given as bytes or as a JSON value."""
    return payload.parse(body if isinstance(body, bytes) else json.dumps(body).encode(), kind)[0]


def refused(body: object, kind: payload.Body = "application/json") -> ProblemError:
    """Return the problem of an invalid body."""
    with pytest.raises(ProblemError) as caught:
        parse(body, kind)
    return caught.value


@pytest.mark.parametrize("reading", [WIDE, NARROW])
def test_single_list_and_ndjson(reading):
    """An object, a list, and NDJSON with blank lines are parsed to their readings."""
    assert parse(reading) == [reading]
    assert parse([reading, reading]) == [reading, reading]
    lines = b"\n".join([json.dumps(reading).encode(), b"", b"  ", json.dumps(reading).encode(), b""])
    assert parse(lines, "application/x-ndjson") == [reading, reading]


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"device_id": None}, "#/1/device_id"),
        ({"device_id": ""}, "#/1/device_id"),
        ({"device_id": "a/b"}, "#/1/device_id"),
        ({"device_id": "#"}, "#/1/device_id"),
        ({"device_id": "a b"}, "#/1/device_id"),
        ({"device_id": "x" * 101}, "#/1/device_id"),
        ({"timestamp": None}, "#/1/timestamp"),
        ({"timestamp": 1772366400}, "#/1/timestamp"),
        ({"timestamp": "2026-03-01"}, "#/1/timestamp"),
        ({"timestamp": "2026-03-01T12:00:00"}, "#/1/timestamp"),
        ({"timestamp": "yesterday"}, "#/1/timestamp"),
        ({"temperature": "21.5"}, "#/1/temperature"),
        ({"temperature": None}, "#/1/temperature"),
        ({"temperature": [1]}, "#/1/temperature"),
        ({"temperature": 2**53 + 1}, "#/1/temperature"),
        ({"temperature": 1e300}, "#/1/temperature"),
        ({"a/b~c": "x"}, "#/1/a~1b~0c"),
        ({"tag": 5}, "#/1/tag"),
        ({"sensor": "temperature"}, "#/1/value"),
        ({"sensor": 5, "value": 1}, "#/1/sensor"),
    ],
)
def test_mistakes_have_pointers(changed, pointer):
    """A mistake in one reading of a list has a JSON Pointer and refuses the whole list."""
    error = refused([WIDE, {**WIDE, **changed}])
    assert error.kind.status == 422
    assert pointer in [mistake["pointer"] for mistake in error.errors]
    assert all(mistake["pointer"].startswith("#/1/") for mistake in error.errors)


def test_reading_without_a_value_is_refused():
    """A reading needs a value; the pointer of a single reading has no index."""
    error = refused({"device_id": "t0", "timestamp": TIME, "tag": "x"})
    assert [mistake["pointer"] for mistake in error.errors] == ["#"]
    assert [mistake["pointer"] for mistake in refused({**WIDE, "temperature": "x"}).errors] == ["#/temperature"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"temperature=21.5", "application/json", 400),
        (b'{"device_id": "t0", "temperature": NaN}', "application/json", 400),
        (b'{"device_id": "\xff"}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"1" * 10_000, "application/json", 400),
        (b'{"a": 1}\n{', "application/x-ndjson", 400),
        (b"[]", "application/json", 422),
        (b"\n\n", "application/x-ndjson", 422),
        (b"5", "application/json", 422),
        (b'[{"device_id": "t0"}, 5]', "application/json", 422),
        (b"[" + b"5," * 10_000 + b"5]", "application/json", 413),
    ],
)
def test_status_of_invalid_bodies(body, kind, status):
    """Invalid JSON gives 400, JSON that is not a reading 422, too many readings 413."""
    assert refused(body, kind).kind.status == status


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
MEMBERS = st.fixed_dictionaries(
    {}, optional={name: JSON | st.just(TIME) for name in ("device_id", "timestamp", "sensor", "value", "tag", "x")}
)


@given(
    st.binary(max_size=50)
    | (JSON | MEMBERS | st.lists(MEMBERS, max_size=3)).map(lambda value: json.dumps(value).encode())
)
def test_any_body_is_valid_or_a_problem(body):
    """Any body gives readings that can be published, or a problem; never another exception."""
    for kind in ("application/json", "application/x-ndjson"):
        with suppress(ProblemError):
            payload.group_by_device(parse(body, kind))


def test_messages_group_readings_by_device():
    """The readings of a device are grouped in order, up to the limit per message, each once."""
    items = [{**WIDE, "device_id": f"t{n % 2}", "temperature": n} for n in range(7)]
    messages = payload.group_by_device(items, limit=2)
    assert [(message.device, message.numbers) for message in messages] == [
        ("t0", (0, 2)), ("t0", (4, 6)), ("t1", (1, 3)), ("t1", (5,)),
    ]  # fmt: skip
    assert [json.loads(message.payload) for message in messages[-2:]] == [[items[1], items[3]], items[5]]


@pytest.mark.parametrize("reading", [WIDE, NARROW, {**WIDE, "device_id": "θ-1"}])
@pytest.mark.parametrize("count", [1, 3])
def test_collector_decodes_published_messages(reading, count):
    """The collector decodes both formats, single and several, to the same readings."""
    text = {
        "subscribe": ["sensors/#"],
        "types": {"any": {"quantities": {"temperature": {"unit": "Cel", "interval_seconds": 1}}}},
        "sensors": [
            {
                "sensor_id": "t0",
                "device": reading["device_id"],
                "type": "any",
                "site": "s",
                "area": "a",
                "topic": "sensors/x",
            }
        ],
    }
    decoder = Decoder(sensors_file.parse(json.dumps(text).encode()), {("t0", "temperature"): 7})
    items = [{**reading, "timestamp": f"2026-03-01T12:00:0{n}Z"} for n in range(count)]
    (message,) = payload.group_by_device(items)
    decoded = decoder.decode(Message("sensors/x", message.payload, MICROS + 10_000_000))
    assert decoded.rejections == []
    assert decoded.readings == [(7, MICROS + n * 1_000_000, 21.5) for n in range(count)]


@pytest.mark.parametrize(
    ("header", "encoding", "kind"),
    [
        ("application/json", None, "application/json"),
        ("Application/JSON; charset=utf-8", "identity", "application/json"),
        ("application/x-ndjson", None, "application/x-ndjson"),
        ("application/ndjson", "", "application/x-ndjson"),
        ("application/x-www-form-urlencoded", None, None),
        ("text/plain", None, None),
        (None, None, None),
        ("application/json", "gzip", None),
    ],
)
def test_media_types(header, encoding, kind):
    """Uncompressed JSON and NDJSON are accepted; any other or no media type gives 415."""
    if kind is not None:
        assert payload.media_type(header, encoding) == kind
        return
    with pytest.raises(ProblemError) as caught:
        payload.media_type(header, encoding)
    assert caught.value.kind.status == 415


def test_unknown_device_is_registered_by_its_first_message():
    """The default registry registers the device of a posted reading as a sensor of site http."""
    registry = sensors_file.load(ROOT / "sensors.json")
    ids = {(sensor.sensor_id, name): 1 for sensor in registry.sensors for name in sensor.quantities}
    (message,) = payload.group_by_device([{**WIDE, "device_id": "porch"}])
    with pytest.raises(UnregisteredError) as caught:
        Decoder(registry, ids).decode(Message("sensors/http/porch", message.payload, MICROS + 1))
    (discovery,) = caught.value.discoveries
    assert (discovery.sensor.sensor_id, discovery.sensor.site, discovery.quantity) == ("porch", "http", "temperature")

"""Posted readings: all that is wrong is told before anything goes out, and what goes out the collector understands."""

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


def read(body: object, kind: payload.Body = "application/json") -> list[dict]:
    """Return the readings in a body, given as bytes or as what it is in JSON."""
    return payload.read(body if isinstance(body, bytes) else json.dumps(body).encode(), kind)[0]


def refused(body: object, kind: payload.Body = "application/json") -> ProblemError:
    """Return the problem that a body is."""
    with pytest.raises(ProblemError) as caught:
        read(body, kind)
    return caught.value


@pytest.mark.parametrize("form", [WIDE, NARROW])
def test_one_a_list_and_lines(form):
    """One object, a list of them, and lines of them, blank ones among them, are the readings they hold."""
    assert read(form) == [form]
    assert read([form, form]) == [form, form]
    lines = b"\n".join([json.dumps(form).encode(), b"", b"  ", json.dumps(form).encode(), b""])
    assert read(lines, "application/x-ndjson") == [form, form]


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
def test_mistakes_are_told_by_their_place(changed, pointer):
    """What is wrong in one of several is pointed at, and nothing is accepted."""
    found = refused([WIDE, {**WIDE, **changed}])
    assert found.kind.status == 422
    assert pointer in [one["pointer"] for one in found.errors]
    assert all(one["pointer"].startswith("#/1/") for one in found.errors)


def test_a_reading_without_a_value_is_none():
    """A device and a time alone are refused; of one that stands alone, the pointer has no number."""
    found = refused({"device_id": "t0", "timestamp": TIME, "tag": "x"})
    assert [one["pointer"] for one in found.errors] == ["#"]
    assert [one["pointer"] for one in refused({**WIDE, "temperature": "x"}).errors] == ["#/temperature"]


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
def test_what_is_no_reading_at_all(body, kind, status):
    """No JSON is 400, JSON that is no reading 422, too many readings 413; never anything else."""
    assert refused(body, kind).kind.status == status


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
MEMBERS = st.fixed_dictionaries(
    {}, optional={name: JSON | st.just(TIME) for name in ("device_id", "timestamp", "sensor", "value", "tag", "x")}
)


@given(
    st.binary(max_size=50) | (JSON | MEMBERS | st.lists(MEMBERS, max_size=3)).map(lambda one: json.dumps(one).encode())
)
def test_nothing_but_problems(body):
    """Whatever is posted is a list of readings or a problem, and what is taken can be published."""
    for kind in ("application/json", "application/x-ndjson"):
        with suppress(ProblemError):
            payload.messages(read(body, kind))


def test_messages_hold_each_devices_readings_in_their_order():
    """Readings of one device go out together, in the order that they came in, so many at a time; none twice."""
    items = [{**WIDE, "device_id": f"t{n % 2}", "temperature": n} for n in range(7)]
    found = payload.messages(items, most=2)
    assert [(one.device, one.numbers) for one in found] == [
        ("t0", (0, 2)), ("t0", (4, 6)), ("t1", (1, 3)), ("t1", (5,)),
    ]  # fmt: skip
    assert [json.loads(one.payload) for one in found[-2:]] == [[items[1], items[3]], items[5]]


@pytest.mark.parametrize("form", [WIDE, NARROW, {**WIDE, "device_id": "θ-1"}])
@pytest.mark.parametrize("count", [1, 3])
def test_the_collector_understands_what_goes_out(form, count):
    """Both forms, one and several, are decoded to the same readings by a sensor of the registry's format."""
    text = {
        "subscribe": ["sensors/#"],
        "types": {"any": {"quantities": {"temperature": {"unit": "Cel", "interval_seconds": 1}}}},
        "sensors": [
            {
                "sensor_id": "t0",
                "device": form["device_id"],
                "type": "any",
                "site": "s",
                "area": "a",
                "topic": "sensors/x",
            }
        ],
    }
    decoder = Decoder(sensors_file.parse(json.dumps(text).encode()), {("t0", "temperature"): 7})
    items = [{**form, "timestamp": f"2026-03-01T12:00:0{n}Z"} for n in range(count)]
    (message,) = payload.messages(items)
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
    """JSON and NDJSON are taken, plain; anything else, or nothing said, is 415 with what to send."""
    if kind is not None:
        assert payload.media_type(header, encoding) == kind
        return
    with pytest.raises(ProblemError) as caught:
        payload.media_type(header, encoding)
    assert caught.value.kind.status == 415


def test_a_device_nobody_knows_is_registered_by_its_first_message():
    """With the registry that the product comes with, a posted reading of any name becomes a sensor of site http."""
    known = sensors_file.load(ROOT / "sensors.json")
    ids = {(sensor.sensor_id, name): 1 for sensor in known.sensors for name in sensor.quantities}
    (message,) = payload.messages([{**WIDE, "device_id": "porch"}])
    with pytest.raises(UnregisteredError) as caught:
        Decoder(known, ids).decode(Message("sensors/http/porch", message.payload, MICROS + 1))
    (found,) = caught.value.discoveries
    assert (found.sensor.sensor_id, found.sensor.site, found.quantity) == ("porch", "http", "temperature")

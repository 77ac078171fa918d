"""Simulated faults and their tally."""

import itertools
import math
from collections import Counter
from pathlib import Path

import orjson
import pytest

from collector.registry import sensors_file
from core.errors import SettingError
from simulator import faults, schedule
from simulator.faults import Faults, FaultSpec

START = 1_780_000_000.0


@pytest.fixture(scope="module")
def devices():
    """Return devices for the sensors of the repository's registry."""
    registry = sensors_file.load(Path(__file__).parents[3] / "sensors.json")
    return schedule.make_devices(schedule.default_sensors(registry), 1, None)


@pytest.fixture(scope="module")
def whole(devices):
    """Return the samples of all devices over 2000 seconds, without faults."""
    return list(schedule.history(devices, START, START + 2000, 1.0))


def with_faults(whole, spec, seed=1):
    """Return the messages of ``whole`` with faults, and the tally."""
    injected = Faults(spec, seed, START)
    return list(injected.messages(schedule.messages(injected.samples(whole), "wide", 1))), injected.tally


def values(messages, sensor_id):
    """Return (timestamp, value) of all messages of one sensor, in order."""
    documents = [orjson.loads(message.payload) for message in messages if message.sensor_id == sensor_id]
    names = {"device_id", "timestamp", "tag"}
    return [
        (document["timestamp"], next(value for name, value in document.items() if name not in names))
        for document in documents
    ]


def test_no_faults_change_nothing(whole):
    """Without faults the messages do not change."""
    messages, tally = with_faults(whole, FaultSpec())
    assert messages == list(schedule.messages(whole, "wide", 1))
    assert tally == {"samples": 12_000, "messages": 12_000, "out": 12_000}


def test_same_seed_same_faults(devices, whole):
    """The same seed gives the same messages, another seed other ones."""
    spec = faults.parse("all", [device.sensor.sensor_id for device in devices])
    assert with_faults(whole, spec) == with_faults(whole, spec)
    assert with_faults(whole, spec)[0] != with_faults(whole, spec, seed=2)[0]


def test_lost_and_duplicate_are_counted(whole):
    """The output is the input without lost messages, plus the duplicates."""
    messages, tally = with_faults(whole, FaultSpec(rates={"lost": 0.05, "duplicate": 0.1}))
    copies = Counter(message.payload for message in messages)
    assert len(messages) == 12_000 - tally["lost"] + tally["duplicate"] == tally["out"]
    assert len(whole) - len(copies) == tally["lost"]
    assert sum(count == 2 for count in copies.values()) == tally["duplicate"]
    assert 400 < tally["lost"] < 800
    assert 900 < tally["duplicate"] < 1400


def test_late_messages_are_delayed(whole):
    """Late messages follow messages of up to the given time later, and none is missing."""
    messages, tally = with_faults(whole, FaultSpec(rates={"late": 0.05}, late_seconds=90))
    times = [time for time, _ in values(messages, "motor-1")]
    behind = sum(time != latest for time, latest in zip(times, _running_maximum(times), strict=True))
    assert len(messages) == 12_000
    assert sorted(times) == sorted(set(times))
    # Late messages of the last 90 s come last, in order.
    assert 0 < behind <= tally["late"]
    assert 400 < tally["late"] < 800


def _running_maximum(times):
    latest = ""
    for time in times:
        latest = max(latest, time)
        yield latest


def test_out_of_order_swaps_neighbours(devices, whole):
    """A message out of order comes directly after the next one of its sensor."""
    messages, tally = with_faults(whole, FaultSpec(rates={"out-of-order": 0.05}))
    backwards = 0
    for device in devices:
        times = [time for time, _ in values(messages, device.sensor.sensor_id)]
        backwards += sum(later < now for now, later in itertools.pairwise(times))
    # One delayed at the end has no next one.
    assert 0 < tally["out-of-order"] - len(devices) <= backwards <= tally["out-of-order"]


def test_out_of_range_leaves_the_range(devices, whole):
    """The number of values outside their plausible range equals the tally."""
    limits = {device.sensor.sensor_id: next(iter(device.sensor.quantities.values())) for device in devices}
    messages, tally = with_faults(whole, FaultSpec(rates={"out-of-range": 0.02}))
    outside = sum(
        not limits[name].minimum <= value <= limits[name].maximum
        for name in limits
        for _, value in values(messages, name)
    )
    assert outside == tally["out-of-range"] > 0


def test_malformed_kinds(whole):
    """Every kind of malformed payload occurs and is malformed in that way."""
    messages, tally = with_faults(whole, FaultSpec(rates={"malformed": 0.1}))
    kinds = Counter()
    for message in messages:
        try:
            text = message.payload.decode()
        except UnicodeDecodeError:
            kinds["not-utf-8"] += 1
            continue
        if "NaN" in text:
            kinds["nan"] += 1
            continue
        try:
            document = orjson.loads(text)
        except orjson.JSONDecodeError:
            kinds["truncated"] += 1
            continue
        kinds["wrong-type"] += any(isinstance(value, dict) for value in document.values())
    assert {f"malformed:{kind}": kinds[kind] for kind in faults.MALFORMED} == {
        key: count for key, count in tally.items() if key.startswith("malformed:")
    }
    assert sum(kinds.values()) == tally["malformed"]
    assert min(kinds.values()) > 0


def test_malformed_numbers_keep_the_time():
    """A payload with NaN or the wrong type keeps its time, also in an array."""
    payload = b'[{"timestamp":"2026-01-31T23:59:59.250Z","v":-1.5e3,"on":true}]'
    assert faults.MALFORMERS["nan"](payload) == b'[{"timestamp":"2026-01-31T23:59:59.250Z","v":NaN,"on":NaN}]'
    assert orjson.loads(faults.MALFORMERS["wrong-type"](payload)) == [
        {"timestamp": "2026-01-31T23:59:59.250Z", "v": {"is": "-1.5e3"}, "on": {"is": "true"}}
    ]


def test_skewed_clock(whole):
    """A sensor with a skewed clock sends correct values with wrong times; other sensors are not affected."""
    unskewed, _ = with_faults(whole, FaultSpec())
    skewed, tally = with_faults(whole, FaultSpec(skew={"thermostat-1": 120.0}))
    right, wrong = values(unskewed, "thermostat-1"), values(skewed, "thermostat-1")
    assert [value for _, value in right] == [value for _, value in wrong]
    assert [time for time, _ in right[120:]] == [time for time, _ in wrong[:-120]]
    assert values(unskewed, "motor-1") == values(skewed, "motor-1")
    assert tally["skew"] == 2000


def test_silent_and_flat_sensors(whole):
    """After the given time a silent sensor stops, and a flat one repeats its value."""
    messages, tally = with_faults(whole, FaultSpec(silent={"motor-1": 600.0}, flat={"barometer-1": 1000.0}))
    assert len(values(messages, "motor-1")) == 600
    assert len({value for _, value in values(messages, "barometer-1")[1000:]}) == 1
    assert len({value for _, value in values(messages, "barometer-1")[:1000]}) > 1
    assert (tally["silent"], tally["flat"]) == (1400, 1000)


def test_a_sensor_outside_its_range_still_varies(whole):
    """From the given time on all its values are implausible and still vary; other sensors are not affected."""
    messages, tally = with_faults(whole, FaultSpec(outside={"motor-1": 600.0}))
    series = [value for _, value in values(messages, "motor-1")]
    assert max(series[:600]) <= 30 < min(series[600:])
    assert len(set(series[600:])) > 100
    assert tally["out-of-range"] == 1400
    assert values(messages, "barometer-1") == values(with_faults(whole, FaultSpec())[0], "barometer-1")


def test_parse_all_forms():
    """Every form of the specification is parsed, also with colons in sensor ids."""
    spec = faults.parse(
        "lost=0.01,duplicate=.02, late=0.05:2m,out-of-order=0,out-of-range=1,malformed=0.01,"
        "skew=a:b:-1.5s,skew=motor-1:+2m,silent=motor-1,flat=a:b:10m,out-of-range=a:b:1h,out-of-range=motor-1",
        ["motor-1", "a:b"],
    )
    assert spec == FaultSpec(
        rates={"lost": 0.01, "duplicate": 0.02, "late": 0.05, "out-of-order": 0, "out-of-range": 1, "malformed": 0.01},
        late_seconds=120,
        skew={"a:b": -1.5, "motor-1": 120},
        silent={"motor-1": 0},
        flat={"a:b": 600},
        outside={"a:b": 3600, "motor-1": 0},
    )


def test_parse_all():
    """``all`` means every fault with a rate, and one skewed clock."""
    spec = faults.parse("all", ["thermostat-1", "motor-1"])
    assert set(spec.rates) == set(faults.RATES)
    assert spec.skew == {"thermostat-1": 30}


def test_parse_lists_every_mistake():
    """All mistakes are reported together, each with a correct example."""
    with pytest.raises(SettingError) as caught:
        faults.parse("lost=2,lost,gone=1,late=0.1:soon,malformed=0.1:3s,skew=motor-1,silent=missing", ["motor-1"])
    lines = str(caught.value).splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == [
        "lost=2", "lost", "gone=1", "late=0.1", "malformed=0.1", "skew=motor-1", "silent=missing",
    ]  # fmt: skip
    assert "write lost=0.01" in lines[0]
    assert "motor-1" in lines[6]


def test_parse_refuses_an_empty_text():
    """An empty specification is a mistake, not a run without faults."""
    with pytest.raises(SettingError, match="write all"):
        faults.parse(" , ", ["motor-1"])


def test_infinite_times_have_no_effect(whole):
    """A fault with an infinite start time never occurs."""
    _, tally = with_faults(whole, FaultSpec(silent={"motor-1": math.inf}))
    assert tally["silent"] == 0

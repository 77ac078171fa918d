"""What goes wrong on purpose, and its tally."""

import itertools
import math
from collections import Counter
from pathlib import Path

import orjson
import pytest

from collector.registry import sensors_file
from core.errors import SettingError
from simulator import faults, schedule
from simulator.faults import Faults, Spec

START = 1_780_000_000.0


@pytest.fixture(scope="module")
def players():
    """Return players of the product's own sensors."""
    found = sensors_file.load(Path(__file__).parents[3] / "sensors.json")
    return schedule.players(schedule.played(found), 1, None)


@pytest.fixture(scope="module")
def whole(players):
    """Return 2000 seconds of all players' samples, before any fault."""
    return list(schedule.history(players, START, START + 2000, 1.0))


def damaged(whole, spec, seed=1):
    """Return the messages of ``whole`` after faults, and the tally."""
    damage = Faults(spec, seed, START)
    return list(damage.messages(schedule.messages(damage.samples(whole), "wide", 1))), damage.tally


def values(messages, sensor_id):
    """Return (timestamp, value) of all messages of one sensor, in their order."""
    found = [orjson.loads(message.payload) for message in messages if message.sensor_id == sensor_id]
    return [(one.pop("timestamp"), next(value for key, value in one.items() if key not in {"device_id", "tag"}))
            for one in found]  # fmt: skip


def test_no_faults_change_nothing(whole):
    """Without faults the stream passes unchanged."""
    messages, tally = damaged(whole, Spec())
    assert messages == list(schedule.messages(whole, "wide", 1))
    assert tally == {"samples": 12_000, "messages": 12_000, "out": 12_000}


def test_same_seed_same_faults(players, whole):
    """The same seed gives the same messages, another one others."""
    spec = faults.parse("all", [player.sensor.sensor_id for player in players])
    assert damaged(whole, spec) == damaged(whole, spec)
    assert damaged(whole, spec)[0] != damaged(whole, spec, seed=2)[0]


def test_lost_and_duplicate_are_counted(whole):
    """Messages that come out are those that went in, less the lost, and the duplicates once more."""
    messages, tally = damaged(whole, Spec(rates={"lost": 0.05, "duplicate": 0.1}))
    copies = Counter(message.payload for message in messages)
    assert len(messages) == 12_000 - tally["lost"] + tally["duplicate"] == tally["out"]
    assert len(whole) - len(copies) == tally["lost"]
    assert sum(count == 2 for count in copies.values()) == tally["duplicate"]
    assert 400 < tally["lost"] < 800
    assert 900 < tally["duplicate"] < 1400


def test_late_messages_come_later(whole):
    """Late messages come after what is measured up to the given time later, and none is missing."""
    messages, tally = damaged(whole, Spec(rates={"late": 0.05}, late_seconds=90))
    times = [time for time, _ in values(messages, "motor-1")]
    behind = sum(time != latest for time, latest in zip(times, _running_maximum(times), strict=True))
    assert len(messages) == 12_000
    assert sorted(times) == sorted(set(times))
    # Late ones of the last 90 s come last of all, in order among themselves.
    assert 0 < behind <= tally["late"]
    assert 400 < tally["late"] < 800


def _running_maximum(times):
    latest = ""
    for time in times:
        latest = max(latest, time)
        yield latest


def test_out_of_order_swaps_neighbours(players, whole):
    """A message out of order comes right after the next one of its sensor."""
    messages, tally = damaged(whole, Spec(rates={"out-of-order": 0.05}))
    backwards = 0
    for player in players:
        times = [time for time, _ in values(messages, player.sensor.sensor_id)]
        backwards += sum(later < now for now, later in itertools.pairwise(times))
    # One held back at the very end has no next one to come after.
    assert 0 < tally["out-of-order"] - len(players) <= backwards <= tally["out-of-order"]


def test_out_of_range_leaves_the_range(players, whole):
    """As many values lie outside their plausible range as the tally says."""
    limits = {player.sensor.sensor_id: next(iter(player.sensor.quantities.values())) for player in players}
    messages, tally = damaged(whole, Spec(rates={"out-of-range": 0.02}))
    outside = sum(
        not limits[name].minimum <= value <= limits[name].maximum
        for name in limits
        for _, value in values(messages, name)
    )
    assert outside == tally["out-of-range"] > 0


def test_malformed_kinds(whole):
    """Every kind of malformed payload occurs and is what it says it is."""
    messages, tally = damaged(whole, Spec(rates={"malformed": 0.1}))
    found = Counter()
    for message in messages:
        try:
            text = message.payload.decode()
        except UnicodeDecodeError:
            found["not-utf-8"] += 1
            continue
        if "NaN" in text:
            found["nan"] += 1
            continue
        try:
            document = orjson.loads(text)
        except orjson.JSONDecodeError:
            found["truncated"] += 1
            continue
        found["wrong-type"] += any(isinstance(value, dict) for value in document.values())
    assert {f"malformed:{kind}": found[kind] for kind in faults.MALFORMED} == {
        key: count for key, count in tally.items() if key.startswith("malformed:")
    }
    assert sum(found.values()) == tally["malformed"]
    assert min(found.values()) > 0


def test_malformed_numbers_leave_the_time_alone():
    """A payload made NaN or of the wrong type keeps its time, also in an array."""
    payload = b'[{"timestamp":"2026-01-31T23:59:59.250Z","v":-1.5e3,"on":true}]'
    assert faults.BREAK["nan"](payload) == b'[{"timestamp":"2026-01-31T23:59:59.250Z","v":NaN,"on":NaN}]'
    assert orjson.loads(faults.BREAK["wrong-type"](payload)) == [
        {"timestamp": "2026-01-31T23:59:59.250Z", "v": {"is": "-1.5e3"}, "on": {"is": "true"}}
    ]


def test_skewed_clock(whole):
    """A sensor with a skewed clock tells the right values at wrong times; the others are not touched."""
    straight, _ = damaged(whole, Spec())
    skewed, tally = damaged(whole, Spec(skew={"thermostat-1": 120.0}))
    right, wrong = values(straight, "thermostat-1"), values(skewed, "thermostat-1")
    assert [value for _, value in right] == [value for _, value in wrong]
    assert [time for time, _ in right[120:]] == [time for time, _ in wrong[:-120]]
    assert values(straight, "motor-1") == values(skewed, "motor-1")
    assert tally["skew"] == 2000


def test_silent_and_flat_sensors(whole):
    """A silent sensor stops, a flat one repeats its value, each after the given time."""
    messages, tally = damaged(whole, Spec(silent={"motor-1": 600.0}, flat={"barometer-1": 1000.0}))
    assert len(values(messages, "motor-1")) == 600
    assert len({value for _, value in values(messages, "barometer-1")[1000:]}) == 1
    assert len({value for _, value in values(messages, "barometer-1")[:1000]}) > 1
    assert (tally["silent"], tally["flat"]) == (1400, 1000)


def test_a_sensor_that_leaves_its_range_stays_outside_and_goes_on_moving(whole):
    """From the given time on each of its values is implausible, and they differ as they did; others are untouched."""
    messages, tally = damaged(whole, Spec(outside={"motor-1": 600.0}))
    found = [value for _, value in values(messages, "motor-1")]
    assert max(found[:600]) <= 30 < min(found[600:])
    assert len(set(found[600:])) > 100
    assert tally["out-of-range"] == 1400
    assert values(messages, "barometer-1") == values(damaged(whole, Spec())[0], "barometer-1")


def test_parse_all_forms():
    """Every form of the specification is understood, ids with colons included."""
    spec = faults.parse(
        "lost=0.01,duplicate=.02, late=0.05:2m,out-of-order=0,out-of-range=1,malformed=0.01,"
        "skew=a:b:-1.5s,skew=motor-1:+2m,silent=motor-1,flat=a:b:10m,out-of-range=a:b:1h,out-of-range=motor-1",
        ["motor-1", "a:b"],
    )
    assert spec == Spec(
        rates={"lost": 0.01, "duplicate": 0.02, "late": 0.05, "out-of-order": 0, "out-of-range": 1, "malformed": 0.01},
        late_seconds=120,
        skew={"a:b": -1.5, "motor-1": 120},
        silent={"motor-1": 0},
        flat={"a:b": 600},
        outside={"a:b": 3600, "motor-1": 0},
    )


def test_parse_all_is_a_mix():
    """``all`` is every fault that has a rate, and one skewed clock."""
    spec = faults.parse("all", ["thermostat-1", "motor-1"])
    assert set(spec.rates) == set(faults.RATES)
    assert spec.skew == {"thermostat-1": 30}


def test_parse_lists_every_mistake():
    """All mistakes are told at once, each with an example of the right form."""
    with pytest.raises(SettingError) as caught:
        faults.parse("lost=2,lost,gone=1,late=0.1:soon,malformed=0.1:3s,skew=motor-1,silent=nobody", ["motor-1"])
    lines = str(caught.value).splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == [
        "lost=2", "lost", "gone=1", "late=0.1", "malformed=0.1", "skew=motor-1", "silent=nobody",
    ]  # fmt: skip
    assert "write lost=0.01" in lines[0]
    assert "motor-1" in lines[6]


def test_parse_refuses_nothing():
    """An empty specification is a mistake, not a run without faults."""
    with pytest.raises(SettingError, match="write all"):
        faults.parse(" , ", ["motor-1"])


def test_infinite_spec_times_never_come(whole):
    """A sensor the specification does not name never falls silent."""
    _, tally = damaged(whole, Spec(silent={"motor-1": math.inf}))
    assert tally["silent"] == 0

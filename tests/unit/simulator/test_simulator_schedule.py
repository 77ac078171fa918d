"""Which sensors are played, and the order of what they measure."""

import itertools
import json
from pathlib import Path

import pytest

from collector.registry import sensors_file
from core.errors import SettingError
from simulator import schedule
from simulator.demo_summary import Accounts, Summary

FILE = Path(__file__).parents[3] / "sensors.json"
START = 1_780_000_000.0


@pytest.fixture(scope="module")
def found():
    """Return the product's registry."""
    return sensors_file.load(FILE)


def test_file_loaded_sensors_are_not_played(found):
    """A sensor that reports hourly comes from files; it is played only when named."""
    assert "office-1" not in {sensor.sensor_id for sensor in schedule.choose(found, None, [])}
    assert [sensor.sensor_id for sensor in schedule.choose(found, None, ["office-1"])] == ["office-1"]


def test_first_so_many(found):
    """A count takes the first sensors of the registry."""
    assert [sensor.sensor_id for sensor in schedule.choose(found, 2, [])] == ["thermostat-1", "thermostat-2"]


def test_unknown_sensors_are_all_named(found):
    """Names that are not in the registry are told together."""
    with pytest.raises(SettingError, match=r"a, b; it has .*motor-1"):
        schedule.choose(found, None, ["a", "motor-1", "b"])


def test_too_many_sensors_name_the_mend(found):
    """More sensors than the registry has is refused with the command that makes a larger one."""
    with pytest.raises(SettingError, match=r"simulator registry --sensors 100 > many.json"):
        schedule.choose(found, 100, [])


@pytest.mark.parametrize("count", [1, 6, 7, 40])
def test_enlarged_registry_is_valid(count):
    """A registry made for any number of sensors is valid, has that many to play, and keeps the file-loaded ones."""
    made = sensors_file.parse(schedule.enlarged(FILE.read_bytes(), count).encode())
    assert len(schedule.played(made)) == count
    assert made.sensors[-1].sensor_id == "office-1"
    assert len({sensor.topic for sensor in made.sensors}) == count + 1


def test_enlarged_registry_begins_with_the_original(found):
    """The original sensors stay as they are, so that their series continue."""
    made = sensors_file.parse(schedule.enlarged(FILE.read_bytes(), 20).encode())
    assert made.sensors[:6] == tuple(schedule.played(found))


def test_enlarged_registry_avoids_taken_names():
    """A number that an existing sensor has already is passed over."""
    document = json.loads(FILE.read_text())
    document["sensors"][1]["sensor_id"] = "thermostat-1-0002"
    made = sensors_file.parse(schedule.enlarged(json.dumps(document).encode(), 20).encode())
    assert len(schedule.played(made)) == 20


def test_history_has_every_sensor_at_every_step(found):
    """History covers its time in whole steps, the start included and the end not."""
    players = schedule.players(schedule.played(found), 1, None)
    samples = list(schedule.history(players, START, START + 600, 60.0))
    assert len(samples) == schedule.history_size(players, START, START + 600, 60.0) == 60
    assert all(sample.seconds % 60 == 0 and START <= sample.seconds < START + 600 for sample in samples)


@pytest.mark.parametrize("rate", [None, 3.0, 1000.0])
def test_live_is_in_order_and_without_repetition(found, rate):
    """Live samples come in order of time, at the asked rate, never twice at one millisecond of a sensor."""
    players = schedule.players(schedule.played(found), 1, rate)
    samples = list(schedule.live(players, START, START + 4))
    assert all(first.seconds <= second.seconds for first, second in itertools.pairwise(samples))
    assert len(samples) == len(players) * 4 * (rate or 1)
    assert len({(sample.sensor.sensor_id, sample.seconds) for sample in samples}) == len(samples)


def test_restart_continues_the_same_samples(found):
    """A second run that begins later gives just what the first one gave from there on."""
    players = schedule.players(schedule.played(found), 1, 7.0)
    whole = list(schedule.live(players, START, START + 10))
    later = list(schedule.live(schedule.players(schedule.played(found), 1, 7.0), START + 4, START + 10))
    assert later == [sample for sample in whole if sample.seconds >= START + 4]


def test_batches_hold_all_samples(found):
    """Batching loses nothing: full batches first, what is left over at the end."""
    players = schedule.players(schedule.played(found), 1, None)
    messages = list(schedule.messages(schedule.live(players, START, START + 25), "wide", 10))
    assert sum(message.readings for message in messages) == 150
    assert {message.readings for message in messages} == {10, 5}


def summary(**changes):
    """Return a summary with nothing wrong but ``changes``."""
    good = {
        "edition": "e", "broker": "b", "rows": 1, "accounts": Accounts(1, 1, 0, 0, 1, 1, 0, 0, 0, balanced=True),
        "quarantined": 0, "delay_seconds": 0.01, "means": [], "missing": [],
    }  # fmt: skip
    return Summary(**{**good, **changes})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"rows": 0}, "no reading"),
        ({"accounts": Accounts(1, 1, 0, 0, 1, 0, 0, 0, 0, balanced=False)}, "do not balance"),
        ({"missing": ["motor-1 voltage"]}, "motor-1 voltage"),
        ({"delay_seconds": None}, "delay"),
    ],
)
def test_summary_complains(changes, complaint):
    """Whatever is not as it should be makes the demonstration fail, by name."""
    assert summary().complaints() == []
    assert complaint in summary(**changes).complaints()[0]
    assert "Latest one-minute means" in summary(**changes).text()

"""Selection of simulated sensors, and the order of their samples."""

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
def registry():
    """Return the registry of the repository."""
    return sensors_file.load(FILE)


def test_sensors_loaded_from_files_are_not_simulated(registry):
    """An hourly sensor is loaded from a file; it is simulated only if named."""
    assert "office-1" not in {sensor.sensor_id for sensor in schedule.select_sensors(registry, None, [])}
    assert [sensor.sensor_id for sensor in schedule.select_sensors(registry, None, ["office-1"])] == ["office-1"]


def test_first_sensors(registry):
    """A number selects the first sensors of the registry."""
    assert [sensor.sensor_id for sensor in schedule.select_sensors(registry, 2, [])] == ["thermostat-1", "thermostat-2"]


def test_unknown_sensors_are_all_reported(registry):
    """All names that are not in the registry are reported together."""
    with pytest.raises(SettingError, match=r"a, b; it has .*motor-1"):
        schedule.select_sensors(registry, None, ["a", "motor-1", "b"])


def test_too_many_sensors(registry):
    """More sensors than the registry has are refused with the command that creates a larger one."""
    with pytest.raises(SettingError, match=r"simulator registry --sensors 100 > many.json"):
        schedule.select_sensors(registry, 100, [])


@pytest.mark.parametrize("count", [1, 6, 7, 40])
def test_enlarged_registry_is_valid(count):
    """An enlarged registry is valid, has the given number of sensors, and keeps those loaded from files."""
    enlarged = sensors_file.parse(schedule.enlarge_registry(FILE.read_bytes(), count).encode())
    assert len(schedule.default_sensors(enlarged)) == count
    assert enlarged.sensors[-1].sensor_id == "office-1"
    assert len({sensor.topic for sensor in enlarged.sensors}) == count + 1


def test_enlarged_registry_begins_with_the_original(registry):
    """The original sensors do not change, so that their series continue."""
    enlarged = sensors_file.parse(schedule.enlarge_registry(FILE.read_bytes(), 20).encode())
    assert enlarged.sensors[:6] == tuple(schedule.default_sensors(registry))


def test_enlarged_registry_avoids_taken_names():
    """A number that an existing sensor has is skipped."""
    document = json.loads(FILE.read_text())
    document["sensors"][1]["sensor_id"] = "thermostat-1-0002"
    enlarged = sensors_file.parse(schedule.enlarge_registry(json.dumps(document).encode(), 20).encode())
    assert len(schedule.default_sensors(enlarged)) == 20


def test_history_has_every_sensor_at_every_step(registry):
    """History has whole steps, including the start and excluding the end."""
    devices = schedule.make_devices(schedule.default_sensors(registry), 1, None)
    samples = list(schedule.history(devices, START, START + 600, 60.0))
    assert len(samples) == schedule.history_size(devices, START, START + 600, 60.0) == 60
    assert all(sample.seconds % 60 == 0 and START <= sample.seconds < START + 600 for sample in samples)


@pytest.mark.parametrize("rate", [None, 3.0, 1000.0])
def test_live_samples_are_ordered_and_unique(registry, rate):
    """Live samples are in order of time, have the given rate, and are unique per sensor and millisecond."""
    devices = schedule.make_devices(schedule.default_sensors(registry), 1, rate)
    samples = list(schedule.live(devices, START, START + 4))
    assert all(first.seconds <= second.seconds for first, second in itertools.pairwise(samples))
    assert len(samples) == len(devices) * 4 * (rate or 1)
    assert len({(sample.sensor.sensor_id, sample.seconds) for sample in samples}) == len(samples)


def test_restart_continues_the_same_samples(registry):
    """A run that starts later has the same samples as the first run from that time on."""
    devices = schedule.make_devices(schedule.default_sensors(registry), 1, 7.0)
    whole = list(schedule.live(devices, START, START + 10))
    later = list(
        schedule.live(schedule.make_devices(schedule.default_sensors(registry), 1, 7.0), START + 4, START + 10)
    )
    assert later == [sample for sample in whole if sample.seconds >= START + 4]


def test_batches_have_all_samples(registry):
    """Batches have all samples: full batches first, the rest at the end."""
    devices = schedule.make_devices(schedule.default_sensors(registry), 1, None)
    messages = list(schedule.messages(schedule.live(devices, START, START + 25), "wide", 10))
    assert sum(message.readings for message in messages) == 150
    assert {message.readings for message in messages} == {10, 5}


def summary(**changes):
    """Return a summary without problems, except for ``changes``."""
    good = {
        "edition": "e", "broker": "b", "rows": 1, "accounts": Accounts(1, 1, 0, 0, 1, 1, 0, 0, 0, balanced=True),
        "quarantined": 0, "delay_seconds": 0.01, "means": [], "missing": [],
    }  # fmt: skip
    return Summary(**{**good, **changes})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"rows": 0}, "no reading"),
        ({"accounts": Accounts(1, 1, 0, 0, 1, 0, 0, 0, 0, balanced=False)}, "do not balance"),
        ({"missing": ["motor-1 voltage"]}, "motor-1 voltage"),
        ({"delay_seconds": None}, "delay"),
    ],
)
def test_summary_reports_problems(changes, problem):
    """Every problem is reported by name and makes the demonstration fail."""
    assert summary().problems() == []
    assert problem in summary(**changes).problems()[0]
    assert "Latest one-minute means" in summary(**changes).text()

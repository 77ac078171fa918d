"""Simulated signals."""

import itertools
import statistics
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collector.registry import sensors_file
from collector.registry.sensors_file import Quantity
from core.errors import SettingError
from simulator import signals

START = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
DAY = 86_400


@pytest.fixture(scope="module")
def sensors():
    """Return the sensors of the repository's registry by id."""
    registry = sensors_file.load(Path(__file__).parents[3] / "sensors.json")
    return {sensor.sensor_id: sensor for sensor in registry.sensors}


def series(sensor, start=START, length=DAY, step=60, seed=1):
    """Return the values of a sensor's only quantity over a period."""
    (name,) = sensor.quantities
    signal = signals.signal(sensor, name, seed)
    return [signal.at(start + second) for second in range(0, length, step)]


SIMULATED = ["thermostat-1", "barometer-1", "hygrometer-1", "heart-rate-1", "motor-1", "office-1"]


@pytest.mark.parametrize("name", SIMULATED)
def test_same_seed_same_curve(sensors, name):
    """A new signal evaluated in another order has the same values; another seed gives other values."""
    forwards = series(sensors[name])
    backwards = [
        signals.signal(sensors[name], quantity, 1).at(START + second)
        for quantity in sensors[name].quantities
        for second in reversed(range(0, DAY, 60))
    ]
    assert forwards == backwards[::-1]
    assert forwards != series(sensors[name], seed=2)


def test_two_sensors_of_a_type_differ(sensors):
    """Two thermostats at one site have correlated but different values."""
    first, second = series(sensors["thermostat-1"]), series(sensors["thermostat-2"])
    assert first != second
    assert statistics.correlation(first, second) > 0.9


@pytest.mark.parametrize("name", SIMULATED)
def test_values_stay_plausible_without_the_clamp(sensors, name):
    """The curve is within the plausible range for a year, so that the clamp never flattens it."""
    ((quantity, limits),) = sensors[name].quantities.items()
    signal = signals.signal(sensors[name], quantity, 3)
    values = [signal.curve(START + 1801 * number) for number in range(365 * 48)]
    assert limits.minimum <= min(values)
    assert max(values) <= limits.maximum


def test_temperature_follows_the_day(sensors):
    """Afternoons are warmer than early mornings, in steps of a hundredth of a degree."""
    days = [series(sensors["thermostat-1"], START + number * DAY) for number in range(20)]
    # Solar time in Athens is 1.6 hours ahead of UTC: 15:00 there is about 13:25, 03:00 is 01:25.
    assert all(day[13 * 60 + 25] > day[1 * 60 + 25] for day in days)
    assert all(round(value, 2) == value for day in days for value in day)


def test_humidity_falls_with_rising_temperature(sensors):
    """Humidity is anticorrelated with the temperature of its site."""
    assert statistics.correlation(series(sensors["thermostat-1"]), series(sensors["hygrometer-1"])) < -0.8


def test_pressure_drifts_slowly(sensors):
    """Pressure changes by many hectopascals within weeks, and by little within an hour."""
    values = series(sensors["barometer-1"], length=20 * DAY, step=600)
    assert max(values) - min(values) > 8
    assert max(abs(later - now) for now, later in zip(values, values[6:], strict=False)) < 4


def test_heart_rate_at_rest_and_in_activity(sensors):
    """Heart rates are whole numbers, below 80 for most of the day and above 110 in activity."""
    values = series(sensors["heart-rate-1"], length=2 * DAY)
    assert all(isinstance(value, int) for value in values)
    assert statistics.median(values) < 80
    assert max(values) > 110


def test_motor_cycles_match_the_signal(sensors):
    """A threshold half-way between base and load level gives exactly the load cycles."""
    motor = sensors["motor-1"]
    start = datetime.fromtimestamp(START, UTC)
    end = start + timedelta(hours=2)
    cycles = signals.motor_load_cycles(motor, "voltage", 1, start, end)
    signal = signals.signal(motor, "voltage", 1)
    base = min(cycle.level for cycle in cycles) - 2
    assert len(cycles) >= 24
    assert all(first.end < second.start for first, second in itertools.pairwise(cycles))
    margin = timedelta(seconds=signals.RAMP_SECONDS)
    for second in range(7200):
        moment = start + timedelta(seconds=second)
        loaded = any(cycle.start + margin <= moment <= cycle.end - margin for cycle in cycles)
        idle = not any(cycle.start <= moment <= cycle.end for cycle in cycles)
        if loaded or idle:
            assert (signal.at(START + second) > base + 0.8) is loaded, moment


def test_motor_cycles_overlap_the_period(sensors):
    """A cycle that overlaps start or end of the period is included; one that ended before is not."""
    motor = sensors["motor-1"]
    start = datetime.fromtimestamp(START, UTC)
    first, second = signals.motor_load_cycles(motor, "voltage", 1, start, start + timedelta(hours=1))[1:3]
    middle = first.start + (first.end - first.start) / 2
    assert signals.motor_load_cycles(motor, "voltage", 1, middle, middle) == [first]
    assert signals.motor_load_cycles(motor, "voltage", 1, first.end, second.start) == []


def test_unknown_quantity_stays_in_its_range(sensors):
    """A quantity without a special signal moves smoothly within its plausible range."""
    quantity = Quantity(unit="m/s", minimum=-5.0, maximum=45.0, interval_seconds=1)
    sensor = replace(sensors["motor-1"], quantities={"wind": quantity})
    values = series(sensor, length=10 * DAY)
    assert -5 <= min(values) < 10
    assert 30 < max(values) <= 45
    assert max(abs(later - now) for now, later in itertools.pairwise(values)) < 3


def test_units_are_converted(sensors):
    """The same thermostat in degrees Fahrenheit has the same temperature."""
    sensor = sensors["thermostat-1"]
    quantity = sensor.quantities["temperature"].model_copy(update={"unit": "[degF]", "maximum": 140.0})
    fahrenheit = series(replace(sensor, quantities={"temperature": quantity}))
    celsius = series(sensor)
    assert all(abs((f - 32) * 5 / 9 - c) < 0.02 for f, c in zip(fahrenheit, celsius, strict=True))


def test_boolean_quantity_is_true_and_false(sensors):
    """A boolean quantity has both values."""
    quantity = Quantity(unit="1", interval_seconds=1, kind="boolean", signal="wander", minimum=-1.0, maximum=1.0)
    values = series(replace(sensors["motor-1"], quantities={"open": quantity}))
    assert set(values) == {True, False}
    assert all(isinstance(value, bool) for value in values)


def test_unknown_signal_is_refused(sensors):
    """An unknown signal is refused with the list of valid ones."""
    quantity = Quantity(unit="V", interval_seconds=1, signal="saw")
    with pytest.raises(SettingError, match=r"no such signal 'saw'; there are .*motor_load"):
        signals.signal(replace(sensors["motor-1"], quantities={"x": quantity}), "x", 1)

"""The views that judge series: who is silent, flat, out of range or drifting, and of whom it can't be told."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fix_readings import write

from collector.registry import sensors_file
from simulator import schedule

ROOT = Path(__file__).parents[3]
NOISE = "20 + mod(n * 7, 13) / 10.0"
"""Never the same twice in a row."""


@pytest.fixture
def verdict(warehouse):
    """Return what a view says of a series: failed, measured, reason."""

    def ask(view: str, series: int):
        (row,) = warehouse.execute(
            f"select failed, measured_value, reason, threshold from quality.series_{view} where series_id = %(series)s",
            series=series,
        )
        return row

    return ask


def test_silence_counts_from_the_last_reading_or_the_registration(warehouse, verdict):
    """Three intervals without a reading are silence, a minute at least; before the first one, since registration."""
    cases = {
        "sends": warehouse.register("sends", interval=60),
        "stopped": warehouse.register("stopped", interval=60),
        "quick": warehouse.register("quick", interval=1),
        "slow": warehouse.register("slow", interval=3600),
        "never": warehouse.register("never", interval=60),
        "new": warehouse.register("new", interval=60, age="1 minute"),
    }
    for name, end in {"sends": "0 s", "stopped": "200 s", "quick": "5 s", "slow": "2 hours"}.items():
        warehouse.read(cases[name], begin="3 hours", end=end, interval=10 if name == "quick" else 60)
    found = {name: verdict("silent", series)[0] for name, series in cases.items()}
    assert found == {
        "sends": False, "stopped": True, "quick": False, "slow": False, "never": True, "new": False,
    }  # fmt: skip
    assert verdict("silent", cases["stopped"])[1] == pytest.approx(200, abs=60)
    assert verdict("silent", cases["never"])[1] == pytest.approx(30 * 86400, rel=0.01)
    assert verdict("silent", cases["stopped"])[3] == "at most 180 s without a reading"


def test_a_series_whose_readings_are_loaded_is_not_silent(warehouse, verdict):
    """What came days late, and nothing else, was loaded from a file; one that sent in time that day is live."""
    loaded, buffered = warehouse.register("loaded", interval=60), warehouse.register("buffered", interval=60)
    for series in (loaded, buffered):
        warehouse.read(series, begin="5 days", end="4 days", interval=600)
    late = "update telemetry.reading set received_at = now() where series_id = %(series)s and time > %(after)s"
    ((edge,),) = warehouse.execute("select now() - interval '4 days 1 hour'")
    warehouse.execute(late, series=loaded, after=edge - timedelta(days=9))
    warehouse.execute(late, series=buffered, after=edge)
    assert verdict("silent", loaded)[::2] == (None, "its readings are loaded from files")
    assert verdict("silent", buffered)[0] is True


def test_a_retired_series_is_not_judged(warehouse):
    """Neither a series that was taken out of the registry nor one whose sensor was."""
    warehouse.register("a")
    warehouse.register("b")
    warehouse.execute("update telemetry.series set retired_at = now() where sensor_id = 'a'")
    warehouse.execute("update telemetry.sensor set retired_at = now() where sensor_id = 'b'")
    for view in ("silent", "flat", "out_of_range", "drift"):
        assert warehouse.execute(f"select * from quality.series_{view}") == []


FLAT = {
    # name: interval, what it measures over 40 hours (n counts intervals back from now), whether it is flat
    "noise": (60, NOISE, False),
    "noise, then 14 minutes of one value": (60, f"case when n > 14 then {NOISE} else 21 end", True),
    "noise, then 8 minutes of one value": (60, f"case when n > 8 then {NOISE} else 21 end", False),
    "steps of an hour": (60, "div(n, 60)", False),
    "a counter at rest each night, and so now": (60, "case when n > 600 then n - mod(n, 700) else 600 end", False),
    "on and off every 40 minutes": (60, "mod(div(n, 40), 2)", False),
    "on and off every 10 minutes, stuck for an hour": (60, "case when n > 60 then mod(div(n, 10), 2) else 1 end", True),
    "slow, five equal readings": (600, f"case when n > 5 then {NOISE} else 21 end", False),
    "slow, nine equal readings": (600, f"case when n > 9 then {NOISE} else 21 end", True),
}


def test_a_flat_line_is_longer_than_twice_the_longest_before(warehouse, verdict):
    """What stands still is judged by its own past: steps, switches and counters at rest are not flat lines."""
    made = {name: warehouse.register(f"s{n}", interval=case[0]) for n, (name, case) in enumerate(FLAT.items())}
    for name, (interval, value, _) in FLAT.items():
        warehouse.read(made[name], begin="40 hours", interval=interval, value=value)
    warehouse.settle()
    found = {name: verdict("flat", series)[0] for name, series in made.items()}
    assert found == {name: flat for name, (_, _, flat) in FLAT.items()}
    failed, measured, _, threshold = verdict("flat", made["noise, then 14 minutes of one value"])
    assert failed
    assert measured == pytest.approx(15 * 60, abs=61)
    assert threshold.startswith("at most 600 s without a change")


def test_a_sensor_that_sends_faster_than_it_did_shows_more_changes(warehouse, verdict):
    """Ten minutes of one value each second are longer than ever where a reading a minute was the same for nine."""
    fast, slow = warehouse.register("fast", interval=1), warehouse.register("slow", interval=60)
    for series, interval in ((fast, 1), (slow, 60)):
        warehouse.read(series, begin="40 hours", end="12 minutes", interval=60, value="mod(div(n, 9), 5)")
        warehouse.read(series, begin="12 minutes", interval=interval, value="9")
    warehouse.settle()
    assert (verdict("flat", fast)[0], verdict("flat", slow)[0]) == (True, False)


def test_every_simulated_sensor_that_freezes_is_told_within_a_quarter_of_an_hour(warehouse, verdict):
    """After a day of a reading a minute and then of one a second: all that freeze, none that goes on.

    Of the day that is played the barometer, which shows tenths of a hectopascal, reads the same for 17 minutes once.
    """
    now, then, quarter = time.time(), 1_790_000_000.0, 900.0
    sensors = schedule.choose(sensors_file.load(ROOT / "sensors.json"), None, [])
    readings, made = [], {}
    for player in schedule.players(sensors, 8, 1.0):
        ((name, signal),) = player.signals.items()
        past = [(then - second, signal.at(then - second)) for second in range(26 * 3600, 0, -60)]
        for end, freezes in (("goes on", False), ("freezes", True)):
            sensor = f"{player.sensor.sensor_id} {end}"
            made[sensor] = warehouse.register(sensor, quantity=name, interval=1), freezes
            live = [(then + second, signal.at(then if freezes else then + second)) for second in range(int(quarter))]
            readings += [
                (made[sensor][0], datetime.fromtimestamp(now - quarter + seconds - then, UTC), float(value))
                for seconds, value in (*past, *live)
            ]
    write(warehouse.database, readings)
    warehouse.settle()
    assert {sensor: verdict("flat", series)[0] for sensor, (series, _) in made.items()} == {
        sensor: freezes for sensor, (_, freezes) in made.items()
    }


def test_rest_that_is_no_chance_is_not_counted_in_readings(warehouse, verdict):
    """A machine that makes noise, and rests for most of an hour twice a day, may do so when it comes to send faster."""
    series = warehouse.register("machine", interval=1)
    rests = "case when mod(n + 30, 720) < 55 then 1 else 20 + mod(n * 7, 13) end"
    warehouse.read(series, begin="40 hours", end="20 minutes", interval=60, value=rests)
    warehouse.read(series, begin="20 minutes", interval=1, value="1")
    warehouse.settle()
    failed, measured, _, _ = verdict("flat", series)
    assert failed is False
    assert measured == pytest.approx(25 * 60, abs=61)


def test_no_flat_line_is_told_without_a_day_of_history(warehouse, verdict):
    """Half a day knows no night; true and false may stand still; a constant has no past to break with."""
    young, switch, constant = (
        warehouse.register("young", interval=60),
        warehouse.register("switch", interval=60, kind="boolean", minimum=None, maximum=None),
        warehouse.register("constant", interval=60),
    )
    warehouse.read(young, begin="12 hours", interval=60, value=f"case when n > 60 then {NOISE} else 21 end")
    warehouse.read(switch, begin="30 hours", interval=60, value="case when n > 60 then mod(n, 2) else 1 end")
    warehouse.read(constant, begin="30 hours", interval=60, value="7")
    warehouse.settle()
    reasons = {series: verdict("flat", series)[::2] for series in (young, switch, constant)}
    assert reasons == {
        young: (None, "fewer than 24 hours of history to compare with"),
        switch: (None, "true and false may stand still"),
        constant: (None, "fewer than 24 hours of history to compare with"),
    }


def test_a_few_implausible_readings_are_a_share(warehouse, verdict):
    """More than one in twenty outside of the registry's range fails; one spike, or no range to leave, does not."""
    spike, broken, below, free = (
        warehouse.register("spike", interval=60),
        warehouse.register("broken", interval=60),
        warehouse.register("below", interval=60, maximum=None),
        warehouse.register("free", interval=60, minimum=None, maximum=None),
    )
    warehouse.read(spike, begin="1 hour", interval=60, value="case when n = 5 then 99 else 20 end")
    warehouse.read(broken, begin="1 hour", interval=60, value="case when n < 10 then 99 else 20 end")
    warehouse.read(below, begin="1 hour", interval=60, value="-30")
    warehouse.read(free, begin="1 hour", interval=60, value="1e9")
    assert [verdict("out_of_range", series)[0] for series in (spike, broken, below)] == [False, True, True]
    assert verdict("out_of_range", broken)[1] == pytest.approx(0.33, abs=0.05)
    assert verdict("out_of_range", free)[::2] == (None, "the registry gives no range")


def test_drift_is_told_of_the_one_that_moves(warehouse, verdict):
    """Of three at a site the one that has moved off is told; two, or another site, can't be compared."""
    team = [warehouse.register(f"t{n}", interval=3600) for n in range(3)]
    lonely = warehouse.register("lonely", site="patras")
    other = warehouse.register("other", quantity="power")
    for number, series in enumerate(team):
        moved = f" + case when {number} = 1 and n < 60 then 8 else 0 end"
        warehouse.read(series, begin="12 days", interval=3600, value=f"20 + 5 * sin(n / 4.0) + {number}{moved}")
    warehouse.read(lonely, begin="12 days", interval=3600)
    warehouse.settle()
    assert [verdict("drift", series)[0] for series in team] == [False, True, False]
    assert verdict("drift", team[1])[1] == pytest.approx(8, abs=1.1)
    assert verdict("drift", lonely)[::2] == (None, "no eight days of three or more sensors to compare")
    assert warehouse.execute("select * from quality.series_drift where series_id = %(s)s", s=other) == []


def test_a_sensor_that_the_registry_gets_is_judged(warehouse, verdict):
    """Its range and interval are those of the registry as it is now: nothing else has to know it."""
    series = warehouse.register("t", interval=60)
    warehouse.read(series, begin="1 hour", end="100 s", interval=60)
    assert verdict("silent", series)[0] is False
    warehouse.execute("update telemetry.series set interval_seconds = 10, maximum = 19")
    assert verdict("silent", series)[0] is True
    assert verdict("out_of_range", series)[0] is True


def test_retention_hides_no_flat_line(warehouse, verdict):
    """Where the raw readings of the change are gone, the hour in which it was is known from the means."""
    series = warehouse.register("t", interval=60)
    warehouse.read(series, begin="50 hours", interval=60, value=f"case when n > 600 then {NOISE} else 21 end")
    warehouse.settle()
    warehouse.execute("delete from telemetry.reading where time < now() - interval '5 hours'")
    failed, measured, _, _ = verdict("flat", series)
    assert failed is True
    assert measured == pytest.approx(36000, abs=3700)

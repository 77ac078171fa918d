"""The views that check series: silent, flat-lined, out of range, drifting, or not evaluated."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fix_readings import write

from collector.message import Decoded, Message
from collector.registry import sensors_file
from collector.store.batch import Batch
from collector.store.writer import Writer
from simulator import schedule

ROOT = Path(__file__).parents[3]
NOISE = "20 + mod(n * 7, 13) / 10.0"
"""Two consecutive values always differ."""


@pytest.fixture
def view_result(warehouse):
    """Return the result of a view for a series: failed, measured, reason, threshold."""

    def query(view: str, series: int):
        (row,) = warehouse.execute(
            f"select failed, measured_value, reason, threshold from quality.series_{view} where series_id = %(series)s",
            series=series,
        )
        return row

    return query


def test_silence_counts_from_the_last_reading_or_the_registration(warehouse, view_result):
    """A series is silent after three intervals, at least a minute, since its last reading or its registration."""
    cases = {
        "sends": warehouse.register("sends", interval=60),
        "stopped": warehouse.register("stopped", interval=60),
        "quick": warehouse.register("quick", interval=1),
        "slow": warehouse.register("slow", interval=3600),
        "never": warehouse.register("never", interval=60),
        "new": warehouse.register("new", interval=60, age="1 minute"),
    }
    for name, end in {"sends": "0 s", "stopped": "200 s", "quick": "5 s", "slow": "2 hours"}.items():
        warehouse.insert_readings(cases[name], begin="3 hours", end=end, interval=10 if name == "quick" else 60)
    failed_by_name = {name: view_result("silent", series)[0] for name, series in cases.items()}
    assert failed_by_name == {
        "sends": False, "stopped": True, "quick": False, "slow": False, "never": True, "new": False,
    }  # fmt: skip
    assert view_result("silent", cases["stopped"])[1] == pytest.approx(200, abs=60)
    assert view_result("silent", cases["never"])[1] == pytest.approx(30 * 86400, rel=0.01)
    assert view_result("silent", cases["stopped"])[3] == "at most 180 s without a reading"


@pytest.mark.parametrize(("source", "is_live"), [("mqtt", True), ("kafka", True), ("file", False), ("archive", False)])
def test_a_series_is_live_by_the_source_of_its_readings(warehouse, view_result, source, is_live):
    """A sensor whose clock is five minutes slow is live and its silence is seen; one that is loaded is not judged."""
    series = warehouse.register("slow", interval=60)
    writer = Writer(source, "test")
    received = time.time_ns() // 1000 - 3_600_000_000

    def decode(message: Message) -> Decoded:
        return Decoded([(series, message.received - 310_000_000, 1.0)], [])

    writer.write(Batch.of([Message("t", b"", received)], decode), decode)
    writer.close()
    failed, _, reason, _ = view_result("silent", series)
    assert (failed, reason) == ((True, None) if is_live else (None, "its readings are loaded from files"))


def test_a_series_that_is_loaded_from_files_now_is_not_live(warehouse, view_result):
    """A series that was live before its readings came from files is not judged any more."""
    series = warehouse.register("a", interval=60)
    warehouse.insert_readings(series, begin="9 days", end="8 days")
    assert view_result("silent", series)[0] is True
    warehouse.execute(
        "insert into telemetry.reading values (now() - interval '1 day', %(series)s, 1, now())", series=series
    )
    assert view_result("silent", series)[0] is None


def test_retired_series_are_not_checked(warehouse):
    """The views have no series that was removed from the registry, nor one whose sensor was removed."""
    warehouse.register("a")
    warehouse.register("b")
    warehouse.execute("update telemetry.series set retired_at = now() where sensor_id = 'a'")
    warehouse.execute("update telemetry.sensor set retired_at = now() where sensor_id = 'b'")
    for view in ("silent", "flat", "out_of_range", "drift"):
        assert warehouse.execute(f"select * from quality.series_{view}") == []


FLAT = {
    # name: interval, value over 40 hours (n is the number of intervals before now), whether it is a flat line
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


def test_a_flat_line_is_longer_than_twice_the_longest_before(warehouse, view_result):
    """The threshold comes from the history of the series: steps, switches and idle counters are not flat lines."""
    series_by_name = {
        name: warehouse.register(f"s{n}", interval=case[0]) for n, (name, case) in enumerate(FLAT.items())
    }
    for name, (interval, value, _) in FLAT.items():
        warehouse.insert_readings(series_by_name[name], begin="40 hours", interval=interval, value=value)
    warehouse.refresh()
    failed_by_name = {name: view_result("flat", series)[0] for name, series in series_by_name.items()}
    assert failed_by_name == {name: flat for name, (_, _, flat) in FLAT.items()}
    failed, measured, _, threshold = view_result("flat", series_by_name["noise, then 14 minutes of one value"])
    assert failed
    assert measured == pytest.approx(15 * 60, abs=61)
    assert threshold.startswith("at most 600 s without a change")


def test_flat_line_threshold_considers_the_reading_rate(warehouse, view_result):
    """Ten minutes of one value at one reading per second are flat if nine equal readings came once per minute."""
    fast, slow = warehouse.register("fast", interval=1), warehouse.register("slow", interval=60)
    for series, interval in ((fast, 1), (slow, 60)):
        warehouse.insert_readings(series, begin="40 hours", end="12 minutes", interval=60, value="mod(div(n, 9), 5)")
        warehouse.insert_readings(series, begin="12 minutes", interval=interval, value="9")
    warehouse.refresh()
    assert (view_result("flat", fast)[0], view_result("flat", slow)[0]) == (True, False)


def test_every_frozen_simulated_sensor_is_detected_within_a_quarter_of_an_hour(warehouse, view_result):
    """After a day with one reading per minute, then one per second: all frozen sensors fail and no other does.

    During the simulated day the barometer, with a resolution of 0.1 hPa, once has the same value for 17 minutes.
    """
    now, then, quarter = time.time(), 1_790_000_000.0, 900.0
    sensors = schedule.select_sensors(sensors_file.load(ROOT / "sensors.json"), None, [])
    readings, series_by_name = [], {}
    for device in schedule.make_devices(sensors, 8, 1.0):
        ((name, signal),) = device.signals.items()
        past = [(then - second, signal.at(then - second)) for second in range(26 * 3600, 0, -60)]
        for end, freezes in (("goes on", False), ("freezes", True)):
            sensor = f"{device.sensor.sensor_id} {end}"
            series_by_name[sensor] = warehouse.register(sensor, quantity=name, interval=1), freezes
            live = [(then + second, signal.at(then if freezes else then + second)) for second in range(int(quarter))]
            readings += [
                (series_by_name[sensor][0], datetime.fromtimestamp(now - quarter + seconds - then, UTC), float(value))
                for seconds, value in (*past, *live)
            ]
    write(warehouse.database, readings)
    warehouse.refresh()
    assert {sensor: view_result("flat", series)[0] for sensor, (series, _) in series_by_name.items()} == {
        sensor: freezes for sensor, (_, freezes) in series_by_name.items()
    }


def test_regular_rest_is_measured_in_time_not_readings(warehouse, view_result):
    """A machine that rests for most of an hour twice a day may still do so after it starts to send faster."""
    series = warehouse.register("machine", interval=1)
    rests = "case when mod(n + 30, 720) < 55 then 1 else 20 + mod(n * 7, 13) end"
    warehouse.insert_readings(series, begin="40 hours", end="20 minutes", interval=60, value=rests)
    warehouse.insert_readings(series, begin="20 minutes", interval=1, value="1")
    warehouse.refresh()
    failed, measured, _, _ = view_result("flat", series)
    assert failed is False
    assert measured == pytest.approx(25 * 60, abs=61)


def test_flat_line_needs_a_day_of_history(warehouse, view_result):
    """Half a day of history, a boolean series and a constant series are not evaluated."""
    young, switch, constant = (
        warehouse.register("young", interval=60),
        warehouse.register("switch", interval=60, kind="boolean", minimum=None, maximum=None),
        warehouse.register("constant", interval=60),
    )
    warehouse.insert_readings(young, begin="12 hours", interval=60, value=f"case when n > 60 then {NOISE} else 21 end")
    warehouse.insert_readings(switch, begin="30 hours", interval=60, value="case when n > 60 then mod(n, 2) else 1 end")
    warehouse.insert_readings(constant, begin="30 hours", interval=60, value="7")
    warehouse.refresh()
    reasons = {series: view_result("flat", series)[::2] for series in (young, switch, constant)}
    assert reasons == {
        young: (None, "fewer than 24 hours of history to compare with"),
        switch: (None, "true and false may stay the same"),
        constant: (None, "fewer than 24 hours of history to compare with"),
    }


def test_out_of_range_fails_above_five_percent(warehouse, view_result):
    """More than one in twenty readings outside the registry's range fails; one spike, or no range, does not."""
    spike, broken, below, free = (
        warehouse.register("spike", interval=60),
        warehouse.register("broken", interval=60),
        warehouse.register("below", interval=60, maximum=None),
        warehouse.register("free", interval=60, minimum=None, maximum=None),
    )
    warehouse.insert_readings(spike, begin="1 hour", interval=60, value="case when n = 5 then 99 else 20 end")
    warehouse.insert_readings(broken, begin="1 hour", interval=60, value="case when n < 10 then 99 else 20 end")
    warehouse.insert_readings(below, begin="1 hour", interval=60, value="-30")
    warehouse.insert_readings(free, begin="1 hour", interval=60, value="1e9")
    assert [view_result("out_of_range", series)[0] for series in (spike, broken, below)] == [False, True, True]
    assert view_result("out_of_range", broken)[1] == pytest.approx(0.33, abs=0.05)
    assert view_result("out_of_range", free)[::2] == (None, "the registry gives no range")


def test_drift_is_detected_for_the_sensor_that_moves(warehouse, view_result):
    """One of three sensors of a site drifts and fails; a sensor alone at its site can't be compared."""
    team = [warehouse.register(f"t{n}", interval=3600) for n in range(3)]
    lonely = warehouse.register("lonely", site="patras")
    other = warehouse.register("other", quantity="power")
    for number, series in enumerate(team):
        moved = f" + case when {number} = 1 and n < 60 then 8 else 0 end"
        warehouse.insert_readings(
            series, begin="12 days", interval=3600, value=f"20 + 5 * sin(n / 4.0) + {number}{moved}"
        )
    warehouse.insert_readings(lonely, begin="12 days", interval=3600)
    warehouse.refresh()
    assert [view_result("drift", series)[0] for series in team] == [False, True, False]
    assert view_result("drift", team[1])[1] == pytest.approx(8, abs=1.1)
    assert view_result("drift", lonely)[::2] == (None, "fewer than eight days of three or more sensors")
    assert warehouse.execute("select * from quality.series_drift where series_id = %(s)s", s=other) == []


def test_views_use_the_current_registry(warehouse, view_result):
    """A change of range or interval in the registry takes effect immediately."""
    series = warehouse.register("t", interval=60)
    warehouse.insert_readings(series, begin="1 hour", end="100 s", interval=60)
    assert view_result("silent", series)[0] is False
    warehouse.execute("update telemetry.series set interval_seconds = 10, maximum = 19")
    assert view_result("silent", series)[0] is True
    assert view_result("out_of_range", series)[0] is True


def test_flat_line_is_detected_after_retention(warehouse, view_result):
    """If the raw readings around the last change were dropped, the hourly aggregates show its hour."""
    series = warehouse.register("t", interval=60)
    warehouse.insert_readings(
        series, begin="50 hours", interval=60, value=f"case when n > 600 then {NOISE} else 21 end"
    )
    warehouse.refresh()
    warehouse.execute("delete from telemetry.reading where time < now() - interval '5 hours'")
    failed, measured, _, _ = view_result("flat", series)
    assert failed is True
    assert measured == pytest.approx(36000, abs=3700)

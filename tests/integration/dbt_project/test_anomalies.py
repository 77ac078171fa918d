"""Anomalies: each kind is found at its place and nowhere else, and every sequence of builds has the same result."""

import csv
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fix_marts import Marts
from fix_readings import Reading, write

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
START = datetime(2024, 2, 26, tzinfo=UTC)
"""Five weeks before the server's zone goes to summer time."""
DAYS = 40
EVENT = START + 34 * DAY + 3 * HOUR
"""Time of the anomalies: three in the morning."""
CUT = START + 30 * DAY
"""The first build has the readings before this time."""
CHANGED = START + 33 * DAY
EXCERPT = Path(__file__).parents[3] / "docs" / "examples" / "ambient_temperature.csv"
REGISTRY = ["snapshot_sensor", "snapshot_series", "dim_sensor_history", "int_series_history"]
MODELS = ["fct_reading_hour", "int_anomaly_hour", "int_anomaly_flag", "int_anomaly_gap", "fct_anomaly"]
COLUMNS = "kind, basis, started_at, ended_at, observed, expected, deviation, is_open, reason"

Curve = Callable[[float], float]
"""The value that a sensor adds to its daily curve, by hours since EVENT."""

CURVES: dict[str, Curve] = {
    "calm": lambda _: 0,
    "warm night": lambda hour: 9 if 0 <= hour < 3 else 0,
    "shifted": lambda hour: 14 if hour >= 0 else 0,
    "young": lambda hour: 60 if hour == 0 else 0,
    "newborn": lambda hour: 90 if hour == 0 else 0,
    "changed": lambda _: 0,
    "stuck": lambda _: 0,
    "with gap": lambda _: 0,
    "silent": lambda _: 0,
    "retired": lambda _: 0,
    "late": lambda hour: 9 if 0 <= hour < 3 else 0,
}
BEGIN = {"young": EVENT - 2 * DAY, "newborn": EVENT}
END = {"silent": EVENT, "retired": EVENT}


@dataclass
class Story:
    """The steps of a database, with its tables after each step."""

    marts: Marts
    series: dict[str, int] = field(default_factory=dict)
    empty: int = -1
    first: list[tuple[Any, ...]] = field(default_factory=list)
    final: list[tuple[Any, ...]] = field(default_factory=list)
    rebuilt: list[tuple[Any, ...]] = field(default_factory=list)

    def table(self) -> list[tuple[Any, ...]]:
        """Return the whole mart."""
        return self.marts.rows("select * from marts.fct_anomaly order by series_id, kind, started_at")

    def of(self, sensor: str) -> list[dict[str, Any]]:
        """Return the anomalies of a sensor in the order of time."""
        rows = self.marts.rows(
            f"select {COLUMNS} from marts.fct_anomaly where sensor_id = %s order by started_at, kind", sensor
        )
        return [dict(zip(COLUMNS.split(", "), row, strict=True)) for row in rows]

    def kinds(self, sensor: str) -> list[str]:
        """Return the kinds of a sensor's anomalies in the order of time."""
        return [row["kind"] for row in self.of(sensor)]


def register(marts: Marts, sensor: str, unit: str = "Cel", kind: str = "number", interval: float = 3600) -> int:
    """Add a sensor of a temperature every hour, and return its series."""
    since = "2024-01-01"
    marts.execute(
        "insert into telemetry.sensor (sensor_id, type, site, area, topic, since, registered_at, updated_at) "
        "values (%s, 'thermostat', 'athens', 'hall', 't', '2000-01-01', %s, %s)",
        sensor, since, since,
    )  # fmt: skip
    return int(
        marts.rows(
            "insert into telemetry.series (sensor_id, quantity, unit, minimum, maximum, interval_seconds, kind, "
            "registered_at, updated_at) values (%s, 'temperature', %s, -20, 100, %s, %s, %s, %s) returning series_id",
            sensor, unit, interval, kind, since, since,
        )[0][0]
    )  # fmt: skip


def pass_time(marts: Marts) -> None:
    """Make all notes of late hours and build states two hours older."""
    marts.execute("update telemetry.late_hour set noted_at = noted_at - interval '2 hours'")
    marts.execute("update intermediate.build_state set built_until = built_until - interval '2 hours'")


def measured(series: dict[str, int]) -> list[Reading]:
    """Return the readings of all sensors: warm days, cold nights, a little noise, and the event of each sensor."""
    random_source = random.Random(11)
    readings = []
    for name, curve in CURVES.items():
        for number in range(DAYS * 24):
            time = START + number * HOUR
            value = 20 + 6 * math.sin(2 * math.pi * (number % 24 - 9) / 24) + random_source.uniform(-1, 1)
            value += curve((time - EVENT) / HOUR)
            if name == "changed" and time >= CHANGED:
                value = value * 9 / 5 + 32
            if name == "stuck" and EVENT <= time < EVENT + 20 * HOUR:
                value = 21.5
            missing = name == "with gap" and EVENT < time < EVENT + 12 * HOUR
            if BEGIN.get(name, START) <= time < END.get(name, START + DAYS * DAY) and not missing:
                readings.append((series[name], time, value))
    for number in range(DAYS * 24):
        time = START + number * HOUR
        readings += [(series["constant"], time, 7.0), (series["door"], time, float(time == EVENT))]
    # Every minute for ten hours, except for twenty minutes within one hour and twelve minutes across two hours.
    gaps = [(130, 150), (354, 366)]
    readings += [
        (series["minutes"], EVENT + number * MINUTE, 20 + random_source.random())
        for number in range(600)
        if not any(since < number < until for since, until in gaps)
    ]
    readings.append((series["single"], EVENT, 20.0))
    return readings


@pytest.fixture(scope="module")
def story(marts: Marts) -> Story:
    """Forty days arrive in three parts, out of order; the last part has late readings of one sensor."""
    story = Story(marts)
    marts.run("path:models/staging", *REGISTRY, *MODELS)
    story.empty = len(story.table())
    story.series = {name: register(marts, name) for name in (*CURVES, "constant", "single")}
    story.series["door"] = register(marts, "door", kind="boolean")
    story.series["minutes"] = register(marts, "minutes", interval=60)
    story.series["office"] = register(marts, "office", unit="[degF]")
    marts.run("snapshot_sensor", "snapshot_series")
    marts.execute("update telemetry.series set unit = '[degF]', updated_at = %s where sensor_id = 'changed'", CHANGED)
    marts.execute("update telemetry.sensor set retired_at = %s where sensor_id = 'retired'", EVENT + 9 * HOUR)
    marts.execute("update telemetry.series set retired_at = %s where sensor_id = 'retired'", EVENT + 9 * HOUR)
    marts.run(*REGISTRY)

    late = (story.series["late"], CUT - 15 * DAY, CUT + DAY)
    parts: list[list[Reading]] = [[], [], []]
    for reading in measured(story.series):
        series_id, time, _ = reading
        if series_id == late[0] and late[1] <= time < late[2]:
            parts[2].append(reading)
        else:
            parts[time >= CUT].append(reading)
    with EXCERPT.open() as file:
        parts[1] += [
            (story.series["office"], datetime.fromisoformat(row["timestamp"] + "+00:00"), float(row["value"]))
            for row in csv.DictReader(file)
        ]
    random_source = random.Random(3)
    for number, part in enumerate(parts):
        random_source.shuffle(part)
        write(marts.database, part)
        marts.run(*MODELS)
        if number == 0:
            story.first = story.table()
        pass_time(marts)
    story.final = story.table()
    marts.run(*MODELS, full=True)
    story.rebuilt = story.table()
    return story


def test_an_empty_database_has_no_anomalies(story):
    """The mart can be built without any sensor."""
    assert story.empty == 0


def test_normal_days_have_no_anomaly(story):
    """A daily curve, a constant value, a door and a change of unit are not anomalies."""
    assert [story.of(name) for name in ("calm", "constant", "door", "changed")] == [[], [], [], []]


def test_a_warm_night_is_seasonal(story):
    """A value that is normal by day is an anomaly at night; three such hours are one row with the worst hour."""
    (row,) = story.of("warm night")
    assert (row["kind"], row["basis"], row["is_open"]) == ("seasonal", "same_hour", False)
    assert (row["started_at"], row["ended_at"]) == (EVENT, EVENT + 3 * HOUR)
    assert row["expected"] == pytest.approx(14, abs=1)
    assert row["observed"] == pytest.approx(row["expected"] + 9, abs=1.5)
    assert row["deviation"] > 6
    worst = f"{row['observed']:.4g} Cel, {row['deviation']:.1f} robust sigmas above the expected {row['expected']:.4g}"
    assert worst in row["reason"]


def test_a_level_that_moves_is_a_shift(story):
    """A median of 24 hours that moves and stays is found within the day."""
    shift, *_ = (row for row in story.of("shifted") if row["kind"] == "level_shift")
    assert EVENT < shift["started_at"] < EVENT + DAY
    assert shift["observed"] - shift["expected"] == pytest.approx(14, abs=3)
    assert "Median of the 24 hours" in shift["reason"]


def test_an_unchanged_value_is_a_flat_line(story):
    """Equal readings of a sensor that always varies are a flat line from the first hour without a change."""
    (row,) = (row for row in story.of("stuck") if row["kind"] == "flat_line")
    assert (row["started_at"], row["ended_at"]) == (EVENT + HOUR, EVENT + 20 * HOUR)
    assert row["reason"].startswith("No change from 21.5 Cel for 19 hours; ")


def test_gaps_are_found_to_the_reading(story):
    """A gap lasts from the expected time of the next reading to its actual time, within an hour and across hours."""
    (gap,) = story.of("with gap")
    assert (gap["kind"], gap["started_at"], gap["ended_at"]) == ("gap", EVENT + HOUR, EVENT + 12 * HOUR)
    within, across, _ = story.of("minutes")
    assert (within["started_at"], within["ended_at"]) == (EVENT + 131 * MINUTE, EVENT + 150 * MINUTE)
    assert (across["started_at"], across["ended_at"]) == (EVENT + 355 * MINUTE, EVENT + 366 * MINUTE)
    assert within["reason"] == "No readings for 19 minutes; one is expected every 60 seconds."


def test_a_silent_sensor_is_an_open_gap_and_a_retired_one_is_not(story):
    """An open gap lasts until the newest reading of all series; the gap of a retired sensor until its retirement."""
    newest = START + DAYS * DAY - HOUR
    (row,) = story.of("silent")
    assert (row["kind"], row["started_at"], row["ended_at"], row["is_open"]) == ("gap", EVENT, newest, True)
    assert [(row["ended_at"], row["is_open"]) for row in story.of("retired")] == [(EVENT + 9 * HOUR, False)]
    assert [row["is_open"] for row in story.of("single")] == [True]


def test_short_histories_are_compared(story):
    """After two days all hours are compared, not the same hour; the first hour is compared with the plausible range."""
    young, *_ = story.of("young")
    assert (young["kind"], young["basis"], young["started_at"]) == ("seasonal", "all_hours", EVENT)
    newborn, *_ = story.of("newborn")
    assert (newborn["kind"], newborn["basis"], newborn["started_at"]) == ("seasonal", "plausible_range", EVENT)
    assert (newborn["expected"], newborn["deviation"]) == (100, None)


def test_six_weeks_of_a_real_office_have_gaps_only(story):
    """In the example data, whose labelled failures come months later, only hours without readings are flagged."""
    assert set(story.kinds("office")) == {"gap"}


def test_later_readings_do_not_change_earlier_anomalies(story):
    """Anomalies that had ended before the later readings came are unchanged."""
    past = {row for row in story.first if row[1] < CUT - DAY}
    late = story.series["late"]
    assert {row for row in past if row[3] != late} <= set(story.final)


def test_late_history_is_used(story):
    """If half of the weeks before arrive last, the warm night is found all the same, and no gap is left."""
    assert story.kinds("late") == ["seasonal"]
    assert story.of("late")[0]["started_at"] == EVENT


def test_any_sequence_equals_a_rebuild(story):
    """After builds of the parts in sequence, the table equals that of a full rebuild."""
    assert story.final == story.rebuilt

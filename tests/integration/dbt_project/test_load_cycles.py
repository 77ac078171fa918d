"""Load cycles compared with those of the simulator, with the real database, dbt and late data."""

import random
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fix_marts import Marts
from fix_readings import Reading, write

from collector.registry import sensors_file
from simulator import signals
from simulator.signals import LoadCycle

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
START = datetime(2024, 3, 30, 22, tzinfo=UTC)
END = START + 4 * HOUR
"""Across midnight, and across the hour in which the server's zone changes to summer time."""
CHANGED = START + 3 * HOUR + 120 * SECOND
"""When the series ``changed`` changes from volts to millivolts: while it is idle."""
REGISTRY = ["snapshot_sensor", "snapshot_series", "dim_sensor_history", "int_series_history"]
MODELS = ["int_load_phase", "fct_load_cycle"]
MAXIMUM = 30.0


@dataclass(frozen=True)
class Disturbance:
    """The disturbances of the readings of a motor, one reading per second."""

    seed: int
    noise: float = 0.0
    """Standard deviation of the additional noise, in volts; a load is about 3 V."""
    jitter: float = 0.0
    """Maximum seconds by which a reading comes earlier or later."""
    lost: float = 0.0
    """Share of lost readings."""
    odd: float = 0.0
    """Share of readings outside the plausible range, and the same share that is 10 V too high or too low."""
    gaps: tuple[int, ...] = ()
    """Lengths of gaps in seconds; each occurs about once per hour."""


MOTORS = {
    "clean": Disturbance(1),
    "noisy": Disturbance(2, noise=0.3, odd=0.002),
    "jittery": Disturbance(3, jitter=0.45, lost=0.03),
    "with gaps": Disturbance(4, gaps=(8, 20, 45, 600)),
    "everything": Disturbance(5, noise=0.2, jitter=0.4, lost=0.02, odd=0.002, gaps=(10, 30, 400)),
    "changed": Disturbance(6),
}
DELAYED = {
    "noisy": (START + 0.5 * HOUR, START + 1.5 * HOUR),
    "everything": (START + 1.4 * HOUR, START + 2.6 * HOUR),
}
"""Motors and periods whose readings arrive last; the second period crosses midnight."""


@pytest.fixture(scope="module")
def motor() -> sensors_file.Sensor:
    """The motor of the delivered registry."""
    registry = sensors_file.load(Path(__file__).parents[3] / "sensors.json")
    return next(sensor for sensor in registry.sensors if sensor.sensor_id == "motor-1")


def measured(motor: sensors_file.Sensor, disturbance: Disturbance) -> Iterator[tuple[datetime, float]]:
    """Yield the readings of one motor that reach the collector, in the order of time."""
    random_source = random.Random(disturbance.seed)
    signal = signals.signal(motor, "voltage", disturbance.seed)
    second, end = START.timestamp(), END.timestamp()
    while second < end:
        instant = round(second + random_source.uniform(-1, 1) * disturbance.jitter, 3)
        value = signal.at(instant) + random_source.gauss(0, disturbance.noise)
        draw = random_source.random()
        if draw < disturbance.odd:
            value = MAXIMUM + 16
        elif draw < 2 * disturbance.odd:
            value += random_source.choice([-10, 10])
        if random_source.random() >= disturbance.lost:
            yield datetime.fromtimestamp(instant, UTC), value
        second += 1
        for length in disturbance.gaps:
            if random_source.random() < 1 / 3600:
                second += length


@dataclass
class Story:
    """The steps of a database, with its tables after each step."""

    marts: Marts
    readings: dict[str, list[tuple[datetime, float]]] = field(default_factory=dict)
    empty: int = -1
    early: list[tuple[Any, ...]] = field(default_factory=list)
    final: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    rebuilt: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return both tables."""
        return {
            name: self.marts.rows(f"select * from {name} order by series_id, started_at, sample_count")
            for name in ("intermediate.int_load_phase", "marts.fct_load_cycle")
        }

    def cycles(self, sensor: str, columns: str = "started_at, ended_at") -> list[tuple[Any, ...]]:
        """Return the cycles of a motor in the order of time."""
        return self.marts.rows(
            f"select {columns} from marts.fct_load_cycle where sensor_id = %s order by started_at", sensor
        )


def register(marts: Marts, sensor: str, maximum: float = MAXIMUM) -> int:
    """Add a sensor with one voltage per second, and return its series."""
    since = "2024-01-01"
    marts.execute(
        "insert into telemetry.sensor (sensor_id, type, site, area, topic, since, registered_at, updated_at) "
        "values (%s, 'motor', 'patras', 'line', 't', '2000-01-01', %s, %s)",
        sensor, since, since,
    )  # fmt: skip
    return int(
        marts.rows(
            "insert into telemetry.series (sensor_id, quantity, unit, minimum, maximum, interval_seconds, "
            "registered_at, updated_at) values (%s, 'voltage', 'V', 0, %s, 1, %s, %s) returning series_id",
            sensor, maximum, since, since,
        )[0][0]
    )  # fmt: skip


def pass_time(marts: Marts) -> None:
    """Make all notes of late hours and build states two hours older."""
    marts.execute("update telemetry.late_hour set noted_at = noted_at - interval '2 hours'")
    marts.execute("update intermediate.build_state set built_until = built_until - interval '2 hours'")


@pytest.fixture(scope="module")
def story(marts: Marts, motor: sensors_file.Sensor) -> Story:
    """The readings of six motors arrive in three parts: shuffled, some late; for two motors a whole hour is late."""
    story = Story(marts)
    marts.run("path:models/staging", *REGISTRY, *MODELS)
    story.empty = marts.rows("select count(*) from marts.fct_load_cycle")[0][0]
    series = {name: register(marts, name) for name in (*MOTORS, "idle", "even", "single")}
    marts.run("snapshot_sensor", "snapshot_series")
    marts.execute(
        "update telemetry.series set unit = 'mV', maximum = 30000, updated_at = %s where sensor_id = 'changed'", CHANGED
    )
    marts.run(*REGISTRY)

    parts: list[list[Reading]] = [[], [], []]
    random_source = random.Random(7)
    for name, disturbance in MOTORS.items():
        story.readings[name] = list(measured(motor, disturbance))
        for time, value in story.readings[name]:
            part = 0 if time < START + 2.5 * HOUR else 1
            if random_source.random() < 0.02 or (name in DELAYED and DELAYED[name][0] < time < DELAYED[name][1]):
                part = 2
            scale = 1000 if name == "changed" and time >= CHANGED else 1
            parts[part].append((series[name], time, value * scale))
    seconds = [START + number * SECOND for number in range(3000)]
    parts[0] += [(series["idle"], time, 12 + random_source.gauss(0, 0.1)) for time in seconds]
    parts[0] += [(series["even"], time, 12 + abs(number % 600 - 300) / 100) for number, time in enumerate(seconds)]
    parts[1].append((series["single"], START, 15.0))

    for number, part in enumerate(parts):
        random_source.shuffle(part)
        write(marts.database, part)
        marts.run(*MODELS)
        if number == 1:
            story.early = story.tables()["marts.fct_load_cycle"]
        pass_time(marts)
    story.final = story.tables()
    marts.run(*MODELS, full=True)
    story.rebuilt = story.tables()
    return story


def plausible_times(story: Story, name: str) -> list[datetime]:
    """Return when a motor had a plausible reading."""
    return [time for time, value in story.readings[name] if 0 <= value <= MAXIMUM]


def truth(motor: sensors_file.Sensor, name: str, times: list[datetime], least: int) -> list[LoadCycle]:
    """Return a motor's real cycles with at least ``least`` readings."""
    cycles = signals.motor_load_cycles(motor, "voltage", MOTORS[name].seed, times[0], times[-1])
    return [
        cycle
        for cycle in cycles
        if bisect_left(times, cycle.end - signals.RAMP_SECONDS * SECOND)
        - bisect_left(times, cycle.start + signals.RAMP_SECONDS * SECOND)
        >= least
    ]


def test_an_empty_database_has_no_cycles(story):
    """The mart can be built without any sensor."""
    assert story.empty == 0


@pytest.mark.parametrize("name", MOTORS)
def test_every_cycle_is_found_and_none_invented(story, motor, name):
    """Each real cycle is one row and each row one real cycle; start and end differ by at most one reading."""
    times = plausible_times(story, name)
    rows = story.cycles(name)
    for cycle in truth(motor, name, times, 3):
        matching = [row for row in rows if row[0] < cycle.end and row[1] > cycle.start]
        assert len(matching) == 1, (cycle, matching)
        started_at, ended_at = matching[0]
        # Two jittery readings may be closer than a ramp is long.
        for instant, real in ((started_at, cycle.start), (ended_at, cycle.end)):
            readings_between = abs(bisect_left(times, instant) - bisect_left(times, real))
            assert readings_between <= 1 or abs(instant - real) <= SECOND, (cycle, instant)
    real = truth(motor, name, times, 1)
    for started_at, ended_at in rows:
        assert sum(started_at < cycle.end and ended_at > cycle.start for cycle in real) == 1, (started_at, ended_at)
    assert len(rows) > 40


@pytest.mark.parametrize("name", ["clean", "noisy", "jittery"])
def test_edges_are_exact_without_missing_readings(story, motor, name):
    """If readings around an edge are a second apart, its time is exact to that second and the ramp."""
    times = plausible_times(story, name)
    close = 1 + 2 * MOTORS[name].jitter + signals.RAMP_SECONDS
    rows = story.cycles(name)
    for cycle in truth(motor, name, times, 3):
        row = next(row for row in rows if row[0] < cycle.end and row[1] > cycle.start)
        for instant, real in zip(row, (cycle.start, cycle.end), strict=True):
            around = times[max(bisect_left(times, real) - 2, 0) : bisect_left(times, real) + 3]
            if len(around) == 5 and max(b - a for a, b in pairwise(around)) <= close * SECOND:
                assert abs(instant - real) <= close * SECOND


def test_figures_are_those_of_the_readings_within(story):
    """Count, mean, peak and integral are computed from the plausible readings between start and end."""
    columns = "started_at, ended_at, sample_count, mean, peak, integral, integral_above_base, base, duration_seconds"
    rows = story.cycles("clean", columns)
    for started_at, ended_at, count, mean, peak, integral, above, base, duration in rows:
        inside = [value for time, value in story.readings["clean"] if started_at <= time <= ended_at]
        assert (count, peak) == (len(inside), max(inside))
        assert mean == pytest.approx(sum(inside) / len(inside))
        assert integral == pytest.approx(mean * duration, rel=0.02)
        assert above == pytest.approx(integral - base * duration)
    assert len({row[7] for row in rows}) == 2, "each of the two days has its own levels"


def test_idle_before_is_the_time_since_the_cycle_before(story):
    """Idle time and duration fill the time between cycles; the first cycle has no idle time before it."""
    rows = story.cycles("clean", "started_at, ended_at, idle_before_seconds, duration_seconds, is_complete")
    assert rows[0][2] is None
    for before, (started_at, ended_at, idle, duration, _) in pairwise(rows):
        if idle is not None:
            assert idle == pytest.approx((started_at - before[1]).total_seconds())
        assert duration == pytest.approx((ended_at - started_at).total_seconds())
    assert sum(row[2] is None for row in rows) <= 2
    assert sum(row[4] for row in rows) >= len(rows) - 2


def test_a_cycle_over_midnight_is_one_row(story, motor):
    """A cycle that starts on one day and ends on the next is one row of the first day."""
    midnight = START.replace(hour=0) + timedelta(days=1)
    over = {
        name: [row for row in story.cycles(name, "started_at, ended_at, day") if row[0] < midnight < row[1]]
        for name in MOTORS
    }
    real = [
        name
        for name in MOTORS
        if any(cycle.start < midnight < cycle.end for cycle in truth(motor, name, plausible_times(story, name), 20))
    ]
    assert real, "choose other seeds"
    for name in real:
        assert [row[2] for row in over[name]] == [START.date()]


def test_gaps_are_reported(story):
    """A gap within a cycle is bridged and reported; a cycle with missing readings at an edge is not complete."""
    columns = "longest_gap_seconds, start_seen, end_seen, is_complete, completeness"
    rows = [row for name in ("with gaps", "everything") for row in story.cycles(name, columns)]
    assert any(row[0] > 5 for row in rows)
    assert any(not (row[1] and row[2]) for row in rows)
    assert all(row[3] == (row[1] and row[2] and row[0] == 0) for row in rows)
    assert all(row[4] < 1 for row in rows if row[0] > 0)


def test_signals_without_two_levels_have_no_cycles(story):
    """Noise, an even rise and fall, and a single reading are not loads."""
    assert [story.cycles(name) for name in ("idle", "even", "single")] == [[], [], []]


def test_a_change_of_unit_separates_cycles(story):
    """Cycles before and after a change of unit have the unit and the levels of their time."""
    rows = story.cycles("changed", "started_at >= '2024-03-31 01:02+00', unit, base between 11 and 13, base > 11000")
    assert {row[1:] for row in rows if row[0]} == {("mV", False, True)}
    assert {row[1:] for row in rows if not row[0]} == {("V", True, False)}


def test_late_readings_add_their_cycles(story):
    """An hour of late readings adds its cycles between the existing ones."""
    early = [row for row in story.early if row[4] == "noisy"]
    late = [row for row in story.final["marts.fct_load_cycle"] if row[4] == "noisy"]
    since, until = DELAYED["noisy"]
    assert not any(since + 60 * SECOND < row[0] < until - 60 * SECOND for row in early)
    assert len(late) - len(early) >= 10
    neighbours = [row[1] for row in early if row[0] < since], [row[0] for row in early if row[0] > until]
    assert len(neighbours[0]) >= 5
    assert len(neighbours[1]) >= 5


def test_any_sequence_equals_a_rebuild(story):
    """After builds of the parts in sequence, the tables equal those of a full rebuild."""
    assert story.final == story.rebuilt

"""Readings per hour and day: their figures, the effect of late data, and equal results of all sequences of builds."""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fix_marts import Marts

from collector.message import Message
from collector.store.batch import POSTGRES_EPOCH, ROW, Accounts, Batch
from collector.store.writer import Writer

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SPRING = datetime(2024, 3, 31, tzinfo=UTC)
"""The day on which clocks go forward in the server's time zone, at 01:00 UTC."""
LONG_AGO = SPRING - 10 * DAY
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
REGISTRY = ["snapshot_sensor", "snapshot_series", "dim_sensor_history", "int_series_history"]
FACTS = ["fct_reading_hour", "fct_reading_day"]
STAGING = ["path:models/staging", "int_unit"]
MODELS = [*REGISTRY, "dim_sensor", "dim_quantity", "dim_date", "fct_reading_minute", *FACTS]

Reading = tuple[int, datetime, float]
"""(series_id, time, value)"""
Table = dict[tuple[Any, ...], tuple[Any, ...]]
"""Rows by (series_id, bucket)."""


def store(marts: Marts, readings: Iterable[Reading], delay: timedelta = timedelta(0)) -> None:
    """Store readings as a collector does, received ``delay`` after they were measured."""
    rows = bytearray()
    count = 0
    for series_id, time, value in readings:
        instant = (time - EPOCH) // timedelta(microseconds=1) - POSTGRES_EPOCH
        rows += ROW.pack(4, 8, instant, 4, series_id, 8, value, 8, instant + delay // timedelta(microseconds=1))
        count += 1
    message = Message("t", b"", 0, False)
    accounts = Accounts(messages=1, decoded=1, readings=count)
    writer = Writer("mqtt", "test", marts.database.connect)
    writer.write(Batch.prepared([message], rows, [0] * count, [], accounts), lambda _: None)
    writer.close()


def table(marts: Marts, name: str) -> Table:
    """Return all rows of a mart."""
    with marts.connect() as connection:
        cursor = connection.execute(f"select * from marts.{name}")
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        key = names.index("series_id"), names.index("bucket")
        return {(row[key[0]], row[key[1]]): row for row in cursor}


def facts(marts: Marts) -> dict[str, Table]:
    """Return both tables."""
    return {name: table(marts, name) for name in FACTS}


def changed(before: Table, after: Table) -> set[tuple[Any, ...]]:
    """Return the keys of rows that differ."""
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def register(marts: Marts, sensor_id: str, interval: float = 600, minimum: float = 0, maximum: float = 100) -> int:
    """Add a sensor with a temperature, as of the beginning of 2024, and return its series."""
    marts.execute(
        "insert into telemetry.sensor (sensor_id, type, site, area, topic, since, registered_at, updated_at) "
        "values (%s, 'thermostat', 'athens', 'hall', 't', '2000-01-01', '2024-01-01', '2024-01-01')",
        sensor_id,
    )
    return int(
        marts.rows(
            "insert into telemetry.series (sensor_id, quantity, unit, minimum, maximum, interval_seconds, "
            "registered_at, updated_at) values (%s, 'temperature', 'Cel', %s, %s, %s, '2024-01-01', '2024-01-01') "
            "returning series_id",
            sensor_id, minimum, maximum, interval,
        )[0][0]
    )  # fmt: skip


def instants(minutes: int, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield instants from ``start`` to before ``end``."""
    while start < end:
        yield start
        start += timedelta(minutes=minutes)


@dataclass
class Story:
    """The steps of a database, with its tables after each step."""

    marts: Marts
    series: dict[str, int] = field(default_factory=dict)
    empty: dict[str, int] = field(default_factory=dict)
    """Number of rows per mart, built without any data."""
    stored: dict[str, Table] = field(default_factory=dict)
    late: dict[str, Table] = field(default_factory=dict)
    rebuilt: dict[str, Table] = field(default_factory=dict)
    dropped: dict[str, Table] = field(default_factory=dict)
    rebuilt_dropped: dict[str, Table] = field(default_factory=dict)

    def row(self, query: str, sensor: str, *values: object) -> tuple[Any, ...]:
        """Return the only row of ``query`` for a sensor."""
        rows = self.marts.rows(query, sensor, *values)
        assert len(rows) == 1, rows
        return rows[0]


@pytest.fixture(scope="module")
def story(marts: Marts) -> Story:
    """Builds of an empty database, then with sensors, changes, readings, late readings and retention."""
    story = Story(marts)
    marts.run(*STAGING, *MODELS)
    names = [name for (name,) in marts.rows("select tablename from pg_tables where schemaname = 'marts'")]
    story.empty = {name: marts.rows(f"select count(*) from marts.{name}")[0][0] for name in names}

    for name in ("normal", "retired", "silent", "changed", "single", "moved", "widened"):
        story.series[name] = register(marts, name)
    marts.run(*REGISTRY)
    at = SPRING + 12 * HOUR
    marts.execute("update telemetry.series set unit = '[degF]', updated_at = %s where sensor_id = 'changed'", at)
    marts.execute("update telemetry.sensor set site = 'patras', updated_at = %s where sensor_id = 'moved'", at)
    marts.execute("update telemetry.series set maximum = 10, updated_at = %s where sensor_id = 'widened'", at)
    marts.execute("update telemetry.sensor set retired_at = %s where sensor_id = 'retired'", at)
    marts.execute("update telemetry.series set retired_at = %s where sensor_id = 'retired'", at)

    # Two days around the change to summer time, none on the third, one on the fourth.
    days = [*instants(10, SPRING - DAY, SPRING + DAY), *instants(10, SPRING + 2 * DAY, SPRING + 3 * DAY)]
    for name in ("normal", "changed", "moved", "widened"):
        store(marts, [(story.series[name], time, 20.0) for time in days])
    store(marts, [(story.series["retired"], time, 20.0) for time in days if time < at])
    store(marts, [(story.series["single"], SPRING + timedelta(minutes=90), 7.5)])
    # A day long before, whose raw readings retention will drop.
    store(marts, [(story.series["normal"], time, 20.0) for time in instants(10, LONG_AGO, LONG_AGO + DAY)])
    marts.build(*MODELS)
    story.stored = facts(marts)

    # Months later: the earlier notes and build states are old.
    pass_time(marts)
    # The collector received them minutes after their time, and could write them only now.
    late = [(story.series["normal"], SPRING - DAY + timedelta(hours=5, minutes=7), 99.0)]
    store(marts, [*late, (story.series["normal"], SPRING + 2 * DAY + timedelta(minutes=3), -1.0)], timedelta(minutes=8))
    marts.run(*REGISTRY, *FACTS)
    story.late = facts(marts)
    marts.run(*FACTS, full=True)
    story.rebuilt = facts(marts)

    pass_time(marts)
    keep_days = (datetime.now(UTC).date() - LONG_AGO.date()).days - 2
    marts.execute("update telemetry.retention set keep_days = %s, archived_sources = '{}', scanned = false", keep_days)
    marts.execute("call telemetry.apply_retention()")
    marts.run(*REGISTRY, *FACTS)
    story.dropped = facts(marts)
    marts.run(*FACTS, full=True)
    story.rebuilt_dropped = facts(marts)
    return story


def pass_time(marts: Marts, hours: int = 2) -> None:
    """Make all notes of late hours and build states older by ``hours``."""
    marts.execute("update telemetry.late_hour set noted_at = noted_at - make_interval(hours => %s)", hours)
    marts.execute("update intermediate.build_state set built_until = built_until - make_interval(hours => %s)", hours)


HOURLY = "select {} from marts.fct_reading_hour where sensor_id = %s and bucket = %s"
DAILY = "select {} from marts.fct_reading_day where sensor_id = %s and day = %s"


def test_an_empty_database_builds(story):
    """All marts exist, and only the calendar has rows."""
    assert {name for name, count in story.empty.items() if count} == {"dim_date"}
    assert {"dim_sensor", "dim_quantity", *FACTS} <= story.empty.keys()


def test_a_single_reading(story):
    """One reading is an hour and a day with one sample: mean and median are its value, the deviation is null."""
    figures = "mean, minimum, maximum, standard_deviation, median, first_value, last_time, sample_count, expected_count"
    time = SPRING + timedelta(minutes=90)
    expected = (7.5, 7.5, 7.5, None, 7.5, 7.5, time, 1)
    assert story.row(HOURLY.format(figures), "single", SPRING + HOUR) == (*expected, 6)
    assert story.row(DAILY.format(figures), "single", SPRING.date()) == (*expected, 144)


def test_a_sensor_without_readings(story):
    """A sensor without readings is in the dimension and in no other table."""
    assert story.row("select is_in_service, quantities from marts.dim_sensor where sensor_id = %s", "silent")
    assert story.marts.rows("select from marts.fct_reading_day where sensor_id = 'silent'") == []


def test_a_retired_sensor(story):
    """A retired sensor keeps its readings, and no readings are expected after its retirement."""
    query = "select is_in_service, quantities, retired_at from marts.dim_sensor where sensor_id = %s"
    assert story.row(query, "retired") == (False, "", SPRING + 12 * HOUR)
    figures = "sample_count, expected_count, completeness"
    assert story.row(DAILY.format(figures), "retired", SPRING.date()) == (72, 72, 1.0)
    assert story.row(DAILY.format(figures), "retired", SPRING.date() - DAY) == (144, 144, 1.0)


def test_a_day_without_data_has_no_row(story):
    """A day without data and its hours have no rows."""
    days = story.marts.rows("select day from marts.fct_reading_day where sensor_id = 'normal' order by day")
    assert [day - SPRING.date() for (day,) in days] == [timedelta(days=offset) for offset in (-10, -1, 0, 2)]
    hours = story.marts.rows(
        "select count(*), count(distinct day) from marts.fct_reading_hour where sensor_id = 'moved'"
    )
    assert hours == [(72, 3)]


def test_the_day_on_which_the_clocks_change_has_24_hours(story):
    """Days are UTC days, whatever the server's time zone is."""
    query = "select bucket, sample_count, expected_count, completeness from marts.fct_reading_day where sensor_id = %s"
    assert story.row(query + " and day = %s", "moved", SPRING.date()) == (SPRING, 144, 144, 1.0)
    bounds = "select starts_at, ends_at from marts.dim_date where day = %s"
    assert story.marts.rows(bounds, SPRING.date()) == [(SPRING, SPRING + DAY)]
    with story.marts.connect() as connection:
        connection.execute("set timezone to 'Europe/Athens'")
        query = (
            "select count(*) from marts.fct_reading_minute where sensor_id = 'moved' and bucket >= %s and bucket < %s"
        )
        assert connection.execute(query, (SPRING, SPRING + DAY)).fetchone() == (144,)


def test_a_unit_change(story):
    """Readings before the change have the old unit, later ones the new unit; no figure mixes them."""
    figures = "unit, mean, sample_count"
    at = SPRING + 12 * HOUR
    assert story.row(HOURLY.format(figures), "changed", at - HOUR) == ("Cel", 20.0, 6)
    assert story.row(HOURLY.format(figures), "changed", at) == ("[degF]", 20.0, 6)
    days = [story.row(DAILY.format(figures), "changed", SPRING.date() + timedelta(days=n)) for n in (-1, 0, 2)]
    assert days == [("Cel", 20.0, 144), ("Cel", None, 144), ("[degF]", 20.0, 144)]
    units = story.marts.rows("select unit, unit_symbol, series_in_service from marts.dim_quantity order by unit")
    assert units == [("Cel", "°C", 5), ("[degF]", "°F", 1)]


def test_a_moved_sensor_keeps_its_old_place_for_old_readings(story):
    """Each hour has the place at its time, the dimension the current place."""
    at = SPRING + 12 * HOUR
    assert [story.row(HOURLY.format("site"), "moved", time) for time in (at - HOUR, at)] == [("athens",), ("patras",)]
    assert story.row("select site, unchanged_since from marts.dim_sensor where sensor_id = %s", "moved") == (
        "patras",
        at,
    )
    versions = story.marts.rows(
        "select site, valid_from, valid_to, is_current from marts.dim_sensor_history "
        "where sensor_id = 'moved' order by valid_from"
    )
    beginning, end = datetime(1900, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
    assert versions == [("athens", beginning, at, False), ("patras", at, end, True)]


def test_readings_are_compared_with_the_range_of_their_time(story):
    """A narrower range does not make earlier readings implausible."""
    assert story.row(DAILY.format("out_of_range_count"), "widened", SPRING.date()) == (72,)
    assert story.row(DAILY.format("out_of_range_count"), "widened", SPRING.date() - DAY) == (0,)


def test_late_readings_change_only_their_hours_and_days(story):
    """Only the rows of two late readings differ."""
    series, first, second = story.series["normal"], SPRING - DAY, SPRING + 2 * DAY
    hours = changed(story.stored["fct_reading_hour"], story.late["fct_reading_hour"])
    assert hours == {(series, first + 5 * HOUR), (series, second)}
    assert changed(story.stored["fct_reading_day"], story.late["fct_reading_day"]) == {
        (series, first),
        (series, second),
    }


def test_late_and_implausible_readings_are_counted(story):
    """An hour with one late and one implausible reading counts both."""
    query = HOURLY.format("sample_count, late_count, out_of_range_count, first_value, last_value, maximum")
    assert story.row(query, "normal", SPRING + 2 * DAY) == (7, 1, 1, 20.0, 20.0, 20.0)


def test_incremental_builds_equal_a_full_build(story):
    """Late readings in several parts lead to the same tables as one full build."""
    for name, rows in story.rebuilt.items():
        assert changed(story.late[name], rows) == set(), name


def test_retention_does_not_change_built_rows(story):
    """An incremental build after raw readings were dropped leaves all rows unchanged."""
    for name, rows in story.dropped.items():
        assert changed(story.rebuilt[name], rows) == set(), name


def test_a_full_build_after_retention_keeps_the_means(story):
    """Rebuilt without raw readings, old days keep mean, range and count; figures that need raw readings are null."""
    names = [column for (column,) in story.marts.rows(
        "select column_name from information_schema.columns where table_schema = 'marts' "
        "and table_name = 'fct_reading_day' order by ordinal_position"
    )]  # fmt: skip
    raw_columns = {
        "standard_deviation", "p05", "median", "p95", "first_time", "last_time", "late_count", "out_of_range_count",
    }  # fmt: skip
    for name in FACTS:
        before, after = story.dropped[name], story.rebuilt_dropped[name]
        assert before.keys() == after.keys()
        for (series_id, bucket), row in before.items():
            missing = raw_columns if bucket < LONG_AGO + DAY else set()
            expected = tuple(None if column in missing else value for column, value in zip(names, row, strict=True))
            for column, value, wanted in zip(names, after[series_id, bucket], expected, strict=True):
                # The stored means were summed in another order.
                tolerant = pytest.approx(wanted) if isinstance(wanted, float) else wanted
                assert value == tolerant, (name, series_id, bucket, column)


def test_the_current_hour_expects_readings_until_now(story):
    """An hour and day that have not ended expect no future readings, and can be complete."""
    series_id = register(story.marts, "current", interval=1)
    start = datetime.now(UTC).replace(microsecond=0)
    hour = start.replace(minute=0, second=0)
    store(story.marts, [(series_id, hour + timedelta(seconds=n), 1.0) for n in range(int((start - hour).seconds) + 1)])
    story.marts.run(*REGISTRY, *FACTS)
    end = datetime.now(UTC)
    expected_count, completeness = story.row(HOURLY.format("expected_count, completeness"), "current", hour)
    assert (start - hour).seconds <= expected_count <= (end - hour).seconds + 1
    assert completeness > 0.9 or expected_count < 60


def oracle(marts: Marts, grain: str) -> set[tuple[Any, ...]]:
    """Return series, bucket and figures from a simple query."""
    return set(
        marts.rows(
            f"select series_id, date_trunc('{grain}', time, 'UTC'), count(*), min(value), max(value), "
            "percentile_cont(0.5) within group (order by value), (array_agg(value order by time desc))[1] "
            "from telemetry.reading group by 1, 2"
        )
    )


def test_any_sequence_of_builds_equals_a_full_build(marts, story):
    """After readings of any age, moves, and builds of one or both marts in any order, a full build changes nothing."""
    seed = random.randrange(2**32)
    random_source = random.Random(seed)
    print(f"seed {seed}")
    marts.execute("delete from telemetry.retention")
    marts.execute("insert into telemetry.retention default values")
    marts.execute("truncate telemetry.reading, telemetry.late_hour")
    # One reading per day is expected: no figure depends on the time of a build.
    series = [register(marts, f"random-{n}", interval=86_400) for n in range(4)]
    marts.run(*REGISTRY, *FACTS, full=True)
    steps: list[Callable[[], object]] = []
    now = datetime.now(UTC)

    def readings() -> None:
        ages = [random_source.choice([0.5, 2.5, 6, 30, 24 * 60, 24 * 400]) * random_source.random() for _ in range(30)]
        readings_taken = {(random_source.choice(series), now - timedelta(hours=age)) for age in ages}
        store(marts, [(series_id, time, float(random_source.randint(-5, 105))) for series_id, time in readings_taken])

    def move() -> None:
        marts.execute(
            "update telemetry.sensor set site = %s, updated_at = now() where sensor_id = %s",
            f"site-{random_source.random()}", f"random-{random_source.randrange(4)}",
        )  # fmt: skip

    for _ in range(5):
        steps = [readings, readings, move, lambda: pass_time(marts), lambda: pass_time(marts)]
        random_source.shuffle(steps)
        for step in steps:
            step()
        marts.run(*random_source.choice([[*REGISTRY, *FACTS], REGISTRY, ["fct_reading_hour"], ["fct_reading_day"]]))
    marts.run(*REGISTRY, *FACTS)
    incremental = facts(marts)
    marts.run(*FACTS, full=True)
    for name, rows in facts(marts).items():
        assert changed(incremental[name], rows) == set(), name
    for name, grain in (("fct_reading_hour", "hour"), ("fct_reading_day", "day")):
        figures = "series_id, bucket, sample_count, minimum, maximum, median, last_value"
        assert set(marts.rows(f"select {figures} from marts.{name}")) == oracle(marts, grain)


def test_the_next_build_repairs_a_failed_build(marts, story):
    """A failed build leaves table and state unchanged; the next one processes the same readings."""
    series_id = register(marts, "failing")
    marts.run(*REGISTRY, *FACTS)
    store(marts, [(series_id, SPRING, 1.0)])
    marts.execute("alter table marts.fct_reading_hour add constraint broken check (sensor_id <> 'failing') not valid")
    with pytest.raises(AssertionError, match="broken"):
        marts.run("fct_reading_hour")
    pass_time(marts)
    marts.execute("alter table marts.fct_reading_hour drop constraint broken")
    marts.run("fct_reading_hour")
    assert story.row(HOURLY.format("sample_count"), "failing", SPRING) == (1,)


def test_a_mart_built_alone_is_no_newer_than_its_registry(marts, story):
    """Its state is not later than that of its snapshots, so that the next build starts from there."""
    marts.run(*REGISTRY)
    marts.run("fct_reading_day")
    states = dict(marts.rows("select model, built_until from intermediate.build_state"))
    assert states["fct_reading_day"] == min(states[name] for name in REGISTRY)

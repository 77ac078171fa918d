"""The whole project, its data tests included, on databases that hold next to nothing or what is out of the ordinary."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from fix_marts import Marts

REGISTERED = datetime(2024, 3, 20, tzinfo=UTC)
CHANGED = datetime(2024, 3, 31, 12, tzinfo=UTC)
"""On the day on which the clocks of the server's zone go forward: a sensor is retired, another's unit changes."""
SENSOR = """
insert into telemetry.sensor (sensor_id, type, site, area, topic, since, registered_at, updated_at)
values (%(sensor)s, 'motor', 'athens', 'hall', 't/' || %(sensor)s, '2000-01-01', %(at)s, %(at)s)
"""
SERIES = """
insert into telemetry.series
(sensor_id, quantity, unit, minimum, maximum, interval_seconds, registered_at, updated_at)
values (%(sensor)s, 'voltage', 'V', 0, 100, 60, %(at)s, %(at)s)
"""
# The last ten minutes of each half hour under load, on the 30th and 31st of March and the 2nd of April.
READINGS = """
insert into telemetry.reading (time, series_id, value, received_at)
select
    time,
    series_id,
    case when mod(extract(epoch from time)::bigint / 60, 30) >= 20 then 30 else 10 end + random(),
    time
from generate_series('2024-03-30 00:00+00'::timestamptz, '2024-04-02 23:59+00', interval '1 minute') as time
cross join telemetry.series
where
    (sensor_id in ('steady', 'changed') or (sensor_id = 'retired' and time < %s))
    and (time at time zone 'UTC')::date <> '2024-04-01'
"""
SINGLE = "insert into telemetry.reading select %s, min(series_id), 20, now() from telemetry.series"
LATE = """
insert into telemetry.late_hour
select distinct series_id, date_trunc('hour', time), now() from telemetry.reading
on conflict do nothing
"""
DAYS = "select day from marts.fct_quality_day where sensor_id = %s and sample_count > 0 order by day"


@dataclass
class Story:
    """What a database went through, with the rows of each mart on the way."""

    marts: Marts
    empty: dict[str, int]
    single: dict[str, int]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what ``query`` finds at the end."""
        return self.marts.rows(query, *values)


def counts(marts: Marts) -> dict[str, int]:
    """Return how many rows each mart has."""
    names = marts.rows("select table_name from information_schema.tables where table_schema = 'marts' order by 1")
    return {name: marts.rows(f"select count(*) from marts.{name}")[0][0] for (name,) in names}


def store(marts: Marts, readings: str) -> None:
    """Store readings and note them as late, which they are by now."""
    marts.execute(readings, CHANGED)
    marts.execute(LATE)
    marts.database.refresh()


def register(marts: Marts, sensor: str) -> None:
    """Add a sensor with one series."""
    with marts.connect() as connection:
        for statement in (SENSOR, SERIES):
            connection.execute(statement, {"sensor": sensor, "at": REGISTERED})


@pytest.fixture(scope="module")
def story(marts: Marts) -> Story:
    """Everything is built without anything, with one reading and, with its tests, with what is out of the ordinary."""
    assert marts.project.invoke(["run-operation", "forget_late_hours"], marts.database.environment).success
    marts.run()
    empty = counts(marts)
    register(marts, "single")
    store(marts, SINGLE)
    marts.run()
    single = counts(marts)
    for sensor in ("steady", "changed", "retired", "silent"):
        register(marts, sensor)
    marts.dbt("build", "--select", "resource_type:snapshot")
    marts.execute("update telemetry.series set unit = 'mV', updated_at = %s where sensor_id = 'changed'", CHANGED)
    for table in ("sensor", "series"):
        marts.execute(f"update telemetry.{table} set retired_at = %s where sensor_id = 'retired'", CHANGED)
    store(marts, READINGS)
    marts.dbt("build", "--exclude-resource-types", "unit_test")
    return Story(marts, empty, single)


def test_an_empty_database(story):
    """Every mart is there, and none but the calendar has a row."""
    assert len(story.empty) == 12
    assert [name for name, count in story.empty.items() if count] == ["dim_date"]


def test_one_reading(story):
    """It is a minute, an hour, a day and an interval; no cycle, and no anomaly but the silence since."""
    facts = {name: count for name, count in story.single.items() if name.startswith("fct_")}
    assert facts.pop("fct_quality_day") >= 1
    assert facts == {
        "fct_reading_minute": 1, "fct_reading_hour": 1, "fct_reading_day": 1, "fct_interval_summary": 1,
        "fct_load_cycle": 0, "fct_anomaly": 0, "fct_pipeline_hour": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sensor", "days"), [("steady", [30, 31, 2]), ("changed", [30, 31, 2]), ("retired", [30, 31]), ("silent", [])]
)
def test_days_with_readings_have_them_in_every_mart(story, sensor, days):
    """A day without data, a retired sensor, one without readings and a change of unit are the same in all marts."""
    expected = [datetime(2024, 3 if day > 2 else 4, day, tzinfo=UTC).date() for day in days]
    assert [day for (day,) in story.rows(DAYS, sensor)] == expected
    for mart in ("fct_reading_minute", "fct_reading_hour", "fct_reading_day", "fct_interval_summary", "fct_load_cycle"):
        day = "(bucket at time zone 'UTC')::date" if mart == "fct_reading_minute" else "day"
        found = story.rows(f"select distinct {day} from marts.{mart} where sensor_id = %s order by 1", sensor)
        assert [day for (day,) in found] == expected, mart


def test_a_day_without_data_is_a_gap(story):
    """It is told as an anomaly of the sensors in service, and of no other."""
    gaps = story.rows("select sensor_id from marts.fct_anomaly where kind = 'gap' and day = '2024-04-01' order by 1")
    assert gaps == [("changed",), ("steady",)]


def test_the_day_on_which_the_clocks_change_is_whole(story):
    """It has 24 hours, 1440 minutes and 48 cycles, wherever the server is."""
    day = "sensor_id = 'steady' and day = '2024-03-31'"
    assert story.rows(f"select sample_count, expected_count from marts.fct_reading_day where {day}") == [(1440, 1440)]
    for mart, count in (("fct_reading_hour", 24), ("fct_interval_summary", 144), ("fct_load_cycle", 48)):
        assert story.rows(f"select count(*) from marts.{mart} where {day}") == [(count,)]


def test_no_figure_mixes_two_units(story):
    """The sensor whose unit changed at noon has 24 hours in one unit each, and no mean of the whole day."""
    day = "sensor_id = 'changed' and day = '2024-03-31'"
    assert story.rows(f"select unit, count(mean) from marts.fct_reading_hour where {day} group by 1 order by 1") == [
        ("V", 12), ("mV", 12),
    ]  # fmt: skip
    assert story.rows(f"select mean from marts.fct_reading_day where {day}") == [(None,)]
    assert story.rows(f"select distinct unit from marts.fct_load_cycle where {day} order by 1") == [("V",), ("mV",)]

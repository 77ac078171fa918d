"""The whole project with its data tests, on databases that are nearly empty or have unusual data."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
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
# Rows of the collector and of a quality scan.
ACCOUNTS = """
insert into telemetry.intake (bucket, source, collector, messages, ignored, quarantined_messages)
values (date_trunc('hour', now()) - interval '2 hours', 'mqtt', 'one', 2, 1, 1);
insert into telemetry.ignored (bucket, source, topic, reason, messages, value_count)
values (date_trunc('hour', now()) - interval '2 hours', 'mqtt', 't/9', 'unmapped_text', 1, 2);
insert into telemetry.quarantine (received_at, source, topic, payload, retained, reason, detail, readings)
values (date_trunc('hour', now()) - interval '2 hours', 'mqtt', 't/9', '1', false, 'unknown_sensor', 'unknown', 0)
"""
QUALITY = """
insert into quality.check_result (scan_id, checked_at, contract, dataset, check_name, check_type, outcome)
values (gen_random_uuid(), '2024-04-02 22:00+00', 'reading', 'telemetry.reading', 'silent', 'silent', 'failed');
insert into quality.incident (key, title, opened_at, last_seen_at)
values ('silent', 'silent: no reading', '2024-04-02 22:00+00', '2024-04-02 22:00+00')
"""
BOARDS = Path(__file__).parents[3] / "deploy" / "grafana" / "dashboards"
SPAN = ("2024-03-30T00:00:00Z", "2024-04-03T00:00:00Z")
PANELS = [
    pytest.param(json.loads(path.read_text()), panel, id=f"{path.stem}: {panel['title']}")
    for path in sorted(BOARDS.glob("*.json"))
    for panel in json.loads(path.read_text())["panels"]
]
DAYS = "select day from marts.fct_quality_day where sensor_id = %s and sample_count > 0 order by day"


@dataclass
class Story:
    """The steps of a database, with the number of rows per mart after each step."""

    marts: Marts
    empty: dict[str, int]
    single: dict[str, int]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of ``query`` after the last step."""
        return self.marts.rows(query, *values)


def counts(marts: Marts) -> dict[str, int]:
    """Return the number of rows of each mart."""
    names = marts.rows("select table_name from information_schema.tables where table_schema = 'marts' order by 1")
    return {name: marts.rows(f"select count(*) from marts.{name}")[0][0] for (name,) in names}


def store(marts: Marts, readings: str) -> None:
    """Store readings and note their hours as late."""
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
    """Builds without data, with one reading, and (with data tests) with unusual data."""
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
    marts.execute(ACCOUNTS)
    marts.execute(QUALITY)
    marts.dbt("build", "--exclude-resource-types", "unit_test")
    return Story(marts, empty, single)


def test_an_empty_database(story):
    """All marts exist, and only the calendar has rows."""
    assert len(story.empty) == 12
    assert [name for name, count in story.empty.items() if count] == ["dim_date"]


def test_one_reading(story):
    """One reading is a minute, an hour, a day and an interval; no cycle and no anomaly."""
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
    """All marts have the same days for a gap of a day, a retired sensor, a silent sensor and a change of unit."""
    expected = [datetime(2024, 3 if day > 2 else 4, day, tzinfo=UTC).date() for day in days]
    assert [day for (day,) in story.rows(DAYS, sensor)] == expected
    for mart in ("fct_reading_minute", "fct_reading_hour", "fct_reading_day", "fct_interval_summary", "fct_load_cycle"):
        day = "(bucket at time zone 'UTC')::date" if mart == "fct_reading_minute" else "day"
        days_found = story.rows(f"select distinct {day} from marts.{mart} where sensor_id = %s order by 1", sensor)
        assert [day for (day,) in days_found] == expected, mart


def test_a_day_without_data_is_a_gap(story):
    """It is an anomaly of the sensors in service, and of no other sensor."""
    gaps = story.rows("select sensor_id from marts.fct_anomaly where kind = 'gap' and day = '2024-04-01' order by 1")
    assert gaps == [("changed",), ("steady",)]


def test_the_day_on_which_the_clocks_change_is_whole(story):
    """It has 24 hours, 1440 minutes and 48 cycles, whatever the server's time zone is."""
    day = "sensor_id = 'steady' and day = '2024-03-31'"
    assert story.rows(f"select sample_count, expected_count from marts.fct_reading_day where {day}") == [(1440, 1440)]
    for mart, count in (("fct_reading_hour", 24), ("fct_interval_summary", 144), ("fct_load_cycle", 48)):
        assert story.rows(f"select count(*) from marts.{mart} where {day}") == [(count,)]


def test_no_figure_mixes_two_units(story):
    """The sensor whose unit changed at noon has one unit per hour, and no mean of the day."""
    day = "sensor_id = 'changed' and day = '2024-03-31'"
    assert story.rows(f"select unit, count(mean) from marts.fct_reading_hour where {day} group by 1 order by 1") == [
        ("V", 12), ("mV", 12),
    ]  # fmt: skip
    assert story.rows(f"select mean from marts.fct_reading_day where {day}") == [(None,)]
    assert story.rows(f"select distinct unit from marts.fct_load_cycle where {day} order by 1") == [("V",), ("mV",)]


def expanded(query: str, variables: dict[str, list[str]], span: tuple[str, str]) -> str:
    """Return a panel's query as Grafana sends it, with all values of its variables."""
    begin, end = span
    query = re.sub(r"\$__timeFilter\(([^)]*)\)", rf"\1 between '{begin}' and '{end}'", query)
    query = query.replace("$__timeFrom()", f"'{begin}'").replace("$__timeTo()", f"'{end}'")
    for name, values in variables.items():
        query = query.replace(f"${{{name}:sqlstring}}", ", ".join(f"'{value}'" for value in values))
    assert "$" not in query
    return query


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_every_panel_shows_something(story, board, panel):
    """Each query of each dashboard, run with Grafana's roles, returns rows in the shape of its panel."""
    ((target),) = panel["targets"]
    assert target["rawQuery"]
    with story.marts.connect() as connection:
        if not connection.execute("select 1 from pg_catalog.pg_roles where rolname = 'as_grafana'").fetchone():
            connection.execute("create role as_grafana in role bi_reader, monitoring")
        connection.execute("set role as_grafana")
        variables = {}
        for variable in board["templating"]["list"]:
            values = [value for (value,) in connection.execute(variable["query"]).fetchall()]
            assert values, f"variable {variable['name']} has no values"
            variables[variable["name"]] = values if variable["multi"] else values[:1]
        span = (SPAN[0], datetime.now(UTC).isoformat()) if board["uid"] == "pipeline" else SPAN
        cursor = connection.execute(expanded(target["rawSql"], variables, span))
        names, rows = [column.name for column in cursor.description], cursor.fetchall()
    assert rows
    if panel["type"] == "stat":
        assert (len(rows), len(names)) == (1, 1)
    elif panel["type"] in ("timeseries", "state-timeline"):
        assert names[0] == "time"
        assert [row[0] for row in rows] == sorted(row[0] for row in rows)
        if target["format"] == "time_series":
            assert names == ["time", "metric", "value"]
        assert any(value is not None for row in rows for value in row[1:])
    else:
        assert panel["type"] == "table"
    assert len(names) == len(set(names))


def test_dashboards_are_provisioned_from_files(story):
    """Dashboards read the provisioned source, have different names, and their panels do not overlap."""
    boards = [json.loads(path.read_text()) for path in BOARDS.glob("*.json")]
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == 4
    source = (BOARDS.parent / "provisioning" / "datasources" / "warehouse.yml").read_text()
    for board in boards:
        taken = [
            (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
            for panel in board["panels"]
            for x in range(panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["h"])
        ]
        assert len(taken) == len(set(taken))
        assert max(x for x, _ in taken) < 24
        assert all(panel["description"] for panel in board["panels"])
        for panel in board["panels"]:
            assert f"uid: {panel['datasource']['uid']}\n" in source

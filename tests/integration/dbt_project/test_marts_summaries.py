"""fct_interval_summary, fct_quality_day, fct_pipeline_hour: their figures, and equal results of any order of builds."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fix_marts import Marts

Rows = dict[tuple[Any, ...], tuple[Any, ...]]
EVERYTHING = ("+fct_interval_summary", "+fct_quality_day", "+fct_pipeline_hour")
INCREMENTAL = ("fct_interval_summary", "fct_reading_day", "int_quality_day", "fct_quality_day", "fct_pipeline_hour")
DAY = timedelta(days=1)
TODAY = datetime.now(tz=UTC).replace(hour=0, minute=0, second=0, microsecond=0)
"""Rows from today on are left out of comparisons, since they change with time."""
LATE = TODAY - 60 * DAY + timedelta(hours=5)

SENSORS = """
insert into telemetry.sensor (sensor_id, type, site, area, topic, since, registered_at, retired_at) values
    ('steady', 't', 's', 'a', 'x/steady', '2000-01-01', %(registered)s, null),
    ('silent', 't', 's', 'a', 'x/silent', '2000-01-01', %(registered)s, null),
    ('gone', 't', 's', 'a', 'x/gone', '2000-01-01', %(registered)s, %(retired)s)
"""
SERIES = """
insert into telemetry.series
    (sensor_id, quantity, unit, minimum, maximum, interval_seconds, registered_at, retired_at)
values
    ('steady', 'temperature', 'Cel', 0, 40, 600, %(registered)s, null),
    ('steady', 'humidity', '%%', 0, 100, 600, %(registered)s, null),
    ('silent', 'temperature', 'Cel', 0, 40, 600, %(registered)s, null),
    ('gone', 'temperature', 'Cel', 0, 40, 600, %(registered)s, %(retired)s)
"""
READINGS = """
insert into telemetry.reading (time, series_id, value, received_at)
select time, series_id, 20 + extract(hour from time), time + %s::interval
from telemetry.series
cross join generate_series(%s::timestamptz, %s::timestamptz - interval '1 second', interval '10 minutes') as time
where sensor_id = %s
"""
QUARANTINE = """
insert into telemetry.quarantine (received_at, quarantined_at, source, topic, payload, reason, readings)
values (%s, now(), 'mqtt', %s, '', %s, %s)
"""
CHECK = """
insert into quality.check_result (scan_id, checked_at, contract, dataset, check_name, check_type, outcome, sensor_id)
values (gen_random_uuid(), %s, 'c', 'd', 'n', 't', %s, 'steady')
"""
INTAKE = """
insert into telemetry.intake
    (bucket, source, collector, messages, decoded, quarantined_messages, readings, stored)
values (%s, 'mqtt', 'test', 10, 9, 1, 9, 9)
"""


@dataclass
class Story:
    """The rows of the marts after a first build, an incremental build and a full rebuild."""

    marts: Marts
    first: dict[str, Rows]
    second: dict[str, Rows]
    whole: dict[str, Rows]


def rows_before_today(marts: Marts) -> dict[str, Rows]:
    """Return every row before today of the three marts, by its key."""
    keys = {"fct_interval_summary": 2, "fct_quality_day": 2, "fct_pipeline_hour": 2}
    columns = {
        "fct_interval_summary": "sensor_id || ' ' || quantity, bucket, interval_minutes, mean, minimum, maximum,"
        " sample_count, expected_count, completeness",
        "fct_quality_day": "sensor_id, bucket, quality, completeness, validity, timeliness, uniqueness, checks_passed,"
        " series_count, sample_count, expected_count, late_count, out_of_range_count, quarantined_count,"
        " conflict_count",
        "fct_pipeline_hour": "source, bucket, messages, decoded, quarantined_messages, readings, stored, balanced",
    }
    return {
        name: {
            row[: keys[name]]: row[keys[name] :]
            for row in marts.rows(f"select {columns[name]} from marts.{name} where bucket < %s", TODAY)
        }
        for name in keys
    }


@pytest.fixture(scope="module")
def story(marts: Marts) -> Story:
    """A first build, new data and an incremental build, and a full rebuild."""
    with pytest.MonkeyPatch.context() as patch, marts.connect() as connection:
        patch.delenv("TEMPERATURE_INTERVAL", raising=False)
        patch.setenv("HUMIDITY_INTERVAL", "60")
        registry = {"registered": TODAY - 4 * DAY, "retired": TODAY - 2 * DAY}
        connection.execute(SENSORS, registry)
        connection.execute(SERIES, registry)
        connection.execute(READINGS, ("1 second", TODAY - 4 * DAY, TODAY - 2 * DAY, "steady"))
        connection.execute(READINGS, ("1 hour", TODAY - 2 * DAY, TODAY - DAY, "steady"))
        connection.execute(READINGS, ("1 second", TODAY - 4 * DAY, TODAY - 3 * DAY, "gone"))
        connection.execute(QUARANTINE, (TODAY - 4 * DAY, "x/steady", "malformed", 0))
        connection.execute(QUARANTINE, (TODAY - 4 * DAY, "x/steady", "conflicting_value", 32))
        for outcome in ("passed", "passed", "passed", "failed"):
            connection.execute(CHECK, (TODAY - 3 * DAY, outcome))
        connection.execute(INTAKE, (TODAY - DAY,))
        marts.database.refresh()
        marts.run(*EVERYTHING)
        first = rows_before_today(marts)

        connection.execute(READINGS, ("60 days", LATE, LATE + timedelta(hours=1), "steady"))
        connection.execute(
            "insert into telemetry.late_hour select series_id, %s, clock_timestamp() from telemetry.series"
            " where sensor_id = 'steady'", (LATE,),
        )  # fmt: skip
        connection.execute("update telemetry.quarantine set replayed_at = now() where reason = 'malformed'")
        # A collector that was disconnected for days delivers an undecodable message.
        connection.execute(QUARANTINE, (TODAY - 3 * DAY, "x/steady", "malformed", 0))
        marts.database.refresh()
        patch.setenv("HUMIDITY_INTERVAL", "7")
        marts.run(*INCREMENTAL)
        second = rows_before_today(marts)
        marts.run(*INCREMENTAL, full=True)
        return Story(marts, first, second, rows_before_today(marts))


def test_incremental_builds_equal_a_full_rebuild(story):
    """After late readings, a replay and a changed interval, an incremental build equals a full rebuild."""
    assert story.second == story.whole


def test_late_readings_change_only_their_day(story):
    """Readings two months late add rows on their day; other rows of quantities with the same interval are unchanged."""
    for name, rows in story.first.items():
        unchanged_interval = {key: row for key, row in rows.items() if "humidity" not in key[0]}
        quarantined = {("steady", TODAY - 4 * DAY), ("steady", TODAY - 3 * DAY)}
        assert {key for key, row in unchanged_interval.items() if story.second[name].get(key) != row} <= quarantined
    late_day = LATE.replace(hour=0)
    new = {key for key in story.second["fct_quality_day"] if key not in story.first["fct_quality_day"]}
    assert new == {("steady", late_day)}
    new = {key for key in story.second["fct_interval_summary"] if key not in story.first["fct_interval_summary"]}
    assert {bucket for name, bucket in new if name == "steady temperature"} == {
        LATE + timedelta(minutes=10 * number) for number in range(6)
    }


def test_a_changed_interval_applies_to_the_whole_history(story):
    """The next build replaces all rows of the quantity by rows of the new interval; other quantities are unchanged."""
    for rows, minutes in ((story.first, 60), (story.second, 7)):
        intervals = {key[0]: row[0] for key, row in rows["fct_interval_summary"].items()}
        assert intervals["steady humidity"] == minutes
        assert intervals["steady temperature"] == 10
        assert {row[0] for key, row in rows["fct_interval_summary"].items() if "humidity" in key[0]} == {minutes}
    counts = [
        sum(
            row[4]
            for (name, bucket), row in rows["fct_interval_summary"].items()
            if "hum" in name and bucket > LATE + DAY
        )
        for rows in (story.first, story.second)
    ]
    assert counts == [432, 432]


def test_summaries_weight_readings_equally(story):
    """An hour with six readings of the hour's number plus 20 has that mean, six readings and completeness 1."""
    noon = TODAY - 3 * DAY + timedelta(hours=12)
    assert story.first["fct_interval_summary"]["steady humidity", noon] == (60, 32.0, 32.0, 32.0, 6, 6, 1.0)


def test_quality_has_its_parts(story):
    """Each part shows one fault: conflicts, quarantined messages, failed checks, late readings, no readings."""
    rows = {bucket: row for (sensor, bucket), row in story.first["fct_quality_day"].items() if sensor == "steady"}
    first, second, third, fourth = (rows[TODAY - number * DAY] for number in (4, 3, 2, 1))
    # 288 readings of two quantities; 18 are above 40 °C (hours 21 to 23); 1 message and 32 conflicts are quarantined.
    assert first[1:6] == pytest.approx((1.0, 270 / 289, 1.0, 0.9, None))
    assert first[0] == pytest.approx((40 + 25 * 270 / 289 + 15 + 10 * 0.9) / 0.9)
    assert second[1:6] == pytest.approx((1.0, 270 / 288, 1.0, 1.0, 0.75))
    assert third[1:6] == pytest.approx((1.0, 270 / 288, 0.0, 1.0, None))
    assert fourth[:6] == (0.0, 0.0, None, None, None, None)


def test_a_replay_corrects_the_day_of_its_messages(story):
    """Replayed messages are no longer counted as quarantined on their day."""
    key = ("steady", TODAY - 4 * DAY)
    quarantined_counts = [rows["fct_quality_day"][key][11] for rows in (story.first, story.second)]
    assert quarantined_counts == [1, 0]


def test_messages_quarantined_days_later_count_on_the_day_of_arrival(story):
    """A message that a collector kept for days counts on the day on which the collector received it."""
    key = ("steady", TODAY - 3 * DAY)
    quarantined_counts = [rows["fct_quality_day"][key][11] for rows in (story.first, story.second, story.whole)]
    assert quarantined_counts == [0, 1, 1]


def test_days_without_data_and_after_retirement(story):
    """A silent sensor in service has a row with completeness 0 per day; a retired sensor has no later rows."""
    rows = story.first["fct_quality_day"]
    days = {sensor: sorted(bucket for name, bucket in rows if name == sensor) for sensor in ("silent", "gone")}
    assert days["silent"] == [TODAY - number * DAY for number in (4, 3, 2, 1)]
    assert {rows["silent", day][:3] for day in days["silent"]} == {(0.0, 0.0, None)}
    assert days["gone"] == [TODAY - number * DAY for number in (4, 3)]
    assert [rows["gone", day][1] for day in days["gone"]] == [1.0, 0.0]


def test_message_accounting_per_hour(story):
    """An hour of message accounting is one balanced row."""
    assert story.whole["fct_pipeline_hour"] == {("mqtt", TODAY - DAY): (10, 9, 1, 9, 9, True)}


@pytest.mark.parametrize("value", ["0", "five"])
def test_a_wrong_interval_is_one_clear_error(story, monkeypatch, value):
    """Invalid minutes stop this table with a message that names the setting, and leave the rows unchanged."""
    monkeypatch.setenv("TEMPERATURE_INTERVAL", value)
    with pytest.raises(AssertionError, match=f"TEMPERATURE_INTERVAL is '{value}': set whole minutes from 1 to 1440"):
        story.marts.run("fct_interval_summary")
    assert rows_before_today(story.marts) == story.whole


def test_wrong_weights_are_one_clear_error(story):
    """Weights of unknown or missing parts stop the table with a message that lists the parts."""
    with pytest.raises(AssertionError, match=r"quality_weights is .* for each of completeness, validity"):
        story.marts.dbt("run", "--select", "fct_quality_day", "--vars", "{quality_weights: {completeness: 1}}")

"""Scans of a warehouse with its marts: green, one thing broken at a time, and what can't be scanned."""

import shutil
import uuid

import pytest
from typer.testing import CliRunner

from quality import cli, contracts
from quality.scan import scan

RESULTS = """
select check_name, coalesce(sensor_id, ''), outcome from quality.check_result where scan_id = %(scan)s order by id
"""
FAULTS = {
    "silent sensors": "delete from telemetry.reading where series_id = 2 and time > now() - interval '2 hours'",
    "flat-lined sensors": "update telemetry.reading set value = 21 "
    "where series_id = 2 and time > now() - interval '5 hours'",
    "sensors out of range": "update telemetry.reading set value = 99 "
    "where series_id = 2 and time > now() - interval '20 minutes'",
    "sensors that drift away from their neighbours": "update telemetry.reading set value = value + 20 "
    "where series_id = 2 and time > now() - interval '2 days'",
}
"""What happens to the second sensor, by the check that is to see it."""

# What changes in readings that are there: on one edition nothing carries it to the hours.
HOURS_ANEW = """
update telemetry.rollup_1h as hour
set minimum = raw.least, maximum = raw.greatest, sum_value = raw.total, sample_count = raw.number
from (
    select
        date_bin('1 hour', time, '2000-01-01') as bucket,
        series_id,
        min(value) as least,
        max(value) as greatest,
        sum(value) as total,
        count(*) as number
    from telemetry.reading
    group by 1, 2
) as raw
where raw.series_id = hour.series_id and raw.bucket = hour.bucket
"""
LOST = """
delete from telemetry.reading
where series_id = 2 and time between now() - interval '8 hours' and now() - interval '4 hours'
"""
FOLLOWED = {
    "postgresql": """
        delete from telemetry.rollup_1m
        where series_id = 2 and bucket between now() - interval '8 hours' and now() - interval '4 hours'
    """,
    "timescaledb": """
        call public.refresh_continuous_aggregate(
            'telemetry.reading_1m', now() - interval '9 hours', now() - interval '3 hours'
        )
    """,
}
"""Has the loss followed by the minutes, and by no other level."""
BREAKS = {
    "reading": ("closed hours that reading_1m counts differently", LOST),
    "reading_1m": ("closed hours that reading_1h counts differently", LOST),
    "quarantine": (
        "quarantined by the accounts, less what is there",
        """
        insert into telemetry.quarantine (received_at, source, topic, payload, reason, readings)
        values (now(), 'mqtt', 't', '', 'malformed', 0)
        """,
    ),
    "intake": (
        "minutes from the future",
        "insert into telemetry.intake (bucket, source, collector) values (now() + interval '1 day', 'mqtt', 'test')",
    ),
    "dim_date": (
        "days that it lacks between its first and its last",
        "delete from marts.dim_date where day = '2020-02-29'",
    ),
    "dim_quantity": (
        "quantities of the registry that it lacks",
        "update marts.dim_quantity set quantity_key = 'other'",
    ),
    "dim_sensor": ("sensors of the registry that it lacks", "delete from marts.dim_sensor where sensor_id = 't1'"),
    "dim_sensor_history": (
        "sensors without exactly one current version",
        "update marts.dim_sensor_history set is_current = false where sensor_id = 't1'",
    ),
    "fct_anomaly": (
        "sensor_id is in dim_sensor",
        """
        insert into marts.fct_anomaly
        select (jsonb_populate_record(null::marts.fct_anomaly, jsonb_build_object(
            'started_at', now(), 'ended_at', now(), 'day', current_date, 'series_id', 1, 'sensor_id', 'nobody',
            'sensor_version_key', sensor_version_key, 'quantity', 'temperature', 'unit', 'Cel',
            'quantity_key', 'temperature Cel', 'type', '', 'site', '', 'area', '', 'kind', 'gap', 'basis', 'interval',
            'duration_hours', 0, 'is_open', false, 'reason', ''
        ))).*
        from marts.dim_sensor
        limit 1
        """,
    ),
    "fct_interval_summary": (
        "days counted differently from reading_1d",
        "delete from marts.fct_interval_summary where series_id = 2 and day = current_date - 3",
    ),
    "fct_load_cycle": (
        "cycles that end before they begin",
        """
        insert into marts.fct_load_cycle
        select (jsonb_populate_record(null::marts.fct_load_cycle, jsonb_build_object(
            'started_at', now(), 'ended_at', now() - interval '1 minute', 'day', current_date, 'series_id', 1,
            'sensor_id', 't1', 'sensor_version_key', sensor_version_key, 'quantity', 'temperature', 'unit', 'Cel',
            'quantity_key', 'temperature Cel', 'type', '', 'site', '', 'area', '', 'duration_seconds', 0, 'mean', 1,
            'peak', 1, 'base', 0, 'rise', 1, 'integral', 0, 'integral_above_base', 0, 'load_level', 1,
            'low_threshold', 0, 'high_threshold', 1, 'sample_count', 1, 'completeness', 1, 'longest_gap_seconds', 0,
            'start_seen', true, 'end_seen', true, 'is_complete', true
        ))).*
        from marts.dim_sensor
        limit 1
        """,
    ),
    "fct_pipeline_hour": (
        "hours that differ from telemetry.intake",
        "delete from marts.fct_pipeline_hour where bucket = (select min(bucket) from marts.fct_pipeline_hour)",
    ),
    "fct_quality_day": (
        "validity No invalid values",
        "update intermediate.int_quality_day set out_of_range_count = 2 * sample_count where day = current_date - 3",
    ),
    "fct_reading_day": (
        "days counted differently from reading_1d",
        "update marts.fct_reading_day set sample_count = 1 where series_id = 2 and day = current_date - 3",
    ),
    "fct_reading_hour": (
        "days counted differently from reading_1h",
        "delete from marts.fct_reading_hour where series_id = 2 and bucket < now() - interval '3 days'",
    ),
    "fct_reading_minute": (
        "hours counted differently from reading_1m",
        "delete from intermediate.int_series_history where sensor_id = 't1'",
    ),
}
"""For each contract a check and what makes it fail."""


def states(found) -> dict[tuple[str, str, str], str]:
    """Return the outcome of every check by contract, name and series."""
    return {
        (one.contract, f"{one.column or ''} {one.check}".strip(), one.sensor_id or ""): one.word
        for one in found.results
    }


def test_a_green_warehouse_passes_with_one_row_a_check(copy):
    """Every check of every contract is evaluated, passes, and is a row of the scan."""
    chosen = uuid.uuid4()
    found = scan(None, chosen)
    assert found.outcome == "passed", found.text()
    assert {one.contract for one in found.results} == set(contracts.names())
    rows = copy.execute(RESULTS, scan=chosen)
    assert rows == [(one.check, one.sensor_id or "", one.outcome) for one in found.results]
    assert {outcome for _, _, outcome in rows} == {"passed"}
    assert len([row for row in rows if row[1]]) == 4 * 4
    assert copy.execute("select count(*) from quality.check_result where duration_seconds is null") == [(0,)]


@pytest.mark.parametrize("check", FAULTS)
def test_a_faulty_sensor_fails_its_own_check_alone(copy, check):
    """One sensor is silent, flat, out of range or drifting: nothing else fails, and no other sensor's checks change."""
    before = states(scan(["reading"]))
    copy.execute(FAULTS[check])
    if copy.database.edition == "postgresql":
        copy.execute(HOURS_ANEW)
    copy.database.refresh()
    after = states(scan(["reading"]))
    changed = {key[1:]: word for key, word in after.items() if before[key] != word and key[2]}
    assert {sensor for _, sensor in changed} == {"t1"}
    bad = {name: word for (name, _), word in changed.items() if word != "not evaluated"}
    assert bad == {check: "warned" if "drift" in check else "failed"}


@pytest.mark.parametrize("contract", contracts.names())
def test_each_contract_can_fail(crumbling, contract):
    """One broken thing is seen by the check that is there for it, which passed before."""
    check, statement = BREAKS[contract]
    assert states(scan([contract]))[contract, check, ""] == "passed"
    crumbling.execute(statement)
    if contract == "reading_1m":
        crumbling.execute(FOLLOWED[crumbling.database.edition])
    found = scan([contract])
    assert found.outcome == "failed", found.text()
    assert states(found)[contract, check, ""] == "failed"


JUST_BEFORE = """
update telemetry.series
set registered_at = build_state.built_until - interval '30 seconds'
from intermediate.build_state
where build_state.model = 'int_series_history' and series.sensor_id = 't1'
"""


@pytest.mark.parametrize("seen", [True, False], ids=["which the build saw", "which it did not see"])
def test_a_series_registered_within_a_minute_before_the_build_fails_nothing(copy, seen):
    """With ten days of readings already, loaded from a file: whether the build saw it in time can't be known."""
    copy.execute(JUST_BEFORE)
    if not seen:
        copy.execute("delete from intermediate.int_series_history where sensor_id = 't1'")
    found = scan(["fct_reading_minute"])
    failed = [one.check for one in found.results if one.word != "passed"]
    assert failed == [], found.text()


def test_accounts_that_do_not_balance_are_seen(warehouse):
    """A reading that the accounts hold as quarantined, and nobody has, fails intake as well as quarantine."""
    warehouse.execute(
        "insert into telemetry.intake (bucket, source, collector, messages, decoded, readings, quarantined_readings) "
        "values (date_trunc('minute', now()), 'mqtt', 'test', 1, 1, 1, 1)"
    )
    failed = {state for state, word in states(scan(["intake", "quarantine"])).items() if word == "failed"}
    assert {("intake", "accounts that do not balance", "")} < failed
    assert ("quarantine", "quarantined by the accounts, less what is there", "") in failed


def test_every_column_of_a_table_that_changes_is_seen(copy):
    """A column more, or of another type, fails the schema check."""
    copy.execute("alter table marts.dim_sensor add column more integer")
    found = scan(["dim_sensor"])
    assert [one.kind for one in found.results if one.word == "failed"] == ["schema"]


def test_a_contract_in_error_is_an_error_and_hides_no_other(copy, monkeypatch, tmp_path):
    """What can't be scanned is a row with the reason, ends with 3 whatever else there is, and closes no incident."""
    monkeypatch.setenv("QUALITY_CONTRACTS", str(tmp_path))
    for name in ("reading", "dim_date", "dim_sensor"):
        shutil.copy(contracts.HERE / f"{name}.yml", tmp_path)
    copy.execute("delete from marts.dim_date where day = '2020-02-29'")
    copy.execute("alter table marts.dim_sensor rename to elsewhere")
    found = CliRunner().invoke(cli.app, ["scan"])
    assert found.exit_code == 3
    assert "marts.dim_sensor" in found.output
    outcomes = copy.execute("select distinct contract, outcome from quality.check_result")
    assert {("dim_date", "failed"), ("dim_date", "passed"), ("reading", "passed")} <= set(outcomes)
    assert [outcome[:14] for contract, outcome in outcomes if contract == "dim_sensor"] == ["not evaluated:"]
    opened = "select key from quality.incident where closed_at is null order by 1"
    still = [
        ("quality:dim_date/days that it lacks between its first and its last",),
        ("quality:dim_sensor/can be scanned",),
    ]
    assert copy.execute(opened) == still
    copy.execute("alter table marts.elsewhere rename to dim_sensor")
    copy.execute("alter table marts.dim_date rename to elsewhere")
    scan(["dim_date", "dim_sensor"])
    assert copy.execute(opened) == [("quality:dim_date/can be scanned",), still[0]]


CONTRACT = """
dataset: warehouse/${{var.DATABASE}}/telemetry/{table}
variables:
  DATABASE:
    default: warehouse
columns:
  - name: bucket
checks:
{checks}
"""
WRONG = {
    "a mistyped variable": ("intake", "  - failed_rows: {query: 'select 1 where ${var.LIMT} > 1'}", "'LIMT'"),
    "no check": ("intake", "", "no check was evaluated"),
    "no such table": ("nosuch", "  - row_count:", 'telemetry.nosuch" does not exist'),
    "no such check": ("intake", "  - row_number:", "'row_number'"),
    "no value": ("intake", "  - metric: {query: 'select null::integer', threshold: {must_be: 0}}", "no value"),
    "wrong SQL": ("intake", "  - metric: {query: selct 1, threshold: {must_be: 0}}", "selct"),
    "no such view": (
        "intake", "  - failed_rows: {query: select 1 limit 0, attributes: {series: quality.nosuch}}", "quality.nosuch"
    ),
    "writing": (
        "intake", "  - failed_rows: {query: 'delete from telemetry.intake returning 1'}", "read-only transaction"
    ),
    "no YAML": ("intake", "  - [", "can't be read"),
    "two checks of one name": (
        "intake", "  - row_count: {name: a, qualifier: 1}\n  - row_count: {name: a, qualifier: 2}", "is called a"
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WRONG)
@pytest.mark.parametrize("edition", ["postgresql"], indirect=True)
def test_what_can_not_be_evaluated_never_passes(warehouse, mistake, monkeypatch, tmp_path):
    """A contract with a mistake ends with 3, and the reason is told in a line."""
    table, checks, told = WRONG[mistake]
    (tmp_path / "mine.yml").write_text(CONTRACT.format(table=table, checks=checks))
    monkeypatch.setenv("QUALITY_CONTRACTS", str(tmp_path))
    found = CliRunner().invoke(cli.app, ["scan"])
    assert found.exit_code == 3, found.output
    assert [line for line in found.output.splitlines() if "not evaluated" in line and told in line], found.output
    assert "Traceback" not in found.output

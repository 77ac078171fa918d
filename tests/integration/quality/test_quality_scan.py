"""Scans of a warehouse with marts: all checks pass, one broken part at a time, and contracts in error."""

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
"""By check: the statement that breaks the second sensor."""

# Updates of existing readings: the bundled edition does not propagate them to the hours.
RECOMPUTE_HOURS = """
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
DELETE_READINGS = """
delete from telemetry.reading
where series_id = 2 and time between now() - interval '8 hours' and now() - interval '4 hours'
"""
REFRESH_MINUTES = {
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
"""Propagates the deletion to the minutes, and to no other level."""
BREAKS = {
    "reading": ("closed hours that reading_1m counts differently", DELETE_READINGS),
    "reading_1m": ("closed hours that reading_1h counts differently", DELETE_READINGS),
    "quarantine": (
        "quarantined by the accounts, minus rows in quarantine",
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
        "missing days between the first and the last",
        "delete from marts.dim_date where day = '2020-02-29'",
    ),
    "dim_quantity": (
        "registered quantities that are missing",
        "update marts.dim_quantity set quantity_key = 'other'",
    ),
    "dim_sensor": ("registered sensors that are missing", "delete from marts.dim_sensor where sensor_id = 't1'"),
    "dim_sensor_history": (
        "sensors without exactly one current version",
        "update marts.dim_sensor_history set is_current = false where sensor_id = 't1'",
    ),
    "fct_anomaly": (
        "sensor_id is in dim_sensor",
        """
        insert into marts.fct_anomaly
        select (jsonb_populate_record(null::marts.fct_anomaly, jsonb_build_object(
            'started_at', now(), 'ended_at', now(), 'day', current_date, 'series_id', 1, 'sensor_id', 'unknown',
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
"""By contract: a check, and the statement that makes it fail."""


def statuses(result) -> dict[tuple[str, str, str], str]:
    """Return the status of every check by contract, name and series."""
    return {
        (check.contract, f"{check.column or ''} {check.check}".strip(), check.sensor_id or ""): check.status
        for check in result.results
    }


def test_a_green_warehouse_passes_with_one_row_per_check(copy):
    """Every check of every contract is evaluated, passes, and is stored as a row."""
    scan_id = uuid.uuid4()
    result = scan(None, scan_id)
    assert result.outcome == "passed", result.text()
    assert {check.contract for check in result.results} == set(contracts.names())
    rows = copy.execute(RESULTS, scan=scan_id)
    assert rows == [(check.check, check.sensor_id or "", check.outcome) for check in result.results]
    assert {outcome for _, _, outcome in rows} == {"passed"}
    assert len([row for row in rows if row[1]]) == 4 * 4
    assert copy.execute("select count(*) from quality.check_result where duration_seconds is null") == [(0,)]


@pytest.mark.parametrize("check", FAULTS)
def test_a_faulty_sensor_fails_only_its_own_check(copy, check):
    """One sensor is silent, flat, out of range or drifting: no other check and no check of another sensor changes."""
    before = statuses(scan(["reading"]))
    copy.execute(FAULTS[check])
    if copy.database.edition == "postgresql":
        copy.execute(RECOMPUTE_HOURS)
    copy.database.refresh()
    after = statuses(scan(["reading"]))
    changed = {key[1:]: status for key, status in after.items() if before[key] != status and key[2]}
    assert {sensor for _, sensor in changed} == {"t1"}
    failures = {name: status for (name, _), status in changed.items() if status != "not evaluated"}
    assert failures == {check: "warned" if "drift" in check else "failed"}


@pytest.mark.parametrize("contract", contracts.names())
def test_each_contract_can_fail(shared_copy, contract):
    """A check that passed before detects the broken part."""
    check, statement = BREAKS[contract]
    assert statuses(scan([contract]))[contract, check, ""] == "passed"
    shared_copy.execute(statement)
    if contract == "reading_1m":
        shared_copy.execute(REFRESH_MINUTES[shared_copy.database.edition])
    result = scan([contract])
    assert result.outcome == "failed", result.text()
    assert statuses(result)[contract, check, ""] == "failed"


REGISTERED_BEFORE_BUILD = """
update telemetry.series
set registered_at = build_state.built_until - interval '30 seconds'
from intermediate.build_state
where build_state.model = 'int_series_history' and series.sensor_id = 't1'
"""


@pytest.mark.parametrize("in_build", [True, False], ids=["in the build", "missed by the build"])
def test_a_series_registered_within_a_minute_before_the_build_fails_nothing(copy, in_build):
    """It has ten days of loaded readings; the check can't know whether the build could include it, so it passes."""
    copy.execute(REGISTERED_BEFORE_BUILD)
    if not in_build:
        copy.execute("delete from intermediate.int_series_history where sensor_id = 't1'")
    result = scan(["fct_reading_minute"])
    failed = [check.check for check in result.results if check.status != "passed"]
    assert failed == [], result.text()


def test_unbalanced_accounts_are_detected(warehouse):
    """A reading counted as quarantined but not in quarantine fails the contracts intake and quarantine."""
    warehouse.execute(
        "insert into telemetry.intake (bucket, source, collector, messages, decoded, readings, quarantined_readings) "
        "values (date_trunc('minute', now()), 'mqtt', 'test', 1, 1, 1, 1)"
    )
    failed = {check for check, status in statuses(scan(["intake", "quarantine"])).items() if status == "failed"}
    assert {("intake", "accounts that do not balance", "")} < failed
    assert ("quarantine", "quarantined by the accounts, minus rows in quarantine", "") in failed


def test_an_added_column_is_detected(copy):
    """An additional column fails the schema check."""
    copy.execute("alter table marts.dim_sensor add column more integer")
    result = scan(["dim_sensor"])
    assert [check.kind for check in result.results if check.status == "failed"] == ["schema"]


def test_a_contract_in_error_does_not_affect_others(copy, monkeypatch, tmp_path):
    """A contract that can't be scanned is a row with the reason, gives exit status 3, and closes no incident."""
    monkeypatch.setenv("QUALITY_CONTRACTS", str(tmp_path))
    for name in ("reading", "dim_date", "dim_sensor"):
        shutil.copy(contracts.BUNDLED / f"{name}.yml", tmp_path)
    copy.execute("delete from marts.dim_date where day = '2020-02-29'")
    copy.execute("alter table marts.dim_sensor rename to elsewhere")
    process = CliRunner().invoke(cli.app, ["scan"])
    assert process.exit_code == 3
    assert "marts.dim_sensor" in process.output
    outcomes = copy.execute("select distinct contract, outcome from quality.check_result")
    assert {("dim_date", "failed"), ("dim_date", "passed"), ("reading", "passed")} <= set(outcomes)
    assert [outcome[:14] for contract, outcome in outcomes if contract == "dim_sensor"] == ["not evaluated:"]
    open_keys = "select key from quality.incident where closed_at is null order by 1"
    expected = [
        ("quality:dim_date/missing days between the first and the last",),
        ("quality:dim_sensor/can be scanned",),
    ]
    assert copy.execute(open_keys) == expected
    copy.execute("alter table marts.elsewhere rename to dim_sensor")
    copy.execute("alter table marts.dim_date rename to elsewhere")
    scan(["dim_date", "dim_sensor"])
    assert copy.execute(open_keys) == [("quality:dim_date/can be scanned",), expected[0]]


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
INVALID = {
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


@pytest.mark.parametrize("mistake", INVALID)
@pytest.mark.parametrize("edition", ["postgresql"], indirect=True)
def test_an_invalid_contract_never_passes(warehouse, mistake, monkeypatch, tmp_path):
    """A contract with an error gives exit status 3, and one line has the reason."""
    table, checks, reason = INVALID[mistake]
    (tmp_path / "mine.yml").write_text(CONTRACT.format(table=table, checks=checks))
    monkeypatch.setenv("QUALITY_CONTRACTS", str(tmp_path))
    process = CliRunner().invoke(cli.app, ["scan"])
    assert process.exit_code == 3, process.output
    assert [line for line in process.output.splitlines() if "not evaluated" in line and reason in line], process.output
    assert "Traceback" not in process.output

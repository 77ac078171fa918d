"""The DAGs build_marts and scan_quality on a real warehouse: a task fails only if its model or contract fails."""

import uuid

import pytest
from fix_connection_trace import ConnectionTrace, missing

EPHEMERAL = ["stg_telemetry__sensor", "stg_telemetry__series", "snapshot_sensor", "snapshot_series",
             "dim_sensor_history", "int_series_history", "int_load_line"]  # fmt: skip
"""An ephemeral model, the last one, and its upstream models."""
MODELS = ["int_unit", "stg_telemetry__intake", "fct_pipeline_hour", *EPHEMERAL]
"""A few models: a full build takes half a minute and is part of the acceptance test."""
BALANCED = """
insert into telemetry.intake (bucket, source, collector, messages, decoded, readings, stored)
values (date_trunc('minute', now()), 'mqtt', 'balanced', 7, 7, 7, 7);
"""
# A constraint of the table refuses such a row; it is dropped so that the mart's test sees one.
UNBALANCED = """
alter table telemetry.intake drop constraint intake_messages_balance;
insert into telemetry.intake (bucket, source, collector, messages, decoded, readings, stored)
values (date_trunc('minute', now()), 'mqtt', 'unbalanced', 7, 5, 5, 5);
"""
REPAIRED = "delete from telemetry.intake where collector = 'unbalanced'"
CONTRACT = """
dataset: warehouse/{database}/telemetry/intake
columns:
  - name: readings
    checks:
      - missing:
checks:
  - row_count:
      threshold:
        must_be_greater_than: {least}
"""


@pytest.fixture(scope="module")
def contracts(tmp_path_factory, built_into):
    """A folder with a contract that passes, one that fails, and one in error."""
    folder = tmp_path_factory.mktemp("contracts")
    database = built_into.environment["PGDATABASE"]
    for name, least in (("passing", 0), ("failing", 1000), ("erring", "${var.MISTYPED}")):
        (folder / f"{name}.yml").write_text(CONTRACT.format(database=database, least=least))
    return folder


@pytest.fixture(scope="module")
def trace_of_all(tmp_path_factory):
    """A trace of the connections of all runs; None if tracing is not available."""
    return None if missing() else ConnectionTrace(tmp_path_factory.mktemp("trace") / "connections")


@pytest.fixture
def connection_trace(trace_of_all):
    """The trace; skips the test if tracing is not available."""
    return trace_of_all or pytest.skip(missing())


@pytest.fixture(scope="module")
def answer(airflow_home, built_into, contracts, trace_of_all):
    """The result of a build with unbalanced accounts, a build after the repair, and a scan."""
    builds = [{"dag": "build_marts", "only": MODELS, "before": before} for before in (BALANCED + UNBALANCED, REPAIRED)]
    environment = {**built_into.environment, "QUALITY_CONTRACTS": str(contracts)}
    return airflow_home.run("run", [*builds, {"dag": "scan_quality"}], environment, trace_of_all)


@pytest.fixture
def failed_build(answer):
    """The build with unbalanced accounts."""
    return answer["runs"][0]


@pytest.fixture
def repaired_build(answer):
    """The build after the repair."""
    return answer["runs"][1]


@pytest.fixture
def scan(answer):
    """The scan."""
    return answer["runs"][2]


@pytest.fixture
def rows(built_into):
    """Query the warehouse."""

    def fetch(query):
        with built_into.connect() as connection:
            return connection.execute(query).fetchall()

    return fetch


def test_failed_test_fails_only_the_task_of_its_model(failed_build):
    """One test of one model fails: one task fails, the asset is not updated, and nothing is retried."""
    assert failed_build["state"] == "failed"
    assert failed_build["tasks"] == {
        **dict.fromkeys(["build", *MODELS], "success"), "fct_pipeline_hour": "failed", "marts": "upstream_failed",
    }  # fmt: skip
    assert failed_build["tries"]["build"] == failed_build["tries"]["fct_pipeline_hour"] == 1


def test_build_after_the_repair_succeeds(repaired_build):
    """Every task of the next build succeeds, and the asset is updated."""
    assert repaired_build["tasks"] == dict.fromkeys(["build", *MODELS, "marts"], "success")


def test_failure_and_recovery_of_the_model_are_recorded(rows, repaired_build):
    """The failed task has one incident, which is closed after the repair."""
    incidents = rows("select key, closed_at is not null from quality.incident where key like 'airflow.build%'")
    assert incidents == [("airflow.build_marts.fct_pipeline_hour", True)]


def test_each_contract_is_a_separate_task(scan):
    """One passes, one fails without a retry, one in error is retried; each is named after its contract."""
    assert scan["state"] == "failed"
    assert scan["tasks"] == {"passing": "success", "failing": "failed", "erring": "failed"}
    assert scan["tries"] == {"passing": 1, "failing": 1, "erring": 3}


def test_all_tasks_of_a_run_are_one_scan(rows, scan):
    """The results of one run share one scan id and are stored even if the task fails."""
    scans_by_contract = rows("select contract, array_agg(distinct scan_id) from quality.check_result group by contract")
    assert {contract for contract, _ in scans_by_contract} == {"passing", "failing", "erring"}
    ids = {scan_id for _, scan_ids in scans_by_contract for scan_id in scan_ids}
    assert len(ids) == 1
    assert isinstance(ids.pop(), uuid.UUID)


def test_failed_check_is_notified_once(rows, scan):
    """The scan notifies of a failed check, so its task does not; a contract in error may have both notifications."""
    keys = {key for (key,) in rows("select key from quality.incident where closed_at is null")}
    assert "airflow.scan_quality.scan.failing" not in keys
    assert "airflow.scan_quality.scan.erring" in keys
    assert any("failing" in key for key in keys)


def test_no_connection_leaves_the_machine(answer, connection_trace, built_into):
    """Neither dbt, Soda, Airflow nor Cosmos connects to another machine or looks up a name."""
    assert connection_trace.outside() == []
    assert ("127.0.0.1", int(built_into.environment["PGPORT"])) in connection_trace.peers(), (
        "the trace lacks even the database"
    )

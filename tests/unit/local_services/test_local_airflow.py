"""The local Airflow: its settings and its requests, without starting it."""

import json
import socket
import time

import pytest

from local_services import airflow
from local_services.airflow import AirflowError, LocalAirflow, UnansweredError
from local_services.child_process import StoppedError

WAREHOUSE = {"PGHOST": "127.0.0.1", "PGPORT": "5433", "PGUSER": "me", "PGPASSWORD": "secret", "PGDATABASE": "warehouse"}


@pytest.fixture
def local(tmp_path):
    """Return a function that makes a local Airflow for an environment, always in the same directory."""
    tmp_path.joinpath("airflow").mkdir(mode=0o700)
    return lambda **more: LocalAirflow(tmp_path / "airflow", {**WAREHOUSE, **more})


def settings(local_airflow):
    """Return the settings of its processes."""
    return airflow.settings(
        local_airflow._base_environment, local_airflow._secrets(), local_airflow.directory, local_airflow.url
    )


def test_secrets_are_created_once_and_private(local):
    """Secrets stay the same after a restart, and only their owner can read them."""
    first, second = settings(local()), settings(local())
    assert first == second
    assert (
        len({first[f"AIRFLOW__{name}"] for name in ("CORE__FERNET_KEY", "API__SECRET_KEY", "API_AUTH__JWT_SECRET")})
        == 3
    )
    for path in (local().password_file, local().directory / "secrets.json"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert len(json.loads(local().password_file.read_text())["admin"]) >= 20


def test_a_port_taken_during_preparation_is_replaced(local):
    """If the port is taken meanwhile, all settings have another one."""
    local_airflow = local()
    local_airflow._configure()
    with socket.socket() as other:
        other.bind(("127.0.0.1", local_airflow.port))
        other.listen()
        taken = local_airflow.port
        local_airflow._configure()
    assert local_airflow.port != taken
    written = (local_airflow.directory / "env").read_text()
    assert f":{local_airflow.port}/execution/" in written
    assert f":{taken}/" not in written


def test_metadata_are_separate_from_the_warehouse(local):
    """The metadata have their own database, role and password on the warehouse's server, over psycopg 3."""
    configured = settings(local())
    for name, driver in (("SQL_ALCHEMY_CONN", "psycopg"), ("SQL_ALCHEMY_CONN_ASYNC", "psycopg_async")):
        address = configured[f"AIRFLOW__DATABASE__{name}"]
        assert address.startswith(f"postgresql+{driver}://airflow:")
        assert address.endswith("@127.0.0.1:5433/airflow")
        assert "secret" not in address


def test_settings_of_the_environment_take_precedence(local):
    """Settings of the environment take precedence, except those for access and telemetry."""
    configured = settings(local(
        AIRFLOW__CORE__PARALLELISM="9", AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
        AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="True",
    ))  # fmt: skip
    assert configured["AIRFLOW__CORE__PARALLELISM"] == "9"
    assert configured["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] == "False"
    assert configured["AIRFLOW__USAGE_DATA_COLLECTION__ENABLED"] == "False"


def test_two_never_share_a_directory(local):
    """The second is refused with the fix; after the end of the first it may start."""
    first, second = local(), local()
    first._take_lock()
    with pytest.raises(AirflowError, match="already runs"):
        second._take_lock()
    first.stop()
    second._take_lock()
    second.stop()


def test_a_failure_to_create_the_database_is_explained(local):
    """The message has the object, the reason and the settings to use instead."""
    with pytest.raises(AirflowError, match=r"can't create the database airflow.*AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"):
        local(PGPORT="1")._create_database("x")


def test_missing_responses_are_retried_until_the_deadline(local):
    """Requests without a response are retried; the timeout names the folder of the logs."""
    calls = []

    def condition():
        calls.append(True)
        raise UnansweredError("timed out")

    with pytest.raises(AirflowError, match="timeout while waiting for it; the logs are in"):
        local().wait_until(condition, "it", time.monotonic() + 0.3)
    assert len(calls) > 1


def test_a_stop_request_ends_a_wait(tmp_path):
    """A wait ends as soon as a stop is requested."""
    with pytest.raises(StoppedError):
        LocalAirflow(tmp_path, WAREHOUSE, stopped=lambda: True).wait_until(lambda: False, "it", float("inf"))


class Answering(LocalAirflow):
    """A local Airflow whose REST API is a function from path and body to response; ``requests`` has all requests."""

    def __init__(self, directory, answer):
        super().__init__(directory, WAREHOUSE)
        self.answer = answer
        self.requests = []

    def request(self, path, body=None, method=None):
        """Record the request and return its response."""
        self.requests.append((path, body))
        return self.answer(path, body)


PAST, FUTURE = "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("scheduled", "paused", "unfinished", "used"),
    [
        (FUTURE, False, [[]], "manual"),
        (FUTURE, False, [["scheduled"]], "scheduled"),
        (PAST, False, [[], ["scheduled"]], "scheduled"),
        (PAST, True, [[]], "manual"),
        (None, False, [[]], "manual"),
    ],
    ids=["scheduled later", "one is running", "scheduled now", "paused", "no schedule"],
)
def test_an_unfinished_or_scheduled_run_is_used(tmp_path, scheduled, paused, unfinished, used):
    """A run is triggered only if none is unfinished or scheduled for now: two would take twice as long."""
    states = iter(unfinished)
    last = unfinished[-1]

    def answer(path, body):
        if body is not None:
            return {"dag_run_id": "manual"}
        if "dagRuns" in path:
            return {"dag_runs": [{"dag_run_id": run} for run in next(states, last)]}
        return {"next_dagrun_run_after": scheduled, "is_paused": paused}

    assert Answering(tmp_path, answer).trigger("build_marts") == used


def test_the_scan_after_a_build_is_found_by_its_asset_event(tmp_path):
    """The run triggered by a build is found by the asset event of the build, not by its time."""
    runs = [{"dag_run_id": name, "run_type": kind} for name, kind in (
        ("by schedule", "scheduled"), ("after an earlier build", "asset_triggered"), ("ours", "asset_triggered"),
    )]  # fmt: skip
    sources = {"after%20an%20earlier%20build": "earlier", "ours": "the build"}

    def answer(path, _):
        if path.endswith("upstreamAssetEvents"):
            return {"asset_events": [{"source_run_id": sources[path.split("/")[-2]]}]}
        return {"dag_runs": runs}

    assert Answering(tmp_path, answer).run_triggered_by("the build", "scan_quality", 5) == "ours"


def test_a_failed_run_names_its_failed_tasks(tmp_path):
    """A mapped task has the name of its item; only the given run counts."""

    def answer(path, _):
        if "taskInstances" in path:
            return {"task_instances": [
                {"rendered_map_index": "reading", "task_id": "scan"}, {"rendered_map_index": None, "task_id": "build"},
            ]}  # fmt: skip
        return {"state": "failed"}

    local_airflow = Answering(tmp_path, answer)
    assert local_airflow.wait_for_run("scan_quality", "a/run", 5) == ["build", "reading"]
    assert all("/dagRuns/a/run" in path for path, _ in local_airflow.requests)


def test_without_airflow_the_error_names_the_extra(tmp_path, monkeypatch):
    """If Airflow is not installed, the error names the extra to install."""
    monkeypatch.setattr(airflow, "installed_program", lambda name: str(tmp_path / name))
    with pytest.raises(AirflowError, match=r"sensor-warehouse\[airflow\]"):
        LocalAirflow(tmp_path, WAREHOUSE)

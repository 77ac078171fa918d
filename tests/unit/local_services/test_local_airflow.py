"""What the local Airflow is told, without starting it."""

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
    """Make a local Airflow in one directory, for an environment."""
    tmp_path.joinpath("airflow").mkdir(mode=0o700)
    return lambda **more: LocalAirflow(tmp_path / "airflow", {**WAREHOUSE, **more})


def settings(one):
    """Return what it would be told."""
    return airflow.settings(one._given, one._secrets(), one.directory, one.url)


def test_secrets_are_made_once_and_for_their_owner(local):
    """Logins and stored connections outlive a restart; nobody else can read what makes them."""
    first, second = settings(local()), settings(local())
    assert first == second
    assert (
        len({first[f"AIRFLOW__{name}"] for name in ("CORE__FERNET_KEY", "API__SECRET_KEY", "API_AUTH__JWT_SECRET")})
        == 3
    )
    for path in (local().password_file, local().directory / "secrets.json"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert len(json.loads(local().password_file.read_text())["admin"]) >= 20


def test_a_port_that_somebody_takes_meanwhile_is_left(local):
    """Preparing takes a while; another port is told to everybody then."""
    one = local()
    one._settle()
    with socket.socket() as other:
        other.bind(("127.0.0.1", one.port))
        other.listen()
        taken = one.port
        one._settle()
    assert one.port != taken
    told = (one.directory / "env").read_text()
    assert f":{one.port}/execution/" in told
    assert f":{taken}/" not in told


def test_metadata_are_apart_from_the_warehouse(local):
    """They have a database, a role and a password of their own, on the warehouse's server, through psycopg 3."""
    told = settings(local())
    for name, driver in (("SQL_ALCHEMY_CONN", "psycopg"), ("SQL_ALCHEMY_CONN_ASYNC", "psycopg_async")):
        address = told[f"AIRFLOW__DATABASE__{name}"]
        assert address.startswith(f"postgresql+{driver}://airflow:")
        assert address.endswith("@127.0.0.1:5433/airflow")
        assert "secret" not in address


def test_own_settings_win_where_nothing_depends_on_it(local):
    """Whoever knows Airflow can set it as usual, but not open it to anybody or have it report what it does."""
    told = settings(local(
        AIRFLOW__CORE__PARALLELISM="9", AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
        AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="True",
    ))  # fmt: skip
    assert told["AIRFLOW__CORE__PARALLELISM"] == "9"
    assert told["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] == "False"
    assert told["AIRFLOW__USAGE_DATA_COLLECTION__ENABLED"] == "False"


def test_two_never_share_a_directory(local):
    """The second is refused with the mend; once the first has ended it may."""
    first, second = local(), local()
    first._take_lock()
    with pytest.raises(AirflowError, match="already runs"):
        second._take_lock()
    first.stop()
    second._take_lock()
    second.stop()


def test_a_server_that_refuses_the_database_is_told_of(local):
    """The message says what could not be made, why, and what to set instead."""
    with pytest.raises(AirflowError, match=r"can't make the database airflow.*AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"):
        local(PGPORT="1")._create_database("x")


def test_no_answer_is_waited_for_until_the_deadline(local):
    """A busy machine takes its time; in the end it is told where to look."""
    asked = []

    def condition():
        asked.append(True)
        raise UnansweredError("timed out")

    with pytest.raises(AirflowError, match="waited too long for it; the logs are in"):
        local().wait(condition, "it", time.monotonic() + 0.3)
    assert len(asked) > 1


def test_waiting_ends_when_somebody_wants_it_to(tmp_path):
    """Ctrl-C is heard at once."""
    with pytest.raises(StoppedError):
        LocalAirflow(tmp_path, WAREHOUSE, stopped=lambda: True).wait(lambda: False, "it", float("inf"))


class Answering(LocalAirflow):
    """A local Airflow whose REST API is a function from path to answer; ``asked`` has what was asked."""

    def __init__(self, directory, answer):
        super().__init__(directory, WAREHOUSE)
        self.answer = answer
        self.asked = []

    def ask(self, path, body=None, method=None):
        """Answer, and note what was asked."""
        self.asked.append((path, body))
        return self.answer(path, body)


PAST, FUTURE = "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("due", "paused", "open_runs", "begun"),
    [
        (FUTURE, False, [[]], "manual"),
        (FUTURE, False, [["scheduled"]], "scheduled"),
        (PAST, False, [[], ["scheduled"]], "scheduled"),
        (PAST, True, [[]], "manual"),
        (None, False, [[]], "manual"),
    ],
    ids=["none is due", "one goes on", "one is due and comes", "due but paused", "no schedule"],
)
def test_no_run_is_started_beside_one_that_is_due_or_goes_on(tmp_path, due, paused, open_runs, begun):
    """A build that the clock has just started is as good as our own, and two would take twice as long."""
    states = iter(open_runs)
    last = open_runs[-1]

    def answer(path, body):
        if body is not None:
            return {"dag_run_id": "manual"}
        if "dagRuns" in path:
            return {"dag_runs": [{"dag_run_id": one} for one in next(states, last)]}
        return {"next_dagrun_run_after": due, "is_paused": paused}

    assert Answering(tmp_path, answer).begin("build_marts") == begun


def test_a_scan_by_the_clock_is_not_taken_for_the_one_after_a_build(tmp_path):
    """What followed the build is told by the asset event that the build left, not by when it ran."""
    runs = [{"dag_run_id": name, "run_type": kind} for name, kind in (
        ("by the clock", "scheduled"), ("after an earlier build", "asset_triggered"), ("ours", "asset_triggered"),
    )]  # fmt: skip
    sources = {"after%20an%20earlier%20build": "earlier", "ours": "the build"}

    def answer(path, _):
        if path.endswith("upstreamAssetEvents"):
            return {"asset_events": [{"source_run_id": sources[path.split("/")[-2]]}]}
        return {"dag_runs": runs}

    assert Answering(tmp_path, answer).follower("scan_quality", "the build", 5) == "ours"


def test_a_red_run_names_the_tasks_that_failed(tmp_path):
    """Mapped ones go by what they are mapped over; the run that is asked for counts, whatever others do."""

    def answer(path, _):
        if "taskInstances" in path:
            return {"task_instances": [
                {"rendered_map_index": "reading", "task_id": "scan"}, {"rendered_map_index": None, "task_id": "build"},
            ]}  # fmt: skip
        return {"state": "failed"}

    local = Answering(tmp_path, answer)
    assert local.finish("scan_quality", "a/run", 5) == ["build", "reading"]
    assert all("/dagRuns/a/run" in path for path, _ in local.asked)


def test_without_airflow_it_says_what_to_install(tmp_path, monkeypatch):
    """Nobody gets a traceback for an extra that is not installed."""
    monkeypatch.setattr(airflow, "beside", lambda name: str(tmp_path / name))
    with pytest.raises(AirflowError, match=r"sensor-warehouse\[airflow\]"):
        LocalAirflow(tmp_path, WAREHOUSE)

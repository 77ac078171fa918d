"""What the local Airflow is told, without starting it."""

import json
import time

import pytest

from simulator import airflow
from simulator.airflow import AirflowError, LocalAirflow, UnansweredError
from simulator.child import StoppedError

WAREHOUSE = {"PGHOST": "127.0.0.1", "PGPORT": "5433", "PGUSER": "me", "PGPASSWORD": "secret", "PGDATABASE": "warehouse"}


@pytest.fixture
def local(tmp_path):
    """Make a local Airflow in one directory, for an environment."""
    tmp_path.joinpath("airflow").mkdir(mode=0o700)
    return lambda **more: LocalAirflow(tmp_path / "airflow", {**WAREHOUSE, **more})


def settings(one):
    """Return what it would be told."""
    return one._settings(one._secrets())


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


def test_without_airflow_it_says_what_to_install(tmp_path, monkeypatch):
    """Nobody gets a traceback for an extra that is not installed."""
    monkeypatch.setattr(airflow, "beside", lambda name: str(tmp_path / name))
    with pytest.raises(AirflowError, match=r"sensor-warehouse\[airflow\]"):
        LocalAirflow(tmp_path, WAREHOUSE)

"""Airflow on this machine: four processes on 127.0.0.1, metadata in PostgreSQL, generated secrets.

The processes are the API server (with the UI), the scheduler with its LocalExecutor, the DAG processor and the
triggerer. ``airflow standalone`` also starts log servers; they are left out, because they would listen on all
addresses, and the API server reads the logs from the disk.
"""

import base64
import contextlib
import fcntl
import json
import os
import secrets
import shlex
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

import psycopg
from psycopg import sql

from core import database
from core.errors import WarehouseError
from local_services.airflow_settings import DAGS, ROLE, ROOT, USER, password_file, settings
from local_services.broker import write_private
from local_services.child_process import Child, StoppedError, installed_program
from local_services.ports import HOST, free_port

POOLS = ROOT / "airflow" / "pools.json"
DBT_PROJECT = ROOT / "dbt_project"
PORT = 8080

_SCHEDULED_RUN_SECONDS = 30.0
"""Maximum wait for the scheduler to create a run whose time has come."""
_POLL_SECONDS = 1.0
"""Interval of requests for the state of a run: each takes 50 ms of CPU time in the API server."""
_COMPONENTS: tuple[tuple[str, list[str]], ...] = (
    ("api-server", ["--host", HOST, "--workers", "1"]),
    ("scheduler", ["--skip-serve-logs"]),
    ("dag-processor", []),
    ("triggerer", ["--skip-serve-logs"]),
)


class AirflowError(WarehouseError):
    """Airflow can't be started or does not answer."""


class UnansweredError(AirflowError):
    """No response: it is not running yet, or the machine is too busy."""


class LocalAirflow:
    """Airflow in ``directory`` for the warehouse of ``environment`` (``PG*`` and the settings of its tasks).

    ``directory`` has configuration, secrets, logs, and the password of the user ``admin`` (``passwords.json``). The
    metadata are in the database ``airflow`` on the warehouse's server, owned by the role ``airflow``, or where
    ``AIRFLOW__DATABASE__SQL_ALCHEMY_CONN`` points. If ``port`` is taken, a free one is used. ``stopped`` returns True
    when a wait must end. Also a context manager.
    """

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        port: int = PORT,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        if not DAGS.exists():
            raise AirflowError(f"no DAGs in {DAGS}: Airflow runs from a checkout of the repository")
        if not Path(installed_program("airflow")).exists():
            raise AirflowError("Airflow is not installed: `make install`, or pip install 'sensor-warehouse[airflow]'")
        self.directory = directory.absolute()
        self.port = port
        self._base_environment = dict(environment)
        self._stopped = stopped
        self._environment: dict[str, str] = {}
        self._children: list[Child] = []
        self._lock: IO[str] | None = None
        self._token = ""
        self._started = datetime.now(UTC)

    @property
    def url(self) -> str:
        """URL of the UI."""
        return f"http://{HOST}:{self.port}"

    @property
    def password_file(self) -> Path:
        """JSON file with the password of the user ``admin``, readable only for its owner."""
        return password_file(self.directory)

    def prepare(self) -> None:
        """Create or update secrets, metadata database and dbt's manifest, which defines the tasks."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_lock()
        secret = self._configure()
        if "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" not in self._base_environment:
            self._create_database(secret["database"])
        # The options of Cosmos: dbt reuses a parsed project only for the same options.
        options = ["--profile", "sensor_warehouse", "--target", "warehouse", "--no-version-check"]
        places = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)]
        parse = self._child("dbt", ["parse", *options, *places])
        try:
            self._child("airflow-migrate", ["db", "migrate"], "airflow").wait(self._stopped)
            parse.wait(self._stopped)
        finally:
            parse.stop()
        # A copy, because builds write to dbt's target folder while DAGs are read.
        manifest = self.directory / "dbt" / "target" / "manifest.json"
        part = self.directory / "manifest.part"
        part.write_bytes(manifest.read_bytes())
        part.replace(self.directory / "manifest.json")
        self._configure()  # the port may have been taken meanwhile

    def start(self, timeout: float = 240.0) -> None:
        """Start it; return when the scheduler runs and the DAGs are loaded, after ``timeout`` seconds at most."""
        if not self._environment:
            self.prepare()
        self._started = datetime.now(UTC)
        for name, arguments in _COMPONENTS:
            more = ["--port", str(self.port)] if name == "api-server" else []
            self._children.append(self._child(f"airflow-{name}", [name, *arguments, *more], "airflow"))
        dag_ids = {path.stem for path in DAGS.glob("*.py")}
        deadline = time.monotonic() + timeout
        self.wait_until(self._is_healthy, "Airflow", deadline)
        self._log_in()
        self.wait_until(lambda: self._has_loaded(dag_ids), "its DAGs", deadline)

    def create_pools(self) -> None:
        """Create the pools that tasks on the warehouse need; before, they cannot run."""
        for name, pool in json.loads(POOLS.read_text()).items():
            self._create_pool({"name": name, **pool})

    def stop(self) -> None:
        """Stop it with all running tasks; the next start retries them."""
        for child in reversed(self._children):
            child.stop(10.0)
        self._children.clear()
        self._environment = {}
        if self._lock:
            self._lock.close()
            self._lock = None

    def check(self) -> None:
        """Raise with the end of its log if one of its processes has ended."""
        for child in self._children:
            child.check()

    def trigger(self, dag: str) -> str:
        """Trigger a run of ``dag`` and return its id; an unfinished or just scheduled run is used instead."""
        state = self.request(f"/api/v2/dags/{dag}")
        scheduled = state["next_dagrun_run_after"]
        if scheduled is not None and not state["is_paused"] and datetime.fromisoformat(scheduled) <= datetime.now(UTC):
            with contextlib.suppress(AirflowError):  # if it does not start in time, trigger one
                deadline = time.monotonic() + _SCHEDULED_RUN_SECONDS
                self.wait_until(lambda: bool(self._unfinished_run(dag)), f"the scheduled run of {dag}", deadline)
        if unfinished := self._unfinished_run(dag):
            return unfinished
        run: str = self.request(f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None})["dag_run_id"]
        return run

    def wait_for_run(self, dag: str, run: str, timeout: float, *children: Child) -> list[str]:
        """Wait for the end of a run of ``dag`` and return its failed tasks; raises if one of ``children`` ends."""
        path, state = f"/api/v2/dags/{dag}/dagRuns/{urllib.parse.quote(run)}", ""

        def has_ended() -> bool:
            nonlocal state
            for child in children:
                child.check()
            state = self.request(path)["state"]
            return state in ("success", "failed")

        self.wait_until(has_ended, f"a run of {dag}", time.monotonic() + timeout, pause=_POLL_SECONDS)
        return self.failed_tasks(dag, run) if state == "failed" else []

    def run_triggered_by(self, run: str, dag: str, timeout: float) -> str:
        """Wait for the run of ``dag`` triggered by the assets that ``run`` of another DAG updated; return its id."""
        triggered: list[str] = []

        def has_started() -> bool:
            for candidate in self._runs_since_start(dag):
                if candidate["run_type"] == "asset_triggered":
                    run_id = candidate["dag_run_id"]
                    path = f"/api/v2/dags/{dag}/dagRuns/{urllib.parse.quote(run_id)}/upstreamAssetEvents"
                    if any(event["source_run_id"] == run for event in self.request(path)["asset_events"]):
                        triggered.append(run_id)
            return bool(triggered)

        self.wait_until(has_started, f"a run of {dag}", time.monotonic() + timeout, pause=_POLL_SECONDS)
        return triggered[0]

    def usage(self) -> str:
        """Return URL and login of the UI."""
        return f"Airflow     {self.url}\n  user      {USER}\n  password  in {self.password_file}"

    def failed_tasks(self, dag: str, run: str) -> list[str]:
        """Return the failed tasks of a run; a mapped task has the name of the item it is mapped over."""
        path = f"/api/v2/dags/{dag}/dagRuns/{urllib.parse.quote(run)}/taskInstances?state=failed&limit=100"
        return sorted(task["rendered_map_index"] or task["task_id"] for task in self.request(path)["task_instances"])

    def wait_until(self, condition: Callable[[], bool], awaited: str, deadline: float, pause: float = 0.25) -> None:
        """Wait until ``condition`` holds, checked every ``pause`` seconds.

        Raises :class:`AirflowError` that names ``awaited`` after ``deadline`` (``time.monotonic()``).
        """

        def holds() -> bool:
            with contextlib.suppress(UnansweredError):  # on a busy machine responses take long
                return condition()
            return False

        while not holds():
            if self._stopped():
                raise StoppedError
            self.check()
            if time.monotonic() > deadline:
                raise AirflowError(f"timeout while waiting for {awaited}; the logs are in {self.directory}")
            time.sleep(pause)

    def request(self, path: str, body: Mapping[str, Any] | None = None, method: str | None = None) -> Any:
        """Return the response of the REST API; raises :class:`AirflowError`."""
        http_request = urllib.request.Request(  # noqa: S310 - an address on this machine
            self.url + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"},
            method=method,
        )
        try:
            with _OPENER.open(http_request, timeout=30) as response:
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")[:500]
            raise AirflowError(f"Airflow answered {error.code} to {path}: {text}") from error
        except OSError as error:
            raise UnansweredError(f"Airflow does not answer: {error}; the logs are in {self.directory}") from error

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _runs_since_start(self, dag: str) -> list[dict[str, Any]]:
        """Return the runs of ``dag`` created since the start, the newest first."""
        since = urllib.parse.quote(self._started.isoformat())
        path = f"/api/v2/dags/{dag}/dagRuns?order_by=-run_after&run_after_gte={since}"
        runs: list[dict[str, Any]] = self.request(path)["dag_runs"]
        return runs

    def _unfinished_run(self, dag: str) -> str | None:
        """Return the id of the oldest run of ``dag`` that has not ended."""
        path = f"/api/v2/dags/{dag}/dagRuns?state=queued&state=running&order_by=run_after"
        runs = self.request(path)["dag_runs"]
        return str(runs[0]["dag_run_id"]) if runs else None

    def _child(self, name: str, arguments: list[str], program: str | None = None) -> Child:
        return Child(name, arguments, self._environment, self.directory / f"{name}.log", program)

    def _take_lock(self) -> None:
        lock = (self.directory / "lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise AirflowError(f"Airflow already runs in {self.directory}: stop it with Ctrl-C first") from error
        self._lock = lock

    def _configure(self) -> dict[str, str]:
        """Choose the port, set the environment of the children and write the file ``env``; return the secrets."""
        self.port = free_port(self.port)
        secret = self._secrets()
        self._environment = {
            **self._base_environment,
            **settings(self._base_environment, secret, self.directory, self.url),
        }
        write_private(
            self.directory / "env",
            "".join(
                f"export {name}={shlex.quote(value)}\n"
                for name, value in sorted(self._environment.items())
                if name.startswith(("AIRFLOW", "MARTS_", "CATALOG_", "DBT_", "DO_NOT_TRACK"))
            ),
        )
        return secret

    def _secrets(self) -> dict[str, str]:
        path = self.directory / "secrets.json"
        if not path.exists():
            new = {name: secrets.token_urlsafe(32) for name in ("api", "jwt", "database")}
            new["fernet"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
            write_private(path, json.dumps(new))
        if not self.password_file.exists():
            write_private(self.password_file, json.dumps({USER: secrets.token_urlsafe(18)}))
        stored: dict[str, str] = json.loads(path.read_text())
        return stored

    def _create_database(self, password: str) -> None:
        """Create role and database of the metadata, if they don't exist."""
        names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE",
                 "sslmode": "PGSSLMODE"}  # fmt: skip
        parameters = {
            key: self._base_environment[name] for key, name in names.items() if self._base_environment.get(name)
        }
        role = sql.Identifier(ROLE)
        try:
            with psycopg.connect(**parameters, autocommit=True) as connection:  # type: ignore[arg-type]
                if not connection.execute("select 1 from pg_roles where rolname = %s", (ROLE,)).fetchone():
                    connection.execute(sql.SQL("create role {} login").format(role))
                # An interrupted start or another directory may have created the role with another password.
                connection.execute(sql.SQL("alter role {} password {}").format(role, sql.Literal(password)))
                if not connection.execute("select 1 from pg_database where datname = %s", (ROLE,)).fetchone():
                    connection.execute(sql.SQL("create database {0} owner {0}").format(role))
                connection.execute(sql.SQL("revoke connect on database {} from public").format(role))
        except psycopg.Error as error:
            raise AirflowError(
                f"can't create the database {ROLE} for Airflow's metadata: {database.reason(error)}. "
                "Create it and set AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=postgresql+psycopg://… and …_CONN_ASYNC."
            ) from error

    def _is_healthy(self) -> bool:
        with contextlib.suppress(AirflowError):
            health = self.request("/api/v2/monitor/health")
            return all(part["status"] == "healthy" for part in health.values())
        return False

    def _log_in(self) -> None:
        password = json.loads(self.password_file.read_text())[USER]
        self._token = self.request("/auth/token", {"username": USER, "password": password})["access_token"]

    def _has_loaded(self, dag_ids: set[str]) -> bool:
        for error in self.request("/api/v2/importErrors")["import_errors"]:
            # Errors of an earlier start remain until the file is parsed again.
            if datetime.fromisoformat(error["timestamp"]) >= self._started:
                raise AirflowError(f"{error['filename']} can't be read:\n{error['stack_trace']}")
        return dag_ids <= {dag["dag_id"] for dag in self.request("/api/v2/dags?limit=100")["dags"]}

    def _create_pool(self, pool: Mapping[str, Any]) -> None:
        try:
            self.request(f"/api/v2/pools/{pool['name']}", pool, "PATCH")
        except AirflowError as error:
            if "answered 404" not in str(error):
                raise
            self.request("/api/v2/pools", pool)


# Requests go to 127.0.0.1, never through a proxy of the environment.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def run(directory: Path, port: int, stopped: Callable[[], bool]) -> None:
    """Run Airflow for the warehouse of the environment until ``stopped``; no process remains."""
    print("starting Airflow …", flush=True)
    with contextlib.suppress(StoppedError), LocalAirflow(directory, os.environ, port, stopped) as airflow:
        airflow.create_pools()
        airflow.trigger("build_marts")
        print(f"\n{airflow.usage()}\n\nRunning until Ctrl-C.", flush=True)
        airflow.wait_until(lambda: False, "its end", float("inf"))

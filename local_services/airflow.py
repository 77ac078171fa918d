"""Airflow on this machine: four processes on 127.0.0.1, their metadata in PostgreSQL, generated secrets.

Started are the API server (which is the UI), the scheduler with its LocalExecutor, the DAG processor and the triggerer,
but none of the log servers that ``airflow standalone`` starts as well: they would listen beyond 127.0.0.1, and the API
server reads the logs from the disk.
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
from local_services.broker import HOST, free_port, write_private
from local_services.child_process import Child, StoppedError, beside

POOLS = ROOT / "airflow" / "pools.json"
DBT_PROJECT = ROOT / "dbt_project"
PORT = 8080

_DUE_SECONDS = 30.0
_RUN_PAUSE = 1.0
"""Between two looks at a run, in seconds: each costs the API server fifty milliseconds of computing."""
_COMPONENTS: tuple[tuple[str, list[str]], ...] = (
    ("api-server", ["--host", HOST, "--workers", "1"]),
    ("scheduler", ["--skip-serve-logs"]),
    ("dag-processor", []),
    ("triggerer", ["--skip-serve-logs"]),
)


class AirflowError(WarehouseError):
    """Airflow can't be started here, or does not answer."""


class UnansweredError(AirflowError):
    """No answer: it does not run yet, or the machine is too busy."""


class LocalAirflow:
    """Airflow in ``directory``, for the warehouse that ``environment`` names (``PG*`` and all that its tasks read).

    ``directory`` keeps configuration, secrets, logs, and the password of the user ``admin`` (``passwords.json``); the
    metadata are in the database ``airflow`` on the warehouse's server, which belongs to a role of that name, or where
    ``AIRFLOW__DATABASE__SQL_ALCHEMY_CONN`` says. ``port`` becomes a free one when it is taken. ``stopped`` tells when
    somebody wants waiting to end. Also a context manager.
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
        if not Path(beside("airflow")).exists():
            raise AirflowError("Airflow is not installed: `make install`, or pip install 'sensor-warehouse[airflow]'")
        self.directory = directory.absolute()
        self.port = port
        self._given = dict(environment)
        self._stopped = stopped
        self._environment: dict[str, str] = {}
        self._children: list[Child] = []
        self._lock: IO[str] | None = None
        self._token = ""
        self._started = datetime.now(UTC)

    @property
    def url(self) -> str:
        """Where the UI is."""
        return f"http://{HOST}:{self.port}"

    @property
    def password_file(self) -> Path:
        """JSON with the password of the user ``admin``, for its owner's eyes only."""
        return password_file(self.directory)

    def prepare(self) -> None:
        """Make or renew all that a start needs: secrets, database, and the manifest that tasks are made from."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_lock()
        kept = self._settle()
        if "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" not in self._given:
            self._create_database(kept["database"])
        # With the options that Cosmos gives: dbt goes on from what it has parsed only where they are the same.
        options = ["--profile", "sensor_warehouse", "--target", "warehouse", "--no-version-check"]
        places = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)]
        parse = self._child("dbt", ["parse", *options, *places])
        try:
            self._child("airflow-migrate", ["db", "migrate"], "airflow").finish(self._stopped)
            parse.finish(self._stopped)
        finally:
            parse.stop()
        # Builds write there while DAGs are read.
        made = self.directory / "dbt" / "target" / "manifest.json"
        part = self.directory / "manifest.part"
        part.write_bytes(made.read_bytes())
        part.replace(self.directory / "manifest.json")
        self._settle()  # all this took a while: somebody may have the port by now

    def start(self, timeout: float = 240.0) -> None:
        """Start it and return when the scheduler runs and the DAGs are read, ``timeout`` seconds at most."""
        if not self._environment:
            self.prepare()
        self._started = datetime.now(UTC)
        for name, arguments in _COMPONENTS:
            more = ["--port", str(self.port)] if name == "api-server" else []
            self._children.append(self._child(f"airflow-{name}", [name, *arguments, *more], "airflow"))
        wanted = {path.stem for path in DAGS.glob("*.py")}
        deadline = time.monotonic() + timeout
        self.wait(self._healthy, "Airflow", deadline)
        self._login()
        self.wait(lambda: self._dags(wanted), "its DAGs", deadline)

    def open(self) -> None:
        """Let tasks run: all that touch the warehouse take slots of a pool, which a new Airflow has from here on."""
        for name, pool in json.loads(POOLS.read_text()).items():
            self._pool({"name": name, **pool})

    def stop(self) -> None:
        """End it: tasks that run are ended too, and tried again by the next start."""
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

    def begin(self, dag: str) -> str:
        """Start a run of ``dag`` and return its id; where one is due, waits or goes on since the start, that one's."""
        told = self.ask(f"/api/v2/dags/{dag}")
        due = told["next_dagrun_run_after"]
        if due is not None and not told["is_paused"] and datetime.fromisoformat(due) <= datetime.now(UTC):
            with contextlib.suppress(AirflowError):  # whatever keeps it, ours will do
                self.wait(lambda: bool(self._open(dag)), f"the due run of {dag}", time.monotonic() + _DUE_SECONDS)
        if waiting := self._open(dag):
            return waiting
        made: str = self.ask(f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None})["dag_run_id"]
        return made

    def finish(self, dag: str, run: str, timeout: float, *children: Child) -> list[str]:
        """Wait for a run of ``dag`` to end, and return the tasks that failed."""
        path, state = f"/api/v2/dags/{dag}/dagRuns/{urllib.parse.quote(run)}", ""

        def done() -> bool:
            nonlocal state
            for child in children:
                child.check()
            state = self.ask(path)["state"]
            return state in ("success", "failed")

        self.wait(done, f"a run of {dag}", time.monotonic() + timeout, pause=_RUN_PAUSE)
        return self.red(dag, run) if state == "failed" else []

    def follower(self, dag: str, run: str, timeout: float) -> str:
        """Return the id of the run of ``dag`` that was started by what ``run`` of another DAG has updated."""
        found: list[str] = []

        def begun() -> bool:
            for one in self._runs(dag):
                if one["run_type"] == "asset_triggered":
                    path = f"/api/v2/dags/{dag}/dagRuns/{urllib.parse.quote(one['dag_run_id'])}/upstreamAssetEvents"
                    if any(event["source_run_id"] == run for event in self.ask(path)["asset_events"]):
                        found.append(one["dag_run_id"])
            return bool(found)

        self.wait(begun, f"a run of {dag}", time.monotonic() + timeout, pause=_RUN_PAUSE)
        return found[0]

    def invitation(self) -> str:
        """Return how to look at it."""
        return f"Airflow     {self.url}\n  user      {USER}\n  password  in {self.password_file}"

    def red(self, dag: str, run: str) -> list[str]:
        """Return the tasks of a run that failed, mapped ones by what they are mapped over."""
        path = f"/api/v2/dags/{dag}/dagRuns/{urllib.parse.quote(run)}/taskInstances?state=failed&limit=100"
        return sorted(one["rendered_map_index"] or one["task_id"] for one in self.ask(path)["task_instances"])

    def wait(self, condition: Callable[[], bool], what: str, deadline: float, pause: float = 0.25) -> None:
        """Return when ``condition`` holds, asked every ``pause`` seconds.

        Raises when ``deadline`` (``time.monotonic()``) has passed.
        """

        def holds() -> bool:
            with contextlib.suppress(UnansweredError):  # a busy machine takes its time
                return condition()
            return False

        while not holds():
            if self._stopped():
                raise StoppedError
            self.check()
            if time.monotonic() > deadline:
                raise AirflowError(f"waited too long for {what}; the logs are in {self.directory}")
            time.sleep(pause)

    def ask(self, path: str, body: Mapping[str, Any] | None = None, method: str | None = None) -> Any:
        """Return the answer of the REST API to a request; raises :class:`AirflowError`."""
        request = urllib.request.Request(  # noqa: S310 - our own address
            self.url + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"},
            method=method,
        )
        try:
            with _OPENER.open(request, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
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

    def _runs(self, dag: str) -> list[dict[str, Any]]:
        """Return the runs of ``dag`` that were made since the start, the newest first."""
        since = urllib.parse.quote(self._started.isoformat())
        path = f"/api/v2/dags/{dag}/dagRuns?order_by=-run_after&run_after_gte={since}"
        found: list[dict[str, Any]] = self.ask(path)["dag_runs"]
        return found

    def _open(self, dag: str) -> str | None:
        """Return the id of the oldest run of ``dag`` that has not ended."""
        path = f"/api/v2/dags/{dag}/dagRuns?state=queued&state=running&order_by=run_after"
        runs = self.ask(path)["dag_runs"]
        return str(runs[0]["dag_run_id"]) if runs else None

    def _child(self, name: str, arguments: list[str], program: str | None = None) -> Child:
        return Child(name, arguments, self._environment, self.directory / f"{name}.log", program)

    def _take_lock(self) -> None:
        lock = (self.directory / "lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise AirflowError(f"Airflow already runs in {self.directory}: end it with Ctrl-C first") from error
        self._lock = lock

    def _settle(self) -> dict[str, str]:
        """Choose the port and say what follows from it, to the children and in the file ``env``; return the secrets."""
        self.port = free_port(self.port)
        kept = self._secrets()
        self._environment = {**self._given, **settings(self._given, kept, self.directory, self.url)}
        write_private(
            self.directory / "env",
            "".join(
                f"export {name}={shlex.quote(value)}\n"
                for name, value in sorted(self._environment.items())
                if name.startswith(("AIRFLOW", "MARTS_", "CATALOG_", "DBT_", "DO_NOT_TRACK"))
            ),
        )
        return kept

    def _secrets(self) -> dict[str, str]:
        path = self.directory / "secrets.json"
        if not path.exists():
            made = {name: secrets.token_urlsafe(32) for name in ("api", "jwt", "database")}
            made["fernet"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
            write_private(path, json.dumps(made))
        if not self.password_file.exists():
            write_private(self.password_file, json.dumps({USER: secrets.token_urlsafe(18)}))
        kept: dict[str, str] = json.loads(path.read_text())
        return kept

    def _create_database(self, password: str) -> None:
        """Make the role and the database for the metadata, if they are not there."""
        names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE",
                 "sslmode": "PGSSLMODE"}  # fmt: skip
        told = {key: self._given[name] for key, name in names.items() if self._given.get(name)}
        role = sql.Identifier(ROLE)
        try:
            with psycopg.connect(**told, autocommit=True) as connection:  # type: ignore[arg-type]
                if not connection.execute("select 1 from pg_roles where rolname = %s", (ROLE,)).fetchone():
                    connection.execute(sql.SQL("create role {} login").format(role))
                # Ours to set: a start that was cut short, or another directory, may have made the role.
                connection.execute(sql.SQL("alter role {} password {}").format(role, sql.Literal(password)))
                if not connection.execute("select 1 from pg_database where datname = %s", (ROLE,)).fetchone():
                    connection.execute(sql.SQL("create database {0} owner {0}").format(role))
                connection.execute(sql.SQL("revoke connect on database {} from public").format(role))
        except psycopg.Error as error:
            raise AirflowError(
                f"can't make the database {ROLE} for Airflow's metadata: {database.reason(error)}. Make it by hand, "
                "and set AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=postgresql+psycopg://… and …_CONN_ASYNC."
            ) from error

    def _healthy(self) -> bool:
        with contextlib.suppress(AirflowError):
            health = self.ask("/api/v2/monitor/health")
            return all(part["status"] == "healthy" for part in health.values())
        return False

    def _login(self) -> None:
        password = json.loads(self.password_file.read_text())[USER]
        self._token = self.ask("/auth/token", {"username": USER, "password": password})["access_token"]

    def _dags(self, wanted: set[str]) -> bool:
        for error in self.ask("/api/v2/importErrors")["import_errors"]:
            # Those of an earlier start stay until the file is read again.
            if datetime.fromisoformat(error["timestamp"]) >= self._started:
                raise AirflowError(f"{error['filename']} can't be read:\n{error['stack_trace']}")
        return wanted <= {dag["dag_id"] for dag in self.ask("/api/v2/dags?limit=100")["dags"]}

    def _pool(self, pool: Mapping[str, Any]) -> None:
        try:
            self.ask(f"/api/v2/pools/{pool['name']}", pool, "PATCH")
        except AirflowError as error:
            if "answered 404" not in str(error):
                raise
            self.ask("/api/v2/pools", pool)


# Our own address only: a proxy of the environment has no business there.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def run(directory: Path, port: int, stopped: Callable[[], bool]) -> None:
    """Run Airflow for the warehouse that the environment names until ``stopped``, with no process left."""
    print("starting Airflow …", flush=True)
    with contextlib.suppress(StoppedError), LocalAirflow(directory, os.environ, port, stopped) as airflow:
        airflow.open()
        airflow.begin("build_marts")
        print(f"\n{airflow.invitation()}\n\nRunning until Ctrl-C.", flush=True)
        airflow.wait(lambda: False, "its end", float("inf"))

"""Airflow in separate processes, because it reads its settings when it is imported."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local_services.airflow import DBT_PROJECT
from local_services.airflow_settings import DAGS, PLUGINS

if TYPE_CHECKING:  # pytest imports that module itself, and later
    from fix_connection_trace import ConnectionTrace
    from fix_database import Database, Servers

INSIDE = Path(__file__).parent / "dags" / "inside_airflow.py"
# The DAGs behave the same on both editions; this one is faster.
EDITION = "postgresql"


@dataclass(frozen=True)
class AirflowHome:
    """An AIRFLOW_HOME with an SQLite metadata database and the manifest of the dbt project."""

    home: Path

    def run(
        self,
        command: str,
        requests: Sequence[Mapping[str, Any]] = (),
        environment: Mapping[str, str] | None = None,
        trace: "ConnectionTrace | None" = None,
    ) -> dict[str, Any]:
        """Run a command of ``tests/dags/inside_airflow.py`` with ``environment`` added; return its result."""
        base = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PG", "QUALITY_"))}
        process = subprocess.run(
            [*(trace.prefix if trace else []), sys.executable, INSIDE, command],
            input=json.dumps(list(requests)), env={**base, **self.settings(), **(environment or {})}, cwd=self.home,
            capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        assert process.returncode == 0, process.stdout[-4000:] + process.stderr[-4000:]
        (self.home / "output").write_text(process.stdout + process.stderr)
        return json.loads((self.home / "answer.json").read_text())

    def settings(self) -> dict[str, str]:
        """Return Airflow's settings."""
        return {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "AIRFLOW__COSMOS__ENABLE_TELEMETRY": "False",
            "AIRFLOW__COSMOS__ENABLE_CACHE": "False",
            "AIRFLOW__COSMOS__ENABLE_DAG_VERSIONING": "False",
            "AIRFLOW__API__BASE_URL": "http://127.0.0.1:8080",
            "DO_NOT_TRACK": "1",
            "MARTS_MANIFEST": str(self.home / "manifest.json"),
        }


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of the dbt project, created as at the start of Airflow."""
    folder = tmp_path_factory.mktemp("manifest")
    options = ["--project-dir", DBT_PROJECT, "--profiles-dir", DBT_PROJECT, "--profile", "sensor_warehouse"]
    subprocess.run(
        [Path(sys.executable).parent / "dbt", "parse", "--target", "warehouse", "--no-version-check", *options],
        env={**os.environ, "DBT_TARGET_PATH": str(folder), "DBT_LOG_PATH": str(folder), "DO_NOT_TRACK": "1"},
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "manifest.json"


@pytest.fixture(scope="module")
def airflow_home(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> AirflowHome:
    """An AIRFLOW_HOME for one module."""
    home = tmp_path_factory.mktemp("airflow")
    target = home / "dbt" / "target"
    target.mkdir(parents=True)
    # dbt continues from the parsed project.
    for name in ("manifest.json", "partial_parse.msgpack"):
        (target / name).write_bytes((manifest.parent / name).read_bytes())
    (home / "manifest.json").write_bytes(manifest.read_bytes())
    return AirflowHome(home)


@pytest.fixture(scope="module")
def built_into(servers: "Servers") -> Iterator["Database"]:
    """A migrated, empty database for one module."""
    servers.get(EDITION)
    database = servers.create(EDITION, template="template", name="airflow_warehouse")
    yield database
    servers.drop(database)

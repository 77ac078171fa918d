"""Airflow in processes of its own: what it is told of where it lives counts only before it is imported."""

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

if TYPE_CHECKING:  # pytest loads that module itself, and later
    from fix_database import Database, Servers
    from fix_watch import Watch

INSIDE = Path(__file__).parent / "dags" / "inside_airflow.py"
# Building takes the warehouse's tables as they are; the faster edition will do.
EDITION = "postgresql"


@dataclass(frozen=True)
class Inside:
    """A home for Airflow whose metadata are in a file, with the manifest of the dbt project."""

    home: Path

    def ask(
        self,
        what: str,
        told: Sequence[Mapping[str, Any]] = (),
        environment: Mapping[str, str] | None = None,
        watch: "Watch | None" = None,
    ) -> dict[str, Any]:
        """Have ``tests/dags/inside_airflow.py`` do ``what``, with ``environment`` over ours; return its answer."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PG", "QUALITY_"))}
        done = subprocess.run(
            [*(watch.prefix if watch else []), sys.executable, INSIDE, what],
            input=json.dumps(list(told)), env={**kept, **self.settings(), **(environment or {})}, cwd=self.home,
            capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        (self.home / "said").write_text(done.stdout + done.stderr)
        return json.loads((self.home / "answer.json").read_text())

    def settings(self) -> dict[str, str]:
        """Return what Airflow is told."""
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
    """The dbt project's manifest, as a start of Airflow makes it."""
    folder = tmp_path_factory.mktemp("manifest")
    options = ["--project-dir", DBT_PROJECT, "--profiles-dir", DBT_PROJECT, "--profile", "sensor_warehouse"]
    subprocess.run(
        [Path(sys.executable).parent / "dbt", "parse", "--target", "warehouse", "--no-version-check", *options],
        env={**os.environ, "DBT_TARGET_PATH": str(folder), "DBT_LOG_PATH": str(folder), "DO_NOT_TRACK": "1"},
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "manifest.json"


@pytest.fixture(scope="module")
def inside(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Inside:
    """Airflow's home for one module."""
    home = tmp_path_factory.mktemp("airflow")
    target = home / "dbt" / "target"
    target.mkdir(parents=True)
    # dbt goes on from what was parsed.
    for name in ("manifest.json", "partial_parse.msgpack"):
        (target / name).write_bytes((manifest.parent / name).read_bytes())
    (home / "manifest.json").write_bytes(manifest.read_bytes())
    return Inside(home)


@pytest.fixture(scope="module")
def built_into(servers: "Servers") -> Iterator["Database"]:
    """A migrated database for one module, with nothing in it."""
    servers.get(EDITION)
    database = servers.create(EDITION, template="template", name="airflow_warehouse")
    yield database
    servers.drop(database)

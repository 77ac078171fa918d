"""The dbt project, built in a database of each edition; the project is parsed once per test process."""

import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fix_database import EDITIONS, Database, Servers, point_to

from local_services.postgres_binaries import Edition

PROJECT = Path(__file__).parent.parent / "dbt_project"


@dataclass
class Project:
    """The parsed project; one manifest is used for all databases, since they have the same name."""

    folder: Path
    """Folder for dbt's output, outside of the working tree."""
    shared: Path
    """Folder in which the test processes of one run share the parsed project."""
    environment: dict[str, str]
    """Variables of any database; parsing needs only its name."""

    @cached_property
    def manifest(self) -> Any:
        """The manifest of ``dbt parse``; fast if another test process has parsed the project."""
        arguments = ["parse", f"--target-path={self.shared}", "--partial-parse"]
        return self._invoke(None, arguments, self.environment).result

    def invoke(self, arguments: list[str], environment: Mapping[str, str]) -> Any:
        """Run a dbt command on the database that ``environment`` names and return dbt's result."""
        more = [f"--target-path={self.folder / 'target'}", "--no-partial-parse"]
        # dbt marks in the manifest that a model contains its ephemeral models, and would omit them the next time.
        for node in self.manifest.nodes.values():
            if getattr(node, "extra_ctes_injected", False):
                node.extra_ctes_injected, node.extra_ctes = False, []
        return self._invoke(self.manifest, [*arguments, *more], environment)

    def _invoke(self, manifest: Any, arguments: list[str], environment: Mapping[str, str]) -> Any:
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from dbt
            point_to(patch, dict(environment))
            patch.setenv("DO_NOT_TRACK", "1")
            from dbt.cli.main import dbtRunner
            from dbt_common.behavior_flags import BehaviorFlagRendered

            # dbt searches the whole stack for the module behind each of its flags. pytest's stack is deep: the search
            # takes half the time of a small build.
            patch.setattr(BehaviorFlagRendered, "_default_source", staticmethod(lambda: "dbt"))

            result = dbtRunner(manifest=manifest).invoke(
                [
                    *arguments,
                    f"--project-dir={PROJECT}",
                    f"--profiles-dir={PROJECT}",
                    f"--log-path={self.folder / 'logs'}",
                    "--log-level=none",
                    "--log-level-file=none",
                    "--no-version-check",
                    "--no-write-json",
                ]
            )
        if result.exception is not None:
            raise result.exception
        return result


@dataclass
class Marts:
    """A database in which the project is built."""

    database: Database
    project: Project

    @property
    def edition(self) -> Edition:
        """The edition of the database."""
        return self.database.edition

    def connect(self) -> psycopg.Connection:
        """Open a connection with UTC as its time zone."""
        return self.database.connect()

    def dbt(self, command: str, *arguments: str) -> dict[str, str]:
        """Run ``dbt command`` and return the status of each node by its name; fails if a node has not succeeded."""
        run = self.project.invoke([command, *arguments], self.database.environment)
        bad = [
            f"{result.node.name}: {result.status}: {result.message}"
            for result in run.result
            if result.status not in {"success", "pass", "no-op"}
        ]
        assert not bad, "\n".join(bad)
        return {result.node.name: str(result.status) for result in run.result}

    def build(self, *select: str, full: bool = False) -> dict[str, str]:
        """``dbt build`` of the selected models and the tests that need no other models; of all models by default."""
        return self.dbt(
            "build",
            *(["--full-refresh"] if full else []),
            *(["--select", *select, "--indirect-selection=cautious"] if select else []),
        )

    def run(self, *select: str, full: bool = False) -> dict[str, str]:
        """Build models and snapshots without their tests."""
        return self.dbt(
            "build",
            *(["--full-refresh"] if full else []),
            *(["--select", *select] if select else []),
            "--exclude-resource-types",
            "test",
            "unit_test",
        )

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of ``query``."""
        with self.connect() as connection:
            return connection.execute(query.encode(), values or None).fetchall()

    def execute(self, statement: str, *values: object) -> None:
        """Run one statement."""
        with self.connect() as connection:
            connection.execute(statement.encode(), values or None)


@pytest.fixture(scope="session")
def dbt_folder() -> Iterator[Path]:
    """Folder for dbt's output while the tests run."""
    folder = Path(tempfile.mkdtemp(prefix="warehouse-dbt-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def project(dbt_folder: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Project:
    """The dbt project, parsed at its first use."""
    environment = {"PGHOST": "127.0.0.1", "PGPORT": "1", "PGUSER": "unused", "PGPASSWORD": "", "PGDATABASE": "marts"}
    base = tmp_path_factory.getbasetemp()
    return Project(dbt_folder, (base if worker_id == "master" else base.parent) / "parsed", environment)


@pytest.fixture(scope="module", params=EDITIONS)
def marts(request: pytest.FixtureRequest, servers: Servers, project: Project) -> Iterator[Marts]:
    """A migrated, empty database for the tests of one module, per edition, without any built model."""
    servers.get(request.param)
    database = servers.create(request.param, template="template", name="marts")
    # Results must not depend on the server's time zone: this one has daylight saving time.
    with Database(database.edition, database.server, {**database.environment, "PGDATABASE": "postgres"}).connect() as c:
        c.execute("alter database marts set timezone to 'Europe/Athens'")
    yield Marts(database, project)
    servers.drop(database)

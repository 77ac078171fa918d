"""Real PostgreSQL servers of both editions, and a separate database for every test that uses one."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import psycopg
import pytest

from core.errors import SettingError
from local_services.database_server import LocalServer
from local_services.postgres_binaries import Edition, find_binaries
from timescale.migrate import migrate

EDITIONS = get_args(Edition)

# No crash safety; tests that kill a server use durable_server, which has the product's settings.
_FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "autovacuum": "off",
    "dynamic_shared_memory_type": "mmap",  # a killed server would leave its segments in /dev/shm
}
# No automatic jobs: tests run them, and no connection to the template may exist while it is copied.
_NO_JOBS = {"timescaledb.max_background_workers": "0", "timescaledb.max_tuples_decompressed_per_dml_transaction": "0"}


@dataclass(frozen=True)
class Database:
    """One database on a running server; ``PG*`` are set to it during the test."""

    edition: Edition
    server: LocalServer
    environment: dict[str, str]
    """libpq's variables."""

    def connect(self, *, autocommit: bool = True) -> psycopg.Connection:
        """Open a connection with time zone UTC."""
        return psycopg.connect(
            host=self.environment["PGHOST"], port=self.environment["PGPORT"], user=self.environment["PGUSER"],
            password=self.environment["PGPASSWORD"], dbname=self.environment["PGDATABASE"], autocommit=autocommit,
            options="-c timezone=UTC",
        )  # fmt: skip

    def refresh(self) -> None:
        """Refresh reading_1m, reading_1h and reading_1d, as the job does; on postgresql they are always current."""
        if self.edition == "timescaledb":
            with self.connect() as connection:
                connection.execute("call telemetry.refresh_rollups()")


class Servers:
    """The servers of this test process, one per edition, started at their first use."""

    def __init__(self) -> None:
        self.folder = _folder()
        self._running: dict[Edition, LocalServer] = {}
        self._numbers = itertools.count(1)

    def get(self, edition: Edition) -> LocalServer:
        """Return the running server of ``edition`` with its migrated ``template``; skip if it isn't installed."""
        if (missing := _missing(edition)) is not None:
            pytest.skip(missing)
        if edition not in self._running:
            settings = _FAST | (_NO_JOBS if edition == "timescaledb" else {})
            server = LocalServer(self.folder / edition, edition, 0, settings)
            server.start()
            self._running[edition] = server
            with pytest.MonkeyPatch.context() as patch:
                point_to(patch, self.create(edition, name="template").environment)
                migrate()
        return self._running[edition]

    def create(self, edition: Edition, *, template: str = "template1", name: str | None = None) -> Database:
        """Create a database as a copy of ``template``."""
        server = self._running[edition]
        name = name or f"test_{next(self._numbers)}"
        with self._administer(edition) as connection:
            connection.execute(f"create database {name} template {template}")
        return Database(edition, server, {**server.environment(), "PGDATABASE": name})

    def drop(self, database: Database) -> None:
        """Drop a database and its connections."""
        with self._administer(database.edition) as connection:
            connection.execute(f"drop database {database.environment['PGDATABASE']} with (force)")

    def close(self) -> None:
        """Stop the servers and remove their data."""
        for server in self._running.values():
            server.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _administer(self, edition: Edition) -> psycopg.Connection:
        environment = {**self._running[edition].environment(), "PGDATABASE": "postgres"}
        return Database(edition, self._running[edition], environment).connect()


def point_to(patch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """Set ``PG*`` for the duration of ``patch`` and unset all other settings of the database."""
    for name in [name for name in os.environ if name.startswith(("TIMESCALE_", "PG"))]:
        patch.delenv(name)
    for name, value in environment.items():
        patch.setenv(name, value)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Servers of both editions, shared by all tests of this process."""
    servers = Servers()
    yield servers
    servers.close()


@pytest.fixture(params=EDITIONS)
def edition(request: pytest.FixtureRequest) -> Edition:
    """Each edition, one after another."""
    return request.param


@pytest.fixture
def database(edition: Edition, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A separate, migrated, empty database, on each edition."""
    servers.get(edition)
    database = servers.create(edition, template="template")
    point_to(monkeypatch, database.environment)
    yield database
    servers.drop(database)


@pytest.fixture
def fresh_database(edition: Edition, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """An empty database without schema, on each edition."""
    servers.get(edition)
    database = servers.create(edition)
    point_to(monkeypatch, database.environment)
    yield database
    servers.drop(database)


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """An empty directory that the server's account can reach, unlike ``tmp_path`` when the tests run as root."""
    folder = _folder()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def durable_server(edition: Edition, server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """A separate server with the product's settings and a migrated database, for tests that ``kill()`` it."""
    if (missing := _missing(edition)) is not None:
        pytest.skip(missing)
    server = LocalServer(server_folder / "data", edition, 0)
    server.start()
    point_to(monkeypatch, server.environment())
    migrate()
    yield server
    server.kill()


def pytest_report_header() -> list[str]:
    """Return the servers that the tests run on."""
    return [f"database: {find_binaries(edition)}" for edition in EDITIONS if _missing(edition) is None]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report editions that were not tested."""
    for edition in EDITIONS:
        if (missing := _missing(edition)) is not None:
            terminalreporter.write_line(f"NOT TESTED: edition {edition}: {missing}", red=True, bold=True)


def _missing(edition: Edition) -> str | None:
    """Return why ``edition`` can't be tested here, or None if it can."""
    try:
        find_binaries(edition)
    except SettingError as error:
        name = "TimescaleDB Community" if edition == "timescaledb" else "PostgreSQL"
        return f"{name} is not installed here: {error}"
    return None


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="warehouse-test-"))
    folder.chmod(0o755)  # with mkdtemp's 0700 the server's account could not enter
    return folder

"""Commands and statements of the documentation: each works as printed."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fix_archive import HOUR, message, write
from fix_database import Servers, point_to
from ruamel.yaml import YAML

from collector.message import Message
from local_services.postgres_binaries import find_binaries
from timescale.migrate import migrate

ROOT = Path(__file__).parents[3]
PAGES = {name: (ROOT / "docs" / f"{name}.md").read_text() for name in ("files", "operations", "access", "monitoring")}
TEXT = "".join(PAGES.values())
RUN_ELSEWHERE = ("docker compose ", "make ", "python bench/", "access serve", "curl ", "printf ", "AUTH=")
"""Programs that run until they are stopped, and commands that other tests run (test_catalog.py: ``curl``)."""
LINES = [
    line
    for page in PAGES.values()
    for block in re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if not line.startswith(RUN_ELSEWHERE)
]
STATEMENTS = [" ".join(statement.split()) for statement in re.findall(r"`(select [^`]+)`", TEXT)]


def reading(second: float) -> Message:
    """Return a message of a sensor of sensors.json."""
    body = f'{{"device_id": "thermostat-1", "timestamp": "{HOUR:%Y-%m-%d}T12:00:{second:02}Z", "temperature": 20}}'
    return message(second, body.encode())._replace(topic="sensors/athens/hall-1/thermostat-1")


@pytest.fixture(scope="module")
def place(servers: Servers, tmp_path_factory):
    """A directory with a registry, a data set and an archive, the environment for commands there, and a database.

    The database is of the production edition where that is installed: tests of each command run on both.
    """
    edition = find_binaries("auto").edition
    server = servers.get(edition)
    database = servers.create(edition, template="template")
    folder = tmp_path_factory.mktemp("place")
    shutil.copy(ROOT / "sensors.json", folder)
    shutil.copytree(ROOT / "docs" / "examples", folder / "docs" / "examples")
    write(folder / "archive", "20260301T120000000000Z-00000000", *(reading(n) for n in range(5)))
    with pytest.MonkeyPatch.context() as patch:
        point_to(patch, database.environment)
        migrate()
        path = os.pathsep.join([str(ROOT / ".venv" / "bin"), str(server.binaries.bin_dir), os.environ["PATH"]])
        yield folder, {**os.environ, "PATH": path}, database
    servers.drop(database)
    with server_of(database).connect() as connection:
        for name in ("restored", "rebuilt"):
            connection.execute(f"drop database if exists {name} with (force)")


def server_of(database):
    """Return the maintenance database, through which others are created and dropped."""
    return type(database)(database.edition, database.server, {**database.environment, "PGDATABASE": "postgres"})


def test_every_command_succeeds(place):
    """All lines of all blocks, run in their order, exit with status 0."""
    folder, environment, database = place
    assert len(LINES) > 15
    for line in LINES:
        process = subprocess.run(
            ["bash", "-c", line], env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert process.returncode == 0, f"{line}\n{process.stdout}{process.stderr}"
    rebuilt = type(database)(database.edition, database.server, {**database.environment, "PGDATABASE": "rebuilt"})
    with rebuilt.connect() as connection:
        assert connection.execute("select count(*) from telemetry.reading").fetchone() == (5,)
    assert (folder / "warehouse.backup").stat().st_mode & 0o777 == 0o600
    assert (folder / "backup-of-today" / "toc.dat").exists()


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement[:60])
def test_every_statement_runs(place, statement):
    """The database accepts each statement that alerts recommend."""
    with place[2].connect() as connection:
        connection.execute(statement.encode())


def test_services_are_those_of_compose():
    """Each service that a page restarts exists under that name."""
    services = YAML(typ="safe").load(ROOT / "docker-compose.yml")["services"]
    names = set(re.findall(r"docker compose (?:up -d|restart) ([a-z][a-z-]*)", TEXT))
    assert {"archiver", "mosquitto"} <= names <= set(services)

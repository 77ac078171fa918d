"""docs/operations.md: its commands and statements do what it says, typed as they stand there."""

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
TEXT = (ROOT / "docs" / "operations.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
# What tests of their own try, and what takes minutes.
ELSEWHERE = ("docker compose ", "make ", "python bench/", ".venv/bin/python bench/")
LINES = [line for block in BLOCKS for line in block.splitlines() if not line.startswith(ELSEWHERE)]
STATEMENTS = [" ".join(one.split()) for one in re.findall(r"`(select [^`]+)`", TEXT)]


def reading(second: float) -> Message:
    """Return a message that a sensor of sensors.json would send."""
    body = f'{{"device_id": "thermostat-1", "timestamp": "{HOUR:%Y-%m-%d}T12:00:{second:02}Z", "temperature": 20}}'
    return message(second, body.encode())._replace(topic="sensors/athens/hall-1/thermostat-1")


@pytest.fixture(scope="module")
def place(servers: Servers, tmp_path_factory):
    """A directory with a registry and an archive, the environment for commands there, and a database.

    Of the edition that is at home in production, where it is installed: tests of each command try both.
    """
    edition = find_binaries("auto").edition
    server = servers.get(edition)
    database = servers.create(edition, template="template")
    folder = tmp_path_factory.mktemp("place")
    shutil.copy(ROOT / "sensors.json", folder)
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
    """Return the database with which others are made and dropped."""
    return type(database)(database.edition, database.server, {**database.environment, "PGDATABASE": "postgres"})


def test_every_command_does_its_work(place):
    """All blocks, from the first to the last, one after the other: every line ends with status 0."""
    folder, environment, database = place
    assert len(LINES) > 15
    for line in LINES:
        done = subprocess.run(
            ["bash", "-c", line], env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    rebuilt = type(database)(database.edition, database.server, {**database.environment, "PGDATABASE": "rebuilt"})
    with rebuilt.connect() as connection:
        assert connection.execute("select count(*) from telemetry.reading").fetchone() == (5,)
    assert (folder / "warehouse.backup").stat().st_mode & 0o777 == 0o600
    assert (folder / "backup-of-today" / "toc.dat").exists()


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement[:60])
def test_every_statement_is_right(place, statement):
    """What alerts say to ask the database is understood by it."""
    with place[2].connect() as connection:
        connection.execute(statement.encode())


def test_services_are_those_of_compose():
    """Whoever restarts a service finds it under the name given here."""
    services = YAML(typ="safe").load(ROOT / "docker-compose.yml")["services"]
    named = set(re.findall(r"docker compose (?:up -d|restart) ([a-z][a-z-]*)", TEXT))
    assert {"archiver", "mosquitto"} <= named <= set(services)


def test_settings_and_secrets_are_those_of_the_example():
    """Every variable that is named is one that .env.example has."""
    known = (ROOT / ".env.example").read_text() + (ROOT / "docker-compose.yml").read_text()
    names = set(
        re.findall(r"`((?:TIMESCALE|COLLECTOR|ARCHIVE|MQTT|AIRFLOW|POSTGRES|GRAFANA)_[A-Z_]+)(?:=[^`]*)?`", TEXT)
    )
    assert {name for name in names if name not in known} == set()

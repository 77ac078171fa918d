"""Backup and restore: a restored database equals the original and keeps working."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fix_database import Database, Servers, point_to
from fix_marts import Marts

from core.database import connect
from core.errors import DatabaseError
from timescale import backup, cli, pg_tools
from timescale.migrate import migrate

TABLES = """
    select format('%I.%I', n.nspname, c.relname)
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on c.relnamespace = n.oid
    where n.nspname in ('telemetry', 'quality', 'marts', 'snapshots', 'intermediate', 'staging')
    and c.relkind in ('r', 'v', 'm') order by 1
"""
# Views that depend on the current time.
TIME_DEPENDENT = ("quality.closed_", "quality.changed_hour", "quality.series_", "telemetry.retention_overdue")
GRANTS = """
    select n.nspname, c.relname, c.relacl::text, pg_get_userbyid(c.relowner)
    from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on c.relnamespace = n.oid
    where n.nspname in ('telemetry', 'quality', 'marts') and c.relkind in ('r', 'v', 'm') order by 1, 2
"""


def contents(database: Database) -> dict[str, tuple]:
    """Return number of rows and checksum of every table, aggregate and mart, independent of row order."""
    with database.connect() as connection:
        names = [name for (name,) in connection.execute(TABLES).fetchall() if not name.startswith(TIME_DEPENDENT)]
        return {
            name: connection.execute(
                f"select count(*), sum(hashtextextended(row_of::text, 0)::numeric) from {name} as row_of"
            ).fetchone()
            for name in names
        }


def grants(database: Database) -> list[tuple]:
    """Return the owner and the grants of each table and view."""
    with database.connect() as connection:
        return connection.execute(GRANTS).fetchall()


@dataclass
class Original:
    """A filled database, its contents, and its backups by format."""

    database: Database
    contents: dict[str, tuple]
    grants: list[tuple]
    backups: dict[str, Path]


@pytest.fixture(scope="module", params=["timescaledb", "postgresql"])
def original(request, servers: Servers, project, tmp_path_factory):
    """A month of readings in all states, with marts, and its backups."""
    edition = request.param
    servers.get(edition)
    database = servers.create(edition, template="template", name="marts")  # the name in dbt's profile
    with pytest.MonkeyPatch.context() as patch:
        point_to(patch, database.environment)
        migrate()  # grants on the database itself are not copied with a template
        with database.connect() as connection:
            connection.execute("""
                insert into telemetry.sensor (sensor_id, type, site, area, topic, since)
                select 'täter "' || n, 'k', 'a', 'b', 't', '2020-01-01' from generate_series(1, 3) as n;
                insert into telemetry.series (sensor_id, quantity, unit, interval_seconds)
                select sensor_id, 'temperature', 'Cel', 600 from telemetry.sensor;
                insert into telemetry.reading
                select time, series_id, round(800 * sin(extract(epoch from time))) / 8, time + interval '5 ms'
                from telemetry.series, generate_series(
                    date_trunc('hour', now()) - interval '30 days', now() - interval '1 hour', interval '10 min'
                ) as time;
                insert into telemetry.intake (bucket, source, collector, messages, decoded, readings, stored)
                values (date_trunc('minute', now()), 'mqtt', 'c', 9, 9, 9, 9);
                insert into telemetry.quarantine (received_at, source, payload, reason, readings)
                values (now(), 'mqtt', '\\x00ff', 'malformed', 0)
            """)
        database.refresh()
        if edition == "timescaledb":
            with database.connect() as connection:
                connection.execute(
                    "select public.compress_chunk(c) from public.show_chunks('telemetry.reading', "
                    "older_than => now() - interval '7 days') as c"
                )
        Marts(database, project).run("+fct_reading_hour", "+dim_sensor")
        folder = tmp_path_factory.mktemp("backups")
        backups = {"file": folder / "warehouse.backup", "directory": folder / "warehouse"}
        for name, path in backups.items():
            assert backup.backup(path, folder=name == "directory") > 1000
        original_contents, original_grants = contents(database), grants(database)
    administer = replace(database, environment={**database.environment, "PGDATABASE": "postgres"})
    with administer.connect() as connection:
        connection.execute("alter database marts rename to original")
    database = replace(database, environment={**database.environment, "PGDATABASE": "original"})
    yield Original(database, original_contents, original_grants, backups)
    servers.drop(database)


@pytest.fixture
def target(original: Original, servers: Servers, monkeypatch):
    """An empty database on the same server."""
    database = servers.create(original.database.edition, template="template0", name="marts")
    point_to(monkeypatch, database.environment)
    yield database
    servers.drop(database)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path) -> Callable[..., tuple[int, str, str]]:
    """Run the console command; return exit status, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["timescale", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return (end.value.code or 0, *capsys.readouterr())

    return run


@pytest.mark.parametrize("form", ["file", "directory"])
def test_a_restored_database_equals_the_original(original, target, run, form, monkeypatch):
    """Counts and checksums of every table, aggregate and mart are equal, and so are owners and grants."""
    seen = []

    @contextmanager
    def progress(_: str, tables: int):
        yield seen.append
        assert len(seen) == tables

    monkeypatch.setattr(pg_tools, "progress", progress)
    status, out, err = run("restore", str(original.backups[form]))
    assert (status, err) == (0, "")
    assert out.startswith(f"restored {len(seen)} tables; ")
    assert any("check_result" in table for table in seen)
    assert contents(target) == original.contents
    assert original.contents["telemetry.reading"][0] > 12_000
    assert original.contents["marts.fct_reading_hour"][0] > 2_000
    assert grants(target) == original.grants


def test_a_restored_database_works(original, target, run, project):
    """After a restore new readings reach all means and marts, jobs exist, and migrate has nothing to do."""
    assert run("restore", str(original.backups["file"]))[0] == 0
    assert run("migrate")[1].startswith("nothing to apply")
    before = original.contents["telemetry.reading"][0]
    with connect() as connection:
        connection.execute(
            "insert into telemetry.reading select now() - interval '20 days' + n * interval '7 s', series_id, 5, now() "
            "from telemetry.series, generate_series(1, 10) as n"
        )
    target.refresh()
    with connect() as connection:
        for level in ("1m", "1h", "1d"):
            query = f"select sum(sample_count) from telemetry.reading_{level}"
            assert connection.execute(query.encode()).fetchone() == (before + 30,)
        connection.execute("call telemetry.apply_retention()")
        if target.edition == "timescaledb":
            jobs = (
                "select count(*), bool_and(scheduled) from timescaledb_information.jobs where proc_schema = 'telemetry'"
            )
            assert connection.execute(jobs).fetchone() == (3, True)
    Marts(target, project).run("+fct_reading_hour", "+dim_sensor")


def test_only_the_owner_can_read_a_backup(original):
    """A backup contains all data, so only its owner can open it."""
    assert original.backups["file"].stat().st_mode & 0o777 == 0o600
    assert original.backups["directory"].stat().st_mode & 0o777 == 0o700


def test_existing_files_are_not_overwritten(original, run):
    """A backup to an existing file is refused."""
    status, _, err = run("backup", str(original.backups["file"]))
    assert status == 1
    assert "exists already" in err


def test_a_database_that_is_not_empty_is_refused(original, run, monkeypatch):
    """A restore into a database with objects is refused."""
    point_to(monkeypatch, original.database.environment)
    status, _, err = run("restore", str(original.backups["file"]))
    assert status == 1
    assert "is not empty" in err
    assert "createdb" in err


def test_a_file_that_is_no_backup_is_refused(original, target, run, tmp_path):
    """A file that is missing or that pg_restore can't read is reported with its name."""
    (tmp_path / "x").write_text("no backup")
    (tmp_path / "newer").write_bytes(original.backups["file"].read_bytes()[:5] + b"\x01\x63" + bytes(4000))
    for name, part in (
        ("x", "the backup can't be read: "),
        ("y", "no such backup: y"),
        ("newer", "was created by a newer pg_dump"),
    ):
        status, _, err = run("restore", name)
        assert status == 1
        assert part in err


def test_a_failed_backup_leaves_no_file(original, run, tmp_path, monkeypatch):
    """If the login can't read everything, the error has pg_dump's message, and no partial file remains."""
    with original.database.connect() as connection:
        connection.execute("create role curious login password 'of a test' in role transformer")
    point_to(monkeypatch, {**original.database.environment, "PGUSER": "curious", "PGPASSWORD": "of a test"})
    status, _, err = run("backup", str(tmp_path / "b"))
    with original.database.connect() as connection:
        connection.execute("drop role curious")
    assert status == 1
    assert err.startswith("timescale: pg_dump failed: ")
    assert "permission denied" in err
    assert list(tmp_path.iterdir()) == []


def test_missing_owners(original, target, run, tmp_path):
    """A missing owner is reported before any change; with --no-owner the restore works."""
    with original.database.connect() as connection:
        connection.execute("create role landlady; create table marts.hers (a integer)")
        connection.execute("create role readers_of_hers; grant select on marts.hers to readers_of_hers")
        connection.execute("alter table marts.hers owner to landlady")
        connection.execute("alter default privileges for role landlady revoke execute on routines from public")
    point = {**original.database.environment}
    with pytest.MonkeyPatch.context() as patch:
        point_to(patch, point)
        backup.backup(tmp_path / "b", folder=False)
    with original.database.connect() as connection:
        connection.execute("drop owned by landlady; drop role landlady; drop role readers_of_hers")
    status, _, err = run("restore", "b")
    assert status == 1
    assert "landlady" in err
    assert "--no-owner" in err
    status, out, err = run("restore", "b", "--no-owner")
    assert (status, err) == (0, "")
    assert "created roles without login: " in out
    assert "readers_of_hers" in out
    with target.connect() as connection:
        connection.execute("drop table marts.hers; drop role readers_of_hers; drop role if exists landlady")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"postgresql": 99}, "is from PostgreSQL 99, and the server has"),
        ({"timescaledb": "1.7.5"}, "is from TimescaleDB 1.7.5, and the server has"),
    ],
)
def test_an_incompatible_server_is_refused(original, target, run, monkeypatch, change, part):
    """An older PostgreSQL or another TimescaleDB version is reported before any change."""
    real = backup.describe
    monkeypatch.setattr(backup, "describe", lambda *arguments: replace(real(*arguments), **change))
    status, _, err = run("restore", str(original.backups["file"]))
    assert status == 1
    assert part in err
    with target.connect() as connection:
        assert connection.execute("select to_regnamespace('telemetry')").fetchone() == (None,)


def test_a_missing_or_old_program_is_reported(monkeypatch):
    """Without a pg_dump of the server's version or newer, the error names the required version and the package."""
    monkeypatch.setattr(pg_tools, "client_programs", lambda _: [])
    with pytest.raises(
        DatabaseError, match=r"pg_dump of PostgreSQL 17 or newer.*installed: none.*postgresql-client-17"
    ):
        pg_tools.find("pg_dump", 17)
    echo = Path("/bin/echo")
    monkeypatch.setattr(pg_tools, "client_programs", lambda _: [echo])
    monkeypatch.setattr(
        subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, "pg_dump (PostgreSQL) 15.2\n", "")
    )
    with pytest.raises(DatabaseError, match="installed: 15"):
        pg_tools.find("pg_dump", 17)
    assert pg_tools.find("pg_dump", 14) == echo

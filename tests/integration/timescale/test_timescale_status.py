"""Output and exit status of ``timescale migrate`` and ``timescale status``."""

import json
import sys
from datetime import UTC, datetime, timedelta

import pytest
from test_timescale_rollups import copy

from timescale import cli, migrate


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the console command; return exit status, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["timescale", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run


@pytest.fixture
def busy(database):
    """A database with readings, accounts and quarantine that balance."""
    now = datetime.now(tz=UTC)
    with database.connect() as connection:
        copy(connection, [(now - timedelta(days=day), 1, 1.0) for day in range(20)])
        connection.execute(
            "insert into telemetry.intake (bucket, source, collector, messages, decoded, quarantined_messages, "
            "readings, stored) values (now(), 'mqtt', 'c1', 21, 20, 1, 20, 20)"
        )
        connection.execute(
            "insert into telemetry.quarantine (received_at, source, payload, reason, readings) "
            "values (now(), 'mqtt', 'x', 'not_json', 0)"
        )
        if database.edition == "timescaledb":
            connection.execute(
                "select public.compress_chunk(c) from public.show_chunks('telemetry.reading', older_than => now() - "
                "interval '7 days') as c"
            )
    database.refresh()
    return database


def test_status_as_tables(busy, run):
    """The output has edition, revision, rows, means, accounts and quarantine."""
    status, out, err = run("status")
    assert (status, err) == (0, "")
    for part in (busy.edition, migrate.head(), "20; raw readings are kept forever", "21 messages = 20 decoded + 0",
                 "1 not_json", "balanced", "reading_1m", "reading_1d"):  # fmt: skip
        assert part in out
    assert ("in the columnstore: " in out) == (busy.edition == "timescaledb")
    assert ("trigger" in out) == (busy.edition == "postgresql")


def test_status_as_json(busy, run):
    """--json prints one document with numbers as numbers."""
    _, out, _ = run("status", "--json", "--exact")
    document = json.loads(out)
    assert (document["edition"], document["readings"], document["readings_exact"], document["balanced"]) == (
        busy.edition,
        20,
        True,
        True,
    )
    assert document["quarantine"] == {"not_json": 1}
    assert document["accounts"]["messages"] == 21
    assert [level["name"] for level in document["aggregates"]] == ["reading_1m", "reading_1h", "reading_1d"]
    if busy.edition == "timescaledb":
        assert document["chunks"]["total"] == 20
        assert document["chunks"]["compressed"] >= 12
        assert {job["name"] for job in document["jobs"]} >= {"refresh_rollups", "apply_retention", "purge_settled"}
        assert 600 <= document["aggregates"][0]["lag_seconds"] < 2 * 86400


def test_status_of_an_empty_warehouse(database, run):
    """An empty database is not an error."""
    assert run("status")[0] == 0


def test_status_fails_when_the_accounts_do_not_balance(busy, run):
    """The exit status is 1 if the accounts do not balance."""
    with busy.connect() as connection:
        connection.execute("delete from telemetry.quarantine")
    status, out, _ = run("status")
    assert status == 1
    assert "NO" in out


def test_status_of_an_unmigrated_database(fresh_database, run):
    """The error is one line with the fix, not a traceback."""
    status, out, err = run("status")
    assert (status, out) == (1, "")
    assert err == "timescale: the database has not been migrated. Run `timescale migrate`.\n"


def test_migrate_prints_its_result(fresh_database, run):
    """The first run prints every applied migration, the second run none."""
    status, out, _ = run("migrate")
    assert status == 0
    assert out.startswith("applied 0001 The registry")
    assert f"edition {fresh_database.edition}, revision {migrate.head()}; raw readings are kept forever" in out
    assert run("migrate")[1].startswith("nothing to apply")


def test_an_unreachable_server_is_one_message(monkeypatch, run):
    """An unreachable database is reported in one line, not a traceback."""
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", "1")
    for command in ("status", "migrate"):
        status, _, err = run(command)
        assert status == 1
        assert err.startswith("timescale: no connection to the database: ")
        assert err.count("\n") == 1

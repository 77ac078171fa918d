"""The schema: fully documented, equal for new and upgraded databases, and fast for common queries."""

import re
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from fix_database import Database, point_to

from core.errors import DatabaseError, SettingError
from local_services.database_server import LocalServer
from timescale import migrate

UNCOMMENTED = """
    with schemas as (
        select oid, nspname from pg_catalog.pg_namespace where nspname in ('telemetry', 'quality')
    ),
    relations as (
        select r.oid, s.nspname || '.' || r.relname as name from pg_catalog.pg_class as r
        join schemas as s on r.relnamespace = s.oid where r.relkind in ('r', 'v', 'm', 'p', 'f')
    )
    select nspname from schemas where pg_catalog.obj_description(oid, 'pg_namespace') is null
    union all
    select name from relations where pg_catalog.obj_description(oid, 'pg_class') is null
    union all
    select r.name || '.' || a.attname from relations as r join pg_catalog.pg_attribute as a on a.attrelid = r.oid
    where a.attnum > 0 and not a.attisdropped and pg_catalog.col_description(r.oid, a.attnum) is null
    union all
    select p.oid::regprocedure::text from pg_catalog.pg_proc as p
    join schemas as s on p.pronamespace = s.oid where pg_catalog.obj_description(p.oid, 'pg_proc') is null
"""
# Procedures that commit can't have settings; they qualify every name instead.
COMMITTING = {"refresh_rollups", "apply_retention", "lock_rollups"}
COLUMNS = [
    "bucket", "series_id", "mean", "minimum", "maximum", "first_value", "last_value", "sum_value", "sample_count",
]  # fmt: skip


def dump(database: Database) -> str:
    """Return the schema from pg_dump, without lines that differ between runs."""
    program = database.server.binaries.bin_dir / "pg_dump"
    result = subprocess.run(
        [program, "--schema-only"], env=database.environment, check=True, capture_output=True, text=True
    )
    return re.sub(r"^\\(un)?restrict .*$", "", result.stdout, flags=re.MULTILINE)


def test_every_object_has_a_comment(database):
    """Schemas, tables, views, columns and functions have comments."""
    with database.connect() as connection:
        assert connection.execute(UNCOMMENTED).fetchall() == []


def test_functions_do_not_depend_on_the_callers_search_path(database):
    """Every function sets its search_path, except procedures that commit, which can't."""
    with database.connect() as connection:
        unset = connection.execute(
            "select proname from pg_catalog.pg_proc where pronamespace = 'telemetry'::regnamespace "
            "and not coalesce(proconfig::text like '%search_path=%', false)"
        ).fetchall()
    assert {name for (name,) in unset} <= COMMITTING


def test_an_upgraded_database_equals_a_fresh_one(fresh_database, servers):
    """Migrating one revision at a time gives the same schema as migrating a new database."""
    from_template = servers.create(fresh_database.edition, template="template")
    for number in range(1, 1000):
        if migrate.migrate(f"{number:04}").after == migrate.head():
            break
    migrate.migrate()
    assert dump(fresh_database) == dump(from_template)
    servers.drop(from_template)


def test_a_database_newer_than_the_code_is_refused(database):
    """An unknown revision is reported with the fix, and nothing is changed."""
    with database.connect() as connection:
        connection.execute("update telemetry.revision set version_num = '9999'")
    with pytest.raises(DatabaseError, match=r"revision 9999.*newer than the code\. Upgrade the code"):
        migrate.migrate()


def test_a_failed_migration_is_rolled_back(fresh_database, monkeypatch):
    """All migrations and definitions are one transaction."""

    def fail(*_: object) -> None:
        raise DatabaseError("a broken definition")

    monkeypatch.setattr(migrate, "define", fail)
    with pytest.raises(DatabaseError, match="a broken definition"):
        migrate.migrate()
    with fresh_database.connect() as connection:
        assert migrate.revision(connection) is None


@pytest.mark.parametrize("edition", ["timescaledb"], indirect=True)
def test_the_edition_of_a_new_database_can_be_chosen(fresh_database, monkeypatch):
    """On a server with TimescaleDB a database can be plain, and keeps its edition whatever the later setting."""
    monkeypatch.setenv("TIMESCALE_EDITION", "postgresql")
    assert migrate.migrate().edition == "postgresql"
    monkeypatch.setenv("TIMESCALE_EDITION", "timescaledb")
    assert migrate.migrate().edition == "postgresql"


@pytest.mark.parametrize("edition", ["timescaledb"], indirect=True)
def test_the_apache_edition_is_refused(server_folder, edition, servers, monkeypatch):
    """A server with TimescaleDB under the Apache licence, without continuous aggregates, is refused."""
    servers.get(edition)
    settings = {"fsync": "off", "timescaledb.license": "apache"}
    with LocalServer(server_folder / "data", edition, 0, settings) as server:
        point_to(monkeypatch, server.environment())
        with pytest.raises(DatabaseError, match=r"Apache edition.*lacks continuous aggregates"):
            migrate.migrate()


@pytest.mark.parametrize("edition", ["postgresql"], indirect=True)
def test_timescaledb_on_a_plain_server_is_refused(fresh_database, monkeypatch):
    """TimescaleDB on a plain server is refused with the fix."""
    monkeypatch.setenv("TIMESCALE_EDITION", "timescaledb")
    with pytest.raises(DatabaseError, match="has no TimescaleDB"):
        migrate.migrate()


def test_an_unknown_edition_is_refused(monkeypatch):
    """A misspelled edition is refused, and the error lists the valid ones."""
    monkeypatch.setenv("TIMESCALE_EDITION", "oracle")
    with pytest.raises(SettingError, match=r"TIMESCALE_EDITION: .*'auto', 'timescaledb' or 'postgresql'"):
        migrate.migrate()


def test_an_unmigrated_database_has_no_edition(fresh_database):
    """The error for an empty database names the command to run."""
    with fresh_database.connect() as connection, pytest.raises(DatabaseError, match="Run `timescale migrate`"):
        migrate.edition(connection)


@pytest.mark.parametrize("level", ["1m", "1h", "1d"])
def test_levels_have_the_same_columns_on_both_editions(database, level):
    """All levels have the nine public columns in the same order."""
    with database.connect() as connection:
        cursor = connection.execute(f"select * from telemetry.reading_{level}")
        types = [column.type_code for column in cursor.description]
        assert [column.name for column in cursor.description] == COLUMNS
    # timestamptz, int4, six times float8, int8
    assert types == [1184, 23, 701, 701, 701, 701, 701, 701, 20]


@pytest.fixture
def filled(database):
    """Two registered series with one reading per second for three hours."""
    with database.connect() as connection:
        connection.execute(
            "insert into telemetry.sensor (sensor_id, type, site, area, topic, since) "
            "values ('s1', 'thermostat', 'north', 'hall', 't/1', '2000-01-01')"
        )
        connection.execute(
            "insert into telemetry.series (sensor_id, quantity, unit, interval_seconds) "
            "values ('s1', 'temperature', 'Cel', 1), ('s1', 'humidity', '%', 1)"
        )
        connection.execute(
            "insert into telemetry.reading select time, series_id, extract(second from time), time "
            "from generate_series('2026-01-01 00:00+00'::timestamptz, '2026-01-01 02:59:59+00', '1 second') as time "
            "cross join telemetry.series order by time"
        )
    return database


def test_window_means_over_any_window(filled):
    """Windows of 45 minutes from an unaligned start, with a partial last one, have the right values."""
    query = "select * from telemetry.window_means(%s, %s, %s)"
    start = datetime(2026, 1, 1, 0, 7, 30, tzinfo=UTC)
    with filled.connect() as connection:
        rows = connection.execute(query, (start, start + timedelta(minutes=100), timedelta(minutes=45))).fetchall()
    assert [(row[0] - start, row[1], row[-1]) for row in rows] == [
        (timedelta(minutes=window * 45), series, count)
        for window, count in enumerate([2700, 2700, 600])
        for series in (1, 2)
    ]
    assert rows[0][2:] == ("s1", "temperature", "Cel", 29.5, 0.0, 59.0, 2700)


def test_readings_view_has_names(filled):
    """The view joins every reading to its sensor and series."""
    query = "select sensor_id, quantity, unit, site, area, value, series_id from telemetry.readings where time = %s"
    with filled.connect() as connection:
        rows = connection.execute(
            query + " order by series_id", (datetime(2026, 1, 1, 1, 0, 5, tzinfo=UTC),)
        ).fetchall()
    assert rows == [
        ("s1", "temperature", "Cel", "north", "hall", 5.0, 1),
        ("s1", "humidity", "%", "north", "hall", 5.0, 2),
    ]


def test_recent_readings_of_all_series_use_an_index(filled):
    """A query for a few minutes of all series does not scan the table."""
    query = "explain select * from telemetry.reading where time >= %s and time < %s"
    start = datetime(2026, 1, 1, 2, 49, tzinfo=UTC)
    with filled.connect() as connection:
        connection.execute("vacuum analyze telemetry.reading")
        plan = "\n".join(row for (row,) in connection.execute(query, (start, start + timedelta(minutes=10))))
    assert "reading_time" in plan


def test_one_series_uses_its_key(filled):
    """A query for one series over an hour uses the primary key, and so does one for its minutes."""
    with filled.connect() as connection:
        # Another week of minutes, otherwise a sequential scan would be faster.
        connection.execute(
            "insert into telemetry.reading select minute, 1, 1, minute"
            " from generate_series(timestamptz '2026-01-02', '2026-01-09', interval '1 minute') minute"
        )
    filled.refresh()
    start = datetime(2026, 1, 1, 1, tzinfo=UTC)
    with filled.connect() as connection:
        connection.execute("vacuum analyze")
        for relation, column in (("reading", "time"), ("reading_1m", "bucket")):
            query = (
                f"explain select * from telemetry.{relation} where series_id = 1 and {column} >= %s and {column} < %s"
            )
            plan = "\n".join(row for (row,) in connection.execute(query, (start, start + timedelta(minutes=9))))
            assert "Index Scan" in plan, plan
            assert "series_id" in plan

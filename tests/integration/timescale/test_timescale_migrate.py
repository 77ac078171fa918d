"""Migrations: new databases, repeated, concurrent and from earlier versions."""

import subprocess
import sys

import pytest

from timescale import migrate

# A database of an earlier version, and a view that depends on it.
EARLIER = """
create view telemetry.reading_1m as
select
    bucket, series_id, sum_value / sample_count as mean, minimum, maximum, first_value, last_value, sum_value,
    sample_count
from telemetry.rollup_1m;
create schema built;
create view built.minute as select bucket, series_id, mean, sample_count from telemetry.reading_1m;
insert into telemetry.rollup_1m
select bucket, series_id, bucket, bucket, series_id, series_id, series_id, series_id, series_id, 1
from generate_series('2026-03-01 00:00+00'::timestamptz, '2026-03-01 00:09+00', '1 minute') as bucket
cross join generate_series(1, 100) as series_id
"""


def test_migrating_twice_changes_nothing(fresh_database):
    """The second run applies no migration and ends at the same revision."""
    first = migrate.migrate()
    second = migrate.migrate()
    assert (first.edition, first.before, second.applied) == (fresh_database.edition, None, ())
    assert second.before == second.after == first.after


def test_a_migrated_database_has_an_edition(database):
    """The edition is read from the database."""
    with database.connect() as connection:
        assert migrate.edition(connection) == database.edition


def test_concurrent_migrations_run_one_after_the_other(fresh_database):
    """One of two concurrent commands migrates; the other has nothing to do."""
    program = "from timescale.cli import main; main()"
    commands = [
        subprocess.Popen([sys.executable, "-c", program, "migrate"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = sorted(command.communicate(timeout=60)[0].splitlines()[0] for command in commands)
    assert [command.returncode for command in commands] == [0, 0]
    assert outputs == ["applied 0001 The registry: sensors and their series.", "nothing to apply"]


@pytest.mark.parametrize("edition", ["timescaledb"], indirect=True)
def test_every_session_has_the_settings_of_the_columnstore(fresh_database):
    """Sessions after a migration, such as the compression job, use the batch size that fits on pages."""
    migrate.migrate()
    query = "select current_setting('timescaledb.compression_batch_size_limit')"
    with fresh_database.connect() as connection:
        assert connection.execute(query).fetchall() == [("880",)]


@pytest.mark.parametrize("edition", ["postgresql"], indirect=True)
def test_minutes_of_an_earlier_version_keep_their_names(fresh_database):
    """Means stored before minutes were partitioned by series are readable and updated under the old names."""
    migrate.migrate("0011")
    query = "select bucket, series_id, mean, sample_count from built.minute order by bucket, series_id"
    with fresh_database.connect() as connection:
        connection.execute(EARLIER)
        before = connection.execute(query).fetchall()
        migrate.migrate()
        assert connection.execute(query).fetchall() == before
        connection.execute(
            "insert into telemetry.reading (time, series_id, value, received_at) "
            "values ('2026-03-01 00:00:30+00', 7, 9, '2026-03-01 00:00:30+00')"
        )
        changed = set(connection.execute(query).fetchall()) - set(before)
        assert {row[1:] for row in changed} == {(7, 8.0, 2)}

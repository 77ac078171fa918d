"""Quarantine and accounts: their balance, also after a purge."""

import psycopg
import pytest

INTAKE = """
    insert into telemetry.intake (
        bucket, source, collector, messages, decoded, ignored, quarantined_messages,
        readings, stored, duplicate, quarantined_readings
    ) values ('2026-01-01 00:00+00', %s, 'c1', %s, %s, %s, %s, %s, %s, %s, %s)
"""
QUARANTINE = """
    insert into telemetry.quarantine (received_at, source, payload, reason, readings, replayed_at)
    values (now(), 'mqtt', 'x', 'unknown_sensor', %s, %s)
"""


def balanced(connection) -> bool:
    """Return whether the accounts balance."""
    (is_balanced,) = connection.execute("select balanced from telemetry.accounting").fetchone()
    return is_balanced


def test_an_empty_warehouse_balances(database):
    """An empty database has balanced accounts."""
    with database.connect() as connection:
        assert balanced(connection)


@pytest.mark.parametrize("numbers", [(2, 1, 0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 2, 1, 0, 0)])
def test_a_row_that_does_not_add_up_is_refused(database, numbers):
    """The identities of messages and readings are constraints."""
    with database.connect() as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(INTAKE, ("mqtt", *numbers))


def test_quarantine_rows_must_agree_with_the_accounts(database):
    """The accounts balance if and only if the quarantine has the rows that they count."""
    with database.connect() as connection:
        connection.execute(INTAKE, ("mqtt", 3, 1, 1, 1, 5, 2, 1, 2))
        assert not balanced(connection)
        connection.execute(QUARANTINE, (0, None))
        assert not balanced(connection)
        connection.execute(QUARANTINE, (2, None))
        assert balanced(connection)


def test_purged_rows_still_count(database):
    """Deleting old settled rows keeps the balance; open rows stay."""
    with database.connect() as connection:
        connection.execute(INTAKE, ("mqtt", 4, 2, 0, 2, 9, 2, 1, 6))
        for readings in (0, 3):
            connection.execute(QUARANTINE, (readings, "2020-01-01"))
            connection.execute(QUARANTINE, (readings, None))
        assert connection.execute("select telemetry.purge_quarantine()").fetchone() == (2,)
        assert connection.execute("select telemetry.purge_quarantine()").fetchone() == (0,)
        assert connection.execute("select count(*) from telemetry.quarantine").fetchone() == (2,)
        assert balanced(connection)


@pytest.mark.parametrize("edition", ["timescaledb"], indirect=True)
def test_settled_rows_are_purged_by_a_job(database):
    """A job of the database deletes rows settled more than 90 days ago."""
    with database.connect() as connection:
        connection.execute(QUARANTINE, (0, "2020-01-01"))
        (job,) = connection.execute(
            "select job_id from timescaledb_information.jobs where proc_name = 'purge_settled'"
        ).fetchone()
        connection.execute("call public.run_job(%s)", (job,))
        assert connection.execute("select count(*) from telemetry.quarantine").fetchone() == (0,)

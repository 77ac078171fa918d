"""Locks: only the roles of the warehouse can take those that its parts wait for, and nobody waits forever."""

import psycopg
import pytest
from fix_bad_input import probes
from test_timescale_roles import login, parameters  # noqa: F401 - a fixture

from collector.registry import sync
from collector.store.writer import Writer
from core.database import connect
from timescale.migrate import migrate

ADVISORY = """
    select pg_advisory_lock(hashtext('telemetry.registry')), pg_advisory_lock(hashtext('telemetry.quarantine')),
        pg_advisory_lock(hashtext('grant_to_readers')), pg_advisory_lock(7233911046158836),
        pg_advisory_lock(7233911046158837), pg_advisory_lock(7233911046158838)
"""


def test_advisory_locks_of_any_login_stop_nothing(database, login):  # noqa: F811
    """A login that holds the advisory locks of earlier versions, and reads all it can, blocks no part."""
    with psycopg.connect(**parameters(login("bi_reader"))) as other:
        other.execute(ADVISORY)
        for table in ("telemetry.lock", "quality.lock"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), other.transaction():
                other.execute(f"select from {table} for update".encode())
        with database.connect() as connection:
            connection.execute("set lock_timeout = '1s'")
            sync.synchronise(connection, probes())
            migrate()
            if database.edition == "timescaledb":
                connection.execute("call telemetry.refresh_rollups()")


@pytest.mark.parametrize("connection", [connect, lambda: Writer("mqtt", "test").connection()], ids=["any", "writer"])
def test_every_connection_stops_waiting_for_locks(database, connection):
    """Connections of the product have a limit on the time that they wait for a lock."""
    with connection() as opened:
        (seconds,) = opened.execute("select extract(epoch from current_setting('lock_timeout')::interval)").fetchone()
    assert 0 < seconds <= 30


@pytest.mark.parametrize("edition", ["timescaledb"], indirect=True)
def test_a_session_that_refreshes_excludes_others_until_it_ends(database):
    """The lock of the means is kept over commits, and is free when its session has ended, also without unlocking."""
    holder = "select holder from telemetry.lock where name = 'rollups'"
    with database.connect() as first:
        first.execute("call telemetry.lock_rollups()")
        assert first.execute(holder).fetchone() == (first.info.backend_pid,)
        with database.connect() as second:
            second.execute("set statement_timeout = '500ms'")
            with pytest.raises(psycopg.errors.QueryCanceled):
                second.execute("call telemetry.lock_rollups()")
        first.execute("call telemetry.refresh_rollups()")  # the same session may
        assert first.execute(holder).fetchone() == (None,)
        first.execute("call telemetry.lock_rollups()")
    with database.connect() as third:
        third.execute("set statement_timeout = '20s'")
        third.execute("call telemetry.lock_rollups()")
        assert third.execute(holder).fetchone() == (third.info.backend_pid,)

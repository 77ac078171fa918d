"""Retention: raw readings go, their means stay."""

from datetime import UTC, datetime, timedelta

import pytest
from fix_database import Database
from test_timescale_rollups import LEVELS, copy, expected, found

from timescale.migrate import migrate

MIDNIGHT = datetime.now(tz=UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def apply_retention(database: Database) -> None:
    """Run what the scheduled job runs."""
    with database.connect() as connection:
        connection.execute("call telemetry.apply_retention()")


def keep(monkeypatch, days: str | None, archived: str = "none", scanned: str = "no") -> None:
    """Set or unset the retention by its setting, without its gates but where a test says otherwise."""
    monkeypatch.setenv("TIMESCALE_RETENTION_ARCHIVED", archived)
    monkeypatch.setenv("TIMESCALE_RETENTION_SCANNED", scanned)
    if days is None:
        monkeypatch.delenv("TIMESCALE_RETENTION_DAYS")
    else:
        monkeypatch.setenv("TIMESCALE_RETENTION_DAYS", days)
    migrate()


def one(database: Database, query: str):
    """Return the one value of a query."""
    with database.connect() as connection:
        return connection.execute(query).fetchone()[0]


def test_means_survive_their_readings(database, monkeypatch):
    """After old readings are dropped every level still has their means, refresh after refresh."""
    keep(monkeypatch, "7")
    readings = [(MIDNIGHT - timedelta(days=day, hours=3, minutes=day), 1, float(day)) for day in range(20)]
    with database.connect() as connection:
        copy(connection, readings)
    apply_retention(database)
    database.refresh()
    with database.connect() as connection:
        copy(connection, late := [(MIDNIGHT - timedelta(days=2), 1, 99.0)])
    database.refresh()
    apply_retention(database)
    # Kept: seven whole days before today and the one day of grace.
    assert one(database, "select min(time) from telemetry.reading") >= MIDNIGHT - timedelta(days=8)
    assert one(database, "select count(*) from telemetry.reading") == 8 + len(late)
    for level, width in LEVELS.items():
        assert found(database, level) == expected(readings + late, width)


def test_everything_is_accepted_while_readings_are_kept_for_ever(database):
    """Without a retention there is no oldest accepted instant, and nothing is dropped."""
    with database.connect() as connection:
        copy(connection, [(datetime(2001, 1, 1, tzinfo=UTC), 1, 1.0)])
    apply_retention(database)
    assert one(database, "select telemetry.oldest_accepted()") is None
    assert one(database, "select count(*) from telemetry.reading") == 1


def test_what_is_accepted_lies_a_day_within_what_is_kept(database, monkeypatch):
    """Between the oldest accepted reading and the dropped ones lies the day in which a refresh reaches it."""
    keep(monkeypatch, "7")
    assert one(database, "select telemetry.oldest_accepted()") == MIDNIGHT - timedelta(days=7)
    apply_retention(database)
    assert one(database, "select dropped_before from telemetry.retention") == MIDNIGHT - timedelta(days=8)


def test_dropped_days_stay_closed_when_the_retention_is_lifted(database, monkeypatch):
    """Readings of dropped days are not accepted later: their bucket could not be computed any more."""
    keep(monkeypatch, "7")
    apply_retention(database)
    keep(monkeypatch, None)
    assert one(database, "select telemetry.oldest_accepted()") == MIDNIGHT - timedelta(days=7)


@pytest.mark.parametrize("days", ["0", "1", "-3", "two", "1.5", "99999999"])
def test_a_wrong_setting_is_refused_before_connecting(days, monkeypatch):
    """An invalid number of days is refused with its name and the default."""
    from core.errors import SettingError

    monkeypatch.setenv("TIMESCALE_RETENTION_DAYS", days)
    monkeypatch.setenv("PGHOST", "no.such.host.invalid")
    with pytest.raises(SettingError, match=r"TIMESCALE_RETENTION_DAYS: .*unset: forever"):
        migrate()


@pytest.mark.parametrize("edition", ["timescaledb"], indirect=True)
def test_the_scheduled_job_applies_it(database, monkeypatch):
    """Retention runs by itself, as a job of the database."""
    keep(monkeypatch, "7")
    with database.connect() as connection:
        copy(connection, [(MIDNIGHT - timedelta(days=30), 1, 1.0)])
        (job,) = connection.execute(
            "select job_id from timescaledb_information.jobs where proc_name = 'apply_retention'"
        ).fetchone()
        connection.execute("call public.run_job(%s)", (job,))
        assert connection.execute("select count(*) from telemetry.reading").fetchone() == (0,)
        assert connection.execute("select count(*) from telemetry.reading_1d").fetchone() == (1,)

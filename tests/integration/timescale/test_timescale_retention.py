"""Retention: raw readings are dropped, their means stay."""

from datetime import UTC, datetime, timedelta

import pytest
from fix_database import Database
from test_timescale_rollups import LEVELS, copy, expected, means

from timescale.migrate import migrate

MIDNIGHT = datetime.now(tz=UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def apply_retention(database: Database) -> None:
    """Run the procedure of the scheduled job."""
    with database.connect() as connection:
        connection.execute("call telemetry.apply_retention()")


def keep(monkeypatch, days: str | None, archived: str = "none", scanned: str = "no") -> None:
    """Set or unset the retention by its settings, by default without gates."""
    monkeypatch.setenv("TIMESCALE_RETENTION_ARCHIVED", archived)
    monkeypatch.setenv("TIMESCALE_RETENTION_SCANNED", scanned)
    if days is None:
        monkeypatch.delenv("TIMESCALE_RETENTION_DAYS")
    else:
        monkeypatch.setenv("TIMESCALE_RETENTION_DAYS", days)
    migrate()


def value_of(database: Database, query: str):
    """Return the value of a query."""
    with database.connect() as connection:
        return connection.execute(query).fetchone()[0]


def test_means_survive_their_readings(database, monkeypatch):
    """After old readings are dropped, all levels keep their means, also after further refreshes."""
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
    assert value_of(database, "select min(time) from telemetry.reading") >= MIDNIGHT - timedelta(days=8)
    assert value_of(database, "select count(*) from telemetry.reading") == 8 + len(late)
    for level, width in LEVELS.items():
        assert means(database, level) == expected(readings + late, width)


def test_replaced_values_are_dropped_with_their_readings(database, monkeypatch):
    """Retention deletes the replaced values of dropped days from telemetry.superseded, and no others."""
    keep(monkeypatch, "7")
    with database.connect() as connection:
        copy(connection, [(MIDNIGHT - timedelta(days=day), 1, 2.0) for day in (2, 7, 9, 30)])
        connection.execute(
            "insert into telemetry.superseded (series_id, time, value, replaced_by, source, received_at) "
            "select series_id, time, 1.0, value, 'mqtt', received_at from telemetry.reading"
        )
    apply_retention(database)
    with database.connect() as connection:
        rows = connection.execute("select time from telemetry.superseded order by time").fetchall()
    assert [time for (time,) in rows] == [MIDNIGHT - timedelta(days=7), MIDNIGHT - timedelta(days=2)]


def test_all_times_are_accepted_without_retention(database):
    """Without a retention there is no earliest accepted time, and no reading is dropped."""
    with database.connect() as connection:
        copy(connection, [(datetime(2001, 1, 1, tzinfo=UTC), 1, 1.0)])
    apply_retention(database)
    assert value_of(database, "select telemetry.oldest_accepted()") is None
    assert value_of(database, "select count(*) from telemetry.reading") == 1


def test_one_day_of_grace_before_dropping(database, monkeypatch):
    """One day lies between the earliest accepted time and the dropped readings, for the refresh of the means."""
    keep(monkeypatch, "7")
    assert value_of(database, "select telemetry.oldest_accepted()") == MIDNIGHT - timedelta(days=7)
    apply_retention(database)
    assert value_of(database, "select dropped_before from telemetry.retention") == MIDNIGHT - timedelta(days=8)


def test_dropped_days_stay_closed_after_the_retention_is_unset(database, monkeypatch):
    """Readings of dropped days are not accepted later, because their bucket can no longer be computed."""
    keep(monkeypatch, "7")
    apply_retention(database)
    keep(monkeypatch, None)
    assert value_of(database, "select telemetry.oldest_accepted()") == MIDNIGHT - timedelta(days=7)


@pytest.mark.parametrize("days", ["0", "1", "-3", "two", "1.5", "99999999"])
def test_an_invalid_setting_is_refused_before_connecting(days, monkeypatch):
    """An invalid number of days is refused with its name and the default."""
    from core.errors import SettingError

    monkeypatch.setenv("TIMESCALE_RETENTION_DAYS", days)
    monkeypatch.setenv("PGHOST", "no.such.host.invalid")
    with pytest.raises(SettingError, match=r"TIMESCALE_RETENTION_DAYS: .*unset: forever"):
        migrate()


@pytest.mark.parametrize("edition", ["timescaledb"], indirect=True)
def test_the_scheduled_job_applies_the_retention(database, monkeypatch):
    """A job of the database applies the retention."""
    keep(monkeypatch, "7")
    with database.connect() as connection:
        copy(connection, [(MIDNIGHT - timedelta(days=30), 1, 1.0)])
        (job,) = connection.execute(
            "select job_id from timescaledb_information.jobs where proc_name = 'apply_retention'"
        ).fetchone()
        connection.execute("call public.run_job(%s)", (job,))
        assert connection.execute("select count(*) from telemetry.reading").fetchone() == (0,)
        assert connection.execute("select count(*) from telemetry.reading_1d").fetchone() == (1,)

"""Late hours are recorded with their readings."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from collector.message import Message
from collector.store.batch import POSTGRES_EPOCH, ROW, Accounts, Batch
from collector.store.writer import Writer

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def batch(*readings: tuple[int, datetime]) -> Batch:
    """Return a batch of (series_id, time)."""
    rows = bytearray()
    for series_id, time in readings:
        instant = (time - EPOCH) // timedelta(microseconds=1) - POSTGRES_EPOCH
        rows += ROW.pack(4, 8, instant, 4, series_id, 8, 1.0, 8, instant)
    count = len(readings)
    accounts = Accounts(messages=1, decoded=1, readings=count)
    return Batch.prepared([Message("t", b"", 0, False)], rows, [0] * count, [], accounts)


def noted(database) -> list[tuple[int, datetime]]:
    """Return the recorded hours."""
    with database.connect() as connection:
        return connection.execute("select series_id, bucket from telemetry.late_hour order by 1, 2").fetchall()


def test_hours_that_ended_two_hours_ago_are_recorded(database):
    """Each late hour is recorded once per series; current readings and the hour before are not recorded."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    old = hour - 1000 * HOUR
    readings = [
        (1, hour), (2, hour - HOUR), (2, hour - 4 * HOUR), (2, hour - 4 * HOUR + timedelta(minutes=59)), (1, old),
    ]  # fmt: skip
    writer = Writer("mqtt", "test")
    writer.write(batch(*readings), lambda _: None)
    writer.close()
    assert noted(database) == [(1, old), (2, hour - 4 * HOUR)]


def test_further_readings_update_a_recorded_hour(database):
    """The record has the time of the last late reading, to the minute."""
    old = datetime(2025, 6, 1, tzinfo=UTC)
    writer = Writer("mqtt", "test")
    writer.write(batch((1, old)), lambda _: None)
    with database.connect() as connection:
        connection.execute("update telemetry.late_hour set noted_at = noted_at - interval '1 day'")
        writer.write(batch((1, old), (1, old + timedelta(minutes=1))), lambda _: None)
        age = connection.execute("select clock_timestamp() - noted_at from telemetry.late_hour").fetchall()[0][0]
    writer.close()
    assert age < timedelta(minutes=5)


def test_failed_transaction_records_nothing(database):
    """A transaction that fails after recording leaves neither hours nor readings."""
    with database.connect() as connection:
        connection.execute("alter table telemetry.intake add constraint broken check (source <> 'mqtt') not valid")
    writer = Writer("mqtt", "test")
    late = batch((1, datetime(2025, 6, 1, tzinfo=UTC)))
    with pytest.raises(psycopg.errors.CheckViolation):
        writer._commit(late)
    writer.close()
    assert noted(database) == []
    with database.connect() as connection:
        assert connection.execute("select count(*) from telemetry.reading").fetchone() == (0,)

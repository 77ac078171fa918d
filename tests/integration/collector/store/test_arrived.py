"""Messages that became readings are counted as the archive counts them."""

from datetime import UTC, datetime, timedelta

import pytest
from fix_archive import message, write
from pyarrow import fs

from collector.archive import verified_hours
from collector.archive.verify import verify
from collector.message import Decoded, Message
from collector.store.batch import Batch
from collector.store.superseded import microseconds
from collector.store.writer import Writer

HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC)


def decode(message: Message) -> Decoded:
    """Return one reading at the time in the payload, or none."""
    return Decoded([(1, microseconds(HOUR) + int(message.payload), 1.0)] if message.payload else [], [])


@pytest.fixture
def writer(database):
    """A writer of messages from MQTT."""
    writer = Writer("mqtt", "test")
    yield writer
    writer.close()


def counted(database) -> int:
    """Return the number of counted messages."""
    with database.connect() as connection:
        return int(connection.execute("select coalesce(sum(messages), 0) from telemetry.arrived").fetchone()[0])


def test_messages_that_store_readings_are_counted_once(database, writer):
    """Messages without readings, redelivered, retained or duplicate ones are not counted; new ones beside them are."""
    received = microseconds(HOUR)
    messages = [Message("t", str(number).encode(), received + number) for number in range(5)]
    for batch in (
        [*messages[:3], Message("t", b"", received)],
        messages[:4],
        [messages[4]._replace(redelivered=True), Message("t", b"7", received, retained=True)],
        messages,
    ):
        writer.write(Batch.of(batch, decode), decode)
    assert counted(database) == 4
    file_writer = Writer("file", "test")
    file_writer.write(Batch.of([Message("t", b"9", received)], decode), decode)
    file_writer.close()
    assert counted(database) == 4


@pytest.mark.parametrize("lost", [0, 1])
def test_the_archive_of_the_same_messages_lacks_none(database, writer, tmp_path, lost):
    """Collector and archive count equal messages, also with topics that are not UTF-8, in equal slots."""
    topics = [f"hall/{number}" for number in range(40)] + ["hall/\udcff"]
    messages = [
        message(number)._replace(topic=topics[number % 41], payload=str(number).encode()) for number in range(500)
    ]
    writer.write(Batch.of(messages, decode), decode)
    write(tmp_path, "20260301T120000000000Z-00000000", *messages[lost:], *messages[100 : 100 + lost])
    with database.connect() as connection:
        now = HOUR + timedelta(days=1)
        verify(fs.LocalFileSystem(), str(tmp_path), HOUR, {}, lambda hour: verified_hours.record(connection, hour, now))
        rows = connection.execute(
            "select messages from telemetry.archive_lacks(%s::date[])", ([HOUR.date()],)
        ).fetchall()
    assert rows == ([(1,)] if lost else [])

"""Writes readings to a database with the collector's writer, which also records late hours."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from fix_database import Database

from collector.message import Message
from collector.store.batch import POSTGRES_EPOCH, ROW, Accounts, Batch
from collector.store.writer import Writer

Reading = tuple[int, datetime, float]
"""(series_id, time, value)"""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def write(database: Database, readings: Iterable[Reading], delay: timedelta = timedelta(0)) -> None:
    """Store ``readings`` in one batch, in the order given, each received ``delay`` after it was measured."""
    rows = bytearray()
    count = 0
    for series_id, time, value in readings:
        instant = (time - _EPOCH) // _MICROSECOND - POSTGRES_EPOCH
        rows += ROW.pack(4, 8, instant, 4, series_id, 8, value, 8, instant + delay // _MICROSECOND)
        count += 1
    accounts = Accounts(messages=1, decoded=1, readings=count)
    writer = Writer("mqtt", "test", database.connect)
    writer.write(Batch.prepared([Message("t", b"", 0, False)], rows, [0] * count, [], accounts), lambda _: None)
    writer.close()

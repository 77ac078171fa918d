"""Files of an archive, as the archiver writes them."""

from datetime import UTC, datetime

from collector.archive.message_table import open_writer, row_groups, to_batch
from collector.message import Message

HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC)


def message(second: float, payload: bytes = b"{}") -> Message:
    """Make a message that arrived ``second`` seconds after the start of the hour."""
    return Message("t/a", payload, round((HOUR.timestamp() + second) * 1e6), False, 0, 1)


def write(directory, name, *messages, hour=HOUR):
    """Write a file of the archive, as the archiver does."""
    path = directory / f"date={hour:%Y-%m-%d}" / f"hour={hour:%H}" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file, open_writer(file) as parquet:
        for table in row_groups(iter([to_batch(messages)])):
            parquet.write_table(table)
    return path

"""Messages as Arrow tables and as row groups of the archive's Parquet files. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from collector.message import Message

Table: TypeAlias = Any
"""A ``pyarrow.Table``; its published type hints lack methods used here."""

_FIELDS: list[Any] = [
    pa.field("received", pa.timestamp("us", "UTC"), nullable=False),
    pa.field("topic", pa.string(), nullable=False),
    pa.field("payload", pa.binary(), nullable=False),
    pa.field("qos", pa.int8(), nullable=False),
    pa.field("retained", pa.bool_(), nullable=False),
]
SCHEMA = pa.schema(_FIELDS)
"""One row per message. Rows are not in order of arrival; ``received`` gives that order and is unique per session."""

FILE_SCHEMA = SCHEMA.set(1, pa.field("topic", pa.dictionary(pa.int32(), pa.string()), nullable=False))

ROW_GROUP_ROWS = 131_072
"""Messages in a row group; docs/decisions/0008-archive.md has the figures for this and the following settings."""
ROW_GROUP_BYTES = 32_000_000
"""Size of topics and payloads at which a row group ends, so that writing and reading it takes bounded memory."""

_LEVEL = 9
_ENCODINGS = {"received": "DELTA_BINARY_PACKED", "payload": "DELTA_BYTE_ARRAY"}


def to_batch(messages: Sequence[Message]) -> "pa.RecordBatch":
    """Return ``messages`` with the columns of :data:`SCHEMA`.

    A message whose arrival is unknown is written as a retained one, so that the time in ``received`` is not taken for
    that of its readings. A topic that is not UTF-8, which MQTT forbids and brokers refuse, is written with escapes, as
    in the quarantine.
    """
    topics, payloads, received, retained, _, qos, _, waited = zip(*messages, strict=True)
    try:
        texts = pa.array(topics, pa.string())
    except UnicodeEncodeError:
        texts = pa.array([topic.encode("utf-8", "backslashreplace") for topic in topics], pa.string())
    return pa.RecordBatch.from_arrays(
        [
            pa.array(received, pa.int64()).cast(SCHEMA.field("received").type),
            texts,
            pa.array(payloads, pa.binary()),
            pa.array(qos, pa.int8()),
            pa.array([flag or time > 0 for flag, time in zip(retained, waited, strict=True)], pa.bool_()),
        ],
        schema=SCHEMA,
    )


def to_messages(table: Table) -> Iterator[Message]:
    """Yield the rows of ``table`` as messages without a delivery to acknowledge."""
    columns = [table.column(name) for name in SCHEMA.names]
    columns[0] = columns[0].cast(pa.int64())
    for received, topic, payload, qos, retained in zip(*(column.to_pylist() for column in columns), strict=True):
        yield Message(topic, payload, received, retained, 0, qos)


def open_writer(file: Any) -> pq.ParquetWriter:
    """Return a writer of row groups to ``file``."""
    return pq.ParquetWriter(
        file,
        FILE_SCHEMA,
        compression="zstd",
        compression_level=_LEVEL,
        use_dictionary=["topic"],  # type: ignore[arg-type] # the hints know only True and False
        column_encoding=_ENCODINGS,
    )


def row_groups(batches: Iterator["pa.RecordBatch"]) -> Iterator[Table]:
    """Yield ``batches`` as row groups, each sorted by topic and then arrival.

    Similar messages are then neighbours, which halves the file; the row groups are in order of arrival.
    """
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if waiting and (rows + batch.num_rows > ROW_GROUP_ROWS or size + batch.nbytes > ROW_GROUP_BYTES):
            yield _row_group(waiting)
            waiting, rows, size = [], 0, 0
        waiting.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
    if waiting:
        yield _row_group(waiting)


def _row_group(batches: list["pa.RecordBatch"]) -> Table:
    table: Table = pa.Table.from_batches(batches, SCHEMA).combine_chunks()
    order = pc.sort_indices(table, sort_keys=[("topic", "ascending"), ("received", "ascending")])
    table = table.take(order)
    return table.set_column(1, FILE_SCHEMA.field("topic"), table.column("topic").dictionary_encode()).cast(FILE_SCHEMA)

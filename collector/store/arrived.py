"""``telemetry.arrived``: messages that became readings, counted by their content, to be compared with the archive.

Collector and archiver get a message in separate sessions, at different times, and each may get some again. So both
count the messages of each hour in :data:`SLOTS` slots, by a hash of topic and payload: an archive that lacks messages
of some topics, or has others instead, has a lower count in their slots, whatever it has more in the other slots.
"""

import zlib
from collections import Counter
from collections.abc import Collection
from typing import Any

import psycopg

from collector.store.batch import Batch

SOURCES = frozenset({"mqtt", "kafka"})
"""Sources whose messages an archive may have."""

SLOTS = 64
_PAYLOAD_SLOTS = 2
_HOUR = 3_600_000_000

_RECORD = """
insert into telemetry.arrived as recorded (hour, source, collector, slot, messages)
select to_timestamp(hour * 3600.0), %s, %s, slot, messages
from unnest(%s::bigint[], %s::smallint[], %s::bigint[]) as counted (hour, slot, messages)
on conflict (hour, source, collector, slot) do update set messages = recorded.messages + excluded.messages
"""
_RECORD_LIVE = """
insert into telemetry.live_series as recorded (series_id, last_arrived_at)
select series_id, now() from unnest(%s::integer[]) as live (series_id)
order by series_id
on conflict (series_id) do update set last_arrived_at = excluded.last_arrived_at
where recorded.last_arrived_at < excluded.last_arrived_at - interval '1 hour'
"""


def record_live(cursor: psycopg.Cursor[Any], series_ids: list[int]) -> None:
    """Record that readings of ``series_ids`` have arrived from a broker: these series can be silent."""
    cursor.execute(_RECORD_LIVE, (series_ids,))


def topic_hash(topic: str) -> int:
    """Return the part of :func:`slot` that the topic determines; a topic that is not UTF-8 is as in the archive."""
    return zlib.crc32(topic.encode(errors="backslashreplace")) % (SLOTS // _PAYLOAD_SLOTS)


def slot(of_topic: int, payload: bytes) -> int:
    """Return the slot of a message with ``payload`` whose topic has the :func:`topic_hash` ``of_topic``."""
    return of_topic * _PAYLOAD_SLOTS + zlib.crc32(payload) % _PAYLOAD_SLOTS


def record(
    cursor: psycopg.Cursor[Any],
    source: str,
    collector: str,
    batch: Batch,
    stored: Collection[tuple[int, int]] | None,
) -> None:
    """Count the messages of ``batch`` that have readings in ``stored``, their series and times; None: all readings.

    Messages that the broker sent before, or had stored before the subscription, are not counted: the archiver need not
    have got them again.
    """
    messages = batch.messages
    # Lists and dictionaries of one batch rather than calls per message: 1 µs instead of 4 for each.
    live = [
        (message.topic, message.payload, message.received // _HOUR)
        for message in (messages[position] for position in _positions(batch, stored))
        if not (message.redelivered or message.retained)
    ]
    hashes = {topic: topic_hash(topic) * _PAYLOAD_SLOTS for topic in {topic for topic, _, _ in live}}
    crc32 = zlib.crc32
    counts = Counter([(hour, hashes[topic] + crc32(payload) % _PAYLOAD_SLOTS) for topic, payload, hour in live])
    if counts:
        # In a fixed order, so that collectors of the same name don't deadlock.
        keys = sorted(counts)
        cursor.execute(
            _RECORD,
            (source, collector, [hour for hour, _ in keys], [slot for _, slot in keys], [counts[key] for key in keys]),
        )


def _positions(batch: Batch, stored: Collection[tuple[int, int]] | None) -> Collection[int]:
    if stored is None:
        return batch.with_readings()
    return {position for (series_id, time, _), position in batch.readings() if (series_id, time) in stored}

"""Records of Kafka as messages. docs/kafka.md describes the content of a record."""

import re
import time
from typing import Any

from confluent_kafka import Message as Record

from collector.message import Message

RETAINED = "retained"
QOS = "qos"
RECEIVED = "received"
WAITED = "waited"

_OFFSET_BITS = 48
_OFFSETS = (1 << _OFFSET_BITS) - 1
_ARRIVAL = re.compile(rb"[0-9]{1,17}")
"""Microseconds since 1970. Python refuses to convert thousands of digits to an integer."""
_EARLIEST = 946_684_800_000_000
"""2000-01-01, in microseconds since 1970: clocks that were never set start at 1970, and no message is older."""
_DAY = 86_400_000_000


def message_of(record: Record, topic_header: str) -> Message:
    """Return ``record`` as a message, the same each time it is read.

    ``delivery`` is its position; see :func:`partition_of` and :func:`offset_of`.
    """
    headers: dict[str, Any] = dict(record.headers() or ())
    topic = headers.get(topic_header)
    if topic is None:
        topic = record.key()
    arrival = headers.get(RECEIVED)
    received = int(arrival) if arrival is not None and _ARRIVAL.fullmatch(arrival) else 0
    qos, waited = headers.get(QOS), headers.get(WAITED)
    return Message(
        _text(topic),
        record.value() or b"",
        received if _is_plausible(received) else _arrival(record),
        headers.get(RETAINED) == b"1",
        (record.partition() or 0) << _OFFSET_BITS | (record.offset() or 0),
        int(qos) if qos in {b"0", b"1", b"2"} else 1,
        waited=int(waited) if waited is not None and _ARRIVAL.fullmatch(waited) else 0,
    )


def partition_of(delivery: int) -> int:
    """Return the partition of a message's ``delivery``: the bits above the 48th."""
    return delivery >> _OFFSET_BITS


def offset_of(delivery: int) -> int:
    """Return the offset of a message's ``delivery``: the lower 48 bits."""
    return delivery & _OFFSETS


def _text(raw: str | bytes | None) -> str:
    return raw.decode("utf-8", "surrogateescape") if isinstance(raw, bytes) else raw or ""


def _is_plausible(arrival: int) -> bool:
    """Return whether a message may have arrived then; readings without a time get the arrival as theirs.

    Up to a day ahead of this machine's clock is accepted: only nonsense from other machines is replaced.
    """
    return _EARLIEST <= arrival <= time.time_ns() // 1_000 + _DAY


def _arrival(record: Record) -> int:
    """Return the record's Kafka timestamp, in microseconds since 1970."""
    _, milliseconds = record.timestamp()
    if not _is_plausible(milliseconds * 1_000):
        return time.time_ns() // 1_000
    # Kafka counts milliseconds: two records of one millisecond must not collide where this is the time of a reading.
    return milliseconds * 1_000 + (record.offset() or 0) % 1_000

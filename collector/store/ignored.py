"""``telemetry.ignored``: which messages and values are no readings although nothing is wrong, by topic and reason."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from collector.message import IgnoredReason

MAX_TOPICS = 1_000
"""Distinct topics per hour; further ones are counted under :data:`OTHER_TOPICS`."""
OTHER_TOPICS = "#"
MAX_LEVELS = 6
MAX_LENGTH = 120
"""Levels and characters of a topic that are kept. Any client that may publish can invent topics."""

_HOUR = "select date_trunc('hour', now(), 'UTC')"
_KNOWN = "select distinct topic from telemetry.ignored where bucket = %s"
# Sorted, so that writers don't deadlock.
_RECORD = """
insert into telemetry.ignored as counted (bucket, source, topic, reason, messages, value_count)
select %s, %s, topic, reason, messages, value_count
from unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[]) as new (topic, reason, messages, value_count)
order by topic, reason
on conflict (bucket, source, topic, reason) do update set
    messages = counted.messages + excluded.messages,
    value_count = counted.value_count + excluded.value_count
"""


class Ignored(NamedTuple):
    """Counts for one topic and reason."""

    messages: int = 0
    values: int = 0

    def plus(self, other: "Ignored") -> "Ignored":
        """Return the sum of both."""
        return Ignored(self.messages + other.messages, self.values + other.values)


Key = tuple[str, IgnoredReason]
"""Topic and reason."""
Counts = dict[Key, Ignored]


def count(
    counts: Counts, topic: str, reason: IgnoredReason | None, values: Mapping[IgnoredReason, int] | None = None
) -> None:
    """Add a message of ``topic`` to ``counts``: ignored as a whole for ``reason``, or None, and its ignored values."""
    if reason is not None:
        add(counts, (topic, reason), Ignored(messages=1))
    if values:
        for reason_of_value, number in values.items():
            add(counts, (topic, reason_of_value), Ignored(values=number))


def add(counts: Counts, key: Key, number: Ignored) -> None:
    """Add ``number`` to ``counts`` under ``key``."""
    known = counts.get(key)
    counts[key] = number if known is None else known.plus(number)


def by_reason(counts: Counts) -> Counter[str]:
    """Return the messages and values of ``counts`` together, by reason."""
    reasons: Counter[str] = Counter()
    for (_, reason), number in counts.items():
        reasons[reason.value] += number.messages + number.values
    return reasons


def shortened(topic: str) -> str:
    """Return ``topic`` with at most :data:`MAX_LEVELS` levels and :data:`MAX_LENGTH` characters."""
    levels = topic.split("/", MAX_LEVELS)
    if len(levels) > MAX_LEVELS:
        topic = "/".join(levels[:MAX_LEVELS]) + "/#"
    return topic if len(topic) <= MAX_LENGTH else topic[: MAX_LENGTH - 1] + "…"


def file_name(topic: str) -> str:
    """Return the name of the file of a row, whose topic is ``name:number``."""
    name, _, number = topic.rpartition(":")
    return name if name and number.isascii() and number.isdigit() else topic


class Topics:
    """The topics that have rows in the current hour, at most :data:`MAX_TOPICS`."""

    def __init__(self) -> None:
        self._hour: datetime | None = None
        self._known: set[str] = set()

    def start(self, hour: datetime, known: Iterable[str]) -> None:
        """Begin ``hour``, for which ``known`` topics have rows."""
        self._hour, self._known = hour, set(known)

    def is_current(self, hour: datetime) -> bool:
        """Return whether the topics are those of ``hour``."""
        return self._hour == hour

    def group(self, counts: Counts, source: str) -> Counts:
        """Return ``counts`` by topics as they are stored."""
        grouped: Counts = {}
        for (topic, reason), number in counts.items():
            short = shortened(file_name(topic) if source == "file" else topic)
            if short not in self._known:
                if len(self._known) < MAX_TOPICS:
                    self._known.add(short)
                else:
                    short = OTHER_TOPICS
            add(grouped, (short, reason), number)
        return grouped


def record(cursor: psycopg.Cursor[Any], topics: Topics, source: str, counts: Counts) -> None:
    """Add ``counts`` to the rows of the current hour."""
    row = cursor.execute(_HOUR).fetchone()
    assert row is not None
    (hour,) = row
    if not topics.is_current(hour):
        # Also the topics of other collectors and of a process before this one.
        topics.start(hour, [topic for (topic,) in cursor.execute(_KNOWN, (hour,)).fetchall()])
    grouped = topics.group(counts, source)
    cursor.execute(
        _RECORD,
        (
            hour,
            source,
            [storable_text(topic) for topic, _ in grouped],
            [reason.value for _, reason in grouped],
            [number.messages for number in grouped.values()],
            [number.values for number in grouped.values()],
        ),
    )


def storable_text(raw: str) -> str:
    """Return ``raw`` as valid text of PostgreSQL: NUL and lone surrogates are escaped."""
    return raw.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()

"""Repeated rejections: a probe that is unplugged for weeks must not fill the quarantine.

Rejections of :data:`REASONS` with the same source, topic and detail, which names quantity and value, share a row per
hour of arrival: the payload is that of the first, ``readings`` counts all, ``repeats`` the further messages.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg

from collector.message import Reason
from collector.store.batch import Quarantined
from collector.store.ignored import storable_text
from collector.store.superseded import instant

REASONS = frozenset({Reason.NOT_FINITE})
_HOUR = 3_600_000_000

_Key = tuple[str, str, int, int]
"""Topic, detail, readings of a message, and hour since 1970."""

# Rows of one hour: of two writers at the same time each may insert one, which is harmless.
_REPEAT = """
update telemetry.quarantine set
    readings = readings + %(readings)s,
    repeats = repeats + %(repeats)s,
    last_received_at = greatest(last_received_at, received_at, %(received)s)
where id = (
    select id from telemetry.quarantine
    where
        reason = 'not_finite' and replayed_at is null and discarded_at is null
        and md5(topic) = md5(%(topic)s) and topic = %(topic)s
        and received_at >= %(begin)s and received_at < %(begin)s + interval '1 hour'
        and source = %(source)s and detail = %(detail)s and readings = (repeats + 1) * %(per_message)s
    order by id limit 1
)
"""


class Row(NamedTuple):
    """One row to insert into ``telemetry.quarantine``."""

    quarantined: Quarantined
    repeats: int = 0
    """Further messages that the row counts."""
    last_received: int | None = None
    """Arrival of the last of them."""


def merge(cursor: psycopg.Cursor[Any], source: str, quarantined: Sequence[Quarantined]) -> list[Row]:
    """Count repeated rejections in the rows of their hour; return the rows that are to be inserted."""
    groups: dict[_Key, list[Quarantined]] = {}
    for row in quarantined:
        if _is_repeatable(row):
            groups.setdefault(_key(row), []).append(row)
    rows = []
    for row in quarantined:
        if not _is_repeatable(row):
            rows.append(Row(row))
            continue
        of_hour = groups.pop(_key(row), None)
        if of_hour is None or _repeat(cursor, source, of_hour):
            continue
        if len(of_hour) == 1:
            rows.append(Row(row))
            continue
        rejection = row.rejection._replace(readings=row.rejection.readings * len(of_hour))
        last = max(repeat.message.received for repeat in of_hour)
        rows.append(Row(Quarantined(row.message, rejection), len(of_hour) - 1, last))
    return rows


def _is_repeatable(row: Quarantined) -> bool:
    return row.rejection.reason in REASONS and row.rejection.readings > 0


def _key(row: Quarantined) -> _Key:
    return row.message.topic, row.rejection.detail, row.rejection.readings, row.message.received // _HOUR


def _repeat(cursor: psycopg.Cursor[Any], source: str, rows: list[Quarantined]) -> bool:
    """Count ``rows``, which are equal but for their payload, in the row of their hour; return whether there is one."""
    message, rejection = rows[0]
    cursor.execute(
        _REPEAT,
        {
            "source": source,
            "topic": storable_text(message.topic),
            "detail": storable_text(rejection.detail),
            "per_message": rejection.readings,
            "readings": rejection.readings * len(rows),
            "repeats": len(rows),
            "received": instant(max(row.message.received for row in rows)),
            "begin": instant(message.received // _HOUR * _HOUR),
        },
    )
    return cursor.rowcount > 0

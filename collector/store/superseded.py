"""``telemetry.superseded``: values that a later publish of the same instant has replaced."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from collector.store.equal_times import Change, Key, Stored, publish_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_SELECT = """
select series_id, time, value, replaced_by, source, received_at
from telemetry.superseded
inner join unnest(%s::integer[], %s::timestamptz[]) as wanted (series_id, time) using (series_id, time)
"""
_REPLACE = """
select telemetry.replace_readings(
    %s::integer[], %s::timestamptz[], %s::double precision[], %s::double precision[], %s::timestamptz[], %s,
    %s::timestamptz[]
)
"""
_RECORD = """
insert into telemetry.superseded (series_id, time, value, replaced_by, source, received_at, replaced_at)
select series_id, time, value, replaced_by, source, received_at, clock_timestamp()
from unnest(%s::integer[], %s::timestamptz[], %s::double precision[], %s::double precision[], %s::text[],
    %s::timestamptz[]) as other (series_id, time, value, replaced_by, source, received_at)
on conflict (series_id, time, value) do update set
    replaced_by = excluded.replaced_by,
    source = excluded.source,
    received_at = excluded.received_at,
    replaced_at = excluded.replaced_at
"""


def instant(microseconds: int) -> datetime:
    """Return the time that is ``microseconds`` after 1970-01-01 UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def microseconds(when: datetime) -> int:
    """Return the microseconds from 1970-01-01 UTC to ``when``."""
    return (when - _EPOCH) // _MICROSECOND


def load(connection: psycopg.Connection[Any], stored: Mapping[Key, Stored]) -> None:
    """Complete ``stored`` with the values that were replaced, and by which messages."""
    series_ids, times = _columns(list(stored))
    rows: dict[Key, list[tuple[float, float, str | None, int]]] = {}
    for series_id, time, value, replaced_by, source, received in connection.execute(_SELECT, (series_ids, times)):
        rows.setdefault((series_id, microseconds(time)), []).append(
            (value, replaced_by, source, microseconds(received))
        )
    for key, of_key in rows.items():
        state = stored[key]
        state.superseded = {value for value, *_ in of_key}
        state.publish = publish_of(state.value, (row[1:] for row in of_key))


def save(connection: psycopg.Connection[Any], changes: Mapping[Key, Change], source: str) -> None:
    """Give the readings of ``changes`` their new values and record the replaced ones.

    ``source`` is that of the batch. Raises ``psycopg.errors.SerializationFailure`` if another transaction has changed
    one of the readings since it was read.
    """
    # In the order of keys, so that writers don't deadlock.
    changed = [(key, change) for key, change in sorted(changes.items()) if change.value != change.before]
    if changed:
        connection.execute(
            _REPLACE,
            (
                *_columns([key for key, _ in changed]),
                [change.before for _, change in changed],
                [change.value for _, change in changed],
                [instant(change.received) for _, change in changed],
                source,
                [instant(change.publish.received if change.publish else change.received) for _, change in changed],
            ),
        )
    others = [(key, change, value) for key, change in sorted(changes.items()) for value in sorted(change.superseded)]
    if others:
        connection.execute(
            _RECORD,
            (
                *_columns([key for key, _, _ in others]),
                [value for _, _, value in others],
                [change.value for _, change, _ in others],
                [change.publish.source if change.publish else None for _, change, _ in others],
                [instant(change.publish.received if change.publish else change.received) for _, change, _ in others],
            ),
        )


def _columns(keys: Sequence[Key]) -> tuple[list[int], list[datetime]]:
    return [series_id for series_id, _ in keys], [instant(time) for _, time in keys]

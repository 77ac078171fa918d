"""Repeated rejections: an unplugged probe, or a file that is loaded again, must not fill the quarantine.

Rejections of :data:`REASONS` with the same source, topic and detail, which names quantity and value, share a row per
hour of arrival: the payload is that of the first, ``readings`` counts all, ``repeats`` the further messages. Rejections
of one row of a file share a row for as long as it is open.

A device that sends nothing but unusable messages must not fill it either: beyond a budget of payloads per topic and
day, rejections share a row per hour, reason and slot, a hash of the topic, which has their size, number and the hash of
the last payload. The archive has the messages.
"""

import hashlib
import zlib
from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

import psycopg

from collector.message import Message, Reason
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


# Whoever loads a file again does it once the first load has ended; two loads at a time may each insert a row.
_REPEAT_OF_FILE = """
update telemetry.quarantine as q set
    readings = q.readings + again.readings * again.times,
    repeats = q.repeats + again.times,
    last_received_at = greatest(q.last_received_at, %(received)s)
from unnest(%(keys)s::text[], %(reasons)s::text[], %(details)s::text[], %(readings)s::integer[], %(times)s::integer[])
    with ordinality as again (key, reason, detail, readings, times, number)
where q.id = (
    select min(id) from telemetry.quarantine as known
    where
        known.source = 'file' and known.replayed_at is null and known.discarded_at is null
        and md5(known.topic || encode(known.payload, 'hex')) = again.key
        and known.reason = again.reason and known.detail = again.detail
        and known.readings = (known.repeats + 1) * again.readings
)
returning again.number
"""


SLOTS = 1024
"""Topics are counted by a hash: a device that invents topics has no more budgets than this, each day."""
_ROW_BYTES = 200
"""What a row takes beside topic and payload."""
_WITHOUT_LIMIT = frozenset({Reason.ARRIVAL_UNKNOWN})
"""The archive settles their rows by the payload; the broker's queue limits their number."""
_USE = """
insert into telemetry.quarantine_usage as used (day, slot, bytes)
select day, slot, bytes from unnest(%s::date[], %s::smallint[], %s::bigint[]) as further (day, slot, bytes)
order by day, slot
on conflict (day, slot) do update set bytes = used.bytes + excluded.bytes
returning day, slot, bytes
"""
_REPEAT_OMITTED = """
update telemetry.quarantine set
    readings = readings + %(readings)s,
    repeats = repeats + %(messages)s,
    omitted_bytes = omitted_bytes + %(size)s,
    omitted_sha256 = %(sha256)s,
    last_received_at = greatest(last_received_at, received_at, %(received)s)
where id = (
    select id from telemetry.quarantine
    where
        omitted_slot = %(slot)s and replayed_at is null and discarded_at is null
        and received_at >= %(begin)s and received_at < %(begin)s + interval '1 hour'
        and reason = %(reason)s and source = %(source)s and (readings = 0) = %(whole)s
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
    omitted: "Omitted | None" = None
    """None: the payload is kept."""


class Omitted(NamedTuple):
    """Payloads that a row does not keep."""

    size: int
    """Bytes of all of them."""
    sha256: bytes
    """Of the last one."""
    slot: int
    """Hash of the topic."""


def merge(cursor: psycopg.Cursor[Any], source: str, quarantined: Sequence[Quarantined]) -> list[Row]:
    """Count repeated rejections in the rows that there are; return the rows that are to be inserted."""
    if source == "file":
        return _merge_of_files(cursor, quarantined)
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
        rows.append(_row(of_hour))
    return rows


def within_budget(cursor: psycopg.Cursor[Any], source: str, rows: Sequence[Row], budget: int) -> list[Row]:
    """Return the rows to insert so that no topic has more than about ``budget`` bytes of them per day."""
    slots = [zlib.crc32(storable_text(row.quarantined.message.topic).encode()) % SLOTS for row in rows]
    days = [instant(row.quarantined.message.received).date() for row in rows]
    sizes = [
        0 if row.quarantined.rejection.reason in _WITHOUT_LIMIT
        else len(row.quarantined.message.payload) + len(row.quarantined.message.topic) + _ROW_BYTES
        for row in rows
    ]  # fmt: skip
    further: Counter[tuple[date, int]] = Counter()
    for day, slot, size in zip(days, slots, sizes, strict=True):
        further[day, slot] += size
    keys = list(further)
    cursor.execute(_USE, ([day for day, _ in keys], [slot for _, slot in keys], list(further.values())))
    used = {(day, slot): total - further[day, slot] for day, slot, total in cursor}
    kept: list[Row] = []
    omitted: dict[tuple[int, int, Reason, bool], list[Row]] = {}
    for row, day, slot, size in zip(rows, days, slots, sizes, strict=True):
        used[day, slot] += size
        if not size or used[day, slot] <= budget:
            kept.append(row)
            continue
        message, rejection = row.quarantined
        key = slot, message.received // _HOUR, rejection.reason, rejection.readings == 0
        omitted.setdefault(key, []).append(row)
    for (slot, *_), of_key in omitted.items():
        row = _without_payloads(of_key, slot)
        if not _repeat_omitted(cursor, source, row):
            kept.append(row)
    return kept


def _without_payloads(rows: Sequence[Row], slot: int) -> Row:
    """Return one row for ``rows``, of one hour and reason, without their payloads."""
    message, rejection = rows[0].quarantined
    last = rows[-1].quarantined.message
    omitted = Omitted(
        sum(len(row.quarantined.message.payload) for row in rows), hashlib.sha256(last.payload).digest(), slot
    )
    repeats = sum(row.repeats + 1 for row in rows) - 1
    readings = sum(row.quarantined.rejection.readings for row in rows)
    return Row(
        Quarantined(message._replace(payload=b""), rejection._replace(readings=readings)),
        repeats,
        max(row.last_received or row.quarantined.message.received for row in rows) if repeats else None,
        omitted,
    )


def _repeat_omitted(cursor: psycopg.Cursor[Any], source: str, row: Row) -> bool:
    """Count ``row`` in the row of its hour; return whether there is one."""
    message, rejection = row.quarantined
    assert row.omitted is not None
    cursor.execute(
        _REPEAT_OMITTED,
        {
            "source": source,
            "slot": row.omitted.slot,
            "reason": rejection.reason.value,
            "whole": rejection.readings == 0,
            "readings": rejection.readings,
            "messages": row.repeats + 1,
            "size": row.omitted.size,
            "sha256": row.omitted.sha256,
            "received": instant(row.last_received or message.received),
            "begin": instant(message.received // _HOUR * _HOUR),
        },
    )
    return cursor.rowcount > 0


def _merge_of_files(cursor: psycopg.Cursor[Any], quarantined: Sequence[Quarantined]) -> list[Row]:
    groups: dict[tuple[str, Reason, str, int], list[Quarantined]] = {}
    for row in quarantined:
        message, rejection = row
        key = content_key(message), rejection.reason, storable_text(rejection.detail), rejection.readings
        groups.setdefault(key, []).append(row)
    keys, reasons, details, readings = map(list, zip(*groups, strict=True))
    arguments = {
        "keys": keys,
        "reasons": reasons,
        "details": details,
        "readings": readings,
        "times": [len(rows) for rows in groups.values()],
        "received": instant(quarantined[-1].message.received),
    }
    known = {number - 1 for (number,) in cursor.execute(_REPEAT_OF_FILE, arguments)}
    return [_row(rows) for position, rows in enumerate(groups.values()) if position not in known]


def content_key(message: Message) -> str:
    """Return the hash of topic and payload, as the indexes of ``telemetry.quarantine`` have it."""
    text = storable_text(message.topic).encode() + message.payload.hex().encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def _row(equal: list[Quarantined]) -> Row:
    """Return one row for rejections that are equal but for their payload."""
    first = equal[0]
    if len(equal) == 1:
        return Row(first)
    rejection = first.rejection._replace(readings=first.rejection.readings * len(equal))
    last = max(repeat.message.received for repeat in equal)
    return Row(Quarantined(first.message, rejection), len(equal) - 1, last)


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

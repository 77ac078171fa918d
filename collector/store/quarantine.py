"""The quarantine: list, show, discard, and replay messages after the registry was corrected."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from collector.message import Message, NoReadingError, Reason, UndecodableError
from collector.registry.discovery import UnregisteredError
from collector.store.batch import Batch, Decode, content
from collector.store.repeated import content_key
from collector.store.superseded import instant
from collector.store.writer import Writer
from core import database
from core.errors import WarehouseError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MESSAGES_PER_TRANSACTION = 1000

_OPEN = "replayed_at is null and discarded_at is null"
_SUMMARY = f"""
select reason, count(*), sum(readings), min(received_at), max(received_at)
from telemetry.quarantine where {_OPEN} group by reason order by count(*) desc, reason
"""  # noqa: S608 - constant text
_LIST = f"""
select id, received_at, source, topic, reason, detail, readings, coalesce(omitted_bytes, octet_length(payload))
from telemetry.quarantine
where {_OPEN} and (%(reason)s::text is null or reason = %(reason)s)
order by id desc limit %(limit)s
"""  # noqa: S608
_SHOW = """
select id, received_at, quarantined_at, source, topic, reason, detail, readings, retained, waited, replayed_at,
    discarded_at, repeats, last_received_at, file_options, omitted_bytes,
    encode(omitted_sha256, 'hex') as omitted_sha256, payload
from telemetry.quarantine where id = %s
"""
_DISCARD_REASON = f"update telemetry.quarantine set discarded_at = now() where reason = %s and {_OPEN}"  # noqa: S608
_DISCARD = f"update telemetry.quarantine set discarded_at = now() where id = any(%s) and {_OPEN} returning id"  # noqa: S608

# Each message is selected by the first of its open rows; all its open rows are replayed together. One transaction takes
# messages of up to 32 MB, at least one.
_SELECT_MESSAGES = f"""
with selected as (
    select id, source, topic, received_at, payload,
        sum(octet_length(payload)) over (order by id) - octet_length(payload) as before
    from telemetry.quarantine as q
    where {_OPEN} and omitted_bytes is null and id > %(after)s and id <= %(last)s
        and (%(reason)s::text is null or reason = %(reason)s)
        and not exists (
            select from telemetry.quarantine as o
            where o.replayed_at is null and o.discarded_at is null and o.id < q.id
                and (%(reason)s::text is null or o.reason = %(reason)s)
                and (o.received_at, o.source, o.topic, o.payload) = (q.received_at, q.source, q.topic, q.payload)
        )
    order by id limit {_MESSAGES_PER_TRANSACTION}
)

select selected.id, r.topic, r.received_at, r.payload, r.retained, r.waited, r.file_options,
    array_agg(r.id order by r.id), array_agg(r.reason order by r.id),
    array_agg(r.readings / (r.repeats + 1) order by r.id)
from selected
inner join telemetry.quarantine as r using (received_at, source, topic, payload)
where selected.before < 32000000 and r.replayed_at is null and r.discarded_at is null and r.omitted_bytes is null
    and r.id <= %(last)s
group by selected.id, r.topic, r.received_at, r.payload, r.retained, r.waited, r.file_options
order by selected.id
"""  # noqa: S608
# Only one replay at a time: two would both find a message open.
_LOCK = "select from telemetry.lock where name = 'quarantine' for update"
# The key is that of the index quarantine_arrival_unknown.
_SELECT_ARRIVAL_UNKNOWN = f"""
select id, md5(topic || encode(payload, 'hex')), received_at, waited
from telemetry.quarantine
where reason = 'arrival_unknown' and {_OPEN} and md5(topic || encode(payload, 'hex')) = any(%(keys)s)
    and received_at >= %(first)s and received_at - waited <= %(last)s
order by received_at, id
"""  # noqa: S608
_ANY_ARRIVAL_UNKNOWN = f"select exists (select from telemetry.quarantine where reason = 'arrival_unknown' and {_OPEN})"  # noqa: S608
_CLOCKS = timedelta(seconds=1)
"""Difference that the clocks of archiver and collector may have, and their messages on the way."""
_MARK_REPLAYED = "update telemetry.quarantine set replayed_at = now() where id = any(%s)"


class NotInQuarantineError(WarehouseError):
    """No open quarantine row has this id."""


@dataclass
class ReplayResult:
    """Counts of a replay."""

    messages: int = 0
    """Messages that were decoded again and marked as replayed."""
    unchanged: int = 0
    """Messages that would be quarantined for the same reasons again; they stay open."""
    readings: int = 0
    """Readings that were stored, or replaced others."""
    arrival_unknown: int = 0
    """Of the unchanged messages those whose arrival is unknown."""

    def add(self, other: "ReplayResult") -> None:
        """Add the counts of ``other``."""
        self.messages += other.messages
        self.unchanged += other.unchanged
        self.readings += other.readings
        self.arrival_unknown += other.arrival_unknown


@dataclass
class _OpenMessage:
    """A message and its open quarantine rows."""

    message: Message
    rows: list[int]
    reasons: set[str]
    readings: int
    """Number of its quarantined readings; 0: the message as a whole is quarantined."""
    decode: Decode


def summary(connection: database.Connection) -> list[tuple[Any, ...]]:
    """Return (reason, messages, readings, earliest, latest) of the open rows."""
    return connection.execute(_SUMMARY).fetchall()


def list_open(connection: database.Connection, reason: Reason | None, limit: int) -> list[tuple[Any, ...]]:
    """Return (id, received_at, source, topic, reason, detail, readings, bytes) of open rows, latest first."""
    return connection.execute(_LIST, {"reason": reason, "limit": limit}).fetchall()


def get_row(connection: database.Connection, row_id: int) -> dict[str, Any]:
    """Return one row as a mapping of column to value; raises :class:`NotInQuarantineError`."""
    cursor = connection.execute(_SHOW, (row_id,))
    row = cursor.fetchone()
    if row is None or cursor.description is None:
        raise NotInQuarantineError(f"no quarantine row {row_id}; `collector quarantine list` shows the open rows")
    return dict(zip((column.name for column in cursor.description), row, strict=True))


def discard(connection: database.Connection, row_ids: Sequence[int]) -> None:
    """Mark rows as never to be replayed; they stay readable. Raises :class:`NotInQuarantineError`."""
    with connection.transaction():
        discarded = {row[0] for row in connection.execute(_DISCARD, (list(row_ids),))}
        missing = sorted(set(row_ids) - discarded)
        if missing:
            raise NotInQuarantineError(
                f"not open in quarantine: {', '.join(map(str, missing))}; nothing was discarded. "
                "`collector quarantine list` shows the open rows."
            )


def discard_reason(connection: database.Connection, reason: Reason) -> int:
    """Mark all open rows with ``reason`` as never to be replayed; return their number."""
    return connection.execute(_DISCARD_REASON, (reason,)).rowcount


def replay(
    writer: Writer,
    decode: Decode,
    reason: Reason | None = None,
    *,
    at_arrival: bool = False,
    decoder_of_rows: Callable[[str], Decode] | None = None,
) -> Iterator[ReplayResult]:
    """Decode open messages (for ``reason``, or all) again; yield the counts of each transaction.

    ``decoder_of_rows`` returns the decoder for rows of files with the given ``file_options``.

    Readings without their own time stay in quarantine if their arrival is unknown; ``at_arrival`` stores them with
    the time of their arrival.

    If more of a message now becomes readings, it is written like a new one and its old rows are marked as replayed, in
    one transaction: so it is replayed once, and counts as one more message, of source ``replay``. Other messages stay
    open.
    """
    # Rows that the replay itself adds to the quarantine come after the current last row.
    last = writer.connection().execute("select coalesce(max(id), 0) from telemetry.quarantine").fetchall()[0][0]
    after = 0
    while True:
        connection = writer.connection()
        with connection.transaction():
            connection.execute(_LOCK)
            rows = connection.execute(_SELECT_MESSAGES, {"after": after, "last": last, "reason": reason}).fetchall()
            if not rows:
                return
            after = rows[-1][0]
            opened = [
                _open_message(
                    *row[1:],
                    at_arrival=at_arrival,
                    decode=decode if row[6] is None or decoder_of_rows is None else decoder_of_rows(row[6]),
                )
                for row in rows
            ]
            result = _replay(writer, connection, opened)
        yield result


def settle_arrivals(connection: database.Connection, archived: Sequence[Message]) -> None:
    """Mark the rows that :func:`match_arrivals` assigns as replayed, in the transaction that stores ``archived``."""
    if assigned := match_arrivals(connection, archived):
        connection.execute(_MARK_REPLAYED, (list(assigned.values()),))


def match_arrivals(connection: database.Connection, archived: Sequence[Message]) -> dict[int, int]:
    """Return the open row of unknown arrival of each message in ``archived`` that has one, by its position.

    A row's message has the same topic and payload, and arrived in the time during which the row's may have waited; no
    row has two messages. Messages that are equal are assigned from the latest to the earliest: those before an outage
    were stored at once. ``archived`` is in the order of arrival.
    """
    if not archived or not connection.execute(_ANY_ARRIVAL_UNKNOWN).fetchall()[0][0]:
        return {}
    keys = [content_key(message) for message in archived]
    first, last = (instant(message.received) for message in (archived[0], archived[-1]))
    bounds = {"keys": list(set(keys)), "first": first - _CLOCKS, "last": last + _CLOCKS}
    rows: dict[str, list[tuple[int, datetime, timedelta]]] = {}
    for row_id, key, received_at, waited in connection.execute(_SELECT_ARRIVAL_UNKNOWN, bounds):
        rows.setdefault(key, []).append((row_id, received_at, waited))
    assigned = {}
    for position in range(len(archived) - 1, -1, -1):
        message, open_rows = archived[position], rows.get(keys[position])
        if open_rows is None or message.measured is None:
            continue
        arrival = instant(message.received)
        for row in reversed(open_rows):
            if row[1] - row[2] - _CLOCKS <= arrival <= row[1] + _CLOCKS:
                assigned[position] = row[0]
                open_rows.remove(row)
                break
    return assigned


def _open_message(
    topic: str,
    received_at: datetime,
    payload: bytes,
    retained: bool,  # noqa: FBT001 - a column
    waited: timedelta,
    _file_options: str | None,
    rows: list[int],
    reasons: list[str],
    readings: list[int],
    *,
    at_arrival: bool,
    decode: Decode,
) -> _OpenMessage:
    received = (received_at - _EPOCH) // timedelta(microseconds=1)
    message = Message(
        topic, payload, received, retained, waited=0 if at_arrival else waited // timedelta(microseconds=1)
    )
    return _OpenMessage(message, rows, set(reasons), sum(readings), decode)


def _replay(writer: Writer, connection: database.Connection, messages: list[_OpenMessage]) -> ReplayResult:
    result = ReplayResult()
    improved: dict[Decode, list[_OpenMessage]] = {}
    for message in messages:
        # Only the database can detect a conflict: such messages are always tried.
        if message.reasons & {Reason.CONFLICTING_VALUE, Reason.REFUSED_BY_DATABASE}:
            result.add(_try(writer, connection, message))
        elif _is_improved(message):
            improved.setdefault(message.decode, []).append(message)
        else:
            result.unchanged += 1
            result.arrival_unknown += Reason.ARRIVAL_UNKNOWN in message.reasons
    for decode, group in improved.items():
        accounts = writer.write(Batch.of((message.message for message in group), decode), decode)
        connection.execute(_MARK_REPLAYED, ([row for message in group for row in message.rows],))
        result.add(ReplayResult(messages=len(group), readings=accounts.stored + accounts.replaced))
    return result


def _try(writer: Writer, connection: database.Connection, message: _OpenMessage) -> ReplayResult:
    """Replay one message; roll back unless the database now accepts a reading that it refused before."""
    with connection.transaction() as attempt:
        accounts = writer.write(Batch.of([message.message], message.decode), message.decode)
        if not (accounts.stored or accounts.replaced):
            raise psycopg.Rollback(attempt)
        connection.execute(_MARK_REPLAYED, (message.rows,))
        return ReplayResult(messages=1, readings=accounts.stored + accounts.replaced)
    return ReplayResult(unchanged=1)


def _is_improved(message: _OpenMessage) -> bool:
    """Return whether decoding the message now rejects less of it than its rows hold."""
    try:
        decoded = content(message.message, message.decode)
    except (NoReadingError, UnregisteredError):  # UnregisteredError: only registration is missing
        return True
    except UndecodableError:
        return False
    rejected = sum(rejection.readings for rejection in decoded.rejections)
    return bool(decoded.readings) and (not message.readings or rejected < message.readings)

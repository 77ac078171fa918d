"""What could not become a reading: list it, look at it, replay it once the registry is mended, or discard it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from collector.message import Message, NoReadingError, Reason, UndecodableError
from collector.registry.discovery import UnregisteredError
from collector.store.batch import Batch, Decode
from collector.store.writer import Writer
from core import database
from core.errors import WarehouseError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AT_A_TIME = 1000

_OPEN = "replayed_at is null and discarded_at is null"
_SUMMARY = f"""
select reason, count(*), sum(readings), min(received_at), max(received_at)
from telemetry.quarantine where {_OPEN} group by reason order by count(*) desc, reason
"""  # noqa: S608 - text of ours
_LIST = f"""
select id, received_at, source, topic, reason, detail, readings, octet_length(payload)
from telemetry.quarantine
where {_OPEN} and (%(reason)s::text is null or reason = %(reason)s)
order by id desc limit %(limit)s
"""  # noqa: S608
_SHOW = """
select id, received_at, quarantined_at, source, topic, reason, detail, readings, retained, replayed_at, discarded_at,
    payload
from telemetry.quarantine where id = %s
"""
_DISCARD_REASON = f"update telemetry.quarantine set discarded_at = now() where reason = %s and {_OPEN}"  # noqa: S608
_DISCARD = f"update telemetry.quarantine set discarded_at = now() where id = any(%s) and {_OPEN} returning id"  # noqa: S608

# A message stands for itself in its first row that is asked for; all its open rows are replayed with it. So many
# messages a transaction as 32 MB hold, one at least.
_CHOOSE = f"""
with asked as (
    select id, source, topic, received_at, payload,
        sum(octet_length(payload)) over (order by id) - octet_length(payload) as before
    from telemetry.quarantine as q
    where {_OPEN} and id > %(after)s and id <= %(last)s and (%(reason)s::text is null or reason = %(reason)s)
        and not exists (
            select from telemetry.quarantine as o
            where o.replayed_at is null and o.discarded_at is null and o.id < q.id
                and (%(reason)s::text is null or o.reason = %(reason)s)
                and (o.received_at, o.source, o.topic, o.payload) = (q.received_at, q.source, q.topic, q.payload)
        )
    order by id limit {_AT_A_TIME}
)

select asked.id, r.topic, r.received_at, r.payload, r.retained,
    array_agg(r.id order by r.id), array_agg(r.reason order by r.id), array_agg(r.readings order by r.id)
from asked
inner join telemetry.quarantine as r using (received_at, source, topic, payload)
where asked.before < 32000000 and r.replayed_at is null and r.discarded_at is null and r.id <= %(last)s
group by asked.id, r.topic, r.received_at, r.payload, r.retained
order by asked.id
"""  # noqa: S608
# Replays follow each other: two at once would both find a message open.
_LOCK = "select pg_advisory_xact_lock(hashtext('telemetry.quarantine'))"
_SETTLE = "update telemetry.quarantine set replayed_at = now() where id = any(%s)"


class NotInQuarantineError(WarehouseError):
    """No open quarantine row has this id."""


@dataclass
class Replay:
    """What a replay did."""

    messages: int = 0
    """Messages that were decoded anew and settled."""
    unchanged: int = 0
    """Messages that would end in quarantine for the same reasons; they stay as they are."""
    readings: int = 0
    """Readings that were stored."""


@dataclass
class _Waiting:
    """A message and its open quarantine rows."""

    message: Message
    rows: list[int]
    reasons: set[str]
    readings: int
    """How many of its readings are held back; 0: it is held back as a whole."""


def summary(connection: database.Connection) -> list[tuple[Any, ...]]:
    """Return (reason, messages, readings, earliest, latest) for what is open."""
    return connection.execute(_SUMMARY).fetchall()


def listed(connection: database.Connection, reason: Reason | None, limit: int) -> list[tuple[Any, ...]]:
    """Return (id, received_at, source, topic, reason, detail, readings, bytes) of open rows, latest first."""
    return connection.execute(_LIST, {"reason": reason, "limit": limit}).fetchall()


def show(connection: database.Connection, row_id: int) -> dict[str, Any]:
    """Return one row as a mapping of column to value; raises :class:`NotInQuarantineError`."""
    cursor = connection.execute(_SHOW, (row_id,))
    row = cursor.fetchone()
    if row is None or cursor.description is None:
        raise NotInQuarantineError(f"no quarantine row {row_id}; `collector quarantine list` shows what there is")
    return dict(zip((column.name for column in cursor.description), row, strict=True))


def discard(connection: database.Connection, row_ids: Sequence[int]) -> None:
    """Mark rows as never to be replayed; they stay readable. Raises :class:`NotInQuarantineError`."""
    with connection.transaction():
        found = {row[0] for row in connection.execute(_DISCARD, (list(row_ids),))}
        missing = sorted(set(row_ids) - found)
        if missing:
            raise NotInQuarantineError(
                f"not open in quarantine: {', '.join(map(str, missing))}; nothing was discarded. "
                "`collector quarantine list` shows what is open."
            )


def discard_all(connection: database.Connection, reason: Reason) -> int:
    """Mark all that is held back for ``reason`` as never to be replayed; return how many rows that were."""
    return connection.execute(_DISCARD_REASON, (reason,)).rowcount


def replay(writer: Writer, decode: Decode, reason: Reason | None = None) -> Iterator[Replay]:
    """Send what is open (for ``reason``, or all) through ``decode`` once more; yield after each transaction.

    A message of which more becomes readings than before is written like a new one, and its old rows are settled, in
    one transaction: so it is replayed once, and the accounts hold it as one message more, of source ``replay``. Any
    other stays as it is.
    """
    # What a replay itself puts into quarantine is beyond the last row there is now.
    last = writer.connection().execute("select coalesce(max(id), 0) from telemetry.quarantine").fetchall()[0][0]
    after = 0
    while True:
        connection = writer.connection()
        with connection.transaction():
            connection.execute(_LOCK)
            chosen = connection.execute(_CHOOSE, {"after": after, "last": last, "reason": reason}).fetchall()
            if not chosen:
                return
            after = chosen[-1][0]
            done = _replay(writer, connection, [_waiting(*row[1:]) for row in chosen], decode)
        yield done


def _waiting(
    topic: str,
    received_at: datetime,
    payload: bytes,
    retained: bool,  # noqa: FBT001 - a column
    rows: list[int],
    reasons: list[str],
    readings: list[int],
) -> _Waiting:
    received = (received_at - _EPOCH) // timedelta(microseconds=1)
    return _Waiting(Message(topic, payload, received, retained), rows, set(reasons), sum(readings))


def _replay(writer: Writer, connection: database.Connection, messages: list[_Waiting], decode: Decode) -> Replay:
    done = Replay()
    changed = []
    for one in messages:
        # Only the database knows a conflict: such messages are always tried.
        if one.reasons & {Reason.CONFLICTING_VALUE, Reason.REFUSED_BY_DATABASE}:
            _try(writer, connection, one, decode, done)
        elif _gains(one, decode):
            changed.append(one)
        else:
            done.unchanged += 1
    if changed:
        accounts = writer.write(Batch.of((one.message for one in changed), decode), decode)
        connection.execute(_SETTLE, ([row for one in changed for row in one.rows],))
        done.messages += len(changed)
        done.readings += accounts.stored
    return done


def _try(writer: Writer, connection: database.Connection, one: _Waiting, decode: Decode, done: Replay) -> None:
    """Replay one message; undo it unless the database now takes a reading of it that it did not."""
    with connection.transaction() as attempt:
        accounts = writer.write(Batch.of([one.message], decode), decode)
        if not accounts.stored:
            done.unchanged += 1
            raise psycopg.Rollback(attempt)
        connection.execute(_SETTLE, (one.rows,))
        done.messages += 1
        done.readings += accounts.stored


def _gains(one: _Waiting, decode: Decode) -> bool:
    """Say whether decoding the message now holds back less of it than its rows do."""
    try:
        decoded = decode(one.message)
    except (NoReadingError, UnregisteredError):  # readings wait for their sensors only
        return True
    except UndecodableError:
        return False
    held = sum(rejection.readings for rejection in decoded.rejections)
    return bool(decoded.readings) and (not one.readings or held < one.readings)

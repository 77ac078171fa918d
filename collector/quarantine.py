"""What could not become a reading: list it, look at it, replay it once the registry is mended, or discard it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from collector.batch import Batch, Decode
from collector.message import Decoded, Message, NoReadingError, Reason, UndecodableError
from collector.writer import Writer
from timescale import database
from timescale.errors import WarehouseError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AT_A_TIME = 1_000

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
_DISCARD = f"update telemetry.quarantine set discarded_at = now() where id = any(%s) and {_OPEN} returning id"  # noqa: S608

# The rows of one message are replayed together, so a reason picks messages, not rows.
_CHOOSE = f"""
select id, source, topic, received_at, payload, retained, reason, readings
from telemetry.quarantine as q
where {_OPEN} and id > %(after)s and id <= %(last)s
    and (
        %(reason)s::text is null or reason = %(reason)s or exists (
            select from telemetry.quarantine as other
            where other.reason = %(reason)s and other.replayed_at is null and other.discarded_at is null
                and other.received_at = q.received_at and other.topic = q.topic and other.payload = q.payload
        )
    )
order by id limit %(limit)s
for update skip locked
"""  # noqa: S608
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
class _Held:
    """A message and its quarantine rows."""

    message: Message
    rows: list[int]
    reasons: dict[str, int]


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


def replay(writer: Writer, decode: Decode, reason: Reason | None = None) -> Iterator[Replay]:
    """Send what is open (for ``reason``, or all) through ``decode`` once more; yield after each transaction.

    A message that now yields something else than before is written like a new one, and its old rows are settled, in
    one transaction: so it is replayed once, and the accounts hold it as one message more, of source ``replay``.
    """
    # What a replay itself puts into quarantine is beyond the last row there is now.
    last = writer.connection().execute("select coalesce(max(id), 0) from telemetry.quarantine").fetchall()[0][0]
    after = 0
    while True:
        connection = writer.connection()
        with connection.transaction():
            rows = connection.execute(
                _CHOOSE,
                {"after": after, "last": last, "reason": reason, "limit": _AT_A_TIME},
            ).fetchall()
            if not rows:
                return
            after = rows[-1][0]
            done = _replay(writer, connection, _messages(rows), decode)
        yield done


def _messages(rows: list[tuple[Any, ...]]) -> list[_Held]:
    held: dict[tuple[Any, ...], _Held] = {}
    for row_id, source, topic, received_at, payload, retained, reason, readings in rows:
        key = (source, topic, received_at, payload)
        if key not in held:
            received = (received_at - _EPOCH) // timedelta(microseconds=1)
            held[key] = _Held(Message(topic, payload, received, retained), [], {})
        held[key].rows.append(row_id)
        held[key].reasons[reason] = held[key].reasons.get(reason, 0) + readings
    return list(held.values())


def _replay(writer: Writer, connection: database.Connection, messages: list[_Held], decode: Decode) -> Replay:
    done = Replay()
    changed = []
    for held in messages:
        # Only the database knows a conflict: such messages are always tried.
        if Reason.CONFLICTING_VALUE in held.reasons or Reason.REFUSED_BY_DATABASE in held.reasons:
            _try(writer, connection, held, decode, done)
        elif _reasons(held.message, decode) == held.reasons:
            done.unchanged += 1
        else:
            changed.append(held)
    if changed:
        accounts = writer.write(Batch.of((held.message for held in changed), decode), decode)
        connection.execute(_SETTLE, ([row for held in changed for row in held.rows],))
        done.messages += len(changed)
        done.readings += accounts.stored
    return done


def _try(writer: Writer, connection: database.Connection, held: _Held, decode: Decode, done: Replay) -> None:
    """Replay one message; undo it if the database holds back as many of its readings as before."""
    with connection.transaction() as attempt:
        accounts = writer.write(Batch.of([held.message], decode), decode)
        if not accounts.stored and accounts.quarantined_readings == sum(held.reasons.values()):
            done.unchanged += 1
            raise psycopg.Rollback(attempt)
        connection.execute(_SETTLE, (held.rows,))
        done.messages += 1
        done.readings += accounts.stored


def _reasons(message: Message, decode: Decode) -> dict[str, int]:
    """Return the reasons for which decoding alone would hold ``message`` back, with their readings."""
    try:
        decoded: Decoded = decode(message)
    except NoReadingError:
        return {}
    except UndecodableError as error:
        return {error.rejection.reason.value: 0}
    return {rejection.reason.value: rejection.readings for rejection in decoded.rejections}

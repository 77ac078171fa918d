"""The only place that writes readings: a batch, its quarantine rows and its accounts in one transaction."""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import psycopg
import structlog
from psycopg import errors
from psycopg.pq import TransactionStatus

from collector.message import Message, Reason, Rejection
from collector.registry import sync
from collector.store import arrived, ignored, late_hours, repeated, superseded
from collector.store.batch import HEADER, POSTGRES_EPOCH, ROW, TRAILER, Accounts, Batch, Decode, Quarantined, not_before
from collector.store.birth_store import BirthStore
from collector.store.equal_times import Key, Stored, resolve
from collector.store.group_commit import write_with_retries
from core import database
from core.errors import DatabaseError

log = structlog.get_logger()

_COPY_READINGS = "copy telemetry.reading (time, series_id, value, received_at) from stdin (format binary)"
_COPY_INCOMING = "copy pg_temp.incoming (time, series_id, value, received_at) from stdin (format binary)"
# Emptied at each commit, and explicitly for several merges in one transaction.
_INCOMING = """
create temporary table if not exists incoming
    (time timestamptz, series_id integer, value double precision, received_at timestamptz)
on commit delete rows;
delete from pg_temp.incoming
"""
_MERGE = """
insert into telemetry.reading (time, series_id, value, received_at)
select time, series_id, value, received_at from pg_temp.incoming
on conflict do nothing
"""
_MERGE_RETURNING = f"{_MERGE}returning series_id, time"
# One day at a time, with the day's bounds as constants: the planner then excludes all other chunks of the hypertable.
_COUNT_SAME_VALUE = """
select count(*) from pg_temp.incoming as i inner join telemetry.reading as r using (series_id, time)
where i.value = r.value and i.time >= %(start)s and i.time < %(end)s and r.time >= %(start)s and r.time < %(end)s
"""
_SELECT_OTHER_VALUE = """
select distinct i.series_id, i.time, r.value, r.received_at
from pg_temp.incoming as i inner join telemetry.reading as r using (series_id, time)
where i.value <> r.value and i.time >= %(start)s and i.time < %(end)s and r.time >= %(start)s and r.time < %(end)s
"""
_QUARANTINE = """
insert into telemetry.quarantine (
    received_at, source, topic, payload, retained, reason, detail, readings, repeats, last_received_at, waited,
    omitted_bytes, omitted_sha256, omitted_slot, file_options
)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_COUNTS = tuple(vars(Accounts()))
_INTAKE = f"""
insert into telemetry.intake as a (bucket, source, collector, {", ".join(_COUNTS)})
values (date_trunc('minute', now(), 'UTC'), %s, %s, {", ".join(["%s"] * len(_COUNTS))})
on conflict (bucket, source, collector) do update set
    {", ".join(f"{name} = a.{name} + excluded.{name}" for name in _COUNTS)}
returning telemetry.oldest_accepted()
"""  # noqa: S608 - column names from Accounts

_DAY = 86_400_000_000


class _Merged(NamedTuple):
    """The outcomes of a batch's readings, as the database counts them."""

    stored: int
    duplicate: int = 0
    replaced: int = 0
    conflicts: Sequence[Quarantined] = ()
    new: Collection[Key] | None = None
    """The stored and the replaced readings; None: all of the batch."""


class _TooOldError(Exception):
    """The batch has readings that retention no longer accepts; ``oldest`` is the earliest time that it does."""

    def __init__(self, oldest: datetime) -> None:
        super().__init__(oldest)
        self.oldest = oldest


class UnbalancedError(DatabaseError):
    """The row counts of the database do not match the batch; nothing was committed."""


class Writer:
    """Writes batches over one connection, which it opens when needed and again after it broke.

    ``source`` and ``collector`` are columns of ``telemetry.intake``: the way the readings came (mqtt, kafka, file,
    archive, replay) and the process that brought them. ``births`` holds the Sparkplug births that the decoder has read;
    new ones are written with every batch. ``file_options`` tells how a file is read, for its rows in
    quarantine. ``payload_budget`` limits the bytes in quarantine per topic and day, 0: without limit.
    ``also`` is called in the transaction of every batch, with its messages. For
    one thread at a time.
    """

    def __init__(
        self,
        source: str,
        collector: str,
        connect: Callable[[], database.Connection] = database.connect,
        *,
        births: BirthStore | None = None,
        file_options: str | None = None,
        payload_budget: int = 0,
        also: Callable[[database.Connection, Sequence[Message]], None] = lambda *_: None,
    ) -> None:
        self._source = source
        self._collector = collector
        self._connect = connect
        self._connection: database.Connection | None = None
        self._registration: database.Connection | None = None
        self._merging = False
        """Whether batches go through the staging table, because recent ones held readings that were stored already."""
        self._births = births or BirthStore()
        self._also = also
        self._file_options = file_options
        self._payload_budget = payload_budget
        self._begun = time.time_ns() // 1000
        self._ignored_topics = ignored.Topics()
        self._ignored: Counter[str] = Counter()
        self._ignored_uncommitted: Counter[str] = Counter()
        self._live: dict[int, float] = {}
        """Day since 1970 on which a series was last recorded as live."""
        self._live_uncommitted: dict[int, float] = {}
        late_hours.load_numpy()

    def write(self, batch: Batch, decode: Decode) -> Accounts:
        """Commit ``batch`` and return its accounts; raises ``psycopg.Error`` with nothing committed.

        When the database refuses a value, the batch is divided until the message with that value is alone, which then
        goes to quarantine; ``decode`` decodes the messages again for that. Sensors that the batch discovers are
        registered before, and stay registered whether or not the batch is committed.
        """
        self._ignored_uncommitted = Counter()
        self._live_uncommitted = {}
        accounts = self._write(batch, decode)
        self._live |= self._live_uncommitted
        if self._ignored_uncommitted:
            self._ignored += self._ignored_uncommitted
        # In a transaction of the caller, which may be rolled back, births stay pending and go with the next batch too.
        connection = self._connection
        if connection is None or connection.info.transaction_status is not TransactionStatus.INTRANS:
            self._births.mark_committed()
        return accounts

    def _write(self, batch: Batch, decode: Decode) -> Accounts:
        if batch.unregistered:
            batch = self._register(batch, decode)
        try:
            return self._commit(batch)
        except _TooOldError as error:
            # The decoder of these messages was built before the retention moved on, or was changed.
            return self._write(
                Batch.of(batch.messages, not_before(decode, superseded.microseconds(error.oldest))), decode
            )
        except (errors.DataError, errors.IntegrityError) as error:
            if len(batch.messages) == 1:
                if not batch.rows:
                    raise  # no reading is the cause
                detail = database.reason(error)[:500]
                return self._commit(batch.refuse(Rejection(Reason.REFUSED_BY_DATABASE, detail)))
            accounts = Accounts()
            middle = len(batch.messages) // 2
            with self.connection().transaction():  # both halves or none: a retry must not count twice
                for half in (batch.messages[:middle], batch.messages[middle:]):
                    accounts.add(self._write(Batch.of(half, decode), decode))
            return accounts

    def _register(self, batch: Batch, decode: Decode) -> Batch:
        """Register the series that ``batch`` discovers; return its messages decoded again, with these series."""
        while (batch := Batch.of(batch.messages, decode)).unregistered:
            # Over a separate connection: the decoder keeps the series even if the transaction of the batch fails.
            self._registration = self._connect()
            try:
                count = sync.register(self._registration, list(batch.unregistered.values()))
            finally:
                self._registration.close()
            log.info("discovered", series=count)
        return batch

    def _commit(self, batch: Batch) -> Accounts:
        connection = self.connection()
        if batch.rows and not self._merging:
            try:
                with connection.transaction():
                    self._copy(connection, _COPY_READINGS, batch)
                    return self._account(connection, batch, _Merged(batch.row_count))
            except errors.UniqueViolation:
                # Some readings are stored already. Sources that repeat readings do so for a while: the merge takes
                # twice as long as the copy but does not fail, and is used until all readings of a batch are new.
                self._merging = True
        with connection.transaction():
            merged = self._merge(connection, batch) if batch.rows else _Merged(0)
            accounts = self._account(connection, batch, merged)
        self._merging = self._merging and merged.stored < batch.row_count
        return accounts

    @staticmethod
    def _copy(connection: database.Connection, statement: str, batch: Batch) -> None:
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(HEADER)
            copy.write(bytes(batch.rows))
            copy.write(TRAILER)

    def _merge(self, connection: database.Connection, batch: Batch) -> _Merged:
        """Store the new rows, replace the values that a later publish replaces, and return the outcomes."""
        connection.execute(_INCOMING)
        self._copy(connection, _COPY_INCOMING, batch)
        is_archived = self._source in arrived.SOURCES
        cursor = connection.execute(_MERGE_RETURNING if is_archived else _MERGE)
        stored = cursor.rowcount
        if stored == batch.row_count:
            return _Merged(stored)
        new: set[Key] = set()
        if is_archived:
            new = {(series_id, superseded.microseconds(when)) for series_id, when in cursor}
        same_value = 0
        other_values: dict[Key, Stored] = {}
        for day in sorted({row[2] // _DAY for row in ROW.iter_unpack(batch.rows)}):
            start = superseded.instant(POSTGRES_EPOCH + day * _DAY)
            bounds = {"start": start, "end": start + timedelta(days=1)}
            with psycopg.ClientCursor(connection) as cursor:  # constants in the text; see _COUNT_SAME_VALUE
                same_value += cursor.execute(_COUNT_SAME_VALUE, bounds).fetchall()[0][0]
                for series_id, when, value, received in cursor.execute(_SELECT_OTHER_VALUE, bounds):
                    key = series_id, superseded.microseconds(when)
                    other_values[key] = Stored(value, superseded.microseconds(received))
        if not other_values:
            return _Merged(stored, same_value - stored, new=new)
        superseded.load(connection, other_values)
        resolution = resolve(batch, other_values, self._source, self._begun)
        superseded.save(connection, resolution.changes, self._source)
        new |= {key for key, change in resolution.changes.items() if change.value != change.before}
        return _Merged(stored, same_value - stored + resolution.same, resolution.replaced, resolution.conflicts, new)

    def _account(self, connection: database.Connection, batch: Batch, merged: _Merged) -> Accounts:
        quarantined = [*batch.quarantined, *merged.conflicts]
        accounts = Accounts(**vars(batch.accounts))
        accounts.stored, accounts.duplicate, accounts.replaced = merged.stored, merged.duplicate, merged.replaced
        accounts.quarantined_readings += sum(row.rejection.readings for row in merged.conflicts)
        if not accounts.balanced:
            raise UnbalancedError(f"the accounts of a batch do not balance; nothing of it was stored: {accounts}")
        self._births.save(connection)
        self._also(connection, batch.messages)
        with connection.cursor() as cursor:
            if quarantined:
                rows = repeated.merge(cursor, self._source, quarantined)
                if self._payload_budget and self._source in arrived.SOURCES:
                    rows = repeated.within_budget(cursor, self._source, rows, self._payload_budget)
                cursor.executemany(_QUARANTINE, [(*_row(self._source, row), self._file_options) for row in rows])
            late_hours.record(cursor, batch.rows)
            if batch.ignored:
                ignored.record(cursor, self._ignored_topics, self._source, batch.ignored)
                self._ignored_uncommitted += ignored.by_reason(batch.ignored)
            if batch.rows and self._source in arrived.SOURCES:
                arrived.record(cursor, self._source, self._collector, batch, merged.new)
                self._record_live(cursor, batch)
            # Last: collectors with the same name wait for each other from here to the commit. The lock of the readings
            # that are stored keeps a change of the retention waiting, so what is accepted here is seen by its gates.
            cursor.execute(_INTAKE, (self._source, self._collector, *vars(accounts).values()))
            (oldest,) = cursor.fetchall()[0]
            if oldest is not None and late_hours.has_before(batch.rows, superseded.microseconds(oldest)):
                raise _TooOldError(oldest)
        return accounts

    def _record_live(self, cursor: psycopg.Cursor[Any], batch: Batch) -> None:
        """Record once a day for each series of ``batch`` that it is live."""
        today = time.time() // 86_400
        if unmarked := [series for series in late_hours.series_of(batch.rows) if self._live.get(series) != today]:
            arrived.record_live(cursor, unmarked)
            self._live_uncommitted.update(dict.fromkeys(unmarked, today))

    def connection(self) -> database.Connection:
        """Return the connection; open it if there is none."""
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
            # The triggers that keep the means sort a batch's rows: in memory, not on disk.
            self._connection.execute("set work_mem = '32MB'")
            # A process that is frozen in a transaction must not block the one that takes over its messages. No running
            # process is idle in a transaction for so long.
            self._connection.execute("set idle_in_transaction_session_timeout = '5s'")
            self._connection.execute("set lock_timeout = '10s'")
        return self._connection

    def take_ignored(self) -> dict[str, int]:
        """Return the messages and values that were ignored since the last call, by reason. From any thread."""
        counts, self._ignored = self._ignored, Counter()
        return dict(counts)

    def interrupt(self) -> None:
        """Break the connections: a write that waits for the database fails immediately. From any thread."""
        for connection in (self._connection, self._registration):
            with suppress(psycopg.Error, OSError):
                if connection is None or connection.closed:
                    continue
                with socket.socket(fileno=os.dup(connection.fileno())) as broken:
                    broken.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; the next write opens another."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None


def _row(source: str, row: repeated.Row) -> Sequence[Any]:
    message, rejection = row.quarantined
    return (
        superseded.instant(message.received),
        source,
        ignored.storable_text(message.topic),
        message.payload,
        message.retained,
        rejection.reason.value,
        ignored.storable_text(rejection.detail),
        rejection.readings,
        row.repeats,
        None if row.last_received is None else superseded.instant(row.last_received),
        timedelta(microseconds=message.waited),
        *(row.omitted or (None, None, None)),
    )


def write_until_stopped(
    writer: Writer, batch: Batch, decode: Decode, give_up: Callable[[float], bool]
) -> Accounts | None:
    """Write ``batch``, with retries for as long as the database is away or refuses for a reason outside the batch.

    ``give_up(pause)`` waits ``pause`` seconds and returns whether to stop retrying; then the result is None and nothing
    is stored. An unknown error is retried like a lost connection: a stall can be fixed, a silent loss can not.
    """

    def report(error: Exception) -> None:
        writer.close()
        log.warning(
            "database write failed; retrying, messages stay unacknowledged",
            reason=database.reason(error),
            messages=len(batch.messages),
        )

    return write_with_retries(lambda: writer.write(batch, decode), (psycopg.Error, DatabaseError), report, give_up)

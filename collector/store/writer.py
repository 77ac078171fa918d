"""The one place that writes readings: a batch, its quarantine and its accounts in one transaction."""

import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import structlog
from psycopg import errors

from collector.message import Message, Reason, Rejection
from collector.registry import sync
from collector.store import late_hours
from collector.store.batch import HEADER, POSTGRES_EPOCH, ROW, TRAILER, Accounts, Batch, Decode, Quarantined, conflicts
from collector.store.sparkplug_births import Births
from core import database
from core.backoff import Backoff
from core.errors import DatabaseError

log = structlog.get_logger()

_COPY_READINGS = "copy telemetry.reading (time, series_id, value, received_at) from stdin (format binary)"
_COPY_INCOMING = "copy pg_temp.incoming (time, series_id, value, received_at) from stdin (format binary)"
# Emptied at each commit, and by hand for merges that follow each other in one transaction.
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
# One day at a time, with the day's bounds as constants: so the planner leaves out all other chunks of the hypertable.
_SAME = """
select count(*) from pg_temp.incoming as i inner join telemetry.reading as r using (series_id, time)
where i.value = r.value and i.time >= %(start)s and i.time < %(end)s and r.time >= %(start)s and r.time < %(end)s
"""
_OTHER = """
select distinct i.series_id, i.time, r.value
from pg_temp.incoming as i inner join telemetry.reading as r using (series_id, time)
where i.value <> r.value and i.time >= %(start)s and i.time < %(end)s and r.time >= %(start)s and r.time < %(end)s
"""
_QUARANTINE = """
insert into telemetry.quarantine (received_at, source, topic, payload, retained, reason, detail, readings)
values (%s, %s, %s, %s, %s, %s, %s, %s)
"""
_COUNTS = tuple(vars(Accounts()))
_INTAKE = f"""
insert into telemetry.intake as a (bucket, source, collector, {", ".join(_COUNTS)})
values (date_trunc('minute', now(), 'UTC'), %s, %s, {", ".join(["%s"] * len(_COUNTS))})
on conflict (bucket, source, collector) do update set
    {", ".join(f"{name} = a.{name} + excluded.{name}" for name in _COUNTS)}
"""  # noqa: S608 - names of ours

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400_000_000


class UnbalancedError(DatabaseError):
    """The database's answers don't add up to what was sent; nothing was committed."""


class Writer:
    """Writes batches over one connection, which it opens when it needs it and again when it breaks.

    ``source`` and ``collector`` are the columns of ``telemetry.intake``: the way readings came (mqtt, kafka, file,
    replay) and which process brought them. Not for use by several threads.
    """

    def __init__(
        self, source: str, collector: str, connect: Callable[[], database.Connection] = database.connect
    ) -> None:
        self._source = source
        self._collector = collector
        self._connect = connect
        self._connection: database.Connection | None = None
        self._aside: database.Connection | None = None
        self._collided = False
        self.births = Births()
        """What the decoder's readers must not forget; written with every batch."""
        late_hours.prepare()

    def write(self, batch: Batch, decode: Decode) -> Accounts:
        """Commit ``batch`` and return its accounts; raises ``psycopg.Error`` with nothing committed.

        ``decode`` decodes its messages anew if they must be told apart: when the database refuses a value, the batch is
        cut in two until the message that holds it stands alone, and that goes to quarantine. Sensors that the batch
        shows first are registered before, for good: whatever becomes of the batch.
        """
        accounts = self._write(batch, decode)
        self.births.committed()
        return accounts

    def _write(self, batch: Batch, decode: Decode) -> Accounts:
        if batch.unregistered:
            batch = self._registered(batch, decode)
        try:
            return self._commit(batch)
        except (errors.DataError, errors.IntegrityError) as error:
            if len(batch.messages) == 1:
                if not batch.rows:
                    raise  # not a reading's fault
                detail = database.reason(error)[:500]
                return self._commit(batch.refuse(Rejection(Reason.REFUSED_BY_DATABASE, detail)))
            accounts = Accounts()
            middle = len(batch.messages) // 2
            with self.connection().transaction():  # both halves or none: what is tried again must not count twice
                for half in (batch.messages[:middle], batch.messages[middle:]):
                    accounts.add(self._write(Batch.of(half, decode), decode))
            return accounts

    def _registered(self, batch: Batch, decode: Decode) -> Batch:
        """Return the messages of ``batch`` as a batch all of whose series are registered."""
        while (batch := Batch.of(batch.messages, decode)).unregistered:
            # Over a connection of its own: what a decoder has been told must not go with a transaction that fails.
            self._aside = self._connect()
            try:
                count = sync.register(self._aside, list(batch.unregistered.values()))
            finally:
                self._aside.close()
            log.info("discovered", series=count)
        return batch

    def _commit(self, batch: Batch) -> Accounts:
        connection = self.connection()
        if batch.rows and not self._collided:
            try:
                with connection.transaction():
                    self._copy(connection, _COPY_READINGS, batch)
                    return self._account(connection, batch, batch.row_count, 0, [])
            except errors.UniqueViolation:
                # Some of it is there already. Sources that repeat themselves do so for a while: the merge, which
                # takes twice as long as the copy but does not fail, is used until a batch comes through it whole.
                self._collided = True
        with connection.transaction():
            stored, duplicate, held = self._merge(connection, batch) if batch.rows else (0, 0, [])
            accounts = self._account(connection, batch, stored, duplicate, held)
        self._collided = self._collided and stored < batch.row_count
        return accounts

    @staticmethod
    def _copy(connection: database.Connection, statement: str, batch: Batch) -> None:
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(HEADER)
            copy.write(bytes(batch.rows))
            copy.write(TRAILER)

    def _merge(self, connection: database.Connection, batch: Batch) -> tuple[int, int, list[Quarantined]]:
        """Store the rows that are new; return (stored, duplicate, conflicts)."""
        connection.execute(_INCOMING)
        self._copy(connection, _COPY_INCOMING, batch)
        stored = connection.execute(_MERGE).rowcount
        if stored == batch.row_count:
            return stored, 0, []
        same = 0
        other: dict[tuple[int, int], float] = {}
        for day in sorted({row[2] // _DAY for row in ROW.iter_unpack(batch.rows)}):
            start = _EPOCH + timedelta(microseconds=POSTGRES_EPOCH + day * _DAY)
            bounds = {"start": start, "end": start + timedelta(days=1)}
            with psycopg.ClientCursor(connection) as cursor:  # constants in the text, see _SAME
                same += cursor.execute(_SAME, bounds).fetchall()[0][0]
                for series_id, when, value in cursor.execute(_OTHER, bounds):
                    other[series_id, (when - _EPOCH) // timedelta(microseconds=1)] = value
        return stored, same - stored, conflicts(batch, other) if other else []

    def _account(
        self,
        connection: database.Connection,
        batch: Batch,
        stored: int,
        duplicate: int,
        held: list[Quarantined],
    ) -> Accounts:
        quarantined = [*batch.quarantined, *held]
        accounts = Accounts(**vars(batch.accounts))
        accounts.stored = stored
        accounts.duplicate = duplicate
        accounts.quarantined_readings += sum(row.rejection.readings for row in held)
        if not accounts.balanced:
            raise UnbalancedError(f"the accounts of a batch don't balance, nothing of it was stored: {accounts}")
        self.births.write(connection)
        with connection.cursor() as cursor:
            if quarantined:
                cursor.executemany(_QUARANTINE, [_row(self._source, *row) for row in quarantined])
            late_hours.note(cursor, batch.rows)
            # Last, because collectors that share a name wait for each other from here to the commit.
            cursor.execute(_INTAKE, (self._source, self._collector, *vars(accounts).values()))
        return accounts

    def connection(self) -> database.Connection:
        """Return the connection, opened if need be."""
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
            # A batch's rows are sorted for the means over them, which should not happen on a disk.
            self._connection.execute("set work_mem = '32MB'")
            # A process that is frozen in a transaction must not hold up those that take over what it had in hand. No
            # process that runs is silent for so long.
            self._connection.execute("set idle_in_transaction_session_timeout = '5s'")
        return self._connection

    def interrupt(self) -> None:
        """Break the connections: a write that waits for the database fails at once. The one method for any thread."""
        for connection in (self._connection, self._aside):
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


def _row(source: str, message: Message, rejection: Rejection) -> Sequence[Any]:
    return (
        _EPOCH + timedelta(microseconds=message.received),
        source,
        text(message.topic),
        message.payload,
        message.retained,
        rejection.reason.value,
        text(rejection.detail),
        rejection.readings,
    )


def text(raw: str) -> str:
    """Return ``raw`` as PostgreSQL's text can hold it: no NUL, no lone surrogates."""
    return raw.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def write_patiently(writer: Writer, batch: Batch, decode: Decode, stop: Callable[[float], bool]) -> Accounts | None:
    """Write ``batch``, trying again for as long as the database refuses for a reason that is not the batch's own.

    ``stop(pause)`` waits ``pause`` seconds and says whether to give up; then None is returned and nothing is stored.
    A stall can be mended and a silent drop cannot: so an unknown error holds the batch as a lost connection does.
    """
    backoff = Backoff(first=0.1, longest=5.0)
    since = time.monotonic()
    while True:
        try:
            accounts = writer.write(batch, decode)
        except (psycopg.Error, DatabaseError) as error:
            writer.close()
            log.warning("can't write, holding", reason=database.reason(error), messages=len(batch.messages))
            if stop(backoff.advance()):
                return None
        else:
            if backoff.last:
                log.info("writing again", away_seconds=round(time.monotonic() - since, 1))
            return accounts

"""Retention: how long raw readings are kept, and the conditions (gates) for dropping them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from psycopg.rows import class_row

from core.database import Connection, wrapped_errors
from timescale.settings import TimescaleSettings


@dataclass(frozen=True)
class Retention:
    """When old raw readings are dropped; see docs/decisions/0016-gated-retention.md."""

    keep_days: int | None = None
    """Days for which they are kept at least; None: forever."""
    archived_sources: Sequence[str] = ("mqtt",)
    """Sources whose messages must be archived first."""
    scanned: bool = True
    """Whether a quality scan must have run after their last change."""
    quarantine_days: int | None = None
    """Days after which open rows of the quarantine are deleted; None: never."""

    @classmethod
    def of(cls, settings: TimescaleSettings) -> Self:
        """Return the retention that ``settings`` define."""
        return cls(
            settings.retention_days,
            settings.archived_sources,
            settings.retention_scanned == "yes",
            settings.quarantine_days,
        )

    def __str__(self) -> str:
        if self.keep_days is None:
            return "forever"
        conditions = [f"in the archive ({', '.join(self.archived_sources)})"] if self.archived_sources else []
        conditions += ["in the means", *(["scanned"] if self.scanned else [])]
        return f"for {self.keep_days} days, and until they are {' and '.join(conditions)}"

    def store(self, connection: Connection) -> None:
        """Store it in the database, whose job applies it from then on.

        Until the end of the transaction no collector can store readings that only the earlier retention accepts.
        """
        # An INSERT holds a lock that conflicts, from before the collector reads the retention until its commit.
        with connection.transaction():
            connection.execute("lock table only telemetry.reading in share mode")
            connection.execute(
                "update telemetry.retention set keep_days = %s, archived_sources = %s, scanned = %s, "
                "quarantine_days = %s",
                (self.keep_days, list(self.archived_sources), self.scanned, self.quarantine_days),
            )


@dataclass(frozen=True)
class ExpiredChunk:
    """A chunk (without TimescaleDB: a day) of raw readings that is older than the retention."""

    begins: datetime
    ends: datetime
    readings: int
    changed_at: datetime
    """Arrival of its latest reading."""
    waits_for: Sequence[str]
    """Reasons that block it, one per gate; empty: the next run drops it."""
    is_dropped: bool = False
    """Whether these readings were stored after the chunk was dropped; they block no other."""


@dataclass(frozen=True)
class RetentionRun:
    """Result of one run of the retention."""

    dropped: tuple[ExpiredChunk, ...]
    remaining: tuple[ExpiredChunk, ...]
    purged: int
    """Deleted quarantine rows that were settled long ago."""


def expired_chunks(connection: Connection) -> tuple[ExpiredChunk, ...]:
    """Return the chunks older than the retention, the oldest first; counts all their readings."""
    with wrapped_errors("retention"), connection.cursor(row_factory=class_row(ExpiredChunk)) as cursor:
        return tuple(cursor.execute("select * from telemetry.retention_gate()").fetchall())


def apply(connection: Connection) -> RetentionRun:
    """Drop expired chunks up to the first blocked one, and delete quarantine rows settled long ago.

    ``connection`` must be in autocommit mode.
    """
    before = expired_chunks(connection)
    with wrapped_errors("retention"):
        connection.execute("call telemetry.apply_retention()")
        purged: Any = connection.execute("select telemetry.purge_quarantine()").fetchone()
    remaining = expired_chunks(connection)
    starts = {chunk.begins for chunk in remaining}
    return RetentionRun(tuple(chunk for chunk in before if chunk.begins not in starts), remaining, int(purged[0]))


def describe(chunks: Sequence[ExpiredChunk]) -> list[str]:
    """Return one line per chunk and reason."""
    lines = []
    for number, chunk in enumerate(chunks):
        is_blocked = any(older.waits_for and not older.is_dropped for older in chunks[:number])
        reasons = chunk.waits_for or ["dropped after older readings" if is_blocked else "dropped by the next run"]
        lines += [f"{chunk.begins:%Y-%m-%d} {chunk.readings:>14,} readings  {reason}" for reason in reasons]
    return lines

"""Retention: how long raw readings are kept, and the conditions (gates) for dropping them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from psycopg.rows import class_row

from core.database import Connection, wrapped
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

    @classmethod
    def of(cls, settings: TimescaleSettings) -> Self:
        """Return the retention that ``settings`` define."""
        return cls(settings.retention_days, settings.archived_sources, settings.retention_scanned == "yes")

    def __str__(self) -> str:
        if self.keep_days is None:
            return "for ever"
        gates = [f"in the archive ({', '.join(self.archived_sources)})"] if self.archived_sources else []
        gates += ["in the means", *(["scanned"] if self.scanned else [])]
        return f"for {self.keep_days} days, and until they are {' and '.join(gates)}"

    def store(self, connection: Connection) -> None:
        """Store it in the database, whose job applies it from then on."""
        connection.execute(
            "update telemetry.retention set keep_days = %s, archived_sources = %s, scanned = %s",
            (self.keep_days, list(self.archived_sources), self.scanned),
        )


@dataclass(frozen=True)
class Span:
    """A chunk (without TimescaleDB: a day) of raw readings that is old enough to go."""

    begins: datetime
    ends: datetime
    readings: int
    changed_at: datetime
    """No reading came to it later."""
    waits_for: Sequence[str]
    """What holds it back, for people, by gate; none: it goes with the next run."""


@dataclass(frozen=True)
class Applied:
    """What one run has done."""

    dropped: tuple[Span, ...]
    left: tuple[Span, ...]
    purged: int
    """Rows of the quarantine that were settled long ago."""


def spans(connection: Connection) -> tuple[Span, ...]:
    """Return what is old enough to go, the oldest first; counts through every reading of it."""
    with wrapped("retention"), connection.cursor(row_factory=class_row(Span)) as cursor:
        return tuple(cursor.execute("select * from telemetry.retention_gate()").fetchall())


def apply(connection: Connection) -> Applied:
    """Drop what waits for nothing, up to the oldest that does, and what was settled in quarantine long ago.

    ``connection`` commits each statement by itself.
    """
    before = spans(connection)
    with wrapped("retention"):
        connection.execute("call telemetry.apply_retention()")
        purged: Any = connection.execute("select telemetry.purge_quarantine()").fetchone()
    left = spans(connection)
    kept = {span.begins for span in left}
    return Applied(tuple(span for span in before if span.begins not in kept), left, int(purged[0]))


def lines(found: Sequence[Span]) -> list[str]:
    """Say for people what is old enough to go, one line a reason."""
    said = []
    for number, span in enumerate(found):
        held = any(one.waits_for for one in found[:number])
        reasons = span.waits_for or ["goes after what is older" if held else "goes with the next run"]
        said += [f"{span.begins:%Y-%m-%d} {span.readings:>14,} readings  {reason}" for reason in reasons]
    return said

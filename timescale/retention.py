"""Retention: how long raw readings are kept, what must have happened before they go, and what holds them back."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row

from core.database import Connection, wrapped
from core.errors import SettingError

SOURCES = ("mqtt", "kafka")
"""Sources of the accounts whose messages an archive can hold: what was loaded from files is in those files."""

_ANSWERS = {"yes": True, "no": False}


@dataclass(frozen=True)
class Retention:
    """What is to become of old raw readings; docs/decisions/0016-gated-retention.md."""

    keep_days: int | None = None
    """For how many days they are kept at least; None: for ever."""
    archived_sources: Sequence[str] = ("mqtt",)
    """Whose messages must be in the archive first."""
    scanned: bool = True
    """Whether a quality scan must have run after their last change."""

    def __str__(self) -> str:
        if self.keep_days is None:
            return "for ever"
        gates = [f"in the archive ({', '.join(self.archived_sources)})"] if self.archived_sources else []
        gates += ["in the means", *(["scanned"] if self.scanned else [])]
        return f"for {self.keep_days} days, and until they are {' and '.join(gates)}"

    def store(self, connection: Connection) -> None:
        """Have the database act accordingly from now on."""
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


def read_retention() -> Retention:
    """Return what the settings say; raises :class:`SettingError`."""
    days = os.environ.get("TIMESCALE_RETENTION_DAYS") or None
    if days is not None and not (days.isdecimal() and 2 <= int(days) <= 36_500):  # noqa: PLR2004 - said in the message
        raise SettingError(
            f"TIMESCALE_RETENTION_DAYS={days}: a whole number of days from 2 to 36500, or unset to keep all readings."
        )
    archived = os.environ.get("TIMESCALE_RETENTION_ARCHIVED") or "mqtt"
    sources = () if archived == "none" else tuple(name.strip() for name in archived.split(","))
    if not set(sources) <= set(SOURCES):
        raise SettingError(f"TIMESCALE_RETENTION_ARCHIVED={archived}: some of {', '.join(SOURCES)}; or none.")
    scanned = os.environ.get("TIMESCALE_RETENTION_SCANNED") or "yes"
    if scanned not in _ANSWERS:
        raise SettingError(f"TIMESCALE_RETENTION_SCANNED={scanned}: yes or no.")
    return Retention(None if days is None else int(days), sources, _ANSWERS[scanned])


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

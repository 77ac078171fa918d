"""The table quality.incident: what is not as it should be, who has been told, and who is yet to be.

A key has one open row at most, so that what fails every quarter of an hour is told once. Each row carries the names of
the notifiers that have yet to tell of it, and those that have yet to tell of its recovery: a notifier that fails stays
on the list and is asked again next time.
"""

import contextlib
from collections.abc import Iterable, Sequence
from datetime import datetime

import structlog
from psycopg.rows import dict_row

from core.database import Connection, wrapped
from quality.alerts.event import Event
from quality.alerts.notifiers import Notifier
from quality.errors import NotifyError, ScanError

log = structlog.get_logger()

_LOCK = 7233911046158838
"""Key of the advisory lock under which one process at a time tells; any number that nobody else uses."""


def require(connection: Connection) -> None:
    """Raise :class:`ScanError` where the database's schema is older than this code."""
    with wrapped("incidents"):
        found = connection.execute("select to_regclass('quality.series_drift') is not null").fetchone()
    if found != (True,):
        raise ScanError("the database lacks the tables and views of quality scans. Run `timescale migrate`.")


def note(connection: Connection, events: Iterable[Event], notifiers: Sequence[str]) -> None:
    """Open the incidents of ``events`` or see them again, and close those that have recovered; in the open transaction.

    ``notifiers`` are the names of those that are to tell what is new.
    """
    with wrapped("incidents"), connection.cursor() as cursor:
        for state, statement in (("open", _OPEN), ("recovered", _CLOSE)):
            cursor.executemany(
                statement,
                [
                    {
                        "key": event.key,
                        "title": event.title,
                        "check": event.check,
                        "sensor": event.sensor,
                        "measured": event.measured_text,
                        "threshold": event.threshold,
                        "link": event.link,
                        "at": event.at,
                        "since": event.since or event.at,
                        "notifiers": list(notifiers),
                    }
                    for event in events
                    if event.state == state
                ],
            )


def close_unchecked(
    connection: Connection, prefix: str, checked: Sequence[str], at: datetime, notifiers: Sequence[str]
) -> None:
    """Close the open incidents whose key begins with ``prefix`` and is none of ``checked``: no check is theirs now."""
    with wrapped("incidents"):
        connection.execute(
            _CLOSE_UNCHECKED,
            {"prefix": prefix, "checked": list(checked), "at": at, "notifiers": list(notifiers)},
        )


def tell(connection: Connection, notifiers: Sequence[Notifier], remind_hours: float | None) -> None:
    """Have each of ``notifiers`` tell what it has yet to tell; ``connection`` commits each statement by itself.

    Incidents of which was last told more than ``remind_hours`` ago are told again. One process at a time tells.
    """
    with wrapped("incidents"):
        connection.execute("select pg_catalog.pg_advisory_lock(%s)", (_LOCK,))
    try:
        if remind_hours is not None:
            with wrapped("incidents"):
                connection.execute(_REMIND, {"hours": remind_hours, "notifiers": [one.name for one in notifiers]})
        for notifier in notifiers:
            _tell(connection, notifier)
    finally:
        with wrapped("incidents"):
            connection.execute("select pg_catalog.pg_advisory_unlock(%s)", (_LOCK,))


def attempt(notifier: Notifier, events: Sequence[Event]) -> bool:
    """Have ``notifier`` tell ``events`` and return whether it could; whatever goes wrong is a log line."""
    try:
        notifier.send(events)
    except Exception as error:  # noqa: BLE001 - a way to tell people must never stop a scan
        with contextlib.suppress(OSError, ValueError):  # the log may be what is broken
            said = str(error) if isinstance(error, NotifyError) else f"{type(error).__name__}: {error}"
            log.warning("nobody was told", notifier=notifier.name, error=said)
        return False
    return True


def _tell(connection: Connection, notifier: Notifier) -> None:
    with wrapped("incidents"), connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_UNTOLD, {"name": notifier.name}).fetchall()
    opened = [row for row in rows if notifier.name in row["untold"]]
    recovered = [row for row in rows if notifier.name in row["recovery_untold"]]
    events = [
        Event(
            key=row["key"],
            title=row["title"],
            state="recovered" if recovery else "open",
            check=row["check_name"],
            measured=row["measured_value"],
            threshold=row["threshold"],
            sensor=row["sensor_id"],
            link=row["link"],
            at=row["closed_at"] if recovery else row["last_seen_at"],
            since=row["opened_at"],
        )
        for recovery, found in ((False, opened), (True, recovered))
        for row in found
    ]
    if events and attempt(notifier, events):
        with wrapped("incidents"):
            for statement, found in ((_TOLD, opened), (_RECOVERY_TOLD, recovered)):
                connection.execute(statement, {"name": notifier.name, "ids": [row["id"] for row in found]})


_OPEN = """
    insert into quality.incident
    (key, title, check_name, sensor_id, measured_value, threshold, link, opened_at, last_seen_at, untold)
    values (
        %(key)s, %(title)s, %(check)s, %(sensor)s, %(measured)s, %(threshold)s, %(link)s, %(since)s, %(at)s,
        %(notifiers)s
    )
    on conflict (key) where closed_at is null do update set
        title = excluded.title,
        measured_value = excluded.measured_value,
        threshold = excluded.threshold,
        link = coalesce(excluded.link, incident.link),
        last_seen_at = greatest(incident.last_seen_at, excluded.last_seen_at)
"""
_CLOSE = """
    update quality.incident
    set
        closed_at = %(at)s,
        measured_value = %(measured)s,
        link = coalesce(%(link)s, link),
        recovery_untold = %(notifiers)s
    where key = %(key)s and closed_at is null
"""
_CLOSE_UNCHECKED = """
    update quality.incident
    set closed_at = %(at)s, measured_value = 'not checked any more', recovery_untold = %(notifiers)s
    where closed_at is null and starts_with(key, %(prefix)s) and not key = any(%(checked)s)
"""
_REMIND = """
    update quality.incident
    set untold = %(notifiers)s
    where closed_at is null and told_at < now() - %(hours)s * interval '1 hour'
"""
_UNTOLD = """
    select * from quality.incident
    where (untold <> '{}' or recovery_untold <> '{}')
        and (%(name)s = any(untold) or %(name)s = any(recovery_untold))
    order by id
"""
_TOLD = """
    update quality.incident set untold = array_remove(untold, %(name)s), told_at = now() where id = any(%(ids)s)
"""
_RECOVERY_TOLD = """
    update quality.incident set recovery_untold = array_remove(recovery_untold, %(name)s) where id = any(%(ids)s)
"""

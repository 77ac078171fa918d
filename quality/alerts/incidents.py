"""The table quality.incident: open and closed incidents, and their pending notifications.

A key has at most one open row, so a check that fails every quarter of an hour is notified once. Each row lists the
notifiers with a pending notification of the failure (``untold``) and of the recovery (``recovery_untold``): a notifier
that fails stays on the list and is retried on the next run.
"""

import contextlib
from collections.abc import Iterable, Sequence
from datetime import datetime

import structlog
from psycopg.rows import dict_row

from core.database import Connection, connect, wrapped_errors
from quality.alerts.alert import Alert
from quality.alerts.notifiers import Notifier
from quality.errors import NotifyError, ScanError

log = structlog.get_logger()

_LOCK = "select from quality.lock where name = 'notifications' for update"
"""Lets one process at a time send notifications."""


def require_schema(connection: Connection) -> None:
    """Raise :class:`ScanError` if the schema of the database is older than this code."""
    with wrapped_errors("incidents"):
        row = connection.execute("select to_regclass('quality.series_drift') is not null").fetchone()
    if row != (True,):
        raise ScanError("the database lacks the tables and views of quality scans. Run `timescale migrate`.")


def record(connection: Connection, alerts: Iterable[Alert], notifiers: Sequence[str]) -> None:
    """Open or update the incidents of failures and close those of recoveries, in the open transaction.

    New incidents and recoveries are marked as pending for ``notifiers`` (names).
    """
    with wrapped_errors("incidents"), connection.cursor() as cursor:
        for state, statement in (("open", _OPEN), ("recovered", _CLOSE)):
            cursor.executemany(
                statement,
                [
                    {
                        "key": alert.key,
                        "title": alert.title,
                        "check": alert.check,
                        "sensor": alert.sensor,
                        "measured": alert.measured_text,
                        "threshold": alert.threshold,
                        "link": alert.link,
                        "at": alert.at,
                        "since": alert.since or alert.at,
                        "notifiers": list(notifiers),
                    }
                    for alert in alerts
                    if alert.state == state
                ],
            )


def close_unchecked(
    connection: Connection, prefix: str, checked: Sequence[str], at: datetime, notifiers: Sequence[str]
) -> None:
    """Close the open incidents whose key begins with ``prefix`` and is not in ``checked``: their check was removed."""
    with wrapped_errors("incidents"):
        connection.execute(
            _CLOSE_UNCHECKED,
            {"prefix": prefix, "checked": list(checked), "at": at, "notifiers": list(notifiers)},
        )


def send_pending(connection: Connection, notifiers: Sequence[Notifier], remind_hours: float | None) -> None:
    """Send the pending notifications of each of ``notifiers``; ``connection`` must be in autocommit mode.

    Open incidents that were last notified more than ``remind_hours`` ago are notified again. One process at a time
    sends; another waits for it.
    """
    with connect(autocommit=False, application_name="quality-notify") as lock, wrapped_errors("incidents"):
        lock.execute(_LOCK)
        if remind_hours is not None:
            connection.execute(_REMIND, {"hours": remind_hours, "notifiers": [notifier.name for notifier in notifiers]})
        for notifier in notifiers:
            _send_pending(connection, notifier)


def try_send(notifier: Notifier, alerts: Sequence[Alert]) -> bool:
    """Send ``alerts`` through ``notifier`` and return whether it succeeded; any error becomes a log line."""
    try:
        notifier.send(alerts)
    except Exception as error:  # noqa: BLE001 - a failed notification must never stop a scan
        with contextlib.suppress(OSError, ValueError):  # the log itself may be broken
            message = str(error) if isinstance(error, NotifyError) else f"{type(error).__name__}: {error}"
            log.warning("notification failed", notifier=notifier.name, error=message)
        return False
    return True


def _send_pending(connection: Connection, notifier: Notifier) -> None:
    with wrapped_errors("incidents"), connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_PENDING, {"name": notifier.name}).fetchall()
    opened = [row for row in rows if notifier.name in row["untold"]]
    recovered = [row for row in rows if notifier.name in row["recovery_untold"]]
    alerts = [
        Alert(
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
        for recovery, incidents in ((False, opened), (True, recovered))
        for row in incidents
    ]
    if alerts and try_send(notifier, alerts):
        with wrapped_errors("incidents"):
            for statement, incidents in ((_NOTIFIED, opened), (_RECOVERY_NOTIFIED, recovered)):
                connection.execute(statement, {"name": notifier.name, "ids": [row["id"] for row in incidents]})


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
    set closed_at = %(at)s, measured_value = 'no longer checked', recovery_untold = %(notifiers)s
    where closed_at is null and starts_with(key, %(prefix)s) and not key = any(%(checked)s)
"""
_REMIND = """
    update quality.incident
    set untold = %(notifiers)s
    where closed_at is null and told_at < now() - %(hours)s * interval '1 hour'
"""
_PENDING = """
    select * from quality.incident
    where (untold <> '{}' or recovery_untold <> '{}')
        and (%(name)s = any(untold) or %(name)s = any(recovery_untold))
    order by id
"""
_NOTIFIED = """
    update quality.incident set untold = array_remove(untold, %(name)s), told_at = now() where id = any(%(ids)s)
"""
_RECOVERY_NOTIFIED = """
    update quality.incident set recovery_untold = array_remove(recovery_untold, %(name)s) where id = any(%(ids)s)
"""

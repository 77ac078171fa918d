"""Database connections from libpq's PG* variables; the driver's errors are wrapped here."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from core.errors import DatabaseError

Connection = psycopg.Connection[tuple[Any, ...]]

PARAMETERS: dict[str, Any] = {
    "connect_timeout": 10,
    # Detects a dead server (cable, firewall, host) within half a minute; TCP's defaults take hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
    # Whoever waits longer than this for a lock reports it and tries again, instead of hanging.
    "options": "-c timezone=UTC -c lock_timeout=30s",
}
"""Parameters of every connection, in addition to libpq's variables."""


def connect(*, autocommit: bool = True, application_name: str = "sensor-warehouse") -> Connection:
    """Open a connection to the database that ``PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE PGSSLMODE`` name.

    The time zone of the session is UTC. Raises :class:`DatabaseError` with the fix if the server can't be reached.
    """
    try:
        connection = psycopg.connect(autocommit=autocommit, application_name=application_name, **PARAMETERS)
    except psycopg.OperationalError as error:
        raise DatabaseError(
            f"no connection to the database: {reason(error)}. "
            "Start one (`timescale serve`, or docker compose) and set PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE."
        ) from error
    return connection


def reason(error: BaseException) -> str:
    """Return the first line of the error text, where the driver states the reason."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def wrapped_errors(action: str) -> Iterator[None]:
    """Turn the driver's errors inside the block into a :class:`DatabaseError` that names the ``action``."""
    try:
        yield
    except psycopg.Error as error:
        raise DatabaseError(f"{action}: {str(error).strip()}") from error

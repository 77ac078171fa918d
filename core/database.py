"""Connections: libpq's own PG* variables say where, one place wraps the driver's errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from core.errors import DatabaseError

Connection = psycopg.Connection[tuple[Any, ...]]

PARAMETERS: dict[str, Any] = {
    "connect_timeout": 10,
    # A server that vanished (cable, firewall, host) is noticed within half a minute, not after TCP's hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
    "options": "-c timezone=UTC",
}
"""What every connection of the product is told, besides libpq's own variables."""


def connect(*, autocommit: bool = True, application_name: str = "sensor-warehouse") -> Connection:
    """Open a connection to the database that ``PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE PGSSLMODE`` name.

    The session speaks UTC. Raises :class:`DatabaseError` with the mend when the server can't be reached.
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
    """Return the first line of what ``error`` says, which is where the driver puts what happened."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def wrapped(doing: str) -> Iterator[None]:
    """Turn the driver's errors inside the block into a :class:`DatabaseError` that says what was being done."""
    try:
        yield
    except psycopg.Error as error:
        raise DatabaseError(f"{doing}: {str(error).strip()}") from error

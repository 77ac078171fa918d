"""The database as it is read here: a few connections, read-only, each query with an end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from access.problems import ProblemError
from timescale.database import PARAMETERS, reason

Row = tuple[Any, ...]
Query = sql.SQL | sql.Composed

_PATIENCE = 3.0
"""Seconds that a request waits for a connection."""
_GRACE = 5.0
"""So much longer than a query may take we wait for a server that doesn't say so itself."""

_RETRY = {"Retry-After": "5"}


class Database:
    """A pool of ``connections``; a query ends after ``seconds``."""

    def __init__(self, connections: int, seconds: float) -> None:
        options = [
            PARAMETERS["options"],
            "-c default_transaction_read_only=on",
            f"-c statement_timeout={seconds * 1000:.0f}",
            "-c jit=off",  # compiling takes longer than any page
        ]
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # /ready and each answer say it
        self._seconds = seconds
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Row]] = AsyncConnectionPool(
            kwargs={
                **PARAMETERS,
                "options": " ".join(options),
                "application_name": "access",
                "autocommit": True,
                # Behind a pooler that hands out another session each time, a prepared statement is not there.
                "prepare_threshold": None,
            },
            min_size=1,
            max_size=connections,
            timeout=_PATIENCE,
            max_waiting=connections * 20,
            check=AsyncConnectionPool.check_connection,
            # Never given up: the next request tries again at once.
            reconnect_timeout=10.0,
            open=False,
        )

    async def open(self) -> None:
        """Begin to connect, and return at once: the database may come later."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    @property
    def busy(self) -> int:
        """Connections in use."""
        stats = self._pool.get_stats()
        return int(stats.get("pool_size", 0) - stats.get("pool_available", 0))

    async def rows(
        self, query: Query, values: Mapping[str, Any] | None = None, *, patience: float = _PATIENCE
    ) -> Sequence[Row]:
        """Return what ``query`` finds; raises :class:`ProblemError`. ``patience`` in seconds, for a connection."""
        async with self._problems(), self._pool.connection(timeout=patience) as connection:
            async with asyncio.timeout(self._seconds + _GRACE):
                cursor = await connection.cursor(binary=True).execute(query, values)
                found: Sequence[Row] = await cursor.fetchall()
                return found

    async def answers(self) -> bool:
        """Return whether it does."""
        try:
            await self.rows(sql.SQL("select 1"), patience=1.0)
        except ProblemError:
            return False
        return True

    @asynccontextmanager
    async def _problems(self) -> AsyncIterator[None]:
        """Turn the driver's errors inside the block into problems."""
        try:
            yield
        except (errors.QueryCanceled, TimeoutError) as error:
            raise ProblemError("too-slow", f"The database took more than {self._seconds:g} s.") from error
        except (errors.UndefinedTable, errors.InvalidSchemaName, errors.UndefinedColumn) as error:
            raise ProblemError("not-built", f"{reason(error)}. {_mend(str(error))}") from error
        except errors.InsufficientPrivilege as error:
            mend = "The login of the HTTP interface must be a member of access_api: docs/security.md."
            raise ProblemError("not-built", f"{reason(error)}. {mend}") from error
        except (PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise ProblemError("database-away", "The database does not answer.", headers=_RETRY) from error


def _mend(text: str) -> str:
    if '"marts' in text:
        return "Marts are built by `make marts`, or by Airflow."
    return "The schema is brought up to date by `timescale migrate`."

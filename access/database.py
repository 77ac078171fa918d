"""Pool of read-only database connections with a timeout for each query."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from access.problems import ProblemError
from core.database import PARAMETERS, reason

Row = tuple[Any, ...]
Query = sql.SQL | sql.Composed

_POOL_TIMEOUT = 3.0
"""Seconds that a request waits for a connection."""
_GRACE = 5.0
"""Seconds after the query timeout before a server that does not report it is given up."""

_RETRY = {"Retry-After": "5"}


class Database:
    """A pool of ``connections``; the timeout of a query is ``seconds``."""

    def __init__(self, connections: int, seconds: float) -> None:
        options = [
            PARAMETERS["options"],
            "-c default_transaction_read_only=on",
            f"-c statement_timeout={seconds * 1000:.0f}",
            "-c jit=off",  # JIT compilation takes longer than any query of a page
        ]
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # /ready and each response report it
        self._seconds = seconds
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Row]] = AsyncConnectionPool(
            kwargs={
                **PARAMETERS,
                "options": " ".join(options),
                "application_name": "access",
                "autocommit": True,
                # Behind a pooler that assigns another session to each transaction, prepared statements are missing.
                "prepare_threshold": None,
            },
            min_size=1,
            max_size=connections,
            timeout=_POOL_TIMEOUT,
            max_waiting=connections * 20,
            check=AsyncConnectionPool.check_connection,
            # The pool never stops reconnecting: each request triggers another attempt.
            reconnect_timeout=10.0,
            open=False,
        )

    async def open(self) -> None:
        """Start connecting and return immediately: the database may be started later."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    @property
    def connections_in_use(self) -> int:
        """Number of connections in use."""
        stats = self._pool.get_stats()
        return int(stats.get("pool_size", 0) - stats.get("pool_available", 0))

    async def fetch(
        self,
        query: Query,
        values: Mapping[str, Any] | None = None,
        *,
        pool_timeout: float = _POOL_TIMEOUT,
        total_timeout: float | None = None,
    ) -> Sequence[Row]:
        """Return all rows of ``query``; raises :class:`ProblemError`.

        ``pool_timeout`` limits the wait for a connection and ``total_timeout`` the whole call, even if the server does
        not respond; its default is a little more than the query timeout. Both are in seconds.
        """
        # Not asyncio.timeout: a cancelled query first waits for the server's confirmation, which may never come.
        task = asyncio.ensure_future(self._fetch(query, values, pool_timeout))
        task.add_done_callback(_retrieve_exception)
        try:
            done, _ = await asyncio.wait({task}, timeout=total_timeout or pool_timeout + self._seconds + _GRACE)
        except asyncio.CancelledError:  # the client has disconnected
            task.cancel()
            raise
        if done:
            return task.result()
        task.cancel()
        raise self._too_slow()

    async def _fetch(self, query: Query, values: Mapping[str, Any] | None, pool_timeout: float) -> Sequence[Row]:
        async with self._problems(), self._pool.connection(timeout=pool_timeout) as connection:
            cursor = await connection.cursor(binary=True).execute(query, values)
            rows: Sequence[Row] = await cursor.fetchall()
            return rows

    async def is_available(self) -> bool:
        """Return whether the database answers within two seconds."""
        try:
            await self.fetch(sql.SQL("select 1"), pool_timeout=1.0, total_timeout=2.0)
        except ProblemError:
            return False
        return True

    def _too_slow(self) -> ProblemError:
        return ProblemError("too-slow", f"The database took more than {self._seconds:g} s.")

    @asynccontextmanager
    async def _problems(self) -> AsyncIterator[None]:
        """Convert errors of the driver inside the block to :class:`ProblemError`."""
        try:
            yield
        except errors.QueryCanceled as error:
            raise self._too_slow() from error
        except (errors.UndefinedTable, errors.InvalidSchemaName, errors.UndefinedColumn) as error:
            raise ProblemError("not-built", f"{reason(error)}. {_build_hint(str(error))}") from error
        except errors.InsufficientPrivilege as error:
            hint = "The database login of the HTTP interface must be a member of access_api, see docs/security.md."
            raise ProblemError("not-built", f"{reason(error)}. {hint}") from error
        except (PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise ProblemError("database-away", "The database does not answer.", headers=_RETRY) from error


def _retrieve_exception(task: "asyncio.Future[Sequence[Row]]") -> None:
    """Retrieve the exception of a query that no caller awaits any more, which asyncio would log as never retrieved."""
    if not task.cancelled():
        task.exception()


def _build_hint(text: str) -> str:
    if '"marts' in text:
        return "Run `make marts` to build the marts, or wait for Airflow to build them."
    return "Run `timescale migrate` to update the schema."

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
from core.database import PARAMETERS, reason

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
        self,
        query: Query,
        values: Mapping[str, Any] | None = None,
        *,
        patience: float = _PATIENCE,
        within: float | None = None,
    ) -> Sequence[Row]:
        """Return what ``query`` finds; raises :class:`ProblemError`.

        ``patience`` is how many seconds a connection is waited for, ``within`` how many it all may take, whatever the
        server does: a little longer than a query may take, unless given.
        """
        # Not asyncio.timeout: a query that is cancelled first waits for the server's word, which may never come.
        task = asyncio.ensure_future(self._rows(query, values, patience))
        task.add_done_callback(_look_at)
        try:
            done, _ = await asyncio.wait({task}, timeout=within or patience + self._seconds + _GRACE)
        except asyncio.CancelledError:  # who asked has gone away
            task.cancel()
            raise
        if done:
            return task.result()
        task.cancel()
        raise self._too_slow()

    async def _rows(self, query: Query, values: Mapping[str, Any] | None, patience: float) -> Sequence[Row]:
        async with self._problems(), self._pool.connection(timeout=patience) as connection:
            cursor = await connection.cursor(binary=True).execute(query, values)
            found: Sequence[Row] = await cursor.fetchall()
            return found

    async def answers(self) -> bool:
        """Return whether it does."""
        try:
            await self.rows(sql.SQL("select 1"), patience=1.0, within=2.0)
        except ProblemError:
            return False
        return True

    def _too_slow(self) -> ProblemError:
        return ProblemError("too-slow", f"The database took more than {self._seconds:g} s.")

    @asynccontextmanager
    async def _problems(self) -> AsyncIterator[None]:
        """Turn the driver's errors inside the block into problems."""
        try:
            yield
        except errors.QueryCanceled as error:
            raise self._too_slow() from error
        except (errors.UndefinedTable, errors.InvalidSchemaName, errors.UndefinedColumn) as error:
            raise ProblemError("not-built", f"{reason(error)}. {_mend(str(error))}") from error
        except errors.InsufficientPrivilege as error:
            mend = "The login of the HTTP interface must be a member of access_api: docs/security.md."
            raise ProblemError("not-built", f"{reason(error)}. {mend}") from error
        except (PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise ProblemError("database-away", "The database does not answer.", headers=_RETRY) from error


def _look_at(task: "asyncio.Future[Sequence[Row]]") -> None:
    """Take note of how a query has ended, also where nobody waits for it any more."""
    if not task.cancelled():
        task.exception()


def _mend(text: str) -> str:
    if '"marts' in text:
        return "Marts are built by `make marts`, or by Airflow."
    return "The schema is brought up to date by `timescale migrate`."

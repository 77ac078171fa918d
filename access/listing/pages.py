"""Keyset pagination: each page of a list begins after the key of the last row of the previous page.

No database cursor or connection stays open between pages, so a slow client costs the database nothing, and a list of
any length needs the memory of one page.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from psycopg import sql

from access.database import Database
from access.listing.cursor import Key
from access.openapi.models import Row

MAX_ROWS = 10_000
"""Maximum number of rows per page; also the page size of lists that are streamed completely."""


@dataclass(frozen=True)
class Page:
    """Rows of a list, and the key after which the next page begins; None: this is the last page."""

    rows: Sequence[Row]
    after: Key | None


class Listing(Protocol):
    """A list that can be read page by page."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""

    @property
    def key_types(self) -> tuple[type, ...]:
        """The types of the key columns."""

    async def page(self, database: Database, after: Key | None, limit: int) -> Page:
        """Return up to ``limit`` rows after the key ``after`` (None: the first rows)."""


async def pages(listing: Listing, database: Database, first: Page) -> AsyncIterator[Page]:
    """Yield ``first`` and all pages after it."""
    page = first
    yield page
    while page.after is not None:
        page = await listing.page(database, page.after, MAX_ROWS)
        yield page


@dataclass(frozen=True)
class Table:
    """Columns of ``source`` (a table or a subquery with alias), ordered by ``key``.

    ``key`` maps columns that are unique together to their types; ``conditions`` use the placeholders in ``values``.
    """

    columns: tuple[str, ...]
    source: sql.Composable
    key: Mapping[str, type]
    conditions: Sequence[sql.Composable] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    descending: bool = False

    @property
    def key_types(self) -> tuple[type, ...]:
        """The types of the key columns."""
        return tuple(self.key.values())

    async def page(self, database: Database, after: Key | None, limit: int) -> Page:
        """Return up to ``limit`` rows after the key ``after``."""
        comma = sql.SQL(", ")
        names = [sql.Identifier(name) for name in self.key]
        conditions, values = list(self.conditions), {**self.values, "limit": limit + 1}
        if after is not None:
            placeholders = [sql.Placeholder(f"after_{index}") for index in range(len(names))]
            comparison = sql.SQL("({}) < ({})" if self.descending else "({}) > ({})")
            conditions.append(comparison.format(comma.join(names), comma.join(placeholders)))
            values |= {f"after_{index}": value for index, value in enumerate(after)}
        direction = sql.SQL("{} desc" if self.descending else "{}")
        query = sql.SQL("select {} from {} where {} order by {} limit %(limit)s").format(
            comma.join(sql.Identifier(name) for name in self.columns),
            self.source,
            sql.SQL(" and ").join(conditions or [sql.SQL("true")]),
            comma.join(direction.format(name) for name in names),
        )
        rows = await database.fetch(query, values)
        if len(rows) <= limit:
            return Page(rows, None)
        last = rows[limit - 1]
        return Page(rows[:limit], tuple(last[self.columns.index(name)] for name in self.key))

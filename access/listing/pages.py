"""Lists that are read part by part: each part begins after the key of the last row of the one before.

No cursor is held open and no connection kept between parts, so a slow reader costs the database nothing, and a list of
any length takes the memory of one part.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from psycopg import sql

from access.database import Database
from access.listing.cursor import Key
from access.openapi.models import Row

PART = 10_000
"""Rows of a part where all are wanted."""


@dataclass(frozen=True)
class Part:
    """Some rows of a list, and the key after which the next ones come; None: these are the last."""

    rows: Sequence[Row]
    after: Key | None


class Listing(Protocol):
    """Anything that can be read part by part."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of what a row holds."""

    @property
    def key_types(self) -> tuple[type, ...]:
        """The types of what a key holds."""

    async def part(self, database: Database, after: Key | None, most: int) -> Part:
        """Return ``most`` rows at most, those after ``after`` (None: the first)."""


async def parts(found: Listing, database: Database, first: Part) -> AsyncIterator[Part]:
    """Yield ``first`` and all parts that follow it."""
    part = first
    yield part
    while part.after is not None:
        part = await found.part(database, part.after, PART)
        yield part


@dataclass(frozen=True)
class Table:
    """Columns of ``source``, a table or a query in brackets with a name, in the order of ``key``.

    ``key`` are columns whose values no two rows share, with their types; ``conditions`` use what is in ``values``.
    """

    columns: tuple[str, ...]
    source: sql.Composable
    key: Mapping[str, type]
    conditions: Sequence[sql.Composable] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    descending: bool = False

    @property
    def key_types(self) -> tuple[type, ...]:
        """The types of what a key holds."""
        return tuple(self.key.values())

    async def part(self, database: Database, after: Key | None, most: int) -> Part:
        """Return ``most`` rows at most, those after ``after``."""
        comma = sql.SQL(", ")
        names = [sql.Identifier(name) for name in self.key]
        conditions, values = list(self.conditions), {**self.values, "most": most + 1}
        if after is not None:
            places = [sql.Placeholder(f"after_{index}") for index in range(len(names))]
            compare = sql.SQL("({}) < ({})" if self.descending else "({}) > ({})")
            conditions.append(compare.format(comma.join(names), comma.join(places)))
            values |= {f"after_{index}": value for index, value in enumerate(after)}
        direction = sql.SQL("{} desc" if self.descending else "{}")
        query = sql.SQL("select {} from {} where {} order by {} limit %(most)s").format(
            comma.join(sql.Identifier(name) for name in self.columns),
            self.source,
            sql.SQL(" and ").join(conditions or [sql.SQL("true")]),
            comma.join(direction.format(name) for name in names),
        )
        rows = await database.rows(query, values)
        if len(rows) <= most:
            return Part(rows, None)
        last = rows[most - 1]
        return Part(rows[:most], tuple(last[self.columns.index(name)] for name in self.key))

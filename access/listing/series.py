"""Lists over single series, one after the other in the order of their names: readings, and windows over them.

Each series is read by its key, (series_id, time), so a part takes as long as its rows, however many others there are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from psycopg import sql

from access import times
from access.database import Database
from access.listing.cursor import Key
from access.listing.pages import Part
from access.openapi.models import Reading, Row, Window, columns
from access.problems import ProblemError

Order = Literal["asc", "desc"]

MOST_OVERLAPPING = 1000
"""Windows that one reading may lie in."""

_ROUNDS = 20
"""Queries for one part of windows: a series that reports seldom has few windows in each."""


@dataclass(frozen=True)
class Series:
    """One quantity of one sensor."""

    series_id: int
    sensor_id: str
    quantity: str
    unit: str


@dataclass(frozen=True)
class Readings:
    """Raw readings of ``series``, each in the order of time, from ``begin`` to before ``end``."""

    series: Sequence[Series]
    begin: datetime
    end: datetime
    order: Order = "asc"

    columns = columns(Reading)
    key_types = (int, datetime)

    async def part(self, database: Database, after: Key | None, most: int) -> Part:
        """Return ``most`` rows at most, those after ``after``: series_id and time of a reading."""
        rows: list[Row] = []
        query = _ASCENDING if self.order == "asc" else _DESCENDING
        for one in _from(self.series, after):
            begin, end = self.begin, self.end
            if after is not None and after[0] == one.series_id:
                if self.order == "asc":
                    begin = max(begin, after[1] + times.MICROSECOND)
                else:
                    end = min(end, after[1])
            values = {"series": one.series_id, "begin": begin, "end": end, "most": most + 1 - len(rows)}
            found = await database.rows(query, values)
            named = (one.sensor_id, one.quantity, one.unit)
            rows += [(*named, *row) for row in found]
            if len(rows) > most:
                # The row too many tells that there are more; it may be of this series or the first of it.
                del rows[most:]
                if len(found) > 1:
                    return Part(rows, (one.series_id, found[-2][0]))
                return Part(rows, (one.series_id, begin - times.MICROSECOND if self.order == "asc" else end))
        return Part(rows, None)


_ASCENDING = sql.SQL("""
    select time, value from telemetry.reading
    where series_id = %(series)s and time >= %(begin)s and time < %(end)s order by time limit %(most)s
""")
_DESCENDING = sql.SQL("""
    select time, value from telemetry.reading
    where series_id = %(series)s and time >= %(begin)s and time < %(end)s order by time desc limit %(most)s
""")


@dataclass(frozen=True)
class Windows:
    """Average, minimum, maximum and count of ``series`` over windows of ``width``, one every ``step`` from ``begin``.

    Both in microseconds. Windows without readings are left out; those that reach beyond ``end`` are cut off there.
    Means are those of telemetry.window_means: sum over count.
    """

    series: Sequence[Series]
    begin: datetime
    end: datetime
    width: int
    step: int

    columns = columns(Window)
    key_types = (int, int)

    def __post_init__(self) -> None:
        if self.step > self.width:
            raise _wrong("step", "longer than the window: readings between two windows would count for neither")
        if self.width > self.step * MOST_OVERLAPPING:
            raise _wrong("step", f"each reading would count {self.width // self.step:,} times; 1,000 at most")

    def of(self, series: Sequence[Series]) -> "Windows":
        """Return the same windows over other series."""
        return replace(self, series=series)

    @property
    def level(self) -> str:
        """The table that the windows can be made of: whole minutes, hours or days need no raw readings."""
        for level, length in (("1d", 86_400_000_000), ("1h", 3_600_000_000), ("1m", 60_000_000)):
            if all(
                value % length == 0
                for value in (self.width, self.step, times.micros(self.begin), times.micros(self.end))
            ):
                return level
        return "raw"

    async def part(self, database: Database, after: Key | None, most: int) -> Part:
        """Return ``most`` rows at most, those after ``after``: series_id and number of a window."""
        rows: list[Row] = []
        rounds = 0
        for one in _from(self.series, after):
            last = -1 if after is None or after[0] != one.series_id else int(after[1])
            while True:
                if len(rows) >= most or rounds >= _ROUNDS:
                    return Part(rows, (one.series_id, last))
                rounds += 1
                first = await self._next(database, one, last + 1)
                if first is None:
                    break
                last = first + most - len(rows) - 1
                found = await self._windows(database, one, first, last)
                named = (one.sensor_id, one.quantity, one.unit)
                rows += [(*named, self._start(number), *figures) for number, *figures in found]
        return Part(rows, None)

    def _start(self, number: int) -> datetime:
        return self.begin + timedelta(microseconds=number * self.step)

    async def _next(self, database: Database, one: Series, number: int) -> int | None:
        """Return the number of the first window from ``number`` on that has readings."""
        if (begin := self._start(number)) >= self.end:
            return None
        table, time, *_ = _LEVELS[self.level]
        query = sql.SQL(
            "select {time} from {table} where series_id = %(series)s and {time} >= %(begin)s and {time} < %(end)s "
            "order by {time} limit 1"
        ).format(table=table, time=time)
        found = await database.rows(query, {"series": one.series_id, "begin": begin, "end": self.end})
        if not found:
            return None
        distance: int = (found[0][0] - self.begin) // times.MICROSECOND
        return max(number, (distance - self.width) // self.step + 1)

    async def _windows(self, database: Database, one: Series, first: int, last: int) -> Sequence[Row]:
        table, time, *figures = _LEVELS[self.level]
        sums, minimum, maximum, count = figures
        query = _WINDOWS.format(table=table, time=time, sum=sums, minimum=minimum, maximum=maximum, count=count)
        grain = math.gcd(self.width, self.step)
        return await database.rows(
            query,
            {
                "series": one.series_id,
                "origin": self.begin,
                "begin": self._start(first),
                "end": min(self.end, self._start(last) + timedelta(microseconds=self.width)),
                "first": first,
                "last": last,
                "step": self.step,
                "width": self.width,
                "grain": grain,
                "bin": timedelta(microseconds=grain),
            },
        )


_RAW = ("value", "value", "value")
_LEVELS: dict[str, tuple[sql.SQL, ...]] = {
    "raw": tuple(map(sql.SQL, ("telemetry.reading", "time", "sum(value)", "min(value)", "max(value)", "count(*)"))),
} | {
    level: tuple(
        map(
            sql.SQL,
            (
                f"telemetry.reading_{level}",
                "bucket",
                "sum(sum_value)",
                "min(minimum)",
                "max(maximum)",
                "sum(sample_count)",
            ),
        )
    )
    for level in ("1m", "1h", "1d")
}
"""Of each level its table, the column of time, and how sum, minimum, maximum and count are had."""

# First bins as long as the greatest common measure of width and step: each lies wholly in a window or wholly outside. A
# bin is then in the windows from the first that ends with it or later to the last that begins with it or earlier.
_WINDOWS = sql.SQL("""
    with bins as (
        select
            date_bin(%(bin)s, {time}, %(origin)s) as bin,
            {sum} as sum_value,
            {minimum} as minimum,
            {maximum} as maximum,
            {count} as sample_count
        from {table}
        where series_id = %(series)s and {time} >= %(begin)s and {time} < %(end)s
        group by 1
    ),

    placed as (
        select *, (extract(epoch from bin - %(origin)s) * 1000000)::bigint as distance
        from bins
    )

    select
        number,
        sum(sum_value) / sum(sample_count)::double precision,
        min(minimum),
        max(maximum),
        sum(sample_count)::bigint
    from placed
    cross join lateral generate_series(
        greatest(
            %(first)s::bigint,
            (greatest(distance + %(grain)s::bigint - %(width)s::bigint, 0) + %(step)s::bigint - 1) / %(step)s::bigint
        ),
        least(%(last)s::bigint, distance / %(step)s::bigint)
    ) as number
    group by number
    order by number
""")


def _from(series: Sequence[Series], after: Key | None) -> Sequence[Series]:
    """Return the series that are not behind ``after``, whose first value is a series_id."""
    if after is None:
        return series
    for index, one in enumerate(series):
        if one.series_id == after[0]:
            return series[index:]
    raise ProblemError("malformed", "The series that the cursor is at is not among those asked for any more.")


def _wrong(parameter: str, detail: str) -> ProblemError:
    return ProblemError("invalid", f"{parameter}: {detail}.", [{"parameter": parameter, "detail": detail}])


async def resolve(
    database: Database, sensors: Sequence[str], quantities: Sequence[str], site: str | None, area: str | None
) -> list[Series]:
    """Return the series asked for, in the order of sensor and quantity.

    An empty list asks for all. Raises :class:`ProblemError` where what is named is not there.
    """
    values = {"sensors": list(sensors), "quantities": list(quantities), "site": site, "area": area}
    found = [Series(*row) for row in await database.rows(_SERIES, values)]
    if missing := sorted(set(sensors) - {one.sensor_id for one in found}):
        known = await database.rows(_KNOWN, {"sensors": missing})
        unknown = sorted(set(missing) - {row[0] for row in known})
        if unknown:
            raise ProblemError("not-found", f"There is no sensor {unknown[0]!r}; GET /sensors lists them.")
        told = f"Sensor {missing[0]!r} has {known[0][1] or 'no quantity'}"
        raise ProblemError("not-found", f"{told}; nothing of it is what was asked for.")
    if absent := set(quantities) - {one.quantity for one in found}:
        measured = {row[0] for row in await database.rows(_MEASURED)}
        if unknown := sorted(absent - measured):
            raise ProblemError(
                "not-found", f"No sensor measures {unknown[0]!r}; there is {', '.join(sorted(measured))}."
            )
    return found


_SERIES = sql.SQL("""
    select series.series_id, series.sensor_id, series.quantity, series.unit
    from telemetry.series
    inner join telemetry.sensor on series.sensor_id = sensor.sensor_id
    where
        (cardinality(%(sensors)s::text[]) = 0 or series.sensor_id = any(%(sensors)s::text[]))
        and (cardinality(%(quantities)s::text[]) = 0 or series.quantity = any(%(quantities)s::text[]))
        and (%(site)s::text is null or sensor.site = %(site)s::text)
        and (%(area)s::text is null or sensor.area = %(area)s::text)
    order by series.sensor_id, series.quantity
""")
_MEASURED = sql.SQL("select distinct quantity from telemetry.series")
_KNOWN = sql.SQL("""
    select sensor.sensor_id, string_agg(series.quantity, ', ' order by series.quantity)
    from telemetry.sensor
    left join telemetry.series on sensor.sensor_id = series.sensor_id
    where sensor.sensor_id = any(%(sensors)s::text[])
    group by sensor.sensor_id
    order by sensor.sensor_id
""")

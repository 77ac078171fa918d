"""List of windows over readings (average, minimum, maximum, count), one series after the other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from psycopg import sql

from access import times
from access.database import Database
from access.listing.cursor import Key
from access.listing.pages import Page
from access.listing.series import Series, remaining
from access.openapi.models import Row, Window, columns
from access.problems import ProblemError

MAX_OVERLAPPING = 1000
"""Maximum number of windows that contain the same reading."""

_MAX_QUERIES = 20
"""Maximum number of queries for one page: a series with few readings has few windows per query."""


@dataclass(frozen=True)
class Windows:
    """Average, minimum, maximum and count of ``series`` over windows of ``width``, one every ``step`` from ``begin``.

    Width and step are in microseconds. Windows without readings are omitted; the last windows end at ``end``. The
    average is that of telemetry.window_means: sum divided by count.
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
            raise _invalid("step", "longer than the window: readings between two windows would be in neither")
        if self.width > self.step * MAX_OVERLAPPING:
            raise _invalid("step", f"each reading would be in {self.width // self.step:,} windows; 1,000 at most")

    def with_series(self, series: Sequence[Series]) -> "Windows":
        """Return the same windows for other series."""
        return replace(self, series=series)

    @property
    def level(self) -> str:
        """The coarsest level to compute the windows from; whole minutes, hours or days need no raw readings."""
        for level, length in (("1d", 86_400_000_000), ("1h", 3_600_000_000), ("1m", 60_000_000)):
            if all(
                value % length == 0
                for value in (self.width, self.step, times.to_micros(self.begin), times.to_micros(self.end))
            ):
                return level
        return "raw"

    async def page(self, database: Database, after: Key | None, limit: int) -> Page:
        """Return up to ``limit`` rows after the key ``after`` (series_id and number of a window)."""
        rows: list[Row] = []
        queries = 0
        for series in remaining(self.series, after):
            last = -1 if after is None or after[0] != series.series_id else int(after[1])
            while True:
                if len(rows) >= limit or queries >= _MAX_QUERIES:
                    return Page(rows, (series.series_id, last))
                queries += 1
                first = await self._first_with_readings(database, series, last + 1)
                if first is None:
                    break
                last = first + limit - len(rows) - 1
                windows = await self._windows(database, series, first, last)
                names = (series.sensor_id, series.quantity, series.unit)
                rows += [(*names, self._start(number), *figures) for number, *figures in windows]
        return Page(rows, None)

    def _start(self, number: int) -> datetime:
        return self.begin + timedelta(microseconds=number * self.step)

    async def _first_with_readings(self, database: Database, series: Series, number: int) -> int | None:
        """Return the number of the first window with readings, starting at ``number``."""
        if (begin := self._start(number)) >= self.end:
            return None
        table, time, *_ = _LEVELS[self.level]
        query = sql.SQL(
            "select {time} from {table} where series_id = %(series)s and {time} >= %(begin)s and {time} < %(end)s "
            "order by {time} limit 1"
        ).format(table=table, time=time)
        rows = await database.fetch(query, {"series": series.series_id, "begin": begin, "end": self.end})
        if not rows:
            return None
        distance: int = (rows[0][0] - self.begin) // times.MICROSECOND
        return max(number, (distance - self.width) // self.step + 1)

    async def _windows(self, database: Database, series: Series, first: int, last: int) -> Sequence[Row]:
        table, time, *figures = _LEVELS[self.level]
        sums, minimum, maximum, count = figures
        query = _WINDOWS.format(table=table, time=time, sum=sums, minimum=minimum, maximum=maximum, count=count)
        grain = math.gcd(self.width, self.step)
        return await database.fetch(
            query,
            {
                "series": series.series_id,
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
"""By level: table, time column, and the expressions of sum, minimum, maximum and count."""

# Readings are first grouped into bins of the greatest common divisor of width and step, so that each bin is entirely
# inside or outside of a window. A bin belongs to every window from the first one that ends at or after the end of the
# bin to the last one that starts at or before its start.
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


def _invalid(parameter: str, detail: str) -> ProblemError:
    return ProblemError("invalid", f"{parameter}: {detail}.", [{"parameter": parameter, "detail": detail}])

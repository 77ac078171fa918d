"""List of raw readings, one series after the other in the order of their names.

Each series is read by its key, (series_id, time), so the duration of a page depends only on its rows, not on the number
of other series.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg import sql

from access import times
from access.database import Database
from access.listing.cursor import Key
from access.listing.pages import Page
from access.listing.series import Series, remaining
from access.openapi.models import Reading, Row, columns

Order = Literal["asc", "desc"]


@dataclass(frozen=True)
class Readings:
    """Raw readings of ``series``, each ordered by time, from ``begin`` to before ``end``."""

    series: Sequence[Series]
    begin: datetime
    end: datetime
    order: Order = "asc"

    columns = columns(Reading)
    key_types = (int, datetime)

    async def page(self, database: Database, after: Key | None, limit: int) -> Page:
        """Return up to ``limit`` rows after the key ``after`` (series_id and time of a reading)."""
        rows: list[Row] = []
        query = _ASCENDING if self.order == "asc" else _DESCENDING
        for series in remaining(self.series, after):
            begin, end = self.begin, self.end
            if after is not None and after[0] == series.series_id:
                if self.order == "asc":
                    begin = max(begin, after[1] + times.MICROSECOND)
                else:
                    end = min(end, after[1])
            values = {"series": series.series_id, "begin": begin, "end": end, "limit": limit + 1 - len(rows)}
            readings = await database.fetch(query, values)
            rows += [(series.sensor_id, series.quantity, series.unit, *reading) for reading in readings]
            if len(rows) > limit:
                # The additional row shows that more follow; it may be the first row of this series.
                del rows[limit:]
                if len(readings) > 1:
                    return Page(rows, (series.series_id, readings[-2][0]))
                return Page(rows, (series.series_id, begin - times.MICROSECOND if self.order == "asc" else end))
        return Page(rows, None)


_ASCENDING = sql.SQL("""
    select time, value from telemetry.reading
    where series_id = %(series)s and time >= %(begin)s and time < %(end)s order by time limit %(limit)s
""")
_DESCENDING = sql.SQL("""
    select time, value from telemetry.reading
    where series_id = %(series)s and time >= %(begin)s and time < %(end)s order by time desc limit %(limit)s
""")

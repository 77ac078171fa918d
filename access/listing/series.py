"""The series that a request selects."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from access.database import Database
from access.listing.cursor import Key
from access.problems import ProblemError


@dataclass(frozen=True)
class Series:
    """One quantity of one sensor."""

    series_id: int
    sensor_id: str
    quantity: str
    unit: str


def remaining(series: Sequence[Series], after: Key | None) -> Sequence[Series]:
    """Return ``series`` from the one of the key ``after`` on; the first value of the key is a series_id."""
    if after is None:
        return series
    for index, candidate in enumerate(series):
        if candidate.series_id == after[0]:
            return series[index:]
    raise ProblemError("malformed", "The series of the cursor is no longer among the selected series.")


async def resolve(
    database: Database, sensors: Sequence[str], quantities: Sequence[str], site: str | None, area: str | None
) -> list[Series]:
    """Return the selected series, ordered by sensor and quantity.

    An empty list selects all. Raises :class:`ProblemError` for an unknown sensor or quantity.
    """
    values = {"sensors": list(sensors), "quantities": list(quantities), "site": site, "area": area}
    selected = [Series(*row) for row in await database.fetch(_SERIES, values)]
    if missing := sorted(set(sensors) - {series.sensor_id for series in selected}):
        known = await database.fetch(_KNOWN, {"sensors": missing})
        unknown = sorted(set(missing) - {row[0] for row in known})
        if unknown:
            raise ProblemError("not-found", f"There is no sensor {unknown[0]!r}; GET /sensors lists them.")
        quantities_of_sensor = known[0][1] or "no quantity"
        detail = f"Sensor {missing[0]!r} measures {quantities_of_sensor}; no series matches the other parameters."
        raise ProblemError("not-found", detail)
    if absent := set(quantities) - {series.quantity for series in selected}:
        measured = {row[0] for row in await database.fetch(_MEASURED)}
        if unknown := sorted(absent - measured):
            raise ProblemError(
                "not-found", f"No sensor measures {unknown[0]!r}; known quantities: {', '.join(sorted(measured))}."
            )
    return selected


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

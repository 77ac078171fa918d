"""Writes the registry into ``telemetry.sensor`` and ``telemetry.series``."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from collector.registry import Registry

_SENSOR = """
insert into telemetry.sensor as s
    (sensor_id, type, site, area, latitude, longitude, topic, timezone, since, description)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
on conflict (sensor_id) do update set
    type = excluded.type, site = excluded.site, area = excluded.area, latitude = excluded.latitude,
    longitude = excluded.longitude, topic = excluded.topic, timezone = excluded.timezone, since = excluded.since,
    description = excluded.description, updated_at = now(), retired_at = null
where (s.type, s.site, s.area, s.latitude, s.longitude, s.topic, s.timezone, s.since, s.description)
    is distinct from (
        excluded.type, excluded.site, excluded.area, excluded.latitude, excluded.longitude, excluded.topic,
        excluded.timezone, excluded.since, excluded.description
    )
    or s.retired_at is not null
"""

# An identity column draws a number for every row an upsert tries, also for those that exist; asking first keeps
# series_id from running away with every start of a collector.
_SERIES_INSERT = """
insert into telemetry.series (sensor_id, quantity, unit, minimum, maximum, interval_seconds, kind)
select %(sensor_id)s, %(quantity)s, %(unit)s, %(minimum)s, %(maximum)s, %(interval_seconds)s, %(kind)s
where not exists (
    select from telemetry.series where sensor_id = %(sensor_id)s and quantity = %(quantity)s
)
"""
_SERIES_UPDATE = """
update telemetry.series as s
set unit = %(unit)s, minimum = %(minimum)s, maximum = %(maximum)s, interval_seconds = %(interval_seconds)s,
    kind = %(kind)s, updated_at = now(), retired_at = null
where s.sensor_id = %(sensor_id)s and s.quantity = %(quantity)s
    and (
        (s.unit, s.minimum, s.maximum, s.interval_seconds, s.kind)
        is distinct from (
            %(unit)s, %(minimum)s::double precision, %(maximum)s::double precision,
            %(interval_seconds)s::double precision, %(kind)s
        )
        or s.retired_at is not null
    )
"""
_RETIRE_SERIES = """
update telemetry.series set retired_at = now()
where retired_at is null and (sensor_id, quantity) not in (select * from unnest(%s::text[], %s::text[]))
"""
_RETIRE_SENSORS = """
update telemetry.sensor set retired_at = now()
where retired_at is null and not (sensor_id = any(%s::text[]))
"""


@dataclass(frozen=True)
class Synchronised:
    """What :func:`synchronise` found and did."""

    series_ids: dict[tuple[str, str], int]
    """(sensor_id, quantity) to series_id, for the series of the registry."""
    written: int
    """Sensors and series that were added, changed or brought back."""
    retired: int
    """Series that the registry no longer has."""
    oldest: datetime | None
    """No reading before this may be stored, since retention has dropped or will drop its bucket; None: all may."""


def synchronise(connection: psycopg.Connection[Any], registry: Registry) -> Synchronised:
    """Make the database's sensors and series those of ``registry``, in one transaction.

    A changed sensor keeps its series_id; what the registry no longer has is retired, never deleted. Collectors
    that start together wait for each other.
    """
    sensors = [
        (
            sensor.sensor_id,
            sensor.type,
            sensor.site,
            sensor.area,
            sensor.latitude,
            sensor.longitude,
            sensor.topic,
            sensor.zone.key if sensor.zone else None,
            sensor.since,
            sensor.description,
        )
        for sensor in registry.sensors
    ]
    series = [
        {
            "sensor_id": sensor.sensor_id,
            "quantity": name,
            "unit": quantity.unit,
            "minimum": quantity.minimum,
            "maximum": quantity.maximum,
            "interval_seconds": quantity.interval_seconds,
            "kind": quantity.kind,
        }
        for sensor in registry.sensors
        for name, quantity in sensor.quantities.items()
    ]
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtext('telemetry.registry'))")
        written = 0
        for statement, rows in ((_SENSOR, sensors), (_SERIES_UPDATE, series), (_SERIES_INSERT, series)):
            cursor.executemany(statement, rows)
            written += max(cursor.rowcount, 0)
        names = [row["sensor_id"] for row in series], [row["quantity"] for row in series]
        cursor.execute(_RETIRE_SERIES, names)
        retired = cursor.rowcount
        cursor.execute(_RETIRE_SENSORS, ([row[0] for row in sensors],))
        cursor.execute("select sensor_id, quantity, series_id from telemetry.series where retired_at is null")
        series_ids = {(sensor_id, quantity): series_id for sensor_id, quantity, series_id in cursor}
        (oldest,) = cursor.execute("select telemetry.oldest_accepted()").fetchall()[0]
    return Synchronised(series_ids, written, retired, oldest)

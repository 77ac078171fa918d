"""Synchronises ``telemetry.sensor`` and ``telemetry.series`` with the registry."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from collector.registry.discovery import Discovery
from collector.registry.sensors import Sensor
from collector.registry.sensors_file import Registry

_SENSOR = """
insert into telemetry.sensor as s
    (sensor_id, type, site, area, latitude, longitude, topic, device, discovered, timezone, since, description)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
on conflict (sensor_id) do update set
    type = excluded.type, site = excluded.site, area = excluded.area, latitude = excluded.latitude,
    longitude = excluded.longitude, topic = excluded.topic, device = excluded.device,
    discovered = excluded.discovered, timezone = excluded.timezone, since = excluded.since,
    description = excluded.description, updated_at = now(), retired_at = null
where (
        s.type, s.site, s.area, s.latitude, s.longitude, s.topic, s.device, s.discovered, s.timezone, s.since,
        s.description
    )
    is distinct from (
        excluded.type, excluded.site, excluded.area, excluded.latitude, excluded.longitude, excluded.topic,
        excluded.device, excluded.discovered, excluded.timezone, excluded.since, excluded.description
    )
    or s.retired_at is not null
"""

# An upsert takes a number of the identity column for every row, also for existing ones. The "where not exists" keeps
# series_id from growing with every start of a collector.
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
_LOCK = "select from telemetry.lock where name = 'registry' for update"
_DISCOVERED = "select sensor_id, topic, device from telemetry.sensor where discovered"
_DISCOVERED_SERIES = "select sensor_id, quantity from telemetry.series where sensor_id = any(%s::text[])"
_IN_SERVICE = """
select sensor_id, topic, device, discovered from telemetry.sensor
where retired_at is null and sensor_id = any(%s::text[])
"""
_COUNT = "select count(*) from telemetry.sensor where discovered and retired_at is null"
_SERIES_IDS = """
select sensor_id, quantity, series_id from telemetry.series
where retired_at is null and sensor_id = any(%s::text[])
"""


@dataclass(frozen=True)
class SyncResult:
    """Result of :func:`synchronise`."""

    series_ids: dict[tuple[str, str], int]
    """(sensor_id, quantity) to series_id, for the series of the registry."""
    discovered: tuple[Sensor, ...]
    """The sensors that its patterns have discovered so far."""
    written: int
    """Number of sensors and series added, changed or put back in service."""
    retired: int
    """Number of series retired because the registry no longer has them."""
    oldest: datetime | None
    """Earliest reading time that may be stored, because retention drops earlier buckets; None: no limit."""


def synchronise(connection: psycopg.Connection[Any], registry: Registry) -> SyncResult:
    """Write the sensors and series of ``registry`` to the database, in one transaction.

    A changed sensor keeps its series_id. Sensors and series that the registry no longer has are retired, never deleted.
    Discovered sensors stay in service where a pattern still covers them, with the present values of its entry.
    Collectors that start at the same time take turns.
    """
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_LOCK)
        listed = [*registry.sensors, *registry.members]
        listed_ids = {sensor.sensor_id for sensor in listed}
        discovered = _covered(cursor.execute(_DISCOVERED).fetchall(), registry, listed_ids)
        sensors = [_sensor_row(sensor, discovered=False) for sensor in listed]
        sensors += [_sensor_row(sensor, discovered=True) for sensor in discovered]
        # A type may list the quantities of a whole device family: a pattern's sensor has only the series it has sent.
        of_patterns = {sensor.sensor_id: sensor for sensor in (*registry.members, *discovered)}
        series = [_series_row(sensor, name) for sensor in registry.sensors for name in sensor.quantities]
        series += [
            _series_row(of_patterns[sensor_id], quantity)
            for sensor_id, quantity in cursor.execute(_DISCOVERED_SERIES, (list(of_patterns),)).fetchall()
            if quantity in of_patterns[sensor_id].quantities
        ]
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
    return SyncResult(series_ids, tuple(discovered), written, retired, oldest)


def register(connection: psycopg.Connection[Any], discoveries: Sequence[Discovery]) -> int:
    """Register ``discoveries`` in one transaction, record them in memory, and return the number of series.

    Sensors that another collector has registered meanwhile are used as they are. Where the limit of discovered sensors
    is reached, or another sensor has the id, only that is recorded.
    """
    registered = discoveries[0].registered
    sensors: dict[str, Sensor] = {}
    for discovery in discoveries:
        sensors.setdefault(discovery.sensor.sensor_id, discovery.sensor)
    accepted: dict[str, Sensor] = {}
    new: list[Sensor] = []
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_LOCK)
        in_service = {row[0]: row[1:] for row in cursor.execute(_IN_SERVICE, (list(sensors),))}
        remaining = registered.limit - cursor.execute(_COUNT).fetchall()[0][0]
        for sensor_id, sensor in sensors.items():
            if sensor_id in in_service:
                topic, device, discovered = in_service[sensor_id]
                owner = registered.registry.sensor_of_pattern(topic, device) if discovered else None
                if not registered.is_registered(sensor) and (owner is None or owner.identity != sensor.identity):
                    registered.record_taken(sensor_id, owner)
                    continue
            elif remaining > 0 or registered.is_registered(sensor):
                remaining -= 1
                new.append(sensor)
            else:
                registered.is_full = True
                continue
            accepted[sensor_id] = sensor
        cursor.executemany(_SENSOR, [_sensor_row(sensor, discovered=True) for sensor in new])
        series = [
            _series_row(sensor, quantity)
            for _, sensor, quantity in discoveries
            if sensor.sensor_id in accepted and sensor.identity == accepted[sensor.sensor_id].identity
        ]
        for statement in (_SERIES_UPDATE, _SERIES_INSERT):
            cursor.executemany(statement, series)
        cursor.execute(_SERIES_IDS, (list(accepted),))
        series_ids = {(sensor_id, quantity): series_id for sensor_id, quantity, series_id in cursor}
    for (sensor_id, quantity), series_id in series_ids.items():
        registered.record(accepted[sensor_id], quantity, series_id)
    return len(series)


def _covered(rows: Iterable[tuple[str, str, str]], registry: Registry, listed_ids: set[str]) -> list[Sensor]:
    """Return those of the sensors (sensor_id, topic, device) that a pattern of ``registry`` still covers."""
    sensors = []
    for sensor_id, topic, device in rows:
        sensor = registry.sensor_of_pattern(topic, device)
        if sensor is not None and sensor.sensor_id == sensor_id and sensor_id not in listed_ids:
            sensors.append(sensor)
    return sensors


def _sensor_row(sensor: Sensor, *, discovered: bool) -> tuple[Any, ...]:
    return (
        sensor.sensor_id,
        sensor.type,
        sensor.site,
        sensor.area,
        sensor.latitude,
        sensor.longitude,
        sensor.topic,
        sensor.device,
        discovered,
        sensor.zone.key if sensor.zone else None,
        sensor.since,
        sensor.description,
    )


def _series_row(sensor: Sensor, name: str) -> dict[str, Any]:
    quantity = sensor.quantities[name]
    return {
        "sensor_id": sensor.sensor_id,
        "quantity": name,
        "unit": quantity.unit,
        "minimum": quantity.minimum,
        "maximum": quantity.maximum,
        "interval_seconds": quantity.interval_seconds,
        "kind": quantity.kind,
    }

"""Writes the registry into ``telemetry.sensor`` and ``telemetry.series``."""

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
_LOCK = "select pg_advisory_xact_lock(hashtext('telemetry.registry'))"
_DISCOVERED = "select sensor_id, topic, device from telemetry.sensor where discovered"
_SEEN = "select sensor_id, quantity from telemetry.series where sensor_id = any(%s::text[])"
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
class Synchronised:
    """What :func:`synchronise` found and did."""

    series_ids: dict[tuple[str, str], int]
    """(sensor_id, quantity) to series_id, for the series of the registry."""
    discovered: tuple[Sensor, ...]
    """The sensors that its fleets have shown so far."""
    written: int
    """Sensors and series that were added, changed or brought back."""
    retired: int
    """Series that the registry no longer has."""
    oldest: datetime | None
    """No reading before this may be stored, since retention has dropped or will drop its bucket; None: all may."""


def synchronise(connection: psycopg.Connection[Any], registry: Registry) -> Synchronised:
    """Make the database's sensors and series those of ``registry``, in one transaction.

    A changed sensor keeps its series_id; what the registry no longer has is retired, never deleted. Of the sensors that
    fleets have shown, those stay that a fleet still covers, with what its entry now says. Collectors that start
    together wait for each other.
    """
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_LOCK)
        named = [*registry.sensors, *registry.members]
        discovered = _covered(cursor.execute(_DISCOVERED).fetchall(), registry, {one.sensor_id for one in named})
        sensors = [_sensor(one, discovered=False) for one in named]
        sensors += [_sensor(one, discovered=True) for one in discovered]
        # A type may list all that a family of devices has: a fleet's sensor has the series it has shown.
        of_fleets = {one.sensor_id: one for one in (*registry.members, *discovered)}
        series = [_series(sensor, name) for sensor in registry.sensors for name in sensor.quantities]
        series += [
            _series(of_fleets[sensor_id], quantity)
            for sensor_id, quantity in cursor.execute(_SEEN, (list(of_fleets),)).fetchall()
            if quantity in of_fleets[sensor_id].quantities
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
    return Synchronised(series_ids, tuple(discovered), written, retired, oldest)


def discover(connection: psycopg.Connection[Any], found: Sequence[Discovery]) -> int:
    """Register what messages have shown, in one transaction, and tell the roster; return how many series that were.

    What another collector has registered meanwhile is taken as it is. Where there are as many discovered sensors as
    there may be, or an id is something else's, the roster is told that.
    """
    roster = found[0].roster
    sensors: dict[str, Sensor] = {}
    for one in found:
        sensors.setdefault(one.sensor.sensor_id, one.sensor)
    accepted: dict[str, Sensor] = {}
    new: list[Sensor] = []
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_LOCK)
        there = {row[0]: row[1:] for row in cursor.execute(_IN_SERVICE, (list(sensors),))}
        room = roster.limit - cursor.execute(_COUNT).fetchall()[0][0]
        for sensor_id, sensor in sensors.items():
            if sensor_id in there:
                topic, device, discovered = there[sensor_id]
                owner = roster.registry.discovered(topic, device) if discovered else None
                if not roster.knows(sensor) and (owner is None or owner.identity != sensor.identity):
                    roster.refuse(sensor_id, owner)
                    continue
            elif room > 0 or roster.knows(sensor):
                room -= 1
                new.append(sensor)
            else:
                roster.full = True
                continue
            accepted[sensor_id] = sensor
        cursor.executemany(_SENSOR, [_sensor(one, discovered=True) for one in new])
        series = [
            _series(one.sensor, one.quantity)
            for one in found
            if one.sensor.sensor_id in accepted and one.sensor.identity == accepted[one.sensor.sensor_id].identity
        ]
        for statement in (_SERIES_UPDATE, _SERIES_INSERT):
            cursor.executemany(statement, series)
        cursor.execute(_SERIES_IDS, (list(accepted),))
        series_ids = {(sensor_id, quantity): series_id for sensor_id, quantity, series_id in cursor}
    for (sensor_id, quantity), series_id in series_ids.items():
        roster.settle(accepted[sensor_id], quantity, series_id)
    return len(series)


def _covered(rows: Iterable[tuple[str, str, str]], registry: Registry, taken: set[str]) -> list[Sensor]:
    """Return those of the sensors (sensor_id, topic, device) that a fleet of ``registry`` would show today."""
    sensors = []
    for sensor_id, topic, device in rows:
        sensor = registry.discovered(topic, device)
        if sensor is not None and sensor.sensor_id == sensor_id and sensor_id not in taken:
            sensors.append(sensor)
    return sensors


def _sensor(sensor: Sensor, *, discovered: bool) -> tuple[Any, ...]:
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


def _series(sensor: Sensor, name: str) -> dict[str, Any]:
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

"""Benchmark: disk space per reading in row store and columnstore, per aggregate row, and per archived message.

    python bench/storage.py [--edition timescaledb|postgresql] [--days 30] [--only second,minute,few] [--record]

Simulated readings with two decimals (thermostats and motors) are decoded from their messages and stored like in the
collector, in order of arrival; then the product's jobs for old readings run.

``second``: 3 sensors with one reading per second, ``minute``: 180 with one per minute. Both have 259,200 readings per
day and the same sizes per reading as larger systems: a chunk is a day, as created by the migrations; a segment is a day
of one series, so its batches of 1,000 readings are full; and the fixed size of a chunk (see ``few``: 6 sensors with one
reading per minute) is small per reading. The delay of a message is about 1 ms, or 40 ms with ``--delay 40``
(log-normal, sigma 0.5).

The whole table is counted: pages, TOAST, indexes, free space maps. Results are printed, and with --record written to
bench/results/storage-<edition>.json.
"""

import argparse
import json
import math
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from archive import archived_size
from marts import RESULTS, connect
from rig import machine

from collector.decode.decoder import Decoder
from collector.message import Message
from collector.registry import sensors_file as registries
from collector.registry.sync import synchronise
from collector.store.batch import HEADER, ROW, TRAILER, Batch
from local_services.database_server import LocalServer
from simulator import schedule
from timescale.migrate import migrate

SENSORS_JSON = Path(__file__).parents[1] / "sensors.json"
TYPES = ("thermostat", "motor")
"""Sensor types whose values have two decimals."""
COPY_ROWS = 20_000
HOUR = timedelta(hours=1)
DAY = 24 * HOUR

_READINGS = """
select sum(total_bytes), sum(table_bytes), sum(toast_bytes), sum(index_bytes)
from public.chunks_detailed_size('telemetry.reading')
"""
_TABLE = "select pg_total_relation_size(oid) from pg_class where oid = 'telemetry.reading'::regclass"
_AGGREGATE_SIZE = {
    "timescaledb": """
        select public.hypertable_size(format('%%I.%%I', materialization_hypertable_schema,
            materialization_hypertable_name)::regclass)
        from timescaledb_information.continuous_aggregates where view_name = 'reading_' || %s
    """,
    "postgresql": """
        select pg_total_relation_size(rollup) + coalesce(
            (select sum(pg_total_relation_size(inhrelid)) from pg_inherits where inhparent = rollup), 0
        )
        from to_regclass('telemetry.rollup_' || %s) as rollup
    """,
}
_IN_COLUMNS = "select bool_and(is_compressed) from timescaledb_information.chunks where hypertable_name = 'reading'"
_COMPRESSED = """
select format('%I.%I', columns.schema_name, columns.table_name)
from _timescaledb_catalog.chunk as chunk
inner join _timescaledb_catalog.hypertable on chunk.hypertable_id = hypertable.id
inner join _timescaledb_catalog.chunk as columns on chunk.compressed_chunk_id = columns.id
where hypertable.schema_name = 'telemetry' and hypertable.table_name = 'reading'
"""


@dataclass(frozen=True)
class Case:
    """Number of sensors and their interval in seconds."""

    sensors: int
    interval: float


CASES = {"second": Case(3, 1), "minute": Case(180, 60), "few": Case(6, 60)}


@dataclass(frozen=True)
class SensorGroup:
    """Sensors of a benchmark; generates their messages and decodes them."""

    registry: bytes
    names: tuple[str, ...]
    interval: float
    delay: float
    """Median delay of a message, in milliseconds."""

    def arrivals(self, start: datetime, end: datetime) -> list[Message]:
        """Return the messages of the sensors from ``start`` to before ``end``, in order of arrival."""
        known = registries.parse(self.registry)
        devices = schedule.make_devices(schedule.select_sensors(known, None, list(self.names)), 1, 1 / self.interval)
        noise = random.Random(start.timestamp())
        median = math.log(1000 * self.delay)
        messages = [
            Message(
                message.topic,
                message.payload,
                round(message.publish_time * 1e6) + round(noise.lognormvariate(median, 0.5)),
            )
            for message in schedule.messages(schedule.live(devices, start.timestamp(), end.timestamp()), "wide", 1)
        ]
        return sorted(messages, key=lambda message: message.received)

    def rows(self, series_ids: dict[tuple[str, str], int], start: datetime) -> bytes:
        """Return a day of readings as the collector's rows."""
        decode = Decoder(registries.parse(self.registry), series_ids).decode
        rows = b""
        for number in range(24):  # by hour, to limit memory
            batch = Batch.of(self.arrivals(start + number * HOUR, start + (number + 1) * HOUR), decode)
            assert not batch.quarantined
            rows += batch.rows
        return rows


def sensor_group(case: Case, delay: float) -> SensorGroup:
    """Return the thermostats and motors (two to one) of ``case``."""
    demo_sensors = schedule.default_sensors(registries.parse(SENSORS_JSON.read_bytes()))
    times = math.ceil(case.sensors / sum(sensor.type in TYPES for sensor in demo_sensors))
    text = schedule.enlarge_registry(SENSORS_JSON.read_bytes(), times * len(demo_sensors)).encode()
    names = [sensor.sensor_id for sensor in registries.parse(text).sensors if sensor.type in TYPES]
    return SensorGroup(text, tuple(names[: case.sensors]), case.interval, delay)


@contextmanager
def database(edition: str) -> Iterator[tuple[LocalServer, psycopg.Connection[Any]]]:
    """Start a server with the product's settings and without background jobs."""
    with tempfile.TemporaryDirectory(prefix="warehouse-bench-") as name:
        Path(name).chmod(0o755)
        with LocalServer(Path(name) / "postgres", edition=edition, port=0) as server:  # type: ignore[arg-type]
            os.environ.update(server.environment())
            migrate()
            with connect() as connection:
                if server.edition == "timescaledb":
                    connection.execute("select _timescaledb_functions.stop_background_workers()")
                yield server, connection


def store(connection: psycopg.Connection[Any], sensors: SensorGroup, days: int) -> int:
    """Store ``days`` of readings that end ten days ago; return their number."""
    series_ids = dict(synchronise(connection, registries.parse(sensors.registry)).series_ids)
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 10 * DAY
    starts = [end - number * DAY for number in range(days, 0, -1)]
    stored = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for rows in pool.map(sensors.rows, [series_ids] * days, starts):
            for first in range(0, len(rows), COPY_ROWS * ROW.size):
                with connection.cursor().copy(
                    "copy telemetry.reading (time, series_id, value, received_at) from stdin (format binary)"
                ) as into:
                    into.write(HEADER + rows[first : first + COPY_ROWS * ROW.size] + TRAILER)
            stored += len(rows) // ROW.size
    return stored


def aggregate_sizes(connection: psycopg.Connection[Any], edition: str) -> dict[str, float]:
    """Return bytes per row of the aggregates by minute, hour and day."""
    sizes = {}
    for level in ("1m", "1h", "1d"):
        ((size,),) = connection.execute(_AGGREGATE_SIZE[edition], [level]).fetchall()
        ((count,),) = connection.execute(f"select count(*) from telemetry.reading_{level}".encode()).fetchall()
        sizes[level] = round(float(size) / count, 1)
    return sizes


def by_column(connection: psycopg.Connection[Any], readings: int) -> dict[str, float]:
    """Return bytes per reading of each compressed column, without row and page overhead."""
    sums = dict.fromkeys(("time", "value", "received_at"), 0)
    for (chunk,) in connection.execute(_COMPRESSED).fetchall():
        query = f"select {', '.join(f'sum(pg_column_size({name}))' for name in sums)} from {chunk}"
        for name, size in zip(sums, connection.execute(query.encode()).fetchall()[0], strict=True):
            sums[name] += size
    return {name: round(size / readings, 2) for name, size in sums.items()}


def measure(edition: str, case: Case, days: int, delay: float) -> dict[str, Any]:
    """Store the readings, run the jobs, measure the sizes."""
    sensors = sensor_group(case, delay)
    start = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - 11 * DAY
    result: dict[str, Any] = {
        "sensors": case.sensors,
        "interval_seconds": case.interval,
        "days": days,
        "delay_milliseconds": delay,
    }
    with database(edition) as (server, connection):
        readings = store(connection, sensors, days)
        result |= {"readings": readings}
        if server.edition == "postgresql":
            connection.execute("vacuum analyze")
            ((size,),) = connection.execute(_TABLE).fetchall()
            result |= {"row_store": round(size / readings, 1)}
        else:
            ((size, *_),) = connection.execute(_READINGS).fetchall()
            result |= {"row_store": round(float(size) / readings, 1)}
            connection.execute("call telemetry.refresh_rollups()")
            jobs = "select job_id from timescaledb_information.jobs where proc_name = 'policy_compression'"
            ((job,),) = connection.execute(jobs).fetchall()
            connection.execute(f"call public.run_job({job})".encode())
            assert connection.execute(_IN_COLUMNS).fetchall() == [(True,)]
            (sizes,) = connection.execute(_READINGS).fetchall()
            total, *parts = (round(float(size) / readings, 2) for size in sizes)
            result |= {
                "columnstore": total,
                "columnstore_parts": dict(zip(("table", "toast", "indexes"), parts, strict=True)),
                "columns": by_column(connection, readings),
            }
        result |= {"bytes_a_mean": aggregate_sizes(connection, server.edition)}
    # One file per hour; more hours would give the same average.
    return result | {"archive": archived_size(sensors.arrivals(start, start + HOUR))["bytes_a_message"]}


def main() -> None:
    """Run the selected parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edition", choices=["timescaledb", "postgresql"], default="timescaledb")
    parser.add_argument("--only", default=",".join(CASES), help="parts, separated by commas")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--delay", type=float, default=1, help="median milliseconds from reading to arrival")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    for name in options.only.split(","):
        result = measure(options.edition, CASES[name], options.days, options.delay)
        print(json.dumps({name: result}, indent=2), flush=True)
        if options.record:
            path = RESULTS / f"storage-{options.edition}.json"
            results = json.loads(path.read_text()) if path.exists() else {}
            part = name if options.delay == 1 else f"{name}_{options.delay:g}_ms"
            results |= {"measured": datetime.now(UTC).date().isoformat(), **machine(), part: result}
            path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Benchmark: full and incremental build of the marts, and queries for one sensor and day.

    python bench/marts.py [--edition timescaledb|postgresql] [--only full,filter,incremental] [--days 30]
        [--history 100] [--pairs 5]

Every history has 200 series with one reading per minute and ends at the last full hour. ``filter`` runs a full build
first, unless ``full`` did. Results are written to bench/results/marts-<edition>.json and printed.

A new hour is built alternately with a short and a long history, in changing order. Other programs on the machine can
make single builds several times slower; ``ratio`` is the median over the pairs, and ``cpu_ratio`` the same for the
processor time of dbt and the server, which depends least on other programs.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
from rig import machine

from local_services.database_server import LocalServer
from timescale.migrate import migrate

RESULTS = Path(__file__).parent / "results"
PROJECT = Path(__file__).parent.parent / "dbt_project"
SERIES = 200
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

LOADS = 10
_SENSORS = """
insert into telemetry.sensor (sensor_id, type, site, area, topic, since, registered_at, updated_at)
select
    's' || n, 'thermostat', 'site-' || mod(n, 5), 'area-' || mod(n, 20), 't/' || n,
    '2000-01-01', '2020-01-01', '2020-01-01'
from generate_series(1, %(series)s / 2) as n
"""
# The first LOADS sensors measure the power of a motor instead of humidity.
_SERIES = """
insert into telemetry.series
(sensor_id, quantity, unit, minimum, maximum, interval_seconds, registered_at, updated_at)
select sensor_id, quantity, unit, minimum, maximum, 60, %(since)s, %(since)s
from telemetry.sensor
inner join (values ('temperature', 'Cel', -20, 60), ('humidity', '%%', 0, 100), ('power', 'W', -10, 2000))
as quantities (quantity, unit, minimum, maximum)
on quantity = 'temperature' or (quantity = 'power') = (substr(sensor_id, 2)::integer <= %(loads)s)
order by substr(sensor_id, 2)::integer, quantity desc
"""
# A daily wave with noise, or a motor that runs for a third of each 37 minutes or more; one reading in 500 is late by
# ten minutes, one in 10,000 is out of range. Ordered by minute over all series, as readings arrive.
_READINGS = """
insert into telemetry.reading (time, series_id, value, received_at)
select
    time,
    series_id,
    case
        when random() < 0.0001 then 5000
        when quantity = 'power'
            then 10 + random() + case when mod(minute, 36 + series_id) < 12 + series_id / 3 then 500 else 0 end
        else floor(100 * (20 + 5 * sin(minute / 229.18 + series_id) + random())) / 100
    end,
    time + case when random() < 0.002 then interval '10 minutes' else interval '0.3 seconds' end
from (
    select time, (extract(epoch from time) / 60)::bigint as minute
    from generate_series(%(start)s, %(end)s - interval '1 minute', interval '1 minute') as time
) as minutes
cross join telemetry.series
order by time, series_id
"""
# The aggregates that a trigger maintains in the edition without continuous aggregates; the trigger is slow for whole
# days at once. There is one reading per minute.
_MINUTES = """
insert into telemetry.rollup_1m
select time, series_id, time, time, value, value, value, value, value, 1
from telemetry.reading
where time >= %(start)s and time < %(end)s
order by time, series_id
"""
_WINDOWS = """
insert into telemetry.rollup_{window}
select
    date_bin('{length}', bucket, '2000-01-01'), series_id, min(first_time), max(last_time), min(minimum), max(maximum),
    (array_agg(first_value order by bucket))[1], (array_agg(last_value order by bucket))[count(*)],
    sum(sum_value), sum(sample_count)
from telemetry.rollup_{parts}
where bucket >= %(start)s and bucket < %(end)s
group by 1, 2
order by 1, 2
"""
_HOURS = _WINDOWS.format(window="1h", length="1 hour", parts="1m").encode()
_DAYS = _WINDOWS.format(window="1d", length="24 hours", parts="1h").encode()


# The time column of each mart: the first of %(names)s that it has.
_TIME_COLUMNS = """
select
    sensor.table_name,
    (array_agg(instant.column_name order by array_position(%(names)s::text[], instant.column_name::text)))[1]
from information_schema.columns as sensor
inner join information_schema.columns as instant using (table_schema, table_name)
where table_schema = 'marts' and sensor.column_name = 'sensor_id' and instant.column_name = any(%(names)s)
group by 1 order by 1
"""
_TIME_COLUMN_NAMES = ["day", "bucket", "started_at", "start_time"]


def connect() -> psycopg.Connection[Any]:
    """Open a connection with time zone UTC."""
    return psycopg.connect(autocommit=True, options="-c timezone=UTC")


@dataclass
class Bench:
    """A running, migrated server with registered sensors."""

    server: LocalServer
    connection: psycopg.Connection[Any]
    folder: Path

    def select(self) -> None:
        """Set ``PG*`` to this server."""
        os.environ.update(self.server.environment())

    def store_history(self, days: int, end: datetime) -> int:
        """Store ``days`` of readings before ``end`` in an empty database; return their number."""
        periods = [{"start": end - n * DAY, "end": end - (n - 1) * DAY} for n in range(days, 0, -1)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            readings = sum(pool.map(self._store_day, periods))
        if self.server.edition == "postgresql":
            self.connection.execute(_DAYS, {"start": end - days * DAY, "end": end})
        self.refresh()
        return readings

    def _store_day(self, period: dict[str, datetime]) -> int:
        with connect() as connection:
            if self.server.edition == "timescaledb":
                return connection.execute(_READINGS, period).rowcount
            connection.execute("set session_replication_role = replica")  # without the trigger
            readings = connection.execute(_READINGS, period).rowcount
            connection.execute(_MINUTES, period)
            connection.execute(_HOURS, period)
            return readings

    def store_readings(self, start: datetime, end: datetime) -> None:
        """Store the readings from ``start`` to before ``end``."""
        self.connection.execute(_READINGS, {"start": start, "end": end})
        self.refresh()

    def refresh(self) -> None:
        """Refresh aggregates, as the job does every 30 seconds, and statistics."""
        if self.server.edition == "timescaledb":
            self.connection.execute("call telemetry.refresh_rollups()")
        self.connection.execute("vacuum analyze")
        self.connection.execute("checkpoint")

    def run_maintenance_jobs(self, days: int) -> None:
        """Run the jobs for old data: reorder the minutes by series, move readings to the columnstore."""
        if self.server.edition == "timescaledb":
            # The scheduled jobs could run at the same time and deadlock.
            self.connection.execute("select _timescaledb_functions.stop_background_workers()")
            jobs = "select job_id from timescaledb_information.jobs where proc_name = %s"
            # policy_reorder processes one chunk per run.
            for name, times in (("policy_reorder", days), ("policy_compression", 1)):
                ((job,),) = self.connection.execute(jobs, [name]).fetchall()
                for _ in range(times):
                    self.connection.execute(f"call public.run_job({job})".encode())
            self.refresh()

    def server_seconds(self) -> float:
        """Return the processor time of all processes of the server so far."""
        postmaster = psutil.Process(int((self.server.data / "postmaster.pid").read_text().split()[0]))
        return sum(sum(child.cpu_times()[:2]) for child in postmaster.children()) + sum(postmaster.cpu_times()[:4])

    def build(self, *options: str) -> dict[str, Any]:
        """Run ``dbt build`` and return its duration, in total and by model."""
        command: list[str | Path] = [Path(sys.executable).parent / "dbt", "--no-version-check", "build"]
        command += [f"--project-dir={PROJECT}", f"--profiles-dir={PROJECT}", f"--target-path={self.folder / 'target'}"]
        command += [f"--log-path={self.folder / 'logs'}", "--quiet", *options]
        started, used, served = time.perf_counter(), _child_seconds(), self.server_seconds()
        process = subprocess.run(
            command, check=False, env={**os.environ, "DO_NOT_TRACK": "1"}, capture_output=True, text=True
        )
        seconds = time.perf_counter() - started
        cpu = _child_seconds() - used + self.server_seconds() - served
        if process.returncode:
            sys.exit(f"dbt build failed:\n{process.stdout[-4000:]}{process.stderr[-4000:]}")
        results = json.loads((self.folder / "target" / "run_results.json").read_text())["results"]
        models = {
            node["unique_id"].split(".")[-1]: round(node["execution_time"], 2)
            for node in results
            if node["unique_id"].startswith(("model.", "snapshot."))
        }
        slowest = dict(sorted(models.items(), key=lambda item: -item[1])[:12])
        tests = sum(node["execution_time"] for node in results if node["unique_id"].startswith(("test.", "unit_test.")))
        return {
            "seconds": round(seconds, 1),
            "cpu_seconds": round(cpu, 1),
            "slowest_models": slowest,
            "tests_seconds": round(tests, 1),
        }


def _child_seconds() -> float:
    """Return the processor time of all ended child processes."""
    return sum(os.times()[2:4])


@contextmanager
def start_bench(edition: str, days: int) -> Iterator[Bench]:
    """Start a server with the product's settings and sensors that were registered ``days`` ago."""
    since = current_hour() - (days + 1) * DAY
    with tempfile.TemporaryDirectory(prefix="warehouse-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with LocalServer(folder / "postgres", edition=edition, port=0) as server:  # type: ignore[arg-type]
            os.environ.update(server.environment())
            migrate()
            with connect() as connection:
                connection.execute(_SENSORS, {"series": SERIES})
                connection.execute(_SERIES, {"since": since, "loads": LOADS})
                yield Bench(server, connection, folder)


def current_hour() -> datetime:
    """Return the start of the current hour."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def full_build(bench: Bench, days: int) -> dict[str, Any]:
    """Build all models for the first time with ``days`` of readings."""
    return {"days": days, "readings": bench.store_history(days, current_hour()), **bench.build()}


def query_times(bench: Bench, days: int, rounds: int = 30) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of a query for one sensor and day, by mart.

    ``arrived``: all rows are at the client in the binary format, as BI drivers use them; ``as_objects``: they are
    converted to Python objects, which for thousands of rows takes longer than the query.
    """
    results = {}
    cursor = bench.connection.cursor(binary=True)
    for mart, column in bench.connection.execute(_TIME_COLUMNS, {"names": _TIME_COLUMN_NAMES}).fetchall():
        arrived, objects = [], []
        for number in range(rounds):
            day = current_hour().date() - (1 + number % max(1, days - 1)) * DAY
            where = f"{column} = %s" if column == "day" else f"{column} >= %s and {column} < %s"
            bounds = (
                [day] if column == "day" else [datetime(*day.timetuple()[:3], tzinfo=UTC) + n * DAY for n in (0, 1)]
            )
            started = time.perf_counter()
            cursor.execute(
                f"select * from marts.{mart} where sensor_id = %s and {where}".encode(),
                [f"s{1 + number % (SERIES // 2)}", *bounds],
            )
            arrived.append(1000 * (time.perf_counter() - started))
            cursor.fetchall()
            objects.append(1000 * (time.perf_counter() - started))
        results[mart] = {
            "arrived": round(statistics.median(arrived), 2),
            "as_objects": round(statistics.median(objects), 2),
        }
    return results


def incremental(edition: str, histories: tuple[int, int], pairs: int) -> dict[str, Any]:
    """Return the duration of a build after one new hour, with a short and a long history."""
    end = current_hour() - pairs * HOUR
    with ExitStack() as stack:
        benches = [stack.enter_context(start_bench(edition, days)) for days in histories]
        for bench, days in zip(benches, histories, strict=True):
            bench.select()
            bench.store_history(days, end)
            bench.build("--exclude-resource-types", "test", "unit_test")
            bench.run_maintenance_jobs(days)
        rounds = []
        for number in range(pairs):
            builds = {}
            for index in (0, 1) if number % 2 == 0 else (1, 0):
                benches[index].select()
                benches[index].store_readings(end + number * HOUR, end + (number + 1) * HOUR)
                builds[index] = benches[index].build()
            rounds.append((builds[0], builds[1]))

    def ratios(name: str) -> list[float]:
        return [round(long[name] / short[name], 2) for short, long in rounds]

    return {
        "days": histories,
        "rounds": [[{name: build[name] for name in ("seconds", "cpu_seconds")} for build in pair] for pair in rounds],
        "ratios": ratios("seconds"),
        "cpu_ratios": ratios("cpu_seconds"),
        "ratio": round(statistics.median(ratios("seconds")), 2),
        "cpu_ratio": round(statistics.median(ratios("cpu_seconds")), 2),
        "last": rounds[-1],
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edition", choices=["timescaledb", "postgresql"], default="timescaledb")
    parser.add_argument("--only", default="full,filter,incremental", help="parts, separated by commas")
    parser.add_argument("--days", type=int, default=30, help="days of the full build")
    parser.add_argument("--history", type=int, default=100, help="days of the long history of the incremental build")
    parser.add_argument("--pairs", type=int, default=5, help="number of new hours, built with both histories")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"marts-{options.edition}.json"

    def record(**part: Any) -> None:
        results = json.loads(path.read_text()) if path.exists() else {}
        results |= {"measured": datetime.now(UTC).date().isoformat(), **machine(), "series": SERIES, **part}
        path.write_text(json.dumps(results, indent=2) + "\n")
        print(json.dumps(part, indent=2), flush=True)

    parts = options.only.split(",")
    if {"full", "filter"} & {*parts}:
        with start_bench(options.edition, options.days) as bench:
            result = full_build(bench, options.days)
            if "full" in parts:
                record(full=result)
            if "filter" in parts:
                bench.run_maintenance_jobs(options.days)
                record(filter_milliseconds=query_times(bench, options.days))
    if "incremental" in parts:
        record(incremental=incremental(options.edition, (1, options.history), options.pairs))


if __name__ == "__main__":
    main()

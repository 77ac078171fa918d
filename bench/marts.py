"""How long the marts take to build, whole and after one new hour, and how fast one sensor's day is found.

    python bench/marts.py [--edition timescaledb|postgresql] [--only full,filter,incremental] [--days 30]
        [--history 100] [--pairs 5]

Every history is of 200 series with a reading a minute that ends at the last full hour. ``filter`` builds what a full
build would, unless ``full`` has. Results go to bench/results/marts-<edition>.json and, as a table, to the terminal.

A new hour is built with a short and a long history in turns, which of them first changing from pair to pair. Other
programs on the machine lengthen single builds several times over; ``ratio`` is the median over the pairs, and
``cpu_ratio`` the same of the processor time that dbt and the server took, which a busy machine changes least.
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
# The first sensors measure the power of a motor instead of humidity.
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
# A daily wave with noise, or a motor that runs for a third of each 37 minutes or more; one reading in 500 comes ten
# minutes late, one in 10,000 lies outside its range. Minute by minute over all series, as readings come in.
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
# What the edition without continuous aggregates keeps by a trigger, which is slow when it is given whole days at once.
# There is one reading a minute.
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


# The column that says when, first of those that a mart has.
_FILTERED = """
select
    sensor.table_name,
    (array_agg(instant.column_name order by array_position(%(names)s::text[], instant.column_name::text)))[1]
from information_schema.columns as sensor
inner join information_schema.columns as instant using (table_schema, table_name)
where table_schema = 'marts' and sensor.column_name = 'sensor_id' and instant.column_name = any(%(names)s)
group by 1 order by 1
"""
_INSTANTS = ["day", "bucket", "started_at", "start_time"]


def connect() -> psycopg.Connection[Any]:
    """Open a connection that speaks UTC."""
    return psycopg.connect(autocommit=True, options="-c timezone=UTC")


@dataclass
class Bench:
    """A running, migrated server with the registry in place."""

    server: LocalServer
    connection: psycopg.Connection[Any]
    folder: Path

    def use(self) -> None:
        """Point ``PG*`` to this server."""
        os.environ.update(self.server.environment())

    def remember(self, days: int, end: datetime) -> int:
        """Store ``days`` of readings up to before ``end`` in an empty database; return how many."""
        spans = [{"start": end - n * DAY, "end": end - (n - 1) * DAY} for n in range(days, 0, -1)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            readings = sum(pool.map(self._remember_day, spans))
        if self.server.edition == "postgresql":
            self.connection.execute(_DAYS, {"start": end - days * DAY, "end": end})
        self.settle()
        return readings

    def _remember_day(self, span: dict[str, datetime]) -> int:
        with connect() as connection:
            if self.server.edition == "timescaledb":
                return connection.execute(_READINGS, span).rowcount
            connection.execute("set session_replication_role = replica")  # without the trigger
            readings = connection.execute(_READINGS, span).rowcount
            connection.execute(_MINUTES, span)
            connection.execute(_HOURS, span)
            return readings

    def receive(self, start: datetime, end: datetime) -> None:
        """Store the readings from ``start`` to before ``end`` as they come in."""
        self.connection.execute(_READINGS, {"start": start, "end": end})
        self.settle()

    def settle(self) -> None:
        """Bring the means up to date, as the job does every 30 seconds, and the planner's statistics."""
        if self.server.edition == "timescaledb":
            self.connection.execute("call telemetry.refresh_rollups()")
        self.connection.execute("vacuum analyze")
        self.connection.execute("checkpoint")

    def grow_old(self, days: int) -> None:
        """Do what jobs do with what is some days old: minutes in the order of their series, readings in columns."""
        if self.server.edition == "timescaledb":
            # The jobs themselves may be at it, and the two would wait for each other.
            self.connection.execute("select _timescaledb_functions.stop_background_workers()")
            jobs = "select job_id from timescaledb_information.jobs where proc_name = %s"
            for name, times in (("policy_reorder", days), ("policy_compression", 1)):  # the first: a chunk at a time
                ((job,),) = self.connection.execute(jobs, [name]).fetchall()
                for _ in range(times):
                    self.connection.execute(f"call public.run_job({job})".encode())
            self.settle()

    def server_seconds(self) -> float:
        """Return the processor time that the server has taken so far, by all of its processes."""
        found = psutil.Process(int((self.server.data / "postmaster.pid").read_text().split()[0]))
        return sum(sum(one.cpu_times()[:2]) for one in found.children()) + sum(found.cpu_times()[:4])

    def build(self, *options: str) -> dict[str, Any]:
        """Run ``dbt build`` as users do and return its seconds, from start to end and by model."""
        command: list[str | Path] = [Path(sys.executable).parent / "dbt", "--no-version-check", "build"]
        command += [f"--project-dir={PROJECT}", f"--profiles-dir={PROJECT}", f"--target-path={self.folder / 'target'}"]
        command += [f"--log-path={self.folder / 'logs'}", "--quiet", *options]
        begun, used, served = time.perf_counter(), _ended_seconds(), self.server_seconds()
        done = subprocess.run(
            command, check=False, env={**os.environ, "DO_NOT_TRACK": "1"}, capture_output=True, text=True
        )
        seconds = time.perf_counter() - begun
        cpu = _ended_seconds() - used + self.server_seconds() - served
        if done.returncode:
            sys.exit(f"dbt build failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
        results = json.loads((self.folder / "target" / "run_results.json").read_text())["results"]
        models = {
            one["unique_id"].split(".")[-1]: round(one["execution_time"], 2)
            for one in results
            if one["unique_id"].startswith(("model.", "snapshot."))
        }
        slowest = dict(sorted(models.items(), key=lambda item: -item[1])[:12])
        tests = sum(one["execution_time"] for one in results if one["unique_id"].startswith(("test.", "unit_test.")))
        return {
            "seconds": round(seconds, 1),
            "cpu_seconds": round(cpu, 1),
            "slowest_models": slowest,
            "tests_seconds": round(tests, 1),
        }


def _ended_seconds() -> float:
    """Return the processor time of all programs that we have started and that have ended."""
    return sum(os.times()[2:4])


@contextmanager
def bench(edition: str, days: int) -> Iterator[Bench]:
    """Start a server of its own with the product's settings, its sensors registered ``days`` ago."""
    since = hour() - (days + 1) * DAY
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


def hour() -> datetime:
    """Return the start of the current hour."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def full(one: Bench, days: int) -> dict[str, Any]:
    """Build everything for the first time over ``days`` of readings."""
    return {"days": days, "readings": one.remember(days, hour()), **one.build()}


def filtered(one: Bench, days: int, rounds: int = 30) -> dict[str, dict[str, float]]:
    """Return the median milliseconds in which each mart gives a sensor's rows of one day.

    ``arrived``: the last row is at the client, in the binary format, as drivers for BI have it; ``as_objects``: Python
    has made an object of every value, which for thousands of rows takes longer than to find them.
    """
    results = {}
    cursor = one.connection.cursor(binary=True)
    for mart, column in one.connection.execute(_FILTERED, {"names": _INSTANTS}).fetchall():
        arrived, objects = [], []
        for number in range(rounds):
            day = hour().date() - (1 + number % max(1, days - 1)) * DAY
            where = f"{column} = %s" if column == "day" else f"{column} >= %s and {column} < %s"
            bounds = (
                [day] if column == "day" else [datetime(*day.timetuple()[:3], tzinfo=UTC) + n * DAY for n in (0, 1)]
            )
            begun = time.perf_counter()
            cursor.execute(
                f"select * from marts.{mart} where sensor_id = %s and {where}".encode(),
                [f"s{1 + number % (SERIES // 2)}", *bounds],
            )
            arrived.append(1000 * (time.perf_counter() - begun))
            cursor.fetchall()
            objects.append(1000 * (time.perf_counter() - begun))
        results[mart] = {
            "arrived": round(statistics.median(arrived), 2),
            "as_objects": round(statistics.median(objects), 2),
        }
    return results


def incremental(edition: str, histories: tuple[int, int], pairs: int) -> dict[str, Any]:
    """Return the seconds that a build takes after one new hour, with a short and a long history stored."""
    end = hour() - pairs * HOUR
    with ExitStack() as stack:
        both = [stack.enter_context(bench(edition, days)) for days in histories]
        for one, days in zip(both, histories, strict=True):
            one.use()
            one.remember(days, end)
            one.build("--exclude-resource-types", "test", "unit_test")
            one.grow_old(days)
        rounds = []
        for number in range(pairs):
            built = {}
            for place in (0, 1) if number % 2 == 0 else (1, 0):
                both[place].use()
                both[place].receive(end + number * HOUR, end + (number + 1) * HOUR)
                built[place] = both[place].build()
            rounds.append((built[0], built[1]))

    def ratios(name: str) -> list[float]:
        return [round(long[name] / short[name], 2) for short, long in rounds]

    return {
        "days": histories,
        "rounds": [[{name: one[name] for name in ("seconds", "cpu_seconds")} for one in pair] for pair in rounds],
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
    parser.add_argument("--only", default="full,filter,incremental", help="parts, with commas between")
    parser.add_argument("--days", type=int, default=30, help="days of the full build")
    parser.add_argument("--history", type=int, default=100, help="days that the incremental build is compared with")
    parser.add_argument("--pairs", type=int, default=5, help="new hours that both histories are built with")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server outlives us
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"marts-{options.edition}.json"

    def keep(**part: Any) -> None:
        results = json.loads(path.read_text()) if path.exists() else {}
        results |= {"measured": datetime.now(UTC).date().isoformat(), **machine(), "series": SERIES, **part}
        path.write_text(json.dumps(results, indent=2) + "\n")
        print(json.dumps(part, indent=2), flush=True)

    parts = options.only.split(",")
    if {"full", "filter"} & {*parts}:
        with bench(options.edition, options.days) as one:
            built = full(one, options.days)
            if "full" in parts:
                keep(full=built)
            if "filter" in parts:
                one.grow_old(options.days)
                keep(filter_milliseconds=filtered(one, options.days))
    if "incremental" in parts:
        keep(incremental=incremental(options.edition, (1, options.history), options.pairs))


if __name__ == "__main__":
    main()

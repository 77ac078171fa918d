"""How long the marts take to build, whole and after one new hour, and how fast one sensor's day is found.

    python bench/marts.py [--edition timescaledb|postgresql] [--only full,incremental] [--days 30] [--history 100]

Every history is of 200 series with a reading a minute that ends at the last full hour. Results go to
bench/results/marts-<edition>.json and, as a table, to the terminal.
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
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from rig import machine

from timescale.migrate import migrate
from timescale.server import LocalServer

RESULTS = Path(__file__).parent / "results"
PROJECT = Path(__file__).parent.parent / "dbt_project"
SERIES = 200
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

_SENSORS = """
insert into telemetry.sensor (sensor_id, type, site, area, topic, since, registered_at, updated_at)
select
    's' || n, 'thermostat', 'site-' || mod(n, 5), 'area-' || mod(n, 20), 't/' || n,
    '2000-01-01', '2020-01-01', '2020-01-01'
from generate_series(1, %(series)s / 2) as n
"""
_SERIES = """
insert into telemetry.series
(sensor_id, quantity, unit, minimum, maximum, interval_seconds, registered_at, updated_at)
select sensor_id, quantity, unit, minimum, maximum, 60, %(since)s, %(since)s
from telemetry.sensor
cross join (values ('temperature', 'Cel', -20, 60), ('humidity', '%%', 0, 100))
as quantities (quantity, unit, minimum, maximum)
"""
# A daily wave with noise; one reading in 500 comes ten minutes late, one in 10,000 lies outside its range. Minute by
# minute over all series, as readings come in.
_READINGS = """
insert into telemetry.reading (time, series_id, value, received_at)
select
    time,
    series_id,
    case when random() < 0.0001 then 1000 else
        round((20 + 5 * sin(extract(epoch from time) / 13750.99 + series_id) + random())::numeric, 2)::double precision
    end,
    time + case when random() < 0.002 then interval '10 minutes' else interval '0.3 seconds' end
from generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '1 minute', interval '1 minute') as time
cross join telemetry.series
order by time, series_id
"""


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


def fill(connection: psycopg.Connection[Any], start: datetime, end: datetime) -> int:
    """Store a reading a minute and series from ``start`` to before ``end``; return how many."""
    count = 0
    while start < end:
        until = min(start + DAY, end)
        count += connection.execute(_READINGS, {"start": start, "end": until}).rowcount
        start = until
    return count


@dataclass
class Bench:
    """A running, migrated server with the registry in place."""

    server: LocalServer
    connection: psycopg.Connection[Any]
    folder: Path

    def refresh(self) -> None:
        """Bring the means up to date, as the job does every 30 seconds, and the planner's statistics."""
        if self.server.edition == "timescaledb":
            self.connection.execute("call telemetry.refresh_rollups()")
        self.connection.execute("vacuum analyze")

    def build(self) -> dict[str, Any]:
        """Run ``dbt build`` as users do and return its seconds, from start to end and by model."""
        command: list[str | Path] = [Path(sys.executable).parent / "dbt", "--no-version-check", "build"]
        command += [f"--project-dir={PROJECT}", f"--profiles-dir={PROJECT}", f"--target-path={self.folder / 'target'}"]
        command += [f"--log-path={self.folder / 'logs'}", "--quiet"]
        begun = time.perf_counter()
        done = subprocess.run(
            command, check=False, env={**os.environ, "DO_NOT_TRACK": "1"}, capture_output=True, text=True
        )
        seconds = time.perf_counter() - begun
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
        return {"seconds": round(seconds, 1), "slowest_models": slowest, "tests_seconds": round(tests, 1)}


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
            with psycopg.connect(autocommit=True, options="-c timezone=UTC") as connection:
                connection.execute(_SENSORS, {"series": SERIES, "since": since})
                connection.execute(_SERIES, {"since": since})
                yield Bench(server, connection, folder)


def hour() -> datetime:
    """Return the start of the current hour."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def full(one: Bench, days: int) -> dict[str, Any]:
    """Build everything for the first time over ``days`` of readings."""
    end = hour()
    rows = fill(one.connection, end - days * DAY, end)
    one.refresh()
    return {"days": days, "readings": rows, **one.build()}


def filtered(one: Bench, days: int, rounds: int = 30) -> dict[str, Any]:
    """Return the median milliseconds in which each mart gives a sensor's rows of one day."""
    results = {}
    for mart, column in one.connection.execute(_FILTERED, {"names": _INSTANTS}).fetchall():
        taken = []
        for number in range(rounds):
            day = hour().date() - (1 + number % max(1, days - 1)) * DAY
            where = f"{column} = %s" if column == "day" else f"{column} >= %s and {column} < %s"
            bounds = (
                [day] if column == "day" else [datetime(*day.timetuple()[:3], tzinfo=UTC) + n * DAY for n in (0, 1)]
            )
            begun = time.perf_counter()
            one.connection.execute(
                f"select * from marts.{mart} where sensor_id = %s and {where}".encode(),
                [f"s{1 + number % (SERIES // 2)}", *bounds],
            ).fetchall()
            taken.append(1000 * (time.perf_counter() - begun))
        results[mart] = round(statistics.median(taken), 2)
    return results


def incremental(edition: str, days: int) -> dict[str, Any]:
    """Return the seconds that a build takes after one new hour, three times, with ``days`` stored."""
    with bench(edition, days) as one:
        end = hour() - 3 * HOUR
        fill(one.connection, end - days * DAY, end)
        one.refresh()
        result = {"days": days, "first": one.build(), "rounds": []}
        for _ in range(3):
            fill(one.connection, end, end + HOUR)
            end += HOUR
            one.refresh()
            result["rounds"].append(one.build())
        result["seconds"] = statistics.median(each["seconds"] for each in result["rounds"])
        return result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edition", choices=["timescaledb", "postgresql"], default="timescaledb")
    parser.add_argument("--only", default="full,incremental", help="of full (with filter) and incremental")
    parser.add_argument("--days", type=int, default=30, help="days of the full build")
    parser.add_argument("--history", type=int, default=100, help="days that the incremental build is compared with")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server outlives us
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"marts-{options.edition}.json"

    def keep(**part: Any) -> None:
        results = json.loads(path.read_text()) if path.exists() else {}
        results |= {"measured": datetime.now(UTC).date().isoformat(), **machine(), "series": SERIES, **part}
        path.write_text(json.dumps(results, indent=2) + "\n")
        print(json.dumps(part, indent=2), flush=True)

    if "full" in options.only:
        with bench(options.edition, options.days) as one:
            keep(full=full(one, options.days))
            keep(filter_milliseconds=filtered(one, options.days))
    if "incremental" in options.only:
        short, long = (incremental(options.edition, days) for days in (1, options.history))
        keep(incremental={"short": short, "long": long, "ratio": round(long["seconds"] / short["seconds"], 2)})


if __name__ == "__main__":
    main()

"""Benchmark: `collector load` of a Parquet file relative to COPY of the same rows in the same run, and its memory.

    python bench/load.py [--edition timescaledb|postgresql] [--rows 10000000] [--record]

COPY writes to a table with only the primary key (series_id, time), half of the rows before the load and half after it,
because the speed of the machine drifts. With --record results are written to bench/results/load-<edition>.json.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from rig import SENSORS, Rig, machine, start_rig

from collector.files.batches import ROW_TYPE
from collector.store.batch import HEADER, POSTGRES_EPOCH, TRAILER

RESULTS = Path(__file__).parent / "results"
COPY_ROWS = 20_000
BEGIN = 1_767_225_600_000_000
"""2026-01-01 UTC, in microseconds since 1970."""


def columns(start: int, stop: int) -> tuple[Any, Any, Any]:
    """Return sensor numbers, times (microseconds since 1970) and values of rows: SENSORS per second."""
    number = np.arange(start, stop, dtype=np.int64)
    return number % SENSORS, BEGIN + number // SENSORS * 1_000_000 + number % SENSORS * 1_000, 15 + number % 1000 / 100


def write_file(path: Path, rows: int) -> None:
    """Write the file as pandas or Spark would: one reading per row; columns for time, sensor and quantity."""
    schema = pa.schema(
        [("timestamp", pa.timestamp("us", "UTC")), ("device_id", pa.string()), ("temperature", pa.float64())]
    )
    names = pa.array([f"t{n}" for n in range(SENSORS)])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, 1_000_000):
            sensor, when, value = columns(start, min(start + 1_000_000, rows))
            cells = [pa.array(when).cast(schema.field(0).type), names.take(pa.array(sensor)), pa.array(value)]
            writer.write_table(pa.table(cells, schema=schema))


def bodies(start: int, stop: int) -> Iterator[bytes]:
    """Yield the rows as bodies of a binary COPY."""
    for first in range(start, stop, COPY_ROWS):
        sensor, when, value = columns(first, min(first + COPY_ROWS, stop))
        packed = np.empty(len(sensor), ROW_TYPE)
        packed["fields"], packed["time_length"], packed["series_length"] = 4, 8, 4
        packed["value_length"], packed["arrival_length"] = 8, 8
        packed["series_id"], packed["time"], packed["value"] = sensor, when - POSTGRES_EPOCH, value
        packed["arrival"] = BEGIN - POSTGRES_EPOCH
        yield packed.tobytes()


def copy(connection: psycopg.Connection[Any], start: int, stop: int) -> float:
    """Return the seconds that COPY takes for these rows, without the time to generate them."""
    taken = 0.0
    for body in bodies(start, stop):
        started = time.perf_counter()
        with connection.cursor().copy("copy ceiling.reading from stdin (format binary)") as copy_:
            copy_.write(HEADER + body + TRAILER)
        taken += time.perf_counter() - started
    return taken


def load(bench: Rig, path: Path) -> tuple[float, int, str]:
    """Return the seconds that `collector load` takes, its peak memory in bytes, and its output."""
    program = Path(sys.executable).parent / "collector"
    started = time.perf_counter()
    process = subprocess.Popen([program, "load", path], env=bench.environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    output = process.stdout.read().strip()
    _, status, usage = os.wait4(process.pid, 0)
    taken = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"collector load ended with {process.returncode}: {output}")
    return taken, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), output


def measure(bench: Rig, rows: int) -> dict[str, Any]:
    """Return rates, their ratio and the peak memory for a file of ``rows`` rows."""
    path = bench.directory / "readings.parquet"
    write_file(path, rows)
    with bench.connect() as connection:
        bench.create_ceiling(connection)
        copied = copy(connection, 0, rows // 2)
        loaded, peak, output = load(bench, path)
        copied += copy(connection, rows // 2, rows)
        stored = connection.execute("select stored from telemetry.accounting").fetchone()
        assert stored
        assert stored[0] == rows, output
    return {
        "rows": rows,
        "file_mb": round(path.stat().st_size / 1e6),
        "copy_with_primary_key_rows_per_second": round(rows / copied),
        "load_readings_per_second": round(rows / loaded),
        "load_over_copy": round(copied / loaded, 2),
        "peak_resident_mb": round(peak / 1e6),
    }


def main() -> None:
    """Measure, print, and record with --record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edition", default="auto", choices=["auto", "timescaledb", "postgresql"])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--record", action="store_true", help="write the results to bench/results/")
    arguments = parser.parse_args()
    with start_rig(arguments.edition) as bench:
        edition = bench.server.edition
        about = {"edition": edition, "database": str(bench.server.binaries).split(" (")[0]}
        result = measure(bench, arguments.rows)
    print(f"\nload ({about['database']})")
    for key, value in result.items():
        print(f"  {key:>40}  {value}")
    if arguments.record:
        results = {"about": {**about, **machine(), "date": f"{datetime.now(tz=UTC):%Y-%m-%d}"}, "load": result}
        (RESULTS / f"load-{edition}.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()

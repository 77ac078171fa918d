"""Benchmark: duration of a full quality scan and of its checks.

    python bench/quality.py [--edition timescaledb|postgresql] [--days 30] [--rounds 3]

The history is that of bench/marts.py: 200 series with one reading per minute up to the last full minute, with built
marts. The target is 30 s for 30 days, including the start of the command. Results are written to
bench/results/quality-<edition>.json and printed.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

from marts import RESULTS, SERIES, Bench, current_hour, start_bench
from rig import machine

TARGET_SECONDS = 30
_SLOWEST = """
select contract, check_name, max(duration_seconds)
from quality.check_result
where scan_id = (select scan_id from quality.check_result order by id desc limit 1)
group by contract, check_name
order by 3 desc
limit 10
"""
_OUTCOMES = """
select outcome, count(*) from quality.check_result
where scan_id = (select scan_id from quality.check_result order by id desc limit 1)
group by outcome
"""


def scan_seconds() -> float:
    """Run ``quality scan`` and return its seconds; failed checks are ignored, errors are not."""
    code = "from quality.cli import main; main()"
    started = time.perf_counter()
    process = subprocess.run([sys.executable, "-c", code, "scan"], check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if process.returncode == 3:
        sys.exit(f"the scan could not run:\n{process.stdout[-4000:]}{process.stderr[-4000:]}")
    return seconds


def measure(bench: Bench, days: int, rounds: int) -> dict[str, Any]:
    """Store the history, build the marts, then repeatedly store the newest readings and scan."""
    readings = bench.store_history(days, current_hour())
    bench.run_maintenance_jobs(days)
    bench.build("--exclude-resource-types", "test", "unit_test")
    taken = []
    for _ in range(rounds):
        # Without new readings all sensors would be silent, which changes the scan.
        newest = bench.connection.execute("select max(time) + interval '1 minute' from telemetry.reading").fetchone()
        assert newest is not None
        bench.store_readings(newest[0], datetime.now(UTC))
        taken.append(scan_seconds())
    return {
        "days": days,
        "series": SERIES,
        "readings": readings,
        "seconds": [round(duration, 2) for duration in taken],
        "median_seconds": round(statistics.median(taken), 2),
        "target_seconds": TARGET_SECONDS,
        "results": dict(bench.connection.execute(_OUTCOMES).fetchall()),
        "slowest_checks": [
            [contract, check, round(seconds or 0, 2)]
            for contract, check, seconds in bench.connection.execute(_SLOWEST).fetchall()
        ],
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edition", choices=["timescaledb", "postgresql"], default="timescaledb")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    for name in [name for name in os.environ if name.startswith("QUALITY_")]:
        del os.environ[name]
    with start_bench(options.edition, options.days) as bench:
        result = {
            "measured": datetime.now(UTC).date().isoformat(),
            **machine(),
            **measure(bench, options.days, options.rounds),
        }
    print(json.dumps(result, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"quality-{options.edition}.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""How long a full scan of the quality takes, and its parts.

    python bench/quality.py [--edition timescaledb|postgresql] [--days 30] [--rounds 3]

The history is that of bench/marts.py: 200 series with a reading a minute, to the last full minute; the marts are built
over it. The target is 30 s for 30 days, with the start of the command. Results go to
bench/results/quality-<edition>.json and to the terminal.
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

from marts import RESULTS, SERIES, Bench, bench, hour
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


def scanned() -> float:
    """Run ``quality scan`` as users do and return its seconds; whether checks fail is no matter here, errors are."""
    code = "from quality.cli import main; main()"
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, "scan"], check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    if done.returncode == 3:  # a scan that could not be made
        sys.exit(f"the scan could not be made:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return seconds


def measure(one: Bench, days: int, rounds: int) -> dict[str, Any]:
    """Fill, build, bring up to the minute, scan."""
    readings = one.remember(days, hour())
    one.grow_old(days)
    one.build("--exclude-resource-types", "test", "unit_test")
    taken = []
    for _ in range(rounds):
        # Sensors go on sending: a scan of what is silent would be another one.
        newest = one.connection.execute("select max(time) + interval '1 minute' from telemetry.reading").fetchone()
        assert newest is not None
        one.receive(newest[0], datetime.now(UTC))
        taken.append(scanned())
    return {
        "days": days,
        "series": SERIES,
        "readings": readings,
        "seconds": [round(one, 2) for one in taken],
        "median_seconds": round(statistics.median(taken), 2),
        "target_seconds": TARGET_SECONDS,
        "results": dict(one.connection.execute(_OUTCOMES).fetchall()),
        "slowest_checks": [
            [contract, check, round(seconds or 0, 2)]
            for contract, check, seconds in one.connection.execute(_SLOWEST).fetchall()
        ],
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edition", choices=["timescaledb", "postgresql"], default="timescaledb")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server outlives us
    for name in [name for name in os.environ if name.startswith("QUALITY_")]:
        del os.environ[name]
    with bench(options.edition, options.days) as one:
        found = {
            "measured": datetime.now(UTC).date().isoformat(),
            **machine(),
            **measure(one, options.days, options.rounds),
        }
    print(json.dumps(found, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"quality-{options.edition}.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Benchmark: docker-compose.yml under 1,000 messages per second, with each service killed once.

Every message that the broker acknowledged to the simulator must be stored exactly once in the end, and the accounting
must balance. Also measured: the time from `docker compose up -d` to the first reading in telemetry.reading_1m, and the
longest delay of a reading when one of three collectors is killed.

    python bench/compose.py                       every service; the images must exist
    python bench/compose.py --kill mosquitto      one service
    python bench/compose.py --core                without Airflow and monitoring
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fix_compose import CORE, Stack, missing, published, started, wait_for

LONG_RUNNING = [service for service, keeps_running in started().items() if keeps_running]
RESULT = Path(__file__).parent / "results" / "compose.json"
DOWN_SECONDS = 5.0
"""Time from the kill of a service to its restart."""


def first_reading(stack: Stack) -> tuple[float, float]:
    """Start all services and sensors; return the seconds to the first reading and to all services healthy."""

    def arrived() -> bool:
        with suppress(RuntimeError):  # the database has not started yet
            return stack.query("select count(*) from telemetry.reading_1m")[0] != ["0"]
        return False

    started_at = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        # The command returns only after the start of Airflow, but readings arrive earlier.
        command = pool.submit(stack.up, "simulator")
        wait_for(arrived, "a first reading", 240)
        first_seconds = time.monotonic() - started_at
        command.result()
    stack.wait_healthy(600)
    healthy = time.monotonic() - started_at
    stack.compose("stop", "simulator")
    return first_seconds, healthy


def stored_counts(stack: Stack, expected: int) -> dict[str, Any]:
    """Wait until ``expected`` readings are stored or no more arrive; return the counts and the accounting."""
    stack.wait_for_readings(expected)
    (row,) = stack.query(
        "select (select count(*) from telemetry.reading), stored, duplicate, quarantined_readings, balanced"
        " from telemetry.accounting"
    )
    return {
        "readings": int(row[0]),
        "stored": int(row[1]),
        "duplicate": int(row[2]),
        "quarantined": int(row[3]),
        "balanced": row[4] == "t",
    }


def kill(stack: Stack, service: str, seconds: int) -> dict[str, Any]:
    """Kill ``service`` under load and restart it; return the acknowledged and stored messages."""
    before = stored_counts(stack, -2)["readings"]
    simulator = stack.simulate(seconds)
    wait_for(lambda: int(stack.query("select count(*) from telemetry.reading")[0][0]) > before + 3000, "the load", 60)
    stack.compose("kill", service)
    time.sleep(DOWN_SECONDS)
    stack.compose("start", service)
    acknowledged = published(simulator)
    counts = stored_counts(stack, before + acknowledged)
    return {
        "acknowledged": acknowledged,
        "readings": counts["readings"] - before,
        "balanced": counts["balanced"],
        "kept": counts["readings"] - before == acknowledged and counts["balanced"] and not counts["quarantined"],
    }


def kill_one_of_three_collectors(stack: Stack, seconds: int) -> dict[str, Any]:
    """Kill one of three collectors for 12 seconds; return the longest delay of a reading."""
    stack.up("--scale", "collector=3")
    stack.wait_healthy()
    before = stored_counts(stack, -2)["readings"]
    simulator = stack.simulate(seconds)
    wait_for(lambda: int(stack.query("select count(*) from telemetry.reading")[0][0]) > before + 3000, "the load", 60)
    (collectors,) = stack.query(
        "select count(distinct collector) from telemetry.intake where bucket > now() - interval '2 min'"
    )
    victim = stack.containers("collector")[0]
    killed = datetime.now(UTC)
    subprocess.run(["docker", "kill", victim], check=True, capture_output=True, timeout=60)
    time.sleep(12)
    subprocess.run(["docker", "start", victim], check=True, capture_output=True, timeout=60)
    acknowledged = published(simulator)
    counts = stored_counts(stack, before + acknowledged)
    # A message that stayed assigned to the killed collector would have a delay of 12 seconds.
    ((longest,),) = stack.query(
        "select extract(epoch from max(received_at - time))::numeric(9,2) from telemetry.reading"
        f" where time > timestamptz '{killed.isoformat()}' - interval '5 s'"
    )
    return {
        "collectors_that_brought_readings": int(collectors[0]),
        "longest_wait_of_a_reading_seconds": float(longest),
        "acknowledged": acknowledged,
        "readings": counts["readings"] - before,
        "balanced": counts["balanced"],
        "kept": counts["readings"] - before == acknowledged and counts["balanced"],
    }


def main() -> int:
    """Run the benchmark; the exit status is 1 if an acknowledged message was lost or stored twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kill", action="append", choices=LONG_RUNNING, help="only this service; repeatable")
    parser.add_argument("--core", action="store_true", help="without Airflow and monitoring")
    parser.add_argument("--seconds", type=int, default=25, help="seconds of load around each kill")
    parser.add_argument("--no-scale", action="store_true", help="skip the part with three collectors")
    options = parser.parse_args()
    services = CORE if options.core else [*started()]
    if reason := missing(services):
        sys.exit(f"bench/compose.py: {reason}")
    # Parts that are skipped keep the results of an earlier run.
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"killed": {}}
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), services) as stack:
        first, healthy = first_reading(stack)
        result |= {"first_reading_seconds": round(first, 1), "all_healthy_seconds": round(healthy, 1)}
        print(f"first reading after {first:.1f} s, everything healthy after {healthy:.1f} s", flush=True)
        for service in options.kill or [name for name in LONG_RUNNING if name in services]:
            result["killed"][service] = kill(stack, service, options.seconds)
            print(service, json.dumps(result["killed"][service]), flush=True)
        if not options.no_scale:
            result["three_collectors"] = kill_one_of_three_collectors(stack, options.seconds + 10)
            print(json.dumps(result["three_collectors"]), flush=True)
    about = {"date": datetime.now(UTC).date().isoformat(), "messages_per_second": 1000, "services": len(services)}
    result["about"] = about
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    outcomes = [*result["killed"].values(), result.get("three_collectors", {"kept": True})]
    return 0 if all(outcome["kept"] for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())

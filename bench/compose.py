"""The stack of docker-compose.yml under 1,000 messages a second, each of its services killed in turn.

Truth is what the broker has acknowledged to the simulator: so many readings must be stored in the end, each once, and
the accounts balance. Also: how long `docker compose up -d` takes to the first reading in telemetry.reading_1m, and,
with three collectors, how long readings wait at most when one of them is killed.

    python bench/compose.py                       every service; images must be there
    python bench/compose.py --kill mosquitto      one of them
    python bench/compose.py --core                without Airflow and what only looks on
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

LASTING = [service for service, lasts in started().items() if lasts]
RESULT = Path(__file__).parent / "results" / "compose.json"
AWAY = 5.0
"""Seconds that a killed service stays away."""


def first_reading(stack: Stack) -> tuple[float, float]:
    """Start everything, sensors included; return the seconds to the first reading in the means, and to all is well."""

    def arrived() -> bool:
        with suppress(RuntimeError):  # there is no database yet
            return stack.query("select count(*) from telemetry.reading_1m")[0] != ["0"]
        return False

    begin = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        # The command returns when Airflow's services have started too, for which readings don't wait.
        command = pool.submit(stack.up, "simulator")
        wait_for(arrived, "a first reading", 240)
        took = time.monotonic() - begin
        command.result()
    stack.wait_healthy(600)
    healthy = time.monotonic() - begin
    stack.compose("stop", "simulator")
    return took, healthy


def settled(stack: Stack, expected: int) -> dict[str, Any]:
    """Wait until so many readings are stored, or nothing more comes; return what is stored, and the accounts."""
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
    """Kill ``service`` under load, start it again; return what was acknowledged and what is stored of it."""
    before = settled(stack, -2)["readings"]
    simulator = stack.simulate(seconds)
    wait_for(lambda: int(stack.query("select count(*) from telemetry.reading")[0][0]) > before + 3000, "the load", 60)
    stack.compose("kill", service)
    time.sleep(AWAY)
    stack.compose("start", service)
    acknowledged = published(simulator)
    found = settled(stack, before + acknowledged)
    return {
        "acknowledged": acknowledged,
        "readings": found["readings"] - before,
        "balanced": found["balanced"],
        "kept": found["readings"] - before == acknowledged and found["balanced"] and not found["quarantined"],
    }


def scaled(stack: Stack, seconds: int) -> dict[str, Any]:
    """Three collectors, one of which is killed for 12 seconds; return how long readings had to wait at most."""
    stack.up("--scale", "collector=3")
    stack.wait_healthy()
    before = settled(stack, -2)["readings"]
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
    found = settled(stack, before + acknowledged)
    # What had been left to the one that was killed would show here as the 12 seconds until it was started again.
    ((longest,),) = stack.query(
        "select extract(epoch from max(received_at - time))::numeric(9,2) from telemetry.reading"
        f" where time > timestamptz '{killed.isoformat()}' - interval '5 s'"
    )
    return {
        "collectors_that_brought_readings": int(collectors[0]),
        "longest_wait_of_a_reading_seconds": float(longest),
        "acknowledged": acknowledged,
        "readings": found["readings"] - before,
        "balanced": found["balanced"],
        "kept": found["readings"] - before == acknowledged and found["balanced"],
    }


def main() -> int:
    """Run it; the exit status is 1 where something acknowledged was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kill", action="append", choices=LASTING, help="only this service; may be repeated")
    parser.add_argument("--core", action="store_true", help="without Airflow and what only looks on")
    parser.add_argument("--seconds", type=int, default=25, help="of load around each kill")
    parser.add_argument("--no-scale", action="store_true", help="leave out the three collectors")
    told = parser.parse_args()
    services = CORE if told.core else [*started()]
    if why := missing(services):
        sys.exit(f"bench/compose.py: {why}")
    # What is left out of a run keeps what an earlier one found.
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"killed": {}}
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), services) as stack:
        first, healthy = first_reading(stack)
        result |= {"first_reading_seconds": round(first, 1), "all_healthy_seconds": round(healthy, 1)}
        print(f"first reading after {first:.1f} s, everything healthy after {healthy:.1f} s", flush=True)
        for service in told.kill or [one for one in LASTING if one in services]:
            result["killed"][service] = kill(stack, service, told.seconds)
            print(service, json.dumps(result["killed"][service]), flush=True)
        if not told.no_scale:
            result["three_collectors"] = scaled(stack, told.seconds + 10)
            print(json.dumps(result["three_collectors"]), flush=True)
    about = {"date": datetime.now(UTC).date().isoformat(), "messages_per_second": 1000, "services": len(services)}
    result["about"] = about
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    return (
        0
        if all(one["kept"] for one in [*result["killed"].values(), result.get("three_collectors", {"kept": 1})])
        else 1
    )


if __name__ == "__main__":
    sys.exit(main())
